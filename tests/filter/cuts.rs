//! Which rows are kept.

use serde_json::{Value, json};

use super::{filter, kept, rows, score, those, world};
use crate::world::{World, text};

#[test]
fn min_keeps_the_rows_that_reach_it_and_every_row_is_accounted_for() {
    let (world, standin) = world(40);
    let run = filter(&world, &["--min", "2.5", "-o", "out"]).exits(0);
    assert_eq!(kept(&world, "out"), those(40, |row| score(row) >= 2.5));
    let ledger = &run.json()["ledger"];
    assert_eq!((&ledger["rows_in"], &ledger["kept"]), (&json!(40), &json!(16)));
    assert_eq!(ledger["dropped_by"]["cut"], 24, "{ledger}");
    assert_eq!(standin.counters().requests, 40);

    // Another cut costs nothing: every rating is kept in the store.
    filter(&world, &["--min", "3", "-o", "best"]).exits(0);
    assert_eq!(kept(&world, "best"), those(40, |row| score(row) >= 3.0));
    assert_eq!(standin.counters().requests, 40);
}

#[test]
fn the_score_and_its_whole_number_are_columns_beside_those_of_the_input() {
    let (world, _standin) = world(10);
    filter(&world, &["--min", "1.5", "-o", "out"]).exits(0);
    let rows = rows(&world.path("out"));
    let columns: Vec<&String> = rows[0].keys().collect();
    let expected =
        ["text", "n", "lang", "textbook_quality_score", "textbook_quality_int_score", "score", "int_score"];
    assert_eq!(columns, expected);
    assert_eq!(rows[0]["text"], text(1));
    let scores: Vec<(f64, i64)> = rows
        .iter()
        .map(|row| (row["textbook_quality_score"].as_f64().unwrap(), row["int_score"].as_i64().unwrap()))
        .collect();
    // Half a point is rounded up.
    assert_eq!(&scores[..4], [(1.5, 2), (2.0, 2), (2.5, 3), (3.0, 3)]);
}

#[test]
fn verdicts_are_those_of_the_lens() {
    let (world, _standin) = world(20);
    filter(&world, &["--verdict", "good,poor", "-o", "out"]).exits(0);
    // Of one score: Good from 2.75, Poor below 1.5.
    assert_eq!(kept(&world, "out"), those(20, |row| score(row) >= 2.75 || score(row) < 1.5));
}

#[test]
fn a_condition_joins_scores_and_columns() {
    let (world, _standin) = world(20);
    filter(&world, &["--where", "textbook_quality >= 2 and row.lang == 'en' and row.n < 15", "-o", "out"])
        .exits(0);
    assert_eq!(kept(&world, "out"), those(15, |row| score(row) >= 2.0 && row % 2 == 0));
    filter(&world, &["--where", "textbook_quality_overall > 2", "--min", "3", "-o", "two"]).exits(0);
    assert_eq!(kept(&world, "two"), those(20, |row| score(row) >= 3.0));
}

#[test]
fn a_row_without_a_value_that_the_condition_names_is_dropped_for_it() {
    let world = World::new();
    world.write("rows.jsonl", "{\"n\":0,\"q\":1}\n{\"n\":1,\"q\":null}\n{\"n\":2}\n{\"n\":3,\"q\":3}\n");
    let run = world
        .run(&[
            "filter",
            "rows.jsonl",
            "--where",
            "row.q >= 2 or row.n >= 0",
            "-o",
            "out",
            "--format",
            "json",
        ])
        .exits(0);
    assert_eq!(kept(&world, "out"), [0, 3]);
    assert_eq!(run.json()["ledger"]["dropped_by"]["missing_value"], 2);
}

#[test]
fn unlike_kinds_are_an_error_that_names_the_column() {
    let (world, standin) = world(6);
    let run = filter(&world, &["--where", "row.lang >= 2", "-o", "out"]);
    assert!(matches!(run.code, 1 | 2), "{}", run.stderr);
    assert!(run.stderr.contains("lang"), "{}", run.stderr);
    assert!(!world.path("out").exists());
    let run = filter(&world, &["--where", "textbook_quality == 'good'", "-o", "out"]).exits(2);
    assert!(run.stderr.contains("textbook_quality"), "{}", run.stderr);
    assert!(standin.counters().requests <= 6);
}

