//! What can be wrong with a dataset, in words for the person who named it.

use std::any::Any;
use std::fmt::Write as _;
use std::io;

pub(super) use crate::http::plain;

/// Why a dataset cannot be opened, or cannot be read on.
///
/// A single bad row is not an error but an [`Unreadable`](super::Unreadable) row.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has this name.
    #[error("no file `{name}`{hint}")]
    Missing {
        /// The name, as the user wrote it.
        name: String,
        /// What to try instead, or nothing.
        hint: String,
    },
    /// A folder was named, which this version does not read.
    #[error("`{name}` is a folder: {files}")]
    Folder {
        /// The folder, as the user wrote it.
        name: String,
        /// The data files to choose from.
        files: String,
    },
    /// A pipe, a device or a socket was named.
    #[error("`{name}` is not a regular file: a dataset is read twice, so copy it into a file first")]
    NotAFile {
        /// The path, as the user wrote it.
        name: String,
    },
    /// A file in no form that is read.
    #[error("`{name}` {problem}; read are {READ}")]
    Format {
        /// The file, as the user wrote it.
        name: String,
        /// What the file is instead.
        problem: String,
    },
    /// A column that the dataset does not have.
    #[error("no column `{column}` in `{name}`{nearest}; it has {exists}")]
    UnknownColumn {
        /// The dataset, as the user wrote it.
        name: String,
        /// The column that was asked for.
        column: String,
        /// A suggestion, or nothing.
        nearest: String,
        /// What columns there are.
        exists: String,
    },
    /// A split that the dataset does not have.
    #[error("no split `{split}` in `{name}`: a single file has only the split `train`")]
    UnknownSplit {
        /// The dataset, as the user wrote it.
        name: String,
        /// The split that was asked for.
        split: String,
    },
    /// A dataset of no rows.
    #[error("`{name}` has no rows")]
    Empty {
        /// The dataset, as the user wrote it.
        name: String,
    },
    /// A file of lines of which none is an object.
    #[error("`{name}`: none of its first {rows} rows is a JSON object (one object a line): {detail}")]
    NoObjects {
        /// The file, as the user wrote it.
        name: String,
        /// How many rows were looked at.
        rows: u64,
        /// What is wrong with the first of them.
        detail: String,
    },
    /// A file that breaks the rules of its format.
    #[error("`{name}` {problem}: {detail}")]
    Corrupt {
        /// The file, as the user wrote it.
        name: String,
        /// Which part is broken.
        problem: String,
        /// What the decoder says.
        detail: String,
    },
    /// A file that was written to while it was read.
    #[error("`{name}` has become shorter while it was read: run again when it is complete")]
    Changed {
        /// The file, as the user wrote it.
        name: String,
    },
    /// The system does not let us read.
    #[error("cannot read `{name}`: {source}")]
    Io {
        /// The file, as the user wrote it.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// The forms that are read, for messages.
pub(super) const READ: &str = "parquet (.parquet) and JSON lines (.jsonl, .ndjson, .json)";

impl Error {
    /// Whether the cure is another command line (exit code 2), rather than another file (exit code 1).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::Folder { .. }
            | Self::NotAFile { .. }
            | Self::Format { .. }
            | Self::UnknownColumn { .. }
            | Self::UnknownSplit { .. } => true,
            Self::Empty { .. }
            | Self::NoObjects { .. }
            | Self::Corrupt { .. }
            | Self::Changed { .. }
            | Self::Io { .. } => false,
        }
    }

    pub(super) fn io(name: &str, source: io::Error) -> Self {
        Self::Io { name: plain(name), source }
    }
}

/// What a panic says.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given")
}

/// The first `most` of these names, and how many more there are.
pub(super) fn listed<'n>(names: impl IntoIterator<Item = &'n str>, most: usize) -> String {
    let mut names = names.into_iter();
    let mut list = names.by_ref().take(most).map(plain).collect::<Vec<_>>().join(", ");
    let more = names.count();
    if more > 0 {
        let _ = write!(list, " and {more} more");
    }
    list
}

/// The name most like `name` among `names`, if one is near enough to be a slip of the pen.
pub(super) fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    const NEAR: f64 = 0.6;
    // The comparison costs the product of both lengths.
    const LONGEST: usize = 200;
    const MOST: usize = 10_000;
    if name.len() > LONGEST {
        return None;
    }
    let candidates = names.into_iter().take(MOST).filter(|candidate| candidate.len() <= LONGEST);
    let likeness = |candidate: &str| {
        strsim::normalized_damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase())
    };
    let measured = candidates.map(|candidate| (likeness(candidate), candidate));
    let best = measured.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(likeness, _)| *likeness >= NEAR).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_how_many_names_it_leaves_out() {
        assert_eq!(listed(["a", "b"], 2), "a, b");
        assert_eq!(listed(["a", "b", "c", "d"], 2), "a, b and 2 more");
    }

    #[test]
    fn the_nearest_name_is_a_likely_one_or_none() {
        let names = ["markdown", "text", "url"];
        assert_eq!(nearest("markdwon", names), Some("markdown"));
        assert_eq!(nearest("Text", names), Some("text"));
        assert_eq!(nearest("output", names), None);
        assert_eq!(nearest(&"x".repeat(100_000), names), None);
    }
}
