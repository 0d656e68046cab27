//! The repositories of the recorded scenarios: the same names and forms, fewer and shorter rows.

use serde_json::json;

use super::make::{arrow_file, arrow_stream, gz, json_array, jsonl, parquet, separated, text, zst};
use crate::testhub::Repos;

/// Three shards of 60 rows, whose card names them.
pub(crate) fn textbooks(repos: Repos) -> Repos {
    let card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n\
                dataset_info:\n  splits:\n  - name: train\n    num_bytes: 19000\n    num_examples: 180\n---\n# Textbooks\n";
    let mut repos = repos.file("vikp/textbooks", "README.md", card);
    for shard in 0..3 {
        let path = format!("data/train-{shard:05}-of-00003.parquet");
        repos = repos.file("vikp/textbooks", &path, parquet(shard * 60..shard * 60 + 60, "markdown"));
    }
    repos.file("vikp/textbooks", ".gitattributes", "*.parquet filter=lfs diff=lfs merge=lfs -text\n")
}

/// Three splits by their names.
pub(crate) fn jsonl_gz(repos: Repos) -> Repos {
    repos
        .file("acme/jsonl-gz", "train.jsonl.gz", gz(jsonl(0..300)))
        .file("acme/jsonl-gz", "validation.jsonl.gz", gz(jsonl(300..320)))
        .file("acme/jsonl-gz", "test.jsonl.gz", gz(jsonl(320..350)))
}

/// All others.
pub(crate) fn small(repos: Repos) -> Repos {
    let repos = configs(formats(repos));
    let ok = json!(["hf_ok"]);
    let repos = repos
        .file("acme/gated", "data/train-00000-of-00001.parquet", parquet(0..50, "text"))
        .file("acme/gated", "README.md", "---\nextra_gated_prompt: please\n---\n")
        .options("acme/gated", &json!({"gated": "manual", "allowed_tokens": ok}))
        .file("acme/private", "train.jsonl", jsonl(0..10))
        .options("acme/private", &json!({"private": true, "allowed_tokens": ok}))
        .file("acme/disabled", "train.jsonl", jsonl(0..10))
        .options("acme/disabled", &json!({"disabled": true}))
        .file("acme/renamed-new", "train.jsonl", jsonl(0..3))
        .options("acme/renamed-new", &json!({"renamed_from": ["acme/renamed-old", "legacyname"]}))
        .file("acme/xet", "data/train-00000-of-00001.parquet", parquet(0..40, "text"))
        .options("acme/xet", &json!({"xet": true}))
        .file("acme/branchy", "train.jsonl", jsonl(0..3))
        .file_at("acme/branchy", "dev/two", "train.jsonl", jsonl(100..103))
        .file("acme/script-only", "script-only.py", "raise SystemExit\n")
        .file("acme/script-only", "README.md", "old\n")
        .file("acme/script-alone", "script-alone.py", "raise SystemExit\n");
    repos.file_at(
        "acme/script-only",
        "refs/convert/parquet",
        "default/train/0000.parquet",
        parquet(0..20, "text"),
    )
}

/// One of each format.
fn formats(repos: Repos) -> Repos {
    repos
        .file("acme/jsonl-zst", "corpus.jsonl.zst", zst(jsonl(0..200)))
        .file("acme/json-array", "train.json", json_array(0..30))
        .file("acme/json-field", "train.json", wrapped())
        .file("acme/json-card", "train.json", wrapped())
        .file(
            "acme/json-card",
            "README.md",
            "---\nconfigs:\n- config_name: default\n  field: data\n  data_files: train.json\n---\n",
        )
        .file("acme/text", "train.txt", "line one\nline two\n\nline four\n")
        .file("acme/tsv", "train.tsv", "id\ttext\n1\ta\n2\tb\n")
        .file("acme/arrow", "data/train-00000-of-00002.arrow", arrow_stream(0..60))
        .file("acme/arrow", "data/train-00001-of-00002.arrow", arrow_file(60..120))
        .file("acme/wds", "train-000000.tar", vec![0; 10_240])
        .file(
            "acme/legacy-infos",
            "data/train-00000-of-00001-abcdef0123456789.parquet",
            parquet(0..9, "text"),
        )
        .file("acme/legacy-infos", "dataset_infos.json", "{\"acme--legacy-infos\": {\"splits\": {}}}")
        .file("acme/unsharded", "train-00000-of-00001.parquet", parquet(0..8, "text"))
}

/// An object whose key `data` has the rows.
fn wrapped() -> String {
    let rows: Vec<_> = (0..30).map(|row| json!({"id": row, "text": text(row)})).collect();
    json!({"version": 1, "data": rows}).to_string()
}

/// Configs, splits and names.
fn configs(mut repos: Repos) -> Repos {
    for language in ["en", "fr"] {
        for (split, rows) in [("train", 40), ("test", 10)] {
            let rows = (0..rows).map(|row| format!("{row},\"{language} {split}, {row}\"\n"));
            let path = format!("{language}/{split}.csv");
            repos = repos.file("acme/two-configs", &path, format!("id,text\n{}", rows.collect::<String>()));
        }
    }
    let card = "---\nconfigs:\n- config_name: en\n  default: true\n  data_files:\n  - split: train\n    path: en/train.csv\n  - split: test\n    path: en/test.csv\n\
                - config_name: fr\n  data_files:\n  - split: train\n    path: \"fr/train*.csv\"\n  - split: test\n    path:\n    - fr/test.csv\n---\ntwo configs\n";
    let no_default =
        "---\nconfigs:\n- config_name: a\n  data_dir: a\n- config_name: b\n  data_files: b/*.jsonl\n---\n";
    let extra =
        "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: stuff/*.jsonl\n";
    repos
        .file("acme/two-configs", "README.md", card)
        .file("acme/no-default", "README.md", no_default)
        .file("acme/no-default", "a/x.jsonl", jsonl(0..5))
        .file("acme/no-default", "b/y.jsonl", jsonl(5..10))
        .file("acme/only-test", "test.csv", "id,text\n1,a\n2,b\n")
        .file("acme/odd-names", "data/train set #1 [a].jsonl", jsonl(0..4))
        .file("acme/odd-names", "data/é%20train.jsonl", jsonl(4..6))
        .file("acme/dir-splits", "my-train-data/a.csv", "id,text\n1,a\n")
        .file("acme/dir-splits", "dev/b.csv", "id,text\n2,b\n")
        .file("acme/empty", "README.md", "nothing\n")
        .file("acme/mixed", "train.parquet", parquet(0..5, "text"))
        .file("acme/mixed", "test.csv", separated(0..1, ','))
        .file("acme/yaml-file", ".huggingface.yaml", extra)
        .file("acme/yaml-file", "stuff/q.jsonl", jsonl(0..2))
        .file("acme/yaml-file", "other.jsonl", jsonl(50..60))
}

/// More files than fit on two pages of a list.
pub(crate) fn many_files(mut repos: Repos) -> Repos {
    for number in 0..2300 {
        let path = format!("data/part-{number:05}.jsonl");
        repos = repos.file("acme/many-files", &path, jsonl(number..number + 1));
    }
    repos
}
