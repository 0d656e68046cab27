//! Models and servers that differ: refused parameters, no functions, cut prompts, Azure's addresses, shutdown dates.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::standin::{Action, Config, Logged, Rule, Says, Script, Standin};
use crate::world::{Run, World};

const RATE: [&str; 6] = ["summary", "rows.jsonl", "text", "learning_value", "--format", "json"];

fn world(rows: usize, script: Vec<Rule>) -> (World, Standin) {
    let (world, standin) = World::with_endpoint(Config { script: Script(script), ..Config::default() });
    world.rows("rows.jsonl", rows);
    (world, standin)
}

fn run(world: &World, more: &[&str]) -> Run {
    world.run(&[&RATE[..], more].concat())
}

fn bodies(standin: &Standin) -> Vec<Value> {
    let requests = standin.requests();
    requests.iter().filter(|logged| logged.path.ends_with("/completions")).map(Logged::json).collect()
}

fn refuse(parameter: &str, value: Option<&str>) -> Rule {
    Rule::always(Action::Refuse { parameter: parameter.into(), value: value.map(str::to_owned) })
}

fn error(code: u16, body: Value) -> Action {
    Action::Status { code, body: Some(body), headers: BTreeMap::new() }
}

#[test]
fn three_refused_parameters_cost_a_run_three_requests() {
    let refused =
        vec![refuse("max_tokens", None), refuse("temperature", None), refuse("parallel_tool_calls", None)];
    let (world, standin) = world(20, refused);
    let done = run(&world, &["--model", "mine", "--workers", "1"]).exits(0);
    assert_eq!(done.ledger()["rated"], 20);
    let bodies = bodies(&standin);
    assert_eq!(bodies.len(), 23);
    let last = bodies.last().unwrap();
    assert_eq!((&last["max_completion_tokens"], &last["tool_choice"]), (&json!(256), &json!("required")));
    for gone in ["max_tokens", "temperature", "parallel_tool_calls"] {
        assert!(last.get(gone).is_none(), "{gone}");
        assert_eq!(done.stderr.matches(&format!("does not take `{gone}`")).count(), 1, "{}", done.stderr);
    }
}

#[test]
fn those_in_flight_are_asked_again_and_no_row_pays() {
    // More refusals than a row has attempts, sixteen rows at once.
    let refused = vec![
        refuse("max_tokens", None),
        refuse("temperature", None),
        refuse("parallel_tool_calls", None),
        refuse("tool_choice", Some("\"required\"")),
        refuse("tool_choice", Some("{")),
        refuse("tool_choice", None),
        refuse("tools", None),
    ];
    let (world, standin) = world(40, refused);
    let done = run(&world, &["--model", "mine", "--workers", "16"]).exits(0);
    assert_eq!(done.ledger()["rated"], 40);
    let bodies = bodies(&standin);
    assert!(bodies.last().unwrap()["response_format"].is_object());
    assert!(bodies.len() <= 40 + 7 * 16, "{}", bodies.len());
    assert_eq!(done.stderr.matches("does not take").count(), 6, "{}", done.stderr);
}

#[test]
fn what_is_learned_holds_for_the_datasets_and_lenses_of_a_command() {
    let (world, standin) = world(3, vec![refuse("temperature", None)]);
    world.write("more.jsonl", json!({"text": crate::world::text(7)}).to_string());
    let all =
        ["summary", "rows.jsonl,more.jsonl", "text", "learning_value,textbook_quality", "--format", "json"];
    world.run(&[&all[..], &["--workers", "1"]].concat()).exits(0);
    let with = bodies(&standin).iter().filter(|body| body.get("temperature").is_some()).count();
    assert_eq!(with, 1);
}

