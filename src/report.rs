//! Summaries as documents: JSON now.

use serde_json::{Map, Value, json};

use crate::lens::Verdict;
use crate::rating::ledger::Ledger;
use crate::rating::summary::{Inference, Summary};
use crate::stats::Interval;

/// The JSON document of a command's summaries: `"v": 1`.
pub fn json(command: &str, summaries: &[Summary], exit: u8) -> Value {
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
                "interval": interval(summary.mean_interval(score)),
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
                (verdict.to_string(), json!({"count": count, "share": share, "interval": interval(bounds)}))
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
        "sample": match summary.inference {
            Inference::Census => json!({"kind": "all"}),
            Inference::Population(rows) => json!({"kind": "uniform", "population": rows}),
            Inference::Beginning(rows) => json!({"kind": "uniform_head", "population": rows}),
            Inference::TwoStages { files, of } => json!({"kind": "two_stages", "files": files, "of": of}),
            Inference::Head => json!({"kind": "head"}),
            Inference::Unfinished => json!({"kind": "unfinished"}),
        },
        "ledger": ledger(&summary.ledger),
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

/// Where every row went.
pub fn ledger(ledger: &Ledger) -> Value {
    let failed: Map<String, Value> =
        ledger.failed.iter().map(|(reason, count)| (reason.to_string(), json!(count))).collect();
    json!({
        "rows": ledger.rows,
        "rated": ledger.rated,
        "cached": ledger.cached,
        "duplicate": ledger.duplicate,
        "failed": failed,
        "empty": ledger.empty,
        "screened": ledger.screened,
        "not_reached": ledger.not_reached(),
    })
}

fn interval(bounds: Option<Interval>) -> Value {
    bounds.map_or(Value::Null, |Interval { low, high }| json!({"low": low, "high": high}))
}
