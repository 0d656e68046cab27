//! Splits and format from nothing but names of files, by the rules of the `datasets` library 5.2
//! (its modules `data_files` and `load`).

use super::Fault;
use super::format::{Module, base, suffixes};
use super::glob::Pattern;
use super::listing::{Listing, Of};
use crate::dataset::error::{listed, plain};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A split by its name, and the patterns of its files.
pub(in crate::dataset) type Patterns = Vec<(String, Vec<String>)>;

/// What a name must have beside a split's keyword.
const SEPARATOR: &str = "[-._ 0-9]";

const NUMBERS: &str = "[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]*.*";

/// The splits that come first, and the words that name them.
const KEYWORDS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The splits below `folder`: of the first family of patterns that any file matches.
///
/// Families in their order: numbered shards in `data/`, evaluation logs, task folders, folders named after a
/// split, files named after a split, and everything as `train`. Files that are only in a later family are left out.
pub(super) fn splits(listing: &mut Listing, folder: &str) -> Result<Patterns, Fault> {
    if let Some(shards) = shards(listing, folder)? {
        return Ok(shards);
    }
    let families: [&dyn Fn() -> Patterns; 5] = [
        &|| vec![("logs".into(), vec!["**/*.eval".into()])],
        &|| vec![("test".into(), vec!["**/task.toml".into(), "**/instruction.md".into()])],
        &|| named(folders),
        &|| named(files),
        &|| vec![("train".into(), vec!["**".into()])],
    ];
    for family in families {
        let mut splits = Patterns::new();
        for (split, patterns) in family() {
            if has_any(listing, folder, &patterns)? {
                splits.push((split, patterns));
            }
        }
        if !splits.is_empty() {
            return Ok(splits);
        }
    }
    Err(Fault::Empty)
}

fn has_any(listing: &mut Listing, folder: &str, patterns: &[String]) -> Result<bool, Fault> {
    for pattern in patterns {
        if listing.has(&Pattern::new(folder, pattern)?)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn named(patterns: fn(&str) -> Vec<String>) -> Patterns {
    let split = |(split, words): &(&str, &[&str])| {
        ((*split).to_owned(), words.iter().flat_map(|word| patterns(word)).collect())
    };
    KEYWORDS.iter().map(split).collect()
}

fn folders(word: &str) -> Vec<String> {
    vec![
        format!("**/{word}/**"),
        format!("**/{word}{SEPARATOR}*/**"),
        format!("**/*{SEPARATOR}{word}/**"),
        format!("**/*{SEPARATOR}{word}{SEPARATOR}*/**"),
    ]
}

fn files(word: &str) -> Vec<String> {
    vec![format!("**/{word}{SEPARATOR}*"), format!("**/*{SEPARATOR}{word}{SEPARATOR}*")]
}

/// `data/<split>-00000-of-00002.parquet`: any split.
fn shards(listing: &mut Listing, folder: &str) -> Result<Option<Patterns>, Fault> {
    let found = listing.find(&Pattern::new(folder, &format!("data/*-{NUMBERS}"))?, Of::All)?;
    if found.is_empty() {
        return Ok(None);
    }
    let mut splits = BTreeSet::new();
    for index in found {
        let file = base(listing.name(index));
        let split = before_numbers(file);
        if !is_split(split) {
            return Err(Fault::BadSplitName { file: plain(file), split: plain(split) });
        }
        splits.insert(split);
    }
    let first = KEYWORDS.iter().filter_map(|(split, _)| splits.take(split)).collect::<Vec<_>>();
    let pattern = |split: &str| (split.to_owned(), vec![format!("data/{split}-{NUMBERS}")]);
    Ok(Some(first.into_iter().chain(splits).map(pattern).collect()))
}

/// What a shard's name has before its last `-00000-of-0000`.
fn before_numbers(file: &str) -> &str {
    let is_number = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit);
    let is_tail = |tail: &[u8]| {
        matches!(tail, [b'-', number @ ..] if number.get(..5).is_some_and(is_number)
            && number.get(5..9) == Some(b"-of-") && number.get(9..13).is_some_and(is_number))
    };
    let at = (1..file.len()).rev().find(|at| file.as_bytes().get(*at..).is_some_and(is_tail));
    at.and_then(|at| file.get(..at)).unwrap_or_default()
}

/// Letters, digits and underscores in one or more pieces joined by dots.
pub(super) fn is_split(name: &str) -> bool {
    name.split('.').all(|piece| {
        !piece.is_empty() && piece.chars().all(|character| character.is_alphanumeric() || character == '_')
    })
}

/// The format of a config: that of all its splits, each of which must have the same.
pub(super) fn module(listing: &Listing, splits: &[(String, Vec<usize>)]) -> Result<Module, Fault> {
    let mut modules = Vec::with_capacity(splits.len());
    for (_, files) in splits {
        modules.push(most_common(listing, files));
    }
    let Some(first) = modules.first().copied() else { return Err(Fault::Empty) };
    if modules.iter().any(|module| *module != first) {
        let name = |module: Option<Module>| module.map_or("none", Module::name);
        let said =
            splits.iter().zip(&modules).map(|((split, _), module)| format!("{split} {}", name(*module)));
        let said: Vec<_> = said.collect();
        return Err(Fault::MixedFormats { splits: listed(said.iter().map(String::as_str), 10) });
    }
    first.ok_or_else(|| none_supported(listing))
}

/// The module of the suffix that most files have. Files about other files (`metadata.csv`) count only if there is
/// nothing else; equal counts are decided by the order below, then by the alphabet from its end.
fn most_common(listing: &Listing, files: &[usize]) -> Option<Module> {
    const FIRST: [&str; 7] = ["parquet", "lance", "vortex", "arrow", "jsonl", "json", "csv"];
    const ABOUT: [&str; 6] = [
        "metadata.csv",
        "metadata.jsonl",
        "metadata.parquet",
        "task.toml",
        "instruction.md",
        "latest_version_hint.json",
    ];
    let mut counts = HashMap::<(String, bool), u64>::new();
    for index in files {
        let path = listing.name(*index);
        let is_about = ABOUT.contains(&base(path));
        for suffix in suffixes(path) {
            *counts.entry((suffix.to_lowercase(), is_about)).or_default() += 1;
        }
    }
    let place = |suffix: &str| FIRST.iter().position(|first| *first == suffix).unwrap_or(FIRST.len());
    let modules = counts.iter().filter_map(|((suffix, is_about), count)| {
        let module = if suffix == "zip" { Some(Module::Other("zip")) } else { Module::of(suffix) };
        Some(((!is_about, *count, Reverse(place(suffix)), suffix), module?))
    });
    modules.max_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, module)| module)
}

