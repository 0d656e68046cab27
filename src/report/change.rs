//! With which earlier run a run is compared, and what follows from it.
//!
//! A run that cannot be compared, or one of a few rows, comes between two nights without hiding what changed from one to the
//! other. The same data again says nothing new, so what was said of it stands.

use super::{Change, Point, Way};
use crate::rating::histogram::Histogram;
use crate::rating::run::{Meaning, Outcome, Run, Sample, Score};
use crate::rating::summary::Inference;
use crate::stats::compare::{Comparison, Estimate, compare};

/// A run with less than this part of another's rows is a peek beside it.
const PEEK: u64 = 4;

/// How many complete runs before it a run is compared with at most, until one fits.
const MOST: usize = 100;

/// What a run means, and what came of it.
type Told<'a> = (&'a Meaning, &'a Outcome);

/// What a run is beside the complete ones before it.
pub(super) fn change(before: &[Point], run: &Run, level: f64) -> Change {
    let Some(outcome) = run.outcome.as_ref().filter(|outcome| outcome.is_complete()) else {
        return Change::Unfinished;
    };
    let now = (&run.meaning, outcome);
    let earlier: Vec<(&Point, &Outcome)> =
        before.iter().rev().filter_map(|point| Some((point, rated(point)?))).take(MOST).collect();
    let Some((last, of_last)) = earlier.first() else {
        return Change::First;
    };
    let Some(score) = outcome.overall() else {
        return Change::Untested("an earlier version of the program kept no mean");
    };
    if score.mean.is_none() {
        return Change::Untested("no row has a rating");
    }
    let estimates = |was: &Outcome| was.overall().and_then(|score| score.estimate).zip(score.estimate);
    let comparable = || {
        earlier.iter().filter_map(|(point, was)| {
            let told = (&point.run.meaning, *was);
            let is_alike = breaks(told, now).is_empty() && untestable(told, now).is_none();
            is_alike.then(|| estimates(was)).flatten().map(|estimates| (*point, *was, estimates))
        })
    };
    // Beside a peek everything is noise. Data that grew has nothing better.
    let found = comparable().find(|(_, was, _)| !is_peek(was, outcome)).or_else(|| comparable().next());
    let Some((point, was, (before, after))) = found else {
        let told = (&last.run.meaning, *of_last);
        let broken = breaks(told, now);
        return match untestable(told, now) {
            _ if !broken.is_empty() => Change::Broken(broken),
            Some(why) => Change::Untested(why),
            None => {
                Change::Untested("fewer than two rows, or files of a sample in two stages, have a rating")
            }
        };
    };
    if is_again(was, outcome) {
        return match &point.change {
            again @ Change::Again { .. } => again.clone(),
            change => Change::Again { of: point.run.began, change: Box::new(change.clone()) },
        };
    }
    let comparison = compare(&before, &after);
    let way = if comparison.drop < level {
        Way::Drop
    } else if comparison.rise < level {
        Way::Rise
    } else {
        Way::Noise
    };
    Change::Compared { with: point.run.began, comparison, way }
}

/// What holds of a series: the verdict on its last complete run, or on an earlier one that asked the same, where the last
/// ones cannot be compared or are peeks that show no change.
pub(super) fn standing(points: &[Point]) -> Option<(i64, &Comparison, Way)> {
    let mut complete = points.iter().rev().filter_map(|point| Some((point, point.complete()?))).peekable();
    let (last, of_last) = *complete.peek()?;
    while let Some((point, outcome)) = complete.next() {
        if !asked((&point.run.meaning, outcome), (&last.run.meaning, of_last)).is_empty() {
            return None;
        }
        let Some((with, comparison, way)) = point.change.verdict() else { continue };
        let is_silent = complete.peek().is_some_and(|(_, before)| is_peek(outcome, before));
        if way != Way::Noise || !is_silent {
            return Some((with, comparison, way));
        }
    }
    None
}

/// What came of a run that reached every row and rated some.
fn rated(point: &Point) -> Option<&Outcome> {
    point.complete().filter(|outcome| outcome.overall().is_some_and(|score| score.mean.is_some()))
}

/// Whether a run is far smaller than another.
fn is_peek(small: &Outcome, large: &Outcome) -> bool {
    small.ledger.answered().saturating_mul(PEEK) < large.ledger.answered()
}

