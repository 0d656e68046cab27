//! What all connections share.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Budget, Config, Fault, index::Index, journal::Journal};

#[derive(Debug)]
pub(super) struct State {
    pub(super) hub_url: String,
    pub(super) cdn_url: String,
    index: Mutex<Arc<Index>>,
    config: Mutex<Config>,
    faults: Mutex<Vec<Fault>>,
    journal: Mutex<Journal>,
    quotas: Mutex<[Quota; 3]>,
}

/// A budget of requests in its window.
#[derive(Debug, Clone, Copy)]
struct Quota {
    name: &'static str,
    most: u64,
    window: Duration,
    used: u64,
    since: Instant,
}

impl Quota {
    fn new(name: &'static str, quota: u64, window: Duration) -> Self {
        Self { name, most: quota, window, used: 0, since: Instant::now() }
    }
}

/// The state of a budget after a request.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    /// The value of `RateLimit`.
    pub(super) state: String,
    /// The value of `RateLimit-Policy`.
    pub(super) policy: String,
    /// Whether the request was one too many.
    pub(super) exceeded: bool,
}

const WINDOW: Duration = Duration::from_mins(5);

impl State {
    pub(super) fn new(index: Index, config: Config, hub_url: String, cdn_url: String) -> Self {
        Self {
            hub_url,
            cdn_url,
            index: Mutex::new(Arc::new(index)),
            config: Mutex::new(config),
            faults: Mutex::default(),
            journal: Mutex::default(),
            quotas: Mutex::new(full()),
        }
    }

    pub(super) fn index(&self) -> Arc<Index> {
        Arc::clone(&lock(&self.index))
    }

    pub(super) fn set_index(&self, index: Index) {
        *lock(&self.index) = Arc::new(index);
    }

    pub(super) fn config(&self) -> MutexGuard<'_, Config> {
        lock(&self.config)
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Vec<Fault>> {
        lock(&self.faults)
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    pub(super) fn set_quota(&self, budget: Budget, quota: u64, window: Duration) {
        let slot = &mut lock(&self.quotas)[budget as usize];
        *slot = Quota::new(slot.name, quota, window);
    }

    /// Every budget as new, as the hub has them.
    pub(super) fn reset_quotas(&self) {
        *lock(&self.quotas) = full();
    }

    /// Counts a request.
    pub(super) fn spend(&self, budget: Budget) -> Limit {
        let quota = &mut lock(&self.quotas)[budget as usize];
        if quota.since.elapsed() >= quota.window {
            *quota = Quota::new(quota.name, quota.most, quota.window);
        }
        quota.used += 1;
        let left = quota.window.saturating_sub(quota.since.elapsed());
        Limit {
            state: format!(
                "\"{}\";r={};t={}",
                quota.name,
                quota.most.saturating_sub(quota.used),
                left.as_secs()
            ),
            policy: format!(
                "\"fixed window\";\"{}\";q={};w={}",
                quota.name,
                quota.most,
                quota.window.as_secs()
            ),
            exceeded: quota.used > quota.most,
        }
    }
}

/// In the order of [`Budget`].
fn full() -> [Quota; 3] {
    [Quota::new("api", 500, WINDOW), Quota::new("resolvers", 3000, WINDOW), Quota::new("pages", 100, WINDOW)]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
