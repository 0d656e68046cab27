//! What a user does with batches, from the first command to the last.

use std::time::Duration;

use super::{RATED, ROWS, answered, cost, listed, rows, rules, slow, summary, world};
use crate::standin::Standin;
use crate::standin::{Action, Config, Rule, Script};
use crate::standin::{BatchRule, Batches, Kind, RequestRule, Rules, Twist};
use crate::world::World;

const ALL: u64 = ROWS as u64;

#[test]
fn the_same_command_hands_over_then_collects_and_then_has_nothing_to_ask() {
    let (world, standin) = world(Batches::default());
    let first = summary(&world, &["--batch"]).exits(75);
    assert!(first.stderr.contains("60 questions wait in batches"), "{}", first.stderr);
    assert_eq!((rows(&first, "rated"), rows(&first, "not_reached")), (0, ALL));
    assert_eq!(first.json()["waiting"], ALL);
    let second = summary(&world, &["--batch"]).exits(0);
    assert_eq!((rows(&second, "rated"), rows(&second, "cached")), (ALL, 0));
    assert_eq!(second.json()["waiting"], 0);
    let third = summary(&world, &["--batch"]).exits(0);
    assert_eq!((rows(&third, "rated"), rows(&third, "cached")), (0, ALL));
    assert!(cost(&third).abs() < f64::EPSILON);
    // A live run has the same answers.
    assert_eq!(rows(&summary(&world, &[]).exits(0), "cached"), ALL);
    assert_eq!(answered(&standin), [(1, ALL)].into());
    assert_eq!((standin.counters().requests, standin.counters().batches), (0, 1));
}

#[test]
fn ratings_by_batch_are_those_of_a_live_run_at_half_the_price() {
    let (live, _live) = World::with_endpoint(Config::default());
    live.rows("rows.jsonl", ROWS);
    let (batch, _batch) = world(Batches::default());
    let asked = summary(&live, &[]).exits(0);
    let waited = summary(&batch, &["--batch", "--wait"]).exits(0);
    assert!((cost(&asked) - 2.0 * cost(&waited)).abs() < 1e-9, "{} {}", cost(&asked), cost(&waited));
    let scores = |world: &World| -> Vec<_> {
        let lines = world.lines("rows.jsonl/textbook_quality.jsonl");
        lines
            .into_iter()
            .map(|line| (line["id"].clone(), line["scores"].clone(), line["rationale"].clone()))
            .collect()
    };
    assert_eq!(scores(&live), scores(&batch));
}

#[test]
fn twins_are_asked_once_and_counted_as_duplicates() {
    let (world, standin) = world(Batches::default());
    let text = std::fs::read_to_string(world.path("rows.jsonl")).unwrap();
    world.write("rows.jsonl", format!("{text}\n{text}"));
    let run = summary(&world, &["--batch", "--wait"]).exits(0);
    assert_eq!((rows(&run, "rated"), rows(&run, "duplicate")), (ALL, ALL));
    assert_eq!(answered(&standin), [(1, ALL)].into());
}

#[test]
fn a_live_run_leaves_alone_what_waits_in_a_batch() {
    let (world, standin) = world(slow());
    summary(&world, &["--batch", "--max", "20"]).exits(75);
    let live = summary(&world, &[]).exits(75);
    assert_eq!((rows(&live, "rated"), rows(&live, "not_reached")), (ALL - 20, 20));
    assert!(live.stderr.contains("classified batch cancel"), "{}", live.stderr);
    let shown = world.run(&super::RATED).exits(75).stdout;
    assert!(shown.contains("Not every row is reached yet") && !shown.contains("stopped"), "{shown}");
    standin.hurry();
    assert_eq!(rows(&summary(&world, &["--batch"]).exits(0), "rated"), 20);
    assert_eq!(answered(&standin), [(1, ALL)].into());
}

