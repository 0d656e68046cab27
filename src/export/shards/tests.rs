use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, StringViewArray, StructArray,
};
use arrow::datatypes::{Field, Fields, Int32Type, Schema};
use serde_json::json;

use super::*;
use crate::dataset::whole::{Ids, Rows};

fn options(folder: &Path, to: To, schema: Option<SchemaRef>) -> Options {
    Options {
        folder: folder.to_owned(),
        split: "train".into(),
        to,
        schema,
        added: vec![("score".into(), Kind::Double), ("int_score".into(), Kind::Int)],
        shard_size: 500_000_000,
    }
}

fn table(batch: RecordBatch) -> Table {
    let rows = (0..batch.num_rows() as u64).collect();
    Table { file: 0, ids: Ids::Numbered { label: "f".into(), rows }, rows: Rows::Arrow(batch) }
}

fn added(kept: usize) -> Vec<Added> {
    let score = (0..kept).map(|row| (row % 3 > 0).then_some(row as f64 / 2.0)).collect();
    let int_score = (0..).take(kept).map(Some).collect();
    vec![
        Added { name: "score".into(), values: Values::Double(score) },
        Added { name: "int_score".into(), values: Values::Int(int_score) },
    ]
}

/// Columns of several kinds, of `rows` rows from number `start`.
fn batch(start: u32, rows: u32) -> RecordBatch {
    let numbers = start..start + rows;
    let text = StringArray::from_iter_values(
        numbers.clone().map(|n| format!("row {n} {}", "x".repeat(n as usize % 50))),
    );
    let view: StringViewArray =
        numbers.clone().map(|n| (n % 5 > 0).then(|| format!("a longer view of {n}"))).collect();
    let dictionary: DictionaryArray<Int32Type> =
        numbers.clone().map(|n| ["a", "b", "c"][n as usize % 3]).collect();
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(
        numbers
            .clone()
            .map(|n| (n % 7 > 0).then(|| (0..4).take(n as usize % 4).map(Some).collect::<Vec<_>>())),
    );
    let inner: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.map(i64::from)));
    let fields: Fields = vec![Field::new("n", DataType::Int64, false)].into();
    let nested = StructArray::new(fields.clone(), vec![inner], None);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(text), Arc::new(view), Arc::new(dictionary), Arc::new(list), Arc::new(nested)];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn schema() -> SchemaRef {
    let item = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
    let metadata = [("team".to_owned(), "data".to_owned()), ("a".to_owned(), "b".to_owned())].into();
    let field_metadata = [("unit".to_owned(), "words".to_owned())].into();
    Arc::new(Schema::new_with_metadata(
        vec![
            Field::new("text", DataType::Utf8, false).with_metadata(field_metadata),
            Field::new("view", DataType::Utf8View, true),
            Field::new(
                "dictionary",
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
                true,
            ),
            Field::new("list", item, true),
            Field::new(
                "nested",
                DataType::Struct(vec![Field::new("n", DataType::Int64, false)].into()),
                false,
            ),
        ],
        metadata,
    ))
}

/// Reads a folder of shards back, in order.
fn read(folder: &Path, shards: &[Shard]) -> (SchemaRef, Vec<RecordBatch>, Vec<usize>) {
    let (mut batches, mut groups) = (Vec::new(), Vec::new());
    let mut schema = None;
    for shard in shards {
        let file = File::open(folder.join(&shard.name)).unwrap();
        assert_eq!(file.metadata().unwrap().len(), shard.bytes);
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        groups.extend(
            builder.metadata().row_groups().iter().map(|group| usize::try_from(group.num_rows()).unwrap()),
        );
        schema = Some(Arc::clone(builder.schema()));
        let read: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
        assert_eq!(read.iter().map(|batch| batch.num_rows() as u64).sum::<u64>(), shard.rows);
        batches.extend(read);
    }
    (schema.unwrap(), batches, groups)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn kept_rows_come_back_with_types_metadata_and_the_added_columns() {
    let folder = tempfile::tempdir().unwrap();
    let mut shards = Shards::create(options(folder.path(), To::Parquet, Some(schema()))).unwrap();
    let whole = batch(0, 100);
    let keep: Vec<bool> = (0..100).map(|row| row % 2 == 0).collect();
    shards.write(&table(whole.clone()), &keep, added(50)).unwrap();
    shards.write(&table(batch(100, 100)), &[true; 100], added(100)).unwrap();
    shards.write(&table(batch(200, 10)), &[false; 10], added(0)).unwrap();
    assert!(shards.notes().is_empty());
    let written = shards.finish().unwrap();
    assert_eq!(names(folder.path()), ["train-00000-of-00001.parquet"]);
    assert_eq!(written[0].rows, 150);
    let (read_schema, batches, _) = read(folder.path(), &written);
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("score", DataType::Float64, true)));
    fields.push(Arc::new(Field::new("int_score", DataType::Int64, true)));
    assert_eq!(read_schema.fields().iter().cloned().collect::<Vec<_>>(), fields);
    assert_eq!(read_schema.metadata(), schema().metadata());
    let back = arrow::compute::concat_batches(&read_schema, &batches).unwrap();
    let expected = arrow::compute::filter_record_batch(&whole, &keep.clone().into()).unwrap();
    for (mine, theirs) in expected.columns().iter().zip(back.columns()) {
        assert_eq!(mine.to_data(), theirs.slice(0, 50).to_data(), "{}", mine.data_type());
    }
    assert_eq!(back.column(5).slice(3, 2).to_data(), Float64Array::from(vec![None, Some(2.0)]).to_data());
}

