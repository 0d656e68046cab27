//! Handing whole rows from the thread that reads to the stream, a bounded table at a time.

use super::convert::Converter;
use super::weigh::weigh;
use super::{Ids, Item, Rows, Table, value_in};
use crate::dataset::batch::Stop;
use crate::dataset::error::{panic_text, plain};
use crate::dataset::gather::Member;
use crate::dataset::parquet::At;
use crate::dataset::{Error, Listener, News, Request, Unreadable};
use crate::record::text;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::mpsc::Sender;

/// The most rows in a table.
pub(super) const ROWS: usize = 8192;

/// The most bytes in a table of more than one row.
pub(super) const BYTES: u64 = 8 << 20;

/// The most bytes of a row: what its values stand for, a text that a dictionary repeats counted each time.
const LONGEST: u64 = 256 << 20;

/// Where whole rows go.
pub(super) struct Hand {
    sender: Sender<Result<Item, Error>>,
    /// The user's id column.
    id: Option<String>,
    listener: Listener,
    /// Whether a long integer was told of.
    has_told: Arc<AtomicBool>,
}

/// What is said of integers that no type of 64 bits holds.
pub(super) fn long_integers(row: &str) -> String {
    format!(
        "integers of more than 64 bits are written as text: row {} has one, perhaps others too",
        plain(row)
    )
}

/// The file that rows are of: its path within the dataset, and its index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'f> {
    path: &'f str,
    index: usize,
}

impl<'f> Origin<'f> {
    pub(super) fn new(member: &'f Member, index: usize) -> Self {
        Self { path: &member.path, index }
    }
}

impl Hand {
    /// Where the rows that this asks for go.
    pub(super) fn new(
        sender: Sender<Result<Item, Error>>,
        request: &Request,
        has_told: Arc<AtomicBool>,
    ) -> Self {
        let listener = request.listener.clone();
        Self { sender, id: request.id.clone(), listener, has_told }
    }

    /// Tells the user, once, of a row that is not given as it is stored.
    pub(super) fn long_integer(&self, origin: Origin, row: u64) {
        if !self.has_told.swap(true, Relaxed) {
            self.listener.tell(&News::Note(&long_integers(&format!("{}#{row}", origin.path))));
        }
    }

    /// Waits while the stream is two items behind.
    fn send(&self, item: Item) -> Result<(), Stop> {
        self.sender.blocking_send(Ok(item)).map_err(|_| Stop::Gone)
    }

    /// Rows of one file with their numbers in it, and their own ids where the user has named a column.
    pub(super) fn table(
        &self,
        origin: Origin,
        (rows, own): (Vec<u64>, Vec<Option<String>>),
        table: Rows,
    ) -> Result<(), Stop> {
        if rows.is_empty() {
            return Ok(());
        }
        let ids = if self.id.is_none() {
            Ids::Numbered { label: origin.path.to_owned(), rows }
        } else {
            let ids = rows
                .iter()
                .zip(own)
                .map(|(row, own)| own.unwrap_or_else(|| format!("{}#{row}", origin.path)));
            Ids::Own(ids.collect())
        };
        self.send(Item::Table(Table { file: origin.index, ids, rows: table }))
    }

    pub(super) fn unreadable(&self, origin: Origin, row: u64, detail: &str) -> Result<(), Stop> {
        let id = format!("{}#{row}", origin.path);
        self.send(Item::Unreadable(Unreadable { id, file: origin.index, detail: plain(detail) }))
    }

    /// The id that a row has of its own, if the user has named a column and the row has one there.
    pub(super) fn own(
        &self,
        find: impl FnOnce(&str) -> Result<Option<Value>, String>,
    ) -> Result<Option<String>, String> {
        let Some(column) = &self.id else { return Ok(None) };
        let own = find(column)?.map(|value| text(&value).into_owned());
        Ok(own.filter(|id| !id.trim().is_empty()))
    }

    /// Sends the error that reading has ended with, if it has.
    pub(super) fn finish(self, outcome: Result<(), Stop>) {
        if let Err(Stop::Failed(error)) = outcome {
            // A listener that has left does not want to know.
            let _ = self.sender.blocking_send(Err(error));
        }
    }
}

/// Makes the dataset's columns of what is decoded of one file.
pub(super) struct Tables<'h> {
    hand: &'h Hand,
    origin: Origin<'h>,
    schema: SchemaRef,
    /// Where each column of the schema is in what is decoded.
    places: Vec<Option<usize>>,
    converter: Converter,
}

