//! What is said of a batch: for people, and as JSON.

use serde_json::{Value, json};

use super::super::batching::many;
use super::super::dry_run::{duration, grouped};
use super::super::source::size;
use crate::console::plain;
use crate::endpoint::batches::{RemoteBatch, Status};
use crate::model::Money;
use crate::report;
use crate::store::{Batch, Stage};

/// The word for a batch that its user gave up, in place of the server's.
pub(super) const GIVEN_UP: &str = "given_up";

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

/// The columns of the list.
pub(super) const COLUMNS: [&str; 12] = [
    "No.",
    "Lens",
    "Model",
    "Version",
    "State",
    "Questions",
    "Done",
    "Failed",
    "Waiting",
    "Age",
    "Due in",
    "Cost",
];

/// A batch's line of the list.
pub(super) fn row(batch: &Batch, seen: &Seen, now: i64) -> Vec<String> {
    let slot = &batch.slot;
    let [done, failed] =
        counts(batch, seen).map_or(["–", "–"].map(str::to_owned), |all| all.map(grouped));
    vec![
        batch.id.to_string(),
        slot.lens.clone(),
        slot.model.clone(),
        slot.version.to_string(),
        state(batch, seen),
        grouped(batch.requests),
        done,
        failed,
        grouped(batch.waiting),
        age(batch, now),
        due(seen).map_or_else(|| "–".to_owned(), |at| duration((at - now).max(0) as f64 / 1e3)),
        cost(batch),
    ]
}

/// The sums of batches that are open, in a sentence.
pub(super) fn sums<'b>(open: impl Iterator<Item = &'b Batch>) -> String {
    let (mut batches, mut waiting, mut most) = (0, 0, Some(Money::ZERO));
    for batch in open {
        batches += 1;
        waiting += batch.waiting;
        most = most.zip(batch.bound).map(|(sum, more)| sum + more);
    }
    if batches == 0 {
        return "no batch is open".to_owned();
    }
    format!(
        "{}, {}, {}",
        many(batches, "batch is open", "batches are open"),
        many(waiting, "question waits", "questions wait"),
        most.map_or_else(|| "at an unknown cost".to_owned(), |most| format!("for {most} at most"))
    )
}

/// Where a batch is.
pub(super) fn place(batch: &Batch) -> String {
    batch.place.clone().unwrap_or_else(|| "a file for a runner of your own".to_owned())
}

/// Batches by their numbers, and where they are: `3 at https://…, 4 and 5 in …`.
pub(super) fn places<'b>(batches: impl Iterator<Item = &'b Batch>) -> String {
    let mut of_place: Vec<(String, Vec<String>)> = Vec::new();
    for batch in batches {
        let at = if batch.place.is_some() { "at" } else { "in" };
        let (place, number) = (format!("{at} {}", plain(&place(batch))), batch.id.to_string());
        match of_place.iter_mut().find(|(other, _)| *other == place) {
            Some((_, numbers)) => numbers.push(number),
            None => of_place.push((place, vec![number])),
        }
    }
    let of_place = of_place.into_iter().map(|(place, numbers)| {
        let what = if numbers.len() == 1 { "batch" } else { "batches" };
        format!("{what} {} {place}", numbers.join(", "))
    });
    of_place.collect::<Vec<_>>().join("; ")
}

/// Whether its user gave it up, whatever the endpoint has made of it.
fn is_given_up(batch: &Batch) -> bool {
    batch.stage == Stage::Collected && batch.status.as_deref() == Some(GIVEN_UP)
}

/// Whether it never came to the server, and is no more: only questions that were in an earlier batch still name it.
pub(super) fn came_to_nothing(batch: &Batch) -> bool {
    batch.stage == Stage::Collected && batch.url.is_some() && batch.file.is_none()
}

