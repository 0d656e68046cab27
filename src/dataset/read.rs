//! Reading the planned rows: file after file, in order.

use super::batch::{Batch, Stop};
use super::error::{Error, plain};
use super::gather::{At, Member};
use super::layout::{self, Compression, Format};
use super::parquet::{Footer, Parquet};
use super::plan::{self, Begun, Part, Plan, Work};
use super::remote::Remote;
use super::sample::Chosen;
use super::sequence::{
    Broken, Input, Kind, LONGEST_MAGIC, Look, Sequence, Unit, declared, decompressed, is_compressed, look,
};
use super::wanted::{Known, Wanted};
use super::{Column, Row};
use crate::hub;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::sync::Arc;
use tokio::runtime::Handle;

/// What is fetched of a streamed parquet file first: most footers are shorter.
const TAIL: u64 = 64 << 10;

/// The last bytes of a file, in which a parquet file has its footer.
pub(super) async fn tail(file: &hub::File) -> Result<Bytes, hub::Error> {
    file.range(file.size().saturating_sub(TAIL)..file.size()).await
}

/// Reads the planned rows into the batch.
pub(super) fn read(plan: Plan, batch: &mut Batch) -> Result<(), Stop> {
    let Plan { request, work, runtime, .. } = plan;
    let (parts, left) = match work {
        Work::Held(rows) => return rows.into_iter().try_for_each(|row| batch.push(row)),
        Work::Parts(parts, most) => (parts, most),
    };
    let mut reading = Reading { runtime: &runtime, left };
    if parts.first().is_some_and(|part| part.member.format == Format::Parquet) {
        let columns: Vec<String> = super::wanted::columns(&request).cloned().collect();
        return reading.parquet(
            parts,
            &|footer, chosen, member| footer.choose(&columns, chosen, &member.label),
            &mut |parquet, member, index| parquet.read(&Wanted::new(&request, member, index), batch),
        );
    }
    for mut part in parts {
        if reading.left == 0 {
            break;
        }
        let Part { index, member, begun, .. } = &mut part;
        let wanted = Wanted::new(&request, member, *index);
        let mut cursor = Cursor::open(member, std::mem::replace(begun, Begun::Nothing), &runtime)?;
        cursor.want(&wanted)?;
        cursor.each(&part, &mut reading.left, |cursor, row| batch.push(cursor.read(row, &wanted)))?;
    }
    Ok(())
}

/// Prepares the chosen rows of a parquet file to be read.
type Prepare<'r> = &'r dyn Fn(Footer, Chosen<()>, &Member) -> Result<Parquet, Error>;

pub(super) struct Reading<'r> {
    pub(super) runtime: &'r Handle,
    /// How many rows may still come.
    pub(super) left: u64,
}

impl Reading<'_> {
    /// Reads parquet files, each with its index; those of the Hub are begun before it is their turn.
    pub(super) fn parquet(
        &mut self,
        parts: Vec<Part>,
        prepare: Prepare,
        read: &mut dyn FnMut(Parquet, &Member, usize) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        const FILES_AHEAD: usize = 8;
        const BYTES_AHEAD: u64 = 24 << 20;
        let mut parts = parts.into_iter();
        let mut ready: VecDeque<(Member, usize, Result<Parquet, Error>, u64)> = VecDeque::new();
        loop {
            let mut ahead: u64 = ready.iter().map(|(.., bytes)| bytes).sum();
            while ready.len() <= 1 || (ready.len() < FILES_AHEAD && ahead < BYTES_AHEAD) {
                let Some(part) = (if self.left > 0 { parts.next() } else { None }) else { break };
                let is_local = matches!(part.member.at, At::Local(_));
                let (member, index) = (part.member.clone(), part.index);
                let opened = self.open(part, prepare);
                let begun =
                    opened.as_ref().map_or(0, |parquet| parquet.begin(BYTES_AHEAD.saturating_sub(ahead)));
                ahead += begun;
                let failed = opened.is_err();
                ready.push_back((member, index, opened, begun));
                if is_local || failed {
                    break;
                }
            }
            let Some((member, index, parquet, _)) = ready.pop_front() else { return Ok(()) };
            read(parquet?, &member, index)?;
        }
    }

    fn open(&mut self, part: Part, prepare: Prepare) -> Result<Parquet, Error> {
        let Part { member, chosen, begun, .. } = part;
        let footer = match (begun, &member.at) {
            (Begun::Footer(footer), _) => *footer,
            (_, At::Hub(file)) => {
                let tail = self.runtime.block_on(tail(file))?;
                plan::footer(&member, Some(tail), self.runtime)?
            }
            (_, At::Local(_)) => plan::footer(&member, None, self.runtime)?,
        };
        let chosen = match chosen {
            Chosen::Head(rows) => Chosen::Head(rows.min(footer.rows).min(self.left)),
            Chosen::Rows(rows) => Chosen::Rows(rows.into_iter().map(|(row, _)| (row, ())).collect()),
        };
        self.left = self.left.saturating_sub(chosen.count());
        prepare(footer, chosen, &member)
    }
}

