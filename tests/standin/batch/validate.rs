//! Looking at a batch's file before anything of it is run, as OpenAI does: one line that is wrong rejects all of it.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use xxhash_rust::xxh3::xxh3_128;

use super::{super::service::State, files::Stored, multipart::read_at};

/// Errors that are told of one file.
const ERRORS: usize = 100;

/// The one endpoint whose requests the stand-in runs.
pub(super) const ENDPOINT: &str = "/v1/chat/completions";

/// A file that can be run.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    /// Where each line begins, and its length without its end.
    pub(super) lines: Vec<(u64, usize)>,
    /// The model that all of them ask.
    pub(super) model: String,
    /// Tokens of all prompts.
    pub(super) tokens: u64,
}

/// A line of a batch's file.
#[derive(Deserialize)]
pub(super) struct Request<'a> {
    pub(super) custom_id: Option<Value>,
    method: Option<Value>,
    url: Option<Value>,
    #[serde(borrow)]
    pub(super) body: Option<&'a RawValue>,
}

/// Looks at a file. The errors are as the server tells them.
pub(super) fn validate(state: &State, stored: &Stored, most: u64) -> Result<Accepted, Vec<Value>> {
    let mut seen = Seen { errors: Vec::new(), ids: HashSet::new(), model: None, tokens: 0 };
    let mut lines = Vec::new();
    let mut input = BufReader::with_capacity(1 << 20, At { file: Arc::clone(&stored.file), offset: 0 });
    let (mut offset, mut line) = (0, Vec::new());
    loop {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(vec![told("server_error", &error.to_string(), None, None)]),
        }
        let end = line.strip_suffix(b"\n").unwrap_or(&line);
        lines.push((offset, end.len()));
        offset += line.len() as u64;
        if lines.len() as u64 > most {
            let message = format!(
                "The batch input file has more than {} requests, which is the limit.",
                thousands(most)
            );
            return Err(vec![told("too_many_tasks", &message, None, None)]);
        }
        seen.look(state, end, lines.len());
        if seen.errors.len() == ERRORS {
            break;
        }
    }
    if lines.is_empty() {
        let message = "The input file is empty. Please ensure that the batch contains at least one request.";
        return Err(vec![told("empty_file", message, None, None)]);
    }
    if seen.errors.is_empty() {
        Ok(Accepted { lines, model: seen.model.unwrap_or_default(), tokens: seen.tokens })
    } else {
        Err(seen.errors)
    }
}

/// An error as the server tells it.
pub(super) fn told(code: &str, message: &str, param: Option<&str>, line: Option<usize>) -> Value {
    json!({"code": code, "message": message, "param": param, "line": line})
}

/// The error of a batch with more tokens than there is room for.
pub(super) fn no_room(model: &str, limit: u64) -> Value {
    let message = format!(
        "Enqueued token limit reached for {model} in organization org-standin. Limit: {} enqueued tokens. \
         Please try again once some in_progress batches have been completed.",
        thousands(limit)
    );
    told("token_limit_exceeded", &message, None, None)
}

/// What was seen of a file so far.
struct Seen {
    errors: Vec<Value>,
    /// Digests of the ids, which need not be short.
    ids: HashSet<u128>,
    model: Option<String>,
    tokens: u64,
}

impl Seen {
    fn look(&mut self, state: &State, line: &[u8], number: usize) {
        let mut wrong = |code: &str, param: Option<&str>, message: &str| {
            self.errors.push(told(code, message, param, Some(number)));
        };
        let Ok(request) = serde_json::from_slice::<Request>(line) else {
            return wrong("invalid_json_line", None, "This line is not parseable as valid JSON.");
        };
        match &request.custom_id {
            Some(Value::String(id)) if id.chars().count() > 64 => {
                wrong("invalid_custom_id", Some("custom_id"), "The custom_id is longer than 64 characters.");
            }
            Some(Value::String(id)) if !id.is_empty() => {
                if !self.ids.insert(xxh3_128(id.as_bytes())) {
                    let message = format!(
                        "The custom_id '{id}' for this request is a duplicate of another request. \
                         The custom_id parameter must be unique for each request in a batch."
                    );
                    wrong("duplicate_custom_id", Some("custom_id"), &message);
                }
            }
            _ => wrong(
                "missing_required_parameter",
                Some("custom_id"),
                "Missing required parameter: custom_id.",
            ),
        }
        if request.method != Some(json!("POST")) {
            wrong("invalid_method", Some("method"), "The method of every request has to be POST.");
        }
        if request.url != Some(json!(ENDPOINT)) {
            let message = format!("The URL of this request is not the batch's endpoint, {ENDPOINT}.");
            wrong("url_mismatch", Some("url"), &message);
        }
        let Some(body) = request.body.map(|body| body.get().as_bytes()).filter(|body| body.starts_with(b"{"))
        else {
            return wrong("missing_required_parameter", Some("body"), "Missing required parameter: body.");
        };
        let Some((model, tokens)) = state.asks_of(body) else {
            return wrong(
                "missing_required_parameter",
                Some("body.model"),
                "Missing required parameter: model.",
            );
        };
        if state.is_unknown(&model) {
            let message = format!("The provided model '{model}' is not supported by the Batch API.");
            wrong("model_not_found", Some("body.model"), &message);
        }
        match &self.model {
            Some(first) if *first != model => {
                let message = format!(
                    "The provided model '{model}' does not match the model '{first}' of the requests before it. \
                     All requests of a batch have to ask the same model."
                );
                wrong("mismatched_model", Some("body.model"), &message);
            }
            _ => self.model = Some(model),
        }
        self.tokens += tokens;
    }
}

/// A file as a reader with a place of its own.
struct At {
    file: Arc<File>,
    offset: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = read_at(&self.file, buffer, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}

/// With a comma between every three digits.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        assert_eq!([0, 999, 1000, 2_000_000].map(thousands), ["0", "999", "1,000", "2,000,000"]);
    }
}
