//! A record: one row of a dataset, with the fields that were chosen as typed values.

use serde_json::Value;
use std::borrow::Cow;

pub mod cell;
pub mod pick;

/// The most values that one row may hold, those inside its lists and objects counted.
///
/// A row of a few megabytes can unfold to gigabytes of [`Value`]s (`[0,0,0,…`, or a run-length encoded
/// list); past this it is unreadable, so that memory stays bounded whatever the file says.
pub const MAX_VALUES: usize = 1_000_000;

/// The longest text of one row, in bytes: a line of JSON, or a value of another format.
pub const MAX_TEXT: usize = 64 << 20;

/// One row of a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// `<file path within the dataset>#<0-based row of that file>`, or the text of the user's id column.
    pub id: String,
    /// The index of its file in the dataset.
    pub file: usize,
    /// The chosen columns, in the order asked for; `Null` where the row has none.
    pub fields: Vec<Value>,
    /// The columns to carry along to the output, in the order asked for.
    pub kept: Vec<(String, Value)>,
}

impl Record {
    /// Roughly what the record holds, in bytes: its texts, and a word for every other value.
    pub fn size(&self) -> usize {
        let kept = self.kept.iter().map(|(name, value)| name.len() + size(value));
        self.id.len() + self.fields.iter().map(size).sum::<usize>() + kept.sum::<usize>()
    }
}

/// The text of a value, as a lens is given it.
///
/// A string is itself, `null` is empty, a number or a boolean is its JSON text (`2.5`, `true`), a list or
/// an object is compact JSON.
pub fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null => Cow::Borrowed(""),
        other => Cow::Owned(other.to_string()),
    }
}

fn size(value: &Value) -> usize {
    const WORD: usize = 8;
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| WORD + size(item)).sum(),
        Value::Object(entries) => entries.iter().map(|(key, value)| WORD + key.len() + size(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => WORD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_of_a_string_is_the_string_and_of_the_rest_compact_json() {
        let cases = [
            (json!("a \"b\"\n"), "a \"b\"\n"),
            (json!(null), ""),
            (json!(2.0), "2.0"),
            (json!(18_446_744_073_709_551_615_u64), "18446744073709551615"),
            (json!(true), "true"),
            (json!(["a", 1, null]), r#"["a",1,null]"#),
            (json!({"b": "é", "a": []}), r#"{"b":"é","a":[]}"#),
        ];
        for (value, expected) in cases {
            assert_eq!(text(&value), expected);
        }
    }

    #[test]
    fn the_size_of_a_record_counts_its_texts_wherever_they_are() {
        let record = Record {
            id: "f#0".into(),
            file: 0,
            fields: vec![json!("12345"), json!(["1234567"])],
            kept: vec![("k".into(), json!({"key": "value"}))],
        };
        assert_eq!(record.size(), 3 + 5 + (8 + 7) + 1 + (8 + 3 + 5));
    }
}
