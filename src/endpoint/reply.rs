//! What servers really send: reply types that take what any of them does, and the answer in it.
//!
//! Seen in the field: no `created`, `arguments` as an object, unknown finish reasons, tool calls without `type` or
//! `id`, an empty `tool_calls` list beside content, `completion_tokens: null`, an `error` object with status 200.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::batches::Billing;
use super::{Refusal, Trouble};

/// A chat completion as loosely as can be.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Completion {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) choices: Option<Vec<Choice>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) usage: Option<Usage>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) service_tier: Option<String>,
    #[serde(default)]
    pub(super) error: Option<Value>,
}

/// What is said of what came in a completion's place.
pub(super) const NO_COMPLETION: &str = "the reply is not a chat completion";

impl Completion {
    /// What it says, billed so.
    pub(super) fn reply(
        self,
        billing: &Billing,
        retry_after: Option<Duration>,
    ) -> Result<super::Reply, Trouble> {
        let usage = billing.usage(&self);
        let Some(choice) = self.choices.and_then(|choices| choices.into_iter().next()) else {
            // Gateways put the error of the server behind them into a reply of status 200.
            let Some(error) = self.error.filter(|error| !error.is_null()) else {
                return Err(Trouble::Garbled(format!("{NO_COMPLETION}: the reply has no choices")));
            };
            let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
            let error = ServerError { in_reply: true, ..ServerError::of_value(&error) };
            return Err(Trouble::Refused(Refusal { status, retry_after, error }));
        };
        let finish_reason = choice.finish_reason.clone();
        let (said, call) = choice.said();
        Ok(super::Reply { said, call, model: self.model, finish_reason, usage })
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    message: Option<Message>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<Value>,
    #[serde(default, deserialize_with = "lenient")]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
    #[serde(default, deserialize_with = "lenient")]
    function_call: Option<FunctionCall>,
}

#[derive(Debug, Deserialize)]
struct ToolCall {
    #[serde(default)]
    function: Option<FunctionCall>,
}

#[derive(Debug, Deserialize)]
struct FunctionCall {
    #[serde(default)]
    arguments: Value,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Usage {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) prompt_tokens: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) completion_tokens: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) total_tokens: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    prompt_tokens_details: Option<PromptDetails>,
    /// Anthropic's names, which gateways pass on.
    #[serde(default, deserialize_with = "lenient")]
    cache_read_input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    cache_creation_input_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct PromptDetails {
    #[serde(default, deserialize_with = "lenient")]
    cached_tokens: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    cache_write_tokens: Option<u64>,
}

impl Usage {
    /// Prompt tokens that the server had cached.
    pub(super) fn cached(&self) -> u64 {
        let details = self.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens);
        details.or(self.cache_read_input_tokens).unwrap_or(0)
    }

    /// Prompt tokens that the server wrote into its cache.
    pub(super) fn written(&self) -> u64 {
        let details = self.prompt_tokens_details.as_ref().and_then(|details| details.cache_write_tokens);
        details.or(self.cache_creation_input_tokens).unwrap_or(0)
    }
}

/// A leaf of another type than expected is as good as none: the reply may still hold an answer.
fn lenient<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

/// What the model said.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// What may be the function's arguments, not validated: one object, or several where the model called or wrote more
    /// than once. The first that validates counts.
    Arguments(Vec<Value>),
    /// Something that should have been arguments but is not JSON; its text and the parser's words.
    Broken(String, String),
    /// Text without an answer in it.
    Nothing(String),
    /// It declined; its words.
    Refusal(String),
    /// The server's filter stopped it.
    Filtered,
    /// The reply was cut by its length.
    Truncated,
}

/// Whether a reply called a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// It did.
    Made,
    /// It is text, though it was free to call.
    Missing,
    /// Nobody knows what it would have been: a refusal, filtered, or cut while it thought or wrote JSON.
    Unclear,
}

