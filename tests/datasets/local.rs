//! Folders on this machine: the same splits and configs as at the Hub, saved datasets, snapshots of the Hub's cache.

use std::fs;

use serde_json::json;

use super::make::{arrow_stream, gz, jsonl, parquet, separated};
use super::{ids, lines, local, refused, texts};
use crate::world::{Run, World};

/// The ids that a run of a folder gives.
fn rows(world: &World, arguments: &[&str]) -> Vec<String> {
    local(world, arguments).exits(0);
    ids(world)
}

#[test]
fn a_folder_has_the_splits_that_its_names_tell() {
    for (end, make) in [
        ("parquet", (|rows| parquet(rows, "text")) as fn(_) -> Vec<u8>),
        ("jsonl", |rows| jsonl(rows).into_bytes()),
        ("csv", |rows| separated(rows, ',').into_bytes()),
        ("arrow", arrow_stream),
    ] {
        let world = World::new();
        world.write(&format!("set/train.{end}"), make(0..5));
        world.write(&format!("set/test.{end}"), make(5..8));
        world.write("set/README.md", "a card without anything");
        assert_eq!(rows(&world, &["set", "text"]).len(), 5, "{end}");
        assert_eq!(ids(&world)[0], format!("train.{end}#0"));
        assert_eq!(rows(&world, &["set", "text", "--split", "test"]).len(), 3);
        assert_eq!(rows(&world, &["set", "text", "--split", "train+test"]).len(), 8);
        assert_eq!(rows(&world, &["set", "text", "--split", "all"]).len(), 8);
        let message = refused(local(&world, &["set", "text", "--split", "tets"]), 2);
        assert!(message.contains("did you mean `test`?") && message.contains("train, test"), "{message}");
    }
}

#[test]
fn shards_below_a_folder_are_one_split_in_order() {
    let world = World::new();
    for shard in [2, 0, 10] {
        world.write(&format!("set/deep/part-{shard:03}.jsonl.gz"), gz(jsonl(shard..shard + 1)));
    }
    let expected = ["deep/part-000.jsonl.gz#0", "deep/part-002.jsonl.gz#0", "deep/part-010.jsonl.gz#0"];
    assert_eq!(rows(&world, &["set", "text"]), expected);
    assert_eq!(rows(&world, &["./set/", "text"]), expected);
}

#[test]
fn a_card_divides_a_folder_as_it_does_a_repository() {
    let world = World::new();
    world.write("set/README.md", "---\nconfigs:\n- config_name: en\n  data_files: en/*.csv\n  sep: \";\"\n- config_name: fr\n  data_dir: fr\n---\n");
    world.write("set/en/a.csv", separated(0..4, ';'));
    world.write("set/fr/train.csv", separated(4..6, ','));
    let message = refused(local(&world, &["set", "text"]), 2);
    assert!(message.contains("en, fr") && message.contains("--config"), "{message}");
    assert_eq!(rows(&world, &["set", "text", "--config", "en"]).len(), 4);
    assert_eq!(rows(&world, &["set", "text", "--config", "fr"]), ["fr/train.csv#0", "fr/train.csv#1"]);
}

/// What `save_to_disk` leaves beside the data.
fn state(world: &World, folder: &str, files: &[&str], split: Option<&str>) {
    let files: Vec<_> = files.iter().map(|file| json!({"filename": file})).collect();
    let state = json!({"_data_files": files, "_fingerprint": "f", "_format_columns": null, "_split": split});
    world.write(&format!("{folder}/state.json"), state.to_string());
    world.write(&format!("{folder}/dataset_info.json"), "{\"citation\": \"\"}");
}

#[test]
fn a_saved_dataset_is_read_in_the_order_that_it_states() {
    let world = World::new();
    // The names do not sort as the rows go.
    world.write("saved/data-00001-of-00002.arrow", arrow_stream(0..4));
    world.write("saved/data-00000-of-00002.arrow", arrow_stream(4..6));
    world.write("saved/cache-left-over.arrow", arrow_stream(6..9));
    state(&world, "saved", &["data-00001-of-00002.arrow", "data-00000-of-00002.arrow"], Some("test"));
    let found = rows(&world, &["saved", "text"]);
    assert_eq!(found.len(), 6, "{found:?}");
    assert_eq!(found[0], "data-00001-of-00002.arrow#0");
    assert_eq!(texts(&world, "text")[5], super::make::text(5));
}

#[test]
fn a_saved_dictionary_has_the_splits_that_it_states() {
    let world = World::new();
    world.write("saved/dataset_dict.json", "{\"splits\": [\"train\", \"test\"]}");
    for (split, range) in [("train", 0..4), ("test", 4..6)] {
        world.write(&format!("saved/{split}/data-00000-of-00001.arrow"), arrow_stream(range));
        state(&world, &format!("saved/{split}"), &["data-00000-of-00001.arrow"], Some(split));
    }
    assert_eq!(rows(&world, &["saved", "text"]).len(), 4);
    let expected = ["test/data-00000-of-00001.arrow#0", "test/data-00000-of-00001.arrow#1"];
    assert_eq!(rows(&world, &["saved", "text", "--split", "test"]), expected);
    assert_eq!(rows(&world, &["saved", "text", "--split", "all"]).len(), 6);
    // One split of it is a saved dataset.
    assert_eq!(rows(&world, &["saved/test", "text"]).len(), 2);
    let message = refused(local(&world, &["saved", "text", "--split", "dev"]), 2);
    assert!(message.contains("train, test"), "{message}");
    fs::remove_file(world.path("saved/test/state.json")).unwrap();
    assert!(refused(local(&world, &["saved", "text"]), 1).contains("split test has no state.json"));
}

