//! `classified batch list` and `show`: what was handed over, and where it stands.

use std::time::Duration;

use clap::Args;
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::super::exit::Exit;
use super::Place;
use super::words::{self, Seen};
use crate::console::{Console, tables};
use crate::endpoint::{Endpoint, Refusal, Trouble};
use crate::store::{Batch, Stage, now};

/// Batches that the server is asked about at once.
const AT_ONCE: usize = 8;

/// How long a server may take to tell of a batch that somebody only wants to look at.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// Lists batches.
pub(super) async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    args.place.log.begin()?;
    let console = args.place.output.console();
    let (store, mut batches) = args.place.open().await?;
    batches.retain(|batch| !words::came_to_nothing(batch));
    let (all, at) = (batches.len(), now());
    let is_open = |batch: &Batch| batch.stage != Stage::Collected;
    if !args.all {
        batches.retain(is_open);
    }
    let seen = look(&args.place, &batches, console).await?;
    let known: Vec<(&Batch, Seen)> = batches.iter().zip(seen).collect();

    let documents: Vec<Value> = known.iter().map(|(batch, seen)| words::document(batch, seen)).collect();
    console.json(&json!({"v": 1, "command": "batch list", "database": store.path, "batches": documents}))?;
    if !known.is_empty() {
        let rows = known.iter().map(|(batch, seen)| words::row(batch, seen, at));
        console.result(&tables::list(&words::COLUMNS, rows))?;
    }
    let hidden = match all - batches.len() {
        0 => String::new(),
        hidden => format!("; {hidden} more collected (--all)"),
    };
    console.result(&format!(
        "{}: {}{hidden}",
        crate::console::plain(&store.path.display().to_string()),
        words::sums(batches.iter().filter(|batch| is_open(batch)))
    ))?;
    store.close().await?;
    Ok(Exit::Done)
}

/// Shows one batch.
pub(super) async fn show(args: ShowArgs) -> anyhow::Result<Exit> {
    args.place.log.begin()?;
    let console = args.place.output.console();
    let (store, batches) = args.place.open().await?;
    let batch = super::find(&batches, &args.id)?;
    let seen = look(&args.place, std::slice::from_ref(batch), console).await?.pop().unwrap_or_default();

    let document = words::document(batch, &seen);
    console.json(&json!({"v": 1, "command": "batch show", "database": store.path, "batch": document}))?;
    console.result(&words::lines(batch, &seen, now()))?;
    store.close().await?;
    Ok(Exit::Done)
}

/// What the server tells of each of these batches. Where it cannot be asked that is said, and what the store knows is shown.
async fn look(place: &Place, batches: &[Batch], console: Console) -> anyhow::Result<Vec<Seen>> {
    let options = place.rater.endpoint_unasked()?;
    let lacks_key = options.hosted && options.key.is_none();
    let endpoint = Endpoint::new(options)?;
    let url = endpoint.url_digest();
    let is_there = |batch: &Batch| batch.url == Some(url) && batch.stage == Stage::Created;
    if lacks_key && batches.iter().any(is_there) {
        console.note(
            "what the store knows is shown: without a key (OPENAI_API_KEY) the endpoint cannot be asked",
        );
        return Ok(vec![Seen::NotAsked; batches.len()]);
    }
    let elsewhere =
        words::places(batches.iter().filter(|batch| batch.stage == Stage::Created && batch.url != Some(url)));
    if !elsewhere.is_empty() {
        console.note(&format!(
            "{} is asked; what the store knows is shown of {elsewhere}",
            endpoint.shown_url()
        ));
    }
    let asked = batches.iter().map(|batch| async {
        let Some(id) = batch.remote.as_deref().filter(|_| is_there(batch)) else { return Ok(Seen::NotAsked) };
        match tokio::time::timeout(PATIENCE, endpoint.batch(id)).await {
            Ok(Ok(remote)) => Ok(Seen::Told(Box::new(remote))),
            Ok(Err(Trouble::Refused(Refusal { status: 404, .. }))) => Ok(Seen::Gone),
            Ok(Err(Trouble::Refused(refusal))) if matches!(refusal.status, 401 | 403) => {
                Err(endpoint.bad_key(&refusal))
            }
            Ok(Err(trouble)) => {
                Err(format!("the endpoint {} does not tell: {trouble}", endpoint.shown_url()))
            }
            Err(_) => Err(format!("the endpoint {} takes too long", endpoint.shown_url())),
        }
    });
    let mut answers = futures::stream::iter(asked).buffered(AT_ONCE);
    let mut seen = Vec::with_capacity(batches.len());
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(answer) => seen.push(answer),
            // What one of them fails at, all do.
            Err(why) => {
                console.note(&format!("what the store knows is shown: {why}"));
                break;
            }
        }
    }
    seen.resize(batches.len(), Seen::NotAsked);
    Ok(seen)
}
