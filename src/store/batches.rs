//! Batches and their questions: what was handed over, where it stands, and what came back.
//!
//! Who changes anything here holds the lock of the store's batches, so that two runs never hand over the same question.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use super::writer::Ids;
use super::{Error, Slot, Store, integer, now};
use crate::model::{Money, Price};
use crate::rating::answer::{Answer, Usage};
use crate::rating::failure::{Failure, Reason};
use crate::rating::question::Digest;

/// The form of a batch's row and file that this program writes and reads.
pub const FORM: u32 = 1;

/// How long what batches have taught is used, in milliseconds: 30 days.
const LESSONS_LAST: i64 = 30 * 24 * 3_600 * 1_000;

/// How far a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its questions are being gathered.
    Spooling,
    /// All its questions are known; its file may be on its way.
    Spooled,
    /// The server has its file.
    Uploaded,
    /// The server is being told to begin: it may have begun.
    Creating,
    /// The server has it.
    Created,
    /// What came of it is in the store.
    Collected,
    /// It is a file for a runner of one's own.
    Written,
    /// In a stage that only a newer program knows.
    Newer,
}

impl Stage {
    /// All that this program gives.
    const ALL: [Self; 7] = [
        Self::Spooling,
        Self::Spooled,
        Self::Uploaded,
        Self::Creating,
        Self::Created,
        Self::Collected,
        Self::Written,
    ];

    /// The word used in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spooling => "spooling",
            Self::Spooled => "spooled",
            Self::Uploaded => "uploaded",
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Collected => "collected",
            Self::Written => "written",
            Self::Newer => "newer",
        }
    }

    /// The stage of this word; none for a word that this version does not use.
    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == name)
    }
}

/// A batch to be made.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// Lens, model, version, sample.
    pub slot: Arc<Slot>,
    /// The digest of the lens's text.
    pub digest: Digest,
    /// The lens's files by name.
    pub files: BTreeMap<String, String>,
    /// The model's name as it is sent.
    pub asked: String,
    /// The digest of the base URL; none for a runner of one's own.
    pub url: Option<Digest>,
    /// The base URL without secrets, for people; none for a runner of one's own.
    pub place: Option<String>,
    /// In which dialect it is asked, as JSON.
    pub dialect: String,
    /// What tokens cost at the standard tier, where that is known.
    pub price: Option<Price>,
}

/// A batch, as the store knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Its number in the store.
    pub id: i64,
    /// Its chance name: 32 hexadecimal digits.
    pub intent: String,
    /// Lens, model, version, sample.
    pub slot: Arc<Slot>,
    /// The digest of the lens's text.
    pub digest: Digest,
    /// The lens's files by name.
    pub files: BTreeMap<String, String>,
    /// The model's name as it is sent.
    pub asked: String,
    /// The digest of the base URL; none for a runner of one's own.
    pub url: Option<Digest>,
    /// The base URL without secrets, for people; none for a runner of one's own.
    pub place: Option<String>,
    /// The form of the row and of the file; only [`FORM`] can be read.
    pub form: u32,
    /// The version of the program that made it.
    pub program: String,
    /// In which dialect it was asked, as JSON.
    pub dialect: String,
    /// How far it has come.
    pub stage: Stage,
    /// The server's word when it was last asked.
    pub status: Option<String>,
    /// The server's id of its input file.
    pub file: Option<String>,
    /// The server's id of the batch.
    pub remote: Option<String>,
    /// Questions in it.
    pub requests: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// Tokens of all its prompts, by our own count.
    pub tokens: u64,
    /// What tokens cost at the standard tier when it was handed over; `None` where that was not known.
    pub price: Option<Price>,
    /// What it can cost at most; `None` where the price is not known.
    pub bound: Option<Money>,
    /// What its replies cost; `None` where that is not known.
    pub cost: Option<Money>,
    /// Questions that it answered.
    pub answered: u64,
    /// Questions that failed for good.
    pub failed: u64,
    /// Questions to be asked again.
    pub again: u64,
    /// Questions whose replies are still to come.
    pub waiting: u64,
    /// When it was made, in milliseconds since 1970.
    pub made_at: i64,
    /// When its row last changed.
    pub changed_at: i64,
}