/// How far a batch is.
pub(super) fn state(batch: &Batch, seen: &Seen) -> String {
    let words = match batch.stage {
        Stage::Spooling => "being gathered",
        Stage::Spooled => "being uploaded",
        Stage::Uploaded => "uploaded, waits for its turn",
        Stage::Creating => "being handed over",
        Stage::Collected if is_given_up(batch) => "given up",
        Stage::Collected => "collected",
        Stage::Written => "in a file for a runner of your own",
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

/// Questions of a batch that were run, and those that failed, where that is known.
fn counts(batch: &Batch, seen: &Seen) -> Option<[u64; 2]> {
    match seen {
        Seen::Told(remote) => Some([remote.counts.completed, remote.counts.failed]),
        _ if matches!(batch.stage, Stage::Collected | Stage::Written) => Some([batch.answered, batch.failed]),
        _ => None,
    }
}

/// When the server gives a batch up that it has not ended, in milliseconds since 1970, where it says so.
fn due(seen: &Seen) -> Option<i64> {
    match seen {
        Seen::Told(remote) if !remote.status.has_ended() => {
            remote.expires_at.map(|at| at.saturating_mul(1000))
        }
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
    let most = batch.bound.map_or_else(unknown, |bound| format!("≤ {bound}"));
    match (batch.stage, spent(batch)) {
        // What was run of it is billed, and nobody knows what was.
        _ if is_given_up(batch) => batch.bound.map_or_else(unknown, |_| format!("unknown, {most}")),
        (Stage::Collected, cost) => cost.map_or_else(unknown, |cost| cost.to_string()),
        (_, Some(cost)) => format!("{cost} so far, {most}"),
        (_, None) => most,
    }
}

/// What the replies cost that are in the store; nothing where that is not known, or there is none yet.
fn spent(batch: &Batch) -> Option<Money> {
    let has_replies = batch.stage == Stage::Collected || batch.answered + batch.failed + batch.again > 0;
    batch.cost.filter(|_| has_replies && !is_given_up(batch))
}

/// A batch as JSON; `status` is the server's last word, or [`GIVEN_UP`], and `server` what else it told, null where it was not asked.
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
        "endpoint": batch.place,
        "id": batch.remote,
        "file": batch.file,
        "questions": batch.requests,
        "prompt_tokens": batch.tokens,
        "bytes": batch.bytes,
        "answered": batch.answered,
        "failed": batch.failed,
        "again": batch.again,
        "waiting": batch.waiting,
        "cost": spent(batch),
        "cost_at_most": batch.bound,
        "made": report::stamp(batch.made_at),
        "changed": report::stamp(batch.changed_at),
        "program": batch.program,
        "server": server,
    })
}

