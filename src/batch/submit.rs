//! From files of requests to batches that the server has: each step is noted before it is taken and after it is done.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;

use super::gather::Gathered;
use super::spool::rewound;
use super::work::{Full, Work};
use super::{Error, file_name, may_be_done, may_pass, pause_after, retrying};
use crate::dataset::Dataset;
use crate::endpoint::batches::{RemoteBatch, TokenLimit, token_limit};
use crate::endpoint::{Refusal, Trouble};
use crate::http::plain;
use crate::rate::retry::Policy;
use crate::rate::{self, Plan};
use crate::rating::question::Question;
use crate::store::{Batch, Change, Lesson, Stage, now};

/// How often files are halved that the account has no room for, before it is given time: other batches may be in the way.
const HALVED: u32 = 3;

/// Which run has uploaded a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Earlier,
}

/// Whether a refusal is of the tokens that may be enqueued.
fn limit_of(trouble: &Trouble) -> Option<TokenLimit> {
    match trouble {
        Trouble::Refused(Refusal { error, .. }) => token_limit(std::slice::from_ref(error)),
        _ => None,
    }
}

impl Work {
    /// Hands over the questions of a dataset that the store cannot answer and that wait in no batch, as far as the bounds go; why they
    /// went no further is in [`Work::full`].
    pub async fn submit(&mut self, plan: &Arc<Plan>, dataset: Dataset) -> Result<(), Error> {
        let mut questions = pin!(rate::unanswered(Arc::clone(plan), dataset));
        while self.full.is_none() {
            let Some(found) = questions.next().await else { break };
            let mut of_target: Vec<Vec<Question>> = self.gathering.iter().map(|_| Vec::new()).collect();
            for (target, question) in found? {
                of_target[target].push(question);
            }
            for (target, questions) in of_target.into_iter().enumerate() {
                self.take(target, questions).await?;
            }
        }
        Ok(())
    }

    /// Hands over what is gathered, when all datasets have been looked through or nothing more fits.
    pub async fn hand_over_rest(&mut self) -> Result<(), Error> {
        self.wants_pass |= self.full.is_some();
        for target in 0..self.gathering.len() {
            self.hand_over(target).await?;
        }
        Ok(())
    }

    /// Hands over what a target has gathered.
    pub(super) async fn hand_over(&mut self, target: usize) -> Result<(), Error> {
        let Some(gathered) = self.gathered(target).await? else { return Ok(()) };
        let Gathered { mut batch, file, requests, bytes, tokens, bound } = gathered;
        let store = Arc::clone(&self.desk.store);
        let change = Change {
            stage: Some(Stage::Spooled),
            bytes: Some(bytes),
            sums: Some((tokens, bound)),
            ..Change::default()
        };
        store.change_batch(batch.id, change).await?;
        (batch.requests, batch.bytes, batch.tokens, batch.bound) = (requests, bytes, tokens, bound);
        batch.stage = Stage::Spooled;
        self.open.push(batch.clone());
        let id = match self.upload(&batch, &file, bytes).await {
            Ok(id) => id,
            Err(trouble) => {
                // What no other try mends: nothing was handed over.
                if !may_be_done(&trouble) {
                    self.give_back(&batch).await?;
                }
                return Err(Error::trouble("upload a file", &self.desk.endpoint, &trouble));
            }
        };
        let change = Change { stage: Some(Stage::Uploaded), file: Some(id.clone()), ..Change::default() };
        store.change_batch(batch.id, change).await?;
        (batch.stage, batch.file) = (Stage::Uploaded, Some(id));
        self.start(batch, Whose::Ours).await
    }

    /// Uploads a file, unless an upload whose reply was lost has reached the server; returns its id there.
    async fn upload(&self, batch: &Batch, file: &std::fs::File, bytes: u64) -> Result<String, Trouble> {
        let endpoint = &self.desk.endpoint;
        let name = file_name(&batch.intent);
        let mut pauses = Policy::default().pauses();
        loop {
            let again = rewound(file).map_err(|error| {
                Trouble::Garbled(format!("the file of requests cannot be read again: {error}"))
            })?;
            let trouble = match endpoint.upload(&name, again).await {
                Ok(uploaded) => return Ok(uploaded.id),
                Err(trouble) => trouble,
            };
            let Some(pause) = pause_after(&trouble, &mut pauses) else { return Err(trouble) };
            tokio::time::sleep(pause).await;
            if may_be_done(&trouble)
                && let Some(found) = retrying(async || endpoint.uploaded(&name).await).await?
                && found.bytes == bytes
            {
                return Ok(found.id);
            }
        }
    }

    /// Has the server begin a batch whose file it has. One that an earlier run has uploaded is taken back by the user alone where the
    /// server refuses it: another key than its own may be the reason.
    async fn start(&mut self, mut batch: Batch, whose: Whose) -> Result<(), Error> {
        let remote = match self.create(&mut batch).await? {
            Ok(remote) => remote,
            Err(trouble) => return self.not_begun(&batch, &trouble, whose).await,
        };
        self.desk.begun(batch.id, &remote).await?;
        let at_most = batch.bound.map_or_else(String::new, |bound| format!(", for {bound} at most"));
        self.note(format!(
            "batch {} ({}): {} questions through {}{at_most}",
            batch.id,
            plain(&remote.id),
            batch.requests,
            batch.slot.lens
        ));
        (batch.stage, batch.remote) = (Stage::Created, Some(remote.id));
        self.open.retain(|open| open.id != batch.id);
        self.open.push(batch);
        Ok(())
    }

