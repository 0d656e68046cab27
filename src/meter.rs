//! Rate limits: every attempt, retries included, takes its permit here.
//!
//! Both limits are the generic cell rate algorithm (ITU-T I.371): a "theoretical arrival time" moves forward with
//! every request, and a request waits until it is reached. It needs no timer of its own and follows the tokio clock.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

/// The bounds that a user sets.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Attempts in flight at once.
    pub workers: usize,
    /// Requests per minute.
    pub rpm: Option<NonZeroU32>,
    /// Tokens per minute, prompt and answer together.
    pub tpm: Option<NonZeroU32>,
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
}

/// The right to one attempt; dropping it frees the place in flight.
#[derive(Debug)]
pub struct Permit<'a> {
    _in_flight: Option<SemaphorePermit<'a>>,
    reserved: u32,
}

impl Meter {
    /// A meter whose first permits are free at once.
    pub fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            in_flight: Semaphore::new(limits.workers.clamp(1, Semaphore::MAX_PERMITS / 2)),
            limits,
            pace: Mutex::new(Pace { requests: now, tokens: now, paused_until: now }),
        }
    }

    /// Whether permits depend on the tokens of a request: only then is counting them worth its time.
    pub fn counts_tokens(&self) -> bool {
        self.limits.tpm.is_some()
    }

    /// Attempts that may be in flight at once.
    pub fn workers(&self) -> usize {
        self.limits.workers.clamp(1, Semaphore::MAX_PERMITS / 2)
    }

    /// Waits until an attempt that needs about `tokens` may start.
    pub async fn permit(&self, tokens: u32) -> Permit<'_> {
        // The semaphore is the meter's own and never closed: there is always a permit to wait for.
        let in_flight = self.in_flight.acquire().await.ok();
        let start = self.reserve(tokens);
        sleep_until(start).await;
        // A pause may have begun while this attempt waited.
        loop {
            let until = self.pace().paused_until;
            if until <= Instant::now() {
                return Permit { _in_flight: in_flight, reserved: tokens };
            }
            sleep_until(until).await;
        }
    }

    /// Corrects the token limit by what the attempt really used.
    pub fn settle(&self, permit: &Permit<'_>, used: u32) {
        let Some(tpm) = self.limits.tpm else { return };
        let mut pace = self.pace();
        if used >= permit.reserved {
            pace.tokens += share_of_minute(used - permit.reserved, tpm);
        } else if let Some(earlier) = pace.tokens.checked_sub(share_of_minute(permit.reserved - used, tpm)) {
            pace.tokens = earlier;
        }
    }

    /// Lets no attempt start for `wait`: the server asked everyone to wait, not one request.
    pub fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut pace = self.pace();
        pace.paused_until = pace.paused_until.max(until);
    }

    /// How long a pause that [`Meter::pause`] began still lasts.
    pub fn paused(&self) -> Option<Duration> {
        self.pace().paused_until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
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

/// The part of a minute that `n` units take at `per_minute`.
fn share_of_minute(n: u32, per_minute: NonZeroU32) -> Duration {
    Duration::from_secs_f64(60.0 * f64::from(n) / f64::from(per_minute.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(rpm: Option<u32>, tpm: Option<u32>) -> Meter {
        Meter::new(Limits {
            workers: 4,
            rpm: rpm.and_then(NonZeroU32::new),
            tpm: tpm.and_then(NonZeroU32::new),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn sixty_requests_a_minute_are_one_a_second() {
        let meter = meter(Some(60), None);
        let begin = Instant::now();
        for _ in 0..61 {
            drop(meter.permit(0).await);
        }
        assert_eq!(begin.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_paced_by_what_was_used() {
        let meter = meter(None, Some(6000));
        let begin = Instant::now();
        for _ in 0..4 {
            let permit = meter.permit(500).await;
            meter.settle(&permit, 100);
        }
        // Four requests of 100 tokens at 100 tokens a second: the fourth starts after three seconds.
        assert_eq!(begin.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everyone() {
        let meter = meter(None, None);
        meter.pause(Duration::from_secs(7));
        let begin = Instant::now();
        tokio::join!(meter.permit(0), meter.permit(0));
        assert_eq!(begin.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_workers_are_in_flight() {
        let meter = meter(None, None);
        let held: Vec<_> = futures::future::join_all((0..4).map(|_| meter.permit(0))).await;
        assert!(tokio::time::timeout(Duration::from_secs(1), meter.permit(0)).await.is_err());
        drop(held);
        meter.permit(0).await;
    }
}
