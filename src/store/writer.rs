//! The one task that writes: it takes what has gathered, commits it as a group, and then acknowledges.

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::answers::{Known, find};
use super::{Error, Slot, Store, integer, now};
use crate::model::Money;
use crate::rating::answer::{Answer, Usage};
use crate::rating::failure::Reason;
use crate::rating::question::Digest;

/// Writes handed over that go into one transaction, at most.
const GROUP: usize = 256;

/// Rows of one INSERT. Each statement is a hop to SQLite's thread, so several rows go in one; powers of two, so that
/// a few statements make any number and each is prepared once.
const SIZES: [usize; 8] = [128, 64, 32, 16, 8, 4, 2, 1];

static ANSWERS: LazyLock<[String; SIZES.len()]> = LazyLock::new(|| {
    SIZES.map(|rows| {
        let values = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        // Another process may have answered the same question meanwhile: the first answer stays.
        format!(
            "INSERT INTO answers (slot, input, text, scores, rationales, model_reported, finish_reason, tokens_in, \
             tokens_cached, tokens_out, cost, latency_ms, attempts, answered_at) VALUES {} ON CONFLICT DO NOTHING",
            vec![values; rows].join(", ")
        )
    })
});

static ATTEMPTS: LazyLock<[String; SIZES.len()]> = LazyLock::new(|| {
    SIZES.map(|rows| {
        format!(
            "INSERT INTO attempts (slot, input, reason, tokens_in, tokens_out, cost, attempted_at) VALUES {}",
            vec!["(?, ?, ?, ?, ?, ?, ?)"; rows].join(", ")
        )
    })
});

/// An answer to keep.
#[derive(Debug, Clone)]
pub struct NewAnswer {
    /// Lens, model, version, sample.
    pub slot: Arc<Slot>,
    /// The question's digest.
    pub input: Digest,
    /// The digest of the lens's text.
    pub lens_digest: Digest,
    /// The answer.
    pub answer: Arc<Answer>,
}

/// An attempt that gave no answer, for the history.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Lens, model, version, sample.
    pub slot: Arc<Slot>,
    /// The question's digest.
    pub input: Digest,
    /// What went wrong.
    pub reason: Reason,
    /// What the server billed for it.
    pub usage: Usage,
}

/// What became of a group of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Committed {
    /// Each is stored as it was given.
    AsGiven,
    /// Some of the questions had been answered already.
    SomeWereThere,
}

type Acknowledge = oneshot::Sender<Result<Committed, Error>>;

pub(super) enum Write {
    Answers(Vec<NewAnswer>, Acknowledge),
    Attempt(Attempt),
    /// Acknowledged when everything before it is written.
    Flush(Acknowledge),
}

/// A look-up on the connection that writes: the slot, the questions, and whom to tell.
pub(super) struct LookUp {
    pub(super) slot: Slot,
    pub(super) inputs: Vec<Digest>,
    pub(super) tell: oneshot::Sender<Result<Known, Error>>,
}

impl Store {
    /// Keeps answers; returns when they are committed, with what is stored for each. Where another process was first
    /// with an answer to the same question, that one is kept and returned: a later run must find what this one reports.
    pub async fn put(&self, new: Vec<NewAnswer>) -> Result<Vec<Arc<Answer>>, Error> {
        let (acknowledge, acknowledged) = oneshot::channel();
        let given: Vec<_> =
            new.iter().map(|new| (Arc::clone(&new.slot), new.input, Arc::clone(&new.answer))).collect();
        self.has_written.store(true, Ordering::Relaxed);
        self.writes.send(Write::Answers(new, acknowledge)).await.map_err(|_| Error::WriterGone)?;
        let committed = acknowledged.await.map_err(|_| Error::WriterGone)??;
        let mut stored = Vec::with_capacity(given.len());
        for (slot, input, answer) in given {
            let first = match committed {
                Committed::AsGiven => None,
                Committed::SomeWereThere => self.find(&slot, &[input]).await?.remove(&input),
            };
            stored.push(first.unwrap_or(answer));
        }
        Ok(stored)
    }

    /// Waits until everything handed over is written.
    pub async fn flush(&self) -> Result<(), Error> {
        let (acknowledge, acknowledged) = oneshot::channel();
        self.writes.send(Write::Flush(acknowledge)).await.map_err(|_| Error::WriterGone)?;
        acknowledged.await.map_err(|_| Error::WriterGone)?.map(drop)
    }

