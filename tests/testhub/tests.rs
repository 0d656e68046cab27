//! The test hub as a client sees it.

use reqwest::{Client, RequestBuilder, Response, redirect::Policy};
use serde_json::{Value, json};

use super::*;

thread_local! {
    /// One a test: reading the system's certificates is what a client costs.
    static CLIENT: Client = {
        // Only the first of the tests in one process can install it, and all install the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::builder().no_proxy().redirect(Policy::none()).build().unwrap()
    };
}

fn client() -> Client {
    CLIENT.with(Client::clone)
}

fn get(hub: &TestHub, path: &str) -> RequestBuilder {
    client().get(format!("{}{path}", hub.endpoint()))
}

async fn status(hub: &TestHub, path: &str) -> u16 {
    get(hub, path).send().await.unwrap().status().as_u16()
}

async fn as_json(request: RequestBuilder) -> Value {
    request.send().await.unwrap().json().await.unwrap()
}

fn header(response: &Response, name: &str) -> String {
    String::from_utf8(response.headers()[name].as_bytes().to_vec()).unwrap()
}

/// One repository with a small file and a large one of a hundred different bytes.
fn one() -> TestHub {
    TestHub::start(Repos::new().file("acme/one", "README.md", "# One\n").file(
        "acme/one",
        "data/a.parquet",
        bytes(),
    ))
}

fn bytes() -> Vec<u8> {
    (0..100).collect()
}

const README: &str = "/datasets/acme/one/resolve/main/README.md";
const PARQUET: &str = "/datasets/acme/one/resolve/main/data/a.parquet";

/// The signed URL of the large file.
async fn signed(hub: &TestHub) -> String {
    header(&get(hub, PARQUET).send().await.unwrap(), "location")
}

/// The large file's bytes in a range.
async fn ranged(hub: &TestHub, range: &str) -> Response {
    client().get(signed(hub).await).header("range", range).send().await.unwrap()
}

