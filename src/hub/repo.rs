//! A dataset at one commit: what it holds, and its small files.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Hub;
use super::address::{self, host, next_page, segment};
use super::cache::{Listed, Tree};
use super::error::Error;
use super::file::File;
use super::name;
use super::refusal::About;
use super::request::Ask;
use super::retry::{Tries, Trouble};
use crate::http::{HeaderMap, Url, header, plain};

/// The revision of a dataset if none is named.
const MAIN: &str = "main";

/// The revision where the Hub keeps a dataset converted to parquet: `{config}/{split}/0000.parquet`.
const CONVERTED: &str = "refs/convert/parquet";

/// The longest answer of the API that is read, in bytes. The description of a dataset lists all its files.
const MAX_JSON: usize = 64 << 20;

/// Of a small file no more is read, in bytes: a dataset's card begins with what matters.
pub(super) const MAX_TEXT: usize = 4 << 20;

/// The most files and folders that are listed, and pages of them: the Hub gives 1,000 a page.
const MAX_ENTRIES: usize = 300_000;
const MAX_PAGES: usize = 10_000;

/// The most branches and tags that a message lists.
const SHOWN_REVISIONS: usize = 20;

/// A dataset at one commit.
#[derive(Debug, Clone)]
pub struct Repo {
    /// Its canonical name: renames, letter case and names without an owner are resolved.
    pub id: String,
    /// The revision, as asked for; `main` by default.
    pub revision: String,
    /// The commit to which every request is pinned.
    pub sha: String,
    /// Whether its files are only for people who have accepted its terms. Its list of files is public.
    pub gated: bool,
    /// Its name, as asked for.
    asked: String,
    hub: Hub,
}

/// A file of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the dataset.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// What names its content in the Hub cache: the sha256 of a large file, the git sha1 of a small one. Empty when
    /// no list was kept and the snapshot's own is used.
    pub blob: String,
    /// Whether it is kept in large file storage.
    pub lfs: bool,
}

/// `GET /api/datasets/{id}[/revision/{revision}]`.
#[derive(Deserialize)]
struct Info {
    id: Option<String>,
    sha: String,
    #[serde(default)]
    gated: serde_json::Value,
    #[serde(default)]
    disabled: bool,
}

/// An item of `GET /api/datasets/{id}/tree/{revision}`.
#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<Lfs>,
    #[serde(rename = "xetHash")]
    xet: Option<String>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: Option<u64>,
}

/// `GET /api/datasets/{id}/refs`.
#[derive(Deserialize)]
struct Refs {
    #[serde(default)]
    branches: Vec<Ref>,
    #[serde(default)]
    tags: Vec<Ref>,
}

#[derive(Deserialize)]
struct Ref {
    name: String,
}

impl Hub {
    /// Looks up a dataset and resolves its revision (a branch, a tag, a commit) to a commit, in one request, or two if
    /// it has another name now. Offline it is as it was when it was last downloaded.
    pub async fn repo(&self, name: &str, revision: Option<&str>) -> Result<Repo, Error> {
        name::check(name).map_err(|problem| Error::Name { name: plain(name), problem })?;
        if self.offline().is_some() {
            return self.cached_repo(name, revision.unwrap_or(MAIN));
        }
        match self.look_up(name, revision).await {
            Ok(repo) => Ok(Repo { asked: name.to_owned(), ..repo }),
            Err(trouble) => {
                let about = About { repo: name, revision: revision.unwrap_or(MAIN), path: None };
                let mut error = self.explain(trouble, &about);
                if let Error::Revision { known, .. } = &mut error {
                    *known = self.revisions(name).await;
                }
                Err(error)
            }
        }
    }

    async fn look_up(&self, name: &str, revision: Option<&str>) -> Result<Repo, Trouble> {
        let mut path = format!("/api/datasets/{}", address::path(name));
        if let Some(revision) = revision {
            path = format!("{path}/revision/{}", segment(revision));
        }
        let url = self.url(&path).map_err(Trouble::Final)?;
        let (info, _): (Info, _) = self.json(&url).await?;
        let id = info.id.unwrap_or_else(|| name.to_owned());
        // Both go into addresses and names of folders.
        if name::check(&id).is_err() || !is_hash(&info.sha) {
            return Err(stranger(&url, "a dataset without a proper name or commit"));
        }
        if info.disabled {
            return Err(Trouble::Final(Error::Disabled { hub: self.host(), repo: id }));
        }
        // `false`, or "auto" or "manual".
        let gated = info.gated.is_string() || info.gated == true;
        Ok(Repo { gated, ..Repo::new(self, &id, revision.unwrap_or(MAIN), info.sha) })
    }

