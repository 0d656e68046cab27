//! Summaries and reports as JSON documents.

use serde_json::{Map, Value, json};

use super::{Change, Point, Report, Series, stamp};
use crate::lens::Verdict;
use crate::rating::run::{Outcome, Rows};
use crate::rating::summary::Summary;
use crate::stats::compare::Method;

/// The JSON document of a command's summaries: `"v": 1`.
pub fn summaries(command: &str, summaries: &[Summary], exit: u8) -> Value {
    json!({
        "v": 1,
        "command": command,
        "exit": exit,
        "summaries": summaries.iter().map(summary).collect::<Vec<_>>(),
    })
}

/// One summary. Means and shares are over the rated rows; `low` and `high` bound the 95 % interval for the dataset.
fn summary(summary: &Summary) -> Value {
    let scores: Map<String, Value> = summary
        .scores
        .iter()
        .enumerate()
        .map(|(score, (name, mean))| {
            let value = json!({
                "mean": mean.mean(),
                "n": mean.count(),
                "interval": summary.mean_interval(score),
            });
            (name.clone(), value)
        })
        .collect();
    let verdicts: Option<Map<String, Value>> = summary.verdicts.map(|counts| {
        Verdict::ALL
            .iter()
            .zip(counts)
            .enumerate()
            .map(|(index, (verdict, count))| {
                let (share, bounds) = summary.share(index);
                (verdict.to_string(), json!({"count": count, "share": share, "interval": bounds}))
            })
            .collect()
    });
    json!({
        "dataset": summary.dataset,
        "config": summary.part.config,
        "split": summary.part.split,
        "revision": summary.part.revision,
        "lens": summary.lens,
        "model": summary.model,
        "version": summary.version,
        "sample": summary.inference,
        "ledger": Rows::from(&summary.ledger),
        "scores": scores,
        "verdicts": verdicts,
        "usage": {
            "tokens_in": summary.usage.input,
            "tokens_cached": summary.usage.cached_input,
            "tokens_cache_write": summary.usage.cache_write,
            "tokens_out": summary.usage.output,
            "cost": summary.usage.cost,
            "attempts_with_unknown_bill": summary.unsettled.attempts,
            "unknown_bill_at_most": summary.unsettled.at_most,
        },
    })
}

/// The JSON document of a report: `"v": 1`. Times are ISO 8601 in UTC; `interval` is that of the dataset, which a run that
/// took every row has not; `estimate` is the mean as of a sample of what makes the data, by which runs are compared.
pub fn report(report: &Report) -> Value {
    json!({
        "v": 1,
        "command": "report",
        "made": stamp(report.made),
        "alert_level": report.level,
        "drops": report.drops().map(|(series, ..)| key(series)).collect::<Vec<_>>(),
        "unreadable_runs": report.unreadable,
        "series": report.series.iter().map(series).collect::<Vec<_>>(),
    })
}

fn key(series: &Series) -> Map<String, Value> {
    let key = &series.key;
    let pairs = [
        ("dataset", json!(key.dataset)),
        ("config", json!(key.config)),
        ("split", json!(key.split)),
        ("lens", json!(key.lens)),
        ("model", json!(key.model)),
        ("version", json!(key.version)),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn series(series: &Series) -> Value {
    let mut object = key(series);
    object.insert("runs".to_owned(), series.points.iter().map(point).collect());
    Value::Object(object)
}

fn point(Point { run, change }: &Point) -> Value {
    let meaning = &run.meaning;
    json!({
        "id": run.id,
        "began": stamp(run.began),
        "command": meaning.command,
        "revision": meaning.revision,
        "columns": meaning.columns,
        "meaning": meaning.digest().to_string(),
        "finished": run.outcome.is_some(),
        "outcome": run.outcome.as_ref().map(known),
        "change": self::change(change),
    })
}

/// What came of a run, without the intervals of one that stopped early: its rows are no sample.
fn known(outcome: &Outcome) -> Outcome {
    let mut outcome = outcome.clone();
    if !outcome.is_complete() {
        for score in &mut outcome.scores {
            (score.interval, score.estimate) = (None, None);
        }
        if let Some(verdicts) = &mut outcome.verdicts {
            verdicts.intervals = [None; 4];
        }
    }
    outcome
}

fn change(change: &Change) -> Value {
    match change {
        Change::First => json!({"kind": "first"}),
        Change::Unfinished => json!({"kind": "not_compared", "why": change.to_string()}),
        Change::Broken(what) => json!({"kind": "not_comparable", "changed": what}),
        Change::Untested(why) => json!({"kind": "not_tested", "why": why}),
        Change::Again { of, change } => {
            json!({"kind": "same_data", "of": stamp(*of), "verdict": self::change(change)})
        }
        Change::Compared { with, comparison, way } => json!({
            "kind": way.word(),
            "with": stamp(*with),
            "difference": comparison.difference,
            "p_drop": comparison.drop,
            "p_rise": comparison.rise,
            "test": match comparison.method {
                Method::Welch { t, freedom } => json!({"name": "welch", "t": t, "freedom": freedom}),
                Method::Permutation { units: (before, after) } => {
                    json!({"name": "permutation", "before": before, "after": after})
                }
            },
        }),
    }
}
