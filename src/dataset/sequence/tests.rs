//! Tests of the formats, through the door of the module, and the means for the tests of Arrow.

use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::io::{Cursor, Read};

/// Bytes that come a few at a time, so that they are cut at every place.
struct Trickle(Cursor<Vec<u8>>, usize);

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

type Rows = Vec<Result<Value, String>>;

/// All rows, and what ended them if they did not end by themselves.
pub(in crate::dataset) fn read(
    kind: &Kind,
    bytes: &[u8],
    piece: usize,
    longest: usize,
) -> (Rows, Option<String>) {
    let input = Bytes::Stream(Box::new(Trickle(Cursor::new(bytes.to_vec()), piece)));
    let mut rows = Vec::new();
    let message = |broken: Broken| Some(broken.of("f").to_string());
    let mut sequence = match Sequence::over(kind, input, longest) {
        Ok(sequence) => sequence,
        Err(broken) => return (rows, message(broken)),
    };
    loop {
        match sequence.advance() {
            Ok(true) => rows.push(sequence.row().map(Value::Object)),
            Ok(false) => {
                assert!(matches!(sequence.advance(), Ok(false)), "the end is the end");
                return (rows, None);
            }
            Err(broken) => return (rows, message(broken)),
        }
    }
}

/// The rows of a file of which every row can be read, whatever pieces it comes in.
fn good(kind: &Kind, text: &str) -> Vec<Value> {
    let mut rows = None;
    for piece in [1, 2, 3, 7, 1 << 20] {
        let (found, broken) = read(kind, text.as_bytes(), piece, MAX_TEXT);
        assert_eq!(broken, None, "{text:?}");
        let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
        assert_eq!(rows.get_or_insert_with(|| found.clone()), &found, "{text:?} in pieces of {piece}");
    }
    rows.unwrap()
}

