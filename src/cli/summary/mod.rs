//! `classified summary`: rate a sample of each dataset through each lens, and say how good it is.

mod one;
mod show;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use clap::{Args, ValueEnum};

use super::bill::{SURPRISE, Unbounded};
use super::dry_run::{self, DryRun};
use super::exit::{Exit, usage};
use super::rater::{self, Cuts, Raters};
use super::settings::Settings;
use super::signals::{Signal, Signals};
use super::source::SourceArgs;
use crate::console::Console;
use crate::dataset::{self, Dataset, Found, Reach, Request, Shape};
use crate::export::summary_csv;
use crate::rating::run::Sample;
use crate::rating::summary::Summary;
use crate::report;
use one::{Ended, Job, fields_of, one};
use show::show;

const AFTER_HELP: &str = "\
Examples:
  classified summary data/textbooks.parquet markdown textbook_quality --max 25 --model heuristic
  classified summary rows.jsonl instruction,output instruction_following --max 1000
  classified summary vikp/textbooks markdown textbook_quality --max 25 --stream

The key is taken from OPENAI_API_KEY (or OPENAI_KEY), in the environment or in local.env; a server of your own,
named by --base-url, needs none. `classified settings` shows every setting and where its value comes from.

Exit codes: 0 done, 1 cannot go on, 2 usage, 3 more rows failed than --fail-above, 4 stopped at a bound such as --max-cost,
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
    /// Only show what the run would ask and cost: no request is made, no key is needed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HowToSample {
    Random,
    First,
}

/// Waits until the store is written; a second signal waits for nothing.
async fn close(raters: &Raters, signals: &mut Signals, ended: &mut Ended, console: Console) {
    let mut closing = std::pin::pin!(raters.close());
    loop {
        tokio::select! {
            closed = &mut closing => {
                return if let Err(error) = closed {
                    ended.also(error, console);
                };
            }
            signal = signals.next() => if let Signal::Again(exit) = signal {
                // What is not written yet is the history of failed attempts: answers were committed before.
                ended.exit = exit;
                return;
            },
        }
    }
}

/// Rates, exports, and shows what came of it.
pub(super) async fn run(args: SummaryArgs) -> anyhow::Result<Exit> {
    args.settings.log.begin()?;
    let console = args.settings.output.console();
    let columns = list(&args.columns);
    // What the user can mend is told before anything is read, opened or asked.
    if args.dry_run {
        args.settings.rater.check_unasked()?;
    } else {
        args.settings.rater.check()?;
    }
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
    let rater = &args.settings.rater;
    if args.dry_run {
        let raters = &Raters::open_unasked(&args.settings, &lenses, &console).await?;
        let (cuts, limits) = (cuts(&args), rater.limits());
        let dry_run = DryRun { raters, lenses: &lenses, columns: &fields, cuts, limits };
        return dry_run.run(datasets, sample(&args), console).await;
    }
    let mut signals = Signals::listen()?;
    let raters = tokio::select! {
        raters = Raters::open(&args.settings, &lenses, &console) => raters?,
        // A server that was being started goes with what is dropped here.
        _ = signals.next() => return Ok(signals.exit()),
    };
    raters.tell_of_older_texts(&lenses, args.version, &console).await?;
    let bounded = args.yes || args.max.is_some() || rater.max_cost.is_some();
    let unbounded = Unbounded { raters: &raters, lenses: &lenses, columns: &fields, cuts: cuts(&args) };
    if !bounded && unbounded.may_surprise(&datasets) {
        tokio::select! {
            checked = async { unbounded.check(open_all(&found).await?, console).await } => checked?,
            _ = signals.next() => return Ok(signals.exit()),
        }
    }

    // Where nobody knows how many questions there will be, all datasets together share the bound.
    let is_open = datasets.iter().any(|dataset| dataset.sampled.is_none());
    let left = (!bounded && is_open && raters.bills()).then(|| Arc::new(AtomicU64::new(SURPRISE)));

    let mut summaries = Vec::new();
    let mut ended = Ended::with(Exit::Done);
    for dataset in datasets {
        let mut plan = raters.plan(&lenses, &fields, cuts(&args))?;
        plan.questions_left = left.clone();
        let job = Job { plan: Arc::new(plan), dataset, raters: &raters };
        ended = one(&args, &console, &mut signals, job, &mut summaries).await.unwrap_or_else(Ended::by);
        if ended.exit != Exit::Done {
            break;
        }
    }
    // After a second signal nothing is waited for.
    if ended.at_once {
        raters.kill_server();
    } else {
        close(&raters, &mut signals, &mut ended, console).await;
    }

    if let Some(cap) = rater.max_cost.filter(|cap| raters.spent() > *cap) {
        console.warn(&format!(
            "the server says that its replies cost {}, more than --max-cost {cap}: a reply took more tokens than its request \
             allowed",
            raters.spent()
        ));
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
        sample: if args.dry_run { dry_run::sample(sample(args)) } else { sample(args) },
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
