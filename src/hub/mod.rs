//! The Hugging Face Hub: names, revisions, files, byte ranges, and its cache on disk.
//!
//! A plain HTTP client. A revision is resolved once, and every later request is pinned to that commit. Files are read
//! through `/resolve/`, which redirects to a signed address on another server: the token never goes there.

mod address;
mod cache;
mod download;
mod error;
mod file;
mod name;
mod offline;
mod options;
mod refusal;
mod repo;
mod request;
mod retry;
mod stream;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

pub use self::cache::Error as CacheError;
pub use self::error::Error;
pub use self::file::File;
pub use self::name::Name;
pub use self::options::{ENDPOINT, Notice, Options, Timeouts, Token};
pub use self::repo::{Entry, Repo};
use crate::http::{Client, Url};

/// The client of one Hub. Cloning shares its connections and its counters.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    options: Options,
    endpoint: Url,
    requests: AtomicU64,
    bytes: AtomicU64,
    /// Until when the endpoint has asked everyone to wait.
    paused: Mutex<Instant>,
}

/// What has gone over the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests sent, each hop of a redirect and each retry counted.
    pub requests: u64,
    /// Bytes of bodies received, after HTTP's own decompression.
    pub bytes: u64,
}

impl Hub {
    /// A client with these settings. Nothing is sent yet.
    pub fn new(options: Options) -> Result<Self, Error> {
        let wrong = |problem| Error::Settings { origin: "HF_ENDPOINT".to_owned(), problem };
        let endpoint = address::endpoint(&options.endpoint).map_err(wrong)?;
        let client = Client::new(options.timeouts.reply)
            .map_err(|source| Error::Transport { host: address::host(&endpoint), source })?;
        let (requests, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let paused = Mutex::new(Instant::now());
        Ok(Self { inner: Arc::new(Inner { client, options, endpoint, requests, bytes, paused }) })
    }

    /// What has been sent and received so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.inner.requests.load(Ordering::Relaxed),
            bytes: self.inner.bytes.load(Ordering::Relaxed),
        }
    }

    /// The Hub's host, for messages.
    fn host(&self) -> String {
        address::host(&self.inner.endpoint)
    }

    /// An address at the endpoint; `path` begins with a slash and is quoted already.
    fn url(&self, path: &str) -> Result<Url, Error> {
        let text = format!("{}{path}", self.inner.options.endpoint);
        Url::parse(&text).map_err(|_| Error::Settings {
            origin: "HF_ENDPOINT".to_owned(),
            problem: "is no address of a Hub".to_owned(),
        })
    }

    fn options(&self) -> &Options {
        &self.inner.options
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn futures_and_streams_may_move_between_threads() {
        fn send<T: Send>(_: &T) {}
        let _ = |hub: Hub, repo: Repo, file: File, entry: Entry| {
            send(&hub.repo("a/b", None));
            send(&repo.tree(""));
            send(&repo.text("README.md"));
            send(&repo.converted());
            send(&file.range(0..1));
            send(&file.stream(0));
            send(&repo.file(&entry));
            send(&repo.download(&entry, &|_| ()));
        };
    }
}
