use std::fs;

use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringViewArray};
use arrow::datatypes::{Int8Type, Schema};
use arrow::ipc::writer::FileWriter;
use serde_json::json;

use super::*;
use crate::hub::Options;

/// The file that has these bytes, opened.
pub(in crate::filter) async fn open(
    name: &str,
    bytes: &[u8],
) -> (tempfile::TempDir, Result<ScoresFile, Error>) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join(name);
    fs::write(&path, bytes).unwrap();
    let hub = Options::from(&|name| (name == "HF_HOME").then(|| "/no/such/folder".into())).unwrap();
    let file = ScoresFile::open(&path.display().to_string(), Arc::new(hub)).await;
    (temp, file)
}

/// The bytes of an Arrow file of these columns, with this metadata.
fn arrow(columns: Vec<(&str, ArrayRef)>, about: Option<&Value>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let metadata = about.map(|about| ("classified".to_owned(), about.to_string()));
    let schema = Schema::new(batch.schema().fields().clone()).with_metadata(metadata.into_iter().collect());
    let batch = batch.with_schema(Arc::new(schema)).unwrap();
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

fn lines(rows: &[Value]) -> Vec<u8> {
    rows.iter().flat_map(|row| format!("{row}\n").into_bytes()).collect()
}

async fn all(file: ScoresFile) -> Result<Vec<ScoredRow>, Error> {
    let mut rows = Vec::new();
    let mut batches = file.rows().boxed();
    while let Some(batch) = batches.next().await {
        rows.extend(batch?);
    }
    Ok(rows)
}

/// The lenses of a file, as `lens[field,…]`, with `+v` where it has verdicts.
fn said(scores: &[Scores]) -> String {
    let lens = |scores: &Scores| {
        let verdicts = if scores.has_verdicts { "+v" } else { "" };
        format!("{}[{}]{verdicts}", scores.lens, scores.fields.join(","))
    };
    scores.iter().map(lens).collect::<Vec<_>>().join(" ")
}

fn rated(score: f64, fields: &[f64], verdict: Option<Verdict>) -> Scored {
    Scored::Rated { score, fields: fields.to_vec(), verdict }
}

fn ids() -> ArrayRef {
    Arc::new(StringViewArray::from(vec!["f#0", "f#1", "f#2", "f#3"]))
}

fn floats(values: [Option<f64>; 4]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

#[tokio::test]
async fn a_table_of_ours_says_which_lenses_it_has() {
    let about = json!({"v": 1, "dataset": "d", "lenses": [
        {"lens": "a_score", "fields": ["b", "overall"], "low": 1, "high": 3, "verdicts": true, "model": "m", "version": 1},
    ]});
    let verdicts: DictionaryArray<Int8Type> = vec![Some("Good"), None, None, None].into_iter().collect();
    let failures = StringArray::from(vec![None, Some("refusal: I cannot"), None, None]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", ids()),
        ("a_score_score", floats([Some(3.0), None, None, None])),
        ("a_score_b", floats([Some(2.5), None, None, None])),
        ("a_score_overall", floats([Some(3.0), None, None, None])),
        ("a_score_first", floats([Some(2.0), None, Some(1.25), None])),
        ("a_score_verdict", Arc::new(verdicts)),
        ("a_score_failure", Arc::new(failures)),
    ];
    let (_temp, file) = open("scores.arrow", &arrow(columns.clone(), Some(&about))).await;
    let file = file.unwrap();
    assert_eq!(file.scores()[0].scale, Some((1.0, 3.0)));
    assert_eq!(said(file.scores()), "a_score[b,overall]+v");
    assert_eq!(file.about.as_ref().unwrap()["lenses"][0]["model"], "m");
    let rows = all(file).await.unwrap();
    assert_eq!(rows[0].lenses, [rated(3.0, &[2.5, 3.0], Some(Verdict::Good))]);
    assert_eq!(rows[1].lenses, [Scored::Unrated("refusal: I cannot".into())]);
    assert_eq!(rows[2].lenses, [Scored::Screened(1.25)]);
    assert_eq!(rows[3].lenses, [Scored::Unrated("no score: the scores file has none by a_score".into())]);
    assert_eq!(rows[3].id, "f#3");

    for (about, expected) in [
        (json!({"v": 2, "lenses": []}), "was written by a newer version of this program"),
        (json!([]), "has metadata `classified` that is not ours"),
        (json!({"v": 1, "lenses": []}), "has no scores"),
        (
            json!({"v": 1, "lenses": [{"lens": "z", "fields": [], "low": null, "high": null, "verdicts": false}]}),
            "says that it has scores in column `z_score`, and has none",
        ),
    ] {
        let (_temp, file) = open("scores.arrow", &arrow(columns.clone(), Some(&about))).await;
        let error = file.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn lenses_are_told_from_the_names_of_columns() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"; 4]));
    let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), Some(1), None, Some(2)]));
    let some = floats([Some(1.0), Some(2.0), Some(3.0), None]);
    let columns = |names: &[(&'static str, &ArrayRef)]| {
        let mut columns: Vec<(&str, ArrayRef)> = vec![("id", ids())];
        columns.extend(names.iter().map(|(name, array)| (*name, Arc::clone(array))));
        columns
    };
    let file = columns(&[
        ("a_score", &some),
        ("a_int_score", &ints),
        ("a_clarity", &some),
        ("a_note", &text),
        ("a_b_score", &ints),
        ("a_b_clarity", &some),
        ("a_b_verdict", &text),
        ("word_score", &text),
        ("other", &some),
        ("_score", &some),
    ]);
    let (_temp, file) = open("scores.arrow", &arrow(file, None)).await;
    let file = file.unwrap();
    assert_eq!(said(file.scores()), "a[clarity] a_b[clarity]+v");
    let error = all(file).await.unwrap_err().to_string();
    assert!(error.contains("row with id `f#0`: unknown verdict `x`"), "{error}");

    let (_temp, file) = open("scores.arrow", &arrow(columns(&[("a_score", &ints)]), None)).await;
    let rows = all(file.unwrap()).await.unwrap();
    assert_eq!(rows[0].lenses, [rated(3.0, &[], None)]);
    assert!(matches!(rows[2].lenses[0], Scored::Unrated(_)));
}

