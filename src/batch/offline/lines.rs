//! The lines of a file on this machine, a group at a time, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::super::Error;
use super::super::intake::{GROUP, GROUP_BYTES};

/// The longest line.
const LONGEST: usize = 16 << 20;

/// A file that is being read.
pub(super) struct Lines {
    path: PathBuf,
    file: BufReader<Box<dyn Read + Send>>,
    /// The number of the last line, from 1.
    number: u64,
}

/// A line without its end, and its number from 1.
pub(super) type Line = (u64, Vec<u8>);

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        let is_folder = file.metadata().is_ok_and(|there| there.is_dir());
        if is_folder {
            return Err(Error::file(path, "is a folder: name the files in it that hold the replies"));
        }
        Ok(Self::of(path, Box::new(file)))
    }

    fn of(path: &Path, file: Box<dyn Read + Send>) -> Self {
        Self { path: path.to_owned(), file: BufReader::with_capacity(1 << 18, file), number: 0 }
    }

    /// The next lines that hold anything; none at the end of the file.
    pub(super) fn group(&mut self) -> Result<Vec<Line>, Error> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while group.len() < GROUP && bytes <= GROUP_BYTES {
            let Some(mut line) = self.line().map_err(Error::io("read", &self.path))? else { break };
            self.number += 1;
            if self.number == 1 {
                if line.starts_with(&[0x1f, 0x8b]) {
                    return Err(Error::file(&self.path, "is compressed: unpack it first"));
                }
                if line.starts_with(b"\xef\xbb\xbf") {
                    line.drain(..3);
                }
            }
            if line.len() > LONGEST {
                let problem = format!(
                    "has a line {} of more than {} MiB: it is no file of replies",
                    self.number,
                    LONGEST >> 20
                );
                return Err(Error::file(&self.path, problem));
            }
            if !line.trim_ascii().is_empty() {
                bytes += line.len();
                group.push((self.number, line));
            }
        }
        Ok(group)
    }

    /// The next line without its end, or its beginning if it is too long.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = (&mut self.file).take(LONGEST as u64 + 2).read_until(b'\n', &mut line)?;
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Ok((read > 0).then_some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Lines {
        Lines::of(Path::new("out.jsonl"), Box::new(io::Cursor::new(bytes.to_vec())))
    }

    #[test]
    fn lines_come_without_ends_marks_and_blank_ones_and_keep_their_numbers() {
        let group = lines(b"\xef\xbb\xbfa\r\n\n \nb").group().unwrap();
        assert_eq!(group, [(1, b"a\r".to_vec()), (4, b"b".to_vec())]);
    }

    #[test]
    fn a_group_ends_where_it_is_full() {
        let mut lines = lines(&b"x\n".repeat(GROUP + 1));
        assert_eq!(lines.group().unwrap().len(), GROUP);
        assert_eq!(lines.group().unwrap(), [(GROUP as u64 + 1, b"x".to_vec())]);
        assert!(lines.group().unwrap().is_empty());
    }

    #[test]
    fn a_line_without_end_is_an_error_and_not_held() {
        let endless = Box::new(io::repeat(b'x'));
        let error = Lines::of(Path::new("out.jsonl"), endless).group().unwrap_err();
        assert_eq!(error.to_string(), "out.jsonl has a line 1 of more than 16 MiB: it is no file of replies");
    }

    #[test]
    fn a_compressed_file_is_named_as_one() {
        let error = lines(b"\x1f\x8b\x08").group().unwrap_err();
        assert_eq!(error.to_string(), "out.jsonl is compressed: unpack it first");
    }
}
