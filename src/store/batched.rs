//! The questions of a batch: reserved by one batch at most, and settled once.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::{Arc, LazyLock};

use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::answers::BATCH;
use super::batches::{Batch, Fate, Settled, Turn};
use super::writer::{Attempt, Ids, NewAnswer, insert_answers, insert_attempts};
use super::{Error, Slot, Store, integer, now};
use crate::model::Money;
use crate::rating::answer::Usage;
use crate::rating::failure::{Failure, Reason};
use crate::rating::question::Digest;

/// Replies that were no answer, after which a question fails for good: lost ones and server errors, which a repair turn
/// does not mend.
pub const MOST_TRIES: u32 = 3;

/// A slot's number.
pub(super) const SLOT: &str =
    "(SELECT id FROM slots WHERE lens = ? AND model = ? AND version = ? AND sample = ?)";

/// How a question is asked next, as [`turn`] reads it.
pub(super) const TURN: &str = "input, tries, reason, detail, tokens_in, tokens_cached, tokens_out, cost";

/// Taken are those that are new, those that are `again`, with their tries, and those `answered` whose answer was pruned. What
/// failed stays as it is until a complete run has told of it, so that one question cannot go from batch to batch for ever.
static RESERVE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO batch_questions (slot, input, batch, state) SELECT own.slot, column1, own.id, 'waiting' \
         FROM (SELECT id, slot FROM batches WHERE id = ? AND stage = 'spooling') AS own, (VALUES (?){}) \
         WHERE NOT EXISTS (SELECT 1 FROM answers WHERE answers.slot = own.slot AND answers.input = column1) \
         ON CONFLICT (slot, input) DO UPDATE SET batch = excluded.batch, state = 'waiting', told_at = NULL \
         WHERE state IN ('again', 'answered') RETURNING {TURN}",
        ", (?)".repeat(BATCH - 1)
    )
});

// The plus keeps SQLite from the index of the batch, which would go through all of its questions for each look-up.
static WAITING: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {TURN} FROM batch_questions WHERE slot = (SELECT slot FROM batches WHERE id = ?) AND +batch = ? \
         AND +state = 'waiting' AND input IN (?{})",
        ",?".repeat(BATCH - 1)
    )
});

static ASKED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH asked (input) AS (VALUES (?){}) SELECT EXISTS (SELECT 1 FROM asked, (SELECT DISTINCT slot FROM batches) AS own \
         WHERE EXISTS (SELECT 1 FROM batch_questions WHERE slot = own.slot AND batch_questions.input = asked.input) \
         OR EXISTS (SELECT 1 FROM answers WHERE slot = own.slot AND answers.input = asked.input))",
        ", (?)".repeat(BATCH - 1)
    )
});

static ANSWERED: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT input FROM answers WHERE slot = ? AND input IN (?{})", ",?".repeat(BATCH - 1))
});

/// The rows are there: this changes them.
static SETTLE: LazyLock<String> = LazyLock::new(|| {
    let row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    format!(
        "INSERT INTO batch_questions (slot, input, batch, state, tries, reason, detail, tokens_in, tokens_cached, tokens_out, \
         cost) VALUES {row}{} ON CONFLICT (slot, input) DO UPDATE SET state = excluded.state, tries = excluded.tries, \
         reason = excluded.reason, detail = excluded.detail, tokens_in = excluded.tokens_in, \
         tokens_cached = excluded.tokens_cached, tokens_out = excluded.tokens_out, cost = excluded.cost",
        format!(", {row}").repeat(BATCH - 1)
    )
});

static RELEASE_NEW: LazyLock<String> = LazyLock::new(|| {
    format!(
        "DELETE FROM batch_questions WHERE slot = (SELECT slot FROM batches WHERE id = ?) AND +batch = ? \
         AND +state = 'waiting' AND tries = 0 AND reason IS NULL AND input IN (?{})",
        ",?".repeat(BATCH - 1)
    )
});

