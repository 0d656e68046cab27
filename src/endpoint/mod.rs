//! Chat completions: OpenAI, llama.cpp, compatible servers. One attempt at a time; what follows from it is `rate`'s.

mod address;
pub mod batches;
mod bill;
mod cut;
mod dialect;
mod judge;
mod listing;
mod reply;
mod request;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use crate::http::{self, HeaderMap, HeaderValue};
use crate::meter::Told;
use crate::model::{Price, ServiceTier};
use crate::rating::answer::Usage;
use crate::rating::question::{Digest, Sampling};
use address::KeyHeader;
use cut::CutWatch;
use dialect::Way;
use reply::{Completion, NO_COMPLETION};
use request::Instead;

pub use address::{Address, shown};
pub use cut::Prompt;
pub use dialect::Dialect;
pub use judge::Judged;
pub use listing::{Day, Listed, Listing, shutdown_warning};
pub use reply::{Call, Overflow, Said, ServerError};
pub use request::{Form, Message, OWN_KEYS};

/// Where OpenAI answers.
pub const HOSTED_URL: &str = "https://api.openai.com/v1";

/// Whether a base URL is OpenAI's own, or that of one of its regions.
pub fn is_hosted(url: &str) -> bool {
    let host = http::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    url == HOSTED_URL || host.is_some_and(|host| host.ends_with(".api.openai.com"))
}

/// Characters of a server's error that are shown.
const LONGEST_MESSAGE: usize = 300;

/// How the answer is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyForm {
    /// One function that must be called, and a JSON Schema where a server does not take functions or never calls one.
    #[default]
    Auto,
    /// One function that must be called: the form that OpenAI and llama.cpp both honour.
    Tools,
    /// `response_format` with a JSON Schema, for servers that cannot call functions.
    JsonSchema,
}

/// What the user set about the endpoint.
#[derive(Debug, Clone)]
pub struct Options {
    /// The base URL.
    pub base_url: String,
    /// `api-version` of the query, for Azure.
    pub api_version: Option<String>,
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
    /// The service tier that is asked for, where the user named one.
    pub tier: Option<ServiceTier>,
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
    /// The reply is not what was asked for, such as not JSON, or without choices: in a sentence.
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

impl Refusal {
    /// Its status, and what the error names by a word: nothing that may quote the request.
    pub fn bare(&self) -> String {
        let words = self.error.bare();
        if words.is_empty() {
            format!("HTTP {}", self.status)
        } else {
            format!("HTTP {} ({words})", self.status)
        }
    }
}

/// A completion.
#[derive(Debug)]
pub struct Reply {
    /// What the model said.
    pub said: Said,
    /// Whether it called a function.
    pub call: Call,
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
    /// Tokens that all its answers together may take, whoever set their room; `None` where nothing bounds them.
    pub answer_at_most: Option<u64>,
    /// In which dialect it is put.
    pub dialect: Dialect,
}

/// What follows from a refusal for the form of all questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adapted {
    /// Ask again: the form has changed, now or since this was sent.
    Again,
    /// What is refused was set by the user, or has no other form: the reason, with what to change.
    Stop(String),
    /// The refusal is not about the form.
    No,
}

/// What a run learned of the server, shared by all in flight.
#[derive(Debug, Default)]
struct Learned {
    dialect: Dialect,
    /// Whether it has ever called a function.
    calls: bool,
    /// Replies without a call, as long as there was none with one.
    without_call: u32,
    cut: CutWatch,
    /// Cut prompts since the last whole one.
    cut_in_a_row: u32,
    /// What is still to be told.
    notes: Vec<String>,
}

/// Replies without a call after which a server that never called is asked for a JSON Schema.
const WITHOUT_CALL: u32 = 3;

/// A chat endpoint.
#[derive(Debug)]
pub struct Endpoint {
    client: http::Client,
    headers: HeaderMap,
    address: Address,
    completions: http::Target,
    learned: Mutex<Learned>,
    has_answered: AtomicBool,
    /// What no message may show: keys and passwords, as they are sent.
    secrets: Vec<SecretString>,
    /// What the user set.
    pub options: Options,
}

