//! Where in a file of scores they are, and of which lenses.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, Schema};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::error::{listed, plain};
use super::super::scores::Scores;
use super::ID;

/// The object that holds the scores, in the manner of Dolma.
pub(super) const ATTRIBUTES: &str = "attributes";

/// The metadata by which a table says what it is.
const METADATA: &str = "classified";

/// The endings of columns that are not fields.
const SCORE: &str = "_score";
const NO_FIELDS: [&str; 5] = ["score", "int_score", "verdict", "failure", "first"];

/// Where the scores are.
#[derive(Debug, Clone)]
pub(super) enum Layout {
    /// In the row itself.
    Columns(Vec<LensColumns>),
    /// In its `attributes`.
    Attributes(Vec<LensColumns>),
}

/// The columns, or attributes, of a lens.
#[derive(Debug, Clone)]
pub(super) struct LensColumns {
    pub(super) score: String,
    pub(super) fields: Vec<String>,
    pub(super) verdict: Option<String>,
    pub(super) failure: Option<String>,
    pub(super) first: Option<String>,
}

/// The metadata of a table that we wrote.
#[derive(Deserialize)]
struct About {
    v: u64,
    lenses: Vec<AboutLens>,
}

#[derive(Deserialize)]
struct AboutLens {
    lens: String,
    fields: Vec<String>,
    low: Option<f64>,
    high: Option<f64>,
    verdicts: bool,
}

/// The names that a file has, and those that hold numbers, each once and in order.
struct Names<'n> {
    all: BTreeSet<&'n str>,
    numbers: Vec<&'n str>,
}

/// What a table says of itself, if we wrote it.
pub(super) fn about(schema: &Schema) -> Option<Value> {
    serde_json::from_str(schema.metadata().get(METADATA)?).ok()
}

impl Layout {
    pub(super) fn of_schema(schema: &Schema) -> Result<(Self, Vec<Scores>), String> {
        let fields = schema.fields().iter();
        let names = Names {
            all: fields.clone().map(|field| field.name().as_str()).collect(),
            numbers: fields
                .filter(|field| holds_numbers(field.data_type()))
                .map(|field| field.name().as_str())
                .collect(),
        };
        names.check_id()?;
        if let Some(text) = schema.metadata().get(METADATA) {
            let about: About = serde_json::from_str(text)
                .map_err(|_| format!("has metadata `{METADATA}` that is not ours"))?;
            if about.v != 1 {
                return Err("was written by a newer version of this program".to_owned());
            }
            return names.declared(about.lenses);
        }
        let attributes = schema.field_with_name(ATTRIBUTES).map(arrow::datatypes::Field::data_type);
        match (names.lenses(), attributes) {
            (found, _) if !found.is_empty() => Ok(names.columns(&found)),
            (_, Ok(DataType::Struct(inner))) => {
                let all: BTreeSet<&str> = inner.iter().map(|field| field.name().as_str()).collect();
                // Spans are lists; what they hold is seen when they are read.
                let numbers = inner.iter().map(|field| field.name().as_str()).collect();
                let names = Names { all, numbers };
                names.attributes(schema.fields().iter().map(|field| field.name().as_str()))
            }
            _ => Err(names.no_score()),
        }
    }

    /// Of rows of JSON: by the keys of the first ones.
    pub(super) fn of_objects(objects: &[Map<String, Value>]) -> Result<(Self, Vec<Scores>), String> {
        let names = Names::of_objects(objects.iter());
        names.check_id()?;
        let found = names.lenses();
        if !found.is_empty() {
            return Ok(names.columns(&found));
        }
        let attributes =
            Names::of_objects(objects.iter().filter_map(|object| object.get(ATTRIBUTES)?.as_object()));
        attributes.attributes(names.all.iter().copied())
    }

    pub(super) fn lenses(&self) -> &[LensColumns] {
        match self {
            Self::Columns(lenses) | Self::Attributes(lenses) => lenses,
        }
    }
}

impl<'n> Names<'n> {
    fn of_objects(objects: impl Iterator<Item = &'n Map<String, Value>>) -> Self {
        let mut names = Names { all: BTreeSet::new(), numbers: Vec::new() };
        let mut known = BTreeSet::new();
        for (name, value) in objects.flatten() {
            names.all.insert(name);
            let are_spans = |spans: &Vec<Value>| spans.iter().all(Value::is_array);
            if (value.is_number() || value.as_array().is_some_and(are_spans)) && known.insert(name.as_str()) {
                names.numbers.push(name);
            }
        }
        names
    }

    fn check_id(&self) -> Result<(), String> {
        if self.all.contains(ID) {
            return Ok(());
        }
        Err(format!(
            "has no column `{ID}`, by which scores are joined to rows (`<file>#<row>`, or what --id names); it has {}",
            listed(self.all.iter().copied(), 20)
        ))
    }

