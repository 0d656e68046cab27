//! Scenarios: an account that counts as real servers do, on a paused clock, against the real meter.
//!
//! Each file in `tests/scenarios/` describes an account, a load, and what must hold; the figures stand in the test.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use super::*;
use crate::http::{HeaderMap, HeaderValue, header::HeaderName, retry_after};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    minutes: f64,
    account: Account,
    #[serde(default)]
    fault: Vec<Fault>,
    load: Load,
    holds: Vec<Holds>,
}

/// An account at a server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    #[serde(default)]
    kind: Kind,
    /// Requests per minute, each from a second on; none is no limit.
    #[serde(default)]
    rpm: Vec<Step>,
    /// Tokens per minute.
    #[serde(default)]
    tpm: Vec<Step>,
    /// What a bucket holds; a minute's worth if not said.
    burst: Option<f64>,
    /// Where in its first window a fixed window begins.
    #[serde(default)]
    offset_s: f64,
    #[serde(default)]
    headers: Headers,
    /// The limit that lying headers tell.
    told_rpm: Option<f64>,
    #[serde(default)]
    retry_after: RetryAfter,
    /// By how much the server's wall clock is ahead of ours, from a second on.
    #[serde(default)]
    clock_ahead_s: Vec<Step>,
    /// Requests per minute of others who share the account.
    #[serde(default)]
    others_rpm: f64,
    /// What is counted when a request arrives: all it may use, or what it will.
    #[serde(default)]
    charges: Charges,
    /// Median time to an answer; answers are spread by a log-normal distribution.
    latency_ms: f64,
    #[serde(default)]
    spread: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Step {
    from_s: f64,
    is: f64,
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
enum Charges {
    #[default]
    Used,
    Needed,
}

/// What is wrong with the server for a while.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    from_s: f64,
    to_s: f64,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    /// Connections are refused, and those that stand are reset.
    Dead,
    /// Everything is answered 429, with the end of the fault as `Retry-After`.
    Limited,
    /// Above so many at once it is 503.
    Overloaded { above: usize },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    /// As many as wished; automatic if not said.
    workers: Option<NonZeroUsize>,
    user_rpm: Option<NonZeroU32>,
    #[serde(default)]
    tokens_needed: u32,
    #[serde(default)]
    tokens_used: u64,
}

/// What must hold between two times.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Holds {
    from_s: f64,
    to_s: f64,
    /// Of what the limit allowed in this time, that of others taken off.
    used_at_least: Option<f64>,
    answered_429_at_most: Option<f64>,
    answered_at_least: Option<usize>,
    sent_at_most: Option<usize>,
    sent_in_a_second_at_most: Option<usize>,
}

/// What one limit of the account counts.
#[derive(Debug)]
struct Counter {
    steps: Vec<Step>,
    level: f64,
    at: f64,
    /// When what was admitted, newest last.
    admitted: VecDeque<(f64, f64)>,
    sum: f64,
}

impl Counter {
    fn new(steps: &[Step], account: &Account) -> Option<Self> {
        let first = steps.first()?.is;
        let level = account.burst.unwrap_or(first);
        Some(Self { steps: steps.to_vec(), level, at: 0.0, admitted: VecDeque::new(), sum: 0.0 })
    }

    /// What is left, when all of it will be there (or the window ends, or the oldest leaves it), and when `amount` will.
    fn left(&mut self, account: &Account, amount: f64, now: f64) -> (f64, f64, f64) {
        let limit = at(&self.steps, now).unwrap_or(f64::INFINITY);
        match account.kind {
            Kind::Bucket => {
                let cap = account.burst.unwrap_or(limit);
                self.level = (self.level + (now - self.at) * limit / 60.0).min(cap);
                self.at = now;
                let until = |level: f64| ((level - self.level) * 60.0 / limit).max(0.0);
                (self.level, until(cap), until(amount))
            }
            Kind::Sliding => {
                while let Some((at, amount)) =
                    self.admitted.front().copied().filter(|(at, _)| at + 60.0 <= now)
                {
                    self.admitted.pop_front();
                    self.sum -= amount;
                    debug_assert!(at <= now);
                }
                let oldest = self.admitted.front().map_or(0.0, |(at, _)| at + 60.0 - now);
                ((limit - self.sum).max(0.0), oldest, oldest)
            }
            Kind::Fixed => {
                let window = |t: f64| ((t + account.offset_s) / 60.0).floor();
                if self.admitted.back().is_some_and(|(at, _)| window(*at) < window(now)) {
                    self.admitted.clear();
                    self.sum = 0.0;
                }
                let end = (window(now) + 1.0) * 60.0 - account.offset_s - now;
                ((limit - self.sum).max(0.0), end, end)
            }
        }
    }

