//! Batches over a loopback server that gives one canned reply a connection, and lines as servers write them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use secrecy::SecretString;

use super::super::reply::Said;
use super::super::{Dialect, Options, ReplyForm, Request};
use super::line::read_line;
use super::*;
use crate::model::{Money, Tier};
use crate::rating::question::{Digest, Sampling};

/// A server that gives these replies, one a connection, and then tells what it was asked.
struct Canned {
    endpoint: Endpoint,
    server: JoinHandle<Vec<String>>,
}

impl Canned {
    fn new(replies: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = endpoint(&format!("http://{}/v1?team=a-secret", listener.local_addr().unwrap()));
        let server = std::thread::spawn(move || {
            let replies = replies.into_iter();
            replies
                .map(|reply| {
                    let (mut connection, _) = listener.accept().unwrap();
                    let request = request(&mut connection);
                    connection.write_all(&reply).unwrap();
                    request
                })
                .collect()
        });
        Self { endpoint, server }
    }

    fn json(replies: &[Value]) -> Self {
        Self::new(replies.iter().map(|reply| response(200, &reply.to_string())).collect())
    }

    /// The first lines of all requests, without the version.
    fn asked(self) -> Vec<String> {
        let requests = self.server.join().unwrap();
        requests.iter().map(|request| request.split(" HTTP").next().unwrap().to_owned()).collect()
    }
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::new(Options {
        base_url: url.into(),
        api_version: None,
        hosted: false,
        key: Some(SecretString::from("sk-the-key")),
        account: Vec::new(),
        model: "tiny".into(),
        answers: "tiny".into(),
        timeout: Duration::from_mins(1),
        max_generation_tokens: 256,
        sampling: Sampling::default(),
        reply: ReplyForm::Auto,
        tier: None,
        price: None,
    })
    .unwrap()
}

/// A whole request, its body included.
fn request(connection: &mut TcpStream) -> String {
    let mut request = String::new();
    let mut part = [0; 8192];
    loop {
        let read = connection.read(&mut part).unwrap();
        request.push_str(std::str::from_utf8(&part[..read]).unwrap());
        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return request;
        }
    }
}

fn response(status: u16, body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    (head + body).into_bytes()
}

fn batch(id: &str, created_at: i64) -> Value {
    json!({"id": id, "object": "batch", "status": "in_progress", "created_at": created_at})
}

#[tokio::test]
async fn a_file_goes_up_and_a_batch_is_made_of_it_under_our_name() {
    let made = json!({
        "id": "batch_1", "status": "validating", "input_file_id": "file-1", "created_at": 1_700_000_000,
        "expires_at": 1_700_086_400, "metadata": {"classified": "00ff"}, "errors": null, "request_counts": null,
    });
    let canned =
        Canned::json(&[json!({"id": "file-1", "bytes": 3}), json!({"id": "file-2"}), made.clone(), made]);
    let file = || {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"{}\n").unwrap();
        file
    };
    let uploaded = canned.endpoint.upload("classified-00ff.jsonl", file()).await.unwrap();
    assert_eq!(uploaded, RemoteFile { id: "file-1".into(), bytes: 3 });
    // A server that does not tell the size has taken what it was given.
    assert_eq!(canned.endpoint.upload("x.jsonl", file()).await.unwrap().bytes, 3);
    let batch = canned.endpoint.create_batch("file-1", "00ff", "depth").await.unwrap();
    assert_eq!((batch.status, batch.intent.as_deref()), (Status::Validating, Some("00ff")));
    assert_eq!((batch.created_at, batch.expires_at), (1_700_000_000, Some(1_700_086_400)));
    canned.endpoint.cancel_batch("batch_1").await.unwrap();

    let requests = canned.server.join().unwrap();
    assert!(requests[0].contains("filename=\"classified-00ff.jsonl\"") && requests[0].contains("{}\n"));
    assert!(requests[0].contains("authorization: Bearer sk-the-key"), "{}", requests[0]);
    let (_, body) = requests[2].split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&body["input_file_id"], &body["endpoint"], &body["completion_window"]),
        (&json!("file-1"), &json!("/v1/chat/completions"), &json!("24h"))
    );
    assert_eq!(
        body["metadata"],
        json!({"classified": "00ff", "program": env!("CARGO_PKG_VERSION"), "lens": "depth"})
    );
    assert!(requests[3].starts_with("POST /v1/batches/batch_1/cancel?team=a-secret HTTP"), "{}", requests[3]);
}

