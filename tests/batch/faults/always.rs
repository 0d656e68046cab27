//! Faults that do not pass. All attempts of a request take half a minute, so all cases wait side by side, in one test; and its name
//! comes first, so that the other tests run meanwhile.

use super::{page, stops};
use crate::standin::{Fault, Kind};

#[test]
fn what_never_passes_ends_the_run_and_the_run_after_goes_on() {
    stops(&[
        (Kind::ListBatches, Fault::status(500), "500"),
        (Kind::Upload, Fault::status(500), "did not upload a file"),
        (Kind::Upload, Fault::CutAfter(20_000), "did not upload a file"),
        (Kind::Create, Fault::status(429), "did not begin a batch"),
        (Kind::Content, Fault::status(503), "cannot be read"),
        (Kind::Content, Fault::CutBody, "cannot be read"),
        (Kind::Content, page(), "cannot be read"),
    ]);
}