/// Objects of one reply that are looked at, and places in a text where one may begin.
const MOST_OBJECTS: usize = 16;

impl Choice {
    /// The answer, and whether it came as a call: tool calls, the old function call, or JSON in the content.
    pub(super) fn said(self) -> (Said, Call) {
        let finish = self.finish_reason.unwrap_or_default();
        let message = self.message.unwrap_or_default();
        if finish == "content_filter" {
            return (Said::Filtered, Call::Unclear);
        }
        if let Some(refusal) = message.refusal.filter(|text| !text.is_empty()) {
            return (Said::Refusal(refusal), Call::Unclear);
        }
        let mut calls: Vec<FunctionCall> =
            message.tool_calls.into_iter().flatten().filter_map(|call| call.function).collect();
        if calls.is_empty() {
            calls.extend(message.function_call);
        }
        let content = text_of(message.content);
        let call = if calls.is_empty() { Call::Missing } else { Call::Made };
        let said = if calls.is_empty() { from_content(&content) } else { from_calls(calls) };
        match said {
            // Whole JSON is an answer even where the server says "length": some count the last token so.
            Said::Broken(..) | Said::Nothing(_) if finish == "length" => {
                let thinks = content.contains("<think>") && !content.contains("</think>");
                // Prose that ran on until it was cut is no beginning of a call.
                let is_prose = matches!(said, Said::Nothing(_)) && !thinks && !content.trim().is_empty();
                (Said::Truncated, if call == Call::Missing && !is_prose { Call::Unclear } else { call })
            }
            said => (said, call),
        }
    }
}

fn from_calls(calls: Vec<FunctionCall>) -> Said {
    let mut objects = Vec::new();
    let mut broken = None;
    for call in calls.into_iter().take(MOST_OBJECTS) {
        match from_call(call.arguments) {
            Said::Arguments(found) => objects.extend(found),
            other => broken = broken.or(Some(other)),
        }
    }
    match (objects.is_empty(), broken) {
        (true, Some(broken)) => broken,
        _ => Said::Arguments(objects),
    }
}

fn from_call(arguments: Value) -> Said {
    match arguments {
        // In a fence, or with words around: as some write it into the content.
        Value::String(text) if !text.trim_start().starts_with(['{', '"']) => match from_content(&text) {
            Said::Nothing(_) => parse(&text),
            said => said,
        },
        Value::String(text) => parse(&text),
        object @ Value::Object(_) => Said::Arguments(vec![object]),
        other => Said::Broken(other.to_string(), "the arguments are not an object".to_owned()),
    }
}

/// JSON in the content: bare, in a code fence, after `<think>…</think>`, or with words around it.
fn from_content(content: &str) -> Said {
    let answer = content.rsplit("</think>").next().unwrap_or(content).trim();
    if answer.starts_with('{') || answer.starts_with("\"{") {
        return parse(answer);
    }
    // The answer's own strings may hold fences: the block ends at the last one.
    let fenced =
        answer.split_once("```").map(|(_, after)| after.rsplit_once("```").map_or(after, |(block, _)| block));
    if let Some(json) = fenced.and_then(|block| Some(block[block.find('{')?..].trim())) {
        return parse(json);
    }
    // Each place is read up to its first mistake, and there are few: linear.
    let objects = answer
        .match_indices('{')
        .take(MOST_OBJECTS)
        .map(|(at, _)| objects(&answer[at..]).0)
        .find(|objects| !objects.is_empty());
    objects.map_or_else(|| Said::Nothing(content.trim().to_owned()), Said::Arguments)
}

/// The arguments in a text that should be JSON: an object, whatever follows it; or a JSON string that holds one, as some
/// gateways escape twice.
fn parse(text: &str) -> Said {
    let text = text.trim();
    let (found, error) = objects(text);
    if !found.is_empty() {
        return Said::Arguments(found);
    }
    if let Ok(Value::String(inner)) = serde_json::from_str(text) {
        let (found, _) = objects(inner.trim());
        if !found.is_empty() {
            return Said::Arguments(found);
        }
    }
    match error {
        Some(error) => Said::Broken(text.to_owned(), format!("the arguments are not valid JSON: {error}")),
        None => Said::Broken(text.to_owned(), "the arguments are not a JSON object".to_owned()),
    }
}

