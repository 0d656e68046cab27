//! `functions.json`: the function that a rater calls, and whether what it called it with is an answer.

use std::collections::HashSet;

use jsonschema::Validator;
use jsonschema::error::{TypeKind, ValidationError, ValidationErrorKind};
use serde::Serialize;
use serde_json::{Map, Value};

use super::error::Fault;
use super::verdict::Scale;

/// As the original's README names the file, and as the original's code does.
pub(super) const FUNCTION_FILES: [&str; 2] = ["functions.json", "function.json"];

/// How many things an answer is told to have wrong at once.
const MAX_PROBLEMS: usize = 8;

/// How much of a wrong value is repeated in a message, in characters.
const MAX_ECHO: usize = 60;

/// How much of another library's reason is repeated, in characters.
const MAX_REASON: usize = 300;

/// The function of a lens, in the form in which chat endpoints take it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Function {
    /// What the rater calls.
    pub name: String,
    /// What the call means; empty if the lens does not say.
    pub description: String,
    /// A JSON Schema of an object, its properties in the order of the file.
    pub parameters: Value,
}

/// An answer that fits the lens.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// One value per score of the lens, in the lens's order.
    pub scores: Vec<f64>,
    /// One text per rationale of the lens, in the lens's order.
    pub rationales: Vec<String>,
}

/// An answer that does not fit the lens: what is wrong, in words from which a model can repair it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("; "))]
pub struct Invalid {
    /// At least one, at most eight sentences without a period.
    pub problems: Vec<String>,
    /// The same without a word of the answer, which may quote what was rated: which field, and what was expected of it.
    pub expected: Vec<String>,
}

/// A function with what was learned from its schema, once.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) function: Function,
    pub(super) scores: Vec<String>,
    pub(super) rationales: Vec<String>,
    validator: Validator,
}

impl Schema {
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, Fault> {
        let value: Value = serde_json::from_str(text).map_err(|error| Fault::json(file, &error))?;
        let function = function(value).map_err(|problem| Fault::new(file, problem))?;
        Self::of(function).map_err(|problem| Fault::new(file, problem))
    }

    fn of(function: Function) -> Result<Self, String> {
        let empty = Map::new();
        let properties = function.parameters["properties"].as_object().unwrap_or(&empty);
        let (mut scores, mut rationales) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for name in function.parameters["required"].as_array().into_iter().flatten() {
            let name =
                name.as_str().ok_or_else(|| format!("\"required\" holds {name}, which is not a name"))?;
            let property = properties.get(name).ok_or_else(|| {
                format!("\"required\" names `{name}`, which is not one of the \"properties\"")
            })?;
            if !seen.insert(name) {
                return Err(format!("\"required\" names `{name}` twice"));
            }
            if is_numeric(property) {
                scores.push(name.to_owned());
            } else if property["type"] == "string" {
                rationales.push(name.to_owned());
            }
        }
        if scores.is_empty() {
            return Err("has no score field; list a property of type \"number\" or \"integer\" in \
                        \"required\""
                .to_owned());
        }
        let validator = jsonschema::validator_for(&function.parameters).map_err(|error| {
            let place = error.instance_path().as_str();
            let reason = match error.kind() {
                ValidationErrorKind::Referencing(_) => {
                    "a \"$ref\" leads nowhere, or out of this file".to_owned()
                }
                _ => shorten(&error.to_string(), MAX_REASON),
            };
            format!("\"parameters\" is not a JSON Schema that can be used: {place} {reason}")
        })?;
        Ok(Self { function, scores, rationales, validator })
    }

    /// The schema of one property.
    pub(super) fn property(&self, name: &str) -> &Value {
        &self.function.parameters["properties"][name]
    }

    /// The lowest and highest value that the schema lets a score have, where it says both.
    pub(super) fn range(&self, score: &str) -> Option<Scale> {
        let property = self.property(score);
        if let Some(values) = property["enum"].as_array() {
            let values: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
            let low = values.iter().copied().reduce(f64::min)?;
            let high = values.iter().copied().reduce(f64::max)?;
            return Some(Scale { low, high });
        }
        Some(Scale { low: property["minimum"].as_f64()?, high: property["maximum"].as_f64()? })
    }

