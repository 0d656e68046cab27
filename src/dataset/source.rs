//! From a name on the command line to an open file of a known format.

use super::error::{Error, listed, nearest, plain};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _};
use std::path::Path;

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Parquet,
    Lines,
}

/// An open file, at its start.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: File,
    /// The file's name without its folders.
    pub(super) path: String,
    pub(super) format: Format,
}

/// Opens the file that the user named.
pub(super) fn open(name: &str) -> Result<Source, Error> {
    let path = Path::new(name);
    // Asked before opening, because opening a pipe waits for its writer.
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename => missing(name),
        _ => Error::io(name, error),
    })?;
    if metadata.is_dir() {
        return Err(folder(name));
    }
    if !metadata.is_file() {
        return Err(Error::NotAFile { name: plain(name) });
    }
    let mut file = File::open(path).map_err(|error| Error::io(name, error))?;
    let format = format(name, &mut file)?;
    let path = path.file_name().map(|file| file.to_string_lossy().into_owned());
    Ok(Source { file, path: path.unwrap_or_else(|| name.to_owned()), format })
}

fn format(name: &str, file: &mut File) -> Result<Format, Error> {
    const PEEK: u64 = 4096;
    let error = |problem: String| Error::Format { name: plain(name), problem };
    let mut start = Vec::new();
    let peeked = file.by_ref().take(PEEK).read_to_end(&mut start).and_then(|_| file.rewind());
    peeked.map_err(|source| Error::io(name, source))?;

    if let Some(format) = by_extension(name) {
        return Ok(format);
    }
    if extension(name).as_deref() == Some("json") {
        let text = start.strip_prefix(BOM).unwrap_or(&start).trim_ascii_start();
        return match text.first() {
            Some(b'{') | None => Ok(Format::Lines),
            Some(b'[') => Err(error("holds a JSON array, and arrays are not read yet".into())),
            Some(_) => Err(error("holds no JSON objects".into())),
        };
    }
    if start.starts_with(b"PAR1") {
        return Ok(Format::Parquet);
    }
    Err(error(match extension(name) {
        Some(extension) => format!("is a .{} file", plain(&extension)),
        None => "has no file name extension".into(),
    }))
}

/// The mark of UTF-8 that some editors write at the start of a file.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

fn extension(name: &str) -> Option<String> {
    Path::new(name).extension().map(|extension| extension.to_string_lossy().to_lowercase())
}

fn by_extension(name: &str) -> Option<Format> {
    match extension(name)?.as_str() {
        "parquet" => Some(Format::Parquet),
        "jsonl" | "ndjson" => Some(Format::Lines),
        _ => None,
    }
}

/// The names in a folder, in order; of a folder of very many, some.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    const MOST: usize = 10_000;
    let entries = fs::read_dir(folder)?.take(MOST).filter_map(Result::ok);
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    Ok(names)
}

fn folder(name: &str) -> Error {
    const LISTED: usize = 10;
    let names = match names(Path::new(name)) {
        Ok(names) => names,
        Err(error) => return Error::io(name, error),
    };
    // Folders of our own results are named after the dataset, its extension included.
    let is_data = |file: &&str| {
        let is_read = by_extension(file).is_some() || extension(file).as_deref() == Some("json");
        is_read && Path::new(name).join(file).is_file()
    };
    let files = listed(names.iter().map(String::as_str).filter(is_data), LISTED);
    let files = match files.as_str() {
        "" => "name a file, of which it has none directly inside that is read".into(),
        files => format!("name one of its files: {files}"),
    };
    Error::Folder { name: plain(name), files }
}

fn missing(name: &str) -> Error {
    let path = Path::new(name);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let siblings = names(parent.unwrap_or(Path::new("."))).unwrap_or_default();
    let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
    let near = nearest(&file, siblings.iter().map(String::as_str));
    let hint = match near {
        Some(near) => format!(" (did you mean `{}`?)", plain(&path.with_file_name(near).to_string_lossy())),
        None if is_hub_name(name) => {
            ": datasets of the Hugging Face Hub are not read by this version yet; download a file of it and \
             name that"
                .into()
        }
        None => String::new(),
    };
    Error::Missing { name: plain(name), hint }
}

