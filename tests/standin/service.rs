//! The paths of the stand-in, and what happens between a request and its reply.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use serde::{Serialize, de::IgnoredAny};
use serde_json::json;
use tokio::sync::watch;

use super::{
    Config,
    completion::{Billed, NoToolCalls, Says, Turn, Usage, tokens},
    journal::{Entry, Journal, Outcome},
    question::{Door, Forms, Question},
    reply::{
        Closed, Response, cut_reply, error_reply, json_reply, reply, set_headers, set_limit_headers,
        status_reply, usual_code,
    },
    script::{Action, Decision, Play, Script, Seen},
};

/// Larger than any chunk by far; a request above it is a mistake of the client.
const LARGEST_BODY: usize = 64 << 20;

/// What all connections share.
#[derive(Debug)]
pub(super) struct State {
    config: Config,
    headers: Vec<(HeaderName, HeaderValue)>,
    forms: Forms,
    /// None without rules: the fast path takes one lock less.
    play: Option<Mutex<Play>>,
    /// Whether a rule wants bytes that hyper does not send.
    wire: bool,
    /// For how long the server is to go away.
    away: watch::Sender<Duration>,
    journal: Mutex<Journal>,
}

impl State {
    /// The error names the status or header in the config that is none.
    pub(super) fn new(mut config: Config) -> anyhow::Result<Self> {
        let script = std::mem::take(&mut config.script);
        check(&script)?;
        let headers = config.headers.iter().map(|(name, value)| header_of(name, value));
        Ok(Self {
            headers: headers.collect::<Result<_, _>>()?,
            forms: Forms::default(),
            wire: script.0.iter().any(|rule| matches!(rule.action, Action::Wire(_))),
            away: watch::Sender::new(Duration::ZERO),
            play: (!script.0.is_empty()).then(|| Mutex::new(Play::new(script))),
            journal: Mutex::new(Journal::new(config.log)),
            config,
        })
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, seen: &Seen<'_>) -> Decision {
        match &self.play {
            Some(play) => play.lock().unwrap_or_else(PoisonError::into_inner).decide(seen),
            None => Decision::default(),
        }
    }

    /// From now on the script says nothing.
    pub(super) fn recover(&self) {
        if let Some(play) = &self.play {
            *play.lock().unwrap_or_else(PoisonError::into_inner) = Play::new(Script::default());
        }
    }

    /// Whether the bytes of replies are written by [`super::wire`], not by hyper.
    pub(super) fn by_wire(&self) -> bool {
        self.wire
    }

    /// Tells for how long the server is to go away.
    pub(super) fn away(&self) -> watch::Receiver<Duration> {
        self.away.subscribe()
    }

    /// The reply to a request whose body has not been read, if the script wants one.
    pub(super) fn early(&self, head: &Parts) -> Option<Response> {
        let mut play = self.play.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        if head.method != Method::POST || !play.early() {
            return None;
        }
        self.journal().other(head, 503);
        let mut response = status_reply(503, None);
        set_headers(&mut response, [("retry-after", "0")]);
        Some(response)
    }

    /// The question, if a real server would answer it; else the 401, 400 or 404 it sends.
    fn admit<'a>(
        &self,
        head: &Parts,
        question: &'a Result<Question, String>,
    ) -> Result<&'a Question, Box<Response>> {
        if let Some(response) = self.locked_out(head) {
            return Err(Box::new(response));
        }
        let question = question
            .as_ref()
            .map_err(|message| Box::new(error_reply(StatusCode::BAD_REQUEST, None, message)))?;
        if self.config.unknown_models.contains(&question.model) {
            let message = format!("the model `{}` does not exist or is not yours to use", question.model);
            return Err(Box::new(error_reply(StatusCode::NOT_FOUND, usual_code(404), &message)));
        }
        Ok(question)
    }

    /// The 401 of a request without the key, if one is asked for.
    fn locked_out(&self, head: &Parts) -> Option<Response> {
        let key = self.config.api_key.as_ref()?;
        let (name, wanted) = if is_azure(head.uri.path()) {
            (HeaderName::from_static("api-key"), key.clone())
        } else {
            (header::AUTHORIZATION, format!("Bearer {key}"))
        };
        let message = match head.headers.get(&name).map(HeaderValue::as_bytes) {
            Some(given) if given == wanted.as_bytes() => return None,
            Some(_) => "incorrect API key provided".to_owned(),
            None => format!("no API key provided: send it as `{name}`"),
        };
        Some(error_reply(StatusCode::UNAUTHORIZED, usual_code(401), &message))
    }
}