/// All that is known of a batch, for people: a name and a value a line.
pub(super) fn lines(batch: &Batch, seen: &Seen, now: i64) -> String {
    let slot = &batch.slot;
    let mut lines: Vec<(&str, String)> = vec![
        ("Batch", format!("{} ({})", batch.id, batch.intent)),
        ("State", state(batch, seen)),
        ("Lens", format!("{}, version {}", slot.lens, slot.version)),
    ];
    let asked = if batch.asked == slot.model { String::new() } else { format!(", asked as {}", batch.asked) };
    lines.push(("Model", format!("{}{asked}", slot.model)));
    lines.push((if batch.place.is_some() { "At" } else { "In" }, place(batch)));
    lines.push(("Made", format!("{} UTC, {} ago", report::when(batch.made_at), age(batch, now))));
    if let Some(at) = due(seen) {
        lines.push(("Due", format!("{} UTC", report::when(at))));
    }
    lines.push(("Questions", grouped(batch.requests)));
    if let Seen::Told(remote) = seen {
        let (done, failed) = (grouped(remote.counts.completed), grouped(remote.counts.failed));
        lines.push(("At the endpoint", format!("{done} done, {failed} failed")));
    }
    let told = [(batch.answered, "answered"), (batch.failed, "failed"), (batch.again, "to be asked again")];
    let told = told.into_iter().filter(|(count, _)| *count > 0);
    let told =
        told.chain([(batch.waiting, "waiting")]).map(|(count, what)| format!("{} {what}", grouped(count)));
    lines.push(("In the store", told.collect::<Vec<_>>().join(", ")));
    lines.push(("Prompt tokens", grouped(batch.tokens)));
    lines.push(("File", size(batch.bytes)));
    lines.push(("Cost", cost(batch)));
    let mut id = |name, id: &Option<String>| lines.extend(id.iter().map(|id| (name, id.clone())));
    id("Id", &batch.remote);
    id("Input file", &batch.file);
    if let Seen::Told(remote) = seen {
        id("Output file", &remote.output_file);
        id("Error file", &remote.error_file);
        lines.extend(remote.errors.iter().map(|error| ("Error", error.to_string())));
    }
    lines.push(("Made by", format!("classified {}", batch.program)));
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default() + 1;
    let line = |(name, value): &(&str, String)| format!("{:<width$} {}", format!("{name}:"), plain(value));
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
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
            place: Some("https://api.example.com/v1".into()),
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
            price: None,
            bound: Some(Money::from_dollars(2.0)),
            cost: None,
            answered: 0,
            failed: 0,
            again: 0,
            waiting: 1_200,
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
        let cost = Some(Money::from_dollars(0.5));
        let partly = Batch { answered: 300, waiting: 900, cost, ..batch(1, Stage::Created) };
        let collected = Batch { answered: 1_190, failed: 10, waiting: 0, cost, ..batch(1, Stage::Collected) };
        let given_up = Batch {
            status: Some(GIVEN_UP.into()),
            waiting: 0,
            cost: Some(Money::ZERO),
            ..batch(1, Stage::Collected)
        };
        let lines = [
            shown(&batch(1, Stage::Created), &told("in_progress")),
            shown(&partly, &told("completed")),
            shown(&batch(1, Stage::Created), &Seen::Gone),
            shown(&Batch { status: Some("validating".into()), ..batch(1, Stage::Created) }, &Seen::NotAsked),
            shown(&Batch { bound: None, ..batch(1, Stage::Written) }, &Seen::NotAsked),
            shown(&collected, &Seen::NotAsked),
            shown(&given_up, &Seen::NotAsked),
            shown(&Batch { bound: None, ..given_up.clone() }, &Seen::NotAsked),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r"
        1 | depth | tiny | 1 | running | 1,200 | 1,000 | 1 | 1,200 | 2.0 h | 22.0 h | ≤ $2.00
        1 | depth | tiny | 1 | done, to be collected | 1,200 | 1,000 | 1 | 900 | 2.0 h | – | $0.50 so far, ≤ $2.00
        1 | depth | tiny | 1 | unknown to the endpoint | 1,200 | – | – | 1,200 | 2.0 h | – | ≤ $2.00
        1 | depth | tiny | 1 | being checked (when last asked) | 1,200 | – | – | 1,200 | 2.0 h | – | ≤ $2.00
        1 | depth | tiny | 1 | in a file for a runner of your own | 1,200 | 0 | 0 | 1,200 | 2.0 h | – | unknown
        1 | depth | tiny | 1 | collected | 1,200 | 1,190 | 10 | 0 | 2.0 h | – | $0.50
        1 | depth | tiny | 1 | given up | 1,200 | 0 | 0 | 0 | 2.0 h | – | unknown, ≤ $2.00
        1 | depth | tiny | 1 | given up | 1,200 | 0 | 0 | 0 | 2.0 h | – | unknown
        ");
        assert_eq!(document(&given_up, &Seen::NotAsked)["cost"], Value::Null);
    }

    #[test]
    fn all_that_is_known_is_a_line_each_and_no_id_is_broken() {
        let id = "batch_".to_owned() + &"6745".repeat(12);
        let mut shown = Batch { remote: Some(id), bytes: 12_345, ..batch(7, Stage::Created) };
        shown.file = Some("file-\u{1b}[2J".to_owned());
        insta::assert_snapshot!(lines(&shown, &told("in_progress"), 7_200_000), @r"
        Batch:           7 (00000000000000000000000000000007)
        State:           running
        Lens:            depth, version 1
        Model:           tiny
        At:              https://api.example.com/v1
        Made:            1970-01-01 00:00 UTC, 2.0 h ago
        Due:             1970-01-02 00:00 UTC
        Questions:       1,200
        At the endpoint: 1,000 done, 1 failed
        In the store:    1,200 waiting
        Prompt tokens:   0
        File:            12 kB
        Cost:            ≤ $2.00
        Id:              batch_674567456745674567456745674567456745674567456745
        Input file:      file-�[2J
        Made by:         classified 0.1.0
        ");
    }

    #[test]
    fn sums_and_places_are_said_once() {
        let batches = [
            Batch { waiting: 1, ..batch(1, Stage::Created) },
            batch(2, Stage::Created),
            Batch { place: None, bound: None, ..batch(3, Stage::Written) },
        ];
        assert_eq!(sums(batches[..0].iter()), "no batch is open");
        assert_eq!(sums(batches[..1].iter()), "1 batch is open, 1 question waits, for $2.00 at most");
        assert_eq!(sums(batches[..2].iter()), "2 batches are open, 1,201 questions wait, for $4.00 at most");
        assert_eq!(sums(batches.iter()), "3 batches are open, 2,401 questions wait, at an unknown cost");
        assert_eq!(
            places(batches.iter()),
            "batches 1, 2 at https://api.example.com/v1; batch 3 in a file for a runner of your own"
        );
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