#[tokio::test]
async fn batches_are_listed_until_they_are_older_than_asked_for() {
    let canned = Canned::json(&[
        json!({"data": [batch("b5", 50), batch("b4", 40)], "has_more": true}),
        json!({"data": [batch("b3", 30), batch("b2", 20)], "has_more": true}),
    ]);
    let found = canned.endpoint.batches(30).await.unwrap();
    let ids: Vec<&str> = found.iter().map(|batch| batch.id.as_str()).collect();
    assert_eq!(ids, ["b5", "b4", "b3"]);
    assert_eq!(
        canned.asked(),
        ["GET /v1/batches?limit=100&team=a-secret", "GET /v1/batches?limit=100&after=b4&team=a-secret"]
    );
}

#[tokio::test]
async fn a_list_in_another_order_is_read_to_its_end() {
    let canned = Canned::json(&[
        json!({"data": [batch("b1", 10), batch("b2", 20)], "has_more": true}),
        json!({"data": [batch("b3", 30), {"id": "b4", "created_at": "today"}], "has_more": false}),
    ]);
    let found = canned.endpoint.batches(30).await.unwrap();
    let ids: Vec<&str> = found.iter().map(|batch| batch.id.as_str()).collect();
    assert_eq!(ids, ["b3", "b4"], "a batch whose time is not known may be a new one");
}

#[tokio::test]
async fn a_list_without_an_end_is_an_error_since_what_is_not_on_it_may_be_there() {
    let page = json!({"data": [batch("b1", 50)], "has_more": true});
    let canned = Canned::json(&[page.clone(), page]);
    let trouble = canned.endpoint.batches(0).await.unwrap_err();
    assert!(matches!(&trouble, Trouble::Garbled(words) if words.contains("does not end")), "{trouble}");
    let ours = json!({"data": [{"metadata": {"classified": "00ff"}}, {"object": "batch"}]});
    let canned = Canned::json(&[ours, json!({"data": [{"object": "batch"}]})]);
    assert!(matches!(canned.endpoint.batches(0).await, Err(Trouble::Garbled(_))), "one of ours has no id");
    assert_eq!(canned.endpoint.batches(0).await.unwrap(), []);
}

#[tokio::test]
async fn a_file_is_found_by_its_name_whatever_others_there_are() {
    let file = |id: &str, name: &str, status: &str| json!({"id": id, "filename": name, "bytes": 7, "status": status});
    let canned = Canned::json(&[
        json!({"data": [file("f3", "other.jsonl", "processed"), file("f2", "ours.jsonl", "error")], "has_more": true}),
        json!({"data": [file("f1", "ours.jsonl", "processed"), file("f0", "ours.jsonl", "processed")], "has_more": true}),
        json!({"data": [], "has_more": true}),
    ]);
    let found = canned.endpoint.uploaded("ours.jsonl").await.unwrap();
    assert_eq!(found, Some(RemoteFile { id: "f1".into(), bytes: 7 }));
    assert_eq!(canned.endpoint.uploaded("ours.jsonl").await.unwrap(), None);
    assert_eq!(canned.asked()[1], "GET /v1/files?purpose=batch&order=desc&limit=1000&after=f2&team=a-secret");
}

