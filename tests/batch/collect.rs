//! `batch collect`, and what the files of a batch may hold.

use serde_json::{Value, json};

use super::{ROWS, answered, listed, rows, rules, slow, summary, world};
use crate::faults::each;
use crate::standin::{Action, BatchRule, Batches, Config, Fault, Kind, RequestRule, Rule, Script, Twist};
use crate::world::{Run, World};

const ALL: u64 = ROWS as u64;

fn collect(world: &World, flags: &[&str]) -> Run {
    world.run(&[&["batch", "collect", "--format", "json", "--price", "1,2"], flags].concat())
}

/// Hands everything over and collects it, with this gone wrong with the first batch and its files.
fn collected(requests: Vec<RequestRule>, twists: Vec<Twist>) -> (World, crate::standin::Standin, Run) {
    let twists = twists.into_iter().map(|twist| BatchRule::nth(1, twist)).collect();
    let (world, standin) = world(rules(requests, twists));
    summary(&world, &["--batch"]).exits(75);
    let run = collect(&world, &[]);
    (world, standin, run)
}

#[track_caller]
fn counts(run: &Run) -> [u64; 3] {
    ["answered", "failed", "again"].map(|column| run.json()[column].as_u64().unwrap())
}

#[test]
fn all_lenses_and_models_are_collected_and_the_next_run_tells_of_them() {
    let (world, standin) = world(Batches::default());
    for model in ["standin-large", "standin-small"] {
        let lenses = "textbook_quality,learning_value";
        world.run(&["summary", "rows.jsonl", "text", lenses, "--model", model, "--batch"]).exits(75);
    }
    let run = collect(&world, &[]).exits(0);
    assert_eq!(counts(&run), [4 * ALL, 0, 0]);
    assert_eq!(run.json()["collected"].as_array().map(Vec::len), Some(4));
    // A reply has some hundred tokens of a prompt at 1 $ a million, and few of an answer at 2 $: half of that.
    let cost = run.json()["collected"][0]["cost"].as_f64().unwrap();
    assert!((0.005..0.05).contains(&cost), "{cost}");
    let told = summary(&world, &["--model", "standin-small"]).exits(0);
    assert_eq!(rows(&told, "rated"), ALL);
    assert_eq!(counts(&collect(&world, &[]).exits(0)), [0, 0, 0]);
    // The two models are asked the same.
    assert_eq!((answered(&standin), standin.counters().requests), ([(2, 2 * ALL)].into(), 0));
}

#[test]
fn replies_are_billed_by_the_price_that_held_when_they_were_handed_over() {
    let (world, _standin) = world(Batches::default());
    let mut costs = Vec::new();
    for (version, price) in [("1", "1,2"), ("2", "1000,2000")] {
        summary(&world, &["--batch", "--version", version]).exits(75);
        let run = world.run(&["batch", "collect", "--format", "json", "--price", price]).exits(0);
        costs.push(run.json()["collected"][0]["cost"].as_f64().unwrap());
    }
    assert!(costs[0] > 0.0 && costs[0].to_bits() == costs[1].to_bits(), "{costs:?}");
}

#[test]
fn while_a_batch_has_not_ended_the_exit_code_is_75() {
    let (world, standin) = world(slow());
    summary(&world, &["--batch"]).exits(75);
    let open = collect(&world, &[]).exits(75);
    assert!(open.stderr.contains("60 questions wait in a batch"), "{}", open.stderr);
    assert_eq!(open.json()["open"][0]["requests"], ROWS);
    standin.hurry();
    let run = collect(&world, &[]).exits(0);
    assert_eq!(counts(&run), [ALL, 0, 0]);
}

#[test]
fn a_download_that_breaks_off_is_read_again() {
    let broken = vec![
        RequestRule::nth(Kind::Content, 1, Fault::CutBody),
        RequestRule::nth(Kind::Content, 2, Fault::status(503)),
    ];
    let (_world, standin, run) = collected(broken, vec![]);
    assert_eq!(counts(&run.exits(0)), [ALL, 0, 0]);
    assert_eq!(answered(&standin), [(1, ALL)].into());
}

#[test]
fn what_was_kept_when_a_download_failed_is_not_counted_again() {
    let broken = vec![
        RequestRule::nth(Kind::Content, 1, Fault::CutBody),
        RequestRule::nth(Kind::Content, 2, Fault::status(403)),
    ];
    let (world, standin, run) = collected(broken, vec![]);
    let run = run.exits(75);
    assert!(run.stderr.contains("the replies of batch 1"), "{}", run.stderr);
    let again = collect(&world, &[]).exits(0);
    let [rest, ..] = counts(&again);
    assert!(0 < rest && rest < ALL, "{rest}");
    assert!(!again.stderr.contains("passed over"), "{}", again.stderr);
    assert_eq!(rows(&summary(&world, &[]).exits(0), "rated"), ALL);
    assert_eq!(answered(&standin), [(1, ALL)].into());
}

