//! Every attempt, retries included, takes its permit here: limits that learn, pauses, a breaker, a budget.
//!
//! One line of waiters, first come first served. The one at its head asks `control` when it may start, and
//! sleeps until then or until something changes; there is no task and no timer beside it. All times are the tokio clock's.

mod backoff;
mod breaker;
mod budget;
mod control;
mod estimate;
mod flight;
mod limit;
mod pace;
mod recent;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod tests;
mod told;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::model::Money;
use control::{Control, Start, Started};

pub use told::{Told, Window};

/// Seconds since the meter began.
type Seconds = f64;

/// The bounds that a user sets.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Attempts in flight at once.
    pub workers: Workers,
    /// Requests per minute.
    pub rpm: Option<NonZeroU32>,
    /// Tokens per minute, prompt and answer together.
    pub tpm: Option<NonZeroU32>,
    /// The most that may be spent.
    pub max_cost: Option<Money>,
}

/// How many attempts may be in flight at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// As many as the endpoint takes well.
    Auto,
    /// That, and no more than this.
    AtMost(NonZeroUsize),
}

/// What an attempt needs, at most.
#[derive(Debug, Clone, Copy, Default)]
pub struct Need {
    /// Tokens, of the prompt and of the room for the answer.
    pub tokens: u32,
    /// Its cost, by a bound that holds whatever the answer.
    pub cost: Money,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// What it says of the endpoint.
    pub health: Health,
    /// Tokens that it used, where the server told.
    pub tokens: Option<u64>,
    /// What it cost.
    pub spent: Spent,
}

/// What an attempt says of the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answered.
    Answered,
    /// It works, and refused this one request.
    Alive,
    /// A limit of the account was reached (429).
    Limited {
        /// How long the server asks to wait.
        after: Option<Duration>,
    },
    /// It has too much to do at once.
    Overloaded {
        /// How long the server asks to wait.
        after: Option<Duration>,
    },
    /// It does not answer, or not as a working server does.
    Dead,
}

/// What an attempt cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// Nothing: it was refused, or never reached the server.
    Nothing,
    /// This much.
    Exactly(Money),
    /// Nobody knows: as much as was reserved for it, so that no sum is too small.
    Unknown,
}

/// Why no permit will be given any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The next attempt does not fit under the bound on cost, and none is in flight that could free a part of it.
    Budget,
    /// The endpoint has been dead for so long.
    Dead(Duration),
}

/// Why nothing starts for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// A limit of the account was reached.
    Limited,
    /// The server has too much to do.
    Overloaded,
    /// The endpoint is dead; what is left of the pause is the time to the next probe.
    Dead,
}

/// How the meter stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct State {
    /// Attempts in flight.
    pub in_flight: usize,
    /// How many may be in flight by now.
    pub allowed: usize,
    /// Attempts that wait for their permit.
    pub waiting: usize,
    /// Requests per minute that are let through, where a limit is set or learned.
    pub rpm: Option<f64>,
    /// Tokens per minute that are let through, where a limit is set or told.
    pub tpm: Option<f64>,
    /// How long a pause still lasts that everyone waits for.
    pub paused: Option<Duration>,
    /// What that pause is for.
    pub pause: Option<Pause>,
    /// What was spent, attempts of unknown outcome counted at their bound.
    pub spent: Money,
    /// What attempts in flight may cost at most.
    pub reserved: Money,
    /// By how much attempts cost more than their bound. It is part of `spent`; not nothing means that a price or a
    /// bound is wrong, and that a cap may be exceeded by it.
    pub beyond: Money,
}

/// Hands out permits for attempts.
#[derive(Debug)]
pub struct Meter {
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    control: Control,
    /// Those who wait, by the number they drew: who came first starts first.
    line: BTreeMap<u64, Arc<Notify>>,
    next_number: u64,
}

/// The right to one attempt; dropped without [`Permit::settle`] or [`Permit::give_back`] its outcome is unknown, and costs what was
/// reserved.
#[derive(Debug)]
pub struct Permit<'a> {
    meter: &'a Meter,
    started: Option<Started>,
}

impl Meter {
    /// A meter whose first permits are free at once.
    pub fn new(limits: Limits) -> Self {
        Self::seeded(limits, RandomState::new().hash_one(0))
    }

    /// A meter whose jitter is the same in every run.
    fn seeded(limits: Limits, seed: u64) -> Self {
        let inner = Inner { control: Control::new(limits, seed), line: BTreeMap::new(), next_number: 0 };
        Self { began: Instant::now(), inner: Mutex::new(inner) }
    }

