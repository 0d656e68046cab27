//! Which rows of which files are read: counting, drawing, and checking that the columns are there.

use super::blocks::Blocks;
use super::bytes::Bytes;
use super::error::{Error, plain};
use super::folder::Spool;
use super::gather::{At, Member};
use super::layout::Format;
use super::parquet::Footer;
use super::read::{self, Cursor};
use super::remote::Tape;
use super::sample::{Chosen, Draw, by_file};
use super::sequence::{self, Input, Place};
use super::stages;
use super::wanted::{Wanted, columns};
use super::{Access, Column, Drawn, News, Reach, Request, Row, Shape};
use crate::rating::run::Sample;
use futures::stream::{self, StreamExt as _};
use std::fs::File;
use std::io;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The head of a stream of unknown length has this many rows at most, unless more are asked for.
const HEAD_ROWS: u64 = 10_000;

/// The head of a stream of unknown length has this many bytes of records at most, unless more rows are asked for.
const HEAD_BYTES: usize = 64 << 20;

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

/// Opens the files: what is known of their rows without reading them all, or by counting where they are here.
pub(super) fn open(
    request: Request,
    (members, is_at_hub): (Vec<Member>, bool),
    runtime: Handle,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Opened, Error> {
    for member in &members {
        member.check()?;
    }
    let request = Arc::new(request);
    let opening = Opening { request: Arc::clone(&request), runtime: runtime.clone(), is_stopped };
    // What the cache happens to have does not change which rows are drawn.
    let is_streamed = is_at_hub && request.access == Access::Stream;
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
        (false, true, Sample::Random { rows, seed }) => opening.held(&members, rows, seed)?,
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

/// The last bytes of files; nothing of a file on this machine.
type Tails = std::vec::IntoIter<Option<Result<bytes::Bytes, Error>>>;

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

    /// Parquet files of which every footer is read.
    fn counted_parquet(&self, members: Vec<Member>) -> Result<Sketch, Error> {
        let (mut counts, mut footers, mut known) = (Vec::new(), Vec::new(), None);
        let mut tails = self.tails(members.iter());
        for member in &members {
            self.check_stop()?;
            let footer = footer(member, tails.next().flatten().transpose()?, &self.runtime)?;
            counts.push(footer.rows);
            footer.check(&self.wanted(), &member.label)?;
            if known.is_none() {
                known = Some(footer.known.columns.clone());
            }
            // What was fetched is kept; what is on this machine is opened again.
            footers.push(match member.at {
                At::Hub(_) => Begun::Footer(Box::new(footer)),
                At::Local(_) => Begun::Nothing,
            });
        }
        let (chosen, drawn, sampled) = self.shares(&counts, |rows, seed| {
            let mut draw = Draw::new(rows, seed);
            for (index, (member, rows)) in members.iter().zip(&counts).enumerate() {
                draw.file(index, &member.path);
                self.offer_all(&mut draw, *rows)?;
            }
            Ok(by_file(draw.finish(), members.len()))
        })?;
        let parts = members.into_iter().zip(chosen).zip(footers).enumerate();
        let parts = parts.map(|(index, ((member, chosen), begun))| Part {
            index,
            member,
            chosen,
            is_counted: true,
            begun,
        });
        Ok(Sketch {
            columns: known.unwrap_or_default(),
            rows: Some(counts.iter().sum()),
            sampled: Some(sampled),
            drawn,
            work: Work::Parts(parts.filter(|part| part.chosen.count() > 0).collect(), u64::MAX),
        })
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

    /// Streamed parquet files that are opened one after another, as they are read.
    fn parquet_in_order(&self, members: Vec<Member>) -> Result<Sketch, Error> {
        let Some(first) = members.first() else { return Err(self.empty()) };
        let tail = self.tails([first].into_iter()).next().flatten().transpose()?;
        let footer = footer(first, tail, &self.runtime)?;
        footer.check(&self.wanted(), &first.label)?;
        let columns = footer.known.columns.clone();
        let mut begun = Some(Begun::Footer(Box::new(footer)));
        Ok(self.uncounted(columns, members, |_| begun.take().unwrap_or(Begun::Nothing)))
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

    /// Very many streamed parquet files: some are drawn by their size, and rows within them.
    fn two_stages(&self, members: &[Member], rows: u64, seed: u64) -> Result<Sketch, Error> {
        let of = members.len();
        let sizes = members.iter().map(|member| (member.path.as_str(), member.size));
        let order = stages::files(sizes, members.len(), seed);
        // As many files as `--max-files` says, and further ones in the order of the draw where these have too few rows.
        let (mut picked, mut footers, mut found) = (Vec::new(), Vec::new(), 0);
        for files in order.chunks(self.request.max_files) {
            let mut tails = self.tails(files.iter().map(|index| &members[*index]));
            for index in files {
                self.check_stop()?;
                let footer = footer(&members[*index], tails.next().flatten().transpose()?, &self.runtime)?;
                footer.check(&self.wanted(), &members[*index].label)?;
                found += footer.rows;
                footers.push(footer);
                picked.push(*index);
            }
            if found >= rows {
                break;
            }
        }
        let Some(columns) = footers.first().map(|footer| footer.known.columns.clone()) else {
            return Err(self.empty());
        };
        let counts: Vec<u64> = footers.iter().map(|footer| footer.rows).collect();
        let shares = stages::shares(&counts, rows);
        let mut parts = Vec::new();
        for ((index, footer), share) in
            picked.iter().zip(footers).zip(&shares).filter(|(_, share)| **share > 0)
        {
            let mut draw = Draw::new(*share, seed);
            draw.file(0, &members[*index].path);
            self.offer_all(&mut draw, footer.rows)?;
            let chosen = by_file(draw.finish(), 1).pop().unwrap_or(Chosen::Head(0));
            let begun = Begun::Footer(Box::new(footer));
            parts.push(Part {
                index: *index,
                member: members[*index].clone(),
                chosen,
                is_counted: true,
                begun,
            });
        }
        parts.sort_unstable_by_key(|part| part.index);
        let drawn = Drawn::TwoStages { files: parts.len(), of };
        let work = Work::Parts(parts, u64::MAX);
        Ok(Sketch { columns, rows: None, sampled: Some(shares.iter().sum()), drawn, work })
    }

    /// The last bytes of streamed files, a few fetched at a time; nothing of files on this machine.
    fn tails<'m>(&self, members: impl Iterator<Item = &'m Member>) -> Tails {
        const AT_ONCE: usize = 8;
        let files: Vec<_> = members
            .map(|member| match &member.at {
                At::Hub(file) => Some(file.clone()),
                At::Local(_) => None,
            })
            .collect();
        let tails = stream::iter(files)
            .map(|file| async move { Some(read::tail(&file?).await.map_err(Error::from)) });
        self.runtime.block_on(tails.buffered(AT_ONCE).collect::<Vec<_>>()).into_iter()
    }

    /// Files on this machine that are read from front to back: they are read once to count their rows.
    fn counted(&self, members: Vec<Member>) -> Result<Sketch, Error> {
        const LARGE: u64 = 1 << 30;
        let bytes: u64 = members.iter().map(|member| member.size).sum();
        if bytes > LARGE {
            let gigabytes = bytes as f64 / 1e9;
            self.request.news(&News::Note(&format!(
                "counting rows: {gigabytes:.1} GB are read once for that; --sample first counts nothing"
            )));
        }
        let mut draw = match self.request.sample {
            Sample::Random { rows, seed } => Some(Draw::new(rows, seed)),
            Sample::All | Sample::First { .. } => None,
        };
        let mut counts = Vec::new();
        for (index, member) in members.iter().enumerate() {
            if let Some(draw) = &mut draw {
                draw.file(index, &member.path);
            }
            counts.push(self.count(member, draw.as_mut())?);
        }
        let filled = members.iter().zip(&counts).find(|(_, rows)| **rows > 0);
        let Some((first, _)) = filled else { return Err(self.empty()) };
        let mut cursor = Cursor::open(first, Begun::Nothing, &self.runtime)?;
        let Some(known) = cursor.look(&self.wanted())? else { return Err(self.empty()) };
        let columns = known.columns;
        let (chosen, drawn, sampled) = self.shares(&counts, |_, _| {
            let drawn = draw.map_or_else(Vec::new, Draw::finish);
            Ok(by_file(drawn, members.len()))
        })?;
        let parts = members.into_iter().zip(chosen).enumerate();
        let parts = parts.map(|(index, (member, chosen))| Part {
            index,
            member,
            chosen,
            is_counted: true,
            begun: Begun::Nothing,
        });
        Ok(Sketch {
            columns,
            rows: Some(counts.iter().sum()),
            sampled: Some(sampled),
            drawn,
            work: Work::Parts(parts.filter(|part| part.chosen.count() > 0).collect(), u64::MAX),
        })
    }

    fn count(&self, member: &Member, mut draw: Option<&mut Draw<Option<Place>>>) -> Result<u64, Error> {
        const BETWEEN_LOOKS: u64 = 1 << 12;
        if let Some(file) = read::plain_lines(member)? {
            let offer = |row, place| {
                if let Some(draw) = &mut draw {
                    draw.offer(row, || Some(place));
                }
            };
            return sequence::scan(file, offer, self.is_stopped)
                .map_err(|error| Error::io(&member.label, error));
        }
        let mut cursor = Cursor::open(member, Begun::Nothing, &self.runtime)?;
        let mut rows = 0;
        cursor.want(&Wanted::new(&self.request, member, 0))?;
        while cursor.advance()? {
            if rows % BETWEEN_LOOKS == 0 {
                self.check_stop()?;
            }
            if let Some(draw) = &mut draw {
                draw.offer(rows, || None);
            }
            rows += 1;
        }
        Ok(rows)
    }

    /// Streamed files that are read from front to back, as they come.
    fn in_order(&self, members: Vec<Member>) -> Result<Sketch, Error> {
        let (columns, first, input) = self.look_ahead(&members)?;
        let mut begun = Some(Begun::Input(input));
        Ok(self
            .uncounted(columns, members, |index| begun.take_if(|_| index == first).unwrap_or(Begun::Nothing)))
    }

    /// The columns of the first file that has rows, its index, and what comes of it from its beginning on.
    fn look_ahead(&self, members: &[Member]) -> Result<(Vec<Column>, usize, Input), Error> {
        for (index, member) in members.iter().enumerate() {
            let tape = Tape::new(read::input(member, &self.runtime)?);
            let mut cursor = Cursor::open(member, Begun::Input(Box::new(tape.clone())), &self.runtime)?;
            let Some(known) = cursor.look(&self.wanted())? else { continue };
            drop(cursor);
            let broken = || Error::corrupt(&member.label, "cannot be read", "it is still in use");
            return Ok((known.columns, index, tape.rewound().ok_or_else(broken)?));
        }
        Err(self.empty())
    }

    /// A sample of streamed files that do not say how many rows they have: of their head, or of all that comes.
    fn held(&self, members: &[Member], rows: u64, seed: u64) -> Result<Sketch, Error> {
        if self.request.reach == Reach::Whole {
            let bytes = members.iter().map(|member| member.size).sum::<u64>() as f64;
            self.request.news(&News::Note(&format!("reading the whole stream first: {:.1} MB", bytes / 1e6)));
        }
        let (columns, first, input) = self.look_ahead(members)?;
        let mut begun = Some(Begun::Input(input));
        let mut draw = Draw::new(rows, seed);
        let (mut passed, mut bytes) = (0_u64, 0_usize);
        let mut is_whole = true;
        'files: for (index, member) in members.iter().enumerate() {
            draw.file(index, &member.path);
            let begun = begun.take_if(|_| index == first).unwrap_or(Begun::Nothing);
            let mut cursor = Cursor::open(member, begun, &self.runtime)?;
            let wanted = Wanted::new(&self.request, member, index);
            cursor.want(&wanted)?;
            let mut row = 0;
            while cursor.advance()? {
                self.check_stop()?;
                let is_head = self.request.reach == Reach::Head;
                let is_enough = passed >= HEAD_ROWS || bytes >= HEAD_BYTES || index >= self.request.max_files;
                if is_head && passed >= rows && is_enough {
                    is_whole = false;
                    break 'files;
                }
                bytes += cursor.size();
                draw.offer(row, || cursor.read(row, &wanted));
                row += 1;
                passed += 1;
            }
        }
        let held: Vec<Row> = draw.finish().into_iter().map(|drawn| drawn.place).collect();
        let drawn = match is_whole {
            true if held.len() as u64 == passed => Drawn::All,
            true => Drawn::Uniform,
            false => Drawn::Head { rows: passed },
        };
        let sampled = Some(held.len() as u64);
        Ok(Sketch { columns, rows: is_whole.then_some(passed), sampled, drawn, work: Work::Held(held) })
    }
}

/// The footer of a parquet file.
pub(super) fn footer(member: &Member, tail: Option<bytes::Bytes>, runtime: &Handle) -> Result<Footer, Error> {
    let bytes = match &member.at {
        At::Local(path) => {
            Bytes::Local(Arc::new(File::open(path).map_err(|error| Error::io(&member.label, error))?))
        }
        At::Hub(file) => Bytes::Hub(Arc::new(Blocks::new(file.clone(), tail, runtime.clone()))),
    };
    Footer::read(bytes, &member.label)
}
