//! From where a dataset is to the files that are read: listing, configs and splits, downloads.

use super::error::{Error, listed as listed_names, plain};
use super::folder::{self, Saved, Spool};
use super::layout::{self, Card, Compression, Config, Fault, Format, Parameters};
use super::place::{self, Place};
use super::{Access, News, Request, blocking};
use crate::hub::{self, Entry, Hub, Repo};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file of the dataset.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// Its path within the dataset, which its rows are known by.
    pub(super) path: String,
    /// What messages call it.
    pub(super) label: String,
    /// Its length in bytes.
    pub(super) size: u64,
    pub(super) format: Format,
    pub(super) compression: Compression,
    pub(super) parameters: Parameters,
    pub(super) at: At,
}

/// Where a file is.
#[derive(Debug, Clone)]
pub(super) enum At {
    Local(PathBuf),
    Hub(hub::File),
}

/// What a dataset consists of, as far as names tell.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) card: Card,
    /// Paths below the folder that was named.
    paths: Vec<String>,
    root: Root,
    /// Whether it is one split, which need not be named.
    is_one_split: bool,
    /// What the user should know of what is not read.
    notes: Vec<String>,
}

/// Where the files of a listing are, in the order of its paths.
#[derive(Debug)]
enum Root {
    Folder(PathBuf, Vec<(String, u64)>),
    Hub(Repo, Vec<Entry>),
}

/// What is found under a name.
#[derive(Debug)]
pub(super) enum Found {
    File(Box<Member>),
    Listing(Box<Listing>),
}

/// The dataset that a request names.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) found: Found,
    /// The commit of a repository at the Hub.
    pub(super) revision: Option<String>,
    pub(super) hub: Option<Hub>,
    /// Removed when the dataset is closed.
    pub(super) spool: Option<Arc<Spool>>,
}

/// How much of a repository is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The folders of the request's config, where the card says which those are.
    Chosen,
    /// Everything.
    All,
}

/// Names in a note.
const SHOWN: usize = 10;

/// Finds the dataset, and reads its card and its list of files.
pub(super) async fn gather(request: &Request, scope: Scope) -> Result<Gathered, Error> {
    let name = request.name.clone();
    let endpoint = request.hub.endpoint.clone();
    let place = blocking(&request.name, move || place::find(&name, &endpoint)).await?;
    if let Place::Hub(name) = place {
        let hub = request.connect()?;
        let (found, sha) = at_hub(request, &hub, &name, scope).await?;
        return Ok(Gathered { found, revision: Some(sha), hub: Some(hub), spool: None });
    }
    if let Some(revision) = &request.revision {
        return Err(Error::NotAtHub { name: plain(&request.name), revision: plain(revision) });
    }
    let name = request.name.clone();
    let (found, spool) = blocking(&request.name, move || here(place, &name)).await?;
    if let Found::File(_) = found {
        request.expect_one_file()?;
    }
    Ok(Gathered { found, revision: None, hub: None, spool: spool.map(Arc::new) })
}

/// What is on this machine.
fn here(place: Place, name: &str) -> Result<(Found, Option<Spool>), Error> {
    let spooled = |from: &mut dyn io::Read, path: &str| {
        let spool = folder::spooled(from, name)?;
        let mut member = file(&spool.path(), name)?;
        path.clone_into(&mut member.path);
        member.format = Format::Jsonl;
        Ok((Found::File(Box::new(member)), Some(spool)))
    };
    match place {
        Place::File(path) => Ok((Found::File(Box::new(file(&path, name)?)), None)),
        Place::Stdin => spooled(&mut io::stdin().lock(), "-"),
        Place::Pipe(path) => {
            let mut pipe = File::open(&path).map_err(|error| Error::io(name, error))?;
            spooled(&mut pipe, &own_name(&path, name))
        }
        Place::Folder(path) => Ok((Found::Listing(Box::new(local(path, name)?)), None)),
        Place::Hub(_) => Err(Error::Missing { name: plain(name), hint: String::new() }),
    }
}

