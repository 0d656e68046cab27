//! `OUT.unrated.jsonl`: the rows that have no rating, and why, a line for each row and lens.
//!
//!     {"v":1,"id":"a.parquet#18","lens":"learning_value","failure":{"reason":"refusal","detail":"…"}}

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Error;
use crate::filter::scores::{Scored, ScoredRow, Scores};

/// How every line begins, by which our files are known.
pub(super) const START: &str = "{\"v\":1,\"id\":";

/// Writes the list. Without any line there is no file.
#[derive(Debug)]
pub struct Unrated {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    lines: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    id: &'a str,
    lens: &'a str,
    failure: Failure<'a>,
}

#[derive(Serialize)]
struct Failure<'a> {
    reason: &'a str,
    detail: &'a str,
}

impl Unrated {
    /// A list at `path`, of which nothing is there before the first line.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, lines: 0 }
    }

    /// Writes a line for each lens that has no rating for the row; none if all have.
    pub fn write(&mut self, row: &ScoredRow, lenses: &[Scores]) -> Result<(), Error> {
        for (lens, scored) in lenses.iter().zip(&row.lenses) {
            if let Scored::Unrated(why) = scored {
                // `reason: what happened`; what has no such form is all detail.
                let (reason, detail) = why.split_once(": ").unwrap_or((why, ""));
                let failure = Failure { reason, detail };
                self.line(&Line { v: 1, id: &row.id, lens: &lens.lens, failure })
                    .map_err(Error::output(&self.path))?;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &Line<'_>) -> std::io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => BufWriter::new(File::create(&self.path)?),
        };
        let file = self.file.insert(file);
        serde_json::to_writer(&mut *file, line)?;
        self.lines += 1;
        file.write_all(b"\n")
    }

    /// Completes the list, and says how many lines it has.
    pub fn finish(self) -> Result<u64, Error> {
        if let Some(file) = self.file {
            let synced = file
                .into_inner()
                .map_err(std::io::IntoInnerError::into_error)
                .and_then(|file| file.sync_all());
            synced.map_err(Error::output(&self.path))?;
        }
        Ok(self.lines)
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lens(name: &str) -> Scores {
        Scores { lens: name.into(), fields: vec!["overall".into()], scale: None, has_verdicts: false }
    }

    #[test]
    fn there_is_a_line_for_each_lens_without_a_rating() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unrated.jsonl");
        let lenses = [lens("a"), lens("b")];
        let mut list = Unrated::new(path.clone());
        let rated = Scored::Rated { score: 2.0, fields: vec![2.0], verdict: None };
        let unrated = |why: &str| Scored::Unrated(why.into());
        let rows = [
            vec![rated.clone(), rated.clone()],
            vec![rated.clone(), unrated("refusal: I can't: no")],
            vec![unrated("not in scores.parquet"), Scored::Screened(1.0)],
        ];
        for (nth, lenses_of_row) in rows.into_iter().enumerate() {
            list.write(&ScoredRow { id: format!("\"f\"#{nth}"), lenses: lenses_of_row }, &lenses).unwrap();
        }
        assert_eq!(list.finish().unwrap(), 2);
        let text = std::fs::read_to_string(path).unwrap();
        insta::assert_snapshot!(text, @r##"
        {"v":1,"id":"\"f\"#1","lens":"b","failure":{"reason":"refusal","detail":"I can't: no"}}
        {"v":1,"id":"\"f\"#2","lens":"a","failure":{"reason":"not in scores.parquet","detail":""}}
        "##);
        assert!(text.lines().all(|line| line.starts_with(START)));
    }

    #[test]
    fn where_all_rows_are_rated_there_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unrated.jsonl");
        let mut list = Unrated::new(path.clone());
        let row = ScoredRow { id: "f#0".into(), lenses: vec![Scored::Screened(1.0)] };
        list.write(&row, &[lens("a")]).unwrap();
        assert_eq!(list.finish().unwrap(), 0);
        assert!(!path.exists());
    }
}
