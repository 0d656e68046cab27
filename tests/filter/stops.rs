//! Stopped at any moment: nothing paid is lost, no half output is left, and the same command finishes the job.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{filter, kept, line, score, scored, those, world};
use crate::standin::{Rule, Standin};
use crate::world::{HELD, Run, World, stopped_after, until, until_said};

const FILTER: [&str; 8] =
    ["filter", "rows.jsonl", "text", "textbook_quality", "--min=2", "-o", "out", "--workers=4"];

fn scripted(rows: usize, script: Vec<Rule>) -> (World, Standin) {
    let (world, standin) = World::with_endpoint(scored(rows, script));
    world.write("rows.jsonl", (0..rows).map(|row| line(row).to_string()).collect::<Vec<_>>().join("\n"));
    (world, standin)
}

/// A world whose endpoint answers so many requests, and all others when it is told to hurry.
fn held_after(answers: u64, rows: usize) -> (World, Standin) {
    scripted(rows, vec![Rule { nth: Some(answers + 1..=u64::MAX), ..Rule::always(HELD) }])
}

#[test]
fn killed_while_rating_and_finished_it_is_the_same_as_undisturbed() {
    let (script, moments) = stopped_after([7, 18, 29, 40], 4);
    let (world, standin) = scripted(200, script);
    for requests in moments {
        let mut child = world.start(&FILTER);
        until(&standin, requests);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!world.path("out").exists());
    }
    let asked = standin.counters().requests;
    world.run(&FILTER).exits(0);
    assert_eq!(kept(&world, "out"), those(200, |row| score(row) >= 2.0));
    assert!(standin.counters().requests <= 200 + 4 * 15, "{asked}");
    assert!(!world.path(".out.part").exists());
    let mut undisturbed = FILTER;
    undisturbed[6] = "other";
    world.run(&undisturbed).exits(0);
    let shard = "data/train-00000-of-00001.parquet";
    assert_eq!(
        fs::read(world.path("out").join(shard)).unwrap(),
        fs::read(world.path("other").join(shard)).unwrap()
    );
}

#[test]
fn killed_while_writing_and_finished_it_is_the_same_as_undisturbed() {
    let (world, _standin) = world(0);
    let rows: String =
        (0..30_000).map(|n| json!({"n": n, "text": format!("{n} ").repeat(40)}).to_string() + "\n").collect();
    world.write("rows.jsonl", rows);
    let command = |out: &'static str| ["filter", "rows.jsonl", "--by=row.n", "--min=100", "-o", out];
    world.run(&command("whole")).exits(0);
    for wait in [0, 20, 50, 90, 130, 180] {
        let mut child = world.start(&command("out"));
        // However long it takes to start: its work begins when it holds the lock.
        let holds = format!("\"process\":{},", child.id());
        let lock = || fs::read_to_string(world.path(".out.lock")).unwrap_or_default();
        while !lock().contains(&holds) && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        // There is the whole output, or none.
        if world.path("out").exists() {
            assert!(world.path("out/classified.json").exists());
            fs::remove_dir_all(world.path("out")).unwrap();
        }
    }
    world.run(&command("out")).exits(0);
    let shard = "data/train-00000-of-00001.parquet";
    assert_eq!(
        fs::read(world.path("whole").join(shard)).unwrap(),
        fs::read(world.path("out").join(shard)).unwrap()
    );
    assert!(!world.path(".out.part").exists());
}

/// Under a limit of 512 KiB a file, and of nothing at all: even the lock file stays empty.
#[cfg(unix)]
#[test]
fn a_file_that_may_not_grow_is_an_error_that_names_it_and_leaves_nothing() {
    let (world, _standin) = world(0);
    // Text that does not shrink.
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:016x}", state.rotate_left(20) ^ (state >> 7))
    };
    let rows: String = (0..4_000)
        .map(|n| json!({"n": n, "text": (0..40).map(|_| noise()).collect::<String>()}).to_string() + "\n")
        .collect();
    world.write("rows.jsonl", rows);
    for (to, blocks) in [("parquet", 1024), ("jsonl", 1024), ("jsonl", 0)] {
        let args = ["filter", "rows.jsonl", "--by=row.n", "--min=1", "--to", to, "-o", "out"];
        let plain = world.command(&args);
        let mut limited = Command::new("/bin/sh");
        limited
            .args(["-c", &format!("ulimit -f {blocks}; exec \"$0\" \"$@\"")])
            .arg(plain.get_program())
            .args(plain.get_args());
        limited.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let run = limited.current_dir(world.path("")).stdin(Stdio::null()).output().unwrap();
        let run = Run::of(run).exits(1);
        assert!(run.stderr.contains("cannot write") && run.stderr.contains("-o"), "{}", run.stderr);
        let left = fs::read_dir(world.path("")).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(left.map(|name| name.into_string().unwrap()).all(|name| !name.contains("out")));
    }
}

#[cfg(unix)]
#[test]
fn a_signal_keeps_what_is_rated_and_writes_no_output() {
    let (world, standin) = held_after(36, 200);
    let mut child = world.start(&FILTER);
    until(&standin, 40);
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let mut stderr = until_said(&mut child, "what is in flight is finished");
    standin.hurry();
    Run::of(child.wait_with_output().unwrap()).exits(130);
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.contains("the same command"), "{said}");
    assert!(!world.path("out").exists());
    let asked = standin.counters().requests;
    world.run(&FILTER).exits(0);
    assert_eq!(standin.counters().requests, 200, "{asked} had been asked");
}

#[test]
fn at_the_cap_it_stops_and_goes_on_from_there() {
    let (world, standin) = world(40);
    let capped = ["--min", "2", "-o", "out", "--price", "10,40", "--max-cost", "0.3"];
    let run = filter(&world, &capped).exits(4);
    assert!(run.stderr.contains("--max-cost"), "{}", run.stderr);
    assert!(!world.path("out").exists());
    let asked = standin.counters().requests;
    assert!(asked > 0 && asked < 40, "{asked}");
    filter(&world, &["--min", "2", "-o", "out", "--price", "10,40"]).exits(0);
    assert_eq!(standin.counters().requests, 40);
}

#[test]
fn of_two_at_once_the_second_names_the_first() {
    let (world, standin) = held_after(0, 20);
    let mut child = world.start(&FILTER);
    until(&standin, 4);
    let run = world.run(&FILTER).exits(75);
    assert!(run.stderr.contains(&child.id().to_string()), "{}", run.stderr);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn data_that_changes_meanwhile_gets_nobody_else_s_scores() {
    let (world, standin) = held_after(16, 100);
    let child = world.start(&FILTER);
    until(&standin, 20);
    let backwards = (0..100).rev().map(|row| line(row).to_string()).collect::<Vec<_>>().join("\n");
    let next = world.write("next.jsonl", backwards);
    fs::rename(next, world.path("rows.jsonl")).unwrap();
    standin.hurry();
    let run = Run::of(child.wait_with_output().unwrap()).exits(1);
    assert!(run.stderr.contains("changed"), "{}", run.stderr);
    assert!(!world.path("out").exists());
    world.run(&FILTER).exits(0);
    assert_eq!(
        kept(&world, "out"),
        those(100, |row| score(row) >= 2.0).into_iter().rev().collect::<Vec<_>>()
    );
    assert_eq!(standin.counters().requests, 100, "what was rated is not asked again");
}