#[test]
fn the_same_rows_give_the_same_bytes_and_borders() {
    let write = |folder: &Path| {
        let mut shards =
            Shards::create(Options { shard_size: 300_000, ..options(folder, To::Parquet, Some(schema())) })
                .unwrap();
        for start in (0..400_000).step_by(4000) {
            let keep: Vec<bool> = (0..4000).map(|row| row % 10 != 3).collect();
            shards.write(&table(batch(start, 4000)), &keep, added(3600)).unwrap();
        }
        shards.finish().unwrap()
    };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, second] = [&folders[0], &folders[1]].map(|folder| write(folder.path()));
    assert_eq!(first, second);
    assert!(first.len() > 1, "several shards: {first:?}");
    for shard in &first {
        let [one, other] = [&folders[0], &folders[1]].map(|f| fs::read(f.path().join(&shard.name)).unwrap());
        assert!(one == other, "{} differs", shard.name);
    }
    assert_eq!(first[0].name, format!("train-00000-of-{:05}.parquet", first.len()));
    let (_, batches, groups) = read(folders[0].path(), &first);
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 360_000);
    assert!(groups.iter().rev().skip(1).all(|rows| *rows == 128 << 10), "{groups:?}");
    // In order, wherever a row group was encoded.
    let mut last = -1;
    for batch in &batches {
        let numbers = batch.column(4).as_struct().column(0);
        for number in numbers.as_primitive::<arrow::datatypes::Int64Type>().values() {
            assert!(*number > last);
            last = *number;
        }
    }
}

#[test]
fn row_groups_are_bounded_in_bytes_and_few_rows_of_each_batch_are_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8View, false)]));
    let options = Options { added: vec![], ..options(folder.path(), To::Parquet, Some(Arc::clone(&schema))) };
    let mut shards = Shards::create(options).unwrap();
    let text: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..100).map(|_| "x".repeat(100_000))));
    let large = RecordBatch::try_new(Arc::clone(&schema), vec![text]).unwrap();
    for _ in 0..8 {
        shards.write(&table(large.clone()), &[true; 100], vec![]).unwrap();
    }
    // Of each of these one row is kept, which must not hold the others.
    let mut keep = vec![false; 100];
    keep[7] = true;
    for _ in 0..100 {
        shards.write(&table(large.clone()), &keep, vec![]).unwrap();
    }
    let Writer::Parquet(writer) = &shards.writer else { panic!() };
    assert!(writer.held() < 60 << 20, "{} bytes held", writer.held());
    let (_, _, groups) = read(folder.path(), &shards.finish().unwrap());
    assert!(groups.iter().all(|rows| *rows <= 512), "{groups:?}");
    assert_eq!(groups.iter().sum::<usize>(), 900);
}

#[test]
fn without_rows_there_is_one_file_of_none() {
    for to in [To::Parquet, To::Jsonl] {
        let folder = tempfile::tempdir().unwrap();
        let shards = Shards::create(options(folder.path(), to, Some(schema()))).unwrap().finish().unwrap();
        assert_eq!(names(folder.path()), [format!("train-00000-of-00001.{}", to.ending())]);
        assert_eq!(shards[0].rows, 0);
    }
}

