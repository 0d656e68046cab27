//! Patterns of file names as the `datasets` library matches them: `*`, `?` and `[...]` within a name, `**` for any
//! number of folders. Braces and backslashes are ordinary characters.
//!
//! Both pattern and path come from a stranger. Matching is greedy and goes back only to the last `*` of a name and
//! the last `**`, so it takes at most (length of pattern) × (length of path) steps, and the steps are counted.

use super::Fault;
use crate::dataset::error::plain;
use memchr::memmem::Finder;

/// The longest pattern, in bytes.
const LONGEST: usize = 4096;

/// The work that matching may still do, in steps of a few nanoseconds.
#[derive(Debug)]
pub(super) struct Effort(u64);

impl Effort {
    /// What the patterns of a usual dataset take for so many files, some times over: seconds at the most.
    pub(super) fn for_files(files: usize) -> Self {
        Self((1 << 25) + 2000 * files as u64)
    }

    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Fault> {
        self.0 = self.0.checked_sub(steps as u64).ok_or(Fault::TooMuchWork)?;
        Ok(())
    }
}

/// A pattern of paths below the dataset's folder.
#[derive(Debug)]
pub(super) struct Pattern {
    /// As it is written, without `./`, doubled slashes and those at the end.
    text: String,
    parts: Vec<Part>,
    /// How much of the text is before the first `*`, `?` or `[`.
    literal: usize,
    /// The longest text that each matching path has somewhere: most paths are told apart by it.
    needle: Finder<'static>,
}

/// What one piece of a path between slashes is compared with.
#[derive(Debug)]
enum Part {
    /// `**`: any number of folders; at the end, everything in a folder.
    Any,
    Name(Vec<Token>),
}

#[derive(Debug)]
enum Token {
    Is(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// `[a-z_]`, `[!0-9]`
    Class {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Token {
    /// Whether it matches this one character; `Many` is the caller's.
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Is(own) => *own == character,
            Self::One | Self::Many => true,
            Self::Class { is_negated, ranges } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&character)) != *is_negated
            }
        }
    }
}

impl Pattern {
    /// Reads a pattern that is relative to `folder` (empty: the dataset's own).
    pub(super) fn new(folder: &str, pattern: &str) -> Result<Self, Fault> {
        let fault = |problem| Err(Fault::BadPattern { pattern: plain(pattern), problem });
        if folder.len() + pattern.len() > LONGEST {
            return fault("is too long");
        }
        if folder.contains("://") || pattern.contains("://") {
            return fault("is an address: name files of this dataset");
        }
        if folder.starts_with('/') || pattern.starts_with('/') {
            return fault("is an absolute path: name files of this dataset");
        }
        let names = folder.split('/').chain(pattern.split('/'));
        let names: Vec<_> = names.filter(|name| !name.is_empty() && *name != ".").collect();
        if names.contains(&"..") {
            return fault("leads out of the dataset");
        }
        if names.iter().any(|name| name.contains("**") && *name != "**") {
            return fault("has `**` beside other characters: it must stand alone between slashes");
        }
        let parts: Vec<_> = names
            .iter()
            .map(|name| if *name == "**" { Part::Any } else { Part::Name(tokens(name)) })
            .collect();
        let text = names.join("/");
        let literal = text.find(['*', '?', '[']).unwrap_or(text.len());
        let needle = longest(&parts);
        Ok(Self { needle: Finder::new(needle.as_bytes()).into_owned(), text, parts, literal })
    }

    /// The pattern as text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The pattern is the path of a file.
    pub(super) fn is_literal(&self) -> bool {
        self.literal == self.text.len()
    }

    /// What each matching path begins with.
    pub(super) fn prefix(&self) -> &str {
        self.text.get(..self.literal).unwrap_or_default()
    }