/// A header that was written wrongly is said at the start, not lost in a reply.
fn header_of(name: &str, value: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let header = HeaderName::try_from(name).with_context(|| format!("{name:?} is no header name"))?;
    Ok((header, HeaderValue::try_from(value).with_context(|| format!("{value:?} is no value for {name}"))?))
}

fn check(script: &Script) -> anyhow::Result<()> {
    for rule in &script.0 {
        match &rule.action {
            Action::Status { code, headers, .. } => {
                ensure!((200..=999).contains(code), "a scripted status is 200 to 999, not {code}");
                for (name, value) in headers {
                    header_of(name, value)?;
                }
            }
            Action::RawBody { content_type, .. } => {
                header_of("content-type", content_type)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A completion request that waits for its reply. Dropped when the reply is made or the connection is gone, in
/// both cases it leaves the journal in order.
struct Waiting {
    state: Arc<State>,
    entry: Entry,
    outcome: Outcome,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.state.journal().depart(self.entry, self.outcome);
    }
}

/// Whether a path is one of a deployment at Azure.
fn is_azure(path: &str) -> bool {
    path.starts_with("/openai/deployments/")
}

/// Whether a request wants a completion. Azure's paths want a version of the API with it.
fn asks(head: &Parts) -> bool {
    let path = head.uri.path();
    let versioned = || head.uri.query().is_some_and(|query| query.contains("api-version="));
    head.method == Method::POST
        && (path == "/v1/chat/completions"
            || is_azure(path) && path.ends_with("/chat/completions") && versioned())
}

/// Answers one request.
pub(super) async fn respond(state: Arc<State>, request: Request<Incoming>) -> Result<Response, Closed> {
    let (head, body) = request.into_parts();
    match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => answer(state, &head, body.to_bytes()).await,
        Err(error) if error.is::<LengthLimitError>() => {
            Ok(error_reply(StatusCode::PAYLOAD_TOO_LARGE, None, "the body is larger than 64 MiB"))
        }
        Err(_) => Err(Closed),
    }
}

/// Answers one request whose body is there.
pub(super) async fn answer(state: Arc<State>, head: &Parts, body: Bytes) -> Result<Response, Closed> {
    if asks(head) {
        return complete(state, head, body).await;
    }
    Ok(match (&head.method, head.uri.path()) {
        (&Method::GET, "/standin/counters") => as_json(&state.journal().counters()),
        (&Method::GET, "/standin/log") => as_json(&state.journal().log()),
        _ => {
            let response = other(&state, head);
            state.journal().other(head, response.status().as_u16());
            response
        }
    })
}

fn other(state: &State, head: &Parts) -> Response {
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/health") => json_reply(StatusCode::OK, r#"{"status":"ok"}"#),
        (&Method::GET, "/props") if let Some(slots) = state.config.slots => {
            as_json(&json!({"total_slots": slots}))
        }
        (&Method::GET, "/v1/models") => state.locked_out(head).unwrap_or_else(|| {
            let model = |id| {
                let mut model =
                    json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "standin"});
                if let Some(members) = model.as_object_mut() {
                    members.extend(state.config.model_details.clone());
                }
                model
            };
            let models: Vec<_> = state.config.models.iter().map(model).collect();
            as_json(&json!({"object": "list", "data": models}))
        }),
        (_, "/health" | "/v1/models" | "/v1/chat/completions") => {
            error_reply(StatusCode::METHOD_NOT_ALLOWED, None, "this path wants another method")
        }
        _ => error_reply(StatusCode::NOT_FOUND, None, "no such path"),
    }
}

fn as_json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => json_reply(StatusCode::OK, body),
        Err(error) => error_reply(StatusCode::INTERNAL_SERVER_ERROR, None, &error.to_string()),
    }
}

