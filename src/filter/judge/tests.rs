use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray};
use serde_json::json;

use super::super::values::tests::{arrow_table, object_table};
use super::*;

fn scores(lenses: &[&str]) -> Vec<Scores> {
    let of = |lens: &&str| Scores {
        lens: (*lens).into(),
        fields: vec!["clarity".into(), "overall".into()],
        scale: Some((1.0, 3.0)),
        has_verdicts: *lens != "uncut",
    };
    lenses.iter().map(of).collect()
}

fn columns(names: &[(&str, &str)]) -> Vec<Column> {
    names.iter().map(|(name, kind)| Column { name: (*name).into(), kind: (*kind).into() }).collect()
}

fn rated(score: f64) -> Scored {
    let verdict = if score >= 2.75 { Verdict::Good } else { Verdict::Low };
    Scored::Rated { score, fields: vec![score / 2.0, score], verdict: Some(verdict) }
}

fn unrated() -> Scored {
    Scored::Unrated("refusal: no".into())
}

/// A table of as many rows as there are scores, with a column `n` of their numbers, and the rows.
fn rows(lenses: Vec<Vec<Scored>>) -> (Table, Vec<ScoredRow>) {
    let objects: Vec<_> = (0..lenses.len()).map(|n| json!({"n": n, "text": format!("t{n}")})).collect();
    let rows = lenses.into_iter().enumerate().map(|(n, lenses)| ScoredRow { id: format!("f#{n}"), lenses });
    (object_table(&objects), rows.collect())
}

fn judge(cuts: &Cuts, lenses: &[&str]) -> Judge {
    Judge::new(cuts, &scores(lenses), &columns(&[("n", "number"), ("text", "string")])).unwrap()
}

fn letters(decisions: &[Decision]) -> String {
    let letter = |decision: &Decision| match decision {
        Decision::Kept => 'K',
        Decision::Dropped(Why::Cut) => 'c',
        Decision::Dropped(Why::Missing) => 'm',
        Decision::Dropped(Why::First) => 'f',
        Decision::Dropped(Why::Rank) => 'r',
        Decision::Unrated => 'u',
        Decision::KeptUnrated => 'U',
    };
    decisions.iter().map(letter).collect()
}

fn decide(cuts: &Cuts, lenses: &[&str], of: Vec<Vec<Scored>>) -> String {
    let (table, rows) = rows(of);
    letters(&judge(cuts, lenses).judge(&table, &rows).unwrap())
}

fn min(min: f64) -> Cuts {
    Cuts { min: Some(min), ..Cuts::default() }
}

#[test]
fn the_least_score_is_asked_of_every_lens_or_of_the_one_that_by_names() {
    let of = || {
        vec![vec![rated(2.0), rated(3.0)], vec![rated(2.5), rated(2.5)], vec![rated(f64::NAN), rated(3.0)]]
    };
    let by = |name: &str| Cuts { by: Some(name.into()), ..min(2.5) };
    assert_eq!(decide(&min(2.5), &["a", "b"], of()), "cKm");
    assert_eq!(decide(&by("b"), &["a", "b"], of()), "KKK");
    assert_eq!(decide(&Cuts { min: Some(1.5), ..by("b_clarity") }, &["a", "b"], of()), "KcK");
    for name in ["row.n", "row['n']", "row[\"n\"]"] {
        assert_eq!(decide(&Cuts { min: Some(1.0), ..by(name) }, &["a", "b"], of()), "cKK", "{name}");
    }
}

#[test]
fn what_was_screened_out_is_dropped_and_what_has_no_rating_is_unrated() {
    let of = || {
        vec![
            vec![rated(3.0), rated(3.0)],
            vec![Scored::Screened(1.0), rated(3.0)],
            vec![Scored::Screened(1.0), unrated()],
            vec![unrated(), rated(3.0)],
            vec![rated(1.0), unrated()],
        ]
    };
    let unrated = |unrated: Unrated| Cuts { unrated, ..min(2.5) };
    assert_eq!(decide(&unrated(Unrated::Drop), &["a", "b"], of()), "Kffuu");
    // The last one's other score speaks against it.
    assert_eq!(decide(&unrated(Unrated::Keep), &["a", "b"], of()), "KffUc");
    let (table, rows) = rows(of());
    let error = judge(&unrated(Unrated::Fail), &["a", "b"]).judge(&table, &rows).unwrap_err();
    assert!(
        error.to_string().starts_with("row `f#3` has no rating (refusal: no), and --unrated is fail"),
        "{error}"
    );
}

