//! `report` and `summary --report`: what runs leave in the store, and what is said of them.

use std::fs;

use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::standin::{Action, Config, Rule, Script};
use crate::world::{HELD, Run, World, stopped_after, until};

const RATE: [&str; 6] = ["summary", "rows.jsonl", "text", "--model", "heuristic", "--quiet"];

/// 60 rows, of which so many are of a worse kind.
fn rows(world: &World, worse: usize) {
    let text = |row: usize| if row < worse { "buy now ".repeat(9 + row) } else { crate::world::text(row) };
    let lines: Vec<String> = (0..60).map(|row| json!({"text": text(row)}).to_string()).collect();
    world.write("rows.jsonl", lines.join("\n"));
}

fn report(world: &World, more: &[&str]) -> Run {
    world.run(&[&["report", "--format", "json"], more].concat())
}

/// The kinds of change of the first series' runs.
fn changes(report: &Value) -> Vec<&str> {
    let runs = report["series"][0]["runs"].as_array().unwrap();
    runs.iter().map(|run| run["change"]["kind"].as_str().unwrap()).collect()
}

#[test]
fn worse_data_the_next_day_is_a_drop_and_the_same_data_is_none() {
    let world = World::new();
    rows(&world, 5);
    world.run(&RATE).exits(0);
    world.run(&RATE).exits(0);
    let same = report(&world, &["--alert-drop"]).exits(0);
    assert_eq!(changes(&same.json()), ["first", "same_data"]);
    rows(&world, 30);
    world.run(&RATE).exits(0);
    let worse = report(&world, &["--alert-drop", "--quiet"]).exits(5);
    assert_eq!(changes(&worse.json()), ["first", "same_data", "drop"]);
    assert_eq!(worse.json()["drops"][0]["dataset"], "rows.jsonl");
    assert!(
        worse.stderr.contains("alert: rows.jsonl · textbook_quality · heuristic dropped: −"),
        "{}",
        worse.stderr
    );
    assert!(
        worse.stderr.contains("Welch") && worse.stderr.contains("beside the run of 2"),
        "{}",
        worse.stderr
    );
    // Neither a look at twenty rows nor the same data again makes it good.
    world.run(&[&RATE[..], &["--max", "20"]].concat()).exits(0);
    report(&world, &["--alert-drop"]).exits(5);
    world.run(&RATE).exits(0);
    let again = report(&world, &["--alert-drop"]).exits(5);
    assert_eq!(changes(&again.json())[4], "same_data");
    report(&world, &[]).exits(0);
    let shown = world.run(&["report"]).exits(0).stdout;
    assert!(shown.contains("▼ drop −") && shown.contains("first run"), "{shown}");
    // At a level of one in a billion nothing is certain enough.
    report(&world, &["--alert-drop", "--alert-level", "0.0000000000000000000001%"]).exits(0);
}

