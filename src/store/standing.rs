//! Where the questions of batches stand for a run: looked up, told of once, and forgotten when that is done.
//!
//! While a run tells of a question its `told_at` is the run's own number below zero; it counts as told when the run has ended. What a
//! run that was killed had told is told again, since nobody has seen its figures; but for replies that never came, which are told once.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use super::answers::BATCH;
use super::batched::{SLOT, TURN, bind_all, bind_slot, digest, failure, turn};
use super::batches::{Standing, Turn};
use super::{Access, Error, Slot, Store, now};
use crate::model::Money;
use crate::rating::answer::Unsettled;
use crate::rating::failure::Failure;
use crate::rating::question::Digest;

pub(super) static STAND: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {TURN}, state, told_at, lost, lost_at_most FROM batch_questions WHERE slot = {SLOT} AND input IN (?{})",
        ",?".repeat(BATCH - 1)
    )
});

pub(super) static TELL: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE batch_questions SET told_at = ? WHERE slot = {SLOT} AND input IN (?{}) AND told_at IS NULL \
         AND +state IN ('answered', 'failed') RETURNING input",
        ",?".repeat(BATCH - 1)
    )
});

pub(super) static TELL_LOST: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE batch_questions SET lost = 0, lost_at_most = 0 WHERE slot = {SLOT} AND input IN (?{}) AND +lost > 0 \
         RETURNING input",
        ",?".repeat(BATCH - 1)
    )
});

pub(super) static FAIL_TURN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE batch_questions SET state = 'failed', tries = tries + 1, reason = ?, detail = ?, told_at = ? \
         WHERE slot = {SLOT} AND input = ? AND +state = 'again'"
    )
});

/// What a run has told of counts as told.
const CONFIRM: &str = "UPDATE batch_questions SET told_at = -told_at WHERE slot = ? AND told_at = ?";

/// What no run needs any more, of the questions from one digest to another.
pub(super) const FORGET: &str = "DELETE FROM batch_questions WHERE slot = ?1 AND input >= ?2 AND input < ?3 AND \
     ((state = 'answered' AND (told_at > 0 OR told_at = ?5)) OR \
     (?4 AND state = 'failed' AND (told_at > 0 OR told_at = ?5)) OR \
     (state IN ('again', 'failed') AND EXISTS (SELECT 1 FROM answers \
     WHERE answers.slot = batch_questions.slot AND answers.input = batch_questions.input)))";

/// Parts in which [`FORGET`] goes through a slot, so that others can write in between.
const PARTS: u8 = 64;

/// Held while a run tells of questions of batches, so that another process does not take it for one that was killed.
#[derive(Debug)]
pub struct Telling {
    /// What it writes for `told_at`: below zero while it can be known for killed.
    pub told_at: i64,
    /// Whose lock ends with it.
    _lock: Option<File>,
}

impl Telling {
    /// Of a run that cannot be known for killed: what it tells of counts as told at once.
    pub fn at_once() -> Self {
        Self { told_at: now(), _lock: None }
    }
}

/// What is forgotten of questions that a run has told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forget {
    /// Nothing: it counts as told.
    Nothing,
    /// Those that were answered.
    Answered,
    /// Those that failed, too: they are asked again.
    Failed,
}

impl Store {
    /// Whether any question of this slot is in a batch, or was in one and is not forgotten.
    pub async fn has_batched(&self, slot: &Slot) -> Result<bool, Error> {
        let statement = format!("SELECT EXISTS (SELECT 1 FROM batch_questions WHERE slot = {SLOT})");
        let query = bind_slot(sqlx::query(AssertSqlSafe(statement)), slot);
        Ok(query.fetch_one(&self.read).await?.try_get(0)?)
    }

    /// Begins to tell of questions of batches. What runs that were killed had told of is new again, unless another process is telling:
    /// a lock on a file beside the database says so.
    pub async fn begin_telling(&self) -> Result<Telling, Error> {
        let path = telling_path(&self.path.canonicalize().unwrap_or_else(|_| self.path.clone()));
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let Ok(file) = file else { return Ok(Telling::at_once()) };
        if file.try_lock().is_ok() {
            let left = "SELECT EXISTS (SELECT 1 FROM batch_questions WHERE told_at < 0)";
            if sqlx::query(left).fetch_one(&self.read).await?.try_get(0)? {
                sqlx::query("UPDATE batch_questions SET told_at = NULL WHERE told_at < 0")
                    .execute(&self.read)
                    .await?;
            }
        }
        // In place of the lock that it has: another process may hold one for as long as the lines above take.
        let lock = tokio::task::spawn_blocking(move || {
            let _ = file.unlock();
            file.lock_shared().is_ok().then_some(file)
        });
        let lock = lock.await.unwrap_or_default();
        Ok(if lock.is_some() { Telling { told_at: -now(), _lock: lock } } else { Telling::at_once() })
    }

