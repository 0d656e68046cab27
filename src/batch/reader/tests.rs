use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, json};

use super::*;
use crate::endpoint::{Call, Refusal, ReplyForm, Said, ServerError};
use crate::lens;
use crate::rating::question::Sampling;
use crate::store::{Slot, Stage};

fn options() -> Options {
    Options {
        base_url: "http://127.0.0.1:1/v1".into(),
        api_version: None,
        hosted: false,
        key: None,
        account: Vec::new(),
        model: "other".into(),
        answers: "other".into(),
        timeout: Duration::from_secs(1),
        max_generation_tokens: 256,
        sampling: Sampling::default(),
        reply: ReplyForm::Auto,
        tier: None,
        price: None,
    }
}

fn batch() -> Batch {
    let lens = lens::open("textbook_quality", &[]).unwrap();
    Batch {
        id: 7,
        intent: "0".repeat(32),
        slot: Arc::new(Slot { lens: lens.name.clone(), model: "m".into(), version: 1, sample: 0 }),
        digest: Digest([0; 32]),
        files: lens.files.clone(),
        asked: "m".into(),
        url: None,
        place: None,
        form: FORM,
        program: "0.1.0".into(),
        dialect: dialect_text(Dialect::default()),
        stage: Stage::Created,
        status: None,
        file: None,
        remote: None,
        requests: 1,
        bytes: 0,
        tokens: 0,
        price: None,
        bound: None,
        cost: None,
        answered: 0,
        failed: 0,
        again: 0,
        waiting: 0,
        made_at: 0,
        changed_at: 0,
    }
}

fn reader() -> Reader {
    Reader::new(&options(), &batch(), None, None).unwrap()
}

const USED: Usage = Usage { input: 10, cached_input: 0, cache_write: 0, output: 5, cost: None };

fn reply(said: Said, call: Call) -> LineResult {
    let reply = Reply {
        said,
        call,
        model: Some("m-1".into()),
        finish_reason: Some("stop".into()),
        usage: Some(USED),
    };
    LineResult::Ran(Box::new(Ok(reply)))
}

fn refusal(status: u16, kind: &str, message: &str) -> LineResult {
    let error = ServerError { kind: kind.into(), message: message.into(), ..ServerError::default() };
    LineResult::Ran(Box::new(Err(Trouble::Refused(Refusal { status, retry_after: None, error }))))
}

fn after(tries: u32, reason: Reason) -> Turn {
    let usage = Usage { input: 100, cost: Some(crate::model::Money::ZERO), ..Usage::default() };
    Turn { tries, last: Some(Failure::new(reason, "before")), usage }
}

fn valid() -> Said {
    let reader = reader();
    let mut arguments = Map::new();
    for rationale in &reader.lens.rationales {
        arguments.insert(rationale.clone(), json!("because"));
    }
    for score in &reader.lens.scores {
        arguments.insert(score.clone(), json!(2.5));
    }
    Said::Arguments(vec![arguments.into()])
}

fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Settled(_, Fate::Answered(_)) => "answered".to_owned(),
        Verdict::Settled(_, Fate::Repair(failure)) => format!("again, a try: {failure}"),
        Verdict::Settled(_, Fate::Again(failure)) => format!("again: {failure}"),
        Verdict::Settled(_, Fate::Failed(failure)) => format!("failed: {failure}"),
        Verdict::Suspect(blame) => format!("suspect: {} / {}", blame.failure, blame.words),
        Verdict::Stop(blame) => format!("stop: {} / {}", blame.failure, blame.words),
    }
}

