//! Files and batches as a client sees them.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::super::*;

struct World {
    standin: Standin,
    client: Client,
}

fn world(batches: Batches) -> World {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().build().unwrap();
    let config = Config { batches: Some(batches), ..Config::default() };
    World { standin: Standin::start(config), client }
}

fn twisted(twists: impl IntoIterator<Item = Twist>) -> World {
    let batches = twists.into_iter().map(BatchRule::always).collect();
    world(Batches { rules: Rules { batches, ..Rules::default() }, ..Batches::default() })
}

fn faulty(rule: RequestRule) -> World {
    let rules = Rules { requests: vec![rule], ..Rules::default() };
    world(Batches { rules, ..Batches::default() })
}

fn line(id: &str, text: &str) -> Value {
    json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions",
           "body": {"model": "m", "messages": [{"role": "user", "content": text}]}})
}

fn lines(count: usize) -> String {
    let line = |number: usize| format!("{}\n", line(&format!("id-{number}"), &format!("text {number}")));
    (0..count).map(line).collect()
}

impl World {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}/{path}", self.standin.url()))
    }

    async fn told(request: RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        Self::told(self.request(Method::GET, path)).await.1
    }

    fn form(&self, text: &str) -> RequestBuilder {
        let body = format!(
            "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\n\
             content-disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{text}\r\n--b--\r\n"
        );
        self.request(Method::POST, "files")
            .header("content-type", "multipart/form-data; boundary=b")
            .body(body)
    }

    async fn upload(&self, text: &str) -> Value {
        let (status, file) = Self::told(self.form(text)).await;
        assert_eq!(status, 200, "{file}");
        file
    }

    fn creation(&self, file: &Value) -> RequestBuilder {
        let body = json!({"input_file_id": file["id"], "endpoint": "/v1/chat/completions",
                          "completion_window": "24h", "metadata": {"classified": "x"}});
        self.request(Method::POST, "batches").body(body.to_string())
    }

    /// The path of a new batch with these lines.
    async fn begin(&self, text: &str) -> String {
        let file = self.upload(text).await;
        let (status, batch) = Self::told(self.creation(&file)).await;
        assert_eq!((status, &batch["status"]), (200, &json!("validating")), "{batch}");
        format!("batches/{}", batch["id"].as_str().unwrap())
    }

    /// A new batch with these lines at its end.
    async fn batch(&self, text: &str) -> Value {
        let path = self.begin(text).await;
        self.get(&path).await
    }

    /// The lines of one of a batch's files; none where it has none.
    async fn replies(&self, batch: &Value, file: &str) -> Vec<Value> {
        let Some(id) = batch[file].as_str() else { return Vec::new() };
        let response = self.request(Method::GET, &format!("files/{id}/content")).send().await.unwrap();
        let text = response.text().await.unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn errors(&self, text: &str) -> Vec<(String, Option<u64>)> {
        let batch = self.batch(text).await;
        assert_eq!(batch["status"], "failed", "{batch}");
        let data = batch["errors"]["data"].as_array().unwrap();
        data.iter()
            .map(|error| (error["code"].as_str().unwrap().to_owned(), error["line"].as_u64()))
            .collect()
    }
}

fn ids(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["custom_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_batch_is_run_as_live_requests_are() {
    let world = world(Batches::default());
    let batch = world.batch(&lines(50)).await;
    assert_eq!(batch["status"], "completed");
    assert_eq!(batch["request_counts"], json!({"total": 50, "completed": 50, "failed": 0}));
    assert_eq!((&batch["error_file_id"], &batch["metadata"]["classified"]), (&Value::Null, &json!("x")));
    let replies = world.replies(&batch, "output_file_id").await;
    let order = ids(&replies);
    assert_ne!(order[..3], ["id-0", "id-1", "id-2"], "the order is another");
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 50);
    let body = line("id-7", "text 7")["body"].to_string();
    let live = World::told(world.request(Method::POST, "chat/completions").body(body)).await.1;
    let place = order.iter().position(|id| *id == "id-7").unwrap();
    let response = &replies[place]["response"];
    assert_eq!(response["status_code"], 200);
    assert_eq!(response["body"]["choices"], live["choices"]);
    assert_eq!(response["body"]["usage"], live["usage"]);
    let counters = world.standin.counters();
    assert_eq!((counters.files, counters.batches, counters.batched, counters.repeats), (1, 1, 50, 1));
    assert_eq!(world.standin.answered().values().sum::<u64>(), 51);
}

