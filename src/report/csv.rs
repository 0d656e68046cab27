//! A report as CSV: a row a run.

use super::words::{line, stamp};
use super::{Change, Point, Report, Series};
use crate::lens::Verdict;
use crate::model::Money;
use crate::rating::run::Outcome;
use crate::stats::Interval;

/// The columns before the verdicts, and after them.
const BEFORE: [&str; 23] = [
    "Dataset",
    "Config",
    "Split",
    "Lens",
    "Model",
    "Version",
    "Began",
    "Command",
    "Ended",
    "Seconds",
    "Rows",
    "Rated",
    "FromCache",
    "Duplicate",
    "Failed",
    "Empty",
    "Screened",
    "NotReached",
    "Score",
    "ScoreLow",
    "ScoreHigh",
    "StandardError",
    "Freedom",
];
const AFTER: [&str; 13] = [
    "TokensIn",
    "TokensOut",
    "Cost",
    "UnknownBillAtMost",
    "Kept",
    "Dropped",
    "Unrated",
    "Change",
    "ComparedWith",
    "Difference",
    "PDrop",
    "PRise",
    "Note",
];

/// The report's runs, a row each, in the order of the series. `ScoreLow` and `ScoreHigh` bound the 95 % interval by which
/// runs are compared, as far as it is on the scale; times are in UTC, costs in US dollars. A text that a spreadsheet would take for a formula begins
/// with an apostrophe.
pub fn csv(report: &Report) -> String {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let header = BEFORE.into_iter().chain(Verdict::ALL.map(Verdict::name)).chain(AFTER);
    // Memory has room, and every row has the header's length.
    let _ = writer.write_record(header);
    for series in &report.series {
        for point in &series.points {
            let _ = writer.write_record(row(series, point));
        }
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

fn row(series: &Series, Point { run, change }: &Point) -> Vec<String> {
    let (key, outcome) = (&series.key, run.outcome.as_ref());
    let ledger = outcome.map(|outcome| &outcome.ledger);
    let score = outcome.and_then(|outcome| outcome.overall());
    // The rows of a run that stopped early are no sample: nothing says how far their mean is from the data's.
    let estimate =
        score.and_then(|score| score.estimate.filter(|_| outcome.is_some_and(Outcome::is_complete)));
    let interval = outcome.zip(score).and_then(|(outcome, score)| super::words::interval(outcome, score));
    let filter = outcome.and_then(|outcome| outcome.filter.as_ref());
    let bill = outcome.map(|outcome| &outcome.bill);
    let (with, comparison) = change.verdict().map(|(with, comparison, _)| (stamp(with), comparison)).unzip();
    let whole = |value: Option<u64>| value.map_or(String::new(), |value| value.to_string());
    let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let counts = outcome.and_then(|outcome| outcome.verdicts).map(|verdicts| verdicts.counts);
    let mut cells = vec![
        text(&key.dataset),
        text(key.config.as_deref().unwrap_or_default()),
        text(key.split.as_deref().unwrap_or_default()),
        text(&key.lens),
        text(&key.model),
        key.version.to_string(),
        stamp(run.began),
        text(&run.meaning.command),
        super::ended(run),
        number(outcome.and_then(|outcome| outcome.seconds)),
        whole(ledger.and_then(|ledger| ledger.rows)),
        whole(ledger.map(|ledger| ledger.rated)),
        whole(ledger.map(|ledger| ledger.cached)),
        whole(ledger.map(|ledger| ledger.duplicate)),
        whole(ledger.map(crate::rating::run::Rows::all_failed)),
        whole(ledger.map(|ledger| ledger.empty)),
        whole(ledger.map(|ledger| ledger.screened)),
        whole(ledger.and_then(|ledger| ledger.not_reached)),
        number(score.and_then(|score| score.mean)),
        number(interval.map(|Interval { low, .. }| low)),
        number(interval.map(|Interval { high, .. }| high)),
        number(estimate.map(|estimate| estimate.error)),
        whole(estimate.map(|estimate| estimate.freedom)),
    ];
    cells.extend((0..4).map(|verdict| whole(counts.map(|counts| counts[verdict]))));
    cells.extend([
        whole(bill.map(|bill| bill.tokens_in)),
        whole(bill.map(|bill| bill.tokens_out)),
        number(bill.and_then(|bill| bill.cost).map(Money::dollars)),
        number(bill.and_then(|bill| bill.unknown_bill_at_most).map(Money::dollars)),
        whole(filter.map(|filter| filter.kept)),
        whole(filter.map(|filter| filter.dropped)),
        whole(filter.map(|filter| filter.unrated)),
        match change {
            Change::First => "first",
            Change::Unfinished => "not_compared",
            Change::Broken(_) => "not_comparable",
            Change::Untested(_) => "not_tested",
            Change::Compared { way, .. } => way.word(),
            Change::Again { .. } => "same_data",
        }
        .to_owned(),
        with.unwrap_or_default(),
        number(comparison.map(|comparison| comparison.difference)),
        number(comparison.map(|comparison| comparison.drop)),
        number(comparison.map(|comparison| comparison.rise)),
        text(&match change {
            Change::Compared { comparison, .. } => super::words::test(comparison),
            _ => change.to_string(),
        }),
    ]);
    cells
}

/// A stranger's text, on one line; a spreadsheet must not take it for a formula.
fn text(value: &str) -> String {
    let value = line(value);
    if value.trim_start().starts_with(['=', '+', '-', '@', '\u{fffd}']) { format!("'{value}") } else { value }
}
