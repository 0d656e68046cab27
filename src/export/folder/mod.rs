//! The folder of an output: written aside, moved into place when it is complete, and known by its receipt.
//!
//! `OUT` holds `README.md`, `classified.json` (the receipt) and `data/`; `OUT.unrated.jsonl` lies beside it. Until they
//! are complete all of them are in `.OUT.part/`. An older output is renamed `.OUT.old`, the new one takes its name, and
//! the older one is removed: killed at any moment, one of the two is whole, and the next run puts it in order.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Error;
use super::lock::Lock;
use super::shards::Shard;
use crate::http::plain;
use crate::rating::question::Digest;

/// The receipt's name within an output.
const RECEIPT: &str = "classified.json";

/// The dataset card's name within an output.
const CARD: &str = "README.md";

/// The folder of the shards within an output.
const DATA: &str = "data";

/// The empty file by which a work folder is known.
const MARK: &str = "classified.work";

/// The longest receipt that is read, in bytes: room for a million shards.
const LONGEST_RECEIPT: u64 = 256 << 20;

/// What a complete output says of itself: `classified.json`, by whose first bytes our outputs are known.
///
/// It holds no path and no secret. The order of its keys is fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The version of this form.
    v: u32,
    /// Which command wrote it.
    output: String,
    /// The program's version.
    program: String,
    /// The digest of the job.
    digest: String,
    /// What was meant: dataset, lens, cuts and all else on which the rows depend.
    pub job: Value,
    /// How many rows came in, were kept, dropped and unrated.
    pub counts: Value,
    /// The files in `data/`.
    pub shards: Vec<Shard>,
    /// The digest of the card, so that an edited one is not thrown away.
    card: String,
}

/// What to do with an older output of another job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Older {
    /// It is an error.
    Keep,
    /// It is replaced, if nothing in it is a stranger's (`--force`).
    Replace,
}

/// How an output begins.
#[derive(Debug)]
pub enum Begun {
    /// It is to be written.
    Work(Work),
    /// The same job has been done, and [`Older::Keep`] asks for no other: there is nothing to do.
    Done(Box<Receipt>),
}

/// An output being written. Dropped unfinished, it removes what it has written. Blocks: for threads that may wait.
#[derive(Debug)]
pub struct Work {
    places: Places,
    job: Value,
    is_finished: bool,
    _lock: Lock,
}

/// Where an output and what belongs to it lie.
#[derive(Debug, Clone)]
struct Places {
    /// `OUT`.
    out: PathBuf,
    /// `.OUT.part`.
    part: PathBuf,
    /// `.OUT.old`.
    old: PathBuf,
    /// `OUT.unrated.jsonl`.
    unrated: PathBuf,
}

/// What is at the place of an output.
#[derive(Debug)]
enum There {
    Nothing,
    EmptyFolder,
    Output(Box<Receipt>),
}

impl Work {
    /// Begins the output of `job` at `out`, for this run alone.
    ///
    /// `job` is a JSON object of all that the rows depend on; it goes into the receipt, and two jobs are the same if
    /// they have the same digest. What an earlier run left unfinished is removed first.
    ///
    /// Errors: [`Error::Busy`]; [`Error::Place`] where `out` is no place for a folder, holds something else, or the
    /// output of another job that `older` does not let go.
    pub fn begin(out: &Path, job: Value, older: Older) -> Result<Begun, Error> {
        let places = Places::of(out)?;
        let parent = places.parent();
        fs::create_dir_all(&parent).map_err(Error::output(&parent))?;
        let lock = Lock::take(&places.out, "filter").map_err(Error::of_output)?;
        places.recover()?;
        match places.look()? {
            There::Nothing | There::EmptyFolder => {}
            There::Output(receipt) => {
                let lacking = places.lacking(&receipt);
                let is_same = receipt.digest == Digest::of(&job).to_string() && lacking.is_none();
                if is_same && older == Older::Keep {
                    return Ok(Begun::Done(receipt));
                }
                let why = match lacking {
                    Some(lacking) => format!("is an output of which {lacking}"),
                    None => format!("is the output of another job ({})", differences(&receipt.job, &job)),
                };
                if older == Older::Keep {
                    let problem = format!("{why}: name another folder, or replace it with --force");
                    return Err(Error::place(&places.out, problem));
                }
                places.refuse_strangers(&receipt)?;
            }
        }
        if places.unrated.exists() && !is_unrated(&places.unrated) {
            return Err(Error::place(&places.unrated, "is in the way: move it, or name another folder"));
        }
        fs::create_dir(&places.part).map_err(Error::output(&places.part))?;
        let work = Self { places, job, is_finished: false, _lock: lock };
        let mark = work.places.part.join(MARK);
        File::create(&mark).map_err(Error::output(&mark))?;
        let data = work.data();
        fs::create_dir(&data).map_err(Error::output(&data))?;
        Ok(Begun::Work(work))
    }

