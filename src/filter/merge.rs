//! Scores and rows together, by their ids.

use std::collections::{HashMap, HashSet, VecDeque};

use futures::stream::{BoxStream, StreamExt as _};
use xxhash_rust::xxh3::xxh3_64;

use super::error::{Error, plain};
use super::read::ScoresFile;
use super::scores::{Scored, ScoredRow, Scores};
use crate::dataset::whole::{Ids, Table};
use crate::lens::Verdict;

/// Of so many rows that went in step it is remembered that they were there, in 8 bytes each: enough to say of a file
/// that is out of step which id stands twice in it.
const REMEMBERED: usize = 8 << 20;

/// Finds each row's scores.
///
/// While the ids of the file are those of the rows, in their order, nothing is held. At the first row where they are not,
/// the rest of the file is read and held by its ids: about 100 bytes a row, the id and 8 bytes a score.
pub struct Merge {
    name: String,
    scores: Vec<Scores>,
    rest: BoxStream<'static, Result<Vec<ScoredRow>, Error>>,
    ahead: VecDeque<ScoredRow>,
    /// The hashes of ids that went in step.
    seen: Vec<u64>,
    index: Option<Index>,
}

impl std::fmt::Debug for Merge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Scores that belong to no row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// How many.
    pub count: u64,
    /// The id of one of them, fit to be printed.
    pub example: Option<String>,
}

impl Merge {
    /// Joins the scores of a file to the rows to come.
    pub fn new(file: ScoresFile) -> Self {
        let (name, scores) = (file.name.clone(), file.scores().to_vec());
        let rest = file.rows().fuse().boxed();
        Self { name, scores, rest, ahead: VecDeque::new(), seen: Vec::new(), index: None }
    }

    /// The lenses, in the order of each row's scores.
    pub fn scores(&self) -> &[Scores] {
        &self.scores
    }

    /// The scores of a table's rows, one a row. A row that the file lacks is unrated.
    pub async fn of_table(&mut self, table: &Table) -> Result<Vec<ScoredRow>, Error> {
        let mut rows = Vec::with_capacity(table.rows.len());
        for at in 0..table.rows.len() {
            // Without making the id's text, of rows that are in step.
            let is_next = self.peek().await?.is_some_and(|row| is_id(&table.ids, at, &row.id));
            let found = if is_next { self.step() } else { self.next_for(&table.ids.get(at)).await? };
            rows.push(found.unwrap_or_else(|| self.lacking(&table.ids.get(at))));
        }
        Ok(rows)
    }

    /// The scores of the next row, by its id; none if the file lacks it.
    pub async fn next_for(&mut self, id: &str) -> Result<Option<ScoredRow>, Error> {
        if self.index.is_none() {
            match self.peek().await? {
                Some(row) if row.id == id => return Ok(self.step()),
                Some(_) => self.hold().await?,
                None => return Ok(None),
            }
        }
        Ok(self.index.as_mut().and_then(|index| index.take(id)))
    }

    /// A row that the file lacks.
    pub fn lacking(&self, id: &str) -> ScoredRow {
        let why =
            Scored::Unrated(format!("not in scores file: {} lacks the row", plain(file_name(&self.name))));
        ScoredRow { id: id.to_owned(), lenses: vec![why; self.scores.len()] }
    }

    /// Ends the merge, after the last row: tells of scores that belong to no row. The rest of the file is read for that,
    /// and not held. Where only a sample of the rows was asked for, drop the merge instead: then it is not read.
    pub async fn finish(mut self) -> Result<Left, Error> {
        if let Some(index) = &self.index {
            let example = index.places.keys().min().map(|id| plain(id));
            return Ok(Left { count: index.places.len() as u64, example });
        }
        self.seen.sort_unstable();
        let (mut count, mut least) = (0, None::<String>);
        while self.peek().await?.is_some() {
            for row in std::mem::take(&mut self.ahead) {
                if self.seen.binary_search(&xxh3_64(row.id.as_bytes())).is_ok() {
                    return Err(self.twice(&row.id));
                }
                count += 1;
                if least.as_ref().is_none_or(|least| row.id < *least) {
                    least = Some(row.id);
                }
            }
        }
        Ok(Left { count, example: least.map(|id| plain(&id)) })
    }

