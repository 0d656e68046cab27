//! `classified batch list` and `show`: what was handed over, and where it stands.

use std::time::Duration;

use clap::Args;
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::super::dry_run::grouped;
use super::super::exit::Exit;
use super::Place;
use super::words::{self, Seen};
use crate::console::{Console, tables};
use crate::endpoint::{Endpoint, Refusal, Trouble};
use crate::report;
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
    let (all, at) = (batches.len(), now());
    if !args.all {
        batches.retain(|batch| batch.stage != Stage::Collected);
    }
    let seen = look(&args.place, &batches, console).await?;
    let known: Vec<(&Batch, Seen)> = batches.iter().zip(seen).collect();

    let documents: Vec<Value> = known.iter().map(|(batch, seen)| words::document(batch, seen)).collect();
    console.json(&json!({"v": 1, "command": "batch list", "database": store.path, "batches": documents}))?;
    if !known.is_empty() {
        let header = ["No.", "Lens", "Model", "Version", "Questions", "State", "Done", "Age", "Cost"];
        console
            .result(&tables::list(&header, known.iter().map(|(batch, seen)| words::row(batch, seen, at))))?;
    }
    let open = batches.iter().filter(|batch| batch.stage != Stage::Collected);
    let (count, questions) = open.fold((0_u64, 0), |(n, sum), batch| (n + 1, sum + batch.requests));
    let hidden = match all - batches.len() {
        0 => String::new(),
        hidden => format!("; {hidden} more collected (--all)"),
    };
    console.result(&format!(
        "{}: {count} open, with {} questions{hidden}",
        crate::console::plain(&store.path.display().to_string()),
        grouped(questions)
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
    console
        .json(&json!({"v": 1, "command": "batch show", "database": store.path, "batch": document.clone()}))?;
    let mut rows = vec![
        vec!["State".to_owned(), words::state(batch, &seen)],
        vec!["Age".to_owned(), words::age(batch, now())],
        vec!["Made (UTC)".to_owned(), report::when(batch.made_at)],
        vec!["Cost".to_owned(), words::cost(batch)],
    ];
    if let Value::Object(fields) = document {
        let fields = fields.into_iter().filter(|(name, value)| {
            !value.is_null() && !matches!(name.as_str(), "made" | "cost" | "cost_at_most" | "server")
        });
        rows.extend(fields.map(|(name, value)| vec![words::title(&name), words::value(&value)]));
    }
    if let Seen::Told(remote) = &seen {
        rows.extend(words::told(remote));
    }
    console.result(&tables::list(&["Batch", &batch.id.to_string()], rows))?;
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
        batches.iter().filter(|batch| batch.stage == Stage::Created && batch.url != Some(url)).count();
    if elsewhere > 0 {
        console.note(&format!(
            "{elsewhere} of the batches are at another endpoint than {}: of these, what the store knows is shown",
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
