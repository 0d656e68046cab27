//! The Hub's client against a Hub on loopback: what it asks, what it makes of the answers, and how it goes on after
//! faults.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use classified::dataset::{self, Access, Dataset, Request};
use classified::hub::{Entry, Error, File, Hub, Name, Options, Repo};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::testhub::{Action, Config, Fault, Missing, Repos, Side, SmallFiles, TestHub};

const TOKEN: &str = "hf_valid";

/// Options for this Hub, with waits that a test can afford.
fn options(hub: &TestHub, variables: &[(&str, &str)]) -> Options {
    let home = hub.repos().root().join("home").display().to_string();
    let look_up = |name: &str| match name {
        "HF_ENDPOINT" => Some(hub.endpoint().to_owned()),
        "HF_HOME" => Some(home.clone()),
        _ => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
    };
    let mut options = Options::from(&look_up).unwrap();
    options.timeouts.backoff = Duration::from_millis(1);
    options
}

fn client(hub: &TestHub, variables: &[(&str, &str)]) -> Hub {
    Hub::new(options(hub, variables)).unwrap()
}

fn anonymous(hub: &TestHub) -> Hub {
    client(hub, &[])
}

/// A text of `length` bytes in which no piece is like its neighbour.
fn text(length: usize) -> Vec<u8> {
    (0_usize..).flat_map(|line| format!("line {line}\n").into_bytes()).take(length).collect()
}

/// A dataset with a large file (in large file storage), a small one and a card.
fn dataset() -> Repos {
    Repos::new()
        .file("acme/set", "README.md", "---\n---\nA card")
        .file("acme/set", "data/large.bin", text(300_000))
        .file("acme/set", "data/small.jsonl", text(5_000))
        .file("acme/set", "data/empty.jsonl", "")
}

async fn entry(repo: &Repo, path: &str) -> Entry {
    repo.tree("").await.unwrap().into_iter().find(|entry| entry.path == path).unwrap()
}

async fn file(hub: &TestHub, path: &str) -> File {
    let repo = anonymous(hub).repo("acme/set", None).await.unwrap();
    let file = repo.file(&entry(&repo, path).await);
    hub.clear_log();
    file
}

async fn large(hub: &TestHub) -> File {
    file(hub, "data/large.bin").await
}

/// The requests so far: side, path without its query, status.
fn asked(hub: &TestHub) -> Vec<String> {
    let line = |side: &str, path: &str, status: u16| {
        let path = path.split('?').next().unwrap_or_default();
        let path = if side == "cdn" { "/…" } else { path };
        format!("{side} {path} {status}")
    };
    hub.log().iter().map(|request| line(request.side, &request.path, request.status)).collect()
}

/// The message with the Hub's address as `HUB`.
fn message(hub: &TestHub, error: &Error) -> String {
    let host = hub.endpoint().trim_start_matches("http://");
    error.to_string().replace(host, "HUB")
}

async fn failure(
    hub: &TestHub,
    variables: &[(&str, &str)],
    name: &str,
    revision: Option<&str>,
) -> (String, bool) {
    let error = client(hub, variables).repo(name, revision).await.unwrap_err();
    (message(hub, &error), error.is_usage())
}

async fn read(file: &File, from: u64) -> Result<Vec<u8>, Error> {
    let pieces: Vec<_> = file.stream(from).try_collect().await?;
    Ok(pieces.concat())
}

#[tokio::test]
async fn a_revision_is_resolved_once_and_later_requests_are_pinned_to_its_commit() {
    let hub = TestHub::start(dataset());
    let sha = hub.sha("acme/set", "main");
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    assert_eq!((repo.id.as_str(), repo.revision.as_str(), &repo.sha), ("acme/set", "main", &sha));
    let large = repo.file(&entry(&repo, "data/large.bin").await);
    assert_eq!(large.range(0..4).await.unwrap(), "line");
    assert_eq!(
        asked(&hub),
        [
            "hub /api/datasets/acme/set 200".to_owned(),
            format!("hub /api/datasets/acme/set/tree/{sha} 200"),
            format!("hub /datasets/acme/set/resolve/{sha}/data/large.bin 302"),
            "cdn /… 206".to_owned(),
        ]
    );
}

#[tokio::test]
async fn an_old_name_is_followed_once_and_then_the_new_one_is_used() {
    let hub = TestHub::start(dataset().options("acme/set", &json!({"renamed_from": ["old/set", "legacy"]})));
    for name in ["old/set", "legacy", "Acme/Set"] {
        hub.clear_log();
        let repo = anonymous(&hub).repo(name, Some("main")).await.unwrap();
        assert_eq!(repo.id, "acme/set");
        repo.tree("data").await.unwrap();
        let statuses: Vec<_> = hub.log().iter().map(|request| request.status).collect();
        assert_eq!(statuses, [307, 200, 200], "{name}");
    }
}

#[tokio::test]
async fn a_list_goes_on_over_pages_and_a_folder_that_is_missing_is_empty() {
    let config = Config { page_size: 2, ..Config::default() };
    let hub = TestHub::start_with(dataset(), config);
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    let listed =
        |entries: Vec<Entry>| entries.into_iter().map(|entry| (entry.path, entry.size)).collect::<Vec<_>>();
    let data = [
        ("data/empty.jsonl".to_owned(), 0),
        ("data/large.bin".to_owned(), 300_000),
        ("data/small.jsonl".to_owned(), 5_000),
    ];
    assert_eq!(listed(repo.tree("data/").await.unwrap()), data);
    assert_eq!(repo.tree("").await.unwrap().len(), 4);
    assert!(repo.tree("none").await.unwrap().is_empty());
    assert!(repo.tree("../set").await.unwrap().is_empty());
    let large = entry(&repo, "data/large.bin").await;
    assert_eq!((large.lfs, large.blob.len()), (true, 64));
    assert_eq!(entry(&repo, "README.md").await.blob.len(), 40);
}

