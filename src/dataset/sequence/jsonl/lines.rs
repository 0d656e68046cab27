//! The lines of a file: finding them without holding them, and reading those that are wanted.

use crate::dataset::sequence::window::{BOM, Window, read};
use memchr::{memchr, memchr_iter};
use std::io::{self, ErrorKind, Read, Seek};

/// How much is asked of the file at a time.
const CHUNK: usize = 256 << 10;

/// Where a row's line begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dataset) struct Place {
    /// Its first byte, counted in the file from 0.
    pub(in crate::dataset) offset: u64,
    /// Its number, counted from 1, blank lines included.
    pub(in crate::dataset) line: u64,
}

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::dataset) enum Line<'b> {
    /// Nothing but white space.
    Blank,
    Text(&'b [u8]),
    /// More than the longest line that is read; this long.
    TooLong(u64),
}

/// Counts the rows (lines that are not blank) of a file from its beginning, and shows each.
///
/// Holds one chunk at a time, however long the lines are. `is_stopped` is asked once a chunk.
pub(in crate::dataset) fn scan(
    mut file: impl Read,
    mut show: impl FnMut(u64, Place),
    is_stopped: &dyn Fn() -> bool,
) -> io::Result<u64> {
    let mut mark = Vec::new();
    file.by_ref().take(BOM.len() as u64).read_to_end(&mut mark)?;
    let start = if mark == BOM { BOM.len() } else { 0 };
    let mut file = mark[start..].chain(file);
    let start = start as u64;
    let mut buffer = vec![0; CHUNK];
    let mut rows = 0;
    let mut place = Place { offset: start, line: 1 };
    let mut blank = true;
    let mut end_of_line = |blank: bool, place: Place| {
        if !blank {
            show(rows, place);
            rows += 1;
        }
    };
    let mut chunk_offset = start;
    loop {
        if is_stopped() {
            return Err(ErrorKind::Interrupted.into());
        }
        let chunk = match read(&mut file, &mut buffer)? {
            0 => break,
            length => &buffer[..length],
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

/// Reads lines one after the other, or from a given place on.
#[derive(Debug)]
pub(in crate::dataset) struct Lines<R> {
    window: Window<R>,
    longest: usize,
    place: Place,
    found: Found,
}

/// The current line.
#[derive(Debug, Clone, Copy)]
enum Found {
    /// None yet: the next one begins where the window does.
    None,
    /// The first `length` unread bytes; the next line begins `end` bytes further on.
    Held { length: usize, end: usize },
    /// One that is passed already.
    TooLong { length: u64, is_blank: bool, is_ended: bool },
}

impl<R: Read> Lines<R> {
    /// Lines of at most `longest` bytes, from the window's position on.
    pub(in crate::dataset) fn new(window: Window<R>, longest: usize) -> Self {
        let place = Place { offset: window.offset(), line: 0 };
        Self { window, longest, place, found: Found::None }
    }

    /// Goes on to the next line; false at the end of the file.
    pub(in crate::dataset) fn advance(&mut self) -> io::Result<bool> {
        self.leave();
        if self.window.offset() == 0 {
            self.window.skip_bom()?;
        }
        self.place = Place { offset: self.window.offset(), line: self.place.line + 1 };
        let mut searched = 0;
        loop {
            if let Some(found) = memchr(b'\n', &self.window.unread()[searched..]) {
                let length = searched + found;
                self.found = Found::Held { length, end: length + 1 };
                return Ok(true);
            }
            searched = self.window.unread().len();
            if searched > self.longest {
                self.found = self.pass_over()?;
                return Ok(true);
            }
            if self.window.fill()? == 0 {
                self.found = Found::Held { length: searched, end: searched };
                return Ok(searched > 0);
            }
        }
    }

    /// The current line, without its end.
    pub(in crate::dataset) fn line(&self) -> Line<'_> {
        let blank = match self.found {
            Found::None => true,
            Found::Held { length, .. } => is_blank(&self.window.unread()[..length]),
            Found::TooLong { is_blank, .. } => is_blank,
        };
        match self.raw() {
            _ if blank => Line::Blank,
            Ok(line) => Line::Text(line),
            Err(length) => Line::TooLong(length),
        }
    }

    /// The current line without its end, blank or not, or the length of one that is too long.
    pub(in crate::dataset) fn raw(&self) -> Result<&[u8], u64> {
        match self.found {
            Found::None => Ok(b""),
            Found::Held { length, .. } if length <= self.longest => Ok(&self.window.unread()[..length]),
            Found::Held { length, .. } => Err(length as u64),
            Found::TooLong { length, .. } => Err(length),
        }
    }

    /// Whether the current line has an end, which the last one of a file may lack.
    pub(in crate::dataset) fn is_ended(&self) -> bool {
        match self.found {
            Found::Held { length, end } => end > length,
            Found::TooLong { is_ended, .. } => is_ended,
            Found::None => false,
        }
    }

    /// Where the current line begins.
    pub(in crate::dataset) fn place(&self) -> Place {
        self.place
    }

    fn leave(&mut self) {
        if let Found::Held { end, .. } = self.found {
            self.window.pass(end);
        }
        self.found = Found::None;
    }

    /// Reads to the end of a line that is too long to hold.
    fn pass_over(&mut self) -> io::Result<Found> {
        let mut length = 0;
        let mut blank = true;
        loop {
            let unread = self.window.unread();
            let newline = memchr(b'\n', unread);
            let part = newline.unwrap_or(unread.len());
            blank = blank && is_blank(&unread[..part]);
            length += part as u64;
            self.window.pass(part + usize::from(newline.is_some()));
            let is_ended = newline.is_some();
            if is_ended || self.window.fill()? == 0 {
                return Ok(Found::TooLong { length, is_blank: blank, is_ended });
            }
        }
    }

    #[cfg(test)]
    pub(in crate::dataset) fn capacity(&self) -> usize {
        self.window.capacity()
    }
}

impl<R: Read + Seek> Lines<R> {
    /// Goes to just before this line, which [`Lines::advance`] then finds; what is in memory is not read again.
    pub(in crate::dataset) fn seek(&mut self, place: Place) -> io::Result<()> {
        self.leave();
        self.place.line = place.line.saturating_sub(1);
        self.window.seek(place.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Cursor, SeekFrom};

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

    fn kept(line: &Line) -> Option<Read1> {
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

            let mut shown = Vec::new();
            let rows = scan(file(), |row, place| shown.push((row, place)), &|| false).unwrap();
            let places: Vec<_> = expected.iter().enumerate().map(|(row, (_, place))| (row as u64, *place)).collect();
            prop_assert_eq!(rows, expected.len() as u64);
            prop_assert_eq!(shown, places);

            let lines = || Lines::new(Window::new(file(), 0), longest);
            let mut all = lines();
            let mut rows = Vec::new();
            while all.advance().unwrap() {
                rows.extend(kept(&all.line()));
            }
            prop_assert_eq!(&rows, &expected.iter().map(|(row, _)| row.clone()).collect::<Vec<_>>());

            let mut lines = lines();
            for (expected, place) in expected.iter().step_by(2) {
                lines.seek(*place).unwrap();
                prop_assert!(lines.advance().unwrap());
                prop_assert_eq!(kept(&lines.line()), Some(expected.clone()));
                prop_assert_eq!(lines.place(), *place);
            }
        }
    }

    #[test]
    fn a_very_long_line_is_never_held() {
        let long = io::repeat(b'x').take(5 << 20).chain(&b"\nshort\n"[..]);
        let mut lines = Lines::new(Window::new(long, 0), 1 << 20);
        assert!(lines.advance().unwrap());
        assert_eq!(lines.line(), Line::TooLong(5 << 20));
        assert!(lines.advance().unwrap());
        assert_eq!(lines.line(), Line::Text(b"short"));
        assert!(!lines.advance().unwrap() && !lines.advance().unwrap());
        assert!(lines.capacity() <= 2 << 20, "{}", lines.capacity());
    }

    #[test]
    fn a_scan_stops_when_it_is_told_to() {
        let endless = io::repeat(b'\n');
        assert!(scan(endless, |_, _| (), &|| true).is_err());
    }
}
