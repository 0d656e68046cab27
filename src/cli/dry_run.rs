//! `--dry-run`: what a command would ask and cost, from its real rows and the store. Nothing is asked of the endpoint.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::exit::Exit;
use super::rater::{Cuts, Raters};
use crate::console::{Console, plain, tables};
use crate::dataset::Dataset;
use crate::lens::Lens;
use crate::meter::{Limits, Workers};
use crate::model::Money;
use crate::rate::{self, Asking, Look, Span};
use crate::rating::run::Sample;

/// Rows that are looked at, at most; of more their figures are scaled.
const LOOKED_AT: u64 = 1_000;

/// The seed of the rows that stand for all. It is not a user's: rows that an earlier `--max` has drawn and rated would
/// make the whole look as if it was rated.
const SEED: u64 = 0x5eed_0f0d_2d1e;

/// What would be run.
pub(super) struct DryRun<'a> {
    pub(super) raters: &'a Raters,
    pub(super) lenses: &'a [Arc<Lens>],
    pub(super) columns: &'a [String],
    pub(super) cuts: Cuts,
    pub(super) limits: Limits,
}

/// The rows to open a dataset with, where a run would take those of `wanted`: the same, but of all rows a sample.
pub(super) fn sample(wanted: Sample) -> Sample {
    match wanted {
        Sample::All => Sample::Random { rows: LOOKED_AT, seed: SEED },
        some => some,
    }
}

/// What one dataset through one lens would ask.
struct Line {
    dataset: String,
    lens: String,
    model: String,
    version: u32,
    /// Rows that the figures are for.
    rows: u64,
    /// Those that were looked at.
    looked_at: u64,
    /// Whether nobody knows how many more rows there are.
    is_open: bool,
    asking: Asking,
}

