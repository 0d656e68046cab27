//! A report as Markdown: a section a series, a row a run.

use std::fmt::Write as _;

use super::words::{self, line};
use super::{Change, Point, Report, Series, ended, mean, when};

/// The report as GitHub-flavoured Markdown. All names are escaped.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("# Ratings, {} UTC\n", when(report.made));
    let drops: Vec<String> = report
        .drops()
        .map(|(series, with, comparison)| {
            let name = escaped(&series.key.to_string());
            format!("- ▼ **{name}** dropped: {}\n", escaped(&words::describe(with, comparison)))
        })
        .collect();
    text.push('\n');
    if report.series.is_empty() {
        text.push_str("No run in this period.\n");
    } else if drops.is_empty() {
        text.push_str("No last run dropped by more than noise.\n");
    } else {
        text.extend(drops);
    }
    for series in &report.series {
        section(&mut text, series);
    }
    let _ = write!(
        text,
        "\n± is half of the 95 % interval of the mean, the rows of each run taken for a sample of what makes the data. A change is \
         marked where chance gives one like it less often than {} % of the time.\n",
        report.level * 100.0
    );
    if report.unreadable > 0 {
        let _ = writeln!(text, "\n{}.", words::unreadable(report.unreadable));
    }
    text
}

fn section(text: &mut String, series: &Series) {
    let _ = write!(
        text,
        "\n## {}\n\n| Began (UTC) | Command | Rated | Failed | Mean | Change | Cost | Ended |\n|---|---|--:|--:|--:|---|--:|---|\n",
        escaped(&series.key.to_string())
    );
    let mut notes = Vec::new();
    for Point { run, change } in &series.points {
        let outcome = run.outcome.as_ref();
        let of = |words: fn(&crate::rating::run::Outcome) -> String| outcome.map_or("–".to_owned(), words);
        let score = of(|outcome| outcome.overall().map_or("–".to_owned(), |score| mean(outcome, score)));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {score} | {} | {} | {} |",
            when(run.began),
            escaped(&run.meaning.command),
            of(|outcome| words::count(outcome.ledger.answered())),
            escaped(&of(words::failures)),
            escaped(&change.to_string()),
            of(words::cost),
            ended(run),
        );
        if let Change::Compared { with, comparison, .. } = change {
            notes.push(format!(
                "{}: beside {}, {}",
                when(run.began),
                when(*with),
                escaped(&words::test(comparison))
            ));
        }
        if let Some(filtered) = outcome.and_then(words::filtered) {
            notes.push(format!("{}: {}", when(run.began), escaped(&filtered)));
        }
    }
    if !notes.is_empty() {
        let _ = writeln!(text, "\n- {}", notes.join("\n- "));
    }
}

/// A stranger's text on one line, in which nothing is markup: punctuation that Markdown knows is escaped, angle brackets
/// and ampersands are entities.
fn escaped(text: &str) -> String {
    let mut safe = String::new();
    // Addresses would become links.
    let text = line(text).replace("://", "\u{fffe}//").replace("www.", "www\u{ffff}");
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '|' | '!' | '~' | '$' => {
                safe.push('\\');
                safe.push(c);
            }
            '\u{fffe}' => safe.push_str("&#58;"),
            '\u{ffff}' => safe.push_str("&#46;"),
            '@' => safe.push_str("&#64;"),
            c => safe.push(c),
        }
    }
    safe
}
