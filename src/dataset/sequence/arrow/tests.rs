//! Tests of Arrow streams and files, made by Arrow's own writer.

use super::frame::{BODY, lz4};
use crate::dataset::sequence::tests::read;
use crate::dataset::sequence::{Kind, Sequence};
use arrow::array::{
    ArrayRef, DictionaryArray, Int8Array, Int64Array, LargeStringArray, ListArray, NullArray, RecordBatch,
    RecordBatchOptions, StringArray, StringViewArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Int8Type, Int32Type, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::io::Cursor;
use std::sync::Arc;

/// Rows from `start` on, of every kind of text.
fn batch(start: i64, rows: i64) -> RecordBatch {
    let numbers = start..start + rows;
    let texts: Vec<_> =
        numbers.clone().map(|n| (n % 3 > 0).then(|| format!("text {n} {}", "é".repeat(20)))).collect();
    // Of all batches the same: in a file no dictionary replaces another.
    let keys = Int8Array::from_iter_values(numbers.clone().map(|n| i8::from(n % 2 == 1)));
    let dictionary = DictionaryArray::new(keys, Arc::new(StringArray::from(vec!["x", "y"])));
    let inner = Arc::new(StringArray::from(texts.clone())) as ArrayRef;
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(
        numbers.clone().map(|n| Some(vec![Some(i32::try_from(n).unwrap())])),
    );
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", inner.clone()),
        ("large", Arc::new(LargeStringArray::from(texts.clone()))),
        ("view", Arc::new(StringViewArray::from(texts))),
        ("n", Arc::new(Int64Array::from_iter_values(numbers))),
        ("kind", Arc::new(dictionary)),
        (
            "meta",
            Arc::new(StructArray::from(vec![(Arc::new(Field::new("url", DataType::Utf8, true)), inner)])),
        ),
        ("list", Arc::new(list)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .unwrap()
}

fn expected(rows: i64) -> Vec<Result<Value, String>> {
    let row = |n: i64| {
        let text = (n % 3 > 0).then(|| format!("text {n} {}", "é".repeat(20)));
        let kind = if n % 2 == 0 { "x" } else { "y" };
        json!({"text": text, "large": text, "view": text, "n": n, "kind": kind, "meta": {"url": text}, "list": [n]})
    };
    (0..rows).map(|n| Ok(row(n))).collect()
}

fn options(compression: Option<CompressionType>) -> IpcWriteOptions {
    IpcWriteOptions::default().try_with_compression(compression).unwrap()
}

fn stream(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let mut to =
        StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options(compression)).unwrap();
    for batch in batches {
        to.write(batch).unwrap();
    }
    to.into_inner().unwrap()
}

fn file(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let mut to =
        FileWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options(compression)).unwrap();
    for batch in batches {
        to.write(batch).unwrap();
    }
    to.into_inner().unwrap()
}

fn rows(bytes: &[u8]) -> (Vec<Result<Value, String>>, Option<String>) {
    read(&Kind::Arrow, bytes, 1 << 20, 0)
}

fn message(bytes: &[u8]) -> String {
    let (rows, broken) = rows(bytes);
    rows.into_iter().find_map(Result::err).or(broken).unwrap()
}

const COMPRESSIONS: [Option<CompressionType>; 3] =
    [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)];

#[test]
fn streams_and_files_of_every_kind_of_text_are_read_compressed_or_not() {
    let batches = [batch(0, 5), batch(5, 0), batch(5, 7)];
    for compression in COMPRESSIONS {
        for bytes in [stream(&batches, compression), file(&batches, compression)] {
            for piece in [1, 1 << 20] {
                assert_eq!(read(&Kind::Arrow, &bytes, piece, 0), (expected(12), None), "{compression:?}");
            }
        }
    }
}

