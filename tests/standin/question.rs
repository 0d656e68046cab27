//! Reading a completion request: the digest of its messages and the form in which it wants its answer.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::shape::{Draw, Shape, mix};

/// Forms kept before the store is emptied; a run has as many as it has lenses.
const FORMS: usize = 256;

/// What the stand-in wants to know of a request.
#[derive(Debug)]
pub(super) struct Question {
    /// The name asked for.
    pub(super) model: String,
    /// Digest of the messages as JSON values: white space, escapes, the order of keys and members that are null
    /// leave it alone, so that two clients that ask the same get the same.
    pub(super) digest: u64,
    /// How the answer is wanted.
    pub(super) form: Arc<Form>,
    /// `max_completion_tokens`, else `max_tokens`.
    pub(super) room: Option<u64>,
    /// A quarter of the body's bytes, schema included.
    pub(super) prompt_tokens: u64,
    /// `service_tier`, as it was asked for; `auto` is `default`.
    pub(super) service_tier: Option<String>,
}

/// How an answer is wanted: by which door, under which name, in which shape.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) door: Door,
    /// The function's name; empty for [`Door::Content`].
    pub(super) name: String,
    /// None where any text will do.
    shape: Option<Shape>,
}

/// Where in the reply the answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// `message.tool_calls`, for `tools`.
    ToolCalls,
    /// `message.function_call`, for the old `functions`.
    FunctionCall,
    /// `message.content`, for a JSON Schema in `response_format` and for plain text.
    Content,
}

impl Form {
    /// The answer to the question of this digest.
    pub(super) fn answer(&self, digest: u64) -> String {
        let mut answer = String::with_capacity(256);
        let mut draw = Draw::new(digest);
        match &self.shape {
            Some(shape) => shape.write(&mut answer, &mut draw),
            None => answer = format!("Question {digest:016x} has no schema, so this is its answer."),
        }
        answer
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    model: Option<String>,
    messages: Option<Fingerprint>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    functions: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    service_tier: Option<String>,
    stream: Option<bool>,
}

/// The forms seen so far: a run asks thousands of questions in one form, and reading its schema each time would
/// cost more than the rest of the request.
#[derive(Debug, Default)]
pub(super) struct Forms(Mutex<HashMap<u64, Arc<Form>>>);

impl Forms {
    /// Reads a request body. The error says what a real server would say with its 400.
    pub(super) fn read(&self, body: &[u8]) -> Result<Question, String> {
        let wire: Wire =
            serde_json::from_slice(body).map_err(|error| format!("could not parse the body: {error}"))?;
        let messages = wire.messages.filter(|messages| messages.length > 0);
        let messages = messages.ok_or("'messages' is required and must be a list that is not empty")?;
        if wire.stream == Some(true) {
            return Err("the stand-in does not stream".to_owned());
        }
        Ok(Question {
            form: self.form(&wire)?,
            model: wire.model.unwrap_or_default(),
            digest: messages.digest,
            room: wire.max_completion_tokens.or(wire.max_tokens),
            prompt_tokens: (body.len() as u64).div_ceil(4),
            service_tier: wire
                .service_tier
                .map(|tier| if tier == "auto" { "default".to_owned() } else { tier }),
        })
    }

    fn form(&self, wire: &Wire) -> Result<Arc<Form>, String> {
        // llama.cpp lets response_format win over tools; OpenAI is not asked for both by anyone known.
        let tools = wire.tools.filter(|_| wire.tool_choice.is_none_or(|choice| choice.get() != "\"none\""));
        let (place, raw) = match (wire.response_format, tools, wire.functions) {
            (Some(raw), _, _) => (Place::ResponseFormat, raw.get()),
            (None, Some(raw), _) => (Place::Tools, raw.get()),
            (None, None, Some(raw)) => (Place::Functions, raw.get()),
            (None, None, None) => (Place::Nowhere, "null"),
        };
        let key = xxh3_64_with_seed(raw.as_bytes(), place as u64);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(form) = known.get(&key) {
            return Ok(Arc::clone(form));
        }
        let form = Arc::new(place.form(raw)?);
        if known.len() == FORMS {
            known.clear();
        }
        known.insert(key, Arc::clone(&form));
        Ok(form)
    }
}

/// Where in the request the schema stands.
#[derive(Clone, Copy)]
enum Place {
    ResponseFormat,
    Tools,
    Functions,
    Nowhere,
}

impl Place {
    fn form(self, raw: &str) -> Result<Form, String> {
        let value: Value = serde_json::from_str(raw).map_err(|error| error.to_string())?;
        let (door, function) = match self {
            Self::Tools => (Door::ToolCalls, &value[0]["function"]),
            Self::Functions => (Door::FunctionCall, &value[0]),
            Self::ResponseFormat | Self::Nowhere => {
                let shape = match value["type"].as_str() {
                    Some("json_schema") => Some(Shape::of(&value["json_schema"]["schema"])),
                    Some("json_object") => Some(Shape::of(&value["schema"])),
                    _ => None,
                };
                return Ok(Form { door: Door::Content, name: String::new(), shape });
            }
        };
        let name = function["name"].as_str().ok_or("a function needs a name")?;
        Ok(Form { door, name: name.to_owned(), shape: Some(Shape::of(&function["parameters"])) })
    }
}

/// Digest of any JSON value, taken while it is parsed: no value is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    digest: u64,
    /// Elements of a list; 0 for everything else.
    length: usize,
}

