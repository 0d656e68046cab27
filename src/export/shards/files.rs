//! The files of a split: numbered while they are written, named when it is known how many they are.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{Shard, To};
use crate::export::Error;

/// The files of a split.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    split: String,
    ending: &'static str,
    done: Vec<Done>,
}

/// A file that is complete.
#[derive(Debug)]
struct Done {
    path: PathBuf,
    rows: u64,
    bytes: u64,
}

impl Files {
    pub(super) fn new(folder: PathBuf, split: &str, to: To) -> Self {
        Self { folder, split: split_name(split).to_owned(), ending: to.ending(), done: Vec::new() }
    }

    /// The folder that they lie in.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many are complete.
    pub(super) fn complete(&self) -> usize {
        self.done.len()
    }

    /// Opens the next one.
    pub(super) fn open(&self) -> Result<(File, PathBuf), Error> {
        let path = self.folder.join(format!("{}-{:05}.{}.part", self.split, self.done.len(), self.ending));
        let file = File::create(&path).map_err(Error::output(&path))?;
        Ok((file, path))
    }

    /// Notes that one is complete, once its bytes are on the disk.
    pub(super) fn close(&mut self, file: &File, path: PathBuf, rows: u64) -> Result<(), Error> {
        file.sync_all().map_err(Error::output(&path))?;
        let bytes = file.metadata().map_err(Error::output(&path))?.len();
        self.done.push(Done { path, rows, bytes });
        Ok(())
    }

    /// Gives them their names.
    pub(super) fn name(self) -> Result<Vec<Shard>, Error> {
        let count = self.done.len();
        let named = self.done.into_iter().enumerate().map(|(nth, done)| {
            let name = format!("{}-{nth:05}-of-{count:05}.{}", self.split, self.ending);
            let path = self.folder.join(&name);
            fs::rename(&done.path, &path).map_err(Error::output(&path))?;
            Ok(Shard { name, rows: done.rows, bytes: done.bytes })
        });
        named.collect()
    }
}

/// The name that the split of an output has in its files, its card and for loading: the one that was asked for, or `train`
/// in place of what `datasets` does not take for one split's name, such as `train+test` and `all`.
pub fn split_name(asked: &str) -> &str {
    if is_split(asked) && asked != "all" { asked } else { "train" }
}

/// Whether `datasets` takes it for a split's name: `\w+(\.\w+)*`, of which the part that file names keep whole.
fn is_split(name: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    name.len() <= 100 && name.split('.').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_that_is_no_name_of_one_is_train() {
        for name in ["train", "test_2", "validation.matched"] {
            assert_eq!(Files::new(PathBuf::new(), name, To::Parquet).split, name);
        }
        for name in ["", "../up", "a/b", "a-b", ".", "a..b", "é", "a\n", "all", "train+test", "test[:10]"] {
            assert_eq!(Files::new(PathBuf::new(), name, To::Parquet).split, "train", "{name:?}");
        }
    }
}
