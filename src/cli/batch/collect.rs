//! `classified batch collect`: what has ended, of all lenses and models of the endpoint, into the store.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::batching::{many, said};
use super::super::exit::{Exit, usage};
use super::super::settings::HEURISTIC;
use super::super::signals::Signals;
use super::{Place, lock, words};
use crate::batch::collect::Gathered;
use crate::batch::{Desk, Error, Looked, Word, Words};
use crate::console::{Console, tables};
use crate::endpoint::Endpoint;
use crate::endpoint::batches::Counts;
use crate::model::Price;
use crate::store::{Batch, Stage};

const AFTER_HELP: &str = "\
Collects the batches of all lenses and models that the store has at this endpoint. Nothing is handed over, and nothing is shown of rows:
the command that handed the questions over finds their answers, and asks again what is left.

Exit codes: 0 nothing is open at this endpoint any more, 75 some of its batches have not ended, or it cannot be reached: try again
later.";

/// Collect the replies of batches that have ended
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct CollectArgs {
    #[command(flatten)]
    place: Place,
}

/// What came of a look at all batches.
#[derive(Debug, Default)]
struct Swept {
    /// Batches that were collected, with the server's last word for each.
    collected: Vec<(Batch, String, Gathered)>,
    /// Batches that have not ended, with the server's counts where it has begun them.
    open: Vec<(Batch, Option<Counts>)>,
    /// What would fail for every question, by the first batch that says so.
    stopped: Option<String>,
}

/// Collects.
pub(super) async fn collect(args: CollectArgs) -> anyhow::Result<Exit> {
    let Place { rater, output, log, .. } = &args.place;
    log.begin()?;
    let console = output.console();
    if rater.model == HEURISTIC || rater.gguf().is_some() {
        return Err(usage("--model is rated on this machine, where there are no batches: leave it out"));
    }
    let endpoint = Arc::new(Endpoint::new(rater.endpoint()?)?);
    let desk = Desk { endpoint, store: Arc::new(args.place.open().await?.0) };
    let newer = desk.newer().await?;
    for newer in &newer {
        console.warn(newer);
    }
    let mut signals = Signals::listen()?;
    let lock = match lock(&desk.store, console, &mut signals).await? {
        Ok(lock) => lock,
        Err(exit) => return Ok(exit),
    };
    let (say, mut inbox) = mpsc::unbounded_channel();
    let swept = Box::pin(sweep(&desk, |model| rater.price(model), &say));
    let swept = tokio::select! {
        swept = said(swept, &mut inbox, console) => swept?,
        _ = signals.next() => {
            console.note("what was collected is kept, and the batches go on");
            return Ok(signals.exit());
        }
    };
    drop(lock);
    show(&swept, console)?;
    let mut elsewhere = desk.store.open_batches().await?;
    elsewhere.retain(|batch| batch.url != Some(desk.url()));
    if !elsewhere.is_empty() {
        console.note(&format!("not asked about: {}", words::places(elsewhere.iter())));
    }
    desk.store.close().await?;
    match swept.stopped {
        Some(why) => Err(Error::Stopped(why).into()),
        None if swept.open.is_empty() && newer.is_empty() => Ok(Exit::Done),
        None => Ok(Exit::TryAgain),
    }
}

/// Looks at all batches of the endpoint, and collects those that have ended.
async fn sweep(desk: &Desk, price: impl Fn(&str) -> Option<Price>, words: &Words) -> anyhow::Result<Swept> {
    let mut swept = Swept::default();
    if desk.open().await?.is_empty() {
        return Ok(swept);
    }
    desk.check().await?;
    desk.reconcile(words).await?;
    // Whoever listens may be gone.
    let warn = |text| _ = words.send(Word::Warning(text));
    for batch in desk.open().await? {
        if batch.stage != Stage::Created {
            swept.open.push((batch, None));
            continue;
        }
        match desk.look_at(&batch, price(&batch.slot.model)).await {
            Ok(Looked::Open(remote)) => swept.open.push((batch, Some(remote.counts))),
            Ok(Looked::Collected(status, gathered)) => {
                swept.collected.push((batch, status.as_str().to_owned(), *gathered));
            }
            Ok(Looked::Gone(why)) => {
                warn(why);
                swept.open.push((batch, None));
            }
            Ok(Looked::Rejected(Some(_), why)) => warn(why),
            Ok(Looked::Rejected(None, why)) | Err(Error::Stopped(why)) => {
                _ = swept.stopped.get_or_insert(why);
            }
            // One that cannot be read keeps no other from being collected.
            Err(error @ (Error::Newer { .. } | Error::Lens { .. } | Error::Unreadable { .. })) => {
                warn(error.to_string());
                swept.open.push((batch, None));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(swept)
}

fn show(all: &Swept, console: Console) -> anyhow::Result<()> {
    let (mut answered, mut failed, mut again) = (0, 0, 0);
    for (_, _, gathered) in &all.collected {
        gathered.notes.iter().for_each(|note| console.note(note));
        gathered.warnings.iter().for_each(|warning| console.warn(warning));
        answered += gathered.answered;
        failed += gathered.failed;
        again += gathered.again + gathered.missing;
    }
    let told: Vec<Value> = all
        .collected
        .iter()
        .map(|(batch, status, gathered)| {
            json!({"batch": batch.id, "lens": batch.slot.lens, "model": batch.slot.model, "version": batch.slot.version,
                "status": status, "answered": gathered.answered, "failed": gathered.failed,
                "again": gathered.again + gathered.missing, "cost": gathered.cost, "failure": gathered.why})
        })
        .collect();
    let open: Vec<Value> = all
        .open
        .iter()
        .map(|(batch, counts)| {
            json!({"batch": batch.id, "lens": batch.slot.lens, "model": batch.slot.model, "version": batch.slot.version,
                "status": batch.status, "requests": batch.requests,
                "done": counts.map(|counts| counts.completed.saturating_add(counts.failed))})
        })
        .collect();
    console.json(
        &json!({"v": 1, "command": "batch collect", "answered": answered, "failed": failed, "again": again,
        "collected": told, "open": open}),
    )?;
    if all.collected.is_empty() {
        console.note("no batch has ended since the last look");
    } else {
        let rows = all.collected.iter().map(|(batch, status, gathered)| {
            vec![
                batch.id.to_string(),
                batch.slot.lens.clone(),
                batch.slot.model.clone(),
                status.clone(),
                gathered.answered.to_string(),
                gathered.failed.to_string(),
                (gathered.again + gathered.missing).to_string(),
                gathered.cost.map_or_else(|| "–".to_owned(), |cost| cost.to_string()),
            ]
        });
        console.result(&tables::list(
            &["Batch", "Lens", "Model", "Status", "Answered", "Failed", "Again", "Cost"],
            rows,
        ))?;
        console.result(&format!(
            "{} answered, {failed} failed, {again} to be asked again",
            many(answered, "question", "questions")
        ))?;
    }
    if let Some(why) = all.collected.iter().find_map(|(_, _, gathered)| gathered.why.as_ref()) {
        console.note(&format!("the first without an answer: {why}"));
    }
    let waiting: u64 = all.open.iter().map(|(batch, _)| batch.waiting).sum();
    if waiting > 0 {
        console.urge(&format!(
            "{} in {}: try again later",
            many(waiting, "question waits", "questions wait"),
            if all.open.len() == 1 {
                "a batch that has not ended".to_owned()
            } else {
                format!("{} batches that have not ended", all.open.len())
            },
        ));
    }
    Ok(())
}
