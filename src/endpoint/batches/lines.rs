//! The lines of a file at the server, one after the other, in bounded memory.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::super::Trouble;
use crate::http::Incoming;

/// The longest line that is read, in bytes: a longer one is no reply.
const LONGEST: usize = 16 << 20;

/// The lines of a file at the server, one after the other, in bounded memory.
#[derive(Debug)]
pub struct Lines {
    /// Nothing once it has ended.
    incoming: Option<Incoming>,
    /// How long the server may send nothing.
    within: Duration,
    held: BytesMut,
    /// Bytes of `held` that have no line's end in them.
    searched: usize,
}

impl Lines {
    pub(super) fn of(incoming: Incoming, within: Duration) -> Self {
        Self { incoming: Some(incoming), within, held: BytesMut::new(), searched: 0 }
    }

    /// The next line without its end, be it empty or not; none at the end of the file.
    ///
    /// A file that ends before the length that its headers give is an error, as is a server that sends nothing for as long as
    /// an attempt may take: then it is to be read again, from its beginning. A line without an end is [`Trouble::Garbled`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        loop {
            let line = match (memchr::memchr(b'\n', &self.held[self.searched..]), &mut self.incoming) {
                (Some(at), _) => {
                    let line = self.held.split_to(self.searched + at + 1);
                    self.searched = 0;
                    line
                }
                (None, None) if self.held.is_empty() => return Ok(None),
                (None, None) => {
                    self.searched = 0;
                    self.held.split()
                }
                (None, Some(incoming)) => {
                    self.searched = self.held.len();
                    if self.searched > LONGEST {
                        return Err(too_long());
                    }
                    match incoming.chunk(self.within).await.map_err(Trouble::Transport)? {
                        Some(part) => self.held.extend_from_slice(&part),
                        None => self.incoming = None,
                    }
                    continue;
                }
            };
            if line.len() > LONGEST {
                return Err(too_long());
            }
            let line = line.freeze();
            let end = line.trim_ascii_end().len();
            return Ok(Some(line.slice(..end)));
        }
    }
}

fn too_long() -> Trouble {
    Trouble::Garbled(format!(
        "the reply is not a file of JSON lines: a line is longer than {} MiB",
        LONGEST >> 20
    ))
}
