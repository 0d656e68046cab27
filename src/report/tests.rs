//! Reports of runs that were made up.

use serde_json::{Map, Value, json};

use super::*;
use crate::lens::{Cuts, Scale, Verdict};
use crate::model::Money;
use crate::rating::excerpt::{Excerpt, Kind};
use crate::rating::histogram::{Bins, Histogram};
use crate::rating::run::{Bill, Ended, How, Rows, Sample, Score, Verdicts};
use crate::rating::summary::Inference;
use crate::stats::compare::{Estimate, Method};

const DAY: i64 = 86_400_000;

/// A text that would be markup, a formula, another direction, or a way out of an attribute or an element.
const HOSTILE: &str = "=\"'><script>alert(1)</script>]]>--></style></title>|`*_[x](http://x.y)\u{202e}\u{1b}[2J\u{0}{{7*7}}\n@a";

fn meaning() -> Meaning {
    Meaning {
        command: "summary".into(),
        dataset: "rows.jsonl".into(),
        config: None,
        revision: None,
        split: None,
        columns: vec!["text".into()],
        drawn: None,
        sample: Sample::All,
        lens: "textbook_quality".into(),
        lens_digest: "00".repeat(32),
        model: "gpt".into(),
        version: 1,
        sampling: Map::new(),
        chunks: [1500, 2, 100],
        lines: Map::new(),
    }
}

/// What came of a run with this mean over 100 rows, its standard error 0.05.
fn outcome(mean: f64) -> Outcome {
    Outcome {
        program: "1.0.0".into(),
        ended: Some(Ended { how: How::Complete, exit: 0 }),
        seconds: Some(12.0),
        ledger: Rows { rows: Some(100), rated: 100, not_reached: Some(0), ..Rows::default() },
        bill: Bill { cost: Some(Money::from_dollars(0.25)), ..Bill::default() },
        scores: vec![Score {
            name: "overall".into(),
            n: 100,
            mean: Some(mean),
            variance: Some(0.25),
            interval: None,
            estimate: Some(Estimate { mean, error: 0.05, freedom: 99 }),
            histogram: Histogram { bins: Bins::Values, low: 1.0, high: 3.0, counts: vec![0, 10, 50, 40, 0] },
        }],
        overall: 0,
        verdicts: Some(Verdicts { counts: [0, 10, 50, 40], intervals: [None; 4] }),
        scale: Some(Scale::DEFAULT),
        cuts: Some(Cuts::DEFAULT),
        sample: Some(Inference::Census),
        filter: None,
    }
}

fn run(day: i64, mean: f64) -> Run {
    Run {
        id: Some(day),
        meaning: meaning(),
        began: day * DAY,
        outcome: Some(outcome(mean)),
        excerpts: Vec::new(),
    }
}

fn report(runs: Vec<Run>) -> Report {
    Report::new(runs, LEVEL, 100 * DAY)
}

/// The changes of the only series.
fn changes(runs: Vec<Run>) -> Vec<Change> {
    let report = report(runs);
    assert_eq!(report.series.len(), 1);
    report.series[0].points.iter().map(|point| point.change.clone()).collect()
}

fn way(change: &Change) -> Option<Way> {
    match change {
        Change::Compared { way, .. } => Some(*way),
        _ => None,
    }
}

/// The day of the run with which a run was compared.
fn with(change: &Change) -> Option<i64> {
    match change {
        Change::Compared { with, .. } => Some(with / DAY),
        _ => None,
    }
}

/// So many rows of it.
fn sized(mut run: Run, rows: u64) -> Run {
    let outcome = run.outcome.as_mut().unwrap();
    (outcome.ledger.rows, outcome.ledger.rated) = (Some(rows), rows);
    run
}

