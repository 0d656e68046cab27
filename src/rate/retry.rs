//! What follows from an attempt that gave no completion: one pure function.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::endpoint::{Refusal, Trouble};
use crate::http;
use crate::meter::Health;
use crate::rating::failure::Reason;

/// The longest that a server's `Retry-After` is believed.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// How often and how patiently an attempt is repeated.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Attempts in all for one turn of a question.
    pub attempts: usize,
    /// The first pause; each next one is twice as long, with jitter.
    pub first: Duration,
    /// The longest pause of our own.
    pub longest: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { attempts: 6, first: Duration::from_millis(500), longest: Duration::from_secs(30) }
    }
}

impl Policy {
    /// The pauses between the attempts.
    pub fn pauses(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .with_max_times(self.attempts.saturating_sub(1))
            .with_jitter()
            .build()
    }
}

/// What an attempt without a completion says: what to do about the question, and how the endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub next: Next,
    /// What the meter is told.
    pub health: Health,
}

/// What to do after trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again after at least this pause, if attempts are left; everyone waits when the limit is shared.
    Retry {
        /// The failure if no attempt is left.
        reason: Reason,
        /// What the server asked for.
        after: Option<Duration>,
        /// Whether the server meant all requests, not this one.
        everyone: bool,
    },
    /// The server loads its model: try again in a moment, which uses up no attempt.
    Loading,
    /// The model generated what the server could not read: an answer that does not validate.
    Unusable,
    /// The model used up its room: a reply that was cut.
    CutShort,
    /// This row fails; others may do better.
    Fail(Reason),
    /// No request will do better: the run stops.
    Stop,
    /// The run stops if nothing has been answered yet; otherwise this row fails.
    Suspect(Reason),
}

/// Decides what follows from trouble. A refusal of a parameter is not for here: `Endpoint::adapt` comes first.
pub fn judge(trouble: &Trouble) -> Verdict {
    let retry = |reason| Next::Retry { reason, after: None, everyone: false };
    match trouble {
        Trouble::Refused(refusal) => judge_refusal(refusal),
        Trouble::Garbled(_) => Verdict { next: retry(Reason::Connection), health: Health::Alive },
        Trouble::Transport(error) => match error {
            http::Error::Timeout(_) => Verdict { next: retry(Reason::Timeout), health: Health::Dead },
            http::Error::TooLong => Verdict { next: Next::Fail(Reason::NoAnswer), health: Health::Alive },
            // A certificate does not become valid by waiting; but a balancer may have one bad server among many.
            http::Error::Tls(_) => Verdict { next: Next::Suspect(Reason::Connection), health: Health::Dead },
            http::Error::Connect(_) | http::Error::Broken(_) => {
                Verdict { next: retry(Reason::Connection), health: Health::Dead }
            }
        },
    }
}

