//! The stored files. Their content is on disk, in files without a name, which are gone when the stand-in is.

use std::{
    fs::File,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use serde_json::{Value, json};

use super::{
    super::{
        reply::{Closed, Ending},
        shape::mix,
    },
    multipart::read_at,
    now,
};

/// What is read and sent at once.
const BLOCK: usize = 64 << 10;

/// All files that were stored and not deleted.
#[derive(Debug, Default)]
pub(super) struct Files {
    stored: Vec<Stored>,
    /// Files stored so far.
    count: u64,
}

/// A file of the server.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) purpose: String,
    pub(super) bytes: u64,
    pub(super) file: Arc<File>,
    name: String,
    created_at: u64,
}

impl Files {
    /// Stores a file.
    pub(super) fn store(&mut self, name: String, purpose: &str, (file, bytes): (File, u64)) -> Stored {
        self.count += 1;
        let stored = Stored {
            id: format!("file-{:016x}{:06}", mix(self.count), self.count),
            purpose: purpose.to_owned(),
            bytes,
            file: Arc::new(file),
            name,
            created_at: now(),
        };
        self.stored.push(stored.clone());
        stored
    }

    pub(super) fn get(&self, id: &str) -> Option<Stored> {
        self.all().find(|stored| stored.id == id).cloned()
    }

    /// Whether there was such a file.
    pub(super) fn delete(&mut self, id: &str) -> bool {
        let before = self.stored.len();
        self.stored.retain(|stored| stored.id != id);
        self.stored.len() < before
    }

    /// In the order in which they came.
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &Stored> {
        self.stored.iter()
    }
}

impl Stored {
    /// The file, as the server tells it.
    pub(super) fn told(&self) -> Value {
        json!({
            "object": "file", "id": self.id, "purpose": self.purpose, "filename": self.name, "bytes": self.bytes,
            "created_at": self.created_at, "expires_at": null, "status": "processed", "status_details": null
        })
    }

    /// All of it.
    pub(super) fn text(&self) -> io::Result<String> {
        let mut text = vec![0; usize::try_from(self.bytes).map_err(io::Error::other)?];
        read_exact_at(&self.file, &mut text, 0)?;
        String::from_utf8(text).map_err(io::Error::other)
    }
}

/// Fills `buffer` from a place of a file.
pub(super) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let length = read_at(file, buffer, offset)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[length..];
        offset += length as u64;
    }
    Ok(())
}

/// A file as the body of a reply.
#[derive(Debug)]
pub(in super::super) struct FileBody {
    file: Arc<File>,
    offset: u64,
    /// Where it ends.
    end: u64,
    cut: Option<Cut>,
}

/// That a body is to end before its end.
#[derive(Debug, Clone, Copy)]
struct Cut {
    ending: Ending,
    flushed: bool,
}

impl FileBody {
    pub(super) fn new(stored: &Stored) -> Self {
        Self { file: Arc::clone(&stored.file), offset: 0, end: stored.bytes, cut: None }
    }

    pub(in super::super) fn length(&self) -> u64 {
        self.end - self.offset
    }

    pub(in super::super) fn half(self, ending: Ending) -> Self {
        Self { end: self.offset + self.length() / 2, cut: Some(Cut { ending, flushed: false }), ..self }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        let length = usize::try_from(self.length()).unwrap_or(BLOCK).min(BLOCK);
        if length == 0 {
            return match &mut self.cut {
                None => Poll::Ready(None),
                Some(Cut { ending: Ending::Silent, .. }) => Poll::Pending,
                Some(Cut { flushed: true, .. }) => Poll::Ready(Some(Err(Closed))),
                Some(Cut { flushed, .. }) => {
                    // hyper drops what it has not written when a body fails, and it writes when a body has to wait.
                    *flushed = true;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            };
        }
        let mut block = vec![0; length];
        // The file is in the system's cache: reading it here is as fast as having it read elsewhere.
        if read_exact_at(&self.file, &mut block, self.offset).is_err() {
            return Poll::Ready(Some(Err(Closed)));
        }
        self.offset += length as u64;
        Poll::Ready(Some(Ok(Frame::data(block.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.cut {
            None => SizeHint::with_exact(self.length()),
            Some(_) => SizeHint::default(),
        }
    }
}