async fn complete(state: Arc<State>, head: &Parts, body: Bytes) -> Result<Response, Closed> {
    let question = state.forms.read(&body);
    let digest = question.as_ref().ok().map(|question| question.digest);
    let entry = state.journal().arrive(head, &body, digest);
    let mut waiting = Waiting { state, entry, outcome: Outcome::default() };
    let state = &waiting.state;

    let question = match state.admit(head, &question) {
        Ok(question) => question,
        Err(response) => {
            waiting.outcome.status = response.status().as_u16();
            return Ok(*response);
        }
    };

    let seen = Seen {
        number: entry.number,
        question: question.digest,
        body: &body,
        tokens: question.prompt_tokens + question.room.unwrap_or(0),
        at: Instant::now(),
    };
    let Decision { delay, limits, says, action } = state.decide(&seen);
    let delay = delay + state.config.delay;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if action == Action::Hang {
        return std::future::pending().await;
    }
    if action == Action::CloseWithoutReply {
        return Err(Closed);
    }
    if let Action::GoAway(milliseconds) = action {
        // The connection ends with the server.
        state.away.send_replace(Duration::from_millis(milliseconds));
        return std::future::pending().await;
    }
    let (mut response, worth, billed) =
        perform(&action, &Asked { question, number: entry.number, says: &says });
    if response.status() == StatusCode::OK {
        response.headers_mut().extend(state.headers.iter().cloned());
    }
    for limit in limits.into_iter().flatten() {
        set_limit_headers(&mut response, limit);
    }
    if let Action::Status { headers, .. } = &action {
        set_headers(&mut response, headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    }
    if let Action::Wire(wire) = action {
        response.extensions_mut().insert(wire);
    }
    waiting.outcome = Outcome {
        status: response.status().as_u16(),
        answered: (worth == Worth::Answer).then_some(question.digest),
        billed,
    };
    Ok(response)
}

/// Whether a client can use a reply, by which repeated questions are told from retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    Answer,
    Nothing,
}

/// What a reply is made of.
struct Asked<'a> {
    question: &'a Question,
    number: u64,
    says: &'a Says,
}

/// The reply of an action that is one.
fn perform(action: &Action, asked: &Asked<'_>) -> (Response, Worth, Billed) {
    let Asked { question, number, says } = *asked;
    let nothing = |response| (response, Worth::Nothing, Billed::default());
    let whole = question.form.answer(question.digest);
    let half = &whole[..whole.floor_char_boundary(whole.len() / 2)];
    let (turn, worth) = match action {
        Action::Status { code, body, .. } => return nothing(status_reply(*code, body.as_ref())),
        Action::RawBody { bytes, content_type } => {
            let readable = serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
            let mut response = reply(StatusCode::OK, HeaderValue::from_static("text/plain"), bytes.clone());
            set_headers(&mut response, [("content-type", content_type.as_str())]);
            return (response, if readable { Worth::Answer } else { Worth::Nothing }, Billed::default());
        }
        Action::NotJson => {
            let page = "<html><body><h1>502 Bad Gateway</h1></body></html>\n";
            return nothing(reply(StatusCode::OK, HeaderValue::from_static("text/html"), page));
        }
        Action::CutBody => {
            let (body, billed) = Turn::answer(question, &whole).completion(question, number, says);
            return (cut_reply(&body.into()), Worth::Nothing, billed);
        }
        Action::Arguments(arguments) => (Turn::tool_call(arguments), Worth::Answer),
        Action::Content(content) => (Turn::say(content), Worth::Answer),
        Action::FunctionCall => (Turn::function_call(&whole), Worth::Answer),
        Action::EmptyToolCalls => {
            (Turn { no_tool_calls: NoToolCalls::EmptyList, ..Turn::say(&whole) }, Worth::Answer)
        }
        Action::Refusal(refusal) => (Turn::refuse(refusal), Worth::Nothing),
        Action::ContentFilter => (Turn { finish_reason: "content_filter", ..Turn::say("") }, Worth::Nothing),
        Action::UsageNull => (Turn { usage: Usage::Null, ..Turn::answer(question, &whole) }, Worth::Answer),
        Action::Length => (Turn { finish_reason: "length", ..Turn::answer(question, half) }, Worth::Nothing),
        Action::NoTools if question.form.door == Door::ToolCalls => {
            (Turn::say("It reads well, and I would give it a two."), Worth::Nothing)
        }
        Action::Wire(wire) if !wire.delivers() => (Turn::answer(question, &whole), Worth::Nothing),
        // What passes a request on has passed it on; closing, hanging and going away are done by the caller.
        Action::Answer
        | Action::Delay(_)
        | Action::RateLimit(_)
        | Action::Usage(_)
        | Action::Refuse { .. }
        | Action::NoTools
        | Action::CloseWithoutReply
        | Action::Hang
        | Action::GoAway(_)
        | Action::Wire(_) => match question.room.filter(|room| tokens(whole.len()) > *room) {
            Some(room) => {
                let room = usize::try_from(room).unwrap_or(usize::MAX).saturating_mul(4);
                let fits = &whole[..whole.floor_char_boundary(room)];
                (Turn { finish_reason: "length", ..Turn::answer(question, fits) }, Worth::Nothing)
            }
            None => (Turn::answer(question, &whole), Worth::Answer),
        },
    };
    let (body, billed) = turn.completion(question, number, says);
    (json_reply(StatusCode::OK, body), worth, billed)
}
