//! The schema of a parquet or Arrow file: its columns for people, and the types it is read as.

use crate::dataset::Column;
use crate::dataset::wanted::Known;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use parquet::arrow::ProjectionMask;
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::{SchemaDescriptor, Type};
use std::sync::Arc;

/// The columns that the file has.
pub(in crate::dataset) fn known(schema: &Schema) -> Known {
    let fields = schema.fields().iter();
    let columns =
        fields.clone().map(|field| Column { name: field.name().clone(), kind: kind(field.data_type()) });
    let nested = fields.flat_map(|field| match field.data_type() {
        DataType::Struct(inner) => {
            inner.iter().map(|inner| format!("{}.{}", field.name(), inner.name())).collect()
        }
        _ => Vec::new(),
    });
    Known { columns: columns.collect(), nested: nested.collect(), note: String::new() }
}

fn kind(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Boolean => "bool".into(),
        DataType::Timestamp(_, _) => "timestamp".into(),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time".into(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => format!("list<{}>", kind(item.data_type())),
        DataType::Dictionary(_, value) => kind(value),
        DataType::Map(entry, _) => match entry.data_type() {
            DataType::Struct(fields) => format!("map<{}>", kinds(fields, |field| kind(field.data_type()))),
            other => format!("map<{}>", kind(other)),
        },
        DataType::Struct(fields) => {
            let field = |field: &Field| format!("{}: {}", field.name(), kind(field.data_type()));
            format!("struct<{}>", kinds(fields, field))
        }
        other => other.to_string().to_lowercase(),
    }
}

fn kinds(fields: &Fields, each: impl Fn(&Field) -> String) -> String {
    fields.iter().map(|field| each(field)).collect::<Vec<_>>().join(", ")
}

/// The field that a column is in, and the names that lead to it as far as they go through structs only;
/// `None` if the schema has no such column.
pub(in crate::dataset) fn path(fields: &Fields, column: &str) -> Option<Vec<String>> {
    if let Some(field) = fields.iter().find(|field| field.name() == column) {
        return Some(vec![field.name().clone()]);
    }
    let (head, rest) = column.split_once('.')?;
    let field = fields.iter().find(|field| field.name() == head)?;
    let mut names = vec![head.to_owned()];
    match field.data_type() {
        DataType::Struct(inner) => names.extend(path(inner, rest)?),
        other => leads(other, rest).then_some(())?,
    }
    Some(names)
}

/// Whether a path leads to something inside a list or a map of this type.
fn leads(data_type: &DataType, column: &str) -> bool {
    match data_type {
        DataType::Struct(fields) => path(fields, column).is_some(),
        DataType::Map(_, _) => true,
        DataType::Dictionary(_, value) => leads(value, column),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => {
            let (position, rest) =
                column.split_once('.').map_or((column, None), |(at, rest)| (at, Some(rest)));
            position.parse::<usize>().is_ok() && rest.is_none_or(|rest| leads(item.data_type(), rest))
        }
        _ => false,
    }
}

/// The leaves to decode for these paths.
pub(super) fn mask(schema: &SchemaDescriptor, paths: &[Vec<String>]) -> ProjectionMask {
    let leaves = schema.columns().iter().enumerate();
    let wanted = leaves.filter(|(_, leaf)| paths.iter().any(|path| leaf.path().parts().starts_with(path)));
    ProjectionMask::leaves(schema, wanted.map(|(index, _)| index))
}

/// The same schema with every text as plain bytes.
///
/// The decoder checks whole pages of text, so that a single row that is not UTF-8 would end the run. Read as
/// bytes, each value is checked by itself, and only that row is unreadable.
pub(super) fn texts_as_bytes(schema: &Type) -> Result<Type, ParquetError> {
    let info = schema.get_basic_info();
    let id = info.has_id().then(|| info.id());
    match schema {
        Type::GroupType { fields, .. } => {
            let fields = fields.iter().map(|field| texts_as_bytes(field).map(Arc::new));
            let group = Type::group_type_builder(schema.name())
                .with_converted_type(info.converted_type())
                .with_logical_type(info.logical_type_ref().cloned())
                .with_fields(fields.collect::<Result<_, _>>()?)
                .with_id(id);
            let repetition = info.has_repetition().then(|| info.repetition());
            match repetition {
                Some(repetition) => group.with_repetition(repetition).build(),
                None => group.build(),
            }
        }
        Type::PrimitiveType { physical_type: Physical::BYTE_ARRAY, .. } if is_text(schema) => {
            Type::primitive_type_builder(schema.name(), Physical::BYTE_ARRAY)
                .with_repetition(info.repetition())
                .with_id(id)
                .build()
        }
        Type::PrimitiveType { .. } => Ok(schema.clone()),
    }
}

fn is_text(schema: &Type) -> bool {
    let info = schema.get_basic_info();
    matches!(info.logical_type_ref(), Some(LogicalType::String | LogicalType::Json))
        || matches!(info.converted_type(), ConvertedType::UTF8 | ConvertedType::JSON)
}

/// The same schema with bytes read as views into the decoded page.
///
/// A view is not copied until its row is made, so that a page of a dictionary that repeats a long text does
/// not unfold in memory.
pub(super) fn bytes_as_views(schema: &Schema) -> Schema {
    Schema::new_with_metadata(views(schema.fields()), schema.metadata().clone())
}

