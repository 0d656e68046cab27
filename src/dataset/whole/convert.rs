//! From the types that a file is decoded in to those of the dataset.
//!
//! Decoders give texts as bytes. They become texts here, and are checked: an array that holds a value that is not UTF-8,
//! or that its type cannot hold, is refused.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, FixedSizeListArray, GenericBinaryArray,
    GenericListArray, GenericStringArray, MapArray, OffsetSizeTrait, StructArray, new_null_array,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::error::ArrowError;
use arrow::util::display::FormatOptions;
use std::sync::Arc;

/// How many dictionaries are remembered.
const REMEMBERED: usize = 256;

/// Converts arrays; dictionaries that come with each of many arrays once.
#[derive(Debug, Default)]
pub(super) struct Converter {
    dictionaries: Vec<Dictionary>,
}

/// The values of a dictionary.
#[derive(Debug)]
struct Dictionary {
    /// As they were decoded. While they are held no others are in their place.
    source: ArrayRef,
    /// Their texts, null where they are none.
    texts: ArrayRef,
    /// What is wrong with each value, where one of them is no text.
    faults: Option<BooleanArray>,
}

impl Converter {
    /// The same values as this type, or why that cannot be.
    pub(super) fn array(&mut self, array: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
        if array.data_type() == to {
            return Ok(array.clone());
        }
        match (array.data_type(), to) {
            (DataType::Null, _) => Ok(new_null_array(to, array.len())),
            (DataType::Struct(_), DataType::Struct(fields)) => self.record(array.as_struct(), fields),
            (DataType::List(_), DataType::List(item)) => self.list::<i32, i32>(array.as_list(), item),
            (DataType::List(_), DataType::LargeList(item)) => self.list::<i32, i64>(array.as_list(), item),
            (DataType::LargeList(_), DataType::LargeList(item)) => {
                self.list::<i64, i64>(array.as_list(), item)
            }
            (DataType::FixedSizeList(_, _), DataType::FixedSizeList(item, length)) => {
                let list = array.as_fixed_size_list();
                let values = self.array(list.values(), item.data_type())?;
                let nulls = list.nulls().cloned();
                let list = FixedSizeListArray::try_new(item.clone(), *length, values, nulls);
                Ok(Arc::new(list.map_err(words)?))
            }
            // Views of a list may point anywhere: the items of these rows alone are put in order first.
            (DataType::ListView(item), DataType::ListView(to_item)) => {
                let list = cast(array, &DataType::List(item.clone()))?;
                cast(&self.array(&list, &DataType::List(to_item.clone()))?, to)
            }
            (DataType::LargeListView(item), DataType::LargeListView(to_item)) => {
                let list = cast(array, &DataType::LargeList(item.clone()))?;
                cast(&self.array(&list, &DataType::LargeList(to_item.clone()))?, to)
            }
            (DataType::Map(_, _), DataType::Map(entry, is_sorted)) => {
                self.map(array.as_map(), entry, *is_sorted)
            }
            (DataType::Dictionary(_, value), DataType::Dictionary(_, to_value)) if is_bytes(value) => {
                self.dictionary(array, to_value)
            }
            (DataType::Dictionary(_, value), _) if is_bytes(value) => self.array(&cast(array, value)?, to),
            (from, DataType::Dictionary(_, value)) if is_bytes(from) => cast(&bytes(array, value)?, to),
            (from, to) if is_bytes(from) => bytes(array, to),
            _ => cast(array, to),
        }
    }

