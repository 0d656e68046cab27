//! The test hub as one command, for clients in other languages and for trying the program without a network:
//! `cargo run --example testhub -- --root FOLDER`, then `HF_ENDPOINT=http://127.0.0.1:PORT`.

#![expect(clippy::print_stdout, reason = "the addresses on stdout are how a script finds the ports")]

#[path = "../tests/testhub/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest")]
mod testhub;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde_json::json;

use testhub::{Config, Missing, Repos, SmallFiles, TestHub};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serve a folder of repositories as the Hugging Face Hub does, until killed. The first line on stdout is JSON with
/// both addresses.
#[derive(Parser)]
struct Args {
    /// Folder with `datasets/<owner>/<name>/<revision>/…`
    #[arg(long, value_name = "FOLDER")]
    root: PathBuf,
    /// Port of the API on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    hub_port: u16,
    /// Port of the CDN on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    cdn_port: u16,
    /// Most entries in a page of a tree
    #[arg(long, default_value_t = 1000)]
    page_size: usize,
    /// Seconds for which a signed URL holds
    #[arg(long, default_value_t = 3600.0, allow_negative_numbers = true)]
    sig_ttl: f64,
    /// What a stranger is told about a repository that is not there: with an error code, or as the real hub does
    #[arg(long, value_enum, default_value_t = AnonMissing::Coded)]
    anon_missing: AnonMissing,
    /// Answer small files at once instead of with a redirect
    #[arg(long)]
    no_small_redirect: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum AnonMissing {
    Coded,
    Faithful,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    anyhow::ensure!(args.root.is_dir(), "{} is no folder", args.root.display());
    let config = Config {
        hub_port: args.hub_port,
        cdn_port: args.cdn_port,
        page_size: args.page_size,
        sig_ttl: args.sig_ttl,
        missing: match args.anon_missing {
            AnonMissing::Coded => Missing::Coded,
            AnonMissing::Faithful => Missing::Faithful,
        },
        small_files: if args.no_small_redirect { SmallFiles::Direct } else { SmallFiles::Redirected },
    };
    let hub = TestHub::bind(Repos::at(args.root), config)?;
    println!("{}", json!({"hub": hub.endpoint(), "cdn": hub.cdn(), "repos": hub.count()}));
    loop {
        std::thread::park();
    }
}
