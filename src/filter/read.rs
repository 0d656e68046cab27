//! Scores from a file: `--scores FILE`, and what the first pass of a filter has written.
//!
//! The file is read as any dataset: parquet, JSON lines and the others, compressed or not. Which lenses it has scores of
//! is said by its metadata, where we wrote it as a table; else by its columns: each `<x>_score` with numbers is a lens
//! `x`, other columns `<x>_<name>` with numbers are its fields. In the manner of Dolma the scores may be in an object
//! `attributes`, as numbers or as spans `[start, end, score]`, of which the mean counts, weighted by their lengths. Text
//! counts as numbers where all of it is that: CSV has nothing else.
//!
//! Rows of JSON, and columns of text, are looked through once before they are read: a lens may appear late.

mod layout;
mod lines;

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use serde_json::{Map, Value};

use super::error::{Error, plain};
use super::scores::{Scored, ScoredRow, Scores};
use crate::dataset::whole::{Form, Item, Rows, Table, Whole};
use crate::dataset::{self, Request, Unreadable};
use crate::hub;
use crate::lens::Verdict;
use layout::{Layout, LensColumns, Names, number_of};

/// The column of ids.
const ID: &str = "id";

/// An open file of scores.
pub struct ScoresFile {
    /// The file, as the user wrote it.
    pub name: String,
    /// What the file says of itself, where we wrote it as a table: the dataset, the lenses with their raters.
    pub about: Option<serde_json::Value>,
    scores: Vec<Scores>,
    layout: Layout,
    rest: BoxStream<'static, Result<Item, dataset::Error>>,
}

impl std::fmt::Debug for ScoresFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScoresFile")
            .field("name", &self.name)
            .field("scores", &self.scores)
            .finish_non_exhaustive()
    }
}

impl ScoresFile {
    /// Opens a file: finds out which lenses it has scores of. A file without ids, or without any score, is an error.
    pub async fn open(name: &str, hub: Arc<hub::Options>) -> Result<Self, Error> {
        let found = dataset::find(Request::new(name, Vec::new(), hub)).await?;
        let mut whole = found.whole(Form::AsStored).await?;
        let declared = whole.schema.clone();
        let layout = match &declared {
            Some(schema) if !layout::has_scores_in_text(schema) => {
                Layout::of_schema(schema, Names::default())
            }
            _ => {
                let seen = Seen::of(whole, name).await?;
                whole = found.whole(Form::AsStored).await?;
                match &declared {
                    Some(schema) => Layout::of_schema(schema, seen.names),
                    None => Layout::of_objects(&seen.names, &seen.attributes),
                }
            }
        };
        let (layout, scores) = layout.map_err(|problem| Error::file(name, problem))?;
        let about = declared.as_ref().and_then(|schema| layout::about(schema));
        Ok(Self { name: name.to_owned(), about, scores, layout, rest: whole.tables().boxed() })
    }

    /// The lenses that it has scores of.
    pub fn scores(&self) -> &[Scores] {
        &self.scores
    }

    /// The rows in order, some at a time. An error is the last item.
    pub fn rows(self) -> impl Stream<Item = Result<Vec<ScoredRow>, Error>> + Send {
        let Self { name, scores, layout, rest, .. } = self;
        stream::unfold(Some((rest, name, layout, scores)), |state| async move {
            let (mut items, name, layout, scores) = state?;
            let rows = match items.next().await? {
                Ok(Item::Table(table)) => decode(&table, &layout, &scores, &name),
                Ok(Item::Unreadable(row)) => Err(unreadable(&name, &row)),
                Err(error) => Err(error.into()),
            };
            let state = rows.is_ok().then_some((items, name, layout, scores));
            Some((rows, state))
        })
    }
}

fn unreadable(name: &str, row: &Unreadable) -> Error {
    Error::file(name, format!("cannot be read: row `{}`: {}", plain(&row.id), plain(&row.detail)))
}

/// What a file has, all of it looked through.
#[derive(Default)]
struct Seen {
    names: Names,
    attributes: Names,
}

impl Seen {
    async fn of(whole: Whole, name: &str) -> Result<Self, Error> {
        let mut seen = Self::default();
        let mut is_empty = true;
        let mut tables = whole.tables().boxed();
        while let Some(item) = tables.next().await.transpose()? {
            let added = match &item {
                Item::Unreadable(row) => return Err(unreadable(name, row)),
                Item::Table(table) => match &table.rows {
                    Rows::Objects(objects) => objects.iter().try_for_each(|object| seen.object(object)),
                    Rows::Arrow(batch) => seen.texts(batch),
                },
            };
            added.map_err(|problem| Error::file(name, problem))?;
            is_empty = false;
        }
        if is_empty { Err(Error::file(name, "has no rows")) } else { Ok(seen) }
    }

    fn object(&mut self, object: &Map<String, Value>) -> Result<(), String> {
        self.names.add(object)?;
        let attributes = object.get(layout::ATTRIBUTES).and_then(Value::as_object);
        attributes.map_or(Ok(()), |attributes| self.attributes.add(attributes))
    }

    fn texts(&mut self, batch: &RecordBatch) -> Result<(), String> {
        for field in batch.schema_ref().fields() {
            // In the order of the columns, those with numbers too.
            let texts =
                if layout::holds_text(field.data_type()) { Some(texts(batch, field.name())?) } else { None };
            self.names.add_texts(field.name(), texts.iter().flat_map(|texts| texts.iter().flatten()))?;
        }
        Ok(())
    }
}

