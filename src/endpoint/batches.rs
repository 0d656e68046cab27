//! The Batch API: files, batches, and the lines of both. One request at a time; what follows from it is `batch`'s.
//!
//! Files are JSON lines; a request is `{"custom_id", "method", "url", "body"}`, a reply `{"custom_id", "response", "error"}` in any
//! order, failed ones in a file of their own (<https://platform.openai.com/docs/guides/batch>).

mod line;
mod lines;
mod remote;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::fs::File;
use std::time::Instant;

use serde_json::{Value, json};

use super::{Endpoint, Error, Refusal, ServerError, Trouble};
use crate::http::{self, Method, Request as HttpRequest, Upload, Url};

pub use line::{Billing, Line, LineResult, line};
pub use lines::Lines;
pub use remote::{Counts, RemoteBatch, RemoteFile, Status, TokenLimit, token_limit};

/// The most requests that a file may hold.
pub const MAX_REQUESTS: u64 = 50_000;

/// The most bytes that a file may have.
pub const MAX_BYTES: u64 = 200_000_000;

/// Where the requests of a batch go, whatever the base URL: servers know it by this name.
const URL: &str = "/v1/chat/completions";

/// How many files a page of them lists, and how many batches: the most that servers allow, or that a reply has room for.
const FILES: u64 = 1_000;
const BATCHES: u64 = 100;

/// Pages of a list that are asked for: 100,000 batches. A server that has more of them pages for ever.
const PAGES: u32 = 1_000;

/// The longest id, in bytes: a longer one is none.
const LONGEST_ID: usize = 1_024;

/// Bytes of a refusal that are read.
const REFUSAL: usize = 64 << 10;

/// Which pages of a list are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pages {
    /// There may be what is looked for on the next one.
    More,
    /// There is nothing of interest on later ones.
    Enough,
}

impl Endpoint {
    /// Asks for one of the endpoint's batches, if only to see whether it has any. What comes of it otherwise is for
    /// [`Self::no_batches`].
    pub async fn ask_for_batches(&self) -> Result<(), Trouble> {
        if self.address.is_deployment() {
            return Err(self.garbled("a list", "a deployment of Azure's has none"));
        }
        let list = self.get("/batches?limit=1").await?;
        if list["data"].is_array() { Ok(()) } else { Err(self.garbled("a list", "`data` is missing")) }
    }

    /// Why the endpoint's batches cannot be used, after what [`Self::ask_for_batches`] has come to, in words for people.
    pub fn no_batches(&self, trouble: &Trouble) -> Error {
        let url = self.shown_url();
        if self.address.is_deployment() {
            return Error::Usage(format!(
                "{url} is a deployment of Azure's, and batches are not below it: set OPENAI_BASE_URL to the resource's \
                 /openai/v1, with the deployment's name as --model; or leave --batch out"
            ));
        }
        let none = |what: &str| {
            Error::Usage(format!(
                "the endpoint {url} has no batches ({what}): leave --batch out, or write the questions to a file for a runner \
                 of your own with `classified batch write`"
            ))
        };
        match trouble {
            Trouble::Garbled(_) => none("GET /batches gives no list of them"),
            Trouble::Refused(refusal) => match refusal.status {
                401 => Error::Refused(self.bad_key(refusal)),
                403 => Error::Refused(format!(
                    "{}, and whether it may use files and batches: {}",
                    self.bad_key(refusal),
                    refusal.error
                )),
                408 | 409 | 425 | 429 | 500 | 502..=504 | 520..=529 => Error::Refused(format!(
                    "the endpoint {url} does not tell of its batches ({refusal}); try again later"
                )),
                _ => none(&refusal.to_string()),
            },
            Trouble::Transport(error) => Error::Refused(format!(
                "the endpoint {url} cannot be reached: {error}; check OPENAI_BASE_URL, and that the server runs"
            )),
        }
    }

    /// Whether the endpoint has batches: an error with words for people where it has none.
    pub async fn check_batches(&self) -> Result<(), Error> {
        self.ask_for_batches().await.map_err(|trouble| self.no_batches(&trouble))
    }

    /// Uploads a file of requests under this name, from its beginning; returns the server's id. A server that takes nothing for
    /// a while is [`Trouble::Transport`]; how long the whole takes does not matter.
    pub async fn upload(&self, name: &str, file: File) -> Result<RemoteFile, Trouble> {
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        let begun = Instant::now();
        let upload = Upload { fields: vec![("purpose", "batch")], name: name.to_owned(), file };
        let reply = self.client.upload(&self.address.join("/files"), self.headers.clone(), upload).await;
        let reply = self.json(&Method::POST, "/files", begun, reply)?;
        // What a server does not tell of the size is what it was given.
        RemoteFile::read(&reply, size).ok_or_else(|| self.garbled("an uploaded file", "its id is missing"))
    }

