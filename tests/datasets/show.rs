//! `classified dataset`: what a dataset has, without reading it.

use serde_json::{Value, json};

use super::make::{jsonl, parquet};
use super::repos::{jsonl_gz, small, textbooks};
use super::{command, refused};
use crate::testhub::{Repos, TestHub};
use crate::world::{Run, World};

fn shown(hub: &TestHub, arguments: &[&str]) -> Run {
    let world = World::new();
    let run = Run::of(command(&world, hub, &[&["dataset"], arguments].concat()).output().unwrap());
    assert!(!world.path("data").exists() && !world.path(".local").exists(), "nothing is written");
    run
}

fn json_of(hub: &TestHub, arguments: &[&str]) -> Value {
    shown(hub, &[arguments, &["--format", "json"]].concat()).exits(0).json()
}

#[test]
fn a_dataset_of_parquet_is_told_by_its_card_and_footers() {
    let hub = TestHub::start(textbooks(Repos::new()));
    let found = json_of(&hub, &["vikp/textbooks"]);
    let shard = |n: usize| parquet(n * 60..n * 60 + 60, "markdown").len();
    let bytes = shard(0) + shard(1) + shard(2);
    assert_eq!(
        (&found["v"], &found["command"], &found["dataset"]),
        (&json!(1), &json!("dataset"), &json!("vikp/textbooks"))
    );
    assert_eq!(found["revision"], hub.sha("vikp/textbooks", "main"));
    let splits = json!([{"name": "train", "files": 3, "bytes": bytes, "rows_by_card": 180}]);
    assert_eq!(
        found["configs"],
        json!([{"name": "default", "default": true, "format": "parquet", "splits": splits}])
    );
    assert_eq!(found["rows"], 180);
    let names: Vec<_> = found["columns"].as_array().unwrap().iter().map(|column| &column["name"]).collect();
    assert_eq!(names, ["id", "topic", "markdown"]);
    let examples = found["examples"].as_array().unwrap();
    assert_eq!(examples.len(), 3);
    assert_eq!(examples[0]["id"], "data/train-00000-of-00003.parquet#0");
    assert_eq!(examples[0]["fields"]["topic"], "topic 0");
}

#[test]
fn a_table_for_people_has_the_same() {
    let hub = TestHub::start(textbooks(Repos::new()));
    let told = shown(&hub, &["vikp/textbooks"]).exits(0).stdout;
    for words in [
        "Config",
        "default (default)",
        "train",
        "parquet",
        "Rows by its card",
        "180 rows",
        "markdown",
        "topic 0",
    ] {
        assert!(told.contains(words), "`{words}` in {told}");
    }
}

#[test]
fn configs_and_splits_are_listed_with_the_default() {
    let hub = TestHub::start(small(Repos::new()));
    let found = json_of(&hub, &["acme/two-configs", "--config", "fr", "--split", "test"]);
    let configs: Vec<_> = found["configs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|config| {
            let splits = config["splits"].as_array().unwrap().iter().map(|split| split["name"].clone());
            (config["name"].clone(), config["default"].clone(), splits.collect::<Vec<_>>())
        })
        .collect();
    let both = vec![json!("train"), json!("test")];
    assert_eq!(configs, [(json!("en"), json!(true), both.clone()), (json!("fr"), json!(false), both)]);
    assert_eq!(found["examples"][0]["fields"]["text"], "fr test, 0");
    // Without a default the first is shown: the command is what tells which there are.
    let found = json_of(&hub, &["acme/no-default"]);
    assert_eq!(found["shown"], json!({"config": "a", "split": "train"}));
    assert_eq!(found["configs"].as_array().map(Vec::len), Some(2));
}

