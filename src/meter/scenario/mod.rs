//! Scenarios: accounts that count as real servers do, on a paused clock, against the real meter.
//!
//! Each file in `tests/scenarios/` describes an account, a load, and what must hold; its figures stand in its test.

mod account;
mod figures;

use std::cell::RefCell;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Health, Limits, Meter, Need, Outcome, Spent, Told, Workers};
use crate::model::Money;
use account::{Account, Charges, Said, Setup};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    minutes: f64,
    account: Setup,
    #[serde(default)]
    fault: Vec<Fault>,
    load: Load,
    holds: Vec<Holds>,
}

/// A value from a second on.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    from_s: f64,
    is: f64,
}

impl Step {
    fn at(steps: &[Self], now: f64) -> Option<f64> {
        steps.iter().rev().find(|step| step.from_s <= now).map(|step| step.is)
    }
}

/// What is wrong with the server for a while.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    from_s: f64,
    to_s: f64,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    /// Connections are refused, and those that stand are reset.
    Dead,
    /// Everything is answered 429, with the end of the fault as `Retry-After`.
    Limited,
    /// Above so many at once it is 503.
    Overloaded { above: usize },
}

/// Who asks: one and a half times as many rows at once as there are workers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    /// At most so many; automatic if not said.
    workers: Option<NonZeroUsize>,
    user_rpm: Option<NonZeroU32>,
    #[serde(default)]
    tokens_needed: u32,
    #[serde(default)]
    tokens_used: u32,
}

/// What must hold between two times.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Holds {
    from_s: f64,
    to_s: f64,
    /// Of what the limit allows in this time, the part of others taken off.
    used_at_least: Option<f64>,
    answered_429_at_most: Option<f64>,
    answered_at_least: Option<usize>,
    sent_at_most: Option<usize>,
    sent_in_a_second_at_most: Option<usize>,
}

impl Scenario {
    /// Tokens that the account counts for each request.
    fn charge(&self) -> f64 {
        f64::from(match self.account.charges {
            Charges::Used => self.load.tokens_used,
            Charges::Needed => self.load.tokens_needed,
        })
    }

    fn fault(&self, now: f64) -> Option<What> {
        self.fault.iter().find(|fault| (fault.from_s..fault.to_s).contains(&now)).map(|fault| fault.what)
    }
}

/// The server, and when it was asked what with which outcome.
struct Server<'a> {
    scenario: &'a Scenario,
    account: Account<'a>,
    in_flight: usize,
    log: Vec<(f64, Health)>,
}

impl Server<'_> {
    /// A request arrives: its outcome, what the headers tell, and how long the reply takes.
    fn arrive(&mut self, now: f64) -> (Health, Told, f64) {
        let quickly = 0.02;
        let health = match self.scenario.fault(now) {
            Some(What::Dead) => Health::Dead,
            Some(What::Overloaded { above }) if self.in_flight > above => Health::Overloaded { after: None },
            Some(What::Limited) => {
                let end = self.scenario.fault.iter().map(|fault| fault.to_s).find(|end| *end > now);
                let after = end.map(|end| Duration::from_secs_f64((end - now).ceil()));
                Health::Limited { after }
            }
            _ => {
                return match self.account.arrive(self.scenario.charge(), now) {
                    (Said::Yes, told) => (Health::Answered, told, self.account.latency()),
                    (Said::No(after), told) => (Health::Limited { after }, told, quickly),
                };
            }
        };
        (health, Told::default(), quickly)
    }
}

