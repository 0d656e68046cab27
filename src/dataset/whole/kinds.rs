//! The types of JSON rows: what kinds of value each key has, and the Arrow type that holds all of them.

use crate::dataset::error::{Error, plain};
use arrow::datatypes::{DataType, Field, Schema};
use serde_json::{Map, Number, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// The most keys, those inside of objects counted.
const KEYS: usize = 10_000;

/// Lists and objects inside of each other, up to which a column has a type of its own. Parquet takes three levels for a
/// list, and readers refuse very deep schemas.
const DEEPEST: usize = 30;

/// The largest integer up to which a double holds each.
pub(super) const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;

/// Why a column is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Misfit {
    /// Two kinds of value.
    Kinds(&'static str, &'static str),
    /// Integers that a double does not hold, beside fractions.
    Fractions,
    /// Integers that no type of 64 bits holds together.
    Integers,
    /// Objects that have no key in any row.
    NoKeys,
    Depth,
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kinds(one, other) => write!(to, "it has {one} and {other}"),
            Self::Fractions => write!(to, "it has integers beyond {EXACT} beside fractions"),
            Self::Integers => to.write_str("it has negative integers and some beyond 9223372036854775807"),
            Self::NoKeys => to.write_str("it has objects without any key"),
            Self::Depth => write!(to, "it is nested more than {DEEPEST} levels deep"),
        }
    }
}

/// The kinds of value seen in one place.
#[derive(Debug, Default)]
struct Kinds {
    bool: bool,
    string: bool,
    float: bool,
    integer: Option<Integers>,
    list: Option<Box<Kinds>>,
    object: Option<Keys>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Integers {
    is_negative: bool,
    /// Some are beyond 63 bits.
    is_unsigned: bool,
    /// Some are beyond what a double holds exactly.
    is_long: bool,
}

/// Keys in the order of their first appearance.
#[derive(Debug, Default)]
struct Keys {
    kinds: Vec<(String, Kinds)>,
    positions: HashMap<String, usize>,
}

impl Keys {
    /// The kinds at a key, which most rows have in the same place.
    fn at(&mut self, key: &str, guess: usize, count: &mut usize) -> &mut Kinds {
        let known = match self.kinds.get(guess) {
            Some((known, _)) if known == key => Some(guess),
            _ => self.positions.get(key).copied(),
        };
        let position = known.unwrap_or_else(|| {
            *count += 1;
            self.positions.insert(key.to_owned(), self.kinds.len());
            self.kinds.push((key.to_owned(), Kinds::default()));
            self.kinds.len() - 1
        });
        &mut self.kinds[position].1
    }
}

impl Kinds {
    /// Adds a value. `count` grows by the keys that are new.
    fn add(&mut self, value: &Value, depth: usize, count: &mut usize) -> Result<(), Misfit> {
        match value {
            Value::Null => return Ok(()),
            Value::Bool(_) => self.bool = true,
            Value::String(_) => self.string = true,
            Value::Number(number) => self.number(number),
            Value::Array(_) | Value::Object(_) if depth >= DEEPEST => return Err(Misfit::Depth),
            Value::Array(items) => {
                let kinds = self.list.get_or_insert_default();
                items.iter().try_for_each(|item| kinds.add(item, depth + 1, count))?;
            }
            Value::Object(entries) => {
                let keys = self.object.get_or_insert_default();
                for (place, (key, value)) in entries.iter().enumerate() {
                    keys.at(key, place, count).add(value, depth + 1, count)?;
                    if *count > KEYS {
                        break;
                    }
                }
            }
        }
        self.check()
    }

    fn number(&mut self, number: &Number) {
        let mut seen = self.integer.unwrap_or_default();
        if let Some(natural) = number.as_u64() {
            seen.is_unsigned |= i64::try_from(natural).is_err();
            seen.is_long |= natural > EXACT;
        } else if let Some(integer) = number.as_i64() {
            seen.is_negative = true;
            seen.is_long |= integer.unsigned_abs() > EXACT;
        } else {
            self.float = true;
            return;
        }
        self.integer = Some(seen);
    }

