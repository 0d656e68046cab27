//! The model table: names, parameters, prices, shutdown dates. Facts of the hosted endpoint as of [`AS_OF`].

mod money;
mod price;
mod tokenizer;

use std::sync::OnceLock;

use serde::Deserialize;

pub use money::{Money, NoMoney};
pub use price::{NoPrice, Price, ServiceTier, Tier, Tokens, prompt_at_most};
pub use tokenizer::Tokenizer;

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
    #[serde(deserialize_with = "dollars")]
    input: Option<Money>,
    #[serde(deserialize_with = "dollars")]
    cached: Option<Money>,
    #[serde(deserialize_with = "dollars")]
    write: Option<Money>,
    #[serde(deserialize_with = "dollars")]
    write_long: Option<Money>,
    #[serde(deserialize_with = "dollars")]
    output: Option<Money>,
    /// Prompt tokens above which a request is dearer.
    long: Option<u64>,
    #[serde(deserialize_with = "yes_or_no")]
    reasoning: bool,
    /// How it takes functions.
    pub tools: Tools,
    /// The day on which the vendor switches it off, as `YYYY-MM-DD`.
    pub shutdown: Option<String>,
}

/// How long the server keeps what it wrote into its cache, which some models price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKept {
    /// As long as it does unasked.
    Usual,
    /// As long as it can be asked to.
    Long,
}

impl Model {
    /// The price, where the vendor's page had one.
    pub fn price(&self, kept: CacheKept) -> Option<Price> {
        let input = self.input?;
        let usual = self.write.unwrap_or(input);
        Some(Price {
            input,
            cached_input: self.cached.unwrap_or(input),
            cache_write: match kept {
                CacheKept::Usual => usual,
                CacheKept::Long => self.write_long.unwrap_or(usual),
            },
            output: self.output?,
            long_prompt: self.long,
        })
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

fn dollars<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Money>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
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
        assert!(model.price(CacheKept::Usual).is_some() && model.shutdown.is_none());
    }

    #[test]
    fn a_dated_name_is_the_same_model_and_a_longer_name_is_not() {
        assert_eq!(find("gpt-4o-2024-08-06").unwrap().name, "gpt-4o");
        assert_eq!(find("gpt-4o-mini").unwrap().name, "gpt-4o-mini");
        assert!(find("gpt-4o-super").is_none() && find("llama").is_none());
    }
}