/// Why a test of two runs would say nothing, although both asked the same.
fn untestable((_, was): Told, (_, now): Told) -> Option<&'static str> {
    let is_head =
        |outcome: &Outcome| matches!(outcome.sample, Some(Inference::Head | Inference::Beginning(_)) | None);
    if is_head(now) || is_head(was) {
        return Some("the rows are the head of the dataset, which is no sample of it");
    }
    (now.ledger.screened > 0 || was.ledger.screened > 0)
        .then_some("a cheaper rater chose the rows that were rated")
}

/// Whether a run rated the same rows with the same scores as the one before it; rows that had failed there may have a
/// rating now.
fn is_again(was: &Outcome, now: &Outcome) -> bool {
    let failed = was.ledger.all_failed();
    let alike = |was: &Score, now: &Score| {
        was.name == now.name
            && added(&was.histogram, &now.histogram).is_some_and(|added| {
                if added == 0 { is_equal(was.estimate, now.estimate) } else { added <= failed }
            })
    };
    was.ledger.rows == now.ledger.rows
        && was.scores.len() == now.scores.len()
        && was.scores.iter().zip(&now.scores).all(|(was, now)| alike(was, now))
}

/// How many rows a histogram has beside those of another, if it has all of those.
fn added(was: &Histogram, now: &Histogram) -> Option<u64> {
    if (was.bins, was.counts.len()) != (now.bins, now.counts.len()) {
        return None;
    }
    was.counts
        .iter()
        .zip(&now.counts)
        .try_fold(0_u64, |added, (was, now)| Some(added.saturating_add(now.checked_sub(*was)?)))
}

/// Whether two estimates are one, but for what the order of the rows makes of their last digits.
fn is_equal(one: Option<Estimate>, other: Option<Estimate>) -> bool {
    let near = |one: f64, other: f64| (one - other).abs() <= 1e-9 * one.abs().max(1.0);
    match (one, other) {
        (Some(one), Some(other)) => {
            one.freedom == other.freedom && near(one.mean, other.mean) && near(one.error, other.error)
        }
        (None, None) => true,
        _ => false,
    }
}

/// What makes two runs of a series incomparable.
fn breaks(before: Told, now: Told) -> Vec<String> {
    let mut broken = Broken(asked(before, now));
    broken.differ("sample", &kind(before), &kind(now));
    let chunks = |(meaning, _): Told| {
        let [tokens, most, distance] = meaning.chunks;
        format!("{most} of {tokens} tokens, edges within {distance}")
    };
    broken.differ("chunks", &chunks(before), &chunks(now));
    broken.0
}

/// What was asked otherwise, of whichever rows.
fn asked((before, earlier): Told, (now, outcome): Told) -> Vec<String> {
    let mut broken = Broken(Vec::new());
    let short = |digest: &str| digest.chars().take(8).collect::<String>();
    broken.differ("text of the lens", &short(&before.lens_digest), &short(&now.lens_digest));
    let scale = |outcome: &Outcome| outcome.scale.map_or("–".to_owned(), |scale| scale.to_string());
    broken.differ("scale", &scale(earlier), &scale(outcome));
    broken.differ("columns", &before.columns.join(", "), &now.columns.join(", "));
    let mut names: Vec<&String> = before.sampling.keys().chain(now.sampling.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let value = |meaning: &Meaning| match meaning.sampling.get(name) {
            None | Some(serde_json::Value::Null) => "default".to_owned(),
            Some(serde_json::Value::String(text)) if text.len() == 64 => short(text),
            Some(value) => value.to_string(),
        };
        broken.differ(name, &value(before), &value(now));
    }
    if now.model == "heuristic" {
        // It is part of the program, which may have learned to measure otherwise.
        broken.differ("version of classified", &earlier.program, &outcome.program);
    }
    broken.0
}

/// What differs between two runs.
struct Broken(Vec<String>);

impl Broken {
    fn differ(&mut self, what: &str, before: &str, now: &str) {
        if before != now {
            self.0.push(format!("{what}: {before}, now {now}"));
        }
    }
}

/// How the rows were chosen. Whether a sample happened to take every row is no difference in kind.
fn kind((meaning, outcome): Told) -> String {
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