impl Endpoint {
    /// An endpoint; no request is made yet.
    pub fn new(options: Options) -> Result<Self, Error> {
        let address = Address::new(&options.base_url, options.api_version.as_deref())?;
        // What listens on this machine alone is behind no proxy.
        let client = if address.is_loopback() { http::Client::direct } else { http::Client::new };
        let (client, headers) = (client(options.timeout)?, headers(&options, &address)?);
        let completions = client.target(&address.join("/chat/completions"), headers.clone())?;
        let secrets = secrets(&options, &headers);
        Ok(Self {
            client,
            headers,
            completions,
            address,
            learned: Mutex::default(),
            has_answered: AtomicBool::new(false),
            secrets,
            options,
        })
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether the server runs on this machine: nobody else bills for it.
    pub fn is_local(&self) -> bool {
        self.address.is_loopback()
    }

    /// The digest of the base URL, without secrets: the store remembers who answered there without knowing where it is.
    pub fn url_digest(&self) -> Digest {
        Digest::of(&Value::from(self.address.shown()))
    }

    /// Asks which models there are.
    pub async fn models(&self) -> Result<Listed, Error> {
        let url = self.address.join("/models");
        let listed =
            tokio::time::timeout(Duration::from_secs(10), self.client.get(&url, self.headers.clone()));
        let reply = match listed.await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => return Ok(Listing::Unreachable(error.to_string()).into()),
            Err(_) => return Ok(Listing::Unreachable("no reply within 10 s".to_owned()).into()),
        };
        let status = reply.status.as_u16();
        if matches!(status, 401 | 403) {
            let refusal = Refusal { status, retry_after: None, error: ServerError::parse(&reply.body) };
            return Err(Error::Refused(self.bad_key(&refusal)));
        }
        Ok(Listed::parse(status, &reply.body, &self.options.model))
    }

    /// What to tell the user of a refused key. The key itself is never shown.
    pub fn bad_key(&self, refusal: &Refusal) -> String {
        let (what, mend) = match &self.options.key {
            _ if self.address.key_header() == KeyHeader::Basic => (
                "refused the user and password of its URL",
                "check OPENAI_BASE_URL (the key is not sent beside them)",
            ),
            Some(_) => ("refused the key", "check OPENAI_API_KEY (or OPENAI_KEY)"),
            None => ("wants a key", "set OPENAI_API_KEY"),
        };
        format!("the endpoint {} {what} (HTTP {}); {mend}", self.shown_url(), refusal.status)
    }

    /// A server may quote the request's headers in its error: the key goes no further.
    fn without_key(&self, mut trouble: Trouble) -> Trouble {
        if let Trouble::Garbled(words) = &mut trouble {
            *words = self.without_key_in(words).chars().take(LONGEST_MESSAGE).collect();
        }
        if let Trouble::Refused(refusal) = &mut trouble {
            self.clean(&mut refusal.error);
        }
        trouble
    }

    /// Takes the key out of a server's words, and makes them short.
    fn clean(&self, error: &mut ServerError) {
        let ServerError { message, kind, param, .. } = error;
        for words in [Some(message), Some(kind), param.as_mut()].into_iter().flatten() {
            // Cut after the key is out: a cut through it would leave its head.
            *words = self.without_key_in(words).chars().take(LONGEST_MESSAGE).collect();
        }
    }

    fn without_key_in(&self, words: &str) -> String {
        self.secrets.iter().fold(words.to_owned(), |words, secret| {
            if words.contains(secret.expose_secret()) {
                words.replace(secret.expose_secret(), "(the key)")
            } else {
                words
            }
        })
    }

    /// The base URL without user, password and query.
    pub fn shown_url(&self) -> &str {
        self.address.shown()
    }

    /// Whether it has answered a question of this command.
    pub fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// How questions are put to this server by now.
    pub fn dialect(&self) -> Dialect {
        self.learned().dialect
    }

    /// Takes in a refusal of a request that was `sent` in this dialect: changes the form of all further questions where
    /// it names a parameter that the server does not take.
    pub fn adapt(&self, form: &Form, sent: Dialect, refusal: &Refusal) -> Adapted {
        let names = form.sent(sent);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let Some(name) = dialect::refused(refusal, &names) else { return Adapted::No };
        let mut learned = self.learned();
        // What others learned since may be just this; if not, it is refused again.
        if learned.dialect != sent {
            return Adapted::Again;
        }
        let (url, status, says) = (self.shown_url(), refusal.status, &refusal.error.message);
        match form.instead_of(name, sent) {
            Instead::Ask(other) => {
                let change = form.change(sent, other);
                learned.notes.push(format!("{url} does not take `{name}`: {change} from now on"));
                learned.dialect = other;
                Adapted::Again
            }
            Instead::Users(flag) => Adapted::Stop(format!(
                "the endpoint {url} does not take `{name}`, which {flag} sets (HTTP {status}: {says}); leave the flag out, or \
                 ask another model"
            )),
            Instead::Nothing if matches!(name, "tools" | "tool_choice" | "response_format") => {
                let mend = if self.options.reply == ReplyForm::Auto {
                    "nor in the other form: check the lens's functions.json against what the server takes"
                } else {
                    "try --reply auto"
                };
                Adapted::Stop(format!(
                    "the endpoint {url} does not take `{name}` (HTTP {status}: {says}); {mend}"
                ))
            }
            Instead::Nothing => Adapted::No,
        }
    }

