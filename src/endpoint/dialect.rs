//! What a server turned out not to take: read from its refusals, and asked in the other form for the rest of a run.

use serde::{Deserialize, Serialize};

use super::{Endpoint, Refusal, reply::ServerError};

/// How questions are put to this server where that differs from the plan: everything as planned at first. It only ever
/// moves away from the plan, so that a server that refuses each form in turn is not asked for ever.
///
/// It is kept as JSON. What a newer version kept and this one does not know is as planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dialect {
    /// Under which of its two names the room for the answer is sent.
    pub(super) room: Way,
    /// Whether a temperature is sent.
    pub(super) temperature: Way,
    /// Whether `reasoning_effort` is sent: `none` where it was left out, and left out where it was `none`.
    pub(super) effort: Way,
    /// Whether `parallel_tool_calls: false` is sent.
    pub(super) parallel_tool_calls: Way,
    /// How the call is forced.
    pub(super) tool_choice: ToolChoice,
    /// Whether a function or a JSON Schema is asked for.
    pub(super) reply: Way,
}

/// One of the two ways to put a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// The other one.
    Other,
    /// As planned from the model table and the user's settings.
    #[default]
    #[serde(other)]
    Planned,
}

/// How a call is forced, from the form that most servers honour to the one that all take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToolChoice {
    /// The object that names the function: for servers before `"required"`.
    Named,
    /// `"auto"`: the model may also answer in text.
    Auto,
    /// `"required"`: llama.cpp ignores the object form without a word.
    #[default]
    #[serde(other)]
    Required,
}

impl Endpoint {
    /// Begins with what an earlier run learned of this server. What the user has set meanwhile is sent all the same: the
    /// server may have learned it, and else its refusal is told.
    pub fn begin_with(&self, remembered: Dialect) {
        let sampling = &self.options.sampling;
        let planned_if = |is_set: bool, way: Way| if is_set { Way::Planned } else { way };
        self.learned().dialect = Dialect {
            temperature: planned_if(sampling.temperature.is_some(), remembered.temperature),
            effort: planned_if(sampling.reasoning_effort.is_some(), remembered.effort),
            ..remembered
        };
    }
}

/// Names under which a message may speak of a parameter, beside the parameter's own.
const ALIASES: [(&str, &[&str]); 5] = [
    ("parallel_tool_calls", &["parallel tool calls", "parallel function calls"]),
    ("tool_choice", &["tool choice"]),
    ("tools", &["tool use", "tool calling", "tool calls", "function calling", "functions"]),
    ("reasoning_effort", &["reasoning effort", "reasoning.effort", "think value", "support thinking"]),
    ("response_format", &["response format", "structured output", "structured outputs"]),
];

/// The server cannot make a grammar or a parser of our function or schema; whichever was sent is meant.
const OF_THE_SCHEMA: [&str; 10] = [
    "json schema",
    "json_schema",
    "invalid schema",
    "parse grammar",
    "compile grammar",
    "grammar error",
    "xgrammar",
    "generate parser",
    "parse tools",
    "invalid_function_parameters",
];

/// A message without `param` is about a parameter only if it says that something is not taken.
const NOT_TAKEN: [&str; 16] = [
    "not support",
    "unsupported",
    "unrecognized",
    "unknown",
    "unexpected",
    "extra inputs",
    "extra_forbidden",
    "not permitted",
    "not allowed",
    "invalid",
    "must be",
    "must either",
    "requires",
    "did you mean",
    "deprecated",
    "no endpoints",
];

/// The room for the answer is named in refusals of its size, too, which no other name for it mends.
const OF_THE_SIZE: [&str; 11] = [
    "too large",
    "too long",
    "at most",
    "at least",
    "maximum",
    "less than",
    "greater than",
    "between",
    "higher",
    "exceed",
    "context",
];

/// Statuses of a server that knows what it was asked and does not take it.
const REFUSALS: [u16; 2] = [400, 422];

/// Statuses under which some servers say the same of functions: gateways that find no model that takes them, and
/// llama.cpp where it cannot read a function.
const REFUSALS_OF_FUNCTIONS: [u16; 3] = [404, 500, 501];

