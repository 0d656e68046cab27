//! The counterpart of each of the 58 situations in which the real Python client was recorded (`datasets` 5.2.0): the
//! same outcome, or a better one. Where it differs from the client's, the table says why.

use super::make::text;
use super::repos::{jsonl_gz, many_files, small, textbooks};
use super::table::Outcome::{Refused, Rows};
use super::table::{CASES, Case, ROW, SHARD};
use super::{at_once, ids, offline, ratings, refused, summary, texts};
use crate::testhub::{Action, Config, Fault, Missing, Repos, Side, TestHub};
use crate::world::World;

#[track_caller]
fn check(hub: &TestHub, case: &Case) {
    let (name, line, variables, outcome) = case;
    let world = World::new();
    world.write("token-file", "hf_ok\n");
    let arguments: Vec<&str> = line.split(' ').collect();
    let arguments = [&["summary"], &arguments[..], &super::QUIET].concat();
    let mut command = super::command(&world, hub, &arguments);
    let run = crate::world::Run::of(command.envs(variables.iter().copied()).output().unwrap());
    match outcome {
        Rows(rows, id, first) => {
            assert_eq!(run.code, 0, "{name}: {}", run.stderr);
            let column = arguments[2];
            let (ids, texts) = (ids(&world), texts(&world, column));
            assert_eq!((ids.len(), ids[0].as_str()), (*rows, *id), "{name}: {line}");
            let text = texts[0].as_str().map_or_else(|| texts[0].to_string(), str::to_owned);
            assert_eq!(text, *first, "{name}: {line}");
        }
        Refused(code, words) => {
            let message = refused(run, *code);
            for word in *words {
                assert!(message.contains(word), "{name}: {line}: `{word}` in {message}");
            }
            assert!(message.lines().count() == 1, "{name}: one sentence: {message}");
        }
    }
}

#[test]
fn each_recorded_situation_has_the_same_outcome_or_a_better_one() {
    let hub = TestHub::start(many_files(small(jsonl_gz(textbooks(Repos::new())))));
    let cases: Vec<_> = CASES.chunks(CASES.len().div_ceil(4)).collect();
    at_once(&cases, |cases| cases.iter().for_each(|case| check(&hub, case)));
}

#[test]
fn a_missing_dataset_is_told_also_where_the_hub_sends_no_code() {
    let config = Config { missing: Missing::Faithful, ..Config::default() };
    let hub = TestHub::start_with(jsonl_gz(Repos::new()), config);
    let words: &[&str] = &["no dataset `acme/nope`, or it is private", "HF_TOKEN"];
    check(
        &hub,
        &("17b-missing-repo-anonymous-faithful-401", "acme/nope text --stream", &[], Refused(2, words)),
    );
}

#[test]
fn a_random_sample_is_of_all_shards_where_python_s_is_of_one() {
    // 02: Python shuffles what it has read of the shards' beginnings, by a generator of its own; this sample is
    // drawn of all rows, and does not change: people's stores depend on it.
    let hub = TestHub::start(textbooks(Repos::new()));
    let world = World::new();
    summary(&world, &hub, &["vikp/textbooks", "markdown", "--stream", "--max", "25"]).exits(0);
    let ids = ids(&world);
    assert_eq!(ids.len(), 25);
    for shard in 0..3 {
        assert!(ids.iter().any(|id| id.starts_with(&format!("data/train-{shard:05}-of-00003.parquet#"))));
    }
}

#[test]
fn what_fails_for_a_moment_does_not_change_the_outcome() {
    let fault = |side, path: &str, action| Fault::new(side, path, action);
    let limited = Action::rate_limited(0).header("RateLimit", "\"resolvers\";r=0;t=0");
    let cases = [
        ("43-rate-limited-then-ok", fault(Side::Hub, "/resolve/*parquet", limited)),
        ("44-cdn-503-then-ok", fault(Side::Cdn, "", Action::status(503).body("x"))),
        // Python dies of both.
        ("46-cdn-expired-signature", fault(Side::Hub, "/resolve/*parquet", Action::expired())),
        ("53-cdn-ignores-range-once", fault(Side::Cdn, "", Action::ignoring_range()).if_range()),
        ("57-hub-500-on-api", fault(Side::Hub, "/tree/", Action::status(500))),
    ];
    at_once(&cases, |(name, fault)| {
        let hub = TestHub::start(textbooks(Repos::new()));
        hub.fault(fault.clone());
        check(
            &hub,
            &(name, "vikp/textbooks markdown --stream --max 2 --sample first", &[], Rows(2, SHARD, ROW)),
        );
    });
}

#[test]
fn a_body_that_is_cut_is_read_on() {
    let hub = TestHub::start(jsonl_gz(Repos::new()));
    hub.fault(Fault::new(Side::Cdn, "", Action::truncated(700)));
    let outcome = Rows(300, "train.jsonl.gz#0", ROW);
    check(&hub, &("45-cdn-truncated-body-then-ok", "acme/jsonl-gz text --stream", &[], outcome));
    let ranges: Vec<_> = hub
        .log()
        .iter()
        .filter(|request| request.side == "cdn")
        .map(|request| request.request["range"].clone())
        .collect();
    assert!(ranges[1].starts_with("bytes=700-"), "{ranges:?}");
}

#[test]
fn a_limit_that_lasts_ends_the_run_and_says_when_to_come_back() {
    let hub = TestHub::start(textbooks(Repos::new()));
    // Five tries, of which the last says how long to wait.
    let soon = Action::status(429).header("Retry-After", "0");
    hub.fault(Fault::new(Side::Hub, "/tree/", soon).times(4));
    hub.fault(Fault::new(Side::Hub, "/tree/", Action::rate_limited(0)).times(99));
    let words: &[&str] = &["limits the rate of requests", "try again in 1 s", "HF_TOKEN"];
    let case = ("56-rate-limited-forever", "vikp/textbooks markdown --stream", &[][..], Refused(1, words));
    check(&hub, &case);
    assert_eq!(hub.log().iter().filter(|request| request.path.contains("/tree/")).count(), 5);
}

#[test]
fn what_was_downloaded_is_read_without_the_hub() {
    let hub = TestHub::start(jsonl_gz(Repos::new()));
    let world = World::new();
    summary(&world, &hub, &["acme/jsonl-gz", "text"]).exits(0);
    let first = ratings(&world);
    hub.clear_log();
    // 54: without requests, streamed or not.
    for arguments in [&["acme/jsonl-gz", "text"][..], &["acme/jsonl-gz", "text", "--stream"]] {
        offline(&world, &hub, arguments).exits(0);
        assert_eq!(ratings(&world), first);
    }
    assert_eq!(hub.requests(), 0);
    // 55: with them, nothing is downloaded again.
    summary(&world, &hub, &["acme/jsonl-gz", "text"]).exits(0);
    assert_eq!(ratings(&world), first);
    assert!(hub.log().iter().all(|request| request.side == "hub"), "{:#?}", hub.log());
    assert_eq!(texts(&world, "text")[299], text(299));
}
