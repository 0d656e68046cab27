//! A file from some byte on to its end. After a cut it goes on where it was.

use bytes::Bytes;
use futures::Stream;

use super::error::Error;
use super::file::File;
use super::request::Answer;
use super::retry::{Tries, Trouble};

/// What a connection must have brought for the next failure to count as the first, in bytes: a server that cuts every
/// reply after a few bytes is not followed for ever.
const PROGRESS: u64 = 64 << 10;

/// The state of a stream.
struct Reading {
    file: File,
    offset: u64,
    /// The reply that is being read; none before the first request and after a cut.
    answer: Option<Answer>,
    tries: Tries,
    /// Bytes since the tries were new.
    gained: u64,
}

impl File {
    /// The bytes from `from` on. The stream ends at [`File::size`] and nowhere else: a body that ends before is asked
    /// for again from there, and is an error when several requests one after another bring next to nothing.
    pub fn stream(&self, from: u64) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
        let tries = Tries::new(self.repo().hub());
        let reading = Reading { file: self.clone(), offset: from, answer: None, tries, gained: 0 };
        futures::stream::try_unfold(reading, async |mut reading| {
            let piece = reading.next().await?;
            Ok(piece.map(|piece| (piece, reading)))
        })
    }
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while self.offset < self.file.size() {
            match self.piece().await {
                Ok(piece) => {
                    let length = piece.len() as u64;
                    self.offset += length;
                    self.gained += length;
                    if self.gained >= PROGRESS {
                        self.tries = Tries::new(self.file.repo().hub());
                        self.gained = 0;
                    }
                    return Ok(Some(piece));
                }
                Err(trouble) => {
                    self.answer = None;
                    self.tries.wait(trouble).await.map_err(|trouble| self.file.explain(trouble))?;
                }
            }
        }
        Ok(None)
    }

    /// The next bytes, at least one.
    async fn piece(&mut self) -> Result<Bytes, Trouble> {
        let end = self.file.size();
        let mut answer = match self.answer.take() {
            Some(answer) => answer,
            None => self.file.open(&(self.offset..end)).await?,
        };
        loop {
            match answer.chunk().await? {
                Some(piece) if piece.is_empty() => {}
                Some(piece) if piece.len() as u64 > end - self.offset => {
                    return Err(self.file.again(&answer, format!("more than its {end} bytes")));
                }
                Some(piece) => {
                    self.answer = Some(answer);
                    return Ok(piece);
                }
                None => {
                    let problem = format!("the body ends at byte {} of {end}", self.offset);
                    return Err(self.file.again(&answer, problem));
                }
            }
        }
    }
}
