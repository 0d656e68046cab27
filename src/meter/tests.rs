//! The meter as a whole, on a paused clock.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use proptest::prelude::*;
use tokio::time::{Instant, timeout};

use super::*;

const NONE: Limits = Limits { workers: Workers::Auto, rpm: None, tpm: None, max_cost: None };

fn workers(n: usize) -> Workers {
    NonZeroUsize::new(n).map_or(Workers::Auto, Workers::AtMost)
}

fn limited(rpm: u32, tpm: u32) -> Meter {
    Meter::seeded(Limits { rpm: NonZeroU32::new(rpm), tpm: NonZeroU32::new(tpm), ..NONE }, 1)
}

fn capped(dollars: f64) -> Meter {
    Meter::seeded(Limits { max_cost: Some(Money::from_dollars(dollars)), ..NONE }, 1)
}

fn tokens(tokens: u32) -> Need {
    Need { tokens, cost: Money::ZERO }
}

fn costs(dollars: f64) -> Need {
    Need { tokens: 0, cost: Money::from_dollars(dollars) }
}

fn answered(tokens: u64) -> Outcome {
    Outcome { health: Health::Answered, tokens: Some(tokens), spent: Spent::Nothing }
}

fn failed(health: Health) -> Outcome {
    Outcome { health, tokens: None, spent: Spent::Nothing }
}

fn cost(dollars: f64) -> Outcome {
    let spent = Spent::Exactly(Money::from_dollars(dollars));
    Outcome { health: Health::Answered, tokens: None, spent }
}

fn told(limit: u64, remaining: u64, reset: u64) -> Told {
    let requests =
        Window { limit: Some(limit), remaining: Some(remaining), reset: Some(Duration::from_secs(reset)) };
    Told { requests, ..Told::default() }
}

