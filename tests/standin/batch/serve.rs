//! Requests to the paths of files and batches, and what goes wrong with them.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Either};
use hyper::{
    Method, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    http::request::Parts,
};
use serde_json::{Value, json};

use super::{
    super::{
        reply::{Closed, Ending, Response, error_reply, half_of, json_reply, set_headers, status_reply},
        service::State,
    },
    Job, Room,
    files::FileBody,
    job,
    multipart::{Form, Reader},
    rules::{Fault, Kind},
    validate::ENDPOINT,
};

/// The most bytes of a body that is no file.
const LARGEST_BODY: usize = 1 << 20;

/// The body of a request: still to be read, or read.
pub(in super::super) enum Payload {
    Incoming(Incoming),
    Whole(Option<Bytes>),
}

impl Payload {
    async fn piece(&mut self) -> Result<Option<Bytes>, Closed> {
        match self {
            Self::Whole(bytes) => Ok(bytes.take()),
            Self::Incoming(body) => loop {
                match body.frame().await {
                    None => return Ok(None),
                    Some(Err(_)) => return Err(Closed),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Ok(Some(data));
                        }
                    }
                }
            },
        }
    }
}

/// What came with a request.
enum Input {
    Form(Result<Form, String>),
    Body(Bytes),
}

/// A request that has been read.
struct Request {
    kind: Kind,
    id: String,
    query: String,
    input: Input,
}

/// Answers a request to a path of files or batches.
pub(in super::super) async fn respond(
    state: Arc<State>,
    room: &Arc<Room>,
    head: &Parts,
    mut payload: Payload,
) -> Result<Response, Closed> {
    let Some((kind, id)) = Kind::of(head) else {
        let (status, words) = match Kind::of(&with_get(head)) {
            Some(_) => (StatusCode::METHOD_NOT_ALLOWED, "this path wants another method"),
            None => (StatusCode::NOT_FOUND, "no such path"),
        };
        let response = error_reply(status, None, words);
        state.journal().aside(head, &Bytes::new(), status.as_u16());
        return Ok(response);
    };
    let fault = room.fault(kind);
    let input = match (kind, &fault) {
        (Kind::Upload, Some(Fault::CutAfter(bytes) | Fault::StallAfter(bytes))) => {
            state.journal().aside(head, &Bytes::new(), 0);
            return stop_reading(room, &mut payload, (*bytes, matches!(fault, Some(Fault::CutAfter(_)))))
                .await;
        }
        (Kind::Upload, _) => Input::Form(form(head, &mut payload).await?),
        _ => Input::Body(whole(&mut payload).await?),
    };
    let body = match &input {
        Input::Body(body) => body.clone(),
        Input::Form(_) => Bytes::new(),
    };
    let position = state.journal().aside(head, &body, 0);
    if let Some(response) = state.locked_out(head) {
        state.journal().told(position, response.status().as_u16());
        return Ok(response);
    }
    let query = head.uri.query().unwrap_or_default().to_owned();
    let request = Request { kind, id: id.to_owned(), query, input };
    let reply = perform(&state, room, request, fault).await;
    let status = reply.as_ref().map_or(0, |response| response.status().as_u16());
    state.journal().told(position, status);
    reply
}

