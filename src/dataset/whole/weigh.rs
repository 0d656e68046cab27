//! How many bytes each row of decoded columns is going to take.
//!
//! What is decoded may be smaller than what it stands for: of a text that is repeated by a dictionary there is one copy.

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait};
use arrow::datatypes::{DataType, i256};
use std::ops::Range;

/// Adds to each row's weight what it has in this array.
pub(super) fn weigh(array: &ArrayRef, rows: &mut [u64]) {
    const WORD: u64 = 8;
    match array.data_type() {
        DataType::Binary => offsets(array.as_binary::<i32>().value_offsets(), rows),
        DataType::LargeBinary => offsets(array.as_binary::<i64>().value_offsets(), rows),
        DataType::Utf8 => offsets(array.as_string::<i32>().value_offsets(), rows),
        DataType::LargeUtf8 => offsets(array.as_string::<i64>().value_offsets(), rows),
        DataType::BinaryView => lengths(array.as_binary_view().lengths(), rows),
        DataType::Utf8View => lengths(array.as_string_view().lengths(), rows),
        DataType::Dictionary(_, _) => {
            let Some(dictionary) = array.as_any_dictionary_opt() else { return };
            let values = dictionary.values();
            if values.is_empty() {
                return;
            }
            let mut each = vec![0; values.len()];
            weigh(values, &mut each);
            for (row, key) in rows.iter_mut().zip(dictionary.normalized_keys()) {
                *row = row.saturating_add(each[key]);
            }
        }
        DataType::List(_) => {
            list(array.as_list::<i32>().values(), array.as_list::<i32>().value_offsets(), rows);
        }
        DataType::LargeList(_) => {
            list(array.as_list::<i64>().values(), array.as_list::<i64>().value_offsets(), rows);
        }
        DataType::ListView(_) => {
            let views = array.as_list_view::<i32>();
            runs(
                views.values(),
                (0..views.len()).map(|at| run(views.value_offset(at), views.value_size(at))),
                rows,
            );
        }
        DataType::LargeListView(_) => {
            let views = array.as_list_view::<i64>();
            runs(
                views.values(),
                (0..views.len()).map(|at| run(views.value_offset(at), views.value_size(at))),
                rows,
            );
        }
        DataType::Map(_, _) => {
            let map = array.as_map();
            for column in map.entries().columns() {
                list(column, map.value_offsets(), rows);
            }
        }
        DataType::FixedSizeList(_, length) => {
            let length = usize::try_from(*length).unwrap_or(0);
            let each = (0..array.len()).map(|at| at * length..(at + 1) * length);
            runs(array.as_fixed_size_list().values(), each, rows);
        }
        DataType::Struct(_) => array.as_struct().columns().iter().for_each(|column| weigh(column, rows)),
        DataType::FixedSizeBinary(length) => add(rows, u64::from(length.unsigned_abs())),
        DataType::Null => {}
        DataType::RunEndEncoded(_, _) | DataType::Union(_, _) => {
            add(rows, (array.get_array_memory_size() / array.len().max(1)) as u64);
        }
        other => add(rows, other.primitive_width().map_or(WORD, |width| width.min(size_of::<i256>()) as u64)),
    }
}

fn add(rows: &mut [u64], weight: u64) {
    for row in rows {
        *row = row.saturating_add(weight);
    }
}

fn lengths(lengths: impl Iterator<Item = u32>, rows: &mut [u64]) {
    const VIEW: u64 = 16;
    for (row, length) in rows.iter_mut().zip(lengths) {
        *row = row.saturating_add(VIEW + u64::from(length));
    }
}

fn offsets<O: OffsetSizeTrait>(offsets: &[O], rows: &mut [u64]) {
    for (row, ends) in rows.iter_mut().zip(offsets.windows(2)) {
        *row = row.saturating_add((ends[1].as_usize() - ends[0].as_usize() + size_of::<O>()) as u64);
    }
}

fn run<O: OffsetSizeTrait>(offset: O, size: O) -> Range<usize> {
    offset.as_usize()..offset.as_usize() + size.as_usize()
}

fn list<O: OffsetSizeTrait>(items: &ArrayRef, offsets: &[O], rows: &mut [u64]) {
    runs(items, offsets.windows(2).map(|ends| ends[0].as_usize()..ends[1].as_usize()), rows);
}

/// Rows that have these items each.
fn runs(items: &ArrayRef, runs: impl Iterator<Item = Range<usize>>, rows: &mut [u64]) {
    const OFFSET: u64 = 8;
    let mut each = vec![0; items.len()];
    weigh(items, &mut each);
    // The weight of all items before each one.
    let mut before = Vec::with_capacity(each.len() + 1);
    before.push(0_u64);
    for weight in each {
        before.push(before.last().copied().unwrap_or(0).saturating_add(weight));
    }
    for (row, run) in rows.iter_mut().zip(runs) {
        let end = before.get(run.end).copied().unwrap_or(0);
        let start = before.get(run.start).copied().unwrap_or(0);
        *row = row.saturating_add(end.saturating_sub(start)).saturating_add(OFFSET);
    }
}
