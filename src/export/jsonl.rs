//! One JSONL file per lens: a line per chunk, in row order, `.part` until complete.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::Error;
use super::lock::Lock;
use crate::model::Money;
use crate::rating::failure::Failure;
use crate::rating::run::Meaning;
use crate::rating::{Piece, Rating, Source, Target};

/// Which columns a line copies.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    /// Index in the record's fields and name; the rated ones unless the user chose.
    pub rated: Vec<(usize, String)>,
}

/// The files that a command writes: no other run does as long as this lives.
#[derive(Debug, Default)]
pub struct Claims(HashMap<PathBuf, Lock>);

impl Claims {
    /// Takes the file of a lens in `folder`, which is made if it is not there, for `command`; nothing is done where it is taken
    /// here already. [`Error::Busy`] if another run has it.
    pub fn take(&mut self, folder: &Path, lens: &str, command: &str) -> Result<PathBuf, Error> {
        let path = folder.join(format!("{lens}.jsonl"));
        if !self.0.contains_key(&path) {
            fs::create_dir_all(folder).map_err(Error::write(folder))?;
            let lock = Lock::take(&path, command)?;
            self.0.insert(path.clone(), lock);
        }
        Ok(path)
    }
}

/// A file being written.
#[derive(Debug)]
pub struct Lines {
    file: BufWriter<File>,
    /// The line at hand, so that its many small parts are one write.
    line: Vec<u8>,
    part: PathBuf,
    path: PathBuf,
    meaning: Meaning,
    fields: Fields,
}

impl Lines {
    /// Begins the file of a run in `folder`, which is among `claims` from here on, if it was not before. The file of an earlier run
    /// stays until this one is complete.
    pub fn create(
        claims: &mut Claims,
        folder: &Path,
        meaning: Meaning,
        fields: Fields,
    ) -> Result<Self, Error> {
        // Before the unfinished file is emptied: it may be another run's, which is still writing it.
        let path = claims.take(folder, &meaning.lens, &meaning.command)?;
        let part = folder.join(format!("{}.jsonl.part", meaning.lens));
        let file = File::create(&part).map_err(Error::write(&part))?;
        Ok(Self {
            file: BufWriter::with_capacity(1 << 16, file),
            line: Vec::new(),
            part,
            path,
            meaning,
            fields,
        })
    }

    /// Writes the lines of one rating.
    pub fn write(&mut self, rating: &Rating, target: &Target) -> Result<(), Error> {
        self.lines(rating, target).map_err(Error::write(&self.part))
    }

    fn lines(&mut self, rating: &Rating, target: &Target) -> io::Result<()> {
        let record = RecordPart { rating, target, fields: &self.fields };
        let line = &mut self.line;
        line.clear();
        let mut add = |piece, scores| {
            serde_json::to_writer(&mut *line, &Line { record: &record, piece, scores })?;
            line.push(b'\n');
            io::Result::Ok(())
        };
        if rating.pieces.is_empty() {
            add(None, None)?;
        }
        let scores = rating.scores();
        for piece in rating.pieces.iter().enumerate() {
            add(Some(piece), scores.as_deref())?;
        }
        self.file.write_all(&self.line)
    }

    /// Writes out what there is, and leaves it as `.part`: the run is not complete. Returns what to tell the user.
    pub fn interrupt(mut self) -> Result<Option<String>, Error> {
        self.file.flush().map_err(Error::write(&self.part))?;
        Ok(Some(format!("unfinished: {}; the same command goes on from there", self.part.display())))
    }

    /// Completes the file and gives it its name. An older file that another run wrote is renamed first. Returns what
    /// to tell the user.
    pub fn finish(mut self) -> Result<Option<String>, Error> {
        self.file.flush().map_err(Error::write(&self.part))?;
        self.file.get_ref().sync_data().map_err(Error::write(&self.part))?;
        let note = self.path.with_extension("run.json");
        let aside = if self.path.exists() { self.set_aside(&note)? } else { None };
        // Without a note a file counts as a stranger's: killed here, no run takes the new file for the old one.
        if note.exists() {
            fs::remove_file(&note).map_err(Error::write(&note))?;
        }
        fs::rename(&self.part, &self.path).map_err(Error::write(&self.path))?;
        let meaning = json!({"v": 1, "run": self.meaning.digest().to_string(), "meaning": self.meaning});
        fs::write(&note, format!("{meaning:#}\n")).map_err(Error::write(&note))?;
        Ok(aside.map(|aside| {
            format!("{} was written by another run: it is now {}", self.path.display(), aside.display())
        }))
    }

