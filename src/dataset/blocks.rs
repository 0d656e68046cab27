//! A file at the Hub, as the thread that decodes sees it: blocks that are fetched before they are needed, as far as it is
//! known which those are.
//!
//! A parquet file says in its footer where everything lies. So what will be read is planned first, neighbours are
//! fetched together, and a few blocks ahead of the decoder. What was not planned is fetched when it is asked for.

use crate::hub;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// The largest block; a planned range that is longer is fetched in several.
const LARGEST: u64 = 8 << 20;

/// The largest block where very many columns are read side by side, of each of which one is in memory.
const SMALLEST: u64 = 1 << 20;

/// How many bytes are fetched ahead of the decoder, all columns together.
const AHEAD: u64 = 24 << 20;

/// How many blocks are fetched at once.
const AT_ONCE: usize = 8;

/// What is fetched around a place that was not planned.
const LOOSE: u64 = 64 << 10;

/// What is fetched behind something that was not planned: a page's header tells where the next one begins.
const BEHIND: u64 = 4 << 10;

/// How much is kept of blocks that were read, and may be read again: columns are decoded side by side, and each is in the
/// middle of a block.
const KEPT: u64 = 48 << 20;

/// A file at the Hub in blocks.
pub(super) struct Blocks {
    file: hub::File,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order of their places; they do not overlap.
    planned: Vec<Planned>,
    /// Planned blocks that are in memory, the one that was read longest ago first.
    read: VecDeque<usize>,
    /// What was fetched without a plan, the oldest first.
    loose: VecDeque<(u64, Bytes)>,
    /// How many columns are decoded side by side.
    columns: u64,
}

struct Planned {
    range: Range<u64>,
    state: Fetch,
}

#[derive(Default)]
enum Fetch {
    /// Not asked for yet.
    #[default]
    Waiting,
    /// On its way.
    Asked(JoinHandle<Result<Bytes, hub::Error>>),
    Here(Bytes),
    /// Read and let go of: it is not fetched again unless it is asked for.
    Done,
}

impl fmt::Debug for Blocks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Blocks").field("path", &self.file.path()).finish_non_exhaustive()
    }
}

impl Blocks {
    /// The blocks of a file, whose last bytes may have been fetched already.
    pub(super) fn new(file: hub::File, tail: Option<Bytes>, runtime: Handle) -> Self {
        let mut state = State::default();
        if let Some(tail) = tail {
            state.loose.push_back((file.size() - tail.len() as u64, tail));
        }
        Self { file, runtime, state: Mutex::new(state) }
    }

    /// The file's length.
    pub(super) fn length(&self) -> u64 {
        self.file.size()
    }

    /// Says what will be read, in any order, of how many columns side by side. Two ranges with no more than `gap` bytes
    /// between them are fetched as one.
    pub(super) fn plan(&self, mut ranges: Vec<Range<u64>>, gap: u64, columns: usize) {
        let columns = (columns as u64).max(1);
        let largest = (4 * LARGEST / columns).clamp(SMALLEST, LARGEST);
        // What lies outside of the file is the decoder's to find.
        ranges.retain(|range| range.end <= self.length());
        let blocks = merged(ranges, gap).into_iter().flat_map(|range| {
            let starts = (range.start..range.end).step_by(usize::try_from(largest).unwrap_or(usize::MAX));
            starts.map(move |start| start..(start + largest).min(range.end))
        });
        let mut state = self.state();
        state.planned = blocks.map(|range| Planned { range, state: Fetch::Waiting }).collect();
        state.read.clear();
        state.columns = columns;
    }

    /// Begins to fetch the first planned blocks, of `room` bytes at most, and says how many bytes that is.
    pub(super) fn begin(&self, room: u64) -> u64 {
        self.ahead(0, room)
    }

    /// Exactly these bytes.
    pub(super) fn get(&self, range: Range<u64>) -> io::Result<Bytes> {
        if range.start > range.end || range.end > self.length() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let begun = self.begun(self.planned(range.start), range.clone())?;
        if begun.len() == length {
            return Ok(begun);
        }
        // It goes on in the next block, or where nothing was planned.
        let mut whole = BytesMut::from(begun.as_ref());
        while whole.len() < length {
            let start = range.start + whole.len() as u64;
            whole.extend_from_slice(&self.begun(self.planned(start), start..range.end)?);
        }
        Ok(whole.freeze())
    }

    /// The planned block that has this byte.
    fn planned(&self, at: u64) -> Option<usize> {
        let state = self.state();
        let after = state.planned.partition_point(|block| block.range.start <= at);
        after.checked_sub(1).filter(|first| state.planned[*first].range.end > at)
    }