#[test]
fn a_second_run_of_what_waits_for_batches_ends_at_once() {
    let (world, standin) = world(slow());
    let mut first = world.start(&[&super::RATED[..], &["--batch", "--wait"]].concat());
    standin.wait_for(Kind::Create, 1);
    for flags in [&["--batch", "--wait"][..], &["--max", "10", "--batch"], &[]] {
        let second = summary(&world, flags).exits(75);
        assert!(second.stderr.contains("another run is writing"), "{}", second.stderr);
    }
    assert_eq!(standin.arrived(Kind::Create), 1);
    first.kill().unwrap();
    first.wait().unwrap();

    let filter = ["filter", "rows.jsonl", "text", "textbook_quality", "--batch", "--wait"];
    for (requests, output) in
        [(2, &["--min", "2", "-o", "kept"][..]), (3, &["--scores-only", "-o", "scores.parquet"])]
    {
        let version = requests.to_string();
        let command = [&filter[..], output, &["--version", &version]].concat();
        let mut first = world.start(&command);
        standin.wait_for(Kind::Create, requests);
        let second = world.run(&command).exits(75);
        assert!(second.stderr.contains("another run is writing"), "{}", second.stderr);
        first.kill().unwrap();
        first.wait().unwrap();
    }
}

#[test]
fn what_expires_is_handed_over_again_and_what_was_run_is_kept() {
    let (world, standin) = world(rules(vec![], vec![BatchRule::nth(1, Twist::ExpireAfter(0.5))]));
    let run = summary(&world, &["--batch", "--wait"]).exits(0);
    assert_eq!(rows(&run, "rated"), ALL);
    assert_eq!(answered(&standin), [(1, ALL)].into());
    let batches = listed(&world);
    assert_eq!(batches.len(), 2);
    assert_eq!((&batches[0]["status"], &batches[1]["status"]), (&"expired".into(), &"completed".into()));
}

#[test]
fn a_batch_that_somebody_cancelled_is_handed_over_again_by_the_next_run_alone() {
    let (world, standin) = world(rules(vec![], vec![BatchRule::nth(1, Twist::CancelAfter(0.5))]));
    let run = summary(&world, &["--batch", "--wait"]).exits(75);
    assert!(run.stderr.contains("cancelled"), "{}", run.stderr);
    assert_eq!(standin.counters().batches, 1);
    let run = summary(&world, &["--batch", "--wait"]).exits(0);
    assert_eq!(rows(&run, "rated") + rows(&run, "cached"), ALL);
    assert_eq!(answered(&standin), [(1, ALL)].into());
}

#[test]
fn a_limit_of_enqueued_tokens_is_learned_and_kept() {
    let batches = Batches { enqueued_tokens: Some(40_000), ..Batches::default() };
    let (world, standin) = world(batches);
    let run = summary(&world, &["--batch", "--wait"]).exits(0);
    assert_eq!(rows(&run, "rated"), ALL);
    assert!(run.stderr.contains("40000 input tokens"), "{}", run.stderr);
    assert_eq!(answered(&standin), [(1, ALL)].into());
    // It is remembered: other questions go into files that fit from the start.
    let before = standin.batches().len();
    let run = summary(&world, &["--batch", "--wait", "--version", "2"]).exits(0);
    assert_eq!(rows(&run, "rated"), ALL);
    assert!(!run.stderr.contains("40000 input tokens"), "{}", run.stderr);
    let first = &standin.batches()[before]["request_counts"]["total"];
    assert!(first.as_u64().is_some_and(|first| first < ALL), "{first}");
}

#[test]
fn refused_rows_fail_once_and_are_asked_again_by_the_run_after() {
    let script = Script(vec![Rule {
        fraction: Some(0.2),
        times_per_question: Some(1),
        action: Action::Refusal("I will not.".into()),
        ..Rule::default()
    }]);
    let (world, standin) =
        World::with_endpoint(Config { script, batches: Some(Batches::default()), ..Config::default() });
    world.rows("rows.jsonl", ROWS);
    let first = summary(&world, &["--batch", "--wait"]).exits(3);
    let failed = first.ledger()["failed"]["refusal"].as_u64().unwrap();
    assert!(failed > 0 && rows(&first, "rated") + failed == ALL, "{}", first.stdout);
    let second = summary(&world, &["--batch", "--wait"]).exits(0);
    assert_eq!((rows(&second, "rated"), rows(&second, "cached")), (failed, ALL - failed));
    assert_eq!(answered(&standin), [(1, ALL)].into());
}

