//! What happens on this machine: full disks, locks, signals, a newer program's batches; and what is too much for one file.

#![cfg(unix)]

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::{
    ALL, ROWS, WAIT, balanced, complete, database, each, faulty, kept, listed, open, recovers, rows, slow,
    sound, summary,
};
use crate::faults::{blocking, confined, signal};
use crate::standin::{Batches, Fault, Kind, RequestRule};
use crate::world::{Run, World, text};

/// A run that waits, and its flags.
const RUN: [&str; 10] = [
    "summary",
    "rows.jsonl",
    "text",
    "textbook_quality",
    "--format",
    "json",
    "--price",
    "1,2",
    "--batch",
    "--wait",
];

/// Changes the database behind the program's back.
pub(in crate::batch) fn sql(world: &World, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(database(world));
    blocking(async {
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

#[test]
fn a_database_that_is_locked_while_replies_are_collected_is_waited_for() {
    let (world, standin) = faulty(vec![RequestRule::nth(Kind::Content, 1, Fault::Late(3_600_000))], vec![]);
    let child = world.start(&RUN);
    standin.wait_for(Kind::Content, 1);
    let options = SqliteConnectOptions::new().filename(database(&world));
    blocking(async {
        let mut other = SqliteConnection::connect_with(&options).await.unwrap();
        let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
        // The replies come now.
        standin.hurry();
        tokio::time::sleep(Duration::from_secs(1)).await;
        lock.rollback().await.unwrap();
    });
    complete(&Run::of(child.wait_with_output().unwrap()), "locked");
    sound(&world, &standin, "locked");
}

/// Runs where there is so much room, in KiB: whoever finds none says so, and the run after rates everything.
fn without_room(sizes: &[u32], shell: &[&str], script: impl Fn(u32) -> String + Sync) {
    let full = AtomicU32::new(0);
    each(sizes, |size| {
        let what = format!("{size} KiB");
        let (world, standin) = faulty(vec![], vec![]);
        // So large that the requests take more room than the database.
        let row = |row: usize| json!({"text": text(row).repeat(8)}).to_string();
        world.write("rows.jsonl", (0..ROWS).map(row).collect::<Vec<_>>().join("\n"));
        let run = confined(&world.command(&RUN), shell, &script(*size));
        if run.code != 0 {
            assert_eq!(run.code, 1, "{what}: {}", run.stderr);
            assert!(
                run.stderr.contains("a file of requests") || run.stderr.contains("the database"),
                "{what}: {}",
                run.stderr
            );
            full.fetch_add(u32::from(run.stderr.contains("a file of requests")), Ordering::Relaxed);
        }
        recovers(&world, &standin, &what);
    });
    assert!(full.into_inner() > 0, "no file of requests found the disk full: choose other sizes");
}

#[test]
fn a_disk_that_is_full_of_requests_ends_the_run_and_frees_them() {
    let tried = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        println!("skipped: this machine lets nobody mount a small file system");
        return;
    }
    // The small disk is gone with the shell: what it held is copied to where the next run looks.
    let script = |size: u32| {
        format!(
            "mkdir -p small .local/share/classified && mount -t tmpfs -o size={size}k tmpfs small || exit 99\n\
             DATABASE_URL=small/ratings.db \"$@\"; code=$?; cp small/ratings.db* .local/share/classified/; exit $code"
        )
    };
    without_room(&[340, 420], &["unshare", "-rm"], script);
}

#[test]
fn a_limit_on_the_size_of_files_ends_the_run_and_frees_the_requests() {
    // The unit of `ulimit -f` is 512 bytes in some shells and 1024 in others.
    let script = |size: u32| format!("trap '' XFSZ; ulimit -f {size}; exec \"$@\"");
    without_room(&[340, 420], &["env"], script);
}

#[test]
fn a_batch_of_a_newer_program_is_left_alone_and_its_questions_wait() {
    for change in [
        "UPDATE batches SET form = 2, program = '9.9.9'",
        "UPDATE batches SET stage = 'brewing', program = '9.9.9'",
    ] {
        let (world, standin) = super::with(slow());
        summary(&world, &["--batch"]).exits(75);
        standin.hurry();
        sql(&world, change);
        let run = summary(&world, &WAIT).exits(75);
        assert_eq!((balanced(&run), rows(&run, "not_reached")), (0, ALL), "{change}");
        assert!(run.stderr.contains("9.9.9") && run.stderr.contains("update"), "{change}: {}", run.stderr);
        // Nor is any of it asked live.
        assert_eq!(rows(&summary(&world, &[]).exits(75), "not_reached"), ALL, "{change}");
        let collect = world.run(&["batch", "collect"]).exits(75);
        assert!(collect.stderr.contains("9.9.9"), "{change}: {}", collect.stderr);
        assert_eq!(
            (listed(&world).len(), standin.counters().batches, standin.counters().requests),
            (1, 1, 0)
        );
        sql(&world, "UPDATE batches SET form = 1, stage = 'created'");
        recovers(&world, &standin, change);
    }
}

#[test]
fn more_questions_than_a_file_may_have_go_into_two() {
    let (world, standin) = super::with(slow());
    // A lens of few words in place of the built-in one: 50,000 requests are long enough.
    let file = |name: &str, text: &str| world.write(&format!("lenses/textbook_quality/{name}"), text);
    file("config.json", r#"{"input_fields": ["text"], "type": "score"}"#);
    let properties = json!({"why": {"type": "string"}, "overall": {"type": "number", "enum": [1, 2]}});
    let parameters = json!({"type": "object", "required": ["why", "overall"], "properties": properties});
    file("functions.json", &json!({"name": "rate", "parameters": parameters}).to_string());
    file("system.jinja", "Rate.");
    file("prompt.jinja", "{{ text }}");
    let text = |row: usize| json!({"text": row.to_string()}).to_string() + "\n";
    world.write("rows.jsonl", (0..50_001).map(text).collect::<String>());
    let run = summary(&world, &["--batch", "--yes"]).exits(75);
    assert_eq!(rows(&run, "not_reached"), 50_001);
    let totals: Vec<u64> = listed(&world).iter().map(|batch| batch["questions"].as_u64().unwrap()).collect();
    assert_eq!(totals, [50_000, 1]);
    assert_eq!(standin.counters().files, 2);
}

#[test]
fn a_row_with_more_tokens_than_the_account_may_enqueue_fails_alone() {
    let (world, standin) = faulty(vec![], vec![]);
    let mut text = std::fs::read_to_string(world.path("rows.jsonl")).unwrap();
    text += "\n";
    text += &json!({"text": "one more word ".repeat(10_000)}).to_string();
    world.write("rows.jsonl", text);
    let flags = ["--batch", "--wait", "--batch-tokens", "20000", "--tokens-per-chunk", "60000"];
    let run = summary(&world, &flags).exits(3);
    assert_eq!((rows(&run, "rated"), &run.ledger()["failed"]), (ALL, &json!({"too_long": 1})));
    assert!(run.stderr.contains("raise --batch-tokens"), "{}", run.stderr);
    assert_eq!((kept(&world), open(&world)), (ALL, 0));
    assert!(standin.counters().batches > 1);
}

#[test]
fn a_signal_ends_an_upload_and_a_wait_at_once_and_the_same_command_goes_on() {
    let moments = [
        (Kind::Upload, Fault::StallAfter(20_000)),
        (Kind::Create, Fault::Silent),
        (Kind::Content, Fault::StallBody),
    ];
    let ends = [("INT", 130), ("TERM", 143)].into_iter().cycle();
    let cases: Vec<_> = moments.into_iter().zip(ends).collect();
    each(&cases, |((kind, fault), (name, code))| {
        let what = format!("{name} at {kind:?} {fault:?}");
        let (world, standin) = faulty(vec![RequestRule::nth(*kind, 1, fault.clone())], vec![]);
        let child = world.start(&RUN);
        standin.wait_for(*kind, 1);
        signal(name, &child);
        let run = Run::of(child.wait_with_output().unwrap());
        assert_eq!(run.code, *code, "{what}: {}", run.stderr);
        assert!(run.stderr.contains("the same command goes on"), "{what}: {}", run.stderr);
        recovers(&world, &standin, &what);
        assert_eq!(standin.counters().batches, 1, "{what}");
    });
    // While it waits.
    each(&[("INT", 130), ("TERM", 143)], |(name, code)| {
        let (world, standin) = super::with(slow());
        let child = world.start(&RUN);
        standin.wait_for(Kind::GetBatch, 1);
        signal(name, &child);
        let run = Run::of(child.wait_with_output().unwrap()).exits(*code);
        assert!(run.stderr.contains("the batches go on"), "{name}: {}", run.stderr);
        recovers(&world, &standin, name);
        assert_eq!(standin.counters().batches, 1, "{name}");
    });
}

#[test]
fn a_lock_that_another_run_holds_is_waited_for_until_that_run_ends() {
    let (world, standin) = super::with(Batches {
        rules: super::rules(vec![RequestRule::nth(Kind::Upload, 1, Fault::Hang)], vec![]).rules,
        ..Batches::default()
    });
    let mut first = world.start(&RUN);
    standin.wait_for(Kind::Upload, 1);
    let mut second = world.command(&RUN);
    second.args(["--data-dir", "elsewhere"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut second = second.spawn().unwrap();
    let said = until_said(&mut second, "which is busy with the batches");
    assert!(said.contains(&first.id().to_string()), "{said}");
    first.kill().unwrap();
    first.wait().unwrap();
    complete(&Run::of(second.wait_with_output().unwrap()), "the second run");
    sound(&world, &standin, "the second run");
}

/// Reads what a child says until it says this.
fn until_said(child: &mut std::process::Child, words: &str) -> String {
    use std::io::{BufRead as _, BufReader};
    // A byte at a time: what comes after is for whoever waits for the end.
    let mut lines = BufReader::with_capacity(1, child.stderr.as_mut().unwrap());
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it never says `{words}`");
    }
    line
}
