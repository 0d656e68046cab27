//! How many rows have which score: a few counts, however many rows there are.

use serde::{Deserialize, Serialize};

use crate::lens::{Lens, Scale};

/// Bins of a score that may be any number on its scale.
const RANGES: usize = 20;

/// Counts of rows in bins of equal width.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// What a bin stands for.
    pub bins: Bins,
    /// The lowest value: that of the first bin, or where it begins.
    pub low: f64,
    /// The highest value: that of the last bin, or where it ends.
    pub high: f64,
    /// Rows of each bin.
    pub counts: Vec<u64>,
}

/// What the bins of a histogram stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bins {
    /// Each for one of the values that the lens lets a score have; a mean over chunks goes to the nearest.
    Values,
    /// Each for its part of the scale, its lower end included.
    #[default]
    Ranges,
}

impl Histogram {
    /// The value of a bin, or where it begins and ends.
    pub fn bin(&self, at: usize) -> (f64, f64) {
        let last = self.counts.len().max(1);
        match self.bins {
            Bins::Values => {
                let value = self.low + (self.high - self.low) * at as f64 / (last.max(2) - 1) as f64;
                (value, value)
            }
            Bins::Ranges => {
                let edge = |at: usize| self.low + (self.high - self.low) * at as f64 / last as f64;
                (edge(at), edge(at + 1))
            }
        }
    }
}

/// Counts the values of one score as they come.
///
/// Whether a rater keeps to the lens's values shows only as it answers: the built-in one does not, whatever the lens says.
/// So both ways are counted until then.
#[derive(Debug, Clone)]
pub struct Counter {
    scale: Scale,
    /// Rows by value; empty of a score that may be any number.
    values: Vec<u64>,
    ranges: [u64; RANGES],
    /// Whether an answer was met that is none of the values.
    is_free: bool,
}

impl Counter {
    /// A counter for a score of the lens.
    pub fn new(lens: &Lens, score: &str) -> Self {
        let steps = lens.steps(score);
        let scale = match (steps.first(), steps.last()) {
            (Some(&low), Some(&high)) => Scale { low, high },
            _ => lens.scale_of(score),
        };
        Self { scale, values: vec![0; steps.len()], ranges: [0; RANGES], is_free: false }
    }

    /// Counts the score of one row, and sees the answers that it is the mean of.
    pub fn add(&mut self, score: f64, answers: impl IntoIterator<Item = f64>) {
        if !self.values.is_empty() {
            let last = self.values.len() - 1;
            let place = |value: f64| self.place(value) * last as f64;
            let is_off = |answer| (place(answer) - place(answer).round()).abs() > 1e-6;
            let any_off = answers.into_iter().any(is_off);
            let at = index(place(score) + 0.5, last);
            self.is_free |= any_off;
            self.values[at] += 1;
        }
        let at = index(self.place(score) * RANGES as f64, RANGES - 1);
        self.ranges[at] += 1;
    }

    /// What was counted.
    pub fn histogram(&self) -> Histogram {
        let (bins, counts) = if self.values.is_empty() || self.is_free {
            (Bins::Ranges, self.ranges.to_vec())
        } else {
            (Bins::Values, self.values.clone())
        };
        Histogram { bins, low: self.scale.low, high: self.scale.high, counts }
    }

    /// Where on the scale a value lies, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let width = self.scale.high - self.scale.low;
        if width > 0.0 { ((value - self.scale.low) / width).clamp(0.0, 1.0) } else { 0.0 }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at least 0, and bounded by `last`"
)]
fn index(place: f64, last: usize) -> usize {
    // What lies on an edge by its decimals may lie a rounding below it.
    ((place + 1e-9) as usize).min(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(score: &str) -> Counter {
        Counter::new(&crate::lens::open("textbook_quality", &[]).unwrap(), score)
    }

    #[test]
    fn scores_in_halves_have_a_bin_each() {
        let mut counter = counter("overall");
        for score in [1.0, 1.5, 1.5, 3.0] {
            counter.add(score, [score]);
        }
        // The mean of two chunks goes to the nearest, upwards from the middle.
        counter.add(2.25, [2.0, 2.5]);
        let histogram = counter.histogram();
        assert_eq!((histogram.bins, &histogram.counts[..]), (Bins::Values, &[1, 2, 0, 1, 1][..]));
        assert_eq!(histogram.bin(3), (2.5, 2.5));
    }

    #[test]
    fn scores_that_are_any_number_have_twenty_bins() {
        let mut counter = counter("overall");
        for score in [1.0, 1.099, 1.1, 2.0, 2.973, 3.0] {
            counter.add(score, [score]);
        }
        let histogram = counter.histogram();
        assert_eq!(histogram.bins, Bins::Ranges);
        let filled: Vec<_> = histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0).collect();
        assert_eq!(filled, [(0, &2), (1, &1), (10, &1), (19, &2)]);
        let (low, high) = histogram.bin(10);
        assert!((low - 2.0).abs() < 1e-12 && (high - 2.1).abs() < 1e-12);
    }

    #[test]
    fn what_is_off_the_scale_is_counted_at_its_end() {
        let mut counter = counter("overall");
        counter.add(-5.0, [1.0]);
        counter.add(f64::NAN, [1.0]);
        counter.add(1e300, [1.0]);
        assert_eq!(counter.histogram().counts.iter().sum::<u64>(), 3);
    }
}