#[tokio::test]
async fn one_wrong_line_rejects_the_file_and_nothing_is_run() {
    let world = world(Batches { requests: 10, ..Batches::default() });
    let with = |change: &dyn Fn(&mut Value)| {
        let mut wrong = line("b", "two");
        change(&mut wrong);
        format!("{}\n{wrong}\n", line("a", "one"))
    };
    for (code, text) in [
        ("invalid_json_line", format!("{}\n{{\"custom_id\":\n", line("a", "one"))),
        ("invalid_json_line", format!("{}\n\n", line("a", "one"))),
        ("missing_required_parameter", with(&|line| line["custom_id"] = Value::Null)),
        ("missing_required_parameter", with(&|line| line["body"] = json!("text"))),
        ("invalid_custom_id", with(&|line| line["custom_id"] = json!("x".repeat(65)))),
        ("duplicate_custom_id", with(&|line| line["custom_id"] = json!("a"))),
        ("invalid_method", with(&|line| line["method"] = json!("GET"))),
        ("url_mismatch", with(&|line| line["url"] = json!("/v1/embeddings"))),
        ("mismatched_model", with(&|line| line["body"]["model"] = json!("n"))),
    ] {
        assert_eq!(world.errors(&text).await, [(code.to_owned(), Some(2))], "{text}");
    }
    assert_eq!(world.errors("").await[0].0, "empty_file");
    assert_eq!(world.errors(&lines(11)).await, [("too_many_tasks".to_owned(), None)]);
    assert_eq!(world.standin.counters().batched, 0);
}

#[tokio::test]
async fn tokens_are_counted_while_batches_are_open() {
    let text = lines(2);
    let tokens: usize = text.lines().map(|_| line("", "text 0")["body"].to_string().len().div_ceil(4)).sum();
    let limit = tokens as u64 * 2 - 1;
    let world = world(Batches {
        running: Duration::from_hours(1),
        enqueued_tokens: Some(limit),
        ..Batches::default()
    });
    let first = world.begin(&text).await;
    assert_eq!(world.get(&first).await["status"], "in_progress");
    let second = world.batch(&text).await;
    let error = &second["errors"]["data"][0];
    assert_eq!((&second["status"], &error["code"]), (&json!("failed"), &json!("token_limit_exceeded")));
    assert_eq!(
        error["message"],
        format!(
            "Enqueued token limit reached for m in organization org-standin. Limit: {limit} enqueued tokens. \
             Please try again once some in_progress batches have been completed."
        )
    );
    world.standin.hurry();
    assert_eq!(world.get(&first).await["status"], "completed");
    assert_eq!(world.batch(&text).await["status"], "completed");
}

#[tokio::test]
async fn what_was_not_run_when_a_batch_expires_or_is_cancelled_is_in_the_error_file() {
    for (twist, status, code) in [
        (Twist::ExpireAfter(0.25), "expired", "batch_expired"),
        (Twist::CancelAfter(0.25), "cancelled", "batch_cancelled"),
    ] {
        let world = twisted([twist]);
        let batch = world.batch(&lines(20)).await;
        assert_eq!(batch["status"], status);
        assert!(batch[format!("{status}_at")].is_u64(), "{batch}");
        let (done, left) =
            (world.replies(&batch, "output_file_id").await, world.replies(&batch, "error_file_id").await);
        assert_eq!((done.len(), left.len()), (5, 15));
        assert_eq!((&left[0]["response"], &left[0]["error"]["code"]), (&Value::Null, &json!(code)));
        let all: BTreeSet<_> = ids(&done).into_iter().chain(ids(&left)).collect();
        assert_eq!(all.len(), 20);
        assert_eq!(world.standin.counters().batched, 5);
    }
}

