//! What a runner of one's own wrote, to the store: each line goes to the batch in which its question waits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::Error;
use super::super::intake::{Gathered, Intake, Seen, odd};
use super::super::reader::{Reader, lessons_of, question_of, read_dialect};
use super::lines::{Line, Lines};
use crate::endpoint::Options;
use crate::endpoint::batches::LineResult;
use crate::http::plain;
use crate::model::Price;
use crate::rating::failure::{Failure, Reason};
use crate::rating::question::Digest;
use crate::store::{Batch, Change, Stage, Store, Turn};

/// What becomes of questions that wait in a batch of which replies were read, and have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// They wait on: there are more files.
    Waits,
    /// They are free, to be asked again.
    IsFree,
}

/// Which batches' replies are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Those of any that waits.
    All,
    /// Those of the batch of this number.
    One(i64),
}

/// What is read.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The files.
    pub files: Vec<PathBuf>,
    /// Of which batches.
    pub of: Of,
    /// What becomes of the rest.
    pub rest: Rest,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Read {
    /// Each batch of which there was a line, what came of it, and how many of its questions still wait.
    pub batches: Vec<(Batch, Gathered, u64)>,
    /// Lines in all.
    pub lines: u64,
    /// Lines for no question that waits in a batch.
    pub unknown: u64,
    /// Lines for a question that had one already.
    pub duplicate: u64,
    /// Lines that cannot be read.
    pub garbage: u64,
    /// Where the first of them is, and what is wrong with it.
    pub wrong: Option<String>,
    /// Why all questions of a batch were refused: they wait on, for the file to be run again.
    pub refused: Option<String>,
    /// Whether any line is for a question that waits in a batch, or did.
    pub has_ours: bool,
}

impl Read {
    /// What of the lines was passed over, in words.
    pub fn odd(&self) -> Option<String> {
        odd(self.unknown, self.duplicate, self.garbage)
    }
}

/// Keeps what is in files that a runner of one's own wrote, or that were downloaded by hand. `options` say how replies are
/// asked for, `price` is that of a model at the standard tier. Wants the lock of the store's batches.
///
/// A file may be read again: what is kept is passed over. Nothing is read unless all files can be opened. What the files before a
/// broken one held is kept.
pub async fn read(
    options: &Options,
    store: &Store,
    wanted: &Wanted,
    price: impl Fn(&str) -> Option<Price> + Sync,
) -> Result<Read, Error> {
    let mut batches = store.batches().await?;
    batches.retain(is_out);
    if let Of::One(number) = wanted.of {
        batches.retain(|batch| batch.id == number);
    }
    let open = |batch: &Batch, learned: Option<String>| {
        Reader::new(options, batch, price(&batch.slot.model), learned.as_deref().map(read_dialect))
    };
    let mut reading = Reading {
        store,
        batches: &batches,
        open: &open,
        intakes: batches.iter().map(|_| None).collect(),
        read: Read::default(),
    };
    let paths = wanted.files.clone();
    let all = move || paths.iter().map(|path| Lines::open(path)).collect::<Result<Vec<_>, _>>();
    let files = tokio::task::spawn_blocking(all).await??;
    for (file, path) in files.into_iter().zip(&wanted.files) {
        if let Err(error) = reading.file(file, path).await {
            reading.finish(Rest::Waits).await?;
            return Err(error);
        }
    }
    reading.finish(wanted.rest).await
}

/// Whether replies of a batch may come in a file. One that seems to be being written may be: its run was killed as it
/// gave the file its name.
fn is_out(batch: &Batch) -> bool {
    match batch.stage {
        Stage::Written | Stage::Created => true,
        Stage::Spooling => batch.url.is_none(),
        _ => false,
    }
}

/// The little of a line that says whose it is.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    custom_id: Option<Cow<'a, str>>,
}

/// A line of a file of requests.
#[derive(Deserialize)]
struct Request {
    #[expect(dead_code, reason = "that it is there is all that counts")]
    method: String,
    #[expect(dead_code, reason = "that it is there is all that counts")]
    url: String,
    #[serde(default)]
    response: Option<serde::de::IgnoredAny>,
}

