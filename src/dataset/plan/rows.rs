//! Files that are read from front to back: their rows are counted by reading, or not at all.

use super::{Begun, Hold, Opening, Part, Sketch, Work};
use crate::dataset::error::Error;
use crate::dataset::gather::Member;
use crate::dataset::read::{self, Cursor};
use crate::dataset::remote::Tape;
use crate::dataset::sample::{self, Chosen, Draw, by_file};
use crate::dataset::sequence::{self, Input, Place};
use crate::dataset::wanted::Wanted;
use crate::dataset::{Column, Drawn, News, Reach, Row};
use crate::rating::run::Sample;

/// The head of a stream of unknown length has this many rows at most, unless more are asked for.
pub(super) const HEAD_ROWS: u64 = 10_000;

/// The head of a stream of unknown length has this many bytes of records at most, unless more rows are asked for.
const HEAD_BYTES: usize = 64 << 20;

/// How many rows are drawn, and by which seed.
#[derive(Clone, Copy)]
pub(super) struct Sampled {
    pub(super) rows: u64,
    pub(super) seed: u64,
}

impl Opening<'_> {
    /// Files on this machine that are read from front to back: they are read once to count their rows.
    pub(super) fn counted(&self, members: Vec<Member>) -> Result<Sketch, Error> {
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
    pub(super) fn in_order(&self, members: Vec<Member>) -> Result<Sketch, Error> {
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
    pub(super) fn held(&self, members: Vec<Member>, sampled: Sampled, hold: Hold) -> Result<Sketch, Error> {
        let Sampled { rows, seed } = sampled;
        if self.request.reach == Reach::Whole {
            let bytes = members.iter().map(|member| member.size).sum::<u64>() as f64;
            self.request.news(&News::Note(&format!("reading the whole stream first: {:.1} MB", bytes / 1e6)));
        }
        let (columns, first, input) = self.look_ahead(&members)?;
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
                draw.offer(row, || (hold == Hold::Records).then(|| cursor.read(row, &wanted)));
                row += 1;
                passed += 1;
            }
        }
        let kept = draw.finish();
        let drawn = match is_whole {
            true if kept.len() as u64 == passed => Drawn::All,
            true => Drawn::Uniform,
            false => Drawn::Head { rows: passed },
        };
        let sampled = Some(kept.len() as u64);
        let work = match hold {
            Hold::Records => Work::Held(kept.into_iter().filter_map(|drawn| drawn.place).collect()),
            Hold::Numbers => Work::Parts(numbered(kept, members), u64::MAX),
        };
        Ok(Sketch { columns, rows: is_whole.then_some(passed), sampled, drawn, work })
    }
}

/// Rows that were drawn from streams, as parts of their files that are read again.
fn numbered(drawn: Vec<sample::Drawn<Option<Row>>>, members: Vec<Member>) -> Vec<Part> {
    let mut rows: Vec<Vec<(u64, Option<Place>)>> = members.iter().map(|_| Vec::new()).collect();
    for drawn in drawn {
        rows[drawn.file].push((drawn.row, None));
    }
    let parts = members.into_iter().zip(rows).enumerate().map(|(index, (member, rows))| Part {
        index,
        member,
        chosen: Chosen::Rows(rows),
        is_counted: true,
        begun: Begun::Nothing,
    });
    parts.filter(|part| part.chosen.count() > 0).collect()
}
