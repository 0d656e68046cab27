"""Filters a parquet file by the program, polars, duckdb and `datasets`, and prints rows of the table of benches/README.md.

usage: filtering.py PROGRAM WORK, with RUNS and FILTER_ROWS in the environment

Each run is a process of its own, and they alternate. The program is timed from start to exit; the others from after their import, by their own
clock, which is in their favour. Half of the rows are kept.
"""

import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

RUNS = int(os.environ.get("RUNS", "5"))
ROWS = int(os.environ.get("FILTER_ROWS", "1000000"))
CUT = 2.0
CHUNK = 50_000

POLARS = """
import sys, time, polars as pl
began = time.perf_counter()
pl.scan_parquet(sys.argv[1]).filter(pl.col("quality") >= {cut}).sink_parquet(sys.argv[2], compression="zstd"{level})
print(time.perf_counter() - began)
"""
DUCKDB = """
import sys, time, duckdb
began = time.perf_counter()
duckdb.sql(f"COPY (FROM '{{sys.argv[1]}}' WHERE quality >= {cut}) TO '{{sys.argv[2]}}' (FORMAT parquet, COMPRESSION zstd)")
print(time.perf_counter() - began)
"""
DATASETS = """
import os, sys, time
os.environ["HF_HOME"] = sys.argv[3]
import datasets
datasets.disable_progress_bars()
rows = datasets.load_dataset("parquet", data_files=sys.argv[1], split="train")
began = time.perf_counter()
kept = rows.filter(lambda quality: [each >= {cut} for each in quality], input_columns="quality", batched=True, load_from_cache_file=False)
kept.to_parquet(sys.argv[2])
print(time.perf_counter() - began)
"""


def make(folder):
    """The file of rows, and the table of their scores as the program writes it."""
    rows, scores = folder / f"filter-{ROWS}.parquet", folder / f"filter-{ROWS}.scores.parquet"
    if rows.exists() and scores.exists():
        return rows, scores
    sys.stderr.write(f"filter: making {ROWS} rows\n")
    rng = random.Random(42)
    sys.path.insert(0, str(Path(__file__).parent))
    words = [line for line in (Path(__file__).parent / "rows.py").read_text().split('"""')[3].split()]
    sentences = [" ".join(rng.choices(words, k=rng.randint(10, 20))).capitalize() + "." for _ in range(4000)]
    schema = pa.schema([("id", pa.int64()), ("text", pa.string()), ("url", pa.string()), ("quality", pa.float64())])
    of_scores = pa.schema([pa.field("id", pa.string(), nullable=False), ("textbook_quality_score", pa.float64())])
    with pq.ParquetWriter(f"{rows}.part", schema) as writer, pq.ParquetWriter(f"{scores}.part", of_scores) as other:
        for start in range(0, ROWS, CHUNK):
            numbers = range(start, min(start + CHUNK, ROWS))
            texts = [(f"Row {n}. " + " ".join(rng.choices(sentences, k=8)))[:500] for n in numbers]
            quality = [rng.choice((1, 1.5, 2, 2.5)) for _ in numbers]
            urls = [f"https://example.org/{rng.randrange(10**9)}/{n}" for n in numbers]
            writer.write_table(pa.table([numbers, texts, urls, quality], schema=schema))
            ids = [f"{rows.name}#{n}" for n in numbers]
            other.write_table(pa.table([ids, quality], schema=of_scores))
    os.rename(f"{rows}.part", rows)
    os.rename(f"{scores}.part", scores)
    return rows, scores


def run(command, environment):
    """What a process printed, its wall time in seconds, and its peak memory in KiB."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    out, errors = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - began
    if process.returncode != 0:
        raise SystemExit(f"benches/filtering.py: {command[0]} ended with {process.returncode}: {errors[-2000:]}")
    return out, took, usage.ru_maxrss


def kept_rows(out):
    files = sorted((out / "data").glob("*.parquet")) if out.is_dir() else [out]
    return sum(pq.read_metadata(file).num_rows for file in files)


def main(program, folder):
    rows, scores = make(folder)
    kept = None
    out, cache = folder / "filter-out", folder / "filter-hf"
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_DATA_HOME": str(folder / "run")}

    def ours(*arguments):
        return [program, "filter", str(rows), *arguments, "--min", str(CUT), "-o", str(out), "--quiet"]

    def theirs(code, **values):
        text = code.format(cut=CUT, **values)
        return [sys.executable, "-c", text, str(rows), str(out), str(cache)]

    ways = {
        "classified, by a column": ours("--by", "row.quality"),
        "classified, by a file of scores": ours("--scores", str(scores)),
        "polars scan_parquet, filter, sink_parquet": theirs(POLARS, level=""),
        "the same, zstd level 1, which is ours": theirs(POLARS, level=", compression_level=1"),
        "duckdb COPY": theirs(DUCKDB),
        "datasets.filter and to_parquet, rows loaded before": theirs(DATASETS),
    }
    took, peak = {way: [] for way in ways}, {way: [] for way in ways}
    for nth in range(RUNS):
        for way, command in ways.items():
            remove(out)
            printed, wall, memory = run(command, clean)
            took[way].append(wall if way.startswith("classified") else float(printed.split()[-1]))
            peak[way].append(memory)
            found = kept_rows(out)
            kept = kept or found
            if found != kept:
                raise SystemExit(f"benches/filtering.py: {way} kept {found} rows, not {kept}")
        said = ", ".join(f"{way.split(' ')[0]} {times[-1]:.2f} s" for way, times in took.items())
        sys.stderr.write(f"filter {nth + 1}/{RUNS}: {said}\n")
    remove(out)
    shutil.rmtree(cache, ignore_errors=True)

    polars = "polars scan_parquet, filter, sink_parquet"
    for way, times in took.items():
        speeds = sorted(ROWS / each for each in times)
        # Of the neighbours in the same round, which a disturbance hits alike.
        ratio = statistics.median(theirs / mine for mine, theirs in zip(times, took[polars]))
        claim = "≥ 0.8 of polars" if way.startswith("classified") else ""
        row("filter", way, f"{statistics.median(speeds):.0f} rows/s", f"{speeds[0]:.0f}–{speeds[-1]:.0f}", f"{ratio:.2f}", claim)
    for way, kib in peak.items():
        claim = "under 300 MB" if way.startswith("classified") else ""
        row("filter", f"{way}, peak", f"{statistics.median(kib):.0f} KiB", f"{min(kib)}–{max(kib)}", "", claim)


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def row(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


main(sys.argv[1], Path(sys.argv[2]).resolve())
