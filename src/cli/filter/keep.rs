//! The second pass: whole rows beside their scores, judged, and written if they are kept.

use std::borrow::Cow;

use futures::StreamExt as _;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::dataset::Unreadable;
use crate::dataset::whole::{Item, Table, Whole};
use crate::export::shards::{Added, Kind, Shard, Shards, Values};
use crate::export::unrated::Unrated;
use crate::filter::judge::{self, Decision, Judge};
use crate::filter::merge::{Left, Merge};
use crate::filter::scores::{Scored, ScoredRow, Scores};
use crate::filter::tally::{Example, Examples, Tally};
use crate::{filter, record};

/// The reason under which rows are counted that cannot be read.
pub(super) const UNREADABLE: &str = "unreadable";

/// A column that is added to the rows.
#[derive(Debug, Clone)]
pub(super) struct Adding {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Index of the lens whose score it is.
    pub(super) lens: usize,
}

/// The columns that the scores of `lenses` become, beside those of the input. `name` is what the user calls those of
/// the only lens.
pub(super) fn adding(lenses: &[Scores], name: Option<&str>, has: impl Fn(&str) -> bool) -> Vec<Adding> {
    let pair = |score: String, int: String, lens| {
        [(score, Kind::Double), (int, Kind::Int)].map(|(name, kind)| Adding { name, kind, lens })
    };
    if let Some(name) = name {
        return pair(name.to_owned(), format!("int_{name}"), 0).into();
    }
    let of = |(lens, scores): (usize, &Scores)| {
        let name = &scores.lens;
        pair(format!("{name}_score"), format!("{name}_int_score"), lens)
    };
    let mut adding: Vec<Adding> = lenses.iter().enumerate().flat_map(of).collect();
    // A column of the input that has such a name stays what it is.
    if lenses.len() == 1 && !has("score") && !has("int_score") {
        adding.extend(pair("score".to_owned(), "int_score".to_owned(), 0));
    }
    adding
}

/// What the second pass is made of.
pub(super) struct Pass {
    pub(super) judge: Judge,
    pub(super) lenses: Vec<Scores>,
    /// The scores, in the order of the rows; none where columns judge.
    pub(super) scored: Option<Merge>,
    /// Where kept rows go; nowhere in a preview.
    pub(super) sink: Option<Sink>,
    /// The column that examples show.
    pub(super) shown: Option<String>,
    /// The column that rows are called by, where they come under their numbers.
    pub(super) id: Option<String>,
    /// What becomes of rows without a rating.
    pub(super) unrated: judge::Unrated,
    /// Whether all rows of the dataset come, and no sample of them.
    pub(super) has_all_rows: bool,
    pub(super) tally: Tally,
    pub(super) examples: Examples,
}

/// Where rows go.
pub(super) struct Sink {
    pub(super) shards: Shards,
    pub(super) unrated: Unrated,
    pub(super) adding: Vec<Adding>,
}

/// What the second pass came to.
pub(super) struct Kept {
    pub(super) tally: Tally,
    /// Rows from both sides of the cut, kept ones first; only of a preview.
    pub(super) examples: (Vec<Example>, Vec<Example>),
    pub(super) shards: Vec<Shard>,
    /// Scores of a file that belong to no row.
    pub(super) left: Left,
}

impl Pass {
    /// Reads all rows, judges them and writes those that are kept; tells `done` how many were read. `None` if it was
    /// stopped. Blocks.
    pub(super) fn run(
        mut self,
        whole: Whole,
        done: &watch::Sender<u64>,
        stop: &watch::Receiver<bool>,
    ) -> anyhow::Result<Option<Kept>> {
        let runtime = Handle::current();
        let mut items = Box::pin(whole.tables());
        while let Some(item) = runtime.block_on(items.next()) {
            if *stop.borrow() {
                return Ok(None);
            }
            match item? {
                Item::Table(table) => self.table(&table, &runtime)?,
                Item::Unreadable(row) => self.unreadable(&row, &runtime)?,
            }
            done.send_replace(self.tally.rows_in());
        }
        let left = match self.scored {
            // A sample has fewer rows than there are scores, as was asked for.
            Some(merge) if self.has_all_rows => runtime.block_on(merge.finish())?,
            _ => Left::default(),
        };
        let shards = match self.sink {
            // A cut that keeps nothing writes nothing.
            Some(sink) if self.tally.written() > 0 => {
                sink.unrated.finish()?;
                sink.shards.finish()?
            }
            _ => Vec::new(),
        };
        Ok(Some(Kept { tally: self.tally, examples: self.examples.into_sides(), shards, left }))
    }