#[test]
fn the_same_data_again_after_a_drop_leaves_the_alert_standing_until_new_data_comes() {
    let mut runs = vec![run(1, 2.4), run(2, 2.0), run(3, 2.0), run(4, 2.0)];
    let report = report(runs.clone());
    let last = &report.series[0].points[3];
    assert!(matches!(&last.change, Change::Again { of, .. } if *of == 2 * DAY), "{}", last.change);
    insta::assert_snapshot!(last.change, @"same data again as 1970-01-03 00:00: ▼ drop −0.40, p < 0.0001");
    assert_eq!(report.drops().map(|(_, with, _)| with / DAY).collect::<Vec<_>>(), [1]);
    runs.push(run(5, 2.01));
    assert_eq!((self::report(runs.clone()).drops().count(), with(&changes(runs)[4])), (0, Some(4)));
}

#[test]
fn rows_that_failed_and_are_rated_now_are_the_same_data_and_other_scores_are_not() {
    let mut bad = run(2, 2.0);
    bad.outcome.as_mut().unwrap().ledger.failed.insert("timeout".into(), 3);
    let more = |rows: u64| {
        let mut again = run(3, 2.01);
        again.outcome.as_mut().unwrap().scores[0].histogram.counts[1] += rows;
        matches!(changes(vec![run(1, 2.4), bad.clone(), again])[2], Change::Again { .. })
    };
    assert!(more(3) && !more(4));
    assert!(!more(0), "of the same rows the mean is the same");
}

#[test]
fn runs_that_cannot_be_compared_hide_no_drop_and_the_baseline_is_named() {
    let mut chunks = run(3, 2.4);
    chunks.meaning.chunks = [100, 1, 0];
    let mut kind = run(4, 2.4);
    kind.meaning.sample = Sample::Random { rows: 20, seed: 1 };
    let peek = sized(run(5, 2.3), 20);
    let all = vec![run(1, 2.41), run(2, 2.4), chunks, kind, peek, run(6, 2.0)];
    let changes = changes(all.clone());
    assert!(matches!(&changes[2..4], [Change::Broken(_), Change::Broken(_)]), "{changes:?}");
    assert_eq!((way(&changes[5]), with(&changes[5])), (Some(Way::Drop), Some(2)));
    let report = report(all);
    let page = html::html(&report).unwrap();
    assert!(page.contains("beside the run of 1970-01-03 00:00 UTC"), "the page names the day");
    assert!(markdown::markdown(&report).contains("beside the run of 1970-01-03 00:00 UTC"));
    assert_eq!(json::report(&report)["series"][0]["runs"][5]["change"]["with"], "1970-01-03T00:00:00Z");
}

#[test]
fn a_peek_after_a_drop_does_not_silence_it_and_another_lens_does() {
    let dropped = [run(1, 2.4), run(2, 2.0)];
    let after = |change: &dyn Fn(&mut Run)| {
        let mut later = run(3, 2.02);
        change(&mut later);
        report([&dropped[..], &[later]].concat()).drops().count()
    };
    assert_eq!(after(&|run| run.meaning.sample = Sample::Random { rows: 20, seed: 1 }), 1);
    assert_eq!(after(&|run| run.meaning.chunks = [100, 1, 0]), 1);
    assert_eq!(after(&|run| *run = sized(run.clone(), 20)), 1);
    assert_eq!(after(&|run| run.meaning.lens_digest = "11".repeat(32)), 0);
    assert_eq!(after(&|_| ()), 0, "it was told the day before");
}

#[test]
fn a_run_that_is_not_compared_with_its_neighbour_is_not_joined_to_it() {
    let lines = |chunks: [usize; 3]| {
        let mut between = run(2, 2.1);
        between.meaning.chunks = chunks;
        let page = html::html(&report(vec![run(1, 2.4), between, run(3, 2.0), run(4, 2.0), run(5, 2.0)]));
        page.unwrap().matches("<path class=\"line\"").count()
    };
    assert_eq!((lines([1500, 2, 100]), lines([100, 1, 0])), (1, 3));
}

