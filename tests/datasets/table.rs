//! The recorded situations, what is asked of the program in each, and what comes of it.
//!
//! The outcome is the Python client's, or a better one; where it differs the line above says why. What a Hub in trouble
//! does to the rest of the 58 is in `scenarios.rs`.

use Outcome::{Refused, Rows};

/// What comes of a command.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    /// Exit code 0, so many rows, and the id and the text of the first.
    Rows(usize, &'static str, &'static str),
    /// This exit code, and these words in the message.
    Refused(i32, &'static [&'static str]),
}

/// The recorded scenario, the command after `summary`, variables of the environment, the outcome.
pub(crate) type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], Outcome);

const OK: &[(&str, &str)] = &[("HF_TOKEN", "hf_ok")];
const VALID: &[(&str, &str)] = &[("HF_TOKEN", "hf_valid")];
pub(crate) const SHARD: &str = "data/train-00000-of-00003.parquet#0";
pub(crate) const ROW: &str = "row 0: some words that say what there is to say about the number 0";

/// The scenarios of a Hub at its best.
pub(crate) const CASES: &[Case] = &[
    (
        "01-stream-textbooks-take3",
        "vikp/textbooks markdown --stream --max 3 --sample first",
        &[],
        Rows(3, SHARD, ROW),
    ),
    ("03-stream-textbooks-all", "vikp/textbooks markdown --stream", &[], Rows(180, SHARD, ROW)),
    ("04-nonstream-textbooks", "vikp/textbooks markdown", &[], Rows(180, SHARD, ROW)),
    (
        "05-jsonl-gz-three-splits",
        "acme/jsonl-gz text --stream --split test",
        &[],
        Rows(30, "test.jsonl.gz#0", "row 320: some words that say what there is to say about the number 320"),
    ),
    ("05-jsonl-gz-three-splits", "acme/jsonl-gz text --stream", &[], Rows(300, "train.jsonl.gz#0", ROW)),
    ("06-jsonl-zst", "acme/jsonl-zst text --stream", &[], Rows(200, "corpus.jsonl.zst#0", ROW)),
    (
        "07-two-configs-default",
        "acme/two-configs text --stream --split test",
        &[],
        Rows(10, "en/test.csv#0", "en test, 0"),
    ),
    (
        "08-two-configs-fr",
        "acme/two-configs text --stream --split test --config fr",
        &[],
        Rows(10, "fr/test.csv#0", "fr test, 0"),
    ),
    (
        "09-no-default-config",
        "acme/no-default text --stream",
        &[],
        Refused(2, &["several configs and no default", "a, b", "--config"]),
    ),
    ("10-no-default-a-and-b", "acme/no-default text --stream --config a", &[], Rows(5, "a/x.jsonl#0", ROW)),
    (
        "10-no-default-a-and-b",
        "acme/no-default text --stream --config b",
        &[],
        Rows(5, "b/y.jsonl#0", "row 5: some words that say what there is to say about the number 5"),
    ),
    (
        "11-bad-config",
        "acme/two-configs text --stream --config de",
        &[],
        Refused(2, &["no config `de`", "en, fr", "--config"]),
    ),
    (
        "12-missing-split",
        "acme/only-test text --stream",
        &[],
        Refused(2, &["no split `train`", "it has test", "--split"]),
    ),
    (
        "13-gated-anonymous-401",
        "acme/gated text --stream",
        &[],
        Refused(2, &["`acme/gated` is gated", "/datasets/acme/gated", "log in"]),
    ),
    (
        "14-gated-token-no-access-403",
        "acme/gated text --stream",
        VALID,
        Refused(
            2,
            &["`acme/gated` is gated", "/datasets/acme/gated", "the token from HF_TOKEN has no access"],
        ),
    ),
    (
        "15-gated-token-ok",
        "acme/gated text --stream",
        OK,
        Rows(50, "data/train-00000-of-00001.parquet#0", ROW),
    ),
    // Python says 401; ours says whose token it is and what to do.
    (
        "16-bad-token-on-public",
        "acme/jsonl-gz text --stream",
        &[("HF_TOKEN", "hf_expired")],
        Refused(2, &["rejects the token from HF_TOKEN", "public datasets need none"]),
    ),
    (
        "17-missing-repo-anonymous",
        "acme/nope text --stream",
        &[],
        Refused(2, &["no dataset `acme/nope`, or it is private", "HF_TOKEN"]),
    ),
    (
        "18-missing-repo-with-token",
        "acme/nope text --stream",
        VALID,
        Refused(2, &["no dataset `acme/nope`, or it is private", "the token from HF_TOKEN"]),
    ),
    ("19-private-token-ok", "acme/private text --stream", OK, Rows(10, "train.jsonl#0", ROW)),
    (
        "19-private-token-ok",
        "acme/private text --stream",
        VALID,
        Refused(2, &["no dataset `acme/private`, or it is private"]),
    ),
    ("20-renamed", "acme/renamed-old text --stream", &[], Rows(3, "train.jsonl#0", ROW)),
    ("21-case", "Acme/Renamed-New text --stream", &[], Rows(3, "train.jsonl#0", ROW)),
    // Python fails on a name of one part; the Hub redirects it like any older name.
    ("22-single-segment", "legacyname text --stream", &[], Rows(3, "train.jsonl#0", ROW)),
    // Python refuses a script; the Hub's conversion of it is the same data.
    ("23-script-only", "acme/script-only text --stream", &[], Rows(20, "default/train/0000.parquet#0", ROW)),
    (
        "23-script-only",
        "acme/script-alone text --stream",
        &[],
        Refused(1, &["is a script, which is not run", "to_parquet"]),
    ),
    (
        "24-script-only-convert-branch",
        "acme/script-only text --stream --revision refs/convert/parquet",
        &[],
        Rows(20, "default/train/0000.parquet#0", ROW),
    ),
    (
        "25-many-files-pagination",
        "acme/many-files text --stream --max 1 --sample first",
        &[],
        Rows(1, "data/part-00000.jsonl#0", ROW),
    ),
    (
        "26-revision-branch",
        "acme/branchy text --stream --revision dev/two",
        &[],
        Rows(3, "train.jsonl#0", "row 100: some words that say what there is to say about the number 100"),
    ),
    (
        "27-revision-missing",
        "acme/branchy text --stream --revision nope",
        &[],
        Refused(2, &["no revision `nope`", "it has dev/two, main"]),
    ),
    ("28-json-array", "acme/json-array text --stream", &[], Rows(30, "train.json#0", ROW)),
    ("29-text", "acme/text text --stream", &[], Rows(4, "train.txt#0", "line one")),
    ("30-tsv", "acme/tsv text --stream", &[], Rows(2, "train.tsv#0", "a")),
    ("31-arrow", "acme/arrow text --stream", &[], Rows(120, "data/train-00000-of-00002.arrow#0", ROW)),
    // Python reads archives of samples; ours says what it reads.
    (
        "32-webdataset",
        "acme/wds txt --stream",
        &[],
        Refused(2, &["webdataset", "is not read; read are parquet"]),
    ),
    ("33-odd-names", "acme/odd-names text --stream", &[], Rows(6, "data/train set #1 [a].jsonl#0", ROW)),
    ("34-dir-splits", "acme/dir-splits text --stream --split validation", &[], Rows(1, "dev/b.csv#0", "b")),
    ("34-dir-splits", "acme/dir-splits text --stream", &[], Rows(1, "my-train-data/a.csv#0", "a")),
    ("35-empty", "acme/empty text --stream", &[], Refused(1, &["`acme/empty`", "has no data files"])),
    (
        "36-mixed-formats",
        "acme/mixed text --stream",
        &[],
        Refused(1, &["its splits are in different formats", "parquet", "csv"]),
    ),
    (
        "37-legacy-infos",
        "acme/legacy-infos text --stream",
        &[],
        Rows(9, "data/train-00000-of-00001-abcdef0123456789.parquet#0", ROW),
    ),
    ("38-yaml-file", "acme/yaml-file text --stream", &[], Rows(2, "stuff/q.jsonl#0", ROW)),
    (
        "39-unsharded-name-at-root",
        "acme/unsharded text --stream",
        &[],
        Rows(8, "train-00000-of-00001.parquet#0", ROW),
    ),
    (
        "40-xet-advertised-streaming",
        "acme/xet text --stream",
        &[],
        Rows(40, "data/train-00000-of-00001.parquet#0", ROW),
    ),
    (
        "41-xet-advertised-nonstream-disabled",
        "acme/xet text",
        &[("HF_HUB_DISABLE_XET", "1")],
        Rows(40, "data/train-00000-of-00001.parquet#0", ROW),
    ),
    // Python says that there are no data files.
    ("42-disabled", "acme/disabled text --stream", &[], Refused(2, &["`acme/disabled` has been disabled"])),
    (
        "47-offline-uncached",
        "acme/text text --stream",
        &[("HF_HUB_OFFLINE", "1")],
        Refused(1, &["HF_HUB_OFFLINE forbids requests", "`acme/text`"]),
    ),
    (
        "48-token-file",
        "acme/private text --stream",
        &[("HF_TOKEN_PATH", "token-file")],
        Rows(10, "train.jsonl#0", ROW),
    ),
    // Files of one's own choice are named by a path within the dataset.
    (
        "49-data-files-argument",
        "hf://datasets/acme/two-configs/fr text --stream --split all",
        &[],
        Rows(50, "fr/train.csv#0", "fr train, 0"),
    ),
    (
        "49-data-files-argument",
        "hf://datasets/acme/two-configs/fr/test.csv text --stream",
        &[],
        Rows(10, "test.csv#0", "fr test, 0"),
    ),
    (
        "50-split-expressions",
        "acme/jsonl-gz text --stream --split train+test",
        &[],
        Rows(330, "train.jsonl.gz#0", ROW),
    ),
    (
        "50-split-expressions",
        "acme/jsonl-gz text --stream --split train[:10]",
        &[],
        Refused(2, &["`train[:10]` is a slice", "--max N --sample first"]),
    ),
    (
        "50-split-expressions",
        "acme/jsonl-gz text --split train[:10]",
        &[],
        Refused(2, &["`train[:10]` is a slice", "--max N --sample first"]),
    ),
    ("50-split-expressions", "acme/jsonl-gz text --split all", &[], Rows(350, "train.jsonl.gz#0", ROW)),
    ("51-select-columns", "vikp/textbooks topic --stream", &[], Rows(180, SHARD, "topic 0")),
    // Without a field the file is one row, whose columns are the object's keys.
    (
        "52-json-field",
        "acme/json-field text --stream",
        &[],
        Refused(2, &["no column `text`", "it has version, data"]),
    ),
    ("52-json-field", "acme/json-field version --stream", &[], Rows(1, "train.json#0", "1")),
    ("52-json-field", "acme/json-card text --stream", &[], Rows(30, "train.json#0", ROW)),
    ("55-second-run-uses-cache", "acme/jsonl-gz text", &[], Rows(300, "train.jsonl.gz#0", ROW)),
];
