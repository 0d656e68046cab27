//! The two tables of a summary, as the original tool had them, with how sure each figure is.

use tabled::builder::Builder;
use tabled::settings::formatting::AlignmentStrategy;
use tabled::settings::object::{Columns, Rows, Segment};
use tabled::settings::{Alignment, Style, Width};

use super::plain;
use crate::lens::Verdict;
use crate::rating::summary::{Inference, Summary};
use crate::stats::Interval;

/// Raw Scores and Summary of several lenses, and of several datasets with a column more.
pub fn summary(summaries: &[Summary]) -> String {
    let several = summaries.windows(2).any(|pair| pair[0].dataset != pair[1].dataset);
    format!("Raw Scores\n{}\n\nSummary\n{}", raw_scores(summaries, several), verdicts(summaries, several))
}

/// A row per lens: each score's mean and half the width of its interval.
fn raw_scores(summaries: &[Summary], several: bool) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in summaries.iter().flat_map(|summary| &summary.scores) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    // `overall` is what most readers look for: the last column, where the original had it.
    names.sort_by_key(|name| *name == "overall");
    let mut builder = Builder::default();
    let dataset = |text: &str| several.then(|| plain(text));
    builder.push_record(
        dataset("Dataset")
            .into_iter()
            .chain(std::iter::once("Lens".to_owned()))
            .chain(names.iter().map(|name| plain(name))),
    );
    for summary in summaries {
        let cells = names.iter().map(|name| {
            let score = summary.scores.iter().position(|(own, _)| own == name);
            match score
                .and_then(|score| Some((summary.scores[score].1.mean()?, summary.mean_interval(score))))
            {
                None => "–".to_owned(),
                Some((mean, Some(Interval { low, high }))) => {
                    format!("{mean:.2} ± {:.2}", (high - low) / 2.0)
                }
                Some((mean, None)) => format!("{mean:.2}"),
            }
        });
        builder.push_record(
            dataset(&summary.dataset).into_iter().chain(std::iter::once(plain(&summary.lens))).chain(cells),
        );
    }
    render(builder, 1 + usize::from(several))
}

/// A row per lens: each verdict's share with its interval, and how many rows were rated.
fn verdicts(summaries: &[Summary], several: bool) -> String {
    let mut builder = Builder::default();
    let dataset = |text: &str| several.then(|| plain(text));
    let header = Verdict::ALL.map(|verdict| verdict.to_string());
    builder.push_record(
        dataset("Dataset")
            .into_iter()
            .chain(std::iter::once("Lens".to_owned()))
            .chain(header)
            .chain(std::iter::once("Total".to_owned())),
    );
    for summary in summaries {
        let cells = match summary.verdicts {
            None => [const { String::new() }; 4].map(|_| "–".to_owned()),
            Some(_) => [0, 1, 2, 3].map(|verdict| match summary.share(verdict) {
                (Some(share), Some(Interval { low, high })) => {
                    format!("{:.1}%\n{:.0}–{:.0}%", share * 100.0, low * 100.0, high * 100.0)
                }
                (Some(share), None) => format!("{:.1}%", share * 100.0),
                (None, _) => "–".to_owned(),
            }),
        };
        builder.push_record(
            dataset(&summary.dataset)
                .into_iter()
                .chain(std::iter::once(plain(&summary.lens)))
                .chain(cells)
                .chain(std::iter::once(summary.ledger.answered().to_string())),
        );
    }
    render(builder, 1 + usize::from(several))
}

fn render(builder: Builder, left: usize) -> String {
    let mut table = builder.build();
    table
        .with(Style::sharp())
        .with(AlignmentStrategy::PerLine)
        .modify(Columns::new(left..), Alignment::right())
        .modify(Rows::first(), Alignment::left());
    table.to_string()
}

/// What the intervals stand for, in a sentence.
pub fn inference(summary: &Summary) -> String {
    let ledger = &summary.ledger;
    let rated = ledger.answered();
    let drawn = ledger.rows.unwrap_or(rated);
    match summary.inference {
        Inference::Census if rated == drawn => {
            format!("All {rated} rows are rated: the figures are exact for this rater.")
        }
        Inference::Census => {
            format!("Of {drawn} rows {rated} are rated: the figures are those of these rows.")
        }
        Inference::Population(rows) => {
            format!(
                "± and ranges: 95 % intervals for all of the dataset's {rows} rows{}, from {rated} of a uniform sample of {}.",
                ratable(summary),
                drawn
            )
        }
        Inference::Beginning(rows) => {
            format!(
                "± and ranges: 95 % intervals for the first {rows} rows{}, from {rated} of a uniform sample of {} of them; they \
                 say nothing of the rest, which --whole would read.",
                ratable(summary),
                drawn
            )
        }
        Inference::TwoStages { files, of } => {
            format!(
                "± and ranges: 95 % intervals for the whole dataset{}, from {rated} rows in two stages: {files} of {of} files, \
                 drawn by size, and rows drawn uniformly within each. They allow for rows of one file being alike.",
                ratable(summary)
            )
        }
        Inference::Unfinished => {
            "Not every row is reached yet: the figures are those of the rows that are, no random sample, and say nothing of the rest.".to_owned()
        }
        Inference::Head => {
            "The rows are the head of the dataset, not a random sample: nothing is inferred for the rest."
                .to_owned()
        }
    }
}

/// Whom the intervals leave out, if anybody.
fn ratable(summary: &Summary) -> &'static str {
    if summary.ledger.rows == Some(summary.ledger.answered()) { "" } else { " that can be rated" }
}

/// A list with a header, for `lens list`, `cache stats` and `settings`.
pub fn list(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut builder = Builder::default();
    builder.push_record(header.iter().copied());
    for row in rows {
        builder.push_record(row.iter().map(|cell| plain(cell)));
    }
    let mut table = builder.build();
    table.with(Style::sharp()).modify(Segment::all(), Width::wrap(36).keep_words(true));
    table.to_string()
}
