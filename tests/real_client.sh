#!/usr/bin/env bash
# Lets the real Python client read from the test hub: tests/real_client.sh
# Needs python3 and, the first time, the package index; says "skipped" where it has neither. The packages go into target/.
# DATASETS=5.2.0 takes that version of `datasets` (by default the newest). CLASSIFIED=target/debug/classified also lets the client read the cache that this
# program writes.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "skipped: $*"
    exit 0
}

command -v python3 >/dev/null || skip "no python3"
version=${DATASETS:-}
venv=${CARGO_TARGET_DIR:-target}/real-client${version:+-$version}
if ! "$venv/bin/python" -c 'import datasets' 2>/dev/null; then
    python3 -m venv "$venv" || skip "python3 cannot make a virtual environment"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "datasets${version:+==$version}" || skip "no network, or no such version of datasets"
fi
cargo build --quiet --example testhub
exec "$venv/bin/python" tests/real_client.py "${CARGO_TARGET_DIR:-target}/debug/examples/testhub"
