//! Settings: flags > environment > local.env > defaults; and the documents that list them.

use std::fs;
use std::path::Path;

use crate::world::World;

fn value(command: &mut std::process::Command, name: &str) -> (String, String) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let setting = document["settings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|setting| setting["name"] == name)
        .unwrap()
        .clone();
    let text = |key: &str| setting[key].as_str().unwrap().to_owned();
    (text("value"), text("origin"))
}

#[test]
fn the_nearer_origin_wins() {
    let world = World::new();
    let settings = ["settings", "--format", "json"];
    let name = "TOKENS_PER_CHUNK";
    let pair = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(value(&mut world.command(&settings), name), pair("1500", "default"));
    world.write("local.env", "TOKENS_PER_CHUNK=700\n");
    assert_eq!(value(&mut world.command(&settings), name), pair("700", "local.env"));
    assert_eq!(value(world.command(&settings).env(name, "800"), name), pair("800", "environment"));
    let flag = [&settings[..], &["--tokens-per-chunk", "900"]].concat();
    assert_eq!(value(world.command(&flag).env(name, "800"), name), pair("900", "flag"));
}

#[test]
fn a_url_s_password_is_masked() {
    let world = World::new();
    let url = "http://user:pass@host:1/v1?key=abc";
    let shown = value(
        world.command(&["settings", "--format", "json"]).env("OPENAI_BASE_URL", url),
        "OPENAI_BASE_URL",
    );
    assert_eq!(shown.0, "http://host:1/v1");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_example_file_names_every_setting_with_its_default() {
    let example = fs::read_to_string(root().join("local.env.example")).unwrap();
    let command = classified::cli::command();
    let settings = command.find_subcommand("settings").unwrap();
    for argument in settings.get_arguments() {
        let Some(name) = argument.get_env().and_then(|name| name.to_str()) else { continue };
        let default =
            argument.get_default_values().first().and_then(|value| value.to_str()).unwrap_or_default();
        assert!(
            example.contains(&format!("# {name}={default}")),
            "local.env.example lacks `# {name}={default}`"
        );
    }
    let others =
        ["OPENAI_API_KEY", "OPENAI_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "HF_TOKEN", "HF_HUB_CACHE"];
    for name in others {
        assert!(example.contains(name), "local.env.example lacks {name}");
    }
}

#[test]
fn the_readme_lists_every_exit_code() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for exit in classified::cli::exit::Exit::ALL {
        assert!(readme.contains(&format!("| {} |", exit.code())), "README lacks exit code {}", exit.code());
    }
}

#[test]
fn every_flag_has_help_without_a_final_period() {
    fn check(command: &clap::Command) {
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                !help.is_empty() && !help.ends_with('.'),
                "{} {}: `{help}`",
                command.get_name(),
                argument.get_id()
            );
        }
        command.get_subcommands().for_each(check);
    }
    classified::cli::command().debug_assert();
    check(&classified::cli::command());
}
