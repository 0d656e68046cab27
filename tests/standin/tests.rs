//! The stand-in as a client sees it.

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use super::*;

fn client() -> Client {
    // Only the first of the tests in one process can install it, and all install the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

fn scripted(rules: Vec<Rule>) -> Standin {
    Standin::start(Config { script: Script(rules), ..Config::default() })
}

fn parameters() -> Value {
    json!({"type": "object", "required": ["rationale", "overall"], "properties": {
        "rationale": {"type": "string"}, "overall": {"type": "number", "enum": [1, 1.5, 2, 2.5, 3]}
    }})
}

fn question(text: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}], "tool_choice": "required",
           "tools": [{"type": "function", "function": {"name": "rate", "parameters": parameters()}}]})
}

fn post(standin: &Standin, body: &Value) -> RequestBuilder {
    client().post(format!("{}/chat/completions", standin.url())).body(body.to_string())
}

async fn send(standin: &Standin, body: &Value) -> Response {
    post(standin, body).send().await.unwrap()
}

/// Status and body of a question.
async fn ask(standin: &Standin, text: &str) -> (u16, Value) {
    let response = send(standin, &question(text)).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

fn arguments(completion: &Value) -> &str {
    completion["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap()
}

/// The first choice of the reply to a question, under a script of this one action.
async fn choice(action: Action) -> Value {
    let (status, mut body) = ask(&scripted(vec![Rule::always(action)]), "text").await;
    assert_eq!(status, 200);
    body["choices"][0].take()
}

#[tokio::test]
async fn an_answer_is_a_tool_call_that_fits_the_schema() {
    let standin = Standin::start(Config::default());
    let (status, body) = ask(&standin, "text").await;
    assert_eq!(status, 200);
    let call = &body["choices"][0]["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("rate")));
    assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!((&body["model"], &body["object"]), (&json!("m"), &json!("chat.completion")));
    let answer: Value = serde_json::from_str(arguments(&body)).unwrap();
    assert!(jsonschema::is_valid(&parameters(), &answer), "{answer}");
    let prompt = question("text").to_string().len().div_ceil(4);
    let completion = arguments(&body).len().div_ceil(4);
    assert_eq!(
        body["usage"],
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
    );
}

#[tokio::test]
async fn the_same_question_gets_the_same_answer_and_another_gets_another() {
    let standin = Standin::start(Config::default());
    let first = ask(&standin, "one").await.1;
    let mut warmer = question("one");
    warmer["temperature"] = json!(1);
    let again: Value = send(&standin, &warmer).await.json().await.unwrap();
    let other = ask(&standin, "two").await.1;
    assert_eq!(arguments(&first), arguments(&again));
    assert_ne!(arguments(&first), arguments(&other));
    assert_ne!(first["id"], again["id"]);
    let counters = standin.counters();
    assert_eq!((counters.requests, counters.distinct_bodies, counters.repeats), (3, 3, 1));
}

#[tokio::test]
async fn a_json_schema_is_answered_in_the_content() {
    let standin = Standin::start(Config::default());
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "text"}], "response_format":
        {"type": "json_schema", "json_schema": {"name": "rate", "schema": parameters()}}});
    let completion: Value = send(&standin, &body).await.json().await.unwrap();
    let message = &completion["choices"][0]["message"];
    assert!(jsonschema::is_valid(
        &parameters(),
        &serde_json::from_str(message["content"].as_str().unwrap()).unwrap()
    ));
    assert_eq!(message.get("tool_calls"), None);
    let tool_call = ask(&standin, "text").await.1;
    assert_eq!(message["content"], arguments(&tool_call), "the form leaves the scores alone");
}

#[tokio::test]
async fn too_little_room_cuts_the_answer() {
    let standin = Standin::start(Config::default());
    let mut body = question("text");
    body["max_completion_tokens"] = json!(3);
    let completion: Value = send(&standin, &body).await.json().await.unwrap();
    assert_eq!(completion["choices"][0]["finish_reason"], "length");
    assert_eq!(arguments(&completion).len(), 12);
    assert_eq!(completion["usage"]["completion_tokens"], 3);
    body["max_completion_tokens"] = json!(300);
    send(&standin, &body).await;
    assert_eq!(standin.counters().repeats, 0, "a cut reply was no answer");
}

