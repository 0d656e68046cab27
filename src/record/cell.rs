//! A cell of an Arrow array as a JSON value.

use super::{MAX_TEXT, MAX_VALUES};
use arrow::array::{Array, ArrayRef, AsArray, downcast_dictionary_array, make_array};
use arrow::datatypes::{
    DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Number, Value};

/// The value in row `row` of `array`, or why it cannot be read.
///
/// - Strings are strings. So are binary values that hold UTF-8; other bytes cannot be read as text and are
///   an error.
/// - Integers, booleans and null are themselves. Floats are the shortest decimal that reads back as the
///   same number; NaN and the infinities, which JSON lacks, are null.
/// - Lists are lists, structs are objects, maps are objects with the text of each key (the last of equal
///   keys counts).
/// - Dates, times, timestamps, durations, intervals and decimals are text as Arrow prints them: ISO 8601
///   (`2024-05-01`, `2024-05-01T12:30:00Z`; in UTC where the time zone is a name) and plain decimals (`12.50`).
/// - A dictionary-encoded value is the value it stands for.
///
/// A cell of more than [`MAX_VALUES`] values, or with a text above [`MAX_TEXT`], is an error.
pub fn cell(array: &dyn Array, row: usize) -> Result<Value, String> {
    Room { values: MAX_VALUES }.value(array, row)
}

struct Room {
    values: usize,
}

impl Room {
    fn value(&mut self, array: &dyn Array, row: usize) -> Result<Value, String> {
        let full = || format!("more than {MAX_VALUES} values in one cell");
        self.values = self.values.checked_sub(1).ok_or_else(full)?;
        if array.is_null(row) {
            return Ok(Value::Null);
        }
        Ok(match array.data_type() {
            DataType::Null => Value::Null,
            DataType::Boolean => array.as_boolean().value(row).into(),
            DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
            DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
            DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
            DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
            DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
            DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
            DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
            DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
            DataType::Float16 => single(array.as_primitive::<Float16Type>().value(row).to_f32()),
            DataType::Float32 => single(array.as_primitive::<Float32Type>().value(row)),
            DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
            DataType::Utf8 => string(array.as_string::<i32>().value(row).as_bytes())?,
            DataType::LargeUtf8 => string(array.as_string::<i64>().value(row).as_bytes())?,
            DataType::Utf8View => string(array.as_string_view().value(row).as_bytes())?,
            DataType::Binary => string(array.as_binary::<i32>().value(row))?,
            DataType::LargeBinary => string(array.as_binary::<i64>().value(row))?,
            DataType::BinaryView => string(array.as_binary_view().value(row))?,
            DataType::FixedSizeBinary(_) => string(array.as_fixed_size_binary().value(row))?,
            DataType::List(_) => self.list(&array.as_list::<i32>().value(row))?,
            DataType::LargeList(_) => self.list(&array.as_list::<i64>().value(row))?,
            DataType::ListView(_) => self.list(&array.as_list_view::<i32>().value(row))?,
            DataType::LargeListView(_) => self.list(&array.as_list_view::<i64>().value(row))?,
            DataType::FixedSizeList(_, _) => self.list(&array.as_fixed_size_list().value(row))?,
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns();
                let entries = fields.iter().zip(columns);
                let entries =
                    entries.map(|(field, column)| Ok((field.name().clone(), self.value(column, row)?)));
                Value::Object(entries.collect::<Result<Map<_, _>, String>>()?)
            }
            DataType::Map(_, _) => {
                let entries = array.as_map().value(row);
                let mut object = Map::new();
                for entry in 0..entries.len() {
                    let key = self.value(entries.column(0), entry)?;
                    object.insert(super::text(&key).into_owned(), self.value(entries.column(1), entry)?);
                }
                Value::Object(object)
            }
            DataType::Dictionary(_, _) => downcast_dictionary_array!(
                array => match array.key(row) {
                    Some(key) => self.value(array.values(), key)?,
                    None => Value::Null,
                },
                other => return Err(format!("values of type {other} are not read")),
            ),
            DataType::Timestamp(unit, Some(zone)) if !zone.starts_with(['+', '-']) => {
                // Without a database of time zones Arrow knows offsets only, and a name is not one to it. The moment is
                // the same, and in parquet the name is not even kept.
                let typed = DataType::Timestamp(*unit, Some("+00:00".into()));
                let data = array.slice(row, 1).to_data().into_builder().data_type(typed).build();
                printed(&make_array(data.map_err(|error| error.to_string())?), 0)?
            }
            DataType::Timestamp(_, _)
            | DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Duration(_)
            | DataType::Interval(_)
            | DataType::Decimal32(_, _)
            | DataType::Decimal64(_, _)
            | DataType::Decimal128(_, _)
            | DataType::Decimal256(_, _) => printed(array, row)?,
            other @ (DataType::Union(_, _) | DataType::RunEndEncoded(_, _)) => {
                return Err(format!("values of type {other} are not read"));
            }
        })
    }

    fn list(&mut self, items: &ArrayRef) -> Result<Value, String> {
        let items: Result<Vec<_>, _> = (0..items.len()).map(|item| self.value(items, item)).collect();
        items.map(Value::Array)
    }
}

/// By way of text, because 0.1 as a single and widened is 0.10000000149011612.
fn single(value: f32) -> Value {
    let number = value.to_string().parse().ok().and_then(Number::from_f64);
    number.map_or(Value::Null, Value::Number)
}

fn string(bytes: &[u8]) -> Result<Value, String> {
    if bytes.len() > MAX_TEXT {
        return Err(format!("a text of {} bytes; the longest that is read has {MAX_TEXT}", bytes.len()));
    }
    match str::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => Err(format!("not UTF-8 text, from byte {}", error.valid_up_to() + 1)),
    }
}

