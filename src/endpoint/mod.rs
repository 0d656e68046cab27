//! Chat completions: OpenAI, llama.cpp, compatible servers. One attempt at a time; what follows from it is `rate`'s.

mod reply;
mod request;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use crate::http::{self, HeaderMap, HeaderValue};
use crate::meter::Told;
use crate::model::{Money, Price};
use crate::rating::answer::Usage;
use crate::rating::question::{Digest, Sampling};

pub use reply::{Said, ServerError};
pub use request::{Form, Message, OWN_KEYS};

/// Where OpenAI answers.
pub const HOSTED_URL: &str = "https://api.openai.com/v1";

/// Characters of a server's error that are shown.
const LONGEST_MESSAGE: usize = 300;

/// How the answer is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyForm {
    /// One function that must be called: the form that OpenAI and llama.cpp both honour.
    #[default]
    Tools,
    /// `response_format` with a JSON Schema, for servers that cannot call functions.
    JsonSchema,
}

/// What the user set about the endpoint.
#[derive(Debug, Clone)]
pub struct Options {
    /// The base URL without a slash at its end.
    pub base_url: String,
    /// Whether it is OpenAI's own.
    pub hosted: bool,
    /// The key; a server of one's own needs none.
    pub key: Option<SecretString>,
    /// Further headers that name the account: `OpenAI-Organization`, `OpenAI-Project`.
    pub account: Vec<(&'static str, String)>,
    /// The model's name as it is sent.
    pub model: String,
    /// Who answers under that name, as far as it is known: parameters and price go by it.
    pub answers: String,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// Room for the visible answer, in tokens.
    pub max_generation_tokens: u32,
    /// How the model generates.
    pub sampling: Sampling,
    /// How the answer is asked for.
    pub reply: ReplyForm,
    /// Price per million tokens, where it is known.
    pub price: Option<Price>,
}

/// What stops the whole run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot be used.
    #[error("{0}")]
    Usage(String),
    /// No client can be made.
    #[error("cannot prepare connections: {0}")]
    Client(#[from] http::Error),
    /// The server says no to every request.
    #[error("{0}")]
    Refused(String),
}

/// Why an attempt gave no completion.
#[derive(Debug)]
pub enum Trouble {
    /// The server answered with an error.
    Refused(Refusal),
    /// There is no whole reply.
    Transport(http::Error),
    /// The reply is not a completion: not JSON, or without choices.
    Garbled(String),
}

/// An error status, as much of it as decides what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("HTTP {status}: {error}")]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
    /// What the server says.
    pub error: ServerError,
}

/// A completion.
#[derive(Debug)]
pub struct Reply {
    /// What the model said.
    pub said: Said,
    /// The model's name as the server gives it.
    pub model: Option<String>,
    /// Why generation ended.
    pub finish_reason: Option<String>,
    /// What was billed; `None` where the server gave no usage.
    pub usage: Option<Usage>,
}

/// What one attempt brought.
#[derive(Debug)]
pub struct Attempted {
    /// What the headers told of the account's limits, whatever the status.
    pub told: Told,
    /// The completion, or why there is none.
    pub result: Result<Reply, Trouble>,
}

/// A question in its wire form.
#[derive(Debug, Clone)]
pub struct Request {
    /// The body.
    pub body: Bytes,
    /// Tokens that the answer may take.
    pub room: u32,
}

/// What the endpoint says of its models.
#[derive(Debug, PartialEq, Eq)]
pub enum Listing {
    /// It lists exactly one model: whatever name is asked for, this one answers.
    One(String),
    /// It lists several, or has no such list: the name asked for counts.
    Other,
    /// It answers, but not so that one can tell: the reason.
    Unclear(String),
    /// It cannot be reached: the reason.
    Unreachable(String),
}

/// A chat endpoint.
#[derive(Debug)]
pub struct Endpoint {
    client: http::Client,
    headers: HeaderMap,
    completions: http::Target,
    /// What the user set.
    pub options: Options,
}

impl Endpoint {
    /// An endpoint; no request is made yet.
    pub fn new(options: Options) -> Result<Self, Error> {
        let (client, headers) = (http::Client::new(options.timeout)?, headers(&options)?);
        let completions =
            client.target(&format!("{}/chat/completions", options.base_url), headers.clone())?;
        Ok(Self { client, headers, completions, options })
    }

    /// Whether the server runs on this machine: nobody else bills for it.
    pub fn is_local(&self) -> bool {
        host_of(&self.options.base_url).is_some_and(|host| {
            host == "localhost"
                || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        })
    }

    /// The digest of the base URL: the store remembers who answered there without knowing where it is.
    pub fn url_digest(&self) -> Digest {
        Digest::of(&Value::from(self.options.base_url.as_str()))
    }

