//! A report as one HTML page: no script, nothing from elsewhere, readable on paper and on a phone.
//!
//! The template escapes whatever it prints. Lists of rows are filtered by style rules alone, from radio buttons.

use std::collections::BTreeSet;

use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context, escape_formatter};
use serde::Serialize;

use super::plot::{self, Bars, Trend};
use super::words::{self, harmless, line};
use super::{Change, Error, Key, Point, Report, Series, Way, ended, mean, when};
use crate::lens::Verdict;
use crate::rating::excerpt::{Excerpt, Kind};
use crate::rating::run::{Outcome, Sample, Score};
use crate::rating::summary::Inference;
use crate::stats::Interval;

const TEMPLATE: &str = include_str!("page.html");

/// Rows that a page shows at most.
const MOST_ROWS: usize = 600;

/// Of a longer text only this many characters are seen before it is opened.
const SHORT: usize = 220;

/// The page. The excerpts of a series are those of its last run that has any.
pub fn html(report: &Report) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_formatter(|out, state, value| match value.as_str().filter(|_| !value.is_safe()) {
        Some(text) => escape_formatter(out, state, &harmless(text).into()),
        None => escape_formatter(out, state, value),
    });
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_template("page", TEMPLATE)?;
    let (rows, left_out) = rows(report);
    let drops: Vec<_> = report
        .drops()
        .map(|(series, with, comparison)| {
            context! {
                name => name(&series.key),
                with => when(with),
                difference => words::difference(comparison),
                test => words::test(comparison),
            }
        })
        .collect();
    let began: Vec<i64> =
        report.series.iter().flat_map(|series| &series.points).map(|point| point.run.began).collect();
    let period = began.iter().min().zip(began.iter().max()).map(|(first, last)| {
        let (first, last) = (when(*first), when(*last));
        if first[..10] == last[..10] {
            first[..10].to_owned()
        } else {
            format!("{} to {}", &first[..10], &last[..10])
        }
    });
    let page = context! {
        title => match &report.series[..] {
            [only] => name(&only.key),
            _ => "Ratings".to_owned(),
        },
        made => when(report.made),
        program => env!("CARGO_PKG_VERSION"),
        period,
        runs => began.len(),
        unreadable => (report.unreadable > 0).then(|| words::unreadable(report.unreadable)),
        level => format!("{}", (report.level * 1e6).round() / 1e4),
        drops,
        compared => report.series.iter().flat_map(|series| &series.points)
            .any(|point| point.change.verdict().is_some()),
        series => Value::from(Serde(report.series.iter().map(view).collect::<Vec<_>>())),
        filters => Value::from(Serde(filters(&rows))),
        rows => Value::from(Serde(rows)),
        left_out,
    };
    Ok(environment.get_template("page")?.render(page)?)
}

fn name(key: &Key) -> String {
    line(&key.to_string())
}

/// A series as the template wants it.
#[derive(Debug, Serialize)]
struct View {
    dataset: String,
    part: Option<String>,
    lens: String,
    model: String,
    version: u32,
    now: Option<Now>,
    trend: Option<Trend>,
    verdicts: Option<Bars>,
    /// Of the overall score.
    histogram: Option<(String, Bars)>,
    /// Of the other scores.
    others: Vec<(String, Bars)>,
    costs: Option<Bars>,
    runs: Vec<RunRow>,
}

/// The last complete run of a series.
#[derive(Debug, Serialize)]
struct Now {
    mean: String,
    interval: Option<String>,
    /// Whether its rows are too few for an interval.
    is_of_few: bool,
    scale: Option<String>,
    change: Option<Said>,
    /// When the run began with which it was compared.
    with: Option<String>,
    rated: String,
    failed: Option<String>,
    when: String,
    stands_for: String,
    filtered: Option<String>,
    revision: Option<String>,
}

/// A sentence and what kind it is of, for its colour and sign.
#[derive(Debug, Serialize)]
struct Said {
    kind: &'static str,
    text: String,
    /// When the first run of the same data was, if this is one of it again.
    again: Option<String>,
}