#[test]
fn few_runs_have_a_date_each_in_the_trend() {
    for days in [4, 5] {
        let page = html::html(&report((1..=days).map(|day| run(day, 2.0 + day as f64 / 100.0)).collect()));
        let page = page.unwrap();
        for day in 1..=days {
            assert!(page.contains(&format!(">1970-01-0{}</text>", day + 1)), "day {day} of {days}");
        }
    }
}

#[test]
fn a_verdict_of_few_rows_has_its_share_or_nothing_written_on_it() {
    let mut run = run(1, 2.4);
    run.outcome.as_mut().unwrap().verdicts.as_mut().unwrap().counts = [10, 12, 38, 40];
    let page = html::html(&report(vec![run])).unwrap();
    assert!(page.contains(">L 12 %</text>") && !page.contains(">P</text>"), "{page}");
}

#[test]
fn data_that_grew_is_compared_with_what_there_was() {
    let grown = sized(run(2, 2.0), 100_000);
    assert_eq!(with(&changes(vec![run(1, 2.4), grown])[1]), Some(1));
}

#[test]
fn a_run_that_stopped_early_has_no_interval_in_any_form() {
    let mut stopped = run(2, 2.0);
    stopped.outcome.as_mut().unwrap().ended = Some(Ended { how: How::Budget, exit: 4 });
    let report = report(vec![run(1, 2.4), stopped]);
    let page = html::html(&report).unwrap();
    let markdown = markdown::markdown(&report);
    for text in [&page, &markdown] {
        assert!(text.contains("2.40 ± 0.10") && !text.contains("2.00 ±"), "{text}");
    }
    let csv = csv::csv(&report);
    let last = ::csv::Reader::from_reader(csv.as_bytes()).into_records().nth(1).unwrap().unwrap();
    let cells: Vec<&str> = last.iter().collect();
    assert_eq!(cells[18..23], ["2", "", "", "", ""]);
    let document = json::report(&report);
    let outcome = |at: usize| document["series"][0]["runs"][at]["outcome"]["scores"][0]["estimate"].clone();
    assert!(outcome(0).is_object() && outcome(1).is_null());
}

#[test]
fn an_interval_ends_where_the_scale_does_and_of_few_rows_there_is_none() {
    let mut high = run(1, 2.95);
    let page = html::html(&report(vec![high.clone()])).unwrap();
    assert!(page.contains("95 % interval 2.85 to 3.00") && page.contains("2.95 (2.85 to 3.00)"), "{page}");
    let csv = csv::csv(&report(vec![high.clone()]));
    assert_eq!(csv.lines().nth(1).unwrap().split(',').nth(20), Some("3"));
    high.outcome.as_mut().unwrap().scores[0].n = 4;
    let page = html::html(&report(vec![high])).unwrap();
    assert!(page.contains("too few rows for an interval") && !page.contains("2.85"), "{page}");
}

#[test]
fn a_row_is_not_the_best_and_the_worst_at_once() {
    let mut run = run(1, 2.0);
    let excerpt = |at: usize| Excerpt {
        kinds: vec![Kind::Best, Kind::Worst, Kind::Uncertain],
        id: format!("r#{at}"),
        text: "text".into(),
        scores: vec![3.0 - at as f64],
        verdict: None,
        rationale: String::new(),
        spread: 0.0,
    };
    run.excerpts = (0..3).map(excerpt).collect();
    let page = html::html(&report(vec![run])).unwrap();
    let shown: Vec<&str> = page.lines().filter(|line| line.starts_with("<article")).collect();
    let kinds = ["<p>best, uncertain</p>", "<p>best, uncertain</p>", "<p>worst, uncertain</p>"];
    for (row, kinds) in shown.iter().zip(kinds) {
        assert!(row.contains(kinds), "{row}");
    }
    assert_eq!(shown.len(), 3);
}

#[test]
fn runs_that_are_left_out_are_counted_in_good_english() {
    let mut report = report(vec![run(1, 2.0)]);
    report.unreadable = 1;
    assert!(markdown::markdown(&report).contains("\n1 run is left out: recorded in a form"));
    report.unreadable = 1200;
    assert!(html::html(&report).unwrap().contains("<p>1,200 runs are left out: recorded in a form"));
}