impl DryRun<'_> {
    /// Looks at the datasets, which were opened with the rows of [`sample`], and shows what a run with those of `wanted`
    /// would ask and cost.
    pub(super) async fn run(
        &self,
        datasets: Vec<Dataset>,
        wanted: Sample,
        console: Console,
    ) -> anyhow::Result<Exit> {
        let mut lines = Vec::new();
        for dataset in datasets {
            lines.append(&mut self.look_at(dataset, wanted).await?);
        }
        let mut total = Asking::default();
        for line in &lines {
            total.add(&line.asking);
        }
        let time = self.time(&lines, &total);
        console.result(&self.shown(&lines, &total, &time))?;
        console.json(&self.document(&lines, &total, &time))?;
        Ok(Exit::Done)
    }

    async fn look_at(&self, dataset: Dataset, wanted: Sample) -> anyhow::Result<Vec<Line>> {
        let (name, all, sampled) = (dataset.name.clone(), dataset.rows, dataset.sampled);
        let (nth, known) = match wanted {
            Sample::All => (1, all),
            Sample::Random { rows, .. } | Sample::First { rows } => {
                (sampled.unwrap_or(rows).div_ceil(LOOKED_AT), sampled)
            }
        };
        let plan = Arc::new(self.raters.plan(self.lenses, self.columns, self.cuts)?);
        let forecast = rate::forecast(Arc::clone(&plan), dataset, Look::Nth(nth)).await?;
        let rows = known.unwrap_or(forecast.drawn);
        let mut askings = forecast.scaled(rows);
        // An in-process rater asks nobody.
        askings.resize_with(plan.targets.len(), || Asking { batch_cost: None, ..Asking::default() });
        let lines = plan.targets.iter().zip(askings).map(|(target, asking)| Line {
            dataset: name.clone(),
            lens: target.lens.name.clone(),
            model: target.model.clone(),
            version: target.version,
            rows,
            looked_at: forecast.rows,
            is_open: wanted == Sample::All && all.is_none(),
            asking,
        });
        Ok(lines.collect())
    }

    /// How long the expected requests take at least at the limits that are known, and by which limit.
    fn time(&self, lines: &[Line], total: &Asking) -> Time {
        let Limits { rpm, tpm, workers, .. } = self.limits;
        let requests = total.requests.expected as f64;
        let tokens = (total.prompt.expected + total.answer.expected) as f64;
        let paced = rpm.map(|rpm| (requests * 60.0 / f64::from(rpm.get()), "--rpm"));
        let counted = tpm.map(|tpm| (tokens * 60.0 / f64::from(tpm.get()), "--tpm"));
        let in_flight = match workers {
            Workers::AtMost(most) => Some(most.get() as f64),
            Workers::Auto => None,
        };
        // Of several lenses the slowest one, as their answers were.
        let latency = lines.iter().filter_map(|line| line.asking.usual).map(|usual| usual.latency_ms);
        // What came by batch has none.
        let latency = latency.filter(|milliseconds| *milliseconds > 0).max();
        let by_workers = latency.zip(in_flight).map(|(milliseconds, in_flight)| {
            (requests * milliseconds as f64 / 1e3 / in_flight, "--workers, at the pace of earlier answers")
        });
        let longest = [paced, counted, by_workers].into_iter().flatten().max_by(|a, b| a.0.total_cmp(&b.0));
        Time(longest)
    }

    fn shown(&self, lines: &[Line], total: &Asking, time: &Time) -> String {
        let mut text = String::from("Dry run: nothing is asked.\n");
        for line in lines {
            let name = format!("{} · {} · {}", line.dataset, line.lens, line.model);
            let _ = write!(text, "\n{}\n{}\n", plain(&name), line.rows_shown());
            if !self.raters.is_in_process() {
                let _ = writeln!(text, "{}", table(&line.asking));
            }
        }
        if self.raters.is_in_process() {
            text.push_str("\nThe heuristic is computed here: no request, no cost.");
            return text;
        }
        if lines.len() > 1 {
            let _ = write!(text, "\nAll together\n{}\n", table(total));
        }
        let answers = lines.iter().all(|line| line.asking.usual.is_some());
        let _ = write!(
            text,
            "\nLow: what all prompts begin with comes from the server's cache, and answers are half as long.\nExpected: no \
             cache, one request each, answers {}.\nHigh: what --max-cost sets aside: a prompt token for each byte, all the \
             room for the answer, and a second turn for each.\n{time}",
            if answers {
                "as long as those in the store"
            } else {
                "of a length that is a guess: the store has too few"
            }
        );
        if total.cost.is_none() {
            let _ =
                write!(text, "\nNo price is known for {}: give it with --price IN,OUT.", self.raters.model());
        }
        if let Some((cap, cost)) = self.limits.max_cost.zip(total.cost) {
            let fits = if cost.high <= cap {
                "even the worst case fits under it"
            } else if cost.expected <= cap {
                "the expected run fits under it; the worst case does not"
            } else {
                "the expected run does not fit: it would stop there, and the same command would go on"
            };
            let _ = write!(text, "\n--max-cost {cap}: {fits}.");
        }
        if let Some((cap, cost)) = self.limits.max_cost.zip(total.batch_cost) {
            let fits = if cost.high <= cap {
                "even the worst case fits under it"
            } else if cost.expected <= cap {
                "the expected run fits under it, but not all of it may be handed over at once: the same command goes on when \
                 replies are collected"
            } else {
                "the expected run does not fit: as much is handed over as does"
            };
            let _ = write!(text, "\n--max-cost {cap} with --batch: {fits}.");
        }
        text
    }

    fn document(&self, lines: &[Line], total: &Asking, time: &Time) -> Value {
        let lines: Vec<Value> = lines.iter().map(Line::document).collect();
        let max_cost = self.limits.max_cost.map(|cap| {
            let expected = |cost: Option<Span<Money>>| cost.map(|cost| cost.expected <= cap);
            let high = |cost: Option<Span<Money>>| cost.map(|cost| cost.high <= cap);
            json!({
                "cap": cap,
                "expected_fits": expected(total.cost),
                "high_fits": high(total.cost),
                "batch_expected_fits": expected(total.batch_cost),
                "batch_high_fits": high(total.batch_cost),
            })
        });
        json!({
            "v": 1,
            "command": "summary",
            "dry_run": true,
            "exit": Exit::Done.code(),
            "forecasts": lines,
            "total": figures(total),
            "seconds": time.0.map(|(seconds, _)| seconds.round()),
            "max_cost": max_cost,
        })
    }
}

