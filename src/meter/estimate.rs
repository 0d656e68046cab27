//! A limit that nobody tells, estimated from what is accepted.
//!
//! After a refusal it is what the last minute took. That is too little where the refusal was a passing one, or the
//! limit is one of seconds: so the estimate doubles, every time that it has held for as long as nothing was accepted
//! before, up to the next refusal. From there it is probed upwards: a small step, which stands when a whole minute went
//! by without a refusal; then the next step is twice as large. A refusal takes the last step back and doubles the time
//! to the next, so that probing costs ever fewer refusals.

use super::Seconds;

/// The first step upwards.
const SMALL_STEP: f64 = 0.03;

/// How long a step must hold: limits count over a minute, so a shorter time proves nothing.
const HOLD: Seconds = 60.0;

/// The longest time to the next step.
const LONGEST_HOLD: Seconds = 600.0;

/// The shortest time that a doubled estimate must hold.
const QUICK_HOLD: Seconds = 2.0;

/// What is tried at first where the last minute took less: the run may just have begun.
const FIRST_GUESS: f64 = 60.0;

/// Where less than this part of the estimate was accepted it is too high, and not by chance.
const MOST: f64 = 0.9;

/// What is known of a limit by trying.
#[derive(Debug)]
pub(super) struct Estimate {
    /// Requests per minute; infinite while nothing was refused.
    per_minute: f64,
    /// What held for long enough.
    proven: f64,
    step: f64,
    hold: Seconds,
    next_step_at: Seconds,
    /// Whether a request has waited for this rate since the last step: otherwise the step proved nothing.
    pub(super) binding: bool,
    /// The refusals that gave the first estimate are not over.
    first: bool,
    /// Before it no whole minute has gone by: what was accepted is no measure yet.
    young_until: Seconds,
    lowered_at: Seconds,
}

impl Estimate {
    pub(super) fn new() -> Self {
        Self {
            per_minute: f64::INFINITY,
            proven: 0.0,
            step: 1.0,
            hold: QUICK_HOLD,
            next_step_at: 0.0,
            binding: false,
            first: false,
            young_until: f64::INFINITY,
            lowered_at: f64::NEG_INFINITY,
        }
    }

    /// Requests per minute; infinite while nothing was refused.
    pub(super) fn per_minute(&self) -> f64 {
        self.per_minute
    }

    /// A refusal, the first of its moment, when the last minute had `accepted` so many.
    pub(super) fn refused(&mut self, accepted: f64, now: Seconds) {
        if self.per_minute.is_infinite() {
            self.per_minute = accepted.max(FIRST_GUESS);
            self.proven = accepted;
            self.first = true;
            self.young_until = now + 60.0;
            return self.begin_hold(now);
        }
        if self.per_minute > self.proven && self.proven >= FIRST_GUESS {
            self.per_minute = self.proven;
        } else if now < self.young_until {
            self.per_minute = (self.per_minute / 2.0).max(FIRST_GUESS).min(self.per_minute);
        } else if accepted < self.per_minute * MOST {
            // One bad minute must not undo what many have shown.
            self.per_minute = (accepted * 0.98).max(self.per_minute / 4.0).max(1.0);
        } else if now - self.lowered_at >= 60.0 {
            // Nearly all is accepted: a server that refuses some at random is not to bring us to a stop.
            self.per_minute *= 0.98;
            self.lowered_at = now;
        }
        self.step = SMALL_STEP;
        self.hold = (self.hold * 2.0).clamp(HOLD, LONGEST_HOLD);
        self.proven = self.per_minute;
        self.begin_hold(now);
    }

    /// A refusal that turns out to be the first of its moment, if there was one that this estimate knows of.
    pub(super) fn refused_again(&mut self, accepted: f64, now: Seconds) {
        if self.per_minute.is_finite() && !self.first {
            self.refused(accepted, now);
        }
    }

    /// A further refusal of the same moment: of the first estimate, those count too that were not accepted after all.
    pub(super) fn refused_too(&mut self, accepted: f64) {
        if self.first {
            self.per_minute = self.per_minute.min(accepted.max(FIRST_GUESS));
            self.proven = self.proven.min(accepted);
        }
    }