#[test]
fn a_drop_and_a_rise_beyond_noise_are_told_from_noise() {
    let changes = changes(vec![run(1, 2.4), run(2, 2.35), run(3, 2.1), run(4, 2.4)]);
    assert_eq!(changes[0], Change::First);
    assert_eq!(
        changes[1..].iter().map(way).collect::<Vec<_>>(),
        [Some(Way::Noise), Some(Way::Drop), Some(Way::Rise)]
    );
    insta::assert_snapshot!(changes[2], @"▼ drop −0.25, p = 0.0003");
    let Change::Compared { comparison, .. } = &changes[2] else { panic!() };
    assert!(matches!(comparison.method, Method::Welch { .. }));
}

#[test]
fn only_the_last_complete_run_of_a_series_raises_an_alert() {
    let dropped = report(vec![run(1, 2.4), run(2, 2.0)]);
    assert_eq!(dropped.drops().count(), 1);
    assert_eq!(
        report(vec![run(1, 2.4), run(2, 2.0), run(3, 2.01)]).drops().count(),
        0,
        "it was told the day before"
    );
    let killed = Run { outcome: None, ..run(3, 0.0) };
    assert_eq!(report(vec![run(1, 2.4), run(2, 2.0), killed]).drops().count(), 1);
    let mut later = dropped;
    later.since(3 * DAY);
    assert_eq!((later.drops().count(), later.series.len()), (0, 0));
}

#[test]
fn a_run_within_the_period_is_compared_with_one_before_it() {
    let mut report = report(vec![run(1, 2.4), run(9, 2.0)]);
    report.since(8 * DAY);
    assert_eq!(report.series[0].points.len(), 1);
    assert_eq!(report.drops().count(), 1);
}

#[test]
fn runs_that_did_not_reach_every_row_are_shown_and_not_compared() {
    let stopped = |day, how| {
        let mut run = run(day, 1.0);
        run.outcome.as_mut().unwrap().ended = Some(Ended { how, exit: 4 });
        run
    };
    let killed = Run { outcome: None, ..run(4, 0.0) };
    let changes =
        changes(vec![run(1, 2.4), stopped(2, How::Budget), stopped(3, How::Failed), killed, run(5, 2.41)]);
    assert_eq!(changes[1..4], [Change::Unfinished, Change::Unfinished, Change::Unfinished]);
    assert_eq!(way(&changes[4]), Some(Way::Noise), "it is compared with the last complete one");
}

