//! Plots as the page's SVG wants them: figures to coordinates. What is drawn is the template's business.
//!
//! Coordinates are in the units of a plot's own `viewBox`, from its upper left corner.

use serde::Serialize;

use super::words::{self, count, interval};
use super::{Change, Point, Way, mean, when};
use crate::lens::Verdict;
use crate::rating::histogram::{Bins, Histogram};
use crate::rating::run::{Outcome, Score, Verdicts};
use crate::stats::Interval;

/// A text beside a plot.
#[derive(Debug, Serialize)]
pub(super) struct Label {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) text: String,
}

/// A run in a trend.
#[derive(Debug, Serialize)]
pub(super) struct Mark {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) r: f64,
    /// `drop`, `rise`, `plain`, `untested` or `unfinished`.
    pub(super) kind: &'static str,
    pub(super) text: String,
}

/// Where a series breaks.
#[derive(Debug, Serialize)]
pub(super) struct Break {
    pub(super) x: f64,
    pub(super) letter: String,
    pub(super) text: String,
}

/// Means over time.
#[derive(Debug, Serialize)]
pub(super) struct Trend {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
    pub(super) ticks: Vec<Label>,
    pub(super) dates: Vec<Label>,
    pub(super) bands: Vec<String>,
    pub(super) lines: Vec<String>,
    pub(super) marks: Vec<Mark>,
    pub(super) breaks: Vec<Break>,
    pub(super) sentence: String,
}

/// A bar of a plot.
#[derive(Debug, Serialize)]
pub(super) struct Bar {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) kind: String,
    /// What is written on it, if it has room.
    pub(super) label: String,
    pub(super) text: String,
}

/// Bars and what stands beside them.
#[derive(Debug, Serialize)]
pub(super) struct Bars {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) all: Vec<Bar>,
    pub(super) labels: Vec<Label>,
    pub(super) sentence: String,
}

const WIDTH: f64 = 640.0;
const LEFT: f64 = 40.0;
const RIGHT: f64 = 628.0;

/// The runs that a plot over time shows at most: the last ones.
const MOST: usize = 150;

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Where the `at`th of `of` runs stands: equal steps, whatever the time between them.
fn place(at: usize, of: usize) -> f64 {
    let (first, last) = (LEFT + 18.0, RIGHT - 14.0);
    if of < 2 {
        f64::midpoint(first, last)
    } else {
        round(first + (last - first) * at as f64 / (of - 1) as f64)
    }
}

/// The dates of the first and the last run, and of some between.
fn dates(points: &[&Point], y: f64) -> Vec<Label> {
    let last = points.len().saturating_sub(1);
    // As many as there is room for, at even distances as far as runs can be.
    let mut at: Vec<usize> =
        if last < 5 { (0..=last).collect() } else { (0..=3).map(|part| (part * last + 1) / 3).collect() };
    at.dedup();
    let day = |at: usize| when(points[at].run.began)[..10].to_owned();
    // Runs of one day are told apart by their time.
    let is_one_day = last > 0 && day(0) == day(last);
    let text = |at: usize| if is_one_day { when(points[at].run.began)[11..].to_owned() } else { day(at) };
    at.into_iter().map(|at| Label { x: place(at, points.len()), y, text: text(at) }).collect()
}

/// Numbers that read well between two values, three to six of them.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = ((high - low) / 4.0).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|step| step * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    let first = (low / step).ceil();
    (0..7).map(|at| (first + f64::from(at)) * step).take_while(|tick| *tick <= high + 1e-9).collect()
}

