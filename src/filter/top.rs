//! `--top`: the best so many rows, exactly.
//!
//! How many is counted in whole numbers from the text of the flag: as a double, 0.1 × 30 is more than 3, and its ceiling
//! 4. Which rows is known when all scores are: a first pass counts how often each score occurs, a second one keeps what
//! is above the threshold, and of the rows that are on it the first ones.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

/// How many of the rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Top {
    /// So many.
    Rows(u64),
    /// A share of the rows in, rated or not.
    Share(Share),
}

/// A percentage, as it was written: `digits` over ten to the power of `places`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    digits: u64,
    places: u32,
}

impl Share {
    /// ⌈share × rows⌉.
    fn of(self, rows: u64) -> u64 {
        let hundred_percent = 100 * 10_u128.pow(self.places);
        let count = (u128::from(rows) * u128::from(self.digits)).div_ceil(hundred_percent);
        u64::try_from(count).unwrap_or(rows)
    }
}

impl Top {
    /// How many rows are kept of so many rows in; fewer if fewer have a score.
    pub fn of(self, rows: u64) -> u64 {
        match self {
            Self::Rows(count) => count.min(rows),
            Self::Share(share) => share.of(rows),
        }
    }
}

impl fmt::Display for Top {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(count) => write!(f, "{count}"),
            Self::Share(Share { digits, places: 0 }) => write!(f, "{digits}%"),
            Self::Share(Share { digits, places }) => {
                let one = 10_u64.pow(*places);
                write!(f, "{}.{:0width$}%", digits / one, digits % one, width = *places as usize)
            }
        }
    }
}

impl FromStr for Top {
    type Err = String;

    /// Reads `100000`, `10%`, `0.5%`.
    fn from_str(text: &str) -> Result<Self, String> {
        // Beyond this no share of a number of rows changes.
        const MOST_PLACES: usize = 12;
        const EXPECTED: &str = "expected a number of rows (1000) or a share of them (10%, 0.5%)";
        let Some(percent) = text.trim().strip_suffix('%') else {
            return match text.trim().parse::<u64>() {
                Ok(0) => Err("the best 0 rows are none".to_owned()),
                Ok(rows) => Ok(Self::Rows(rows)),
                Err(_) => Err(EXPECTED.to_owned()),
            };
        };
        let (whole, fraction) = percent.trim_end().split_once('.').unwrap_or((percent.trim_end(), ""));
        let fraction = fraction.trim_end_matches('0');
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0 && percent.trim_end() != "0"
            || !is_number(whole)
            || !is_number(fraction)
        {
            return Err(EXPECTED.to_owned());
        }
        if fraction.len() > MOST_PLACES {
            return Err(format!("a share has at most {MOST_PLACES} decimal places"));
        }
        let places = u32::try_from(fraction.len()).unwrap_or(u32::MAX);
        let digits = format!("0{whole}{fraction}").parse::<u64>().unwrap_or(u64::MAX);
        match digits {
            0 => Err("the best 0% are none".to_owned()),
            digits if digits > 100 * 10_u64.pow(places) => Err("more than 100% of the rows".to_owned()),
            digits => Ok(Self::Share(Share { digits, places })),
        }
    }
}

/// What has to be reached to be among the best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Rows with more than this are kept.
    pub value: f64,
    /// So many of the rows with exactly this are kept, the first ones.
    pub ties: u64,
    /// How many rows are kept in all.
    pub kept: u64,
}

impl Threshold {
    /// Whether a row is among the best. Rows are asked in order: a tie uses up one of [`Threshold::ties`].
    pub fn admits(&mut self, score: Option<f64>) -> bool {
        let (Some(score), Some(least)) = (score.and_then(key), key(self.value)) else { return false };
        if score == least && self.ties > 0 {
            self.ties -= 1;
            return true;
        }
        score > least
    }
}

/// How often each score occurs: memory goes with distinct scores, not with rows.
#[derive(Debug, Default)]
pub struct Ranking {
    counts: HashMap<u64, u64>,
    ranked: u64,
}

impl Ranking {
    /// Counts a row. One without a score, or whose score is NaN, is never among the best.
    pub fn push(&mut self, score: Option<f64>) {
        if let Some(key) = score.and_then(key) {
            *self.counts.entry(key).or_default() += 1;
            self.ranked += 1;
        }
    }

    /// The threshold, given how many rows were in, with a score or without.
    pub fn threshold(&self, top: Top, rows_in: u64) -> Threshold {
        let wanted = top.of(rows_in).min(self.ranked);
        let mut scores: Vec<(u64, u64)> = self.counts.iter().map(|(key, count)| (*key, *count)).collect();
        scores.sort_unstable_by_key(|(key, _)| std::cmp::Reverse(*key));
        let mut above = 0;
        for (key, count) in scores {
            if above + count >= wanted {
                return Threshold { value: value(key), ties: wanted - above, kept: wanted };
            }
            above += count;
        }
        Threshold { value: f64::INFINITY, ties: 0, kept: 0 }
    }
}

