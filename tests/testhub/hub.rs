//! Who may see what, and `/resolve/`; the rest of the API is in `api.rs`.

use hyper::{
    header::{AUTHORIZATION, IF_NONE_MATCH, RANGE},
    http::request::Parts,
};
use serde_json::json;

use super::{
    Budget, Missing, SmallFiles, cdn,
    faults::Action,
    index::{Entry, Large, Repo, Snapshot, Stored},
    reply::Reply,
    state::{Limit, State},
    url,
};

/// Tokens that the hub knows.
const TOKENS: [&str; 2] = ["hf_valid", "hf_ok"];

const EXPOSED: &str = "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,\
                       Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash";

/// What can follow a repository's name in the API.
const VERBS: [&str; 6] = ["revision", "tree", "refs", "paths-info", "auth-check", "xet-read-token"];

/// A request and what it is answered from.
pub(super) struct Asked<'a> {
    pub(super) state: &'a State,
    pub(super) head: &'a Parts,
    pub(super) body: &'a [u8],
    pub(super) action: &'a Action,
    pub(super) limit: Limit,
}

/// The budget that pays for a path.
pub(super) fn budget(path: &str) -> Budget {
    if path.contains("/resolve/") || path.contains("/resolve-cache/") {
        Budget::Resolvers
    } else if path.starts_with("/api/") {
        Budget::Api
    } else {
        Budget::Pages
    }
}

/// A reply that ends the judging of a request early is an error here.
pub(super) type Judged<T> = Result<T, Box<Reply>>;

pub(super) fn answer(asked: &Asked<'_>) -> Reply {
    let reply = asked.judge().unwrap_or_else(|reply| *reply);
    // Every reply has these: 200, 307, 401 and 404 alike.
    reply
        .header("X-Powered-By", "huggingface-moon")
        .header("X-Request-Id", "Root=1-00000000-000000000000000000000000")
        .header("Access-Control-Expose-Headers", EXPOSED)
        .header("RateLimit", &asked.limit.state)
        .header("RateLimit-Policy", &asked.limit.policy)
}

/// An error as the hub has it: the same text in the body and in a header.
pub(super) fn error<T>(status: u16, code: Option<&str>, message: &str) -> Judged<T> {
    let reply = Reply::json(status, &json!({"error": message})).header("X-Error-Message", message);
    Err(Box::new(match code {
        Some(code) => reply.header("X-Error-Code", code),
        None => reply,
    }))
}

