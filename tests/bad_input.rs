//! What goes wrong is said in one message with what to do, and with a documented exit code.

use std::fs;

use crate::standin::{Action, Config, Rule, Script};
use crate::world::{Run, World};

/// Runs the heuristic over a dataset; returns what is said on stderr.
#[track_caller]
fn says(world: &World, arguments: &[&str], code: i32, words: &[&str]) {
    let run = world.run(arguments).exits(code);
    for words in words {
        assert!(run.stderr.contains(words), "`{words}` is not in:\n{}", run.stderr);
    }
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}

#[test]
fn unknown_names_are_told_with_what_exists() {
    let world = World::new();
    world.rows("rows.jsonl", 3);
    let heuristic = ["--model", "heuristic"];
    says(&world, &[&["summary", "rowz.jsonl", "text"][..], &heuristic].concat(), 2, &["rows.jsonl"]);
    says(&world, &[&["summary", "rows.jsonl", "txet"][..], &heuristic].concat(), 2, &["text", "n"]);
    says(
        &world,
        &[&["summary", "rows.jsonl", "text", "textbook_qualty"][..], &heuristic].concat(),
        2,
        &["textbook_quality", "code_quality"],
    );
    says(
        &world,
        &[&["summary", "rows.jsonl", "text", "--split", "test"][..], &heuristic].concat(),
        2,
        &["leave --split out"],
    );
    says(
        &world,
        &[&["summary", "rows.jsonl", "text", "instruction_following"][..], &heuristic].concat(),
        2,
        &["2 fields (instruction, output)", "1 column of messages", "string"],
    );
    says(
        &world,
        &["summary", "owner/name", "text", "--model", "heuristic"],
        1,
        &["HF_HUB_OFFLINE", "owner/name"],
    );
}

#[test]
fn flags_out_of_range_are_usage_errors() {
    let world = World::new();
    world.rows("rows.jsonl", 3);
    for flags in [
        ["--max", "0"],
        ["--workers", "0"],
        ["--fail-above", "1"],
        ["--temperature", "9"],
        ["--extra-body", "[]"],
        ["--extra-body", "{\"model\": 1}"],
    ] {
        let arguments =
            [&["summary", "rows.jsonl", "text", "--base-url", "http://127.0.0.1:9"][..], &flags].concat();
        world.run(&arguments).exits(2);
    }
    // More than there are is all there are.
    let run = world
        .run(&["summary", "rows.jsonl", "text", "--max", "99", "--model", "heuristic", "--format", "json"])
        .exits(0);
    assert_eq!(run.ledger()["rated"], 3);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let world = World::new();
    world.write("empty.jsonl", "");
    world.write("rows.xyz", "x");
    let parquet = fs::read(format!("{}/data/textbooks.parquet", env!("CARGO_MANIFEST_DIR"))).unwrap();
    world.write("cut.parquet", &parquet[..parquet.len() / 2]);
    says(&world, &["summary", "empty.jsonl", "text", "--model", "heuristic"], 1, &["empty.jsonl"]);
    says(&world, &["summary", "rows.xyz", "text", "--model", "heuristic"], 2, &["rows.xyz", "parquet"]);
    says(&world, &["summary", "cut.parquet", "text", "--model", "heuristic"], 1, &["cut.parquet"]);
    world.write("latin.jsonl", b"{\"text\": \"caf\xe9\"}\n{\"text\": \"fine words here\"}\n");
    let run =
        world.run(&["summary", "latin.jsonl", "text", "--model", "heuristic", "--format", "json"]).exits(3);
    assert_eq!(run.ledger()["failed"]["unreadable"], 1);
    assert!(run.stderr.contains("line 1"), "{}", run.stderr);
}

#[test]
fn a_broken_lens_is_told_with_file_and_line() {
    let world = World::new();
    world.rows("rows.jsonl", 3);
    let function = r#"{"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"rationale": {"type": "string"}, "overall": {"type": "integer"}}, "required": ["rationale", "overall"]}}"#;
    let make = |name: &str, function: &str, prompt: &str| {
        world.write(
            &format!("lenses/{name}/config.json"),
            r#"{"input_fields": ["resource"], "type": "pretrain"}"#,
        );
        world.write(&format!("lenses/{name}/function.json"), function);
        world.write(&format!("lenses/{name}/system.jinja"), "You rate.");
        world.write(&format!("lenses/{name}/prompt.jinja"), prompt);
    };
    make("undefined", function, "Rate\n{{ resorce }}");
    make("syntax", function, "Rate\n\n{% if %}");
    make(
        "endless",
        function,
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ resource }}{% endfor %}{% endfor %}",
    );
    make(
        "scoreless",
        r#"{"name": "f", "parameters": {"type": "object", "properties": {"why": {"type": "string"}}, "required": ["why"]}}"#,
        "{{ resource }}",
    );
    make("fine", function, "Rate {{ resource }}");
    let rate =
        |lens: &'static str| ["summary", "rows.jsonl", "text", lens, "--base-url", "http://127.0.0.1:9/v1"];
    says(&world, &rate("undefined"), 1, &["undefined", "prompt.jinja:2", "resorce"]);
    says(&world, &rate("syntax"), 1, &["prompt.jinja:3"]);
    says(&world, &rate("endless"), 1, &["endless", "prompt.jinja"]);
    says(&world, &rate("scoreless"), 1, &["scoreless", "score"]);
    says(
        &world,
        &["summary", "rows.jsonl", "text", "fine", "--model", "heuristic"],
        2,
        &["heuristic", "fine"],
    );
    says(&world, &rate("fine"), 1, &["cannot be reached", "OPENAI_BASE_URL"]);
}

