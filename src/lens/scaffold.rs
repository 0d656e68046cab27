//! A new lens to start from: `classified lens new`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Error;
use super::folder::Files;

/// The longest name of a new lens, in bytes: it becomes part of file and column names.
const MAX_NAME: usize = 64;

/// A lens that rates one text overall. It passes the check as it is.
const FILES: &Files = &[
    ("config.json", include_str!("scaffold/config.json")),
    ("functions.json", include_str!("scaffold/functions.json")),
    ("system.jinja", include_str!("scaffold/system.jinja")),
    ("prompt.jinja", include_str!("scaffold/prompt.jinja")),
];

/// Writes the folder `dir/name` with a lens that passes the check, and says where it is. Nothing is overwritten;
/// `dir` is made if it is missing.
pub fn new_folder(dir: &Path, name: &str) -> Result<PathBuf, Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
        return Err(Error::Name {
            name: name.to_owned(),
            expected: "expected at most 64 of the letters a to z, digits and _",
        });
    }
    let folder = dir.join(name);
    let failed = |path: &Path, source| Error::Io { path: path.to_owned(), source };
    fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    fs::create_dir(&folder).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: folder.clone() },
        _ => failed(&folder, error),
    })?;
    for (file, text) in FILES {
        let path = folder.join(file);
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lens::{check, open};

    #[test]
    fn a_new_lens_passes_the_check_and_renders() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("lenses");
        assert_eq!(new_folder(&dir, "my_lens2").unwrap(), dir.join("my_lens2"));
        let lens = open("my_lens2", &[dir]).unwrap();
        assert_eq!(check(&lens), []);
        assert!(lens.render(&["the row"]).unwrap().prompt.contains("\nthe row\n"));
    }

    #[test]
    fn nothing_is_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("mine")).unwrap();
        assert!(matches!(new_folder(temp.path(), "mine"), Err(Error::Exists { .. })));
        fs::write(temp.path().join("file"), "kept").unwrap();
        assert!(matches!(new_folder(temp.path(), "file"), Err(Error::Exists { .. })));
        assert_eq!(fs::read_to_string(temp.path().join("file")).unwrap(), "kept");
    }

    #[test]
    fn a_name_is_lower_case_letters_digits_and_underscores() {
        let temp = tempfile::tempdir().unwrap();
        let long = "a".repeat(65);
        for name in ["", "My", "a-b", "a/b", "..", "ä", "a b", long.as_str()] {
            assert!(matches!(new_folder(temp.path(), name), Err(Error::Name { .. })), "{name}");
        }
        assert!(new_folder(temp.path(), &long[..64]).is_ok());
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}
