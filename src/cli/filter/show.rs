//! What a person sees of a filter: where every row went, examples from both sides of the cut, what was spared.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Shown;
use super::args::FilterArgs;
use super::keep::Adding;
use crate::cli::summary;
use crate::console::{self, Console, plain};
use crate::export::card::{Card, Lens};
use crate::export::shards::Kind;
use crate::filter::scores::Scores;
use crate::filter::tally::{Example, Tally};
use crate::model::Money;
use crate::rating::summary::Summary;
use crate::report;

/// What a cheaper rater spared the dearer one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spared {
    at_least: f64,
    /// Ratings that were not asked for.
    not_asked: u64,
    /// Those that were asked for, or known.
    asked: u64,
    /// What those that were not asked for would have cost, at the mean of the others; `None` where no price is known.
    saved: Option<Money>,
}

impl Spared {
    pub(super) fn new(at_least: f64, summaries: &[Summary], cost_of_one: Option<Money>) -> Self {
        let not_asked: u64 = summaries.iter().map(|summary| summary.ledger.screened).sum();
        let asked =
            summaries.iter().map(|summary| summary.ledger.answered() + summary.ledger.all_failed()).sum();
        Self { at_least, not_asked, asked, saved: cost_of_one.map(|cost| cost * not_asked) }
    }

    fn json(&self) -> Value {
        json!({
            "rater": "heuristic",
            "at_least": self.at_least,
            "not_asked": self.not_asked,
            "asked": self.asked,
            "saved": self.saved,
        })
    }
}

/// The ledger, the bill, and what else there is.
pub(super) fn show(args: &FilterArgs, shown: &Shown, console: Console) -> Result<(), console::Error> {
    let mut text = String::new();
    if let Some(kept) = &shown.kept {
        if shown.is_preview {
            examples(&mut text, args, shown);
        }
        let name = [vec![args.dataset.clone()], args.words_of_sample()].concat().join(" · ");
        let share = kept.tally.written() as f64 / kept.tally.rows_in().max(1) as f64 * 100.0;
        let _ = write!(text, "{}\n  {} · {share:.1} % written", plain(&name), kept.tally);
    }
    for summary in &shown.summaries {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&summary::show::account(summary));
    }
    if let Some(spared) = &shown.first {
        let all = spared.not_asked + spared.asked;
        let saved = spared.saved.map_or_else(String::new, |saved| {
            format!(": about {saved} saved, at the mean cost of the others")
        });
        let _ = write!(
            text,
            "\n  {} of {all} ratings not asked for, below {} by the heuristic{saved}",
            spared.not_asked, spared.at_least
        );
    }
    if let Some(output) = shown.output.as_ref().filter(|_| shown.kept.is_some()) {
        let _ = write!(text, "\nkept rows in {}", plain(&output.display().to_string()));
    }
    if text.is_empty() { Ok(()) } else { console.result(&text) }
}

/// Rows from both sides of the cut.
fn examples(text: &mut String, args: &FilterArgs, shown: &Shown) {
    let Some(kept) = &shown.kept else { return };
    let (above, below) = (&kept.examples.0, &kept.examples.1);
    for (title, side) in [("Kept", above), ("Dropped", below)] {
        if side.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{title}, nearest to the cut ({}):", plain(&args.words_of_cut().join(" ")));
        for Example { id, scores, margin, text: excerpt, .. } in side {
            let scores: Vec<String> = scores
                .iter()
                .map(|score| score.map_or("–".to_owned(), |score| format!("{score:.2}")))
                .collect();
            let mut scores = scores;
            // Of a column there is no score, but how far it is from the cut.
            scores.extend(margin.filter(|_| scores.is_empty()).map(|margin| format!("{margin:+.2}")));
            let _ = writeln!(text, "  {}  {}  {}", plain(id), scores.join(" "), plain(excerpt));
        }
        text.push('\n');
    }
}

