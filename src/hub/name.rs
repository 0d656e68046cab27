//! Names of datasets at the Hub, in the forms in which people write them.

use super::address::unquoted;
use super::error::Error;
use crate::http::plain;

/// Ends of names that say "a file": such a name is never asked for at the Hub.
const FILES: [&str; 13] = [
    ".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv", ".txt", ".arrow", ".gz", ".zst", ".bz2", ".xz",
    ".zip",
];

/// The longest part of a name, in characters.
const LONGEST: usize = 96;

/// A dataset at the Hub as the user named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `owner/name`, or the `name` alone of an old dataset.
    pub repo: String,
    /// The branch, tag or commit, if one is named.
    pub revision: Option<String>,
    /// A file or folder in it, without slashes at its ends.
    pub path: Option<String>,
}

impl Name {
    /// Reads `owner/name`, `name`, either with `@revision`; `hf://datasets/owner/name[@revision][/path]`; and the
    /// address of a dataset's page or file at huggingface.co or at `endpoint`.
    ///
    /// None if the text does not look like any of them; an error if it does and breaks their rules. A name that ends
    /// as data files do (`train.jsonl`) looks like a file; its dataset, if there were one, has the `hf://` form.
    pub fn parse(text: &str, endpoint: &str) -> Option<Result<Self, Error>> {
        let parsed = if let Some(rest) = text.strip_prefix("hf://") {
            uri(rest)
        } else if text.starts_with("https://") || text.starts_with("http://") {
            page(text, endpoint)
        } else {
            let (repo, revision) = match text.split_once('@') {
                Some((repo, revision)) => (repo, Some(revision)),
                None => (text, None),
            };
            let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
            let begins = repo.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let lower = repo.to_ascii_lowercase();
            if !begins
                || !repo.chars().all(letter)
                || repo.ends_with('/')
                || repo.matches('/').count() > 1
                || FILES.iter().any(|end| lower.ends_with(end))
            {
                return None;
            }
            Self::new(repo, revision, None)
        };
        Some(parsed.map_err(|problem| Error::Name { name: plain(text), problem }))
    }

    fn new(repo: &str, revision: Option<&str>, path: Option<&str>) -> Result<Self, String> {
        check(repo)?;
        let revision = revision.map(|revision| {
            let revision = unquoted(revision).ok_or("its revision is not text")?;
            if revision.is_empty() || revision.chars().any(char::is_control) {
                return Err("its revision is empty");
            }
            Ok(revision)
        });
        let path = path.map(|path| path.trim_matches('/')).filter(|path| !path.is_empty());
        if path.is_some_and(|path| !inside(path)) {
            return Err("its path leaves the dataset".to_owned());
        }
        Ok(Self { repo: repo.to_owned(), revision: revision.transpose()?, path: path.map(str::to_owned) })
    }
}

/// The Hub's rules for `owner/name` and `name` (`huggingface_hub`'s validator).
pub(super) fn check(repo: &str) -> Result<(), String> {
    let parts: Vec<&str> = repo.split('/').collect();
    if parts.len() > 2 {
        return Err("it is written `owner/name`".to_owned());
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    for part in parts {
        if part.is_empty() {
            return Err("it is written `owner/name`".to_owned());
        }
        if part.chars().count() > LONGEST {
            return Err(format!("a part of it is longer than {LONGEST} characters"));
        }
        if !part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
            return Err("only letters, digits, `-`, `_` and `.` are allowed".to_owned());
        }
        if !edge(part.chars().next()) || !edge(part.chars().next_back()) {
            return Err("its parts begin and end with a letter, a digit or `_`".to_owned());
        }
    }
    if repo.contains("--") || repo.contains("..") {
        return Err("`--` and `..` are not allowed".to_owned());
    }
    if repo.to_ascii_lowercase().ends_with(".git") {
        return Err("it does not end with `.git`".to_owned());
    }
    Ok(())
}

/// Whether a path names something in its dataset: parts between slashes, none of them empty, `.` or `..`.
pub(super) fn inside(path: &str) -> bool {
    let part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
    path.split('/').all(part)
}

