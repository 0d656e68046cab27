//! Reads one column of a dataset from its first row to its last, and prints how many rows a second that were.
//!
//!     scan dataset NAME COLUMN    through the program's own reading, streamed where it is at the Hub
//!     scan parquet FOLDER COLUMN  with the parquet crate alone, from disk
//!     scan whole NAME COLUMN      all columns as they are, through the program's own reading; COLUMN is the one that is weighed
//!     scan columns FOLDER COLUMN  all columns with the parquet crate alone, from disk
//!     scan json FILE COLUMN       with serde_json alone, a Value a line, from disk

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use arrow::array::Array as _;
use classified::dataset::whole::{Form, Item, Rows, Table};
use classified::dataset::{self, Access, Request};
use classified::hub::Options;
use futures::StreamExt as _;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [how, name, column] = arguments.as_slice() else {
        bail!("usage: scan dataset|parquet|whole|columns|json NAME COLUMN")
    };
    let began = Instant::now();
    let (rows, bytes) = match how.as_str() {
        "dataset" => tokio::runtime::Runtime::new()?.block_on(through_dataset(name, column))?,
        "whole" => tokio::runtime::Runtime::new()?.block_on(whole(name, column))?,
        "parquet" => with_parquet(name, Some(column))?,
        "columns" => with_parquet(name, None)?,
        "json" => with_serde_json(name, column)?,
        _ => bail!("unknown way: {how}"),
    };
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::print_stdout, reason = "its result")]
    {
        println!(
            "{rows} rows, {:.1} MB, {seconds:.3} s, {:.0} rows/s",
            bytes as f64 / 1e6,
            rows as f64 / seconds
        );
    }
    Ok(())
}

async fn through_dataset(name: &str, column: &str) -> anyhow::Result<(u64, u64)> {
    #[expect(clippy::disallowed_methods, reason = "a program of its own")]
    let variable = |name: &str| std::env::var(name).ok();
    let hub = Arc::new(Options::from(&variable)?);
    let request = Request { access: Access::Stream, ..Request::new(name, vec![column.to_owned()], hub) };
    let mut batches = Box::pin(dataset::open(request).await?.batches());
    let (mut rows, mut bytes) = (0, 0);
    while let Some(batch) = batches.next().await {
        for row in batch? {
            let record = row.map_err(|row| anyhow::anyhow!("{}: {}", row.id, row.detail))?;
            rows += 1;
            bytes += record.fields[0].as_str().map_or(0, str::len) as u64;
        }
    }
    Ok((rows, bytes))
}

async fn whole(name: &str, column: &str) -> anyhow::Result<(u64, u64)> {
    #[expect(clippy::disallowed_methods, reason = "a program of its own")]
    let variable = |name: &str| std::env::var(name).ok();
    let hub = Arc::new(Options::from(&variable)?);
    let request = Request { access: Access::Stream, ..Request::new(name, vec![column.to_owned()], hub) };
    let mut tables = Box::pin(dataset::find(request).await?.whole(Form::Arrow).await?.tables());
    let (mut rows, mut bytes) = (0, 0);
    while let Some(item) = tables.next().await {
        match item? {
            Item::Table(Table { rows: Rows::Arrow(batch), .. }) => {
                rows += batch.num_rows() as u64;
                bytes +=
                    batch.column_by_name(column).map_or(0, arrow::array::Array::get_array_memory_size) as u64;
            }
            other => bail!("a row that cannot be read, or no table: {other:?}"),
        }
    }
    Ok((rows, bytes))
}

/// Of one column, or of all.
fn with_parquet(folder: &str, column: Option<&str>) -> anyhow::Result<(u64, u64)> {
    let mut files = Vec::new();
    collect(Path::new(folder), &mut files)?;
    let (mut rows, mut bytes) = (0, 0);
    for file in files {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?;
        let mask = column.map_or_else(ProjectionMask::all, |column| {
            ProjectionMask::columns(reader.parquet_schema(), [column])
        });
        for batch in reader.with_projection(mask).build()? {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            bytes += batch.column(0).get_array_memory_size() as u64;
        }
    }
    Ok((rows, bytes))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            files.push(path);
        }
    }
    Ok(())
}

fn with_serde_json(file: &str, column: &str) -> anyhow::Result<(u64, u64)> {
    let mut file = BufReader::with_capacity(256 << 10, File::open(file)?);
    let (mut line, mut rows, mut bytes) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        if file.read_until(b'\n', &mut line)? == 0 {
            return Ok((rows, bytes));
        }
        let row: serde_json::Value = serde_json::from_slice(&line)?;
        rows += 1;
        bytes += row[column].as_str().context("a row without a text")?.len() as u64;
    }
}
