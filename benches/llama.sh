#!/usr/bin/env bash
# Rates rows through the real llama-server, with functions and with JSON Schema: our rows a second, beside those of a bare
# loop that sends the same requests to a fresh server, and beside what the server itself says that a row takes in a slot.
# Slots that were always busy, with nothing between two rows, would give slots / (that time) rows a second.
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

# serve: a fresh server, with nothing in its prompt cache; its address is in $url.
serve() {
    "$server" -m "$MODEL" --port 0 -np "$SLOTS" -c $((SLOTS * 8192)) -t "$THREADS" --metrics >"$work/server.log" 2>&1 &
    pid=$!
    for _ in {1..600}; do
        url=$(sed -n 's/.*listening on \(http[^ ]*\).*/\1/p' "$work/server.log")
        [[ -z $url ]] || return 0
        kill -0 "$pid" || break
        sleep 0.1
    done
    cat "$work/server.log" >&2
    exit 1
}
stop() {
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
    pid=
}

printf '| form | rows | rated | rows/s | the same requests by a bare loop | a row in its slot, says the server | slots always busy |\n|---|---|---|---|---|---|---|\n'
for form in tools json_schema; do
    serve
    (cd "$work" && env -i "HOME=$work" "PATH=$PATH" 'NO_PROXY=*' DATABASE_URL="$form.db" DATA_DIR="$form" \
        "$PROGRAM" summary rows.jsonl text --format json --base-url "$url/v1" --workers "$SLOTS" --reply "$form" \
        --log "$form.log.jsonl" --log-level debug --log-bodies) >"$work/$form.json" 2>"$work/$form.err" || { cat "$work/$form.err" >&2; exit 1; }
    curl --silent "$url/metrics" >"$work/$form.metrics"
    stop
    serve
    python3 - "$form" "$SLOTS" "$work/$form" "$url" <<'PYTHON'
import http.client, json, re, sys, threading, time, urllib.parse
from datetime import datetime
form, slots, path, url = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
ledger = json.load(open(path + ".json"))["summaries"][0]["ledger"]
events = [json.loads(line) for line in open(path + ".log.jsonl")]
at = lambda event: datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")).timestamp()
answered = [event for event in events if event["message"] == "answered"]
# From the first question's sending to the last answer: neither start nor summary.
ours = len(answered) / (at(answered[-1]) - min(at(event) - event["ms"] / 1000 for event in answered))
metric = lambda name: float(re.search(rf"^llamacpp:{name} ([0-9.e+]+)$", open(path + ".metrics").read(), re.M).group(1))
in_slot = (metric("prompt_seconds_total") + metric("tokens_predicted_seconds_total")) / len(answered)

bodies = [json.loads(event["request"]) for event in events if event["message"] == "exchanged"]
count, left = len(bodies), iter(bodies)
lock = threading.Lock()
def loop():
    to = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
    while True:
        with lock:
            body = next(left, None)
        if body is None:
            return
        to.request("POST", "/v1/chat/completions", body.encode(), {"Content-Type": "application/json"})
        reply = to.getresponse()
        reply.read()
        assert reply.status == 200, reply.status
began = time.time()
loops = [threading.Thread(target=loop) for _ in range(slots)]
[each.start() for each in loops]
[each.join() for each in loops]
bare = count / (time.time() - began)
print(f"| {form} | {ledger['rows']} | {ledger['rated']} | {ours:.2f} | {bare:.2f} ({ours / bare:.2f}) | {in_slot * 1000:.0f} ms | {slots / in_slot:.2f} |", flush=True)
PYTHON
    stop
done
