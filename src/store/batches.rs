//! Batches and their questions: what was handed over, where it stands, and what came back.
//!
//! Who changes anything here holds the lock of the store's batches, so that two runs never hand over the same question.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Error, Slot, Store};
use crate::model::Money;
use crate::rating::answer::{Answer, Usage};
use crate::rating::failure::{Failure, Reason};
use crate::rating::question::Digest;

/// The form of a batch's row and file that this program writes and reads.
pub const FORM: u32 = 1;

/// How far a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its questions are being gathered.
    Spooling,
    /// All its questions are known; its file may be on its way.
    Spooled,
    /// The server has its file.
    Uploaded,
    /// The server is being told to begin: it may have begun.
    Creating,
    /// The server has it.
    Created,
    /// What came of it is in the store.
    Collected,
    /// It is a file for a runner of one's own.
    Written,
}

/// A batch to be made.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// Lens, model, version, sample.
    pub slot: Arc<Slot>,
    /// The digest of the lens's text.
    pub digest: Digest,
    /// The lens's files by name.
    pub files: BTreeMap<String, String>,
    /// The model's name as it is sent.
    pub asked: String,
    /// The digest of the base URL; none for a runner of one's own.
    pub url: Option<Digest>,
    /// In which dialect it is asked, as JSON.
    pub dialect: String,
}

/// A batch, as the store knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Its number in the store.
    pub id: i64,
    /// Its chance name: 32 hexadecimal digits.
    pub intent: String,
    /// Lens, model, version, sample.
    pub slot: Arc<Slot>,
    /// The digest of the lens's text.
    pub digest: Digest,
    /// The lens's files by name.
    pub files: BTreeMap<String, String>,
    /// The model's name as it is sent.
    pub asked: String,
    /// The digest of the base URL; none for a runner of one's own.
    pub url: Option<Digest>,
    /// The form of the row and of the file; only [`FORM`] can be read.
    pub form: u32,
    /// The version of the program that made it.
    pub program: String,
    /// In which dialect it was asked, as JSON.
    pub dialect: String,
    /// How far it has come.
    pub stage: Stage,
    /// The server's word when it was last asked.
    pub status: Option<String>,
    /// The server's id of its input file.
    pub file: Option<String>,
    /// The server's id of the batch.
    pub remote: Option<String>,
    /// Questions in it.
    pub requests: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// Tokens of all its prompts, by our own count.
    pub tokens: u64,
    /// What it can cost at most; `None` where the price is not known.
    pub bound: Option<Money>,
    /// What its replies cost; `None` where that is not known.
    pub cost: Option<Money>,
    /// Questions that it answered.
    pub answered: u64,
    /// Questions that failed for good.
    pub failed: u64,
    /// Questions to be asked again.
    pub again: u64,
    /// What was wrong with it, for people.
    pub note: Option<String>,
    /// When it was made, in milliseconds since 1970.
    pub made_at: i64,
    /// When its row last changed.
    pub changed_at: i64,
}

/// What a question has come to in batches so far: how it is asked next.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Replies that were no answer.
    pub tries: u32,
    /// Why the last of them was none, and what was wrong; nothing where there was none.
    pub last: Option<Failure>,
    /// What they used, all together.
    pub usage: Usage,
}

impl Default for Turn {
    /// Not asked yet.
    fn default() -> Self {
        Self { tries: 0, last: None, usage: Usage::default() }
    }
}

/// Where a question stands that was in a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// It is in a batch whose replies are not collected.
    Waiting,
    /// It is to be asked again.
    Again(Turn),
    /// It failed for good, after this turn's tries; `is_new` where no run has told of it.
    Failed {
        /// Why.
        failure: Failure,
        /// What its replies used.
        usage: Usage,
        /// Whether no run has told of it.
        is_new: bool,
    },
    /// It was answered, and this look is the first of a run: it counts as asked by it.
    New,
    /// It was answered, and a run told of it at this time, in milliseconds since 1970.
    Told(i64),
}

/// What came of a question in a batch.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The question.
    pub input: Digest,
    /// What its reply used; nothing where it has none.
    pub usage: Usage,
    /// What became of it.
    pub fate: Fate,
}

/// What becomes of a question in a batch.
#[derive(Debug, Clone)]
pub enum Fate {
    /// It is answered. The answer's usage is that of all its turns.
    Answered(Arc<Answer>),
    /// It is to be asked again, after a reply that was no answer.
    Repair(Failure),
    /// It is to be asked again: it was not tried, or that says nothing of it.
    Again(Failure),
    /// It failed for good.
    Failed(Failure),
}