#[test]
fn a_column_that_is_there_already_is_refused_before_any_row() {
    let folder = tempfile::tempdir().unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new("score", DataType::Utf8, true)]));
    for to in [To::Parquet, To::Jsonl] {
        let error = Shards::create(options(folder.path(), to, Some(Arc::clone(&schema)))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the rows have a column `score` already: choose other names with --score-name"
        );
        assert!(error.is_usage());
    }
    let twice = Options {
        added: vec![("s".into(), Kind::Int), ("s".into(), Kind::Int)],
        ..options(folder.path(), To::Jsonl, None)
    };
    assert!(Shards::create(twice).is_err());
    assert!(names(folder.path()).is_empty());
}

#[test]
fn rows_that_are_not_as_declared_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut shards = Shards::create(options(folder.path(), To::Parquet, Some(schema()))).unwrap();
    let other = RecordBatch::try_from_iter([("n", Arc::new(Int32Array::from(vec![1])) as ArrayRef)]).unwrap();
    assert!(shards.write(&table(other), &[true], added(1)).is_err());
    assert!(shards.write(&table(batch(0, 2)), &[true], added(1)).is_err());
    assert!(shards.write(&table(batch(0, 2)), &[true, true], added(1)).is_err());
    assert!(shards.write(&table(batch(0, 1)), &[true], vec![]).is_err());
}

#[test]
fn json_lines_are_the_objects_as_they_stand_with_the_added_keys_last() {
    let folder = tempfile::tempdir().unwrap();
    let mut shards = Shards::create(options(folder.path(), To::Jsonl, None)).unwrap();
    let rows = [json!({"z": 1, "a": {"b": [1.5, null, "é\n"]}}), json!({"only": true}), json!({})];
    let objects = rows.into_iter().map(|row| row.as_object().unwrap().clone()).collect();
    let ids = Ids::Own(vec!["x".into(), "y".into(), "z".into()]);
    let objects = Table { file: 0, ids, rows: Rows::Objects(objects) };
    shards.write(&objects, &[true, false, true], added(2)).unwrap();
    shards.write(&table(batch(1, 2)), &[false, true], added(1)).unwrap();
    let written = shards.finish().unwrap();
    insta::assert_snapshot!(fs::read_to_string(folder.path().join(&written[0].name)).unwrap(), @r#"
    {"z":1,"a":{"b":[1.5,null,"é\n"]},"score":null,"int_score":0}
    {"score":0.5,"int_score":1}
    {"text":"row 2 xx","view":"a longer view of 2","dictionary":"c","list":[0,1],"nested":{"n":2},"score":null,"int_score":0}
    "#);
    assert_eq!((written[0].rows, written.len()), (3, 1));
}

#[test]
fn json_lines_end_a_shard_after_the_line_that_fills_it() {
    let folder = tempfile::tempdir().unwrap();
    let one = Options { shard_size: 100, added: vec![], ..options(folder.path(), To::Jsonl, None) };
    let mut shards = Shards::create(one).unwrap();
    let object = json!({"t": "x".repeat(50)}).as_object().unwrap().clone();
    let objects = Table {
        file: 0,
        ids: Ids::Numbered { label: "f".into(), rows: (0..5).collect() },
        rows: Rows::Objects(vec![object; 5]),
    };
    shards.write(&objects, &[true; 5], vec![]).unwrap();
    let written = shards.finish().unwrap();
    assert_eq!(written.iter().map(|shard| shard.rows).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(
        names(folder.path()),
        ["train-00000-of-00003.jsonl", "train-00001-of-00003.jsonl", "train-00002-of-00003.jsonl"]
    );
}

#[test]
fn a_json_row_with_a_key_of_an_added_column_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut shards = Shards::create(options(folder.path(), To::Jsonl, None)).unwrap();
    let object = json!({"score": 1}).as_object().unwrap().clone();
    let objects = Table { file: 0, ids: Ids::Own(vec!["me\u{7}".into()]), rows: Rows::Objects(vec![object]) };
    let error = shards.write(&objects, &[true], added(1)).unwrap_err().to_string();
    assert!(error.contains(r"row me\u{7}") && error.contains("column `score`"), "{error}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_that_names_the_file() {
    for to in [To::Parquet, To::Jsonl] {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join(format!("train-00000.{}.part", to.ending()));
        std::os::unix::fs::symlink("/dev/full", &part).unwrap();
        let mut shards = Shards::create(options(folder.path(), to, Some(schema()))).unwrap();
        shards.write(&table(batch(0, 100)), &[true; 100], added(100)).unwrap();
        let error = shards.finish().unwrap_err();
        assert!(matches!(&error, Error::Output { path, .. } if *path == part), "{error:?}");
        assert!(error.to_string().contains("No space left on device"), "{error}");
        assert!(!names(folder.path()).iter().any(|name| name.contains("-of-")));
    }
}
