//! How far batches are, and what follows when they have ended.

use std::fmt::Write as _;
use std::sync::Arc;

use super::collect::{Gathered, collect};
use super::work::Work;
use super::{Error, retrying};
use crate::endpoint::batches::{RemoteBatch, Status, token_limit};
use crate::endpoint::{Refusal, Trouble};
use crate::meter::Spent;
use crate::model::Price;
use crate::store::{Batch, Change, Stage};

/// How far the open batches are, all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Questions in them.
    pub questions: u64,
    /// Those that were run.
    pub done: u64,
    /// Batches that have ended, and are to be collected.
    pub ended: usize,
}

/// What became of a batch.
#[derive(Debug)]
enum Found {
    /// The server's word.
    Remote(Box<RemoteBatch>),
    /// The server knows it no longer.
    Gone,
}

impl Work {
    /// Asks how far the open batches are. Nothing is collected, and no lock is wanted.
    pub async fn look(&self) -> Result<Progress, Error> {
        let mut progress = Progress::default();
        for batch in self.open.iter().filter(|batch| batch.stage == Stage::Created) {
            if self.gone.contains(&batch.id) {
                continue;
            }
            progress.questions += batch.requests;
            match self.ask_for(batch).await? {
                // The next round says so.
                Found::Gone => progress.ended += 1,
                Found::Remote(remote) => {
                    let done = remote.counts.completed.saturating_add(remote.counts.failed);
                    progress.done += done.min(batch.requests);
                    progress.ended += usize::from(remote.status.has_ended());
                }
            }
        }
        Ok(progress)
    }

    /// Collects the open batches that have ended, and begins those that have room now. Wants the lock of the store's batches.
    pub async fn collect(&mut self, price: Option<Price>) -> Result<(), Error> {
        // Another run may have collected them.
        self.reload().await?;
        self.full = None;
        let begun: Vec<Batch> =
            self.open.iter().filter(|batch| batch.stage == Stage::Created).cloned().collect();
        for batch in begun {
            match self.ask_for(&batch).await? {
                Found::Gone => self.gone(&batch),
                Found::Remote(remote) if remote.status.has_ended() => {
                    self.ended(batch, &remote, price).await?;
                }
                Found::Remote(remote) => {
                    if remote.status == Status::InProgress {
                        self.rejected = 0;
                    }
                    let status = remote.status.as_str();
                    if batch.status.as_deref() != Some(status) {
                        let change = Change { status: Some(status.to_owned()), ..Change::default() };
                        self.desk.store.change_batch(batch.id, change).await?;
                    }
                }
            }
        }
        self.start_uploaded().await
    }

    async fn ask_for(&self, batch: &Batch) -> Result<Found, Error> {
        let endpoint = &self.desk.endpoint;
        let id = batch.remote.as_deref().unwrap_or_default();
        match retrying(async || endpoint.batch(id).await).await {
            Ok(remote) => Ok(Found::Remote(Box::new(remote))),
            Err(Trouble::Refused(Refusal { status: 404, .. })) => Ok(Found::Gone),
            Err(trouble) => Err(Error::trouble("ask for a batch", endpoint, &trouble)),
        }
    }

    async fn ended(&mut self, batch: Batch, remote: &RemoteBatch, price: Option<Price>) -> Result<(), Error> {
        let store = Arc::clone(&self.desk.store);
        let status = remote.status.as_str().to_owned();
        let change = Change { status: Some(status.clone()), ..Change::default() };
        store.change_batch(batch.id, change).await?;
        if remote.status == Status::Failed {
            if let Some(limit) = token_limit(&remote.errors) {
                return self.too_many_tokens(batch, limit).await;
            }
            self.give_back(&batch).await?;
            let why: Vec<String> = remote.errors.iter().take(3).map(ToString::to_string).collect();
            return Err(Error::Stopped(format!(
                "the endpoint {} rejected the file of batch {} ({}): {}; nothing of it was run, and its questions are free again",
                self.desk.endpoint.shown_url(),
                batch.id,
                remote.id,
                if why.is_empty() { "it does not say why".to_owned() } else { why.join("; ") }
            )));
        }
        self.rejected = 0;
        let gathered = collect(&self.desk.endpoint, &store, &batch, remote, price).await?;
        self.budget
            .settle(batch.bound.unwrap_or_default(), gathered.cost.map_or(Spent::Unknown, Spent::Exactly));
        self.open.retain(|open| open.id != batch.id);
        self.note(summed(&batch, &status, &gathered));
        gathered.notes.into_iter().for_each(|note| self.note(note));
        gathered.warnings.into_iter().for_each(|warning| self.warn(warning));
        if let Some(dialect) = gathered.lesson {
            self.desk.endpoint.begin_with(dialect);
        }
        self.wants_pass |= gathered.again + gathered.missing > 0;
        self.was_cancelled |= remote.status == Status::Cancelled;
        Ok(())
    }

    /// The server does not know a batch. It may be another project's, of which the key is not: its questions are not free.
    fn gone(&mut self, batch: &Batch) {
        if self.gone.insert(batch.id) {
            self.warn(format!(
                "the endpoint {} does not know batch {} ({}), which {} questions wait in: check that the key is of the same account and \
                 project; `classified batch cancel {} --forget` gives it up, and its questions are paid for again",
                self.desk.endpoint.shown_url(),
                batch.id,
                batch.remote.as_deref().unwrap_or("?"),
                batch.requests,
                batch.id
            ));
        }
    }
}

/// What came of a batch, in a line.
fn summed(batch: &Batch, status: &str, gathered: &Gathered) -> String {
    let Gathered { answered, failed, again, missing, cost, why, .. } = gathered;
    let cost = cost.map_or_else(|| "at an unknown cost".to_owned(), |cost| format!("for {cost}"));
    let mut text =
        format!("batch {} is {status}: {answered} of {} questions answered {cost}", batch.id, batch.requests);
    for (count, what) in [(*failed, "failed"), (again + missing, "to be asked again")] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    if let Some(why) = why {
        let _ = write!(text, " ({why})");
    }
    text
}
