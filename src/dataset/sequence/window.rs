//! A window on what is read from front to back: the bytes that are read and not yet passed.

use super::Broken;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;

/// How much is asked of the input at a time.
const CHUNK: usize = 256 << 10;

/// The mark of UTF-8 that some editors write at the start of a file.
pub(in crate::dataset) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Bytes from anywhere, decompressed.
pub(in crate::dataset) type Input = Box<dyn Read + Send>;

/// What a sequence is read from.
pub(in crate::dataset) enum Bytes {
    /// What can be read once.
    Stream(Input),
    /// A local file, in which one can go back.
    File(File),
}

impl fmt::Debug for Bytes {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        to.write_str(match self {
            Self::Stream(_) => "Stream",
            Self::File(_) => "File",
        })
    }
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stream(input) => input.read(buffer),
            Self::File(file) => file.read(buffer),
        }
    }
}

impl Seek for Bytes {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Stream(_) => Err(ErrorKind::NotSeekable.into()),
            Self::File(file) => file.seek(to),
        }
    }
}

/// The bytes that are read and not yet passed.
#[derive(Debug)]
pub(in crate::dataset) struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    unread: Range<usize>,
    offset: u64,
}

impl<R: Read> Window<R> {
    /// A window at the input's position, which is its byte `offset`.
    pub(super) fn new(input: R, offset: u64) -> Self {
        Self { input, buffer: vec![0; CHUNK], unread: 0..0, offset }
    }

    /// What is read and not yet passed.
    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    /// Where that begins in the input.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Passes this many of the unread bytes, or all of them.
    pub(super) fn pass(&mut self, length: usize) {
        let length = length.min(self.unread.len());
        self.unread.start += length;
        self.offset += length as u64;
    }

    /// Reads more behind what is unread, and says how much: nothing at the end of the input.
    pub(super) fn fill(&mut self) -> io::Result<usize> {
        if self.unread.start > 0 {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        if self.unread.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let length = read(&mut self.input, &mut self.buffer[self.unread.end..])?;
        self.unread.end += length;
        Ok(length)
    }

    /// The first `length` bytes, or fewer where the input ends before.
    pub(super) fn peek(&mut self, length: usize) -> io::Result<&[u8]> {
        while self.unread.len() < length && self.fill()? > 0 {}
        Ok(&self.unread()[..length.min(self.unread.len())])
    }

    /// Passes the byte order mark, if the input begins with one.
    pub(super) fn skip_bom(&mut self) -> io::Result<()> {
        if self.peek(BOM.len())? == BOM {
            self.pass(BOM.len());
        }
        Ok(())
    }

    /// The next `length` bytes, which must be there. Memory grows with what arrives, not with what was asked for.
    pub(super) fn take(&mut self, length: u64) -> Result<Vec<u8>, Broken> {
        let ready = usize::try_from(length).map_or(self.unread.len(), |length| length.min(self.unread.len()));
        let mut bytes = self.unread()[..ready].to_vec();
        self.pass(ready);
        let missing = length - ready as u64;
        let read = self.input.by_ref().take(missing).read_to_end(&mut bytes)?;
        self.offset += read as u64;
        if (read as u64) < missing {
            let detail =
                format!("it ends at byte {}, {} bytes too early", self.offset, missing - read as u64);
            return Err(Broken::Corrupt { problem: "is cut off".into(), detail });
        }
        Ok(bytes)
    }

    /// How much memory the window takes.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

impl<R: Read + Seek> Window<R> {
    /// Goes to this byte; nothing is read again if it is already in memory.
    pub(super) fn seek(&mut self, offset: u64) -> io::Result<()> {
        let ahead = offset.checked_sub(self.offset).and_then(|ahead| usize::try_from(ahead).ok());
        match ahead {
            Some(ahead) if ahead <= self.unread.len() => self.unread.start += ahead,
            _ => {
                self.unread = 0..0;
                self.input.seek(SeekFrom::Start(offset))?;
            }
        }
        self.offset = offset;
        Ok(())
    }
}

/// Reads what there is, again if a signal came between.
pub(super) fn read(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
