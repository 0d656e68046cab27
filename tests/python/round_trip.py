"""Filters odd files with the program, and compares what five libraries read of input and output.

    round_trip.py PROGRAM [NAME…]

Inputs are made by pyarrow, pandas, polars, duckdb and `datasets`. Each is filtered twice: by a column that it has, which adds nothing, and with
a lens, which adds columns. Of both outputs pyarrow, polars, duckdb, pandas and `datasets` have to find the kept rows of the input: the
same columns in the same types and order, the same values, the same metadata. What a library cannot read of the input is said and left out.
"""

import datetime
import decimal
import json
import math
import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

ROWS = 40
TEXT = (
    "Water boils at a lower temperature on a mountain, because the air above presses less on its surface. A cook "
    "who knows this boils potatoes for longer there. The difference is about one degree for every three hundred metres. "
)
LENS = "textbook_quality"
ADDED = [f"{LENS}_score", f"{LENS}_int_score", "score", "int_score"]

work = Path(tempfile.mkdtemp(prefix="round-trip-"))
os.environ["HF_HOME"] = str(work / "hf")
os.environ["HF_HUB_OFFLINE"] = "1"
# A library that panics at an input says so in a line.
os.environ["RUST_BACKTRACE"] = "0"

import datasets  # noqa: E402 (reads HF_HOME when it is imported)
import duckdb  # noqa: E402
import pandas as pd  # noqa: E402
import polars as pl  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

datasets.disable_progress_bars()

# Which rows are kept; a null is not.
KEEP = [None if n == 5 else float(n % 3 > 0) for n in range(ROWS)]
MASK = [keep is not None and keep >= 0.5 for keep in KEEP]
TEXTS = [f"{n}. {TEXT}" for n in range(ROWS)]


def holed(values, every=4):
    """The values, with a null now and then."""
    return [None if n % every == 1 else value for n, value in enumerate(values)]