#[tokio::test]
async fn a_batch_can_be_cancelled_until_it_has_ended() {
    let world = world(Batches { running: Duration::from_hours(1), ..Batches::default() });
    let path = world.begin(&lines(5)).await;
    assert_eq!(world.get(&path).await["status"], "in_progress");
    let cancel = || World::told(world.request(Method::POST, &format!("{path}/cancel")));
    assert_eq!(cancel().await.1["status"], "cancelling");
    let batch = world.get(&path).await;
    assert_eq!(batch["status"], "cancelled");
    assert_eq!(world.replies(&batch, "error_file_id").await.len(), 5);
    let (status, error) = cancel().await;
    assert_eq!(status, 409);
    assert_eq!(error["error"]["message"], "Cannot cancel a batch with status 'cancelled'.");
}

#[tokio::test]
async fn the_script_rules_lines_too() {
    let status = |code| Action::Status { code, body: None, headers: [].into() };
    let rules = vec![
        Rule { contains: Some("text 1\"".into()), action: status(400), ..Rule::default() },
        Rule { contains: Some("text 2\"".into()), action: Action::NotJson, ..Rule::default() },
        Rule { contains: Some("text 3\"".into()), action: Action::Hang, ..Rule::default() },
        Rule { contains: Some("text 4\"".into()), action: Action::Refusal("no".into()), ..Rule::default() },
    ];
    let mut world = world(Batches::default());
    let config = Config { script: Script(rules), batches: Some(Batches::default()), ..Config::default() };
    world.standin = Standin::start(config);
    let batch = world.batch(&lines(5)).await;
    assert_eq!(batch["request_counts"], json!({"total": 5, "completed": 3, "failed": 2}));
    let mut by_id = BTreeMap::new();
    for file in ["output_file_id", "error_file_id"] {
        for line in world.replies(&batch, file).await {
            by_id.insert(line["custom_id"].as_str().unwrap().to_owned(), (file, line));
        }
    }
    let (file, line) = &by_id["id-1"];
    assert_eq!((*file, &line["response"]["status_code"]), ("error_file_id", &json!(400)));
    assert!(line["response"]["body"]["error"]["message"].is_string());
    assert!(by_id["id-2"].1["response"]["body"].as_str().unwrap().starts_with("<html>"));
    assert_eq!(by_id["id-3"].1["error"]["code"], "request_timeout");
    assert_eq!(by_id["id-4"].1["response"]["body"]["choices"][0]["message"]["refusal"], "no");
    assert_eq!(world.standin.answered().len(), 1, "only one line has an answer");
}

#[tokio::test]
async fn the_files_of_a_batch_can_be_wrong_in_many_ways() {
    let world = twisted([Twist::Drop(0.2), Twist::Twice(0.5), Twist::UnknownIds(3), Twist::UpperIds(2)]);
    let batch = world.batch(&lines(100)).await;
    let replies = world.replies(&batch, "output_file_id").await;
    let mut times = BTreeMap::new();
    for id in ids(&replies) {
        *times.entry(id).or_insert(0) += 1;
    }
    let count = |wanted: fn(&str) -> bool| times.keys().filter(|id| wanted(id)).count();
    assert_eq!((count(|id| id.len() == 64), count(|id| id.starts_with("ID"))), (3, 2));
    let known = count(|id| id.starts_with("id-"));
    assert!((70..98).contains(&known), "{known}");
    assert!((20..80).contains(&times.values().filter(|times| **times == 2).count()));
    assert_eq!(world.standin.counters().batched, 100, "what is in no file was run");

    let world = twisted([Twist::Refuse { share: 0.5, status: 429 }, Twist::Garbage(3), Twist::EmptyIds(1)]);
    let batch = world.batch(&lines(40)).await;
    let refused = world.replies(&batch, "error_file_id").await;
    assert!((8..32).contains(&refused.len()), "{}", refused.len());
    assert!(refused.iter().all(|line| line["response"]["status_code"] == 429));
    let output = world.standin.file(batch["output_file_id"].as_str().unwrap()).unwrap();
    assert!(output.contains("\"custom_id\":\"\"") && output.contains("\n<html>\n"));
    assert_eq!(world.standin.counters().batched, 40 - refused.len() as u64);
}

