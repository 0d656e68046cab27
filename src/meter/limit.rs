//! One limit, of requests or of tokens: what the user set and what the headers tell, as a rate per minute.
//!
//! Servers count in three ways, and `reset` means another thing in each: a bucket that fills evenly (the time until it
//! is full), a window that slides (until the next one, or all, are free), a fixed window (its end, the same in every
//! reply until it has passed). Paced evenly at a little less than the limit none of them is ever exceeded; only a fixed
//! window that is partly used, or an account that others use too, asks for less.

use super::{Seconds, Window};

/// How much of a told limit is used: clocks differ, and requests do not arrive as evenly as they leave.
const USED: f64 = 0.99;

/// After a refusal for want of what others took, their part is reckoned with for so long; after a next one twice as long.
const CONTESTED: Seconds = 300.0;

/// Ends of a fixed window that are told in whole seconds differ by as much.
const RESOLUTION: Seconds = 1.5;

/// An end that stays the same for so long is that of a fixed window.
const STANDS: Seconds = 3.0;

/// What is known of a limit.
#[derive(Debug)]
pub(super) struct Limit {
    user: f64,
    told: Option<f64>,
    remaining: Option<f64>,
    /// What others use of it, per minute.
    others: f64,
    contested_until: Seconds,
    contested_for: Seconds,
    /// When the newest request was sent whose reply told something: replies overtake each other.
    told_at: Seconds,
    end: End,
    /// What is left of a fixed window, as a rate per minute, and its end.
    rest: Option<(f64, Seconds)>,
    /// Ends of windows in a row at which nothing was left again.
    empty: u32,
}

/// The end of a fixed window, if it is one.
#[derive(Debug, Default)]
struct End {
    at: Seconds,
    since: Seconds,
    /// It moves on before it has passed: a bucket, or a window that slides.
    moves: bool,
}

/// What happened around a told window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    /// When the request was sent whose reply told it: what is told is as old.
    pub(super) asked: Seconds,
    /// When it was told.
    pub(super) now: Seconds,
    /// Sent in the last minute.
    pub(super) sent: f64,
    /// Of it after `asked`: what is told does not hold it yet.
    pub(super) since: f64,
    /// What one request takes.
    pub(super) unit: f64,
}

impl Limit {
    pub(super) fn new(user: Option<std::num::NonZeroU32>) -> Self {
        Self {
            user: user.map_or(f64::INFINITY, |limit| f64::from(limit.get())),
            told: None,
            remaining: None,
            others: 0.0,
            contested_until: f64::NEG_INFINITY,
            contested_for: CONTESTED,
            told_at: f64::NEG_INFINITY,
            end: End::default(),
            rest: None,
            empty: 0,
        }
    }

    /// Whether anything is known of it.
    pub(super) fn is_known(&self) -> bool {
        self.user.is_finite() || self.told.is_some()
    }

    /// Units per minute; nothing is left of a fixed window before [`Limit::empty_until`].
    pub(super) fn per_minute(&self, now: Seconds) -> f64 {
        let Some(told) = self.told else { return self.user };
        let others = if now < self.contested_until { 1.1 * self.others } else { 0.0 };
        // A server that tells nonsense must not bring us to a stop.
        let mine = (told * USED - others).max(told * 0.1);
        let rest = self.rest.filter(|(rate, end)| *rate > 0.0 && now < *end);
        mine.min(self.user).min(rest.map_or(f64::INFINITY, |(rate, _)| rate))
    }

    /// When a fixed window of which nothing is left ends.
    pub(super) fn empty_until(&self) -> Option<Seconds> {
        self.rest.filter(|(rate, _)| *rate <= 0.0).map(|(_, end)| end)
    }

    /// When [`Limit::per_minute`] changes by itself.
    pub(super) fn changes_at(&self) -> Seconds {
        self.rest.map_or(f64::INFINITY, |(_, end)| end)
    }

    /// The end of a fixed window that has shown itself to be one.
    pub(super) fn fixed_end(&self) -> Option<Seconds> {
        let stands = !self.end.moves && self.told_at - self.end.since >= STANDS;
        stands.then_some(self.end.at)
    }

    /// A fixed window has passed.
    pub(super) fn pass(&mut self, now: Seconds) {
        self.rest = self.rest.filter(|(_, end)| now < *end);
    }

    /// Whether the server last told that less is left than one request takes.
    pub(super) fn is_used_up(&self, unit: f64) -> bool {
        self.remaining.is_some_and(|remaining| remaining < unit)
    }

    /// A refusal that the told limit explains, when `sent` were sent in the last minute.
    pub(super) fn refused(&mut self, sent: f64, now: Seconds) {
        self.empty = 0;
        if let Some(told) = self.told.filter(|told| sent < told * 0.9) {
            if now >= self.contested_until {
                self.others = told - sent;
            }
            if now >= self.contested_until && self.contested_until > 0.0 {
                self.contested_for *= 2.0;
            }
            self.contested_until = now + self.contested_for;
        }
    }

    /// Takes in what was told. Returns the limit if it is another than before, and what is left of it.
    pub(super) fn told(&mut self, window: &Window, around: Around) -> Option<(f64, Option<f64>)> {
        let limit = window.limit.filter(|limit| *limit > 0)? as f64;
        if around.asked < self.told_at {
            return None;
        }
        self.told_at = around.asked;
        let changed = self.told.is_none_or(|told| (told - limit).abs() > 0.0);
        self.told = Some(limit);
        self.remaining = window.remaining.map(|remaining| (remaining as f64).min(limit));
        if let Some(remaining) = self.remaining {
            let used = limit - remaining;
            let others = (used - (around.sent - around.since).max(0.0)).max(0.0);
            self.others += 0.2 * (others - self.others);
            if let Some(reset) = window.reset {
                self.window(limit, remaining, reset.as_secs_f64(), around);
            }
        }
        changed.then_some((limit, self.remaining))
    }

    /// What a fixed window, if it is one, leaves until its end.
    fn window(&mut self, limit: f64, remaining: f64, reset: Seconds, around: Around) {
        let Around { asked, now, .. } = around;
        let end = asked + reset;
        if (end - self.end.at).abs() <= RESOLUTION {
            if asked - self.end.since > 10.0 {
                self.end.moves = false;
            }
        } else {
            let early = asked < self.end.at - RESOLUTION;
            self.end = End { at: end, since: asked, moves: self.end.moves || early };
        }
        let fills_evenly = (remaining / limit + reset / 60.0 - 1.0).abs() <= 0.05;
        if self.end.moves || (fills_evenly && self.fixed_end().is_none()) || self.end.at <= now {
            self.rest = None;
            return;
        }
        let left = remaining - around.since;
        if remaining >= around.unit {
            self.empty = 0;
        } else if now >= self.changes_at() || self.rest.is_none() {
            self.empty += 1;
        }
        // Always empty and yet accepted: what is left is not told truly.
        self.rest = (self.empty <= 2).then(|| {
            let rate = if left < around.unit { 0.0 } else { left * 60.0 / (self.end.at - now) };
            (rate, self.end.at)
        });
    }
}