static RELEASE_AGAIN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE batch_questions SET state = 'again', batch = coalesce((SELECT max(other.id) FROM batches AS other \
         WHERE other.slot = batch_questions.slot AND other.id < batch_questions.batch), batch) \
         WHERE slot = (SELECT slot FROM batches WHERE id = ?) AND +batch = ? AND +state = 'waiting' AND input IN (?{})",
        ",?".repeat(BATCH - 1)
    )
});

impl Store {
    /// Takes questions into a batch in [`Stage::Spooling`](super::Stage::Spooling), all in one transaction. Returns how
    /// each of them is to be asked. Left out are those that wait in some batch already, this one included,
    /// that have an answer, or a failure that is not forgotten ([`Store::forget_told`]).
    pub async fn reserve(&self, batch: &Batch, inputs: &[Digest]) -> Result<HashMap<Digest, Turn>, Error> {
        let mut taken = HashMap::with_capacity(inputs.len());
        let mut transaction = self.read.begin_with("BEGIN IMMEDIATE").await?;
        for group in inputs.chunks(BATCH) {
            let query = sqlx::query(AssertSqlSafe(RESERVE.as_str())).bind(batch.id);
            for row in bind_all(query, group).fetch_all(&mut *transaction).await? {
                let (input, turn) = turn(&row)?;
                taken.insert(input, turn);
            }
        }
        sqlx::query("UPDATE batches SET requests = requests + ?, changed_at = ? WHERE id = ?")
            .bind(integer(taken.len() as u64))
            .bind(now())
            .bind(batch.id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(taken)
    }

    /// Gives questions back that a batch in [`Stage::Spooling`](super::Stage::Spooling) has reserved and has no room for: they stand as before.
    pub async fn release(&self, batch: &Batch, inputs: &[Digest]) -> Result<(), Error> {
        if inputs.is_empty() {
            return Ok(());
        }
        let mut transaction = self.read.begin_with("BEGIN IMMEDIATE").await?;
        let mut released = 0;
        for group in inputs.chunks(BATCH) {
            for statement in [&*RELEASE_NEW, &*RELEASE_AGAIN] {
                let query = sqlx::query(AssertSqlSafe(statement.as_str())).bind(batch.id).bind(batch.id);
                released += bind_all(query, group).execute(&mut *transaction).await?.rows_affected();
            }
        }
        sqlx::query("UPDATE batches SET requests = requests - ? WHERE id = ?")
            .bind(integer(released))
            .bind(batch.id)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Takes a batch back that never began: its questions are free again, and stand as before. One of which some questions are
    /// settled stays as collected.
    pub async fn abandon_batch(&self, batch: i64) -> Result<(), Error> {
        let mut transaction = self.read.begin_with("BEGIN IMMEDIATE").await?;
        let statements = [
            "DELETE FROM batch_questions WHERE batch = ?1 AND state = 'waiting' AND tries = 0 AND reason IS NULL",
            // The batch before is not known any more; some earlier one of the slot stands for it.
            "UPDATE batch_questions SET state = 'again', batch = coalesce((SELECT max(other.id) FROM batches AS other \
             JOIN batches AS own ON own.slot = other.slot WHERE own.id = ?1 AND other.id < ?1), batch) \
             WHERE batch = ?1 AND state = 'waiting'",
            "DELETE FROM batches WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM batch_questions WHERE batch = ?1)",
            "UPDATE batches SET stage = 'collected' WHERE id = ?1",
        ];
        for statement in statements {
            sqlx::query(statement).bind(batch).execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Which of these questions wait in this batch, and how each was asked.
    pub async fn waiting_in(&self, batch: i64, inputs: &[Digest]) -> Result<HashMap<Digest, Turn>, Error> {
        waiting_in(&mut *self.read.acquire().await?, batch, inputs).await
    }

    /// Whether any of these waits in a batch, or has been answered or failed for a lens and model that have had batches.
    pub async fn has_asked(&self, inputs: &[Digest]) -> Result<bool, Error> {
        for group in inputs.chunks(BATCH) {
            let row =
                bind_all(sqlx::query(AssertSqlSafe(ASKED.as_str())), group).fetch_one(&self.read).await?;
            if row.try_get(0)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Keeps what came of questions of a batch: answers, states and history, all in one transaction. Questions that do not wait
    /// in it are passed over, so that a batch may be read twice. Of one that was answered elsewhere meanwhile the first answer
    /// stays, and this one is history. Returns how many were settled.
    pub async fn settle(&self, batch: &Batch, settled: &[Settled]) -> Result<u64, Error> {
        let inputs: Vec<Digest> = settled.iter().map(|settled| settled.input).collect();
        let mut transaction = self.read.begin_with("BEGIN IMMEDIATE").await?;
        let mut waiting = waiting_in(&mut transaction, batch.id, &inputs).await?;
        // Of two lines for the same question the first counts.
        let settled: Vec<(&Settled, Turn)> =
            settled.iter().filter_map(|settled| Some((settled, waiting.remove(&settled.input)?))).collect();
        let mut ids = Ids::default();
        let slot = ids.slot(&mut transaction, &batch.slot).await?;

        let replied = settled.iter().filter(|(settled, _)| matches!(settled.fate, Fate::Answered(_)));
        let replied: Vec<Digest> = replied.map(|(settled, _)| settled.input).collect();
        let there = answered(&mut transaction, slot, &replied).await?;

        let (mut answers, mut attempts) = (Vec::new(), Vec::new());
        let (mut failed, mut again, mut spent) = (0_u64, 0_u64, Usage::default());
        for (Settled { input, usage, fate }, _) in &settled {
            spent.add(usage);
            let (slot, input) = (Arc::clone(&batch.slot), *input);
            match fate {
                Fate::Answered(_) if there.contains(&input) => {}
                Fate::Answered(answer) => {
                    let (lens_digest, answer) = (batch.digest, Arc::clone(answer));
                    answers.push(NewAnswer { slot, input, lens_digest, answer });
                }
                Fate::Again(_) => again += 1,
                Fate::Repair(failure) | Fate::Failed(failure) => {
                    *(if matches!(fate, Fate::Failed(_)) { &mut failed } else { &mut again }) += 1;
                    attempts.push(Attempt { slot, input, reason: failure.reason, usage: *usage });
                }
            }
        }
        if !answers.is_empty() {
            let text = ids.text(&mut transaction, slot, batch.digest).await?;
            let rows: Vec<_> = answers.iter().map(|answer| (slot, text, answer)).collect();
            insert_answers(&mut transaction, &rows).await?;
        }
        let attempts: Vec<_> = attempts.iter().map(|attempt| (slot, attempt)).collect();
        insert_attempts(&mut transaction, &attempts).await?;
        let (late, settled): (Vec<_>, Vec<_>) =
            settled.into_iter().partition(|(settled, _)| there.contains(&settled.input));
        for (Settled { input, usage, .. }, _) in &late {
            drop_late(&mut transaction, (slot, *input), usage).await?;
        }
        for group in settled.chunks(BATCH) {
            update(&mut transaction, (slot, batch.id), group).await?;
        }
        sqlx::query(
            "UPDATE batches SET answered = answered + ?, failed = failed + ?, again = again + ?, cost = cost + ?, changed_at = ? \
             WHERE id = ?",
        )
        .bind(integer(replied.len() as u64))
        .bind(integer(failed))
        .bind(integer(again))
        .bind(spent.cost.map(Money::dollars))
        .bind(now())
        .bind(batch.id)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok((settled.len() + late.len()) as u64)
    }

    /// Ends a batch: questions that still wait in it are to be asked again, for this reason. One of
    /// [`Reason::Connection`] says that they were run and their replies are lost: that counts as a try, which may be billed, and after
    /// [`MOST_TRIES`] of them they fail. Any other says that they were not run: what an earlier reply was wrong for stays.
    /// Returns how many are to be asked again.
    pub async fn close_batch(&self, batch: i64, rest: &Failure) -> Result<u64, Error> {
        let lost = rest.reason == Reason::Connection;
        let mut transaction = self.read.begin_with("BEGIN IMMEDIATE").await?;
        let statements = [
            "UPDATE batch_questions SET lost = lost + 1, \
             lost_at_most = lost_at_most + (SELECT bound / requests FROM batches WHERE id = ?1) \
             WHERE batch = ?1 AND state = 'waiting' AND ?4",
            "UPDATE batch_questions SET state = 'failed', tries = tries + 1, reason = ?2, detail = ?3 \
             WHERE batch = ?1 AND state = 'waiting' AND ?4 AND tries + 1 >= ?5",
            "UPDATE batch_questions SET state = 'again', tries = tries + ?4, \
             reason = CASE WHEN ?4 OR tries = 0 THEN ?2 ELSE reason END, \
             detail = CASE WHEN ?4 OR tries = 0 THEN ?3 ELSE detail END WHERE batch = ?1 AND state = 'waiting'",
        ];
        let mut changed = [0; 3];
        for (statement, changed) in statements.into_iter().zip(&mut changed) {
            let done = sqlx::query(statement)
                .bind(batch)
                .bind(rest.reason.as_str())
                .bind(&rest.detail)
                .bind(lost)
                .bind(MOST_TRIES)
                .execute(&mut *transaction)
                .await?;
            *changed = done.rows_affected();
        }
        let [_, failed, again] = changed;
        sqlx::query(
            "UPDATE batches SET stage = 'collected', failed = failed + ?, again = again + ?, changed_at = ? WHERE id = ?",
        )
        .bind(integer(failed))
        .bind(integer(again))
        .bind(now())
        .bind(batch)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(again)
    }
}

pub(super) type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, SqliteArguments>;

pub(super) fn bind_slot<'q>(query: Query<'q>, slot: &'q Slot) -> Query<'q> {
    query.bind(&slot.lens).bind(&slot.model).bind(slot.version).bind(slot.sample)
}

/// Binds up to [`BATCH`] digests to as many places: what a short group leaves over repeats its last one.
pub(super) fn bind_all<'q>(mut query: Query<'q>, inputs: &'q [Digest]) -> Query<'q> {
    for place in 0..BATCH {
        query = query.bind(&inputs[place.min(inputs.len() - 1)].0[..]);
    }
    query
}

async fn waiting_in(
    connection: &mut SqliteConnection,
    batch: i64,
    inputs: &[Digest],
) -> Result<HashMap<Digest, Turn>, Error> {
    let mut waiting = HashMap::with_capacity(inputs.len());
    for group in inputs.chunks(BATCH) {
        let query = sqlx::query(AssertSqlSafe(WAITING.as_str())).bind(batch).bind(batch);
        for row in bind_all(query, group).fetch_all(&mut *connection).await? {
            let (input, turn) = turn(&row)?;
            waiting.insert(input, turn);
        }
    }
    Ok(waiting)
}

/// Which of these have an answer.
async fn answered(
    connection: &mut SqliteConnection,
    slot: i64,
    inputs: &[Digest],
) -> Result<HashSet<Digest>, Error> {
    let mut answered = HashSet::new();
    for group in inputs.chunks(BATCH) {
        let query = sqlx::query(AssertSqlSafe(ANSWERED.as_str())).bind(slot);
        for row in bind_all(query, group).fetch_all(&mut *connection).await? {
            answered.insert(digest(&row)?);
        }
    }
    Ok(answered)
}

/// Forgets a question whose answer is not needed any more: what that used is history.
async fn drop_late(
    connection: &mut SqliteConnection,
    (slot, input): (i64, Digest),
    usage: &Usage,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM batch_questions WHERE slot = ? AND input = ?")
        .bind(slot)
        .bind(&input.0[..])
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO attempts (slot, input, reason, tokens_in, tokens_out, cost, attempted_at) \
         VALUES (?, ?, 'late', ?, ?, ?, ?)",
    )
    .bind(slot)
    .bind(&input.0[..])
    .bind(integer(usage.input))
    .bind(integer(usage.output))
    .bind(usage.cost.map(Money::dollars))
    .bind(now())
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes what questions have come to.
async fn update(
    connection: &mut SqliteConnection,
    (slot, batch): (i64, i64),
    settled: &[(&Settled, Turn)],
) -> Result<(), Error> {
    let mut query = sqlx::query(AssertSqlSafe(SETTLE.as_str()));
    for place in 0..BATCH {
        let (Settled { input, usage, fate }, turn) = &settled[place.min(settled.len() - 1)];
        let mut used = turn.usage;
        used.add(usage);
        let (state, tries, failure) = match fate {
            // An answer has the usage of all its turns.
            Fate::Answered(_) => ("answered", 0, None),
            Fate::Repair(failure) => ("again", turn.tries.saturating_add(1), Some(failure)),
            Fate::Again(failure) => {
                ("again", turn.tries, turn.last.as_ref().filter(|_| turn.tries > 0).or(Some(failure)))
            }
            Fate::Failed(failure) => ("failed", turn.tries.saturating_add(1), Some(failure)),
        };
        if state == "answered" {
            used = Usage::default();
        }
        query = query
            .bind(slot)
            .bind(&input.0[..])
            .bind(batch)
            .bind(state)
            .bind(tries)
            .bind(failure.map(|failure| failure.reason.as_str()))
            .bind(failure.map(|failure| &failure.detail))
            .bind(integer(used.input))
            .bind(integer(used.cached_input))
            .bind(integer(used.output))
            .bind(used.cost.map(Money::dollars));
    }
    query.execute(connection).await?;
    Ok(())
}

pub(super) fn digest(row: &SqliteRow) -> Result<Digest, Error> {
    let input: &[u8] = row.try_get(0)?;
    input.try_into().map(Digest).map_err(|_| Error::Statement {
        reason: "a stored question of a batch has an unreadable key".to_owned(),
        advice: "the database is damaged or was edited: restore it, or set DATABASE_URL to another file",
    })
}

/// A question, and how it is asked next.
pub(super) fn turn(row: &SqliteRow) -> Result<(Digest, Turn), Error> {
    let count =
        |column: usize| -> Result<u64, Error> { Ok(row.try_get::<i64, _>(column)?.try_into().unwrap_or(0)) };
    let tries = count(1)?.try_into().unwrap_or(u32::MAX);
    let last = match (row.try_get::<Option<&str>, _>(2)?, row.try_get::<Option<String>, _>(3)?) {
        // A reason without a try says why it was not asked.
        (Some(reason), detail) if tries > 0 => Some(failure(reason, detail.unwrap_or_default())),
        _ => None,
    };
    let usage = Usage {
        input: count(4)?,
        cached_input: count(5)?,
        cache_write: 0,
        output: count(6)?,
        cost: row.try_get::<Option<f64>, _>(7)?.map(Money::from_dollars),
    };
    Ok((digest(row)?, Turn { tries, last, usage }))
}

/// A failure as it is stored; a reason of a newer version goes into its words.
pub(super) fn failure(reason: &str, detail: impl Into<String> + Display) -> Failure {
    match Reason::named(reason) {
        Some(reason) => Failure::new(reason, detail),
        None => Failure::new(Reason::Rejected, format!("{reason}: {detail}")),
    }
}

#[cfg(test)]
mod tests;
