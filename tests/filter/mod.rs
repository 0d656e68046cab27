//! `filter`: which rows are kept, what is written, what it costs, and what a stop at any moment leaves.

mod cuts;
mod output;
mod stops;

use std::fs::{self, File};
use std::path::Path;

use arrow::array::Array;
use classified::record::cell::cell;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value, json};

use crate::standin::{Action, Config, Rule, Script, Standin};
use crate::world::{Run, World, text};

/// A world whose endpoint gives the row with number n a score of 1, 1.5, 2, 2.5 or 3, by n modulo 5, and of which the
/// rows of the file `rows.jsonl` are `{"text", "n", "lang"}`.
fn world(rows: usize) -> (World, Standin) {
    let (world, standin) = World::with_endpoint(scored(rows, Vec::new()));
    let lines: Vec<String> = (0..rows).map(|row| line(row).to_string()).collect();
    world.write("rows.jsonl", lines.join("\n"));
    (world, standin)
}

/// A config whose endpoint scores as [`score`] does, after what `script` does.
fn scored(rows: usize, mut script: Vec<Rule>) -> Config {
    for row in 0..rows {
        let answer = json!({"rationale": format!("This is row {row}."), "overall": score(row)}).to_string();
        script
            .push(Rule { contains: Some(format!("Row {row}. ")), ..Rule::always(Action::Arguments(answer)) });
    }
    Config { script: Script(script), ..Config::default() }
}

fn score(row: usize) -> f64 {
    1.0 + (row % 5) as f64 / 2.0
}

fn line(row: usize) -> Value {
    json!({"text": text(row), "n": row, "lang": if row.is_multiple_of(2) { "en" } else { "de" }})
}

fn filter(world: &World, more: &[&str]) -> Run {
    let command = ["filter", "rows.jsonl", "text", "textbook_quality", "--format", "json"];
    world.run(&[&command[..], more].concat())
}

/// The rows of an output folder, and that its files are named as they should be.
#[track_caller]
fn rows(folder: &Path) -> Vec<Map<String, Value>> {
    let mut files: Vec<_> =
        fs::read_dir(folder.join("data")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let of = files.len();
    let mut rows = Vec::new();
    for (nth, file) in files.iter().enumerate() {
        let name = file.file_name().unwrap().to_str().unwrap();
        let (stem, end) = name.split_once('.').unwrap();
        assert_eq!(stem, format!("train-{nth:05}-of-{of:05}"));
        match end {
            "jsonl" => rows.extend(
                fs::read_to_string(file)
                    .unwrap()
                    .lines()
                    .map(|line| serde_json::from_str::<Map<_, _>>(line).unwrap()),
            ),
            _ => rows.extend(parquet_rows(file)),
        }
    }
    rows
}

fn parquet_rows(file: &Path) -> Vec<Map<String, Value>> {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap().build().unwrap();
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let schema = batch.schema();
        for row in 0..batch.num_rows() {
            let cells = schema.fields().iter().zip(batch.columns());
            let cells =
                cells.map(|(field, column)| (field.name().clone(), cell(column as &dyn Array, row).unwrap()));
            rows.push(cells.collect());
        }
    }
    rows
}

/// The column `n` of the kept rows.
#[track_caller]
fn kept(world: &World, folder: &str) -> Vec<u64> {
    rows(&world.path(folder)).iter().map(|row| row["n"].as_u64().unwrap()).collect()
}

/// The numbers of the rows below `rows` for which `keep` is true.
fn those(rows: usize, keep: impl Fn(usize) -> bool) -> Vec<u64> {
    (0..rows).filter(|row| keep(*row)).map(|row| row as u64).collect()
}