#[test]
fn a_kept_row_without_a_rating_passes_what_can_be_asked_of_it() {
    let of = || vec![vec![unrated(), rated(3.0)], vec![unrated(), rated(1.0)], vec![rated(1.0), rated(3.0)]];
    let keep = |condition: &str| Cuts {
        condition: Some(condition.into()),
        unrated: Unrated::Keep,
        ..Cuts::default()
    };
    assert_eq!(decide(&keep("a > 2"), &["a", "b"], of()), "UUc");
    assert_eq!(decide(&keep("b > 2"), &["a", "b"], of()), "UcK");
    assert_eq!(decide(&keep("row.n > 0 and b > 2"), &["a", "b"], of()), "ccK");
    assert_eq!(decide(&keep("a > 2 and row.n > 0"), &["a", "b"], of()), "UUc");
    let verdicts = Cuts { verdicts: vec![Verdict::Good], unrated: Unrated::Keep, ..Cuts::default() };
    assert_eq!(decide(&verdicts, &["a", "b"], of()), "Ucc");
    assert_eq!(decide(&Cuts { by: Some("a".into()), ..verdicts }, &["a", "b"], of()), "UUc");
}

#[test]
fn least_score_verdict_and_condition_are_joined() {
    let cuts = Cuts {
        min: Some(2.0),
        verdicts: verdicts("good, LOW").unwrap(),
        condition: Some("row.n < 3 and a_clarity > 1.1".into()),
        ..Cuts::default()
    };
    let of = [3.0, 1.9, 2.1, 3.0, 2.5].map(|score| vec![rated(score)]).into();
    assert_eq!(decide(&cuts, &["a"], of), "Kcccc");
    let good = Cuts { verdicts: vec![Verdict::Good], ..Cuts::default() };
    let none = Scored::Rated { score: 3.0, fields: vec![3.0, 3.0], verdict: None };
    assert_eq!(decide(&good, &["a"], vec![vec![rated(3.0)], vec![rated(2.0)], vec![none]]), "Kcm");
    assert!(verdicts("god").unwrap_err().contains("unknown verdict `god`"));
}

#[test]
fn a_missing_value_is_counted_as_such_and_an_unlike_one_names_the_row() {
    let table = object_table(&[json!({"n": 1}), json!({"n": null}), json!({}), json!({"n": "x"})]);
    let cuts = Cuts { condition: Some("row.n > 0".into()), ..Cuts::default() };
    let columns = columns(&[("n", "null or number or string")]);
    let mut judge = Judge::new(&cuts, &[], &columns).unwrap();
    let error = judge.judge(&table, &[]).unwrap_err().to_string();
    assert!(error.starts_with("row `f#3`: `row.n` is text (\"x\") and 0 is a number"), "{error}");
    let first = object_table(&[json!({"n": 1}), json!({"n": null}), json!({})]);
    assert_eq!(letters(&judge.judge(&first, &[]).unwrap()), "Kmm");
}

#[test]
fn columns_alone_judge_without_any_lens() {
    let quality: ArrayRef = Arc::new(Float64Array::from(vec![Some(3.0), Some(2.9), None, Some(f64::NAN)]));
    let word: ArrayRef = Arc::new(StringArray::from(vec!["1", "", "high", "2"]));
    let table = arrow_table(vec![("quality", quality), ("word", word)]);
    let columns = columns(&[("quality", "float64"), ("word", "string")]);
    let by = |name: &str| Cuts { by: Some(name.into()), ..min(3.0) };
    let mut quality = Judge::new(&by("row.quality"), &[], &columns).unwrap();
    assert_eq!(letters(&quality.judge(&table, &[]).unwrap()), "Kcmm");
    let mut word = Judge::new(&by("row.word"), &[], &columns).unwrap();
    let error = word.judge(&table, &[]).unwrap_err().to_string();
    assert_eq!(error, "row `f#2`: --by: column `word` is text (`high`), and no number");
}

#[test]
fn the_best_are_found_in_two_passes() {
    let of = || {
        vec![
            vec![rated(2.0)],
            vec![unrated()],
            vec![rated(3.0)],
            vec![rated(2.0)],
            vec![Scored::Screened(1.0)],
            vec![rated(f64::NAN)],
            vec![rated(2.0)],
        ]
    };
    let top =
        |top: &str, unrated: Unrated| Cuts { top: Some(top.parse().unwrap()), unrated, ..Cuts::default() };
    let decide = |cuts: &Cuts| {
        let (table, rows) = rows(of());
        let mut judge = judge(cuts, &["a"]);
        assert!(judge.ranks());
        judge.rank(&rows);
        let threshold = judge.ranked(7).unwrap();
        (letters(&judge.judge(&table, &rows).unwrap()), threshold.kept)
    };
    assert_eq!(decide(&top("3", Unrated::Drop)), ("KuKKfmr".into(), 3));
    assert_eq!(decide(&top("1", Unrated::Drop)), ("ruKrfmr".into(), 1));
    // ⌈15% of 7⌉ = 2: rows without a rating count, and one that is kept is kept beside the best.
    assert_eq!(decide(&top("15%", Unrated::Keep)), ("KUKrfmr".into(), 2));
    assert_eq!(decide(&top("100", Unrated::Drop)), ("KuKKfmK".into(), 4));
}