fn own_name(path: &Path, name: &str) -> String {
    path.file_name().map_or_else(|| name.to_owned(), |file| file.to_string_lossy().into_owned())
}

/// A single file on this machine.
fn file(path: &Path, name: &str) -> Result<Member, Error> {
    let size = fs::metadata(path).map_err(|error| Error::io(name, error))?.len();
    let (format, compression) = match layout::format_of(&own_name(path, name)) {
        Ok(known) => known,
        Err(fault) => (by_content(path, name)?.ok_or_else(|| Error::layout(name, fault))?, Compression::None),
    };
    Ok(Member {
        path: own_name(path, name),
        label: name.to_owned(),
        size,
        format,
        compression,
        parameters: Parameters::default(),
        at: At::Local(path.to_owned()),
    })
}

/// The format of a file whose name does not tell.
fn by_content(path: &Path, name: &str) -> Result<Option<Format>, Error> {
    const PEEK: u64 = 4096;
    let mut start = Vec::new();
    let peeked = File::open(path).and_then(|file| file.take(PEEK).read_to_end(&mut start));
    peeked.map_err(|error| Error::io(name, error))?;
    let text = start.trim_ascii_start();
    Ok(match () {
        () if start.starts_with(b"PAR1") => Some(Format::Parquet),
        () if start.starts_with(b"ARROW1") || start.starts_with(&[0xff; 4]) => Some(Format::Arrow),
        () if text.starts_with(b"{\"") => Some(Format::Jsonl),
        () => None,
    })
}

/// The files of a folder on this machine.
fn local(path: PathBuf, name: &str) -> Result<Listing, Error> {
    if ["blobs", "snapshots"].iter().all(|inner| path.join(inner).is_dir()) {
        return Err(Error::CacheFolder { name: plain(name) });
    }
    let mut notes = Vec::new();
    let mut files = folder::files(&path, name, &mut notes)?;
    if let Some(saved) = folder::saved(&path, name)? {
        let is_one_split = matches!(saved, Saved::One(..));
        let splits = match saved {
            Saved::One(files, split) => vec![(split.unwrap_or_else(|| "train".into()), files)],
            Saved::Splits(splits) => splits,
        };
        let card = Card::of(vec![("default".into(), splits)]);
        return Ok(Listing {
            card,
            paths: paths(&files),
            root: Root::Folder(path, files),
            is_one_split,
            notes,
        });
    }
    let mut own = Vec::new();
    files.retain(|(file, _)| {
        let is_own = layout::format_of(file).is_ok() && folder::is_own(&path.join(file));
        if is_own {
            own.push(file.clone());
        }
        !is_own
    });
    if !own.is_empty() {
        notes.push(format!(
            "not read, as results of this program: {}",
            listed_names(own.iter().map(String::as_str), SHOWN)
        ));
    }
    let text = |file: &str| files.iter().any(|(path, _)| path == file).then(|| read(&path.join(file)));
    let card = layout::card(text("README.md").as_deref(), text(".huggingface.yaml").as_deref());
    let card = card.map_err(|fault| Error::layout(name, fault))?;
    Ok(Listing { card, paths: paths(&files), root: Root::Folder(path, files), is_one_split: false, notes })
}

fn paths(files: &[(String, u64)]) -> Vec<String> {
    files.iter().map(|(path, _)| path.clone()).collect()
}

/// The text of a card, or nothing where it cannot be read.
fn read(path: &Path) -> String {
    const LONGEST: u64 = 4 << 20;
    let mut text = Vec::new();
    let file = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    file.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&text).into_owned())
}

/// What is at the Hub under a name, one file or a repository, and at which commit.
async fn at_hub(
    request: &Request,
    hub: &Hub,
    name: &hub::Name,
    scope: Scope,
) -> Result<(Found, String), Error> {
    let revision = match (&request.revision, &name.revision) {
        (Some(one), Some(other)) if one != other => {
            let (one, other) = (plain(one), plain(other));
            return Err(Error::TwoRevisions { name: plain(&request.name), one, other });
        }
        (one, other) => one.as_deref().or(other.as_deref()),
    };
    let repo = hub.repo(&name.repo, revision).await?;
    let sha = repo.sha.clone();
    if let Some(path) = name.path.as_deref().filter(|path| !path.is_empty()) {
        return Ok((named(request, repo, path).await?, sha));
    }
    let listing = if revision == Some(CONVERTED) {
        let entries = repo.tree("").await?;
        converted(request, repo, entries)
    } else {
        repository(request, repo, scope).await?
    };
    let sha = listing.revision().unwrap_or(sha);
    Ok((Found::Listing(Box::new(listing)), sha))
}

