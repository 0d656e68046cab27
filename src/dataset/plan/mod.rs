//! Which rows of which files are read: counting, drawing, and checking that the columns are there.

use super::error::{Error, plain};
use super::folder::Spool;
use super::gather::{At, Member};
use super::layout::Format;
use super::parquet::Footer;
use super::sample::{Chosen, Draw};
use super::sequence::{Input, Place};
use super::wanted::columns;
use super::{Access, Column, Drawn, Reach, Request, Row, Shape};
use crate::rating::run::Sample;
use rows::{HEAD_ROWS, Sampled};
use std::io;
use std::sync::Arc;
use tokio::runtime::Handle;

pub(super) use footers::{each_footer, footer};

mod footers;
mod rows;

/// What is read, and how.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) request: Arc<Request>,
    pub(super) work: Work,
    pub(super) runtime: Handle,
    /// Kept until the dataset is read.
    _spool: Option<Arc<Spool>>,
}

/// The rows to come.
#[derive(Debug)]
pub(super) enum Work {
    /// Rows that were read already.
    Held(Vec<Row>),
    /// Files, and at most so many rows of them.
    Parts(Vec<Part>, u64),
}

/// A file, and which of its rows are wanted.
#[derive(Debug)]
pub(super) struct Part {
    /// The file's index in the dataset.
    pub(super) index: usize,
    pub(super) member: Member,
    pub(super) chosen: Chosen<Option<Place>>,
    /// Whether the chosen rows were counted, so that fewer of them are an error.
    pub(super) is_counted: bool,
    /// What has been read of it already.
    pub(super) begun: Begun,
}

/// What has been read of a file before its rows.
pub(super) enum Begun {
    Nothing,
    Footer(Box<Footer>),
    Input(Input),
}

impl std::fmt::Debug for Begun {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Footer(_) => "Footer",
            Self::Input(_) => "Input",
        })
    }
}

/// A dataset that is ready to be read.
pub(super) struct Opened {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Option<u64>,
    pub(super) sampled: Option<u64>,
    pub(super) drawn: Drawn,
    pub(super) plan: Plan,
}

impl Plan {
    /// The same plan, which keeps a temporary file until it is done.
    pub(super) fn keeping(self, spool: Option<Arc<Spool>>) -> Self {
        Self { _spool: spool, ..self }
    }
}

/// The files of a dataset.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) members: Vec<Member>,
    /// Whether they are those of a repository at the Hub, here or there.
    pub(super) are_at_hub: bool,
    pub(super) hold: Hold,
}

/// What is kept of rows that are drawn from a stream while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Their records: the stream is not read again.
    Records,
    /// Their numbers: the stream is read again.
    Numbers,
}