    fn twice(&self, id: &str) -> Error {
        let problem = format!("has scores of row `{}` twice: an id stands for one row", plain(id));
        Error::file(&self.name, problem)
    }

    async fn peek(&mut self) -> Result<Option<&ScoredRow>, Error> {
        while self.ahead.is_empty() && self.index.is_none() {
            match self.rest.next().await.transpose()? {
                Some(rows) => self.ahead = rows.into(),
                None => break,
            }
        }
        Ok(self.ahead.front())
    }

    /// Takes the row ahead.
    fn step(&mut self) -> Option<ScoredRow> {
        let row = self.ahead.pop_front()?;
        if self.seen.len() < REMEMBERED {
            self.seen.push(xxh3_64(row.id.as_bytes()));
        }
        Some(row)
    }

    /// Holds the rest of the file by its ids.
    async fn hold(&mut self) -> Result<(), Error> {
        let seen: HashSet<u64> = std::mem::take(&mut self.seen).into_iter().collect();
        let mut index = Index::new(&self.scores);
        let mut rows = std::mem::take(&mut self.ahead);
        loop {
            for row in rows {
                if seen.contains(&xxh3_64(row.id.as_bytes())) || index.places.contains_key(row.id.as_str()) {
                    return Err(self.twice(&row.id));
                }
                index.push(row);
            }
            match self.rest.next().await.transpose()? {
                Some(more) => rows = more.into(),
                None => break,
            }
        }
        self.index = Some(index);
        Ok(())
    }
}

/// What a path ends in: reasons go into outputs, where no path of the user's machine belongs.
fn file_name(path: &str) -> &str {
    path.rsplit(['/', std::path::MAIN_SEPARATOR]).find(|part| !part.is_empty()).unwrap_or(path)
}

/// Whether a text is the id of a row of a table, which is not written out for it.
fn is_id(ids: &Ids, at: usize, text: &str) -> bool {
    match ids {
        Ids::Own(ids) => ids[at] == text,
        Ids::Numbered { label, rows } => {
            let number = text.strip_prefix(label.as_str()).and_then(|rest| rest.strip_prefix('#'));
            // `#+7` and `#07` are numbers too, but no ids.
            let number = number.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            let number = number.filter(|digits| *digits == "0" || !digits.starts_with('0'));
            number.is_some_and(|digits| digits.parse() == Ok(rows[at]))
        }
    }
}

/// Rows by their ids, without an allocation a row but the id.
struct Index {
    places: HashMap<Box<str>, usize>,
    /// Of each row and lens the score and its fields.
    numbers: Vec<f64>,
    /// Of each row and lens.
    verdicts: Vec<Option<Verdict>>,
    /// Rows that are not rated by all lenses.
    others: HashMap<usize, Vec<Scored>>,
    /// How many fields each lens has.
    fields: Vec<usize>,
    rows: usize,
}

impl Index {
    fn new(scores: &[Scores]) -> Self {
        Self {
            places: HashMap::new(),
            numbers: Vec::new(),
            verdicts: Vec::new(),
            others: HashMap::new(),
            fields: scores.iter().map(|scores| scores.fields.len()).collect(),
            rows: 0,
        }
    }

    fn push(&mut self, row: ScoredRow) {
        let place = self.rows;
        self.rows += 1;
        self.places.insert(row.id.into(), place);
        let mut is_whole = true;
        for (at, width) in self.fields.iter().enumerate() {
            match row.lenses.get(at) {
                Some(Scored::Rated { score, fields, verdict }) if fields.len() == *width => {
                    self.numbers.push(*score);
                    self.numbers.extend_from_slice(fields);
                    self.verdicts.push(*verdict);
                }
                _ => {
                    is_whole = false;
                    self.numbers.extend(std::iter::repeat_n(f64::NAN, 1 + width));
                    self.verdicts.push(None);
                }
            }
        }
        if !is_whole {
            self.others.insert(place, row.lenses);
        }
    }

