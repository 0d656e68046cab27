//! Rate limits as a token bucket, on a clock that is handed in.

use std::time::{Duration, Instant};

/// The state of a rate limit after a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limit {
    pub(super) per_minute: u32,
    /// Whole requests left; none with `wait` means that this one was one too many.
    pub(super) remaining: u32,
    /// Until the next request fits, if this one did not.
    pub(super) wait: Option<Duration>,
    /// Until the bucket is full.
    pub(super) reset: Duration,
}

/// A token bucket: holds up to `burst` requests and gains `per_minute` in a minute.
#[derive(Debug)]
pub(super) struct Bucket {
    per_minute: u32,
    burst: u32,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A bucket that holds `burst` requests at `at`.
    pub(super) fn full(per_minute: u32, burst: u32, at: Instant) -> Self {
        Self { per_minute, burst, level: f64::from(burst), at }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the level is between 0 and burst"
    )]
    pub(super) fn take(&mut self, now: Instant) -> Limit {
        let per_second = f64::from(self.per_minute) / 60.0;
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * per_second;
        self.level = (self.level + gained).min(f64::from(self.burst));
        self.at = now;
        // A limit of no requests at all never lets one through; a day stands for never.
        let time_for = |requests: f64| {
            Duration::try_from_secs_f64(requests / per_second).unwrap_or(Duration::from_hours(24))
        };
        let wait = if self.level >= 1.0 {
            self.level -= 1.0;
            None
        } else {
            Some(time_for(1.0 - self.level))
        };
        Limit {
            per_minute: self.per_minute,
            remaining: self.level as u32,
            wait,
            reset: time_for(f64::from(self.burst) - self.level),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_refuses_when_empty_and_fills_with_time() {
        let start = Instant::now();
        let mut bucket = Bucket::full(60, 2, start);
        let mut at = |milliseconds| bucket.take(start + Duration::from_millis(milliseconds));
        assert_eq!((at(0).remaining, at(0).remaining), (1, 0));
        let refused = at(250);
        assert_eq!(refused.wait, Some(Duration::from_millis(750)));
        assert_eq!(refused.reset, Duration::from_millis(1750));
        assert_eq!(at(1000).wait, None);
        assert_eq!(at(600_000).remaining, 1, "it never holds more than its burst");
    }

    #[test]
    fn a_limit_of_none_refuses_everything() {
        let now = Instant::now();
        assert_eq!(Bucket::full(0, 0, now).take(now).wait, Some(Duration::from_hours(24)));
    }
}
