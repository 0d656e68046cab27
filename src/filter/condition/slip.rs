//! Where an expression cannot be read, and what its author may have meant: the signs of other languages, names that have to
//! be quoted.

use minijinja::ErrorKind;

use super::super::error::plain;
use super::super::names::{Names, ROW};
use super::problem;

/// What is said of an expression that cannot be read.
pub(super) fn misread(source: &str, names: Names<'_>, error: &minijinja::Error) -> String {
    let mut said = problem(error);
    if error.kind() == ErrorKind::SyntaxError
        && let Some(range) = error.range()
    {
        let is_at_end = said.contains("unexpected end");
        let place = if is_at_end { source.trim_end().len() } else { range.start };
        let before = source.get(..place).map_or(0, |before| before.chars().count());
        said = if is_at_end { said } else { format!("{said} at character {}", before + 1) };
    }
    if let Some(column) = odd_name(source, names) {
        return format!("{said} ({})", quoted(column));
    }
    match slip(source) {
        Some(hint) => format!("{said} ({hint})"),
        None => said,
    }
}

/// The problem, with a hint where a column's name is written that has to be quoted.
pub(super) fn with_odd_name(source: &str, names: Names<'_>, problem: String) -> String {
    match odd_name(source, names) {
        Some(column) => format!("{problem} ({})", quoted(column)),
        None => problem,
    }
}

fn quoted(column: &str) -> String {
    let quote = if column.contains('\'') { '"' } else { '\'' };
    format!("column `{0}` is written {ROW}[{quote}{0}{quote}]", plain(column))
}

/// A column of the dataset that is written as `row.<name>` though that is no name of an expression.
fn odd_name<'n>(source: &str, names: Names<'n>) -> Option<&'n str> {
    const LONGEST: usize = 200;
    let is_odd = |name: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        !name.chars().all(is_part) || name.starts_with(|c: char| c.is_ascii_digit())
    };
    let code = code_of(source);
    let columns = names.columns.iter().map(|column| column.name.as_str());
    let mut odd = columns.filter(|name| !name.is_empty() && name.len() <= LONGEST && is_odd(name));
    odd.find(|name| code.contains(&format!("{ROW}.{name}")))
}

/// What is likely to be meant by signs that are none here.
fn slip(source: &str) -> Option<&'static str> {
    let code = code_of(source);
    let has_word =
        |word: &str| code.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|part| part == word);
    let is_single = |sign: char| {
        let bytes = code.as_bytes();
        let is_sign = |at: usize| bytes[at] == sign as u8;
        let stands_alone = |at: usize| {
            let before = at.checked_sub(1).map_or(b' ', |before| bytes[before]);
            let after = bytes.get(at + 1).copied().unwrap_or(b' ');
            !b"=<>!".contains(&before) && after != b'='
        };
        (0..bytes.len()).any(|at| is_sign(at) && stands_alone(at))
    };
    Some(if code.contains('&') {
        "write `and`, not `&&`"
    } else if code.contains("||") {
        "write `or`, not `||`"
    } else if is_single('!') {
        "write `not`, not `!`"
    } else if has_word("AND") {
        "write `and` in small letters"
    } else if has_word("OR") {
        "write `or` in small letters"
    } else if has_word("NOT") {
        "write `not` in small letters"
    } else if is_single('=') {
        "equal is `==`"
    } else if code.chars().any(|c| c.is_alphabetic() && !c.is_ascii()) {
        "a name of other characters than a-z, A-Z, 0-9 and _ is quoted: row['名前']"
    } else {
        return None;
    })
}

/// The expression without what is in quotes.
fn code_of(source: &str) -> String {
    let mut code = String::new();
    let mut chars = source.chars();
    while let Some(c) = chars.next() {
        code.push(c);
        if c != '"' && c != '\'' {
            continue;
        }
        while let Some(inner) = chars.next() {
            if inner == '\\' {
                chars.next();
            } else if inner == c {
                break;
            }
        }
    }
    code
}