    fn table(&mut self, table: &Table, runtime: &Handle) -> anyhow::Result<()> {
        let rows = scored(self.scored.as_mut(), table, runtime)?;
        let decisions = self.judge.judge(table, &rows)?;
        for (at, decision) in decisions.iter().enumerate() {
            let row = rows.get(at);
            self.tally.add(*decision, row.map_or(&[], |row| &row.lenses));
            let is_unrated = matches!(decision, Decision::Unrated | Decision::KeptUnrated);
            if let (true, Some(sink), Some(row)) = (is_unrated, &mut self.sink, row) {
                let row = called(row, self.id.as_deref(), table, at);
                sink.unrated.write(&row, &self.lenses)?;
            }
        }
        match &mut self.sink {
            None => self.look(table, &rows, &decisions),
            Some(sink) => {
                let keep: Vec<bool> = decisions.iter().map(|decision| decision.is_kept()).collect();
                let added = sink.adding.iter().map(|adding| added(adding, &self.lenses, &rows, &keep));
                sink.shards.write(table, &keep, added.collect())?;
            }
        }
        Ok(())
    }

    /// Takes examples from both sides of the cut.
    fn look(&mut self, table: &Table, rows: &[ScoredRow], decisions: &[Decision]) {
        let margins = self.judge.margins(table, rows);
        for (at, decision) in decisions.iter().enumerate() {
            let own;
            let row = if let Some(row) = rows.get(at) {
                called(row, self.id.as_deref(), table, at)
            } else {
                own = ScoredRow { id: table.ids.get(at).into_owned(), lenses: Vec::new() };
                Cow::Borrowed(&own)
            };
            let text = || self.shown.as_ref().and_then(|column| table.value(column, at).ok().flatten());
            let text = || text().map(|value| record::text(&value).into_owned()).unwrap_or_default();
            self.examples.add(*decision, &row, margins.get(at).copied().flatten(), text);
        }
    }

    /// A row that cannot be read cannot be written either, whatever its rating.
    fn unreadable(&mut self, row: &Unreadable, runtime: &Handle) -> anyhow::Result<()> {
        if let Some(merge) = &mut self.scored {
            runtime.block_on(merge.next_for(&row.id))?;
        }
        if self.unrated == judge::Unrated::Fail {
            let reason = format!("unreadable: {}", row.detail);
            return Err(filter::Error::Unrated { id: row.id.clone(), reason }.into());
        }
        self.tally.add_unrated(UNREADABLE);
        if let Some(sink) = &mut self.sink {
            let failure = format!("unreadable: {}", row.detail);
            // Also where no lens rates, and columns judge.
            let unnamed =
                [Scores { lens: String::new(), fields: Vec::new(), scale: None, has_verdicts: false }];
            let lenses = if self.lenses.is_empty() { &unnamed[..] } else { &self.lenses };
            let scored = lenses.iter().map(|_| Scored::Unrated(failure.clone())).collect();
            sink.unrated.write(&ScoredRow { id: row.id.clone(), lenses: scored }, lenses)?;
        }
        Ok(())
    }
}

