//! The bytes of a file at any place, wherever the file is: on this machine, or at the Hub.

use super::blocks::Blocks;
use bytes::Bytes as Part;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

/// A file that can be read anywhere. Cloning shares it; it is read on one thread at a time.
#[derive(Debug, Clone)]
pub(super) enum Bytes {
    /// An open file.
    Local(Arc<File>),
    /// A file at the Hub, fetched in blocks.
    Hub(Arc<Blocks>),
}

impl Bytes {
    /// Its length.
    pub(super) fn length(&self) -> io::Result<u64> {
        match self {
            Self::Local(file) => Ok(file.metadata()?.len()),
            Self::Hub(blocks) => Ok(blocks.length()),
        }
    }

    /// Exactly these bytes.
    pub(super) fn get(&self, range: Range<u64>) -> io::Result<Part> {
        match self {
            Self::Local(file) => {
                let length =
                    usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
                file.get_bytes(range.start, length).map_err(unwrapped)
            }
            Self::Hub(blocks) => blocks.get(range),
        }
    }
}

fn unwrapped(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        ParquetError::EOF(_) => io::ErrorKind::UnexpectedEof.into(),
        other => io::Error::other(other),
    }
}

impl Length for Bytes {
    fn len(&self) -> u64 {
        self.length().unwrap_or(0)
    }
}

impl ChunkReader for Bytes {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        match self {
            Self::Local(file) => Ok(Box::new(file.get_read(start)?)),
            Self::Hub(blocks) => Ok(Box::new(Forward { blocks: Arc::clone(blocks), at: start })),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Part, ParquetError> {
        match self {
            Self::Local(file) => file.get_bytes(start, length),
            Self::Hub(blocks) => Ok(blocks.get(start..start.saturating_add(length as u64))?),
        }
    }
}

/// Reads on from a place.
struct Forward {
    blocks: Arc<Blocks>,
    at: u64,
}

impl Read for Forward {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.at.saturating_add(buffer.len() as u64).min(self.blocks.length());
        if end <= self.at {
            return Ok(0);
        }
        let part = self.blocks.get(self.at..end)?;
        buffer[..part.len()].copy_from_slice(&part);
        self.at = end;
        Ok(part.len())
    }
}