    /// Whether permits depend on the tokens of a request: only then is counting them worth its time.
    pub fn counts_tokens(&self) -> bool {
        self.lock().control.counts_tokens()
    }

    /// Whether permits depend on the cost of a request.
    pub fn counts_cost(&self) -> bool {
        self.lock().control.counts_cost()
    }

    /// Attempts that may be in flight at once, at most.
    pub fn workers(&self) -> usize {
        self.lock().control.most()
    }

    /// Counts what was spent or set aside elsewhere against the bound on cost.
    pub fn charge(&self, cost: Money) {
        self.lock().control.charge(cost);
    }

    /// Bounds the attempts in flight by what the server can hold, within what the user set.
    pub fn set_most(&self, most: usize) {
        let mut inner = self.lock();
        inner.control.set_most(most);
        inner.wake_head();
    }

    /// Waits until an attempt with this need may start. Who waits first starts first; a dropped future leaves the line.
    ///
    /// # Errors
    ///
    /// [`Stopped`]: the run is to end. From the first [`Stopped::Budget`] on everyone gets it.
    pub async fn permit(&self, need: Need) -> Result<Permit<'_>, Stopped> {
        let place = {
            let mut inner = self.lock();
            if inner.line.is_empty() {
                match inner.control.start(need, self.now()) {
                    Start::Now(started) => return Ok(Permit { meter: self, started: Some(started) }),
                    Start::Never(stopped) => return Err(stopped),
                    Start::At(_) => {}
                }
            }
            Place::draw(self, &mut inner)
        };
        loop {
            match self.start_in_turn(&place, need) {
                Start::Now(started) => return Ok(Permit { meter: self, started: Some(started) }),
                Start::Never(stopped) => return Err(stopped),
                Start::At(at) if at.is_finite() => tokio::select! {
                    biased;
                    () = place.woken.notified() => {}
                    // A wait that is too long for the clock ends with the next event.
                    () = sleep_until(self.began + Duration::from_secs_f64(at.min(1e9))) => {}
                },
                Start::At(_) => place.woken.notified().await,
            }
        }
    }

    /// How it stands.
    pub fn state(&self) -> State {
        let inner = self.lock();
        State { waiting: inner.line.len(), ..inner.control.state(self.now()) }
    }

    /// Starts the attempt if it is at the head of the line and nothing holds it.
    fn start_in_turn(&self, place: &Place<'_>, need: Need) -> Start {
        let mut inner = self.lock();
        let first = inner.line.first_key_value().map(|(number, _)| *number);
        if first != Some(place.number) {
            return Start::At(f64::INFINITY);
        }
        inner.control.start(need, self.now())
    }

    fn settle(&self, started: &Started, outcome: Option<Outcome>) {
        let mut inner = self.lock();
        inner.control.settle(started, outcome, self.now());
        inner.wake_head();
    }

    fn now(&self) -> Seconds {
        self.began.elapsed().as_secs_f64()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves numbers, each of them valid.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn wake_head(&self) {
        if let Some((_, woken)) = self.line.first_key_value() {
            woken.notify_one();
        }
    }
}

/// A place in the line; dropping it leaves the line, and lets the next one look.
struct Place<'a> {
    meter: &'a Meter,
    number: u64,
    woken: Arc<Notify>,
}

impl<'a> Place<'a> {
    fn draw(meter: &'a Meter, inner: &mut Inner) -> Self {
        let number = inner.next_number;
        inner.next_number += 1;
        let woken = Arc::new(Notify::new());
        inner.line.insert(number, Arc::clone(&woken));
        Self { meter, number, woken }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut inner = self.meter.lock();
        inner.line.remove(&self.number);
        inner.wake_head();
    }
}

impl Permit<'_> {
    /// Takes in what the headers of the reply told; of every reply, errors too.
    pub fn told(&self, told: &Told) {
        let Some(started) = self.started.as_ref().filter(|_| *told != Told::default()) else { return };
        let mut inner = self.meter.lock();
        inner.control.told(started, told, self.meter.now());
        inner.wake_head();
    }

    /// Says what became of the attempt, and frees its place in flight.
    pub fn settle(mut self, outcome: Outcome) {
        if let Some(started) = self.started.take() {
            self.meter.settle(&started, Some(outcome));
        }
    }

    /// Frees its place in flight: nothing was sent with it, so that it says nothing of the endpoint and counts nowhere.
    pub fn give_back(mut self) {
        if let Some(started) = self.started.take() {
            let mut inner = self.meter.lock();
            inner.control.give_back(&started, self.meter.now());
            inner.wake_head();
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(started) = self.started.take() {
            self.meter.settle(&started, None);
        }
    }
}
