//! All rules together: when the next attempt may start, and what follows from each that ended.

use std::time::Duration;

use super::backoff::{After, Backoff};
use super::breaker::{Breaker, Found, Verdict};
use super::budget::Budget;
use super::estimate::Estimate;
use super::flight::Flight;
use super::limit::{Around, Limit};
use super::pace::Pace;
use super::{Health, Limits, Need, Outcome, Pause, Seconds, Spent, State, Stopped, Told};
use crate::model::Money;

/// Timers and sums of fractions are this exact.
const EXACT: Seconds = 1e-6;

/// What an attempt took when it started.
#[derive(Debug)]
pub(super) struct Started {
    need: Need,
    /// Tokens that it was reckoned at.
    tokens: f64,
    at: Seconds,
    is_probe: bool,
}

/// Whether an attempt may start.
#[derive(Debug)]
pub(super) enum Start {
    /// It has started.
    Now(Started),
    /// Not before then, and not before something changes where that is infinite.
    At(Seconds),
    /// No more.
    Never(Stopped),
}

/// The state of the meter but for those who wait.
#[derive(Debug)]
pub(super) struct Control {
    flight: Flight,
    requests: Pace,
    tokens: Pace,
    estimate: Estimate,
    backoff: Backoff,
    pause: Pause,
    breaker: Breaker,
    budget: Budget,
    counts_cost: bool,
    out_of_budget: bool,
    /// When the request was sent whose reply, the newest to come, told that nothing is left.
    used_up: Option<Seconds>,
    /// What answers used of the tokens that they needed at most, on average.
    used_of_need: Option<f64>,
    last_accepted: Seconds,
    random: u64,
}

impl Control {
    pub(super) fn new(limits: Limits, seed: u64) -> Self {
        Self {
            flight: Flight::new(limits.workers),
            requests: Pace::new(Limit::new(limits.rpm)),
            tokens: Pace::new(Limit::new(limits.tpm)),
            estimate: Estimate::new(),
            backoff: Backoff::new(),
            pause: Pause::Limited,
            breaker: Breaker::new(),
            budget: Budget::new(limits.max_cost),
            counts_cost: limits.max_cost.is_some(),
            out_of_budget: false,
            used_of_need: None,
            last_accepted: 0.0,
            used_up: None,
            random: seed,
        }
    }

    pub(super) fn counts_tokens(&self) -> bool {
        self.tokens.limit.is_known()
    }

    pub(super) fn counts_cost(&self) -> bool {
        self.counts_cost
    }

    pub(super) fn most(&self) -> usize {
        self.flight.most()
    }

    pub(super) fn set_most(&mut self, most: usize) {
        self.flight.set_most(most);
    }

    pub(super) fn charge(&mut self, cost: Money) {
        self.budget.spent += cost;
    }

    /// Starts an attempt with this need, or says when to ask again.
    pub(super) fn start(&mut self, need: Need, now: Seconds) -> Start {
        const AFTER_AN_EVENT: Start = Start::At(f64::INFINITY);
        if self.out_of_budget {
            return Start::Never(Stopped::Budget);
        }
        if !self.budget.fits(need.cost) {
            if self.flight.now > 0 {
                return AFTER_AN_EVENT;
            }
            self.out_of_budget = true;
            return Start::Never(Stopped::Budget);
        }
        let is_probe = match self.breaker.verdict(now) {
            Verdict::Pass => false,
            Verdict::Probe => true,
            Verdict::Wait(until) => return Start::At(until),
            Verdict::GiveUp(dead) => {
                return Start::Never(Stopped::Dead(Duration::try_from_secs_f64(dead).unwrap_or_default()));
            }
        };
        if now + EXACT < self.backoff.until() {
            return Start::At(self.backoff.until());
        }
        if !self.flight.has_room() {
            return AFTER_AN_EVENT;
        }
        let ready = self.requests.ready(now);
        if now + EXACT < ready {
            self.estimate.binding = true;
            return Start::At(ready);
        }
        let ready = self.tokens.ready(now);
        if now + EXACT < ready {
            return Start::At(ready);
        }
        let tokens = f64::from(need.tokens) * self.used_of_need.unwrap_or(1.0);
        self.requests.take(1.0, 0.0, now);
        // What answers leave of their need comes back in lumps: one request may go ahead of them.
        self.tokens.take(tokens, tokens, now);
        self.budget.reserve(need.cost);
        self.flight.now += 1;
        if is_probe {
            self.breaker.probe();
        }
        Start::Now(Started { need, tokens, at: now, is_probe })
    }

    /// What follows from an attempt that ended; `None` if nobody knows how.
    pub(super) fn settle(&mut self, started: &Started, outcome: Option<Outcome>, now: Seconds) {
        self.budget.settle(started.need.cost, outcome.map_or(Spent::Unknown, |outcome| outcome.spent));
        match outcome {
            Some(outcome) => self.learn(started, outcome, now),
            None if started.is_probe => self.breaker.probe_lost(now),
            None => {}
        }
        // Only now: an answer that came with all places taken says that more could be.
        self.flight.now -= 1;
    }

    /// Undoes the start of an attempt of which nothing was sent.
    pub(super) fn give_back(&mut self, started: &Started, now: Seconds) {
        self.budget.settle(started.need.cost, Spent::Nothing);
        self.requests.correct(started.at, -1.0);
        self.tokens.correct(started.at, -started.tokens);
        if started.is_probe {
            self.breaker.probe_lost(now);
        }
        self.flight.now -= 1;
    }