impl Line {
    fn rows_shown(&self) -> String {
        let Asking { questions, cached, waiting, .. } = self.asking;
        let rows = if self.is_open { "the first rows of a stream, " } else { "" };
        let scaled = if self.looked_at < self.rows {
            format!(" (scaled from {} of the rows)", grouped(self.looked_at))
        } else {
            String::new()
        };
        let waiting =
            if waiting > 0 { format!(", {} waiting in batches", grouped(waiting)) } else { String::new() };
        format!(
            "  {rows}{} rows: {} questions, {} of them answered by the store{waiting}{scaled}",
            grouped(self.rows),
            grouped(questions),
            grouped(cached),
        )
    }

    fn document(&self) -> Value {
        let mut document = figures(&self.asking);
        let more = json!({
            "dataset": self.dataset,
            "lens": self.lens,
            "model": self.model,
            "version": self.version,
            "rows": self.rows,
            "rows_are_all": !self.is_open,
            "rows_looked_at": self.looked_at,
            "answer_length": if self.asking.usual.is_some() { "store" } else { "guess" },
        });
        if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
            document.extend(more);
        }
        document
    }
}

/// How long a run takes at least, in seconds, and what limits it; `None` where nothing is known that limits it.
struct Time(Option<(f64, &'static str)>);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some((seconds, by)) => write!(f, "Time: about {} at least, by {by}.", duration(seconds)),
            None => f.write_str(
                "Time: unknown. Neither --rpm nor --tpm is set, and the store cannot say how long an answer takes.",
            ),
        }
    }
}

pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        0.0..90.0 => format!("{seconds:.0} s"),
        90.0..5_400.0 => format!("{:.0} min", seconds / 60.0),
        5_400.0..172_800.0 => format!("{:.1} h", seconds / 3_600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

fn table(asking: &Asking) -> String {
    let row = |name: &str, span: Span<String>| vec![name.to_owned(), span.low, span.expected, span.high];
    let cost = asking.cost.map_or_else(
        || Span { low: (), expected: (), high: () }.map(|()| "unknown".to_owned()),
        |cost| cost.map(|amount| amount.to_string()),
    );
    let batch = asking.batch_cost.map(|cost| row("Cost with --batch", cost.map(|amount| amount.to_string())));
    let rows = [
        row("Requests", asking.requests.map(grouped)),
        row("Prompt tokens", asking.prompt.map(grouped)),
        row("Answer tokens", asking.answer.map(grouped)),
        row("Cost", cost),
    ];
    tables::list(&["", "Low", "Expected", "High"], rows.into_iter().chain(batch))
}

fn figures(asking: &Asking) -> Value {
    fn span<T: Copy + serde::Serialize>(span: Span<T>) -> Value {
        json!({"low": span.low, "expected": span.expected, "high": span.high})
    }
    json!({
        "questions": asking.questions,
        "cached": asking.cached,
        "waiting": asking.waiting,
        "requests": span(asking.requests),
        "prompt_tokens": span(asking.prompt),
        "answer_tokens": span(asking.answer),
        "cost": asking.cost.map(span),
        "batch_cost": asking.batch_cost.map(span),
    })
}

/// A count with commas between thousands.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_shown_in_thousands() {
        let shown: Vec<String> = [0, 12, 999, 1_000, 12_345_678].map(grouped).to_vec();
        assert_eq!(shown, ["0", "12", "999", "1,000", "12,345,678"]);
    }

    #[test]
    fn all_rows_are_stood_for_by_a_sample_of_its_own() {
        assert!(matches!(sample(Sample::All), Sample::Random { rows: LOOKED_AT, seed } if seed != 42));
        let some = Sample::Random { rows: 7, seed: 42 };
        assert_eq!(sample(some), some);
    }

    #[test]
    fn times_are_shown_as_people_say_them() {
        let shown: Vec<String> = [0.0, 59.4, 600.0, 7_200.0, 200_000.0].map(duration).to_vec();
        assert_eq!(shown, ["0 s", "59 s", "10 min", "2.0 h", "2.3 days"]);
    }
}
