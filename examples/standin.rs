//! The stand-in chat endpoint as one command, for benchmarks and for trying the program without a key:
//! `cargo run --release --example standin -- --port 8080`.

#![expect(clippy::print_stdout, reason = "the address on stdout is how a script finds the port")]

#[path = "../tests/standin/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest")]
mod standin;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::Parser;
use serde::de::DeserializeOwned;

use standin::{Batches, Config, Rules, Script, Standin};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serve chat completions made from a digest of the question, until killed.
#[derive(Parser)]
struct Args {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Wait so many milliseconds before every completion
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// JSON file with rules: see tests/standin/script.rs
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Keep the last N requests for GET /standin/log
    #[arg(long, value_name = "N", default_value_t = 0)]
    log: usize,
    /// A name for GET /v1/models, instead of the two that it lists; can be given again
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// A name that gets 404 `model_not_found`; can be given again
    #[arg(long = "unknown-model", value_name = "NAME")]
    unknown_models: Vec<String>,
    /// Ask for this key
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Have /v1/files and /v1/batches
    #[arg(long)]
    batches: bool,
    /// A batch's file is looked at for so many milliseconds; 0 is until the next poll
    #[arg(long, requires = "batches", default_value_t = 0)]
    validating_ms: u64,
    /// A batch is run for so many milliseconds; 0 is until the next poll
    #[arg(long, requires = "batches", default_value_t = 0)]
    running_ms: u64,
    /// A batch's replies are written for so many milliseconds; 0 is until the next poll
    #[arg(long, requires = "batches", default_value_t = 0)]
    finalizing_ms: u64,
    /// The most input tokens in batches that have not ended
    #[arg(long, requires = "batches", value_name = "N")]
    enqueued_tokens: Option<u64>,
    /// JSON file with what goes wrong with files and batches: see tests/standin/batch/rules.rs
    #[arg(long, requires = "batches", value_name = "FILE")]
    batch_rules: Option<PathBuf>,
}

impl Args {
    fn batches(&self) -> anyhow::Result<Option<Batches>> {
        let rules: Rules = read(self.batch_rules.as_deref())?;
        Ok(self.batches.then(|| Batches {
            validating: Duration::from_millis(self.validating_ms),
            running: Duration::from_millis(self.running_ms),
            finalizing: Duration::from_millis(self.finalizing_ms),
            enqueued_tokens: self.enqueued_tokens,
            rules,
            ..Batches::default()
        }))
    }
}

/// What a JSON file says; without a file, the default.
fn read<T: DeserializeOwned + Default>(file: Option<&Path>) -> anyhow::Result<T> {
    let Some(file) = file else { return Ok(T::default()) };
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot understand {}", file.display()))
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let batches = args.batches()?;
    let script: Script = read(args.script.as_deref())?;
    let mut config = Config {
        port: args.port,
        delay: Duration::from_millis(args.delay_ms),
        script,
        unknown_models: args.unknown_models,
        api_key: args.api_key,
        log: args.log,
        batches,
        ..Config::default()
    };
    if !args.models.is_empty() {
        config.models = args.models;
    }
    let standin = Standin::bind(config)?;
    println!("{}", standin.url());
    loop {
        std::thread::park();
    }
}
