//! Lines of a batch's files, each judged and kept, whatever else the files hold.

use std::collections::HashSet;

use bytes::Bytes;

use super::Error;
use super::reader::{Blame, Reader, Verdict, dialect_text, lessons_of, question_of};
use crate::endpoint::Dialect;
use crate::endpoint::batches::LineResult;
use crate::http::plain;
use crate::model::Money;
use crate::rating::answer::Usage;
use crate::rating::failure::Failure;
use crate::rating::question::Digest;
use crate::store::{Batch, Fate, Lesson, Settled, Store, Turn};

/// Lines that are judged and kept together, at most.
pub(super) const GROUP: usize = 256;

/// Bytes of the lines of a group, above which it takes no more.
pub(super) const GROUP_BYTES: usize = 4 << 20;

/// What came of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Gathered {
    /// Questions that were answered.
    pub answered: u64,
    /// Questions that failed for good.
    pub failed: u64,
    /// Questions to be asked again, by their lines.
    pub again: u64,
    /// Questions without a line, which are to be asked again too.
    pub missing: u64,
    /// Lines for no question that waits in the batch.
    pub unknown: u64,
    /// Lines for a question that had one already.
    pub duplicate: u64,
    /// Lines that cannot be read.
    pub garbage: u64,
    /// What the replies cost; `None` where that is not known.
    pub cost: Option<Money>,
    /// The first failure, in the server's words. May hold untrusted text: escape it before it reaches a terminal.
    pub why: Option<String>,
    /// How the endpoint is to be asked from now on, where the replies have taught that. The store has it already.
    pub lesson: Option<Dialect>,
    /// What is good to know of the endpoint.
    pub notes: Vec<String>,
    /// What is to be warned of.
    pub warnings: Vec<String>,
}

