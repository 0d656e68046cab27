//! Files that mean no good, or were made without care: a row that fails is counted, a file that fails is named, memory
//! stays bounded, and no run hangs.

use serde_json::json;

use super::make::{arrow_stream, gz, jsonl, parquet, separated, zst};
use super::{lines, local, refused};
use crate::world::{Run, World};

/// Why each row failed that did, by its id.
fn failures(world: &World) -> Vec<(String, String)> {
    let failed = lines(world).into_iter().filter(|line| !line["failure"].is_null());
    let told = failed.map(|line| {
        let told = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        (
            told(&line["id"]),
            format!("{}: {}", told(&line["failure"]["reason"]), told(&line["failure"]["detail"])),
        )
    });
    told.collect()
}

#[test]
fn a_row_of_too_many_or_too_few_cells_fails_and_the_others_do_not() {
    let world = World::new();
    world.write("ragged.csv", "id,text\n1,some words\n2\n3,\"more, words\",3\n4,\"a\nbreak\"\n5,last\n");
    let run = local(&world, &["ragged.csv", "text"]).exits(3);
    assert_eq!((&run.ledger()["rated"], &run.ledger()["failed"]["unreadable"]), (&json!(3), &json!(2)));
    let failed = failures(&world);
    assert_eq!(failed[0], ("ragged.csv#1".into(), "unreadable: line 3 has 1 field, the header has 2".into()));
    assert_eq!(
        failed[1],
        ("ragged.csv#2".into(), "unreadable: line 4 has 3 fields, the header has 2".into())
    );
    assert_eq!(lines(&world)[3]["id"], "ragged.csv#3");
    local(&world, &["ragged.csv", "text", "--fail-above", "50%"]).exits(0);
}

