//! What a user asks to keep, and what can be wrong with that.

use super::super::error::{Error, plain};
use super::super::names::{Kind, Name, Names};
use super::super::scores::Scores;
use super::super::top::Top;
use crate::lens::Verdict;

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cuts {
    /// The least score.
    pub min: Option<f64>,
    /// The verdicts that are kept; all if empty.
    pub verdicts: Vec<Verdict>,
    /// An expression, as the user wrote it.
    pub condition: Option<String>,
    /// The best so many.
    pub top: Option<Top>,
    /// What `min` and `top` go by, and whose verdict counts: a lens, `<lens>_<field>`, or `row.<column>`, also written
    /// `row['any name']`.
    pub by: Option<String>,
    /// What becomes of rows without a rating.
    pub unrated: Unrated,
}

/// What becomes of rows without a rating.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unrated {
    /// They are not kept.
    #[default]
    Drop,
    /// They are kept, if nothing else speaks against them.
    Keep,
    /// The first of them is an error.
    Fail,
}

/// What `--by` names.
#[derive(Debug)]
pub(super) enum By {
    /// Every lens's score.
    Lenses,
    /// One value.
    One(Name),
}

impl By {
    pub(super) fn find(name: Option<&str>, names: Names<'_>) -> Result<Self, Error> {
        let Some(name) = name else { return Ok(Self::Lenses) };
        let problem = |problem: String| Error::Cut(format!("--by: {problem}"));
        let name = names.find(name).map_err(problem)?;
        match names.kind(&name) {
            Some(kind @ (Kind::Bool | Kind::List | Kind::Object)) => {
                Err(problem(format!("`{}` is {kind}, and no number", names.text(&name))))
            }
            _ => Ok(Self::One(name)),
        }
    }
}

/// Finds what is wrong with cuts, but for the condition.
pub(super) fn check(cuts: &Cuts, by: &By, names: Names<'_>) -> Result<(), Error> {
    let problem = |text: &str| Err(Error::Cut(text.to_owned()));
    let goes_by = cuts.min.is_some() || !cuts.verdicts.is_empty();
    if cuts.top.is_some() {
        if goes_by || cuts.condition.is_some() {
            return problem("--top stands alone: leave --min, --verdict and --where out");
        }
        return check_top(by, names);
    }
    if !goes_by && cuts.condition.is_none() {
        return problem("nothing says which rows to keep: give --min, --verdict, --where or --top");
    }
    if cuts.by.is_some() && !goes_by {
        return problem("--by names what --min, --verdict or --top go by: give one of them");
    }
    check_min(cuts.min, by, names)?;
    check_verdicts(&cuts.verdicts, by, names)
}

fn check_top(by: &By, names: Names<'_>) -> Result<(), Error> {
    let problem = match (by, names.scores) {
        (By::Lenses, []) => "no lens to rank by: name a column with --by row.<column>".to_owned(),
        (By::Lenses, [_, _, ..]) => {
            let lenses: Vec<String> = names.scores.iter().map(|scores| plain(&scores.lens)).collect();
            format!("several lenses to rank by ({}): choose one with --by", lenses.join(", "))
        }
        _ => return Ok(()),
    };
    Err(Error::Cut(format!("--top: {problem}")))
}

fn check_min(min: Option<f64>, by: &By, names: Names<'_>) -> Result<(), Error> {
    let Some(min) = min else { return Ok(()) };
    let problem = match by {
        _ if min.is_nan() => Some("expected a number".to_owned()),
        By::Lenses if names.scores.is_empty() => {
            Some("no lens has a score here: name a column with --by row.<column>".to_owned())
        }
        By::Lenses => names.scores.iter().find_map(|scores| off_the_scale(min, scores)),
        By::One(Name::Score(lens)) => off_the_scale(min, &names.scores[*lens]),
        By::One(_) => None,
    };
    problem.map_or(Ok(()), |problem| Err(Error::Cut(format!("--min: {problem}"))))
}

fn off_the_scale(min: f64, scores: &Scores) -> Option<String> {
    let (low, high) = scores.scale?;
    let is_on_it = (low..=high).contains(&min);
    (!is_on_it).then(|| format!("{min} is not on the scale of `{}`, {low} to {high}", plain(&scores.lens)))
}

fn check_verdicts(verdicts: &[Verdict], by: &By, names: Names<'_>) -> Result<(), Error> {
    if verdicts.is_empty() {
        return Ok(());
    }
    let asked = match by {
        By::One(Name::Column(_)) => Err("a column has no verdict: name a lens with --by".to_owned()),
        By::One(Name::Field(lens, _)) => {
            let lens = plain(&names.scores[*lens].lens);
            Err(format!("a field has no verdict: name the lens, --by {lens}"))
        }
        By::One(Name::Score(lens)) => Ok(&names.scores[*lens..=*lens]),
        By::Lenses if names.scores.is_empty() => Err("no lens gives a verdict here".to_owned()),
        By::Lenses => Ok(names.scores),
    };
    let without = asked.map(|asked| asked.iter().find(|scores| !scores.has_verdicts));
    let problem = match without {
        Ok(None) => return Ok(()),
        Ok(Some(scores)) => format!(
            "lens `{}` has no verdicts here: it has no cuts, or the scores file lacks them; use --min",
            plain(&scores.lens)
        ),
        Err(problem) => problem,
    };
    Err(Error::Cut(format!("--verdict: {problem}")))
}

/// Reads `good,medium`.
pub fn verdicts(text: &str) -> Result<Vec<Verdict>, String> {
    let one = |name: &str| {
        let known = Verdict::ALL.into_iter().find(|verdict| verdict.name().eq_ignore_ascii_case(name.trim()));
        known.ok_or_else(|| {
            format!("unknown verdict `{}`: they are poor, low, medium and good", plain(name.trim()))
        })
    };
    text.split(',').map(one).collect()
}
