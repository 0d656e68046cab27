//! What goes wrong with files and batches: which request or batch is meant, and what becomes of it.
//!
//! ```json
//! {
//!   "requests": [
//!     {"kind": "create", "nth": {"start": 1, "end": 1}, "fault": "lost"},
//!     {"kind": "upload", "times": 1, "fault": {"cut_after": 100000}},
//!     {"kind": "content", "times": 2, "fault": {"status": {"code": 503, "headers": {"retry-after": "0"}}}}
//!   ],
//!   "batches": [
//!     {"nth": {"start": 2, "end": 2}, "twist": {"expire_after": 0.5}},
//!     {"twist": {"refuse": {"share": 0.01, "status": 429}}}
//!   ]
//! }
//! ```

use std::{collections::BTreeMap, ops::RangeInclusive};

use hyper::{Method, http::request::Parts};
use serde::Deserialize;

/// What a request to the paths of files and batches wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// `POST /v1/files`.
    Upload,
    /// `GET /v1/files`.
    ListFiles,
    /// `GET /v1/files/ID`.
    GetFile,
    /// `GET /v1/files/ID/content`.
    Content,
    /// `DELETE /v1/files/ID`.
    DeleteFile,
    /// `POST /v1/batches`.
    Create,
    /// `GET /v1/batches`.
    ListBatches,
    /// `GET /v1/batches/ID`.
    GetBatch,
    /// `POST /v1/batches/ID/cancel`.
    Cancel,
}

impl Kind {
    /// What a request wants, and of which file or batch; none for other paths and methods.
    pub(super) fn of(head: &Parts) -> Option<(Self, &str)> {
        let path = head.uri.path().strip_prefix("/v1/")?;
        let mut steps = path.split('/');
        let room = steps.next()?;
        let (id, what, end) = (steps.next().unwrap_or_default(), steps.next(), steps.next());
        if end.is_some() {
            return None;
        }
        let kind = match (room, &head.method, id, what) {
            ("files", &Method::POST, "", None) => Self::Upload,
            ("files", &Method::GET, "", None) => Self::ListFiles,
            ("batches", &Method::POST, "", None) => Self::Create,
            ("batches", &Method::GET, "", None) => Self::ListBatches,
            (_, _, "", _) => return None,
            ("files", &Method::GET, _, None) => Self::GetFile,
            ("files", &Method::GET, _, Some("content")) => Self::Content,
            ("files", &Method::DELETE, _, None) => Self::DeleteFile,
            ("batches", &Method::GET, _, None) => Self::GetBatch,
            ("batches", &Method::POST, _, Some("cancel")) => Self::Cancel,
            _ => return None,
        };
        Some((kind, id))
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rules {
    /// With requests: the first rule that matches decides.
    pub(crate) requests: Vec<RequestRule>,
    /// With batches: all rules that match hold.
    pub(crate) batches: Vec<BatchRule>,
}

/// What goes wrong with requests of a kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestRule {
    /// Of which kind.
    pub(crate) kind: Kind,
    /// The request's number among those of its kind, from 1; without it, all of them.
    #[serde(default)]
    pub(crate) nth: Option<RangeInclusive<u64>>,
    /// Only the first so many that match.
    #[serde(default)]
    pub(crate) times: Option<u64>,
    /// What goes wrong.
    pub(crate) fault: Fault,
}

impl RequestRule {
    /// This fault, once, with the request of this number.
    pub(crate) fn nth(kind: Kind, number: u64, fault: Fault) -> Self {
        Self { kind, nth: Some(number..=number), times: None, fault }
    }

    /// This fault with the first so many requests.
    pub(crate) fn first(kind: Kind, times: u64, fault: Fault) -> Self {
        Self { kind, nth: None, times: Some(times), fault }
    }
}

/// What goes wrong with a request. "Done" is what the request wants: the file is stored, the batch is made. Milliseconds pass at
/// once when nothing is to take time any more.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Fault {
    /// Any status; nothing is done. A body that is a JSON string is sent as plain text; without a body, the usual error.
    Status {
        /// 200 to 999.
        code: u16,
        /// What stands in the reply.
        #[serde(default)]
        body: Option<serde_json::Value>,
        /// Headers, which win over those that the stand-in sets.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// Nothing is done, and the connection is closed without a byte.
    Close,
    /// Nothing is done, and no reply comes as long as the connection is open.
    Hang,
    /// Done, and the connection is closed without a byte.
    Lost,
    /// The connection is closed without a byte, and so many milliseconds later it is done.
    LostThenDone(u64),
    /// Done, and no reply comes as long as the connection is open.
    Silent,
    /// Done, and the reply comes so many milliseconds later.
    Late(u64),
    /// Done after so many milliseconds, even where the client has left, and then the reply.
    Delay(u64),
    /// Of an upload so many bytes of the body are read, then the connection is closed.
    CutAfter(u64),
    /// Of an upload so many bytes of the body are read, and then no more as long as the connection is open.
    StallAfter(u64),
    /// The head and half of the body, then the connection is closed.
    CutBody,
    /// The head and half of the body, and no more as long as the connection is open.
    StallBody,
}

impl Fault {
    /// A status with the usual error for it.
    pub(crate) fn status(code: u16) -> Self {
        Self::Status { code, body: None, headers: BTreeMap::new() }
    }
}

/// What goes wrong with batches.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRule {
    /// The batch's number in the order in which they were made, from 1; without it, all of them.
    #[serde(default)]
    pub(crate) nth: Option<RangeInclusive<u64>>,
    /// What goes wrong.
    pub(crate) twist: Twist,
}

impl BatchRule {
    /// This twist with the batch of this number.
    pub(crate) fn nth(number: u64, twist: Twist) -> Self {
        Self { nth: Some(number..=number), twist }
    }

    /// This twist with all batches.
    pub(crate) fn always(twist: Twist) -> Self {
        Self { nth: None, twist }
    }
}

/// What goes wrong with a batch. A share is of its lines, from 0 to 1; which lines is decided by their ids.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Twist {
    /// The file is rejected as a whole, with this error.
    Fail {
        /// `code` of the error.
        code: String,
        /// `message` of the error.
        message: String,
    },
    /// It expires when this share was run.
    ExpireAfter(f64),
    /// Somebody else cancels it when this share was run.
    CancelAfter(f64),
    /// These lines are not run; their replies have this status.
    Refuse {
        /// Of all lines.
        share: f64,
        /// 400 or more.
        status: u16,
    },
    /// These replies are in no file, though they were made and would be billed.
    Drop(f64),
    /// These replies are in the output file twice: every other one twice in a row, the others again at the end.
    Twice(f64),
    /// So many replies with ids that no request has.
    UnknownIds(u64),
    /// So many of the replies are there once more, with their ids in upper case.
    UpperIds(u64),
    /// So many of the replies are there once more, with an empty id.
    EmptyIds(u64),
    /// So many lines that are no replies.
    Garbage(u64),
    /// While it runs, its status is this word.
    Word(String),
    /// When it has ended, its files are not there.
    LoseFiles,
}