/// What a file's faulty rows and its end say, whatever pieces it comes in.
fn bad(kind: &Kind, bytes: impl AsRef<[u8]>) -> String {
    let said = |piece| {
        let (rows, broken) = read(kind, bytes.as_ref(), piece, MAX_TEXT);
        let rows = rows.into_iter().map(|row| row.map_or_else(|fault| fault, |row| row.to_string()));
        rows.chain(broken).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(said(1), said(1 << 20));
    said(1)
}

const JSON: Kind = Kind::Json { field: None };
const CSV: Kind = Kind::Csv { separator: b',' };
const LINES: Kind = Kind::Text { by: Unit::Line };
const PARAGRAPHS: Kind = Kind::Text { by: Unit::Paragraph };
const DOCUMENT: Kind = Kind::Text { by: Unit::Document };

fn of(field: &str) -> Kind {
    Kind::Json { field: Some(field.into()) }
}

fn texts(kind: &Kind, text: &str) -> Vec<String> {
    let rows = good(kind, text).into_iter();
    rows.map(|row| row["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_array_and_objects_one_after_another_and_lines_are_the_same_rows() {
    let expected = [json!({"a": "}\"]\\", "b": [{}, []]}), json!({}), json!({"a": null})];
    for text in [
        r#"[{"a": "}\"]\\", "b": [{}, []]}, {}, {"a": null}]"#,
        "\u{feff} [\n{\"a\": \"}\\\"]\\\\\", \"b\": [{}, []]}\r\n,{}\n,\n{\"a\":null} ] \n",
        "{\n  \"a\": \"}\\\"]\\\\\",\n  \"b\": [{}, []]\n}\n{}{\"a\":null}\n",
        "{\"a\": \"}\\\"]\\\\\", \"b\": [{}, []]}\n{}\n\n{\"a\":null}",
        "\u{feff}\n{\"a\": \"}\\\"]\\\\\", \"b\": [{}, []]}\r\n{}\r\n{\"a\":null}\r\n",
    ] {
        assert_eq!(good(&JSON, text), expected, "{text}");
    }
    // An empty object on a line of its own says nothing about the others.
    assert_eq!(good(&JSON, "{}\n{}\n{\n  \"a\": 1\n}\n"), [json!({}), json!({}), json!({"a": 1})]);
    for text in ["", " \n\u{20}", "[]", " [ ]\n"] {
        assert!(good(&JSON, text).is_empty(), "{text:?}");
    }
}

#[test]
fn the_rows_are_in_the_array_of_the_field() {
    let text = r#" {"version": "1.0", "x": {"data": [1]}, "d\u0061ta": [ {"a": 1}, {"a": 2} ], "y": broken"#;
    assert_eq!(good(&of("data"), text), [json!({"a": 1}), json!({"a": 2})]);
    insta::assert_snapshot!(bad(&of("dat"), r#"{"version": 1, "data": []}"#), @"`f` has no rows: its top-level object has no key `dat`");
    insta::assert_snapshot!(bad(&of("data"), "{}"), @"`f` has no rows: its top-level object has no key `data`");
    insta::assert_snapshot!(bad(&of("data"), r#"{"data": {}}"#), @"`f` is no well-formed JSON: byte 10 (line 1, byte 10): expected an array of rows, `[…]`");
    insta::assert_snapshot!(bad(&of("data"), r#"[{"a": 1}]"#), @"`f` is no well-formed JSON: byte 1 (line 1, byte 1): expected an object, `{…}`, with the rows in it");
    insta::assert_snapshot!(bad(&of("data"), r#"{"a" 1}"#), @"`f` is no well-formed JSON: byte 6 (line 1, byte 6): expected `:`");
    insta::assert_snapshot!(bad(&of("data"), r#"{"a": 1 "data": []}"#), @"`f` is no well-formed JSON: byte 9 (line 1, byte 9): expected `,` or `}`");
    insta::assert_snapshot!(bad(&of("data"), r#"{"a": 1,}"#), @r#"`f` is no well-formed JSON: byte 9 (line 1, byte 9): expected a key, `"…"`"#);
    insta::assert_snapshot!(bad(&of("data"), r#"{"a": 1"#), @"`f` is cut off: it ends inside of what begins at byte 7 (line 1)");
}

#[test]
fn an_element_that_cannot_be_read_is_a_row_and_the_next_ones_are_read() {
    let text = "[{\"a\": 1},\n  {\"a\": NaN}, [1], \"x\",\n17, null, NaN, {\n \"a\": txx },\n{\"a\": 2}]";
    insta::assert_snapshot!(bad(&JSON, text), @r#"
    {"a":1}
    line 2, byte 9: expected value
    line 2, byte 15: expected a JSON object, `{…}`
    line 2, byte 20: expected a JSON object, `{…}`
    line 3, byte 1: expected a JSON object, `{…}`
    line 3, byte 5: expected a JSON object, `{…}`
    line 3, byte 11: expected a JSON object, `{…}`
    line 4, byte 8: expected ident
    {"a":2}
    "#);
    insta::assert_snapshot!(bad(&JSON, b"[{\"a\": \"\xff\"}, {\"a\": 1}]"), @r#"
    line 1, byte 9: expected UTF-8 text
    {"a":1}
    "#);
    // In lines, one bad line is one row.
    insta::assert_snapshot!(bad(&JSON, "{\"a\": 1}\n{\"a\": \n{\"a\": 3}"), @r#"
    {"a":1}
    line 2, byte 6: EOF while parsing a value
    {"a":3}
    "#);
}

#[test]
fn what_is_wrong_between_elements_ends_the_file_behind_the_rows_before_it() {
    for (text, expected) in [
        ("[{} {}]", "byte 5 (line 1, byte 5): expected `,` or `]`"),
        ("[{},\n ]", "byte 7 (line 2, byte 2): expected a value"),
        ("[{},,{}]", "byte 5 (line 1, byte 5): expected a value"),
        ("[{}}", "byte 4 (line 1, byte 4): expected `,` or `]`"),
        ("[{}] {}", "byte 6 (line 1, byte 6): expected nothing after the array"),
        ("{\n} 1", "byte 5 (line 2, byte 3): expected another object, `{…}`"),
        ("{\n},{}", "byte 4 (line 2, byte 2): expected another object, `{…}`"),
    ] {
        assert_eq!(bad(&JSON, text), format!("{{}}\n`f` is no well-formed JSON: {expected}"), "{text}");
    }
    for (text, expected) in [
        ("[{}", "it ends at byte 3: expected `,` or `]`"),
        ("[{}, ", "it ends at byte 5: expected a value"),
        ("[{}, {\"a\": [1", "it ends inside of what begins at byte 6 (line 1)"),
        ("[{}, \"a", "it ends inside of what begins at byte 6 (line 1)"),
        ("[{}, 1", "it ends inside of what begins at byte 6 (line 1)"),
        ("{\n}\n{\n", "it ends inside of what begins at byte 5 (line 3)"),
    ] {
        assert_eq!(bad(&JSON, text), format!("{{}}\n`f` is cut off: {expected}"), "{text}");
    }
    for text in ["1", "text", "\"a\"", "]", "\0"] {
        assert!(
            bad(&JSON, text).ends_with("(line 1, byte 1): expected an array or an object, `[…]` or `{…}`")
        );
    }
}

#[test]
fn separated_values_are_texts_under_the_names_of_the_header() {
    let expected = [
        json!({"a": "1", "b,": "x \"y\"\nz"}),
        json!({"a": null, "b,": null}),
        json!({"a": " é", "b,": "NA"}),
    ];
    for text in [
        "a,\"b,\"\n1,\"x \"\"y\"\"\nz\"\n,\n é,NA\n",
        "\u{feff}a,\"b,\"\n\n1,\"x \"\"y\"\"\nz\"\n\r\n,\"\"\n  \n é,NA",
    ] {
        assert_eq!(good(&CSV, text), expected, "{text:?}");
    }
    let rows = good(&CSV, "a,b\r\n1,\"x\r\ny\"\r\n\r\n2,\r\n");
    assert_eq!(rows, [json!({"a": "1", "b": "x\r\ny"}), json!({"a": "2", "b": null})]);
    let tabs = Kind::Csv { separator: b'\t' };
    assert_eq!(good(&tabs, "a\tb\n1,5\t\"2\"\n"), [json!({"a": "1,5", "b": "2"})]);
    let rows = [json!({"a": null}), json!({"a": " "}), json!({"a": "x"})];
    assert_eq!(good(&CSV, "a\n\"\"\n \t\n\" \"\nx"), rows);
    for text in ["", "\n\r\n", "\u{feff}", "a,b", "a,b\n\n"] {
        assert!(good(&CSV, text).is_empty(), "{text:?}");
    }
}

#[test]
fn columns_of_equal_or_of_no_name_are_told_apart_as_in_pandas() {
    let names = |header: &str| {
        let sequence = Sequence::open(&CSV, Box::new(Cursor::new(header.to_owned()))).unwrap();
        sequence.columns().unwrap().into_iter().map(|column| column.name).collect::<Vec<_>>()
    };
    assert_eq!(names("a,a,b,a"), ["a", "a.1", "b", "a.2"]);
    assert_eq!(names("a,a,a.1,a"), ["a", "a.2", "a.1", "a.3"]);
    assert_eq!(names(",a,\"\","), ["Unnamed: 0", "a", "Unnamed: 2", "Unnamed: 3"]);
    assert_eq!(names(""), [""; 0]);
}

#[test]
fn a_record_that_does_not_fit_the_header_is_a_row_that_says_its_line() {
    let text = b"a,b\n1\n\"x\ny\",2\n\n1,2,3\n\xff,ok\n4,5\n";
    insta::assert_snapshot!(bad(&CSV, text), @r#"
    line 2 has 1 field, the header has 2
    {"a":"x\ny","b":"2"}
    line 6 has 3 fields, the header has 2
    line 7: column a: not UTF-8 text, from byte 1
    {"a":"4","b":"5"}
    "#);
    insta::assert_snapshot!(bad(&CSV, "a,b\r\n1,2\r\n\r\n3,\"open\r\n4,5\r\n"), @r#"
    {"a":"1","b":"2"}
    line 4: a quote that is opened here is never closed
    "#);
    insta::assert_snapshot!(bad(&CSV, "a,\"b\n1,2"), @"`f` has a header that cannot be read: line 1: a quote that is opened here is never closed");
    insta::assert_snapshot!(bad(&CSV, b"a,b\xff\n1,2"), @"`f` has a header that cannot be read: the name of its column 2 is not UTF-8 text");
    // The rest of a record that is too long is not taken for another one.
    let long = format!("a,b\n1,\"{}\n\"\n2,3\n\"{}", "x".repeat(5_000), "y\n".repeat(5_000));
    let (rows, _) = read(&CSV, long.as_bytes(), 1 << 20, 1_000);
    let detail = "line 2: a record of 5006 bytes; the longest that is read has 67108864";
    let never = "line 5: a quote that is opened here is never closed";
    assert_eq!(rows, [Err(detail.into()), Ok(json!({"a": "2", "b": "3"})), Err(never.into())]);
}

#[test]
fn a_record_of_very_many_fields_is_a_row_that_cannot_be_read() {
    let text = format!("a,b\n{}\n1,2\n", ",".repeat(3 * crate::record::MAX_VALUES));
    let (rows, broken) = read(&CSV, text.as_bytes(), 1 << 20, MAX_TEXT);
    assert!(broken.is_none() && rows[0].as_ref().unwrap_err().starts_with("line 2"), "{rows:?}");
    assert_eq!(rows[1..], [Ok(json!({"a": "1", "b": "2"}))]);
}

#[test]
fn a_line_of_text_is_a_row_also_if_it_is_blank() {
    for text in ["a\n\n b \nc", "a\n\n b \nc\n", "a\r\n\r\n b \r\nc\r\n", "\u{feff}a\n\n b \nc\n"] {
        assert_eq!(texts(&LINES, text), ["a", "", " b ", "c"], "{text:?}");
    }
    assert_eq!(texts(&LINES, "\n\n"), ["", ""]);
    assert!(texts(&LINES, "").is_empty() && texts(&PARAGRAPHS, "").is_empty());
    insta::assert_snapshot!(bad(&LINES, b"a\n\xe9\nb"), @r#"
    {"text":"a"}
    line 2: a line that is not UTF-8 text, from its byte 1
    {"text":"b"}
    "#);
}

#[test]
fn paragraphs_are_what_python_splits_off_at_two_ends_of_line() {
    for text in
        ["a\nb\n\nc\n", "\n\na\n\n\n\nb", "a\n\n\nb\n\n\n", "a\n\n", "\n", "\n\n", "\n\n\n", "a\n \n\nb", "x"]
    {
        let expected: Vec<_> = text.split("\n\n").filter(|part| !part.is_empty()).collect();
        assert_eq!(texts(&PARAGRAPHS, text), expected, "{text:?}");
        assert_eq!(texts(&PARAGRAPHS, &text.replace('\n', "\r\n")), expected, "{text:?}");
        assert_eq!(texts(&DOCUMENT, &text.replace('\n', "\r\n")), [text]);
    }
    assert_eq!(texts(&DOCUMENT, ""), [""]);
    insta::assert_snapshot!(bad(&PARAGRAPHS, b"a\n\n\nb\n\xe9\n\nc"), @r#"
    {"text":"a"}
    line 3: a paragraph that is not UTF-8 text, from its byte 4
    {"text":"c"}
    "#);
}

#[test]
fn rows_that_are_too_long_are_passed_over_in_every_format() {
    let x = "x".repeat(40);
    let too_long = |what: &str| format!("a {what} of 42 bytes; the longest that is read has 67108864");
    for (kind, text, place, what) in [
        (&Kind::Jsonl, format!("{{}}\n\"{x}\"\n{{}}"), "line 2, byte 67108865: ", "line"),
        (&JSON, format!("[{{}},\"{x}\",{{}}]"), "line 1: ", "row"),
        (&LINES, format!("a\nxx{x}\nb"), "line 2: ", "line"),
        (&PARAGRAPHS, format!("a\n\n{x}\nx\n\nb"), "line 3: ", "paragraph"),
        (&DOCUMENT, format!("xx{x}"), "line 1: ", "document"),
    ] {
        for piece in [1, 7, 1 << 20] {
            let (rows, broken) = read(kind, text.as_bytes(), piece, 20);
            assert_eq!(broken, None);
            let row = usize::from(*kind != DOCUMENT);
            assert_eq!(rows[row], Err(format!("{place}{}", too_long(what))), "{kind:?}");
            assert_eq!(rows.iter().filter(|row| row.is_ok()).count(), 2 * row, "{kind:?}");
        }
    }
}

#[test]
fn a_row_of_200_megabytes_is_never_held() {
    const LONG: u64 = 200 << 20;
    let around = |before: &str, after: &str| -> Input {
        let before = Cursor::new(before.to_owned());
        Box::new(before.chain(io::repeat(b'x').take(LONG)).chain(Cursor::new(after.to_owned())))
    };
    for (kind, input, good) in [
        (&Kind::Jsonl, around("{}\n{\"a\":\"", "\"}\n{}\n"), 2),
        (&JSON, around("[{}, {\"a\":\"", "\"}, {}]"), 2),
        (&CSV, around("a,b\n1,2\n\"", "\",2\n1,2\n"), 2),
        (&CSV, around("a,b\n1,2\n\"", ""), 1),
        (&LINES, around("a\n", "\nb\n"), 2),
        (&PARAGRAPHS, around("a\n\n", "\n\nb\n"), 2),
        (&DOCUMENT, around("", "\n"), 0),
    ] {
        let mut sequence = Sequence::open(kind, input).unwrap();
        let (mut read, mut rows) = (0, 0);
        while sequence.advance().unwrap() {
            read += usize::from(sequence.roots(&["a".into()]).is_ok());
            rows += 1;
        }
        assert_eq!((read, rows), (good, good + 1), "{kind:?}");
        let capacity = match &sequence {
            Sequence::Jsonl(rows) => rows.capacity(),
            Sequence::Json(rows) => rows.capacity(),
            Sequence::Csv(rows) => rows.capacity(),
            Sequence::Text(rows) => rows.capacity(),
            Sequence::Arrow(_) => unreachable!(),
        };
        assert!(capacity <= 2 * MAX_TEXT + (1 << 20), "{kind:?}: {capacity}");
    }
}

#[test]
fn a_stream_cannot_be_gone_back_in_and_a_file_of_lines_can() {
    let text = "\u{feff}{\"a\": 1}\n\n{\"a\": 2}\n";
    let mut stream = Sequence::open(&Kind::Jsonl, Box::new(Cursor::new(text))).unwrap();
    assert!(stream.advance().unwrap());
    assert!(stream.seek(Place { offset: 3, line: 1 }).is_err());
    let mut file = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    io::Seek::rewind(&mut file).unwrap();
    let mut file = Sequence::open_file(&Kind::Jsonl, file).unwrap();
    while file.advance().unwrap() {}
    file.seek(Place { offset: 13, line: 3 }).unwrap();
    assert!(file.advance().unwrap());
    assert_eq!(file.row().unwrap()["a"], 2);
    file.seek(Place { offset: 3, line: 1 }).unwrap();
    assert!(file.advance().unwrap());
    assert_eq!(file.roots(&["a".into(), "b".into()]).unwrap(), [Some(json!(1)), None]);
}

#[test]
fn a_look_finds_what_is_declared_or_what_the_first_rows_have() {
    let look = |kind: &Kind, text: &str, wanted: &[&str]| {
        let mut sequence = Sequence::open(kind, Box::new(Cursor::new(text.to_owned()))).unwrap();
        let wanted: Vec<_> = wanted.iter().map(|&column| column.to_owned()).collect();
        let look = look(&mut sequence, &wanted).unwrap();
        let columns: Vec<_> =
            look.known.columns.into_iter().map(|column| column.name + ": " + &column.kind).collect();
        (columns.join(", "), look.missing, look.rows)
    };
    let expected = ("a: number, b: null or object".to_owned(), vec!["b.d".to_owned()], 2);
    let array = r#"[{"a": 1, "b": null}, {"b": {"c": 1}}]"#;
    assert_eq!(look(&JSON, array, &["b.c", "a", "b.d"]), expected);
    let expected = ("a: string, b.c: string".to_owned(), vec!["b".to_owned()], 0);
    assert_eq!(look(&CSV, "a,b.c\n1,2\n", &["b.c", "b"]), expected);
    assert_eq!(look(&LINES, "", &["text"]), ("text: string".into(), vec![], 0));
}

proptest! {
    #[test]
    fn any_bytes_are_fewer_rows_than_bytes_however_they_come(
        bytes in proptest::collection::vec(prop_oneof![
            proptest::sample::select(br#"{}[],:"\ ,a1"#.to_vec()),
            Just(b'\n'), Just(b'\r'), any::<u8>(),
        ], 0..60),
        start in proptest::sample::select(vec!["", "[", "{\n", "[{\"a\":1},", "{\"f\": ["]),
        piece in 1_usize..9,
        longest in 1_usize..20,
    ) {
        let bytes = [start.as_bytes(), &bytes].concat();
        for kind in [&Kind::Jsonl, &JSON, &of("f"), &CSV, &LINES, &PARAGRAPHS, &DOCUMENT] {
            let (rows, broken) = read(kind, &bytes, piece, longest);
            prop_assert!(rows.len() <= bytes.len().max(1));
            prop_assert_eq!((rows, broken), read(kind, &bytes, 1 << 20, longest));
        }
    }

    #[test]
    fn values_come_back_from_json_as_they_were_written(
        texts in proptest::collection::vec("[a\"\\\\{}\\[\\],:\n\u{e9}]{0,9}", 0..6), form in 0..4,
    ) {
        let rows: Vec<_> = texts.iter().map(|text| json!({"k\"}": text, "n": [{"x": text}]})).collect();
        let each = |row: &Value| match form {
            0 => row.to_string() + " ",
            1 => row.to_string() + "\n",
            _ => serde_json::to_string_pretty(row).unwrap(),
        };
        let text = match form {
            3 => serde_json::to_string_pretty(&rows).unwrap(),
            _ => rows.iter().map(each).collect(),
        };
        prop_assert_eq!(good(&JSON, &text), rows);
    }

    #[test]
    fn values_come_back_from_csv_as_they_were_written(
        rows in proptest::collection::vec(proptest::collection::vec("[a,\"\r\n \u{e9}]{0,6}", 3), 0..6),
    ) {
        let mut writer = ::csv::WriterBuilder::new().quote_style(::csv::QuoteStyle::Always).from_writer(Vec::new());
        writer.write_record(["a", "b", "c"]).unwrap();
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let value = |text: &String| if text.is_empty() { Value::Null } else { text.clone().into() };
        let expected: Vec<_> =
            rows.iter().map(|row| json!({"a": value(&row[0]), "b": value(&row[1]), "c": value(&row[2])})).collect();
        prop_assert_eq!(good(&CSV, &text), expected);
    }
}
