//! `classified summary`: rate a sample of each dataset through each lens, and say how good it is.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use futures::StreamExt;
use serde_json::json;

use super::exit::{Exit, usage};
use super::rater::{self, Cuts, Raters};
use super::settings::{ChunkArgs, DataArgs, LensArgs, OutputArgs, RaterArgs, StoreArgs};
use super::signals::{Signal, Signals};
use crate::console::{Console, tables};
use crate::dataset::{self, Dataset};
use crate::export::jsonl::{Fields, Lines};
use crate::export::{self, summary_csv};
use crate::lens::Lens;
use crate::rate::{self, End, Event, Plan};
use crate::rating::Fate;
use crate::rating::run::{Meaning, Take};
use crate::rating::summary::{Inference, Summary};
use crate::report;

/// Questions to an endpoint elsewhere that a run without a bound may ask unasked.
const SURPRISE: u64 = 10_000;

/// Rate datasets through lenses, and tell how good they are, how sure that is and what it cost
#[derive(Debug, Args)]
pub(super) struct SummaryArgs {
    /// Datasets: paths of parquet or JSONL files, separated by commas
    dataset: String,
    /// Columns of the data, separated by commas, in the order of the lenses' input fields
    columns: String,
    /// Lenses, separated by commas
    #[arg(default_value = "textbook_quality")]
    lenses: String,
    /// Rows to rate of each dataset, drawn at random [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// How --max takes rows: a uniform sample, or the first ones
    #[arg(long, default_value = "random", value_name = "HOW")]
    sample: HowToSample,
    /// Seed of the sample; the same seed draws the same rows on every machine
    #[arg(long, default_value_t = 42, value_name = "N")]
    seed: u64,
    /// Split of the dataset
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Version of the ratings; a new number rates again what is rated already
    #[arg(long, default_value_t = 1, value_name = "N")]
    version: u32,
    /// Read rows as they come instead of downloading first; local files are always read so
    #[arg(long)]
    stream: bool,
    /// Column that holds the rows' ids [default: FILE#ROW]
    #[arg(long, value_name = "COLUMN")]
    id: Option<String>,
    /// Rated columns that the JSONL copies, separated by commas, or `none` [default: all of them]
    #[arg(long, value_name = "COLUMNS")]
    fields: Option<String>,
    /// Further columns that the JSONL copies, separated by commas
    #[arg(long, value_name = "COLUMNS")]
    keep: Option<String>,
    /// Share of failed rows above which the exit code is 3
    #[arg(long, default_value = "1%", value_name = "SHARE", value_parser = percent)]
    fail_above: f64,
    /// Ask more than 10,000 questions of an endpoint that is not on this machine, without --max
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    rater: RaterArgs,
    #[command(flatten)]
    chunks: ChunkArgs,
    #[command(flatten)]
    lens: LensArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HowToSample {
    Random,
    First,
}

/// Rates, exports, and shows what came of it.
pub(super) async fn run(args: SummaryArgs) -> anyhow::Result<Exit> {
    let console = args.output.console();
    let columns = list(&args.columns);
    let lenses = rater::open_lenses(&list(&args.lenses), &args.lens, &columns)?;
    let raters = Raters::open(&args.rater, &args.store, &lenses, &console).await?;
    raters.tell_of_older_texts(&lenses, args.version, &console).await?;

    let mut datasets = Vec::new();
    for name in datasets_of(&args.dataset) {
        let dataset = open(&args, &name, &columns).await?;
        check_bill(&args, &raters, &dataset, &columns, &lenses).await?;
        datasets.push(dataset);
    }

    let mut signals = Signals::listen()?;
    let mut summaries = Vec::new();
    let mut ended = Ended { exit: Exit::Done, error: None };
    for dataset in datasets {
        let mut plan = raters.plan(&lenses, &columns, cuts(&args))?;
        if dataset.rows.is_none() && raters.bills() && args.max.is_none() && !args.yes {
            plan.question_limit = Some(SURPRISE);
        }
        let plan = Arc::new(plan);
        ended = one(&args, &console, &mut signals, Job { plan, dataset }, &mut summaries).await?;
        if ended.exit != Exit::Done {
            break;
        }
    }
    raters.close().await;

    if ended.exit == Exit::Done {
        let failed = summaries.iter().any(|summary| summary.ledger.failed_share() > args.fail_above);
        if failed {
            ended.exit = Exit::TooManyFailed;
        }
    }
    show(console, &summaries);
    if matches!(ended.exit, Exit::Done | Exit::TooManyFailed) {
        let path = summary_csv::write(&args.data.data_dir, &summaries)?;
        console.note(&format!(
            "Summary in {}, ratings with rationales in the folders beside it.",
            path.display()
        ));
    }
    console.json(&report::json("summary", &summaries, ended.exit.code()));
    match ended.error {
        Some(error) => Err(error.into()),
        None => Ok(ended.exit),
    }
}

fn cuts(args: &SummaryArgs) -> Cuts {
    Cuts { limits: args.chunks.limits(), version: args.version }
}

/// How the rating of a dataset ended.
struct Ended {
    exit: Exit,
    error: Option<rate::Error>,
}

struct Job {
    plan: Arc<Plan>,
    dataset: Dataset,
}

/// Rates one dataset through all lenses.
async fn one(
    args: &SummaryArgs,
    console: &Console,
    signals: &mut Signals,
    Job { plan, dataset }: Job,
    summaries: &mut Vec<Summary>,
) -> anyhow::Result<Ended> {
    let rows = dataset.sampled.or(dataset.rows);
    let inference = match (args.max, args.sample, dataset.rows) {
        (Some(max), HowToSample::First, Some(all)) if max < all => Inference::Head,
        (.., Some(all)) => Inference::Population(all),
        (.., None) => Inference::Head,
    };
    let folder = export::folder(&args.data.data_dir, &dataset.name);
    let fields = fields_of(args, &plan.columns)?;
    let mut files = Vec::new();
    let mut own: Vec<Summary> = Vec::new();
    let mut runs = Vec::new();
    for (target, each) in plan.targets.iter().enumerate() {
        let meaning = meaning(args, &plan, target, &dataset.name)?;
        runs.push(rater::begin(&plan, &meaning).await?);
        files.push(Lines::create(&folder, meaning, fields.clone())?);
        own.push(Summary::new(&dataset.name, each, rows.unwrap_or(0), inference));
    }
    console.note(&describe(args, &dataset, &plan));

    let mut bar = console.bar("rating", rows.map(|rows| rows * plan.targets.len() as u64));
    let mut events = rate::rate(Arc::clone(&plan), dataset, signals.stop());
    let mut told = false;
    let mut broken = None;
    let end = loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::Rated(rating)) => {
                    let target = &plan.targets[rating.target];
                    own[rating.target].add(&rating, target);
                    if let (false, Fate::Failed(_), Some(failure)) = (told, rating.fate(), rating.failure()) {
                        told = true;
                        console.warn(&format!("{}: {failure} (further failures are in the JSONL)", rating.record.id));
                    }
                    if broken.is_none() && let Err(error) = files[rating.target].write(&rating, target) {
                        // What is in flight is paid for: it is finished and kept before the run ends.
                        broken = Some(error);
                        signals.stop_now();
                    }
                }
                Some(Event::Progress(progress)) => bar.show(&progress),
                Some(Event::End(end)) => break end,
                None => anyhow::bail!("the rating ended without a word: this is a fault of the program, please report it"),
            },
            signal = signals.next() => match signal {
                Signal::First => console.note("stopping: what is in flight is finished; once more to stop at once"),
                Signal::Again(exit) => return Ok(Ended { exit, error: None }),
            },
        }
    };
    if let Some(error) = broken {
        return Err(error.into());
    }
    bar.finish();

    rater::settle(&plan, &mut own);
    own.iter_mut().for_each(Summary::close);
    let (exit, error) = match end {
        End::Finished => (Exit::Done, None),
        End::Interrupted => (signals.exit(), None),
        End::QuestionLimit => {
            console.warn(&format!("stopped after {SURPRISE} questions: run the same command with --yes to go on, or with --max to bound it"));
            (Exit::Budget, None)
        }
        End::Failed(error) => (Exit::CannotGoOn, Some(error)),
    };
    for ((file, run), summary) in files.into_iter().zip(&runs).zip(&own) {
        if exit == Exit::Done {
            let placed = file.finish()?;
            if let Some(aside) = placed.aside {
                console.note(&format!(
                    "{} was written by another run: it is now {}",
                    placed.path.display(),
                    aside.display()
                ));
            }
        } else {
            let part = file.interrupt()?;
            console
                .note(&format!("unfinished: {}; the same command continues from the store", part.display()));
        }
        rater::finish(&plan, *run, summary).await?;
    }
    summaries.append(&mut own);
    Ok(Ended { exit, error })
}

