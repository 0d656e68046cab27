//! What the headers of a reply tell of the account's limits.

use std::time::Duration;

use crate::http::HeaderMap;

/// What one reply told of the limits per minute: the `x-ratelimit-*` headers of OpenAI and of those that follow it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// Requests.
    pub requests: Window,
    /// Tokens.
    pub tokens: Window,
}

/// One limit, as far as it was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// How many a minute.
    pub limit: Option<u64>,
    /// How many are left.
    pub remaining: Option<u64>,
    /// When all of them will be there again.
    pub reset: Option<Duration>,
}

impl Told {
    /// What these headers tell.
    pub fn of(headers: &HeaderMap) -> Self {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
        let window = |limit: &str, remaining: &str| Window {
            limit: number(limit),
            remaining: number(remaining),
            reset: None,
        };
        Self {
            requests: window("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"),
            tokens: window("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens"),
        }
    }
}
