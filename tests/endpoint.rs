//! `summary` against a chat endpoint: the stand-in on loopback.

use serde_json::{Value, json};

use crate::standin::{Action, Config, Nobody, Rule, Script};
use crate::world::{World, limited, until};

const RATE: [&str; 6] = ["summary", "rows.jsonl", "text", "learning_value", "--format", "json"];

fn world(rows: usize, script: Vec<Rule>) -> (World, crate::standin::Standin) {
    let (world, standin) = World::with_endpoint(Config { script: Script(script), ..Config::default() });
    world.rows("rows.jsonl", rows);
    (world, standin)
}

fn completions(standin: &crate::standin::Standin) -> Vec<Value> {
    standin
        .requests()
        .iter()
        .filter(|logged| logged.path.ends_with("/chat/completions"))
        .map(crate::standin::Logged::json)
        .collect()
}

#[test]
fn a_second_run_asks_nothing() {
    let (world, standin) = world(40, vec![]);
    let first = world.run(&RATE).exits(0);
    assert_eq!(first.ledger()["rated"], 40);
    assert_eq!(completions(&standin).len(), 40);
    let lines = world.lines("rows.jsonl/learning_value.jsonl");
    let second = world.run(&RATE).exits(0);
    assert_eq!(second.ledger()["cached"], 40);
    assert_eq!(completions(&standin).len(), 40);
    assert_eq!(first.json()["summaries"][0]["scores"], second.json()["summaries"][0]["scores"]);
    let scores = |lines: &[Value]| lines.iter().map(|line| line["scores"].clone()).collect::<Vec<_>>();
    assert_eq!(scores(&lines), scores(&world.lines("rows.jsonl/learning_value.jsonl")));
}

#[test]
fn the_function_is_forced_in_the_form_that_openai_and_llama_cpp_honour() {
    let (world, standin) = world(1, vec![]);
    world.run(&RATE).exits(0);
    let body = &completions(&standin)[0];
    assert_eq!(body["tool_choice"], "required");
    assert_eq!(body["parallel_tool_calls"], false);
    assert_eq!(body["tools"].as_array().unwrap().len(), 1);
    assert_eq!(body["reasoning_effort"], "none");
    assert_eq!(body["max_completion_tokens"], 256);
    assert!(body.get("max_tokens").is_none());
    let names: Vec<_> =
        body["tools"][0]["function"]["parameters"]["properties"].as_object().unwrap().keys().collect();
    assert_eq!(names[0], "rationale", "the rationale comes before the scores");
}

