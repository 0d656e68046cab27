//! Rate limits: every attempt, retries included, takes its permit here.
//!
//! Both limits are the generic cell rate algorithm (ITU-T I.371): a "theoretical arrival time" moves forward with
//! every request, and a request waits until it is reached. It needs no timer of its own and follows the tokio clock.

mod told;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

use crate::model::Money;

pub use told::{Told, Window};

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

/// How the meter stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct State {
    /// How long a pause still lasts that everyone waits for.
    pub paused: Option<Duration>,
    /// What was spent, attempts of unknown outcome counted at their bound.
    pub spent: Money,
    /// What attempts in flight may cost at most.
    pub reserved: Money,
}

/// Hands out permits for attempts.
#[derive(Debug)]
pub struct Meter {
    in_flight: Semaphore,
    limits: Limits,
    pace: Mutex<Pace>,
}

/// When the next attempt may start, by each limit.
#[derive(Debug)]
struct Pace {
    requests: Instant,
    tokens: Instant,
    paused_until: Instant,
    spent: Money,
    reserved: Money,
}

/// The right to one attempt; dropping it frees the place in flight.
#[derive(Debug)]
pub struct Permit<'a> {
    meter: &'a Meter,
    _in_flight: Option<SemaphorePermit<'a>>,
    need: Need,
    settled: bool,
}

impl Meter {
    /// A meter whose first permits are free at once.
    pub fn new(limits: Limits) -> Self {
        let now = Instant::now();
        let pace =
            Pace { requests: now, tokens: now, paused_until: now, spent: Money::ZERO, reserved: Money::ZERO };
        Self { in_flight: Semaphore::new(workers(&limits)), limits, pace: Mutex::new(pace) }
    }

    /// Whether permits depend on the tokens of a request: only then is counting them worth its time.
    pub fn counts_tokens(&self) -> bool {
        self.limits.tpm.is_some()
    }

    /// Whether permits depend on the cost of a request.
    pub fn counts_cost(&self) -> bool {
        self.limits.max_cost.is_some()
    }

    /// Attempts that may be in flight at once, at most.
    pub fn workers(&self) -> usize {
        workers(&self.limits)
    }

    /// Waits until an attempt with this need may start.
    pub async fn permit(&self, need: Need) -> Result<Permit<'_>, Stopped> {
        // The semaphore is the meter's own and never closed: there is always a permit to wait for.
        let in_flight = self.in_flight.acquire().await.ok();
        let start = self.reserve(need.tokens);
        sleep_until(start).await;
        // A pause may have begun while this attempt waited.
        loop {
            let until = self.pace().paused_until;
            if until <= Instant::now() {
                break;
            }
            sleep_until(until).await;
        }
        let mut pace = self.pace();
        if self.limits.max_cost.is_some_and(|cap| pace.spent + pace.reserved + need.cost > cap) {
            return Err(Stopped::Budget);
        }
        pace.reserved += need.cost;
        drop(pace);
        Ok(Permit { meter: self, _in_flight: in_flight, need, settled: false })
    }

    /// Takes in what the headers of a reply told.
    #[expect(clippy::unused_self, reason = "the limits are learned next")]
    pub fn told(&self, told: &Told) {
        let _ = told;
    }

    /// How it stands.
    pub fn state(&self) -> State {
        let pace = self.pace();
        let paused = pace.paused_until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        State { paused, spent: pace.spent, reserved: pace.reserved }
    }

    /// The instant at which the attempt may start; its share of the limits is taken.
    fn reserve(&self, tokens: u32) -> Instant {
        let now = Instant::now();
        let mut pace = self.pace();
        let mut start = now;
        if let Some(rpm) = self.limits.rpm {
            let at = pace.requests.max(now);
            pace.requests = at + share_of_minute(1, rpm);
            start = start.max(at);
        }
        if let Some(tpm) = self.limits.tpm {
            let at = pace.tokens.max(now);
            pace.tokens = at + share_of_minute(tokens, tpm);
            start = start.max(at);
        }
        start
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        // A panic elsewhere leaves three instants, each of them valid.
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// Says what became of the attempt, and frees its place in flight.
    pub fn settle(mut self, outcome: Outcome) {
        self.settle_as(outcome);
    }

    fn settle_as(&mut self, outcome: Outcome) {
        self.settled = true;
        let mut pace = self.meter.pace();
        pace.reserved = pace.reserved.less(self.need.cost);
        pace.spent += match outcome.spent {
            Spent::Nothing => Money::ZERO,
            Spent::Exactly(cost) => cost,
            Spent::Unknown => self.need.cost,
        };
        if let (Health::Limited { after } | Health::Overloaded { after }, now) =
            (outcome.health, Instant::now())
        {
            pace.paused_until = pace.paused_until.max(now + after.unwrap_or_default());
        }
        let (Some(tpm), Some(used)) = (self.meter.limits.tpm, outcome.tokens) else { return };
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        if used >= self.need.tokens {
            pace.tokens += share_of_minute(used - self.need.tokens, tpm);
        } else if let Some(earlier) = pace.tokens.checked_sub(share_of_minute(self.need.tokens - used, tpm)) {
            pace.tokens = earlier;
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.settle_as(Outcome { health: Health::Alive, tokens: None, spent: Spent::Unknown });
        }
    }
}

