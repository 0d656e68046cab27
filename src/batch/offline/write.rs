//! Questions to a file: reserved while it is written, and waiting from the moment on that it has its name.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt as _;
use serde::Deserialize;
use tokio::sync::watch;

use super::super::Error;
use super::super::reader::{dialect_text, lessons_of, question_of, read_dialect};
use super::lines::Lines;
use crate::dataset::Dataset;
use crate::endpoint::batches::line;
use crate::endpoint::{self, Dialect};
use crate::rate::ask::{Asker, TargetForm};
use crate::rate::{self, Plan, Rater};
use crate::rating::question::{Digest, Question};
use crate::store::{Batch, Change, NewBatch, Stage, Store, Turn};

/// What was written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Written {
    /// One batch for each lens that had a question.
    pub batches: Vec<Batch>,
    /// Questions in the file.
    pub requests: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Places in the data whose question is not in the file, though it has no answer: it waits in another batch, or
    /// has failed in one and no run has told of it.
    pub elsewhere: u64,
}

/// What to do with a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it, and write nothing.
    Keep,
    /// Put the new one in its place, when that is whole, if it is one of ours too.
    Replace,
}

/// What a file holds that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    Questions,
    Other,
}

/// A line of a file of questions.
#[derive(Deserialize)]
struct Request {
    custom_id: String,
    #[expect(dead_code, reason = "that it is there is all that counts")]
    method: String,
    #[expect(dead_code, reason = "that it is there is all that counts")]
    url: String,
}

impl Held {
    fn by(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(there) if there.is_file() && there.len() == 0 => return Self::Nothing,
            // A pipe or a device.
            Ok(there) if !there.is_file() => return Self::Other,
            _ => {}
        }
        let lines = Lines::open(path).and_then(|mut lines| lines.group()).unwrap_or_default();
        let first = lines.first().and_then(|(_, line)| serde_json::from_slice::<Request>(line).ok());
        let is_ours = first.is_some_and(|request| question_of(&request.custom_id).is_some());
        if is_ours { Self::Questions } else { Self::Other }
    }
}

/// Where requests are written to.
pub struct Sink {
    out: BufWriter<Box<dyn Write + Send>>,
    /// The file and its place; none for a stream.
    file: Option<Part>,
    bytes: u64,
}

/// A file under its name for the time until it is whole.
#[derive(Debug)]
struct Part {
    file: File,
    for_now: PathBuf,
    path: PathBuf,
    is_whole: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_whole {
            // What stays behind does no harm: the next one of this name replaces it.
            let _ = fs::remove_file(&self.for_now);
        }
    }
}

impl Sink {
    /// Whether a file may be written here.
    pub fn check(path: &Path, existing: Existing) -> Result<(), Error> {
        let Ok(there) = fs::symlink_metadata(path) else { return Ok(()) };
        if there.is_dir() {
            return Err(Error::file(path, "is a folder: give the name of a file"));
        }
        let problem = match (Held::by(path), existing) {
            (Held::Nothing | Held::Questions, Existing::Replace) => return Ok(()),
            (Held::Nothing, Existing::Keep) => {
                "is there already, and empty: give another name, or --force to replace it"
            }
            (Held::Questions, Existing::Keep) => {
                "is a file of questions, which may wait for their replies: give another name, or --force to replace it"
            }
            (Held::Other, _) => "is there already, and is no file of questions: give another name",
        };
        Err(Error::file(path, problem))
    }

    /// A file, under its name with `.part` until it is whole.
    pub fn create(path: &Path, existing: Existing) -> Result<Self, Error> {
        Self::check(path, existing)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part = path.with_file_name(name);
        let file = File::create(&part).map_err(Error::io("write", &part))?;
        let out: Box<dyn Write + Send> = Box::new(file.try_clone().map_err(Error::io("write", &part))?);
        let file = Part { file, for_now: part, path: path.to_owned(), is_whole: false };
        Ok(Self { out: BufWriter::with_capacity(1 << 20, out), file: Some(file), bytes: 0 })
    }

    /// A stream, such as stdout.
    pub fn stream(out: Box<dyn Write + Send>) -> Self {
        Self { out: BufWriter::new(out), file: None, bytes: 0 }
    }

