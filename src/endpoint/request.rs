//! The wire form of a question: what is the same for every row is serialised once.

use std::sync::OnceLock;

use async_openai::types::chat::{
    ChatCompletionTool, ChatCompletionTools, FunctionObject, ResponseFormat, ResponseFormatJsonSchema,
};
use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::dialect::{Dialect, ToolChoice as Choice, Way};
use super::{Error, Options, ReplyForm, Request};
use crate::chunk;
use crate::lens::Function;
use crate::model::{self, ServiceTier, Tokenizer, Tools};

/// Room for the thoughts of a reasoning model, on top of that for the visible answer, by `reasoning_effort`.
/// Generous on purpose: tokens that are not generated cost nothing, a reply cut in its thoughts is paid for nothing.
const THINKING_ROOM: [(&str, u32); 5] =
    [("minimal", 1024), ("low", 4096), ("medium", 16_384), ("high", 32_768), ("xhigh", 65_536)];

/// Tokens that chat servers write around each message.
const AROUND_MESSAGE: u64 = 4;

/// Keys that the program sets from the lens and the row; an extra body may not.
pub const OWN_KEYS: [&str; 6] = ["model", "messages", "tools", "tool_choice", "response_format", "stream"];

/// How the questions of one lens are put to one model. What is planned here may give way to a [`Dialect`].
#[derive(Debug)]
pub struct Form {
    model: String,
    /// The system message, serialised.
    system: Box<RawValue>,
    system_text: String,
    tokenizer: Option<Tokenizer>,
    answer: AnswerForm,
    room: Room,
    /// Whether the model thinks where no effort is asked for.
    thinks: bool,
    temperature: Option<f64>,
    seed: Option<i64>,
    reasoning_effort: Option<String>,
    tier: Option<ServiceTier>,
    extra: Map<String, Value>,
    /// Parameters that the user set, and by which flag: they give way to nothing.
    users: Vec<(&'static str, &'static str)>,
    /// Tokens of what is the same for every row, where a call is asked for and where a JSON Schema is.
    fixed_tokens: [OnceLock<u64>; 2],
}

/// Both ways to ask for the answer, serialised, and which of them is planned.
#[derive(Debug)]
struct AnswerForm {
    planned: Answer,
    /// Whether the other way may be taken.
    other: bool,
    tools: Box<RawValue>,
    schema: Box<RawValue>,
    /// The object that forces the call by the function's name.
    named: Box<RawValue>,
}

/// A way to ask for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// One function that must be called.
    Call,
    /// A JSON Schema for the content.
    Content,
}

/// The room for the visible answer, in tokens, under the parameter that is planned for it.
#[derive(Debug, Clone, Copy)]
enum Room {
    /// The parameter of old and of compatible servers.
    MaxTokens(u32),
    /// The parameter of reasoning models, and of the hosted endpoint.
    MaxCompletionTokens(u32),
}