#[test]
fn a_dictionary_may_be_replaced_or_go_on_in_a_stream() {
    let batch = |words: &[&str]| {
        let array: DictionaryArray<Int8Type> = words.iter().copied().collect();
        RecordBatch::try_from_iter([("t", Arc::new(array) as ArrayRef)]).unwrap()
    };
    let texts =
        |bytes: &[u8]| rows(bytes).0.into_iter().map(|row| row.unwrap()["t"].clone()).collect::<Vec<_>>();
    let batches = [batch(&["a", "b"]), batch(&["a", "b", "c"]), batch(&["d"])];
    assert_eq!(texts(&stream(&batches, None)), ["a", "b", "a", "b", "c", "d"]);
    let options =
        IpcWriteOptions::default().with_dictionary_handling(arrow::ipc::writer::DictionaryHandling::Delta);
    let mut to = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    for batch in &batches {
        to.write(batch).unwrap();
    }
    assert_eq!(texts(&to.into_inner().unwrap()), ["a", "b", "a", "b", "c", "d"]);
}

#[test]
fn only_the_wanted_columns_are_decoded() {
    let bytes = stream(&[batch(0, 3)], None);
    let mut sequence = Sequence::open(&Kind::Arrow, Box::new(Cursor::new(bytes))).unwrap();
    let roots = ["n".to_owned(), "none".to_owned(), "kind".to_owned()];
    sequence.want(&roots);
    assert!(sequence.advance().unwrap());
    assert_eq!(sequence.roots(&roots).unwrap(), [Some(json!(0)), None, Some(json!("x"))]);
    assert_eq!(sequence.roots(&["text".to_owned()]).unwrap(), [None]);
    assert_eq!(sequence.row().unwrap().len(), 7);
    let columns: Vec<_> = sequence.columns().unwrap().into_iter().map(|column| column.kind).collect();
    assert_eq!(
        columns,
        ["string", "string", "string", "int64", "string", "struct<url: string>", "list<int32>"]
    );
    let Sequence::Arrow(arrow) = &sequence else { unreachable!() };
    assert!(["text", "meta.url", "list.0"].iter().all(|column| arrow.has(column)));
    assert!(["text.x", "meta.x", "list.x", "x"].iter().all(|column| !arrow.has(column)));
}

#[test]
fn only_the_row_whose_text_is_not_utf8_cannot_be_read() {
    let good = StringArray::from(vec!["good", "ab?", "fine"]);
    let good = stream(&[RecordBatch::try_from_iter([("t", Arc::new(good) as ArrayRef)]).unwrap()], None);
    let at = good.windows(3).position(|part| part == b"ab?").unwrap();
    let broken = [&good[..at], b"ab\xff", &good[at + 3..]].concat();
    let fault = Err("column t: not UTF-8 text, from byte 3".to_owned());
    assert_eq!(rows(&broken), (vec![Ok(json!({"t": "good"})), fault, Ok(json!({"t": "fine"}))], None));
}

#[test]
fn a_stream_that_is_cut_off_is_an_error_except_between_two_messages() {
    let whole = stream(&[batch(0, 3), batch(3, 3)], None);
    let ends: Vec<_> = (8..whole.len()).filter(|end| rows(&whole[..*end]).1.is_none()).collect();
    // Behind the schema, the dictionary, each batch, and the end that is not in the way.
    assert_eq!(ends.len(), 4, "{ends:?}");
    assert_eq!(rows(&whole[..whole.len() - 8]), (expected(6), None));
    insta::assert_snapshot!(message(&whole[..whole.len() - 9]), @"`f` is cut off: it ends at byte 4735, 1 bytes too early");
    insta::assert_snapshot!(message(&whole[..20]), @"`f` is cut off: it ends at byte 20, 556 bytes too early");
    insta::assert_snapshot!(message(b""), @"`f` is no Arrow stream or is corrupt: it has no schema");
}

#[test]
fn what_is_no_arrow_stream_says_so() {
    insta::assert_snapshot!(message(b"text,url\nabc,def\n"), @"`f` is no Arrow stream or is corrupt: the message at byte 0: it claims 1954047348 bytes of metadata; the most that is read is 67108864");
    insta::assert_snapshot!(message(b"FEA1\0\0\0\0"), @"`f` is a Feather file of version 1, which is not read: write it as version 2, which is Arrow IPC");
    insta::assert_snapshot!(message(b"\xff\xff\xff\xff\x08\0\0\0abcdefgh"), @r"`f` is no Arrow stream or is corrupt: the message at byte 0: its metadata cannot be read: Type `i32` at position 1684234849 is unaligned.");
    insta::assert_snapshot!(message(b"ARROW1\0\0"), @"`f` is no Arrow stream or is corrupt: it has no schema");
}