    fn check(&self) -> Result<(), Misfit> {
        let is_number = self.float || self.integer.is_some();
        let kinds = [
            (self.bool, "booleans"),
            (is_number, "numbers"),
            (self.string, "strings"),
            (self.list.is_some(), "lists"),
            (self.object.is_some(), "objects"),
        ];
        let mut seen = kinds.into_iter().filter(|(is_seen, _)| *is_seen);
        if let (Some((_, one)), Some((_, other))) = (seen.next(), seen.next()) {
            return Err(Misfit::Kinds(one, other));
        }
        match self.integer {
            Some(Integers { is_long: true, .. }) if self.float => Err(Misfit::Fractions),
            Some(Integers { is_negative: true, is_unsigned: true, .. }) => Err(Misfit::Integers),
            _ => Ok(()),
        }
    }

    fn data_type(&self) -> Result<DataType, Misfit> {
        Ok(match self {
            Self { bool: true, .. } => DataType::Boolean,
            Self { string: true, .. } => DataType::Utf8,
            Self { float: true, .. } => DataType::Float64,
            Self { integer: Some(Integers { is_unsigned: true, .. }), .. } => DataType::UInt64,
            Self { integer: Some(_), .. } => DataType::Int64,
            Self { list: Some(items), .. } => {
                DataType::List(Arc::new(Field::new_list_field(items.data_type()?, true)))
            }
            Self { object: Some(keys), .. } if keys.kinds.is_empty() => return Err(Misfit::NoKeys),
            Self { object: Some(keys), .. } => {
                let field = |(key, kinds): &(String, Self)| Ok(Field::new(key, kinds.data_type()?, true));
                DataType::Struct(keys.kinds.iter().map(field).collect::<Result<_, _>>()?)
            }
            Self { .. } => DataType::Null,
        })
    }

    fn count(&self) -> usize {
        let items = self.list.as_ref().map_or(0, |items| items.count());
        let keys = self
            .object
            .as_ref()
            .map_or(0, |keys| keys.kinds.iter().map(|(_, kinds)| 1 + kinds.count()).sum());
        items + keys
    }
}

/// The columns of JSON rows, as they are seen.
#[derive(Debug, Default)]
pub(super) struct Inferred {
    columns: Vec<(String, Result<Kinds, Misfit>)>,
    positions: HashMap<String, usize>,
    keys: usize,
}

impl Inferred {
    /// Adds a row. `name` is what an error calls the dataset.
    pub(super) fn add(&mut self, row: &Map<String, Value>, name: &str) -> Result<(), Error> {
        for (place, (key, value)) in row.iter().enumerate() {
            let position = match self.columns.get(place) {
                Some((known, _)) if known == key => Some(place),
                _ => self.positions.get(key).copied(),
            };
            let position = position.unwrap_or_else(|| {
                self.keys += 1;
                self.positions.insert(key.clone(), self.columns.len());
                self.columns.push((key.clone(), Ok(Kinds::default())));
                self.columns.len() - 1
            });
            let column = &mut self.columns[position].1;
            if let Ok(kinds) = column
                && let Err(misfit) = kinds.add(value, 0, &mut self.keys)
            {
                // A column of text has no keys.
                self.keys = self.keys.saturating_sub(kinds.count());
                *column = Err(misfit);
            }
            if self.keys > KEYS {
                return Err(self.too_many(name));
            }
        }
        Ok(())
    }

    fn too_many(&self, name: &str) -> Error {
        let count = |(_, kinds): &&(String, Result<Kinds, Misfit>)| kinds.as_ref().map_or(0, Kinds::count);
        let column = self.columns.iter().max_by_key(count).map_or("", |(column, _)| column);
        Error::TooManyKeys { name: plain(name), column: plain(column), most: KEYS }
    }

