//! The endpoint's side of batches, request by request.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

use classified::endpoint::batches::{Billing, LineResult, RemoteBatch, Status, line};
use classified::endpoint::{
    Dialect, Endpoint, Error, Form, Judged, Message, Options, ReplyForm, Request, Trouble,
};
use classified::http;
use classified::lens::{self, Lens};
use classified::model::{Price, Tier};
use classified::rating::question::{Digest, Sampling};
use serde_json::json;

use super::rules;
use crate::standin::{Batches, Config, Fault, Kind, RequestRule, Standin};

const QUESTIONS: usize = 300;

fn price() -> Price {
    "10,40".parse().unwrap()
}

fn endpoint(url: &str, timeout: Duration) -> Endpoint {
    Endpoint::new(Options {
        base_url: url.to_owned(),
        api_version: None,
        hosted: false,
        key: None,
        account: Vec::new(),
        model: "standin-large".to_owned(),
        answers: "standin-large".to_owned(),
        timeout,
        max_generation_tokens: 256,
        sampling: Sampling::default(),
        reply: ReplyForm::Auto,
        tier: None,
        price: Some(price()),
    })
    .unwrap()
}

fn start(requests: Vec<RequestRule>) -> (Standin, Endpoint) {
    let standin = Standin::start(Config { batches: Some(rules(requests, vec![])), ..Config::default() });
    let endpoint = endpoint(&standin.url(), Duration::from_mins(1));
    (standin, endpoint)
}

fn lens() -> Lens {
    lens::open("textbook_quality", &[]).unwrap()
}

/// The request that asks about the n-th text.
fn request(lens: &Lens, endpoint: &Endpoint, n: usize) -> Request {
    let form = Form::new(&lens.function, lens.system(), &endpoint.options).unwrap();
    let content = format!("Text {n}");
    form.request(&[Message { role: "user", content: &content }], 1, Dialect::default()).unwrap()
}

fn digest(n: usize) -> Digest {
    Digest::of(&json!(n))
}

/// A file of questions.
fn questions(endpoint: &Endpoint) -> File {
    let (lens, mut file) = (lens(), tempfile::tempfile().unwrap());
    for n in 0..QUESTIONS {
        file.write_all(&line(&request(&lens, endpoint, n), digest(n))).unwrap();
    }
    file
}

/// Looks until a batch has ended.
async fn ended(endpoint: &Endpoint, id: &str) -> RemoteBatch {
    loop {
        let batch = endpoint.batch(id).await.unwrap();
        if batch.status.has_ended() {
            return batch;
        }
    }
}

#[tokio::test]
async fn what_goes_up_comes_down_as_answers_at_half_the_price() {
    let (_standin, endpoint) = start(vec![]);
    endpoint.check_batches().await.unwrap();
    let file = questions(&endpoint);
    let bytes = file.metadata().unwrap().len();
    let uploaded = endpoint.upload("classified-00ff.jsonl", file).await.unwrap();
    assert_eq!(uploaded.bytes, bytes);
    assert_eq!(endpoint.uploaded("classified-00ff.jsonl").await.unwrap().as_ref(), Some(&uploaded));
    assert_eq!(endpoint.uploaded("classified-00fe.jsonl").await.unwrap(), None);

    let made = endpoint.create_batch(&uploaded.id, "00ff", "textbook_quality").await.unwrap();
    assert_eq!((made.intent.as_deref(), made.input_file.as_deref()), (Some("00ff"), Some(&*uploaded.id)));
    let listed = endpoint.batches(made.created_at - 60).await.unwrap();
    assert_eq!(listed.iter().map(|batch| &batch.id).collect::<Vec<_>>(), [&made.id]);
    assert_eq!(endpoint.batches(made.created_at + 60).await.unwrap(), []);

    let batch = ended(&endpoint, &made.id).await;
    let counts = (batch.counts.total, batch.counts.completed, batch.counts.failed);
    assert_eq!((batch.status, counts), (Status::Completed, (QUESTIONS as u64, QUESTIONS as u64, 0)));
    let mut lines = endpoint.content(&batch.output_file.unwrap()).await.unwrap();
    let (lens, billing) = (lens(), Billing { price: Some(price()), tier: Tier::Batch });
    let mut costs = HashMap::new();
    while let Some(line) = lines.next().await.unwrap() {
        let line = endpoint.read_line(&line, &billing).unwrap();
        let LineResult::Ran(result) = line.result else { panic!("{line:?}") };
        let reply = result.unwrap();
        assert!(matches!(reply.said.judged(&lens), Judged::Scored(_)), "{}", line.custom_id);
        costs.insert(line.custom_id, reply.usage.unwrap().cost.unwrap());
    }
    assert_eq!(costs.len(), QUESTIONS);
    for n in [0, QUESTIONS - 1] {
        let request = request(&lens, &endpoint, n);
        let live = endpoint.attempt(&request).await.result.unwrap().usage.unwrap().cost.unwrap();
        let batched = costs[&digest(n).to_string()];
        assert_eq!(live, batched * 2);
        assert!(batched <= endpoint.batch_bound(&request).unwrap());
        assert!(endpoint.batch_bound(&request).unwrap() * 2 <= endpoint.bound(&request).unwrap());
    }
}