    fn record(&mut self, array: &StructArray, fields: &Fields) -> Result<ArrayRef, String> {
        let columns = fields.iter().map(|field| match array.column_by_name(field.name()) {
            Some(column) => self.array(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), array.len())),
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let nulls = array.nulls().cloned();
        let record = StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len());
        Ok(Arc::new(record.map_err(words)?))
    }

    fn list<From: OffsetSizeTrait, To: OffsetSizeTrait>(
        &mut self,
        array: &GenericListArray<From>,
        item: &Arc<Field>,
    ) -> Result<ArrayRef, String> {
        let (values, offsets) = within(array.values(), array.offsets())?;
        let values = self.array(&values, item.data_type())?;
        let list = GenericListArray::<To>::try_new(item.clone(), offsets, values, array.nulls().cloned());
        Ok(Arc::new(list.map_err(words)?))
    }

    fn map(&mut self, array: &MapArray, entry: &Arc<Field>, is_sorted: bool) -> Result<ArrayRef, String> {
        let entries: ArrayRef = Arc::new(array.entries().clone());
        let (entries, offsets) = within(&entries, array.offsets())?;
        let entries = match entry.data_type() {
            // Its fields are known by their places.
            DataType::Struct(fields) => {
                let columns = entries.as_struct().columns().iter().zip(fields);
                let columns = columns.map(|(column, field)| self.array(column, field.data_type()));
                StructArray::try_new(
                    fields.clone(),
                    columns.collect::<Result<_, _>>()?,
                    entries.nulls().cloned(),
                )
                .map_err(words)?
            }
            _ => entries.as_struct().clone(),
        };
        let map = MapArray::try_new(entry.clone(), offsets, entries, array.nulls().cloned(), is_sorted);
        Ok(Arc::new(map.map_err(words)?))
    }

    fn dictionary(&mut self, array: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
        let Some(dictionary) = array.as_any_dictionary_opt() else { return Err("no dictionary".into()) };
        let values = dictionary.values();
        let is_known = |known: &Dictionary| known.texts.data_type() == to && is_same(&known.source, values);
        let known = if let Some(known) = self.dictionaries.iter().position(is_known) {
            known
        } else {
            self.dictionaries.truncate(REMEMBERED - 1);
            self.dictionaries.insert(0, Dictionary::new(values, to)?);
            0
        };
        let known = &self.dictionaries[known];
        if let Some(faults) = &known.faults {
            let keys = dictionary.normalized_keys();
            let used = (0..array.len()).filter(|row| dictionary.is_valid(*row)).map(|row| keys[row]);
            if let Some(key) = used.into_iter().find(|key| faults.value(*key)) {
                return bytes(&values.slice(key, 1), to);
            }
        }
        Ok(dictionary.with_values(known.texts.clone()))
    }
}

impl Dictionary {
    fn new(values: &ArrayRef, to: &DataType) -> Result<Self, String> {
        let source = values.clone();
        if let Ok(texts) = bytes(values, to) {
            return Ok(Self { source, texts, faults: None });
        }
        let each: Vec<bool> = (0..values.len()).map(|at| bytes(&values.slice(at, 1), to).is_err()).collect();
        let texts = cast_with_options(
            values,
            to,
            &CastOptions { safe: true, format_options: FormatOptions::default() },
        );
        Ok(Self { source, texts: texts.map_err(words)?, faults: Some(each.into()) })
    }
}

/// Whether both are the same bytes in memory.
fn is_same(one: &ArrayRef, other: &ArrayRef) -> bool {
    let place = |array: &ArrayRef| {
        let data = array.to_data();
        let buffers = data.buffers().iter().map(|buffer| buffer.as_ptr() as usize).collect::<Vec<_>>();
        (data.offset(), data.len(), buffers)
    };
    one.data_type() == other.data_type() && place(one) == place(other)
}

/// The items of these lists alone, and where each list begins among them.
fn within<From: OffsetSizeTrait, To: OffsetSizeTrait>(
    items: &ArrayRef,
    offsets: &OffsetBuffer<From>,
) -> Result<(ArrayRef, OffsetBuffer<To>), String> {
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else {
        return Err("no offsets".into());
    };
    let shifted = shifted(offsets)?;
    Ok((items.slice(first.as_usize(), last.as_usize() - first.as_usize()), shifted))
}

/// The same lengths from 0 on.
fn shifted<From: OffsetSizeTrait, To: OffsetSizeTrait>(
    offsets: &OffsetBuffer<From>,
) -> Result<OffsetBuffer<To>, String> {
    let first = offsets.first().map_or(0, |first| first.as_usize());
    let shifted: Option<Vec<To>> =
        offsets.iter().map(|offset| To::from_usize(offset.as_usize() - first)).collect();
    Ok(OffsetBuffer::new(ScalarBuffer::from(shifted.ok_or(TOO_LARGE)?)))
}