#[tokio::test]
async fn a_scripted_status_comes_with_its_headers_and_passes() {
    let standin = scripted(vec![Rule::first(2, Action::retry_after(429, 3))]);
    for _ in 0..2 {
        let response = send(&standin, &question("text")).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (429, &"3".parse().unwrap())
        );
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "rate_limit_exceeded");
    }
    assert_eq!(ask(&standin, "text").await.0, 200);
    let counters = standin.counters();
    assert_eq!(counters.by_status, [(200, 1), (429, 2)].into());
    assert_eq!(counters.repeats, 0);
}

#[tokio::test]
async fn an_error_body_can_be_json_or_plain_text() {
    let text = Action::Status { code: 503, body: Some(json!("busy")), headers: [].into() };
    let standin =
        scripted(vec![Rule::first(1, text), Rule::always(Action::error(429, "insufficient_quota"))]);
    let response = send(&standin, &question("text")).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.text().await.unwrap(), "busy");
    let (status, body) = ask(&standin, "text").await;
    assert_eq!((status, &body["error"]["code"]), (429, &json!("insufficient_quota")));
}

#[tokio::test]
async fn every_odd_answer_has_its_form() {
    assert_eq!(
        choice(Action::Arguments("{\"overall\": 9".to_owned())).await["message"]["tool_calls"][0]["function"]
            ["arguments"],
        "{\"overall\": 9"
    );
    let said = choice(Action::Content("```json\n{}\n```".to_owned())).await;
    assert_eq!(
        (&said["message"]["content"], &said["finish_reason"]),
        (&json!("```json\n{}\n```"), &json!("stop"))
    );
    let old = choice(Action::FunctionCall).await;
    assert_eq!(
        (&old["message"]["function_call"]["name"], &old["finish_reason"]),
        (&json!("rate"), &json!("function_call"))
    );
    let empty = choice(Action::EmptyToolCalls).await;
    assert_eq!(empty["message"]["tool_calls"], json!([]));
    assert!(empty["message"]["content"].as_str().unwrap().starts_with('{'));
    let refused = choice(Action::Refusal("no".to_owned())).await;
    assert_eq!(
        (&refused["message"]["refusal"], &refused["message"]["content"]),
        (&json!("no"), &Value::Null)
    );
    let cut = choice(Action::Length).await;
    assert_eq!(cut["finish_reason"], "length");
    let half = cut["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    assert!(half.len() > 10 && serde_json::from_str::<Value>(half).is_err(), "{half}");
    assert_eq!(choice(Action::ContentFilter).await["finish_reason"], "content_filter");
    let (_, unmetered) = ask(&scripted(vec![Rule::always(Action::UsageNull)]), "text").await;
    assert_eq!(
        (unmetered.get("usage"), unmetered["choices"][0]["finish_reason"].as_str()),
        (Some(&Value::Null), Some("tool_calls"))
    );
}

#[tokio::test]
async fn raw_bodies_arrive_as_they_are() {
    let bytes = vec![0xff, 0x00, b'{'];
    let raw = Action::RawBody { bytes: bytes.clone(), content_type: "application/octet-stream".to_owned() };
    let standin = scripted(vec![Rule::first(1, raw), Rule::always(Action::NotJson)]);
    let response = send(&standin, &question("text")).await;
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    assert_eq!(response.bytes().await.unwrap(), bytes);
    let response = send(&standin, &question("text")).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/html".parse().unwrap())
    );
    assert_eq!(standin.counters().repeats, 0);
}

#[tokio::test]
async fn a_cut_body_has_its_head_and_a_part_of_its_bytes() {
    let standin = scripted(vec![Rule::first(1, Action::CutBody)]);
    let mut response = send(&standin, &question("text")).await;
    assert_eq!(response.status(), 200);
    let declared = response.content_length().unwrap();
    let mut received = 0;
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => received += chunk.len() as u64,
            Ok(None) => panic!("the body ended as if it were whole"),
            Err(error) => break error,
        }
    };
    assert_eq!(received, declared / 2, "{error}");
    assert_eq!(ask(&standin, "text").await.0, 200);
    assert_eq!(standin.counters().repeats, 0);
}

