//! Batches and files as servers tell of them: whatever they leave out or word differently.

use std::fmt::Write as _;

use serde_json::Value;

use super::super::ServerError;

/// Errors of a batch that are kept.
const ERRORS: usize = 5;

/// The fewest tokens that a limit can mean: fewer are a number that we have misread.
const LEAST_TOKENS: u64 = 1_000;

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
    /// When it was made, in seconds since 1970; 0 where that is not known.
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

/// That more tokens are enqueued than the account allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLimit {
    /// The most input tokens that may be enqueued at once; nothing where the server does not tell it.
    pub tokens: Option<u64>,
}

impl Status {
    /// Every status that has a word, and its word.
    const WORDS: [(Self, &'static str); 8] = [
        (Self::Validating, "validating"),
        (Self::Failed, "failed"),
        (Self::InProgress, "in_progress"),
        (Self::Finalizing, "finalizing"),
        (Self::Completed, "completed"),
        (Self::Expired, "expired"),
        (Self::Cancelling, "cancelling"),
        (Self::Cancelled, "cancelled"),
    ];

    /// The status of this word of the wire.
    pub fn named(word: &str) -> Self {
        // Some spell it as Americans do.
        let spelled = match word {
            "canceled" => "cancelled",
            "canceling" => "cancelling",
            word => word,
        };
        let known = Self::WORDS.into_iter().find(|(_, name)| *name == spelled);
        known.map_or_else(|| Self::Other(cut(word)), |(status, _)| status)
    }

    /// Its word of the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(word) => word,
            known => Self::WORDS.iter().find(|(status, _)| status == known).map_or("", |(_, word)| *word),
        }
    }

    /// Whether nothing will change any more.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Failed | Self::Completed | Self::Expired | Self::Cancelled)
    }
}

impl RemoteBatch {
    /// Reads a batch object; none without an id.
    pub(super) fn read(batch: &Value) -> Option<Self> {
        let file = |key: &str| batch[key].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
        let counts = &batch["request_counts"];
        let errors = match &batch["errors"] {
            Value::Array(errors) => errors.as_slice(),
            errors => errors["data"].as_array().map_or(&[][..], Vec::as_slice),
        };
        Some(Self {
            id: file("id")?,
            status: Status::named(batch["status"].as_str().unwrap_or_default()),
            input_file: file("input_file_id"),
            output_file: file("output_file_id"),
            error_file: file("error_file_id"),
            errors: errors.iter().take(ERRORS).map(error).collect(),
            counts: Counts {
                total: number(&counts["total"]),
                completed: number(&counts["completed"]),
                failed: number(&counts["failed"]),
            },
            created_at: time(&batch["created_at"]).unwrap_or(0),
            expires_at: time(&batch["expires_at"]),
            intent: batch["metadata"]["classified"].as_str().map(str::to_owned),
        })
    }
}

impl RemoteFile {
    /// Reads a file object, of so many bytes where it does not tell; none without an id.
    pub(super) fn read(file: &Value, bytes: u64) -> Option<Self> {
        let id = file["id"].as_str().filter(|id| !id.is_empty())?;
        Some(Self { id: id.to_owned(), bytes: file["bytes"].as_u64().unwrap_or(bytes) })
    }
}

/// Whether errors of a batch, or of a request to make one, are about the enqueued tokens.
///
/// OpenAI words it "Enqueued token limit reached for … Limit: 2,000,000 enqueued tokens. Please try again …", with the
/// code `token_limit_exceeded`.
pub fn token_limit(errors: &[ServerError]) -> Option<TokenLimit> {
    errors.iter().find_map(|error| {
        let message = error.message.to_lowercase();
        let is_it =
            error.kind.contains("token_limit_exceeded") || message.contains("enqueued token limit reached");
        let tokens = message.split_once("limit:").and_then(|(_, after)| grouped(after.trim_start()));
        is_it.then(|| TokenLimit { tokens: tokens.filter(|tokens| *tokens >= LEAST_TOKENS) })
    })
}

/// The whole number that a text begins with. Its digits may be in groups of three, as people write them anywhere.
fn grouped(text: &str) -> Option<u64> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut number = text.get(..digits(text))?.to_owned();
    let mut rest = &text[number.len()..];
    let marks = [',', '.', '_', ' ', '\'', '\u{a0}', '\u{2009}', '\u{202f}'];
    let mark = rest.chars().next().filter(|mark| marks.contains(mark) && number.len() <= 3);
    while let Some(group) = mark.and_then(|mark| rest.strip_prefix(mark)).filter(|group| digits(group) == 3) {
        number.push_str(&group[..3]);
        rest = &group[3..];
    }
    number.parse().ok()
}

/// One of a batch's errors, with the line that it is about.
fn error(error: &Value) -> ServerError {
    let mut read = ServerError::of_value(error);
    if let Some(line) = error["line"].as_u64() {
        // A text takes all that is written to it.
        let _ = write!(read.message, " (line {line})");
    }
    read
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Seconds since 1970, also where they are a text or have a fraction.
fn time(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates")]
    let whole = |seconds: f64| seconds as i64;
    value
        .as_i64()
        .or_else(|| value.as_f64().map(whole))
        .or_else(|| value.as_str()?.parse().ok())
        .filter(|seconds| *seconds > 0)
}

/// A stranger's word, not too long.
fn cut(word: &str) -> String {
    word.chars().take(64).collect()
}
