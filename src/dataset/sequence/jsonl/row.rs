//! One row of JSON, read as far as it is wanted.

use crate::record::MAX_VALUES;
use memchr::{memchr_iter, memchr2, memrchr};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// What is wrong with a row.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::dataset) struct Fault {
    /// The line where it shows, counted in the row's text from 1.
    pub(in crate::dataset) line: usize,
    /// The byte where it shows, counted in that line from 1.
    pub(in crate::dataset) byte: usize,
    /// What is expected or found there.
    pub(in crate::dataset) detail: String,
}

/// The values of `roots` in the object on this line, in their order; `None` where it has none.
///
/// The rest of the line is checked for its form and not kept. Of equal keys the last counts.
pub(in crate::dataset) fn roots(line: &[u8], roots: &[String]) -> Result<Vec<Option<Value>>, Fault> {
    parse(line, Roots { roots, left: &Cell::new(MAX_VALUES) })
}

/// The whole object on this line.
pub(in crate::dataset) fn object(line: &[u8]) -> Result<Map<String, Value>, Fault> {
    match parse(line, Part { left: &Cell::new(MAX_VALUES) })? {
        Value::Object(entries) => Ok(entries),
        _ => Err(Fault { line: 1, byte: 1, detail: OBJECT.into() }),
    }
}

/// The whole object on this line, with integers that 64 bits do not hold as strings of their digits, and whether there are
/// any. As a double they would silently become other numbers.
pub(in crate::dataset) fn exact_object(line: &[u8]) -> Result<(Map<String, Value>, bool), Fault> {
    match long_integers_quoted(line) {
        None => Ok((object(line)?, false)),
        // Where something else is wrong, its place in the line is that of the line itself.
        Some(quoted) => object(&quoted).or_else(|_| object(line)).map(|object| (object, true)),
    }
}

