//! Files that are read from front to back: JSON, CSV, text and Arrow streams, from any source of bytes.
//!
//! A [`Sequence`] goes from row to row; only the rows that are wanted are parsed. Memory is bounded whatever the
//! file says: a row that is longer than [`MAX_TEXT`] is passed over, and is a row that cannot be read.

use super::Column;
use super::error::{Error, plain};
use crate::record::MAX_TEXT;
use arrow::Arrow;
use csv::Csv;
use json::Json;
use jsonl::Jsonl;
use serde_json::{Map, Value};
use std::fs::File;
use std::io;
use text::Text;
use window::{Bytes, Window};

pub(in crate::dataset) use jsonl::{Place, scan};
pub(in crate::dataset) use look::{Look, declared, look};
pub(in crate::dataset) use unpack::{LONGEST_MAGIC, decompressed, is_compressed};
pub(in crate::dataset) use window::Input;

mod arrow;
mod csv;
mod json;
mod jsonl;
mod look;
mod text;
mod unpack;
mod window;

/// How the rows of a file are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dataset) enum Kind {
    /// One object a line.
    Jsonl,
    /// An array of objects, objects one after another, or JSON lines: the first bytes tell.
    Json {
        /// The key of the top-level object whose array has the rows.
        field: Option<String>,
    },
    /// Fields that are separated by this byte, under a header.
    Csv {
        /// `,` or `\t`, as a rule.
        separator: u8,
    },
    /// Plain text, in the column `text`.
    Text {
        /// What is a row of it.
        by: Unit,
    },
    /// An Arrow IPC stream or file.
    Arrow,
}

/// What is a row of plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dataset) enum Unit {
    /// Every line, also a blank one.
    Line,
    /// What is between empty lines.
    Paragraph,
    /// The whole file.
    Document,
}

/// Why a file cannot be read on: not one row, the file.
#[derive(Debug)]
pub(in crate::dataset) enum Broken {
    /// The bytes do not come.
    Io(io::Error),
    /// The bytes break the rules of their format.
    Corrupt {
        /// Which part is broken: `is cut off`.
        problem: String,
        /// What is wrong and where. It may hold text of the file.
        detail: String,
    },
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        unpack::corrupt(error)
    }
}

impl Broken {
    /// The error of the file `name`.
    pub(in crate::dataset) fn of(self, name: &str) -> Error {
        match self {
            Self::Io(error) => Error::io(name, error),
            Self::Corrupt { problem, detail } => {
                Error::Corrupt { name: plain(name), problem, detail: plain(&detail) }
            }
        }
    }
}

/// The rows of one file, from front to back.
#[derive(Debug)]
pub(in crate::dataset) enum Sequence {
    /// See [`Kind::Jsonl`].
    Jsonl(Jsonl),
    /// See [`Kind::Json`].
    Json(Json),
    /// See [`Kind::Csv`].
    Csv(Box<Csv>),
    /// See [`Kind::Text`].
    Text(Text),
    /// See [`Kind::Arrow`].
    Arrow(Box<Arrow>),
}

impl Sequence {
    /// Reads what comes before the first row. `input` is decompressed already (see [`decompressed`]).
    pub(in crate::dataset) fn open(kind: &Kind, input: Input) -> Result<Self, Broken> {
        Self::over(kind, Bytes::Stream(input), MAX_TEXT)
    }

    /// As [`Sequence::open`], of a file that is not compressed and stands at its beginning: in JSON lines one
    /// can [`Sequence::seek`].
    pub(in crate::dataset) fn open_file(kind: &Kind, file: File) -> Result<Self, Broken> {
        Self::over(kind, Bytes::File(file), MAX_TEXT)
    }

    /// Rows of at most `longest` bytes.
    fn over(kind: &Kind, bytes: Bytes, longest: usize) -> Result<Self, Broken> {
        let window = Window::new(bytes, 0);
        Ok(match kind {
            Kind::Jsonl => Self::Jsonl(Jsonl::new(window, longest)),
            Kind::Json { field } => Self::Json(Json::open(window, field.as_deref(), longest)?),
            Kind::Csv { separator } => Self::Csv(Box::new(Csv::open(window, *separator, longest)?)),
            Kind::Text { by } => Self::Text(Text::new(window, *by, longest)),
            Kind::Arrow => Self::Arrow(Box::new(Arrow::open(window)?)),
        })
    }