/// The rows of a file that is read from front to back, with the file's name for errors.
pub(super) struct Cursor {
    sequence: Sequence,
    label: String,
}

impl Cursor {
    /// Opens a file at its first row.
    pub(super) fn open(member: &Member, begun: Begun, runtime: &Handle) -> Result<Self, Error> {
        let label = member.label.clone();
        let kind = kind(member);
        let sequence = match (begun, plain_file(member)?) {
            (Begun::Input(input), _) => unpacked(&kind, input, &label),
            (_, Some(file)) => Sequence::open_file(&kind, file),
            (_, None) => unpacked(&kind, input(member, runtime)?, &label),
        };
        Ok(Self { sequence: sequence.map_err(|broken| broken.of(&label))?, label })
    }

    /// Goes on to the next row; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool, Error> {
        self.sequence.advance().map_err(|broken| broken.of(&self.label))
    }

    /// Shows each chosen row of the part that this is of, as long as some are left.
    pub(super) fn each(
        &mut self,
        part: &Part,
        left: &mut u64,
        mut show: impl FnMut(&mut Self, u64) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let changed = || Error::Changed { name: plain(&part.member.label) };
        match &part.chosen {
            Chosen::Head(rows) => {
                let rows = (*rows).min(*left);
                let mut row = 0;
                while row < rows && self.advance()? {
                    show(self, row)?;
                    row += 1;
                }
                if part.is_counted && row < rows {
                    return Err(changed().into());
                }
                *left -= row;
            }
            Chosen::Rows(rows) => {
                let mut next = 0;
                for (row, place) in rows {
                    if let Some(place) = place {
                        self.seek(*place)?;
                        next = *row;
                    }
                    while next <= *row {
                        if !self.advance()? {
                            return Err(changed().into());
                        }
                        next += 1;
                    }
                    show(self, *row)?;
                }
            }
        }
        Ok(())
    }

    fn seek(&mut self, place: super::sequence::Place) -> Result<(), Error> {
        self.sequence.seek(place).map_err(|broken| broken.of(&self.label))
    }

    /// Says which columns will be read; an error if the format declares its columns and one is not among them.
    pub(super) fn want(&mut self, wanted: &Wanted) -> Result<(), Error> {
        let declared = declared(&self.sequence, &wanted.columns);
        // A file of nothing lacks nothing.
        if let Some(look) = declared.filter(|look| !look.known.columns.is_empty()) {
            self.seen(look)?;
        }
        self.sequence.want(wanted.picker.roots());
        Ok(())
    }

    /// The columns, declared or seen in the first rows; an error if one that is wanted is not there. None of a file that
    /// declares nothing and has no rows.
    pub(super) fn look(&mut self, columns: &[String]) -> Result<Option<Known>, Error> {
        let look = look(&mut self.sequence, columns).map_err(|broken| broken.of(&self.label))?;
        if look.rows == 0 && look.known.columns.is_empty() {
            return Ok(None);
        }
        self.seen(look).map(Some)
    }

    fn seen(&self, look: Look) -> Result<Known, Error> {
        let Look { known, missing, rows, fault } = look;
        if let Some(detail) = fault {
            return Err(Error::NoObjects { name: plain(&self.label), rows, detail: plain(&detail) });
        }
        match missing.first() {
            Some(column) => Err(known.unknown(&self.label, column)),
            None => Ok(known),
        }
    }

    /// The columns that the format declares before any row.
    pub(super) fn columns(&self) -> Option<Vec<Column>> {
        self.sequence.columns()
    }

    /// The values of these columns in the current row, or why it cannot be read.
    pub(super) fn values(&mut self, columns: &[String]) -> Result<Vec<Option<Value>>, String> {
        self.sequence.roots(columns)
    }

    /// The current row of JSON, and whether it has integers of more than 64 bits, which are strings of their digits then.
    pub(super) fn object(&mut self) -> Result<(Map<String, Value>, bool), String> {
        self.sequence.object()
    }

    /// The schema of an Arrow file, as it is written.
    pub(super) fn arrow_schema(&self) -> Option<SchemaRef> {
        let Sequence::Arrow(rows) = &self.sequence else { return None };
        Some(Arc::new(rows.schema().clone()))
    }

    /// The schema that batches of an Arrow file are decoded in, where text is bytes.
    pub(super) fn decoded_schema(&self) -> Option<SchemaRef> {
        let Sequence::Arrow(rows) = &self.sequence else { return None };
        Some(rows.decoded_schema())
    }

    /// The number of the current batch of an Arrow file, and of the current row in it.
    pub(super) fn place(&self) -> Option<(u64, usize)> {
        let Sequence::Arrow(rows) = &self.sequence else { return None };
        rows.place()
    }

    /// The current batch of an Arrow file, decoded, or why none of its rows can be read.
    pub(super) fn batch(&mut self) -> Result<RecordBatch, String> {
        let Sequence::Arrow(rows) = &mut self.sequence else { return Err("no batch".into()) };
        rows.batch().cloned()
    }

    /// About how many bytes the current row has.
    pub(super) fn size(&self) -> usize {
        usize::try_from(self.sequence.size()).unwrap_or(usize::MAX)
    }

    /// The current row, which is this one of the file.
    pub(super) fn read(&mut self, row: u64, wanted: &Wanted) -> Row {
        match self.sequence.roots(wanted.picker.roots()) {
            Ok(mut roots) => Ok(wanted.record(row, &mut roots)),
            Err(detail) => Err(wanted.unreadable(row, &detail)),
        }
    }
}

