//! A local file of JSON lines, read twice: once to count its rows and draw the sample, once for the rows that are
//! wanted.

use super::batch::{Batch, Stop};
use super::error::{Error, plain};
use super::sample::{Chosen, Draw};
use super::sequence::{Kind, Place, Sequence, look, scan};
use super::wanted::{Wanted, columns};
use super::{Column, Request, Row};
use crate::rating::run::Sample;
use std::fs::File;
use std::io::Seek as _;

/// A file of JSON lines, ready to be read.
#[derive(Debug)]
pub(super) struct Jsonl {
    sequence: Sequence,
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
    let mut draw = match request.sample {
        Sample::Random { rows, seed } => Some(Draw::new(rows, seed, path)),
        Sample::All | Sample::First { .. } => None,
    };
    let rows = scan(&file, draw.as_mut(), is_stopped).map_err(failed)?;
    if rows == 0 {
        return Err(Error::Empty { name: plain(&request.name) });
    }
    let chosen = match (draw, request.sample) {
        (Some(draw), Sample::Random { rows: most, .. }) if most < rows => draw.finish(),
        (_, Sample::First { rows: first }) => Chosen::Head(first.min(rows)),
        _ => Chosen::Head(rows),
    };
    file.rewind().map_err(failed)?;
    let mut sequence = Sequence::open_file(&Kind::Jsonl, file).map_err(|broken| broken.of(&request.name))?;
    let wanted: Vec<String> = columns(request).cloned().collect();
    let looked = look(&mut sequence, &wanted).map_err(|broken| broken.of(&request.name))?;
    if let Some(detail) = looked.fault {
        return Err(Error::NoObjects {
            name: plain(&request.name),
            rows: looked.rows,
            detail: plain(&detail),
        });
    }
    if let Some(column) = looked.missing.first() {
        return Err(looked.known.unknown(&request.name, column));
    }
    Ok(Opened { jsonl: Jsonl { sequence, chosen }, columns: looked.known.columns, rows })
}

impl Jsonl {
    pub(super) fn count(&self) -> u64 {
        self.chosen.count()
    }

    /// Reads the chosen rows into the batch.
    pub(super) fn read(self, wanted: &Wanted, batch: &mut Batch) -> Result<(), Stop> {
        let Self { mut sequence, chosen } = self;
        let broken = |broken: super::sequence::Broken| broken.of(&wanted.name);
        let changed = || Error::Changed { name: plain(&wanted.name) };
        match chosen {
            Chosen::Head(rows) => {
                sequence.seek(Place::START).map_err(broken)?;
                for row in 0..rows {
                    if !sequence.advance().map_err(broken)? {
                        return Err(changed().into());
                    }
                    batch.push(read(&mut sequence, row, wanted))?;
                }
            }
            Chosen::Rows(places) => {
                for (row, place) in places {
                    sequence.seek(place).map_err(broken)?;
                    if !sequence.advance().map_err(broken)? || sequence.place() != Some(place) {
                        return Err(changed().into());
                    }
                    batch.push(read(&mut sequence, row, wanted))?;
                }
            }
        }
        Ok(())
    }
}

fn read(sequence: &mut Sequence, row: u64, wanted: &Wanted) -> Row {
    match sequence.roots(wanted.picker.roots()) {
        Ok(mut roots) => Ok(wanted.record(row, &mut roots)),
        Err(detail) => Err(wanted.unreadable(row, &detail)),
    }
}

#[cfg(test)]
mod tests;
