//! Error statuses, rate limits, and waits that clocks get wrong.

use std::time::{Duration, SystemTime};

use crate::standin::{Action, RateLimit, Rule, Told, Window};
use crate::world::Run;

use super::{ROWS, Trial, burst_passes, each, headers, passes, signal, until};

fn status(code: u16, pairs: &[(&str, &str)]) -> Action {
    Action::Status { code, body: None, headers: headers(pairs) }
}

#[test]
fn a_burst_of_429_passes_with_and_without_headers() {
    burst_passes(&[
        status(429, &[("retry-after", "0")]),
        status(429, &[("retry-after", "1")]),
        status(429, &[("retry-after-ms", "20")]),
        status(429, &[]),
        status(429, &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1s")]),
        status(429, &[("x-ratelimit-limit-requests", "-1"), ("x-ratelimit-reset-tokens", "never")]),
    ]);
}

#[test]
fn a_rate_limit_is_kept_whatever_its_headers_say() {
    let limit = RateLimit::requests(600, 3);
    let cases = [
        limit.clone(),
        RateLimit { told: Told::Nothing, ..limit.clone() },
        RateLimit { told: Told::Claim(60_000), ..limit.clone() },
        RateLimit { window: Window::Fixed(1), ..limit },
        // A question needs some 2,000 tokens here: two at a time, and twelve a second.
        RateLimit::tokens(1_500_000, 5_000),
    ];
    each(&cases, |limit| {
        let trial = Trial::new(vec![Rule::always(Action::RateLimit(limit.clone()))]);
        assert_eq!(trial.run(&[]).exits(0).ledger()["rated"], ROWS, "{limit:?}");
        trial.recovers();
    });
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    let codes = [408, 409, 425, 500, 502, 503, 504, 529];
    passes(&codes.map(Action::status), &[]);
}

#[test]
fn an_account_without_money_stops_the_run_and_keeps_what_it_has() {
    for action in [Action::error(429, "insufficient_quota"), Action::status(402)] {
        let rule = Rule { nth: Some(6..=u64::MAX), ..Rule::always(action) };
        let trial = Trial::new(vec![rule]);
        let run = trial.run(&[]).exits(1);
        assert!(run.stderr.contains("quota is used up"), "{}", run.stderr);
        assert_eq!(run.ledger()["rated"], 5);
        trial.recovers();
    }
}

#[test]
fn a_clock_that_is_wrong_hurts_nobody() {
    let now = SystemTime::now();
    let date = |time| httpdate::fmt_http_date(time);
    let past = date(now - Duration::from_hours(1000));
    // Its clock is a day ahead; by that clock it wants a second.
    let ahead = now + Duration::from_hours(24);
    let (its_now, its_soon) = (date(ahead), date(ahead + Duration::from_secs(1)));
    let (soon, epoch) = (date(now), date(SystemTime::UNIX_EPOCH));
    burst_passes(&[
        status(429, &[("retry-after", &past)]),
        status(429, &[("retry-after", &epoch), ("date", "yesterday")]),
        status(503, &[("retry-after", &soon), ("date", &epoch)]),
        status(429, &[("retry-after", "Fri, 31 Feb 2026 25:61:61 GMT")]),
        status(429, &[("date", &its_now), ("retry-after", &its_soon)]),
        status(429, &[("retry-after", "-5")]),
        status(429, &[("retry-after", "NaN")]),
        status(429, &[("retry-after", "1e999")]),
        status(429, &[("retry-after-ms", "99999999999999999999")]),
    ]);
}

#[cfg(unix)]
#[test]
fn a_wait_without_end_can_be_interrupted() {
    let far = httpdate::fmt_http_date(SystemTime::now() + Duration::from_hours(24 * 365));
    each(&[far.as_str(), "99999999999"], |after| {
        let rule = Rule { nth: Some(5..=u64::MAX), ..Rule::always(status(429, &[("retry-after", after)])) };
        let trial = Trial::new(vec![rule]);
        let child = trial.start(&[]);
        until(|| trial.standin.counters().by_status.contains_key(&429));
        until(|| trial.standin.counters().in_flight == 0);
        signal("INT", &child);
        let run = Run::of(child.wait_with_output().unwrap()).exits(130);
        trial.sound(&run);
        assert_eq!(run.ledger()["rated"], 4);
        trial.recovers();
    });
}
