//! The wire form of a question: what is the same for every row is serialised once.

use async_openai::types::chat::{
    ChatCompletionTool, ChatCompletionTools, FunctionObject, ResponseFormat, ResponseFormatJsonSchema,
};
use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{Error, Options, ReplyForm, Request};
use crate::lens::Function;
use crate::model::{self, Tools};

/// Room for the thoughts of a reasoning model, on top of that for the visible answer, by `reasoning_effort`.
/// Generous on purpose: tokens that are not generated cost nothing, a reply cut in its thoughts is paid for nothing.
const THINKING_ROOM: [(&str, u32); 5] =
    [("minimal", 1024), ("low", 4096), ("medium", 16_384), ("high", 32_768), ("xhigh", 65_536)];

/// Keys that the program sets from the lens and the row; an extra body may not.
pub const OWN_KEYS: [&str; 6] = ["model", "messages", "tools", "tool_choice", "response_format", "stream"];

/// How the questions of one lens are put to one model.
#[derive(Debug)]
pub struct Form {
    model: String,
    /// The system message, serialised.
    system: Box<RawValue>,
    answer: AnswerForm,
    room: Room,
    temperature: Option<f64>,
    seed: Option<i64>,
    reasoning_effort: Option<String>,
    extra: Map<String, Value>,
}

#[derive(Debug)]
enum AnswerForm {
    Tools(Box<RawValue>),
    Schema(Box<RawValue>),
}

#[derive(Debug, Clone, Copy)]
enum Room {
    /// The parameter of old and of compatible servers.
    MaxTokens { answer: u32 },
    /// The parameter of reasoning models, and of the hosted endpoint.
    MaxCompletionTokens { answer: u32, thinking: u32 },
}

/// A message after the system message.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Message<'a> {
    /// `user` or `assistant`.
    pub role: &'static str,
    /// Its text.
    pub content: &'a str,
}

/// The messages of a request: the lens's, then those of the question.
#[derive(Debug)]
struct Turns<'a> {
    system: &'a RawValue,
    rest: &'a [Message<'a>],
}

impl Serialize for Turns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut turns = serializer.serialize_seq(Some(self.rest.len() + 1))?;
        turns.serialize_element(self.system)?;
        for message in self.rest {
            turns.serialize_element(message)?;
        }
        turns.end()
    }
}

/// The request's body.
#[derive(Debug, serde::Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    messages: Turns<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

impl Form {
    /// How `function` is asked, after the message `system`, of the model that `options` name: the model table decides
    /// what the user did not.
    pub fn new(function: &Function, system: &str, options: &Options) -> Result<Self, Error> {
        let sampling = &options.sampling;
        let set_by_user = |key: &str| sampling.extra_body.contains_key(key);
        let known = model::find(&options.answers);
        let tools = known.map_or(Tools::Yes, |model| model.tools);
        let reply = match options.reply {
            ReplyForm::Tools if tools == Tools::ResponsesOnly => ReplyForm::JsonSchema,
            chosen => chosen,
        };
        let reasoning_effort = match (&sampling.reasoning_effort, tools, reply) {
            (Some(effort), ..) => Some(effort.clone()),
            (None, Tools::EffortNone, ReplyForm::Tools) if !set_by_user("reasoning_effort") => {
                Some("none".to_owned())
            }
            _ => None,
        };
        let thinks = known.is_some_and(model::Model::reasons) && reasoning_effort.as_deref() != Some("none");
        let thinking = match &reasoning_effort {
            Some(effort) => {
                THINKING_ROOM.iter().find(|(name, _)| name == effort).map_or(0, |(_, room)| *room)
            }
            None if thinks => THINKING_ROOM[2].1,
            None => 0,
        };
        let answer = options.max_generation_tokens;
        let room = if known.is_some() || options.hosted || thinking > 0 {
            Room::MaxCompletionTokens { answer, thinking }
        } else {
            Room::MaxTokens { answer }
        };
        // A judge should say the same twice; but models that think refuse any temperature other than theirs.
        let temperature =
            sampling.temperature.or((!thinks).then_some(0.0)).filter(|_| !set_by_user("temperature"));
        Ok(Self {
            model: options.model.clone(),
            system: raw(&json!({"role": "system", "content": system}))?,
            answer: AnswerForm::new(function, reply)?,
            room,
            temperature,
            seed: sampling.model_seed,
            reasoning_effort,
            extra: sampling.extra_body.clone(),
        })
    }

