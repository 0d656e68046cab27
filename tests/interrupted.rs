//! Killed, interrupted, terminated: nothing committed is asked again, and no row is lost.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::standin::{Action, Config, Rule, Script, Standin};
use crate::world::{HELD, Run, World, stopped_after, until, until_said};

const ROWS: usize = 400;
const RATE: [&str; 6] = ["summary", "rows.jsonl", "text", "--format", "json", "--workers=4"];

fn world(script: Vec<Rule>) -> (World, Standin) {
    let delay = Duration::from_millis(4);
    let (world, standin) =
        World::with_endpoint(Config { delay, script: Script(script), ..Config::default() });
    world.rows("rows.jsonl", ROWS);
    (world, standin)
}

fn ratings(world: &World) -> u64 {
    let stats = world.run(&["cache", "stats", "--format", "json"]).exits(0).json();
    stats["ratings"].as_u64().unwrap()
}

#[test]
fn killing_the_run_at_ten_moments_loses_at_most_what_was_in_flight() {
    // Moments spread unevenly over the run.
    let (script, moments) = stopped_after((1..=10).map(|moment| 7 + moment * moment % 31), 4);
    let (world, standin) = world(script);
    let mut kept = 0;
    for (later, requests) in (0..).zip(&moments) {
        let mut child = world.start(&RATE);
        until(&standin, *requests);
        // The last answers gather for 8 ms, and then they are committed: where in that a kill falls is up to the machine.
        std::thread::sleep(Duration::from_millis(later));
        child.kill().unwrap();
        child.wait().unwrap();
        let now = ratings(&world);
        assert!(now >= kept, "{now} ratings after {kept}: a committed rating is gone");
        kept = now;
    }
    let asked = standin.counters().requests;
    assert_eq!(Some(&asked), moments.last());
    // With 4 workers at most 7 questions are being asked, and 8 answers gathered or being committed.
    assert!(asked - kept <= 10 * 15, "{asked} asked, {kept} kept: more is lost than was in flight");

    let run = world.run(&RATE).exits(0);
    assert_eq!(run.ledger()["cached"], kept, "every committed rating counts");
    assert_eq!(run.ledger()["rated"], ROWS as u64 - kept);
    assert_eq!(
        standin.counters().requests,
        asked + ROWS as u64 - kept,
        "no committed question is asked again"
    );
    let lines = world.lines("rows.jsonl/textbook_quality.jsonl");
    let ids: Vec<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..ROWS).map(|row| format!("rows.jsonl#{row}")).collect();
    assert_eq!(ids, expected);
    assert!(lines.iter().all(|line| line["scores"].is_array()));
}

#[cfg(unix)]
#[test]
fn a_signal_finishes_what_is_in_flight_and_shows_what_there_is() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let (world, standin) = world(vec![Rule { nth: Some(9..=u64::MAX), ..Rule::always(HELD) }]);
        let mut child = world.start(&RATE);
        until(&standin, 12);
        let kill =
            std::process::Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let _stderr = until_said(&mut child, "what is in flight is finished");
        standin.hurry();
        let run = Run::of(child.wait_with_output().unwrap()).exits(code);
        let ledger = run.ledger();
        let count = |key: &str| ledger[key].as_u64().unwrap();
        assert!(count("rated") >= 12 && count("not_reached") > 0, "{ledger}");
        assert_eq!(count("rated") + count("not_reached"), ROWS as u64);
        assert_eq!(ratings(&world), standin.counters().requests, "what was asked is kept");
        let summary = &run.json()["summaries"][0];
        assert_eq!(summary["sample"]["kind"], "unfinished", "the first rows are no random sample");
        assert!(summary["scores"]["overall"]["interval"].is_null());
        assert!(world.path("data/rows.jsonl/textbook_quality.jsonl.part").exists());
        assert!(!world.path("data/rows.jsonl/textbook_quality.jsonl").exists());

        let again = world.run(&RATE).exits(0);
        assert_eq!(standin.counters().requests, ROWS as u64);
        assert_eq!(again.ledger()["not_reached"], Value::from(0));
        assert!(!world.path("data/rows.jsonl/textbook_quality.jsonl.part").exists());
    }
}

#[cfg(unix)]
#[test]
fn a_second_signal_does_not_wait_for_what_is_in_flight() {
    let script = Script(vec![Rule::always(Action::Hang)]);
    let (world, standin) = World::with_endpoint(Config { script, ..Config::default() });
    world.rows("rows.jsonl", 8);
    // Without a second signal the run would wait ten minutes for its replies.
    let mut child = world.start(&[&RATE[..], &["--timeout", "600"]].concat());
    until(&standin, 4);
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_mins(1), "the run does not end");
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    }
    let run = Run::of(child.wait_with_output().unwrap()).exits(130);
    assert!(run.stderr.contains("stopped at once"), "{}", run.stderr);
}

#[test]
fn two_runs_that_would_write_the_same_file_do_not() {
    let (world, standin) = world(vec![Rule::always(HELD)]);
    let mut first = world.start(&RATE);
    until(&standin, 4);
    let second = world.run(&RATE).exits(75);
    assert!(second.stderr.contains("another run is writing"), "{}", second.stderr);
    standin.hurry();
    assert!(first.wait().unwrap().success());
}