#[test]
fn mistakes_are_told_before_anything_is_asked() {
    let (world, standin) = world(6);
    let cases: [(&[&str], &[&str]); 9] = [
        (&["--where", "textbok_quality >= 2"], &["textbok_quality", "textbook_quality", "row.lang"]),
        (&["--where", "row.lng == 'en'"], &["lng", "lang", "text"]),
        (&["--where", "row.lang =="], &["--where"]),
        (&["--min", "9"], &["9", "1", "3", "textbook_quality"]),
        (&["--min", "2", "--by", "row.nope"], &["nope"]),
        (&["--verdict", "fine"], &["fine", "good"]),
        (&["--top", "0"], &["0"]),
        (&["--top", "150%"], &["100%"]),
        (&[], &["--min", "--where", "--top"]),
    ];
    for (cut, words) in cases {
        let run = filter(&world, &[cut, &["-o", "out"]].concat()).exits(2);
        for word in words {
            assert!(run.stderr.contains(word), "{cut:?} lacks `{word}`: {}", run.stderr);
        }
    }
    assert_eq!(standin.counters().requests, 0);
    assert!(!world.path("out").exists());
}

#[test]
fn top_keeps_exactly_so_many_and_ties_go_by_order() {
    let (world, _standin) = world(23);
    // ⌈10 % of 23⌉ = 3 of the four rows with a 3.
    filter(&world, &["--top", "10%", "-o", "share"]).exits(0);
    assert_eq!(kept(&world, "share"), [4, 9, 14]);
    filter(&world, &["--top", "6", "-o", "count"]).exits(0);
    assert_eq!(kept(&world, "count"), [3, 4, 8, 9, 14, 19]);
    filter(&world, &["--top", "1000", "-o", "all"]).exits(0);
    assert_eq!(kept(&world, "all").len(), 23);
}

#[test]
fn a_column_of_the_input_judges_without_any_rating() {
    let (world, standin) = world(20);
    let by = |more: &[&str]| world.run(&[&["filter", "rows.jsonl"], more].concat());
    by(&["--by", "row.n", "--min", "12", "-o", "min"]).exits(0);
    assert_eq!(kept(&world, "min"), those(20, |row| row >= 12));
    by(&["--by", "row.n", "--top", "25%", "-o", "top"]).exits(0);
    assert_eq!(kept(&world, "top"), those(20, |row| row >= 15));
    let run = by(&["--by", "row.lang", "--min", "1", "-o", "text"]);
    assert!(run.code != 0 && run.stderr.contains("lang"), "{}", run.stderr);
    assert_eq!(standin.counters().requests, 0);
    // Nothing was rated, so nothing is added.
    assert_eq!(rows(&world.path("min"))[0].keys().collect::<Vec<_>>(), ["text", "n", "lang"]);
}

#[test]
fn a_cascade_asks_only_about_rows_that_the_heuristic_does_not_put_below() {
    let (world, standin) = world(30);
    let good = std::fs::read_to_string(world.path("rows.jsonl")).unwrap();
    let poor: Vec<String> =
        (30..50).map(|n| json!({"text": format!("{n} x"), "n": n, "lang": "en"}).to_string()).collect();
    let foreign = json!({"text": "Кошка сидит на окне и смотрит на улицу, где идёт дождь. ".repeat(9), "n": 50, "lang": "ru"});
    world.write("rows.jsonl", format!("{good}\n{}\n{foreign}\n", poor.join("\n")));
    let run = filter(&world, &["--first", "heuristic:1.5", "--min", "2", "-o", "out"]).exits(0);
    let document = run.json();
    let screened = document["ledger"]["dropped_by"]["first_rater"].as_u64().unwrap();
    assert!(screened >= 20, "{document}");
    // What the heuristic cannot measure is asked.
    assert_eq!(standin.counters().requests, 51 - screened);
    assert!(standin.requests().iter().any(|request| request.body.contains("Кошка")));
    assert_eq!(document["first"]["not_asked"], screened);
}