def arrow_columns():
    """A column of each type of Arrow that parquet holds."""
    n = range(ROWS)
    utc = datetime.timezone.utc
    moments = [datetime.datetime(2024, 5, 1, 12, 30, tzinfo=utc) + datetime.timedelta(hours=7 * i) for i in n]
    floats = [math.nan, math.inf, -math.inf, -0.0, 0.1, 1e300, 5e-324] + [i / 7 for i in range(ROWS - 7)]
    yield pa.field("text", pa.string()), TEXTS
    yield pa.field("keep", pa.float64()), KEEP
    yield pa.field("bool", pa.bool_()), holed([i % 2 == 0 for i in n])
    for bits in (8, 16, 32, 64):
        top = 2 ** (bits - 1) - 1
        yield pa.field(f"int{bits}", getattr(pa, f"int{bits}")()), holed([[top, -top - 1, i][i % 3] for i in n])
        yield pa.field(f"uint{bits}", getattr(pa, f"uint{bits}")()), holed([[2 * top + 1, 0, i][i % 3] for i in n])
    halves = [math.nan, math.inf, -0.0] + [i / 4 for i in range(ROWS - 3)]
    yield pa.field("float16", pa.float16()), halves
    yield pa.field("float32", pa.float32()), [float(i) / 8 for i in n]
    yield pa.field("float64", pa.float64()), holed(floats)
    for precision, scale in ((1, 0), (5, 2), (9, 3), (18, 0), (38, 10)):
        number = decimal.Decimal(7).scaleb(-scale)
        yield pa.field(f"decimal{precision}", pa.decimal128(precision, scale)), holed([number for _ in n])
    wide = decimal.Decimal("1234567890123456789012345678901234567890.12345")
    yield pa.field("decimal256", pa.decimal256(50, 5)), holed([wide for _ in n])
    yield pa.field("date32", pa.date32()), holed([m.date() for m in moments])
    yield pa.field("date64", pa.date64()), holed([m.date() for m in moments])
    for unit in ("s", "ms", "us", "ns"):
        yield pa.field(f"timestamp_{unit}", pa.timestamp(unit)), holed([m.replace(tzinfo=None) for m in moments])
        yield pa.field(f"duration_{unit}", pa.duration(unit)), holed([datetime.timedelta(seconds=i) for i in n])
    for zone in ("UTC", "Europe/Berlin", "+05:30"):
        yield pa.field(f"timestamp {zone}", pa.timestamp("us", zone)), holed(moments)
    times = [datetime.time(i % 24, 30, 15) for i in n]
    for name, kind in (("s", pa.time32("s")), ("ms", pa.time32("ms")), ("us", pa.time64("us")), ("ns", pa.time64("ns"))):
        yield pa.field(f"time_{name}", kind), holed(times)
    words = [f"word {i % 5} é \0 \U0001f600" for i in n]
    yield pa.field("large_string", pa.large_string()), holed(words)
    yield pa.field("required", pa.string(), nullable=False), words
    yield pa.field("binary", pa.binary()), holed([bytes([i, 255, 0]) for i in n])
    yield pa.field("large_binary", pa.large_binary()), holed([bytes([i]) * i for i in n])
    yield pa.field("fixed_binary", pa.binary(16)), holed([uuid.UUID(int=i).bytes for i in n])
    yield pa.field("null", pa.null()), [None for _ in n]
    yield pa.field("ünïcode name. with dots", pa.int64()), list(n)
    yield pa.field("list", pa.list_(pa.int32())), holed([holed(range(i % 5)) for i in n])
    yield pa.field("list_of_list", pa.list_(pa.list_(pa.string()))), holed([[[], ["a", None]][: i % 3] for i in n])
    yield pa.field("large_list", pa.large_list(pa.large_string())), holed([["x"] * (i % 3) for i in n])
    yield pa.field("fixed_list", pa.list_(pa.float32(), 3)), [[i, i + 0.5, -i] for i in n]
    inner = pa.struct([pa.field("a", pa.int64()), pa.field("b", pa.list_(pa.struct([("c", pa.string())])), nullable=True)])
    structs = [{"a": i, "b": [{"c": "x"}, None][: i % 3]} for i in n]
    yield pa.field("struct", inner), holed(structs)
    yield pa.field("list_of_struct", pa.list_(inner)), holed([[s, None, s][: i % 4] for i, s in enumerate(structs)])
    yield pa.field("map", pa.map_(pa.string(), pa.int64())), holed([[("k", i), ("l", None)][: i % 3] for i in n])
    deep = pa.map_(pa.int32(), pa.list_(pa.struct([("z", pa.date32())])))
    yield pa.field("map_deep", deep), holed([[(i, [{"z": moments[i].date()}])] for i in n])
    for name, kind in (
        ("dictionary", pa.dictionary(pa.int32(), pa.string())),
        ("dictionary_ordered", pa.dictionary(pa.int8(), pa.string(), ordered=True)),
        ("dictionary_large", pa.dictionary(pa.uint16(), pa.large_string())),
        ("dictionary_binary", pa.dictionary(pa.int32(), pa.binary())),
        ("dictionary_int", pa.dictionary(pa.int32(), pa.int64())),
    ):
        values = [[1, 2, 3], [b"a", b"b", b"c"], ["a", "b", "c"]]
        values = values[0] if "int64" in str(kind.value_type) else values[1] if kind.value_type == pa.binary() else values[2]
        yield pa.field(name, kind), holed([values[i % 3] for i in n])
    metadata = {"unit": "words", "PARQUET:field_id": "77"}
    yield pa.field("with metadata", pa.int64(), metadata=metadata), list(n)


# Columns that one library or the other does not read: they are in files of their own.
NOT_POLARS = ("timestamp +05:30", "decimal256", "dictionary_binary", "dictionary_int")
NOT_DATASETS = ("map", "map_deep", "decimal256", "dictionary_binary", "dictionary_int")


def without(*names):
    return lambda name: name not in names


def arrow_table(takes=lambda name: True):
    fields, columns = [], []
    for field, values in arrow_columns():
        if not takes(field.name):
            continue
        fields.append(field)
        if pa.types.is_dictionary(field.type):
            column = pa.array(values, field.type.value_type).dictionary_encode().cast(field.type)
        else:
            column = pa.array(values, field.type)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata={"team": "data", "empty": "", "é": "ü"}))


def by_pyarrow(path):
    pq.write_table(arrow_table(), path)


def by_pyarrow_for_polars(path):
    pq.write_table(arrow_table(without(*NOT_POLARS)), path)


def by_pyarrow_for_datasets(path):
    pq.write_table(arrow_table(without(*NOT_DATASETS)), path)


def by_pyarrow_small_groups(path):
    pq.write_table(arrow_table(), path, row_group_size=7, data_page_version="2.0", compression="zstd", write_page_index=True)


def by_pyarrow_without_schema(path):
    table = arrow_table(without(*NOT_POLARS))
    pq.write_table(table, path, store_schema=False, use_dictionary=False, compression="none")


