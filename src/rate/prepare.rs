//! From rows to questions: chunks, rendered prompts, digests; and the in-process rater, which needs no more.

use std::ops::Range;
use std::sync::Arc;

use futures::stream::{Stream, StreamExt};

use super::{Error, Plan, Rater};
use crate::chunk;
use crate::dataset::{self, Row};
use crate::heuristic;
use crate::lens::Lens;
use crate::rating::answer::{Answer, Provenance};
use crate::rating::failure::{Failure, Reason};
use crate::rating::question::Question;
use crate::record::{self, Record};

/// A row, ready to be asked through every target.
pub(super) struct Prepared {
    pub(super) record: Arc<Record>,
    pub(super) targets: Vec<Ready>,
    /// Bytes of text that the row holds in memory.
    pub(super) bytes: usize,
}

/// What a row is through one target.
pub(super) enum Ready {
    /// Nothing to ask.
    Unasked(Failure),
    /// Not to be asked about: the cheaper rater's score is below the bound.
    Screened(f64),
    /// Its chunks.
    Pieces(Vec<ReadyPiece>),
}

pub(super) struct ReadyPiece {
    pub(super) bytes: Vec<Range<usize>>,
    pub(super) step: Step,
}

pub(super) enum Step {
    /// To be asked.
    Ask(Question),
    /// Computed already, or not possible.
    Done(Result<Arc<Answer>, Failure>),
}

/// Batches of prepared rows, in order, a few of them at work.
pub(super) fn prepared(
    plan: Arc<Plan>,
    batches: impl Stream<Item = Result<Vec<Row>, dataset::Error>>,
) -> impl Stream<Item = Result<Vec<Prepared>, Error>> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    batches
        .map(move |batch| {
            let plan = Arc::clone(&plan);
            async move {
                let rows = batch?;
                Ok(tokio::task::spawn_blocking(move || prepare(&plan, rows)).await?)
            }
        })
        .buffered(threads)
}

/// Prepares a batch of rows. Work for a processor: call it where it may block.
fn prepare(plan: &Plan, rows: Vec<Row>) -> Vec<Prepared> {
    rows.into_iter().map(|row| prepare_row(plan, row)).collect()
}

fn prepare_row(plan: &Plan, row: Row) -> Prepared {
    let record = match row {
        Ok(record) => record,
        Err(unreadable) => {
            let failure = Failure::new(Reason::Unreadable, unreadable.detail);
            let targets = plan.targets.iter().map(|_| Ready::Unasked(failure.clone())).collect();
            let record =
                Record { id: unreadable.id, file: unreadable.file, fields: Vec::new(), kept: Vec::new() };
            return Prepared { record: Arc::new(record), targets, bytes: 0 };
        }
    };
    let texts: Vec<_> = record.fields.iter().map(record::text).collect();
    let mut bytes = record.size();
    let empty = texts.iter().position(|text| text.trim().is_empty());
    let targets: Vec<Ready> = (0..plan.targets.len())
        .map(|target| match empty {
            Some(field) => {
                let column = plan.columns.get(field).map_or("", String::as_str);
                let missing = record.fields[field].is_null();
                let how = if missing { "is missing or null" } else { "is empty" };
                Ready::Unasked(Failure::new(Reason::Empty, format!("field {column} {how}")))
            }
            None => asked(plan, target, &texts),
        })
        .collect();
    for target in &targets {
        if let Ready::Pieces(pieces) = target {
            for piece in pieces {
                if let Step::Ask(question) = &piece.step {
                    bytes += question.prompt.len();
                }
            }
        }
    }
    Prepared { record: Arc::new(record), targets, bytes }
}

fn asked(plan: &Plan, target: usize, texts: &[std::borrow::Cow<'_, str>]) -> Ready {
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let cuts: Vec<Vec<Range<usize>>> = match texts[..] {
        [text] => chunk::cut(text, &plan.limits).into_iter().map(|range| vec![range]).collect(),
        _ => vec![chunk::share(&texts, &plan.limits)],
    };
    let lens = &plan.targets[target].lens;
    let seen = |bytes: &[Range<usize>]| -> Vec<&str> {
        texts.iter().zip(bytes).map(|(text, range)| &text[range.clone()]).collect()
    };
    if let Some(first) = &plan.first
        && let Some(score) = first_score(first.kinds[target], lens, cuts.iter().map(|bytes| seen(bytes)))
        && score < first.at_least
    {
        return Ready::Screened(score);
    }
    let pieces = cuts
        .into_iter()
        .map(|bytes| {
            let seen = seen(&bytes);
            let step = match &plan.rater {
                Rater::Heuristic(kinds) => Step::Done(measure(kinds[target], lens, &seen)),
                Rater::Endpoint(asker) => match lens.render(&seen) {
                    Ok(messages) => Step::Ask(asker.forms[target].question.question(messages.prompt)),
                    Err(error) => Step::Done(Err(Failure::new(Reason::Template, error.to_string()))),
                },
            };
            ReadyPiece { bytes, step }
        })
        .collect();
    Ready::Pieces(pieces)
}

/// The heuristic's score of a record, the mean over its chunks; `None` where one of them cannot be measured.
fn first_score<'t>(
    kind: heuristic::Kind,
    lens: &Lens,
    chunks: impl ExactSizeIterator<Item = Vec<&'t str>>,
) -> Option<f64> {
    let count = chunks.len() as f64;
    let scores = chunks.map(|seen| {
        let scale = lens.scale.low..=lens.scale.high;
        heuristic::rate(kind, &seen, scale).ok().map(|measured| measured.overall)
    });
    scores.sum::<Option<f64>>().map(|sum| sum / count)
}

fn measure(kind: heuristic::Kind, lens: &Lens, texts: &[&str]) -> Result<Arc<Answer>, Failure> {
    match heuristic::rate(kind, texts, lens.scale.low..=lens.scale.high) {
        Ok(measured) => Ok(Arc::new(Answer {
            scores: vec![measured.overall],
            rationales: vec![measured.rationale],
            provenance: Provenance::default(),
        })),
        Err(error) => Err(Failure::new(Reason::NotMeasurable, error.to_string())),
    }
}
