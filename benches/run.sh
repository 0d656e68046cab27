#!/usr/bin/env bash
# Measures what the program claims of its speed and memory, each figure beside another one taken in the same run.
# benches/README.md says what the ratios mean.
#
# usage: benches/run.sh [pipeline] [latency] [curator] [cached] [memory] [start] [datasets] [filter]
# without an argument: all of them
set -euo pipefail
export LC_ALL=C NO_PROXY='*' no_proxy='*'
cd "$(dirname "$0")/.."

: "${ROWS:=20000}"            # pipeline: rows of a run
: "${WRK_SECONDS:=5}"         # pipeline: how long wrk posts
: "${LATENCY_ROWS:=50000}"    # latency: rows of a run
: "${CURATOR_ROWS:=1000}"     # curator: rows of its run
: "${CACHED_ROWS:=100000}"    # cached: rows in the store
: "${SMALL_ROWS:=10000}"      # memory: rows of the small run
: "${LARGE_ROWS:=1000000}"    # memory: rows of the large heuristic run
: "${STORED_ROWS:=1000000}"   # memory: rows of the large endpoint runs, 256 in flight
: "${PEAKS:=3}"               # memory: runs of each kind
: "${RUNS:=5}"                # pipeline, cached: runs of each kind; the median counts
: "${STARTS:=30}"             # start: runs of each kind

