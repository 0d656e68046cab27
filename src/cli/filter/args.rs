//! The flags of `classified filter`, and what they mean together.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::super::exit::usage;
use super::super::rating::{RatingArgs, list};
use crate::dataset::Column;
use crate::export::shards;
use crate::filter::judge::{self, Cuts, verdicts};
use crate::rating::run::Sample;

const AFTER_HELP: &str = "\
Examples:
  classified filter vikp/textbooks markdown textbook_quality --min 2.5 -o out/
  classified filter corpus/ text textbook_quality,learning_value -o out/ \\
      --where \"textbook_quality >= 2.5 and learning_value_factual >= 2 and row.lang == 'en'\"
  classified filter corpus/ text textbook_quality --top 10% -o out/
  classified filter corpus/ text textbook_quality --first heuristic:1.5 --min 2.5 --preview
  classified filter corpus/ text textbook_quality --scores-only -o scores.parquet
  classified filter corpus/ --scores scores.parquet --min 2.75 -o best/
  classified filter scored/ --by row.quality --min 0.8 -o best/

In --where a lens's name is its score, LENS_FIELD one of its fields, row.COLUMN (or row['any name']) a column of the
data. A row that lacks any of the values that the expression names is dropped. What is rated once is kept in the store,
so another cut costs nothing.

Exit codes: 0 done (or nothing to do), 1 cannot go on, 2 usage, 3 more rows failed than --fail-above (nothing is written
where they may be rated the next time), or any has no rating with --unrated fail (nothing is written), 4 stopped at a
bound such as --max-cost, 6 no row was kept, and nothing is written, 75 another run writes the same output,
questions wait in batches, or the endpoint of batches is out of reach, 130 interrupted, 143 terminated. After 1, 4, 75,
130 and 143 the same command goes on from what is kept.";

/// Keep the good rows: rate a dataset, and write the rows that pass to parquet or JSON lines
#[derive(Debug, Args)]
#[command(
    after_help = AFTER_HELP,
    // clap would list every setting that the environment has.
    override_usage = "classified filter [OPTIONS] <DATASET> [COLUMNS] [LENSES] --output <PATH>"
)]
pub(in crate::cli) struct FilterArgs {
    /// Dataset: a file, a folder, `-` for JSON lines on stdin, or a name at the Hugging Face Hub
    pub(super) dataset: String,
    /// Columns to rate, separated by commas, in the order of the lenses' input fields; none where nothing is to be rated
    pub(super) columns: Option<String>,
    /// Lenses, separated by commas [default: `textbook_quality`]
    pub(super) lenses: Option<String>,
    /// Folder of the kept rows, or file of the scores with --scores-only
    #[arg(long, short, value_name = "PATH", required_unless_present_any = ["preview", "dry_run"])]
    pub(super) output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) cut: CutArgs,
    /// What becomes of rows that have no rating: dropped, kept (where they can be read), or nothing is written
    #[arg(help_heading = "Output", long, default_value = "drop", value_name = "WHAT")]
    pub(super) unrated: Unrated,
    /// Let a cheaper rater go first, and ask only about rows that it does not put below a score: `heuristic:1.5`
    #[arg(help_heading = "Output", long, value_name = "RATER:SCORE", value_parser = first)]
    pub(super) first: Option<f64>,
    /// Only show how many rows would be kept, and some from both sides of the cut
    #[arg(help_heading = "Output", long, conflicts_with = "scores_only")]
    pub(super) preview: bool,
    /// Write the scores of all rows and no rows: FILE.parquet, or FILE.jsonl(.gz|.zst) with Dolma's attributes
    #[arg(help_heading = "Output", long, conflicts_with_all = ["min", "verdict", "condition", "top", "by", "scores"])]
    pub(super) scores_only: bool,
    /// Judge by the scores of such a file; nothing is rated
    #[arg(help_heading = "Output", long, value_name = "FILE", conflicts_with_all = ["columns", "first"])]
    pub(super) scores: Option<PathBuf>,
    /// Format of the kept rows
    #[arg(help_heading = "Output", long, default_value = "parquet", value_name = "FORMAT")]
    pub(super) to: To,
    /// Size at which a file of kept rows ends and the next begins
    #[arg(help_heading = "Output", long, default_value = "500MB", value_name = "SIZE", value_parser = size)]
    pub(super) shard_size: u64,
    /// Name of the score's columns, `NAME` and `int_NAME`, in place of `LENS_score` and `LENS_int_score`
    #[arg(help_heading = "Output", long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) score_name: Option<String>,
    /// Replace an output of another job, or a file of other scores; only what this program wrote is ever replaced
    #[arg(help_heading = "Output", long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) rating: RatingArgs,
}

