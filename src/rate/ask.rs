//! One question to its answer: attempts, one repair turn, one more try with twice the room.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::attempt::{CONTEXT, Completion};
use super::retry::Policy;
use crate::endpoint::{self, Dialect, Endpoint, Judged, Message, Prompt};
use crate::lens::Lens;
use crate::meter::Meter;
use crate::model::Money;
use crate::rating::answer::{Answer, Provenance, Unsettled, Usage};
use crate::rating::failure::{Failure, Reason};
use crate::rating::question::{self, Digest, Question};
use crate::store::{self, Attempt, Slot, Store, Turn};

/// Questions that may fail for want of a working endpoint before one has been answered: then the run stops, since
/// every further row would wait through all its attempts for the same.
const HOPELESS: u32 = 8;

/// Prompts that may be cut in a row: what is answered after that was never asked.
const MOST_CUT: u32 = 5;

/// Everything that asking needs, shared by all questions of a run.
#[derive(Debug)]
pub struct Asker {
    /// Who answers.
    pub endpoint: Arc<Endpoint>,
    /// Where answers are kept.
    pub store: Arc<Store>,
    /// Who says when.
    pub meter: Arc<Meter>,
    /// How patiently.
    pub policy: Policy,
    /// One per target of the run.
    pub forms: Vec<TargetForm>,
    /// How it goes.
    pub pulse: Pulse,
}

/// How the questions of one target are asked and kept.
#[derive(Debug)]
pub struct TargetForm {
    /// The lens.
    pub lens: Arc<Lens>,
    /// The shared part of the cache key.
    pub slot: Arc<Slot>,
    /// Digest of the lens's text.
    pub lens_digest: Digest,
    /// How a question is digested.
    pub question: question::Form,
    /// How a question is sent.
    pub wire: endpoint::Form,
    /// What the target's questions have used in this run, answered or not.
    pub spent: Mutex<Usage>,
    /// Attempts that ended without a reply, which the server may have billed all the same.
    pub unsettled: Mutex<Unsettled>,
}

impl TargetForm {
    /// What the target's questions have used in this run, answered or not.
    pub fn spent(&self) -> Usage {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what a reply has used.
    pub(super) fn spend(&self, usage: &Usage) {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).add(usage);
    }

    /// The request that asks a question after what it has come to in batches, and the tokens of its prompt by our own count.
    pub fn request(
        &self,
        question: &Question,
        turn: &Turn,
        dialect: Dialect,
    ) -> Result<(endpoint::Request, u64), endpoint::Error> {
        let repair = wrong(turn).map(repair_prompt);
        let messages = turns(question, repair.as_deref().map(|prompt| ("", prompt)));
        let request = self.wire.request(&messages, room(turn), dialect)?;
        Ok((request, self.wire.prompt_tokens(&messages, dialect)))
    }
}

/// What was wrong with the last reply, where that is to be mended.
fn wrong(turn: &Turn) -> Option<&str> {
    let last = turn.last.as_ref().filter(|last| matches!(last.reason, Reason::Invalid | Reason::NoAnswer))?;
    Some(&last.detail)
}

/// Times the usual room for the answer.
fn room(turn: &Turn) -> u32 {
    if turn.last.as_ref().is_some_and(|last| last.reason == Reason::Truncated) { 2 } else { 1 }
}

/// Counters that live while questions are in flight.
#[derive(Debug, Default)]
pub struct Pulse {
    pub(super) answered: AtomicU64,
    hopeless: AtomicU32,
    /// Answers that the store had: this endpoint, or one like it, has worked.
    pub found: AtomicU64,
    /// How often the store's batches were seen to have changed: what was looked up before may have been taken into one since.
    pub batched: AtomicU64,
    /// [`Telling::told_at`](store::Telling::told_at) of the run.
    pub(super) told_at: AtomicI64,
    /// Whether every question of the run is being asked by now.
    pub(super) all_begun: AtomicBool,
    /// The last trouble that made the endpoint look dead.
    pub(super) trouble: Mutex<String>,
}

