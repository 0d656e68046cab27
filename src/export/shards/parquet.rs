//! Kept rows as parquet: row groups are encoded on threads of their own, and appended in their order.

use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{Builder, JoinHandle};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::TypePtr;

use super::columns::{Columns, arrays, as_stored, compact, size};
use super::files::Files;
use super::{Options, Shard, Values};
use crate::dataset::whole::{Rows, Table};
use crate::export::Error;

/// A row group that has this many bytes of values is complete. Twice as many take 70 MB more, and no less time.
const GROUP_BYTES: usize = 16 << 20;

/// The most rows in a row group.
const GROUP_ROWS: usize = 128 << 10;

/// A row group that holds this much memory is complete, however small its values are: rows that were kept can hold on
/// to the memory of rows that were not.
const GROUP_HELD: usize = 128 << 20;

/// Full row groups that are still being encoded while the next one fills. Rows wait in memory no longer than that.
const ENCODERS: usize = 2;

/// Fewer rows than this, and fewer bytes, are put together before they are kept: a few rows of each batch would
/// otherwise be very many small arrays.
const FEW_ROWS: usize = 1 << 10;
const FEW_BYTES: usize = 1 << 20;

/// The level of compression: half of the processor time of level 3, for files that are a tenth larger (measured on
/// 59 MB of documentation and code in pieces of 500 characters: 13.6 and 12.4 MB, 0.15 and 0.26 s).
const LEVEL: i32 = 1;

/// Writes parquet.
#[derive(Debug)]
pub(super) struct Writer {
    files: Files,
    notes: Vec<String>,
    shard_size: u64,
    stored: SchemaRef,
    /// The same columns in parquet's words.
    root: TypePtr,
    properties: WriterPropertiesPtr,
    factory: ArrowRowGroupWriterFactory,
    open: Option<Open>,
    few: Few,
    filling: Option<Group>,
    /// Row groups of which all rows are given, in their order.
    encoding: VecDeque<Encoder>,
}

/// A thread that encodes a row group.
type Encoder = JoinHandle<Result<Encoded, ParquetError>>;

/// The file at hand.
struct Open {
    writer: SerializedFileWriter<File>,
    path: PathBuf,
    rows: u64,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("path", &self.path).field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// A row group that takes rows. They are encoded as they come.
#[derive(Debug)]
struct Group {
    sender: Sender<RecordBatch>,
    encoder: Encoder,
    rows: usize,
    bytes: usize,
    held: usize,
}

impl Group {
    /// Adds rows, and says whether the group is full.
    fn push(&mut self, batch: RecordBatch) -> bool {
        self.rows += batch.num_rows();
        for (bytes, held) in batch.columns().iter().map(size) {
            self.bytes += bytes;
            self.held += held;
        }
        // Where the thread has ended, it says why when it is waited for.
        let is_gone = self.sender.send(batch).is_err();
        is_gone || self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES || self.held >= GROUP_HELD
    }
}

/// A few rows each of several batches.
#[derive(Debug, Default)]
struct Few {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    held: usize,
}

impl Few {
    fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        for (bytes, held) in batch.columns().iter().map(size) {
            self.bytes += bytes;
            self.held += held;
        }
        self.batches.push(batch);
    }
}

/// A row group, ready to be appended.
struct Encoded {
    columns: Vec<ArrowColumnChunk>,
    rows: u64,
}

