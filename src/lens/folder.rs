//! The files of one lens: a folder of the user's, texts that are part of the program, or texts that were kept of a lens.
//!
//! A lens may come from a stranger, and what its templates include is sent to an endpoint. So nothing outside
//! of its own folder can be read: no `..`, no absolute path, no link that leads out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The largest file of a lens, in bytes. Prompts of this size would not fit any model.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Names and texts of the files of a built-in lens.
pub(super) type Files = [(&'static str, &'static str)];

/// Where the files of a lens are read from.
#[derive(Debug, Clone)]
pub(super) enum Folder {
    /// Embedded in the program.
    BuiltIn(&'static Files),
    /// On disk, as a canonical path.
    Disk(PathBuf),
    /// Texts by name.
    Kept(Arc<BTreeMap<String, String>>),
}

impl Folder {
    /// The folder at `path`, its links resolved.
    pub(super) fn on_disk(path: &Path) -> io::Result<Self> {
        Ok(Self::Disk(fs::canonicalize(path)?))
    }

    /// The text of a file by its name within the folder, without byte order mark and with `\n` line ends;
    /// `None` if there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<Cow<'static, str>>, String> {
        match self {
            Self::BuiltIn(files) => {
                Ok(files.iter().find(|(file, _)| *file == name).map(|(_, text)| Cow::Borrowed(*text)))
            }
            Self::Disk(root) => Ok(read_within(root, name)?.map(Cow::Owned)),
            Self::Kept(texts) => Ok(texts.get(name).cloned().map(Cow::Owned)),
        }
    }
}

fn read_within(root: &Path, name: &str) -> Result<Option<String>, String> {
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || !inside {
        return Err("only files of the lens's own folder can be read, by their relative path".to_owned());
    }
    let path = match fs::canonicalize(root.join(name)) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    if !path.starts_with(root) {
        return Err("a link that leads out of the lens's folder is not followed; copy the file".to_owned());
    }
    let bytes = read_bytes(&path).map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        format!("not UTF-8 at byte {}; save it as UTF-8", error.utf8_error().valid_up_to())
    })?;
    Ok(Some(text.trim_start_matches('\u{feff}').replace("\r\n", "\n")))
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    // Asked before opening: opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("larger than 1 MiB, the most a file of a lens may be"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("lens")).unwrap();
        fs::write(temp.path().join("secret.txt"), "secret").unwrap();
        let folder = Folder::on_disk(&temp.path().join("lens")).unwrap();
        (temp, folder)
    }

    #[test]
    fn a_path_that_leaves_the_folder_is_refused() {
        let (temp, folder) = folder();
        let absolute = temp.path().join("secret.txt").display().to_string();
        for name in ["../secret.txt", "a/../../secret.txt", "./x", "", absolute.as_str()] {
            assert!(folder.read(name).unwrap_err().contains("own folder"), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_the_folder_is_refused_and_one_within_it_is_followed() {
        let (temp, folder) = folder();
        let lens = temp.path().join("lens");
        fs::write(lens.join("a.jinja"), "inside").unwrap();
        std::os::unix::fs::symlink("../secret.txt", lens.join("out.jinja")).unwrap();
        std::os::unix::fs::symlink("a.jinja", lens.join("in.jinja")).unwrap();
        assert!(folder.read("out.jinja").unwrap_err().contains("leads out"));
        assert_eq!(folder.read("in.jinja").unwrap().unwrap(), "inside");
    }

    #[test]
    fn a_file_that_is_too_large_not_utf8_or_a_folder_is_refused() {
        let (temp, folder) = folder();
        let lens = temp.path().join("lens");
        fs::write(lens.join("large"), vec![b'a'; (1 << 20) + 1]).unwrap();
        fs::write(lens.join("most"), vec![b'a'; 1 << 20]).unwrap();
        fs::write(lens.join("latin1"), b"caf\xe9").unwrap();
        fs::create_dir(lens.join("dir")).unwrap();
        assert!(folder.read("large").unwrap_err().contains("larger than 1 MiB"));
        assert_eq!(folder.read("most").unwrap().unwrap().len(), 1 << 20);
        assert!(folder.read("latin1").unwrap_err().contains("not UTF-8 at byte 3"));
        assert!(folder.read("dir").unwrap_err().contains("not a regular file"));
        assert!(folder.read("missing").unwrap().is_none());
    }

    #[test]
    fn windows_line_ends_and_a_byte_order_mark_do_not_change_the_text() {
        let (temp, folder) = folder();
        fs::write(temp.path().join("lens/a"), "\u{feff}one\r\ntwo\r\n").unwrap();
        assert_eq!(folder.read("a").unwrap().unwrap(), "one\ntwo\n");
    }
}
