//! `classified batch list`, `show` and `cancel`.

use super::{ROWS, answered, listed, rows, slow, summary, world};
use crate::faults::until;
use crate::standin::{Batches, Fault, Kind, Nobody, RequestRule};

const ALL: u64 = ROWS as u64;

#[test]
fn a_batch_is_listed_and_shown_by_any_of_its_names() {
    let (world, standin) = world(slow());
    summary(&world, &["--batch"]).exits(75);
    let batch = listed(&world).remove(0);
    assert_eq!(
        (&batch["number"], &batch["questions"], &batch["stage"]),
        (&1.into(), &ALL.into(), &"created".into())
    );
    assert_eq!((&batch["status"], &batch["server"]["total"]), (&"in_progress".into(), &ALL.into()));
    assert!(batch["cost_at_most"].as_f64().unwrap() > 0.0 && batch["cost"].is_null(), "{batch}");
    let table = world.run(&["batch", "list"]).exits(0).stdout;
    assert!(
        table.contains("running") && table.contains("1 batch is open, 60 questions wait, for $"),
        "{table}"
    );
    for id in ["1", batch["id"].as_str().unwrap(), &batch["name"].as_str().unwrap()[..8]] {
        let shown = world.run(&["batch", "show", id]).exits(0).stdout;
        let line =
            |name: &str| shown.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        assert_eq!(line("At the endpoint:").as_deref(), Some("0 done, 0 failed"), "{shown}");
        assert_eq!(line("Id:").as_deref(), batch["id"].as_str(), "{shown}");
        assert!(line("At:").is_some_and(|place| place.starts_with("http://127.0.0.1:")), "{shown}");
        let document = world.run(&["batch", "show", id, "--format", "json"]).exits(0).json();
        assert_eq!(document["batch"]["name"], batch["name"]);
    }
    let unknown = world.run(&["batch", "show", "77"]).exits(2);
    assert!(unknown.stderr.contains("no batch `77`"), "{}", unknown.stderr);

    standin.hurry();
    let done = world.run(&["batch", "list"]).exits(0).stdout;
    assert!(done.contains("done, to be collected"), "{done}");
    summary(&world, &["--batch"]).exits(0);
    let open = world.run(&["batch", "list"]).exits(0).stdout;
    assert!(open.contains("no batch is open; 1 more collected"), "{open}");
    let all = listed(&world).remove(0);
    assert_eq!(
        (&all["stage"], &all["answered"], &all["waiting"]),
        (&"collected".into(), &ALL.into(), &0.into())
    );
    assert!(all["cost"].as_f64().unwrap() > 0.0, "{all}");
}

#[test]
fn without_its_endpoint_a_batch_is_shown_as_the_store_knows_it() {
    let (world, standin) = world(slow());
    summary(&world, &["--batch"]).exits(75);
    let list = world.run(&["batch", "list", "--base-url", "http://127.0.0.1:1/v1"]).exits(0);
    assert!(list.stderr.contains("what the store knows is shown of batch 1 at http://"), "{}", list.stderr);
    assert!(list.stdout.contains("when last asked"), "{}", list.stdout);
    let _nobody = Nobody::after(standin);
    let list = world.run(&["batch", "list"]).exits(0);
    assert!(list.stderr.contains("what the store knows is shown: "), "{}", list.stderr);
    assert!(list.stdout.contains("when last asked"), "{}", list.stdout);
}

#[test]
fn a_cancelled_batch_is_collected_and_its_questions_are_asked_once() {
    let (world, standin) = world(slow());
    summary(&world, &["--batch"]).exits(75);
    let cancelled = world.run(&["batch", "cancel", "1"]).exits(0);
    assert!(cancelled.stdout.contains("batch 1: being cancelled"), "{}", cancelled.stdout);
    standin.hurry();
    until(|| standin.batches()[0]["status"] == "cancelled");
    let again = world.run(&["batch", "cancel", "1", "--format", "json"]).exits(0).json();
    assert_eq!(again["batches"][0]["did"], "ended");
    // Whoever cancels does not want it handed over again by the run that finds out.
    summary(&world, &["--batch"]).exits(75);
    let run = summary(&world, &["--batch", "--wait"]).exits(0);
    assert_eq!(rows(&run, "rated"), ALL);
    assert_eq!(answered(&standin), [(1, ALL)].into());
    let nothing = world.run(&["batch", "cancel", "1", "1", "--format", "json"]).exits(0).json();
    assert_eq!(nothing["batches"].as_array().unwrap().len(), 1);
    assert_eq!(nothing["batches"][0]["did"], "nothing");
}

