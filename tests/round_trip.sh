#!/usr/bin/env bash
# Odd parquet files, filtered by the program and read by five libraries: tests/round_trip.sh [PYTHON]
# PYTHON is an interpreter that has pyarrow, pandas, polars, duckdb, datasets, pytz and Pillow. Without it one with all of them is made in target/,
# which needs python3 and, the first time, the package index; says "skipped" and why where it has neither.
# CLASSIFIED=target/release/classified takes that program instead of a debug build. INPUTS="datasets polars" takes these inputs alone.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "skipped: $*"
    exit 0
}

target=${CARGO_TARGET_DIR:-target}
python=${1:-$target/round-trip/bin/python}
packages=(pyarrow pandas polars duckdb datasets pytz Pillow)
if [ $# -eq 0 ] && ! "$python" -c 'import pyarrow, pandas, polars, duckdb, datasets, pytz, PIL' 2>/dev/null; then
    command -v python3 >/dev/null || skip "no python3"
    python3 -m venv "$target/round-trip" || skip "python3 cannot make a virtual environment"
    "$python" -m pip install --quiet --disable-pip-version-check "${packages[@]}" || skip "no network"
fi
if [ -z "${CLASSIFIED:-}" ]; then
    cargo build --quiet --bin classified
    CLASSIFIED=$target/debug/classified
fi
read -ra inputs <<<"${INPUTS:-}"
exec "$python" tests/python/round_trip.py "$CLASSIFIED" "${inputs[@]}"
