//! What an instruction asks for, as far as its words alone show it.

use super::signal::share;
use super::text::Text;

/// Phrases that ask for a word or a sentence.
const BRIEF: [&str; 7] =
    ["one word", "single word", "yes or no", "true or false", "briefly", "one sentence", "a sentence"];
/// Phrases that ask for at least a paragraph.
#[rustfmt::skip]
const LONG: [&str; 25] = [
    "essay", "story", "explain", "describe", "detailed", "in detail", "article", "discuss", "compare", "contrast",
    "steps", "guide", "paragraph", "paragraphs", "email", "letter", "blog", "why", "how do", "how does", "how can",
    "how to", "analyze", "report", "tutorial",
];
/// Phrases that can be answered in a word.
#[rustfmt::skip]
const SHORT: [&str; 20] = [
    "which", "who", "when", "where", "how many", "how much", "what is the", "what s the", "what year", "classify",
    "categorize", "identify", "translate", "convert", "calculate", "compute", "solve", "name", "spell", "correct",
];
/// Phrases that can be answered without a letter.
const NUMERIC: [&str; 9] =
    ["how many", "how much", "number", "numbers", "calculate", "compute", "solve", "sum", "sequence"];
/// Words that let the answer be in another language.
#[rustfmt::skip]
const LANGUAGES: [&str; 14] = [
    "translate", "translation", "german", "french", "spanish", "italian", "portuguese", "dutch", "chinese", "japanese",
    "russian", "arabic", "latin", "language",
];
/// Words that ask for code.
const CODE: [&str; 8] = ["function", "program", "script", "code", "sql", "regex", "html", "class"];
const NUMBERS: [&str; 10] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
/// Words before a number that make it a demand, and not a count of what is given.
#[rustfmt::skip]
const DEMAND: [&str; 16] = [
    "in", "into", "with", "using", "exactly", "least", "most", "about", "under", "than", "write", "give", "list", "name",
    "provide", "suggest",
];

/// An instruction, its words in lower case with one space around each.
pub(super) struct Ask {
    words: String,
    digits: bool,
}

impl Ask {
    pub(super) fn of(instruction: &str) -> Self {
        let mut words = String::from(" ");
        for word in instruction.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            words.push_str(&word.to_lowercase());
            words.push(' ');
        }
        Self { words, digits: instruction.contains(|c: char| c.is_ascii_digit()) }
    }

    fn has(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| {
            self.words.match_indices(phrase).any(|(at, _)| {
                self.words[..at].ends_with(' ') && self.words[at + phrase.len()..].starts_with(' ')
            })
        })
    }

    /// The words that the shortest acceptable answer has.
    pub(super) fn words_expected(&self) -> f64 {
        if self.has(&BRIEF) {
            1.0
        } else if self.has(&LONG) {
            50.0
        } else if self.has(&SHORT) {
            1.0
        } else if self.has(&CODE) {
            6.0
        } else {
            12.0
        }
    }

    pub(super) fn allows_digits(&self) -> bool {
        self.digits || self.has(&NUMERIC) || self.has(&CODE)
    }

    /// Whether the answer may be in words that the instruction has not.
    pub(super) fn other_language(&self) -> bool {
        self.has(&LANGUAGES)
    }

    /// The share of the constraints found here that the answer keeps; `None` where none was found.
    pub(super) fn kept(&self, answer: &str, output: &Text) -> Option<f64> {
        let at_least = self.has(&["at least"]);
        let checks = [
            self.has(&["in json", "as json", "json object", "json format", "valid json"])
                .then(|| is_json(answer)),
            self.has(&["bullet", "bullets", "bullet points", "bulleted list", "numbered list"])
                .then_some(output.items >= 2),
            self.has(&["a table", "markdown table"]).then(|| answer.contains('|')),
            self.has(&["all caps", "all uppercase", "all capital letters"])
                .then(|| !answer.contains(char::is_lowercase)),
            self.has(&["all lowercase"]).then(|| !answer.contains(char::is_uppercase)),
            self.has(&["one word", "single word"]).then_some(output.words <= 2),
            self.has(&["write a function", "python function", "sql query", "regular expression"])
                .then(|| answer.contains(['(', '=', '*', '[', ';'])),
            self.count_of(&["sentence", "sentences"])
                .map(|asked| output.sentences.abs_diff(asked) <= asked / 4),
            self.count_of(&["paragraph", "paragraphs"])
                .map(|asked| output.paragraphs.abs_diff(asked) <= asked / 4),
            self.count_of(&["word", "words"])
                .map(|asked| output.words * 4 >= asked && (at_least || output.words * 4 <= asked * 5)),
            self.count_of(&["items", "examples", "tips", "ways", "reasons", "ideas", "steps", "points"])
                .filter(|_| output.items > 0)
                .map(|asked| output.items >= asked),
        ];
        let found = checks.iter().flatten();
        share(found.clone().filter(|kept| **kept).count(), found.count())
    }

    /// The number before one of these units, where it is demanded: `in three sentences`, `at least 50 words`.
    fn count_of(&self, units: &[&str]) -> Option<usize> {
        let words: Vec<&str> = self.words.split_whitespace().collect();
        words.windows(3).filter(|three| DEMAND.contains(&three[0]) && units.contains(&three[2])).find_map(
            |three| {
                let named = || NUMBERS.iter().position(|name| *name == three[1]).map(|index| index + 1);
                three[1].parse::<u16>().ok().map(usize::from).or_else(named)
            },
        )
    }
}

/// Whether the answer, or what its fence holds, parses.
fn is_json(answer: &str) -> bool {
    let bare = answer.trim().trim_start_matches("```json").trim_matches(['`', '\n', ' ']);
    serde_json::from_str::<serde::de::IgnoredAny>(bare).is_ok()
}