    /// The branches and tags of a dataset, for a message; nothing if the Hub does not tell.
    async fn revisions(&self, name: &str) -> String {
        let Ok(url) = self.url(&format!("/api/datasets/{}/refs", address::path(name))) else {
            return String::new();
        };
        let Ok((refs, _)) = self.json::<Refs>(&url).await else { return String::new() };
        let names: Vec<_> = refs.branches.iter().chain(&refs.tags).map(|found| plain(&found.name)).collect();
        match names.len() {
            0 => String::new(),
            count @ 0..=SHOWN_REVISIONS => format!("; it has {}", names[..count].join(", ")),
            count => {
                let more = count - SHOWN_REVISIONS;
                format!("; it has {} and {more} more", names[..SHOWN_REVISIONS].join(", "))
            }
        }
    }

    /// An answer of the API, and its headers.
    async fn json<T: DeserializeOwned>(&self, url: &Url) -> Result<(T, HeaderMap), Trouble> {
        let mut tries = Tries::new(self);
        loop {
            match self.json_once(url).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => tries.wait(trouble).await?,
            }
        }
    }

    async fn json_once<T: DeserializeOwned>(&self, url: &Url) -> Result<(T, HeaderMap), Trouble> {
        let mut answer = self.open(url, &Ask::Json).await?;
        if answer.is_page() {
            return Err(stranger(url, "a web page"));
        }
        let body = answer.read(MAX_JSON).await?;
        if body.len() > MAX_JSON {
            return Err(stranger(url, "an answer without end"));
        }
        match serde_json::from_slice(&body) {
            Ok(value) => Ok((value, answer.headers().clone())),
            Err(error) => {
                let error =
                    stranger(url, &format!("JSON that is not the Hub's: {}", plain(&error.to_string())));
                Err(error)
            }
        }
    }
}

impl Repo {
    pub(super) fn new(hub: &Hub, id: &str, revision: &str, sha: String) -> Self {
        let (id, revision, asked) = (id.to_owned(), revision.to_owned(), id.to_owned());
        Self { id, revision, sha, gated: false, asked, hub: hub.clone() }
    }

    /// The files in `folder` and below it, in the order of their paths; all files for an empty `folder`, the file itself
    /// if it names one, nothing if there is no such folder.
    ///
    /// The list is kept in the Hub cache, and offline it is the answer: it has the files that were not downloaded too.
    /// Where none was kept (another tool has downloaded the dataset), the files that are there are the answer, and the
    /// notice says that there may be more.
    pub async fn tree(&self, folder: &str) -> Result<Vec<Entry>, Error> {
        let folder = folder.trim_matches('/');
        if self.hub.offline().is_some() {
            return self.cached_tree(folder);
        }
        if !folder.is_empty() && !name::inside(folder) {
            return Ok(Vec::new());
        }
        let tree = self.listed(folder).await.map_err(|trouble| self.explain(trouble, Some(folder)))?;
        let entries = tree.iter().map(|(path, listed)| Entry::new(path, listed)).collect();
        self.keep_tree(folder, tree).await;
        Ok(entries)
    }

    async fn listed(&self, folder: &str) -> Result<Tree, Trouble> {
        let mut path = format!("/api/datasets/{}/tree/{}", address::path(&self.id), segment(&self.sha));
        if !folder.is_empty() {
            path = format!("{path}/{}", address::path(folder));
        }
        // `expand=true` would be slower, with smaller pages.
        let url = self.hub.url(&format!("{path}?recursive=true&expand=false")).map_err(Trouble::Final)?;
        let mut next = Some(url);
        let mut tree = Tree::new();
        let mut pages = 0;
        while let Some(page) = next {
            let (items, headers) = match self.hub.json::<Vec<Item>>(&page).await {
                Err(Trouble::Refused(refusal)) if refusal.is_no_entry() && !folder.is_empty() => {
                    return Ok(Tree::new());
                }
                answer => answer?,
            };
            for item in items.into_iter().filter(|item| item.kind == "file") {
                let (path, listed) = item.checked().map_err(|problem| stranger(&page, &problem))?;
                tree.insert(path, listed);
            }
            pages += 1;
            next = next_page(&headers, &page, &self.hub.inner.endpoint)
                .map_err(|problem| stranger(&page, &problem))?;
            if tree.len() > MAX_ENTRIES || (pages >= MAX_PAGES && next.is_some()) {
                return Err(Trouble::Final(Error::TooMany { repo: self.id.clone(), most: MAX_ENTRIES }));
            }
        }
        Ok(tree)
    }