    fn admit(&mut self, amount: f64, now: f64) {
        self.level -= amount;
        self.sum += amount;
        self.admitted.push_back((now, amount));
    }
}

fn at(steps: &[Step], now: f64) -> Option<f64> {
    steps.iter().rev().find(|step| step.from_s <= now).map(|step| step.is)
}

/// The server, and the log of what it saw.
struct Server<'a> {
    scenario: &'a Scenario,
    requests: Option<Counter>,
    tokens: Option<Counter>,
    in_flight: usize,
    next_other: f64,
    random: fastrand_like::Random,
    log: Vec<Seen>,
}

/// When a request was sent, and what came of it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: f64,
    what: Health,
    /// Whether it was ours.
    ours: bool,
}

/// The same numbers in every run.
mod fastrand_like {
    /// A linear congruential generator (Knuth's MMIX), its upper bits.
    pub(super) struct Random(pub(super) u64);

    impl Random {
        /// Between 0 and 1, neither of them.
        pub(super) fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 33) as f64 + 0.5) / (1_u64 << 31) as f64
        }

        /// Of the normal distribution (Box and Muller).
        pub(super) fn normal(&mut self) -> f64 {
            (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
        }
    }
}

/// What the server says to a request: its headers, and whether it is refused.
struct Verdict {
    health: Health,
    told: Told,
}

