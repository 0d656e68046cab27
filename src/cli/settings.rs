//! Settings: flags > environment > `local.env` > defaults. Only here is the environment read.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Args, ValueEnum};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::exit::usage;
use crate::console::log::{Log, Sink};
use crate::endpoint::{self, HOSTED_URL, ReplyForm};
use crate::meter::{Limits, Workers};
use crate::model::{self, Price};
use crate::rating::question::Sampling;
use crate::{chunk, console, hub};
use tracing::Level;

/// The file of settings beside which the program is started.
pub const FILE: &str = "local.env";

/// Every setting: what a rating command takes, and what `classified settings` shows.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Who answers, and how it is asked.
    #[command(flatten)]
    pub rater: RaterArgs,
    /// How texts are cut.
    #[command(flatten)]
    pub chunks: ChunkArgs,
    /// Where lenses are found.
    #[command(flatten)]
    pub lens: LensArgs,
    /// Where results go.
    #[command(flatten)]
    pub data: DataArgs,
    /// Where ratings are kept.
    #[command(flatten)]
    pub store: StoreArgs,
    /// How results are shown.
    #[command(flatten)]
    pub output: OutputArgs,
    /// What is logged.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Who answers, and how it is asked.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Rater")]
pub struct RaterArgs {
    /// Who rates: a model of the endpoint, or `heuristic` (offline, free, measures surface signals, does not read the rubric)
    #[arg(long, env = "CHAT_MODEL", default_value = model::DEFAULT, value_name = "NAME")]
    pub model: String,
    /// Base URL of an OpenAI-compatible endpoint [default: OpenAI's own]
    #[arg(long, env = "OPENAI_BASE_URL", hide_env_values = true, value_name = "URL")]
    pub base_url: Option<String>,
    /// Seconds that one attempt may take
    #[arg(long, env = "OPENAI_TIMEOUT", default_value = "60", value_name = "SECONDS")]
    pub timeout: NonZeroU32,
    /// Room for the visible answer, in tokens; reasoning models get room for their thoughts on top
    #[arg(long, env = "MAX_GENERATION_TOKENS", default_value = "256", value_name = "N")]
    pub max_generation_tokens: NonZeroU32,
    /// Sampling temperature [default: 0 where the model takes it]
    #[arg(long, env = "CLASSIFIED_TEMPERATURE", value_name = "T")]
    pub temperature: Option<f64>,
    /// Seed that is sent with every question
    #[arg(long, env = "CLASSIFIED_MODEL_SEED", value_name = "N")]
    pub model_seed: Option<i64>,
    /// Reasoning effort [default: what the model needs to call functions]
    #[arg(long, env = "CLASSIFIED_REASONING_EFFORT", value_name = "LEVEL")]
    pub reasoning_effort: Option<String>,
    /// JSON object whose keys are added to every request
    #[arg(long, env = "CLASSIFIED_EXTRA_BODY", hide_env_values = true, value_name = "JSON")]
    pub extra_body: Option<String>,
    /// How the answer is asked for
    #[arg(long, env = "CLASSIFIED_REPLY", default_value = "tools", value_name = "FORM")]
    pub reply: Reply,
    /// Price in US dollars per million tokens, for models that the table does not know
    #[arg(long, env = "CLASSIFIED_PRICE", value_name = "IN,OUT")]
    pub price: Option<String>,
    /// Requests in flight at once
    #[arg(long, env = "CLASSIFIED_WORKERS", default_value = "8", value_name = "N")]
    pub workers: NonZeroUsize,
    /// Requests per minute, retries included
    #[arg(long, env = "CLASSIFIED_RPM", value_name = "N")]
    pub rpm: Option<NonZeroU32>,
    /// Tokens per minute, prompt and answer together
    #[arg(long, env = "CLASSIFIED_TPM", value_name = "N")]
    pub tpm: Option<NonZeroU32>,
}

/// How texts are cut.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Chunks")]
pub struct ChunkArgs {
    /// Tokens of a chunk
    #[arg(long, env = "TOKENS_PER_CHUNK", default_value = "1500", value_name = "N")]
    pub tokens_per_chunk: NonZeroUsize,
    /// Chunks of a document at most, spread evenly
    #[arg(long, env = "CHUNKS_PER_DOC", default_value = "2", value_name = "N")]
    pub chunks_per_doc: NonZeroUsize,
    /// Tokens either side within which a chunk's edge moves to the edge of a line
    #[arg(long, env = "MAX_SEARCH_DISTANCE", default_value = "100", value_name = "N")]
    pub max_search_distance: usize,
}

/// Where lenses are found.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Places")]
pub struct LensArgs {
    /// Folder of your own lenses; one of the same name as a built-in lens wins
    #[arg(long, env = "LENS_DIR", default_value = "lenses", value_name = "FOLDER")]
    pub lens_dir: PathBuf,
}

/// Where results go.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Places")]
pub struct DataArgs {
    /// Folder for results
    #[arg(long, env = "DATA_DIR", default_value = "data", value_name = "FOLDER")]
    pub data_dir: PathBuf,
}

