//! The offline rater. It does not read the rubric of a lens: it measures the surface of a text, not its meaning.
//!
//! Deterministic, no network, no model. Each kind of text has one table of signals (`prose`, `code`,
//! `instruct`); a signal has a name, a range in which it is good, and a weight: the share of the score that is
//! lost when it fails wholly. The score is the product of what every signal leaves:
//!
//! ```text
//! overall = low + (high − low) · Π (1 − weightᵢ · (1 − creditᵢ)),   creditᵢ in 0..=1
//! ```
//!
//! so one grave fault is enough for a low score, as it is in the rules of Gopher (Rae et al. 2021, A1.1), C4 (Raffel
//! et al. 2020), `FineWeb` (Penedo et al. 2024) and Codex (Chen et al. 2021), from which the thresholds come. Those
//! rules reject; here the edge of a rule is a ramp, so that texts can be ranked. At most [`MAX_BYTES`] of each field
//! are read: the cost is linear in them, the memory bounded.

mod ask;
mod code;
mod instruct;
mod prose;
mod script;
mod signal;
mod text;
mod words;

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// What a person must know before believing a score of this rater, for help and output.
pub const DISCLAIMER: &str = "The heuristic rater does not read the rubric: it scores surface signals such as length, \
     repetition and structure, and cannot tell right from wrong.";

/// Bytes of a field that are read; the rest of a longer field is not seen, and the rationale says so.
pub const MAX_BYTES: usize = 64 * 1024;

/// Which table of signals fits the fields of a lens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Running text, plain or Markdown.
    Prose,
    /// Source code in any language.
    Code,
    /// A pair; the last field is the answer, those before it are the instruction.
    Instruct,
}

/// A name that is not a [`Kind`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of heuristic `{0}`: write prose, code or instruct")]
pub struct UnknownKind(String);

/// The letters are mostly of a script that no signal here was made for, so any score would be a guess.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not measurable: the letters are mostly {script}, and the heuristic knows Latin script only")]
pub struct NotMeasurable {
    /// The script, by its Unicode name where it is one of the larger ones, else "of other scripts".
    pub script: &'static str,
}

/// A score and what it was computed from.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The score, a real number within the scale; higher is better.
    pub overall: f64,
    /// Every measured value, with the factor it left where that is below 1: `words 20 (×0.64); letters 0.98`.
    pub rationale: String,
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        match name {
            "prose" => Ok(Self::Prose),
            "code" => Ok(Self::Code),
            "instruct" => Ok(Self::Instruct),
            _ => Err(UnknownKind(name.to_owned())),
        }
    }
}

/// Measures the fields of one record and places the result on `scale`, whose ends must be finite.
///
/// Prose and code are rated as one text, the fields joined by an empty line.
pub fn rate(kind: Kind, fields: &[&str], scale: RangeInclusive<f64>) -> Result<Measured, NotMeasurable> {
    let seen: Vec<&str> = fields.iter().map(|field| head(field)).collect();
    let (last, before) = seen.split_last().map_or(("", &[][..]), |(last, before)| (*last, before));
    let (quality, mut rationale) = match kind {
        Kind::Prose => prose::rate(&joined(&seen))?,
        Kind::Code => code::rate(&joined(&seen))?,
        Kind::Instruct => instruct::rate(&joined(before), last)?,
    };
    let whole: usize = fields.iter().map(|field| field.len()).sum();
    let read: usize = seen.iter().map(|field| field.len()).sum();
    if read < whole {
        rationale = format!("read the first {read} of {whole} bytes; {rationale}");
    }
    let (low, high) = scale.into_inner();
    // Interpolated so that neither a wide scale overflows nor rounding steps over its ends.
    let overall = (low * (1.0 - quality) + high * quality).max(low).min(high);
    Ok(Measured { overall, rationale })
}

fn head(field: &str) -> &str {
    &field[..field.floor_char_boundary(MAX_BYTES)]
}

fn joined<'a>(fields: &[&'a str]) -> Cow<'a, str> {
    match fields {
        [only] => Cow::Borrowed(only),
        _ => Cow::Owned(fields.join("\n\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [Kind; 3] = [Kind::Prose, Kind::Code, Kind::Instruct];

    #[test]
    fn a_kind_is_known_by_its_name_only() {
        assert_eq!("code".parse(), Ok(Kind::Code));
        assert_eq!("Code".parse::<Kind>(), Err(UnknownKind("Code".to_owned())));
    }

    #[test]
    fn no_fields_and_empty_fields_are_poor_not_an_error() {
        for kind in KINDS {
            for fields in [&[][..], &[""], &["", ""], &[" \n\t "]] {
                assert!(rate(kind, fields, 1.0..=3.0).unwrap().overall < 1.5, "{kind:?} {fields:?}");
            }
        }
    }

    #[test]
    fn a_long_field_is_read_to_the_limit_and_the_rationale_says_so() {
        let long = "Ünique words fill the page. ".repeat(4000);
        let measured = rate(Kind::Prose, &[&long], 0.0..=1.0).unwrap();
        assert!(
            measured.rationale.starts_with("read the first 65536 of 116000 bytes; words "),
            "{measured:?}"
        );
        let cut = rate(Kind::Prose, &[head(&long)], 0.0..=1.0).unwrap();
        assert_eq!(cut.overall.to_bits(), measured.overall.to_bits());
    }

    #[test]
    fn the_scale_moves_the_score_and_nothing_else() {
        let text = ["A scale is a range of numbers. It has two ends, because every range has."];
        let unit = rate(Kind::Prose, &text, 0.0..=1.0).unwrap();
        let seed = rate(Kind::Prose, &text, 1.0..=3.0).unwrap();
        assert!((1.0 + 2.0 * unit.overall - seed.overall).abs() < 1e-12);
        assert_eq!(unit.rationale, seed.rationale);
    }

    proptest! {
        #[test]
        fn any_text_is_rated_within_the_scale_and_always_alike(
            fields in prop::collection::vec(r"(?s)(.{0,60}|[ -~\n`#]{0,80}|(the |a, |\(|\{|'''|//|\n){0,40})", 0..4),
            low in -9.0..0.0_f64,
        ) {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            for kind in KINDS {
                let measured = rate(kind, &fields, low..=5.0);
                prop_assert_eq!(&measured, &rate(kind, &fields, low..=5.0));
                if let Ok(measured) = measured {
                    prop_assert!((low..=5.0).contains(&measured.overall), "{:?}", measured);
                }
            }
        }
    }
}
