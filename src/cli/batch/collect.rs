//! `classified batch collect`: what has ended, of all lenses and models of the endpoint, into the store.

use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::batching::{LOOK, OUTAGE, said};
use super::super::exit::{Exit, usage};
use super::super::settings::HEURISTIC;
use super::super::signals::Signals;
use super::{Place, lock};
use crate::batch::{Desk, Error, Swept};
use crate::console::{Bar, Console, tables};
use crate::endpoint::Endpoint;
use crate::rate;
use crate::store::Stage;

const AFTER_HELP: &str = "\
Collects the batches of all lenses and models that the store has at this endpoint. Nothing is handed over, and nothing is shown of rows:
the command that handed the questions over finds their answers, and asks again what is left.

Exit codes: 0 nothing is open any more, 75 some batches have not ended: try again later.";

/// Collect the replies of batches that have ended
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct CollectArgs {
    /// Wait until all have ended
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    place: Place,
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
    let mut signals = Signals::listen()?;
    if !desk.open().await?.is_empty() {
        desk.endpoint.check_batches().await?;
    }
    let mut all = Swept::default();
    let ended = gather(&desk, &args, &mut all, &mut signals).await;
    show(&all, console)?;
    if let Some(exit) = ended? {
        console.note("what was collected is kept, and the batches go on: the same command collects them");
        return Ok(exit);
    }
    desk.store.close().await?;
    match all.stopped {
        Some(why) => Err(Error::Stopped(why).into()),
        None if all.open.is_empty() => Ok(Exit::Done),
        None => Ok(Exit::TryAgain),
    }
}

/// Looks until nothing is run any more, or once; a signal ends it.
async fn gather(
    desk: &Desk,
    args: &CollectArgs,
    all: &mut Swept,
    signals: &mut Signals,
) -> anyhow::Result<Option<Exit>> {
    let console = args.place.output.console();
    let (began, mut seen) = (Instant::now(), None);
    let mut bar = None;
    let ended = loop {
        match Box::pin(round(desk, args, signals)).await {
            Ok(Ok(swept)) => {
                all.collected.extend(swept.collected);
                all.open = swept.open;
                all.stopped = swept.stopped;
                seen = Some(Instant::now());
            }
            Ok(Err(exit)) => break Ok(Some(exit)),
            // The batches go on meanwhile.
            Err(error) if is_passing(&error) && seen.is_some_and(|seen| seen.elapsed() < OUTAGE) => {
                console.warn(&error.to_string());
            }
            Err(error) => break Err(error),
        }
        let is_run = all.open.iter().any(|(batch, _)| batch.stage == Stage::Created);
        if !args.wait || !is_run || all.stopped.is_some() {
            break Ok(None);
        }
        let questions = all.open.iter().map(|(batch, _)| batch.requests).sum();
        let done = all.open.iter().filter_map(|(_, counts)| *counts);
        let done = done.map(|counts| counts.completed.saturating_add(counts.failed)).sum();
        let bar: &mut Bar = bar.get_or_insert_with(|| console.bar("batches", Some(questions)));
        bar.show(&rate::Progress { done, ..rate::Progress::default() });
        tokio::select! {
            () = tokio::time::sleep((began.elapsed() / 20).clamp(LOOK[0], LOOK[1])) => {}
            _ = signals.next() => break Ok(Some(signals.exit())),
        }
    };
    bar.into_iter().for_each(Bar::finish);
    ended
}

/// Whether a later try may go well.
fn is_passing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Error>(), Some(Error::Trouble(_)))
}

/// Looks once, under the lock; a signal ends it.
async fn round(
    desk: &Desk,
    args: &CollectArgs,
    signals: &mut Signals,
) -> anyhow::Result<Result<Swept, Exit>> {
    let console = args.place.output.console();
    let _lock = match lock(&desk.store, console, signals).await? {
        Ok(lock) => lock,
        Err(exit) => return Ok(Err(exit)),
    };
    if desk.open().await?.is_empty() {
        return Ok(Ok(Swept::default()));
    }
    let (words, mut inbox) = mpsc::unbounded_channel();
    let look = async {
        desk.reconcile(&words).await?;
        Ok::<_, anyhow::Error>(desk.sweep(|model| args.place.rater.price(model), &words).await?)
    };
    tokio::select! {
        swept = said(look, &mut inbox, console) => swept.map(Ok),
        _ = signals.next() => Ok(Err(signals.exit())),
    }
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
        console
            .result(&format!("{answered} questions answered, {failed} failed, {again} to be asked again"))?;
    }
    if let Some(why) = all.collected.iter().find_map(|(_, _, gathered)| gathered.why.as_ref()) {
        console.note(&format!("the first without an answer: {why}"));
    }
    let waiting: u64 = all.open.iter().map(|(batch, _)| batch.requests).sum();
    if waiting > 0 {
        console.urge(&format!(
            "{waiting} questions wait in {} that {} not ended: try again later, or with --wait",
            if all.open.len() == 1 { "a batch".to_owned() } else { format!("{} batches", all.open.len()) },
            if all.open.len() == 1 { "has" } else { "have" }
        ));
    }
    Ok(())
}