/// The digest of `null`, by which a member is left out of its object.
const NULL: u64 = 0;

impl Fingerprint {
    fn leaf(kind: u64, bytes: &[u8]) -> Self {
        Self { digest: xxh3_64_with_seed(bytes, kind), length: 0 }
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FingerprintVisitor)
    }
}

struct FingerprintVisitor;

impl<'de> Visitor<'de> for FingerprintVisitor {
    type Value = Fingerprint;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Fingerprint, E> {
        Ok(Fingerprint { digest: NULL, length: 0 })
    }

    fn visit_bool<E>(self, value: bool) -> Result<Fingerprint, E> {
        Ok(Fingerprint::leaf(1, &[u8::from(value)]))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Fingerprint, E> {
        Ok(Fingerprint::leaf(2, &value.to_le_bytes()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Fingerprint, E> {
        Ok(Fingerprint::leaf(2, &value.to_le_bytes()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Fingerprint, E> {
        Ok(Fingerprint::leaf(3, &value.to_le_bytes()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Fingerprint, E> {
        Ok(Fingerprint::leaf(4, value.as_bytes()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Fingerprint, A::Error> {
        let mut all = Fingerprint { digest: xxh3_64(b"list"), length: 0 };
        while let Some(element) = list.next_element::<Fingerprint>()? {
            all.digest = mix(all.digest.rotate_left(1) ^ element.digest);
            all.length += 1;
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Fingerprint, A::Error> {
        let mut digest = xxh3_64(b"object");
        while let Some((name, value)) = object.next_entry::<Fingerprint, Fingerprint>()? {
            if value.digest != NULL {
                // A sum does not depend on the order of its terms.
                digest = digest.wrapping_add(mix(name.digest.rotate_left(1) ^ value.digest));
            }
        }
        Ok(Fingerprint { digest, length: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Question, String> {
        Forms::default().read(body.as_bytes())
    }

    #[test]
    fn the_digest_is_of_the_messages_as_values() {
        let asked = r#"{"model":"a","messages":[{"role":"user","content":"é\n\"x\""}]}"#;
        let same = r#"{ "messages": [ {"content": "\u00e9\u000a\"x\"", "role": "user", "name": null} ], "seed": 3 }"#;
        let other = r#"{"model":"a","messages":[{"role":"user","content":"é\n\"y\""}]}"#;
        let swapped = r#"{"model":"a","messages":[{"user":"role","content":"é\n\"x\""}]}"#;
        let digest = |body| read(body).unwrap().digest;
        assert_eq!(digest(asked), digest(same));
        assert_ne!(digest(asked), digest(other));
        assert_ne!(digest(asked), digest(swapped));
    }

    #[test]
    fn the_order_of_messages_matters() {
        let digest = |body| read(body).unwrap().digest;
        assert_ne!(digest(r#"{"messages":["a","b"]}"#), digest(r#"{"messages":["b","a"]}"#));
    }

    #[test]
    fn the_form_follows_what_the_request_offers() {
        let door = |rest: &str| {
            let form = read(&format!(r#"{{"messages":["a"]{rest}}}"#)).unwrap().form;
            (form.door, form.name.clone())
        };
        assert_eq!(
            door(r#","tools":[{"type":"function","function":{"name":"rate"}}]"#),
            (Door::ToolCalls, "rate".to_owned())
        );
        assert_eq!(door(r#","functions":[{"name":"rate"}]"#), (Door::FunctionCall, "rate".to_owned()));
        assert_eq!(door(r#","tools":[{"function":{"name":"rate"}}],"tool_choice":"none""#).0, Door::Content);
        assert_eq!(door("").0, Door::Content);
    }

    #[test]
    fn a_request_without_messages_is_refused_with_a_reason() {
        for body in ["{}", r#"{"messages":[]}"#, r#"{"messages":"hello"}"#, r#"{"messages":null}"#] {
            assert!(read(body).unwrap_err().contains("'messages' is required"), "{body}");
        }
        assert!(read(r#"{"messages": ["#).unwrap_err().contains("line 1 column 14"));
        assert!(read(r#"{"messages":["a"],"tools":[{}]}"#).unwrap_err().contains("needs a name"));
    }
}
