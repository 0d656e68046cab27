//! Scores in rows of JSON: as columns, or as attributes in the manner of Dolma.

use serde_json::{Map, Value};

use super::super::error::plain;
use super::super::scores::{Scored, ScoredRow, Scores};
use super::layout::{ATTRIBUTES, Layout, LensColumns, no_number, number_of};
use super::{ID, no_id, of_row, verdict, without_score};
use crate::record;

pub(super) fn from_objects(
    objects: &[Map<String, Value>],
    layout: &Layout,
    scores: &[Scores],
) -> Result<Vec<ScoredRow>, String> {
    let nothing = Map::new();
    let row = |object: &Map<String, Value>| {
        let holder = match layout {
            Layout::Columns(_) => object,
            Layout::Attributes(_) => attributes(object.get(ATTRIBUTES)).unwrap_or(&nothing),
        };
        row(object.get(ID), holder, layout.lenses(), scores)
    };
    objects.iter().map(row).collect()
}

/// Of the ids and attributes of rows.
pub(super) fn from_values(
    rows: impl Iterator<Item = Result<(Option<Value>, Option<Value>), String>>,
    layout: &Layout,
    scores: &[Scores],
) -> Result<Vec<ScoredRow>, String> {
    let nothing = Map::new();
    let rows = rows.map(|values| {
        let (id, holder) = values?;
        row(id.as_ref(), attributes(holder.as_ref()).unwrap_or(&nothing), layout.lenses(), scores)
    });
    rows.collect()
}

fn attributes(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value?.as_object()
}

fn row(
    id: Option<&Value>,
    holder: &Map<String, Value>,
    columns: &[LensColumns],
    scores: &[Scores],
) -> Result<ScoredRow, String> {
    let id = id.map(record::text).filter(|id| !id.is_empty()).ok_or_else(no_id)?;
    let lenses = columns.iter().zip(scores).map(|(columns, scores)| scored(holder, columns, scores));
    let lenses = lenses.collect::<Result<_, _>>().map_err(|problem| of_row(&id, &problem))?;
    Ok(ScoredRow { id: id.into_owned(), lenses })
}

fn scored(holder: &Map<String, Value>, columns: &LensColumns, scores: &Scores) -> Result<Scored, String> {
    let number = |name: &str| holder.get(name).map_or(Ok(None), |value| score(name, value));
    let text = |name: &Option<String>| holder.get(name.as_deref()?)?.as_str();
    let found = number(&columns.score)?;
    let Some(score) = found.filter(|score| score.is_finite()) else {
        let first = columns.first.as_deref().map_or(Ok(None), number)?;
        return Ok(without_score(found, first, text(&columns.failure), scores));
    };
    let fields = columns.fields.iter().map(|name| Ok(number(name)?.unwrap_or(f64::NAN)));
    Ok(Scored::Rated {
        score,
        fields: fields.collect::<Result<_, String>>()?,
        verdict: text(&columns.verdict).map(verdict).transpose()?,
    })
}

/// A score: a number, also as text, or the mean of spans `[start, end, score]`, weighted by their lengths.
fn score(name: &str, value: &Value) -> Result<Option<f64>, String> {
    let wrong = || format!("`{}` is neither a number nor spans [[start, end, score], …]", plain(name));
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => Ok(number.as_f64()),
        Value::String(text) => number_of(text).map_err(|()| no_number(name, text)),
        Value::Array(spans) => {
            let (mut weighted, mut weight, mut plain) = (0.0, 0.0, 0.0);
            for span in spans {
                let [start, end, score] = &span.as_array().ok_or_else(wrong)?[..] else {
                    return Err(wrong());
                };
                if score.is_null() {
                    return Ok(None);
                }
                let of = |value: &Value| value.as_f64().ok_or_else(wrong);
                let length = of(end)? - of(start)?;
                if length < 0.0 {
                    return Err(wrong());
                }
                weighted += length * of(score)?;
                plain += of(score)?;
                weight += length;
            }
            // Spans of empty documents weigh the same.
            Ok(match spans.len() {
                0 => None,
                // No rounding where there is nothing to weigh.
                1 => Some(plain),
                _ if weight > 0.0 => Some(weighted / weight),
                count => Some(plain / count as f64),
            })
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans_are_weighed_by_their_lengths() {
        let of = |value: Value| score("x", &value);
        assert_eq!(of(json!(2.5)), Ok(Some(2.5)));
        assert_eq!(of(json!([[0, 1234, 2.5]])), Ok(Some(2.5)));
        assert_eq!(of(json!([[0, 30, 1.0], [30, 40, 3.0]])), Ok(Some(1.5)));
        assert_eq!(of(json!([[0, 0, 1.0], [0, 0, 2.0]])), Ok(Some(1.5)));
        assert_eq!(of(json!([[0, 0, 2.0]])), Ok(Some(2.0)));
        assert_eq!(
            (of(json!([])), of(json!(null)), of(json!([[0, 1, null]]))),
            (Ok(None), Ok(None), Ok(None))
        );
        assert_eq!((of(json!(" 2.5 ")), of(json!(""))), (Ok(Some(2.5)), Ok(None)));
        assert_eq!(of(json!("good")).unwrap_err(), "`x` is text (`good`), and no number");
        for wrong in
            [json!(true), json!([1, 2, 3]), json!([[1, 2]]), json!([[2, 1, 3.0]]), json!([["a", 2, 3.0]])]
        {
            assert!(of(wrong.clone()).unwrap_err().contains("neither a number nor spans"), "{wrong}");
        }
    }
}