/// A line of the table of runs.
#[derive(Debug, Serialize)]
struct RunRow {
    when: String,
    command: String,
    sample: String,
    rated: String,
    failed: String,
    reasons: Option<String>,
    mean: String,
    change: Said,
    test: Option<String>,
    cost: String,
    took: String,
    ended: String,
    is_complete: bool,
    filtered: Option<String>,
}

fn view(series: &Series) -> View {
    let Series { key, points } = series;
    let last = points.iter().rev().find_map(|point| Some((point, point.complete()?)));
    let part: Vec<String> = [("config", &key.config), ("split", &key.split)]
        .into_iter()
        .filter_map(|(what, name)| Some(format!("{what} {}", line(name.as_ref()?))))
        .collect();
    View {
        dataset: line(&key.dataset),
        part: (!part.is_empty()).then(|| part.join(", ")),
        lens: line(&key.lens),
        model: line(&key.model),
        version: key.version,
        now: last.and_then(|(point, outcome)| now(point, outcome)),
        trend: plot::trend(points),
        verdicts: plot::verdicts(points),
        histogram: last.and_then(|(_, outcome)| histogram(outcome, outcome.overall()?)),
        others: last
            .map(|(_, outcome)| others(outcome).filter_map(|score| histogram(outcome, score)).collect())
            .unwrap_or_default(),
        costs: plot::costs(points),
        runs: points.iter().rev().map(run_row).collect(),
    }
}

fn histogram(outcome: &Outcome, score: &Score) -> Option<(String, Bars)> {
    Some((line(&score.name), plot::histogram(outcome, score)?))
}

/// The scores beside the overall one.
fn others(outcome: &Outcome) -> impl Iterator<Item = &Score> {
    outcome.scores.iter().enumerate().filter(|(at, _)| *at != outcome.overall).map(|(_, score)| score)
}

fn now(point: &Point, outcome: &Outcome) -> Option<Now> {
    let score = outcome.overall()?;
    let (mean, ledger) = (score.mean?, &outcome.ledger);
    let interval = words::interval(outcome, score);
    let failed = ledger.all_failed() > 0;
    Some(Now {
        mean: format!("{mean:.2}"),
        interval: interval.map(|Interval { low, high }| format!("{low:.2} to {high:.2}")),
        is_of_few: words::is_of_few(score),
        scale: outcome.scale.map(|scale| scale.to_string()),
        change: match &point.change {
            Change::First => None,
            change => Some(said(change)),
        },
        with: point.change.verdict().map(|(with, ..)| when(with)),
        rated: words::rows(ledger.answered()),
        failed: failed.then(|| words::failures(outcome)),
        when: when(point.run.began),
        stands_for: stands_for(outcome),
        filtered: words::filtered(outcome).map(|text| line(&text)),
        revision: point
            .run
            .meaning
            .revision
            .as_deref()
            .map(|revision| line(&revision.chars().take(12).collect::<String>())),
    })
}

/// What the rated rows stand for.
fn stands_for(outcome: &Outcome) -> String {
    match outcome.sample {
        Some(Inference::Census) => "every row of the dataset".to_owned(),
        Some(Inference::Population(rows)) => format!("a uniform sample of {} rows", words::count(rows)),
        Some(Inference::Beginning(rows)) => {
            format!("a uniform sample of the first {} rows", words::count(rows))
        }
        Some(Inference::TwoStages { files, of }) => {
            let (files, of) = (words::count(files as u64), words::count(of as u64));
            format!("a sample in two stages, {files} of {of} files")
        }
        Some(Inference::Head) => "the head of the dataset, no sample of it".to_owned(),
        Some(Inference::Unfinished) | None => "the rows that were reached, no sample of it".to_owned(),
    }
}

fn said(change: &Change) -> Said {
    let (kind, text) = match change {
        Change::Compared { comparison, way, .. } => {
            let kind = match way {
                Way::Drop => "drop",
                Way::Rise => "rise",
                Way::Noise => "noise",
            };
            (kind, words::difference(comparison))
        }
        Change::Again { of, change } => {
            let (first, again) = (said(change), Some(when(*of)));
            return match **change {
                Change::Compared { .. } => Said { again, ..first },
                _ => Said { kind: "none", text: String::new(), again },
            };
        }
        Change::Broken(_) => ("broken", change.to_string()),
        Change::First | Change::Unfinished | Change::Untested(_) => ("none", change.to_string()),
    };
    Said { kind, text: line(&text), again: None }
}

