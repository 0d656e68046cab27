//! JSON lines: one object a line.
//!
//! A row is a line that is not blank (only spaces, tabs and carriage returns are blank). A byte order mark
//! at the start is no part of the first line, and the last line needs no end.
//! The file is read twice: once to count its rows and draw the sample, once for the rows that are wanted.

use super::batch::{Batch, Stop};
use super::error::{Error, plain};
use super::sample::{Chosen, Draw};
use super::wanted::Wanted;
use super::{Column, Request, Row};
use crate::rating::run::Sample;
use crate::record::MAX_TEXT;
use lines::{Line, Lines, Place, scan, skip_bom};
use row::Fault;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};

mod lines;
mod look;
mod row;

/// A file of JSON lines, ready to be read.
#[derive(Debug)]
pub(super) struct Jsonl {
    lines: Lines<File>,
    start: u64,
    chosen: Chosen<Place>,
}

/// What is known of a file before it is read.
pub(super) struct Opened {
    pub(super) jsonl: Jsonl,
    pub(super) columns: Vec<Column>,
    pub(super) rows: u64,
}

/// Counts the rows, draws the sample, and looks into the first rows for the columns.
pub(super) fn open(
    mut file: File,
    path: &str,
    request: &Request,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Opened, Error> {
    let failed = |error| Error::io(&request.name, error);
    let start = skip_bom(&mut file).map_err(failed)?;
    let mut draw = match request.sample {
        Sample::Random { rows, seed } => Some(Draw::new(rows, seed, path)),
        Sample::All | Sample::First { .. } => None,
    };
    let rows = scan(&file, start, draw.as_mut(), is_stopped).map_err(failed)?;
    if rows == 0 {
        return Err(Error::Empty { name: plain(&request.name) });
    }
    let chosen = match (draw, request.sample) {
        (Some(draw), Sample::Random { rows: most, .. }) if most < rows => draw.finish(),
        (_, Sample::First { rows: first }) => Chosen::Head(first.min(rows)),
        _ => Chosen::Head(rows),
    };
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut lines = Lines::new(file, start, MAX_TEXT);
    let columns = look::columns(&mut lines, request)?;
    Ok(Opened { jsonl: Jsonl { lines, start, chosen }, columns, rows })
}

impl Jsonl {
    pub(super) fn count(&self) -> u64 {
        self.chosen.count()
    }

    /// Reads the chosen rows into the batch.
    pub(super) fn read(self, wanted: &Wanted, batch: &mut Batch) -> Result<(), Stop> {
        let Self { mut lines, start, chosen } = self;
        let failed = |error| Error::io(&wanted.name, error);
        let changed = || Error::Changed { name: plain(&wanted.name) };
        match chosen {
            Chosen::Head(rows) => {
                lines.seek(start).map_err(failed)?;
                let mut number = 0;
                let mut row = 0;
                while row < rows {
                    number += 1;
                    let line = lines.next().map_err(failed)?.ok_or_else(changed)?;
                    if line != Line::Blank {
                        batch.push(read(&line, number, row, wanted))?;
                        row += 1;
                    }
                }
            }
            Chosen::Rows(places) => {
                for (row, place) in places {
                    lines.seek(place.offset).map_err(failed)?;
                    let line = lines.next().map_err(failed)?.ok_or_else(changed)?;
                    batch.push(read(&line, place.line, row, wanted))?;
                }
            }
        }
        Ok(())
    }
}

fn read(line: &Line, number: u64, row: u64, wanted: &Wanted) -> Row {
    let roots = within(line, |text| row::roots(text, wanted.picker.roots()));
    match roots {
        Ok(mut roots) => Ok(wanted.record(row, &mut roots)),
        Err(fault) => Err(wanted.unreadable(row, &at(number, &fault))),
    }
}

fn within<T>(line: &Line, parse: impl FnOnce(&[u8]) -> Result<T, Fault>) -> Result<T, Fault> {
    match line {
        Line::Text(text) => parse(text),
        // A row that has become blank since it was counted.
        Line::Blank => parse(b""),
        Line::TooLong(length) => {
            let detail = format!("a line of {length} bytes; the longest that is read has {MAX_TEXT}");
            Err(Fault { byte: MAX_TEXT + 1, detail })
        }
    }
}

fn at(number: u64, fault: &Fault) -> String {
    format!("line {number}, byte {}: {}", fault.byte, fault.detail)
}

#[cfg(test)]
mod tests;
