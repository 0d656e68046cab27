//! Which rows are kept, by what the lenses and the columns say of them.
//!
//! The rules, in this order:
//! 1. A row that a cheaper rater screened out is dropped ([`Why::First`]), whatever other lenses say of it.
//! 2. A row is *unrated* when any lens of the command has no rating for it. Then [`Unrated`] decides: it is left out, or it
//!    ends the run, or it is kept if nothing else speaks against it. Of such a row those cuts are asked whose values it has:
//!    the scores that it does have, and a condition that needs none of the others.
//! 3. `--min`: every lens's score, or the one value that `--by` names, is at least this.
//! 4. `--verdict`: every lens's verdict, or that of the lens that `--by` names, is one of these.
//! 5. `--where`: see [`super::condition`].
//! 6. `--top`, which stands alone: the best so many by `--by`, or by the only lens. An unrated row that is kept is kept
//!    beside them.
//!
//! A value that is missing, null or NaN passes nothing ([`Why::Missing`]).

use minijinja::value::Value;

use super::condition::{Condition, Unanswered};
use super::error::{Error, plain};
use super::names::{Name, Names};
use super::scores::{Scored, ScoredRow, Scores};
use super::top::{Ranking, Threshold, Top};
use super::values::{Numbers, Values};
use crate::dataset::Column;
use crate::dataset::whole::Table;
use crate::lens::Verdict;
use cuts::By;

pub use cuts::{Cuts, Unrated, verdicts};

mod cuts;

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is written.
    Kept,
    /// It is not written.
    Dropped(Why),
    /// It has no rating, and is not written.
    Unrated,
    /// It has no rating, and is written ([`Unrated::Keep`]).
    KeptUnrated,
}

impl Decision {
    /// Whether the row is written.
    pub fn is_kept(self) -> bool {
        matches!(self, Self::Kept | Self::KeptUnrated)
    }
}

/// Why a row is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A score, a verdict or the condition.
    Cut,
    /// A value that the cut needs is missing, null or NaN.
    Missing,
    /// A cheaper rater screened it out.
    First,
    /// It is not among the best so many.
    Rank,
}

impl Why {
    /// The word used in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Missing => "missing value",
            Self::First => "first rater",
            Self::Rank => "rank",
        }
    }
}

#[derive(Debug)]
enum Cut {
    Joined { min: Option<f64>, verdicts: Vec<Verdict>, condition: Option<Box<Condition>> },
    Ranked { top: Top, ranking: Ranking, threshold: Option<Threshold> },
}

/// Judges rows, in their order.
#[derive(Debug)]
pub struct Judge {
    by: By,
    cut: Cut,
    unrated: Unrated,
    lenses: usize,
}

impl Judge {
    /// A judge by these cuts of rows with these scores and columns; all that can be wrong with the cuts is found here.
    pub fn new(cuts: &Cuts, scores: &[Scores], columns: &[Column]) -> Result<Self, Error> {
        let names = Names { scores, columns };
        let by = By::find(cuts.by.as_deref(), names)?;
        cuts::check(cuts, &by, names)?;
        let condition = cuts.condition.as_deref();
        let condition = condition.map(|source| Condition::parse(source, names).map(Box::new)).transpose()?;
        let joined = Cut::Joined { min: cuts.min, verdicts: cuts.verdicts.clone(), condition };
        let ranked = |top| Cut::Ranked { top, ranking: Ranking::default(), threshold: None };
        let cut = cuts.top.map_or(joined, ranked);
        Ok(Self { by, cut, unrated: cuts.unrated, lenses: scores.len() })
    }

    /// Whether all rows have to be ranked, by [`Judge::rank_table`], before any can be judged.
    pub fn ranks(&self) -> bool {
        matches!(self.cut, Cut::Ranked { .. })
    }

    /// Ranks rows by their scores.
    fn rank(&mut self, rows: &[ScoredRow]) {
        let Cut::Ranked { ranking, .. } = &mut self.cut else { return };
        for row in rows {
            let is_whole = row.lenses.iter().all(|scored| matches!(scored, Scored::Rated { .. }));
            ranking.push(if is_whole { ranked_by(&self.by, row) } else { None });
        }
    }

    /// Ranks the rows of a table, whose scores are these (none without lenses).
    pub fn rank_table(&mut self, table: &Table, rows: &[ScoredRow]) -> Result<(), Error> {
        let (Cut::Ranked { ranking, .. }, By::One(Name::Column(path))) = (&mut self.cut, &self.by) else {
            self.rank(rows);
            return Ok(());
        };
        let numbers = Numbers::new(table, path);
        for at in 0..table.rows.len() {
            let is_whole = rows
                .get(at)
                .is_none_or(|row| row.lenses.iter().all(|scored| matches!(scored, Scored::Rated { .. })));
            ranking.push(if is_whole { by_column(&numbers, path, table, at)? } else { None });
        }
        Ok(())
    }

