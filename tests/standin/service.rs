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
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Config,
    batch::{self, Payload, Room},
    completion::{Billed, NoToolCalls, Says, Turn, Usage, tokens},
    journal::{Entry, Journal, Outcome},
    question::{Door, Forms, Question},
    reply::{
        Closed, Response, bytes_of, cut_reply, error_reply, json_reply, reply, set_headers,
        set_limit_headers, status_reply, usual_code,
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
    /// Whether nothing takes time any more.
    hurry: watch::Sender<bool>,
    journal: Mutex<Journal>,
    batches: Option<Arc<Room>>,
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
            hurry: watch::Sender::new(false),
            play: (!script.0.is_empty()).then(|| Mutex::new(Play::new(script))),
            journal: Mutex::new(Journal::new(config.log)),
            batches: config.batches.take().map(|batches| Arc::new(Room::new(batches))),
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
        if let Some(batches) = &self.batches {
            batches.recover();
        }
    }

    /// From now on nothing takes time.
    pub(super) fn hurry(&self) {
        self.hurry.send_replace(true);
        if let Some(batches) = &self.batches {
            batches.hurry();
        }
    }

    /// Lets time pass, unless everybody is in a hurry.
    pub(super) async fn delay(&self, time: Duration) {
        let mut hurry = self.hurry.subscribe();
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = hurry.wait_for(|hurry| *hurry) => {}
        }
    }

    /// Files and batches, where the server has them.
    pub(super) fn batches(&self) -> Option<&Arc<Room>> {
        self.batches.as_ref()
    }

    /// The model that a body asks, and the tokens of its prompt.
    pub(super) fn asks_of(&self, body: &[u8]) -> Option<(String, u64)> {
        #[derive(Deserialize)]
        struct Asks {
            model: String,
        }
        match self.forms.read(body) {
            Ok(question) => Some((question.model, question.prompt_tokens)),
            Err(_) => serde_json::from_slice(body).ok().map(|Asks { model }| (model, tokens(body.len()))),
        }
        .filter(|(model, _)| !model.is_empty())
    }

    /// Whether a model gets a 404.
    pub(super) fn is_unknown(&self, model: &str) -> bool {
        self.config.unknown_models.iter().any(|unknown| unknown == model)
    }

    /// Answers a line of a batch, as a live request with this body would be answered. Delays and what goes wrong with
    /// connections do not count.
    pub(super) fn run_line(&self, body: &[u8]) -> Ran {
        let question = self.forms.read(body);
        let number = self.journal().line(question.as_ref().ok().map(|question| question.digest));
        let question = match self.known(&question) {
            Ok(question) => question,
            Err(response) => return Ran::new(*response, Billed::default()),
        };
        let seen = Seen {
            number,
            question: question.digest,
            body,
            tokens: question.prompt_tokens + question.room.unwrap_or(0),
            at: Instant::now(),
        };
        let Decision { says, action, .. } = self.decide(&seen);
        let action = match action {
            Action::CutBody | Action::Wire(_) => Action::Answer,
            action => action,
        };
        if matches!(action, Action::Hang | Action::CloseWithoutReply | Action::GoAway(_)) {
            return Ran { in_time: false, ..Ran::new(status_reply(504, None), Billed::default()) };
        }
        let (response, worth, billed) = perform(&action, &Asked { question, number, says: &says });
        let ran = Ran::new(response, billed);
        let answered = (worth == Worth::Answer).then_some(question.digest);
        self.journal().ran(Outcome { status: ran.status, answered, billed });
        ran
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
        match self.locked_out(head) {
            Some(response) => Err(Box::new(response)),
            None => self.known(question),
        }
    }

    /// The question, if it is one and its model is known.
    fn known<'a>(&self, question: &'a Result<Question, String>) -> Result<&'a Question, Box<Response>> {
        let question = question
            .as_ref()
            .map_err(|message| Box::new(error_reply(StatusCode::BAD_REQUEST, None, message)))?;
        if self.is_unknown(&question.model) {
            let message = format!("the model `{}` does not exist or is not yours to use", question.model);
            return Err(Box::new(error_reply(StatusCode::NOT_FOUND, usual_code(404), &message)));
        }
        Ok(question)
    }

    /// The 401 of a request without the key, if one is asked for.
    pub(super) fn locked_out(&self, head: &Parts) -> Option<Response> {
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

/// What came of a line of a batch.
pub(super) struct Ran {
    pub(super) status: u16,
    pub(super) body: Bytes,
    pub(super) billed: Billed,
    /// False where it got no reply at all.
    pub(super) in_time: bool,
}

impl Ran {
    fn new(response: Response, billed: Billed) -> Self {
        Self {
            status: response.status().as_u16(),
            body: bytes_of(response.into_body()),
            billed,
            in_time: true,
        }
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

/// Whether a path is one of files or batches.
fn of_batches(head: &Parts) -> bool {
    let mut steps = head.uri.path().split('/').skip(1);
    steps.next() == Some("v1") && matches!(steps.next(), Some("files" | "batches"))
}

/// Answers one request.
pub(super) async fn respond(state: Arc<State>, request: Request<Incoming>) -> Result<Response, Closed> {
    let (head, body) = request.into_parts();
    if let Some(room) = state.batches().filter(|_| of_batches(&head)).map(Arc::clone) {
        return batch::respond(state, &room, &head, Payload::Incoming(body)).await;
    }
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
    if let Some(room) = state.batches().filter(|_| of_batches(head)).map(Arc::clone) {
        return batch::respond(state, &room, head, Payload::Whole(Some(body))).await;
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
        state.delay(delay).await;
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

impl Worth {
    /// A scripted text is an answer where it is a JSON object; whether that fits the schema is not looked at.
    fn of(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(Value::Object(_)) => Self::Answer,
            _ => Self::Nothing,
        }
    }
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
            let mut response = reply(StatusCode::OK, HeaderValue::from_static("text/plain"), bytes.clone());
            set_headers(&mut response, [("content-type", content_type.as_str())]);
            return nothing(response);
        }
        Action::NotJson => {
            let page = "<html><body><h1>502 Bad Gateway</h1></body></html>\n";
            return nothing(reply(StatusCode::OK, HeaderValue::from_static("text/html"), page));
        }
        Action::CutBody => {
            let (body, billed) = Turn::answer(question, &whole).completion(question, number, says);
            return (cut_reply(&body.into()), Worth::Nothing, billed);
        }
        Action::Arguments(arguments) => (Turn::tool_call(arguments), Worth::of(arguments)),
        Action::Content(content) => (Turn::say(content), Worth::of(content)),
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
