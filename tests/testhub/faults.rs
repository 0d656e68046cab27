//! Faults: which requests do not get the usual reply, and what they get.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The listener that a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// The API and `/resolve/`.
    Hub,
    /// The bytes of large files.
    Cdn,
}

impl Side {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Cdn => "cdn",
        }
    }
}

/// When to do something else. A fault matches where all its conditions hold.
///
/// ```ignore
/// hub.fault(Fault::new(Side::Cdn, "", Action::truncated(700)));           // once
/// hub.fault(Fault::new(Side::Hub, "/tree/", Action::status(500)).times(u64::MAX));
/// hub.fault(Fault::new(Side::Cdn, "", Action::ignoring_range()).skip(1)); // the second request
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// One listener only.
    #[serde(default)]
    side: Option<Side>,
    /// One method only, in capitals.
    #[serde(default)]
    method: Option<String>,
    /// Pieces that the path with its query has in this order; `*` stands between two. As `path_re` in JSON, where `.*`
    /// stands between two: the scripts of the Python hub have no other expressions.
    #[serde(default, alias = "path_re", deserialize_with = "pieces")]
    path: String,
    /// Only requests with a `Range`.
    #[serde(default)]
    if_range: bool,
    /// So many matching requests pass first.
    #[serde(default)]
    skip: u64,
    /// So many are then taken.
    #[serde(default = "once")]
    times: u64,
    /// What those get.
    action: Action,
}

fn once() -> u64 {
    1
}

fn pieces<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    Ok(if text == "." { String::new() } else { text.replace(".*", "*").replace("\\.", ".") })
}

impl Fault {
    /// A fault for the first request of any method at this listener whose path has `path` in it (empty: every one).
    pub(crate) fn new(side: Side, path: &str, action: Action) -> Self {
        Self {
            side: Some(side),
            method: None,
            path: path.to_owned(),
            if_range: false,
            skip: 0,
            times: 1,
            action,
        }
    }

    /// Only this method, such as `GET`.
    #[must_use]
    pub(crate) fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only requests with a `Range`.
    #[must_use]
    pub(crate) fn if_range(mut self) -> Self {
        self.if_range = true;
        self
    }

    /// After so many matching requests.
    #[must_use]
    pub(crate) fn skip(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// So many requests; `u64::MAX`: for ever.
    #[must_use]
    pub(crate) fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    fn matches(&self, seen: &Seen<'_>) -> bool {
        let mut rest = seen.path;
        self.side.is_none_or(|side| side == seen.side)
            && self.method.as_ref().is_none_or(|method| method == seen.method)
            && (!self.if_range || seen.ranged)
            && self.path.split('*').all(|piece| match rest.split_once(piece) {
                Some((_, after)) => {
                    rest = after;
                    true
                }
                None => false,
            })
    }
}

/// What a matching request gets. Parts can be combined: a delay and then a cut, other headers and a cut.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Action {
    /// Seconds to wait first.
    pub(crate) delay: f64,
    /// Close the connection without a byte.
    pub(crate) drop: bool,
    /// This status instead of the usual reply.
    pub(crate) status: Option<u16>,
    /// Headers that replace those of the reply (an empty value removes one), such as a wrong `Content-Range`. With a
    /// `Content-Length` below that of the body the body is cut to it, and is whole to its reader.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body of `status`: text, or JSON; without one `{"error": "injected fault"}`.
    pub(crate) body: Option<Value>,
    /// Close the connection after so many bytes of the body.
    pub(crate) truncate: Option<u64>,
    /// Send no more after so many bytes of the body, and keep the connection.
    pub(crate) stall: Option<u64>,
    /// 200 and the whole file, whatever range was asked for.
    pub(crate) ignore_range: bool,
    /// Seconds for which the signed URL of this reply holds; negative: it has expired.
    pub(crate) sig_ttl: Option<f64>,
    /// Redirect to the request's own URL.
    pub(crate) redirect_loop: bool,
}

impl Action {
    /// A status with a JSON error.
    pub(crate) fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// 429 as the hub's own limit: `RateLimit` says that nothing is left for so many seconds.
    pub(crate) fn rate_limited(seconds: u64) -> Self {
        Self::status(429)
            .header("RateLimit", &format!("\"api\";r=0;t={seconds}"))
            .header("RateLimit-Policy", "\"fixed window\";\"api\";q=500;w=300")
    }

    /// The connection is closed without a byte.
    pub(crate) fn dropped() -> Self {
        Self { drop: true, ..Self::default() }
    }

    /// The connection is closed after so many bytes of the body.
    pub(crate) fn truncated(bytes: u64) -> Self {
        Self { truncate: Some(bytes), ..Self::default() }
    }

    /// Nothing comes after so many bytes of the body; the connection stays.
    pub(crate) fn stalled(bytes: u64) -> Self {
        Self { stall: Some(bytes), ..Self::default() }
    }

    /// 200 and the whole file to a request for a range.
    pub(crate) fn ignoring_range() -> Self {
        Self { ignore_range: true, ..Self::default() }
    }

    /// The signed URL of this redirect has expired.
    pub(crate) fn expired() -> Self {
        Self { sig_ttl: Some(-10.0), ..Self::default() }
    }

    /// A redirect to itself.
    pub(crate) fn redirect_loop() -> Self {
        Self { redirect_loop: true, ..Self::default() }
    }

    /// A redirect elsewhere.
    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        Self::status(status).header("Location", location)
    }

    /// The usual reply, or that of `status`, with this header replaced.
    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The body of `status`: a JSON string goes as text.
    #[must_use]
    pub(crate) fn body(mut self, body: impl Into<Value>) -> Self {
        self.body = Some(body.into());
        self
    }
}

/// What a fault looks at.
pub(super) struct Seen<'a> {
    pub(super) side: Side,
    pub(super) method: &'a str,
    /// With its query.
    pub(super) path: &'a str,
    pub(super) ranged: bool,
}

/// Counts down the first fault that matches and returns what it does.
pub(super) fn take(faults: &mut [Fault], seen: &Seen<'_>) -> Action {
    for fault in faults {
        if fault.times == 0 || !fault.matches(seen) {
            continue;
        }
        if fault.skip > 0 {
            fault.skip -= 1;
            continue;
        }
        fault.times = fault.times.saturating_sub(u64::from(fault.times != u64::MAX));
        return fault.action.clone();
    }
    Action::default()
}