    /// How it is named in messages.
    fn path(&self) -> &Path {
        self.file.as_ref().map_or(Path::new("stdout"), |file| &file.path)
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), Error> {
        self.bytes += lines.len() as u64;
        let written = self.out.write_all(lines);
        written.map_err(Error::io("write", self.path()))
    }

    /// Writes what is left to the disk, and gives the file its name.
    fn finish(mut self) -> Result<(), Error> {
        let flushed = self.out.flush();
        flushed.map_err(Error::io("write", self.path()))?;
        let Some(file) = &mut self.file else { return Ok(()) };
        let named = file.file.sync_all().and_then(|()| fs::rename(&file.for_now, &file.path));
        named.map_err(Error::io("write", &file.path))?;
        file.is_whole = true;
        Ok(())
    }
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("file", &self.file).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Takes back what a run that was killed had reserved for a file that it did not finish. Returns how many batches those were. Wants the
/// lock of the store's batches.
pub async fn forget_unfinished(store: &Store) -> Result<u64, Error> {
    let mut forgotten = 0;
    for batch in store.open_batches().await? {
        if batch.url.is_none() && batch.stage == Stage::Spooling {
            store.abandon_batch(batch.id).await?;
            forgotten += 1;
        }
    }
    Ok(forgotten)
}

/// Writes the questions of the datasets that the store cannot answer, and that wait in no batch, as one file. From
/// then on they wait in a batch for each lens. None where it was stopped: then nothing was written. Wants the lock of the
/// store's batches.
///
/// The questions are reserved while the file is written, and free again if that fails. A kill leaves a batch in
/// [`Stage::Spooling`], which the next call takes back.
pub async fn write(
    plan: &Arc<Plan>,
    datasets: Vec<Dataset>,
    sink: Sink,
    stop: watch::Receiver<bool>,
) -> Result<Option<Written>, Error> {
    let Rater::Endpoint(asker) = &plan.rater else { return Ok(Some(Written::default())) };
    forget_unfinished(&asker.store).await?;
    let model = asker.forms.first().map_or("", |form| form.slot.model.as_str());
    if let Some(dialect) = asker.store.lesson(lessons_of(None), model).await?.dialect {
        asker.endpoint.begin_with(read_dialect(&dialect));
    }
    let mut writing = Writing {
        asker: Arc::clone(asker),
        dialect: asker.endpoint.dialect(),
        sink: Some(sink),
        batches: asker.forms.iter().map(|_| None).collect(),
        sums: vec![(0, 0); asker.forms.len()],
        written: Written::default(),
    };
    let ended = match writing.all(plan, datasets, stop).await {
        Ok(End::Whole) => writing.name().await.map(|()| End::Whole),
        ended => ended,
    };
    if !matches!(ended, Ok(End::Whole)) {
        forget_unfinished(&asker.store).await?;
    }
    match ended? {
        End::Whole => writing.mark().await.map(Some),
        End::Empty => Ok(Some(writing.written)),
        End::Stopped => Ok(None),
    }
}

/// How the writing of the lines ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All are written.
    Whole,
    /// There are none: that is no file.
    Empty,
    /// It was stopped.
    Stopped,
}

/// Returns when a stop is wished for; never where nobody can wish for it any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

struct Writing {
    asker: Arc<Asker>,
    dialect: Dialect,
    /// None while it is being written to.
    sink: Option<Sink>,
    /// One for each target that has had a question.
    batches: Vec<Option<Batch>>,
    /// Bytes of each target's lines, and tokens of their prompts.
    sums: Vec<(u64, u64)>,
    written: Written,
}

/// A question, its request, and the tokens of its prompt.
type Asked = (Question, endpoint::Request, u64);

