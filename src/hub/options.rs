//! What the environment says about the Hub: where it is, who asks, where files are kept, whether requests are allowed.
//!
//! The names and rules are those of `huggingface_hub` 2.4 and `datasets` 5.2 (their `constants.py`, `_auth.py` and
//! `config.py`), so that a machine that is set up for the Python tools is set up for us.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::address;
use super::error::Error;
use crate::http::{HeaderValue, plain};

/// The Hub, if no other is named.
pub const ENDPOINT: &str = "https://huggingface.co";

/// A token is some forty characters; a file of more than this is something else.
const MAX_TOKEN_FILE: u64 = 64 << 10;

/// Is told what takes time: "rate limited by the Hub, waiting 12 s".
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// A user's access token.
#[derive(Clone)]
pub struct Token {
    /// The token itself.
    pub secret: SecretString,
    /// Where it came from, for messages: `HF_TOKEN`, or the file's name.
    pub origin: String,
}

/// How long is waited for what.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the head of a reply.
    pub reply: Duration,
    /// For the next piece of a body.
    pub idle: Duration,
    /// Before the second try; each later one waits twice as long, up to eight times this.
    pub backoff: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let thirty = Duration::from_secs(30);
        Self { reply: thirty, idle: thirty, backoff: Duration::from_secs(1) }
    }
}

/// The settings of the Hub's client.
#[derive(Clone)]
pub struct Options {
    /// Where the Hub is: scheme, host, port and perhaps a path, without a slash at the end.
    pub endpoint: String,
    /// Who asks; nobody if none.
    pub token: Option<Token>,
    /// The folder of the Hub cache, shared with the Python tools.
    pub cache: PathBuf,
    /// The variable that forbids requests, if one does.
    pub offline: Option<String>,
    /// How long is waited.
    pub timeouts: Timeouts,
    /// Is told of waits.
    pub notice: Option<Notice>,
}

impl Options {
    /// Reads the settings through `variable`, which looks up a variable of the environment; the token's file is read
    /// here. A variable that is set to nothing counts as not set.
    pub fn from(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        address::endpoint(&endpoint).map_err(|problem| settings("HF_ENDPOINT", problem))?;
        let home = home(&set)?;
        let cache = set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE"));
        let cache = cache.map_or_else(|| home.join("hub"), |path| expanded(&path, &set));
        let mut timeouts = Timeouts::default();
        for (name, time) in
            [("HF_HUB_ETAG_TIMEOUT", &mut timeouts.reply), ("HF_HUB_DOWNLOAD_TIMEOUT", &mut timeouts.idle)]
        {
            if let Some(value) = set(name) {
                *time = seconds(&value)
                    .ok_or_else(|| settings(name, "is no number of seconds, 1 to 86400".to_owned()))?;
            }
        }
        Ok(Self {
            endpoint,
            token: token(&set, &home)?,
            cache,
            offline: offline(variable),
            timeouts,
            notice: None,
        })
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|token| &token.origin))
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

fn settings(origin: &str, problem: String) -> Error {
    Error::Settings { origin: origin.to_owned(), problem }
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse().ok().filter(|seconds| (1..=86_400).contains(seconds))?;
    Some(Duration::from_secs(seconds))
}

