//! Tests of reading JSON lines, through the door of the room.

use crate::dataset::tests::{Folder, numbered, read, records, run};
use crate::dataset::{Error, Request, Unreadable, open};
use crate::rating::run::Sample;
use crate::record::MAX_TEXT;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{BufWriter, Write as _};

fn unreadable(row: u64, detail: &str) -> Unreadable {
    Unreadable { id: format!("rows.jsonl#{row}"), row, detail: detail.into() }
}

fn texts(content: &[u8]) -> Vec<Value> {
    let folder = Folder::with("rows.jsonl", content);
    let records = records(folder.request("rows.jsonl", &["t"]));
    assert!(records.iter().enumerate().all(|(row, record)| record.row == row as u64));
    records.into_iter().map(|mut record| record.fields.remove(0)).collect()
}

#[test]
fn line_ends_blank_lines_and_a_byte_order_mark_make_no_rows() {
    let expected = [json!("a"), json!("b")];
    for content in [
        "{\"t\":\"a\"}\n{\"t\":\"b\"}\n",
        "{\"t\":\"a\"}\n{\"t\":\"b\"}",
        "{\"t\":\"a\"}\r\n{\"t\":\"b\"}\r\n",
        "\u{feff}{\"t\":\"a\"}\n{\"t\":\"b\"}\n",
        "\u{feff}\n{\"t\":\"a\"}\n\n \t \r\n{\"t\":\"b\"}\n\n  ",
    ] {
        assert_eq!(texts(content.as_bytes()), expected, "{content:?}");
    }
}

#[test]
fn a_broken_line_is_a_row_that_says_where_it_breaks() {
    let lines: [&[u8]; 7] =
        [b"{\"t\": 1}", b"", b"{\"t\": x}", b"[1]", b"{\"t\": \"\xff\"}", b"\"\x1b[31m\"", b"{\"u\": 2}"];
    let folder = Folder::with("rows.jsonl", lines.join(&b'\n'));
    let (rows, error) = read(folder.request("rows.jsonl", &["t"])).unwrap();
    assert!(error.is_none());
    let values: Vec<_> = rows.into_iter().map(|row| row.map(|record| record.fields)).collect();
    let expected = [
        Ok(vec![json!(1)]),
        Err(unreadable(1, "line 3, byte 7: expected value")),
        Err(unreadable(2, "line 4, byte 1: expected a JSON object, `{…}`")),
        Err(unreadable(3, "line 5, byte 8: expected UTF-8 text")),
        Err(unreadable(4, "line 6, byte 1: expected a JSON object, `{…}`")),
        Ok(vec![json!(null)]),
    ];
    assert_eq!(values, expected);
}

#[test]
fn a_line_that_is_too_long_is_a_row_of_its_own() {
    let folder = Folder::with("rows.jsonl", "{\"t\":1}\n");
    let request = folder.request("rows.jsonl", &["t"]);
    let mut file = BufWriter::new(OpenOptions::new().append(true).open(&request.name).unwrap());
    file.write_all(b"{\"t\":\"").unwrap();
    file.write_all(&vec![b'x'; MAX_TEXT]).unwrap();
    file.write_all(b"\"}\n{\"t\":2}\n").unwrap();
    file.flush().unwrap();

    let detail = "line 2, byte 67108865: a line of 67108872 bytes; the longest that is read has 67108864";
    let (rows, _) = read(request.clone()).unwrap();
    let rows: Vec<_> = rows.into_iter().map(|row| row.map(|record| record.fields)).collect();
    assert_eq!(rows, [Ok(vec![json!(1)]), Err(unreadable(1, detail)), Ok(vec![json!(2)])]);
    let (rows, _) = read(Request { sample: Sample::Random { rows: 2, seed: 0 }, ..request }).unwrap();
    assert_eq!(rows.len(), 2);
}

#[test]
fn a_random_sample_reads_the_same_rows_as_a_full_read() {
    let lines = (0..500).map(|row| match row % 7 {
        0 => "\n".to_owned(),
        1 => "{broken\r\n".to_owned(),
        _ => format!("{{\"t\": \"{}\"}}\n", "é".repeat(row)),
    });
    let folder = Folder::with("rows.jsonl", format!("\u{feff}{}", lines.collect::<String>()));
    let request = folder.request("rows.jsonl", &["t"]);
    let (all, _) = read(request.clone()).unwrap();
    let (sampled, _) =
        read(Request { sample: Sample::Random { rows: 100, seed: 5 }, ..request.clone() }).unwrap();
    assert_eq!(sampled.len(), 100);
    for row in sampled {
        let number = row.as_ref().map_or_else(|unreadable| unreadable.row, |record| record.row);
        assert_eq!(row, all[usize::try_from(number).unwrap()]);
    }
    let (first, _) = read(Request { sample: Sample::First { rows: 9 }, ..request }).unwrap();
    assert_eq!(first, all[..9]);
}

