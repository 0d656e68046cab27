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

use crate::endpoint::{Endpoint, Refusal, Trouble};
use crate::http;
use crate::rate::retry::{Next, Policy, judge};
use crate::rating::question::Digest;
use crate::store::{Batch, Stage, Store};

pub use error::Error;
pub use watch::{Looked, Progress};
pub use work::{Bounds, Full, Words, Work};

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

    /// The batches of this endpoint whose replies are not collected, in the order in which they were made. Those of a newer program are
    /// left to it.
    pub async fn open(&self) -> Result<Vec<Batch>, Error> {
        let url = self.url();
        let mut batches = self.store.batches().await?;
        batches.retain(|batch| {
            batch.url == Some(url)
                && !matches!(batch.stage, Stage::Collected | Stage::Written)
                && batch.form <= crate::store::FORM
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
        let Next::Retry { after, .. } = judge(&trouble).next else { return Err(trouble) };
        let Some(pause) = pauses.next() else { return Err(trouble) };
        tokio::time::sleep(after.map_or(pause, |after| after.max(pause))).await;
    }
}

/// Whether the server may have done what a request asked for, though its reply says nothing of it.
fn may_be_done(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Garbled(_) => true,
        Trouble::Transport(error) => !matches!(error, http::Error::Connect(_) | http::Error::Tls(_)),
        Trouble::Refused(Refusal { status, .. }) => *status >= 500 || *status == 408,
    }
}