/// A question that the store cannot answer.
#[derive(Debug)]
pub struct Queued {
    /// The question.
    pub question: Question,
    /// What it has come to in batches.
    pub turn: Turn,
    /// [`Pulse::batched`] before it was looked up.
    pub batched: u64,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// This row fails.
    Failed(Failure),
    /// The run is stopping: the row was not reached.
    NotReached,
    /// Another process has taken the question into a batch before its turn came, or answered it.
    LookAgain(Question),
    /// The bound on cost is reached: the next attempt may cost this much.
    OutOfBudget(Money),
    /// The run must stop.
    Stop(super::Error),
}

impl From<store::Error> for Unanswered {
    fn from(error: store::Error) -> Self {
        Self::Stop(error.into())
    }
}

/// What happens between the attempts of one question.
pub(super) struct Course<'a> {
    pub(super) form: &'a TargetForm,
    pub(super) question: &'a Question,
    pub(super) usage: Usage,
    pub(super) attempts: u32,
    /// What the model said that was no answer, and what to tell it.
    pub(super) repair: Option<(String, String)>,
    /// Times the usual room for the answer.
    pub(super) room: u32,
    /// [`Pulse::batched`] when it was last known to wait in no batch.
    pub(super) batched: u64,
}

impl Asker {
    /// Asks until there is an answer, which is not committed yet, or a failure; goes on after what replies in batches came to,
    /// which is told of with it.
    pub async fn ask(
        &self,
        target: usize,
        queued: Queued,
        stop: watch::Receiver<bool>,
    ) -> Result<Arc<Answer>, Unanswered> {
        let form = &self.forms[target];
        let (earlier, tries) = (queued.turn.usage, queued.turn.tries);
        let asked = self.go_on(form, &queued, stop).await;
        if matches!(asked, Ok(_) | Err(Unanswered::Failed(_))) {
            form.spend(&earlier);
        }
        if let (Err(Unanswered::Failed(failure)), 1..) = (&asked, tries) {
            // Its own words may quote the reply.
            let failure = Failure::new(failure.reason, "asked again live, it failed again");
            let told_at = self.pulse.told_at.load(Ordering::Relaxed);
            self.store.fail_turn(&form.slot, queued.question.digest, &failure, told_at).await?;
        }
        asked
    }

