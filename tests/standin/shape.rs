//! From a JSON Schema to values that fit it, drawn from a digest.
//!
//! Covers what lenses ask for: objects, lists, strings, numbers, booleans, `enum`, `const`, bounds, and the first
//! branch of `anyOf` and `oneOf`. Whatever else a schema says is not looked at.

use std::fmt::Write;

use serde_json::Value;

/// Lists and strings never get longer than this, whatever `minItems` and `minLength` say.
const MOST: u64 = 64;

/// How a value of a schema is made.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// One of these JSON texts.
    Pick(Vec<String>),
    /// A sentence of between so many characters.
    Text { least: usize, most: usize },
    /// A whole number within both ends.
    Integer { low: i64, high: i64 },
    /// A number with two decimals within both ends.
    Number { low: f64, high: f64 },
    /// `true` or `false`.
    Boolean,
    /// So many values of one shape.
    List { item: Box<Shape>, length: u64 },
    /// Members in the order of the schema, each name as JSON text.
    Object(Vec<(String, Shape)>),
}

impl Shape {
    /// The shape of `schema`; a schema that says nothing is an empty object.
    pub(super) fn of(schema: &Value) -> Self {
        if let Some(value) = schema.get("const") {
            return Self::Pick(vec![value.to_string()]);
        }
        if let Some(values) = schema["enum"].as_array().filter(|values| !values.is_empty()) {
            return Self::Pick(values.iter().map(Value::to_string).collect());
        }
        if let Some(first) = ["anyOf", "oneOf"].iter().find_map(|union| schema[*union].get(0)) {
            return Self::of(first);
        }
        let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
        match kind {
            Some("string") => {
                let length =
                    |bound: &str| schema[bound].as_u64().and_then(|length| usize::try_from(length).ok());
                Self::Text {
                    least: length("minLength").unwrap_or(0),
                    most: length("maxLength").unwrap_or(usize::MAX),
                }
            }
            Some("integer") => {
                let low =
                    schema["minimum"].as_i64().or(schema["exclusiveMinimum"].as_i64().map(|low| low + 1));
                let high =
                    schema["maximum"].as_i64().or(schema["exclusiveMaximum"].as_i64().map(|high| high - 1));
                let low = low.unwrap_or_else(|| high.map_or(0, |high| high.min(0)));
                Self::Integer { low, high: high.unwrap_or_else(|| low.saturating_add(10)).max(low) }
            }
            Some("number") => {
                let bound = |plain: &str, strict: &str| schema[plain].as_f64().or(schema[strict].as_f64());
                let low = bound("minimum", "exclusiveMinimum");
                let high = bound("maximum", "exclusiveMaximum");
                let low = low.unwrap_or_else(|| high.map_or(0.0, |high| high.min(0.0)));
                Self::Number { low, high: high.unwrap_or(low + 1.0) }
            }
            Some("boolean") => Self::Boolean,
            Some("null") => Self::Pick(vec!["null".to_owned()]),
            Some("array") => Self::List {
                item: Box::new(Self::of(&schema["items"])),
                length: schema["minItems"].as_u64().unwrap_or(1).min(MOST),
            },
            _ => {
                let members = schema["properties"].as_object().into_iter().flatten();
                Self::Object(
                    members
                        .map(|(name, schema)| (Value::from(name.as_str()).to_string(), Self::of(schema)))
                        .collect(),
                )
            }
        }
    }

    /// Appends a value of this shape as JSON text.
    pub(super) fn write(&self, out: &mut String, draw: &mut Draw) {
        // Writing to a String cannot fail, so the results of write! below are dropped.
        match self {
            Self::Pick(values) => out.push_str(&values[draw.below(values.len())]),
            Self::Text { least, most } => write_sentence(out, draw, (*least, *most)),
            Self::Integer { low, high } => {
                let steps = high.abs_diff(*low).saturating_add(1);
                let step = draw.below(usize::try_from(steps).unwrap_or(usize::MAX)) as u64;
                let _ = write!(out, "{}", low.saturating_add_unsigned(step));
            }
            Self::Number { low, high } => {
                let value = low + (high - low) * draw.unit();
                let rounded = (value * 100.0).round() / 100.0;
                // Rounding may leave the bounds, and a bound that is excluded must not be hit.
                let inside = if rounded > *low && rounded < *high { rounded } else { low.midpoint(*high) };
                let _ = write!(out, "{inside}");
            }
            Self::Boolean => out.push_str(if draw.unit() < 0.5 { "false" } else { "true" }),
            Self::List { item, length } => {
                out.push('[');
                for place in 0..*length {
                    if place > 0 {
                        out.push(',');
                    }
                    item.write(out, draw);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (place, (name, shape)) in members.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    out.push_str(name);
                    out.push(':');
                    shape.write(out, draw);
                }
                out.push('}');
            }
        }
    }
}

