//! Parquet files: only the wanted columns, row groups and pages are read.

use super::Row;
use super::batch::{Batch, Stop};
use super::bytes::Bytes;
use super::error::{Error, panic_text};
use super::sample::Chosen;
use super::wanted::{Known, Wanted};
use crate::record::cell::cell;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetStatisticsPolicy, RowGroupMetaData,
};
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};
use std::any::Any;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

mod fetch;
pub(super) mod footer;
pub(super) mod schema;
mod whole;

/// What the footer of a parquet file says.
#[derive(Debug)]
pub(super) struct Footer {
    bytes: Bytes,
    metadata: ArrowReaderMetadata,
    options: ArrowReaderOptions,
    /// How many rows the file has.
    pub(super) rows: u64,
    /// Its columns.
    pub(super) known: Known,
}

/// A parquet file, ready to be read.
#[derive(Debug)]
pub(super) struct Parquet {
    bytes: Bytes,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    chosen: Chosen<()>,
}

impl Footer {
    /// Reads the footer of a file; `name` is what messages call it.
    pub(super) fn read(bytes: Bytes, name: &str) -> Result<Self, Error> {
        if let Some(refusal) = footer::refusal(&bytes).map_err(|error| Error::io(name, error))? {
            return Err(corrupt(name, "is not read", &refusal));
        }
        // The Arrow schema that some writers embed is left aside: what it adds (dictionaries, 64-bit offsets)
        // makes no difference to a record, and it is one more thing that can be broken.
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
            .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
        let metadata = guarded(|| ArrowReaderMetadata::load(&bytes, options.clone()))
            .map_err(|error| unread(name, error))?;
        let rows = rows(metadata.metadata().row_groups())
            .ok_or_else(|| corrupt(name, "is corrupt", "its footer has an impossible number of rows"))?;
        let known = schema::known(metadata.schema());
        Ok(Self { bytes, metadata, options, rows, known })
    }

    /// An error if the file lacks one of these columns.
    pub(super) fn check(&self, columns: &[String], name: &str) -> Result<(), Error> {
        let fields = self.metadata.schema().fields();
        let missing = columns.iter().find(|column| schema::path(fields, column).is_none());
        missing.map_or(Ok(()), |column| Err(self.known.unknown(name, column)))
    }

    /// Prepares to read the chosen rows of some columns; an error if the file lacks one of them.
    pub(super) fn choose(self, columns: &[String], chosen: Chosen<()>, name: &str) -> Result<Parquet, Error> {
        let Self { bytes, metadata, options, rows, known } = self;
        let mut paths = Vec::new();
        for column in columns {
            let path = schema::path(metadata.schema().fields(), column);
            paths.push(path.ok_or_else(|| known.unknown(name, column))?);
        }
        let mask = schema::mask(metadata.parquet_schema(), &paths);
        let pages = match &chosen {
            Chosen::Head(head) if *head >= rows => PageIndexPolicy::Skip,
            // Where each page begins, so that those without a chosen row are passed over.
            Chosen::Head(_) | Chosen::Rows(_) => PageIndexPolicy::Optional,
        };
        let options = options.with_offset_index_policy(pages);
        let metadata = guarded(|| for_reading(&bytes, metadata.parquet_schema(), options))
            .map_err(|error| unread(name, error))?;
        Ok(Parquet::planned(bytes, metadata, mask, chosen))
    }
}

fn unread(name: &str, error: ParquetError) -> Error {
    failed(name, "is truncated or is not a parquet file", error)
}

/// The footer again, with the types that the file is read as.
fn for_reading(
    file: &Bytes,
    schema: &SchemaDescriptor,
    options: ArrowReaderOptions,
) -> Result<ArrowReaderMetadata, ParquetError> {
    let bytes = SchemaDescriptor::new(Arc::new(schema::texts_as_bytes(schema.root_schema())?));
    let metadata = ArrowReaderMetadata::load(file, options.with_parquet_schema(Arc::new(bytes)))?;
    let views = Arc::new(schema::bytes_as_views(metadata.schema()));
    ArrowReaderMetadata::try_new(metadata.metadata().clone(), ArrowReaderOptions::new().with_schema(views))
}

/// Runs the decoder of the `parquet` crate, which panics on some files that are broken in the right places.
fn guarded<T>(decode: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    // What a panic leaves behind in the decoder is dropped with it: nothing is read on after an error.
    let panicked = |panic: Box<dyn Any + Send>| ParquetError::General(panic_text(panic.as_ref()).to_owned());
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| Err(panicked(panic)))
}

