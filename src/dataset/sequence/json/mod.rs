//! A file of JSON: an array of objects, objects one after another, or JSON lines after all.
//!
//! The end of each element is found without parsing it, so that only rows that are wanted are parsed and one bad
//! element does not end the file. What is wrong between the elements does: everything before it was given out.

use super::Broken;
use super::jsonl::{Jsonl, row};
use super::window::{Bytes, Window};
use crate::record::MAX_TEXT;
use memchr::{memchr, memchr_iter};
use row::Fault;
use scan::Scan;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

mod scan;

/// The rows of a file of JSON.
#[derive(Debug)]
pub(in crate::dataset) enum Json {
    /// The first line is a whole object.
    Lines(Jsonl),
    /// The file is one value, or values that may go over several lines.
    Elements(Elements),
}

impl Json {
    /// Reads up to the first row: that of the array of the key `field`, if there is one.
    pub(super) fn open(
        mut window: Window<Bytes>,
        field: Option<&str>,
        longest: usize,
    ) -> Result<Self, Broken> {
        window.skip_bom()?;
        if field.is_none() && begins_with_lines(&mut window, longest)? {
            return Ok(Self::Lines(Jsonl::new(window, longest)));
        }
        let mut elements = Elements::new(window, longest);
        elements.open(field)?;
        Ok(Self::Elements(elements))
    }

    pub(super) fn advance(&mut self) -> Result<bool, Broken> {
        match self {
            Self::Lines(rows) => rows.advance(),
            Self::Elements(rows) => rows.advance(),
        }
    }

    pub(super) fn roots(&self, roots: &[String]) -> Result<Vec<Option<Value>>, String> {
        match self {
            Self::Lines(rows) => rows.roots(roots),
            Self::Elements(rows) => rows.parse(|text| row::roots(text, roots)),
        }
    }

    pub(super) fn row(&self) -> Result<Map<String, Value>, String> {
        match self {
            Self::Lines(rows) => rows.row(),
            Self::Elements(rows) => rows.parse(row::object),
        }
    }

    pub(super) fn object(&self) -> Result<(Map<String, Value>, bool), String> {
        match self {
            Self::Lines(rows) => rows.object(),
            Self::Elements(rows) => rows.parse(row::exact_object),
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Lines(rows) => rows.capacity(),
            Self::Elements(rows) => rows.window.capacity(),
        }
    }

    /// The length of the current row in bytes.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Lines(rows) => rows.size(),
            Self::Elements(rows) => rows.length,
        }
    }
}

/// Whether the first line that is not blank is one whole object.
fn begins_with_lines(window: &mut Window<Bytes>, longest: usize) -> Result<bool, Broken> {
    let mut searched = 0;
    let mut start = 0;
    loop {
        let unread = window.unread();
        if let Some(found) = memchr(b'\n', &unread[searched..]) {
            let line = &unread[start..searched + found];
            // An empty object is written on one line also where others are not.
            if !matches!(line.trim_ascii(), b"" | b"{}") {
                return Ok(is_object(line));
            }
            start = searched + found + 1;
            searched = start;
            continue;
        }
        searched = unread.len();
        // Blank lines count, too: what begins with that many of them is taken for no file of lines.
        if searched > longest {
            return Ok(false);
        }
        if window.fill()? == 0 {
            return Ok(is_object(&window.unread()[start..]));
        }
    }
}

fn is_object(line: &[u8]) -> bool {
    // Not a map of what is ignored: keys would be kept.
    line.trim_ascii_start().first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

/// Where in the file the elements are, and what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The first element of an array, or its end.
    First,
    /// A comma, or the end of an array.
    Comma,
    /// An object, or the end of the file.
    Object,
    /// Nothing.
    End,
}

/// The elements of an array, or objects one after another.
#[derive(Debug)]
pub(in crate::dataset) struct Elements {
    window: Window<Bytes>,
    longest: usize,
    next: Next,
    /// Whether the array is the whole file, so that nothing may follow it.
    is_whole: bool,
    /// The length of the current element.
    length: u64,
    /// How much of the unread bytes it is: all of it, or nothing if it is too long.
    held: usize,
    /// Where the current element begins.
    start: Position,
    /// Where the unread bytes begin.
    position: Position,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    /// Counted from 1.
    line: u64,
    /// The first byte of that line.
    line_start: u64,
    offset: u64,
}

impl Position {
    /// The byte in its line, counted from 1.
    fn byte(self) -> u64 {
        self.offset - self.line_start + 1
    }
}

impl Elements {
    fn new(window: Window<Bytes>, longest: usize) -> Self {
        let position = Position { line: 1, line_start: window.offset(), offset: window.offset() };
        let next = Next::End;
        Self { window, longest, next, is_whole: true, length: 0, held: 0, start: position, position }
    }

    /// Finds out what the elements are.
    fn open(&mut self, field: Option<&str>) -> Result<(), Broken> {
        self.next = match (self.peek()?, field) {
            (None, _) => Next::End,
            (Some(b'{'), None) => Next::Object,
            (Some(b'{'), Some(field)) => {
                self.find(field)?;
                self.is_whole = false;
                Next::First
            }
            (Some(b'['), None) => {
                self.pass(1);
                Next::First
            }
            (Some(_), None) => return Err(self.malformed("expected an array or an object, `[…]` or `{…}`")),
            (Some(_), Some(_)) => {
                return Err(self.malformed("expected an object, `{…}`, with the rows in it"));
            }
        };
        Ok(())
    }

