//! Chat completions as JSON: what the assistant says, in all the forms that real servers put it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::question::{Door, Question};

/// One turn of the assistant, before it is put into a completion.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) content: Option<&'a str>,
    pub(super) refusal: Option<&'a str>,
    /// Arguments of the one tool call; none leaves `tool_calls` out.
    pub(super) tool_call: Option<&'a str>,
    /// `tool_calls: []` beside the content.
    pub(super) no_tool_calls: NoToolCalls,
    /// Arguments of the old `function_call`.
    pub(super) function_call: Option<&'a str>,
    pub(super) finish_reason: &'static str,
    pub(super) usage: Usage,
}

/// How a turn without a tool call says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoToolCalls {
    /// No `tool_calls` key: the usual way.
    LeftOut,
    /// `tool_calls: []`, as vLLM sometimes does.
    EmptyList,
}

/// What a reply says of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// Counts by bytes.
    Counted,
    /// `usage: null`.
    Null,
}

/// What a reply says in place of the counts by bytes, member by member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Says {
    /// `prompt_tokens`: the same for every prompt is how a server that cuts its prompts shows.
    pub(crate) prompt: Option<u64>,
    /// `completion_tokens`.
    pub(crate) completion: Option<u64>,
    /// `prompt_tokens_details.cached_tokens`.
    pub(crate) cached: Option<u64>,
    /// `prompt_tokens_details.cache_write_tokens`.
    pub(crate) cache_write: Option<u64>,
    /// `service_tier`; else the request's own, which is left out where the request has none.
    pub(crate) tier: Option<String>,
}

/// Tokens of a completion, as its usage has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Billed {
    pub(super) prompt: u64,
    pub(super) completion: u64,
}

impl<'a> Turn<'a> {
    /// `answer` through the door that the question asked for.
    pub(super) fn answer(question: &Question, answer: &'a str) -> Self {
        match question.form.door {
            Door::ToolCalls => Self::tool_call(answer),
            Door::FunctionCall => Self::function_call(answer),
            Door::Content => Self::say(answer),
        }
    }

    /// Plain content.
    pub(super) fn say(content: &'a str) -> Self {
        Self {
            content: Some(content),
            refusal: None,
            tool_call: None,
            no_tool_calls: NoToolCalls::LeftOut,
            function_call: None,
            finish_reason: "stop",
            usage: Usage::Counted,
        }
    }

    /// One call of a tool with these arguments.
    pub(super) fn tool_call(arguments: &'a str) -> Self {
        Self { tool_call: Some(arguments), finish_reason: "tool_calls", ..Self::say("") }.mute()
    }

    /// The old form of a call.
    pub(super) fn function_call(arguments: &'a str) -> Self {
        Self { function_call: Some(arguments), finish_reason: "function_call", ..Self::say("") }.mute()
    }

    /// A refusal.
    pub(super) fn refuse(refusal: &'a str) -> Self {
        Self { refusal: Some(refusal), ..Self::say("") }.mute()
    }

    fn mute(self) -> Self {
        Self { content: None, ..self }
    }

    /// The completion as JSON, and the tokens that a bill would count; `number` makes its id one of a kind.
    pub(super) fn completion(&self, question: &Question, number: u64, says: &Says) -> (Vec<u8>, Billed) {
        let name = match question.form.name.as_str() {
            "" => "rate",
            name => name,
        };
        let call = |arguments| Call { name, arguments };
        let tool_calls: Option<Vec<ToolCall>> = match (self.tool_call, self.no_tool_calls) {
            (Some(arguments), _) => Some(vec![ToolCall {
                id: format!("call_{number}_{:016x}", question.digest),
                kind: "function",
                function: call(arguments),
            }]),
            (None, NoToolCalls::EmptyList) => Some(Vec::new()),
            (None, NoToolCalls::LeftOut) => None,
        };
        let said = [self.content, self.refusal, self.tool_call, self.function_call];
        let counted = tokens(said.iter().flatten().map(|text| text.len()).sum());
        let billed = Billed {
            prompt: says.prompt.unwrap_or(question.prompt_tokens),
            completion: says.completion.unwrap_or(counted),
        };
        let details = (says.cached.is_some() || says.cache_write.is_some())
            .then_some(PromptDetails { cached_tokens: says.cached, cache_write_tokens: says.cache_write });
        let completion = Completion {
            id: format!("chatcmpl-{number}-{:016x}", question.digest),
            object: "chat.completion",
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            model: &question.model,
            choices: [Choice {
                index: 0,
                message: Message {
                    role: "assistant",
                    content: self.content,
                    refusal: self.refusal,
                    tool_calls,
                    function_call: self.function_call.map(call),
                },
                logprobs: None,
                finish_reason: self.finish_reason,
            }],
            usage: (self.usage == Usage::Counted).then_some(Tokens {
                prompt_tokens: billed.prompt,
                completion_tokens: billed.completion,
                total_tokens: billed.prompt + billed.completion,
                prompt_tokens_details: details,
            }),
            service_tier: says.tier.as_deref().or(question.service_tier.as_deref()),
            system_fingerprint: "standin",
        };
        let mut body = Vec::with_capacity(1024);
        // Serialising strings and numbers into memory has no way to fail; an empty body would show in any test.
        let _ = serde_json::to_writer(&mut body, &completion);
        (body, billed)
    }
}

/// Tokens of a text of so many bytes: four bytes each, the usual rule of thumb.
pub(super) fn tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

#[derive(Serialize)]
struct Completion<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    usage: Option<Tokens>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    system_fingerprint: &'static str,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u64,
    message: Message<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<&'a str>,
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<Call<'a>>,
}

#[derive(Serialize)]
struct ToolCall<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Call<'a>,
}

#[derive(Serialize)]
struct Call<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the wire calls them so")]
struct Tokens {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Serialize)]
struct PromptDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<u64>,
}