fn workers(limits: &Limits) -> usize {
    let workers = match limits.workers {
        Workers::Auto => 8,
        Workers::AtMost(most) => most.get(),
    };
    workers.clamp(1, Semaphore::MAX_PERMITS / 2)
}

/// The part of a minute that `n` units take at `per_minute`.
fn share_of_minute(n: u32, per_minute: NonZeroU32) -> Duration {
    Duration::from_secs_f64(60.0 * f64::from(n) / f64::from(per_minute.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(rpm: Option<u32>, tpm: Option<u32>) -> Meter {
        Meter::new(Limits {
            workers: NonZeroUsize::new(4).map_or(Workers::Auto, Workers::AtMost),
            rpm: rpm.and_then(NonZeroU32::new),
            tpm: tpm.and_then(NonZeroU32::new),
            max_cost: None,
        })
    }

    fn answered(tokens: u64) -> Outcome {
        Outcome { health: Health::Answered, tokens: Some(tokens), spent: Spent::Nothing }
    }

    #[tokio::test(start_paused = true)]
    async fn sixty_requests_a_minute_are_one_a_second() {
        let meter = meter(Some(60), None);
        let begin = Instant::now();
        for _ in 0..61 {
            meter.permit(Need::default()).await.unwrap().settle(answered(0));
        }
        assert_eq!(begin.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_paced_by_what_was_used() {
        let meter = meter(None, Some(6000));
        let begin = Instant::now();
        for _ in 0..4 {
            let permit = meter.permit(Need { tokens: 500, ..Need::default() }).await.unwrap();
            permit.settle(answered(100));
        }
        // Four requests of 100 tokens at 100 tokens a second: the fourth starts after three seconds.
        assert_eq!(begin.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everyone() {
        let meter = meter(None, None);
        let health = Health::Limited { after: Some(Duration::from_secs(7)) };
        let refused = Outcome { health, tokens: None, spent: Spent::Nothing };
        meter.permit(Need::default()).await.unwrap().settle(refused);
        let begin = Instant::now();
        let (one, two) = tokio::join!(meter.permit(Need::default()), meter.permit(Need::default()));
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(begin.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_workers_are_in_flight() {
        let meter = meter(None, None);
        let held: Vec<_> = futures::future::join_all((0..4).map(|_| meter.permit(Need::default()))).await;
        assert!(tokio::time::timeout(Duration::from_secs(1), meter.permit(Need::default())).await.is_err());
        drop(held);
        assert!(meter.permit(Need::default()).await.is_ok());
    }
}