#[test]
fn a_failure_is_told_by_every_dataset_that_asks_the_same() {
    let script = Script(vec![Rule {
        fraction: Some(0.2),
        times_per_question: Some(1),
        action: Action::Refusal("I will not.".into()),
        ..Rule::default()
    }]);
    let (world, standin) =
        World::with_endpoint(Config { script, batches: Some(Batches::default()), ..Config::default() });
    world.rows("rows.jsonl", ROWS);
    world.rows("more.jsonl", 2 * ROWS);
    let both = |flags: &[&str]| {
        let run =
            ["summary", "rows.jsonl,more.jsonl", "text", "textbook_quality", "--format", "json", "--batch"];
        world.run(&[&run, flags].concat())
    };
    let first = both(&["--wait"]).exits(3);
    let failed = |n: usize| first.json()["summaries"][n]["ledger"]["failed"]["refusal"].as_u64().unwrap();
    assert!(failed(0) > 0 && failed(1) > failed(0), "{}", first.stdout);
    let more = failed(1);
    let second = both(&["--wait"]).exits(0);
    let rated = |n: usize| second.json()["summaries"][n]["ledger"]["rated"].as_u64().unwrap();
    assert_eq!(rated(0) + rated(1), more, "all of them are asked again: {}", second.stdout);
    assert_eq!(answered(&standin), [(1, 2 * ALL)].into());
}

#[test]
fn a_dry_run_leaves_out_what_waits_in_a_batch() {
    let (world, _standin) = world(slow());
    summary(&world, &["--batch", "--max", "20"]).exits(75);
    let dry = summary(&world, &["--dry-run"]).exits(0);
    let total = &dry.json()["total"];
    assert_eq!((&total["questions"], &total["waiting"]), (&ROWS.into(), &20.into()));
    assert_eq!(total["requests"]["expected"], ROWS - 20);
    let shown = world.run(&[&RATED[..], &["--dry-run"]].concat()).exits(0).stdout;
    assert!(
        shown.contains("60 questions, 0 of them answered by the store, 20 waiting in batches"),
        "{shown}"
    );
}

/// Arguments that do not fit the schema, once for a fifth of the questions.
fn spoiled() -> Config {
    let script = Script(vec![Rule {
        fraction: Some(0.2),
        times: Some(12),
        action: Action::Arguments(r#"{"rationale":"x","overall":9}"#.into()),
        ..Rule::default()
    }]);
    Config { script, batches: Some(Batches::default()), ..Config::default() }
}

#[test]
fn an_answer_that_does_not_fit_is_repaired_in_the_next_batch() {
    let (world, standin) = World::with_endpoint(spoiled());
    world.rows("rows.jsonl", ROWS);
    let run = summary(&world, &["--batch", "--wait"]).exits(0);
    assert_eq!(rows(&run, "rated"), ALL);
    assert_eq!((standin.counters().batches, standin.counters().requests), (2, 0));
    let second = standin.batches()[1]["input_file_id"].as_str().unwrap().to_owned();
    let asked = standin.file(&second).unwrap();
    // What was wrong is told, and the reply itself was not kept.
    assert!(asked.contains("cannot be used") && asked.contains("(no answer)"), "{asked}");
}

#[test]
fn an_answer_that_does_not_fit_is_repaired_live_where_that_is_wished() {
    let (world, standin) = World::with_endpoint(spoiled());
    world.rows("rows.jsonl", ROWS);
    summary(&world, &["--batch"]).exits(75);
    let run = summary(&world, &["--batch", "--repair-live"]).exits(0);
    assert_eq!(rows(&run, "rated"), ALL);
    assert_eq!(standin.counters().batches, 1);
    assert!(standin.counters().requests > 0);
}

#[test]
fn a_cap_on_money_counts_open_batches_and_the_same_command_goes_on() {
    let (world, standin) = world(slow());
    let run = summary(&world, &["--batch", "--max-cost", "0.12"]).exits(4);
    let first = standin.batches()[0]["request_counts"]["total"].as_u64().unwrap_or_default();
    assert!(run.stderr.contains("--max-cost"), "{}", run.stderr);
    // What is under way counts: nothing more fits.
    summary(&world, &["--batch", "--max-cost", "0.12"]).exits(4);
    assert_eq!(standin.counters().batches, 1);
    standin.hurry();
    let run = summary(&world, &["--batch", "--wait", "--max-cost", "0.12"]).exits(0);
    assert!(first < ALL && rows(&run, "rated") == ALL, "{first} {}", run.stdout);
    assert_eq!(answered(&standin), [(1, ALL)].into());
}

#[test]
fn two_lenses_and_two_datasets_go_into_batches_of_one_lens_each() {
    let (world, standin) = world(Batches::default());
    world.rows("more.jsonl", ROWS + 20);
    let run = world.run(&[
        "summary",
        "rows.jsonl,more.jsonl",
        "text",
        "textbook_quality,textbook_depth",
        "--batch",
        "--wait",
        "--format",
        "json",
    ]);
    let run = run.exits(0);
    let ledgers: Vec<u64> = run.json()["summaries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|summary| {
            let of = |column: &str| summary["ledger"][column].as_u64().unwrap();
            of("rated") + of("cached") + of("duplicate")
        })
        .collect();
    assert_eq!(ledgers, [ALL, ALL, ALL + 20, ALL + 20]);
    assert_eq!(standin.counters().batches, 2);
    assert_eq!(answered(&standin), [(1, 2 * (ALL + 20))].into());
}