#[tokio::test]
async fn attributes_in_the_manner_of_dolma_are_read() {
    let rows = [
        json!({"id": "f#0", "source": "s", "attributes": {}}),
        json!({"id": "f#1", "attributes": {"q_score": [[0, 10, 1.0], [10, 40, 3.0]], "q_clarity": [[0, 40, 2.0]], "x": 1}}),
        json!({"id": 7, "attributes": {"q_score": 2.5}}),
        json!({"id": "f#2"}),
        json!({"id": "f#3", "attributes": {"q_first": [[0, 3, 1.25]]}}),
    ];
    let (_temp, file) = open("scores.jsonl", &lines(&rows)).await;
    let file = file.unwrap();
    assert_eq!(said(file.scores()), "q[clarity]");
    let rows = all(file).await.unwrap();
    assert!(
        matches!(rows[0].lenses[0], Scored::Unrated(_)) && matches!(rows[3].lenses[0], Scored::Unrated(_))
    );
    assert_eq!(rows[1].lenses, [rated(2.5, &[2.0], None)]);
    assert_eq!((rows[2].id.as_str(), rows[4].lenses[0].clone()), ("7", Scored::Screened(1.25)));
    let Scored::Rated { score, fields, .. } = &rows[2].lenses[0] else { panic!() };
    assert!((score - 2.5).abs() < f64::EPSILON && fields[0].is_nan());
}

#[tokio::test]
async fn plain_lines_with_score_columns_are_read() {
    let rows = [
        json!({"id": "a", "q_score": null, "q_verdict": null, "q_failure": "timeout: 30 s"}),
        json!({"id": "b", "q_score": 2, "q_overall": 2.0, "q_verdict": "Medium"}),
    ];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, &lines(&rows)).unwrap();
    let (_temp, file) = open("scores.jsonl.gz", &gzip.finish().unwrap()).await;
    let file = file.unwrap();
    assert_eq!(said(file.scores()), "q[overall]+v");
    let rows = all(file).await.unwrap();
    assert_eq!(rows[0].lenses, [Scored::Unrated("timeout: 30 s".into())]);
    assert_eq!(rows[1].lenses, [rated(2.0, &[2.0], Some(Verdict::Medium))]);
}

