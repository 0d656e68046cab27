//! The sample: the same rows wherever a dataset lies, a smaller one within a larger one, each row with the same chance.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use classified::dataset::{self, Access, Request};
use classified::hub::Options;
use classified::rating::run::Sample;
use futures::StreamExt as _;
use serde_json::{Value, json};
use statrs::distribution::{ChiSquared, ContinuousCDF as _};

use super::make::{arrow_stream, gz, jsonl, parquet, separated, zst};
use super::{at_once, ids, local, offline, summary};
use crate::testhub::{Repos, TestHub};
use crate::world::{Run, World};

/// The files of one dataset, 180 rows in three.
type Files = Vec<(String, Vec<u8>)>;

/// The same rows as parquet, compressed JSON lines, CSV and Arrow.
fn forms() -> Vec<(&'static str, Files)> {
    let shards = |end: &str, make: fn(usize) -> Vec<u8>| -> Files {
        (0..3).map(|shard| (format!("data/train-{shard:05}-of-00003.{end}"), make(shard * 60))).collect()
    };
    vec![
        ("acme/parquet", shards("parquet", |first| parquet(first..first + 60, "text"))),
        ("acme/jsonl", shards("jsonl.gz", |first| gz(jsonl(first..first + 60)))),
        ("acme/csv", shards("csv", |first| separated(first..first + 60, ',').into_bytes())),
        ("acme/arrow", shards("arrow", |first| arrow_stream(first..first + 60))),
    ]
}

