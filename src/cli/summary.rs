//! `classified summary`: rate a sample of each dataset through each lens, and say how good it is.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use clap::{Args, ValueEnum};
use futures::StreamExt;
use serde_json::json;

use super::bill::{SURPRISE, Unbounded};
use super::exit::{Exit, usage};
use super::rater::{self, Cuts, Raters};
use super::settings::Settings;
use super::signals::{Signal, Signals};
use super::source::{self, SourceArgs};
use crate::console::{self, Console, tables};
use crate::dataset::{self, Dataset, Drawn, Found, Reach, Request, Shape};
use crate::export::jsonl::{Fields, Lines};
use crate::export::{self, summary_csv};
use crate::rate::{self, End, Event, Plan};
use crate::rating::Fate;
use crate::rating::question::Digest;
use crate::rating::run::{Meaning, Sample};
use crate::rating::summary::{Inference, Part, Summary};
use crate::report;

const AFTER_HELP: &str = "\
Examples:
  classified summary data/textbooks.parquet markdown textbook_quality --max 25 --model heuristic
  classified summary rows.jsonl instruction,output instruction_following --max 1000
  classified summary vikp/textbooks markdown textbook_quality --max 25 --stream

The key is taken from OPENAI_API_KEY (or OPENAI_KEY), in the environment or in local.env; a server of your own,
named by --base-url, needs none. `classified settings` shows every setting and where its value comes from.

Exit codes: 0 done, 1 cannot go on, 2 usage, 3 more rows failed than --fail-above, 4 stopped at a bound,
75 another run writes the same file, 130 interrupted, 143 terminated. After 1, 3, 4, 130 and 143 the same command
goes on from what is kept.";

/// Rate datasets through lenses, and tell how good they are, how sure that is and what it cost
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct SummaryArgs {
    /// Datasets, separated by commas: files, folders, `-` for JSON lines on stdin, or names at the Hugging Face Hub
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
    /// Version of the ratings; a new number rates again what is rated already
    #[arg(long, default_value_t = 1, value_name = "N")]
    version: u32,
    #[command(flatten)]
    source: SourceArgs,
    /// Read a stream of unknown length to its end for a random sample, instead of its first 10,000 rows or 64 MiB
    #[arg(long)]
    whole: bool,
    /// Files that a random sample of streamed parquet looks into; of more files this many are drawn by their size
    #[arg(long, default_value_t = dataset::MAX_FILES, value_name = "N", value_parser = max_files)]
    max_files: usize,
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
    settings: Settings,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HowToSample {
    Random,
    First,
}

/// Rates, exports, and shows what came of it.
pub(super) async fn run(args: SummaryArgs) -> anyhow::Result<Exit> {
    args.settings.log.begin()?;
    let console = args.settings.output.console();
    let columns = list(&args.columns);
    // What the user can mend is told before anything is read, opened or asked.
    args.settings.rater.check()?;
    let (lenses, shape) = rater::open_lenses(&list(&args.lenses), &args.settings.lens, &columns)?;
    // What the rows' fields are called: two of one column of messages have the lens's own names.
    let fields = match (shape, lenses.first()) {
        (Shape::Conversation, Some(lens)) => lens.fields.clone(),
        _ => columns.clone(),
    };
    fields_of(&args, &fields)?;
    let names = datasets_of(&args.dataset);
    if names.is_empty() {
        return Err(usage("the dataset is empty: name a file, a folder or a dataset at the Hub"));
    }
    let request = request(&args, &columns, shape, console)?;
    let mut found = Vec::new();
    for name in &names {
        found.push(dataset::find(Request { name: name.clone(), ..request.clone() }).await?);
    }
    let datasets = open_all(&found).await?;
    let raters = Raters::open(&args.settings.rater, &args.settings.store, &lenses, &console).await?;
    raters.tell_of_older_texts(&lenses, args.version, &console).await?;
    let bounded = args.yes || args.max.is_some();
    let unbounded = Unbounded { raters: &raters, lenses: &lenses, columns: &fields, cuts: cuts(&args) };
    if !bounded && unbounded.may_surprise(&datasets) {
        unbounded.check(open_all(&found).await?, console).await?;
    }

    // Where nobody knows how many questions there will be, all datasets together share the bound.
    let is_open = datasets.iter().any(|dataset| dataset.sampled.is_none());
    let left = (!bounded && is_open && raters.bills()).then(|| Arc::new(AtomicU64::new(SURPRISE)));

    let mut signals = Signals::listen()?;
    let mut summaries = Vec::new();
    let mut ended = Ended::with(Exit::Done);
    for dataset in datasets {
        let mut plan = raters.plan(&lenses, &fields, cuts(&args))?;
        plan.questions_left = left.clone();
        let job = Job { plan: Arc::new(plan), dataset };
        ended = one(&args, &console, &mut signals, job, &mut summaries).await.unwrap_or_else(Ended::by);
        if ended.exit != Exit::Done {
            break;
        }
    }
    // After a second signal nothing is waited for.
    if !ended.at_once
        && let Err(error) = raters.close().await
    {
        ended.also(error, console);
    }

    let mut shown = show(console, &summaries);
    let complete: Vec<Summary> =
        summaries.iter().filter(|summary| summary.ledger.not_reached() == Some(0)).cloned().collect();
    if !complete.is_empty() {
        match summary_csv::write(&args.settings.data.data_dir, &complete) {
            Ok(path) => {
                console.note(&format!("summary in {}, ratings in the folders beside it", path.display()));
            }
            Err(error) => ended.also(error.into(), console),
        }
    }
    let worst = summaries.iter().map(|summary| summary.ledger.failed_share()).fold(0.0, f64::max);
    if ended.exit == Exit::Done && worst > args.fail_above {
        console.warn(&format!(
            "{:.1} % of the rows failed, more than --fail-above {:.1} %: exit code 3; they are asked again next time",
            worst * 100.0,
            args.fail_above * 100.0
        ));
        ended.exit = Exit::TooManyFailed;
    }
    shown = shown.and(console.json(&report::json("summary", &summaries, ended.exit.code())));
    match ended.error {
        Some(error) => Err(error),
        None => shown.map(|()| ended.exit).map_err(Into::into),
    }
}

/// How the rating of a dataset ended.
struct Ended {
    exit: Exit,
    error: Option<anyhow::Error>,
    /// A second signal came: nothing is waited for.
    at_once: bool,
}

impl Ended {
    fn with(exit: Exit) -> Self {
        Self { exit, error: None, at_once: false }
    }

    fn by(error: anyhow::Error) -> Self {
        Self { exit: Exit::of(&error), error: Some(error), at_once: false }
    }

    /// Takes in an error that came later: the first one ends the program, a later one is told.
    fn also(&mut self, error: anyhow::Error, console: Console) {
        if self.error.is_none() {
            *self = Self::by(error);
        } else {
            console.warn(&error.to_string());
        }
    }
}

struct Job {
    plan: Arc<Plan>,
    dataset: Dataset,
}

fn sample(args: &SummaryArgs) -> Sample {
    match (args.max, args.sample) {
        (None, _) => Sample::All,
        (Some(rows), HowToSample::Random) => Sample::Random { rows, seed: args.seed },
        (Some(rows), HowToSample::First) => Sample::First { rows },
    }
}

fn cuts(args: &SummaryArgs) -> Cuts {
    Cuts { limits: args.settings.chunks.limits(), version: args.version }
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
    let inference = match (dataset.drawn, dataset.rows) {
        (Drawn::All, _) => Inference::Census,
        (Drawn::Uniform, Some(all)) => Inference::Population(all),
        (Drawn::Head { rows }, _) => Inference::Beginning(rows),
        (Drawn::TwoStages { files, of }, _) => Inference::TwoStages { files, of },
        (Drawn::First | Drawn::Uniform, _) => Inference::Head,
    };
    let hub = dataset.hub.clone();
    let is_counted = rows.is_some();
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
                Some(Event::End(end)) => {
                    if ended.error.is_none() {
                        ended = ended_by(end, signals, *console);
                    }
                    break;
                }
                None => anyhow::bail!("the rating ended without a word: this is a fault of the program, please report it"),
            },
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
    if !is_counted && ended.error.is_none() && ended.exit == Exit::Done {
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
        End::Budget => {
            console.warn("stopped at --max-cost: the same command with a larger one goes on");
            Ended::with(Exit::Budget)
        }
        End::Failed(error) => Ended::by(error.into()),
    }
}

