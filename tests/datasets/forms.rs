//! Single files and streams on this machine: each format, compressed or not, and where in a row the text is.

use std::fs;

use serde_json::json;

use super::make::{arrow_file, arrow_stream, bz2, gz, json_array, jsonl, parquet, separated, text, xz, zst};
use super::{fed, ids, lines, local, refused, texts};
use crate::world::{Run, World};

/// Rates the column `text` of a file and expects the rows 0 to 39 in it.
#[track_caller]
fn reads_forty(name: &str, bytes: &[u8]) {
    let world = World::new();
    world.write(name, bytes);
    let run = local(&world, &[name, "text"]).exits(0);
    assert_eq!(run.ledger()["rated"], 40, "{name}");
    assert_eq!(texts(&world, "text"), (0..40).map(text).collect::<Vec<_>>(), "{name}");
    assert_eq!(ids(&world)[39], format!("{name}#39"));
}

#[test]
fn every_format_is_read_compressed_or_not() {
    let plain = (0..40).map(|row| text(row) + "\n").collect::<String>();
    let forms = [
        ("jsonl", jsonl(0..40)),
        ("ndjson", jsonl(0..40)),
        ("json", json_array(0..40)),
        ("csv", separated(0..40, ',')),
        ("tsv", separated(0..40, '\t')),
        ("txt", plain),
    ];
    for (end, content) in &forms {
        reads_forty(&format!("rows.{end}"), content.as_bytes());
        reads_forty(&format!("rows.{end}.gz"), &gz(content));
        reads_forty(&format!("rows.{end}.zst"), &zst(content));
        reads_forty(&format!("rows.{end}.bz2"), &bz2(content));
        reads_forty(&format!("rows.{end}.xz"), &xz(content));
    }
    reads_forty("rows.parquet", &parquet(0..40, "text"));
    reads_forty("stream.arrow", &arrow_stream(0..40));
    reads_forty("file.arrow", &arrow_file(0..40));
    reads_forty("stream.arrow.zst", &zst(arrow_stream(0..40)));
}

#[test]
fn lines_end_as_on_any_system_and_a_byte_order_mark_is_no_text() {
    let windows = jsonl(0..40).replace('\n', "\r\n");
    reads_forty("rows.jsonl", windows.as_bytes());
    reads_forty("rows.csv", separated(0..40, ',').replace('\n', "\r\n").as_bytes());
    for (name, content) in
        [("rows.jsonl", jsonl(0..40)), ("rows.csv", separated(0..40, ',')), ("rows.json", json_array(0..40))]
    {
        reads_forty(name, format!("\u{feff}{content}").as_bytes());
    }
    // No line end at the end.
    reads_forty("rows.jsonl", jsonl(0..40).trim_end().as_bytes());
    reads_forty("rows.csv", separated(0..40, ',').trim_end().as_bytes());
}

