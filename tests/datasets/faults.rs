//! A Hub that fails: the same lines as without the fault, byte for byte, or an error. Never fewer rows.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use classified::dataset::{self, Access, Request, Row};
use classified::hub::Options;
use classified::rating::run::Sample;
use futures::StreamExt as _;

use super::make::{arrow_stream, gz, jsonl, parquet};
use super::{at_once, lines, ratings, refused, summary};
use crate::testhub::{Action, Fault, Repos, Side, TestHub};
use crate::world::World;

/// A set of parquet, one of compressed JSON lines, one of Arrow.
fn repos() -> Repos {
    Repos::new()
        .file("acme/parquet", "data/train-00000-of-00002.parquet", parquet(0..150, "text"))
        .file("acme/parquet", "data/train-00001-of-00002.parquet", parquet(150..300, "text"))
        .file("acme/jsonl", "train.jsonl.gz", gz(jsonl(0..300)))
        .file("acme/arrow", "train.arrow", arrow_stream(0..300))
}

const SETS: [&str; 3] = ["acme/parquet", "acme/jsonl", "acme/arrow"];

/// The lines of a run, which must succeed.
fn lines_of(hub: &TestHub, set: &str, flags: &[&str]) -> String {
    let world = World::new();
    summary(&world, hub, &[&[set, "text"], flags].concat()).exits(0);
    assert_eq!(lines(&world).len(), 300);
    ratings(&world)
}

/// A Hub of its own with the same files: making them takes longer than serving them.
fn another(hub: &TestHub) -> TestHub {
    TestHub::start(Repos::at(hub.repos().root()))
}

/// Faults that pass, and the sets whose reading they may disturb: of a list all formats know the same.
fn passing() -> Vec<(Fault, &'static [&'static str])> {
    let list = |path: &str, action| (Fault::new(Side::Hub, path, action), &SETS[..1]);
    let hub = |path: &str, action| (Fault::new(Side::Hub, path, action), &SETS[..]);
    let cdn = |action| (Fault::new(Side::Cdn, "", action), &SETS[..]);
    vec![
        list("/api/datasets/", Action::rate_limited(0)),
        hub("/resolve/", Action::status(429).header("RateLimit", "").header("RateLimit-Policy", "")),
        list("/api/datasets/", Action::status(500)),
        list("/tree/", Action::truncated(30)),
        hub("/resolve/", Action::dropped()),
        (Fault::new(Side::Hub, "/resolve/", Action::expired()).skip(1), &SETS[..]),
        cdn(Action::status(503)),
        cdn(Action::status(429).header("Retry-After", "1")),
        cdn(Action::truncated(100)),
        cdn(Action::truncated(0)),
        cdn(Action::dropped()),
        cdn(Action::ignoring_range()),
        cdn(Action::default().header("Content-Length", "50")),
        cdn(Action::default().header("Content-Range", "bytes 7-90/100")),
    ]
}

#[test]
fn after_a_fault_that_passes_every_line_is_as_without_it() {
    let clean = TestHub::start(repos());
    let expected: Vec<_> =
        SETS.iter().map(|set| (lines_of(&clean, set, &["--stream"]), lines_of(&clean, set, &[]))).collect();
    for (stream, download) in &expected {
        assert_eq!(stream, download);
    }
    let faults = passing();
    let each = faults.iter().flat_map(|(fault, sets)| {
        let expected = SETS.iter().zip(&expected).filter(|(set, _)| sets.contains(set));
        expected.flat_map(move |set| [&["--stream"][..], &[]].map(|flags| (fault, set, flags)))
    });
    // All at once: most of the time is spent in waiting for the next try.
    at_once(&each.collect::<Vec<_>>(), |(fault, (set, (expected, _)), flags)| {
        let hub = another(&clean);
        hub.fault((*fault).clone());
        assert_eq!(&lines_of(&hub, set, flags), expected, "{set} {flags:?} {fault:?}");
    });
}

/// How all rows of a set are read when every wait is a millisecond: how many come, and the error that ends them.
fn read(hub: &TestHub, home: &Path, set: &str, access: Access) -> (usize, Option<String>) {
    let (rows, error) = sampled(hub, home, set, (access, Sample::All), LONG);
    (rows.len(), error)
}

/// Longer than a busy machine lets anybody wait.
const LONG: Duration = Duration::from_mins(1);