/// The one list of words that mean yes in `huggingface_hub`.
fn truthy(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

/// `HF_DATASETS_OFFLINE` decides where it is set, to whatever; otherwise the first non-empty of the other two.
fn offline(variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let (name, value) = match variable("HF_DATASETS_OFFLINE") {
        Some(value) => ("HF_DATASETS_OFFLINE", value),
        None => ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
            .into_iter()
            .find_map(|name| Some((name, variable(name).filter(|value| !value.is_empty())?)))?,
    };
    truthy(&value).then(|| name.to_owned())
}

/// Where the Python tools keep what is the user's: `HF_HOME`.
fn home(set: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf, Error> {
    if let Some(home) = set("HF_HOME") {
        return Ok(expanded(&home, set));
    }
    if let Some(cache) = set("XDG_CACHE_HOME") {
        return Ok(expanded(&cache, set).join("huggingface"));
    }
    match set("HOME") {
        Some(home) => Ok(Path::new(&home).join(".cache/huggingface")),
        None => {
            Err(settings("HF_HOME", "is not set, nor is HOME: say where the Hub cache is to be".to_owned()))
        }
    }
}

/// A path with a leading `~` and with `$NAME` and `${NAME}` replaced; a variable that is not set stays as written.
fn expanded(path: &str, set: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let path = match (path.strip_prefix('~'), set("HOME")) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => home + rest,
        _ => path.to_owned(),
    };
    let mut out = String::new();
    let mut rest = path.as_str();
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let braced = after.strip_prefix('{').and_then(|inner| Some((inner, inner.find('}')?)));
        let (name, end) = if let Some((inner, close)) = braced {
            (&inner[..close], close + 2)
        } else {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = after.find(|c| !word(c)).unwrap_or(after.len());
            (&after[..end], end)
        };
        match set(name) {
            Some(value) if !name.is_empty() => out.push_str(&value),
            _ => out.push_str(&rest[at..at + 1 + end]),
        }
        rest = &after[end..];
    }
    out.push_str(rest);
    PathBuf::from(out)
}

/// The user's token: two variables, then a file.
fn token(set: &dyn Fn(&str) -> Option<String>, home: &Path) -> Result<Option<Token>, Error> {
    if set("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| truthy(&value)) {
        return Ok(None);
    }
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(token) = set(name).map(|value| cleaned(&value, name)).transpose()?.flatten() {
            return Ok(Some(token));
        }
    }
    // The named file stands instead of the usual one, not before it.
    let file = set("HF_TOKEN_PATH").map_or_else(|| home.join("token"), |path| expanded(&path, set));
    let origin = plain(&file.display().to_string());
    let mut text = String::new();
    let read = File::open(&file).and_then(|file| file.take(MAX_TOKEN_FILE).read_to_string(&mut text));
    match read {
        Ok(_) => cleaned(&text, &origin),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(settings(&origin, format!("cannot read the token: {error}"))),
    }
}

