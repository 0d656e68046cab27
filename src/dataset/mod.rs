//! Datasets: a name becomes a stream of records, read in batches with bounded memory.
//!
//! A dataset is a file, a folder, standard input, or a repository of the Hugging Face Hub, in one of several formats,
//! compressed or not. Its path is: `place` (what was named) → `gather` (configs, splits, files; downloads) → `plan`
//! (which rows) → `read` (rows to records). Rows are known as `<file path within the dataset>#<0-based row>`; a row that
//! cannot be read is an [`Unreadable`] row and does not end the stream.

use crate::hub::{self, Hub};
use crate::rating::run::Sample;
use crate::record::Record;
use batch::Batch;
use error::plain;
use futures::stream::{self, Stream};
use plan::{Files, Hold, Plan};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

pub use error::Error;

mod batch;
mod blocks;
mod bytes;
mod describe;
mod error;
mod folder;
#[doc(hidden)]
pub mod fuzzing;
mod gather;
mod layout;
mod own;
mod parquet;
mod place;
mod plan;
mod read;
mod remote;
mod sample;
mod sequence;
mod shape;
mod stages;
mod wanted;
pub mod whole;

pub use describe::{Description, describe};
pub use folder::{OUTPUT_RECEIPT, OWN_MARKS};
pub use layout::Fault;
pub use own::are_score_lines;

/// How many streamed files a sample looks into, unless it is told otherwise.
pub const MAX_FILES: usize = 64;

/// What is asked of a dataset.
///
/// Columns are named literally or by a dotted path (see [`crate::record::pick::find`]).
#[derive(Debug, Clone)]
pub struct Request {
    /// A path, `-` for standard input, or a name at the Hub, as the user wrote it.
    pub name: String,
    /// The columns that become [`Record::fields`], in this order.
    pub columns: Vec<String>,
    /// How the columns become fields.
    pub shape: Shape,
    /// The columns that become [`Record::kept`], in this order.
    pub keep: Vec<String>,
    /// The column whose text is the record's id; a row that has none, or an empty one, keeps the default id.
    pub id: Option<String>,
    /// The config, where the dataset has several.
    pub config: Option<String>,
    /// The split: `train` where none is named; `train+test`, `all`. A single file has only `train`.
    pub split: Option<String>,
    /// The revision of a repository at the Hub: a branch, a tag, a commit.
    pub revision: Option<String>,
    /// Which of the rows.
    pub sample: Sample,
    /// How files at the Hub are read.
    pub access: Access,
    /// Of how many streamed files a random sample is drawn row by row; of more it is drawn in two stages.
    pub max_files: usize,
    /// How far a stream is read whose length nobody knows.
    pub reach: Reach,
    /// Where the Hub is, and who asks.
    pub hub: Arc<hub::Options>,
    /// Is told what goes on.
    pub listener: Listener,
}

/// How columns become fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Each column is a field.
    Columns,
    /// One column of messages is two fields: everything up to the last user turn, and the assistant turn after it.
    Conversation,
}

/// How files at the Hub are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Downloaded once into the Hub cache.
    Download,
    /// Read over the network, as far as they are needed.
    Stream,
}

/// How far a stream is read for a random sample, where the format does not say how many rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The sample is of its head: of the first 10,000 rows, 64 MiB or `max_files` files, whichever is least, or of as many
    /// rows as are asked for.
    Head,
    /// It is read to its end.
    Whole,
}

/// What goes on while a dataset is opened.
#[derive(Debug)]
pub enum News<'n> {
    /// A sentence for the user.
    Note(&'n str),
    /// So many of so many bytes are downloaded.
    Download {
        /// Bytes that are here.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// Who is told what goes on.
#[derive(Clone)]
pub struct Listener(Arc<dyn Fn(&News) + Send + Sync>);

impl Listener {
    /// A listener that calls this.
    pub fn new(listen: impl Fn(&News) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listen))
    }

    fn tell(&self, news: &News) {
        (self.0)(news);
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Listener")
    }
}