#[test]
fn a_state_that_is_wrong_reads_nothing_else() {
    let world = World::new();
    world.write("secret.arrow", arrow_stream(0..4));
    world.write("saved/data.arrow", arrow_stream(0..4));
    for file in ["../secret.arrow", "/etc/passwd", ""] {
        state(&world, "saved", &[file], None);
        let message = refused(local(&world, &["saved", "text"]), 1);
        assert!(message.contains("names a file outside of itself"), "{message}");
    }
    // A shard that is stated and gone is no smaller dataset.
    state(&world, "saved", &["data.arrow", "gone.arrow"], None);
    let message = refused(local(&world, &["saved", "text"]), 1);
    assert!(message.contains("gone.arrow"), "{message}");
    world.write("saved/state.json", "{");
    assert!(refused(local(&world, &["saved", "text"]), 1).contains("state.json that cannot be read"));
}

#[cfg(unix)]
#[test]
fn a_snapshot_of_links_is_a_folder_of_files() {
    use std::os::unix::fs::symlink;
    let world = World::new();
    let blob = "0123456789abcdef0123456789abcdef01234567";
    world.write(&format!("datasets--a--b/blobs/{blob}"), parquet(0..7, "text"));
    let snapshot = world.path("datasets--a--b/snapshots/0123");
    fs::create_dir_all(snapshot.join("data")).unwrap();
    symlink(format!("../../../blobs/{blob}"), snapshot.join("data/train-00000-of-00001.parquet")).unwrap();
    // A link in a circle, and one to nowhere that is no data.
    symlink("..", snapshot.join("data/circle")).unwrap();
    symlink("nowhere", snapshot.join("data/notes")).unwrap();
    let found = rows(&world, &["datasets--a--b/snapshots/0123", "text"]);
    assert_eq!((found.len(), found[0].as_str()), (7, "data/train-00000-of-00001.parquet#0"));
    // A file that should be there is not passed over.
    symlink("nowhere", snapshot.join("data/train-00001-of-00001.parquet")).unwrap();
    let message = refused(local(&world, &["datasets--a--b/snapshots/0123", "text"]), 1);
    assert!(message.contains("data/train-00001-of-00001.parquet"), "{message}");
    // The folder above may have several snapshots.
    let message = refused(local(&world, &["datasets--a--b", "text"]), 2);
    assert!(message.contains("owner/name"), "{message}");
}

#[test]
fn a_pointer_of_git_lfs_is_named_as_such() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nsize 12345\n";
    let world = World::new();
    for (name, arguments) in [
        ("rows.parquet", "rows.parquet"),
        ("rows.jsonl.gz", "rows.jsonl.gz"),
        ("rows.arrow", "rows.arrow"),
        ("clone/data/train-00001-of-00002.parquet", "clone"),
    ] {
        world.write("clone/data/train-00000-of-00002.parquet", parquet(0..3, "text"));
        world.write(name, pointer);
        let message = refused(local(&world, &[arguments, "text"]), 1);
        assert!(message.contains("Git LFS pointer") && message.contains("git lfs pull"), "{message}");
        assert!(message.contains(name.rsplit('/').next().unwrap()), "{message}");
    }
}

#[test]
fn what_this_program_has_written_into_a_folder_is_not_read_as_data() {
    for name in ["part.jsonl", "part.csv", "part.parquet", "part.json"] {
        let world = World::new();
        let content = match name.rsplit('.').next().unwrap() {
            "jsonl" => jsonl(0..30).into_bytes(),
            "csv" => separated(0..30, ',').into_bytes(),
            "parquet" => parquet(0..30, "text"),
            _ => super::make::json_array(0..30).into_bytes(),
        };
        world.write(&format!("set/{name}"), content);
        let arguments = [&["summary", "set", "text"], &super::QUIET[..]].concat();
        // The third run also finds what the second has set aside for another sample.
        for flags in [&[][..], &["--max", "9"], &["--seed", "7", "--max", "9"], &[]] {
            let mut command = world.command(&[&arguments[..], flags].concat());
            let run = Run::of(command.env("DATA_DIR", "set/out").output().unwrap()).exits(0);
            let expected = if flags.is_empty() { 30 } else { 9 };
            assert_eq!(run.ledger()["rows"], expected, "{name} {flags:?}");
        }
    }
}

#[test]
fn a_folder_without_data_says_so() {
    let world = World::new();
    world.write("empty/README.md", "a card");
    assert!(refused(local(&world, &["empty", "text"]), 1).contains("`empty`: it has no data files"));
    fs::create_dir(world.path("bare")).unwrap();
    assert!(refused(local(&world, &["bare", "text"]), 1).contains("`bare`: it has no data files"));
    world.write("notes/a.md", "text");
    world.write("notes/b.pdf", "%PDF");
    let message = refused(local(&world, &["notes", "text"]), 2);
    assert!(message.contains("is not read; read are parquet"), "{message}");
    // Files that are there and hold no rows.
    world.write("hollow/train.jsonl", "");
    assert!(refused(local(&world, &["hollow", "text"]), 1).contains("`hollow` has no rows"));
    world.write("hollow-parquet/train.parquet", parquet(0..0, "text"));
    assert!(refused(local(&world, &["hollow-parquet", "text"]), 1).contains("has no rows"));
}

#[test]
fn a_folder_wins_over_a_dataset_of_the_same_name() {
    let world = World::new();
    world.write("vikp/textbooks/train.jsonl", jsonl(0..3));
    assert_eq!(rows(&world, &["vikp/textbooks", "text"]).len(), 3);
    assert_eq!(lines(&world)[0]["id"], "train.jsonl#0");
}
