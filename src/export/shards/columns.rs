//! Columns as parquet stores them: which types it holds, under which other type, and the metadata beside them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use parquet::arrow::{ARROW_SCHEMA_META_KEY, ArrowSchemaConverter, encode_arrow_schema};
use parquet::file::metadata::KeyValue;
use serde_json::{Map, Value, json};

use super::Kind;
use crate::export::Error;
use crate::http::plain;

/// The key under which `datasets` keeps the features of a table.
const HUGGINGFACE: &str = "huggingface";

/// The key by which `datasets` says that pages end where the content says so: true of the input's file, not of ours.
const CHUNKING: &str = "content_defined_chunking";

/// Columns and metadata, made ready for parquet.
#[derive(Debug)]
pub(super) struct Columns {
    /// The columns as they are stored, the added ones last.
    pub(super) stored: SchemaRef,
    /// What stands in the footer: the input's metadata, and the schema for readers that know Arrow.
    pub(super) metadata: Vec<KeyValue>,
    /// What could not be kept, for the user.
    pub(super) notes: Vec<String>,
}

impl Columns {
    /// The columns of `schema` and those that are added. One that parquet cannot hold is an error.
    pub(super) fn new(schema: &Schema, added: &[(String, Kind)]) -> Result<Self, Error> {
        let mut fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
        fields.extend(added.iter().map(|(name, kind)| Arc::new(Field::new(name, kind.arrow(), true))));
        let stored = fields.iter().map(|field| stored_field(field));
        let stored: Vec<FieldRef> = stored.collect::<Result<_, _>>()?;
        stored.iter().zip(&fields).try_for_each(|(stored, field)| check(stored, field))?;

        let mut metadata = schema.metadata().clone();
        metadata.remove(ARROW_SCHEMA_META_KEY);
        metadata.remove(CHUNKING);
        // Of a table of scores that was filtered like any other: its rows are data now.
        metadata.remove(crate::export::scores::METADATA);
        let mut notes = Vec::new();
        if let Some(text) = metadata.remove(HUGGINGFACE) {
            match features(&text, added) {
                Some(text) => drop(metadata.insert(HUGGINGFACE.to_owned(), text)),
                None => notes.push(
                    "the input's metadata for `datasets` cannot be read, and is left out: its features are inferred anew"
                        .to_owned(),
                ),
            }
        }
        // By this, readers that know Arrow give columns the types that they had, where parquet stores another one.
        let arrow = Schema::new_with_metadata(fields, metadata.clone());
        let mut sorted: Vec<_> = metadata.into_iter().collect();
        sorted.sort();
        let mut metadata: Vec<_> =
            sorted.into_iter().map(|(key, value)| KeyValue { key, value: Some(value) }).collect();
        metadata.push(KeyValue {
            key: ARROW_SCHEMA_META_KEY.to_owned(),
            value: Some(encode_arrow_schema(&arrow)),
        });
        Ok(Self { stored: Arc::new(Schema::new(stored)), metadata, notes })
    }
}

/// A value of the metadata of `datasets` with the added columns among its features, or `None` if it is not what
/// `datasets` writes.
///
/// The fingerprint goes: it stands for other rows, and `datasets` would take their cached results for those of ours.
fn features(text: &str, added: &[(String, Kind)]) -> Option<String> {
    let mut value: Map<String, Value> = serde_json::from_str(text).ok()?;
    let features = value.get_mut("info")?.get_mut("features")?.as_object_mut()?;
    for (name, kind) in added {
        features.insert(name.clone(), json!({"dtype": kind.in_datasets(), "_type": "Value"}));
    }
    value.remove("fingerprint");
    serde_json::to_string(&value).ok()
}

/// A column of the type that parquet stores.
fn stored_field(field: &Field) -> Result<FieldRef, Error> {
    let kind = stored_type(field.data_type()).map_err(|(kind, way)| Error::Unstorable {
        column: plain(field.name()),
        kind: plain(&kind),
        way,
    })?;
    Ok(Arc::new(field.clone().with_data_type(kind)))
}

const AS_JSON: &str = "write JSON lines with --to jsonl";
const NEITHER: &str = "leave it out of the input, as JSON lines cannot hold it either";

