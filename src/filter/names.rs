//! What conditions and `--by` can name: scores, their fields, and columns of the row; and of what kind each is.

use std::fmt;

use serde_json::Value;

use super::condition;
use super::error::{listed, nearest, plain};
use super::scores::Scores;
use crate::dataset::Column;

/// The word that columns are named with: `row.lang`.
pub(super) const ROW: &str = "row";

/// A value that a cut can ask of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// The overall score of a lens, by its index.
    Score(usize),
    /// A score field: the indices of the lens, and of the field in it.
    Field(usize, usize),
    /// A column, or a dotted path into one (see [`crate::record::pick::find`]).
    Column(String),
}

/// The kinds of value. Only like kinds are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Bool,
    /// An integer or a fraction.
    Number,
    /// Text.
    Text,
    /// A list.
    List,
    /// Values by their names.
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
            Self::List => "a list",
            Self::Object => "an object",
        })
    }
}

/// All that can be named.
#[derive(Debug, Clone, Copy)]
pub struct Names<'n> {
    /// The lenses, in the order of a row's scores.
    pub scores: &'n [Scores],
    /// The columns of the dataset.
    pub columns: &'n [Column],
}

impl Names<'_> {
    /// What is meant by a name outside of an expression: a lens, `<lens>_<field>`, `row.<column>`, or `row['any name']`.
    pub fn find(&self, name: &str) -> Result<Name, String> {
        let of_row = name.strip_prefix(ROW);
        let literal = of_row.and_then(|rest| rest.strip_prefix('.'));
        if let Some(Ok(name)) = literal.map(|column| self.column(column)) {
            return Ok(name);
        }
        let quoted = of_row.filter(|rest| rest.contains('[')).and_then(|_| condition::path(name));
        match (quoted, literal) {
            (Some(path), _) => self.column(&path),
            (None, Some(column)) => self.column(column),
            (None, None) => self.score(name),
        }
    }

    /// A lens's name, or `<lens>_<field>`. In an expression a name is of letters, digits and `_` alone; so `_` stands
    /// for any other character of a lens's or a field's name.
    pub(super) fn score(&self, name: &str) -> Result<Name, String> {
        // As its column in the output is called, too.
        let is_score =
            |scores: &Scores| is_called(name, &[&scores.lens]) || is_called(name, &[&scores.lens, "score"]);
        let lens = self.scores.iter().position(is_score);
        let field = || {
            self.scores.iter().enumerate().find_map(|(lens, scores)| {
                let field = scores.fields.iter().position(|field| is_called(name, &[&scores.lens, field]))?;
                Some(Name::Field(lens, field))
            })
        };
        lens.map(Name::Score).or_else(field).ok_or_else(|| self.unknown(name))
    }

    /// A column of the row, or a path into one.
    pub(super) fn column(&self, path: &str) -> Result<Name, String> {
        let exists = |name: &str| self.columns.iter().any(|column| column.name == name);
        if exists(path) {
            return Ok(Name::Column(path.to_owned()));
        }
        let Some((root, rest)) = path.split_once('.').filter(|(root, _)| exists(root)) else {
            return Err(self.unknown(&format!("{ROW}.{path}")));
        };
        match self.kind(&Name::Column(root.to_owned())) {
            Some(kind @ (Kind::Bool | Kind::Number | Kind::Text)) => Err(format!(
                "column `{}` is {kind}, and has no `{}` within it (a method is written with brackets: `.lower()`)",
                plain(root),
                plain(rest)
            )),
            _ => Ok(Name::Column(path.to_owned())),
        }
    }

    /// Of what kind a name's values are, as far as it is known before they are read.
    pub(super) fn kind(&self, name: &Name) -> Option<Kind> {
        let Name::Column(path) = name else { return Some(Kind::Number) };
        let column = self.columns.iter().find(|column| column.name == *path)?;
        // Of JSON the kinds that were seen: `null or string`.
        let is_nested = column.kind.contains('<');
        let mut seen = column.kind.split(" or ").filter(|kind| *kind != "null");
        let kind = if is_nested { Some(column.kind.as_str()) } else { seen.next() }?;
        if !is_nested && seen.next().is_some() {
            return None;
        }
        Some(match kind {
            "bool" => Kind::Bool,
            // Times are read as text.
            "string" | "timestamp" | "date" | "time" => Kind::Text,
            "number" | "int8" | "int16" | "int32" | "int64" | "uint8" | "uint16" | "uint32" | "uint64"
            | "float16" | "float32" | "float64" => Kind::Number,
            "list" => Kind::List,
            "object" => Kind::Object,
            _ if kind.starts_with("decimal") => Kind::Number,
            _ if kind.starts_with("list<") => Kind::List,
            _ if kind.starts_with("struct<") || kind.starts_with("map<") => Kind::Object,
            _ => return None,
        })
    }

    /// How a name is written, for messages.
    pub(super) fn text(&self, name: &Name) -> String {
        match name {
            Name::Score(lens) => plain(&self.scores[*lens].lens),
            Name::Field(lens, field) => {
                let scores = &self.scores[*lens];
                plain(&format!("{}_{}", scores.lens, scores.fields[*field]))
            }
            Name::Column(path) => plain(&format!("{ROW}.{path}")),
        }
    }

    /// The error for a name that is none: what there is, and what is near.
    pub(super) fn unknown(&self, name: &str) -> String {
        const LISTED: usize = 20;
        let lenses = || self.scores.iter().map(|scores| scores.lens.clone());
        let fields = || {
            let of = |scores: &Scores| {
                let names = scores.fields.iter().map(|field| format!("{}_{field}", scores.lens));
                names.collect::<Vec<_>>()
            };
            self.scores.iter().flat_map(of)
        };
        let columns = || self.columns.iter().map(|column| format!("{ROW}.{}", column.name));
        let all: Vec<String> = lenses().chain(fields()).chain(columns()).collect();
        // `lang` where `row.lang` is meant is the commonest slip.
        let as_column = format!("{ROW}.{name}");
        let near = all.iter().find(|known| **known == as_column).map(String::as_str);
        let near = near.or_else(|| nearest(name, all.iter().map(String::as_str)));
        let near = near.map(|near| format!(" (did you mean `{}`?)", plain(near))).unwrap_or_default();
        let list = |names: Vec<String>| listed(names.iter().map(String::as_str), LISTED);
        format!(
            "unknown name `{}`{near}; lenses: {}; fields: {}; columns: {}",
            plain(name),
            list(lenses().collect()),
            list(fields().collect()),
            list(columns().collect()),
        )
    }
}