impl<'a> Server<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let account = &scenario.account;
        Self {
            scenario,
            requests: Counter::new(&account.rpm, account),
            tokens: Counter::new(&account.tpm, account),
            in_flight: 0,
            next_other: if account.others_rpm > 0.0 { 0.0 } else { f64::INFINITY },
            random: fastrand_like::Random(42),
            log: Vec::new(),
        }
    }

    fn fault(&self, now: f64) -> Option<&'a Fault> {
        self.scenario.fault.iter().find(|fault| (fault.from_s..fault.to_s).contains(&now))
    }

    /// The requests of others up to now.
    fn others(&mut self, now: f64) {
        while self.next_other <= now {
            let at = self.next_other;
            let account = &self.scenario.account;
            if let Some(requests) = &mut self.requests
                && requests.left(account, 1.0, at).0 >= 1.0
            {
                requests.admit(1.0, at);
                self.log.push(Seen { at, what: Health::Answered, ours: false });
            }
            self.next_other += -self.random.unit().ln() * 60.0 / account.others_rpm;
        }
    }

    /// A request arrives.
    fn arrive(&mut self, now: f64) -> Verdict {
        self.others(now);
        let account = &self.scenario.account;
        let load = &self.scenario.load;
        let charge = match account.charges {
            Charges::Used => load.tokens_used as f64,
            Charges::Needed => f64::from(load.tokens_needed),
        };
        match self.fault(now) {
            Some(Fault { what: What::Dead, .. }) => {
                return Verdict { health: Health::Dead, told: Told::default() };
            }
            Some(Fault { what: What::Limited, to_s, .. }) => {
                let after = Some(Duration::from_secs_f64((to_s - now).ceil()));
                return Verdict { health: Health::Limited { after }, told: Told::default() };
            }
            Some(Fault { what: What::Overloaded { above }, .. }) if self.in_flight > *above => {
                return Verdict { health: Health::Overloaded { after: None }, told: Told::default() };
            }
            _ => {}
        }
        let mut headers = HeaderMap::new();
        let mut wait: Option<f64> = None;
        for (name, amount, counter) in
            [("requests", 1.0, &mut self.requests), ("tokens", charge, &mut self.tokens)]
        {
            let Some(counter) = counter else { continue };
            let (left, _, until) = counter.left(account, amount, now);
            if left < amount {
                wait = Some(wait.unwrap_or(0.0).max(until));
            }
            let _ = name;
        }
        for (name, amount, counter) in
            [("requests", 1.0, &mut self.requests), ("tokens", charge, &mut self.tokens)]
        {
            let Some(counter) = counter else { continue };
            if wait.is_none() {
                counter.admit(amount, now);
            }
            let (left, reset, _) = counter.left(account, amount, now);
            let limit = at(&counter.steps, now).unwrap_or_default();
            let told = if name == "requests" { account.told_rpm.unwrap_or(limit) } else { limit };
            let left = match account.headers {
                Headers::Told => (left + told - limit).max(0.0),
                Headers::AlwaysEmpty => 0.0,
                Headers::Absent => continue,
            };
            for (what, value) in [
                ("limit", format!("{told}")),
                ("remaining", format!("{}", left.floor())),
                ("reset", duration(reset)),
            ] {
                let name = format!("x-ratelimit-{what}-{name}");
                headers.insert(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(&value).unwrap(),
                );
            }
        }
        let health = match wait {
            None => Health::Answered,
            Some(wait) => Health::Limited { after: self.asks(wait, now) },
        };
        Verdict { health, told: Told::of(&headers) }
    }

    /// What `Retry-After` says where the right wait is `wait`.
    fn asks(&self, wait: f64, now: f64) -> Option<Duration> {
        let account = &self.scenario.account;
        let mut headers = HeaderMap::new();
        let value = match account.retry_after {
            RetryAfter::Absent => return None,
            RetryAfter::Right => format!("{}", wait.ceil()),
            RetryAfter::AlwaysOne => "1".to_owned(),
            RetryAfter::AlwaysZero => "0".to_owned(),
            RetryAfter::Date => {
                let ahead = at(&account.clock_ahead_s, now).unwrap_or_default();
                let wall = |seconds: f64| {
                    let since = Duration::from_secs_f64(1_790_000_000.0 + seconds + ahead);
                    httpdate_of(SystemTime::UNIX_EPOCH + since)
                };
                headers.insert("date", HeaderValue::from_str(&wall(now)).unwrap());
                wall(now + wait.ceil())
            }
        };
        headers.insert("retry-after", HeaderValue::from_str(&value).unwrap());
        retry_after(&headers)
    }

    fn latency(&mut self) -> f64 {
        let Account { latency_ms, spread, .. } = self.scenario.account;
        latency_ms / 1000.0 * (spread * self.random.normal()).exp()
    }
}

/// An HTTP date, without naming the crate that makes them outside its room.
fn httpdate_of(at: SystemTime) -> String {
    crate::http::date(at)
}

/// A duration as OpenAI writes it.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{}ms", (s * 1000.0).ceil()),
        s if s < 60.0 => format!("{s:.3}s"),
        s => format!("{}m{:.0}s", (s / 60.0).floor(), s % 60.0),
    }
}

/// One row after another, as long as the scenario lasts.
async fn client(meter: &Meter, server: &RefCell<Server<'_>>, began: Instant) {
    let (need, used) = {
        let load = &server.borrow().scenario.load;
        (Need { tokens: load.tokens_needed, cost: Money::ZERO }, load.tokens_used)
    };
    let now = || began.elapsed().as_secs_f64();
    loop {
        let Ok(permit) = meter.permit(need).await else { return };
        let sent = now();
        sleep(Duration::from_millis(10)).await;
        let (verdict, takes) = {
            let mut server = server.borrow_mut();
            server.in_flight += 1;
            let verdict = server.arrive(now());
            let takes = if verdict.health == Health::Answered { server.latency() } else { 0.02 };
            (verdict, takes)
        };
        sleep(Duration::from_secs_f64(takes)).await;
        let mut server = server.borrow_mut();
        server.in_flight -= 1;
        let reset = server.fault(now()).is_some_and(|fault| fault.what == What::Dead);
        let health = if reset { Health::Dead } else { verdict.health };
        server.log.push(Seen { at: sent, what: health, ours: true });
        if health != Health::Dead {
            meter.told(&verdict.told);
        }
        let tokens = (health == Health::Answered).then_some(used);
        permit.settle(Outcome { health, tokens, spent: Spent::Nothing });
    }
}

