//! The Hub cache on disk, in the layout of `huggingface_hub` 2.4: what the Python tools have downloaded is used, and
//! they use what we have downloaded. Nothing here asks the network, and every function blocks.
//!
//! ```text
//! datasets--owner--name/blobs/<sha256 or git sha1>          contents
//!                       snapshots/<commit>/<path>           links to blobs, or copies of them
//!                       refs/<revision>                     the commit that a branch or tag was last seen at
//!                       .no_exist/<commit>/<path>           empty: the commit has no such file
//!                       trees/<commit>.json                 the list of all files of the commit
//!                       .classified/<commit>/<sha256>.json  ours alone: the list of a folder's files, by the folder
//!                       .classified/names/<folder>          ours alone, empty: another name of the dataset
//! .locks/datasets--owner--name/<blob>.lock                  held by whoever downloads the blob
//! ```

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::http::plain;

pub(super) use download::Begun;
pub(super) use tree::{Listed, Tree};

mod digest;
mod download;
mod names;
mod tree;

/// The Hub cache.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    root: PathBuf,
}

/// Why a file cannot be kept in the Hub cache.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that would lead out of the cache.
    #[error("`{name}` cannot be a name in the Hub cache: {problem}")]
    Name {
        /// The name: of a dataset, a revision, a file, a content.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The bytes that came are not those of the file.
    #[error("`{path}` has come wrong: {problem}; run again to download it anew")]
    Content {
        /// The file, within the dataset.
        path: String,
        /// What differs.
        problem: String,
    },
    /// The system does not let us read or write.
    #[error("the Hub cache at {}: {source} (HF_HUB_CACHE names another place)", path.display())]
    Io {
        /// What could not be read or written.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Gives a system's error the path that it is about.
fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    |source| Error::Io { path, source }
}

impl Cache {
    /// The cache in this folder (`HF_HUB_CACHE`), which need not exist.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The commit that a revision of a dataset was last seen at. A full commit is itself.
    pub(super) fn revision(&self, repo: &str, revision: &str) -> Option<String> {
        const LONGEST: u64 = 100;
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let file = File::open(self.below(repo, "refs").ok()?.join(relative(revision).ok()?)).ok()?;
        let mut commit = String::new();
        file.take(LONGEST).read_to_string(&mut commit).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Notes the commit that a revision is at.
    pub(super) fn set_revision(&self, repo: &str, revision: &str, sha: &str) -> Result<(), Error> {
        check_commit(sha)?;
        if revision == sha || self.revision(repo, revision).as_deref() == Some(sha) {
            return Ok(());
        }
        let path = self.below(repo, "refs")?.join(relative(revision)?);
        // The Python tools take a cache for corrupt in which a revision leads to a commit without a snapshot.
        let snapshot = self.snapshot(repo, sha)?;
        fs::create_dir_all(&snapshot).map_err(at(&snapshot))?;
        replace(&path, sha.as_bytes())
    }

    /// Whether the cache has anything of a commit.
    pub(super) fn has_commit(&self, repo: &str, sha: &str) -> bool {
        self.snapshot(repo, sha).is_ok_and(|snapshot| snapshot.is_dir())
    }

    /// Where a content is, if the cache has it, of whichever commit.
    pub(super) fn blob(&self, repo: &str, name: &str, size: u64) -> Option<PathBuf> {
        let is_digest = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let blob = self.below(repo, "blobs").ok()?.join(name);
        (is_digest && is_whole(&blob, size)).then_some(blob)
    }

    /// Where a file of a commit is, if the cache has it.
    pub(super) fn file(&self, repo: &str, sha: &str, path: &str) -> Option<PathBuf> {
        let file = self.snapshot(repo, sha).ok()?.join(relative(path).ok()?);
        // A link whose blob is gone is no file.
        file.is_file().then_some(file)
    }

    /// Whether the Hub has said that the commit has no such file.
    pub(super) fn is_missing(&self, repo: &str, sha: &str, path: &str) -> bool {
        self.no_exist(repo, sha, path).is_ok_and(|path| path.is_file())
    }

    /// Notes that the commit has no such file.
    pub(super) fn set_missing(&self, repo: &str, sha: &str, path: &str) -> Result<(), Error> {
        let path = self.no_exist(repo, sha, path)?;
        self.make_known(repo)?;
        make_parent(&path)?;
        File::create(&path).map(drop).map_err(at(&path))
    }

    /// The files of a commit that the cache has, by their paths, with their lengths in bytes. It need not have all.
    pub(super) fn files(&self, repo: &str, sha: &str) -> Result<Vec<(String, u64)>, Error> {
        const DEEPEST: usize = 64;
        let top = self.snapshot(repo, sha)?;
        let mut files = Vec::new();
        let mut folders = vec![(top, String::new(), 0)];
        while let Some((folder, name, depth)) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if depth == 0 && error.kind() == ErrorKind::NotFound => return Ok(files),
                entries => entries.map_err(at(&folder))?,
            };
            for entry in entries {
                let entry = entry.map_err(at(&folder))?;
                let Ok(own) = entry.file_name().into_string() else { continue };
                let path = if name.is_empty() { own } else { format!("{name}/{own}") };
                // Links are followed to files only: a link to a folder may lead in a circle.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if depth < DEEPEST {
                        folders.push((entry.path(), path, depth + 1));
                    }
                } else if let Ok(metadata) = fs::metadata(entry.path())
                    && metadata.is_file()
                {
                    files.push((path, metadata.len()));
                }
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    /// Makes the dataset's folder one that the Python tools take for a whole one: they miss `snapshots` otherwise.
    fn make_known(&self, repo: &str) -> Result<(), Error> {
        let snapshots = self.below(repo, "snapshots")?;
        fs::create_dir_all(&snapshots).map_err(at(&snapshots))
    }

    fn snapshot(&self, repo: &str, sha: &str) -> Result<PathBuf, Error> {
        check_commit(sha)?;
        Ok(self.below(repo, "snapshots")?.join(sha))
    }

    fn no_exist(&self, repo: &str, sha: &str, path: &str) -> Result<PathBuf, Error> {
        check_commit(sha)?;
        Ok(self.below(repo, ".no_exist")?.join(sha).join(relative(path)?))
    }

    fn below(&self, repo: &str, part: &str) -> Result<PathBuf, Error> {
        Ok(self.root.join(folder(repo)?).join(part))
    }
}

/// The name of a dataset's folder: `datasets--owner--name`.
fn folder(repo: &str) -> Result<String, Error> {
    let is_usual = |character: char| character.is_alphanumeric() || "-_.".contains(character);
    let is_name = |name: &str| !name.is_empty() && name.chars().all(is_usual);
    if repo.split('/').count() > 2 || !repo.split('/').all(is_name) {
        return Err(wrong(repo, "expected `owner/name`"));
    }
    Ok(format!("datasets--{}", repo.replace('/', "--")))
}

/// A stranger's path as a path below a folder, which it does not leave.
fn relative(path: &str) -> Result<PathBuf, Error> {
    for name in path.split('/') {
        match name {
            "" => return Err(wrong(path, "it has an empty name between slashes")),
            "." | ".." => return Err(wrong(path, "it leads to another folder")),
            _ if name.contains(['\\', '\0']) || cfg!(windows) && name.contains(':') => {
                return Err(wrong(path, "it has a backslash, a zero byte or, on Windows, a colon"));
            }
            _ => {}
        }
    }
    Ok(path.split('/').collect())
}

fn is_commit(sha: &str) -> bool {
    sha.len() == 40 && sha.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn check_commit(sha: &str) -> Result<(), Error> {
    if is_commit(sha) { Ok(()) } else { Err(wrong(sha, "expected a commit of 40 hexadecimal digits")) }
}

fn wrong(name: &str, problem: &'static str) -> Error {
    Error::Name { name: plain(name), problem }
}

/// Whether there is a file of this length.
fn is_whole(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
}

/// Writes a file. Whoever reads it meanwhile sees the old one or the new one, and nothing between.
fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    make_parent(path)?;
    let mut new = path.to_owned().into_os_string();
    new.push(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let new = PathBuf::from(new);
    let written = fs::write(&new, content).and_then(|()| fs::rename(&new, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&new);
        at(path)(error)
    })
}

fn make_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(at(parent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

    fn cache() -> (TempDir, Cache) {
        let folder = TempDir::new().unwrap();
        let cache = Cache::new(folder.path().join("hub"));
        (folder, cache)
    }

    #[test]
    fn a_revision_is_remembered() {
        let (folder, cache) = cache();
        assert_eq!(cache.revision("a/b", "main"), None);
        cache.set_revision("a/b", "main", SHA).unwrap();
        cache.set_revision("a/b", "refs/convert/parquet", SHA).unwrap();
        assert_eq!(cache.revision("a/b", "main").as_deref(), Some(SHA));
        assert_eq!(cache.revision("a/b", "refs/convert/parquet").as_deref(), Some(SHA));
        let refs = folder.path().join("hub/datasets--a--b/refs");
        assert_eq!(fs::read_to_string(refs.join("main")).unwrap(), SHA);
        assert_eq!(fs::read_dir(&refs).unwrap().count(), 2);
        cache.set_revision("a/b", SHA, SHA).unwrap();
        assert_eq!(cache.revision("a/b", SHA).as_deref(), Some(SHA));
        assert_eq!(fs::read_dir(&refs).unwrap().count(), 2);
        fs::write(refs.join("main"), "no commit").unwrap();
        assert_eq!(cache.revision("a/b", "main"), None);
    }

    #[test]
    fn a_file_that_is_missing_is_remembered() {
        let (_folder, cache) = cache();
        assert!(!cache.is_missing("a/b", SHA, "x/README.md"));
        cache.set_missing("a/b", SHA, "x/README.md").unwrap();
        assert!(cache.is_missing("a/b", SHA, "x/README.md"));
        assert!(!cache.is_missing("a/b", SHA, "x"));
        assert_eq!(cache.file("a/b", SHA, "x/README.md"), None);
    }

    #[test]
    fn no_name_leads_out_of_the_cache() {
        let (folder, cache) = cache();
        fs::write(folder.path().join("secret"), "x").unwrap();
        let up = "../../../../secret";
        for path in ["", "/etc/passwd", "a/../b", "..", "a//b", "a\\b", "a\0b", up] {
            assert!(matches!(cache.set_missing("a/b", SHA, path), Err(Error::Name { .. })), "{path:?}");
            assert!(matches!(cache.set_revision("a/b", path, SHA), Err(Error::Name { .. })), "{path:?}");
            assert_eq!(cache.file("a/b", SHA, path), None, "{path:?}");
        }
        for repo in ["", "a/b/c", "a/", "/a", "a b", "a\\b"] {
            assert!(matches!(cache.set_missing(repo, SHA, "x"), Err(Error::Name { .. })), "{repo:?}");
        }
        assert!(cache.set_missing("a/b", "../x", "y").is_err());
        // Two dots are letters of a folder's name like others.
        cache.set_missing("../x", SHA, "y").unwrap();
        assert!(folder.path().join("hub/datasets--..--x").is_dir());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_snapshot_lists_the_files_that_are_there() {
        let (folder, cache) = cache();
        assert_eq!(cache.files("a/b", SHA).unwrap(), []);
        let snapshot = folder.path().join("hub/datasets--a--b/snapshots").join(SHA);
        fs::create_dir_all(snapshot.join("d/e")).unwrap();
        fs::write(snapshot.join("d/e/f"), "12").unwrap();
        fs::write(snapshot.join("b"), "1").unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("../../blobs/gone", snapshot.join("gone")).unwrap();
            std::os::unix::fs::symlink("..", snapshot.join("d/circle")).unwrap();
        }
        let expected = [("b".to_owned(), 1), ("d/e/f".to_owned(), 2)];
        assert_eq!(cache.files("a/b", SHA).unwrap(), expected);
        assert_eq!(cache.file("a/b", SHA, "d/e/f"), Some(snapshot.join("d/e/f")));
        assert_eq!(cache.file("a/b", SHA, "gone"), None);
        assert_eq!(cache.file("a/b", SHA, "d"), None);
    }
}