#[tokio::test]
async fn an_id_that_leads_elsewhere_is_never_asked_for() {
    let endpoint = endpoint("http://127.0.0.1:1/v1");
    let long = "x".repeat(1_025);
    for id in ["", ".", "..", &long] {
        for trouble in [
            endpoint.batch(id).await.unwrap_err(),
            endpoint.cancel_batch(id).await.unwrap_err(),
            endpoint.content(id).await.unwrap_err(),
        ] {
            let Trouble::Garbled(words) = trouble else { panic!("{id}: {trouble}") };
            assert!(words.len() < 400, "{words}");
        }
    }
    let odd = ["../models", "a/b?c=d#e", "a b\t.\u{1b}", "a%2f", "%2e%2e", "ä&after=x+1", "ok_1.2:3-~"];
    let pages = odd.map(|id| json!({"data": [{"id": id, "created_at": 50}], "has_more": true}));
    let end = json!({"data": [], "has_more": false});
    let batches = odd.map(|id| batch(id, 1));
    let canned = Canned::json(&[&batches[..], &pages[..], &[end]].concat());
    for id in odd {
        canned.endpoint.batch(id).await.unwrap();
    }
    canned.endpoint.batches(0).await.unwrap();
    let escaped = [
        "..%2Fmodels",
        "a%2Fb%3Fc%3Dd%23e",
        "a%20b%09.%1B",
        "a%252f",
        "%252e%252e",
        "%C3%A4%26after%3Dx%2B1",
        "ok_1.2:3-~",
    ];
    let asked = canned.asked();
    for (n, id) in escaped.iter().enumerate() {
        assert_eq!(asked[n], format!("GET /v1/batches/{id}?team=a-secret"));
        assert_eq!(asked[odd.len() + 1 + n], format!("GET /v1/batches?limit=100&after={id}&team=a-secret"));
    }
}

#[tokio::test]
async fn a_batch_is_read_whatever_is_missing() {
    let odd = json!({
        "id": "b", "status": "paused by an operator", "error_file_id": "", "output_file_id": "file-2", "errors": [
            {"code": "invalid_json_line", "message": "not JSON sk-the-key", "line": 3}, "words", null,
        ],
        "request_counts": {"total": 5, "completed": null}, "created_at": "1700000000", "expires_at": 1.5,
    });
    let canned = Canned::json(&[odd, json!({"id": "b"}), json!({"status": "failed"}), json!([])]);
    let read = canned.endpoint.batch("b").await.unwrap();
    assert_eq!(read.status, Status::Other("paused by an operator".into()));
    assert!(!read.status.has_ended());
    assert_eq!((read.output_file.as_deref(), read.error_file), (Some("file-2"), None));
    assert_eq!((read.counts, read.created_at), (Counts { total: 5, ..Counts::default() }, 1_700_000_000));
    let errors: Vec<String> = read.errors.iter().map(ServerError::to_string).collect();
    assert_eq!(errors[..2], ["not JSON (the key) (line 3)", "words"]);
    let read = canned.endpoint.batch("b").await.unwrap();
    assert_eq!((read.status, read.errors.len(), read.intent), (Status::Other(String::new()), 0, None));
    for _ in 0..2 {
        assert!(matches!(canned.endpoint.batch("b").await, Err(Trouble::Garbled(_))));
    }
}

#[tokio::test]
async fn a_refusal_has_its_status_and_not_the_key() {
    let body = r#"{"error": {"message": "no sk-the-key here", "code": "x"}}"#;
    let canned = Canned::new(vec![response(404, body), response(404, body), response(200, "<html>")]);
    for trouble in
        [canned.endpoint.batch("b").await.unwrap_err(), canned.endpoint.content("f").await.unwrap_err()]
    {
        let Trouble::Refused(refusal) = trouble else { panic!("{trouble}") };
        assert_eq!((refusal.status, refusal.error.message.as_str()), (404, "no (the key) here"));
    }
    assert!(matches!(canned.endpoint.batch("b").await, Err(Trouble::Garbled(_))));
}

