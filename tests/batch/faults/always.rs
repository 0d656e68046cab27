//! Faults that do not pass. All attempts of a request take half a minute, so all cases wait side by side, in one test; and its name
//! comes first, so that the other tests run meanwhile.

use super::{each, faulty, page, recovers, summary};
use crate::standin::{Fault, Kind, RequestRule};

#[test]
fn what_never_passes_ends_a_run_that_does_not_wait_and_the_run_after_goes_on() {
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