    fn take(&mut self, id: &str) -> Option<ScoredRow> {
        let (id, place) = self.places.remove_entry(id)?;
        let lenses = self.others.remove(&place).unwrap_or_else(|| {
            let width: usize = self.fields.iter().map(|fields| 1 + fields).sum();
            let mut numbers = &self.numbers[place * width..(place + 1) * width];
            let verdicts = &self.verdicts[place * self.fields.len()..];
            let lens = |(fields, verdict): (&usize, &Option<Verdict>)| {
                let (own, rest) = numbers.split_at(1 + fields);
                numbers = rest;
                Scored::Rated { score: own[0], fields: own[1..].to_vec(), verdict: *verdict }
            };
            self.fields.iter().zip(verdicts).map(lens).collect()
        });
        Some(ScoredRow { id: id.into(), lenses })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use serde_json::json;

    use super::super::values::tests::object_table;
    use super::*;
    use crate::filter::read::tests::open;

    /// A file with a score for each of these ids: its place among them.
    async fn merge(ids: &[&str]) -> (tempfile::TempDir, Merge) {
        let lines = ids.iter().enumerate().fold(String::new(), |mut lines, (n, id)| {
            let line = if *id == "f#9" {
                json!({"id": id, "q_score": null, "q_failure": "refusal: no", "q_overall": null, "q_verdict": null})
            } else {
                json!({"id": id, "q_score": n, "q_failure": null, "q_overall": n, "q_verdict": "Good"})
            };
            writeln!(lines, "{line}").unwrap();
            lines
        });
        let (temp, file) = open("scores.jsonl", lines.as_bytes()).await;
        (temp, Merge::new(file.unwrap()))
    }

    fn said(row: &ScoredRow) -> String {
        let scored = match &row.lenses[0] {
            Scored::Rated { score, fields, verdict } => format!("{score} {fields:?} {verdict:?}"),
            Scored::Unrated(why) => why.split(':').next().unwrap().to_owned(),
            Scored::Screened(_) => "screened".to_owned(),
        };
        format!("{} {scored}", row.id)
    }

    /// Merges with rows `f#0` … and says what each was given, or the error, and what was left.
    async fn merged(ids: &[&str], rows: usize) -> Vec<String> {
        let (_temp, mut merge) = merge(ids).await;
        let table = object_table(&vec![json!({}); rows]);
        let mut result = match merge.of_table(&table).await {
            Ok(rows) => rows.iter().map(said).collect(),
            Err(error) => vec![error.to_string()],
        };
        match merge.finish().await {
            Ok(left) => result.push(format!("left {} {:?}", left.count, left.example)),
            Err(error) => result.push(error.to_string()),
        }
        result
    }

    #[tokio::test]
    async fn scores_in_the_order_of_the_rows_are_taken_in_step() {
        let (_temp, mut merge) = merge(&["f#0", "f#1", "f#2"]).await;
        let rows = merge.of_table(&object_table(&vec![json!({}); 3])).await.unwrap();
        assert_eq!(
            rows.iter().map(said).collect::<Vec<_>>(),
            ["f#0 0 [0.0] Some(Good)", "f#1 1 [1.0] Some(Good)", "f#2 2 [2.0] Some(Good)",]
        );
        assert!(merge.index.is_none());
        assert_eq!(merge.finish().await.unwrap(), Left::default());
    }

    #[tokio::test]
    async fn scores_in_another_order_are_found_by_their_ids() {
        assert_eq!(
            merged(&["f#0", "f#3", "f#9", "f#1", "f#2"], 4).await,
            [
                "f#0 0 [0.0] Some(Good)",
                "f#1 3 [3.0] Some(Good)",
                "f#2 4 [4.0] Some(Good)",
                "f#3 1 [1.0] Some(Good)",
                "left 1 Some(\"f#9\")",
            ]
        );
    }

    #[tokio::test]
    async fn rows_that_the_file_lacks_are_unrated_and_the_others_are_not() {
        let mut ids: Vec<String> = (0..10).map(|n| format!("f#{n}")).collect();
        ids.remove(4);
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let result = merged(&ids, 11).await;
        assert_eq!(result[4..6], ["f#4 not in scores file", "f#5 4 [4.0] Some(Good)"]);
        assert_eq!(result[9..], ["f#9 refusal", "f#10 not in scores file", "left 0 None"]);
    }

    #[tokio::test]
    async fn a_file_that_ends_before_the_last_row_leaves_the_others_unrated() {
        let result = merged(&["f#0", "f#1"], 5).await;
        assert_eq!(
            result[1..4],
            ["f#1 1 [1.0] Some(Good)", "f#2 not in scores file", "f#3 not in scores file"]
        );
        assert_eq!(result[5], "left 0 None");
        let (_temp, mut merge) = merge(&["f#0"]).await;
        assert!(merge.next_for("f#0").await.unwrap().is_some());
        for _ in 0..3 {
            assert_eq!(merge.next_for("f#1").await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn a_reason_names_the_file_without_its_path() {
        let (_temp, merge) = merge(&["f#0"]).await;
        let why = "not in scores file: scores.jsonl lacks the row";
        assert_eq!(merge.lacking("x").lenses, [Scored::Unrated(why.into())]);
        assert_eq!((file_name("owner/name/"), file_name("-"), file_name("/")), ("name", "-", "/"));
    }

    #[tokio::test]
    async fn the_rest_of_a_file_is_counted_and_not_held() {
        let (_temp, mut merge) = merge(&["f#0", "z", "b", "c"]).await;
        merge.of_table(&object_table(&vec![json!({}); 1])).await.unwrap();
        assert!(merge.index.is_none());
        assert_eq!(merge.finish().await.unwrap(), Left { count: 3, example: Some("b".into()) });
    }

    #[tokio::test]
    async fn scores_that_belong_to_no_row_are_told_of() {
        let result = merged(&["f#0", "f#1", "g#7", "g#3"], 2).await;
        assert_eq!(result[2], "left 2 Some(\"g#3\")");
    }

    #[tokio::test]
    async fn an_id_that_stands_twice_is_an_error_wherever_it_is() {
        for ids in [
            &["f#0", "f#1", "f#0"][..],
            &["f#0", "f#0"],
            &["f#3", "f#2", "f#2"],
            &["f#0", "f#1", "f#2", "f#1"],
        ] {
            let result = merged(ids, 3).await;
            assert!(
                result.iter().any(|line| line.contains("` twice: an id stands for one row")),
                "{ids:?}: {result:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_single_row_between_the_tables_goes_in_step_too() {
        let (_temp, mut merge) = merge(&["f#0", "other", "f#2"]).await;
        assert_eq!(said(&merge.next_for("f#0").await.unwrap().unwrap()), "f#0 0 [0.0] Some(Good)");
        assert_eq!(said(&merge.next_for("other").await.unwrap().unwrap()), "other 1 [1.0] Some(Good)");
        assert_eq!(merge.next_for("none").await.unwrap(), None);
        assert_eq!(said(&merge.next_for("f#2").await.unwrap().unwrap()), "f#2 2 [2.0] Some(Good)");
        assert_eq!(said(&merge.lacking("none")), "none not in scores file");
    }

    #[test]
    fn an_id_is_told_from_texts_like_it() {
        let ids = Ids::Numbered { label: "a#1".into(), rows: vec![0, 70] };
        assert!(is_id(&ids, 0, "a#1#0") && is_id(&ids, 1, "a#1#70"));
        for other in ["a#1#070", "a#1#+70", "a#1#", "a#1", "a#170", "a#1#7", "a#1#70 ", "b#1#70"] {
            assert!(!is_id(&ids, 1, other), "{other}");
        }
        assert!(!is_id(&ids, 0, "a#1#00"));
        assert!(is_id(&Ids::Own(vec!["x".into()]), 0, "x"));
    }
}
