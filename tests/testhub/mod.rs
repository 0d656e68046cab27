//! A Hugging Face Hub that stands in for the real one: repositories from a folder, two listeners on loopback.
//!
//! The hub listener has the API and `/resolve/`; the CDN listener has the bytes of large files behind signed URLs.
//! They are two origins, as with the real one, so that a token which follows a redirect is seen (the CDN answers 400).
//! Written from the wire behaviour that hub-docs describe and that captures of the real hub show; the Python clients
//! `datasets` and `huggingface_hub` accept it (`tests/real_client.py`).
//!
//! | path at the hub | reply |
//! |---|---|
//! | `GET /api/datasets/{id}[/revision/{rev}]` | what the repository is, and the commit of the revision |
//! | `GET /api/datasets/{id}/tree/{rev}[/{folder}]` | entries in pages; `Link: <…>; rel="next"` with an opaque cursor |
//! | `POST /api/datasets/{id}/paths-info/{rev}` | entries of given paths |
//! | `GET /api/datasets/{id}/refs`, `/auth-check` | branches and converted branches; 200, 401 or 403 |
//! | `GET /datasets/{id}/resolve/{rev}/{path}` | small file: 307 to `/api/resolve-cache/…`; LFS file: 302 to the CDN |
//! | `GET /datasets/{id}/raw/{rev}/{path}` | the file, or the pointer of an LFS file |
//! | `GET /api/whoami-v2` | 200 with a token, 401 without |
//! | `/__hub__/…` | faults, log and options for scripts: see `control.rs` |
//!
//! A request is judged in this order: fault, rate limit, token, repository known, private, canonical name, disabled,
//! gated (bytes only), revision, entry.
//!
//! Tokens: `hf_valid` and `hf_ok` are known, all others are rejected with 401, on public repositories too. A gated or
//! private repository lists those that may read it in `allowed_tokens`.

#![expect(clippy::expect_used, reason = "a test whose hub cannot start is over")]

mod api;
mod cdn;
mod connection;
mod control;
mod digest;
mod faults;
mod hub;
mod index;
mod journal;
mod reply;
mod repos;
mod state;
mod url;

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context;
use tokio::sync::oneshot;

pub(crate) use faults::{Action, Fault, Side};
pub(crate) use journal::Logged;
pub(crate) use repos::Repos;

/// What a stranger without a token is told about a repository that is not there, or not for him.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Missing {
    /// 401 with `X-Error-Code: RepoNotFound`, which the Python clients need on an endpoint that is not https.
    #[default]
    Coded,
    /// 401 `Invalid username or password.` without a code, as the real hub does.
    Faithful,
}

/// How `/resolve/` answers for a file that is not LFS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum SmallFiles {
    /// 307 to a relative `/api/resolve-cache/…`, as the real hub has done since 2025-07.
    #[default]
    Redirected,
    /// 200 at once, as before and as mirrors do.
    Direct,
}

/// How the hub behaves. The default is as the real one, on free ports.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Port of the API on 127.0.0.1; 0 takes a free one.
    pub(crate) hub_port: u16,
    /// Port of the CDN on 127.0.0.1; 0 takes a free one.
    pub(crate) cdn_port: u16,
    /// Most entries in a page of a tree; with `expand=true` 100, or this if it is less.
    pub(crate) page_size: usize,
    /// Seconds for which a signed URL holds; negative: it has expired when it is made.
    pub(crate) sig_ttl: f64,
    /// See [`Missing`].
    pub(crate) missing: Missing,
    /// See [`SmallFiles`].
    pub(crate) small_files: SmallFiles,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hub_port: 0,
            cdn_port: 0,
            page_size: 1000,
            sig_ttl: 3600.0,
            missing: Missing::default(),
            small_files: SmallFiles::default(),
        }
    }
}

/// The three budgets of requests that the real hub has, each of a fixed window of five minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    /// `/api/…`: 500.
    Api,
    /// Any URL with `/resolve/` or `/resolve-cache/`: 3000.
    Resolvers,
    /// The rest: 100.
    Pages,
}