/// A token without line ends and blanks around it; none if nothing is left.
fn cleaned(text: &str, origin: &str) -> Result<Option<Token>, Error> {
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if HeaderValue::from_str(text).is_err() || !text.is_ascii() {
        return Err(settings(origin, "the token has characters that no token has".to_owned()));
    }
    Ok(Some(Token { secret: SecretString::from(text), origin: origin.to_owned() }))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Options, Error> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(found.1.to_owned())
        };
        Options::from(&lookup)
    }

    fn token_of(variables: &[(&str, &str)]) -> Option<(String, String)> {
        let token = from(variables).unwrap().token?;
        Some((token.secret.expose_secret().to_owned(), token.origin))
    }

    #[test]
    fn the_defaults_are_those_of_the_python_tools() {
        let options = from(&[("HOME", "/h")]).unwrap();
        assert_eq!(options.endpoint, "https://huggingface.co");
        assert_eq!(options.cache, Path::new("/h/.cache/huggingface/hub"));
        assert!(options.token.is_none() && options.offline.is_none());
    }

    #[test]
    fn the_cache_is_found_by_the_most_special_variable() {
        let cache = |variables: &[(&str, &str)]| from(variables).unwrap().cache.display().to_string();
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/h"), ("HF_HOME", "~/hf")]), "/h/hf/hub");
        assert_eq!(cache(&[("HF_HOME", "/a"), ("HUGGINGFACE_HUB_CACHE", "/old")]), "/old");
        assert_eq!(
            cache(&[("HF_HOME", "/a"), ("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")]),
            "/new"
        );
        assert_eq!(
            cache(&[("D", "disk"), ("HF_HOME", "/$D/${D}x/$NO/${NO}/$")]),
            "/disk/diskx/$NO/${NO}/$/hub"
        );
        assert!(from(&[]).is_err_and(|error| error.to_string().contains("HF_HOME")));
    }

    #[test]
    fn a_token_comes_from_the_first_variable_that_has_one_or_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        assert_eq!(token_of(&[("HF_HOME", home)]), None);
        std::fs::write(folder.path().join("token"), "hf_file\r\n").unwrap();
        let file = folder.path().join("token").display().to_string();
        assert_eq!(token_of(&[("HF_HOME", home)]), Some(("hf_file".into(), file)));
        let named = |name: &str| token_of(&[("HF_HOME", home), (name, " hf_named\n")]);
        assert_eq!(named("HF_TOKEN"), Some(("hf_named".into(), "HF_TOKEN".into())));
        assert_eq!(named("HUGGING_FACE_HUB_TOKEN").unwrap().1, "HUGGING_FACE_HUB_TOKEN");
        assert_eq!(token_of(&[("HF_HOME", home), ("HF_TOKEN", "  ")]).unwrap().0, "hf_file");
        assert_eq!(token_of(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "yes")]), None);
        assert!(token_of(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0")]).is_some());
    }

    #[test]
    fn a_named_token_file_replaces_the_usual_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hf_file").unwrap();
        let home = folder.path().to_str().unwrap();
        let nowhere = folder.path().join("none").display().to_string();
        assert_eq!(token_of(&[("HF_HOME", home), ("HF_TOKEN_PATH", &nowhere)]), None);
    }

    #[test]
    fn a_token_is_never_shown() {
        let options = from(&[("HOME", "/h"), ("HF_TOKEN", "hf_secret")]).unwrap();
        assert!(!format!("{options:?}").contains("hf_secret"));
        let error = from(&[("HOME", "/h"), ("HF_TOKEN", "hf_sec\u{1}ret")]).unwrap_err();
        assert_eq!(error.to_string(), "HF_TOKEN: the token has characters that no token has");
    }

    #[test]
    fn requests_are_forbidden_by_any_of_three_variables() {
        let offline = |variables: &[(&str, &str)]| {
            let mut all = vec![("HOME", "/h")];
            all.extend_from_slice(variables);
            from(&all).unwrap().offline
        };
        assert_eq!(offline(&[("HF_HUB_OFFLINE", "1")]).as_deref(), Some("HF_HUB_OFFLINE"));
        assert_eq!(offline(&[("TRANSFORMERS_OFFLINE", "Yes")]).as_deref(), Some("TRANSFORMERS_OFFLINE"));
        assert_eq!(offline(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]), None);
        assert_eq!(offline(&[("HF_HUB_OFFLINE", "1"), ("HF_DATASETS_OFFLINE", "0")]), None);
        assert_eq!(offline(&[("HF_DATASETS_OFFLINE", "true")]).as_deref(), Some("HF_DATASETS_OFFLINE"));
        assert_eq!(offline(&[("HF_HUB_OFFLINE", "2")]), None);
    }

    #[test]
    fn an_endpoint_that_is_no_address_is_refused() {
        let endpoint =
            |value: &str| from(&[("HOME", "/h"), ("HF_ENDPOINT", value)]).map(|options| options.endpoint);
        assert_eq!(endpoint("http://127.0.0.1:8765//").unwrap(), "http://127.0.0.1:8765");
        assert_eq!(endpoint("").unwrap(), ENDPOINT);
        for wrong in ["huggingface.co", "ftp://x", "https://", "https://me:pw@x", "https://x/?a=b"] {
            let error = endpoint(wrong).unwrap_err().to_string();
            assert!(error.starts_with("HF_ENDPOINT: "), "{error}");
            assert!(!error.contains("pw"), "{error}");
        }
    }

    #[test]
    fn timeouts_are_whole_seconds() {
        let options =
            from(&[("HOME", "/h"), ("HF_HUB_ETAG_TIMEOUT", "3"), ("HF_HUB_DOWNLOAD_TIMEOUT", "90")]);
        let timeouts = options.unwrap().timeouts;
        assert_eq!((timeouts.reply.as_secs(), timeouts.idle.as_secs()), (3, 90));
        assert!(from(&[("HOME", "/h"), ("HF_HUB_ETAG_TIMEOUT", "0")]).is_err());
    }
}