/// The objects that a text begins with, one after another, and what stopped at the first of them.
fn objects(text: &str) -> (Vec<Value>, Option<serde_json::Error>) {
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>().take(MOST_OBJECTS) {
        match value {
            Ok(object @ Value::Object(_)) => found.push(unwrap_call(object)),
            Ok(_) => break,
            Err(error) => return (found, Some(error)),
        }
    }
    (found, None)
}

/// Models that write a call as text write `{"name": …, "arguments": {…}}`.
fn unwrap_call(object: Value) -> Value {
    match object {
        Value::Object(mut map) if map.len() == 2 && map.contains_key("name") => {
            let inner = map.get("arguments").or_else(|| map.get("parameters")).is_some_and(Value::is_object);
            let key = if map.contains_key("arguments") { "arguments" } else { "parameters" };
            if inner { map.remove(key).unwrap_or_default() } else { Value::Object(map) }
        }
        other => other,
    }
}

/// Content is a string, or a list of parts of which the text ones count.
fn text_of(content: Option<Value>) -> String {
    match content {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text")?.as_str()).collect::<Vec<_>>().concat()
        }
        _ => String::new(),
    }
}

/// An error as servers word it: `{"error": {"message", "type", "code", "param"}}`, `{"error": "text"}`,
/// `{"detail": …}`, `{"message": …}`, or plain text.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// What the server says.
    pub message: String,
    /// Its `code` and `type`, joined by a space: servers put the same words in either.
    pub kind: String,
    /// The parameter that it names.
    pub param: Option<String>,
    /// llama.cpp's numbers where a prompt does not fit.
    pub overflow: Option<Box<Overflow>>,
    /// It came with status 200, where a completion was expected.
    pub in_reply: bool,
}

/// A prompt that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow {
    /// Its tokens (`n_prompt_tokens`).
    pub prompt: u64,
    /// Those that a request may have (`n_ctx`).
    pub context: u64,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match &self.param {
            Some(param) => write!(f, " (parameter {param})"),
            None => Ok(()),
        }
    }
}

impl ServerError {
    /// Its code, type and parameter: nothing that may quote the request.
    pub fn bare(&self) -> String {
        let is_name =
            |word: &&str| word.len() <= 64 && !word.chars().any(|c| c.is_whitespace() || c.is_control());
        let mut words: Vec<String> = self.kind.split(' ').filter(is_name).map(str::to_owned).collect();
        // What is a sentence is no name.
        if words.len() > 3 {
            words.clear();
        }
        let parameter = self.param.as_deref().filter(is_name);
        words.extend(parameter.map(|parameter| format!("parameter {parameter}")));
        words.retain(|word| !word.is_empty());
        words.join(" ")
    }