#[tokio::test]
async fn a_connection_can_be_closed_without_a_byte_of_reply() {
    let standin = scripted(vec![Rule::first(1, Action::CloseWithoutReply)]);
    let error = post(&standin, &question("text")).send().await.unwrap_err();
    assert!(error.is_request() && !error.is_timeout(), "{error:?}");
    assert_eq!(ask(&standin, "text").await.0, 200);
    assert_eq!(standin.counters().by_status, [(0, 1), (200, 1)].into());
}

#[tokio::test]
async fn a_hanging_request_stays_in_flight_until_the_client_or_the_stand_in_goes() {
    let standin = scripted(vec![Rule::always(Action::Hang)]);
    let abandoned = tokio::spawn(post(&standin, &question("one")).send());
    let stopped = tokio::spawn(post(&standin, &question("two")).send());
    while standin.counters().in_flight < 2 {
        tokio::task::yield_now().await;
    }
    abandoned.abort();
    while standin.counters().in_flight > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(standin.counters().by_status, [(0, 1)].into());
    assert_eq!(standin.counters().in_flight_peak, 2);
    drop(standin);
    assert!(stopped.await.unwrap().is_err());
}

#[tokio::test]
async fn a_rate_limit_says_when_to_come_back() {
    let limit = RateLimit { per_minute: 1, ..RateLimit::default() };
    let standin = scripted(vec![Rule::always(Action::RateLimit(limit))]);
    let first = send(&standin, &question("text")).await;
    assert_eq!(
        (first.status().as_u16(), &first.headers()["x-ratelimit-remaining-requests"]),
        (200, &"0".parse().unwrap())
    );
    let second = send(&standin, &question("text")).await;
    assert_eq!(second.status(), 429);
    let wait: u64 = second.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_delayed_answer_is_the_same_answer() {
    let config = Config {
        delay: Duration::from_millis(1),
        script: Script(vec![Rule::always(Action::Delay(1))]),
        ..Config::default()
    };
    let delayed = ask(&Standin::start(config), "text").await.1;
    let prompt = ask(&Standin::start(Config::default()), "text").await.1;
    assert_eq!(arguments(&delayed), arguments(&prompt));
}

#[tokio::test]
async fn a_key_is_asked_for_and_never_logged() {
    let standin = Standin::start(Config { api_key: Some("secret-key".to_owned()), ..Config::default() });
    let models = format!("{}/models", standin.url());
    assert_eq!(client().get(&models).send().await.unwrap().status(), 401);
    let wrong = post(&standin, &question("text")).bearer_auth("wrong").send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert_eq!(wrong.json::<Value>().await.unwrap()["error"]["code"], "invalid_api_key");
    let right = post(&standin, &question("text")).bearer_auth("secret-key").send().await.unwrap();
    assert_eq!(right.status(), 200);
    let log = standin.requests();
    assert_eq!(log.iter().map(|request| request.status).collect::<Vec<_>>(), [401, 401, 200]);
    assert_eq!(log[2].headers["authorization"], "present");
    assert!(!format!("{log:?}").contains("secret-key"));
}

#[tokio::test]
async fn unknown_models_and_bad_requests_get_the_errors_of_real_servers() {
    let standin = Standin::start(Config { unknown_models: vec!["m".to_owned()], ..Config::default() });
    let (status, body) = ask(&standin, "text").await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("model_not_found")));
    let response = send(&standin, &json!({"model": "other"})).await;
    assert_eq!(response.status(), 400);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["type"], "invalid_request_error");
    let nowhere = client().get(format!("{}/nowhere", standin.url())).send().await.unwrap();
    assert_eq!(nowhere.status(), 404);
    let wrong_method = client().get(format!("{}/chat/completions", standin.url())).send().await.unwrap();
    assert_eq!(wrong_method.status(), 405);
    let counters = standin.counters();
    assert_eq!((counters.requests, counters.other_requests), (2, 2));
}

