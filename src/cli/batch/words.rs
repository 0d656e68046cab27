//! What is said of a batch: for people, and as JSON.

use serde_json::{Value, json};

use super::super::dry_run::{duration, grouped};
use crate::endpoint::batches::{RemoteBatch, Status};
use crate::report;
use crate::store::{Batch, Stage};

/// What the server tells of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Seen {
    /// It was not asked: it has not got the batch, or cannot be reached.
    #[default]
    NotAsked,
    /// This.
    Told(Box<RemoteBatch>),
    /// That it knows of none.
    Gone,
}

/// A batch's line of the list.
pub(super) fn row(batch: &Batch, seen: &Seen, now: i64) -> Vec<String> {
    let slot = &batch.slot;
    vec![
        batch.id.to_string(),
        slot.lens.clone(),
        slot.model.clone(),
        slot.version.to_string(),
        grouped(batch.requests),
        state(batch, seen),
        done(batch, seen).map_or_else(|| "–".to_owned(), grouped),
        age(batch, now),
        cost(batch),
    ]
}

/// How far a batch is.
pub(super) fn state(batch: &Batch, seen: &Seen) -> String {
    let words = match batch.stage {
        Stage::Spooling => "being gathered",
        Stage::Spooled => "being uploaded",
        Stage::Uploaded => "uploaded, waits for its turn",
        Stage::Creating => "being handed over",
        Stage::Collected => "collected",
        Stage::Written => "in a file for another runner",
        Stage::Newer => "in the hands of a newer program",
        Stage::Created => return at_server(batch, seen),
    };
    words.to_owned()
}

/// How far a batch is that a server has: by what it tells now, else by its word of the last time.
fn at_server(batch: &Batch, seen: &Seen) -> String {
    let status = match seen {
        Seen::Gone => return "unknown to the endpoint".to_owned(),
        Seen::Told(remote) => remote.status.clone(),
        Seen::NotAsked => Status::named(batch.status.as_deref().unwrap_or_default()),
    };
    let words = match &status {
        Status::Validating => "being checked",
        Status::InProgress => "running",
        Status::Finalizing => "finishing",
        Status::Completed => "done, to be collected",
        Status::Failed => "rejected as a whole",
        Status::Expired => "expired, to be collected",
        Status::Cancelling => "being cancelled",
        Status::Cancelled => "cancelled, to be collected",
        Status::Other(word) if word.is_empty() => "handed over",
        Status::Other(word) => word,
    };
    if *seen == Seen::NotAsked { format!("{words} (when last asked)") } else { words.to_owned() }
}

/// Questions of a batch that were run, where that is known.
fn done(batch: &Batch, seen: &Seen) -> Option<u64> {
    match seen {
        Seen::Told(remote) => Some(remote.counts.completed.saturating_add(remote.counts.failed)),
        _ if matches!(batch.stage, Stage::Collected | Stage::Written) => Some(batch.answered + batch.failed),
        _ => None,
    }
}

/// How long ago a batch was made.
pub(super) fn age(batch: &Batch, now: i64) -> String {
    duration((now - batch.made_at).max(0) as f64 / 1e3)
}

/// What a batch cost, or what it can cost at most as long as it is not collected.
pub(super) fn cost(batch: &Batch) -> String {
    let unknown = || "unknown".to_owned();
    match batch.stage {
        Stage::Collected => batch.cost.map_or_else(unknown, |cost| cost.to_string()),
        _ => batch.bound.map_or_else(unknown, |bound| format!("≤ {bound}")),
    }
}

/// A batch as JSON; `status` is the server's last word, and `server` what else it told, null where it was not asked.
pub(super) fn document(batch: &Batch, seen: &Seen) -> Value {
    let slot = &batch.slot;
    let status = match seen {
        Seen::Told(remote) => Some(remote.status.as_str()),
        Seen::NotAsked | Seen::Gone => batch.status.as_deref(),
    };
    let server = match seen {
        Seen::NotAsked => Value::Null,
        Seen::Gone => json!({"known": false}),
        Seen::Told(remote) => json!({
            "known": true,
            "total": remote.counts.total,
            "completed": remote.counts.completed,
            "failed": remote.counts.failed,
            "expires": remote.expires_at.map(seconds),
            "output_file": remote.output_file,
            "error_file": remote.error_file,
            "errors": remote.errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
    };
    json!({
        "number": batch.id,
        "name": batch.intent,
        "lens": slot.lens,
        "model": slot.model,
        "asked_as": batch.asked,
        "version": slot.version,
        "stage": batch.stage.as_str(),
        "status": status,
        "id": batch.remote,
        "file": batch.file,
        "questions": batch.requests,
        "prompt_tokens": batch.tokens,
        "bytes": batch.bytes,
        "answered": batch.answered,
        "failed": batch.failed,
        "again": batch.again,
        "cost": if batch.stage == Stage::Collected { batch.cost } else { None },
        "cost_at_most": batch.bound,
        "made": report::stamp(batch.made_at),
        "changed": report::stamp(batch.changed_at),
        "program": batch.program,
        "note": batch.note,
        "server": server,
    })
}

/// What the server told, line by line.
pub(super) fn told(remote: &RemoteBatch) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    let counts = remote.counts;
    row("Server: done", format!("{} of {}", grouped(counts.completed), grouped(counts.total)));
    row("Server: failed", grouped(counts.failed));
    if let Some(at) = remote.expires_at {
        row("Server: expires (UTC)", report::when(at.saturating_mul(1000)));
    }
    for (name, file) in
        [("Server: output file", &remote.output_file), ("Server: error file", &remote.error_file)]
    {
        if let Some(file) = file {
            row(name, file.clone());
        }
    }
    for error in &remote.errors {
        row("Server: error", error.to_string());
    }
    rows
}

/// The name of a field of [`document`] for people.
pub(super) fn title(field: &str) -> String {
    match field {
        "name" => "Chance name".to_owned(),
        "id" => "Server's id".to_owned(),
        "file" => "Input file".to_owned(),
        "status" => "Server's word".to_owned(),
        "again" => "To be asked again".to_owned(),
        field => {
            let words = field.replace('_', " ");
            let mut letters = words.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        }
    }
}

/// A value of [`document`] for people.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_u64().map_or_else(|| number.to_string(), grouped),
        other => other.to_string(),
    }
}

