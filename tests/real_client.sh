#!/usr/bin/env bash
# The real Python client beside the test hub and the program: tests/real_client.sh
# It reads every form of dataset from the test hub; then it and the program read the same datasets, and each other's cache.
# Needs python3 and, the first time, the package index; says "skipped" and why where it has neither. The packages go into target/.
# DATASETS=5.2.0 takes that version of `datasets` (by default the newest). CLASSIFIED=target/release/classified takes that program instead of a debug build.
# HUB=http://127.0.0.1:8765 compares the two on all repositories of that hub instead, which has to serve /__hub__/repos as the test hub does.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "skipped: $*"
    exit 0
}

command -v python3 >/dev/null || skip "no python3"
target=${CARGO_TARGET_DIR:-target}
version=${DATASETS:-}
venv=$target/real-client${version:+-$version}
python=$venv/bin/python
if ! "$python" -c 'import datasets' 2>/dev/null; then
    python3 -m venv "$venv" || skip "python3 cannot make a virtual environment"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "datasets${version:+==$version}" || skip "no network, or no such version of datasets"
fi
if [ -z "${CLASSIFIED:-}" ]; then
    cargo build --quiet --bin classified
    CLASSIFIED=$target/debug/classified
fi
if [ -n "${HUB:-}" ]; then
    exec "$python" tests/real_program.py "$CLASSIFIED" "$HUB"
fi
cargo build --quiet --example testhub
"$python" tests/real_client.py "$target/debug/examples/testhub"
exec "$python" tests/real_program.py "$CLASSIFIED" "$target/debug/examples/testhub"