    /// Goes on to the next row; false at the end. Nothing is parsed that is not needed to find the row's end.
    ///
    /// After an error, or after the end, there is nothing more to read.
    pub(in crate::dataset) fn advance(&mut self) -> Result<bool, Broken> {
        match self {
            Self::Jsonl(rows) => rows.advance(),
            Self::Json(rows) => rows.advance(),
            Self::Csv(rows) => rows.advance(),
            Self::Text(rows) => rows.advance(),
            Self::Arrow(rows) => rows.advance(),
        }
    }

    /// The values of `roots` (top-level names, in this order) in the current row; `None` where it has none.
    ///
    /// An error says why this row cannot be read (`line 17, byte 5: expected value`); the next ones can.
    pub(in crate::dataset) fn roots(&mut self, roots: &[String]) -> Result<Vec<Option<Value>>, String> {
        match self {
            Self::Jsonl(rows) => rows.roots(roots),
            Self::Json(rows) => rows.roots(roots),
            Self::Csv(rows) => rows.roots(roots),
            Self::Text(rows) => rows.roots(roots),
            Self::Arrow(rows) => rows.roots(roots),
        }
    }

    /// The whole current row.
    pub(in crate::dataset) fn row(&mut self) -> Result<Map<String, Value>, String> {
        match self {
            Self::Jsonl(rows) => rows.row(),
            Self::Json(rows) => rows.row(),
            Self::Csv(_) | Self::Text(_) | Self::Arrow(_) => {
                let names: Vec<_> = self.columns().into_iter().flatten().map(|column| column.name).collect();
                let values = self.whole(&names)?;
                Ok(names
                    .into_iter()
                    .zip(values)
                    .map(|(name, value)| (name, value.unwrap_or_default()))
                    .collect())
            }
        }
    }

    /// The whole current row of JSON, and whether it has integers that 64 bits do not hold: those are strings of their
    /// digits then. Of other formats the row as it is.
    pub(in crate::dataset) fn object(&mut self) -> Result<(Map<String, Value>, bool), String> {
        match self {
            Self::Jsonl(rows) => rows.object(),
            Self::Json(rows) => rows.object(),
            Self::Csv(_) | Self::Text(_) | Self::Arrow(_) => Ok((self.row()?, false)),
        }
    }

    fn whole(&mut self, names: &[String]) -> Result<Vec<Option<Value>>, String> {
        if let Self::Arrow(rows) = self {
            rows.want_all();
        }
        self.roots(names)
    }

    /// The columns that the format declares before any row; `None` of JSON, where only rows tell.
    pub(in crate::dataset) fn columns(&self) -> Option<Vec<Column>> {
        match self {
            Self::Jsonl(_) | Self::Json(_) => None,
            Self::Csv(rows) => Some(rows.columns()),
            Self::Text(_) => Some(vec![Column { name: text::COLUMN.into(), kind: "string".into() }]),
            Self::Arrow(rows) => Some(rows.known().columns),
        }
    }

    /// Tells which columns will be asked for, so that others are not decoded.
    pub(in crate::dataset) fn want(&mut self, roots: &[String]) {
        if let Self::Arrow(rows) = self {
            rows.want(roots);
        }
    }

    /// Goes to just before the row that begins here. An error unless these are JSON lines of
    /// [`Sequence::open_file`].
    pub(in crate::dataset) fn seek(&mut self, place: Place) -> Result<(), Broken> {
        match self {
            Self::Jsonl(rows) => Ok(rows.seek(place)?),
            _ => Err(Broken::Io(io::ErrorKind::NotSeekable.into())),
        }
    }

    /// About how many bytes of the file the current row takes.
    pub(in crate::dataset) fn size(&self) -> u64 {
        match self {
            Self::Jsonl(rows) => rows.size(),
            Self::Json(rows) => rows.size(),
            Self::Csv(rows) => rows.size(),
            Self::Text(rows) => rows.size(),
            Self::Arrow(rows) => rows.size(),
        }
    }
}

#[cfg(test)]
mod tests;
