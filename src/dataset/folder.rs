//! A folder on this machine as a dataset: its files, and what `save_to_disk` says of them.

use super::error::{Error, plain};
use super::{layout, own};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// A folder of more files than this is no dataset but a mistake.
const MOST: usize = 1_000_000;

/// The first bytes of what this program writes: lines of ratings, the note of their run beside them, and the table of
/// summaries. In a folder that is given as a dataset such files are no data.
pub const OWN_MARKS: [&[u8]; 3] =
    [b"{\"v\":1,\"id\":", b"{\n  \"v\": 1,\n  \"run\": \"", b"Dataset,Lens,Poor,Low,Medium,Good,Total"];

/// The receipt that lies in a folder of kept rows, which this program has written, and how it begins. Such a folder is a
/// dataset like any other when it is named itself; inside of another one it is no data.
pub const OUTPUT_RECEIPT: (&str, &[u8]) = ("classified.json", b"{\"v\":1,\"output\":");

/// What the first line of a rating has further on, whatever it is.
const OWN_LENS: &[u8] = b",\"lens\":\"";

/// The files of a folder and of the folders in it: paths with `/` between the names, and sizes in bytes, in order.
///
/// Links to files are followed, as a snapshot in the Hub's cache consists of them; links to folders are not. What is
/// passed over that may be data is told in `notes`.
pub(super) fn files(folder: &Path, name: &str, notes: &mut Vec<String>) -> Result<Vec<(String, u64)>, Error> {
    let failed = |error| Error::io(name, error);
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is no Unicode cannot be shown, matched or written into an id.
            let own = match entry.file_name().into_string() {
                Ok(own) => own,
                Err(own) => {
                    notes.push(format!(
                        "not read: `{}`, whose name is no Unicode",
                        plain(&own.to_string_lossy())
                    ));
                    continue;
                }
            };
            let path = format!("{prefix}{own}");
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                if own != ".git" {
                    folders.push((entry.path(), format!("{path}/")));
                }
            } else {
                match fs::metadata(entry.path()) {
                    Ok(metadata) if metadata.is_file() => files.push((path, metadata.len())),
                    // A link to nothing: what it should lead to may be most of the rows.
                    Err(error) if layout::format_of(&path).is_ok() => {
                        return Err(Error::io(&format!("{name}: {path}"), error));
                    }
                    Ok(_) | Err(_) => {}
                }
            }
            if files.len() + folders.len() > MOST {
                return Err(Error::TooManyFiles { name: plain(name), most: MOST });
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Whether this program wrote the file.
fn is_own(path: &Path) -> bool {
    const LOOK: u64 = 4096;
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LOOK).read_to_end(&mut start));
    let [line, ..] = OWN_MARKS;
    let is_line = || memchr::memmem::find(&start, OWN_LENS).is_some();
    read.is_ok() && OWN_MARKS.iter().any(|mark| start.starts_with(mark) && (*mark != line || is_line()))
}

/// Takes out of a folder's files those that this program wrote, and names them: its results, whole folders of kept rows
/// (and what is kept aside until they are complete), each by the folder. The receipt of the folder itself is no data either.
pub(super) fn take_own(folder: &Path, files: &mut Vec<(String, u64)>) -> Vec<String> {
    let (receipt, mark) = OUTPUT_RECEIPT;
    let is_receipt =
        |path: &str| path.rsplit('/').next() == Some(receipt) && begins_with(&folder.join(path), mark);
    let mut outputs: BTreeSet<String> = BTreeSet::new();
    for (path, _) in files.iter() {
        let work = folders(path).find(|folder| is_work(folder));
        let output =
            || path.rsplit_once('/').filter(|_| is_receipt(path)).map(|(folder, _)| format!("{folder}/"));
        outputs.extend(work.map(str::to_owned).or_else(output));
    }
    let mut taken = BTreeSet::new();
    files.retain(|(path, _)| {
        if let Some(output) = folders(path).find(|folder| outputs.contains(*folder)) {
            taken.insert(output.to_owned());
            return false;
        }
        let is_result = |file: &Path| is_own(file) || own::is_scores(file);
        let is_own = layout::format_of(path).is_ok() && is_result(&folder.join(path));
        if is_own {
            taken.insert(path.clone());
        }
        !is_own && !is_receipt(path)
    });
    taken.into_iter().collect()
}

