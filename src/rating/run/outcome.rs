//! What came of a run: enough to compare it with others, long after its rows are gone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::histogram::Histogram;
use super::super::ledger::Ledger;
use super::super::summary::Inference;
use crate::lens::{Cuts, Scale};
use crate::model::Money;
use crate::stats::Interval;
use crate::stats::compare::Estimate;

/// What came of a run over one dataset and one lens. The store keeps it as JSON; what an older version of the program did
/// not record is missing, and reads as nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// The program's version.
    pub program: String,
    /// How the run ended.
    pub ended: Option<Ended>,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// Where every row went.
    pub ledger: Rows,
    /// What it used and cost.
    #[serde(flatten)]
    pub bill: Bill,
    /// The scores that the rater gave, in order.
    pub scores: Vec<Score>,
    /// Index of the overall score in `scores`.
    pub overall: usize,
    /// Rated rows by verdict; nothing where the lens has no cuts.
    pub verdicts: Option<Verdicts>,
    /// The scale of the overall score.
    pub scale: Option<Scale>,
    /// Where the scale was cut into verdicts.
    pub cuts: Option<Cuts>,
    /// What the rows stand for.
    pub sample: Option<Inference>,
    /// What a filter made of the rows, where the run was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filtered>,
}

impl Outcome {
    /// Whether every row was reached.
    pub fn is_complete(&self) -> bool {
        match self.ended {
            Some(ended) => ended.how == How::Complete,
            // An older version did not say.
            None => self.ledger.not_reached == Some(0),
        }
    }

    /// The overall score.
    pub fn overall(&self) -> Option<&Score> {
        self.scores.get(self.overall)
    }
}

/// How a run ended, and what the shell was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The kind of end.
    pub how: How,
    /// The exit code.
    pub exit: u8,
}

/// The kinds of end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Every row was reached.
    Complete,
    /// It stopped at a bound on money or questions.
    Budget,
    /// It was asked to stop.
    Interrupted,
    /// Some of its questions wait in batches.
    Waiting,
    /// It could not go on.
    Failed,
}

/// A [`Ledger`] in the form of documents: reasons are words, and rows not reached are counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rows {
    /// Rows that the run meant to rate, where that is known.
    pub rows: Option<u64>,
    /// Asked in this run and answered.
    pub rated: u64,
    /// Answered by the store alone.
    pub cached: u64,
    /// Answered by another row of the run that asked the same.
    pub duplicate: u64,
    /// Without an answer, by reason.
    pub failed: BTreeMap<String, u64>,
    /// A field was missing or blank.
    pub empty: u64,
    /// A cheaper rater kept them from being asked about.
    pub screened: u64,
    /// Rows that the run stopped before, where that is known.
    pub not_reached: Option<u64>,
}

impl Rows {
    /// Rows with an answer.
    pub fn answered(&self) -> u64 {
        self.rated.saturating_add(self.cached).saturating_add(self.duplicate)
    }

    /// Failed rows, all reasons together.
    pub fn all_failed(&self) -> u64 {
        self.failed.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl From<&Ledger> for Rows {
    fn from(ledger: &Ledger) -> Self {
        let failed = ledger.failed.iter().map(|(reason, count)| (reason.to_string(), *count)).collect();
        Self {
            rows: ledger.rows,
            rated: ledger.rated,
            cached: ledger.cached,
            duplicate: ledger.duplicate,
            failed,
            empty: ledger.empty,
            screened: ledger.screened,
            not_reached: ledger.not_reached(),
        }
    }
}

/// What a run used and cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bill {
    /// Tokens of the prompts, cached ones included.
    pub tokens_in: u64,
    /// Those of them that the server had cached.
    pub tokens_cached: u64,
    /// Those of them that the server wrote into its cache.
    pub tokens_cache_write: u64,
    /// Tokens generated.
    pub tokens_out: u64,
    /// What they cost; nothing where that is unknown.
    pub cost: Option<Money>,
    /// Attempts that ended without a reply.
    pub attempts_with_unknown_bill: u64,
    /// What these cost at most.
    pub unknown_bill_at_most: Option<Money>,
}

/// What the rated rows have of one score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Its name.
    pub name: String,
    /// Rated rows.
    pub n: u64,
    /// The mean, if there is a row.
    pub mean: Option<f64>,
    /// The sample variance, of two rows or more.
    pub variance: Option<f64>,
    /// The 95 % interval of the mean for the dataset, where the sample allows one.
    pub interval: Option<Interval>,
    /// The mean with its standard error, as of a sample of what makes the data: by this runs are compared.
    pub estimate: Option<Estimate>,
    /// How many rows have which value.
    pub histogram: Histogram,
}

/// Rated rows by verdict, in the order of [`Verdict::ALL`](crate::lens::Verdict::ALL).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Verdicts {
    /// How many rows.
    pub counts: [u64; 4],
    /// The 95 % intervals of their shares for the dataset, where the sample allows them.
    pub intervals: [Option<Interval>; 4],
}

/// What a filter made of its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filtered {
    /// Rows that were kept.
    pub kept: u64,
    /// Rows that were dropped.
    pub dropped: u64,
    /// Rows without a rating.
    pub unrated: u64,
    /// What was asked of a row, in words or as the user wrote it.
    pub cut: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_comes_back_from_json_as_it_was() {
        let outcome = Outcome {
            program: "1.2.3".into(),
            ended: Some(Ended { how: How::Budget, exit: 4 }),
            seconds: Some(1.5),
            ledger: Rows {
                rows: Some(9),
                rated: 5,
                failed: [("refusal".to_owned(), 4)].into(),
                not_reached: Some(0),
                ..Rows::default()
            },
            bill: Bill { tokens_in: 7, cost: Some(Money::from_pico(123_456)), ..Bill::default() },
            scores: vec![Score {
                name: "overall".into(),
                n: 5,
                mean: Some(2.0),
                variance: Some(0.25),
                interval: Some(Interval { low: 1.5, high: 2.5 }),
                estimate: Some(Estimate { mean: 2.0, error: 0.1, freedom: 4 }),
                histogram: Histogram::default(),
            }],
            overall: 0,
            verdicts: Some(Verdicts { counts: [1, 2, 0, 2], intervals: [None; 4] }),
            scale: Some(Scale::DEFAULT),
            cuts: Some(Cuts::DEFAULT),
            sample: Some(Inference::TwoStages { files: 3, of: 9 }),
            filter: Some(Filtered { kept: 1, dropped: 2, unrated: 3, cut: "min 2.5".into() }),
        };
        let json = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&json).unwrap(), outcome);
    }

    #[test]
    fn what_an_older_version_recorded_is_read_as_far_as_it_goes() {
        let old = r#"{"ledger":{"rows":3,"rated":2,"cached":0,"duplicate":0,"failed":{"refusal":1},"empty":0,"not_reached":0},
            "cost":0.25,"unknown_bill_at_most":0.0}"#;
        let outcome: Outcome = serde_json::from_str(old).unwrap();
        assert!(outcome.is_complete());
        assert_eq!((outcome.ledger.answered(), outcome.ledger.all_failed()), (2, 1));
        assert_eq!(outcome.bill.cost, Some(Money::from_dollars(0.25)));
        assert_eq!((outcome.overall(), outcome.ended), (None, None));
    }
}