/// The type under which parquet stores one of Arrow's, or which type it cannot store, and what to do.
///
/// As pyarrow does it: parquet has no seconds and no dates in milliseconds. A dictionary of values that its encoder does
/// not take is stored as the values. Intervals are refused, though the encoder takes some: what parquet calls one has
/// months, days and milliseconds, of which readers keep a part each.
fn stored_type(kind: &DataType) -> Result<DataType, (String, &'static str)> {
    use DataType::{
        Date32, Date64, Dictionary, FixedSizeList, Interval, LargeList, LargeListView, List, ListView,
        RunEndEncoded, Struct, Time32, Timestamp, Union,
    };
    let inner = |field: &FieldRef| -> Result<FieldRef, (String, &'static str)> {
        Ok(Arc::new(field.as_ref().clone().with_data_type(stored_type(field.data_type())?)))
    };
    Ok(match kind {
        Timestamp(TimeUnit::Second, zone) => Timestamp(TimeUnit::Millisecond, zone.clone()),
        Time32(TimeUnit::Second) => Time32(TimeUnit::Millisecond),
        Date64 => Date32,
        Interval(_) => return Err((kind.to_string(), AS_JSON)),
        Union(_, _) => return Err(("a union".to_owned(), NEITHER)),
        RunEndEncoded(_, _) => return Err(("run-end encoded".to_owned(), NEITHER)),
        Struct(fields) if fields.is_empty() => return Err(("a struct without fields".to_owned(), AS_JSON)),
        Struct(fields) => Struct(fields.iter().map(inner).collect::<Result<_, _>>()?),
        List(item) => List(inner(item)?),
        LargeList(item) => LargeList(inner(item)?),
        ListView(item) => ListView(inner(item)?),
        LargeListView(item) => LargeListView(inner(item)?),
        FixedSizeList(item, size) => FixedSizeList(inner(item)?, *size),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries)?, *sorted),
        Dictionary(key, value) => match value.as_ref() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => kind.clone(),
            DataType::FixedSizeBinary(_) => stored_type(value)?,
            primitive if primitive.is_primitive() && stored_type(primitive)? == *primitive => {
                Dictionary(key.clone(), value.clone())
            }
            other => stored_type(other)?,
        },
        other => other.clone(),
    })
}

/// Whether the parquet crate takes a column of this type.
fn check(stored: &FieldRef, field: &Field) -> Result<(), Error> {
    let schema = Schema::new(vec![Arc::clone(stored)]);
    let converted = catch_unwind(AssertUnwindSafe(|| ArrowSchemaConverter::new().convert(&schema)));
    if matches!(converted, Ok(Ok(_))) {
        return Ok(());
    }
    let kind = plain(&field.data_type().to_string());
    Err(Error::Unstorable { column: plain(field.name()), kind, way: AS_JSON })
}

/// A column in the type in which it is stored. A value that this type cannot hold is an error.
pub(super) fn as_stored(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, String> {
    if column.data_type() == kind {
        return Ok(Arc::clone(column));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, kind, &options).map_err(|error| error.to_string())
}

/// A column whose texts are no longer among those of rows that were dropped: filtering leaves views where they point.
pub(super) fn compact(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => Arc::clone(column),
    }
}

/// The bytes of a column's values, and the bytes of memory that it keeps from being given back.
pub(super) fn size(column: &ArrayRef) -> (usize, usize) {
    let held = column.get_array_memory_size();
    let views = matches!(column.data_type(), DataType::Utf8View | DataType::BinaryView);
    let own = if views { None } else { column.to_data().get_slice_memory_size().ok() };
    (own.unwrap_or(held), held)
}

