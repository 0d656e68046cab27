//! Tests of reading whole rows, through the door of the room.

use super::{Form, Ids, Item, Rows, Table, Whole};
use crate::dataset::tests::{Folder, numbered, read, run};
use crate::dataset::{Error, Listener, Request, Unreadable, find};
use crate::rating::run::Sample;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, DictionaryArray, FixedSizeListArray, Float32Array, Int8Array,
    Int32Array, Int64Array, LargeListArray, LargeStringArray, ListArray, MapBuilder, RecordBatch,
    StringArray, StringBuilder, StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use futures::StreamExt as _;
use parquet::arrow::ArrowWriter;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

/// What comes of a dataset, and the error that ended it if one did.
fn whole(request: Request, form: Form) -> Result<(Whole, Vec<Item>, Option<Error>), Error> {
    run(async {
        let found = find(request).await?;
        let (told, whole) = (found.whole(form).await?, found.whole(form).await?);
        let mut items = Vec::new();
        let mut tables = pin!(whole.tables());
        while let Some(item) = tables.next().await {
            match item {
                Ok(item) => items.push(item),
                Err(error) => return Ok((told, items, Some(error))),
            }
        }
        Ok((told, items, None))
    })
}

/// All tables as one, of a dataset in which every row can be read.
fn batch(request: Request) -> (SchemaRef, RecordBatch) {
    let (whole, items, error) = whole(request, Form::Arrow).unwrap();
    assert!(error.is_none(), "{error:?}");
    let schema = whole.schema.unwrap();
    let batches: Vec<RecordBatch> = items
        .into_iter()
        .map(|item| match item {
            Item::Table(Table { rows: Rows::Arrow(batch), .. }) => batch,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(batches.iter().all(|batch| batch.schema() == schema));
    let all = concat_batches(&schema, &batches).unwrap();
    (schema, all)
}

fn failure(request: Request) -> Error {
    match whole(request, Form::Arrow) {
        Err(error) | Ok((_, _, Some(error))) => error,
        Ok(_) => panic!("no error"),
    }
}

/// The ids of all rows in order, those that cannot be read among them.
fn ids(items: &[Item]) -> Vec<String> {
    let mut ids = Vec::new();
    for item in items {
        match item {
            Item::Unreadable(Unreadable { id, .. }) => ids.push(id.clone()),
            Item::Table(table) => {
                ids.extend((0..table.rows.len()).map(|at| table.ids.get(at).into_owned()));
            }
        }
    }
    ids
}

fn parquet(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn arrow_stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut to = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    for batch in batches {
        to.write(batch).unwrap();
    }
    to.into_inner().unwrap()
}

fn arrow_file(batches: &[RecordBatch]) -> Vec<u8> {
    let mut to = FileWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    for batch in batches {
        to.write(batch).unwrap();
    }
    to.into_inner().unwrap()
}

/// Row groups of 30 rows, pages of 10.
fn small_groups() -> WriterProperties {
    WriterProperties::builder()
        .set_max_row_group_row_count(Some(30))
        .set_data_page_row_count_limit(10)
        .set_write_batch_size(5)
        .build()
}

/// Rows with every shape of column, some of whose types only the embedded Arrow schema tells.
fn shapes(rows: usize) -> RecordBatch {
    let each = || 0..rows;
    let number = |row: usize| i32::try_from(row).unwrap();
    let text = || each().map(|row| (row % 10 != 3).then(|| format!("row {row} é")));
    let list = |row: usize| (!row.is_multiple_of(5)).then(|| vec![Some(number(row)), None]);
    let url = Arc::new(StringArray::from_iter_values(each().map(|row| format!("u{row}")))) as ArrayRef;
    let parents: Vec<bool> = each().map(|row| !row.is_multiple_of(4)).collect();
    let meta = StructArray::new(
        vec![Field::new("url", DataType::Utf8, true)].into(),
        vec![url],
        Some(parents.into()),
    );
    let turns = StringArray::from_iter_values(each().flat_map(|row| [format!("q{row}"), format!("a{row}")]));
    let item = Arc::new(Field::new_list_field(DataType::Utf8, true));
    let pairs = FixedSizeListArray::new(item, 2, Arc::new(turns), None);
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for row in each() {
        map.keys().append_value("k");
        map.values().append_value(format!("v{row}"));
        map.append(true).unwrap();
    }
    let kind: DictionaryArray<Int32Type> = each().map(|row| Some(["a", "b", "c"][row % 3])).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", Arc::new(text().collect::<StringArray>())),
        ("large", Arc::new(text().collect::<LargeStringArray>())),
        ("view", Arc::new(text().collect::<StringViewArray>())),
        (
            "bytes",
            Arc::new(BinaryArray::from_iter_values(
                each().map(|row| vec![0xff, u8::try_from(row % 256).unwrap()]),
            )),
        ),
        ("n", Arc::new(Int64Array::from_iter_values(each().map(|row| i64::from(number(row)))))),
        ("single", Arc::new(Float32Array::from_iter_values(each().map(|row| row as f32 / 3.0)))),
        ("kind", Arc::new(kind)),
        ("meta", Arc::new(meta)),
        ("tags", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(each().map(list)))),
        ("long_tags", Arc::new(LargeListArray::from_iter_primitive::<Int32Type, _, _>(each().map(list)))),
        ("pairs", Arc::new(pairs)),
        ("map", Arc::new(map.finish())),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(each().map(|row| i64::from(number(row))))
                    .with_timezone("Europe/Berlin"),
            ),
        ),
    ];
    let fields = columns.iter().map(|(name, column)| {
        Field::new(*name, column.data_type().clone(), true)
            .with_metadata(HashMap::from([("note".to_owned(), format!("of {name}"))]))
    });
    let notes =
        HashMap::from([("huggingface".to_owned(), "{}".to_owned()), ("mine".to_owned(), "kept".to_owned())]);
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), notes);
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect()).unwrap()
}