struct Reading<'a, O> {
    store: &'a Store,
    batches: &'a [Batch],
    /// Makes the reader of a batch, given the dialect that earlier ones led to.
    open: &'a O,
    /// One for each batch of which there was a line.
    intakes: Vec<Option<Intake<'a>>>,
    read: Read,
}

/// A batch by its index, and how a question of it was asked.
type Place = (usize, Turn);

impl<'a, O: Fn(&Batch, Option<String>) -> Result<Reader, Error>> Reading<'a, O> {
    async fn file(&mut self, mut file: Lines, path: &Path) -> Result<(), Error> {
        let mut seen = Seen::default();
        let mut lines = 0;
        loop {
            let (back, group) = tokio::task::spawn_blocking(move || {
                let group = file.group()?;
                Ok::<_, Error>((file, group))
            })
            .await??;
            file = back;
            let Some((_, first)) = group.first() else { break };
            if lines == 0
                && serde_json::from_slice::<Request>(first).is_ok_and(|line| line.response.is_none())
            {
                return Err(Error::file(
                    path,
                    "holds the questions, not the replies: give the file that the runner wrote",
                ));
            }
            lines += group.len() as u64;
            self.group(&group, path, &mut seen).await?;
        }
        if lines > 0 && seen.garbage == lines {
            let wrong = seen.wrong.unwrap_or_default();
            return Err(Error::file(path, format!("holds no reply of a batch: {wrong}")));
        }
        self.read.lines += lines;
        self.read.unknown += seen.unknown;
        self.read.duplicate += seen.duplicate;
        self.read.garbage += seen.garbage;
        if let (None, Some(wrong)) = (&self.read.wrong, seen.wrong) {
            self.read.wrong = Some(format!("{}: {wrong}", plain(&path.to_string_lossy())));
        }
        Ok(())
    }

    async fn group(&mut self, lines: &[Line], path: &Path, seen: &mut Seen) -> Result<(), Error> {
        let mut ours: Vec<(Digest, &Line)> = Vec::with_capacity(lines.len());
        for line in lines {
            match serde_json::from_slice::<Head>(&line.1) {
                Ok(head) => match head.custom_id.as_deref().and_then(question_of) {
                    Some(question) if seen.is_first(question) => ours.push((question, line)),
                    Some(_) => {}
                    None => seen.unknown += 1,
                },
                Err(error) => seen.bad(format!("line {} is not JSON of a reply: {error}", line.0)),
            }
        }
        let questions: Vec<Digest> = ours.iter().map(|(question, _)| *question).collect();
        let mut places = self.places(&questions).await?;
        if !self.read.has_ours {
            self.read.has_ours = !places.is_empty() || self.store.has_asked(&questions).await?;
        }
        let mut taken: Vec<Vec<(Digest, Turn, LineResult)>> =
            self.batches.iter().map(|_| Vec::new()).collect();
        for (question, line) in ours {
            let Some(found) = places.remove(&question) else {
                let is_ours = self.intakes.iter().flatten().any(|intake| intake.has_met(question));
                if is_ours {
                    seen.duplicate += 1;
                } else {
                    seen.unknown += 1;
                }
                continue;
            };
            let Some((index, turn)) = self.choose(found, line, path)? else { continue };
            match self.intake(index).await?.reader.read(&line.1) {
                Ok(read) => taken[index].push((question, turn, read.result)),
                Err(wrong) => seen.bad(format!("line {}: {wrong}", line.0)),
            }
        }
        for (index, lines) in taken.into_iter().enumerate() {
            if !lines.is_empty() {
                self.intake(index).await?.settle(lines).await?;
            }
        }
        Ok(())
    }

