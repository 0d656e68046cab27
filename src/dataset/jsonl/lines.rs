//! The lines of a file: finding them without holding them, and reading those that are wanted.

use super::super::sample::Draw;
use super::super::source::BOM;
use memchr::{memchr, memchr_iter};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

/// How much is asked of the file at a time.
const CHUNK: usize = 256 << 10;

/// Where a row's line begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Its first byte, counted in the file from 0.
    pub(super) offset: u64,
    /// Its number, counted from 1, blank lines included.
    pub(super) line: u64,
}

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'b> {
    Blank,
    Text(&'b [u8]),
    /// More than the longest line that is read; this long.
    TooLong(u64),
}

/// Counts the rows (lines that are not blank) from the file's current position on, and offers each to the draw.
///
/// Holds one chunk at a time, however long the lines are. `is_stopped` is asked once a chunk.
pub(super) fn scan(
    mut file: impl Read,
    start: u64,
    mut draw: Option<&mut Draw<Place>>,
    is_stopped: &dyn Fn() -> bool,
) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut rows = 0;
    let mut place = Place { offset: start, line: 1 };
    let mut blank = true;
    let mut end_of_line = |blank: bool, place: Place| {
        if !blank {
            if let Some(draw) = &mut draw {
                draw.offer(rows, || place);
            }
            rows += 1;
        }
    };
    let mut chunk_offset = start;
    loop {
        if is_stopped() {
            return Err(ErrorKind::Interrupted.into());
        }
        let chunk = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => &buffer[..length],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let mut rest = 0;
        for newline in memchr_iter(b'\n', chunk) {
            end_of_line(blank && is_blank(&chunk[rest..newline]), place);
            rest = newline + 1;
            place = Place { offset: chunk_offset + rest as u64, line: place.line + 1 };
            blank = true;
        }
        blank = blank && is_blank(&chunk[rest..]);
        chunk_offset += chunk.len() as u64;
    }
    end_of_line(blank, place);
    Ok(rows)
}

/// Whether there is only what JSON takes for white space.
fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// Puts the file behind the byte order mark, if it begins with one, and says where that is.
pub(super) fn skip_bom(file: &mut File) -> io::Result<u64> {
    let mut start = Vec::new();
    file.rewind()?;
    file.by_ref().take(BOM.len() as u64).read_to_end(&mut start)?;
    let length = if start == BOM { BOM.len() as u64 } else { 0 };
    file.seek(SeekFrom::Start(length))
}

/// Reads lines one after the other, or from a given place on.
#[derive(Debug)]
pub(super) struct Lines<F> {
    file: F,
    buffer: Vec<u8>,
    /// The part of the buffer that is read but not yet given out.
    unread: std::ops::Range<usize>,
    /// Where `unread` begins in the file.
    offset: u64,
    longest: usize,
}

impl<F: Read + Seek> Lines<F> {
    /// Lines of at most `longest` bytes, from the file's current position `offset` on.
    pub(super) fn new(file: F, offset: u64, longest: usize) -> Self {
        Self { file, buffer: vec![0; CHUNK], unread: 0..0, offset, longest }
    }

    /// Goes on at this place; nothing is read again if it is already in memory.
    pub(super) fn seek(&mut self, offset: u64) -> io::Result<()> {
        let ahead = offset.checked_sub(self.offset).and_then(|ahead| usize::try_from(ahead).ok());
        match ahead {
            Some(ahead) if ahead <= self.unread.len() => self.unread.start += ahead,
            _ => {
                self.unread = 0..0;
                self.file.seek(SeekFrom::Start(offset))?;
            }
        }
        self.offset = offset;
        Ok(())
    }