/// What a question has come to in batches so far: how it is asked next.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Replies that were no answer.
    pub tries: u32,
    /// Why the last of them was none, and what was wrong; nothing where there was none.
    pub last: Option<Failure>,
    /// What they used, all together.
    pub usage: Usage,
}

impl Turn {
    /// Whether the model may do better when it is told what was wrong, or given more room.
    pub fn wants_repair(&self) -> bool {
        let reason = self.last.as_ref().map(|last| last.reason);
        matches!(reason, Some(Reason::Invalid | Reason::NoAnswer | Reason::Truncated))
    }
}

impl Default for Turn {
    /// Not asked yet.
    fn default() -> Self {
        Self { tries: 0, last: None, usage: Usage::default() }
    }
}

/// Where a question stands that was in a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// It is in a batch whose replies are not collected.
    Waiting,
    /// It is to be asked again.
    Again(Turn),
    /// It failed for good, after this turn's tries; `is_new` where no run has told of it.
    Failed {
        /// Why.
        failure: Failure,
        /// What its replies used.
        usage: Usage,
        /// Whether no run has told of it.
        is_new: bool,
    },
    /// It was answered, and this look is the first of a run: it counts as asked by it.
    New,
    /// It was answered, and a run told of it at this time, in milliseconds since 1970.
    Told(i64),
}

/// What came of a question in a batch.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The question.
    pub input: Digest,
    /// What its reply used; nothing where it has none.
    pub usage: Usage,
    /// What became of it.
    pub fate: Fate,
}

/// What becomes of a question in a batch.
#[derive(Debug, Clone)]
pub enum Fate {
    /// It is answered. The answer's usage is that of all its turns.
    Answered(Arc<Answer>),
    /// It is to be asked again, after a reply that was no answer.
    Repair(Failure),
    /// It is to be asked again: it was not tried, or that says nothing of it.
    Again(Failure),
    /// It failed for good.
    Failed(Failure),
}

impl Fate {
    /// Why it is not answered.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Answered(_) => None,
            Self::Repair(failure) | Self::Again(failure) | Self::Failed(failure) => Some(failure),
        }
    }
}

/// What changes of a batch; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// How far it has come.
    pub stage: Option<Stage>,
    /// The server's word.
    pub status: Option<String>,
    /// The server's id of its input file.
    pub file: Option<String>,
    /// The server's id of the batch.
    pub remote: Option<String>,
    /// Bytes of its file.
    pub bytes: Option<u64>,
    /// Tokens of all its prompts, by our own count, and what it can cost at most, `None` where the price is not known.
    pub sums: Option<(u64, Option<Money>)>,
}

/// What batches have taught about an endpoint and a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lesson {
    /// The most input tokens that may be enqueued at once.
    pub tokens: Option<u64>,
    /// The dialect that its refusals led to, as JSON.
    pub dialect: Option<String>,
}

const BATCHES: &str = "SELECT batches.id, intent, slots.lens, model, version, sample, digest, batches.lens, asked, url, form, \
     program, dialect, stage, status, file, remote, requests, bytes, tokens, bound, cost, answered, failed, again, \
     (SELECT count(*) FROM batch_questions WHERE batch = batches.id AND state = 'waiting'), made_at, changed_at, place, price \
     FROM batches JOIN slots ON slots.id = slot";