/// As [`read`], the rows of a sample; a server may be silent for so long.
fn sampled(
    hub: &TestHub,
    home: &Path,
    set: &str,
    (access, sample): (Access, Sample),
    idle: Duration,
) -> (Vec<Row>, Option<String>) {
    let look_up = |name: &str| match name {
        "HF_ENDPOINT" => Some(hub.endpoint().to_owned()),
        "HF_HOME" => Some(home.display().to_string()),
        _ => None,
    };
    let mut options = Options::from(&look_up).unwrap();
    options.timeouts.backoff = Duration::from_millis(1);
    options.timeouts.idle = idle;
    let request = Request { access, sample, ..Request::new(set, vec!["text".to_owned()], Arc::new(options)) };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let dataset = match dataset::open(request).await {
            Ok(dataset) => dataset,
            Err(error) => return (Vec::new(), Some(error.to_string())),
        };
        let mut batches = pin!(dataset.batches());
        let mut rows = Vec::new();
        while let Some(batch) = batches.next().await {
            match batch {
                Ok(batch) => rows.extend(batch),
                Err(error) => return (rows, Some(error.to_string())),
            }
        }
        (rows, None)
    })
}

#[test]
fn a_sample_is_the_same_after_a_fault_that_passes() {
    let drawn = |hub: &TestHub| {
        let home = tempfile::tempdir().unwrap();
        let sample = Sample::Random { rows: 40, seed: 42 };
        let (rows, error) = sampled(hub, home.path(), "acme/parquet", (Access::Stream, sample), LONG);
        assert_eq!((rows.len(), error), (40, None));
        rows
    };
    let clean = TestHub::start(repos());
    let expected = drawn(&clean);
    at_once(&[Action::truncated(100), Action::dropped(), Action::ignoring_range()], |action| {
        let hub = another(&clean);
        // Not the first request, which fetches a footer, but those of the rows.
        hub.fault(Fault::new(Side::Cdn, "", action.clone()).skip(2).times(2));
        assert_eq!(drawn(&hub), expected, "{action:?}");
        assert!(
            hub.log().iter().filter(|request| request.side == "cdn").count() > 3,
            "{action:?} was not met"
        );
    });
}

#[test]
fn a_fault_that_stays_is_an_error_and_never_fewer_rows() {
    let cdn = |action| (Fault::new(Side::Cdn, "", action).times(u64::MAX), LONG);
    let hub_side = |path, action| (Fault::new(Side::Hub, path, action).times(u64::MAX), LONG);
    let silent = (cdn(Action::stalled(100)).0, Duration::from_millis(200));
    let cases = [
        (cdn(Action::status(503)), "answers 503"),
        (cdn(Action::status(429).header("Retry-After", "0")), "limits the rate"),
        (cdn(Action::truncated(100)), "127.0.0.1"),
        (cdn(Action::dropped()), "cannot read from 127.0.0.1"),
        (silent, "cannot read from 127.0.0.1"),
        (cdn(Action::status(403)), "answers 403"),
        (cdn(Action::default().header("Content-Length", "50")), "127.0.0.1"),
        (cdn(Action::default().header("Content-Range", "bytes 7-90/100")), "sends wrong bytes"),
        (cdn(Action::status(416).header("Content-Range", "bytes */9")), "answers 416"),
        (cdn(Action::redirect_loop()), "redirects in a circle"),
        (cdn(Action::redirect(302, "file:///etc/passwd")), "no address of the web"),
        (hub_side("/tree/", Action::status(500)), "answers 500"),
        (hub_side("/tree/", Action::redirect_loop()), "redirects in a circle"),
        (hub_side("/tree/", Action::redirect(302, "http://127.0.0.1:9/api")), "to another server"),
        (hub_side("/tree/", Action::status(200).body("[{")), "does not answer as a Hub does"),
        (hub_side("/resolve/", Action::expired()), "answers 403"),
    ];
    let each: Vec<_> = cases.iter().flat_map(|case| SETS.map(|set| (case, set))).collect();
    let clean = TestHub::start(repos());
    at_once(&each, |(((fault, idle), words), set)| {
        let hub = another(&clean);
        let home = tempfile::tempdir().unwrap();
        for access in [Access::Stream, Access::Download] {
            hub.clear_faults();
            hub.fault(fault.clone());
            let (rows, error) = sampled(&hub, home.path(), set, (access, Sample::All), *idle);
            let error =
                error.unwrap_or_else(|| panic!("{} rows of {set}, {access:?}: {fault:?}", rows.len()));
            assert!(error.contains(words), "{set}, {access:?}, {fault:?}: {error}");
            assert!(!error.contains("Signature"), "{error}");
        }
    });
}

