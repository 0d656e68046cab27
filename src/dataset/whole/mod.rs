//! Whole rows: every column of a dataset in its own type, for those who write rows and not only read them.
//!
//! The rows are those of [`super::Dataset::batches`] of the same dataset, in the same order, under the same ids.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use futures::stream::Stream;
use serde_json::{Map, Value};

use super::plan::{Hold, Plan};
use super::{Column, Error, Found, Unreadable, handed_over, while_wanted};
use crate::record::cell::cell;
use crate::record::pick;
use hand::Hand;
use prepare::{Making, Prepared};

pub use schema::TwoTypes;

mod build;
mod convert;
mod hand;
mod kinds;
mod prepare;
mod read;
mod schema;
mod stamp;
mod weigh;

/// What whole rows are wanted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Arrow tables of one schema; rows of JSON get the types that fit all of them.
    Arrow,
    /// Rows of JSON as the objects that they are; rows of formats with types of their own as Arrow. Integers of more than
    /// 64 bits are text of their digits here too; the request's listener is told of the first.
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

/// A dataset that is ready to be read whole: what it has, and its rows to come.
#[derive(Debug)]
pub struct Whole {
    /// The name, as the user wrote it.
    pub name: String,
    /// The columns of every table, with the metadata of the files; none where rows come as objects.
    pub schema: Option<SchemaRef>,
    /// The columns for people: those of the schema, or those of the first rows.
    pub columns: Vec<Column>,
    /// How many rows will come, those that cannot be read included, if that is known.
    pub rows: Option<u64>,
    /// What the user should know of how columns are written.
    pub notes: Vec<String>,
    making: Making,
    plan: Plan,
    has_told: Arc<AtomicBool>,
}

impl Found {
    /// Prepares to read the rows whole: checks the columns, counts, draws the sample as [`Found::open`] does, and finds the
    /// schema that all files or rows fit into. Rows of JSON are read once for that.
    ///
    /// The work is done on threads of its own, and given up when the future is dropped.
    pub async fn whole(&self, form: Form) -> Result<Whole, Error> {
        let (request, files) = (self.request.clone(), self.files(Hold::Numbers));
        let name = request.name.clone();
        let runtime = tokio::runtime::Handle::current();
        let prepared = while_wanted(&name, move |is_stopped| {
            prepare::prepare(request, files, (form, runtime), is_stopped)
        });
        let Prepared { schema, columns, rows, notes, making, plan } = prepared.await?;
        let plan = plan.keeping(self.gathered.spool.clone());
        let has_told = Arc::clone(&self.has_told);
        Ok(Whole { name, schema, columns, rows, notes, making, plan, has_told })
    }
}

impl Whole {
    /// The rows in order, in tables of at most 8,192 rows and about 8 MiB (a larger row comes alone).
    ///
    /// At most a few tables are in memory. Reading begins when the stream is first polled, inside a tokio runtime, and
    /// stops when it is dropped. An error is the last item.
    pub fn tables(self) -> impl Stream<Item = Result<Item, Error>> + Send {
        let Self { name, making, plan, has_told, .. } = self;
        handed_over(name, move |sender| {
            let hand = Hand::new(sender, &plan.request, has_told);
            let outcome = read::read(plan, &making, &hand);
            hand.finish(outcome);
        })
    }
}

impl Table {
    /// The value of a row in a column: a literal name wins over a dotted path (see [`crate::record::pick::find`]), values
    /// are those of [`crate::record::cell::cell`]. `None` where the row has no such column; an error says why the value
    /// cannot be read.
    pub fn value(&self, column: &str, at: usize) -> Result<Option<Value>, String> {
        match &self.rows {
            Rows::Arrow(batch) => value_in(batch, column, at),
            Rows::Objects(objects) => Ok(value_of(&objects[at], column).cloned()),
        }
    }
}

fn value_in(batch: &RecordBatch, column: &str, at: usize) -> Result<Option<Value>, String> {
    if let Some(array) = batch.column_by_name(column) {
        return cell(array, at).map(Some);
    }
    let inner = column.split_once('.').and_then(|(head, rest)| Some((batch.column_by_name(head)?, rest)));
    inner.map_or(Ok(None), |(array, rest)| inside(array, rest, at))
}

/// The value that a path leads to inside of a column. Of a struct only that field is read.
fn inside(array: &ArrayRef, path: &str, at: usize) -> Result<Option<Value>, String> {
    if !matches!(array.data_type(), DataType::Struct(_)) {
        return Ok(pick::find(&cell(array, at)?, path).cloned());
    }
    let record = array.as_struct();
    if record.is_null(at) {
        return Ok(None);
    }
    if let Some(field) = record.column_by_name(path) {
        return cell(field, at).map(Some);
    }
    let inner = path.split_once('.').and_then(|(head, rest)| Some((record.column_by_name(head)?, rest)));
    inner.map_or(Ok(None), |(field, rest)| inside(field, rest, at))
}

fn value_of<'o>(object: &'o Map<String, Value>, column: &str) -> Option<&'o Value> {
    object.get(column).or_else(|| {
        let (head, rest) = column.split_once('.')?;
        pick::find(object.get(head)?, rest)
    })
}

#[cfg(test)]
mod tests;
