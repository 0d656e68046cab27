"""The real Python client as the judge of the test hub: it reads every form of dataset, streaming and not.

Started by real_client.sh: real_client.py TESTHUB. Writes its own repositories into a temporary folder, starts the program TESTHUB on them, compares each row that
the client gives with the row that was written, and ends with 1 at a difference.
"""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

# Read when the packages are imported. Ours must be the only hub and the only cache; it tells of Xet and does not serve it.
HOME = tempfile.TemporaryDirectory(prefix="real-client-")
for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
    del os.environ[name]
os.environ |= {
    "HF_HOME": HOME.name,
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}
ROOT = Path(HOME.name, "repositories")

failures = []


def rows(start, stop):
    return [{"id": i, "text": f"row {i}: naïve, “quoted”\nand two lines"} for i in range(start, stop)]


def put(repo, path, content, revision="main"):
    place = ROOT / "datasets" / repo / revision.replace("/", "%2F") / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content.encode() if isinstance(content, str) else content)


def options(repo, **values):
    (ROOT / "datasets" / repo / "hub.json").write_text(json.dumps(values))


def as_jsonl(data):
    return "".join(json.dumps(row) + "\n" for row in data)


def as_csv(data):
    text = io.StringIO()
    writer = csv.DictWriter(text, ["id", "text"])
    writer.writeheader()
    writer.writerows(data)
    return text.getvalue()


def as_parquet(data, **how):
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(data), buffer, **how)
    return buffer.getvalue()


def as_arrow(data):
    import pyarrow

    table, buffer = pyarrow.Table.from_pylist(data), io.BytesIO()
    with pyarrow.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=20)
    return buffer.getvalue()


def write_repositories():
    """Each case: a name, what load_dataset is given, and the rows that it has to give."""
    for shard in range(3):
        put("acme/parquet", f"data/train-{shard:05}-of-00003.parquet", as_parquet(rows(100 * shard, 100 * shard + 100), row_group_size=30))
    put("acme/parquet", "README.md", "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n---\n# A card\n")
    for split, start, stop in (("train", 0, 60), ("validation", 60, 70), ("test", 70, 90)):
        put("acme/jsonl", f"{split}.jsonl.gz", gzip.compress(as_jsonl(rows(start, stop)).encode()))
    for language, start in (("en", 0), ("fr", 50)):
        put("acme/configs", f"{language}/train.csv", as_csv(rows(start, start + 40)))
    put("acme/configs", "README.md", "---\nconfigs:\n- config_name: en\n  data_files: en/*.csv\n  default: true\n- config_name: fr\n  data_files: fr/*.csv\n---\n")
    put("acme/array", "train.json", json.dumps(rows(0, 30)))
    put("acme/arrow", "data/train-00000-of-00001.arrow", as_arrow(rows(0, 50)))
    for number in range(130):
        put("acme/pages", f"data/part-{number:03}.jsonl", as_jsonl(rows(number, number + 1)))
    put("acme/gated", "train.jsonl", as_jsonl(rows(0, 5)))
    options("acme/gated", gated="manual", allowed_tokens=["hf_ok"])
    put("acme/new-name", "train.jsonl", as_jsonl(rows(0, 6)))
    options("acme/new-name", renamed_from=["acme/old-name"])
    put("acme/odd", "data/train set #1 [é].jsonl", as_jsonl(rows(0, 4)))
    put("acme/branches", "train.jsonl", as_jsonl(rows(0, 3)))
    put("acme/branches", "train.jsonl", as_jsonl(rows(10, 13)), "dev/two")
    put("acme/script", "script.py", "raise SystemExit\n")
    put("acme/script", "default/train/0000.parquet", as_parquet(rows(0, 20)), "refs/convert/parquet")
    put("acme/xet", "data/train-00000-of-00001.parquet", as_parquet(rows(0, 40)))
    options("acme/xet", xet=True)
    return [
        ("three parquet shards", {"path": "acme/parquet"}, rows(0, 300)),
        ("a split of gzipped JSONL", {"path": "acme/jsonl", "split": "validation"}, rows(60, 70)),
        ("two splits together", {"path": "acme/jsonl", "split": "train+test"}, rows(0, 60) + rows(70, 90)),
        ("the default of two configs in CSV", {"path": "acme/configs"}, rows(0, 40)),
        ("the other config", {"path": "acme/configs", "name": "fr"}, rows(50, 90)),
        ("an array in JSON", {"path": "acme/array"}, rows(0, 30)),
        ("an Arrow stream", {"path": "acme/arrow"}, rows(0, 50)),
        ("three pages of files", {"path": "acme/pages"}, rows(0, 130)),
        ("a gated repository with a token", {"path": "acme/gated", "token": "hf_ok"}, rows(0, 5)),
        ("a renamed repository", {"path": "acme/old-name"}, rows(0, 6)),
        ("a name with a space, a bracket, a hash and an accent", {"path": "acme/odd"}, rows(0, 4)),
        ("another branch", {"path": "acme/branches", "revision": "dev/two"}, rows(10, 13)),
        ("the converted parquet of a script", {"path": "acme/script", "revision": "refs/convert/parquet"}, rows(0, 20)),
        ("a file in Xet, read the old way", {"path": "acme/xet"}, rows(0, 40)),
    ]


