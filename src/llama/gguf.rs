//! A model's file, or files: who it is.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::Error;
use crate::rating::question::Digest;

/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;

/// The most files that a model comes in; llama.cpp numbers them with five digits.
const MOST_PARTS: u32 = 99_999;

/// A model on this disk: one GGUF file, or the parts that llama.cpp's own tool split it into.
#[derive(Debug)]
pub struct Gguf {
    parts: Vec<PathBuf>,
    /// Bytes of all parts.
    pub bytes: u64,
    /// Digest of paths, sizes and times: while it is the same the files are.
    pub stamp: Digest,
}

impl Gguf {
    /// Looks at the files, without reading them whole.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let parts = parts_of(path)?;
        let mut bytes = 0_u64;
        let mut stamp = Vec::new();
        for part in &parts {
            let failed = |source| Error::File { path: part.clone(), source };
            let mut magic = Vec::new();
            let file = File::open(part).map_err(failed)?;
            (&file).take(4).read_to_end(&mut magic).map_err(failed)?;
            if magic != b"GGUF" {
                return Err(Error::NotGguf(part.clone()));
            }
            let meta = file.metadata().map_err(failed)?;
            let time = meta
                .modified()
                .ok()
                .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
                .unwrap_or_default();
            let place = part.canonicalize().map_err(failed)?;
            stamp.push(json!([place.to_string_lossy(), meta.len(), time.as_secs(), time.subsec_nanos()]));
            bytes = bytes.saturating_add(meta.len());
        }
        Ok(Self { parts, bytes, stamp: Digest::of(&stamp.into()) })
    }

    /// The file's SHA-256; of several files that of their digests in order. Reads everything: minutes, for a big model.
    /// `read` learns how many bytes were read since it was last told.
    pub fn digest(&self, mut read: impl FnMut(u64)) -> Result<Digest, Error> {
        let mut block = vec![0; BLOCK];
        let mut digests = Vec::new();
        for part in &self.parts {
            let failed = |source| Error::File { path: part.clone(), source };
            let mut file = File::open(part).map_err(failed)?;
            let mut hasher = Sha256::new();
            loop {
                let n = file.read(&mut block).map_err(failed)?;
                if n == 0 {
                    break;
                }
                hasher.update(&block[..n]);
                read(n as u64);
            }
            digests.push(<[u8; 32]>::from(hasher.finalize()));
        }
        Ok(Digest(match digests[..] {
            [only] => only,
            _ => Sha256::digest(digests.concat()).into(),
        }))
    }
}

/// The name under which a model's ratings are kept: 64 bits of its digest, which tell any two files apart. The file's
/// own name is not in it: a renamed file is the same model.
pub fn name(digest: Digest) -> String {
    format!("gguf:{}", &digest.to_string()[..16])
}

/// All files of the model whose first, or only, one this is: `NAME-00001-of-00003.gguf` has two more beside it.
fn parts_of(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let Some((before, part, of)) = path.file_name().and_then(|name| name.to_str()).and_then(numbered) else {
        return Ok(vec![path.to_owned()]);
    };
    if part != 1 {
        return Err(Error::NotTheFirst { path: path.to_owned(), part });
    }
    Ok((1..=of).map(|part| path.with_file_name(format!("{before}-{part:05}-of-{of:05}.gguf"))).collect())
}

/// What a part's name says: what comes before its number, the number, and how many there are.
fn numbered(name: &str) -> Option<(&str, u32, u32)> {
    let (before, of) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (before, part) = before.rsplit_once('-')?;
    let number = |text: &str| {
        let is_number = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| is_number)
    };
    let (part, of) = (number(part)?, number(of)?);
    (1..=of.min(MOST_PARTS)).contains(&part).then_some((before, part, of))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder with these files.
    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    fn digest(path: &Path) -> String {
        Gguf::open(path).unwrap().digest(|_| {}).unwrap().to_string()
    }

    #[test]
    fn one_file_s_digest_is_its_sha_256() {
        let folder = folder(&[("m.gguf", b"GGUFabc")]);
        assert_eq!(
            digest(&folder.path().join("m.gguf")),
            Digest(Sha256::digest(b"GGUFabc").into()).to_string()
        );
    }

    #[test]
    fn every_part_of_a_split_model_counts() {
        let files: [(&str, &[u8]); 2] =
            [("m-00001-of-00002.gguf", b"GGUFa"), ("m-00002-of-00002.gguf", b"GGUFb")];
        let folder = folder(&files);
        let first = folder.path().join(files[0].0);
        let before = digest(&first);
        assert_eq!(Gguf::open(&first).unwrap().bytes, 10);
        fs::write(folder.path().join(files[1].0), b"GGUFc").unwrap();
        assert_ne!(digest(&first), before);
        let second = Gguf::open(&folder.path().join(files[1].0)).unwrap_err();
        assert!(
            second.to_string().ends_with("is part 2 of a model in several files; give the first of them")
        );
        fs::remove_file(folder.path().join(files[1].0)).unwrap();
        assert!(Gguf::open(&first).unwrap_err().to_string().contains("m-00002-of-00002.gguf"));
    }

    #[test]
    fn what_is_no_model_is_said_before_anything_is_started() {
        let folder = folder(&[("empty.gguf", b""), ("page.gguf", b"<html>")]);
        for name in ["empty.gguf", "page.gguf"] {
            let error = Gguf::open(&folder.path().join(name)).unwrap_err();
            assert!(error.is_usage() && error.to_string().contains("is not a GGUF file"), "{error}");
        }
        let missing = Gguf::open(&folder.path().join("none.gguf")).unwrap_err();
        assert!(missing.is_usage() && missing.to_string().contains("cannot read the model"), "{missing}");
        assert!(Gguf::open(folder.path()).is_err());
    }

    #[test]
    fn another_size_is_another_stamp() {
        let folder = folder(&[("m.gguf", b"GGUFa")]);
        let path = folder.path().join("m.gguf");
        let before = Gguf::open(&path).unwrap().stamp;
        assert_eq!(Gguf::open(&path).unwrap().stamp, before);
        fs::write(&path, b"GGUFab").unwrap();
        assert_ne!(Gguf::open(&path).unwrap().stamp, before);
    }

    #[test]
    fn only_the_names_that_the_splitting_tool_gives_are_parts() {
        assert_eq!(numbered("a-b-00002-of-00003.gguf"), Some(("a-b", 2, 3)));
        for name in ["a.gguf", "a-1-of-3.gguf", "a-00004-of-00003.gguf", "a-00000-of-00003.gguf", "-of-.gguf"]
        {
            assert_eq!(numbered(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_is_the_digest_s_beginning() {
        assert_eq!(name(Digest([0xab; 32])), "gguf:abababababababab");
    }
}
