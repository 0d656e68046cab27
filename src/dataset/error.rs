//! What can be wrong with a dataset, in words for the person who named it.

use super::layout::Fault;
use super::whole::TwoTypes;
use crate::hub;
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
    /// A folder of so many files that it cannot be meant.
    #[error("`{name}` has more than {most} files: name a folder within it")]
    TooManyFiles {
        /// The folder, as the user wrote it.
        name: String,
        /// How many are looked through.
        most: usize,
    },
    /// The Hub does not give what was asked for.
    #[error(transparent)]
    Hub(#[from] hub::Error),
    /// The files, or what the card says of them, are no dataset that is read.
    #[error("`{name}`: {fault}")]
    Layout {
        /// The dataset, as the user wrote it.
        name: String,
        /// What is wrong.
        fault: Box<Fault>,
    },
    /// A config or a split of a single file.
    #[error("no {what} `{asked}` in `{name}`: a single file has none; leave --{what} out")]
    OneFile {
        /// The file, as the user wrote it.
        name: String,
        /// `config` or `split`.
        what: &'static str,
        /// The one that was asked for.
        asked: String,
    },
    /// A revision of something that is on this machine.
    #[error("`{name}` is on this machine and has no revision `{revision}`: leave --revision out")]
    NotAtHub {
        /// The dataset, as the user wrote it.
        name: String,
        /// The revision that was asked for.
        revision: String,
    },
    /// A name with a revision in it, and another one beside it.
    #[error("`{name}` names revision `{other}`, and --revision names `{one}`: leave one of them out")]
    TwoRevisions {
        /// The dataset, as the user wrote it.
        name: String,
        /// That of the flag.
        one: String,
        /// That of the name.
        other: String,
    },
    /// A dataset that is a Python script, and that the Hub has not converted.
    #[error(
        "`{name}` is a script, which is not run, and the Hub has not converted it to parquet: ask its owner to, or \
         load it in Python and save it with to_parquet"
    )]
    Script {
        /// The dataset, as the user wrote it.
        name: String,
    },
    /// A path that a repository does not have.
    #[error("dataset `{repo}` has no file or folder `{path}`")]
    NotInRepository {
        /// The repository.
        repo: String,
        /// The path within it.
        path: String,
    },
    /// A repository's folder in the Hub's cache, which may hold several snapshots.
    #[error(
        "`{name}` is a folder of the Hub's cache: name the dataset (`owner/name`), or one of the folders in its snapshots"
    )]
    CacheFolder {
        /// The folder, as the user wrote it.
        name: String,
    },
    /// What a clone without Git LFS has in the data's stead.
    #[error("`{name}` is a Git LFS pointer, not the data: run `git lfs pull` in its folder")]
    LfsPointer {
        /// The file.
        name: String,
    },
    /// A device or a socket was named.
    #[error("`{name}` is neither a file nor a folder nor a pipe")]
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
    /// One column for a lens of two fields, which is no list of messages.
    #[error(
        "column `{column}` of `{name}` is {kind}, and no list of messages: a lens of 2 fields (instruction, output) reads \
         2 columns, or 1 column of messages"
    )]
    NoMessages {
        /// The dataset, as the user wrote it.
        name: String,
        /// The column.
        column: String,
        /// Its type.
        kind: String,
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
    /// A file whose rows have two values of the same name.
    #[error("`{name}` has two columns of the name `{column}`: rename one of them")]
    TwoColumns {
        /// The file, as the user wrote it.
        name: String,
        /// The name.
        column: String,
    },
    /// A column that has one type in one file and another type in another.
    #[error("column `{}` is {} in `{}` and {} in `{}`: give it one type in all files", .0.column, .0.kind, .0.name, .0.other, .0.other_name)]
    TwoTypes(Box<TwoTypes>),
    /// Rows of JSON that have more keys than a table can have columns.
    #[error(
        "`{name}` has rows of more than {most} different keys, most of them in column `{column}`: write JSON lines, which keep rows as they are"
    )]
    TooManyKeys {
        /// The dataset, as the user wrote it.
        name: String,
        /// The column with most of them.
        column: String,
        /// How many there may be.
        most: usize,
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
pub(super) const READ: &str = "parquet; JSON lines (.jsonl, .ndjson), JSON, CSV, TSV, text (.txt) and Arrow, each of these also as .gz, .zst, .bz2 or .xz";

impl Error {
    /// Whether the cure is another command line (exit code 2), rather than another file (exit code 1).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Hub(error) => error.is_usage(),
            Self::Layout { fault, .. } => fault.is_usage(),
            Self::Missing { .. }
            | Self::NotAFile { .. }
            | Self::Format { .. }
            | Self::UnknownColumn { .. }
            | Self::NoMessages { .. }
            | Self::OneFile { .. }
            | Self::NotAtHub { .. }
            | Self::TwoRevisions { .. }
            | Self::NotInRepository { .. }
            | Self::CacheFolder { .. }
            | Self::TooManyFiles { .. } => true,
            Self::Script { .. }
            | Self::LfsPointer { .. }
            | Self::Empty { .. }
            | Self::NoObjects { .. }
            | Self::Corrupt { .. }
            | Self::Changed { .. }
            | Self::TwoColumns { .. }
            | Self::TwoTypes(_)
            | Self::TooManyKeys { .. }
            | Self::Io { .. } => false,
        }
    }

    /// What the system says, or what the Hub said on the way through a reader.
    pub(super) fn io(name: &str, source: io::Error) -> Self {
        match source.downcast::<hub::Error>() {
            Ok(error) => Self::Hub(error),
            Err(source) => Self::Io { name: plain(name), source },
        }
    }

    pub(super) fn corrupt(name: &str, problem: &str, detail: &str) -> Self {
        Self::Corrupt { name: plain(name), problem: problem.to_owned(), detail: plain(detail) }
    }

    pub(super) fn layout(name: &str, fault: Fault) -> Self {
        Self::Layout { name: plain(name), fault: Box::new(fault) }
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
