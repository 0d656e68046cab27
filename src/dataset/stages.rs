//! The sample of very many files, in two stages: files drawn by their size, then rows drawn within them.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Draws at most `most` of the files (path, size in bytes) without replacement, each with a chance that grows with
/// its size, and gives their indices in the order of the draw: the first of a larger draw are the smaller draw.
///
/// File *f* of size *w* has the key −ln(u)/w, where u in (0, 1] comes from the hash of its path; the smallest keys win.
/// Source: P. S. Efraimidis and P. G. Spirakis, "Weighted random sampling with a reservoir", Information Processing
/// Letters 97 (2006) 181–185, algorithm A-ES (u^(1/w) largest, which is the same order).
pub(super) fn files<'p>(sizes: impl Iterator<Item = (&'p str, u64)>, most: usize, seed: u64) -> Vec<usize> {
    let key = |(path, size): (&str, u64)| {
        // 53 bits are what a double holds of a fraction.
        let fraction = ((xxh3_64_with_seed(path.as_bytes(), seed) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -fraction.ln() / size as f64
    };
    let mut keys: Vec<(f64, usize)> = sizes
        .enumerate()
        .filter(|(_, (_, size))| *size > 0)
        .map(|(index, file)| (key(file), index))
        .collect();
    keys.sort_by(|(one, first), (other, second)| one.total_cmp(other).then(first.cmp(second)));
    keys.into_iter().take(most).map(|(_, index)| index).collect()
}

/// How many rows to take of each drawn file, given how many it has: one of each in turn, in the order of the draw, until
/// there are `wanted`. A file that has no more is passed over. Each share grows with `wanted`, so that a smaller sample
/// is in a larger one.
pub(super) fn shares(rows: &[u64], wanted: u64) -> Vec<u64> {
    // The largest level that can be given to all, then one more to the first of those that have it.
    let given = |level: u64| rows.iter().map(|rows| (*rows).min(level)).fold(0, u64::saturating_add);
    let (mut low, mut high) = (0, wanted);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if given(middle) <= wanted {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    let mut left = wanted - given(low).min(wanted);
    rows.iter()
        .map(|rows| {
            let extra = u64::from(left > 0 && *rows > low);
            left -= extra;
            (*rows).min(low) + extra
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_are_taken_from_the_files_in_turn() {
        assert_eq!(shares(&[10, 10, 10], 7), [3, 2, 2]);
        assert_eq!(shares(&[1, 10, 2], 8), [1, 5, 2]);
        assert_eq!(shares(&[1, 1], 8), [1, 1]);
        assert_eq!(shares(&[], 8), [0_u64; 0]);
    }

    #[test]
    fn a_file_is_drawn_by_its_size() {
        let names: Vec<String> = (0..8).map(|n| format!("data/{n}.parquet")).collect();
        let sizes =
            || names.iter().enumerate().map(|(n, name)| (name.as_str(), if n == 0 { 700 } else { 100 }));
        let first = (0..4_000).filter(|seed| files(sizes(), 1, *seed) == [0]).count();
        // The large file is half of all bytes: 2,000 expected, standard deviation 32. The seeds are fixed.
        assert!((1_880..2_120).contains(&first), "{first}");
    }

    #[test]
    fn an_empty_file_is_never_drawn() {
        assert_eq!(files([("a", 0), ("b", 1)].into_iter(), 5, 42), [1]);
    }

    proptest! {
        #[test]
        fn a_smaller_draw_is_in_a_larger(rows in proptest::collection::vec(0_u64..20, 1..9), wanted in 0_u64..60, more in 0_u64..20) {
            let (small, large) = (shares(&rows, wanted), shares(&rows, wanted + more));
            prop_assert_eq!(small.iter().sum::<u64>(), wanted.min(rows.iter().sum()));
            prop_assert!(small.iter().zip(&large).all(|(small, large)| small <= large));
            prop_assert!(large.iter().zip(&rows).all(|(share, rows)| share <= rows));
            let names: Vec<String> = (0..rows.len()).map(|n| n.to_string()).collect();
            let sizes = || names.iter().map(String::as_str).zip(rows.iter().copied());
            let (few, many) = (files(sizes(), 2, more), files(sizes(), 5, more));
            prop_assert_eq!(&many[..few.len()], &few[..]);
        }
    }
}