#[tokio::test]
async fn a_batch_can_have_an_unknown_word_a_scripted_error_and_no_files() {
    let rules = [
        Twist::Word("resting".into()),
        Twist::Fail { code: "c".into(), message: "m".into() },
        Twist::LoseFiles,
    ];
    let batches = (1..).zip(rules).map(|(number, twist)| BatchRule::nth(number, twist)).collect();
    let rules = Rules { batches, ..Rules::default() };
    let world = world(Batches { running: Duration::from_hours(1), rules, ..Batches::default() });
    let first = world.begin(&lines(1)).await;
    assert_eq!(world.get(&first).await["status"], "resting");
    world.standin.hurry();
    assert_eq!(world.get(&first).await["status"], "completed");
    assert_eq!(world.batch(&lines(1)).await["errors"]["data"][0]["message"], "m");
    let third = world.batch(&lines(1)).await;
    let content = format!("files/{}/content", third["output_file_id"].as_str().unwrap());
    assert_eq!(World::told(world.request(Method::GET, &content)).await.0, 404);
}

#[tokio::test]
async fn lists_come_page_by_page() {
    let world = world(Batches::default());
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(world.batch(&lines(1)).await["id"].clone());
    }
    made.reverse();
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = world.get(&format!("batches?limit=2{after}")).await;
        seen.extend(page["data"].as_array().unwrap().iter().map(|batch| batch["id"].clone()));
        assert_eq!(page["last_id"], *seen.last().unwrap());
        after = format!("&after={}", page["last_id"].as_str().unwrap());
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(seen, made);
    let inputs = world.get("files?purpose=batch&order=asc&limit=3").await;
    assert_eq!((inputs["data"].as_array().unwrap().len(), &inputs["has_more"]), (3, &json!(true)));
    assert_eq!(world.get("files").await["data"].as_array().unwrap().len(), 10, "inputs and outputs");
    let id = inputs["first_id"].as_str().unwrap();
    assert_eq!(world.get(&format!("files/{id}")).await["filename"], "a.jsonl");
    let delete = || World::told(world.request(Method::DELETE, &format!("files/{id}")));
    assert_eq!(delete().await.1["deleted"], true);
    assert_eq!(delete().await.0, 404);
    for path in ["batches?limit=101", "batches?limit=0", "batches?after=nobody", "files?limit=x"] {
        assert_eq!(World::told(world.request(Method::GET, path)).await.0, 400, "{path}");
    }
}

#[tokio::test]
async fn what_is_no_batch_is_refused_at_once() {
    let world = world(Batches { bytes: 1000, ..Batches::default() });
    let file = world.upload("{}\n").await;
    let long = "x".repeat(513);
    for change in [
        json!({"input_file_id": "file-nobody"}),
        json!({"endpoint": "/v1/embeddings"}),
        json!({"completion_window": "1h"}),
        json!({"metadata": {"k": long}}),
        json!({"metadata": {"k": 1}}),
        json!({"metadata": (0..17).map(|n| (n.to_string(), json!(""))).collect::<serde_json::Map<_, _>>()}),
    ] {
        let mut wanted = json!({"input_file_id": file["id"], "endpoint": "/v1/chat/completions",
                                "completion_window": "24h"});
        wanted.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (status, _) = World::told(world.request(Method::POST, "batches").body(wanted.to_string())).await;
        assert_eq!(status, 400, "{wanted}");
    }
    assert_eq!(World::told(world.form(&lines(20))).await.0, 413);
    assert_eq!(World::told(world.request(Method::POST, "files").body("{}")).await.0, 400);
    assert_eq!(World::told(world.request(Method::PUT, "files")).await.0, 405);
    let plain = Standin::start(Config::default());
    let response = world.client.get(format!("{}/batches", plain.url())).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 404);
    assert_eq!((world.standin.counters().files, world.standin.counters().batches), (1, 0));
}