    /// Keeps a failed attempt as history, without waiting for it: nothing depends on it.
    pub async fn put_attempt(&self, attempt: Attempt) {
        // A writer that is gone is reported by the next answer.
        let _ = self.writes.send(Write::Attempt(attempt)).await;
    }
}

/// How often a group is tried again on a fresh connection before it is given up: answers are paid for.
const TRIES: u32 = 3;

pub(super) async fn run(
    connection: SqliteConnection,
    options: SqliteConnectOptions,
    mut inbox: mpsc::Receiver<Write>,
    mut lookups: mpsc::Receiver<LookUp>,
) {
    let mut group = Vec::with_capacity(GROUP);
    let mut writer = Some((connection, Ids::default()));
    loop {
        tokio::select! {
            taken = inbox.recv_many(&mut group, GROUP) => if taken == 0 { break },
            Some(LookUp { slot, inputs, tell }) = lookups.recv() => {
                let found = match &mut writer {
                    Some((connection, _)) => find(connection, &slot, &inputs).await,
                    None => Err(Error::WriterGone),
                };
                // Whoever asked may have been cancelled.
                let _ = tell.send(found);
                continue;
            }
        }
        let mut result = commit(&mut writer, &options, &group).await;
        for _ in 1..TRIES {
            if result.is_ok() {
                break;
            }
            // After a full disk or a failed rollback a connection stays broken, and another process may have removed
            // the rows whose ids it remembers.
            writer = None;
            tokio::time::sleep(Duration::from_millis(200)).await;
            result = commit(&mut writer, &options, &group).await;
        }
        for write in group.drain(..) {
            // Whoever asked may have been cancelled; the answer is kept all the same.
            let _ = match write {
                Write::Answers(_, acknowledge) | Write::Flush(acknowledge) => {
                    acknowledge.send(match &result {
                        Ok(committed) => Ok(*committed),
                        Err(error) => {
                            Err(Error::Statement { reason: error.to_string(), advice: super::advice(error) })
                        }
                    })
                }
                Write::Attempt(_) => Ok(()),
            };
        }
    }
    if let Some((connection, _)) = writer {
        // Closing checkpoints the log; if it cannot, the next process that opens the file does.
        let _ = connection.close().await;
    }
}

/// Writes a group in one transaction, on the connection at hand or a new one.
async fn commit(
    writer: &mut Option<(SqliteConnection, Ids)>,
    options: &SqliteConnectOptions,
    group: &[Write],
) -> Result<Committed, sqlx::Error> {
    if writer.is_none() {
        *writer = Some((SqliteConnection::connect_with(options).await?, Ids::default()));
    }
    match writer {
        Some((connection, ids)) => write_group(connection, ids, group).await,
        None => Ok(Committed::AsGiven),
    }
}

async fn write_group(
    connection: &mut SqliteConnection,
    ids: &mut Ids,
    group: &[Write],
) -> Result<Committed, sqlx::Error> {
    // IMMEDIATE: a transaction that begins as a reader cannot wait for another process's lock.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut answers = Vec::with_capacity(group.len());
    let mut attempts = Vec::new();
    for write in group {
        match write {
            Write::Answers(batch, _) => {
                for new in batch {
                    let slot = ids.slot(&mut transaction, &new.slot).await?;
                    let text = ids.text(&mut transaction, slot, new.lens_digest).await?;
                    answers.push((slot, text, new));
                }
            }
            Write::Attempt(attempt) => {
                let slot = ids.slot(&mut transaction, &attempt.slot).await?;
                attempts.push((slot, attempt));
            }
            Write::Flush(_) => {}
        }
    }
    let stored = insert_answers(&mut transaction, &answers).await?;
    insert_attempts(&mut transaction, &attempts).await?;
    transaction.commit().await?;
    Ok(if stored == answers.len() as u64 { Committed::AsGiven } else { Committed::SomeWereThere })
}

