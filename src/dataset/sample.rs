//! The uniform sample: which rows of a file are read.

use std::cmp::Ordering;
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

/// A row that was drawn: which file (an index), which row of it, and what finds it again.
#[derive(Debug)]
pub(super) struct Drawn<P> {
    hash: u64,
    pub(super) file: usize,
    pub(super) row: u64,
    pub(super) place: P,
}

impl<P> Drawn<P> {
    fn rank(&self) -> (u64, usize, u64) {
        (self.hash, self.file, self.row)
    }
}

impl<P> PartialEq for Drawn<P> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl<P> Eq for Drawn<P> {}

impl<P> PartialOrd for Drawn<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> Ord for Drawn<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// The rows of smallest hash among those that were offered: O(rows kept) memory, whatever is offered.
///
/// One draw goes through all files of a dataset; see [`Sample`](crate::rating::run::Sample) for the hash.
pub(super) struct Draw<P> {
    seed: u64,
    key: Vec<u8>,
    file: usize,
    most: usize,
    heap: BinaryHeap<Drawn<P>>,
}

impl<P> Draw<P> {
    pub(super) fn new(rows: u64, seed: u64) -> Self {
        let most = usize::try_from(rows).unwrap_or(usize::MAX);
        Self { seed, key: Vec::new(), file: 0, most, heap: BinaryHeap::new() }
    }

    /// Says that the rows to come are of this file: its index, and its path within the dataset.
    pub(super) fn file(&mut self, index: usize, path: &str) {
        self.file = index;
        self.key.clear();
        self.key.extend_from_slice(path.as_bytes());
        self.key.extend([0; 1 + size_of::<u64>()]);
    }

    /// Considers one row of the file. `place` is called only if the row is kept for now.
    pub(super) fn offer(&mut self, row: u64, place: impl FnOnce() -> P) {
        let number = self.key.len() - size_of::<u64>();
        self.key[number..].copy_from_slice(&row.to_le_bytes());
        let hash = xxh3_64_with_seed(&self.key, self.seed);
        let file = self.file;
        if self.heap.len() < self.most {
            self.heap.push(Drawn { hash, file, row, place: place() });
        } else if let Some(mut largest) = self.heap.peek_mut()
            && (hash, file, row) < largest.rank()
        {
            *largest = Drawn { hash, file, row, place: place() };
        }
    }

    /// The drawn rows, by file and row.
    pub(super) fn finish(self) -> Vec<Drawn<P>> {
        let mut drawn = self.heap.into_vec();
        drawn.sort_unstable_by_key(|drawn| (drawn.file, drawn.row));
        drawn
    }
}

/// Drawn rows as what is chosen of each of `files` files.
pub(super) fn by_file<P>(drawn: Vec<Drawn<P>>, files: usize) -> Vec<Chosen<P>> {
    let mut chosen: Vec<Vec<(u64, P)>> = (0..files).map(|_| Vec::new()).collect();
    for Drawn { file, row, place, .. } in drawn {
        chosen[file].push((row, place));
    }
    chosen.into_iter().map(Chosen::Rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn draw_of(file: &str, rows: u64, seed: u64, of: u64) -> Vec<u64> {
        let mut draw = Draw::new(rows, seed);
        draw.file(0, file);
        (0..of).for_each(|row| draw.offer(row, || ()));
        draw.finish().into_iter().map(|drawn| drawn.row).collect()
    }

    fn draw(rows: u64, seed: u64, of: u64) -> Vec<u64> {
        draw_of("rows.jsonl", rows, seed, of)
    }

    #[test]
    fn the_sample_of_a_name_and_a_seed_never_changes() {
        // Computed with Python's xxhash as the documentation of `rating::run::Sample` says.
        assert_eq!(draw(10, 42, 1_000), [12, 14, 77, 157, 162, 178, 325, 773, 913, 989]);
        let other = draw_of("train.parquet", 10, 7, 1_000);
        assert_eq!(other, [40, 117, 243, 275, 342, 622, 634, 687, 879, 996]);
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
    fn rows_and_shards_of_unequal_length_are_drawn_alike() {
        // Three files of 5, 20 and 35 rows: each of the 60 rows must come as often as any other.
        const SIZES: [(&str, u64); 3] = [("a", 5), ("b", 20), ("c", 35)];
        const SEEDS: u64 = 6_000;
        let mut drawn = [[0_u64; 35]; 3];
        for seed in 0..SEEDS {
            let mut draw = Draw::new(6, seed);
            for (index, (path, rows)) in SIZES.iter().enumerate() {
                draw.file(index, path);
                (0..*rows).for_each(|row| draw.offer(row, || ()));
            }
            for row in draw.finish() {
                drawn[row.file][usize::try_from(row.row).unwrap()] += 1;
            }
        }
        let expected = SEEDS as f64 * 6.0 / 60.0;
        let counts = SIZES
            .iter()
            .zip(&drawn)
            .flat_map(|((_, rows), drawn)| drawn.iter().take(usize::try_from(*rows).unwrap()));
        let square = |count: &u64| (*count as f64 - expected).powi(2) / expected;
        let rows: f64 = counts.map(square).sum();
        // Chi-square, 59 degrees of freedom: 99.9 % lie below 98.3. The seeds are fixed, so this cannot flicker.
        assert!(rows < 98.3, "{rows}");
        let shard = |(index, (_, rows)): (usize, &(&str, u64))| {
            let expected = expected * *rows as f64;
            (drawn[index].iter().sum::<u64>() as f64 - expected).powi(2) / expected
        };
        let shards: f64 = SIZES.iter().enumerate().map(shard).sum();
        // 2 degrees of freedom: 99.9 % lie below 13.8.
        assert!(shards < 13.8, "{shards}");
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
