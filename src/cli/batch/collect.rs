//! `classified batch collect`: what has ended, of all lenses and models of the endpoint, into the store.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::batching::said;
use super::super::exit::{Exit, usage};
use super::super::settings::HEURISTIC;
use super::super::signals::Signals;
use super::{Place, lock};
use crate::batch::{Desk, Error, Swept};
use crate::console::{Bar, Console, tables};
use crate::endpoint::Endpoint;
use crate::rate;

/// How often batches are looked at that someone waits for: at first, and at most.
const LOOK: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

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
    let newer = desk.newer().await?;
    newer.iter().for_each(|newer| console.warn(newer));
    let mut signals = Signals::listen()?;
    let mut all = Swept::default();
    let (mut pause, mut before) = (LOOK[0], 0);
    let mut bar = None;
    let ended = loop {
        let swept = match round(&desk, &args, console, &mut signals).await? {
            Ok(swept) => swept,
            Err(exit) => {
                console.note("what was collected is kept, and the batches go on");
                return Ok(exit);
            }
        };
        all.collected.extend(swept.collected);
        (all.open, all.stuck) = (swept.open, swept.stuck);
        all.stopped = all.stopped.or(swept.stopped);
        let runs = all.open.iter().any(|(_, counts)| counts.is_some());
        if !args.wait || !runs || all.stopped.is_some() {
            break None;
        }
        let questions = all.open.iter().map(|(batch, _)| batch.requests).sum();
        let done = all.open.iter().filter_map(|(_, counts)| *counts);
        let done = done.map(|counts| counts.completed.saturating_add(counts.failed)).sum();
        let bar = bar.get_or_insert_with(|| console.bar("batches", Some(questions)));
        bar.show(&rate::Progress { done, ..rate::Progress::default() });
        pause = if done > before { LOOK[0] } else { (pause * 3 / 2).min(LOOK[1]) };
        before = done;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = signals.next() => break Some(signals.exit()),
        }
    };
    bar.into_iter().for_each(Bar::finish);
    if let Some(exit) = ended {
        console.note("the batches go on: the same command collects them");
        return Ok(exit);
    }
    show(&all, console)?;
    desk.store.close().await?;
    match all.stopped {
        Some(why) => Err(Error::Stopped(why).into()),
        None if all.open.is_empty() && newer.is_empty() => Ok(Exit::Done),
        None => Ok(Exit::TryAgain),
    }
}

/// Looks once, under the lock; a signal ends it.
async fn round(
    desk: &Desk,
    args: &CollectArgs,
    console: Console,
    signals: &mut Signals,
) -> anyhow::Result<Result<Swept, Exit>> {
    let _lock = match lock(&desk.store, console, signals).await? {
        Ok(lock) => lock,
        Err(exit) => return Ok(Err(exit)),
    };
    if desk.open().await?.is_empty() {
        return Ok(Ok(Swept::default()));
    }
    let (words, mut inbox) = mpsc::unbounded_channel();
    let look = async {
        desk.check().await?;
        desk.reconcile(&words).await?;
        Ok::<_, anyhow::Error>(desk.sweep(|model| args.place.rater.price(model)).await?)
    };
    tokio::select! {
        swept = said(look, &mut inbox, console) => swept.map(Ok),
        _ = signals.next() => Ok(Err(signals.exit())),
    }
}

fn show(all: &Swept, console: Console) -> anyhow::Result<()> {
    all.stuck.iter().for_each(|stuck| console.warn(stuck));
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
