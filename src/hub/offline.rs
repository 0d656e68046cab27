//! What the cache answers in place of the Hub when requests are forbidden.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use super::Hub;
use super::cache::Cache;
use super::error::Error;
use super::file::File;
use super::name;
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

    /// A dataset at the commit at which its revision was when it was last downloaded, under this name or another.
    pub(super) fn cached_repo(&self, name: &str, revision: &str) -> Result<Repo, Error> {
        let cache = self.cache();
        let found = |name: String| {
            let sha = cache.revision(&name, revision)?;
            cache.has_commit(&name, &sha).then(|| Repo::new(self, &name, revision, sha))
        };
        found(name.to_owned())
            .or_else(|| found(cache.named(name)?))
            .ok_or_else(|| self.not_cached(&format!("dataset `{}` at `{}`", plain(name), plain(revision))))
    }
}

impl Repo {
    /// Where the Hub cache has a file of this commit, whoever downloaded it; none if it does not.
    pub fn cached(&self, path: &str) -> Option<PathBuf> {
        self.hub().cache().file(&self.id, &self.sha, path)
    }

    /// Where the Hub cache has this file: under its own name, or as the content of a file of another commit.
    pub(super) fn held(&self, entry: &Entry) -> Option<PathBuf> {
        let is_whole = |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.len() == entry.size);
        let blob = || self.hub().cache().blob(&self.id, &entry.blob, entry.size);
        self.cached(&entry.path).filter(is_whole).or_else(blob)
    }

    /// The files in `folder` and below it as they were last listed; those that are there, where no list was kept.
    pub(super) fn cached_tree(&self, folder: &str) -> Result<Vec<Entry>, Error> {
        let within = |path: &str| {
            folder.is_empty()
                || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let cache = self.hub().cache();
        if let Some(tree) = cache.tree(&self.id, &self.sha, folder) {
            let listed = tree.iter().filter(|(path, _)| within(path) && name::inside(path));
            return Ok(listed.map(|(path, listed)| Entry::new(path, listed)).collect());
        }
        let files = cache.files(&self.id, &self.sha)?.into_iter().filter(|(path, _)| within(path));
        let entry = |(path, size)| Entry { path, size, blob: String::new(), lfs: false };
        let entries: Vec<_> = files.map(entry).collect();
        let place = if folder.is_empty() { String::new() } else { format!("folder `{}` of ", plain(folder)) };
        let what = format!("{place}dataset `{}`", self.id);
        if entries.is_empty() {
            return Err(self.hub().not_cached(&format!("the list of files of {what}")));
        }
        let variable = self.hub().offline().unwrap_or_default();
        self.hub().tell(&format!(
            "warning: {variable} forbids to ask which files {what} has, and no list of them was kept (another tool has \
             downloaded it): the {} in the Hub cache are taken for all of them, though there may be more; without \
             {variable} the list is asked for",
            entries.len()
        ));
        Ok(entries)
    }

    /// The text of a file that the cache has.
    pub(super) fn cached_text(&self, path: &str) -> Option<String> {
        let mut text = Vec::new();
        let file = fs::File::open(self.cached(path)?).ok()?;
        file.take(MAX_TEXT as u64).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Whether a small file that the cache does not have is missing in the dataset, so that nobody need be asked. Offline
    /// it counts as missing where nothing is known; that it is there, or may be, in a list that was kept is an error.
    pub(super) fn is_missing(&self, path: &str) -> Result<bool, Error> {
        let cache = self.hub().cache();
        if cache.is_missing(&self.id, &self.sha, path) {
            return Ok(true);
        }
        if self.hub().offline().is_none() {
            return Ok(false);
        }
        let may_be = match cache.tree(&self.id, &self.sha, "") {
            Some(tree) => tree.contains_key(path),
            None => cache.has_tree(&self.id, &self.sha),
        };
        if !may_be {
            return Ok(true);
        }
        Err(self.hub().not_cached(&format!("`{}` of dataset `{}`", plain(path), self.id)))
    }
}

impl File {
    /// The error for files of a dataset that are needed and not in the cache when requests are forbidden: this is the
    /// first of `missing`, and `of` are needed.
    pub fn absent(&self, missing: usize, of: usize) -> Error {
        let others = match missing.saturating_sub(1) {
            0 if of == 1 => String::new(),
            0 => format!(" (1 of {of} files)"),
            more => format!(" (and {more} more of {of} files)"),
        };
        let repo = self.repo();
        repo.hub().not_cached(&format!("`{}`{others} of dataset `{}`", plain(self.path()), repo.id))
    }
}
