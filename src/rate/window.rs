//! Rows that are begun and not yet told of, in order: they leave when all before them have left.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::rating::answer::Answer;
use crate::rating::failure::Failure;
use crate::rating::{Piece, Rating, Source};
use crate::record::Record;

use super::prepare::{Prepared, Ready, Step};

/// Rows held at most: an answer that is late by more holds up the drawing of new rows, not the memory.
const ROWS: usize = 4096;

/// Text held at most, for rows that are long.
const BYTES: usize = 256 << 20;

/// Where an answer belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) row: u64,
    pub(super) target: usize,
    pub(super) piece: usize,
}

/// The window.
#[derive(Default)]
pub(super) struct Window {
    first: u64,
    slots: VecDeque<Slot>,
    bytes: usize,
    /// Ratings that are closed, in the window or gone.
    closed: u64,
}

struct Slot {
    record: Arc<Record>,
    targets: Vec<Begun>,
    bytes: usize,
    open: usize,
}

struct Begun {
    unasked: Option<Failure>,
    screened: Option<f64>,
    pieces: Vec<BegunPiece>,
}

struct BegunPiece {
    bytes: Vec<Range<usize>>,
    answer: Awaited,
}

/// The answer to a chunk's question.
enum Awaited {
    /// It is still to come.
    Open,
    /// It does not come in this run.
    Left,
    /// It is here, or a failure is.
    Here(Result<Arc<Answer>, Failure>, Source),
}

impl Begun {
    /// Whether nothing is to come any more.
    fn is_closed(&self) -> bool {
        self.pieces.iter().all(|piece| !matches!(piece.answer, Awaited::Open))
    }
}

impl Window {
    /// Ratings that are complete or left, those included that wait for earlier rows.
    pub(super) fn closed(&self) -> u64 {
        self.closed
    }

    /// Whether a batch of rows may still come in.
    pub(super) fn has_room_for(&self, rows: usize) -> bool {
        self.slots.is_empty() || (self.slots.len() + rows <= ROWS && self.bytes < BYTES)
    }

    /// Takes a row in; calls `ask` for each question with the place of its answer.
    pub(super) fn begin(
        &mut self,
        row: Prepared,
        mut ask: impl FnMut(Place, crate::rating::question::Question),
    ) {
        let number = self.first + self.slots.len() as u64;
        let mut open = 0;
        let targets = row
            .targets
            .into_iter()
            .enumerate()
            .map(|(target, ready)| match ready {
                Ready::Unasked(failure) => {
                    Begun { unasked: Some(failure), screened: None, pieces: Vec::new() }
                }
                Ready::Screened(score) => Begun { unasked: None, screened: Some(score), pieces: Vec::new() },
                Ready::Pieces(pieces) => {
                    let pieces = pieces.into_iter().enumerate().map(|(piece, ready)| {
                        let answer = match ready.step {
                            Step::Done(outcome) => Awaited::Here(outcome, Source::Asked),
                            Step::Ask(question) => {
                                open += 1;
                                ask(Place { row: number, target, piece }, question);
                                Awaited::Open
                            }
                        };
                        BegunPiece { bytes: ready.bytes, answer }
                    });
                    Begun { unasked: None, screened: None, pieces: pieces.collect() }
                }
            })
            .collect::<Vec<Begun>>();
        self.closed += targets.iter().filter(|begun| begun.is_closed()).count() as u64;
        self.bytes += row.bytes;
        self.slots.push_back(Slot { record: row.record, targets, bytes: row.bytes, open });
    }

    /// Puts an answer in its place.
    pub(super) fn answer(&mut self, place: Place, outcome: Result<Arc<Answer>, Failure>, source: Source) {
        self.close(place, Awaited::Here(outcome, source));
    }

    /// Notes that no answer comes in this run: the row leaves with the others, and is not told of through this target.
    pub(super) fn leave(&mut self, place: Place) {
        self.close(place, Awaited::Left);
    }

    fn close(&mut self, place: Place, awaited: Awaited) {
        let Some(slot) =
            place.row.checked_sub(self.first).and_then(|at| self.slots.get_mut(usize::try_from(at).ok()?))
        else {
            return;
        };
        let begun = &mut slot.targets[place.target];
        let answer = &mut begun.pieces[place.piece].answer;
        if matches!(answer, Awaited::Open) {
            slot.open -= 1;
            *answer = awaited;
            self.closed += u64::from(begun.is_closed());
        }
    }