#[test]
fn a_parameter_that_the_user_set_stops_the_run() {
    for (name, flag, value) in [
        ("temperature", "--temperature", "0.5"),
        ("seed", "--model-seed", "7"),
        ("reasoning_effort", "--reasoning-effort", "low"),
        ("top_k", "--extra-body", r#"{"top_k": 1}"#),
    ] {
        let (world, standin) = world(5, vec![refuse(name, None)]);
        let done = run(&world, &["--workers", "1", flag, value]).exits(1);
        assert!(done.stderr.contains(flag) && done.stderr.contains(name), "{}", done.stderr);
        // The next may have been on its way.
        assert!((1..=2).contains(&bodies(&standin).len()), "{name}");
    }
}

#[test]
fn a_server_that_never_calls_is_asked_for_a_schema() {
    for workers in ["1", "8"] {
        let (world, standin) = world(12, vec![Rule::always(Action::NoTools)]);
        let done = run(&world, &["--workers", workers]).exits(0);
        assert_eq!(done.ledger()["rated"], 12);
        let bodies = bodies(&standin);
        let with_tools = bodies.iter().filter(|body| body.get("tools").is_some()).count();
        assert!((3..=2 + workers.parse::<usize>().unwrap()).contains(&with_tools), "{with_tools}");
        assert_eq!(bodies.len(), 12 + with_tools);
        assert_eq!(done.stderr.matches("did not call the function").count(), 1, "{}", done.stderr);
    }
}

#[test]
fn a_forced_form_is_kept() {
    let (world, standin) = world(4, vec![Rule::always(Action::NoTools)]);
    let done = run(&world, &["--reply", "tools"]).exits(3);
    assert_eq!(done.ledger()["failed"], json!({"no_answer": 4}));
    assert!(bodies(&standin).iter().all(|body| body.get("tools").is_some()));
    let refused = world.run(&["summary", "rows.jsonl", "text", "learning_value", "--reply", "json_schema"]);
    assert_eq!(refused.code, 0, "{}", refused.stderr);
}

#[test]
fn json_in_the_content_is_an_answer_meanwhile() {
    let (world, standin) = world(6, vec![Rule::always(Action::EmptyToolCalls)]);
    assert_eq!(run(&world, &["--workers", "1"]).exits(0).ledger()["rated"], 6);
    let bodies = bodies(&standin);
    assert_eq!(bodies.len(), 6, "no reply was paid for twice");
    assert!(bodies[2].get("tools").is_some() && bodies[3].get("response_format").is_some());
}

#[test]
fn a_schema_that_the_server_cannot_take_in_any_form_stops_the_run() {
    let words = "Unable to generate parser for this template. JSON schema error at #: unrecognized type";
    let body = json!({"error": {"code": 400, "message": words, "type": "invalid_request_error"}});
    let (world, standin) = world(20, vec![Rule::always(error(400, body))]);
    let done = run(&world, &["--workers", "1"]).exits(1);
    assert!(done.stderr.contains("lens learning_value") && done.stderr.contains(words), "{}", done.stderr);
    assert!((2..=3).contains(&bodies(&standin).len()), "each form once, and one that was on its way");
}

#[test]
fn prompts_that_the_server_cuts_fail_and_five_of_them_stop_the_run() {
    let cut = Action::Usage(Says { prompt: Some(100), ..Says::default() });
    let (world, standin) = world(9, vec![Rule::always(cut)]);
    let done = run(&world, &["--workers", "1"]).exits(1);
    for word in ["100 of the prompt's", "OLLAMA_CONTEXT_LENGTH", "--max-model-len"] {
        assert!(done.stderr.contains(word), "{word}: {}", done.stderr);
    }
    // The sixth may have been on its way, and be the one that is told of.
    let in_a_row = |count: usize| done.stderr.contains(&format!("cut {count} prompts in a row"));
    let asked = bodies(&standin).len();
    assert!((5..=6).contains(&asked) && (5..=asked).any(in_a_row), "{asked}: {}", done.stderr);
    assert_eq!(done.ledger()["failed"], json!({"prompt_cut": 4}));
    // What was cut is no answer, and it was paid for.
    let summary = &done.json()["summaries"][0];
    assert!(summary["usage"]["input_tokens"].as_u64().is_none_or(|tokens| tokens >= 400), "{summary}");
    assert_eq!(run(&world, &["--max", "1"]).code, 3);
}

#[test]
fn without_a_tokenizer_equal_counts_for_unlike_prompts_are_a_cut() {
    let cut = Action::Usage(Says { prompt: Some(512), ..Says::default() });
    let (world, _standin) = world(0, vec![Rule::always(cut)]);
    let text = |times: usize| crate::world::text(times).repeat(times);
    // Of two questions that are begun the later one may go first: three short ones come before any long one has its turn.
    let rows: Vec<String> = [1, 1, 2, 6, 6, 6]
        .iter()
        .enumerate()
        .map(|(n, times)| json!({"text": format!("{n} {}", text(*times))}).to_string())
        .collect();
    world.write("rows.jsonl", rows.join("\n"));
    let done = run(&world, &["--model", "mine", "--workers", "1"]).exits(3);
    assert_eq!((&done.ledger()["rated"], &done.ledger()["failed"]), (&json!(3), &json!({"prompt_cut": 3})));
}

#[test]
fn counts_that_are_none_cut_nothing() {
    for says in [
        Says { prompt: Some(0), ..Says::default() },
        Says { prompt: Some(1), ..Says::default() },
        // The cached tokens beside the others.
        Says { prompt: Some(70), cached: Some(900), ..Says::default() },
    ] {
        let (world, _standin) = world(8, vec![Rule::always(Action::Usage(says.clone()))]);
        assert_eq!(run(&world, &[]).exits(0).ledger()["rated"], 8, "{says:?}");
    }
}

#[test]
fn an_overflow_is_a_failed_row_with_the_numbers() {
    let body = json!({"error": {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 8411, "n_ctx": 4096,
        "message": "request (8411 tokens) exceeds the available context size (4096 tokens), try increasing it"}});
    let (world, standin) = world(3, vec![Rule::first(1, error(400, body))]);
    let done = run(&world, &["--workers", "1"]).exits(3);
    assert_eq!(done.ledger()["failed"], json!({"too_long": 1}));
    let lines = world.lines("rows.jsonl/learning_value.jsonl");
    let line = lines.iter().find_map(|line| line["failure"]["detail"].as_str()).unwrap();
    for word in ["8411", "4096", "llama.cpp: -c", "TOKENS_PER_CHUNK"] {
        assert!(line.contains(word), "{line}");
    }
    assert_eq!(bodies(&standin).len(), 3, "not asked again");
}

#[test]
fn output_that_llama_cpp_cannot_read_is_an_invalid_answer() {
    let body = json!({"error": {"code": 500, "type": "server_error",
        "message": "The model produced output that does not match the expected peg-native format"}});
    let (world, standin) = world(2, vec![Rule::first(1, error(500, body.clone()))]);
    assert_eq!(run(&world, &["--workers", "1"]).exits(0).ledger()["rated"], 2);
    let mut turns: Vec<usize> =
        bodies(&standin).iter().map(|body| body["messages"].as_array().unwrap().len()).collect();
    turns.sort_unstable();
    assert_eq!(turns, [2, 2, 4], "one repair turn");
    let (world, _standin) = self::world(2, vec![Rule::always(error(500, body))]);
    assert_eq!(run(&world, &[]).exits(3).ledger()["failed"], json!({"invalid_answer": 2}));
}

#[test]
fn a_model_that_loads_is_waited_for() {
    let body = json!({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}});
    let (world, _standin) = world(2, vec![Rule::first(1, error(503, body))]);
    assert_eq!(run(&world, &["--workers", "1"]).exits(0).ledger()["rated"], 2);
}

