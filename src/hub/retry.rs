//! What follows when the Hub does not answer: who waits how long, and when to give up.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::Hub;
use super::error::{Error, wait};
use super::refusal::Refusal;
use crate::http::{HeaderMap, retry_after};

/// Requests in all for one thing, as the Python client does.
const TRIES: usize = 5;

/// The Hub counts in windows of five minutes, so that no wait of its own is longer; one second is ours.
const LONGEST_WAIT: Duration = Duration::from_secs(301);

/// Why a request brought nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The same request may do better later.
    Again {
        /// What to say when it never does.
        error: Error,
        /// When the server wants to be asked again.
        after: Option<Duration>,
    },
    /// A status that stays: what it means depends on what was asked.
    Refused(Refusal),
    /// Nothing will do better.
    Final(Error),
}

/// The tries that are left.
pub(super) struct Tries {
    hub: Hub,
    pauses: ExponentialBackoff,
    longest: Duration,
}

impl Tries {
    /// All of them.
    pub(super) fn new(hub: &Hub) -> Self {
        let first = hub.options().timeouts.backoff;
        let longest = first * 8;
        let pauses = ExponentialBuilder::default()
            .with_min_delay(first)
            .with_max_delay(longest)
            .with_max_times(TRIES - 1)
            .with_jitter()
            .build();
        Self { hub: hub.clone(), pauses, longest }
    }

    /// Waits until it is time to ask again, or hands back the trouble where that is no use.
    pub(super) async fn wait(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        let Trouble::Again { error, after } = trouble else { return Err(trouble) };
        let pause = match (self.pauses.next(), after) {
            (None, _) => return Err(Trouble::Final(error)),
            (Some(_), Some(after)) if after > LONGEST_WAIT => return Err(Trouble::Final(error)),
            // Jitter comes on top of the longest pause.
            (Some(pause), after) => after.unwrap_or(pause.min(self.longest)),
        };
        self.hub.tell(&format!("{}: trying again in {}", error.cause(), wait(pause)));
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// How long the sender of these headers wants us to wait: until the window of a used-up limit ends, and one second
/// (`RateLimit: "api";r=0;t=55`, draft-ietf-httpapi-ratelimit-headers), else `Retry-After`.
pub(super) fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let limits = headers.get_all("ratelimit").iter().filter_map(|value| value.to_str().ok());
    let used_up = limits.flat_map(|value| value.split(',')).filter_map(|limit| {
        let value = |name: &str| -> Option<u64> {
            let mut parameters = limit.split(';').filter_map(|parameter| parameter.split_once('='));
            parameters.find(|(found, _)| found.trim() == name)?.1.trim().parse().ok()
        };
        let seconds = value("t")?;
        (value("r")? == 0).then(|| Duration::from_secs(seconds.saturating_add(1)))
    });
    used_up.max().or_else(|| retry_after(headers))
}

/// Bounds what all requests wait for when one is told to.
pub(super) fn shared_wait(after: Option<Duration>) -> Option<Duration> {
    after.filter(|after| *after <= LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(&'static str, &str)]) -> Option<u64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        asked_wait(&map).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_used_up_limit_says_when_it_is_new() {
        assert_eq!(asked(&[("ratelimit", "\"api\";r=0;t=55")]), Some(56));
        assert_eq!(asked(&[("ratelimit", "\"api\";r=0;t=5, \"pages\"; r=0; t=9")]), Some(10));
        assert_eq!(asked(&[("ratelimit", "\"api\";r=0;t=55"), ("retry-after", "3")]), Some(56));
    }

    #[test]
    fn a_limit_that_is_not_used_up_says_nothing_of_waiting() {
        assert_eq!(asked(&[("ratelimit", "\"api\";r=7;t=55")]), None);
        assert_eq!(asked(&[("ratelimit", "\"api\";r=7;t=55"), ("retry-after", "3")]), Some(3));
        assert_eq!(asked(&[("ratelimit", ";;;=r=0;t=x")]), None);
        assert_eq!(asked(&[]), None);
        assert_eq!(asked(&[("ratelimit", "r=0;t=18446744073709551615")]), Some(u64::MAX));
    }

    #[test]
    fn nobody_waits_longer_than_the_hubs_window() {
        assert_eq!(shared_wait(Some(Duration::from_secs(301))), Some(Duration::from_secs(301)));
        assert_eq!(shared_wait(Some(Duration::from_secs(302))), None);
    }
}
