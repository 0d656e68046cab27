//! SIGKILL at every step of a batch's way: no question is answered twice, none is lost.

use std::collections::BTreeMap;

use super::faults::{machine::sql, open};
use super::{ROWS, answered, cost, rows, rules, summary};
use crate::standin::{BatchRule, Batches, Fault, Kind, RequestRule, Twist};
use crate::standin::{Config, Standin};
use crate::world::World;

/// Two lenses, so that there are two batches, of which the first expires half done.
const RUN: [&str; 8] = [
    "summary",
    "rows.jsonl",
    "text",
    "textbook_quality,textbook_depth",
    "--batch",
    "--wait",
    "--format",
    "json",
];

/// The moments: a request of this kind, by its number, is as far as this fault lets it come.
fn moments() -> Vec<(Kind, u64, Fault)> {
    let mut moments = vec![
        (Kind::ListBatches, 1, Fault::Hang),
        (Kind::Upload, 1, Fault::StallAfter(20_000)),
        (Kind::Upload, 1, Fault::Delay(700)),
        (Kind::Create, 1, Fault::Delay(700)),
        (Kind::Content, 1, Fault::StallBody),
        (Kind::Content, 2, Fault::StallBody),
    ];
    for number in 1..=3 {
        for kind in [Kind::Upload, Kind::Create] {
            moments.push((kind, number, Fault::Hang));
            moments.push((kind, number, Fault::Silent));
        }
        moments.push((Kind::GetBatch, number, Fault::Hang));
        moments.push((Kind::Content, number, Fault::Hang));
    }
    moments
}

fn world(batches: Batches) -> (World, Standin) {
    let (world, standin) = World::with_endpoint(Config { batches: Some(batches), ..Config::default() });
    world.rows("rows.jsonl", ROWS);
    (world, standin)
}

/// Runs until everything is rated; returns how many rows of each lens were rated, or came from the cache.
#[track_caller]
fn complete(world: &World, what: &str) -> BTreeMap<String, [u64; 2]> {
    let run = world.run(&RUN);
    assert_eq!(run.code, 0, "{what}: {}", run.stderr);
    let summaries = run.json()["summaries"].as_array().unwrap().clone();
    summaries
        .iter()
        .map(|summary| {
            let of = |column: &str| summary["ledger"][column].as_u64().unwrap();
            (summary["lens"].as_str().unwrap().to_owned(), [of("rated"), of("cached")])
        })
        .collect()
}

#[test]
fn killed_at_any_step_no_question_is_answered_twice_and_none_is_lost() {
    let next = std::sync::Mutex::new(moments().into_iter());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(moment) = { next.lock().unwrap().next() } {
                    kill_at(moment);
                }
            });
        }
    });
}

fn kill_at((kind, number, fault): (Kind, u64, Fault)) {
    let what = format!("killed at {kind:?} {number}, {fault:?}");
    let done = matches!(fault, Fault::Silent | Fault::Delay(_));
    let rule = RequestRule::nth(kind, number, fault);
    let (world, standin) = world(rules(vec![rule], vec![BatchRule::nth(1, Twist::ExpireAfter(0.5))]));
    let mut child = world.start(&RUN);
    standin.wait_for(kind, number);
    child.kill().unwrap();
    child.wait().unwrap();
    standin.recover();
    if !done {
        // Long ago: what will not arrive any more is not looked for.
        sql(&world, "UPDATE batches SET changed_at = 0");
    }
    let rated = complete(&world, &what);
    for (lens, [rated, cached]) in rated {
        assert_eq!(rated + cached, ROWS as u64, "{what}: {lens}");
    }
    assert_eq!(answered(&standin), [(1, 2 * ROWS as u64)].into(), "{what}");
    let counters = standin.counters();
    if done && kind == Kind::Upload {
        assert_eq!(counters.files, counters.batches, "{what}: a file was uploaded twice");
    }
    // Nothing is left behind that a later run would look after.
    assert_eq!(open(&world), 0, "{what}");
}

#[test]
fn killed_again_and_again_at_chance_moments_every_row_is_rated_once() {
    let (world, standin) = world(Batches {
        running: std::time::Duration::from_millis(200),
        ..rules(vec![], vec![BatchRule::nth(1, Twist::ExpireAfter(0.4))])
    });
    for after in [15, 40, 70, 110, 160, 220, 290, 400, 650] {
        let mut child = world.start(&RUN);
        std::thread::sleep(std::time::Duration::from_millis(after));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for (lens, [rated, cached]) in complete(&world, "in the end") {
        assert_eq!(rated + cached, ROWS as u64, "{lens}");
    }
    assert_eq!(answered(&standin), [(1, 2 * ROWS as u64)].into());
}

#[test]
fn what_a_killed_run_was_gathering_is_free_for_a_live_run() {
    let (world, standin) = world(rules(vec![RequestRule::nth(Kind::Upload, 1, Fault::Hang)], vec![]));
    let mut child = world.start(&RUN[..5]);
    standin.wait_for(Kind::Upload, 1);
    child.kill().unwrap();
    child.wait().unwrap();
    // As if it had been killed before its file was whole.
    sql(&world, "UPDATE batches SET stage = 'spooling'");
    let run = world.run(&["summary", "rows.jsonl", "text", "textbook_quality", "--format", "json"]).exits(0);
    assert_eq!(run.ledger()["rated"], ROWS);
}

#[test]
fn what_a_run_told_when_it_was_killed_is_told_by_the_next_one_with_its_cost() {
    let (world, _standin) = world(Batches::default());
    summary(&world, &["--batch"]).exits(75);
    world.run(&["batch", "collect"]).exits(0);
    // As a run leaves it that is killed before it ends.
    sql(&world, "UPDATE batch_questions SET told_at = -1700000000000 WHERE state = 'answered'");
    let run = summary(&world, &["--batch"]).exits(0);
    assert_eq!(rows(&run, "rated"), ROWS as u64);
    assert!(cost(&run) > 0.0);
    // It has ended: what it told is not told again.
    let run = summary(&world, &["--batch"]).exits(0);
    assert_eq!((rows(&run, "cached"), rows(&run, "rated")), (ROWS as u64, 0));
}
