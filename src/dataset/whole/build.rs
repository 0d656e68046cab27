//! Arrow columns of JSON values whose types are known (see [`super::kinds`]).

use crate::record::text;
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, NullArray, StringBuilder, StructArray,
    UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Fields};
use serde_json::{Map, Value};
use std::sync::Arc;

use super::kinds::EXACT;

/// These values as an array; `None` is null. In a column of text values of other kinds are compact JSON. In others a value
/// of another kind than the type's is an error: all rows were looked at before, so they have changed since.
pub(super) fn array(values: &[Option<&Value>], data_type: &DataType) -> Result<ArrayRef, String> {
    Ok(match data_type {
        DataType::Boolean => Arc::new(each(values, Value::as_bool)?.collect::<BooleanArray>()),
        DataType::Int64 => Arc::new(each(values, Value::as_i64)?.collect::<Int64Array>()),
        DataType::UInt64 => Arc::new(each(values, Value::as_u64)?.collect::<UInt64Array>()),
        DataType::Float64 => Arc::new(each(values, double)?.collect::<Float64Array>()),
        DataType::Utf8 => {
            let bytes = values.iter().flatten().map(|value| value.as_str().map_or(8, str::len)).sum();
            let mut texts = StringBuilder::with_capacity(values.len(), bytes);
            for value in values {
                texts.append_option(value.filter(|value| !value.is_null()).map(text));
            }
            Arc::new(texts.finish())
        }
        DataType::List(item) => {
            let lists: Vec<_> = each(values, Value::as_array)?.collect();
            let lengths = OffsetBuffer::from_lengths(lists.iter().map(|list| list.map_or(0, Vec::len)));
            let items: Vec<_> = lists.iter().flatten().flat_map(|list| list.iter().map(Some)).collect();
            let items = array(&items, item.data_type())?;
            let nulls = nulls(lists.iter().map(Option::is_some));
            Arc::new(
                ListArray::try_new(item.clone(), lengths, items, nulls).map_err(|error| error.to_string())?,
            )
        }
        DataType::Struct(fields) => {
            let objects: Vec<_> = each(values, Value::as_object)?.collect();
            let nulls = nulls(objects.iter().map(Option::is_some));
            let columns = columns(&objects, fields)?;
            let record = StructArray::try_new_with_length(fields.clone(), columns, nulls, values.len());
            Arc::new(record.map_err(|error| error.to_string())?)
        }
        _ => {
            drop(each(values, |_| None::<()>)?);
            Arc::new(NullArray::new(values.len()))
        }
    })
}

/// The values as those of one kind; an error if any but null is of another.
fn each<'v, 'k: 'v, T: 'v>(
    values: &'v [Option<&'k Value>],
    kind: impl Fn(&'k Value) -> Option<T> + 'v,
) -> Result<impl Iterator<Item = Option<T>> + 'v, String> {
    let other = values.iter().flatten().find(|value| !value.is_null() && kind(value).is_none());
    match other {
        Some(other) => Err(format!("a value `{}` does not fit into its column any more", shown(other))),
        None => Ok(values.iter().map(move |value| kind((*value)?))),
    }
}

/// The double that a number is, but for an integer that a double would change.
fn double(value: &Value) -> Option<f64> {
    let integer = value.as_i64().map(i64::unsigned_abs).or_else(|| value.as_u64());
    if integer.is_some_and(|integer| integer > EXACT) { None } else { value.as_f64() }
}

/// One array for each field of these objects; `None` is null. A key that is no field is an error.
pub(super) fn columns(
    objects: &[Option<&Map<String, Value>>],
    fields: &Fields,
) -> Result<Vec<ArrayRef>, String> {
    let mut unknown: Vec<usize> = objects.iter().map(|object| object.map_or(0, Map::len)).collect();
    let columns = fields.iter().map(|field| {
        let values: Vec<_> = objects
            .iter()
            .zip(&mut unknown)
            .map(|(object, unknown)| {
                let value = (*object)?.get(field.name());
                *unknown -= usize::from(value.is_some());
                value
            })
            .collect();
        array(&values, field.data_type())
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    if let Some(at) = unknown.iter().position(|unknown| *unknown > 0) {
        let mut keys = objects[at].into_iter().flat_map(Map::keys);
        let key = keys.find(|key| fields.find(key).is_none()).map_or("", String::as_str);
        return Err(format!("a row has a key `{key}` that no row had"));
    }
    Ok(columns)
}

/// The beginning of a value, for messages.
fn shown(value: &Value) -> String {
    const SHOWN: usize = 40;
    text(value).chars().take(SHOWN).collect()
}

fn nulls(is_there: impl Iterator<Item = bool>) -> Option<NullBuffer> {
    let nulls: NullBuffer = is_there.collect::<Vec<bool>>().into();
    Some(nulls).filter(|nulls| nulls.null_count() > 0)
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Inferred;
    use super::*;
    use crate::record::cell::cell;
    use serde_json::json;

    #[test]
    fn what_is_built_reads_back_as_what_it_was_built_of() {
        let rows = [
            json!({"s": "é", "n": [1, -2], "m": {"x": 0.5, "y": [{"z": true}]}, "mixed": [1, "a"]}),
            json!({"s": null, "n": [], "m": {"x": 1, "y": []}, "mixed": "as it is"}),
            json!({"s": "", "n": null, "m": null, "mixed": 1.5}),
        ];
        let mut inferred = Inferred::default();
        for row in &rows {
            inferred.add(row.as_object().unwrap(), "rows").unwrap();
        }
        let (schema, _) = inferred.finish();
        let column = |name: &str| {
            let values: Vec<_> = rows.iter().map(|row| row.get(name)).collect();
            let built = array(&values, schema.field_with_name(name).unwrap().data_type()).unwrap();
            (0..rows.len()).map(|row| cell(&built, row).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(column("s"), [json!("é"), json!(null), json!("")]);
        assert_eq!(column("n"), [json!([1, -2]), json!([]), json!(null)]);
        assert_eq!(
            column("m"),
            [json!({"x": 0.5, "y": [{"z": true}]}), json!({"x": 1.0, "y": []}), json!(null)]
        );
        assert_eq!(column("mixed"), [json!("[1,\"a\"]"), json!("as it is"), json!("1.5")]);
    }

    #[test]
    fn what_was_not_seen_before_is_an_error_and_not_null() {
        let mut inferred = Inferred::default();
        let seen = json!({"s": "a", "b": true, "i": -1, "u": u64::MAX, "f": 0.5, "l": [1], "o": {"k": 1}, "n": null});
        inferred.add(seen.as_object().unwrap(), "rows").unwrap();
        let (schema, _) = inferred.finish();
        let build = |row: Value| {
            columns(&[seen.as_object(), row.as_object()], schema.fields()).map(|columns| columns.len())
        };
        assert_eq!(build(json!({"s": 1, "i": null, "f": 2, "l": [null], "o": {}})), Ok(8));
        for row in [
            json!({"b": 1}),
            json!({"i": 0.5}),
            json!({"i": u64::MAX}),
            json!({"u": -1}),
            json!({"f": "x"}),
            json!({"f": 9_007_199_254_740_993_i64}),
            json!({"l": {}}),
            json!({"l": ["x"]}),
            json!({"o": []}),
            json!({"n": 1}),
        ] {
            assert!(
                build(row.clone()).unwrap_err().contains("does not fit into its column any more"),
                "{row}"
            );
        }
        for row in [json!({"new": null}), json!({"o": {"new": 1}})] {
            assert_eq!(build(row).unwrap_err(), "a row has a key `new` that no row had");
        }
    }
}