#[test]
fn digests_are_those_of_the_standard() {
    // FIPS 180 examples, and git's name of the empty blob.
    assert_eq!(digest::sha1(&[b"abc"]), "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_eq!(
        digest::sha1(&[b"abcdbcdecdefdefgefghfghighij", b"hijkijkljklmklmnlmnomnopnopq"]),
        "84983e441c3bd26ebaae4aa1f95129e5e54670f1"
    );
    assert_eq!(digest::git_blob(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
}

#[tokio::test]
async fn a_small_file_is_behind_a_relative_redirect() {
    let hub = one();
    let reply = get(&hub, README).send().await.unwrap();
    assert_eq!(
        (reply.status().as_u16(), header(&reply, "x-repo-commit")),
        (307, hub.sha("acme/one", "main"))
    );
    let location = header(&reply, "location");
    assert!(location.starts_with("/api/resolve-cache/datasets/acme/one/"), "{location}");
    assert_eq!(get(&hub, &location).send().await.unwrap().text().await.unwrap(), "# One\n");
    let etag = header(&reply, "x-linked-etag");
    assert_eq!(get(&hub, README).header("if-none-match", etag).send().await.unwrap().status(), 304);
}

#[tokio::test]
async fn a_large_file_is_at_another_origin_which_refuses_tokens() {
    let hub = one();
    let reply = get(&hub, PARQUET).send().await.unwrap();
    assert_eq!((reply.status().as_u16(), header(&reply, "x-linked-size")), (302, "100".to_owned()));
    let url = header(&reply, "location");
    assert!(url.starts_with(hub.cdn()) && hub.cdn() != hub.endpoint(), "{url}");
    let bytes_there = client().get(&url).send().await.unwrap();
    assert_ne!(header(&bytes_there, "etag"), header(&reply, "etag"));
    assert_eq!(bytes_there.bytes().await.unwrap(), bytes());
    let given_away = client().get(&url).header("authorization", "Bearer hf_ok").send().await.unwrap();
    assert_eq!(given_away.status(), 400);
    let unsigned = client().get(url.replace("Signature=", "Signature=0")).send().await.unwrap();
    assert_eq!(unsigned.status(), 403);
    let pointer = get(&hub, &PARQUET.replace("resolve", "raw")).send().await.unwrap().text().await.unwrap();
    assert!(pointer.starts_with("version https://git-lfs.github.com/spec/v1\noid sha256:"), "{pointer}");
}

#[tokio::test]
async fn one_range_is_served_and_others_are_not() {
    let hub = one();
    for (range, first, last) in
        [("bytes=10-19", 10, 19), ("bytes=90-", 90, 99), ("bytes=-5", 95, 99), ("bytes=99-200", 99, 99)]
    {
        let reply = ranged(&hub, range).await;
        assert_eq!(reply.status(), 206, "{range}");
        assert_eq!(header(&reply, "content-range"), format!("bytes {first}-{last}/100"));
        assert_eq!(reply.bytes().await.unwrap(), bytes()[first..=last]);
    }
    for range in ["bytes=100-", "bytes=-0", "bytes=20-10"] {
        let reply = ranged(&hub, range).await;
        assert_eq!(
            (reply.status().as_u16(), header(&reply, "content-range")),
            (416, "bytes */100".to_owned()),
            "{range}"
        );
    }
    for range in ["bytes=0-1,4-5", "rows=1-2", "bytes=-"] {
        assert_eq!(ranged(&hub, range).await.status(), 200, "{range}");
    }
}

#[tokio::test]
async fn a_tree_comes_in_pages_of_entries() {
    let mut repos = Repos::new().file("acme/many", "README.md", "");
    for number in 0..25 {
        repos = repos.file("acme/many", &format!("data/{number:02}.jsonl"), "{}\n");
    }
    let hub = TestHub::start_with(repos, Config { page_size: 10, ..Config::default() });
    let mut url = format!("{}/api/datasets/acme/many/tree/main?recursive=true", hub.endpoint());
    let (mut sizes, mut paths) = (Vec::new(), Vec::new());
    loop {
        let reply = client().get(&url).send().await.unwrap();
        let link = reply.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let page: Vec<Value> = reply.json().await.unwrap();
        sizes.push(page.len());
        paths.extend(page.iter().map(|entry| entry["path"].as_str().unwrap().to_owned()));
        let Some(link) = link else { break };
        link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().clone_into(&mut url);
    }
    assert_eq!(sizes, [10, 10, 7]);
    assert_eq!(
        (paths[0].as_str(), paths[1].as_str(), paths[26].as_str()),
        ("README.md", "data", "data/24.jsonl")
    );
    let top = as_json(get(&hub, "/api/datasets/acme/many/tree/main")).await;
    assert_eq!(top.as_array().unwrap().len(), 2);
    assert_eq!(status(&hub, "/api/datasets/acme/many/tree/main/nowhere").await, 404);
}

#[tokio::test]
async fn paths_can_be_asked_for_by_form_and_by_json() {
    let hub = one();
    let post = || client().post(format!("{}/api/datasets/acme/one/paths-info/main", hub.endpoint()));
    let form = post()
        .header("content-type", "application/x-www-form-urlencoded")
        .body("paths=data%2Fa.parquet&paths=nowhere&expand=False");
    let entries = as_json(form).await;
    assert_eq!(entries, as_json(post().json(&json!({"paths": ["data/a.parquet", "nowhere"]}))).await);
    assert_eq!((&entries[0]["lfs"]["size"], entries.as_array().unwrap().len()), (&json!(100), 1));
}

#[tokio::test]
async fn branches_and_converted_branches_are_told_apart() {
    let repos = Repos::new().file("acme/b", "a.txt", "1").file_at("acme/b", "dev/two", "a.txt", "2").file_at(
        "acme/b",
        "refs/convert/parquet",
        "default/train/0000.parquet",
        "3",
    );
    let hub = TestHub::start(repos);
    let refs = as_json(get(&hub, "/api/datasets/acme/b/refs")).await;
    assert_eq!(
        (&refs["branches"][0]["name"], &refs["branches"][1]["name"]),
        (&json!("dev/two"), &json!("main"))
    );
    assert_eq!(refs["converts"][0]["ref"], "refs/convert/parquet");
    for revision in ["refs%2Fconvert%2Fparquet", &hub.sha("acme/b", "refs/convert/parquet")] {
        let info = as_json(get(&hub, &format!("/api/datasets/acme/b/revision/{revision}"))).await;
        assert_eq!(info["siblings"], json!([{"rfilename": "default/train/0000.parquet"}]));
    }
    assert_eq!(
        status(&hub, "/datasets/acme/b/resolve/refs/convert/parquet/default/train/0000.parquet").await,
        302
    );
    assert_eq!(status(&hub, "/api/datasets/acme/b/revision/nope").await, 404);
}

#[tokio::test]
async fn older_names_and_other_cases_lead_to_the_canonical_one() {
    let repos = Repos::new()
        .file("acme/new", "a.txt", "")
        .options("acme/new", &json!({"renamed_from": ["acme/old", "old"]}));
    let hub = TestHub::start(repos);
    for (asked, location) in [
        (
            "/api/datasets/acme/old/tree/main?recursive=true",
            "/api/datasets/acme/new/tree/main?recursive=true",
        ),
        ("/api/datasets/Acme/New", "/api/datasets/acme/new"),
        ("/api/datasets/old/revision/main", "/api/datasets/acme/new/revision/main"),
        ("/datasets/old/resolve/main/a.txt", "/datasets/acme/new/resolve/main/a.txt"),
    ] {
        let reply = get(&hub, asked).send().await.unwrap();
        assert_eq!((reply.status().as_u16(), header(&reply, "location")), (307, location.to_owned()));
    }
}

#[tokio::test]
async fn who_may_read_what_is_told_as_the_hub_tells_it() {
    let allowed = json!({"gated": "manual", "allowed_tokens": ["hf_ok"]});
    let repos = Repos::new()
        .file("acme/gated", "a.txt", "")
        .options("acme/gated", &allowed)
        .file("acme/private", "a.txt", "")
        .options("acme/private", &json!({"private": true, "allowed_tokens": ["hf_ok"]}))
        .file("acme/disabled", "a.txt", "")
        .options("acme/disabled", &json!({"disabled": true}));
    let hub = TestHub::start(repos);
    let faithful = TestHub::start_with(
        Repos::at(hub.repos().root()),
        Config { missing: Missing::Faithful, ..Config::default() },
    );
    let bytes = |repo: &str| format!("/datasets/acme/{repo}/resolve/main/a.txt");
    for (hub, repo, token, expected, code) in [
        (&hub, "gated", "", 401, "GatedRepo"),
        (&hub, "gated", "hf_valid", 403, "GatedRepo"),
        (&hub, "gated", "hf_ok", 307, ""),
        (&hub, "gated", "hf_expired", 401, ""),
        (&hub, "private", "", 401, "RepoNotFound"),
        (&faithful, "private", "", 401, ""),
        (&hub, "private", "hf_valid", 404, "RepoNotFound"),
        (&hub, "private", "hf_ok", 307, ""),
        (&hub, "disabled", "hf_ok", 403, ""),
        (&hub, "nowhere", "", 401, "RepoNotFound"),
        (&faithful, "nowhere", "", 401, ""),
    ] {
        let mut request = get(hub, &bytes(repo));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        let reply = request.send().await.unwrap();
        let told = reply.headers().get("x-error-code").map_or("", |code| code.to_str().unwrap());
        assert_eq!((reply.status().as_u16(), told), (expected, code), "{repo} with {token:?}");
    }
    // Everybody may know of a gated repository.
    assert_eq!(as_json(get(&hub, "/api/datasets/acme/gated")).await["gated"], "manual");
    assert_eq!(status(&hub, "/api/datasets/acme/gated/auth-check").await, 401);
}

#[tokio::test]
async fn a_budget_that_is_spent_is_429_until_its_window_ends() {
    let hub = one();
    hub.set_quota(Budget::Resolvers, 2, Duration::from_mins(5));
    assert_eq!((status(&hub, README).await, status(&hub, README).await), (307, 307));
    let reply = get(&hub, README).send().await.unwrap();
    assert_eq!(reply.status(), 429);
    assert!(header(&reply, "ratelimit").starts_with("\"resolvers\";r=0;t="));
    assert_eq!(status(&hub, "/api/datasets/acme/one").await, 200);
    hub.set_quota(Budget::Resolvers, 1, Duration::from_mins(5));
    assert_eq!(status(&hub, README).await, 307);
}

#[tokio::test]
async fn faults_take_their_requests_and_no_others() {
    let hub = one();
    hub.fault(Fault::new(Side::Hub, "/resolve/*README", Action::status(503)).method("GET").skip(1).times(2));
    let mut statuses = Vec::new();
    for path in [README, README, PARQUET, README, README] {
        statuses.push(status(&hub, path).await);
    }
    assert_eq!(statuses, [307, 503, 302, 503, 307]);
    hub.fault(Fault::new(Side::Hub, "", Action::dropped()));
    assert!(get(&hub, README).send().await.is_err());
    hub.fault(Fault::new(Side::Hub, "", Action::rate_limited(2)).times(u64::MAX));
    assert_eq!((status(&hub, README).await, status(&hub, PARQUET).await), (429, 429));
    hub.clear_faults();
    hub.fault(Fault::new(Side::Hub, "", Action::redirect_loop()));
    assert_eq!(header(&get(&hub, README).send().await.unwrap(), "location"), README);
    hub.fault(Fault::new(Side::Hub, "", Action::redirect(302, "http://elsewhere.invalid/")));
    assert_eq!(header(&get(&hub, README).send().await.unwrap(), "location"), "http://elsewhere.invalid/");
    hub.fault(Fault::new(Side::Hub, "", Action::expired()));
    assert_eq!(client().get(signed(&hub).await).send().await.unwrap().status(), 403);
    hub.fault(Fault::new(Side::Hub, "", Action::status(502).body("<html>Bad gateway</html>")));
    assert_eq!(get(&hub, README).send().await.unwrap().text().await.unwrap(), "<html>Bad gateway</html>");
}

#[tokio::test]
async fn bodies_are_cut_stalled_and_mislabelled() {
    let hub = one();
    hub.fault(Fault::new(Side::Cdn, "", Action::truncated(7)));
    let mut cut = ranged(&hub, "bytes=0-49").await;
    assert_eq!(header(&cut, "content-length"), "50");
    assert_eq!(cut.chunk().await.unwrap().unwrap(), bytes()[..7]);
    assert!(cut.chunk().await.is_err());
    assert_eq!(hub.log().pop().unwrap().bytes, 7);

    hub.fault(Fault::new(Side::Cdn, "", Action::stalled(7)));
    let mut stalled = ranged(&hub, "bytes=0-49").await;
    assert_eq!(stalled.chunk().await.unwrap().unwrap(), bytes()[..7]);
    assert!(tokio::time::timeout(Duration::from_millis(20), stalled.chunk()).await.is_err());

    hub.fault(Fault::new(Side::Cdn, "", Action::ignoring_range()).if_range());
    let whole = ranged(&hub, "bytes=0-49").await;
    assert_eq!((whole.status().as_u16(), whole.bytes().await.unwrap().len()), (200, 100));

    let wrong = Action::default().header("Content-Range", "bytes 1-50/100").header("Content-Length", "20");
    hub.fault(Fault::new(Side::Cdn, "", wrong));
    let short = ranged(&hub, "bytes=0-49").await;
    assert_eq!(
        (short.status().as_u16(), header(&short, "content-range")),
        (206, "bytes 1-50/100".to_owned())
    );
    assert_eq!(short.bytes().await.unwrap(), bytes()[..20]);
}

#[tokio::test]
async fn the_log_counts_requests_and_bytes_of_both_listeners() {
    let hub = one();
    ranged(&hub, "bytes=0-9").await.bytes().await.unwrap();
    let log = hub.log();
    let told: Vec<_> = log.iter().map(|request| (request.side, request.status)).collect();
    assert_eq!(told, [("hub", 302), ("cdn", 206)]);
    assert_eq!((log[1].request["range"].as_str(), log[1].bytes), ("bytes=0-9", 10));
    assert_eq!((hub.requests(), hub.bytes()), (2, log[0].bytes + 10));
    hub.clear_log();
    assert_eq!(hub.requests(), 0);
}

#[tokio::test]
async fn a_file_of_many_gigabytes_is_served_without_being_read() {
    let repos = Repos::new().options("acme/huge", &json!({"hash": "names"}));
    let file = std::fs::File::create(repos.place("acme/huge", "main", "train.jsonl.gz")).unwrap();
    file.set_len(5 << 30).unwrap();
    let hub = TestHub::start(repos);
    let path = "/datasets/acme/huge/resolve/main/train.jsonl.gz";
    let url = header(&get(&hub, path).send().await.unwrap(), "location");
    let mut whole = client().get(url).send().await.unwrap();
    assert_eq!(whole.content_length(), Some(5 << 30));
    assert!(!whole.chunk().await.unwrap().unwrap().is_empty());
}

#[tokio::test]
async fn a_commit_that_is_made_while_serving_moves_the_branch() {
    let hub = one();
    let before = hub.sha("acme/one", "main");
    std::fs::write(hub.repos().place("acme/one", "main", "README.md"), "# Two\n").unwrap();
    assert_eq!(hub.sha("acme/one", "main"), before);
    hub.rescan();
    assert_ne!(hub.sha("acme/one", "main"), before);
}

#[tokio::test]
async fn scripts_of_other_processes_set_faults_and_read_the_log() {
    let hub = one();
    let post =
        |path: &str, body: Value| client().post(format!("{}/__hub__/{path}", hub.endpoint())).json(&body);
    let fault = json!([{"side": "cdn", "method": "GET", "path_re": ".", "times": 1, "action": {"status": 503, "headers": {"Retry-After": "1"}, "body": "x"}}]);
    assert_eq!(as_json(post("faults", fault)).await, json!({"ok": true}));
    assert_eq!(header(&ranged(&hub, "bytes=0-9").await, "retry-after"), "1");
    assert_eq!(as_json(get(&hub, "/__hub__/log")).await[1]["status"], 503);
    assert_eq!(post("options", json!({"nothing": 1})).send().await.unwrap().status(), 400);
    as_json(post("options", json!({"small_redirect": false}))).await;
    assert_eq!(status(&hub, README).await, 200);
}
