//! `--batch`: the questions of a command are handed over as batches, waited for where that is wished, and collected.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::batch::lock;
use super::exit::{Exit, usage};
use super::session::{Ended, Session};
use super::settings::{HEURISTIC, RaterArgs};
use crate::batch::{Bounds, Desk, Full, Word, Work};
use crate::console::Console;
use crate::dataset::Found;
use crate::rate::ask::Asker;
use crate::rate::{self, Asks, Left, Plan, Rater};

/// How often batches are looked at that someone waits for: at first, and at most.
const LOOK: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// How long a batch waits that the account had no room for, before the server is asked again.
const ROOM: Duration = Duration::from_mins(1);

/// Whether questions go by batch.
#[derive(Debug, Args)]
#[command(next_help_heading = "Batch")]
pub(super) struct BatchArgs {
    /// Hand the questions over as batches, at half the price, to be answered within a day; the same command later collects
    /// what is done
    #[arg(long)]
    pub(super) batch: bool,
    /// Wait until the batches have ended, and hand over again what they left
    #[arg(long, requires = "batch")]
    pub(super) wait: bool,
    /// Ask live, at the full price, what a batch's reply has no usable answer to [default: in the next batch]
    #[arg(long, requires = "batch")]
    pub(super) repair_live: bool,
}

impl BatchArgs {
    /// Whether these flags can be used with those of the rater.
    pub(super) fn check(&self, rater: &RaterArgs) -> anyhow::Result<()> {
        if !self.batch {
            return Ok(());
        }
        if rater.model == HEURISTIC || rater.gguf().is_some() {
            return Err(usage(format!(
                "--batch hands questions to an endpoint that has batches: --model {} is rated on this machine",
                rater.model
            )));
        }
        if rater.service_tier.is_some() {
            return Err(usage(
                "--batch is a tier of its own, at half the price: leave --service-tier (CLASSIFIED_SERVICE_TIER) out",
            ));
        }
        Ok(())
    }

    /// Which questions the run asks itself.
    pub(super) fn asks(&self) -> Asks {
        match (self.batch, self.repair_live) {
            (false, _) => Asks::Everything,
            (true, true) => Asks::Repairs,
            (true, false) => Asks::Nothing,
        }
    }
}

/// What became of the batches of a command.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// Why not all questions were handed over.
    full: Option<Full>,
    was_cancelled: bool,
}

