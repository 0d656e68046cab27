//! The test hub answers what the Python client asked as the Python hub answered it.
//!
//! `fixtures/hub/scenarios.json` has the requests that `datasets` 5.2.0 made in 57 situations, with the replies it got
//! from a hub of another hand. Each is sent to the test hub over the same repositories. Files whose bytes Python made
//! at random are zeros of the same length here, so digests are compared by their length alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use reqwest::{Client, Method, redirect::Policy};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::testhub::{Config, Fault, Missing, Repos, TestHub};

const SCENARIOS: &str = include_str!("fixtures/hub/scenarios.json");
const REPOS: &str = include_str!("fixtures/hub/repos.json");

#[derive(Deserialize)]
struct Recorded {
    /// What each recorded commit is the head of: `repository@revision`.
    commits: BTreeMap<String, String>,
    scenarios: Vec<Scenario>,
    /// Each different request with its reply.
    exchanges: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Scenario {
    name: String,
    #[serde(default)]
    faults: Vec<Fault>,
    /// Whether the hub said 401 without a code.
    #[serde(default)]
    faithful: bool,
    exchanges: Vec<usize>,
}

#[derive(Deserialize)]
struct Exchange {
    #[serde(default)]
    side: Option<String>,
    method: String,
    path: String,
    #[serde(default)]
    request: BTreeMap<String, String>,
    status: u16,
    reply: BTreeMap<String, String>,
    bytes: u64,
}

/// The repositories: a text, or the length of a file that has no text.
#[derive(Deserialize)]
struct Made {
    options: BTreeMap<String, Value>,
    files: BTreeMap<String, BTreeMap<String, BTreeMap<String, Value>>>,
}

impl Made {
    fn read() -> Self {
        serde_json::from_str(REPOS).unwrap()
    }

    /// Whether every file of a repository is as it was.
    fn is_text(revisions: &BTreeMap<String, BTreeMap<String, Value>>) -> bool {
        revisions.values().flat_map(BTreeMap::values).all(Value::is_string)
    }