/// Plays a scenario and returns its figures, a line for each time in which something must hold.
fn play(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let scenario: Scenario = toml::from_str(&text).unwrap();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let log = runtime.block_on(async {
        let workers = scenario.load.workers.map_or(Workers::Auto, Workers::AtMost);
        let limits = Limits { workers, rpm: scenario.load.user_rpm, tpm: None, max_cost: None };
        let meter = Meter::seeded(limits, 7);
        let server = RefCell::new(Server::new(&scenario));
        let began = Instant::now();
        let clients = meter.workers() + meter.workers() / 2;
        let all = futures::future::join_all((0..clients).map(|_| client(&meter, &server, began)));
        let _ = timeout_at(began + Duration::from_secs_f64(scenario.minutes * 60.0), all).await;
        assert_eq!(meter.lock().line.len(), 0, "nobody is left in the line");
        server.into_inner().log
    });
    scenario.holds.iter().map(|holds| judge(&scenario, &log, holds)).collect()
}

/// The figures of a time, and whether they are what they must be.
fn judge(scenario: &Scenario, log: &[Seen], holds: &Holds) -> String {
    let within = |at: f64| (holds.from_s..holds.to_s).contains(&at);
    let ours: Vec<&Seen> = log.iter().filter(|seen| seen.ours && within(seen.at)).collect();
    let others = log.iter().filter(|seen| !seen.ours && within(seen.at)).count();
    let sent = ours.len();
    let answered = ours.iter().filter(|seen| seen.what == Health::Answered).count();
    let refused = ours.iter().filter(|seen| matches!(seen.what, Health::Limited { .. })).count();
    let share = refused as f64 / sent.max(1) as f64;
    let mut times: Vec<f64> = ours.iter().map(|seen| seen.at).collect();
    times.sort_by(f64::total_cmp);
    let busiest =
        (0..sent).map(|first| times[first..].iter().take_while(|at| **at < times[first] + 1.0).count()).max();
    let account = &scenario.account;
    let (steps, units) = if account.tpm.is_empty() {
        (&account.rpm, 1.0)
    } else {
        let charge = match account.charges {
            Charges::Used => scenario.load.tokens_used as f64,
            Charges::Needed => f64::from(scenario.load.tokens_needed),
        };
        (&account.tpm, charge)
    };
    let capacity: f64 = (0..)
        .map(|tenth| holds.from_s + f64::from(tenth) * 0.1)
        .take_while(|at| *at < holds.to_s)
        .map(|now| at(steps, now).unwrap_or(f64::NAN) / 600.0)
        .sum();
    let used = answered as f64 * units / (capacity - others as f64);
    let line = format!(
        "{:.0}-{:.0} s: sent {sent}, answered {answered}, used {:.1} %, 429 {:.2} %, at most {} in a second\n",
        holds.from_s,
        holds.to_s,
        used * 100.0,
        share * 100.0,
        busiest.unwrap_or_default(),
    );
    assert!(holds.used_at_least.is_none_or(|least| used >= least), "too little used: {line}");
    assert!(holds.answered_429_at_most.is_none_or(|most| share <= most), "too many refused: {line}");
    assert!(holds.answered_at_least.is_none_or(|least| answered >= least), "too few answered: {line}");
    assert!(holds.sent_at_most.is_none_or(|most| sent <= most), "too many sent: {line}");
    assert!(
        holds.sent_in_a_second_at_most.is_none_or(|most| busiest.is_none_or(|b| b <= most)),
        "a herd: {line}"
    );
    line
}

#[test]
fn figures_of_all() {
    let mut files: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| std::env::args().last().is_none_or(|_| true) && !name.is_empty())
        .collect();
    files.sort();
    for file in files {
        let began = std::time::Instant::now();
        let result = std::panic::catch_unwind(|| play(&file));
        eprintln!(
            "== {file} ({:.1} s)\n{}",
            began.elapsed().as_secs_f64(),
            result.unwrap_or_else(|e| e.downcast_ref::<String>().cloned().unwrap_or("FAILED".to_owned()))
        );
    }
}