def by_pyarrow_int96(path):
    # Without a schema of Arrow's, as Spark and Hive write it: it is nanoseconds to all.
    table = arrow_table(without(*NOT_POLARS))
    pq.write_table(table, path, store_schema=False, use_deprecated_int96_timestamps=True, compression="gzip")


def by_pandas_range_index(path):
    frame = pd.DataFrame({"text": TEXTS, "keep": KEEP})
    frame["moment"] = pd.date_range("2024-05-01", periods=ROWS, tz="Europe/Berlin")
    frame["category"] = pd.Categorical([f"c{n % 3}" for n in range(ROWS)], categories=["c2", "c1", "c0", "no"], ordered=True)
    frame["whole"] = pd.array(holed(range(ROWS)), dtype="Int64")
    frame["truth"] = pd.array(holed([True] * ROWS), dtype="boolean")
    frame["took"] = pd.to_timedelta(range(ROWS), unit="s")
    frame["object"] = holed([["a", "b"]] * ROWS)
    frame.attrs["source"] = "here"
    frame.to_parquet(path)


def by_pandas_named_index(path):
    frame = pd.DataFrame({"text": TEXTS, "keep": KEEP}, index=pd.Index([f"row {n}" for n in range(ROWS)], name="name"))
    frame.to_parquet(path)


