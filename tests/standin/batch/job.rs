//! A batch from its making to its end.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    super::{service::State, shape::mix},
    Batches, Room,
    files::Stored,
    now,
    rules::Twist,
    run::{Counts, Runner, Unrun, Written},
    validate::{self, Accepted},
};

/// Lines that are run before others get a turn.
const SLICE: usize = 128;

/// How long a poll waits for what is to be done before it: less than a client's patience, and enough for the slowest machine.
const POLL: Duration = Duration::from_secs(30);

/// How far a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Validating,
    InProgress,
    Finalizing,
    Cancelling,
    Failed,
    Completed,
    Expired,
    Cancelled,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::InProgress => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Cancelling => "cancelling",
            Self::Failed => "failed",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    fn has_ended(self) -> bool {
        matches!(self, Self::Failed | Self::Completed | Self::Expired | Self::Cancelled)
    }

    /// Why lines were not run that are left at this end.
    fn unrun(self) -> Unrun {
        match self {
            Self::Cancelled => {
                ("batch_cancelled", "This batch was cancelled before this request was executed.")
            }
            _ => {
                ("batch_expired", "This request could not be executed before the completion window expired.")
            }
        }
    }
}

/// What whoever runs a batch does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Something that a poll waits for.
    Work,
    /// Waiting for its time, or running line by line.
    Rest,
    Nothing,
}

/// A batch of the server.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: String,
    number: u64,
    input: Stored,
    metadata: Value,
    created_at: u64,
    twists: Vec<Twist>,
    facts: Mutex<Facts>,
    doing: watch::Sender<Doing>,
    cancelled: watch::Sender<bool>,
}

/// What changes of it.
#[derive(Debug)]
struct Facts {
    status: Status,
    model: Option<String>,
    /// Tokens of its prompts, once they are known.
    tokens: u64,
    counts: Counts,
    errors: Vec<Value>,
    /// Ids of the files of replies and of errors.
    files: [Option<String>; 2],
    /// When it came to each status.
    times: BTreeMap<&'static str, u64>,
}

impl Job {
    pub(super) fn new(number: u64, input: Stored, metadata: Value, twists: Vec<Twist>) -> Self {
        let facts = Facts {
            status: Status::Validating,
            model: None,
            tokens: 0,
            counts: Counts::default(),
            errors: Vec::new(),
            files: [None, None],
            times: BTreeMap::new(),
        };
        Self {
            id: format!("batch_{:016x}{:016x}", mix(number), mix(mix(number))),
            number,
            input,
            metadata,
            created_at: now(),
            twists,
            facts: Mutex::new(facts),
            doing: watch::Sender::new(Doing::Work),
            cancelled: watch::Sender::new(false),
        }
    }

    /// The batch, as the server tells it.
    pub(super) fn told(&self) -> Value {
        let facts = self.facts();
        let at = |status: &str| facts.times.get(status).copied();
        let errors = (!facts.errors.is_empty()).then(|| json!({"object": "list", "data": facts.errors}));
        let counts = facts.counts;
        let word = self.twists.iter().find_map(|twist| match twist {
            Twist::Word(word) if facts.status == Status::InProgress => Some(word.as_str()),
            _ => None,
        });
        json!({
            "id": self.id, "object": "batch", "endpoint": validate::ENDPOINT, "model": facts.model, "errors": errors,
            "input_file_id": self.input.id, "completion_window": "24h",
            "status": word.unwrap_or(facts.status.word()),
            "output_file_id": facts.files[0], "error_file_id": facts.files[1],
            "created_at": self.created_at, "in_progress_at": at("in_progress"),
            "expires_at": self.created_at + 24 * 60 * 60, "finalizing_at": at("finalizing"),
            "completed_at": at("completed"), "failed_at": at("failed"), "expired_at": at("expired"),
            "cancelling_at": at("cancelling"), "cancelled_at": at("cancelled"),
            "request_counts": {"total": counts.total, "completed": counts.completed, "failed": counts.failed},
            "usage": {"input_tokens": counts.input_tokens, "input_tokens_details": {"cached_tokens": 0},
                      "output_tokens": counts.output_tokens, "output_tokens_details": {"reasoning_tokens": 0},
                      "total_tokens": counts.input_tokens + counts.output_tokens},
            "metadata": self.metadata
        })
    }

