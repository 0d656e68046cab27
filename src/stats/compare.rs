//! Whether the mean of one sample is below that of another by more than chance explains.
//!
//! Both samples are taken for samples of what makes the data, which has no end: no correction for a finite dataset.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::factorial::ln_binomial;

use super::{Interval, student};

/// A mean, and how far chance takes it from that of what was sampled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Its standard error.
    pub error: f64,
    /// Degrees of freedom of the error: one less than the units that were drawn, which are rows, or the files of a sample in
    /// two stages.
    pub freedom: u64,
}

impl Estimate {
    /// The 95 % interval, mean ± t · error; None without a degree of freedom.
    pub fn interval(&self) -> Option<Interval> {
        let half = student(self.freedom)? * self.error;
        Some(Interval { low: self.mean - half, high: self.mean + half })
    }

    /// Whether the units differ, beyond what rounding makes of equal ones.
    fn varies(&self) -> bool {
        self.error > 1e-12 * self.mean.abs().max(1.0)
    }

    /// Rows, or files, that were drawn.
    fn units(&self) -> u64 {
        self.freedom.saturating_add(1)
    }
}

/// How two means were compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Welch's t-test.
    Welch {
        /// The difference over its standard error.
        t: f64,
        /// Degrees of freedom by Welch and Satterthwaite.
        freedom: f64,
    },
    /// An exact test by permutations: neither sample has spread.
    Permutation {
        /// Units of the earlier and of the later sample.
        units: (u64, u64),
    },
}

/// One mean beside an earlier one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The later mean less the earlier one.
    pub difference: f64,
    /// How probable a difference as low as this is, if nothing changed.
    pub drop: f64,
    /// How probable a difference as high as this is, if nothing changed.
    pub rise: f64,
    /// By which test.
    pub method: Method,
}

/// Compares the mean of a later sample with that of an earlier one.
///
/// Where a sample has spread it is Welch's t-test, with the standard errors and degrees of freedom of both. Where neither
/// has, t is not defined; of all ways to deal the values out to two samples of these sizes, one alone gives this
/// difference, so its probability is 1/C(n₁ + n₂, n₁).
///
/// Sources: B. L. Welch, "The Generalization of 'Student's' Problem when Several Different Population Variances are
/// Involved", Biometrika 34 (1947) 28–35; R. A. Fisher, "The Design of Experiments" (1935), section 21.
pub fn compare(before: &Estimate, after: &Estimate) -> Comparison {
    let difference = after.mean - before.mean;
    if !before.varies() && !after.varies() {
        let units = (before.units(), after.units());
        let one = (-ln_binomial(units.0.saturating_add(units.1), units.0)).exp();
        let differ = difference.abs() > 1e-12 * before.mean.abs().max(1.0);
        let (drop, rise) = match differ {
            true if difference < 0.0 => (one, 1.0),
            true => (1.0, one),
            false => (1.0, 1.0),
        };
        return Comparison { difference, drop, rise, method: Method::Permutation { units } };
    }
    let (one, other) = (before.error.powi(2), after.error.powi(2));
    let t = difference / (one + other).sqrt();
    let part = |variance: f64, freedom: u64| {
        // Without spread it adds no uncertainty, whatever its size.
        if variance > 0.0 { variance * variance / freedom.max(1) as f64 } else { 0.0 }
    };
    let freedom = (one + other).powi(2) / (part(one, before.freedom) + part(other, after.freedom));
    let drop = below(t, freedom);
    Comparison { difference, drop, rise: below(-t, freedom), method: Method::Welch { t, freedom } }
}

/// The probability that Student's t is at most this.
///
/// The library's continued fraction does not converge at many degrees of freedom (statrs 0.19.1 ends it after 140 steps), so
/// past 1,000 it is the normal distribution at M. Abramowitz and I. A. Stegun, "Handbook of Mathematical Functions" (1964),
/// 26.7.8, which is then exact to 4 digits or more where the probability is above 10⁻⁶.
fn below(t: f64, freedom: f64) -> f64 {
    if freedom <= 1000.0 {
        return StudentsT::new(0.0, 1.0, freedom).map_or(f64::NAN, |student| student.cdf(t));
    }
    let z = t * (1.0 - 1.0 / (4.0 * freedom)) / (1.0 + t * t / (2.0 * freedom)).sqrt();
    Normal::standard().cdf(z)
}

#[cfg(test)]
mod tests {
    use super::super::{Clusters, Mean};
    use super::*;

    fn estimate(values: &[f64]) -> Estimate {
        let mut mean = Mean::default();
        for value in values {
            mean.push(*value);
        }
        mean.estimate().unwrap()
    }

