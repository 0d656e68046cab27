//! What a run has left that was killed while it handed a batch over: found by the batch's chance name, and taken further or
//! back.

use std::time::{Duration, Instant};

use super::work::Words;
use super::{Desk, Error, Word, file_name, retrying};
use crate::endpoint::batches::{RemoteBatch, Status};
use crate::store::{Batch, Change, Stage, now};

/// How long after the request to begin a batch it may still be on its way to a list, in milliseconds: a server goes on with what it
/// was asked though whoever asked is gone.
const GRACE: i64 = 20_000;

/// How long a file that may have reached the server is looked for, in milliseconds: it may be listed a while after its last byte came.
const LISTED: i64 = 10_000;

/// How long ago an upload may have begun that may just have ended, in milliseconds.
const UPLOAD: i64 = 3_600_000;

/// How often something is looked for meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// Clocks differ: batches that look older by this many seconds may be ours.
const SKEW: i64 = 86_400;

impl Desk {
    /// Takes every batch that was not handed over further or back: afterwards each open one is [`Stage::Uploaded`], to be begun
    /// when it fits, or [`Stage::Created`]. Wants the lock of the store's batches: whoever else was at work is gone.
    pub async fn reconcile(&self, words: &Words) -> Result<(), Error> {
        for batch in self.open().await? {
            match batch.stage {
                Stage::Spooling => self.store.abandon_batch(batch.id).await?,
                Stage::Spooled => self.find_file(&batch, words).await?,
                Stage::Creating => self.find_batch(&batch, words).await?,
                Stage::Uploaded | Stage::Created | Stage::Collected | Stage::Written | Stage::Newer => {}
            }
        }
        Ok(())
    }

    /// Whether the file of a batch has reached the server whole; else the batch is taken back.
    async fn find_file(&self, batch: &Batch, words: &Words) -> Result<(), Error> {
        let name = file_name(&batch.intent);
        let wait = if now() - batch.changed_at < UPLOAD { LISTED } else { 0 };
        let file = until(wait, async || {
            let found = retrying(async || self.endpoint.uploaded(&name).await).await;
            let found =
                found.map_err(|trouble| Error::trouble("list its files", &self.endpoint, &trouble))?;
            Ok(found.filter(|file| file.bytes == batch.bytes))
        });
        let Some(file) = file.await? else {
            self.store.abandon_batch(batch.id).await?;
            return Ok(());
        };
        note(
            words,
            format!(
                "an interrupted run had uploaded {} questions: they are not uploaded again",
                batch.requests
            ),
        );
        let change = Change { stage: Some(Stage::Uploaded), file: Some(file.id), ..Change::default() };
        Ok(self.store.change_batch(batch.id, change).await?)
    }

    /// Whether the server has begun a batch that it was told to begin; else it is told again.
    async fn find_batch(&self, batch: &Batch, words: &Words) -> Result<(), Error> {
        let Some(remote) = self.found(batch).await? else {
            let change = Change { stage: Some(Stage::Uploaded), ..Change::default() };
            return Ok(self.store.change_batch(batch.id, change).await?);
        };
        note(
            words,
            format!(
                "an interrupted run had handed {} questions over, as {}: they are not handed over again",
                batch.requests, remote.id
            ),
        );
        self.begun(batch.id, &remote).await
    }

    /// A batch that the server may have been told to begin when its row last changed: looked for until it would be there.
    pub(super) async fn found(&self, batch: &Batch) -> Result<Option<RemoteBatch>, Error> {
        // A clock that was set back makes no wait longer.
        let left = GRACE - (now() - batch.changed_at).clamp(0, GRACE);
        until(left, async || self.listed(batch).await).await
    }

    /// A batch as the server lists it, by its chance name. Where it was begun twice, the first one counts and the others are cancelled.
    async fn listed(&self, batch: &Batch) -> Result<Option<RemoteBatch>, Error> {
        let since = batch.made_at / 1000 - SKEW;
        let listed = retrying(async || self.endpoint.batches(since).await).await;
        let listed =
            listed.map_err(|trouble| Error::trouble("list its batches", &self.endpoint, &trouble))?;
        let mut ours: Vec<RemoteBatch> = listed
            .into_iter()
            .filter(|remote| remote.intent.as_deref() == Some(batch.intent.as_str()))
            // Of one that was rejected nothing was run.
            .filter(|remote| remote.status != Status::Failed)
            .collect();
        ours.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        let mut ours = ours.into_iter();
        let first = ours.next();
        for other in ours.filter(|other| !other.status.has_ended()) {
            tracing::warn!(batch = other.id, "begun twice: cancelled");
            retrying(async || self.endpoint.cancel_batch(&other.id).await)
                .await
                .map_err(|trouble| Error::trouble("cancel a batch", &self.endpoint, &trouble))?;
        }
        Ok(first)
    }

    /// Notes that the server has a batch.
    pub(super) async fn begun(&self, batch: i64, remote: &RemoteBatch) -> Result<(), Error> {
        let change = Change {
            stage: Some(Stage::Created),
            remote: Some(remote.id.clone()),
            status: Some(remote.status.as_str().to_owned()),
            ..Change::default()
        };
        Ok(self.store.change_batch(batch, change).await?)
    }
}

/// Looks for something until it is there, or so many milliseconds are over; once at least.
async fn until<T>(
    milliseconds: i64,
    look: impl AsyncFn() -> Result<Option<T>, Error>,
) -> Result<Option<T>, Error> {
    let end = Instant::now() + Duration::from_millis(milliseconds.unsigned_abs());
    loop {
        let found = look().await?;
        if found.is_some() || Instant::now() >= end {
            return Ok(found);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn note(words: &Words, text: String) {
    // Whoever asked may be gone.
    let _ = words.send(Word::Note(text));
}