    /// The first rows, as far as they are complete.
    pub(super) fn finished(&mut self, into: &mut Vec<Rating>) {
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.open == 0) {
            self.let_go(slot, into);
        }
    }

    /// What is complete of all rows, when no more answers will come. The rest was not reached.
    pub(super) fn drain(&mut self, into: &mut Vec<Rating>) {
        while let Some(slot) = self.slots.pop_front() {
            self.let_go(slot, into);
        }
    }

    fn let_go(&mut self, slot: Slot, into: &mut Vec<Rating>) {
        self.first += 1;
        self.bytes -= slot.bytes;
        for (target, begun) in slot.targets.into_iter().enumerate() {
            let pieces: Option<Vec<Piece>> = begun
                .pieces
                .into_iter()
                .map(|piece| {
                    let Awaited::Here(outcome, source) = piece.answer else { return None };
                    Some(Piece { bytes: piece.bytes, outcome, source })
                })
                .collect();
            if let Some(pieces) = pieces {
                into.push(Rating {
                    record: Arc::clone(&slot.record),
                    target,
                    pieces,
                    unasked: begun.unasked,
                    screened: begun.screened,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rating::question::{Digest, Question};

    fn row(id: &str, questions: usize) -> Prepared {
        let piece = || super::super::prepare::ReadyPiece {
            bytes: Vec::new(),
            step: Step::Ask(Question { prompt: String::new(), digest: Digest([0; 32]) }),
        };
        Prepared {
            record: Arc::new(Record { id: id.to_owned(), file: 0, fields: Vec::new(), kept: Vec::new() }),
            targets: vec![Ready::Pieces((0..questions).map(|_| piece()).collect())],
            bytes: 10,
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "an outcome, as the window takes it")]
    fn answer() -> Result<Arc<Answer>, Failure> {
        Ok(Arc::new(Answer {
            scores: vec![1.0],
            rationales: Vec::new(),
            provenance: crate::rating::answer::Provenance::default(),
        }))
    }

    #[test]
    fn rows_leave_in_order_whatever_the_order_of_answers() {
        let mut window = Window::default();
        let mut places = Vec::new();
        for id in ["a", "b", "c"] {
            window.begin(row(id, 1), |place, _| places.push(place));
        }
        let mut out = Vec::new();
        window.answer(places[2], answer(), Source::Asked);
        window.answer(places[1], answer(), Source::Asked);
        window.finished(&mut out);
        assert!(out.is_empty());
        window.answer(places[0], answer(), Source::Asked);
        window.finished(&mut out);
        let ids: Vec<_> = out.iter().map(|rating| rating.record.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        assert_eq!(window.bytes, 0);
    }

    #[test]
    fn a_row_with_an_open_chunk_is_not_told_of_when_the_run_stops() {
        let mut window = Window::default();
        let mut places = Vec::new();
        window.begin(row("half", 2), |place, _| places.push(place));
        window.begin(row("whole", 1), |place, _| places.push(place));
        window.answer(places[0], answer(), Source::Asked);
        window.answer(places[2], answer(), Source::Asked);
        let mut out = Vec::new();
        window.drain(&mut out);
        let ids: Vec<_> = out.iter().map(|rating| rating.record.id.as_str()).collect();
        assert_eq!(ids, ["whole"]);
    }

    #[test]
    fn a_row_that_is_left_holds_up_no_other_and_is_not_told_of() {
        let mut window = Window::default();
        let mut places = Vec::new();
        for (id, questions) in [("left", 2), ("told", 1), ("open", 1)] {
            window.begin(row(id, questions), |place, _| places.push(place));
        }
        window.answer(places[0], answer(), Source::Asked);
        window.leave(places[1]);
        window.answer(places[2], answer(), Source::Asked);
        // What was left stays so.
        window.answer(places[1], answer(), Source::Asked);
        let mut out = Vec::new();
        window.finished(&mut out);
        let ids: Vec<_> = out.iter().map(|rating| rating.record.id.as_str()).collect();
        assert_eq!((ids, window.closed()), (vec!["told"], 2));
    }

    #[test]
    fn a_full_window_draws_no_new_row() {
        let mut window = Window::default();
        assert!(window.has_room_for(10_000));
        for _ in 0..ROWS {
            window.begin(row("x", 1), |_, _| {});
        }
        assert!(!window.has_room_for(1));
    }
}