/// The document for `--format json`.
pub(super) fn json(shown: &Shown, exit: u8) -> Value {
    let mut document = report::json::summaries("filter", &shown.summaries, exit);
    document["output"] = json!(shown.output.as_ref().map(|output| output.display().to_string()));
    let done = shown.done.as_ref();
    document["ledger"] = match (&shown.kept, done) {
        (Some(kept), _) => kept.tally.json(),
        (None, receipt) => json!(receipt.map(|receipt| &receipt.counts)),
    };
    let shards = shown.kept.as_ref().map(|kept| &kept.shards).or(done.map(|receipt| &receipt.shards));
    document["shards"] = json!(shards);
    document["done_before"] = json!(done.is_some());
    document["first"] = json!(shown.first.as_ref().map(Spared::json));
    if let Some(kept) = shown.kept.as_ref().filter(|_| shown.is_preview) {
        let (above, below) = (&kept.examples.0, &kept.examples.1);
        document["examples"] = json!({"kept": above, "dropped": below});
    }
    document
}

/// Says that more rows failed than the user allows.
pub(super) fn too_many(console: Console, (share, allowed): (f64, f64), what: &str) {
    console.urge(&format!(
        "{:.1} % of the rows failed, more than --fail-above {:.1} % (exit code 3): {what}",
        share * 100.0,
        allowed * 100.0
    ));
}

/// Says which rows have no rating, where none may be.
pub(super) fn unrated(console: Console, summaries: &[Summary]) {
    let counts = summaries.iter().map(|summary| {
        let mut reasons: Vec<String> =
            summary.ledger.failed.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        if summary.ledger.empty > 0 {
            reasons.push(format!("empty {}", summary.ledger.empty));
        }
        format!("{}: {}", summary.lens, reasons.join(", "))
    });
    let counts: Vec<String> = counts.collect();
    console.urge(&format!(
        "rows have no rating, and --unrated is fail: nothing is written, exit code 3 ({}); those that failed are asked again by the same command",
        counts.join("; ")
    ));
}

impl FilterArgs {
    /// The output's dataset card.
    pub(super) fn card(&self, made: &Made<'_>) -> Card {
        let lens = |(scores, rater): (&Scores, &Option<(String, u32)>)| {
            let (model, version) = rater.clone().unwrap_or_else(|| ("not known".to_owned(), 1));
            Lens { name: scores.lens.clone(), model, version, scale: scores.scale }
        };
        let tally = made.tally;
        let mut counts = vec![("in".to_owned(), tally.rows_in()), ("kept".to_owned(), tally.kept)];
        counts
            .extend(tally.dropped.iter().map(|(why, count)| (format!("dropped: {}", why.as_str()), *count)));
        counts.extend(
            tally.unrated.iter().map(|(reason, count)| (format!("without a rating: {reason}"), *count)),
        );
        if tally.kept_unrated > 0 {
            counts.push(("of those without a rating, kept too".to_owned(), tally.kept_unrated));
        }
        let of = |lens: usize| made.lenses[lens].lens.as_str();
        let added = made.adding.iter().map(|adding| {
            let what = match adding.kind {
                Kind::Double => format!("the score by {}", of(adding.lens)),
                Kind::Int => "that score as a whole number, half a point rounded up".to_owned(),
            };
            (adding.name.clone(), what)
        });
        Card {
            name: self
                .output
                .as_ref()
                .and_then(|output| output.file_name())
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            dataset: made.dataset.to_owned(),
            revision: made.revision.map(str::to_owned),
            split: self.split(),
            to: self.to.of_shards(),
            lenses: made.lenses.iter().zip(made.raters).map(lens).collect(),
            cuts: [self.words_of_cut(), self.words_of_sample()].concat(),
            counts,
            added: added.collect(),
        }
    }
}

/// What a card is made of.
pub(super) struct Made<'a> {
    pub(super) dataset: &'a str,
    pub(super) lenses: &'a [Scores],
    pub(super) raters: &'a [Option<(String, u32)>],
    pub(super) adding: &'a [Adding],
    pub(super) tally: &'a Tally,
    pub(super) revision: Option<&'a str>,
}
