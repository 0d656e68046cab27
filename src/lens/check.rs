//! What a lens's author should know before trusting it: `classified lens check`.

use std::fmt;

use super::config::CONFIG;
use super::error::place;
use super::template::{PROMPT, SYSTEM};
use super::{FUNCTION_FILES, Lens};

/// Whether a problem fails the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The lens does not do what its files say.
    Error,
    /// It works, but could work better.
    Advice,
}

/// Something about a lens that its author should change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether it fails the check.
    pub severity: Severity,
    /// The file within the lens's folder.
    pub file: String,
    /// 1-based line, where one is known.
    pub line: Option<usize>,
    /// What is wrong and what to write instead.
    pub text: String,
}

impl Problem {
    pub(super) fn error(file: &str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Error, file: file.to_owned(), line: None, text: text.into() }
    }

    fn advice(file: &str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Advice, ..Self::error(file, text) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", place(&self.file, self.line), self.text)
    }
}

/// Everything that is questionable about a lens which could be opened; errors first.
pub fn check(lens: &Lens) -> Vec<Problem> {
    let mut problems = lens.warnings.clone();
    check_config(lens, &mut problems);
    check_function(lens, &mut problems);
    check_templates(lens, &mut problems);
    problems.sort_by_key(|problem| problem.severity == Severity::Advice);
    problems
}

fn check_config(lens: &Lens, problems: &mut Vec<Problem>) {
    if lens.description.as_deref().is_none_or(|text| text.trim().is_empty()) {
        problems
            .push(Problem::advice(CONFIG, "\"description\" is missing; say in one sentence what is rated"));
    }
    if lens.cuts.is_none() {
        let text = format!("no verdicts: a lens on the scale of {} states its \"cuts\"", lens.scale);
        problems.push(Problem::advice(CONFIG, text));
    }
    if lens.heuristic.as_deref() == Some("instruct") && lens.fields.len() < 2 {
        let text =
            "the heuristic \"instruct\" reads an instruction and an output, but there is one input field";
        problems.push(Problem::error(CONFIG, text));
    }
    let mut labels: Vec<&str> = lens.labels.iter().map(|label| label.trim()).collect();
    labels.sort_unstable();
    labels.dedup();
    if labels.len() < lens.labels.len() || labels.contains(&"") {
        problems.push(Problem::error(CONFIG, "\"labels\" holds a label twice or an empty one"));
    }
}

fn check_function(lens: &Lens, problems: &mut Vec<Problem>) {
    let file = FUNCTION_FILES.into_iter().find(|file| lens.files.contains_key(*file)).unwrap_or_default();
    let name = &lens.function.name;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        let text = format!(
            "the function's name `{}` is refused by endpoints; use at most 64 letters, digits, \
                            _ and -",
            name.escape_debug()
        );
        problems.push(Problem::error(file, text));
    }
    if lens.function.description.trim().is_empty() {
        problems.push(Problem::advice(file, "the function has no \"description\"; models read it"));
    }
    if lens.function.parameters["type"] != "object" {
        problems.push(Problem::error(file, "\"parameters\" must say \"type\": \"object\""));
    }
    check_order(lens, file, problems);
    let Some(properties) = lens.function.parameters["properties"].as_object() else { return };
    let mut open = Vec::new();
    for (name, property) in properties {
        let score = lens.scores.contains(name);
        if property["description"].as_str().is_none_or(|text| text.trim().is_empty()) {
            problems.push(Problem::advice(file, format!("`{name}` has no \"description\"; models read it")));
        }
        if score && !property["enum"].is_array() {
            open.push(format!("`{name}`"));
        } else if !score && (property["type"] == "number" || property["type"] == "integer") {
            let text = format!("`{name}` is a number but not in \"required\", so it is not a score");
            problems.push(Problem::advice(file, text));
        }
    }
    if !open.is_empty() {
        let text = format!(
            "no \"enum\" for {}; grammars of local servers enforce an enum such as [1, 1.5, 2, 2.5, 3], but not \
             \"minimum\" and \"maximum\" of a number",
            open.join(", ")
        );
        problems.push(Problem::advice(file, text));
    }
}

/// A model writes the properties in this order: what it says after a score cannot have led to it.
fn check_order(lens: &Lens, file: &str, problems: &mut Vec<Problem>) {
    let names: Vec<&String> = lens.function.parameters["properties"]
        .as_object()
        .map(|properties| properties.keys().collect())
        .unwrap_or_default();
    let first_score = names.iter().position(|name| lens.scores.contains(name));
    let first_rationale = names.iter().position(|name| lens.rationales.contains(name));
    match (first_rationale, first_score) {
        (None, _) => {
            let text = "no rationale; a required text before the scores makes them better and explains them";
            problems.push(Problem::advice(file, text));
        }
        (Some(rationale), Some(score)) if rationale > score => {
            let text = format!(
                "`{}` comes before `{}`; a rationale helps only if it is written first",
                names[score], names[rationale]
            );
            problems.push(Problem::error(file, text));
        }
        _ => {}
    }
}

fn check_templates(lens: &Lens, problems: &mut Vec<Problem>) {
    // What a template includes for these values only is loaded by them, and counts below.
    try_values(lens, problems);
    let variables = lens.templates.variables();
    for (file, name) in variables.unknown.iter().filter(|(file, _)| [SYSTEM, PROMPT].contains(&file.as_str()))
    {
        // An included template may use what the one that includes it has set.
        let text = format!("uses `{name}`, which nobody gives; the lens reads {}", lens.fields.join(", "));
        problems.push(Problem::error(file, text));
    }
    for field in lens.fields.iter().filter(|field| !variables.used.contains(*field)) {
        let text = format!("never uses the input field `{field}`; a row would be rated without being seen");
        problems.push(Problem::error(PROMPT, text));
    }
    if lens.templates.system.trim().is_empty() {
        problems.push(Problem::advice(
            SYSTEM,
            "is empty; put here what is the same for all rows, so that servers \
                                               can keep it",
        ));
    }
}

/// Renders rows that a dataset will have sooner or later.
fn try_values(lens: &Lens, problems: &mut Vec<Problem>) {
    let long = "word ".repeat(20_000);
    let values = [
        ("one letter", "a"),
        ("template syntax", "{{ 7 * 7 }} {% endfor %} {% raw %} {# #}"),
        ("markup", "</script>\u{0}\u{1b}[31m \"'<>&\\ \r\n\t```\n~~~~~~~~~~\n"),
        ("another script", "Ünïcödé 日本語 עברית \u{202e} 🦀"),
        ("a number", "-1.5e300"),
        ("JSON", "{\"a\": [null, true, {\"b\": \"c\"}]}"),
        ("100 KB of text", long.as_str()),
    ];
    for (what, value) in values {
        let problem = match lens.templates.render(&vec![value; lens.fields.len()]) {
            Ok(messages) if messages.prompt.trim().is_empty() => {
                Problem::error(PROMPT, format!("is empty for a row of {what}"))
            }
            Ok(_) => continue,
            Err(fault) => Problem {
                line: fault.line,
                ..Problem::error(&fault.file, format!("stops on a row of {what}: {}", fault.problem))
            },
        };
        problems.push(problem);
        // The others would mostly say the same again.
        return;
    }
}