#[test]
fn scores_in_quotes_and_arguments_escaped_twice_are_answers() {
    let answer = r#"{"rationale": "fine", "factual": "3", "well_written": 2, "specific": "1.5", "enhances_understanding": 2,
        "self_contained": "1", "overall": "2.5"}"#;
    for arguments in [answer.to_owned(), Value::from(answer).to_string(), format!("{answer} That is all.")] {
        let (world, standin) = world(1, vec![Rule::always(Action::Arguments(arguments.clone()))]);
        assert_eq!(run(&world, &[]).exits(0).ledger()["rated"], 1, "{arguments}");
        assert_eq!(bodies(&standin).len(), 1);
        assert_eq!(world.lines("rows.jsonl/learning_value.jsonl")[0]["score"]["overall"], 2.5);
    }
}

#[test]
fn azure_gets_its_version_in_the_query_and_the_key_in_its_header() {
    let key = "azure-secret";
    let standin = Standin::start(Config { api_key: Some(key.into()), ..Config::default() });
    let world = World::new();
    world.rows("rows.jsonl", 2);
    let base = standin.azure_url("my-luna");
    let with_query = format!("{base}/?api-version=2024-10-21");
    for (url, more) in [(&base, &["--api-version", "2024-10-21"][..]), (&with_query, &["--version", "2"][..])]
    {
        let mut command = world.command(&[&RATE[..], more].concat());
        command.env("OPENAI_BASE_URL", url).env("OPENAI_API_KEY", key);
        let done = Run::of(command.output().unwrap()).exits(0);
        assert_eq!(done.ledger()["rated"], 2);
        assert!(!done.stderr.contains("api-version") && !done.stderr.contains(key), "{}", done.stderr);
    }
    let asked: Vec<Logged> =
        standin.requests().into_iter().filter(|logged| logged.path.contains("/completions")).collect();
    assert_eq!(asked.len(), 4);
    let path = "/openai/deployments/my-luna/chat/completions?api-version=2024-10-21";
    assert!(asked.iter().all(|logged| logged.path == path), "{}", asked[0].path);
    assert!(asked.iter().all(|logged| logged.headers.contains_key("api-key")));
    assert!(asked.iter().all(|logged| !logged.headers.contains_key("authorization")));
}