/// The means of complete runs over time, with their intervals; runs that were not finished stand at the bottom. `None`
/// where fewer than two runs have a mean.
pub(super) fn trend(points: &[Point]) -> Option<Trend> {
    const TOP: f64 = 18.0;
    const BOTTOM: f64 = 184.0;
    let points: Vec<&Point> = points.iter().skip(points.len().saturating_sub(MOST)).collect();
    let scores: Vec<Option<(&Outcome, &Score)>> = points
        .iter()
        .map(|point| {
            let outcome = point.complete()?;
            Some((outcome, outcome.overall().filter(|score| score.mean.is_some())?))
        })
        .collect();
    let known = || scores.iter().flatten();
    if known().count() < 2 {
        return None;
    }
    let ends = known().flat_map(|(outcome, score)| {
        let both = interval(outcome, score).map(|Interval { low, high }| [low, high]);
        both.into_iter().flatten().chain(score.mean)
    });
    let (low, high) =
        ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| (low.min(end), high.max(end)));
    // Equal means are a line in the middle, not on the edge.
    let pad = ((high - low) * 0.12).max(0.05);
    let (low, high) = (low - pad, high + pad);
    let y = |value: f64| round(BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP));
    let x = |at: usize| place(at, points.len());

    let (mut bands, mut lines, mut marks, mut breaks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut part: Vec<(usize, &Outcome, &Score)> = Vec::new();
    let radius = round(((RIGHT - LEFT) / points.len() as f64 / 3.5).clamp(1.6, 4.5));
    let mut close = |part: &mut Vec<(usize, &Outcome, &Score)>| {
        let line: Vec<_> = part.iter().filter_map(|(at, _, score)| Some((x(*at), y(score.mean?)))).collect();
        lines.push(path(&line));
        let edges: Vec<_> = part
            .iter()
            .filter_map(|(at, outcome, score)| {
                let Interval { low, high } = interval(outcome, score)?;
                Some((x(*at), y(low), y(high)))
            })
            .collect();
        bands.extend(band(&edges));
        part.clear();
    };
    for (at, (point, score)) in points.iter().zip(&scores).enumerate() {
        let (began, change) = (when(point.run.began), &point.change);
        let Some((outcome, score)) = score else {
            let text = format!("{began}: {}", super::ended(&point.run));
            marks.push(Mark { x: x(at), y: BOTTOM, r: radius, kind: "unfinished", text });
            continue;
        };
        if let Change::Broken(what) = change {
            close(&mut part);
            let letter = letter(breaks.len());
            breaks.push(Break {
                x: round(x(at) - 7.0),
                text: format!("{began}: {}", words::line(&what.join("; "))),
                letter,
            });
        }
        // What came between a run and the one that it continues is a line of its own.
        let is_apart = |began| {
            let goes_on = |point: &Point| point.run.began == began || continued(&point.change) == Some(began);
            !part.iter().any(|(at, ..)| goes_on(points[*at]))
        };
        if !part.is_empty() && continued(change).is_some_and(is_apart) {
            close(&mut part);
        }
        part.push((at, *outcome, *score));
        let text = words::line(&format!("{began}: {}; {change}", mean(outcome, score)));
        marks.push(Mark { x: x(at), y: y(score.mean.unwrap_or(low)), r: radius, kind: shape(change), text });
    }
    close(&mut part);
    let tick = |value: f64| Label {
        x: LEFT - 6.0,
        y: y(value),
        text: format!("{}", (value * 1000.0).round() / 1000.0),
    };
    let last = known().next_back().map_or(String::new(), |(outcome, score)| mean(outcome, score));
    let sentence = format!(
        "Mean score of {} runs from {} to {}; the last is {last}.",
        points.len(),
        when(points[0].run.began),
        when(points[points.len() - 1].run.began),
    );
    Some(Trend {
        width: WIDTH,
        height: BOTTOM + 28.0,
        left: LEFT,
        right: RIGHT,
        bottom: BOTTOM,
        ticks: ticks(low, high).into_iter().map(tick).collect(),
        dates: dates(&points, BOTTOM + 22.0),
        bands,
        lines,
        marks,
        breaks,
        sentence,
    })
}

/// The kind of the mark of a run that has a mean.
fn shape(change: &Change) -> &'static str {
    match (change.verdict(), change) {
        (Some((_, _, Way::Drop)), _) => "drop",
        (Some((_, _, Way::Rise)), _) => "rise",
        (_, Change::Untested(_)) => "untested",
        _ => "plain",
    }
}

/// When the run began that a run continues.
fn continued(change: &Change) -> Option<i64> {
    match change {
        Change::Compared { with, .. } => Some(*with),
        Change::Again { of, .. } => Some(*of),
        _ => None,
    }
}

/// The path around intervals: where each stands, its low and its high end.
fn band(edges: &[(f64, f64, f64)]) -> Option<String> {
    match edges {
        [] => None,
        // One run alone has a whisker.
        [(x, low, high)] => Some(format!("M{} {high}H{}V{low}H{}Z", x - 3.0, x + 3.0, x - 3.0)),
        edges => {
            let upper = edges.iter().map(|(x, _, high)| (*x, *high));
            let lower = edges.iter().rev().map(|(x, low, _)| (*x, *low));
            Some(format!("{}Z", path(&upper.chain(lower).collect::<Vec<_>>())))
        }
    }
}

