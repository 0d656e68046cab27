//! The CDN: bytes of large files behind signed URLs that expire.

use std::time::{SystemTime, UNIX_EPOCH};

use hyper::{
    header::{AUTHORIZATION, RANGE},
    http::request::Parts,
};

use super::{
    digest,
    faults::Action,
    index::{Large, Repo},
    reply::Reply,
    state::State,
    url,
};

const KEY: &[u8] = b"test-hub-signing-key";

/// A URL under which the bytes of `file` can be read for so many seconds.
pub(super) fn signed(state: &State, repo: &Repo, file: &Large, (disposition, ttl): (&str, f64)) -> String {
    let path = format!("/xet-bridge-us/{}/{}", repo.key(), file.xet);
    // Whole seconds, as the real ones.
    let expires = (now() + ttl).floor();
    format!(
        "{}{path}?X-Xet-Cas-Uid=public&response-content-disposition={}&Expires={expires}&Policy=e30%3D&Signature={}\
         &Key-Pair-Id=KTEST",
        state.cdn_url,
        url::quote_value(disposition),
        signature(&path, &expires.to_string()),
    )
}

fn signature(path: &str, expires: &str) -> String {
    digest::sha256(&[KEY, path.as_bytes(), b"|", expires.as_bytes()])
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

pub(super) fn answer(state: &State, head: &Parts, action: &Action) -> Reply {
    if head.headers.contains_key(AUTHORIZATION) {
        // As object stores answer a signed URL with a token: the client has given its token away.
        return Reply::xml(
            400,
            "<?xml version='1.0'?><Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed\
             </Message></Error>",
        );
    }
    let path = head.uri.path();
    let query = url::pairs(head.uri.query().unwrap_or_default());
    let expires = url::value(&query, "Expires").unwrap_or_default();
    if url::value(&query, "Signature") != Some(&signature(path, expires)) {
        return Reply::xml(403, "<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>");
    }
    if expires.parse().map_or(true, |expires: f64| expires < now()) {
        return Reply::xml(
            403,
            "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access denied</Message></Error>",
        );
    }
    let xet = path.rsplit('/').next().unwrap_or_default();
    let index = state.index();
    let Some(stored) = index.stored(xet) else { return Reply::text(404, "") };
    let range = head.headers.get(RANGE).and_then(|range| range.to_str().ok());
    Reply::file(stored, "application/octet-stream", range, action)
        // The Xet hash: 64 digits, like the SHA-256 that they are not.
        .header("ETag", &format!("\"{xet}\""))
        .header("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
        .header("X-Cache", "Miss from cloudfront")
        .header("Cache-Control", "public, max-age=31536000")
        .header("Content-Disposition", url::value(&query, "response-content-disposition").unwrap_or("inline"))
}
