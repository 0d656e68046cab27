//! What a person sees: tables on stdout; progress, warnings and messages on stderr. Only here and in `cli` is printed.

pub mod log;
mod progress;
pub mod tables;

use std::io::{IsTerminal, Write};

pub use progress::{Bar, Transfer};

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Tables for people.
    Table,
    /// One JSON document.
    Json,
}

/// What is shown beside results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors, and results that were asked for as JSON.
    Quiet,
    /// Everything.
    Normal,
}

/// The way to stdout and stderr.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    /// How results are shown.
    pub format: Format,
    /// What is shown beside them.
    pub verbosity: Verbosity,
}

impl Console {
    /// Prints a table or another result for people. Nothing under `--quiet` or `--format json`.
    pub fn result(&self, text: &str) -> Result<(), Error> {
        if self.format == Format::Table && self.verbosity == Verbosity::Normal { print(text) } else { Ok(()) }
    }

    /// Prints the JSON document that `--format json` asks for, also under `--quiet`.
    pub fn json(&self, document: &serde_json::Value) -> Result<(), Error> {
        if self.format == Format::Json { print(&format!("{document:#}")) } else { Ok(()) }
    }

    /// Says something on stderr that is good to know; the log has it too, also under `--quiet`.
    pub fn note(&self, text: &str) {
        let text = plain(text);
        tracing::info!(target: SAID, "{text}");
        if self.verbosity == Verbosity::Normal {
            say(&text);
        }
    }

    /// Warns on stderr; the log has it too, also under `--quiet`.
    pub fn warn(&self, text: &str) {
        let text = plain(text);
        tracing::warn!(target: SAID, "{text}");
        if self.verbosity == Verbosity::Normal {
            say(&format!("warning: {text}"));
        }
    }

    /// Says on stderr why the program cannot go on; also under `--quiet`.
    pub fn error(&self, text: &str) {
        let text = plain(text);
        tracing::error!(target: SAID, "{text}");
        say(&format!("error: {text}"));
    }

    /// Warns on stderr of what decides the exit code; also under `--quiet`, since cron mails words and not codes.
    pub fn urge(&self, text: &str) {
        let text = plain(text);
        tracing::warn!(target: SAID, "{text}");
        say(&format!("warning: {text}"));
    }

    /// Says on stderr what an alert was asked for; also under `--quiet`.
    pub fn alert(&self, text: &str) {
        let text = plain(text);
        tracing::warn!(target: SAID, "{text}");
        say(&format!("alert: {text}"));
    }

    /// A progress bar over `total` ratings: one that moves on a terminal, a line every few seconds elsewhere, and
    /// none under `--quiet`.
    pub fn bar(&self, what: &str, total: Option<u64>) -> Bar {
        match self.verbosity {
            Verbosity::Quiet => Bar::hidden(),
            Verbosity::Normal => Bar::new(&plain(what), total, on_terminal()),
        }
    }

    /// The progress of downloads, shown as [`Console::bar`] is.
    pub fn transfer(&self) -> Transfer {
        Transfer::new(self.verbosity == Verbosity::Normal, on_terminal())
    }
}

/// Results could not be handed over.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the results to stdout: {0}; they are kept, and the same command shows them again")]
pub struct Error(std::io::Error);

/// Prints to stdout. A closed pipe (`| head`) is the reader's way to say "enough": not an error.
fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error(error)),
        _ => Ok(()),
    }
}

/// Target of events that a person is told of too.
const SAID: &str = "classified";

/// Says something on stderr. Nobody may be listening there (a full disk under cron's log): that stops no run.
fn say(text: &str) {
    if !log::takes_stderr() {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// Whether stderr is a screen that a bar may draw on.
fn on_terminal() -> bool {
    std::io::stderr().is_terminal() && !log::takes_stderr()
}

/// `text` without control characters, which could move the cursor, hide text or set the window's title; line breaks
/// and tabs stay. Direction overrides, which could show text in another order, go too.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => '\u{FFFD}',
            c if c.is_control() => '\u{FFFD}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_do_not_reach_the_terminal() {
        assert_eq!(
            plain("a\u{1b}[31mred\u{7}\u{9b}2J\r\nb\tc"),
            "a\u{FFFD}[31mred\u{FFFD}\u{FFFD}2J\u{FFFD}\nb\tc"
        );
        assert_eq!(plain("é 漢字 🙂"), "é 漢字 🙂");
    }
}
