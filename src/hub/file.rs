//! One file of a dataset, read in ranges of bytes.
//!
//! `/resolve/` redirects to where the bytes lie, for a large file at a signed address that can be used for many ranges
//! until it expires. It is asked for once, shared by all clones, and asked for again when the other server refuses.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::Mutex;

use super::address::host;
use super::error::Error;
use super::repo::{Entry, Repo};
use super::request::{Answer, Ask};
use super::retry::{Tries, Trouble};
use crate::http::{HeaderMap, StatusCode, Url, header};

/// Room that is made for a range at once; a longer one grows as its bytes come in.
const ROOM: u64 = 4 << 20;

/// A file of a dataset at one commit. Cloning shares the address of its bytes.
#[derive(Debug, Clone)]
pub struct File {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    repo: Repo,
    entry: Entry,
    place: Mutex<Place>,
}

/// Where the bytes lie.
#[derive(Debug, Default)]
struct Place {
    url: Option<Url>,
    /// How often it has been found: who sees a failure forgets only the place that failed.
    found: u64,
}

impl File {
    pub(super) fn new(repo: Repo, entry: Entry) -> Self {
        Self { inner: Arc::new(Inner { repo, entry, place: Mutex::default() }) }
    }

    /// Its path in the dataset.
    pub fn path(&self) -> &str {
        &self.inner.entry.path
    }

    /// Its length in bytes, as the dataset's list has it.
    pub fn size(&self) -> u64 {
        self.inner.entry.size
    }

    /// Where the Hub cache has it, if it does: under its own name, or its content of another commit.
    pub fn cached(&self) -> Option<PathBuf> {
        self.inner.repo.held(&self.inner.entry)
    }