/// The tables, where every row went, what it cost, what the figures stand for.
fn show(console: Console, summaries: &[Summary]) {
    if summaries.is_empty() {
        return;
    }
    let mut text = tables::summary(summaries);
    text.push('\n');
    for (nth, summary) in summaries.iter().enumerate() {
        let name = format!("{} · {} · {}", summary.dataset, summary.lens, summary.model);
        let _ = write!(text, "\n{}\n  {}", crate::console::plain(&name), summary.ledger);
        let usage = &summary.usage;
        if usage.input + usage.output > 0 {
            let cost =
                usage.cost.map_or("cost unknown (no price for this model: --price)".to_owned(), |cost| {
                    format!("${cost:.4}")
                });
            let _ = write!(text, "\n  {} tokens in, {} out: {cost}", usage.input, usage.output);
        }
        // Once per dataset: it is the same for all its lenses.
        if summaries.get(nth + 1).is_none_or(|next| next.dataset != summary.dataset) {
            let _ = write!(text, "\n  {}", tables::inference(summary));
        }
    }
    console.result(&text);
}

fn describe(args: &SummaryArgs, dataset: &Dataset, plan: &Plan) -> String {
    let name = &dataset.name;
    let of = dataset.rows.map_or(String::new(), |rows| format!(" of {rows}"));
    let how = match (args.max, args.sample) {
        (None, _) => "all rows".to_owned(),
        (Some(_), HowToSample::Random) => format!("a uniform sample, seed {}", args.seed),
        (Some(_), HowToSample::First) => "the first rows".to_owned(),
    };
    let model = plan.targets.first().map_or("", |target| target.model.as_str());
    match dataset.sampled {
        Some(rows) => format!("{name}: {rows}{of} rows ({how}), rated by {model}"),
        None => format!("{name}: rows as they come ({how}), rated by {model}"),
    }
}

