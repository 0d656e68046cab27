//! `classified batch cancel`: taking batches back.

use clap::Args;
use serde_json::{Value, json};

use super::super::batching::many;
use super::super::exit::{Exit, usage};
use super::super::signals::Signals;
use super::words::GIVEN_UP;
use super::{Place, find, lock};
use crate::console::Console;
use crate::endpoint::{Endpoint, Refusal, Trouble};
use crate::rating::failure::{Failure, Reason};
use crate::store::{Batch, Change, Stage, Store};

/// Cancel batches: what was answered until then is still collected, the rest is free to be asked again
#[derive(Debug, Args)]
pub(in crate::cli) struct CancelArgs {
    /// Their numbers, the first digits of their chance names, or the server's ids
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Free their questions at once, without a word to the endpoint: what it still answers is billed and never collected
    #[arg(long)]
    forget: bool,
    #[command(flatten)]
    place: Place,
}

/// What is done about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It has never begun: its questions are free.
    TakeBack,
    /// The endpoint is asked to cancel it.
    Ask,
    /// It is given up, whatever the endpoint makes of it.
    Forget,
    /// Nothing: it is collected.
    Nothing,
}

/// Cancels batches. Nothing is done unless all of them can be.
pub(super) async fn cancel(args: CancelArgs) -> anyhow::Result<Exit> {
    args.place.log.begin()?;
    let console = args.place.output.console();
    let mut signals = Signals::listen()?;
    let (store, _) = args.place.open().await?;
    let lock = match lock(&store, console, &mut signals).await? {
        Ok(lock) => lock,
        Err(exit) => return Ok(exit),
    };
    // Whoever had the lock may have changed them.
    let batches = store.batches().await?;
    let mut chosen: Vec<(&Batch, Way)> = Vec::new();
    for id in &args.ids {
        let found = find(&batches, id).and_then(|batch| Ok((batch, way(batch, args.forget)?)));
        let (batch, way) = found.map_err(|error| usage(format!("{error}; nothing is cancelled")))?;
        if !chosen.iter().any(|(other, _)| other.id == batch.id) {
            chosen.push((batch, way));
        }
    }
    let endpoint = if chosen.iter().any(|(_, way)| *way == Way::Ask) {
        let endpoint = Endpoint::new(args.place.rater.endpoint()?)?;
        let url = endpoint.url_digest();
        let other = chosen.iter().find(|(batch, way)| *way == Way::Ask && batch.url != Some(url));
        if let Some((batch, _)) = other {
            return Err(usage(format!(
                "batch {} is not at {}: name its endpoint with OPENAI_BASE_URL (or --base-url), or give it up with --forget; nothing is cancelled",
                batch.id,
                endpoint.shown_url()
            )));
        }
        Some(endpoint)
    } else {
        None
    };

    let mut done = Vec::new();
    for (batch, way) in chosen {
        let result = tokio::select! {
            result = carry_out(way, batch, &store, endpoint.as_ref()) => result?,
            _ = signals.next() => return Ok(signals.exit()),
        };
        console.result(&format!("batch {}: {}", batch.id, result.words))?;
        done.push(json!({"number": batch.id, "did": result.did, "questions": batch.requests}));
    }
    drop(lock);
    finish(console, &done)?;
    store.close().await?;
    Ok(Exit::Done)
}

fn finish(console: Console, done: &[Value]) -> anyhow::Result<()> {
    Ok(console.json(&json!({"v": 1, "command": "batch cancel", "batches": done}))?)
}

/// What is to be done about a batch.
fn way(batch: &Batch, forget: bool) -> anyhow::Result<Way> {
    Ok(match batch.stage {
        Stage::Collected => Way::Nothing,
        Stage::Spooling | Stage::Spooled | Stage::Uploaded | Stage::Written => Way::TakeBack,
        Stage::Creating | Stage::Created | Stage::Newer if forget => Way::Forget,
        Stage::Newer => {
            return Err(usage(format!(
                "batch {} is in the hands of a newer version of the program: cancel it with that one, or give it up with --forget",
                batch.id
            )));
        }
        Stage::Created => Way::Ask,
        // Only the endpoint's list tells, and a moment may have to pass until it does.
        Stage::Creating => {
            return Err(usage(format!(
                "whether batch {} has begun is not known, since a run was interrupted there: `classified batch collect` finds \
                 out, then cancel it",
                batch.id
            )));
        }
    })
}

