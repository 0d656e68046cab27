//! Separated values under a header: CSV and TSV.
//!
//! As pandas reads them, but every value stays the text that it is: an empty cell is null, blank lines are no
//! rows, of equal column names the later ones get `.1`, `.2`, and a column without a name is `Unnamed: 3`.
//! A record that has more or fewer fields than the header cannot be read.

use super::Broken;
use super::window::{Bytes, Window};
use crate::dataset::Column;
use crate::dataset::error::plain;
use crate::record::{MAX_TEXT, MAX_VALUES};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use memchr::memchr_iter;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// The first size of the buffers for a record and for the ends of its fields.
const RECORD: usize = 1 << 10;

/// The rows of a file of separated values.
#[derive(Debug)]
pub(in crate::dataset) struct Csv {
    window: Window<Bytes>,
    reader: Reader,
    longest: usize,
    names: Vec<String>,
    positions: HashMap<String, usize>,
    record: Record,
    /// The number of the line where the unread bytes begin.
    line: u64,
    is_done: bool,
}

/// The current record.
#[derive(Debug)]
struct Record {
    /// Its fields one after the other, unquoted.
    text: Vec<u8>,
    /// Where each field ends.
    ends: Vec<usize>,
    fields: usize,
    /// The line where it begins.
    line: u64,
    /// Whether it begins with a quote.
    is_quoted: bool,
    fault: Option<String>,
}

impl Csv {
    /// Reads the header.
    pub(super) fn open(mut window: Window<Bytes>, separator: u8, longest: usize) -> Result<Self, Broken> {
        window.skip_bom()?;
        let record = Record {
            text: vec![0; RECORD],
            ends: vec![0; RECORD],
            fields: 0,
            line: 1,
            is_quoted: false,
            fault: None,
        };
        let mut csv = Self {
            window,
            reader: ReaderBuilder::new().delimiter(separator).build(),
            longest,
            names: Vec::new(),
            positions: HashMap::new(),
            record,
            line: 1,
            is_done: false,
        };
        if csv.next()? {
            csv.names = csv.header().map_err(|detail| Broken::Corrupt {
                problem: "has a header that cannot be read".into(),
                detail,
            })?;
        }
        let names = csv.names.iter().cloned().enumerate();
        csv.positions = names.map(|(position, name)| (name, position)).collect();
        Ok(csv)
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        self.names.iter().map(|name| Column { name: name.clone(), kind: "string".into() }).collect()
    }

    pub(super) fn advance(&mut self) -> Result<bool, Broken> {
        if !self.next()? {
            return Ok(false);
        }
        let Record { fields, line, .. } = self.record;
        if self.record.fault.is_none() && fields != self.names.len() {
            let s = if fields == 1 { "" } else { "s" };
            let fault = format!("line {line} has {fields} field{s}, the header has {}", self.names.len());
            self.record.fault = Some(fault);
        }
        Ok(true)
    }

    pub(super) fn size(&self) -> u64 {
        let last = self.record.fields.checked_sub(1);
        last.and_then(|last| self.record.ends.get(last)).map_or(0, |end| *end as u64)
    }

    pub(super) fn roots(&self, roots: &[String]) -> Result<Vec<Option<Value>>, String> {
        if let Some(fault) = &self.record.fault {
            return Err(fault.clone());
        }
        let value = |root: &String| {
            let field = self.positions.get(root).and_then(|position| self.record.field(*position));
            field.map(|field| self.record.text(field, root)).transpose()
        };
        roots.iter().map(value).collect()
    }

    fn header(&self) -> Result<Vec<String>, String> {
        if let Some(fault) = &self.record.fault {
            return Err(fault.clone());
        }
        let mut names = Vec::with_capacity(self.record.fields);
        for position in 0..self.record.fields {
            let field = self.record.field(position).unwrap_or_default();
            let name = str::from_utf8(field)
                .map_err(|_| format!("the name of its column {} is not UTF-8 text", position + 1))?;
            names.push(if name.is_empty() { format!("Unnamed: {position}") } else { name.to_owned() });
        }
        Ok(distinct(names))
    }

    /// Goes on to the next record, which is as it is: of any number of fields.
    fn next(&mut self) -> Result<bool, Broken> {
        loop {
            if self.is_done || !self.skip_ends()? {
                return Ok(false);
            }
            self.read()?;
            if !self.record.is_blank() {
                return Ok(true);
            }
        }
    }