/// One row after another, as long as the scenario lasts.
async fn ask(meter: &Meter, server: &RefCell<Server<'_>>, began: Instant) {
    let scenario = server.borrow().scenario;
    let load = &scenario.load;
    let now = || began.elapsed().as_secs_f64();
    loop {
        let need = Need { tokens: load.tokens_needed, cost: Money::ZERO };
        let Ok(permit) = meter.permit(need).await else { return };
        let sent = now();
        sleep(Duration::from_millis(10)).await;
        server.borrow_mut().in_flight += 1;
        let (health, told, takes) = server.borrow_mut().arrive(now());
        sleep(Duration::from_secs_f64(takes)).await;
        let mut server = server.borrow_mut();
        server.in_flight -= 1;
        let is_reset = server.scenario.fault(now()) == Some(What::Dead);
        let health = if is_reset { Health::Dead } else { health };
        server.log.push((sent, health));
        if health != Health::Dead {
            permit.told(&told);
        }
        let tokens = (health == Health::Answered).then_some(load.tokens_used.into());
        permit.settle(Outcome { health, tokens, spent: Spent::Nothing });
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// Plays a scenario and returns its figures, a line for each time in which something must hold.
fn play(name: &str) -> String {
    let text = std::fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap();
    let scenario: Scenario = toml::from_str(&text).unwrap();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let server = runtime.block_on(async {
        let workers = scenario.load.workers.map_or(Workers::Auto, Workers::AtMost);
        let limits = Limits { workers, rpm: scenario.load.user_rpm, tpm: None, max_cost: None };
        let meter = Meter::seeded(limits, 7);
        let account = Account::new(&scenario.account);
        let server = RefCell::new(Server { scenario: &scenario, account, in_flight: 0, log: Vec::new() });
        let began = Instant::now();
        let rows = meter.workers() + meter.workers() / 2;
        let all = futures::future::join_all((0..rows).map(|_| ask(&meter, &server, began)));
        let _ = timeout_at(began + Duration::from_secs_f64(scenario.minutes * 60.0), all).await;
        assert_eq!((meter.state().waiting, meter.state().in_flight), (0, 0), "something is left behind");
        server.into_inner()
    });
    scenario.holds.iter().map(|holds| judge(&server, holds)).collect()
}

/// The figures of a time, and whether they are what they must be.
fn judge(server: &Server<'_>, holds: &Holds) -> String {
    let Server { scenario, account, log, .. } = server;
    let within = |at: f64| (holds.from_s..holds.to_s).contains(&at);
    let mut times: Vec<f64> = log.iter().map(|(at, _)| *at).filter(|at| within(*at)).collect();
    times.sort_by(f64::total_cmp);
    let count = |is: fn(&Health) -> bool| log.iter().filter(|(at, health)| within(*at) && is(health)).count();
    let sent = times.len();
    let answered = count(|health| *health == Health::Answered);
    let refused = count(|health| matches!(health, Health::Limited { .. })) as f64 / sent.max(1) as f64;
    let mut first = 0;
    let mut busiest = 0;
    for (last, at) in times.iter().enumerate() {
        while times[first] + 1.0 <= *at {
            first += 1;
        }
        busiest = busiest.max(last + 1 - first);
    }
    let Setup { rpm, tpm, .. } = &scenario.account;
    let (limit, unit) = if tpm.is_empty() { (rpm, 1.0) } else { (tpm, scenario.charge()) };
    // Limits change on whole seconds.
    let mut allowed = 0.0;
    let mut second = holds.from_s;
    while second < holds.to_s {
        allowed += Step::at(limit, second).unwrap_or_default() / 60.0;
        second += 1.0;
    }
    let others = account.others.iter().filter(|at| within(**at)).count();
    let used = answered as f64 * unit / (allowed - others as f64);
    let of_limit = if limit.is_empty() { String::new() } else { format!(" ({:.1} %)", used * 100.0) };
    let line = format!(
        "{} to {} s: {sent} sent, {answered} answered{of_limit}, {:.2} % 429, at most {busiest} in a second\n",
        holds.from_s,
        holds.to_s,
        refused * 100.0,
    );
    assert!(holds.used_at_least.is_none_or(|least| used >= least), "too little used: {line}");
    assert!(holds.answered_429_at_most.is_none_or(|most| refused <= most), "too many refused: {line}");
    assert!(holds.answered_at_least.is_none_or(|least| answered >= least), "too few answered: {line}");
    assert!(holds.sent_at_most.is_none_or(|most| sent <= most), "too many sent: {line}");
    assert!(holds.sent_in_a_second_at_most.is_none_or(|most| busiest <= most), "a herd: {line}");
    line
}

#[test]
fn every_file_is_played() {
    let tests = include_str!("figures.rs");
    for file in std::fs::read_dir(folder()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".toml").unwrap();
        assert!(tests.contains(&format!("play(\"{name}\")")), "no test plays {name}");
    }
}
