//! How far a run is: a bar on a terminal, a plain line every few seconds elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::say;
use crate::meter::Pause;
use crate::model::Money;
use crate::rate::Progress;

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress that may not be shown: callers need not ask.
#[derive(Debug)]
pub struct Bar {
    shown: Shown,
    what: String,
    total: Option<u64>,
    /// What the command may cost at most.
    pub cap: Option<Money>,
    began: Instant,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Lines { last: Instant },
    Bar(ProgressBar),
}

impl Bar {
    pub(super) fn hidden() -> Self {
        Self { shown: Shown::Nothing, what: String::new(), total: None, cap: None, began: Instant::now() }
    }

    pub(super) fn new(what: &str, total: Option<u64>, on_terminal: bool) -> Self {
        let shown = if on_terminal {
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let template = "{prefix} {bar:16} {human_pos}/{human_len} {wide_msg}";
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar.set_prefix(what.to_owned());
            Shown::Bar(bar)
        } else {
            Shown::Lines { last: Instant::now() }
        };
        Self { shown, what: what.to_owned(), total, cap: None, began: Instant::now() }
    }

    /// Shows how far the run is.
    pub fn show(&mut self, progress: &Progress) {
        let elapsed = self.began.elapsed();
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_position(progress.done);
                bar.set_message(details(progress, (self.total, self.cap), elapsed));
            }
            Shown::Lines { last } => {
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    let total = self.total.map_or(String::new(), |total| format!("/{total}"));
                    let details = details(progress, (self.total, self.cap), elapsed);
                    let line = format!("{} {}{total} {details}", self.what, progress.done);
                    tracing::info!(target: super::SAID, "{line}");
                    say(&line);
                }
            }
        }
    }

    /// Lets something be said while the bar is out of the way.
    pub fn aside(&self, say: impl FnOnce()) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(say),
            Shown::Nothing | Shown::Lines { .. } => say(),
        }
    }

    /// Takes the bar away, so that results have the screen.
    pub fn finish(self) {
        if let Shown::Bar(bar) = self.shown {
            bar.finish_and_clear();
        }
    }
}

/// The progress of a download, in bytes.
#[derive(Debug)]
pub struct Transfer {
    shown: Shown,
    on_terminal: bool,
}

impl Transfer {
    pub(super) fn new(is_shown: bool, on_terminal: bool) -> Self {
        let last = Instant::now();
        Self { shown: if is_shown { Shown::Lines { last } } else { Shown::Nothing }, on_terminal }
    }

    /// Shows how far the download is; at its end the bar goes away.
    pub fn show(&mut self, done: u64, total: u64) {
        if let (Shown::Lines { .. }, true) = (&self.shown, self.on_terminal) {
            let template = "downloading {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, ETA {eta}";
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            self.shown = Shown::Bar(ProgressBar::new(total).with_style(style));
        }
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                if done >= total {
                    bar.finish_and_clear();
                }
            }
            Shown::Lines { last } => {
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    say(&format!("downloading {:.1}/{:.1} MB", done as f64 / 1e6, total as f64 / 1e6));
                }
            }
        }
    }
}

/// Rate, time left, and what came of it so far, given how many ratings there will be and what they may cost.
fn details(progress: &Progress, (total, cap): (Option<u64>, Option<Money>), elapsed: Duration) -> String {
    let rate = progress.done as f64 / elapsed.as_secs_f64().max(0.001);
    let mut parts = vec![format!("{rate:.1}/s")];
    if let Some(left) = total.and_then(|total| total.checked_sub(progress.done)).filter(|_| progress.done > 0)
    {
        let seconds = (left as f64 / rate).min(1e9);
        parts.push(format!("ETA {}", indicatif::HumanDuration(Duration::from_secs_f64(seconds.round()))));
    }
    if progress.cached > 0 {
        parts.push(format!("{} cached", progress.cached));
    }
    if progress.failed > 0 {
        parts.push(format!("{} failed", progress.failed));
    }
    let tokens = progress.usage.input.saturating_add(progress.usage.output);
    if tokens > 0 {
        parts.push(format!("{} tokens", indicatif::HumanCount(tokens)));
        if let (Some(cost), None) = (progress.usage.cost, cap) {
            parts.push(cost.to_string());
        }
    }
    if let Some(cap) = cap {
        parts.push(format!("{} of {cap}", progress.spent));
    }
    if let Some((left, pause)) = progress.paused.filter(|(left, _)| left.as_secs() > 0) {
        let left = left.as_secs();
        parts.push(match pause {
            Pause::Limited => format!("waiting {left} s for the account's limit"),
            Pause::Overloaded => format!("waiting {left} s for a busy server"),
            Pause::Dead => format!("no answer from the endpoint, next try in {left} s"),
        });
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rating::answer::Usage;

    #[test]
    fn a_line_says_rate_time_left_and_what_came_of_it() {
        let usage = Usage {
            input: 1200,
            cached_input: 0,
            cache_write: 0,
            output: 34,
            cost: Some(Money::from_pico(500_000_000_000)),
        };
        let spent = Money::from_pico(600_000_000_000);
        let paused = Some((Duration::from_secs(7), Pause::Limited));
        let progress = Progress { done: 50, cached: 10, failed: 1, usage, spent, paused };
        let cap = Some(Money::from_pico(2_500_000_000_000));
        let line = details(&progress, (Some(150), cap), Duration::from_secs(10));
        insta::assert_snapshot!(line, @"5.0/s, ETA 20 seconds, 10 cached, 1 failed, 1,234 tokens, $0.60 of $2.50, waiting 7 s for the account's limit");
    }
}