#[test]
fn a_server_that_ignores_ranges_streams_what_is_read_from_front_to_back_and_names_the_way_out_otherwise() {
    let hub = TestHub::start(repos());
    let home = tempfile::tempdir().unwrap();
    hub.fault(Fault::new(Side::Cdn, "", Action::ignoring_range()).times(u64::MAX));
    assert_eq!(read(&hub, home.path(), "acme/jsonl", Access::Stream), (300, None));
    assert_eq!(read(&hub, home.path(), "acme/arrow", Access::Stream), (300, None));
    let (rows, error) = read(&hub, home.path(), "acme/large", Access::Stream);
    assert!(rows == 0 && error.is_some());
    assert_eq!(read(&hub, home.path(), "acme/parquet", Access::Download), (300, None));
}

#[test]
fn after_five_hundred_rows_a_cut_without_end_is_an_error_that_names_the_host() {
    // More than the first request brings, so that rows come before the fault.
    let hub = TestHub::start(
        Repos::new()
            .file("acme/long", "train.jsonl", jsonl(0..20_000))
            .options("acme/long", &serde_json::json!({"lfs_suffixes": [".jsonl"]})),
    );
    let home = tempfile::tempdir().unwrap();
    hub.fault(Fault::new(Side::Cdn, "", Action::truncated(1_000_000)));
    hub.fault(Fault::new(Side::Cdn, "", Action::truncated(0)).times(u64::MAX));
    let (rows, error) = read(&hub, home.path(), "acme/long", Access::Stream);
    assert!(rows > 500 && rows < 20_000, "{rows}");
    assert!(error.unwrap().contains("127.0.0.1"));
}

#[test]
fn what_is_corrupt_behind_the_hub_is_named_whole() {
    let parquet = parquet(0..300, "text");
    let arrow = arrow_stream(0..300);
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 0xff;
        bytes
    };
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let end = parquet.len();
    let cases: [(&str, Vec<u8>); 7] = [
        ("train.parquet", half(&parquet)),
        ("train.parquet", [&parquet[..4], &vec![0xff; end / 2], &parquet[4 + end / 2..]].concat()),
        ("train.parquet", flipped(&parquet, end - 6)),
        ("train.parquet", b"PAR1".to_vec()),
        ("train.arrow", half(&arrow)),
        ("train.arrow", flipped(&arrow, 5)),
        ("train.jsonl.gz", half(&gz(jsonl(0..300)))),
    ];
    let mut repos = Repos::new();
    for (number, (name, bytes)) in cases.iter().enumerate() {
        repos = repos.file(&format!("acme/broken-{number}"), name, bytes);
    }
    let hub = TestHub::start(repos);
    let numbered: Vec<_> = cases.iter().enumerate().collect();
    for (number, (name, _)) in numbered {
        for flags in [&["--stream"][..], &[]] {
            let world = World::new();
            let set = format!("acme/broken-{number}");
            let message = refused(summary(&world, &hub, &[&[set.as_str(), "text"], flags].concat()), 1);
            assert!(message.contains(&format!("{set}: {name}")), "{message}");
        }
    }
}

#[test]
fn a_token_goes_to_no_other_server() {
    let hub = TestHub::start(repos());
    let elsewhere = TestHub::start(repos());
    let target = format!("{}/datasets/acme/jsonl/resolve/main/train.jsonl.gz", elsewhere.endpoint());
    hub.fault(Fault::new(Side::Hub, "/resolve/*train.jsonl.gz", Action::redirect(302, &target)));
    let world = World::new();
    let arguments = [&["summary", "acme/jsonl", "text", "--stream"], &super::QUIET[..]].concat();
    let run = super::command(&world, &hub, &arguments).env("HF_TOKEN", "hf_ok").output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(hub.log().iter().any(|request| request.request.contains_key("authorization")));
    assert!(elsewhere.requests() > 0);
    for request in elsewhere.log() {
        assert!(!request.request.contains_key("authorization"), "{}", request.path);
    }
}

#[test]
fn a_server_that_falls_silent_ends_the_run_within_its_time() {
    // HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT are the user's; the tries are five.
    let hub = TestHub::start(repos());
    hub.fault(Fault::new(Side::Cdn, "", Action::stalled(100)));
    let world = World::new();
    let arguments = [&["summary", "acme/jsonl", "text", "--stream"], &super::QUIET[..]].concat();
    let mut command = super::command(&world, &hub, &arguments);
    let output = command.env("HF_HUB_DOWNLOAD_TIMEOUT", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(lines(&world).len(), 300);
}
