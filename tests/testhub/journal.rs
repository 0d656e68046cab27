//! The log of requests, in the form that the Python hub writes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hyper::HeaderMap;
use serde::Serialize;

/// A request and its reply. Names of headers are in lower case.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Logged {
    /// `hub` or `cdn`.
    pub(crate) side: &'static str,
    /// The method.
    pub(crate) method: String,
    /// The path with its query, as it came.
    pub(crate) path: String,
    /// The headers of the request.
    #[serde(rename = "req_headers")]
    pub(crate) request: BTreeMap<String, String>,
    /// The body of the request, at most 2,000 bytes of it.
    #[serde(rename = "req_body", skip_serializing_if = "String::is_empty")]
    pub(crate) request_body: String,
    /// The status; 0 where the connection was dropped.
    pub(crate) status: u16,
    /// The headers of the reply.
    #[serde(rename = "resp_headers")]
    pub(crate) reply: BTreeMap<String, String>,
    /// Bytes of the reply's body that were written.
    #[serde(rename = "resp_bytes")]
    pub(crate) bytes: u64,
}

/// All requests, with the bytes of replies that are still being sent.
#[derive(Debug, Default)]
pub(super) struct Journal(Vec<(Logged, Arc<AtomicU64>)>);

impl Journal {
    /// Adds a request; the counter is for the bytes of its reply.
    pub(super) fn add(&mut self, logged: Logged) -> Arc<AtomicU64> {
        let sent = Arc::default();
        self.0.push((logged, Arc::clone(&sent)));
        sent
    }

    pub(super) fn log(&self) -> Vec<Logged> {
        let whole = |(logged, sent): &(Logged, Arc<AtomicU64>)| Logged {
            bytes: sent.load(Ordering::Relaxed),
            ..logged.clone()
        };
        self.0.iter().map(whole).collect()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Headers as text; of those that come twice the last.
pub(super) fn as_text(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}
