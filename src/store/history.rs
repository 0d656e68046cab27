//! What the store holds besides answers: resolutions; and what it tells about itself.

use sqlx::Row;

use super::{Error, Slot, Store, now};
use crate::model::Money;
use crate::rating::question::Digest;

/// The condition of [`Prune`], with the column that holds the time.
macro_rules! pruned {
    ($time:literal) => {
        concat!(
            "slot IN (SELECT id FROM slots WHERE (?1 IS NULL OR lens = ?1) AND (?2 IS NULL OR model = ?2) ",
            "AND (?3 IS NULL OR version = ?3)) AND (?4 IS NULL OR ",
            $time,
            " < ?4)"
        )
    };
}

/// The answers of one lens, model and version.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The lens's name.
    pub lens: String,
    /// Who answered.
    pub model: String,
    /// `--version`.
    pub version: u32,
    /// Answers.
    pub answers: u64,
    /// Texts of the lens that they were asked with.
    pub texts: u64,
    /// Of the answers whose price was known.
    pub cost: Money,
}

/// What the store holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// Answers by lens, model and version.
    pub groups: Vec<Group>,
    /// Failed attempts kept as history.
    pub attempts: u64,
    /// Runs.
    pub runs: u64,
    /// Questions that wait in batches.
    pub waiting: u64,
    /// Size of the database and its log, in bytes.
    pub bytes: u64,
}

/// How answers of one lens and model were, on the mean: what those to come may be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usual {
    /// Answers that were looked at.
    pub answers: u64,
    /// Tokens generated for an answer, all its turns together.
    pub tokens_out: u64,
    /// Wall time of the attempt that answered, in milliseconds.
    pub latency_ms: u64,
}

/// Which answers to remove; every condition that is set must hold.
#[derive(Debug, Clone, Default)]
pub struct Prune {
    /// Of this lens.
    pub lens: Option<String>,
    /// Of this model.
    pub model: Option<String>,
    /// Of this `--version`.
    pub version: Option<u32>,
    /// Answered before this time, in milliseconds since 1970.
    pub before: Option<i64>,
}

impl Store {
    /// What the store holds.
    pub async fn stats(&self) -> Result<Stats, Error> {
        let rows = sqlx::query(
            "SELECT lens, model, version, count(*), count(DISTINCT text), total(cost) \
             FROM answers JOIN slots ON slots.id = slot GROUP BY lens, model, version ORDER BY lens, model, version",
        )
        .fetch_all(&self.read)
        .await?;
        let mut groups = Vec::with_capacity(rows.len());
        for row in rows {
            groups.push(Group {
                lens: row.try_get(0)?,
                model: row.try_get(1)?,
                version: row.try_get(2)?,
                answers: row.try_get::<i64, _>(3)?.try_into().unwrap_or(0),
                texts: row.try_get::<i64, _>(4)?.try_into().unwrap_or(0),
                cost: Money::from_dollars(row.try_get(5)?),
            });
        }
        let attempts: i64 = sqlx::query_scalar("SELECT count(*) FROM attempts").fetch_one(&self.read).await?;
        let runs: i64 = sqlx::query_scalar("SELECT count(*) FROM runs").fetch_one(&self.read).await?;
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM batch_questions WHERE state = 'waiting'")
            .fetch_one(&self.read)
            .await?;
        let size = |suffix: &str| {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            std::fs::metadata(path).map_or(0, |file| file.len())
        };
        Ok(Stats {
            groups,
            attempts: attempts.try_into().unwrap_or(0),
            runs: runs.try_into().unwrap_or(0),
            waiting: waiting.try_into().unwrap_or(0),
            bytes: size("") + size("-wal"),
        })
    }