    /// The folder that each matching path is in, or empty.
    pub(super) fn folder(&self) -> &str {
        self.prefix().rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Whether the whole path matches.
    pub(super) fn matches(&self, path: &str, effort: &mut Effort) -> Result<bool, Fault> {
        effort.spend(1 + path.len() / 16)?;
        if self.is_literal() {
            return Ok(path == self.text);
        }
        if self.needle.find(path.as_bytes()).is_none() {
            return Ok(false);
        }
        let mut at = 0;
        let mut rest = Some(path);
        // Where the last `**` was met, and what it has not yet taken.
        let mut last: Option<(usize, &str)> = None;
        loop {
            match (self.parts.get(at), rest) {
                (None, None) => return Ok(true),
                (Some(Part::Any), Some(text)) => {
                    at += 1;
                    if at == self.parts.len() {
                        return Ok(true);
                    }
                    last = Some((at, text));
                    continue;
                }
                (Some(Part::Name(tokens)), Some(text)) => {
                    let (name, tail) = halves(text);
                    if is_match(tokens, name, effort)? {
                        at += 1;
                        rest = tail;
                        continue;
                    }
                }
                _ => {}
            }
            let Some((after, text)) = last else { return Ok(false) };
            let (_, Some(tail)) = halves(text) else { return Ok(false) };
            last = Some((after, tail));
            at = after;
            rest = Some(tail);
        }
    }
}

/// The first name of a path, and what follows the slash after it.
fn halves(path: &str) -> (&str, Option<&str>) {
    path.split_once('/').map_or((path, None), |(name, tail)| (name, Some(tail)))
}

/// Whether a name, which has no slash, matches.
fn is_match(tokens: &[Token], name: &str, effort: &mut Effort) -> Result<bool, Fault> {
    let mut at = 0;
    let mut rest = name.chars();
    // What follows the last `*`, and the text that it has not yet taken.
    let mut last = None;
    let mut steps = 0;
    let is_match = loop {
        steps += 1;
        let mut next = rest.clone();
        match (tokens.get(at), next.next()) {
            (None, None) => break true,
            (Some(Token::Many), _) => {
                at += 1;
                if at == tokens.len() {
                    break true;
                }
                last = Some((at, rest.clone()));
                continue;
            }
            (Some(token), Some(character)) if token.takes(character) => {
                at += 1;
                rest = next;
                continue;
            }
            _ => {}
        }
        let Some((after, mut text)) = last else { break false };
        if text.next().is_none() {
            break false;
        }
        at = after;
        rest = text.clone();
        last = Some((after, text));
    };
    effort.spend(steps)?;
    Ok(is_match)
}

/// The tokens of one name, by the rules of Python's `fnmatch`: a bracket that is not closed is a bracket, `]` is an
/// ordinary character at the start of a class, `-` at its start and end.
fn tokens(name: &str) -> Vec<Token> {
    let text: Vec<char> = name.chars().collect();
    let mut tokens = Vec::new();
    // No bracket is closed after this place; a look for it is not repeated.
    let last_close = text.iter().rposition(|character| *character == ']').unwrap_or(0);
    let mut at = 0;
    while let Some(character) = text.get(at) {
        at += 1;
        match character {
            '*' if matches!(tokens.last(), Some(Token::Many)) => {}
            '*' => tokens.push(Token::Many),
            '?' => tokens.push(Token::One),
            '[' => {
                let is_negated = text.get(at) == Some(&'!');
                let start = at + usize::from(is_negated);
                let inside = text.get(start..).unwrap_or_default();
                let close = || inside.iter().skip(1).position(|character| *character == ']');
                let class = if at <= last_close { close() } else { None };
                match class.and_then(|close| inside.get(..=close)) {
                    None => tokens.push(Token::Is('[')),
                    Some(inside) => {
                        tokens.push(Token::Class { is_negated, ranges: ranges(inside) });
                        at = start + inside.len() + 1;
                    }
                }
            }
            other => tokens.push(Token::Is(*other)),
        }
    }
    tokens
}

fn ranges(mut inside: &[char]) -> Vec<(char, char)> {
    let mut ranges = Vec::new();
    loop {
        inside = match inside {
            [first, '-', last, rest @ ..] => {
                ranges.push((*first, *last));
                rest
            }
            [one, rest @ ..] => {
                ranges.push((*one, *one));
                rest
            }
            [] => return ranges,
        };
    }
}

/// The longest run of plain characters within a name.
fn longest(parts: &[Part]) -> String {
    let mut longest = String::new();
    for part in parts {
        let Part::Name(tokens) = part else { continue };
        for run in tokens.split(|token| !matches!(token, Token::Is(_))) {
            if run.len() > longest.len() {
                longest = run
                    .iter()
                    .filter_map(|token| if let Token::Is(own) = token { Some(*own) } else { None })
                    .collect();
            }
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, path: &str) -> bool {
        Pattern::new("", pattern).unwrap().matches(path, &mut Effort(1000)).unwrap()
    }

    #[test]
    fn a_star_stays_within_a_name() {
        for (pattern, path, expected) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "d/a.csv", false),
            ("d/*", "d/a.csv", true),
            ("d/*", "d/e/a.csv", false),
            ("a*b*c", "axbxbyc", true),
            ("a*b*c", "axbxby", false),
            ("*", "a", true),
            ("d/?.csv", "d/é.csv", true),
            ("d/?.csv", "d/bb.csv", false),
        ] {
            assert_eq!(is_match(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn two_stars_take_any_number_of_folders() {
        for (pattern, path, expected) in [
            ("**", "a/b/c", true),
            ("**/c", "c", true),
            ("**/c", "a/b/c", true),
            ("**/b/**", "a/b/c", true),
            ("**/b/**", "a/b", false),
            ("**/b/**", "b/c/d", true),
            ("a/**/d", "a/d", true),
            ("a/**/d", "a/b/c/d", true),
            ("a/**/d", "a/b/c/d/e", false),
            ("**/a/**/b", "a/a/x/b/b", true),
            ("d/**", "e/d/a", false),
        ] {
            assert_eq!(is_match(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn classes_are_those_of_python() {
        for (pattern, path, expected) in [
            ("a[-._ 0-9]b", "a-b", true),
            ("a[-._ 0-9]b", "a7b", true),
            ("a[-._ 0-9]b", "axb", false),
            ("a[!0-9]b", "axb", true),
            ("a[!0-9]b", "a7b", false),
            ("a[]x]b", "a]b", true),
            ("a[b", "a[b", true),
            ("a[]b", "a[]b", true),
            ("a[z-a]b", "azb", false),
            ("a[!z-a]b", "azb", true),
            ("d/{a,b}.csv", "d/{a,b}.csv", true),
            ("d/{a,b}.csv", "d/a.csv", false),
            (r"a\*", r"a\x", true),
        ] {
            assert_eq!(is_match(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_never_leaves_the_dataset() {
        for pattern in ["../a", "a/../b", "/a", "hf://datasets/x/y/a.csv", "https://x/a.csv"] {
            assert!(matches!(Pattern::new("", pattern), Err(Fault::BadPattern { .. })), "{pattern}");
        }
        assert!(matches!(Pattern::new("..", "a"), Err(Fault::BadPattern { .. })));
        assert!(matches!(Pattern::new("", "a**/b"), Err(Fault::BadPattern { .. })));
        assert!(matches!(Pattern::new("", &"a".repeat(5000)), Err(Fault::BadPattern { .. })));
    }

    #[test]
    fn a_pattern_is_relative_to_its_folder() {
        let pattern = Pattern::new("./d//", "./t*.csv").unwrap();
        assert_eq!((pattern.text(), pattern.prefix()), ("d/t*.csv", "d/t"));
        assert_eq!(Pattern::new("a", "**/").unwrap().text(), "a/**");
    }

    #[test]
    fn a_tangled_pattern_costs_its_length_times_the_path() {
        let pattern = Pattern::new("", &format!("{}b", "*a".repeat(1000))).unwrap();
        let mut effort = Effort(20_000_000);
        assert!(!pattern.matches(&format!("{}c", "a".repeat(4000)), &mut effort).unwrap());
        let pattern = Pattern::new("", &format!("{}x", "**/a/".repeat(400))).unwrap();
        assert!(!pattern.matches(&format!("{}b", "a/".repeat(2000)), &mut effort).unwrap());
    }

    #[test]
    fn matching_gives_up_when_the_work_is_too_much() {
        let pattern = Pattern::new("", "*a*b").unwrap();
        let mut effort = Effort(10);
        assert_eq!(pattern.matches(&"a".repeat(100), &mut effort), Err(Fault::TooMuchWork));
    }
}
