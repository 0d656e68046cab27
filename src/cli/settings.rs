//! Settings: flags > environment > `local.env` > defaults. Only here is the environment read.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{Args, ValueEnum};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::exit::usage;
use super::llama::LlamaArgs;
use crate::console::log::{Log, Sink};
use crate::endpoint::{self, HOSTED_URL, ReplyForm};
use crate::llama::Gguf;
use crate::meter::{Limits, Workers};
use crate::model::{self, CacheKept, Money, Price, ServiceTier};
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
    /// What is kept of rows.
    #[command(flatten)]
    pub excerpts: ExcerptArgs,
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
    /// Who rates: a model of the endpoint; the path of a .gguf file, for which llama.cpp's server is started; or
    /// `heuristic` (offline, free, measures surface signals, does not read the rubric)
    #[arg(long, env = "CHAT_MODEL", default_value = model::DEFAULT, value_name = "NAME")]
    pub model: String,
    /// Base URL of an OpenAI-compatible endpoint [default: OpenAI's own]
    #[arg(long, env = "OPENAI_BASE_URL", hide_env_values = true, value_name = "URL")]
    pub base_url: Option<String>,
    /// Version of the API that is added to the URL's query, as Azure's deployments want it
    #[arg(long, env = "OPENAI_API_VERSION", value_name = "DATE")]
    pub api_version: Option<String>,
    /// Seconds that one attempt may take [default: 60; 600 where the program starts the server]
    #[arg(long, env = "OPENAI_TIMEOUT", value_name = "SECONDS")]
    pub timeout: Option<NonZeroU32>,
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
    #[arg(long, env = "CLASSIFIED_REPLY", default_value = "auto", value_name = "FORM")]
    pub reply: Reply,
    /// Price in US dollars per million tokens, for models that the table does not know; or IN,CACHED,WRITE,OUT
    #[arg(long, env = "CLASSIFIED_PRICE", value_name = "IN,OUT")]
    pub price: Option<Price>,
    /// US dollars that the command may cost at most, all its datasets and lenses together. Before each request its highest
    /// possible price is set aside: a prompt token for each byte, and all the room for the answer
    #[arg(long, env = "CLASSIFIED_MAX_COST", value_name = "USD", allow_hyphen_values = true)]
    pub max_cost: Option<Money>,
    /// Service tier to ask for: flex costs half and may be slow (raise --timeout), priority costs twice [default: the
    /// account's; under --max-cost, default]
    #[arg(long, env = "CLASSIFIED_SERVICE_TIER", value_name = "TIER")]
    pub service_tier: Option<Tier>,
    /// Requests in flight at once, at most [default: automatic; 4 where the program starts the server]
    #[arg(long, env = "CLASSIFIED_WORKERS", value_name = "N")]
    pub workers: Option<NonZeroUsize>,
    /// Requests per minute, retries included
    #[arg(long, env = "CLASSIFIED_RPM", value_name = "N")]
    pub rpm: Option<NonZeroU32>,
    /// Tokens per minute, prompt and answer together
    #[arg(long, env = "CLASSIFIED_TPM", value_name = "N")]
    pub tpm: Option<NonZeroU32>,
    /// Input tokens that the account may have enqueued in batches at once [default: what the endpoint's refusals say]
    #[arg(long, env = "CLASSIFIED_BATCH_TOKENS", value_name = "N")]
    pub batch_tokens: Option<NonZeroU64>,
    /// How a model's file is served.
    #[command(flatten)]
    pub llama: LlamaArgs,
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

/// What is kept of rows.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Places")]
pub struct ExcerptArgs {
    /// Keep no excerpts of rows for reports; otherwise the database has at most 40 short ones a run
    #[arg(long, env = "NO_EXCERPTS", value_parser = FalseyValueParser::new())]
    pub no_excerpts: bool,
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
    /// A function call; a JSON Schema where the server takes no functions, or never calls one
    Auto,
    /// One function that must be called
    Tools,
    /// A JSON Schema for the reply's content
    JsonSchema,
}

/// The service tiers that can be asked for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Tier {
    /// What the account's project is set to
    Auto,
    /// The standard one
    Default,
    /// Half the price, slower, and at times without room
    Flex,
    /// Twice the price, faster
    Priority,
}

impl From<Tier> for ServiceTier {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Auto => Self::Auto,
            Tier::Default => Self::Default,
            Tier::Flex => Self::Flex,
            Tier::Priority => Self::Priority,
        }
    }
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

/// How long an attempt may take where `--timeout` says nothing.
pub const TIMEOUT: NonZeroU32 = NonZeroU32::new(60).unwrap();

/// The same for a server that we start: nobody else's questions wait there, but the machine may be slow.
const OWN_TIMEOUT: NonZeroU32 = NonZeroU32::new(600).unwrap();

/// The model's name that stands for the built-in heuristic.
pub const HEURISTIC: &str = "heuristic";

impl RaterArgs {
    /// Whether the settings could be used, without asking anyone.
    pub fn check(&self) -> anyhow::Result<()> {
        self.check_unasked()?;
        if self.model == HEURISTIC || self.gguf().is_some() { Ok(()) } else { self.endpoint().map(drop) }
    }

