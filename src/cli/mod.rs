//! The desk: flags, settings, exit codes; one file per command.

mod batch;
mod batching;
mod bill;
mod cache;
mod dataset;
mod dry_run;
pub mod exit;
mod filter;
mod history;
mod lens;
pub mod llama;
mod rater;
mod rating;
mod report;
mod session;
pub mod settings;
mod show_settings;
mod signals;
mod source;
mod summary;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::console::{Console, Format, Verbosity};
use exit::Exit;

/// Rate the rows of datasets with lenses: know how good a dataset is, how sure that is, and what it cost
#[derive(Debug, Parser)]
#[command(name = "classified", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Summary(Box<summary::SummaryArgs>),
    Report(Box<report::ReportArgs>),
    Filter(Box<filter::FilterArgs>),
    Dataset(Box<dataset::DatasetArgs>),
    #[command(subcommand)]
    Lens(lens::LensCommand),
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    #[command(subcommand)]
    Batch(batch::BatchCommand),
    Settings(Box<show_settings::SettingsArgs>),
}

/// The clap command, for documentation and tests.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program; returns its exit code.
pub fn main() -> Exit {
    match start() {
        Ok(exit) => exit,
        Err(error) => {
            // Messages carry their causes already.
            plain_console().error(&error.to_string());
            Exit::of(&error)
        }
    }
}

/// The console of commands without flags for it.
fn plain_console() -> Console {
    Console { format: Format::Table, verbosity: Verbosity::Normal }
}

/// Prints what clap has to say instead of a command's result.
fn parted(error: &clap::Error) -> Exit {
    // clap knows what goes where; a closed pipe is the reader's choice.
    let _ = error.print();
    if matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        plain_console().note("a value may also come from the environment or from local.env");
    }
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}

fn start() -> anyhow::Result<Exit> {
    // Help and version do not need the settings: a bad local.env must not hide them.
    if let Err(error) = Cli::command().try_get_matches()
        && !error.use_stderr()
    {
        return Ok(parted(&error));
    }
    let loaded = settings::load_file()?;
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return Ok(parted(&error)),
    };
    let cli = Cli::from_arg_matches(&matches)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(async {
        signals::survive_file_size_limit();
        match cli.command {
            Command::Summary(args) => summary::run(*args).await,
            Command::Report(args) => report::run(*args).await,
            Command::Filter(args) => filter::run(*args).await,
            Command::Dataset(args) => dataset::run(*args).await,
            Command::Lens(command) => lens::run(command),
            Command::Cache(command) => cache::run(command).await,
            Command::Batch(command) => batch::run(command).await,
            Command::Settings(args) => show_settings::run(&args, &matches, &loaded),
        }
    });
    // A second Ctrl-C must not wait for a file that is being read.
    runtime.shutdown_background();
    result
}
