//! Rate limits of requests and of tokens, as a bucket or a fixed window, on a clock that is handed in.

use std::time::{Duration, Instant};

use serde::Deserialize;

/// A limit per minute, as data. `{"per_minute": 60}` is a bucket of 60 requests whose state is told in headers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RateLimit {
    /// Requests or tokens per minute.
    pub(crate) per_minute: u32,
    /// What the bucket holds, full at the start, or the whole of a fixed window; else as much as `per_minute` gives.
    pub(crate) burst: Option<u32>,
    /// What is counted.
    pub(crate) unit: Unit,
    /// How it comes back.
    pub(crate) window: Window,
    /// What the headers say of it.
    pub(crate) told: Told,
}

impl RateLimit {
    /// A bucket of so many requests a minute, which holds `burst` of them.
    pub(crate) fn requests(per_minute: u32, burst: u32) -> Self {
        Self { per_minute, burst: Some(burst), ..Self::default() }
    }

    /// A bucket of so many tokens a minute, which holds `burst` of them.
    pub(crate) fn tokens(per_minute: u32, burst: u32) -> Self {
        Self { unit: Unit::Tokens, ..Self::requests(per_minute, burst) }
    }
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// Requests.
    #[default]
    Requests,
    /// Tokens, counted on arrival as OpenAI does: the prompt and all the room for the answer.
    Tokens,
}

/// How a limit comes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Window {
    /// Evenly.
    #[default]
    Bucket,
    /// At once, every so many seconds from the first request on.
    Fixed(u64),
}

/// What a limit's headers say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// The truth, and `Retry-After` with a 429.
    #[default]
    Truth,
    /// Nothing, not even `Retry-After`.
    Nothing,
    /// That the limit is this one and nothing of it is used; no `Retry-After`.
    Claim(u32),
}

/// The state of a rate limit after a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limit {
    pub(super) unit: Unit,
    /// What the headers tell, if they do.
    pub(super) told: Option<Headers>,
    /// Whole units left; with `wait` this request was one too many.
    pub(super) remaining: u32,
    /// Until this request fits, if it did not.
    pub(super) wait: Option<Duration>,
    /// Until the limit is whole again.
    pub(super) reset: Duration,
    /// Whether the request is above the limit of a whole window: no waiting lets it through.
    pub(super) too_large: bool,
}

/// `x-ratelimit-*` of one unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Headers {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    pub(super) reset: Duration,
    pub(super) retry_after: Option<Duration>,
}

/// A limit with what is left of it.
#[derive(Debug)]
pub(super) struct Account {
    limit: RateLimit,
    holds: f64,
    level: f64,
    /// When the level was right; the begin of a fixed window.
    at: Instant,
}

impl Account {
    /// Nothing used at `at`.
    pub(super) fn full(limit: RateLimit, at: Instant) -> Self {
        let window = match limit.window {
            Window::Bucket => f64::from(limit.per_minute),
            Window::Fixed(seconds) => (f64::from(limit.per_minute) * seconds as f64 / 60.0).round(),
        };
        let holds = limit.burst.map_or(window, f64::from);
        Self { limit, holds, level: holds, at }
    }