    /// Ends the ranking, given how many rows there are, with a score or without. Before it a `--top` keeps nothing.
    pub fn ranked(&mut self, rows_in: u64) -> Option<Threshold> {
        let Cut::Ranked { top, ranking, threshold } = &mut self.cut else { return None };
        *threshold = Some(std::mem::take(ranking).threshold(*top, rows_in));
        *threshold
    }

    /// Judges the rows of a table, whose scores are these, one a row (none without lenses). Tables come in their order.
    pub fn judge(&mut self, table: &Table, rows: &[ScoredRow]) -> Result<Vec<Decision>, Error> {
        let count = table.rows.len();
        if self.lenses > 0 && rows.len() != count {
            return Err(Error::Cut(format!("{} rows have scores, of a table of {count}", rows.len())));
        }
        let view = View::new(self, table);
        let decided: Result<Vec<Decision>, Error> = (0..count)
            .map(|at| self.decide(&view, at, rows.get(at).map_or(&[], |row| &row.lenses)))
            .collect();
        let mut decided = decided?;
        let Cut::Ranked { threshold, .. } = &self.cut else { return Ok(decided) };
        let mut threshold = threshold.unwrap_or(Threshold { value: f64::INFINITY, ties: 0, kept: 0 });
        for (at, decision) in decided.iter_mut().enumerate() {
            if *decision != Decision::Kept {
                continue;
            }
            let score = match &view.by {
                Some((numbers, path)) => by_column(numbers, path, table, at)?,
                None => rows.get(at).and_then(|row| ranked_by(&self.by, row)),
            };
            if score.is_none() {
                *decision = Decision::Dropped(Why::Missing);
            } else if !threshold.admits(score) {
                *decision = Decision::Dropped(Why::Rank);
            }
        }
        if let Cut::Ranked { threshold: left, .. } = &mut self.cut {
            *left = Some(threshold);
        }
        Ok(decided)
    }

    /// By how much each row of a table is above the cut, or below it (negative), where the cut is a score.
    pub fn margins(&self, table: &Table, rows: &[ScoredRow]) -> Vec<Option<f64>> {
        let least = match &self.cut {
            Cut::Joined { min, .. } => *min,
            Cut::Ranked { threshold, .. } => threshold.map(|threshold| threshold.value),
        };
        let Some(least) = least.filter(|least| least.is_finite()) else {
            return vec![None; table.rows.len()];
        };
        let view = View::new(self, table);
        let value = |at: usize| match (&self.by, &view.by) {
            (_, Some((numbers, _))) => numbers.get(at).ok().flatten(),
            (By::One(name), None) => score_of(name, &rows.get(at)?.lenses),
            (By::Lenses, None) => rows.get(at)?.lenses.iter().filter_map(overall).min_by(f64::total_cmp),
        };
        let margin = |at: usize| value(at).map(|value| value - least).filter(|margin| margin.is_finite());
        (0..table.rows.len()).map(margin).collect()
    }

    /// All but the rank.
    fn decide(&self, view: &View<'_>, at: usize, lenses: &[Scored]) -> Result<Decision, Error> {
        if lenses.iter().any(|scored| matches!(scored, Scored::Screened(_))) {
            return Ok(Decision::Dropped(Why::First));
        }
        let unrated = lenses.iter().find_map(|scored| match scored {
            Scored::Unrated(reason) => Some(reason),
            _ => None,
        });
        let kept = match (unrated, self.unrated) {
            (None, _) => Decision::Kept,
            (Some(_), Unrated::Drop) => return Ok(Decision::Unrated),
            (Some(_), Unrated::Keep) => Decision::KeptUnrated,
            (Some(reason), Unrated::Fail) => {
                return Err(Error::Unrated { id: plain(&view.table.ids.get(at)), reason: plain(reason) });
            }
        };
        let Cut::Joined { min, verdicts, condition } = &self.cut else { return Ok(kept) };
        if let Some(min) = *min
            && let Some(why) = self.below(min, view, at, lenses)?
        {
            return Ok(Decision::Dropped(why));
        }
        if !verdicts.is_empty()
            && let Some(why) = self.outside(verdicts, lenses)
        {
            return Ok(Decision::Dropped(why));
        }
        let Some(condition) = condition else { return Ok(kept) };
        let dropped = match view.values(condition, at, lenses)? {
            Asked::Unrated => None,
            Asked::Missing => Some(Why::Missing),
            Asked::Values(values) => match condition.holds(values) {
                Ok(true) => None,
                Ok(false) => Some(Why::Cut),
                Err(Unanswered::Missing) => Some(Why::Missing),
                Err(Unanswered::Wrong(problem)) => return Err(Error::row(&view.table.ids.get(at), problem)),
            },
        };
        Ok(dropped.map_or(kept, Decision::Dropped))
    }

