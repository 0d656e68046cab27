//! `--batch` and `classified batch` against a stand-in that has the Batch API.

mod collect;
mod desk;
mod faults;
mod flow;
mod kills;
mod offline;
mod rate;
mod wire;

use std::time::Duration;

use serde_json::Value;

use crate::standin::{BatchRule, Batches, RequestRule, Rules};
use crate::standin::{Config, Standin};
use crate::world::{Run, World};

/// Rows of a test's dataset.
const ROWS: usize = 60;

/// What every run here rates.
const RATED: [&str; 4] = ["summary", "rows.jsonl", "text", "textbook_quality"];

/// A world with rows, and a stand-in that has batches.
fn world(batches: Batches) -> (World, Standin) {
    let (world, standin) = World::with_endpoint(Config { batches: Some(batches), ..Config::default() });
    world.rows("rows.jsonl", ROWS);
    (world, standin)
}

/// A stand-in's batches in which this goes wrong with requests, and that with batches.
fn rules(requests: Vec<RequestRule>, batches: Vec<BatchRule>) -> Batches {
    Batches { rules: Rules { requests, batches }, ..Batches::default() }
}

/// Batches that stay in progress for longer than any test.
fn slow() -> Batches {
    Batches { running: Duration::from_hours(1), ..Batches::default() }
}

/// Runs `summary` with these flags, and JSON.
fn summary(world: &World, flags: &[&str]) -> Run {
    let mut arguments = RATED.to_vec();
    arguments.extend(["--format", "json", "--price", "1,2"]);
    arguments.extend(flags);
    world.run(&arguments)
}

/// Rows of a run's ledger in this column.
#[track_caller]
fn rows(run: &Run, column: &str) -> u64 {
    run.ledger()[column].as_u64().unwrap_or_else(|| panic!("no {column} in {}", run.stdout))
}

/// How often questions were answered: by count, how many questions.
fn answered(standin: &Standin) -> std::collections::BTreeMap<u64, u64> {
    let mut counts = std::collections::BTreeMap::new();
    for times in standin.answered().into_values() {
        *counts.entry(times).or_default() += 1;
    }
    counts
}

/// What the first summary of a run cost, in US dollars.
#[track_caller]
fn cost(run: &Run) -> f64 {
    run.json()["summaries"][0]["usage"]["cost"]
        .as_f64()
        .unwrap_or_else(|| panic!("no cost in {}", run.stdout))
}

/// The batches that `batch list --all` knows.
#[track_caller]
fn listed(world: &World) -> Vec<Value> {
    let run = world.run(&["batch", "list", "--all", "--format", "json"]).exits(0);
    run.json()["batches"].as_array().unwrap().clone()
}
