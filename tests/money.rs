//! Money: the cap holds whatever fails, a capped run goes on where it stopped, a dry run asks nothing, and every output
//! says the same cost.

use serde_json::{Value, json};

use crate::standin::{Action, Config, Rule, Script, Standin};
use crate::world::{Run, World, limited};

/// US dollars per million tokens, of the prompt and of the answer: a request is about a cent, and six at most.
const PRICE: (f64, f64) = (10.0, 40.0);
const ANSWER: &str =
    r#"{"rationale": "Plain and correct, with one example that carries the thought.", "overall": 2}"#;

/// A world whose endpoint gives always the same answer, after what `script` does.
fn world(rows: usize, mut script: Vec<Rule>) -> (World, Standin) {
    script.push(Rule::always(Action::Arguments(ANSWER.to_owned())));
    let (world, standin) = World::with_endpoint(Config { script: Script(script), ..Config::default() });
    world.rows("rows.jsonl", rows);
    (world, standin)
}

fn run(world: &World, more: &[&str]) -> Run {
    let price = format!("{},{}", PRICE.0, PRICE.1);
    let arguments = ["summary", "rows.jsonl", "text", "--format", "json", "--price", &price];
    world.run(&[&arguments[..], more].concat())
}

/// What the stand-in would bill for its completion requests from the `skip`th on, by its own count of tokens: for all that
/// it answered, and for those that got no reply, too.
fn billed(standin: &Standin, skip: usize) -> f64 {
    let completions =
        standin.requests().into_iter().filter(|logged| logged.path.ends_with("/chat/completions"));
    let tokens = |bytes: usize| bytes.div_ceil(4) as f64;
    completions
        .skip(skip)
        .filter(|logged| matches!(logged.status, 200 | 0))
        .map(|logged| (tokens(logged.body.len()) * PRICE.0 + tokens(ANSWER.len()) * PRICE.1) / 1e6)
        .sum()
}

