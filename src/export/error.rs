//! What can be wrong with a result on disk, in words for the person who asked for it.

use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

use super::lock::Holder;
use crate::http::plain;

/// What can go wrong with a result file or folder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system says no.
    #[error("cannot write {path}: {source}; check the folder and its disk, or set DATA_DIR to another place")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file system does not take what is kept.
    #[error("cannot write {path}: {source}; make room or give another place with -o")]
    Output {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another run writes the same file or folder.
    #[error("another run is writing {what}{}; try again when it has ended", held_by(holder.as_ref()))]
    Busy {
        /// What it writes.
        what: PathBuf,
        /// Who it is, if the lock file tells.
        holder: Option<Holder>,
    },
    /// A column of a type that the format has not.
    #[error("column `{column}` is {kind}, which parquet cannot hold: {way}")]
    Unstorable {
        /// The column.
        column: String,
        /// Its type, or that part of it.
        kind: String,
        /// What to do instead.
        way: &'static str,
    },
    /// A column to be added that is there already.
    #[error("the rows have a column `{column}` already: choose other names with --score-name")]
    ColumnExists {
        /// The column.
        column: String,
    },
    /// A row that cannot be written as it is.
    #[error("cannot write row {id}: column `{column}`: {problem}")]
    Row {
        /// The row's id.
        id: String,
        /// The column.
        column: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Rows that the encoder refuses, or that are not what was said of them.
    #[error("cannot write rows to {path}: {problem}")]
    Encode {
        /// The file or folder.
        path: PathBuf,
        /// What the encoder says.
        problem: String,
    },
    /// An output that cannot be put where it was asked for.
    #[error("`{}` {problem}", plain(&path.to_string_lossy()))]
    Place {
        /// The place.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
}

impl Error {
    pub(super) fn write(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_owned(), source }
    }

    pub(super) fn output(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Output { path: path.to_owned(), source }
    }

    /// The same error about something that was asked for with `-o`, and does not lie in `DATA_DIR`.
    pub(super) fn of_output(self) -> Self {
        match self {
            Self::Write { path, source } => Self::Output { path, source },
            other => other,
        }
    }

    pub(super) fn place(path: &Path, problem: impl Into<String>) -> Self {
        Self::Place { path: path.to_owned(), problem: problem.into() }
    }

    /// What the parquet crate says; the system's error within it is one of ours.
    pub(super) fn parquet(path: &Path, error: ParquetError) -> Self {
        match error {
            ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(source) => Self::Output { path: path.to_owned(), source: *source },
                Err(other) => Self::encode(path, &other.to_string()),
            },
            other => Self::encode(path, &other.to_string()),
        }
    }

    pub(super) fn encode(path: &Path, problem: &str) -> Self {
        Self::Encode { path: path.to_owned(), problem: plain(problem) }
    }

    pub(super) fn row(id: &str, column: &str, problem: &str) -> Self {
        Self::Row { id: plain(id), column: plain(column), problem: plain(problem) }
    }

    /// Whether the cure is another command line (exit code 2).
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Unstorable { .. } | Self::ColumnExists { .. } | Self::Place { .. })
    }
}

fn held_by(holder: Option<&Holder>) -> String {
    holder.map_or(String::new(), |holder| format!(" ({holder})"))
}
