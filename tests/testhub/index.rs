//! What the repositories of a folder hold: read once, with the digests that the hub tells.
//!
//! A commit's name is made of the repository's name, the revision and the blobs: the same content has the same name
//! wherever the folder lies. It is not git's.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use super::{digest, url};

/// Which files a real repository's `.gitattributes` makes LFS, of those that tests have.
const LFS_SUFFIXES: [&str; 10] =
    [".parquet", ".gz", ".zst", ".arrow", ".tar", ".bin", ".zip", ".bz2", ".xz", ".lz4"];

/// All repositories.
#[derive(Debug, Default)]
pub(super) struct Index {
    repos: BTreeMap<String, Repo>,
    /// Every name in lower case, older ones too, and the canonical one.
    names: HashMap<String, String>,
    /// What the CDN has: the last part of a signed path.
    stored: HashMap<String, Stored>,
}

/// Where the bytes of a large file lie.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) path: PathBuf,
    pub(super) size: u64,
}

/// One repository.
#[derive(Debug)]
pub(super) struct Repo {
    pub(super) id: String,
    pub(super) options: Options,
    pub(super) revisions: BTreeMap<String, Snapshot>,
}

/// `hub.json`; see [`super::Repos`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Options {
    pub(super) gated: Option<String>,
    pub(super) private: bool,
    pub(super) disabled: bool,
    pub(super) allowed_tokens: Vec<String>,
    lfs_suffixes: Option<Vec<String>>,
    pub(super) xet: bool,
    renamed_from: Vec<String>,
    #[serde(rename = "cardData")]
    pub(super) card: Value,
    hash: Hash,
}

/// What the digests of a repository's files are made of.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Hash {
    #[default]
    Content,
    /// Path and size, for files that would take long to read.
    Names,
}

/// A revision.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) sha: String,
    pub(super) files: BTreeMap<String, Entry>,
    /// Every folder with a name made of its path.
    pub(super) folders: BTreeMap<String, String>,
}

/// A file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: PathBuf,
    pub(super) size: u64,
    /// Git's name of the blob: of the pointer, where there is one.
    pub(super) git: String,
    /// What there is to know of an LFS file.
    pub(super) large: Option<Large>,
}

/// A file whose bytes the CDN has.
#[derive(Debug)]
pub(super) struct Large {
    pub(super) sha256: String,
    /// What git has in its place.
    pub(super) pointer: String,
    /// Stands for the Xet hash: 64 digits that are not the SHA-256.
    pub(super) xet: String,
}

impl Index {
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut index = Self::default();
        let datasets = root.join("datasets");
        for owner in folders(&datasets)? {
            for name in folders(&datasets.join(&owner))? {
                index.add(&datasets, format!("{owner}/{name}"))?;
            }
        }
        Ok(index)
    }

    fn add(&mut self, datasets: &Path, id: String) -> anyhow::Result<()> {
        let folder = datasets.join(&id);
        let options: Options = match fs::read(folder.join("hub.json")) {
            Ok(text) => {
                serde_json::from_slice(&text).with_context(|| format!("the options of {id} are none"))?
            }
            Err(_) => Options::default(),
        };
        let mut revisions = BTreeMap::new();
        for each in folders(&folder)? {
            let revision = url::unquote(&each);
            let snapshot = Snapshot::read(&folder.join(&each), &options, &format!("{id}@{revision}"))?;
            for file in snapshot.files.values() {
                if let Some(large) = &file.large {
                    let stored = Stored { path: file.place.clone(), size: file.size };
                    self.stored.insert(large.xet.clone(), stored);
                }
            }
            revisions.insert(revision, snapshot);
        }
        for name in options.renamed_from.iter().chain([&id]) {
            self.names.insert(name.to_lowercase(), id.clone());
        }
        self.repos.insert(id.clone(), Repo { id, options, revisions });
        Ok(())
    }

    pub(super) fn count(&self) -> usize {
        self.repos.len()
    }

    /// The repository of a name in any case, or of an older name.
    pub(super) fn repo(&self, name: &str) -> Option<&Repo> {
        self.repos.get(self.names.get(&name.to_lowercase())?)
    }

    pub(super) fn sha(&self, repo: &str, revision: &str) -> Option<String> {
        Some(self.repo(repo)?.revision(revision)?.sha.clone())
    }

    /// The commit of each revision of each repository.
    pub(super) fn shas(&self) -> BTreeMap<&str, BTreeMap<&str, &str>> {
        self.repos
            .values()
            .map(|repo| {
                let shas =
                    repo.revisions.iter().map(|(name, snapshot)| (name.as_str(), snapshot.sha.as_str()));
                (repo.id.as_str(), shas.collect())
            })
            .collect()
    }

    /// What the CDN has under a name.
    pub(super) fn stored(&self, xet: &str) -> Option<&Stored> {
        self.stored.get(xet)
    }
}