/// The added columns as Arrow arrays.
pub(super) fn arrays(values: Vec<super::Values>) -> impl Iterator<Item = ArrayRef> {
    values.into_iter().map(|values| match values {
        super::Values::Double(values) => Arc::new(arrow::array::Float64Array::from(values)) as ArrayRef,
        super::Values::Int(values) => Arc::new(arrow::array::Int64Array::from(values)) as ArrayRef,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use arrow::datatypes::{Fields, IntervalUnit, UnionFields, UnionMode};

    fn one(kind: DataType) -> Result<Columns, Error> {
        Columns::new(&Schema::new(vec![Field::new("c", kind, true)]), &[])
    }

    fn list(kind: DataType) -> DataType {
        DataType::List(Arc::new(Field::new("item", kind, true)))
    }

    #[test]
    fn a_type_that_parquet_lacks_is_refused_with_its_column_and_a_way_out() {
        let cases = [
            (
                DataType::Struct(Fields::empty()),
                "column `c` is a struct without fields, which parquet cannot hold: write JSON lines with --to jsonl",
            ),
            (list(DataType::Struct(Fields::empty())), "a struct without fields"),
            (DataType::Interval(IntervalUnit::MonthDayNano), "Interval(MonthDayNano)"),
            (DataType::Interval(IntervalUnit::DayTime), "Interval(DayTime)"),
            (
                DataType::Union(UnionFields::empty(), UnionMode::Sparse),
                "a union, which parquet cannot hold: leave it out",
            ),
            (
                DataType::RunEndEncoded(
                    Arc::new(Field::new("run_ends", DataType::Int32, false)),
                    Arc::new(Field::new("values", DataType::Utf8, true)),
                ),
                "run-end encoded",
            ),
            (DataType::Decimal128(10, -2), "Decimal128(10, -2)"),
        ];
        for (kind, message) in cases {
            let error = one(kind).unwrap_err();
            assert!(error.to_string().contains(message) && error.is_usage(), "{error}");
        }
    }

    #[test]
    fn seconds_are_stored_as_milliseconds_also_inside_lists() {
        let zone = Some("UTC".into());
        assert_eq!(
            stored_type(&list(DataType::Timestamp(TimeUnit::Second, zone.clone()))).unwrap(),
            list(DataType::Timestamp(TimeUnit::Millisecond, zone))
        );
        let values = Arc::new(arrow::array::TimestampSecondArray::from(vec![Some(1), None])) as ArrayRef;
        let stored = as_stored(&values, &DataType::Timestamp(TimeUnit::Millisecond, None)).unwrap();
        assert_eq!(stored.as_primitive::<arrow::datatypes::TimestampMillisecondType>().value(0), 1000);
        let far = Arc::new(arrow::array::TimestampSecondArray::from(vec![i64::MAX])) as ArrayRef;
        assert!(as_stored(&far, &DataType::Timestamp(TimeUnit::Millisecond, None)).is_err());
    }

    #[test]
    fn features_of_datasets_know_the_added_columns_and_lose_the_fingerprint() {
        let text = r#"{"info": {"features": {"text": {"dtype": "string", "_type": "Value"}}, "x": 1}, "fingerprint": "abc"}"#;
        let added = [("score".to_owned(), Kind::Double), ("int_score".to_owned(), Kind::Int)];
        assert_eq!(
            features(text, &added).unwrap(),
            r#"{"info":{"features":{"text":{"dtype":"string","_type":"Value"},"score":{"dtype":"float64","_type":"Value"},"int_score":{"dtype":"int64","_type":"Value"}},"x":1}}"#
        );
        for broken in ["", "{", "[]", r#"{"info":{}}"#, r#"{"info":{"features":[]}}"#] {
            assert_eq!(features(broken, &added), None);
        }
    }

    #[test]
    fn metadata_stands_in_the_footer_in_a_fixed_order_and_what_is_broken_is_left_out_with_a_note() {
        let metadata: HashMap<_, _> =
            ["pandas", "b", "a", "huggingface", "ARROW:schema", "content_defined_chunking", "classified"]
                .map(|key| (key.to_owned(), format!("of {key}")))
                .into();
        let schema = Schema::new_with_metadata(vec![Field::new("c", DataType::Utf8, true)], metadata);
        let columns = Columns::new(&schema, &[]).unwrap();
        let keys: Vec<_> = columns.metadata.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "pandas", "ARROW:schema"]);
        assert_ne!(columns.metadata[3].value.as_deref(), Some("of ARROW:schema"));
        assert_eq!(columns.notes.len(), 1);
    }
}