#[test]
fn without_a_key_the_ways_out_are_named() {
    let world = World::new();
    world.rows("rows.jsonl", 3);
    says(
        &world,
        &["summary", "rows.jsonl", "text"],
        2,
        &["OPENAI_API_KEY", "OPENAI_BASE_URL", "--model heuristic"],
    );
}

#[test]
fn a_database_that_cannot_be_used_is_told_and_another_is_asked_for() {
    let (world, _standin) = World::with_endpoint(Config::default());
    world.rows("rows.jsonl", 3);
    world.write("not.db", "this is no database, but a text of more than a hundred bytes, so that SQLite reads its header and says so.");
    says(
        &world,
        &["summary", "rows.jsonl", "text", "--database-url", "not.db"],
        1,
        &["not.db", "DATABASE_URL"],
    );
    says(
        &world,
        &["summary", "rows.jsonl", "text", "--database-url", "postgres://user:pw@host/db"],
        2,
        &["not a SQLite"],
    );
    world.write("file", "");
    says(
        &world,
        &["summary", "rows.jsonl", "text", "--database-url", "file/ratings.db"],
        1,
        &["DATABASE_URL"],
    );
}

#[test]
fn an_output_folder_that_cannot_be_written_is_told() {
    let world = World::new();
    world.rows("rows.jsonl", 3);
    world.write("data", "a file where the folder should be");
    says(&world, &["summary", "rows.jsonl", "text", "--model", "heuristic"], 1, &["data", "DATA_DIR"]);
}

#[test]
fn a_setting_file_with_a_bad_line_is_told_without_quoting_it() {
    let world = World::new();
    world.write("local.env", "OPENAI_API_KEY=sk-secret with spaces\n");
    let run = world.run(&["settings"]).exits(2);
    assert!(run.stderr.contains("local.env") && !run.stderr.contains("sk-secret"), "{}", run.stderr);
}

#[test]
fn rationales_cannot_move_the_cursor_and_cells_cannot_be_formulas() {
    let world = World::new();
    world.write("=cmd.jsonl", "{\"te\\u001b[31mxt\": 1}\n{\"text\": broken\u{1b}]0;title\u{7}\n");
    let run = world.run(&["summary", "=cmd.jsonl", "text", "--model", "heuristic"]);
    assert!(!run.stderr.contains('\u{1b}') && !run.stdout.contains('\u{1b}'), "{:?}", run.stderr);
    world.rows("=cmd.jsonl", 2);
    world.run(&["summary", "=cmd.jsonl", "text", "--model", "heuristic"]).exits(0);
    let csv = fs::read_to_string(world.path("data/summary.csv")).unwrap();
    assert!(csv.contains("\n'=cmd.jsonl"), "{csv}");
}

#[test]
fn a_server_s_words_cannot_move_the_cursor() {
    let refusal = Action::Refusal("no\u{1b}[2J\u{7} way".into());
    let (world, _standin) =
        World::with_endpoint(Config { script: Script(vec![Rule::always(refusal)]), ..Config::default() });
    world.rows("rows.jsonl", 2);
    let run = world.run(&["summary", "rows.jsonl", "text"]).exits(3);
    assert!(run.stderr.contains("way") && !run.stderr.contains('\u{1b}'), "{:?}", run.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_on_a_full_disk_stops_no_run_and_lost_results_are_told() {
    let world = World::new();
    world.rows("rows.jsonl", 3);
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let arguments = ["summary", "rows.jsonl", "text", "--model", "heuristic"];
    let run = Run::of(world.command(&arguments).stderr(full()).output().unwrap()).exits(0);
    assert!(run.stdout.contains("Raw Scores"));
    let run = Run::of(world.command(&arguments).stdout(full()).output().unwrap()).exits(1);
    assert!(run.stderr.contains("cannot write the results to stdout"), "{}", run.stderr);
}

#[test]
fn what_is_left_empty_is_not_taken_for_a_name() {
    let world = World::new();
    world.rows("rows.jsonl", 3);
    world.run(&["summary", "", "text", "--model", "heuristic"]).exits(2);
    world.run(&["summary", "rows.jsonl", "", "--model", "heuristic"]).exits(2);
    world.run(&["summary", "rows.jsonl", "text", "--model", ""]).exits(2);
    world.run(&["cache", "stats", "--database-url", "typo.db"]).exits(2);
    assert!(!world.path("typo.db").exists());
}
