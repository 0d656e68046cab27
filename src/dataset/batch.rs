//! Handing rows from the thread that reads to the stream, a bounded batch at a time.

use super::{Error, Row};
use tokio::sync::mpsc::Sender;

/// The most rows in a batch.
const ROWS: usize = 256;

/// The most bytes in a batch of more than one row.
const BYTES: usize = 4 << 20;

/// Why reading stops before the end.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody listens any more.
    Gone,
    /// The dataset cannot be read on.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Rows on their way to the stream.
pub(super) struct Batch {
    rows: Vec<Row>,
    bytes: usize,
    sender: Sender<Result<Vec<Row>, Error>>,
}

impl Batch {
    pub(super) fn new(sender: Sender<Result<Vec<Row>, Error>>) -> Self {
        Self { rows: Vec::new(), bytes: 0, sender }
    }

    /// Adds a row; waits while the stream is two batches behind.
    pub(super) fn push(&mut self, row: Row) -> Result<(), Stop> {
        let bytes = match &row {
            Ok(record) => record.size(),
            Err(unreadable) => unreadable.detail.len(),
        };
        if self.rows.len() == ROWS || self.bytes + bytes > BYTES {
            self.flush()?;
        }
        self.rows.push(row);
        self.bytes += bytes;
        Ok(())
    }

    /// Sends the rows that are left, and the error if there was one.
    pub(super) fn finish(mut self, outcome: Result<(), Stop>) {
        if let Err(Stop::Gone) = outcome {
            return;
        }
        let flushed = self.flush();
        if let (Ok(()), Err(Stop::Failed(error))) = (flushed, outcome) {
            // A listener that has left does not want to know.
            let _ = self.sender.blocking_send(Err(error));
        }
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        self.sender.blocking_send(Ok(std::mem::take(&mut self.rows))).map_err(|_| Stop::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use tokio::sync::mpsc::{self, Receiver};

    fn row(bytes: usize) -> Record {
        Record { id: String::new(), file: 0, fields: vec!["x".repeat(bytes).into()], kept: Vec::new() }
    }

    fn sizes(mut receiver: Receiver<Result<Vec<Row>, Error>>) -> Vec<usize> {
        std::iter::from_fn(|| receiver.blocking_recv()).map(|batch| batch.unwrap().len()).collect()
    }

    #[test]
    fn a_batch_is_bounded_in_rows() {
        let (sender, receiver) = mpsc::channel(10);
        let mut batch = Batch::new(sender);
        (0..600).for_each(|_| batch.push(Ok(row(1))).unwrap());
        batch.finish(Ok(()));
        assert_eq!(sizes(receiver), [256, 256, 88]);
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_and_has_at_least_one_row() {
        let (sender, receiver) = mpsc::channel(10);
        let mut batch = Batch::new(sender);
        for bytes in [BYTES / 2, BYTES / 2, 1, BYTES + 1, 1] {
            batch.push(Ok(row(bytes))).unwrap();
        }
        batch.finish(Ok(()));
        assert_eq!(sizes(receiver), [2, 1, 1, 1]);
    }

    #[test]
    fn the_rows_before_an_error_come_before_it() {
        let (sender, mut receiver) = mpsc::channel(10);
        let mut batch = Batch::new(sender);
        batch.push(Ok(row(1))).unwrap();
        batch.finish(Err(Stop::Failed(Error::Empty { name: "f".into() })));
        assert_eq!(receiver.blocking_recv().unwrap().unwrap().len(), 1);
        assert!(receiver.blocking_recv().unwrap().is_err());
        assert!(receiver.blocking_recv().is_none());
    }

    #[test]
    fn reading_stops_when_nobody_listens() {
        let (sender, receiver) = mpsc::channel(10);
        drop(receiver);
        let mut batch = Batch::new(sender);
        let pushed = (0..1_000).find_map(|_| batch.push(Ok(row(1))).err());
        assert!(matches!(pushed, Some(Stop::Gone)));
    }
}
