//! A look into the first rows of a file of JSON lines, for the columns that it has.

use super::lines::{Line, Lines};
use super::{at, row, within};
use crate::dataset::error::{Error, plain};
use crate::dataset::wanted::{self, Known};
use crate::dataset::{Column, Request};
use crate::record::pick;
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Seek};

/// The most rows that are looked at.
const ROWS: u64 = 1_000;

/// The bytes after which no further row is looked at.
const BYTES: u64 = 8 << 20;

/// The columns of the first rows; an error if one that is wanted is in none of them.
pub(super) fn columns(lines: &mut Lines<impl Read + Seek>, request: &Request) -> Result<Vec<Column>, Error> {
    let mut seen = Seen::default();
    let mut missing: Vec<&String> = wanted::columns(request).collect();
    let mut fault = None;
    let (mut number, mut rows, mut bytes) = (0, 0, 0);
    let is_whole = loop {
        if rows == ROWS || bytes >= BYTES {
            break false;
        }
        let line = lines.next().map_err(|error| Error::io(&request.name, error))?;
        let Some(line) = line else { break true };
        number += 1;
        bytes += match line {
            Line::Blank => continue,
            Line::Text(text) => text.len() as u64,
            Line::TooLong(length) => length,
        };
        rows += 1;
        match within(&line, row::object) {
            Ok(object) => {
                seen.add(&object);
                let object = Value::Object(object);
                missing.retain(|column| pick::find(&object, column).is_none());
            }
            Err(found) => {
                fault.get_or_insert_with(|| at(number, &found));
            }
        }
    };
    if let (true, Some(detail)) = (seen.kinds.is_empty(), fault) {
        return Err(Error::NoObjects { name: plain(&request.name), rows, detail: plain(&detail) });
    }
    let note = if is_whole { String::new() } else { format!(" (in its first {rows} rows)") };
    let known = Known { columns: seen.columns(), nested: seen.nested.into_iter().collect(), note };
    match missing.first() {
        Some(column) => Err(known.unknown(&request.name, column)),
        None => Ok(known.columns),
    }
}

/// The keys that were seen, and what kinds of value they had.
#[derive(Default)]
struct Seen {
    kinds: Vec<(String, BTreeSet<&'static str>)>,
    positions: HashMap<String, usize>,
    nested: BTreeSet<String>,
}

impl Seen {
    fn add(&mut self, object: &Map<String, Value>) {
        for (key, value) in object {
            let position = self.positions.get(key).copied().unwrap_or_else(|| {
                self.positions.insert(key.clone(), self.kinds.len());
                self.kinds.push((key.clone(), BTreeSet::new()));
                self.kinds.len() - 1
            });
            self.kinds[position].1.insert(kind(value));
            if let Value::Object(inner) = value {
                self.nested.extend(inner.keys().map(|inner| format!("{key}.{inner}")));
            }
        }
    }

    fn columns(&mut self) -> Vec<Column> {
        let kinds = std::mem::take(&mut self.kinds).into_iter();
        let columns = kinds.map(|(name, kinds)| Column { name, kind: Vec::from_iter(kinds).join(" or ") });
        columns.collect()
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}