/// The card and the files of a repository.
async fn repository(request: &Request, repo: Repo, scope: Scope) -> Result<Listing, Error> {
    let fault = |fault| Error::layout(&request.name, fault);
    let config = request.config.as_deref();
    let readme = repo.text("README.md").await?;
    let mut card = layout::card(readme.as_deref(), None).map_err(fault)?;
    let folders = |card: &Card| if scope == Scope::All { None } else { card.folders(config) };
    let is_part = folders(&card).is_some();
    let mut entries = listed(&repo, folders(&card).as_deref()).await?;
    // A list of some folders does not show whether there is a second card, which would change it.
    if is_part || entries.iter().any(|entry| entry.path == EXTRA_CARD) {
        let extra = repo.text(EXTRA_CARD).await?;
        if extra.is_some() {
            card = layout::card(readme.as_deref(), extra.as_deref()).map_err(fault)?;
            entries = listed(&repo, folders(&card).as_deref()).await?;
        }
    }
    // A dataset that is a script: the Hub may have run it once and kept what came of it.
    let script = format!("{}.py", repo.id.rsplit('/').next().unwrap_or_default());
    let is_script = entries.iter().any(|entry| entry.path == script);
    let listing = Listing::at_hub(repo.clone(), card, entries);
    let nothing = listing.layout().choose(config).err();
    if !is_script || !matches!(nothing, Some(Fault::Empty | Fault::NoneSupported { .. })) {
        return Ok(listing);
    }
    let Some(branch) = repo.converted().await? else {
        return Err(Error::Script { name: plain(&request.name) });
    };
    request.news(&News::Note("this dataset is a script: reading the Hub's own conversion to parquet"));
    if request.access == Access::Download {
        // Of it nothing is downloaded, and offline it leads to the conversion.
        repo.remember().await;
    }
    let entries = branch.tree("").await?;
    Ok(converted(request, branch, entries))
}

/// The branch to which the Hub writes what it has converted to parquet.
const CONVERTED: &str = "refs/convert/parquet";

/// A card that overrides README.md's.
const EXTRA_CARD: &str = ".huggingface.yaml";

async fn listed(repo: &Repo, folders: Option<&[String]>) -> Result<Vec<Entry>, Error> {
    let Some(folders) = folders else { return Ok(repo.tree("").await?) };
    let mut entries = Vec::new();
    for folder in folders {
        entries.extend(repo.tree(folder).await?);
    }
    entries.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    entries.dedup_by(|one, other| one.path == other.path);
    Ok(entries)
}

/// The Hub's conversion: `<config>/<split>/0000.parquet`, the split with `partial-` before it where it was cut.
fn converted(request: &Request, repo: Repo, entries: Vec<Entry>) -> Listing {
    let mut configs: Vec<(String, layout::Patterns)> = Vec::new();
    let mut cut = BTreeSet::new();
    for entry in &entries {
        let parts: Vec<&str> = entry.path.split('/').collect();
        let [config, split, file] = parts[..] else { continue };
        if !file.ends_with(".parquet") {
            continue;
        }
        let whole = split.strip_prefix("partial-");
        if let (Some(split), true) = (whole, request.config.as_deref().is_none_or(|asked| asked == config)) {
            cut.insert(format!("`{split}`"));
        }
        let split = whole.unwrap_or(split);
        if configs.last().is_none_or(|(name, _)| name != config) {
            configs.push((config.to_owned(), Vec::new()));
        }
        let Some((_, splits)) = configs.last_mut() else { continue };
        match splits.last_mut().filter(|(name, _)| name == split) {
            Some((_, files)) => files.push(entry.path.clone()),
            None => splits.push((split.to_owned(), vec![entry.path.clone()])),
        }
    }
    if !cut.is_empty() {
        let splits = listed_names(cut.iter().map(String::as_str), SHOWN);
        request.news(&News::Note(&format!("the Hub has converted only the first part of split {splits}")));
    }
    Listing::at_hub(repo, Card::of(configs), entries)
}