    pub(super) fn parse(body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let object = value.get("error").filter(|error| error.is_object()).unwrap_or(&value);
        let word = |key: &str| match object.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let message = word("message")
            .or_else(|| value.get("error").and_then(Value::as_str).map(str::to_owned))
            .or_else(|| {
                object.get("detail").map(|detail| detail.as_str().map_or(detail.to_string(), str::to_owned))
            })
            .unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned());
        // Azure says in an inner error which policy it was.
        let inner = object.get("innererror").and_then(|inner| inner.get("code")?.as_str()).map(str::to_owned);
        let number = |key: &str| object.get(key).and_then(Value::as_u64);
        let overflow = number("n_prompt_tokens").zip(number("n_ctx"));
        Self {
            in_reply: false,
            message,
            kind: [word("code"), word("type"), inner].into_iter().flatten().collect::<Vec<_>>().join(" "),
            param: word("param"),
            overflow: overflow.map(|(prompt, context)| Box::new(Overflow { prompt, context })),
        }
    }

    pub(super) fn of_value(error: &Value) -> Self {
        Self::parse(serde_json::json!({ "error": error }).to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn said(reply: Value) -> Said {
        let completion: Completion = serde_json::from_value(reply).unwrap();
        completion.choices.unwrap().into_iter().next().unwrap().said().0
    }

    fn call(message: &Value, finish: &str) -> Call {
        let choice: Choice =
            serde_json::from_value(json!({"message": message, "finish_reason": finish})).unwrap();
        choice.said().1
    }

    fn message(message: &Value) -> Said {
        said(json!({"choices": [{"message": message, "finish_reason": "stop"}]}))
    }

    #[test]
    fn every_accepted_form_gives_the_same_arguments() {
        let text = r#"{"overall": 2}"#;
        let arguments = Said::Arguments(vec![json!({"overall": 2})]);
        let twice = Value::from(text).to_string();
        for form in [
            json!({"tool_calls": [{"type": "function", "id": "1", "function": {"name": "rate", "arguments": text}}]}),
            json!({"tool_calls": [{"function": {"arguments": {"overall": 2}}}]}),
            json!({"function_call": {"name": "rate", "arguments": text}}),
            json!({"content": text}),
            json!({"content": text, "tool_calls": []}),
            json!({"content": text, "tool_calls": [{"type": "function", "function": null}]}),
            json!({"content": format!("```json\n{text}\n```")}),
            json!({"content": format!("Here it is:\n```\n{text}\n``` as asked")}),
            json!({"content": format!("<think>maybe {{\"overall\": 1}}</think>\n{text}")}),
            json!({"content": format!("```\n{text}")}),
            json!({"content": [{"type": "text", "text": text}]}),
            json!({"content": format!(r#"{{"name": "rate", "arguments": {text}}}"#)}),
            // Escaped twice, with words around, with something after it.
            json!({"tool_calls": [{"function": {"arguments": twice}}]}),
            json!({"content": twice}),
            json!({"content": format!("Here it is: {text} I hope that helps.")}),
            json!({"content": format!("As asked, {{data}}: {text}")}),
            json!({"content": format!("<tool_call>\n{{\"name\": \"rate\", \"arguments\": {text}}}\n</tool_call>")}),
            json!({"tool_calls": [{"function": {"arguments": format!("{text}</tool_call>")}}]}),
            json!({"tool_calls": [{"function": {"arguments": format!("```json\n{text}\n```")}}]}),
            // A second call that is broken.
            json!({"tool_calls": [{"function": {"arguments": "{\"ov"}}, {"function": {"arguments": text}}]}),
        ] {
            assert_eq!(message(&form), arguments, "{form}");
        }
    }

    #[test]
    fn an_answer_may_speak_of_code_fences() {
        let arguments = json!({"rationale": "uses ```python\nx``` well", "overall": 2});
        let fenced = format!("```json\n{arguments}\n```");
        assert_eq!(
            message(&json!({"content": arguments.to_string()})),
            Said::Arguments(vec![arguments.clone()])
        );
        assert_eq!(message(&json!({"content": fenced})), Said::Arguments(vec![arguments]));
    }

    #[test]
    fn several_calls_are_several_candidates() {
        let (one, two) = (json!({"overall": 9}), json!({"overall": 2}));
        let both = Said::Arguments(vec![one.clone(), two.clone()]);
        let calls = json!({"tool_calls": [
            {"function": {"arguments": one.to_string()}}, {"function": {"arguments": two.to_string()}},
        ]});
        assert_eq!(message(&calls), both);
        assert_eq!(message(&json!({"content": format!("{one}\n{two}")})), both);
    }

    #[test]
    fn not_a_number_is_not_json() {
        for value in ["NaN", "Infinity", "-inf"] {
            let said = message(
                &json!({"tool_calls": [{"function": {"arguments": format!("{{\"overall\": {value}}}")}}]}),
            );
            assert!(matches!(said, Said::Broken(..)), "{value}");
        }
    }

    #[test]
    fn it_is_told_whether_the_function_was_called() {
        let called = json!({"tool_calls": [{"function": {"arguments": "{"}}]});
        assert_eq!(call(&called, "stop"), Call::Made);
        assert_eq!(call(&called, "length"), Call::Made);
        assert_eq!(call(&json!({"function_call": {"arguments": "{}"}}), "stop"), Call::Made);
        for text in ["I rate it 2.", "{\"overall\": 2}", ""] {
            assert_eq!(call(&json!({"content": text, "tool_calls": []}), "stop"), Call::Missing, "{text}");
        }
        // Prose that runs on is no call; JSON, a thought or nothing that was cut may have become one.
        assert_eq!(call(&json!({"content": "The text is"}), "length"), Call::Missing);
        for cut in ["{\"over", "<think>well", ""] {
            assert_eq!(call(&json!({"content": cut}), "length"), Call::Unclear, "{cut}");
        }
        assert_eq!(call(&json!({"refusal": "no"}), "stop"), Call::Unclear);
        assert_eq!(call(&json!({"content": "no"}), "content_filter"), Call::Unclear);
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        assert_eq!(message(&json!({"content": "I rate it 2."})), Said::Nothing("I rate it 2.".into()));
        assert_eq!(message(&json!({"refusal": "no"})), Said::Refusal("no".into()));
        assert!(matches!(message(&json!({"content": "{\"overall\": "})), Said::Broken(..)));
        let cut = json!({"choices": [{"message": {"tool_calls": [{"function": {"arguments": "{\"ov"}}]}, "finish_reason": "length"}]});
        assert_eq!(said(cut), Said::Truncated);
        let filtered =
            json!({"choices": [{"message": {"content": "{}"}, "finish_reason": "content_filter"}]});
        assert_eq!(said(filtered), Said::Filtered);
    }

    #[test]
    fn a_number_out_of_range_is_broken_not_a_panic() {
        let form = json!({"tool_calls": [{"function": {"arguments": "{\"overall\": 4E983132942532623}"}}]});
        assert!(matches!(message(&form), Said::Broken(..)));
    }

    #[test]
    fn errors_are_read_in_every_dialect() {
        let openai =
            ServerError::parse(br#"{"error":{"message":"no","type":"a","code":"b","param":"temperature"}}"#);
        assert_eq!((openai.message.as_str(), openai.kind.as_str()), ("no", "b a"));
        assert_eq!(openai.param.as_deref(), Some("temperature"));
        assert_eq!(ServerError::parse(br#"{"detail":"slow down"}"#).message, "slow down");
        assert_eq!(ServerError::parse(br#"{"error":"plain"}"#).message, "plain");
        assert_eq!(ServerError::parse(b"<html>busy</html>").message, "<html>busy</html>");
        let azure = ServerError::parse(br#"{"error":{"message":"filtered","code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#);
        assert_eq!(azure.kind, "content_filter ResponsibleAIPolicyViolation");
        let llama = ServerError::parse(br#"{"error":{"message":"no","n_prompt_tokens":8411,"n_ctx":4096}}"#);
        assert_eq!(llama.overflow, Some(Box::new(Overflow { prompt: 8411, context: 4096 })));
    }

    proptest! {
        #[test]
        fn parsing_a_reply_never_panics(content in ".*", arguments in ".*", finish in "stop|length|") {
            let reply = json!({"choices": [{"message": {"content": content, "function_call": {"arguments": arguments}},
                "finish_reason": finish}]});
            said(reply);
        }

        #[test]
        fn content_never_panics(content in "(<think>|</think>|```|json|\\{|\\}|\"a\": 1|\\n| |.)*") {
            from_content(&content);
        }
    }
}
