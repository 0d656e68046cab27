//! Per row and lens: in = rated + from cache + duplicate + failed (by reason) + empty + screened + not reached.

use std::collections::BTreeMap;
use std::fmt;

use super::Fate;
use super::failure::Reason;

/// Where every row went. It always balances: `rows` is given, the rest is counted, what is left was not reached.
///
/// Of a stream nobody knows how many rows it has before its end; then it is not known either how many were not reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Rows that the run meant to rate, once that is known.
    pub rows: Option<u64>,
    /// Asked in this run and answered.
    pub rated: u64,
    /// Answered by the store alone.
    pub cached: u64,
    /// Answered by another row of this run that asked the same.
    pub duplicate: u64,
    /// Without an answer, by reason.
    pub failed: BTreeMap<Reason, u64>,
    /// A field was missing or blank.
    pub empty: u64,
    /// A cheaper rater kept them from being asked about.
    pub screened: u64,
}

impl Ledger {
    /// Counts one rating.
    pub fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Rated => self.rated += 1,
            Fate::Cached => self.cached += 1,
            Fate::Duplicate => self.duplicate += 1,
            Fate::Failed(reason) => *self.failed.entry(reason).or_default() += 1,
            Fate::Empty => self.empty += 1,
            Fate::Screened => self.screened += 1,
        }
    }

    /// Rows with an answer.
    pub fn answered(&self) -> u64 {
        self.rated + self.cached + self.duplicate
    }

    /// Failed rows, all reasons together.
    pub fn all_failed(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Rows that were reached.
    pub fn reached(&self) -> u64 {
        self.answered() + self.all_failed() + self.empty + self.screened
    }

    /// Rows that the run stopped before, where it is known how many there are.
    pub fn not_reached(&self) -> Option<u64> {
        self.rows.map(|rows| rows.saturating_sub(self.reached()))
    }

    /// Failed rows as a share of those that were tried: empty rows and rows not reached do not count.
    pub fn failed_share(&self) -> f64 {
        self.share(self.all_failed())
    }

    /// The share of those that failed for the state of the endpoint, and may be rated when they are asked again.
    pub fn passing_share(&self) -> f64 {
        self.share(
            self.failed
                .iter()
                .filter(|(reason, _)| !reason.is_of_the_question())
                .map(|(_, count)| count)
                .sum(),
        )
    }

    fn share(&self, failed: u64) -> f64 {
        let tried = self.answered() + self.all_failed();
        if tried == 0 { 0.0 } else { failed as f64 / tried as f64 }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |rows: Option<u64>| rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string());
        write!(
            f,
            "{} in = {} rated + {} from cache + {} duplicate + {} failed + {} empty",
            known(self.rows),
            self.rated,
            self.cached,
            self.duplicate,
            self.all_failed(),
            self.empty,
        )?;
        // Only a cascade screens.
        if self.screened > 0 {
            write!(f, " + {} screened", self.screened)?;
        }
        write!(f, " + {} not reached", known(self.not_reached()))?;
        if !self.failed.is_empty() {
            let by_reason: Vec<String> =
                self.failed.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
            write!(f, " (failed: {})", by_reason.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_counted_was_not_reached() {
        let mut ledger = Ledger { rows: Some(10), ..Ledger::default() };
        for fate in [Fate::Rated, Fate::Cached, Fate::Duplicate, Fate::Empty, Fate::Failed(Reason::Refusal)] {
            ledger.add(fate);
        }
        insta::assert_snapshot!(ledger, @"10 in = 1 rated + 1 from cache + 1 duplicate + 1 failed + 1 empty + 5 not reached (failed: refusal 1)");
    }

    #[test]
    fn of_a_stream_it_is_not_known_what_was_not_reached() {
        let mut ledger = Ledger::default();
        ledger.add(Fate::Rated);
        assert_eq!((ledger.reached(), ledger.not_reached()), (1, None));
        insta::assert_snapshot!(ledger, @"? in = 1 rated + 0 from cache + 0 duplicate + 0 failed + 0 empty + ? not reached");
    }

    #[test]
    fn empty_rows_do_not_count_as_tried() {
        let mut ledger = Ledger { rows: Some(3), ..Ledger::default() };
        ledger.add(Fate::Empty);
        assert!(ledger.failed_share().abs() < f64::EPSILON);
        ledger.add(Fate::Rated);
        ledger.add(Fate::Failed(Reason::Timeout));
        assert!((ledger.failed_share() - 0.5).abs() < f64::EPSILON);
        assert!((ledger.passing_share() - 0.5).abs() < f64::EPSILON);
    }
}