fn run_row(point: &Point) -> RunRow {
    let Point { run, change } = point;
    let outcome = run.outcome.as_ref();
    let of = |words: &dyn Fn(&Outcome) -> String| outcome.map_or("–".to_owned(), words);
    RunRow {
        when: when(run.began),
        command: line(&run.meaning.command),
        sample: match run.meaning.sample {
            Sample::All => "all rows".to_owned(),
            Sample::Random { rows, seed } => format!("{} rows, seed {seed}", words::count(rows)),
            Sample::First { rows } => format!("first {} rows", words::count(rows)),
        },
        rated: of(&|outcome| {
            let of = outcome.ledger.rows.map_or(String::new(), |rows| format!(" of {}", words::count(rows)));
            format!("{}{of}", words::count(outcome.ledger.answered()))
        }),
        failed: of(&|outcome| words::count(outcome.ledger.all_failed())),
        reasons: outcome.and_then(words::reasons).map(|text| line(&text)),
        mean: of(&|outcome| outcome.overall().map_or("–".to_owned(), |score| mean(outcome, score))),
        change: said(change),
        test: change
            .verdict()
            .map(|(with, comparison, _)| format!("beside {}: {}", when(with), words::short_test(comparison))),
        cost: of(&words::cost),
        took: of(&|outcome| outcome.seconds.map_or("–".to_owned(), words::duration)),
        ended: ended(run),
        is_complete: point.complete().is_some(),
        filtered: outcome.and_then(words::filtered).map(|text| line(&text)),
    }
}

/// A rated row as the template wants it.
#[derive(Debug, Serialize)]
struct Row {
    classes: String,
    dataset: String,
    lens: String,
    id: String,
    verdict: Option<String>,
    kinds: String,
    overall: String,
    /// The other scores, by name.
    scores: Vec<(String, String)>,
    spread: Option<String>,
    text: Folded,
    rationale: Folded,
}

/// A text, and its beginning where it is long.
#[derive(Debug, Serialize)]
struct Folded {
    all: String,
    beginning: Option<String>,
}

impl Folded {
    fn new(text: &str) -> Self {
        let all = harmless(text);
        let beginning = all.char_indices().nth(SHORT).map(|(end, _)| {
            // A word is not cut where one ends nearby.
            let cut = all[..end].rfind(char::is_whitespace).filter(|at| *at > end / 2).unwrap_or(end);
            format!("{}…", all[..cut].trim_end())
        });
        Self { all, beginning }
    }
}

/// One choice of a filter; `class` is that of the rows which it leaves, empty for all.
#[derive(Debug, Serialize)]
struct Choice {
    id: String,
    class: String,
    label: String,
}

/// Radio buttons of which one is chosen.
#[derive(Debug, Serialize)]
struct Filter {
    name: &'static str,
    title: &'static str,
    choices: Vec<Choice>,
}

/// The rows of every series, and how many more there are.
fn rows(report: &Report) -> (Vec<Row>, usize) {
    let datasets: BTreeSet<&str> = report.series.iter().map(|series| series.key.dataset.as_str()).collect();
    let lenses: BTreeSet<&str> = report.series.iter().map(|series| series.key.lens.as_str()).collect();
    let index =
        |names: &BTreeSet<&str>, name: &str| names.iter().position(|known| *known == name).unwrap_or(0);
    let mut rows = Vec::new();
    let mut left_out = 0;
    for Series { key, points } in &report.series {
        let Some((point, outcome)) = points.iter().rev().find_map(|point| {
            Some((point, point.run.outcome.as_ref()?)).filter(|(point, _)| !point.run.excerpts.is_empty())
        }) else {
            continue;
        };
        for (excerpt, kinds) in point.run.excerpts.iter().zip(kinds(&point.run.excerpts)) {
            if rows.len() == MOST_ROWS {
                left_out += 1;
                continue;
            }
            let place = format!("d{} l{}", index(&datasets, &key.dataset), index(&lenses, &key.lens));
            rows.push(row((key, outcome), excerpt, &kinds, &place));
        }
    }
    (rows, left_out)
}

