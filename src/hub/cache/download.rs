//! A file on its way into the Hub cache: locked, resumed where it was left, checked, and only then given its name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::super::repo::Entry;
use super::digest::Digest;
use super::{Cache, Error, at, folder, is_whole, make_parent, relative, wrong};
use crate::http::plain;

/// What became of the wish to download a file.
#[derive(Debug)]
pub(in crate::hub) enum Begun {
    /// The cache has it already: its place.
    Done(PathBuf),
    /// It is ours to download.
    Ready(Box<Download>),
    /// Another process is downloading it: ask again in a while.
    Busy,
}

/// A file that is being downloaded. Dropped before [`Download::finish`], it keeps what has come for the next time.
#[derive(Debug)]
pub(in crate::hub) struct Download {
    /// The file's path within the dataset.
    path: String,
    /// Its place in the snapshot.
    link: PathBuf,
    blob: PathBuf,
    incomplete: PathBuf,
    file: File,
    have: u64,
    size: u64,
    /// Of what has come so far, where the content's name is a digest that we know.
    digest: Option<Digest>,
    /// Let go of when dropped.
    _lock: File,
}

impl Cache {
    /// Begins to download a file of a commit into the cache, unless it is there.
    pub(in crate::hub) fn begin(&self, repo: &str, sha: &str, entry: &Entry) -> Result<Begun, Error> {
        let name = entry.blob.as_str();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(wrong(name, "expected a digest, which names the content"));
        }
        let link = self.snapshot(repo, sha)?.join(relative(&entry.path)?);
        let blob = self.below(repo, "blobs")?.join(name);
        if is_whole(&link, entry.size) {
            return Ok(Begun::Done(link));
        }
        let lock = self.root.join(".locks").join(folder(repo)?).join(format!("{name}.lock"));
        for path in [&blob, &link, &lock] {
            make_parent(path)?;
        }
        let Some(lock) = locked(&lock).map_err(at(&lock))? else { return Ok(Begun::Busy) };
        if is_whole(&blob, entry.size) {
            point(&link, &blob, &entry.path)?;
            return Ok(Begun::Done(link));
        }
        let incomplete = blob.with_file_name(format!("{name}.incomplete"));
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(&incomplete).map_err(at(&incomplete))?;
        let mut download = Download {
            path: entry.path.clone(),
            link,
            blob,
            incomplete,
            file,
            have: 0,
            size: entry.size,
            digest: Digest::named(name, entry.size),
            _lock: lock,
        };
        download.resume().map_err(at(&download.incomplete))?;
        Ok(Begun::Ready(Box::new(download)))
    }
}

impl Download {
    /// How many bytes of the file there are: the next one to ask for.
    pub(in crate::hub) fn have(&self) -> u64 {
        self.have
    }

    /// Takes the next bytes.
    pub(in crate::hub) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(at(&self.incomplete))?;
        self.have += bytes.len() as u64;
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
        Ok(())
    }

    /// Forgets what has come: the server begins at the first byte again.
    pub(in crate::hub) fn restart(&mut self) -> Result<(), Error> {
        self.clear().map_err(at(&self.incomplete))
    }

    /// Checks the length and, where its name tells it, the digest; then gives the file its place, which is returned.
    ///
    /// What is too short is kept, to be resumed; what is wrong is thrown away.
    pub(in crate::hub) fn finish(mut self) -> Result<PathBuf, Error> {
        let length = self.file.metadata().map_err(at(&self.incomplete))?.len();
        if length < self.size {
            return Err(self.wrong(format!("{length} of {} bytes", self.size)));
        }
        if self.have != self.size || length != self.size {
            self.restart()?;
            return Err(self.wrong(format!("{length} bytes instead of {}", self.size)));
        }
        if let Some(digest) = self.digest.take()
            && let Err(problem) = digest.check()
        {
            self.restart()?;
            return Err(self.wrong(problem));
        }
        // A blob of this name is trusted from now on, also after a loss of power.
        let place = self.file.sync_all().and_then(|()| fs::rename(&self.incomplete, &self.blob));
        place.map_err(at(&self.blob))?;
        point(&self.link, &self.blob, &self.path)?;
        Ok(self.link)
    }

    fn wrong(&self, problem: String) -> Error {
        Error::Content { path: plain(&self.path), problem }
    }

    /// Counts and digests what an earlier run has left.
    fn resume(&mut self) -> io::Result<()> {
        const PIECE: usize = 1 << 18;
        if self.file.metadata()?.len() > self.size {
            return self.clear();
        }
        let mut piece = vec![0; PIECE];
        let mut file = File::open(&self.incomplete)?;
        loop {
            let count = match file.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.have += count as u64;
            if let (Some(digest), Some(bytes)) = (&mut self.digest, piece.get(..count)) {
                digest.update(bytes);
            }
        }
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.have = 0;
        if let Some(digest) = &mut self.digest {
            digest.restart();
        }
        Ok(())
    }
}