/// A number whose order is that of the scores. Both zeros are one; NaN has none.
fn key(score: f64) -> Option<u64> {
    const SIGN: u64 = 1 << 63;
    if score.is_nan() {
        return None;
    }
    let bits = (score + 0.0).to_bits();
    Some(if bits & SIGN == 0 { bits | SIGN } else { !bits })
}

fn value(key: u64) -> f64 {
    const SIGN: u64 = 1 << 63;
    f64::from_bits(if key & SIGN == 0 { !key } else { key & !SIGN })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn top(text: &str) -> Top {
        text.parse().unwrap()
    }

    #[test]
    fn a_share_is_exact_and_rounded_up() {
        for (share, rows, expected) in [
            ("10%", 30, 3),
            ("10%", 31, 4),
            ("0.1%", 1000, 1),
            ("0.1%", 1001, 2),
            ("7%", 100, 7),
            ("55%", 100, 55),
            ("33.3%", 1000, 333),
            ("100%", 7, 7),
            ("100.0%", 7, 7),
            ("0.000000000001%", 1, 1),
            (".5%", 200, 1),
            ("5.%", 20, 1),
            ("10%", 0, 0),
            ("99.9%", u64::MAX, 18_428_297_329_635_842_064),
            ("3", 2, 2),
            ("3", 5, 3),
        ] {
            assert_eq!(top(share).of(rows), expected, "{share} of {rows}");
        }
    }

    #[test]
    fn a_flag_reads_back_as_it_was_written() {
        for text in ["10%", "0.5%", "0.05%", "100%", "12.75%", "1000"] {
            assert_eq!(top(text).to_string(), text);
        }
        assert_eq!(top(" 010.50 % ").to_string(), "10.5%");
    }

    #[test]
    fn none_more_than_all_and_no_number_are_errors() {
        let says = |text: &str| text.parse::<Top>().unwrap_err();
        for none in ["0", "0%", "0.0%", "00.000%"] {
            assert!(says(none).contains("none"), "{none}: {}", says(none));
        }
        for more in ["101%", "100.1%", "100.000000000001%", "99999999999999999999999999999999%"] {
            assert!(says(more).contains("more than 100%"), "{more}: {}", says(more));
        }
        for wrong in ["", "%", ".%", "ten", "-1", "1.5", "1e3%", "+5%", "5%%", "1,5%", "18446744073709551616"]
        {
            assert!(says(wrong).contains("expected a number of rows"), "{wrong}: {}", says(wrong));
        }
        assert!(says("0.0000000000001%").contains("decimal places"));
    }

    /// Which rows the threshold keeps.
    fn kept(scores: &[Option<f64>], top: Top) -> Vec<usize> {
        let mut ranking = Ranking::default();
        for score in scores {
            ranking.push(*score);
        }
        let mut threshold = ranking.threshold(top, scores.len() as u64);
        let kept = threshold.kept;
        let rows: Vec<usize> = (0..scores.len()).filter(|row| threshold.admits(scores[*row])).collect();
        assert_eq!(rows.len() as u64, kept);
        rows
    }

    #[test]
    fn ties_go_by_row_order_and_rows_without_a_score_are_not_kept() {
        let scores = [Some(1.0), None, Some(2.0), Some(2.0), Some(f64::NAN), Some(2.0), Some(3.0)];
        assert_eq!(kept(&scores, Top::Rows(3)), [2, 3, 6]);
        assert_eq!(kept(&scores, top("50%")), [2, 3, 5, 6]);
        assert_eq!(kept(&scores, top("100%")), [0, 2, 3, 5, 6]);
        assert!(kept(&[None, Some(f64::NAN)], Top::Rows(1)).is_empty());
        assert!(kept(&[], Top::Rows(1)).is_empty());
    }

    proptest! {
        #[test]
        fn the_best_are_those_that_sorting_finds(
            scores in prop::collection::vec(prop::option::of(prop_oneof![
                (-3..3_i32).prop_map(|n| f64::from(n) / 2.0),
                Just(-0.0),
                Just(f64::INFINITY),
                Just(f64::NEG_INFINITY),
                any::<f64>(),
            ]), 0..60),
            count in 1..70_u64,
        ) {
            let mut sorted: Vec<usize> =
                (0..scores.len()).filter(|row| scores[*row].is_some_and(|score| !score.is_nan())).collect();
            // A stable sort, so ties stay in row order.
            sorted.sort_by(|a, b| scores[*b].partial_cmp(&scores[*a]).unwrap());
            sorted.truncate(usize::try_from(count).unwrap());
            sorted.sort_unstable();
            prop_assert_eq!(kept(&scores, Top::Rows(count)), sorted);
        }

        #[test]
        fn a_key_keeps_the_order_and_the_value(one in any::<f64>(), other in any::<f64>()) {
            prop_assume!(!one.is_nan() && !other.is_nan());
            prop_assert_eq!(one.partial_cmp(&other), Some(key(one).cmp(&key(other))));
            prop_assert_eq!(value(key(one).unwrap()).to_bits(), (one + 0.0).to_bits());
        }
    }
}