    /// Passes ends of line, and says whether there is anything behind them.
    fn skip_ends(&mut self) -> Result<bool, Broken> {
        loop {
            let unread = self.window.unread();
            let ends = unread.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let is_more = ends < unread.len();
            self.pass(ends);
            if is_more {
                return Ok(true);
            }
            if self.window.fill()? == 0 {
                return Ok(false);
            }
        }
    }

    fn read(&mut self) -> Result<(), Broken> {
        let (mut read, mut written) = (0, 0);
        let mut too_long = false;
        // The last line may lack its end: given one, a record that still goes on is inside of quotes.
        let mut end = b"\n".as_slice();
        self.record.fields = 0;
        self.record.fault = None;
        self.record.line = self.line;
        self.record.is_quoted = self.window.unread().first() == Some(&b'"');
        loop {
            if self.window.unread().is_empty() && !self.is_done {
                self.is_done = self.window.fill()? == 0;
            }
            let input = if self.is_done { end } else { self.window.unread() };
            let Record { text, ends, fields, .. } = &mut self.record;
            let (result, passed, text_written, ends_written) =
                self.reader.read_record(input, &mut text[written..], &mut ends[*fields..]);
            if self.is_done {
                end = &end[passed..];
            } else {
                self.pass(passed);
                read += passed as u64;
            }
            if !too_long {
                written += text_written;
                self.record.fields += ends_written;
            }
            match result {
                ReadRecordResult::InputEmpty if self.is_done => {
                    let fault =
                        format!("line {}: a quote that is opened here is never closed", self.record.line);
                    self.record.fault = Some(fault);
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.record.text.len() <= self.longest => {
                    let length = self.record.text.len() * 2;
                    self.record.text.resize(length, 0);
                }
                ReadRecordResult::OutputEndsFull if self.record.ends.len() <= MAX_VALUES => {
                    let length = self.record.ends.len() * 2;
                    self.record.ends.resize(length, 0);
                }
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    // The rest of the record is written over what there is of it.
                    too_long = true;
                    (written, self.record.fields) = (0, 0);
                }
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        if (too_long || written > self.longest) && self.record.fault.is_none() {
            let detail = format!("a record of {read} bytes; the longest that is read has {MAX_TEXT}");
            self.record.fault = Some(format!("line {}: {detail}", self.record.line));
        }
        Ok(())
    }

    fn pass(&mut self, length: usize) {
        self.line += memchr_iter(b'\n', &self.window.unread()[..length]).count() as u64;
        self.window.pass(length);
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.window.capacity() + self.record.text.capacity() + 8 * self.record.ends.capacity()
    }
}

impl Record {
    fn field(&self, position: usize) -> Option<&[u8]> {
        let start = match position.checked_sub(1) {
            Some(before) => *self.ends[..self.fields].get(before)?,
            None => 0,
        };
        self.text.get(start..*self.ends[..self.fields].get(position)?)
    }

    /// A line of spaces is blank, too, as long as no quotes say that they are meant.
    fn is_blank(&self) -> bool {
        let is_space = |field: &[u8]| !field.is_empty() && field.iter().all(|byte| b" \t".contains(byte));
        self.fault.is_none() && !self.is_quoted && self.fields == 1 && self.field(0).is_some_and(is_space)
    }

    fn text(&self, field: &[u8], column: &str) -> Result<Value, String> {
        match str::from_utf8(field) {
            Ok("") => Ok(Value::Null),
            Ok(text) => Ok(text.into()),
            Err(error) => {
                let byte = error.valid_up_to() + 1;
                Err(format!("line {}: column {}: not UTF-8 text, from byte {byte}", self.line, plain(column)))
            }
        }
    }
}

/// The names with `.1`, `.2`, … behind those that were there before.
fn distinct(names: Vec<String>) -> Vec<String> {
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    let mut times: HashMap<String, usize> = HashMap::new();
    let name = |name: String| {
        let times = times.entry(name.clone()).or_insert(0);
        if *times == 0 {
            *times = 1;
            return name;
        }
        loop {
            let other = format!("{name}.{times}");
            *times += 1;
            if taken.insert(other.clone()) {
                return other;
            }
        }
    };
    names.into_iter().map(name).collect()
}
