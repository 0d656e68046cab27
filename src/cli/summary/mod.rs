//! `classified summary`: rate a sample of each dataset through each lens, and say how good it is.

mod one;
pub(super) mod show;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::dry_run::DryRun;
use super::exit::{Exit, usage};
use super::rater::{self, Raters};
use super::rating::{RatingArgs, list};
use super::session::{Ended, Session, open_all};
use crate::console::Console;
use crate::dataset::{self, Dataset, Found, Request, Shape};
use crate::export::{self, summary_csv};
use crate::rating::summary::Summary;
use crate::report::{self, Report};
use crate::store;
use one::{Results, fields_of, one};
use show::show;

const AFTER_HELP: &str = "\
Examples:
  classified summary data/textbooks.parquet markdown textbook_quality --max 25 --model heuristic
  classified summary rows.jsonl instruction,output instruction_following --max 1000
  classified summary vikp/textbooks markdown textbook_quality --max 25 --stream

The key is taken from OPENAI_API_KEY (or OPENAI_KEY), in the environment or in local.env; a server of your own,
named by --base-url, needs none. `classified settings` shows every setting and where its value comes from.

Exit codes: 0 done, 1 cannot go on, 2 usage, 3 more rows failed than --fail-above, 4 stopped at a bound such as --max-cost,
75 another run writes the same file, questions wait in batches, or the endpoint of batches is out of reach, 130 interrupted,
143 terminated. After 1, 3, 4, 75, 130 and 143 the same command goes on from what is kept.";

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
    #[command(flatten)]
    rating: RatingArgs,
    /// Rated columns that the JSONL copies, separated by commas, or `none` [default: all of them]
    #[arg(long, value_name = "COLUMNS")]
    fields: Option<String>,
    /// Further columns that the JSONL copies, separated by commas
    #[arg(long, value_name = "COLUMNS")]
    keep: Option<String>,
    /// Write a page about this run too: figures, plots, and rows to look at
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

/// Rates, exports, and shows what came of it.
pub(super) async fn run(args: SummaryArgs) -> anyhow::Result<Exit> {
    let settings = &args.rating.settings;
    settings.log.begin()?;
    let console = settings.output.console();
    let columns = list(&args.columns);
    // What the user can mend is told before anything is read, opened or asked.
    if args.rating.dry_run {
        settings.rater.check_unasked()?;
    } else {
        settings.rater.check()?;
    }
    let (lenses, shape) = rater::open_lenses(&list(&args.lenses), &settings.lens, &columns)?;
    // What the rows' fields are called: two of one column of messages have the lens's own names.
    let fields = match (shape, lenses.first()) {
        (Shape::Conversation, Some(lens)) => lens.fields.clone(),
        _ => columns.clone(),
    };
    fields_of(&args, &fields)?;
    if let Some(path) = &args.report {
        super::report::check_file(path)?;
    }
    let names = datasets_of(&args.dataset);
    if names.is_empty() {
        return Err(usage("the dataset is empty: name a file, a folder or a dataset at the Hub"));
    }
    let request = Request {
        keep: args.keep.as_deref().map(list).unwrap_or_default(),
        ..args.rating.request(&columns, shape, console)?
    };
    let mut found = Vec::new();
    for name in &names {
        found.push(dataset::find(Request { name: name.clone(), ..request.clone() }).await?);
    }
    let datasets = open_all(&found).await?;
    if args.rating.dry_run {
        let raters = &Raters::open_unasked(settings, &lenses, &console).await?;
        let (cuts, limits) = (args.rating.cuts(), settings.rater.limits());
        let dry_run = DryRun { raters, lenses: &lenses, columns: &fields, cuts, limits };
        return dry_run.run(datasets, args.rating.sample(), console).await;
    }
    let mut session =
        match Session::open(&args.rating, (&lenses, &fields), args.rating.cuts(), console).await? {
            Ok(session) => session,
            Err(exit) => return Ok(exit),
        };
    if let Some(exit) = session.bound(&found, &datasets).await? {
        return Ok(exit);
    }
    let mut results = Results::default();
    let mut ended = rate_all(&args, console, &mut session, (&found, datasets), &mut results).await;
    session.close(&mut ended).await;
    let Results { summaries, runs } = results;

    let mut shown = show(console, &summaries);
    let complete: Vec<Summary> =
        summaries.iter().filter(|summary| summary.ledger.not_reached() == Some(0)).cloned().collect();
    if !complete.is_empty() {
        match summary_csv::write(&settings.data.data_dir, &complete) {
            Ok(path) => {
                console.note(&format!("summary in {}, ratings in the folders beside it", path.display()));
            }
            Err(error) => ended.also(error.into(), console),
        }
    }
    if let Some(path) = args.report.as_deref().filter(|_| !runs.is_empty()) {
        let page = report::html::html(&Report::new(runs, report::LEVEL, store::now()));
        match page.and_then(|page| report::write(path, &page)) {
            Ok(()) => console.note(&format!("report in {}", path.display())),
            Err(error) => ended.also(error.into(), console),
        }
    }
    let worst = summaries.iter().map(|summary| summary.ledger.failed_share()).fold(0.0, f64::max);
    if ended.exit == Exit::Done && worst > args.rating.fail_above {
        console.urge(&format!(
            "{:.1} % of the rows failed, more than --fail-above {:.1} %: exit code 3; they are asked again next time",
            worst * 100.0,
            args.rating.fail_above * 100.0
        ));
        ended.exit = Exit::TooManyFailed;
    }
    let mut document = report::json::summaries("summary", &summaries, ended.exit.code());
    document["waiting"] = json!(ended.waiting);
    shown = shown.and(console.json(&document));
    match ended.error {
        Some(error) => Err(error),
        None => shown.map(|()| ended.exit).map_err(Into::into),
    }
}

/// Rates the datasets one after the other, by batches first where that is wished.
async fn rate_all(
    args: &SummaryArgs,
    console: Console,
    session: &mut Session<'_>,
    (found, datasets): (&[Found], Vec<Dataset>),
    results: &mut Results,
) -> Ended {
    if let Err(error) = claim(args, session, &datasets) {
        return Ended::by(error.into());
    }
    let mut ended = match session.batches(found).await {
        Ok(None) => Ended::with(Exit::Done),
        // After an error or a signal nothing is told.
        Ok(Some(ended)) => return ended,
        Err(error) => return Ended::by(error),
    };
    for dataset in datasets {
        let this = one(args, console, session, dataset, results).await.unwrap_or_else(Ended::by);
        // What waits in batches keeps no other dataset from being told.
        let goes_on = this.error.is_none() && matches!(this.exit, Exit::Done | Exit::TryAgain);
        let waiting = ended.waiting + this.waiting;
        if this.exit != Exit::Done {
            ended = this;
        }
        ended.waiting = waiting;
        if !goes_on {
            break;
        }
    }
    ended
}

/// Takes the files of ratings, before anything is handed over: a second run of the same ends at once, however long the first one
/// waits.
fn claim(args: &SummaryArgs, session: &mut Session<'_>, datasets: &[Dataset]) -> Result<(), export::Error> {
    for dataset in datasets {
        let folder = export::folder(&args.rating.settings.data.data_dir, &dataset.name);
        for lens in session.lenses {
            session.claims.take(&folder, &lens.name, "summary")?;
        }
    }
    Ok(())
}

/// The datasets of the argument, each once; a path that exists wins over its commas.
pub(super) fn datasets_of(text: &str) -> Vec<String> {
    let mut names = if Path::new(text).exists() { vec![text.to_owned()] } else { list(text) };
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}
