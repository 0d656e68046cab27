//! The values that cuts ask of a table of rows, one column at a time.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use minijinja::value::Value as EngineValue;
use serde_json::Value;

use super::condition::value;
use super::names::number;
use crate::dataset::whole::{Rows, Table};
use crate::record::cell::cell;

/// A column, or a path into one, of a table.
pub(super) struct Values<'t> {
    table: &'t Table,
    path: &'t str,
    /// The column of this name, so that it is not looked for in every row.
    array: Option<&'t ArrayRef>,
}

impl<'t> Values<'t> {
    pub(super) fn new(table: &'t Table, path: &'t str) -> Self {
        let array = match &table.rows {
            Rows::Arrow(batch) => batch.column_by_name(path),
            Rows::Objects(_) => None,
        };
        Self { table, path, array }
    }

    /// The value in a row; `None` where there is none.
    pub(super) fn get(&self, row: usize) -> Result<Option<Value>, String> {
        match self.array {
            Some(array) => cell(array, row).map(Some),
            None => self.table.value(self.path, row),
        }
    }

    /// The value in a row as conditions have it; `None` where there is none, or it is null or NaN. Unlike in JSON there is
    /// infinity, and a decimal is a number.
    pub(super) fn engine(&self, row: usize) -> Result<Option<EngineValue>, String> {
        if let Some(infinite) = self.infinite(row) {
            return Ok(Some(EngineValue::from(infinite)));
        }
        let found = self.get(row)?.filter(|found| !found.is_null());
        if self.array.is_some_and(|array| is_decimal(array.data_type())) {
            // Of whole numbers all digits count.
            let whole = found.as_ref().and_then(|found| found.as_str()?.parse::<i128>().ok());
            return match whole {
                Some(whole) => Ok(Some(EngineValue::from(whole))),
                None => Ok(found.map_or(Ok(None), |found| number(&found))?.map(EngineValue::from)),
            };
        }
        Ok(found.map(value))
    }

    /// The infinity that a row has, which JSON lacks.
    fn infinite(&self, row: usize) -> Option<f64> {
        let array = self.array.filter(|array| array.is_valid(row))?;
        let float = match array.data_type() {
            DataType::Float16 => array.as_primitive::<Float16Type>().value(row).to_f64(),
            DataType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(row)),
            DataType::Float64 => array.as_primitive::<Float64Type>().value(row),
            _ => return None,
        };
        Some(float).filter(|float| float.is_infinite())
    }

    /// The column as numbers, where it holds nothing else.
    fn numbers(&self) -> Option<Float64Array> {
        let array = self.array?;
        // A single is the short decimal that people see, not the double next to it: that is for `get`. So is a decimal,
        // which a division by its scale may miss by a bit.
        let is_exact = match array.data_type() {
            DataType::Float16 | DataType::Float32 => false,
            other => other.is_numeric() && !is_decimal(other),
        };
        let floats = is_exact.then(|| cast(array, &DataType::Float64).ok())??;
        Some(floats.as_primitive::<Float64Type>().clone())
    }
}

fn is_decimal(kind: &DataType) -> bool {
    use DataType::{Decimal32, Decimal64, Decimal128, Decimal256};
    matches!(kind, Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..))
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
            Self::Each(values) => match values.infinite(row) {
                Some(infinite) => Ok(Some(infinite)),
                None => values.get(row)?.map_or(Ok(None), |value| number(&value)),
            },
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Float32Array, Int64Array, RecordBatch, StringArray};

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
    fn numbers_are_those_that_people_see() {
        let decimals = Decimal128Array::from(vec![1250]).with_precision_and_scale(10, 2).unwrap();
        let whole =
            Decimal128Array::from(vec![9_007_199_254_740_993]).with_precision_and_scale(20, 0).unwrap();
        let table = arrow_table(vec![
            ("int", Arc::new(Int64Array::from(vec![3]))),
            ("single", Arc::new(Float32Array::from(vec![0.7]))),
            ("nan", Arc::new(Float64Array::from(vec![f64::NAN]))),
            ("null", Arc::new(Int64Array::from(vec![None]))),
            ("decimal", Arc::new(decimals)),
            ("whole", Arc::new(whole)),
            ("text", Arc::new(StringArray::from(vec!["2.5"]))),
            ("word", Arc::new(StringArray::from(vec!["good"]))),
        ]);
        let get = |path: &str| Numbers::new(&table, path).get(0);
        assert_eq!((get("int"), get("single")), (Ok(Some(3.0)), Ok(Some(0.7))));
        assert_eq!((get("nan"), get("null"), get("none")), (Ok(None), Ok(None), Ok(None)));
        assert_eq!((get("decimal"), get("text")), (Ok(Some(12.5)), Ok(Some(2.5))));
        assert_eq!(get("word").unwrap_err(), "text (`good`), and no number");
        let engine = |path: &str| Values::new(&table, path).engine(0).unwrap();
        assert_eq!((engine("decimal"), engine("text")), (Some(12.5.into()), Some("2.5".into())));
        assert_eq!(engine("whole").unwrap().to_string(), "9007199254740993");
    }

    #[test]
    fn infinity_is_a_number_to_by_and_to_where_and_nan_is_none() {
        let table = arrow_table(vec![
            ("double", Arc::new(Float64Array::from(vec![f64::INFINITY, f64::NEG_INFINITY, f64::NAN]))),
            ("single", Arc::new(Float32Array::from(vec![f32::INFINITY, f32::NEG_INFINITY, f32::NAN]))),
        ]);
        for path in ["double", "single"] {
            let (by, engine) = (Numbers::new(&table, path), Values::new(&table, path));
            for (row, expected) in
                [Some(f64::INFINITY), Some(f64::NEG_INFINITY), None].into_iter().enumerate()
            {
                assert_eq!(by.get(row), Ok(expected), "{path} {row}");
                assert_eq!(engine.engine(row), Ok(expected.map(EngineValue::from)), "{path} {row}");
            }
        }
    }
}