/// Ranks the rows that can be written. `None` if it was stopped. Blocks.
pub(super) fn rank(
    mut judge: Judge,
    whole: Whole,
    mut merge: Option<Merge>,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<Option<Judge>> {
    let runtime = Handle::current();
    let mut rows_in = 0;
    let mut items = Box::pin(whole.tables());
    while let Some(item) = runtime.block_on(items.next()) {
        if *stop.borrow() {
            return Ok(None);
        }
        match item? {
            Item::Table(table) => {
                let rows = scored(merge.as_mut(), &table, &runtime)?;
                judge.rank_table(&table, &rows)?;
                rows_in += table.rows.len() as u64;
            }
            Item::Unreadable(row) => {
                if let Some(merge) = &mut merge {
                    runtime.block_on(merge.next_for(&row.id))?;
                }
                rows_in += 1;
            }
        }
    }
    judge.ranked(rows_in);
    Ok(Some(judge))
}

/// A row under the id of the user's column; under its number where that has none, as everywhere.
fn called<'r>(row: &'r ScoredRow, id: Option<&str>, table: &Table, at: usize) -> Cow<'r, ScoredRow> {
    let value = id.and_then(|column| table.value(column, at).ok().flatten());
    match value.map(|value| record::text(&value).into_owned()).filter(|id| !id.is_empty()) {
        Some(id) => Cow::Owned(ScoredRow { id, lenses: row.lenses.clone() }),
        None => Cow::Borrowed(row),
    }
}

/// The scores of a table's rows; none where columns judge.
fn scored(merge: Option<&mut Merge>, table: &Table, runtime: &Handle) -> anyhow::Result<Vec<ScoredRow>> {
    match merge {
        Some(merge) => Ok(runtime.block_on(merge.of_table(table))?),
        None => Ok(Vec::new()),
    }
}

/// A column's values for the kept rows.
fn added(adding: &Adding, lenses: &[Scores], rows: &[ScoredRow], keep: &[bool]) -> Added {
    let scores =
        rows.iter().zip(keep).filter(|(_, keep)| **keep).map(|(row, _)| match row.lenses[adding.lens] {
            Scored::Rated { score, .. } => Some(score),
            Scored::Screened(_) | Scored::Unrated(_) => None,
        });
    let values = match adding.kind {
        Kind::Double => Values::Double(scores.collect()),
        Kind::Int => {
            let scale = lenses[adding.lens].scale;
            Values::Int(scores.map(|score| score.map(|score| rounded(score, scale))).collect())
        }
    };
    Added { name: adding.name.clone(), values }
}

/// A score rounded half up, within its scale.
#[expect(clippy::cast_possible_truncation, reason = "a score beyond 64 bits is at their end")]
fn rounded(score: f64, scale: Option<(f64, f64)>) -> i64 {
    let rounded = (score + 0.5).floor();
    let within = scale.map_or(rounded, |(low, high)| rounded.max(low.ceil()).min(high.floor()));
    within as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lens(name: &str) -> Scores {
        Scores { lens: name.to_owned(), fields: Vec::new(), scale: Some((1.0, 3.0)), has_verdicts: true }
    }

    #[test]
    fn a_whole_score_is_rounded_half_up_within_the_scale() {
        let scale = Some((1.0, 3.0));
        let whole: Vec<i64> = [1.0, 1.49, 1.5, 2.5, 3.0].map(|score| rounded(score, scale)).to_vec();
        assert_eq!(whole, [1, 1, 2, 3, 3]);
        assert_eq!((rounded(-1.5, None), rounded(0.6, Some((0.0, 0.9)))), (-1, 0));
    }

    #[test]
    fn names_that_the_input_has_stay_the_input_s() {
        let names = |lenses: &[Scores], name, taken: &[&str]| {
            let adding = adding(lenses, name, |column| taken.contains(&column));
            adding.into_iter().map(|adding| adding.name).collect::<Vec<_>>()
        };
        let two = [lens("a"), lens("b")];
        assert_eq!(names(&two, None, &[]), ["a_score", "a_int_score", "b_score", "b_int_score"]);
        assert_eq!(names(&two[..1], None, &[]), ["a_score", "a_int_score", "score", "int_score"]);
        assert_eq!(names(&two[..1], None, &["int_score"]), ["a_score", "a_int_score"]);
        assert_eq!(names(&two[..1], Some("q"), &["score"]), ["q", "int_q"]);
    }
}
