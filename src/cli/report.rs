//! `classified report`: how datasets were over time, by the runs in the store.

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{Exit, usage};
use super::settings::{OutputArgs, StoreArgs};
use crate::console::{plain, tables};
use crate::endpoint::Day;
use crate::rating::run::{Outcome, Run};
use crate::report::{self, Change, LEVEL, Point, Report, Series};
use crate::store::{self, Access, Store};

const AFTER_HELP: &str = "\
Examples:
  classified report
  classified report --since 30d -o report.html
  classified report --dataset textbooks.parquet --alert-drop --quiet

A run is compared with the last complete one before it of the same dataset, config, split, lens, model and version: by Welch's
t-test, one-sided, its rows taken for a sample of what makes the data. Runs that asked something else, or of rows that were
chosen otherwise, are shown and not compared; of the same data again what was said of it stands, the alert too.

Exit codes: 0 done, 1 cannot go on, 2 usage, 5 with --alert-drop: a last run dropped by more than noise.";

/// Show how datasets were over time: means, what changed, failures, costs
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ReportArgs {
    /// Only this dataset
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Only this lens
    #[arg(long, value_name = "NAME")]
    lens: Option<String>,
    /// Only runs that began in the last days (30d), weeks (2w) or hours (12h), or since a date (2026-11-01, UTC)
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// Write it to a file: a page (.html), Markdown (.md), a row a run (.csv), or .json
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// End with exit code 5 if the last run of a series is worse than the one before it by more than noise
    #[arg(long)]
    alert_drop: bool,
    /// How rarely chance may give such a change: the level of the test
    #[arg(long, default_value = "1%", value_name = "SHARE", value_parser = level)]
    alert_level: f64,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    shown: OutputArgs,
}

/// Since when runs are wanted, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    /// So long before now.
    Ago(i64),
    /// After 1970.
    Time(i64),
}

/// The forms of a report, by the end of a file's name.
#[derive(Debug, Clone, Copy)]
enum Form {
    Html,
    Markdown,
    Csv,
    Json,
}

/// Reads the runs, compares them, shows or writes what there is.
pub(super) async fn run(args: ReportArgs) -> anyhow::Result<Exit> {
    let console = args.shown.console();
    let form = args.output.as_deref().map(form_of).transpose()?;
    let store = open(&args.store).await?;
    if store.access == Access::Old {
        console.warn(&format!(
            "the database {} is of an earlier version of the program and cannot be written: what that did not record is missing",
            store.path.display()
        ));
    }
    let mut known = store.runs().await?;
    known.runs = chosen(&args, known.runs)?;
    let now = store::now();
    let mut report = Report::new(known.runs, args.alert_level, now);
    report.unreadable = known.unreadable;
    if let Some(since) = args.since {
        report.since(match since {
            Since::Ago(span) => now.saturating_sub(span),
            Since::Time(time) => time,
        });
    }
    if let Some(Form::Html) = form {
        add_excerpts(&store, &mut report).await?;
    }
    store.close().await?;
    if report.unreadable > 0 {
        console.warn(&report::unreadable(report.unreadable));
    }
    if report.series.is_empty() {
        let when = if args.since.is_some() { " in this period" } else { "" };
        if args.alert_drop {
            // Silence would be taken for good news.
            console.alert(&format!("no run is recorded{when}: nothing to compare"));
        } else {
            console.note(&format!("no run is recorded{when}: the report is empty"));
        }
    }

    match (&args.output, form) {
        (Some(path), Some(form)) => {
            report::write(path, &content(&report, form)?)?;
            console.note(&format!("report in {}", path.display()));
        }
        _ if report.series.is_empty() => {}
        _ => console.result(&table(&report))?,
    }
    console.json(&report::json::report(&report))?;
    let mut exit = Exit::Done;
    for (series, with, comparison) in report.drops().filter(|_| args.alert_drop) {
        console.alert(&format!("{} dropped: {}", series.key, report::describe(with, comparison)));
        exit = Exit::Alert;
    }
    Ok(exit)
}