    /// The beginning of a range, as far as one fetch has it: it begins in this planned block, or in none.
    fn begun(&self, first: Option<usize>, range: Range<u64>) -> io::Result<Bytes> {
        let Some(first) = first else {
            // Up to where the plan goes on.
            let state = self.state();
            let next = state.planned.partition_point(|block| block.range.start <= range.start);
            let end = state.planned.get(next).map_or(range.end, |block| block.range.start.min(range.end));
            drop(state);
            return self.loose(range.start..end);
        };
        let (block, start) = self.block(first)?;
        let from = usize::try_from(range.start - start).map_err(io::Error::other)?;
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        Ok(block.slice(from..block.len().min(from.saturating_add(length))))
    }

    /// A planned block and where it begins; those behind it are asked for.
    fn block(&self, index: usize) -> io::Result<(Bytes, u64)> {
        let room = (AHEAD / self.state().columns.max(1)).max(SMALLEST);
        self.ahead(index, room);
        let (range, fetch) = {
            let mut state = self.state();
            let block = &mut state.planned[index];
            (block.range.clone(), std::mem::take(&mut block.state))
        };
        let bytes = match fetch {
            Fetch::Here(bytes) => bytes,
            Fetch::Asked(task) => {
                self.runtime.block_on(task).map_err(io::Error::other)?.map_err(io::Error::other)?
            }
            Fetch::Waiting | Fetch::Done => self.fetch(range.clone())?,
        };
        let mut state = self.state();
        state.planned[index].state = Fetch::Here(bytes.clone());
        state.read.retain(|read| *read != index);
        state.read.push_back(index);
        state.forget();
        Ok((bytes, range.start))
    }

    /// Asks for blocks from this one on, as many as make `room` bytes; says how many bytes are on their way or here.
    fn ahead(&self, from: usize, room: u64) -> u64 {
        let mut state = self.state();
        let mut bytes = 0;
        let to_come = state.planned.iter_mut().skip(from).filter(|block| !matches!(block.state, Fetch::Done));
        for block in to_come.take(AT_ONCE) {
            let length = block.range.end - block.range.start;
            if bytes > 0 && bytes + length > room {
                break;
            }
            bytes += length;
            if matches!(block.state, Fetch::Waiting) {
                let (file, range) = (self.file.clone(), block.range.clone());
                block.state = Fetch::Asked(self.runtime.spawn(async move { file.range(range).await }));
            }
        }
        bytes
    }

    fn loose(&self, range: Range<u64>) -> io::Result<Bytes> {
        let known = self.state().loose.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(range.start.checked_sub(*start)?).ok()?;
            let to = usize::try_from(range.end - start).ok()?;
            (to <= bytes.len()).then(|| bytes.slice(from..to))
        });
        if let Some(known) = known {
            return Ok(known);
        }
        // What is in memory already is not fetched again.
        let begun = self.state().loose.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(range.start.checked_sub(*start)?).ok()?;
            (from < bytes.len()).then(|| bytes.slice(from..))
        });
        let have = begun.as_ref().map_or(0, |begun| begun.len() as u64);
        let start = range.start + have;
        let end = (range.end + BEHIND).max(start + LOOSE).min(self.length());
        let fetched = self.fetch(start..end)?;
        let mut state = self.state();
        state.loose.push_back((start, fetched.clone()));
        state.forget();
        drop(state);
        let length = usize::try_from(range.end - start).map_err(io::Error::other)?;
        let Some(begun) = begun else { return Ok(fetched.slice(..length)) };
        let mut whole = BytesMut::from(begun.as_ref());
        whole.extend_from_slice(&fetched[..length]);
        Ok(whole.freeze())
    }

    fn fetch(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.runtime.block_on(self.file.range(range)).map_err(io::Error::other)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked while it held the lock has left whole values behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // What is on its way comes for nobody.
        for block in &self.state().planned {
            if let Fetch::Asked(task) = &block.state {
                task.abort();
            }
        }
    }
}

impl State {
    /// Lets go of what was read longest ago.
    fn forget(&mut self) {
        const LOOSE_PARTS: usize = 8;
        const NEWEST: usize = 2;
        let length =
            |planned: &[Planned], index: usize| planned[index].range.end - planned[index].range.start;
        let mut bytes: u64 = self.read.iter().map(|index| length(&self.planned, *index)).sum();
        let largest = self.read.iter().map(|index| length(&self.planned, *index)).max().unwrap_or(0);
        let kept = KEPT.max(largest * (self.columns + 1));
        while bytes > kept && self.read.len() > NEWEST {
            let Some(oldest) = self.read.pop_front() else { break };
            bytes -= length(&self.planned, oldest);
            self.planned[oldest].state = Fetch::Done;
        }
        while self.loose.len() > LOOSE_PARTS {
            // The first is the footer.
            self.loose.remove(1);
        }
    }
}

/// Ranges in the order of their places, with those made one that have no more than `gap` between them.
fn merged(mut ranges: Vec<Range<u64>>, gap: u64) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap) => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_are_near_each_other_are_one() {
        let ranges = vec![900..905, 0..10, 5..20, 120..130, 3..3];
        assert_eq!(merged(ranges, 100), [0..130, 900..905]);
        assert_eq!(merged(vec![0..1, 102..103], 100).len(), 2);
    }
}