/// What was done about a batch.
struct Did {
    /// In a word, for JSON.
    did: &'static str,
    /// For people.
    words: String,
}

async fn carry_out(
    way: Way,
    batch: &Batch,
    store: &Store,
    endpoint: Option<&Endpoint>,
) -> anyhow::Result<Did> {
    match (way, endpoint) {
        (Way::TakeBack, _) => {
            store.abandon_batch(batch.id).await?;
            let of_file =
                if batch.stage == Stage::Written { ", and answers to its file are not read" } else { "" };
            Ok(Did {
                did: "taken_back",
                words: format!(
                    "taken back: {}{of_file}",
                    many(batch.waiting, "question is free", "questions are free")
                ),
            })
        }
        (Way::Forget, _) => {
            let why = Failure::new(Reason::Timeout, "the batch was given up");
            let status = Some(GIVEN_UP.to_owned());
            store.change_batch(batch.id, Change { status, ..Change::default() }).await?;
            let free = store.close_batch(batch.id, &why).await?;
            Ok(Did {
                did: "forgotten",
                words: format!(
                    "given up: {}; what the endpoint has answered, or still answers, is billed{}",
                    many(free, "question is free", "questions are free"),
                    batch.bound.map_or_else(String::new, |bound| format!(", {bound} at most"))
                ),
            })
        }
        (Way::Ask, Some(endpoint)) => ask(batch, store, endpoint).await,
        (Way::Ask | Way::Nothing, _) => {
            Ok(Did { did: "nothing", words: "collected already: there is nothing to cancel".to_owned() })
        }
    }
}

/// Has the endpoint cancel a batch.
async fn ask(batch: &Batch, store: &Store, endpoint: &Endpoint) -> anyhow::Result<Did> {
    let id = batch.remote.as_deref().unwrap_or_default();
    let failed = |trouble: &Trouble| match trouble {
        Trouble::Refused(refusal) if matches!(refusal.status, 401 | 403) => {
            anyhow::anyhow!("{}", endpoint.bad_key(refusal))
        }
        Trouble::Refused(Refusal { status: 404, .. }) => anyhow::anyhow!(
            "the endpoint {} does not know batch {} ({id}): check that the key is of the same account and project; or give it up \
             with --forget",
            endpoint.shown_url(),
            batch.id
        ),
        trouble => anyhow::anyhow!(
            "the endpoint {} does not cancel batch {} ({id}): {trouble}",
            endpoint.shown_url(),
            batch.id
        ),
    };
    let remote = match endpoint.cancel_batch(id).await {
        Ok(remote) => remote,
        // One that has ended is refused.
        Err(trouble @ Trouble::Refused(Refusal { status: 400 | 409, .. })) => {
            match endpoint.batch(id).await {
                Ok(remote) if remote.status.has_ended() => remote,
                Ok(_) => return Err(failed(&trouble)),
                Err(trouble) => return Err(failed(&trouble)),
            }
        }
        Err(trouble) => return Err(failed(&trouble)),
    };
    let status = remote.status.as_str().to_owned();
    let ended = remote.status.has_ended();
    let words = if ended {
        format!("it has ended ({status}): `classified batch collect` keeps what it brought")
    } else {
        "being cancelled: `classified batch collect` keeps what was answered until then, and frees the rest"
            .to_owned()
    };
    store.change_batch(batch.id, Change { status: Some(status), ..Change::default() }).await?;
    Ok(Did { did: if ended { "ended" } else { "cancelling" }, words })
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::batch;
    use super::*;

    #[test]
    fn what_has_begun_is_cancelled_at_the_endpoint_and_what_has_not_is_taken_back() {
        let way = |stage, forget| way(&batch(1, stage), forget).ok();
        for stage in [Stage::Spooling, Stage::Spooled, Stage::Uploaded, Stage::Written] {
            assert_eq!(way(stage, false), Some(Way::TakeBack));
            assert_eq!(way(stage, true), Some(Way::TakeBack));
        }
        assert_eq!(way(Stage::Created, false), Some(Way::Ask));
        assert_eq!(way(Stage::Created, true), Some(Way::Forget));
        // It may run, or not: nobody may free its questions unasked.
        assert_eq!(way(Stage::Creating, false), None);
        assert_eq!(way(Stage::Creating, true), Some(Way::Forget));
        assert_eq!(way(Stage::Collected, true), Some(Way::Nothing));
    }
}