#[tokio::test]
async fn a_list_that_leads_elsewhere_or_in_a_circle_is_an_error() {
    let hub = TestHub::start(dataset());
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    let link = |target: &str| Action::default().header("Link", &format!("<{target}>; rel=\"next\""));
    hub.fault(Fault::new(Side::Hub, "/tree/", link("http://127.0.0.1:9/api")));
    let error = repo.tree("").await.unwrap_err();
    assert!(message(&hub, &error).contains("lies on another server, 127.0.0.1:9"), "{error}");
    hub.fault(Fault::new(Side::Hub, "/tree/", link("?recursive=true&expand=false")));
    assert!(matches!(repo.tree("").await, Err(Error::Stranger { .. })));
    assert_eq!(repo.tree("").await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_small_file_is_text_and_one_that_is_missing_is_none() {
    for small_files in [SmallFiles::Redirected, SmallFiles::Direct] {
        let config = Config { small_files, ..Config::default() };
        let hub = TestHub::start_with(dataset(), config);
        let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
        assert_eq!(repo.text("README.md").await.unwrap().as_deref(), Some("---\n---\nA card"));
        assert_eq!(repo.text("dataset_infos.json").await.unwrap(), None);
        let small = repo.file(&entry(&repo, "data/small.jsonl").await);
        assert_eq!(small.range(5..10).await.unwrap(), text(10)[5..10]);
        assert_eq!(small.range(0..5_000).await.unwrap(), text(5_000));
        // The Hub's own redirects are followed each time.
        let at_resolve = asked(&hub)
            .iter()
            .filter(|line| line.contains("/small.jsonl") && line.contains("/resolve/"))
            .count();
        assert_eq!(at_resolve, 2);
    }
}

#[tokio::test]
async fn the_converted_parquet_is_found_or_not() {
    let repos = dataset().file_at("acme/script", "refs/convert/parquet", "default/train/0000.parquet", "x");
    let hub = TestHub::start(repos.file("acme/script", "script.py", "raise SystemExit"));
    let client = anonymous(&hub);
    assert!(client.repo("acme/set", None).await.unwrap().converted().await.unwrap().is_none());
    let converted = client.repo("acme/script", None).await.unwrap().converted().await.unwrap().unwrap();
    assert_eq!(converted.sha, hub.sha("acme/script", "refs/convert/parquet"));
    assert_eq!(converted.tree("").await.unwrap()[0].path, "default/train/0000.parquet");
}

#[tokio::test]
async fn names_of_files_may_have_any_character() {
    let odd = "data/train #1 % ü?&+.jsonl";
    let hub = TestHub::start(Repos::new().file("acme/odd", odd, "content").file("acme/odd", "dev", "x"));
    let repo = anonymous(&hub).repo("acme/odd", None).await.unwrap();
    let odd = repo.file(&entry(&repo, odd).await);
    assert_eq!(odd.range(0..7).await.unwrap(), "content");
    assert_eq!(repo.text(odd.path()).await.unwrap().as_deref(), Some("content"));
}

#[tokio::test]
async fn a_branch_may_have_a_slash_in_its_name() {
    let hub = TestHub::start(dataset().file_at("acme/set", "dev/two", "a.csv", "x"));
    let name = Name::parse("acme/set@dev%2Ftwo", hub.endpoint()).unwrap().unwrap();
    let repo = anonymous(&hub).repo(&name.repo, name.revision.as_deref()).await.unwrap();
    assert_eq!(repo.tree("").await.unwrap()[0].path, "a.csv");
}

#[tokio::test]
async fn a_signed_address_serves_many_ranges_and_all_clones() {
    let hub = TestHub::start(dataset());
    let large = large(&hub).await;
    let ranges: Vec<Range<u32>> = (0..8).map(|part| part * 1_000..part * 1_000 + 1_500).collect();
    let clones = ranges.iter().map(|range| {
        let (large, range) = (large.clone(), range.clone());
        async move { large.range(range.start.into()..range.end.into()).await.unwrap() }
    });
    let whole = text(300_000);
    for (bytes, range) in join_all(clones).await.iter().zip(&ranges) {
        assert_eq!(bytes[..], whole[range.start as usize..range.end as usize]);
    }
    let at_hub = asked(&hub).iter().filter(|line| line.starts_with("hub")).count();
    assert_eq!((at_hub, hub.requests()), (1, 9));
}

#[tokio::test]
async fn the_token_goes_to_the_hub_and_never_to_the_other_server() {
    let hub = TestHub::start(dataset());
    let client = client(&hub, &[("HF_TOKEN", TOKEN)]);
    let repo = client.repo("acme/set", None).await.unwrap();
    let large = repo.file(&entry(&repo, "data/large.bin").await);
    large.range(0..10).await.unwrap();
    large.range(10..20).await.unwrap();
    for request in hub.log() {
        let sent = request.request.get("authorization").map(String::as_str);
        assert_eq!(sent, (request.side == "hub").then_some("Bearer hf_valid"), "{}", request.path);
    }
}

#[tokio::test]
async fn the_token_does_not_come_back_from_another_server() {
    let hub = TestHub::start(dataset());
    let client = client(&hub, &[("HF_TOKEN", TOKEN)]);
    let repo = client.repo("acme/set", None).await.unwrap();
    let large = repo.file(&entry(&repo, "data/large.bin").await);
    hub.clear_log();
    let back = format!("{}/datasets/acme/set/resolve/main/data/small.jsonl", hub.endpoint());
    hub.fault(Fault::new(Side::Cdn, "", Action::redirect(302, &back)));
    let _ = large.range(0..10).await;
    let sent: Vec<_> =
        hub.log().iter().take(3).map(|request| request.request.contains_key("authorization")).collect();
    assert_eq!(sent, [true, false, false]);
}

#[tokio::test]
async fn bytes_are_asked_for_as_they_are() {
    let hub = TestHub::start(dataset());
    large(&hub).await.range(7..9).await.unwrap();
    for request in hub.log() {
        assert_eq!(request.request["accept-encoding"], "identity");
        assert_eq!(request.request["range"], "bytes=7-8");
        assert!(request.request["user-agent"].starts_with("classified/"));
    }
}

#[tokio::test]
async fn traffic_is_what_the_hub_has_counted() {
    let hub = TestHub::start(dataset());
    let client = anonymous(&hub);
    let repo = client.repo("acme/set", None).await.unwrap();
    repo.text("README.md").await.unwrap();
    let large = repo.file(&entry(&repo, "data/large.bin").await);
    large.range(0..200_000).await.unwrap();
    read(&large, 0).await.unwrap();
    let traffic = client.traffic();
    assert_eq!((traffic.requests, traffic.bytes), (hub.requests() as u64, hub.bytes()));
}

#[tokio::test]
async fn an_expired_address_is_renewed_once_for_all_who_use_it() {
    let hub = TestHub::start(dataset());
    hub.fault(Fault::new(Side::Hub, "/resolve/", Action { sig_ttl: Some(9_999.0), ..Action::default() }));
    let large = large(&hub).await;
    large.range(0..10).await.unwrap();
    let location = &hub.log()[0].reply["location"];
    let expires = location.split('&').find(|part| part.starts_with("Expires=")).unwrap().to_owned();
    hub.fault(Fault::new(Side::Cdn, &expires, Action::status(403)).times(u64::MAX));
    hub.clear_log();
    let ranges = (0..6).map(|part| large.range(part * 10..part * 10 + 10));
    assert!(join_all(ranges).await.iter().all(Result::is_ok));
    let count = |wanted: &str| asked(&hub).iter().filter(|line| line.ends_with(wanted)).count();
    assert_eq!((count(" 302"), count(" 206")), (1, 6), "{:?}", asked(&hub));
}

#[tokio::test]
async fn an_address_that_expires_at_once_is_renewed_once_and_then_an_error() {
    let hub = TestHub::start(dataset());
    hub.fault(Fault::new(Side::Hub, "/resolve/", Action::expired()));
    let large = large(&hub).await;
    assert_eq!(large.range(0..4).await.unwrap(), "line");
    assert_eq!(hub.requests(), 4);
    hub.fault(Fault::new(Side::Cdn, "", Action::status(403)).times(u64::MAX));
    let error = large.range(0..4).await.unwrap_err();
    assert!(matches!(&error, Error::Server { status, .. } if status.starts_with("403")), "{error}");
    assert!(!error.to_string().contains("Signature"));
}

#[tokio::test]
async fn what_fails_for_a_moment_is_asked_again() {
    let faults = [
        Fault::new(Side::Hub, "/api/datasets/acme/set", Action::status(500)),
        Fault::new(Side::Hub, "/api/datasets/acme/set", Action::dropped()),
        Fault::new(Side::Hub, "/tree/", Action::status(502).header("Retry-After", "0")),
        Fault::new(Side::Hub, "/tree/", Action::truncated(20)),
        Fault::new(Side::Hub, "README.md", Action::status(408)),
        Fault::new(Side::Hub, "README.md", Action::truncated(3)),
        Fault::new(Side::Cdn, "", Action::status(503)),
        Fault::new(Side::Cdn, "", Action::truncated(700)),
        Fault::new(Side::Cdn, "", Action::dropped()),
        Fault::new(Side::Cdn, "", Action::status(429).header("Retry-After", "0")),
    ];
    let hub = TestHub::start(dataset());
    let count = faults.len();
    for fault in faults {
        hub.fault(fault);
    }
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    let large = repo.file(&entry(&repo, "data/large.bin").await);
    assert_eq!(repo.text("README.md").await.unwrap().as_deref(), Some("---\n---\nA card"));
    assert_eq!(large.range(0..20_000).await.unwrap(), text(20_000));
    assert_eq!(large.range(0..20_000).await.unwrap(), text(20_000));
    // Without faults: dataset, list, card (with its redirect), range (with its redirect), range.
    assert_eq!(hub.requests(), 7 + count);
}

#[tokio::test]
async fn five_tries_are_all() {
    let hub = TestHub::start(dataset());
    hub.fault(
        Fault::new(Side::Hub, "", Action::status(503).body(json!({"error": "down\u{1b}[31m"})))
            .times(u64::MAX),
    );
    let (message, usage) = failure(&hub, &[], "acme/set", None).await;
    assert_eq!(message, "HUB answers 503 Service Unavailable: down\\u{1b}[31m: try again later");
    assert_eq!((hub.requests(), usage), (5, false));
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let hub = TestHub::start(dataset());
    let file = async |idle| {
        let mut options = options(&hub, &[]);
        options.timeouts.idle = idle;
        let repo = Hub::new(options).unwrap().repo("acme/set", None).await.unwrap();
        repo.file(&entry(&repo, "data/large.bin").await)
    };
    // What does come has a second to come in on a slow machine; what does not is left sooner.
    let large = file(Duration::from_secs(1)).await;
    hub.fault(Fault::new(Side::Cdn, "", Action::stalled(100)));
    assert_eq!(large.range(0..20_000).await.unwrap(), text(20_000));
    let large = file(Duration::from_millis(300)).await;
    hub.fault(Fault::new(Side::Cdn, "", Action::stalled(0)).times(u64::MAX));
    assert!(matches!(large.range(0..20_000).await, Err(Error::Transport { .. })));
}

#[tokio::test]
async fn a_used_up_limit_is_waited_for_and_told() {
    let hub = TestHub::start(dataset());
    hub.fault(Fault::new(Side::Hub, "", Action::rate_limited(0)));
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut options = options(&hub, &[]);
    let sink = Arc::clone(&told);
    options.notice = Some(Arc::new(move |text: &str| sink.lock().unwrap().push(text.to_owned())));
    Hub::new(options).unwrap().repo("acme/set", None).await.unwrap();
    let host = hub.endpoint().trim_start_matches("http://");
    assert_eq!(*told.lock().unwrap(), [format!("{host} limits the rate of requests: trying again in 1 s")]);
}

#[tokio::test]
async fn a_limit_that_lasts_is_an_error_that_says_when() {
    let hub = TestHub::start(dataset());
    hub.fault(Fault::new(
        Side::Hub,
        "",
        Action::status(429).header("Retry-After", "900").header("RateLimit", ""),
    ));
    let (told, usage) = failure(&hub, &[], "acme/set", None).await;
    assert_eq!(
        told,
        "HUB limits the rate of requests: try again in 15 minutes; with a token (HF_TOKEN) the limit is higher"
    );
    assert_eq!((hub.requests(), usage), (1, false));
    let forever = Action::status(429).header("Retry-After", "0").header("RateLimit", "");
    hub.fault(Fault::new(Side::Hub, "", forever).times(u64::MAX));
    hub.clear_log();
    let error = client(&hub, &[("HF_TOKEN", TOKEN)]).repo("acme/set", None).await.unwrap_err();
    assert_eq!(message(&hub, &error), "HUB limits the rate of requests: try again in 1 s");
    assert_eq!(hub.requests(), 5);
}

#[tokio::test]
async fn a_reply_that_is_not_for_the_range_is_never_taken_for_it() {
    let hub = TestHub::start(dataset());
    let large = large(&hub).await;
    let wrong =
        |header: &str, value: &str| Fault::new(Side::Cdn, "", Action::default().header(header, value));
    let faults = || {
        [
            wrong("Content-Range", "bytes 1-10/300000"),
            wrong("Content-Range", "bytes 0-9/5"),
            wrong("Content-Range", ""),
            wrong("Content-Length", "7"),
        ]
    };
    for fault in faults() {
        hub.fault(fault);
        assert_eq!(large.range(0..10).await.unwrap(), text(10));
    }
    for fault in faults() {
        hub.fault(fault.times(u64::MAX));
        let error = large.range(0..10).await.unwrap_err();
        assert!(matches!(error, Error::Bytes { .. }), "{error}");
        hub.clear_faults();
    }
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_named_unless_the_whole_file_was_asked_for() {
    let hub = TestHub::start(dataset());
    let large = large(&hub).await;
    hub.fault(Fault::new(Side::Cdn, "", Action::ignoring_range()));
    assert_eq!(large.range(5..10).await.unwrap(), text(10)[5..]);
    hub.fault(Fault::new(Side::Cdn, "", Action::ignoring_range()).times(u64::MAX));
    assert_eq!(large.range(0..300_000).await.unwrap(), text(300_000));
    let error = large.range(5..10).await.unwrap_err();
    assert!(matches!(error, Error::NoRanges { .. }), "{error}");
    assert_eq!(read(&large, 0).await.unwrap(), text(300_000));
}

#[tokio::test]
async fn redirects_in_a_circle_or_elsewhere_are_not_followed() {
    let hub = TestHub::start(dataset());
    hub.fault(Fault::new(Side::Hub, "/api/", Action::redirect_loop()));
    assert_eq!(failure(&hub, &[], "acme/set", None).await.0, "HUB redirects in a circle");
    hub.fault(Fault::new(
        Side::Hub,
        "/api/",
        Action::redirect(302, "http://127.0.0.1:9/api/datasets/acme/set"),
    ));
    let (message, _) = failure(&hub, &[], "acme/set", None).await;
    assert_eq!(
        message,
        "HUB redirects to another server: if you trust it, set HF_ENDPOINT to http://127.0.0.1:9"
    );
    hub.fault(Fault::new(Side::Hub, "/api/", Action::redirect(302, "file:///etc/passwd")));
    assert!(failure(&hub, &[], "acme/set", None).await.0.contains("no address of the web"));
    assert_eq!(hub.requests(), 3);
}

#[tokio::test]
async fn a_dataset_that_is_not_there_or_not_ours_is_told_with_what_to_do() {
    for missing in [Missing::Coded, Missing::Faithful] {
        let private = dataset().options("acme/set", &json!({"private": true, "allowed_tokens": ["hf_ok"]}));
        let hub = TestHub::start_with(private, Config { missing, ..Config::default() });
        for name in ["acme/nope", "acme/set"] {
            let expected = format!(
                "HUB has no dataset `{name}`, or it is private: check the name, or log in (`hf auth login`, or set HF_TOKEN)"
            );
            assert_eq!(failure(&hub, &[], name, None).await, (expected, true));
            let expected = format!(
                "HUB has no dataset `{name}`, or it is private: check the name, or whether the token from HF_TOKEN may read it"
            );
            assert_eq!(failure(&hub, &[("HF_TOKEN", TOKEN)], name, None).await, (expected, true));
        }
        assert!(client(&hub, &[("HF_TOKEN", "hf_ok")]).repo("acme/set", None).await.is_ok());
    }
}

#[tokio::test]
async fn a_bad_token_is_told_with_where_it_came_from() {
    let hub = TestHub::start(dataset());
    let (message, usage) = failure(&hub, &[("HF_TOKEN", "hf_expired")], "acme/set", None).await;
    assert_eq!(
        message,
        "HUB rejects the token from HF_TOKEN: log in again (`hf auth login`), or remove it: public datasets need none"
    );
    assert!(usage && !message.contains("hf_expired"));
    assert_eq!(hub.requests(), 1);
}

#[tokio::test]
async fn a_gated_dataset_is_told_with_the_page_where_its_terms_are() {
    let hub = TestHub::start(
        dataset().options("acme/set", &json!({"gated": "manual", "allowed_tokens": ["hf_ok"]})),
    );
    let refused = async |variables: &[(&str, &str)]| {
        let repo = client(&hub, variables).repo("acme/set", None).await.unwrap();
        assert!(repo.gated);
        let large = repo.file(&entry(&repo, "data/large.bin").await);
        let (text, bytes) = (repo.text("README.md").await.unwrap_err(), large.range(0..1).await.unwrap_err());
        assert!(text.is_usage());
        assert_eq!(text.to_string(), bytes.to_string());
        message(&hub, &text)
    };
    assert_eq!(
        refused(&[]).await,
        "dataset `acme/set` is gated: accept its terms at http://HUB/datasets/acme/set, then log in (`hf auth login`, or set HF_TOKEN)"
    );
    assert_eq!(
        refused(&[("HF_TOKEN", TOKEN)]).await,
        "dataset `acme/set` is gated: accept its terms at http://HUB/datasets/acme/set, then try again: the token from HF_TOKEN has no access yet"
    );
    let repo = client(&hub, &[("HF_TOKEN", "hf_ok")]).repo("acme/set", None).await.unwrap();
    assert!(repo.text("README.md").await.unwrap().is_some());
}

#[tokio::test]
async fn a_disabled_dataset_and_a_forbidden_one_are_told() {
    let hub = TestHub::start(dataset().options("acme/set", &json!({"disabled": true})));
    let expected = "dataset `acme/set` has been disabled by HUB: nobody can read it";
    assert_eq!(failure(&hub, &[], "acme/set", None).await.0, expected);
    let hub = TestHub::start(dataset());
    let refusal = Action::status(403).header("X-Error-Message", "token lacks the scope").body("");
    hub.fault(Fault::new(Side::Hub, "", refusal));
    let (message, _) = failure(&hub, &[("HF_TOKEN", TOKEN)], "acme/set", None).await;
    assert_eq!(
        message,
        "HUB does not let the token from HF_TOKEN read dataset `acme/set`: token lacks the scope"
    );
}

#[tokio::test]
async fn a_revision_that_is_not_there_is_told_with_those_that_are() {
    let hub = TestHub::start(dataset().file_at("acme/set", "v2", "a.csv", "x"));
    let (message, usage) = failure(&hub, &[], "acme/set", Some("nope")).await;
    assert_eq!(message, "dataset `acme/set` has no revision `nope`; it has main, v2");
    assert!(usage);
    hub.fault(Fault::new(Side::Hub, "/refs", Action::status(404)));
    let (message, _) = failure(&hub, &[], "acme/set", Some("nope")).await;
    assert_eq!(message, "dataset `acme/set` has no revision `nope`");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_told() {
    let hub = TestHub::start(dataset());
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    let gone = Entry { path: "data/gone.bin".to_owned(), ..entry(&repo, "data/large.bin").await };
    let error = repo.file(&gone).range(0..1).await.unwrap_err();
    assert_eq!(error.to_string(), "dataset `acme/set` has no file `data/gone.bin`");
    assert!(error.is_usage());
}

#[tokio::test]
async fn a_login_page_in_between_is_not_taken_for_the_hub() {
    let hub = TestHub::start(dataset());
    for status in [200, 403, 404] {
        let page =
            Action::status(status).header("Content-Type", "text/html; charset=utf-8").body("<h1>Log in</h1>");
        hub.fault(Fault::new(Side::Hub, "", page));
        let (message, usage) = failure(&hub, &[], "acme/set", None).await;
        assert!(message.starts_with("HUB does not answer as a Hub does (a web page"), "{message}");
        assert!(!usage);
    }
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    let page = Action::status(200).header("Content-Type", "text/html").body("<h1>Log in</h1>");
    hub.fault(Fault::new(Side::Hub, "", page));
    assert!(matches!(repo.text("README.md").await, Err(Error::Stranger { .. })));
    hub.fault(Fault::new(Side::Hub, "", Action::status(200).body(json!({"sha": "../../x", "id": "a/b"}))));
    assert!(failure(&hub, &[], "acme/set", None).await.0.contains("without a proper name or commit"));
    let outside = json!([{"type": "file", "path": "../x", "size": 1, "oid": "abcdef0123"}]);
    hub.fault(Fault::new(Side::Hub, "/tree/", Action::status(200).body(outside)));
    assert!(matches!(repo.tree("").await, Err(Error::Stranger { .. })));
}

#[tokio::test]
async fn a_stream_has_every_byte_to_the_end() {
    let hub = TestHub::start(dataset());
    let large = large(&hub).await;
    let whole = text(300_000);
    assert_eq!(read(&large, 0).await.unwrap(), whole);
    assert_eq!(read(&large, 299_000).await.unwrap(), whole[299_000..]);
    assert!(read(&large, 300_000).await.unwrap().is_empty());
    let empty = file(&hub, "data/empty.jsonl").await;
    assert!(read(&empty, 0).await.unwrap().is_empty());
    assert!(empty.range(0..0).await.unwrap().is_empty());
    assert_eq!(hub.requests(), 0);
}

#[tokio::test]
async fn a_stream_goes_on_where_it_was_cut() {
    let hub = TestHub::start(dataset());
    let large = large(&hub).await;
    for cut in [100_000, 70_000, 0] {
        hub.fault(Fault::new(Side::Cdn, "", Action::truncated(cut)));
    }
    hub.fault(Fault::new(Side::Cdn, "", Action::dropped()));
    hub.fault(Fault::new(Side::Cdn, "", Action::ignoring_range()));
    assert_eq!(read(&large, 0).await.unwrap(), text(300_000));
    let ranges: Vec<_> = hub
        .log()
        .iter()
        .filter(|request| request.side == "cdn")
        .map(|request| request.request["range"].clone())
        .collect();
    assert_eq!(ranges[0], "bytes=0-299999");
    assert_eq!(ranges[1..3], ["bytes=100000-299999", "bytes=170000-299999"]);
    assert_eq!(ranges.len(), 6);
}

#[tokio::test]
async fn a_stream_that_is_cut_again_and_again_without_progress_is_an_error_and_never_an_end() {
    let hub = TestHub::start(dataset());
    let large = large(&hub).await;
    hub.fault(Fault::new(Side::Cdn, "", Action::truncated(10)).times(u64::MAX));
    let pieces: Vec<_> = large.stream(0).collect().await;
    assert!(matches!(pieces.last(), Some(Err(Error::Transport { .. }))), "{:?}", pieces.last());
    let cdn = hub.log().iter().filter(|request| request.side == "cdn").count();
    assert_eq!(cdn, 5);
    // A body that says it is whole, and is short.
    hub.clear_faults();
    let short =
        Action::default().header("Content-Length", "1000").header("Content-Range", "bytes 0-299999/300000");
    hub.fault(Fault::new(Side::Cdn, "", short).times(u64::MAX));
    assert!(matches!(read(&large, 0).await, Err(Error::Bytes { .. })));
}

/// A progress that keeps what it was told.
fn told(into: &Mutex<Vec<u64>>) -> impl Fn(u64) + Sync {
    |have| into.lock().unwrap().push(have)
}

fn cache(hub: &TestHub) -> std::path::PathBuf {
    options(hub, &[]).cache.join("datasets--acme--set")
}

#[tokio::test]
async fn a_download_lies_in_the_cache_as_the_python_tools_have_it_and_comes_once() {
    let hub = TestHub::start(dataset());
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    for path in ["data/large.bin", "data/small.jsonl", "data/empty.jsonl"] {
        let entry = entry(&repo, path).await;
        assert_eq!(repo.cached(path), None);
        let progress = Mutex::default();
        let file = repo.download(&entry, &told(&progress)).await.unwrap();
        assert_eq!(file, cache(&hub).join("snapshots").join(&repo.sha).join(path));
        assert_eq!(std::fs::read(&file).unwrap(), text(usize::try_from(entry.size).unwrap()));
        assert_eq!(std::fs::canonicalize(&file).unwrap().file_name().unwrap(), entry.blob.as_str());
        assert_eq!(progress.lock().unwrap().last(), Some(&entry.size));
        hub.clear_log();
        assert_eq!(repo.download(&entry, &|_| ()).await.unwrap(), file);
        assert_eq!((hub.requests(), repo.cached(path)), (0, Some(file)));
    }
    assert_eq!(std::fs::read_to_string(cache(&hub).join("refs/main")).unwrap(), repo.sha);
}

#[tokio::test]
async fn a_download_goes_on_where_an_earlier_one_ended() {
    let hub = TestHub::start(dataset());
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    let large = entry(&repo, "data/large.bin").await;
    hub.fault(Fault::new(Side::Cdn, "", Action::truncated(100_000)));
    hub.fault(Fault::new(Side::Cdn, "", Action::status(404)).times(u64::MAX));
    assert!(repo.download(&large, &|_| ()).await.is_err());
    hub.clear_faults();
    hub.clear_log();
    let progress = Mutex::default();
    let file = repo.download(&large, &told(&progress)).await.unwrap();
    assert_eq!(std::fs::read(file).unwrap(), text(300_000));
    assert_eq!(progress.lock().unwrap()[0], 100_000);
    assert_eq!(hub.log()[0].request["range"], "bytes=100000-299999");
}

#[tokio::test]
async fn what_was_left_wrong_is_downloaded_anew() {
    let hub = TestHub::start(dataset());
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    let large = entry(&repo, "data/large.bin").await;
    let left = cache(&hub).join("blobs").join(format!("{}.incomplete", large.blob));
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    std::fs::write(&left, vec![b'?'; 100_000]).unwrap();
    let file = repo.download(&large, &|_| ()).await.unwrap();
    assert_eq!(std::fs::read(file).unwrap(), text(300_000));
    assert!(!left.exists());
}

#[tokio::test]
async fn wrong_content_is_an_error_and_never_in_the_cache() {
    let hub = TestHub::start(dataset());
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    let large = entry(&repo, "data/large.bin").await;
    let other = Entry { blob: "0".repeat(64), ..large };
    let error = repo.download(&other, &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("sha256"), "{error}");
    assert_eq!(repo.cached("data/large.bin"), None);
}

#[tokio::test]
async fn a_server_without_ranges_still_serves_downloads() {
    let hub = TestHub::start(dataset());
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    let large = entry(&repo, "data/large.bin").await;
    let left = cache(&hub).join("blobs").join(format!("{}.incomplete", large.blob));
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    std::fs::write(&left, text(1_000)).unwrap();
    hub.fault(Fault::new(Side::Cdn, "", Action::ignoring_range()).times(u64::MAX));
    let file = repo.download(&large, &|_| ()).await.unwrap();
    assert_eq!(std::fs::read(file).unwrap(), text(300_000));
}

#[tokio::test]
async fn two_downloads_of_one_file_fetch_it_once() {
    let hub = TestHub::start(dataset());
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    let large = entry(&repo, "data/large.bin").await;
    hub.clear_log();
    let (one, other) = tokio::join!(repo.download(&large, &|_| ()), repo.download(&large, &|_| ()));
    assert_eq!(one.unwrap(), other.unwrap());
    assert_eq!(hub.requests(), 2);
}

#[tokio::test]
async fn offline_the_cache_answers_and_no_request_is_made() {
    let hub = TestHub::start(dataset());
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    let large = entry(&repo, "data/large.bin").await;
    repo.text("README.md").await.unwrap();
    let file = repo.download(&large, &|_| ()).await.unwrap();
    hub.clear_log();
    let offline = client(&hub, &[("HF_HUB_OFFLINE", "1")]).repo("acme/set", None).await.unwrap();
    assert_eq!((&offline.sha, &offline.revision), (&repo.sha, &repo.revision));
    let listed = offline.tree("").await.unwrap();
    assert_eq!(listed, repo.tree("").await.unwrap(), "the files that are not here too");
    hub.clear_log();
    assert_eq!(offline.tree("data").await.unwrap().len(), 3);
    assert_eq!(offline.tree("dat").await.unwrap().len(), 0);
    assert_eq!(offline.text("README.md").await.unwrap().as_deref(), Some("---\n---\nA card"));
    assert_eq!(offline.text("other.md").await.unwrap(), None);
    assert!(offline.converted().await.unwrap().is_none());
    assert_eq!(offline.download(&large, &|_| ()).await.unwrap(), file);
    let gone = entry(&offline, "data/small.jsonl").await;
    let start = "HF_HUB_OFFLINE forbids requests and `data/small.jsonl`";
    let error = offline.download(&gone, &|_| ()).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("{start} of dataset `acme/set` is not in the Hub cache")), "{error}");
    let error = offline.file(&gone).absent(2, 3).to_string();
    assert!(error.starts_with(&format!("{start} (and 1 more of 3 files) of dataset")), "{error}");
    assert!(matches!(offline.file(&gone).range(0..1).await, Err(Error::Offline { .. })));
    assert_eq!(hub.requests(), 0);
}

#[tokio::test]
async fn offline_another_name_of_a_dataset_leads_to_it_where_the_hub_has_told_so() {
    let hub = TestHub::start(dataset().options("acme/set", &json!({"renamed_from": ["old/set", "legacy"]})));
    for name in ["old/set", "legacy", "Acme/Set"] {
        let repo = anonymous(&hub).repo(name, None).await.unwrap();
        repo.download(&entry(&repo, "data/small.jsonl").await, &|_| ()).await.unwrap();
    }
    hub.clear_log();
    for name in ["acme/set", "old/set", "legacy", "Acme/Set"] {
        let offline = client(&hub, &[("HF_HUB_OFFLINE", "1")]).repo(name, None).await.unwrap();
        assert_eq!(
            (offline.id.as_str(), offline.tree("data").await.unwrap().len()),
            ("acme/set", 3),
            "{name}"
        );
    }
    let (message, _) = failure(&hub, &[("HF_HUB_OFFLINE", "1")], "other/set", None).await;
    assert!(message.contains("dataset `other/set` at `main` is not in the Hub cache"), "{message}");
    assert_eq!(hub.requests(), 0);
}

#[tokio::test]
async fn offline_a_list_of_one_folder_is_not_taken_for_all_files() {
    let hub = TestHub::start(dataset().file("acme/set", "more/x.jsonl", "{}"));
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    repo.text("README.md").await.unwrap();
    let listed = repo.tree("data").await.unwrap();
    repo.download(&listed[0], &|_| ()).await.unwrap();
    let notes = Arc::new(Mutex::new(Vec::new()));
    let mut options = options(&hub, &[("HF_HUB_OFFLINE", "1")]);
    let told = Arc::clone(&notes);
    options.notice = Some(Arc::new(move |text: &str| told.lock().unwrap().push(text.to_owned())));
    let offline = Hub::new(options).unwrap().repo("acme/set", None).await.unwrap();
    assert_eq!(offline.tree("data").await.unwrap(), listed);
    assert_eq!(notes.lock().unwrap().len(), 0);
    let error = offline.tree("more").await.unwrap_err().to_string();
    let list = "the list of files of folder `more` of dataset `acme/set` is not in the Hub cache";
    assert!(error.contains(list), "{error}");
    // That of all files was not kept either: what is there is told to be a part.
    assert_eq!(offline.tree("").await.unwrap().len(), 2);
    assert!(notes.lock().unwrap()[0].contains("there may be more"), "{notes:?}");
    // A card that may be there counts as missing only where the Hub has said so.
    assert!(offline.text(".huggingface.yaml").await.is_err());
    repo.text(".huggingface.yaml").await.unwrap();
    assert_eq!(offline.text(".huggingface.yaml").await.unwrap(), None);
}

/// Opens a dataset as the program does.
async fn opened(
    hub: &TestHub,
    access: Access,
    variables: &[(&str, &str)],
    config: Option<&str>,
) -> Result<Dataset, String> {
    let request = Request::new("acme/set", Vec::new(), Arc::new(options(hub, variables)));
    let request = Request { access, config: config.map(str::to_owned), ..request };
    dataset::open(request).await.map_err(|error| error.to_string())
}

fn shards() -> Repos {
    let card = "---\nconfigs:\n- config_name: en\n  data_files: en/*.jsonl\n  default: true\n\
                - config_name: fr\n  data_files: fr/*.jsonl\n---\n";
    let repos = Repos::new().file("acme/set", "README.md", card);
    let line = |name: &str| json!({"text": name}).to_string();
    ["en/0", "en/1", "en/2", "fr/0", "fr/1"]
        .iter()
        .fold(repos, |repos, name| repos.file("acme/set", &format!("{name}.jsonl"), line(name)))
}

#[tokio::test]
async fn offline_a_dataset_of_which_files_are_missing_is_not_opened() {
    let hub = TestHub::start(shards());
    let offline = &[("HF_HUB_OFFLINE", "1")];
    let error = opened(&hub, Access::Download, offline, None).await.unwrap_err();
    assert!(error.contains("dataset `acme/set` at `main` is not in the Hub cache"), "{error}");
    // The second file fails for good, while others may have come.
    hub.fault(Fault::new(Side::Hub, "/resolve/*en/1.jsonl", Action::status(403)).times(u64::MAX));
    opened(&hub, Access::Download, &[], None).await.unwrap_err();
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    repo.download(&entry(&repo, "en/0.jsonl").await, &|_| ()).await.unwrap();
    hub.clear_log();
    for access in [Access::Download, Access::Stream] {
        let error = opened(&hub, access, offline, None).await.unwrap_err();
        assert!(error.contains("HF_HUB_OFFLINE forbids requests and `en/1.jsonl`"), "{error}");
        assert!(error.contains("of 3 files) of dataset `acme/set` is not in the Hub cache"), "{error}");
        assert!(error.ends_with("unset it, or download first"), "{error}");
    }
    assert_eq!(hub.requests(), 0);
    hub.clear_faults();
    opened(&hub, Access::Download, &[], None).await.unwrap();
    hub.clear_log();
    assert_eq!(opened(&hub, Access::Stream, offline, None).await.unwrap().rows, Some(3));
    let error = opened(&hub, Access::Download, offline, Some("fr")).await.unwrap_err();
    assert!(error.contains("is not in the Hub cache"), "{error}");
    assert_eq!(hub.requests(), 0);
}

#[tokio::test]
async fn what_is_in_the_cache_is_not_streamed() {
    let hub = TestHub::start(shards());
    opened(&hub, Access::Download, &[], None).await.unwrap();
    hub.clear_log();
    let dataset = opened(&hub, Access::Stream, &[], None).await.unwrap();
    assert_eq!(dataset.rows, Some(3), "files that are here are counted");
    let rows: Vec<_> = dataset.batches().try_collect().await.unwrap();
    assert_eq!(rows.concat().len(), 3);
    assert!(asked(&hub).iter().all(|request| !request.contains("/resolve/")), "{:?}", asked(&hub));
}

#[tokio::test]
async fn a_script_that_was_read_by_its_conversion_is_read_offline_too() {
    let parquet = std::fs::read("data/textbooks.parquet").unwrap();
    let repos = Repos::new().file("acme/set", "set.py", "").file_at(
        "acme/set",
        "refs/convert/parquet",
        "default/train/0000.parquet",
        parquet,
    );
    let hub = TestHub::start(repos);
    opened(&hub, Access::Download, &[], None).await.unwrap();
    hub.clear_log();
    let dataset = opened(&hub, Access::Download, &[("HF_HUB_OFFLINE", "1")], None).await.unwrap();
    assert!(dataset.rows > Some(0), "{dataset:?}");
    assert_eq!(hub.requests(), 0);
}

#[tokio::test]
async fn a_content_of_an_earlier_commit_is_not_fetched_again() {
    let hub = TestHub::start(dataset());
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    let large = entry(&repo, "data/large.bin").await;
    let first = repo.download(&large, &|_| ()).await.unwrap();
    let moved = Entry { path: "moved.bin".to_owned(), ..large };
    hub.clear_log();
    let held = repo.file(&moved).cached().unwrap();
    assert_eq!(std::fs::canonicalize(held).unwrap(), std::fs::canonicalize(first).unwrap());
    let link = repo.download(&moved, &|_| ()).await.unwrap();
    assert!(link.ends_with("moved.bin"));
    let longer = Entry { size: moved.size + 1, ..moved };
    assert_eq!(repo.file(&longer).cached(), None, "another length is another content");
    assert_eq!(hub.requests(), 0);
}

#[tokio::test]
async fn a_small_file_of_wrong_bytes_is_an_error_and_never_in_the_cache() {
    let hub = TestHub::start(dataset());
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    let small = entry(&repo, "data/small.jsonl").await;
    let other = Entry { blob: "0".repeat(40), ..small };
    let error = repo.download(&other, &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("git sha1"), "{error}");
    assert_eq!(repo.cached("data/small.jsonl"), None);
}

#[tokio::test]
async fn a_small_file_is_kept_and_its_absence_too() {
    let hub = TestHub::start(dataset());
    let repo = anonymous(&hub).repo("acme/set", None).await.unwrap();
    hub.clear_log();
    for _ in 0..2 {
        assert!(repo.text("README.md").await.unwrap().is_some());
        assert!(repo.text("none.yaml").await.unwrap().is_none());
    }
    assert_eq!(asked(&hub).len(), 3, "{:?}", asked(&hub));
}

#[tokio::test]
async fn offline_no_request_is_made() {
    let hub = TestHub::start(dataset());
    let (message, usage) = failure(&hub, &[("HF_HUB_OFFLINE", "1")], "acme/set", None).await;
    assert!(message.starts_with("HF_HUB_OFFLINE forbids requests and"), "{message}");
    assert_eq!((hub.requests(), usage), (0, false));
}
