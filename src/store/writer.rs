//! The one task that writes: it takes what has gathered, commits it as a group, and then acknowledges.

use std::sync::Arc;

use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::{Error, Slot, Store, integer, now};
use crate::rating::answer::{Answer, Usage};
use crate::rating::failure::Reason;
use crate::rating::question::Digest;

/// Writes in one transaction. More gains nothing, and those first in line would wait longer.
const GROUP: usize = 256;

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

pub(super) enum Write {
    Answer(NewAnswer, oneshot::Sender<Result<(), Error>>),
    Attempt(Attempt),
}

impl Store {
    /// Keeps an answer; returns when it is committed.
    pub async fn put(&self, answer: NewAnswer) -> Result<(), Error> {
        let (acknowledge, acknowledged) = oneshot::channel();
        self.writes.send(Write::Answer(answer, acknowledge)).await.map_err(|_| Error::WriterGone)?;
        acknowledged.await.map_err(|_| Error::WriterGone)?
    }

    /// Keeps a failed attempt as history, without waiting for it: nothing depends on it.
    pub async fn put_attempt(&self, attempt: Attempt) {
        // A writer that is gone is reported by the next answer.
        let _ = self.writes.send(Write::Attempt(attempt)).await;
    }
}

pub(super) async fn run(mut connection: SqliteConnection, mut inbox: mpsc::Receiver<Write>) {
    let mut group = Vec::with_capacity(GROUP);
    let mut texts = Texts::default();
    while inbox.recv_many(&mut group, GROUP).await > 0 {
        let result = commit(&mut connection, &mut texts, &group).await;
        if result.is_err() {
            // A text that was added by the transaction that failed is not there.
            texts = Texts::default();
        }
        for write in group.drain(..) {
            if let Write::Answer(_, acknowledge) = write {
                // Whoever asked may have been cancelled; the answer is kept all the same.
                let _ = acknowledge.send(match &result {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        Err(Error::Statement { reason: error.to_string(), advice: super::advice(error) })
                    }
                });
            }
        }
    }
    // Closing checkpoints the log; if it cannot, the next process that opens the file does.
    let _ = connection.close().await;
}

/// The ids of the lens texts met so far: a handful a run.
#[derive(Default)]
struct Texts(Vec<(Arc<Slot>, Digest, i64)>);

impl Texts {
    async fn id(&mut self, connection: &mut SqliteConnection, new: &NewAnswer) -> Result<i64, sqlx::Error> {
        let known = self.0.iter().find(|(slot, digest, _)| *digest == new.lens_digest && *slot == new.slot);
        if let Some((.., id)) = known {
            return Ok(*id);
        }
        sqlx::query(
            "INSERT INTO texts (lens, model, version, digest) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&new.slot.lens)
        .bind(&new.slot.model)
        .bind(new.slot.version)
        .bind(&new.lens_digest.0[..])
        .execute(&mut *connection)
        .await?;
        let id = sqlx::query_scalar(
            "SELECT id FROM texts WHERE lens = ? AND model = ? AND version = ? AND digest = ?",
        )
        .bind(&new.slot.lens)
        .bind(&new.slot.model)
        .bind(new.slot.version)
        .bind(&new.lens_digest.0[..])
        .fetch_one(connection)
        .await?;
        self.0.push((Arc::clone(&new.slot), new.lens_digest, id));
        Ok(id)
    }
}

async fn commit(
    connection: &mut SqliteConnection,
    texts: &mut Texts,
    group: &[Write],
) -> Result<(), sqlx::Error> {
    // IMMEDIATE: a transaction that begins as a reader cannot wait for another process's lock.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for write in group {
        match write {
            Write::Answer(new, _) => {
                let text = texts.id(&mut transaction, new).await?;
                insert_answer(&mut transaction, new, text).await?;
            }
            Write::Attempt(attempt) => insert_attempt(&mut transaction, attempt).await?,
        }
    }
    transaction.commit().await
}

async fn insert_answer(
    connection: &mut SqliteConnection,
    new: &NewAnswer,
    text: i64,
) -> Result<(), sqlx::Error> {
    let provenance = &new.answer.provenance;
    // Another process may have answered the same question meanwhile: the first answer stays.
    sqlx::query(
        "INSERT INTO answers (lens, model, version, sample, input, scores, rationales, text, model_reported, \
         finish_reason, tokens_in, tokens_cached, tokens_out, cost, latency_ms, attempts, answered_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(&new.slot.lens)
    .bind(&new.slot.model)
    .bind(new.slot.version)
    .bind(new.slot.sample)
    .bind(&new.input.0[..])
    .bind(json!(new.answer.scores).to_string())
    .bind(json!(new.answer.rationales).to_string())
    .bind(text)
    .bind(&provenance.model_reported)
    .bind(&provenance.finish_reason)
    .bind(integer(provenance.usage.input))
    .bind(integer(provenance.usage.cached_input))
    .bind(integer(provenance.usage.output))
    .bind(provenance.usage.cost)
    .bind(provenance.latency_ms)
    .bind(provenance.attempts)
    .bind(provenance.answered_at)
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_attempt(connection: &mut SqliteConnection, attempt: &Attempt) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO attempts (lens, model, version, input, reason, tokens_in, tokens_out, cost, attempted_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&attempt.slot.lens)
    .bind(&attempt.slot.model)
    .bind(attempt.slot.version)
    .bind(&attempt.input.0[..])
    .bind(attempt.reason.as_str())
    .bind(integer(attempt.usage.input))
    .bind(integer(attempt.usage.output))
    .bind(attempt.usage.cost)
    .bind(now())
    .execute(connection)
    .await?;
    Ok(())
}