    /// The values that the schema lets a score have, ascending, where they are evenly spaced and not too many to show.
    pub(super) fn steps(&self, score: &str) -> Vec<f64> {
        const MOST: usize = 25;
        let property = self.property(score);
        let mut values: Vec<f64> = match (property["enum"].as_array(), self.range(score)) {
            (Some(values), _) => values.iter().filter_map(Value::as_f64).collect(),
            (None, Some(Scale { low, high }))
                if property["type"] == "integer" && high - low < MOST as f64 =>
            {
                std::iter::successors(Some(low), |value| Some(value + 1.0))
                    .take_while(|value| *value <= high)
                    .collect()
            }
            _ => Vec::new(),
        };
        values.sort_by(f64::total_cmp);
        values.dedup();
        let (Some(&low), Some(&high)) = (values.first(), values.last()) else { return Vec::new() };
        let step = (high - low) / (values.len() - 1).max(1) as f64;
        let is_even =
            values.iter().enumerate().all(|(at, value)| (value - low - step * at as f64).abs() < 1e-9 * step);
        if (2..=MOST).contains(&values.len()) && is_even { values } else { Vec::new() }
    }

    /// The scores and rationales in the arguments of a call. A score whose schema gives no range must lie on
    /// `scale`. A score that is written as a text (`"2.5"`) is that number, if the number is allowed.
    pub(super) fn read(&self, arguments: &Value, scale: Scale) -> Result<Scored, Invalid> {
        if !self.validator.is_valid(arguments) {
            if let Some(numbers) = self.with_numbers(arguments)
                && self.validator.is_valid(&numbers)
            {
                return self.read(&numbers, scale);
            }
            let errors: Vec<_> = self.validator.iter_errors(arguments).take(MAX_PROBLEMS).collect();
            let told = || errors.iter().filter(|error| !is_told_better(error, &errors));
            let expected = told().map(|error| self.expected(error)).collect();
            return Err(Invalid { problems: told().map(explain).collect(), expected });
        }
        let (mut problems, mut expected) = (Vec::new(), Vec::new());
        let mut scores = Vec::with_capacity(self.scores.len());
        for name in &self.scores {
            match arguments[name].as_f64() {
                Some(score) if scale.contains(score) || self.range(name).is_some() => scores.push(score),
                Some(score) => {
                    problems.push(format!("`{name}` must be from {scale}, not {score}"));
                    expected.push(format!("`{name}` must be from {scale}"));
                }
                None => {
                    problems.push(format!("`{name}` must be a number"));
                    expected.push(format!("`{name}` must be a number"));
                }
            }
        }
        problems.truncate(MAX_PROBLEMS);
        expected.truncate(MAX_PROBLEMS);
        let rationales = self.rationales.iter().map(|name| arguments[name].as_str().unwrap_or("").to_owned());
        if problems.is_empty() {
            Ok(Scored { scores, rationales: rationales.collect() })
        } else {
            Err(Invalid { problems, expected })
        }
    }

    /// What was expected where a mistake is, without a word of the answer.
    fn expected(&self, error: &ValidationError<'_>) -> String {
        // Names that the schema does not know are the answer's own.
        let field = error.instance_path().as_str().split('/').nth(1);
        let known = field.filter(|name| !self.property(name).is_null());
        let what = known.map_or("the arguments".to_owned(), |name| format!("`{name}`"));
        rule(&what, error).unwrap_or_else(|| match error.kind() {
            ValidationErrorKind::AdditionalProperties { .. } => {
                format!("{what} must not have other properties than those of the schema")
            }
            _ => format!("{what} must fit {} of the schema", error.schema_path().as_str()),
        })
    }
}

impl Schema {
    /// The arguments with numbers where scores are numbers in quotes; `None` if none is.
    fn with_numbers(&self, arguments: &Value) -> Option<Value> {
        let mut numbers = arguments.clone();
        let mut found = false;
        for name in &self.scores {
            let Some(score) = numbers.get_mut(name) else { continue };
            let Some(text) = score.as_str().map(str::trim) else { continue };
            // JSON's own grammar: no "NaN", no "inf", no "0x1".
            if let Ok(number @ Value::Number(_)) = serde_json::from_str(text) {
                *score = number;
                found = true;
            }
        }
        found.then_some(numbers)
    }
}