    /// Waits, though not for ever, until only time is missing for the next step.
    pub(super) async fn settled(&self, room: &Room) {
        let mut doing = self.doing.subscribe();
        let hurried = *room.hurry.borrow();
        let rests = |doing: &Doing| *doing == Doing::Nothing || *doing == Doing::Rest && !hurried;
        // Too late or gone: it is told as it is.
        let _ = tokio::time::timeout(POLL, doing.wait_for(rests)).await;
    }

    /// Whether it could be cancelled; else its status.
    pub(super) fn cancel(&self) -> Result<(), &'static str> {
        let mut facts = self.facts();
        match facts.status {
            Status::Validating | Status::InProgress => facts.become_(Status::Cancelling),
            Status::Cancelling => return Ok(()),
            status => return Err(status.word()),
        }
        self.doing.send_replace(Doing::Work);
        self.cancelled.send_replace(true);
        Ok(())
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// Lets time pass, unless everybody is in a hurry or it is cancelled.
    async fn rest(&self, room: &Room, time: Duration) {
        if time.is_zero() || self.is_cancelled() {
            return;
        }
        let (mut hurry, mut cancelled) = (room.hurry.subscribe(), self.cancelled.subscribe());
        self.doing.send_replace(Doing::Rest);
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = hurry.wait_for(|hurry| *hurry) => {}
            _ = cancelled.wait_for(|cancelled| *cancelled) => {}
        }
    }

    fn fail(&self, errors: Vec<Value>) {
        let mut facts = self.facts();
        facts.errors = errors;
        facts.become_(Status::Failed);
    }

    /// Its end, with the ids of its files.
    fn end(&self, room: &Room, status: Status, written: [Option<Written>; 2]) {
        let mut facts = self.facts();
        for (place, (kind, written)) in ["output", "error"].iter().zip(written).enumerate() {
            let Some(written) = written else { continue };
            let name = format!("{}_{kind}.jsonl", self.id);
            let stored = room.files().store(name, "batch_output", written);
            if self.twists.contains(&Twist::LoseFiles) {
                room.files().delete(&stored.id);
            }
            facts.files[place] = Some(stored.id);
        }
        facts.become_(status);
    }
}

impl Facts {
    fn become_(&mut self, status: Status) {
        self.status = status;
        self.times.insert(status.word(), now());
    }
}

/// Takes a batch from its making to its end.
pub(super) async fn drive(state: Arc<State>, room: Arc<Room>, job: Arc<Job>) {
    if let Err(error) = steps(&state, &room, &job).await {
        job.fail(vec![validate::told("server_error", &error.to_string(), None, None)]);
    }
    job.doing.send_replace(Doing::Nothing);
}

async fn steps(state: &Arc<State>, room: &Arc<Room>, job: &Arc<Job>) -> io::Result<()> {
    job.rest(room, room.config.validating).await;
    job.doing.send_replace(Doing::Work);
    if job.is_cancelled() {
        cancelled_early(room, job).await;
        return Ok(());
    }
    let scripted = job.twists.iter().find_map(|twist| match twist {
        Twist::Fail { code, message } => Some(validate::told(code, message, None, None)),
        _ => None,
    });
    if let Some(error) = scripted {
        job.fail(vec![error]);
        return Ok(());
    }
    let (shared, stored, most) = (Arc::clone(state), job.input.clone(), room.config.requests);
    let looked = spawn_blocking(move || validate::validate(&shared, &stored, most)).await?;
    let lines = match looked.and_then(|accepted| admit(room, job, accepted).map_err(|error| vec![error])) {
        Ok(lines) => lines,
        Err(errors) => {
            job.fail(errors);
            return Ok(());
        }
    };
    if job.is_cancelled() {
        cancelled_early(room, job).await;
        return Ok(());
    }
    let runner = Runner::new(Arc::clone(&job.input.file), lines, job.twists.clone())?;
    let (runner, end) = run(state, room, job, runner).await?;
    if end != Status::Cancelled {
        job.facts().become_(Status::Finalizing);
    }
    finalize(room, job).await;
    let written = spawn_blocking(move || runner.finish(end.unrun())).await??;
    job.end(room, end, written);
    Ok(())
}

