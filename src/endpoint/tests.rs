//! Recorded replies of a real llama.cpp server, what requests carry, and what a run learns of a server.

use std::fmt::Write;

use serde_json::json;

use super::*;
use crate::lens::Function;

/// What is made of a recorded reply: which parameter it refuses, or what was said.
fn read(body: &[u8]) -> String {
    let completion: reply::Completion = serde_json::from_slice(body).unwrap();
    let Some(choice) = completion.choices.and_then(|choices| choices.into_iter().next()) else {
        let error = ServerError::parse(body);
        let status = error.kind.split(' ').next().unwrap().parse().unwrap();
        let refusal = Refusal { status, retry_after: None, error };
        let sent = ["tools", "tool_choice", "temperature"];
        let refused =
            dialect::refused(&refusal, &sent).map_or(String::new(), |name| format!(", refuses {name}"));
        return format!("error {}{refused}", refusal.error.kind);
    };
    assert!(completion.usage.unwrap().prompt_tokens.unwrap() > 0);
    let (said, call) = choice.said();
    let what = match said {
        Said::Arguments(found) => format!("{} of {}", found[0], found.len()),
        Said::Broken(text, _) => format!("broken {}", text.len()),
        Said::Nothing(_) => "nothing".to_owned(),
        other => format!("{other:?}"),
    };
    format!("{what} ({call:?})")
}