impl Writer {
    pub(super) fn create(options: Options) -> Result<Self, Error> {
        let files = Files::new(options.folder, &options.split, options.to);
        let none = || Arc::new(Schema::empty());
        let Columns { stored, metadata, notes } =
            Columns::new(&options.schema.unwrap_or_else(none), &options.added)?;
        let failed = |error| Error::parquet(files.folder(), error);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL).map_err(failed)?))
            .set_key_value_metadata(Some(metadata))
            .build();
        let properties = Arc::new(properties);
        let root = ArrowSchemaConverter::new().convert(&stored).map_err(failed)?.root_schema_ptr();
        let nowhere = SerializedFileWriter::new(Vec::new(), Arc::clone(&root), Arc::clone(&properties));
        let factory = ArrowRowGroupWriterFactory::new(&nowhere.map_err(failed)?, Arc::clone(&stored));
        Ok(Self {
            files,
            notes,
            shard_size: options.shard_size,
            stored,
            root,
            properties,
            factory,
            open: None,
            few: Few::default(),
            filling: None,
            encoding: VecDeque::new(),
        })
    }

    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(super) fn write(&mut self, table: &Table, keep: &[bool], added: Vec<Values>) -> Result<(), Error> {
        let Rows::Arrow(batch) = &table.rows else {
            return Err(Error::encode(self.files.folder(), "JSON objects where columns were expected"));
        };
        let stored = &self.stored;
        // A kernel that panics at an odd array is no reason for the program to.
        let kept = catch_unwind(AssertUnwindSafe(|| kept(batch, keep, added, stored)));
        let kept = kept.unwrap_or_else(|_| Err("the rows cannot be selected".to_owned()));
        let kept = kept.map_err(|problem| {
            let first = keep.iter().position(|keep| *keep).unwrap_or_default();
            let problem = format!("{problem} (in rows from {})", table.ids.get(first));
            Error::encode(self.files.folder(), &problem)
        })?;
        self.push(kept)
    }

    /// Adds rows, few of them by way of others like them.
    fn push(&mut self, batch: RecordBatch) -> Result<(), Error> {
        let bytes: usize = batch.columns().iter().map(|column| size(column).0).sum();
        let is_small = batch.num_rows() < FEW_ROWS && bytes < FEW_BYTES;
        if is_small {
            self.few.push(batch);
            if self.few.rows < FEW_ROWS && self.few.bytes < FEW_BYTES && self.few.held < GROUP_HELD {
                return Ok(());
            }
            return self.gather();
        }
        self.gather()?;
        self.fill(batch)
    }

    /// Puts the few rows that are waiting together.
    fn gather(&mut self) -> Result<(), Error> {
        let few = std::mem::take(&mut self.few);
        if few.batches.len() < 2 {
            return few.batches.into_iter().try_for_each(|batch| self.fill(batch));
        }
        let one = catch_unwind(AssertUnwindSafe(|| concat_batches(&self.stored, &few.batches)));
        match one {
            Ok(Ok(one)) => self.fill(one),
            // Dictionaries whose keys have no room for all values.
            Ok(Err(_)) | Err(_) => few.batches.into_iter().try_for_each(|batch| self.fill(batch)),
        }
    }

    /// Adds rows to the row group, and ends it where it is full.
    fn fill(&mut self, mut batch: RecordBatch) -> Result<(), Error> {
        loop {
            let mut group = match self.filling.take() {
                Some(group) => group,
                None => self.begin_group()?,
            };
            let room = GROUP_ROWS - group.rows;
            let rest = (batch.num_rows() > room).then(|| batch.slice(room, batch.num_rows() - room));
            let is_full = group.push(if rest.is_some() { batch.slice(0, room) } else { batch });
            if is_full {
                self.encoding.push_back(group.encoder);
            } else {
                self.filling = Some(group);
            }
            match rest {
                Some(rest) => batch = rest,
                None => return Ok(()),
            }
        }
    }

    /// Begins a row group on a thread of its own; waits for an earlier one if there are enough on the way.
    fn begin_group(&mut self) -> Result<Group, Error> {
        while self.encoding.len() >= ENCODERS {
            self.append()?;
        }
        // The index matters to encryption alone.
        let writers = self.factory.create_column_writers(0);
        let writers = writers.map_err(|error| Error::parquet(self.files.folder(), error))?;
        let schema = Arc::clone(&self.stored);
        let (sender, batches) = mpsc::channel();
        let thread = Builder::new().name("encode".to_owned());
        let encoder = thread.spawn(move || encode(writers, &schema, batches));
        let encoder = encoder.map_err(Error::output(self.files.folder()))?;
        Ok(Group { sender, encoder, rows: 0, bytes: 0, held: 0 })
    }

    /// Appends the oldest row group that is being encoded, and ends the file if it is large enough.
    fn append(&mut self) -> Result<(), Error> {
        let Some(handle) = self.encoding.pop_front() else { return Ok(()) };
        let folder = self.files.folder();
        let encoded =
            handle.join().map_err(|_| Error::encode(folder, "the parquet encoder gave up on the rows"))?;
        let encoded = encoded.map_err(|error| Error::parquet(folder, error))?;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.next()?,
        };
        open.append(encoded).map_err(|error| Error::parquet(&open.path, error))?;
        if open.writer.bytes_written() as u64 >= self.shard_size {
            self.close(open)
        } else {
            self.open = Some(open);
            Ok(())
        }
    }

    fn next(&self) -> Result<Open, Error> {
        let (file, path) = self.files.open()?;
        let writer = SerializedFileWriter::new(file, Arc::clone(&self.root), Arc::clone(&self.properties));
        let writer = writer.map_err(|error| Error::parquet(&path, error))?;
        Ok(Open { writer, path, rows: 0 })
    }

    fn close(&mut self, open: Open) -> Result<(), Error> {
        let Open { mut writer, path, rows } = open;
        // Not by `into_inner`, which makes text of the system's error.
        let file = writer.inner().try_clone().map_err(Error::output(&path))?;
        writer.finish().map_err(|error| Error::parquet(&path, error))?;
        self.files.close(&file, path, rows)
    }

    /// Bytes of memory that rows hold of which there are few.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.few.held
    }

    pub(super) fn finish(mut self) -> Result<Vec<Shard>, Error> {
        self.gather()?;
        self.encoding.extend(self.filling.take().map(|group| group.encoder));
        while !self.encoding.is_empty() {
            self.append()?;
        }
        let open = match self.open.take() {
            None if self.files.complete() == 0 => Some(self.next()?),
            open => open,
        };
        if let Some(open) = open {
            self.close(open)?;
        }
        self.files.name()
    }
}