impl<'a> Asked<'a> {
    pub(super) fn header(&self, name: impl hyper::header::AsHeaderName) -> Option<&'a str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    fn token(&self) -> Option<&'a str> {
        let value = self.header(AUTHORIZATION)?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    fn judge(&self) -> Judged<Reply> {
        if self.limit.exceeded {
            return error(
                429,
                None,
                "We had to rate limit your IP. To continue using our service, create a HF account or login to your \
                 existing account, and make sure you pass a HF_TOKEN if you're using the API.",
            );
        }
        if self.token().is_some_and(|token| !TOKENS.contains(&token)) {
            return error(401, None, "Invalid credentials in Authorization header");
        }
        let path = self.head.uri.path();
        if path == "/api/whoami-v2" {
            return match self.token() {
                Some(_) => Ok(Reply::json(200, &json!({"type": "user", "id": "u1", "name": "tester"}))),
                None => error(401, None, "Invalid username or password."),
            };
        }
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts.as_slice() {
            ["api", "resolve-cache", "datasets", owner, name, sha, rest @ ..] if !rest.is_empty() => {
                self.resolve_cache(&format!("{owner}/{name}"), sha, &rest.join("/"))
            }
            ["api", "datasets", name, verb, rest @ ..] if VERBS.contains(verb) => {
                self.api(name, verb, &rest.join("/"))
            }
            ["api", "datasets", owner, name, verb, rest @ ..] if VERBS.contains(verb) => {
                self.api(&format!("{owner}/{name}"), verb, &rest.join("/"))
            }
            ["api", "datasets", owner, name] => self.api(&format!("{owner}/{name}"), "revision", "main"),
            ["api", "datasets", name] => self.api(name, "revision", "main"),
            ["datasets", name, how @ ("resolve" | "raw"), rest @ ..] => self.resolve(name, how, rest),
            ["datasets", owner, name, how @ ("resolve" | "raw"), rest @ ..] => {
                self.resolve(&format!("{owner}/{name}"), how, rest)
            }
            _ => Ok(Reply::new(
                404,
                "text/html",
                "<!doctype html><h1>404</h1>Sorry, we can't find the page you are looking for.",
            )),
        }
    }

    /// Calls `then` with the repository of a name that the request may see, or with `Need::Bytes` may read.
    pub(super) fn with_repo(
        &self,
        name: &str,
        need: Need,
        then: impl FnOnce(&Repo) -> Judged<Reply>,
    ) -> Judged<Reply> {
        let index = self.state.index();
        let token = self.token();
        let allowed = |repo: &Repo| {
            token.is_some_and(|token| repo.options.allowed_tokens.iter().any(|each| each == token))
        };
        let known = index.repo(name).filter(|repo| !repo.options.private || allowed(repo));
        let Some(repo) = known else {
            let missing = self.state.config().missing;
            return match (token, missing) {
                (Some(_), _) => error(404, Some("RepoNotFound"), "Repository not found"),
                (None, Missing::Coded) => error(401, Some("RepoNotFound"), "Repository not found"),
                (None, Missing::Faithful) => error(401, None, "Invalid username or password."),
            };
        };
        if repo.id != name {
            let target = self.head.uri.path_and_query().map_or("/", |target| target.as_str());
            let location = target.replacen(&format!("/{name}"), &format!("/{}", repo.id), 1);
            return Ok(redirect(307, &location));
        }
        if need == Need::Bytes {
            if repo.options.disabled {
                return error(403, None, "Access to this resource is disabled.");
            }
            if repo.options.gated.is_some() && !allowed(repo) {
                let restricted = format!("Access to dataset {name} is restricted");
                return if token.is_none() {
                    let message = format!(
                        "{restricted}. You must have access to it and be authenticated to access it. Please log in."
                    );
                    error(401, Some("GatedRepo"), &message)
                } else {
                    let message = format!(
                        "{restricted} and you are not in the authorized list. Visit {}/datasets/{name} to ask for \
                         access.",
                        self.state.hub_url
                    );
                    error(403, Some("GatedRepo"), &message)
                };
            }
        }
        then(repo)
    }

    fn resolve(&self, name: &str, how: &str, rest: &[&str]) -> Judged<Reply> {
        let (revision, path) = split_revision(&rest.join("/"));
        let path = url::unquote(&path);
        self.with_repo(name, Need::Bytes, |repo| {
            let snapshot = snapshot(repo, &url::unquote(&revision))?;
            let Some(file) = snapshot.files.get(&path) else {
                return error(404, Some("EntryNotFound"), "Entry not found")
                    .map_err(|reply| Box::new(reply.header("X-Repo-Commit", &snapshot.sha)));
            };
            let reply = match (how, &file.large) {
                ("raw", Some(large)) => {
                    Reply::text(200, large.pointer.clone()).header("ETag", &quoted(&file.git))
                }
                ("raw", None) => self.small(file).header("ETag", &quoted(&file.git)),
                (_, Some(large)) => self.large((repo, snapshot), &path, (file.size, large)),
                (_, None) if self.header(IF_NONE_MATCH) == Some(&quoted(&file.git)) => {
                    Reply::text(304, "").header("ETag", &quoted(&file.git))
                }
                (_, None) if self.state.config().small_files == SmallFiles::Redirected => {
                    let etag = quoted(&file.git);
                    let location = format!(
                        "/api/resolve-cache/datasets/{}/{}/{}?{}=&etag={}",
                        repo.id,
                        snapshot.sha,
                        url::quote(&path, "/"),
                        url::quote(self.head.uri.path(), ""),
                        url::quote(&etag, "")
                    );
                    redirect(307, &location)
                        .header("X-Linked-ETag", &etag)
                        .header("X-Hub-Cache", "MISS")
                        .header("Content-Security-Policy", "default-src 'none'; sandbox")
                }
                (_, None) => self.small(file),
            };
            let reply = reply.header("X-Repo-Commit", &snapshot.sha);
            if how == "raw" {
                return Ok(reply);
            }
            Ok(reply
                .header("Accept-Ranges", "bytes")
                .header("Content-Disposition", &disposition(&path))
                .header("Vary", "Origin, Accept"))
        })
    }

    /// The reply for a file whose bytes the CDN has.
    fn large(&self, (repo, snapshot): (&Repo, &Snapshot), path: &str, (size, large): (u64, &Large)) -> Reply {
        let etag = quoted(&large.sha256);
        if self.header(IF_NONE_MATCH) == Some(&etag) {
            return Reply::text(304, "").header("ETag", &etag);
        }
        let ttl = self.action.sig_ttl.unwrap_or(self.state.config().sig_ttl);
        let location = cdn::signed(self.state, repo, large, (&disposition(path), ttl));
        let reply = redirect(302, &location)
            .header("X-Linked-Size", &size.to_string())
            .header("X-Linked-ETag", &etag)
            .header("ETag", &etag);
        if !repo.options.xet {
            return reply;
        }
        let link = format!(
            "<{}/api/datasets/{}/xet-read-token/{}>; rel=\"xet-auth\", \
             <http://cas.invalid/v1/reconstructions/{}>; rel=\"xet-reconstruction-info\"",
            self.state.hub_url, repo.id, snapshot.sha, large.xet
        );
        reply.header("X-Xet-Hash", &large.xet).header("Link", &link)
    }

    fn small(&self, file: &Entry) -> Reply {
        let stored = Stored { path: file.place.clone(), size: file.size };
        Reply::file(&stored, "text/plain; charset=utf-8", self.header(RANGE), self.action)
            .header("ETag", &quoted(&file.git))
    }

    fn resolve_cache(&self, name: &str, sha: &str, path: &str) -> Judged<Reply> {
        let path = url::unquote(path);
        self.with_repo(name, Need::Bytes, |repo| {
            match repo.revision(sha).and_then(|snapshot| Some((snapshot, snapshot.files.get(&path)?))) {
                Some((snapshot, file)) => Ok(self
                    .small(file)
                    .header("X-Repo-Commit", &snapshot.sha)
                    .header("Content-Disposition", &disposition(&path))),
                None => error(404, Some("EntryNotFound"), "Entry not found"),
            }
        })
    }
}

/// What a request wants of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// To be told of it: also of a gated one.
    Sight,
    /// Its content.
    Bytes,
}

pub(super) fn snapshot<'a>(repo: &'a Repo, revision: &str) -> Judged<&'a Snapshot> {
    match repo.revision(revision) {
        Some(snapshot) => Ok(snapshot),
        None => error(404, Some("RevisionNotFound"), &format!("Invalid rev id: {revision}")),
    }
}

/// The revision at the beginning of a path and what follows it: `refs/convert/parquet` may come unescaped.
pub(super) fn split_revision(rest: &str) -> (String, String) {
    let parts: Vec<&str> = rest.split('/').collect();
    let length = if parts.first() == Some(&"refs") { 3 } else { 1 };
    let (revision, path) = parts.split_at(length.min(parts.len()));
    (revision.join("/"), path.join("/"))
}

fn redirect(status: u16, location: &str) -> Reply {
    let word = if status == 302 { "Found" } else { "Temporary Redirect" };
    Reply::text(status, format!("{word}. Redirecting to {location}")).header("Location", location)
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// RFC 6266, as the hub writes it.
fn disposition(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    format!("inline; filename*=UTF-8''{}; filename=\"{name}\";", url::quote(name, "/"))
}