/// A server's time as JSON has it.
fn seconds(at: i64) -> String {
    report::stamp(at.saturating_mul(1000))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::endpoint::batches::Counts;
    use crate::model::Money;
    use crate::rating::question::Digest;
    use crate::store::{FORM, Slot};

    pub(in super::super) fn batch(id: i64, stage: Stage) -> Batch {
        Batch {
            id,
            intent: format!("{id:032x}"),
            slot: Arc::new(Slot { lens: "depth".into(), model: "tiny".into(), version: 1, sample: 0 }),
            digest: Digest([0; 32]),
            files: BTreeMap::new(),
            asked: "tiny".into(),
            url: Some(Digest([1; 32])),
            form: FORM,
            program: "0.1.0".into(),
            dialect: "{}".into(),
            stage,
            status: None,
            file: None,
            remote: Some(format!("batch_{id}")),
            requests: 1_200,
            bytes: 0,
            tokens: 0,
            bound: Some(Money::from_dollars(2.0)),
            cost: None,
            answered: 0,
            failed: 0,
            again: 0,
            note: None,
            made_at: 0,
            changed_at: 0,
        }
    }

    fn told(status: &str) -> Seen {
        let counts = Counts { total: 1_200, completed: 1_000, failed: 1 };
        Seen::Told(Box::new(RemoteBatch {
            id: "batch_1".into(),
            status: Status::named(status),
            input_file: None,
            output_file: None,
            error_file: None,
            errors: Vec::new(),
            counts,
            created_at: 0,
            expires_at: Some(86_400),
            intent: None,
        }))
    }

    #[test]
    fn a_line_says_how_far_a_batch_is_and_what_it_costs() {
        let shown = |batch: &Batch, seen: &Seen| row(batch, seen, 7_200_000).join(" | ");
        let mut lines = vec![
            shown(&batch(1, Stage::Created), &told("in_progress")),
            shown(&batch(1, Stage::Created), &told("completed")),
            shown(&batch(1, Stage::Created), &Seen::Gone),
            shown(&Batch { status: Some("validating".into()), ..batch(1, Stage::Created) }, &Seen::NotAsked),
            shown(&Batch { bound: None, ..batch(1, Stage::Written) }, &Seen::NotAsked),
        ];
        let cost = Some(Money::from_dollars(0.5));
        let collected = Batch { answered: 1_190, failed: 10, cost, ..batch(1, Stage::Collected) };
        lines.push(shown(&collected, &Seen::NotAsked));
        insta::assert_snapshot!(lines.join("\n"), @r"
        1 | depth | tiny | 1 | 1,200 | running | 1,001 | 2.0 h | ≤ $2.00
        1 | depth | tiny | 1 | 1,200 | done, to be collected | 1,001 | 2.0 h | ≤ $2.00
        1 | depth | tiny | 1 | 1,200 | unknown to the endpoint | – | 2.0 h | ≤ $2.00
        1 | depth | tiny | 1 | 1,200 | being checked (when last asked) | – | 2.0 h | ≤ $2.00
        1 | depth | tiny | 1 | 1,200 | in a file for another runner | 0 | 2.0 h | unknown
        1 | depth | tiny | 1 | 1,200 | collected | 1,200 | 2.0 h | $0.50
        ");
    }

    #[test]
    fn a_cost_is_known_only_when_the_replies_are_there() {
        let open = document(&Batch { cost: Some(Money::ZERO), ..batch(1, Stage::Created) }, &told("paused"));
        assert_eq!((&open["cost"], &open["cost_at_most"]), (&Value::Null, &json!(2.0)));
        assert_eq!((&open["status"], &open["server"]["completed"]), (&json!("paused"), &json!(1_000)));
        assert_eq!(open["server"]["expires"], "1970-01-02T00:00:00Z");
        let gone = document(&batch(1, Stage::Created), &Seen::Gone);
        assert_eq!(gone["server"], json!({"known": false}));
    }
}
