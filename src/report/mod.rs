//! What runs say together: how each dataset was over time, and which changes are more than noise.
//!
//! Runs of one dataset, lens and rater are a series. A run is compared with the one before it of the same series, if
//! both asked the same of rows that were chosen in the same way.

pub mod csv;
pub mod html;
pub mod json;
pub mod markdown;
mod plot;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::rating::run::{Meaning, Outcome, Run, Sample};
use crate::rating::summary::Inference;
use crate::stats::compare::{Comparison, compare};

pub use words::{cost, describe, ended, failures, filtered, mean, stamp, when};

/// The probability below which a change is more than noise, unless it is told otherwise.
pub const LEVEL: f64 = 0.01;

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system says no.
    #[error(
        "cannot write the report {path}: {source}; name a file in a folder that exists and can be written"
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The page's template failed.
    #[error("the report's template failed: {0}; this is a fault of the program, please report it")]
    Template(#[from] minijinja::Error),
}

/// Series of runs, each run beside the one before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// When it was made, in milliseconds since 1970.
    pub made: i64,
    /// The probability below which a change is more than noise.
    pub level: f64,
    /// In the order of their keys; each has at least one run.
    pub series: Vec<Series>,
    /// Runs that could not be read.
    pub unreadable: u64,
}

/// The runs of one dataset, lens and rater.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What they have in common.
    pub key: Key,
    /// In the order of time.
    pub points: Vec<Point>,
}

/// What the runs of a series have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The dataset's name.
    pub dataset: String,
    /// The config that was named.
    pub config: Option<String>,
    /// The split that was named.
    pub split: Option<String>,
    /// The lens's name.
    pub lens: String,
    /// Who answered.
    pub model: String,
    /// `--version`.
    pub version: u32,
}

impl Key {
    fn of(meaning: &Meaning) -> Self {
        Self {
            dataset: meaning.dataset.clone(),
            config: meaning.config.clone(),
            split: meaning.split.clone(),
            lens: meaning.lens.clone(),
            model: meaning.model.clone(),
            version: meaning.version,
        }
    }
}

/// Names only: strangers' text, with its control characters.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.dataset)?;
        for part in [&self.config, &self.split].into_iter().flatten() {
            write!(f, " ({part})")?;
        }
        write!(f, " · {} · {}", self.lens, self.model)?;
        if self.version == 1 { Ok(()) } else { write!(f, " · version {}", self.version) }
    }
}

/// A run, and how it differs from the one before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The run.
    pub run: Run,
    /// What it is beside the last complete run before it.
    pub change: Change,
}

impl Point {
    /// What came of the run, if it reached every row.
    pub fn complete(&self) -> Option<&Outcome> {
        self.run.outcome.as_ref().filter(|outcome| outcome.is_complete())
    }
}

/// What a run is beside the last complete one before it.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// There is none before it.
    First,
    /// The run did not reach every row: those that it reached are no sample of the others.
    Unfinished,
    /// Something else was asked, or of other rows: what changed.
    Broken(Vec<String>),
    /// A test would say nothing: why.
    Untested(&'static str),
    /// The means were compared.
    Compared {
        /// The test.
        comparison: Comparison,
        /// What it says at the report's level.
        way: Way,
    },
}

/// What a test says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The mean fell by more than noise.
    Drop,
    /// It rose by more than noise.
    Rise,
    /// Noise explains the difference.
    Noise,
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Rise => "rise",
            Self::Noise => "within_noise",
        }
    }
}

impl Report {
    /// Sorts runs into series and compares each complete run with the one before it. `level` is the probability below
    /// which a change is more than noise, `made` the time of the report in milliseconds since 1970.
    pub fn new(mut runs: Vec<Run>, level: f64, made: i64) -> Self {
        runs.sort_by_key(|run| (run.began, run.id));
        let mut series: BTreeMap<Key, Vec<Point>> = BTreeMap::new();
        for run in runs {
            let points = series.entry(Key::of(&run.meaning)).or_default();
            let before = points.iter().rev().find(|point| has_mean(point.complete()));
            let change = change(before.map(|point| &point.run), &run, level);
            points.push(Point { run, change });
        }
        let series = series.into_iter().map(|(key, points)| Series { key, points }).collect();
        Self { made, level, series, unreadable: 0 }
    }

    /// Leaves only runs that began at this time, in milliseconds since 1970, or later; what they were compared with may
    /// have begun before.
    pub fn since(&mut self, time: i64) {
        for series in &mut self.series {
            series.points.retain(|point| point.run.began >= time);
        }
        self.series.retain(|series| !series.points.is_empty());
    }

    /// The series whose last complete run is worse than the one before it by more than noise.
    pub fn drops(&self) -> impl Iterator<Item = (&Series, &Comparison)> {
        self.series.iter().filter_map(|series| {
            let last = series.points.iter().rev().find(|point| point.complete().is_some())?;
            match &last.change {
                Change::Compared { comparison, way: Way::Drop } => Some((series, comparison)),
                _ => None,
            }
        })
    }
}

