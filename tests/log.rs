//! `--log`: what happened, without keys, and without rows unless they are asked for.

use std::fs;

use serde_json::Value;

use crate::standin::{Action, Config, Rule, Script, Standin};
use crate::world::{Run, World, limited};

const KEY: &str = "sk-secret-of-the-test";

fn world() -> (World, Standin) {
    let script = Script(vec![
        Rule::once_per_question(limited()),
        // A gateway that shows the request's header in its error.
        Rule {
            contains: Some("Row 1.".to_owned()),
            ..Rule::always(Action::Status {
                code: 400,
                body: Some(serde_json::json!({"error": {"message": format!("bad Bearer {KEY}\u{1b}[2J")}})),
                headers: std::collections::BTreeMap::new(),
            })
        },
    ]);
    let config = Config { script, api_key: Some(KEY.to_owned()), ..Config::default() };
    let (world, standin) = World::with_endpoint(config);
    world.rows("rows.jsonl", 3);
    (world, standin)
}

fn run(world: &World, flags: &[&str]) -> Run {
    let arguments = [&["summary", "rows.jsonl", "text", "learning_value"], flags].concat();
    Run::of(world.command(&arguments).env("OPENAI_API_KEY", KEY).output().unwrap()).exits(3)
}

fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

#[test]
fn every_attempt_is_a_line_without_key_and_row() {
    let (world, standin) = world();
    run(&world, &["--log", "logs/run.jsonl", "--log-level", "debug"]);
    let text = fs::read_to_string(world.path("logs/run.jsonl")).unwrap();
    let events = events(&text);
    let count = |message: &str| events.iter().filter(|event| event["message"] == message).count();
    assert_eq!((count("answered"), count("not answered")), (2, 4));
    assert_eq!(standin.counters().requests, 6);
    let answered = events.iter().find(|event| event["message"] == "answered").unwrap();
    assert!(answered["ms"].is_u64() && answered["tokens_in"].as_u64() > Some(0) && answered["attempt"] == 2);
    assert_eq!(answered["question"].as_str().unwrap().len(), 64);
    assert!(!text.contains(KEY) && !text.contains("The number of ways"), "{text}");
    // A second run goes to the end of the same file.
    run(&world, &["--log", "logs/run.jsonl"]);
    assert!(fs::read_to_string(world.path("logs/run.jsonl")).unwrap().starts_with(&text));
}

#[test]
fn bodies_are_logged_where_they_are_asked_for_and_the_key_never() {
    let (world, _standin) = world();
    run(&world, &["--log", "run.log", "--log-bodies"]);
    let text = fs::read_to_string(world.path("run.log")).unwrap();
    assert!(text.contains("The number of ways") && text.contains("(the key)"), "{text}");
    assert!(!text.contains(KEY) && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn json_takes_stderr_alone() {
    let (world, _standin) = world();
    let run = run(&world, &["--log", "json"]);
    let events = events(&run.stderr);
    assert!(
        events
            .iter()
            .any(|event| event["level"] == "WARN" && event["message"].as_str().unwrap().contains("rejected"))
    );
    assert!(run.stdout.contains("learning_value"));
}

#[test]
fn a_log_that_cannot_be_written_is_an_error_before_anything_is_asked() {
    let (world, standin) = world();
    world.write("taken", "");
    let arguments = ["summary", "rows.jsonl", "text", "learning_value", "--log", "taken/run.log"];
    let run = world.run(&arguments).exits(2);
    assert!(run.stderr.contains("cannot write the log taken/run.log"), "{}", run.stderr);
    assert_eq!(standin.counters().requests, 0);
}
