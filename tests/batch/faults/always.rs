//! Faults that last. All attempts of a request take half a minute, and what may have begun is looked for almost as long: so all cases
//! wait side by side, in one test; and its name comes first, so that the other tests run meanwhile.

use super::{
    ALL, WAIT, answered, at_once, complete, each, faulty, first, page, passes, recovers, rows, sound, summary,
};
use crate::standin::{Fault, Kind, RequestRule};

#[test]
fn what_lasts_ends_a_run_that_does_not_wait_and_is_outlasted_by_one_that_does() {
    let together: [fn(); 5] = [
        it_ends_a_run_that_does_not_wait,
        it_ends_a_collection,
        a_run_that_waits_outlasts_it,
        no_other_lens_is_kept_up,
        what_is_not_found_is_begun_again,
    ];
    each(&together, |test| test());
}

fn it_ends_a_run_that_does_not_wait() {
    let cases = [
        (Kind::ListBatches, Fault::status(500), "does not tell of its batches"),
        (Kind::Upload, Fault::status(500), "did not upload a file"),
        (Kind::Create, Fault::status(429), "did not begin a batch"),
        (Kind::GetBatch, Fault::status(503), "did not tell of a batch"),
        (Kind::Content, Fault::status(503), "cannot be read"),
        (Kind::Content, page(), "cannot be read"),
    ];
    each(&cases, |(kind, fault, words)| {
        let what = format!("{kind:?} {fault:?}");
        let rule = RequestRule { kind: *kind, nth: None, times: None, fault: fault.clone() };
        let (world, standin) = faulty(vec![rule], vec![]);
        let mut run = summary(&world, &["--batch"]);
        if !run.stderr.contains(words) {
            run = summary(&world, &["--batch"]);
        }
        assert_eq!(run.code, 75, "{what}: {}", run.stderr);
        assert!(run.stderr.contains(words), "{what}: {}", run.stderr);
        recovers(&world, &standin, &what);
        assert_eq!(standin.counters().batches, 1, "{what}");
    });
}

fn it_ends_a_collection() {
    let cases = [
        (Kind::GetBatch, Fault::status(503), &["did not tell of a batch"][..]),
        (Kind::Content, page(), &["cannot be read", "no line of a batch's file", "batch cancel 1 --forget"]),
    ];
    each(&cases, |(kind, fault, words)| {
        let what = format!("{kind:?} {fault:?}");
        let rule = RequestRule { kind: *kind, nth: None, times: None, fault: fault.clone() };
        let (world, standin) = faulty(vec![rule], vec![]);
        summary(&world, &["--batch"]).exits(75);
        let run = world.run(&["batch", "collect"]);
        assert_eq!(run.code, 75, "{what}: {}", run.stderr);
        assert!(words.iter().all(|words| run.stderr.contains(words)), "{what}: {}", run.stderr);
        // Nothing of it is asked live.
        assert_eq!(rows(&summary(&world, &[]).exits(75), "not_reached"), ALL, "{what}");
        recovers(&world, &standin, &what);
        let counters = standin.counters();
        assert_eq!((counters.batches, counters.requests), (1, 0), "{what}");
    });
}

/// Each request is made six times: then the run takes the batch back, or looks for it, and tries once more.
fn a_run_that_waits_outlasts_it() {
    let cases =
        [(Kind::Create, at_once(429)), (Kind::Upload, at_once(429)), (Kind::Upload, Fault::status(500))];
    each(&cases, |(kind, fault)| {
        let what = format!("{kind:?} {fault:?}");
        let (world, standin) = faulty(vec![RequestRule::first(*kind, 7, fault.clone())], vec![]);
        let run = summary(&world, &WAIT);
        complete(&run, &what);
        assert!(run.stderr.contains("asked again for an hour"), "{what}: {}", run.stderr);
        sound(&world, &standin, &what);
        assert_eq!(standin.counters().batches, 1, "{what}");
    });
}

fn no_other_lens_is_kept_up() {
    let (world, standin) = faulty(vec![RequestRule::first(Kind::Create, 7, at_once(429))], vec![]);
    let lenses = "textbook_quality,textbook_depth";
    world.run(&["summary", "rows.jsonl", "text", lenses, "--batch", "--wait"]).exits(0);
    assert_eq!(answered(&standin), [(1, 2 * ALL)].into());
    assert_eq!(standin.counters().batches, 2);
}

fn what_is_not_found_is_begun_again() {
    passes(&[first(Kind::Create, 1, Fault::status(500)), first(Kind::Create, 1, page())]);
}
