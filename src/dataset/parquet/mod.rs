//! Parquet files: only the wanted columns, row groups and pages are read.

use super::batch::{Batch, Stop};
use super::error::{Error, plain};
use super::sample::{Chosen, Draw, Sample};
use super::wanted::{Wanted, columns};
use super::{Column, Request};
use crate::record::cell::cell;
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetStatisticsPolicy, RowGroupMetaData};
use parquet::schema::types::SchemaDescriptor;
use serde_json::Value;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;

mod schema;

/// A parquet file, ready to be read.
#[derive(Debug)]
pub(super) struct Parquet {
    file: File,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    chosen: Chosen<()>,
}

/// What is known of a file before it is read.
pub(super) struct Opened {
    pub(super) parquet: Parquet,
    pub(super) columns: Vec<Column>,
    pub(super) rows: u64,
}

/// Reads the footer, checks the columns, draws the sample.
pub(super) fn open(
    file: File,
    path: &str,
    request: &Request,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Opened, Error> {
    let name = &request.name;
    let footer = |error| failed(name, "is truncated or is not a parquet file", error);
    // The Arrow schema that some writers embed is left aside: what it adds (dictionaries, 64-bit offsets)
    // makes no difference to a record, and it is one more thing that can be broken.
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
    let metadata = ArrowReaderMetadata::load(&file, options.clone()).map_err(footer)?;
    let rows = rows(metadata.metadata().row_groups())
        .ok_or_else(|| corrupt(name, "is corrupt", "its footer has an impossible number of rows"))?;
    if rows == 0 {
        return Err(Error::Empty { name: plain(name) });
    }

    let known = schema::known(metadata.schema());
    let mut paths = Vec::new();
    for column in columns(request) {
        let path = schema::path(metadata.schema().fields(), column);
        paths.push(path.ok_or_else(|| known.unknown(name, column))?);
    }
    let mask = schema::mask(metadata.parquet_schema(), &paths);
    let chosen = choose(path, rows, request.sample, is_stopped).map_err(|error| Error::io(name, error))?;

    let pages = match &chosen {
        // Where each page begins, so that those without a chosen row are passed over.
        Chosen::Rows(_) => PageIndexPolicy::Optional,
        Chosen::Head(_) => PageIndexPolicy::Skip,
    };
    let metadata = schema::texts_as_bytes(metadata.parquet_schema().root_schema())
        .map(|schema| Arc::new(SchemaDescriptor::new(Arc::new(schema))))
        .and_then(|schema| {
            let options = options.with_parquet_schema(schema).with_offset_index_policy(pages);
            ArrowReaderMetadata::load(&file, options)
        })
        .and_then(|metadata| {
            let views = Arc::new(schema::bytes_as_views(metadata.schema()));
            ArrowReaderMetadata::try_new(
                metadata.metadata().clone(),
                ArrowReaderOptions::new().with_schema(views),
            )
        })
        .map_err(footer)?;
    Ok(Opened { parquet: Parquet { file, metadata, mask, chosen }, columns: known.columns, rows })
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

fn choose(path: &str, rows: u64, sample: Sample, is_stopped: &dyn Fn() -> bool) -> io::Result<Chosen<()>> {
    const BETWEEN_LOOKS: u64 = 1 << 20;
    match sample {
        Sample::All => Ok(Chosen::Head(rows)),
        Sample::First { rows: first } => Ok(Chosen::Head(first.min(rows))),
        Sample::Random { rows: most, .. } if most >= rows => Ok(Chosen::Head(rows)),
        Sample::Random { rows: most, seed } => {
            let mut draw = Draw::new(most, seed, path);
            for row in 0..rows {
                if row % BETWEEN_LOOKS == 0 && is_stopped() {
                    return Err(ErrorKind::Interrupted.into());
                }
                draw.offer(row, || ());
            }
            Ok(draw.finish())
        }
    }
}

impl Parquet {
    pub(super) fn count(&self) -> u64 {
        self.chosen.count()
    }

    /// Reads the chosen rows into the batch.
    pub(super) fn read(self, wanted: &Wanted, batch: &mut Batch) -> Result<(), Stop> {
        let groups = self.metadata.metadata().row_groups();
        let mut start = 0;
        for (index, group) in groups.iter().enumerate() {
            let end = start + group.num_rows().unsigned_abs();
            let runs = self.chosen.within(start..end);
            if !runs.is_empty() {
                let problem = || format!("row group {} of {} cannot be read", index + 1, groups.len());
                let reader = self.decode(index, &runs, start);
                let reader = reader.map_err(|error| failed(&wanted.name, &problem(), error))?;
                let mut rows = runs.into_iter().flatten();
                for decoded in reader {
                    let decoded = decoded.map_err(|error| failed_arrow(&wanted.name, &problem(), error))?;
                    push(&decoded, &mut rows, wanted, batch)?;
                }
                if rows.next().is_some() {
                    return Err(
                        corrupt(&wanted.name, &problem(), "it has fewer rows than the footer says").into()
                    );
                }
            }
            start = end;
        }
        Ok(())
    }

    fn decode(
        &self,
        index: usize,
        runs: &[Range<u64>],
        start: u64,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, ArrowError>> + use<>, ParquetError> {
        let group = self.metadata.metadata().row_group(index);
        let reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.try_clone()?, self.metadata.clone())
                .with_row_groups(vec![index])
                .with_projection(self.mask.clone())
                .with_batch_size(self.rows_at_once(group));
        if runs.first().is_some_and(|run| run.end - run.start == group.num_rows().unsigned_abs()) {
            return reader.build();
        }
        let mut ranges = Vec::with_capacity(runs.len());
        for run in runs {
            ranges.push(usize::try_from(run.start - start)?..usize::try_from(run.end - start)?);
        }
        let end = usize::try_from(group.num_rows())?;
        let selection = RowSelection::from_consecutive_ranges(ranges.into_iter(), end);
        reader.with_row_selection(selection).build()
    }

    /// How many rows to decode at a time, so that they are about as many bytes as a batch.
    fn rows_at_once(&self, group: &RowGroupMetaData) -> usize {
        const MOST: u64 = 256;
        const BYTES: u64 = 4 << 20;
        let leaves = group.columns().iter().enumerate().filter(|(leaf, _)| self.mask.leaf_included(*leaf));
        let bytes = leaves.map(|(_, column)| column.uncompressed_size().max(0).unsigned_abs());
        let bytes = bytes.fold(0, u64::saturating_add);
        let each = (bytes / group.num_rows().unsigned_abs().max(1)).max(1);
        usize::try_from((BYTES / each).clamp(1, MOST)).unwrap_or(1)
    }
}

/// Adds the decoded rows, which are the next ones of `rows`.
fn push(
    decoded: &RecordBatch,
    rows: &mut impl Iterator<Item = u64>,
    wanted: &Wanted,
    batch: &mut Batch,
) -> Result<(), Stop> {
    let roots = wanted.picker.roots();
    let columns: Vec<_> = roots.iter().map(|root| decoded.column_by_name(root)).collect();
    for (index, row) in (0..decoded.num_rows()).zip(rows) {
        let cells = columns.iter().zip(roots).map(|(column, root)| {
            let cell = column.map(|column| cell(column, index));
            cell.transpose().map_err(|detail| format!("column {root}: {detail}"))
        });
        let cells: Result<Vec<Option<Value>>, String> = cells.collect();
        batch.push(match cells {
            Ok(mut cells) => Ok(wanted.record(row, &mut cells)),
            Err(detail) => Err(wanted.unreadable(row, &detail)),
        })?;
    }
    Ok(())
}

fn corrupt(name: &str, problem: &str, detail: &str) -> Error {
    Error::Corrupt { name: plain(name), problem: problem.to_owned(), detail: plain(detail) }
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

fn failed_arrow(name: &str, problem: &str, error: ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(error) => match error.downcast::<ParquetError>() {
            Ok(error) => failed(name, problem, *error),
            Err(error) => corrupt(name, problem, &error.to_string()),
        },
        error => corrupt(name, problem, &error.to_string()),
    }
}

#[cfg(test)]
mod tests;
