//! What one command does with batches: whose questions, how much money and how many tokens they may take, and what was said.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::UnboundedSender;

use super::gather::Gathering;
use super::reader::read_dialect;
use super::{Desk, Error, Word};
use crate::model::Money;
use crate::rate::ask::Asker;
use crate::store::{Batch, Lesson, Stage};

/// What a command may hand over.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    /// US dollars, of all its batches and of what is collected.
    pub money: Option<Money>,
    /// Input tokens that the account may have enqueued at once, where the user knows.
    pub tokens: Option<u64>,
    /// Questions that may still be asked.
    pub questions: Option<Arc<AtomicU64>>,
    /// Whether the run itself asks what needs a second turn.
    pub repairs_live: bool,
}

/// Why no more questions were handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The next one may cost this much, and does not fit under the bound on cost.
    Money(Money),
    /// The account may not have more input tokens enqueued than this.
    Tokens(u64),
    /// The bound on questions.
    Questions,
}

/// Why a command hands over nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// Somebody cancelled a batch.
    Cancelled,
    /// One batch after the other expired before anything of it was run.
    Idle,
}

/// The batches of one command.
#[derive(Debug)]
pub struct Work {
    pub(super) desk: Desk,
    /// How questions are asked, one form a target.
    pub(super) asker: Arc<Asker>,
    /// Where files are made.
    pub(super) folder: PathBuf,
    /// What was spent on what this command has collected.
    pub(super) spent: Money,
    pub(super) bounds: Bounds,
    /// What was learned of the endpoint earlier.
    pub(super) lesson: Lesson,
    /// The most tokens that may be enqueued by what was rejected, in this command.
    pub(super) allowance: Option<u64>,
    /// Input tokens of the same model that other lenses' batches have enqueued.
    elsewhere: u64,
    /// Files that were rejected in a row though nothing else was enqueued.
    pub(super) rejected: u32,
    /// What is being gathered, by target.
    pub(super) gathering: Vec<Option<Gathering>>,
    /// Open batches of this command's lenses.
    pub(super) open: Vec<Batch>,
    /// Why the last pass over the rows ended before their end.
    pub full: Option<Full>,
    /// Whether questions may be free that are not handed over: the rows want another pass.
    pub wants_pass: bool,
    /// Why nothing more is handed over by this command, though questions are free.
    pub given_up: Option<GivenUp>,
    /// Batches in a row that expired before anything was run.
    pub(super) idle: u32,
    /// Batches that the server does not know, by their numbers.
    pub(super) gone: HashSet<i64>,
    pub(super) words: Words,
}

/// Where what is said goes.
pub type Words = UnboundedSender<Word>;

impl Work {
    /// The batches of `asker`'s lenses, of which some may be open. Wants the lock of the store's batches, and [`Desk::reconcile`]
    /// before it.
    pub async fn begin(asker: &Arc<Asker>, bounds: Bounds, words: Words) -> Result<Self, Error> {
        let desk = Desk { endpoint: Arc::clone(&asker.endpoint), store: Arc::clone(&asker.store) };
        let model = asker.forms.first().map_or("", |form| form.slot.model.as_str());
        let lesson = desk.store.lesson(desk.url(), model).await?;
        if let Some(dialect) = &lesson.dialect {
            desk.endpoint.begin_with(read_dialect(dialect));
        }
        // Beside the database: there is room for what it keeps, and /tmp may be memory.
        let folder = desk.store.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        let mut work = Self {
            desk,
            asker: Arc::clone(asker),
            folder,
            spent: Money::ZERO,
            bounds,
            lesson,
            allowance: None,
            elsewhere: 0,
            rejected: 0,
            idle: 0,
            gathering: asker.forms.iter().map(|_| None).collect(),
            open: Vec::new(),
            full: None,
            wants_pass: true,
            given_up: None,
            gone: HashSet::new(),
            words,
        };
        work.reload().await?;
        Ok(work)
    }

