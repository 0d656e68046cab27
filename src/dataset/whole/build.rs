//! Arrow columns of JSON values whose types are known (see [`super::kinds`]).

use crate::record::text;
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, NullArray, StringBuilder, StructArray,
    UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Fields};
use serde_json::Value;
use std::sync::Arc;

/// These values as an array; `None` is null. Values of another kind than the type's are compact JSON in a column of text,
/// and null in others, of which the types are such that there are none.
pub(super) fn array(values: &[Option<&Value>], data_type: &DataType) -> Result<ArrayRef, String> {
    Ok(match data_type {
        DataType::Boolean => {
            Arc::new(values.iter().map(|value| (*value)?.as_bool()).collect::<BooleanArray>())
        }
        DataType::Int64 => Arc::new(values.iter().map(|value| (*value)?.as_i64()).collect::<Int64Array>()),
        DataType::UInt64 => Arc::new(values.iter().map(|value| (*value)?.as_u64()).collect::<UInt64Array>()),
        DataType::Float64 => {
            Arc::new(values.iter().map(|value| (*value)?.as_f64()).collect::<Float64Array>())
        }
        DataType::Utf8 => {
            let bytes = values.iter().flatten().map(|value| value.as_str().map_or(8, str::len)).sum();
            let mut texts = StringBuilder::with_capacity(values.len(), bytes);
            for value in values {
                texts.append_option(value.filter(|value| !value.is_null()).map(text));
            }
            Arc::new(texts.finish())
        }
        DataType::List(item) => {
            let lists: Vec<_> = values.iter().map(|value| value.and_then(Value::as_array)).collect();
            let lengths = OffsetBuffer::from_lengths(lists.iter().map(|list| list.map_or(0, Vec::len)));
            let items: Vec<_> = lists.iter().flatten().flat_map(|list| list.iter().map(Some)).collect();
            let items = array(&items, item.data_type())?;
            let nulls = nulls(lists.iter().map(Option::is_some));
            Arc::new(
                ListArray::try_new(item.clone(), lengths, items, nulls).map_err(|error| error.to_string())?,
            )
        }
        DataType::Struct(fields) => Arc::new(record(values, fields)?),
        _ => Arc::new(NullArray::new(values.len())),
    })
}

fn record(values: &[Option<&Value>], fields: &Fields) -> Result<StructArray, String> {
    let objects: Vec<_> = values.iter().map(|value| value.and_then(Value::as_object)).collect();
    let columns = fields.iter().map(|field| {
        let values: Vec<_> =
            objects.iter().map(|object| object.and_then(|object| object.get(field.name()))).collect();
        array(&values, field.data_type())
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let nulls = nulls(objects.iter().map(Option::is_some));
    StructArray::try_new_with_length(fields.clone(), columns, nulls, values.len())
        .map_err(|error| error.to_string())
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
}
