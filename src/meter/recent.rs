//! What was sent in the last minute, in bins of half a second.

use super::Seconds;

/// Bins of a minute.
const BINS: usize = 120;

/// The length of a bin.
const BIN: Seconds = 0.5;

/// A sliding count of requests or tokens over the last minute.
#[derive(Debug)]
pub(super) struct Recent {
    bins: Box<[f64; BINS]>,
    /// The number of the newest bin since the beginning.
    newest: u64,
    sum: f64,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { bins: Box::new([0.0; BINS]), newest: 0, sum: 0.0 }
    }

    /// Counts `amount`, which may be a correction below zero, at the time `at`; older than a minute it counts nothing.
    pub(super) fn add(&mut self, at: Seconds, amount: f64) {
        let bin = number(at);
        self.forget(bin);
        if bin + BINS as u64 > self.newest {
            self.bins[slot(bin)] += amount;
            self.sum += amount;
        }
    }

    /// What the last minute holds.
    pub(super) fn sum(&mut self, now: Seconds) -> f64 {
        self.forget(number(now));
        self.sum.max(0.0)
    }

    /// What was sent at `at` or later, as exactly as the bins are.
    pub(super) fn since(&self, at: Seconds) -> f64 {
        let oldest = (self.newest + 1).saturating_sub(BINS as u64);
        (number(at).max(oldest)..=self.newest).map(|bin| self.bins[slot(bin)]).sum()
    }

    /// When the next unit would be due, had all of this minute been paced at `interval` seconds a unit.
    pub(super) fn replay(&mut self, interval: Seconds, now: Seconds) -> Seconds {
        self.forget(number(now));
        let oldest = self.newest.saturating_sub(BINS as u64 - 1);
        (oldest..=self.newest).fold(0.0, |due: Seconds, bin| match self.bins[slot(bin)] {
            amount if amount > 0.0 => due.max(bin as f64 * BIN) + amount * interval,
            _ => due,
        })
    }

    /// Empties the bins that `bin` makes older than a minute.
    fn forget(&mut self, bin: u64) {
        let steps = bin.saturating_sub(self.newest).min(BINS as u64);
        for step in 0..steps {
            let old = &mut self.bins[slot(bin - step)];
            self.sum -= *old;
            *old = 0.0;
        }
        self.newest = self.newest.max(bin);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times are not negative")]
fn number(at: Seconds) -> u64 {
    (at / BIN) as u64
}

#[expect(clippy::cast_possible_truncation, reason = "below BINS")]
fn slot(bin: u64) -> usize {
    (bin % BINS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_later_nothing_is_left() {
        let mut recent = Recent::new();
        recent.add(0.0, 8.0);
        recent.add(30.0, 2.0);
        assert!((recent.sum(59.0) - 10.0).abs() < 1e-9);
        assert!((recent.sum(61.0) - 2.0).abs() < 1e-9);
        assert!(recent.sum(10_000.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_sent_since_then_is_counted() {
        let mut recent = Recent::new();
        for at in [0.0, 10.0, 20.0, 20.4, 30.0] {
            recent.add(at, 1.0);
        }
        assert!((recent.since(20.2) - 3.0).abs() < 1e-9);
        assert!((recent.since(0.0) - 5.0).abs() < 1e-9);
        recent.add(75.0, 1.0);
        assert!((recent.since(0.0) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_correction_goes_to_its_own_time() {
        let mut recent = Recent::new();
        recent.add(1.0, 100.0);
        recent.add(50.0, 10.0);
        recent.add(1.0, -60.0);
        assert!((recent.sum(50.0) - 50.0).abs() < 1e-9);
        assert!((recent.sum(62.0) - 10.0).abs() < 1e-9);
        // Too late: what it corrects is gone.
        recent.add(1.0, -40.0);
        assert!((recent.sum(62.0) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn a_burst_is_due_for_as_long_as_it_would_have_taken() {
        let mut recent = Recent::new();
        recent.add(0.0, 8.0);
        assert!((recent.replay(1.0, 2.0) - 8.0).abs() < 1e-9);
        recent.add(20.0, 1.0);
        assert!((recent.replay(1.0, 30.0) - 21.0).abs() < 1e-9);
    }
}