/// Where ratings are kept.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Places")]
pub struct StoreArgs {
    /// Database of ratings, as `sqlite:PATH` or a path [default: classified/ratings.db in the user's data folder]
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
}

/// How results are shown.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// How results are shown on stdout
    #[arg(long, default_value = "table", value_name = "FORM")]
    pub format: Format,
    /// No tables, no progress, no warnings; JSON that was asked for and errors remain
    #[arg(long, short)]
    pub quiet: bool,
}

/// What is logged.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Append a log to this file, as JSON lines if it ends in .json or .jsonl; `json` is JSON lines on stderr in place of
    /// all other messages
    #[arg(long, env = "CLASSIFIED_LOG", value_name = "FILE|json")]
    pub log: Option<String>,
    /// How much is logged: at debug every request to the endpoint, without headers and bodies
    #[arg(long, env = "CLASSIFIED_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: LogLevel,
    /// Log whole requests and replies too: rows of the dataset, and what --extra-body sets
    #[arg(long)]
    pub log_bodies: bool,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogLevel {
    /// Why the program could not go on
    Error,
    /// Warnings too
    Warn,
    /// All that is said on stderr, and what the endpoint made the program do
    Info,
    /// Every request too
    Debug,
}

impl LogArgs {
    /// Begins the log that was asked for, if any.
    pub fn begin(&self) -> anyhow::Result<()> {
        let Some(place) = self.log.as_deref().filter(|place| !place.trim().is_empty()) else {
            return if self.log_bodies { Err(usage("--log-bodies needs --log FILE")) } else { Ok(()) };
        };
        let log = Log {
            sink: if place == "json" { Sink::Stderr } else { Sink::File(place.into()) },
            level: match self.log_level {
                LogLevel::Error => Level::ERROR,
                LogLevel::Warn => Level::WARN,
                LogLevel::Info => Level::INFO,
                LogLevel::Debug => Level::DEBUG,
            },
            has_bodies: self.log_bodies,
        };
        console::log::begin(&log)
            .map_err(|error| usage(format!("cannot write the log {place}: {error}; give --log another file")))
    }
}

/// The ways to show results.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    /// Tables for people
    Table,
    /// One JSON document
    Json,
}

/// The ways to ask for an answer.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Reply {
    /// One function that must be called
    Tools,
    /// A JSON Schema for the reply's content
    JsonSchema,
}

impl OutputArgs {
    /// The console that shows results so.
    pub fn console(&self) -> console::Console {
        console::Console {
            format: match self.format {
                Format::Table => console::Format::Table,
                Format::Json => console::Format::Json,
            },
            verbosity: if self.quiet { console::Verbosity::Quiet } else { console::Verbosity::Normal },
        }
    }
}

impl ChunkArgs {
    /// How texts are cut.
    pub fn limits(&self) -> chunk::Limits {
        chunk::Limits {
            tokens_per_chunk: self.tokens_per_chunk.get(),
            chunks_per_doc: self.chunks_per_doc.get(),
            max_search_distance: self.max_search_distance,
        }
    }
}

/// The model's name that stands for the built-in heuristic.
pub const HEURISTIC: &str = "heuristic";