/// A file or a folder that is named within a repository.
async fn named(request: &Request, repo: Repo, path: &str) -> Result<Found, Error> {
    let fault = |fault| Error::layout(&request.name, fault);
    let path = path.trim_matches('/');
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let mut entries = repo.tree(parent).await?;
    if let Some(entry) = entries.iter().find(|entry| entry.path == path) {
        request.expect_one_file()?;
        let (format, compression) = layout::format_of(path).map_err(fault)?;
        return Ok(Found::File(Box::new(Member {
            // A single file is known by its name, here and where it has been copied to.
            path: path.rsplit('/').next().unwrap_or(path).to_owned(),
            label: request.name.clone(),
            size: entry.size,
            format,
            compression,
            parameters: Parameters::default(),
            at: At::Hub(repo.file(entry)),
        })));
    }
    let prefix = format!("{path}/");
    entries.retain(|entry| entry.path.starts_with(&prefix));
    if entries.is_empty() {
        return Err(Error::NotInRepository { repo: plain(&repo.id), path: plain(path) });
    }
    let paths = entries.iter().map(|entry| entry.path[prefix.len()..].to_owned()).collect();
    let root = Root::Hub(repo, entries);
    let (card, notes) = (Card::default(), Vec::new());
    Ok(Found::Listing(Box::new(Listing { card, paths, root, is_one_split: false, notes })))
}

impl Gathered {
    /// The files of the request's config and split, downloaded where they are not streamed.
    pub(super) async fn members(&self, request: &Request) -> Result<Vec<Member>, Error> {
        let fault = |fault| Error::layout(&request.name, fault);
        let listing = match &self.found {
            Found::File(member) => return downloaded(request, vec![Member::clone(member)]).await,
            Found::Listing(listing) => listing,
        };
        let config = listing.layout().choose(request.config.as_deref()).map_err(fault)?;
        let split = if listing.is_one_split { Some("all") } else { None };
        let files = config.split(request.split.as_deref().or(split)).map_err(fault)?;
        for key in &config.parameters.unknown {
            let text = format!(
                "the card sets `{}` for config `{}`, which is not followed",
                plain(key),
                plain(&config.name)
            );
            request.news(&News::Note(&text));
        }
        listing.notes.iter().for_each(|note| request.news(&News::Note(note)));
        if let Some(note) = listing.left_out(&config) {
            request.news(&News::Note(&note));
        }
        let members = files.iter().map(|file| listing.member(*file, &config, &request.name));
        downloaded(request, members.collect::<Result<_, _>>()?).await
    }
}

impl Listing {
    fn at_hub(repo: Repo, card: Card, entries: Vec<Entry>) -> Self {
        let paths = entries.iter().map(|entry| entry.path.clone()).collect();
        Self { card, paths, root: Root::Hub(repo, entries), is_one_split: false, notes: Vec::new() }
    }

    /// The commit that its files are of.
    fn revision(&self) -> Option<String> {
        match &self.root {
            Root::Folder(..) => None,
            Root::Hub(repo, _) => Some(repo.sha.clone()),
        }
    }

    /// What is said of data files that are in no split, where names alone have made the splits.
    fn left_out(&self, config: &Config) -> Option<String> {
        if self.card.is_declared() {
            return None;
        }
        let taken: HashSet<usize> =
            config.splits.iter().flat_map(|split| split.files.iter().copied()).collect();
        let others = self
            .paths
            .iter()
            .enumerate()
            .filter(|(index, path)| !taken.contains(index) && layout::is_data(path));
        let others: Vec<&str> = others.map(|(_, path)| path.as_str()).collect();
        let splits = listed_names(config.splits.iter().map(|split| split.name.as_str()), SHOWN);
        let left = || listed_names(others.iter().copied(), SHOWN);
        (!others.is_empty())
            .then(|| format!("not read, in another format or outside of the splits ({splits}): {}", left()))
    }