#[test]
fn what_came_of_a_run_is_recorded_with_all_that_a_comparison_needs() {
    let world = World::new();
    rows(&world, 5);
    world.run(&[&RATE[..], &["--max", "40"]].concat()).exits(0);
    let document = report(&world, &[]).json();
    let run = &document["series"][0]["runs"][0];
    let outcome = &run["outcome"];
    assert_eq!(outcome["program"], env!("CARGO_PKG_VERSION"));
    assert_eq!(outcome["ended"], json!({"how": "complete", "exit": 0}));
    assert!(outcome["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(outcome["ledger"]["rated"], 40);
    assert_eq!(outcome["sample"], json!({"kind": "uniform", "population": 60}));
    assert_eq!((&outcome["scale"], &outcome["cuts"]["poor_below"]), (&json!([1.0, 3.0]), &json!(1.5)));
    let score = &outcome["scores"][0];
    assert_eq!((&score["n"], &score["estimate"]["freedom"]), (&json!(40), &json!(39)));
    let counts = score["histogram"]["counts"].as_array().unwrap();
    assert_eq!((counts.len(), counts.iter().filter_map(Value::as_u64).sum::<u64>()), (20, 40));
    let verdicts = outcome["verdicts"]["counts"].as_array().unwrap();
    assert_eq!(verdicts.iter().filter_map(Value::as_u64).sum::<u64>(), 40);
}

#[test]
fn a_killed_run_is_shown_and_one_that_met_another_leaves_no_trace() {
    let (script, moments) = stopped_after([16], 4);
    let (world, standin) = World::with_endpoint(Config { script: Script(script), ..Config::default() });
    world.rows("rows.jsonl", 50);
    let rate = [
        "summary",
        "rows.jsonl",
        "text",
        "textbook_quality,textbook_depth",
        "--workers=4",
        "--price",
        "1,1",
        "--quiet",
    ];
    let mut killed = world.start(&rate);
    until(&standin, moments[0]);
    // Whichever lens's file it meets first, neither has a run of its own.
    let other =
        ["summary", "rows.jsonl", "text", "textbook_depth,textbook_quality", "--price", "1,1", "--quiet"];
    let second = world.run(&other).exits(75);
    assert_eq!(second.stdout, "");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let document = report(&world, &["--alert-drop"]).exits(0).json();
    assert_eq!(document["series"].as_array().unwrap().len(), 2);
    for series in document["series"].as_array().unwrap() {
        assert_eq!(series["runs"].as_array().unwrap().len(), 1, "{series}");
        assert_eq!(
            (&series["runs"][0]["finished"], &series["runs"][0]["outcome"]),
            (&json!(false), &Value::Null)
        );
    }
    world.run(&rate).exits(0);
    let document = report(&world, &[]).exits(0).json();
    assert_eq!(changes(&document), ["not_compared", "first"]);
    let outcome = &document["series"][0]["runs"][1]["outcome"];
    assert!(
        outcome["cost"].as_f64().unwrap() > 0.0 && outcome["tokens_in"].as_u64().unwrap() > 0,
        "{outcome}"
    );
    assert_eq!(outcome["scores"][0]["histogram"]["bins"], "values", "the model keeps to the lens's halves");
    let table = world.run(&["report", "--lens", "textbook_depth"]).exits(0).stdout;
    assert!(
        table.contains("not finished") && table.contains("complete") && !table.contains("textbook_quality"),
        "{table}"
    );
}

#[test]
fn a_run_that_stopped_at_a_bound_is_no_drop() {
    let (world, _standin) = World::with_endpoint(Config::default());
    world.rows("rows.jsonl", 50);
    let rate = ["summary", "rows.jsonl", "text", "--price", "100,100", "--quiet", "--workers=1"];
    world.run(&[&rate[..], &["--max-cost", "1"]].concat()).exits(4);
    world.run(&rate).exits(0);
    let document = report(&world, &[]).json();
    assert_eq!(changes(&document), ["not_compared", "first"]);
    assert_eq!(document["series"][0]["runs"][0]["outcome"]["ended"], json!({"how": "budget", "exit": 4}));
}

#[test]
fn other_chunks_are_not_compared_and_it_is_said_what_changed() {
    let world = World::new();
    rows(&world, 5);
    world.run(&RATE).exits(0);
    rows(&world, 30);
    world.run(&[&RATE[..], &["--tokens-per-chunk", "100"]].concat()).exits(0);
    let document = report(&world, &["--alert-drop"]).exits(0).json();
    let change = &document["series"][0]["runs"][1]["change"];
    assert_eq!(change["kind"], "not_comparable");
    assert!(change["changed"][0].as_str().unwrap().contains("chunks: 2 of 1500 tokens"), "{change}");
}

#[test]
fn a_report_is_written_in_every_form_and_quiet_says_nothing() {
    let world = World::new();
    rows(&world, 5);
    assert_eq!(world.run(&RATE).exits(0).stdout, "");
    for (file, part) in [
        ("report.html", "<h1 dir=\"auto\">rows.jsonl"),
        ("report.md", "## rows.jsonl"),
        ("report.csv", "rows.jsonl,,,textbook_quality,heuristic,1,"),
        ("report.json", "\"command\": \"report\""),
    ] {
        let run = world.run(&["report", "-q", "-o", file]).exits(0);
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "{file}");
        let text = fs::read_to_string(world.path(file)).unwrap();
        assert!(text.contains(part), "{file}: {text}");
    }
    assert_eq!(world.run(&["report", "-q"]).exits(0).stdout, "");
    let both = report(&world, &["-q", "-o", "report.html"]).exits(0);
    assert_eq!(both.json()["command"], "report", "JSON that was asked for is not silenced");
    let summary = world.run(&[&RATE[..], &["--format", "json"]].concat()).exits(0);
    assert_eq!(summary.json()["command"], "summary");
    assert!(world.run(&["report", "-o", "no/report.html"]).exits(2).stderr.contains("there is no folder no"));
    assert!(world.run(&["report", "-o", "report.pdf"]).exits(2).stderr.contains(".html, .md, .csv or .json"));
}

#[test]
fn what_nobody_recorded_is_named_with_what_there_is() {
    let world = World::new();
    assert!(world.run(&["report"]).exits(2).stderr.contains("there is no database"));
    assert!(!world.path(".local/share/classified/ratings.db").exists(), "a look makes no database");
    rows(&world, 5);
    world.run(&RATE).exits(0);
    let run = world.run(&["report", "--dataset", "other.jsonl"]).exits(2);
    assert!(
        run.stderr.contains("no run of dataset `other.jsonl` is recorded; there are: rows.jsonl"),
        "{}",
        run.stderr
    );
    let run = world.run(&["report", "--lens", "code_quality"]).exits(2);
    assert!(run.stderr.contains("there are: textbook_quality"), "{}", run.stderr);
    // The path of a file stands for its name.
    report(&world, &["--dataset", "./rows.jsonl"]).exits(0);
    let empty = report(&world, &["--since", "0h", "-o", "report.html"]).exits(0);
    assert_eq!(empty.json()["series"], json!([]));
    assert!(empty.stderr.contains("no run is recorded in this period"), "{}", empty.stderr);
    assert_eq!(report(&world, &["--since", "0h", "-q"]).exits(0).stderr, "");
    let silent = report(&world, &["--since", "9999-01-01", "--alert-drop", "-q"]).exits(0);
    assert!(
        silent.stderr.contains("no run is recorded in this period: nothing to compare"),
        "{}",
        silent.stderr
    );
    assert!(
        fs::read_to_string(world.path("report.html"))
            .unwrap()
            .contains("No run was recorded in this period.")
    );
    assert!(world.run(&["report", "--since", "yesterday"]).exits(2).stderr.contains("30d"));
}

#[test]
fn a_summary_writes_the_page_of_its_run() {
    let world = World::new();
    rows(&world, 5);
    let rate = [
        "summary",
        "rows.jsonl",
        "text",
        "textbook_quality,learning_value",
        "--model",
        "heuristic",
        "--quiet",
    ];
    world.run(&[&rate[..], &["--report", "run.html"]].concat()).exits(0);
    let page = fs::read_to_string(world.path("run.html")).unwrap();
    assert!(page.contains("<h2><bdi>rows.jsonl</bdi> · <bdi>learning_value</bdi></h2>"));
    assert!(page.contains("The number of ways to order a set") && page.contains("Most uncertain"));
    for wrong in ["run.md", "no/run.html"] {
        world.run(&[&rate[..], &["--report", wrong]].concat()).exits(2);
    }
    assert!(!world.run(&["report", "-q", "-o", "all.html"]).exits(0).stdout.contains('<'));
    assert!(fs::read_to_string(world.path("all.html")).unwrap().contains("The number of ways"));
}

/// How many excerpts the database has.
fn excerpts(world: &World) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = world.path(".local/share/classified/ratings.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM excerpts").fetch_one(&mut connection).await.unwrap()
    })
}

