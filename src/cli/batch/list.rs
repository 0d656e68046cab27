//! `classified batch list`, `show` and `cancel`: what was handed over, where it stands, and taking it back.

use clap::Args;

use super::super::exit::Exit;
use super::super::settings::{LogArgs, OutputArgs, RaterArgs, StoreArgs};

/// List the batches of the store, and how far they are
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Those too whose replies are in the store
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    place: Place,
}

/// Show all that is known of one batch
#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// Its number, the first digits of its chance name, or the server's id
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    place: Place,
}

/// Cancel batches: what was answered until then is still collected, the rest is free to be asked again
#[derive(Debug, Args)]
pub(in crate::cli) struct CancelArgs {
    /// Their numbers, the first digits of their chance names, or the server's ids
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    place: Place,
}

/// Where batches are: the store and the endpoint.
#[derive(Debug, Args)]
struct Place {
    #[command(flatten)]
    rater: RaterArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Lists batches.
pub(super) async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    args.place.log.begin()?;
    anyhow::bail!("not written yet")
}

/// Shows one batch.
pub(super) async fn show(args: ShowArgs) -> anyhow::Result<Exit> {
    args.place.log.begin()?;
    anyhow::bail!("not written yet")
}

/// Cancels batches.
pub(super) async fn cancel(args: CancelArgs) -> anyhow::Result<Exit> {
    args.place.log.begin()?;
    anyhow::bail!("not written yet")
}