/// The bytes with this number, which must be there, replaced.
fn with(bytes: &[u8], number: i64, by: i64) -> Vec<u8> {
    let (number, by) = (number.to_le_bytes(), by.to_le_bytes());
    let at = bytes.windows(8).rposition(|part| part == number).unwrap();
    [&bytes[..at], &by, &bytes[at + 8..]].concat()
}

#[test]
fn nothing_that_a_header_claims_is_believed() {
    let column = |rows: usize| Arc::new(Int64Array::from(vec![7; rows])) as ArrayRef;
    let plain = stream(&[RecordBatch::try_from_iter([("n", column(12_345))]).unwrap()], None);
    insta::assert_snapshot!(message(&with(&plain, 98_816, BODY.cast_signed() + 1)), @"`f` is no Arrow stream or is corrupt: the message at byte 128: it claims a body of 1073741825 bytes; the most that is read is 1073741824");
    insta::assert_snapshot!(message(&with(&plain, 98_816, -1)), @"`f` is no Arrow stream or is corrupt: the message at byte 128: it claims a body of -1 bytes; the most that is read is 1073741824");
    insta::assert_snapshot!(message(&with(&plain, 98_816, BODY.cast_signed())), @"`f` is cut off: it ends at byte 99144, 1073643000 bytes too early");
    insta::assert_snapshot!(message(&with(&plain, 98_760, i64::MAX)), @"`f` is no Arrow stream or is corrupt: record batch 1: a buffer that is not inside of its body");

    let empty = RecordBatchOptions::new().with_row_count(Some(1_000));
    let empty = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &empty).unwrap();
    let bytes = stream(&[empty], None);
    assert_eq!(rows(&bytes).0, vec![Ok(json!({})); 1_000]);
    insta::assert_snapshot!(message(&with(&bytes, 1_000, 1 << 40)), @"`f` is no Arrow stream or is corrupt: record batch 1: 1099511627776 rows, which its 0 bytes cannot hold");
    let nulls = RecordBatch::try_from_iter([("a", Arc::new(NullArray::new(3)) as ArrayRef)]).unwrap();
    assert_eq!(rows(&stream(&[nulls], None)).0, vec![Ok(json!({"a": null})); 3]);

    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let packed = stream(&[RecordBatch::try_from_iter([("n", column(12_345))]).unwrap()], Some(codec));
        assert_eq!(rows(&packed).0.len(), 12_345);
        for claim in [i64::MAX, i64::MIN, BODY.cast_signed() + 1] {
            let message = message(&with(&packed, 98_760, claim));
            assert!(
                message.contains("buffers of more than 1073741824 bytes") || message.contains("negative"),
                "{message}"
            );
        }
        assert!(message(&with(&packed, 98_760, 98_761)).starts_with("record batch 1 cannot be decoded: "));
    }
}

#[test]
fn an_lz4_frame_that_unfolds_to_gigabytes_is_refused_before_it_is_unfolded() {
    // The blocks of 4 MiB that one kilobyte can hold, claimed to be 8 bytes in all.
    let block = [16_500_u32.to_le_bytes().as_slice(), &vec![0; 16_500]].concat();
    let frame = [b"\x04\x22\x4d\x18\x60\x70\x73".as_slice(), &block.repeat(300)].concat();
    assert_eq!(lz4(&frame), 300 * (4 << 20));
    let stored = [b"\x04\x22\x4d\x18\x60\x70\x73\x05\0\0\x80abcde\0\0\0\0".as_slice(), &block].concat();
    assert_eq!(lz4(&stored), 5);
    assert_eq!([lz4(b""), lz4(&frame[..6]), lz4(&frame[..9])], [0; 3]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_mutated_stream_ends_without_a_panic_and_with_no_more_rows_than_it_can_hold(
        at in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        compression in 0_usize..3,
        is_file: bool,
    ) {
        let batches = [batch(0, 3), batch(3, 2)];
        let mut bytes = if is_file { file(&batches, COMPRESSIONS[compression]) } else { stream(&batches, COMPRESSIONS[compression]) };
        for (at, byte) in at {
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
        }
        crate::dataset::fuzzing::arrow(&bytes);
    }
}
