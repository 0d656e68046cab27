//! Flags and sentences of the commands that rate: which rows, how they are asked about, when to stop.

use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::batching::BatchArgs;
use super::dry_run;
use super::rater::{self, Cuts};
use super::settings::Settings;
use super::source::SourceArgs;
use crate::console::Console;
use crate::dataset::{self, Dataset, Drawn, Reach, Request, Shape};
use crate::rate::Plan;
use crate::rating::Target;
use crate::rating::question::Digest;
use crate::rating::run::{Meaning, Sample};
use crate::rating::summary::{Inference, Part};

/// Which rows are rated, how they are asked about, and when to stop.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rating")]
pub(super) struct RatingArgs {
    /// Rows to rate of each dataset, drawn at random [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) max: Option<u64>,
    /// How --max takes rows: a uniform sample, or the first ones
    #[arg(long, default_value = "random", value_name = "HOW")]
    pub(super) sample: HowToSample,
    /// Seed of the sample; the same seed draws the same rows on every machine
    #[arg(long, default_value_t = 42, value_name = "N")]
    pub(super) seed: u64,
    /// Version of the ratings; a new number rates again what is rated already
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(super) version: u32,
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Read a stream of unknown length to its end for a random sample, instead of its first 10,000 rows or 64 MiB
    #[arg(long)]
    pub(super) whole: bool,
    /// Files that a random sample of streamed parquet looks into; of more files this many are drawn by their size
    #[arg(long, default_value_t = dataset::MAX_FILES, value_name = "N", value_parser = max_files)]
    pub(super) max_files: usize,
    /// Column that holds the rows' ids [default: FILE#ROW]
    #[arg(long, value_name = "COLUMN")]
    pub(super) id: Option<String>,
    /// Share of failed rows above which the exit code is 3
    #[arg(help_heading = "Rating", long, default_value = "1%", value_name = "SHARE", value_parser = percent)]
    pub(super) fail_above: f64,
    /// Ask more than 10,000 questions of an endpoint that is not on this machine, without --max
    #[arg(help_heading = "Rating", long)]
    pub(super) yes: bool,
    /// Only show what the run would ask and cost: no request is made, no key is needed
    #[arg(help_heading = "Rating", long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) batch: BatchArgs,
    #[command(flatten)]
    pub(super) settings: Settings,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum HowToSample {
    Random,
    First,
}

/// What one command means beside the flags that all share.
pub(super) struct Meant<'a> {
    /// The command's name.
    pub(super) command: &'static str,
    /// Columns of the data, as the user named them.
    pub(super) columns: &'a [String],
    /// The lens, and who rates by it.
    pub(super) target: &'a Target,
    /// What each line carries beside the rating.
    pub(super) lines: serde_json::Value,
}

impl RatingArgs {
    /// Which rows are wanted.
    pub(super) fn sample(&self) -> Sample {
        match (self.max, self.sample) {
            (None, _) => Sample::All,
            (Some(rows), HowToSample::Random) => Sample::Random { rows, seed: self.seed },
            (Some(rows), HowToSample::First) => Sample::First { rows },
        }
    }

    /// How texts are cut, and under which version the ratings are kept.
    pub(super) fn cuts(&self) -> Cuts {
        Cuts { limits: self.settings.chunks.limits(), version: self.version, first: None }
    }

    /// What is asked of every dataset of the command; it is yet to be named.
    pub(super) fn request(
        &self,
        columns: &[String],
        shape: Shape,
        console: Console,
    ) -> anyhow::Result<Request> {
        let request = self.source.request(columns.to_vec(), console)?;
        Ok(Request {
            shape,
            id: self.id.clone(),
            sample: if self.dry_run { dry_run::sample(self.sample()) } else { self.sample() },
            max_files: self.max_files,
            reach: if self.whole { Reach::Whole } else { Reach::Head },
            ..request
        })
    }

    /// Which part of the dataset was asked for.
    pub(super) fn part(&self, dataset: &Dataset) -> Part {
        Part {
            config: self.source.config.clone(),
            split: self.source.split.clone(),
            revision: dataset.revision.clone(),
        }
    }

    /// What is about to be rated, in a sentence.
    pub(super) fn describe(&self, dataset: &Dataset, plan: &Plan) -> String {
        let name = &dataset.name;
        let of = dataset.rows.map_or(String::new(), |rows| format!(" of {rows}"));
        let how = match dataset.drawn {
            Drawn::All => "all rows".to_owned(),
            Drawn::Uniform => format!("a uniform sample, seed {}", self.seed),
            Drawn::Head { rows } => {
                format!(
                    "a uniform sample of the first {rows} rows, seed {}; --whole draws from all of them",
                    self.seed
                )
            }
            Drawn::TwoStages { files, of } => {
                format!(
                    "a sample in two stages, seed {}: {files} of {of} files by size, then rows",
                    self.seed
                )
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
    pub(super) fn meaning(
        &self,
        meant: Meant<'_>,
        plan: &Plan,
        dataset: &Dataset,
    ) -> anyhow::Result<Meaning> {
        let Meant { command, columns, target: each, lines } = meant;
        let sampling = self.settings.rater.sampling()?;
        let sampling = json!({
            "temperature": sampling.temperature,
            "model_seed": sampling.model_seed,
            "reasoning_effort": sampling.reasoning_effort,
            // By its digest: it may hold what a gateway takes for a key.
            "extra_body": Digest::of(&sampling.extra_body.into()).to_string(),
        });
        let object = |value: serde_json::Value| value.as_object().cloned().unwrap_or_default();
        let limits = plan.limits;
        Ok(Meaning {
            command: command.to_owned(),
            dataset: name_of(&dataset.name, dataset.hub.is_none()),
            config: self.source.config.clone(),
            revision: dataset.revision.clone(),
            split: self.source.split.clone(),
            columns: columns.to_vec(),
            drawn: match dataset.drawn {
                // What the sample itself says.
                Drawn::All | Drawn::First | Drawn::Uniform => None,
                Drawn::TwoStages { files, of } => Some(format!("{files} of {of} files")),
                Drawn::Head { rows } => Some(format!("of the first {rows} rows")),
            },
            sample: self.sample(),
            lens: each.lens.name.clone(),
            lens_digest: rater::lens_digest(&each.lens).to_string(),
            model: each.model.clone(),
            version: each.version,
            sampling: object(sampling),
            chunks: [limits.tokens_per_chunk, limits.chunks_per_doc, limits.max_search_distance],
            lines: object(lines),
        })
    }
}

/// A dataset's name without a path of this machine.
pub(super) fn name_of(name: &str, is_here: bool) -> String {
    match Path::new(name).file_name() {
        Some(last) if is_here => last.to_string_lossy().into_owned(),
        _ => name.to_owned(),
    }
}

/// What the rows that come say of the dataset.
pub(super) fn inference(dataset: &Dataset) -> Inference {
    match (dataset.drawn, dataset.rows) {
        (Drawn::All, _) => Inference::Census,
        (Drawn::Uniform, Some(all)) => Inference::Population(all),
        (Drawn::Head { rows }, _) => Inference::Beginning(rows),
        (Drawn::TwoStages { files, of }, _) => Inference::TwoStages { files, of },
        (Drawn::First | Drawn::Uniform, _) => Inference::Head,
    }
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

/// The parts of a comma-separated argument.
pub(super) fn list(text: &str) -> Vec<String> {
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
