//! Arrow IPC: streams, and files, which are read as the stream that is in them.
//!
//! A batch is decoded when one of its rows is asked for, and of it only the wanted columns.

use super::Broken;
use super::window::{Bytes, Window};
use crate::dataset::error::{panic_text, plain};
use crate::dataset::parquet::schema;
use crate::dataset::wanted::Known;
use crate::record::cell::cell;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Fields, Schema};
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{RecordBatchDecoder, read_dictionary};
use arrow::ipc::{Endianness, MessageHeader};
use frame::{BODY, Frame};
use serde_json::Value;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

mod frame;

/// The rows of an Arrow IPC stream or file.
#[derive(Debug)]
pub(in crate::dataset) struct Arrow {
    window: Window<Bytes>,
    /// The schema as it is written.
    schema: Schema,
    /// The schema that is decoded, where every text is bytes: of a column with one text that is not UTF-8, only
    /// that row cannot be read.
    decoded: Arc<Schema>,
    /// The positions of the wanted columns; `None` for all.
    wanted: Option<Vec<usize>>,
    dictionaries: HashMap<i64, ArrayRef>,
    /// The bytes of each dictionary.
    sizes: HashMap<i64, u64>,
    /// What putting dictionaries together has cost.
    joined: u64,
    batch: Option<Batch>,
    /// How many batches there were, the current one included.
    batches: u64,
    is_done: bool,
}

/// A batch of rows, the current one among them.
#[derive(Debug)]
struct Batch {
    frame: Frame,
    rows: u64,
    /// The number of the current row plus one: none at first.
    next: u64,
    decoded: Option<Result<RecordBatch, String>>,
}

impl Arrow {
    /// Reads the schema.
    pub(super) fn open(mut window: Window<Bytes>) -> Result<Self, Broken> {
        frame::begin(&mut window)?;
        let first = frame::next(&mut window)?.ok_or_else(|| corrupt("it has no schema"))?;
        let schema = guarded(|| schema_of(&first)).map_err(|detail| corrupt(&detail))?;
        let decoded = Schema::new_with_metadata(texts_as_bytes(schema.fields()), schema.metadata().clone());
        Ok(Self {
            window,
            schema,
            decoded: Arc::new(decoded),
            wanted: None,
            dictionaries: HashMap::new(),
            sizes: HashMap::new(),
            joined: 0,
            batch: None,
            batches: 0,
            is_done: false,
        })
    }

    /// The columns of the schema.
    pub(super) fn known(&self) -> Known {
        schema::known(&self.schema)
    }

    /// The schema as it is written.
    pub(in crate::dataset) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The schema of [`Arrow::batch`], where every text is bytes.
    pub(in crate::dataset) fn decoded_schema(&self) -> Arc<Schema> {
        self.decoded.clone()
    }

    /// The number of the current batch, and the current row's place in it.
    pub(in crate::dataset) fn place(&self) -> Option<(u64, usize)> {
        let row = self.batch.as_ref()?.next.checked_sub(1)?;
        Some((self.batches, usize::try_from(row).ok()?))
    }

    /// Whether the schema has this column, or what this path leads to.
    pub(super) fn has(&self, column: &str) -> bool {
        schema::path(self.schema.fields(), column).is_some()
    }

    pub(super) fn want(&mut self, roots: &[String]) {
        let fields = self.schema.fields().iter().enumerate();
        let wanted = fields.filter(|(_, field)| roots.contains(field.name()));
        self.choose(Some(wanted.map(|(position, _)| position).collect()));
    }

    pub(super) fn want_all(&mut self) {
        self.choose(None);
    }

    fn choose(&mut self, wanted: Option<Vec<usize>>) {
        if self.wanted != wanted {
            self.wanted = wanted;
            if let Some(batch) = &mut self.batch {
                batch.decoded = None;
            }
        }
    }

    pub(super) fn advance(&mut self) -> Result<bool, Broken> {
        loop {
            if let Some(batch) = &mut self.batch {
                if batch.next < batch.rows {
                    batch.next += 1;
                    return Ok(true);
                }
                self.batch = None;
            }
            if self.is_done {
                return Ok(false);
            }
            match frame::next(&mut self.window)? {
                Some(frame) => self.read(frame)?,
                None => self.is_done = true,
            }
        }
    }

    fn read(&mut self, frame: Frame) -> Result<(), Broken> {
        let message = frame.message().map_err(|detail| corrupt(&detail))?;
        match message.header_type() {
            MessageHeader::RecordBatch => {
                self.batches += 1;
                let batch = message.header_as_record_batch();
                let measured =
                    batch.ok_or("no batch".to_owned()).and_then(|batch| frame::measure(batch, &frame.body));
                let (rows, _) = measured
                    .map_err(|detail| corrupt(&format!("record batch {}: {detail}", self.batches)))?;
                self.batch = Some(Batch { frame, rows, next: 0, decoded: None });
                Ok(())
            }
            MessageHeader::DictionaryBatch => guarded(|| self.dictionary(&frame))
                .map_err(|detail| corrupt(&format!("a dictionary: {detail}"))),
            MessageHeader::NONE => Ok(()),
            other => {
                Err(corrupt(&format!("a message of the kind {}", other.variant_name().unwrap_or("unknown"))))
            }
        }
    }