    /// Goes into the array that the top-level object has under this key.
    fn find(&mut self, field: &str) -> Result<(), Broken> {
        self.pass(1);
        let mut first = self.peek()?;
        while first != Some(b'}') {
            if first != Some(b'"') {
                return Err(self.malformed("expected a key, `\"…\"`"));
            }
            self.element()?;
            let is_it = serde_json::from_slice::<String>(&self.window.unread()[..self.held]);
            let is_it = is_it.is_ok_and(|key| key == field);
            self.leave();
            if self.peek()? != Some(b':') {
                return Err(self.malformed("expected `:`"));
            }
            self.pass(1);
            first = self.peek()?;
            if is_it && first == Some(b'[') {
                self.pass(1);
                return Ok(());
            } else if is_it {
                return Err(self.malformed("expected an array of rows, `[…]`"));
            }
            self.value(first)?;
            self.leave();
            first = self.peek()?;
            if first == Some(b',') {
                self.pass(1);
                // Behind a comma there is a key, and no end.
                first = self.peek()?.filter(|byte| *byte != b'}');
            } else if first != Some(b'}') {
                return Err(self.malformed("expected `,` or `}`"));
            }
        }
        let detail = format!("its top-level object has no key `{field}`");
        Err(Broken::Corrupt { problem: "has no rows".into(), detail })
    }

    fn advance(&mut self) -> Result<bool, Broken> {
        self.leave();
        let first = match (self.next, self.peek()?) {
            (Next::End, _) | (Next::Object, None) => return Ok(false),
            (Next::Object, Some(b'{')) => Some(b'{'),
            (Next::Object, Some(_)) => return Err(self.malformed("expected another object, `{…}`")),
            (Next::First | Next::Comma, Some(b']')) => {
                self.pass(1);
                self.next = Next::End;
                if self.is_whole && self.peek()?.is_some() {
                    return Err(self.malformed("expected nothing after the array"));
                }
                return Ok(false);
            }
            (Next::First, first) => first,
            (Next::Comma, Some(b',')) => {
                self.pass(1);
                self.peek()?
            }
            (Next::Comma, _) => return Err(self.malformed("expected `,` or `]`")),
        };
        self.value(first)?;
        if self.next == Next::First {
            self.next = Next::Comma;
        }
        Ok(true)
    }

    /// Finds the end of the value that begins with this byte.
    fn value(&mut self, first: Option<u8>) -> Result<(), Broken> {
        match first {
            None | Some(b',' | b':' | b']' | b'}') => Err(self.malformed("expected a value")),
            Some(_) => self.element(),
        }
    }

    fn element(&mut self) -> Result<(), Broken> {
        let mut scan = Scan::default();
        let mut searched = 0;
        let mut passed = 0;
        self.start = self.position;
        loop {
            if let Some(end) = scan.end(&self.window.unread()[searched..]) {
                let length = searched + end;
                self.length = passed + length as u64;
                if self.length > self.longest as u64 {
                    self.pass(length);
                } else {
                    self.held = length;
                }
                return Ok(());
            }
            searched = self.window.unread().len();
            if searched > self.longest || passed > 0 {
                self.pass(searched);
                passed += searched as u64;
                searched = 0;
            }
            if self.window.fill()? == 0 {
                self.next = Next::End;
                let Position { line, offset, .. } = self.start;
                let detail = format!("it ends inside of what begins at byte {} (line {line})", offset + 1);
                return Err(Broken::Corrupt { problem: "is cut off".into(), detail });
            }
        }
    }

    fn parse<T>(&self, parse: impl FnOnce(&[u8]) -> Result<T, Fault>) -> Result<T, String> {
        let Position { line, .. } = self.start;
        let element = &self.window.unread()[..self.held];
        if self.held == 0 {
            let length = self.length;
            return Err(format!(
                "line {line}: a row of {length} bytes; the longest that is read has {MAX_TEXT}"
            ));
        }
        parse(element).map_err(|fault| {
            let indent = if fault.line == 1 { self.start.byte() - 1 } else { 0 };
            let line = line + fault.line as u64 - 1;
            format!("line {line}, byte {}: {}", fault.byte as u64 + indent, fault.detail)
        })
    }

    fn leave(&mut self) {
        self.pass(self.held);
        self.held = 0;
    }

    /// The next byte that is not blank.
    fn peek(&mut self) -> Result<Option<u8>, Broken> {
        loop {
            let unread = self.window.unread();
            let blank = unread.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
            let found = unread.get(blank).copied();
            self.pass(blank);
            if found.is_some() || self.window.fill()? == 0 {
                return Ok(found);
            }
        }
    }

    fn pass(&mut self, length: usize) {
        let before = self.position.offset;
        for newline in memchr_iter(b'\n', &self.window.unread()[..length]) {
            self.position.line += 1;
            self.position.line_start = before + newline as u64 + 1;
        }
        self.window.pass(length);
        self.position.offset = self.window.offset();
    }

    /// What is wrong where the unread bytes begin.
    fn malformed(&mut self, expected: &str) -> Broken {
        self.next = Next::End;
        if self.window.unread().is_empty() {
            let detail = format!("it ends at byte {}: {expected}", self.position.offset);
            return Broken::Corrupt { problem: "is cut off".into(), detail };
        }
        let Position { line, offset, .. } = self.position;
        let place = format!("byte {} (line {line}, byte {})", offset + 1, self.position.byte());
        Broken::Corrupt { problem: "is no well-formed JSON".into(), detail: format!("{place}: {expected}") }
    }
}
