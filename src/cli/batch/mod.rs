//! `classified batch`: the batches of the store, and the lock of whoever hands them over or collects them.

mod collect;
mod list;
mod offline;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;

use super::exit::{Exit, usage};
use super::settings::StoreArgs;
use super::signals::Signals;
use crate::console::Console;
use crate::export;
use crate::export::lock::{Holder, Lock};
use crate::store::{self, Store};

/// How often a lock is tried that another run holds.
const EVERY: Duration = Duration::from_millis(500);

/// Look after questions that were handed over together, to be answered within a day at half the price
#[derive(Debug, Subcommand)]
pub(super) enum BatchCommand {
    List(Box<list::ListArgs>),
    Show(Box<list::ShowArgs>),
    Cancel(Box<list::CancelArgs>),
    Collect(Box<collect::CollectArgs>),
    Write(Box<offline::WriteArgs>),
    Read(Box<offline::ReadArgs>),
}

/// Runs a subcommand.
pub(super) async fn run(command: BatchCommand) -> anyhow::Result<Exit> {
    match command {
        BatchCommand::List(args) => list::list(*args).await,
        BatchCommand::Show(args) => list::show(*args).await,
        BatchCommand::Cancel(args) => list::cancel(*args).await,
        BatchCommand::Collect(args) => collect::collect(*args).await,
        BatchCommand::Write(args) => offline::write(*args).await,
        BatchCommand::Read(args) => offline::read(*args).await,
    }
}

/// Takes the lock of the store's batches, which whoever hands over, collects or cancels holds while it works. Waits while
/// another run has it, and says once who that is. A signal meanwhile ends the program.
pub(in crate::cli) async fn lock(
    store: &Store,
    console: Console,
    signals: &mut Signals,
) -> anyhow::Result<Result<Lock, Exit>> {
    let what = locked(&store.path);
    let taken = take(&what, |holder| {
        let holder = holder.map_or_else(|| "another run".to_owned(), |holder| holder.to_string());
        console.note(&format!("waiting for {holder}, which is busy with the batches of this store"));
    });
    tokio::select! {
        taken = taken => Ok(Ok(taken?)),
        _ = signals.next() => Ok(Err(signals.exit())),
    }
}

/// The database of a command that makes none: a name that was mistyped must not become a new one.
async fn existing(args: &StoreArgs) -> anyhow::Result<Store> {
    let url = args.url()?;
    let path = store::path_of(&url)?;
    if !path.exists() {
        return Err(usage(format!(
            "there is no database {}: no batch was handed over from it, or DATABASE_URL names another",
            path.display()
        )));
    }
    Ok(Store::open(&url).await?)
}

/// What the lock is of: a name beside the database.
fn locked(database: &Path) -> PathBuf {
    let mut name: OsString = database.file_name().unwrap_or_default().to_owned();
    name.push(".batches");
    database.with_file_name(name)
}

/// Takes the lock as soon as it is free; `wait` is told once who has it.
async fn take(what: &Path, wait: impl FnOnce(Option<Holder>)) -> anyhow::Result<Lock> {
    let mut wait = Some(wait);
    loop {
        let path = what.to_owned();
        match tokio::task::spawn_blocking(move || Lock::take(&path, "batch")).await? {
            Ok(lock) => return Ok(lock),
            Err(export::Error::Busy { holder, .. }) => {
                if let Some(wait) = wait.take() {
                    wait(holder);
                }
            }
            Err(export::Error::Write { path, source }) => anyhow::bail!(
                "cannot write {}: {source}; check the folder of the database, or set DATABASE_URL to another place",
                path.display()
            ),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_is_held_is_waited_for_and_its_holder_named_once() {
        let folder = tempfile::tempdir().unwrap();
        let what = locked(&folder.path().join("ratings.db"));
        let mut held = Some(Lock::take(&what, "batch").unwrap());
        let mut named = Vec::new();
        let taken = take(&what, |holder| {
            named.push(holder.map(|holder| holder.process));
            drop(held.take());
        });
        drop(taken.await.unwrap());
        assert_eq!(named, [Some(std::process::id())]);
        assert_eq!(what.file_name().unwrap(), "ratings.db.batches");
        drop(take(&what, |_| panic!("it is free")).await.unwrap());
    }
}