#[test]
fn columns_keep_their_types_values_and_metadata_in_parquet_and_arrow() {
    let written = shapes(100);
    let halves = [written.slice(0, 60), written.slice(60, 40)];
    for (name, bytes) in [
        ("rows.parquet", parquet(&written, small_groups())),
        ("stream.arrow", arrow_stream(&halves)),
        ("file.arrow", arrow_file(&halves)),
    ] {
        let folder = Folder::with(name, bytes);
        let (schema, all) = batch(folder.request(name, &["text"]));
        assert_eq!(&schema, written.schema_ref(), "{name}");
        assert_eq!(all, written, "{name}");
    }
}

#[test]
fn chosen_rows_are_those_rows_whole() {
    let written = shapes(100);
    let folder = Folder::with("rows.parquet", parquet(&written, small_groups()));
    folder.write("rows.arrow", arrow_stream(std::slice::from_ref(&written)));
    for name in ["rows.parquet", "rows.arrow"] {
        let sample = Sample::Random { rows: 17, seed: 3 };
        let (_, items, _) = whole(Request { sample, ..folder.request(name, &[]) }, Form::Arrow).unwrap();
        for item in &items {
            let Item::Table(Table {
                ids: Ids::Numbered { rows: numbers, .. }, rows: Rows::Arrow(rows), ..
            }) = item
            else {
                panic!("{item:?}");
            };
            for (at, number) in numbers.iter().enumerate() {
                assert_eq!(rows.slice(at, 1), written.slice(usize::try_from(*number).unwrap(), 1), "{name}");
            }
        }
        assert_eq!(ids(&items).len(), 17);
    }
}