    /// Goes on, after an error too: what was left in the middle of a step is taken further or back. Wants the lock of the store's
    /// batches.
    pub async fn resume(&mut self) -> Result<(), Error> {
        let gathered = self.gathering.iter_mut().filter_map(Option::take).count();
        self.desk.reconcile(&self.words).await?;
        let before = self.open.len();
        self.reload().await?;
        // What was taken back is free.
        self.wants_pass |= self.open.len() < before || gathered > 0;
        Ok(())
    }

    /// Reads the open batches of this command's lenses again.
    pub(super) async fn reload(&mut self) -> Result<(), Error> {
        let forms = &self.asker.forms;
        let (ours, others): (Vec<Batch>, Vec<Batch>) = self
            .desk
            .open()
            .await?
            .into_iter()
            .partition(|batch| forms.iter().any(|form| form.slot == batch.slot));
        let of_model = |batch: &&Batch| forms.iter().any(|form| form.slot.model == batch.slot.model);
        let begun = others.iter().filter(|batch| batch.stage == Stage::Created).filter(of_model);
        self.elsewhere = begun.map(|batch| batch.tokens).fold(0, u64::saturating_add);
        self.open = ours;
        Ok(())
    }

    /// The questions of this command's lenses that wait in batches which may end.
    pub fn waiting(&self) -> u64 {
        self.open.iter().filter(|batch| !self.gone.contains(&batch.id)).map(|batch| batch.requests).sum()
    }

    pub(super) fn note(&self, text: String) {
        self.say(Word::Note(text));
    }

    pub(super) fn warn(&self, text: String) {
        self.say(Word::Warning(text));
    }

    pub(super) fn say(&self, word: Word) {
        // Whoever asked may be gone.
        let _ = self.words.send(word);
    }

    /// The most input tokens that may be enqueued at once, as the user or the server says it.
    pub(super) fn tokens_said(&self) -> Option<u64> {
        self.bounds.tokens.or(self.lesson.tokens)
    }

    /// The most that are enqueued, by our own count: a quarter is left for where it differs from the server's.
    pub(super) fn tokens_at_most(&self) -> Option<u64> {
        let said = self.tokens_said().map(|said| said - said / 4);
        said.into_iter().chain(self.allowance).min()
    }

    /// Input tokens of this model that are enqueued, or about to be.
    pub(super) fn tokens_enqueued(&self) -> u64 {
        let begun = self.open.iter().filter(|batch| batch.stage == Stage::Created).map(|batch| batch.tokens);
        let gathered = self.gathering.iter().flatten().map(|gathering| gathering.tokens);
        begun.chain(gathered).fold(self.elsewhere, u64::saturating_add)
    }

    /// Whether a question fits under the bound on cost that costs at most this: beside what was spent, and what batches under way or
    /// about to be may come to, whoever handed them over.
    pub(super) fn can_afford(&self, cost: Money) -> bool {
        self.bounds.money.is_none_or(|cap| self.committed() + cost <= cap)
    }

    /// What counts against the bound on cost: what was spent on what this command has collected, and what batches under way or about
    /// to be may come to.
    pub fn committed(&self) -> Money {
        let begun = self.open.iter().map(|batch| batch.bound);
        let gathered = self.gathering.iter().flatten().map(|gathering| gathering.bound);
        begun.chain(gathered).flatten().fold(self.spent, |sum, bound| sum + bound)
    }

    /// Frees what is being gathered: nothing of it has left this machine.
    pub async fn let_go(&mut self) -> Result<(), Error> {
        for gathering in self.gathering.iter_mut().filter_map(Option::take) {
            self.desk.store.abandon_batch(gathering.batch.id).await?;
        }
        Ok(())
    }

    /// Takes one off the bound on questions.
    pub(super) fn may_ask_one_more(&self) -> bool {
        let Some(left) = &self.bounds.questions else { return true };
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}
