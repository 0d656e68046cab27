//! Tests of reading parquet, through the door of the room.

use crate::dataset::sample::Draw;
use crate::dataset::tests::{Folder, read, records, run};
use crate::dataset::{Column, Error, Request, Unreadable, open};
use crate::rating::run::Sample;
use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use bytes::Bytes;
use futures::StreamExt as _;
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::runtime::Runtime;

const ROWS: usize = 1_000;

/// 1,000 rows in row groups of 300 and pages of at most 20 rows, with every shape of column.
fn sample_file(compression: Compression) -> Vec<u8> {
    let rows = || 0..ROWS;
    let text: StringArray = rows().map(|row| (row % 10 != 3).then(|| format!("row {row}"))).collect();
    let n = Int64Array::from_iter_values(rows().map(|row| i64::try_from(row).unwrap()));
    let kind: DictionaryArray<Int32Type> = rows().map(|row| Some(["a", "b", "c"][row % 3])).collect();
    let score = Float64Array::from_iter_values(rows().map(|row| row as f64 / 2.0));
    let url = Arc::new(StringArray::from_iter_values(rows().map(|row| format!("u{row}")))) as ArrayRef;
    let url_field = Arc::new(Field::new("url", DataType::Utf8, true));
    let parents = rows().map(|row| row % 4 != 0).collect::<Vec<_>>();
    let meta = StructArray::new(vec![url_field].into(), vec![url], Some(parents.into()));
    let tags = rows().map(|row| (row % 5 != 0).then(|| vec![i32::try_from(row).ok(), None]));
    let tags = ListArray::from_iter_primitive::<Int32Type, _, _>(tags);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", Arc::new(text)),
        ("n", Arc::new(n)),
        ("kind", Arc::new(kind)),
        ("score", Arc::new(score)),
        ("meta", Arc::new(meta)),
        ("tags", Arc::new(tags)),
    ];
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(300))
        .set_data_page_row_count_limit(20)
        .set_write_batch_size(10);
    written(
        &RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap(),
        properties.build(),
    )
}

fn written(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn expected(row: usize) -> Vec<Value> {
    vec![
        if row % 10 == 3 { Value::Null } else { format!("row {row}").into() },
        json!(["a", "b", "c"][row % 3]),
        if row.is_multiple_of(4) { Value::Null } else { format!("u{row}").into() },
        if row.is_multiple_of(5) { Value::Null } else { json!([row, null]) },
        if row.is_multiple_of(5) { Value::Null } else { json!(row) },
        json!(row as f64 / 2.0),
    ]
}

const COLUMNS: [&str; 6] = ["text", "kind", "meta.url", "tags", "tags.0", "score"];

#[test]
fn every_row_comes_with_its_values_whatever_the_compression() {
    let all = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
    ];
    for compression in all {
        let folder = Folder::with("rows.parquet", sample_file(compression));
        let request = Request {
            keep: vec!["n".into()],
            id: Some("n".into()),
            ..folder.request("rows.parquet", &COLUMNS)
        };
        let records = records(request);
        assert_eq!(records.len(), ROWS);
        for (row, record) in records.into_iter().enumerate() {
            assert_eq!((record.file, record.id), (0, row.to_string()));
            assert_eq!(record.fields, expected(row));
            assert_eq!(record.kept, [("n".to_owned(), json!(row))]);
        }
    }
}

#[test]
fn rows_without_a_wanted_column_are_still_rows() {
    let folder = Folder::with("rows.parquet", sample_file(Compression::SNAPPY));
    let sample = Sample::Random { rows: 9, seed: 1 };
    let records = records(Request { sample, ..folder.request("rows.parquet", &[]) });
    assert_eq!(records.len(), 9);
    assert!(records.iter().all(|record| record.fields.is_empty()));
}

/// The rows of a sample of 1,000, by the draw alone.
fn drawn(rows: u64, seed: u64) -> Vec<usize> {
    let mut draw = Draw::new(rows, seed);
    draw.file(0, "rows.parquet");
    (0..ROWS as u64).for_each(|row| draw.offer(row, || ()));
    draw.finish().into_iter().map(|drawn| usize::try_from(drawn.row).unwrap()).collect()
}

