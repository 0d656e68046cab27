//! The schema of a dataset whose files have schemas of their own.

use crate::dataset::error::{Error, plain};
use crate::dataset::parquet::schema::known;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use std::collections::HashMap;
use std::sync::Arc;

/// The key under which `datasets` keeps what it knows of the columns.
const HUGGINGFACE: &str = "huggingface";

/// The union of schemas by name, columns in the order of their first appearance.
#[derive(Debug, Default)]
pub(super) struct Union {
    columns: Vec<Column>,
    positions: HashMap<String, usize>,
    metadata: HashMap<String, String>,
    files: u64,
    /// The schema of the file before: shards mostly have the same.
    last: Option<SchemaRef>,
    /// Whether a file has other columns than the first one.
    is_mixed: bool,
}

#[derive(Debug)]
struct Column {
    field: Field,
    /// What messages call the file that it was first seen in.
    label: String,
    /// How many files have it.
    files: u64,
    /// The last of those, counted from 1.
    last: u64,
}

impl Union {
    /// Adds the schema of a file, which messages call `label`. An error if it has a column twice, or one of a type that
    /// does not go with what another file has.
    pub(super) fn add(&mut self, label: &str, schema: &SchemaRef) -> Result<(), Error> {
        self.files += 1;
        if self.last.as_ref() == Some(schema) {
            for field in schema.fields() {
                let column = &mut self.columns[self.positions[field.name()]];
                column.files += 1;
                column.last = self.files;
            }
            return Ok(());
        }
        for field in schema.fields() {
            self.column(label, field)?;
        }
        self.is_mixed |= self.last.as_ref().is_some_and(|last| last.fields() != schema.fields());
        for (key, value) in schema.metadata() {
            self.metadata.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self.last = Some(schema.clone());
        Ok(())
    }

    fn column(&mut self, label: &str, field: &Field) -> Result<(), Error> {
        let Some(&position) = self.positions.get(field.name()) else {
            self.positions.insert(field.name().clone(), self.columns.len());
            let (field, label) = (field.clone(), label.to_owned());
            self.columns.push(Column { field, label, files: 1, last: self.files });
            return Ok(());
        };
        let before = &mut self.columns[position];
        if before.last == self.files {
            return Err(Error::TwoColumns { name: plain(label), column: plain(field.name()) });
        }
        let Some(data_type) = unified(before.field.data_type(), field.data_type()) else {
            let (kind, other) = kinds(&before.field, field);
            return Err(Error::TwoTypes(Box::new(TwoTypes {
                column: plain(field.name()),
                kind,
                name: plain(&before.label),
                other,
                other_name: plain(label),
            })));
        };
        let is_nullable = before.field.is_nullable() || field.is_nullable();
        before.files += 1;
        before.last = self.files;
        before.field = before.field.clone().with_data_type(data_type).with_nullable(is_nullable);
        Ok(())
    }

    /// The schema of all, and what the user should know of it.
    pub(super) fn finish(mut self) -> (SchemaRef, Vec<String>) {
        let mut notes = Vec::new();
        let files = self.files;
        let fields: Fields = self
            .columns
            .into_iter()
            .map(|Column { field, files: with, .. }| {
                let is_nullable = field.is_nullable() || with < files;
                field.with_nullable(is_nullable)
            })
            .collect();
        // It describes the columns of one file, and `datasets` would not load others.
        if self.is_mixed && self.metadata.remove(HUGGINGFACE).is_some() {
            notes.push(
                "files have different columns or types: what `datasets` keeps of them in their metadata is left out"
                    .to_owned(),
            );
        }
        (Arc::new(Schema::new_with_metadata(fields, self.metadata)), notes)
    }
}

/// A column that has two types in two files.
#[derive(Debug)]
pub struct TwoTypes {
    /// The column.
    pub column: String,
    /// Its type in the first file.
    pub kind: String,
    /// The first file.
    pub name: String,
    /// Its type in the other file.
    pub other: String,
    /// The other file.
    pub other_name: String,
}

/// Both types for people, by Arrow's names where the short ones are the same.
fn kinds(one: &Field, other: &Field) -> (String, String) {
    let kind = |field: &Field| {
        let schema = Schema::new(vec![field.clone()]);
        known(&schema).columns.into_iter().map(|column| column.kind).collect::<String>()
    };
    let (short, short_other) = (kind(one), kind(other));
    if short == short_other {
        return (plain(&one.data_type().to_string()), plain(&other.data_type().to_string()));
    }
    (plain(&short), plain(&short_other))
}

/// The type that holds the values of both types, if there is one that changes none of them.
///
/// Integers and floats are widened where every value of the narrow type is one of the wide type; all kinds of text go
/// together, and so do all kinds of bytes; lists and structs by what is in them.
pub(super) fn unified(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::{FixedSizeList, LargeList, List, Null, Struct};
    match (one, other) {
        (one, other) if one == other => Some(one.clone()),
        (Null, known) | (known, Null) => Some(known.clone()),
        (List(one), List(other)) => Some(List(Arc::new(unified_field(one, other)?))),
        (LargeList(one) | List(one), LargeList(other) | List(other)) => {
            Some(LargeList(Arc::new(unified_field(one, other)?)))
        }
        (FixedSizeList(one, length), FixedSizeList(other, other_length)) if length == other_length => {
            Some(FixedSizeList(Arc::new(unified_field(one, other)?), *length))
        }
        (Struct(one), Struct(other)) => Some(Struct(unified_fields(one, other)?)),
        (one, other) => text(one, other).or_else(|| bytes(one, other)).or_else(|| number(one, other)),
    }
}

fn unified_field(one: &Field, other: &Field) -> Option<Field> {
    let data_type = unified(one.data_type(), other.data_type())?;
    let is_nullable = one.is_nullable() || other.is_nullable();
    Some(one.clone().with_data_type(data_type).with_nullable(is_nullable))
}

/// The fields of both, those of the first one first. A field that one of them lacks is null there.
fn unified_fields(one: &Fields, other: &Fields) -> Option<Fields> {
    let named = |fields: &Fields, name: &str| fields.iter().find(|field| field.name() == name).cloned();
    let mut fields = Vec::new();
    for field in one {
        fields.push(match named(other, field.name()) {
            Some(other) => unified_field(field, &other)?,
            None => field.as_ref().clone().with_nullable(true),
        });
    }
    let own = other.iter().filter(|field| named(one, field.name()).is_none());
    fields.extend(own.map(|field| field.as_ref().clone().with_nullable(true)));
    Some(fields.into())
}

fn text(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::{Dictionary, LargeUtf8, Utf8, Utf8View};
    match (one, other) {
        (Dictionary(_, value), other) | (other, Dictionary(_, value)) => {
            text(value, value).and(text(value, other))
        }
        (LargeUtf8, LargeUtf8 | Utf8 | Utf8View) | (Utf8 | Utf8View, LargeUtf8) => Some(LargeUtf8),
        (Utf8, Utf8 | Utf8View) | (Utf8View, Utf8) => Some(Utf8),
        (Utf8View, Utf8View) => Some(Utf8View),
        _ => None,
    }
}

fn bytes(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary};
    match (one, other) {
        (LargeBinary, LargeBinary | Binary | BinaryView | FixedSizeBinary(_))
        | (Binary | BinaryView | FixedSizeBinary(_), LargeBinary) => Some(LargeBinary),
        (Binary | BinaryView | FixedSizeBinary(_), Binary | BinaryView | FixedSizeBinary(_)) => Some(Binary),
        _ => None,
    }
}