    async fn go_on(
        &self,
        form: &TargetForm,
        queued: &Queued,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Arc<Answer>, Unanswered> {
        let Queued { question, turn, batched } = queued;
        // What a reply in a batch said is not kept.
        let repair = wrong(turn).map(|wrong| (String::new(), wrong.to_owned()));
        let mut course = Course {
            form,
            question,
            usage: turn.usage,
            attempts: turn.tries,
            repair,
            room: room(turn),
            batched: *batched,
        };
        loop {
            let Completion { reply, latency, prompt, again } =
                self.completion(&mut course, &mut stop).await?;
            let usage = reply.usage.unwrap_or(Usage::UNKNOWN);
            course.usage.add(&usage);
            form.spend(&usage);
            if let (Prompt::Cut { tokens, read }, in_a_row) = prompt {
                return Err(self.cut(&course, (tokens, read), in_a_row, usage).await);
            }
            let (reason, said, wrong) = match reply.said.judged(&form.lens) {
                Judged::Scored(scored) => {
                    let provenance = Provenance {
                        model_reported: reply.model,
                        finish_reason: reply.finish_reason,
                        usage: course.usage,
                        latency_ms: u32::try_from(latency.as_millis()).unwrap_or(u32::MAX),
                        attempts: course.attempts,
                        answered_at: store::now(),
                    };
                    let answer =
                        Arc::new(Answer { scores: scored.scores, rationales: scored.rationales, provenance });
                    self.pulse.answered.fetch_add(1, Ordering::Relaxed);
                    return Ok(answer);
                }
                Judged::Unusable { reason, said, wrong, .. } => (reason, said, wrong),
                Judged::Truncated if again => (Reason::NoAnswer, String::new(), String::new()),
                Judged::Truncated if course.room == 1 && form.wire.room_is_ours() => {
                    self.note(&course, Reason::Truncated, usage).await;
                    course.room = 2;
                    continue;
                }
                Judged::Truncated => {
                    let detail = if course.room == 1 {
                        "cut by its length, which --extra-body sets"
                    } else {
                        "cut by its length, also with twice the room: raise MAX_GENERATION_TOKENS"
                    };
                    return Err(self.fail(&course, Failure::new(Reason::Truncated, detail), usage).await);
                }
                Judged::Failed(failure) => return Err(self.fail(&course, failure, usage).await),
            };
            // While it is open whether this server calls functions, no row pays for it.
            if again {
                self.note(&course, reason, usage).await;
                course.repair = None;
                continue;
            }
            if course.repair.is_some() {
                let detail = if said.is_empty() { wrong } else { format!("{wrong}; the reply was: {said}") };
                return Err(self.fail(&course, Failure::new(reason, detail), usage).await);
            }
            self.note(&course, reason, usage).await;
            course.repair = Some((said, wrong));
        }
    }

    /// A reply to a part of the prompt: the row fails, and the run stops when there is no end of them.
    async fn cut(
        &self,
        course: &Course<'_>,
        (tokens, read): (u64, u64),
        in_a_row: u32,
        usage: Usage,
    ) -> Unanswered {
        let what = format!("the server read {read} of the prompt's {tokens} tokens and cut the rest");
        let failure =
            self.fail(course, Failure::new(Reason::PromptCut, format!("{what}: {CONTEXT}")), usage).await;
        if in_a_row < MOST_CUT {
            return failure;
        }
        Unanswered::Stop(super::Error::Endpoint(format!(
            "the endpoint {} cut {in_a_row} prompts in a row; {what}: {CONTEXT}",
            self.endpoint.shown_url()
        )))
    }

    /// Notes an attempt that gave no answer in the history.
    pub(super) async fn note(&self, course: &Course<'_>, reason: Reason, usage: Usage) {
        let attempt =
            Attempt { slot: Arc::clone(&course.form.slot), input: course.question.digest, reason, usage };
        self.store.put_attempt(attempt).await;
    }

    /// The row's failure, or the end of the run where no endpoint has ever answered.
    pub(super) async fn fail(&self, course: &Course<'_>, failure: Failure, usage: Usage) -> Unanswered {
        self.note(course, failure.reason, usage).await;
        let wants_endpoint = match failure.reason {
            // Rows that are left over from an earlier run may well be those that every endpoint rejects.
            Reason::Rejected | Reason::ServerError | Reason::Timeout => {
                self.pulse.found.load(Ordering::Relaxed) == 0
            }
            Reason::RateLimited | Reason::Connection => true,
            _ => false,
        };
        if wants_endpoint
            && self.pulse.answered.load(Ordering::Relaxed) == 0
            && self.pulse.hopeless.fetch_add(1, Ordering::Relaxed) + 1 >= HOPELESS
        {
            return Unanswered::Stop(super::Error::Endpoint(format!(
                "the endpoint {} has not answered one question: {}; check OPENAI_BASE_URL, --model and the server's log",
                self.endpoint.shown_url(),
                failure.detail
            )));
        }
        Unanswered::Failed(failure)
    }
}

/// The messages of a turn after the system message: the question, and after a reply that was no answer that reply
/// and what was wrong with it. The reply goes back as plain text, which every server takes, whatever form the call had.
pub(super) fn turns<'a>(question: &'a Question, repair: Option<(&'a str, &'a str)>) -> Vec<Message<'a>> {
    let mut messages = vec![Message { role: "user", content: &question.prompt }];
    if let Some((said, prompt)) = repair {
        // An empty assistant message is refused by some servers.
        let said = if said.trim().is_empty() { "(no answer)" } else { said };
        messages.push(Message { role: "assistant", content: said });
        messages.push(Message { role: "user", content: prompt });
    }
    messages
}

pub(super) fn repair_prompt(wrong: &str) -> String {
    format!(
        "That reply cannot be used: {wrong}. Judge the same data again and give the complete answer in the required form, \
         with every required field."
    )
}
