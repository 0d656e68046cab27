//! What a sample says about the whole: means and proportions with 95 % intervals, whether one mean is below another, and
//! rank correlation.
//!
//! Everything that meets a row is streamed: a [`Mean`] is three numbers, however many values it has seen.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

pub mod compare;

use compare::Estimate;

/// An interval of 95 % confidence, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The probability below the upper end of a two-sided 95 % interval.
const UPPER: f64 = 0.975;

/// A running mean and variance, numerically stable in one pass.
///
/// Source: B. P. Welford, "Note on a Method for Calculating Corrected Sums of Squares and Products",
/// Technometrics 4 (1962) 419–420.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mean {
    count: u64,
    centre: f64,
    squares: f64,
}

impl Mean {
    /// Takes in one value, which must be finite: a NaN would make the mean NaN from then on.
    pub fn push(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.centre;
        self.centre += before / self.count as f64;
        self.squares += before * (value - self.centre);
    }

    /// How many values were taken in.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The arithmetic mean, if there is a value.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.centre)
    }

    /// The sample variance, with divisor n − 1, if there are two values.
    pub fn variance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.squares / (self.count - 1) as f64)
    }

    /// The mean with its standard error s/√n, as of a sample of an endless population; None of fewer than two values.
    pub fn estimate(&self) -> Option<Estimate> {
        let error = (self.variance()? / self.count as f64).sqrt();
        Some(Estimate { mean: self.centre, error, freedom: self.count - 1 })
    }

    /// The 95 % interval of the mean of the `population` of N rows from which the values were drawn without
    /// replacement, or of an endless one if N is unknown: mean ± t · s/√n · √((N − n)/N), with Student's
    /// t of n − 1 degrees of freedom. A sample of the whole population (n ≥ N) has no uncertainty and gives
    /// the mean itself; otherwise fewer than two values say nothing, and all values equal give zero width.
    ///
    /// Sources: "Student", "The Probable Error of a Mean", Biometrika 6 (1908) 1–25; W. G. Cochran, "Sampling
    /// Techniques", 3rd ed. (1977), chapter 2, for the correction that goes with a variance of divisor n − 1.
    pub fn interval(&self, population: Option<u64>) -> Option<Interval> {
        let mean = self.mean()?;
        if population.is_some_and(|population| population <= self.count) {
            return Some(Interval { low: mean, high: mean });
        }
        let unseen =
            population.map_or(1.0, |population| (population - self.count) as f64 / population as f64);
        let error = (self.variance()? / self.count as f64 * unseen).sqrt();
        let half = student(self.count - 1)? * error;
        Some(Interval { low: mean - half, high: mean + half })
    }
}

/// The 95 % interval of a proportion, from `successes` among `n` rows drawn without replacement from a
/// `population` of N rows, or from an endless one if N is unknown: Wilson's score interval, for the sample
/// size n · (N − 1)/(N − n) that would be as exact with replacement. A sample of the whole population
/// (n ≥ N) gives the proportion itself. None if `n` is 0 or less than `successes`.
///
/// Sources: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", J. Am. Stat.
/// Assoc. 22 (1927) 209–212; the variance P(1 − P)/n · (N − n)/(N − 1), from which the sample size follows, is
/// from W. G. Cochran, "Sampling Techniques", 3rd ed. (1977), chapter 3.
pub fn proportion(successes: u64, n: u64, population: Option<u64>) -> Option<Interval> {
    if n == 0 || successes > n {
        return None;
    }
    let share = successes as f64 / n as f64;
    if population.is_some_and(|population| population <= n) {
        return Some(Interval { low: share, high: share });
    }
    Some(wilson(share, n as f64 / unseen(n, population)))
}

/// Wilson's score interval of a share that was seen in `n` rows.
fn wilson(share: f64, n: f64) -> Interval {
    let z = Normal::standard().inverse_cdf(UPPER);
    let spread = z * z / n;
    let centre = (share + spread / 2.0) / (1.0 + spread);
    let half = (share * (1.0 - share) * spread + spread * spread / 4.0).sqrt() / (1.0 + spread);
    // The bounds hold in exact arithmetic; rounding must not put a certain 0 or 1 outside.
    Interval { low: (centre - half).clamp(0.0, share), high: (centre + half).clamp(share, 1.0) }
}

