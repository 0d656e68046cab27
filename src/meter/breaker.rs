//! The circuit breaker: while the endpoint is dead nobody's attempts are used up on it.

use super::Seconds;

/// Attempts in a row that found the endpoint dead, after which it is taken for dead.
const OPENS_AFTER: u32 = 5;

/// The first wait before a probe; each next one is twice as long.
const FIRST_WAIT: Seconds = 1.0;

/// The longest wait before a probe.
const LONGEST_WAIT: Seconds = 60.0;

/// An endpoint that has answered before is waited for this long.
const PATIENCE: Seconds = 15.0 * 60.0;

/// One that has never answered is a wrong address more likely than one that will be back.
const PATIENCE_AT_FIRST: Seconds = 15.0;

/// Attempts that must have found it dead before [`PATIENCE_AT_FIRST`] counts.
const HOPELESS: u32 = 8;

/// Closed lets all through, open none, and half open the one that is under way.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Gate {
    Closed,
    Open { until: Seconds },
    HalfOpen,
}

/// What the breaker says to the next attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// Start.
    Pass,
    /// Start, as the one that finds out.
    Probe,
    /// Wait, at the longest until then.
    Wait(Seconds),
    /// Give up: the endpoint has been dead for so long.
    GiveUp(Seconds),
}

/// Whether the endpoint is alive.
#[derive(Debug)]
pub(super) struct Breaker {
    gate: Gate,
    /// Dead outcomes since the last sign of life.
    in_a_row: u32,
    /// When the first of them came.
    since: Seconds,
    wait: Seconds,
    ever_alive: bool,
    ever_busy: bool,
}

