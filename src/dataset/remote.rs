//! A stream of a file at the Hub, as the thread that decodes it reads it.

use crate::hub;
use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use std::io::{self, Read};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// The bytes of a file from its beginning on. Some are fetched before they are read.
pub(super) struct Remote {
    parts: mpsc::Receiver<Result<Bytes, hub::Error>>,
    current: Bytes,
    /// Bytes that are still to come.
    left: u64,
}

impl Remote {
    pub(super) fn open(file: &hub::File, runtime: &Handle) -> Self {
        // Parts are what the connection gives at a time, tens of kilobytes.
        const WAITING: usize = 64;
        let (sender, parts) = mpsc::channel(WAITING);
        let (file, left) = (file.clone(), file.size());
        runtime.spawn(async move {
            let mut stream = pin!(file.stream(0));
            while let Some(part) = stream.next().await {
                let is_last = part.is_err();
                if sender.send(part).await.is_err() || is_last {
                    return;
                }
            }
        });
        Self { parts, current: Bytes::new(), left }
    }
}

impl Read for Remote {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.parts.blocking_recv() {
                Some(part) => self.current = part.map_err(io::Error::other)?,
                None if self.left == 0 => return Ok(0),
                // Whoever fetches has given up without a word: no end of the file.
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
            self.left = self.left.saturating_sub(self.current.len() as u64);
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// An input that remembers what was read of it, so that it can be read again without being fetched again.
#[derive(Clone)]
pub(super) struct Tape(Arc<Mutex<Recording>>);

struct Recording {
    input: Box<dyn Read + Send>,
    heard: Vec<u8>,
}

impl Tape {
    pub(super) fn new(input: Box<dyn Read + Send>) -> Self {
        Self(Arc::new(Mutex::new(Recording { input, heard: Vec::new() })))
    }

    /// The input from its beginning on. All clones must have been dropped.
    pub(super) fn rewound(self) -> Option<Box<dyn Read + Send>> {
        let Recording { input, heard } =
            Arc::into_inner(self.0)?.into_inner().unwrap_or_else(PoisonError::into_inner);
        Some(Box::new(Read::chain(io::Cursor::new(heard), input)))
    }
}

impl Read for Tape {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut recording = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Recording { input, heard } = &mut *recording;
        let length = input.read(buffer)?;
        heard.extend_from_slice(&buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_is_read_again_from_its_beginning() {
        let tape = Tape::new(Box::new(&b"all of this"[..]));
        let mut start = [0; 3];
        tape.clone().read_exact(&mut start).unwrap();
        let mut whole = String::new();
        tape.rewound().unwrap().read_to_string(&mut whole).unwrap();
        assert_eq!((&start, whole.as_str()), (b"all", "all of this"));
    }
}
