//! Amounts of money that add up: whole pico-dollars, so that sums do not depend on the order of their terms.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Pico-dollars of a dollar.
const DOLLAR: u64 = 1_000_000_000_000;

/// An amount of US dollars, in pico-dollars (10⁻¹² $): the price of one token at one micro-dollar per million tokens.
///
/// Sums and products end at the largest amount, about 18 million dollars; differences end at nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(u64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(u64::MAX);

    /// So many pico-dollars.
    pub const fn from_pico(pico: u64) -> Self {
        Self(pico)
    }

    /// In pico-dollars.
    pub const fn pico(self) -> u64 {
        self.0
    }

    /// The nearest amount. Negative amounts and what is no number are nothing. Above $9,007 a double's fraction is coarser
    /// than a pico-dollar.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates, and NaN is 0"
    )]
    pub fn from_dollars(dollars: f64) -> Self {
        Self((dollars * DOLLAR as f64).round() as u64)
    }

    /// In dollars, for what counts in doubles: JSON, the database.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / DOLLAR as f64
    }

    /// What is left of this amount after `other`; nothing where that is more.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This share of it, rounded up to a whole pico-dollar; a share without a whole is none.
    #[must_use]
    pub fn part(self, share: u64, whole: u64) -> Self {
        let part = (u128::from(self.0) * u128::from(share)).div_ceil(u128::from(whole.max(1)));
        Self(u64::try_from(part).unwrap_or(u64::MAX))
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Mul<u64> for Money {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// A number of dollars, as JSON has it.
impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.dollars())
    }
}

/// From a number of dollars.
impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self::from_dollars)
    }
}

/// `$2.50`, `$0.0031`, `$0.0000005`: to a hundredth of a cent, and what is less than a tenth of a cent to two digits that
/// count. So only nothing is `$0.00`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CENT: u64 = DOLLAR / 100;
        let mut step = CENT / 100;
        while self.0 > 0 && self.0 < step * 10 && step > 1 {
            step /= 10;
        }
        let rounded =
            u128::from(self.0).saturating_add(u128::from(step / 2)) / u128::from(step) * u128::from(step);
        let (whole, pico) = (rounded / u128::from(DOLLAR), rounded % u128::from(DOLLAR));
        let digits = format!("{pico:012}");
        let shown = digits.trim_end_matches('0').len().max(2);
        f.pad(&format!("${whole}.{}", &digits[..shown]))
    }
}

/// Text that is no amount of dollars.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected US dollars such as 2.50, with at most 12 decimals and no sign but $")]
pub struct NoMoney;

/// `2.50`, `$2.50`, `.5`, `3`. No sign, no exponent, no separators.
impl FromStr for Money {
    type Err = NoMoney;

    fn from_str(text: &str) -> Result<Self, NoMoney> {
        let text = text.trim();
        let text = text.strip_prefix('$').unwrap_or(text);
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + decimals.len() == 0
            || decimals.len() > 12
            || !are_digits(whole)
            || !are_digits(decimals)
        {
            return Err(NoMoney);
        }
        let number =
            |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u64>().map_err(|_| NoMoney) };
        let pico = number(&format!("{decimals:0<12}"))?;
        let dollars = number(whole)?.checked_mul(DOLLAR).ok_or(NoMoney)?;
        dollars.checked_add(pico).map(Self).ok_or(NoMoney)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn amounts_are_read_as_people_write_them() {
        assert_eq!(money("2.50"), Money::from_pico(2_500_000_000_000));
        assert_eq!((money("$3"), money(" .5 "), money("0")), (money("3.0"), money("0.5"), Money::ZERO));
        assert_eq!(money("0.000000000001"), Money::from_pico(1));
        for wrong in
            ["", "$", ".", "-1", "+1", "1e3", "1,5", "1_0", "0.0000000000001", "inf", "99999999999", "٣"]
        {
            assert_eq!(wrong.parse::<Money>(), Err(NoMoney), "{wrong}");
        }
    }

    #[test]
    fn amounts_are_shown_with_the_digits_that_count() {
        let shown: Vec<String> = [
            "0",
            "2.5",
            "12.34567",
            "0.0031",
            "0.00309",
            "0.00031",
            "0.0000312",
            "0.000000000001",
            "0.99999",
        ]
        .map(|text| money(text).to_string())
        .to_vec();
        insta::assert_snapshot!(shown.join(" "), @"$0.00 $2.50 $12.3457 $0.0031 $0.0031 $0.00031 $0.000031 $0.000000000001 $1.00");
        assert_eq!(Money::MAX.to_string(), "$18446744.0737");
        assert_eq!(format!("{:>8}", money("1")), "   $1.00");
    }

    #[test]
    fn a_share_is_rounded_up() {
        assert_eq!(Money::from_pico(10).part(1, 3), Money::from_pico(4));
        assert_eq!(Money::from_pico(10).part(3, 0), Money::from_pico(30));
        assert_eq!(Money::MAX.part(3, 2), Money::MAX);
    }

    #[test]
    fn doubles_that_are_no_amounts_are_nothing() {
        for wrong in [-0.1, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(Money::from_dollars(wrong), Money::ZERO);
        }
        assert_eq!(Money::from_dollars(1e300), Money::MAX);
    }

    proptest! {
        #[test]
        fn what_is_not_nothing_is_never_shown_as_nothing(pico in 1_u64..) {
            let shown = Money::from_pico(pico).to_string();
            prop_assert!(shown.bytes().any(|byte| (b'1'..=b'9').contains(&byte)), "{}", shown);
        }

        #[test]
        fn what_is_shown_is_near_what_it_is(pico in any::<u64>()) {
            let amount = Money::from_pico(pico);
            let shown = amount.to_string().parse::<Money>().unwrap_or(Money::MAX);
            let off = amount.pico().abs_diff(shown.pico());
            // Half of a hundredth of a cent, or half of the second digit.
            prop_assert!(off <= 50_000_000 && u128::from(off) * 20 <= u128::from(pico), "{} {}", pico, shown);
        }

        #[test]
        fn sums_do_not_depend_on_the_order(mut amounts in prop::collection::vec(any::<u64>().prop_map(Money), 0..9)) {
            let sum: Money = amounts.iter().copied().sum();
            amounts.reverse();
            prop_assert_eq!(sum, amounts.into_iter().sum::<Money>());
        }

        #[test]
        fn a_difference_and_its_subtrahend_are_the_sum_again(a in any::<u64>(), b in any::<u64>()) {
            let (a, b) = (Money(a.max(b)), Money(a.min(b)));
            prop_assert_eq!(a.less(b) + b, a);
            prop_assert_eq!(b.less(a), Money::ZERO);
        }

        #[test]
        fn dollars_and_back_is_the_same_up_to_a_thousand(pico in 0..1000 * DOLLAR) {
            prop_assert_eq!(Money::from_dollars(Money(pico).dollars()), Money(pico));
        }
    }
}
