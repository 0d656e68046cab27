//! The repositories on disk: `ROOT/datasets/<owner>/<name>/<revision with / as %2F>/files…`, and
//! `ROOT/datasets/<owner>/<name>/hub.json` with what else is to be known of one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

/// A folder of repositories, or the making of one.
///
/// ```ignore
/// let repos = Repos::new()
///     .file("owner/name", "data/train.jsonl", "{\"text\": \"a\"}\n")
///     .file_at("owner/name", "refs/convert/parquet", "default/train/0000.parquet", parquet)
///     .options("owner/name", &json!({"gated": "manual", "allowed_tokens": ["hf_ok"]}));
/// ```
///
/// Options, all optional: `gated` (`"auto"` or `"manual"`), `private`, `disabled`, `allowed_tokens`, `lfs_suffixes`
/// (which files are LFS), `xet` (advertised, never served), `renamed_from` (older names, a legacy single one too),
/// `cardData`, and `hash: "names"` for files too large to read at the start: their digests are made of path and size.
#[derive(Debug)]
pub(crate) struct Repos {
    root: PathBuf,
    _folder: Option<TempDir>,
}

impl Repos {
    /// An empty temporary folder, removed when this is dropped.
    ///
    /// # Panics
    /// Where no temporary folder can be made; so do the others when they cannot write.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { root: folder.path().to_owned(), _folder: Some(folder) }
    }

    /// A folder that exists; what is added to it stays.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), _folder: None }
    }

    /// The folder in which `datasets/` lies.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Adds a file on `main`.
    #[must_use]
    pub(crate) fn file(self, repo: &str, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.file_at(repo, "main", path, content)
    }

    /// Adds a file on another branch, such as `dev/two` or `refs/convert/parquet`.
    #[must_use]
    pub(crate) fn file_at(self, repo: &str, revision: &str, path: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.place(repo, revision, path), content).expect("a file of a repository");
        self
    }

    /// Sets the options of a repository.
    #[must_use]
    pub(crate) fn options(self, repo: &str, options: &Value) -> Self {
        let folder = self.root.join("datasets").join(repo);
        fs::create_dir_all(&folder).expect("the folder of a repository");
        fs::write(folder.join("hub.json"), options.to_string()).expect("the options of a repository");
        self
    }

    /// Where a file lies, for writing it piece by piece; its folder exists after this.
    pub(crate) fn place(&self, repo: &str, revision: &str, path: &str) -> PathBuf {
        let place = self.root.join("datasets").join(repo).join(revision.replace('/', "%2F")).join(path);
        let folder = place.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).expect("a folder of a repository");
        place
    }
}