/// The folders that a path leads through, the outermost first, each with its `/`.
fn folders(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..=end])
}

/// Whether a folder, whose path ends in `/`, is what an output is kept in until it is complete: `.NAME.part`.
fn is_work(folder: &str) -> bool {
    let name = folder.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    name.strip_prefix('.').and_then(|name| name.strip_suffix(".part")).is_some_and(|name| !name.is_empty())
}

fn begins_with(path: &Path, mark: &[u8]) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(mark.len() as u64).read_to_end(&mut start));
    read.is_ok() && start == mark
}

/// What `save_to_disk` of the Python library left in a folder.
#[derive(Debug)]
pub(super) enum Saved {
    /// A dataset: its files in order, and the split that it was, if it was one.
    One(Vec<String>, Option<String>),
    /// A dictionary of datasets: each split's name, which is its folder's, and its files.
    Splits(Vec<(String, Vec<String>)>),
}

#[derive(Deserialize)]
struct State {
    #[serde(rename = "_data_files")]
    files: Vec<DataFile>,
    #[serde(rename = "_split")]
    split: Option<String>,
}

#[derive(Deserialize)]
struct DataFile {
    filename: String,
}

#[derive(Deserialize)]
struct Dictionary {
    splits: Vec<String>,
}

/// Reads the notes of `save_to_disk`; `None` if there are none.
pub(super) fn saved(folder: &Path, name: &str) -> Result<Option<Saved>, Error> {
    if let Some(dictionary) = note::<Dictionary>(&folder.join("dataset_dict.json"), name)? {
        let mut splits = Vec::new();
        for split in dictionary.splits {
            let inner = folder.join(within(&split, name)?);
            let Some(state) = note::<State>(&inner.join("state.json"), name)? else {
                let detail = format!("split {split} has no state.json");
                return Err(Error::corrupt(name, "is not a whole saved dataset", &detail));
            };
            let files = data_files(&state, &format!("{split}/"), name)?;
            splits.push((split, files));
        }
        return Ok(Some(Saved::Splits(splits)));
    }
    if !folder.join("dataset_info.json").is_file() {
        return Ok(None);
    }
    let Some(state) = note::<State>(&folder.join("state.json"), name)? else { return Ok(None) };
    Ok(Some(Saved::One(data_files(&state, "", name)?, state.split)))
}

fn data_files(state: &State, prefix: &str, name: &str) -> Result<Vec<String>, Error> {
    let files = state.files.iter().map(|file| Ok(format!("{prefix}{}", within(&file.filename, name)?)));
    files.collect()
}

/// A name out of a note, which may not lead out of the folder.
fn within<'n>(file: &'n str, name: &str) -> Result<&'n str, Error> {
    let is_inside = Path::new(file).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if is_inside && !file.is_empty() {
        return Ok(file);
    }
    Err(Error::corrupt(name, "is not a saved dataset", &format!("it names a file outside of itself: {file}")))
}

fn note<T: for<'de> Deserialize<'de>>(path: &Path, name: &str) -> Result<Option<T>, Error> {
    const LONGEST: u64 = 64 << 20;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(name, error)),
    };
    let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let broken =
        |detail: String| Error::corrupt(name, &format!("has a {file_name} that cannot be read"), &detail);
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).map_err(|error| Error::io(name, error))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| broken(error.to_string()))
}

/// Whether this is a pointer of Git LFS, which a clone without LFS has in the data's stead.
pub(super) fn is_lfs_pointer(path: &Path) -> io::Result<bool> {
    const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";
    let mut start = Vec::new();
    File::open(path)?.take(POINTER.len() as u64).read_to_end(&mut start)?;
    Ok(start == POINTER)
}

/// Copies a stream into a file that is gone when the program ends, and gives its path.
pub(super) fn spooled(mut from: impl io::Read, name: &str) -> Result<Spool, Error> {
    let mut file = tempfile::Builder::new()
        .prefix("classified-")
        .suffix(".jsonl")
        .tempfile()
        .map_err(|error| Error::io(name, error))?;
    io::copy(&mut from, &mut file).map_err(|error| Error::io(name, error))?;
    Ok(Spool(file.into_temp_path()))
}

/// A file that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Spool(tempfile::TempPath);

impl Spool {
    pub(super) fn path(&self) -> PathBuf {
        self.0.to_path_buf()
    }
}
