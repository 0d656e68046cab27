//! The log: what happened, for machines and for the morning after. It holds what is said on stderr, and at level
//! `debug` every request to the endpoint; no header, no key, and no body unless that is asked for.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Target of events that hold whole requests and replies.
pub const BODIES: &str = "classified::bodies";

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// To the end of a file: JSON lines where its name ends in `.json` or `.jsonl`, lines of text otherwise.
    File(PathBuf),
    /// JSON lines on stderr, in place of all other messages there.
    Stderr,
}

/// What the log holds.
#[derive(Debug, Clone)]
pub struct Log {
    /// Where it goes.
    pub sink: Sink,
    /// From which level on.
    pub level: Level,
    /// Whether whole requests and replies are logged.
    pub has_bodies: bool,
}

/// Whether stderr belongs to the log alone: a fact of the process, as stderr is.
static TAKES_STDERR: OnceLock<()> = OnceLock::new();

pub(super) fn takes_stderr() -> bool {
    TAKES_STDERR.get().is_some()
}

/// Begins the log; what is said from now on is in it.
pub fn begin(log: &Log) -> io::Result<()> {
    // Only our own events: libraries log addresses, and those that the Hub signs are keys.
    let bodies = if log.has_bodies { LevelFilter::TRACE } else { LevelFilter::OFF };
    let ours = Targets::new().with_target("classified", log.level).with_target(BODIES, bodies);
    let lines = tracing_subscriber::fmt::layer().with_ansi(false);
    let layer = match &log.sink {
        Sink::Stderr => {
            let _ = TAKES_STDERR.set(());
            lines.json().flatten_event(true).with_writer(io::stderr).boxed()
        }
        Sink::File(path) => {
            let file = open(path)?;
            if path.extension().is_some_and(|end| end == "json" || end == "jsonl") {
                lines.json().flatten_event(true).with_writer(file).boxed()
            } else {
                lines.with_writer(file).boxed()
            }
        }
    };
    // There is a log already only where a test runs several commands in one process.
    let _ = tracing_subscriber::registry().with(layer.with_filter(ours)).try_init();
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}