/// A folder of the same rows in every format; `n` has values that repeat, and some that are missing.
fn formats() -> Folder {
    let folder = Folder::new();
    let n: Int64Array = (0..50).map(|row| (row % 7 != 0).then_some(row / 2)).collect();
    let text = StringArray::from_iter_values((0..50).map(|row| format!("row {row}")));
    let columns: [(&str, ArrayRef); 2] = [("text", Arc::new(text)), ("n", Arc::new(n))];
    let rows =
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    folder.write("rows.parquet", parquet(&rows, small_groups()));
    folder.write("stream.arrow", arrow_stream(&[rows.slice(0, 20), rows.slice(20, 30)]));
    folder.write("file.arrow", arrow_file(&[rows.slice(0, 20), rows.slice(20, 30)]));
    let n = |row: usize| if row.is_multiple_of(7) { Value::Null } else { json!(row / 2) };
    let objects: Vec<Value> = (0..50).map(|row| json!({"text": format!("row {row}"), "n": n(row)})).collect();
    let lines: Vec<String> = objects.iter().map(Value::to_string).collect();
    folder
        .write("rows.jsonl", format!("{}\n{{bad}}\n\n{}\n", lines[..30].join("\n"), lines[30..].join("\n")));
    folder.write("array.json", format!("{:#}", json!(objects)));
    let cells = |separator: &str| {
        let rows = (0..50).map(|row| {
            format!(
                "row {row}{separator}{}\n",
                if row % 7 == 0 { String::new() } else { (row / 2).to_string() }
            )
        });
        format!("text{separator}n\n{}only{separator}three{separator}cells\n", rows.collect::<String>())
    };
    folder.write("rows.csv", cells(","));
    folder.write("rows.tsv", cells("\t"));
    folder.write("rows.txt", "one\n\nthree\n");
    folder
}

#[test]
fn the_rows_their_order_and_their_ids_are_those_of_the_records() {
    let folder = formats();
    let names = [
        "rows.parquet",
        "stream.arrow",
        "file.arrow",
        "rows.jsonl",
        "array.json",
        "rows.csv",
        "rows.tsv",
        "rows.txt",
    ];
    let samples = [
        Sample::All,
        Sample::Random { rows: 9, seed: 1 },
        Sample::Random { rows: 1_000, seed: 1 },
        Sample::Random { rows: 0, seed: 1 },
        Sample::First { rows: 31 },
    ];
    for name in names {
        for sample in samples {
            for id in [None, Some("n".to_owned())] {
                let id = id.filter(|_| name != "rows.txt");
                let request = Request { sample, id: id.clone(), ..folder.request(name, &["text"]) };
                let (rows, _) = read(request.clone()).unwrap();
                let expected: Vec<String> =
                    rows.into_iter().map(|row| row.map_or_else(|bad| bad.id, |record| record.id)).collect();
                for form in [Form::Arrow, Form::AsStored] {
                    let (told, items, error) = whole(request.clone(), form).unwrap();
                    assert!(error.is_none(), "{name}: {error:?}");
                    assert_eq!(ids(&items), expected, "{name} {sample:?} {id:?} {form:?}");
                    assert!(told.rows.is_none_or(|rows| rows == expected.len() as u64), "{name} {sample:?}");
                }
            }
        }
    }
}

#[test]
fn a_value_is_what_a_record_has_of_it() {
    let written = shapes(12);
    let folder = Folder::with("rows.parquet", parquet(&written, small_groups()));
    folder.write("rows.jsonl", "{\"text\": \"a\", \"meta\": {\"url\": \"u\"}, \"a.b\": 1}\n{\"meta\": null, \"tags\": [{\"x\": 2.5}]}\n");
    for (name, columns) in [
        (
            "rows.parquet",
            vec!["text", "n", "kind", "meta", "meta.url", "tags", "tags.0", "at", "map.k", "pairs.1"],
        ),
        ("rows.jsonl", vec!["text", "meta", "meta.url", "a.b", "tags.0.x"]),
    ] {
        let (records, _) = read(folder.request(name, &columns)).unwrap();
        for form in [Form::Arrow, Form::AsStored] {
            let (_, items, _) = whole(folder.request(name, &[]), form).unwrap();
            let mut records = records.iter().map(|row| row.as_ref().unwrap());
            for item in &items {
                let Item::Table(table) = item else { panic!("{item:?}") };
                for at in 0..table.rows.len() {
                    let values =
                        columns.iter().map(|column| table.value(column, at).unwrap().unwrap_or_default());
                    assert_eq!(values.collect::<Vec<_>>(), records.next().unwrap().fields, "{name} {form:?}");
                }
                assert_eq!(table.value("missing", 0), Ok(None));
            }
            assert!(records.next().is_none());
        }
    }
}

