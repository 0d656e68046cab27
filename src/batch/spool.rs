//! The requests of a batch on their way to the server: a file without a name, gone with the process.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::Path;

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
