//! The counterpart of each of the 58 situations in which the real Python client was recorded (`datasets` 5.2.0): the
//! same outcome, or a better one. Where it differs from the client's, the table says why.

use super::make::text;
use super::repos::{jsonl_gz, many_files, small, textbooks};
use super::{at_once, ids, offline, ratings, refused, summary, texts};
use crate::testhub::{Action, Config, Fault, Missing, Repos, Side, TestHub};
use crate::world::World;

/// What comes of a command.
#[derive(Clone, Copy)]
enum Outcome {
    /// Exit code 0, so many rows, and the id and the text of the first.
    Rows(usize, &'static str, &'static str),
    /// This exit code, and these words in the message.
    Refused(i32, &'static [&'static str]),
}
use Outcome::{Refused, Rows};

/// The recorded scenario, the command after `summary`, variables of the environment, the outcome.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], Outcome);

const OK: &[(&str, &str)] = &[("HF_TOKEN", "hf_ok")];
const VALID: &[(&str, &str)] = &[("HF_TOKEN", "hf_valid")];
const SHARD: &str = "data/train-00000-of-00003.parquet#0";
const ROW: &str = "row 0: some words that say what there is to say about the number 0";

/// The scenarios of a Hub at its best.
const CASES: &[Case] = &[
    (
        "01-stream-textbooks-take3",
        "vikp/textbooks markdown --stream --max 3 --sample first",
        &[],
        Rows(3, SHARD, ROW),
    ),
    ("03-stream-textbooks-all", "vikp/textbooks markdown --stream", &[], Rows(180, SHARD, ROW)),
    ("04-nonstream-textbooks", "vikp/textbooks markdown", &[], Rows(180, SHARD, ROW)),
    (
        "05-jsonl-gz-three-splits",
        "acme/jsonl-gz text --stream --split test",
        &[],
        Rows(30, "test.jsonl.gz#0", "row 320: some words that say what there is to say about the number 320"),
    ),
    ("05-jsonl-gz-three-splits", "acme/jsonl-gz text --stream", &[], Rows(300, "train.jsonl.gz#0", ROW)),
    ("06-jsonl-zst", "acme/jsonl-zst text --stream", &[], Rows(200, "corpus.jsonl.zst#0", ROW)),
    (
        "07-two-configs-default",
        "acme/two-configs text --stream --split test",
        &[],
        Rows(10, "en/test.csv#0", "en test, 0"),
    ),
    (
        "08-two-configs-fr",
        "acme/two-configs text --stream --split test --config fr",
        &[],
        Rows(10, "fr/test.csv#0", "fr test, 0"),
    ),
    (
        "09-no-default-config",
        "acme/no-default text --stream",
        &[],
        Refused(2, &["several configs and no default", "a, b", "--config"]),
    ),
    ("10-no-default-a-and-b", "acme/no-default text --stream --config a", &[], Rows(5, "a/x.jsonl#0", ROW)),
    (
        "10-no-default-a-and-b",
        "acme/no-default text --stream --config b",
        &[],
        Rows(5, "b/y.jsonl#0", "row 5: some words that say what there is to say about the number 5"),
    ),
    (
        "11-bad-config",
        "acme/two-configs text --stream --config de",
        &[],
        Refused(2, &["no config `de`", "en, fr", "--config"]),
    ),
    (
        "12-missing-split",
        "acme/only-test text --stream",
        &[],
        Refused(2, &["no split `train`", "it has test", "--split"]),
    ),
    (
        "13-gated-anonymous-401",
        "acme/gated text --stream",
        &[],
        Refused(2, &["`acme/gated` is gated", "/datasets/acme/gated", "log in"]),
    ),
    (
        "14-gated-token-no-access-403",
        "acme/gated text --stream",
        VALID,
        Refused(
            2,
            &["`acme/gated` is gated", "/datasets/acme/gated", "the token from HF_TOKEN has no access"],
        ),
    ),
    (
        "15-gated-token-ok",
        "acme/gated text --stream",
        OK,
        Rows(50, "data/train-00000-of-00001.parquet#0", ROW),
    ),
    // Python says 401; ours says whose token it is and what to do.
    (
        "16-bad-token-on-public",
        "acme/jsonl-gz text --stream",
        &[("HF_TOKEN", "hf_expired")],
        Refused(2, &["rejects the token from HF_TOKEN", "public datasets need none"]),
    ),
    (
        "17-missing-repo-anonymous",
        "acme/nope text --stream",
        &[],
        Refused(2, &["no dataset `acme/nope`, or it is private", "HF_TOKEN"]),
    ),
    (
        "18-missing-repo-with-token",
        "acme/nope text --stream",
        VALID,
        Refused(2, &["no dataset `acme/nope`, or it is private", "the token from HF_TOKEN"]),
    ),
    ("19-private-token-ok", "acme/private text --stream", OK, Rows(10, "train.jsonl#0", ROW)),
    (
        "19-private-token-ok",
        "acme/private text --stream",
        VALID,
        Refused(2, &["no dataset `acme/private`, or it is private"]),
    ),
    ("20-renamed", "acme/renamed-old text --stream", &[], Rows(3, "train.jsonl#0", ROW)),
    ("21-case", "Acme/Renamed-New text --stream", &[], Rows(3, "train.jsonl#0", ROW)),
    // Python fails on a name of one part; the Hub redirects it like any older name.
    ("22-single-segment", "legacyname text --stream", &[], Rows(3, "train.jsonl#0", ROW)),
    // Python refuses a script; the Hub's conversion of it is the same data.
    ("23-script-only", "acme/script-only text --stream", &[], Rows(20, "default/train/0000.parquet#0", ROW)),
    (
        "23-script-only",
        "acme/script-alone text --stream",
        &[],
        Refused(1, &["is a script, which is not run", "to_parquet"]),
    ),
    (
        "24-script-only-convert-branch",
        "acme/script-only text --stream --revision refs/convert/parquet",
        &[],
        Rows(20, "default/train/0000.parquet#0", ROW),
    ),
    (
        "25-many-files-pagination",
        "acme/many-files text --stream --max 1 --sample first",
        &[],
        Rows(1, "data/part-00000.jsonl#0", ROW),
    ),
    (
        "26-revision-branch",
        "acme/branchy text --stream --revision dev/two",
        &[],
        Rows(3, "train.jsonl#0", "row 100: some words that say what there is to say about the number 100"),
    ),
    (
        "27-revision-missing",
        "acme/branchy text --stream --revision nope",
        &[],
        Refused(2, &["no revision `nope`", "it has dev/two, main"]),
    ),
    ("28-json-array", "acme/json-array text --stream", &[], Rows(30, "train.json#0", ROW)),
    ("29-text", "acme/text text --stream", &[], Rows(4, "train.txt#0", "line one")),
    ("30-tsv", "acme/tsv text --stream", &[], Rows(2, "train.tsv#0", "a")),
    ("31-arrow", "acme/arrow text --stream", &[], Rows(120, "data/train-00000-of-00002.arrow#0", ROW)),
    // Python reads archives of samples; ours says what it reads.
    (
        "32-webdataset",
        "acme/wds txt --stream",
        &[],
        Refused(2, &["webdataset", "is not read; read are parquet"]),
    ),
    ("33-odd-names", "acme/odd-names text --stream", &[], Rows(6, "data/train set #1 [a].jsonl#0", ROW)),
    ("34-dir-splits", "acme/dir-splits text --stream --split validation", &[], Rows(1, "dev/b.csv#0", "b")),
    ("34-dir-splits", "acme/dir-splits text --stream", &[], Rows(1, "my-train-data/a.csv#0", "a")),
    ("35-empty", "acme/empty text --stream", &[], Refused(1, &["`acme/empty`", "has no data files"])),
    (
        "36-mixed-formats",
        "acme/mixed text --stream",
        &[],
        Refused(1, &["its splits are in different formats", "parquet", "csv"]),
    ),
    (
        "37-legacy-infos",
        "acme/legacy-infos text --stream",
        &[],
        Rows(9, "data/train-00000-of-00001-abcdef0123456789.parquet#0", ROW),
    ),
    ("38-yaml-file", "acme/yaml-file text --stream", &[], Rows(2, "stuff/q.jsonl#0", ROW)),
    (
        "39-unsharded-name-at-root",
        "acme/unsharded text --stream",
        &[],
        Rows(8, "train-00000-of-00001.parquet#0", ROW),
    ),
    (
        "40-xet-advertised-streaming",
        "acme/xet text --stream",
        &[],
        Rows(40, "data/train-00000-of-00001.parquet#0", ROW),
    ),
    (
        "41-xet-advertised-nonstream-disabled",
        "acme/xet text",
        &[("HF_HUB_DISABLE_XET", "1")],
        Rows(40, "data/train-00000-of-00001.parquet#0", ROW),
    ),
    // Python says that there are no data files.
    ("42-disabled", "acme/disabled text --stream", &[], Refused(2, &["`acme/disabled` has been disabled"])),
    (
        "47-offline-uncached",
        "acme/text text --stream",
        &[("HF_HUB_OFFLINE", "1")],
        Refused(1, &["HF_HUB_OFFLINE forbids requests", "`acme/text`"]),
    ),
    (
        "48-token-file",
        "acme/private text --stream",
        &[("HF_TOKEN_PATH", "token-file")],
        Rows(10, "train.jsonl#0", ROW),
    ),
    // Files of one's own choice are named by a path within the dataset.
    (
        "49-data-files-argument",
        "hf://datasets/acme/two-configs/fr text --stream --split all",
        &[],
        Rows(50, "fr/train.csv#0", "fr train, 0"),
    ),
    (
        "49-data-files-argument",
        "hf://datasets/acme/two-configs/fr/test.csv text --stream",
        &[],
        Rows(10, "fr/test.csv#0", "fr test, 0"),
    ),
    (
        "50-split-expressions",
        "acme/jsonl-gz text --stream --split train+test",
        &[],
        Rows(330, "train.jsonl.gz#0", ROW),
    ),
    (
        "50-split-expressions",
        "acme/jsonl-gz text --stream --split train[:10]",
        &[],
        Refused(2, &["`train[:10]` is a slice", "--max N --sample first"]),
    ),
    (
        "50-split-expressions",
        "acme/jsonl-gz text --split train[:10]",
        &[],
        Refused(2, &["`train[:10]` is a slice", "--max N --sample first"]),
    ),
    ("50-split-expressions", "acme/jsonl-gz text --split all", &[], Rows(350, "train.jsonl.gz#0", ROW)),
    ("51-select-columns", "vikp/textbooks topic --stream", &[], Rows(180, SHARD, "topic 0")),
    // Without a field the file is one row, whose columns are the object's keys.
    (
        "52-json-field",
        "acme/json-field text --stream",
        &[],
        Refused(2, &["no column `text`", "it has version, data"]),
    ),
    ("52-json-field", "acme/json-field version --stream", &[], Rows(1, "train.json#0", "1")),
    ("52-json-field", "acme/json-card text --stream", &[], Rows(30, "train.json#0", ROW)),
    ("55-second-run-uses-cache", "acme/jsonl-gz text", &[], Rows(300, "train.jsonl.gz#0", ROW)),
];

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
    hub.fault(Fault::new(Side::Hub, "/tree/", Action::rate_limited(0)).times(99));
    let words: &[&str] = &["limits the rate of requests", "try again in 1 s", "HF_TOKEN"];
    let case = ("56-rate-limited-forever", "vikp/textbooks markdown --stream", &[][..], Refused(1, words));
    check(&hub, &case);
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