/// The sum of the row groups, which is what can be read, whatever the footer says of the file.
fn rows(groups: &[RowGroupMetaData]) -> Option<u64> {
    // More than any real file has, and few enough to draw a sample of in minutes: a broken footer cannot
    // make the draw go on for years.
    const MOST: u64 = 1 << 36;
    let mut counts = groups.iter().map(|group| u64::try_from(group.num_rows()).ok());
    let sum = counts.try_fold(0_u64, |sum, rows| sum.checked_add(rows?))?;
    Some(sum).filter(|sum| *sum <= MOST)
}

/// A row group, of which some rows are chosen. Rows are counted in the file.
struct Group {
    index: usize,
    start: u64,
    chosen: Vec<Range<u64>>,
    /// What is decoded: the chosen rows, and perhaps others between them.
    decoded: Vec<Range<u64>>,
}

impl Parquet {
    /// A file whose ranges to come are planned, if it is to be fetched.
    fn planned(
        bytes: Bytes,
        metadata: ArrowReaderMetadata,
        mask: ProjectionMask,
        chosen: Chosen<()>,
    ) -> Self {
        let parquet = Self { bytes, metadata, mask, chosen };
        if let Bytes::Hub(blocks) = &parquet.bytes {
            // A page index is a stranger's too: sums of its offsets may overflow.
            let ranges = guarded(|| Ok(fetch::plan(&parquet))).unwrap_or_default();
            let columns = parquet.leaves().count();
            blocks.plan(ranges, fetch::gap(&parquet), columns);
        }
        parquet
    }

    /// The schema of what is decoded.
    pub(super) fn schema(&self) -> &Schema {
        self.metadata.schema()
    }

    /// Begins to fetch what will be read, `room` bytes at most, and says how many bytes that is.
    pub(super) fn begin(&self, room: u64) -> u64 {
        match &self.bytes {
            Bytes::Local(_) => 0,
            Bytes::Hub(blocks) => blocks.begin(room),
        }
    }

    /// Reads the chosen rows into the batch.
    pub(super) fn read(self, wanted: &Wanted, batch: &mut Batch) -> Result<(), Stop> {
        const ROWS: u64 = 256;
        const BYTES: u64 = 4 << 20;
        self.each(&wanted.name, AtOnce { rows: ROWS, bytes: BYTES }, |decoded, chosen| {
            let roots = wanted.picker.roots().iter();
            let columns: Vec<_> = roots.map(|root| decoded.column_by_name(root)).collect();
            chosen.iter().try_for_each(|at| batch.push(read_row(&columns, at.index, at.row, wanted)))
        })
    }

    /// Decodes some rows at a time, and shows them, and which of them are chosen; `name` is what messages call the file.
    pub(super) fn each(
        &self,
        name: &str,
        at_once: AtOnce,
        mut show: impl FnMut(&RecordBatch, &[At]) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        for group in self.groups() {
            self.read_group(&group, name, at_once, &mut show)?;
        }
        Ok(())
    }

    /// The row groups that have chosen rows, in order.
    fn groups(&self) -> Vec<Group> {
        let mut start = 0;
        let mut groups = Vec::new();
        for (index, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let end = start + group.num_rows().unsigned_abs();
            let chosen = self.chosen.within(start..end);
            if let Some(last) = chosen.last() {
                // The decoder never returns from skipping inside a list whose levels are cut short (parquet
                // 59.3); reading them it notices. So in lists no row before the last one is skipped.
                let decoded = if self.has_lists() {
                    Chosen::<()>::Head(last.end).within(start..end)
                } else {
                    chosen.clone()
                };
                groups.push(Group { index, start, chosen, decoded });
            }
            start = end;
        }
        groups
    }

    /// The columns of the schema that are read, each a leaf of it.
    fn leaves(&self) -> impl Iterator<Item = &ColumnDescPtr> {
        let leaves = self.metadata.parquet_schema().columns().iter().enumerate();
        leaves.filter(|(leaf, _)| self.mask.leaf_included(*leaf)).map(|(_, column)| column)
    }

    fn has_lists(&self) -> bool {
        self.leaves().any(|column| column.max_rep_level() > 0)
    }

    fn read_group(
        &self,
        group: &Group,
        name: &str,
        at_once: AtOnce,
        show: &mut impl FnMut(&RecordBatch, &[At]) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let groups = self.metadata.metadata().num_row_groups();
        let problem = format!("row group {} of {groups} cannot be read", group.index + 1);
        let undecoded = |error| failed(name, &problem, error);
        let mut reader = guarded(|| self.decode(group, at_once)).map_err(undecoded)?;
        let mut rows = group.decoded.iter().cloned().flatten();
        let mut chosen = group.chosen.iter().cloned().flatten().peekable();
        let mut shown = Vec::new();
        while let Some(decoded) =
            guarded(|| reader.next().transpose().map_err(unwrapped)).map_err(undecoded)?
        {
            shown.clear();
            for (index, row) in (0..decoded.num_rows()).zip(&mut rows) {
                if chosen.next_if_eq(&row).is_some() {
                    shown.push(At { index, row });
                }
            }
            show(&decoded, &shown)?;
        }
        match chosen.next() {
            None => Ok(()),
            Some(_) => Err(corrupt(name, &problem, "it has fewer rows than the footer says").into()),
        }
    }