impl RaterArgs {
    /// Whether the settings could be used, without asking anyone.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.model == HEURISTIC {
            return Ok(());
        }
        if self.model.trim().is_empty() {
            return Err(usage("the model's name is empty: set CHAT_MODEL or --model, or leave them out"));
        }
        if std::path::Path::new(&self.model).extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")) {
            return Err(usage(format!(
                "this version does not start llama-server itself: start `llama-server -m {}` and set OPENAI_BASE_URL to its address",
                self.model
            )));
        }
        self.endpoint().map(drop)
    }

    /// How fast may be asked.
    pub fn limits(&self) -> Limits {
        Limits { workers: Workers::AtMost(self.workers), rpm: self.rpm, tpm: self.tpm, max_cost: None }
    }

    /// How the model generates, as the user set it.
    pub fn sampling(&self) -> anyhow::Result<Sampling> {
        let extra_body: Map<String, Value> = match &self.extra_body {
            None => Map::new(),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| usage(format!("--extra-body is not a JSON object: {error}")))?,
        };
        if let Some(key) = endpoint::OWN_KEYS.iter().find(|key| extra_body.contains_key(**key)) {
            return Err(usage(format!(
                "--extra-body may not set `{key}`: the program sets it from the lens and the row"
            )));
        }
        if let Some(temperature) = self.temperature.filter(|t| !(0.0..=2.0).contains(t)) {
            return Err(usage(format!("--temperature {temperature} is not between 0 and 2")));
        }
        Ok(Sampling {
            temperature: self.temperature,
            model_seed: self.model_seed,
            reasoning_effort: self.reasoning_effort.clone(),
            extra_body,
        })
    }

    /// The endpoint's options. Without a key OpenAI's own endpoint cannot answer: the error names the ways out.
    pub fn endpoint(&self) -> anyhow::Result<endpoint::Options> {
        let base_url =
            self.base_url.as_deref().map(str::trim).filter(|url| !url.is_empty()).unwrap_or(HOSTED_URL);
        let base_url = base_url.trim_end_matches('/');
        if !(base_url.starts_with("http://") || base_url.starts_with("https://")) {
            return Err(usage(
                "OPENAI_BASE_URL must begin with http:// or https://, such as http://localhost:8080/v1",
            ));
        }
        let hosted = base_url == HOSTED_URL;
        let key = secret("OPENAI_API_KEY").or_else(|| secret("OPENAI_KEY"));
        if hosted && key.is_none() {
            return Err(usage(
                "no key for OpenAI's endpoint: set OPENAI_API_KEY (or OPENAI_KEY) in the environment or in local.env; \
                 or set OPENAI_BASE_URL to a server of your own, such as llama.cpp's; or rate offline with --model heuristic",
            ));
        }
        let account = [("openai-organization", "OPENAI_ORG_ID"), ("openai-project", "OPENAI_PROJECT_ID")]
            .into_iter()
            .filter_map(|(header, name)| Some((header, variable(name)?)))
            .collect();
        Ok(endpoint::Options {
            base_url: base_url.to_owned(),
            hosted,
            key,
            account,
            model: self.model.clone(),
            answers: self.model.clone(),
            timeout: Duration::from_secs(self.timeout.get().into()),
            max_generation_tokens: self.max_generation_tokens.get(),
            sampling: self.sampling()?,
            reply: match self.reply {
                Reply::Tools => ReplyForm::Tools,
                Reply::JsonSchema => ReplyForm::JsonSchema,
            },
            price: self.price(&self.model)?,
        })
    }

    /// `--price`, else the table's for whoever answers.
    pub fn price(&self, model: &str) -> anyhow::Result<Option<Price>> {
        let Some(text) = &self.price else { return Ok(model::find(model).and_then(model::Model::price)) };
        let parsed = text.split_once(',').and_then(|(input, output)| {
            let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
            Some((number(input)?, number(output)?))
        });
        let (input, output) = parsed.ok_or_else(|| {
            usage(format!(
                "--price `{text}` is not IN,OUT in US dollars per million tokens, such as 0.10,0.50"
            ))
        })?;
        Ok(Some(Price { input, cached_input: input, output }))
    }
}

impl StoreArgs {
    /// The database's URL.
    pub fn url(&self) -> anyhow::Result<String> {
        if let Some(url) = self.database_url.as_ref().filter(|url| !url.is_empty()) {
            return Ok(url.clone());
        }
        let home = variable("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/share")))
            .ok_or_else(|| {
                usage("neither XDG_DATA_HOME nor HOME is set: say with DATABASE_URL where ratings are kept")
            })?;
        Ok(format!("sqlite:{}", home.join("classified/ratings.db").display()))
    }
}

/// Where the Hugging Face Hub is, who asks and where its files are kept: by the variables of the Python tools.
pub fn hub() -> anyhow::Result<hub::Options> {
    Ok(hub::Options::from(&variable)?)
}

/// Names that `local.env` sets and the environment did not.
#[derive(Debug, Default)]
pub struct Loaded(Vec<String>);

/// Reads `local.env` of the current folder into the environment, which wins. Call it before any thread starts.
pub fn load_file() -> anyhow::Result<Loaded> {
    let entries = match dotenvy::from_path_iter(FILE) {
        Ok(entries) if std::path::Path::new(FILE).is_file() => entries,
        // Not in this folder: one further up is another project's.
        _ => return Ok(Loaded::default()),
    };
    let mut names = Vec::new();
    for entry in entries {
        let (name, _) = entry.map_err(|error| bad_line(&error))?;
        if variable(&name).is_none() {
            names.push(name);
        }
    }
    dotenvy::from_path(FILE).map_err(|_| usage(format!("{FILE} cannot be read")))?;
    Ok(Loaded(names))
}

/// What is wrong with the file, without quoting the line: it may hold a key.
fn bad_line(error: &dotenvy::Error) -> anyhow::Error {
    let text = std::fs::read_to_string(FILE).unwrap_or_default();
    let line = match error {
        dotenvy::Error::LineParse(bad, _) => text.lines().position(|line| line.trim() == bad.trim()),
        _ => None,
    };
    let place = line.map_or(FILE.to_owned(), |line| format!("{FILE}, line {}", line + 1));
    usage(format!("{place}: expected NAME=VALUE; put values with spaces or # in quotes"))
}

/// Where a setting's value comes from.
pub fn origin(source: Option<ValueSource>, name: Option<&str>, loaded: &Loaded) -> &'static str {
    match source {
        Some(ValueSource::CommandLine) => "flag",
        Some(ValueSource::EnvVariable) if name.is_some_and(|name| loaded.0.iter().any(|own| own == name)) => {
            FILE
        }
        Some(ValueSource::EnvVariable) => "environment",
        _ => "default",
    }
}

/// A variable that is set to something.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn secret(name: &str) -> Option<SecretString> {
    variable(name).map(|value| SecretString::from(value.trim()))
}
