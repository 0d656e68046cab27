//! The API and `/resolve/`.

use hyper::{
    header::{AUTHORIZATION, IF_NONE_MATCH, RANGE},
    http::request::Parts,
};
use serde_json::{Value, json};

use super::{
    Budget, Missing, SmallFiles, cdn, digest,
    faults::Action,
    index::{Entry, Repo, Snapshot, Stored},
    reply::Reply,
    state::{Limit, State},
    url,
};

/// Tokens that the hub knows.
const TOKENS: [&str; 2] = ["hf_valid", "hf_ok"];

const EXPOSED: &str = "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,\
                       Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash";

/// With `expand=true` a page has so many entries at most.
const EXPANDED_PAGE: usize = 100;

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
type Judged<T> = Result<T, Box<Reply>>;

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
fn error<T>(status: u16, code: Option<&str>, message: &str) -> Judged<T> {
    let reply = Reply::json(status, &json!({"error": message})).header("X-Error-Message", message);
    Err(Box::new(match code {
        Some(code) => reply.header("X-Error-Code", code),
        None => reply,
    }))
}

impl<'a> Asked<'a> {
    fn header(&self, name: impl hyper::header::AsHeaderName) -> Option<&'a str> {
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
    fn with_repo(&self, name: &str, need: Need, then: impl FnOnce(&Repo) -> Judged<Reply>) -> Judged<Reply> {
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

    fn api(&self, name: &str, verb: &str, rest: &str) -> Judged<Reply> {
        let need = if verb == "auth-check" { Need::Bytes } else { Need::Sight };
        self.with_repo(name, need, |repo| match verb {
            "revision" => self.revision(repo, &url::unquote(rest)),
            "tree" => self.tree(repo, rest),
            "paths-info" => self.paths_info(repo, &url::unquote(rest)),
            "refs" => Ok(refs(repo)),
            "auth-check" => Ok(Reply::new(200, "application/json; charset=utf-8", "")),
            _ => error(404, None, "xet is not available on this test hub"),
        })
    }

    fn query(&self) -> Vec<(String, String)> {
        url::pairs(self.head.uri.query().unwrap_or_default())
    }

    fn revision(&self, repo: &Repo, revision: &str) -> Judged<Reply> {
        let snapshot = snapshot(repo, revision)?;
        let blobs = url::value(&self.query(), "blobs").is_some();
        let sibling = |(path, file): (&String, &Entry)| {
            let mut sibling = json!({"rfilename": path});
            if blobs {
                sibling["blobId"] = json!(file.git);
                sibling["size"] = json!(file.size);
                if let Some(pointer) = &file.pointer {
                    sibling["lfs"] =
                        json!({"sha256": file.sha256, "size": file.size, "pointerSize": pointer.len()});
                }
            }
            sibling
        };
        let options = &repo.options;
        Ok(Reply::json(
            200,
            &json!({
                "_id": repo.key(),
                "id": repo.id,
                "author": repo.id.split('/').next(),
                "sha": snapshot.sha,
                "lastModified": "2026-01-02T03:04:05.000Z",
                "private": options.private,
                "gated": options.gated.as_ref().map_or(json!(false), |gated| json!(gated)),
                "disabled": options.disabled,
                "tags": ["region:us"],
                "description": "",
                "downloads": 0,
                "likes": 0,
                "cardData": options.card,
                "siblings": snapshot.files.iter().map(sibling).collect::<Vec<_>>(),
                "createdAt": "2025-01-02T03:04:05.000Z",
                "usedStorage": snapshot.files.values().map(|file| file.size).sum::<u64>(),
            }),
        ))
    }

    fn tree(&self, repo: &Repo, rest: &str) -> Judged<Reply> {
        let (revision, folder) = split_revision(rest);
        let (revision, folder) = (url::unquote(&revision), url::unquote(&folder));
        let folder = folder.trim_matches('/');
        let snapshot = snapshot(repo, &revision)?;
        let query = self.query();
        let asked = |name| matches!(url::value(&query, name), Some("1" | "true" | "True"));
        let (recursive, expand) = (asked("recursive"), asked("expand"));
        let is_file = snapshot.files.contains_key(folder);
        if !folder.is_empty() && !is_file && !snapshot.folders.contains_key(folder) {
            return error(404, Some("EntryNotFound"), &format!("{folder} does not exist on \"{revision}\""))
                .map_err(|reply| Box::new(reply.header("X-Repo-Commit", &snapshot.sha)));
        }
        let above = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut paths: Vec<&String> = snapshot.files.keys().chain(snapshot.folders.keys()).collect();
        paths.sort();
        paths.retain(|path| match path.strip_prefix(&above) {
            Some(rest) => recursive || !rest.contains('/'),
            None => is_file && *path == folder,
        });

        let most = self.state.config().page_size.min(if expand { EXPANDED_PAGE } else { usize::MAX });
        let limit = url::value(&query, "limit").and_then(|limit| limit.parse().ok()).unwrap_or(most);
        let limit = if limit == 0 { most } else { limit.min(most) }.max(1);
        let start = url::value(&query, "cursor").map_or(Some(0), |cursor| {
            (0..=paths.len()).step_by(limit).find(|start| self::cursor(*start) == cursor)
        });
        let Some(start) = start else { return error(400, None, "Invalid cursor") };
        let page: Vec<Value> =
            paths.iter().skip(start).take(limit).map(|path| entry(repo, snapshot, path, expand)).collect();
        let mut reply = Reply::json(200, &Value::Array(page));
        if start + limit < paths.len() {
            let mut kept = String::new();
            for (name, value) in query.iter().filter(|(name, _)| name != "cursor" && name != "limit") {
                kept += &format!("{}={}&", url::quote_value(name), url::quote_value(value));
            }
            let link = format!(
                "<{}{}?{kept}limit={limit}&cursor={}>; rel=\"next\"",
                self.state.hub_url,
                self.head.uri.path(),
                cursor(start + limit)
            );
            reply = reply.header("Link", &link);
        }
        Ok(reply)
    }

    fn paths_info(&self, repo: &Repo, revision: &str) -> Judged<Reply> {
        let snapshot = snapshot(repo, revision)?;
        let (paths, expand) = if self.header("content-type").is_some_and(|kind| kind.contains("json")) {
            let body: Value = serde_json::from_slice(self.body).unwrap_or_default();
            let paths = match &body["paths"] {
                Value::Array(paths) => {
                    paths.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
                }
                Value::String(path) => vec![path.clone()],
                _ => Vec::new(),
            };
            (paths, body["expand"] == true)
        } else {
            let form = url::pairs(&String::from_utf8_lossy(self.body));
            let expand = url::value(&form, "expand").is_some_and(|value| value.eq_ignore_ascii_case("true"));
            (form.into_iter().filter(|(name, _)| name == "paths").map(|(_, path)| path).collect(), expand)
        };
        // Paths that are not there are left out without a word.
        let entries = paths
            .iter()
            .map(|path| path.trim_matches('/'))
            .filter(|path| snapshot.files.contains_key(*path) || snapshot.folders.contains_key(*path))
            .map(|path| entry(repo, snapshot, path, expand));
        Ok(Reply::json(200, &entries.collect()))
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
            let reply = match (how, &file.pointer) {
                ("raw", Some(pointer)) => {
                    Reply::text(200, pointer.clone()).header("ETag", &quoted(&file.git))
                }
                ("raw", None) => self.small(file).header("ETag", &quoted(&file.git)),
                (_, Some(_)) => self.large(repo, snapshot, (&path, file)),
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
    fn large(&self, repo: &Repo, snapshot: &Snapshot, (path, file): (&str, &Entry)) -> Reply {
        let etag = quoted(&file.sha256);
        if self.header(IF_NONE_MATCH) == Some(&etag) {
            return Reply::text(304, "").header("ETag", &etag);
        }
        let ttl = self.action.sig_ttl.unwrap_or(self.state.config().sig_ttl);
        let location = cdn::signed(self.state, repo, file, (&disposition(path), ttl));
        let reply = redirect(302, &location)
            .header("X-Linked-Size", &file.size.to_string())
            .header("X-Linked-ETag", &etag)
            .header("ETag", &etag);
        if !repo.options.xet {
            return reply;
        }
        let link = format!(
            "<{}/api/datasets/{}/xet-read-token/{}>; rel=\"xet-auth\", \
             <http://cas.invalid/v1/reconstructions/{}>; rel=\"xet-reconstruction-info\"",
            self.state.hub_url, repo.id, snapshot.sha, file.xet
        );
        reply.header("X-Xet-Hash", &file.xet).header("Link", &link)
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
enum Need {
    /// To be told of it: also of a gated one.
    Sight,
    /// Its content.
    Bytes,
}

fn snapshot<'a>(repo: &'a Repo, revision: &str) -> Judged<&'a Snapshot> {
    match repo.revision(revision) {
        Some(snapshot) => Ok(snapshot),
        None => error(404, Some("RevisionNotFound"), &format!("Invalid rev id: {revision}")),
    }
}

/// The revision at the beginning of a path and what follows it: `refs/convert/parquet` may come unescaped.
fn split_revision(rest: &str) -> (String, String) {
    let parts: Vec<&str> = rest.split('/').collect();
    let length = if parts.first() == Some(&"refs") { 3 } else { 1 };
    let (revision, path) = parts.split_at(length.min(parts.len()));
    (revision.join("/"), path.join("/"))
}

fn redirect(status: u16, location: &str) -> Reply {
    let word = if status == 302 { "Found" } else { "Temporary Redirect" };
    Reply::text(status, format!("{word}. Redirecting to {location}")).header("Location", location)
}

fn refs(repo: &Repo) -> Reply {
    let list = |converted: bool| -> Vec<Value> {
        let of_kind =
            repo.revisions.iter().filter(|(name, _)| name.starts_with("refs/convert/") == converted);
        of_kind
            .filter(|(name, _)| converted || !name.starts_with("refs/"))
            .map(|(name, snapshot)| {
                let short = if converted { name.rsplit('/').next().unwrap_or(name) } else { name };
                let full = if converted { name.clone() } else { format!("refs/heads/{name}") };
                json!({"name": short, "ref": full, "targetCommit": snapshot.sha})
            })
            .collect()
    };
    Reply::json(200, &json!({"tags": [], "branches": list(false), "converts": list(true)}))
}

/// An entry of a tree.
fn entry(repo: &Repo, snapshot: &Snapshot, path: &str, expand: bool) -> Value {
    let mut entry = if let Some(file) = snapshot.files.get(path) {
        let mut entry = json!({"type": "file", "oid": file.git, "size": file.size});
        if let Some(pointer) = &file.pointer {
            entry["lfs"] = json!({"oid": file.sha256, "size": file.size, "pointerSize": pointer.len()});
            if repo.options.xet {
                entry["xetHash"] = json!(file.xet);
            }
        }
        entry
    } else {
        json!({"type": "directory", "oid": snapshot.folders.get(path), "size": 0})
    };
    entry["path"] = json!(path);
    if expand {
        entry["lastCommit"] =
            json!({"id": snapshot.sha, "title": "initial commit", "date": "2026-01-02T03:04:05.000Z"});
    }
    entry
}

/// Where a page starts, so that nobody can read it out of the cursor.
fn cursor(start: usize) -> String {
    digest::sha1(&[b"cursor", start.to_string().as_bytes()])
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// RFC 6266, as the hub writes it.
fn disposition(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    format!("inline; filename*=UTF-8''{}; filename=\"{name}\";", url::quote(name, "/"))
}