    /// Whether the settings could be used where nobody will be asked.
    pub fn check_unasked(&self) -> anyhow::Result<()> {
        if self.model == HEURISTIC {
            return Ok(());
        }
        if self.model.trim().is_empty() {
            return Err(usage("the model's name is empty: set CHAT_MODEL or --model, or leave them out"));
        }
        if self.base_url().is_none() && Path::new(&self.model).is_dir() {
            return Err(usage(format!("--model {} is a folder: name the .gguf file in it", self.model)));
        }
        let Some(path) = self.gguf() else {
            return self.endpoint_unasked().map(drop);
        };
        if self.base_url().is_some() {
            return Err(usage(format!(
                "--model {} is a file here, for which llama-server would be started, but OPENAI_BASE_URL (or --base-url) names \
                 another server: leave one of the two out",
                path.display()
            )));
        }
        Gguf::open(path)?;
        self.llama.arguments()?;
        self.sampling().map(drop)
    }

    /// The model's file, where `--model` names one: llama.cpp's server is started for it. With a base URL a name that is
    /// no file here is the server's own.
    pub fn gguf(&self) -> Option<&Path> {
        let path = Path::new(&self.model);
        let is_gguf = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
        (is_gguf && (self.base_url().is_none() || path.exists())).then_some(path)
    }

    fn base_url(&self) -> Option<&str> {
        self.base_url.as_deref().map(str::trim).filter(|url| !url.is_empty())
    }

    /// How fast may be asked.
    pub fn limits(&self) -> Limits {
        Limits {
            workers: self.workers.map_or(Workers::Auto, Workers::AtMost),
            rpm: self.rpm,
            tpm: self.tpm,
            max_cost: self.max_cost,
        }
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
        let options = self.endpoint_unasked()?;
        if options.hosted && options.key.is_none() {
            return Err(usage(
                "no key for OpenAI's endpoint: set OPENAI_API_KEY (or OPENAI_KEY) in the environment or in local.env; \
                 or set OPENAI_BASE_URL to a server of your own, such as llama.cpp's; or rate offline with --model heuristic",
            ));
        }
        Ok(options)
    }

    /// The endpoint's options, of an endpoint that will not be asked: no key is needed.
    pub fn endpoint_unasked(&self) -> anyhow::Result<endpoint::Options> {
        let base_url = self.base_url().unwrap_or(HOSTED_URL).trim_end_matches('/');
        let hosted = endpoint::is_hosted(base_url);
        // OpenAI's own endpoint has none.
        let api_version = self.api_version.clone().filter(|version| !hosted && !version.trim().is_empty());
        endpoint::Address::new(base_url, api_version.as_deref()).map_err(|error| usage(error.to_string()))?;
        let key = secret("OPENAI_API_KEY").or_else(|| secret("OPENAI_KEY"));
        let account = [("openai-organization", "OPENAI_ORG_ID"), ("openai-project", "OPENAI_PROJECT_ID")]
            .into_iter()
            .filter_map(|(header, name)| Some((header, variable(name)?)))
            .collect();
        Ok(endpoint::Options { api_version, hosted, key, account, ..self.options(base_url, TIMEOUT)? })
    }

    /// The options of a server that we start for a model of this name; where it listens and its key come later.
    pub fn own_endpoint(&self, name: &str) -> anyhow::Result<endpoint::Options> {
        let options = self.options("http://localhost/v1", OWN_TIMEOUT)?;
        Ok(endpoint::Options { model: name.to_owned(), answers: name.to_owned(), ..options })
    }

    fn options(&self, base_url: &str, timeout: NonZeroU32) -> anyhow::Result<endpoint::Options> {
        let sampling = self.sampling()?;
        Ok(endpoint::Options {
            base_url: base_url.to_owned(),
            api_version: None,
            hosted: false,
            key: None,
            account: Vec::new(),
            model: self.model.clone(),
            answers: self.model.clone(),
            timeout: Duration::from_secs(self.timeout.unwrap_or(timeout).get().into()),
            max_generation_tokens: self.max_generation_tokens.get(),
            tier: self.tier(endpoint::is_hosted(base_url), &sampling.extra_body),
            sampling,
            reply: match self.reply {
                Reply::Auto => ReplyForm::Auto,
                Reply::Tools => ReplyForm::Tools,
                Reply::JsonSchema => ReplyForm::JsonSchema,
            },
            price: self.price(&self.model),
        })
    }

    /// The service tier to ask for. Under a cap OpenAI's endpoint is asked for the standard one by name: what a project is
    /// set to could be dearer.
    fn tier(&self, hosted: bool, extra_body: &Map<String, Value>) -> Option<ServiceTier> {
        if let Some(tier) = extra_body.get("service_tier") {
            // What is sent is the extra body's; a tier that nobody knows may be as dear as any.
            return Some(tier.as_str().and_then(ServiceTier::named).unwrap_or(ServiceTier::Auto));
        }
        let capped = self.max_cost.is_some() && hosted;
        self.service_tier.map(Into::into).or(capped.then_some(ServiceTier::Default))
    }

    /// `--price`, else the table's for whoever answers.
    pub fn price(&self, model: &str) -> Option<Price> {
        // Only a server that we started is free.
        let own = self.gguf().map(|_| Price::FREE);
        // Some models charge more for what their cache is asked to keep for long.
        let long = self.extra_body.as_ref().is_some_and(|extra| extra.contains("prompt_cache_retention"));
        let kept = if long { CacheKept::Long } else { CacheKept::Usual };
        self.price.or(own).or_else(|| model::find(model)?.price(kept))
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