    /// Why a row does not reach the least score; None if it does, or has no rating to tell.
    fn below(&self, min: f64, view: &View<'_>, at: usize, lenses: &[Scored]) -> Result<Option<Why>, Error> {
        let against = |value: Option<f64>| match value {
            None => Some(Why::Missing),
            Some(value) if value.is_nan() => Some(Why::Missing),
            Some(value) if value < min => Some(Why::Cut),
            Some(_) => None,
        };
        Ok(match (&self.by, &view.by) {
            (By::Lenses, _) => {
                lenses.iter().filter(|scored| is_rated(scored)).find_map(|scored| against(overall(scored)))
            }
            (By::One(Name::Column(_)), Some((numbers, path))) => {
                against(by_column(numbers, path, view.table, at)?)
            }
            (By::One(name), _) if lens_of(name).is_some_and(|lens| !is_rated(&lenses[lens])) => None,
            (By::One(name), _) => against(score_of(name, lenses)),
        })
    }

    fn outside(&self, verdicts: &[Verdict], lenses: &[Scored]) -> Option<Why> {
        let lens = match &self.by {
            By::One(name) => lens_of(name),
            By::Lenses => None,
        };
        let asked = lenses.iter().enumerate().filter(|(at, _)| lens.is_none_or(|lens| lens == *at));
        let mut asked = asked.map(|(_, scored)| scored);
        asked.find_map(|scored| match scored {
            Scored::Rated { verdict: Some(verdict), .. } => (!verdicts.contains(verdict)).then_some(Why::Cut),
            Scored::Rated { verdict: None, .. } => Some(Why::Missing),
            Scored::Screened(_) | Scored::Unrated(_) => None,
        })
    }
}

/// What the cuts read of a table.
struct View<'t> {
    table: &'t Table,
    /// The column that `--by` names.
    by: Option<(Numbers<'t>, &'t str)>,
    /// The condition's columns, in the order of its names; none where a name is a score.
    columns: Vec<Option<Values<'t>>>,
}

/// A condition's values in a row.
enum Asked {
    Values(Vec<Value>),
    Missing,
    /// One of them is a score that the row was not given.
    Unrated,
}

impl<'t> View<'t> {
    fn new(judge: &'t Judge, table: &'t Table) -> Self {
        let by = match &judge.by {
            By::One(Name::Column(path)) => Some((Numbers::new(table, path), path.as_str())),
            _ => None,
        };
        let uses = match &judge.cut {
            Cut::Joined { condition: Some(condition), .. } => condition.uses(),
            _ => &[],
        };
        let columns = uses.iter().map(|name| match name {
            Name::Column(path) => Some(Values::new(table, path)),
            _ => None,
        });
        Self { table, by, columns: columns.collect() }
    }

    fn values(&self, condition: &Condition, at: usize, lenses: &[Scored]) -> Result<Asked, Error> {
        let unrated = |name: &Name| lens_of(name).is_some_and(|lens| !is_rated(&lenses[lens]));
        if condition.uses().iter().any(unrated) {
            return Ok(Asked::Unrated);
        }
        let mut values = Vec::with_capacity(self.columns.len());
        for (name, column) in condition.uses().iter().zip(&self.columns) {
            let found = match column {
                None => score_of(name, lenses).filter(|score| !score.is_nan()).map(Value::from),
                Some(column) => column.engine(at).map_err(|problem| {
                    let column = if let Name::Column(path) = name { plain(path) } else { String::new() };
                    Error::row(&self.table.ids.get(at), format!("column `{column}`: {}", plain(&problem)))
                })?,
            };
            let Some(found) = found else { return Ok(Asked::Missing) };
            values.push(found);
        }
        Ok(Asked::Values(values))
    }
}

fn by_column(numbers: &Numbers<'_>, path: &str, table: &Table, at: usize) -> Result<Option<f64>, Error> {
    numbers.get(at).map_err(|problem| {
        Error::row(&table.ids.get(at), format!("--by: column `{}` is {problem}", plain(path)))
    })
}

fn is_rated(scored: &Scored) -> bool {
    matches!(scored, Scored::Rated { .. })
}

fn overall(scored: &Scored) -> Option<f64> {
    if let Scored::Rated { score, .. } = scored { Some(*score) } else { None }
}

fn lens_of(name: &Name) -> Option<usize> {
    match name {
        Name::Score(lens) | Name::Field(lens, _) => Some(*lens),
        Name::Column(_) => None,
    }
}

fn score_of(name: &Name, lenses: &[Scored]) -> Option<f64> {
    match (name, lenses.get(lens_of(name)?)?) {
        (Name::Score(_), scored) => overall(scored),
        (Name::Field(_, field), Scored::Rated { fields, .. }) => fields.get(*field).copied(),
        _ => None,
    }
}

/// The score that a row is ranked by, of those that ratings give.
fn ranked_by(by: &By, row: &ScoredRow) -> Option<f64> {
    let score = match by {
        By::Lenses => row.lenses.first().and_then(overall),
        By::One(name) => score_of(name, &row.lenses),
    };
    score.filter(|score| !score.is_nan())
}

#[cfg(test)]
mod tests;
