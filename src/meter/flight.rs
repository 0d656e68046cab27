//! How many attempts may be in flight: additive increase, multiplicative decrease, with a slow start.
//!
//! The rules are those of TCP's congestion control (RFC 5681): from a small number it doubles with every round of
//! answers up to the first trouble, then goes up by a few a round, and halves at most once a round.

use super::{Seconds, Workers};

/// Attempts in flight at the start: a fresh account must not get a storm.
const START: usize = 8;

/// The most that [`Workers::Auto`] goes up to.
const MOST: usize = 256;

/// Steps in which additive increase goes from nothing to the bound, one a round.
const STEPS: f64 = 64.0;

/// What is in flight, and what may be.
#[derive(Debug)]
pub(super) struct Flight {
    /// Attempts in flight.
    pub(super) now: usize,
    /// What the user set.
    bound: usize,
    most: usize,
    allowed: f64,
    /// Below it every answer allows one more: the number doubles with every round.
    slow_start_below: f64,
    /// Attempts that began before it tell nothing new of the trouble that led to it.
    decreased_at: Seconds,
}

impl Flight {
    pub(super) fn new(workers: Workers) -> Self {
        let bound = match workers {
            Workers::Auto => MOST,
            Workers::AtMost(most) => most.get(),
        };
        Self {
            now: 0,
            bound,
            most: bound,
            allowed: bound.min(START) as f64,
            slow_start_below: f64::INFINITY,
            decreased_at: f64::NEG_INFINITY,
        }
    }

    /// The most that may ever be allowed.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Bounds what is allowed, within what the user set.
    pub(super) fn set_most(&mut self, most: usize) {
        self.most = most.clamp(1, self.bound);
        self.allowed = self.allowed.min(self.most as f64);
    }

    /// How many may be in flight.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and `most`")]
    pub(super) fn allowed(&self) -> usize {
        self.allowed as usize
    }

    pub(super) fn has_room(&self) -> bool {
        self.now < self.allowed()
    }

    /// An answer came. Where far fewer are in flight than may be, it says nothing of more.
    pub(super) fn answered(&mut self) {
        if self.now < self.allowed() / 2 {
            return;
        }
        let more = if self.allowed < self.slow_start_below {
            1.0
        } else {
            (self.most as f64 / STEPS).max(1.0) / self.allowed
        };
        self.allowed = (self.allowed + more).min(self.most as f64);
    }

    /// An attempt that began at `started` met a server with too much to do: half as many, once a round. Returns whether
    /// it is the first of its round.
    pub(super) fn trouble(&mut self, started: Seconds, now: Seconds) -> bool {
        let first = started > self.decreased_at;
        if first {
            self.decreased_at = now;
            self.allowed = (self.allowed / 2.0).max(1.0);
            self.slow_start_below = self.allowed;
        }
        first
    }

    /// After a time in which none started, begins with a quarter and doubles up to what was allowed before.
    pub(super) fn ramp(&mut self) {
        self.slow_start_below = self.allowed;
        self.allowed = (self.allowed / 4.0).max(1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn at_most(n: usize) -> Flight {
        Flight::new(NonZeroUsize::new(n).map_or(Workers::Auto, Workers::AtMost))
    }

    fn round(flight: &mut Flight) {
        for _ in 0..flight.allowed() {
            flight.now = flight.allowed();
            flight.answered();
        }
    }

    #[test]
    fn five_clean_rounds_lead_from_8_to_256() {
        for mut flight in [at_most(256), Flight::new(Workers::Auto)] {
            let mut seen = vec![flight.allowed()];
            for _ in 0..6 {
                round(&mut flight);
                seen.push(flight.allowed());
            }
            assert_eq!(seen, [8, 16, 32, 64, 128, 256, 256]);
        }
    }

    #[test]
    fn one_worker_is_one_in_flight_whatever_happens() {
        let mut flight = at_most(1);
        round(&mut flight);
        assert_eq!(flight.allowed(), 1);
        flight.trouble(1.0, 2.0);
        flight.ramp();
        assert_eq!(flight.allowed(), 1);
    }

    #[test]
    fn trouble_halves_once_a_round_and_answers_add_a_few() {
        let mut flight = at_most(256);
        for _ in 0..5 {
            round(&mut flight);
        }
        flight.trouble(9.0, 10.0);
        flight.trouble(9.5, 10.1);
        assert_eq!(flight.allowed(), 128);
        round(&mut flight);
        assert_eq!(flight.allowed(), 131);
        flight.trouble(10.5, 11.0);
        assert_eq!(flight.allowed(), 65);
    }

    #[test]
    fn answers_that_leave_room_unused_allow_no_more() {
        let mut flight = at_most(64);
        for _ in 0..100 {
            flight.now = 1;
            flight.answered();
        }
        assert_eq!(flight.allowed(), 8);
    }

    #[test]
    fn a_bound_set_later_stays_within_the_users() {
        let mut flight = Flight::new(Workers::Auto);
        flight.set_most(4);
        assert_eq!(flight.allowed(), 4);
        let mut flight = at_most(2);
        flight.set_most(4);
        assert_eq!((flight.most(), flight.allowed()), (2, 2));
    }
}