    /// The next line; `None` at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        let mut searched = 0;
        loop {
            let found = memchr(b'\n', &self.buffer[self.unread.clone()][searched..]);
            if let Some(found) = found {
                return Ok(Some(self.take(searched + found, 1)));
            }
            searched = self.unread.len();
            if searched > self.longest {
                return self.pass_over().map(Some);
            }
            if self.fill()? == 0 {
                return Ok(if searched == 0 { None } else { Some(self.take(searched, 0)) });
            }
        }
    }

    fn take(&mut self, length: usize, newline: usize) -> Line<'_> {
        let line = &self.buffer[self.unread.start..self.unread.start + length];
        self.unread.start += length + newline;
        self.offset += (length + newline) as u64;
        if is_blank(line) {
            Line::Blank
        } else if length > self.longest {
            Line::TooLong(length as u64)
        } else {
            Line::Text(line)
        }
    }

    /// Reads to the end of a line that is too long to hold.
    fn pass_over(&mut self) -> io::Result<Line<'static>> {
        let mut length = 0;
        let mut blank = true;
        loop {
            let unread = &self.buffer[self.unread.clone()];
            let newline = memchr(b'\n', unread);
            let part = newline.unwrap_or(unread.len());
            blank = blank && is_blank(&unread[..part]);
            length += part as u64;
            let passed = part + usize::from(newline.is_some());
            self.unread.start += passed;
            self.offset += passed as u64;
            if newline.is_some() || self.fill()? == 0 {
                return Ok(if blank { Line::Blank } else { Line::TooLong(length) });
            }
        }
    }

    /// Reads more behind what is unread, and says how much.
    fn fill(&mut self) -> io::Result<usize> {
        if self.unread.start > 0 {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        if self.unread.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.file.read(&mut self.buffer[self.unread.end..]) {
                Ok(length) => {
                    self.unread.end += length;
                    return Ok(length);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::Chosen;
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// A file that gives out a few bytes at a time, so that lines are cut at every place.
    struct Trickle<'b>(Cursor<&'b [u8]>, usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }

    impl Seek for Trickle<'_> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[derive(Debug, Clone, PartialEq)]
    enum Read1 {
        Text(Vec<u8>),
        TooLong(u64),
    }

    /// The rows by the plainest means.
    fn expected(bytes: &[u8], longest: usize) -> Vec<(Read1, Place)> {
        let mut offset = 0;
        let mut rows = Vec::new();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let row = match line.len() {
                length if length > longest => Read1::TooLong(length as u64),
                _ => Read1::Text(line.to_vec()),
            };
            if !line.iter().all(|byte| b" \t\r".contains(byte)) {
                rows.push((row, Place { offset, line: index as u64 + 1 }));
            }
            offset += line.len() as u64 + 1;
        }
        rows
    }

    fn read(line: &Line) -> Option<Read1> {
        match line {
            Line::Blank => None,
            Line::Text(text) => Some(Read1::Text(text.to_vec())),
            Line::TooLong(length) => Some(Read1::TooLong(*length)),
        }
    }

    proptest! {
        #[test]
        fn scanning_and_reading_agree_with_splitting(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'\r'), any::<u8>()], 0..80),
            trickle in 1_usize..9,
            longest in 1_usize..12,
        ) {
            let expected = expected(&bytes, longest);
            let file = || Trickle(Cursor::new(&bytes), trickle);

            let mut draw = Draw::new(u64::MAX, 0, "f");
            let rows = scan(file(), 0, Some(&mut draw), &|| false).unwrap();
            let places: Vec<_> = expected.iter().enumerate().map(|(row, (_, place))| (row as u64, *place)).collect();
            prop_assert_eq!(rows, expected.len() as u64);
            prop_assert_eq!(draw.finish(), Chosen::Rows(places));

            let mut lines = Lines::new(file(), 0, longest);
            let mut rows = Vec::new();
            while let Some(line) = lines.next().unwrap() {
                rows.extend(read(&line));
            }
            prop_assert_eq!(&rows, &expected.iter().map(|(row, _)| row.clone()).collect::<Vec<_>>());

            let mut lines = Lines::new(file(), 0, longest);
            for (row, place) in expected.iter().step_by(2) {
                lines.seek(place.offset).unwrap();
                prop_assert_eq!(read(&lines.next().unwrap().unwrap()), Some(row.clone()));
            }
        }
    }

    /// Bytes that come from nowhere and cannot be gone back to.
    struct NoSeek<R>(R);
    impl<R: Read> Read for NoSeek<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl<R> Seek for NoSeek<R> {
        fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
            Err(ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn a_very_long_line_is_never_held() {
        let long = io::repeat(b'x').take(5 << 20).chain(&b"\nshort\n"[..]);
        let mut lines = Lines::new(NoSeek(long), 0, 1 << 20);
        assert_eq!(lines.next().unwrap(), Some(Line::TooLong(5 << 20)));
        assert_eq!(lines.next().unwrap(), Some(Line::Text(b"short")));
        assert_eq!(lines.next().unwrap(), None);
        assert!(lines.buffer.len() <= 2 << 20, "{}", lines.buffer.len());
    }

    #[test]
    fn a_scan_stops_when_it_is_told_to() {
        let endless = io::repeat(b'\n');
        assert!(scan(endless, 0, None, &|| true).is_err());
    }
}