#[test]
fn what_else_changed_breaks_a_series_and_is_said() {
    let mut all: Vec<Run> = (1..=7).map(|day| run(day, if day < 7 { 2.4 } else { 2.402 })).collect();
    let from =
        |runs: &mut [Run], day: usize, change: &dyn Fn(&mut Run)| runs[day - 1..].iter_mut().for_each(change);
    from(&mut all, 2, &|run| run.meaning.lens_digest = "11".repeat(32));
    from(&mut all, 3, &|run| run.meaning.chunks = [1000, 2, 100]);
    from(&mut all, 4, &|run| run.meaning.columns = vec!["body".into()]);
    from(&mut all, 5, &|run| run.meaning.sample = Sample::Random { rows: 50, seed: 1 });
    from(&mut all, 6, &|run| {
        run.meaning.sampling.insert("temperature".into(), json!(0.5));
    });
    let changes = changes(all);
    let said: Vec<String> = changes.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(said.join("\n"), @r"
    first run
    not comparable: text of the lens: 00000000, now 11111111
    not comparable: chunks: 2 of 1500 tokens, edges within 100, now 2 of 1000 tokens, edges within 100
    not comparable: columns: text, now body
    not comparable: sample: all rows, now uniform
    not comparable: temperature: default, now 0.5
    within noise ±0.00, p = 0.49
    ");
}

#[test]
fn a_larger_sample_or_another_seed_breaks_nothing() {
    let mut small = run(1, 2.4);
    small.meaning.sample = Sample::Random { rows: 50, seed: 1 };
    small.outcome.as_mut().unwrap().sample = Some(Inference::Population(1000));
    let mut large = run(2, 2.41);
    large.meaning.sample = Sample::Random { rows: 5000, seed: 2 };
    assert_eq!(way(&changes(vec![small, large])[1]), Some(Way::Noise));
}

#[test]
fn the_heuristic_of_another_version_is_another_rater() {
    let mut runs = vec![run(1, 2.4), run(2, 2.41)];
    runs[1].outcome.as_mut().unwrap().program = "2.0.0".into();
    assert_eq!(way(&changes(runs.clone())[1]), Some(Way::Noise), "a model is the same whoever asks it");
    for run in &mut runs {
        run.meaning.model = "heuristic".into();
    }
    insta::assert_snapshot!(changes(runs)[1], @"not comparable: version of classified: 1.0.0, now 2.0.0");
}

#[test]
fn what_cannot_be_tested_says_why() {
    let with = |change: &dyn Fn(&mut Outcome)| {
        let mut later = run(2, 2.0);
        change(later.outcome.as_mut().unwrap());
        let mut before = run(1, 2.4);
        before.outcome.as_mut().unwrap().sample = later.outcome.as_ref().unwrap().sample;
        changes(vec![before, later])[1].to_string()
    };
    let said = [
        with(&|outcome| outcome.sample = Some(Inference::Head)),
        with(&|outcome| outcome.sample = Some(Inference::Beginning(10_000))),
        with(&|outcome| outcome.scores[0].estimate = None),
        with(&|outcome| outcome.scores[0].mean = None),
        with(&|outcome| outcome.scores.clear()),
        with(&|outcome| outcome.ledger.screened = 5),
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
    not tested: the rows are the head of the dataset, which is no sample of it
    not tested: the rows are the head of the dataset, which is no sample of it
    not tested: fewer than two rows, or files of a sample in two stages, have a rating
    not tested: no row has a rating
    not tested: an earlier version of the program kept no mean
    not tested: a cheaper rater chose the rows that were rated
    ");
}

#[test]
fn datasets_lenses_raters_and_versions_are_series_of_their_own() {
    let mut runs: Vec<Run> = (0..6).map(|day| run(day, 2.0)).collect();
    runs[1].meaning.config = Some("en".into());
    runs[2].meaning.split = Some("test".into());
    runs[3].meaning.lens = "other".into();
    runs[4].meaning.model = "tiny".into();
    runs[5].meaning.version = 2;
    let report = report(runs);
    let names: Vec<String> = report.series.iter().map(|series| series.key.to_string()).collect();
    insta::assert_snapshot!(names.join("\n"), @r"
    rows.jsonl · other · gpt
    rows.jsonl · textbook_quality · gpt
    rows.jsonl · textbook_quality · gpt · version 2
    rows.jsonl · textbook_quality · tiny
    rows.jsonl (test) · textbook_quality · gpt
    rows.jsonl (en) · textbook_quality · gpt
    ");
    assert!(report.series.iter().all(|series| series.points[0].change == Change::First));
}

/// A report in which every text of a stranger is hostile.
fn hostile() -> Report {
    let mut runs: Vec<Run> = (1..=4).map(|day| run(day, 2.5 - 0.2 * day as f64)).collect();
    for run in &mut runs {
        run.meaning.dataset = HOSTILE.into();
        run.meaning.config = Some(HOSTILE.into());
        run.meaning.lens = HOSTILE.into();
        run.meaning.model = HOSTILE.into();
        run.meaning.revision = Some(HOSTILE.into());
        run.meaning.command = HOSTILE.into();
        let outcome = run.outcome.as_mut().unwrap();
        outcome.scores[0].name = HOSTILE.into();
        outcome.scores.push(outcome.scores[0].clone());
        outcome.ledger.failed.insert(HOSTILE.into(), 3);
        outcome.filter =
            Some(crate::rating::run::Filtered { kept: 1, dropped: 2, unrated: 3, cut: HOSTILE.into() });
        run.excerpts = [Kind::Best, Kind::Worst, Kind::Uncertain]
            .map(|kind| Excerpt {
                kinds: vec![kind],
                id: HOSTILE.into(),
                text: HOSTILE.repeat(9),
                scores: vec![2.0, 2.5],
                verdict: Some(if kind == Kind::Best { Verdict::Good } else { Verdict::Poor }),
                rationale: HOSTILE.into(),
                spread: 0.5,
            })
            .into();
    }
    runs[2].meaning.columns = vec![HOSTILE.into()];
    runs[3].meaning.columns = vec![HOSTILE.into()];
    report(runs)
}

/// Reads a page as strict XML would: every element closed in order, attributes quoted and named once, nothing raw in texts.
/// Returns its elements and attributes, and its text.
fn parse(page: &str) -> (Vec<String>, Vec<(String, String)>, String) {
    let (mut open, mut elements, mut attributes, mut text): (Vec<&str>, Vec<String>, Vec<_>, String) =
        Default::default();
    let mut rest = page.trim_start().strip_prefix("<!DOCTYPE html>").unwrap();
    let checked = |part: &str| {
        for (at, _) in part.match_indices('&') {
            let entity = part[at + 1..].split(';').next().unwrap();
            let known = ["lt", "gt", "amp", "quot"].contains(&entity) || entity.starts_with('#');
            assert!(known && entity.len() < 8, "a bare & in {part:?}");
        }
        assert!(
            !part.contains(|c: char| c.is_control() && c != '\n' && c != '\t'),
            "a control character in {part:?}"
        );
    };
    while let Some(at) = rest.find('<') {
        checked(&rest[..at]);
        text.push_str(&rest[..at]);
        let end = rest.find('>').unwrap();
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "an element is closed that is not open");
            continue;
        }
        let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, mut inner) = tag.split_once([' ', '\n']).unwrap_or((tag, ""));
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name:?} is no element");
        elements.push(name.to_owned());
        let mut own = Vec::new();
        while let Some((attribute, after)) = inner.trim_start().split_once("=\"") {
            let (value, after) = after.split_once('"').unwrap();
            assert!(
                attribute.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
                "{attribute:?}"
            );
            assert!(!own.contains(&attribute) && !value.contains('<'), "{tag}");
            checked(value);
            own.push(attribute);
            attributes.push((attribute.to_owned(), value.to_owned()));
            inner = after;
        }
        assert_eq!(inner.trim(), "", "in {tag}");
        if !is_empty {
            open.push(name);
        }
        if name == "style" {
            let (style, after) = rest.split_once("</style>").unwrap();
            assert!(!style.contains(['<', '&']));
            rest = after;
            open.pop();
        }
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    (elements, attributes, text)
}