    /// The folder for the shards.
    pub fn data(&self) -> PathBuf {
        self.places.part.join(DATA)
    }

    /// Where the scores table between the two passes lies. It is not part of the output.
    pub fn scores_path(&self) -> PathBuf {
        self.places.part.join("scores.parquet")
    }

    /// Where the rows without a rating are written until the output is complete.
    pub fn unrated_path(&self) -> PathBuf {
        self.places.part.join("unrated.jsonl")
    }

    /// Where they lie then: beside the output, not in it.
    pub fn unrated_out(&self) -> &Path {
        &self.places.unrated
    }

    /// Completes the output with its card, and moves it into place.
    pub fn finish(mut self, counts: Value, shards: Vec<Shard>, card: &str) -> Result<Receipt, Error> {
        let receipt = Receipt {
            v: 1,
            output: "filter".to_owned(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            digest: Digest::of(&self.job).to_string(),
            job: std::mem::take(&mut self.job),
            counts,
            shards,
            card: digest(card.as_bytes()),
        };
        self.places.seal(&receipt, card)?;
        // First, for a run that finds the output in place takes all of it for done.
        self.places.move_unrated()?;
        self.places.set_aside()?;
        self.places.move_in()?;
        self.is_finished = true;
        self.places.clear_old()?;
        Ok(receipt)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.is_finished {
            // The next run would do it. A disk that is full is so no longer.
            let _ = clear_work(&self.places.part);
        }
    }
}

impl Places {
    fn of(out: &Path) -> Result<Self, Error> {
        let Some(name) = out.file_name() else {
            return Err(Error::place(out, "is no name for a new folder: name one, such as -o kept"));
        };
        // Without a separator at its end, which would follow a link.
        let out = out.with_file_name(name);
        let hidden = |ending: &str| {
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(ending);
            out.with_file_name(hidden)
        };
        let mut unrated = name.to_owned();
        unrated.push(".unrated.jsonl");
        Ok(Self { part: hidden(".part"), old: hidden(".old"), unrated: out.with_file_name(unrated), out })
    }