/// Which rows are kept.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cut")]
pub(super) struct CutArgs {
    /// Keep rows whose score is at least this: every lens's, or that of --by
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    pub(super) min: Option<f64>,
    /// Keep rows of these verdicts, separated by commas: poor, low, medium, good
    #[arg(long, value_name = "VERDICTS")]
    pub(super) verdict: Option<String>,
    /// Keep rows for which this is true, in the language of the lenses' templates
    #[arg(long = "where", value_name = "EXPRESSION")]
    pub(super) condition: Option<String>,
    /// Keep the rows of the highest score: a number of rows, or a share of all, such as 10%
    #[arg(long, value_name = "ROWS", conflicts_with_all = ["min", "verdict", "condition"])]
    pub(super) top: Option<String>,
    /// What --min, --verdict and --top go by: `LENS`, `LENS_FIELD`, `row.COLUMN` or `row['any name']`
    #[arg(long, value_name = "NAME")]
    pub(super) by: Option<String>,
}

/// What becomes of rows that have no rating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Unrated {
    Drop,
    Keep,
    Fail,
}

/// Formats of kept rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum To {
    Parquet,
    Jsonl,
}

/// Where scores come from.
#[derive(Debug)]
pub(super) enum Scoring {
    /// Rows are rated.
    Rate { columns: Vec<String>, lenses: Vec<String> },
    /// A file has them.
    File(PathBuf),
    /// The dataset's own columns.
    Columns,
}

impl FilterArgs {
    /// Where scores come from; an error where the flags do not fit together.
    pub(super) fn scoring(&self) -> anyhow::Result<Scoring> {
        let cut = &self.cut;
        let cuts = cut.min.is_some() || cut.verdict.is_some() || cut.condition.is_some() || cut.top.is_some();
        if !cuts && !self.scores_only && !self.rating.dry_run {
            return Err(usage(
                "say which rows to keep: --min SCORE, --verdict good,medium, --where EXPRESSION or --top 10% (or write the \
                 scores alone with --scores-only)",
            ));
        }
        if let Some(file) = self.scores.as_ref().filter(|file| !file.exists()) {
            return Err(usage(format!("--scores: there is no file {}", file.display())));
        }
        let scoring = match (&self.columns, &self.scores) {
            (_, Some(file)) => Scoring::File(file.clone()),
            (Some(columns), None) => Scoring::Rate {
                columns: list(columns),
                lenses: list(self.lenses.as_deref().unwrap_or("textbook_quality")),
            },
            (None, None) => Scoring::Columns,
        };
        match &scoring {
            Scoring::Columns if self.scores_only || self.first.is_some() => Err(usage(
                "--scores-only and --first rate: name the columns to rate, and the lenses: classified filter DATASET COLUMNS LENSES",
            )),
            Scoring::Columns if self.rating.dry_run => Err(usage(
                "--dry-run: without COLUMNS and LENSES nothing is rated, so nothing is asked and it costs nothing",
            )),
            Scoring::Columns if cut.condition.is_none() && cut.by.is_none() => Err(usage(
                "nothing is rated without COLUMNS and LENSES: name them, or say by which column of the data rows are \
                 judged: --by row.COLUMN, or --where \"row.COLUMN >= 0.8\"; or give a file of scores with --scores",
            )),
            Scoring::File(_) if self.rating.dry_run => {
                Err(usage("--scores rates nothing: there is nothing to foresee"))
            }
            _ => Ok(scoring),
        }
    }
}

