//! The rating of one dataset through all lenses: events to summaries, files and progress.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use serde_json::json;

use super::super::bill::SURPRISE;
use super::super::exit::{Exit, usage};
use super::super::rater::{self, Raters};
use super::super::signals::{Signal, Signals};
use super::super::source;
use super::{SummaryArgs, list, sample};
use crate::console::Console;
use crate::dataset::{Dataset, Drawn};
use crate::export;
use crate::export::jsonl::{Fields, Lines};
use crate::model::Money;
use crate::rate::{self, End, Event, Plan, Rater};
use crate::rating::Fate;
use crate::rating::question::Digest;
use crate::rating::run::Meaning;
use crate::rating::summary::{Inference, Part, Summary};

/// How the rating of a dataset ended.
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) error: Option<anyhow::Error>,
    /// A second signal came: nothing is waited for.
    pub(super) at_once: bool,
}

impl Ended {
    pub(super) fn with(exit: Exit) -> Self {
        Self { exit, error: None, at_once: false }
    }

    pub(super) fn by(error: anyhow::Error) -> Self {
        Self { exit: Exit::of(&error), error: Some(error), at_once: false }
    }

    /// Takes in an error that came later: the first one ends the program, a later one is told.
    pub(super) fn also(&mut self, error: anyhow::Error, console: Console) {
        if self.error.is_none() {
            *self = Self::by(error);
        } else {
            console.warn(&error.to_string());
        }
    }
}

/// What is rated.
pub(super) struct Job<'a> {
    pub(super) plan: Arc<Plan>,
    pub(super) dataset: Dataset,
    pub(super) raters: &'a Raters,
}

/// Rates one dataset through all lenses.
pub(super) async fn one(
    args: &SummaryArgs,
    console: &Console,
    signals: &mut Signals,
    Job { plan, dataset, raters }: Job<'_>,
    summaries: &mut Vec<Summary>,
) -> anyhow::Result<Ended> {
    let rows = dataset.sampled.or(dataset.rows);
    let inference = inference(&dataset);
    let hub = dataset.hub.clone();
    let folder = export::folder(&args.settings.data.data_dir, &dataset.name);
    let fields = fields_of(args, &plan.columns)?;
    let mut files = Vec::new();
    let mut own: Vec<Summary> = Vec::new();
    let mut runs = Vec::new();
    for (target, each) in plan.targets.iter().enumerate() {
        let meaning = meaning(args, &plan, target, &dataset)?;
        files.push(Lines::create(&folder, meaning.clone(), fields.clone())?);
        runs.push(rater::begin(&plan, &meaning).await?);
        let part = Part {
            config: args.source.config.clone(),
            split: args.source.split.clone(),
            revision: dataset.revision.clone(),
        };
        let mut summary = Summary::new(&dataset.name, each, rows, inference);
        summary.part = part;
        own.push(summary);
    }
    console.note(&describe(args, &dataset, &plan));

    let mut bar = console.bar("rating", rows.map(|rows| rows * plan.targets.len() as u64));
    bar.cap = args.settings.rater.max_cost;
    let mut events = rate::rate(Arc::clone(&plan), dataset, signals.stop());
    let mut told = false;
    let mut ended = Ended::with(Exit::Done);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::Rated(rating)) => {
                    let target = &plan.targets[rating.target];
                    own[rating.target].add(&rating, target);
                    if let (false, Fate::Failed(_), Some(failure)) = (told, rating.fate(), rating.failure()) {
                        told = true;
                        bar.aside(|| console.warn(&format!("{}: {failure} (further failures are in the JSONL)", rating.record.id)));
                    }
                    if ended.error.is_none() && let Err(error) = files[rating.target].write(&rating, target) {
                        // What is in flight is paid for: it is finished and kept before the run ends.
                        ended = Ended::by(error.into());
                        signals.stop_now();
                    }
                }
                Some(Event::Progress(progress)) => bar.show(&progress),
                Some(Event::Note(note)) => bar.aside(|| console.note(&note)),
                Some(Event::End(end)) => {
                    if ended.error.is_none() {
                        ended = match end {
                            End::Budget(next) => stopped_at_budget(args, &plan, next, *console),
                            end => ended_by(end, signals, *console),
                        };
                    }
                    break;
                }
                None => anyhow::bail!("the rating ended without a word: this is a fault of the program, please report it"),
            },
            error = raters.server_ended(), if ended.error.is_none() => {
                ended = Ended::by(error);
                signals.stop_now();
            }
            signal = signals.next() => match signal {
                Signal::First => bar.aside(|| {
                    console.note("stopping: what is in flight is finished; once more to stop at once");
                }),
                Signal::Again(exit) => {
                    bar.finish();
                    console.note("stopped at once: what was in flight is not kept, though it may be billed");
                    return Ok(Ended { at_once: true, ..Ended::with(exit) });
                }
            },
        }
    }
    bar.finish();

    if let Some(hub) = hub {
        console.note(&source::traffic(&hub));
    }
    rater::settle(&plan, &mut own);
    if rows.is_none() && ended.error.is_none() && ended.exit == Exit::Done {
        own.iter_mut().for_each(Summary::complete);
        // Fewer rows than were asked for are all that there are.
        for summary in
            own.iter_mut().filter(|summary| args.max.is_some_and(|max| summary.ledger.reached() < max))
        {
            summary.inference = Inference::Census;
        }
    }
    own.iter_mut().for_each(Summary::close);
    for ((file, run), summary) in files.into_iter().zip(&runs).zip(&own) {
        let all_reached = summary.ledger.not_reached() == Some(0);
        let complete = ended.error.is_none() && (ended.exit == Exit::Done || all_reached);
        match if complete { file.finish() } else { file.interrupt() } {
            Ok(note) => note.iter().for_each(|note| console.note(note)),
            Err(error) => ended.also(error.into(), *console),
        }
        if let Err(error) = rater::finish(&plan, *run, summary).await {
            ended.also(error, *console);
        }
    }
    summaries.append(&mut own);
    Ok(ended)
}

