//! HTTP replies: JSON, errors in the usual shape, rate-limit headers, and a body that is cut.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::{
    StatusCode,
    body::{Body, Frame},
    header::{self, HeaderName, HeaderValue},
};
use serde_json::{Value, json};

use super::{
    batch::FileBody,
    limit::{Headers, Limit, Unit},
    script::Action,
};

/// A reply whose body is whole, cut, or a file.
pub(super) type Response = hyper::Response<Either<Full<Bytes>, Either<CutBody, FileBody>>>;

/// The connection ends here, by intent of the script or because the client left.
#[derive(Debug, thiserror::Error)]
#[error("the connection was closed")]
pub(super) struct Closed;

impl From<Infallible> for Closed {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An error body in the usual shape; `code` is null where there is none.
pub(super) fn error_body(status: u16, code: Option<&str>, message: &str) -> String {
    let kind = match (status, code) {
        (_, Some("insufficient_quota")) => "insufficient_quota",
        (429, _) => "requests",
        (500.., _) => "server_error",
        _ => "invalid_request_error",
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
}

/// The usual `error.code` of a status, where there is one.
pub(super) fn usual_code(status: u16) -> Option<&'static str> {
    match status {
        401 => Some("invalid_api_key"),
        404 => Some("model_not_found"),
        429 => Some("rate_limit_exceeded"),
        _ => None,
    }
}

/// A reply with a content type and a body of known length.
pub(super) fn reply(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// [`reply`] with JSON.
pub(super) fn json_reply(status: StatusCode, body: impl Into<Bytes>) -> Response {
    reply(status, JSON, body)
}

/// [`json_reply`] with an error in the usual shape.
pub(super) fn error_reply(status: StatusCode, code: Option<&str>, message: &str) -> Response {
    json_reply(status, error_body(status.as_u16(), code, message))
}

/// Sets headers given as text. Those of a script were looked at when the stand-in started; what is no header is
/// left out.
pub(super) fn set_headers<'a>(
    response: &mut Response,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
}

/// A reply with a scripted status; a body that is a JSON string goes as plain text, none becomes an error.
pub(super) fn status_reply(code: u16, body: Option<&Value>) -> Response {
    // Scripts are checked at the start, so the fallback is never seen.
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match body {
        Some(Value::String(text)) => {
            reply(status, HeaderValue::from_static("text/plain; charset=utf-8"), text.clone())
        }
        Some(value) => json_reply(status, value.to_string()),
        None => json_reply(status, error_body(code, usual_code(code), "scripted by the stand-in")),
    }
}

/// 200 with a reply that declares its whole length and ends half-way.
pub(super) fn cut_reply(body: &Bytes) -> Response {
    half_of(json_reply(StatusCode::OK, body.clone()), Ending::Closed)
}

/// How a body ends that is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With the connection.
    Closed,
    /// Not at all: nothing more comes.
    Silent,
}

/// The reply with its whole length declared and half of its body.
pub(super) fn half_of(response: Response, ending: Ending) -> Response {
    let (mut head, body) = response.into_parts();
    let (length, cut) = match body {
        Either::Right(Either::Right(file)) => {
            (file.length(), Either::Right(Either::Right(file.half(ending))))
        }
        body => {
            let bytes = bytes_of(body);
            let half = Some(bytes.slice(..bytes.len() / 2));
            (bytes.len() as u64, Either::Right(Either::Left(CutBody { half, flushed: false, ending })))
        }
    };
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Response::from_parts(head, cut)
}

/// The bytes of a body that is in memory; of one that is cut or a file, none.
pub(super) fn bytes_of(body: Either<Full<Bytes>, Either<CutBody, FileBody>>) -> Bytes {
    match body {
        Either::Left(whole) => whole.collect().now_or_never().map(|Ok(body)| body.to_bytes()),
        Either::Right(_) => None,
    }
    .unwrap_or_default()
}

/// Half of a body, and then its ending.
pub(super) struct CutBody {
    half: Option<Bytes>,
    flushed: bool,
    ending: Ending,
}

impl Body for CutBody {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        if let Some(half) = self.half.take() {
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        if self.ending == Ending::Silent {
            return Poll::Pending;
        }
        if self.flushed {
            return Poll::Ready(Some(Err(Closed)));
        }
        // hyper drops what it has not written when a body fails, and it writes when a body has to wait.
        self.flushed = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The 400 of a server that does not know a parameter, in OpenAI's words.
pub(super) fn refusal_of(parameter: &str) -> Action {
    let error = json!({"error": {
        "message": format!("Unsupported parameter: '{parameter}' is not supported with this model."),
        "type": "invalid_request_error", "param": parameter, "code": "unsupported_parameter"
    }});
    Action::Status { code: 400, body: Some(error), headers: BTreeMap::new() }
}

/// The 429 of a request that is above a limit by itself, in OpenAI's words.
pub(super) fn too_large() -> Action {
    let error = json!({"error": {
        "message": "Request too large for the stand-in on tokens per min (TPM)",
        "type": "tokens", "param": null, "code": "rate_limit_exceeded"
    }});
    Action::Status { code: 429, body: Some(error), headers: BTreeMap::new() }
}

/// What a rate limit tells in headers, with `retry-after` where it was hit.
pub(super) fn set_limit_headers(response: &mut Response, limit: Limit) {
    let Some(Headers { limit: per_minute, remaining, reset, retry_after }) = limit.told else { return };
    let (per_minute, remaining) = (per_minute.to_string(), remaining.to_string());
    let reset = format!("{}ms", reset.as_millis());
    let names = match limit.unit {
        Unit::Requests => {
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"]
        }
        Unit::Tokens => {
            ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"]
        }
    };
    set_headers(response, names.into_iter().zip([per_minute.as_str(), &remaining, &reset]));
    if let Some(wait) = retry_after {
        // Whole seconds, as the header has them; rounded up, so that who waits that long gets through.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        set_headers(response, [("retry-after", seconds.to_string().as_str())]);
    }
}
