//! The pace of requests or of tokens: the generic cell rate algorithm (ITU-T I.371).
//!
//! A "theoretical arrival time" moves forward with every request, and a request waits until it is reached. A request
//! that needs more than a whole minute's limit still passes, alone.

use super::Seconds;
use super::limit::{Around, Limit};
use super::recent::Recent;
use super::told::Window;

/// What timers come late by is made up for, and no more: a pause must not end in a burst.
const LATE: Seconds = 0.02;

/// When the next request may start by one limit.
#[derive(Debug)]
pub(super) struct Pace {
    pub(super) limit: Limit,
    /// Requests or tokens that were sent in the last minute and not refused.
    pub(super) recent: Recent,
    /// Seconds a unit; 0 without a limit.
    interval: Seconds,
    due: Seconds,
    /// A bound from elsewhere, per minute: what an estimate says.
    bound: f64,
}

impl Pace {
    pub(super) fn new(limit: Limit) -> Self {
        let mut pace = Self { limit, recent: Recent::new(), interval: 0.0, due: 0.0, bound: f64::INFINITY };
        pace.respace(0.0);
        pace
    }

    /// Units per minute that are let through; infinite without a limit.
    pub(super) fn per_minute(&self) -> f64 {
        60.0 / self.interval
    }

    /// When the next may start.
    pub(super) fn ready(&mut self, now: Seconds) -> Seconds {
        if now >= self.limit.changes_at() {
            self.limit.pass(now);
            self.respace(now);
        }
        self.due.max(self.limit.empty_until().unwrap_or(0.0))
    }

    /// One starts that takes `amount`. `slack` is what may be made up for beside the lateness of timers.
    pub(super) fn take(&mut self, amount: f64, slack: f64, now: Seconds) {
        self.recent.add(now, amount);
        self.due = self.due.max(now - LATE - slack * self.interval) + amount * self.interval;
    }

    /// One that started at `started` used `more` than was taken for it; less is below zero.
    pub(super) fn correct(&mut self, started: Seconds, more: f64) {
        self.recent.add(started, more);
        self.due += more * self.interval;
    }

    /// One that started at `started` was refused: the server does not count it.
    pub(super) fn refused(&mut self, started: Seconds, amount: f64) {
        self.recent.add(started, -amount);
    }

    /// Sets the bound that an estimate gives.
    pub(super) fn bound(&mut self, per_minute: f64, now: Seconds) {
        if (self.bound - per_minute).abs() > 0.0 {
            self.bound = per_minute;
            self.respace(now);
        }
    }

    /// Takes in what the headers told.
    pub(super) fn told(&mut self, window: &Window, around: Around) {
        let now = around.now;
        let changed = self.limit.told(window, around);
        self.respace(now);
        if let Some((limit, remaining)) = changed {
            // What was sent before the limit was known counts: as if it had been paced, unless more is left.
            let mut wait = (self.recent.replay(self.interval, now) - now).clamp(0.0, 60.0);
            if let Some(remaining) = remaining {
                wait = wait.min((limit - remaining + around.since) * self.interval);
            }
            self.due = (now + wait).min(self.limit.fixed_end().unwrap_or(f64::INFINITY)).max(now);
        }
    }

    /// Follows the limit: what is due moves nearer or further in proportion.
    pub(super) fn respace(&mut self, now: Seconds) {
        let interval = 60.0 / self.limit.per_minute(now).min(self.bound);
        if self.interval > 0.0 && self.due > now {
            self.due = now + (self.due - now) * interval / self.interval;
        }
        self.interval = interval;
    }
}
