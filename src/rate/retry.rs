//! What follows from an attempt that gave no completion: one pure function.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::endpoint::{Refusal, Trouble};
use crate::http;
use crate::rating::failure::Reason;

/// The longest that a server's `Retry-After` is believed.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// The kind of a 429 by which the flex tier says that it has no room for a request at present.
pub(super) const NO_ROOM: &str = "resource_unavailable";

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
    /// This row fails; others may do better.
    Fail(Reason),
    /// No request will do better: the run stops.
    Stop,
    /// The run stops if nothing has been answered yet; otherwise this row fails.
    Suspect(Reason),
}

/// Decides what follows from trouble.
pub fn judge(trouble: &Trouble) -> Next {
    let retry = |reason| Next::Retry { reason, after: None, everyone: false };
    match trouble {
        Trouble::Refused(refusal) => judge_refusal(refusal),
        Trouble::Transport(http::Error::Timeout(_)) => retry(Reason::Timeout),
        Trouble::Transport(http::Error::TooLong) => Next::Fail(Reason::NoAnswer),
        Trouble::Transport(_) | Trouble::Garbled(_) => retry(Reason::Connection),
    }
}

fn judge_refusal(refusal: &Refusal) -> Next {
    let kind = refusal.error.kind.as_str();
    let says = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    let retry = |reason, everyone| Next::Retry {
        reason,
        after: refusal.retry_after.map(|wait| wait.min(LONGEST_WAIT)),
        everyone,
    };
    match refusal.status {
        // An exhausted quota is a 429 that no waiting mends.
        402 | 429 if refusal.status == 402 || says(&["insufficient_quota", "billing"]) => Next::Stop,
        // A prompt above the limit of a whole minute never passes, however long it waits.
        429 if refusal.error.message.starts_with("Request too large") => Next::Fail(Reason::TooLong),
        429 => retry(Reason::RateLimited, true),
        401 | 404 | 405 => Next::Stop,
        403 => Next::Suspect(Reason::Rejected),
        status if (300..400).contains(&status) => Next::Stop,
        413 => Next::Fail(Reason::TooLong),
        400 | 422 | 500 if says(&["context_length", "context_size", "exceed_context"]) => {
            Next::Fail(Reason::TooLong)
        }
        400 if says(&["content_filter", "content_policy"]) => Next::Fail(Reason::ContentFilter),
        501 | 505 => Next::Fail(Reason::Rejected),
        503 => retry(Reason::ServerError, refusal.retry_after.is_some()),
        408 | 409 | 425 => retry(Reason::Timeout, false),
        status if status >= 500 => retry(Reason::ServerError, false),
        _ => Next::Fail(Reason::Rejected),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::endpoint::ServerError;

    fn refusal(status: u16, kind: &str) -> Trouble {
        Trouble::Refused(Refusal {
            status,
            retry_after: Some(Duration::from_secs(7)),
            error: ServerError { kind: kind.to_owned(), ..ServerError::default() },
        })
    }

    // The policy as a table: whoever changes it changes this list.
    #[test]
    fn the_policy_is_this_table() {
        let mut table = String::new();
        for status in
            [301, 400, 401, 402, 403, 404, 405, 408, 409, 413, 422, 425, 429, 500, 501, 502, 503, 504, 529]
        {
            let next = match judge(&refusal(status, "")) {
                Next::Retry { reason, everyone: false, .. } => format!("retry, else {reason}"),
                Next::Retry { reason, .. } => format!("everyone waits, retry, else {reason}"),
                Next::Fail(reason) => format!("fail: {reason}"),
                Next::Stop => "stop the run".to_owned(),
                Next::Suspect(reason) => format!("stop the run if nothing was answered, else fail: {reason}"),
            };
            writeln!(table, "{status} {next}").unwrap();
        }
        insta::assert_snapshot!(table, @"
        301 stop the run
        400 fail: rejected
        401 stop the run
        402 stop the run
        403 stop the run if nothing was answered, else fail: rejected
        404 stop the run
        405 stop the run
        408 retry, else timeout
        409 retry, else timeout
        413 fail: too_long
        422 fail: rejected
        425 retry, else timeout
        429 everyone waits, retry, else rate_limited
        500 retry, else server_error
        501 fail: rejected
        502 retry, else server_error
        503 everyone waits, retry, else server_error
        504 retry, else server_error
        529 retry, else server_error
        ");
    }

    #[test]
    fn words_decide_where_the_status_does_not() {
        assert_eq!(judge(&refusal(429, "insufficient_quota")), Next::Stop);
        assert_eq!(judge(&refusal(400, "context_length_exceeded")), Next::Fail(Reason::TooLong));
        assert_eq!(judge(&refusal(400, "400 exceed_context_size_error")), Next::Fail(Reason::TooLong));
        assert_eq!(judge(&refusal(400, "content_filter")), Next::Fail(Reason::ContentFilter));
    }

    #[test]
    fn a_wait_without_end_is_not_believed() {
        let trouble = Trouble::Refused(Refusal {
            status: 429,
            retry_after: Some(Duration::MAX),
            error: ServerError::default(),
        });
        assert!(matches!(judge(&trouble), Next::Retry { after: Some(LONGEST_WAIT), .. }));
    }
}
