//! JSON lines: one object a line.
//!
//! A row is a line that is not blank (only spaces, tabs and carriage returns are blank). A byte order mark at
//! the start is no part of the first line, and the last line needs no end.

use super::Broken;
use super::window::{Bytes, Window};
use crate::record::MAX_TEXT;
use lines::{Line, Lines};
use row::Fault;
use serde_json::{Map, Value};
use std::io;

pub(in crate::dataset) use lines::{Place, scan};

pub(super) mod lines;
pub(super) mod row;

/// The rows of a file of JSON lines.
#[derive(Debug)]
pub(in crate::dataset) struct Jsonl {
    lines: Lines<Bytes>,
}

impl Jsonl {
    /// Rows of at most `longest` bytes.
    pub(super) fn new(window: Window<Bytes>, longest: usize) -> Self {
        Self { lines: Lines::new(window, longest) }
    }

    pub(super) fn advance(&mut self) -> Result<bool, Broken> {
        while self.lines.advance()? {
            if self.lines.line() != Line::Blank {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn roots(&self, roots: &[String]) -> Result<Vec<Option<Value>>, String> {
        self.parse(|text| row::roots(text, roots))
    }

    pub(super) fn row(&self) -> Result<Map<String, Value>, String> {
        self.parse(row::object)
    }

    pub(super) fn object(&self) -> Result<(Map<String, Value>, bool), String> {
        self.parse(row::exact_object)
    }

    /// The length of the current row in bytes.
    pub(super) fn size(&self) -> u64 {
        self.lines.raw().map_or_else(|length| length, |line| line.len() as u64)
    }

    pub(super) fn seek(&mut self, place: Place) -> io::Result<()> {
        self.lines.seek(place)
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.lines.capacity()
    }

    fn parse<T>(&self, parse: impl FnOnce(&[u8]) -> Result<T, Fault>) -> Result<T, String> {
        let parsed = match self.lines.line() {
            Line::Text(text) => parse(text),
            // Nobody has gone on to a row.
            Line::Blank => parse(b""),
            Line::TooLong(length) => Err(too_long(length)),
        };
        parsed.map_err(|Fault { byte, detail, .. }| {
            format!("line {}, byte {byte}: {detail}", self.lines.place().line)
        })
    }
}

fn too_long(length: u64) -> Fault {
    let detail = format!("a line of {length} bytes; the longest that is read has {MAX_TEXT}");
    Fault { line: 1, byte: MAX_TEXT + 1, detail }
}
