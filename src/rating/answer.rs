//! What came back, validated.

use crate::model::Money;

/// A validated answer to one question, with where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// One score per name of the run's target, in its order.
    pub scores: Vec<f64>,
    /// The lens's rationale fields, in its order; an in-process rater gives one.
    pub rationales: Vec<String>,
    /// What is known of the request that answered.
    pub provenance: Provenance,
}

/// What is known of the requests behind an answer. In-process raters leave it empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Provenance {
    /// The model that the server says answered.
    pub model_reported: Option<String>,
    /// Why generation ended, in the server's word.
    pub finish_reason: Option<String>,
    /// Tokens and money, over all attempts for the question that were billed.
    pub usage: Usage,
    /// Wall time of the attempt that answered, in milliseconds.
    pub latency_ms: u32,
    /// Attempts made, the last one included.
    pub attempts: u32,
    /// When the answer came, in milliseconds since 1970.
    pub answered_at: i64,
}

/// Tokens and money of one or several replies. What a server does not tell is unknown, not zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input: u64,
    /// Those of `input` that the server had cached.
    pub cached_input: u64,
    /// Those of `input` that the server wrote into its cache, which may be dearer. Not kept in the store.
    pub cache_write: u64,
    /// Tokens generated, reasoning included.
    pub output: u64,
    /// `None` where the model's price is unknown or a server gave no usage.
    pub cost: Option<Money>,
}

impl Default for Usage {
    /// Nothing used, which costs nothing.
    fn default() -> Self {
        Self { input: 0, cached_input: 0, cache_write: 0, output: 0, cost: Some(Money::ZERO) }
    }
}

impl Usage {
    /// A reply that was billed, by a server that did not say what for.
    pub const UNKNOWN: Self = Self { input: 0, cached_input: 0, cache_write: 0, output: 0, cost: None };

    /// Adds what another reply used; the cost is known only while every part is.
    pub fn add(&mut self, other: &Self) {
        self.input = self.input.saturating_add(other.input);
        self.cached_input = self.cached_input.saturating_add(other.cached_input);
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
        self.output = self.output.saturating_add(other.output);
        self.cost = self.cost.zip(other.cost).map(|(a, b)| a + b);
    }
}

/// Attempts whose reply never came: nobody knows whether the server billed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsettled {
    /// How many.
    pub attempts: u64,
    /// What they cost at most, all together; `None` where the price is unknown.
    pub at_most: Option<Money>,
}

impl Default for Unsettled {
    /// None of them.
    fn default() -> Self {
        Self { attempts: 0, at_most: Some(Money::ZERO) }
    }
}

impl Unsettled {
    /// Counts one more, which cost at most this.
    pub fn add(&mut self, at_most: Option<Money>) {
        self.attempts += 1;
        self.at_most = self.at_most.zip(at_most).map(|(sum, more)| sum + more);
    }

    /// Counts others as well.
    pub fn add_all(&mut self, others: Self) {
        self.attempts += others.attempts;
        self.at_most = self.at_most.zip(others.at_most).map(|(sum, more)| sum + more);
    }
}