    /// How up to 1,000 answers of a slot were: those of the smallest digests, so chance ones. `None` where it has none
    /// whose server told the tokens.
    pub async fn usual(&self, slot: &Slot) -> Result<Option<Usual>, Error> {
        let row = sqlx::query(
            "SELECT count(*), avg(tokens_out), avg(nullif(latency_ms, 0)) FROM (SELECT tokens_out, latency_ms FROM answers \
             WHERE slot = (SELECT id FROM slots WHERE lens = ? AND model = ? AND version = ? AND sample = ?) \
             AND tokens_out > 0 ORDER BY input LIMIT 1000)",
        )
        .bind(&slot.lens)
        .bind(&slot.model)
        .bind(slot.version)
        .bind(slot.sample)
        .fetch_one(&self.read)
        .await?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "means of small counts")]
        let mean = |column: usize| -> Result<u64, Error> {
            Ok(row.try_get::<Option<f64>, _>(column)?.unwrap_or_default().round() as u64)
        };
        let answers: u64 = row.try_get::<i64, _>(0)?.try_into().unwrap_or(0);
        let usual = Usual { answers, tokens_out: mean(1)?, latency_ms: mean(2)? };
        Ok((answers > 0).then_some(usual))
    }

    /// Counts the answers that [`Store::prune`] would remove.
    pub async fn count(&self, prune: &Prune) -> Result<u64, Error> {
        let count: i64 =
            sqlx::query_scalar(concat!("SELECT count(*) FROM answers WHERE ", pruned!("answered_at")))
                .bind(&prune.lens)
                .bind(&prune.model)
                .bind(prune.version)
                .bind(prune.before)
                .fetch_one(&self.read)
                .await?;
        Ok(count.try_into().unwrap_or(0))
    }

    /// Removes answers, the failed attempts, what came of batches and the excerpts of rows of the same description, and gives
    /// the space back to the disk. What waits in a batch is paid for and stays. Returns how many answers went.
    pub async fn prune(&self, prune: &Prune) -> Result<u64, Error> {
        let statements = [
            concat!("DELETE FROM attempts WHERE ", pruned!("attempted_at")),
            concat!(
                "DELETE FROM batch_questions WHERE state <> 'waiting' AND ",
                pruned!("(SELECT changed_at FROM batches WHERE id = batch)")
            ),
            concat!(
                "DELETE FROM batches WHERE stage = 'collected' AND ",
                pruned!("changed_at"),
                " AND id NOT IN (SELECT batch FROM batch_questions)"
            ),
            concat!("DELETE FROM answers WHERE ", pruned!("answered_at")),
        ];
        let mut removed = 0;
        for statement in statements {
            removed = sqlx::query(statement)
                .bind(&prune.lens)
                .bind(&prune.model)
                .bind(prune.version)
                .bind(prune.before)
                .execute(&self.read)
                .await?
                .rows_affected();
        }
        self.prune_excerpts(prune).await?;
        sqlx::query("DELETE FROM texts WHERE id NOT IN (SELECT text FROM answers)")
            .execute(&self.read)
            .await?;
        sqlx::query("VACUUM").execute(&self.read).await?;
        Ok(removed)
    }

    /// How many other texts of the lens have answers in this slot.
    pub async fn other_texts(&self, slot: &Slot, lens_digest: Digest) -> Result<u64, Error> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM texts JOIN slots ON slots.id = slot \
             WHERE lens = ? AND model = ? AND version = ? AND sample = ? AND digest <> ?",
        )
        .bind(&slot.lens)
        .bind(&slot.model)
        .bind(slot.version)
        .bind(slot.sample)
        .bind(&lens_digest.0[..])
        .fetch_one(&self.read)
        .await?;
        Ok(count.try_into().unwrap_or(0))
    }

    /// Remembers who answers under `name` at a base URL.
    pub async fn remember_model(&self, name: &str, url: Digest, model: &str) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO resolutions (name, url, model, resolved_at) VALUES (?, ?, ?, ?) \
             ON CONFLICT DO UPDATE SET model = excluded.model, resolved_at = excluded.resolved_at",
        )
        .bind(name)
        .bind(&url.0[..])
        .bind(model)
        .bind(now())
        .execute(&self.read)
        .await?;
        Ok(())
    }

    /// Who answered last under `name` at a base URL.
    pub async fn remembered_model(&self, name: &str, url: Digest) -> Result<Option<String>, Error> {
        Ok(sqlx::query_scalar("SELECT model FROM resolutions WHERE name = ? AND url = ?")
            .bind(name)
            .bind(&url.0[..])
            .fetch_optional(&self.read)
            .await?)
    }
}
