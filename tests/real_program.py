"""The real Python client as the judge of the program: both read every dataset of a hub, streamed and downloaded, and then each other's cache without a network.

Started by real_client.sh: real_program.py PROGRAM HUB. HUB is the program of the test hub, which is started on the repositories of real_client.py, or the address of
a hub that is running, whose repositories are all read. Every row and each of its columns is compared. Ends with 1 at a difference that is not in DIFFERENCES.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from real_client import HOME, check, control, failures, write_repositories

# Where the two differ on purpose, in whatever mode: what the program does instead.
DIFFERENCES = {
    "acme/script": "reads the Hub's conversion of a script, which the client refuses",
    "acme/script-only": "reads the Hub's conversion of a script, which the client refuses",
    "acme/wds": "reads no WebDataset",
}
TOKENS = {"acme/gated": "hf_ok", "acme/private": "hf_ok"}
LENS = "learning_value"
# huggingface_hub 2.4 keeps the list of a commit's files; one that does not takes a part of them for all.
KEEPS_LISTS = importlib.util.find_spec("huggingface_hub._tree_cache") is not None
PREFERRED = ("text", "markdown", "txt")


@contextmanager
def hub(what):
    """The address of the hub."""
    if what.startswith("http"):
        yield what
        return
    write_repositories()
    process = subprocess.Popen([what, "--root", Path(HOME.name, "repositories"), "--page-size", "50"], stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(process.stdout.readline())["hub"]
    finally:
        process.kill()
        process.wait()


def repositories(endpoint):
    """All of them, and their revisions; names under which they are known too come last."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{endpoint}/__hub__/repos") as reply:
        return {repo: list(revisions) for repo, revisions in sorted(json.load(reply).items())}


class Failed(Exception):
    """The program did not read; what it said."""


