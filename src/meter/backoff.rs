//! Pauses that everyone keeps: those a server asks for, and our own where its word does not hold.

use super::Seconds;

/// The longest that a server's `Retry-After` is believed.
const LONGEST_ASKED: Seconds = 600.0;

/// Our own pause after a first refusal; it doubles with every further one.
const FIRST: Seconds = 1.0;

/// The longest of our own pauses.
const LONGEST: Seconds = 30.0;

/// What an accepted request says of the refusals before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing new.
    Nothing,
    /// It began between the last two, and was long in coming: the last one is the first of its row.
    Between,
    /// It began after the last one: the row is over.
    Last,
}

/// Refusals in a row, and the pause that they led to.
#[derive(Debug)]
pub(super) struct Backoff {
    /// Refusals without an accepted request between them; those that were in flight together are one.
    in_a_row: u32,
    /// Attempts that began before it belong to the refusal that was then.
    refused_at: Seconds,
    /// When the refusal before that was.
    before: Seconds,
    until: Seconds,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self {
            in_a_row: 0,
            refused_at: f64::NEG_INFINITY,
            before: f64::NEG_INFINITY,
            until: f64::NEG_INFINITY,
        }
    }

    /// Until when no attempt may start.
    pub(super) fn until(&self) -> Seconds {
        self.until
    }

    /// Lets nothing start for as long as the server `asked`.
    pub(super) fn pause(&mut self, asked: Seconds, now: Seconds) {
        self.until = self.until.max(now + asked.min(LONGEST_ASKED));
    }

    /// An attempt that began at `started` was refused for a limit. Returns which refusal in a row it is, if it is not
    /// one of those that were in flight together with the last.
    pub(super) fn refused(&mut self, started: Seconds, asked: Option<Seconds>, now: Seconds) -> Option<u32> {
        self.pause(asked.unwrap_or(0.0), now);
        if started <= self.refused_at {
            return None;
        }
        self.before = self.refused_at;
        self.refused_at = now;
        self.in_a_row += 1;
        Some(self.in_a_row)
    }

    /// The pause that the refusal number `in_a_row` calls for. The first is the server's to say, if it says anything.
    /// `jitter`, between 0 and 1, keeps the programs that share an account apart.
    pub(super) fn own(&mut self, in_a_row: u32, (jitter, longest): (f64, Seconds), now: Seconds) {
        let wait =
            (FIRST * 2_f64.powi(in_a_row.saturating_sub(1).min(16).cast_signed())).min(longest.min(LONGEST));
        self.until = self.until.max(now + wait * (1.0 + 0.25 * jitter));
    }

    /// An attempt that began at `started` was accepted.
    pub(super) fn accepted(&mut self, started: Seconds) -> After {
        let (in_a_row, after) = match self.in_a_row {
            1.. if started > self.refused_at => (0, After::Last),
            2.. if started > self.before => (1, After::Between),
            same => (same, After::Nothing),
        };
        self.in_a_row = in_a_row;
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_one_moment_are_one() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.refused(0.0, Some(3.0), 1.0), Some(1));
        assert_eq!(backoff.refused(0.5, Some(3.0), 1.1), None);
        assert!((backoff.until() - 4.1).abs() < 1e-9);
        assert_eq!(backoff.refused(4.1, Some(1.0), 4.2), Some(2));
    }

    #[test]
    fn a_server_that_always_says_one_second_is_waited_for_ever_longer() {
        let mut backoff = Backoff::new();
        let mut now = 0.0;
        let mut waits = Vec::new();
        for _ in 0..9 {
            let Some(in_a_row) = backoff.refused(now, Some(1.0), now) else { panic!("a new one") };
            if in_a_row > 1 {
                backoff.own(in_a_row, (0.0, f64::INFINITY), now);
            }
            waits.push(backoff.until() - now);
            now = backoff.until() + 0.1;
        }
        let rounded: Vec<f64> = waits.iter().map(|wait| wait.round()).collect();
        assert_eq!(rounded, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]);
        // One that began before the refusal says nothing of it.
        assert_eq!(backoff.accepted(0.0), After::Nothing);
        assert_eq!(backoff.accepted(now), After::Last);
        assert_eq!(backoff.refused(now + 1.0, None, now + 1.0), Some(1));
    }

    #[test]
    fn an_answer_that_was_long_in_coming_still_parts_two_refusals() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.refused(0.0, None, 0.1), Some(1));
        assert_eq!(backoff.refused(3.0, None, 3.1), Some(2));
        assert_eq!(backoff.accepted(2.0), After::Between);
        assert_eq!(backoff.accepted(2.5), After::Nothing);
        assert_eq!(backoff.refused(6.0, None, 6.1), Some(2));
    }

    #[test]
    fn no_server_is_believed_for_more_than_ten_minutes() {
        let mut backoff = Backoff::new();
        backoff.refused(0.0, Some(86_400.0), 5.0);
        assert!((backoff.until() - 605.0).abs() < 1e-9);
    }
}
