//! One client, one attempt: TLS, no redirects, bounded bodies, errors without secrets. It judges nothing.

mod direct;
mod upload;

use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::RETRY_AFTER;
pub use reqwest::header::{self, HeaderMap, HeaderValue};
pub use reqwest::{Method, Request, Response, StatusCode, Url};
pub use upload::Upload;

/// A longer reply than this is no rating: reading it would only fill the memory.
const MAX_BODY: usize = 16 << 20;

/// How the program names itself.
const USER: &str = concat!("classified/", env!("CARGO_PKG_VERSION"));

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// llama.cpp's server closes a connection after five idle seconds: ours must go first.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// Why there is no whole reply. Never names a URL, which may hold a key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing came in time.
    #[error("no reply within {0:?}")]
    Timeout(Duration),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// No connection that can be trusted.
    #[error("no secure connection: {0}")]
    Tls(String),
    /// The connection broke, or the body was cut.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The body has no end in sight.
    #[error("the reply is longer than {} MiB", MAX_BODY >> 20)]
    TooLong,
}

/// A whole reply of any status.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// How long the server asks to wait: `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3), or the
    /// finer `retry-after-ms` that some servers send.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }
}

/// How long the sender of these headers asks to wait; see [`Reply::retry_after`].
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    if let Some(ms) = headers.get("retry-after-ms").and_then(|value| value.to_str().ok()?.parse().ok()) {
        return Some(Duration::from_millis(ms));
    }
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let from = |now: SystemTime| until.duration_since(now).unwrap_or_default();
    // By the sender's own clock, where it tells it and that makes sense: ours may be wrong, or jump.
    let date = headers.get(header::DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let wait = date.map(from).filter(|wait| *wait <= Duration::from_hours(1));
    Some(wait.unwrap_or_else(|| from(SystemTime::now())))
}

/// A point in time as HTTP writes it (RFC 9110, section 5.6.7).
#[cfg(test)]
pub(crate) fn date(at: SystemTime) -> String {
    httpdate::fmt_http_date(at)
}

/// A reply of any status whose body is still on its way.
#[derive(Debug)]
pub struct Incoming {
    /// The status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    response: Response,
}

impl Incoming {
    /// The next piece of the body, none at its end. A server that sends nothing `within` this time is an error, and so
    /// is a body that ends before the length that its headers give.
    pub async fn chunk(&mut self, within: Duration) -> Result<Option<Bytes>, Error> {
        match tokio::time::timeout(within, self.response.chunk()).await {
            Ok(part) => part.map_err(|error| kind(&error, within)),
            Err(_) => Err(Error::Timeout(within)),
        }
    }
}

/// The program's HTTP client. Cloning shares its connections.
#[derive(Debug, Clone)]
pub struct Client {
    inner: reqwest::Client,
    timeout: Duration,
    /// Which addresses are behind a proxy.
    proxies: Arc<Matcher>,
}

impl Client {
    /// A client whose attempts may take `timeout` each, whole.
    pub fn new(timeout: Duration) -> Result<Self, Error> {
        Self::build(reqwest::Client::builder(), Matcher::from_system(), timeout)
    }

    /// [`Client::new`] for a server on this machine that we started: never through the system's proxy.
    pub fn direct(timeout: Duration) -> Result<Self, Error> {
        Self::build(reqwest::Client::builder().no_proxy(), Matcher::builder().build(), timeout)
    }

    fn build(builder: reqwest::ClientBuilder, proxies: Matcher, timeout: Duration) -> Result<Self, Error> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Fails only where a provider is installed already, which does as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let inner = builder
            .user_agent(USER)
            // A key must never follow to another origin; where an endpoint moved is for the user to say.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .build()
            .map_err(|error| Error::Connect(cause(&error)))?;
        Ok(Self { inner, timeout, proxies: Arc::new(proxies) })
    }

    /// Sends a `GET` to `url` with these headers.
    pub async fn get(&self, url: &str, headers: HeaderMap) -> Result<Reply, Error> {
        let request =
            self.inner.get(url).headers(headers).build().map_err(|error| Error::Connect(cause(&error)))?;
        self.send(request).await
    }

    /// Makes ready to send many a `POST` to `url` with these headers.
    pub fn target(&self, url: &str, headers: HeaderMap) -> Result<Target, Error> {
        let url = Url::parse(url).map_err(|error| Error::Connect(error.to_string()))?;
        let direct = direct::Direct::to(&url, &headers, &self.proxies);
        Ok(Target { client: self.clone(), direct, url, headers })
    }

    /// Sends one request and reads its reply to the end.
    pub async fn send(&self, request: Request) -> Result<Reply, Error> {
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout(self.timeout)),
        }
    }

    /// Sends one request and waits for the head of its reply alone: the body is read with [`Incoming::chunk`].
    pub async fn open(&self, request: Request) -> Result<Incoming, Error> {
        let opening = tokio::time::timeout(self.timeout, self.inner.execute(request)).await;
        let mut response =
            opening.map_err(|_| Error::Timeout(self.timeout))?.map_err(|error| self.error(&error))?;
        let headers = std::mem::take(response.headers_mut());
        Ok(Incoming { status: response.status(), headers, response })
    }

    async fn exchange(&self, request: Request) -> Result<Reply, Error> {
        let mut response = self.inner.execute(request).await.map_err(|error| self.error(&error))?;
        let mut body = BytesMut::new();
        while let Some(part) = response.chunk().await.map_err(|error| self.error(&error))? {
            if body.len() + part.len() > MAX_BODY {
                return Err(Error::TooLong);
            }
            body.extend_from_slice(&part);
        }
        Ok(Reply {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: body.freeze(),
        })
    }

    fn error(&self, error: &reqwest::Error) -> Error {
        kind(error, self.timeout)
    }
}

