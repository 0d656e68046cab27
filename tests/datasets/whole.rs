//! Whole rows: those of the records, in the same order and under the same ids, wherever a dataset lies.

use std::pin::pin;
use std::sync::Arc;

use classified::dataset::whole::{Form, Item};
use classified::dataset::{self, Access, Error, Reach, Request};
use classified::hub::Options;
use classified::rating::run::Sample;
use futures::StreamExt as _;

use super::make::{arrow_file, arrow_stream, gz, json_array, jsonl, parquet, separated};
use super::{ids, local};
use crate::testhub::{Repos, TestHub};
use crate::world::World;

/// The same rows in every format, in files of 40.
fn repos() -> Repos {
    type Make = fn(usize) -> Vec<u8>;
    let forms: [(&str, &str, Make); 7] = [
        ("acme/parquet", "parquet", |first| parquet(first..first + 40, "text")),
        ("acme/jsonl", "jsonl.gz", |first| gz(jsonl(first..first + 40))),
        ("acme/json", "json", |first| json_array(first..first + 40).into_bytes()),
        ("acme/csv", "csv", |first| separated(first..first + 40, ',').into_bytes()),
        ("acme/stream", "arrow", |first| arrow_stream(first..first + 40)),
        ("acme/file", "arrow", |first| arrow_file(first..first + 40)),
        ("acme/text", "txt", |first| jsonl(first..first + 40).into_bytes()),
    ];
    let mut repos = Repos::new();
    for (set, end, make) in forms {
        for shard in 0..3 {
            let path = format!("data/train-{shard:05}-of-00003.{end}");
            repos = repos.file(set, &path, make(shard * 40));
        }
    }
    repos
}

async fn of_records(request: Request) -> Vec<String> {
    let mut ids = Vec::new();
    let mut batches = pin!(dataset::open(request).await.unwrap().batches());
    while let Some(batch) = batches.next().await {
        ids.extend(batch.unwrap().into_iter().map(|row| row.unwrap().id));
    }
    ids
}

async fn of_tables(request: Request, form: Form) -> Result<Vec<String>, Error> {
    let mut ids = Vec::new();
    let mut tables = pin!(dataset::find(request).await?.whole(form).await?.tables());
    while let Some(item) = tables.next().await {
        let Item::Table(table) = item? else { panic!("a row that cannot be read") };
        ids.extend((0..table.rows.len()).map(|at| table.ids.get(at).into_owned()));
    }
    Ok(ids)
}

#[test]
fn whole_rows_are_those_of_the_records_streamed_or_downloaded_whatever_the_sample() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for set in ["parquet", "jsonl", "json", "csv", "stream", "file", "text"] {
        // A Hub each: one that is asked so often would make us wait.
        let hub = TestHub::start(repos());
        let world = World::new();
        let home = world.path("hf").display().to_string();
        let variable = |name: &str| match name {
            "HF_ENDPOINT" => Some(hub.endpoint().to_owned()),
            "HF_HOME" => Some(home.clone()),
            _ => None,
        };
        let options = Arc::new(Options::from(&variable).unwrap());
        let all = Request::new(&format!("acme/{set}"), vec!["text".into()], options);
        // Streamed first: what is in the cache is not streamed.
        for access in [Access::Stream, Access::Download] {
            for (sample, reach, max_files) in [
                (Sample::All, Reach::Head, 64),
                (Sample::All, Reach::Head, 2),
                (Sample::First { rows: 55 }, Reach::Head, 64),
                (Sample::Random { rows: 12, seed: 5 }, Reach::Head, 64),
                (Sample::Random { rows: 12, seed: 5 }, Reach::Head, 1),
                (Sample::Random { rows: 12, seed: 5 }, Reach::Whole, 64),
                (Sample::Random { rows: 500, seed: 5 }, Reach::Whole, 64),
                (Sample::Random { rows: 20_000, seed: 5 }, Reach::Head, 64),
            ] {
                let request = Request { access, sample, reach, max_files, ..all.clone() };
                let expected = runtime.block_on(of_records(request.clone()));
                assert!(!expected.is_empty());
                // Other formats have types of their own, whatever is asked for.
                let forms = if set.starts_with("json") { 2 } else { 1 };
                for form in [Form::Arrow, Form::AsStored].into_iter().take(forms) {
                    let found = runtime.block_on(of_tables(request.clone(), form)).unwrap();
                    assert_eq!(found, expected, "{set} {access:?} {sample:?} {reach:?} {max_files} {form:?}");
                }
            }
        }
    }
}

/// What a filter leaves in a folder.
fn output(world: &World, folder: &str) {
    world.write(&format!("{folder}/classified.json"), "{\"v\":1,\"output\":{}}");
    world.write(
        &format!("{folder}/README.md"),
        "---\nconfigs:\n- config_name: default\n  data_files: data/train-*\n---\n",
    );
    world.write(&format!("{folder}/data/train-00000-of-00001.parquet"), parquet(0..7, "text"));
}

#[test]
fn outputs_of_this_program_inside_a_folder_are_no_data_and_a_dataset_when_they_are_named() {
    let world = World::new();
    world.write("set/train.parquet", parquet(0..3, "text"));
    output(&world, "set/kept");
    output(&world, "set/.next.part");
    world.write("set/kept.unrated.jsonl", "{\"v\":1,\"id\":\"a#0\",\"lens\":\"prose\",\"failure\":{}}\n");
    let run = world.run(&["summary", "set", "text", "--model", "heuristic", "--format", "json"]).exits(0);
    assert_eq!(ids(&world), ["train.parquet#0", "train.parquet#1", "train.parquet#2"]);
    let note = "not read, as results of this program: .next.part/, kept.unrated.jsonl, kept/";
    assert!(run.stderr.contains(note), "{}", run.stderr);
    local(&world, &["set/kept", "text"]).exits(0);
    assert_eq!(ids(&world).len(), 7);
    // A file of the same name that another program wrote is data.
    world.write("other/classified.json", "[{\"text\": \"some words\"}]");
    local(&world, &["other", "text"]).exits(0);
    assert_eq!(ids(&world), ["classified.json#0"]);
}
