//! No surprise bill: a run without a bound says first what it would ask of somebody else's endpoint.

use std::fmt::Write as _;

use serde_json::json;

use crate::standin::{Action, Config, Rule, Script, Standin};
use crate::world::{Run, World};

/// A world whose endpoint is the stand-in, reached through a proxy under a name that is not this machine's. It answers so many
/// questions, and then no more: that a run has asked another shows that it was let go.
fn elsewhere(rows: usize, answers: u64) -> (World, Standin) {
    let refused = Rule { nth: Some(answers + 1..=u64::MAX), ..Rule::always(Action::error(401, "closed")) };
    let (world, standin) =
        World::with_endpoint(Config { script: Script(vec![refused]), ..Config::default() });
    let mut lines = String::new();
    for row in 0..rows {
        let _ = writeln!(lines, "{}", json!({"text": format!("row {row} says something short")}));
    }
    world.write("rows.jsonl", lines);
    (world, standin)
}

fn run(world: &World, standin: &Standin, more: &[&str]) -> Run {
    let arguments = [&["summary", "rows.jsonl", "text", "--format", "json"][..], more].concat();
    let mut command = world.command(&arguments);
    command
        .env_remove("NO_PROXY")
        .env("OPENAI_BASE_URL", "http://rater.example/v1")
        .env("HTTP_PROXY", format!("http://127.0.0.1:{}", standin.port()));
    Run::of(command.output().unwrap())
}

#[test]
fn more_than_ten_thousand_questions_want_a_yes() {
    let (world, standin) = elsewhere(10_050, 50);
    let refused = run(&world, &standin, &[]).exits(2);
    assert!(
        refused.stderr.contains("10050 questions") && refused.stderr.contains("--yes"),
        "{}",
        refused.stderr
    );
    assert_eq!(standin.counters().requests, 0);
    // What the store can answer does not count.
    run(&world, &standin, &["--max", "50"]).exits(0);
    assert_eq!(standin.counters().requests, 50);
    run(&world, &standin, &[]).exits(1);
    assert!(standin.counters().requests > 50);
}

#[test]
fn the_run_counts_and_not_each_dataset() {
    let (world, standin) = elsewhere(5_100, 0);
    std::fs::write(
        world.path("more.jsonl"),
        std::fs::read_to_string(world.path("rows.jsonl")).unwrap().replace("row ", "line "),
    )
    .unwrap();
    let mut command = world.command(&["summary", "rows.jsonl,more.jsonl", "text"]);
    command
        .env_remove("NO_PROXY")
        .env("OPENAI_BASE_URL", "http://rater.example/v1")
        .env("HTTP_PROXY", format!("http://127.0.0.1:{}", standin.port()));
    let refused = Run::of(command.output().unwrap()).exits(2);
    assert!(refused.stderr.contains("10200 questions"), "{}", refused.stderr);
}

#[test]
fn a_server_on_this_machine_sends_no_bill() {
    let (world, standin) = elsewhere(10_050, 0);
    world.run(&["summary", "rows.jsonl", "text"]).exits(1);
    assert!(standin.counters().requests > 0);
}