    /// Tells the server to begin a batch, until it has or nothing mends it.
    async fn create(&self, batch: &mut Batch) -> Result<Result<RemoteBatch, Trouble>, Error> {
        let endpoint = &self.desk.endpoint;
        let file = batch.file.clone().unwrap_or_default();
        let mut pauses = Policy::default().pauses();
        loop {
            // From here on it may begin, at the latest a while after each request.
            batch.changed_at = now();
            let change = Change { stage: Some(Stage::Creating), ..Change::default() };
            self.desk.store.change_batch(batch.id, change).await?;
            let trouble = match endpoint.create_batch(&file, &batch.intent, &batch.slot.lens).await {
                Ok(remote) => return Ok(Ok(remote)),
                Err(trouble) => trouble,
            };
            if may_be_done(&trouble)
                && let Some(remote) = self.desk.found(batch).await?
            {
                return Ok(Ok(remote));
            }
            if limit_of(&trouble).is_some() {
                return Ok(Err(trouble));
            }
            let Some(pause) = pause_after(&trouble, &mut pauses) else { return Ok(Err(trouble)) };
            tokio::time::sleep(pause).await;
        }
    }

    /// The server has not begun a batch, and will not by being asked again now.
    async fn not_begun(&mut self, batch: &Batch, trouble: &Trouble, whose: Whose) -> Result<(), Error> {
        let store = Arc::clone(&self.desk.store);
        if let Some(limit) = limit_of(trouble) {
            self.give_back(batch).await?;
            if let Some(tokens) = limit.tokens {
                let lesson = Lesson { tokens: Some(tokens), dialect: None };
                store.learn(self.desk.url(), &batch.slot.model, &lesson).await?;
            }
            self.too_many_tokens(batch, &limit);
            return Ok(());
        }
        let passes = may_be_done(trouble) || may_pass(trouble);
        if whose == Whose::Ours && !passes {
            self.give_back(batch).await?;
        } else {
            // It has not begun, and its file is there.
            let change = Change { stage: Some(Stage::Uploaded), ..Change::default() };
            store.change_batch(batch.id, change).await?;
            if !passes {
                self.warn(format!(
                    "batch {}, which an earlier run has uploaded, is not begun; `classified batch cancel {}` frees its questions",
                    batch.id, batch.id
                ));
            }
        }
        Err(Error::trouble("begin a batch", &self.desk.endpoint, trouble))
    }

    /// Has the server begin the batches whose files an interrupted run has uploaded. A file that is larger than the account's tokens is
    /// taken back: its questions go into smaller ones.
    pub(super) async fn start_uploaded(&mut self) -> Result<(), Error> {
        let uploaded: Vec<Batch> =
            self.open.iter().filter(|batch| batch.stage == Stage::Uploaded).cloned().collect();
        for batch in uploaded {
            match self.tokens_at_most() {
                Some(most) if batch.tokens > most => self.give_back(&batch).await?,
                Some(most) if self.tokens_enqueued() + batch.tokens > most => {
                    self.full = Some(Full::Tokens(most));
                }
                _ => self.start(batch, Whose::Earlier).await?,
            }
        }
        Ok(())
    }

    /// Takes a batch back that nothing was run of: its questions are free again.
    async fn give_back(&mut self, batch: &Batch) -> Result<(), Error> {
        self.desk.store.abandon_batch(batch.id).await?;
        self.freed(batch);
        Ok(())
    }

    /// The questions of a batch are free again.
    pub(super) fn freed(&mut self, batch: &Batch) {
        self.wants_pass = true;
        self.open.retain(|open| open.id != batch.id);
    }

    /// A batch was rejected for the tokens that the account may enqueue, and is free: its questions go into files that fit better.
    pub(super) fn too_many_tokens(&mut self, batch: &Batch, limit: &TokenLimit) {
        if let Some(most) = limit.tokens
            && self.lesson.tokens != Some(most)
        {
            self.lesson.tokens = Some(most);
            self.warn(format!(
                "the account may have {most} input tokens of {} enqueued at once: files are made to fit, and wait for their turn",
                batch.slot.model
            ));
        }
        if self.tokens_at_most().is_some_and(|most| batch.tokens > most) {
            return;
        }
        // It should have fitted: the server counts more tokens than we do, or the account has batches that are not ours.
        let enqueued = self.tokens_enqueued();
        if enqueued == 0 {
            self.rejected += 1;
            self.allowance = Some(batch.tokens / 2);
        } else {
            self.allowance = Some(enqueued.max(batch.tokens));
            self.full = self.allowance.map(Full::Tokens);
        }
        if self.rejected > HALVED {
            self.full = self.allowance.map(Full::Tokens);
        }
    }

    /// Some time has passed: there may be room in the account that there was not.
    pub fn try_again(&mut self) {
        (self.rejected, self.allowance) = (0, None);
        self.wants_pass = true;
    }
}