/// A URL that many requests go to.
#[derive(Debug)]
pub struct Target {
    client: Client,
    /// The short way, where there is one.
    direct: Option<direct::Direct>,
    url: Url,
    headers: HeaderMap,
}

impl Target {
    /// Sends one `POST` and reads its reply to the end.
    pub async fn post(&self, body: Bytes) -> Result<Reply, Error> {
        let Some(direct) = &self.direct else {
            let mut request = Request::new(Method::POST, self.url.clone());
            *request.headers_mut() = self.headers.clone();
            *request.body_mut() = Some(body.into());
            // In a box: the short way is not to carry the size of this one around.
            return Box::pin(self.client.send(request)).await;
        };
        let timeout = self.client.timeout;
        match tokio::time::timeout(timeout, direct.post(body)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout(timeout)),
        }
    }
}

/// Which kind of trouble this is, within the time that was given.
fn kind(error: &reqwest::Error, within: Duration) -> Error {
    // A connection that is not made in time is no reply that is late: nothing was sent.
    if is_of_tls(error) {
        Error::Tls(cause(error))
    } else if error.is_connect() {
        Error::Connect(cause(error))
    } else if error.is_timeout() {
        Error::Timeout(within)
    } else {
        Error::Broken(cause(error))
    }
}

/// Whether the two sides could not agree on a secure connection: an unknown certificate, or no TLS at all.
fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    // An I/O error is no source of what it wraps: it has to be unwrapped, here twice.
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>()
        || inner.is_some_and(|inner| is_of_tls(inner))
        || error.source().is_some_and(is_of_tls)
}

/// The innermost cause: the outer ones say "error sending request for url (…)", with the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<reqwest::Error>() {
        Some(_) if error.is_builder() => "the URL or a header is not valid".to_owned(),
        Some(_) => "the request failed".to_owned(),
        None => innermost.to_string(),
    }
}

/// The longest piece of a stranger's text that a message shows, in characters.
const SHOWN: usize = 200;

/// Text from a server, a file or a command line, fit for a message: control characters and characters that change
/// the direction of writing are escaped, and what is very long is cut.
pub fn plain(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(SHOWN) {
        let turns =
            matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turns || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}') {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_to_wait_for_is_read_by_the_clock_of_its_sender() {
        let now = SystemTime::now();
        let ahead = now + Duration::from_hours(24);
        let wait = |after: SystemTime, by: Option<SystemTime>| {
            let mut headers = HeaderMap::new();
            let pairs = [("retry-after", Some(after)), ("date", by)];
            for (name, at) in pairs.into_iter().filter_map(|(name, at)| Some((name, at?))) {
                headers.insert(name, HeaderValue::from_str(&date(at)).unwrap());
            }
            retry_after(&headers).unwrap()
        };
        assert_eq!(wait(ahead + Duration::from_secs(7), Some(ahead)), Duration::from_secs(7));
        assert_eq!(wait(now - Duration::from_secs(7), None), Duration::ZERO);
        // A clock that stands at its beginning is none.
        assert_eq!(wait(now - Duration::from_secs(7), Some(SystemTime::UNIX_EPOCH)), Duration::ZERO);
    }

    #[test]
    fn control_characters_of_a_file_never_reach_a_message() {
        assert_eq!(plain("a\x1b[31mb\r\n\u{202e}c\u{9b}"), "a\\u{1b}[31mb\\r\\n\\u{202e}c\\u{9b}");
        assert_eq!(plain("wörter 漢字"), "wörter 漢字");
    }

    #[test]
    fn a_date_is_waited_for_by_the_clock_that_makes_sense() {
        let hour = Duration::from_hours(1);
        let now = SystemTime::now();
        let wait = |until, said| {
            let pairs = [(RETRY_AFTER, date(until)), (header::DATE, date(said))];
            let value = |(name, value): (header::HeaderName, String)| (name, value.parse().unwrap());
            retry_after(&pairs.into_iter().map(value).collect()).unwrap()
        };
        assert_eq!(wait(now + 24 * hour + hour, now + 24 * hour), hour, "the sender is a day ahead");
        assert!(wait(now + hour, SystemTime::UNIX_EPOCH) <= hour, "the sender has no clock");
        assert_eq!(wait(now - hour, now), Duration::ZERO);
    }

    #[test]
    fn a_long_text_is_cut_in_a_message() {
        assert_eq!(plain(&"x".repeat(SHOWN)).chars().count(), SHOWN);
        assert_eq!(plain(&"x".repeat(SHOWN + 1)).chars().count(), SHOWN + 1);
        assert!(plain(&"x".repeat(1_000)).ends_with("x…"));
    }

    #[tokio::test]
    async fn plain_text_where_tls_is_expected_is_a_tls_failure() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/v1/models", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut connection, _) = listener.accept().unwrap();
            // All of it: closing on unread bytes is a reset, which may overtake the reply.
            let _ = connection.read(&mut [0; 1 << 14]).unwrap();
            connection.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").unwrap();
        });
        let client = Client::new(Duration::from_secs(10)).unwrap();
        let error = client.get(&url, HeaderMap::new()).await.unwrap_err();
        assert!(matches!(error, Error::Tls(_)), "{error:?}");
        server.join().unwrap();
    }
}
