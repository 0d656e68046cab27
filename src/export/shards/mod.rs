//! Kept rows as numbered files of one split: parquet, or JSON lines.
//!
//! Where a file or a row group ends depends on the rows alone, so the same rows give the same bytes.

mod columns;
mod files;
mod json;
mod parquet;

pub use files::split_name;

use std::path::PathBuf;

use arrow::datatypes::{DataType, SchemaRef};
use serde::{Deserialize, Serialize};

use super::Error;
use crate::dataset::whole::Table;
use crate::http::plain;

/// The form of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Parquet: columns in their types.
    Parquet,
    /// JSON lines: an object a row.
    Jsonl,
}

impl To {
    /// The ending of its files' names, without the dot.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl => "jsonl",
        }
    }
}

/// The type of an added column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 64-bit floats.
    Double,
    /// 64-bit integers.
    Int,
}

impl Kind {
    fn arrow(self) -> DataType {
        match self {
            Self::Double => DataType::Float64,
            Self::Int => DataType::Int64,
        }
    }

    /// Its name in the metadata of `datasets`.
    fn in_datasets(self) -> &'static str {
        match self {
            Self::Double => "float64",
            Self::Int => "int64",
        }
    }
}

/// The values of an added column.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// 64-bit floats.
    Double(Vec<Option<f64>>),
    /// 64-bit integers.
    Int(Vec<Option<i64>>),
}

impl Values {
    /// Their type.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Double(_) => Kind::Double,
            Self::Int(_) => Kind::Int,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Double(values) => values.len(),
            Self::Int(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A column that is added to the rows, with one value for each row that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Added {
    /// The column's name.
    pub name: String,
    /// Its values.
    pub values: Values,
}

/// What is to be written, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the files, which exists.
    pub folder: PathBuf,
    /// The split that was asked for; its [`split_name`] begins the files' names.
    pub split: String,
    /// The form.
    pub to: To,
    /// The rows' columns; `None` where they are JSON objects.
    pub schema: Option<SchemaRef>,
    /// The columns that are added to them.
    pub added: Vec<(String, Kind)>,
    /// A file that has reached this many bytes is the last of its rows.
    pub shard_size: u64,
}

/// One file of the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its name.
    pub name: String,
    /// How many rows it holds.
    pub rows: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// The files being written. Blocks: for threads that may wait.
#[derive(Debug)]
pub struct Shards {
    writer: Writer,
    added: Vec<(String, Kind)>,
    folder: PathBuf,
}

#[derive(Debug)]
enum Writer {
    Parquet(Box<parquet::Writer>),
    Jsonl(Box<json::Writer>),
}

impl Shards {
    /// Begins the files. Columns that the form cannot hold are an error, before any row is written.
    pub fn create(options: Options) -> Result<Self, Error> {
        let added = options.added.clone();
        let mut names: Vec<&str> = added.iter().map(|(name, _)| name.as_str()).collect();
        let columns = options.schema.as_ref().map(|schema| schema.fields().iter());
        names.extend(columns.into_iter().flatten().map(|field| field.name().as_str()));
        if let Some((column, _)) =
            added.iter().find(|(name, _)| names.iter().filter(|other| *other == name).count() > 1)
        {
            return Err(Error::ColumnExists { column: plain(column) });
        }
        let folder = options.folder.clone();
        let writer = match options.to {
            To::Parquet => Writer::Parquet(Box::new(parquet::Writer::create(options)?)),
            To::Jsonl => Writer::Jsonl(Box::new(json::Writer::create(options))),
        };
        Ok(Self { writer, added, folder })
    }

    /// What could not be kept of the input beside its rows, for the user to know.
    pub fn notes(&self) -> &[String] {
        match &self.writer {
            Writer::Parquet(writer) => writer.notes(),
            Writer::Jsonl(_) => &[],
        }
    }

    /// Writes those rows of `table` for which `keep` says so, with the added columns in the order that was declared,
    /// one value a kept row.
    pub fn write(&mut self, table: &Table, keep: &[bool], added: Vec<Added>) -> Result<(), Error> {
        let kept = keep.iter().filter(|keep| **keep).count();
        let declared = self.added.iter().map(|(name, kind)| (name.as_str(), *kind, kept));
        let given = added.iter().map(|added| (added.name.as_str(), added.values.kind(), added.values.len()));
        if keep.len() != table.rows.len() || !declared.eq(given) {
            return Err(Error::encode(&self.folder, "the added columns are not those that were declared"));
        }
        if kept == 0 {
            return Ok(());
        }
        let values: Vec<Values> = added.into_iter().map(|added| added.values).collect();
        match &mut self.writer {
            Writer::Parquet(writer) => writer.write(table, keep, values),
            Writer::Jsonl(writer) => writer.write(table, keep, &values),
        }
    }

    /// Completes the files, syncs them to the disk and gives them their names, which say how many they are. Without any
    /// row there is one file of none.
    pub fn finish(self) -> Result<Vec<Shard>, Error> {
        match self.writer {
            Writer::Parquet(writer) => writer.finish(),
            Writer::Jsonl(writer) => writer.finish(),
        }
    }
}

#[cfg(test)]
mod tests;
