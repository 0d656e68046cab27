//! The stand-in chat endpoint as one command, for benchmarks and for trying the program without a key:
//! `cargo run --release --example standin -- --port 8080`.

#![expect(clippy::print_stdout, reason = "the address on stdout is how a script finds the port")]

#[path = "../tests/standin/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest")]
mod standin;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Parser;

use standin::{Config, Script, Standin};

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
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let script = match &args.script {
        None => Script::default(),
        Some(file) => {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            serde_json::from_str(&text).with_context(|| format!("{} is not a script", file.display()))?
        }
    };
    let mut config = Config {
        port: args.port,
        delay: Duration::from_millis(args.delay_ms),
        script,
        unknown_models: args.unknown_models,
        api_key: args.api_key,
        log: args.log,
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