    /// The text of a small file such as `README.md`, or its first 4 MiB; none if there is no such file. What is not
    /// UTF-8 is replaced. It is kept in the Hub cache, and not asked for again.
    pub async fn text(&self, path: &str) -> Result<Option<String>, Error> {
        if let Some(text) = self.cached_text(path) {
            return Ok(Some(text));
        }
        if self.is_missing(path)? {
            return Ok(None);
        }
        let url = self.hub.url(&self.address(path))?;
        let mut tries = Tries::new(&self.hub);
        loop {
            match self.text_once(&url, path).await {
                Ok(body) => return Ok(Some(String::from_utf8_lossy(&body).into_owned())),
                Err(Trouble::Refused(refusal)) if refusal.is_no_entry() => {
                    self.keep_missing(path).await;
                    return Ok(None);
                }
                Err(trouble) => {
                    tries.wait(trouble).await.map_err(|trouble| self.explain(trouble, Some(path)))?;
                }
            }
        }
    }

    async fn text_once(&self, url: &Url, path: &str) -> Result<Bytes, Trouble> {
        let mut answer = self.hub.open(url, &Ask::File).await?;
        let home = answer.is_home();
        // The Hub gives every small file as plain text.
        if answer.is_page() && home {
            return Err(stranger(url, "a web page"));
        }
        let mut body = answer.read(MAX_TEXT).await?;
        let tag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        if body.len() > MAX_TEXT {
            body.truncate(MAX_TEXT);
        } else if let Some(blob) = tag.map(|tag| tag.trim_matches('"')).filter(|tag| home && is_git_sha1(tag))
        {
            let (path, size) = (path.to_owned(), body.len() as u64);
            self.keep(Entry { path, size, blob: blob.to_owned(), lfs: false }, body.clone()).await;
        }
        Ok(body)
    }

    /// The same dataset as the Hub has converted it to parquet; none if it has not.
    pub async fn converted(&self) -> Result<Option<Self>, Error> {
        if self.hub.offline().is_some() {
            return Ok(self.hub.cached_repo(&self.id, CONVERTED).ok());
        }
        match self.hub.look_up(&self.id, Some(CONVERTED)).await {
            Ok(repo) => Ok(Some(repo)),
            Err(Trouble::Refused(refusal)) if refusal.is_no_revision() => Ok(None),
            Err(trouble) => {
                let about = About { repo: &self.id, revision: CONVERTED, path: None };
                Err(self.hub.explain(trouble, &about))
            }
        }
    }

    /// A file, to be read in pieces. Nothing is sent yet.
    pub fn file(&self, entry: &Entry) -> File {
        File::new(self.clone(), entry.clone())
    }

    /// The path, at the endpoint, of a file's bytes.
    pub(super) fn address(&self, path: &str) -> String {
        format!(
            "/datasets/{}/resolve/{}/{}",
            address::path(&self.id),
            segment(&self.sha),
            address::path(path)
        )
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Its name, as asked for.
    pub(super) fn asked(&self) -> &str {
        &self.asked
    }

    pub(super) fn explain(&self, trouble: Trouble, path: Option<&str>) -> Error {
        self.hub.explain(trouble, &About { repo: &self.id, revision: &self.revision, path })
    }
}

impl Entry {
    pub(super) fn new(path: &str, listed: &Listed) -> Self {
        let blob = listed.lfs_sha256.as_ref().unwrap_or(&listed.blob_id).clone();
        let size = listed.lfs_size.unwrap_or(listed.size);
        Self { path: path.to_owned(), size, blob, lfs: listed.lfs_sha256.is_some() }
    }
}

impl Item {
    /// The file's path and what is listed of it, or what is wrong with it.
    fn checked(self) -> Result<(String, Listed), String> {
        let Self { path, size, oid, lfs, xet, .. } = self;
        if !name::inside(&path) {
            return Err(format!("a file outside the dataset, `{}`", plain(&path)));
        }
        if !is_hash(lfs.as_ref().map_or(&oid, |lfs| &lfs.oid)) {
            return Err(format!("no hash for `{}`", plain(&path)));
        }
        let lfs_size = lfs.as_ref().map(|lfs| lfs.size.unwrap_or(size));
        // The Python tools throw a list away in which one of these is wrong.
        let xet_hash =
            xet.filter(|hash| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        Ok((path, Listed { size, blob_id: oid, lfs_sha256: lfs.map(|lfs| lfs.oid), lfs_size, xet_hash }))
    }
}

/// Whether this can be the name of a commit or of a content.
fn is_hash(text: &str) -> bool {
    (7..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether this names a small file's content; what another server calls its copy does not.
fn is_git_sha1(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn stranger(url: &Url, problem: &str) -> Trouble {
    Trouble::Final(Error::Stranger { host: host(url), problem: problem.to_owned() })
}