fn number(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::{Float16, Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
    /// From narrow to wide.
    const NUMBERS: [DataType; 11] =
        [Int8, UInt8, Int16, UInt16, Int32, UInt32, Int64, UInt64, Float16, Float32, Float64];
    /// The bits of an integer beside its sign, and whether it has one.
    fn integer(data_type: &DataType) -> Option<(u32, bool)> {
        Some(match data_type {
            Int8 => (7, true),
            Int16 => (15, true),
            Int32 => (31, true),
            Int64 => (63, true),
            UInt8 => (8, false),
            UInt16 => (16, false),
            UInt32 => (32, false),
            UInt64 => (64, false),
            _ => return None,
        })
    }
    /// How many bits of an integer it holds exactly.
    fn float(data_type: &DataType) -> Option<u32> {
        Some(match data_type {
            Float16 => 11,
            Float32 => 24,
            Float64 => 53,
            _ => return None,
        })
    }
    let holds = |wide: &DataType, narrow: &DataType| match (integer(wide), float(wide)) {
        (Some((bits, signed)), _) => {
            integer(narrow).is_some_and(|(fewer, sign)| fewer <= bits && (signed || !sign))
        }
        (_, Some(bits)) => {
            let of_integer = integer(narrow).map(|(fewer, _)| fewer);
            of_integer.or(float(narrow)).is_some_and(|fewer| fewer <= bits)
        }
        _ => false,
    };
    NUMBERS.into_iter().find(|wide| holds(wide, one) && holds(wide, other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, DataType)]) -> SchemaRef {
        let fields = fields.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), false));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    #[test]
    fn columns_stand_in_the_order_of_their_first_appearance_and_are_null_where_they_are_missing() {
        let mut union = Union::default();
        union.add("a", &of(&[("x", DataType::Int8), ("y", DataType::Utf8)])).unwrap();
        union.add("b", &of(&[("z", DataType::Boolean), ("x", DataType::Int64)])).unwrap();
        union.add("c", &of(&[("z", DataType::Boolean), ("x", DataType::Int64)])).unwrap();
        let (schema, _) = union.finish();
        let columns: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| (field.name().as_str(), field.data_type().clone(), field.is_nullable()))
            .collect();
        assert_eq!(
            columns,
            [("x", DataType::Int64, false), ("y", DataType::Utf8, true), ("z", DataType::Boolean, true)]
        );
    }

    #[test]
    fn types_that_do_not_go_together_are_an_error_that_names_both_files() {
        let mut union = Union::default();
        union.add("set: a.parquet", &of(&[("n\x07", DataType::Int64)])).unwrap();
        let error = union.add("set: b.parquet", &of(&[("n\x07", DataType::Utf8)])).unwrap_err();
        insta::assert_snapshot!(error, @r"column `n\u{7}` is int64 in `set: a.parquet` and string in `set: b.parquet`: give it one type in all files");
    }

    #[test]
    fn a_column_that_is_named_twice_is_an_error() {
        let error =
            Union::default().add("a", &of(&[("n", DataType::Int8), ("n", DataType::Int8)])).unwrap_err();
        insta::assert_snapshot!(error, @"`a` has two columns of the name `n`: rename one of them");
    }

    #[test]
    fn types_are_widened_only_where_no_value_changes() {
        use DataType::{
            Binary, Boolean, Dictionary, Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8, Null, UInt8,
            UInt32, UInt64, Utf8, Utf8View,
        };
        let words = || Dictionary(Box::new(Int32), Box::new(Utf8));
        for (one, other, expected) in [
            (Int32, Int64, Some(Int64)),
            (UInt8, Int8, Some(Int16)),
            (UInt32, Int8, Some(Int64)),
            (UInt64, Int8, None),
            (Float32, Float64, Some(Float64)),
            (Int16, Float32, Some(Float32)),
            (Int32, Float32, Some(Float64)),
            (Int64, Float64, None),
            (Boolean, Int8, None),
            (Utf8, LargeUtf8, Some(LargeUtf8)),
            (Utf8View, Utf8, Some(Utf8)),
            (words(), Utf8, Some(Utf8)),
            (words(), LargeUtf8, Some(LargeUtf8)),
            (words(), Dictionary(Box::new(Int8), Box::new(Utf8)), Some(Utf8)),
            (Utf8, Binary, None),
            (Null, words(), Some(words())),
        ] {
            assert_eq!(unified(&one, &other), expected, "{one} and {other}");
            assert_eq!(unified(&other, &one), expected, "{other} and {one}");
        }
    }

    #[test]
    fn nested_fields_are_unified_by_name() {
        let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
        let of = |fields: &[(&str, DataType)]| {
            let fields = fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true));
            DataType::Struct(fields.collect())
        };
        let one = of(&[("a", DataType::Int8), ("b", list(DataType::Null))]);
        let other = of(&[("b", list(DataType::Utf8)), ("c", DataType::Boolean)]);
        let both = of(&[("a", DataType::Int8), ("b", list(DataType::Utf8)), ("c", DataType::Boolean)]);
        assert_eq!(unified(&one, &other), Some(both));
    }
}