#[test]
fn formats_without_counts_say_so() {
    let hub = TestHub::start(jsonl_gz(Repos::new()));
    let found = json_of(&hub, &["acme/jsonl-gz"]);
    assert_eq!(found["rows"], Value::Null);
    let splits: Vec<_> =
        found["configs"][0]["splits"].as_array().unwrap().iter().map(|split| &split["name"]).collect();
    assert_eq!(splits, ["train", "validation", "test"]);
    assert_eq!(
        found["columns"],
        json!([{"name": "id", "type": "number"}, {"name": "text", "type": "string"}])
    );
    let told = shown(&hub, &["acme/jsonl-gz"]).exits(0).stdout;
    assert!(told.contains("rows are not counted"), "{told}");
}

#[test]
fn a_gated_dataset_is_told_with_where_its_terms_are() {
    let hub = TestHub::start(small(Repos::new()));
    let message = refused(shown(&hub, &["acme/gated"]), 2);
    let page = format!("{}/datasets/acme/gated", hub.endpoint());
    assert!(
        message.contains("`acme/gated` is gated: accept its terms") && message.contains(&page),
        "{message}"
    );
    assert!(refused(shown(&hub, &["acme/nope"]), 2).contains("no dataset `acme/nope`"));
    assert!(refused(shown(&hub, &["acme/empty"]), 1).contains("no data files"));
}

#[test]
fn a_conversion_that_the_hub_has_cut_is_told_as_a_part() {
    let path = "default/partial-train/0000.parquet";
    let repos = Repos::new().file("acme/huge", "huge.py", "raise SystemExit\n");
    let hub =
        TestHub::start(repos.file_at("acme/huge", "refs/convert/parquet", path, parquet(0..20, "text")));
    for arguments in [&["acme/huge"][..], &["acme/huge", "--revision", "refs/convert/parquet"]] {
        let run = shown(&hub, arguments).exits(0);
        assert!(run.stderr.contains("only the first part of split `train`"), "{}", run.stderr);
    }
}

#[test]
fn what_was_downloaded_is_shown_without_the_hub() {
    let hub = TestHub::start(textbooks(Repos::new()));
    let world = World::new();
    super::summary(&world, &hub, &["vikp/textbooks", "markdown"]).exits(0);
    hub.clear_log();
    let mut offline = command(&world, &hub, &["dataset", "vikp/textbooks", "--format", "json"]);
    let found = Run::of(offline.env("HF_HUB_OFFLINE", "1").output().unwrap()).exits(0).json();
    assert_eq!((&found["rows"], &found["configs"][0]["splits"][0]["files"]), (&json!(180), &json!(3)));
    assert_eq!(hub.requests(), 0);
}

#[test]
fn little_is_fetched_of_a_dataset_that_is_large() {
    let shard = |n: usize| parquet(n * 2_000..n * 2_000 + 2_000, "text");
    let mut repos = Repos::new();
    let mut whole = 0;
    for n in 0..4 {
        let bytes = shard(n);
        whole += bytes.len() as u64;
        repos = repos.file("acme/large", &format!("data/train-{n:05}-of-00004.parquet"), bytes);
    }
    let hub = TestHub::start(repos);
    assert_eq!(json_of(&hub, &["acme/large"])["rows"], 8_000);
    assert!(hub.bytes() < whole, "{} of {whole} bytes", hub.bytes());
    assert!(hub.requests() < 20, "{}", hub.requests());
}

#[test]
fn a_file_and_a_folder_on_this_machine_are_shown_too() {
    let hub = TestHub::start(Repos::new());
    let world = World::new();
    world.write("rows.jsonl", jsonl(0..5));
    world.write("set/train.parquet", parquet(0..5, "text"));
    world.write("set/test.parquet", parquet(5..7, "text"));
    let of = |name: &str| world.run(&["dataset", name, "--format", "json"]).exits(0).json();
    let file = of("rows.jsonl");
    assert_eq!((&file["configs"], &file["revision"]), (&json!([]), &Value::Null));
    assert_eq!(file["examples"].as_array().unwrap().len(), 3);
    let folder = of("set");
    assert_eq!(folder["rows"], 5);
    assert_eq!(folder["configs"][0]["splits"].as_array().unwrap().len(), 2);
    assert_eq!(hub.requests(), 0);
}
