//! `--where`: which rows are kept, as an expression in the language of the lenses' templates.
//!
//! ```text
//! textbook_quality >= 2.5 and learning_value_factual >= 2 and row.lang in ['en', 'de']
//! row.text|length > 100 and row.url is startingwith 'https'
//! ```
//!
//! - A lens's name is its score, `<lens>_<field>` a field's. `row.<column>` is a column, also as `row['any name']`; a
//!   dotted path leads into nested values (`row.meta.lang`, `row.messages[0].content`), and a column that is literally
//!   named `meta.lang` wins. `_` stands for what cannot be in a name: a lens `my-lens` is `my_lens`.
//! - **A row in which any name that the expression uses is missing or null does not pass**, wherever in the expression
//!   the name stands: under `or`, under `not`. So `is none` and `|default` of a name are refused. NaN counts as null, and
//!   so does what an expression finds missing on its way (`row.tags|first` of an empty list).
//! - **Only like kinds are compared**: number with number (integers and fractions are alike), text with text, list with
//!   list, true or false with true or false. Else it is an error, here or at the first such row. So it is with `in`,
//!   the tests that compare (`is lt`), and the filters `min` and `max`; `sort` and `unique` order as the engine does.
//! - `and` and `or` do not look at what is not needed; a chain (`1 < x < 3`) takes all of its sides.
//! - The result must be true or false.
//!
//! The engine itself orders unlike kinds by a rank of kinds. So the expression is parsed, each comparison in it is
//! replaced by a call of a function that compares like with like, and the result is compiled, once.

mod compare;
mod known;
mod rewrite;
mod slip;

use std::sync::Arc;

use minijinja::value::{Kwargs, Object, Rest, Value};
use minijinja::{AutoEscape, Environment, ErrorKind, State, UndefinedBehavior};

use super::error::{Error, plain};
use super::names::{Kind, Name, Names};
use compare::{Fault, Op, compare, kind, show};

pub(super) use rewrite::path;

/// Steps of the engine for one row; a comparison takes about five.
const MAX_STEPS: u64 = 100_000;

/// How much of an engine's message is passed on, in characters.
const MAX_PROBLEM: usize = 300;

/// The name of the compiled expression in its environment, and of its result.
const CONDITION: &str = "condition";

/// A condition that is ready to be asked of rows.
#[derive(Debug)]
pub struct Condition {
    environment: Environment<'static>,
    uses: Vec<Name>,
    texts: Vec<String>,
}

/// What a condition says of a row that it does not say yes or no to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// A value that it needs is missing.
    Missing,
    /// It cannot be asked of this row: what is wrong.
    Wrong(String),
}

impl Condition {
    /// Parses a condition: all its names exist, and what can be known before any row is read is right: filters, tests,
    /// methods, kinds of what is compared, numbers that a score is compared with.
    pub fn parse(source: &str, names: Names<'_>) -> Result<Self, Error> {
        let fault = |problem: String| Error::Condition { source_text: plain(source), problem };
        let mut environment = environment();
        let rewritten = rewrite::rewrite(source, names, &mut environment).map_err(fault)?;
        let template = format!("{{% set {CONDITION} = {} %}}", rewritten.code);
        environment
            .add_template_owned(CONDITION, template)
            .map_err(|error| fault(format!("is nested too deeply ({})", problem(&error))))?;
        let texts = rewritten.uses.iter().map(|name| names.text(name)).collect();
        Ok(Self { environment, uses: rewritten.uses, texts })
    }

    /// The names that it uses, each once, in the order of their first use.
    pub fn uses(&self) -> &[Name] {
        &self.uses
    }

    /// Whether it holds, given a value for each of its names in the order of [`Condition::uses`].
    pub fn holds(&self, values: Vec<Value>) -> Result<bool, Unanswered> {
        if values.iter().any(|value| kind(value).is_none()) {
            return Err(Unanswered::Missing);
        }
        let given = Value::from_object(Given(values));
        let result = self
            .environment
            .get_template(CONDITION)
            .and_then(|template| template.render_captured(given.clone()))
            .map(|captured| captured.state().lookup(CONDITION).unwrap_or_default());
        let result = match result {
            Ok(result) => result,
            Err(error) => return Err(self.unanswered(&error, &given)),
        };
        match kind(&result) {
            Some(Kind::Bool) => Ok(result.is_true()),
            Some(other) => Err(Unanswered::Wrong(not_a_bool(other, Some(&result)))),
            None => Err(Unanswered::Missing),
        }
    }

    fn unanswered(&self, error: &minijinja::Error, given: &Value) -> Unanswered {
        let mut text = format!("--where: {}", problem(error));
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(Unlike(unlike)) = error.downcast_ref() {
                text.clone_from(unlike);
            }
            let engine = error.downcast_ref::<minijinja::Error>();
            if engine.is_some_and(|error| error.kind() == ErrorKind::UndefinedError) {
                return Unanswered::Missing;
            }
            cause = error.source();
        }
        // What is no number, in the words of the standard library that the engine passes on.
        if text.contains("invalid float literal")
            || text.contains("cannot parse float")
            || text.contains("cannot convert")
        {
            text.push_str(" (|float(0) and |int(0) give 0 instead)");
        }
        let values = given.downcast_object_ref::<Given>().map(|given| given.0.as_slice()).unwrap_or_default();
        let seen: Vec<String> = self
            .texts
            .iter()
            .zip(values)
            .filter_map(|(name, value)| Some(format!("`{name}` is {} ({})", kind(value)?, show(value))))
            .collect();
        if !seen.is_empty() && !self.texts.iter().any(|name| text.contains(&format!("`{name}` is"))) {
            text = format!("{text}; {}", seen.join(", "));
        }
        Unanswered::Wrong(text)
    }
}

