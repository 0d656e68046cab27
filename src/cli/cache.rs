//! `classified cache`: what the store holds, and making room in it.

use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::{Exit, usage};
use super::settings::{OutputArgs, StoreArgs};
use crate::console::tables;
use crate::store::{self, Prune, Store};

/// Look into the store of ratings, or make room in it
#[derive(Debug, Subcommand)]
pub(super) enum CacheCommand {
    Stats(StatsArgs),
    Prune(PruneArgs),
}

/// Show how many ratings are kept, of which lens and model, what they cost, and their size
#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Remove ratings for good; without --yes it only says how many that would be
#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Only ratings of this lens
    #[arg(long, value_name = "NAME")]
    lens: Option<String>,
    /// Only ratings of this model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Only ratings of this version
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// Only ratings older than this many days
    #[arg(long, value_name = "DAYS")]
    older_than: Option<u32>,
    /// Remove everything, where no other condition is given
    #[arg(long)]
    all: bool,
    /// Do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs a subcommand.
pub(super) async fn run(command: CacheCommand) -> anyhow::Result<Exit> {
    match command {
        CacheCommand::Stats(args) => stats(args).await,
        CacheCommand::Prune(args) => prune(args).await,
    }
}

/// The store of a command that only looks: a name that was mistyped must not become a new database.
pub(super) async fn open(args: &StoreArgs) -> anyhow::Result<Store> {
    let url = args.url()?;
    let path = store::path_of(&url)?;
    if !path.exists() {
        return Err(usage(format!(
            "there is no database {}: nothing was rated with an endpoint yet, or DATABASE_URL names another",
            path.display()
        )));
    }
    Ok(Store::open(&url).await?)
}

async fn stats(args: StatsArgs) -> anyhow::Result<Exit> {
    let console = args.output.console();
    let store = open(&args.store).await?;
    let stats = store.stats().await?;
    let answers: u64 = stats.groups.iter().map(|group| group.answers).sum();
    let per_rating = (answers > 0).then(|| stats.bytes as f64 / answers as f64);
    let groups: Vec<_> = stats
        .groups
        .iter()
        .map(|group| {
            json!({"lens": group.lens, "model": group.model, "version": group.version, "ratings": group.answers,
                "texts": group.texts, "cost": group.cost})
        })
        .collect();
    console.json(&json!({"v": 1, "command": "cache stats", "database": store.path, "ratings": answers,
        "bytes": stats.bytes, "bytes_per_rating": per_rating, "failed_attempts": stats.attempts, "runs": stats.runs,
        "waiting_in_batches": stats.waiting, "groups": groups}))?;
    let rows = stats.groups.iter().map(|group| {
        vec![
            group.lens.clone(),
            group.model.clone(),
            group.version.to_string(),
            group.answers.to_string(),
            group.texts.to_string(),
            group.cost.to_string(),
        ]
    });
    console
        .result(&tables::list(&["Lens", "Model", "Version", "Ratings", "Lens texts", "Known cost"], rows))?;
    let per_rating = per_rating.map_or(String::new(), |bytes| format!(", {bytes:.0} bytes per rating"));
    let waiting = match stats.waiting {
        0 => String::new(),
        waiting => format!("; {waiting} questions wait in batches"),
    };
    console.result(&format!(
        "{}: {answers} ratings in {} bytes{per_rating}; {} failed attempts and {} runs in the history{waiting}",
        crate::console::plain(&store.path.display().to_string()),
        stats.bytes,
        stats.attempts,
        stats.runs
    ))?;
    store.close().await?;
    Ok(Exit::Done)
}

async fn prune(args: PruneArgs) -> anyhow::Result<Exit> {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let console = args.output.console();
    let prune = Prune {
        lens: args.lens,
        model: args.model,
        version: args.version,
        before: args.older_than.map(|days| store::now() - i64::from(days) * DAY_MS),
    };
    let bounded =
        prune.lens.is_some() || prune.model.is_some() || prune.version.is_some() || prune.before.is_some();
    if !bounded && !args.all {
        return Err(usage("say which ratings go: --lens, --model, --version, --older-than DAYS, or --all"));
    }
    let store = open(&args.store).await?;
    let (removed, did) = if args.yes {
        (store.prune(&prune).await?, "removed")
    } else {
        (store.count(&prune).await?, "would be removed; say --yes to do it")
    };
    console.json(&json!({"v": 1, "command": "cache prune", "ratings": removed, "removed": args.yes}))?;
    console.result(&format!("{removed} ratings {did}"))?;
    store.close().await?;
    Ok(Exit::Done)
}
