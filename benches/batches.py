#!/usr/bin/env python3
"""A large run by batch, with everything that happens in a bad week: killed again and again, a batch that expires, a limit of
enqueued tokens. Counts what became of every question.

usage: batches.py PROGRAM STANDIN ROWS KILLS FOLDER

Starts the stand-in with batches, rates ROWS different rows through one lens by `summary --batch --wait`, kills the run
KILLS times at chance moments, and lets it end. Prints one JSON object: how often questions were answered (by the
stand-in's own count), the ledgers of the runs that came to an end, time, peak memory, and the batches that it took.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request

PROGRAM, STANDIN, ROWS, KILLS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
WORK = pathlib.Path(sys.argv[5]).resolve()
SENTENCE = "The number of ways to order a set grows with every element that joins it, because each new one can stand in any gap. "
# Input tokens that the account may have enqueued: of 120,000 questions about a third.
TOKENS_PER_ROW, SHARE = 900, 3
FLAGS = ["--batch", "--wait", "--quiet", "--format", "json", "--price", "1,2", "--yes"]


def get(url, path):
    """What the stand-in says under this path."""
    with urllib.request.urlopen(f"{url}{path}", timeout=60) as reply:
        return json.load(reply)


def start_standin():
    """The stand-in, and its address."""
    rules = WORK / "rules.json"
    expires = {"nth": {"start": 4, "end": 6}, "twist": {"expire_after": 0.5}}
    rules.write_text(json.dumps({"requests": [], "batches": [expires]}))
    limit = str(ROWS * TOKENS_PER_ROW // SHARE)
    command = [STANDIN, "--port", "0", "--batches", "--running-ms", "6000", "--enqueued-tokens", limit]
    standin = subprocess.Popen([*command, "--batch-rules", rules], stdout=subprocess.PIPE, text=True)
    line = standin.stdout.readline()
    return standin, "http://" + line.split("http://")[1].split("/")[0]


def peak(child):
    """The most memory that a child has had, in MB; waits for its end."""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    scale = 1e6 if sys.platform == "darwin" else 1e3
    return usage.ru_maxrss / scale


def main():
    """Runs it all."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    rows = WORK / "rows.jsonl"
    with rows.open("w") as out:
        for row in range(ROWS):
            out.write(json.dumps({"text": f"Row {row}. {SENTENCE * 7}"}) + "\n")
    standin, url = start_standin()
    environment = {
        "HOME": str(WORK),
        "PATH": os.environ["PATH"],
        "NO_PROXY": "*",
        "OPENAI_BASE_URL": url + "/v1",
        "DATABASE_URL": str(WORK / "ratings.db"),
    }
    command = [PROGRAM, "summary", "rows.jsonl", "text", "textbook_quality", *FLAGS]
    chance = random.Random(7)
    began, peaks, ends, killed = time.monotonic(), [], [], 0
    out = WORK / "out.json"
    try:
        while not ends or ends[-1]["code"] == 75:
            with out.open("w") as file, (WORK / "err.txt").open("a") as errors:
                child = subprocess.Popen(command, cwd=WORK, env=environment, stdout=file, stderr=errors)
                if killed < KILLS:
                    threading.Timer(chance.uniform(0.05, 60.0 / KILLS), child.send_signal, [signal.SIGKILL]).start()
                peaks.append(peak(child))
            if child.returncode == -signal.SIGKILL:
                killed += 1
                continue
            summary = json.loads(out.read_text())["summaries"][0]
            ends.append({"code": child.returncode, "ledger": summary["ledger"], "usage": summary["usage"]})
        seconds = time.monotonic() - began
        listed = subprocess.run(
            [PROGRAM, "batch", "list", "--all", "--format", "json"], env=environment, capture_output=True, check=True, cwd=WORK
        )
        batches = json.loads(listed.stdout)["batches"]
        counters = get(url, "/standin/counters")
    finally:
        standin.kill()
    report = {
        "rows": ROWS,
        "kills": killed,
        "seconds": round(seconds, 1),
        "peak_mb": round(max(peaks), 1),
        "questions_run": counters["batched"],
        "answered_twice": counters["repeats"],
        "batches": len(batches),
        "batches_at_the_endpoint": counters["batches"],
        "files_at_the_endpoint": counters["files"],
        "by_status": {status: sum(b["status"] == status for b in batches) for status in {b["status"] for b in batches}},
        "ends": ends,
    }
    print(json.dumps(report, indent=2))


main()