    /// A request that needs so many tokens.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the level is between 0 and u32::MAX"
    )]
    pub(super) fn take(&mut self, now: Instant, tokens: u64) -> Limit {
        let need = match self.limit.unit {
            Unit::Requests => 1.0,
            Unit::Tokens => tokens as f64,
        };
        self.refill(now);
        let fits = self.level >= need;
        if fits {
            self.level -= need;
        }
        let wait = (!fits).then(|| self.time_until(need, now));
        let (remaining, reset) = (self.level as u32, self.time_until(self.holds, now));
        let told = match self.limit.told {
            Told::Truth => {
                Some(Headers { limit: self.limit.per_minute, remaining, reset, retry_after: wait })
            }
            Told::Nothing => None,
            Told::Claim(limit) => {
                Some(Headers { limit, remaining: limit, reset: Duration::ZERO, retry_after: None })
            }
        };
        Limit {
            unit: self.limit.unit,
            told,
            remaining,
            wait,
            reset,
            too_large: need > self.holds && self.holds > 0.0,
        }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        match self.limit.window {
            Window::Bucket => {
                self.level = (self.level + passed.as_secs_f64() * self.per_second()).min(self.holds);
                self.at = now;
            }
            Window::Fixed(seconds) => {
                let length = Duration::from_secs(seconds.max(1));
                if passed >= length {
                    let windows = u32::try_from(passed.as_nanos() / length.as_nanos()).unwrap_or(u32::MAX);
                    self.at += length * windows;
                    self.level = self.holds;
                }
            }
        }
    }

    /// Until `level` units are there. A limit of nothing never lets one through; a day stands for never.
    fn time_until(&self, level: f64, now: Instant) -> Duration {
        const NEVER: Duration = Duration::from_hours(24);
        match self.limit.window {
            Window::Bucket => Duration::try_from_secs_f64((level - self.level).max(0.0) / self.per_second())
                .unwrap_or(NEVER),
            Window::Fixed(_) if self.holds < 1.0 => NEVER,
            Window::Fixed(seconds) => {
                (self.at + Duration::from_secs(seconds.max(1))).saturating_duration_since(now)
            }
        }
    }

    fn per_second(&self) -> f64 {
        f64::from(self.limit.per_minute) / 60.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_refuses_when_empty_and_fills_with_time() {
        let start = Instant::now();
        let mut account = Account::full(RateLimit::requests(60, 2), start);
        let mut at = |milliseconds| account.take(start + Duration::from_millis(milliseconds), 0);
        assert_eq!((at(0).remaining, at(0).remaining), (1, 0));
        let refused = at(250);
        assert_eq!(refused.wait, Some(Duration::from_millis(750)));
        assert_eq!(refused.reset, Duration::from_millis(1750));
        assert_eq!(at(1000).wait, None);
        assert_eq!(at(600_000).remaining, 1, "it never holds more than its burst");
    }

    #[test]
    fn a_limit_of_none_refuses_everything() {
        let now = Instant::now();
        let mut account = Account::full(RateLimit::requests(0, 0), now);
        assert_eq!(account.take(now, 0).wait, Some(Duration::from_hours(24)));
    }

    #[test]
    fn a_fixed_window_comes_back_at_once() {
        let start = Instant::now();
        let limit = RateLimit { per_minute: 20, window: Window::Fixed(6), ..RateLimit::default() };
        let mut account = Account::full(limit, start);
        let mut at = |seconds| account.take(start + Duration::from_secs(seconds), 0);
        assert_eq!((at(0).remaining, at(5).remaining), (1, 0));
        assert_eq!(at(5).wait, Some(Duration::from_secs(1)));
        assert_eq!(
            (at(6).remaining, at(11).remaining),
            (1, 0),
            "the next window begins where the last one ends"
        );
        assert_eq!(at(12).remaining, 1);
    }

    #[test]
    fn tokens_are_counted_by_the_request() {
        let now = Instant::now();
        let mut account = Account::full(RateLimit::tokens(6000, 1000), now);
        assert_eq!(account.take(now, 700).remaining, 300);
        let refused = account.take(now, 400);
        assert_eq!((refused.wait, refused.too_large), (Some(Duration::from_secs(1)), false));
        assert!(account.take(now, 1001).too_large);
    }

    #[test]
    fn headers_tell_the_truth_or_nothing_or_a_lie() {
        let now = Instant::now();
        let told = |told| {
            let mut account = Account::full(RateLimit { told, ..RateLimit::requests(60, 1) }, now);
            account.take(now, 0);
            account.take(now, 0).told
        };
        let second = Duration::from_secs(1);
        let truth = Headers { limit: 60, remaining: 0, reset: second, retry_after: Some(second) };
        assert_eq!(told(Told::Truth), Some(truth));
        assert_eq!(told(Told::Nothing), None);
        let lie = Headers { limit: 600, remaining: 600, reset: Duration::ZERO, retry_after: None };
        assert_eq!(told(Told::Claim(600)), Some(lie));
    }
}