/// Which of the parameters that were `sent` a refusal is about: by `param`, else by the words of the message.
/// `reasoning_effort` is also found where it was not sent, since leaving it out has a meaning.
pub(super) fn refused<'a>(refusal: &Refusal, sent: &[&'a str]) -> Option<&'a str> {
    let ServerError { message, kind, param, .. } = &refusal.error;
    let message = message.to_lowercase();
    // The reply of a model that did not keep to the form says nothing of the form.
    if kind.contains("tool_use_failed") || kind.contains("json_validate_failed") {
        return None;
    }
    let everywhere = REFUSALS.contains(&refusal.status);
    let of_functions = |name: &str| matches!(name, "tools" | "tool_choice" | "response_format");
    let may_be = |name: &&str| everywhere || of_functions(name);
    if !everywhere && !REFUSALS_OF_FUNCTIONS.contains(&refusal.status) {
        return None;
    }
    let about_size = OF_THE_SIZE.iter().any(|words| message.contains(words));
    let sent: Vec<&'a str> = sent
        .iter()
        .copied()
        .chain((!sent.contains(&"reasoning_effort")).then_some("reasoning_effort"))
        .filter(may_be)
        .filter(|name| !(about_size && matches!(*name, "max_tokens" | "max_completion_tokens")))
        .collect();
    let named = |name: &str| sent.iter().copied().find(|sent| *sent == name);
    if let Some(param) = param.as_deref().filter(|param| !param.is_empty()) {
        // `tools[0].function.parameters`, `body.seed`.
        let name = param.strip_prefix("body.").unwrap_or(param).split(['.', '[', ',', ' ']).next();
        return named(if name == Some("functions") { "tools" } else { name? });
    }
    if OF_THE_SCHEMA.iter().any(|words| message.contains(words) || kind.contains(words)) {
        return named("response_format").or_else(|| named("tools"));
    }
    if !NOT_TAKEN.iter().any(|words| message.contains(words)) {
        return None;
    }
    let first = |names: &dyn Fn(&str) -> Option<usize>| {
        sent.iter().filter_map(|name| Some((names(name)?, *name))).min().map(|(_, name)| name)
    };
    // A name with an underscore is the parameter; "tools" and "temperature" are also words.
    first(&|name| if name.contains('_') { place(&message, name) } else { None }).or_else(|| {
        first(&|name| {
            let aliases = ALIASES.iter().find(|(of, _)| *of == name).map_or(&[][..], |(_, aliases)| aliases);
            aliases.iter().copied().chain([name]).filter_map(|words| place(&message, words)).min()
        })
    })
}

