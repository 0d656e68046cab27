//! Lists of a commit's files, kept beside its snapshot: without a network nothing else tells whether the snapshot has all
//! of them.
//!
//! The list of all files lies where `huggingface_hub` 2.4 keeps it, in its form (`_tree_cache.py`), and is shared with it.
//! It would take a list of one folder for all, so such lists have a place of our own, in the same form.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Cache, Error, at, check_commit, replace};

/// The version of the form; of others nothing is known.
const VERSION: u32 = 1;

/// The longest list that is read, in bytes: some 300,000 files.
const LONGEST: u64 = 128 << 20;

/// The files in a folder and below it, by their paths in the dataset.
pub(in crate::hub) type Tree = BTreeMap<String, Listed>;

/// A file as the Hub lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::hub) struct Listed {
    /// Its length in bytes.
    pub(in crate::hub) size: u64,
    /// Git's sha1 of the file, or of the pointer to it.
    pub(in crate::hub) blob_id: String,
    /// The sha256 of a file in large file storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::hub) lfs_sha256: Option<String>,
    /// The length of such a file in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::hub) lfs_size: Option<u64>,
    /// Its name in Xet, which we do not use and the Python tools do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::hub) xet_hash: Option<String>,
}

#[derive(Serialize)]
struct Writing<'t> {
    format_version: u32,
    files: &'t Tree,
}

#[derive(Deserialize)]
struct Reading {
    format_version: u32,
    files: Tree,
}

impl Cache {
    /// Keeps the list of a folder of a commit; of the empty folder, of all its files.
    pub(in crate::hub) fn set_tree(
        &self,
        repo: &str,
        sha: &str,
        folder: &str,
        files: &Tree,
    ) -> Result<(), Error> {
        let path = self.tree_path(repo, sha, folder)?;
        self.make_known(repo)?;
        let text = serde_json::to_vec(&Writing { format_version: VERSION, files });
        replace(&path, &text.map_err(|error| at(&path)(error.into()))?)
    }

    /// The list of a folder of a commit, or of a folder around it, whichever is kept. A list that cannot be read is none.
    pub(in crate::hub) fn tree(&self, repo: &str, sha: &str, folder: &str) -> Option<Tree> {
        let around = folder.match_indices('/').map(|(at, _)| &folder[..at]);
        let mut folders: Vec<_> = [""].into_iter().chain(around).chain([folder]).collect();
        folders.dedup();
        folders.into_iter().find_map(|folder| self.kept(repo, sha, folder))
    }

    /// Whether the list of some folder of a commit is kept.
    pub(in crate::hub) fn has_tree(&self, repo: &str, sha: &str) -> bool {
        let whole = self.tree_path(repo, sha, "").is_ok_and(|path| path.is_file());
        whole || self.below(repo, ".classified").is_ok_and(|folder| folder.join(sha).is_dir())
    }

    fn kept(&self, repo: &str, sha: &str, folder: &str) -> Option<Tree> {
        let path = self.tree_path(repo, sha, folder).ok()?;
        if fs::metadata(&path).ok()?.len() > LONGEST {
            return None;
        }
        let reading: Reading = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        (reading.format_version == VERSION).then_some(reading.files)
    }

    fn tree_path(&self, repo: &str, sha: &str, folder: &str) -> Result<PathBuf, Error> {
        check_commit(sha)?;
        if folder.is_empty() {
            return Ok(self.below(repo, "trees")?.join(format!("{sha}.json")));
        }
        // A folder's name may be too long for a file's.
        let name = format!("{:x}.json", Sha256::digest(folder));
        Ok(self.below(repo, ".classified")?.join(sha).join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";
    const REPO: &str = "owner/name";

    fn cache() -> (TempDir, Cache) {
        let folder = TempDir::new().unwrap();
        let cache = Cache::new(folder.path().to_owned());
        (folder, cache)
    }

    fn tree(paths: &[&str]) -> Tree {
        let listed = |path: &str| Listed {
            size: path.len() as u64,
            blob_id: SHA.to_owned(),
            lfs_sha256: path.ends_with("parquet").then(|| "ab".repeat(32)),
            lfs_size: path.ends_with("parquet").then_some(7),
            xet_hash: None,
        };
        paths.iter().map(|path| ((*path).to_owned(), listed(path))).collect()
    }

    #[test]
    fn a_list_of_a_folder_is_found_by_it_and_by_those_in_it() {
        let (_folder, cache) = cache();
        assert!(!cache.has_tree(REPO, SHA));
        let files = tree(&["a/b/c", "a/b/d.parquet"]);
        cache.set_tree(REPO, SHA, "a/b", &files).unwrap();
        assert_eq!(cache.tree(REPO, SHA, "a/b"), Some(files.clone()));
        assert_eq!(cache.tree(REPO, SHA, "a/b/e/f"), Some(files));
        for other in ["", "a", "a/bc", "b"] {
            assert_eq!(cache.tree(REPO, SHA, other), None, "{other}");
        }
        assert!(cache.has_tree(REPO, SHA));
        assert!(!cache.has_tree(REPO, &SHA.replace('0', "f")));
    }

    #[test]
    fn the_list_of_all_files_is_found_by_every_folder() {
        let (folder, cache) = cache();
        let files = tree(&["x", "a/y.parquet"]);
        cache.set_tree(REPO, SHA, "", &files).unwrap();
        assert_eq!(cache.tree(REPO, SHA, ""), Some(files.clone()));
        assert_eq!(cache.tree(REPO, SHA, "a"), Some(files));
        let top = folder.path().join("datasets--owner--name");
        let text = fs::read_to_string(top.join("trees").join(format!("{SHA}.json"))).unwrap();
        insta::assert_snapshot!(text, @r#"{"format_version":1,"files":{"a/y.parquet":{"size":11,"blob_id":"0123456789abcdef0123456789abcdef01234567","lfs_sha256":"abababababababababababababababababababababababababababababababab","lfs_size":7},"x":{"size":1,"blob_id":"0123456789abcdef0123456789abcdef01234567"}}}"#);
        assert!(top.join("snapshots").is_dir(), "the Python tools miss it");
    }

    #[test]
    fn a_list_of_another_form_is_none() {
        let (folder, cache) = cache();
        cache.set_tree(REPO, SHA, "", &tree(&["x"])).unwrap();
        let path = folder.path().join("datasets--owner--name/trees").join(format!("{SHA}.json"));
        for text in
            ["", "{}", "[", r#"{"format_version":2,"files":{}}"#, r#"{"format_version":1,"files":[]}"#]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(cache.tree(REPO, SHA, ""), None, "{text}");
        }
        fs::write(&path, r#"{"format_version":1,"files":{},"more":1}"#).unwrap();
        assert_eq!(cache.tree(REPO, SHA, "x"), Some(Tree::new()));
    }
}