fn served(sets: &[(&'static str, Files)]) -> Repos {
    let files = sets.iter().flat_map(|(set, files)| files.iter().map(move |file| (set, file)));
    files.fold(Repos::new(), |repos, (set, (path, bytes))| repos.file(set, path, bytes))
}

/// The ids of a run that must succeed, and what it says of its sample.
fn drawn(run: Run, world: &World) -> (Vec<String>, Value) {
    let run = run.exits(0);
    (ids(world), run.json()["summaries"][0]["sample"].clone())
}

fn is_within(small: &[String], large: &[String]) -> bool {
    let large: BTreeSet<_> = large.iter().collect();
    small.iter().all(|id| large.contains(id))
}

#[test]
fn the_same_rows_come_streamed_downloaded_offline_and_of_a_local_copy() {
    let forms = forms();
    let hub = TestHub::start(served(&forms));
    at_once(&forms, |(set, files)| {
        let world = World::new();
        for (path, bytes) in files {
            world.write(&format!("copy/{path}"), bytes);
        }
        let mut of_set = Vec::new();
        for max in ["25", "50"] {
            let run = |flags: &[&'static str]| [&[*set, "text", "--max", max], flags].concat();
            let streamed = drawn(summary(&world, &hub, &run(&["--stream"])), &world);
            assert_eq!(streamed.0.len().to_string(), max);
            assert_eq!(streamed.1, json!({"kind": "uniform", "population": 180}), "{set}");
            let downloaded = drawn(summary(&world, &hub, &run(&[])), &world);
            let cached = drawn(offline(&world, &hub, &run(&[])), &world);
            let copied = World::new();
            let copy = world.path("copy").display().to_string();
            let copied = drawn(local(&copied, &[&copy, "text", "--max", max]), &copied);
            assert_eq!(downloaded, streamed, "{set}: downloaded");
            assert_eq!(cached, streamed, "{set}: offline");
            assert_eq!(copied, streamed, "{set}: a copy");
            of_set.push(streamed.0);
            fs::remove_dir_all(world.path("hf")).unwrap();
        }
        assert!(is_within(&of_set[0], &of_set[1]), "{set}");
    });
}

#[test]
fn a_sample_is_in_the_order_of_the_rows_and_another_seed_draws_others() {
    let hub = TestHub::start(served(&forms()));
    let world = World::new();
    let run = |flags: &[&str]| {
        let arguments = [&["acme/parquet", "text", "--stream", "--max", "20"], flags].concat();
        drawn(summary(&world, &hub, &arguments), &world).0
    };
    let first = run(&[]);
    let place = |id: &String| {
        let (file, row) = id.split_once('#').unwrap();
        (file.to_owned(), row.parse::<u64>().unwrap())
    };
    assert!(first.iter().map(place).is_sorted());
    assert_eq!(run(&["--seed", "42"]), first);
    assert_ne!(run(&["--seed", "43"]), first);
}

#[test]
fn of_more_files_than_are_looked_into_a_sample_is_in_two_stages_and_says_so() {
    let shard =
        |n: usize| (format!("data/train-{n:05}-of-00008.parquet"), parquet(n * 40..n * 40 + 40, "text"));
    let hub = TestHub::start(served(&[("acme/many", (0..8).map(shard).collect())]));
    let world = World::new();
    let run = |max: &str, flags: &[&str]| {
        let arguments = ["acme/many", "text", "--stream", "--max", max, "--max-files"];
        drawn(summary(&world, &hub, &[&arguments, flags].concat()), &world)
    };
    let (small, said) = run("25", &["3"]);
    assert_eq!(said, json!({"kind": "two_stages", "files": 3, "of": 8}));
    let files = |ids: &[String]| {
        let files = ids.iter().map(|id| id.split('#').next().unwrap().to_owned());
        files.collect::<BTreeSet<_>>()
    };
    assert_eq!((small.len(), files(&small).len()), (25, 3));
    let (large, _) = run("50", &["3"]);
    assert!(large.len() == 50 && files(&large) == files(&small) && is_within(&small, &large));
    // More rows than three files have: further ones are drawn. More than there are: nothing is left to infer.
    let (more, said) = run("200", &["3"]);
    assert!(more.len() == 200 && is_within(&large, &more) && said["kind"] == "two_stages");
    let ((three, _), (four, _)) = (run("120", &["3"]), run("121", &["3"]));
    assert!(files(&three).len() == 3 && files(&four).len() == 4 && is_within(&three, &four));
    let (all, said) = run("1000", &["3"]);
    assert_eq!((all.len(), said), (320, json!({"kind": "all"})));
    // As many as there are: every row counts.
    let (exact, said) = run("25", &["8"]);
    assert_eq!(said, json!({"kind": "uniform", "population": 320}));
    assert_ne!(exact, small);
    // People are told too.
    let arguments = [
        "summary",
        "acme/many",
        "text",
        "--stream",
        "--max",
        "25",
        "--max-files",
        "3",
        "--model",
        "heuristic",
    ];
    let told = Run::of(super::command(&world, &hub, &arguments).output().unwrap()).exits(0);
    assert!(told.stderr.contains("a sample in two stages, seed 42: 3 of 8 files by size"), "{}", told.stderr);
    assert!(told.stderr.contains("from the Hub: ") && told.stderr.contains(" requests, "), "{}", told.stderr);
}

#[test]
fn a_long_stream_without_counts_gives_a_sample_of_its_head_unless_the_whole_is_asked_for() {
    let files = vec![("train.jsonl.gz".to_owned(), gz(jsonl(0..12_000)))];
    let hub = TestHub::start(served(&[("acme/long", files)]));
    let world = World::new();
    let run = |flags: &[&str]| {
        let arguments = [&["acme/long", "text"], flags].concat();
        drawn(summary(&world, &hub, &arguments), &world)
    };
    let (small, said) = run(&["--stream", "--max", "25"]);
    assert_eq!(said, json!({"kind": "uniform_head", "population": 10_000}));
    let (large, _) = run(&["--stream", "--max", "50"]);
    assert!(small.len() == 25 && large.len() == 50 && is_within(&small, &large));
    let (whole, said) = run(&["--stream", "--max", "25", "--whole"]);
    assert_eq!(said, json!({"kind": "uniform", "population": 12_000}));
    let first = run(&["--stream", "--max", "25", "--sample", "first"]).0;
    assert_eq!(first, (0..25).map(|row| format!("train.jsonl.gz#{row}")).collect::<Vec<_>>());
    // A download is counted, and is the whole.
    assert_eq!(run(&["--max", "25"]).0, whole);
    assert_eq!(run(&["--max", "25", "--sample", "first"]).0, first);
}

#[test]
fn the_head_of_a_stream_of_long_rows_ends_by_bytes_in_every_format() {
    let words = "some words in a row ".repeat(50_000);
    let rows =
        |between: char| (0..80).map(|row| format!("{row}{between}{words}\n")).collect::<Vec<_>>().concat();
    let files = |name: &str, content: String| vec![(name.to_owned(), zst(content))];
    let hub = TestHub::start(served(&[
        ("acme/csv", files("train.csv.zst", format!("id,text\n{}", rows(',')))),
        ("acme/text", files("train.txt.zst", rows(' '))),
    ]));
    for set in ["acme/csv", "acme/text"] {
        let world = World::new();
        let (_, said) = drawn(summary(&world, &hub, &[set, "text", "--stream", "--max", "2"]), &world);
        // 64 MiB of rows of a megabyte.
        assert_eq!(said, json!({"kind": "uniform_head", "population": 68}), "{set}");
    }
}

#[test]
fn the_first_rows_are_those_of_the_first_file_in_every_form() {
    let forms = forms();
    let hub = TestHub::start(served(&forms));
    at_once(&forms, |(set, files)| {
        for flags in [&["--stream"][..], &[]] {
            let world = World::new();
            let arguments = [&[*set, "text", "--max", "70", "--sample", "first"], flags].concat();
            let (ids, _) = drawn(summary(&world, &hub, &arguments), &world);
            let expected =
                (0..70).map(|row| format!("{}#{}", files[row / 60].0, row % 60)).collect::<Vec<_>>();
            assert_eq!(ids, expected, "{set} {flags:?}");
        }
    });
}

/// The ids of a sample, drawn in this process.
fn sampled(name: &str, options: &Arc<Options>, (rows, seed): (u64, u64), access: Access) -> Vec<String> {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Runtime::new().unwrap();
    }
    let request = Request {
        sample: Sample::Random { rows, seed },
        access,
        ..Request::new(name, vec!["id".to_owned()], Arc::clone(options))
    };
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let mut batches = pin!(dataset::open(request).await.unwrap().batches());
            let mut ids = Vec::new();
            while let Some(batch) = batches.next().await {
                ids.extend(batch.unwrap().into_iter().map(|row| row.unwrap().id));
            }
            ids
        })
    })
}

