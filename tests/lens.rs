//! `lens list`, `show`, `new`, `check`, `render`.

use crate::world::World;

#[test]
fn built_in_lenses_are_listed_shown_and_good() {
    let world = World::new();
    let list = world.run(&["lens", "list"]).exits(0).stdout;
    for name in
        ["code_quality", "instruction_following", "learning_value", "textbook_depth", "textbook_quality"]
    {
        assert!(list.contains(name), "{list}");
        assert!(world.run(&["lens", "show", name]).exits(0).stdout.contains("--- prompt.jinja"));
    }
    world.run(&["lens", "check"]).exits(0);
}

#[test]
fn a_new_lens_passes_its_check_and_wins_over_a_built_in_one() {
    let world = World::new();
    world.run(&["lens", "new", "textbook_quality"]).exits(0);
    world.run(&["lens", "check", "textbook_quality"]).exits(0);
    assert!(
        world.run(&["lens", "list", "--format", "json"]).exits(0).stdout.contains("lenses/textbook_quality")
    );
    world.run(&["lens", "new", "textbook_quality"]).exits(2);
    world.run(&["lens", "new", "../escape"]).exits(2);
    assert!(!world.path("escape").exists());
}

#[test]
fn render_shows_the_prompt_for_values_of_one_s_own() {
    let world = World::new();
    let run = world
        .run(&[
            "lens",
            "render",
            "instruction_following",
            "--set",
            "instruction=Say hello",
            "--set",
            "output=Hello = \u{1b}[2J",
        ])
        .exits(0);
    assert!(run.stdout.contains("Say hello") && run.stdout.contains("Hello = "));
    assert!(!run.stdout.contains('\u{1b}'));
    let missing = world.run(&["lens", "render", "instruction_following", "--set", "instruction=x"]).exits(2);
    assert!(missing.stderr.contains("--set output="), "{}", missing.stderr);
    world.run(&["lens", "render", "instruction_following", "--set", "x=y"]).exits(2);
}

#[test]
fn check_tells_what_to_mend() {
    let world = World::new();
    world.run(&["lens", "new", "mine"]).exits(0);
    world.write("lenses/mine/prompt.jinja", "{{ nothing }}");
    let run = world.run(&["lens", "check", "mine"]).exits(1);
    assert!(run.stdout.contains("prompt.jinja") && run.stdout.contains("nothing"), "{}", run.stdout);
}
