//! Plain text: a row is a line, a paragraph or the whole file, in the column `text`.
//!
//! As Python's `datasets` has it: blank lines are rows, and an end of line at the end of the file begins no
//! further one. Paragraphs are what is between two ends of line in a row; empty ones are none. Lines may end
//! in `\r\n`.

use super::jsonl::lines::Lines;
use super::window::{Bytes, Window};
use super::{Broken, Unit};
use crate::record::MAX_TEXT;
use serde_json::Value;

/// The name of the only column.
pub(super) const COLUMN: &str = "text";

/// The rows of a file of plain text.
#[derive(Debug)]
pub(in crate::dataset) struct Text {
    lines: Lines<Bytes>,
    by: Unit,
    longest: usize,
    /// The current paragraph or document, as far as it is not too long.
    held: Vec<u8>,
    /// Its length in bytes.
    length: u64,
    /// The number of the line where it begins.
    start: u64,
    is_done: bool,
}

impl Text {
    pub(super) fn new(window: Window<Bytes>, by: Unit, longest: usize) -> Self {
        let lines = Lines::new(window, longest);
        Self { lines, by, longest, held: Vec::new(), length: 0, start: 1, is_done: false }
    }

    pub(super) fn advance(&mut self) -> Result<bool, Broken> {
        match self.by {
            Unit::Line => Ok(self.lines.advance()?),
            Unit::Paragraph => self.paragraph(),
            Unit::Document => self.document(),
        }
    }

    /// Gathers lines until one of them is empty and the one before it had an end.
    fn paragraph(&mut self) -> Result<bool, Broken> {
        self.begin(self.lines.place().line + 1);
        while self.lines.advance()? {
            let is_empty = self.lines.is_ended() && content(&self.lines) == Ok(b"");
            if !is_empty || self.length == 0 {
                self.gather();
            } else if self.length > 1 {
                self.length -= 1;
                self.held.pop();
                return Ok(true);
            } else {
                self.begin(self.lines.place().line + 1);
            }
        }
        Ok(self.length > 0)
    }

    /// Gathers all lines: the one row of any file, also of an empty one.
    fn document(&mut self) -> Result<bool, Broken> {
        self.begin(1);
        while self.lines.advance()? {
            self.gather();
        }
        Ok(!std::mem::replace(&mut self.is_done, true))
    }

    fn begin(&mut self, line: u64) {
        self.held.clear();
        self.length = 0;
        self.start = line;
    }

    /// Adds the current line to the row, if there is room for it.
    fn gather(&mut self) {
        let newline = if self.lines.is_ended() { b"\n".as_slice() } else { b"" };
        self.length += newline.len() as u64;
        match content(&self.lines) {
            Ok(line) => {
                self.length += line.len() as u64;
                if self.length <= self.longest as u64 {
                    self.held.extend_from_slice(line);
                    self.held.extend_from_slice(newline);
                }
            }
            Err(length) => self.length += length,
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.lines.capacity() + self.held.capacity()
    }

    pub(super) fn size(&self) -> u64 {
        match self.by {
            Unit::Line => content(&self.lines).map_or_else(|length| length, |line| line.len() as u64),
            Unit::Paragraph | Unit::Document => self.length,
        }
    }

    pub(super) fn roots(&self, roots: &[String]) -> Result<Vec<Option<Value>>, String> {
        let (line, what, text) = match self.by {
            Unit::Line => (self.lines.place().line, "line", content(&self.lines)),
            Unit::Paragraph | Unit::Document => {
                let what = if self.by == Unit::Document { "document" } else { "paragraph" };
                let text = if self.length > self.longest as u64 { Err(self.length) } else { Ok(&*self.held) };
                (self.start, what, text)
            }
        };
        let text = text.map_err(|length| {
            format!("line {line}: a {what} of {length} bytes; the longest that is read has {MAX_TEXT}")
        })?;
        let text = str::from_utf8(text).map_err(|error| {
            format!("line {line}: a {what} that is not UTF-8 text, from its byte {}", error.valid_up_to() + 1)
        })?;
        Ok(roots.iter().map(|root| (root == COLUMN).then(|| text.into())).collect())
    }
}

/// The current line without `\n` or `\r\n`.
fn content(lines: &Lines<Bytes>) -> Result<&[u8], u64> {
    let line = lines.raw()?;
    Ok(if lines.is_ended() { line.strip_suffix(b"\r").unwrap_or(line) } else { line })
}