#[test]
fn recorded_replies_of_llama_cpp_are_read() {
    let folder = format!("{}/tests/fixtures/llama-server", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut table = String::new();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        writeln!(table, "{name}: {}", read(&std::fs::read(&file).unwrap())).unwrap();
    }
    insta::assert_snapshot!(table, @r#"
    chat_plain: Truncated (Missing)
    err_bad_grammar: error 400 invalid_request_error, refuses tools
    err_bad_schema_type: error 400 invalid_request_error, refuses tools
    err_context_overflow: error 400 exceed_context_size_error
    err_invalid_json_body: error 400 invalid_request_error
    err_schema_bad_ref: error 400 invalid_request_error, refuses tools
    err_tool_choice_missing_tool: Truncated (Made)
    err_tool_choice_string: error 400 invalid_request_error, refuses tool_choice
    err_tools_malformed: error 500 server_error, refuses tools
    legacy_functions: Truncated (Missing)
    messages_empty: Truncated (Missing)
    msg_content_null: Truncated (Missing)
    n_2: Truncated (Missing)
    not_found: error 404 not_found_error
    plain_template_rf: {"quality":5,"label":"good","toxic":false,"reason":",5apit"} of 1 (Missing)
    plain_template_tools_required: Truncated (Missing)
    random_weights_500_peg: error 500 server_error
    random_weights_rf: {"quality":2,"label":"neutral","toxic":false,"reason":"aved wasۙintҳldicycle againontetyichalls"} of 1 (Missing)
    random_weights_tools_required: Truncated (Missing)
    rf_json_object: broken 76 (Missing)
    rf_json_object_schema: {"quality":5,"label":"good","toxic":false,"reason":",iddle be"} of 1 (Missing)
    rf_json_schema: {"quality":5,"label":"good","toxic":false,"reason":",iddle be"} of 1 (Missing)
    rf_truncated: Truncated (Unclear)
    stop_string: nothing (Missing)
    tools_choice_auto: {"quality":1,"label":"good","toxic":false,"reason":",iddleight"} of 1 (Made)
    tools_choice_named: {"quality":1,"label":"good","toxic":false,"reason":",iddleight"} of 1 (Made)
    tools_choice_none: Truncated (Missing)
    tools_choice_required: {"quality":1,"label":"good","toxic":false,"reason":",iddleight"} of 1 (Made)
    tools_no_parameters: {} of 2 (Made)
    tools_plus_response_format: {"":5555555555555555} of 1 (Missing)
    tools_temp0: {"quality":3,"label":"good","toxic":false,"reason":","} of 1 (Made)
    tools_truncated: Truncated (Made)
    tools_truncated2: Truncated (Made)
    "#);
}

#[test]
fn a_recorded_overflow_has_its_numbers() {
    let path =
        format!("{}/tests/fixtures/llama-server/err_context_overflow.json", env!("CARGO_MANIFEST_DIR"));
    let error = ServerError::parse(&std::fs::read(path).unwrap());
    assert!(error.kind.contains("exceed_context_size_error"), "{error:?}");
    assert_eq!(error.overflow, Some(Box::new(Overflow { prompt: 8411, context: 4096 })));
}

fn options(model: &str) -> Options {
    Options {
        base_url: "http://127.0.0.1:1/v1".into(),
        api_version: None,
        hosted: false,
        key: None,
        account: Vec::new(),
        model: model.into(),
        answers: model.into(),
        timeout: Duration::from_secs(1),
        max_generation_tokens: 256,
        sampling: Sampling::default(),
        reply: ReplyForm::Auto,
        tier: None,
        price: None,
    }
}

fn form(options: &Options) -> Form {
    let function =
        Function { name: "rate".into(), description: "Rates.".into(), parameters: json!({"type": "object"}) };
    Form::new(&function, "You rate.", options).unwrap()
}

fn body(options: &Options) -> Value {
    let form = form(options);
    serde_json::to_value(form.body(&[Message { role: "user", content: "x" }], 1, Dialect::default())).unwrap()
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

fn refusal(status: u16, message: &str) -> Refusal {
    let error = json!({"error": {"message": message}}).to_string();
    Refusal { status, retry_after: None, error: ServerError::parse(error.as_bytes()) }
}

fn not_taken(name: &str) -> Refusal {
    refusal(400, &format!("Unsupported parameter: '{name}' is not supported with this model."))
}

/// What an endpoint asks after these refusals, each of the request that the one before it led to.
fn after(options: Options, refusals: &[Refusal]) -> (Value, Vec<Adapted>, Vec<String>) {
    let form = form(&options);
    let endpoint = Endpoint::new(options).unwrap();
    let adapted = refusals.iter().map(|refusal| endpoint.adapt(&form, endpoint.dialect(), refusal)).collect();
    let mut body = serde_json::to_value(form.body(&[], 1, endpoint.dialect())).unwrap();
    for same in ["model", "messages"] {
        body.as_object_mut().unwrap().remove(same);
    }
    (body, adapted, endpoint.notes())
}

#[test]
fn each_refused_parameter_is_asked_in_its_other_form() {
    let tools = form(&options("mine")).fixed(Dialect::default())[1].to_owned();
    let tools: Value = serde_json::from_str(&tools).unwrap();
    let (body, adapted, notes) = after(
        options("mine"),
        &["max_tokens", "temperature", "parallel_tool_calls", "tool_choice", "reasoning_effort"]
            .map(not_taken),
    );
    assert_eq!(adapted, vec![Adapted::Again; 5]);
    assert_eq!(
        body,
        json!({
            "tools": tools,
            "tool_choice": {"type": "function", "function": {"name": "rate"}},
            "max_completion_tokens": 256,
            "reasoning_effort": "none",
        })
    );
    insta::assert_snapshot!(notes.join("\n"), @"
    http://127.0.0.1:1/v1 does not take `max_tokens`: the room for the answer is sent as `max_completion_tokens` from now on
    http://127.0.0.1:1/v1 does not take `temperature`: it is left out from now on
    http://127.0.0.1:1/v1 does not take `parallel_tool_calls`: it is left out from now on
    http://127.0.0.1:1/v1 does not take `tool_choice`: it is sent with the function's name from now on
    http://127.0.0.1:1/v1 does not take `reasoning_effort`: it is sent as `none` from now on
    ");
}

#[test]
fn a_model_that_does_not_know_the_effort_none_thinks_and_gets_room_for_it() {
    let (body, ..) = after(options("gpt-6-luna"), &[not_taken("reasoning_effort"), not_taken("temperature")]);
    assert!(body.get("reasoning_effort").is_none() && body.get("temperature").is_none());
    assert_eq!(body["max_completion_tokens"], 256 + 16_384);
}

#[test]
fn functions_that_are_refused_become_a_schema() {
    let (body, adapted, _) = after(options("mine"), &[refusal(400, "gemma3:4b does not support tools")]);
    assert_eq!(adapted, [Adapted::Again]);
    assert!(body.get("tools").is_none() && body.get("tool_choice").is_none());
    assert_eq!(body["response_format"]["json_schema"]["name"], "rate");
}

#[test]
fn a_choice_of_tool_goes_to_the_object_then_to_auto_then_to_a_schema() {
    let refusals = vec![refusal(400, "\"auto\" tool choice requires --enable-auto-tool-choice"); 3];
    let choice = |n: usize| after(options("mine"), &refusals[..n]).0;
    assert_eq!(choice(0)["tool_choice"], "required");
    assert_eq!(choice(1)["tool_choice"]["function"]["name"], "rate");
    assert_eq!(choice(2)["tool_choice"], "auto");
    assert!(choice(3)["response_format"].is_object());
}

#[test]
fn no_change_is_made_twice() {
    let (_, adapted, notes) =
        after(options("mine"), &[not_taken("max_tokens"), not_taken("max_completion_tokens")]);
    assert_eq!((adapted, notes.len()), (vec![Adapted::Again, Adapted::No], 1));
    let (_, adapted, _) =
        after(options("mine"), &[not_taken("tools"), refusal(400, "JSON schema error at #: no such type")]);
    let [Adapted::Again, Adapted::Stop(why)] = &adapted[..] else { panic!("{adapted:?}") };
    assert!(why.contains("no such type") && why.contains("nor in the other form"), "{why}");
}

#[test]
fn what_was_sent_before_a_change_is_asked_again_in_the_new_form() {
    let options = options("mine");
    let form = form(&options);
    let endpoint = Endpoint::new(options).unwrap();
    let old = endpoint.dialect();
    for _ in 0..3 {
        assert_eq!(endpoint.adapt(&form, old, &not_taken("temperature")), Adapted::Again);
    }
    assert_eq!(endpoint.notes().len(), 1);
    assert!(endpoint.notes().is_empty());
}

#[test]
fn what_the_user_set_is_never_dropped() {
    let sampling = Sampling {
        temperature: Some(0.5),
        model_seed: Some(7),
        reasoning_effort: Some("low".into()),
        extra_body: json!({"max_tokens": 9, "top_k": 1}).as_object().unwrap().clone(),
    };
    for (name, flag) in [
        ("temperature", "--temperature"),
        ("seed", "--model-seed"),
        ("reasoning_effort", "--reasoning-effort"),
        ("max_tokens", "--extra-body"),
        ("top_k", "--extra-body"),
        ("tools", "--reply auto"),
    ] {
        let options = Options { sampling: sampling.clone(), reply: ReplyForm::Tools, ..options("mine") };
        let (_, adapted, notes) = after(options, &[not_taken(name)]);
        let [Adapted::Stop(why)] = &adapted[..] else { panic!("{name}: {adapted:?}") };
        assert!(why.contains(flag) && why.contains(name) && notes.is_empty(), "{why}");
    }
}

/// An endpoint that was told of these replies, and whether each is asked again.
fn heard(options: Options, calls: &[Call]) -> (Endpoint, Vec<bool>) {
    let form = form(&options);
    let endpoint = Endpoint::new(options).unwrap();
    let again = calls.iter().map(|call| endpoint.heard(&form, endpoint.dialect(), *call)).collect();
    (endpoint, again)
}

#[test]
fn a_server_that_never_calls_is_asked_for_a_schema_after_three_replies() {
    let (endpoint, again) = heard(options("mine"), &[Call::Missing, Call::Unclear, Call::Missing]);
    assert_eq!((again, endpoint.notes().len()), (vec![true, false, true], 0));
    let (endpoint, again) = heard(options("mine"), &[Call::Missing; 5]);
    assert_eq!(again, [true, true, true, false, false], "in the new form no call is missed");
    insta::assert_snapshot!(endpoint.notes().join("\n"), @"http://127.0.0.1:1/v1 did not call the function in 3 replies: answers are asked for by a JSON Schema, not by a function from now on (--reply forces a form)");
}

#[test]
fn a_server_that_has_called_once_keeps_its_functions() {
    let calls = [Call::Missing, Call::Missing, Call::Made, Call::Missing, Call::Missing];
    let (endpoint, again) = heard(options("mine"), &calls);
    assert_eq!(again, [true, true, false, false, false]);
    assert_eq!(endpoint.dialect(), Dialect::default());
}

#[test]
fn a_form_that_the_user_forces_stays() {
    for reply in [ReplyForm::Tools, ReplyForm::JsonSchema] {
        let (endpoint, again) = heard(Options { reply, ..options("mine") }, &[Call::Missing; 5]);
        assert_eq!((again, endpoint.dialect()), (vec![false; 5], Dialect::default()));
    }
}

#[test]
fn half_a_bill_is_none_and_thoughts_that_only_the_total_counts_are_paid() {
    let price = Some("1,10".parse().unwrap());
    let endpoint = Endpoint::new(Options { price, ..options("x") }).unwrap();
    let usage = |usage: Value| {
        let completion = serde_json::from_value(json!({"choices": [], "usage": usage})).unwrap();
        endpoint.billing(&completion).usage(&completion).unwrap()
    };
    assert_eq!(usage(json!({"prompt_tokens": 100, "completion_tokens": null})).cost, None);
    assert_eq!(usage(json!({"prompt_tokens": 0, "completion_tokens": 0})).cost, None);
    let whole = usage(json!({"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 125}));
    assert_eq!((whole.output, whole.cost.unwrap().to_string().as_str()), (25, "$0.00035"));
}

#[test]
fn no_message_shows_a_secret_of_the_url() {
    let base_url = "https://me:hunter22@host/v1?token=abc123&api-version=2024".into();
    let endpoint = Endpoint::new(Options { base_url, ..options("x") }).unwrap();
    let shown = endpoint.without_key_in("refused me:hunter22 with abc123 in 2024");
    assert_eq!(shown, "refused me:(the key) with (the key) in 2024");
}

#[test]
fn a_remembered_dialect_is_begun_with_but_what_the_user_sets_is_sent() {
    let remembered: Dialect =
        serde_json::from_str(r#"{"temperature":"other","tool_choice":"named"}"#).unwrap();
    let endpoint = Endpoint::new(options("mine")).unwrap();
    endpoint.begin_with(remembered);
    assert_eq!(endpoint.dialect(), remembered);
    let mut options = options("mine");
    options.sampling.temperature = Some(0.5);
    let endpoint = Endpoint::new(options).unwrap();
    endpoint.begin_with(remembered);
    assert_eq!(endpoint.dialect(), serde_json::from_str(r#"{"tool_choice":"named"}"#).unwrap());
}
