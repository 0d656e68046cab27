//! Why a row has no rating. A failed row is a row: its reason goes to the ledger and to the JSONL.

use std::fmt;

/// The kinds of failure, as the ledger counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A field that the lens needs is missing or blank: not asked, and not counted as failed.
    Empty,
    /// The row could not be read: broken JSON, not UTF-8.
    Unreadable,
    /// The lens's template could not render the row.
    Template,
    /// The heuristic has no signals for the text's script.
    NotMeasurable,
    /// The prompt does not fit the model's context.
    TooLong,
    /// The server read only a part of the prompt, and answered.
    PromptCut,
    /// The model declined.
    Refusal,
    /// The server's content filter stopped the reply.
    ContentFilter,
    /// The reply was cut by its length, also with twice the room.
    Truncated,
    /// The reply holds no answer: no function call, no JSON.
    NoAnswer,
    /// The answer does not fit the function's schema, also after a repair turn.
    Invalid,
    /// The server rejected the request (4xx).
    Rejected,
    /// Too many requests, until the attempts ran out.
    RateLimited,
    /// The server failed (5xx) until the attempts ran out.
    ServerError,
    /// No reply in time, until the attempts ran out.
    Timeout,
    /// The connection broke or the reply was cut or was not JSON, until the attempts ran out.
    Connection,
}

impl Reason {
    /// All of them.
    const ALL: [Self; 16] = [
        Self::Empty,
        Self::Unreadable,
        Self::Template,
        Self::NotMeasurable,
        Self::TooLong,
        Self::PromptCut,
        Self::Refusal,
        Self::ContentFilter,
        Self::Truncated,
        Self::NoAnswer,
        Self::Invalid,
        Self::Rejected,
        Self::RateLimited,
        Self::ServerError,
        Self::Timeout,
        Self::Connection,
    ];

    /// The reason of this word; none for a word that this version does not use.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// Whether the same question would fail in the same way, and not for the state of the endpoint.
    pub fn is_of_the_question(self) -> bool {
        !matches!(self, Self::RateLimited | Self::ServerError | Self::Timeout | Self::Connection)
    }

    /// The word used in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Unreadable => "unreadable",
            Self::Template => "template",
            Self::NotMeasurable => "not_measurable",
            Self::TooLong => "too_long",
            Self::PromptCut => "prompt_cut",
            Self::Refusal => "refusal",
            Self::ContentFilter => "content_filter",
            Self::Truncated => "truncated",
            Self::NoAnswer => "no_answer",
            Self::Invalid => "invalid_answer",
            Self::Rejected => "rejected",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reason and what happened, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind.
    pub reason: Reason,
    /// What happened, for a person. May hold untrusted text: escape it before it reaches a terminal.
    pub detail: String,
}

impl Failure {
    /// A failure with its detail, cut to 500 characters: a server's reply may be any length.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(500) {
            detail.truncate(end);
            detail.push('…');
        }
        Self { reason, detail }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_found_by_its_word() {
        for reason in Reason::ALL {
            assert_eq!(Reason::named(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::named("of_a_newer_version"), None);
        // Declared in this order, the last one is the last of the list: none is left out.
        assert_eq!(Reason::ALL.map(|reason| reason as usize), std::array::from_fn(|at| at));
        assert_eq!(Reason::Connection as usize + 1, Reason::ALL.len());
    }
}
