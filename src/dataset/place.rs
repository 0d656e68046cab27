//! From a name on the command line to where the dataset is.

use super::error::{Error, nearest, plain};
use crate::hub;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where a dataset is.
#[derive(Debug)]
pub(super) enum Place {
    /// A file on this machine.
    File(PathBuf),
    /// A pipe, which is copied into a file first: a dataset is read twice.
    Pipe(PathBuf),
    /// Standard input.
    Stdin,
    /// A folder on this machine.
    Folder(PathBuf),
    /// A dataset at the Hub.
    Hub(hub::Name),
}

/// Finds out what the user named. A path that exists wins over a name at the Hub.
pub(super) fn find(name: &str, endpoint: &str) -> Result<Place, Error> {
    if name == "-" {
        return Ok(Place::Stdin);
    }
    let path = PathBuf::from(name);
    // Asked before opening, because opening a pipe waits for its writer.
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) => {
            return match error.kind() {
                ErrorKind::NotFound
                | ErrorKind::NotADirectory
                | ErrorKind::InvalidInput
                | ErrorKind::InvalidFilename => absent(name, endpoint),
                _ => Err(Error::io(name, error)),
            };
        }
    };
    if metadata.is_dir() {
        Ok(Place::Folder(path))
    } else if metadata.is_file() {
        Ok(Place::File(path))
    } else if is_pipe(&metadata) {
        Ok(Place::Pipe(path))
    } else {
        Err(Error::NotAFile { name: plain(name) })
    }
}

#[cfg(unix)]
fn is_pipe(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    metadata.file_type().is_fifo()
}

#[cfg(not(unix))]
fn is_pipe(_: &fs::Metadata) -> bool {
    false
}

/// A name that is no path: a dataset at the Hub, or a slip of the pen.
fn absent(name: &str, endpoint: &str) -> Result<Place, Error> {
    let path = Path::new(name);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let siblings = names(parent.unwrap_or(Path::new(".")));
    let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
    let near = nearest(&file, siblings.iter().map(String::as_str));
    let near = near.map(|near| path.with_file_name(near).to_string_lossy().into_owned());
    let hint = match near {
        Some(near) if near != name => format!(" (did you mean `{}`?)", plain(&near)),
        _ if name.contains(['*', '?']) => {
            "; patterns are not read: name the folder, or the files with commas".into()
        }
        _ if name.matches('/').count() > 1 && !name.starts_with(['/', '.', '~']) => {
            "; a file or folder at the Hub is named hf://datasets/owner/name/path".into()
        }
        _ => String::new(),
    };
    let missing = || Error::Missing { name: plain(name), hint: hint.clone() };
    // A data file's name is meant as a path: `rows.jsonl` and `data/rows.jsonl` could be names at the Hub too.
    let is_file = super::layout::format_of(name).is_ok();
    if is_file && !name.contains("://") {
        return Err(missing());
    }
    match hub::Name::parse(name, endpoint) {
        Some(Ok(found)) => Ok(Place::Hub(found)),
        Some(Err(error)) => Err(error.into()),
        None => Err(missing()),
    }
}

/// The names in a folder; of a folder of very many, some.
fn names(folder: &Path) -> Vec<String> {
    const MOST: usize = 10_000;
    let entries = fs::read_dir(folder).into_iter().flatten().take(MOST).filter_map(Result::ok);
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}