fn decode(table: &Table, layout: &Layout, scores: &[Scores], name: &str) -> Result<Vec<ScoredRow>, Error> {
    let rows = match (&table.rows, layout) {
        (Rows::Arrow(batch), Layout::Columns(lenses)) => from_batch(batch, lenses, scores),
        (Rows::Arrow(_), Layout::Attributes(_)) => lines::from_values(
            (0..table.rows.len()).map(|at| Ok((table.value(ID, at)?, table.value(layout::ATTRIBUTES, at)?))),
            layout,
            scores,
        ),
        (Rows::Objects(objects), _) => lines::from_objects(objects, layout, scores),
    };
    rows.map_err(|problem| Error::file(name, problem))
}

/// The arrays of a lens.
struct Arrays {
    score: Float64Array,
    fields: Vec<Float64Array>,
    verdict: Option<StringArray>,
    failure: Option<StringArray>,
    first: Option<Float64Array>,
}

fn from_batch(
    batch: &RecordBatch,
    lenses: &[LensColumns],
    scores: &[Scores],
) -> Result<Vec<ScoredRow>, String> {
    let ids = texts(batch, ID)?;
    let mut arrays = Vec::with_capacity(lenses.len());
    for columns in lenses {
        arrays.push(Arrays {
            score: numbers(batch, &columns.score)?,
            fields: columns.fields.iter().map(|field| numbers(batch, field)).collect::<Result<_, _>>()?,
            verdict: columns.verdict.as_deref().map(|column| texts(batch, column)).transpose()?,
            failure: columns.failure.as_deref().map(|column| texts(batch, column)).transpose()?,
            first: columns.first.as_deref().map(|column| numbers(batch, column)).transpose()?,
        });
    }
    let row = |at: usize| {
        let id = text(&ids, at).filter(|id| !id.is_empty()).ok_or_else(no_id)?;
        let lenses = arrays.iter().zip(scores).map(|(arrays, scores)| {
            let found = number(&arrays.score, at);
            Ok(match found.filter(|score| score.is_finite()) {
                Some(score) => Scored::Rated {
                    score,
                    fields: arrays.fields.iter().map(|field| number(field, at).unwrap_or(f64::NAN)).collect(),
                    verdict: arrays
                        .verdict
                        .as_ref()
                        .and_then(|verdicts| text(verdicts, at))
                        .map(verdict)
                        .transpose()?,
                },
                None => without_score(
                    found,
                    arrays.first.as_ref().and_then(|first| number(first, at)),
                    arrays.failure.as_ref().and_then(|failures| text(failures, at)),
                    scores,
                ),
            })
        });
        let lenses = lenses.collect::<Result<Vec<_>, String>>();
        lenses.map(|lenses| ScoredRow { id: id.to_owned(), lenses }).map_err(|problem| of_row(id, &problem))
    };
    (0..batch.num_rows()).map(row).collect()
}

fn no_id() -> String {
    format!(
        "has a row without a value in column `{ID}`: each row of scores needs the id of the row that it is of"
    )
}

fn of_row(id: &str, problem: &str) -> String {
    format!("row with id `{}`: {problem}", plain(id))
}

/// What is said of a row that has no score, or one that is no number.
fn without_score(score: Option<f64>, first: Option<f64>, failure: Option<&str>, scores: &Scores) -> Scored {
    match (first.filter(|first| !first.is_nan()), failure, score) {
        (_, Some(failure), _) if !failure.is_empty() => Scored::Unrated(failure.to_owned()),
        (Some(first), ..) => Scored::Screened(first),
        (None, _, Some(score)) => {
            Scored::Unrated(format!("not a number: the scores file has {score} by {}", scores.lens))
        }
        (None, _, None) => Scored::Unrated(format!("no score: the scores file has none by {}", scores.lens)),
    }
}

fn verdict(name: &str) -> Result<Verdict, String> {
    let known = Verdict::ALL.into_iter().find(|verdict| verdict.name() == name);
    known.ok_or_else(|| format!("unknown verdict `{}`: they are Poor, Low, Medium and Good", plain(name)))
}

fn column(batch: &RecordBatch, name: &str, to: &DataType) -> Result<arrow::array::ArrayRef, String> {
    let array = batch.column_by_name(name).ok_or_else(|| format!("has no column `{}`", plain(name)))?;
    cast(array, to)
        .map_err(|_| format!("column `{}` is of type {}, which is not read", plain(name), array.data_type()))
}

fn numbers(batch: &RecordBatch, name: &str) -> Result<Float64Array, String> {
    if batch.column_by_name(name).is_some_and(|array| layout::holds_text(array.data_type())) {
        let number = |text: Option<&str>| {
            text.map_or(Ok(None), |text| number_of(text).map_err(|()| layout::no_number(name, text)))
        };
        return texts(batch, name)?.iter().map(number).collect();
    }
    let array = column(batch, name, &DataType::Float64)?;
    Ok(array.as_primitive::<Float64Type>().clone())
}

fn texts(batch: &RecordBatch, name: &str) -> Result<StringArray, String> {
    let array = column(batch, name, &DataType::Utf8)?;
    Ok(array.as_string::<i32>().clone())
}

fn number(array: &Float64Array, at: usize) -> Option<f64> {
    array.is_valid(at).then(|| array.value(at))
}

fn text(array: &StringArray, at: usize) -> Option<&str> {
    array.is_valid(at).then(|| array.value(at))
}

#[cfg(test)]
pub(in crate::filter) mod tests;
