#!/usr/bin/env bash
# Rates rows through the real llama-server, with functions and with JSON Schema: our rows a second, beside what the
# server itself says that a row takes in a slot. Slots that are always busy would give slots / (that time) rows a second.
#
# usage: benches/llama.sh        ROWS, SLOTS, THREADS, MODEL and PROGRAM may be set; prints a table
set -euo pipefail
export LC_ALL=C NO_PROXY='*' no_proxy='*'
cd "$(dirname "$0")/.."

: "${ROWS:=1000}"
: "${SLOTS:=4}"
: "${THREADS:=1}"
: "${MODEL:=$PWD/tests/llama/tiny.gguf}"

server=${LLAMA_SERVER:-$(tests/llama/get.sh)}
if [[ -z ${PROGRAM:-} ]]; then
    cargo build --release --quiet
    PROGRAM=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/release/classified
fi
work=$(mktemp -d)
# Only what was started here is ended: the server, by its number.
trap '[[ -z ${pid:-} ]] || kill -9 "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 benches/rows.py "$ROWS" >"$work/rows.jsonl"

printf '| form | rows | rated | rows/s | a row in its slot, says the server | slots always busy: rows/s | ours of that |\n|---|---|---|---|---|---|---|\n'
for form in tools json_schema; do
    "$server" -m "$MODEL" --port 0 -np "$SLOTS" -c $((SLOTS * 8192)) -t "$THREADS" --metrics >"$work/server.log" 2>&1 &
    pid=$!
    for _ in {1..600}; do
        url=$(sed -n 's/.*listening on \(http[^ ]*\).*/\1/p' "$work/server.log")
        [[ -z $url ]] || break
        kill -0 "$pid" || { cat "$work/server.log" >&2; exit 1; }
        sleep 0.1
    done
    (cd "$work" && env -i "HOME=$work" "PATH=$PATH" 'NO_PROXY=*' DATABASE_URL="$form.db" DATA_DIR="$form" \
        "$PROGRAM" summary rows.jsonl text --format json --base-url "$url/v1" --workers "$SLOTS" --reply "$form" \
        --log "$form.log.jsonl" --log-level debug) >"$work/$form.json" 2>"$work/$form.err" || { cat "$work/$form.err" >&2; exit 1; }
    curl --silent "$url/metrics" >"$work/$form.metrics"
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
    pid=
    python3 - "$form" "$ROWS" "$SLOTS" "$work/$form" <<'PYTHON'
import json, re, sys
from datetime import datetime
form, rows, slots, path = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
ledger = json.load(open(path + ".json"))["summaries"][0]["ledger"]
events = [json.loads(line) for line in open(path + ".log.jsonl")]
at = lambda event: datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")).timestamp()
ended = [event for event in events if event["message"] == "answered"]
# From the first question's sending to the last answer: neither start nor summary.
took = at(ended[-1]) - min(at(event) - event["ms"] / 1000 for event in ended)
metric = lambda name: float(re.search(rf"^llamacpp:{name} ([0-9.e+]+)$", open(path + ".metrics").read(), re.M).group(1))
in_slot = (metric("prompt_seconds_total") + metric("tokens_predicted_seconds_total")) / len(ended)
ours, most = len(ended) / took, slots / in_slot
print(f"| {form} | {rows} | {ledger['rated']} | {ours:.2f} | {in_slot * 1000:.0f} ms | {most:.2f} | {ours / most:.0%} |")
PYTHON
done
