"""Bespoke Curator over the same rows: one request per row, 32 in flight, as far as its settings go.

usage: python curator_run.py BASE_URL REQUEST.json ROWS.jsonl CACHE_FOLDER

REQUEST.json is a request as `classified` sent it for the first row of ROWS.jsonl. Prints the answers and their number
per second, from the call to its return: imports and the start of Python do not count.
"""

import json
import os
import sys
import time

base_url, request_path, rows_path, cache = sys.argv[1:]
os.environ.update(CURATOR_CACHE_DIR=cache, TELEMETRY_ENABLED="false", HOSTED_CURATOR_VIEWER="0", OPENAI_API_KEY="none")

import tiktoken  # noqa: E402


class Quarters:
    """A count of tokens by bytes: cheaper than the real one, so that it can only make Curator faster."""

    def encode(self, text, **_):
        """One number for each four bytes."""
        return text.encode()[::4]


try:
    tiktoken.get_encoding("cl100k_base")
except Exception:  # its table comes from the Internet: where there is none it is counted by bytes
    tiktoken.get_encoding = tiktoken.encoding_for_model = lambda _: Quarters()

from bespokelabs import curator  # noqa: E402  (it reads the environment when it is imported)
from pydantic import BaseModel  # noqa: E402

with open(request_path) as file:
    request = json.load(file)
with open(rows_path) as file:
    rows = [json.loads(line) for line in file]
system, user = (message["content"] for message in request["messages"])
before, found, after = user.partition(rows[0]["text"])
if not found:
    sys.exit("the request does not hold the first row's text")


class Answer(BaseModel):
    """What the lens asks for."""

    rationale: str
    overall: float


class Rater(curator.LLM):
    """One question per row."""

    response_format = Answer

    def prompt(self, row):
        """The messages of a row."""
        prompt = before + row["text"] + after
        return [{"role": "system", "content": system}, {"role": "user", "content": prompt}]

    def parse(self, row, answer):
        """The answer's score."""
        return {"overall": answer.overall}


rater = Rater(
    model_name=request["model"],
    backend="openai",
    backend_params={
        "base_url": base_url,
        "max_requests_per_minute": 10_000_000,
        "max_tokens_per_minute": 10_000_000_000,
        "max_concurrent_requests": 32,
    },
)
start = time.perf_counter()
answers = rater(rows)
wall = time.perf_counter() - start
answered = len(getattr(answers, "dataset", answers))
sys.__stdout__.write(f"{answered} {answered / wall:.0f}\n")
