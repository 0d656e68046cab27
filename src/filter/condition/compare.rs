//! Comparing two values of an expression: like with like only.
//!
//! The engine alone orders all values, unlike kinds too (any text is more than any number), so that a slip of the pen
//! would be a condition that always holds.

use std::cmp::Ordering;

use minijinja::value::{Value, ValueKind};
use serde_json::json;

use super::super::names::{Kind, shown};

/// What is asked of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

impl Op {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::In => "in",
            Self::NotIn => "not in",
        }
    }

    /// The operator that a test of the engine stands for: `x is lt 3`.
    pub(super) fn of_test(name: &str) -> Option<Self> {
        Some(match name {
            "eq" | "equalto" | "==" => Self::Eq,
            "ne" | "!=" => Self::Ne,
            "lt" | "lessthan" | "<" => Self::Lt,
            "le" | "<=" => Self::Le,
            "gt" | "greaterthan" | ">" => Self::Gt,
            "ge" | ">=" => Self::Ge,
            "in" => Self::In,
            _ => return None,
        })
    }

    pub(super) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Eq | Self::In => ordering.is_eq(),
            Self::Ne | Self::NotIn => ordering.is_ne(),
            Self::Lt => ordering.is_lt(),
            Self::Le => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::Ge => ordering.is_ge(),
        }
    }
}

/// Why two values are not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// One of them is missing, null or not a number (NaN).
    Missing,
    /// They are of unlike kinds.
    Unlike(Kind, Kind),
    /// They are lists that hold unlike kinds.
    UnlikeItems(Kind, Kind),
    /// Both are of a kind that has no order.
    Unordered(Kind),
    /// The right one, of this kind, holds nothing that could be found in it.
    HoldsNothing(Kind),
    /// A list holds something of the second kind, where the first is looked for.
    UnlikeItem(Kind, Kind),
}

/// The kind of a value; `None` of one that is missing.
pub(super) fn kind(value: &Value) -> Option<Kind> {
    match value.kind() {
        ValueKind::Bool => Some(Kind::Bool),
        ValueKind::Number => Some(Kind::Number),
        ValueKind::String | ValueKind::Bytes => Some(Kind::Text),
        ValueKind::Seq | ValueKind::Iterable => Some(Kind::List),
        ValueKind::Map | ValueKind::Plain => Some(Kind::Object),
        // A kind that a later engine may have is passed over, which drops the row.
        _ => None,
    }
}

/// Compares two values of the same kind.
///
/// Numbers compare by value, text by its code points, lists item by item (of their items too only like kinds are
/// compared, and null is less than all others and equal to itself), and objects are equal or not. `in` looks for a
/// value in a list, for a text in a text, and for a key in an object.
pub(super) fn compare(op: Op, left: &Value, right: &Value) -> Result<bool, Fault> {
    match op {
        Op::In => contains(right, left),
        Op::NotIn => contains(right, left).map(|found| !found),
        Op::Eq => equal(left, right),
        Op::Ne => equal(left, right).map(|equal| !equal),
        Op::Lt | Op::Le | Op::Gt | Op::Ge => order(left, right).map(|ordering| op.holds(ordering)),
    }
}

/// The kind of both; an error where they are unlike or missing.
fn alike(left: &Value, right: &Value) -> Result<Kind, Fault> {
    match (kind(left), kind(right)) {
        (Some(one), Some(other)) if one == other => Ok(one),
        (Some(one), Some(other)) => Err(Fault::Unlike(one, other)),
        _ => Err(Fault::Missing),
    }
}

fn equal(left: &Value, right: &Value) -> Result<bool, Fault> {
    Ok(match alike(left, right)? {
        Kind::List => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (one, other) in items(left).zip(items(right)) {
                let equal = match (is_missing(&one), is_missing(&other)) {
                    (false, false) => equal(&one, &other).map_err(within)?,
                    (one, other) => one == other,
                };
                if !equal {
                    return Ok(false);
                }
            }
            true
        }
        Kind::Number if is_nan(left) || is_nan(right) => return Err(Fault::Missing),
        Kind::Bool | Kind::Number | Kind::Text | Kind::Object => left == right,
    })
}

fn order(left: &Value, right: &Value) -> Result<Ordering, Fault> {
    Ok(match alike(left, right)? {
        Kind::List => {
            let (mut one, mut other) = (items(left), items(right));
            loop {
                let ordering = match (one.next(), other.next()) {
                    (None, None) => return Ok(Ordering::Equal),
                    (None, Some(_)) => return Ok(Ordering::Less),
                    (Some(_), None) => return Ok(Ordering::Greater),
                    (Some(one), Some(other)) => match (is_missing(&one), is_missing(&other)) {
                        (false, false) => order(&one, &other).map_err(within)?,
                        (one, other) => other.cmp(&one),
                    },
                };
                if ordering.is_ne() {
                    return Ok(ordering);
                }
            }
        }
        Kind::Number if is_nan(left) || is_nan(right) => return Err(Fault::Missing),
        Kind::Bool | Kind::Number | Kind::Text => left.cmp(right),
        Kind::Object => return Err(Fault::Unordered(Kind::Object)),
    })
}

fn within(fault: Fault) -> Fault {
    if let Fault::Unlike(one, other) = fault { Fault::UnlikeItems(one, other) } else { fault }
}