    fn dictionary(&mut self, frame: &Frame) -> Result<(), String> {
        /// The most bytes that are copied to put dictionaries together that come in parts.
        const JOINED: u64 = 16 * BODY;
        let message = frame.message()?;
        let dictionary = message.header_as_dictionary_batch().ok_or("no dictionary")?;
        let (_, bytes) = frame::measure(dictionary.data().ok_or("no data")?, &frame.body)?;
        let size = self.sizes.entry(dictionary.id()).or_default();
        if dictionary.isDelta() {
            *size = size.saturating_add(bytes);
            self.joined = self.joined.saturating_add(*size);
        } else {
            *size = bytes;
        }
        let all = self.sizes.values().copied().fold(0, u64::saturating_add);
        if all > BODY || self.joined > JOINED {
            return Err(format!("dictionaries of more than {BODY} bytes"));
        }
        let version = message.version();
        read_dictionary(&frame.body, dictionary, &self.decoded, &mut self.dictionaries, &version)
            .map_err(|error| words(&error))
    }

    /// The mean of the batch.
    pub(super) fn size(&self) -> u64 {
        self.batch.as_ref().map_or(0, |batch| batch.frame.body.len() as u64 / batch.rows.max(1))
    }

    /// The current batch, of which only the wanted columns are decoded, or why none of its rows can be read.
    pub(in crate::dataset) fn batch(&mut self) -> Result<&RecordBatch, String> {
        let Self { batch, decoded, dictionaries, wanted, batches, .. } = self;
        let Some(Batch { frame, rows, decoded: columns, .. }) = batch else { return Err("no row".into()) };
        let rows = *rows;
        let columns = columns.get_or_insert_with(|| {
            let decode = || decode(frame, decoded, dictionaries, wanted.as_deref());
            let lengths = |batch: RecordBatch| {
                let is_whole = batch.num_rows() as u64 == rows;
                if is_whole { Ok(batch) } else { Err("its columns have other lengths".to_owned()) }
            };
            let batch = guarded(decode).and_then(lengths);
            batch.map_err(|detail| format!("record batch {batches} cannot be decoded: {}", plain(&detail)))
        });
        columns.as_ref().map_err(Clone::clone)
    }

    pub(super) fn roots(&mut self, roots: &[String]) -> Result<Vec<Option<Value>>, String> {
        let (_, row) = self.place().ok_or("no row")?;
        let columns = self.batch()?;
        let value = |root: &String| {
            let column = columns.column_by_name(root);
            let cell = column.map(|column| guarded(|| cell(column, row)));
            cell.transpose().map_err(|detail| format!("column {}: {detail}", plain(root)))
        };
        roots.iter().map(value).collect()
    }
}

fn schema_of(frame: &Frame) -> Result<Schema, String> {
    let message = frame.message()?;
    let schema = message.header_as_schema().ok_or("its first message is no schema")?;
    if schema.endianness() != Endianness::Little {
        return Err("it was written on a big-endian machine, which is not read".into());
    }
    schema.fields().ok_or("its schema has no fields")?;
    Ok(fb_to_schema(schema))
}

fn decode(
    frame: &Frame,
    schema: &Arc<Schema>,
    dictionaries: &HashMap<i64, ArrayRef>,
    wanted: Option<&[usize]>,
) -> Result<RecordBatch, String> {
    let message = frame.message()?;
    let batch = message.header_as_record_batch().ok_or("no batch")?;
    let version = message.version();
    RecordBatchDecoder::try_new(&frame.body, batch, schema.clone(), dictionaries, &version)
        .and_then(|decoder| decoder.with_projection(wanted).read_record_batch())
        .map_err(|error| words(&error))
}

/// Runs Arrow's decoder, which panics on some messages that are broken in the right places.
fn guarded<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // What a panic leaves behind is dropped, or read again from the start.
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| Err(panic_text(panic.as_ref()).to_owned()))
}

fn words(error: &ArrowError) -> String {
    match error {
        ArrowError::IpcError(detail)
        | ArrowError::InvalidArgumentError(detail)
        | ArrowError::SchemaError(detail)
        | ArrowError::ParseError(detail) => detail.clone(),
        other => other.to_string(),
    }
}

/// The same fields with every text as plain bytes, which are laid out alike.
fn texts_as_bytes(fields: &Fields) -> Fields {
    fields
        .iter()
        .map(|field| Arc::new(field.as_ref().clone().with_data_type(bytes(field.data_type()))))
        .collect()
}

fn bytes(data_type: &DataType) -> DataType {
    let item = |field: &Arc<arrow::datatypes::Field>| {
        Arc::new(field.as_ref().clone().with_data_type(bytes(field.data_type())))
    };
    match data_type {
        DataType::Utf8 => DataType::Binary,
        DataType::LargeUtf8 => DataType::LargeBinary,
        DataType::Utf8View => DataType::BinaryView,
        DataType::List(field) => DataType::List(item(field)),
        DataType::LargeList(field) => DataType::LargeList(item(field)),
        DataType::ListView(field) => DataType::ListView(item(field)),
        DataType::LargeListView(field) => DataType::LargeListView(item(field)),
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(item(field), *length),
        DataType::Struct(fields) => DataType::Struct(texts_as_bytes(fields)),
        DataType::Map(entry, is_sorted) => DataType::Map(item(entry), *is_sorted),
        DataType::Dictionary(key, value) => DataType::Dictionary(key.clone(), Box::new(bytes(value))),
        other => other.clone(),
    }
}

fn corrupt(detail: &str) -> Broken {
    Broken::Corrupt { problem: "is no Arrow stream or is corrupt".into(), detail: detail.to_owned() }
}

#[cfg(test)]
mod tests;