/// What the rows that come say of the dataset.
fn inference(dataset: &Dataset) -> Inference {
    match (dataset.drawn, dataset.rows) {
        (Drawn::All, _) => Inference::Census,
        (Drawn::Uniform, Some(all)) => Inference::Population(all),
        (Drawn::Head { rows }, _) => Inference::Beginning(rows),
        (Drawn::TwoStages { files, of }, _) => Inference::TwoStages { files, of },
        (Drawn::First | Drawn::Uniform, _) => Inference::Head,
    }
}

fn ended_by(end: End, signals: &Signals, console: Console) -> Ended {
    match end {
        End::Finished => Ended::with(Exit::Done),
        End::Interrupted => Ended::with(signals.exit()),
        End::QuestionLimit => {
            console.warn(&format!(
                "stopped after {SURPRISE} questions: run the same command with --yes to go on, or with --max to bound it"
            ));
            Ended::with(Exit::Budget)
        }
        End::Budget(_) => Ended::with(Exit::Budget),
        End::Failed(error) => Ended::by(error.into()),
    }
}

/// Says how the cap on money stands, and how to go on.
fn stopped_at_budget(args: &SummaryArgs, plan: &Plan, next: Money, console: Console) -> Ended {
    let cap = args.settings.rater.max_cost.unwrap_or_default();
    let state = match &plan.rater {
        Rater::Endpoint(asker) => asker.meter.state(),
        Rater::Heuristic(_) => crate::meter::State::default(),
    };
    let spent = state.spent + state.reserved;
    console.warn(&if spent == Money::ZERO {
        format!("stopped at --max-cost {cap}: one request may cost {next}; give it at least that to begin")
    } else {
        format!(
            "stopped at --max-cost {cap}: {spent} is spent, attempts without a reply counted at their highest price, and the \
             next request may cost {next}; what is answered is kept: the same command goes on from here, with as much again \
             or a larger --max-cost"
        )
    });
    Ended::with(Exit::Budget)
}