async fn open(args: &SummaryArgs, name: &str, columns: &[String]) -> anyhow::Result<Dataset> {
    let request = dataset::Request {
        name: name.to_owned(),
        columns: columns.to_vec(),
        keep: args.keep.as_deref().map(list).unwrap_or_default(),
        id: args.id.clone(),
        split: args.split.clone(),
        sample: match (args.max, args.sample) {
            (None, _) => dataset::Sample::All,
            (Some(rows), HowToSample::Random) => dataset::Sample::Random { rows, seed: args.seed },
            (Some(rows), HowToSample::First) => dataset::Sample::First { rows },
        },
    };
    Ok(dataset::open(request).await?)
}

/// No surprise bill: a run without a bound says first how much it would ask of somebody else's endpoint.
async fn check_bill(
    args: &SummaryArgs,
    raters: &Raters,
    dataset: &Dataset,
    columns: &[String],
    lenses: &[Arc<Lens>],
) -> anyhow::Result<()> {
    let Some(rows) = dataset.rows else { return Ok(()) };
    let most = rows * lenses.len() as u64 * args.chunks.chunks_per_doc.get() as u64;
    if args.yes || args.max.is_some() || !raters.bills() || most <= SURPRISE {
        return Ok(());
    }
    let plan = Arc::new(raters.plan(lenses, columns, cuts(args))?);
    let forecast = rate::forecast(plan, open(args, &dataset.name, columns).await?, SURPRISE).await?;
    if forecast.questions <= SURPRISE {
        return Ok(());
    }
    let scale = rows as f64 / forecast.rows.max(1) as f64;
    let about = if forecast.rows == rows { "" } else { "about " };
    let questions = (forecast.questions as f64 * scale).round();
    let tokens = (forecast.tokens as f64 * scale).round();
    Err(usage(format!(
        "{}: this would ask {about}{questions} questions with {about}{tokens} tokens of {}; \
         say --yes to do it, or bound it with --max N (a random sample of 1,000 rows tells much)",
        dataset.name,
        raters.model()
    )))
}

/// What the run means, for its digest.
fn meaning(args: &SummaryArgs, plan: &Plan, target: usize, dataset: &str) -> anyhow::Result<Meaning> {
    let each = &plan.targets[target];
    let sampling = args.rater.sampling()?;
    let sampling = json!({
        "temperature": sampling.temperature,
        "model_seed": sampling.model_seed,
        "reasoning_effort": sampling.reasoning_effort,
        "extra_body": sampling.extra_body,
    });
    let lines = json!({"id": args.id, "fields": args.fields, "keep": args.keep});
    let object = |value: serde_json::Value| value.as_object().cloned().unwrap_or_default();
    let limits = plan.limits;
    Ok(Meaning {
        command: "summary".to_owned(),
        dataset: Path::new(dataset)
            .file_name()
            .map_or_else(|| dataset.to_owned(), |name| name.to_string_lossy().into_owned()),
        split: args.split.clone(),
        columns: plan.columns.clone(),
        take: match (args.max, args.sample) {
            (None, _) => Take::All,
            (Some(rows), HowToSample::Random) => Take::Random { rows, seed: args.seed },
            (Some(rows), HowToSample::First) => Take::First { rows },
        },
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
fn fields_of(args: &SummaryArgs, columns: &[String]) -> anyhow::Result<Fields> {
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

/// The datasets of the argument; a path that exists wins over its commas.
fn datasets_of(text: &str) -> Vec<String> {
    if Path::new(text).exists() { vec![text.to_owned()] } else { list(text) }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// A share written with its sign: `1%`.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').ok_or("write a share with its sign, such as 1%")?;
    let number: f64 = number.trim().parse().map_err(|_| "write a share such as 1%".to_owned())?;
    if (0.0..=100.0).contains(&number) {
        Ok(number / 100.0)
    } else {
        Err("a share is between 0% and 100%".to_owned())
    }
}
