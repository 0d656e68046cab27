# Shortcuts for people; everything here is a plain command. `just` lists them.

[private]
default:
    @just --list

# Everything that a change must pass
check: fmt lint test docs deny typos

# Format the code
fmt:
    cargo fmt

# Clippy, pedantic, without a warning
lint:
    cargo clippy --all-targets -- -D warnings

# All tests
test:
    cargo test

# The library's documentation, without a broken link
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --lib

# Licences, sources and doubled crates of what we depend on (cargo install cargo-deny --locked)
deny:
    cargo deny check bans licenses sources

# Spelling (cargo install typos-cli --locked)
typos:
    typos

# Speed and memory beside something known: takes about eight minutes
bench:
    benches/run.sh

# A large run by batch with kills, expiries and a limit of tokens: what became of every question
batch-run rows="120000" kills="12":
    cargo build --release && cargo build --release --example standin
    benches/batches.py target/release/classified target/release/examples/standin {{rows}} {{kills}} target/benches/batches

# The stand-in endpoint, to rate without a key: OPENAI_BASE_URL=http://127.0.0.1:8080/v1
standin port="8080":
    cargo run --release --example standin -- --port {{port}}

# The lenses of this folder, built-in ones included
lens-check:
    cargo run -- lens check

# The real Python client beside the test hub and the program: installs `datasets` from PyPI into target/
real-client:
    tests/real_client.sh

# What pyarrow, polars, duckdb, pandas and `datasets` read of a filtered file: by this Python, or one with them from PyPI in target/
round-trip python="":
    tests/round_trip.sh {{python}}

# A real llama-server for the tests, into target/llama
llama-server:
    tests/llama/get.sh

# A local Hub over a folder of repositories: HF_ENDPOINT is the first address that it prints
testhub root:
    cargo run --release --example testhub -- --root {{root}}

# A report's page in headless Chromium (in PATH): pictures of it in target/report-page
report-page:
    tests/report_page.sh
