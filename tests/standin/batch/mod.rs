//! Files and batches, as OpenAI's API has them, sped up; a line is answered as a live request with its body would be.
//!
//! | path | reply |
//! |---|---|
//! | `POST /v1/files` | stores a file that comes as a form |
//! | `GET /v1/files?purpose=&limit=&after=&order=` | the files, a page at a time |
//! | `GET /v1/files/ID`, `GET /v1/files/ID/content`, `DELETE /v1/files/ID` | one of them |
//! | `POST /v1/batches` | has a file run |
//! | `GET /v1/batches?limit=&after=` | the batches, a page at a time, the newest first |
//! | `GET /v1/batches/ID`, `POST /v1/batches/ID/cancel` | one of them |
//!
//! Where [`Config::batches`](super::Config::batches) is not set these are unknown paths.

mod files;
mod job;
mod multipart;
mod rules;
mod run;
mod serve;
mod validate;

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tokio::sync::watch;

pub(super) use files::FileBody;
pub(crate) use rules::{BatchRule, Fault, Kind, RequestRule, Rules, Twist};
pub(super) use serve::{Payload, respond};

use files::Files;
use job::Job;

/// How long [`super::Standin::wait_for`] waits before the test is over.
const PATIENCE: Duration = Duration::from_mins(2);

/// How the stand-in's batches behave.
#[derive(Debug, Clone)]
pub(crate) struct Batches {
    /// How long a file is looked at. Zero: until the next poll, which waits for what is still to be done.
    pub(crate) validating: Duration,
    /// How long the lines are run, one after the other and evenly spaced; the counts grow with them. Zero as above.
    pub(crate) running: Duration,
    /// How long the files are written, after running and after cancelling. Zero as above.
    pub(crate) finalizing: Duration,
    /// The most input tokens of one model that may be in batches which have not ended.
    pub(crate) enqueued_tokens: Option<u64>,
    /// The most lines of a file.
    pub(crate) requests: u64,
    /// The most bytes of a file.
    pub(crate) bytes: u64,
    /// What goes wrong.
    pub(crate) rules: Rules,
}

impl Default for Batches {
    /// OpenAI's limits, no limit of tokens, no time and nothing that goes wrong.
    fn default() -> Self {
        Self {
            validating: Duration::ZERO,
            running: Duration::ZERO,
            finalizing: Duration::ZERO,
            enqueued_tokens: None,
            requests: 50_000,
            bytes: 200_000_000,
            rules: Rules::default(),
        }
    }
}

/// All that the stand-in has of files and batches.
#[derive(Debug)]
pub(super) struct Room {
    config: Batches,
    files: Mutex<Files>,
    /// In the order in which they were made.
    jobs: Mutex<Vec<Arc<Job>>>,
    play: Mutex<Play>,
    arrived: Condvar,
    /// Whether nothing takes time any more.
    hurry: watch::Sender<bool>,
}

/// The rules, with what has happened so far.
#[derive(Debug, Default)]
struct Play {
    rules: Rules,
    /// How often each rule for requests was used.
    used: Vec<u64>,
    /// Requests that have come, by kind.
    came: BTreeMap<Kind, u64>,
    /// Those that have arrived: see [`Room::has_arrived`].
    arrived: BTreeMap<Kind, u64>,
}

impl Room {
    pub(super) fn new(config: Batches) -> Self {
        let rules = config.rules.clone();
        let used = vec![0; rules.requests.len()];
        Self {
            files: Mutex::default(),
            jobs: Mutex::default(),
            play: Mutex::new(Play { rules, used, ..Play::default() }),
            arrived: Condvar::new(),
            hurry: watch::Sender::new(false),
            config,
        }
    }

    /// From now on nothing goes wrong with requests and with new batches.
    pub(super) fn recover(&self) {
        self.play().rules = Rules::default();
    }

    /// From now on nothing takes time.
    pub(super) fn hurry(&self) {
        self.hurry.send_replace(true);
    }

    /// Waits until so many requests of a kind have arrived: they were read as far as their rule has them read, and
    /// what they want is done where their rule lets it be done at once. False when that takes too long.
    pub(super) fn wait_for(&self, kind: Kind, number: u64) -> bool {
        let waiting = |play: &mut Play| play.arrived.get(&kind).is_none_or(|arrived| *arrived < number);
        let waited = self.arrived.wait_timeout_while(self.play(), PATIENCE, waiting);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// How many requests of a kind have arrived.
    pub(super) fn count(&self, kind: Kind) -> u64 {
        self.play().arrived.get(&kind).copied().unwrap_or_default()
    }

    /// All batches in the order in which they were made, as the server tells them.
    pub(super) fn told_batches(&self) -> Vec<Value> {
        self.jobs().iter().map(|job| job.told()).collect()
    }

    /// All files in the order in which they came, as the server tells them.
    pub(super) fn told_files(&self) -> Vec<Value> {
        self.files().all().map(files::Stored::told).collect()
    }

    /// The text of a file.
    pub(super) fn text(&self, id: &str) -> Option<String> {
        let stored = self.files().get(id)?;
        stored.text().ok()
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn jobs(&self) -> MutexGuard<'_, Vec<Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn play(&self) -> MutexGuard<'_, Play> {
        self.play.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn job(&self, id: &str) -> Option<Arc<Job>> {
        self.jobs().iter().find(|job| job.id == id).map(Arc::clone)
    }

    /// A request of this kind has come; what goes wrong with it.
    fn fault(&self, kind: Kind) -> Option<Fault> {
        let mut play = self.play();
        let Play { rules, used, came, .. } = &mut *play;
        let number = came.entry(kind).or_default();
        *number += 1;
        let place = rules.requests.iter().zip(&*used).position(|(rule, used)| {
            rule.kind == kind
                && rule.nth.as_ref().is_none_or(|nth| nth.contains(number))
                && rule.times.is_none_or(|times| *used < times)
        })?;
        used[place] += 1;
        Some(rules.requests[place].fault.clone())
    }

    /// What goes wrong with the batch of this number.
    fn twists(&self, number: u64) -> Vec<Twist> {
        let play = self.play();
        let applies = |rule: &&BatchRule| rule.nth.as_ref().is_none_or(|nth| nth.contains(&number));
        play.rules.batches.iter().filter(applies).map(|rule| rule.twist.clone()).collect()
    }

    /// A request of this kind is as far as [`Self::wait_for`] waits for.
    fn has_arrived(&self, kind: Kind) {
        *self.play().arrived.entry(kind).or_default() += 1;
        self.arrived.notify_all();
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