/// The store of a command that only looks: a name that was mistyped must not become a new database.
async fn open(args: &StoreArgs) -> anyhow::Result<Store> {
    let url = args.url()?;
    let path = store::path_of(&url)?;
    if !path.exists() {
        return Err(usage(format!(
            "there is no database {}: nothing was rated yet, or DATABASE_URL names another",
            path.display()
        )));
    }
    Ok(Store::look(&url).await?)
}

/// The runs that were asked for. A dataset of this machine also goes by its path.
fn chosen(args: &ReportArgs, mut runs: Vec<Run>) -> anyhow::Result<Vec<Run>> {
    let (datasets, lenses) = report::names(&runs);
    let last = |name: &str| Path::new(name).file_name().map(|name| name.to_string_lossy().into_owned());
    let dataset = match &args.dataset {
        Some(name) if !datasets.contains(&name.as_str()) => {
            let part = last(name).filter(|part| datasets.contains(&part.as_str()));
            Some(part.ok_or_else(|| unknown("dataset", name, &datasets))?)
        }
        name => name.clone(),
    };
    if let Some(name) = args.lens.as_deref().filter(|name| !lenses.contains(name)) {
        return Err(unknown("lens", name, &lenses));
    }
    runs.retain(|run| {
        dataset.as_ref().is_none_or(|name| run.meaning.dataset == *name)
            && args.lens.as_ref().is_none_or(|name| run.meaning.lens == *name)
    });
    Ok(runs)
}

fn unknown(what: &str, name: &str, known: &[&str]) -> anyhow::Error {
    const SHOWN: usize = 20;
    let mut list: Vec<String> = known.iter().take(SHOWN).map(|name| (*name).to_owned()).collect();
    if known.len() > SHOWN {
        list.push(format!("{} more", known.len() - SHOWN));
    }
    let list = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    usage(format!("no run of {what} `{name}` is recorded; there are: {list}"))
}

/// Fetches the rows to look at: those of the last run of each series that has any.
async fn add_excerpts(store: &Store, report: &mut Report) -> anyhow::Result<()> {
    if store.access == Access::Old {
        return Ok(());
    }
    for Series { points, .. } in &mut report.series {
        for Point { run, .. } in points.iter_mut().rev().filter(|point| point.run.outcome.is_some()) {
            if let Some(id) = run.id {
                run.excerpts = store.excerpts(id).await?;
            }
            if !run.excerpts.is_empty() {
                break;
            }
        }
    }
    Ok(())
}

fn form_of(path: &Path) -> anyhow::Result<Form> {
    let end = path.extension().map(|end| end.to_string_lossy().to_lowercase());
    let form = match end.as_deref() {
        Some("html" | "htm") => Form::Html,
        Some("md" | "markdown") => Form::Markdown,
        Some("csv") => Form::Csv,
        Some("json") => Form::Json,
        _ => {
            let path = path.display();
            return Err(usage(format!(
                "the report {path} is of no form that is written: .html, .md, .csv or .json"
            )));
        }
    };
    check_folder(path)?;
    Ok(form)
}

/// Says at once what would be an error after a long run: a file that cannot become a page.
pub(super) fn check_file(path: &Path) -> anyhow::Result<()> {
    match form_of(path)? {
        Form::Html => Ok(()),
        _ => Err(usage(format!("--report {} writes a page: name a file that ends in .html", path.display()))),
    }
}

fn check_folder(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(usage(format!(
            "there is no folder {} for the report {}: make it, or name another file",
            folder.display(),
            path.display()
        )));
    }
    if path.is_dir() {
        return Err(usage(format!("{} is a folder: name a file for the report", path.display())));
    }
    Ok(())
}

fn content(report: &Report, form: Form) -> anyhow::Result<String> {
    Ok(match form {
        Form::Html => report::html::html(report)?,
        Form::Markdown => report::markdown::markdown(report),
        Form::Csv => report::csv::csv(report),
        Form::Json => format!("{:#}\n", report::json::report(report)),
    })
}