fn judge_refusal(refusal: &Refusal) -> Verdict {
    let kind = refusal.error.kind.as_str();
    let message = refusal.error.message.to_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let after = refusal.retry_after.map(|wait| wait.min(LONGEST_WAIT));
    let retry = |reason, everyone| Next::Retry { reason, after, everyone };
    let overloaded = Health::Overloaded { after };
    let (next, health) = match refusal.status {
        // An exhausted quota is a 429 that no waiting mends.
        402 => (Next::Stop, Health::Alive),
        429 if is(&["insufficient_quota", "billing"]) => (Next::Stop, Health::Alive),
        // A prompt above the limit of a whole minute never passes, however long it waits.
        429 if message.starts_with("request too large") => (Next::Fail(Reason::TooLong), Health::Alive),
        // The cheap tier has no room now: that says nothing of the account's limits.
        429 if is(&["resource_unavailable"]) => (retry(Reason::RateLimited, true), overloaded),
        429 => (retry(Reason::RateLimited, true), Health::Limited { after }),
        // llama.cpp's slots share one cache, and all of them together ran over.
        500 if says(&["context size has been exceeded"]) => (retry(Reason::ServerError, true), overloaded),
        400 | 422 | 500 if is(&["context_length", "context_size", "exceed_context"]) => {
            (Next::Fail(Reason::TooLong), Health::Alive)
        }
        // vLLM, which gives it no code of its own.
        400 | 422 if says(&["maximum context length", "must be at least 1, got -"]) => {
            (Next::Fail(Reason::TooLong), Health::Alive)
        }
        413 => (Next::Fail(Reason::TooLong), Health::Alive),
        400 | 403 if is(&["content_filter", "content_policy", "ResponsibleAIPolicyViolation"]) => {
            (Next::Fail(Reason::ContentFilter), Health::Alive)
        }
        400 if is(&["tool_use_failed", "json_validate_failed"]) => (Next::Unusable, Health::Alive),
        500 if says(&["does not match the expected peg"]) => (Next::Unusable, Health::Alive),
        400 if says(&["max_tokens or model output limit was reached"]) => (Next::CutShort, Health::Alive),
        401 | 404 | 405 | 300..=399 => (Next::Stop, Health::Alive),
        403 => (Next::Suspect(Reason::Rejected), Health::Alive),
        501 | 505 => (Next::Fail(Reason::Rejected), Health::Alive),
        503 if says(&["loading model"]) => (Next::Loading, overloaded),
        503 => (retry(Reason::ServerError, refusal.retry_after.is_some()), overloaded),
        529 => (retry(Reason::ServerError, true), overloaded),
        408 => (retry(Reason::Timeout, false), Health::Dead),
        409 | 425 => (retry(Reason::Timeout, false), Health::Alive),
        500.. => (retry(Reason::ServerError, false), Health::Dead),
        _ => (Next::Fail(Reason::Rejected), Health::Alive),
    };
    Verdict { next, health }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::ServerError;

    /// A refusal with this status, kind and message.
    fn refusal(status: u16, kind: &str, message: &str) -> Trouble {
        let error =
            ServerError { kind: kind.to_owned(), message: message.to_owned(), ..ServerError::default() };
        Trouble::Refused(Refusal { status, retry_after: None, error })
    }

    fn line(what: &str, trouble: &Trouble) -> String {
        let Verdict { next, health } = judge(trouble);
        let next = match next {
            Next::Retry { reason, everyone: false, .. } => format!("retry, else {reason}"),
            Next::Retry { reason, .. } => format!("retry, shared, else {reason}"),
            Next::Loading => "wait until it is loaded".to_owned(),
            Next::Unusable => "an invalid answer".to_owned(),
            Next::CutShort => "a cut reply".to_owned(),
            Next::Fail(reason) => format!("fail: {reason}"),
            Next::Stop => "stop".to_owned(),
            Next::Suspect(reason) => format!("stop if nothing was answered, else fail: {reason}"),
        };
        let health = match health {
            Health::Answered => "answered",
            Health::Alive => "alive",
            Health::Limited { .. } => "limited",
            Health::Overloaded { .. } => "overloaded",
            Health::Dead => "dead",
        };
        format!("{what:<44} | {health:<10} | {next}\n")
    }

    // The policy as a table: whoever changes it changes this list.
    #[test]
    fn the_policy_is_this_table() {
        let mut table = String::new();
        for status in [
            301, 400, 401, 402, 403, 404, 405, 408, 409, 413, 422, 425, 429, 500, 501, 502, 503, 504, 505,
            529,
        ] {
            table.push_str(&line(&status.to_string(), &refusal(status, "", "")));
        }
        for (status, kind, message) in [
            (429, "insufficient_quota", ""),
            (429, "billing_hard_limit_reached", ""),
            (429, "resource_unavailable", ""),
            (429, "tokens", "Request too large for gpt-6-luna"),
            (400, "context_length_exceeded", ""),
            (400, "400 exceed_context_size_error", ""),
            (400, "400 BadRequestError", "This model's maximum context length is 2048"),
            (400, "400 BadRequestError", "max_tokens must be at least 1, got -186."),
            (500, "500 server_error", "Context size has been exceeded."),
            (400, "content_filter", ""),
            (400, "content_filter ResponsibleAIPolicyViolation", ""),
            (400, "tool_use_failed", "Failed to call a function."),
            (400, "", "Could not finish the message because max_tokens or model output limit was reached."),
            (500, "500 server_error", "output that does not match the expected peg-native format"),
            (503, "503 unavailable_error", "Loading model"),
            (404, "DeploymentNotFound", ""),
        ] {
            let said: String = [kind, message].join(" ").trim().chars().take(38).collect();
            table.push_str(&line(&format!("{status} {said}"), &refusal(status, kind, message)));
        }
        let text = || "x".to_owned();
        for (what, trouble) in [
            ("no connection", Trouble::Transport(http::Error::Connect(text()))),
            ("TLS failure", Trouble::Transport(http::Error::Tls(text()))),
            ("broken connection", Trouble::Transport(http::Error::Broken(text()))),
            ("silence", Trouble::Transport(http::Error::Timeout(Duration::ZERO))),
            ("a body without end", Trouble::Transport(http::Error::TooLong)),
            ("not a completion", Trouble::Garbled(text())),
        ] {
            table.push_str(&line(what, &trouble));
        }
        insta::assert_snapshot!(table, @"
        301                                          | alive      | stop
        400                                          | alive      | fail: rejected
        401                                          | alive      | stop
        402                                          | alive      | stop
        403                                          | alive      | stop if nothing was answered, else fail: rejected
        404                                          | alive      | stop
        405                                          | alive      | stop
        408                                          | dead       | retry, else timeout
        409                                          | alive      | retry, else timeout
        413                                          | alive      | fail: too_long
        422                                          | alive      | fail: rejected
        425                                          | alive      | retry, else timeout
        429                                          | limited    | retry, shared, else rate_limited
        500                                          | dead       | retry, else server_error
        501                                          | alive      | fail: rejected
        502                                          | dead       | retry, else server_error
        503                                          | overloaded | retry, else server_error
        504                                          | dead       | retry, else server_error
        505                                          | alive      | fail: rejected
        529                                          | overloaded | retry, shared, else server_error
        429 insufficient_quota                       | alive      | stop
        429 billing_hard_limit_reached               | alive      | stop
        429 resource_unavailable                     | overloaded | retry, shared, else rate_limited
        429 tokens Request too large for gpt-6-lun   | alive      | fail: too_long
        400 context_length_exceeded                  | alive      | fail: too_long
        400 400 exceed_context_size_error            | alive      | fail: too_long
        400 400 BadRequestError This model's maxim   | alive      | fail: too_long
        400 400 BadRequestError max_tokens must be   | alive      | fail: too_long
        500 500 server_error Context size has been   | overloaded | retry, shared, else server_error
        400 content_filter                           | alive      | fail: content_filter
        400 content_filter ResponsibleAIPolicyViol   | alive      | fail: content_filter
        400 tool_use_failed Failed to call a funct   | alive      | an invalid answer
        400 Could not finish the message because m   | alive      | a cut reply
        500 500 server_error output that does not    | alive      | an invalid answer
        503 503 unavailable_error Loading model      | overloaded | wait until it is loaded
        404 DeploymentNotFound                       | alive      | stop
        no connection                                | dead       | retry, else connection
        TLS failure                                  | dead       | stop if nothing was answered, else fail: connection
        broken connection                            | dead       | retry, else connection
        silence                                      | dead       | retry, else timeout
        a body without end                           | alive      | fail: no_answer
        not a completion                             | alive      | retry, else connection
        ");
    }

    #[test]
    fn a_wait_without_end_is_not_believed() {
        let trouble = Trouble::Refused(Refusal {
            status: 429,
            retry_after: Some(Duration::MAX),
            error: ServerError::default(),
        });
        let verdict = judge(&trouble);
        assert!(matches!(verdict.next, Next::Retry { after: Some(LONGEST_WAIT), .. }));
        assert_eq!(verdict.health, Health::Limited { after: Some(LONGEST_WAIT) });
    }
}