/// A value of a row as the engine has it.
pub fn value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(bool) => Value::from(bool),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Value::from(integer),
            (None, Some(integer)) => Value::from(integer),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => items.into_iter().map(value).collect(),
        serde_json::Value::Object(entries) => {
            Value::from_pairs(entries.into_iter().map(|(key, item)| (key, value(item))))
        }
    }
}

/// The values of the names in a row: `v0`, `v1`, …
#[derive(Debug)]
struct Given(Vec<Value>);

impl Object for Given {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0.get(key.strip_prefix('v')?.parse::<usize>().ok()?).cloned()
    }
}

/// What unlike kinds are told, carried through the engine's errors.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unlike(String);

/// An environment with the filters, tests and methods of the templates, comparing strictly.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(MAX_STEPS));
    environment.set_auto_reload(false);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    minijinja_contrib::add_to_environment(&mut environment);
    // `row.scores|select('gt', 2)` names a test in a text: so these compare strictly too.
    for name in [
        "eq",
        "equalto",
        "==",
        "ne",
        "!=",
        "lt",
        "lessthan",
        "<",
        "le",
        "<=",
        "gt",
        "greaterthan",
        ">",
        "ge",
        ">=",
        "in",
    ] {
        if let Some(op) = Op::of_test(name) {
            environment.add_test(name, move |left: &Value, right: &Value| {
                compare(op, left, right)
                    .map_err(|fault| told(op, fault, ["an item", "a value"], [left, right]))
            });
        }
    }
    environment.add_filter("min", |state: &State, list: Value, options: Kwargs| {
        alike(&list, &options)?;
        minijinja::filters::min(state, list, options)
    });
    environment.add_filter("max", |state: &State, list: Value, options: Kwargs| {
        alike(&list, &options)?;
        minijinja::filters::max(state, list, options)
    });
    environment
}

/// Whether the items of a list are all of one kind; not asked where they are compared by something within them.
fn alike(list: &Value, options: &Kwargs) -> Result<(), minijinja::Error> {
    if options.has("attribute") {
        return Ok(());
    }
    let mut items = list.try_iter()?;
    let Some(first) = items.next() else { return Ok(()) };
    for item in items {
        compare(Op::Le, &first, &item)
            .map_err(|fault| told(Op::Le, fault, ["an item", "another"], [&first, &item]))?;
    }
    Ok(())
}

/// The function that stands for one comparison, or for several in a row (`1 < x < 3`).
fn register(environment: &mut Environment<'static>, name: String, ops: Vec<Op>, texts: Vec<String>) {
    if let ([op], [left_text, right_text]) = (&ops[..], &texts[..]) {
        let (op, texts) = (*op, [left_text.clone(), right_text.clone()]);
        environment.add_function(name, move |left: &Value, right: &Value| {
            compare(op, left, right).map_err(|fault| told(op, fault, [&texts[0], &texts[1]], [left, right]))
        });
        return;
    }
    environment.add_function(name, move |values: Rest<Value>| {
        for ((op, pair), texts) in ops.iter().zip(values.windows(2)).zip(texts.windows(2)) {
            let holds = compare(*op, &pair[0], &pair[1])
                .map_err(|fault| told(*op, fault, [&texts[0], &texts[1]], [&pair[0], &pair[1]]))?;
            if !holds {
                return Ok(false);
            }
        }
        Ok::<bool, minijinja::Error>(true)
    });
}

/// The engine's error for a comparison that is not made.
fn told(op: Op, fault: Fault, texts: [&str; 2], values: [&Value; 2]) -> minijinja::Error {
    if fault == Fault::Missing {
        return minijinja::Error::from(ErrorKind::UndefinedError);
    }
    minijinja::Error::new(ErrorKind::InvalidOperation, "unlike kinds").with_source(Unlike(unlike(
        op,
        fault,
        texts,
        values.map(Some),
    )))
}

/// What is said of a comparison that is not made. Constants stand for themselves; of others the value is shown.
fn unlike(op: Op, fault: Fault, texts: [&str; 2], values: [Option<&Value>; 2]) -> String {
    let op = op.text();
    let side = |at: usize, kind: Kind| match values[at] {
        Some(value) if show(value) != texts[at] => format!("{} is {kind} ({})", texts[at], show(value)),
        _ => format!("{} is {kind}", texts[at]),
    };
    let alike = "`{op}` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) \
                 give 0 where that fails)";
    let alike = alike.replace("{op}", op);
    match fault {
        Fault::Unlike(left, right) => format!("{} and {}: {alike}", side(0, left), side(1, right)),
        Fault::UnlikeItem(left, item) => {
            format!("{}, but {} holds {item}: {alike}", side(0, left), texts[1])
        }
        Fault::UnlikeItems(left, right) => {
            format!("{} holds {left} and {} holds {right}: {alike}", texts[0], texts[1])
        }
        Fault::Unordered(kind) => format!("{} and so has no order for `{op}`", side(0, kind)),
        Fault::HoldsNothing(kind) => format!("{}, in which `{op}` finds nothing", side(1, kind)),
        Fault::Missing => format!(
            "nothing compares (`{op}`) with none: a row in which a name is missing or null does not pass anyway"
        ),
    }
}

fn not_a_bool(kind: Kind, value: Option<&Value>) -> String {
    let value = value.map(|value| format!(" ({})", show(value))).unwrap_or_default();
    format!("--where must give true or false, but gives {kind}{value}")
}

/// What the engine says.
fn problem(error: &minijinja::Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return format!("stopped after {MAX_STEPS} steps");
    }
    let text = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    plain(&text.chars().take(MAX_PROBLEM).collect::<String>())
}

#[cfg(test)]
mod tests;
