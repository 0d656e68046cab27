//! Downloads: where they lie, that they come once, that they go on, and that they are enough without a network.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::make::{gz, jsonl, parquet};
use super::{ids, offline, ratings, refused, summary};
use crate::faults::until;
use crate::testhub::{Action, Fault, Repos, Side, TestHub};
use crate::world::{Run, World};

const SET: &str = "acme/set";

/// Three shards of parquet in large file storage, a small file, a card.
fn repos() -> Repos {
    let shard = |n: usize| parquet(n * 200..n * 200 + 200, "text");
    let mut repos = Repos::new().file(SET, "README.md", "---\nlicense: mit\n---\n");
    for n in 0..3 {
        repos = repos.file(SET, &format!("data/train-{n:05}-of-00003.parquet"), shard(n));
    }
    repos.file("acme/lines", "train.jsonl", jsonl(0..40)).file(
        "acme/lines",
        "test.jsonl.gz",
        gz(jsonl(40..50)),
    )
}

fn cached(world: &World, set: &str) -> PathBuf {
    world.path("hf/hub").join(format!("datasets--{}", set.replace('/', "--")))
}

/// The files below a folder, by path.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_download_lies_where_the_python_tools_look_for_it() {
    let hub = TestHub::start(repos());
    let world = World::new();
    summary(&world, &hub, &[SET, "text"]).exits(0);
    let cache = cached(&world, SET);
    let sha = hub.sha(SET, "main");
    assert_eq!(fs::read_to_string(cache.join("refs/main")).unwrap(), sha);
    let snapshot = files(&cache.join("snapshots").join(&sha));
    let names: Vec<_> = snapshot.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "README.md",
            "data/train-00000-of-00003.parquet",
            "data/train-00001-of-00003.parquet",
            "data/train-00002-of-00003.parquet"
        ]
    );
    assert_eq!(snapshot["data/train-00001-of-00003.parquet"], parquet(200..400, "text"));
    // Each is a link to a blob that is named by its digest: 64 digits of a large file, 40 of a small one.
    let mut blobs: Vec<_> = files(&cache.join("blobs")).into_keys().map(|name| name.len()).collect();
    blobs.sort_unstable();
    assert_eq!(blobs, [40, 64, 64, 64]);
}

#[test]
fn a_second_run_asks_for_the_revision_and_its_list_and_no_bytes() {
    let hub = TestHub::start(repos());
    let world = World::new();
    summary(&world, &hub, &[SET, "text"]).exits(0);
    let first = ratings(&world);
    hub.clear_log();
    summary(&world, &hub, &[SET, "text"]).exits(0);
    assert_eq!(ratings(&world), first);
    let asked: Vec<_> = hub.log().into_iter().map(|request| (request.side, request.path)).collect();
    assert!(asked.len() <= 2, "{asked:#?}");
    assert!(
        asked.iter().all(|(side, path)| *side == "hub" && path.starts_with("/api/datasets/")),
        "{asked:#?}"
    );
    // A stream reads what is here already.
    hub.clear_log();
    summary(&world, &hub, &[SET, "text", "--stream"]).exits(0);
    assert!(hub.log().iter().all(|request| request.side == "hub"));
    assert_eq!(ratings(&world), first);
}

#[test]
fn only_the_files_of_the_split_are_downloaded() {
    let hub = TestHub::start(repos());
    let world = World::new();
    summary(&world, &hub, &["acme/lines", "text", "--split", "test"]).exits(0);
    assert!(hub.log().iter().all(|request| !request.path.contains("train.jsonl")));
    assert_eq!(ids(&world).len(), 10);
}

#[test]
fn a_download_that_was_cut_goes_on_where_it_was() {
    let hub = TestHub::start(repos());
    let world = World::new();
    let whole = parquet(0..200, "text").len();
    let half = whole as u64 / 2;
    hub.fault(Fault::new(Side::Cdn, "", Action::truncated(half)));
    // Not a fault that passes: the run ends.
    hub.fault(Fault::new(Side::Cdn, "", Action::status(404)).times(u64::MAX));
    let file = format!("hf://datasets/{SET}/data/train-00000-of-00003.parquet");
    refused(summary(&world, &hub, &[&file, "text"]), 1);
    assert!(!world.path("data").exists(), "no rows of half a file");
    hub.clear_faults();
    hub.clear_log();
    summary(&world, &hub, &[&file, "text"]).exits(0);
    assert_eq!(ids(&world).len(), 200);
    let bytes: Vec<_> = hub.log().into_iter().filter(|request| request.side == "cdn").collect();
    assert_eq!(bytes.len(), 1);
    assert_eq!(bytes[0].request["range"], format!("bytes={half}-{}", whole - 1));
    assert_eq!(bytes[0].bytes, whole as u64 - half);
}