#[tokio::test]
async fn models_health_counters_and_log_can_be_read_over_http() {
    let headers = vec![("x-ratelimit-limit-tokens".to_owned(), "5".to_owned())];
    let standin = Standin::start(Config { log: 2, headers, ..Config::default() });
    let root = standin.url().replace("/v1", "");
    let get = async |path: &str| -> Value {
        client().get(format!("{root}{path}")).send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(get("/health").await, json!({"status": "ok"}));
    let models = get("/v1/models").await;
    assert_eq!(
        (&models["data"][0]["id"], &models["data"][1]["id"]),
        (&json!("standin-large"), &json!("standin-small"))
    );
    let response = send(&standin, &question("text")).await;
    assert_eq!(response.headers()["x-ratelimit-limit-tokens"], "5");

    let counters: Counters = serde_json::from_value(get("/standin/counters").await).unwrap();
    assert_eq!(counters, standin.counters());
    assert_eq!((counters.requests, counters.other_requests), (1, 2));
    let log = get("/standin/log").await;
    assert_eq!(log[0]["path"], "/v1/models", "only the last two are kept");
    assert_eq!((&log[1]["method"], &log[1]["status"]), (&json!("POST"), &json!(200)));
    assert_eq!(standin.requests()[1].json(), question("text"));
}

#[test]
fn it_can_be_started_without_a_runtime_and_again_on_its_port() {
    // Between the two anybody may get the port; not each time.
    let again = || {
        let port = Standin::start(Config::default()).port();
        Some((port, Standin::bind(Config { port, ..Config::default() }).ok()?))
    };
    let (port, again) = (0..10).find_map(|_| again()).unwrap();
    assert_eq!(again.url(), format!("http://127.0.0.1:{port}/v1"));
    let error = Standin::bind(Config { port, ..Config::default() }).unwrap_err().to_string();
    assert_eq!(error, format!("cannot listen on port {port}"));
    let script = Script(vec![Rule::always(Action::status(99))]);
    let error = Standin::bind(Config { script, ..Config::default() }).unwrap_err().to_string();
    assert_eq!(error, "a scripted status is 200 to 999, not 99");
}

#[tokio::test]
async fn tokens_have_headers_of_their_own() {
    let standin = scripted(vec![Rule::always(Action::RateLimit(RateLimit::tokens(60, 10_000)))]);
    let response = send(&standin, &question("text")).await;
    let used: u64 = standin.requests()[0].body.len().div_ceil(4) as u64;
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-ratelimit-limit-tokens"), "60");
    assert_eq!(header("x-ratelimit-remaining-tokens"), (10_000 - used).to_string());
    assert_eq!(header("x-ratelimit-reset-tokens"), format!("{}ms", used * 1000));
    assert!(!response.headers().contains_key("x-ratelimit-limit-requests"));
}

#[tokio::test]
async fn a_limit_may_say_nothing_or_something_else() {
    let refused = async |told| {
        let limit = RateLimit { told, ..RateLimit::requests(1, 0) };
        send(&scripted(vec![Rule::always(Action::RateLimit(limit))]), &question("text")).await
    };
    let silent = refused(Told::Nothing).await;
    assert_eq!(silent.status(), 429);
    assert!(
        !silent.headers().keys().any(|name| name.as_str().starts_with("x-rate") || name == "retry-after")
    );
    let lying = refused(Told::Claim(600)).await;
    assert_eq!(
        (lying.status().as_u16(), &lying.headers()["x-ratelimit-remaining-requests"]),
        (429, &"600".parse().unwrap())
    );
}

#[tokio::test]
async fn usage_says_what_the_script_wants_and_the_tier_that_was_asked_for() {
    let says = Says { prompt: Some(4096), cached: Some(1024), cache_write: Some(7), ..Says::default() };
    let standin = scripted(vec![Rule::always(Action::Usage(says)), Rule::always(Action::Answer)]);
    let mut body = question("text");
    body["service_tier"] = json!("flex");
    let completion: Value = send(&standin, &body).await.json().await.unwrap();
    assert_eq!(completion["service_tier"], "flex");
    assert_eq!(completion["usage"]["prompt_tokens"], 4096);
    assert_eq!(
        completion["usage"]["prompt_tokens_details"],
        json!({"cached_tokens": 1024, "cache_write_tokens": 7})
    );
    let counters = standin.counters();
    assert_eq!(counters.prompt_tokens, 4096);
    assert_eq!(completion["usage"]["completion_tokens"], counters.completion_tokens);
    assert_eq!(ask(&standin, "text").await.1.get("service_tier"), None);
}

#[tokio::test]
async fn a_refused_parameter_is_named() {
    let refuse =
        Action::Refuse { parameter: "tool_choice".to_owned(), value: Some("\"required\"".to_owned()) };
    let standin = scripted(vec![Rule::always(refuse)]);
    let (status, body) = ask(&standin, "text").await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("tool_choice")));
    let mut other = question("text");
    other["tool_choice"] = json!("auto");
    assert_eq!(send(&standin, &other).await.status(), 200);
}