#[test]
fn a_run_keeps_at_most_forty_excerpts_or_none_where_it_is_told_so() {
    let world = World::new();
    world.rows("rows.jsonl", 300);
    world.run(&[&RATE[..], &["--no-excerpts", "--report", "run.html"]].concat()).exits(0);
    assert_eq!(excerpts(&world), 0);
    assert!(!fs::read_to_string(world.path("run.html")).unwrap().contains("Rated rows"));
    let run = world.command(&RATE).env("NO_EXCERPTS", "1").output().unwrap();
    assert!(run.status.success() && excerpts(&world) == 0);
    world.run(&RATE).exits(0);
    let kept = excerpts(&world);
    assert!((30..=40).contains(&kept), "{kept}");
    world.run(&["cache", "prune", "--all", "--yes"]).exits(0);
    assert_eq!(excerpts(&world), 0);
}

#[test]
fn the_heuristic_goes_on_where_no_run_can_be_recorded() {
    let world = World::new();
    rows(&world, 5);
    world.write("file", "");
    let run = world
        .run(&["summary", "rows.jsonl", "text", "--model", "heuristic", "--database-url", "file/ratings.db"])
        .exits(0);
    assert!(run.stderr.contains("the run is not recorded for reports"), "{}", run.stderr);
    assert!(run.stdout.contains("Raw Scores"));
}