#[test]
fn a_model_that_the_table_does_not_know_gets_the_old_parameters() {
    let (world, standin) = world(1, vec![]);
    world
        .run(
            &[&RATE[..], &["--model", "my-model", "--temperature", "0.5", "--extra-body", r#"{"top_k": 1}"#]]
                .concat(),
        )
        .exits(0);
    let body = &completions(&standin)[0];
    assert_eq!(
        (&body["max_tokens"], &body["temperature"], &body["top_k"]),
        (&json!(256), &json!(0.5), &json!(1))
    );
    assert!(body.get("reasoning_effort").is_none());
}

#[test]
fn json_schema_is_the_other_form() {
    let (world, standin) = world(3, vec![]);
    assert_eq!(world.run(&[&RATE[..], &["--reply", "json_schema"]].concat()).exits(0).ledger()["rated"], 3);
    let body = &completions(&standin)[0];
    assert!(body.get("tools").is_none());
    assert_eq!(body["response_format"]["type"], "json_schema");
    // The form is not part of the question: the answers count for the other form too.
    assert_eq!(world.run(&RATE).exits(0).ledger()["cached"], 3);
}

#[test]
fn every_accepted_reply_is_an_answer() {
    for action in [Action::FunctionCall, Action::EmptyToolCalls, Action::UsageNull] {
        let (world, _standin) = world(3, vec![Rule::always(action.clone())]);
        assert_eq!(world.run(&RATE).exits(0).ledger()["rated"], 3, "{action:?}");
    }
}

#[test]
fn passing_faults_are_retried() {
    // All at once: each run spends most of its time in pauses.
    std::thread::scope(|scope| {
        for action in [
            limited(),
            Action::retry_after(500, 0),
            Action::retry_after(503, 0),
            Action::CutBody,
            Action::CloseWithoutReply,
            Action::NotJson,
        ] {
            scope.spawn(move || {
                let (world, standin) = world(4, vec![Rule::once_per_question(action.clone())]);
                let run = world.run(&RATE).exits(0);
                assert_eq!(run.ledger()["rated"], 4, "{action:?}");
                assert!(completions(&standin).len() >= 8, "{action:?}");
            });
        }
    });
}

#[test]
fn a_limit_that_all_rows_share_costs_none_of_them() {
    // One row is refused as often as it has attempts, while the others are answered, one after the other: they take four
    // seconds at least, and its pauses are of one at most.
    let refused = Rule { contains: Some("Row 0.".into()), times: Some(6), ..Rule::always(limited()) };
    let (world, standin) = world(40, vec![refused, Rule::always(Action::Delay(100))]);
    assert_eq!(world.run(&[&RATE[..], &["--workers", "1"]].concat()).exits(0).ledger()["rated"], 40);
    assert_eq!(standin.counters().by_status, [(200, 40), (429, 6)].into());
}

#[test]
fn a_reply_that_hangs_is_given_up_and_asked_again() {
    let (world, _standin) = world(1, vec![Rule::once_per_question(Action::Hang)]);
    assert_eq!(world.run(&[&RATE[..], &["--timeout", "3"]].concat()).exits(0).ledger()["rated"], 1);
}

#[test]
fn one_repair_turn_tells_the_model_what_was_wrong() {
    let wrong = r#"{"rationale": "fine", "overall": 7}"#;
    let (world, standin) = world(1, vec![Rule::first(1, Action::Arguments(wrong.into()))]);
    assert_eq!(world.run(&RATE).exits(0).ledger()["rated"], 1);
    let bodies = completions(&standin);
    assert_eq!(bodies.len(), 2);
    let turns = bodies[1]["messages"].as_array().unwrap();
    assert_eq!(turns.len(), 4);
    assert_eq!(serde_json::from_str::<Value>(turns[2]["content"].as_str().unwrap()).unwrap()["overall"], 7);
    assert!(turns[3]["content"].as_str().unwrap().contains("overall"), "{}", turns[3]);
}

#[test]
fn an_answer_that_stays_wrong_is_a_failed_row_and_is_asked_again_next_time() {
    let (world, standin) = world(2, vec![Rule::first(4, Action::Arguments("{\"overall\": ".into()))]);
    let run = world.run(&[&RATE[..], &["--workers", "1"]].concat()).exits(3);
    assert_eq!(run.ledger()["failed"], json!({"invalid_answer": 2}));
    let lines = world.lines("rows.jsonl/learning_value.jsonl");
    assert_eq!(lines[0]["failure"]["reason"], "invalid_answer");
    assert_eq!(world.run(&RATE).exits(0).ledger()["rated"], 2);
    assert_eq!(completions(&standin).len(), 6);
}

#[test]
fn a_cut_reply_is_asked_once_more_with_twice_the_room() {
    let (world, standin) = world(1, vec![Rule::first(1, Action::Length)]);
    assert_eq!(world.run(&RATE).exits(0).ledger()["rated"], 1);
    let room: Vec<_> =
        completions(&standin).iter().map(|body| body["max_completion_tokens"].clone()).collect();
    assert_eq!(room, [json!(256), json!(512)]);
    let (world, standin) = self::world(1, vec![Rule::always(Action::Length)]);
    assert_eq!(world.run(&RATE).exits(3).ledger()["failed"], json!({"truncated": 1}));
    assert_eq!(completions(&standin).len(), 2);
}

#[test]
fn refusals_and_filters_are_failed_rows() {
    for (action, reason) in
        [(Action::Refusal("no".into()), "refusal"), (Action::ContentFilter, "content_filter")]
    {
        let (world, standin) = world(2, vec![Rule::always(action)]);
        assert_eq!(world.run(&RATE).exits(3).ledger()["failed"], json!({reason: 2}));
        assert_eq!(completions(&standin).len(), 2);
    }
}

#[test]
fn what_no_retry_mends_stops_the_run_at_once_with_the_cause_said_once() {
    let quota = Action::error(429, "insufficient_quota");
    for (action, words) in [
        (Action::error(401, "invalid_api_key"), "OPENAI_API_KEY"),
        (quota, "quota is used up"),
        (Action::error(404, "model_not_found"), "--model"),
    ] {
        let (world, standin) = world(200, vec![Rule::always(action)]);
        let run = world.run(&[&RATE[..], &["--workers", "8"]].concat()).exits(1);
        assert_eq!(run.stderr.matches(words).count(), 1, "{}", run.stderr);
        // Eight in flight, and the five that may stand behind them.
        assert!(completions(&standin).len() <= 13, "{} requests", completions(&standin).len());
        assert_eq!(run.ledger()["not_reached"], 200);
    }
}

#[test]
fn an_endpoint_that_never_answers_stops_the_run() {
    let (world, standin) = world(500, vec![Rule::always(Action::error(400, "bad_parameter"))]);
    let run = world.run(&[&RATE[..], &["--workers", "8"]].concat()).exits(1);
    assert!(run.stderr.contains("has not answered one question"), "{}", run.stderr);
    // Those that are begun at once, and one more for each of the seven that fail before the run stops.
    assert!(completions(&standin).len() <= 13 + 7, "{} requests", completions(&standin).len());
}

#[test]
fn identical_rows_are_asked_once() {
    let (world, standin) = World::with_endpoint(Config::default());
    let line = format!("{}\n", json!({"text": "The same text in every row."}));
    world.write("rows.jsonl", line.repeat(600));
    let ledger = world.run(&RATE).exits(0).ledger();
    assert_eq!(completions(&standin).len(), 1);
    assert_eq!(ledger["rated"], 1);
    // Those of the first batch wait for its answer; the later ones may find it in the store.
    assert_eq!(ledger["duplicate"], 599);
    assert_eq!(world.run(&RATE).exits(0).ledger()["cached"], 600);
}

#[test]
fn identical_rows_that_fail_are_asked_once_too() {
    let (world, standin) = World::with_endpoint(Config {
        script: Script(vec![Rule::always(Action::Refusal("no".into()))]),
        ..Config::default()
    });
    world.write("rows.jsonl", format!("{}\n", json!({"text": "The same text in every row."})).repeat(2000));
    assert_eq!(world.run(&RATE).exits(3).ledger()["failed"], json!({"refusal": 2000}));
    assert_eq!(completions(&standin).len(), 1);
}

#[test]
fn rows_left_over_that_every_endpoint_rejects_do_not_stop_the_next_run() {
    let rejected = Rule { contains: Some("Row 1".into()), ..Rule::always(Action::error(400, "bad_prompt")) };
    let (world, _standin) = world(20, vec![rejected]);
    let expected = json!({"rejected": 11});
    // One after the other: the first is answered before so many are rejected that the endpoint looks like one that never answers.
    assert_eq!(world.run(&[&RATE[..], &["--workers", "1"]].concat()).exits(3).ledger()["failed"], expected);
    let again = world.run(&RATE).exits(3).ledger();
    assert_eq!((&again["failed"], &again["cached"]), (&expected, &json!(9)));
}

#[test]
fn one_row_s_403_is_that_row_s_failure() {
    let rule = Rule { contains: Some("Row 7.".into()), ..Rule::always(Action::error(403, "blocked")) };
    let (world, _standin) = world(30, vec![rule]);
    assert_eq!(
        world.run(&[&RATE[..], &["--workers", "1"]].concat()).exits(3).ledger()["failed"],
        json!({"rejected": 1})
    );
    let (world, _standin) = self::world(30, vec![Rule::always(Action::error(403, "forbidden"))]);
    world.run(&RATE).exits(1);
}

#[test]
fn a_key_that_a_server_quotes_goes_no_further() {
    let quote = json!({"error": {"message": "refused Bearer sk-quoted-secret", "code": 400, "param": "sk-quoted-secret"}});
    let within = Action::RawBody { bytes: quote.to_string().into(), content_type: "application/json".into() };
    for action in [
        within,
        Action::Status { code: 400, body: Some(quote), headers: std::collections::BTreeMap::default() },
    ] {
        let (world, _standin) = world(2, vec![Rule::always(action)]);
        let output = world.command(&RATE).env("OPENAI_API_KEY", "sk-quoted-secret").output().unwrap();
        let run = crate::world::Run::of(output).exits(3);
        assert!(run.stderr.contains("(the key)") && !run.stderr.contains("sk-quoted"), "{}", run.stderr);
        let lines = std::fs::read_to_string(world.path("data/rows.jsonl/learning_value.jsonl")).unwrap();
        assert!(lines.contains("(the key)") && !lines.contains("sk-quoted"), "{lines}");
    }
}

#[test]
fn price_and_parameters_go_by_who_answers() {
    let (world, standin) = World::with_endpoint(Config { models: vec!["tiny".into()], ..Config::default() });
    world.rows("rows.jsonl", 2);
    let run = world.run(&RATE).exits(0);
    assert!(run.json()["summaries"][0]["usage"]["cost"].is_null(), "nobody knows tiny's price");
    let body = &completions(&standin)[0];
    assert!(body.get("reasoning_effort").is_none() && body["max_tokens"] == 256, "{body}");
}

#[test]
fn an_odd_list_of_models_does_not_change_who_answered() {
    let (world, standin) = World::with_endpoint(Config { models: vec!["tiny".into()], ..Config::default() });
    world.rows("rows.jsonl", 3);
    world.run(&RATE).exits(0);
    let _nobody = Nobody::after(standin);
    // A server that is starting, or a proxy before it, answers every path with 503.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    // The cap lets no question through: there is nobody to answer one.
    let mut command = world.command(&[&RATE[..], &["--price", "1,1", "--max-cost", "0.000001"]].concat());
    let url = format!("http://127.0.0.1:{port}/v1");
    let run = crate::world::Run::of(command.env("OPENAI_BASE_URL", url).output().unwrap()).exits(4);
    server.join().unwrap();
    // Another address: nothing is remembered for it, so the name asked for stands, with a warning.
    assert!(run.stderr.contains("does not say who answers (HTTP 503"), "{}", run.stderr);
    assert_eq!(run.json()["summaries"][0]["model"], "gpt-6-luna");
}

#[test]
fn attempts_that_may_be_billed_are_counted() {
    let (world, _standin) = world(3, vec![Rule::once_per_question(Action::CutBody)]);
    let usage = world.run(&RATE).exits(0).json()["summaries"][0]["usage"].clone();
    assert_eq!(usage["attempts_with_unknown_bill"], 3);
    let stats = world.run(&["cache", "stats", "--format", "json"]).exits(0).json();
    assert_eq!(stats["failed_attempts"], 3);
}

#[test]
fn a_long_text_is_rated_by_its_chunks_and_scored_by_their_mean() {
    let (world, standin) = World::with_endpoint(Config::default());
    let line = json!({"text": crate::world::text(1).repeat(20)});
    world.write("rows.jsonl", line.to_string());
    world.run(&RATE).exits(0);
    assert_eq!(completions(&standin).len(), 2);
    let lines = world.lines("rows.jsonl/learning_value.jsonl");
    let overall = |line: &Value| line["score"]["overall"].as_f64().unwrap();
    let mean = f64::midpoint(overall(&lines[0]), overall(&lines[1]));
    assert!((lines[0]["record_score"].as_f64().unwrap() - mean).abs() < 1e-9);
    assert_eq!(lines[0]["bytes"][0], 0);
}

#[test]
fn a_server_with_one_model_is_known_by_that_model_s_name() {
    let (world, standin) = World::with_endpoint(Config { models: vec!["tiny".into()], ..Config::default() });
    world.rows("rows.jsonl", 5);
    let run = world.run(&RATE).exits(0);
    assert_eq!(run.json()["summaries"][0]["model"], "tiny");
    assert!(run.stderr.contains("serves one model: tiny"));
    // Without the server the last resolution counts, and says so.
    let _nobody = Nobody::after(standin);
    let offline = world.run(&RATE).exits(0);
    assert_eq!(offline.ledger()["cached"], 5);
    assert!(offline.stderr.contains("tiny, which answered there last"), "{}", offline.stderr);
}

#[test]
fn no_more_requests_are_in_flight_than_workers() {
    // The first two wait for their replies to the end; all others go by the third place.
    let rules = vec![Rule::first(2, Action::Hang), Rule::always(Action::Delay(5))];
    let (world, standin) = world(60, rules);
    let mut child = world.start(&[&RATE[..], &["--workers", "3"]].concat());
    until(&standin, 60);
    assert_eq!(standin.counters().in_flight_peak, 3);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn another_version_rates_again() {
    let (world, standin) = world(5, vec![]);
    world.run(&RATE).exits(0);
    world.run(&[&RATE[..], &["--version", "2"]].concat()).exits(0);
    assert_eq!(completions(&standin).len(), 10);
}

#[test]
fn a_key_is_sent_and_never_shown() {
    let (world, _standin) =
        World::with_endpoint(Config { api_key: Some("sk-very-secret".into()), ..Config::default() });
    world.rows("rows.jsonl", 2);
    let with_key = |key: &str| {
        let mut command = world.command(&RATE);
        crate::world::Run::of(command.env("OPENAI_API_KEY", key).output().unwrap())
    };
    with_key("sk-very-secret").exits(0);
    let refused = with_key("sk-wrong-secret").exits(1);
    assert!(!refused.stderr.contains("sk-wrong"), "{}", refused.stderr);
    let settings = world.command(&["settings"]).env("OPENAI_API_KEY", "sk-very-secret").output().unwrap();
    assert!(!String::from_utf8_lossy(&settings.stdout).contains("very-secret"));
    for file in [
        ".local/share/classified/ratings.db",
        "data/rows.jsonl/learning_value.jsonl",
        "data/rows.jsonl/learning_value.run.json",
        "data/summary.csv",
    ] {
        let bytes = std::fs::read(world.path(file)).unwrap();
        assert!(!bytes.windows(11).any(|bytes| bytes == b"very-secret"), "{file}");
    }
}
