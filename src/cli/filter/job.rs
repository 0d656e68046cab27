//! What a filter means: all on which the kept rows depend, by which the same job is known again.

use serde_json::{Value, json};

use super::args::{FilterArgs, To, Unrated};
use crate::rating::run::Meaning;

impl FilterArgs {
    /// The cut and what belongs to it, in the words of the flags.
    pub(super) fn meaning_of_cut(&self) -> Value {
        let cut = &self.cut;
        json!({
            "min": cut.min,
            "verdict": cut.verdict,
            "where": cut.condition,
            "top": cut.top,
            "by": cut.by,
            "unrated": match self.unrated {
                Unrated::Drop => "drop",
                Unrated::Keep => "keep",
                Unrated::Fail => "fail",
            },
            "first": self.first.map(|score| format!("heuristic:{score}")),
        })
    }

    /// The job: `runs` are the ratings that it asks for, `data` is the digest of what is read, `scores` that of a file of
    /// scores. It holds no path.
    pub(super) fn job(&self, name: &str, data: &str, runs: &[Meaning], scores: Option<&str>) -> Value {
        let first = runs.first();
        let lenses: Vec<Value> =
            runs.iter().map(|run| json!({"name": run.lens, "digest": run.lens_digest})).collect();
        json!({
            "command": "filter",
            "dataset": name,
            "config": self.rating.source.config,
            "split": self.rating.source.split,
            "data": data,
            "sample": self.rating.sample(),
            "drawn": first.and_then(|run| run.drawn.clone()),
            // What a draw from a stream depends on.
            "whole": self.rating.whole,
            "max_files": self.rating.max_files,
            "id": self.rating.id,
            "columns": first.map(|run| &run.columns),
            "lenses": lenses,
            "model": first.map(|run| &run.model),
            "version": first.map(|run| run.version),
            "sampling": first.map(|run| &run.sampling),
            "chunks": first.map(|run| run.chunks),
            "scores": scores,
            "cut": self.meaning_of_cut(),
            "to": match self.to {
                To::Parquet => "parquet",
                To::Jsonl => "jsonl",
            },
            "shard_size": self.shard_size,
            "score_name": self.score_name,
        })
    }
}