/// A sentence that names its question, so that a test can see which answer belongs to which row.
fn write_sentence(out: &mut String, draw: &Draw, (least, most): (usize, usize)) {
    const PADDING: &str = " And so on.";
    let opinion = match draw.level {
        level if level < 0.34 => "little in it would help a reader",
        level if level < 0.67 => "it is clear in places and thin in others",
        _ => "it is clear, complete and to the point",
    };
    let start = out.len() + 1;
    let _ = write!(out, "\"Question {:016x}: {opinion}.", draw.digest);
    let least = least.min(usize::try_from(MOST).unwrap_or(usize::MAX) * PADDING.len());
    while out.len() - start < least {
        out.push_str(PADDING);
    }
    // Only ASCII was written, so bytes are characters.
    out.truncate(out.len().min(start.saturating_add(most)));
    out.push('"');
}

/// A stream of numbers that depends on a digest only.
///
/// The numbers of one question lie near one level, as the scores of a real rating do: were each drawn for itself,
/// hardly any record would be good or poor in all of six scores.
#[derive(Debug)]
pub(super) struct Draw {
    digest: u64,
    level: f64,
    state: u64,
}

impl Draw {
    pub(super) fn new(digest: u64) -> Self {
        let state = mix(digest);
        Self { digest, level: unit(state), state }
    }

    /// The next number in `[0, 1)`, at most 0.15 from the level of the question.
    fn unit(&mut self) -> f64 {
        self.state = mix(self.state);
        let jitter = (unit(self.state) - 0.5) * 0.3;
        (self.level + jitter).clamp(0.0, 1.0 - f64::EPSILON)
    }

    /// The next index of a list of `length`; 0 for an empty one.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "unit() is in [0, 1)")]
    fn below(&mut self, length: usize) -> usize {
        ((self.unit() * length as f64) as usize).min(length.saturating_sub(1))
    }
}

/// The top 53 bits as a number in `[0, 1)`.
pub(super) fn unit(digest: u64) -> f64 {
    (digest >> 11) as f64 / (1_u64 << 53) as f64
}

/// One step of `SplitMix64` (Steele, Lea and Flood 2014): a bijection that spreads every bit of the input.
pub(super) fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(schema: &Value, digest: u64) -> Value {
        let mut text = String::new();
        Shape::of(schema).write(&mut text, &mut Draw::new(digest));
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn every_value_fits_its_schema() {
        let schema = json!({"type": "object", "properties": {
            "rationale": {"type": "string", "minLength": 200, "maxLength": 210},
            "half": {"type": "number", "enum": [1, 1.5, 2, 2.5, 3]},
            "step": {"type": "integer", "minimum": -2, "maximum": 2},
            "part": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.01},
            "fine": {"type": ["boolean", "null"]},
            "label \"x\"": {"enum": ["good", "bad"]},
            "always": {"const": {"a": [1]}},
            "either": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "many": {"type": "array", "minItems": 3, "items": {"type": "object", "properties": {"n": {"type": "integer"}}}}
        }, "required": ["rationale", "half", "step", "part", "fine", "label \"x\"", "always", "either", "many"]});
        let validator = jsonschema::validator_for(&schema).unwrap();
        for digest in 0..500 {
            let value = value(&schema, mix(digest));
            assert_eq!(validator.validate(&value).map_err(|error| error.to_string()), Ok(()), "{value}");
        }
    }

    #[test]
    fn one_digest_gives_one_value_and_many_cover_the_scale_evenly() {
        let schema = json!({"enum": [1, 1.5, 2, 2.5, 3]});
        let mut seen = [0_u32; 5];
        for digest in 0..5_000 {
            let score = value(&schema, digest);
            assert_eq!(score, value(&schema, digest));
            let place = schema["enum"].as_array().unwrap().iter().position(|value| *value == score).unwrap();
            seen[place] += 1;
        }
        assert!(seen.iter().all(|&count| count > 700), "{seen:?}");
    }

    #[test]
    fn a_schema_cannot_ask_for_an_endless_value() {
        let huge = json!({"type": "array", "minItems": u64::MAX, "items": {"type": "string", "minLength": u64::MAX}});
        assert!(value(&huge, 1).to_string().len() < 100_000);
        assert_eq!(value(&json!({"type": "integer", "minimum": i64::MAX}), 1), json!(i64::MAX));
        assert_eq!(value(&json!({"type": "string", "maxLength": 0}), 1), json!(""));
    }

    #[test]
    fn a_schema_that_says_nothing_is_an_empty_object() {
        assert_eq!(value(&Value::Null, 1), json!({}));
        assert_eq!(value(&json!({"type": "object"}), 1), json!({}));
    }
}
