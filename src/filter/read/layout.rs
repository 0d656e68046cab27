//! Where in a file of scores they are, and of which lenses.

use std::collections::{BTreeSet, HashMap};

use arrow::datatypes::{DataType, Schema};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::error::{listed, plain};
use super::super::names::shown;
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

/// The most names, so that a file that is no scores file is not held by its keys.
const MOST_NAMES: usize = 10_000;

/// The names that a file has, each once and in order, and what they hold.
#[derive(Debug, Default)]
pub(super) struct Names {
    places: HashMap<String, usize>,
    held: Vec<(String, Held)>,
}

/// What is known of the values of a name.
#[derive(Debug, Default)]
struct Held {
    /// Some are numbers, or spans with numbers.
    numbers: bool,
    /// Some are text that is a number.
    digits: bool,
    /// The first text that is no number.
    words: Option<String>,
}

/// What a table says of itself, if we wrote it.
pub(super) fn about(schema: &Schema) -> Option<Value> {
    serde_json::from_str(schema.metadata().get(METADATA)?).ok()
}

impl Layout {
    /// Of a table, and what its columns of text hold.
    pub(super) fn of_schema(schema: &Schema, texts: Names) -> Result<(Self, Vec<Scores>), String> {
        let mut names = texts;
        for field in schema.fields() {
            names.at(field.name())?.numbers |= holds_numbers(field.data_type());
        }
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
                // Spans are lists; what they hold is seen when they are read.
                let mut attributes = Names::default();
                for field in inner {
                    attributes.at(field.name())?.numbers = true;
                }
                attributes.attributes(&names)
            }
            _ => Err(names.no_score()),
        }
    }

    /// Of rows of JSON: by the keys of all of them, and of their attributes.
    pub(super) fn of_objects(names: &Names, attributes: &Names) -> Result<(Self, Vec<Scores>), String> {
        names.check_id()?;
        let found = names.lenses();
        if found.is_empty() { attributes.attributes(names) } else { Ok(names.columns(&found)) }
    }

    pub(super) fn lenses(&self) -> &[LensColumns] {
        match self {
            Self::Columns(lenses) | Self::Attributes(lenses) => lenses,
        }
    }
}

impl Names {
    /// Adds the keys of an object, and what they hold.
    pub(super) fn add(&mut self, object: &Map<String, Value>) -> Result<(), String> {
        for (name, value) in object {
            let held = self.at(name)?;
            match value {
                Value::Number(_) => held.numbers = true,
                Value::Array(spans) => held.numbers |= spans.iter().all(Value::is_array),
                Value::String(text) => held.text(text),
                Value::Null | Value::Bool(_) | Value::Object(_) => {}
            }
        }
        Ok(())
    }

