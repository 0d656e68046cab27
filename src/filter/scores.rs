//! Scores of rows, apart from the rows: what a filter judges by, whether they were just given or come from a file.
//!
//! As a table they are: `id`, and for each lens `<lens>_score`, `<lens>_<field>` for each of its fields, `<lens>_verdict`
//! and `<lens>_failure`.

use crate::lens::Verdict;

/// A lens whose scores are at hand.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// The lens's name.
    pub lens: String,
    /// Names of its score fields, in order; `overall` alone of a rater that gives no other.
    pub fields: Vec<String>,
    /// Lowest and highest value, where the scale is known.
    pub scale: Option<(f64, f64)>,
    /// Whether its rows have verdicts.
    pub has_verdicts: bool,
}

impl Scores {
    /// The names of its columns in a table of scores.
    pub fn columns(&self) -> Vec<String> {
        let own = ["score", "first", "verdict", "failure"].into_iter();
        own.chain(self.fields.iter().map(String::as_str))
            .map(|what| format!("{}_{what}", self.lens))
            .collect()
    }
}

/// What a lens says of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Scored {
    /// It was rated.
    Rated {
        /// The overall score.
        score: f64,
        /// One value per name of [`Scores::fields`].
        fields: Vec<f64>,
        /// The verdict, where the lens has cuts.
        verdict: Option<Verdict>,
    },
    /// A cheaper rater put it below the cut, with this score, so it was not asked about.
    Screened(f64),
    /// It has no rating: `reason: what happened`.
    Unrated(String),
}

/// A row's id, and what each lens says of it, in the order of the lenses.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredRow {
    /// The record's id.
    pub id: String,
    /// One per lens.
    pub lenses: Vec<Scored>,
}
