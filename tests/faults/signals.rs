//! SIGINT, SIGTERM and SIGKILL at random moments. `tests/interrupted.rs` has what each of them does by itself.

#![cfg(unix)]

use std::time::Duration;

use crate::standin::{Action, Config, Rule, Script, Wire};
use crate::world::Run;

use super::{Trial, each, signal, until};

/// One step of a linear congruential generator (Knuth's MMIX constants): the moments are the same in every run.
fn next(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

#[test]
fn signals_at_random_moments_lose_what_was_in_flight_and_nothing_else() {
    each(&[1, 2, 3], |seed| {
        let mut seed = *seed;
        let script = Script(vec![
            Rule { fraction: Some(0.2), ..Rule::once_per_question(Action::Wire(Wire::ResetInBody)) },
            Rule { fraction: Some(0.2), ..Rule::once_per_question(Action::retry_after(429, 0)) },
        ]);
        let trial = Trial::with(Config { script, delay: Duration::from_millis(20), ..Config::default() });
        for _ in 0..8 {
            let kept = trial.questions();
            let paid = trial.standin.answered();
            let child = trial.start(&[]);
            let asked = trial.standin.counters().requests + next(&mut seed, 4);
            // A run that has nothing left to ask ends by itself.
            until(|| trial.standin.counters().requests >= asked || ended(child.id()));
            let name = ["INT", "TERM", "KILL"][usize::try_from(next(&mut seed, 3)).unwrap()];
            signal(name, &child);
            let run = Run::of(child.wait_with_output().unwrap());
            // What it sent last does not count for the next.
            trial.standin.settle();
            // Who was killed, or ended before it had begun, leaves nothing to look at but the store.
            if !run.stdout.is_empty() {
                trial.sound_since(&run, &paid);
            }
            assert!(trial.questions().is_superset(&kept), "a committed rating is gone");
            for question in &kept {
                assert_eq!(
                    trial.standin.answered()[question],
                    paid[question],
                    "a committed rating was paid again"
                );
            }
        }
        trial.recovers();
    });
}

fn ended(process: u32) -> bool {
    // A process that has ended and was not waited for is a zombie: state Z in the third field.
    std::fs::read_to_string(format!("/proc/{process}/stat")).map_or(true, |stat| stat.contains(") Z "))
}