/// Opens the files: what is known of their rows without reading them all, or by counting where they are here.
pub(super) fn open(
    request: Request,
    files: Files,
    runtime: Handle,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Opened, Error> {
    let Files { members, are_at_hub, hold } = files;
    for member in &members {
        member.check()?;
    }
    let request = Arc::new(request);
    let opening = Opening { request: Arc::clone(&request), runtime: runtime.clone(), is_stopped };
    // What the cache happens to have does not change which rows are drawn.
    let is_streamed = are_at_hub && request.access == Access::Stream;
    let is_parquet = members.iter().all(|member| member.format == Format::Parquet);
    let is_here = members.iter().all(|member| matches!(member.at, At::Local(_)));
    let many = members.len() > request.max_files;
    let sketch = match (is_parquet, is_streamed, request.sample) {
        (true, true, Sample::Random { rows, seed }) if many => opening.two_stages(&members, rows, seed)?,
        (true, true, Sample::First { .. }) => opening.parquet_in_order(members)?,
        (true, true, Sample::All) if many && !is_here => opening.parquet_in_order(members)?,
        (true, ..) => opening.counted_parquet(members)?,
        // So many rows are the head itself: there is nothing to draw.
        (false, true, Sample::Random { rows, .. }) if rows >= HEAD_ROWS && request.reach == Reach::Head => {
            opening.in_order(members)?
        }
        (false, true, Sample::Random { rows, seed }) => {
            opening.held(members, Sampled { rows, seed }, hold)?
        }
        (false, true, Sample::All) if !is_here => opening.in_order(members)?,
        (false, _, Sample::First { .. }) => opening.in_order(members)?,
        (false, ..) => opening.counted(members)?,
    };
    let Sketch { columns, rows, sampled, drawn, work } = sketch;
    expect_messages(&request, &columns)?;
    if rows == Some(0) {
        return Err(Error::Empty { name: plain(&request.name) });
    }
    Ok(Opened { columns, rows, sampled, drawn, plan: Plan { request, work, runtime, _spool: None } })
}

/// A column that is no list cannot hold a conversation: every row would be empty.
fn expect_messages(request: &Request, columns: &[Column]) -> Result<(), Error> {
    if request.shape == Shape::Columns {
        return Ok(());
    }
    let found = columns.iter().find(|known| request.columns.contains(&known.name));
    match found.filter(|column| !column.kind.contains("list")) {
        None => Ok(()),
        Some(column) => Err(Error::NoMessages {
            name: plain(&request.name),
            column: plain(&column.name),
            kind: plain(&column.kind),
        }),
    }
}

struct Sketch {
    columns: Vec<Column>,
    rows: Option<u64>,
    sampled: Option<u64>,
    drawn: Drawn,
    work: Work,
}

struct Opening<'s> {
    request: Arc<Request>,
    runtime: Handle,
    is_stopped: &'s dyn Fn() -> bool,
}

impl Opening<'_> {
    fn wanted(&self) -> Vec<String> {
        columns(&self.request).cloned().collect()
    }

    /// Which rows come of files whose rows are counted, and how many they are; `draw` is asked if it is a real sample.
    fn shares<P>(
        &self,
        counts: &[u64],
        draw: impl FnOnce(u64, u64) -> Result<Vec<Chosen<P>>, Error>,
    ) -> Result<(Vec<Chosen<P>>, Drawn, u64), Error> {
        let total: u64 = counts.iter().sum();
        let all = || counts.iter().map(|rows| Chosen::Head(*rows)).collect();
        match self.request.sample {
            Sample::All => Ok((all(), Drawn::All, total)),
            Sample::Random { rows, .. } | Sample::First { rows } if rows >= total => {
                Ok((all(), Drawn::All, total))
            }
            Sample::Random { rows, seed } => Ok((draw(rows, seed)?, Drawn::Uniform, rows)),
            Sample::First { rows } => {
                let mut left = rows;
                let heads = counts.iter().map(|count| {
                    let head = left.min(*count);
                    left -= head;
                    Chosen::Head(head)
                });
                Ok((heads.collect(), Drawn::First, rows))
            }
        }
    }

    fn offer_all(&self, draw: &mut Draw<Option<Place>>, rows: u64) -> Result<(), Error> {
        const BETWEEN_LOOKS: u64 = 1 << 20;
        for row in 0..rows {
            if row % BETWEEN_LOOKS == 0 {
                self.check_stop()?;
            }
            draw.offer(row, || None);
        }
        Ok(())
    }

    fn check_stop(&self) -> Result<(), Error> {
        if (self.is_stopped)() {
            return Err(Error::io(&self.request.name, io::ErrorKind::Interrupted.into()));
        }
        Ok(())
    }

    fn uncounted(
        &self,
        columns: Vec<Column>,
        members: Vec<Member>,
        mut begun: impl FnMut(usize) -> Begun,
    ) -> Sketch {
        let parts = members.into_iter().enumerate().map(|(index, member)| Part {
            index,
            member,
            chosen: Chosen::Head(u64::MAX),
            is_counted: false,
            begun: begun(index),
        });
        let (drawn, most) = match self.request.sample {
            Sample::First { rows } | Sample::Random { rows, .. } => (Drawn::First, rows),
            Sample::All => (Drawn::All, u64::MAX),
        };
        Sketch { columns, rows: None, sampled: None, drawn, work: Work::Parts(parts.collect(), most) }
    }

    fn empty(&self) -> Error {
        Error::Empty { name: plain(&self.request.name) }
    }
}