fn views(fields: &Fields) -> Fields {
    fields.iter().map(view).collect()
}

fn view(field: &Arc<Field>) -> Arc<Field> {
    let data_type = match field.data_type() {
        DataType::Binary => DataType::BinaryView,
        DataType::List(item) => DataType::List(view(item)),
        DataType::Struct(fields) => DataType::Struct(views(fields)),
        DataType::Map(entry, sorted) => DataType::Map(view(entry), *sorted),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// The same fields with every text and every binary value as a view of bytes, those behind dictionaries too: a dictionary
/// that repeats a long text does not unfold in memory.
pub(super) fn bytes_for_text(fields: &Fields) -> Fields {
    let field = |field: &Arc<Field>| {
        let data_type = bytes_type(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    fields.iter().map(field).collect()
}

fn bytes_type(data_type: &DataType) -> DataType {
    let item =
        |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_data_type(bytes_type(field.data_type())));
    match data_type {
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView => DataType::BinaryView,
        DataType::Dictionary(_, value) if bytes_type(value) == DataType::BinaryView => DataType::BinaryView,
        DataType::List(field) => DataType::List(item(field)),
        DataType::LargeList(field) => DataType::LargeList(item(field)),
        DataType::ListView(field) => DataType::ListView(item(field)),
        DataType::LargeListView(field) => DataType::LargeListView(item(field)),
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(item(field), *length),
        DataType::Struct(fields) => DataType::Struct(bytes_for_text(fields)),
        DataType::Map(entry, is_sorted) => DataType::Map(item(entry), *is_sorted),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::arrow::parquet_to_arrow_schema;
    use parquet::schema::parser::parse_message_type;

    const MESSAGE: &str = "message m {
        optional binary text (UTF8);
        optional binary a.b (JSON);
        required int64 n;
        optional group meta { optional binary url (UTF8); optional group a { optional int96 t; } }
        optional group messages (LIST) { repeated group list { optional group element {
            optional binary content (UTF8); optional int32 day (DATE); } } }
        optional group map (MAP) { repeated group key_value { required binary key (UTF8); optional float value; } }
        optional fixed_len_byte_array(5) money (DECIMAL(10, 2));
    }";

    fn descriptor() -> SchemaDescriptor {
        SchemaDescriptor::new(Arc::new(parse_message_type(MESSAGE).unwrap()))
    }

    fn schema(descriptor: &SchemaDescriptor) -> Schema {
        parquet_to_arrow_schema(descriptor, None).unwrap()
    }

    #[test]
    fn the_columns_have_types_for_people() {
        let known = known(&schema(&descriptor()));
        let columns: Vec<_> =
            known.columns.iter().map(|column| format!("{}: {}", column.name, column.kind)).collect();
        insta::assert_snapshot!(columns.join("\n"), @r"
        text: string
        a.b: string
        n: int64
        meta: struct<url: string, a: struct<t: timestamp>>
        messages: list<struct<content: string, day: date>>
        map: map<string, float32>
        money: decimal128(10, 2)
        ");
        assert_eq!(known.nested, ["meta.url", "meta.a"]);
    }

    #[test]
    fn a_column_is_found_literally_or_along_its_path() {
        let schema = schema(&descriptor());
        let path = |column| path(schema.fields(), column).map(|path| path.join("/"));
        for (column, expected) in [
            ("text", "text"),
            ("a.b", "a.b"),
            ("meta.url", "meta/url"),
            ("meta.a.t", "meta/a/t"),
            ("messages.0.content", "messages"),
            ("messages.7", "messages"),
            ("map.anything", "map"),
        ] {
            assert_eq!(path(column).as_deref(), Some(expected), "{column}");
        }
        for column in
            ["", "x", "text.x", "meta.x", "messages.content", "messages.0.x", "messages.0.content.x"]
        {
            assert_eq!(path(column), None, "{column}");
        }
    }

    #[test]
    fn only_the_leaves_of_the_wanted_paths_are_decoded() {
        let schema = descriptor();
        let mask = mask(&schema, &[vec!["meta".into(), "a".into()], vec!["messages".into()]]);
        let included: Vec<_> = (0..schema.num_columns()).filter(|leaf| mask.leaf_included(*leaf)).collect();
        let names: Vec<_> = included.iter().map(|leaf| schema.column(*leaf).path().string()).collect();
        assert_eq!(names, ["meta.a.t", "messages.list.element.content", "messages.list.element.day"]);
    }

    #[test]
    fn texts_are_read_as_views_of_bytes_and_the_rest_stays_as_it_is() {
        let before = descriptor();
        let bytes = SchemaDescriptor::new(Arc::new(texts_as_bytes(before.root_schema()).unwrap()));
        let after = bytes_as_views(&schema(&bytes));
        let before = schema(&before);
        assert_eq!(before.fields().len(), after.fields().len());
        for (before, after) in before.fields().iter().zip(after.fields()) {
            let before = format!("{:?}", before.data_type()).replace("Utf8", "BinaryView");
            assert_eq!(before, format!("{:?}", after.data_type()));
        }
    }
}
