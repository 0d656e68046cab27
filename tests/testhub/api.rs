//! `/api/datasets/{id}…`: what a repository is and which files it has.

use serde_json::{Value, json};

use super::{
    digest,
    hub::{Asked, Judged, Need, error, snapshot, split_revision},
    index::{Entry, Repo, Snapshot},
    reply::Reply,
    url,
};

/// With `expand=true` a page has so many entries at most.
const EXPANDED_PAGE: usize = 100;

impl Asked<'_> {
    pub(super) fn api(&self, name: &str, verb: &str, rest: &str) -> Judged<Reply> {
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
                if let Some(large) = &file.large {
                    sibling["lfs"] = json!({"sha256": large.sha256, "size": file.size, "pointerSize": large.pointer.len()});
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
                kept.extend([&url::quote_value(name), "=", &url::quote_value(value), "&"]);
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
        if let Some(large) = &file.large {
            entry["lfs"] =
                json!({"oid": large.sha256, "size": file.size, "pointerSize": large.pointer.len()});
            if repo.options.xet {
                entry["xetHash"] = json!(large.xet);
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
