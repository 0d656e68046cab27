//! The words that join all commands: questions, answers, ratings, failures; ledger, summary, run.
//!
//! A rating is a record seen through one lens by one rater, with an answer **or** a failure.

pub mod answer;
pub mod excerpt;
pub mod failure;
pub mod histogram;
pub mod ledger;
pub mod question;
pub mod run;
pub mod summary;

use std::ops::Range;
use std::sync::Arc;

use crate::lens::{Lens, Verdict};
use crate::record::Record;
use answer::Answer;
use failure::{Failure, Reason};

/// What a run asks of every row through one lens.
#[derive(Debug)]
pub struct Target {
    /// The lens.
    pub lens: Arc<Lens>,
    /// Names of the scores that the rater gives, in order: all of the lens's, or `overall` alone.
    pub scores: Vec<String>,
    /// Index of the overall score in `scores`.
    pub overall: usize,
    /// Who really answers: part of the cache key.
    pub model: String,
    /// `--version`: the deliberate re-rate, part of the cache key.
    pub version: u32,
}

impl Target {
    /// The verdict of a record's `scores`, given in the order of [`Target::scores`]; `None` where the lens has no cuts.
    pub fn verdict(&self, scores: &[f64]) -> Option<Verdict> {
        let cuts = self.lens.cuts.as_ref()?;
        Some(cuts.verdict(scores, *scores.get(self.overall)?))
    }
}

/// Where the answer to a chunk's question came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Asked in this run, or computed by an in-process rater.
    Asked,
    /// Found in the store.
    Cache,
    /// The same question was asked by another row of this run.
    Twin,
}

/// One chunk of a record and what was answered about it.
#[derive(Debug)]
pub struct Piece {
    /// The bytes of each field that the rater saw, in the order of the lens's fields.
    pub bytes: Vec<Range<usize>>,
    /// The answer, or why there is none.
    pub outcome: Result<Arc<Answer>, Failure>,
    /// Where the outcome came from.
    pub source: Source,
}

/// A record seen through one lens.
#[derive(Debug)]
pub struct Rating {
    /// The row.
    pub record: Arc<Record>,
    /// Index of the [`Target`] in the run.
    pub target: usize,
    /// The chunks, in the order of the text; empty when nothing could be asked.
    pub pieces: Vec<Piece>,
    /// Why nothing could be asked: the row is empty or unreadable.
    pub unasked: Option<Failure>,
    /// The score by which a cheaper rater kept the row from being asked about.
    pub screened: Option<f64>,
}

/// The one column of the ledger that a rating belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// At least one chunk was asked in this run, and all are answered.
    Rated,
    /// Every chunk was found in the store.
    Cached,
    /// Every chunk was found in the store or answered for another row of this run, at least one the latter.
    Duplicate,
    /// At least one chunk has no answer.
    Failed(Reason),
    /// A field that the lens needs is missing or blank.
    Empty,
    /// A cheaper rater put the row below the score with which it would have been asked about.
    Screened,
}

impl Rating {
    /// Why the record is not rated: a record is rated when all its chunks are.
    pub fn failure(&self) -> Option<&Failure> {
        self.unasked.as_ref().or_else(|| self.pieces.iter().find_map(|piece| piece.outcome.as_ref().err()))
    }

    /// The record's scores: each the mean over its chunks. `None` when it is not rated.
    pub fn scores(&self) -> Option<Vec<f64>> {
        let answers: Vec<&Answer> =
            self.pieces.iter().map(|piece| piece.outcome.as_deref()).collect::<Result<_, _>>().ok()?;
        let first = answers.first()?;
        let mut sums = vec![0.0; first.scores.len()];
        for answer in &answers {
            for (sum, score) in sums.iter_mut().zip(&answer.scores) {
                *sum += score;
            }
        }
        Some(sums.into_iter().map(|sum| sum / answers.len() as f64).collect())
    }

    /// The ledger's column.
    pub fn fate(&self) -> Fate {
        match self.failure() {
            Some(Failure { reason: Reason::Empty, .. }) => return Fate::Empty,
            Some(failure) => return Fate::Failed(failure.reason),
            None => {}
        }
        if self.screened.is_some() {
            return Fate::Screened;
        }
        let from = |source| self.pieces.iter().any(|piece| piece.source == source);
        if from(Source::Asked) {
            Fate::Rated
        } else if from(Source::Twin) {
            Fate::Duplicate
        } else {
            Fate::Cached
        }
    }
}