def check(what, condition, detail=""):
    print(f"{'ok' if condition else 'FAILED'}: {what}{'' if condition else ': ' + str(detail)[:300]}", flush=True)
    if not condition:
        failures.append(what)


def read(what, arguments, expected, modes=("streamed", "downloaded")):
    from datasets import load_dataset

    for mode in modes:
        try:
            got = list(load_dataset(**{"split": "train", "streaming": mode == "streamed"} | arguments))
        except Exception as error:
            check(f"{what}, {mode}", False, repr(error))
        else:
            check(f"{what}, {mode}: {len(expected)} rows", got == expected, f"{len(got)} rows, first {got[:1]}")


def refused(what, arguments, error_name, words):
    from datasets import load_dataset

    try:
        load_dataset(**{"split": "train", "streaming": True} | arguments)
    except Exception as error:
        check(f"{what} is {error_name}", type(error).__name__ == error_name and words in str(error), repr(error))
    else:
        check(f"{what} is {error_name}", False, "it was read")


def control(path, body):
    request = urllib.request.Request(f"{os.environ['HF_ENDPOINT']}/__hub__/{path}", json.dumps(body).encode())
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read()


def main():
    cases = write_repositories()
    hub = subprocess.Popen([sys.argv[1], "--root", ROOT, "--page-size", "50"], stdout=subprocess.PIPE, text=True)
    try:
        os.environ["HF_ENDPOINT"] = json.loads(hub.stdout.readline())["hub"]
        os.environ["NO_PROXY"] = "127.0.0.1"
        import datasets
        import huggingface_hub

        print(f"datasets {datasets.__version__}, huggingface_hub {huggingface_hub.__version__}")
        # First, while the client has nothing cached that it could fall back on.
        refused("a gated repository without a token", {"path": "acme/gated"}, "DatasetNotFoundError", "gated")
        refused("a repository that is not there", {"path": "acme/nowhere"}, "DatasetNotFoundError", "doesn't exist")
        refused("a revision that is not there", {"path": "acme/branches", "revision": "nope"}, "DatasetNotFoundError", "Revision 'nope'")
        for what, action in (("a 503 from the CDN", {"status": 503}), ("a body that is cut", {"truncate": 700})):
            control("faults", [{"side": "cdn", "action": action}])
            read(f"after {what}", {"path": "acme/jsonl"}, rows(0, 60), ("streamed",))
        for what, arguments, expected in cases:
            read(what, arguments, expected)
    finally:
        hub.kill()
        hub.wait()
    print(f"{len(failures)} differences")
    # A thread of the client that is still reading must not keep or fail the script.
    sys.stdout.flush()
    HOME.cleanup()
    os._exit(1 if failures else 0)


if __name__ == "__main__":
    main()