#[test]
fn the_page_is_well_formed_and_no_text_of_a_stranger_is_markup_in_it() {
    let page = html::html(&hostile()).unwrap();
    let (elements, attributes, text) = parse(&page);
    let loaded =
        ["script", "img", "iframe", "object", "embed", "link", "base", "use", "image", "foreignObject"];
    assert!(!elements.iter().any(|name| loaded.contains(&name.as_str())), "{elements:?}");
    let loads = |(name, value): &(String, String)| {
        name.starts_with("on")
            || name == "style"
            || name == "src"
            || (name == "href" && !value.starts_with("#s"))
    };
    assert!(!attributes.iter().any(loads));
    assert!(text.contains("&lt;script&gt;"), "the texts are there");
    assert!(!page.contains(['\u{202e}', '\u{1b}', '\u{0}']));
    assert!(text.contains("{{7*7}}"), "a stranger's text is no template");
    let policy = attributes.iter().find(|(_, value)| value.starts_with("default-src")).unwrap();
    assert!(
        policy.1.starts_with("default-src &#x27;none&#x27;") || policy.1.starts_with("default-src 'none'")
    );
}

#[test]
fn the_page_shows_trend_verdicts_scores_costs_and_rows() {
    let (_, attributes, text) = parse(&html::html(&hostile()).unwrap());
    let labels: Vec<&str> =
        attributes.iter().filter(|(name, _)| name == "aria-label").map(|(_, value)| value.as_str()).collect();
    for label in [
        "Mean score of 4 runs",
        "Rows by verdict. Poor 0.0 %, Low 10.0 %",
        "Rows by score",
        "Cost of each run",
    ] {
        assert!(labels.iter().any(|value| value.starts_with(label)), "{label}: {labels:#?}");
    }
    assert!(text.contains("series dropped by more than noise"));
    assert!(text.contains("of 3 rows shown"));
}

