//! Every fault that a batch can meet, on its way to the server, there, and back, against the whole program.
//!
//! Whatever the fault: no question is answered twice unless the server itself lost its reply, every row is rated in the end, and the
//! ledger balances. `docs/faults.md` lists the faults.

mod always;
mod files;
pub(super) mod machine;
mod server;

use std::path::PathBuf;

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Row as _};

use super::{answered, listed, rows, rules, slow, summary};
use crate::faults::{blocking, each};
use crate::standin::{BatchRule, Batches, Config, Fault, Kind, RequestRule, Rule, Script, Standin};
use crate::world::{Run, World};

/// Rows of a test's dataset: there are many tests.
const ROWS: usize = 30;

const ALL: u64 = ROWS as u64;

/// What a run says that waits for its batches.
const WAIT: [&str; 2] = ["--batch", "--wait"];

/// A world whose requests and batches have these faults.
fn faulty(requests: Vec<RequestRule>, batches: Vec<BatchRule>) -> (World, Standin) {
    with(rules(requests, batches))
}

fn world(config: Config) -> (World, Standin) {
    let (world, standin) = World::with_endpoint(config);
    world.rows("rows.jsonl", ROWS);
    (world, standin)
}

/// A world whose batches behave like this.
fn with(batches: Batches) -> (World, Standin) {
    world(Config { batches: Some(batches), ..Config::default() })
}

/// A world in which requests of batches are answered by this script.
fn scripted(script: Vec<Rule>) -> (World, Standin) {
    world(Config { script: Script(script), batches: Some(Batches::default()), ..Config::default() })
}

/// Everything was rated in this run, and the output says so.
#[track_caller]
fn complete(run: &Run, what: &str) {
    assert_eq!(run.code, 0, "{what}: {}{}", run.stdout, run.stderr);
    assert_eq!(balanced(run), ALL, "{what}: {}", run.stdout);
}

/// Rows of a run that are rated or were before; the ledger balances.
#[track_caller]
fn balanced(run: &Run) -> u64 {
    let count = |column| rows(run, column);
    let failed: u64 = run.ledger()["failed"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    let rated = count("rated") + count("cached");
    let all = rated + count("duplicate") + count("empty") + count("not_reached") + failed;
    assert_eq!(all, ALL, "the ledger does not balance: {}", run.stdout);
    rated
}

/// When nothing goes wrong any more, the same command rates what is left. Each question was answered once, and nothing is left open.
#[track_caller]
fn recovers(world: &World, standin: &Standin, what: &str) {
    standin.recover();
    standin.hurry();
    complete(&summary(world, &WAIT), what);
    sound(world, standin, what);
}

/// Each question was answered once, each answer is kept under one key, and nothing is left open.
#[track_caller]
fn sound(world: &World, standin: &Standin, what: &str) {
    assert_eq!(answered(standin), [(1, ALL)].into(), "{what}");
    assert_eq!(kept(world), ALL, "{what}");
    assert_eq!(open(world), 0, "{what}");
}

/// Ratings in the store.
fn kept(world: &World) -> u64 {
    count(world, "SELECT count(*) FROM answers")
}

/// Batches that are not collected.
pub(super) fn open(world: &World) -> u64 {
    count(world, "SELECT count(*) FROM batches WHERE stage != 'collected'")
}

fn database(world: &World) -> PathBuf {
    world.path(".local/share/classified/ratings.db")
}

/// A number that the database knows. The program would tell it, too, and a hundred times it takes too long.
fn count(world: &World, statement: &'static str) -> u64 {
    let options = SqliteConnectOptions::new().filename(database(world));
    let number: i64 = blocking(async {
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let row = sqlx::query(statement).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        row.get(0)
    });
    number.try_into().unwrap()
}

/// An HTML page where JSON is wanted, as a proxy sends it.
fn page() -> Fault {
    Fault::Status { code: 200, body: Some("<html>Please sign in</html>".into()), headers: [].into() }
}

/// A status that says how long to wait: not at all.
fn at_once(code: u16) -> Fault {
    Fault::Status { code, body: None, headers: [("retry-after".to_owned(), "0".to_owned())].into() }
}

/// This fault with the first so many requests, and flags.
fn first(kind: Kind, times: u64, fault: Fault) -> (Vec<RequestRule>, &'static [&'static str]) {
    (vec![RequestRule::first(kind, times, fault)], &[])
}

/// These faults pass: at the end nothing is missing, and everything was handed over once.
fn passes(cases: &[(Vec<RequestRule>, &[&str])]) {
    each(cases, |(requests, flags)| {
        let what = format!("{requests:?}");
        let (world, standin) = faulty(requests.clone(), vec![]);
        complete(&summary(&world, &[&WAIT[..], flags].concat()), &what);
        assert_eq!(standin.counters().batches, 1, "{what}");
        sound(&world, &standin, &what);
    });
}

/// These faults end the run with exit code 1 and these words, and the run after rates everything.
fn stops(cases: &[(Kind, Fault, &str)]) {
    each(cases, |(kind, fault, words)| {
        let what = format!("{kind:?} {fault:?}");
        let rule = RequestRule { kind: *kind, nth: None, times: None, fault: fault.clone() };
        let (world, standin) = faulty(vec![rule], vec![]);
        let run = summary(&world, &WAIT);
        assert_eq!(run.code, 1, "{what}: {}", run.stderr);
        assert!(run.stderr.contains(words), "{what}: {}", run.stderr);
        recovers(&world, &standin, &what);
        let counters = standin.counters();
        assert_eq!(counters.batches, 1, "{what}");
    });
}