def by_pandas_two_indices(path):
    index = pd.MultiIndex.from_product([range(ROWS // 4), list("abcd")], names=["number", None])
    pd.DataFrame({"text": TEXTS, "keep": KEEP}, index=index).to_parquet(path)


def by_polars(path):
    n = range(ROWS)
    moments = [datetime.datetime(2024, 5, 1) + datetime.timedelta(hours=i) for i in n]
    frame = pl.DataFrame(
        {
            "text": TEXTS,
            "keep": KEEP,
            "list": pl.Series(holed([["a", None, "longer than twelve bytes"][: i % 4] for i in n]), dtype=pl.List(pl.String)),
            "array": pl.Series([[i, i + 1] for i in n], dtype=pl.Array(pl.Int16, 2)),
            "struct": holed([{"a": i, "b": {"c": "x" * i}} for i in n]),
            "category": pl.Series(holed([f"c{i % 3}" for i in n]), dtype=pl.Categorical),
            "enum": pl.Series([["x", "y"][i % 2] for i in n], dtype=pl.Enum(["y", "x", "z"])),
            "decimal": pl.Series(holed([decimal.Decimal("1.25")] * ROWS), dtype=pl.Decimal(20, 2)),
            "moment": pl.Series(moments, dtype=pl.Datetime("ns")),
            "zoned": pl.Series(moments, dtype=pl.Datetime("us")).dt.replace_time_zone("Asia/Tokyo"),
            "date": [m.date() for m in moments],
            "time": [m.time() for m in moments],
            "took": pl.Series([datetime.timedelta(seconds=i) for i in n], dtype=pl.Duration("ms")),
            "bytes": holed([bytes([i, 200]) for i in n]),
            "u64": pl.Series([2**64 - 1 - i for i in n], dtype=pl.UInt64),
            "i8": pl.Series([i - 20 for i in n], dtype=pl.Int8),
            "null": pl.Series([None] * ROWS, dtype=pl.Null),
        }
    )
    frame.write_parquet(path)


def by_duckdb(path):
    texts = pa.table({"text": TEXTS, "keep": pa.array(KEEP, pa.float64()), "n": range(ROWS)})  # noqa: F841 (read by its name)
    duckdb.sql(
        f"""COPY (SELECT text, keep, n, n::UTINYINT AS small, ('0000000' || (n + 10))::VARCHAR AS padded,
        md5(n::VARCHAR)::UUID AS uuid, [n, NULL] AS list, {{'a': n, 'b': [text[:9]]}} AS struct,
        MAP {{'k': n}} AS map, (CASE n % 2 WHEN 0 THEN 'x' ELSE 'y' END)::ENUM('x', 'y') AS enum,
        TIMESTAMP '2024-05-01' + INTERVAL (n) HOUR AS moment, TIMESTAMPTZ '2024-05-01 00:00:00+02' AS zoned,
        DATE '2024-05-01' AS date, TIME '12:30:00' AS time, n::DECIMAL(12, 3) AS decimal, text[:3]::BLOB AS blob,
        n::HUGEINT AS huge, '{{"a": 1}}'::JSON AS json FROM texts ORDER BY n) TO '{path}' (FORMAT parquet)"""
    )


def by_datasets(path):
    n = range(ROWS)
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "keep": datasets.Value("float64"),
            "label": datasets.ClassLabel(names=["bad", "good"]),
            "tokens": datasets.Sequence(datasets.Value("int32")),
            "fixed": datasets.Sequence(datasets.Value("float32"), length=2),
            "tags": datasets.Sequence(datasets.ClassLabel(names=["O", "B", "I"])),
            "answers": datasets.Sequence({"text": datasets.Value("string"), "start": datasets.Value("int32")}),
            "matrix": datasets.Array2D(shape=(2, 2), dtype="int8"),
            "large": datasets.Value("large_string"),
            "moment": datasets.Value("timestamp[us, tz=UTC]"),
            "image": datasets.Image(decode=False),
            "nested": {"deep": [{"er": datasets.Value("bool")}]},
        }
    )
    data = {
        "text": TEXTS,
        "keep": KEEP,
        "label": [i % 2 for i in n],
        "tokens": [list(range(i % 4)) for i in n],
        "fixed": [[i, i] for i in n],
        "tags": [[i % 3] for i in n],
        "answers": [{"text": ["a"] * (i % 3), "start": [i] * (i % 3)} for i in n],
        "matrix": [[[i, 1], [2, 3]] for i in n],
        "large": TEXTS,
        "moment": [datetime.datetime(2024, 5, 1, tzinfo=datetime.timezone.utc)] * ROWS,
        "image": [{"bytes": bytes([i]), "path": None} for i in n],
        "nested": [{"deep": [{"er": True}]} for _ in n],
    }
    datasets.Dataset.from_dict(data, features=features).to_parquet(path)


def plain(value):
    """A value so that equal ones are equal: of NaN, and of what compares by identity."""
    return repr(value)


def read_pyarrow(files):
    table = pa.concat_tables([pq.read_table(file, partitioning=None) for file in files])
    fields = [(f.name, str(f.type), f.type, f.nullable, f.metadata or {}) for f in table.schema]
    metadata = dict(table.schema.metadata or {})
    physical = [str(pq.read_schema(file)) for file in files]
    assert all(schema == physical[0] for schema in physical)
    columns = {name: [plain(v) for v in table.column(name).to_pylist()] for name in table.column_names}
    return fields, columns, metadata


def read_polars(files):
    frame = pl.read_parquet(files)
    return list(frame.schema.items()), {name: [plain(v) for v in frame[name].to_list()] for name in frame.columns}, None


def read_duckdb(files):
    relation = duckdb.read_parquet([str(file) for file in files])
    types = list(zip(relation.columns, map(str, relation.types)))
    rows = relation.fetchall()
    columns = {name: [plain(row[at]) for row in rows] for at, name in enumerate(relation.columns)}
    return types, columns, None


def read_pandas(files):
    assert len(files) == 1
    frame = pd.read_parquet(files[0])
    index = frame.index
    types = [(name, str(kind)) for name, kind in frame.dtypes.items()]
    columns = {name: [plain(v) for v in frame[name]] for name in frame.columns}
    # A counted index counts the rows that there are; any other belongs to its rows.
    counted = isinstance(index, pd.RangeIndex)
    types.append(("(index)", "counted" if counted else f"{index.names} {getattr(index, 'dtypes', index.dtype)}"))
    columns["(index)"] = ["-"] * len(index) if counted else [plain(v) for v in index]
    return types, columns, frame.attrs


def of_datasets(dataset):
    features = list(dataset.features.items())
    table = dataset.with_format("arrow")[:]
    return features, {name: [plain(v) for v in table[name].to_pylist()] for name in table.column_names}, None


def read_datasets(files):
    return of_datasets(datasets.load_dataset("parquet", data_files=[str(file) for file in files], split="train"))


LIBRARIES = {
    "pyarrow": read_pyarrow,
    "polars": read_polars,
    "duckdb": read_duckdb,
    "pandas": read_pandas,
    "datasets": read_datasets,
}


# Columns that a library gives another type in our output, by file and library, and why that is so.
EXCEPT = {
    # Ours have a schema of Arrow's, by which polars knows nulls and JSON for what they are; without it they are int32 and bytes to it.
    ("pyarrow_without_schema", "polars"): ("null",),
    ("pyarrow_int96", "polars"): ("null",),
    ("duckdb", "polars"): ("json",),
    # INT96 is deprecated, and we write nanoseconds, which to duckdb are a type of their own.
    ("pyarrow_int96", "duckdb"): tuple(f"timestamp{which}" for which in ("_s", "_ms", "_us", "_ns", " UTC", " Europe/Berlin")),
}


class Differs(Exception):
    pass


def same(what, expected, found):
    if expected != found:
        if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
            at = next(at for at, pair in enumerate(zip(expected, found)) if pair[0] != pair[1])
            expected, found = expected[at], found[at]
        raise Differs(f"{what}: expected {str(expected)[:300]}, found {str(found)[:300]}")


def compare(name, library, source, found, added):
    """Finds the kept rows of the input in the output."""
    types, columns, metadata = source
    found_types, found_columns, found_metadata = found
    # In pandas the index comes last.
    mine = [kind for kind in found_types if kind[0] not in added]
    same("columns", [kind[0] for kind in types], [kind[0] for kind in mine])
    known = EXCEPT.get((name, library), ())
    for expected, kind in zip(types, mine):
        if expected[0] in known:
            continue
        same(f"type of {expected[0]}", expected, kind)
    same("added columns", added, [kind[0] for kind in found_types if kind[0] in added])
    for column, values in columns.items():
        if column in known:
            continue
        kept = [value for value, keep in zip(values, MASK) if keep]
        same(f"values of {column}", kept, found_columns[column])
    if metadata is not None:
        same_metadata(metadata, found_metadata, added)


def same_metadata(metadata, found, added):
    metadata, found = dict(metadata), dict(found)
    ours = json.loads(found.pop(b"huggingface", "{}"))
    theirs = json.loads(metadata.pop(b"huggingface", "{}"))
    if theirs:
        for column in added:
            theirs["info"]["features"][column] = {"dtype": "int64" if "int" in column else "float64", "_type": "Value"}
    same("features in the metadata", theirs, ours)
    same("metadata", metadata, found)


def run(program, *arguments):
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    done = subprocess.run(
        [program, "filter", *map(str, arguments)], capture_output=True, text=True, cwd=work, env={**clean, "XDG_DATA_HOME": str(work)}
    )
    if done.returncode != 0:
        raise Differs(f"the program ended with {done.returncode}: {done.stderr.strip()[-500:]}")


def main(program, wanted):
    makers = {name.removeprefix("by_"): maker for name, maker in globals().items() if name.startswith("by_")}
    print(", ".join(f"{module.__name__} {module.__version__}" for module in (pa, pl, duckdb, pd, datasets)))
    compared, failed = 0, 0
    for name, maker in makers.items():
        if wanted and name not in wanted:
            continue
        source = work / f"{name}.parquet"
        maker(source)
        sources = {}
        for library, read in LIBRARIES.items():
            try:
                sources[library] = read([source])
            except BaseException as error:  # whatever a library says, also by a panic: it is the input that it does not read
                if isinstance(error, KeyboardInterrupt):
                    raise
                print(f"  {library} does not read the input {name}: {type(error).__name__}: {str(error)[:120]}")
        runs = {
            "by a column": (["--by", "row.keep", "--min", "0.5"], []),
            "with a lens": (["text", LENS, "--model", "heuristic", "--where", "row.keep >= 0.5"], ADDED),
        }
        for how, (arguments, added) in runs.items():
            out = work / f"{name} {how}"
            try:
                run(program, source, *arguments, "-o", out)
            except Differs as error:
                print(f"FAILED {name}, {how}: {error}")
                failed += 1
                continue
            files = sorted((out / "data").glob("*.parquet"))
            readers = {library: lambda read=read: read(files) for library, read in LIBRARIES.items() if library in sources}
            if "datasets" in sources:
                readers["datasets, data_dir"] = lambda: of_datasets(
                    datasets.load_dataset("parquet", data_dir=str(out), split="train")
                )
                readers["datasets, folder"] = lambda: of_datasets(datasets.load_dataset(str(out), split="train"))
            for reader, read in readers.items():
                try:
                    compare(name, reader, sources[reader.split(",")[0]], read(), added)
                    compared += 1
                except BaseException as error:
                    if isinstance(error, KeyboardInterrupt):
                        raise
                    print(f"FAILED {name}, {how}, {reader}: {type(error).__name__}: {error}")
                    failed += 1
    print(f"{compared} comparisons are equal, {failed} are not")
    return 1 if failed or not compared else 0


if __name__ == "__main__":
    program = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory(dir=work):
        code = main(program, sys.argv[2:])
    if code == 0:
        import shutil

        shutil.rmtree(work)
    else:
        print(f"kept: {work}")
    sys.exit(code)
