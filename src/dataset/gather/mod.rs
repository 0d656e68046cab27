//! From where a dataset is to the files that are read: listing, configs and splits, downloads.

use super::error::{Error, listed as listed_names, plain};
use super::folder::{self, Spool};
use super::layout::{self, Card, Compression, Config, Format, Parameters};
use super::place::{self, Place};
use super::{Access, News, Request, blocking};
use crate::hub::{self, Entry, Hub, Repo};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use here::here;
use repository::at_hub;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

mod here;
mod repository;

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