#[test]
fn a_batch_is_cancelled_only_at_its_own_endpoint_and_given_up_only_by_a_flag() {
    let (world, standin) = world(Batches {
        rules: super::rules(vec![RequestRule::first(Kind::Cancel, 1, Fault::status(404))], vec![]).rules,
        ..slow()
    });
    summary(&world, &["--batch"]).exits(75);
    let other = world.run(&["batch", "cancel", "1", "--base-url", "http://127.0.0.1:1/v1"]).exits(2);
    assert!(other.stderr.contains("name its endpoint"), "{}", other.stderr);
    // One that is not there keeps the others from being cancelled.
    let unknown = world.run(&["batch", "cancel", "1", "9"]).exits(2);
    assert!(unknown.stderr.contains("nothing is cancelled"), "{}", unknown.stderr);
    assert_eq!(standin.arrived(Kind::Cancel), 0);
    let unknown = world.run(&["batch", "cancel", "1"]).exits(1);
    assert!(
        unknown.stderr.contains("same account") && unknown.stderr.contains("--forget"),
        "{}",
        unknown.stderr
    );
    let waits = summary(&world, &[]).exits(75);
    assert_eq!(rows(&waits, "not_reached"), ALL);
    let forgotten =
        world.run(&["batch", "cancel", "1", "--forget", "--base-url", "http://127.0.0.1:1/v1"]).exits(0);
    assert!(forgotten.stdout.contains("60 questions are free"), "{}", forgotten.stdout);
    // What it has cost nobody knows: not nothing.
    let given_up = listed(&world).remove(0);
    assert_eq!((&given_up["status"], &given_up["cost"]), (&"given_up".into(), &serde_json::Value::Null));
    let table = world.run(&["batch", "list", "--all"]).exits(0).stdout;
    assert!(table.contains("given up") && table.contains("unknown, ≤ $"), "{table}");
    assert_eq!(rows(&summary(&world, &[]).exits(0), "rated"), ALL);
}

#[test]
fn what_waits_elsewhere_is_named_and_is_nothing_to_collect_here() {
    let (world, _standin) = world(slow());
    summary(&world, &["--batch"]).exits(75);
    let (_, other) = super::world(Batches::default());
    let write = ["batch", "write", "q.jsonl", "rows.jsonl", "text", "learning_value", "--model", "mine"];
    world.run(&write).exits(0);
    let collected = world.run(&["batch", "collect", "--base-url", &other.url()]).exits(0);
    let note = "not asked about: batch 1 at http://127.0.0.1:";
    assert!(collected.stderr.contains(note), "{}", collected.stderr);
    assert!(collected.stderr.contains("batch 2 in a file for a runner"), "{}", collected.stderr);
    world.run(&["batch", "collect"]).exits(75);
}

#[test]
fn an_endpoint_that_is_out_of_reach_for_a_while_is_to_be_tried_again_later() {
    let (world, standin) = world(Batches::default());
    summary(&world, &["--batch"]).exits(75);
    let _nobody = Nobody::after(standin);
    let run = world.run(&["batch", "collect"]).exits(75);
    assert!(run.stderr.contains("cannot be reached"), "{}", run.stderr);
}

#[test]
fn a_command_that_only_looks_makes_no_database() {
    let world = crate::world::World::new();
    let missing = world.run(&["batch", "list"]).exits(2);
    assert!(missing.stderr.contains("there is no database"), "{}", missing.stderr);
}