    fn close(actual: f64, expected: f64) {
        assert!((actual - expected).abs() <= 1e-9 * expected.abs().max(1e-9), "{actual} is not {expected}");
    }

    const BEFORE: [f64; 7] = [1.0, 1.5, 2.0, 2.5, 3.0, 2.0, 2.5];

    // The expected numbers below are scipy 1.17's: Welch's test for two independent samples, the alternative "less", and `t.cdf`.

    #[test]
    fn welchs_test_agrees_with_scipy() {
        let compared = compare(&estimate(&BEFORE), &estimate(&[1.0, 1.5, 1.0, 2.0, 1.5]));
        let Method::Welch { t, freedom } = compared.method else { panic!("{compared:?}") };
        close(t, -2.127_226_806_965_767_4);
        close(freedom, 9.902_204_034_945_141);
        close(compared.drop, 0.029_781_981_712_783_324);
        close(compared.rise, 1.0 - 0.029_781_981_712_783_324);
    }

    #[test]
    fn a_sample_without_spread_is_taken_as_it_is_beside_one_that_has_some() {
        let compared = compare(&estimate(&[2.0, 2.0, 2.0]), &estimate(&[1.0, 1.5, 2.0]));
        let Method::Welch { t, freedom } = compared.method else { panic!("{compared:?}") };
        close(t, -1.732_050_807_568_877_4);
        close(freedom, 2.0);
        close(compared.drop, 0.112_701_665_379_258_33);
    }

    #[test]
    fn the_t_distribution_agrees_with_scipy() {
        for (t, freedom, expected) in [
            (-2.5, 3.7, 0.035_911_011_455_913_39),
            (-1.0, 1.0, 0.25),
            (0.5, 10.25, 0.686_182_800_993_710_3),
            (-4.0, 250.5, 4.171_302_605_337_780_4e-5),
            (-40.0, 30.0, 6.863_022_597_203_209e-28),
        ] {
            let actual = below(t, freedom);
            assert!((actual / expected - 1.0).abs() < 1e-8, "{t} {freedom}: {actual} is not {expected}");
        }
        for (t, freedom, expected) in [
            (-3.0, 1000.5, 0.001_383_337_693_573_115_5),
            (-3.0, 2500.0, 0.001_363_228_405_676_494_7),
            (-5.0, 1e6, 2.866_998_935_445_372e-7),
            (-2.326_347_874_040_840_8, 1e9, 0.010_000_000_099_387_825),
            (1.2, 5e4, 0.884_927_486_909_746),
        ] {
            let actual = below(t, freedom);
            assert!((actual / expected - 1.0).abs() < 1e-4, "{t} {freedom}: {actual} is not {expected}");
        }
    }

    #[test]
    fn samples_without_spread_are_compared_by_permutations() {
        let compared = compare(&estimate(&[2.0; 5]), &estimate(&[1.5; 5]));
        assert_eq!(compared.method, Method::Permutation { units: (5, 5) });
        close(compared.drop, 1.0 / 252.0);
        close(compared.rise, 1.0);
        close(compare(&estimate(&[2.0; 3]), &estimate(&[2.5; 3])).rise, 1.0 / 20.0);
        let same = compare(&estimate(&[2.0; 5]), &estimate(&[2.0; 9]));
        close(same.drop, 1.0);
        close(same.rise, 1.0);
        assert!(compare(&estimate(&[3.0; 1000]), &estimate(&[1.0; 900])).drop < 1e-100);
    }

    #[test]
    fn the_same_sample_twice_is_no_drop_and_no_rise() {
        let compared = compare(&estimate(&BEFORE), &estimate(&BEFORE));
        close(compared.drop, 0.5);
        close(compared.difference, 0.0);
    }

    #[test]
    fn a_sample_in_two_stages_has_a_degree_of_freedom_less_than_files() {
        let mut clusters = Clusters::default();
        for (file, value) in [1.0, 2.0, 4.0, 5.0].into_iter().enumerate() {
            (0..10).for_each(|_| clusters.push(file, value));
        }
        // Ten rows of a file that are all alike say no more than one.
        let (two_stages, rows) = (clusters.estimate().unwrap(), estimate(&[1.0, 2.0, 4.0, 5.0]));
        assert_eq!(two_stages.freedom, 3);
        close(two_stages.error, rows.error);
    }

    #[test]
    fn an_interval_is_that_of_an_endless_population() {
        let mut mean = Mean::default();
        for value in BEFORE {
            mean.push(value);
        }
        assert_eq!(mean.estimate().unwrap().interval(), mean.interval(None));
    }
}
