//! Replies that came whole and are no answer, or not quite.

use serde_json::{Value, json};

use crate::standin::{Action, Rule, Wire};
use crate::world::Run;

use super::{ROWS, Trial, each, fails_one_row, only_row_three, passes};

fn body(value: &Value) -> Action {
    raw(value.to_string().as_bytes())
}

fn raw(bytes: &[u8]) -> Action {
    Action::RawBody { bytes: bytes.to_vec(), content_type: "application/json".to_owned() }
}

/// A complete answer of the lens, as the model would write it.
fn answer() -> Value {
    json!({"rationale": "fine", "factual": 2, "well_written": 2, "specific": 2, "enhances_understanding": 2,
        "self_contained": 2, "overall": 2})
}

/// What is not a chat completion.
fn garbled() -> Vec<Action> {
    let deep = [b"{\"choices\":".as_slice(), &b"[".repeat(100_000)].concat();
    vec![
        Action::NotJson,
        raw(b""),
        raw(b"null"),
        raw(b"[]"),
        raw(b"\"text\""),
        raw(b"{\"choices\": [{\"message\": {\"content\": \"\xff\xfe\"}}]}"),
        raw(&deep),
        body(&json!({})),
        body(&json!({"choices": null})),
        body(&json!({"choices": "none"})),
        body(&json!({"choices": {}})),
        body(&json!({"choices": []})),
        body(&json!({"object": "error", "message": "out of memory"})),
        body(&json!({"error": {"message": "upstream failed", "code": 502}})),
    ]
}

/// What is a completion and no answer to the question.
fn wrong() -> Vec<Action> {
    let mut out_of_range = answer();
    out_of_range["overall"] = json!(7);
    let complete = answer().to_string();
    vec![
        Action::Arguments(complete[..complete.len() / 2].to_owned()),
        Action::Arguments(complete.replace("\"overall\":2", "\"overall\":NaN")),
        Action::Arguments(complete.replace("\"overall\":2", "\"overall\":1e999")),
        Action::Arguments(complete.replace("\"overall\":2", "\"overall\":\"two\"")),
        Action::Arguments(complete.replace("\"overall\":2", "\"overall\":null")),
        Action::Arguments(out_of_range.to_string()),
        Action::Arguments(String::new()),
        Action::Arguments("[]".to_owned()),
        Action::Arguments("{}".to_owned()),
        Action::Content("I would give it a two.".to_owned()),
        Action::Content(String::new()),
        body(&json!({"choices": [{}]})),
        body(&json!({"choices": [{"message": null, "finish_reason": null}]})),
        body(&json!({"choices": [{"message": {"tool_calls": [{"function": {"arguments": 7}}]}}]})),
    ]
}

#[test]
fn what_is_no_completion_is_asked_again() {
    passes(&garbled(), &[]);
}

#[test]
fn what_is_no_answer_is_repaired_once() {
    passes(&wrong(), &[]);
}

#[test]
fn what_stays_no_answer_fails_its_row() {
    each(&wrong(), |action| {
        // Others call the function first: while it is open whether this server does, a reply without a call is asked
        // again. When all rows are asked for all are answered but as many as there are workers.
        let late = only_row_three(Action::Until(ROWS as u64));
        let trial = Trial::new(vec![late, only_row_three(action.clone())]);
        let run = trial.run(&[]).exits(3);
        let failed = &run.ledger()["failed"];
        let known = failed == &json!({"invalid_answer": 1}) || failed == &json!({"no_answer": 1});
        assert!(known, "{action:?}: {failed}");
        assert_eq!(trial.standin.counters().requests, ROWS as u64 + 1, "one repair turn: {action:?}");
        trial.recovers();
    });
}

#[test]
fn an_answer_in_odd_dress_is_an_answer() {
    let complete = answer().to_string();
    let dressed = [
        Action::Arguments(json!(complete).to_string()),
        Action::Arguments(format!("```json\n{complete}\n```")),
        Action::Arguments(format!("{complete} I hope this helps!")),
        Action::Arguments(complete.replace(":2", ":\"2\"")),
        Action::Content(format!("Here it is:\n```json\n{complete}\n```\nIs that all?")),
        Action::Content(format!("<think>a two</think>{complete}")),
        Action::EmptyToolCalls,
        Action::FunctionCall,
        Action::UsageNull,
    ];
    each(&dressed, |action| {
        let trial = Trial::new(vec![only_row_three(action.clone())]);
        assert_eq!(trial.run(&[]).exits(0).ledger()["rated"], ROWS, "{action:?}");
        assert_eq!(trial.standin.counters().requests, ROWS as u64, "asked again: {action:?}");
        trial.recovers();
    });
}

#[test]
fn refusals_and_filters_fail_their_row_without_another_request() {
    let cases = [
        (Action::Refusal("I will not rate this.\u{1b}[2J".to_owned()), "refusal"),
        (Action::ContentFilter, "content_filter"),
        (Action::error(400, "content_filter"), "content_filter"),
    ];
    fails_one_row(&cases, &[], Some(1));
}

#[test]
fn a_reply_without_end_fails_its_row_and_memory_stays_flat() {
    each(&[Wire::Large(200), Wire::LargeChunked(200), Wire::GzipBomb(200)], |wire| {
        let trial = Trial::new(vec![only_row_three(Action::Wire(*wire))]);
        let child = trial.start(&[]);
        let status = format!("/proc/{}/status", child.id());
        let peak = std::thread::spawn(move || {
            // Where there is no such file nothing is measured, and the other assertions remain.
            let mut peak = 0;
            while let Ok(text) = std::fs::read_to_string(&status) {
                let Some(line) = text.lines().find(|line| line.starts_with("VmHWM")) else { break };
                peak = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0_u64);
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            peak
        });
        let run = Run::of(child.wait_with_output().unwrap()).exits(3);
        trial.sound(&run);
        assert_eq!(run.ledger()["failed"], json!({"no_answer": 1}), "{wire:?}");
        let detail = &trial.world.lines("rows.jsonl/learning_value.jsonl")[3]["failure"]["detail"];
        assert!(detail.as_str().unwrap().contains("longer than 16 MiB"), "{wire:?}: {detail}");
        let peak = peak.join().unwrap() >> 10;
        assert!(peak < 150, "{wire:?}: {peak} MiB");
        trial.recovers();
    });
}

#[test]
fn words_of_a_server_cannot_write_on_the_terminal() {
    let error = json!({"error": {"message": "no\u{1b}]0;owned\u{7}\r\n\u{202e}way", "code": "\u{1b}[2J"}});
    let refused = Action::Status { code: 400, body: Some(error), headers: super::headers(&[]) };
    let trial = Trial::new(vec![Rule::always(refused)]);
    let run = trial.run(&[]).exits(1);
    assert!(run.stderr.contains("has not answered one question"), "{}", run.stderr);
}
