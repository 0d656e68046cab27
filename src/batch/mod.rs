//! Questions handed over together, to be answered within a day at half the price: made so that a kill at any moment neither
//! loses a reply that was paid for nor asks for it twice.
//!
//! A batch is noted in the store before anything leaves this machine, under a chance name that its file and its metadata
//! carry. What a run that was killed has left is looked for by that name before anything is sent again.

pub mod collect;
mod error;
mod gather;
mod intake;
pub mod offline;
pub mod reader;
mod reconcile;
mod spool;
mod submit;
mod watch;
mod work;

use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::{self, Endpoint, Refusal, Trouble};
use crate::http;
use crate::rate::retry::{Next, Policy, judge};
use crate::rating::question::Digest;
use crate::store::{Batch, FORM, Stage, Store};

pub use error::Error;
pub use watch::{Looked, Progress};
pub use work::{Bounds, Full, GivenUp, Words, Work};

/// An endpoint that has batches, and the store that knows ours.
#[derive(Debug, Clone)]
pub struct Desk {
    /// Who runs them.
    pub endpoint: Arc<Endpoint>,
    /// Where they are noted.
    pub store: Arc<Store>,
}

/// What is said of batches while they are worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Good to know.
    Note(String),
    /// Something is not as it should be.
    Warning(String),
}

impl Desk {
    /// The digest of the endpoint's base URL, by which its batches are known.
    pub fn url(&self) -> Digest {
        self.endpoint.url_digest()
    }

    /// Whether the endpoint has batches, and tells of them: an error with words for people where not. One that only has no time is
    /// asked again.
    pub async fn check(&self) -> Result<(), Error> {
        let mut pauses = Policy::default().pauses();
        loop {
            let trouble = match self.endpoint.ask_for_batches().await {
                Ok(()) => return Ok(()),
                Err(trouble) => trouble,
            };
            let refused = matches!(trouble, Trouble::Refused(_));
            let pause = if refused { pause_after(&trouble, &mut pauses) } else { None };
            let Some(pause) = pause else {
                return Err(match self.endpoint.no_batches(&trouble) {
                    endpoint::Error::Refused(words) if may_pass(&trouble) => Error::Trouble(words),
                    error => error.into(),
                });
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// What is to be said of batches of this endpoint that a newer program has made: they are left to it, and their questions wait.
    pub async fn newer(&self) -> Result<Vec<String>, Error> {
        let url = self.url();
        let batches = self.store.open_batches().await?;
        let newer = batches
            .iter()
            .filter(|batch| batch.url == Some(url) && (batch.form > FORM || batch.stage == Stage::Newer));
        let said =
            |batch| format!("{}; until then it is left alone, and its questions wait", Error::newer(batch));
        Ok(newer.map(said).collect())
    }

    /// What is to be said of a batch that the endpoint does not know.
    fn unknown(&self, batch: &Batch) -> String {
        format!(
            "the endpoint {} does not know batch {} ({}), which {} questions wait in: check that the key is of the same account and \
             project; `classified batch cancel {} --forget` gives it up, and its questions are paid for again",
            self.endpoint.shown_url(),
            batch.id,
            batch.remote.as_deref().unwrap_or("?"),
            batch.requests,
            batch.id
        )
    }

    /// The batches of this endpoint whose replies are not collected, in the order in which they were made. Those of a newer program are
    /// left to it.
    pub async fn open(&self) -> Result<Vec<Batch>, Error> {
        let url = self.url();
        let mut batches = self.store.open_batches().await?;
        batches.retain(|batch| {
            batch.url == Some(url)
                && !matches!(batch.stage, Stage::Written | Stage::Newer)
                && batch.form <= FORM
        });
        Ok(batches)
    }
}

/// How a batch's file is called at the server.
fn file_name(intent: &str) -> String {
    format!("classified-{intent}.jsonl")
}

/// Makes a request until it brings something, as often and as patiently as one for a completion. Only for requests that may be made twice.
async fn retrying<T>(ask: impl AsyncFn() -> Result<T, Trouble>) -> Result<T, Trouble> {
    let mut pauses = Policy::default().pauses();
    loop {
        let trouble = match ask().await {
            Ok(found) => return Ok(found),
            Err(trouble) => trouble,
        };
        let Some(pause) = pause_after(&trouble, &mut pauses) else { return Err(trouble) };
        tokio::time::sleep(pause).await;
    }
}

/// How long to wait until a request is made again that came to this; nothing where it is not made again.
fn pause_after(trouble: &Trouble, pauses: &mut impl Iterator<Item = Duration>) -> Option<Duration> {
    let after = match judge(trouble).next {
        Next::Retry { after, .. } => after,
        Next::Loading => None,
        _ => return None,
    };
    pauses.next().map(|pause| after.map_or(pause, |after| after.max(pause)))
}

/// Whether a request that came to this may do better later.
fn may_pass(trouble: &Trouble) -> bool {
    matches!(judge(trouble).next, Next::Retry { .. } | Next::Loading)
}

/// Whether the server may have done what a request asked for, though its reply says nothing of it.
fn may_be_done(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Garbled(_) => true,
        Trouble::Transport(error) => !matches!(error, http::Error::Connect(_) | http::Error::Tls(_)),
        Trouble::Refused(Refusal { status, .. }) => *status >= 500 || *status == 408,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::ServerError;

    #[test]
    fn what_may_pass_is_asked_for_again_also_while_a_model_is_loaded() {
        let refused = |status, message: &str| {
            let error = ServerError { message: message.to_owned(), ..ServerError::default() };
            Trouble::Refused(Refusal { status, retry_after: Some(Duration::from_mins(1)), error })
        };
        let pause = |trouble| pause_after(&trouble, &mut [Duration::from_secs(2)].into_iter());
        assert_eq!(pause(refused(503, "busy")), Some(Duration::from_mins(1)));
        assert_eq!(pause(refused(503, "Loading model")), Some(Duration::from_secs(2)));
        assert_eq!(pause(refused(400, "no")), None);
        let passes = [refused(503, "Loading model"), refused(429, "slow down"), refused(400, "no")];
        assert_eq!(passes.each_ref().map(may_pass), [true, true, false]);
    }
}
