//! `config.json`: what a lens reads, what it is for, and how its scores become a verdict.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::Fault;
use super::verdict::{Cuts, Scale};

pub(super) const CONFIG: &str = "config.json";

/// The keys that [`Config`] knows.
const KEYS: [&str; 8] =
    ["input_fields", "type", "description", "version", "labels", "scale", "cuts", "heuristic"];

/// The kinds of text that the heuristic has signals for.
const HEURISTICS: [&str; 3] = ["prose", "code", "instruct"];

/// The file as it is written.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    pub(super) input_fields: Vec<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) description: Option<String>,
    pub(super) version: Option<Version>,
    #[serde(default)]
    pub(super) labels: Vec<String>,
    pub(super) scale: Option<Scale>,
    pub(super) cuts: Option<Cuts>,
    pub(super) heuristic: Option<String>,
}

/// `"version": 2` and `"version": "2"` are the same.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Version {
    Text(String),
    Number(serde_json::Number),
}

impl Version {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

impl Config {
    /// Reads the file; beside it, a sentence for each thing in it that has no effect.
    pub(super) fn parse(text: &str) -> Result<(Self, Vec<String>), Fault> {
        // As a map first: what is not an object should be told so.
        let keys: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| Fault::json(CONFIG, &error))?;
        let config: Self = serde_json::from_str(text).map_err(|error| Fault::json(CONFIG, &error))?;
        if let Some(problem) = config.problem() {
            return Err(Fault::new(CONFIG, problem));
        }
        let mut warnings: Vec<String> =
            keys.keys().filter(|key| !KEYS.contains(&key.as_str())).map(|key| unknown_key(key)).collect();
        if !["pretrain", "instruct"].contains(&config.kind.as_str()) {
            warnings.push(format!("\"type\" is `{}`; expected pretrain or instruct", config.kind));
        }
        Ok((config, warnings))
    }

    fn problem(&self) -> Option<String> {
        let mut seen = HashSet::new();
        if self.input_fields.is_empty() {
            Some("\"input_fields\" is empty; name at least one, such as [\"resource\"]".to_owned())
        } else if let Some(field) = self.input_fields.iter().find(|field| !is_variable(field)) {
            Some(format!(
                "the input field `{field}` is not a name that a template can use: letters, digits, _"
            ))
        } else if let Some(field) = self.input_fields.iter().find(|field| !seen.insert(*field)) {
            Some(format!("the input field `{field}` is named twice"))
        } else if let Some(name) = self.heuristic.as_deref().filter(|name| !HEURISTICS.contains(name)) {
            Some(format!("\"heuristic\" is `{name}`; expected {}", HEURISTICS.join(", ")))
        } else {
            self.scale.filter(|scale| scale.low >= scale.high).map(|scale| {
                format!("the scale of {scale} is empty; write the lower end first, as in \"scale\": [1, 3]")
            })
        }
    }
}

/// The name nearest to `name`, if it is near enough to be what was meant.
pub(super) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A distance is the product of two lengths; no name of ours is long.
    if name.len() > 256 {
        return None;
    }
    names
        .into_iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
        .filter(|(similarity, _)| *similarity >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

fn unknown_key(key: &str) -> String {
    let hint = nearest(key, KEYS).map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
    format!("unknown key `{}`{hint}", key.escape_debug())
}

fn is_variable(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        let fault = Config::parse(text).unwrap_err();
        format!("{}:{} {}", fault.file, fault.line.map_or_else(String::new, |l| l.to_string()), fault.problem)
    }

    #[test]
    fn the_original_tools_config_is_enough() {
        let (config, warnings) =
            Config::parse(r#"{"input_fields": ["resource"], "type": "pretrain"}"#).unwrap();
        assert_eq!(config.input_fields, ["resource"]);
        assert!(warnings.is_empty() && config.scale.is_none() && config.cuts.is_none());
    }

    #[test]
    fn an_unknown_key_is_a_warning_that_names_the_nearest() {
        let (_, warnings) =
            Config::parse(r#"{"input_fields": ["a"], "type": "pretrain", "descripton": "", "zzz": 1}"#)
                .unwrap();
        assert_eq!(warnings, ["unknown key `descripton`; did you mean `description`?", "unknown key `zzz`"]);
    }

    #[test]
    fn a_version_is_a_text_or_a_number() {
        for json in ["2", "\"2\""] {
            let text = format!(r#"{{"input_fields": ["a"], "type": "pretrain", "version": {json}}}"#);
            assert_eq!(Config::parse(&text).unwrap().0.version.unwrap().into_text(), "2");
        }
    }

    #[test]
    fn each_mistake_is_named_with_what_was_expected() {
        insta::assert_snapshot!([
            "{\n \"type\": 1}", "{\n\n oops", "{}", "[]",
            r#"{"input_fields": [], "type": "x"}"#,
            r#"{"input_fields": ["a", "a"], "type": "x"}"#,
            r#"{"input_fields": ["my field"], "type": "x"}"#,
            r#"{"input_fields": ["a"], "type": "x", "heuristic": "poetry"}"#,
            r#"{"input_fields": ["a"], "type": "x", "scale": [3, 1]}"#,
            r#"{"input_fields": ["a"], "type": "x", "cuts": {"good": 3}}"#,
        ].map(problem).join("\n"), @r#"
        config.json:2 invalid type: integer `1`, expected a string (column 10)
        config.json:3 not valid JSON: key must be a string (column 2)
        config.json:1 missing field `input_fields` (column 2)
        config.json:1 invalid type: sequence, expected a map (column 0)
        config.json: "input_fields" is empty; name at least one, such as ["resource"]
        config.json: the input field `a` is named twice
        config.json: the input field `my field` is not a name that a template can use: letters, digits, _
        config.json: "heuristic" is `poetry`; expected prose, code, instruct
        config.json: the scale of 3 to 1 is empty; write the lower end first, as in "scale": [1, 3]
        config.json:1 invalid type: integer `3`, expected a cut such as {"all": 2.5, "overall": 2.75} (column 55)
        "#);
    }
}
