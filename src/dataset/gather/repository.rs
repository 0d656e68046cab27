//! Datasets at the Hub: repositories, files and folders of them, conversions to parquet.

use super::{At, Found, Listing, Member, Root, SHOWN, Scope};
use crate::dataset::error::{Error, listed as listed_names, plain};
use crate::dataset::layout::{self, Card, Fault, Parameters};
use crate::dataset::{Access, News, Request};
use crate::hub::{self, Entry, Hub, Repo};
use std::collections::BTreeSet;

/// What is at the Hub under a name, one file or a repository, and at which commit.
pub(super) async fn at_hub(
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
