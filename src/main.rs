//! The program: parse, run, exit code.

use std::process::ExitCode;

// The pipeline allocates and frees a few strings per row on several threads, which mimalloc does best.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(classified::cli::main().code())
}