fn none_supported(listing: &Listing) -> Fault {
    let mut counts = BTreeMap::<String, u64>::new();
    for index in 0..listing.len() {
        if let Some(suffix) = suffixes(listing.name(index)).next_back() {
            *counts.entry(format!(".{suffix}")).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| Reverse(*count));
    let found = match counts.as_slice() {
        [] => String::new(),
        some => format!(" (it has {})", listed(some.iter().map(|(suffix, _)| suffix.as_str()), 5)),
    };
    Fault::NoneSupported { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shards_split_is_what_stands_before_its_numbers() {
        assert_eq!(before_numbers("train-00000-of-00002.parquet"), "train");
        assert_eq!(before_numbers("a-b-00000-of-00002-abc.parquet"), "a-b");
        assert_eq!(before_numbers("a-00000-of-00001-00000-of-00002.parquet"), "a-00000-of-00001");
        assert_eq!(before_numbers("-00000-of-00001.parquet"), "");
        assert_eq!(before_numbers("é-00000-of-00001.parquet"), "é");
    }

    #[test]
    fn a_splits_name_is_words_joined_by_dots() {
        assert!(is_split("train") && is_split("held.out_2") && is_split("été"));
        assert!(!is_split("my-split") && !is_split("a..b") && !is_split("") && !is_split(".a"));
    }

    #[test]
    fn equal_counts_are_decided_by_rank_then_from_the_end_of_the_alphabet() {
        let module = |files: &[&str]| {
            let files: Vec<_> = files.iter().map(|file| (*file).to_owned()).collect();
            let sorted = super::super::listing::sorted(&files);
            most_common(&Listing::new(&files, &sorted), &sorted)
        };
        assert_eq!(module(&["a.csv", "b.parquet"]), Some(Module::Parquet));
        assert_eq!(module(&["a.tsv", "b.txt"]), Some(Module::Text));
        assert_eq!(module(&["a.png", "metadata.csv", "metadata.jsonl"]), Some(Module::Other("imagefolder")));
        assert_eq!(module(&["metadata.csv"]), Some(Module::Csv));
        assert_eq!(module(&["a.zip"]), Some(Module::Other("zip")));
        assert_eq!(module(&["a", "b.xyz"]), None);
    }
}
