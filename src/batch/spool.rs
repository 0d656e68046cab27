//! The requests of a batch on their way to the server: a file without a name, gone with the process.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::endpoint::batches::{MAX_BYTES, MAX_REQUESTS};

/// A file that is being filled.
#[derive(Debug)]
pub(super) struct Spool {
    file: BufWriter<File>,
    pub(super) requests: u64,
    pub(super) bytes: u64,
}

impl Spool {
    /// An empty file in this folder. It holds rows of the dataset, so it has no name that could outlive the program.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(tempfile::tempfile_in(folder)?), requests: 0, bytes: 0 })
    }

    /// Whether a request of so many bytes fits.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.requests < MAX_REQUESTS && self.bytes.saturating_add(bytes) <= MAX_BYTES
    }

    /// Adds a request.
    pub(super) fn push(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(line)?;
        self.requests += 1;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// The whole file.
    pub(super) fn finish(self) -> io::Result<File> {
        self.file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// The file again, from its beginning.
pub(super) fn rewound(file: &File) -> io::Result<File> {
    let mut again = file.try_clone()?;
    again.seek(SeekFrom::Start(0))?;
    Ok(again)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_room_for_50_000_requests_and_200_megabytes() {
        let mut spool = Spool::new(&std::env::temp_dir()).unwrap();
        assert!(spool.has_room(200_000_000) && !spool.has_room(200_000_001) && !spool.has_room(u64::MAX));
        spool.push(b"twelve bytes").unwrap();
        assert!(spool.has_room(199_999_988) && !spool.has_room(199_999_989));
        spool.requests = 49_999;
        assert!(spool.has_room(1));
        spool.requests = 50_000;
        assert!(!spool.has_room(1));
    }
}