#[test]
fn scores_apart_from_rows_judge_as_ratings_do() {
    let (world, standin) = world(30);
    for file in ["scores.parquet", "scores.jsonl", "scores.jsonl.gz", "scores.jsonl.zst"] {
        filter(&world, &["--scores-only", "-o", file]).exits(0);
        let out = format!("by-{file}");
        world.run(&["filter", "rows.jsonl", "--scores", file, "--min", "2.5", "-o", &out]).exits(0);
        assert_eq!(kept(&world, &out), those(30, |row| score(row) >= 2.5), "{file}");
    }
    assert_eq!(standin.counters().requests, 30);
    // What the scores are of is known: the same may be written anew, others only by force.
    filter(&world, &["--scores-only", "-o", "scores.parquet"]).exits(0);
    world.rows("other.jsonl", 2);
    let others =
        ["filter", "other.jsonl", "text", "textbook_quality", "--scores-only", "-o", "scores.parquet"];
    let run = world.run(&others).exits(2);
    assert!(run.stderr.contains("rows.jsonl") && run.stderr.contains("--force"), "{}", run.stderr);
    assert_eq!(standin.counters().requests, 30);
    // In a folder of data they are none.
    std::fs::create_dir(world.path("set")).unwrap();
    for file in ["rows.jsonl", "scores.parquet", "scores.jsonl", "scores.jsonl.gz", "scores.jsonl.zst"] {
        std::fs::copy(world.path(file), world.path("set").join(file)).unwrap();
    }
    let run =
        world.run(&["filter", "set", "--by=row.n", "--min=0", "-o", "of-set", "--format=json"]).exits(0);
    assert_eq!(run.json()["ledger"]["rows_in"], 30, "{}", run.stderr);
    let note = "results of this program: scores.jsonl, scores.jsonl.gz, scores.jsonl.zst, scores.parquet";
    assert!(run.stderr.contains(note), "{}", run.stderr);
    // Named itself, such a file is a dataset, and what is kept of it is one too, not a table of scores.
    let named =
        ["filter", "scores.parquet", "--by=row.textbook_quality_score", "--min=0", "-o", "set/of-scores"];
    world.run(&named).exits(0);
    std::fs::remove_file(world.path("set/of-scores/classified.json")).unwrap();
    let run = world
        .run(&["filter", "set/of-scores/data", "--where=row.id != ''", "-o", "again", "--format=json"])
        .exits(0);
    assert_eq!(run.json()["ledger"]["rows_in"], 30, "{}", run.stderr);
    let first = std::fs::read_to_string(world.path("scores.jsonl")).unwrap();
    let first: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    let end = text(0).chars().count();
    assert_eq!(first["id"], "rows.jsonl#0");
    assert_eq!(first["attributes"]["textbook_quality_score"], json!([[0, end, 1.0]]));
}

#[test]
fn scores_in_another_order_are_found_by_id_and_rows_that_they_lack_are_unrated() {
    let (world, _standin) = world(10);
    let scores: Vec<String> = [7, 2, 9, 0, 4]
        .map(|row| json!({"id": format!("rows.jsonl#{row}"), "mine_score": row}).to_string())
        .to_vec();
    world.write("scores.jsonl", scores.join("\n"));
    let by = |min: &str, out: &str| {
        world.run(&[
            "filter",
            "rows.jsonl",
            "--scores",
            "scores.jsonl",
            "--min",
            min,
            "-o",
            out,
            "--format",
            "json",
        ])
    };
    let run = by("4", "out").exits(0);
    assert_eq!(kept(&world, "out"), [4, 7, 9]);
    let unrated = &run.json()["ledger"]["unrated_by"];
    assert_eq!(
        unrated.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum::<u64>(),
        5,
        "{unrated}"
    );

    world.write("scores.jsonl", format!("{}\n{}", scores.join("\n"), scores[1]));
    let run = by("5", "twice");
    assert!(run.code != 0 && run.stderr.contains("rows.jsonl#2"), "{}", run.stderr);
}

#[test]
fn a_preview_shows_both_sides_of_the_cut_and_writes_nothing() {
    let (world, _standin) = world(20);
    let run = world.run(&["filter", "rows.jsonl", "text", "--min", "2.5", "--preview"]).exits(0);
    assert!(run.stdout.contains("rows.jsonl#3") && run.stdout.contains("Row 3."), "{}", run.stdout);
    assert!(run.stdout.contains("20 in") && run.stdout.contains('8'), "{}", run.stdout);
    let left: Vec<_> =
        std::fs::read_dir(world.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| ["rows.jsonl", ".local"].contains(&name.to_str().unwrap())), "{left:?}");
}

#[test]
fn a_lens_whose_score_is_called_score_is_judged_by_it() {
    let world = World::new();
    world.write("rows.jsonl", (0..5).map(|row| super::line(row).to_string()).collect::<Vec<_>>().join("\n"));
    let property = |kind: &str| json!({"type": kind, "description": "x"});
    let function = |score: &str| {
        json!({"name": "rate", "parameters": {"type": "object", "required": ["rationale", score],
            "properties": {"rationale": property("string"), score: {"type": "number", "enum": [1, 2, 3]}}}})
    };
    for (lens, score) in [("mine", "score"), ("other", "first")] {
        let file = |name: &str, text: &str| world.write(&format!("lenses/{lens}/{name}"), text);
        file("config.json", r#"{"input_fields": ["text"], "type": "score", "heuristic": "prose"}"#);
        file("functions.json", &function(score).to_string());
        file("system.jinja", "Rate.");
        file("prompt.jinja", "{{ text }}");
    }
    let by = |lens: &str, more: &[&str]| {
        world.run(&[&["filter", "rows.jsonl", "text", lens, "--model", "heuristic"], more].concat())
    };
    by("mine", &["--where", "mine >= 1 and mine_score <= 3", "-o", "out"]).exits(0);
    assert_eq!(kept(&world, "out").len(), 5);
    let run = by("other", &["--min", "1", "-o", "other"]).exits(2);
    assert!(run.stderr.contains("other_first"), "{}", run.stderr);
}
