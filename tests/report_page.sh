#!/usr/bin/env bash
# A report's page in a real browser: tests/report_page.sh [FOLDER]
# Makes a few runs with the heuristic, hostile names and texts among them, and opens their report in headless Chromium: nothing is
# loaded from elsewhere, no script runs, the filters filter, the page is as wide as a phone. Leaves pictures of it, light, dark,
# narrow and as it is printed, in FOLDER (default: target/report-page): look at them.
# Needs chromium in PATH (or CHROMIUM=program) and python3; the first time also the package index, for the client of its
# remote control. Says "skipped" and why where it has not. CLASSIFIED=program takes that program instead of a debug build.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "skipped: $*"
    exit 0
}

browser=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
[ -n "$browser" ] || skip "no chromium in PATH"
command -v python3 >/dev/null || skip "no python3"
target=${CARGO_TARGET_DIR:-target}
python=$target/report-client/bin/python
if ! "$python" -c 'import playwright' 2>/dev/null; then
    python3 -m venv "$target/report-client" || skip "python3 cannot make a virtual environment"
    "$target/report-client/bin/pip" install --quiet --disable-pip-version-check playwright || skip "no network"
fi
if [ -z "${CLASSIFIED:-}" ]; then
    cargo build --quiet --bin classified
    CLASSIFIED=$target/debug/classified
fi
exec "$python" tests/report_page.py "$(realpath "$CLASSIFIED")" "$browser" "${1:-$target/report-page}"