impl Session<'_> {
    /// Hands over the questions of the datasets, where `--batch` wants it, and collects what has come; returns how the command ends
    /// where it ends here.
    pub(super) async fn batches(&mut self, found: &[Found]) -> anyhow::Result<Option<Ended>> {
        if !self.args.batch.batch {
            return Ok(None);
        }
        let plan = self.plan()?;
        let Rater::Endpoint(asker) = &plan.rater else {
            return Ok(None);
        };
        let console = self.console;
        let (words, mut inbox) = mpsc::unbounded_channel();
        let mut work = None;
        loop {
            let store = &asker.store;
            let lock = match lock(store, self.console, &mut self.signals).await? {
                Ok(lock) => lock,
                Err(exit) => return Ok(Some(Ended::with(exit))),
            };
            let (bounds, price) = (self.bounds(), self.args.settings.rater.price(&plan_model(asker)));
            let result = {
                let round = async {
                    let work = match &mut work {
                        Some(work) => work,
                        none => {
                            asker.endpoint.check_batches().await?;
                            let desk =
                                Desk { endpoint: Arc::clone(&asker.endpoint), store: Arc::clone(store) };
                            desk.reconcile(&words).await?;
                            none.insert(Work::begin(asker, bounds, words.clone()).await?)
                        }
                    };
                    round(work, (&plan, found), price).await
                };
                tokio::select! {
                    result = said(round, &mut inbox, console) => Some(result),
                    _ = self.signals.next() => None,
                }
            };
            drop(lock);
            let Some(result) = result else {
                self.console.note("what was handed over stays so: the same command goes on from there");
                return Ok(Some(Ended::with(self.signals.exit())));
            };
            result?;
            let Some(work) = &mut work else { return Ok(None) };
            self.handed = Handed { full: work.full, was_cancelled: work.was_cancelled };
            let waits_for_room = matches!(work.full, Some(Full::Tokens(_)));
            let is_over = work.open().is_empty() && (work.was_cancelled || !waits_for_room);
            if is_over || !self.args.batch.wait {
                return Ok(None);
            }
            if let Some(exit) = self.wait(work).await? {
                return Ok(Some(Ended::with(exit)));
            }
        }
    }

    /// What may be handed over.
    fn bounds(&self) -> Bounds {
        let rater = &self.args.settings.rater;
        Bounds {
            money: rater.max_cost,
            tokens: rater.batch_tokens.map(std::num::NonZeroU64::get),
            questions: self.questions_left.clone(),
            repairs_live: self.args.batch.repair_live,
        }
    }

    /// Waits until a batch has ended, or one may have room that had none; a signal ends the command.
    async fn wait(&mut self, work: &mut Work) -> anyhow::Result<Option<Exit>> {
        let questions = work.open().iter().map(|batch| batch.requests).sum();
        let mut bar = self.console.bar("batches", Some(questions));
        let (mut pause, mut before, began) = (LOOK[0], 0, Instant::now());
        loop {
            let looked = tokio::select! {
                looked = async { tokio::time::sleep(pause).await; work.look().await } => looked?,
                _ = self.signals.next() => {
                    bar.finish();
                    self.console.note("the batches go on: the same command collects them");
                    return Ok(Some(self.signals.exit()));
                }
            };
            bar.show(&rate::Progress { done: looked.done, ..rate::Progress::default() });
            let gives_room = looked.questions == 0 && began.elapsed() >= ROOM;
            if gives_room {
                work.try_again();
            }
            if looked.ended > 0 || gives_room {
                bar.finish();
                return Ok(None);
            }
            pause = if looked.done > before { LOOK[0] } else { (pause * 3 / 2).min(LOOK[1]) };
            before = looked.done;
        }
    }

    /// Says what a run has left to batches, and how the command ends by it.
    pub(super) fn left(&self, left: Left) -> Ended {
        let (console, Left { waiting, unasked }) = (self.console, left);
        let batch = self.args.batch.batch;
        if waiting > 0 {
            let how = if batch {
                "the same command later collects them; with --wait it waits for them"
            } else {
                "they are not asked live too, which would be paid for twice: --batch or `classified batch collect` collects them, \
                 `classified batch cancel` frees them"
            };
            console.urge(&format!("{waiting} questions wait in batches: {how}"));
        }
        let exit = if waiting == 0 && unasked > 0 { self.unasked(unasked) } else { Exit::TryAgain };
        if waiting > 0 && unasked > 0 {
            self.unasked(unasked);
        }
        Ended::with(exit)
    }

    /// Says why questions are in no batch yet, and how the command ends where none is in one.
    fn unasked(&self, unasked: u64) -> Exit {
        let (why, exit) = match self.handed {
            Handed { was_cancelled: true, .. } => (
                "a batch was cancelled, and not by this command; run it again to hand them over once more"
                    .to_owned(),
                Exit::TryAgain,
            ),
            Handed { full: Some(Full::Money(next)), .. } => (
                format!(
                    "stopped at --max-cost {}, in which open batches count at their highest price: one more may cost {next}; the same \
                     command goes on, with a larger --max-cost or when batches are collected",
                    self.args.settings.rater.max_cost.unwrap_or_default()
                ),
                Exit::Budget,
            ),
            Handed { full: Some(Full::Tokens(most)), .. } => (
                format!(
                    "the account may have about {most} input tokens enqueued: they are handed over when there is room"
                ),
                Exit::TryAgain,
            ),
            Handed { full: Some(Full::Questions), .. } => (
                format!(
                    "stopped after {} questions: run the same command with --yes to go on, or with --max to bound it",
                    super::bill::SURPRISE
                ),
                Exit::Budget,
            ),
            Handed { full: None, .. } => ("the same command hands them over".to_owned(), Exit::TryAgain),
        };
        self.console.urge(&format!("{unasked} questions are in no batch yet: {why}"));
        exit
    }
}

/// One round: what has ended is collected, and what is free is handed over.
async fn round(
    work: &mut Work,
    (plan, found): (&Arc<Plan>, &[Found]),
    price: Option<crate::model::Price>,
) -> anyhow::Result<()> {
    work.collect(price).await?;
    if work.wants_pass && work.full.is_none() && !work.was_cancelled {
        for found in found {
            work.submit(plan, found.open().await?).await?;
        }
        work.hand_over_rest().await?;
    }
    Ok(())
}

/// Says what is said meanwhile.
pub(super) async fn said<T>(
    work: impl Future<Output = T>,
    inbox: &mut UnboundedReceiver<Word>,
    console: Console,
) -> T {
    let say = |word| match word {
        Word::Note(text) => console.note(&text),
        Word::Warning(text) => console.warn(&text),
    };
    let mut work = std::pin::pin!(work);
    let result = loop {
        tokio::select! {
            Some(word) = inbox.recv() => say(word),
            result = &mut work => break result,
        }
    };
    while let Ok(word) = inbox.try_recv() {
        say(word);
    }
    result
}

/// Who answers all of a run's questions.
fn plan_model(asker: &Asker) -> String {
    asker.forms.first().map_or_else(String::new, |form| form.slot.model.clone())
}
