//! The uniform sample: which rows of a file are read.

use std::collections::BinaryHeap;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The rows to read of one file; `P` is what finds a row again (nothing, or a place in the file).
#[derive(Debug, PartialEq)]
pub(super) enum Chosen<P> {
    /// The rows before this one.
    Head(u64),
    /// These rows, in row order.
    Rows(Vec<(u64, P)>),
}

impl<P> Chosen<P> {
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Head(rows) => *rows,
            Self::Rows(rows) => rows.len() as u64,
        }
    }

    /// The chosen rows that lie within `part`, as runs of neighbours.
    pub(super) fn within(&self, part: Range<u64>) -> Vec<Range<u64>> {
        match self {
            Self::Head(rows) => {
                let head = part.start..part.end.min(*rows);
                Some(head).filter(|head| !head.is_empty()).into_iter().collect()
            }
            Self::Rows(rows) => {
                let start = rows.partition_point(|(row, _)| *row < part.start);
                let end = rows.partition_point(|(row, _)| *row < part.end);
                let mut runs: Vec<Range<u64>> = Vec::new();
                for (row, _) in &rows[start..end] {
                    match runs.last_mut() {
                        Some(run) if run.end == *row => run.end += 1,
                        _ => runs.push(*row..row + 1),
                    }
                }
                runs
            }
        }
    }
}

/// The rows of smallest hash among those that were offered: O(rows kept) memory, whatever is offered.
pub(super) struct Draw<P> {
    seed: u64,
    key: Vec<u8>,
    most: usize,
    heap: BinaryHeap<(u64, u64, P)>,
}

impl<P: Ord> Draw<P> {
    pub(super) fn new(rows: u64, seed: u64, file: &str) -> Self {
        let mut key = file.as_bytes().to_vec();
        key.extend([0; 1 + size_of::<u64>()]);
        Self { seed, key, most: usize::try_from(rows).unwrap_or(usize::MAX), heap: BinaryHeap::new() }
    }

    /// Considers one row. `place` is called only if the row is kept for now.
    pub(super) fn offer(&mut self, row: u64, place: impl FnOnce() -> P) {
        let number = self.key.len() - size_of::<u64>();
        self.key[number..].copy_from_slice(&row.to_le_bytes());
        let hash = xxh3_64_with_seed(&self.key, self.seed);
        if self.heap.len() < self.most {
            self.heap.push((hash, row, place()));
        } else if let Some(mut largest) = self.heap.peek_mut()
            && (hash, row) < (largest.0, largest.1)
        {
            *largest = (hash, row, place());
        }
    }

    pub(super) fn finish(self) -> Chosen<P> {
        let mut rows: Vec<_> = self.heap.into_iter().map(|(_, row, place)| (row, place)).collect();
        rows.sort_unstable_by_key(|(row, _)| *row);
        Chosen::Rows(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn draw(rows: u64, seed: u64, of: u64) -> Vec<u64> {
        let mut draw = Draw::new(rows, seed, "rows.jsonl");
        (0..of).for_each(|row| draw.offer(row, || ()));
        match draw.finish() {
            Chosen::Rows(rows) => rows.into_iter().map(|(row, ())| row).collect(),
            Chosen::Head(_) => unreachable!(),
        }
    }

    #[test]
    fn the_sample_of_a_name_and_a_seed_never_changes() {
        // Computed with Python's xxhash as the documentation of `rating::run::Sample` says.
        assert_eq!(draw(10, 42, 1_000), [12, 14, 77, 157, 162, 178, 325, 773, 913, 989]);
        let mut other = Draw::new(10, 7, "train.parquet");
        (0..1_000).for_each(|row| other.offer(row, || ()));
        let rows = [40, 117, 243, 275, 342, 622, 634, 687, 879, 996].map(|row| (row, ()));
        assert_eq!(other.finish(), Chosen::Rows(rows.into()));
    }

    #[test]
    fn every_row_is_drawn_about_as_often_as_any_other() {
        let mut drawn = [0_u32; 20];
        for seed in 0..4_000 {
            for row in draw(5, seed, 20) {
                drawn[usize::try_from(row).unwrap()] += 1;
            }
        }
        // 1,000 expected in each, standard deviation 27; the seeds are fixed, so this cannot flicker.
        assert!(drawn.iter().all(|&times| (880..1_120).contains(&times)), "{drawn:?}");
    }

    #[test]
    fn the_chosen_rows_within_a_part_are_runs_of_neighbours() {
        let rows = Chosen::Rows([1, 2, 4, 5, 6, 9].map(|row| (row, ())).into());
        assert_eq!(rows.within(2..6), [2..3, 4..6]);
        assert_eq!(rows.within(7..9), []);
        let head = |part| Chosen::<()>::Head(5).within(part).pop();
        assert_eq!([head(0..3), head(3..9), head(5..9)], [Some(0..3), Some(3..5), None]);
    }

    #[test]
    fn a_draw_of_no_rows_has_none() {
        assert!(draw(0, 1, 10).is_empty());
    }

    proptest! {
        #[test]
        fn a_smaller_sample_is_in_the_larger(small in 0_u64..40, more in 0_u64..40, seed: u64, of in 0_u64..60) {
            let large = draw(small + more, seed, of);
            let small_rows = draw(small, seed, of);
            prop_assert_eq!(small_rows.len() as u64, small.min(of));
            prop_assert!(small_rows.iter().all(|row| large.contains(row)));
            prop_assert!(large.is_sorted());
        }
    }
}
