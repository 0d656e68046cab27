//! `--batch`: the questions of a command are handed over as batches, waited for where that is wished, and collected.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::batch::lock;
use super::dry_run::grouped;
use super::exit::{Exit, usage};
use super::session::{Ended, Session};
use super::settings::{HEURISTIC, RaterArgs};
use crate::batch::{self, Bounds, Desk, Full, GivenUp, Word, Work};
use crate::console::Console;
use crate::dataset::Found;
use crate::model::{Money, Price};
use crate::rate::{self, Asks, Left, Plan, Rater};

/// How often batches are looked at that someone waits for: as often as a twentieth of the time that they have taken, within these.
const LOOK: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(1)];

/// How long an endpoint may be out of reach while batches are waited for: they go on meanwhile.
const OUTAGE: Duration = Duration::from_hours(1);

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
    given_up: Option<GivenUp>,
    /// What counts against the bound on cost.
    committed: Money,
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
        let (mut work, mut outage) = (None::<Work>, Outage::default());
        loop {
            let store = &asker.store;
            let lock = match lock(store, self.console, &mut self.signals).await? {
                Ok(lock) => lock,
                Err(exit) => return Ok(Some(Ended::with(exit))),
            };
            let model = plan.targets.first().map_or("", |target| target.model.as_str());
            let (bounds, price) = (self.bounds(), self.args.settings.rater.price(model));
            let result = {
                let round = Box::pin(async {
                    let work = match &mut work {
                        Some(work) => {
                            work.resume().await?;
                            work
                        }
                        none => {
                            let desk =
                                Desk { endpoint: Arc::clone(&asker.endpoint), store: Arc::clone(store) };
                            desk.check().await?;
                            for newer in desk.newer().await? {
                                console.warn(&newer);
                            }
                            desk.reconcile(&words).await?;
                            none.insert(Work::begin(asker, bounds, words.clone()).await?)
                        }
                    };
                    round(work, (&plan, found), price).await
                });
                tokio::select! {
                    result = said(round, &mut inbox, console) => Some(result),
                    _ = self.signals.next() => None,
                }
            };
            let Some(result) = result else {
                if let Some(work) = &mut work {
                    work.let_go().await?;
                }
                console.note(
                    "interrupted: the same command goes on, and collects the batches that were handed over",
                );
                return Ok(Some(Ended::with(self.signals.exit())));
            };
            drop(lock);
            let wait = self.args.batch.wait && work.is_some();
            match result {
                Err(error) if wait && outage.is_borne(&error, console) => {
                    if let Some(exit) = self.pause(outage.pause()).await {
                        return Ok(Some(Ended::with(exit)));
                    }
                    continue;
                }
                result => result?,
            }
            outage = Outage::default();
            let Some(work) = &mut work else { return Ok(None) };
            self.handed = Handed { full: work.full, given_up: work.given_up, committed: work.committed() };
            let waits_for_room = matches!(work.full, Some(Full::Tokens(_))) && work.given_up.is_none();
            let is_over = work.waiting() == 0 && !waits_for_room;
            if is_over || !self.args.batch.wait {
                // What is asked live from here on has the rest of the money.
                asker.meter.charge(self.handed.committed);
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
        let mut bar = self.console.bar("batches", Some(work.waiting()));
        let (began, mut outage) = (Instant::now(), Outage::default());
        let exit = loop {
            let pause = (began.elapsed() / 20).clamp(LOOK[0], LOOK[1]);
            if let Some(exit) = self.pause(pause).await {
                break Some(exit);
            }
            let looked = tokio::select! {
                looked = work.look() => looked.map_err(anyhow::Error::from),
                _ = self.signals.next() => break Some(self.signals.exit()),
            };
            let looked = match looked {
                Err(error) if outage.is_borne(&error, self.console) => continue,
                looked => looked?,
            };
            outage = Outage::default();
            bar.show(&rate::Progress { done: looked.done, ..rate::Progress::default() });
            let gives_room = looked.questions == 0 && began.elapsed() >= ROOM;
            if gives_room {
                work.try_again();
            }
            if looked.ended > 0 || gives_room {
                break None;
            }
        };
        bar.finish();
        if exit.is_some() {
            self.console.note("the batches go on: the same command collects them");
        }
        Ok(exit)
    }

    /// Waits so long; a signal ends the command.
    async fn pause(&mut self, pause: Duration) -> Option<Exit> {
        tokio::select! {
            () = tokio::time::sleep(pause) => None,
            _ = self.signals.next() => Some(self.signals.exit()),
        }
    }

    /// Says what a run has left to batches, and how the command ends by it.
    pub(super) async fn left(&self, left: Left, plan: &Plan) -> anyhow::Result<Ended> {
        let Left { waiting, unasked } = left;
        let mut exit = Exit::TryAgain;
        if waiting > 0 {
            let places = self.places(plan).await?;
            let text = format!("{} in batches: {places}", many(waiting, "question waits", "questions wait"));
            // With --batch that is how a run ends: a night's log need not have it.
            if self.args.batch.batch { self.console.warn(&text) } else { self.console.urge(&text) }
        }
        if unasked > 0 {
            exit = self.unasked(unasked);
        }
        Ok(Ended { waiting, ..Ended::with(exit) })
    }

    /// Where the questions wait that this run has left, and what brings their answers.
    async fn places(&self, plan: &Plan) -> anyhow::Result<String> {
        let Rater::Endpoint(asker) = &plan.rater else { return Ok(String::new()) };
        let (mut here, mut elsewhere, mut files) = (0, Vec::new(), Vec::new());
        for batch in asker.store.open_batches().await? {
            let is_open = asker.forms.iter().any(|form| form.slot == batch.slot);
            match batch.url {
                _ if !is_open => {}
                None => files.push(batch.id.to_string()),
                Some(url) if url == asker.endpoint.url_digest() => here += 1,
                Some(_) => elsewhere.push(batch.id.to_string()),
            }
        }
        let mut ways = Vec::new();
        if here > 0 && self.args.batch.batch {
            ways.push("the same command later collects them; with --wait it waits for them".to_owned());
        } else if here > 0 {
            ways.push(
                "they are not asked live too, which would be paid for twice; --batch or `classified batch collect` collects them, \
                 `classified batch cancel` frees them"
                    .to_owned(),
            );
        }
        if !elsewhere.is_empty() {
            ways.push(format!(
                "batch {} is at another endpoint, which OPENAI_BASE_URL has to name (`classified batch show`)",
                elsewhere.join(", ")
            ));
        }
        if !files.is_empty() {
            let files = files.join(", ");
            ways.push(format!(
                "batch {files} is a file for a runner of your own: `classified batch read` its answers, or `classified batch cancel {files}`"
            ));
        }
        if ways.is_empty() {
            // Another process has collected them, or taken them back.
            ways.push("the same command goes on".to_owned());
        }
        Ok(ways.join("; "))
    }

    /// Says why questions are in no batch yet, and how the command ends by it.
    fn unasked(&self, unasked: u64) -> Exit {
        let (why, exit) = match self.handed {
            Handed { given_up: Some(GivenUp::Cancelled), .. } => (
                "a batch was cancelled, and not by this command; run it again to hand them over once more".to_owned(),
                Exit::TryAgain,
            ),
            Handed { given_up: Some(GivenUp::Idle), .. } => (
                "one batch after the other expired before anything of it was run; run the command again to try once more"
                    .to_owned(),
                Exit::TryAgain,
            ),
            Handed { full: Some(Full::Money(next)), committed, .. } if committed == Money::ZERO => {
                (format!("--max-cost is below the price of one, which may cost {next}"), Exit::Budget)
            }
            Handed { full: Some(Full::Money(next)), committed, .. } => (
                format!(
                    "stopped at --max-cost {}: {committed} is spent or set aside for open batches, and one more may cost {next}; the \
                     same command goes on when batches are collected, whose bills are lower, or at once with a larger --max-cost",
                    self.args.settings.rater.max_cost.unwrap_or_default()
                ),
                Exit::Budget,
            ),
            Handed { full: Some(Full::Tokens(most)), .. } => (
                format!("the account has room for about {most} input tokens at once: they are handed over when there is room"),
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
        self.console
            .urge(&format!("{} in no batch yet: {why}", many(unasked, "question is", "questions are")));
        exit
    }
}

/// So many things, in words.
pub(super) fn many(count: u64, one: &str, more: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { more })
}

/// An endpoint that cannot be asked for a while, though batches are waited for.
#[derive(Debug, Default)]
struct Outage {
    since: Option<Instant>,
}

impl Outage {
    /// Whether this error may pass, and is waited for; said once.
    fn is_borne(&mut self, error: &anyhow::Error, console: Console) -> bool {
        if !matches!(error.downcast_ref::<batch::Error>(), Some(batch::Error::Trouble(_))) {
            return false;
        }
        let is_new = self.since.is_none();
        let since = *self.since.get_or_insert_with(Instant::now);
        if is_new {
            console.warn(&format!("{error}; it is asked again for an hour"));
        }
        since.elapsed() < OUTAGE
    }

    /// How long to wait before another try.
    fn pause(&self) -> Duration {
        let lasts = self.since.map(|since| since.elapsed()).unwrap_or_default();
        (lasts / 20).clamp(LOOK[0], LOOK[1])
    }
}

/// One round: what has ended is collected, and what is free is handed over.
async fn round(
    work: &mut Work,
    (plan, found): (&Arc<Plan>, &[Found]),
    price: Option<Price>,
) -> anyhow::Result<()> {
    work.collect(price).await?;
    if work.wants_pass && work.full.is_none() && work.given_up.is_none() {
        work.wants_pass = false;
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
    let mut done = std::pin::pin!(work);
    let result = loop {
        tokio::select! {
            Some(said) = inbox.recv() => say(said),
            result = &mut done => break result,
        }
    };
    while let Ok(said) = inbox.try_recv() {
        say(said);
    }
    result
}
