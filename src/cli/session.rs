//! A command that rates, from open raters to a closed store: bounds, signals, progress, and every way to end.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures::StreamExt;

use super::batch::free_leftovers;
use super::batching::Handed;
use super::bill::{SURPRISE, Unbounded};
use super::exit::Exit;
use super::rater::{Cuts, Raters};
use super::rating::RatingArgs;
use super::signals::{Signal, Signals};
use super::source;
use crate::console::Console;
use crate::dataset::{self, Dataset, Found};
use crate::export::jsonl::Claims;
use crate::lens::Lens;
use crate::model::Money;
use crate::rate::{self, End, Event, Plan, Rater};
use crate::rating::{Fate, Rating};

/// How the rating of a dataset ended.
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) error: Option<anyhow::Error>,
    /// A second signal came: nothing is waited for.
    pub(super) at_once: bool,
    /// Questions that wait in batches.
    pub(super) waiting: u64,
}

impl Ended {
    pub(super) fn with(exit: Exit) -> Self {
        Self { exit, error: None, at_once: false, waiting: 0 }
    }

    pub(super) fn by(error: anyhow::Error) -> Self {
        let exit = Exit::of(&error);
        Self { error: Some(error), ..Self::with(exit) }
    }

    /// Takes in an error that came later: the first one ends the program, a later one is told.
    pub(super) fn also(&mut self, error: anyhow::Error, console: Console) {
        if self.error.is_none() {
            *self = Self { waiting: self.waiting, ..Self::by(error) };
        } else {
            console.warn(&error.to_string());
        }
    }
}

/// Whoever rates, and what all runs of a command share.
pub(super) struct Session<'a> {
    pub(super) args: &'a RatingArgs,
    pub(super) console: Console,
    pub(super) lenses: &'a [Arc<Lens>],
    /// What the rows' fields are called.
    fields: &'a [String],
    cuts: Cuts,
    pub(super) raters: Raters,
    pub(super) signals: Signals,
    /// Questions that all runs of the command may still ask together.
    pub(super) questions_left: Option<Arc<AtomicU64>>,
    /// What became of its batches.
    pub(super) handed: Handed,
    /// What was asked last.
    last: Option<Arc<Plan>>,
    /// Whether a run has not told of all its rows.
    is_partial: bool,
    /// The files of ratings that it writes.
    pub(super) claims: Claims,
}

impl<'a> Session<'a> {
    /// Opens whoever rates; a signal meanwhile ends the program.
    pub(super) async fn open(
        args: &'a RatingArgs,
        (lenses, fields): (&'a [Arc<Lens>], &'a [String]),
        cuts: Cuts,
        console: Console,
    ) -> anyhow::Result<Result<Self, Exit>> {
        args.batch.check(&args.settings.rater)?;
        let mut signals = Signals::listen()?;
        let mut raters = tokio::select! {
            raters = Raters::open(&args.settings, lenses, &console) => raters?,
            // A server that was being started goes with what is dropped here.
            _ = signals.next() => return Ok(Err(signals.exit())),
        };
        if args.batch.batch {
            raters.without_tier();
        } else if let (Some(store), true) = (raters.store(), !raters.is_in_process()) {
            free_leftovers(store).await?;
        }
        raters.tell_of_older_texts(lenses, args.version, &console).await?;
        Ok(Ok(Self {
            args,
            console,
            lenses,
            fields,
            cuts,
            raters,
            signals,
            questions_left: None,
            handed: Handed::default(),
            last: None,
            is_partial: false,
            claims: Claims::default(),
        }))
    }

    /// Sees to it that a run without a bound makes no surprising bill: refuses one that is known to, and bounds one of
    /// which nobody knows. A signal meanwhile ends the program.
    pub(super) async fn bound(
        &mut self,
        found: &[Found],
        datasets: &[Dataset],
    ) -> anyhow::Result<Option<Exit>> {
        let bounded = self.args.yes || self.args.max.is_some() || self.args.settings.rater.max_cost.is_some();
        let unbounded =
            Unbounded { raters: &self.raters, lenses: self.lenses, columns: self.fields, cuts: self.cuts };
        if !bounded && unbounded.may_surprise(datasets) {
            tokio::select! {
                checked = async { unbounded.check(open_all(found).await?, self.console).await } => checked?,
                _ = self.signals.next() => return Ok(Some(self.signals.exit())),
            }
        }
        // Where nobody knows how many questions there will be, all datasets together share the bound.
        let is_open = datasets.iter().any(|dataset| dataset.sampled.is_none());
        self.questions_left =
            (!bounded && is_open && self.raters.bills()).then(|| Arc::new(AtomicU64::new(SURPRISE)));
        Ok(None)
    }

    /// What is asked of a dataset's rows.
    pub(super) fn plan(&self) -> anyhow::Result<Arc<Plan>> {
        let mut plan = self.raters.plan(self.lenses, self.fields, self.cuts)?;
        plan.questions_left.clone_from(&self.questions_left);
        plan.asks = self.args.batch.asks();
        Ok(Arc::new(plan))
    }

