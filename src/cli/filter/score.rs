//! The first pass: every row's ratings, into the table of scores.

use std::collections::HashSet;
use std::sync::Arc;

use crate::cli::exit::{Exit, usage};
use crate::cli::rater;
use crate::cli::session::{Ended, Session};
use crate::dataset::Dataset;
use crate::export::scores::ScoresWriter;
use crate::filter::scores::{Scored, ScoredRow, Scores};
use crate::model::Money;
use crate::rate::Plan;
use crate::rating::summary::Summary;
use crate::rating::{Rating, Target};
use crate::record;

/// What the targets' ratings are called in a table of scores; an error where two would be called the same.
pub(super) fn scores_of(targets: &[Target]) -> anyhow::Result<Vec<Scores>> {
    let scores: Vec<Scores> = targets
        .iter()
        .map(|target| {
            let lens = &target.lens;
            // An overall field of that name is the score itself.
            let is_other = |(at, name): &(usize, &String)| *at != target.overall || *name != "score";
            Scores {
                lens: lens.name.clone(),
                fields: target
                    .scores
                    .iter()
                    .enumerate()
                    .filter(is_other)
                    .map(|(_, name)| name.clone())
                    .collect(),
                scale: Some((lens.scale.low, lens.scale.high)),
                has_verdicts: lens.cuts.is_some(),
            }
        })
        .collect();
    let mut seen = HashSet::new();
    match scores.iter().flat_map(Scores::columns).find(|column| !seen.insert(column.clone())) {
        None => Ok(scores),
        Some(column) => Err(usage(format!(
            "two scores would be called {column}: filter by these lenses one at a time, or rename a score field (`score`, \
             `first`, `verdict` and `failure` are taken)"
        ))),
    }
}

/// What the rating of the rows came to.
pub(super) struct Passed {
    pub(super) ended: Ended,
    pub(super) summaries: Vec<Summary>,
    /// What a rating costs on the mean, those from the store included; `None` where a price is not known.
    pub(super) cost_of_one: Option<Money>,
}

/// Gathers the ratings of a row, which come lens by lens, and writes it when it is whole.
struct Rows {
    writer: ScoresWriter,
    lenses: usize,
    row: Vec<Scored>,
}

impl Rows {
    fn take(&mut self, rating: &Rating, target: &Target) -> anyhow::Result<()> {
        // A run that is cut short leaves rows half rated; what it has written is then of no use.
        if rating.target != self.row.len() {
            return Ok(());
        }
        self.row.push(scored(rating, target));
        if self.row.len() == self.lenses {
            let lenses = std::mem::replace(&mut self.row, Vec::with_capacity(self.lenses));
            let characters = rating.record.fields.iter().map(|field| record::text(field).chars().count());
            let characters = characters.sum::<usize>() as u64;
            self.writer.write(&[ScoredRow { id: rating.record.id.clone(), lenses }], &[characters])?;
        }
        Ok(())
    }
}

fn scored(rating: &Rating, target: &Target) -> Scored {
    match (rating.scores(), rating.screened, rating.failure()) {
        (Some(fields), ..) => {
            let (score, verdict) = (fields[target.overall], target.verdict(&fields));
            let mut fields = fields;
            if target.scores[target.overall] == "score" {
                fields.remove(target.overall);
            }
            Scored::Rated { score, verdict, fields }
        }
        (None, Some(score), _) => Scored::Screened(score),
        (None, None, Some(failure)) => Scored::Unrated(failure.to_string()),
        (None, None, None) => Scored::Unrated("no rating".to_owned()),
    }
}

/// Rates the rows of a dataset and writes the table of their scores, which is complete where the rating is. `summaries` are
/// empty ones, one a lens.
pub(super) async fn pass(
    session: &mut Session<'_>,
    plan: &Arc<Plan>,
    dataset: Dataset,
    (writer, mut summaries): (ScoresWriter, Vec<Summary>),
) -> anyhow::Result<Passed> {
    let is_open = dataset.sampled.or(dataset.rows).is_none();
    let mut rows = Rows { writer, lenses: plan.targets.len(), row: Vec::new() };
    let (mut cost, mut paid_for) = (Some(Money::ZERO), 0);
    let mut is_broken = false;
    let take = |rating: &Rating| {
        let target = &plan.targets[rating.target];
        summaries[rating.target].add(rating, target);
        for answer in rating.pieces.iter().filter_map(|piece| piece.outcome.as_ref().ok()) {
            cost = cost.zip(answer.provenance.usage.cost).map(|(sum, more)| sum + more);
        }
        paid_for += u64::from(!rating.pieces.is_empty());
        if is_broken {
            return Ok(());
        }
        let written = rows.take(rating, target);
        is_broken = written.is_err();
        written
    };
    let mut ended = session.drive(plan, dataset, "further failures are counted at the end", take).await?;
    rater::settle(plan, &mut summaries);
    if is_open && ended.error.is_none() && ended.exit == Exit::Done {
        summaries.iter_mut().for_each(Summary::complete);
    }
    summaries.iter_mut().for_each(Summary::close);
    if ended.error.is_none()
        && ended.exit == Exit::Done
        && let Err(error) = rows.writer.finish()
    {
        ended = Ended::by(error.into());
    }
    let cost_of_one = cost.filter(|_| paid_for > 0).map(|cost| cost.part(1, paid_for));
    Ok(Passed { ended, summaries, cost_of_one })
}