#[test]
fn a_line_that_is_no_object_fails_and_the_others_do_not() {
    let world = World::new();
    let deep = format!("{{\"text\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let bad = ["{\"text\": \"cut", "[1, 2]", "null", &deep, "{\"text\": \"e\u{1}\"}"];
    let rows = bad.map(|bad| format!("{bad}\n{}", jsonl(0..1))).concat();
    world.write("rows.jsonl", rows);
    let run = local(&world, &["rows.jsonl", "text", "--fail-above", "60%"]).exits(0);
    let ledger = run.ledger();
    assert_eq!((&ledger["rows"], &ledger["failed"]["unreadable"]), (&json!(10), &json!(5)), "{ledger}");
    assert!(failures(&world)[0].1.contains("line 1"), "{:?}", failures(&world));
}

#[test]
fn a_row_without_the_column_is_empty_and_a_file_without_it_is_an_error() {
    let world = World::new();
    world.write("rows.jsonl", format!("{}{{\"id\": 7}}\n{{\"id\": 8, \"text\": null}}\n", jsonl(0..3)));
    let run = local(&world, &["rows.jsonl", "text"]).exits(0);
    assert_eq!((&run.ledger()["rated"], &run.ledger()["empty"]), (&json!(3), &json!(2)));
    world.write("set/train-0.parquet", parquet(0..3, "text"));
    world.write("set/train-1.parquet", parquet(3..6, "body"));
    let message = refused(local(&world, &["set", "text"]), 2);
    assert!(
        message.contains("no column `text` in `set: train-1.parquet`") && message.contains("body"),
        "{message}"
    );
    world.write("csv/train-0.csv", separated(0..3, ','));
    world.write("csv/train-1.csv", "id,body\n1,a\n");
    let message = refused(local(&world, &["csv", "text"]), 2);
    assert!(message.contains("train-1.csv"), "{message}");
}

#[test]
fn a_row_of_sixty_five_megabytes_fails_alone() {
    let world = World::new();
    let long = format!("{{\"id\":1,\"text\":\"{}\"}}\n", "a long row ".repeat(6_500_000));
    world.write("long.jsonl", format!("{}{long}{}", jsonl(0..1), jsonl(2..3)));
    let run = local(&world, &["long.jsonl", "text", "--fail-above", "50%"]).exits(0);
    assert_eq!((&run.ledger()["rated"], &run.ledger()["failed"]["unreadable"]), (&json!(2), &json!(1)));
    let (id, why) = &failures(&world)[0];
    assert!(id == "long.jsonl#1" && why.contains("the longest that is read has 67108864"), "{why}");
}

/// The most memory that a run has had, in kilobytes, and the run.
#[cfg(target_os = "linux")]
fn measured(mut command: std::process::Command) -> (u64, Run) {
    use std::process::Stdio;
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    // The kernel keeps the highest value, so that it does not matter when it is looked at, as long as it is after the
    // longest row: two passes are made over it.
    while child.try_wait().unwrap().is_none() {
        let now = std::fs::read_to_string(&status).unwrap_or_default();
        let value = now.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let value = value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok());
        most = most.max(value.unwrap_or(0));
        // Between two looks the machine is the program's.
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    (most, Run::of(child.wait_with_output().unwrap()))
}

#[cfg(target_os = "linux")]
#[test]
fn a_bomb_takes_no_more_memory_than_the_longest_row() {
    // 640 MB of zeros in a few kilobytes; a row that is read has 64 MiB at most.
    let world = World::new();
    let (first, last) = (zst(jsonl(0..1)), zst(format!("\n{}", jsonl(2..3))));
    let zeros = zst(vec![0; 8_000_000]).repeat(80);
    world.write("bomb.jsonl.zst", [first, zeros, last].concat());
    let flags = ["--max", "3", "--sample", "first", "--fail-above", "50%"];
    let arguments = [&["summary", "bomb.jsonl.zst", "text"], &flags[..], &super::QUIET].concat();
    let (most, run) = measured(world.command(&arguments));
    let ledger = run.exits(0).ledger();
    assert_eq!((&ledger["rated"], &ledger["failed"]["unreadable"]), (&json!(2), &json!(1)));
    assert!((1_000..450_000).contains(&most), "{most} kB");
}

#[test]
fn a_file_that_is_broken_is_named_and_gives_no_result() {
    let world = World::new();
    let half = |bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec();
    let mut page = parquet(0..300, "text");
    // Within the pages, of which the footer knows nothing but where they are.
    let middle = page.len() / 2;
    page[4..middle].fill(0xff);
    for (name, bytes) in [
        ("page.parquet", page),
        ("half.parquet", half(parquet(0..300, "text"))),
        ("half.arrow", half(arrow_stream(0..300))),
        ("half.jsonl.gz", half(gz(jsonl(0..300)))),
        ("half.jsonl.zst", half(zst(jsonl(0..300)))),
        ("text.parquet", b"not parquet at all, but long enough to have a footer".to_vec()),
        ("text.arrow", b"not Arrow at all".to_vec()),
        ("text.jsonl.gz", b"not gzip at all".to_vec()),
        ("open.json", b"[{\"text\": \"a\"}, {\"text\": ".to_vec()),
        ("empty.parquet", Vec::new()),
        ("empty.arrow", Vec::new()),
        ("empty.csv", Vec::new()),
        ("header.csv", b"id,text\n".to_vec()),
        ("utf16.jsonl", "{\"text\": \"a\"}\n".encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ] {
        world.write(name, bytes);
        let message = refused(local(&world, &[name, "text"]), 1);
        assert!(message.contains(&format!("`{name}`")), "{message}");
        assert!(!world.path(format!("data/{name}/textbook_quality.jsonl")).exists(), "{name}");
    }
}

#[test]
fn a_quote_that_never_closes_ends() {
    let world = World::new();
    world.write("open.csv", format!("id,text\n1,fine words\n2,\"open\n{}", "3,x\n".repeat(1_000)));
    let run = local(&world, &["open.csv", "text", "--fail-above", "99%"]);
    assert!([0, 1].contains(&run.code) && !run.stderr.contains("panicked"), "{}", run.stderr);
}

#[test]
fn a_folder_of_several_formats_is_refused_where_splits_differ_and_read_by_the_most_common_where_not() {
    let world = World::new();
    world.write("splits/train.jsonl", jsonl(0..3));
    world.write("splits/test.csv", separated(3..5, ','));
    let message = refused(local(&world, &["splits", "text"]), 1);
    assert!(message.contains("different formats") && message.contains("csv"), "{message}");
    world.write("one/a.csv", separated(0..3, ','));
    world.write("one/b.csv", separated(3..5, ','));
    world.write("one/c.jsonl", jsonl(5..9));
    assert_eq!(local(&world, &["one", "text"]).exits(0).ledger()["rows"], 5);
}

#[cfg(unix)]
#[test]
fn names_cannot_move_the_cursor() {
    let world = World::new();
    world.write("set/train\u{1b}[31m.csv", "id\n1\n");
    world.write("set/README.md", "---\nconfigs:\n- config_name: \"a\\e[2J\"\n  data_files: \"*.csv\"\n- config_name: b\n  data_files: \"*.csv\"\n---\n");
    for arguments in
        [&["set", "text"][..], &["set", "text", "--config", "b"], &["set", "text", "--split", "\u{1b}[2J"]]
    {
        let message = refused(local(&world, arguments), 2);
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }
}
