//! What runs say together: how each dataset was over time, and which changes are more than noise.
//!
//! Runs of one dataset, lens and rater are a series. A run is compared with the last one before it of the same series that
//! asked the same of rows that were chosen in the same way.

mod change;
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

use crate::rating::run::{Meaning, Outcome, Run};
use crate::stats::compare::Comparison;

pub use words::{cost, describe, ended, failures, filtered, mean, stamp, unreadable, when};

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

/// Series of runs, each run beside an earlier one.
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

/// A run, and how it differs from an earlier one.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The run.
    pub run: Run,
    /// What it is beside the last complete run before it that can be compared with it.
    pub change: Change,
}

impl Point {
    /// What came of the run, if it reached every row.
    pub fn complete(&self) -> Option<&Outcome> {
        self.run.outcome.as_ref().filter(|outcome| outcome.is_complete())
    }
}

/// What a run is beside the last complete one before it that can be compared with it.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// There is none before it.
    First,
    /// The run did not reach every row: those that it reached are no sample of the others.
    Unfinished,
    /// Something else was asked, or of other rows, than in any run before it: what changed since the last one.
    Broken(Vec<String>),
    /// A test would say nothing: why.
    Untested(&'static str),
    /// The means were compared.
    Compared {
        /// When the run began with which it was compared, in milliseconds since 1970.
        with: i64,
        /// The test.
        comparison: Comparison,
        /// What it says at the report's level.
        way: Way,
    },
    /// The same rows with the same scores as in the run before it: what was said of that one stands.
    Again {
        /// When the first run of this data began, in milliseconds since 1970.
        of: i64,
        /// What that one was; never itself of this kind.
        change: Box<Change>,
    },
}

impl Change {
    /// The comparison that holds for the run: when that began with which it was compared, the test, and what it says.
    pub fn verdict(&self) -> Option<(i64, &Comparison, Way)> {
        match self {
            Self::Compared { with, comparison, way } => Some((*with, comparison, *way)),
            Self::Again { change, .. } => change.verdict(),
            _ => None,
        }
    }
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
    /// Sorts runs into series and compares each complete run with an earlier one. `level` is the probability below which a
    /// change is more than noise, `made` the time of the report in milliseconds since 1970.
    pub fn new(mut runs: Vec<Run>, level: f64, made: i64) -> Self {
        runs.sort_by_key(|run| (run.began, run.id));
        let mut series: BTreeMap<Key, Vec<Point>> = BTreeMap::new();
        for run in runs {
            let points = series.entry(Key::of(&run.meaning)).or_default();
            let change = change::change(points, &run, level);
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

    /// The series that got worse by more than noise in the last run of which anything can be said, with that comparison
    /// and when the run began beside which it is worse, in milliseconds since 1970.
    pub fn drops(&self) -> impl Iterator<Item = (&Series, i64, &Comparison)> {
        self.series.iter().filter_map(|series| {
            let (with, comparison, way) = change::standing(&series.points)?;
            (way == Way::Drop).then_some((series, with, comparison))
        })
    }
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
