//! `cache stats` and `cache prune`, and the store seen from outside.

use serde_json::json;
use sqlx::Connection as _;

use crate::standin::Config;
use crate::world::{Run, World};

const RATE: [&str; 5] = ["summary", "rows.jsonl", "text", "textbook_quality,textbook_depth", "--quiet"];

#[test]
fn stats_count_ratings_and_prune_removes_them() {
    let (world, standin) = World::with_endpoint(Config::default());
    world.rows("rows.jsonl", 30);
    world.run(&RATE).exits(0);
    let stats = world.run(&["cache", "stats", "--format", "json"]).exits(0).json();
    assert_eq!((&stats["ratings"], &stats["runs"]), (&json!(60), &json!(2)));
    assert!(stats["bytes_per_rating"].as_f64().unwrap() > 0.0);
    assert_eq!(stats["groups"][0]["lens"], "textbook_depth");
    assert!(world.run(&["cache", "stats"]).exits(0).stdout.contains("bytes per rating"));

    world.run(&["cache", "prune"]).exits(2);
    let dry = world.run(&["cache", "prune", "--lens", "textbook_depth", "--format", "json"]).exits(0).json();
    assert_eq!((&dry["ratings"], &dry["removed"]), (&json!(30), &json!(false)));
    world.run(&["cache", "prune", "--lens", "textbook_depth", "--yes"]).exits(0);
    world.run(&RATE).exits(0);
    assert_eq!(standin.counters().requests, 90, "only what was removed is asked again");
}

#[test]
fn two_processes_share_one_database() {
    let (world, standin) = World::with_endpoint(Config::default());
    world.rows("a.jsonl", 300);
    world.rows("b.jsonl", 300);
    let children: Vec<_> = ["a.jsonl", "b.jsonl"].map(|name| world.start(&["summary", name, "text"])).into();
    for child in children {
        Run::of(child.wait_with_output().unwrap()).exits(0);
    }
    // Whichever is first to a question keeps its answer, and both report what is kept.
    assert!(standin.counters().requests >= 300);
    let scores = |name: &str| {
        let lines = world.lines(&format!("{name}/textbook_quality.jsonl"));
        lines.iter().map(|line| (line["scores"].clone(), line["rationale"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(scores("a.jsonl"), scores("b.jsonl"));
    let stats = world.run(&["cache", "stats", "--format", "json"]).exits(0).json();
    assert_eq!(stats["ratings"], 300, "both files hold the same texts");
}

#[test]
fn another_text_of_a_lens_asks_again_and_says_so() {
    let (world, standin) = World::with_endpoint(Config::default());
    world.rows("rows.jsonl", 3);
    world.run(&["lens", "new", "mine"]).exits(0);
    let rate = ["summary", "rows.jsonl", "text", "mine"];
    world.run(&rate).exits(0);
    let system = world.path("lenses/mine/system.jinja");
    let text = std::fs::read_to_string(&system).unwrap();
    std::fs::write(&system, format!("{text} Be strict.")).unwrap();
    let run = world.run(&rate).exits(0);
    assert_eq!(standin.counters().requests, 6);
    assert!(run.stderr.contains("1 other text of this lens"), "{}", run.stderr);
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    let (world, _standin) = World::with_endpoint(Config::default());
    world.rows("rows.jsonl", 1);
    world.run(&RATE).exits(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = world.path(".local/share/classified/ratings.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)")
            .execute(&mut connection)
            .await
            .unwrap();
    });
    let run = world.run(&RATE).exits(1);
    assert!(run.stderr.contains("newer version"), "{}", run.stderr);
}