impl Writing {
    /// Writes the questions of the datasets.
    async fn all(
        &mut self,
        plan: &Arc<Plan>,
        datasets: Vec<Dataset>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<End, Error> {
        for dataset in datasets {
            let mut questions = std::pin::pin!(rate::unanswered(Arc::clone(plan), dataset));
            loop {
                let some = tokio::select! {
                    some = questions.next() => some,
                    () = stopped(&mut stop) => return Ok(End::Stopped),
                };
                let Some(some) = some else { break };
                let mut by_target: Vec<Vec<Question>> = self.batches.iter().map(|_| Vec::new()).collect();
                for (target, question) in some? {
                    by_target[target].push(question);
                }
                for (target, questions) in by_target.into_iter().enumerate() {
                    if !questions.is_empty() {
                        self.some(target, questions).await?;
                    }
                }
            }
        }
        Ok(if self.written.requests > 0 { End::Whole } else { End::Empty })
    }

    /// Gives the file its name.
    async fn name(&mut self) -> Result<(), Error> {
        let Some(sink) = self.sink.take() else { return Ok(()) };
        self.written.bytes = sink.bytes;
        tokio::task::spawn_blocking(move || sink.finish()).await?
    }

    /// Says in the store that the questions wait for whoever runs the file. A kill just before leaves the file and batches in
    /// [`Stage::Spooling`], of which replies are read too.
    async fn mark(self) -> Result<Written, Error> {
        let (store, mut written) = (&self.asker.store, self.written);
        let mut numbers = Vec::new();
        for (batch, (bytes, tokens)) in self.batches.iter().zip(self.sums) {
            let Some(batch) = batch else { continue };
            let change = Change {
                stage: Some(Stage::Written),
                bytes: Some(bytes),
                // Nobody bills for a runner of one's own.
                sums: Some((tokens, None)),
                ..Change::default()
            };
            store.change_batch(batch.id, change).await?;
            numbers.push(batch.id);
        }
        written.batches = store.open_batches().await?;
        written.batches.retain(|batch| numbers.contains(&batch.id));
        Ok(written)
    }

    /// Reserves and writes questions of one target.
    async fn some(&mut self, target: usize, questions: Vec<Question>) -> Result<(), Error> {
        let (with, dialect) = (Arc::clone(&self.asker), self.dialect);
        let asked =
            tokio::task::spawn_blocking(move || requests(&with.forms[target], questions, dialect)).await??;
        let inputs: Vec<Digest> = asked.iter().map(|(question, ..)| question.digest).collect();
        let batch = match &mut self.batches[target] {
            Some(batch) => batch,
            none => none.insert(self.asker.store.begin_batch(&new(&self.asker, target, dialect)).await?),
        };
        let mut turns = self.asker.store.reserve(batch, &inputs).await?;
        let out: Vec<Digest> = inputs.into_iter().filter(|input| !turns.contains_key(input)).collect();
        if !out.is_empty() {
            let ours = self.asker.store.waiting_in(batch.id, &out).await?;
            self.written.elsewhere += out.iter().filter(|input| !ours.contains_key(input)).count() as u64;
        }
        let (with, sink) = (Arc::clone(&self.asker), self.sink.take());
        let (sink, bytes, sums) = tokio::task::spawn_blocking(move || {
            let (mut lines, mut count, mut tokens) = (Vec::new(), 0, 0_u64);
            for (question, mut request, mut needs) in asked {
                let Some(turn) = turns.remove(&question.digest) else { continue };
                if turn != Turn::default() {
                    (request, needs) = with.forms[target].request(&question, &turn, dialect)?;
                }
                tokens = tokens.saturating_add(needs);
                lines.append(&mut line(&request, question.digest));
                count += 1;
            }
            let mut sink = sink;
            sink.as_mut().map_or(Ok(()), |sink| sink.write(&lines))?;
            Ok::<_, Error>((sink, lines.len() as u64, (count, tokens)))
        })
        .await??;
        self.sink = sink;
        let (count, tokens) = sums;
        let of_target = &mut self.sums[target];
        *of_target = (of_target.0 + bytes, of_target.1.saturating_add(tokens));
        self.written.requests += count;
        Ok(())
    }
}

fn requests(form: &TargetForm, questions: Vec<Question>, dialect: Dialect) -> Result<Vec<Asked>, Error> {
    let asked = |question: Question| {
        let (request, tokens) = form.request(&question, &Turn::default(), dialect)?;
        Ok((question, request, tokens))
    };
    questions.into_iter().map(asked).collect()
}

/// The batch of a target's questions.
fn new(asker: &Asker, target: usize, dialect: Dialect) -> NewBatch {
    let form = &asker.forms[target];
    NewBatch {
        slot: Arc::clone(&form.slot),
        digest: form.lens_digest,
        files: form.lens.files.clone(),
        asked: asker.endpoint.options.model.clone(),
        url: None,
        place: None,
        dialect: dialect_text(dialect),
        price: asker.endpoint.options.price,
    }
}