    fn parent(&self) -> PathBuf {
        match self.out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Puts in order what a run left that was killed.
    fn recover(&self) -> Result<(), Error> {
        if exists(&self.old) {
            match look(&self.old) {
                Ok(There::Output(receipt)) if exists(&self.out) => remove_output(&self.old, &receipt)?,
                Ok(There::Output(_)) => fs::rename(&self.old, &self.out).map_err(Error::output(&self.out))?,
                // Killed before the last step of its removal.
                Ok(There::EmptyFolder) => fs::remove_dir(&self.old).map_err(Error::output(&self.old))?,
                Ok(There::Nothing) => {}
                Err(Error::Place { .. }) => {
                    return Err(Error::place(&self.old, "is in the way and none of our outputs: move it"));
                }
                Err(error) => return Err(error),
            }
        }
        if exists(&self.part) {
            if !is_work(&self.part) {
                return Err(Error::place(&self.part, "is in the way and no work folder of ours: move it"));
            }
            clear_work(&self.part).map_err(Error::output(&self.part))?;
        }
        Ok(())
    }

    fn look(&self) -> Result<There, Error> {
        look(&self.out)
    }

    /// The first shard of a receipt that is not there, or is not what was written, and which of both.
    fn lacking(&self, receipt: &Receipt) -> Option<String> {
        let data = self.out.join(DATA);
        receipt.shards.iter().find_map(|shard| {
            let is_name = Path::new(&shard.name).components().count() == 1;
            let there = fs::metadata(data.join(&shard.name)).ok().filter(|_| is_name);
            let problem = match there {
                Some(file) if file.len() == shard.bytes => return None,
                Some(_) => "was changed",
                None => "is missing",
            };
            Some(format!("{} {problem}", plain(&shard.name)))
        })
    }

    /// An output is replaced only if all in it is as we wrote it.
    fn refuse_strangers(&self, receipt: &Receipt) -> Result<(), Error> {
        let found = strangers(&self.out, receipt).map_err(Error::output(&self.out))?;
        let Some(first) = found.first() else { return Ok(()) };
        let more = if found.len() > 1 { format!(" and {} more", found.len() - 1) } else { String::new() };
        let problem = format!(
            "holds what we did not write or what was changed since: {}{more}; move it first",
            plain(first)
        );
        Err(Error::place(&self.out, problem))
    }

    /// Makes the work folder a whole output, on the disk.
    fn seal(&self, receipt: &Receipt, card: &str) -> Result<(), Error> {
        write_synced(&self.part.join(CARD), card.as_bytes())?;
        for name in ["scores.parquet", ".scores.parquet.part"] {
            remove_if_there(&self.part.join(name))?;
        }
        let mut text = serde_json::to_vec(receipt)
            .map_err(|error| Error::encode(&self.part.join(RECEIPT), &error.to_string()))?;
        text.push(b'\n');
        // The receipt last: with it the work folder is an output, and the mark is not needed to know it by.
        write_synced(&self.part.join(RECEIPT), &text)?;
        remove_if_there(&self.part.join(MARK))?;
        sync_folder(&self.part.join(DATA))?;
        sync_folder(&self.part)
    }

    /// Puts the list of rows without a rating in its place, or takes an older one away.
    fn move_unrated(&self) -> Result<(), Error> {
        let new = self.part.join("unrated.jsonl");
        if exists(&new) {
            return fs::rename(&new, &self.unrated).map_err(Error::output(&self.unrated));
        }
        if is_unrated(&self.unrated) { remove_if_there(&self.unrated) } else { Ok(()) }
    }

    /// Takes what is at the output's place away from it. The job has taken time: it is looked at again.
    fn set_aside(&self) -> Result<(), Error> {
        match self.look()? {
            There::Nothing => Ok(()),
            There::EmptyFolder => fs::remove_dir(&self.out).map_err(Error::output(&self.out)),
            There::Output(receipt) => {
                self.refuse_strangers(&receipt)?;
                fs::rename(&self.out, &self.old).map_err(Error::output(&self.old))
            }
        }
    }

    fn move_in(&self) -> Result<(), Error> {
        if let Err(error) = fs::rename(&self.part, &self.out) {
            let _ = fs::rename(&self.old, &self.out);
            return Err(Error::output(&self.out)(error));
        }
        sync_folder(&self.parent())
    }

    fn clear_old(&self) -> Result<(), Error> {
        match look(&self.old)? {
            There::Output(receipt) => remove_output(&self.old, &receipt),
            There::Nothing | There::EmptyFolder => Ok(()),
        }
    }
}

/// What is at a place where an output is to be; a thing that is neither that nor an empty folder is an error.
fn look(place: &Path) -> Result<There, Error> {
    let kind = match fs::symlink_metadata(place) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        Err(error) => return Err(Error::output(place)(error)),
    };
    if kind.is_symlink() {
        return Err(Error::place(place, "is a symbolic link: name the folder itself, or another one"));
    }
    if !kind.is_dir() {
        return Err(Error::place(place, "is a file, not a folder: name another one"));
    }
    match read_receipt(place) {
        Ok(Some(receipt)) => Ok(There::Output(Box::new(receipt))),
        Ok(None) if is_empty(place).map_err(Error::output(place))? => Ok(There::EmptyFolder),
        Ok(None) => {
            let problem = "holds something else than an output of this program: name a new folder";
            Err(Error::place(place, problem))
        }
        Err(problem) => {
            let problem =
                format!("has a {RECEIPT} that cannot be read ({}): name a new folder", plain(&problem));
            Err(Error::place(place, problem))
        }
    }
}

/// The receipt of an output; `None` if there is none.
fn read_receipt(folder: &Path) -> Result<Option<Receipt>, String> {
    let path = folder.join(RECEIPT);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = Vec::new();
    file.take(LONGEST_RECEIPT).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let receipt: Receipt = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if receipt.v == 1 { Ok(Some(receipt)) } else { Err(format!("of form {}", receipt.v)) }
}

/// Names of what lies in an output and is not as its receipt says.
fn strangers(folder: &Path, receipt: &Receipt) -> io::Result<Vec<String>> {
    let mut strange = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        let is_ours = match name.as_str() {
            RECEIPT => kind.is_file(),
            CARD => kind.is_file() && fs::read(entry.path()).is_ok_and(|text| digest(&text) == receipt.card),
            DATA => kind.is_dir(),
            _ => false,
        };
        if !is_ours {
            strange.push(name);
        }
    }
    let data = folder.join(DATA);
    if !data.is_dir() {
        return Ok(strange);
    }
    let sizes: std::collections::HashMap<_, _> =
        receipt.shards.iter().map(|shard| (shard.name.as_str(), shard.bytes)).collect();
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let metadata = fs::symlink_metadata(entry.path())?;
        if !metadata.is_file() || sizes.get(name.as_str()) != Some(&metadata.len()) {
            strange.push(format!("{DATA}/{name}"));
        }
    }
    Ok(strange)
}

