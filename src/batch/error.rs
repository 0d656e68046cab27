//! What can go wrong with batches, in words for the person who asked for them.

use std::io;
use std::path::{Path, PathBuf};

use super::may_pass;
use crate::endpoint::{Endpoint, Refusal, Trouble};
use crate::http::plain;
use crate::store::{self, Batch};
use crate::{endpoint, lens, rate};

/// What stops work on batches. What is in the store by then stays there, and the same command goes on from it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store fails.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The dataset cannot be read on.
    #[error(transparent)]
    Rate(#[from] rate::Error),
    /// The endpoint cannot be asked as it is set.
    #[error(transparent)]
    Endpoint(#[from] endpoint::Error),
    /// The endpoint could not be asked now: a later try may go well.
    #[error("{0}; what is done is kept: the same command goes on from there")]
    Trouble(String),
    /// What a batch has left cannot be read, though it was paid for: its questions wait on.
    #[error(
        "the replies of batch {batch} cannot be read: {problem}; they may have been paid for, so that its questions wait on: if the \
         endpoint never has them, `classified batch cancel {batch} --forget` gives them up, and they are asked and paid for again"
    )]
    Unreadable {
        /// The batch's number in the store.
        batch: i64,
        /// What is wrong with its files.
        problem: String,
    },
    /// What would fail for every question.
    #[error("{0}")]
    Stopped(String),
    /// A file cannot be read or written.
    #[error("cannot {what} {}: {source}", plain(&path.to_string_lossy()))]
    Io {
        /// Such as `read` or `write`.
        what: &'static str,
        /// The file, or its folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file that cannot be what was asked for.
    #[error("{} {problem}", plain(&path.to_string_lossy()))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A batch that a newer program made, in a form that this one does not know.
    #[error(
        "batch {batch} was made by classified {program} (form {form}), which is newer than this program: update it to go on"
    )]
    Newer {
        /// The batch's number in the store.
        batch: i64,
        /// The version of the program that made it.
        program: String,
        /// The form of its row and file.
        form: u32,
    },
    /// The lens's files that are kept with a batch cannot be used any more.
    #[error(
        "batch {batch} cannot be read by the lens {lens} that it was asked with: {problem}; `classified batch cancel {batch} \
         --forget` frees its questions, which are then paid for again"
    )]
    Lens {
        /// The batch's number in the store.
        batch: i64,
        /// The lens.
        lens: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A part of the program ended before its time.
    #[error("a task of the program failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    /// The system's error while this file was read or written.
    pub(super) fn io<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Self + 'a {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    /// What a request came to in the end, that was to have the endpoint do `what`.
    pub(super) fn trouble(what: &str, endpoint: &Endpoint, trouble: &Trouble) -> Self {
        let url = endpoint.shown_url();
        match trouble {
            Trouble::Refused(refusal @ Refusal { status: 401 | 403, .. }) => {
                Self::Stopped(endpoint.bad_key(refusal))
            }
            Trouble::Refused(_) if !may_pass(trouble) => {
                Self::Stopped(format!("the endpoint {url} does not {what}: {trouble}"))
            }
            _ => Self::Trouble(format!("the endpoint {url} did not {what}: {trouble}")),
        }
    }

    pub(super) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }

    pub(super) fn newer(batch: &Batch) -> Self {
        Self::Newer { batch: batch.id, program: plain(&batch.program), form: batch.form }
    }

    pub(super) fn lens(batch: &Batch, error: &lens::Error) -> Self {
        Self::Lens { batch: batch.id, lens: plain(&batch.slot.lens), problem: plain(&error.to_string()) }
    }

    pub(super) fn unreadable(batch: &Batch, problem: &str) -> Self {
        Self::Unreadable { batch: batch.id, problem: plain(problem) }
    }

    /// Whether the cure is another command line (exit code 2).
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Endpoint(endpoint::Error::Usage(_)))
    }
}
