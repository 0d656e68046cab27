//! Recorded replies of a real llama.cpp server, and what requests carry.

use serde_json::json;

use super::*;
use crate::lens::Function;

fn recorded(name: &str) -> Said {
    let path = format!("{}/tests/fixtures/llama-server/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let completion: reply::Completion = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(completion.usage.unwrap().prompt_tokens.unwrap() > 0);
    completion.choices.unwrap().into_iter().next().unwrap().said()
}

#[test]
fn recorded_replies_of_llama_cpp_are_read() {
    let Said::Arguments(call) = recorded("tools_choice_required") else { panic!("no call") };
    assert_eq!(call["quality"], 1);
    let Said::Arguments(schema) = recorded("rf_json_schema") else { panic!("no JSON") };
    assert!(schema["quality"].is_number());
    for cut in ["tools_truncated", "tools_truncated2", "rf_truncated"] {
        assert_eq!(recorded(cut), Said::Truncated, "{cut}");
    }
    // Old-style functions and templates without tools are accepted and ignored: the reply is text.
    assert!(!matches!(recorded("legacy_functions"), Said::Arguments(_)));
    assert!(!matches!(recorded("plain_template_tools_required"), Said::Arguments(_)));
}

#[test]
fn a_recorded_overflow_says_its_kind() {
    let path =
        format!("{}/tests/fixtures/llama-server/err_context_overflow.json", env!("CARGO_MANIFEST_DIR"));
    let error = ServerError::parse(&std::fs::read(path).unwrap());
    assert!(error.kind.contains("exceed_context_size_error"), "{error:?}");
}

fn options(model: &str) -> Options {
    Options {
        base_url: "http://127.0.0.1:1/v1".into(),
        hosted: false,
        key: None,
        account: Vec::new(),
        model: model.into(),
        answers: model.into(),
        timeout: Duration::from_secs(1),
        max_generation_tokens: 256,
        sampling: Sampling::default(),
        reply: ReplyForm::Tools,
        tier: None,
        price: None,
    }
}

fn body(options: &Options) -> Value {
    let function =
        Function { name: "rate".into(), description: "Rates.".into(), parameters: json!({"type": "object"}) };
    let form = Form::new(&function, "You rate.", options).unwrap();
    serde_json::to_value(form.body(&[Message { role: "user", content: "x" }], 1)).unwrap()
}

#[test]
fn a_model_that_takes_functions_elsewhere_only_is_asked_for_a_schema() {
    let body = body(&options("gpt-6.1-terra"));
    assert!(body.get("tools").is_none() && body["response_format"]["json_schema"]["name"] == "rate");
    // It thinks: it gets room for that, and its own temperature.
    assert!(body["max_completion_tokens"].as_u64().unwrap() > 10_000 && body.get("temperature").is_none());
}

#[test]
fn what_the_user_set_wins_over_the_table() {
    let mut options = options("gpt-6-luna");
    options.sampling.reasoning_effort = Some("low".into());
    options.sampling.extra_body =
        json!({"max_completion_tokens": 9, "parallel_tool_calls": true}).as_object().unwrap().clone();
    let body = body(&options);
    assert_eq!(body["reasoning_effort"], "low");
    assert_eq!((&body["max_completion_tokens"], &body["parallel_tool_calls"]), (&json!(9), &json!(true)));
}

#[test]
fn urls_are_shown_without_secrets() {
    assert_eq!(shown("https://me:pw@host:8/v1?key=k#f"), "https://host:8/v1");
    assert_eq!(shown("nonsense"), "(not a URL)");
}

#[test]
fn only_loopback_is_this_machine() {
    let local =
        |url: &str| Endpoint::new(Options { base_url: url.into(), ..options("x") }).unwrap().is_local();
    for url in
        ["http://localhost:8080/v1", "http://127.0.0.1/v1", "http://[::1]:80/v1", "http://a:b@127.3.2.1:1/v1"]
    {
        assert!(local(url), "{url}");
    }
    for url in [
        "https://api.openai.com/v1",
        "http://192.168.0.1/v1",
        "http://localhost.example/v1",
        "http://127.0.0.1@evil.example/v1",
    ] {
        assert!(!local(url), "{url}");
    }
}
