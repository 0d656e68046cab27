//! What many ratings say about a dataset, with its uncertainty.

use serde::{Deserialize, Serialize};

use crate::lens::{Cuts, Scale, Verdict};
use crate::stats::{Clusters, Interval, Mean, proportion};

use super::answer::{Unsettled, Usage};
use super::excerpt::Chooser;
use super::histogram::Counter;
use super::ledger::Ledger;
use super::run::{Bill, Ended, Outcome, Score, Verdicts};
use super::{Fate, Rating, Target};

/// What the sample says about the whole dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum Inference {
    /// Every row was taken: the rated ones are not a sample of anything.
    Census,
    /// A uniform sample without replacement of a dataset of this many rows: intervals hold for those of them that can
    /// be rated.
    Population(u64),
    /// A uniform sample of the first so many rows of the dataset: intervals hold for these, and say nothing of the rest.
    Beginning(u64),
    /// Files drawn by their size, and rows drawn uniformly within them: intervals allow for rows of one file being more
    /// alike than rows of all.
    TwoStages {
        /// How many files were drawn.
        files: usize,
        /// How many there are.
        of: usize,
    },
    /// The head of the dataset: it says nothing of the rest, so there are no intervals.
    Head,
    /// A run that stopped early, or left rows to batches: those that were reached are no random sample of the rest.
    Unfinished,
}

/// An [`Inference`] as documents have it: its kind, and the numbers that belong to it.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    population: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<usize>,
}

impl From<Inference> for Written {
    fn from(inference: Inference) -> Self {
        let plain = |kind: &str| Self { kind: kind.to_owned(), population: None, files: None, of: None };
        match inference {
            Inference::Census => plain("all"),
            Inference::Population(rows) => Self { population: Some(rows), ..plain("uniform") },
            Inference::Beginning(rows) => Self { population: Some(rows), ..plain("uniform_head") },
            Inference::TwoStages { files, of } => {
                Self { files: Some(files), of: Some(of), ..plain("two_stages") }
            }
            Inference::Head => plain("head"),
            Inference::Unfinished => plain("unfinished"),
        }
    }
}

impl TryFrom<Written> for Inference {
    type Error = String;

    fn try_from(Written { kind, population, files, of }: Written) -> Result<Self, String> {
        match (kind.as_str(), population, files, of) {
            ("all", ..) => Ok(Self::Census),
            ("uniform", Some(rows), ..) => Ok(Self::Population(rows)),
            ("uniform_head", Some(rows), ..) => Ok(Self::Beginning(rows)),
            ("two_stages", _, Some(files), Some(of)) => Ok(Self::TwoStages { files, of }),
            ("head", ..) => Ok(Self::Head),
            ("unfinished", ..) => Ok(Self::Unfinished),
            _ => Err("a kind of sample that this version of the program does not know".to_owned()),
        }
    }
}

/// Which part of a dataset was rated, where that was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// The config that was asked for.
    pub config: Option<String>,
    /// The split that was asked for.
    pub split: Option<String>,
    /// The commit of a dataset at the Hub.
    pub revision: Option<String>,
}

/// One row of the tables: a dataset through one lens.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The dataset's name, as the user wrote it.
    pub dataset: String,
    /// Which part of it.
    pub part: Part,
    /// The lens's name.
    pub lens: String,
    /// Who answered.
    pub model: String,
    /// `--version`.
    pub version: u32,
    /// Where every row went.
    pub ledger: Ledger,
    /// Each score's name and mean over the rated rows.
    pub scores: Vec<(String, Mean)>,
    /// Index of the overall score.
    pub overall: usize,
    /// Rated rows by verdict, in the order of [`Verdict::ALL`]; `None` where the lens has no cuts.
    pub verdicts: Option<[u64; 4]>,
    /// Tokens and money of everything asked in this run, failures included.
    pub usage: Usage,
    /// Attempts that ended without a reply, which the server may have billed all the same.
    pub unsettled: Unsettled,
    /// What may be said of the rows that were not sampled.
    pub inference: Inference,
    /// The scale of the overall score.
    pub scale: Scale,
    /// Where it is cut into verdicts.
    pub cuts: Option<Cuts>,
    /// Chooses rows to show; `None` keeps none. Set it before the first rating.
    pub excerpts: Option<Chooser>,
    /// How many rows have which value of each score.
    histograms: Vec<Counter>,
    /// The values of each score by file, and of each verdict (1 where a row has it): what two stages are judged by.
    clusters: (Vec<Clusters>, [Clusters; 4]),
}

impl Summary {
    /// An empty summary of `rows` rows, if their number is known.
    pub fn new(dataset: &str, target: &Target, rows: Option<u64>, inference: Inference) -> Self {
        Self {
            dataset: dataset.to_owned(),
            part: Part::default(),
            lens: target.lens.name.clone(),
            model: target.model.clone(),
            version: target.version,
            ledger: Ledger { rows, ..Ledger::default() },
            scores: target.scores.iter().map(|name| (name.clone(), Mean::default())).collect(),
            overall: target.overall,
            verdicts: target.lens.cuts.is_some().then_some([0; 4]),
            usage: Usage::default(),
            unsettled: Unsettled::default(),
            inference,
            scale: target.lens.scale,
            cuts: target.lens.cuts,
            excerpts: None,
            histograms: target.scores.iter().map(|score| Counter::new(&target.lens, score)).collect(),
            clusters: (vec![Clusters::default(); target.scores.len()], Default::default()),
        }
    }