#[test]
fn a_killed_download_leaves_nothing_that_is_taken_for_the_file() {
    let hub = TestHub::start(repos());
    let world = World::new();
    // It stalls in the middle, and is killed there.
    hub.fault(Fault::new(Side::Cdn, "", Action::stalled(1_000)).times(u64::MAX));
    let arguments = [&["summary", SET, "text"], &super::QUIET[..]].concat();
    let mut child = super::command(&world, &hub, &arguments).spawn().unwrap();
    let begun = || hub.log().iter().any(|request| request.side == "cdn" && request.bytes >= 1_000);
    until(begun);
    child.kill().unwrap();
    child.wait().unwrap();
    hub.clear_faults();
    let message = refused(offline(&world, &hub, &[SET, "text"]), 1);
    assert!(message.contains("HF_HUB_OFFLINE") || message.contains("no data files"), "{message}");
    summary(&world, &hub, &[SET, "text"]).exits(0);
    assert_eq!(ids(&world).len(), 600);
}

#[test]
fn without_a_network_a_part_of_a_dataset_is_never_read_for_the_whole() {
    let hub = TestHub::start(repos());
    let world = World::new();
    // The third shard does not come.
    hub.fault(Fault::new(Side::Hub, "/resolve/*00002-of-00003", Action::status(404)).times(u64::MAX));
    summary(&world, &hub, &[SET, "text"]);
    for shard in 0..2 {
        let file = format!("hf://datasets/{SET}/data/train-{shard:05}-of-00003.parquet");
        summary(&world, &hub, &[&file, "text"]).exits(0);
    }
    fs::remove_dir_all(world.path("data")).unwrap();
    for flags in [&[][..], &["--max", "25"], &["--stream"]] {
        let message = refused(offline(&world, &hub, &[&[SET, "text"], flags].concat()), 1);
        assert!(
            message.contains("train-00002-of-00003.parquet") && message.contains("HF_HUB_OFFLINE"),
            "{message}"
        );
    }
    // What was downloaded whole is read.
    let file = format!("hf://datasets/{SET}/data/train-00001-of-00003.parquet");
    offline(&world, &hub, &[&file, "text"]).exits(0);
}

#[test]
fn without_a_network_a_split_that_was_never_downloaded_is_told() {
    let hub = TestHub::start(repos());
    let world = World::new();
    summary(&world, &hub, &["acme/lines", "text", "--split", "test"]).exits(0);
    hub.clear_log();
    assert_eq!(
        offline(&world, &hub, &["acme/lines", "text", "--split", "test"]).exits(0).ledger()["rows"],
        10
    );
    let message = refused(offline(&world, &hub, &["acme/lines", "text"]), 1);
    assert!(message.contains("train.jsonl"), "{message}");
    refused(offline(&world, &hub, &["acme/lines", "text", "--split", "all"]), 1);
    assert_eq!(hub.requests(), 0);
}

#[test]
fn a_blob_that_has_lost_its_end_is_no_smaller_dataset() {
    let hub = TestHub::start(repos());
    let world = World::new();
    summary(&world, &hub, &["acme/lines", "text"]).exits(0);
    let whole = ratings(&world);
    let blobs = cached(&world, "acme/lines").join("blobs");
    let blob = fs::read_dir(blobs).unwrap().next().unwrap().unwrap().path();
    fs::write(&blob, jsonl(0..20)).unwrap();
    // Without a network it cannot be mended.
    refused(offline(&world, &hub, &["acme/lines", "text"]), 1);
    for flags in [&["--stream"][..], &[]] {
        summary(&world, &hub, &[&["acme/lines", "text"], flags].concat()).exits(0);
        assert_eq!(ratings(&world), whole, "{flags:?}");
    }
}

#[test]
fn a_dataset_that_moved_on_is_read_anew_and_offline_as_it_was_last() {
    let hub = TestHub::start(repos());
    let world = World::new();
    summary(&world, &hub, &["acme/lines", "text"]).exits(0);
    let old = hub.sha("acme/lines", "main");
    fs::write(hub.repos().place("acme/lines", "main", "train.jsonl"), jsonl(0..45)).unwrap();
    hub.rescan();
    assert_eq!(summary(&world, &hub, &["acme/lines", "text"]).exits(0).ledger()["rows"], 45);
    assert_eq!(offline(&world, &hub, &["acme/lines", "text"]).exits(0).ledger()["rows"], 45);
    let run = offline(&world, &hub, &["acme/lines", "text", "--revision", &old]).exits(0);
    assert_eq!(run.ledger()["rows"], 40);
}

#[test]
fn without_a_network_other_revisions_and_datasets_are_told_apart() {
    let hub = TestHub::start(repos());
    let world = World::new();
    summary(&world, &hub, &["acme/lines", "text"]).exits(0);
    for (arguments, words) in [
        (
            &["acme/lines", "text", "--revision", "v2"][..],
            "dataset `acme/lines` at `v2` is not in the Hub cache",
        ),
        (&["acme/other", "text"], "dataset `acme/other` at `main` is not in the Hub cache"),
    ] {
        let message = refused(offline(&world, &hub, arguments), 1);
        assert!(message.contains(words) && message.contains("hf/hub"), "{message}");
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_told_with_the_variable_that_names_another() {
    let hub = TestHub::start(repos());
    let world = World::new();
    world.write("hf/hub", "a file where the folder should be");
    let run: Run = summary(&world, &hub, &["acme/lines", "text"]);
    assert!(refused(run, 1).contains("HF_HUB_CACHE"));
    // A stream needs none.
    summary(&world, &hub, &["acme/lines", "text", "--stream"]).exits(0);
}
