//! The model table: names, parameters, prices, shutdown dates. Facts of the hosted endpoint as of [`AS_OF`].

mod money;

use std::sync::OnceLock;

use serde::Deserialize;

pub use money::Money;

/// The month in which the table was last checked against the vendor's pages.
pub const AS_OF: &str = "2026-11";

/// The model that answers where the user names none.
pub const DEFAULT: &str = "gpt-6-luna";

/// How a model takes functions on `/v1/chat/completions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tools {
    /// Like every model of the GPT-4 class.
    Yes,
    /// Only with `reasoning_effort: "none"`; left out it means `medium`, and the request is a 400.
    EffortNone,
    /// Not at all: functions only on `/v1/responses`, so the answer is asked for as JSON Schema.
    ResponsesOnly,
}

/// One line of the table.
#[derive(Debug, Clone, Deserialize)]
pub struct Model {
    /// The name that a request carries. A dated variant (`name-2026-08-01`) is the same model.
    pub name: String,
    input: Option<f64>,
    cached: Option<f64>,
    output: Option<f64>,
    #[serde(deserialize_with = "yes_or_no")]
    reasoning: bool,
    /// How it takes functions.
    pub tools: Tools,
    /// The day on which the vendor switches it off, as `YYYY-MM-DD`.
    pub shutdown: Option<String>,
}

/// US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// Prompt tokens.
    pub input: f64,
    /// Prompt tokens that the server had cached.
    pub cached_input: f64,
    /// Generated tokens, reasoning included.
    pub output: f64,
}

impl Price {
    /// US dollars of a request with `input` prompt tokens, `cached` of them from the server's cache.
    pub fn cost(&self, input: u64, cached: u64, output: u64) -> f64 {
        let cached = cached.min(input);
        let cost = ((input - cached) as f64 * self.input
            + cached as f64 * self.cached_input
            + output as f64 * self.output)
            / 1e6;
        // Prices have few digits, sums of binary fractions many.
        (cost * 1e10).round() / 1e10
    }
}

impl Price {
    /// The most that a request can cost: a tokenizer that works on bytes makes no more tokens than the body has bytes.
    pub fn bound(&self, bytes: usize, answer: u32) -> Money {
        let prompt = bytes as f64 * self.input.max(self.cached_input);
        Money::from_dollars((prompt + f64::from(answer) * self.output) / 1e6)
    }
}

impl Model {
    /// The price, where the vendor's page had one.
    pub fn price(&self) -> Option<Price> {
        let input = self.input?;
        Some(Price { input, cached_input: self.cached.unwrap_or(input), output: self.output? })
    }

    /// Whether the model thinks before it answers: it then refuses `max_tokens`, and needs room of its own.
    pub fn reasons(&self) -> bool {
        self.reasoning
    }
}

/// The line of the table for `name`: the exact name, or the name without a date at its end.
pub fn find(name: &str) -> Option<&'static Model> {
    let models = table();
    models.iter().find(|model| model.name == name).or_else(|| {
        models.iter().find(|model| {
            name.strip_prefix(&model.name).and_then(|rest| rest.strip_prefix('-')).is_some_and(|date| {
                date.len() >= 4 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
            })
        })
    })
}

fn table() -> &'static [Model] {
    static TABLE: OnceLock<Vec<Model>> = OnceLock::new();
    TABLE.get_or_init(|| {
        // A broken line would fail the test below; here it would only make its model unknown.
        csv::Reader::from_reader(include_str!("models.csv").as_bytes())
            .deserialize()
            .filter_map(Result::ok)
            .collect()
    })
}

fn yes_or_no<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(String::deserialize(deserializer)? == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        assert_eq!(table().len(), include_str!("models.csv").lines().count() - 1);
    }

    #[test]
    fn the_default_model_calls_functions_and_has_a_price() {
        let model = find(DEFAULT).unwrap();
        assert_ne!(model.tools, Tools::ResponsesOnly);
        assert!(model.price().is_some() && model.shutdown.is_none());
    }

    #[test]
    fn a_dated_name_is_the_same_model_and_a_longer_name_is_not() {
        assert_eq!(find("gpt-4o-2024-08-06").unwrap().name, "gpt-4o");
        assert_eq!(find("gpt-4o-mini").unwrap().name, "gpt-4o-mini");
        assert!(find("gpt-4o-super").is_none() && find("llama").is_none());
    }

    #[test]
    fn cached_tokens_cost_their_own_price() {
        let price = Price { input: 1.0, cached_input: 0.1, output: 10.0 };
        assert!((price.cost(1_000_000, 500_000, 100_000) - (0.5 + 0.05 + 1.0)).abs() < 1e-12);
    }
}