    /// Adds texts of a column.
    pub(super) fn add_texts<'t>(
        &mut self,
        name: &str,
        texts: impl Iterator<Item = &'t str>,
    ) -> Result<(), String> {
        let held = self.at(name)?;
        texts
            .take_while(|text| {
                held.text(text);
                held.words.is_none()
            })
            .for_each(drop);
        Ok(())
    }

    fn at(&mut self, name: &str) -> Result<&mut Held, String> {
        let place = match self.places.get(name) {
            Some(place) => *place,
            None if self.held.len() == MOST_NAMES => {
                return Err(format!(
                    "is no scores file: its rows have more than {MOST_NAMES} different keys"
                ));
            }
            None => {
                self.places.insert(name.to_owned(), self.held.len());
                self.held.push((name.to_owned(), Held::default()));
                self.held.len() - 1
            }
        };
        Ok(&mut self.held[place].1)
    }

    fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    fn numbers(&self) -> impl Iterator<Item = &str> {
        let are_numbers = |held: &Held| held.numbers || held.digits && held.words.is_none();
        self.held.iter().filter(move |(_, held)| are_numbers(held)).map(|(name, _)| name.as_str())
    }

    /// The names in the order of the alphabet, for messages.
    fn sorted(&self) -> BTreeSet<&str> {
        self.held.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn check_id(&self) -> Result<(), String> {
        if self.has(ID) {
            return Ok(());
        }
        Err(format!(
            "has no column `{ID}`, by which scores are joined to rows (`<file>#<row>`, or what --id names); it has {}",
            listed(self.sorted(), 20)
        ))
    }

    fn no_score(&self) -> String {
        self.worded().unwrap_or_else(|| {
            format!(
                "has no scores: expected numbers in columns named `<lens>{SCORE}`, or attributes of such names; it has {}",
                listed(self.sorted(), 20)
            )
        })
    }

    /// What is said where scores are words.
    fn worded(&self) -> Option<String> {
        let mut scores = self.held.iter().filter(|(name, _)| name.ends_with(SCORE));
        let (name, text) = scores.find_map(|(name, held)| Some((name, held.words.as_ref()?)))?;
        Some(format!("has no scores: {}", no_number(name, text)))
    }

    /// The names of lenses: of `a_score` and `a_b_score` those are `a` and `a_b`.
    fn lenses(&self) -> Vec<&str> {
        let lens = |name: &str| {
            let lens = name.strip_suffix(SCORE).filter(|lens| !lens.is_empty())?;
            // `a_int_score` is the rounded score of `a`.
            let rounds = lens.strip_suffix("_int").is_some_and(|lens| self.has(&format!("{lens}{SCORE}")));
            (!rounds && lens != "int").then_some(lens.len())
        };
        self.numbers().filter_map(|name| Some(&name[..lens(name)?])).collect()
    }

    fn columns(&self, lenses: &[&str]) -> (Layout, Vec<Scores>) {
        let (columns, scores) = self.inferred(lenses);
        (Layout::Columns(columns), scores)
    }

    /// As attributes; `row` has the columns of the row, for the message where there are no scores.
    fn attributes(&self, row: &Self) -> Result<(Layout, Vec<Scores>), String> {
        let lenses = self.lenses();
        if lenses.is_empty() {
            if let Some(problem) = self.worded().or_else(|| row.worded()) {
                return Err(problem);
            }
            let both = row.held.iter().chain(&self.held).map(|(name, _)| (name.clone(), Held::default()));
            return Err(Self { places: HashMap::new(), held: both.collect() }.no_score());
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
        for name in self.numbers() {
            if let Some((lens, start)) = owner(name)
                && !NO_FIELDS.contains(&&name[start..])
                && !name.strip_suffix(SCORE).is_some_and(|lens| known.contains(lens))
            {
                fields.push((lens, &name[start..], name));
            }
        }
        let of = |lens: &&str| {
            let own: Vec<_> = fields.iter().filter(|(owner, ..)| owner == lens).collect();
            let has = |what: &str| Some(format!("{lens}_{what}")).filter(|name| self.has(name));
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
        let numbers: BTreeSet<&str> = self.numbers().collect();
        let mut columns = Vec::new();
        let mut scores = Vec::new();
        for about in lenses {
            let name = |what: &str| format!("{}_{what}", about.lens);
            let has = |what: &str| Some(name(what)).filter(|name| self.has(name));
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

impl Held {
    fn text(&mut self, text: &str) {
        const KEPT: usize = 100;
        if self.words.is_some() {
            return;
        }
        match number_of(text) {
            Ok(Some(_)) => self.digits = true,
            Ok(None) => {}
            Err(()) => self.words = Some(text.chars().take(KEPT).collect()),
        }
    }
}

/// The number that a text is; none of a blank one.
pub(super) fn number_of(text: &str) -> Result<Option<f64>, ()> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| ()),
    }
}

/// What is said of a text where a number is expected.
pub(super) fn no_number(column: &str, text: &str) -> String {
    format!("`{}` is text (`{}`), and no number", plain(column), shown(text))
}

/// Whether only the values of a table's columns of text tell whether they are scores.
pub(super) fn has_scores_in_text(schema: &Schema) -> bool {
    !schema.metadata().contains_key(METADATA)
        && schema.fields().iter().any(|field| holds_text(field.data_type()) && field.name().ends_with(SCORE))
}

pub(super) fn holds_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => holds_text(value),
        _ => false,
    }
}

fn holds_numbers(kind: &DataType) -> bool {
    kind.is_numeric() || *kind == DataType::Null
}