#[test]
fn an_endpoint_without_batches_is_told_before_anything_is_uploaded() {
    let (world, standin) = World::with_endpoint(Config::default());
    world.rows("rows.jsonl", ROWS);
    let run = summary(&world, &["--batch"]).exits(2);
    assert!(run.stderr.contains("no batches") && run.stderr.contains("batch write"), "{}", run.stderr);
    assert_eq!(standin.counters().requests, 0);
}

#[test]
fn wrong_combinations_are_usage_errors() {
    let (world, _standin) = world(Batches::default());
    for (flags, says) in [
        (&["--wait"][..], "--batch"),
        (&["--repair-live"], "--batch"),
        (&["--batch", "--model", "heuristic"], "heuristic"),
        (&["--batch", "--service-tier", "flex"], "--service-tier"),
    ] {
        let run = summary(&world, flags).exits(2);
        assert!(run.stderr.contains(says), "{flags:?}: {}", run.stderr);
    }
}

#[test]
fn a_file_that_is_rejected_as_a_whole_ends_the_run_with_the_servers_words_and_frees_its_questions() {
    let twist = Twist::Fail { code: "invalid_thing".into(), message: "something is odd".into() };
    let (world, standin) = world(rules(vec![], vec![BatchRule::nth(1, twist)]));
    let run = summary(&world, &["--batch", "--wait"]).exits(1);
    assert!(run.stderr.contains("something is odd"), "{}", run.stderr);
    assert_eq!(rows(&summary(&world, &["--batch", "--wait"]).exits(0), "rated"), ALL);
    assert_eq!(answered(&standin), [(1, ALL)].into());
}

#[test]
fn filter_writes_nothing_while_questions_wait_and_the_rows_when_they_are_answered() {
    let (world, standin) = world(Batches::default());
    let filter = ["filter", "rows.jsonl", "text", "textbook_quality", "--min", "2", "-o", "out", "--batch"];
    world.run(&filter).exits(75);
    assert!(!world.path("out").exists());
    world.run(&filter).exits(0);
    assert!(world.path("out/data").is_dir());
    assert_eq!(answered(&standin), [(1, ALL)].into());
}

#[test]
fn two_runs_at_once_hand_each_question_over_once() {
    let (world, standin) = world(Batches { running: Duration::from_millis(300), ..Batches::default() });
    let start = |version: &str| {
        let data = world.path(format!("data{version}"));
        let mut command = world.command(&super::RATED);
        command.args(["--batch", "--wait", "--data-dir"]).arg(data);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
    };
    let mut children = [start("1"), start("2"), start("3")];
    for child in &mut children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!(answered(&standin), [(1, ALL)].into());
}

#[test]
fn a_reply_that_was_lost_is_looked_for_before_anything_is_sent_again() {
    let lost = |kind| RequestRule::nth(kind, 1, crate::standin::Fault::Lost);
    let rules = Rules { requests: vec![lost(Kind::Upload), lost(Kind::Create)], batches: vec![] };
    let (world, standin) = world(Batches { rules, ..Batches::default() });
    assert_eq!(rows(&summary(&world, &["--batch", "--wait"]).exits(0), "rated"), ALL);
    let counters = standin.counters();
    assert_eq!((counters.files, counters.batches), (1, 1));
    let _: &Standin = &standin;
}
