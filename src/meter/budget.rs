//! Money: reserved before an attempt, settled after it.

use super::Spent;
use crate::model::Money;

/// What may be spent, what was, and what attempts in flight may come to.
#[derive(Debug)]
pub(super) struct Budget {
    cap: Option<Money>,
    /// What was spent, attempts of unknown outcome counted at their reservation.
    pub(super) spent: Money,
    /// What attempts in flight may cost at most.
    pub(super) reserved: Money,
    /// By how much attempts cost more than was reserved for them: a bound that did not hold.
    pub(super) beyond: Money,
}

impl Budget {
    pub(super) fn new(cap: Option<Money>) -> Self {
        Self { cap, spent: Money::ZERO, reserved: Money::ZERO, beyond: Money::ZERO }
    }

    /// Whether an attempt of at most this `cost` fits beside all that was spent and reserved.
    pub(super) fn fits(&self, cost: Money) -> bool {
        self.cap.is_none_or(|cap| self.spent + self.reserved + cost <= cap)
    }

    pub(super) fn reserve(&mut self, cost: Money) {
        self.reserved += cost;
    }

    /// Replaces a reservation by what the attempt cost.
    pub(super) fn settle(&mut self, reserved: Money, spent: Spent) {
        let cost = match spent {
            Spent::Nothing => Money::ZERO,
            Spent::Exactly(cost) => cost,
            Spent::Unknown => reserved,
        };
        self.reserved = self.reserved.less(reserved);
        self.spent += cost;
        self.beyond += cost.less(reserved);
    }
}
