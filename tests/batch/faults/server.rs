//! Requests for files and batches that go wrong.

use super::{
    ALL, WAIT, at_once, balanced, complete, faulty, first, page, passes, recovers, rows, sound, stops,
    summary,
};
use crate::standin::{Batches, Fault, Kind, RequestRule, Rules};

#[test]
fn an_upload_that_fails_is_made_again_unless_the_file_has_arrived() {
    let impatient = |fault| (vec![RequestRule::nth(Kind::Upload, 1, fault)], &["--timeout", "1"][..]);
    passes(&[
        first(Kind::Upload, 2, Fault::CutAfter(20_000)),
        impatient(Fault::StallAfter(20_000)),
        impatient(Fault::Silent),
        first(Kind::Upload, 1, Fault::Lost),
        first(Kind::Upload, 1, Fault::LostThenDone(1200)),
        first(Kind::Upload, 2, Fault::status(500)),
        first(Kind::Upload, 1, at_once(429)),
        first(Kind::Upload, 1, page()),
        (
            vec![
                RequestRule::nth(Kind::Upload, 1, Fault::Lost),
                RequestRule::first(Kind::ListFiles, 2, Fault::status(500)),
            ],
            &[],
        ),
    ]);
}

#[test]
fn a_batch_that_may_have_begun_is_looked_for_before_it_is_begun_again() {
    passes(&[
        first(Kind::Create, 1, Fault::Lost),
        first(Kind::Create, 2, at_once(429)),
        (vec![RequestRule::nth(Kind::Create, 1, Fault::Silent)], &["--timeout", "1"]),
        (vec![RequestRule::nth(Kind::Create, 1, Fault::CutBody)], &[]),
        (
            vec![
                RequestRule::nth(Kind::Create, 1, Fault::Lost),
                RequestRule {
                    nth: Some(2..=3),
                    ..RequestRule::first(Kind::ListBatches, 2, Fault::status(503))
                },
            ],
            &[],
        ),
    ]);
}

#[test]
fn a_batch_that_begins_after_the_connection_broke_is_not_begun_twice() {
    let rules = Rules {
        requests: vec![RequestRule::nth(Kind::Create, 1, Fault::LostThenDone(1500))],
        batches: vec![],
    };
    let (world, standin) = super::with(Batches { rules, ..Batches::default() });
    complete(&summary(&world, &WAIT), "late");
    assert_eq!(standin.counters().batches, 1);
    sound(&world, &standin, "late");
}

#[test]
fn a_server_that_does_not_tell_of_its_batches_for_a_moment_is_asked_again() {
    passes(&[
        first(Kind::ListBatches, 1, at_once(500)),
        first(Kind::ListBatches, 2, at_once(429)),
        first(Kind::GetBatch, 2, Fault::status(500)),
        first(Kind::GetBatch, 2, Fault::Close),
        first(Kind::GetBatch, 2, page()),
        (vec![RequestRule::first(Kind::GetBatch, 1, Fault::Hang)], &["--timeout", "1"]),
        first(Kind::Content, 2, Fault::status(500)),
        first(Kind::Content, 2, Fault::status(404)),
    ]);
}

#[test]
fn a_server_that_is_gone_while_somebody_waits_is_asked_until_it_is_back() {
    let rules =
        Rules { requests: vec![RequestRule::first(Kind::GetBatch, 2, Fault::Close)], batches: vec![] };
    let (world, standin) = super::with(Batches { rules, ..Batches::default() });
    let run = summary(&world, &WAIT);
    complete(&run, "gone");
    assert_eq!(run.stderr.matches("asked again for an hour").count(), 1, "{}", run.stderr);
    sound(&world, &standin, "gone");
}

#[test]
fn what_a_server_does_not_take_ends_the_run_with_its_words() {
    stops(&[
        (Kind::Upload, Fault::status(413), "413"),
        (Kind::Upload, Fault::status(404), "does not upload a file"),
        (Kind::Create, Fault::status(400), "scripted by the stand-in"),
        (Kind::Create, Fault::status(403), "403"),
    ]);
}

#[test]
fn a_key_that_is_refused_ends_the_run_wherever_it_is_refused() {
    let at = |kind| (kind, Fault::status(401), "OPENAI_API_KEY");
    stops(&[Kind::ListBatches, Kind::Upload, Kind::GetBatch, Kind::Content].map(at));
}

#[test]
fn a_batch_that_the_server_does_not_know_is_left_alone_and_named() {
    // Another project's key: the same server, and none of the batches.
    let unknown = RequestRule { kind: Kind::GetBatch, nth: None, times: None, fault: Fault::status(404) };
    let (world, standin) = faulty(vec![unknown], vec![]);
    summary(&world, &["--batch"]).exits(75);
    for flags in [&WAIT[..], &["--batch"]] {
        let run = summary(&world, flags).exits(75);
        assert_eq!((balanced(&run), rows(&run, "not_reached")), (0, ALL));
        assert!(
            run.stderr.contains("same account and project") && run.stderr.contains("--forget"),
            "{}",
            run.stderr
        );
    }
    let run = world.run(&["batch", "collect"]).exits(75);
    assert!(run.stderr.contains("same account and project"), "{}", run.stderr);
    recovers(&world, &standin, "unknown");
    assert_eq!(standin.counters().batches, 1);
}
