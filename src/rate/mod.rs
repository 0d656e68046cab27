//! The path of one row: rows are prepared, looked up, asked, and told of in order. It emits events and never prints.
//!
//! One task owns the state (window, waiting questions), so nothing is locked. Preparing runs on blocking threads,
//! asking on tasks of its own, and the store is asked and written in batches.

pub mod ask;
mod attempt;
mod driver;
mod forecast;
mod look_up;
mod prepare;
pub mod retry;
mod unanswered;
mod window;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures::stream::{Stream, StreamExt};
use tokio::sync::{mpsc, watch};

use crate::dataset::{self, Dataset};
use crate::meter::Pause;
use crate::model::Money;
use crate::rating::answer::Usage;
use crate::rating::{Rating, Target};
use crate::store::{Forget, Slot};
use crate::{chunk, heuristic, store};

use ask::Asker;
use driver::Driver;
pub use forecast::{Asking, Forecast, Look, Span, forecast};
pub use unanswered::unanswered;

/// Rows that the dataset hands over at once, at most.
const BATCH: usize = 256;

/// What stops a run before its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The dataset cannot be read on.
    #[error(transparent)]
    Dataset(#[from] dataset::Error),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The endpoint will answer no question.
    #[error("{0}")]
    Endpoint(String),
    /// A part of the program ended before its time.
    #[error("a task of the program failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Who answers.
#[derive(Debug)]
pub enum Rater {
    /// The built-in heuristic, one kind per target.
    Heuristic(Vec<heuristic::Kind>),
    /// A chat endpoint.
    Endpoint(Arc<Asker>),
}

/// What a run does.
#[derive(Debug)]
pub struct Plan {
    /// The lenses.
    pub targets: Vec<Target>,
    /// The columns, in the order of the lenses' fields.
    pub columns: Vec<String>,
    /// Who answers.
    pub rater: Rater,
    /// How long texts are cut.
    pub limits: chunk::Limits,
    /// Who rates first, so that not every row is asked about.
    pub first: Option<Screen>,
    /// Questions that may still be asked, in this run and in others that share the bound; `None` is no bound.
    pub questions_left: Option<Arc<AtomicU64>>,
    /// Which questions it asks itself.
    pub asks: Asks,
}

/// Which of the questions that the store cannot answer a run asks itself. None asks what waits in a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Asks {
    /// All of them.
    #[default]
    Everything,
    /// Those to which a batch brought a reply that is no answer yet.
    Repairs,
    /// None.
    Nothing,
}

/// Questions that a run has left to batches. One that rows far apart ask may count for each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Those that wait in one.
    pub waiting: u64,
    /// Those that are in none yet.
    pub unasked: u64,
}

/// The cheap stage of a cascade: the heuristic rates first, and only rows that it does not put below a score are asked
/// about. What it cannot measure is asked.
#[derive(Debug, Clone)]
pub struct Screen {
    /// The heuristic's kind, one per target.
    pub kinds: Vec<heuristic::Kind>,
    /// The lowest score, the mean over a record's chunks, with which a row is asked about.
    pub at_least: f64,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Ratings done, of all targets together, in whatever way; those that are left to batches, too.
    pub done: u64,
    /// Those that came from the store or from a twin.
    pub cached: u64,
    /// Those that failed.
    pub failed: u64,
    /// What was used so far.
    pub usage: Usage,
    /// What counts against the cap on money, of all runs of the command: attempts of unknown outcome at their bound.
    pub spent: Money,
    /// How long everyone still waits, and for what.
    pub paused: Option<(Duration, Pause)>,
}

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// Every row was told of.
    Finished,
    /// It was asked to stop.
    Interrupted,
    /// The bound on questions was reached.
    QuestionLimit,
    /// The bound on cost was reached: the next attempt may cost this much.
    Budget(Money),
    /// Every row was looked at, and some are left to batches.
    Waiting(Left),
    /// It cannot go on.
    Failed(Error),
}

/// What a run tells its one consumer.
#[derive(Debug)]
pub enum Event {
    /// How far it is.
    Progress(Progress),
    /// Something about the endpoint that is good to know, said once.
    Note(String),
    /// A rating, committed; in row order, for each row in the order of the targets.
    Rated(Rating),
    /// The last event.
    End(End),
}

/// Rates a dataset. Set `stop` to true to end early: what is in flight is finished, nothing new is begun.
pub fn rate(
    plan: Arc<Plan>,
    dataset: Dataset,
    stop: watch::Receiver<bool>,
) -> impl Stream<Item = Event> + Unpin {
    let (events, inbox) = mpsc::channel(16);
    tokio::spawn(Driver::new(plan, stop, events).run(dataset));
    let batches = futures::stream::unfold(inbox, |mut inbox| async move {
        let batch: Vec<Event> = inbox.recv().await?;
        Some((futures::stream::iter(batch), inbox))
    });
    Box::pin(batches.flatten())
}

/// Ends a command whose runs have left nothing: they have told of every failure in batches, so the next one may ask again. One
/// that asks itself has just done so.
pub async fn forget_failures(plan: &Plan) -> Result<(), store::Error> {
    match &plan.rater {
        Rater::Endpoint(asker) if plan.asks != Asks::Everything => {
            asker.store.forget_told(&slots(asker), Forget::Failed, store::now()).await
        }
        _ => Ok(()),
    }
}

fn slots(asker: &Asker) -> Vec<Arc<Slot>> {
    asker.forms.iter().map(|form| Arc::clone(&form.slot)).collect()
}
