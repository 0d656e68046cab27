//! Replies: a status, headers, and a body from memory or from a file, sent in pieces and cut where a fault says so.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{
    HeaderMap, StatusCode,
    body::{Body, Frame},
    header::{self, HeaderName, HeaderValue},
};
use serde_json::{Value, json};

use super::{faults::Action, index::Stored, journal};

pub(super) type Response = hyper::Response<Pieces>;

/// Held at once of a file's body; large enough that a test reads at the speed of loopback.
const PIECE: usize = 256 << 10;

/// The connection ends here, by intent of a fault or because the client left.
#[derive(Debug, thiserror::Error)]
#[error("the connection was closed")]
pub(super) struct Closed;

/// A reply that is not yet sent.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    content: Content,
    length: u64,
}

#[derive(Debug)]
enum Content {
    Bytes(Bytes),
    /// Positioned at the first byte.
    File(File),
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// When it is whole.
    Whole,
    /// The connection is closed after so many bytes.
    Cut(u64),
    /// Nothing follows so many bytes.
    Stall(u64),
}

impl Reply {
    /// A reply with a body in memory.
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let length = body.len() as u64;
        Self::with(status, content_type, Content::Bytes(body), length)
    }

    fn with(status: u16, content_type: &str, content: Content, length: u64) -> Self {
        // Statuses come from this hub or from a test; a test that writes 9999 sees a 500.
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, headers: HeaderMap::new(), content, length }
            .header("Content-Type", content_type)
            .header("Content-Length", &length.to_string())
    }

    pub(super) fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    pub(super) fn xml(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, "application/xml", body)
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json; charset=utf-8", body.to_string())
    }

    /// The reply of a fault: a JSON string goes as text.
    pub(super) fn scripted(status: u16, body: Option<&Value>) -> Self {
        match body {
            Some(Value::String(text)) => Self::text(status, text.clone()),
            Some(value) => Self::json(status, value),
            None => Self::json(status, &json!({"error": "injected fault"})),
        }
    }

    /// A file, or the one range of it that is asked for (RFC 9110, section 14). Several ranges get the whole file.
    pub(super) fn file(stored: &Stored, content_type: &str, range: Option<&str>, action: &Action) -> Self {
        let size = stored.size;
        let range = range.filter(|_| !action.ignore_range).map_or(Wanted::All, |range| wanted(range, size));
        let (status, first, length) = match range {
            Wanted::All => (200, 0, size),
            Wanted::Some { first, last } => (206, first, last + 1 - first),
            Wanted::Outside => {
                return Self::text(416, "")
                    .header("Accept-Ranges", "bytes")
                    .header("Content-Range", &format!("bytes */{size}"));
            }
        };
        let open = || {
            let mut file = File::open(&stored.path)?;
            file.seek(SeekFrom::Start(first))?;
            std::io::Result::Ok(file)
        };
        let Ok(file) = open() else { return Self::text(500, "the file of this repository is gone") };
        let reply =
            Self::with(status, content_type, Content::File(file), length).header("Accept-Ranges", "bytes");
        if status == 206 {
            reply.header("Content-Range", &format!("bytes {first}-{}/{size}", first + length - 1))
        } else {
            reply
        }
    }

    /// With this header in place of another of its name; an empty value removes it.
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        let Ok(name) = HeaderName::try_from(name) else { return self };
        match HeaderValue::from_bytes(value.as_bytes()) {
            Ok(value) if !value.is_empty() => drop(self.headers.insert(name, value)),
            _ => drop(self.headers.remove(name)),
        }
        self
    }

    /// The reply to a HEAD: the headers of the GET, no body.
    pub(super) fn without_body(mut self) -> Self {
        self.content = Content::Bytes(Bytes::new());
        self.length = 0;
        self
    }

    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(super) fn headers(&self) -> BTreeMap<String, String> {
        journal::as_text(&self.headers)
    }

    /// For hyper. `sent` counts the bytes of the body as they are taken.
    pub(super) fn respond(mut self, ending: Ending, sent: Arc<AtomicU64>) -> Response {
        if self.status == StatusCode::NOT_MODIFIED {
            // It would be the length of the body that is not sent.
            self.headers.remove(header::CONTENT_LENGTH);
        }
        let (left, ending) = match ending {
            Ending::Cut(bytes) | Ending::Stall(bytes) if bytes < self.length => (bytes, ending),
            _ => (self.length, Ending::Whole),
        };
        let mut response =
            Response::new(Pieces { content: self.content, left, ending, flushed: false, sent });
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// What a `Range` asks for.
enum Wanted {
    /// The whole file: it is no single range of bytes.
    All,
    Some {
        first: u64,
        last: u64,
    },
    /// Bytes that the file does not have.
    Outside,
}

fn wanted(range: &str, size: u64) -> Wanted {
    let Some((first, last)) = range.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-'))
    else {
        return Wanted::All;
    };
    let end = size.saturating_sub(1);
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => (first, last.min(end)),
        (Ok(first), Err(_)) if last.is_empty() => (first, end),
        // The last so many bytes.
        (Err(_), Ok(length)) if first.is_empty() => (size - length.min(size), end),
        _ => return Wanted::All,
    };
    if first < size && first <= last { Wanted::Some { first, last } } else { Wanted::Outside }
}

/// A body in pieces. Its length is told by the headers alone, so that a fault can tell a wrong one.
#[derive(Debug)]
pub(super) struct Pieces {
    content: Content,
    left: u64,
    ending: Ending,
    flushed: bool,
    sent: Arc<AtomicU64>,
}

impl Pieces {
    fn next(&mut self) -> Result<Bytes, Closed> {
        let length = usize::try_from(self.left).map_or(PIECE, |left| left.min(PIECE));
        let piece = match &mut self.content {
            Content::Bytes(bytes) => bytes.split_to(length.min(bytes.len())),
            Content::File(file) => {
                // A blocking read on the thread that serves: the pages are in memory, and a thread more costs more.
                let mut piece = vec![0; length];
                let read = file.read(&mut piece).map_err(|_| Closed)?;
                piece.truncate(read);
                piece.into()
            }
        };
        if piece.is_empty() { Err(Closed) } else { Ok(piece) }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        if self.left > 0 {
            let piece = self.next();
            if let Ok(piece) = &piece {
                self.left -= piece.len() as u64;
                self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
            return Poll::Ready(Some(piece.map(Frame::data)));
        }
        match self.ending {
            Ending::Whole => Poll::Ready(None),
            // Nobody wakes it: it ends with the connection.
            Ending::Stall(_) => Poll::Pending,
            Ending::Cut(_) if self.flushed => Poll::Ready(Some(Err(Closed))),
            Ending::Cut(_) => {
                // hyper drops what it has not written when a body fails, and it writes when a body has to wait.
                self.flushed = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.ending == Ending::Whole
    }
}