    /// Rates a dataset and gives each rating to `take`, in row order; its first error ends the run when what is in flight
    /// is kept. `failures_in` says where the reasons of failed rows can be read.
    pub(super) async fn drive(
        &mut self,
        plan: &Arc<Plan>,
        dataset: Dataset,
        failures_in: &str,
        mut take: impl FnMut(&Rating) -> anyhow::Result<()>,
    ) -> anyhow::Result<Ended> {
        self.last = Some(Arc::clone(plan));
        let Self { console, raters, signals, args, is_partial, .. } = self;
        console.note(&args.describe(&dataset, plan));
        let rows = dataset.sampled.or(dataset.rows);
        let hub = dataset.hub.clone();
        let mut bar = console.bar("rating", rows.map(|rows| rows * plan.targets.len() as u64));
        bar.cap = args.settings.rater.max_cost;
        let mut events = rate::rate(Arc::clone(plan), dataset, signals.stop());
        let mut told = false;
        let mut ended = Ended::with(Exit::Done);
        let mut left = None;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::Rated(rating)) => {
                        if let (false, Fate::Failed(_), Some(failure)) = (told, rating.fate(), rating.failure()) {
                            told = true;
                            bar.aside(|| console.warn(&format!("{}: {failure} ({failures_in})", rating.record.id)));
                        }
                        if let Err(error) = take(&rating) && ended.error.is_none() {
                            // What is in flight is paid for: it is finished and kept before the run ends.
                            ended = Ended::by(error);
                            signals.stop_now();
                        }
                    }
                    Some(Event::Progress(progress)) => bar.show(&progress),
                    Some(Event::Note(note)) => bar.aside(|| console.note(&note)),
                    Some(Event::End(end)) => {
                        *is_partial |= !matches!(end, End::Finished);
                        if ended.error.is_none() {
                            ended = match end {
                                End::Budget(next) => stopped_at_budget(args, plan, next, *console),
                                End::Waiting(these) => {
                                    left = Some(these);
                                    Ended::with(Exit::TryAgain)
                                }
                                end => ended_by(end, signals, *console),
                            };
                        }
                        break;
                    }
                    None => anyhow::bail!("the rating ended without a word: this is a fault of the program, please report it"),
                },
                error = raters.server_ended(), if ended.error.is_none() => {
                    ended = Ended::by(error);
                    signals.stop_now();
                }
                signal = signals.next() => match signal {
                    Signal::First => bar.aside(|| {
                        console.note("stopping: what is in flight is finished; once more to stop at once");
                    }),
                    Signal::Again(exit) => {
                        bar.finish();
                        console.note("stopped at once: what was in flight is not kept, though it may be billed");
                        return Ok(Ended { at_once: true, ..Ended::with(exit) });
                    }
                },
            }
        }
        bar.finish();

        if let Some(hub) = hub {
            console.note(&source::traffic(&hub));
        }
        Ok(match left {
            Some(left) if ended.error.is_none() => self.left(left, plan).await?,
            _ => ended,
        })
    }

    /// Waits until everything is written, and says what was spent beyond the cap. After a second signal nothing is waited
    /// for. Failures in batches are forgotten when every dataset has told of its own: several may ask the same question.
    pub(super) async fn close(mut self, ended: &mut Ended) {
        if let Some(plan) = self.last.as_ref().filter(|_| !self.is_partial && ended.error.is_none())
            && let Err(error) = rate::forget_failures(plan).await
        {
            ended.also(error.into(), self.console);
        }
        if ended.at_once {
            self.raters.kill_server();
        } else {
            close(&self.raters, &mut self.signals, ended, self.console).await;
        }
        let spent = self.raters.spent();
        if let Some(cap) = self.args.settings.rater.max_cost.filter(|cap| spent > *cap) {
            self.console.warn(&format!(
                "the server says that its replies cost {spent}, more than --max-cost {cap}: a reply took more tokens than its \
                 request allowed"
            ));
        }
    }
}

/// Opens the datasets: files on this machine are read once, to count their rows.
pub(super) async fn open_all(found: &[Found]) -> Result<Vec<Dataset>, dataset::Error> {
    let mut datasets = Vec::new();
    for found in found {
        datasets.push(found.open().await?);
    }
    Ok(datasets)
}

/// Waits until the store is written; a second signal waits for nothing.
async fn close(raters: &Raters, signals: &mut Signals, ended: &mut Ended, console: Console) {
    let mut closing = std::pin::pin!(raters.close());
    loop {
        tokio::select! {
            closed = &mut closing => {
                return if let Err(error) = closed {
                    ended.also(error, console);
                };
            }
            signal = signals.next() => if let Signal::Again(exit) = signal {
                // What is not written yet is the history of failed attempts: answers were committed before.
                ended.exit = exit;
                return;
            },
        }
    }
}

fn ended_by(end: End, signals: &Signals, console: Console) -> Ended {
    match end {
        End::Finished => Ended::with(Exit::Done),
        End::Interrupted => Ended::with(signals.exit()),
        End::QuestionLimit => {
            console.urge(&format!(
                "stopped after {SURPRISE} questions: run the same command with --yes to go on, or with --max to bound it"
            ));
            Ended::with(Exit::Budget)
        }
        End::Budget(_) => Ended::with(Exit::Budget),
        End::Waiting(_) => Ended::with(Exit::TryAgain),
        End::Failed(error) => Ended::by(error.into()),
    }
}

/// Says how the cap on money stands, and how to go on.
fn stopped_at_budget(args: &RatingArgs, plan: &Plan, next: Money, console: Console) -> Ended {
    let cap = args.settings.rater.max_cost.unwrap_or_default();
    let state = match &plan.rater {
        Rater::Endpoint(asker) => asker.meter.state(),
        Rater::Heuristic(_) => crate::meter::State::default(),
    };
    let spent = state.spent + state.reserved;
    console.urge(&if spent == Money::ZERO {
        format!("stopped at --max-cost {cap}: one request may cost {next}; give it at least that to begin")
    } else {
        format!(
            "stopped at --max-cost {cap}: {spent} is spent, attempts without a reply counted at their highest price, and the \
             next request may cost {next}; what is answered is kept: the same command goes on from here, with as much again \
             or a larger --max-cost"
        )
    });
    Ended::with(Exit::Budget)
}