#[test]
fn a_sample_has_the_rows_that_are_drawn_as_in_every_format() {
    let folder = Folder::with("rows.parquet", sample_file(Compression::SNAPPY));
    let request = folder.request("rows.parquet", &COLUMNS);
    for rows in [0, 1, 25, 300, 999, 1_000, 5_000] {
        let sample = Sample::Random { rows, seed: 42 };
        let sampled = records(Request { sample, ..request.clone() });
        let drawn = drawn(rows, 42);
        assert_eq!(sampled.len(), drawn.len());
        for (record, row) in sampled.into_iter().zip(drawn) {
            assert_eq!(record.id, format!("rows.parquet#{row}"));
            assert_eq!(record.fields, expected(row));
        }
    }
    let first = records(Request { sample: Sample::First { rows: 301 }, ..request });
    assert_eq!(first.last().unwrap().fields, expected(300));
    assert_eq!(first.len(), 301);
}

#[test]
fn a_sample_reads_only_the_pages_that_it_needs() {
    let mut bytes = sample_file(Compression::SNAPPY);
    let mut footer = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    footer.try_parse(&Bytes::from(bytes.clone())).unwrap();
    let metadata = footer.finish().unwrap();
    let drawn = drawn(5, 42);
    let mut start = 0;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let end = start + usize::try_from(group.num_rows()).unwrap();
        for (leaf, chunk) in group.columns().iter().enumerate() {
            let pages = metadata.offset_index().unwrap()[index][leaf].page_locations();
            for (position, page) in pages.iter().enumerate() {
                let first = |page: &PageLocation| start + usize::try_from(page.first_row_index).unwrap();
                let rows = first(page)..pages.get(position + 1).map_or(end, first);
                let is_wanted =
                    chunk.column_path().string() == "text" && drawn.iter().any(|row| rows.contains(row));
                if !is_wanted {
                    let offset = usize::try_from(page.offset).unwrap();
                    bytes[offset..offset + usize::try_from(page.compressed_page_size).unwrap()].fill(0xff);
                }
            }
        }
        start = end;
    }
    let folder = Folder::with("rows.parquet", bytes);
    let request = folder.request("rows.parquet", &["text"]);
    let sampled = records(Request { sample: Sample::Random { rows: 5, seed: 42 }, ..request.clone() });
    let texts: Vec<_> = sampled.into_iter().map(|mut record| record.fields.remove(0)).collect();
    assert_eq!(texts, drawn.iter().map(|row| expected(*row).remove(0)).collect::<Vec<_>>());
    assert!(read(request).unwrap().1.is_some(), "the other pages are broken");
}

#[test]
fn a_page_that_cannot_be_decoded_ends_the_stream_and_names_its_row_group() {
    let mut bytes = sample_file(Compression::SNAPPY);
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(bytes.clone())).unwrap();
    let (offset, length) = metadata.row_group(1).column(0).byte_range();
    let (offset, length) = (usize::try_from(offset).unwrap(), usize::try_from(length).unwrap());
    bytes[offset..offset + length].fill(0xff);
    let folder = Folder::with("rows.parquet", bytes);
    let (rows, error) = read(folder.request("rows.parquet", &["text"])).unwrap();
    assert_eq!(rows.len(), 300);
    let error = error.unwrap();
    assert!(!error.is_usage());
    let message = folder.message(&error);
    assert!(message.starts_with("`rows.parquet` row group 2 of 4 cannot be read: "), "{message}");
}

#[test]
fn a_decoder_that_panics_is_a_decoder_that_fails() {
    let panicked = super::guarded::<()>(|| panic!("offset {} out of bounds", 7)).unwrap_err();
    assert_eq!(panicked.to_string(), "Parquet error: offset 7 out of bounds");
}

