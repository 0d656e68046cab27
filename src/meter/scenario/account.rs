//! An account that counts requests and tokens as real servers do: the other side of a scenario.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::Step;
use crate::http::{HeaderMap, HeaderValue, date, header::HeaderName, retry_after};
use crate::meter::Told;

/// Sixteen times to an answer, as parts of the usual one: some are much slower.
const TIMES: [f64; 16] = [0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.2, 1.3, 1.5, 1.8, 2.2, 3.0];

/// Sixteen gaps between chance arrivals, as parts of the mean: the exponential distribution.
const GAPS: [f64; 16] =
    [0.03, 0.1, 0.17, 0.25, 0.33, 0.42, 0.52, 0.63, 0.76, 0.9, 1.07, 1.27, 1.52, 1.86, 2.38, 3.79];

/// How an account is set up.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Setup {
    #[serde(default)]
    kind: Kind,
    /// Requests per minute, each from a second on; none is no limit.
    #[serde(default)]
    pub(super) rpm: Vec<Step>,
    /// Tokens per minute.
    #[serde(default)]
    pub(super) tpm: Vec<Step>,
    /// What a bucket holds; a minute's worth if not said.
    burst: Option<f64>,
    /// How long the first fixed window has lasted when the scenario begins.
    #[serde(default)]
    offset_s: f64,
    #[serde(default)]
    headers: Headers,
    /// The limit that lying headers tell.
    told_rpm: Option<f64>,
    #[serde(default)]
    retry_after: RetryAfter,
    /// By how much the server's wall clock is ahead, from a second on.
    #[serde(default)]
    clock_ahead_s: Vec<Step>,
    /// Requests per minute of others who share the account.
    #[serde(default)]
    others_rpm: f64,
    /// Which tokens of a request are counted.
    #[serde(default)]
    pub(super) charges: Charges,
    /// The usual time to an answer.
    latency_ms: f64,
    /// How much the time to an answer differs, between 0 and 1.
    #[serde(default)]
    spread: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    Bucket,
    Sliding,
    Fixed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Headers {
    #[default]
    Told,
    Absent,
    /// The limit is told right, and always that nothing is left.
    AlwaysEmpty,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RetryAfter {
    #[default]
    Right,
    Absent,
    AlwaysOne,
    AlwaysZero,
    Date,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Charges {
    /// Those that it will have used.
    #[default]
    Used,
    /// All that it may use.
    Needed,
}

/// What is left of one limit at some moment.
#[derive(Debug, Clone, Copy)]
struct Left {
    limit: f64,
    units: f64,
    /// Until all of it is there, the window ends, or the oldest leaves it.
    reset: f64,
    /// Until there is enough for the request.
    wait: f64,
}

/// What one limit counts.
#[derive(Debug)]
struct Counter {
    name: &'static str,
    steps: Vec<Step>,
    /// What a bucket held at a time.
    level: f64,
    at: f64,
    /// When how much was admitted, newest last.
    admitted: VecDeque<(f64, f64)>,
    sum: f64,
}

impl Counter {
    fn new(name: &'static str, steps: &[Step], setup: &Setup) -> Option<Self> {
        let level = setup.burst.unwrap_or(steps.first()?.is);
        Some(Self { name, steps: steps.to_vec(), level, at: 0.0, admitted: VecDeque::new(), sum: 0.0 })
    }

    fn left(&mut self, setup: &Setup, amount: f64, now: f64) -> Left {
        let limit = Step::at(&self.steps, now).unwrap_or(f64::INFINITY);
        let window = |at: f64| ((at + setup.offset_s) / 60.0).floor();
        match setup.kind {
            Kind::Bucket => {
                let cap = setup.burst.unwrap_or(limit);
                self.level = (self.level + (now - self.at) * limit / 60.0).min(cap);
                self.at = now;
                let until = |level: f64| ((level - self.level) * 60.0 / limit).max(0.0);
                return Left { limit, units: self.level, reset: until(cap), wait: until(amount) };
            }
            Kind::Sliding => self.forget(|at| at + 60.0 <= now),
            Kind::Fixed => self.forget(|at| window(at) < window(now)),
        }
        let reset = match setup.kind {
            Kind::Fixed => (window(now) + 1.0) * 60.0 - setup.offset_s - now,
            _ => self.admitted.front().map_or(0.0, |(at, _)| at + 60.0 - now),
        };
        Left { limit, units: (limit - self.sum).max(0.0), reset, wait: reset }
    }

    fn forget(&mut self, is_old: impl Fn(f64) -> bool) {
        while let Some((_, amount)) = self.admitted.front().copied().filter(|(at, _)| is_old(*at)) {
            self.admitted.pop_front();
            self.sum -= amount;
        }
    }

    fn admit(&mut self, amount: f64, now: f64) {
        self.level -= amount;
        self.sum += amount;
        self.admitted.push_back((now, amount));
    }
}

/// What the account says to a request.
pub(super) enum Said {
    /// It is taken.
    Yes,
    /// It is refused, with what is read from `Retry-After`.
    No(Option<Duration>),
}

/// An account in use.
pub(super) struct Account<'a> {
    setup: &'a Setup,
    requests: Option<Counter>,
    tokens: Option<Counter>,
    next_other: f64,
    /// When requests of others were admitted.
    pub(super) others: Vec<f64>,
    random: u64,
}

impl<'a> Account<'a> {
    pub(super) fn new(setup: &'a Setup) -> Self {
        Self {
            setup,
            requests: Counter::new("requests", &setup.rpm, setup),
            tokens: Counter::new("tokens", &setup.tpm, setup),
            next_other: if setup.others_rpm > 0.0 { 0.0 } else { f64::INFINITY },
            others: Vec::new(),
            random: 42,
        }
    }

    /// How long the next answer takes, in seconds.
    pub(super) fn latency(&mut self) -> f64 {
        let time = self.one_of(&TIMES);
        self.setup.latency_ms / 1000.0 * (1.0 + self.setup.spread * (time - 1.0))
    }

    /// A request arrives for which `tokens` are counted.
    pub(super) fn arrive(&mut self, tokens: f64, now: f64) -> (Said, Told) {
        self.let_others_in(now);
        let setup = self.setup;
        let amounts = [(1.0, self.requests.as_mut()), (tokens, self.tokens.as_mut())];
        let mut counters: Vec<(f64, &mut Counter)> =
            amounts.into_iter().filter_map(|(amount, counter)| Some((amount, counter?))).collect();
        let mut wait: Option<f64> = None;
        for (amount, counter) in &mut counters {
            let left = counter.left(setup, *amount, now);
            if left.units < *amount {
                wait = Some(wait.unwrap_or(0.0).max(left.wait));
            }
        }
        let mut headers = HeaderMap::new();
        for (amount, counter) in counters {
            if wait.is_none() {
                counter.admit(amount, now);
            }
            let left = counter.left(setup, amount, now);
            tell(setup, counter.name, left, &mut headers);
        }
        let said = wait.map_or(Said::Yes, |wait| Said::No(self.asks(wait, now)));
        (said, Told::of(&headers))
    }

    /// What is read from `Retry-After` where the right wait is `wait` seconds.
    fn asks(&self, wait: f64, now: f64) -> Option<Duration> {
        let ahead = Step::at(&self.setup.clock_ahead_s, now).unwrap_or_default();
        let wall = |seconds: f64| {
            date(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1_790_000_000.0 + seconds + ahead))
        };
        let value = match self.setup.retry_after {
            RetryAfter::Absent => return None,
            RetryAfter::Right => wait.ceil().to_string(),
            RetryAfter::AlwaysOne => "1".to_owned(),
            RetryAfter::AlwaysZero => "0".to_owned(),
            RetryAfter::Date => wall(now + wait.ceil()),
        };
        let mut headers = HeaderMap::new();
        headers.insert("date", HeaderValue::from_str(&wall(now)).unwrap());
        headers.insert("retry-after", HeaderValue::from_str(&value).unwrap());
        retry_after(&headers)
    }

    /// The requests of others up to now.
    fn let_others_in(&mut self, now: f64) {
        while self.next_other <= now {
            let at = self.next_other;
            if let Some(requests) = &mut self.requests
                && requests.left(self.setup, 1.0, at).units >= 1.0
            {
                requests.admit(1.0, at);
                self.others.push(at);
            }
            self.next_other += self.one_of(&GAPS) * 60.0 / self.setup.others_rpm;
        }
    }

    /// One of the values, by a linear congruential generator (Knuth's MMIX): the same in every run and everywhere.
    fn one_of(&mut self, values: &[f64; 16]) -> f64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        values[usize::try_from(self.random >> 60).unwrap()]
    }
}

/// The headers for one limit.
fn tell(setup: &Setup, name: &str, left: Left, headers: &mut HeaderMap) {
    let limit = setup.told_rpm.filter(|_| name == "requests").unwrap_or(left.limit);
    let remaining = match setup.headers {
        Headers::Told => (left.units + limit - left.limit).clamp(0.0, limit).floor(),
        Headers::AlwaysEmpty => 0.0,
        Headers::Absent => return,
    };
    for (what, value) in
        [("limit", limit.to_string()), ("remaining", remaining.to_string()), ("reset", duration(left.reset))]
    {
        let name = format!("x-ratelimit-{what}-{name}");
        headers
            .insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(&value).unwrap());
    }
}

/// A duration as OpenAI writes it.
fn duration(seconds: f64) -> String {
    match seconds {
        short if short < 1.0 => format!("{}ms", (short * 1000.0).ceil()),
        middle if middle < 60.0 => format!("{middle:.3}s"),
        long => format!("{}m{:.0}s", (long / 60.0).floor(), long % 60.0),
    }
}
