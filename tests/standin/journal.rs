//! What the stand-in remembers: counters, which questions it has answered, and the last requests.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use bytes::Bytes;
use hyper::{HeaderMap, header, http::request::Parts};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::completion::Billed;

/// What was counted since the start. "Request" is a completion request unless it says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// Completion requests that arrived whole.
    pub(crate) requests: u64,
    /// Requests to `/v1/models`, `/health`, files, batches and unknown paths.
    pub(crate) other_requests: u64,
    /// Requests that wait for their reply now.
    pub(crate) in_flight: u64,
    /// The most that waited at one time. A reply without a delay is made before the next request is looked at, so
    /// this tells how many a client sends at once only under a delay.
    pub(crate) in_flight_peak: u64,
    /// Requests by the status of their reply; 0 is a request that got none (the script closed the connection,
    /// or the client gave up first).
    pub(crate) by_status: BTreeMap<u16, u64>,
    /// Different request bodies, byte for byte.
    pub(crate) distinct_bodies: u64,
    /// Requests whose messages had been *answered* before they arrived. An answer is a 200 that a client can use:
    /// not cut, refused, filtered, stopped by length or unreadable.
    pub(crate) repeats: u64,
    /// Tokens of all prompts that a completion was sent for, by its own usage.
    pub(crate) prompt_tokens: u64,
    /// Tokens of all completions that were sent, by their own usage.
    pub(crate) completion_tokens: u64,
    /// Files that were uploaded and stored.
    pub(crate) files: u64,
    /// Batches that were made.
    pub(crate) batches: u64,
    /// Lines of batches that were run. They are no requests; only `repeats` counts them too.
    pub(crate) batched: u64,
    /// As [`Self::prompt_tokens`], of lines.
    pub(crate) batched_prompt_tokens: u64,
    /// As [`Self::completion_tokens`], of lines.
    pub(crate) batched_completion_tokens: u64,
}

/// One request as it came, and the status it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Logged {
    /// `GET` or `POST`.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Headers by lower-case name; the value of `authorization` and of `api-key` is replaced by `present`.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body; bytes that are not UTF-8 are replaced.
    pub(crate) body: String,
    /// As in [`Counters::by_status`]; also 0 while the reply is not ready.
    pub(crate) status: u16,
}

impl Logged {
    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// A request's place in the journal, handed back with its outcome.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// 1-based number among the completion requests, lines of batches included.
    pub(super) number: u64,
    log_position: u64,
}

/// What became of a completion request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    /// As in [`Counters::by_status`].
    pub(super) status: u16,
    /// The question that the reply answers, if it does.
    pub(super) answered: Option<u64>,
    /// What a bill would count.
    pub(super) billed: Billed,
}

/// Digests are hashes already.
#[derive(Default)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(super) type Digests = HashSet<u64, BuildHasherDefault<Identity>>;

/// A request as it is kept: cheap to store, turned into [`Logged`] when asked for.
#[derive(Debug)]
struct Kept {
    method: String,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    status: u16,
}

/// Counters and log, kept under one lock.
#[derive(Debug)]
pub(super) struct Journal {
    counters: Counters,
    bodies: Digests,
    /// How often each question was answered.
    answered: HashMap<u64, u64, BuildHasherDefault<Identity>>,
    kept: VecDeque<Kept>,
    capacity: usize,
    /// How many requests were ever logged; the last of `kept` has this position.
    logged: u64,
}

impl Journal {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            counters: Counters::default(),
            bodies: Digests::default(),
            answered: HashMap::default(),
            kept: VecDeque::new(),
            capacity,
            logged: 0,
        }
    }

    /// A completion request has arrived; `question` is the digest of its messages, if it has any.
    pub(super) fn arrive(&mut self, head: &Parts, body: &Bytes, question: Option<u64>) -> Entry {
        self.keep(head, body, 0);
        let counters = &mut self.counters;
        counters.requests += 1;
        counters.in_flight += 1;
        counters.in_flight_peak = counters.in_flight_peak.max(counters.in_flight);
        counters.distinct_bodies += u64::from(self.bodies.insert(xxh3_64(body)));
        counters.repeats += u64::from(question.is_some_and(|question| self.answered.contains_key(&question)));
        Entry { number: counters.requests + counters.batched, log_position: self.logged }
    }

    /// A line of a batch is to be run; its number among the completion requests.
    pub(super) fn line(&mut self, question: Option<u64>) -> u64 {
        self.counters.batched += 1;
        self.counters.repeats +=
            u64::from(question.is_some_and(|question| self.answered.contains_key(&question)));
        self.counters.requests + self.counters.batched
    }

    /// A line of a batch has its reply.
    pub(super) fn ran(&mut self, Outcome { answered, billed, .. }: Outcome) {
        self.counters.batched_prompt_tokens += billed.prompt;
        self.counters.batched_completion_tokens += billed.completion;
        if let Some(question) = answered {
            *self.answered.entry(question).or_default() += 1;
        }
    }

    /// Counts something else.
    pub(super) fn count(&mut self, count: impl FnOnce(&mut Counters)) {
        count(&mut self.counters);
    }

    /// The reply of a completion request is decided.
    pub(super) fn depart(&mut self, entry: Entry, outcome: Outcome) {
        let Outcome { status, answered, billed } = outcome;
        self.counters.in_flight -= 1;
        self.counters.prompt_tokens += billed.prompt;
        self.counters.completion_tokens += billed.completion;
        *self.counters.by_status.entry(status).or_default() += 1;
        if let Some(question) = answered {
            *self.answered.entry(question).or_default() += 1;
        }
        self.told(entry.log_position, status);
    }

    /// Any other request, with the status it gets.
    pub(super) fn other(&mut self, head: &Parts, status: u16) {
        self.aside(head, &Bytes::new(), status);
    }

    /// Any other request with a body, and its position in the log; status 0 while it has none.
    pub(super) fn aside(&mut self, head: &Parts, body: &Bytes, status: u16) -> u64 {
        self.counters.other_requests += 1;
        self.keep(head, body, status);
        self.logged
    }

    /// The status of the request at this position in the log.
    pub(super) fn told(&mut self, position: u64, status: u16) {
        let age = usize::try_from(self.logged - position).unwrap_or(usize::MAX);
        let place = self.kept.len().checked_sub(age.saturating_add(1));
        if let Some(kept) = place.and_then(|place| self.kept.get_mut(place)) {
            kept.status = status;
        }
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// How often each question, by the digest of its messages, was answered whole.
    pub(super) fn answered(&self) -> BTreeMap<u64, u64> {
        self.answered.iter().map(|(question, times)| (*question, *times)).collect()
    }

    pub(super) fn log(&self) -> Vec<Logged> {
        self.kept.iter().map(Kept::logged).collect()
    }

    fn keep(&mut self, head: &Parts, body: &Bytes, status: u16) {
        if self.capacity == 0 {
            return;
        }
        if self.kept.len() == self.capacity {
            self.kept.pop_front();
        }
        self.logged += 1;
        self.kept.push_back(Kept {
            method: head.method.to_string(),
            path: head.uri.to_string(),
            headers: head.headers.clone(),
            body: body.clone(),
            status,
        });
    }
}

impl Kept {
    fn logged(&self) -> Logged {
        let shown = |name: &header::HeaderName, value: &header::HeaderValue| {
            if name == header::AUTHORIZATION || name == "api-key" {
                "present".to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            }
        };
        Logged {
            method: self.method.clone(),
            path: self.path.clone(),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), shown(name, value)))
                .collect(),
            body: String::from_utf8_lossy(&self.body).into_owned(),
            status: self.status,
        }
    }
}
