//! Answers and runs in SQLite: asked in batches, written in groups, acknowledged after the commit.
//!
//! One connection writes, a few read. SQLite's cost through sqlx is the hop to its worker thread, so everything goes
//! there in batches.

mod answers;
mod batched;
mod batches;
mod history;
mod runs;
mod standing;
mod writer;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqliteConnection, SqlitePool};
use tokio::sync::mpsc;

pub use answers::Slot;
pub use batched::MOST_TRIES;
pub use batches::{Batch, Change, FORM, Fate, Lesson, NewBatch, Settled, Stage, Standing, Turn};
pub use history::{Group, Prune, Stats, Usual};
pub use runs::Runs;
pub use standing::{Forget, Telling};
pub use writer::{Attempt, NewAnswer};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long a connection waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// What can go wrong with the store. All of it stops a run; what was committed stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL names no SQLite file.
    #[error("DATABASE_URL `{0}` is not a SQLite database: give `sqlite:PATH` or a path")]
    Url(String),
    /// The folder of the file cannot be made.
    #[error(
        "cannot create the folder of the database {path}: {source}; set DATABASE_URL to a place that can be written"
    )]
    Folder {
        /// The database.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file cannot be opened or written.
    #[error("cannot use the database {path}: {reason}; {advice}")]
    Open {
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        reason: String,
        /// What to change.
        advice: &'static str,
    },
    /// A newer program wrote the database.
    #[error(
        "the database {path} was written by a newer version of classified (schema {version}): update this program, or set DATABASE_URL to another file"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// The migration that this program does not know.
        version: i64,
    },
    /// A statement failed.
    #[error(
        "the database failed: {reason}; {advice}; what was committed is kept, and the same command continues from it"
    )]
    Statement {
        /// SQLite's words.
        reason: String,
        /// What to change.
        advice: &'static str,
    },
    /// The writer ended before it answered.
    #[error("the database's writer has stopped")]
    WriterGone,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Statement { advice: advice(&error), reason: error.to_string() }
    }
}

/// How the database survives a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// Write-ahead log.
    Wal,
    /// Rollback journal: the file system (a network one, mostly) cannot do WAL.
    Rollback,
}

/// What may be done with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// All of it.
    Write,
    /// It can only be read.
    Read,
    /// It can only be read, and lacks tables that a later version of the program added.
    Old,
}

/// The open store.
#[derive(Debug)]
pub struct Store {
    read: SqlitePool,
    writes: mpsc::Sender<writer::Write>,
    lookups: mpsc::Sender<writer::LookUp>,
    /// Whether answers were put: then look-ups go to the connection that writes.
    has_written: AtomicBool,
    /// The database file.
    pub path: PathBuf,
    /// How it survives a crash.
    pub journal: Journal,
    /// What may be done with it.
    pub access: Access,
}

impl Store {
    /// Opens the database that `url` names (`sqlite:PATH`, `sqlite://PATH` or a path), creates it if it is missing,
    /// and brings its tables up to date.
    pub async fn open(url: &str) -> Result<Self, Error> {
        let path = path_of(url)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|source| Error::Folder { path: path.clone(), source })?;
        }
        let options = options(&path)
            .create_if_missing(true)
            .synchronous(SqliteSynchronous::Normal)
            // What a statement of many rows may have to take back stays in memory, not in a file of its own.
            .pragma("temp_store", "MEMORY")
            // Digests are random, so a page of their index is written again and again: a longer log writes it less often.
            .pragma("wal_autocheckpoint", "8192");

        let opened = opened(&path);
        let (mut connection, journal) = connect(&options).await.map_err(opened)?;
        migrate(&mut connection, &path).await?;
        // What is written there, of batches mostly, must outlive the machine's power as well: it is told to a server next.
        let durable = options.clone().synchronous(SqliteSynchronous::Full);
        let read = pool().connect_with(durable).await.map_err(opened)?;

        let (writes, inbox) = mpsc::channel(4096);
        let (lookups, asked) = mpsc::channel(16);
        tokio::spawn(writer::run(connection, options, inbox, asked));
        Ok(Self {
            read,
            writes,
            lookups,
            has_written: AtomicBool::new(false),
            path,
            journal,
            access: Access::Write,
        })
    }

    /// Opens a database to look at it: as [`Store::open`] does where it can be written, else as it is. Then nothing can be
    /// put, and what a later version of the program would add is missing.
    pub async fn look(url: &str) -> Result<Self, Error> {
        match Self::open(url).await {
            // Where it cannot be read either, the first reason is the better one.
            Err(error @ Error::Open { .. }) => Self::read_only(url).await.map_err(|_| error),
            opened => opened,
        }
    }

    /// Opens a database without writing anything, beside it neither.
    async fn read_only(url: &str) -> Result<Self, Error> {
        let path = path_of(url)?;
        let options = options(&path).read_only(true);
        // With a write-ahead log SQLite wants to make files beside the database, unless it is told that nobody writes. That
        // is so where no log is left.
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let has_log = std::fs::metadata(log).is_ok_and(|log| log.len() > 0);
        let read = pool().connect_with(options.immutable(!has_log)).await.map_err(opened(&path))?;
        let applied: i64 = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(&read)
            .await
            .map_err(opened(&path))?;
        let latest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
        if applied > latest {
            return Err(Error::Newer { path, version: applied });
        }
        let access = if applied < latest { Access::Old } else { Access::Read };
        // Nobody takes what would be written.
        let (writes, lookups) = (mpsc::channel(1).0, mpsc::channel(1).0);
        let has_written = AtomicBool::new(false);
        Ok(Self { read, writes, lookups, has_written, path, journal: Journal::Rollback, access })
    }

    /// Waits until everything handed over is written, and closes the file.
    pub async fn close(&self) -> Result<(), Error> {
        if self.access == Access::Write {
            self.flush().await?;
        }
        self.read.close().await;
        Ok(())
    }
}

