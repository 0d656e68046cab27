//! A run: one execution of a command; what it meant is one serialisable value without paths or secrets.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::question::Digest;

/// Which rows a run takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// Every row.
    All,
    /// The rows with the smallest hashes: a uniform sample without replacement.
    Random {
        /// How many.
        rows: u64,
        /// `--seed`.
        seed: u64,
    },
    /// The head.
    First {
        /// How many.
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
    /// The split, where one was named.
    pub split: Option<String>,
    /// Columns, in the order of the lens's fields.
    pub columns: Vec<String>,
    /// Which rows.
    pub take: Take,
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
        let alike = Self { take: self.take.clone(), ..other.clone() } == *self;
        let wider = match (&self.take, &other.take) {
            (Take::Random { rows, seed }, Take::Random { rows: fewer, seed: same }) => {
                rows >= fewer && seed == same
            }
            (Take::First { rows }, Take::First { rows: fewer }) => rows >= fewer,
            (Take::All, _) => true,
            (mine, theirs) => mine == theirs,
        };
        alike && wider
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(take: Take) -> Meaning {
        Meaning {
            command: "summary".into(),
            dataset: "rows.jsonl".into(),
            split: None,
            columns: vec!["text".into()],
            take,
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
            (meaning(Take::Random { rows: 10, seed: 42 }), meaning(Take::Random { rows: 20, seed: 42 }));
        assert!(large.covers(&small) && !small.covers(&large) && meaning(Take::All).covers(&large));
        assert!(!meaning(Take::Random { rows: 20, seed: 1 }).covers(&small));
        assert!(!Meaning { version: 2, ..large.clone() }.covers(&small));
        assert!(!meaning(Take::First { rows: 20 }).covers(&small));
    }

    #[test]
    fn runs_that_differ_have_different_digests() {
        assert_ne!(
            meaning(Take::All).digest(),
            Meaning { chunks: [1000, 2, 100], ..meaning(Take::All) }.digest()
        );
    }
}