/// A row a run, and below it what the marks mean.
fn table(report: &Report) -> String {
    let mut parts = Vec::new();
    for Series { key, points } in &report.series {
        let rows = points.iter().map(|Point { run, change }| {
            let outcome = run.outcome.as_ref();
            let of = |words: fn(&Outcome) -> String| outcome.map_or("–".to_owned(), words);
            let score = of(|outcome| {
                outcome.overall().map_or("–".to_owned(), |score| report::mean(outcome, score))
            });
            let said = match change {
                // How a run ended stands beside it.
                Change::Unfinished => "not compared".to_owned(),
                change => change.to_string(),
            };
            let mut ended = report::ended(run);
            if let Some(filtered) = outcome.and_then(report::filtered) {
                ended = format!("{ended}; {filtered}");
            }
            vec![
                report::when(run.began),
                run.meaning.command.clone(),
                of(|outcome| outcome.ledger.answered().to_string()),
                of(report::failures),
                score,
                said,
                of(report::cost),
                ended,
            ]
        });
        let header =
            ["Began (UTC)", "Command", "Rated", "Failed", "Mean", "Beside an earlier run", "Cost", "Ended"];
        parts.push(format!(
            "{}\n{}",
            plain(&key.to_string()).replace(['\n', '\t'], " "),
            tables::list(&header, rows)
        ));
    }
    parts.push(format!(
        "±: half of the 95 % interval of the mean, the rows of a run taken for a sample of what makes the data.\n▼ ▲: chance \
         gives such a change less often than {} % of the time (Welch's t-test, one-sided).",
        report.level * 100.0
    ));
    parts.join("\n\n")
}

/// `30d`, `2w`, `12h`, or the day `2026-11-01`.
fn since(text: &str) -> Result<Since, String> {
    const HOUR: i64 = 3_600_000;
    let expected = "expected a number with its unit (30d, 2w or 12h), or a date (2026-11-01)";
    let text = text.trim();
    if let Some(day) = Day::parse(text) {
        // What follows a date, and a 31st of November, would be taken for something else.
        let is_same = day.to_string() == text;
        return is_same.then(|| Since::Time(day.millis())).ok_or_else(|| expected.to_owned());
    }
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(expected)?;
    let unit = match unit {
        "h" => HOUR,
        "d" => 24 * HOUR,
        "w" => 7 * 24 * HOUR,
        _ => return Err(expected.to_owned()),
    };
    let number: u32 = number.trim().parse().map_err(|_| expected.to_owned())?;
    Ok(Since::Ago(i64::from(number) * unit))
}

/// A share above 0 and below one half.
fn level(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').ok_or("write a share with its sign, such as 1%")?;
    let number: f64 = number.trim().parse().map_err(|_| "write a share such as 1%".to_owned())?;
    if number > 0.0 && number < 50.0 {
        Ok(number / 100.0)
    } else {
        Err(format!("a level is above 0% and below 50%; usual are {}%, 5% and 0.1%", LEVEL * 100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_a_number_and_a_unit_or_is_a_date() {
        assert_eq!(since("30d"), Ok(Since::Ago(2_592_000_000)));
        assert_eq!(since("2w"), since("14d"));
        assert_eq!(since("12h"), Ok(Since::Ago(43_200_000)));
        assert_eq!(since("2026-11-22"), Ok(Since::Time(1_795_305_600_000)));
        for wrong in [
            "",
            "d",
            "30",
            "-1d",
            "1y",
            "é",
            "1.5d",
            "99999999999d",
            "2026-11-31",
            "2026-11-01x",
            "2026-13-01",
        ] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_level_is_a_share_below_one_half() {
        assert_eq!(level("5%"), Ok(0.05));
        for wrong in ["0%", "50%", "1", "NaN%", "-1%"] {
            assert!(level(wrong).is_err(), "{wrong}");
        }
    }
}
