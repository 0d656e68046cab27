//! What a dataset has, without reading it: configs, splits, sizes, columns, and a few rows.

use super::gather::{Found, Gathered, Listing, Scope, gather};
use super::layout::Format;
use super::plan::{Files, Hold};
use super::{Column, Error, Request, Row, opened};
use crate::rating::run::Sample;
use futures::StreamExt as _;
use std::pin::pin;

/// How many rows are shown.
const EXAMPLES: u64 = 3;

/// What a dataset has.
#[derive(Debug)]
pub struct Description {
    /// The name, as the user wrote it.
    pub name: String,
    /// The commit of a repository at the Hub.
    pub revision: Option<String>,
    /// The configs, in the dataset's own order; none of a single file.
    pub configs: Vec<Config>,
    /// The config and split whose rows and columns are shown: those that were asked for, or the first that there are.
    pub shown: Option<(String, String)>,
    /// How many rows they have, where that is known without reading them.
    pub rows: Option<u64>,
    /// Their columns.
    pub columns: Vec<Column>,
    /// The first rows, with all columns.
    pub examples: Vec<Row>,
}

/// A config of a dataset.
#[derive(Debug)]
pub struct Config {
    /// Its name.
    pub name: String,
    /// Whether it is read where none is named.
    pub is_default: bool,
    /// The name of its format.
    pub format: String,
    /// Its splits.
    pub splits: Vec<Split>,
}

/// A split of a config.
#[derive(Debug)]
pub struct Split {
    /// Its name.
    pub name: String,
    /// How many files it has.
    pub files: usize,
    /// Their size in bytes, as stored.
    pub bytes: u64,
    /// How many rows the dataset's card says it has.
    pub claimed: Option<u64>,
}

/// Looks at a dataset. The config and split of the request are those whose columns and rows are shown; where none is
/// named and there is no default, the first.
pub async fn describe(mut request: Request) -> Result<Description, Error> {
    let gathered = gather(&request, Scope::All).await?;
    let mut shown = None;
    if let Found::Listing(listing) = &gathered.found {
        let layout = listing.layout();
        let first = layout.configs().first().map(|&name| name.to_owned());
        if request.config.is_none() && layout.choose(None).is_err() {
            request.config = first;
        }
        if let Ok(config) = layout.choose(request.config.as_deref()) {
            let train = config.splits.iter().find(|split| split.name == "train").or(config.splits.first());
            request.split = request.split.or_else(|| train.map(|split| split.name.clone()));
            shown = request.split.clone().map(|split| (config.name, split));
        }
    }
    let members = gathered.members(&request).await?;
    let are_at_hub = gathered.hub.is_some();
    let files = |members| Files { members, are_at_hub, hold: Hold::Records };
    let is_counted = members.iter().all(|member| member.format == Format::Parquet);
    let first = Sample::First { rows: EXAMPLES };
    let look = Request {
        columns: Vec::new(),
        keep: Vec::new(),
        id: None,
        sample: if is_counted { Sample::All } else { first },
        ..request.clone()
    };
    let seen = opened(look, files(members.clone())).await?;
    let names = seen.columns.iter().map(|column| column.name.clone()).collect();
    let mut examples = Vec::new();
    let rows = opened(
        Request { columns: names, sample: first, keep: Vec::new(), id: None, ..request.clone() },
        files(members),
    )
    .await?;
    let mut batches = pin!(rows.batches());
    while let Some(batch) = batches.next().await {
        examples.extend(batch?);
    }
    let Gathered { found, revision, spool: _spool, .. } = gathered;
    let configs = match &found {
        Found::File(_) => Vec::new(),
        Found::Listing(listing) => configs(listing),
    };
    Ok(Description {
        name: request.name,
        revision,
        configs,
        shown,
        rows: seen.rows,
        columns: seen.columns,
        examples,
    })
}

fn configs(listing: &Listing) -> Vec<Config> {
    let layout = listing.layout();
    let default = layout.choose(None).ok().map(|config| config.name);
    let configs = layout.configs().into_iter().map(|name| {
        let chosen = layout.choose(Some(name));
        let (format, splits) = match &chosen {
            Ok(config) => (config.module.name().to_owned(), config.splits.as_slice()),
            // What is wrong with one config is no reason not to show the others.
            Err(fault) => (fault.to_string(), [].as_slice()),
        };
        let splits = splits.iter().map(|split| Split {
            name: split.name.clone(),
            files: split.files.len(),
            bytes: listing.bytes(&split.files),
            claimed: listing.card.rows(name, &split.name),
        });
        Config {
            name: name.to_owned(),
            is_default: default.as_deref() == Some(name),
            format,
            splits: splits.collect(),
        }
    });
    configs.collect()
}
