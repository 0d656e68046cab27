//! What servers really send: reply types that take what any of them does, and the answer in it.
//!
//! Seen in the field: no `created`, `arguments` as an object, unknown finish reasons, tool calls without `type` or
//! `id`, an empty `tool_calls` list beside content, `completion_tokens: null`, an `error` object with status 200.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

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
    /// The function's arguments, not validated.
    Arguments(Value),
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

impl Choice {
    /// The answer: a tool call, the old function call, or JSON in the content.
    pub(super) fn said(self) -> Said {
        let finish = self.finish_reason.unwrap_or_default();
        let message = self.message.unwrap_or_default();
        if finish == "content_filter" {
            return Said::Filtered;
        }
        if let Some(refusal) = message.refusal.filter(|text| !text.is_empty()) {
            return Said::Refusal(refusal);
        }
        let call = message.tool_calls.and_then(|calls| calls.into_iter().find_map(|call| call.function));
        let said = match call.or(message.function_call) {
            Some(call) => from_call(call.arguments),
            None => from_content(&text_of(message.content)),
        };
        match said {
            // Whole JSON is an answer even where the server says "length": some count the last token so.
            Said::Broken(..) | Said::Nothing(_) if finish == "length" => Said::Truncated,
            said => said,
        }
    }
}

fn from_call(arguments: Value) -> Said {
    match arguments {
        Value::String(text) => parse(&text),
        object @ Value::Object(_) => Said::Arguments(object),
        other => Said::Broken(other.to_string(), "the arguments are not an object".to_owned()),
    }
}

/// JSON in the content: bare, in a code fence, after `<think>…</think>`.
fn from_content(content: &str) -> Said {
    let answer = content.rsplit("</think>").next().unwrap_or(content).trim();
    if answer.starts_with('{') {
        return parse(answer);
    }
    // The answer's own strings may hold fences: the block ends at the last one.
    let fenced =
        answer.split_once("```").map(|(_, after)| after.rsplit_once("```").map_or(after, |(block, _)| block));
    match fenced.and_then(|block| Some(block[block.find('{')?..].trim())) {
        Some(json) => parse(json),
        None => Said::Nothing(content.trim().to_owned()),
    }
}

fn parse(text: &str) -> Said {
    match serde_json::from_str::<Value>(text.trim()) {
        Ok(object @ Value::Object(_)) => Said::Arguments(unwrap_call(object)),
        Ok(_) => Said::Broken(text.to_owned(), "the arguments are not a JSON object".to_owned()),
        Err(error) => Said::Broken(text.to_owned(), format!("the arguments are not valid JSON: {error}")),
    }
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
            .unwrap_or_else(|| String::from_utf8_lossy(&body[..body.len().min(300)]).trim().to_owned());
        Self {
            message,
            kind: [word("code"), word("type")].into_iter().flatten().collect::<Vec<_>>().join(" "),
            param: word("param"),
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
        completion.choices.unwrap().into_iter().next().unwrap().said()
    }

    fn message(message: &Value) -> Said {
        said(json!({"choices": [{"message": message, "finish_reason": "stop"}]}))
    }

    #[test]
    fn every_accepted_form_gives_the_same_arguments() {
        let text = r#"{"overall": 2}"#;
        let arguments = Said::Arguments(json!({"overall": 2}));
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
        ] {
            assert_eq!(message(&form), arguments, "{form}");
        }
    }

    #[test]
    fn an_answer_may_speak_of_code_fences() {
        let arguments = json!({"rationale": "uses ```python\nx``` well", "overall": 2});
        let fenced = format!("```json\n{arguments}\n```");
        assert_eq!(message(&json!({"content": arguments.to_string()})), Said::Arguments(arguments.clone()));
        assert_eq!(message(&json!({"content": fenced})), Said::Arguments(arguments));
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