    /// Renames the older file unless its rows are all in the new one.
    fn set_aside(&self, note: &Path) -> Result<Option<PathBuf>, Error> {
        let older: Option<Meaning> = fs::read(note)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            .and_then(|note| serde_json::from_value(note["meaning"].clone()).ok());
        let run = match older {
            Some(older) if self.meaning.covers(&older) => return Ok(None),
            Some(older) => older.digest().to_string()[..8].to_owned(),
            // Written by hand, by the original tool, or by a run that ended between two renames.
            None => "older".to_owned(),
        };
        let mut aside = self.path.with_extension(format!("{run}.jsonl"));
        let mut nth = 1;
        while aside.exists() && run == "older" {
            nth += 1;
            aside = self.path.with_extension(format!("{run}-{nth}.jsonl"));
        }
        fs::rename(&self.path, &aside).map_err(Error::write(&aside))?;
        if note.exists() {
            let moved = aside.with_extension("run.json");
            fs::rename(note, &moved).map_err(Error::write(&moved))?;
        }
        Ok(Some(aside))
    }
}

/// What the lines of one record share.
struct RecordPart<'a> {
    rating: &'a Rating,
    target: &'a Target,
    fields: &'a Fields,
}

/// One line.
struct Line<'a> {
    record: &'a RecordPart<'a>,
    piece: Option<(usize, &'a Piece)>,
    scores: Option<&'a [f64]>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let RecordPart { rating, target, fields } = self.record;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("v", &1)?;
        map.serialize_entry("id", &rating.record.id)?;
        if let Some((nth, piece)) = self.piece {
            map.serialize_entry("chunk", &nth)?;
            map.serialize_entry("chunks", &rating.pieces.len())?;
            match &piece.bytes[..] {
                [only] => map.serialize_entry("bytes", &[only.start, only.end])?,
                several => {
                    let pairs: Vec<_> = several.iter().map(|range| [range.start, range.end]).collect();
                    map.serialize_entry("bytes", &pairs)?;
                }
            }
        }
        map.serialize_entry("lens", &target.lens.name)?;
        map.serialize_entry("model", &target.model)?;
        map.serialize_entry("version", &target.version)?;
        let failure = match self.piece {
            Some((_, piece)) => piece.outcome.as_ref().err(),
            None => rating.unasked.as_ref(),
        };
        if let Some((_, Piece { outcome: Ok(answer), source, .. })) = self.piece {
            map.serialize_entry("scores", &answer.scores)?;
            map.serialize_entry("score", &Named(&target.scores, &answer.scores))?;
            let rationales: BTreeMap<&str, &str> =
                rationale_names(target).zip(answer.rationales.iter().map(String::as_str)).collect();
            map.serialize_entry("rationale", &rationales)?;
            if let Some(scores) = self.scores {
                map.serialize_entry("record_score", &scores.get(target.overall))?;
                map.serialize_entry("verdict", &target.verdict(scores).map(|verdict| verdict.to_string()))?;
            }
            map.serialize_entry("cached", &(*source == Source::Cache))?;
            // A twin's answer was paid for once, on the line of the row that asked.
            let cost = if *source == Source::Twin { Some(Money::ZERO) } else { answer.provenance.usage.cost };
            map.serialize_entry("cost", &cost)?;
        }
        if let Some(Failure { reason, detail }) = failure {
            map.serialize_entry("failure", &json!({"reason": reason.as_str(), "detail": detail}))?;
        }
        let record = &rating.record;
        if !record.fields.is_empty() && (!fields.rated.is_empty() || !record.kept.is_empty()) {
            map.serialize_entry("fields", &Copied { fields, record })?;
        }
        map.end()
    }
}

/// Names of the rationales: the lens's, or the one that an in-process rater gives.
fn rationale_names(target: &Target) -> impl Iterator<Item = &str> {
    let own: &[String] = &target.lens.rationales;
    own.iter().map(String::as_str).chain(std::iter::once("rationale").take(usize::from(own.is_empty())))
}

/// Scores by name.
struct Named<'a>(&'a [String], &'a [f64]);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(self.1))
    }
}

/// The copied columns.
struct Copied<'a> {
    fields: &'a Fields,
    record: &'a crate::record::Record,
}

impl Serialize for Copied<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rated =
            self.fields.rated.iter().filter_map(|(at, name)| Some((name, self.record.fields.get(*at)?)));
        let twice = |name: &String| self.fields.rated.iter().any(|(_, rated)| rated == name);
        let kept =
            self.record.kept.iter().filter(|(name, _)| !twice(name)).map(|(name, value)| (name, value));
        serializer.collect_map(rated.chain(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_claimed_by_one_command_which_may_write_it_twice() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("rows.jsonl");
        let (mut ours, mut theirs) = (Claims::default(), Claims::default());
        // Two datasets of the same name have one folder.
        for _ in 0..2 {
            assert_eq!(ours.take(&folder, "depth", "summary").unwrap(), folder.join("depth.jsonl"));
        }
        assert!(matches!(theirs.take(&folder, "depth", "summary"), Err(Error::Busy { .. })));
        theirs.take(&folder, "quality", "summary").unwrap();
        drop(ours);
        theirs.take(&folder, "depth", "summary").unwrap();
    }
}
