//! Parquet files: their footers say how many rows they have.

use super::{Begun, Opening, Part, Sketch, Work};
use crate::dataset::blocks::Blocks;
use crate::dataset::bytes::Bytes;
use crate::dataset::error::Error;
use crate::dataset::gather::{At, Member};
use crate::dataset::parquet::Footer;
use crate::dataset::sample::{Chosen, Draw, by_file};
use crate::dataset::{Drawn, read, stages};
use futures::stream::{self, StreamExt as _};
use std::fs::File;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The last bytes of files; nothing of a file on this machine.
type Tails = std::vec::IntoIter<Option<Result<bytes::Bytes, Error>>>;

impl Opening<'_> {
    /// Parquet files of which every footer is read.
    pub(super) fn counted_parquet(&self, members: Vec<Member>) -> Result<Sketch, Error> {
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

    /// Streamed parquet files that are opened one after another, as they are read.
    pub(super) fn parquet_in_order(&self, members: Vec<Member>) -> Result<Sketch, Error> {
        let Some(first) = members.first() else { return Err(self.empty()) };
        let tail = self.tails([first].into_iter()).next().flatten().transpose()?;
        let footer = footer(first, tail, &self.runtime)?;
        footer.check(&self.wanted(), &first.label)?;
        let columns = footer.known.columns.clone();
        let mut begun = Some(Begun::Footer(Box::new(footer)));
        Ok(self.uncounted(columns, members, |_| begun.take().unwrap_or(Begun::Nothing)))
    }

    /// Very many streamed parquet files: some are drawn by their size, and rows within them.
    pub(super) fn two_stages(&self, members: &[Member], rows: u64, seed: u64) -> Result<Sketch, Error> {
        let of = members.len();
        let sizes = members.iter().map(|member| (member.path.as_str(), member.size));
        let order = stages::files(sizes, members.len(), seed);
        let (mut parts, mut columns) = (Vec::new(), None);
        let (mut looked, mut found, mut taken) = (0, 0, 0);
        // From as many files as `--max-files` says; from further ones only when all rows of these are taken, so that a
        // smaller sample is in a larger one.
        for files in order.chunks(self.request.max_files) {
            let footers = self.footers_of(members, files, rows - taken)?;
            looked += footers.len();
            let counts: Vec<u64> = footers.iter().map(|footer| footer.rows).collect();
            let shares = stages::shares(&counts, rows - taken);
            for ((index, footer), share) in files.iter().zip(footers).zip(shares) {
                found += footer.rows;
                taken += share;
                columns.get_or_insert_with(|| footer.known.columns.clone());
                if share > 0 {
                    parts.push(self.share(&members[*index], *index, footer, (share, seed))?);
                }
            }
            if taken == rows {
                break;
            }
        }
        let Some(columns) = columns else { return Err(self.empty()) };
        parts.sort_unstable_by_key(|part| part.index);
        // Where all rows of all files come, nothing was drawn.
        let all = Some(found).filter(|found| looked == order.len() && *found == taken);
        let drawn = all.map_or(Drawn::TwoStages { files: parts.len(), of }, |_| Drawn::All);
        Ok(Sketch { columns, rows: all, sampled: Some(taken), drawn, work: Work::Parts(parts, u64::MAX) })
    }

    /// The footers of the first of these files, of as many as can give a row each when `rows` are wanted.
    fn footers_of(&self, members: &[Member], files: &[usize], rows: u64) -> Result<Vec<Footer>, Error> {
        let wanted = usize::try_from(rows).unwrap_or(usize::MAX);
        let (mut footers, mut filled) = (Vec::new(), 0);
        while filled < wanted && footers.len() < files.len() {
            let left = &files[footers.len()..];
            let next = left.iter().take(wanted - filled).map(|index| &members[*index]);
            for (member, tail) in next.clone().zip(self.tails(next)) {
                self.check_stop()?;
                let footer = footer(member, tail.transpose()?, &self.runtime)?;
                footer.check(&self.wanted(), &member.label)?;
                filled += usize::from(footer.rows > 0);
                footers.push(footer);
            }
        }
        Ok(footers)
    }

    /// A uniform sample of one file: so many rows, by this seed.
    fn share(
        &self,
        member: &Member,
        index: usize,
        footer: Footer,
        (share, seed): (u64, u64),
    ) -> Result<Part, Error> {
        let mut draw = Draw::new(share, seed);
        draw.file(0, &member.path);
        self.offer_all(&mut draw, footer.rows)?;
        let chosen = by_file(draw.finish(), 1).pop().unwrap_or(Chosen::Head(0));
        let begun = Begun::Footer(Box::new(footer));
        Ok(Part { index, member: member.clone(), chosen, is_counted: true, begun })
    }

    fn tails<'m>(&self, members: impl Iterator<Item = &'m Member>) -> Tails {
        tails(members, &self.runtime)
    }
}

/// How many footers are fetched at a time.
const AT_ONCE: usize = 8;

/// The last bytes of streamed files, a few fetched at a time; nothing of files on this machine.
fn tails<'m>(members: impl Iterator<Item = &'m Member>, runtime: &Handle) -> Tails {
    let files: Vec<_> = members
        .map(|member| match &member.at {
            At::Hub(file) => Some(file.clone()),
            At::Local(_) => None,
        })
        .collect();
    let tails =
        stream::iter(files).map(|file| async move { Some(read::tail(&file?).await.map_err(Error::from)) });
    runtime.block_on(tails.buffered(AT_ONCE).collect::<Vec<_>>()).into_iter()
}

/// Shows the footer of each parquet file whose rows come, `most` rows at most. What is fetched of streamed files is kept
/// in their parts.
pub(in crate::dataset) fn each_footer(
    parts: &mut [Part],
    most: u64,
    runtime: &Handle,
    show: &mut dyn FnMut(&Member, &Footer) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut rows = 0_u64;
    for parts in parts.chunks_mut(AT_ONCE) {
        let unread = parts.iter().filter(|part| !matches!(part.begun, Begun::Footer(_)));
        let mut tails = tails(unread.map(|part| &part.member), runtime);
        for part in parts {
            if rows >= most {
                return Ok(());
            }
            if !matches!(part.begun, Begun::Footer(_)) {
                let read = footer(&part.member, tails.next().flatten().transpose()?, runtime)?;
                part.begun = Begun::Footer(Box::new(read));
            }
            if let Begun::Footer(footer) = &part.begun {
                show(&part.member, footer)?;
                rows = rows.saturating_add(part.chosen.count().min(footer.rows));
            }
            // A file on this machine is opened again: there may be more of them than can be open at a time.
            if matches!(part.member.at, At::Local(_)) {
                part.begun = Begun::Nothing;
            }
        }
    }
    Ok(())
}

/// The footer of a parquet file.
pub(in crate::dataset) fn footer(
    member: &Member,
    tail: Option<bytes::Bytes>,
    runtime: &Handle,
) -> Result<Footer, Error> {
    let bytes = match &member.at {
        At::Local(path) => {
            Bytes::Local(Arc::new(File::open(path).map_err(|error| Error::io(&member.label, error))?))
        }
        At::Hub(file) => Bytes::Hub(Arc::new(Blocks::new(file.clone(), tail, runtime.clone()))),
    };
    Footer::read(bytes, &member.label)
}