#[test]
fn a_text_that_is_not_utf8_makes_only_its_row_unreadable() {
    let schema = parse_message_type("message m { required binary text (UTF8); }").unwrap();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let values =
        [b"good".as_slice(), b"ba\xffd", "też".as_bytes()].map(|value| ByteArray::from(value.to_vec()));
    column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();

    let folder = Folder::with("rows.parquet", bytes);
    let dataset = run(open(folder.request("rows.parquet", &["text"]))).unwrap();
    assert_eq!(dataset.columns, [Column { name: "text".into(), kind: "string".into() }]);
    let (rows, error) = read(folder.request("rows.parquet", &["text"])).unwrap();
    assert!(error.is_none());
    let rows: Vec<_> = rows.into_iter().map(|row| row.map(|record| record.fields)).collect();
    let detail = "column text: not UTF-8 text, from byte 3".into();
    let bad = Unreadable { id: "rows.parquet#1".into(), file: 0, detail };
    assert_eq!(rows, [Ok(vec![json!("good")]), Err(bad), Ok(vec![json!("też")])]);
}

#[test]
fn a_dictionary_that_repeats_a_long_text_comes_in_small_batches() {
    let long = "x".repeat(1 << 20);
    let texts = StringArray::from_iter_values((0..200).map(|_| long.as_str()));
    let batch = RecordBatch::try_from_iter([("text", Arc::new(texts) as ArrayRef)]).unwrap();
    let folder = Folder::with("rows.parquet", written(&batch, WriterProperties::default()));
    let sizes = run(async {
        let dataset = open(folder.request("rows.parquet", &["text"])).await.unwrap();
        dataset.batches().map(|batch| batch.unwrap().len()).collect::<Vec<_>>().await
    });
    assert_eq!(sizes.iter().sum::<usize>(), 200);
    assert!(sizes.iter().all(|rows| *rows <= 4), "{sizes:?}");
}

#[test]
fn an_unknown_column_is_told_what_exists() {
    let folder = Folder::with("rows.parquet", sample_file(Compression::SNAPPY));
    let refusal = |column| {
        let error = read(folder.request("rows.parquet", &[column])).unwrap_err();
        assert!(error.is_usage());
        folder.message(&error)
    };
    insta::assert_snapshot!(refusal("Text"), @"no column `Text` in `rows.parquet` (did you mean `text`?); it has text, n, kind, score, meta, tags");
    insta::assert_snapshot!(refusal("meta.ulr"), @"no column `meta.ulr` in `rows.parquet` (did you mean `meta.url`?); it has text, n, kind, score, meta, tags");
    insta::assert_snapshot!(refusal("tags.first"), @"no column `tags.first` in `rows.parquet`; it has text, n, kind, score, meta, tags");
}

#[test]
fn a_file_without_rows_says_so() {
    let texts = Arc::new(StringArray::new_null(0)) as ArrayRef;
    let batch = RecordBatch::try_from_iter_with_nullable([("text", texts, true)]).unwrap();
    let folder = Folder::with("rows.parquet", written(&batch, WriterProperties::default()));
    let error = read(folder.request("rows.parquet", &["text"])).unwrap_err();
    assert!(matches!(error, Error::Empty { .. }), "{error}");
}

#[test]
fn a_file_that_is_cut_anywhere_is_an_error_that_says_so() {
    let bytes = sample_file(Compression::UNCOMPRESSED);
    let folder = Folder::new();
    let request = folder.request("rows.parquet", &["text"]);
    let runtime = Runtime::new().unwrap();
    let cuts = (0..200).chain((200..bytes.len()).step_by(101)).chain(bytes.len() - 200..bytes.len());
    for cut in cuts {
        folder.write("rows.parquet", &bytes[..cut]);
        let error = runtime.block_on(open(request.clone())).unwrap_err();
        assert!(!error.is_usage());
        let message = folder.message(&error);
        assert!(
            message.starts_with("`rows.parquet` is truncated or is not a parquet file: "),
            "{cut}: {message}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_file_with_wrong_bytes_is_read_or_refused(
        wrong in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        rows in 1_u64..2_000,
    ) {
        let mut bytes = sample_file(Compression::SNAPPY);
        for (index, byte) in wrong {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let folder = Folder::with("rows.parquet", bytes);
        let request = Request { sample: Sample::Random { rows, seed: 1 }, ..folder.request("rows.parquet", &COLUMNS) };
        if let Ok((rows, error)) = read(request.clone()) {
            let dataset = run(open(request)).unwrap();
            prop_assert!(error.is_some() || Some(rows.len() as u64) == dataset.sampled);
        }
    }
}