fn unpacked(kind: &Kind, input: Input, label: &str) -> Result<Sequence, Broken> {
    Sequence::open(kind, decompressed(input, label)?)
}

/// How the rows of a file are found, which is more than its format.
fn kind(member: &Member) -> Kind {
    let parameters = &member.parameters;
    match member.format {
        Format::Jsonl => Kind::Jsonl,
        // A parquet file never comes here; its rows are not found from front to back.
        Format::Json | Format::Parquet => Kind::Json { field: parameters.field.clone() },
        Format::Csv { separator } => Kind::Csv { separator: parameters.separator.unwrap_or(separator) },
        Format::Text => {
            let by = match parameters.sample_by {
                layout::Unit::Line => Unit::Line,
                layout::Unit::Paragraph => Unit::Paragraph,
                layout::Unit::Document => Unit::Document,
            };
            Kind::Text { by }
        }
        Format::Arrow => Kind::Arrow,
    }
}

/// The file of a member, as it is stored.
pub(super) fn input(member: &Member, runtime: &Handle) -> Result<Input, Error> {
    match &member.at {
        At::Local(path) => Ok(Box::new(File::open(path).map_err(|error| Error::io(&member.label, error))?)),
        At::Hub(file) => Ok(Box::new(Remote::open(file, runtime))),
    }
}

/// The file of a member on this machine that is not compressed.
fn plain_file(member: &Member) -> Result<Option<File>, Error> {
    let (At::Local(path), Compression::None) = (&member.at, member.compression) else { return Ok(None) };
    let failed = |error: io::Error| Error::io(&member.label, error);
    let mut file = File::open(path).map_err(failed)?;
    let mut start = Vec::new();
    file.by_ref().take(LONGEST_MAGIC).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
    Ok(Some(file).filter(|_| !is_compressed(&start)))
}

/// The file of a member, if it is a plain file of JSON lines on this machine, whose rows can be come back to.
pub(super) fn plain_lines(member: &Member) -> Result<Option<File>, Error> {
    if member.format == Format::Jsonl { plain_file(member) } else { Ok(None) }
}
