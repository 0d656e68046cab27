//! What can go wrong with a lens, in words that say what to change.

use std::io;
use std::path::PathBuf;

/// Why a lens cannot be opened, used or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither the folders looked in nor the program know the name.
    #[error("no lens is called `{name}`{}; there are: {}{}", suggestion(nearest.as_deref()), exist.join(", "), absent(missing))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The known name closest to it, when one is close.
        nearest: Option<String>,
        /// Every name that would have worked, sorted.
        exist: Vec<String>,
        /// The folders of lenses that were to be searched but do not exist.
        missing: Vec<PathBuf>,
    },
    /// The text cannot be the name of a lens at all.
    #[error("`{}` cannot be the name of a lens: {expected}", name.escape_debug())]
    Name {
        /// The name asked for.
        name: String,
        /// What a name looks like.
        expected: &'static str,
    },
    /// A file of the lens is missing or says something that cannot be used. It concerns every row.
    #[error("lens `{lens}`: {}: {problem}", place(file, *line))]
    File {
        /// The lens.
        lens: String,
        /// The file, with its folder when the lens is not built in.
        file: String,
        /// 1-based line, where one is known.
        line: Option<usize>,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// The template stopped on the values of this row; other rows may render.
    #[error("lens `{lens}`: {}: {problem}", place(file, *line))]
    Render {
        /// The lens.
        lens: String,
        /// The template, with its folder when the lens is not built in.
        file: String,
        /// 1-based line, where one is known.
        line: Option<usize>,
        /// What stopped it.
        problem: String,
    },
    /// Another number of values than the lens has input fields.
    #[error("lens `{lens}` reads {} ({}), but got {got}", counted(fields.len(), "field"), fields.join(", "))]
    Fields {
        /// The lens.
        lens: String,
        /// Its input fields.
        fields: Vec<String>,
        /// How many values came.
        got: usize,
    },
    /// A new lens would overwrite something.
    #[error("{} exists already; choose another name or remove it first", path.display())]
    Exists {
        /// The folder that is in the way.
        path: PathBuf,
    },
    /// A folder cannot be listed or a file of a new lens cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Said of a file that each lens has.
pub(super) const NO_FILE: &str =
    "no such file; a lens has config.json, functions.json, system.jinja and prompt.jinja";

/// `file` or `file:line`.
pub(super) fn place(file: &str, line: Option<usize>) -> String {
    line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"))
}

/// `1 field`, `2 fields`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}

fn absent(missing: &[PathBuf]) -> String {
    let dirs: Vec<String> = missing.iter().map(|dir| dir.display().to_string()).collect();
    if dirs.is_empty() { String::new() } else { format!("; not found: {}", dirs.join(", ")) }
}

/// What a file of a lens got wrong, before the lens and its folder are known to the one who found it.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) file: String,
    pub(super) line: Option<usize>,
    pub(super) problem: String,
}

impl Fault {
    pub(super) fn new(file: &str, problem: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, problem: problem.into() }
    }

    /// A fault in JSON: the parser knows the line.
    pub(super) fn json(file: &str, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        // The line is said in front of the message, as for templates.
        let problem = text.split(" at line ").next().unwrap_or(&text);
        let line = (error.line() > 0).then(|| error.line());
        let kind = if error.is_data() { "" } else { "not valid JSON: " };
        Self { file: file.to_owned(), line, problem: format!("{kind}{problem} (column {})", error.column()) }
    }
}