impl<'h> Tables<'h> {
    /// `decoded` is the schema of what will be pushed, in any types that can be converted.
    pub(super) fn new(hand: &'h Hand, origin: Origin<'h>, schema: SchemaRef, decoded: &Schema) -> Self {
        let places = schema.fields().iter().map(|field| decoded.index_of(field.name()).ok()).collect();
        Self { hand, origin, schema, places, converter: Converter::default() }
    }

    /// Hands over the chosen rows of a decoded batch.
    pub(super) fn push(&mut self, decoded: &RecordBatch, chosen: &[At]) -> Result<(), Stop> {
        let prepared = guarded(|| {
            let batch = selected(decoded, chosen)?;
            let mut weights = vec![0; batch.num_rows()];
            batch.columns().iter().for_each(|column| weigh(column, &mut weights));
            Ok((batch, weights))
        });
        let (batch, weights) = match prepared {
            Ok(prepared) => prepared,
            Err(detail) => {
                return chosen.iter().try_for_each(|at| self.hand.unreadable(self.origin, at.row, &detail));
            }
        };
        let mut start = 0;
        while start < weights.len() {
            if weights[start] > LONGEST {
                let detail =
                    format!("a row of {} bytes; the longest that is read has {LONGEST}", weights[start]);
                self.hand.unreadable(self.origin, chosen[start].row, &detail)?;
                start += 1;
                continue;
            }
            let mut bytes = 0_u64;
            let fits = weights[start..].iter().take(ROWS).take_while(|weight| {
                bytes = bytes.saturating_add(**weight);
                bytes <= BYTES
            });
            let rows = fits.count().max(1);
            self.piece(&batch.slice(start, rows), &chosen[start..start + rows])?;
            start += rows;
        }
        Ok(())
    }

    /// Rows that are few enough for a table. Where some of them cannot be read, the halves are tried.
    fn piece(&mut self, piece: &RecordBatch, rows: &[At]) -> Result<(), Stop> {
        match guarded(|| self.converted(piece)) {
            Ok((table, own)) => {
                let numbers = rows.iter().map(|at| at.row).collect();
                self.hand.table(self.origin, (numbers, own), Rows::Arrow(table))
            }
            Err(detail) if rows.len() <= 1 => {
                rows.iter().try_for_each(|at| self.hand.unreadable(self.origin, at.row, &detail))
            }
            Err(_) => {
                let middle = rows.len() / 2;
                self.piece(&piece.slice(0, middle), &rows[..middle])?;
                self.piece(&piece.slice(middle, rows.len() - middle), &rows[middle..])
            }
        }
    }

    fn converted(&mut self, piece: &RecordBatch) -> Result<(RecordBatch, Vec<Option<String>>), String> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.places.len());
        for (field, place) in self.schema.fields().iter().zip(&self.places) {
            columns.push(match place {
                Some(place) => {
                    let converted = self.converter.array(piece.column(*place), field.data_type());
                    converted.map_err(|detail| format!("column {}: {detail}", field.name()))?
                }
                None => new_null_array(field.data_type(), piece.num_rows()),
            });
        }
        let table = table(&self.schema, columns, piece.num_rows())?;
        let own = (0..table.num_rows()).map(|at| {
            let own = self.hand.own(|column| value_in(&table, column, at));
            own.map_err(|detail| format!("column {}: {detail}", self.hand.id.as_deref().unwrap_or_default()))
        });
        let own = if self.hand.id.is_some() { own.collect::<Result<_, _>>()? } else { Vec::new() };
        Ok((table, own))
    }
}

/// A table that may have no columns at all.
pub(super) fn table(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, String> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|error| error.to_string())
}

/// The chosen rows of a batch.
fn selected(batch: &RecordBatch, chosen: &[At]) -> Result<RecordBatch, String> {
    let (Some(first), Some(last)) = (chosen.first(), chosen.last()) else { return Ok(batch.slice(0, 0)) };
    if last.index - first.index + 1 == chosen.len() {
        return Ok(batch.slice(first.index, chosen.len()));
    }
    let rows = UInt64Array::from_iter_values(chosen.iter().map(|at| at.index as u64));
    take_record_batch(batch, &rows).map_err(|error| error.to_string())
}

/// Runs Arrow's kernels, which panic on some arrays that are broken in the right places.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // What a panic leaves behind is a converter whose dictionaries are each whole.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panic_text(panic.as_ref()).to_owned()))
}