/// Keeps answers, each with the numbers of its slot and text; returns how many there were none for yet.
pub(super) async fn insert_answers(
    connection: &mut SqliteConnection,
    mut rest: &[(i64, i64, &NewAnswer)],
) -> Result<u64, sqlx::Error> {
    let mut stored = 0;
    for (size, statement) in SIZES.iter().zip(ANSWERS.iter()) {
        while let Some((rows, after)) = rest.split_at_checked(*size) {
            let mut query = sqlx::query(AssertSqlSafe(statement.as_str()));
            for (slot, text, new) in rows {
                let provenance = &new.answer.provenance;
                query = query
                    .bind(slot)
                    .bind(&new.input.0[..])
                    .bind(text)
                    .bind(list(&new.answer.scores))
                    .bind(list(&new.answer.rationales))
                    .bind(&provenance.model_reported)
                    .bind(&provenance.finish_reason)
                    .bind(integer(provenance.usage.input))
                    .bind(integer(provenance.usage.cached_input))
                    .bind(integer(provenance.usage.output))
                    .bind(provenance.usage.cost.map(Money::dollars))
                    .bind(provenance.latency_ms)
                    .bind(provenance.attempts)
                    .bind(provenance.answered_at);
            }
            stored += query.execute(&mut *connection).await?.rows_affected();
            rest = after;
        }
    }
    Ok(stored)
}

/// Scores or rationales as a JSON list.
fn list<T: serde::Serialize>(values: &[T]) -> String {
    // Numbers and strings have no way to fail.
    serde_json::to_string(values).unwrap_or_default()
}

/// Keeps failed attempts, each with the number of its slot.
pub(super) async fn insert_attempts(
    connection: &mut SqliteConnection,
    mut rest: &[(i64, &Attempt)],
) -> Result<(), sqlx::Error> {
    let at = now();
    for (size, statement) in SIZES.iter().zip(ATTEMPTS.iter()) {
        while let Some((rows, after)) = rest.split_at_checked(*size) {
            let mut query = sqlx::query(AssertSqlSafe(statement.as_str()));
            for (slot, attempt) in rows {
                query = query
                    .bind(slot)
                    .bind(&attempt.input.0[..])
                    .bind(attempt.reason.as_str())
                    .bind(integer(attempt.usage.input))
                    .bind(integer(attempt.usage.output))
                    .bind(attempt.usage.cost.map(Money::dollars))
                    .bind(at);
            }
            query.execute(&mut *connection).await?;
            rest = after;
        }
    }
    Ok(())
}

/// The ids of the slots and lens texts met so far: a handful a run.
#[derive(Default)]
pub(super) struct Ids {
    slots: Vec<(Arc<Slot>, i64)>,
    texts: Vec<(i64, Digest, i64)>,
}

impl Ids {
    pub(super) async fn slot(
        &mut self,
        connection: &mut SqliteConnection,
        slot: &Arc<Slot>,
    ) -> Result<i64, sqlx::Error> {
        if let Some((_, id)) = self.slots.iter().find(|(known, _)| Arc::ptr_eq(known, slot)) {
            return Ok(*id);
        }
        sqlx::query(
            "INSERT INTO slots (lens, model, version, sample) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&slot.lens)
        .bind(&slot.model)
        .bind(slot.version)
        .bind(slot.sample)
        .execute(&mut *connection)
        .await?;
        let id = sqlx::query_scalar(
            "SELECT id FROM slots WHERE lens = ? AND model = ? AND version = ? AND sample = ?",
        )
        .bind(&slot.lens)
        .bind(&slot.model)
        .bind(slot.version)
        .bind(slot.sample)
        .fetch_one(connection)
        .await?;
        self.slots.push((Arc::clone(slot), id));
        Ok(id)
    }

    pub(super) async fn text(
        &mut self,
        connection: &mut SqliteConnection,
        slot: i64,
        digest: Digest,
    ) -> Result<i64, sqlx::Error> {
        if let Some((.., id)) = self.texts.iter().find(|(at, known, _)| (*at, *known) == (slot, digest)) {
            return Ok(*id);
        }
        sqlx::query("INSERT INTO texts (slot, digest) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(slot)
            .bind(&digest.0[..])
            .execute(&mut *connection)
            .await?;
        let id = sqlx::query_scalar("SELECT id FROM texts WHERE slot = ? AND digest = ?")
            .bind(slot)
            .bind(&digest.0[..])
            .fetch_one(connection)
            .await?;
        self.texts.push((slot, digest, id));
        Ok(id)
    }
}
