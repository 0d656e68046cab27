//! Tests of the whole room, and the means for the tests of each format.

use super::{Dataset, Drawn, Error, Request, Row, find, open};
use crate::hub;
use crate::rating::run::Sample;
use crate::record::Record;
use futures::StreamExt as _;
use serde_json::json;
use std::fs;
use std::pin::pin;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A folder that is gone after the test.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(super) fn with(name: &str, content: impl AsRef<[u8]>) -> Self {
        let folder = Self::new();
        folder.write(name, content);
        folder
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.0.path().join(name), content).unwrap();
    }

    /// A request for all rows of a file in this folder.
    pub(super) fn request(&self, name: &str, columns: &[&str]) -> Request {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Request::new(self.0.path().join(name).to_str().unwrap(), columns, no_hub())
    }

    /// A message without the folder's name, which differs from run to run.
    pub(super) fn message(&self, error: &Error) -> String {
        error.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

/// Settings of a Hub that is never asked.
pub(super) fn no_hub() -> Arc<hub::Options> {
    Arc::new(hub::Options::from(&|name| (name == "HF_HOME").then(|| "/no/such/folder".into())).unwrap())
}

/// Runs a future as the program does, with threads for blocking work.
pub(super) fn run<F: Future>(future: F) -> F::Output {
    Runtime::new().unwrap().block_on(future)
}

/// All rows, and the error that ended them if one did.
pub(super) fn read(request: Request) -> Result<(Vec<Row>, Option<Error>), Error> {
    run(async {
        let dataset = open(request).await?;
        Ok(rows(dataset).await)
    })
}

pub(super) async fn rows(dataset: Dataset) -> (Vec<Row>, Option<Error>) {
    let mut rows = Vec::new();
    let mut batches = pin!(dataset.batches());
    while let Some(batch) = batches.next().await {
        match batch {
            Ok(batch) => rows.extend(batch),
            Err(error) => {
                assert!(batches.next().await.is_none(), "an error is the last item");
                return (rows, Some(error));
            }
        }
    }
    (rows, None)
}

/// All rows of a dataset in which every row is good.
pub(super) fn records(request: Request) -> Vec<Record> {
    let (rows, error) = read(request).unwrap();
    assert!(error.is_none(), "{error:?}");
    rows.into_iter().map(Result::unwrap).collect()
}

pub(super) fn numbered(rows: usize) -> String {
    let line = |row| json!({"text": format!("row {row}"), "n": row}).to_string() + "\n";
    (0..rows).map(line).collect()
}

#[test]
fn an_open_dataset_says_what_it_has_and_how_many_rows_will_come() {
    let folder = Folder::with("rows.jsonl", numbered(10));
    let request = |sample| Request { sample, ..folder.request("rows.jsonl", &["text"]) };
    for (sample, sampled, drawn) in [
        (Sample::All, 10, Drawn::All),
        (Sample::Random { rows: 4, seed: 1 }, 4, Drawn::Uniform),
        (Sample::Random { rows: u64::MAX, seed: 1 }, 10, Drawn::All),
        (Sample::Random { rows: 0, seed: 1 }, 0, Drawn::Uniform),
    ] {
        let dataset = run(open(request(sample))).unwrap();
        assert_eq!((dataset.rows, dataset.sampled), (Some(10), Some(sampled)), "{sample:?}");
        assert_eq!((dataset.name, dataset.drawn), (request(sample).name, drawn));
        assert_eq!(records(request(sample)).len() as u64, sampled);
    }
}

#[test]
fn the_first_rows_are_read_without_counting_the_others() {
    let folder = Folder::with("rows.jsonl", numbered(10));
    for (first, read) in [(3, 3), (11, 10)] {
        let request =
            Request { sample: Sample::First { rows: first }, ..folder.request("rows.jsonl", &["text"]) };
        let dataset = run(open(request.clone())).unwrap();
        assert_eq!((dataset.rows, dataset.sampled, dataset.drawn), (None, None, Drawn::First));
        assert_eq!(records(request).len(), read);
    }
}

#[test]
fn a_sample_is_in_row_order_and_pinned_by_seed_and_name() {
    let folder = Folder::with("rows.jsonl", numbered(1_000));
    let sample = Sample::Random { rows: 10, seed: 42 };
    let sampled = records(Request { sample, ..folder.request("rows.jsonl", &["n"]) });
    let rows = [12, 14, 77, 157, 162, 178, 325, 773, 913, 989];
    assert_eq!(sampled.len(), rows.len());
    for (record, row) in sampled.into_iter().zip(rows) {
        assert_eq!((record.fields, record.id), (vec![json!(row)], format!("rows.jsonl#{row}")));
    }
}

#[test]
fn a_single_file_has_only_the_split_train() {
    let folder = Folder::with("rows.jsonl", numbered(2));
    let request =
        |split: &str| Request { split: Some(split.into()), ..folder.request("rows.jsonl", &["text"]) };
    assert_eq!(records(request("train")).len(), 2);
    let error = read(request("test")).unwrap_err();
    assert!(error.is_usage());
    insta::assert_snapshot!(folder.message(&error), @"no split `test` in `rows.jsonl`: a single file has none; leave --split out");
}

#[test]
fn columns_to_keep_and_the_id_column_must_exist_too() {
    let folder = Folder::with("rows.jsonl", numbered(2));
    let request = folder.request("rows.jsonl", &["text"]);
    for request in [
        Request { keep: vec!["txet".into()], ..request.clone() },
        Request { id: Some("txet".into()), ..request.clone() },
        Request { columns: vec!["txet".into()], ..request },
    ] {
        let error = read(request).unwrap_err();
        assert!(error.is_usage());
        insta::allow_duplicates! { insta::assert_snapshot!(folder.message(&error), @"no column `txet` in `rows.jsonl` (did you mean `text`?); it has text, n"); }
    }
}

#[test]
fn the_reader_is_only_a_few_batches_ahead_of_the_stream() {
    let folder = Folder::with("rows.jsonl", numbered(200_000));
    let request = folder.request("rows.jsonl", &["text"]);
    run(async {
        let dataset = open(request.clone()).await.unwrap();
        let mut batches = Box::pin(dataset.batches());
        assert_eq!(batches.next().await.unwrap().unwrap().len(), 256);
        // What is not read by now is gone.
        fs::write(&request.name, "").unwrap();
        let rest: Vec<_> = batches.collect().await;
        assert!(matches!(rest.last(), Some(Err(Error::Changed { .. }))));
    });
}

#[test]
fn a_dataset_whose_stream_is_never_polled_reads_nothing() {
    let folder = Folder::with("rows.jsonl", numbered(10));
    let dataset = run(open(folder.request("rows.jsonl", &["text"]))).unwrap();
    drop(dataset.batches());
}

#[test]
fn a_first_file_without_rows_does_not_speak_for_the_others() {
    let folder = Folder::new();
    folder.write("a.jsonl", "\n");
    folder.write("b.jsonl", numbered(3));
    for (sample, rows) in
        [(Sample::All, 3), (Sample::First { rows: 2 }, 2), (Sample::Random { rows: 2, seed: 1 }, 2)]
    {
        let found = records(Request { sample, ..folder.request("", &["text"]) });
        assert_eq!(found.len(), rows, "{sample:?}");
        assert!(found.iter().all(|record| record.file == 1 && record.id.starts_with("b.jsonl#")));
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_once_and_opened_as_often_as_one_likes() {
    let folder = Folder::new();
    let path = folder.request("rows", &[]).name;
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let writer = std::thread::spawn({
        let path = path.clone();
        move || fs::write(path, numbered(5)).unwrap()
    });
    run(async {
        let found = find(folder.request("rows", &["n"])).await.unwrap();
        writer.join().unwrap();
        for _ in 0..2 {
            let (read, error) = rows(found.open().await.unwrap()).await;
            assert!(error.is_none());
            let ids: Vec<_> = read.into_iter().map(|row| row.unwrap().id).collect();
            assert_eq!(ids, ["rows#0", "rows#1", "rows#2", "rows#3", "rows#4"]);
        }
    });
}
