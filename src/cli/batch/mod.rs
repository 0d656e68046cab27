//! `classified batch`: the batches of the store, and the lock of whoever hands them over or collects them.

mod cancel;
mod collect;
mod list;
mod offline;
mod words;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::cache;
use super::exit::{Exit, usage};
use super::settings::{LogArgs, OutputArgs, RaterArgs, StoreArgs};
use super::signals::Signals;
use crate::console::Console;
use crate::export;
use crate::export::lock::{Holder, Lock};
use crate::store::{Batch, Stage, Store};

/// How often a lock is tried that another run holds.
const EVERY: Duration = Duration::from_millis(500);

/// Look after questions that were handed over together, to be answered within a day at half the price
#[derive(Debug, Subcommand)]
pub(super) enum BatchCommand {
    List(Box<list::ListArgs>),
    Show(Box<list::ShowArgs>),
    Cancel(Box<cancel::CancelArgs>),
    Collect(Box<collect::CollectArgs>),
    Write(Box<offline::WriteArgs>),
    Read(Box<offline::ReadArgs>),
}

/// Where batches are: the store and the endpoint.
#[derive(Debug, Args)]
struct Place {
    #[command(flatten)]
    rater: RaterArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl Place {
    /// The store, which must exist, and its batches.
    async fn open(&self) -> anyhow::Result<(Store, Vec<Batch>)> {
        let store = cache::open(&self.store).await?;
        let batches = store.batches().await?;
        Ok((store, batches))
    }
}

/// Runs a subcommand.
pub(super) async fn run(command: BatchCommand) -> anyhow::Result<Exit> {
    match command {
        BatchCommand::List(args) => list::list(*args).await,
        BatchCommand::Show(args) => list::show(*args).await,
        BatchCommand::Cancel(args) => cancel::cancel(*args).await,
        BatchCommand::Collect(args) => collect::collect(*args).await,
        BatchCommand::Write(args) => offline::write(*args).await,
        BatchCommand::Read(args) => offline::read(*args).await,
    }
}

/// The batch that somebody names by its number, the first digits of its chance name, or the server's id.
fn find<'a>(batches: &'a [Batch], id: &str) -> anyhow::Result<&'a Batch> {
    let id = id.trim();
    let is_named = |batch: &&Batch| batch.id.to_string() == id || batch.remote.as_deref() == Some(id);
    if let Some(batch) = batches.iter().find(is_named) {
        return Ok(batch);
    }
    let digits = id.to_ascii_lowercase();
    let begun: Vec<&Batch> =
        batches.iter().filter(|batch| !digits.is_empty() && batch.intent.starts_with(&digits)).collect();
    match begun[..] {
        [batch] => Ok(batch),
        [] => Err(usage(format!(
            "the store has no batch `{id}`: `classified batch list --all` shows those that it has"
        ))),
        [one, other, ..] => Err(usage(format!(
            "`{id}` begins the chance names of several batches, such as {} and {}: give more digits, or a number",
            one.id, other.id
        ))),
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

/// Frees what a run that was killed was gathering: nothing of it has left this machine. Not while another run is at work with
/// batches: it may be its own.
pub(in crate::cli) async fn free_leftovers(store: &Store) -> anyhow::Result<()> {
    let mut batches = store.batches().await?;
    batches.retain(|batch| batch.stage == Stage::Spooling && batch.url.is_some());
    if batches.is_empty() {
        return Ok(());
    }
    let path = locked(&store.path);
    let Ok(_lock) = tokio::task::spawn_blocking(move || Lock::take(&path, "batch")).await? else {
        return Ok(());
    };
    for batch in batches {
        store.abandon_batch(batch.id).await?;
    }
    Ok(())
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
    use super::words::tests::batch;
    use super::*;
    use crate::store::Stage;

    #[test]
    fn a_batch_is_found_by_any_of_its_names() {
        let mut batches = vec![batch(1, Stage::Created), batch(12, Stage::Created), batch(3, Stage::Written)];
        batches[0].intent = "12ab".repeat(8);
        batches[1].intent = "12cd".repeat(8);
        batches[2].remote = None;
        let found = |id: &str| find(&batches, id).map(|batch| batch.id).map_err(|error| error.to_string());
        // A number wins over digits of a name.
        for (id, number) in [("12", 12), ("batch_1", 1), (" 12AB ", 1), ("12c", 12), ("3", 3)] {
            assert_eq!(found(id), Ok(number));
        }
        assert!(found("12a1").unwrap_err().contains("no batch `12a1`"));
        assert!(found("").is_err() && found("batch_3").is_err());
        batches[1].id = 2;
        assert!(find(&batches, "12").unwrap_err().to_string().contains("several batches, such as 1 and 2"));
    }

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