#[test]
fn a_page_without_runs_and_one_of_killed_runs_say_so() {
    assert!(
        parse(&html::html(&report(Vec::new())).unwrap()).2.contains("No run was recorded in this period.")
    );
    let killed = Run { outcome: None, ..run(1, 0.0) };
    let (_, _, text) = parse(&html::html(&report(vec![killed])).unwrap());
    assert!(text.contains("No run of this series reached every row.") && text.contains("not finished"));
}

#[test]
fn the_csv_has_a_row_a_run_and_no_formula() {
    let mut runs = vec![run(1, 2.4), run(2, 2.0)];
    runs[0].meaning.dataset = "=HYPERLINK(\"http://x\")".into();
    runs[1].meaning.dataset = " @sum".into();
    runs[1].meaning.model = "a\nb,\"c\"".into();
    let text = csv::csv(&report(runs));
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2);
    let cell = |row: usize, name: &str| {
        rows[row].get(header.iter().position(|column| column == name).unwrap()).unwrap().to_owned()
    };
    assert_eq!([cell(0, "Dataset"), cell(1, "Dataset")], ["' @sum", "'=HYPERLINK(\"http://x\")"]);
    assert_eq!(cell(0, "Model"), "a b,\"c\"");
    assert_eq!([cell(0, "Score"), cell(0, "Cost"), cell(0, "Good")], ["2", "0.25", "40"]);
    assert_eq!(cell(0, "Began"), "1970-01-03T00:00:00Z");
}

#[test]
fn the_markdown_has_no_markup_of_a_stranger_s() {
    let text = markdown::markdown(&hostile());
    let unescaped = text.replace("\\]", "");
    assert!(!text.contains("<script") && !unescaped.contains("](") && !text.contains("://"), "{text}");
    let table: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(table.len(), 6, "a header, a rule and four runs: {text}");
    for row in table {
        assert_eq!(row.replace("\\|", "").matches('|').count(), 9, "{row}");
    }
}

#[test]
fn the_json_says_what_was_tested_and_how() {
    let document =
        json::report(&report(vec![run(1, 2.4), run(2, 2.0), Run { outcome: None, ..run(3, 0.0) }]));
    assert_eq!((&document["v"], &document["drops"][0]["dataset"]), (&json!(1), &json!("rows.jsonl")));
    let runs = document["series"][0]["runs"].as_array().unwrap();
    let kinds: Vec<&Value> = runs.iter().map(|run| &run["change"]["kind"]).collect();
    assert_eq!(kinds, ["first", "drop", "not_compared"]);
    assert_eq!(runs[1]["change"]["test"]["name"], "welch");
    assert_eq!(
        runs[1]["outcome"]["scores"][0]["estimate"],
        json!({"mean": 2.0, "error": 0.05, "freedom": 99})
    );
    assert_eq!((&runs[2]["finished"], &runs[2]["outcome"]), (&json!(false), &Value::Null));
}

#[test]
fn a_report_is_written_aside_and_a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    write(&path, "one").unwrap();
    write(&path, "two").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else stays");
    let error = write(&folder.path().join("no/report.html"), "x").unwrap_err().to_string();
    assert!(error.contains("no/report.html") && error.contains("a folder that exists"), "{error}");
}