#[test]
fn standard_input_is_json_lines_and_may_be_compressed() {
    for input in [jsonl(0..40).into_bytes(), gz(jsonl(0..40))] {
        let world = World::new();
        let arguments = [&["summary", "-", "text", "--max", "10"], &super::QUIET[..]].concat();
        let run = fed(world.command(&arguments), &input).exits(0);
        assert_eq!(run.json()["summaries"][0]["sample"], json!({"kind": "uniform", "population": 40}));
        let found = ids(&world);
        assert!(found.len() == 10 && found.iter().all(|id| id.starts_with("-#")), "{found:?}");
    }
    let world = World::new();
    let message = refused(fed(world.command(&["summary", "-", "text", "--model", "heuristic"]), b""), 1);
    assert!(message.contains("`-` has no rows"), "{message}");
    let message =
        refused(fed(world.command(&["summary", "-", "text", "--model", "heuristic"]), b"id,text\n1,a\n"), 1);
    assert!(message.contains("none of its first 2 rows is a JSON object"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_pipe_with_a_name_is_read_as_standard_input_is() {
    let world = World::new();
    let pipe = world.path("rows.pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = std::thread::spawn(move || fs::write(pipe, jsonl(0..40)).unwrap());
    local(&world, &["rows.pipe", "text"]).exits(0);
    writer.join().unwrap();
    assert_eq!(ids(&world)[39], "rows.pipe#39");
}

#[test]
fn a_text_may_lie_within_a_row() {
    let world = World::new();
    let rows = (0..3).map(|row| {
        let messages =
            json!([{"role": "user", "content": text(row)}, {"role": "assistant", "content": "Yes."}]);
        format!("{}\n", json!({"meta": {"text": text(row + 10)}, "messages": messages, "a.b": "literal", "a": {"b": "inner"}, "n": row}))
    });
    world.write("rows.jsonl", rows.collect::<String>());
    for (column, expected) in [
        ("messages.0.content", json!(text(1))),
        ("meta.text", json!(text(11))),
        // A literal name wins over a path.
        ("a.b", json!("literal")),
    ] {
        local(&world, &["rows.jsonl", column]).exits(0);
        assert_eq!(texts(&world, column)[1], expected, "{column}");
    }
    // What is no text is rated as the text that it is written as.
    local(&world, &["rows.jsonl", "n"]).exits(0);
    let message = refused(local(&world, &["rows.jsonl", "meta.txt"]), 2);
    assert!(message.contains("did you mean `meta.text`?"), "{message}");
}

#[test]
fn one_column_of_messages_is_an_instruction_and_an_output() {
    let world = World::new();
    let say = |role: &str, content: &str| json!({"role": role, "content": content});
    let rows = [
        json!({"messages": [say("system", "Be brief."), say("user", "What is 2 + 2?"), say("assistant", "It is 4.")]}),
        json!({"messages": [say("user", "What is 2 + 2?")]}),
        json!({"messages": null}),
    ];
    world.write("chat.jsonl", rows.map(|row| format!("{row}\n")).concat());
    let run = local(&world, &["chat.jsonl", "messages", "instruction_following"]).exits(0);
    // Without an answer to the last question there is nothing to rate.
    assert_eq!((&run.ledger()["rated"], &run.ledger()["empty"]), (&json!(1), &json!(2)));
    let found = lines(&world);
    assert_eq!(found[0]["fields"]["instruction"], "system: Be brief.\n\nuser: What is 2 + 2?");
    assert_eq!(found[0]["fields"]["output"], "It is 4.");
    assert_eq!(found[1]["failure"]["reason"], "empty");
}

#[test]
fn what_cannot_be_a_dataset_is_told_with_what_can() {
    let world = World::new();
    world.write("rows.jsonl", jsonl(0..3));
    world.write("rows.zip", b"PK\x03\x04");
    world.write("rows.jsonl.lz4", b"\x04\x22\x4d\x18");
    world.write("rows.parquet.gz", gz(parquet(0..3, "text")));
    let told = |arguments: &[&str], code: i32, words: &[&str]| {
        let message = refused(local(&world, arguments), code);
        for word in words {
            assert!(message.contains(word), "{arguments:?}: `{word}` in {message}");
        }
    };
    told(&["rows.zip", "text"], 2, &["rows.zip", "parquet"]);
    told(&["rows.jsonl.lz4", "text"], 2, &["rows.jsonl.lz4", "lz4"]);
    told(&["rows.parquet.gz", "text"], 2, &["rows.parquet.gz", "unpack it"]);
    told(&["rows.jsonl", "text", "--config", "en"], 2, &["no config `en`", "leave --config out"]);
    told(&["rows.jsonl", "text", "--split", "test"], 2, &["no split `test`", "leave --split out"]);
    told(&["rows.jsonl", "text", "--revision", "v1"], 2, &["no revision `v1`", "leave --revision out"]);
    told(&["https://example.org/rows.jsonl", "text"], 2, &["those of datasets at the Hub are read"]);
    let run: Run = local(&world, &["rows.jsonl", "text", "--split", "train"]);
    run.exits(0);
}