impl Store {
    /// Notes that a batch is to be made, in [`Stage::Spooling`].
    pub async fn begin_batch(&self, new: &NewBatch) -> Result<Batch, Error> {
        let (intent, at) = (chance_name(&new.slot), now());
        let program = env!("CARGO_PKG_VERSION");
        let mut transaction = self.read.begin_with("BEGIN IMMEDIATE").await?;
        let slot = Ids::default().slot(&mut transaction, &new.slot).await?;
        let done = sqlx::query(
            "INSERT INTO batches (intent, slot, digest, lens, asked, url, place, form, program, dialect, price, stage, bound, cost, \
             made_at, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?)",
        )
        .bind(&intent)
        .bind(slot)
        .bind(&new.digest.0[..])
        // Texts have no way to fail.
        .bind(serde_json::to_string(&new.files).unwrap_or_default())
        .bind(&new.asked)
        .bind(new.url.as_ref().map(|url| &url.0[..]))
        .bind(&new.place)
        .bind(FORM)
        .bind(program)
        .bind(&new.dialect)
        .bind(new.price.and_then(|price| serde_json::to_string(&price).ok()))
        .bind(Stage::Spooling.as_str())
        .bind(at)
        .bind(at)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Batch {
            id: done.last_insert_rowid(),
            intent,
            slot: Arc::clone(&new.slot),
            digest: new.digest,
            files: new.files.clone(),
            asked: new.asked.clone(),
            url: new.url,
            place: new.place.clone(),
            form: FORM,
            program: program.to_owned(),
            dialect: new.dialect.clone(),
            stage: Stage::Spooling,
            status: None,
            file: None,
            remote: None,
            requests: 0,
            bytes: 0,
            tokens: 0,
            price: new.price,
            bound: Some(Money::ZERO),
            cost: Some(Money::ZERO),
            answered: 0,
            failed: 0,
            again: 0,
            waiting: 0,
            made_at: at,
            changed_at: at,
        })
    }

    /// Changes a batch.
    pub async fn change_batch(&self, batch: i64, change: Change) -> Result<(), Error> {
        sqlx::query(
            "UPDATE batches SET stage = coalesce(?, stage), status = coalesce(?, status), file = coalesce(?, file), \
             remote = coalesce(?, remote), bytes = coalesce(?, bytes), tokens = coalesce(?, tokens), bound = CASE WHEN ? THEN ? ELSE bound END, \
             changed_at = ? WHERE id = ?",
        )
        .bind(change.stage.map(Stage::as_str))
        .bind(change.status)
        .bind(change.file)
        .bind(change.remote)
        .bind(change.bytes.map(integer))
        .bind(change.sums.map(|(tokens, _)| integer(tokens)))
        .bind(change.sums.is_some())
        .bind(change.sums.and_then(|(_, bound)| bound).map(Money::dollars))
        .bind(now())
        .bind(batch)
        .execute(&self.read)
        .await?;
        Ok(())
    }

    /// All batches, in the order in which they were made.
    pub async fn batches(&self) -> Result<Vec<Batch>, Error> {
        self.batches_where("TRUE").await
    }

    /// The batches whose replies are not all collected, in the order in which they were made.
    pub async fn open_batches(&self) -> Result<Vec<Batch>, Error> {
        self.batches_where("stage <> 'collected'").await
    }

    /// A mark that changes whenever questions are taken into a batch, and with much else that becomes of one.
    pub async fn batches_mark(&self) -> Result<[i64; 3], Error> {
        let statement = "SELECT coalesce(max(id), 0), coalesce(sum(requests), 0), coalesce(max(changed_at), 0) FROM batches";
        let row = sqlx::query(statement).fetch_one(&self.read).await?;
        Ok([row.try_get(0)?, row.try_get(1)?, row.try_get(2)?])
    }

    async fn batches_where(&self, condition: &'static str) -> Result<Vec<Batch>, Error> {
        let statement = format!("{BATCHES} WHERE {condition} ORDER BY batches.id");
        let mut batches = Vec::new();
        for row in sqlx::query(AssertSqlSafe(statement)).fetch_all(&self.read).await? {
            let stage = Stage::named(row.try_get(13)?).unwrap_or(Stage::Newer);
            batches.push(read(&row, stage)?);
        }
        Ok(batches)
    }

    /// What batches have taught within the last 30 days: limits are raised, and models change.
    pub async fn lesson(&self, url: Digest, model: &str) -> Result<Lesson, Error> {
        let row = sqlx::query(
            "SELECT tokens, dialect FROM batch_lessons WHERE url = ? AND model = ? AND learned_at > ?",
        )
        .bind(&url.0[..])
        .bind(model)
        .bind(now() - LESSONS_LAST)
        .fetch_optional(&self.read)
        .await?;
        let Some(row) = row else { return Ok(Lesson::default()) };
        let tokens = row.try_get::<Option<i64>, _>(0)?.and_then(|tokens| tokens.try_into().ok());
        Ok(Lesson { tokens, dialect: row.try_get(1)? })
    }

    /// Keeps what batches have taught; what is `None` stays as it was, unless it is too old to be used.
    pub async fn learn(&self, url: Digest, model: &str, lesson: &Lesson) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO batch_lessons (url, model, tokens, dialect, learned_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE \
             SET tokens = coalesce(excluded.tokens, CASE WHEN learned_at > ?6 THEN tokens END), \
             dialect = coalesce(excluded.dialect, CASE WHEN learned_at > ?6 THEN dialect END), \
             learned_at = excluded.learned_at",
        )
        .bind(&url.0[..])
        .bind(model)
        .bind(lesson.tokens.map(integer))
        .bind(&lesson.dialect)
        .bind(now())
        .bind(now() - LESSONS_LAST)
        .execute(&self.read)
        .await?;
        Ok(())
    }
}