    /// Takes in whether a reply to a request that was `sent` in this dialect called the function. True if it did not and
    /// the turn is asked again: while it is open whether this server calls functions at all, no row pays for that.
    pub fn heard(&self, form: &Form, sent: Dialect, call: Call) -> bool {
        if !form.may_ask_for_content(sent) || call == Call::Unclear {
            return false;
        }
        let mut learned = self.learned();
        if call == Call::Made {
            learned.calls = true;
            return false;
        }
        if learned.dialect.reply != sent.reply {
            return true;
        }
        if learned.calls {
            return false;
        }
        learned.without_call += 1;
        if learned.without_call >= WITHOUT_CALL {
            let before = learned.dialect;
            learned.dialect.reply = Way::Other;
            let change = form.change(before, learned.dialect);
            learned.notes.push(format!(
                "{} did not call the function in {WITHOUT_CALL} replies: {change} from now on (--reply forces a form)",
                self.shown_url()
            ));
        }
        true
    }

    /// Judges by the usage of a reply whether the server read all of these messages, and how often in a row it did not.
    pub fn prompt(&self, form: &Form, messages: &[Message<'_>], usage: Option<&Usage>) -> (Prompt, u32) {
        let Some(usage) = usage else { return (Prompt::Unknown, 0) };
        let texts: Vec<&str> =
            std::iter::once(form.system()).chain(messages.iter().map(|message| message.content)).collect();
        let known = form.tokenizer().map(|tokenizer| cut::by_count(&texts, usage, tokenizer));
        let mut learned = self.learned();
        let prompt = known.unwrap_or_else(|| learned.cut.by_comparison(&texts, usage));
        match prompt {
            Prompt::Unknown => {}
            Prompt::Whole => learned.cut_in_a_row = 0,
            Prompt::Cut { .. } => learned.cut_in_a_row += 1,
        }
        (prompt, learned.cut_in_a_row)
    }

    /// What was learned of the server and not told yet; empties the list.
    pub fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.learned().notes)
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        // A panic elsewhere leaves counters and a dialect, each of them valid.
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
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
            request = &*String::from_utf8_lossy(&request.body),
            reply = &*self.without_key_in(&String::from_utf8_lossy(&reply.body)),
            "exchanged"
        );
        let result = self.read(&reply).map_err(|trouble| self.without_key(trouble));
        if result.is_ok() {
            self.has_answered.store(true, Ordering::Relaxed);
        }
        Attempted { told: Told::of(&reply.headers), result }
    }

    /// The completion in a reply.
    fn read(&self, reply: &http::Reply) -> Result<Reply, Trouble> {
        let retry_after = reply.retry_after();
        if !reply.status.is_success() {
            let (status, error) = (reply.status.as_u16(), ServerError::parse(&reply.body));
            return Err(Trouble::Refused(Refusal { status, retry_after, error }));
        }
        let completion: Completion = serde_json::from_slice(&reply.body)
            .map_err(|error| Trouble::Garbled(format!("{NO_COMPLETION}: not JSON: {error}")))?;
        let billing = self.billing(&completion);
        completion.reply(&billing, retry_after)
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Transport(error) => error.fmt(f),
            Self::Garbled(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Trouble {}

/// What a server could quote of a request that is nobody's business: the key, and what the URL holds of that kind.
fn secrets(options: &Options, headers: &HeaderMap) -> Vec<SecretString> {
    let key = options.key.iter().map(|key| key.expose_secret().to_owned());
    let sent = headers.values().filter(|value| value.is_sensitive()).filter_map(|value| {
        let value = value.to_str().ok()?;
        Some(value.rsplit(' ').next().unwrap_or(value).to_owned())
    });
    let url = http::Url::parse(&options.base_url).ok();
    let password = url.iter().filter_map(|url| url.password()).map(str::to_owned);
    let query = url
        .iter()
        .flat_map(|url| url.query_pairs())
        .filter(|(name, _)| name != "api-version")
        .map(|(_, value)| value.into_owned());
    // What is short is a word that any message may hold.
    key.chain(sent)
        .chain(password)
        .chain(query)
        .filter(|secret| secret.len() > 3)
        .map(SecretString::from)
        .collect()
}

/// The headers of every request, made ready once; no header for a key without one.
fn headers(options: &Options, address: &Address) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let (name, scheme, secret) = match address.key_header() {
        KeyHeader::Bearer => (AUTHORIZATION, "Bearer ", options.key.as_ref()),
        KeyHeader::ApiKey => (HeaderName::from_static("api-key"), "", options.key.as_ref()),
        KeyHeader::Basic => (AUTHORIZATION, "Basic ", address.basic()),
    };
    if let Some(secret) = secret {
        let mut value =
            HeaderValue::from_str(&format!("{scheme}{}", secret.expose_secret())).map_err(|_| {
                Error::Usage(
                    "the key has a character that no HTTP header may hold: check OPENAI_API_KEY".to_owned(),
                )
            })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    for (name, value) in &options.account {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Error::Usage(format!("`{name}` has a character that no HTTP header may hold")))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(headers)
}
