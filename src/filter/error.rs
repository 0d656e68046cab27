//! What can be wrong with a cut, or with scores from a file, in words for the person who gave them.

use std::fmt::Write as _;

use crate::dataset;

pub(super) use crate::http::plain;

/// Why rows cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cut cannot be meant, whatever the rows are.
    #[error("{0}")]
    Cut(String),
    /// The condition cannot be meant, whatever the rows are.
    #[error("--where `{source_text}`: {problem}")]
    Condition {
        /// The condition, as the user wrote it.
        source_text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The cut cannot be applied to this row.
    #[error("row `{id}`: {problem}")]
    Row {
        /// The row.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// A row without a rating, where none may be.
    #[error(
        "row `{id}` has no rating ({reason}), and --unrated is fail: run again to ask for it again, or choose drop or keep"
    )]
    Unrated {
        /// The first such row.
        id: String,
        /// Why it has none.
        reason: String,
    },
    /// A file of scores that is none.
    #[error("`{name}` {problem}")]
    File {
        /// The file, as the user wrote it.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of scores that cannot be read.
    #[error(transparent)]
    Dataset(#[from] dataset::Error),
}

impl Error {
    /// Whether the cure is another command line (exit code 2), rather than another file (exit code 1).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Cut(_) | Self::Condition { .. } | Self::Row { .. } => true,
            Self::Unrated { .. } | Self::File { .. } => false,
            Self::Dataset(error) => error.is_usage(),
        }
    }

    pub(super) fn row(id: &str, problem: impl Into<String>) -> Self {
        Self::Row { id: plain(id), problem: problem.into() }
    }

    pub(super) fn file(name: &str, problem: impl Into<String>) -> Self {
        Self::File { name: plain(name), problem: problem.into() }
    }
}

/// The first `most` of these names, and how many more there are; `none` if there are none.
pub(super) fn listed<'n>(names: impl IntoIterator<Item = &'n str>, most: usize) -> String {
    let mut names = names.into_iter();
    let mut list = names.by_ref().take(most).map(plain).collect::<Vec<_>>().join(", ");
    let more = names.count();
    if more > 0 {
        let _ = write!(list, " and {more} more");
    }
    if list.is_empty() { "none".to_owned() } else { list }
}

/// The name most like `name`, if one is near enough to be a slip of the pen.
pub(super) fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    const NEAR: f64 = 0.6;
    // The comparison costs the product of both lengths.
    const LONGEST: usize = 200;
    const MOST: usize = 10_000;
    if name.len() > LONGEST {
        return None;
    }
    let names = names.into_iter().take(MOST).filter(|known| known.len() <= LONGEST);
    let likeness =
        |known: &str| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase());
    let best =
        names.map(|known| (likeness(known), known)).max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(likeness, _)| *likeness >= NEAR).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_text_in_a_message_is_made_harmless() {
        let error = Error::row("a\x1b[31m#1", "no");
        assert_eq!(error.to_string(), "row `a\\u{1b}[31m#1`: no");
        assert_eq!(listed(["a\n", "b", "c"], 2), "a\\n, b and 1 more");
        assert_eq!(listed([], 2), "none");
    }

    #[test]
    fn what_another_command_line_cures_is_usage() {
        assert!(Error::Cut(String::new()).is_usage() && Error::row("a", "").is_usage());
        assert!(!Error::file("a", "").is_usage());
    }
}
