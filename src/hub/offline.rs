//! What the cache answers in place of the Hub when requests are forbidden.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use super::Hub;
use super::cache::Cache;
use super::error::Error;
use super::repo::{Entry, MAX_TEXT, Repo};
use crate::http::plain;

impl Hub {
    pub(super) fn cache(&self) -> Cache {
        Cache::new(self.options().cache.clone())
    }

    /// The variable that forbids requests, if one does.
    pub(super) fn offline(&self) -> Option<&str> {
        self.options().offline.as_deref()
    }

    /// The error for what cannot be had without a request.
    pub(super) fn not_cached(&self, missing: &str) -> Error {
        let variable = self.offline().unwrap_or("HF_HUB_OFFLINE").to_owned();
        Error::Offline { variable, missing: missing.to_owned(), cache: self.options().cache.clone() }
    }

    /// A dataset at the commit at which its revision was when it was last downloaded.
    pub(super) fn cached_repo(&self, name: &str, revision: &str) -> Result<Repo, Error> {
        match self.cache().revision(name, revision) {
            Some(sha) => Ok(Repo::new(self, name, revision, sha)),
            None => Err(self.not_cached(&format!("dataset `{}` at `{}`", plain(name), plain(revision)))),
        }
    }
}

impl Repo {
    /// Where the Hub cache has a file of this commit, whoever downloaded it; none if it does not.
    pub fn cached(&self, path: &str) -> Option<PathBuf> {
        self.hub().cache().file(&self.id, &self.sha, path)
    }

    /// The files that have been downloaded, in `folder` and below it. The dataset may have more.
    pub(super) fn cached_tree(&self, folder: &str) -> Result<Vec<Entry>, Error> {
        let within = |path: &str| {
            folder.is_empty()
                || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let files = self.hub().cache().files(&self.id, &self.sha)?.into_iter();
        let files = files.filter(|(path, _)| within(path));
        Ok(files.map(|(path, size)| Entry { path, size, blob: String::new(), lfs: false }).collect())
    }

    /// The text of a file that the cache has.
    pub(super) fn cached_text(&self, path: &str) -> Option<String> {
        let mut text = Vec::new();
        let file = fs::File::open(self.cached(path)?).ok()?;
        file.take(MAX_TEXT as u64).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Whether it counts as missing without a request: the Hub has said so before, or cannot be asked.
    pub(super) fn is_missing(&self, path: &str) -> bool {
        self.hub().offline().is_some() || self.hub().cache().is_missing(&self.id, &self.sha, path)
    }
}