fn cost(run: &Run) -> f64 {
    run.json()["summaries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|summary| summary["usage"]["cost"].as_f64().unwrap())
        .sum()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn the_cap_is_never_exceeded_whatever_fails() {
    std::thread::scope(|scope| {
        for seed in 0..6_u64 {
            scope.spawn(move || {
                let share = |nth: u64| 0.05 + (seed * 7 + nth * 3) as f64 % 5.0 / 20.0;
                let faults = [
                    limited(),
                    Action::CutBody,
                    Action::CloseWithoutReply,
                    Action::status(502),
                    Action::NotJson,
                ];
                let failing = |(nth, action)| Rule {
                    fraction: Some(share(nth)),
                    times_per_question: Some(1),
                    action,
                    ..Rule::default()
                };
                // Two of them for each seed, since a row that meets more pauses for long, and replies that are no answers: as
                // long as one, so that every reply costs as much, and none to a repair turn, at which the row would fail.
                let two = faults.into_iter().cycle().skip(usize::try_from(seed).unwrap()).take(2);
                let mut script: Vec<Rule> = (1..).zip(two).map(failing).collect();
                let repaired = Action::Arguments(ANSWER.to_owned());
                let none = Action::Content("no ".repeat(ANSWER.len()).split_off(2 * ANSWER.len()));
                script.extend([
                    Rule::always(Action::Delay(seed * 3)),
                    Rule { contains: Some("That reply cannot be used".to_owned()), ..Rule::always(repaired) },
                    failing((6, none)),
                ]);
                let (world, standin) = world(30, script);
                let (cap, workers) = ((150 + 33 * seed) as f64 / 1e3, (1 + seed * 5).to_string());
                let (mut runs, mut rated) = (0, 0);
                loop {
                    runs += 1;
                    assert!(runs < 40, "seed {seed}: it does not come to an end");
                    let before = completions(&standin).len();
                    let run = run(&world, &["--max-cost", &cap.to_string(), "--workers", &workers]);
                    let spent = billed(&standin, before);
                    assert!([0, 4].contains(&run.code), "seed {seed}: {}", run.stderr);
                    rated += run.ledger()["rated"].as_u64().unwrap();
                    assert!(spent <= cap, "seed {seed}: ${spent} of ${cap} in run {runs}");
                    assert!(
                        cost(&run) <= spent + 1e-9,
                        "seed {seed}: {} is said, {spent} billed",
                        cost(&run)
                    );
                    if run.code == 0 {
                        break;
                    }
                    let run = run.exits(4);
                    assert!(run.ledger()["not_reached"].as_u64() > Some(0));
                }
                // Rows whose run stopped between a reply that was no answer and its repair turn are asked anew; no answer is.
                assert_eq!(rated, 30, "seed {seed}: an answer was paid twice");
            });
        }
    });
}

fn completions(standin: &Standin) -> Vec<Value> {
    let logged = standin.requests();
    logged
        .iter()
        .filter(|logged| logged.path.ends_with("/chat/completions"))
        .map(crate::standin::Logged::json)
        .collect()
}

#[test]
fn a_run_stops_at_its_cap_and_the_same_command_asks_only_what_is_missing() {
    let (world, standin) = world(40, vec![]);
    let first = run(&world, &["--max-cost", "0.25", "--workers", "4"]).exits(4);
    let ledger = first.ledger();
    let asked = standin.counters().requests;
    assert!(asked > 0 && ledger["rated"] == asked && ledger["not_reached"] == 40 - asked, "{ledger}");
    assert!(first.stderr.contains("stopped at --max-cost $0.25"), "{}", first.stderr);
    assert!(first.stderr.contains("the same command goes on"), "{}", first.stderr);
    assert!(near(cost(&first), billed(&standin, 0)));
    let second = run(&world, &["--max-cost", "100"]).exits(0);
    assert_eq!((second.ledger()["cached"].as_u64(), standin.counters().requests), (Some(asked), 40));
    assert!(near(cost(&first) + cost(&second), billed(&standin, 0)));
    assert_eq!(standin.counters().repeats, 0);
}

#[test]
fn the_cap_is_that_of_the_command_and_not_of_each_lens_or_dataset() {
    let (world, standin) = world(12, vec![]);
    let lines = std::fs::read_to_string(world.path("rows.jsonl")).unwrap();
    world.write("more.jsonl", lines.replace("Row", "Line"));
    let price = format!("{},{}", PRICE.0, PRICE.1);
    let lenses = "textbook_quality,textbook_depth";
    let arguments =
        ["summary", "rows.jsonl,more.jsonl", "text", lenses, "--price", &price, "--max-cost", "0.3"];
    world.run(&arguments).exits(4);
    assert!(billed(&standin, 0) <= 0.3 && standin.counters().requests > 0);
}

#[test]
fn a_cap_below_one_request_asks_nothing_and_says_so() {
    let (world, standin) = world(3, vec![]);
    let run = run(&world, &["--max-cost", "0.01"]).exits(4);
    assert!(run.stderr.contains("one request may cost $"), "{}", run.stderr);
    assert_eq!((standin.counters().requests, run.ledger()["not_reached"].as_u64()), (0, Some(3)));
}

#[test]
fn a_cap_without_a_price_is_a_mistake_that_names_the_flag() {
    let (world, standin) = World::with_endpoint(Config::default());
    world.rows("rows.jsonl", 2);
    let refused =
        world.run(&["summary", "rows.jsonl", "text", "--max-cost", "1", "--model", "tiny"]).exits(2);
    assert!(refused.stderr.contains("--price IN,OUT"), "{}", refused.stderr);
    let refused = run(&world, &["--max-cost", "1", "--extra-body", r#"{"max_tokens": null}"#]).exits(2);
    assert!(refused.stderr.contains("a bound on the answer"), "{}", refused.stderr);
    for wrong in ["-1", "1e3", "a"] {
        let refused = run(&world, &[&format!("--max-cost={wrong}")]).exits(2);
        assert!(refused.stderr.contains("expected US dollars"), "{}", refused.stderr);
    }
    assert_eq!(standin.counters().requests, 0);
    // A server of one's own that costs nothing is never stopped.
    world.run(&["summary", "rows.jsonl", "text", "--max-cost", "0", "--price", "0,0"]).exits(0);
}

#[test]
fn every_output_says_the_same_cost() {
    let (world, standin) = world(9, vec![]);
    let run = run(&world, &[]).exits(0);
    let cost = cost(&run);
    assert!(near(cost, billed(&standin, 0)) && cost > 0.0);
    let lines = world.lines("rows.jsonl/textbook_quality.jsonl");
    assert!(near(cost, lines.iter().map(|line| line["cost"].as_f64().unwrap()).sum()));
    let csv = std::fs::read_to_string(world.path("data/summary.csv")).unwrap();
    assert!(csv.contains(&format!(",{cost},")), "{cost}: {csv}");
    let stats = world.run(&["cache", "stats", "--format", "json"]).exits(0).json();
    assert!(near(cost, stats["groups"][0]["cost"].as_f64().unwrap()), "{stats}");
}

#[test]
fn attempts_without_a_reply_are_shown_with_what_they_cost_at_most() {
    let (world, _standin) = world(3, vec![Rule::once_per_question(Action::CutBody)]);
    let usage = run(&world, &[]).exits(0).json()["summaries"][0]["usage"].clone();
    assert_eq!(usage["attempts_with_unknown_bill"], 3);
    assert!(usage["unknown_bill_at_most"].as_f64().unwrap() > usage["cost"].as_f64().unwrap(), "{usage}");
    let arguments = ["summary", "rows.jsonl", "text", "--price", "1,1", "--version", "2"];
    let (world, _standin) = self::world(2, vec![Rule::once_per_question(Action::CloseWithoutReply)]);
    let shown = world.run(&arguments).exits(0).stdout;
    assert!(shown.contains("more may be billed for 2 attempts without a reply"), "{shown}");
}

/// A completion whose usage has every kind of token.
fn completion(tier: Option<&str>) -> Action {
    let reply = json!({
        "choices": [{"message": {"tool_calls": [{"function": {"name": "rate_extract", "arguments": ANSWER}}]}, "finish_reason": "tool_calls"}],
        "usage": {
            "prompt_tokens": 1000, "completion_tokens": 100,
            "prompt_tokens_details": {"cached_tokens": 400, "cache_write_tokens": 200},
        },
        "service_tier": tier,
    });
    Action::RawBody { bytes: reply.to_string().into_bytes(), content_type: "application/json".to_owned() }
}

#[test]
fn the_bill_counts_cached_and_written_tokens_and_the_tier_that_answered() {
    // 400 × $1 + 400 × $0.10 + 200 × $1.25 + 100 × $10 per million: $0.00169.
    for (asked, answered, cost) in [
        (None, Some("default"), 0.00169),
        // Nobody asked this server for a tier: its own word is no factor.
        (None, Some("flex"), 0.00169),
        (Some("flex"), Some("flex"), 0.000_845),
        (Some("flex"), Some("default"), 0.00169),
        (Some("flex"), None, 0.00169),
        (Some("priority"), None, 0.00338),
    ] {
        let rules = Script(vec![Rule::always(completion(answered))]);
        let (world, standin) = World::with_endpoint(Config { script: rules, ..Config::default() });
        world.rows("rows.jsonl", 1);
        let rate = ["summary", "rows.jsonl", "text", "--format", "json", "--price", "1,0.10,1.25,10"];
        let tier = asked.map_or(Vec::new(), |tier| vec!["--service-tier", tier]);
        let run = world.run(&[&rate[..], &tier].concat()).exits(0);
        let usage = run.json()["summaries"][0]["usage"].clone();
        assert!(near(usage["cost"].as_f64().unwrap(), cost), "{asked:?} {answered:?}: {usage}");
        assert_eq!((&usage["tokens_cached"], &usage["tokens_cache_write"]), (&json!(400), &json!(200)));
        assert_eq!(completions(&standin)[0]["service_tier"].as_str(), asked);
        // The tier is how a question is served, not what it asks.
        assert_eq!(world.run(&rate).exits(0).ledger()["cached"], 1);
    }
}

#[test]
fn a_flex_tier_without_room_is_waited_for() {
    let full = Action::error(429, "resource_unavailable");
    let (world, standin) = world(2, vec![Rule::once_per_question(full)]);
    assert_eq!(run(&world, &["--service-tier", "flex"]).exits(0).ledger()["rated"], 2);
    assert_eq!(standin.counters().requests, 4);
}

fn forecast(world: &World, more: &[&str]) -> Value {
    run(world, &[&["--dry-run"], more].concat()).exits(0).json()
}

#[test]
fn a_dry_run_asks_nothing_and_foretells_the_cost() {
    let (world, standin) = world(200, vec![]);
    let before = forecast(&world, &["--max", "120"]);
    let counters = standin.counters();
    assert_eq!((counters.requests, counters.other_requests), (0, 0));
    assert!(!world.path("data").exists(), "a dry run writes no results");
    let line = &before["forecasts"][0];
    assert_eq!((&line["questions"], &line["cached"]), (&json!(120), &json!(0)));
    assert_eq!(line["requests"], json!({"low": 120, "expected": 120, "high": 240}));
    assert_eq!(before["seconds"], Value::Null);

    let real = cost(&run(&world, &["--max", "120"]).exits(0));
    let of = |document: &Value, case: &str| document["total"]["cost"][case].as_f64().unwrap();
    // The stand-in has four bytes to a token and answers shorter than most: expected is within a factor of two.
    assert!((real / 2.0..real * 2.0).contains(&of(&before, "expected")), "{real}: {}", before["total"]);
    assert!(of(&before, "low") < of(&before, "expected") && of(&before, "high") >= real);
    let batch = |case: &str| before["total"]["batch_cost"][case].as_f64().unwrap();
    for case in ["low", "expected", "high"] {
        // Rounded up to a pico-dollar for each of the questions.
        assert!((batch(case) - of(&before, case) / 2.0).abs() < 1e-9, "{case}: {}", before["total"]);
    }

    let again = forecast(&world, &["--max", "120"]);
    assert_eq!((&again["forecasts"][0]["cached"], of(&again, "high")), (&json!(120), 0.0));
    // The rest is foretold by the length and the time of the answers that are there.
    let rest = forecast(&world, &["--rpm", "60", "--max-cost", "0.01"]);
    let line = &rest["forecasts"][0];
    assert_eq!(
        (&line["questions"], &line["cached"], &line["answer_length"]),
        (&json!(200), &json!(120), &json!("store"))
    );
    assert_eq!(line["answer_tokens"]["expected"], json!(80 * ANSWER.len().div_ceil(4)));
    assert_eq!((&rest["seconds"], &rest["max_cost"]["expected_fits"]), (&json!(80.0), &json!(false)));
    assert_eq!(rest["max_cost"]["batch_expected_fits"], json!(false));
    assert_eq!(standin.counters().requests, 120);
}

#[test]
fn a_dry_run_of_many_rows_looks_at_some_of_them() {
    let (world, standin) = world(2_600, vec![]);
    // The rows of an earlier sample do not stand for all: they are in the store, the others are not.
    run(&world, &["--max", "500"]).exits(0);
    let all = forecast(&world, &["--yes"]);
    let line = &all["forecasts"][0];
    assert_eq!((&line["rows"], &line["rows_looked_at"]), (&json!(2_600), &json!(1_000)));
    assert_eq!(line["questions"], 2_600);
    assert!((350..650).contains(&line["cached"].as_u64().unwrap()), "{line}");
    let some = forecast(&world, &["--max", "2100"]);
    let line = &some["forecasts"][0];
    assert_eq!((&line["rows"], &line["rows_looked_at"]), (&json!(2_100), &json!(700)));
    assert_eq!(standin.counters().requests, 500);
}

#[test]
fn a_dry_run_needs_no_key_and_shows_a_table() {
    let world = World::new();
    world.rows("rows.jsonl", 5);
    let run = world.run(&["summary", "rows.jsonl", "text", "--dry-run", "--max-cost", "1"]).exits(0);
    for said in [
        "gpt-6-luna",
        "Expected",
        "Prompt tokens",
        "5 questions",
        "even the worst case",
        "Time: unknown",
        "Cost with --batch",
    ] {
        assert!(run.stdout.contains(said), "{said}: {}", run.stdout);
    }
    let run = world.run(&["summary", "rows.jsonl", "text", "--dry-run", "--model", "heuristic"]).exits(0);
    assert!(run.stdout.contains("no request, no cost"), "{}", run.stdout);
    let arguments = ["summary", "rows.jsonl", "text", "--dry-run", "--model", "nobodys"];
    let run = world.run(&arguments).exits(0);
    assert!(run.stdout.contains("No price is known for nobodys"), "{}", run.stdout);
    assert!(!run.stdout.contains("--batch"), "there is nothing to be halved: {}", run.stdout);
    let run = world.run(&[&arguments[..], &["--price", "0,0"]].concat()).exits(0);
    assert!(!run.stdout.contains("--batch"), "there is nothing to be halved: {}", run.stdout);
}