#[tokio::test]
async fn a_server_without_tools_talks_and_honours_a_schema() {
    let standin = scripted(vec![Rule::always(Action::NoTools)]);
    let talk = ask(&standin, "text").await.1["choices"][0]["message"].take();
    assert!(talk.get("tool_calls").is_none() && !talk["content"].as_str().unwrap().contains('{'));
    let mut body = question("text");
    body["tools"].take();
    body["response_format"] = json!({"type": "json_schema", "json_schema": {"schema": parameters()}});
    let completion: Value = send(&standin, &body).await.json().await.unwrap();
    let answer = completion["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(jsonschema::is_valid(&parameters(), &serde_json::from_str(answer).unwrap()));
}

#[tokio::test]
async fn a_deployment_at_azure_wants_its_own_header_and_a_version() {
    let standin = Standin::start(Config { api_key: Some("secret-key".to_owned()), ..Config::default() });
    let post = |query: &str| {
        let url = format!("{}/chat/completions{query}", standin.azure_url("mine"));
        client().post(url).body(question("text").to_string())
    };
    let status = async |request: RequestBuilder| request.send().await.unwrap().status().as_u16();
    let version = "?api-version=2024-10-21";
    assert_eq!(status(post(version).header("api-key", "secret-key")).await, 200);
    assert_eq!(status(post(version).bearer_auth("secret-key")).await, 401);
    assert_eq!(status(post("").header("api-key", "secret-key")).await, 404);
    assert!(!format!("{:?}", standin.requests()).contains("secret-key"));
}

#[tokio::test]
async fn what_a_model_s_entry_says_is_the_config_s() {
    let model_details = json!({"shutdown_date": "2027-01-31"}).as_object().unwrap().clone();
    let standin = Standin::start(Config { model_details, ..Config::default() });
    let models: Value =
        client().get(format!("{}/models", standin.url())).send().await.unwrap().json().await.unwrap();
    assert_eq!(models["data"][1]["shutdown_date"], "2027-01-31");
}

#[tokio::test]
async fn a_server_that_is_away_refuses_connections_and_comes_back() {
    let away = |number, milliseconds| Rule {
        nth: Some(number..=number),
        action: Action::GoAway(milliseconds),
        ..Rule::default()
    };
    let standin = scripted(vec![away(2, 1), away(4, 3_600_000)]);
    assert_eq!(ask(&standin, "one").await.0, 200);
    assert!(post(&standin, &question("two")).send().await.is_err());
    // After its time; whether somebody asks meanwhile is up to chance.
    let status = loop {
        if let Ok(response) = post(&standin, &question("two")).send().await {
            break response.status();
        }
    };
    assert_eq!(status, 200);
    // After its recovery, however long it wanted to stay away.
    assert!(post(&standin, &question("three")).send().await.is_err());
    assert!(post(&standin, &question("three")).send().await.unwrap_err().is_connect());
    standin.recover();
    while post(&standin, &question("three")).send().await.is_err() {}
    assert_eq!(standin.counters().requests, 5);
}

#[tokio::test]
async fn a_reply_can_wait_for_other_requests_and_for_a_recovery() {
    let standin = scripted(vec![Rule::always(Action::Until(3))]);
    let early = ["one", "two"].map(|text| tokio::spawn(post(&standin, &question(text)).send()));
    while standin.counters().in_flight < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&standin, "three").await.0, 200);
    for reply in early {
        assert_eq!(reply.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(standin.counters().in_flight_peak, 3);
    let standin = scripted(vec![Rule::always(Action::Until(u64::MAX))]);
    let held = tokio::spawn(post(&standin, &question("one")).send());
    while standin.counters().in_flight == 0 {
        tokio::task::yield_now().await;
    }
    standin.recover();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
}

#[test]
fn of_dead_clients_nothing_is_counted_after_the_stand_in_has_settled() {
    for rule in [Rule::always(Action::Hang), Rule::always(Action::Wire(Wire::HalfClosed))] {
        let standin = scripted(vec![rule]);
        let body = question("text").to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        for _ in 0..20 {
            let mut client = TcpStream::connect(standin.address).unwrap();
            client.write_all((head.clone() + &body).as_bytes()).unwrap();
        }
        standin.settle();
        // hyper may see that a client is gone before it hands its request on: not all of them arrive.
        let counters = standin.counters();
        assert!(counters.requests <= 20);
        assert_eq!((counters.in_flight, counters.other_requests, standin.state.connections()), (0, 0, 0));
    }
}

#[test]
fn nobody_listens_at_a_port_of_nobody() {
    let nobody = Nobody::new();
    let address = nobody.0.local_addr().unwrap();
    assert_eq!(nobody.url(), format!("http://{address}/v1"));
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(TcpListener::bind(address).is_err());
}

#[tokio::test]
async fn every_rare_form_that_is_whole_is_read_by_a_client() {
    for wire in [Wire::Http10, Wire::Interim, Wire::Close, Wire::CloseUnsaid, Wire::Chunked, Wire::Gzip] {
        let standin = scripted(vec![Rule::always(Action::Wire(wire))]);
        for text in ["one", "two"] {
            assert_eq!(ask(&standin, text).await.0, 200, "{wire:?}");
        }
        assert_eq!(standin.answered().into_values().collect::<Vec<_>>(), [1, 1], "{wire:?}");
    }
}

#[tokio::test]
async fn every_broken_form_is_no_answer_for_a_client() {
    for wire in [
        Wire::Reset,
        Wire::ResetInBody,
        Wire::HalfClosed,
        Wire::HalfClosedInBody,
        Wire::LengthBelow,
        Wire::EndsInBody,
        Wire::LargeHeader(1 << 20),
        Wire::BadChunk,
        Wire::GzipCut,
        Wire::Garbage,
    ] {
        let standin = scripted(vec![Rule::always(Action::Wire(wire))]);
        if let Ok(response) = post(&standin, &question("text")).send().await {
            assert!(response.json::<Value>().await.is_err(), "{wire:?}");
        }
        assert!(standin.answered().is_empty(), "{wire:?}");
    }
}

#[tokio::test]
async fn a_large_body_has_the_answer_at_its_end() {
    for wire in [Wire::Large(1), Wire::LargeChunked(1)] {
        let standin = scripted(vec![Rule::always(Action::Wire(wire))]);
        let body = send(&standin, &question("text")).await.bytes().await.unwrap();
        assert!(body.len() > 1 << 20, "{wire:?}");
        assert!(serde_json::from_slice::<Value>(&body).unwrap()["choices"].is_array(), "{wire:?}");
    }
}

#[tokio::test]
async fn a_recovered_server_forgets_its_script() {
    let standin = scripted(vec![Rule::always(Action::status(500))]);
    assert_eq!(ask(&standin, "text").await.0, 500);
    standin.recover();
    let answer = ask(&standin, "text").await.1;
    let rationale = serde_json::from_str::<Value>(arguments(&answer)).unwrap()["rationale"].take();
    let question = Standin::question_of(rationale.as_str().unwrap()).unwrap();
    assert_eq!(standin.answered(), [(question, 1)].into());
}
