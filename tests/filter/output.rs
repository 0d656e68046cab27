//! What is written, and when nothing is.

use std::fs;

use serde_json::{Value, json};

use super::{filter, kept, line, rows, score, scored, those, world};
use crate::standin::{Action, Rule, Standin};
use crate::world::World;

/// Ten rows that are rated, an empty one, one that cannot be read, and one that the model refuses.
fn mixed() -> (World, Standin) {
    let refused = Rule { contains: Some("Row 7. ".into()), ..Rule::always(Action::Refusal("No.".into())) };
    let (world, standin) = World::with_endpoint(scored(10, vec![refused]));
    let mut lines: Vec<String> = (0..10).map(|row| line(row).to_string()).collect();
    lines.insert(3, json!({"text": " ", "n": 100, "lang": "en"}).to_string());
    lines.insert(5, "{\"text\": \"broken".to_owned());
    world.write("rows.jsonl", lines.join("\n"));
    (world, standin)
}

#[test]
fn unrated_rows_are_listed_beside_the_folder_with_their_reasons() {
    let (world, _standin) = mixed();
    let run = filter(&world, &["--min", "1", "-o", "out", "--fail-above", "50%"]).exits(0);
    assert_eq!(kept(&world, "out"), those(10, |row| row != 7));
    let ledger = &run.json()["ledger"];
    assert_eq!(ledger["unrated_by"], json!({"empty": 1, "refusal": 1, "unreadable": 1}));
    assert_eq!(ledger["rows_in"], 12);
    let unrated: Vec<Value> = fs::read_to_string(world.path("out.unrated.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<(&str, &str)> = unrated
        .iter()
        .map(|line| (line["id"].as_str().unwrap(), line["failure"]["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [("rows.jsonl#3", "empty"), ("rows.jsonl#5", "unreadable"), ("rows.jsonl#9", "refusal")]
    );
}

#[test]
fn unrated_rows_can_be_kept_or_forbidden() {
    let (world, _standin) = mixed();
    filter(&world, &["--min", "3", "--unrated", "keep", "-o", "keep", "--fail-above", "50%"]).exits(0);
    // What cannot be read cannot be written either.
    assert_eq!(kept(&world, "keep"), [100, 4, 7, 9]);
    let rows = rows(&world.path("keep"));
    assert!(rows[0]["score"].is_null() && rows[2]["int_score"].is_null() && rows[1]["score"] == 3.0);

    let run =
        filter(&world, &["--min", "3", "--unrated", "fail", "-o", "fail", "--fail-above", "50%"]).exits(3);
    assert!(run.stderr.contains("refusal"), "{}", run.stderr);
    assert!(!world.path("fail").exists());
}

#[test]
fn where_too_many_rows_failed_for_the_endpoint_s_state_nothing_is_written_and_they_are_asked_again() {
    let down = Rule { contains: Some("Row 3. ".into()), times: Some(6), ..Rule::always(Action::status(500)) };
    let (world, standin) = World::with_endpoint(scored(20, vec![down]));
    world.write("rows.jsonl", (0..20).map(|row| line(row).to_string()).collect::<Vec<_>>().join("\n"));
    let run = filter(&world, &["--min", "2", "-o", "out"]).exits(3);
    assert!(run.stderr.contains("--fail-above"), "{}", run.stderr);
    assert!(!world.path("out").exists());
    let asked = standin.counters().requests;
    filter(&world, &["--min", "2", "-o", "out"]).exits(0);
    assert_eq!(kept(&world, "out"), those(20, |row| score(row) >= 2.0));
    assert_eq!(standin.counters().requests, asked + 1);
}

#[test]
fn where_too_many_rows_failed_for_what_they_are_the_output_is_there_and_the_exit_code_says_so() {
    let (world, _standin) = mixed();
    let run = filter(&world, &["--min", "1", "-o", "out"]).exits(3);
    assert!(run.stderr.contains("--fail-above"), "{}", run.stderr);
    assert_eq!(kept(&world, "out").len(), 9);
}

#[test]
fn the_same_job_again_has_nothing_to_do_and_another_needs_force() {
    let (world, standin) = world(20);
    filter(&world, &["--min", "2", "-o", "out"]).exits(0);
    let before = fs::metadata(world.path("out/README.md")).unwrap().modified().unwrap();
    let run = filter(&world, &["--min", "2", "-o", "out"]).exits(0);
    assert!(run.stderr.contains("nothing to do"), "{}", run.stderr);
    assert_eq!(fs::metadata(world.path("out/README.md")).unwrap().modified().unwrap(), before);

    let run = filter(&world, &["--min", "3", "-o", "out"]).exits(2);
    assert!(run.stderr.contains("--force") && run.stderr.contains("out"), "{}", run.stderr);
    assert_eq!(kept(&world, "out"), those(20, |row| score(row) >= 2.0));
    filter(&world, &["--min", "3", "-o", "out", "--force"]).exits(0);
    assert_eq!(kept(&world, "out"), those(20, |row| score(row) >= 3.0));
    assert_eq!(standin.counters().requests, 20);

    // Of the same job too: rows that had no rating are asked again.
    let run = filter(&world, &["--min", "3", "-o", "out", "--force"]).exits(0);
    assert!(!run.stderr.contains("nothing to do") && run.json()["ledger"]["rows_in"] == 20, "{}", run.stderr);

    // Other data under the same name is another job.
    world.write("rows.jsonl", (0..21).map(|row| line(row).to_string()).collect::<Vec<_>>().join("\n"));
    filter(&world, &["--min", "3", "-o", "out"]).exits(2);
}

#[test]
fn nothing_but_our_own_output_is_replaced() {
    let (world, standin) = world(5);
    world.write("mine/thesis.txt", "years of work");
    world.write("file", "x");
    for (out, more) in [("mine", &[][..]), ("mine", &["--force"]), ("file", &["--force"])] {
        let run = filter(&world, &[&["--min", "2", "-o", out], more].concat()).exits(2);
        assert!(run.stderr.contains(out), "{}", run.stderr);
    }
    assert_eq!(fs::read_to_string(world.path("mine/thesis.txt")).unwrap(), "years of work");
    assert_eq!(standin.counters().requests, 0);
    // Somebody's file in an output of ours.
    filter(&world, &["--min", "2", "-o", "out"]).exits(0);
    world.write("out/notes.txt", "mine");
    filter(&world, &["--min", "3", "-o", "out", "--force"]).exits(2);
    assert!(world.path("out/notes.txt").exists());
    // An empty folder is as good as none.
    fs::create_dir(world.path("empty")).unwrap();
    filter(&world, &["--min", "2", "-o", "empty"]).exits(0);
}

#[test]
fn a_cut_that_keeps_nothing_writes_nothing() {
    let (world, _standin) = world(4);
    let run = filter(&world, &["--min", "3", "-o", "out"]).exits(6);
    assert_eq!(run.json()["ledger"]["kept"], 0);
    assert!(!world.path("out").exists() && !world.path(".out.part").exists());
}

#[test]
fn a_column_that_has_the_score_s_name_is_not_overwritten() {
    let (world, standin) = world(0);
    let line = |row: usize| {
        json!({"text": crate::world::text(row), "textbook_quality_score": "high", "score": 1}).to_string()
    };
    world.write("rows.jsonl", (0..3).map(line).collect::<Vec<_>>().join("\n"));
    let run = filter(&world, &["--min", "1", "-o", "out"]).exits(2);
    assert!(
        run.stderr.contains("textbook_quality_score") && run.stderr.contains("--score-name"),
        "{}",
        run.stderr
    );
    assert_eq!(standin.counters().requests, 0);
    filter(&world, &["--min", "1", "-o", "out", "--score-name", "tq"]).exits(0);
    let rows = rows(&world.path("out"));
    assert_eq!(
        rows[0].keys().collect::<Vec<_>>(),
        ["text", "textbook_quality_score", "score", "tq", "int_tq"]
    );
    assert_eq!((&rows[0]["score"], &rows[0]["textbook_quality_score"]), (&json!(1), &json!("high")));
}

#[test]
fn json_lines_stay_as_they_are() {
    let (world, _standin) = world(0);
    let lines = [
        r#"{"text":"One thing after the other, as ever.","mixed":1,"big":12345678901234567890,"e":{}}"#,
        r#"{"other":[1,"a",null],"text":"Another thing, and one more.","mixed":"x"}"#,
    ];
    world.write("rows.jsonl", lines.join("\n"));
    filter(&world, &["--min", "1", "--to", "jsonl", "-o", "out"]).exits(0);
    let text = fs::read_to_string(world.path("out/data/train-00000-of-00001.jsonl")).unwrap();
    for (line, written) in lines.iter().zip(text.lines()) {
        assert!(written.starts_with(&line[..line.len() - 1]), "{written}");
        assert!(written.contains(r#","textbook_quality_score":"#), "{written}");
    }
    // As parquet the column of two kinds is text, and that is said.
    let run = filter(&world, &["--min", "1", "-o", "parquet"]).exits(0);
    assert!(run.stderr.contains("mixed"), "{}", run.stderr);
    let rows = rows(&world.path("parquet"));
    assert_eq!((&rows[0]["mixed"], &rows[1]["mixed"]), (&json!("1"), &json!("x")));
    assert_eq!(rows[0]["big"], json!(12_345_678_901_234_567_890_u64));
}

#[test]
fn an_output_is_a_dataset_again_and_no_data_of_its_folder() {
    let (world, standin) = world(20);
    filter(&world, &["--min", "2", "-o", "out"]).exits(0);
    world.run(&["filter", "out", "--by", "row.score", "--min", "3", "-o", "again"]).exits(0);
    assert_eq!(kept(&world, "again"), those(20, |row| score(row) >= 3.0));
    fs::create_dir(world.path("corpus")).unwrap();
    fs::rename(world.path("rows.jsonl"), world.path("corpus/rows.jsonl")).unwrap();
    fs::rename(world.path("out"), world.path("corpus/out")).unwrap();
    let run = world
        .run(&["filter", "corpus", "--by", "row.n", "--min", "0", "-o", "corpus/all", "--format", "json"])
        .exits(0);
    assert_eq!(run.json()["ledger"]["rows_in"], 20);
    assert_eq!(standin.counters().requests, 20);
}

#[test]
fn the_card_says_what_was_done() {
    let (world, _standin) = world(10);
    filter(&world, &["--min", "2.5", "-o", "out"]).exits(0);
    let card = fs::read_to_string(world.path("out/README.md")).unwrap();
    for word in ["textbook_quality", "2.5", "gpt-6-luna", "data/train-*", "10", "4"] {
        assert!(card.contains(word), "no {word} in {card}");
    }
    let receipt: Value =
        serde_json::from_str(&fs::read_to_string(world.path("out/classified.json")).unwrap()).unwrap();
    assert_eq!(receipt["v"], 1);
    assert!(!receipt.to_string().contains(world.path("").to_str().unwrap()), "{receipt}");
}

#[test]
fn ids_of_the_user_s_need_not_be_unique_nor_readable() {
    let (world, standin) = world(0);
    // The third row can be rated, and not be written.
    let text = |row: usize| crate::world::text(row);
    let lines = [
        json!({"text": text(1), "key": "a"}).to_string(),
        json!({"text": " ", "key": "a"}).to_string(),
        format!("{{\"text\": {}, \"key\": \"c\", \"x\": 1e400}}", json!(text(3))),
        json!({"text": text(4), "key": null}).to_string(),
    ];
    world.write("rows.jsonl", lines.join("\n"));
    let run = filter(&world, &["--min", "1", "--id", "key", "-o", "out", "--fail-above", "50%"]).exits(0);
    assert_eq!(run.json()["ledger"]["unrated_by"], json!({"empty": 1, "unreadable": 1}));
    assert_eq!(rows(&world.path("out")).len(), 2);
    let unrated = fs::read_to_string(world.path("out.unrated.jsonl")).unwrap();
    assert!(unrated.contains(r#""id":"a""#) && unrated.contains(r#""id":"rows.jsonl#2""#), "{unrated}");
    let run = filter(&world, &["--min", "1", "--id", "nokey", "-o", "other"]).exits(2);
    assert!(run.stderr.contains("nokey") && run.stderr.contains("key"), "{}", run.stderr);
    assert!(standin.counters().requests <= 3);
}

#[test]
fn rows_that_cannot_be_read_are_unrated_rows_too() {
    let (world, _standin) = world(0);
    let lines: Vec<String> =
        (0..10).map(|n| if n == 4 { "{\"n\": ".to_owned() } else { json!({"n": n}).to_string() }).collect();
    world.write("rows.jsonl", lines.join("\n"));
    let by = |more: &[&str]| world.run(&[&["filter", "rows.jsonl", "--by", "row.n"], more].concat());
    let run = by(&["--min", "3", "--unrated", "fail", "-o", "fail"]).exits(3);
    assert!(run.stderr.contains("rows.jsonl#4"), "{}", run.stderr);
    assert!(!world.path("fail").exists());
    let run = by(&["--min", "3", "-o", "out", "--quiet"]).exits(3);
    assert!(run.stderr.contains("--fail-above") && run.stdout.is_empty(), "{}", run.stderr);
    assert_eq!(kept(&world, "out"), [3, 5, 6, 7, 8, 9]);
    by(&["--min", "3", "-o", "allowed", "--fail-above", "10%"]).exits(0);
    // What cannot be written is not among the best.
    by(&["--top", "3", "-o", "top", "--fail-above", "10%"]).exits(0);
    assert_eq!(kept(&world, "top"), [7, 8, 9]);
}

#[test]
fn what_was_done_before_is_told_as_it_was_then() {
    let (world, _standin) = world(20);
    let first = filter(&world, &["--min", "2", "--max", "10", "-o", "out"]).exits(0).json();
    let again = filter(&world, &["--min", "2", "--max", "10", "-o", "out"]).exits(0).json();
    assert_eq!((&again["ledger"], &again["shards"]), (&first["ledger"], &first["shards"]));
    assert_eq!((&first["done_before"], &again["done_before"]), (&json!(false), &json!(true)));
    let card = fs::read_to_string(world.path("out/README.md")).unwrap();
    assert!(card.contains("--max 10 --seed 42"), "{card}");
}

#[test]
fn a_preview_is_no_run_of_the_report() {
    let (world, _standin) = world(10);
    filter(&world, &["--min", "2", "--preview", "-o", "out"]).exits(0);
    assert!(!world.path("out").exists());
    filter(&world, &["--min", "2", "-o", "out"]).exits(0);
    let report = world.run(&["report", "--format", "json"]).exits(0).json();
    let runs = report["series"][0]["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1, "{report}");
    assert_eq!(runs[0]["outcome"]["filter"]["kept"], 6);
}
