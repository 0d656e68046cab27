//! The law of the house, read from `src/lib.rs`: a room names only rooms above it, and outside crates have their rooms.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms may name which outside crates. A crate that is not listed may be named anywhere.
const CRATES: [(&str, &[&str]); 19] = [
    ("sqlx", &["store"]),
    ("reqwest", &["http"]),
    ("hyper", &["http"]),
    ("hyper_util", &["http"]),
    ("rustls", &["http"]),
    ("httpdate", &["http"]),
    ("async_openai", &["endpoint"]),
    ("rustix", &["llama"]),
    ("shlex", &["llama"]),
    ("clap", &["cli"]),
    ("dotenvy", &["cli"]),
    ("tabled", &["console"]),
    ("indicatif", &["console"]),
    ("arrow", &["record", "dataset", "filter", "export"]),
    ("parquet", &["record", "dataset", "export"]),
    ("minijinja", &["lens", "filter", "report"]),
    ("jsonschema", &["lens"]),
    ("backon", &["hub", "rate"]),
    ("tracing_subscriber", &["console"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The rooms in the order of the plan.
fn plan() -> Vec<String> {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    lib.lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// The files of every room.
fn rooms() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    plan()
        .into_iter()
        .map(|room| {
            let mut files = Vec::new();
            collect(&source().join(format!("{room}.rs")), &mut files);
            collect(&source().join(&room), &mut files);
            assert!(!files.is_empty(), "room {room} has no file");
            (room, files)
        })
        .collect()
}

fn collect(path: &Path, into: &mut Vec<(PathBuf, String)>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), into);
        }
    } else if path.is_file() && path.extension().is_some_and(|end| end == "rs") {
        into.push((path.to_owned(), fs::read_to_string(path).unwrap()));
    }
}

/// The code of a file without comments; a room in a comment is no arrow.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The words that follow `crate::` in a text, those in `use crate::{a, b}` included.
fn named(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => names.push(word(after)),
            Some(list) => {
                let mut depth = 0;
                let mut item = String::new();
                for c in list.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => names.push(word(std::mem::take(&mut item).trim())),
                        _ => {}
                    }
                    if c != ',' || depth > 0 {
                        item.push(c);
                    }
                }
                names.push(word(item.trim()));
            }
        }
    }
    names
}

#[test]
fn arrows_go_down() {
    let plan = plan();
    let floor = |room: &str| plan.iter().position(|each| each == room);
    let mut wrong = Vec::new();
    for (room, files) in rooms() {
        for (path, text) in files {
            for name in named(&code(&text)) {
                if floor(&name).is_some_and(|named| named > floor(&room).unwrap()) {
                    wrong.push(format!("{}: {room} names {name}, which lies below it", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn outside_crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for (room, files) in rooms() {
        for (path, text) in files {
            for (name, allowed) in CRATES {
                let used = code(&text).match_indices(&format!("{name}::")).any(|(at, _)| {
                    !code(&text)[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                });
                if used && !allowed.contains(&room.as_str()) {
                    wrong.push(format!(
                        "{}: {room} names {name}, which belongs to {}",
                        path.display(),
                        allowed.join(", ")
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_lies_in_a_room() {
    let plan = plan();
    for entry in fs::read_dir(source()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(
            ["lib", "main"].contains(&name.as_str()) || plan.contains(&name),
            "{} is not in the plan",
            path.display()
        );
    }
}

#[test]
fn main_is_thin() {
    assert!(fs::read_to_string(source().join("main.rs")).unwrap().lines().count() <= 25);
}

#[test]
fn the_architecture_names_every_room() {
    let text = fs::read_to_string(source().parent().unwrap().join("ARCHITECTURE.md")).unwrap();
    for room in plan() {
        assert!(text.contains(&format!("`{room}`")), "ARCHITECTURE.md does not name `{room}`");
    }
}

#[test]
fn the_reader_of_the_law_sees_arrows() {
    assert_eq!(named("use crate::{a::b, c::{d, e}, f};"), ["a", "c", "f"]);
    assert_eq!(named("crate::a::b(); crate::c"), ["a", "c"]);
}