#[tokio::test]
async fn an_upload_that_is_cut_leaves_no_file_and_one_whose_reply_is_lost_leaves_one() {
    let (_standin, endpoint) = start(vec![
        RequestRule::nth(Kind::Upload, 1, Fault::CutAfter(50_000)),
        RequestRule::nth(Kind::Upload, 2, Fault::Lost),
    ]);
    let file = questions(&endpoint);
    let bytes = file.metadata().unwrap().len();
    let sent = endpoint.upload("a.jsonl", file.try_clone().unwrap()).await;
    assert!(matches!(sent, Err(Trouble::Transport(http::Error::Broken(_)))), "{sent:?}");
    assert_eq!(endpoint.uploaded("a.jsonl").await.unwrap(), None);
    // The file is read from its beginning again.
    let sent = endpoint.upload("a.jsonl", file).await;
    assert!(matches!(sent, Err(Trouble::Transport(http::Error::Broken(_)))), "{sent:?}");
    assert_eq!(endpoint.uploaded("a.jsonl").await.unwrap().unwrap().bytes, bytes);
}

#[tokio::test]
async fn an_upload_that_comes_to_a_halt_is_given_up() {
    let batches = rules(vec![RequestRule::nth(Kind::Upload, 1, Fault::StallAfter(1_000))], vec![]);
    let standin = Standin::start(Config { batches: Some(batches), ..Config::default() });
    let endpoint = endpoint(&standin.url(), Duration::from_secs(1));
    let mut file = tempfile::tempfile().unwrap();
    // More than the buffers of the system hold.
    file.set_len(64 << 20).unwrap();
    file.flush().unwrap();
    let sent = endpoint.upload("a.jsonl", file).await;
    assert!(matches!(sent, Err(Trouble::Transport(http::Error::Timeout(_)))), "{sent:?}");
}

#[tokio::test]
async fn a_batch_whose_reply_is_lost_is_found_by_its_name() {
    let (_standin, endpoint) = start(vec![RequestRule::nth(Kind::Create, 1, Fault::Lost)]);
    let file = endpoint.upload("a.jsonl", questions(&endpoint)).await.unwrap();
    let lost = endpoint.create_batch(&file.id, "00ff", "textbook_quality").await;
    assert!(matches!(lost, Err(Trouble::Transport(_))), "{lost:?}");
    let listed = endpoint.batches(1).await.unwrap();
    assert_eq!(listed.iter().filter(|batch| batch.intent.as_deref() == Some("00ff")).count(), 1);
}

#[tokio::test]
async fn a_download_that_is_cut_is_an_error_and_comes_whole_the_next_time() {
    let (_standin, endpoint) = start(vec![RequestRule::nth(Kind::Content, 1, Fault::CutBody)]);
    let file = endpoint.upload("a.jsonl", questions(&endpoint)).await.unwrap();
    let mut counts = Vec::new();
    for _ in 0..2 {
        let mut lines = endpoint.content(&file.id).await.unwrap();
        let mut count = 0;
        let result = loop {
            match lines.next().await {
                Ok(Some(_)) => count += 1,
                Ok(None) => break Ok(count),
                Err(trouble) => break Err(trouble),
            }
        };
        counts.push(result);
    }
    assert!(matches!(counts[0], Err(Trouble::Transport(http::Error::Broken(_)))), "{counts:?}");
    assert!(matches!(counts[1], Ok(QUESTIONS)), "{counts:?}");
}

#[tokio::test]
async fn a_cancelled_batch_is_told_and_one_that_has_ended_is_refused() {
    let slow = Batches { running: Duration::from_hours(1), ..Batches::default() };
    let standin = Standin::start(Config { batches: Some(slow), ..Config::default() });
    let endpoint = endpoint(&standin.url(), Duration::from_mins(1));
    let file = endpoint.upload("a.jsonl", questions(&endpoint)).await.unwrap();
    let made = endpoint.create_batch(&file.id, "00ff", "textbook_quality").await.unwrap();
    let cancelled = endpoint.cancel_batch(&made.id).await.unwrap();
    assert!(matches!(cancelled.status, Status::Cancelling | Status::Cancelled), "{cancelled:?}");
    assert_eq!(ended(&endpoint, &made.id).await.status, Status::Cancelled);
    let again = endpoint.cancel_batch(&made.id).await;
    assert!(
        matches!(&again, Err(Trouble::Refused(refusal)) if matches!(refusal.status, 400 | 409)),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_server_without_batches_is_known_before_anything_is_uploaded() {
    let standin = Standin::start(Config::default());
    for url in [standin.url(), standin.azure_url("luna")] {
        let error = endpoint(&url, Duration::from_mins(1)).check_batches().await.unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{url}: {error}");
    }
    assert_eq!(standin.counters().files, 0);
}