impl Default for Gathered {
    /// Nothing came, which costs nothing.
    fn default() -> Self {
        Self {
            answered: 0,
            failed: 0,
            again: 0,
            missing: 0,
            unknown: 0,
            duplicate: 0,
            garbage: 0,
            cost: Some(Money::ZERO),
            why: None,
            lesson: None,
            notes: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// What one reading of a file has met.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The first bytes of each question's digest.
    questions: HashSet<u64>,
    pub(super) unknown: u64,
    pub(super) duplicate: u64,
    pub(super) garbage: u64,
    /// What is wrong with the first line that cannot be read.
    pub(super) wrong: Option<String>,
}

impl Seen {
    /// Notes a line for this question; whether it is the first one.
    pub(super) fn is_first(&mut self, question: Digest) -> bool {
        let first = self.questions.insert(key(question));
        self.duplicate += u64::from(!first);
        first
    }

    /// Whether the file had no line at all.
    pub(super) fn is_empty(&self) -> bool {
        self.questions.is_empty() && self.unknown + self.garbage == 0
    }

    /// Whether it had lines, and none of them can be read.
    pub(super) fn has_nothing_but_garbage(&self) -> bool {
        self.questions.is_empty() && self.unknown == 0 && self.garbage > 0
    }

    pub(super) fn bad(&mut self, wrong: String) {
        self.garbage += 1;
        self.wrong.get_or_insert(wrong);
    }
}

/// What the server says in a line of a question that was not answered.
fn words_of(result: &LineResult) -> Option<String> {
    match result {
        LineResult::NotRun(error) => Some(format!("it was not run: {error}")),
        LineResult::Ran(ran) => ran.as_ref().as_ref().err().map(ToString::to_string),
    }
}

/// The first bytes of a digest: by them alone two questions of a batch are told apart only for a message.
fn key(question: Digest) -> u64 {
    question.0.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}

/// Takes lines of one batch in: judges and keeps them.
#[derive(Debug)]
pub(super) struct Intake<'a> {
    store: &'a Store,
    pub(super) batch: &'a Batch,
    pub(super) reader: Reader,
    /// The dialect that the store knows of.
    kept: Dialect,
    pub(super) gathered: Gathered,
    /// The first bytes of the digests of what was judged by this.
    met: HashSet<u64>,
    /// Whether any question of the batch had a completion.
    has_replied: bool,
    /// Questions whose refusal means every question's, if nothing in the batch was answered; and what is said of the first.
    suspects: (Vec<Digest>, Option<Blame>),
    /// Why the account can have no question answered now.
    stopped: Option<Blame>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(store: &'a Store, batch: &'a Batch, reader: Reader) -> Self {
        Self {
            store,
            batch,
            kept: reader.dialect(),
            reader,
            gathered: Gathered::default(),
            met: HashSet::new(),
            // Of an earlier try that was killed.
            has_replied: batch.answered > 0,
            suspects: (Vec::new(), None),
            stopped: None,
        }
    }

    /// Whether the replies have taught how the endpoint is to be asked.
    pub(super) fn has_taught(&self) -> bool {
        self.gathered.lesson.is_some()
    }

    /// Judges and keeps lines, of which nothing is known yet.
    pub(super) async fn take(&mut self, lines: &[Bytes], seen: &mut Seen) -> Result<(), Error> {
        let mut read: Vec<(Digest, LineResult)> = Vec::with_capacity(lines.len());
        for line in lines {
            match self.reader.read(line) {
                Ok(line) => match question_of(&line.custom_id) {
                    Some(question) if seen.is_first(question) => read.push((question, line.result)),
                    Some(_) => {}
                    None => seen.unknown += 1,
                },
                Err(wrong) => seen.bad(wrong),
            }
        }
        let questions: Vec<Digest> = read.iter().map(|(question, _)| *question).collect();
        let mut waiting = self.store.waiting_in(self.batch.id, &questions).await?;
        let mut ours = Vec::with_capacity(read.len());
        for (question, result) in read {
            // A line of an earlier reading that broke off, or of the batch's other file.
            if self.has_met(question) {
                continue;
            }
            match waiting.remove(&question) {
                Some(turn) => ours.push((question, turn, result)),
                None => seen.unknown += 1,
            }
        }
        self.settle(ours).await
    }

    /// Whether a line for this question was judged already.
    pub(super) fn has_met(&self, question: Digest) -> bool {
        self.met.contains(&key(question))
    }

    /// Judges and keeps lines for questions that wait in the batch.
    pub(super) async fn settle(&mut self, lines: Vec<(Digest, Turn, LineResult)>) -> Result<(), Error> {
        let mut settled = Vec::with_capacity(lines.len());
        for (input, turn, result) in lines {
            self.met.insert(key(input));
            self.has_replied |= matches!(&result, LineResult::Ran(ran) if ran.is_ok());
            let words = if self.gathered.why.is_none() { words_of(&result) } else { None };
            match self.reader.judge(&turn, result) {
                Verdict::Settled(usage, fate) => {
                    if let (Some(words), Some(failure)) = (words, fate.failure()) {
                        let why = Failure::new(failure.reason, words);
                        self.gathered.why.get_or_insert_with(|| why.to_string());
                    }
                    settled.push(Settled { input, usage, fate });
                }
                Verdict::Suspect(blame) => {
                    self.suspects.0.push(input);
                    self.suspects.1.get_or_insert(blame);
                }
                Verdict::Stop(blame) => {
                    let fate = Fate::Again(blame.failure.clone());
                    self.stopped.get_or_insert(blame);
                    settled.push(Settled { input, usage: Usage::default(), fate });
                }
            }
        }
        self.keep(&settled).await
    }

    async fn keep(&mut self, settled: &[Settled]) -> Result<(), Error> {
        if settled.is_empty() {
            return Ok(());
        }
        // Before the questions are free: who asks them again must know how.
        let dialect = self.reader.dialect();
        if dialect != self.kept {
            let lesson = Lesson { tokens: None, dialect: Some(dialect_text(dialect)) };
            self.store.learn(lessons_of(self.batch.url), &self.batch.slot.model, &lesson).await?;
            self.kept = dialect;
            self.gathered.lesson = Some(dialect);
        }
        self.store.settle(self.batch, settled).await?;
        for one in settled {
            let Gathered { answered, failed, again, cost, why, .. } = &mut self.gathered;
            *cost = cost.zip(one.usage.cost).map(|(sum, more)| sum + more);
            *match &one.fate {
                Fate::Answered(_) => answered,
                Fate::Failed(_) => failed,
                Fate::Repair(_) | Fate::Again(_) => again,
            } += 1;
            if let Some(failure) = one.fate.failure() {
                why.get_or_insert_with(|| failure.to_string());
            }
        }
        Ok(())
    }

    /// Counts what a whole reading has met.
    pub(super) fn count(&mut self, seen: &Seen) {
        self.gathered.unknown += seen.unknown;
        self.gathered.duplicate += seen.duplicate;
        self.gathered.garbage += seen.garbage;
    }

    /// Decides on refusals that wait for what the rest of the batch says. The words are those of a refusal that means all questions.
    pub(super) async fn decide(&mut self) -> Result<Option<Blame>, Error> {
        let (suspects, blame) = std::mem::take(&mut self.suspects);
        let Some(blame) = blame else { return Ok(self.stopped.take()) };
        if !self.has_replied {
            return Ok(Some(self.stopped.take().unwrap_or(blame)));
        }
        let Blame { failure, words } = blame;
        self.gathered.why.get_or_insert_with(|| Failure::new(failure.reason, words).to_string());
        let of = |input: &Digest| Settled {
            input: *input,
            usage: Usage::default(),
            fate: Fate::Failed(failure.clone()),
        };
        for group in suspects.chunks(GROUP) {
            let settled: Vec<Settled> = group.iter().map(of).collect();
            self.keep(&settled).await?;
        }
        Ok(self.stopped.take())
    }

    /// Ends the batch: what still waits is to be asked again, for the reason `rest`.
    pub(super) async fn finish(mut self, rest: &Failure) -> Result<Gathered, Error> {
        // Lines that an earlier try has kept do not wait any more.
        let before = self.batch.answered + self.batch.failed + self.batch.again;
        self.gathered.unknown = self.gathered.unknown.saturating_sub(before);
        let stopped = self.decide().await?;
        let rest = match &stopped {
            Some(blame) => blame.failure.clone(),
            None => rest.clone(),
        };
        self.gathered.missing = self.store.close_batch(self.batch.id, &rest).await?;
        let Gathered { answered, failed, again, missing, .. } = self.gathered;
        // Without a line for the last time.
        self.gathered.failed +=
            self.batch.requests.saturating_sub(before + answered + failed + again + missing);
        if let Some(Blame { words, .. }) = stopped {
            return Err(Error::Stopped(format!(
                "the endpoint refused the questions of batch {}, and would refuse all others: {}; they are free again",
                self.batch.id,
                plain(&words)
            )));
        }
        let mut gathered = self.gathered;
        if gathered.missing > 0 {
            gathered.why.get_or_insert_with(|| rest.to_string());
        }
        gathered.notes = self.reader.notes();
        gathered.warnings.extend(
            odd(gathered.unknown, gathered.duplicate, gathered.garbage)
                .map(|odd| format!("the files of batch {} have {odd}: they are passed over", self.batch.id)),
        );
        Ok(gathered)
    }
}

/// What of the lines was passed over: those for no question that waits, for one that had a line already, and those that cannot
/// be read.
pub(super) fn odd(unknown: u64, duplicate: u64, garbage: u64) -> Option<String> {
    let kinds = [
        (unknown, "for no question that waits"),
        (duplicate, "for a question that had one already"),
        (garbage, "that cannot be read"),
    ];
    let said: Vec<String> = kinds
        .into_iter()
        .filter(|(lines, _)| *lines > 0)
        .map(|(lines, what)| format!("{lines} {} {what}", if lines == 1 { "line" } else { "lines" }))
        .collect();
    (!said.is_empty()).then(|| said.join(", "))
}