    /// Downloads it into the Hub cache; see [`Repo::download`].
    pub async fn download(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<PathBuf, Error> {
        self.inner.repo.download(&self.inner.entry, progress).await
    }

    /// Exactly the bytes of `range`, which lies within the file.
    pub async fn range(&self, range: Range<u64>) -> Result<Bytes, Error> {
        if range.start > range.end || range.end > self.size() {
            let asked = format!("bytes {} to {} are asked for, of {}", range.start, range.end, self.size());
            return Err(self.wrong(self.repo().hub().host(), asked));
        }
        let mut tries = Tries::new(self.repo().hub());
        loop {
            match self.range_once(&range).await {
                Ok(bytes) => return Ok(bytes),
                Err(trouble) => tries.wait(trouble).await.map_err(|trouble| self.explain(trouble))?,
            }
        }
    }

    async fn range_once(&self, range: &Range<u64>) -> Result<Bytes, Trouble> {
        let length = range.end - range.start;
        if length == 0 {
            return Ok(Bytes::new());
        }
        let mut answer = self.open(range).await?;
        let mut bytes = BytesMut::new();
        while let Some(piece) = answer.chunk().await? {
            if bytes.is_empty() && piece.len() as u64 == length {
                bytes = BytesMut::from(piece);
                continue;
            }
            if bytes.is_empty() {
                bytes.reserve(usize::try_from(length.min(ROOM)).unwrap_or_default());
            }
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > length {
                break;
            }
        }
        if bytes.len() as u64 != length {
            return Err(self.again(&answer, format!("{} bytes came, {length} were asked for", bytes.len())));
        }
        Ok(bytes.freeze())
    }

    /// Opens `range`, which is not empty: the reply is for exactly these bytes, its body not read yet.
    pub(super) async fn open(&self, range: &Range<u64>) -> Result<Answer, Trouble> {
        let ask = Ask::Range(range.clone());
        let mut failed = None;
        loop {
            let renewed = failed.is_some();
            let (answer, place) = self.opened(&ask, failed).await;
            match answer {
                Err(Trouble::Refused(refusal)) if refusal.is_expired() && !renewed => failed = Some(place),
                Err(trouble) => return Err(trouble),
                Ok(answer) => {
                    self.check(&answer, range)?;
                    return Ok(answer);
                }
            }
        }
    }

    /// Asks where the bytes are known to lie, or through `/resolve/` if that is not known or is the place that has
    /// failed. Whoever goes through `/resolve/` holds the lock until it is known, so that others need not.
    async fn opened(&self, ask: &Ask, failed: Option<u64>) -> (Result<Answer, Trouble>, u64) {
        let hub = self.repo().hub();
        let mut place = self.inner.place.lock().await;
        if let (Some(url), false) = (place.url.clone(), failed == Some(place.found)) {
            let found = place.found;
            drop(place);
            return (hub.open(&url, ask).await, found);
        }
        let start = match hub.url(&self.repo().address(self.path())) {
            Ok(start) => start,
            Err(error) => return (Err(Trouble::Final(error)), place.found),
        };
        let answer = hub.open(&start, ask).await;
        // Where the Hub itself redirects to within itself is its own affair, and may be another place next time.
        let lasting = |answer: &&Answer| !answer.is_home() || answer.url == start;
        place.url = answer.as_ref().ok().filter(lasting).map(|answer| answer.url.clone());
        place.found += 1;
        (answer, place.found)
    }

    /// Whether the reply is for these bytes. The Hub has been seen to send others, and a mirror to ignore ranges.
    fn check(&self, answer: &Answer, range: &Range<u64>) -> Result<(), Trouble> {
        let whole = range.start == 0 && range.end == self.size();
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let (sent, total) = content_range(answer.headers()).unwrap_or_default();
                if sent != *range || total.is_some_and(|total| total != self.size()) {
                    let asked = format!("bytes {} to {} of {}", range.start, range.end, self.size());
                    return Err(self.again(answer, format!("its reply is not for {asked}")));
                }
            }
            StatusCode::OK if whole => {}
            _ => {
                let error =
                    Error::NoRanges { host: host(&answer.url), path: crate::http::plain(self.path()) };
                return Err(Trouble::Again { error, after: None });
            }
        }
        let length: Option<u64> =
            answer.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        match length {
            Some(length) if length != range.end - range.start => {
                Err(self.again(answer, format!("{length} bytes for {}", range.end - range.start)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn repo(&self) -> &Repo {
        &self.inner.repo
    }

    /// Other bytes came than were asked for; the next try may bring the right ones.
    pub(super) fn again(&self, answer: &Answer, problem: String) -> Trouble {
        Trouble::Again { error: self.wrong(host(&answer.url), problem), after: None }
    }

    fn wrong(&self, host: String, problem: String) -> Error {
        Error::Bytes { host, path: crate::http::plain(self.path()), problem }
    }

    pub(super) fn explain(&self, trouble: Trouble) -> Error {
        self.repo().explain(trouble, Some(self.path()))
    }
}

/// The bytes that a reply says it has, and the length of the whole file if it knows: `Content-Range: bytes 0-9/100`
/// (RFC 9110, section 14.4).
fn content_range(headers: &HeaderMap) -> Option<(Range<u64>, Option<u64>)> {
    let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (first <= last).then_some(())?;
    Some((first..last.checked_add(1)?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Option<(Range<u64>, Option<u64>)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_RANGE, value.parse().unwrap());
        content_range(&headers)
    }

    #[test]
    fn a_content_range_names_the_first_and_the_last_byte() {
        assert_eq!(parsed("bytes 0-9/100"), Some((0..10, Some(100))));
        assert_eq!(parsed("bytes 5-5/*"), Some((5..6, None)));
    }

    #[test]
    fn a_content_range_that_is_none_is_not_taken_for_one() {
        for wrong in [
            "bytes */100",
            "bytes 9-0/100",
            "items 0-9/100",
            "bytes 0-9",
            "bytes 0-18446744073709551615/*",
            "bytes -1-2/3",
            "",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