/// A running hub. It serves from a thread of its own, so it is there for synchronous tests and for child processes
/// too. Dropping it closes both ports and every connection.
#[derive(Debug)]
pub(crate) struct TestHub {
    state: Arc<state::State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Kept so that a temporary folder lives as long as the hub that serves it.
    repos: Repos,
}

impl TestHub {
    /// Reads the repositories and serves them; both ports accept connections when this returns.
    ///
    /// # Panics
    /// Where [`Self::bind`] has an error.
    pub(crate) fn start(repos: Repos) -> Self {
        Self::bind(repos, Config::default()).expect("a test hub")
    }

    /// [`Self::start`] with a behaviour of one's own.
    ///
    /// # Panics
    /// Where [`Self::bind`] has an error.
    pub(crate) fn start_with(repos: Repos, config: Config) -> Self {
        Self::bind(repos, config).expect("a test hub")
    }

    /// [`Self::start_with`] for those who want to tell the cause: a port that is taken, a folder that cannot be read,
    /// a `hub.json` that is none.
    pub(crate) fn bind(repos: Repos, config: Config) -> anyhow::Result<Self> {
        let index = index::Index::read(repos.root())?;
        let (hub, cdn) = (listener(config.hub_port)?, listener(config.cdn_port)?);
        let (hub_address, cdn_address) = (hub.local_addr()?, cdn.local_addr()?);
        let state = Arc::new(state::State::new(
            index,
            config,
            format!("http://{hub_address}"),
            format!("http://{cdn_address}"),
        ));
        // One thread: on two cores shared with the program under test a second one costs more than it serves.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = connection::serve(hub, Side::Hub, Arc::clone(&served)) => {}
                    () = connection::serve(cdn, Side::Cdn, served) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { state, stop: Some(stop), thread: Some(thread), repos })
    }

    /// The value for `HF_ENDPOINT`: `http://127.0.0.1:PORT`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.state.hub_url
    }

    /// The CDN's origin: `http://127.0.0.1:PORT`.
    pub(crate) fn cdn(&self) -> &str {
        &self.state.cdn_url
    }

    /// The folder that is served.
    pub(crate) fn repos(&self) -> &Repos {
        &self.repos
    }

    /// How many repositories are served.
    pub(crate) fn count(&self) -> usize {
        self.state.index().count()
    }

    /// The commit of a revision.
    ///
    /// # Panics
    /// Where there is no such repository or revision.
    pub(crate) fn sha(&self, repo: &str, revision: &str) -> String {
        self.state.index().sha(repo, revision).expect("a revision that is served")
    }

    /// Reads the repositories again, for a test that commits to one while it is served. Commits that no branch names
    /// any more are gone.
    ///
    /// # Panics
    /// Where the folder cannot be read.
    pub(crate) fn rescan(&self) {
        self.state.set_index(index::Index::read(self.repos.root()).expect("repositories that can be read"));
    }

    /// Adds a fault. Faults are tried in the order of their adding; the first that matches a request is taken.
    pub(crate) fn fault(&self, fault: Fault) {
        self.state.faults().push(fault);
    }

    /// Forgets the faults that are left.
    pub(crate) fn clear_faults(&self) {
        self.state.faults().clear();
    }

    /// Sets how many requests a budget allows in a window of this length, which begins now.
    pub(crate) fn set_quota(&self, budget: Budget, quota: u64, window: Duration) {
        self.state.set_quota(budget, quota, window);
    }

    /// What came so far, in the order of the replies; both listeners together.
    pub(crate) fn log(&self) -> Vec<Logged> {
        self.state.journal().log()
    }

    /// Forgets what came so far.
    pub(crate) fn clear_log(&self) {
        self.state.journal().clear();
    }

    /// Requests so far, redirect hops included; both listeners together.
    pub(crate) fn requests(&self) -> usize {
        self.log().len()
    }

    /// Bytes of bodies so far, without headers; both listeners together. What a client that hung up did not read
    /// counts as far as it was written.
    pub(crate) fn bytes(&self) -> u64 {
        self.log().iter().map(|request| request.bytes).sum()
    }
}

fn listener(port: u16) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot listen on port {port}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Drop for TestHub {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The receiver is gone only when the thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the serving thread has been printed; a second one in a drop would abort the tests.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