    /// The schema that holds every row, and which columns are text because no type of their own does.
    pub(super) fn finish(self) -> (Schema, Vec<String>) {
        let mut notes = Vec::new();
        let columns = self.columns.into_iter().map(|(name, kinds)| {
            let data_type = kinds.and_then(|kinds| kinds.data_type()).unwrap_or_else(|misfit| {
                notes.push(format!(
                    "column `{}` is text, its values other than strings as JSON: {misfit}",
                    plain(&name)
                ));
                DataType::Utf8
            });
            Field::new(name, data_type, true)
        });
        (Schema::new(columns.collect::<Vec<_>>()), notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn inferred(rows: &[Value]) -> Result<(Schema, Vec<String>), Error> {
        let mut inferred = Inferred::default();
        for row in rows {
            inferred.add(row.as_object().unwrap(), "rows.jsonl")?;
        }
        Ok(inferred.finish())
    }

    fn shown(rows: &[Value]) -> String {
        let (schema, notes) = inferred(rows).unwrap();
        let columns = schema.fields().iter().map(|field| format!("{}: {}", field.name(), field.data_type()));
        columns.chain(notes).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_key_has_the_type_that_holds_all_its_values() {
        let rows = [
            json!({"text": "a", "n": 1, "x": null, "tags": [], "meta": {"lang": "en", "k": [1, 2]}}),
            json!({"n": 2.5, "u": u64::MAX, "ok": true, "i": i64::MIN, "meta": {"k": [0.5], "more": null}}),
            json!({"tags": ["t", null], "i": 3, "u": 0, "meta": null, "turns": [{"role": "u"}, {"n": 1}]}),
        ];
        insta::assert_snapshot!(shown(&rows), @r#"
        text: Utf8
        n: Float64
        x: Null
        tags: List(Utf8)
        meta: Struct("lang": Utf8, "k": List(Float64), "more": Null)
        u: UInt64
        ok: Boolean
        i: Int64
        turns: List(Struct("role": Utf8, "n": Int64))
        "#);
    }

    #[test]
    fn kinds_that_do_not_fit_together_make_text_of_the_whole_column() {
        let rows = [
            json!({"a": 1, "b": {"c": [1]}, "d": {}, "e": 1_u64 << 60, "f": -1, "g": true, "h": [[{}]]}),
            json!({"a": "x", "b": {"c": {"k": 1}}, "d": {}, "e": 0.5, "f": u64::MAX, "g": 1, "h": []}),
        ];
        insta::assert_snapshot!(shown(&rows), @r"
        a: Utf8
        b: Utf8
        d: Utf8
        e: Utf8
        f: Utf8
        g: Utf8
        h: Utf8
        column `a` is text, its values other than strings as JSON: it has numbers and strings
        column `b` is text, its values other than strings as JSON: it has lists and objects
        column `d` is text, its values other than strings as JSON: it has objects without any key
        column `e` is text, its values other than strings as JSON: it has integers beyond 9007199254740992 beside fractions
        column `f` is text, its values other than strings as JSON: it has negative integers and some beyond 9223372036854775807
        column `g` is text, its values other than strings as JSON: it has booleans and numbers
        column `h` is text, its values other than strings as JSON: it has objects without any key
        ");
    }

    #[test]
    fn very_deep_values_are_text() {
        let mut value = json!(1);
        for _ in 0..40 {
            value = json!([value]);
        }
        assert!(shown(&[json!({"a": value})]).contains("column `a` is text"));
    }

    #[test]
    fn very_many_keys_are_an_error_unless_their_column_is_text() {
        let row = |n: usize| json!({"id": "x", "counts": {format!("word {n}"): 1}});
        let rows: Vec<_> = (0..KEYS).map(row).collect();
        let error = inferred(&rows).unwrap_err();
        insta::assert_snapshot!(error, @"`rows.jsonl` has rows of more than 10000 different keys, most of them in column `counts`: write JSON lines, which keep rows as they are");
        let mut rows: Vec<_> = (0..KEYS).map(row).collect();
        rows.insert(9, json!({"counts": "none"}));
        assert!(inferred(&rows).is_ok());
    }
}