    fn learn(&mut self, started: &Started, outcome: Outcome, now: Seconds) {
        match outcome.health {
            Health::Answered | Health::Alive => {
                if self.breaker.alive() {
                    self.flight.ramp();
                }
                self.accepted(started, now);
                if outcome.health == Health::Answered {
                    self.answered(started, outcome.tokens);
                }
            }
            Health::Limited { after } => {
                if self.breaker.alive() {
                    self.flight.ramp();
                }
                self.limited(started, after, now);
            }
            Health::Overloaded { after } => {
                let jitter = self.jitter();
                self.breaker.unanswered(Found::Busy, started.is_probe, jitter, now);
                let first = self.flight.trouble(started.at, now);
                if let Some(after) = after {
                    self.backoff.pause(after.as_secs_f64(), now);
                    self.pause = Pause::Overloaded;
                    if first {
                        self.flight.ramp();
                    }
                }
            }
            Health::Dead => {
                let jitter = self.jitter();
                self.breaker.unanswered(Found::Dead, started.is_probe, jitter, now);
                self.flight.trouble(started.at, now);
            }
        }
    }

    /// No limit stood against it.
    fn accepted(&mut self, started: &Started, now: Seconds) {
        match self.backoff.accepted(started.at) {
            After::Nothing => {}
            After::Between => {
                let sent = self.requests.recent.sum(now);
                self.estimate.refused_again(sent, now);
            }
            After::Last => self.estimate.resumed(started.at - self.last_accepted, now),
        }
        self.last_accepted = self.last_accepted.max(started.at);
        self.estimate.accepted(started.at, now);
        self.requests.bound(self.estimate.per_minute(), now);
    }

    fn answered(&mut self, started: &Started, tokens: Option<u64>) {
        self.flight.answered();
        if let Some(tokens) = tokens {
            // A count that no request can have must not hold up all that follow.
            let tokens = (tokens as f64).min(4.0 * f64::from(started.need.tokens) + 4096.0);
            self.tokens.correct(started.at, tokens - started.tokens);
            if started.need.tokens > 0 {
                mean(&mut self.used_of_need, (tokens / f64::from(started.need.tokens)).min(1.0));
            }
        }
    }

    fn limited(&mut self, started: &Started, after: Option<Duration>, now: Seconds) {
        self.pause = Pause::Limited;
        self.requests.refused(started.at, 1.0);
        self.tokens.refused(started.at, started.tokens);
        let sent = self.requests.recent.sum(now);
        // By its own headers, or by those of the newest reply: replies overtake each other.
        let told = self.used_up.is_some_and(|at| at.total_cmp(&started.at).is_eq())
            || self.requests.limit.is_used_up(1.0)
            || self.tokens.limit.is_used_up(started.need.tokens.into());
        let Some(in_a_row) = self.backoff.refused(started.at, after.map(|after| after.as_secs_f64()), now)
        else {
            if !told {
                self.estimate.refused_too(sent);
                self.requests.bound(self.estimate.per_minute(), now);
            }
            return;
        };
        if in_a_row > 1 || after.is_none() {
            let jitter = self.jitter();
            // Where the server names a wait, ours is at most a few times that: it knows more than we do.
            let longest = after.map_or(f64::INFINITY, |after| (8.0 * after.as_secs_f64()).max(8.0));
            self.backoff.own(in_a_row, (jitter, longest), now);
        }
        if told {
            self.requests.limit.refused(sent, now);
            let sent = self.tokens.recent.sum(now);
            self.tokens.limit.refused(sent, now);
            self.tokens.respace(now);
            self.requests.respace(now);
        } else if in_a_row == 1 {
            self.estimate.refused(sent, now);
            self.requests.bound(self.estimate.per_minute(), now);
            self.flight.trouble(started.at, now);
        }
    }

    /// Takes in what the headers of the reply to an attempt told.
    pub(super) fn told(&mut self, started: &Started, told: &Told, now: Seconds) {
        let asked = started.at;
        let is_used_up = told.requests.remaining == Some(0) || told.tokens.remaining == Some(0);
        self.used_up = is_used_up.then_some(asked);
        let sent = self.requests.recent.sum(now);
        // The server has counted the one that it replies to.
        let since = (self.requests.recent.since(asked) - 1.0).max(0.0);
        self.requests.told(&told.requests, Around { asked, now, sent, since, unit: 1.0 });
        let unit = started.tokens.max(1.0);
        let sent = self.tokens.recent.sum(now);
        let since = (self.tokens.recent.since(asked) - unit).max(0.0);
        self.tokens.told(&told.tokens, Around { asked, now, sent, since, unit });
    }

    /// How it stands, but for those who wait.
    pub(super) fn state(&self, now: Seconds) -> State {
        let left =
            |until: Seconds| Duration::try_from_secs_f64(until - now).ok().filter(|left| !left.is_zero());
        let dead = self.breaker.open_until().and_then(left);
        let windows = [self.requests.limit.empty_until(), self.tokens.limit.empty_until()];
        let waits = windows.into_iter().flatten().fold(self.backoff.until(), f64::max);
        let paused = dead.or_else(|| left(waits));
        let pause = if dead.is_some() { Pause::Dead } else { self.pause };
        State {
            in_flight: self.flight.now,
            allowed: self.flight.allowed(),
            waiting: 0,
            rpm: Some(self.requests.per_minute()).filter(|rate| rate.is_finite()),
            tpm: Some(self.tokens.per_minute()).filter(|rate| rate.is_finite()),
            paused,
            pause: paused.map(|_| pause),
            spent: self.budget.spent,
            reserved: self.budget.reserved,
            beyond: self.budget.beyond,
        }
    }

    /// A number between 0 and 1, by splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
    fn jitter(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A mean that forgets: a tenth of each new value.
fn mean(mean: &mut Option<f64>, value: f64) {
    *mean = Some(mean.map_or(value, |mean| mean + 0.1 * (value - mean)));
}