    fn repos(&self) -> Repos {
        let mut repos = Repos::new();
        for (repo, revisions) in &self.files {
            for (revision, files) in revisions {
                for (path, content) in files {
                    repos = match content {
                        Value::String(text) => repos.file_at(repo, revision, path, text),
                        length => {
                            let place = repos.place(repo, revision, path);
                            std::fs::File::create(place).unwrap().set_len(length.as_u64().unwrap()).unwrap();
                            repos
                        }
                    };
                }
            }
        }
        for (repo, revisions) in &self.files {
            let mut options = self.options.get(repo).cloned().unwrap_or_else(|| json!({}));
            if !Self::is_text(revisions) {
                // Zeros are not worth their digests.
                options["hash"] = json!("names");
            }
            repos = repos.options(repo, &options);
        }
        repos
    }
}

/// Adds the repository whose tree needs three pages.
fn with_many_files(mut repos: Repos) -> Repos {
    for number in 0..2300 {
        let path = format!("data/part-{number:05}.jsonl");
        repos = repos.file("acme/many-files", &path, format!("{{\"id\": {number}}}\n"));
    }
    repos
}

fn recorded() -> Recorded {
    serde_json::from_str(SCENARIOS).unwrap()
}

/// A header's value without what differs from hub to hub: origins, digests, cursors, what is left of a budget.
fn comparable(value: &str, hub: &TestHub) -> String {
    let value = value.replace(hub.endpoint(), "{hub}").replace(hub.cdn(), "{cdn}");
    let value = cut(&value, "cursor=", ">");
    let value = if value.contains("/xet-bridge-us/") { cut(&value, "?", " ") } else { value };
    let value = cut(&value, ";r=", "\n");
    let mut text = String::new();
    let mut rest = value.as_str();
    while let Some(first) = rest.chars().next() {
        let digest = rest.len() - rest.trim_start_matches(|c: char| matches!(c, '0'..='9' | 'a'..='f')).len();
        if digest >= 24 {
            text.push_str(&format!("<{digest} digits>"));
            rest = &rest[digest..];
        } else {
            let length = digest.max(first.len_utf8());
            text.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    text
}

/// Without what stands between the first `after` and the next `before`, or the end.
fn cut(value: &str, after: &str, before: &str) -> String {
    match value.split_once(after) {
        None => value.to_owned(),
        Some((head, tail)) => {
            let kept = tail.find(before).map_or("", |at| &tail[at..]);
            format!("{head}{after}{kept}")
        }
    }
}

/// What one scenario knows of the replies so far.
#[derive(Default)]
struct Met {
    /// The signed URL that the test hub gave for a path at the recorded CDN.
    signed: HashMap<String, String>,
    /// The next page.
    next: String,
}

impl Met {
    /// The URL of a recorded request at the test hub.
    fn url(&self, exchange: &Exchange, recorded: &Recorded, hub: &TestHub) -> String {
        if exchange.side.is_some() {
            return self.signed[exchange.path.split('?').next().unwrap()].clone();
        }
        if exchange.path.contains("cursor=") {
            return self.next.clone();
        }
        let mut path = exchange.path.clone();
        for (sha, head) in &recorded.commits {
            if path.contains(sha) {
                let (repo, revision) = head.split_once('@').unwrap();
                path = path.replace(sha, &hub.sha(repo, revision));
            }
        }
        format!("{}{path}", hub.endpoint())
    }

    fn learn(&mut self, exchange: &Exchange, reply: &BTreeMap<String, String>) {
        if let (302, Some(then), Some(now)) =
            (exchange.status, exchange.reply.get("location"), reply.get("location"))
        {
            let path = then.trim_start_matches("{cdn}").split('?').next().unwrap();
            self.signed.insert(path.to_owned(), now.clone());
        }
        if let Some((next, _)) = reply.get("link").and_then(|link| link[1..].split_once('>')) {
            next.clone_into(&mut self.next);
        }
    }
}

#[tokio::test]
async fn the_python_client_gets_the_recorded_replies() {
    let recorded = recorded();
    let coded = TestHub::start(with_many_files(Made::read().repos()));
    assert_eq!(coded.count(), 27);
    // What is asked of this one is a repository that is not there.
    let faithful =
        TestHub::start_with(Repos::new(), Config { missing: Missing::Faithful, ..Config::default() });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().no_gzip().redirect(Policy::none()).build().unwrap();
    let mut differences = Vec::new();
    for scenario in &recorded.scenarios {
        let hub = if scenario.faithful { &faithful } else { &coded };
        hub.clear_faults();
        scenario.faults.iter().for_each(|fault| hub.fault(fault.clone()));
        let mut met = Met::default();
        for exchange in scenario.exchanges.iter().map(|number| &recorded.exchanges[*number]) {
            let url = met.url(exchange, &recorded, hub);
            let mut request = client.request(Method::from_bytes(exchange.method.as_bytes()).unwrap(), url);
            for (name, value) in &exchange.request {
                request = request.header(name, value);
            }
            hub.clear_log();
            let reply = request.send().await.unwrap();
            let whole = reply.bytes().await;
            let logged = hub.log().pop().unwrap();
            met.learn(exchange, &logged.reply);
            for difference in compare(exchange, &logged, hub) {
                let asked = format!("{} {}", exchange.method, exchange.path);
                differences.push(format!("{}: {asked}: {difference}", scenario.name));
            }
            // A reply that was cut off is seen as one.
            let length = exchange.reply["content-length"].parse().unwrap();
            let is_cut = exchange.method == "GET" && exchange.bytes < length;
            assert_eq!(whole.is_err(), is_cut, "{}: {}", scenario.name, exchange.path);
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

fn compare(exchange: &Exchange, logged: &crate::testhub::Logged, hub: &TestHub) -> Vec<String> {
    let mut differences = Vec::new();
    if logged.status != exchange.status {
        differences.push(format!("status {} became {}", exchange.status, logged.status));
    }
    // A body that names an origin or a signature is as long as these; and the recorded hub had its own ways: JSON
    // without a letter that is not ASCII, names in a header escaped twice, the text of a fault called JSON.
    let of_other_length = exchange.path.contains("/api/datasets/acme/odd-names")
        || exchange.reply.values().any(|value| value.contains("{hub}") || value.contains("{cdn}"));
    let names: BTreeSet<&String> = exchange.reply.keys().chain(logged.reply.keys()).collect();
    for name in names {
        if ["date", "x-request-id", "x-powered-by", "access-control-expose-headers"].contains(&name.as_str())
            || (name == "content-length" && of_other_length)
            || (name == "content-disposition" && exchange.path.starts_with("/api/resolve-cache/"))
            || (name == "content-type" && exchange.status == 503)
        {
            continue;
        }
        let then = exchange.reply.get(name).map(|value| comparable(value, hub));
        let now = logged.reply.get(name).map(|value| comparable(value, hub));
        if then != now {
            differences.push(format!("{name}: {then:?} became {now:?}"));
        }
    }
    if !of_other_length && logged.bytes != exchange.bytes {
        differences.push(format!("{} bytes became {}", exchange.bytes, logged.bytes));
    }
    differences
}

#[test]
fn repositories_of_text_have_the_recorded_commits() {
    let made = Made::read();
    let hub = TestHub::start(made.repos());
    let mut same = 0;
    for (sha, head) in recorded().commits {
        let (repo, revision) = head.split_once('@').unwrap();
        if made.files.get(repo).is_some_and(Made::is_text) {
            assert_eq!(hub.sha(repo, revision), sha, "{head}");
            same += 1;
        }
    }
    assert_eq!(same, 14);
}