    fn decode(
        &self,
        group: &Group,
        at_once: AtOnce,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, ArrowError>> + use<>, ParquetError> {
        let reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), self.metadata.clone())
                .with_row_groups(vec![group.index])
                .with_projection(self.mask.clone())
                .with_batch_size(self.rows_at_once(group, at_once));
        match self.selection(group)? {
            None => reader.build(),
            Some(selection) => reader.with_row_selection(selection).build(),
        }
    }

    /// The rows of a group that are decoded; `None` if that is all of them.
    fn selection(&self, group: &Group) -> Result<Option<RowSelection>, ParquetError> {
        let Group { index, start, decoded, .. } = group;
        let rows = self.metadata.metadata().row_group(*index).num_rows();
        if decoded.first().is_some_and(|run| run.end - run.start == rows.unsigned_abs()) {
            return Ok(None);
        }
        let mut ranges = Vec::with_capacity(decoded.len());
        for run in decoded {
            ranges.push(usize::try_from(run.start - start)?..usize::try_from(run.end - start)?);
        }
        Ok(Some(RowSelection::from_consecutive_ranges(ranges.into_iter(), usize::try_from(rows)?)))
    }

    /// How many rows to decode at a time.
    ///
    /// Decoded texts are views that keep their whole page in memory, so what counts is not only the size of
    /// the rows but how far apart they are.
    fn rows_at_once(&self, group: &Group, at_once: AtOnce) -> usize {
        let metadata = self.metadata.metadata().row_group(group.index);
        let leaves = metadata.columns().iter().enumerate().filter(|(leaf, _)| self.mask.leaf_included(*leaf));
        let bytes = leaves.map(|(_, column)| unfolded(column));
        let bytes = bytes.fold(1, u64::saturating_add);
        let decoded: u64 = group.decoded.iter().map(|run| run.end - run.start).sum();
        let rows = u128::from(at_once.bytes) * u128::from(decoded) / u128::from(bytes);
        usize::try_from(rows.clamp(1, at_once.rows.into())).unwrap_or(1)
    }
}

/// About how many bytes a column chunk takes as it is decoded: its pages, or its values, of which a run takes a few bytes
/// of a page.
fn unfolded(column: &ColumnChunkMetaData) -> u64 {
    const WIDTH: u64 = 8;
    let values = column.num_values().max(0).unsigned_abs().saturating_mul(WIDTH);
    let is_list = column.column_descr().max_rep_level() > 0;
    column.uncompressed_size().max(0).unsigned_abs().max(if is_list { values } else { 0 })
}

/// How much is decoded at a time, at most; a larger row comes alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtOnce {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// A chosen row among those that were decoded together.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    /// Where it is among them.
    pub(super) index: usize,
    /// Its number in the file.
    pub(super) row: u64,
}

/// One row of decoded columns, which are the roots of the picker.
fn read_row(columns: &[Option<&ArrayRef>], index: usize, row: u64, wanted: &Wanted) -> Row {
    let roots = columns.iter().zip(wanted.picker.roots());
    let cells = roots.map(|(column, root)| {
        let cell = column.map(|column| cell(column, index));
        cell.transpose().map_err(|detail| format!("column {root}: {detail}"))
    });
    match cells.collect::<Result<Vec<_>, _>>() {
        Ok(mut cells) => Ok(wanted.record(row, &mut cells)),
        Err(detail) => Err(wanted.unreadable(row, &detail)),
    }
}

fn corrupt(name: &str, problem: &str, detail: &str) -> Error {
    Error::corrupt(name, problem, detail)
}

fn failed(name: &str, problem: &str, error: ParquetError) -> Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => Error::io(name, *error),
            Err(error) => corrupt(name, problem, &error.to_string()),
        },
        ParquetError::General(detail) | ParquetError::EOF(detail) => corrupt(name, problem, &detail),
        error => corrupt(name, problem, &error.to_string()),
    }
}

/// The decoder's own error, which it hands out in an envelope.
fn unwrapped(error: ArrowError) -> ParquetError {
    match error {
        ArrowError::ParquetError(detail) => ParquetError::General(detail),
        ArrowError::ExternalError(error) => {
            error.downcast::<ParquetError>().map_or_else(ParquetError::External, |error| *error)
        }
        other => ParquetError::from(other),
    }
}

#[cfg(test)]
mod tests;