/// What follows `hf://`.
fn uri(rest: &str) -> Result<Name, String> {
    let form = "the form is hf://datasets/owner/name[@revision][/path]";
    let rest = rest.strip_prefix("datasets/").ok_or(form)?;
    // The name has two parts, unless a revision follows its first: `squad@main/train.jsonl`.
    let mut slashes = rest.match_indices('/').map(|(at, _)| at);
    let first = slashes.next().unwrap_or(rest.len());
    let end = if rest[..first].contains('@') { first } else { slashes.next().unwrap_or(rest.len()) };
    let Some(at) = rest[..end].find('@') else {
        return Name::new(rest[..end].trim_end_matches('/'), None, Some(&rest[end..]));
    };
    let (revision, path) = revision_and_path(&rest[at + 1..]);
    Name::new(&rest[..at], Some(revision), path)
}

/// Splits `revision/path`. Of revisions that are written with their slashes only `refs/convert/…` and `refs/pr/…` are
/// known by their form.
fn revision_and_path(text: &str) -> (&str, Option<&str>) {
    let parts = if text.starts_with("refs/") { 3 } else { 1 };
    match text.match_indices('/').nth(parts - 1) {
        Some((at, _)) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// The address of a page or a file.
fn page(text: &str, endpoint: &str) -> Result<Name, String> {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let hosts = [
        endpoint,
        "https://huggingface.co",
        "http://huggingface.co",
        "https://www.huggingface.co",
        "https://hf.co",
    ];
    let rest = hosts
        .iter()
        .find_map(|host| text.strip_prefix(host).filter(|rest| rest.is_empty() || rest.starts_with('/')))
        .ok_or("of addresses, those of datasets at the Hub are read")?;
    let form = "a dataset's page is https://huggingface.co/datasets/owner/name";
    let rest = rest.trim_matches('/').strip_prefix("datasets/").ok_or(form)?;
    let parts: Vec<&str> = rest.split('/').collect();
    let kind = |at: usize| {
        let part = parts.get(at).copied();
        part.filter(|part| matches!(*part, "tree" | "blob" | "resolve" | "raw" | "viewer"))
    };
    // An old dataset has one part: /datasets/squad/tree/main.
    let named = if kind(1).is_some() { 1 } else { parts.len().min(2) };
    let repo = parts[..named].join("/");
    match (kind(named), parts.get(named + 1..).unwrap_or_default()) {
        (None, []) if parts.len() == named => Name::new(&repo, None, None),
        (Some(_), []) => Name::new(&repo, None, None),
        // What the viewer shows is no part of the name, and must not be lost without a word.
        (Some("viewer"), [config, rest @ ..]) => {
            let split = rest.first().map(|split| format!(" --split {split}")).unwrap_or_default();
            Err(format!("what the viewer shows is named with flags: {repo} --config {config}{split}"))
        }
        (Some(_), place) => {
            let place = place.join("/");
            let (revision, path) = revision_and_path(&place);
            let path = path.map(|path| unquoted(path).ok_or("its path is not text")).transpose()?;
            Name::new(&repo, Some(revision), path.as_deref())
        }
        (None, _) => Err(form.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIRROR: &str = "http://127.0.0.1:8765";

    fn parsed(text: &str) -> Option<Result<Name, String>> {
        Some(Name::parse(text, MIRROR)?.map_err(|error| error.to_string()))
    }

    fn name(text: &str) -> (String, String, String) {
        let name = parsed(text).unwrap().unwrap();
        (name.repo, name.revision.unwrap_or_default(), name.path.unwrap_or_default())
    }

    fn is(text: &str, repo: &str, revision: &str, path: &str) {
        assert_eq!(name(text), (repo.into(), revision.into(), path.into()), "{text}");
    }

    #[test]
    fn a_name_has_one_part_or_two_and_perhaps_a_revision() {
        is("vikp/textbooks", "vikp/textbooks", "", "");
        is("squad", "squad", "", "");
        is("a/b.c_d-e", "a/b.c_d-e", "", "");
        is("a/b@v1", "a/b", "v1", "");
        is("a/b@refs/convert/parquet", "a/b", "refs/convert/parquet", "");
    }

    #[test]
    fn an_hf_address_may_name_a_revision_and_a_path() {
        is("hf://datasets/a/b", "a/b", "", "");
        is("hf://datasets/squad", "squad", "", "");
        is("hf://datasets/a/b/data/x y.csv", "a/b", "", "data/x y.csv");
        is("hf://datasets/a/b@v1", "a/b", "v1", "");
        is("hf://datasets/a/b@v1/data/", "a/b", "v1", "data");
        is("hf://datasets/squad@v1/data/x.csv", "squad", "v1", "data/x.csv");
        is("hf://datasets/a/b@refs%2Fconvert%2Fparquet/default", "a/b", "refs/convert/parquet", "default");
        is(
            "hf://datasets/a/b@refs/convert/parquet/default/train",
            "a/b",
            "refs/convert/parquet",
            "default/train",
        );
        is("hf://datasets/a/b@dev%2Ftwo", "a/b", "dev/two", "");
        is("hf://datasets/a/b/mail@example.csv", "a/b", "", "mail@example.csv");
    }

    #[test]
    fn the_address_of_a_page_is_a_name() {
        is("https://huggingface.co/datasets/a/b", "a/b", "", "");
        is("https://huggingface.co/datasets/squad", "squad", "", "");
        is("https://hf.co/datasets/a/b/", "a/b", "", "");
        is("https://huggingface.co/datasets/a/b/tree/main", "a/b", "main", "");
        is("https://huggingface.co/datasets/squad/tree/main/x", "squad", "main", "x");
        is("https://huggingface.co/datasets/a/b/viewer", "a/b", "", "");
        is("https://huggingface.co/datasets/a/b/blob/v1/data/x%20y.csv", "a/b", "v1", "data/x y.csv");
        is("https://huggingface.co/datasets/a/b/resolve/main/x.csv?download=true", "a/b", "main", "x.csv");
        is(
            "https://huggingface.co/datasets/a/b/tree/refs%2Fconvert%2Fparquet/c",
            "a/b",
            "refs/convert/parquet",
            "c",
        );
        is("http://127.0.0.1:8765/datasets/a/b", "a/b", "", "");
    }

    #[test]
    fn paths_and_files_do_not_look_like_names() {
        for text in [
            "",
            "-",
            ".",
            "..",
            "./a",
            "../a",
            "/a/b",
            "~/a",
            "a/b/c",
            "a/",
            "a b",
            "a\\b",
            "train.jsonl",
            "data/train.parquet",
            "data/Train.JSONL.GZ",
            ".hidden",
            "ä/b",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_that_breaks_the_rules_is_told_which() {
        let wrong = |text: &str| parsed(text).unwrap().unwrap_err();
        assert_eq!(wrong("a--b/c"), "`a--b/c` is no name of a dataset: `--` and `..` are not allowed");
        assert!(wrong("a/b.git").contains(".git"));
        assert!(wrong("a/b-").contains("begin and end"));
        assert!(wrong(&format!("a/{}", "x".repeat(97))).contains("96 characters"));
        assert!(wrong("a/b@").contains("revision"));
        assert!(wrong("hf://a/b").contains("hf://datasets/owner/name"));
        assert!(wrong("hf://datasets/").contains("owner/name"));
        assert!(wrong("hf://datasets/a/b/../c").contains("leaves the dataset"));
        assert!(wrong("hf://spaces/a/b").contains("hf://datasets"));
        assert!(wrong("https://example.com/x.parquet").contains("Hub"));
        assert!(wrong("https://huggingface.co/a/b").contains("/datasets/owner/name"));
        assert!(wrong("https://huggingface.co/datasets/a/b/settings").contains("page"));
        let viewer = wrong("https://huggingface.co/datasets/a/b/viewer/fr/test?p=1");
        assert!(viewer.contains("a/b --config fr --split test"), "{viewer}");
        assert!(wrong("https://huggingface.co/datasets/a/b/resolve/main/%2e%2e/x").contains("leaves"));
        assert!(wrong("https://huggingface.company/datasets/a/b").contains("Hub"));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_name_follows_the_rules(text in "(hf://datasets/|https://hf.co/datasets/)?[a-z@/.%2F -]{0,40}") {
            if let Some(Ok(name)) = Name::parse(&text, MIRROR) {
                prop_assert!(check(&name.repo).is_ok());
                prop_assert!(name.path.is_none_or(|path| inside(&path)));
            }
        }
    }
}