impl Request {
    /// A request for all rows of these columns; the Hub is where the settings say.
    pub fn new(name: &str, columns: Vec<String>, hub: Arc<hub::Options>) -> Self {
        Self {
            name: name.to_owned(),
            columns,
            shape: Shape::Columns,
            keep: Vec::new(),
            id: None,
            config: None,
            split: None,
            revision: None,
            sample: Sample::All,
            access: Access::Download,
            max_files: MAX_FILES,
            reach: Reach::Head,
            hub,
            listener: Listener::new(|_| {}),
        }
    }

    fn news(&self, news: &News) {
        self.listener.tell(news);
    }

    fn connect(&self) -> Result<Hub, Error> {
        let listener = self.listener.clone();
        let mut options = hub::Options::clone(&self.hub);
        options.notice = Some(Arc::new(move |text: &str| (listener.0)(&News::Note(text))));
        Ok(Hub::new(options)?)
    }

    /// A single file has one config and one split.
    fn expect_one_file(&self) -> Result<(), Error> {
        let name = plain(&self.name);
        if let Some(config) = &self.config {
            return Err(Error::OneFile { name, what: "config", asked: plain(config) });
        }
        match self.split.as_deref() {
            None | Some("train" | "all") => Ok(()),
            Some(split) => Err(Error::OneFile { name, what: "split", asked: plain(split) }),
        }
    }
}

/// A column that a dataset has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, for people: `string`, `list<int64>`; of JSON the kinds seen, `null or string`.
    pub kind: String,
}

/// A row of the stream: a record, or a row that cannot be read.
pub type Row = Result<Record, Unreadable>;

/// A row that is there but cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// `<file path within the dataset>#<0-based row>`, whatever column was asked for as id.
    pub id: String,
    /// The index of its file in the dataset.
    pub file: usize,
    /// What is wrong and where: `line 17, byte 5: expected value`. Fit to be printed.
    pub detail: String,
}

/// Which rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawn {
    /// Every row.
    All,
    /// The first rows.
    First,
    /// A uniform sample of all rows.
    Uniform,
    /// Files drawn by their size, and rows drawn uniformly within them.
    TwoStages {
        /// How many files were drawn.
        files: usize,
        /// How many there are.
        of: usize,
    },
    /// A uniform sample of the first rows.
    Head {
        /// How many rows that head has.
        rows: u64,
    },
}

/// An open dataset: what it has, and its rows to come.
#[derive(Debug)]
pub struct Dataset {
    /// The name, as the user wrote it.
    pub name: String,
    /// The columns that exist: those that the format declares, or those of the first rows.
    pub columns: Vec<Column>,
    /// How many rows it has, if that is known before reading.
    pub rows: Option<u64>,
    /// How many rows will come, if that is known before reading.
    pub sampled: Option<u64>,
    /// Which rows come.
    pub drawn: Drawn,
    /// The commit of a repository at the Hub.
    pub revision: Option<String>,
    /// The Hub that it is read from; its traffic can be asked for at any time.
    pub hub: Option<Hub>,
    plan: Plan,
}

/// A dataset whose files are found, and downloaded where they are not streamed. It can be opened more than once.
#[derive(Debug)]
pub struct Found {
    request: Request,
    gathered: gather::Gathered,
    members: Vec<gather::Member>,
    /// Whether the user was told of a long integer: rows may be read whole several times.
    has_told: Arc<AtomicBool>,
}

/// Finds a dataset: where it is, its configs and splits, its files.
pub async fn find(request: Request) -> Result<Found, Error> {
    let gathered = gather::gather(&request, gather::Scope::Chosen).await?;
    let members = gathered.members(&request).await?;
    Ok(Found { request, gathered, members, has_told: Arc::default() })
}

impl Found {
    /// The commit of a repository at the Hub.
    pub fn revision(&self) -> Option<&str> {
        self.gathered.revision.as_deref()
    }

    /// Opens the files: checks the columns, counts the rows, draws the sample.
    ///
    /// The work is done on threads of its own, and given up when the future is dropped.
    pub async fn open(&self) -> Result<Dataset, Error> {
        let gather::Gathered { revision, hub, spool, .. } = &self.gathered;
        let dataset = opened(self.request.clone(), self.files(Hold::Records)).await?;
        let plan = dataset.plan.keeping(spool.clone());
        Ok(Dataset { revision: revision.clone(), hub: hub.clone(), plan, ..dataset })
    }