/// How every connection to this file is.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        // Pages come from the system's cache as well: 4 MiB a connection keep memory flat, whatever the store's size.
        .pragma("cache_size", "-4096")
}

/// A few connections that read.
fn pool() -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(4)
        // How long a look-up may take is SQLite's busy timeout; a stopped process must not fail for the clock.
        .acquire_timeout(Duration::from_hours(24))
}

/// An error of this file.
fn opened(path: &Path) -> impl Fn(sqlx::Error) -> Error + Copy {
    move |error| Error::Open { path: path.to_owned(), advice: advice(&error), reason: error.to_string() }
}

/// A connection with the write-ahead log where it can be had, else with a rollback journal.
///
/// Two processes that open a new file at once may find it locked while one of them switches the journal; SQLite does
/// not wait for that lock, so we do, as long as it waits for any other.
async fn connect(options: &SqliteConnectOptions) -> Result<(SqliteConnection, Journal), sqlx::Error> {
    let (began, mut pause) = (Instant::now(), Duration::from_millis(10));
    loop {
        let busy = match SqliteConnection::connect_with(options).await {
            Ok(mut connection) => {
                let mode: Result<String, _> =
                    sqlx::query_scalar("PRAGMA journal_mode = WAL").fetch_one(&mut connection).await;
                match mode {
                    Ok(mode) if mode == "wal" => return Ok((connection, Journal::Wal)),
                    Err(error) if is_busy(&error) => error,
                    // Another journal, or an error of the file system: no write-ahead log here.
                    Ok(_) | Err(_) => break,
                }
            }
            Err(error) if is_busy(&error) => error,
            Err(error) => return Err(error),
        };
        if began.elapsed() >= BUSY_TIMEOUT {
            return Err(busy);
        }
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(Duration::from_millis(200));
    }
    let rollback = options.clone().journal_mode(SqliteJournalMode::Delete);
    Ok((SqliteConnection::connect_with(&rollback).await?, Journal::Rollback))
}

/// Applies what is missing. sqlx takes no lock on SQLite: of two processes that do it at once one fails, finds the
/// work done, and goes on. It may fail so at each step.
async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), Error> {
    for _ in MIGRATIONS.iter() {
        if MIGRATIONS.run(&mut *connection).await.is_ok() {
            return Ok(());
        }
        // A commit that failed, on a full disk, leaves its transaction open: the next try would take it for done.
        // Where none is open there is nothing to roll back.
        let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
    }
    MIGRATIONS.run(&mut *connection).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
            Error::Newer { path: path.to_owned(), version }
        }
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            Error::Open { path: path.to_owned(), advice: advice(&source), reason: source.to_string() }
        }
        other => Error::Open {
            path: path.to_owned(),
            reason: other.to_string(),
            advice: "it may belong to another program: set DATABASE_URL to another file",
        },
    })
}

/// The file that a URL names.
pub fn path_of(url: &str) -> Result<PathBuf, Error> {
    let path = match url.split_once(':') {
        Some(("sqlite", rest)) => rest.strip_prefix("//").unwrap_or(rest),
        Some((scheme, rest)) if rest.starts_with("//") && scheme.len() > 1 => {
            // The rest of the URL may hold a password.
            return Err(Error::Url(format!("{scheme}://…")));
        }
        _ => url,
    };
    if path.is_empty() || path.starts_with(":memory:") {
        return Err(Error::Url(url.to_owned()));
    }
    PathBuf::from_str(path).map_err(|_| Error::Url(url.to_owned()))
}

/// SQLite's primary result code (<https://sqlite.org/rescode.html>): the low byte of the extended one.
fn code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<u32>().ok().map(|code| code & 0xff)
}

fn is_busy(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(5 | 6))
}

fn advice(error: &sqlx::Error) -> &'static str {
    match code(error) {
        Some(5 | 6) => "another process has held its lock for half a minute: wait for it, or end it",
        Some(8 | 3) => {
            "it cannot be written: change its permissions, or set DATABASE_URL to a file that can be"
        }
        Some(13) => "the disk is full: make room",
        Some(11 | 26) => {
            "it is damaged or not a SQLite file: restore it, or set DATABASE_URL to another file"
        }
        Some(14) => "check that its folder exists and can be written, or set DATABASE_URL to another file",
        _ => "check the file and its disk, or set DATABASE_URL to another file",
    }
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Unsigned to SQLite's integers; beyond 2^63 there is nothing to count.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