#[tokio::test]
async fn a_file_that_is_no_scores_file_is_a_clear_error() {
    let fails = async |name: &str, bytes: Vec<u8>| {
        let (temp, file) = open(name, &bytes).await;
        let error = match file {
            Err(error) => error,
            Ok(file) => all(file).await.unwrap_err(),
        };
        error.to_string().replace(&temp.path().display().to_string(), "")
    };
    let columns = |name| vec![(name, ids()), ("a_score", floats([Some(1.0), None, None, None]))];
    let of = |row: Value| lines(&[json!({"id": "a", "q_score": 1}), row]);
    insta::assert_snapshot!([
        fails("s.jsonl", lines(&[json!({"key": "a", "q_score": 1})])).await,
        fails("s.jsonl", lines(&[json!({"id": "a", "quality": 1, "\x1b": 2})])).await,
        fails("s.jsonl", lines(&[json!({"id": "a", "attributes": {"quality": 1}})])).await,
        fails("s.jsonl", of(json!({"q_score": 1}))).await,
        fails("s.jsonl", of(json!({"id": "", "q_score": 1}))).await,
        fails("s.jsonl", of(json!({"id": "b", "q_score": "good"}))).await,
        fails("s.jsonl", [of(json!({"id": "b", "q_score": 1})), b"{broken\n".to_vec()].concat()).await,
        fails("s.arrow", arrow(columns("key"), None)).await,
        fails("s.arrow", arrow(vec![("id", ids()), ("text", ids())], None)).await,
        fails("s.csv", b"id,a_score\nx,1\ny,good\n".to_vec()).await,
        fails("s.csv", b"id,a_score\nx,\n".to_vec()).await,
        fails("s.jsonl", lines(&[json!({"id": "a", "attributes": {"q_score": "high"}})])).await,
        fails("s.jsonl", Vec::new()).await,
    ].join("\n"), @r"
    `/s.jsonl` has no column `id`, by which scores are joined to rows (`<file>#<row>`, or what --id names); it has key, q_score
    `/s.jsonl` has no scores: expected numbers in columns named `<lens>_score`, or attributes of such names; it has \u{1b}, id, quality
    `/s.jsonl` has no scores: expected numbers in columns named `<lens>_score`, or attributes of such names; it has attributes, id, quality
    `/s.jsonl` has a row without a value in column `id`: each row of scores needs the id of the row that it is of
    `/s.jsonl` has a row without a value in column `id`: each row of scores needs the id of the row that it is of
    `/s.jsonl` row with id `b`: `q_score` is text (`good`), and no number
    `/s.jsonl` cannot be read: row `s.jsonl#2`: line 3, byte 2: key must be a string
    `/s.arrow` has no column `id`, by which scores are joined to rows (`<file>#<row>`, or what --id names); it has a_score, key
    `/s.arrow` has no scores: expected numbers in columns named `<lens>_score`, or attributes of such names; it has id, text
    `/s.csv` has no scores: `a_score` is text (`good`), and no number
    `/s.csv` has no scores: expected numbers in columns named `<lens>_score`, or attributes of such names; it has a_score, id
    `/s.jsonl` has no scores: `q_score` is text (`high`), and no number
    `/s.jsonl` has no rows
    ");
}

#[tokio::test]
async fn a_lens_that_appears_late_in_lines_counts() {
    let mut rows: Vec<Value> =
        (0..8_300).map(|n| json!({"id": format!("f#{n}"), "attributes": {}})).collect();
    rows.push(json!({"id": "f#8300", "attributes": {"q_score": [[0, 4, 2.5]]}}));
    rows.push(json!({"id": "f#8301", "attributes": {"q_first": [[0, 4, 1.0]], "q_clarity": [[0, 4, 1.5]]}}));
    let (_temp, file) = open("scores.jsonl", &lines(&rows)).await;
    let file = file.unwrap();
    assert_eq!(said(file.scores()), "q[clarity]");
    let rows = all(file).await.unwrap();
    assert!(matches!(rows[8_299].lenses[0], Scored::Unrated(_)));
    assert!(matches!(rows[8_300].lenses[0], Scored::Rated { score: 2.5, .. }));
    assert_eq!((rows.len(), &rows[8_301].lenses[0]), (8_302, &Scored::Screened(1.0)));
}

#[tokio::test]
async fn text_that_is_a_number_counts_as_that_number() {
    let csv = b"id,q_score,q_clarity,q_verdict,q_note\na,2.5, 1 ,Good,3\nb,,,,x\nc,1e0,2,Low,\n";
    let (_temp, file) = open("scores.csv", csv).await;
    let file = file.unwrap();
    assert_eq!(said(file.scores()), "q[clarity]+v");
    let rows = all(file).await.unwrap();
    assert_eq!(rows[0].lenses, [rated(2.5, &[1.0], Some(Verdict::Good))]);
    assert!(matches!(&rows[1].lenses[0], Scored::Unrated(why) if why.starts_with("no score")));
    assert_eq!(rows[2].lenses, [rated(1.0, &[2.0], Some(Verdict::Low))]);
    let row = [json!({"id": "a", "q_score": "2.5"})];
    let (_temp, file) = open("scores.jsonl", &lines(&row)).await;
    assert_eq!(all(file.unwrap()).await.unwrap()[0].lenses, [rated(2.5, &[], None)]);
}

#[tokio::test]
async fn a_score_that_is_not_finite_is_no_rating() {
    let scores = floats([Some(f64::NAN), Some(f64::INFINITY), Some(f64::NAN), Some(f64::NAN)]);
    let failures: ArrayRef = Arc::new(StringArray::from(vec![None, None, Some("refusal: no"), Some("")]));
    let first = floats([Some(f64::NAN), None, None, Some(1.5)]);
    let columns = vec![("id", ids()), ("q_score", scores), ("q_failure", failures), ("q_first", first)];
    let (_temp, file) = open("scores.arrow", &arrow(columns, None)).await;
    let rows = all(file.unwrap()).await.unwrap();
    let unrated = |why: &str| Scored::Unrated(why.into());
    assert_eq!(rows[0].lenses, [unrated("not a number: the scores file has NaN by q")]);
    assert_eq!(rows[1].lenses, [unrated("not a number: the scores file has inf by q")]);
    assert_eq!(rows[2].lenses, [unrated("refusal: no")]);
    assert_eq!(rows[3].lenses, [Scored::Screened(1.5)]);
    let (_temp, file) = open("scores.csv", b"id,q_score\na,nan\nb,2\n").await;
    let rows = all(file.unwrap()).await.unwrap();
    assert_eq!(rows[0].lenses, [unrated("not a number: the scores file has NaN by q")]);
}
