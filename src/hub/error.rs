//! What can go wrong between us and the Hub, in words for the person who named the dataset.

use std::path::PathBuf;
use std::time::Duration;

use super::CacheError;
use crate::http;

/// Why the Hub does not give what was asked for. No message names a URL with its query, which may be signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name breaks the Hub's rules.
    #[error("`{name}` is no name of a dataset: {problem}")]
    Name {
        /// The name, as the user wrote it.
        name: String,
        /// Which rule it breaks, and what is right.
        problem: String,
    },
    /// A variable of the environment, or the token's file, says what cannot be.
    #[error("{origin}: {problem}")]
    Settings {
        /// The variable or the file.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Nothing of this name, or nothing that we may see: the Hub does not tell the two apart.
    #[error("{hub} has no dataset `{repo}`, or it is private: {hint}")]
    NotFound {
        /// The Hub's host.
        hub: String,
        /// The dataset.
        repo: String,
        /// What to do, which depends on whether a token was sent.
        hint: String,
    },
    /// The token is not, or no longer, valid. The Hub says so for public datasets too.
    #[error(
        "{hub} rejects the token from {origin}: log in again (`hf auth login`), or remove it: public datasets need none"
    )]
    BadToken {
        /// The Hub's host.
        hub: String,
        /// Where the token came from.
        origin: String,
    },
    /// The dataset is given only to people who have accepted its terms.
    #[error("dataset `{repo}` is gated: {hint}")]
    Gated {
        /// The dataset.
        repo: String,
        /// What to do, with the page's address.
        hint: String,
    },
    /// The Hub has closed the dataset.
    #[error("dataset `{repo}` has been disabled by {hub}: nobody can read it")]
    Disabled {
        /// The Hub's host.
        hub: String,
        /// The dataset.
        repo: String,
    },
    /// No branch, tag or commit of this name.
    #[error("dataset `{repo}` has no revision `{revision}`{known}")]
    Revision {
        /// The dataset.
        repo: String,
        /// The revision that was asked for.
        revision: String,
        /// Which revisions there are, or nothing.
        known: String,
    },
    /// No file of this name.
    #[error("dataset `{repo}` has no file `{path}`")]
    File {
        /// The dataset.
        repo: String,
        /// The file within it.
        path: String,
    },
    /// The token is valid, but not for this.
    #[error("{hub} does not let {who} read dataset `{repo}`: {message}")]
    Forbidden {
        /// The Hub's host.
        hub: String,
        /// Whose request it was: the token's origin, or nobody's.
        who: String,
        /// The dataset.
        repo: String,
        /// What the Hub says.
        message: String,
    },
    /// Asked too often, and waiting is not worth while.
    #[error("{hub} limits the rate of requests: {hint}")]
    RateLimited {
        /// The host.
        hub: String,
        /// When to come back, and how to get a higher limit.
        hint: String,
    },
    /// The server fails, again and again.
    #[error("{host} answers {status}{message}: try again later")]
    Server {
        /// The host.
        host: String,
        /// Status code and its name.
        status: String,
        /// What the server says, after a colon, or nothing.
        message: String,
    },
    /// No connection, or it broke, again and again.
    #[error("cannot read from {host}: {source}; HF_HUB_OFFLINE=1 reads what is in the Hub cache")]
    Transport {
        /// The host.
        host: String,
        /// What happened.
        source: http::Error,
    },
    /// Requests are forbidden, and the cache does not have it.
    #[error("{variable} forbids requests and {missing} is not in the Hub cache ({}): unset it, or download first", cache.display())]
    Offline {
        /// The variable that says so.
        variable: String,
        /// What would have been asked for.
        missing: String,
        /// Where was looked.
        cache: PathBuf,
    },
    /// An answer that no Hub gives.
    #[error(
        "{host} does not answer as a Hub does ({problem}): is there a proxy or a login page in between, and is HF_ENDPOINT right?"
    )]
    Stranger {
        /// The host.
        host: String,
        /// What is odd about it.
        problem: String,
    },
    /// A redirect that is not followed.
    #[error("{host} redirects {problem}")]
    Redirect {
        /// The host.
        host: String,
        /// Where to, and why that is not followed.
        problem: String,
    },
    /// Other bytes than those that were asked for.
    #[error("{host} sends wrong bytes of `{path}`: {problem}")]
    Bytes {
        /// The host.
        host: String,
        /// The file.
        path: String,
        /// What differs.
        problem: String,
    },
    /// The server does not know ranges.
    #[error("{host} ignores byte ranges, without which `{path}` cannot be streamed: download it instead")]
    NoRanges {
        /// The host.
        host: String,
        /// The file.
        path: String,
    },
    /// More files than we list.
    #[error(
        "dataset `{repo}` has more than {most} files: name a folder of it (`hf://datasets/{repo}/FOLDER`)"
    )]
    TooMany {
        /// The dataset.
        repo: String,
        /// The bound.
        most: usize,
    },
    /// The cache on disk cannot be read or written, or what came is not what it should be.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Error {
    /// Whether the cure is another command line or setting (exit code 2), rather than another day (exit code 1).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Name { .. }
            | Self::Settings { .. }
            | Self::NotFound { .. }
            | Self::BadToken { .. }
            | Self::Gated { .. }
            | Self::Disabled { .. }
            | Self::Revision { .. }
            | Self::File { .. }
            | Self::Forbidden { .. }
            | Self::TooMany { .. } => true,
            Self::RateLimited { .. }
            | Self::Server { .. }
            | Self::Transport { .. }
            | Self::Offline { .. }
            | Self::Stranger { .. }
            | Self::Redirect { .. }
            | Self::Bytes { .. }
            | Self::NoRanges { .. }
            | Self::Cache(_) => false,
        }
    }
}

impl Error {
    /// What has happened, for one who will ask again: without what to do about it.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::RateLimited { hub, .. } => format!("{hub} limits the rate of requests"),
            Self::Server { host, status, .. } => format!("{host} answers {status}"),
            Self::Transport { host, source } => format!("cannot read from {host}: {source}"),
            Self::Bytes { host, problem, .. } => format!("{host} sends wrong bytes: {problem}"),
            Self::NoRanges { host, .. } => format!("{host} ignores byte ranges"),
            other => other.to_string(),
        }
    }
}

/// A time to wait, for people.
pub(super) fn wait(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=119 => format!("{} s", seconds.max(1)),
        seconds @ 120..=7_199 => format!("{} minutes", seconds.div_ceil(60)),
        seconds => format!("{} hours", seconds.div_ceil(3_600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_said_in_a_fitting_unit() {
        let told = [0, 12, 119, 120, 301, 7_200].map(|seconds| wait(Duration::from_secs(seconds)));
        assert_eq!(told, ["1 s", "12 s", "119 s", "2 minutes", "6 minutes", "2 hours"]);
    }
}