/// Whether a name looks like `owner/dataset`, or is an address at the Hub.
fn is_hub_name(name: &str) -> bool {
    let word = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain)
    };
    let owned = name.split_once('/').is_some_and(|(owner, dataset)| word(owner) && word(dataset));
    let is_file = by_extension(name).is_some() || extension(name).as_deref() == Some("json");
    name.starts_with("hf://") || name.starts_with("https://huggingface.co/") || (owned && !is_file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn with(files: &[(&str, &[u8])]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    fn open_in(folder: &TempDir, name: &str) -> Result<Source, Error> {
        open(folder.path().join(name).to_str().unwrap())
    }

    /// The message, without the folder's name, which differs from run to run.
    fn refusal(folder: &TempDir, name: &str) -> String {
        let error = open_in(folder, name).unwrap_err();
        assert!(error.is_usage());
        error.to_string().replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn a_format_is_known_by_the_extension_then_by_the_first_bytes() {
        let folder = with(&[
            ("a.PARQUET", b""),
            ("b.jsonl", b"PAR1"),
            ("c.ndjson", b""),
            ("d.json", b"\xef\xbb\xbf \n{}"),
            ("e", b"PAR1..."),
            ("f.data", b"PAR1..."),
        ]);
        let expected =
            [Format::Parquet, Format::Lines, Format::Lines, Format::Lines, Format::Parquet, Format::Parquet];
        for (name, format) in
            ["a.PARQUET", "b.jsonl", "c.ndjson", "d.json", "e", "f.data"].iter().zip(expected)
        {
            let source = open_in(&folder, name).unwrap();
            assert_eq!((source.format, source.path.as_str()), (format, *name));
        }
    }

    #[test]
    fn what_is_not_read_is_told_what_is() {
        let folder = with(&[("a.csv", b"x"), ("b", b"x"), ("c.json", b" [{}]"), ("d.json", b"1")]);
        insta::assert_snapshot!(refusal(&folder, "a.csv"), @"`a.csv` is a .csv file; read are parquet (.parquet) and JSON lines (.jsonl, .ndjson, .json)");
        insta::assert_snapshot!(refusal(&folder, "b"), @"`b` has no file name extension; read are parquet (.parquet) and JSON lines (.jsonl, .ndjson, .json)");
        insta::assert_snapshot!(refusal(&folder, "c.json"), @"`c.json` holds a JSON array, and arrays are not read yet; read are parquet (.parquet) and JSON lines (.jsonl, .ndjson, .json)");
        insta::assert_snapshot!(refusal(&folder, "d.json"), @"`d.json` holds no JSON objects; read are parquet (.parquet) and JSON lines (.jsonl, .ndjson, .json)");
    }

    #[test]
    fn a_folder_lists_its_data_files() {
        let names: Vec<_> = (0..12).map(|n| format!("part-{n:02}.parquet")).collect();
        let mut files: Vec<(&str, &[u8])> =
            names.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
        files.push(("README.md", b""));
        let folder = with(&files);
        let message = open(folder.path().to_str().unwrap()).unwrap_err().to_string();
        assert!(message.contains("is a folder: name one of its files: part-00.parquet, part-01.parquet, "));
        assert!(message.ends_with("part-09.parquet and 2 more"), "{message}");
        let message = open(with(&[("x.md", b"")]).path().to_str().unwrap()).unwrap_err().to_string();
        assert!(message.ends_with("none directly inside that is read"), "{message}");
    }

    #[test]
    fn a_missing_file_has_a_hint() {
        let folder = with(&[("textbooks.parquet", b"")]);
        insta::assert_snapshot!(refusal(&folder, "textbook.parquet"), @"no file `textbook.parquet` (did you mean `textbooks.parquet`?)");
        insta::assert_snapshot!(refusal(&folder, "else.jsonl"), @"no file `else.jsonl`");
        insta::assert_snapshot!(refusal(&folder, "textbooks.parquet/x"), @"no file `textbooks.parquet/x`");
        for name in ["vikp/textbooks", "hf://datasets/vikp/textbooks"] {
            assert!(open(name).unwrap_err().to_string().contains("Hugging Face Hub are not read"), "{name}");
        }
        for name in ["", "no/such/path", "no-such", "vikp/rows.jsonl", "../x"] {
            let error = open(name).unwrap_err();
            assert!(error.is_usage() && !error.to_string().contains("Hub"), "{error}");
        }
        assert!(open("a\0b").unwrap_err().is_usage());
        assert!(open(&"x".repeat(100_000)).unwrap_err().is_usage());
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_not_opened() {
        assert!(matches!(open("/dev/null"), Err(Error::NotAFile { .. })));
    }
}