/// `a` to `z`, then numbers.
fn letter(at: usize) -> String {
    u8::try_from(at)
        .ok()
        .filter(|at| *at < 26)
        .map_or_else(|| at.to_string(), |at| char::from(b'A' + at).to_string())
}

fn path(points: &[(f64, f64)]) -> String {
    let steps: Vec<String> = points
        .iter()
        .enumerate()
        .map(|(at, (x, y))| format!("{}{x} {y}", if at == 0 { 'M' } else { 'L' }))
        .collect();
    steps.join("")
}

/// What each run cost; `None` where no run cost anything that is known.
pub(super) fn costs(points: &[Point]) -> Option<Bars> {
    const TOP: f64 = 16.0;
    const BOTTOM: f64 = 72.0;
    let points: Vec<&Point> = points.iter().skip(points.len().saturating_sub(MOST)).collect();
    let known: Vec<Option<f64>> =
        points.iter().map(|point| Some(point.run.outcome.as_ref()?.bill.cost?.dollars())).collect();
    let most = known.iter().flatten().copied().fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let width = round(((RIGHT - LEFT) / points.len() as f64 * 0.55).clamp(2.0, 34.0));
    let bars = points.iter().zip(&known).enumerate().map(|(at, (point, dollars))| {
        let height = dollars.map_or(0.0, |dollars| round(dollars / most * (BOTTOM - TOP)).max(1.0));
        let cost =
            point.run.outcome.as_ref().map_or("not known: the run was not finished".to_owned(), words::cost);
        Bar {
            x: round(place(at, points.len()) - width / 2.0),
            y: BOTTOM - height,
            width,
            height,
            kind: if dollars.is_some() { "cost" } else { "unknown" }.to_owned(),
            label: if dollars.is_some() { String::new() } else { "?".to_owned() },
            text: format!("{}: {cost}", when(point.run.began)),
        }
    });
    let bars = bars.collect();
    let together: crate::model::Money =
        points.iter().filter_map(|point| point.run.outcome.as_ref()?.bill.cost).sum();
    // A scale needs no more digits than that.
    let top =
        if most >= 0.1 { format!("${most:.2}") } else { crate::model::Money::from_dollars(most).to_string() };
    let labels = vec![
        Label { x: LEFT - 6.0, y: TOP + 4.0, text: top },
        Label { x: LEFT - 6.0, y: BOTTOM, text: "$0".to_owned() },
    ];
    let unknown = known.iter().filter(|cost| cost.is_none()).count();
    let unknown = if unknown > 0 { format!(" Of {unknown} the cost is not known.") } else { String::new() };
    let sentence = format!("Cost of each run, {together} together.{unknown}");
    Some(Bars { width: WIDTH, height: BOTTOM + 6.0, all: bars, labels, sentence })
}

/// How many rows have which score.
pub(super) fn histogram(outcome: &Outcome, score: &Score) -> Option<Bars> {
    const WIDTH: f64 = 400.0;
    const TOP: f64 = 18.0;
    const BOTTOM: f64 = 128.0;
    let histogram = &score.histogram;
    let (bins, most) = (histogram.counts.len(), histogram.counts.iter().copied().max()?);
    if most == 0 || bins == 0 {
        return None;
    }
    let step = (WIDTH - 16.0) / bins as f64;
    let gap = if histogram.bins == Bins::Values { step * 0.22 } else { 1.5 };
    let bars = histogram.counts.iter().enumerate().map(|(at, &rows)| {
        let height = if rows == 0 { 0.0 } else { round(rows as f64 / most as f64 * (BOTTOM - TOP)).max(1.0) };
        Bar {
            x: round(8.0 + step * at as f64 + gap / 2.0),
            y: BOTTOM - height,
            width: round(step - gap),
            height,
            kind: "score".to_owned(),
            label: if bins <= 12 && rows > 0 { count(rows) } else { String::new() },
            text: format!("{}: {}", bin(histogram, at), words::rows(rows)),
        }
    });
    let bars: Vec<Bar> = bars.collect();
    let centre = |at: f64| round(8.0 + step * at);
    let short = |value: f64| format!("{}", (value * 100.0).round() / 100.0);
    let labels = match histogram.bins {
        Bins::Values => (0..bins)
            .filter(|at| bins <= 12 || at % 2 == 0)
            .map(|at| Label {
                x: centre(at as f64 + 0.5),
                y: BOTTOM + 18.0,
                text: short(histogram.bin(at).0),
            })
            .collect(),
        Bins::Ranges => (0..=4_u8)
            .map(|part| {
                let part = f64::from(part) / 4.0;
                let value = histogram.low + (histogram.high - histogram.low) * part;
                Label { x: centre(bins as f64 * part), y: BOTTOM + 18.0, text: short(value) }
            })
            .collect(),
    };
    let common = histogram
        .counts
        .iter()
        .position(|rows| *rows == most)
        .map(|at| bin(histogram, at))
        .unwrap_or_default();
    let sentence =
        format!("{}, mean {}; the most common is {common}.", words::rows(score.n), mean(outcome, score));
    Some(Bars { width: WIDTH, height: BOTTOM + 26.0, all: bars, labels, sentence })
}

