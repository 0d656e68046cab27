//! Datasets: a name becomes a stream of records, read in batches with bounded memory.
//!
//! Read are parquet files and files of JSON lines. Rows are known as `<file name>#<0-based row>`; a row that
//! cannot be read is an [`Unreadable`] row and does not end the stream. In JSON lines every line that is not
//! blank is a row, whatever it holds.

use crate::record::Record;
use batch::Batch;
use error::plain;
use futures::stream::{self, Stream};
use jsonl::Jsonl;
use parquet::Parquet;
use source::Format;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use wanted::Wanted;

use crate::rating::run::Sample;
pub use error::Error;

mod batch;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod jsonl;
mod parquet;
mod sample;
mod sequence;
mod source;
mod wanted;

/// What is asked of a dataset.
///
/// Columns are named literally or by a dotted path (see [`crate::record::pick::find`]).
#[derive(Debug, Clone)]
pub struct Request {
    /// The path of a file, as the user wrote it.
    pub name: String,
    /// The columns that become [`Record::fields`], in this order.
    pub columns: Vec<String>,
    /// The columns that become [`Record::kept`], in this order.
    pub keep: Vec<String>,
    /// The column whose text is the record's id; a row that has none, or an empty one, keeps the default id.
    pub id: Option<String>,
    /// The split; a single file has only `train`.
    pub split: Option<String>,
    /// Which of the rows.
    pub sample: Sample,
}

/// A column that a dataset has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, for people: `string`, `list<int64>`; of JSON lines the kinds seen, `null or string`.
    pub kind: String,
}

/// A row of the stream: a record, or a row that cannot be read.
pub type Row = Result<Record, Unreadable>;

/// A row that is there but cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// `<file path within the dataset>#<0-based row>`, whatever column was asked for as id.
    pub id: String,
    /// 0-based position in the dataset, across its files.
    pub row: u64,
    /// What is wrong and where: `line 17, byte 5: expected value`. Fit to be printed.
    pub detail: String,
}

/// An open dataset: what it has, and its rows to come.
#[derive(Debug)]
pub struct Dataset {
    /// The name, as the user wrote it.
    pub name: String,
    /// The columns that exist: all of a parquet file, those of the first rows of JSON lines.
    pub columns: Vec<Column>,
    /// How many rows it has, if that is known before reading.
    pub rows: Option<u64>,
    /// How many rows will come, if that is known before reading.
    pub sampled: Option<u64>,
    wanted: Wanted,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    Jsonl(Jsonl),
    Parquet(Parquet),
}

/// Opens a dataset: finds the file, checks the columns, counts the rows, draws the sample.
///
/// The work is done on a thread of its own, and given up when the future is dropped.
pub async fn open(request: Request) -> Result<Dataset, Error> {
    let name = request.name.clone();
    let (reply, answer) = oneshot::channel();
    let work = spawn_blocking(move || {
        let opened = open_blocking(request, &|| reply.is_closed());
        // Whoever asked may have left.
        let _ = reply.send(opened);
    });
    match answer.await {
        Ok(opened) => opened,
        Err(_) => {
            Err(work.await.err().map_or_else(|| broken(&name, "no reply"), |error| panicked(&name, error)))
        }
    }
}

fn open_blocking(request: Request, is_stopped: &dyn Fn() -> bool) -> Result<Dataset, Error> {
    let source = source::open(&request.name)?;
    if let Some(split) = request.split.as_deref().filter(|split| *split != "train") {
        return Err(Error::UnknownSplit { name: plain(&request.name), split: plain(split) });
    }
    let (reader, columns, rows) = match source.format {
        Format::Lines => {
            let opened = jsonl::open(source.file, &source.path, &request, is_stopped)?;
            (Reader::Jsonl(opened.jsonl), opened.columns, opened.rows)
        }
        Format::Parquet => {
            let opened = parquet::open(source.file, &source.path, &request, is_stopped)?;
            (Reader::Parquet(opened.parquet), opened.columns, opened.rows)
        }
    };
    let sampled = match &reader {
        Reader::Jsonl(jsonl) => jsonl.count(),
        Reader::Parquet(parquet) => parquet.count(),
    };
    let wanted = Wanted::new(&request, source.path);
    Ok(Dataset { name: request.name, columns, rows: Some(rows), sampled: Some(sampled), wanted, reader })
}

/// What the stream has of the thread that reads.
enum Reading {
    Ready(Box<Dataset>),
    Running { name: String, batches: mpsc::Receiver<Result<Vec<Row>, Error>>, work: JoinHandle<()> },
    Done,
}

impl Dataset {
    /// The rows in order, in batches of at most 256 rows and about 4 MiB of text (a larger row comes alone).
    ///
    /// At most a few batches are in memory. Reading begins when the stream is first polled, inside a tokio
    /// runtime, and stops when it is dropped. An error is the last item.
    pub fn batches(self) -> impl Stream<Item = Result<Vec<Row>, Error>> + Send {
        stream::unfold(Reading::Ready(Box::new(self)), |mut reading| async move {
            loop {
                reading = match reading {
                    Reading::Ready(dataset) => dataset.start(),
                    Reading::Running { name, mut batches, work } => match batches.recv().await {
                        Some(Ok(batch)) => {
                            return Some((Ok(batch), Reading::Running { name, batches, work }));
                        }
                        Some(Err(error)) => return Some((Err(error), Reading::Done)),
                        None => match work.await {
                            Ok(()) => Reading::Done,
                            Err(error) => return Some((Err(panicked(&name, error)), Reading::Done)),
                        },
                    },
                    Reading::Done => return None,
                }
            }
        })
    }

    fn start(self) -> Reading {
        const WAITING: usize = 2;
        let Self { name, wanted, reader, .. } = self;
        let (sender, batches) = mpsc::channel(WAITING);
        let work = spawn_blocking(move || {
            let mut batch = Batch::new(sender);
            let outcome = match reader {
                Reader::Jsonl(jsonl) => jsonl.read(&wanted, &mut batch),
                Reader::Parquet(parquet) => parquet.read(&wanted, &mut batch),
            };
            batch.finish(outcome);
        });
        Reading::Running { name, batches, work }
    }
}

/// The thread gave up, on a fault of ours or of a decoder: an error, and no silent end of the rows.
fn panicked(name: &str, error: JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => broken(name, error::panic_text(panic.as_ref())),
        Err(_) => broken(name, "reading was cancelled"),
    }
}

fn broken(name: &str, detail: &str) -> Error {
    Error::Corrupt { name: plain(name), problem: "cannot be decoded".into(), detail: plain(detail) }
}

#[cfg(test)]
mod tests;