#[tokio::test(start_paused = true)]
async fn sixty_requests_a_minute_are_one_a_second() {
    let meter = limited(60, 0);
    let began = Instant::now();
    for _ in 0..61 {
        meter.permit(Need::default()).await.unwrap().settle(answered(0));
    }
    assert_eq!(began.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn tokens_are_paced_by_what_was_used() {
    let meter = limited(0, 6000);
    let began = Instant::now();
    for _ in 0..4 {
        meter.permit(tokens(500)).await.unwrap().settle(answered(100));
    }
    // Four requests of 100 tokens at 100 tokens a second: the fourth starts after three seconds.
    assert_eq!(began.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_is_given_back_was_never_taken() {
    let meter = Meter::seeded(
        Limits { workers: workers(1), rpm: NonZeroU32::new(60), tpm: NonZeroU32::new(600), max_cost: None },
        1,
    );
    let began = Instant::now();
    for _ in 0..100 {
        meter.permit(tokens(600)).await.unwrap().give_back();
    }
    assert_eq!((began.elapsed().as_secs(), meter.state().in_flight), (0, 0));

    // The endpoint does not answer: a probe with which nothing was sent says nothing of it.
    let meter = Meter::seeded(NONE, 1);
    while meter.state().pause != Some(Pause::Dead) {
        meter.permit(Need::default()).await.unwrap().settle(failed(Health::Dead));
    }
    meter.permit(Need::default()).await.unwrap().give_back();
    let probe = meter.permit(Need::default()).await.unwrap();
    assert!(timeout(Duration::from_secs(1), meter.permit(Need::default())).await.is_err(), "one at a time");
    probe.settle(answered(0));
    assert!(meter.permit(Need::default()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_need_above_the_whole_limit_passes_alone() {
    let meter = limited(0, 6000);
    let began = Instant::now();
    meter.permit(tokens(18_000)).await.unwrap().settle(answered(18_000));
    assert_eq!(began.elapsed().as_secs(), 0);
    meter.permit(tokens(1)).await.unwrap().settle(answered(1));
    assert_eq!(began.elapsed().as_secs(), 180);
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_everyone() {
    let meter = Meter::seeded(NONE, 1);
    let health = Health::Limited { after: Some(Duration::from_secs(7)) };
    meter.permit(Need::default()).await.unwrap().settle(failed(health));
    assert_eq!(meter.state().pause, Some(Pause::Limited));
    let began = Instant::now();
    let first = join_all((0..3).map(|_| meter.permit(Need::default()))).map(|permits| permits.len());
    assert!(timeout(Duration::from_millis(6999), first).await.is_err());
    assert!(meter.permit(Need::default()).await.is_ok());
    assert_eq!(began.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_workers_are_in_flight() {
    let meter = Meter::seeded(Limits { workers: workers(4), ..NONE }, 1);
    let held = join_all((0..4).map(|_| meter.permit(Need::default()))).await;
    assert!(timeout(Duration::from_secs(1), meter.permit(Need::default())).await.is_err());
    drop(held);
    assert!(meter.permit(Need::default()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_came_first_starts_first() {
    let meter = limited(600, 0);
    let order = Mutex::new(Vec::new());
    join_all((0..50).map(|number| {
        let (meter, order) = (&meter, &order);
        async move {
            let permit = meter.permit(Need::default()).await.unwrap();
            order.lock().unwrap().push(number);
            permit.settle(answered(0));
        }
    }))
    .await;
    assert_eq!(order.into_inner().unwrap(), (0..50).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_line_holds_up_nobody() {
    let meter = limited(60, 0);
    meter.permit(Need::default()).await.unwrap().settle(answered(0));
    let began = Instant::now();
    // The head leaves after half a second, and one from the middle.
    let head = timeout(Duration::from_millis(500), meter.permit(Need::default()));
    let middle = timeout(Duration::from_millis(600), meter.permit(Need::default()));
    let last = meter.permit(Need::default());
    let (head, middle, last) = tokio::join!(head, middle, last);
    assert!(head.is_err() && middle.is_err() && last.is_ok());
    assert_eq!(began.elapsed().as_secs(), 1);
    assert_eq!(meter.state().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_limit_moves_those_who_wait_at_once() {
    let meter = limited(1, 0);
    let permit = meter.permit(Need::default()).await.unwrap();
    let user_bound = timeout(Duration::from_secs(59), meter.permit(Need::default()));
    assert!(user_bound.await.is_err());
    drop(permit);

    let meter = Meter::seeded(NONE, 1);
    let permit = meter.permit(Need::default()).await.unwrap();
    permit.told(&told(1, 0, 60));
    let began = Instant::now();
    let (waited, ()) = tokio::join!(meter.permit(Need::default()), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        permit.told(&told(600, 599, 1));
        permit.settle(answered(0));
    });
    assert!(waited.is_ok());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nonsense_in_headers_stops_nothing() {
    let meter = Meter::seeded(NONE, 1);
    for (limit, remaining, reset) in
        [(0, 0, 0), (0, u64::MAX, 9), (u64::MAX, 0, 0), (u64::MAX, u64::MAX, 86_400), (1, 0, 86_400)]
    {
        let permit = timeout(Duration::from_hours(25), meter.permit(Need::default())).await.unwrap().unwrap();
        permit.told(&told(limit, remaining, reset));
        permit.settle(answered(u64::MAX));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_uses_up_no_attempts_and_the_first_answer_opens_it() {
    let meter = Meter::seeded(NONE, 1);
    meter.permit(Need::default()).await.unwrap().settle(answered(0));
    let began = Instant::now();
    let mut attempts = 0;
    while began.elapsed() < Duration::from_mins(5) {
        meter.permit(Need::default()).await.unwrap().settle(failed(Health::Dead));
        attempts += 1;
    }
    assert!((10..=16).contains(&attempts), "{attempts}");
    assert_eq!(meter.state().pause, Some(Pause::Dead));
    meter.permit(Need::default()).await.unwrap().settle(answered(0));
    assert_eq!(meter.state().paused, None);
    assert!(meter.permit(Need::default()).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_stays_dead_stops_everyone() {
    for (ever_answered, at_least) in [(true, 900), (false, 15)] {
        let meter = Meter::seeded(NONE, 1);
        if ever_answered {
            meter.permit(Need::default()).await.unwrap().settle(answered(0));
        }
        let stopped = loop {
            match meter.permit(Need::default()).await {
                Ok(permit) => permit.settle(failed(Health::Dead)),
                Err(stopped) => break stopped,
            }
        };
        let Stopped::Dead(dead) = stopped else { panic!("{stopped:?}") };
        assert_eq!(dead.as_secs(), at_least);
        let all = join_all((0..5).map(|_| meter.permit(Need::default()))).await;
        assert!(all.iter().all(|permit| matches!(permit, Err(Stopped::Dead(_)))));
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_waits_for_those_in_flight() {
    let meter = capped(1.0);
    let first = meter.permit(costs(0.6)).await.unwrap();
    let (second, ()) = tokio::join!(meter.permit(costs(0.6)), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        first.settle(cost(0.1));
    });
    drop(second.unwrap());
    // The second was dropped: it may have cost all that was reserved.
    let state = meter.state();
    assert_eq!((state.spent, state.reserved), (Money::from_dollars(0.7), Money::ZERO));
    assert_eq!(meter.permit(costs(0.4)).await.unwrap_err(), Stopped::Budget);
    assert_eq!(meter.permit(costs(0.0)).await.unwrap_err(), Stopped::Budget);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_budget_reaches_all_who_wait() {
    let meter = capped(1.0);
    let first = meter.permit(costs(1.0)).await.unwrap();
    let waiting = join_all((0..20).map(|_| meter.permit(costs(0.5))));
    let (waited, ()) = tokio::join!(waiting, async { first.settle(cost(1.0)) });
    assert!(waited.iter().all(|permit| matches!(permit, Err(Stopped::Budget))));
}

#[tokio::test(start_paused = true)]
async fn a_cost_above_its_bound_is_counted_and_shown() {
    let meter = capped(1.0);
    meter.permit(costs(0.5)).await.unwrap().settle(cost(0.75));
    let state = meter.state();
    assert_eq!((state.spent, state.beyond), (Money::from_dollars(0.75), Money::from_dollars(0.25)));
}

/// What happens next to one of the attempts in flight.
#[derive(Debug, Clone, Copy)]
enum Act {
    Ask { cents: u32 },
    Settle { which: usize, part: f64 },
    Lose { which: usize },
    Refuse { which: usize },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (1_u32..200).prop_map(|cents| Act::Ask { cents }),
        2 => (0_usize..8, 0.0..=1.0).prop_map(|(which, part)| Act::Settle { which, part }),
        1 => (0_usize..8).prop_map(|which| Act::Lose { which }),
        1 => (0_usize..8).prop_map(|which| Act::Refuse { which }),
    ]
}

proptest! {
    #[test]
    fn what_is_spent_and_reserved_never_exceeds_the_cap(acts in prop::collection::vec(act(), 1..200)) {
        let cap = Money::from_dollars(5.0);
        let meter = capped(5.0);
        let mut flight: Vec<(Permit<'_>, Money)> = Vec::new();
        let mut billed = Money::ZERO;
        for act in acts {
            let which = |which: usize, flight: &Vec<_>| (!flight.is_empty()).then(|| which % flight.len());
            match act {
                Act::Ask { cents } => {
                    let need = costs(f64::from(cents) / 100.0);
                    if let Some(Ok(permit)) = meter.permit(need).now_or_never() {
                        flight.push((permit, need.cost));
                    }
                }
                Act::Settle { which: at, part } => if let Some(at) = which(at, &flight) {
                    let (permit, reserved) = flight.swap_remove(at);
                    let real = Money::from_dollars(reserved.dollars() * part);
                    let real = if real > reserved { reserved } else { real };
                    billed += real;
                    permit.settle(Outcome { spent: Spent::Exactly(real), ..answered(1) });
                },
                Act::Lose { which: at } => if let Some(at) = which(at, &flight) {
                    // The worst case of an attempt of which nobody knows.
                    billed += flight.swap_remove(at).1;
                },
                Act::Refuse { which: at } => if let Some(at) = which(at, &flight) {
                    flight.swap_remove(at).0.settle(failed(Health::Alive));
                },
            }
            let state = meter.state();
            prop_assert!(state.spent + state.reserved <= cap);
            prop_assert_eq!(state.spent, billed);
            prop_assert_eq!(state.reserved, flight.iter().map(|(_, reserved)| *reserved).sum::<Money>());
            prop_assert_eq!(state.in_flight, flight.len());
        }
    }
}