#[test]
fn the_best_by_a_column_over_several_tables() {
    let tables = [&[3, 1, 2][..], &[2, 5, 2]]
        .map(|numbers| object_table(&numbers.iter().map(|n| json!({"n": n})).collect::<Vec<_>>()));
    let cuts = Cuts { top: Some(Top::Rows(3)), by: Some("row.n".into()), ..Cuts::default() };
    let mut judge = judge(&cuts, &[]);
    assert!(judge.ranks());
    for table in &tables {
        judge.rank_table(table, &[]).unwrap();
    }
    judge.ranked(6);
    let decided: Vec<String> =
        tables.iter().map(|table| letters(&judge.judge(table, &[]).unwrap())).collect();
    assert_eq!(decided, ["KrK", "rKr"]);
}

#[test]
fn the_margin_is_the_distance_to_the_cut_where_it_is_a_score() {
    let (table, rows) = rows(vec![vec![rated(2.0), rated(3.0)]]);
    let margin = |cuts: &Cuts| judge(cuts, &["a", "b"]).margins(&table, &rows)[0];
    assert_eq!(margin(&min(2.5)), Some(-0.5));
    assert_eq!(margin(&Cuts { by: Some("b".into()), ..min(2.5) }), Some(0.5));
    assert_eq!(margin(&Cuts { by: Some("row.n".into()), ..min(2.5) }), Some(-2.5));
    assert_eq!(margin(&Cuts { condition: Some("a > 1".into()), ..Cuts::default() }), None);
}

#[test]
fn cuts_that_cannot_be_meant_are_errors_at_the_start() {
    let refused = |cuts: &Cuts, lenses: &[&str]| {
        let columns = columns(&[("n", "number"), ("list", "list<string>")]);
        Judge::new(cuts, &scores(lenses), &columns)
            .map_or_else(|error| error.to_string(), |_| "accepted".into())
    };
    let by = |name: &str| Some(name.to_owned());
    let top = Cuts { top: Some(Top::Rows(3)), ..Cuts::default() };
    let good = Cuts { verdicts: vec![Verdict::Good], ..Cuts::default() };
    insta::assert_snapshot!([
        refused(&Cuts::default(), &["a"]),
        refused(&min(25.0), &["a"]),
        refused(&min(0.5), &["a", "b"]),
        refused(&min(f64::NAN), &["a"]),
        refused(&Cuts { by: by("a"), ..min(25.0) }, &["a", "b"]),
        refused(&min(2.0), &[]),
        refused(&Cuts { by: by("c"), ..min(2.0) }, &["a"]),
        refused(&Cuts { by: by("row.m"), ..min(2.0) }, &["a"]),
        refused(&Cuts { by: by("row.list"), ..min(2.0) }, &["a"]),
        refused(&good, &["uncut"]),
        refused(&good, &["a", "uncut"]),
        refused(&good, &[]),
        refused(&Cuts { by: by("row.n"), ..good.clone() }, &["a"]),
        refused(&Cuts { by: by("a_clarity"), ..good.clone() }, &["a"]),
        refused(&Cuts { by: by("row['m']"), ..min(2.0) }, &["a"]),
        refused(&Cuts { by: by("row["), ..min(2.0) }, &["a"]),
        refused(&top, &["a", "b"]),
        refused(&top, &[]),
        refused(&Cuts { min: Some(2.0), ..top.clone() }, &["a"]),
        refused(&Cuts { condition: Some("a > ".into()), ..Cuts::default() }, &["a"]),
        refused(&Cuts { condition: Some("a > 1".into()), by: by("a"), ..Cuts::default() }, &["a"]),
    ].join("\n"), @"
    nothing says which rows to keep: give --min, --verdict, --where or --top
    --min: 25 is not on the scale of `a`, 1 to 3
    --min: 0.5 is not on the scale of `a`, 1 to 3
    --min: expected a number
    --min: 25 is not on the scale of `a`, 1 to 3
    --min: no lens has a score here: name a column with --by row.<column>
    --by: unknown name `c`; lenses: a; fields: a_clarity, a_overall; columns: row.n, row.list
    --by: unknown name `row.m` (did you mean `row.n`?); lenses: a; fields: a_clarity, a_overall; columns: row.n, row.list
    --by: `row.list` is a list, and no number
    --verdict: lens `uncut` has no verdicts here: it has no cuts, or the scores file lacks them; use --min
    --verdict: lens `uncut` has no verdicts here: it has no cuts, or the scores file lacks them; use --min
    --verdict: no lens gives a verdict here
    --verdict: a column has no verdict: name a lens with --by
    --verdict: a field has no verdict: name the lens, --by a
    --by: unknown name `row.m` (did you mean `row.n`?); lenses: a; fields: a_clarity, a_overall; columns: row.n, row.list
    --by: unknown name `row[` (did you mean `row.n`?); lenses: a; fields: a_clarity, a_overall; columns: row.n, row.list
    --top: several lenses to rank by (a, b): choose one with --by
    --top: no lens to rank by: name a column with --by row.<column>
    --top stands alone: leave --min, --verdict and --where out
    --where `a > `: unexpected end of input, expected expression
    --by names what --min, --verdict or --top go by: give one of them
    ");
    assert_eq!(refused(&Cuts { by: by("a"), ..good.clone() }, &["a", "uncut"]), "accepted");
    assert_eq!(refused(&Cuts { by: by("b_overall"), ..top }, &["a", "b"]), "accepted");
}