/// What changes of a batch; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// How far it has come.
    pub stage: Option<Stage>,
    /// The server's word.
    pub status: Option<String>,
    /// The server's id of its input file.
    pub file: Option<String>,
    /// The server's id of the batch.
    pub remote: Option<String>,
    /// Bytes of its file.
    pub bytes: Option<u64>,
    /// What was wrong with it.
    pub note: Option<String>,
}

/// What batches have taught about an endpoint and a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lesson {
    /// The most input tokens that may be enqueued at once.
    pub tokens: Option<u64>,
    /// The dialect that its refusals led to, as JSON.
    pub dialect: Option<String>,
}

/// A question to hand over.
#[derive(Debug, Clone, Copy)]
pub struct Reserve {
    /// The question.
    pub input: Digest,
    /// Tokens of its prompt, by our own count.
    pub tokens: u64,
    /// What it can cost at most; `None` where the price is not known.
    pub bound: Option<Money>,
}

impl Store {
    /// Notes that a batch is to be made, in [`Stage::Spooling`].
    pub async fn begin_batch(&self, new: &NewBatch) -> Result<Batch, Error> {
        let _ = new;
        Err(Error::WriterGone)
    }

    /// Takes questions into a batch in [`Stage::Spooling`], all in one transaction, and adds them to its sums. Returns how each of
    /// them is to be asked; those that wait in some batch already, this one included, or have an answer or a failure that
    /// is not told, are left out. The order is that of `questions`.
    pub async fn reserve(
        &self,
        batch: &Batch,
        questions: &[Reserve],
    ) -> Result<HashMap<Digest, Turn>, Error> {
        let _ = (batch, questions);
        Err(Error::WriterGone)
    }

    /// Changes a batch.
    pub async fn change_batch(&self, batch: i64, change: Change) -> Result<(), Error> {
        let _ = (batch, change);
        Err(Error::WriterGone)
    }

    /// Takes a batch back that never began: its questions are free again, and stand as before.
    pub async fn abandon_batch(&self, batch: i64) -> Result<(), Error> {
        let _ = batch;
        Err(Error::WriterGone)
    }

    /// All batches, in the order in which they were made.
    pub async fn batches(&self) -> Result<Vec<Batch>, Error> {
        Err(Error::WriterGone)
    }

    /// Which of these questions wait in this batch, and how each was asked.
    pub async fn waiting_in(&self, batch: i64, inputs: &[Digest]) -> Result<HashMap<Digest, Turn>, Error> {
        let _ = (batch, inputs);
        Err(Error::WriterGone)
    }

    /// Keeps what came of questions of a batch: answers, states and history, all in one transaction. Questions that do not wait
    /// in it are passed over, so that a batch may be read twice. Returns how many were settled.
    pub async fn settle(&self, batch: &Batch, settled: &[Settled]) -> Result<u64, Error> {
        let _ = (batch, settled);
        Err(Error::WriterGone)
    }

    /// Ends a batch: questions that still wait in it are to be asked again, for this reason. Returns how many those are.
    pub async fn close_batch(&self, batch: i64, rest: &Failure) -> Result<u64, Error> {
        let _ = (batch, rest);
        Err(Error::WriterGone)
    }

    /// Whether any question of this slot is or was in a batch and is not told of.
    pub async fn has_batched(&self, slot: &Slot) -> Result<bool, Error> {
        let _ = slot;
        Ok(false)
    }

    /// Where questions stand that are or were in batches; no entry for those that never were. A question that is [`Standing::New`]
    /// is told of from here on.
    pub async fn stand(&self, slot: &Slot, inputs: &[Digest]) -> Result<HashMap<Digest, Standing>, Error> {
        let _ = (slot, inputs);
        Ok(HashMap::new())
    }

    /// Forgets what runs have told of these slots' questions, failures only where `failures` says so: then they are asked
    /// again.
    pub async fn forget_told(&self, slots: &[Arc<Slot>], failures: bool) -> Result<(), Error> {
        let _ = (slots, failures);
        Ok(())
    }

    /// What batches have taught.
    pub async fn lesson(&self, url: Digest, model: &str) -> Result<Lesson, Error> {
        let _ = (url, model);
        Ok(Lesson::default())
    }

    /// Keeps what batches have taught; what is `None` stays as it was.
    pub async fn learn(&self, url: Digest, model: &str, lesson: &Lesson) -> Result<(), Error> {
        let _ = (url, model, lesson);
        Err(Error::WriterGone)
    }
}

/// So that a reason is named here before it is used.
#[expect(dead_code, reason = "until the functions above are written")]
fn reason(reason: Reason) -> &'static str {
    reason.as_str()
}
