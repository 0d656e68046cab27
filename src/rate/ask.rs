//! One question to its answer: attempts, one repair turn, one more try with twice the room.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::retry::{Next, Policy, judge};
use crate::chunk;
use crate::endpoint::{self, Endpoint, Message, Refusal, Reply, Said, Trouble};
use crate::http;
use crate::lens::Lens;
use crate::meter::Meter;
use crate::rating::answer::{Answer, Provenance, Usage};
use crate::rating::failure::{Failure, Reason};
use crate::rating::question::{self, Digest, Question};
use crate::store::{self, Attempt, Slot, Store};

/// Questions that may fail for want of a working endpoint before one has been answered: then the run stops, since
/// every further row would wait through all its attempts for the same.
const HOPELESS: u32 = 8;

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
    pub unsettled: AtomicU64,
}

impl TargetForm {
    /// What the target's questions have used in this run, answered or not.
    pub fn spent(&self) -> Usage {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counters that live while questions are in flight: the progress line reads them.
#[derive(Debug, Default)]
pub struct Pulse {
    answered: AtomicU64,
    hopeless: AtomicU32,
    /// Answers that the store had: this endpoint, or one like it, has worked.
    pub found: AtomicU64,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// This row fails.
    Failed(Failure),
    /// The run is stopping: the row was not reached.
    NotReached,
    /// The run must stop.
    Stop(super::Error),
}

impl From<store::Error> for Unanswered {
    fn from(error: store::Error) -> Self {
        Self::Stop(error.into())
    }
}

/// What happens between the attempts of one question.
struct Course<'a> {
    form: &'a TargetForm,
    question: &'a Question,
    usage: Usage,
    attempts: u32,
    /// What the model said that was no answer, and what to tell it.
    repair: Option<(String, String)>,
    /// Times the usual room for the answer.
    room: u32,
}

impl Asker {
    /// Asks until there is an answer, which is not committed yet, or a failure.
    pub async fn ask(
        &self,
        target: usize,
        question: &Question,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Arc<Answer>, Unanswered> {
        let form = &self.forms[target];
        let mut course =
            Course { form, question, usage: Usage::default(), attempts: 0, repair: None, room: 1 };
        loop {
            let (reply, latency) = self.completion(&mut course, &mut stop).await?;
            let usage = reply.usage.unwrap_or(Usage::UNKNOWN);
            course.usage.add(&usage);
            form.spent.lock().unwrap_or_else(PoisonError::into_inner).add(&usage);
            let (reason, said, wrong) = match reply.said {
                Said::Arguments(arguments) => match form.lens.parse(&arguments) {
                    Ok(scored) => {
                        let provenance = Provenance {
                            model_reported: reply.model,
                            finish_reason: reply.finish_reason,
                            usage: course.usage,
                            latency_ms: u32::try_from(latency.as_millis()).unwrap_or(u32::MAX),
                            attempts: course.attempts,
                            answered_at: store::now(),
                        };
                        let answer = Arc::new(Answer {
                            scores: scored.scores,
                            rationales: scored.rationales,
                            provenance,
                        });
                        self.pulse.answered.fetch_add(1, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Err(invalid) => (Reason::Invalid, arguments.to_string(), invalid.to_string()),
                },
                Said::Broken(text, error) => (Reason::Invalid, text, error),
                Said::Nothing(text) => {
                    let wrong = "the reply holds no function call and no JSON object".to_owned();
                    (Reason::NoAnswer, text, wrong)
                }
                Said::Truncated if course.room == 1 && form.wire.room_is_ours() => {
                    self.note(&course, Reason::Truncated, usage).await;
                    course.room = 2;
                    continue;
                }
                Said::Truncated => {
                    let detail = if course.room == 1 {
                        "cut by its length, which --extra-body sets"
                    } else {
                        "cut by its length, also with twice the room: raise MAX_GENERATION_TOKENS"
                    };
                    return Err(self.fail(&course, Failure::new(Reason::Truncated, detail), usage).await);
                }
                Said::Refusal(words) => {
                    return Err(self.fail(&course, Failure::new(Reason::Refusal, words), usage).await);
                }
                Said::Filtered => {
                    let failure =
                        Failure::new(Reason::ContentFilter, "the server's content filter stopped the reply");
                    return Err(self.fail(&course, failure, usage).await);
                }
            };
            if course.repair.is_some() {
                let detail = if said.is_empty() { wrong } else { format!("{wrong}; the reply was: {said}") };
                return Err(self.fail(&course, Failure::new(reason, detail), usage).await);
            }
            self.note(&course, reason, usage).await;
            course.repair = Some((said, wrong));
        }
    }

    /// A completion of the question's present turn, and how long it took: attempts until one comes.
    async fn completion(
        &self,
        course: &mut Course<'_>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(Reply, Duration), Unanswered> {
        let Course { form, question, .. } = *course;
        let repair = course.repair.as_ref().map(|(said, wrong)| (said.as_str(), repair_prompt(wrong)));
        let messages = turns(question, repair.as_ref().map(|(said, prompt)| (*said, prompt.as_str())));
        let tokens = if self.meter.counts_tokens() { need(&messages, form, course.room) } else { 0 };
        let mut pauses = self.policy.pauses();
        let mut answered = self.pulse.answered.load(Ordering::Relaxed);
        loop {
            let permit = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Err(Unanswered::NotReached),
                permit = self.meter.permit(tokens) => permit,
            };
            course.attempts += 1;
            let began = Instant::now();
            let result = self.endpoint.attempt(&form.wire, &messages, course.room).await;
            let trouble = match result {
                Ok(reply) => {
                    if let Some(usage) = reply.usage {
                        self.meter
                            .settle(&permit, u32::try_from(usage.input + usage.output).unwrap_or(u32::MAX));
                    }
                    return Ok((reply, began.elapsed()));
                }
                Err(trouble) => trouble,
            };
            drop(permit);
            if matches!(
                trouble,
                Trouble::Garbled(_) | Trouble::Transport(http::Error::Timeout(_) | http::Error::Broken(_))
            ) {
                form.unsettled.fetch_add(1, Ordering::Relaxed);
            }
            let (reason, after, everyone) = match judge(&trouble) {
                Next::Retry { reason, after, everyone } => (reason, after, everyone),
                Next::Fail(reason) => {
                    let failure = Failure::new(reason, trouble.to_string());
                    return Err(self.fail(course, failure, Usage::default()).await);
                }
                // Gateways refuse single prompts with the words for a bad key.
                Next::Suspect(reason) if self.pulse.answered.load(Ordering::Relaxed) > 0 => {
                    let failure = Failure::new(reason, trouble.to_string());
                    return Err(self.fail(course, failure, Usage::default()).await);
                }
                Next::Stop | Next::Suspect(_) => {
                    return Err(Unanswered::Stop(super::Error::Endpoint(self.why(&trouble))));
                }
            };
            // A limit that all share says nothing of this row: while others are answered, it waits its turn.
            let now_answered = self.pulse.answered.load(Ordering::Relaxed);
            if everyone && now_answered > answered {
                answered = now_answered;
                pauses = self.policy.pauses();
            }
            let Some(pause) = pauses.next() else {
                let detail = format!("{trouble} ({} attempts)", self.policy.attempts);
                return Err(self.fail(course, Failure::new(reason, detail), Usage::default()).await);
            };
            self.note(course, reason, Usage::default()).await;
            // Our own pause has the jitter that keeps workers from coming back together.
            let wait = after.map_or(pause, |after| after.max(pause));
            if everyone {
                self.meter.pause(wait);
                continue;
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Err(Unanswered::NotReached),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Notes an attempt that gave no answer in the history.
    async fn note(&self, course: &Course<'_>, reason: Reason, usage: Usage) {
        let attempt =
            Attempt { slot: Arc::clone(&course.form.slot), input: course.question.digest, reason, usage };
        self.store.put_attempt(attempt).await;
    }

    /// The row's failure, or the end of the run where no endpoint has ever answered.
    async fn fail(&self, course: &Course<'_>, failure: Failure, usage: Usage) -> Unanswered {
        self.note(course, failure.reason, usage).await;
        let wants_endpoint = match failure.reason {
            // Rows that are left over from an earlier run may well be those that every endpoint rejects.
            Reason::Rejected => self.pulse.found.load(Ordering::Relaxed) == 0,
            Reason::RateLimited | Reason::ServerError | Reason::Timeout | Reason::Connection => true,
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

    /// Why the run stops, with what to change.
    fn why(&self, trouble: &Trouble) -> String {
        let url = self.endpoint.shown_url();
        let Trouble::Refused(refusal) = trouble else { return trouble.to_string() };
        let Refusal { status, error, .. } = refusal;
        let says = if error.message.is_empty() { String::new() } else { format!(": {}", error.message) };
        match status {
            300..=399 => format!(
                "the endpoint {url} sends requests elsewhere (HTTP {status}); set OPENAI_BASE_URL to where it is"
            ),
            401 | 403 => format!("{}{says}", self.endpoint.bad_key(refusal)),
            402 | 429 => format!(
                "the account's quota is used up (HTTP {status}{says}); add to it, then run the same command"
            ),
            404 => format!(
                "the endpoint {url} knows no model `{}`, or no /chat/completions (HTTP 404{says}); check --model and OPENAI_BASE_URL",
                self.endpoint.options.model
            ),
            _ => format!("the endpoint {url} refuses every request (HTTP {status}{says})"),
        }
    }
}

/// The messages of a turn after the system message: the question, and after a reply that was no answer that reply
/// and what was wrong with it. The reply goes back as plain text, which every server takes, whatever form the call had.
fn turns<'a>(question: &'a Question, repair: Option<(&'a str, &'a str)>) -> Vec<Message<'a>> {
    let mut messages = vec![Message { role: "user", content: &question.prompt }];
    if let Some((said, prompt)) = repair {
        // An empty assistant message is refused by some servers.
        let said = if said.trim().is_empty() { "(no answer)" } else { said };
        messages.push(Message { role: "assistant", content: said });
        messages.push(Message { role: "user", content: prompt });
    }
    messages
}

fn repair_prompt(wrong: &str) -> String {
    format!(
        "That reply cannot be used: {wrong}. Judge the same data again and give the complete answer in the required form, \
         with every required field."
    )
}

/// Tokens that an attempt may use: the prompt by our tokenizer, and all the room for the answer.
fn need(messages: &[Message<'_>], form: &TargetForm, room: u32) -> u32 {
    let prompt: usize = messages.iter().map(|message| chunk::count(message.content) + 4).sum();
    let fixed: usize = form.wire.fixed().into_iter().map(chunk::count).sum();
    u32::try_from(prompt + fixed).unwrap_or(u32::MAX).saturating_add(form.wire.room(room))
}