#[test]
fn an_unknown_column_is_told_what_the_first_rows_have() {
    let rows = "{\"text\": \"a\", \"meta\": {\"url\": \"u\"}, \"n\": 1}\n{\"n\": null}\n";
    let folder = Folder::with("rows.jsonl", rows);
    let refusal = |column| {
        let error = read(folder.request("rows.jsonl", &["text", column])).unwrap_err();
        assert!(error.is_usage());
        folder.message(&error)
    };
    insta::assert_snapshot!(refusal("txt"), @"no column `txt` in `rows.jsonl` (did you mean `text`?); it has text, meta, n");
    insta::assert_snapshot!(refusal("meta.ulr"), @"no column `meta.ulr` in `rows.jsonl` (did you mean `meta.url`?); it has text, meta, n");
    insta::assert_snapshot!(refusal("\x1b[31m"), @r"no column `\u{1b}[31m` in `rows.jsonl`; it has text, meta, n");
    let columns = run(open(folder.request("rows.jsonl", &["meta.url"]))).unwrap().columns;
    let columns: Vec<_> = columns.into_iter().map(|column| (column.name, column.kind)).collect();
    let expected = [("text", "string"), ("meta", "object"), ("n", "null or number")];
    assert_eq!(columns, expected.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
}

#[test]
fn a_column_that_is_in_none_of_the_first_thousand_rows_is_unknown() {
    let folder = Folder::with("rows.jsonl", numbered(1_000) + "{\"late\": 1}\n");
    let error = read(folder.request("rows.jsonl", &["late"])).unwrap_err();
    insta::assert_snapshot!(folder.message(&error), @"no column `late` in `rows.jsonl`; it has text, n (in its first 1000 rows)");
    let folder = Folder::with("rows.jsonl", numbered(999) + "{\"late\": 1}\n");
    assert_eq!(records(folder.request("rows.jsonl", &["late"])).len(), 1_000);
}

#[test]
fn a_file_without_rows_or_without_objects_says_so() {
    for content in ["", "\n \n\r\n", "\u{feff}"] {
        let folder = Folder::with("rows.jsonl", content);
        let error = read(folder.request("rows.jsonl", &["t"])).unwrap_err();
        assert!(matches!(error, Error::Empty { .. }) && !error.is_usage(), "{error}");
    }
    let folder = Folder::with("rows.json", "{\n  \"t\": 1\n}\n");
    let error = read(folder.request("rows.json", &["t"])).unwrap_err();
    insta::assert_snapshot!(folder.message(&error), @"`rows.json`: none of its first 3 rows is a JSON object (one object a line): line 1, byte 1: EOF while parsing an object");
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error_and_no_short_read() {
    for sample in [Sample::All, Sample::Random { rows: 40_000, seed: 1 }] {
        let folder = Folder::with("rows.jsonl", numbered(50_000));
        let request = Request { sample, ..folder.request("rows.jsonl", &["text"]) };
        let name = request.name.clone();
        let error = run(async {
            let dataset = open(request).await.unwrap();
            OpenOptions::new().write(true).open(name).unwrap().set_len(400_000).unwrap();
            crate::dataset::tests::rows(dataset).await.1
        });
        assert!(matches!(error, Some(Error::Changed { .. })), "{error:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_as_many_rows_as_lines_that_are_not_blank(
        tail in proptest::collection::vec(
            prop_oneof![Just(b"\n".to_vec()), Just(b"{\"t\":1}\n".to_vec()), Just(b" ".to_vec()), any::<u8>().prop_map(|byte| vec![byte])],
            0..60,
        ),
        rows in 0_u64..9,
    ) {
        let content = [b"{\"t\":0}\n".as_slice(), &tail.concat()].concat();
        let lines = content.split(|byte| *byte == b'\n');
        let expected = lines.filter(|line| !line.iter().all(|byte| b" \t\r".contains(byte))).count();
        let folder = Folder::with("rows.jsonl", &content);
        let request = folder.request("rows.jsonl", &["t"]);
        let (all, error) = read(request.clone()).unwrap();
        prop_assert!(error.is_none());
        prop_assert_eq!(all.len(), expected);
        let (sampled, _) = read(Request { sample: Sample::Random { rows, seed: 3 }, ..request }).unwrap();
        prop_assert_eq!(sampled.len() as u64, rows.min(expected as u64));
    }
}