/// Removes an output: the files of its receipt, and the folders that are empty then. What else came into it stays.
fn remove_output(folder: &Path, receipt: &Receipt) -> Result<(), Error> {
    let data = folder.join(DATA);
    for shard in &receipt.shards {
        // A receipt is a file like any other: no name in it leads elsewhere.
        if Path::new(&shard.name).components().count() == 1 && !shard.name.starts_with('.') {
            remove_if_there(&data.join(&shard.name))?;
        }
    }
    match fs::remove_dir(&data) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::output(&data)(error)),
        Ok(()) | Err(_) => {}
    }
    remove_if_there(&folder.join(CARD))?;
    // The receipt last, for by it the rest is known.
    remove_if_there(&folder.join(RECEIPT))?;
    fs::remove_dir(folder).map_err(Error::output(folder))
}

/// Removes a work folder. That by which it is known goes last, so that the next run knows what is left of it by a kill.
fn clear_work(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == MARK || name == RECEIPT {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    let mark = folder.join(MARK);
    for known_by in [&folder.join(RECEIPT), &mark] {
        match fs::remove_file(known_by) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    fs::remove_dir(folder).inspect_err(|_| {
        // A thread of ours that had not ended made one more file: what is left stays known.
        let _ = File::create_new(&mark);
    })
}

/// Whether a folder is a work folder: one that has our mark or a receipt, or nothing at all yet.
fn is_work(folder: &Path) -> bool {
    let start = b"{\"v\":1,\"output\":\"";
    fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir())
        && (exists(&folder.join(MARK))
            || read_start(&folder.join(RECEIPT), start.len()) == start
            || is_empty(folder).unwrap_or(false))
}

/// Whether a file is a list of rows without a rating, or empty.
fn is_unrated(path: &Path) -> bool {
    let start = super::unrated::START.as_bytes();
    let read = read_start(path, start.len());
    path.is_file() && (read.is_empty() || read == start)
}

fn read_start(path: &Path, bytes: usize) -> Vec<u8> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes as u64).read_to_end(&mut start));
    if read.is_err() {
        start.clear();
    }
    start
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(folder)?.next().is_none())
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::output(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_synced(path: &Path, text: &[u8]) -> Result<(), Error> {
    let written = File::create(path).and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()));
    written.map_err(Error::output(path))
}

/// Makes the names in a folder last; some systems cannot, and need not.
fn sync_folder(folder: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::output(folder))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    Digest(Sha256::digest(bytes).into()).to_string()
}

/// In what two jobs differ, for a person: at most three of the values that do.
fn differences(there: &Value, now: &Value) -> String {
    const MOST: usize = 3;
    let (mut old, mut new) = (Vec::new(), Vec::new());
    leaves(there, String::new(), &mut old);
    leaves(now, String::new(), &mut new);
    let shown = |leaf: Option<&(String, String)>| match leaf {
        Some((_, value)) if value.chars().count() > 60 => {
            format!("{}…", plain(&value.chars().take(60).collect::<String>()))
        }
        Some((_, value)) => plain(value),
        None => "not set".to_owned(),
    };
    let mut names: Vec<&String> = old.iter().chain(&new).map(|(name, _)| name).collect();
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.as_str()));
    let of = |leaves: &[(String, String)]| -> std::collections::HashMap<String, (String, String)> {
        leaves.iter().map(|leaf| (leaf.0.clone(), leaf.clone())).collect()
    };
    let (old, new) = (of(&old), of(&new));
    let differ: Vec<_> = names.into_iter().filter(|name| old.get(*name) != new.get(*name)).collect();
    let mut said: Vec<_> = differ
        .iter()
        .take(MOST)
        .map(|name| {
            format!("{}: there {}, now {}", plain(name), shown(old.get(*name)), shown(new.get(*name)))
        })
        .collect();
    if differ.len() > MOST {
        said.push(format!("and {} more", differ.len() - MOST));
    }
    if said.is_empty() { "of another version of this program".to_owned() } else { said.join("; ") }
}

/// The values of a JSON tree that have none inside them, each with its dotted path and its text.
fn leaves(value: &Value, path: String, into: &mut Vec<(String, String)>) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                leaves(value, if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, into);
            }
        }
        Value::Null => {}
        other => into.push((path, other.to_string())),
    }
}

#[cfg(test)]
mod tests;
