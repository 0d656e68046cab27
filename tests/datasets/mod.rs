//! Datasets from the name on the command line to the lines of ratings: the program, real bytes, and a Hub on loopback.
//!
//! Each run has a folder of its own. Judged is what the user gets: the exit code, the message, the JSONL. The rater is
//! the heuristic, so that nothing but the data decides what comes out.

mod cache;
mod faults;
mod forms;
mod hostile;
mod local;
mod make;
mod repos;
mod sample;
mod scenarios;
mod show;
mod table;
mod whole;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::testhub::TestHub;
use crate::world::{Run, World};

/// What every run here is told after its dataset and column.
const QUIET: [&str; 5] = ["--model", "heuristic", "--format", "json", "--quiet"];

/// The program in a world in which this Hub is the Hub.
pub(super) fn command(world: &World, hub: &TestHub, arguments: &[&str]) -> Command {
    let mut command = world.command(arguments);
    command.env("HF_HUB_OFFLINE", "0").env("HF_ENDPOINT", hub.endpoint()).env("HF_HOME", world.path("hf"));
    command
}

/// `summary` with these arguments (dataset, columns, flags) from this Hub.
pub(super) fn summary(world: &World, hub: &TestHub, arguments: &[&str]) -> Run {
    let arguments = [&["summary"], arguments, &QUIET].concat();
    forget(world);
    Run::of(command(world, hub, &arguments).output().unwrap())
}

/// `summary` with these arguments from this Hub's cache: requests are forbidden.
pub(super) fn offline(world: &World, hub: &TestHub, arguments: &[&str]) -> Run {
    let arguments = [&["summary"], arguments, &QUIET].concat();
    forget(world);
    Run::of(command(world, hub, &arguments).env("HF_HUB_OFFLINE", "1").output().unwrap())
}

/// `summary` with these arguments of something on this machine.
pub(super) fn local(world: &World, arguments: &[&str]) -> Run {
    forget(world);
    world.run(&[&["summary"], arguments, &QUIET].concat())
}

/// Removes what an earlier run has left, so that [`ratings`] are those of the next one.
fn forget(world: &World) {
    if world.path("data").exists() {
        fs::remove_dir_all(world.path("data")).unwrap();
    }
}

/// The one file of ratings that the last run in this world has left, whatever dataset and lens it is of.
pub(super) fn ratings(world: &World) -> String {
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in fs::read_dir(world.path("data")).unwrap().map(|entry| entry.unwrap().path()) {
        if folder.is_dir() {
            let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            found.extend(files.filter(|file| file.extension().is_some_and(|end| end == "jsonl")));
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    fs::read_to_string(&found[0]).unwrap()
}

/// The lines of [`ratings`].
pub(super) fn lines(world: &World) -> Vec<Value> {
    ratings(world).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The ids of the rows that were rated, or not, in order.
pub(super) fn ids(world: &World) -> Vec<String> {
    lines(world).iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect()
}

/// What the rows have in a column, in order.
pub(super) fn texts(world: &World, column: &str) -> Vec<Value> {
    lines(world).iter().map(|line| line["fields"][column].clone()).collect()
}

/// The message of a run that failed with this code.
#[track_caller]
pub(super) fn refused(run: Run, code: i32) -> String {
    let run = run.exits(code);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    run.stderr
}

/// Feeds bytes to the program's standard input.
pub(super) fn fed(mut command: Command, input: &[u8]) -> Run {
    use std::io::Write as _;
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // From another thread: nobody reads what the program says until all is written.
    let writer = thread::spawn(move || {
        // A program that has seen enough closes its end.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Run::of(output)
}

/// Runs all of these at once, a thread each: they wait more than they work.
pub(super) fn at_once<T: Sync>(all: &[T], each: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        let running: Vec<_> = all.iter().map(|one| scope.spawn(|| each(one))).collect();
        for thread in running {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
