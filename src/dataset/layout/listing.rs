//! The names of a dataset's files, and which of them a pattern means.

use super::Fault;
use super::format::{base, is_known, suffixes};
use super::glob::{Effort, Pattern};
use crate::dataset::error::plain;

/// Files that are never data, unless a pattern ends in just this name.
const IGNORED: [&str; 6] = [
    "README.md",
    "config.json",
    "dataset_info.json",
    "dataset_infos.json",
    "dummy_data.zip",
    "dataset_dict.json",
];

/// The files, and the work that may still be spent on matching them.
#[derive(Debug)]
pub(super) struct Listing<'f> {
    files: &'f [String],
    sorted: &'f [usize],
    effort: Effort,
}

/// The indices of the files in the order of their names.
pub(super) fn sorted(files: &[String]) -> Vec<usize> {
    let mut sorted: Vec<usize> = (0..files.len()).collect();
    sorted.sort_by_key(|index| files.get(*index));
    sorted
}

/// Whether a pattern that names nothing of the kind would match this file.
pub(super) fn is_data(path: &str) -> bool {
    Special::of(path) == Special { hidden: 0, private: 0 } && !IGNORED.contains(&base(path))
}

/// Which of the files that match are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// All of them.
    All,
    /// Those with a suffix that data files have.
    Data,
}

impl<'f> Listing<'f> {
    /// Files, and their indices as [`sorted`] gives them.
    pub(super) fn new(files: &'f [String], sorted: &'f [usize]) -> Self {
        Self { files, sorted, effort: Effort::for_files(files.len()) }
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn name(&self, index: usize) -> &'f str {
        self.files.get(index).map_or("", String::as_str)
    }

    /// The files that match, in the order of their names.
    pub(super) fn find(&mut self, pattern: &Pattern, of: Of) -> Result<Vec<usize>, Fault> {
        let mut found = Vec::new();
        self.visit(pattern, |index, path| {
            if of == Of::All || suffixes(path).any(is_known) {
                found.push(index);
            }
            true
        })?;
        Ok(found)
    }

    /// Whether any file matches.
    pub(super) fn has(&mut self, pattern: &Pattern) -> Result<bool, Fault> {
        let mut has = false;
        self.visit(pattern, |_, _| {
            has = true;
            false
        })?;
        Ok(has)
    }

    /// The files that match these patterns, one pattern after the other; a file of two patterns comes twice.
    ///
    /// A pattern without a wildcard is a file that must be there.
    pub(super) fn find_all(&mut self, patterns: &[Pattern]) -> Result<Vec<usize>, Fault> {
        let mut all = Vec::new();
        for pattern in patterns {
            let found = self.find(pattern, Of::Data)?;
            if found.is_empty() && pattern.is_literal() {
                return Err(Fault::MissingFile { path: plain(pattern.text()) });
            }
            // Many patterns that all match everything must not fill the memory.
            self.effort.spend(64 * found.len())?;
            all.extend(found);
        }
        Ok(all)
    }

    /// Shows the matching files in the order of their names, as long as they are wanted.
    fn visit(&mut self, pattern: &Pattern, mut want: impl FnMut(usize, &str) -> bool) -> Result<(), Fault> {
        let prefix = pattern.prefix();
        let start = self.sorted.partition_point(|index| self.name(*index) < prefix);
        let special = Special::of(pattern.text());
        let name = base(pattern.text());
        self.effort.spend(1)?;
        for index in self.sorted.get(start..).unwrap_or_default() {
            let path = self.name(*index);
            if !path.starts_with(prefix) || pattern.is_literal() && path != prefix {
                break;
            }
            let is_ignored = |base: &str| IGNORED.contains(&base) && base != name;
            if pattern.matches(path, &mut self.effort)?
                && !is_ignored(base(path))
                && Special::of(path) == special
                && !want(*index, path)
            {
                break;
            }
        }
        Ok(())
    }
}

/// How many names of a path are hidden (`.git`), and how many folders are private (`__pycache__`).
///
/// A pattern means such files only if it has as many such names itself.
#[derive(Debug, PartialEq, Eq)]
struct Special {
    hidden: usize,
    private: usize,
}

impl Special {
    fn of(path: &str) -> Self {
        let is_hidden = |name: &&str| name.starts_with('.') && name.bytes().any(|byte| byte != b'.');
        let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
        Self {
            hidden: path.split('/').filter(is_hidden).count(),
            private: folders.split('/').filter(|name| name.starts_with("__")).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, files: &[&str]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|file| (*file).to_owned()).collect();
        let sorted = sorted(&files);
        let mut listing = Listing::new(&files, &sorted);
        let pattern = Pattern::new("", pattern).unwrap();
        let found = listing.find(&pattern, Of::All).unwrap();
        assert_eq!(listing.has(&pattern).unwrap(), !found.is_empty());
        found.into_iter().map(|index| listing.name(index).to_owned()).collect()
    }

    #[test]
    fn files_come_in_the_order_of_their_names() {
        assert_eq!(found("**", &["b", "a/c", "Z"]), ["Z", "a/c", "b"]);
        assert_eq!(found("d/x*", &["d/y", "d/x2", "d/x1", "c", "e"]), ["d/x1", "d/x2"]);
    }

    #[test]
    fn hidden_and_private_files_must_be_named() {
        let files = [".hidden/a", ".hidden/.b", "__pycache__/c", ".d", "__e"];
        assert_eq!(found("**", &files), ["__e"]);
        assert_eq!(found(".*/*", &files), [".hidden/a"]);
        assert_eq!(found(".hidden/.*", &files), [".hidden/.b"]);
        assert_eq!(found("__*/*", &files), ["__pycache__/c"]);
        assert_eq!(found(".d", &files), [".d"]);
    }

    #[test]
    fn files_about_the_dataset_are_no_data_unless_named() {
        let files = ["README.md", "d/config.json", "a.json"];
        assert_eq!(found("**", &files), ["a.json"]);
        assert_eq!(found("*/config.json", &files), ["d/config.json"]);
    }

    #[test]
    fn a_literal_path_is_one_file() {
        assert_eq!(found("d/a", &["d/a", "d/a/b", "d/ab", "d/"]), ["d/a"]);
        assert_eq!(found("d", &["d/a"]), Vec::<String>::new());
    }

    #[test]
    fn files_come_pattern_by_pattern() {
        let files: Vec<_> = ["a.csv", "b.csv", "c.txt"].map(str::to_owned).to_vec();
        let sorted = sorted(&files);
        let mut listing = Listing::new(&files, &sorted);
        let patterns = ["b*", "*.csv", "x*"].map(|pattern| Pattern::new("", pattern).unwrap());
        assert_eq!(listing.find_all(&patterns), Ok(vec![1, 0, 1]));
        let missing = [Pattern::new("", "x.csv").unwrap()];
        assert!(matches!(listing.find_all(&missing), Err(Fault::MissingFile { .. })));
    }
}