#[test]
fn a_deployment_that_does_not_exist_and_a_filtered_prompt_at_azure() {
    let missing = json!({"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}});
    let (world, _standin) = world(2, vec![Rule::always(error(404, missing))]);
    let done = run(&world, &[]).exits(1);
    assert!(done.stderr.contains("/openai/deployments/NAME"), "{}", done.stderr);
    let filtered = json!({"error": {"message": "The response was filtered", "type": null, "param": "prompt", "code": "content_filter",
        "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}});
    let (world, standin) = self::world(2, vec![Rule::first(1, error(400, filtered))]);
    assert_eq!(run(&world, &["--workers", "1"]).exits(3).ledger()["failed"], json!({"content_filter": 1}));
    assert_eq!(bodies(&standin).len(), 2);
}

#[test]
fn the_user_of_a_url_is_sent_and_the_key_is_not() {
    let (world, standin) = world(1, vec![]);
    let with_user = |standin: &Standin| standin.url().replace("http://", "http://me:p%40w@");
    let mut command = world.command(&RATE);
    Run::of(command.env("OPENAI_BASE_URL", with_user(&standin)).output().unwrap()).exits(0);
    let asked = standin.requests();
    assert_eq!(
        asked.iter().filter(|logged| logged.headers.contains_key("authorization")).count(),
        asked.len()
    );
    // There is one `Authorization`: this server wants the key in it.
    let standin = Standin::start(Config { api_key: Some("sk-secret".into()), ..Config::default() });
    let mut command = world.command(&RATE);
    command.env("OPENAI_BASE_URL", with_user(&standin)).env("OPENAI_API_KEY", "sk-secret");
    let done = Run::of(command.output().unwrap()).exits(1);
    assert!(done.stderr.contains("refused the user and password of its URL"), "{}", done.stderr);
    assert!(!done.stderr.contains("p%40w") && !done.stderr.contains("sk-secret"), "{}", done.stderr);
}

#[test]
fn the_vendor_s_date_is_warned_of() {
    let dated = |date: Value| {
        let details = json!({"shutdown_date": date}).as_object().unwrap().clone();
        let (world, standin) = World::with_endpoint(Config {
            models: vec!["gpt-6-luna".into(), "other".into()],
            model_details: details,
            ..Config::default()
        });
        world.rows("rows.jsonl", 1);
        (run(&world, &[]).exits(0).stderr, standin)
    };
    assert!(dated(json!("2020-01-31")).0.contains("WAS SWITCHED OFF on 2020-01-31"));
    assert!(dated(json!(1_580_428_800)).0.contains("WAS SWITCHED OFF on 2020-01-31"));
    assert!(!dated(json!("2999-01-31")).0.to_lowercase().contains("switched off"));
}
