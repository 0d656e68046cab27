//! Which bytes of a parquet file will be read, so that they can be fetched before they are.

use super::{Group, Parquet};
use crate::dataset::sample::Chosen;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use std::ops::Range;

/// A column chunk up to this long is fetched whole where it is not known which of its pages are needed: going from page
/// to page would cost about as much.
const SMALL: u64 = 2 << 20;

/// Up to how many bytes between two ranges are fetched with them.
///
/// Rows that are read one after another are fetched ahead, so that only the bytes count. For rows here and there each
/// request is waited for, and costs about as much time as some megabytes; but of a small file that would be all of it.
pub(super) fn gap(parquet: &Parquet) -> u64 {
    const LEAST: u64 = 256 << 10;
    const MOST: u64 = 4 << 20;
    const SHARE: u64 = 6;
    if let Chosen::Head(_) = parquet.chosen {
        return LEAST;
    }
    let columns =
        parquet.metadata.metadata().row_groups().iter().flat_map(|group| group.columns().iter().enumerate());
    let wanted = columns.filter(|(leaf, _)| parquet.mask.leaf_included(*leaf));
    let bytes = wanted.map(|(_, column)| column.compressed_size().max(0).unsigned_abs());
    (bytes.fold(0, u64::saturating_add) / SHARE).clamp(LEAST, MOST)
}

/// The bytes of the chosen rows' pages, as far as that is known.
///
/// Without a page index only the decoder finds out where a row is: it goes from page to page, and what it asks for is
/// fetched then.
pub(super) fn plan(parquet: &Parquet) -> Vec<Range<u64>> {
    parquet.groups().iter().flat_map(|group| of_group(parquet, group)).collect()
}

fn of_group(parquet: &Parquet, group: &Group) -> Vec<Range<u64>> {
    let metadata = parquet.metadata.metadata();
    let selection = parquet.selection(group).ok().flatten();
    let indices = metadata.offset_index().and_then(|index| index.get(group.index));
    let columns = metadata.row_group(group.index).columns().iter().enumerate();
    let wanted = columns.filter(|(leaf, _)| parquet.mask.leaf_included(*leaf));
    let mut ranges = Vec::new();
    for (leaf, column) in wanted {
        let Some(chunk) = place(column) else { continue };
        let pages = indices.and_then(|index| index.get(leaf)).map(OffsetIndexMetaData::page_locations);
        match (&selection, pages.and_then(|pages| Some((pages, pages.first()?)))) {
            (Some(selection), Some((pages, first))) => {
                // The dictionary lies before the first page of values.
                let first = u64::try_from(first.offset).unwrap_or(chunk.end);
                ranges.push(chunk.start..first.clamp(chunk.start, chunk.end));
                ranges.extend(selection.scan_ranges(pages));
            }
            (Some(_), None) if chunk.end - chunk.start > SMALL && is_sparse(parquet, group) => {}
            _ => ranges.push(chunk),
        }
    }
    ranges
}

/// Whether rows are read here and there, or a few from the start on.
fn is_sparse(parquet: &Parquet, group: &Group) -> bool {
    const FEW: u64 = 4;
    let rows = parquet.metadata.metadata().row_group(group.index).num_rows().unsigned_abs();
    let decoded: u64 = group.decoded.iter().map(|run| run.end - run.start).sum();
    matches!(parquet.chosen, Chosen::Rows(_)) || decoded < rows / FEW
}

/// Where a column chunk lies. What the footer says is not taken on trust: a place that cannot be is the decoder's to refuse.
fn place(column: &ColumnChunkMetaData) -> Option<Range<u64>> {
    let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
    let start = u64::try_from(start.min(column.data_page_offset())).ok()?;
    let length = u64::try_from(column.compressed_size()).ok()?;
    Some(start..start.checked_add(length)?)
}
