//! Whole rows: every column of a dataset in its own type, for those who write rows and not only read them.
//!
//! The rows are those of [`super::Dataset::batches`] of the same dataset, in the same order, under the same ids.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use serde_json::{Map, Value};

use super::Unreadable;

/// What whole rows are wanted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Arrow tables of one schema; rows of JSON get the types that fit all of them.
    Arrow,
    /// Rows of JSON as the objects that they are; rows of formats with types of their own as Arrow.
    AsStored,
}

/// Rows side by side.
#[derive(Debug, Clone)]
pub enum Rows {
    /// Columns, in the types of the dataset's schema.
    Arrow(RecordBatch),
    /// JSON objects.
    Objects(Vec<Map<String, Value>>),
}

impl Rows {
    /// How many they are.
    pub fn len(&self) -> usize {
        match self {
            Self::Arrow(batch) => batch.num_rows(),
            Self::Objects(objects) => objects.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The ids of rows.
#[derive(Debug, Clone)]
pub enum Ids {
    /// `<label>#<row>`: the file, and the 0-based numbers of the rows in it.
    Numbered {
        /// The file's path within the dataset.
        label: String,
        /// One number a row.
        rows: Vec<u64>,
    },
    /// Those of the user's column.
    Own(Vec<String>),
}

impl Ids {
    /// The id of a row, given its place in the table.
    pub fn get(&self, at: usize) -> Cow<'_, str> {
        match self {
            Self::Numbered { label, rows } => Cow::Owned(format!("{label}#{}", rows[at])),
            Self::Own(ids) => Cow::Borrowed(&ids[at]),
        }
    }
}

/// Some whole rows of one file, in order.
#[derive(Debug, Clone)]
pub struct Table {
    /// The index of the file in the dataset.
    pub file: usize,
    /// One id a row.
    pub ids: Ids,
    /// The rows.
    pub rows: Rows,
}

/// What comes of a dataset that is read whole.
#[derive(Debug, Clone)]
pub enum Item {
    /// Rows.
    Table(Table),
    /// A row that cannot be read, in its place between the others.
    Unreadable(Unreadable),
}
