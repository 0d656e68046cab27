//! A look into the first rows of a sequence, for the columns that it has.

use super::{Broken, Sequence};
use crate::dataset::Column;
use crate::dataset::wanted::Known;
use crate::record::pick;
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};

/// The most rows that are looked at.
const ROWS: u64 = 1_000;

/// The bytes after which no further row is looked at.
const BYTES: u64 = 8 << 20;

/// What a look has found.
#[derive(Debug)]
pub(in crate::dataset) struct Look {
    /// The columns that there are.
    pub(in crate::dataset) known: Known,
    /// Those of the wanted columns that there are not, in their order.
    pub(in crate::dataset) missing: Vec<String>,
    /// How many rows were looked at: none where the format declares its columns.
    pub(in crate::dataset) rows: u64,
    /// Why the first of the rows that cannot be read cannot, if no row can.
    pub(in crate::dataset) fault: Option<String>,
}

/// The columns of a sequence at its beginning: those that it declares, or else those of its first rows (at most
/// 1,000, of about 8 MiB), which are read by this.
pub(in crate::dataset) fn look(sequence: &mut Sequence, wanted: &[String]) -> Result<Look, Broken> {
    if let Some(declared) = declared(sequence, wanted) {
        return Ok(declared);
    }
    let mut seen = Seen::default();
    let mut missing = wanted.to_vec();
    let mut fault = None;
    let (mut rows, mut bytes) = (0, 0);
    let is_whole = loop {
        if rows == ROWS || bytes >= BYTES {
            break false;
        }
        if !sequence.advance()? {
            break true;
        }
        bytes += sequence.size();
        rows += 1;
        match sequence.row() {
            Ok(object) => {
                seen.add(&object);
                let object = Value::Object(object);
                missing.retain(|column| pick::find(&object, column).is_none());
            }
            Err(found) => {
                fault.get_or_insert(found);
            }
        }
    };
    let note = if is_whole { String::new() } else { format!(" (in its first {rows} rows)") };
    fault = fault.filter(|_| seen.kinds.is_empty());
    let known = Known { columns: seen.columns(), nested: seen.nested.into_iter().collect(), note };
    Ok(Look { known, missing, rows, fault })
}

/// The columns that a sequence declares before any row; None of JSON.
pub(in crate::dataset) fn declared(sequence: &Sequence, wanted: &[String]) -> Option<Look> {
    let (known, missing) = if let Sequence::Arrow(rows) = sequence {
        (rows.known(), wanted.iter().filter(|column| !rows.has(column)).cloned().collect())
    } else {
        let columns = sequence.columns()?;
        let names: BTreeSet<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let missing = wanted.iter().filter(|column| !names.contains(column.as_str())).cloned().collect();
        (Known { columns, ..Known::default() }, missing)
    };
    Some(Look { known, missing, rows: 0, fault: None })
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