fn contains(holder: &Value, wanted: &Value) -> Result<bool, Fault> {
    let (Some(holds), Some(wants)) = (kind(holder), kind(wanted)) else { return Err(Fault::Missing) };
    match (holds, wants) {
        (Kind::Text, Kind::Text) => {
            Ok(holder.as_str().zip(wanted.as_str()).is_some_and(|(text, part)| text.contains(part)))
        }
        (Kind::Object, Kind::Text) => holder.get_item(wanted).map(|item| !item.is_undefined()).or(Ok(false)),
        (Kind::List, _) => {
            for item in items(holder).filter(|item| !is_missing(item)) {
                let is_it = equal(&item, wanted).map_err(|fault| match fault {
                    Fault::Unlike(item, wanted) => Fault::UnlikeItem(wanted, item),
                    other => other,
                })?;
                if is_it {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Kind::Text | Kind::Object, _) => Err(Fault::Unlike(wants, Kind::Text)),
        (Kind::Bool | Kind::Number, _) => Err(Fault::HoldsNothing(holds)),
    }
}

fn items(list: &Value) -> impl Iterator<Item = Value> {
    list.try_iter().into_iter().flatten()
}

fn is_missing(value: &Value) -> bool {
    kind(value).is_none()
}

fn is_nan(value: &Value) -> bool {
    !value.is_integer() && f64::try_from(value.clone()).is_ok_and(f64::is_nan)
}

/// A value in a message, short: text in quotes.
pub(super) fn show(value: &Value) -> String {
    match value.as_str() {
        Some(text) => format!("\"{}\"", shown(text)),
        None => match kind(value) {
            Some(Kind::Bool | Kind::Number) => value.to_string(),
            _ => shown(&json!(value).to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: serde_json::Value) -> Value {
        super::super::value(json)
    }

    fn says(left: serde_json::Value, op: Op, right: serde_json::Value) -> Result<bool, Fault> {
        compare(op, &of(left), &of(right))
    }

    #[test]
    fn like_kinds_compare_as_people_expect() {
        for (left, op, right) in [
            (json!(1), Op::Eq, json!(1.0)),
            (json!(2), Op::Lt, json!(2.5)),
            (json!(u64::MAX), Op::Gt, json!(-1)),
            (json!("a"), Op::Lt, json!("b")),
            (json!(false), Op::Lt, json!(true)),
            (json!([1, 2]), Op::Lt, json!([1, 3])),
            (json!([1]), Op::Lt, json!([1, 0])),
            (json!([null, 1]), Op::Eq, json!([null, 1.0])),
            (json!([]), Op::Ne, json!(["a"])),
            (json!({"a": 1}), Op::Eq, json!({"a": 1})),
            (json!("b"), Op::In, json!(["a", null, "b"])),
            (json!("bc"), Op::In, json!("abcd")),
            (json!("key"), Op::In, json!({"key": null, "other": 1})),
            (json!("x"), Op::NotIn, json!({"key": 1})),
            (json!(3), Op::NotIn, json!([1, 2.5])),
        ] {
            assert_eq!(says(left.clone(), op, right.clone()), Ok(true), "{left} {op:?} {right}");
        }
    }

    #[test]
    fn unlike_kinds_are_never_compared() {
        let kinds = [json!(true), json!(1), json!("1"), json!([1]), json!({"1": 1})];
        for op in [Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge] {
            for left in &kinds {
                for right in kinds.iter().filter(|right| *right != left) {
                    assert!(matches!(says(left.clone(), op, right.clone()), Err(Fault::Unlike(..))));
                }
            }
        }
        assert_eq!(says(json!([1]), Op::Lt, json!(["a"])), Err(Fault::UnlikeItems(Kind::Number, Kind::Text)));
        assert_eq!(says(json!(1), Op::In, json!("123")), Err(Fault::Unlike(Kind::Number, Kind::Text)));
        assert_eq!(says(json!(1), Op::In, json!(["a"])), Err(Fault::UnlikeItem(Kind::Number, Kind::Text)));
        assert_eq!(says(json!(1), Op::NotIn, json!(2)), Err(Fault::HoldsNothing(Kind::Number)));
        assert_eq!(says(json!({}), Op::Lt, json!({})), Err(Fault::Unordered(Kind::Object)));
    }

    #[test]
    fn what_is_missing_or_nan_compares_with_nothing() {
        for op in [Op::Eq, Op::Ne, Op::Lt, Op::Ge] {
            assert_eq!(says(json!(null), op, json!(1)), Err(Fault::Missing));
            assert_eq!(compare(op, &Value::from(1), &Value::UNDEFINED), Err(Fault::Missing));
            assert_eq!(compare(op, &Value::from(f64::NAN), &Value::from(1.0)), Err(Fault::Missing));
        }
    }

    #[test]
    fn a_shown_value_is_short_and_harmless() {
        assert_eq!(show(&of(json!("a\x1b\"b"))), "\"a\\u{1b}\"b\"");
        assert_eq!(show(&of(json!([1, "a"]))), "[1,\"a\"]");
        assert_eq!(show(&of(json!(2.5))), "2.5");
        assert!(show(&of(json!("x".repeat(1000)))).chars().count() < 50);
    }
}