/// Why each row is shown. Where there are fewer rows than are shown, some are among the best and among the worst: the better
/// half of these is shown as the best, the other as the worst.
fn kinds(excerpts: &[Excerpt]) -> Vec<Vec<Kind>> {
    let mut all: Vec<Vec<Kind>> = excerpts.iter().map(|excerpt| excerpt.kinds.clone()).collect();
    let both: Vec<&mut Vec<Kind>> =
        all.iter_mut().filter(|kinds| kinds.contains(&Kind::Best) && kinds.contains(&Kind::Worst)).collect();
    let half = both.len().div_ceil(2);
    // The best come first.
    for (place, kinds) in both.into_iter().enumerate() {
        let other = if place < half { Kind::Worst } else { Kind::Best };
        kinds.retain(|kind| *kind != other);
    }
    all
}

fn row((key, outcome): (&Key, &Outcome), excerpt: &Excerpt, kinds: &[Kind], place: &str) -> Row {
    let mut classes = vec![place.to_owned()];
    classes.extend(kinds.iter().map(|kind| format!("k-{}", kind_word(*kind))));
    classes.extend(excerpt.verdict.map(|verdict| format!("v-{}", verdict.name().to_lowercase())));
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind_word(*kind)).collect();
    let named = outcome.scores.iter().zip(&excerpt.scores).enumerate();
    let others = named.filter(|(at, _)| *at != outcome.overall);
    Row {
        classes: classes.join(" "),
        dataset: line(&key.dataset),
        lens: line(&key.lens),
        id: line(&excerpt.id),
        verdict: excerpt.verdict.map(|verdict| verdict.name().to_owned()),
        kinds: kinds.join(", "),
        overall: excerpt.scores.get(outcome.overall).map_or("–".to_owned(), |score| format!("{score:.2}")),
        scores: others.map(|(_, (score, value))| (line(&score.name), format!("{value:.2}"))).collect(),
        spread: (excerpt.spread > 0.0).then(|| format!("{:.2}", excerpt.spread)),
        text: Folded::new(&excerpt.text),
        rationale: Folded::new(&excerpt.rationale),
    }
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Best => "best",
        Kind::Worst => "worst",
        Kind::Uncertain => "uncertain",
    }
}

/// What the rows can be filtered by: only what tells some of them from others.
fn filters(rows: &[Row]) -> Vec<Filter> {
    let choice = |name: &str, class: &str, label: &str| Choice {
        id: format!("{name}-{}", if class.is_empty() { "all" } else { class }),
        class: class.to_owned(),
        label: label.to_owned(),
    };
    let has = |class: &str| rows.iter().any(|row| row.classes.split(' ').any(|own| own == class));
    let kinds = [("k-best", "Best"), ("k-worst", "Worst"), ("k-uncertain", "Most uncertain")];
    let kinds: Vec<(String, String)> =
        kinds.map(|(class, label)| (class.to_owned(), label.to_owned())).into();
    let verdicts = Verdict::ALL
        .map(|verdict| (format!("v-{}", verdict.name().to_lowercase()), verdict.name().to_owned()));
    let named = |of: fn(&Row) -> &String, prefix: char| {
        let mut names: Vec<(String, String)> = Vec::new();
        for row in rows {
            let class =
                row.classes.split(' ').find(|class| class.starts_with(prefix) && !class.starts_with("k-"));
            let pair = (class.unwrap_or_default().to_owned(), of(row).clone());
            if !names.contains(&pair) {
                names.push(pair);
            }
        }
        names
    };
    let groups = [
        ("kind", "Rows", kinds),
        ("verdict", "Verdict", verdicts.into()),
        ("lens", "Lens", named(|row| &row.lens, 'l')),
        ("dataset", "Dataset", named(|row| &row.dataset, 'd')),
    ];
    let groups = groups.into_iter().map(|(name, title, pairs)| {
        let all = choice(name, "", "All");
        let some =
            pairs.iter().filter(|(class, _)| has(class)).map(|(class, label)| choice(name, class, label));
        Filter { name, title, choices: std::iter::once(all).chain(some).collect() }
    });
    // All and one more is no choice.
    groups.filter(|filter| filter.choices.len() > 2).collect()
}
