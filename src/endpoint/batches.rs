//! The Batch API: files, batches, and the lines of both. One request at a time; what follows from it is `batch`'s.
//!
//! Files are JSON lines; a request is `{"custom_id", "method", "url", "body"}`, a reply `{"custom_id", "response", "error"}` in any
//! order, failed ones in a file of their own (<https://platform.openai.com/docs/guides/batch>).

use std::fs::File;

use bytes::Bytes;

use super::{Endpoint, Error, Refusal, Reply, Request, ServerError, Trouble};
use crate::model::{Price, Tier};
use crate::rating::question::Digest;

/// The most requests that a file may hold.
pub const MAX_REQUESTS: u64 = 50_000;

/// The most bytes that a file may have.
pub const MAX_BYTES: u64 = 200_000_000;

/// The server's word for how far a batch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The file is being looked at.
    Validating,
    /// The file was rejected as a whole: nothing was run.
    Failed,
    /// It is being run.
    InProgress,
    /// It was run, and its files are being written.
    Finalizing,
    /// Everything was run.
    Completed,
    /// The time was over before everything was run; what was run is in the files.
    Expired,
    /// It is being cancelled.
    Cancelling,
    /// It was cancelled; what was run before is in the files.
    Cancelled,
    /// A word that is not known: it has not ended.
    Other(String),
}

/// A batch, as the server tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteBatch {
    /// Its id.
    pub id: String,
    /// How far it is.
    pub status: Status,
    /// The file that it runs.
    pub input_file: Option<String>,
    /// The file of replies.
    pub output_file: Option<String>,
    /// The file of requests that failed.
    pub error_file: Option<String>,
    /// Why the file was rejected; up to the first few.
    pub errors: Vec<ServerError>,
    /// Requests in all, done and failed.
    pub counts: Counts,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// When it expires.
    pub expires_at: Option<i64>,
    /// Our chance name for it, where its metadata has one.
    pub intent: Option<String>,
}

/// How many requests of a batch are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub total: u64,
    /// Those that were run.
    pub completed: u64,
    /// Those that failed.
    pub failed: u64,
}

/// A file, as the server tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its id.
    pub id: String,
    /// Its size.
    pub bytes: u64,
}

/// A line of a file that a batch has left.
#[derive(Debug)]
pub struct Line {
    /// Which question it is for, as the server says; not checked.
    pub custom_id: String,
    /// What came of it.
    pub result: LineResult,
}

/// What came of a request of a batch.
#[derive(Debug)]
pub enum LineResult {
    /// It was run.
    Ran(Box<Result<Reply, Trouble>>),
    /// It was not run: the batch expired or was cancelled before.
    NotRun(ServerError),
}

/// How replies of a batch are billed.
#[derive(Debug, Clone, Copy)]
pub struct Billing {
    /// The price at the standard tier, where it is known.
    pub price: Option<Price>,
    /// The tier.
    pub tier: Tier,
}

/// The lines of a file at the server, one after the other, in bounded memory.
#[derive(Debug)]
pub struct Lines {}

impl Lines {
    /// The next line, without its end; none at the end of the file.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        Ok(None)
    }
}

impl Status {
    /// Whether nothing will change any more.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Failed | Self::Completed | Self::Expired | Self::Cancelled)
    }
}

/// A request as a line of a batch's file, its end included.
pub fn line(request: &Request, question: Digest) -> Vec<u8> {
    let _ = (request, question);
    Vec::new()
}

/// Reads a line of a file that a batch has left, or that a runner of one's own has written. The error says what is wrong with it.
pub fn read_line(line: &[u8], billing: &Billing) -> Result<Line, String> {
    let _ = (line, billing);
    Err("not read".to_owned())
}

impl Endpoint {
    /// Whether the endpoint has batches: an error with words for people where it has none.
    pub async fn check_batches(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Uploads a file of requests under this name; returns the server's id. A server that takes nothing for a while is
    /// [`Trouble::Transport`]; how long the whole takes does not matter.
    pub async fn upload(&self, name: &str, file: File) -> Result<RemoteFile, Trouble> {
        let _ = (name, file);
        Err(unknown())
    }

    /// The whole file of requests of this name that the server has, if any.
    pub async fn uploaded(&self, name: &str) -> Result<Option<RemoteFile>, Trouble> {
        let _ = name;
        Err(unknown())
    }

    /// Has a file run, under this chance name.
    pub async fn create_batch(&self, file: &str, intent: &str) -> Result<RemoteBatch, Trouble> {
        let _ = (file, intent);
        Err(unknown())
    }

    /// Asks how far a batch is.
    pub async fn batch(&self, id: &str) -> Result<RemoteBatch, Trouble> {
        let _ = id;
        Err(unknown())
    }

    /// The batches that were made at this time or later, in seconds since 1970, page by page.
    pub async fn batches(&self, since: i64) -> Result<Vec<RemoteBatch>, Trouble> {
        let _ = since;
        Err(unknown())
    }

    /// Has a batch cancelled.
    pub async fn cancel_batch(&self, id: &str) -> Result<RemoteBatch, Trouble> {
        let _ = id;
        Err(unknown())
    }

    /// The content of a file.
    pub async fn content(&self, file: &str) -> Result<Lines, Trouble> {
        let _ = file;
        Err(unknown())
    }
}

fn unknown() -> Trouble {
    Trouble::Refused(Refusal { status: 404, retry_after: None, error: ServerError::default() })
}
