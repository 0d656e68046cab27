//! Faults that do not pass. All attempts of a row take half a minute, so all cases wait side by side, in one test; and its
//! name comes first, so that the other tests run meanwhile.

use serde_json::json;

use crate::standin::{Action, Wire};

use super::fails_one_row;

#[test]
fn what_never_passes_over_one_row_fails_that_row_alone() {
    let no_choices = Action::RawBody {
        bytes: json!({"choices": []}).to_string().into_bytes(),
        content_type: "application/json".to_owned(),
    };
    let cases = [
        (Action::status(408), "timeout"),
        (Action::status(500), "server_error"),
        (Action::status(502), "server_error"),
        (Action::status(503), "server_error"),
        (Action::status(504), "server_error"),
        (Action::Wire(Wire::Reset), "connection"),
        (Action::Wire(Wire::LargeHeader(1 << 20)), "connection"),
        (Action::NotJson, "connection"),
        (no_choices, "connection"),
    ];
    std::thread::scope(|scope| {
        // Only who falls silent needs a limit: in so short a time a busy machine may miss any reply.
        scope.spawn(|| fails_one_row(&[(Action::Hang, "timeout")], &["--timeout", "1"], None));
        fails_one_row(&cases, &[], None);
    });
}