#[test]
fn killed_while_it_collects_it_goes_on_from_what_is_kept() {
    let stall = vec![RequestRule::nth(Kind::Content, 1, Fault::StallBody)];
    let (world, standin) = world(rules(stall, vec![]));
    summary(&world, &["--batch"]).exits(75);
    let mut child = world.start(&["batch", "collect"]);
    standin.wait_for(Kind::Content, 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(counts(&collect(&world, &[]).exits(0)), [ALL, 0, 0]);
    assert_eq!(answered(&standin), [(1, ALL)].into());
}

#[test]
fn files_that_are_gone_are_told_of_and_their_questions_wait_until_they_are_given_up() {
    let (world, _standin, run) = collected(vec![], vec![Twist::LoseFiles]);
    let run = run.exits(75);
    assert_eq!(counts(&run), [0, 0, 0]);
    assert!(run.stderr.contains("may have been paid for"), "{}", run.stderr);
    assert_eq!(rows(&summary(&world, &[]).exits(75), "not_reached"), ALL);
    world.run(&["batch", "cancel", "1", "--forget"]).exits(0);
    assert_eq!(rows(&summary(&world, &["--batch", "--wait"]).exits(0), "rated"), ALL);
}

#[test]
fn what_cannot_be_read_is_not_asked_again_and_is_read_when_it_can_be() {
    let ended = |status: &str, completed: u64, failed: u64| {
        let counts = json!({"total": ALL, "completed": completed, "failed": failed});
        (Kind::GetBatch, 200, json!({"id": "batch_1", "status": status, "request_counts": counts}))
    };
    let content = |status: u16, body: Value| (Kind::Content, status, body);
    let cases = [
        (ended("completed", ALL, 0), "it is completed, and names no file of replies, though it counts 60"),
        (ended("expired", 5, 0), "names no file of replies, though it counts 5"),
        (ended("cancelled", 0, 7), "names no file of errors, though it counts 7"),
        (ended("completed", 0, 0), "names no file"),
        (content(302, json!({})), "HTTP 302"),
        (content(404, json!({})), "HTTP 404"),
        (content(410, json!({})), "HTTP 410"),
        (content(200, json!("{}\n".repeat(1_181))), "more than 1180 lines for 60 requests"),
        (content(200, json!("\n".repeat(1_181))), "more than 1180 lines for 60 requests"),
    ];
    each(&cases, |((kind, code, body), words)| {
        let fault = Fault::Status { code: *code, body: Some(body.clone()), headers: [].into() };
        let always = RequestRule { kind: *kind, nth: None, times: None, fault };
        let (world, standin, run) = collected(vec![always], vec![]);
        assert_eq!(run.code, 75, "{words}: {}", run.stderr);
        let said = &run.stderr;
        assert!(said.contains(words) && said.contains("batch cancel 1 --forget"), "{words}: {said}");
        assert_eq!(counts(&run), [0, 0, 0], "{words}");
        assert_eq!(rows(&summary(&world, &[]).exits(75), "not_reached"), ALL, "{words}");
        standin.recover();
        assert_eq!(counts(&collect(&world, &[]).exits(0)), [ALL, 0, 0], "{words}");
        assert_eq!((answered(&standin), standin.counters().requests), ([(1, ALL)].into(), 0), "{words}");
    });
}

#[test]
fn lines_that_are_missing_are_asked_again_and_lines_too_many_passed_over() {
    let (world, standin, run) = collected(
        vec![],
        vec![
            Twist::Drop(0.2),
            Twist::Twice(0.3),
            Twist::UnknownIds(3),
            Twist::UpperIds(2),
            Twist::EmptyIds(1),
            Twist::Garbage(4),
        ],
    );
    let run = run.exits(0);
    let [answers, failed, again] = counts(&run);
    assert!(failed == 0 && again > 0 && answers + again == ALL, "{}", run.stdout);
    assert!(run.stderr.contains("6 lines for no question that waits"), "{}", run.stderr);
    assert!(run.stderr.contains("4 lines that cannot be read"), "{}", run.stderr);
    assert!(run.stderr.contains("for a question that had one already"), "{}", run.stderr);
    assert_eq!(rows(&summary(&world, &["--batch", "--wait"]).exits(0), "rated"), ALL);
    // Those that were dropped were made once already.
    assert_eq!(answered(&standin), [(1, answers), (2, again)].into());
}

#[test]
fn a_refusal_that_means_all_questions_ends_the_run_only_where_nothing_was_answered() {
    let (world, standin, run) = collected(vec![], vec![Twist::Refuse { share: 1.0, status: 404 }]);
    let run = run.exits(1);
    assert!(run.stderr.contains("refused the questions of batch 1"), "{}", run.stderr);
    assert_eq!(listed(&world)[0]["again"], json!(ALL), "{:?}", listed(&world));
    assert_eq!(rows(&summary(&world, &["--batch", "--wait"]).exits(0), "rated"), ALL);
    assert_eq!(answered(&standin), [(1, ALL)].into());

    let (_world, _standin, run) = collected(vec![], vec![Twist::Refuse { share: 0.5, status: 404 }]);
    let [answers, failed, again] = counts(&run.exits(0));
    assert!(again == 0 && failed > 0 && answers + failed == ALL, "{answers} {failed} {again}");
}

#[test]
fn a_key_that_is_refused_ends_the_run_whatever_was_answered_and_fails_no_question() {
    let (world, _standin, run) = collected(vec![], vec![Twist::Refuse { share: 0.5, status: 401 }]);
    let run = run.exits(1);
    assert!(run.stderr.contains("HTTP 401"), "{}", run.stderr);
    assert_eq!(rows(&summary(&world, &["--batch", "--wait"]).exits(0), "rated"), ALL);
}

#[test]
fn server_errors_are_asked_again_three_times_at_most() {
    let always = vec![BatchRule::always(Twist::Refuse { share: 1.0, status: 500 })];
    let (world, standin) = world(rules(vec![], always));
    let run = summary(&world, &["--batch", "--wait", "--fail-above", "100%"]).exits(0);
    assert_eq!(run.ledger()["failed"], json!({"server_error": ALL}));
    assert_eq!(standin.counters().batches, 3);
}

#[test]
fn lines_that_are_missing_each_time_fail_at_last() {
    // Without any line there would be no file, which is another matter.
    let twists = [Twist::Drop(1.0), Twist::UnknownIds(1)];
    let (world, standin) = world(rules(vec![], twists.map(BatchRule::always).into()));
    let run = summary(&world, &["--batch", "--wait", "--fail-above", "100%"]).exits(0);
    assert_eq!(run.ledger()["failed"], json!({"connection": ALL}));
    assert_eq!(standin.counters().batches, 3);
    assert!(run.stderr.contains("may have been billed"), "{}", run.stderr);
    let bound: f64 = listed(&world).iter().map(|batch| batch["cost_at_most"].as_f64().unwrap()).sum();
    let usage = &run.json()["summaries"][0]["usage"];
    assert_eq!(usage["attempts_with_unknown_bill"], 3 * ALL);
    assert!((usage["unknown_bill_at_most"].as_f64().unwrap() - bound).abs() < 1e-6, "{usage} {bound}");
}

#[test]
fn lines_that_are_missing_count_against_the_cap_at_their_highest_price() {
    let (other, _slow) = world(slow());
    summary(&other, &["--batch"]).exits(75);
    let bound = listed(&other)[0]["cost_at_most"].as_f64().unwrap();
    let twists = [Twist::Drop(1.0), Twist::UnknownIds(1)];
    let (world, standin) = world(rules(vec![], twists.map(BatchRule::always).into()));
    let cap = format!("{:.6}", 1.5 * bound);
    summary(&world, &["--batch", "--wait", "--max-cost", &cap]).exits(4);
    let sizes: Vec<u64> = listed(&world).iter().map(|batch| batch["questions"].as_u64().unwrap()).collect();
    assert!(sizes.len() == 2 && sizes[0] == ALL && (25..35).contains(&sizes[1]), "{sizes:?}");
    assert_eq!(standin.counters().batches, 2);
}

#[test]
fn a_parameter_that_is_refused_costs_one_batch_and_no_question_a_try() {
    let refuse = Rule::always(Action::Refuse { parameter: "temperature".into(), value: None });
    let config =
        Config { batches: Some(Batches::default()), script: Script(vec![refuse]), ..Config::default() };
    let (world, standin) = World::with_endpoint(config);
    world.rows("rows.jsonl", ROWS);
    let run = summary(&world, &["--model", "mine", "--batch", "--wait"]).exits(0);
    assert_eq!((rows(&run, "rated"), standin.counters().batches), (ALL, 2));
    assert_eq!(run.stderr.matches("does not take `temperature`").count(), 1, "{}", run.stderr);
    // Another lens is asked in the form that is known.
    world
        .run(&["summary", "rows.jsonl", "text", "learning_value", "--model", "mine", "--batch", "--wait"])
        .exits(0);
    assert_eq!(standin.counters().batches, 3);
    let attempts: Vec<Value> = standin.batches();
    assert_eq!(attempts.len(), 3);
}

#[test]
fn without_a_database_or_batches_there_is_nothing_to_collect() {
    let (world, _standin) = world(Batches::default());
    let run = collect(&world, &[]).exits(2);
    assert!(run.stderr.contains("there is no database"), "{}", run.stderr);
    summary(&world, &["--max", "1"]).exits(0);
    let run = collect(&world, &[]).exits(0);
    assert!(run.stderr.contains("no batch has ended"), "{}", run.stderr);
    let run = collect(&world, &["--model", "heuristic"]).exits(2);
    assert!(run.stderr.contains("there are no batches"), "{}", run.stderr);
}
