//! Files of every format, made by the same writers that everybody uses.

use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::json;

/// The text of a row: a few words, different in each.
pub(crate) fn text(row: usize) -> String {
    format!("row {row}: some words that say what there is to say about the number {row}")
}

/// Rows of `id`, `topic` and a text in the column of this name.
pub(crate) fn batch(rows: Range<usize>, column: &str) -> RecordBatch {
    let id = Int64Array::from_iter_values(rows.clone().map(|row| i64::try_from(row).unwrap()));
    let topic = StringArray::from_iter_values(rows.clone().map(|row| format!("topic {row}")));
    let texts = StringArray::from_iter_values(rows.map(text));
    let columns: [(&str, ArrayRef); 3] =
        [("id", Arc::new(id)), ("topic", Arc::new(topic)), (column, Arc::new(texts))];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Parquet in row groups of 10 rows.
pub(crate) fn parquet(rows: Range<usize>, column: &str) -> Vec<u8> {
    let batch = batch(rows, column);
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(10)).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// An Arrow IPC stream, in two batches, as `save_to_disk` writes it.
pub(crate) fn arrow_stream(rows: Range<usize>) -> Vec<u8> {
    let middle = usize::midpoint(rows.start, rows.end);
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batch(0..0, "text").schema()).unwrap();
    writer.write(&batch(rows.start..middle, "text")).unwrap();
    writer.write(&batch(middle..rows.end, "text")).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

/// An Arrow IPC file.
pub(crate) fn arrow_file(rows: Range<usize>) -> Vec<u8> {
    let batch = batch(rows, "text");
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

/// JSON lines of `id` and `text`.
pub(crate) fn jsonl(rows: Range<usize>) -> String {
    let lines = rows.map(|row| format!("{}\n", json!({"id": row, "text": text(row)})));
    lines.collect::<Vec<_>>().concat()
}

/// A JSON array of the same objects.
pub(crate) fn json_array(rows: Range<usize>) -> String {
    let rows: Vec<_> = rows.map(|row| json!({"id": row, "text": text(row)})).collect();
    format!("{:#}", json!(rows))
}

/// The same rows under a header, between separators.
pub(crate) fn separated(rows: Range<usize>, separator: char) -> String {
    let lines = rows.map(|row| format!("{row}{separator}\"{}\"\n", text(row)));
    format!("id{separator}text\n{}", lines.collect::<String>())
}

pub(crate) fn gz(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes.as_ref()).unwrap();
    writer.finish().unwrap()
}

pub(crate) fn zst(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    zstd::encode_all(bytes.as_ref(), 1).unwrap()
}

pub(crate) fn bz2(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    writer.write_all(bytes.as_ref()).unwrap();
    writer.finish().unwrap()
}

pub(crate) fn xz(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 1);
    writer.write_all(bytes.as_ref()).unwrap();
    writer.finish().unwrap()
}
