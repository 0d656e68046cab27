//! A line of a batch's file, and a line of the files that it leaves.

use serde_json::Value;

use super::super::reply::{Completion, NO_COMPLETION};
use super::super::{Refusal, Reply, Request, ServerError, Trouble};
use super::URL;
use crate::model::{Price, Tier};
use crate::rating::question::Digest;

/// A line of a file that a batch has left.
#[derive(Debug)]
pub struct Line {
    /// Which question it is for, as the server says; not checked.
    pub custom_id: String,
    /// What came of it.
    pub result: LineResult,
}

/// What came of a request of a batch.
#[derive(Debug)]
pub enum LineResult {
    /// It was run.
    Ran(Box<Result<Reply, Trouble>>),
    /// It was not run: the batch expired or was cancelled before.
    NotRun(ServerError),
}

/// How replies are billed.
#[derive(Debug, Clone, Copy)]
pub struct Billing {
    /// The price at the standard tier, where it is known.
    pub price: Option<Price>,
    /// The tier.
    pub tier: Tier,
}

/// A request as a line of a batch's file, its end included.
pub fn line(request: &Request, question: Digest) -> Vec<u8> {
    let before = format!(r#"{{"custom_id":"{question}","method":"POST","url":"{URL}","body":"#).into_bytes();
    // The body is JSON on one line: it goes in as it is.
    [&before[..], &request.body, b"}\n"].concat()
}

/// Reads a line of a file that a batch has left, or that a runner of one's own has written. The error says what is wrong with
/// it, and quotes nothing of it.
///
/// OpenAI writes `{"custom_id", "response": {"status_code", "body"}, "error"}`. Others leave the status out, write the body as a
/// text or in the response's place, or put an error beside a response without a body (vLLM). A line without a response is one
/// that was not run where its error's code is `batch_expired` or `batch_cancelled`; any other (`request_timeout`) reads as
/// refused with the status that the error names, else with 500, so that it is tried again.
pub(super) fn read_line(line: &[u8], billing: &Billing) -> Result<Line, String> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let mut line: Value = serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
    let Value::Object(fields) = &mut line else { return Err("not a JSON object".to_owned()) };
    let (response, error) = (fields.remove("response"), fields.remove("error"));
    let (response, error) =
        (response.filter(|response| !response.is_null()), error.filter(|error| !error.is_null()));
    if response.is_none() && error.is_none() && fields.contains_key("method") && fields.contains_key("body") {
        return Err("a request, not a reply: the file is one that was sent".to_owned());
    }
    let Some(custom_id) = fields.get("custom_id").and_then(Value::as_str) else {
        return Err("no custom_id".to_owned());
    };
    let custom_id = custom_id.to_owned();
    let result = match (response, error) {
        (None, None) => return Err("neither a response nor an error".to_owned()),
        (None, Some(error)) => {
            let says = said(&error);
            let is = |code: &str| says.kind.split(' ').any(|word| word.eq_ignore_ascii_case(code));
            if ["batch_expired", "batch_cancelled", "batch_canceled"].into_iter().any(is) {
                LineResult::NotRun(says)
            } else {
                ran(Err(refused(status_of(&error), says)))
            }
        }
        (Some(response), error) => ran(reply(response, error, billing)),
    };
    Ok(Line { custom_id, result })
}

fn ran(result: Result<Reply, Trouble>) -> LineResult {
    LineResult::Ran(Box::new(result))
}

/// What a response comes to, with the error beside it.
fn reply(mut response: Value, error: Option<Value>, billing: &Billing) -> Result<Reply, Trouble> {
    if response.get("choices").is_some() {
        return completion(response, billing);
    }
    let status = &response["status_code"];
    let status = status.as_u64().or_else(|| status.as_str()?.parse().ok()).filter(|status| *status != 0);
    let body = match response.get_mut("body").map(Value::take).unwrap_or_default() {
        // A text that is no JSON is an error's own words.
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        body => body,
    };
    match status.and_then(|status| u16::try_from(status).ok()) {
        // Some say nothing of it, and OpenAI has said 0.
        None | Some(200..=299) if body.get("choices").is_some() => completion(body, billing),
        Some(status @ 300..) => Err(refused(Some(status), said(error.as_ref().unwrap_or(&body)))),
        _ => match (error, body) {
            (Some(error), _) => Err(refused(status_of(&error), said(&error))),
            (None, Value::Object(body)) => completion(Value::Object(body), billing),
            (None, _) => Err(refused(None, said(&"the line has a response without a body".into()))),
        },
    }
}

fn completion(body: Value, billing: &Billing) -> Result<Reply, Trouble> {
    // The parser's own words would quote the reply.
    let completion: Completion = serde_json::from_value(body)
        .map_err(|_| Trouble::Garbled(format!("{NO_COMPLETION}: its parts have other types")))?;
    completion.reply(billing, None)
}

/// A refusal with the status of what went wrong at the server where there is none.
fn refused(status: Option<u16>, error: ServerError) -> Trouble {
    Trouble::Refused(Refusal { status: status.unwrap_or(500), retry_after: None, error })
}

/// An error's words. They are cut when the key is out of them.
fn said(error: &Value) -> ServerError {
    match error {
        Value::Null => {
            ServerError { message: "the server says nothing of it".into(), ..ServerError::default() }
        }
        Value::String(text) => ServerError { message: text.clone(), ..ServerError::default() },
        error => ServerError::parse(error.to_string().as_bytes()),
    }
}

/// The status that an error names as its code.
fn status_of(error: &Value) -> Option<u16> {
    let error = error.get("error").filter(|error| error.is_object()).unwrap_or(error);
    let code = u16::try_from(error.get("code")?.as_u64()?).ok()?;
    (400..600).contains(&code).then_some(code)
}