#[tokio::test]
async fn an_endpoint_without_batches_is_told_with_what_to_do() {
    let refuses = |status| response(status, r#"{"error": {"message": "it says"}}"#);
    let canned = Canned::new(vec![
        response(200, r#"{"object": "list", "data": []}"#),
        refuses(404),
        refuses(405),
        refuses(501),
        refuses(400),
        response(200, "<html>"),
        response(200, "{}"),
        refuses(401),
        refuses(403),
        refuses(503),
    ]);
    canned.endpoint.check_batches().await.unwrap();
    for _ in 0..6 {
        let error = canned.endpoint.check_batches().await.unwrap_err();
        let words = error.to_string();
        assert!(matches!(error, Error::Usage(_)), "{words}");
        assert!(words.contains("has no batches (") && words.contains("classified batch write"), "{words}");
    }
    for said in ["refused the key (HTTP 401)", "may use files and batches: it says", "try again later"] {
        let error = canned.endpoint.check_batches().await.unwrap_err();
        let words = error.to_string();
        assert!(matches!(error, Error::Refused(_)) && words.contains(said), "{words}");
    }
    let azure = endpoint("http://127.0.0.1:1/openai/deployments/luna").check_batches().await.unwrap_err();
    assert!(matches!(&azure, Error::Usage(words) if words.contains("/openai/v1")), "{azure}");
    let nobody = endpoint("http://127.0.0.1:1/v1").check_batches().await.unwrap_err();
    assert!(matches!(&nobody, Error::Refused(words) if words.contains("cannot be reached")), "{nobody}");
}

async fn lines(reply: Vec<u8>) -> (Vec<Bytes>, Option<Trouble>) {
    let mut lines = Canned::new(vec![reply]).endpoint.content("file-1").await.unwrap();
    let mut read = Vec::new();
    loop {
        match lines.next().await {
            Ok(Some(line)) => read.push(line),
            Ok(None) => return (read, None),
            Err(trouble) => return (read, Some(trouble)),
        }
    }
}

#[tokio::test]
async fn lines_of_a_file_come_one_by_one_however_they_end() {
    let long = "x".repeat(300_000);
    let (read, trouble) = lines(response(200, &format!("one\r\n\n \r\n{long}\nlast"))).await;
    assert!(trouble.is_none());
    assert!(read == ["one", "", "", long.as_str(), "last"], "{} lines", read.len());
    assert_eq!(lines(response(200, "")).await.0.len(), 0);
}

#[tokio::test]
async fn a_file_that_ends_too_early_is_an_error_and_not_an_end() {
    let mut cut = response(200, "one\ntwo\nthree\n");
    cut.truncate(cut.len() - 8);
    let (read, trouble) = lines(cut).await;
    assert_eq!(read, ["one"]);
    assert!(matches!(trouble, Some(Trouble::Transport(http::Error::Broken(_)))), "{trouble:?}");
}

#[tokio::test]
async fn a_line_without_an_end_is_not_read_for_ever() {
    let head = format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n", 17 << 20);
    let endless = [head.into_bytes(), vec![b'x'; (16 << 20) + 4096]].concat();
    let (read, trouble) = lines(endless).await;
    assert_eq!(read.len(), 0);
    let words = trouble.unwrap().to_string();
    assert!(words.contains("longer than 16 MiB"), "{words}");
}

#[test]
fn a_request_is_one_line_with_its_digest() {
    let body = Bytes::from_static(br#"{"model":"m","messages":[{"content":"a\nb"}]}"#);
    let request = Request { body, room: 1, answer_at_most: Some(1), dialect: Dialect::default() };
    let line = String::from_utf8(line(&request, Digest([0xab; 32]))).unwrap();
    assert_eq!(line.matches('\n').count(), 1);
    let value: Value = serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap();
    assert_eq!(value["custom_id"], "ab".repeat(32));
    assert_eq!((&value["method"], &value["url"]), (&json!("POST"), &json!("/v1/chat/completions")));
    assert_eq!(value["body"]["messages"][0]["content"], "a\nb");
}

fn billing() -> Billing {
    Billing { price: Some("1,2".parse().unwrap()), tier: Tier::Batch }
}

/// What is made of a line, in short.
fn read(line: &Value) -> String {
    match read_line(line.to_string().as_bytes(), &billing()) {
        Err(wrong) => format!("wrong: {wrong}"),
        Ok(Line { result: LineResult::NotRun(error), .. }) => format!("not run: {error}"),
        Ok(Line { result: LineResult::Ran(result), .. }) => match *result {
            Ok(reply) => format!("{:?}, {:?}", reply.said, reply.usage.and_then(|usage| usage.cost)),
            Err(trouble) => trouble.to_string(),
        },
    }
}

fn completion() -> Value {
    json!({
        "model": "tiny", "service_tier": "default", "usage": {"prompt_tokens": 1000, "completion_tokens": 500},
        "choices": [{"message": {"content": "{\"overall\": 2}"}, "finish_reason": "stop"}],
    })
}

#[test]
fn a_reply_is_found_wherever_servers_put_it_and_costs_half() {
    // 1,000 × $1 + 500 × $2 per million, halved, whatever tier the reply names.
    let whole = format!(
        "{:?}, {:?}",
        Said::Arguments(vec![json!({"overall": 2})]),
        Some(Money::from_pico(1_000_000_000))
    );
    for response in [
        json!({"status_code": 200, "request_id": "r", "body": completion()}),
        json!({"status_code": 200, "body": completion().to_string()}),
        json!({"status_code": "200", "body": completion()}),
        json!({"status_code": 0, "body": completion()}),
        json!({"body": completion()}),
        completion(),
    ] {
        assert_eq!(read(&json!({"id": "x", "custom_id": "a", "response": response, "error": null})), whole);
    }
    let marked = format!("\u{feff}{}\r", json!({"custom_id": "a", "response": {"body": completion()}}));
    assert_eq!(read_line(marked.as_bytes(), &billing()).unwrap().custom_id, "a");
}

#[test]
fn what_is_no_reply_is_told_apart() {
    let line = |response: Value, error: Value| {
        read(&json!({"custom_id": "a", "response": response, "error": error}))
    };
    let says = json!({"error": {"message": "slow down", "code": "rate_limit_exceeded"}});
    assert_eq!(line(json!({"status_code": 429, "body": says}), Value::Null), "HTTP 429: slow down");
    assert_eq!(
        line(json!({"status_code": 400, "body": "plain words"}), Value::Null),
        "HTTP 400: plain words"
    );
    // vLLM puts the error beside a response without a body.
    assert_eq!(line(json!({"status_code": 400, "request_id": "r"}), says), "HTTP 400: slow down");
    let vllm = json!({"object": "error", "message": "too long", "code": 400});
    assert_eq!(line(json!({"request_id": "r"}), vllm), "HTTP 400: too long");
    for (code, what) in [("batch_expired", "not run: m"), ("batch_cancelled", "not run: m")] {
        assert_eq!(line(Value::Null, json!({"code": code, "message": "m"})), what);
    }
    assert_eq!(line(Value::Null, json!({"code": "request_timeout", "message": "m"})), "HTTP 500: m");
    assert_eq!(line(Value::Null, json!({"code": 503, "message": "m"})), "HTTP 503: m");
    assert_eq!(line(Value::Null, json!("words")), "HTTP 500: words");
    assert_eq!(
        line(json!({"status_code": 0}), Value::Null),
        "HTTP 500: the line has a response without a body"
    );
    assert_eq!(line(json!({"status_code": 500}), Value::Null), "HTTP 500: the server says nothing of it");
    assert_eq!(line(json!("words"), Value::Null), "HTTP 500: the line has a response without a body");
    let no_choices = line(json!({"status_code": 200, "body": {"id": "x"}}), Value::Null);
    assert!(no_choices.contains("no choices"), "{no_choices}");
    let odd = line(json!({"status_code": 200, "body": {"choices": "the reply's text"}}), Value::Null);
    assert!(odd.contains("not a chat completion") && !odd.contains("the reply's text"), "{odd}");
}

#[test]
fn a_line_of_an_error_has_not_the_key_and_few_words() {
    let endpoint = endpoint("http://127.0.0.1:1/v1");
    // A cut before the key is out would leave its head.
    let words = format!("{}no sk-the-key here{}", "x".repeat(293), "x".repeat(1_000));
    let error = json!({"message": words, "code": "of sk-the-key", "param": "sk-the-key"});
    for line in [
        json!({"custom_id": "a", "response": {"status_code": 400, "body": {"error": error}}}),
        json!({"custom_id": "a", "response": {"status_code": 400, "body": words}}),
        json!({"custom_id": "a", "response": {"status_code": 400, "body": [words]}}),
        json!({"custom_id": "a", "response": {"status_code": 200, "body": {"error": error}}}),
        json!({"custom_id": "a", "error": error}),
        json!({"custom_id": "a", "error": {"message": words, "code": "batch_expired"}}),
    ] {
        let error = match endpoint.read_line(line.to_string().as_bytes(), &billing()).unwrap().result {
            LineResult::NotRun(error) => error,
            LineResult::Ran(result) => {
                let Err(Trouble::Refused(refusal)) = *result else { panic!("{line}") };
                refusal.error
            }
        };
        let said = format!("{error:?}");
        assert!(!said.contains("sk-") && said.contains("(t"), "{said}");
        assert!(error.message.chars().count() <= 300, "{said}");
    }
}

#[test]
fn a_line_that_is_none_is_told_without_a_word_of_it() {
    let sent = json!({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}});
    for (line, wrong) in [
        (sent, "a request, not a reply: the file is one that was sent"),
        (json!({"response": {"body": {}}}), "no custom_id"),
        (json!({"custom_id": 7, "error": {}}), "no custom_id"),
        (json!({"custom_id": "a"}), "neither a response nor an error"),
        (json!(["secret"]), "not a JSON object"),
    ] {
        assert_eq!(read(&line), format!("wrong: {wrong}"));
    }
    for bytes in [&b"{\"custom_id\": \"secret"[..], b"\xff\xfe", b"", &[b'['; 10_000]] {
        let wrong = read_line(bytes, &billing()).unwrap_err();
        assert!(wrong.starts_with("not JSON: ") && !wrong.contains("secret"), "{wrong}");
    }
}

#[test]
fn the_limit_of_enqueued_tokens_is_read_from_the_servers_words() {
    let error = |message: &str, kind: &str| {
        [ServerError { message: message.into(), kind: kind.into(), ..ServerError::default() }]
    };
    let words = "Enqueued token limit reached for gpt-6-luna in organization org-x. Limit: 2,000,000 enqueued tokens. Please try \
                 again once some in_progress batches have been completed.";
    let limit = |tokens| Some(TokenLimit { tokens });
    assert_eq!(token_limit(&error(words, "token_limit_exceeded")), limit(Some(2_000_000)));
    assert_eq!(token_limit(&error(words, "")), limit(Some(2_000_000)));
    assert_eq!(token_limit(&error("too much", "token_limit_exceeded")), limit(None));
    assert_eq!(token_limit(&error("Limit: many", "token_limit_exceeded")), limit(None));
    assert_eq!(token_limit(&error("Limit: 5000", "invalid_json_line")), None);
    let read = |number: &str| {
        token_limit(&error(&format!("Limit: {number}"), "token_limit_exceeded")).unwrap().tokens
    };
    for number in [
        "2000000",
        "2,000,000.",
        "2.000.000",
        "2_000_000 tokens",
        "2 000 000 enqueued",
        "2\u{2009}000\u{2009}000",
        "2\u{a0}000\u{a0}000, 3 of them",
        "2000000 500 used",
        "2,000,000 500 used",
        "2\u{202f}000\u{202f}000",
    ] {
        assert_eq!(read(number), Some(2_000_000), "{number}");
    }
    for number in ["0", "5", "999", "2.5 million", "90k", "", "-2,000,000", "99999999999999999999999"] {
        assert_eq!(read(number), None, "{number}");
    }
    assert_eq!(token_limit(&[]), None);
}

#[test]
fn every_status_has_a_word_and_every_word_a_status() {
    for word in ["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling"] {
        assert_eq!(Status::named(word).as_str(), word);
        assert!(!matches!(Status::named(word), Status::Other(_)));
    }
    assert_eq!(Status::named("canceled"), Status::Cancelled);
    assert_eq!(Status::named("new").as_str(), "new");
}

proptest! {
    #[test]
    fn reading_a_line_never_panics(
        id in ".*", status in any::<u64>(), code in "batch_expired|[a-z]*", body in "\\{\"choices\": [^x]*\\}|.*",
    ) {
        let line = json!({"custom_id": id, "response": {"status_code": status, "body": body}, "error": {"code": code}});
        let _ = read_line(line.to_string().as_bytes(), &billing());
        let _ = read_line(body.as_bytes(), &billing());
        let _ = RemoteBatch::read(&json!({"id": id, "errors": {"data": body}, "created_at": status}));
    }
}