    /// The whole file of requests of this name that the server has, if any: the newest of them. Whether it is whole, its size
    /// tells; a server that does not tell it has 0 bytes of it.
    pub async fn uploaded(&self, name: &str) -> Result<Option<RemoteFile>, Trouble> {
        let mut found = None;
        let whole = self.pages("/files?purpose=batch&order=desc", FILES, |page| {
            found = page
                .iter()
                .filter(|file| file["filename"].as_str() == Some(name))
                // Azure looks through a file when it is here; what it rejected is of no use.
                .filter(|file| !matches!(file["status"].as_str(), Some("error" | "deleting" | "deleted")))
                .find_map(|file| RemoteFile::read(file, 0));
            Ok(if found.is_some() { Pages::Enough } else { Pages::More })
        });
        match whole.await {
            // A list without an end that does not have it: it is uploaded once more, which costs nothing.
            Ok(()) | Err(Trouble::Garbled(_)) => Ok(found),
            Err(trouble) => Err(trouble),
        }
    }

    /// Has a file run, under this chance name; the lens's name is there for people who look at the server's own list.
    pub async fn create_batch(&self, file: &str, intent: &str, lens: &str) -> Result<RemoteBatch, Trouble> {
        // The most that a value of the metadata may have.
        let lens: String = lens.chars().take(512).collect();
        let body = json!({
            "input_file_id": file,
            "endpoint": URL,
            "completion_window": "24h",
            "metadata": {"classified": intent, "program": env!("CARGO_PKG_VERSION"), "lens": lens},
        });
        self.remote(&self.ask(Method::POST, "/batches", Some(&body)).await?)
    }

    /// Asks how far a batch is.
    pub async fn batch(&self, id: &str) -> Result<RemoteBatch, Trouble> {
        self.remote(&self.get(&format!("/batches/{}", self.escaped(id)?)).await?)
    }

    /// The batches that were made at this time or later by the server's clock, in seconds since 1970, page by page; those too
    /// of which that is not known. A list that does not end is [`Trouble::Garbled`]: what is not on it may be there.
    pub async fn batches(&self, since: i64) -> Result<Vec<RemoteBatch>, Trouble> {
        let mut found = Vec::new();
        self.pages("/batches?", BATCHES, |page| {
            let mut times = Vec::with_capacity(page.len());
            for batch in page {
                match self.remote(batch) {
                    Ok(batch) => {
                        times.push(batch.created_at);
                        if batch.created_at >= since || batch.created_at == 0 {
                            found.push(batch);
                        }
                    }
                    // It is none that anything can be done with, unless it is one of ours.
                    Err(trouble) if batch["metadata"]["classified"].is_string() => return Err(trouble),
                    Err(_) => {}
                }
            }
            // Newest first, as it should be: all later pages are older.
            let is_sorted = times.is_sorted_by(|a, b| a >= b) && !times.contains(&0);
            let is_older = times.last().is_some_and(|last| *last < since);
            Ok(if is_sorted && is_older { Pages::Enough } else { Pages::More })
        })
        .await?;
        Ok(found)
    }

    /// Has a batch cancelled. One that has ended is refused with status 409, or 400.
    pub async fn cancel_batch(&self, id: &str) -> Result<RemoteBatch, Trouble> {
        let path = format!("/batches/{}/cancel", self.escaped(id)?);
        self.remote(&self.ask(Method::POST, &path, None).await?)
    }

    /// The content of a file.
    pub async fn content(&self, file: &str) -> Result<Lines, Trouble> {
        let (begun, path) = (Instant::now(), format!("/files/{}/content", self.escaped(file)?));
        let opened = self.client.open(self.request(Method::GET, &path)?).await;
        let mut incoming = opened.map_err(|error| failed(&Method::GET, &path, begun, error))?;
        let (status, retry_after) = (incoming.status.as_u16(), http::retry_after(&incoming.headers));
        log(&Method::GET, &path, begun, &status.to_string());
        if incoming.status.is_success() {
            return Ok(Lines::of(incoming, self.options.timeout));
        }
        let mut body = Vec::new();
        while let Some(part) =
            incoming.chunk(self.options.timeout).await.ok().flatten().filter(|_| body.len() < REFUSAL)
        {
            body.extend_from_slice(&part);
        }
        let error = ServerError::parse(&body);
        Err(self.without_key(Trouble::Refused(Refusal { status, retry_after, error })))
    }