    /// Asks which models there are.
    pub async fn models(&self) -> Result<Listing, Error> {
        let url = format!("{}/models", self.options.base_url);
        let listed =
            tokio::time::timeout(Duration::from_secs(10), self.client.get(&url, self.headers.clone()));
        let reply = match listed.await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => return Ok(Listing::Unreachable(error.to_string())),
            Err(_) => return Ok(Listing::Unreachable("no reply within 10 s".to_owned())),
        };
        if matches!(reply.status.as_u16(), 401 | 403) {
            let refusal = Refusal {
                status: reply.status.as_u16(),
                retry_after: None,
                error: ServerError::parse(&reply.body),
            };
            return Err(Error::Refused(self.bad_key(&refusal)));
        }
        let list: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let names: Option<Vec<&str>> = list["data"]
            .as_array()
            .map(|models| models.iter().filter_map(|model| model["id"].as_str()).collect());
        Ok(match (names.as_deref(), reply.status.as_u16()) {
            (Some([only]), 200) if !only.is_empty() => Listing::One((*only).to_owned()),
            (Some(_), 200) | (_, 404 | 405 | 501) => Listing::Other,
            (_, status) => Listing::Unclear(format!("HTTP {status} to GET /models")),
        })
    }

    /// What to tell the user of a refused key. The key itself is never shown.
    pub fn bad_key(&self, refusal: &Refusal) -> String {
        let (what, mend) = match &self.options.key {
            Some(_) => ("refused the key", "check OPENAI_API_KEY (or OPENAI_KEY)"),
            None => ("wants a key", "set OPENAI_API_KEY"),
        };
        format!("the endpoint {} {what} (HTTP {}); {mend}", self.shown_url(), refusal.status)
    }

    /// A server may quote the request's headers in its error: the key goes no further.
    fn without_key(&self, mut trouble: Trouble) -> Trouble {
        if let Trouble::Refused(refusal) = &mut trouble {
            for words in
                [Some(&mut refusal.error.message), refusal.error.param.as_mut()].into_iter().flatten()
            {
                // Cut after the key is out: a cut through it would leave its head.
                *words = self.without_key_in(words).chars().take(LONGEST_MESSAGE).collect();
            }
        }
        trouble
    }

    fn without_key_in(&self, words: &str) -> String {
        match self.options.key.as_ref().map(ExposeSecret::expose_secret).filter(|key| !key.is_empty()) {
            Some(key) => words.replace(key, "(the key)"),
            None => words.to_owned(),
        }
    }

    /// The base URL without user, password and query.
    pub fn shown_url(&self) -> String {
        shown(&self.options.base_url)
    }

    /// The most that a request can cost, where the price is known.
    pub fn bound(&self, request: &Request) -> Option<Money> {
        Some(self.options.price?.bound(request.body.len(), request.room))
    }

    /// One attempt.
    pub async fn attempt(&self, request: &Request) -> Attempted {
        let reply = match self.completions.post(request.body.clone()).await {
            Ok(reply) => reply,
            Err(error) => return Attempted { told: Told::default(), result: Err(Trouble::Transport(error)) },
        };
        tracing::trace!(
            target: "classified::bodies",
            status = reply.status.as_u16(),
            request = ?String::from_utf8_lossy(&request.body),
            reply = ?self.without_key_in(&String::from_utf8_lossy(&reply.body)),
            "exchanged"
        );
        let result = self.read(&reply).map_err(|trouble| self.without_key(trouble));
        Attempted { told: Told::of(&reply.headers), result }
    }

    /// The completion in a reply.
    fn read(&self, reply: &http::Reply) -> Result<Reply, Trouble> {
        let retry_after = reply.retry_after();
        if !reply.status.is_success() {
            let (status, error) = (reply.status.as_u16(), ServerError::parse(&reply.body));
            return Err(Trouble::Refused(Refusal { status, retry_after, error }));
        }
        let completion: reply::Completion = serde_json::from_slice(&reply.body)
            .map_err(|error| Trouble::Garbled(format!("not JSON: {error}")))?;
        let usage = completion.usage.as_ref().and_then(|usage| {
            let (input, output) = (usage.prompt_tokens?, usage.completion_tokens.unwrap_or(0));
            let cost = self.options.price.map(|price| price.cost(input, usage.cached(), output));
            Some(Usage { input, cached_input: usage.cached(), output, cost })
        });
        let Some(choice) = completion.choices.and_then(|choices| choices.into_iter().next()) else {
            // Gateways put the error of the server behind them into a reply of status 200.
            let Some(error) = completion.error.filter(|error| !error.is_null()) else {
                return Err(Trouble::Garbled("the reply has no choices".to_owned()));
            };
            let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
            return Err(Trouble::Refused(Refusal {
                status,
                retry_after,
                error: ServerError::of_value(&error),
            }));
        };
        let finish_reason = choice.finish_reason.clone();
        Ok(Reply { said: choice.said(), model: completion.model, finish_reason, usage })
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Transport(error) => error.fmt(f),
            Self::Garbled(what) => write!(f, "the reply is not a chat completion: {what}"),
        }
    }
}

impl std::error::Error for Trouble {}

/// The headers of every request, made ready once; no `Authorization` without a key.
fn headers(options: &Options) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(key) = &options.key {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).map_err(|_| {
            Error::Usage(
                "the key has a character that no HTTP header may hold: check OPENAI_API_KEY".to_owned(),
            )
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    for (name, value) in &options.account {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Error::Usage(format!("`{name}` has a character that no HTTP header may hold")))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(headers)
}

fn host_of(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some(match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => host.split(':').next()?,
    })
}

/// A URL without user, password and query.
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "(not a URL)".to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (authority, path) =
        rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}
