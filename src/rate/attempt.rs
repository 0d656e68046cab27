//! The attempts of one turn of a question: each takes its permit, and is judged, until a completion comes.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::ask::{Asker, Course, TargetForm, Unanswered, repair_prompt, turns};
use super::retry::{Next, judge};
use crate::endpoint::{
    self, Adapted, Attempted, Call, Dialect, Message, Prompt, Refusal, Reply, Said, ServerError, Trouble,
};
use crate::http;
use crate::meter::{Health, Need, Outcome, Permit, Spent, Stopped};
use crate::model::Money;
use crate::rating::answer::Usage;
use crate::rating::failure::{Failure, Reason};
use crate::rating::question::Question;

/// How long the next attempt waits while a server loads its model.
const LOADING: Duration = Duration::from_secs(2);

/// How long a model may take to load.
const LONGEST_LOADING: Duration = Duration::from_mins(10);

/// A completion, and what is known beside it.
pub(super) struct Completion {
    pub(super) reply: Reply,
    /// How long the attempt took that brought it.
    pub(super) latency: Duration,
    /// Whether the server read the prompt, and how many in a row it did not.
    pub(super) prompt: (Prompt, u32),
    /// Whether it is asked again for want of a call, which no row pays for.
    pub(super) again: bool,
}

impl Completion {
    /// What an error told of a reply that the server kept.
    fn without_reply(said: Said, latency: Duration) -> Self {
        // Its usage is not told: it counts among the attempts that may be billed.
        let usage = Some(Usage::default());
        let reply = Reply { said, call: Call::Unclear, model: None, finish_reason: None, usage };
        Self { reply, latency, prompt: (Prompt::Unknown, 0), again: false }
    }
}