// The policy as a table: whoever changes it changes this list.
#[test]
fn the_policy_is_this_table() {
    let new = Turn::default;
    let mut table = String::new();
    let mut line = |what: &str, turn: Turn, result: LineResult| {
        writeln!(table, "{what:<38} | {}", words(&reader().judge(&turn, result))).unwrap();
    };
    let invalid = || reply(Said::Arguments(vec![json!({})]), Call::Made);
    let cut = || reply(Said::Truncated, Call::Made);
    line("an answer", new(), reply(valid(), Call::Made));
    line("an answer without a call", new(), reply(valid(), Call::Missing));
    line("invalid", new(), invalid());
    line("invalid, after invalid", after(1, Reason::Invalid), invalid());
    line("invalid, after truncated", after(1, Reason::Truncated), invalid());
    line("invalid, at the third try", after(2, Reason::Truncated), invalid());
    line("not JSON", new(), reply(Said::Broken("{row".into(), "not valid JSON".into()), Call::Made));
    line("no call", new(), reply(Said::Nothing("some row".into()), Call::Missing));
    line("cut", new(), cut());
    line("cut, with twice the room", after(1, Reason::Truncated), cut());
    line("cut, after invalid", after(1, Reason::Invalid), cut());
    line("refused by the model", new(), reply(Said::Refusal("I will not say: row".into()), Call::Unclear));
    line("filtered", new(), reply(Said::Filtered, Call::Unclear));
    line("500", new(), refusal(500, "", "sorry"));
    line("500, the third", after(2, Reason::ServerError), refusal(500, "", "sorry"));
    line("429", new(), refusal(429, "rate_limit_exceeded", "slow"));
    line("429 without money", new(), refusal(429, "insufficient_quota", "no money"));
    line("401", new(), refusal(401, "", "no key"));
    line("404", new(), refusal(404, "model_not_found", "no such model"));
    line("403", new(), refusal(403, "", "not here"));
    line("400", new(), refusal(400, "", "no"));
    line("400, of a parameter", new(), refusal(400, "", "'temperature' is not supported"));
    line("400, of the context", new(), refusal(400, "context_length_exceeded", "long"));
    line("400, of the filter", new(), refusal(400, "content_filter", "bad"));
    line("400, of the room", new(), refusal(400, "", "max_tokens or model output limit was reached"));
    line("400, of the model's call", new(), refusal(400, "tool_use_failed", "Failed to call"));
    let expired = ServerError {
        kind: "batch_expired".into(),
        message: "This request could not be executed".into(),
        ..ServerError::default()
    };
    line("expired", after(2, Reason::ServerError), LineResult::NotRun(expired));
    line("garbled", new(), LineResult::Ran(Box::new(Err(Trouble::Garbled("no choices".into())))));
    insta::assert_snapshot!(table, @"
    an answer                              | answered
    an answer without a call               | answered
    invalid                                | again, a try: invalid_answer: `rationale` is missing; `overall` is missing
    invalid, after invalid                 | failed: invalid_answer: `rationale` is missing; `overall` is missing
    invalid, after truncated               | again, a try: invalid_answer: `rationale` is missing; `overall` is missing
    invalid, at the third try              | failed: invalid_answer: `rationale` is missing; `overall` is missing
    not JSON                               | again, a try: invalid_answer: not valid JSON
    no call                                | again, a try: no_answer: the reply holds no function call and no JSON object
    cut                                    | again, a try: truncated: cut by its length: raise MAX_GENERATION_TOKENS
    cut, with twice the room               | failed: truncated: cut by its length, also with twice the room: raise MAX_GENERATION_TOKENS
    cut, after invalid                     | again, a try: truncated: cut by its length: raise MAX_GENERATION_TOKENS
    refused by the model                   | failed: refusal: the model declined
    filtered                               | failed: content_filter: the server's content filter stopped the reply
    500                                    | again, a try: server_error: HTTP 500
    500, the third                         | failed: server_error: HTTP 500
    429                                    | again, a try: rate_limited: HTTP 429 (rate_limit_exceeded)
    429 without money                      | stop: rejected: HTTP 429 (insufficient_quota) / HTTP 429: no money
    401                                    | stop: rejected: HTTP 401 / HTTP 401: no key
    404                                    | suspect: rejected: HTTP 404 (model_not_found) / HTTP 404: no such model
    403                                    | suspect: rejected: HTTP 403 / HTTP 403: not here
    400                                    | failed: rejected: HTTP 400
    400, of a parameter                    | again: rejected: HTTP 400
    400, of the context                    | failed: too_long: HTTP 400 (context_length_exceeded)
    400, of the filter                     | failed: content_filter: HTTP 400 (content_filter)
    400, of the room                       | again, a try: truncated: cut by its length: raise MAX_GENERATION_TOKENS
    400, of the model's call               | again, a try: invalid_answer: HTTP 400 (tool_use_failed)
    expired                                | again: timeout: it was not run: batch_expired
    garbled                                | again, a try: connection: no choices
    ");
}

#[test]
fn what_is_kept_of_a_question_has_no_words_that_may_quote_its_row_or_the_reply() {
    let row = "a word of the row";
    let error = || ServerError {
        message: format!("cannot use: {row}"),
        kind: format!("invalid_request {row}"),
        param: Some(row.to_owned()),
        ..ServerError::default()
    };
    let refused = |status| {
        LineResult::Ran(Box::new(Err(Trouble::Refused(Refusal {
            status,
            retry_after: None,
            error: error(),
        }))))
    };
    let answer =
        reply(Said::Arguments(vec![json!({"overall": row, "rationale": [row], row: row})]), Call::Made);
    let mut lines: Vec<LineResult> = [400, 401, 403, 404, 413, 429, 500].into_iter().map(refused).collect();
    lines.extend([answer, reply(Said::Broken(row.into(), "not valid JSON".into()), Call::Made)]);
    lines.extend([
        reply(Said::Nothing(row.into()), Call::Missing),
        reply(Said::Refusal(row.into()), Call::Unclear),
    ]);
    lines.push(LineResult::NotRun(error()));
    for line in lines {
        let failure = match reader().judge(&Turn::default(), line) {
            Verdict::Settled(_, fate) => fate.failure().unwrap().clone(),
            Verdict::Suspect(blame) | Verdict::Stop(blame) => {
                assert!(blame.words.contains(row), "who reads it sees why: {}", blame.words);
                blame.failure
            }
        };
        assert!(!failure.detail.contains("row") && !failure.detail.is_empty(), "{failure}");
    }
}

#[test]
fn an_answer_carries_the_use_of_all_its_turns_and_the_reply_its_own() {
    let verdict = reader().judge(&after(1, Reason::Invalid), reply(valid(), Call::Made));
    let Verdict::Settled(usage, Fate::Answered(answer)) = verdict else { panic!("{verdict:?}") };
    assert_eq!((usage.input, answer.provenance.usage.input, answer.provenance.attempts), (10, 110, 2));
    assert_eq!(answer.provenance.model_reported.as_deref(), Some("m-1"));
}

#[test]
fn replies_are_billed_by_the_price_that_held_when_they_were_asked_for() {
    let price = |text: &str| Some(text.parse().unwrap());
    let of = |own, given| {
        Reader::new(&options(), &Batch { price: own, ..batch() }, given, None).unwrap().billing.price
    };
    assert_eq!(of(price("1,2"), price("3,4")), price("1,2"));
    assert_eq!(of(None, price("3,4")), price("3,4"));
    assert_eq!(of(None, None), None);
}

#[test]
fn a_reply_of_unknown_use_makes_the_cost_unknown() {
    let LineResult::Ran(mut ran) = reply(valid(), Call::Made) else { unreachable!() };
    ran.as_mut().as_mut().unwrap().usage = None;
    let Verdict::Settled(usage, Fate::Answered(answer)) =
        reader().judge(&Turn::default(), LineResult::Ran(ran))
    else {
        panic!()
    };
    assert_eq!((usage.cost, answer.provenance.usage.cost), (None, None));
}

#[test]
fn a_server_that_never_calls_is_asked_for_a_schema_and_from_then_on_no_question_pays_for_it() {
    let reader = reader();
    let mut fates = Vec::new();
    for _ in 0..4 {
        fates
            .push(words(&reader.judge(&Turn::default(), reply(Said::Nothing("text".into()), Call::Missing))));
    }
    assert!(fates[..2].iter().all(|fate| fate.starts_with("again, a try")), "{fates:?}");
    assert!(fates[2..].iter().all(|fate| fate.starts_with("again: no_answer")), "{fates:?}");
    assert_ne!(reader.dialect(), Dialect::default());
    assert_eq!(reader.notes().len(), 1);
}

#[test]
fn what_earlier_batches_taught_is_not_learned_twice() {
    let first = reader();
    let refused = || refusal(400, "", "'temperature' is not supported");
    first.judge(&Turn::default(), refused());
    let learned = first.dialect();
    assert_ne!(learned, Dialect::default());
    let second = Reader::new(&options(), &batch(), None, Some(learned)).unwrap();
    assert!(words(&second.judge(&Turn::default(), refused())).starts_with("again: "));
    assert_eq!((second.dialect(), second.notes()), (learned, Vec::new()));
}

#[test]
fn what_the_user_set_and_the_server_refuses_stops_rather_than_changes() {
    let sampling = Sampling { temperature: Some(0.5), ..Sampling::default() };
    let reader = Reader::new(&Options { sampling, ..options() }, &batch(), None, None).unwrap();
    let verdict = reader.judge(&Turn::default(), refusal(400, "", "'temperature' is not supported"));
    assert!(words(&verdict).contains("which --temperature sets"), "{verdict:?}");
}

#[test]
fn a_batch_of_a_newer_form_is_not_read() {
    let newer = Batch { form: FORM + 1, program: "9.0\u{1b}".into(), ..batch() };
    let error = Reader::new(&options(), &newer, None, None).unwrap_err();
    insta::assert_snapshot!(error, @r"batch 7 was made by classified 9.0\u{1b} (form 2), which is newer than this program: update it to go on");
}

#[test]
fn only_64_lower_case_digits_name_a_question() {
    let digest = Digest([0xab; 32]);
    assert_eq!(question_of(&digest.to_string()), Some(digest));
    for wrong in ["", "ab", &"AB".repeat(32), &"ab".repeat(33), &"é".repeat(32), &"g0".repeat(32)] {
        assert_eq!(question_of(wrong), None, "{wrong}");
    }
}