    /// Asks for a list page by page, each of at most `limit`, and gives each to `look` until that has enough. The error of a
    /// list that does not end is [`Trouble::Garbled`].
    async fn pages(
        &self,
        path: &str,
        limit: u64,
        mut look: impl FnMut(&[Value]) -> Result<Pages, Trouble>,
    ) -> Result<(), Trouble> {
        let joint = if path.ends_with('?') { "" } else { "&" };
        let mut after: Option<String> = None;
        for _ in 0..PAGES {
            let cursor = match &after {
                Some(id) => format!("&after={}", self.escaped(id)?),
                None => String::new(),
            };
            let list = self.get(&format!("{path}{joint}limit={limit}{cursor}")).await?;
            let Some(page) = list["data"].as_array() else {
                return Err(self.garbled("a list", "`data` is missing"));
            };
            if look(page)? == Pages::Enough {
                return Ok(());
            }
            let has_more = list["has_more"].as_bool().unwrap_or(page.len() as u64 >= limit);
            let Some(end) = page.last().filter(|_| has_more) else { return Ok(()) };
            let id = end["id"].as_str().unwrap_or_default();
            if after.as_deref() == Some(id) {
                break;
            }
            after = Some(id.to_owned());
        }
        Err(self.garbled("a list", "it does not end"))
    }

    /// A batch in a reply.
    fn remote(&self, batch: &Value) -> Result<RemoteBatch, Trouble> {
        let read = RemoteBatch::read(batch);
        let mut batch = read.ok_or_else(|| self.garbled("a batch", "its id is missing"))?;
        batch.errors.iter_mut().for_each(|error| self.clean(error));
        Ok(batch)
    }

    /// Reads a line of a file that a batch has left, as [`Lines`] gives it. The error says what is wrong with it, and quotes nothing
    /// of it.
    pub fn read_line(&self, line: &[u8], billing: &Billing) -> Result<Line, String> {
        let mut line = line::read_line(line, billing)?;
        line.result = match line.result {
            LineResult::Ran(result) => {
                LineResult::Ran(Box::new(result.map_err(|trouble| self.without_key(trouble))))
            }
            LineResult::NotRun(mut error) => {
                self.clean(&mut error);
                LineResult::NotRun(error)
            }
        };
        Ok(line)
    }

    async fn get(&self, path: &str) -> Result<Value, Trouble> {
        self.ask(Method::GET, path, None).await
    }

    /// One request, and the JSON of its reply.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
        let begun = Instant::now();
        let mut request = self.request(method.clone(), path)?;
        if let Some(body) = body {
            *request.body_mut() = Some(body.to_string().into());
        }
        let reply = self.client.send(request).await;
        self.json(&method, path, begun, reply)
    }

    fn request(&self, method: Method, path: &str) -> Result<HttpRequest, Trouble> {
        let url = Url::parse(&self.address.join(path))
            .map_err(|error| Trouble::Transport(http::Error::Connect(error.to_string())))?;
        let mut request = HttpRequest::new(method, url);
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }

    /// The JSON of a reply, which is logged.
    fn json(
        &self,
        method: &Method,
        path: &str,
        begun: Instant,
        reply: Result<http::Reply, http::Error>,
    ) -> Result<Value, Trouble> {
        let reply = reply.map_err(|error| failed(method, path, begun, error))?;
        log(method, path, begun, reply.status.as_str());
        if !reply.status.is_success() {
            let (status, retry_after) = (reply.status.as_u16(), reply.retry_after());
            let error = ServerError::parse(&reply.body);
            return Err(self.without_key(Trouble::Refused(Refusal { status, retry_after, error })));
        }
        serde_json::from_slice(&reply.body).map_err(|error| self.garbled("JSON", &error.to_string()))
    }

    /// An id as one segment of a path or one value of a query (RFC 3986, section 2). A server's is not to lead elsewhere.
    fn escaped(&self, id: &str) -> Result<String, Trouble> {
        if matches!(id, "" | "." | "..") || id.len() > LONGEST_ID {
            let id: String = id.chars().take(64).collect();
            return Err(self.garbled("an id", &format!("`{}` is none", http::plain(&id))));
        }
        let mut escaped = String::with_capacity(id.len());
        for byte in id.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
                escaped.push(char::from(byte));
            } else {
                // A text takes all that is written to it.
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
        Ok(escaped)
    }

    fn garbled(&self, what: &str, wrong: &str) -> Trouble {
        self.without_key(Trouble::Garbled(format!("the reply is not {what}: {wrong}")))
    }
}

fn failed(method: &Method, path: &str, begun: Instant, error: http::Error) -> Trouble {
    log(method, path, begun, &error.to_string());
    Trouble::Transport(error)
}

/// The request log: a line for each request.
fn log(method: &Method, path: &str, begun: Instant, came: &str) {
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(method = method.as_str(), path, ms, came, "asked about batches");
}