/// The function in a file: one object, or a list of one.
fn function(value: Value) -> Result<Function, String> {
    let value = match value {
        Value::Array(mut list) if list.len() == 1 => list.remove(0),
        Value::Array(list) => return Err(format!("expected one function, found a list of {}", list.len())),
        value => value,
    };
    let Value::Object(mut object) = value else {
        return Err("expected an object with \"name\", \"description\" and \"parameters\"".to_owned());
    };
    let Some(Value::String(name)) = object.remove("name") else {
        return Err("\"name\" is missing or not a text; a function is {\"name\": …, \"description\": …, \
                    \"parameters\": …}"
            .to_owned());
    };
    let description = match object.remove("description") {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(_) => return Err("\"description\" is not a text".to_owned()),
    };
    let mut parameters = object.remove("parameters").unwrap_or_default();
    match parameters.get_mut("properties").and_then(Value::as_object_mut) {
        Some(properties) if !properties.is_empty() => properties.values_mut().for_each(know_float),
        _ => {
            return Err("\"parameters\" must be a JSON Schema of an object with \"properties\"".to_owned());
        }
    }
    Ok(Function { name, description, parameters })
}

/// The original tool takes a type "float", which JSON Schema does not know and endpoints refuse.
fn know_float(property: &mut Value) {
    if property["type"] == "float" {
        property["type"] = "number".into();
    }
}

fn is_numeric(property: &Value) -> bool {
    match &property["type"] {
        Value::String(name) => name == "number" || name == "integer",
        Value::Null => property["enum"]
            .as_array()
            .is_some_and(|values| !values.is_empty() && values.iter().all(Value::is_number)),
        _ => false,
    }
}

/// Whether a value of the wrong type is said to be none of the allowed ones, too, which says more.
fn is_told_better(error: &ValidationError<'_>, errors: &[ValidationError<'_>]) -> bool {
    matches!(error.kind(), ValidationErrorKind::Type { .. })
        && errors.iter().any(|other| {
            matches!(other.kind(), ValidationErrorKind::Enum { .. })
                && other.instance_path() == error.instance_path()
        })
}

/// One mistake in an answer.
fn explain(error: &ValidationError<'_>) -> String {
    let place = error.instance_path().as_str();
    let what = place.strip_prefix('/').map_or("the arguments".to_owned(), |name| format!("`{name}`"));
    match (rule(&what, error), error.kind()) {
        (Some(rule), ValidationErrorKind::Required { .. }) => rule,
        (Some(rule), _) => format!("{rule}, not {}", shorten(&error.instance().to_string(), MAX_ECHO)),
        (None, ValidationErrorKind::AdditionalProperties { unexpected }) => {
            let names: Vec<String> = unexpected
                .iter()
                .take(MAX_PROBLEMS)
                .map(|name| format!("`{}`", shorten(name, MAX_ECHO)))
                .collect();
            format!("{what} must not have {}", names.join(", "))
        }
        _ => format!("{what}: {}", shorten(&error.masked_with("this value").to_string(), MAX_REASON)),
    }
}