    /// Where questions stand that are or were in batches; no entry for those that never were. One that is [`Standing::New`], or
    /// failed and is new, is told of from here on, as [`Telling::told_at`] has it. And of their replies those that never came, each of
    /// them told once.
    pub async fn stand(
        &self,
        slot: &Slot,
        inputs: &[Digest],
        told_at: i64,
    ) -> Result<(HashMap<Digest, Standing>, Unsettled), Error> {
        let (mut standings, mut unsettled) = (HashMap::new(), Unsettled::default());
        let mut connection = self.read.acquire().await?;
        for group in inputs.chunks(BATCH) {
            let query = bind_slot(sqlx::query(AssertSqlSafe(STAND.as_str())), slot);
            let rows = bind_all(query, group).fetch_all(&mut *connection).await?;
            let (mut ended, mut lost) = (Vec::new(), HashMap::new());
            for row in &rows {
                let attempts: i64 = row.try_get(10)?;
                if attempts > 0 {
                    let at_most = row.try_get::<Option<f64>, _>(11)?.map(Money::from_dollars);
                    let attempts = attempts.unsigned_abs();
                    lost.insert(digest(row)?, Unsettled { attempts, at_most });
                }
                let told_at: Option<i64> = row.try_get(9)?;
                if told_at.is_none() && matches!(row.try_get(8)?, "answered" | "failed") {
                    ended.push(turn(row)?.0);
                }
            }
            let mut new = HashSet::new();
            if !ended.is_empty() {
                let query = sqlx::query(AssertSqlSafe(TELL.as_str())).bind(told_at);
                // Of two processes that look at once the first one tells.
                for row in bind_all(bind_slot(query, slot), &ended).fetch_all(&mut *connection).await? {
                    new.insert(digest(&row)?);
                }
            }
            if !lost.is_empty() {
                let query = sqlx::query(AssertSqlSafe(TELL_LOST.as_str()));
                let inputs: Vec<Digest> = lost.keys().copied().collect();
                for row in bind_all(bind_slot(query, slot), &inputs).fetch_all(&mut *connection).await? {
                    unsettled.add_all(lost.get(&digest(&row)?).copied().unwrap_or_default());
                }
            }
            for row in &rows {
                let (input, turn) = turn(row)?;
                standings.insert(input, standing(row, turn, new.contains(&input))?);
            }
        }
        Ok((standings, unsettled))
    }

    /// Which of these questions wait in batches. Nothing is told by that.
    pub async fn waiting(&self, slot: &Slot, inputs: &[Digest]) -> Result<HashSet<Digest>, Error> {
        let mut waiting = HashSet::new();
        if self.access == Access::Old {
            return Ok(waiting);
        }
        for group in inputs.chunks(BATCH) {
            let query = bind_slot(sqlx::query(AssertSqlSafe(STAND.as_str())), slot);
            for row in bind_all(query, group).fetch_all(&self.read).await? {
                let (input, turn) = turn(&row)?;
                if standing(&row, turn, false)? == Standing::Waiting {
                    waiting.insert(input);
                }
            }
        }
        Ok(waiting)
    }

    /// Notes that a question has failed that was to be asked again, and that a run tells of it.
    pub async fn fail_turn(
        &self,
        slot: &Slot,
        input: Digest,
        failure: &Failure,
        told_at: i64,
    ) -> Result<(), Error> {
        let query = sqlx::query(AssertSqlSafe(FAIL_TURN.as_str()))
            .bind(failure.reason.as_str())
            .bind(&failure.detail)
            .bind(told_at);
        bind_slot(query, slot).bind(&input.0[..]).execute(&self.read).await?;
        Ok(())
    }

    /// Ends a run that has told of these slots' questions by this [`Telling::told_at`]. Forgets what `forget` says of what was told, and
    /// what has been answered elsewhere meanwhile.
    pub async fn forget_told(&self, slots: &[Arc<Slot>], forget: Forget, told_at: i64) -> Result<(), Error> {
        for slot in slots {
            if !self.has_batched(slot).await? {
                continue;
            }
            let query = sqlx::query(AssertSqlSafe(format!("SELECT {SLOT}")));
            let id: Option<i64> = bind_slot(query, slot).fetch_one(&self.read).await?.try_get(0)?;
            let parts = if forget == Forget::Nothing { 0 } else { PARTS };
            for part in 0..parts {
                let from = |part: u8| vec![part.saturating_mul(u8::MAX / PARTS + 1)];
                // Longer than any digest, and so after all of them.
                let to = if part + 1 == PARTS { vec![u8::MAX; 33] } else { from(part + 1) };
                sqlx::query(FORGET)
                    .bind(id)
                    .bind(from(part))
                    .bind(to)
                    .bind(forget == Forget::Failed)
                    .bind(told_at)
                    .execute(&self.read)
                    .await?;
            }
            if told_at < 0 {
                sqlx::query(CONFIRM).bind(id).bind(told_at).execute(&self.read).await?;
            }
        }
        Ok(())
    }
}

/// The file whose lock says that a process is telling.
fn telling_path(database: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(database.file_name().unwrap_or_default());
    name.push(".telling");
    database.with_file_name(name)
}

fn standing(row: &SqliteRow, turn: Turn, is_new: bool) -> Result<Standing, Error> {
    let told_at: Option<i64> = row.try_get(9)?;
    Ok(match row.try_get(8)? {
        "again" => Standing::Again(turn),
        "failed" => {
            let failure = turn.last.unwrap_or_else(|| failure("failed", "in a batch"));
            Standing::Failed { failure, usage: turn.usage, is_new }
        }
        "answered" if is_new => Standing::New,
        "answered" => Standing::Told(told_at.unwrap_or_default().abs()),
        // In a state of a newer version: it is not asked twice.
        _ => Standing::Waiting,
    })
}
