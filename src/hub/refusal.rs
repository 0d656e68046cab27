//! What the Hub means by a status that stays the same however often it is asked.
//!
//! It tells cases apart by `X-Error-Code`, and by a sentence in `X-Error-Message` or `{"error": …}` where it has no
//! code. For a dataset that is missing or private it says 401 to the anonymous, with a code or without.

use serde::Deserialize;

use super::Hub;
use super::address::host;
use super::error::Error;
use super::request::Answer;
use super::retry::Trouble;
use crate::http::{HeaderMap, StatusCode, plain};

/// A reply that will not change.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: String,
    message: String,
    /// A web page instead of the Hub's answer.
    page: bool,
    /// Whether the endpoint itself has answered, and got the token if there is one.
    home: bool,
    host: String,
}

/// What was asked for, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    /// The dataset.
    pub(super) repo: &'a str,
    /// The revision, as the user wrote it.
    pub(super) revision: &'a str,
    /// The file, if one was asked for.
    pub(super) path: Option<&'a str>,
}

impl Refusal {
    pub(super) fn new(answer: &Answer, home: bool, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: String,
        }
        let header = |name| text(answer.headers(), name);
        let code = header("x-error-code");
        let told = Some(header("x-error-message")).filter(|message| !message.is_empty());
        let told = told.or_else(|| Some(serde_json::from_slice::<Body>(body).ok()?.error));
        Self {
            status: answer.status(),
            page: answer.is_page() && code.is_empty() && told.is_none(),
            message: told.unwrap_or_default(),
            code,
            home,
            host: host(&answer.url),
        }
    }

    /// Whether the endpoint says that there is no such revision.
    pub(super) fn is_no_revision(&self) -> bool {
        self.home && self.code == "RevisionNotFound"
    }

    /// Whether the endpoint says that there is no such file or folder. A mirror may leave the code out.
    pub(super) fn is_no_entry(&self) -> bool {
        let other = matches!(self.code.as_str(), "RepoNotFound" | "RevisionNotFound");
        self.home && self.status == StatusCode::NOT_FOUND && !other && !self.page
    }

    /// Whether a server that knows us by a signed address does not know it any more.
    pub(super) fn is_expired(&self) -> bool {
        !self.home && matches!(self.status.as_u16(), 401 | 403 | 404 | 410)
    }

    /// The status itself as an error.
    pub(super) fn server(&self) -> Error {
        let message = match self.message.as_str() {
            "" => String::new(),
            message => format!(": {}", plain(message)),
        };
        Error::Server { host: self.host.clone(), status: plain(&self.status.to_string()), message }
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

impl Hub {
    /// The error that this trouble is, when it came of asking for that.
    pub(super) fn explain(&self, trouble: Trouble, about: &About<'_>) -> Error {
        match trouble {
            Trouble::Again { error, .. } | Trouble::Final(error) => error,
            Trouble::Refused(refusal) => self.meaning(&refusal, about),
        }
    }

    fn meaning(&self, refusal: &Refusal, about: &About<'_>) -> Error {
        let token = self.options().token.as_ref().map(|token| token.origin.as_str());
        let repo = plain(about.repo);
        let status = refusal.status.as_u16();
        if !refusal.home {
            return refusal.server();
        }
        if refusal.message.contains("Access to this resource is disabled") {
            return Error::Disabled { hub: self.host(), repo };
        }
        if refusal.page {
            let problem = format!("a web page with status {status}");
            return Error::Stranger { host: refusal.host.clone(), problem };
        }
        match (status, refusal.code.as_str(), token) {
            (_, "GatedRepo", None) => self.gated(repo, "then log in (`hf auth login`, or set HF_TOKEN)"),
            (_, "GatedRepo", Some(origin)) => {
                self.gated(repo, &format!("then try again: the token from {origin} has no access yet"))
            }
            (_, "RevisionNotFound", _) => {
                Error::Revision { repo, revision: plain(about.revision), known: String::new() }
            }
            (401, "", Some(origin)) => Error::BadToken { hub: self.host(), origin: origin.to_owned() },
            (401, ..) | (404, "RepoNotFound", _) => self.not_found(repo, token),
            (403, ..) => {
                let message = match refusal.message.as_str() {
                    "" => refusal.status.to_string(),
                    message => plain(message),
                };
                let who = token.map_or_else(
                    || "anybody without a token".to_owned(),
                    |from| format!("the token from {from}"),
                );
                Error::Forbidden { hub: self.host(), who, repo, message }
            }
            (404, _, _) => match about.path {
                Some(path) => Error::File { repo, path: plain(path) },
                None => self.not_found(repo, token),
            },
            _ => refusal.server(),
        }
    }

    fn gated(&self, repo: String, then: &str) -> Error {
        let hint = format!("accept its terms at {}/datasets/{repo}, {then}", self.options().endpoint);
        Error::Gated { repo, hint }
    }

    fn not_found(&self, repo: String, token: Option<&str>) -> Error {
        let hint = match token {
            None => "check the name, or log in (`hf auth login`, or set HF_TOKEN)".to_owned(),
            Some(origin) => format!("check the name, or whether the token from {origin} may read it"),
        };
        Error::NotFound { hub: self.host(), repo, hint }
    }
}
