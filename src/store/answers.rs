//! Looking answers up, many at a time.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use tokio::sync::oneshot;

use super::writer::LookUp;
use super::{Error, Store};
use crate::model::Money;
use crate::rating::answer::{Answer, Provenance, Usage};
use crate::rating::question::Digest;

/// Digests looked up in one statement. The statement always has as many places, so that SQLite prepares it once.
pub(super) const BATCH: usize = 256;

static FIND: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT input, scores, rationales, model_reported, finish_reason, tokens_in, tokens_cached, tokens_out, cost, \
         latency_ms, attempts, answered_at FROM answers WHERE slot = \
         (SELECT id FROM slots WHERE lens = ? AND model = ? AND version = ? AND sample = ?) AND input IN (?{})",
        ",?".repeat(BATCH - 1)
    )
});

/// The part of the cache key that all questions of a run's target share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The lens's name.
    pub lens: String,
    /// Who really answers.
    pub model: String,
    /// `--version`.
    pub version: u32,
    /// The sample's index, where a question is asked several times.
    pub sample: u32,
}

/// Stored answers by their questions.
pub(super) type Known = HashMap<Digest, Arc<Answer>>;

impl Store {
    /// The stored answers among `inputs`.
    pub async fn find(&self, slot: &Slot, inputs: &[Digest]) -> Result<Known, Error> {
        // Every commit empties the page caches of all connections but the one that made it.
        if !self.has_written.load(Ordering::Relaxed) {
            return find(&mut *self.read.acquire().await?, slot, inputs).await;
        }
        let (tell, told) = oneshot::channel();
        let lookup = LookUp { slot: slot.clone(), inputs: inputs.to_vec(), tell };
        self.lookups.send(lookup).await.map_err(|_| Error::WriterGone)?;
        told.await.map_err(|_| Error::WriterGone)?
    }
}

/// The stored answers among `inputs`, on this connection.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    slot: &Slot,
    inputs: &[Digest],
) -> Result<Known, Error> {
    let mut found = HashMap::with_capacity(inputs.len());
    for batch in inputs.chunks(BATCH) {
        let mut query = sqlx::query(AssertSqlSafe(FIND.as_str()))
            .bind(&slot.lens)
            .bind(&slot.model)
            .bind(slot.version)
            .bind(slot.sample);
        // What a short batch leaves over repeats its last digest, which SQLite drops from the list.
        for place in 0..BATCH {
            query = query.bind(&batch[place.min(batch.len() - 1)].0[..]);
        }
        for row in query.fetch_all(&mut *connection).await? {
            let (input, answer) = read(&row)?;
            found.insert(input, Arc::new(answer));
        }
    }
    Ok(found)
}

fn read(row: &SqliteRow) -> Result<(Digest, Answer), Error> {
    let broken = |what: &str| Error::Statement {
        reason: format!("a stored answer has unreadable {what}"),
        advice: "the database is damaged or was edited: restore it, or set DATABASE_URL to another file",
    };
    let count =
        |column: usize| -> Result<u64, Error> { Ok(row.try_get::<i64, _>(column)?.try_into().unwrap_or(0)) };
    let small =
        |column: usize| -> Result<u32, Error> { Ok(row.try_get::<i64, _>(column)?.try_into().unwrap_or(0)) };
    let input: &[u8] = row.try_get(0)?;
    let answer = Answer {
        scores: serde_json::from_str(row.try_get(1)?).map_err(|_| broken("scores"))?,
        rationales: serde_json::from_str(row.try_get(2)?).map_err(|_| broken("rationales"))?,
        provenance: Provenance {
            model_reported: row.try_get(3)?,
            finish_reason: row.try_get(4)?,
            usage: Usage {
                input: count(5)?,
                cached_input: count(6)?,
                cache_write: 0,
                output: count(7)?,
                cost: row.try_get::<Option<f64>, _>(8)?.map(Money::from_dollars),
            },
            latency_ms: small(9)?,
            attempts: small(10)?,
            answered_at: row.try_get(11)?,
        },
    };
    Ok((Digest(input.try_into().map_err(|_| broken("key"))?), answer))
}