/// Cancelled before a line was run: there are no files.
async fn cancelled_early(room: &Room, job: &Job) {
    finalize(room, job).await;
    job.facts().become_(Status::Cancelled);
}

/// The time that writing the files takes.
async fn finalize(room: &Room, job: &Job) {
    let mut hurry = room.hurry.subscribe();
    if !room.config.finalizing.is_zero() {
        job.doing.send_replace(Doing::Rest);
        tokio::select! {
            () = tokio::time::sleep(room.config.finalizing) => {}
            _ = hurry.wait_for(|hurry| *hurry) => {}
        }
    }
    job.doing.send_replace(Doing::Work);
}

/// Lets a file run that there is room for; the lines.
fn admit(room: &Room, job: &Job, accepted: Accepted) -> Result<Vec<(u64, usize)>, Value> {
    let Accepted { lines, model, tokens } = accepted;
    if let Some(limit) = room.config.enqueued_tokens {
        let others: u64 = room
            .jobs()
            .iter()
            .filter(|other| other.number != job.number)
            .map(|other| other.facts())
            .filter(|facts| !facts.status.has_ended() && facts.model.as_ref() == Some(&model))
            .map(|facts| facts.tokens)
            .sum();
        if others + tokens > limit {
            return Err(validate::no_room(&model, limit));
        }
    }
    let mut facts = job.facts();
    facts.model = Some(model);
    facts.tokens = tokens;
    facts.counts.total = lines.len();
    if facts.status == Status::Validating {
        facts.become_(Status::InProgress);
    }
    Ok(lines)
}

/// Runs the lines, evenly spaced over the time; how it ended.
async fn run(state: &Arc<State>, room: &Room, job: &Job, mut runner: Runner) -> io::Result<(Runner, Status)> {
    let Batches { running, .. } = room.config;
    let total = runner.counts.total;
    let (most, early) = stop(&job.twists, total);
    let began = Instant::now();
    loop {
        if job.is_cancelled() {
            return Ok((runner, Status::Cancelled));
        }
        let done = runner.done();
        if done >= most {
            if early == Status::Cancelled {
                job.facts().become_(Status::Cancelling);
            }
            job.doing.send_replace(Doing::Work);
            return Ok((runner, early));
        }
        let due = if running.is_zero() || *room.hurry.borrow() {
            most
        } else {
            part(began.elapsed().as_secs_f64() / running.as_secs_f64(), total).min(most)
        };
        if due <= done {
            let step = running.div_f64(total as f64);
            job.rest(room, step.clamp(Duration::from_millis(1), Duration::from_millis(20))).await;
            continue;
        }
        if !running.is_zero() {
            job.doing.send_replace(Doing::Rest);
        }
        let shared = Arc::clone(state);
        let lines = SLICE.min(due - done);
        runner = spawn_blocking(move || runner.run(&shared, lines).map(|()| runner)).await??;
        job.facts().counts = runner.counts;
    }
}

/// After how many lines it ends, and how.
fn stop(twists: &[Twist], total: usize) -> (usize, Status) {
    let early = |twist: &Twist| match twist {
        Twist::ExpireAfter(share) => Some((part(*share, total), Status::Expired)),
        Twist::CancelAfter(share) => Some((part(*share, total), Status::Cancelled)),
        _ => None,
    };
    twists.iter().find_map(early).unwrap_or((total, Status::Completed))
}

/// A share of so many lines, in whole lines.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and total")]
fn part(share: f64, total: usize) -> usize {
    (share.clamp(0.0, 1.0) * total as f64).floor() as usize
}