/// Whether `name` is these parts, joined by `_`; `_` also stands for what cannot be in a name of an expression.
fn is_called(name: &str, parts: &[&str]) -> bool {
    let joined = parts.join("_");
    let as_identifier = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name == joined || name.chars().eq(joined.chars().map(as_identifier))
}

/// The number that a value of a column is: a number, or a text that is one (CSV has no others). `None` where there is
/// none: null, blank. NaN is none too, since nothing is more or less than it.
pub(super) fn number(value: &Value) -> Result<Option<f64>, String> {
    let wrong = |what: &str| Err(format!("{what}, and no number"));
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => Ok(number.as_f64().filter(|number| !number.is_nan())),
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(number) if number.is_nan() => Ok(None),
            Ok(number) => Ok(Some(number)),
            Err(_) => wrong(&format!("text (`{}`)", shown(text))),
        },
        Value::Bool(_) => wrong(&Kind::Bool.to_string()),
        Value::Array(_) => wrong(&Kind::List.to_string()),
        Value::Object(_) => wrong(&Kind::Object.to_string()),
    }
}

/// The beginning of a stranger's text, fit to be printed.
pub(super) fn shown(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut start: String = text.chars().take(SHOWN).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    plain(&start)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scores() -> Vec<Scores> {
        let lens = |lens: &str, fields: &[&str]| Scores {
            lens: lens.into(),
            fields: fields.iter().map(|&field| field.into()).collect(),
            scale: Some((1.0, 3.0)),
            has_verdicts: true,
        };
        vec![lens("textbook_quality", &["clarity", "overall"]), lens("my-lens", &["overall"])]
    }

    fn columns() -> Vec<Column> {
        let column = |name: &str, kind: &str| Column { name: name.into(), kind: kind.into() };
        vec![
            column("lang", "string"),
            column("meta", "struct<lang: string>"),
            column("a.b", "null or number"),
            column("when", "timestamp"),
            column("sure", "bool or null"),
            column("any", "list or null or string"),
        ]
    }

    #[test]
    fn a_name_is_a_lens_a_field_or_a_column() {
        let (scores, columns) = (scores(), columns());
        let names = Names { scores: &scores, columns: &columns };
        let kind = |name: &str| names.kind(&names.find(name).unwrap());
        assert_eq!(names.find("textbook_quality"), Ok(Name::Score(0)));
        assert_eq!(names.find("textbook_quality_clarity"), Ok(Name::Field(0, 0)));
        assert_eq!(names.find("my-lens"), Ok(Name::Score(1)));
        assert_eq!(names.find("my_lens_overall"), Ok(Name::Field(1, 0)));
        assert_eq!(names.find("row.meta.lang"), Ok(Name::Column("meta.lang".into())));
        assert_eq!(names.find("row.a.b"), Ok(Name::Column("a.b".into())));
        assert_eq!((kind("my-lens"), kind("row.lang")), (Some(Kind::Number), Some(Kind::Text)));
        assert_eq!((kind("row.a.b"), kind("row.meta")), (Some(Kind::Number), Some(Kind::Object)));
        assert_eq!((kind("row.when"), kind("row.sure")), (Some(Kind::Text), Some(Kind::Bool)));
        assert_eq!((kind("row.any"), kind("row.meta.lang")), (None, None));
    }

    #[test]
    fn an_unknown_name_is_told_what_there_is() {
        let (scores, columns) = (scores(), columns());
        let names = Names { scores: &scores, columns: &columns };
        insta::assert_snapshot!(names.find("textbook_qualty").unwrap_err(), @"unknown name `textbook_qualty` (did you mean `textbook_quality`?); lenses: textbook_quality, my-lens; fields: textbook_quality_clarity, textbook_quality_overall, my-lens_overall; columns: row.lang, row.meta, row.a.b, row.when, row.sure, row.any");
        assert!(names.find("lang").unwrap_err().contains("did you mean `row.lang`?"));
        assert!(names.find("row.lnag").unwrap_err().contains("did you mean `row.lang`?"));
        assert!(names.find("row.a").is_err());
        let within = names.find("row.lang.lower").unwrap_err();
        assert!(within.starts_with("column `lang` is text, and has no `lower` within it"), "{within}");
        let none = Names { scores: &[], columns: &[] };
        assert_eq!(
            none.find("x").unwrap_err(),
            "unknown name `x`; lenses: none; fields: none; columns: none"
        );
    }

    #[test]
    fn a_number_in_quotes_is_that_number_and_nan_is_none() {
        assert_eq!(number(&json!(" 2.5 ")), Ok(Some(2.5)));
        assert_eq!(number(&json!(3)), Ok(Some(3.0)));
        for missing in [json!(null), json!(""), json!(" "), json!("NaN")] {
            assert_eq!(number(&missing), Ok(None));
        }
        assert_eq!(number(&json!("n/a\x07")).unwrap_err(), "text (`n/a\\u{7}`), and no number");
        assert_eq!(number(&json!(true)).unwrap_err(), "true or false, and no number");
        assert!(number(&json!([1])).is_err() && number(&json!({})).is_err());
    }
}
