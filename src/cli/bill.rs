//! No surprise bill: a run without a bound says first how much it would ask of somebody else's endpoint.

use std::sync::Arc;

use super::exit::usage;
use super::rater::{Cuts, Raters};
use crate::console::Console;
use crate::dataset::Dataset;
use crate::lens::Lens;
use crate::rate::{self, Asking, Look};

/// Questions to an endpoint elsewhere that a run without a bound may ask unasked.
pub(super) const SURPRISE: u64 = 10_000;

/// What a run without a bound would rate.
pub(super) struct Unbounded<'a> {
    pub(super) raters: &'a Raters,
    pub(super) lenses: &'a [Arc<Lens>],
    pub(super) columns: &'a [String],
    pub(super) cuts: Cuts,
}

impl Unbounded<'_> {
    /// Whether the datasets could make a bill of more than [`SURPRISE`] questions.
    pub(super) fn may_surprise(&self, datasets: &[Dataset]) -> bool {
        let rows = datasets.iter().filter_map(|dataset| dataset.rows).fold(0, u64::saturating_add);
        let each = (self.lenses.len() as u64).saturating_mul(self.cuts.limits.chunks_per_doc as u64);
        self.raters.bills() && rows.saturating_mul(each) > SURPRISE
    }

    /// Looks through `datasets` and refuses the run where the store cannot answer more than [`SURPRISE`] of its
    /// questions.
    pub(super) async fn check(&self, datasets: Vec<Dataset>, console: Console) -> anyhow::Result<()> {
        console.note("counting the questions that this run would ask");
        let (mut all, mut exact) = (Asking::default(), true);
        for dataset in datasets {
            let Some(rows) = dataset.rows else { continue };
            let plan = Arc::new(self.raters.plan(self.lenses, self.columns, self.cuts)?);
            let enough = SURPRISE.saturating_sub(all.left());
            let forecast = rate::forecast(plan, dataset, Look::Until(enough)).await?;
            exact &= forecast.rows == rows;
            forecast.scaled(rows).iter().for_each(|asking| all.add(asking));
        }
        let questions = all.left();
        if questions <= SURPRISE {
            return Ok(());
        }
        let about = if exact { "" } else { "about " };
        let cost = all.cost.map_or_else(
            || " (its price is not known)".to_owned(),
            |cost| format!(" ({} expected, {} at most)", cost.expected, cost.high),
        );
        Err(usage(format!(
            "this would ask {about}{questions} questions with {about}{} tokens of {}{cost}; --dry-run shows more; say --yes \
             to do it, or bound it with --max-cost USD or --max N: a random sample of 1,000 rows tells much",
            all.prompt.expected,
            self.raters.model()
        )))
    }
}