/// Values of rows that were drawn in two stages: clusters by their size, then rows within them.
///
/// Rows of one cluster are more alike than rows of all, so what is known depends on how many clusters were drawn, and
/// not only on how many rows. The mean over the rows is a ratio of two sums over clusters; its variance is that of the
/// clusters' residuals, m/(m − 1) · Σ(tᵢ − nᵢ·mean)² / (Σnᵢ)², with tᵢ the sum and nᵢ the number of values of cluster i,
/// as if the m clusters had been drawn with replacement, which errs on the wide side.
///
/// Source: W. G. Cochran, "Sampling Techniques", 3rd ed. (1977), sections 6.4 and 11.5 to 11.9.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Clusters(BTreeMap<usize, (u64, f64)>);

impl Clusters {
    /// Takes in one value, which must be finite, of a row of this cluster.
    pub fn push(&mut self, cluster: usize, value: f64) {
        let (count, sum) = self.0.entry(cluster).or_default();
        *count += 1;
        *sum += value;
    }

    /// The 95 % interval of the mean of all rows of all clusters, with Student's t of m − 1 degrees of freedom; None of
    /// fewer than two clusters.
    pub fn interval(&self) -> Option<Interval> {
        self.estimate()?.interval()
    }

    /// The mean of all rows with its standard error, which has m − 1 degrees of freedom; None of fewer than two clusters.
    pub fn estimate(&self) -> Option<Estimate> {
        let (mean, _, variance) = self.moments()?;
        Some(Estimate { mean, error: variance.sqrt(), freedom: self.0.len() as u64 - 1 })
    }

    /// The 95 % interval of a share, where each value is 0 or 1: Wilson's, for as many rows of a uniform sample as would
    /// have this variance. Where all values are the same nothing tells that number; it is then the number of clusters.
    pub fn proportion(&self) -> Option<Interval> {
        let (share, count, variance) = self.moments()?;
        let share = share.clamp(0.0, 1.0);
        let clusters = self.0.len() as f64;
        let rows = if variance > 0.0 { share * (1.0 - share) / variance } else { clusters };
        Some(wilson(share, rows.clamp(1.0, count)))
    }

    /// The mean, the number of values, and the variance of the mean.
    fn moments(&self) -> Option<(f64, f64, f64)> {
        let clusters = self.0.len() as f64;
        let (count, sum) =
            self.0.values().fold((0.0, 0.0), |(count, total), (n, sum)| (count + *n as f64, total + sum));
        let mean = sum / count;
        let squares: f64 = self.0.values().map(|(n, sum)| (sum - *n as f64 * mean).powi(2)).sum();
        (clusters >= 2.0).then(|| (mean, count, clusters / (clusters - 1.0) * squares / (count * count)))
    }
}

/// The finite-population correction of a variance, (N − n)/(N − 1), for n < N: that of a share, whose variance is
/// taken from the share itself.
fn unseen(n: u64, population: Option<u64>) -> f64 {
    population.map_or(1.0, |population| (population - n) as f64 / (population - 1) as f64)
}

/// The 97.5 % quantile of Student's t.
///
/// The library's root finding loses digits as the degrees of freedom grow, and does not return at 10⁹ of them
/// (statrs 0.19.1), so past 1,000 it is the expansion around the normal quantile, M. Abramowitz and
/// I. A. Stegun, "Handbook of Mathematical Functions" (1964), 26.7.5, which is then exact to 10⁻⁸.
fn student(freedom: u64) -> Option<f64> {
    if freedom <= 1000 {
        return Some(StudentsT::new(0.0, 1.0, freedom as f64).ok()?.inverse_cdf(UPPER));
    }
    let freedom = freedom as f64;
    let z = Normal::standard().inverse_cdf(UPPER);
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    Some(z + first / freedom + second / (freedom * freedom))
}

