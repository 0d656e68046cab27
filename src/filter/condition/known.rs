//! What is known of the engine before it is asked of rows: its filters, tests and methods, and the kinds they give.
//!
//! The engine does not list what it has. It is asked for it without arguments, which is an error of another kind.

use minijinja::value::Value;
use minijinja::{Environment, ErrorKind};

use super::super::error::plain;
use super::super::names::Kind;

/// Whether there is such a filter.
pub(super) fn filter(environment: &Environment<'_>, name: &str) -> Result<(), String> {
    let called = environment.empty_state().apply_filter(name, &[]);
    known(called.map(drop), ErrorKind::UnknownFilter, || format!("there is no filter `{}`", plain(name)))
}

/// Whether there is such a test.
pub(super) fn test(environment: &Environment<'_>, name: &str) -> Result<(), String> {
    let called = environment.empty_state().perform_test(name, &[]);
    known(called.map(drop), ErrorKind::UnknownTest, || format!("there is no test `{}`", plain(name)))
}

/// Whether a text, a list or an object has such a method.
pub(super) fn method(environment: &Environment<'_>, name: &str) -> Result<(), String> {
    let mut state = environment.empty_state();
    let is_known = [Kind::Text, Kind::List, Kind::Object].into_iter().any(|kind| {
        let called = example(kind).call_method(&mut state, name, &[]);
        !called.is_err_and(|error| error.kind() == ErrorKind::UnknownMethod)
    });
    if is_known { Ok(()) } else { Err(format!("there is no method `{}`", plain(name))) }
}

fn known(
    called: Result<(), minijinja::Error>,
    unknown: ErrorKind,
    message: impl FnOnce() -> String,
) -> Result<(), String> {
    if called.is_err_and(|error| error.kind() == unknown) { Err(message()) } else { Ok(()) }
}

/// The kind that a filter gives, of those that always give the same.
pub(super) fn gives(name: &str) -> Option<Kind> {
    Some(match name {
        "length" | "count" | "int" | "float" | "abs" | "round" => Kind::Number,
        "lower" | "upper" | "title" | "capitalize" | "trim" | "string" | "replace" | "join" | "striptags" => {
            Kind::Text
        }
        "list" | "split" | "lines" => Kind::List,
        "bool" => Kind::Bool,
        _ => return None,
    })
}

/// Some value of a kind.
pub(super) fn example(kind: Kind) -> Value {
    match kind {
        Kind::Bool => Value::from(true),
        Kind::Number => Value::from(1),
        Kind::Text => Value::from("text"),
        Kind::List => Value::from(Vec::<Value>::new()),
        Kind::Object => Value::from_pairs([("key", "value")]),
    }
}
