//! Figures and sentences as every form of a report has them.

use std::fmt;

use super::{Change, Way};
use crate::endpoint::Day;
use crate::rating::run::{How, Outcome, Run, Score};
use crate::stats::Interval;
use crate::stats::compare::{Comparison, Method};

/// A day of milliseconds.
const DAY: i64 = 86_400_000;

/// A time in milliseconds since 1970 as `2026-11-22 07:40`, in UTC.
pub fn when(millis: i64) -> String {
    let of_day = millis.rem_euclid(DAY) / 1000;
    format!("{} {:02}:{:02}", Day::of_millis(millis), of_day / 3600, of_day / 60 % 60)
}

/// The same as `2026-11-22T07:40:05Z`.
pub fn stamp(millis: i64) -> String {
    let of_day = millis.rem_euclid(DAY) / 1000;
    format!("{}T{:02}:{:02}:{:02}Z", Day::of_millis(millis), of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// A duration in seconds: `0.4 s`, `12 s`, `3 min`, `2 h 05 min`.
pub(super) fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded, and at least 0")]
    let whole = seconds.clamp(0.0, 1e9).round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..120 => format!("{whole} s"),
        120..7200 => format!("{} min", (whole + 30) / 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// A count with a comma every three digits.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count of rows.
pub(super) fn rows(number: u64) -> String {
    if number == 1 { "1 row".to_owned() } else { format!("{} rows", count(number)) }
}

/// A number with its sign, the minus a real one.
fn signed(number: f64) -> String {
    let digits = format!("{:.2}", number.abs());
    let sign = if digits == "0.00" {
        '±'
    } else if number < 0.0 {
        '−'
    } else {
        '+'
    };
    format!("{sign}{digits}")
}

/// A probability: two digits that count.
fn probability(p: f64) -> String {
    if p < 0.0001 {
        "p < 0.0001".to_owned()
    } else if p < 0.01 {
        format!("p = {p:.4}")
    } else {
        format!("p = {p:.2}")
    }
}

/// Fewer rated rows than this are too few for an interval: it would say more of its formula than of the data.
const FEW: u64 = 5;

/// Whether so few rows have the score that its mean says little.
pub(super) fn is_of_few(score: &Score) -> bool {
    (1..FEW).contains(&score.n)
}

/// The 95 % interval of a score's mean by which runs are compared, as far as it is on the score's scale. `None` where the
/// run did not reach every row, as then its rows are no sample, and where it is of few rows.
pub(super) fn interval(outcome: &Outcome, score: &Score) -> Option<Interval> {
    if !outcome.is_complete() || is_of_few(score) {
        return None;
    }
    let estimate = score.estimate.as_ref()?;
    let Interval { low, high } = estimate.interval()?;
    let scale = &score.histogram;
    if scale.low < scale.high {
        // A mean off the scale stays within its interval.
        return Some(Interval {
            low: low.max(scale.low).min(estimate.mean),
            high: high.min(scale.high).max(estimate.mean),
        });
    }
    Some(Interval { low, high })
}

/// The mean of a run's score with its interval: half of its width, or both ends where the scale cuts one off.
pub fn mean(outcome: &Outcome, score: &Score) -> String {
    match (score.mean, interval(outcome, score)) {
        (None, _) => "–".to_owned(),
        (Some(mean), None) => format!("{mean:.2}"),
        (Some(mean), Some(Interval { low, high })) => {
            let is_even = ((high - mean) - (mean - low)).abs() < 1e-9;
            if is_even {
                format!("{mean:.2} ± {:.2}", (high - low) / 2.0)
            } else {
                format!("{mean:.2} ({low:.2} to {high:.2})")
            }
        }
    }
}

/// What is said of runs that are left out.
pub fn unreadable(runs: u64) -> String {
    let runs = if runs == 1 { "1 run is".to_owned() } else { format!("{} runs are", count(runs)) };
    format!("{runs} left out: recorded in a form that this version of the program does not know")
}

/// How a run ended.
pub fn ended(run: &Run) -> String {
    let Some(outcome) = &run.outcome else { return "not finished".to_owned() };
    let Some(ended) = outcome.ended else {
        return if outcome.is_complete() { "complete".to_owned() } else { "stopped".to_owned() };
    };
    let how = match ended.how {
        How::Complete => "complete",
        How::Budget => "stopped at a bound",
        How::Interrupted => "interrupted",
        How::Waiting => "waits for batches",
        How::Failed => "failed",
    };
    if ended.exit == 0 { how.to_owned() } else { format!("{how}, exit {}", ended.exit) }
}

/// What a run cost.
pub fn cost(outcome: &Outcome) -> String {
    match (outcome.bill.cost, outcome.bill.attempts_with_unknown_bill) {
        (None, _) => "unknown".to_owned(),
        (Some(cost), 0) => cost.to_string(),
        (Some(cost), _) => match outcome.bill.unknown_bill_at_most {
            Some(most) => format!("{cost}, up to {most} more"),
            None => format!("{cost} or more"),
        },
    }
}

/// Failed rows with their reasons.
pub fn failures(outcome: &Outcome) -> String {
    match reasons(outcome) {
        None => "0".to_owned(),
        Some(reasons) => format!("{} ({reasons})", count(outcome.ledger.all_failed())),
    }
}

/// Failed rows by reason, if there are any.
pub(super) fn reasons(outcome: &Outcome) -> Option<String> {
    let failed = &outcome.ledger.failed;
    let reasons = failed.iter().map(|(reason, n)| format!("{} {}", reason.replace('_', " "), count(*n)));
    (!failed.is_empty()).then(|| reasons.collect::<Vec<_>>().join(", "))
}

/// What a filter made of the rows.
pub fn filtered(outcome: &Outcome) -> Option<String> {
    let filter = outcome.filter.as_ref()?;
    Some(format!(
        "{} kept, {} dropped, {} unrated by {}",
        count(filter.kept),
        count(filter.dropped),
        count(filter.unrated),
        filter.cut
    ))
}

/// The name of a test, with what it was reckoned from.
pub(super) fn test(comparison: &Comparison) -> String {
    match comparison.method {
        Method::Welch { t, freedom } => {
            format!("Welch’s t-test, t = {}, {freedom:.1} degrees of freedom, one-sided", signed(t))
        }
        Method::Permutation { units: (before, after) } => {
            format!("permutation test, {before} and {after} rows without spread, one-sided")
        }
    }
}

/// The figures of a test, where its name stands elsewhere.
pub(super) fn short_test(comparison: &Comparison) -> String {
    match comparison.method {
        Method::Welch { t, freedom } => format!("t = {}, {freedom:.0} degrees of freedom", signed(t)),
        Method::Permutation { units: (before, after) } => {
            format!("permutations of {before} and {after} equal rows")
        }
    }
}

/// A difference and how probable one like it is by chance.
pub(super) fn difference(comparison: &Comparison) -> String {
    let p = if comparison.difference < 0.0 { comparison.drop } else { comparison.rise };
    format!("{}, {}", signed(comparison.difference), probability(p))
}

/// A difference, how probable one like it is, beside which run, and by which test.
pub fn describe(with: i64, comparison: &Comparison) -> String {
    format!("{} beside the run of {} UTC ({})", difference(comparison), when(with), test(comparison))
}

/// A change in a few words.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("first run"),
            Self::Unfinished => f.write_str("not compared: it did not reach every row"),
            Self::Broken(what) => write!(f, "not comparable: {}", what.join("; ")),
            Self::Untested(why) => write!(f, "not tested: {why}"),
            Self::Compared { comparison, way, .. } => {
                let way = match way {
                    Way::Drop => "▼ drop ",
                    Way::Rise => "▲ rise ",
                    Way::Noise => "within noise ",
                };
                write!(f, "{way}{}", difference(comparison))
            }
            Self::Again { of, change } => {
                write!(f, "same data again as {}", when(*of))?;
                match **change {
                    Self::Compared { .. } => write!(f, ": {change}"),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// A stranger's text that cannot move a cursor, hide text or turn its direction; line breaks and tabs stay.
pub(super) fn harmless(text: &str) -> String {
    let harm = |c: char| {
        let turns = matches!(c, '\u{200E}' | '\u{200F}' | '\u{061C}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
        // What XML has no place for, and what some programs take for the end of a line.
        let odd = matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}');
        turns || odd || (c.is_control() && c != '\n' && c != '\t')
    };
    text.chars().map(|c| if harm(c) { '\u{FFFD}' } else { c }).collect()
}

/// The same on one line.
pub(super) fn line(text: &str) -> String {
    harmless(text).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_utc() {
        assert_eq!(when(1_795_333_200_000), "2026-11-22 07:40");
        assert_eq!(stamp(1_795_333_205_999), "2026-11-22T07:40:05Z");
        assert_eq!(stamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(stamp(-1000), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn durations_and_counts_read_well() {
        assert_eq!(
            [0.04, 9.4, 59.6, 150.0, 7500.0].map(duration),
            ["0.0 s", "9.4 s", "60 s", "3 min", "2 h 05 min"]
        );
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_text_that_would_turn_or_hide_is_harmless() {
        assert_eq!(harmless("a\u{202e}b\u{1b}[2J\n\u{feff}é漢🙂"), "a\u{fffd}b\u{fffd}[2J\n\u{fffd}é漢🙂");
        assert_eq!(line("a\r\nb\tc"), "a\u{fffd} b c");
    }
}