#[tokio::test]
async fn a_request_can_be_done_and_its_reply_lost() {
    let world = faulty(RequestRule::nth(Kind::Create, 1, Fault::Lost));
    let file = world.upload(&lines(1)).await;
    assert!(world.creation(&file).send().await.is_err());
    assert_eq!(world.standin.batches().len(), 1);
    assert_eq!(World::told(world.creation(&file)).await.0, 200);
    assert_eq!(world.standin.arrived(Kind::Create), 2);

    let world = faulty(RequestRule::first(Kind::Create, 1, Fault::LostThenDone(3_600_000)));
    let file = world.upload(&lines(1)).await;
    assert!(world.creation(&file).send().await.is_err());
    assert_eq!(world.standin.batches().len(), 0, "it is made only later");
    world.standin.hurry();
    while world.standin.batches().is_empty() {
        tokio::task::yield_now().await;
    }
}

// The client sends from another thread while this one waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_can_be_cut_and_stalled() {
    for fault in [Fault::CutAfter(10_000), Fault::StallAfter(10_000)] {
        let stalls = fault == Fault::StallAfter(10_000);
        let world = faulty(RequestRule::nth(Kind::Upload, 1, fault));
        let text = lines(20_000);
        let sending = tokio::spawn(world.form(&text).send());
        world.standin.wait_for(Kind::Upload, 1);
        if stalls {
            sending.abort();
        } else {
            assert!(sending.await.unwrap().is_err());
        }
        assert_eq!(world.standin.files().len(), 0);
        assert_eq!(world.upload(&text).await["bytes"], text.len());
    }
}

// As above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_arrived_when_it_is_done_though_no_reply_comes() {
    for (fault, made) in [(Fault::Silent, 1), (Fault::Hang, 0)] {
        let world = faulty(RequestRule::nth(Kind::Create, 1, fault));
        let file = world.upload(&lines(1)).await;
        let sending = tokio::spawn(world.creation(&file).send());
        world.standin.wait_for(Kind::Create, 1);
        assert_eq!(world.standin.batches().len(), made);
        sending.abort();
    }
}

#[tokio::test]
async fn a_script_of_bytes_leaves_batches_alone() {
    let mut world = world(Batches::default());
    let script = Script(vec![Rule::always(Action::Wire(Wire::Reset))]);
    world.standin = Standin::start(Config { script, batches: Some(Batches::default()), ..Config::default() });
    let batch = world.batch(&lines(300)).await;
    assert_eq!(batch["status"], "completed");
    assert_eq!(world.replies(&batch, "output_file_id").await.len(), 300);
}

#[tokio::test]
async fn content_can_be_cut_and_a_request_refused() {
    let cut = RequestRule::nth(Kind::Content, 1, Fault::CutBody);
    let world = faulty(cut);
    let batch = world.batch(&lines(100)).await;
    let path = format!("files/{}/content", batch["output_file_id"].as_str().unwrap());
    let content = || async { world.request(Method::GET, &path).send().await.unwrap().text().await };
    assert!(content().await.is_err());
    assert_eq!(content().await.unwrap().lines().count(), 100);

    let world = faulty(RequestRule::first(Kind::ListBatches, 2, Fault::status(503)));
    for status in [503, 503, 200] {
        assert_eq!(World::told(world.request(Method::GET, "batches")).await.0, status);
    }
}

#[test]
fn every_rule_can_be_written_in_a_file() {
    let rules: Rules = serde_json::from_str(
        r#"{"requests": [
            {"kind": "upload", "nth": {"start": 1, "end": 2}, "times": 1, "fault": {"cut_after": 1000}},
            {"kind": "list_files", "fault": {"status": {"code": 503, "body": "busy", "headers": {"retry-after": "0"}}}},
            {"kind": "create", "fault": "lost"}, {"kind": "create", "fault": {"lost_then_done": 50}},
            {"kind": "content", "fault": "stall_body"}, {"kind": "get_batch", "fault": {"late": 5}}
        ], "batches": [
            {"nth": {"start": 1, "end": 1}, "twist": {"fail": {"code": "c", "message": "m"}}},
            {"twist": {"expire_after": 0.5}}, {"twist": {"refuse": {"share": 0.1, "status": 500}}},
            {"twist": {"word": "resting"}}, {"twist": "lose_files"}
        ]}"#,
    )
    .unwrap();
    assert_eq!((rules.requests.len(), rules.batches.len()), (6, 5));
    assert!(serde_json::from_str::<Rules>(r#"{"batch": []}"#).is_err());
}