die() { printf 'benches/run.sh: %s\n' "$*" >&2; exit 1; }
say() { printf '%s\n' "$*" >&2; }
skip() { say "skipped: $*"; printf '| %s | skipped: %s | | | | |\n' "$1" "${*:2}" >>"$table"; }
json() { "$python" -c "import json, sys; d = json.load(sys.stdin); print($1)"; }
get() { "$python" -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())' "$1"; }
now() { printf '%s' "${EPOCHREALTIME/./}"; } # microseconds
median() { printf '%s\n' "$@" | sort -n | awk '{v[NR] = $1} END {print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2}'; }
range() { printf '%s\n' "$@" | sort -n | sed -n '1p;$p' | paste -sd' ' | sed 's/ /–/'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", a / b}'; }
per_second() { echo $(($1 * 1000000 / $2)); } # of how many, in how many microseconds
# cpu: the processor time of all commands that have ended so far, user and system, is in $spent, in milliseconds.
cpu() {
    times >"$work/times" # not through a pipe, whose shell has no children of its own
    spent=$(awk 'NR == 2 {for (i = 1; i <= 2; i++) {split($i, t, /[ms]/); ms += t[1] * 60000 + t[2] * 1000}; printf "%d", ms}' "$work/times")
}
per_thousand() { awk -v ms="$1" -v rows="$2" 'BEGIN {printf "%.1f", 1000 * ms / rows}'; } # ms of how many rows
row() { printf '| %s | %s | %s | %s | %s | %s |\n' "$@" >>"$table"; }

for section in "$@"; do
    [[ $section =~ ^(pipeline|latency|curator|cached|memory|start|datasets|filter)$ ]] ||
        die "no section $section: pipeline, latency, curator, cached, memory, start, datasets, filter"
done
((BASH_VERSINFO[0] >= 5)) || die "needs bash 5, this is $BASH_VERSION"
python=$(python3 -c 'import sys; print(sys.executable)') || die "needs python3"
target=$(cargo metadata --format-version 1 --no-deps | json 'd["target_directory"]')
work=$target/benches
program=$target/release/classified
mkdir -p "$work"
table=$work/table.md
: >"$table"
# No setting of whoever runs this; no local.env and no lenses in $work either.
clean=(env -i "HOME=$work" "PATH=$PATH" 'NO_PROXY=*')

# Examples first: with them cargo switches on features that only tests use. The program is then built as users build it.
cargo build --release --quiet --example standin --example selects --example scan --example testhub
cargo build --release --quiet

# rows N: the path of a file of N rows.
rows() {
    local file=$work/rows-$1.jsonl
    if [[ ! -s $file || $file -ot benches/rows.py ]]; then
        "$python" benches/rows.py "$1" >"$file.part"
        mv "$file.part" "$file"
    fi
    echo "$file"
}

# standin FLAG…: starts the stand-in endpoint; its address is in $url.
standin() {
    stop_standin
    coproc STANDIN { exec "$target/release/examples/standin" "$@"; }
    standin_pid=$STANDIN_PID
    read -r url <&"${STANDIN[0]}" || die "the stand-in does not start"
}
stop_standin() {
    [[ -z ${standin_pid:-} ]] && return
    kill "$standin_pid" 2>/dev/null || true
    wait "$standin_pid" 2>/dev/null || true
    standin_pid=
}
trap stop_standin EXIT

fresh() { rm -rf "${work:?}/run"; mkdir "$work/run"; } # no database, no results

# summary ROWS MODEL: the whole program over so many rows, from start to exit; its JSON is in $work/summary.json.
summary() {
    local file; file=$(rows "$1")
    (cd "$work" && "${timed[@]}" "${clean[@]}" "OPENAI_BASE_URL=$url" DATABASE_URL=run/ratings.db DATA_DIR=run/data \
        "$program" summary "$file" text textbook_quality --model "$2" --workers "$workers" --quiet --format json \
        >"$work/summary.json") || die "the program failed with $?"
}
timed=()
workers=32

# expect FATE N: a run that did not do what it was to do gives no figure.
expect() {
    local count; count=$(json "d['summaries'][0]['ledger']['$1']" <"$work/summary.json")
    [[ $count == "$2" ]] ||
        die "$count rows were $1 instead of $2: $(json "d['summaries'][0]['ledger']" <"$work/summary.json")"
}

# request: a request as the program sends it, for the first row, in $work/request.json.
request() {
    standin --log 1
    fresh
    summary 1 standin
    printf '%s' "$(get "${url%/v1}/standin/log" | json "d[-1]['body']")" >"$work/request.json"
}

# venv MODULE [PACKAGE]: the path of a python that has this module, of a package of the same name unless another is given.
venv() {
    local own=$work/venv-$1/bin/python
    if ! "$own" -c "import $1" 2>/dev/null; then
        "$python" -m venv "$work/venv-$1" && "$own" -m pip install --quiet "${2:-$1}" || return 1
    fi >&2
    echo "$own"
}

# posting REQUEST: a script for wrk that posts this body.
posting() {
    printf 'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = io.open("%s"):read("*a")\n' "$1"
}
# wrk_rate IN_FLIGHT: requests per second of wrk on one thread, in $rate.
wrk_rate() {
    local out; out=$(wrk -t1 "-c$1" "-d${WRK_SECONDS}s" -s "$work/post.lua" "$url/chat/completions")
    ! grep -qE 'Non-2xx|Socket errors' <<<"$out" || die "wrk met errors: $out"
    rate=$(awk '/Requests\/sec/ {printf "%.0f", $2}' <<<"$out")
}

pipeline() {
    local own=() wrk=() loop=() whole=() own_cpu=() loop_cpu=() of_wrk=() of_loop=() file body asyncio='' beside=skipped start out before
    command -v wrk >/dev/null || { skip pipeline "wrk is not installed"; return; }
    asyncio=$(venv aiohttp) || say "no aiohttp loop: no virtual environment with aiohttp could be made"
    file=$(rows "$ROWS")
    request
    body=$work/request.json
    posting "$body" >"$work/post.lua"
    standin --log 0
    for ((run = 0; run < RUNS; run++)); do
        fresh
        cpu; before=$spent; start=$(now)
        summary "$ROWS" standin
        own+=("$(per_second "$ROWS" $(($(now) - start)))")
        cpu; own_cpu+=("$(per_thousand $((spent - before)) "$ROWS")")
        expect rated "$ROWS"
        wrk_rate 32
        wrk+=("$rate")
        of_wrk+=("$(ratio "${own[-1]}" "$rate")")
        if [[ -n $asyncio ]]; then
            cpu; before=$spent; start=$(now)
            "$asyncio" benches/aiohttp_loop.py "$url" "$body" "$file" >"$work/loop"
            whole+=("$(per_second "$ROWS" $(($(now) - start)))")
            cpu; loop_cpu+=("$(per_thousand $((spent - before)) "$ROWS")")
            out=$(<"$work/loop")
            [[ ${out% *} == "$ROWS" ]] || die "the aiohttp loop got ${out% *} answers of $ROWS"
            loop+=("${out#* }")
            of_loop+=("$(ratio "${own[-1]}" "${loop[-1]}")")
            beside=${loop[-1]}/s
        fi
        say "pipeline $((run + 1))/$RUNS: classified ${own[-1]}/s, wrk ${wrk[-1]}/s, aiohttp $beside"
    done
    local mine; mine=$(median "${own[@]}")
    # The ratios are medians of the ratios of neighbours, which a disturbance hits alike.
    row pipeline "classified, $ROWS rows, 32 workers" "$mine /s" "$(range "${own[@]}")" "" ""
    row pipeline 'wrk -t1 -c32' "$(median "${wrk[@]}") /s" "$(range "${wrk[@]}")" "$(median "${of_wrk[@]}")" '≥ 0.25'
    row pipeline 'classified, processor time of 1,000 ratings' "$(median "${own_cpu[@]}") ms" "$(range "${own_cpu[@]}")" '' ''
    if [[ -n $asyncio ]]; then
        row pipeline 'aiohttp, in its loop' "$(median "${loop[@]}") /s" "$(range "${loop[@]}")" "$(median "${of_loop[@]}")" '≥ 2'
        row pipeline 'aiohttp, whole process' "$(median "${whole[@]}") /s" "$(range "${whole[@]}")" \
            "$(ratio "$mine" "$(median "${whole[@]}")")" ''
        row pipeline 'aiohttp, processor time of 1,000 replies' "$(median "${loop_cpu[@]}") ms" "$(range "${loop_cpu[@]}")" \
            "$(ratio "$(median "${own_cpu[@]}")" "$(median "${loop_cpu[@]}")")" ''
    else
        row pipeline 'aiohttp' skipped '' '' '≥ 2'
    fi
}

latency() {
    local own=() wrk=() of_wrk=() start
    command -v wrk >/dev/null || { skip latency "wrk is not installed"; return; }
    request
    posting "$work/request.json" >"$work/post.lua"
    standin --log 0 --delay-ms 50
    workers=256
    for ((run = 0; run < RUNS; run++)); do
        fresh
        start=$(now)
        summary "$LATENCY_ROWS" standin
        own+=("$(per_second "$LATENCY_ROWS" $(($(now) - start)))")
        expect rated "$LATENCY_ROWS"
        wrk_rate 256
        wrk+=("$rate")
        of_wrk+=("$(ratio "${own[-1]}" "$rate")")
        say "latency $((run + 1))/$RUNS: classified ${own[-1]}/s, wrk ${wrk[-1]}/s"
    done
    workers=32
    local mine; mine=$(median "${own[@]}")
    row latency "classified, $LATENCY_ROWS rows, 256 workers, 50 ms" "$mine /s" "$(range "${own[@]}")" \
        "$(ratio "$mine" 5120)" 'of the ideal 5,120 /s'
    row latency 'wrk -t1 -c256: what the server can give' "$(median "${wrk[@]}") /s" "$(range "${wrk[@]}")" \
        "$(median "${of_wrk[@]}")" '≥ 0.95'
}

curator() {
    local client file start out whole mine
    client=$(venv bespokelabs.curator bespokelabs-curator) ||
        { skip curator "no virtual environment with bespokelabs-curator could be made"; return; }
    file=$(rows "$CURATOR_ROWS")
    request
    standin --log 0
    start=$(now)
    out=$("${clean[@]}" "$client" benches/curator_run.py "$url" "$work/request.json" "$file" "$work/run/curator") ||
        { skip curator "it fails here"; return; }
    whole=$(per_second "$CURATOR_ROWS" $(($(now) - start)))
    out=$(tail -n 1 <<<"$out")
    [[ ${out% *} == "$CURATOR_ROWS" ]] || die "curator got ${out% *} answers of $CURATOR_ROWS"
    fresh
    start=$(now)
    summary "$ROWS" standin
    mine=$(per_second "$ROWS" $(($(now) - start)))
    expect rated "$ROWS"
    row curator "classified, $ROWS rows, 32 workers" "$mine /s" '' '' ''
    row curator "bespoke Curator, $CURATOR_ROWS rows, its call alone" "${out#* } /s" '' "$(ratio "$mine" "${out#* }")" ''
    row curator "bespoke Curator, $CURATOR_ROWS rows, whole process" "$whole /s" '' "$(ratio "$mine" "$whole")" '≥ 80'
}

cached() {
    local own=() bare=() start out asked
    standin --log 0
    fresh
    say "cached: filling the store with $CACHED_ROWS rows"
    summary "$CACHED_ROWS" standin
    expect rated "$CACHED_ROWS"
    asked=$(get "${url%/v1}/standin/counters" | json 'd["requests"]')
    for ((run = 0; run < RUNS; run++)); do
        rm -r "$work/run/data"
        start=$(now)
        summary "$CACHED_ROWS" standin
        own+=("$(per_second "$CACHED_ROWS" $(($(now) - start)))")
        expect cached "$CACHED_ROWS"
        out=$("$target/release/examples/selects" "$work/run/ratings.db")
        [[ ${out% *} == "$CACHED_ROWS" ]] || die "the bare loop found ${out% *} of $CACHED_ROWS"
        bare+=("${out#* }")
        say "cached $((run + 1))/$RUNS: classified ${own[-1]}/s, bare SELECTs ${bare[-1]}/s"
    done
    [[ $(get "${url%/v1}/standin/counters" | json 'd["requests"]') == "$asked" ]] || die "a cached run made a request"
    local mine; mine=$(median "${own[@]}")
    row cached "classified, $CACHED_ROWS rows, all stored" "$mine /s" "$(range "${own[@]}")" '' \
        'about 50,000 /s on two cores'
    row cached 'bare SELECTs of 256 keys' "$(median "${bare[@]}") /s" "$(range "${bare[@]}")" \
        "$(ratio "$mine" "$(median "${bare[@]}")")" ''
}

memory() {
    local count fate
    local -A peaks=() # "what rows": peaks of runs, in KiB
    /usr/bin/time -f %M true >/dev/null 2>&1 || { skip memory "GNU time is not at /usr/bin/time"; return; }
    timed=(/usr/bin/time -f %M -o peak)
    workers=256
    standin --log 0
    for ((run = 0; run < PEAKS; run++)); do
        for count in "$SMALL_ROWS" "$LARGE_ROWS"; do
            fresh
            peak heuristic rated "$count"
        done
        for count in "$SMALL_ROWS" "$STORED_ROWS"; do
            fresh
            for fate in rated cached; do
                peak standin "$fate" "$count"
                rm -r "$work/run/data"
            done
        done
    done
    timed=()
    workers=32
    memory_row 'heuristic' "heuristic rated" "$LARGE_ROWS"
    memory_row 'endpoint, all rows asked' "standin rated" "$STORED_ROWS"
    memory_row 'endpoint, all rows stored' "standin cached" "$STORED_ROWS"
}
# peak MODEL FATE ROWS: notes the peak of one run.
peak() {
    summary "$3" "$1"
    expect "$2" "$3"
    peaks["$1 $2 $3"]+=" $(cat "$work/peak")"
    say "memory: $* rows, $(cat "$work/peak") KiB"
}
memory_row() {
    local small large
    read -ra small <<<"${peaks["$2 $SMALL_ROWS"]}"
    read -ra large <<<"${peaks["$2 $3"]}"
    row memory "$1, peak over $SMALL_ROWS rows" "$(median "${small[@]}") KiB" "$(range "${small[@]}")" '' ''
    row memory "$1, peak over $3 rows" "$(median "${large[@]}") KiB" "$(range "${large[@]}")" \
        "$(ratio "$(median "${large[@]}")" "$(median "${small[@]}")")" 'under 150 MB; about 1: does not grow'
}

# took COMMAND…: wall time from start to exit, in milliseconds.
took() {
    local start; start=$(now)
    "$@" >/dev/null 2>&1 || die "failed: $*"
    awk -v us=$(($(now) - start)) 'BEGIN {printf "%.1f", us / 1000}'
}

start() {
    local own=() nothing=() python_json=() file mine
    file=$(rows 1)
    fresh
    for ((run = 0; run < STARTS; run++)); do
        own+=("$(cd "$work" && took "${clean[@]}" DATA_DIR=run/data "$program" \
            summary "$file" text textbook_quality --model heuristic)")
        nothing+=("$(took "${clean[@]}" true)")
        python_json+=("$(took "${clean[@]}" "$python" -c 'import json')")
    done
    mine=$(median "${own[@]}")
    row start 'classified, one row, heuristic' "$mine ms" "$(range "${own[@]}")" '' 'under 50 ms'
    row start "true" "$(median "${nothing[@]}") ms" "$(range "${nothing[@]}")" "$(ratio "$mine" "$(median "${nothing[@]}")")" ''
    row start "python3 -c 'import json'" "$(median "${python_json[@]}") ms" "$(range "${python_json[@]}")" \
        "$(ratio "$mine" "$(median "${python_json[@]}")")" ''
}

datasets() {
    local client; client=$(venv datasets) || { skip datasets "no virtual environment with datasets could be made"; return; }
    RUNS=$RUNS "$client" benches/reading.py "$target/release" "$work" >>"$table"
}

filter() {
    local client=$work/venv-filter/bin/python
    if ! "$client" -c 'import polars, duckdb, datasets, pyarrow' 2>/dev/null; then
        "$python" -m venv "$work/venv-filter" && "$client" -m pip install --quiet polars duckdb datasets pyarrow
    fi >&2 || { skip filter "no virtual environment with polars, duckdb and datasets could be made"; return; }
    RUNS=$RUNS "$client" benches/filtering.py "$program" "$work" >>"$table"
}

sections=("$@")
(($#)) || sections=(pipeline latency curator cached memory start datasets filter)
load=$(cut -d' ' -f1-3 /proc/loadavg)
for section in "${sections[@]}"; do "$section"; done
rm -rf "${work:?}/run"

printf '\nMeasured on %s, %s cores of %s, load before %s, commit %s.\n\n' "$(date +%F)" "$(nproc)" \
    "$(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo)" "$load" "$(git describe --always --dirty)"
printf '| section | what | median | range | ratio | claim |\n|---|---|---|---|---|---|\n'
cat "$table"