const TOO_LARGE: &str = "more than 2 GiB in one row";

fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// Bytes as text, or as bytes of another kind.
fn bytes(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
    match (array.data_type(), to) {
        (from, to) if from == to => Ok(array.clone()),
        (_, DataType::Utf8) => string(&gathered::<i32>(array)?),
        (_, DataType::LargeUtf8) => string(&gathered::<i64>(array)?),
        (_, DataType::Binary) => Ok(Arc::new(gathered::<i32>(array)?)),
        (_, DataType::LargeBinary) => Ok(Arc::new(gathered::<i64>(array)?)),
        (DataType::BinaryView, DataType::Utf8View) => {
            let views = array.as_binary_view();
            views.clone().to_string_view().map(|texts| Arc::new(texts) as ArrayRef).map_err(|_| fault(views))
        }
        (_, DataType::Utf8View) => cast(&string(&gathered::<i64>(array)?)?, to),
        _ => cast(array, to),
    }
}

fn string<O: OffsetSizeTrait>(bytes: &GenericBinaryArray<O>) -> Result<ArrayRef, String> {
    let (offsets, values, nulls) = bytes.clone().into_parts();
    match GenericStringArray::<O>::try_new(offsets, values, nulls) {
        Ok(texts) => Ok(Arc::new(texts)),
        Err(error) => {
            let mut values = bytes.iter().flatten();
            Err(values.find_map(not_text).unwrap_or_else(|| words(error)))
        }
    }
}

fn fault(views: &BinaryViewArray) -> String {
    views.iter().flatten().find_map(not_text).unwrap_or_else(|| "not UTF-8 text".into())
}

/// Why these bytes are no text, in the words of [`crate::record::cell::cell`].
fn not_text(bytes: &[u8]) -> Option<String> {
    let error = str::from_utf8(bytes).err()?;
    Some(format!("not UTF-8 text, from byte {}", error.valid_up_to() + 1))
}

/// Bytes one after the other, those of these rows alone.
fn gathered<O: OffsetSizeTrait>(array: &ArrayRef) -> Result<GenericBinaryArray<O>, String> {
    fn neighbours<From: OffsetSizeTrait, O: OffsetSizeTrait>(
        array: &GenericBinaryArray<From>,
    ) -> Result<GenericBinaryArray<O>, String> {
        let offsets = array.value_offsets();
        let (first, last) = (offsets[0].as_usize(), offsets[array.len()].as_usize());
        let values = array.values().slice_with_length(first, last - first);
        GenericBinaryArray::try_new(shifted(array.offsets())?, values, array.nulls().cloned()).map_err(words)
    }
    match array.data_type() {
        DataType::Binary => neighbours(array.as_binary::<i32>()),
        DataType::LargeBinary => neighbours(array.as_binary::<i64>()),
        DataType::BinaryView => {
            let views = array.as_binary_view();
            let bytes = (0..views.len()).filter(|at| views.is_valid(*at)).map(|at| views.value(at).len());
            let mut values = Vec::with_capacity(bytes.sum());
            let mut offsets = Vec::with_capacity(views.len() + 1);
            offsets.push(O::usize_as(0));
            for at in 0..views.len() {
                if views.is_valid(at) {
                    values.extend_from_slice(views.value(at));
                }
                offsets.push(O::from_usize(values.len()).ok_or(TOO_LARGE)?);
            }
            let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
            GenericBinaryArray::try_new(offsets, Buffer::from_vec(values), views.nulls().cloned())
                .map_err(words)
        }
        other => Err(format!("values of type {other} are no bytes")),
    }
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    cast_with_options(array, to, &options).map_err(words)
}

fn words(error: ArrowError) -> String {
    match error {
        ArrowError::InvalidArgumentError(detail)
        | ArrowError::CastError(detail)
        | ArrowError::ComputeError(detail) => detail,
        other => other.to_string(),
    }
}