    /// Counts one rating of `target`.
    pub fn add(&mut self, rating: &Rating, target: &Target) {
        let fate = rating.fate();
        self.ledger.add(fate);
        let Some(scores) = rating.scores() else { return };
        for ((_, mean), score) in self.scores.iter_mut().zip(&scores) {
            mean.push(*score);
        }
        for (index, (counter, score)) in self.histograms.iter_mut().zip(&scores).enumerate() {
            let answers = rating.pieces.iter().filter_map(|piece| piece.outcome.as_ref().ok());
            counter.add(*score, answers.filter_map(|answer| answer.scores.get(index).copied()));
        }
        if let Some(chooser) = &mut self.excerpts {
            chooser.add(rating, target);
        }
        let verdict = target.verdict(&scores);
        if let (Some(counts), Some(verdict)) = (&mut self.verdicts, verdict) {
            for (count, _) in counts.iter_mut().zip(Verdict::ALL).filter(|(_, each)| *each == verdict) {
                *count += 1;
            }
        }
        if let Inference::TwoStages { .. } = self.inference {
            let file = rating.record.file;
            let (by_score, by_verdict) = &mut self.clusters;
            for (clusters, score) in by_score.iter_mut().zip(&scores) {
                clusters.push(file, *score);
            }
            for (clusters, each) in by_verdict.iter_mut().zip(Verdict::ALL) {
                clusters.push(file, f64::from(verdict == Some(each)));
            }
        }
        debug_assert!(fate != Fate::Empty, "an empty row has no scores");
    }

    /// Says that the dataset, of which nobody knew how many rows it has, has come to its end.
    pub fn complete(&mut self) {
        self.ledger.rows = Some(self.ledger.reached());
    }

    /// Says that no more ratings will come.
    pub fn close(&mut self) {
        if self.ledger.not_reached() != Some(0) {
            self.inference = Inference::Unfinished;
        }
    }

    /// The rows of the dataset that the intervals are for. Rows that are empty or failed are as frequent in the dataset
    /// as in the sample, so the sampling fraction, and with it the correction for a finite dataset, stays the same.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count of rows")]
    fn ratable(&self) -> Option<u64> {
        let (Inference::Population(rows) | Inference::Beginning(rows)) = self.inference else { return None };
        let (rated, drawn) = (self.ledger.answered(), self.ledger.rows?.max(1));
        Some((rows as f64 * rated as f64 / drawn as f64).ceil() as u64)
    }

    /// The 95 % interval of a score's mean over the whole dataset, given the score's index.
    pub fn mean_interval(&self, score: usize) -> Option<Interval> {
        let (_, mean) = self.scores.get(score)?;
        let varies = mean.variance().is_some_and(|variance| variance > 0.0);
        if let Inference::TwoStages { .. } = self.inference {
            return self.clusters.0.get(score)?.interval().filter(|_| varies);
        }
        let rows = self.ratable()?;
        // A few equal scores show no spread; that does not make their mean exact.
        mean.interval(Some(rows)).filter(|_| varies || mean.count() >= rows)
    }

    /// A verdict's share of the rated rows, and its 95 % interval over the whole dataset, given the verdict's index in
    /// [`Verdict::ALL`].
    pub fn share(&self, verdict: usize) -> (Option<f64>, Option<Interval>) {
        let rated = self.ledger.answered();
        let count = self.verdicts.and_then(|counts| counts.get(verdict).copied());
        let Some(count) = count.filter(|_| rated > 0) else { return (None, None) };
        let interval = match self.inference {
            Inference::TwoStages { .. } => self.clusters.1.get(verdict).and_then(Clusters::proportion),
            _ => self.ratable().and_then(|rows| proportion(count, rated, Some(rows))),
        };
        (Some(count as f64 / rated as f64), interval)
    }

    /// What came of the run, for the record: how it ended, and how many seconds it took.
    pub fn outcome(&self, ended: Ended, seconds: f64) -> Outcome {
        let scores = self.scores.iter().zip(&self.histograms).enumerate();
        let scores = scores.map(|(index, ((name, mean), counter))| Score {
            name: name.clone(),
            n: mean.count(),
            mean: mean.mean(),
            variance: mean.variance(),
            interval: self.mean_interval(index),
            estimate: match self.inference {
                Inference::TwoStages { .. } => self.clusters.0.get(index).and_then(Clusters::estimate),
                _ => mean.estimate(),
            },
            histogram: counter.histogram(),
        });
        Outcome {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            ended: Some(ended),
            seconds: Some(seconds),
            ledger: (&self.ledger).into(),
            bill: Bill {
                tokens_in: self.usage.input,
                tokens_cached: self.usage.cached_input,
                tokens_cache_write: self.usage.cache_write,
                tokens_out: self.usage.output,
                cost: self.usage.cost,
                attempts_with_unknown_bill: self.unsettled.attempts,
                unknown_bill_at_most: self.unsettled.at_most,
            },
            scores: scores.collect(),
            overall: self.overall,
            verdicts: self.verdicts.map(|counts| Verdicts {
                counts,
                intervals: std::array::from_fn(|verdict| self.share(verdict).1),
            }),
            scale: Some(self.scale),
            cuts: self.cuts,
            sample: Some(self.inference),
            filter: None,
        }
    }
}