/// What an attempt found that was not answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Found {
    /// Nobody, or no working server.
    Dead,
    /// A server that has too much to do.
    Busy,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self {
            gate: Gate::Closed,
            in_a_row: 0,
            since: 0.0,
            wait: FIRST_WAIT,
            ever_alive: false,
            ever_busy: false,
        }
    }

    /// What the next attempt may do.
    pub(super) fn verdict(&self, now: Seconds) -> Verdict {
        // One that said that it has too much to do is there, and may be loading a model.
        let patience = if self.ever_alive || self.ever_busy {
            PATIENCE
        } else if self.in_a_row >= HOPELESS {
            PATIENCE_AT_FIRST
        } else {
            f64::INFINITY
        };
        match self.gate {
            Gate::Closed => Verdict::Pass,
            // It may still be answered, however long that takes.
            Gate::HalfOpen => Verdict::Wait(f64::INFINITY),
            Gate::Open { .. } if self.since + patience <= now => Verdict::GiveUp(now - self.since),
            Gate::Open { until } if until <= now => Verdict::Probe,
            Gate::Open { until } => Verdict::Wait(until.min(self.since + patience)),
        }
    }

    /// When the next probe may start, if the breaker is open.
    pub(super) fn open_until(&self) -> Option<Seconds> {
        match self.gate {
            Gate::Open { until } => Some(until),
            _ => None,
        }
    }

    /// The attempt that finds out has started.
    pub(super) fn probe(&mut self) {
        self.gate = Gate::HalfOpen;
    }

    /// The probe came to no end that says anything: the next may start at once.
    pub(super) fn probe_lost(&mut self, now: Seconds) {
        if self.gate == Gate::HalfOpen {
            self.gate = Gate::Open { until: now };
        }
    }

    /// A sign of life. Returns whether the breaker was open.
    pub(super) fn alive(&mut self) -> bool {
        let was_open = self.gate != Gate::Closed;
        *self = Self { ever_alive: true, ..Self::new() };
        was_open
    }

    /// An attempt was not answered. `jitter`, between 0 and 1, keeps the programs of many users apart.
    pub(super) fn unanswered(&mut self, found: Found, is_probe: bool, jitter: f64, now: Seconds) {
        self.ever_busy |= found == Found::Busy;
        if self.in_a_row == 0 {
            self.since = now;
        }
        self.in_a_row += 1;
        let opens = match self.gate {
            Gate::Closed => self.in_a_row >= OPENS_AFTER,
            Gate::HalfOpen => is_probe,
            // Those that were in flight when it opened.
            Gate::Open { .. } => false,
        };
        if opens {
            self.gate = Gate::Open { until: now + self.wait * (1.0 + 0.2 * jitter) };
            self.wait = (self.wait * 2.0).min(LONGEST_WAIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(mut breaker: Breaker) -> Breaker {
        for _ in 0..OPENS_AFTER {
            assert_eq!(breaker.verdict(0.0), Verdict::Pass);
            breaker.unanswered(Found::Dead, false, 0.0, 0.0);
        }
        breaker
    }

    fn known() -> Breaker {
        let mut breaker = Breaker::new();
        breaker.alive();
        breaker
    }

    #[test]
    fn an_answer_between_keeps_it_closed() {
        let mut breaker = Breaker::new();
        for _ in 0..20 {
            for _ in 0..OPENS_AFTER - 1 {
                breaker.unanswered(Found::Dead, false, 0.0, 0.0);
            }
            assert!(!breaker.alive());
        }
        assert_eq!(breaker.verdict(0.0), Verdict::Pass);
    }

    #[test]
    fn probes_come_alone_and_ever_later() {
        let mut breaker = open(known());
        let mut now = 0.0;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let Verdict::Wait(until) = breaker.verdict(now) else { panic!("it waits") };
            waits.push(until - now);
            now = until;
            assert_eq!(breaker.verdict(now), Verdict::Probe);
            breaker.probe();
            assert!(matches!(breaker.verdict(now), Verdict::Wait(_)));
            // One that was in flight before is no probe.
            breaker.unanswered(Found::Dead, false, 0.0, now);
            assert!(matches!(breaker.verdict(now), Verdict::Wait(until) if until > now + 100.0));
            breaker.unanswered(Found::Dead, true, 0.0, now);
        }
        assert_eq!(waits, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        breaker.probe();
        assert!(breaker.alive());
        assert_eq!(breaker.verdict(now), Verdict::Pass);
    }

    #[test]
    fn a_lost_probe_is_followed_by_another() {
        let mut breaker = open(known());
        breaker.probe();
        breaker.probe_lost(3.0);
        assert_eq!(breaker.verdict(3.0), Verdict::Probe);
    }

    #[test]
    fn a_known_endpoint_is_waited_for_a_quarter_of_an_hour() {
        let breaker = open(known());
        assert_eq!(breaker.verdict(899.0), Verdict::Probe);
        assert_eq!(breaker.verdict(900.0), Verdict::GiveUp(900.0));
    }

    #[test]
    fn an_endpoint_that_never_answered_is_given_up_soon() {
        let mut breaker = open(Breaker::new());
        assert_eq!(breaker.verdict(20.0), Verdict::Probe);
        for _ in OPENS_AFTER..HOPELESS {
            breaker.unanswered(Found::Dead, false, 0.0, 1.0);
        }
        assert_eq!(breaker.verdict(14.0), Verdict::Probe);
        assert_eq!(breaker.verdict(15.0), Verdict::GiveUp(15.0));
        // While the last probe is under way it may still be answered.
        breaker.probe();
        assert_eq!(breaker.verdict(15.0), Verdict::Wait(f64::INFINITY));
    }

    #[test]
    fn one_that_says_it_is_busy_is_given_time_to_start() {
        let mut breaker = Breaker::new();
        for _ in 0..HOPELESS {
            breaker.unanswered(Found::Busy, false, 0.0, 0.0);
        }
        assert_eq!(breaker.verdict(299.0), Verdict::Probe);
        assert_eq!(breaker.verdict(900.0), Verdict::GiveUp(900.0));
    }
}
