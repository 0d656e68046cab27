"""The `datasets` section of run.sh: reading datasets, beside the Python client, the parquet crate and serde_json.

usage: reading.py BIN WORK    BIN: the folder of the release build, WORK: where files are made; rows of the table to stdout

Needs `datasets`, which brings pyarrow. Sizes: SHARD_ROWS (16000 rows a shard of ten), LARGE_GB (5), RUNS (5).
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

BIN, WORK = Path(sys.argv[1]), Path(sys.argv[2]) / "datasets"
HERE = Path(__file__).parent
SHARD_ROWS, LARGE_GB, RUNS = (int(os.environ.get(name, default)) for name, default in
                              (("SHARD_ROWS", 16000), ("LARGE_GB", 5), ("RUNS", 5)))
SHARDS = 10


def say(text):
    print(text, file=sys.stderr, flush=True)


def row(what, values, unit, ratio="", claim=""):
    middle = statistics.median(values)
    spread = f"{min(values):.0f}–{max(values):.0f}" if len(values) > 1 else ""
    print(f"| datasets | {what} | {middle:.0f} {unit} | {spread} | {ratio} | {claim} |", flush=True)


def texts(rows):
    """Texts of about 2.5 kB, as long again as those of rows.py, with other columns beside them."""
    out = subprocess.run([sys.executable, HERE / "rows.py", str(rows * 3)], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in out.stdout.splitlines()]
    for at in range(rows):
        text = " ".join(line["text"] for line in lines[3 * at:3 * at + 3])
        yield {"id": at, "url": f"https://example.org/{at}", "score": at / 7, "text": text}


def make():
    """Two repositories of ten shards, by the writer of `push_to_hub` and by pyarrow's defaults; JSON lines; two large ones."""
    done = WORK / f"made-{SHARD_ROWS}-{LARGE_GB}"
    if done.exists():
        return
    say("datasets: making the files")
    root = WORK / "root/datasets/bench"
    rows = list(texts(SHARD_ROWS))
    for name in ("datasets", "pyarrow", "large"):
        (root / name / "main/data").mkdir(parents=True, exist_ok=True)
    # Digests of names, not of contents: a Hub that is started should not read gigabytes first.
    for name in ("datasets", "pyarrow", "large"):
        (root / name / "hub.json").write_text('{"hash": "names"}')
    table = pa.Table.from_pylist(rows)
    for shard in range(SHARDS):
        file = f"main/data/train-{shard:05d}-of-{SHARDS:05d}.parquet"
        Dataset(table).to_parquet(root / "datasets" / file)
        pq.write_table(table, root / "pyarrow" / file)
    with open(WORK / "rows.jsonl", "w") as out:
        out.writelines(json.dumps(each) + "\n" for _ in range(3) for each in rows)
    for name, size in (("small", 0.5e9), ("large", LARGE_GB * 1e9)):
        (root / name / "main/data").mkdir(parents=True, exist_ok=True)
        (root / name / "hub.json").write_text('{"hash": "names"}')
        path = root / name / "main/data/train-00000-of-00001.parquet"
        writer = pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False)
        while not path.exists() or path.stat().st_size < size:
            writer.write_table(table)
        writer.close()
    done.touch()