fn bin(histogram: &Histogram, at: usize) -> String {
    let (low, high) = histogram.bin(at);
    match histogram.bins {
        Bins::Values => format!("{low:.2}"),
        Bins::Ranges => format!("{low:.2} to {high:.2}"),
    }
}

/// The verdicts of the last complete runs, a bar a run, the last one at the bottom.
pub(super) fn verdicts(points: &[Point]) -> Option<Bars> {
    const WIDTH: f64 = 400.0;
    const SHOWN: usize = 6;
    const STEP: f64 = 32.0;
    const START: f64 = 78.0;
    let mut known: Vec<(&Point, Verdicts)> = points
        .iter()
        .filter_map(|point| Some((point, point.complete()?.verdicts?)))
        .filter(|(_, verdicts)| verdicts.counts.iter().any(|count| *count > 0))
        .collect();
    known.drain(..known.len().saturating_sub(SHOWN));
    let (_, last) = known.last()?;
    let sentence = verdict_words(last);
    let (mut bars, mut labels) = (Vec::new(), Vec::new());
    // Alone it needs no date.
    let start = if known.len() > 1 { START } else { 0.0 };
    for (row, (point, verdicts)) in known.iter().enumerate() {
        let (y, all) = (row as f64 * STEP, verdicts.counts.iter().sum::<u64>() as f64);
        let mut x = start;
        for (verdict, rows) in Verdict::ALL.iter().zip(verdicts.counts).filter(|(_, rows)| *rows > 0) {
            let share = rows as f64 / all;
            let width = share * (WIDTH - start);
            let name = verdict.name();
            bars.push(Bar {
                x: round(x),
                y,
                width: round(width),
                height: STEP - 8.0,
                kind: name.to_lowercase(),
                label: match width {
                    // A letter alone says less than nothing.
                    ..44.0 => String::new(),
                    44.0..92.0 => format!("{} {:.0} %", &name[..1], share * 100.0),
                    _ => format!("{name} {:.0} %", share * 100.0),
                },
                text: format!(
                    "{}: {name} {:.1} %, {}",
                    when(point.run.began),
                    share * 100.0,
                    words::rows(rows)
                ),
            });
            x += width;
        }
        if known.len() > 1 {
            labels.push(Label { x: start - 8.0, y: y + 16.0, text: when(point.run.began)[..10].to_owned() });
        }
    }
    Some(Bars { width: WIDTH, height: known.len() as f64 * STEP - 8.0, all: bars, labels, sentence })
}

/// Each verdict's share with its interval.
fn verdict_words(verdicts: &Verdicts) -> String {
    let all = verdicts.counts.iter().sum::<u64>().max(1) as f64;
    let words = Verdict::ALL.iter().zip(verdicts.counts).zip(verdicts.intervals).map(
        |((verdict, rows), interval)| {
            let range = interval.map_or(String::new(), |Interval { low, high }| {
                format!(" ({:.0}–{:.0} %)", low * 100.0, high * 100.0)
            });
            format!("{verdict} {:.1} %{range}", rows as f64 / all * 100.0)
        },
    );
    words.collect::<Vec<_>>().join(", ") + "."
}
