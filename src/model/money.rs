//! Money in whole pico-dollars: sums are exact, so a cap can be held to the last digit.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// An amount of US dollars, in units of 10⁻¹² dollars. Sums that would exceed 18 million dollars stay there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(u64);

/// Pico-dollars of a dollar.
const DOLLAR: f64 = 1e12;

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount in dollars, rounded up to a whole unit. Negative amounts and what is no number are nothing.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates, and NaN is 0"
    )]
    pub fn from_dollars(dollars: f64) -> Self {
        // Prices have few digits and their binary fractions many: a unit more would be none that anyone bills.
        Self(((dollars * DOLLAR * 1e-3).round() * 1e3) as u64)
    }

    /// The amount in dollars.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / DOLLAR
    }

    /// What is left of this amount after `other`; nothing where that is more.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
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

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${:.4}", self.dollars())
    }
}
