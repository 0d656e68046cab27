//! Files from the Hub into the cache: resumed where an earlier run has left them, and only once per machine.

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use tokio::sync::mpsc;

use super::cache::{Begun, Tree};
use super::error::Error;
use super::repo::{Entry, Repo};
use super::{CacheError, Hub};
use crate::http::plain;

/// How often is looked whether another process has finished.
const LOOK: Duration = Duration::from_millis(500);

/// Pieces that wait for the disk; each is some kilobytes.
const WAITING: usize = 64;

impl Repo {
    /// Downloads a file into the Hub cache, unless the cache has it, and says where it is. `progress` is told how many
    /// bytes of it there are, those of earlier runs included.
    ///
    /// What has come is kept when this fails or is dropped, and the next download goes on from there. The length is
    /// checked, and the digest that the Hub names: the sha256 of a large file, git's sha1 of a small one.
    pub async fn download(&self, entry: &Entry, progress: &(dyn Fn(u64) + Sync)) -> Result<PathBuf, Error> {
        if self.hub().offline().is_some() {
            let Some(path) = self.held(entry) else {
                return Err(self.file(entry).absent(1, 1));
            };
            progress(entry.size);
            return Ok(path);
        }
        let mut result = self.fetched(entry, progress, Begin::AfterKept).await;
        // What an earlier run has left may be wrong, and a server that ignores ranges can only give all.
        if let Err(Error::Cache(CacheError::Content { .. }) | Error::NoRanges { .. }) = result {
            result = self.fetched(entry, progress, Begin::AtStart).await;
        }
        let path = result?;
        self.remember().await;
        Ok(path)
    }

    /// Keeps what the name and the revision were resolved to, so that they are known without a network. That it could
    /// not be kept is no loss now.
    pub async fn remember(&self) {
        let (cache, repo) = (self.hub().cache(), self.clone());
        let kept = blocking(self.hub(), move || {
            cache.set_revision(&repo.id, &repo.revision, &repo.sha)?;
            cache.set_name(&repo.id, repo.asked())
        });
        let _ = kept.await;
    }

    /// Keeps a list of files. That it could not be kept is no loss now.
    pub(super) async fn keep_tree(&self, folder: &str, tree: Tree) {
        let (cache, repo, folder) = (self.hub().cache(), self.clone(), folder.to_owned());
        let _ = blocking(self.hub(), move || cache.set_tree(&repo.id, &repo.sha, &folder, &tree)).await;
    }

    async fn fetched(
        &self,
        entry: &Entry,
        progress: &(dyn Fn(u64) + Sync),
        begin: Begin,
    ) -> Result<PathBuf, Error> {
        let mut told = false;
        let mut download = loop {
            let (cache, repo, wanted) = (self.hub().cache(), self.clone(), entry.clone());
            match blocking(self.hub(), move || cache.begin(&repo.id, &repo.sha, &wanted)).await? {
                Begun::Ready(download) => break download,
                Begun::Done(path) => {
                    progress(entry.size);
                    return Ok(path);
                }
                Begun::Busy => {
                    if !told {
                        let path = plain(&entry.path);
                        self.hub().tell(&format!("another process is downloading `{path}`: waiting for it"));
                        told = true;
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
        };
        if begin == Begin::AtStart {
            download.restart()?;
        }
        let mut have = download.have();
        progress(have);
        // The disk has a thread of its own; it ends when the sender is dropped, whatever becomes of us.
        let (sender, mut pieces) = mpsc::channel::<Bytes>(WAITING);
        let size = entry.size;
        let writing = blocking(self.hub(), move || {
            while let Some(piece) = pieces.blocking_recv() {
                download.write(&piece)?;
            }
            // A download that is not complete is kept for the next time.
            if download.have() < size { Ok(None) } else { download.finish().map(Some) }
        });
        let reading = async move {
            let mut stream = pin!(self.file(entry).stream(have));
            while let Some(piece) = stream.try_next().await? {
                have += piece.len() as u64;
                if sender.send(piece).await.is_err() {
                    // The disk has failed, and says why.
                    break;
                }
                progress(have);
            }
            Ok::<_, Error>(())
        };
        let (read, written) = tokio::join!(reading, writing);
        read?;
        written?.ok_or_else(|| self.hub().broken(io::ErrorKind::UnexpectedEof.into()))
    }

    /// Keeps a small file that has come whole, so that it is there without a network. That it could not be kept is no
    /// loss now.
    pub(super) async fn keep(&self, entry: Entry, body: Bytes) {
        let (cache, repo) = (self.hub().cache(), self.clone());
        let kept = blocking(self.hub(), move || {
            if let Begun::Ready(mut download) = cache.begin(&repo.id, &repo.sha, &entry)? {
                download.restart()?;
                download.write(&body)?;
                download.finish()?;
            }
            Ok(())
        });
        let _ = kept.await;
    }

    /// Keeps that there is no such file.
    pub(super) async fn keep_missing(&self, path: &str) {
        let (cache, repo, path) = (self.hub().cache(), self.clone(), path.to_owned());
        let _ = blocking(self.hub(), move || cache.set_missing(&repo.id, &repo.sha, &path)).await;
    }
}

/// Where a download begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// After what an earlier run has left.
    AfterKept,
    /// At the first byte.
    AtStart,
}

impl Hub {
    fn broken(&self, source: io::Error) -> Error {
        CacheError::Io { path: self.options().cache.clone(), source }.into()
    }
}

/// Work for the disk, on a thread that may wait.
async fn blocking<T: Send + 'static>(
    hub: &Hub,
    work: impl FnOnce() -> Result<T, CacheError> + Send + 'static,
) -> Result<T, Error> {
    let hub = hub.clone();
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(hub.broken(io::Error::other(error))),
    }
}
