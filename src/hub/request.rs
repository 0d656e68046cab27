//! One request: headers, redirects, and a reply that is counted as it comes in.

use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep_until};

use super::Hub;
use super::address::{host, same_origin};
use super::error::{Error, wait};
use super::refusal::Refusal;
use super::retry::{Trouble, asked_wait, shared_wait};
use crate::http::{self, HeaderMap, HeaderValue, Incoming, Method, Request, StatusCode, Url, header, plain};

/// The most redirects that are followed for one request.
const MAX_HOPS: usize = 10;

/// Of a redirect's or an error's body no more is read.
const MAX_ASIDE: usize = 64 << 10;

/// What is wanted from an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// An answer of the Hub's API.
    Json,
    /// A file from its front.
    File,
    /// Some bytes of a file; not empty.
    Range(Range<u64>),
}

/// A reply with a status of success, its body not read yet.
#[derive(Debug)]
pub(super) struct Answer {
    hub: Hub,
    incoming: Incoming,
    /// Where it came from in the end.
    pub(super) url: Url,
}

impl Hub {
    /// Sends a `GET` to `start` and follows redirects. The token is sent to the endpoint alone: not to another scheme,
    /// host or port, and not any more once a redirect has led away. An API call is not followed elsewhere at all.
    pub(super) async fn open(&self, start: &Url, ask: &Ask) -> Result<Answer, Trouble> {
        let mut url = start.clone();
        let mut home = same_origin(&url, &self.inner.endpoint);
        let mut seen = Vec::new();
        loop {
            let incoming = self.send(&url, ask, home).await?;
            let mut answer = Answer { hub: self.clone(), incoming, url };
            let status = answer.incoming.status;
            if status.is_success() {
                return Ok(answer);
            }
            if !status.is_redirection() {
                return Err(answer.refused(home).await);
            }
            // The connection can be used again only when its body has been read.
            let _ = answer.read(MAX_ASIDE).await;
            let target = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let target = redirected(&answer.url, target, ask, &self.inner.endpoint)
                .map_err(|problem| answer.redirect(problem))?;
            seen.push(answer.url.clone());
            if seen.contains(&target) {
                return Err(answer.redirect("in a circle".to_owned()));
            }
            if seen.len() > MAX_HOPS {
                return Err(answer.redirect(format!("more than {MAX_HOPS} times")));
            }
            home = home && same_origin(&target, &self.inner.endpoint);
            url = target;
        }
    }

    async fn send(&self, url: &Url, ask: &Ask, home: bool) -> Result<Incoming, Trouble> {
        let options = self.options();
        if options.offline.is_some() {
            return Err(Trouble::Final(self.not_cached(&plain(url.path()))));
        }
        let mut request = Request::new(Method::GET, url.clone());
        let headers = request.headers_mut();
        if *ask == Ask::Json {
            headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        } else {
            // The bytes that are counted and checked are the file's own.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Ask::Range(range) = ask {
            let value = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
            headers.extend(HeaderValue::try_from(value).map(|value| (header::RANGE, value)));
        }
        if let Some(token) = options.token.as_ref().filter(|_| home) {
            let value = HeaderValue::try_from(format!("Bearer {}", token.secret.expose_secret()));
            headers.extend(value.map(|mut value| {
                value.set_sensitive(true);
                (header::AUTHORIZATION, value)
            }));
        }
        if home {
            let until = *self.inner.paused.lock().unwrap_or_else(PoisonError::into_inner);
            sleep_until(until).await;
        }
        self.inner.requests.fetch_add(1, Ordering::Relaxed);
        self.inner.client.open(request).await.map_err(|source| broken(url, source))
    }

    /// Keeps everyone from asking the endpoint for a while.
    fn pause(&self, time: Duration) {
        let mut paused = self.inner.paused.lock().unwrap_or_else(PoisonError::into_inner);
        *paused = (*paused).max(Instant::now() + time);
    }

    /// Tells who wants to know.
    pub(super) fn tell(&self, text: &str) {
        if let Some(notice) = &self.options().notice {
            notice(text);
        }
    }
}

impl Answer {
    /// The status of the reply.
    pub(super) fn status(&self) -> StatusCode {
        self.incoming.status
    }

