//! The attempts of one turn of a question: each takes its permit, and is judged, until a completion comes.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::ask::{Asker, Course, TargetForm, Unanswered, repair_prompt, turns};
use super::retry::{Next, judge};
use crate::chunk;
use crate::endpoint::{self, Attempted, Message, Refusal, Reply, Trouble};
use crate::http;
use crate::meter::{Health, Need, Outcome, Permit, Spent, Stopped};
use crate::model::Money;
use crate::rating::answer::Usage;
use crate::rating::failure::Failure;

impl Asker {
    /// A completion of the question's present turn, and how long it took: attempts until one comes.
    pub(super) async fn completion(
        &self,
        course: &mut Course<'_>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(Reply, Duration), Unanswered> {
        let Course { form, question, .. } = *course;
        let repair = course.repair.as_ref().map(|(said, wrong)| (said.as_str(), repair_prompt(wrong)));
        let messages = turns(question, repair.as_ref().map(|(said, prompt)| (*said, prompt.as_str())));
        let request = form
            .wire
            .request(&messages, course.room)
            .map_err(|error| Unanswered::Stop(super::Error::Endpoint(error.to_string())))?;
        let need = self.need(&messages, form, &request);
        let mut pauses = self.policy.pauses();
        let mut answered = self.pulse.answered.load(Ordering::Relaxed);
        loop {
            let permit = self.permit(need, stop).await?;
            course.attempts += 1;
            let began = Instant::now();
            let attempted = self.endpoint.attempt(&request).await;
            self.meter.told(&attempted.told);
            permit.settle(outcome(&attempted.result));
            log(course, began.elapsed(), &attempted);
            let trouble = match attempted.result {
                Ok(reply) => return Ok((reply, began.elapsed())),
                Err(trouble) => trouble,
            };
            if may_be_billed(&trouble) {
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
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Err(Unanswered::NotReached),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn permit(&self, need: Need, stop: &mut watch::Receiver<bool>) -> Result<Permit<'_>, Unanswered> {
        let permit = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Err(Unanswered::NotReached),
            permit = self.meter.permit(need) => permit,
        };
        permit.map_err(|stopped| match stopped {
            Stopped::Budget => Unanswered::OutOfBudget,
            Stopped::Dead(since) => Unanswered::Stop(super::Error::Endpoint(format!(
                "the endpoint {} has not answered for {} s; the same command goes on when it is back",
                self.endpoint.shown_url(),
                since.as_secs()
            ))),
        })
    }

    /// What an attempt may use: the prompt by our tokenizer and all the room for the answer; and its cost at most.
    fn need(&self, messages: &[Message<'_>], form: &TargetForm, request: &endpoint::Request) -> Need {
        let mut need = Need::default();
        if self.meter.counts_tokens() {
            let prompt: usize = messages.iter().map(|message| chunk::count(message.content) + 4).sum();
            let fixed: usize = form.wire.fixed().into_iter().map(chunk::count).sum();
            need.tokens = u32::try_from(prompt + fixed).unwrap_or(u32::MAX).saturating_add(request.room);
        }
        if self.meter.counts_cost() {
            need.cost = self.endpoint.bound(request).unwrap_or_default();
        }
        need
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

/// The request log: a line for each attempt.
fn log(course: &Course<'_>, took: Duration, attempted: &Attempted) {
    // Formatting a digest for nobody would cost each rating.
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let (lens, question) = (&course.form.slot.lens, course.question.digest.to_string());
    let (attempt, ms) = (course.attempts, u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    let left = attempted.told.requests.remaining;
    match &attempted.result {
        Ok(Reply { usage, finish_reason, model, .. }) => {
            let usage = usage.unwrap_or_default();
            tracing::debug!(
                lens,
                question,
                attempt,
                ms,
                requests_left = left,
                tokens_in = usage.input,
                tokens_out = usage.output,
                tokens_cached = usage.cached_input,
                cost = usage.cost,
                ?finish_reason,
                ?model,
                "answered"
            );
        }
        Err(trouble) => {
            // Words of the server: quoted, so that no line of the log is theirs.
            let trouble = trouble.to_string();
            tracing::debug!(lens, question, attempt, ms, requests_left = left, ?trouble, "not answered");
        }
    }
}

/// What the meter is told of an attempt.
fn outcome(result: &Result<Reply, Trouble>) -> Outcome {
    let trouble = match result {
        Ok(Reply { usage, .. }) => {
            let cost = usage.and_then(|usage| usage.cost).map(Money::from_dollars);
            return Outcome {
                health: Health::Answered,
                tokens: usage.map(|usage| usage.input + usage.output),
                spent: cost.map_or(Spent::Unknown, Spent::Exactly),
            };
        }
        Err(trouble) => trouble,
    };
    let health = match trouble {
        Trouble::Refused(Refusal { status: 429, retry_after, .. }) => Health::Limited { after: *retry_after },
        Trouble::Refused(Refusal { status: 503 | 529, retry_after, .. }) => {
            Health::Overloaded { after: *retry_after }
        }
        Trouble::Refused(Refusal { status: 500.., .. }) | Trouble::Transport(_) => Health::Dead,
        Trouble::Refused(_) | Trouble::Garbled(_) => Health::Alive,
    };
    let spent = if may_be_billed(trouble) { Spent::Unknown } else { Spent::Nothing };
    Outcome { health, tokens: None, spent }
}

/// Whether the server may have generated an answer that never came.
fn may_be_billed(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Garbled(_) => true,
        Trouble::Transport(error) => !matches!(error, http::Error::Connect(_)),
        Trouble::Refused(_) => false,
    }
}