/// Spearman's rank correlation, −1 to 1: Pearson's correlation of the ranks, tied values sharing the mean of
/// theirs. None for fewer than two pairs, where one side is constant, and where a value is NaN.
///
/// Sources: C. Spearman, "The Proof and Measurement of Association between Two Things", Am. J. Psychol. 15
/// (1904) 72–101; ties as in M. G. Kendall, "Rank Correlation Methods" (1948), chapter 3.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.iter().any(|(x, y)| x.is_nan() || y.is_nan()) {
        return None;
    }
    let (xs, ys): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (xs, ys) = (ranks(&xs), ranks(&ys));
    // The mean of the ranks 1 to n, ties or not.
    let centre = f64::midpoint(1.0, pairs.len() as f64);
    let (mut both, mut x_only, mut y_only) = (0.0, 0.0, 0.0);
    for (x, y) in xs.iter().zip(&ys) {
        let (x, y) = (x - centre, y - centre);
        both += x * y;
        x_only += x * x;
        y_only += y * y;
    }
    (x_only > 0.0 && y_only > 0.0).then(|| (both / (x_only.sqrt() * y_only.sqrt())).clamp(-1.0, 1.0))
}

/// The rank of each value, 1 for the least; equal values share the mean of their ranks.
#[expect(clippy::float_cmp, reason = "a tie is two scores that are the same number")]
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].partial_cmp(&values[b]).unwrap_or(Ordering::Equal));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        for &at in tied {
            ranks[at] = below as f64 + f64::midpoint(1.0, tied.len() as f64);
        }
        below += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mean_of(values: &[f64]) -> Mean {
        let mut mean = Mean::default();
        for &value in values {
            mean.push(value);
        }
        mean
    }

    fn close(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-9, "{actual} is not {expected}");
    }

    fn is(actual: Option<Interval>, low: f64, high: f64) {
        let actual = actual.unwrap();
        close(actual.low, low);
        close(actual.high, high);
    }

    fn width(interval: Option<Interval>) -> f64 {
        interval.map(|interval| interval.high - interval.low).unwrap()
    }

    #[test]
    fn rows_of_one_cluster_that_are_all_alike_count_as_one_row() {
        let mut clusters = Clusters::default();
        let mut means = Mean::default();
        for (cluster, value) in [1.0, 2.0, 4.0, 5.0].into_iter().enumerate() {
            (0..10).for_each(|_| clusters.push(cluster, value));
            means.push(value);
        }
        // Ten times the same says no more than once.
        let expected = means.interval(None).unwrap();
        is(clusters.interval(), expected.low, expected.high);
    }

    #[test]
    fn one_row_of_each_cluster_is_a_uniform_sample_of_an_endless_population() {
        let (mut clusters, mut shares, mut mean) =
            (Clusters::default(), Clusters::default(), Mean::default());
        for (cluster, value) in [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0].into_iter().enumerate() {
            clusters.push(cluster, value);
            shares.push(cluster, f64::from(value > 2.5));
            mean.push(value);
        }
        let expected = mean.interval(None).unwrap();
        is(clusters.interval(), expected.low, expected.high);
        // The variance of a share of n rows has the divisor n − 1 here and n in Wilson's interval.
        let wilson = super::wilson(5.0 / 8.0, 7.0);
        is(shares.proportion(), wilson.low, wilson.high);
    }

    #[test]
    fn clusters_that_agree_leave_a_share_as_uncertain_as_their_number_does() {
        let mut clusters = Clusters::default();
        (0..5).for_each(|cluster| (0..100).for_each(|_| clusters.push(cluster, 1.0)));
        let expected = proportion(5, 5, None).unwrap();
        is(clusters.proportion(), expected.low, expected.high);
        assert_eq!(Clusters::default().interval(), None);
    }

    /// xorshift64 of G. Marsaglia (2003), enough for shuffling.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % bound as u64).unwrap()
        }

        /// Moves `n` values drawn without replacement to the front (Fisher–Yates, stopped early).
        fn draw<'a>(&mut self, values: &'a mut [f64], n: usize) -> &'a [f64] {
            for at in 0..n {
                let other = at + self.below(values.len() - at);
                values.swap(at, other);
            }
            &values[..n]
        }
    }

    // The expected numbers below are scipy 1.x's: `t.interval`, `binomtest(…).proportion_ci(method="wilson")`,
    // `t.ppf`, `spearmanr`; with a population, its quantiles in the formulas above.

    #[test]
    fn the_t_interval_agrees_with_scipy() {
        let mean = mean_of(&[1.0, 1.5, 2.0, 2.5, 3.0, 2.0, 2.5]);
        close(mean.mean().unwrap(), 2.071_428_571_428_571_6);
        close(mean.variance().unwrap(), 0.452_380_952_380_952_4);
        is(mean.interval(None), 1.449_384_064_035_768_5, 2.693_473_078_821_374_8);
        is(mean.interval(Some(20)), 1.569_920_256_477_153_5, 2.572_936_886_379_989_7);
    }

    #[test]
    fn the_wilson_interval_agrees_with_scipy() {
        is(proportion(0, 10, None), 0.0, 0.277_532_799_862_889_26);
        is(proportion(3, 10, None), 0.107_791_267_406_301_02, 0.603_221_852_538_854_6);
        is(proportion(10, 10, None), 0.722_467_200_137_110_7, 1.0);
        is(proportion(81, 263, None), 0.255_288_519_878_274_2, 0.366_209_576_982_800_04);
        is(proportion(1, 1, None), 0.206_549_314_377_237_45, 1.0);
        is(proportion(30, 100, Some(400)), 0.228_629_325_649_613_64, 0.382_599_607_025_614_96);
    }

    #[test]
    fn the_t_quantile_agrees_with_scipy_at_any_size() {
        for (freedom, expected) in [
            (1, 12.706_204_736_174_694),
            (2, 4.302_652_729_749_462),
            (3, 3.182_446_305_283_707_8),
            (10, 2.228_138_851_986_274),
            (24, 2.063_898_561_628_024_5),
            (1000, 1.962_339_080_826_408_3),
            (1_000_000, 1.959_966_356_814_107),
            (1_000_000_000, 1.959_963_986_912_325),
        ] {
            close(student(freedom).unwrap(), expected);
        }
        close(student(u64::MAX).unwrap(), 1.959_963_984_540_054);
    }

    #[test]
    fn the_t_quantile_falls_with_every_degree_of_freedom() {
        let quantiles: Vec<f64> = (1..2000).map(|freedom| student(freedom).unwrap()).collect();
        assert!(quantiles.is_sorted_by(|a, b| a > b));
    }

    #[test]
    fn rank_correlation_agrees_with_scipy_with_and_without_ties() {
        let iq = [106.0, 86.0, 100.0, 101.0, 99.0, 103.0, 97.0, 113.0, 112.0, 110.0];
        let tv = [7.0, 0.0, 27.0, 50.0, 28.0, 29.0, 20.0, 12.0, 6.0, 17.0];
        let pairs: Vec<_> = iq.into_iter().zip(tv).collect();
        close(spearman(&pairs).unwrap(), -0.175_757_575_757_575_75);

        let a = [1.0, 2.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.5];
        let b = [3.0, 1.0, 1.0, 4.0, 6.0, 5.0, 9.0, 9.0];
        let pairs: Vec<_> = a.into_iter().zip(b).collect();
        close(spearman(&pairs).unwrap(), 0.896_986_170_696_191_6);
    }

    #[test]
    fn rank_correlation_needs_two_sides_that_vary() {
        assert_eq!(spearman(&[]), None);
        assert_eq!(spearman(&[(1.0, 2.0)]), None);
        assert_eq!(spearman(&[(1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(spearman(&[(1.0, f64::NAN), (2.0, 3.0)]), None);
        let signed_zeros_tie = [(0.0, f64::NEG_INFINITY), (-0.0, 1.0), (2.0, 3.0)];
        close(spearman(&signed_zeros_tie).unwrap(), 0.75_f64.sqrt());
    }

    #[test]
    fn too_few_values_say_nothing_unless_they_are_all_there_are() {
        assert_eq!(Mean::default().mean(), None);
        assert_eq!(Mean::default().interval(Some(0)), None);
        let one = mean_of(&[2.5]);
        assert_eq!((one.variance(), one.interval(None), one.interval(Some(9))), (None, None, None));
        assert_eq!(one.interval(Some(1)), Some(Interval { low: 2.5, high: 2.5 }));
        assert_eq!(proportion(0, 0, None), None);
        assert_eq!(proportion(0, 0, Some(0)), None);
        assert_eq!(proportion(2, 1, None), None);
    }

    #[test]
    fn a_small_variance_survives_a_large_mean() {
        let values: Vec<f64> = (0..1000).map(|at| 1e9 + f64::from(at % 2)).collect();
        let variance = mean_of(&values).variance().unwrap();
        assert!((variance - 0.25 * 1000.0 / 999.0).abs() < 1e-6, "{variance}");
    }

    const ROUNDS: usize = 4000;

    /// How often an interval of `ROUNDS` samples of 60 of the 400 values holds their mean.
    fn coverage(mut values: Vec<f64>, interval: impl Fn(&[f64]) -> Option<Interval>) -> f64 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let truth = mean_of(&values).mean().unwrap();
        let covered = (0..ROUNDS)
            .filter(|_| {
                interval(dice.draw(&mut values, 60)).is_some_and(|i| i.low <= truth && truth <= i.high)
            })
            .count();
        covered as f64 / ROUNDS as f64
    }

    #[test]
    fn nineteen_of_twenty_t_intervals_hold_the_mean_of_a_finite_population() {
        let scores: Vec<f64> = (0..400_u32).map(|row| 1.0 + f64::from(row * row % 11 / 2) / 2.0).collect();
        let held = coverage(scores, |sample| mean_of(sample).interval(Some(400)));
        assert!((0.935..=0.965).contains(&held), "{held}");
    }

    #[test]
    fn nineteen_of_twenty_wilson_intervals_hold_the_share_of_a_finite_population() {
        // For one share the coverage goes up and down with the whole numbers of successes there can be.
        let held: Vec<f64> = (20..400_u32)
            .step_by(20)
            .map(|good| {
                let verdicts: Vec<f64> = (0..400).map(|row| f64::from(u8::from(row < good))).collect();
                coverage(verdicts, |sample| {
                    let good = sample.iter().filter(|&&good| good > 0.5).count();
                    proportion(good as u64, 60, Some(400))
                })
            })
            .collect();
        assert!(held.iter().all(|share| (0.92..0.99).contains(share)), "{held:?}");
        let all = mean_of(&held).mean().unwrap();
        assert!((0.94..0.96).contains(&all), "{all}");
    }

    #[test]
    fn without_the_correction_the_intervals_would_be_too_wide() {
        let verdicts: Vec<f64> = (0..400_u32).map(|row| f64::from(row % 2)).collect();
        let held = coverage(verdicts, |sample| mean_of(sample).interval(None));
        assert!(held > 0.955, "{held}");
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_mean_and_narrows_with_what_is_known(
            values in prop::collection::vec(-1e3..1e3_f64, 2..60), rest in 1..1000_u64,
        ) {
            let mean = mean_of(&values);
            let (point, n) = (mean.mean().unwrap(), mean.count());
            let open = mean.interval(None).unwrap();
            let known = mean.interval(Some(n + rest)).unwrap();
            prop_assert!(open.low <= known.low && known.low <= point);
            prop_assert!(point <= known.high && known.high <= open.high);
            prop_assert_eq!(mean.interval(Some(n)), Some(Interval { low: point, high: point }));

            let twice = mean_of(&[values.clone(), values].concat());
            prop_assert!(width(twice.interval(None)) <= width(Some(open)));
        }

        #[test]
        fn a_proportion_stays_within_0_and_1_and_narrows_with_what_is_known(
            n in 1..100_000_u64, part in 0.0..=1.0_f64, rest in 1..1_000_000_u64,
        ) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to n")]
            let successes = (part * n as f64) as u64;
            let point = successes as f64 / n as f64;
            let open = proportion(successes, n, None).unwrap();
            let known = proportion(successes, n, Some(n + rest)).unwrap();
            prop_assert!(0.0 <= open.low && open.high <= 1.0);
            prop_assert!(known.low <= point && point <= known.high);
            prop_assert!(width(Some(known)) <= width(Some(open)) + 1e-12);
            prop_assert!(width(proportion(2 * successes, 2 * n, None)) < width(Some(open)));
            prop_assert_eq!(proportion(successes, n, Some(n)), Some(Interval { low: point, high: point }));
        }

        #[test]
        fn rank_correlation_sees_only_the_order(pairs in prop::collection::vec((0..9_i8, 0..9_i8), 2..40)) {
            let plain: Vec<(f64, f64)> = pairs.iter().map(|&(x, y)| (x.into(), y.into())).collect();
            let bent: Vec<(f64, f64)> = plain.iter().map(|(x, y)| (x.exp(), -y)).collect();
            let (plain, bent) = (spearman(&plain), spearman(&bent));
            prop_assert_eq!(plain.is_some(), bent.is_some());
            if let (Some(plain), Some(bent)) = (plain, bent) {
                prop_assert!((plain + bent).abs() < 1e-12 && plain.abs() <= 1.0);
            }
        }
    }
}
