//! How far batches are, and what follows when they have ended.

use std::fmt::Write as _;

use super::collect::{Gathered, collect};
use super::work::{GivenUp, Work};
use super::{Desk, Error, retrying};
use crate::endpoint::batches::{RemoteBatch, Status, TokenLimit, token_limit};
use crate::endpoint::{Refusal, Trouble};
use crate::http::plain;
use crate::model::Price;
use crate::store::{Batch, Change, Lesson, Stage};

/// How many batches in a row may expire before anything of them is run, until a command hands over no more.
const MOST_IDLE: u32 = 3;

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

/// What a look at a batch has found.
#[derive(Debug)]
pub enum Looked {
    /// It has not ended.
    Open(RemoteBatch),
    /// It has ended, and what it left is in the store.
    Collected(Status, Box<Gathered>),
    /// Its file was rejected as a whole, in these words: its questions are free again.
    Rejected(Option<TokenLimit>, String),
    /// The server does not know it. It may be another project's, of which the key is not: its questions are not free. What to tell.
    Gone(String),
}

impl Desk {
    /// Asks the server how far a batch is, and collects it if it has ended. Wants the lock of the store's batches. `price` is that
    /// of its model at the standard tier.
    pub async fn look_at(&self, batch: &Batch, price: Option<Price>) -> Result<Looked, Error> {
        let Some(remote) = self.ask_for(batch).await? else { return Ok(Looked::Gone(self.unknown(batch))) };
        let status = remote.status.as_str();
        if batch.status.as_deref() != Some(status) {
            let change = Change { status: Some(status.to_owned()), ..Change::default() };
            self.store.change_batch(batch.id, change).await?;
        }
        if remote.status == Status::Failed {
            return self.rejected(batch, &remote).await;
        }
        if !remote.status.has_ended() {
            return Ok(Looked::Open(remote));
        }
        let gathered = collect(&self.endpoint, &self.store, batch, &remote, price).await?;
        Ok(Looked::Collected(remote.status, Box::new(gathered)))
    }

    /// The server's word of a batch; none where it does not know it.
    async fn ask_for(&self, batch: &Batch) -> Result<Option<RemoteBatch>, Error> {
        let id = batch.remote.as_deref().unwrap_or_default();
        self.known(retrying(async || self.endpoint.batch(id).await).await)
    }

    fn known(&self, asked: Result<RemoteBatch, Trouble>) -> Result<Option<RemoteBatch>, Error> {
        match asked {
            Ok(remote) => Ok(Some(remote)),
            Err(Trouble::Refused(Refusal { status: 404, .. })) => Ok(None),
            Err(trouble) => Err(Error::trouble("tell of a batch", &self.endpoint, &trouble)),
        }
    }

    async fn rejected(&self, batch: &Batch, remote: &RemoteBatch) -> Result<Looked, Error> {
        let limit = token_limit(&remote.errors);
        if let Some(tokens) = limit.as_ref().and_then(|limit| limit.tokens) {
            let lesson = Lesson { tokens: Some(tokens), dialect: None };
            self.store.learn(self.url(), &batch.slot.model, &lesson).await?;
        }
        self.store.abandon_batch(batch.id).await?;
        let why: Vec<String> = remote.errors.iter().take(3).map(|error| plain(&error.to_string())).collect();
        Ok(Looked::Rejected(
            limit,
            format!(
                "the endpoint {} rejected the file of batch {} ({}): {}; nothing of it was run, and its questions are free again",
                self.endpoint.shown_url(),
                batch.id,
                plain(&remote.id),
                if why.is_empty() { "it does not say why".to_owned() } else { why.join("; ") }
            ),
        ))
    }
}

impl Work {
    /// Asks how far the open batches are, each once. Nothing is collected, and no lock is wanted.
    pub async fn look(&self) -> Result<Progress, Error> {
        let mut progress = Progress::default();
        let begun = self.open.iter().filter(|batch| batch.stage == Stage::Created);
        for batch in begun.filter(|batch| !self.gone.contains(&batch.id)) {
            progress.questions += batch.requests;
            let asked = self.desk.endpoint.batch(batch.remote.as_deref().unwrap_or_default()).await;
            match self.desk.known(asked)? {
                // The next round says so.
                None => progress.ended += 1,
                Some(remote) => {
                    let done = remote.counts.completed.saturating_add(remote.counts.failed);
                    progress.done += done.min(batch.requests);
                    progress.ended += usize::from(remote.status.has_ended());
                }
            }
        }
        Ok(progress)
    }

    /// Collects the open batches that have ended, and begins those that an interrupted run has uploaded. Wants the lock of the store's
    /// batches.
    pub async fn collect(&mut self, price: Option<Price>) -> Result<(), Error> {
        // Another run may have collected them.
        self.reload().await?;
        self.full = None;
        let begun: Vec<Batch> =
            self.open.iter().filter(|batch| batch.stage == Stage::Created).cloned().collect();
        let mut stopped = None;
        for batch in begun {
            let looked = match self.desk.look_at(&batch, price).await {
                // One that cannot be read keeps no other from being collected.
                Err(error @ (Error::Newer { .. } | Error::Lens { .. } | Error::Unreadable { .. })) => {
                    Looked::Gone(error.to_string())
                }
                Err(error @ Error::Stopped(_)) => {
                    stopped = stopped.or(Some(error));
                    continue;
                }
                looked => looked?,
            };
            if let Err(error) = self.take_in(&batch, looked) {
                stopped = stopped.or(Some(error));
            }
        }
        match stopped {
            Some(error) => Err(error),
            None => self.start_uploaded().await,
        }
    }

    fn take_in(&mut self, batch: &Batch, looked: Looked) -> Result<(), Error> {
        match looked {
            Looked::Open(remote) => {
                if remote.status == Status::InProgress {
                    self.rejected = 0;
                }
                return Ok(());
            }
            Looked::Gone(words) => {
                if self.gone.insert(batch.id) {
                    self.warn(words);
                }
                return Ok(());
            }
            Looked::Rejected(limit, words) => {
                self.freed(batch);
                let Some(limit) = limit else { return Err(Error::Stopped(words)) };
                self.too_many_tokens(batch, &limit);
            }
            Looked::Collected(status, gathered) => {
                self.rejected = 0;
                // Replies that never came may be billed.
                let lost = if status == Status::Completed { gathered.missing } else { 0 };
                let at_most = batch.bound.unwrap_or_default();
                self.spent += gathered.cost.map_or(at_most, |cost| cost + at_most.part(lost, batch.requests));
                self.note(summed(batch, status.as_str(), &gathered));
                gathered.notes.into_iter().for_each(|note| self.note(note));
                gathered.warnings.into_iter().for_each(|warning| self.warn(warning));
                if let Some(dialect) = gathered.lesson {
                    self.desk.endpoint.begin_with(dialect);
                }
                self.wants_pass |= gathered.again + gathered.missing > 0;
                let is_idle = status == Status::Expired && gathered.answered + gathered.failed == 0;
                self.idle = if is_idle { self.idle + 1 } else { 0 };
                if status == Status::Cancelled {
                    self.given_up = Some(GivenUp::Cancelled);
                } else if self.idle > MOST_IDLE {
                    self.given_up = Some(GivenUp::Idle);
                }
            }
        }
        self.open.retain(|open| open.id != batch.id);
        Ok(())
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