    /// The configs and splits.
    pub(super) fn layout(&self) -> layout::Layout<'_> {
        layout::layout(&self.card, &self.paths)
    }

    /// How many bytes these files have.
    pub(super) fn bytes(&self, files: &[usize]) -> u64 {
        let size = |file: &usize| match &self.root {
            Root::Folder(_, files) => files[*file].1,
            Root::Hub(_, entries) => entries[*file].size,
        };
        files.iter().map(size).sum()
    }

    fn member(&self, file: usize, config: &Config, name: &str) -> Result<Member, Error> {
        let (path, size, at) = match &self.root {
            Root::Folder(folder, files) => {
                let (path, size) = &files[file];
                (path, *size, At::Local(folder.join(path)))
            }
            Root::Hub(repo, entries) => {
                let entry = &entries[file];
                (&entry.path, entry.size, At::Hub(repo.file(entry)))
            }
        };
        let (format, compression) = config.format(path).map_err(|fault| Error::layout(name, fault))?;
        let parameters = config.parameters.clone();
        let label = format!("{name}: {path}");
        Ok(Member { path: path.clone(), label, size, format, compression, parameters, at })
    }
}

/// The same files, those of the Hub from its cache: downloaded first, unless they are to be streamed.
async fn downloaded(request: &Request, members: Vec<Member>) -> Result<Vec<Member>, Error> {
    const AT_ONCE: usize = 4;
    const LARGE: u64 = 1 << 30;
    let is_streamed = request.access == Access::Stream && request.hub.offline.is_none();
    let absent: Vec<_> = members.iter().filter_map(Member::absent).collect();
    if let (Some(first), true) = (absent.first(), request.hub.offline.is_some()) {
        return Err(first.absent(absent.len(), members.len()).into());
    }
    let missing: u64 = absent.iter().map(|file| file.size()).sum();
    if missing > LARGE && !is_streamed {
        let gigabytes = missing as f64 / 1e9;
        let text = format!("{gigabytes:.1} GB are downloaded first; --stream reads what is needed alone");
        request.news(&News::Note(&text));
    }
    let all = AtomicU64::new(0);
    let all = &all;
    let members = stream::iter(members).map(|mut member| async move {
        let At::Hub(file) = &member.at else { return Ok(member) };
        let path = match file.cached() {
            None if is_streamed => return Ok(member),
            Some(path) if is_streamed => path,
            // It may yet lack its name there, and the name its commit.
            Some(_) => file.download(&|_| ()).await?,
            None => {
                let own = AtomicU64::new(0);
                let progress = |have: u64| {
                    let new = have.saturating_sub(own.swap(have, Ordering::Relaxed));
                    let done = all.fetch_add(new, Ordering::Relaxed) + new;
                    request.news(&News::Download { done, total: missing });
                };
                file.download(&progress).await?
            }
        };
        member.at = At::Local(path);
        Ok::<_, Error>(member)
    });
    members.buffered(AT_ONCE).try_collect().await
}

impl Member {
    /// The file at the Hub, if its cache does not have it.
    fn absent(&self) -> Option<&hub::File> {
        match &self.at {
            At::Hub(file) if file.cached().is_none() => Some(file),
            _ => None,
        }
    }

    /// Whether the name tells that it cannot be read, or it is what a clone without Git LFS has in the data's stead.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.format == Format::Parquet && self.compression != Compression::None {
            let problem = "is a compressed file of parquet, which is compressed within: unpack it".to_owned();
            return Err(Error::Format { name: plain(&self.label), problem });
        }
        let At::Local(path) = &self.at else { return Ok(()) };
        match folder::is_lfs_pointer(path) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Error::LfsPointer { name: plain(&self.label) }),
            Err(error) => Err(Error::io(&self.label, error)),
        }
    }
}