/// 32 hexadecimal digits that no other batch has, of this machine or of another one with the same account.
fn chance_name(slot: &Slot) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    // The keys of a new hasher are chance numbers of the system's.
    let (one, two) = (RandomState::new().hash_one(count), RandomState::new().hash_one(since));
    let seed = serde_json::json!([
        since.as_nanos().to_string(),
        std::process::id(),
        count,
        one,
        two,
        slot.lens,
        slot.model
    ]);
    let mut name = Digest::of(&seed).to_string();
    name.truncate(32);
    name
}

fn read(row: &SqliteRow, stage: Stage) -> Result<Batch, Error> {
    let count =
        |column: usize| -> Result<u64, Error> { Ok(row.try_get::<i64, _>(column)?.try_into().unwrap_or(0)) };
    let small =
        |column: usize| -> Result<u32, Error> { Ok(row.try_get::<i64, _>(column)?.try_into().unwrap_or(0)) };
    let money = |column: usize| -> Result<_, Error> {
        Ok(row.try_get::<Option<f64>, _>(column)?.map(Money::from_dollars))
    };
    let digest = |bytes: &[u8]| bytes.try_into().map(Digest).map_err(|_| broken("digest"));
    let form = small(10)?;
    let files = match serde_json::from_str(row.try_get(7)?) {
        Ok(files) => files,
        // Whoever cannot read the form does not need them.
        Err(_) if form != FORM || stage == Stage::Newer => BTreeMap::new(),
        Err(_) => return Err(broken("lens")),
    };
    Ok(Batch {
        id: row.try_get(0)?,
        intent: row.try_get(1)?,
        slot: Arc::new(Slot {
            lens: row.try_get(2)?,
            model: row.try_get(3)?,
            version: row.try_get(4)?,
            sample: row.try_get(5)?,
        }),
        digest: digest(row.try_get(6)?)?,
        files,
        asked: row.try_get(8)?,
        url: row.try_get::<Option<&[u8]>, _>(9)?.map(digest).transpose()?,
        form,
        program: row.try_get(11)?,
        dialect: row.try_get(12)?,
        stage,
        status: row.try_get(14)?,
        file: row.try_get(15)?,
        remote: row.try_get(16)?,
        requests: count(17)?,
        bytes: count(18)?,
        tokens: count(19)?,
        bound: money(20)?,
        cost: money(21)?,
        answered: count(22)?,
        failed: count(23)?,
        again: count(24)?,
        waiting: count(25)?,
        made_at: row.try_get(26)?,
        changed_at: row.try_get(27)?,
        place: row.try_get(28)?,
        price: row.try_get::<Option<&str>, _>(29)?.and_then(|price| serde_json::from_str(price).ok()),
    })
}

fn broken(what: &str) -> Error {
    Error::Statement {
        reason: format!("a stored batch has an unreadable {what}"),
        advice: "the database is damaged or was edited: restore it, or set DATABASE_URL to another file",
    }
}