fn options(endpoint: &str, home: &Path) -> Arc<Options> {
    let look_up = |name: &str| match name {
        "HF_ENDPOINT" => Some(endpoint.to_owned()),
        "HF_HOME" => Some(home.display().to_string()),
        _ => None,
    };
    Arc::new(Options::from(&look_up).unwrap())
}

/// Files of 30, 60 and 90 rows.
fn uneven() -> Files {
    let files = [(0, 30), (30, 90), (90, 180)].iter().enumerate();
    files.map(|(n, (from, to))| (format!("train-{n}.parquet"), parquet(*from..*to, "text"))).collect()
}

#[test]
fn over_many_seeds_every_row_and_every_shard_has_its_share() {
    const SEEDS: u64 = 400;
    const ROWS: u64 = 20;
    const ALL: f64 = 180.0;
    let world = World::new();
    for (path, bytes) in uneven() {
        world.write(&format!("uneven/{path}"), bytes);
    }
    let name = world.path("uneven").display().to_string();
    let options = options("http://127.0.0.1:9", &world.path("hf"));
    let (mut by_row, mut by_shard) = (BTreeMap::<String, f64>::new(), BTreeMap::<String, f64>::new());
    for seed in 0..SEEDS {
        for id in sampled(&name, &options, (ROWS, seed), Access::Download) {
            *by_shard.entry(id.split('#').next().unwrap().to_owned()).or_default() += 1.0;
            *by_row.entry(id).or_default() += 1.0;
        }
    }
    let bound = |freedom: f64| ChiSquared::new(freedom).unwrap().inverse_cdf(0.999);
    let draws = (SEEDS * ROWS) as f64;
    // Drawn without replacement, counts vary by (N − n)/(N − 1) of what they would with it.
    let finite = (ALL - ROWS as f64) / (ALL - 1.0);
    assert_eq!(by_row.len(), 180);
    let expected = draws / ALL;
    let rows: f64 = by_row.values().map(|count| (count - expected).powi(2) / expected / finite).sum();
    assert!(rows < bound(ALL - 1.0), "rows: {rows} above {}", bound(ALL - 1.0));
    let shards = by_shard.values().zip([30.0, 60.0, 90.0]);
    let shards: f64 = shards
        .map(|(count, rows)| {
            let expected = draws * rows / ALL;
            (count - expected).powi(2) / expected / finite
        })
        .sum();
    assert!(shards < bound(2.0), "shards: {shards} above {}", bound(2.0));
}

#[test]
fn over_many_seeds_a_stream_has_the_rows_of_its_copy() {
    let hub = TestHub::start(served(&[("acme/uneven", uneven())]));
    let world = World::new();
    for (path, bytes) in uneven() {
        world.write(&format!("uneven/{path}"), bytes);
    }
    let copy = world.path("uneven").display().to_string();
    let options = options(hub.endpoint(), &world.path("hf"));
    for seed in 0..15 {
        // Also a sample of all but one row, and of more rows than there are.
        for rows in [20, 179, 500] {
            let streamed = sampled("acme/uneven", &options, (rows, seed), Access::Stream);
            assert_eq!(streamed, sampled(&copy, &options, (rows, seed), Access::Download));
            assert_eq!(streamed.len() as u64, rows.min(180));
        }
    }
}
