//! One measured property: what is good, what it weighs, and how many of them become a score.

use std::fmt::Write as _;

/// Where a value earns full credit and where none; linear between.
#[derive(Clone, Copy)]
pub(super) enum Good {
    /// None at the first number or below, full from the second.
    AtLeast(f64, f64),
    /// Full up to the first number, none from the second.
    AtMost(f64, f64),
    /// None outside the outer numbers, full within the inner.
    Between(f64, f64, f64, f64),
}

impl Good {
    fn credit(self, value: f64) -> f64 {
        let ramp = |none: f64, full: f64| ((value - none) / (full - none)).clamp(0.0, 1.0);
        match self {
            Self::AtLeast(none, full) | Self::AtMost(full, none) => ramp(none, full),
            Self::Between(none, full, full_to, none_from) => ramp(none, full).min(ramp(none_from, full_to)),
        }
    }
}

/// A row of a table: a name, what is good, the share of the score it can take, and how it is measured.
pub(super) struct Signal<T> {
    name: &'static str,
    good: Good,
    weight: f64,
    measure: fn(&T) -> Option<f64>,
}

/// Writes a row of a table. `measure` answers `None` where the text offers nothing to measure: no credit is lost.
pub(super) const fn signal<T>(
    name: &'static str,
    good: Good,
    weight: f64,
    measure: fn(&T) -> Option<f64>,
) -> Signal<T> {
    Signal { name, good, weight, measure }
}

/// The quality in 0..=1 and the rationale: each value, with its factor where it cost something.
pub(super) fn weigh<T>(signals: &[Signal<T>], measured: &T) -> (f64, String) {
    let (mut quality, mut rationale) = (1.0, String::new());
    for signal in signals {
        let Some(value) = (signal.measure)(measured) else { continue };
        let factor = 1.0 - signal.weight * (1.0 - signal.good.credit(value));
        quality *= factor;
        let separator = if rationale.is_empty() { "" } else { "; " };
        let rounded = (value * 100.0).round() / 100.0;
        // Writing to a String cannot fail.
        let _ = write!(rationale, "{separator}{} {rounded}", signal.name);
        if factor < 0.995 {
            let _ = write!(rationale, " (×{factor:.2})");
        }
    }
    (quality, rationale)
}

/// `part / whole`, or `None` where there is no whole.
pub(super) fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_linear_between_none_and_full() {
        let credits = |good: Good, values: [f64; 3]| format!("{:?}", values.map(|value| good.credit(value)));
        assert_eq!(credits(Good::AtLeast(0.0, 4.0), [-1.0, 1.0, 9.0]), "[0.0, 0.25, 1.0]");
        assert_eq!(credits(Good::AtMost(1.0, 5.0), [0.0, 2.0, 9.0]), "[1.0, 0.75, 0.0]");
        assert_eq!(credits(Good::Between(0.0, 2.0, 4.0, 8.0), [1.0, 3.0, 7.0]), "[0.5, 1.0, 0.25]");
    }

    #[test]
    fn a_rationale_names_each_value_and_what_it_cost() {
        let table = [
            signal("halves", Good::AtLeast(0.0, 1.0), 0.5, |value: &f64| Some(*value)),
            signal("absent", Good::AtLeast(0.0, 1.0), 0.5, |_| None),
            signal("wholes", Good::AtMost(1.0, 2.0), 1.0, |value| Some(*value)),
        ];
        assert_eq!(weigh(&table, &0.5), (0.75, "halves 0.5 (×0.75); wholes 0.5".to_owned()));
    }
}