/// What may be done about a parameter that a server does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instead {
    /// Ask so.
    Ask(Dialect),
    /// Nothing: the user set it, by this flag.
    Users(&'static str),
    /// Nothing: there is no other form, or it was refused too.
    Nothing,
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

/// `tool_choice`.
#[derive(Debug, serde::Serialize)]
#[serde(untagged)]
enum Forced<'a> {
    Word(&'static str),
    Named(&'a RawValue),
}

/// The request's body.
#[derive(Debug, serde::Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    messages: Turns<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Forced<'a>>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
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
        let planned = match options.reply {
            ReplyForm::Tools | ReplyForm::Auto if tools == Tools::ResponsesOnly => Answer::Content,
            ReplyForm::Tools | ReplyForm::Auto => Answer::Call,
            ReplyForm::JsonSchema => Answer::Content,
        };
        let reasoning_effort = match (&sampling.reasoning_effort, tools, planned) {
            (Some(effort), ..) => Some(effort.clone()),
            (None, Tools::EffortNone, Answer::Call) if !set_by_user("reasoning_effort") => {
                Some("none".to_owned())
            }
            _ => None,
        };
        let thinks = known.is_some_and(model::Model::reasons);
        let answer = options.max_generation_tokens;
        let room = if known.is_some() || options.hosted || thinking(reasoning_effort.as_deref(), thinks) > 0 {
            Room::MaxCompletionTokens(answer)
        } else {
            Room::MaxTokens(answer)
        };
        // A judge should say the same twice; but models that think refuse any temperature other than theirs.
        let thinks_now = thinks && reasoning_effort.as_deref() != Some("none");
        let temperature =
            sampling.temperature.or((!thinks_now).then_some(0.0)).filter(|_| !set_by_user("temperature"));
        let users = [
            ("temperature", "--temperature", sampling.temperature.is_some()),
            ("seed", "--model-seed", sampling.model_seed.is_some()),
            ("reasoning_effort", "--reasoning-effort", sampling.reasoning_effort.is_some()),
        ];
        Ok(Self {
            model: options.model.clone(),
            system: raw(&json!({"role": "system", "content": system}))?,
            system_text: system.to_owned(),
            tokenizer: Tokenizer::of(&options.answers),
            answer: AnswerForm {
                planned,
                other: options.reply == ReplyForm::Auto && tools != Tools::ResponsesOnly,
                tools: tools_of(function)?,
                schema: schema_of(function)?,
                named: raw(&json!({"type": "function", "function": {"name": function.name}}))?,
            },
            room,
            thinks,
            temperature,
            seed: sampling.model_seed,
            reasoning_effort,
            tier: options.tier,
            extra: sampling.extra_body.clone(),
            users: users.into_iter().filter(|(.., set)| *set).map(|(name, flag, _)| (name, flag)).collect(),
            fixed_tokens: Default::default(),
        })
    }

    /// The request that asks `messages` in this dialect, with `times` the usual room for the answer.
    pub fn request(&self, messages: &[Message<'_>], times: u32, dialect: Dialect) -> Result<Request, Error> {
        let body = serde_json::to_vec(&self.body(messages, times, dialect))
            .map_err(|error| Error::Usage(format!("the question cannot be sent: {error}")))?;
        Ok(Request {
            body: body.into(),
            room: self.room(times, dialect),
            answer_at_most: self.answer_at_most(times, dialect),
            dialect,
        })
    }

    /// The body of that request.
    pub(super) fn body<'a>(&'a self, messages: &'a [Message<'a>], times: u32, dialect: Dialect) -> Body<'a> {
        let (tools, response_format) = match self.answer.in_dialect(dialect) {
            Answer::Call => (Some(&*self.answer.tools), None),
            Answer::Content => (None, Some(&*self.answer.schema)),
        };
        let own = |key: &str| !self.extra.contains_key(key);
        let room = Some(self.room(times, dialect)).filter(|_| self.room_is_ours());
        let (max_tokens, max_completion_tokens) =
            if self.room_name(dialect) == "max_tokens" { (room, None) } else { (None, room) };
        Body {
            model: &self.model,
            messages: Turns { system: &self.system, rest: messages },
            tools,
            tool_choice: tools.map(|_| match dialect.tool_choice {
                Choice::Required => Forced::Word("required"),
                Choice::Named => Forced::Named(&self.answer.named),
                Choice::Auto => Forced::Word("auto"),
            }),
            parallel_tool_calls: tools
                .filter(|_| own("parallel_tool_calls") && dialect.parallel_tool_calls == Way::Planned)
                .map(|_| false),
            response_format,
            max_tokens,
            max_completion_tokens,
            temperature: self.temperature.filter(|_| dialect.temperature == Way::Planned),
            seed: self.seed.filter(|_| own("seed")),
            reasoning_effort: self.effort(dialect).filter(|_| own("reasoning_effort")),
            service_tier: self.tier.filter(|_| own("service_tier")).map(ServiceTier::as_str),
            extra: &self.extra,
        }
    }

    /// Whether the room for the answer is ours to change, and not set by an extra body.
    pub fn room_is_ours(&self) -> bool {
        !self.extra.contains_key("max_tokens") && !self.extra.contains_key("max_completion_tokens")
    }

    /// Tokens that an answer may take, thoughts included: what a limit of tokens per minute has to reserve.
    pub fn room(&self, times: u32, dialect: Dialect) -> u32 {
        let (Room::MaxTokens(answer) | Room::MaxCompletionTokens(answer)) = self.room;
        answer.saturating_add(thinking(self.effort(dialect), self.thinks)).saturating_mul(times)
    }

    /// Tokens that all answers to one request may take together: the room, or that of an extra body, which may also ask for
    /// several answers. `None` where it sets a room that is no bound.
    pub fn answer_at_most(&self, times: u32, dialect: Dialect) -> Option<u64> {
        let mut room = if self.room_is_ours() { u64::from(self.room(times, dialect)) } else { 0 };
        for key in ["max_tokens", "max_completion_tokens"] {
            if let Some(set) = self.extra.get(key) {
                room = room.max(set.as_u64()?);
            }
        }
        let answers = self.extra.get("n").map_or(Some(1), Value::as_u64)?;
        Some(room.saturating_mul(answers.max(1)))
    }

    /// What is the same for every row and counts as prompt: the system message, and the function or schema.
    pub fn fixed(&self, dialect: Dialect) -> [&str; 2] {
        let form = match self.answer.in_dialect(dialect) {
            Answer::Call => &self.answer.tools,
            Answer::Content => &self.answer.schema,
        };
        [self.system.get(), form.get()]
    }

    /// Tokens of a prompt in this dialect, all that is sent along included: by the model's own tokenizer, or by ours where that is
    /// not known.
    pub fn prompt_tokens(&self, messages: &[Message<'_>], dialect: Dialect) -> u64 {
        let count =
            |text: &str| self.tokenizer.map_or_else(|| chunk::count(text), |own| own.count(text)) as u64;
        let form = self.answer.in_dialect(dialect) as usize;
        let fixed = self.fixed_tokens[form].get_or_init(|| self.fixed(dialect).into_iter().map(count).sum());
        fixed + messages.iter().map(|message| count(message.content) + AROUND_MESSAGE).sum::<u64>()
    }

    /// The system message.
    pub(super) fn system(&self) -> &str {
        &self.system_text
    }

    /// How the model counts tokens, where that is known.
    pub fn tokenizer(&self) -> Option<Tokenizer> {
        self.tokenizer
    }

    /// Whether a call is asked for, and an answer in the content may be asked for instead.
    pub(super) fn may_ask_for_content(&self, dialect: Dialect) -> bool {
        self.answer.other && self.answer.in_dialect(dialect) == Answer::Call
    }

    /// The names of all parameters that a request in this dialect carries.
    pub(super) fn sent(&self, dialect: Dialect) -> Vec<String> {
        match serde_json::to_value(self.body(&[], 1, dialect)) {
            Ok(Value::Object(body)) => body.into_iter().map(|(name, _)| name).collect(),
            _ => Vec::new(),
        }
    }

    /// What is done about `name`, which was sent in this dialect and is not taken.
    pub(super) fn instead_of(&self, name: &str, dialect: Dialect) -> Instead {
        if self.extra.contains_key(name) {
            return Instead::Users("--extra-body");
        }
        if let Some((_, flag)) = self.users.iter().find(|(users, _)| *users == name) {
            return Instead::Users(flag);
        }
        let mut other = dialect;
        match name {
            // Sent only where the user wants it.
            "service_tier" => return Instead::Users("--service-tier"),
            "max_tokens" | "max_completion_tokens" => other.room = Way::Other,
            "temperature" => other.temperature = Way::Other,
            "reasoning_effort" => other.effort = Way::Other,
            "parallel_tool_calls" => other.parallel_tool_calls = Way::Other,
            "tool_choice" if dialect.tool_choice == Choice::Required => other.tool_choice = Choice::Named,
            "tool_choice" if dialect.tool_choice == Choice::Named => other.tool_choice = Choice::Auto,
            "tools" | "tool_choice" | "response_format" if self.answer.other => other.reply = Way::Other,
            _ => {}
        }
        if other == dialect { Instead::Nothing } else { Instead::Ask(other) }
    }

    /// What the change from one dialect to another is, for people.
    pub(super) fn change(&self, from: Dialect, to: Dialect) -> String {
        let room = self.room_name(to);
        let effort = self.effort(to);
        let changes = [
            (from.room != to.room, format!("the room for the answer is sent as `{room}`")),
            (from.temperature != to.temperature, "it is left out".to_owned()),
            (
                from.effort != to.effort,
                effort.map_or("it is left out".to_owned(), |effort| format!("it is sent as `{effort}`")),
            ),
            (from.parallel_tool_calls != to.parallel_tool_calls, "it is left out".to_owned()),
            (
                from.tool_choice != to.tool_choice,
                format!(
                    "it is sent {}",
                    if to.tool_choice == Choice::Named { "with the function's name" } else { "as `auto`" }
                ),
            ),
            (
                from.reply != to.reply,
                match self.answer.in_dialect(to) {
                    Answer::Call => "answers are asked for as a function call".to_owned(),
                    Answer::Content => "answers are asked for by a JSON Schema, not by a function".to_owned(),
                },
            ),
        ];
        let changes: Vec<String> =
            changes.into_iter().filter(|(differs, _)| *differs).map(|(_, text)| text).collect();
        changes.join(", ")
    }

    fn room_name(&self, dialect: Dialect) -> &'static str {
        match (self.room, dialect.room) {
            (Room::MaxTokens(_), Way::Planned) | (Room::MaxCompletionTokens(_), Way::Other) => "max_tokens",
            _ => "max_completion_tokens",
        }
    }

    fn effort(&self, dialect: Dialect) -> Option<&str> {
        match (self.reasoning_effort.as_deref(), dialect.effort) {
            (planned, Way::Planned) => planned,
            (None, Way::Other) => Some("none"),
            (Some(_), Way::Other) => None,
        }
    }
}