impl FilterArgs {
    /// The cut, as the judge has it.
    pub(super) fn cuts(&self) -> anyhow::Result<Cuts> {
        let flag = |name: &'static str| move |problem: String| usage(format!("{name}: {problem}"));
        let verdicts = self.cut.verdict.as_deref().map(verdicts).transpose().map_err(flag("--verdict"))?;
        let top = self.cut.top.as_deref().map(str::parse).transpose().map_err(flag("--top"))?;
        Ok(Cuts {
            min: self.cut.min,
            verdicts: verdicts.unwrap_or_default(),
            condition: self.cut.condition.clone(),
            top,
            by: self.cut.by.clone(),
            unrated: self.unrated.of_judge(),
        })
    }

    /// Whether the cut may name columns of the data.
    pub(super) fn names_columns(&self) -> bool {
        let by_row = self.cut.by.as_deref().is_some_and(|by| by.starts_with("row"));
        by_row || self.cut.condition.as_deref().is_some_and(|condition| condition.contains("row"))
    }

    /// The flags that say what is kept, each as it was given.
    pub(super) fn words_of_cut(&self) -> Vec<String> {
        let cut = &self.cut;
        let mut words = Vec::new();
        words.extend(cut.min.map(|min| format!("--min {min}")));
        words.extend(cut.verdict.as_ref().map(|verdicts| format!("--verdict {verdicts}")));
        words.extend(cut.condition.as_ref().map(|condition| format!("--where {condition}")));
        words.extend(cut.top.as_ref().map(|top| format!("--top {top}")));
        words.extend(cut.by.as_ref().map(|by| format!("--by {by}")));
        words.extend(self.first.map(|score| format!("--first heuristic:{score}")));
        if self.unrated == Unrated::Keep {
            words.push("--unrated keep".to_owned());
        }
        words
    }

    /// The flags that say which rows of the dataset are looked at, each as it was given; none where it is all of them.
    pub(super) fn words_of_sample(&self) -> Vec<String> {
        let mut words = Vec::new();
        match self.rating.sample() {
            Sample::All => {}
            Sample::Random { rows, seed } => words.push(format!("--max {rows} --seed {seed}")),
            Sample::First { rows } => words.push(format!("--max {rows} --sample first")),
        }
        words
    }

    /// The name of the output's split.
    pub(super) fn split(&self) -> String {
        self.rating.source.split.clone().unwrap_or_else(|| "train".to_owned())
    }

    /// The column that a preview shows of each row: the first that is rated, else the first of text.
    pub(super) fn shown_column(&self, columns: &[Column]) -> Option<String> {
        let rated = self.columns.as_deref().map(list).unwrap_or_default().into_iter().next();
        let text =
            || columns.iter().find(|column| column.kind.contains("string")).map(|column| column.name.clone());
        rated.or_else(text)
    }
}

impl Unrated {
    /// As the judge has it.
    pub(super) fn of_judge(self) -> judge::Unrated {
        match self {
            Self::Drop => judge::Unrated::Drop,
            Self::Keep => judge::Unrated::Keep,
            Self::Fail => judge::Unrated::Fail,
        }
    }
}

impl To {
    /// The form of the files.
    pub(super) fn of_shards(self) -> shards::To {
        match self {
            Self::Parquet => shards::To::Parquet,
            Self::Jsonl => shards::To::Jsonl,
        }
    }
}

/// `heuristic:1.5`.
fn first(text: &str) -> Result<f64, String> {
    let (rater, score) =
        text.split_once(':').ok_or("write the rater and the score, such as heuristic:1.5")?;
    if rater != "heuristic" {
        return Err(format!("`{rater}` cannot go first: the heuristic can, as in heuristic:1.5"));
    }
    match score.parse::<f64>() {
        Ok(score) if score.is_finite() => Ok(score),
        _ => Err(format!("`{score}` is no score: write a number, as in heuristic:1.5")),
    }
}

/// Bytes, with a unit of thousands: `500MB`.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" => 1_000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        unit => return Err(format!("`{unit}` is no unit: write a size such as 500MB or 2GB")),
    };
    let number: u64 = digits.trim().parse().map_err(|_| "write a size such as 500MB or 2GB".to_owned())?;
    match number.checked_mul(unit) {
        Some(bytes) if bytes >= 1_000_000 => Ok(bytes),
        Some(_) => {
            Err("a file of less than 1MB is not worth its name: write a size such as 500MB".to_owned())
        }
        None => Err("that is more than a file can hold".to_owned()),
    }
}