fn describe(args: &SummaryArgs, dataset: &Dataset, plan: &Plan) -> String {
    let name = &dataset.name;
    let of = dataset.rows.map_or(String::new(), |rows| format!(" of {rows}"));
    let how = match dataset.drawn {
        Drawn::All => "all rows".to_owned(),
        Drawn::Uniform => format!("a uniform sample, seed {}", args.seed),
        Drawn::Head { rows } => {
            format!(
                "a uniform sample of the first {rows} rows, seed {}; --whole draws from all of them",
                args.seed
            )
        }
        Drawn::TwoStages { files, of } => {
            format!("a sample in two stages, seed {}: {files} of {of} files by size, then rows", args.seed)
        }
        Drawn::First => "the first rows".to_owned(),
    };
    let model = plan.targets.first().map_or("", |target| target.model.as_str());
    match dataset.sampled {
        Some(rows) => format!("{name}: {rows}{of} rows ({how}), rated by {model}"),
        None => format!("{name}: rows as they come ({how}), rated by {model}"),
    }
}

/// What the run means, for its digest.
fn meaning(args: &SummaryArgs, plan: &Plan, target: usize, dataset: &Dataset) -> anyhow::Result<Meaning> {
    let each = &plan.targets[target];
    let sampling = args.settings.rater.sampling()?;
    let sampling = json!({
        "temperature": sampling.temperature,
        "model_seed": sampling.model_seed,
        "reasoning_effort": sampling.reasoning_effort,
        // By its digest: it may hold what a gateway takes for a key.
        "extra_body": Digest::of(&sampling.extra_body.into()).to_string(),
    });
    let lines = json!({"id": args.id, "fields": args.fields, "keep": args.keep});
    let object = |value: serde_json::Value| value.as_object().cloned().unwrap_or_default();
    let limits = plan.limits;
    Ok(Meaning {
        command: "summary".to_owned(),
        dataset: match (&dataset.hub, Path::new(&dataset.name).file_name()) {
            (None, Some(name)) => name.to_string_lossy().into_owned(),
            _ => dataset.name.clone(),
        },
        config: args.source.config.clone(),
        revision: dataset.revision.clone(),
        split: args.source.split.clone(),
        columns: list(&args.columns),
        drawn: match dataset.drawn {
            // What the sample itself says.
            Drawn::All | Drawn::First | Drawn::Uniform => None,
            Drawn::TwoStages { files, of } => Some(format!("{files} of {of} files")),
            Drawn::Head { rows } => Some(format!("of the first {rows} rows")),
        },
        sample: sample(args),
        lens: each.lens.name.clone(),
        lens_digest: rater::lens_digest(&each.lens).to_string(),
        model: each.model.clone(),
        version: each.version,
        sampling: object(sampling),
        chunks: [limits.tokens_per_chunk, limits.chunks_per_doc, limits.max_search_distance],
        lines: object(lines),
    })
}

/// The rated columns that lines copy.
pub(super) fn fields_of(args: &SummaryArgs, columns: &[String]) -> anyhow::Result<Fields> {
    let all = columns.iter().cloned().enumerate();
    let rated = match args.fields.as_deref() {
        None => all.collect(),
        Some("none") => Vec::new(),
        Some(chosen) => {
            let chosen = list(chosen);
            if let Some(unknown) = chosen.iter().find(|name| !columns.contains(name)) {
                return Err(usage(format!(
                    "--fields `{unknown}` is not a rated column ({}); other columns are copied with --keep",
                    columns.join(", ")
                )));
            }
            all.filter(|(_, name)| chosen.contains(name)).collect()
        }
    };
    Ok(Fields { rated })
}