impl AnswerForm {
    fn in_dialect(&self, dialect: Dialect) -> Answer {
        match (self.planned, dialect.reply) {
            (planned, Way::Planned) => planned,
            _ if !self.other => self.planned,
            (Answer::Call, Way::Other) => Answer::Content,
            (Answer::Content, Way::Other) => Answer::Call,
        }
    }
}

/// Room for thoughts at this effort, by a model that thinks where none is asked for, or does not.
fn thinking(effort: Option<&str>, thinks: bool) -> u32 {
    match effort {
        Some(effort) => THINKING_ROOM.iter().find(|(name, _)| *name == effort).map_or(0, |(_, room)| *room),
        None if thinks => THINKING_ROOM[2].1,
        None => 0,
    }
}

fn tools_of(function: &Function) -> Result<Box<RawValue>, Error> {
    let tool = ChatCompletionTools::Function(ChatCompletionTool {
        function: FunctionObject {
            name: function.name.clone(),
            description: Some(function.description.clone()),
            parameters: Some(function.parameters.clone()),
            strict: None,
        },
    });
    raw(&[tool])
}

fn schema_of(function: &Function) -> Result<Box<RawValue>, Error> {
    raw(&ResponseFormat::JsonSchema {
        json_schema: ResponseFormatJsonSchema {
            name: function.name.clone(),
            description: Some(function.description.clone()),
            schema: function.parameters.clone(),
            strict: None,
        },
    })
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, Error> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| Error::Usage(format!("the lens cannot be sent: {error}")))
}