/// The same line with quotes around integers that 64 bits do not hold, if there are any.
fn long_integers_quoted(line: &[u8]) -> Option<Vec<u8>> {
    /// The digits of the largest integer of 63 bits.
    const DIGITS: usize = 19;
    let mut quoted: Option<Vec<u8>> = None;
    let (mut at, mut copied) = (0, 0);
    while at < line.len() {
        match line[at] {
            b'"' => at = string_end(line, at + 1),
            b'-' | b'0'..=b'9' => {
                let rest = &line[at..];
                let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                let length = rest.iter().take_while(is_part).count();
                if length >= DIGITS && is_long_integer(&rest[..length]) {
                    let quoted = quoted.get_or_insert_default();
                    quoted.extend_from_slice(&line[copied..at]);
                    quoted.push(b'"');
                    quoted.extend_from_slice(&rest[..length]);
                    quoted.push(b'"');
                    copied = at + length;
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    if let Some(quoted) = &mut quoted {
        quoted.extend_from_slice(&line[copied..]);
    }
    quoted
}

/// Where the string ends that has begun before this byte.
fn string_end(line: &[u8], mut at: usize) -> usize {
    while let Some(found) = line.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if line[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    line.len()
}

/// Whether these bytes are an integer, as JSON writes one, of more than 64 bits.
fn is_long_integer(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let is_integer =
        digits.iter().all(u8::is_ascii_digit) && digits.first().is_some_and(|first| *first != b'0');
    let text = str::from_utf8(number).unwrap_or_default();
    is_integer && text.parse::<u64>().is_err() && text.parse::<i64>().is_err()
}

const OBJECT: &str = "expected a JSON object, `{…}`";

fn parse<'l, S: DeserializeSeed<'l>>(line: &'l [u8], seed: S) -> Result<S::Value, Fault> {
    let text =
        str::from_utf8(line).map_err(|error| Fault::at(line, error.valid_up_to(), "expected UTF-8 text"))?;
    let start = line.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    if line.get(start) != Some(&b'{') {
        return Err(Fault::at(line, start, OBJECT));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut json);
    value.and_then(|value| json.end().map(|()| value)).map_err(|error| {
        let detail = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let detail = detail.strip_suffix(&place).map(str::to_owned).unwrap_or(detail);
        Fault { line: error.line().max(1), byte: error.column().max(1), detail }
    })
}

impl Fault {
    /// A fault at this byte of a row's text, counted from 0.
    fn at(row: &[u8], at: usize, detail: &str) -> Self {
        let before = &row[..at];
        let start = memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        Self { line: memchr_iter(b'\n', before).count() + 1, byte: at - start + 1, detail: detail.into() }
    }
}

/// Reads an object, and keeps the roots.
#[derive(Clone, Copy)]
struct Roots<'r> {
    roots: &'r [String],
    left: &'r Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Roots<'_> {
    type Value = Vec<Option<Value>>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Roots<'_> {
    type Value = Vec<Option<Value>>;

    fn expecting(&self, to: &mut fmt::Formatter) -> fmt::Result {
        to.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![None; self.roots.len()];
        while let Some(root) = map.next_key_seed(Key { roots: self.roots })? {
            match root {
                Some(root) => values[root] = Some(map.next_value_seed(Part { left: self.left })?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(values)
    }
}

/// Reads a key as the position of its root, if it is one.
struct Key<'r> {
    roots: &'r [String],
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, to: &mut fmt::Formatter) -> fmt::Result {
        to.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.roots.iter().position(|root| root == key))
    }
}

/// Reads any value, as long as there is room left for the values inside it.
#[derive(Clone, Copy)]
struct Part<'r> {
    left: &'r Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => return Err(D::Error::custom(format_args!("more than {MAX_VALUES} values in one row"))),
        }
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = Value;

    fn expecting(&self, to: &mut fmt::Formatter) -> fmt::Result {
        to.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            entries.insert(key, map.next_value_seed(self)?);
        }
        Ok(Value::Object(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn fault(line: &[u8]) -> (usize, String) {
        let Fault { line: number, byte, detail } = roots(line, &["a".into()]).unwrap_err();
        assert_eq!(object(line).unwrap_err(), Fault { line: number, byte, detail: detail.clone() });
        assert_eq!(number, 1);
        (byte, detail)
    }

    #[test]
    fn only_the_roots_are_kept_and_the_last_of_equal_keys_counts() {
        let line = br#"{"x": [1, {"a": 2}], "b": "\u00e9", "a": {"n": [1.5, -1, null, true]}, "b": "last"}"#;
        let found = roots(line, &["a".into(), "missing".into(), "b".into()]).unwrap();
        assert_eq!(found, [Some(json!({"n": [1.5, -1, null, true]})), None, Some(json!("last"))]);
        assert_eq!(Value::from(object(line).unwrap()), serde_json::from_slice::<Value>(line).unwrap());
    }

    #[test]
    fn a_broken_line_says_at_which_byte_and_what_is_expected() {
        assert_eq!(fault(b"{\"a\": 1"), (7, "EOF while parsing an object".into()));
        assert_eq!(fault(b"{\"a\": }"), (7, "expected value".into()));
        assert_eq!(fault(b"{\"x\": NaN}"), (7, "expected value".into()));
        assert_eq!(fault(b"{\"a\": 1} {}"), (10, "trailing characters".into()));
        assert_eq!(fault(b"  [1]"), (3, OBJECT.into()));
        assert_eq!(fault(b"text"), (1, OBJECT.into()));
        assert_eq!(fault(b"{\"a\": \"\xff\"}"), (8, "expected UTF-8 text".into()));
        assert_eq!(
            fault(b"{\"a\": \"\x01\"}").1,
            "control character (\\u0000-\\u001F) found while parsing a string"
        );
    }

    #[test]
    fn a_fault_of_a_row_of_several_lines_is_counted_in_its_own_line() {
        let place = |row: &[u8]| roots(row, &[]).map_err(|fault| (fault.line, fault.byte)).unwrap_err();
        assert_eq!(place(b"{\n  \"a\": x}"), (2, 8));
        assert_eq!(place(b"{\n\n \"\xff\"}"), (3, 3));
        assert_eq!(place(b" \n ["), (2, 2));
    }

    #[test]
    fn very_deep_nesting_is_a_fault_and_no_overflow() {
        let line = format!("{{\"a\": {}", "[".repeat(1_000_000));
        assert_eq!(fault(line.as_bytes()).1, "recursion limit exceeded");
        // What is not wanted is skipped without recursion.
        let line = format!("{{\"x\": {}", "[".repeat(1_000_000));
        assert!(roots(line.as_bytes(), &["a".into()]).is_err());
    }

    #[test]
    fn a_row_of_very_many_values_is_a_fault() {
        let line = |values: usize| format!("{{\"a\": [{}0]}}", "0,".repeat(values - 1));
        assert!(roots(line(MAX_VALUES - 1).as_bytes(), &["a".into()]).is_ok());
        let fault = roots(line(MAX_VALUES).as_bytes(), &["a".into()]).unwrap_err();
        assert_eq!(fault.detail, "more than 1000000 values in one row");
        assert!(roots(line(MAX_VALUES).as_bytes(), &["x".into()]).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_object_or_a_fault_inside_the_line(tail in proptest::collection::vec(any::<u8>(), 0..40)) {
            let line = [b"{\"a\":".as_slice(), &tail].concat();
            if let Err(fault) = roots(&line, &["a".into()]) {
                prop_assert!((1..=line.len() + 1).contains(&fault.byte) && fault.line <= line.len());
                prop_assert!(!fault.detail.chars().any(char::is_control));
            }
        }

        #[test]
        fn a_line_is_read_as_serde_json_reads_it(text in "\\{(\"[ab]\":(1|-2|0\\.5|\"x\\\\n\"|null|\\[\\]|\\{\"c\":3\\}),){0,3}\"c\":[01]?\\}") {
            let plain: Result<Value, _> = serde_json::from_str(&text);
            let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
            match roots(text.as_bytes(), &names) {
                Ok(values) => {
                    let plain = plain.unwrap();
                    prop_assert!(names.iter().zip(&values).all(|(name, value)| plain.get(name) == value.as_ref()));
                }
                Err(_) => prop_assert!(plain.is_err()),
            }
        }
    }
}
