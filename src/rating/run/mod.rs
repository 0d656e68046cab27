//! A run: one execution of a command; what it meant is one serialisable value without paths or secrets.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::excerpt::Excerpt;
use super::question::Digest;

mod outcome;

pub use outcome::{Bill, Ended, Filtered, How, Outcome, Rows, Score, Verdicts};

/// One execution of a command over one dataset and one lens.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its number in the store; none where it was not kept.
    pub id: Option<i64>,
    /// What it meant.
    pub meaning: Meaning,
    /// When it began, in milliseconds since 1970.
    pub began: i64,
    /// What came of it; nothing while it runs, or where it was killed.
    pub outcome: Option<Outcome>,
    /// Some of its rows, where they were asked for.
    pub excerpts: Vec<Excerpt>,
}

/// Which rows of a dataset are wanted.
///
/// A random sample is the rows of smallest `hash(seed, file, row)`, in row order: uniform, without
/// replacement, and nested (the sample of 1,000 is in the sample of 2,000 with the same seed). The hash is
/// XXH3-64 of the file's path within the dataset, a zero byte, and the 0-based row as 8 bytes, least
/// significant first; equal hashes go by row. In Python:
///
/// ```python
/// xxhash.xxh3_64_intdigest(b"train.parquet" + b"\0" + row.to_bytes(8, "little"), seed=42)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sample {
    /// Every row.
    All,
    /// This many rows, or all if there are fewer, drawn by the seed.
    Random {
        /// How many rows.
        rows: u64,
        /// What the draw depends on, besides file and row.
        seed: u64,
    },
    /// This many rows from the start, or all if there are fewer.
    First {
        /// How many rows.
        rows: u64,
    },
}

/// What a run over one dataset and one lens meant: enough to repeat it elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meaning {
    /// The command's name.
    pub command: String,
    /// The dataset's name; of a local path its last part.
    pub dataset: String,
    /// The config, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// The commit of a dataset at the Hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The split, where one was named.
    pub split: Option<String>,
    /// Columns, in the order of the lens's fields.
    pub columns: Vec<String>,
    /// What the sample was drawn from, where that is not all of the dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn: Option<String>,
    /// Which rows.
    pub sample: Sample,
    /// The lens's name.
    pub lens: String,
    /// Digest of the lens's text.
    pub lens_digest: String,
    /// Who answers.
    pub model: String,
    /// `--version`.
    pub version: u32,
    /// Sampling parameters as the user set them.
    pub sampling: Map<String, Value>,
    /// Tokens per chunk, chunks per document, search distance.
    pub chunks: [usize; 3],
    /// What each line carries beside the rating: `--id`, `--fields`, `--keep`.
    pub lines: Map<String, Value>,
}

impl Meaning {
    /// The digest that tells two runs apart.
    pub fn digest(&self) -> Digest {
        Digest::of(&serde_json::to_value(self).unwrap_or_default())
    }

    /// Whether `other`'s rows are all among this run's: the same run, or one that differs in a smaller `--max` alone.
    pub fn covers(&self, other: &Self) -> bool {
        let alike = Self { sample: self.sample, ..other.clone() } == *self;
        let wider = match (&self.sample, &other.sample) {
            (Sample::Random { rows, seed }, Sample::Random { rows: fewer, seed: same }) => {
                rows >= fewer && seed == same
            }
            (Sample::First { rows }, Sample::First { rows: fewer }) => rows >= fewer,
            (Sample::All, _) => true,
            (mine, theirs) => mine == theirs,
        };
        alike && wider
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(sample: Sample) -> Meaning {
        Meaning {
            command: "summary".into(),
            dataset: "rows.jsonl".into(),
            config: None,
            revision: None,
            split: None,
            columns: vec!["text".into()],
            drawn: None,
            sample,
            lens: "textbook_quality".into(),
            lens_digest: "00".into(),
            model: "heuristic".into(),
            version: 1,
            sampling: Map::new(),
            chunks: [1500, 2, 100],
            lines: Map::new(),
        }
    }

    #[test]
    fn a_larger_sample_covers_a_smaller_one_of_the_same_run() {
        let (small, large) =
            (meaning(Sample::Random { rows: 10, seed: 42 }), meaning(Sample::Random { rows: 20, seed: 42 }));
        assert!(large.covers(&small) && !small.covers(&large) && meaning(Sample::All).covers(&large));
        assert!(!meaning(Sample::Random { rows: 20, seed: 1 }).covers(&small));
        assert!(!Meaning { version: 2, ..large.clone() }.covers(&small));
        assert!(!meaning(Sample::First { rows: 20 }).covers(&small));
    }

    #[test]
    fn runs_that_differ_have_different_digests() {
        assert_ne!(
            meaning(Sample::All).digest(),
            Meaning { chunks: [1000, 2, 100], ..meaning(Sample::All) }.digest()
        );
    }
}