def program(arguments, columns, home, **variables):
    """The rows as the program reads them: by their ids, these columns."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "DATA_DIR": f"{folder}/out", "HF_HOME": str(home), "HF_ENDPOINT": os.environ["HF_ENDPOINT"]}
        environment |= {"NO_PROXY": "127.0.0.1"} | variables
        column = next((name for name in PREFERRED if name in columns), columns[0])
        others = [name for name in columns if name != column]
        command = [PROGRAM, "summary", *arguments, column, LENS, "--model", "heuristic", "--fail-above", "100%"]
        command += ["--keep", ",".join(others)] if others else []
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
        program.told = done.stderr
        if done.returncode:
            raise Failed((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
        rows = {}
        for path in Path(folder, "out").glob(f"*/{LENS}.jsonl"):
            for line in path.read_text().split("\n"):
                if line:
                    line = json.loads(line)
                    rows.setdefault(line["id"], {name: line.get("fields", {}).get(name) for name in columns})
        # Of CSV the program knows no numbers.
        program.is_text = any(id.split("#")[0].endswith((".csv", ".tsv")) for id in rows)
        return rows


def as_text(value):
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def same(what, repo, expected, got):
    """Compares rows; expected and got are lists, or what went wrong."""
    if isinstance(expected, Exception) and isinstance(got, Exception):
        return check(f"{what}: neither reads it ({type(expected).__name__}; {str(got)[:110]})", True)
    if isinstance(expected, Exception) or isinstance(got, Exception):
        wrong = f"the client: {outcome(expected)}; the program: {outcome(got)}"
        if repo in DIFFERENCES:
            return check(f"{what}: differs as meant: {DIFFERENCES[repo]} ({wrong})"[:400], True)
        return check(what, False, wrong)
    if program.is_text:
        expected, got = ([{name: as_text(value) for name, value in row.items()} for row in rows] for rows in (expected, got))
    where = next((index for index, pair in enumerate(zip(expected, got)) if pair[0] != pair[1]), None)
    if where is not None:
        return check(what, False, f"row {where}: the client: {expected[where]!r:.120}; the program: {got[where]!r:.120}")
    return check(f"{what}: {len(expected)} rows", len(expected) == len(got), f"the client: {len(expected)} rows; the program: {len(got)}")


def outcome(result):
    return f"{type(result).__name__} {str(result)[:200]}" if isinstance(result, Exception) else f"{len(result)} rows"


def attempt(read):
    try:
        return read()
    except Exception as error:
        return error


def parts(repo, revision, token):
    """The configs and splits that the client finds; one nameless part if it finds none."""
    from datasets import get_dataset_config_names, get_dataset_split_names

    try:
        return [
            (config, split)
            for config in get_dataset_config_names(repo, revision=revision, token=token)
            for split in get_dataset_split_names(repo, config, revision=revision, token=token)
        ]
    except Exception:
        return [(None, "train")]


def compare(repo, revision, home):
    """Every config and split of a repository, streamed and downloaded."""
    from datasets import load_dataset

    token = TOKENS.get(repo)
    variables = {"HF_TOKEN": token} if token else {}
    for config, split in parts(repo, revision, token):
        for mode in ("streamed", "downloaded"):
            arguments = {"path": repo, "name": config, "split": split, "revision": revision, "token": token, "streaming": mode == "streamed"}
            expected = attempt(lambda: list(load_dataset(**arguments)))
            columns = list(expected[0]) if isinstance(expected, list) and expected else ["text"]
            flags = [repo, "--revision", revision, "--split", split]
            flags += ["--config", config] if config else []
            flags += ["--stream"] if mode == "streamed" else []
            got = attempt(lambda: list(program(flags, columns, home, **variables).values()))
            same(f"{repo}@{revision} {config or ''} {split} {mode}", repo, expected, got)


def cached(repo, revision):
    """Each reads without a network what the other has downloaded."""
    from datasets import load_dataset
    from huggingface_hub import scan_cache_dir, snapshot_download

    token = TOKENS.get(repo)
    variables = {"HF_TOKEN": token} if token else {}
    config, split = parts(repo, revision, token)[0]
    expected = attempt(lambda: list(load_dataset(repo, config, split=split, revision=revision, token=token)))
    if not isinstance(expected, list):
        return
    flags = [repo, "--revision", revision, "--split", split] + (["--config", config] if config else [])
    columns = list(expected[0])
    where = f"{repo}@{revision}"

    def offline(home):
        return attempt(lambda: list(program(flags, columns, home, HF_HUB_OFFLINE="1").values()))

    # The client's cache: by load_dataset, which keeps no list of files, and by snapshot_download, which does.
    same(f"{where}: the program offline from load_dataset's cache", repo, expected, offline(HOME.name))
    check(f"{where}: and says that there may be more", "there may be more" in program.told, program.told)
    with tempfile.TemporaryDirectory() as home:
        snapshot_download(repo, repo_type="dataset", revision=revision, token=token, cache_dir=f"{home}/hub")
        same(f"{where}: the program offline from snapshot_download's cache", repo, expected, offline(home))
        if KEEPS_LISTS:
            check(f"{where}: and knows that this is all", "there may be more" not in program.told, program.told)
    with tempfile.TemporaryDirectory() as home:
        # Its own, which the client reads too. What the program does not need (a .gitattributes) is not there.
        same(f"{where}: the program downloads", repo, expected, attempt(lambda: list(program(flags, columns, home, **variables).values())))
        same(f"{where}: the program offline from its own cache", repo, expected, offline(home))
        check(f"{where}: without a warning", "there may be more" not in program.told, program.told)
        trees = list(Path(home, "hub").glob("datasets--*/trees/*.json"))
        snapshots = [path for path in Path(home, "hub").glob("datasets--*/snapshots/*") if any(path.iterdir())]
        for path in snapshots:
            files = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
            local = attempt(
                lambda files=files: snapshot_download(repo, repo_type="dataset", revision=revision, cache_dir=f"{home}/hub", local_files_only=True, allow_patterns=[literal(file) for file in files])
            )
            check(f"{where}: the client finds the program's snapshot offline", not isinstance(local, Exception), repr(local))
            if not isinstance(local, Exception):
                again = attempt(lambda: list(load_dataset(local, config, split=split)))
                # It cannot read a split alone where the card names others that were not downloaded.
                if isinstance(again, FileNotFoundError):
                    check(f"{where}: the client misses what was not downloaded ({type(again).__name__})", len(parts(repo, revision, token)) > 1, repr(again))
                else:
                    same(f"{where}: the client from the program's snapshot", repo, expected, again)
            if trees and KEEPS_LISTS:
                missing = len(json.loads(trees[0].read_text())["files"]) - len(files)
                whole = attempt(lambda: snapshot_download(repo, repo_type="dataset", revision=revision, cache_dir=f"{home}/hub", local_files_only=True))
                known = f"{missing} file(s) are missing" in str(whole) if missing else not isinstance(whole, Exception)
                check(f"{where}: the client knows what is missing of it ({missing} files)", known, repr(whole))
        warnings = scan_cache_dir(f"{home}/hub").warnings
        check(f"{where}: the client finds nothing amiss in the program's cache", not warnings, warnings)


def literal(name):
    """A pattern that means this name alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def particular():
    """A cache with a part of a dataset: that part is read, and the rest is missed by name. A dataset's old name leads to it."""
    from huggingface_hub import snapshot_download

    with tempfile.TemporaryDirectory() as home:
        snapshot_download("acme/parquet", repo_type="dataset", cache_dir=f"{home}/hub")
        shards = sorted(Path(home, "hub").glob("datasets--acme--parquet/snapshots/*/data/*"))
        for shard in shards[1:]:
            shard.resolve().unlink()
            shard.unlink()
        got = attempt(lambda: program(["acme/parquet"], ["text"], home, HF_HUB_OFFLINE="1"))
        check("a part of a snapshot is not read for the whole", isinstance(got, Failed) and f"`data/{shards[1].name}` (and 1 more of 3 files)" in str(got), outcome(got))
    with tempfile.TemporaryDirectory() as home:
        old = attempt(lambda: program(["acme/old-name"], ["text"], home))
        again = attempt(lambda: program(["acme/old-name"], ["text"], home, HF_HUB_OFFLINE="1"))
        check("a renamed dataset is read offline by its old name", isinstance(old, dict) and again == old, outcome(again))


def main():
    global PROGRAM
    PROGRAM = str(Path(sys.argv[1]).resolve())
    with hub(sys.argv[2]) as os.environ["HF_ENDPOINT"]:
        os.environ["NO_PROXY"] = "127.0.0.1"
        import datasets
        import huggingface_hub

        print(f"{PROGRAM} beside datasets {datasets.__version__}, huggingface_hub {huggingface_hub.__version__} at {os.environ['HF_ENDPOINT']}")
        with tempfile.TemporaryDirectory() as home:
            for repo, revisions in repositories(os.environ["HF_ENDPOINT"]).items():
                for revision in revisions:
                    # The client uses up the hub's limits, and would wait for minutes.
                    control("scenario", {"name": repo})
                    compare(repo, revision, home)
                    cached(repo, revision)
            if not sys.argv[2].startswith("http"):
                particular()
    print(f"{len(failures)} differences")
    sys.stdout.flush()
    HOME.cleanup()
    os._exit(1 if failures else 0)


if __name__ == "__main__":
    main()