impl Asker {
    /// A completion of the question's present turn, and how long it took: attempts until one comes.
    pub(super) async fn completion(
        &self,
        course: &mut Course<'_>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Completion, Unanswered> {
        let Course { form, question, .. } = *course;
        let repair = course.repair.as_ref().map(|(said, wrong)| (said.as_str(), repair_prompt(wrong)));
        let messages = turns(question, repair.as_ref().map(|(said, prompt)| (*said, prompt.as_str())));
        let (mut request, mut need) = self.request(&messages, course)?;
        let mut pauses = self.policy.pauses();
        let mut answered = self.pulse.answered.load(Ordering::Relaxed);
        let mut loading = None;
        let mut failed: Option<Failure> = None;
        loop {
            self.stands(form, question, &mut course.batched).await?;
            let permit = match self.permit(need, stop).await {
                Err(stopped) => return Err(self.not_permitted(stopped, failed)),
                Ok(permit) => permit,
            };
            // The wait may have been long.
            if let Err(changed) = self.stands(form, question, &mut course.batched).await {
                permit.give_back();
                return Err(changed);
            }
            // The form may have changed while this one waited for its turn, and with it what it may cost.
            if request.dialect != self.endpoint.dialect() {
                let (now, needs) = self.request(&messages, course)?;
                request = now;
                if needs.cost > need.cost {
                    permit.give_back();
                    need = needs;
                    continue;
                }
            }
            course.attempts += 1;
            let began = Instant::now();
            let attempted = self.endpoint.attempt(&request).await;
            let latency = began.elapsed();
            permit.told(&attempted.told);
            // Before the permit goes on to the next, which would send what is known to be refused, or to bring no call. And
            // what replies say of the server is taken in as they came, however late their tasks go on.
            let adapted = match &attempted.result {
                Err(Trouble::Refused(refusal)) => self.endpoint.adapt(&form.wire, request.dialect, refusal),
                _ => Adapted::No,
            };
            let (prompt, again) = self.hear(form, &messages, request.dialect, &attempted.result);
            permit.settle(self.judged(course, &attempted.result));
            log(course, latency, &attempted);
            let trouble = match attempted.result {
                Ok(reply) => return Ok(Completion { reply, latency, prompt, again }),
                Err(trouble) => trouble,
            };
            if may_be_billed(&trouble) {
                let at_most = self.endpoint.bound(&request);
                form.unsettled.lock().unwrap_or_else(PoisonError::into_inner).add(at_most);
            }
            let has_answered = self.has_worked();
            match adapted {
                Adapted::Again => {
                    (request, need) = self.request(&messages, course)?;
                    continue;
                }
                // What was taken before is refused for this row's sake.
                Adapted::Stop(why) if !has_answered => {
                    let why = format!("lens {}: {why}", form.slot.lens);
                    return Err(Unanswered::Stop(super::Error::Endpoint(why)));
                }
                Adapted::Stop(_) | Adapted::No => {}
            }
            let (reason, after, everyone) = match judge(&trouble).next {
                Next::Retry { reason, after, everyone } => (reason, after, everyone),
                Next::Loading if loading.get_or_insert_with(Instant::now).elapsed() < LONGEST_LOADING => {
                    self.pause(LOADING, stop).await?;
                    continue;
                }
                Next::Loading => (Reason::ServerError, None, true),
                Next::Unusable => {
                    let said = Said::Broken(String::new(), trouble.to_string());
                    return Ok(Completion::without_reply(said, latency));
                }
                Next::CutShort => {
                    return Ok(Completion::without_reply(Said::Truncated, latency));
                }
                Next::Fail(reason) => {
                    let failure = Failure::new(reason, detail(&trouble));
                    return Err(self.fail(course, failure, Usage::default()).await);
                }
                // Gateways refuse single prompts with the words for a bad key.
                Next::Suspect(reason) if has_answered => {
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
            failed = Some(Failure::new(reason, format!("{trouble} ({} attempts)", course.attempts)));
            // Our own pause has the jitter that keeps workers from coming back together.
            self.pause(after.map_or(pause, |after| after.max(pause)), stop).await?;
        }
    }

    /// Looks whether another process has taken the question into a batch since it was `looked_up`, or answered it: asked here too, it
    /// would be paid for twice. What that process takes in the same moment is not seen.
    async fn stands(
        &self,
        form: &TargetForm,
        question: &Question,
        looked_up: &mut u64,
    ) -> Result<(), Unanswered> {
        let batched = self.pulse.batched.load(Ordering::Relaxed);
        if batched == *looked_up {
            return Ok(());
        }
        *looked_up = batched;
        let digest = [question.digest];
        // First where it waits: what is collected in between has its answer then.
        let has_changed = !self.store.waiting(&form.slot, &digest).await?.is_empty()
            || !self.store.find(&form.slot, &digest).await?.is_empty();
        if has_changed { Err(Unanswered::LookAgain(question.clone())) } else { Ok(()) }
    }

    /// What a reply to a request that was `sent` in this dialect says of the server: whether it read the prompt, how many in a
    /// row it did not, and whether the turn is asked again for want of a call.
    fn hear(
        &self,
        form: &TargetForm,
        messages: &[Message<'_>],
        sent: Dialect,
        result: &Result<Reply, Trouble>,
    ) -> ((Prompt, u32), bool) {
        let Ok(reply) = result else { return ((Prompt::Unknown, 0), false) };
        let prompt = self.endpoint.prompt(&form.wire, messages, reply.usage.as_ref());
        let is_cut = matches!(prompt.0, Prompt::Cut { .. });
        (prompt, !is_cut && self.endpoint.heard(&form.wire, sent, reply.call))
    }

    /// The request of a turn in the present dialect, and what it needs.
    fn request(
        &self,
        messages: &[Message<'_>],
        course: &Course<'_>,
    ) -> Result<(endpoint::Request, Need), Unanswered> {
        let request = course
            .form
            .wire
            .request(messages, course.room, self.endpoint.dialect())
            .map_err(|error| Unanswered::Stop(super::Error::Endpoint(error.to_string())))?;
        let need = self.need(messages, course.form, &request);
        Ok((request, need))
    }

    async fn pause(&self, wait: Duration, stop: &mut watch::Receiver<bool>) -> Result<(), Unanswered> {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => Err(Unanswered::NotReached),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    async fn permit(&self, need: Need, stop: &mut watch::Receiver<bool>) -> Result<Permit<'_>, Unanswered> {
        let permit = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Err(Unanswered::NotReached),
            permit = self.meter.permit(need) => permit,
        };
        permit.map_err(|stopped| match stopped {
            Stopped::Budget => Unanswered::OutOfBudget(need.cost),
            Stopped::Dead(since) => Unanswered::Stop(super::Error::Endpoint(format!(
                "the endpoint {} has not answered for {} s: {}; check OPENAI_BASE_URL and the server's log: the same command \
                 goes on when it is back",
                self.endpoint.shown_url(),
                since.as_secs(),
                self.pulse.trouble.lock().unwrap_or_else(PoisonError::into_inner)
            ))),
        })
    }

    /// What a question comes to that gets no permit any more.
    fn not_permitted(&self, stopped: Unanswered, failed: Option<Failure>) -> Unanswered {
        let is_among_the_last = self.pulse.all_begun.load(Ordering::Relaxed) && self.has_worked();
        match (stopped, failed) {
            // The last rows of a run that only ever fail look like a dead endpoint: they fail for their own reason, which
            // was noted when it happened.
            (Unanswered::Stop(_), Some(failure)) if is_among_the_last => Unanswered::Failed(failure),
            (stopped, _) => stopped,
        }
    }

    /// Whether the endpoint, or one like it, has answered a question, in this command or in an earlier one.
    fn has_worked(&self) -> bool {
        self.endpoint.has_answered() || self.pulse.found.load(Ordering::Relaxed) > 0
    }

    /// What the meter is told of this attempt.
    fn judged(&self, course: &Course<'_>, result: &Result<Reply, Trouble>) -> Outcome {
        let mut outcome = outcome(result);
        let (Health::Dead, Err(trouble)) = (outcome.health, result) else { return outcome };
        *self.pulse.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble.to_string();
        // A row that a working server always fails at looks like a dead server when no other row is left.
        let is_own_fault = matches!(trouble, Trouble::Refused(Refusal { status: 500, .. }))
            && course.attempts > 2
            && self.pulse.all_begun.load(Ordering::Relaxed)
            && self.has_worked();
        if is_own_fault {
            outcome.health = Health::Alive;
        }
        outcome
    }

    /// What an attempt may use: the prompt by our tokenizer and all the room for the answer; and its cost at most.
    fn need(&self, messages: &[Message<'_>], form: &TargetForm, request: &endpoint::Request) -> Need {
        let mut need = Need::default();
        if self.meter.counts_tokens() {
            let prompt = form.wire.prompt_tokens(messages, request.dialect);
            need.tokens = u32::try_from(prompt).unwrap_or(u32::MAX).saturating_add(request.room);
        }
        if self.meter.counts_cost() {
            // What nothing bounds fits under no cap; the desk refuses such settings before.
            need.cost = self.endpoint.bound(request).unwrap_or(Money::MAX);
        }
        need
    }

    /// Why the run stops, with what to change.
    fn why(&self, trouble: &Trouble) -> String {
        let url = self.endpoint.shown_url();
        let Trouble::Refused(refusal) = trouble else {
            return format!("the endpoint {url} cannot be reached: {trouble}; check OPENAI_BASE_URL");
        };
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
            404 if error.kind.contains("DeploymentNotFound") || self.endpoint.address().is_azure() => {
                format!(
                    "the endpoint {url} has no such deployment (HTTP 404{says}); OPENAI_BASE_URL ends in \
                 /openai/deployments/NAME with the deployment's name, beside OPENAI_API_VERSION, or in /openai/v1 and \
                 --model is that name"
                )
            }
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
            let usage = usage.unwrap_or(Usage::UNKNOWN);
            tracing::debug!(
                lens,
                question,
                attempt,
                ms,
                requests_left = left,
                tokens_in = usage.input,
                tokens_out = usage.output,
                tokens_cached = usage.cached_input,
                cost = usage.cost.map(Money::dollars),
                finish_reason = finish_reason.as_deref(),
                model = model.as_deref(),
                "answered"
            );
        }
        Err(trouble) => {
            let wait_s = match trouble {
                Trouble::Refused(refusal) => refusal.retry_after.map(|wait| wait.as_secs_f64()),
                Trouble::Transport(_) | Trouble::Garbled(_) => None,
            };
            let trouble = &*trouble.to_string();
            tracing::debug!(
                lens,
                question,
                attempt,
                ms,
                requests_left = left,
                wait_s,
                trouble,
                "not answered"
            );
        }
    }
}

/// What happened to a row, with what to change where the server gave numbers.
fn detail(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Refused(Refusal { error: ServerError { overflow: Some(overflow), .. }, .. }) => format!(
            "{trouble}; the prompt has {} tokens and a request of this server at most {}: {CONTEXT}",
            overflow.prompt, overflow.context
        ),
        _ => trouble.to_string(),
    }
}

/// What to change where prompts do not fit.
pub(super) const CONTEXT: &str = "raise the context (Ollama: OLLAMA_CONTEXT_LENGTH or num_ctx; llama.cpp: -c, \
     which its slots share; vLLM: --max-model-len) or lower TOKENS_PER_CHUNK";

/// What the meter is told of an attempt.
fn outcome(result: &Result<Reply, Trouble>) -> Outcome {
    let trouble = match result {
        Ok(Reply { usage, .. }) => {
            let cost = usage.and_then(|usage| usage.cost);
            return Outcome {
                health: Health::Answered,
                tokens: usage.map(|usage| usage.input.saturating_add(usage.output)),
                spent: cost.map_or(Spent::Unknown, Spent::Exactly),
            };
        }
        Err(trouble) => trouble,
    };
    let spent = if may_be_billed(trouble) { Spent::Unknown } else { Spent::Nothing };
    Outcome { health: judge(trouble).health, tokens: None, spent }
}

/// Whether the server may have generated an answer that never came.
fn may_be_billed(trouble: &Trouble) -> bool {
    match trouble {
        // A gateway gave up on a server that may have gone on.
        Trouble::Garbled(_) | Trouble::Refused(Refusal { status: 408 | 499 | 502 | 504 | 520..=524, .. }) => {
            true
        }
        Trouble::Transport(error) => !matches!(error, http::Error::Connect(_) | http::Error::Tls(_)),
        // The error came where the answer should be: something may have been generated.
        Trouble::Refused(Refusal { status: 500.., error, .. }) if error.in_reply => true,
        // What could not be read, or did not fit, was generated.
        Trouble::Refused(_) => matches!(judge(trouble).next, Next::Unusable | Next::CutShort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::ServerError;

    fn refused(status: u16, kind: &str) -> Result<Reply, Trouble> {
        let error = ServerError { kind: kind.to_owned(), ..ServerError::default() };
        Err(Trouble::Refused(Refusal { status, retry_after: None, error }))
    }

    #[test]
    fn a_flex_tier_without_room_says_nothing_of_the_account_s_limits() {
        assert_eq!(outcome(&refused(429, "resource_unavailable")).health, Health::Overloaded { after: None });
        assert_eq!(outcome(&refused(429, "rate_limit_exceeded")).health, Health::Limited { after: None });
    }

    #[test]
    fn what_may_have_been_answered_counts_with_its_bound() {
        let spent = |result: Result<Reply, Trouble>| outcome(&result).spent;
        for status in [408, 502, 504, 524] {
            assert_eq!(spent(refused(status, "")), Spent::Unknown, "{status}");
        }
        for status in [400, 401, 429, 500, 503] {
            assert_eq!(spent(refused(status, "")), Spent::Nothing, "{status}");
        }
        assert_eq!(spent(Err(Trouble::Transport(http::Error::Connect("refused".into())))), Spent::Nothing);
        assert_eq!(spent(Err(Trouble::Transport(http::Error::Broken("reset".into())))), Spent::Unknown);
        assert_eq!(spent(Err(Trouble::Garbled("half".into()))), Spent::Unknown);
    }
}
