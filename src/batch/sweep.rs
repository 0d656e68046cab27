//! All batches of an endpoint, whatever their lens: those that have ended are collected, nothing is handed over.

use super::collect::{Gathered, collect};
use super::{Desk, Error, retrying};
use crate::endpoint::batches::{Counts, RemoteBatch, Status, token_limit};
use crate::endpoint::{Refusal, Trouble};
use crate::http::plain;
use crate::model::Price;
use crate::store::{Batch, Change, Lesson, Stage};

/// What came of a look at all batches.
#[derive(Debug, Default)]
pub struct Swept {
    /// Batches that were collected, with the server's last word for each.
    pub collected: Vec<(Batch, String, Gathered)>,
    /// Batches that have not ended, with the server's counts where it runs them.
    pub open: Vec<(Batch, Option<Counts>)>,
    /// What is to be said of batches that cannot be collected as things are, and stay open.
    pub stuck: Vec<String>,
    /// What would fail for every question, by the first batch that says so.
    pub stopped: Option<String>,
}

impl Desk {
    /// Collects the endpoint's batches that have ended. `price` is that of a model at the standard tier. Wants the lock of the
    /// store's batches, and [`Desk::reconcile`] before it.
    pub async fn sweep(&self, price: impl Fn(&str) -> Option<Price>) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        for batch in self.open().await? {
            let Some(id) = batch.remote.clone().filter(|_| batch.stage == Stage::Created) else {
                swept.open.push((batch, None));
                continue;
            };
            let remote = match retrying(async || self.endpoint.batch(&id).await).await {
                Ok(remote) => remote,
                Err(Trouble::Refused(Refusal { status: 404, .. })) => {
                    swept.stuck.push(self.unknown(&batch));
                    swept.open.push((batch, None));
                    continue;
                }
                Err(trouble) => return Err(Error::trouble("tell of a batch", &self.endpoint, &trouble)),
            };
            let status = remote.status.as_str().to_owned();
            if batch.status.as_ref() != Some(&status) {
                let change = Change { status: Some(status.clone()), ..Change::default() };
                self.store.change_batch(batch.id, change).await?;
            }
            match &remote.status {
                Status::Failed => self.was_rejected(&batch, &remote, &mut swept).await?,
                ended if ended.has_ended() => {
                    match collect(&self.endpoint, &self.store, &batch, &remote, price(&batch.slot.model))
                        .await
                    {
                        Ok(gathered) => swept.collected.push((batch, status, gathered)),
                        Err(Error::Stopped(why)) => _ = swept.stopped.get_or_insert(why),
                        // One that cannot be read keeps no other from being collected.
                        Err(error @ (Error::Newer { .. } | Error::Lens { .. })) => {
                            swept.stuck.push(error.to_string());
                            swept.open.push((batch, None));
                        }
                        Err(error) => return Err(error),
                    }
                }
                _ => swept.open.push((batch, Some(remote.counts))),
            }
        }
        Ok(swept)
    }

    /// Frees the questions of a batch whose file was rejected as a whole.
    async fn was_rejected(
        &self,
        batch: &Batch,
        remote: &RemoteBatch,
        swept: &mut Swept,
    ) -> Result<(), Error> {
        self.store.abandon_batch(batch.id).await?;
        let limit = token_limit(&remote.errors);
        if let Some(tokens) = limit.as_ref().and_then(|limit| limit.tokens) {
            let lesson = Lesson { tokens: Some(tokens), dialect: None };
            self.store.learn(self.url(), &batch.slot.model, &lesson).await?;
        }
        let why =
            remote.errors.first().map_or("it does not say why".to_owned(), |error| plain(&error.to_string()));
        let what =
            if limit.is_some() { "files are made to fit from now on" } else { "nothing of it was run" };
        let why = format!(
            "the endpoint {} rejected the file of batch {}: {why}; {what}, and its questions are free again",
            self.endpoint.shown_url(),
            batch.id
        );
        swept.stopped.get_or_insert(why);
        Ok(())
    }
}