    /// The first accepted request after refusals, `gap` seconds after the last accepted one before them.
    pub(super) fn resumed(&mut self, gap: Seconds, now: Seconds) {
        if self.per_minute.is_infinite() {
            return;
        }
        // One request in `gap` seconds is accepted: no limit is lower.
        self.proven = self.proven.max(60.0 / gap.max(0.1));
        self.per_minute = self.per_minute.max(self.proven);
        if std::mem::take(&mut self.first) {
            self.hold = gap.clamp(QUICK_HOLD, HOLD);
        }
        self.begin_hold(now);
    }

    /// A request that began at `started` was accepted: when the present rate has held, it goes up by a step.
    pub(super) fn accepted(&mut self, started: Seconds, now: Seconds) {
        if self.per_minute.is_infinite() || !self.binding || started < self.next_step_at {
            return;
        }
        if self.per_minute > self.proven {
            self.hold = self.hold.min(HOLD);
        }
        self.proven = self.per_minute;
        self.per_minute *= 1.0 + self.step;
        self.step = (self.step * 2.0).min(1.0);
        self.begin_hold(now);
    }

    fn begin_hold(&mut self, now: Seconds) {
        self.next_step_at = now + self.hold;
        self.binding = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An estimate of 60 a minute, after two refusals.
    fn sixty() -> Estimate {
        let mut estimate = Estimate::new();
        estimate.refused(64.0, 3.0);
        estimate.refused_too(60.0);
        estimate.resumed(60.0, 63.0);
        estimate.refused(62.0, 100.0);
        estimate.resumed(1.0, 102.0);
        estimate
    }

    /// A request waits for the rate, and one that begins at `at` is accepted at once.
    fn accept(estimate: &mut Estimate, at: Seconds) -> f64 {
        estimate.binding = true;
        estimate.accepted(at, at);
        estimate.per_minute().round()
    }

    #[test]
    fn nothing_is_estimated_before_a_refusal() {
        let mut estimate = Estimate::new();
        estimate.resumed(1.0, 10.0);
        assert!(accept(&mut estimate, 1e6).is_infinite());
    }

    #[test]
    fn a_first_estimate_doubles_while_it_holds() {
        let mut estimate = Estimate::new();
        estimate.refused(2.0, 0.1);
        estimate.resumed(3.0, 3.0);
        let rates: Vec<f64> = (2..8).map(|step| accept(&mut estimate, f64::from(step) * 3.0)).collect();
        assert_eq!(rates, [120.0, 240.0, 480.0, 960.0, 1920.0, 3840.0]);
        estimate.refused(700.0, 25.0);
        assert!((estimate.per_minute() - 1920.0).abs() < 1e-9);
    }

    #[test]
    fn steps_grow_while_they_hold_and_one_refusal_takes_back_the_last() {
        let mut estimate = sixty();
        let mut now = 102.0;
        let mut rates = Vec::new();
        for _ in 0..5 {
            now += 2.0 * HOLD;
            rates.push(accept(&mut estimate, now));
        }
        assert_eq!(rates, [62.0, 66.0, 73.0, 91.0, 135.0]);
        estimate.refused(80.0, now + 5.0);
        assert!((estimate.per_minute().round() - 91.0).abs() < 1e-9);
        // The next step comes after twice the time.
        assert!((accept(&mut estimate, now + 5.0 + HOLD) - 91.0).abs() < 1e-9);
        assert!(accept(&mut estimate, now + 5.0 + 2.0 * HOLD) > 92.0);
    }

    #[test]
    fn a_rate_that_nobody_waits_for_is_not_raised() {
        let mut estimate = sixty();
        let before = estimate.per_minute();
        estimate.accepted(1000.0, 1000.0);
        assert!((estimate.per_minute() - before).abs() < 1e-9);
    }

    #[test]
    fn a_limit_that_fell_is_followed_within_a_few_refusals() {
        let mut estimate = sixty();
        for minute in 3..7 {
            estimate.refused(6.0, f64::from(minute) * 60.0);
        }
        assert!(estimate.per_minute() < 7.0);
    }

    #[test]
    fn a_short_gap_between_accepted_requests_shows_a_higher_limit() {
        let mut estimate = Estimate::new();
        estimate.refused(1.0, 0.1);
        estimate.resumed(0.5, 0.6);
        assert!((estimate.per_minute() - 120.0).abs() < 1e-9);
    }
}
