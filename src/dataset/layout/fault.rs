//! Why a listing of files is no dataset that can be read, in words for people.

/// What is wrong with a card, with the files, or with what was asked of them.
///
/// No message names the dataset: whoever shows it knows which one was asked for. Text of the card and of file
/// names is already fit to be printed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::dataset) enum Fault {
    /// The YAML is broken, or says something that cannot be meant.
    #[error("{file}: {problem}")]
    BadCard {
        /// `README.md` or `.huggingface.yaml`.
        file: &'static str,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// Two configs claim to be the default.
    #[error("README.md has several default configs, `{one}` and `{other}`: name one (--config)")]
    SeveralDefaults {
        /// The first of them.
        one: String,
        /// The next one.
        other: String,
    },
    /// Several configs, none of them the default, and none was named.
    #[error("it has several configs and no default: name one (--config): {configs}")]
    ConfigMissing {
        /// The configs there are.
        configs: String,
    },
    /// A config that the dataset does not have.
    #[error("no config `{config}`{nearest}: it has {configs} (--config)")]
    UnknownConfig {
        /// The config that was asked for.
        config: String,
        /// A suggestion, or nothing.
        nearest: String,
        /// The configs there are.
        configs: String,
    },
    /// A split that the config does not have.
    #[error("no split `{split}`{nearest}: it has {splits} (--split)")]
    UnknownSplit {
        /// The split that was asked for.
        split: String,
        /// A suggestion, or nothing.
        nearest: String,
        /// The splits there are.
        splits: String,
    },
    /// A slice of a split was asked for.
    #[error(
        "`{expression}` is a slice, and splits are taken whole: for the first rows use --max N --sample first, for a \
         random sample --max N"
    )]
    Slice {
        /// What was asked for.
        expression: String,
    },
    /// The files are there, but none is data.
    #[error("it has no data files")]
    Empty,
    /// None of the files that match has a suffix that is known.
    #[error("none of its files is in a known format{found}; read are {read}", read = super::format::READ)]
    NoneSupported {
        /// Which suffixes there are, or nothing.
        found: String,
    },
    /// The splits are not in one format.
    #[error("its splits are in different formats: {splits}")]
    MixedFormats {
        /// The splits with their formats.
        splits: String,
    },
    /// A split of the card has no files.
    #[error("no file matches what the card names for split `{split}`: {patterns}")]
    NothingMatches {
        /// The split.
        split: String,
        /// Its patterns.
        patterns: String,
    },
    /// A file that the card names is not there, or is no data file.
    #[error("the card names `{path}`, and there is no data file of this name")]
    MissingFile {
        /// The path that the card names.
        path: String,
    },
    /// A file name makes a split of a name that is none.
    #[error(
        "the file name `{file}` makes a split `{split}`: a split's name has letters, digits, underscores and dots"
    )]
    BadSplitName {
        /// The file.
        file: String,
        /// The split.
        split: String,
    },
    /// A pattern that is no pattern.
    #[error("the card's pattern `{pattern}` {problem}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The patterns take too much work to match.
    #[error("the card's patterns are too many or too tangled for so many files")]
    TooMuchWork,
    /// A format that this program does not read.
    #[error("{what} is not read; read are {read}", read = super::format::READ)]
    Unsupported {
        /// The config's format, or the file and its suffix.
        what: String,
    },
    /// A parameter of the card that cannot be followed, and without which rows would be wrong.
    #[error("the card sets `{key}: {value}`: expected {expected}")]
    BadParameter {
        /// The parameter.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is read.
        expected: &'static str,
    },
}