/// What the schema wants of `what`, where that is plain.
fn rule(what: &str, error: &ValidationError<'_>) -> Option<String> {
    Some(match error.kind() {
        ValidationErrorKind::Required { property } => {
            format!("`{}` is missing", property.as_str().unwrap_or_default())
        }
        ValidationErrorKind::Type { kind } => {
            let expected = match kind {
                TypeKind::Single(kind) => kind.to_string(),
                TypeKind::Multiple(kinds) => {
                    kinds.iter().map(|kind| kind.to_string()).collect::<Vec<_>>().join(" or ")
                }
            };
            format!("{what} must be of type {expected}")
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> =
                options.as_array().into_iter().flatten().map(ToString::to_string).collect();
            format!("{what} must be one of {}", options.join(", "))
        }
        ValidationErrorKind::Minimum { limit } => format!("{what} must be at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("{what} must be at most {limit}"),
        _ => return None,
    })
}

/// At most `limit` characters of a text.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        Schema::parse(
            "functions.json",
            &json!({
            "name": "rate", "parameters": {"type": "object", "additionalProperties": false,
            "properties": {
                "rationale": {"type": "string"},
                "depth": {"type": "float"},
                "clear": {"type": "integer", "minimum": 0, "maximum": 10},
                "overall": {"type": "number", "enum": [1, 1.5, 2, 2.5, 3]}},
            "required": ["rationale", "overall", "depth", "clear"]}})
            .to_string(),
        )
        .unwrap()
    }

    fn invalid(arguments: &Value) -> String {
        schema().read(arguments, Scale::DEFAULT).unwrap_err().to_string()
    }

    #[test]
    fn scores_are_the_required_numbers_in_the_order_of_required() {
        let schema = schema();
        assert_eq!(schema.scores, ["overall", "depth", "clear"]);
        assert_eq!(schema.rationales, ["rationale"]);
        assert_eq!(schema.property("depth")["type"], "number");
    }

    #[test]
    fn a_number_in_quotes_is_that_number_if_it_is_allowed() {
        let arguments =
            |overall: &str| json!({"clear": "10", "depth": 2.25, "overall": overall, "rationale": "3"});
        let scored = schema().read(&arguments(" 2.5"), Scale::DEFAULT).unwrap();
        assert_eq!(scored, Scored { scores: vec![2.5, 2.25, 10.0], rationales: vec!["3".into()] });
        for wrong in ["2.25", "NaN", "inf", "two", "", "0x2", "2.5 of 3", "[2]", "1e999"] {
            assert!(schema().read(&arguments(wrong), Scale::DEFAULT).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_that_fits_gives_scores_and_rationales_in_the_lenss_order() {
        let arguments = json!({"clear": 10, "depth": 2.25, "overall": 2.0, "rationale": "short"});
        let scored = schema().read(&arguments, Scale::DEFAULT).unwrap();
        assert_eq!(scored, Scored { scores: vec![2.0, 2.25, 10.0], rationales: vec!["short".into()] });
    }

    #[test]
    fn what_is_wrong_is_said_so_that_it_can_be_repaired() {
        insta::assert_snapshot!([
            json!({"rationale": "", "overall": 4, "depth": 1, "clear": 11}),
            json!({"rationale": 7, "overall": "2", "depth": [], "clear": 2.5}),
            json!({"overall": 2, "depth": 2, "clear": -1, "extra": 1}),
            json!({"rationale": "", "overall": 2, "depth": 7, "clear": 1}),
            json!([1]),
            json!({"rationale": "", "overall": "x".repeat(10_000), "depth": 1, "clear": 1}),
        ].each_ref().map(invalid).join("\n"), @r#"
        `overall` must be one of 1, 1.5, 2, 2.5, 3, not 4; `clear` must be at most 10, not 11
        `rationale` must be of type string, not 7; `overall` must be one of 1, 1.5, 2, 2.5, 3, not "2"; `depth` must be of type number, not []; `clear` must be of type integer, not 2.5
        `rationale` is missing; `clear` must be at least 0, not -1; the arguments must not have `extra`
        `depth` must be from 1 to 3, not 7
        the arguments must be of type object, not [1]
        `overall` must be one of 1, 1.5, 2, 2.5, 3, not "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
        "#);
    }

    #[test]
    fn what_was_expected_is_said_without_a_word_of_the_answer() {
        let secret = "a word of the row";
        let expected = |arguments: &Value| {
            let invalid = schema().read(arguments, Scale::DEFAULT).unwrap_err();
            assert_eq!(invalid.expected.len(), invalid.problems.len());
            invalid.expected.join("; ")
        };
        insta::assert_snapshot!([
            json!({"rationale": secret, "overall": secret, "depth": [secret], "clear": 11}),
            json!({"overall": 2, "depth": 2, "clear": -1, secret: 1}),
            json!({"rationale": secret, "overall": 2, "depth": 7, "clear": 1}),
            json!([secret]),
        ].each_ref().map(expected).join("\n"), @"
        `overall` must be one of 1, 1.5, 2, 2.5, 3; `depth` must be of type number; `clear` must be at most 10
        `rationale` is missing; `clear` must be at least 0; the arguments must not have other properties than those of the schema
        `depth` must be from 1 to 3
        the arguments must be of type object
        ");
        let parameters = json!({"properties": {"score": {"type": "integer"}, "why": {"type": "string", "maxLength": 3}},
            "required": ["score"], "additionalProperties": {"pattern": "^x", "type": "string"}, "propertyNames": {"maxLength": 5}});
        let function = json!({"name": "rate", "parameters": parameters}).to_string();
        let schema = Schema::parse("functions.json", &function).unwrap();
        let answer = json!({"score": 1, "why": secret, "zebra": "zebra", "zebra stripes": "x"});
        let invalid = schema.read(&answer, Scale::DEFAULT).unwrap_err();
        assert!(
            invalid.expected.contains(&"`why` must fit /properties/why/maxLength of the schema".to_owned())
        );
        let said = invalid.expected.join("; ");
        assert!(!said.contains("zebra") && !said.contains(secret) && invalid.expected.len() == 3, "{said}");
    }

    #[test]
    fn a_list_of_one_function_is_a_function() {
        let one =
            r#"{"name": "f", "parameters": {"properties": {"s": {"type": "integer"}}, "required": ["s"]}}"#;
        let list = Schema::parse("f", &format!("[{one}]")).unwrap();
        assert_eq!(list.function, Schema::parse("f", one).unwrap().function);
        assert!(Schema::parse("f", &format!("[{one}, {one}]")).unwrap_err().problem.contains("list of 2"));
    }

    #[test]
    fn each_mistake_in_the_file_is_named() {
        let property = |text: &str| {
            format!(
                r#"{{"name": "f", "parameters": {{"type": "object", "properties": {{"s": {text}}}, "required": ["s"]}}}}"#
            )
        };
        let texts = [
            "{\n,".to_owned(), "3".to_owned(), "{}".to_owned(), r#"{"name": "f"}"#.to_owned(),
            r#"{"name": "f", "parameters": {"properties": {"s": {"type": "number"}}}}"#.to_owned(),
            r#"{"name": "f", "parameters": {"properties": {"s": {}}, "required": ["t"]}}"#.to_owned(),
            r#"{"name": "f", "parameters": {"properties": {"s": {"type": "number"}}, "required": ["s", "s"]}}"#.to_owned(),
            property(r#"{"type": "string"}"#), property(r#"{"type": ["number", "null"]}"#),
            property(r#"{"type": "number", "minimum": "one"}"#),
            property(r#"{"type": "number", "$ref": "https://example.com/x.json"}"#),
            property(r##"{"type": "number", "$ref": "#/nowhere"}"##),
        ];
        insta::assert_snapshot!(
            texts.map(|text| Schema::parse("f.json", &text).unwrap_err().problem).join("\n"), @r#"
        not valid JSON: key must be a string (column 1)
        expected an object with "name", "description" and "parameters"
        "name" is missing or not a text; a function is {"name": …, "description": …, "parameters": …}
        "parameters" must be a JSON Schema of an object with "properties"
        has no score field; list a property of type "number" or "integer" in "required"
        "required" names `t`, which is not one of the "properties"
        "required" names `s` twice
        has no score field; list a property of type "number" or "integer" in "required"
        has no score field; list a property of type "number" or "integer" in "required"
        "parameters" is not a JSON Schema that can be used: /properties/s/minimum "one" is not of type "number"
        "parameters" is not a JSON Schema that can be used:  a "$ref" leads nowhere, or out of this file
        "parameters" is not a JSON Schema that can be used:  a "$ref" leads nowhere, or out of this file
        "#);
    }

    #[test]
    fn values_that_are_listed_or_whole_numbers_are_steps() {
        let schema = schema();
        assert_eq!(schema.steps("overall"), [1.0, 1.5, 2.0, 2.5, 3.0]);
        assert_eq!(schema.steps("clear").len(), 11);
        assert!(schema.steps("depth").is_empty() && schema.steps("none").is_empty());
    }

    #[test]
    fn a_range_is_read_from_an_enum_or_from_both_bounds() {
        let schema = schema();
        assert_eq!(schema.range("overall"), Some(Scale::DEFAULT));
        assert_eq!(schema.range("clear"), Some(Scale { low: 0.0, high: 10.0 }));
        assert_eq!(schema.range("depth"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_json_is_an_answer_or_invalid_and_never_a_panic(text in "[\\[\\]{}\",:a-z0-9.e-]{0,60}") {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let schema = schema();
                if let Err(invalid) = schema.read(&value, Scale::DEFAULT) {
                    proptest::prop_assert!(!invalid.problems.is_empty());
                }
            }
        }
    }
}
