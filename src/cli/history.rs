//! Runs in the store: noted when they begin, and again with what came of them when they end.

use std::sync::Arc;
use std::time::Instant;

use super::exit::Exit;
use super::rater::Raters;
use super::rating::RatingArgs;
use super::session::Ended;
use crate::console::Console;
use crate::rating::excerpt::Chooser;
use crate::rating::run::{self, Filtered, How, Meaning, Run};
use crate::rating::summary::Summary;
use crate::store::{self, Store};

/// The runs of a command over one dataset, one for each lens.
pub(super) struct History {
    store: Option<Arc<Store>>,
    /// Whether a store that fails is no reason to stop: its ratings are computed here, so nothing that was paid for is lost.
    is_optional: bool,
    fail_above: f64,
    clock: Instant,
    runs: Vec<Run>,
}

impl History {
    /// Notes that runs begin. Call it when nothing can keep them from beginning any more: a run that never ends was killed.
    pub(super) async fn begin(
        raters: &Raters,
        args: &RatingArgs,
        meanings: Vec<Meaning>,
        console: Console,
    ) -> anyhow::Result<Self> {
        let mut history = Self {
            store: raters.store().cloned(),
            is_optional: raters.is_in_process(),
            fail_above: args.fail_above,
            clock: Instant::now(),
            runs: Vec::new(),
        };
        for meaning in meanings {
            let mut id = None;
            if let Some(store) = &history.store {
                match store.begin(&meaning).await {
                    Ok(run) => id = Some(run),
                    Err(error) => history.failed(error, console)?,
                }
            }
            history.runs.push(Run { id, meaning, began: store::now(), outcome: None, excerpts: Vec::new() });
        }
        Ok(history)
    }

    /// Notes what came of the runs, given the summary of each in the same order; returns them as they were noted.
    pub(super) async fn finish(
        mut self,
        summaries: &[Summary],
        ended: &Ended,
        filtered: Option<&Filtered>,
        console: Console,
    ) -> anyhow::Result<Vec<Run>> {
        let seconds = self.clock.elapsed().as_secs_f64();
        let mut runs = std::mem::take(&mut self.runs);
        for (run, summary) in runs.iter_mut().zip(summaries) {
            let mut outcome = summary.outcome(self.ended(ended, summary), seconds);
            outcome.filter = filtered.cloned();
            run.excerpts = summary.excerpts.as_ref().map(Chooser::excerpts).unwrap_or_default();
            if let (Some(store), Some(id)) = (&self.store, run.id)
                && let Err(error) = store.finish(id, &outcome, &run.excerpts).await
            {
                self.failed(error, console)?;
            }
            run.outcome = Some(outcome);
        }
        Ok(runs)
    }

    fn failed(&mut self, error: store::Error, console: Console) -> anyhow::Result<()> {
        if !self.is_optional {
            return Err(error.into());
        }
        console.warn(&format!("the run is not recorded for reports: {error}"));
        self.store = None;
        Ok(())
    }

    /// How the run over one lens ended, whatever became of the others.
    fn ended(&self, ended: &Ended, summary: &Summary) -> run::Ended {
        let all_reached = summary.ledger.not_reached() == Some(0);
        let how = match ended.exit {
            _ if ended.error.is_some() => How::Failed,
            _ if all_reached => How::Complete,
            Exit::Budget => How::Budget,
            Exit::Interrupted | Exit::Terminated => How::Interrupted,
            Exit::TryAgain => How::Waiting,
            _ => How::Failed,
        };
        let too_many = summary.ledger.failed_share() > self.fail_above;
        let exit = if ended.exit == Exit::Done && too_many { Exit::TooManyFailed } else { ended.exit };
        run::Ended { how, exit: exit.code() }
    }
}