    /// Where each question waits, in the order in which the batches were made.
    async fn places(&self, questions: &[Digest]) -> Result<HashMap<Digest, Vec<Place>>, Error> {
        let mut places: HashMap<Digest, Vec<Place>> = HashMap::new();
        for (index, batch) in self.batches.iter().enumerate() {
            for (question, turn) in self.store.waiting_in(batch.id, questions).await? {
                if !self.intakes[index].as_ref().is_some_and(|intake| intake.has_met(question)) {
                    places.entry(question).or_default().push((index, turn));
                }
            }
        }
        Ok(places)
    }

    /// The batch of a line whose question waits in all of these: by the model that answered, and of one model in the first.
    fn choose(&self, mut found: Vec<Place>, line: &Line, path: &Path) -> Result<Option<Place>, Error> {
        let model = |place: &Place| &self.batches[place.0].slot.model;
        let several = found.iter().any(|place| model(place) != model(&found[0]));
        if several && let Some(said) = model_of(&line.1) {
            let batches = self.batches;
            let is_it = |place: &Place| {
                let batch = &batches[place.0];
                said == batch.asked || said == batch.slot.model
            };
            if found.iter().any(is_it) {
                found.retain(is_it);
            }
        }
        if found.iter().any(|place| model(place) != model(&found[0])) {
            let numbers: Vec<String> =
                found.iter().map(|place| self.batches[place.0].id.to_string()).collect();
            return Err(Error::file(
                path,
                format!(
                    "line {} answers a question that waits in batches {}, of several models, and does not say which model it is \
                     of: name the batch with --batch",
                    line.0,
                    numbers.join(", ")
                ),
            ));
        }
        Ok(found.into_iter().next())
    }

    /// The intake of a batch, whose lens is read when its first line comes: one that cannot be read stops nobody else's lines.
    async fn intake(&mut self, index: usize) -> Result<&mut Intake<'a>, Error> {
        let batch = &self.batches[index];
        let intake = if let Some(intake) = self.intakes[index].take() {
            intake
        } else {
            let learned = self.store.lesson(lessons_of(batch.url), &batch.slot.model).await?.dialect;
            if batch.stage == Stage::Spooling {
                // Its file is there: the next run that writes one must not take it back.
                let change = Change { stage: Some(Stage::Written), ..Change::default() };
                self.store.change_batch(batch.id, change).await?;
            }
            Intake::new(self.store, batch, (self.open)(batch, learned)?)
        };
        Ok(self.intakes[index].insert(intake))
    }

    /// Ends the batches of which nothing waits any more, and with [`Rest::IsFree`] all of which there was a line.
    async fn finish(mut self, rest: Rest) -> Result<Read, Error> {
        for intake in self.intakes.iter_mut().flatten() {
            if let Some(blame) = intake.decide().await? {
                self.read.refused.get_or_insert(blame.words);
            }
        }
        let now: HashMap<i64, Batch> =
            self.store.open_batches().await?.into_iter().map(|batch| (batch.id, batch)).collect();
        let why = Failure::new(Reason::Timeout, "was not run: it had no line in the files that were read");
        for (batch, intake) in self.batches.iter().zip(self.intakes) {
            let Some(batch) = now.get(&batch.id) else { continue };
            let is_free = rest == Rest::IsFree && intake.is_some();
            // One that is being written has none yet.
            let is_done = batch.waiting == 0 && batch.stage != Stage::Spooling;
            let ends = is_done || is_free;
            let missing = if ends { self.store.close_batch(batch.id, &why).await? } else { 0 };
            if let Some(intake) = intake {
                let gathered = Gathered { notes: intake.reader.notes(), missing, ..intake.gathered };
                self.read.batches.push((batch.clone(), gathered, if ends { 0 } else { batch.waiting }));
            }
        }
        Ok(self.read)
    }
}

/// The model that a reply says it is of.
fn model_of(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        model: Option<String>,
    }
    #[derive(Deserialize)]
    struct Response {
        body: Option<Body>,
    }
    #[derive(Deserialize)]
    struct Reply {
        response: Option<Response>,
    }
    serde_json::from_slice::<Reply>(line).ok()?.response?.body?.model
}