class Hub:
    def __enter__(self):
        command = [BIN / "examples/testhub", "--root", WORK / "root"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = json.loads(self.process.stdout.readline())["hub"]
        return self

    def __exit__(self, *_):
        self.process.kill()

    def log(self, method="GET"):
        request = urllib.request.Request(f"{self.url}/__hub__/log", method=method)
        with urllib.request.urlopen(request) as reply:
            return json.loads(reply.read() or "[]")

    def run(self, *command):
        """Runs a command against this Hub: seconds, output, peak memory in KiB, requests and bytes as the Hub counted them."""
        self.log("DELETE")
        with tempfile.TemporaryDirectory() as home:
            clean = {"PATH": os.environ["PATH"], "HOME": home, "HF_HOME": home, "HF_ENDPOINT": self.url, "NO_PROXY": "*",
                     "HF_HUB_DISABLE_TELEMETRY": "1"}
            began = time.time()
            process = subprocess.Popen([str(part) for part in command], env=clean, cwd=home, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
            out, errors = process.communicate()
            seconds = time.time() - began
        if process.returncode:
            sys.exit(f"failed: {command}\n{errors}")
        log = self.log()
        return {"seconds": seconds, "out": out, "requests": len(log), "bytes": sum(each["resp_bytes"] for each in log)}


def python(code):
    # It ends at once: interpreter and threads take seconds to go.
    end = "\nprint('rows', out, 'seconds', time.time() - began, flush=True)\nos._exit(0)"
    return [sys.executable, "-c", "import os, time\nfrom datasets import load_dataset\nbegan = time.time()\n" + code + end]


def sample(hub, repo):
    code = f"out = len([r['text'] for r in load_dataset('bench/{repo}', split='train', streaming=True, columns=['text']).shuffle(seed=42).take(25)])"
    theirs = hub.run(*python(code))
    ours = [hub.run(BIN / "classified", "summary", f"bench/{repo}", "text", "textbook_quality", "--max", "25", "--seed", seed,
                    "--stream", "--model", "heuristic", "--quiet") for seed in range(42, 42 + RUNS)]
    what = f"25 random rows, ten shards by {repo}"
    claims = ("fewer", "≤ 0.25") if repo == "datasets" else ("no page index: none", "≤ 0.25")
    for unit, key, scale, claim in (("requests", "requests", 1, claims[0]), ("MB", "bytes", 1e6, claims[1])):
        mine = [each[key] / scale for each in ours]
        row(f"{what}, classified", mine, unit, f"{statistics.median(mine) / (theirs[key] / scale):.2f}", claim)
        row(f"{what}, Python client", [theirs[key] / scale], unit)


def rate(out):
    return float(re.search(r"([\d.]+) rows/s", out).group(1))


def scans(hub):
    rows = SHARD_ROWS * SHARDS
    folder = WORK / "root/datasets/bench/datasets/main"
    code = "out = sum(len(b['text']) for b in load_dataset('bench/datasets', split='train', streaming=True, columns=['text']).iter(batch_size=1000))"
    streamed, disk, local, theirs, ours, serde = [], [], [], [], [], []
    for turn in range(RUNS):
        streamed.append(rate(hub.run(BIN / "examples/scan", "dataset", "bench/datasets", "text")["out"]))
        disk.append(rate(hub.run(BIN / "examples/scan", "parquet", folder, "text")["out"]))
        local.append(rate(hub.run(BIN / "examples/scan", "dataset", folder, "text")["out"]))
        ours.append(rate(hub.run(BIN / "examples/scan", "dataset", WORK / "rows.jsonl", "text")["out"]))
        serde.append(rate(hub.run(BIN / "examples/scan", "json", WORK / "rows.jsonl", "text")["out"]))
        if turn < 3:
            out = hub.run(*python(code))["out"].split()
            theirs.append(int(out[1]) / float(out[3]))
            assert int(out[1]) == rows, out
        say(f"datasets: scans {turn + 1}/{RUNS}")
    middle = statistics.median
    row("scan of a text column, streamed", streamed, "rows/s")
    row("the same, Python client in batches of 1,000", theirs, "rows/s", f"{middle(streamed) / middle(theirs):.2f}", "≥ 2")
    row("the same files, the parquet crate from disk", disk, "rows/s", f"{middle(streamed) / middle(disk):.2f}", "≥ 0.7")
    row("the same files, the program from disk", local, "rows/s", f"{middle(local) / middle(disk):.2f}")
    row("JSON lines, the program", ours, "rows/s")
    row("JSON lines, serde_json Values", serde, "rows/s", f"{middle(ours) / middle(serde):.2f}", "≥ 0.5")


def memory(hub):
    peaks = {}
    for name in ("small", "large"):
        # The peak of waited-for children only grows: the small one comes first, in a process of its own each.
        code = ("import resource, subprocess, sys\nsubprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
        command = [sys.executable, "-c", code, BIN / "examples/scan", "dataset", f"bench/{name}", "text"]
        peaks[name] = [float(hub.run(*command)["out"]) for _ in range(min(RUNS, 3))]
    ratio = f"{statistics.median(peaks['large']) / statistics.median(peaks['small']):.2f}"
    row("streamed scan of 0.5 GB of parquet, peak", peaks["small"], "KiB")
    row(f"streamed scan of {LARGE_GB} GB of parquet, peak", peaks["large"], "KiB", ratio, "about 1: does not grow")


make()
with Hub() as hub:
    for repo in ("datasets", "pyarrow"):
        sample(hub, repo)
    scans(hub)
    memory(hub)