    /// The headers of the reply.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.incoming.headers
    }

    /// The next piece of the body, none at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Trouble> {
        let piece = self.incoming.chunk(self.hub.options().timeouts.idle).await;
        let piece = piece.map_err(|source| broken(&self.url, source))?;
        let length = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        self.hub.inner.bytes.fetch_add(length, Ordering::Relaxed);
        Ok(piece)
    }

    /// The body, of which no more than `most` bytes and the rest of a piece are read.
    pub(super) async fn read(&mut self, most: usize) -> Result<Bytes, Trouble> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.chunk().await? {
            body.extend_from_slice(&piece);
            if body.len() > most {
                break;
            }
        }
        Ok(body.freeze())
    }

    /// Whether it came from the endpoint itself.
    pub(super) fn is_home(&self) -> bool {
        same_origin(&self.url, &self.hub.inner.endpoint)
    }

    /// Whether the body is a web page, which the Hub never gives to us.
    pub(super) fn is_page(&self) -> bool {
        let kind = self.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"))
    }

    fn redirect(&self, problem: String) -> Trouble {
        Trouble::Final(Error::Redirect { host: host(&self.url), problem })
    }

    /// What follows from a status that is no success.
    async fn refused(mut self, home: bool) -> Trouble {
        let status = self.status();
        let after = asked_wait(self.headers());
        let body = if home { self.read(MAX_ASIDE).await.unwrap_or_default() } else { Bytes::new() };
        let refusal = Refusal::new(&self, home, &body);
        let error = match status.as_u16() {
            429 => {
                if let Some(time) = shared_wait(after).filter(|_| home) {
                    self.hub.pause(time);
                }
                let when = after.map_or_else(|| "a few minutes".to_owned(), wait);
                let more = if home && self.hub.options().token.is_none() {
                    "; with a token (HF_TOKEN) the limit is higher"
                } else {
                    ""
                };
                Error::RateLimited { hub: host(&self.url), hint: format!("try again in {when}{more}") }
            }
            408 | 500 | 502 | 503 | 504 => refusal.server(),
            _ => return Trouble::Refused(refusal),
        };
        Trouble::Again { error, after }
    }
}

fn broken(url: &Url, source: http::Error) -> Trouble {
    Trouble::Again { error: Error::Transport { host: host(url), source }, after: None }
}

/// Where a redirect leads, or why it is not followed.
fn redirected(from: &Url, location: Option<&str>, ask: &Ask, endpoint: &Url) -> Result<Url, String> {
    let location = location.ok_or("without saying where to")?;
    let target = from.join(location).map_err(|_| "to what is no address")?;
    if !matches!(target.scheme(), "http" | "https") || !target.has_host() {
        return Err(format!("to what is no address of the web (`{}:`)", plain(target.scheme())));
    }
    if from.scheme() == "https" && target.scheme() == "http" {
        return Err(format!("to {} without encryption, which is refused", host(&target)));
    }
    if *ask == Ask::Json && !same_origin(&target, endpoint) {
        let origin = format!("{}://{}", target.scheme(), host(&target));
        return Err(format!("to another server: if you trust it, set HF_ENDPOINT to {origin}"));
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(from: &str, location: &str, ask: &Ask) -> Result<String, String> {
        let endpoint = Url::parse("https://hub.test").unwrap();
        redirected(&Url::parse(from).unwrap(), Some(location), ask, &endpoint).map(String::from)
    }

    #[test]
    fn a_redirect_is_followed_on_the_endpoint_and_for_bytes_elsewhere() {
        let from = "https://hub.test/datasets/a/b?x=1";
        assert_eq!(target(from, "/datasets/c/d?y", &Ask::Json).unwrap(), "https://hub.test/datasets/c/d?y");
        assert_eq!(target(from, "https://cdn.test/x?s=1", &Ask::File).unwrap(), "https://cdn.test/x?s=1");
        assert!(
            target(from, "https://cdn.test/x?s=1", &Ask::Json).unwrap_err().ends_with("to https://cdn.test")
        );
    }

    #[test]
    fn encryption_is_never_given_up() {
        for from in ["https://hub.test/x", "https://cdn.test/x"] {
            for to in ["http://hub.test/x", "http://cdn.test/x?Signature=1"] {
                let error = target(from, to, &Ask::File).unwrap_err();
                assert!(error.contains("without encryption") && !error.contains("Signature"), "{error}");
            }
        }
        assert!(target("http://cdn.test/x", "https://cdn.test/x", &Ask::File).is_ok());
    }

    #[test]
    fn what_is_no_address_of_the_web_is_not_followed() {
        for location in
            ["file:///etc/passwd", "data:text/plain,x", "https://", "//[::bad", "javascript:alert(1)"]
        {
            assert!(target("https://hub.test/", location, &Ask::File).is_err(), "{location}");
        }
    }
}