impl Repo {
    /// The snapshot of a branch, of `refs/heads/` and a branch, or of the beginning of a commit's name.
    pub(super) fn revision(&self, revision: &str) -> Option<&Snapshot> {
        let branch = revision.strip_prefix("refs/heads/").unwrap_or(revision);
        let commit =
            (7..=40).contains(&revision.len()) && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.revisions
            .get(revision)
            .or_else(|| self.revisions.get(branch))
            .or_else(|| self.revisions.values().find(|snapshot| commit && snapshot.sha.starts_with(revision)))
    }

    /// The 24 digits by which the hub's database knows it.
    pub(super) fn key(&self) -> String {
        let mut key = digest::sha1(&[self.id.as_bytes()]);
        key.truncate(24);
        key
    }
}

impl Snapshot {
    fn read(folder: &Path, options: &Options, label: &str) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        collect(folder, "", options, &mut files)?;
        let lines: Vec<String> =
            files.iter().map(|(path, file): (&String, &Entry)| format!("{} {path}", file.git)).collect();
        let sha = digest::sha1(&[b"commit\0", label.as_bytes(), lines.join("\n").as_bytes()]);
        let parents: BTreeSet<&str> =
            files.keys().flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at])).collect();
        let folders = parents
            .into_iter()
            .map(|path| (path.to_owned(), digest::sha1(&[b"tree\0", path.as_bytes(), sha.as_bytes()])))
            .collect();
        Ok(Self { sha, files, folders })
    }
}

impl Entry {
    fn read(place: PathBuf, path: &str, options: &Options) -> anyhow::Result<Self> {
        let size = fs::metadata(&place)?.len();
        let lfs = match &options.lfs_suffixes {
            Some(suffixes) => suffixes.iter().any(|suffix| path.ends_with(suffix)),
            None => LFS_SUFFIXES.iter().any(|suffix| path.ends_with(suffix)),
        };
        let name = format!("{path} {size}");
        if !lfs {
            let git = match options.hash {
                Hash::Content => digest::git_blob_of_file(&place)?,
                Hash::Names => digest::git_blob(name.as_bytes()),
            };
            return Ok(Self { place, size, git, large: None });
        }
        let sha256 = match options.hash {
            Hash::Content => digest::sha256_of_file(&place)?,
            Hash::Names => digest::sha256(&[name.as_bytes()]),
        };
        // git-lfs, docs/spec.md
        let pointer =
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n");
        let git = digest::git_blob(pointer.as_bytes());
        let xet = digest::sha256(&[b"xet", sha256.as_bytes()]);
        Ok(Self { place, size, git, large: Some(Large { sha256, pointer, xet }) })
    }
}

/// Adds the files below a folder under their paths from the top.
fn collect(
    folder: &Path,
    above: &str,
    options: &Options,
    files: &mut BTreeMap<String, Entry>,
) -> anyhow::Result<()> {
    for each in fs::read_dir(folder)? {
        let each = each?;
        let path = format!("{above}{}", each.file_name().to_string_lossy());
        if each.path().is_dir() {
            collect(&each.path(), &format!("{path}/"), options, files)?;
        } else {
            let entry =
                Entry::read(each.path(), &path, options).with_context(|| format!("cannot read {path}"))?;
            files.insert(path, entry);
        }
    }
    Ok(())
}

/// The names of the folders in a folder; none where there is none.
fn folders(folder: &Path) -> anyhow::Result<Vec<String>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for each in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let each = each?;
        if each.path().is_dir() {
            names.push(each.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}