/// Parquet with a text that is not UTF-8 in row 2 of 5, and one column of JSON.
fn not_text(logical: &str) -> Vec<u8> {
    let schema = format!("message m {{ required int32 n; required binary text ({logical}); }}");
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<parquet::data_type::Int32Type>().write_batch(&[0, 1, 2, 3, 4], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let texts: [&[u8]; 5] = [b"a", b"b", b"bad\xff", b"c", b"d"];
    let texts = texts.map(|text| ByteArray::from(text.to_vec()));
    column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn a_text_that_is_not_utf8_makes_its_row_unreadable_and_no_other() {
    for logical in ["UTF8", "JSON"] {
        let folder = Folder::with("rows.parquet", not_text(logical));
        let (_, items, error) = whole(folder.request("rows.parquet", &["n"]), Form::Arrow).unwrap();
        assert!(error.is_none());
        assert_eq!(ids(&items), (0..5).map(|row| format!("rows.parquet#{row}")).collect::<Vec<_>>());
        let bad: Vec<_> = items
            .iter()
            .filter_map(|item| match item {
                Item::Unreadable(bad) => Some((bad.id.as_str(), bad.detail.as_str())),
                Item::Table(_) => None,
            })
            .collect();
        assert_eq!(bad, [("rows.parquet#2", "column text: not UTF-8 text, from byte 4")]);
    }
}

#[test]
fn a_bad_word_of_a_dictionary_makes_only_those_rows_unreadable_that_use_it() {
    let words = BinaryArray::from_iter_values([b"good".as_slice(), b"\xff", b"fine"]);
    let keys = Int8Array::from_iter_values([0, 2, 1, 0]);
    let array = DictionaryArray::new(keys, Arc::new(words));
    // The column is claimed to be text where the type of the words is written.
    let rows = RecordBatch::try_from_iter([("word", Arc::new(array) as ArrayRef)]).unwrap();
    let bytes = arrow_stream(&[rows]);
    let folder = Folder::with("rows.arrow", as_text(&bytes));
    let (whole, items, _) = whole(folder.request("rows.arrow", &[]), Form::Arrow).unwrap();
    let kind = whole.schema.unwrap().field(0).data_type().clone();
    assert_eq!(kind, DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)));
    let bad: Vec<_> = items.iter().filter(|item| matches!(item, Item::Unreadable(_))).collect();
    assert_eq!(ids(&items).len(), 4);
    assert!(matches!(bad[..], [Item::Unreadable(bad)] if bad.id == "rows.arrow#2"), "{bad:?}");
}

/// The same stream with the schema of texts instead of bytes: both are laid out alike.
fn as_text(stream: &[u8]) -> Vec<u8> {
    let kind = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let schema = Schema::new(vec![Field::new("word", kind, false)]);
    let claimed = StreamWriter::try_new(Vec::new(), &schema).unwrap().into_inner().unwrap();
    let length = |bytes: &[u8]| 8 + u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    [&claimed[..length(&claimed)], &stream[length(stream)..]].concat()
}

fn one(name: &str, column: ArrayRef) -> Vec<u8> {
    parquet(&RecordBatch::try_from_iter([(name, column)]).unwrap(), WriterProperties::default())
}

#[test]
fn files_of_different_schemas_are_unified_by_name() {
    let folder = Folder::new();
    folder.write("a.parquet", one("n", Arc::new(Int32Array::from(vec![1, 2]))));
    let columns: [(&str, ArrayRef); 2] =
        [("text", Arc::new(StringArray::from(vec!["x"]))), ("n", Arc::new(Int64Array::from(vec![1 << 40])))];
    folder.write(
        "b.parquet",
        parquet(&RecordBatch::try_from_iter(columns).unwrap(), WriterProperties::default()),
    );
    let words: DictionaryArray<Int32Type> = [Some("y")].into_iter().collect();
    folder.write("c.parquet", one("text", Arc::new(words)));
    let (schema, all) = batch(folder.request("", &[]));
    let kinds: Vec<_> =
        schema.fields().iter().map(|field| (field.name().as_str(), field.data_type().clone())).collect();
    assert_eq!(kinds, [("n", DataType::Int64), ("text", DataType::Utf8)]);
    let n: Vec<_> = all.column(0).as_primitive::<arrow::datatypes::Int64Type>().iter().collect();
    assert_eq!(n, [Some(1), Some(2), Some(1 << 40), None]);
    let text: Vec<_> = all.column(1).as_string::<i32>().iter().collect();
    assert_eq!(text, [None, None, Some("x"), Some("y")]);
}