    /// The request that asks `messages` with `times` the usual room for the answer.
    pub fn request(&self, messages: &[Message<'_>], times: u32) -> Result<Request, Error> {
        let body = serde_json::to_vec(&self.body(messages, times))
            .map_err(|error| Error::Usage(format!("the question cannot be sent: {error}")))?;
        Ok(Request { body: body.into(), room: self.room(times) })
    }

    /// The body of that request.
    pub(super) fn body<'a>(&'a self, messages: &'a [Message<'a>], times: u32) -> Body<'a> {
        let (tools, response_format) = match &self.answer {
            AnswerForm::Tools(tools) => (Some(&**tools), None),
            AnswerForm::Schema(format) => (None, Some(&**format)),
        };
        let own = |key: &str| !self.extra.contains_key(key);
        let (max_tokens, max_completion_tokens) = match self.room {
            Room::MaxTokens { answer } => (Some(answer.saturating_mul(times)), None),
            Room::MaxCompletionTokens { answer, thinking } => {
                (None, Some(answer.saturating_add(thinking).saturating_mul(times)))
            }
        };
        let room_is_ours = self.room_is_ours();
        Body {
            model: &self.model,
            messages: Turns { system: &self.system, rest: messages },
            tools,
            tool_choice: tools.map(|_| "required"),
            parallel_tool_calls: tools.filter(|_| own("parallel_tool_calls")).map(|_| false),
            response_format,
            max_tokens: max_tokens.filter(|_| room_is_ours),
            max_completion_tokens: max_completion_tokens.filter(|_| room_is_ours),
            temperature: self.temperature,
            seed: self.seed.filter(|_| own("seed")),
            reasoning_effort: self.reasoning_effort.as_deref().filter(|_| own("reasoning_effort")),
            extra: &self.extra,
        }
    }

    /// Whether the room for the answer is ours to change, and not set by an extra body.
    pub fn room_is_ours(&self) -> bool {
        !self.extra.contains_key("max_tokens") && !self.extra.contains_key("max_completion_tokens")
    }

    /// Tokens that an answer may take: what a limit of tokens per minute has to reserve.
    pub fn room(&self, times: u32) -> u32 {
        match self.room {
            Room::MaxTokens { answer } => answer.saturating_mul(times),
            Room::MaxCompletionTokens { answer, thinking } => {
                answer.saturating_add(thinking).saturating_mul(times)
            }
        }
    }

    /// What is the same for every row and counts as prompt: the system message, and the function or schema.
    pub fn fixed(&self) -> [&str; 2] {
        let (AnswerForm::Tools(form) | AnswerForm::Schema(form)) = &self.answer;
        [self.system.get(), form.get()]
    }
}

impl AnswerForm {
    fn new(function: &Function, reply: ReplyForm) -> Result<Self, Error> {
        match reply {
            ReplyForm::Tools => {
                let tool = ChatCompletionTools::Function(ChatCompletionTool {
                    function: FunctionObject {
                        name: function.name.clone(),
                        description: Some(function.description.clone()),
                        parameters: Some(function.parameters.clone()),
                        strict: None,
                    },
                });
                raw(&[tool]).map(Self::Tools)
            }
            ReplyForm::JsonSchema => {
                let format = ResponseFormat::JsonSchema {
                    json_schema: ResponseFormatJsonSchema {
                        name: function.name.clone(),
                        description: Some(function.description.clone()),
                        schema: function.parameters.clone(),
                        strict: None,
                    },
                };
                raw(&format).map(Self::Schema)
            }
        }
    }
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, Error> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| Error::Usage(format!("the lens cannot be sent: {error}")))
}