/// Takes the lock as the `filelock` package does: `flock` on a file that is never removed. None if another has it.
fn locked(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        // A file system without locks: what two processes have mixed up is found when the file is finished.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(Some(file)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Makes the place in the snapshot a relative link to the blob, or a copy where there are no links.
fn point(link: &Path, blob: &Path, path: &str) -> Result<(), Error> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(link)(error)),
        _ => {}
    }
    // Up from the folders of the path, from the commit, and from the snapshots.
    let mut target: PathBuf = path.split('/').map(|_| "..").collect();
    target.push("..");
    target.push("blobs");
    target.extend(blob.file_name());
    if symlink(&target, link).is_ok() || is_whole(link, fs::metadata(blob).map_err(at(blob))?.len()) {
        return Ok(());
    }
    fs::hard_link(blob, link).or_else(|_| fs::copy(blob, link).map(drop)).map_err(at(link))
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_target: &Path, _link: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};
    use tempfile::TempDir;

    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";
    const REPO: &str = "owner/name";

    fn cache() -> (TempDir, Cache) {
        let folder = TempDir::new().unwrap();
        let cache = Cache::new(folder.path().to_owned());
        (folder, cache)
    }

    fn entry(path: &str, content: &str) -> Entry {
        let blob = format!("{:x}", Sha256::digest(content));
        Entry { path: path.into(), size: content.len() as u64, blob, lfs: true }
    }

    fn ready(cache: &Cache, entry: &Entry) -> Box<Download> {
        match cache.begin(REPO, SHA, entry).unwrap() {
            Begun::Ready(download) => download,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_downloaded_file_is_a_link_to_its_blob() {
        let (folder, cache) = cache();
        let entry = entry("data/train.jsonl", "some text");
        let mut download = ready(&cache, &entry);
        assert_eq!(cache.file(REPO, SHA, &entry.path), None);
        download.write(b"some ").unwrap();
        download.write(b"text").unwrap();
        let place = download.finish().unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "some text");
        assert_eq!(cache.file(REPO, SHA, &entry.path), Some(place.clone()));
        assert_eq!(cache.files(REPO, SHA).unwrap(), [(entry.path.clone(), 9)]);
        let top = folder.path().join("datasets--owner--name");
        assert_eq!(place, top.join("snapshots").join(SHA).join("data/train.jsonl"));
        #[cfg(unix)]
        assert_eq!(fs::read_link(&place).unwrap(), Path::new("../../../blobs").join(&entry.blob));
        assert_eq!(fs::read_dir(top.join("blobs")).unwrap().count(), 1);
        assert!(
            folder.path().join(".locks/datasets--owner--name").join(format!("{}.lock", entry.blob)).is_file()
        );
    }

    #[test]
    fn a_download_goes_on_where_it_was_left() {
        let (_folder, cache) = cache();
        let entry = entry("a", "some text");
        let mut first = ready(&cache, &entry);
        first.write(b"some ").unwrap();
        drop(first);
        let mut second = ready(&cache, &entry);
        assert_eq!(second.have(), 5);
        second.write(b"te").unwrap();
        assert!(second.finish().unwrap_err().to_string().starts_with("`a` has come wrong: 7 of 9 bytes; "));
        let mut third = ready(&cache, &entry);
        assert_eq!(third.have(), 7);
        third.restart().unwrap();
        assert_eq!(third.have(), 0);
        third.write(b"some text").unwrap();
        third.finish().unwrap();
    }

    #[test]
    fn a_file_of_wrong_bytes_is_never_given_its_name() {
        let (_folder, cache) = cache();
        let entry = entry("a", "some text");
        for wrong in ["some test", "some text and more"] {
            let mut download = ready(&cache, &entry);
            assert_eq!(download.have(), 0);
            download.write(wrong.as_bytes()).unwrap();
            assert!(matches!(download.finish(), Err(Error::Content { .. })), "{wrong}");
            assert_eq!(cache.file(REPO, SHA, "a"), None);
        }
        // Also when they were left by an earlier run.
        let mut download = ready(&cache, &entry);
        download.write(b"some te__").unwrap();
        drop(download);
        let download = ready(&cache, &entry);
        assert_eq!(download.have(), 9);
        assert!(matches!(download.finish(), Err(Error::Content { .. })));
        assert_eq!(ready(&cache, &entry).have(), 0);
    }

    #[test]
    fn a_small_file_is_checked_by_its_git_digest() {
        let (_folder, cache) = cache();
        // `printf hello | git hash-object --stdin`
        let blob = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        let entry = Entry { path: "README.md".into(), size: 5, blob: blob.into(), lfs: false };
        let mut download = ready(&cache, &entry);
        download.write(b"jello").unwrap();
        let error = download.finish().unwrap_err().to_string();
        assert!(error.contains("its git sha1 is"), "{error}");
        assert_eq!(cache.file(REPO, SHA, "README.md"), None);
        let mut download = ready(&cache, &entry);
        download.write(b"he").unwrap();
        drop(download);
        let mut download = ready(&cache, &entry);
        assert_eq!(download.have(), 2);
        download.write(b"llo").unwrap();
        assert_eq!(fs::read_to_string(download.finish().unwrap()).unwrap(), "hello");
    }

    #[test]
    fn a_content_whose_name_is_no_digest_is_checked_by_its_length() {
        let (_folder, cache) = cache();
        let entry = Entry { path: "a".into(), size: 2, blob: "e1c5".into(), lfs: false };
        let mut download = ready(&cache, &entry);
        download.write(b"ab").unwrap();
        assert_eq!(fs::read_to_string(download.finish().unwrap()).unwrap(), "ab");
    }

    #[test]
    fn only_one_downloads_a_file_at_a_time() {
        let (_folder, cache) = cache();
        let entry = entry("a", "text");
        let mut download = ready(&cache, &entry);
        assert!(matches!(cache.begin(REPO, SHA, &entry), Ok(Begun::Busy)));
        download.write(b"text").unwrap();
        let place = download.finish().unwrap();
        assert!(matches!(cache.begin(REPO, SHA, &entry), Ok(Begun::Done(done)) if done == place));
    }

    #[test]
    fn content_that_another_commit_or_tool_has_brought_is_used() {
        let (folder, cache) = cache();
        let entry = entry("b/c", "text");
        let blobs = folder.path().join("datasets--owner--name/blobs");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(&entry.blob), "te").unwrap();
        assert_eq!(ready(&cache, &entry).have(), 0, "a blob of another length is not the content");
        fs::write(blobs.join(&entry.blob), "text").unwrap();
        let Begun::Done(place) = cache.begin(REPO, SHA, &entry).unwrap() else { panic!() };
        assert_eq!(fs::read_to_string(place).unwrap(), "text");
    }

    #[test]
    fn a_strangers_names_stay_in_the_cache() {
        let (folder, cache) = cache();
        for (path, blob) in [("../x", "ab"), ("a", "../../x"), ("a", ""), ("/a", "ab"), ("a/./b", "ab")] {
            let entry = Entry { path: path.into(), size: 1, blob: blob.into(), lfs: true };
            assert!(matches!(cache.begin(REPO, SHA, &entry), Err(Error::Name { .. })), "{path} {blob}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