fn printed(array: &dyn Array, row: usize) -> Result<Value, String> {
    let printer = ArrayFormatter::try_new(array, &FormatOptions::default());
    let text = printer.and_then(|printer| printer.value(row).try_to_string());
    text.map(Value::String).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
        FixedSizeBinaryArray, Float16Array, Float32Array, Float64Array, Int64Array, Int64Builder,
        LargeStringArray, ListArray, MapBuilder, NullArray, StringArray, StringBuilder, StructArray,
        TimestampMicrosecondArray, TimestampSecondArray, UInt64Array,
    };
    use arrow::datatypes::Field;
    use serde_json::json;
    use std::sync::Arc;

    fn cells(array: &dyn Array) -> Vec<Value> {
        (0..array.len()).map(|row| cell(array, row).unwrap()).collect()
    }

    #[test]
    fn plain_values_are_themselves() {
        assert_eq!(cells(&NullArray::new(1)), [json!(null)]);
        assert_eq!(cells(&BooleanArray::from(vec![Some(true), None])), [json!(true), json!(null)]);
        assert_eq!(cells(&Int64Array::from(vec![i64::MIN])), [json!(i64::MIN)]);
        assert_eq!(cells(&UInt64Array::from(vec![u64::MAX])), [json!(u64::MAX)]);
        assert_eq!(cells(&LargeStringArray::from(vec!["é"])), [json!("é")]);
    }

    #[test]
    fn floats_are_short_and_those_that_json_lacks_are_null() {
        let single = Float32Array::from(vec![0.1, f32::NAN, f32::INFINITY]);
        assert_eq!(cells(&single), [json!(0.1), json!(null), json!(null)]);
        assert_eq!(cells(&Float64Array::from(vec![0.1, f64::NEG_INFINITY])), [json!(0.1), json!(null)]);
        let half = Float64Array::from(vec![0.5]);
        let half = arrow::compute::cast(&half, &DataType::Float16).unwrap();
        assert_eq!(cells(half.as_primitive::<Float16Type>() as &Float16Array), [json!(0.5)]);
    }

    #[test]
    fn bytes_are_text_when_they_are_utf8_and_an_error_when_not() {
        let bytes: Vec<&[u8]> = vec![b"text", b"ab\xff"];
        let arrays: [ArrayRef; 3] = [
            Arc::new(BinaryArray::from(bytes.clone())),
            Arc::new(BinaryViewArray::from(bytes.clone())),
            Arc::new(FixedSizeBinaryArray::try_from(vec![b"abc", b"ab\xff"]).unwrap()),
        ];
        for array in arrays {
            assert!(cell(&array, 0).unwrap().is_string());
            assert_eq!(cell(&array, 1).unwrap_err(), "not UTF-8 text, from byte 3");
        }
    }

    #[test]
    fn nested_values_keep_their_shape_and_their_nulls() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
        assert_eq!(cells(&list), [json!([1, null]), json!(null)]);

        let text = Arc::new(StringArray::from(vec![Some("x"), Some("hidden")])) as ArrayRef;
        let fields = vec![Field::new("text", DataType::Utf8, true)].into();
        let parent = StructArray::new(fields, vec![text], Some(vec![true, false].into()));
        assert_eq!(cells(&parent), [json!({"text": "x"}), json!(null)]);

        let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
        map.keys().append_value("k");
        map.values().append_value(7);
        map.append(true).unwrap();
        assert_eq!(cells(&map.finish()), [json!({"k": 7})]);
    }

    #[test]
    fn a_dictionary_encoded_value_is_the_value_it_stands_for() {
        let array: DictionaryArray<Int8Type> = vec![Some("b"), None, Some("b")].into_iter().collect();
        assert_eq!(cells(&array), [json!("b"), json!(null), json!("b")]);
    }

    #[test]
    fn times_and_decimals_are_text() {
        let day = Date32Array::from(vec![19_844]);
        assert_eq!(cells(&day), [json!("2024-05-01")]);
        let time = TimestampMicrosecondArray::from(vec![1_714_566_600_000_001]);
        assert_eq!(cells(&time), [json!("2024-05-01T12:30:00.000001")]);
        for zone in ["UTC", "Europe/Berlin", "no zone"] {
            let zoned = TimestampSecondArray::from(vec![None, Some(1_714_566_600)]).with_timezone(zone);
            assert_eq!(cells(&zoned), [json!(null), json!("2024-05-01T12:30:00Z")]);
        }
        let money = Decimal128Array::from(vec![1250]).with_precision_and_scale(10, 2).unwrap();
        assert_eq!(cells(&money), [json!("12.50")]);
    }

    #[test]
    fn a_time_outside_of_the_calendar_is_an_error() {
        let array = TimestampSecondArray::from(vec![i64::MAX]).with_timezone("UTC");
        assert!(cell(&array, 0).is_err());
    }

    #[test]
    fn a_cell_of_very_many_values_is_an_error() {
        let fits = (0..MAX_VALUES - 1).map(|_| Some(1));
        let more = (0..MAX_VALUES).map(|_| Some(1));
        let array = ListArray::from_iter_primitive::<Int8Type, _, _>([Some(fits.collect::<Vec<_>>())]);
        assert!(cell(&array, 0).is_ok());
        let array = ListArray::from_iter_primitive::<Int8Type, _, _>([Some(more.collect::<Vec<_>>())]);
        assert_eq!(cell(&array, 0).unwrap_err(), "more than 1000000 values in one cell");
    }
}