impl Open {
    fn append(&mut self, encoded: Encoded) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for column in encoded.columns {
            column.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.rows += encoded.rows;
        Ok(())
    }
}

/// The kept rows as they are stored, with the added columns.
fn kept(
    batch: &RecordBatch,
    keep: &[bool],
    added: Vec<Values>,
    stored: &SchemaRef,
) -> Result<RecordBatch, String> {
    let text = |error: ArrowError| error.to_string();
    if batch.num_columns() + added.len() != stored.fields().len() {
        return Err(format!(
            "{} columns instead of {}",
            batch.num_columns(),
            stored.fields().len() - added.len()
        ));
    }
    let all = keep.iter().all(|keep| *keep);
    let kept = if all {
        batch.clone()
    } else {
        filter_record_batch(batch, &BooleanArray::from(keep.to_vec())).map_err(text)?
    };
    let own = kept.columns().iter().map(|column| if all { Arc::clone(column) } else { compact(column) });
    let columns = own.chain(arrays(added)).zip(stored.fields()).map(|(column, field)| {
        as_stored(&column, field.data_type())
            .map_err(|problem| format!("column `{}`: {problem}", field.name()))
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(stored), columns, &options).map_err(text)
}

/// Encodes a row group, and gives its rows back on the way.
fn encode(
    mut writers: Vec<ArrowColumnWriter>,
    schema: &Schema,
    batches: Receiver<RecordBatch>,
) -> Result<Encoded, ParquetError> {
    let mut rows = 0;
    for batch in batches {
        rows += batch.num_rows() as u64;
        let mut leaves = writers.iter_mut();
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            for leaf in compute_leaves(field, column)? {
                let writer = leaves.next();
                writer
                    .ok_or_else(|| ParquetError::General("more leaves than columns".to_owned()))?
                    .write(&leaf)?;
            }
        }
    }
    let columns = writers.into_iter().map(ArrowColumnWriter::close).collect::<Result<_, _>>()?;
    Ok(Encoded { columns, rows })
}