/// Where `words` stand in `text`, not as a part of a longer word.
fn place(text: &str, words: &str) -> Option<usize> {
    let in_a_word =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    text.match_indices(words).map(|(at, _)| at).find(|&at| {
        let bytes = text.as_bytes();
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !in_a_word(before) && !in_a_word(bytes.get(at + words.len()))
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const SENT: [&str; 8] = [
        "model",
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_tokens",
        "temperature",
        "seed",
    ];

    fn refusal(status: u16, body: &str) -> Refusal {
        Refusal { status, retry_after: None, error: ServerError::parse(body.as_bytes()) }
    }

    /// What servers really say, as reported by their users: status, body, and what of it was sent beside [`SENT`].
    const SEEN: [(u16, &str, &str); 36] = [
        // OpenAI and Azure.
        (
            400,
            r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}"#,
            "",
        ),
        (
            400,
            r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","code":"invalid_request_body"}}"#,
            "",
        ),
        (
            400,
            r#"{"error":{"message":"Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.","type":"invalid_request_error","param":"temperature","code":"unsupported_value"}}"#,
            "",
        ),
        (
            400,
            r#"{"error":{"message":"Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."}}"#,
            "",
        ),
        (
            400,
            r#"{"error":{"message":"Function tools with reasoning_effort are not supported for gpt-5.6-luna in /v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to 'none'.","type":"invalid_request_error","param":"reasoning_effort","code":null}}"#,
            "",
        ),
        (
            400,
            r#"{"error":{"message":"Function tools with reasoning_effort are not supported for gpt-5.6-luna in /v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to 'none'.","param":null}}"#,
            "",
        ),
        (
            400,
            r#"{"error":{"message":"Unsupported value: 'reasoning_effort' does not support 'none' with this model. Supported values are: 'minimal', 'low', 'medium', and 'high'.","type":"invalid_request_error"}}"#,
            "reasoning_effort",
        ),
        (
            400,
            r#"{"error":{"message":"Unrecognized request argument supplied: parallel_tool_calls","type":"invalid_request_error","param":null,"code":null}}"#,
            "",
        ),
        (
            400,
            r#"{"error":{"message":"Unrecognized request argument supplied: reasoning_effort","type":"invalid_request_error","param":null,"code":null}}"#,
            "reasoning_effort",
        ),
        (
            400,
            r#"{"error":{"message":"Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model. Learn more about supported models at the Structured Outputs guide","type":"invalid_request_error","param":"","code":null}}"#,
            "response_format",
        ),
        (
            400,
            r#"{"error":{"message":"Invalid schema for function 'rate': In context=(), 'required' is required to be supplied.","type":"invalid_request_error","param":"tools[0].function.parameters","code":"invalid_function_parameters"}}"#,
            "",
        ),
        (
            400,
            r#"{"error":{"message":"max_tokens is too large: 32768. This model supports at most 16384 completion tokens, whereas you provided 32768.","type":"invalid_request_error","param":"max_tokens","code":"invalid_value"}}"#,
            "",
        ),
        (
            400,
            r#"{"error":{"message":"Could not finish the message because max_tokens or model output limit was reached. Please try again with higher max_tokens.","type":"invalid_request_error","param":null,"code":null}}"#,
            "",
        ),
        (
            400,
            r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400}}"#,
            "",
        ),
        // Mistral: pydantic's list, as JSON or as a text that holds JSON.
        (
            422,
            r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","max_completion_tokens"],"msg":"Extra inputs are not permitted","input":32000}]},"type":"invalid_request_error","param":null,"code":null}"#,
            "max_completion_tokens",
        ),
        (
            422,
            r#"{"object":"Error","detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted","input":7}],"message":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted","input":7}],"type":"invalid_request_error","code":3001}"#,
            "",
        ),
        (
            422,
            r#"{"object":"error","message":"{\"detail\":[{\"type\":\"extra_forbidden\",\"loc\":[\"body\",\"parallel_tool_calls\"],\"msg\":\"Extra inputs are not permitted\",\"input\":false}]}","type":"internal_error_proxy","param":null,"code":"1000"}"#,
            "",
        ),
        // Groq.
        (
            400,
            r#"{"error":{"message":"property 'max_completion_tokens' is unsupported, did you mean 'max_tokens'?","type":"invalid_request_error"}}"#,
            "max_completion_tokens",
        ),
        (
            400,
            r#"{"error":{"message":"Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details.","type":"invalid_request_error","code":"tool_use_failed"}}"#,
            "",
        ),
        // vLLM.
        (
            400,
            r#"{"object":"error","message":"\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set","type":"BadRequestError","param":null,"code":400}"#,
            "",
        ),
        (
            400,
            r#"{"object":"error","message":"[{'type': 'value_error', 'loc': ('body',), 'msg': 'Value error, `tool_choice` must either be a named tool, \"auto\", or \"none\".'}]","type":"BadRequestError","param":null,"code":400}"#,
            "",
        ),
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 16384 tokens. However, you requested 122946 tokens (112946 in the messages, 10000 in the completion). Please reduce the length of the messages or completion.","type":"BadRequestError","param":null,"code":400}"#,
            "",
        ),
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 2048 tokens. However, your request has 8 input tokens plus 2045 'max_tokens'. Please reduce one or the other. (parameter=input_tokens, max_tokens, value=(8, 2045))","type":"BadRequestError","param":"input_tokens, max_tokens","code":400}}"#,
            "",
        ),
        (
            400,
            r#"{"object":"error","message":"max_tokens must be at least 1, got -186.","type":"BadRequestError","param":null,"code":400}"#,
            "",
        ),
        (
            400,
            r#"{"object":"error","message":"The provided JSON schema contains features not supported by xgrammar.","type":"BadRequestError","param":null,"code":400}"#,
            "response_format",
        ),
        // Ollama.
        (
            400,
            r#"{"error":{"message":"registry.ollama.ai/library/gemma3:4b does not support tools","type":"api_error","param":null,"code":null}}"#,
            "",
        ),
        (
            400,
            r#"{"error":{"message":"think value \"medium\" is not supported for this model","type":"api_error","param":null,"code":null}}"#,
            "reasoning_effort",
        ),
        (
            400,
            r#"{"error":{"message":"\"llama3.1:8b\" does not support thinking","type":"invalid_request_error","param":null,"code":null}}"#,
            "reasoning_effort",
        ),
        // LM Studio; DeepSeek and Qwen while they think; OpenRouter.
        (
            400,
            r#"{"error":"Invalid tool_choice type: 'object'. Supported string values: none, auto, required"}"#,
            "",
        ),
        (
            400,
            r#"{"error":{"message":"<400> InternalError.Algo.InvalidParameter: The tool_choice parameter does not support being set to required or object in thinking mode","type":"invalid_request_error","param":null,"code":"invalid_parameter_error"}}"#,
            "",
        ),
        (
            404,
            r#"{"error":{"message":"No endpoints found that support tool use. To learn more about provider routing, visit the documentation","code":404}}"#,
            "",
        ),
        // llama.cpp.
        (
            400,
            r#"{"error":{"code":400,"message":"Unable to generate parser for this template. Automatic parser generation failed: JSON schema error at #: unrecognized type frobnicate","type":"invalid_request_error"}}"#,
            "response_format",
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"Failed to initialize samplers: failed to parse grammar","type":"invalid_request_error"}}"#,
            "",
        ),
        (
            500,
            r#"{"error":{"code":500,"message":"Failed to parse tools: Missing tool function: {\"type\":\"function\"}","type":"server_error"}}"#,
            "",
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"request (8411 tokens) exceeds the available context size (4096 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":8411,"n_ctx":4096}}"#,
            "",
        ),
        (
            500,
            r#"{"error":{"code":500,"message":"The model produced output that does not match the expected peg-native format","type":"server_error"}}"#,
            "",
        ),
    ];

    #[test]
    fn what_servers_refuse_is_recognised() {
        let mut table = String::new();
        for (status, body, also) in SEEN {
            let mut sent: Vec<&str> = SENT.to_vec();
            match also {
                "max_completion_tokens" => sent.retain(|name| *name != "max_tokens"),
                "response_format" => sent.retain(|name| !name.contains("tool")),
                _ => {}
            }
            sent.extend(Some(also).filter(|also| !also.is_empty()));
            let refusal = refusal(status, body);
            let found = refused(&refusal, &sent).unwrap_or("–");
            let said: String = refusal.error.message.chars().take(60).collect();
            writeln!(table, "{found:<21} {status} {said}").unwrap();
        }
        insta::assert_snapshot!(table, @r#"
        max_tokens            400 Unsupported parameter: 'max_tokens' is not supported with th
        max_tokens            400 Unsupported parameter: 'max_tokens' is not supported with th
        temperature           400 Unsupported value: 'temperature' does not support 0 with thi
        temperature           400 Unsupported value: 'temperature' does not support 0 with thi
        reasoning_effort      400 Function tools with reasoning_effort are not supported for g
        reasoning_effort      400 Function tools with reasoning_effort are not supported for g
        reasoning_effort      400 Unsupported value: 'reasoning_effort' does not support 'none
        parallel_tool_calls   400 Unrecognized request argument supplied: parallel_tool_calls
        reasoning_effort      400 Unrecognized request argument supplied: reasoning_effort
        response_format       400 Invalid parameter: 'response_format' of type 'json_schema' i
        tools                 400 Invalid schema for function 'rate': In context=(), 'required
        –                     400 max_tokens is too large: 32768. This model supports at most 
        –                     400 Could not finish the message because max_tokens or model out
        –                     400 The response was filtered due to the prompt triggering Azure
        max_completion_tokens 422 {"object":"error","message":{"detail":[{"type":"extra_forbid
        seed                  422 [{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extr
        parallel_tool_calls   422 {"detail":[{"type":"extra_forbidden","loc":["body","parallel
        max_completion_tokens 400 property 'max_completion_tokens' is unsupported, did you mea
        –                     400 Failed to call a function. Please adjust your prompt. See 'f
        tool_choice           400 "auto" tool choice requires --enable-auto-tool-choice and --
        tool_choice           400 [{'type': 'value_error', 'loc': ('body',), 'msg': 'Value err
        –                     400 This model's maximum context length is 16384 tokens. However
        –                     400 This model's maximum context length is 2048 tokens. However,
        –                     400 max_tokens must be at least 1, got -186.
        response_format       400 The provided JSON schema contains features not supported by 
        tools                 400 registry.ollama.ai/library/gemma3:4b does not support tools
        reasoning_effort      400 think value "medium" is not supported for this model
        reasoning_effort      400 "llama3.1:8b" does not support thinking
        tool_choice           400 Invalid tool_choice type: 'object'. Supported string values:
        tool_choice           400 <400> InternalError.Algo.InvalidParameter: The tool_choice p
        tools                 404 No endpoints found that support tool use. To learn more abou
        response_format       400 Unable to generate parser for this template. Automatic parse
        tools                 400 Failed to initialize samplers: failed to parse grammar
        tools                 500 Failed to parse tools: Missing tool function: {"type":"funct
        –                     400 request (8411 tokens) exceeds the available context size (40
        –                     500 The model produced output that does not match the expected p
        "#);
    }

    #[test]
    fn only_what_was_sent_can_be_refused() {
        let words = r#"{"error":{"message":"'seed' is not supported"}}"#;
        assert_eq!(refused(&refusal(400, words), &["tools"]), None);
        assert_eq!(refused(&refusal(400, words), &["tools", "seed"]), Some("seed"));
        let param = r#"{"error":{"message":"no","param":"messages[0].content"}}"#;
        assert_eq!(refused(&refusal(400, param), &["tools"]), None);
    }

    #[test]
    fn a_dialect_comes_back_from_json_and_what_is_not_known_is_as_planned() {
        let learned = Dialect {
            room: Way::Other,
            effort: Way::Other,
            tool_choice: ToolChoice::Auto,
            ..Dialect::default()
        };
        let json = serde_json::to_string(&learned).unwrap();
        insta::assert_snapshot!(json, @r#"{"room":"other","temperature":"planned","effort":"other","parallel_tool_calls":"planned","tool_choice":"auto","reply":"planned"}"#);
        assert_eq!(serde_json::from_str::<Dialect>(&json).unwrap(), learned);
        let newer = r#"{"room":"third","tool_choice":"tacit","reply":"other","tone":"polite"}"#;
        let known = Dialect { reply: Way::Other, ..Dialect::default() };
        assert_eq!(serde_json::from_str::<Dialect>(newer).unwrap(), known);
        assert_eq!(serde_json::from_str::<Dialect>("{}").unwrap(), Dialect::default());
    }

    #[test]
    fn a_part_of_a_word_is_no_name() {
        let words = r#"{"error":{"message":"invalid request: the seedling tools_of_yore are unknown"}}"#;
        assert_eq!(refused(&refusal(400, words), &SENT), None);
    }

    #[test]
    fn other_statuses_are_no_refusals_of_a_parameter() {
        let words = r#"{"error":{"message":"'temperature' is not supported"}}"#;
        for status in [401, 403, 404, 413, 429, 500, 503] {
            assert_eq!(refused(&refusal(status, words), &SENT), None, "{status}");
        }
    }
}