/// The tables, where every row went, what it cost, what the figures stand for.
fn show(console: Console, summaries: &[Summary]) -> Result<(), console::Error> {
    if summaries.is_empty() {
        return Ok(());
    }
    let mut text = tables::summary(summaries);
    text.push('\n');
    for (nth, summary) in summaries.iter().enumerate() {
        let name = format!("{} · {} · {}", summary.dataset, summary.lens, summary.model);
        let _ = write!(text, "\n{}\n  {}", crate::console::plain(&name), summary.ledger);
        let usage = &summary.usage;
        if usage.input + usage.output > 0 || usage.cost.is_none() || summary.unsettled > 0 {
            let cost = match usage.cost {
                Some(cost) => format!("${cost:.4}"),
                None => {
                    "cost unknown: no price for this model (--price), or no usage in its replies".to_owned()
                }
            };
            let _ = write!(text, "\n  {} tokens in, {} out: {cost}", usage.input, usage.output);
        }
        if summary.unsettled > 0 {
            let _ =
                write!(text, "; {} attempts ended without a reply and may be billed too", summary.unsettled);
        }
        // Once per dataset: it is the same for all its lenses.
        if summaries.get(nth + 1).is_none_or(|next| next.dataset != summary.dataset) {
            let _ = write!(text, "\n  {}", tables::inference(summary));
        }
    }
    console.result(&text)
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

/// What is asked of every dataset of the command.
fn request(
    args: &SummaryArgs,
    columns: &[String],
    shape: Shape,
    console: Console,
) -> anyhow::Result<Request> {
    let request = args.source.request(columns.to_vec(), console)?;
    Ok(Request {
        shape,
        keep: args.keep.as_deref().map(list).unwrap_or_default(),
        id: args.id.clone(),
        sample: sample(args),
        max_files: args.max_files,
        reach: if args.whole { Reach::Whole } else { Reach::Head },
        ..request
    })
}

/// Opens the datasets: files on this machine are read once, to count their rows.
async fn open_all(found: &[Found]) -> anyhow::Result<Vec<Dataset>> {
    let mut datasets = Vec::new();
    for found in found {
        datasets.push(found.open().await?);
    }
    Ok(datasets)
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

/// The datasets of the argument, each once; a path that exists wins over its commas.
fn datasets_of(text: &str) -> Vec<String> {
    let mut names = if Path::new(text).exists() { vec![text.to_owned()] } else { list(text) };
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// A number of files, two at least.
fn max_files(text: &str) -> Result<usize, String> {
    let files: usize = text.parse().map_err(|_| "expected a number of files".to_owned())?;
    if files < 2 {
        Err("a sample of files takes two of them: one says nothing of the others".to_owned())
    } else {
        Ok(files)
    }
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