/// Does what a request wants, with what goes wrong at it.
async fn perform(
    state: &Arc<State>,
    room: &Arc<Room>,
    request: Request,
    fault: Option<Fault>,
) -> Result<Response, Closed> {
    let kind = request.kind;
    let delay = match &fault {
        Some(Fault::Delay(milliseconds) | Fault::LostThenDone(milliseconds)) => *milliseconds,
        Some(Fault::Status { code, body, headers }) => {
            room.has_arrived(kind);
            let mut response = status_reply(*code, body.as_ref());
            set_headers(&mut response, headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            return Ok(response);
        }
        Some(Fault::Close) => {
            room.has_arrived(kind);
            return Err(Closed);
        }
        Some(Fault::Hang) => {
            room.has_arrived(kind);
            return std::future::pending().await;
        }
        _ => 0,
    };
    let early = matches!(fault, Some(Fault::Delay(_) | Fault::LostThenDone(_)));
    if early {
        room.has_arrived(kind);
    }
    let (shared, rooms) = (Arc::clone(state), Arc::clone(room));
    // A task of its own: a server does what it was asked for, whether the client waits or not.
    let doing = tokio::spawn(async move {
        if delay > 0 {
            shared.delay(Duration::from_millis(delay)).await;
        }
        act(&shared, &rooms, request).await
    });
    if let Some(Fault::LostThenDone(_)) = fault {
        return Err(Closed);
    }
    let response = doing.await.map_err(|_| Closed)?;
    if !early {
        room.has_arrived(kind);
    }
    match fault {
        Some(Fault::Lost) => Err(Closed),
        Some(Fault::Silent) => std::future::pending().await,
        Some(Fault::Late(milliseconds)) => {
            state.delay(Duration::from_millis(milliseconds)).await;
            Ok(response)
        }
        Some(Fault::CutBody) => Ok(half_of(response, Ending::Closed)),
        Some(Fault::StallBody) => Ok(half_of(response, Ending::Silent)),
        _ => Ok(response),
    }
}

async fn act(state: &Arc<State>, room: &Arc<Room>, request: Request) -> Response {
    let Request { kind, id, query, input } = request;
    match (kind, input) {
        (Kind::Upload, Input::Form(form)) => upload(state, room, form),
        (Kind::Create, Input::Body(body)) => create(state, room, &body),
        (Kind::ListFiles, _) => list_files(room, &query),
        (Kind::GetFile, _) => match room.files().get(&id) {
            Some(stored) => ok(&stored.told()),
            None => missing("File", &id),
        },
        (Kind::DeleteFile, _) => {
            if room.files().delete(&id) {
                ok(&json!({"object": "file", "id": id, "deleted": true}))
            } else {
                missing("File", &id)
            }
        }
        (Kind::Content, _) => match room.files().get(&id) {
            Some(stored) => {
                let mut response = Response::new(Either::Right(Either::Right(FileBody::new(&stored))));
                let kind = HeaderValue::from_static("application/octet-stream");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            None => missing("File", &id),
        },
        (Kind::ListBatches, _) => list_batches(room, &query).await,
        (Kind::GetBatch, _) => match room.job(&id) {
            Some(job) => {
                job.settled(room).await;
                ok(&job.told())
            }
            None => missing("Batch", &id),
        },
        (Kind::Cancel, _) => match room.job(&id).map(|job| job.cancel().map(|()| job.told())) {
            Some(Ok(told)) => ok(&told),
            Some(Err(status)) => {
                let message = format!("Cannot cancel a batch with status '{status}'.");
                error_reply(StatusCode::CONFLICT, None, &message)
            }
            None => missing("Batch", &id),
        },
        // Every upload has a form and nothing else has.
        (Kind::Upload | Kind::Create, _) => bad(None, "the body is missing"),
    }
}

fn upload(state: &State, room: &Room, form: Result<Form, String>) -> Response {
    let form = match form {
        Ok(form) => form,
        Err(message) => return bad(None, &message),
    };
    let Some(purpose) = form.fields.get("purpose") else {
        return bad(Some("purpose"), "'purpose' is a required property");
    };
    let Some(upload) = form.file else { return bad(Some("file"), "'file' is a required property") };
    if purpose != "batch" {
        return bad(Some("purpose"), "the stand-in takes files for the purpose 'batch' only");
    }
    if Path::new(&upload.name).extension().is_none_or(|end| end != "jsonl") {
        return bad(Some("file"), "Invalid file format for Batch API. Must be .jsonl");
    }
    if upload.bytes > room.config.bytes {
        let message = format!("File is too large: the limit for batches is {} bytes.", room.config.bytes);
        return error_reply(StatusCode::PAYLOAD_TOO_LARGE, None, &message);
    }
    state.journal().count(|counters| counters.files += 1);
    ok(&room.files().store(upload.name, purpose, (upload.file, upload.bytes)).told())
}

fn create(state: &Arc<State>, room: &Arc<Room>, body: &[u8]) -> Response {
    let Ok(wanted) = serde_json::from_slice::<Value>(body) else {
        return bad(None, "could not parse the body as JSON");
    };
    if wanted["endpoint"] != ENDPOINT {
        return bad(Some("endpoint"), &format!("Invalid value for 'endpoint': the stand-in has {ENDPOINT}"));
    }
    if wanted["completion_window"] != "24h" {
        return bad(Some("completion_window"), "Invalid value for 'completion_window': it has to be '24h'");
    }
    if let Err(message) = check_metadata(&wanted["metadata"]) {
        return bad(Some("metadata"), &message);
    }
    let Some(id) = wanted["input_file_id"].as_str() else {
        return bad(Some("input_file_id"), "Missing required parameter: 'input_file_id'.");
    };
    let input = room.files().get(id).filter(|stored| stored.purpose == "batch");
    let Some(input) = input else {
        return bad(Some("input_file_id"), &format!("No file for batches has the id '{id}'."));
    };
    state.journal().count(|counters| counters.batches += 1);
    let mut jobs = room.jobs();
    let number = jobs.len() as u64 + 1;
    let job = Arc::new(Job::new(number, input, wanted["metadata"].clone(), room.twists(number)));
    jobs.push(Arc::clone(&job));
    let told = job.told();
    tokio::spawn(job::drive(Arc::clone(state), Arc::clone(room), job));
    ok(&told)
}

/// What metadata may be: at most 16 pairs, keys of 64 and values of 512 characters.
fn check_metadata(metadata: &Value) -> Result<(), String> {
    let pairs = match metadata {
        Value::Null => return Ok(()),
        Value::Object(pairs) => pairs,
        _ => return Err("Invalid type for 'metadata': it has to be an object.".to_owned()),
    };
    if pairs.len() > 16 {
        return Err("Invalid 'metadata': it has more than 16 pairs.".to_owned());
    }
    for (key, value) in pairs {
        let Some(value) = value.as_str() else {
            return Err(format!("Invalid type for 'metadata.{key}': it has to be a string."));
        };
        if key.chars().count() > 64 || value.chars().count() > 512 {
            return Err(format!("Invalid 'metadata.{key}': a key has at most 64 characters, a value 512."));
        }
    }
    Ok(())
}

fn list_files(room: &Room, query: &str) -> Response {
    let page = match Page::read(query, 10_000) {
        Ok(page) => page,
        Err(response) => return *response,
    };
    let purpose = parameter(query, "purpose");
    let files = room.files();
    let mut all: Vec<_> =
        files.all().filter(|stored| purpose.is_none_or(|wanted| stored.purpose == wanted)).collect();
    if parameter(query, "order") != Some("asc") {
        all.reverse();
    }
    page.of(&all, |stored| &stored.id, |stored| stored.told())
}

async fn list_batches(room: &Room, query: &str) -> Response {
    let page = match Page::read(query, 100) {
        Ok(page) => page,
        Err(response) => return *response,
    };
    let mut all = room.jobs().clone();
    all.reverse();
    for job in &all {
        job.settled(room).await;
    }
    page.of(&all, |job| &job.id, |job| job.told())
}

/// A part of a list.
struct Page {
    limit: usize,
    after: Option<String>,
}

impl Page {
    /// The error is the reply to a limit that is none. Batches come by 20 where nothing is said, files all at once.
    fn read(query: &str, most: usize) -> Result<Self, Box<Response>> {
        let limit = match parameter(query, "limit") {
            None => {
                if most == 100 {
                    20
                } else {
                    most
                }
            }
            Some(limit) => {
                limit.parse().ok().filter(|limit| (1..=most).contains(limit)).ok_or_else(|| {
                    Box::new(bad(Some("limit"), &format!("'limit' has to be between 1 and {most}.")))
                })?
            }
        };
        Ok(Self { limit, after: parameter(query, "after").map(str::to_owned) })
    }

    fn of<T>(&self, all: &[T], id: impl Fn(&T) -> &String, told: impl Fn(&T) -> Value) -> Response {
        let first = match &self.after {
            None => 0,
            Some(after) => match all.iter().position(|one| id(one) == after) {
                Some(place) => place + 1,
                None => return bad(Some("after"), &format!("'after' is the id of nothing: '{after}'.")),
            },
        };
        let rest = &all[first..];
        let data: Vec<Value> = rest.iter().take(self.limit).map(told).collect();
        let ends = [data.first(), data.last()].map(|one| one.map(|one| one["id"].clone()));
        ok(&json!({"object": "list", "first_id": ends[0], "last_id": ends[1],
                   "has_more": rest.len() > data.len(), "data": data}))
    }
}

/// A parameter of a query; the ids and numbers that occur need no decoding.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

fn ok(told: &Value) -> Response {
    json_reply(StatusCode::OK, told.to_string())
}

fn bad(param: Option<&str>, message: &str) -> Response {
    let error = json!({"message": message, "type": "invalid_request_error", "param": param, "code": null});
    json_reply(StatusCode::BAD_REQUEST, json!({"error": error}).to_string())
}

fn missing(what: &str, id: &str) -> Response {
    error_reply(StatusCode::NOT_FOUND, None, &format!("No such {what} object: {id}"))
}

/// The same request as a GET, to tell a wrong method from a wrong path.
fn with_get(head: &Parts) -> Parts {
    let mut head = head.clone();
    head.method = if head.method == Method::GET { Method::POST } else { Method::GET };
    head
}

/// Reads a form. The inner error says what is wrong with it.
async fn form(head: &Parts, payload: &mut Payload) -> Result<Result<Form, String>, Closed> {
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut reader = Reader::new(kind.unwrap_or_default());
    // All is read whatever is wrong with it: a reply before the end would be lost.
    while let Some(piece) = payload.piece().await? {
        reader = reader.and_then(|mut reader| reader.push(&piece).map(|()| reader));
    }
    Ok(reader.and_then(Reader::end))
}

async fn whole(payload: &mut Payload) -> Result<Bytes, Closed> {
    let mut body = BytesMut::new();
    while let Some(piece) = payload.piece().await? {
        if body.len() < LARGEST_BODY {
            body.extend_from_slice(&piece);
        }
    }
    Ok(body.freeze())
}

/// Reads so many bytes of an upload and no more.
async fn stop_reading(
    room: &Room,
    payload: &mut Payload,
    (bytes, close): (u64, bool),
) -> Result<Response, Closed> {
    let mut read = 0;
    while read < bytes {
        match payload.piece().await? {
            Some(piece) => read += piece.len() as u64,
            None => break,
        }
    }
    room.has_arrived(Kind::Upload);
    if close { Err(Closed) } else { std::future::pending().await }
}
