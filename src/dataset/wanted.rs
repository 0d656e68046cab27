//! What is wanted of every row: the columns, checked against what exists, and the record they make.

use super::error::{Error, listed, nearest, plain};
use super::gather::Member;
use super::shape::conversation;
use super::{Column, Request, Shape, Unreadable};
use crate::record::pick::Picker;
use crate::record::{Record, text};
use serde_json::Value;

/// The columns that a dataset has.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The top-level columns.
    pub(super) columns: Vec<Column>,
    /// Dotted paths to what is inside them, for suggestions.
    pub(super) nested: Vec<String>,
    /// What a person must know about the list, or nothing.
    pub(super) note: String,
}

impl Known {
    /// The error for a column that is not there.
    pub(super) fn unknown(&self, name: &str, column: &str) -> Error {
        const LISTED: usize = 20;
        let columns = || self.columns.iter().map(|column| column.name.as_str());
        let near = nearest(column, columns().chain(self.nested.iter().map(String::as_str)));
        let near = near.map(|near| format!(" (did you mean `{}`?)", plain(near)));
        Error::UnknownColumn {
            name: plain(name),
            column: plain(column),
            nearest: near.unwrap_or_default(),
            exists: format!("{}{}", listed(columns(), LISTED), self.note),
        }
    }
}

/// The columns that were asked for, and the file whose rows they come from.
#[derive(Debug)]
pub(super) struct Wanted {
    /// What messages call the file.
    pub(super) name: String,
    /// All columns that are read: fields, kept, id.
    pub(super) columns: Vec<String>,
    pub(super) picker: Picker,
    /// The file's path within the dataset, which its rows are known by, and its index.
    file: (String, usize),
    shape: Shape,
    fields: usize,
    keep: Vec<String>,
    id: bool,
}

impl Wanted {
    pub(super) fn new(request: &Request, member: &Member, index: usize) -> Self {
        let columns: Vec<_> = columns(request).cloned().collect();
        Self {
            name: member.label.clone(),
            picker: Picker::new(&columns),
            columns,
            file: (member.path.clone(), index),
            shape: request.shape,
            fields: request.columns.len(),
            keep: request.keep.clone(),
            id: request.id.is_some(),
        }
    }

    /// The record of a row, from its roots (in the order of [`Picker::roots`]).
    pub(super) fn record(&self, row: u64, roots: &mut [Option<Value>]) -> Record {
        let mut fields = self.picker.pick(roots);
        let own = if self.id { fields.pop() } else { None };
        let own = own.map(|value| text(&value).into_owned()).filter(|id| !id.trim().is_empty());
        let kept = self.keep.iter().cloned().zip(fields.split_off(self.fields)).collect();
        if self.shape == Shape::Conversation {
            let pair = fields.first().and_then(conversation);
            fields = pair.map_or(vec![Value::Null; 2], |pair| pair.map(Value::String).into());
        }
        Record { id: own.unwrap_or_else(|| self.id(row)), file: self.file.1, fields, kept }
    }

    pub(super) fn unreadable(&self, row: u64, detail: &str) -> Unreadable {
        Unreadable { id: self.id(row), file: self.file.1, detail: plain(detail) }
    }

    fn id(&self, row: u64) -> String {
        format!("{}#{row}", self.file.0)
    }
}

/// The columns of a request in the order of [`Wanted`]'s picker: fields, kept, id.
pub(super) fn columns(request: &Request) -> impl Iterator<Item = &String> {
    request.columns.iter().chain(&request.keep).chain(&request.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::gather::At;
    use crate::dataset::layout::{Compression, Format, Parameters};
    use crate::dataset::tests::no_hub;
    use serde_json::json;

    fn wanted(id: Option<&str>) -> Wanted {
        let columns = vec!["text".into(), "meta.n".into()];
        let request = Request {
            keep: vec!["url".into()],
            id: id.map(str::to_owned),
            ..Request::new("data/rows.jsonl", columns, no_hub())
        };
        let member = Member {
            path: "rows.jsonl".into(),
            label: "data/rows.jsonl".into(),
            size: 0,
            format: Format::Jsonl,
            compression: Compression::None,
            parameters: Parameters::default(),
            at: At::Local("data/rows.jsonl".into()),
        };
        Wanted::new(&request, &member, 3)
    }

    fn record(wanted: &Wanted, row: &Value) -> Record {
        let mut roots: Vec<_> = wanted.picker.roots().iter().map(|root| row.get(root).cloned()).collect();
        wanted.record(17, &mut roots)
    }

    #[test]
    fn a_record_has_the_fields_in_order_and_what_is_kept() {
        let row = json!({"url": "u", "meta": {"n": 3}, "text": "t"});
        let expected = Record {
            id: "rows.jsonl#17".into(),
            file: 3,
            fields: vec![json!("t"), json!(3)],
            kept: vec![("url".into(), json!("u"))],
        };
        assert_eq!(record(&wanted(None), &row), expected);
    }

    #[test]
    fn the_users_id_is_taken_where_a_row_has_one() {
        let wanted = wanted(Some("key"));
        assert_eq!(record(&wanted, &json!({"key": "k1"})).id, "k1");
        assert_eq!(record(&wanted, &json!({"key": 5})).id, "5");
        for row in [json!({"key": ""}), json!({"key": " \n"}), json!({"key": null}), json!({})] {
            assert_eq!(record(&wanted, &row).id, "rows.jsonl#17");
        }
    }

    #[test]
    fn an_unknown_column_is_told_what_exists_and_what_is_near() {
        let columns = (0..22).map(|n| Column { name: format!("column{n}\x07"), kind: "string".into() });
        let known =
            Known { columns: columns.collect(), nested: vec!["meta.text".into()], note: String::new() };
        let error = known.unknown("rows.jsonl", "meta.txt").to_string();
        assert!(error.starts_with(
            "no column `meta.txt` in `rows.jsonl` (did you mean `meta.text`?); it has column0\\u{7}, "
        ));
        assert!(error.ends_with("column19\\u{7} and 2 more"), "{error}");
        assert!(known.unknown("rows.jsonl", "zzz").to_string().contains("`rows.jsonl`; it has"));
    }
}
