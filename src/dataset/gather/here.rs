//! Datasets on this machine: files, folders, pipes.

use super::{At, Found, Listing, Member, Root, SHOWN};
use crate::dataset::error::{Error, listed as listed_names, plain};
use crate::dataset::folder::{self, Saved, Spool};
use crate::dataset::layout::{self, Card, Compression, Format, Parameters};
use crate::dataset::place::Place;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// What is on this machine.
pub(super) fn here(place: Place, name: &str) -> Result<(Found, Option<Spool>), Error> {
    let spooled = |from: &mut dyn io::Read, path: &str| {
        let spool = folder::spooled(from, name)?;
        let mut member = file(&spool.path(), name)?;
        path.clone_into(&mut member.path);
        member.format = Format::Jsonl;
        Ok((Found::File(Box::new(member)), Some(spool)))
    };
    match place {
        Place::File(path) => Ok((Found::File(Box::new(file(&path, name)?)), None)),
        Place::Stdin => spooled(&mut io::stdin().lock(), "-"),
        Place::Pipe(path) => {
            let mut pipe = File::open(&path).map_err(|error| Error::io(name, error))?;
            spooled(&mut pipe, &own_name(&path, name))
        }
        Place::Folder(path) => Ok((Found::Listing(Box::new(local(path, name)?)), None)),
        Place::Hub(_) => Err(Error::Missing { name: plain(name), hint: String::new() }),
    }
}

fn own_name(path: &Path, name: &str) -> String {
    path.file_name().map_or_else(|| name.to_owned(), |file| file.to_string_lossy().into_owned())
}

/// A single file on this machine.
fn file(path: &Path, name: &str) -> Result<Member, Error> {
    let size = fs::metadata(path).map_err(|error| Error::io(name, error))?.len();
    let (format, compression) = match layout::format_of(&own_name(path, name)) {
        Ok(known) => known,
        Err(fault) => (by_content(path, name)?.ok_or_else(|| Error::layout(name, fault))?, Compression::None),
    };
    Ok(Member {
        path: own_name(path, name),
        label: name.to_owned(),
        size,
        format,
        compression,
        parameters: Parameters::default(),
        at: At::Local(path.to_owned()),
    })
}

/// The format of a file whose name does not tell.
fn by_content(path: &Path, name: &str) -> Result<Option<Format>, Error> {
    const PEEK: u64 = 4096;
    let mut start = Vec::new();
    let peeked = File::open(path).and_then(|file| file.take(PEEK).read_to_end(&mut start));
    peeked.map_err(|error| Error::io(name, error))?;
    let text = start.trim_ascii_start();
    Ok(match () {
        () if start.starts_with(b"PAR1") => Some(Format::Parquet),
        () if start.starts_with(b"ARROW1") || start.starts_with(&[0xff; 4]) => Some(Format::Arrow),
        () if text.starts_with(b"{\"") => Some(Format::Jsonl),
        () => None,
    })
}

/// The files of a folder on this machine.
fn local(path: PathBuf, name: &str) -> Result<Listing, Error> {
    if ["blobs", "snapshots"].iter().all(|inner| path.join(inner).is_dir()) {
        return Err(Error::CacheFolder { name: plain(name) });
    }
    let mut notes = Vec::new();
    let mut files = folder::files(&path, name, &mut notes)?;
    if let Some(saved) = folder::saved(&path, name)? {
        let is_one_split = matches!(saved, Saved::One(..));
        let splits = match saved {
            Saved::One(files, split) => vec![(split.unwrap_or_else(|| "train".into()), files)],
            Saved::Splits(splits) => splits,
        };
        let card = Card::of(vec![("default".into(), splits)]);
        return Ok(Listing {
            card,
            paths: paths(&files),
            root: Root::Folder(path, files),
            is_one_split,
            notes,
        });
    }
    let own = folder::take_own(&path, &mut files);
    if !own.is_empty() {
        notes.push(format!(
            "not read, as results of this program: {}",
            listed_names(own.iter().map(String::as_str), SHOWN)
        ));
    }
    let text = |file: &str| files.iter().any(|(path, _)| path == file).then(|| read(&path.join(file)));
    let card = layout::card(text("README.md").as_deref(), text(".huggingface.yaml").as_deref());
    let card = card.map_err(|fault| Error::layout(name, fault))?;
    Ok(Listing { card, paths: paths(&files), root: Root::Folder(path, files), is_one_split: false, notes })
}

fn paths(files: &[(String, u64)]) -> Vec<String> {
    files.iter().map(|(path, _)| path.clone()).collect()
}

/// The text of a card, or nothing where it cannot be read.
fn read(path: &Path) -> String {
    const LONGEST: u64 = 4 << 20;
    let mut text = Vec::new();
    let file = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    file.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&text).into_owned())
}
