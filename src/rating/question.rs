//! What is asked about one chunk, as first meant, and its digest: the *input* of the cache key.

use std::fmt;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::lens::Function;

/// SHA-256 of a question's canonical JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of a JSON value in canonical form.
    pub fn of(value: &Value) -> Self {
        Self(Sha256::digest(canonical(value)).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How the model is to generate, as the user set it. `None` is "the default": what the model table or a
/// refusal makes of it is provenance, not part of the question.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling {
    /// `--temperature`.
    pub temperature: Option<f64>,
    /// `--model-seed`, sent as `seed`.
    pub model_seed: Option<i64>,
    /// `--reasoning-effort`.
    pub reasoning_effort: Option<String>,
    /// `--extra-body`: keys added to every request.
    pub extra_body: Map<String, Value>,
}

/// One question.
#[derive(Debug, Clone)]
pub struct Question {
    /// The rendered prompt; the system message is the lens's.
    pub prompt: String,
    /// The digest of all that was meant.
    pub digest: Digest,
}

/// The parts of a question that are the same for every row of a lens, made ready for digesting.
///
/// A question's canonical JSON has the keys `extra_body`, `function`, `messages`, `model_seed`, `reasoning_effort`,
/// `temperature`, sorted, without white space, `"default"` for what was not set. In Python:
/// `hashlib.sha256(json.dumps(q, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())`.
#[derive(Debug)]
pub struct Form {
    /// The digest's state after all that comes before the prompt.
    before: Sha256,
    after: String,
}

impl Form {
    /// The form of all questions that a lens asks with this sampling: its function and its system message.
    pub fn new(function: &Function, system: &str, sampling: &Sampling) -> Self {
        let or_default = |value: Option<Value>| value.unwrap_or_else(|| Value::from("default"));
        let function = json!({
            "name": function.name,
            "description": function.description,
            "parameters": function.parameters,
        });
        let extra = if sampling.extra_body.is_empty() {
            Value::from("default")
        } else {
            Value::Object(sampling.extra_body.clone())
        };
        let mut before = Sha256::new();
        before.update(format!(
            r#"{{"extra_body":{},"function":{},"messages":[{{"content":{},"role":"system"}},{{"content":"#,
            canonical(&extra),
            canonical(&function),
            Value::from(system),
        ));
        Self {
            before,
            after: format!(
                r#","role":"user"}}],"model_seed":{},"reasoning_effort":{},"temperature":{}}}"#,
                or_default(sampling.model_seed.map(Value::from)),
                or_default(sampling.reasoning_effort.clone().map(Value::from)),
                or_default(sampling.temperature.map(Value::from)),
            ),
        }
    }

    /// The question that asks with `prompt`.
    pub fn question(&self, prompt: String) -> Question {
        let mut hasher = self.before.clone();
        let mut content = Vec::with_capacity(prompt.len() + prompt.len() / 8 + 16);
        write_string(&mut content, &prompt);
        hasher.update(&content);
        hasher.update(&self.after);
        Question { prompt, digest: Digest(hasher.finalize().into()) }
    }
}

/// Appends `text` as a JSON string.
fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string to a Vec has no way to fail.
    let _ = serde_json::to_writer(out, text);
}

/// JSON with sorted keys and no white space: the same text for the same value, however it was written.
pub fn canonical(value: &Value) -> String {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    sorted.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function() -> Function {
        Function {
            name: "rate".into(),
            description: "Rates a row.".into(),
            parameters: json!({"type": "object", "properties": {"overall": {"type": "number"}}, "required": ["overall"]}),
        }
    }

    const SYSTEM: &str = "You rate.";
    const PROMPT: &str = "Rate \"this\":\n\u{1F600} é";

    fn digest(function: &Function, sampling: &Sampling) -> Digest {
        Form::new(function, SYSTEM, sampling).question(PROMPT.to_owned()).digest
    }

    // Pinned: other people's stores depend on it. A change here is a breaking change.
    #[test]
    fn key_digests_are_pinned() {
        let plain = digest(&function(), &Sampling::default());
        insta::assert_snapshot!(plain, @"3ca2ad237f0f7133f42c7a59842dacbbc61682b3effd44dd0dfc57ef6e55abff");
        let sampling = Sampling {
            temperature: Some(0.2),
            model_seed: Some(7),
            reasoning_effort: Some("none".into()),
            extra_body: Map::from_iter([("top_k".to_owned(), json!(1))]),
        };
        let set = digest(&function(), &sampling);
        insta::assert_snapshot!(set, @"4254295e112bbe38922a913ae9edf0e62749729710d8811b8b3861cc312d84c8");
    }

    #[test]
    fn the_digest_is_that_of_the_whole_canonical_document() {
        let function = function();
        let document = json!({
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": PROMPT},
            ],
            "function": {"parameters": function.parameters, "name": function.name, "description": function.description},
            "temperature": "default", "model_seed": "default", "reasoning_effort": "default", "extra_body": "default",
        });
        assert_eq!(digest(&function, &Sampling::default()), Digest::of(&document));
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_keys() {
        let mut other = function();
        other.parameters =
            json!({"required": ["overall"], "properties": {"overall": {"type": "number"}}, "type": "object"});
        assert_eq!(digest(&function(), &Sampling::default()), digest(&other, &Sampling::default()),);
    }
}