#[test]
fn files_whose_types_do_not_go_together_are_an_error_before_any_row() {
    let folder = Folder::new();
    folder.write("a.parquet", one("n", Arc::new(Int32Array::from(vec![1, 2]))));
    folder.write("b.parquet", one("n", Arc::new(StringArray::from(vec!["x"]))));
    let error =
        run(async { find(folder.request("", &[])).await.unwrap().whole(Form::Arrow).await }).unwrap_err();
    assert!(matches!(error, Error::TwoTypes(_)) && !error.is_usage(), "{error}");
}

#[test]
fn csv_files_of_different_headers_are_text_and_null_where_a_column_is_missing() {
    let folder = Folder::with("a.csv", "x,y\n1,\n");
    folder.write("b.csv", "y,z\n2,3\n");
    let (schema, all) = batch(folder.request("", &["y"]));
    assert!(schema.fields().iter().all(|field| *field.data_type() == DataType::Utf8));
    let cells: Vec<Vec<_>> =
        all.columns().iter().map(|column| column.as_string::<i32>().iter().collect()).collect();
    assert_eq!(cells, [[Some("1"), None], [None, Some("2")], [None, Some("3")]]);
}

#[test]
fn rows_of_json_have_types_that_fit_all_and_notes_on_what_fits_none() {
    let folder = Folder::with(
        "rows.jsonl",
        "{\"id\": 1, \"x\": 1.10, \"mixed\": 1}\nnot json\n{\"id\": 2, \"mixed\": [\"a\"], \"late\": {\"k\": null}}\n{\"id\": 18446744073709551616, \"x\": -0.0}\n{\"x\": 1e400}\n",
    );
    let (told, items, _) = whole(folder.request("rows.jsonl", &[]), Form::Arrow).unwrap();
    let columns: Vec<_> =
        told.columns.iter().map(|column| format!("{}: {}", column.name, column.kind)).collect();
    insta::assert_snapshot!(columns.join("\n"), @r"
    id: string
    x: float64
    mixed: string
    late: struct<k: null>
    ");
    insta::assert_snapshot!(told.notes.join("\n"), @r"
    column `id` is text, its values other than strings as JSON: it has numbers and strings
    column `mixed` is text, its values other than strings as JSON: it has numbers and lists
    integers of more than 64 bits are written as text: row rows.jsonl#3 has one, perhaps others too
    ");
    let shown: Vec<String> = items
        .iter()
        .flat_map(|item| match item {
            Item::Unreadable(bad) => vec![format!("{}: {}", bad.id, bad.detail)],
            Item::Table(table) => (0..table.rows.len())
                .map(|at| {
                    let values = ["id", "x", "mixed", "late"]
                        .map(|column| table.value(column, at).unwrap().unwrap_or_default());
                    json!(values).to_string()
                })
                .collect(),
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    ["1",1.1,"1",null]
    rows.jsonl#1: line 2, byte 1: expected a JSON object, `{…}`
    ["2",null,"[\"a\"]",{"k":null}]
    ["18446744073709551616",-0.0,null,null]
    rows.jsonl#4: line 5, byte 11: number out of range
    "#);
    assert_eq!(told.rows, Some(5));
}

#[test]
fn rows_of_json_as_they_are_stored_keep_every_key_and_number() {
    let line = "{\"b\":-0.0,\"a\":{\"k\":[]},\"n\":9007199254740993,\"u\":18446744073709551615,\"f\":1.1}";
    let folder = Folder::with(
        "rows.jsonl",
        format!(
            "{line}\n{{\"n\": 18446744073709551616}}\n{{\"n\": -99999999999999999999}}\n{{\"s\": \"18446744073709551616\"}}\n"
        ),
    );
    let notes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = Arc::clone(&notes);
    let mut request = folder.request("rows.jsonl", &[]);
    request.listener = Listener::new(move |news| heard.lock().unwrap().push(format!("{news:?}")));
    let items: Vec<Item> = run(async {
        let found = find(request).await.unwrap();
        // Read twice, as to rank and to write, and told of once.
        found.whole(Form::AsStored).await.unwrap().tables().for_each(async |_| ()).await;
        let whole = found.whole(Form::AsStored).await.unwrap();
        assert!(whole.schema.is_none());
        whole.tables().map(Result::unwrap).collect().await
    });
    let [Item::Table(Table { rows: Rows::Objects(objects), .. })] = &items[..] else { panic!("{items:?}") };
    assert_eq!(serde_json::to_string(&objects[0]).unwrap(), line);
    assert_eq!(objects[1]["n"], "18446744073709551616");
    assert_eq!(objects.len(), 4);
    assert_eq!(
        *notes.lock().unwrap(),
        [
            "Note(\"integers of more than 64 bits are written as text: row rows.jsonl#1 has one, perhaps others too\")"
        ]
    );
}

#[test]
fn rows_of_json_that_have_changed_since_the_types_were_found_are_an_error() {
    let folder = Folder::with("rows.jsonl", "{\"n\": 1}\n{\"n\": 2}\n");
    for changed in ["{\"n\": 1}\n{\"n\": \"2\"}\n", "{\"n\": 1}\n{\"m\": 2}\n"] {
        folder.write("rows.jsonl", "{\"n\": 1}\n{\"n\": 2}\n");
        let error = run(async {
            let found = find(folder.request("rows.jsonl", &[])).await.unwrap();
            let whole = found.whole(Form::Arrow).await.unwrap();
            folder.write("rows.jsonl", changed);
            whole.tables().filter_map(|item| async { item.err() }).boxed().next().await.unwrap()
        });
        assert!(error.to_string().contains("has changed since its columns were looked at"), "{error}");
    }
}

#[test]
fn a_table_is_bounded_in_rows_and_bytes() {
    let folder = Folder::with("rows.jsonl", numbered(20_000));
    let long = json!({"text": "x".repeat(5 << 20)}).to_string() + "\n";
    folder.write("long.jsonl", long.repeat(3));
    // One megabyte of text, repeated a thousand times by a dictionary: a gigabyte.
    let text = "y".repeat(1 << 20);
    let repeated = StringArray::from_iter_values(std::iter::repeat_n(&text, 40));
    folder.write("repeated.parquet", one("text", Arc::new(repeated)));
    for (name, expected) in [
        ("rows.jsonl", vec![8192, 8192, 3616]),
        ("long.jsonl", vec![1, 1, 1]),
        ("repeated.parquet", vec![7, 7, 7, 7, 7, 5]),
    ] {
        let (_, items, _) = whole(folder.request(name, &["text"]), Form::Arrow).unwrap();
        let sizes: Vec<_> = items
            .iter()
            .map(|item| match item {
                Item::Table(table) => table.rows.len(),
                Item::Unreadable(bad) => panic!("{bad:?}"),
            })
            .collect();
        assert_eq!(sizes, expected, "{name}");
    }
}

#[test]
fn a_file_that_is_cut_off_or_has_become_shorter_is_an_error() {
    let folder = Folder::with("rows.arrow", arrow_stream(&[shapes(20), shapes(20)]));
    let bytes = std::fs::read(folder.request("rows.arrow", &[]).name).unwrap();
    folder.write("rows.arrow", &bytes[..bytes.len() - 400]);
    assert!(matches!(failure(folder.request("rows.arrow", &[])), Error::Corrupt { .. }));
    let bytes = parquet(&shapes(100), small_groups());
    let mut broken = bytes.clone();
    broken[200..4_000].fill(0);
    folder.write("rows.parquet", broken);
    assert!(matches!(failure(folder.request("rows.parquet", &[])), Error::Corrupt { .. }));
}

#[test]
fn a_stamp_tells_what_is_read_and_not_where_it_is() {
    let (one, other) = (Folder::with("rows.jsonl", numbered(3)), Folder::with("rows.jsonl", numbered(3)));
    let stamp =
        |folder: &Folder| run(async { find(folder.request("rows.jsonl", &[])).await.unwrap().stamp() });
    let path = |folder: &Folder| folder.request("rows.jsonl", &[]).name;
    let file = std::fs::File::options().write(true).open(path(&other)).unwrap();
    file.set_modified(std::fs::metadata(path(&one)).unwrap().modified().unwrap()).unwrap();
    let before = stamp(&one);
    assert_eq!((before.len(), before == stamp(&one), before == stamp(&other)), (32, true, true));
    one.write("rows.jsonl", numbered(4));
    assert_ne!(stamp(&one), before);
}
