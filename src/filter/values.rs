//! The values that cuts ask of a table of rows, one column at a time.

use std::borrow::Cow;

use arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use serde_json::{Map, Value};

use super::names::number;
use crate::dataset::whole::{Rows, Table};
use crate::record::{cell, pick};

/// A column, or a path into one, of a table.
pub(super) struct Values<'t> {
    path: &'t str,
    place: Place<'t>,
}

enum Place<'t> {
    /// The column of this name, or the one in which the rest of the path is looked for.
    Arrow(&'t dyn Array, Option<&'t str>),
    Objects(&'t [Map<String, Value>]),
    Nowhere,
}

impl<'t> Values<'t> {
    pub(super) fn new(table: &'t Table, path: &'t str) -> Self {
        let place = match &table.rows {
            Rows::Arrow(batch) => in_batch(batch, path),
            Rows::Objects(objects) => Place::Objects(objects),
        };
        Self { path, place }
    }

    /// The value in a row; `None` where there is none.
    pub(super) fn get(&self, row: usize) -> Result<Option<Cow<'t, Value>>, String> {
        match self.place {
            Place::Arrow(array, None) => cell::cell(array, row).map(|value| Some(Cow::Owned(value))),
            Place::Arrow(array, Some(rest)) => {
                let value = cell::cell(array, row)?;
                Ok(pick::find(&value, rest).cloned().map(Cow::Owned))
            }
            Place::Objects(objects) => Ok(in_object(&objects[row], self.path).map(Cow::Borrowed)),
            Place::Nowhere => Ok(None),
        }
    }

    /// The column as numbers, where it holds nothing else.
    pub(super) fn numbers(&self) -> Option<Float64Array> {
        let Place::Arrow(array, None) = self.place else { return None };
        // A single is the short decimal that people see, not the double next to it: that is for `get`.
        let is_exact = match array.data_type() {
            DataType::Float16 | DataType::Float32 => false,
            other => other.is_numeric(),
        };
        let floats = is_exact.then(|| cast(array, &DataType::Float64).ok())??;
        Some(floats.as_primitive::<Float64Type>().clone())
    }
}

fn in_batch<'t>(batch: &'t RecordBatch, path: &'t str) -> Place<'t> {
    if let Some(array) = batch.column_by_name(path) {
        return Place::Arrow(array, None);
    }
    let within = path.split_once('.').and_then(|(root, rest)| Some((batch.column_by_name(root)?, rest)));
    within.map_or(Place::Nowhere, |(array, rest)| Place::Arrow(array, Some(rest)))
}

/// As [`pick::find`] finds it in a value that is this object.
fn in_object<'v>(object: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    object.get(path).or_else(|| {
        let (root, rest) = path.split_once('.')?;
        pick::find(object.get(root)?, rest)
    })
}

/// A column's numbers, read as they are asked for.
pub(super) enum Numbers<'t> {
    /// All at once.
    Array(Float64Array),
    /// One by one.
    Each(Values<'t>),
}

impl<'t> Numbers<'t> {
    pub(super) fn new(table: &'t Table, path: &'t str) -> Self {
        let values = Values::new(table, path);
        values.numbers().map_or(Self::Each(values), Self::Array)
    }

    /// The number in a row; `None` where it is missing, null or NaN. The error says what is there instead.
    pub(super) fn get(&self, row: usize) -> Result<Option<f64>, String> {
        match self {
            Self::Array(array) => {
                let value = array.is_valid(row).then(|| array.value(row));
                Ok(value.filter(|value| !value.is_nan()))
            }
            Self::Each(values) => values.get(row)?.map_or(Ok(None), |value| number(&value)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Decimal128Array, Float32Array, Int64Array, StringArray, StructArray};
    use arrow::datatypes::Field;
    use serde_json::json;

    use super::*;
    use crate::dataset::whole::Ids;

    /// A table of these columns, with rows `f#0`, `f#1`, …
    pub(in crate::filter) fn arrow_table(columns: Vec<(&str, ArrayRef)>) -> Table {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let ids = Ids::Numbered { label: "f".into(), rows: (0..batch.num_rows() as u64).collect() };
        Table { file: 0, ids, rows: Rows::Arrow(batch) }
    }

    /// A table of these objects, with rows `f#0`, `f#1`, …
    pub(in crate::filter) fn object_table(rows: &[Value]) -> Table {
        let ids = Ids::Numbered { label: "f".into(), rows: (0..rows.len() as u64).collect() };
        let objects = rows.iter().map(|row| row.as_object().unwrap().clone()).collect();
        Table { file: 0, ids, rows: Rows::Objects(objects) }
    }

    #[test]
    fn a_literal_name_wins_over_a_path_in_both_forms() {
        let inner: ArrayRef = Arc::new(StringArray::from(vec![Some("nested"), None]));
        let fields = vec![Field::new("lang", DataType::Utf8, true)].into();
        let meta: ArrayRef = Arc::new(StructArray::new(fields, vec![inner], None));
        let literal: ArrayRef = Arc::new(StringArray::from(vec!["literal", "x"]));
        let both = arrow_table(vec![("meta", Arc::clone(&meta)), ("meta.lang", literal)]);
        let one = arrow_table(vec![("meta", meta)]);
        let get = |table: &Table, path: &str, row: usize| {
            Values::new(table, path).get(row).unwrap().map(Cow::into_owned)
        };
        assert_eq!(get(&both, "meta.lang", 0), Some(json!("literal")));
        assert_eq!(get(&one, "meta.lang", 0), Some(json!("nested")));
        assert_eq!(get(&one, "meta.lang", 1), Some(json!(null)));
        assert_eq!(get(&one, "meta.none", 0), None);
        assert_eq!(get(&one, "none", 0), None);
        let objects =
            object_table(&[json!({"meta": {"lang": "a"}, "meta.lang": "b"}), json!({"meta": {"lang": "a"}})]);
        assert_eq!(get(&objects, "meta.lang", 0), Some(json!("b")));
        assert_eq!(get(&objects, "meta.lang", 1), Some(json!("a")));
        assert_eq!(get(&objects, "meta.x", 1), None);
    }

    #[test]
    fn numbers_are_those_that_people_see() {
        let decimals = Decimal128Array::from(vec![1250]).with_precision_and_scale(10, 2).unwrap();
        let table = arrow_table(vec![
            ("int", Arc::new(Int64Array::from(vec![3]))),
            ("single", Arc::new(Float32Array::from(vec![0.7]))),
            ("nan", Arc::new(Float64Array::from(vec![f64::NAN]))),
            ("null", Arc::new(Int64Array::from(vec![None]))),
            ("decimal", Arc::new(decimals)),
            ("text", Arc::new(StringArray::from(vec!["2.5"]))),
            ("word", Arc::new(StringArray::from(vec!["good"]))),
        ]);
        let get = |path: &str| Numbers::new(&table, path).get(0);
        assert_eq!((get("int"), get("single")), (Ok(Some(3.0)), Ok(Some(0.7))));
        assert_eq!((get("nan"), get("null"), get("none")), (Ok(None), Ok(None), Ok(None)));
        assert_eq!((get("decimal"), get("text")), (Ok(Some(12.5)), Ok(Some(2.5))));
        assert_eq!(get("word").unwrap_err(), "text (`good`), and no number");
    }
}