#[test]
fn after_a_day_of_cron_the_report_shows_exactly_what_happened() {
    const ROWS: usize = 80;
    let worse = Rule {
        contains: Some("(worse)".into()),
        ..Rule::always(Action::Arguments(r#"{"rationale": "Nothing is explained.", "overall": 1}"#.into()))
    };
    let held = Rule { contains: Some("(held)".into()), ..Rule::always(HELD) };
    let hangs = Rule { contains: Some("(hangs)".into()), ..Rule::always(Action::Hang) };
    let script = Script(vec![held, hangs, worse]);
    let (world, standin) = World::with_endpoint(Config { script, ..Config::default() });
    let run = [
        "summary",
        "rows.jsonl",
        "text",
        "textbook_quality",
        "--workers=4",
        "--price=1,1",
        "--quiet",
        "--format=json",
    ];
    let data = |nth: usize| {
        // Half of the rows are new each time.
        let lines = (0..ROWS).map(|row| {
            let start = match nth {
                7 => "(held)",
                12 if row >= ROWS * 3 / 4 => "(hangs)",
                16 if row.is_multiple_of(2) => "(worse)",
                _ => "",
            };
            json!({"text": format!("{start} {}", crate::world::text(nth * ROWS / 2 + row))}).to_string()
        });
        world.write("rows.jsonl", lines.collect::<Vec<_>>().join("\n"));
    };
    let mut alerts = Vec::new();
    let mut first = None;
    for nth in 1..=20 {
        match nth {
            7 => {
                data(nth);
                let requests = standin.counters().requests + 4;
                let child = world.start(&run);
                until(&standin, requests);
                first = Some(child);
            }
            8 => {
                // It meets the one before it, which then ends as ever.
                let second = world.run(&run).exits(75);
                let child = first.take().unwrap();
                assert!(second.stderr.contains(&child.id().to_string()), "{}", second.stderr);
                standin.hurry();
                assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
            }
            12 => {
                data(nth);
                // A quarter of the rows is new and answered, and then the four workers wait in vain.
                let requests = standin.counters().requests + ROWS as u64 / 4 + 4;
                let mut child = world.start(&run);
                until(&standin, requests);
                child.kill().unwrap();
                child.wait().unwrap();
            }
            nth => {
                data(nth);
                let done = world.run(&run).exits(0);
                assert_eq!(done.ledger()["not_reached"], 0);
                if report(&world, &["--alert-drop"]).code == 5 {
                    alerts.push(nth);
                }
            }
        }
    }
    assert_eq!(alerts, [16]);
    let document = report(&world, &["--alert-drop"]).exits(0).json();
    assert_eq!(document["series"].as_array().unwrap().len(), 1);
    let changes = changes(&document);
    // The eighth never began.
    assert_eq!(changes.len(), 19);
    let at = |kind: &str| -> Vec<usize> {
        changes.iter().enumerate().filter(|(_, each)| **each == kind).map(|(at, _)| at + 1).collect()
    };
    assert_eq!((at("first"), at("not_compared")), (vec![1], vec![11]));
    assert_eq!((at("drop"), at("rise")), (vec![15], vec![16]));
    assert_eq!(at("within_noise").len(), 15);
    let runs = document["series"][0]["runs"].as_array().unwrap();
    let unfinished = |run: &&Value| run["finished"] == false;
    assert_eq!(runs.iter().filter(unfinished).count(), 1);
    // No question was asked twice, but for those that the killed run had in flight.
    let answered: u64 = standin.answered().values().sum();
    let distinct = standin.answered().len() as u64;
    assert!(answered - distinct <= 15, "{answered} answers to {distinct} questions");
    let page = world.path("report.html");
    world.run(&["report", "-o", "report.html"]).exits(0);
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("not finished") && page.contains("drop"), "{page}");
}