fn has_mean(outcome: Option<&Outcome>) -> bool {
    outcome.and_then(Outcome::overall).is_some_and(|score| score.mean.is_some())
}

/// What a run is beside the last complete one before it.
fn change(before: Option<&Run>, run: &Run, level: f64) -> Change {
    let Some(outcome) = run.outcome.as_ref().filter(|outcome| outcome.is_complete()) else {
        return Change::Unfinished;
    };
    let Some((before, earlier)) = before.and_then(|before| Some((before, before.outcome.as_ref()?))) else {
        return Change::First;
    };
    let Some(score) = outcome.overall() else {
        return Change::Untested("an earlier version of the program kept no mean");
    };
    if score.mean.is_none() {
        return Change::Untested("no row has a rating");
    }
    let broken = breaks((&before.meaning, earlier), (&run.meaning, outcome));
    if !broken.is_empty() {
        return Change::Broken(broken);
    }
    let is_head =
        |outcome: &Outcome| matches!(outcome.sample, Some(Inference::Head | Inference::Beginning(_)) | None);
    if is_head(outcome) || is_head(earlier) {
        return Change::Untested("the rows are the head of the dataset, which is no sample of it");
    }
    if outcome.ledger.screened > 0 || earlier.ledger.screened > 0 {
        return Change::Untested("a cheaper rater chose the rows that were rated");
    }
    let estimates = earlier.overall().and_then(|score| score.estimate).zip(score.estimate);
    let Some((before, after)) = estimates else {
        return Change::Untested("fewer than two rows, or files of a sample in two stages, have a rating");
    };
    let comparison = compare(&before, &after);
    let way = if comparison.drop < level {
        Way::Drop
    } else if comparison.rise < level {
        Way::Rise
    } else {
        Way::Noise
    };
    Change::Compared { comparison, way }
}

/// What makes two runs of a series incomparable.
fn breaks((before, earlier): (&Meaning, &Outcome), (now, outcome): (&Meaning, &Outcome)) -> Vec<String> {
    let mut broken = Vec::new();
    let mut differ = |what: &str, before: String, now: String| {
        if before != now {
            broken.push(format!("{what}: {before}, now {now}"));
        }
    };
    let short = |digest: &str| digest.chars().take(8).collect::<String>();
    differ("text of the lens", short(&before.lens_digest), short(&now.lens_digest));
    let scale = |outcome: &Outcome| outcome.scale.map_or("–".to_owned(), |scale| scale.to_string());
    differ("scale", scale(earlier), scale(outcome));
    differ("columns", before.columns.join(", "), now.columns.join(", "));
    differ("sample", kind(before, earlier), kind(now, outcome));
    let chunks =
        |[tokens, most, distance]: [usize; 3]| format!("{most} of {tokens} tokens, edges within {distance}");
    differ("chunks", chunks(before.chunks), chunks(now.chunks));
    let mut names: Vec<&String> = before.sampling.keys().chain(now.sampling.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let value = |meaning: &Meaning| match meaning.sampling.get(name) {
            None | Some(serde_json::Value::Null) => "default".to_owned(),
            Some(serde_json::Value::String(text)) if text.len() == 64 => short(text),
            Some(value) => value.to_string(),
        };
        differ(name, value(before), value(now));
    }
    if now.model == "heuristic" {
        // It is part of the program, which may have learned to measure otherwise.
        differ("version of classified", earlier.program.clone(), outcome.program.clone());
    }
    broken
}

/// How the rows were chosen. Whether a sample happened to take every row is no difference in kind.
fn kind(meaning: &Meaning, outcome: &Outcome) -> String {
    let kind = match (&meaning.sample, outcome.sample) {
        (_, Some(Inference::TwoStages { .. })) => "in two stages",
        (_, Some(Inference::Beginning(_))) => "uniform, of the head",
        (Sample::All, _) => "all rows",
        (Sample::First { .. }, _) => "the first rows",
        (Sample::Random { .. }, Some(Inference::Head)) => "the head",
        (Sample::Random { .. }, _) => "uniform",
    };
    kind.to_owned()
}

/// The names among all runs that a report can be asked for: datasets and lenses, each once, in order.
pub fn names(runs: &[Run]) -> (Vec<&str>, Vec<&str>) {
    let of = |name: fn(&Run) -> &str| {
        let mut names: Vec<&str> = runs.iter().map(name).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    (of(|run| &run.meaning.dataset), of(|run| &run.meaning.lens))
}

/// Writes a report to a file: aside first, then moved into place.
pub fn write(path: &Path, content: &str) -> Result<(), Error> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let Some(name) = path.file_name() else {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is no name of a file")));
    };
    let mut part = std::ffi::OsString::from(".");
    part.push(name);
    part.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(part);
    let written = fs::write(&part, content).and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        // Whatever was wrong, no half of a report stays.
        let _ = fs::remove_file(&part);
    }
    written.map_err(failed)
}

#[cfg(test)]
mod tests;