    /// Whether this is one of its files.
    pub fn reads(&self, path: &Path) -> bool {
        let Ok(path) = path.canonicalize() else { return false };
        self.members.iter().any(|member| match &member.at {
            gather::At::Local(file) => file.canonicalize().is_ok_and(|file| file == path),
            gather::At::Hub(_) => false,
        })
    }

    fn files(&self, hold: Hold) -> Files {
        Files { members: self.members.clone(), are_at_hub: self.gathered.hub.is_some(), hold }
    }
}

/// Finds a dataset and opens it.
pub async fn open(request: Request) -> Result<Dataset, Error> {
    find(request).await?.open().await
}

/// A dataset of these files.
async fn opened(request: Request, files: Files) -> Result<Dataset, Error> {
    let name = request.name.clone();
    let runtime = tokio::runtime::Handle::current();
    let opened =
        while_wanted(&name, move |is_stopped| plan::open(request, files, runtime, is_stopped)).await?;
    let plan::Opened { columns, rows, sampled, drawn, plan } = opened;
    Ok(Dataset { name, columns, rows, sampled, drawn, revision: None, hub: None, plan })
}

/// Runs work on a thread for it, which can ask whether the future has been dropped.
async fn while_wanted<T: Send + 'static>(
    name: &str,
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (reply, answer) = oneshot::channel();
    let work = spawn_blocking(move || {
        let done = work(&|| reply.is_closed());
        // Whoever asked may have left.
        let _ = reply.send(done);
    });
    if let Ok(done) = answer.await {
        return done;
    }
    let panic = work.await.err();
    Err(panic.map_or_else(|| broken(name, "no reply"), |error| panicked(name, error)))
}

/// Runs work that waits for files on a thread for it.
async fn blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(work).await.map_err(|error| panicked(name, error))?
}

impl Dataset {
    /// The rows in order, in batches of at most 256 rows and about 4 MiB of text (a larger row comes alone).
    ///
    /// At most a few batches are in memory. Reading begins when the stream is first polled, inside a tokio
    /// runtime, and stops when it is dropped. An error is the last item.
    pub fn batches(self) -> impl Stream<Item = Result<Vec<Row>, Error>> + Send {
        let Self { name, plan, .. } = self;
        handed_over(name, move |sender| {
            let mut batch = Batch::new(sender);
            let outcome = read::read(plan, &mut batch);
            batch.finish(outcome);
        })
    }
}

/// What a stream has of the thread that reads.
enum Reading<T, R> {
    Ready(R),
    Running { batches: mpsc::Receiver<Result<T, Error>>, work: JoinHandle<()> },
    Done,
}

/// What a thread of its own reads, as a stream. The thread begins when the stream is first polled, is two items ahead,
/// and finds the channel closed when the stream is dropped. An error is the last item.
fn handed_over<T: Send + 'static>(
    name: String,
    read: impl FnOnce(mpsc::Sender<Result<T, Error>>) + Send + 'static,
) -> impl Stream<Item = Result<T, Error>> + Send {
    const WAITING: usize = 2;
    stream::unfold((name, Reading::Ready(read)), |(name, mut reading)| async move {
        loop {
            reading = match reading {
                Reading::Ready(read) => {
                    let (sender, batches) = mpsc::channel(WAITING);
                    Reading::Running { batches, work: spawn_blocking(move || read(sender)) }
                }
                Reading::Running { mut batches, work } => match batches.recv().await {
                    Some(Ok(batch)) => return Some((Ok(batch), (name, Reading::Running { batches, work }))),
                    Some(Err(error)) => return Some((Err(error), (name, Reading::Done))),
                    None => match work.await {
                        Ok(()) => Reading::Done,
                        Err(error) => {
                            let error = panicked(&name, error);
                            return Some((Err(error), (name, Reading::Done)));
                        }
                    },
                },
                Reading::Done => return None,
            }
        }
    })
}

/// The thread gave up, on a fault of ours or of a decoder: an error, and no silent end of the rows.
fn panicked(name: &str, error: JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => broken(name, error::panic_text(panic.as_ref())),
        Err(_) => broken(name, "reading was cancelled"),
    }
}

fn broken(name: &str, detail: &str) -> Error {
    Error::corrupt(name, "cannot be decoded", detail)
}

#[cfg(test)]
mod tests;