    fn no_score(&self) -> String {
        format!(
            "has no scores: expected numbers in columns named `<lens>{SCORE}`, or attributes of such names; it has {}",
            listed(self.all.iter().copied(), 20)
        )
    }

    /// The names of lenses: of `a_score` and `a_b_score` those are `a` and `a_b`.
    fn lenses(&self) -> Vec<&'n str> {
        let lens = |name: &&'n str| {
            let lens = name.strip_suffix(SCORE).filter(|lens| !lens.is_empty())?;
            // `a_int_score` is the rounded score of `a`.
            let rounds = lens
                .strip_suffix("_int")
                .is_some_and(|lens| self.all.contains(format!("{lens}{SCORE}").as_str()));
            (!rounds && lens != "int").then_some(lens)
        };
        self.numbers.iter().filter_map(lens).collect()
    }

    fn columns(&self, lenses: &[&str]) -> (Layout, Vec<Scores>) {
        let (columns, scores) = self.inferred(lenses);
        (Layout::Columns(columns), scores)
    }

    /// As attributes; `others` are the columns of the row, for the message where there are no scores.
    fn attributes(&self, others: impl Iterator<Item = &'n str>) -> Result<(Layout, Vec<Scores>), String> {
        let lenses = self.lenses();
        if lenses.is_empty() {
            let all = others.chain(self.all.iter().copied()).collect();
            return Err(Names { all, numbers: Vec::new() }.no_score());
        }
        let (columns, scores) = self.inferred(&lenses);
        Ok((Layout::Attributes(columns), scores))
    }

    /// The lenses with the fields that their names tell: a column belongs to the lens of the longest name.
    fn inferred(&self, lenses: &[&str]) -> (Vec<LensColumns>, Vec<Scores>) {
        let known: BTreeSet<&str> = lenses.iter().copied().collect();
        let owner = |name: &str| {
            let ends = name.match_indices('_').map(|(end, _)| end);
            ends.filter(|end| known.contains(&name[..*end]))
                .max()
                .map(|end| (name[..end].to_owned(), end + 1))
        };
        let mut fields: Vec<(String, &str, &str)> = Vec::new();
        for name in &self.numbers {
            if let Some((lens, start)) = owner(name)
                && !NO_FIELDS.contains(&&name[start..])
                && !name.strip_suffix(SCORE).is_some_and(|lens| known.contains(lens))
            {
                fields.push((lens, &name[start..], name));
            }
        }
        let of = |lens: &&str| {
            let own: Vec<_> = fields.iter().filter(|(owner, ..)| owner == lens).collect();
            let has =
                |what: &str| Some(format!("{lens}_{what}")).filter(|name| self.all.contains(name.as_str()));
            let columns = LensColumns {
                score: format!("{lens}{SCORE}"),
                fields: own.iter().map(|(_, _, name)| (*name).to_owned()).collect(),
                verdict: has("verdict"),
                failure: has("failure"),
                first: has("first"),
            };
            let scores = Scores {
                lens: (*lens).to_owned(),
                fields: own.iter().map(|(_, field, _)| (*field).to_owned()).collect(),
                scale: None,
                has_verdicts: columns.verdict.is_some(),
            };
            (columns, scores)
        };
        lenses.iter().map(of).unzip()
    }

    fn declared(&self, lenses: Vec<AboutLens>) -> Result<(Layout, Vec<Scores>), String> {
        let numbers: BTreeSet<&str> = self.numbers.iter().copied().collect();
        let mut columns = Vec::new();
        let mut scores = Vec::new();
        for about in lenses {
            let name = |what: &str| format!("{}_{what}", about.lens);
            let has = |what: &str| Some(name(what)).filter(|name| self.all.contains(name.as_str()));
            let own = LensColumns {
                score: name("score"),
                fields: about.fields.iter().map(|field| name(field)).collect(),
                verdict: has("verdict").filter(|_| about.verdicts),
                failure: has("failure"),
                first: has("first"),
            };
            if let Some(missing) =
                own.fields.iter().chain([&own.score]).find(|name| !numbers.contains(name.as_str()))
            {
                return Err(format!("says that it has scores in column `{}`, and has none", plain(missing)));
            }
            scores.push(Scores {
                has_verdicts: own.verdict.is_some(),
                lens: about.lens,
                fields: about.fields,
                scale: about.low.zip(about.high),
            });
            columns.push(own);
        }
        if scores.is_empty() { Err(self.no_score()) } else { Ok((Layout::Columns(columns), scores)) }
    }
}

fn holds_numbers(kind: &DataType) -> bool {
    kind.is_numeric() || *kind == DataType::Null
}
