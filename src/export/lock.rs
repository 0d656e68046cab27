//! One run at a time: an advisory lock on a file beside what is written, which says who holds it.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::http::plain;

/// How often a lock file is opened that others remove or replace meanwhile.
const TRIES: u32 = 100;

/// The lock on what one run writes. It is free again when this is dropped, or when the process has ended.
///
/// A run that is killed leaves the lock file behind, but not the lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Who holds a lock, as the lock file says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The id of its process, on its machine.
    pub process: u32,
    /// Since when, in seconds since 1970, UTC.
    pub since: u64,
    /// The command that it executes.
    pub command: String,
}

impl Lock {
    /// Takes the lock on `what`, a file or folder that `command` is going to write: on `.NAME.lock` beside it, in a
    /// folder that exists.
    ///
    /// [`Error::Busy`] if another run holds it; [`Error::Place`] if what has the lock file's name is no file, or does not
    /// stay the same. A file system without locks grants it always: two runs at once are then
    /// the user's to avoid.
    pub fn take(what: &Path, command: &str) -> Result<Self, Error> {
        let path = lock_path(what);
        for _ in 0..TRIES {
            let Some(mut file) = open(&path)? else { continue };
            if let Err(TryLockError::WouldBlock) = file.try_lock() {
                return Err(Error::Busy { what: what.to_owned(), holder: holder(&mut file) });
            }
            // The one that held it may have removed the file between our opening and locking it: that lock keeps nobody out.
            if !is_still(&file, &path) {
                continue;
            }
            let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let holder = Holder { process: std::process::id(), since, command: command.to_owned() };
            let line = serde_json::to_vec(&holder).unwrap_or_default();
            // From here on the file is removed when this fails, such as on a full disk.
            let mut lock = Self { file, path };
            let written = lock.file.set_len(0).and_then(|()| lock.file.write_all(&line));
            return written.map_err(Error::write(&lock.path)).map(|()| lock);
        }
        Err(Error::place(&path, "is replaced again and again while it is being locked: remove it"))
    }
}

/// Opens a lock file, a new one if there is none; `None` if it went away meanwhile. No link is followed to what somebody
/// else made, nor is anything but a file opened.
fn open(path: &Path) -> Result<Option<File>, Error> {
    let mut options = File::options();
    options.read(true).write(true);
    match options.clone().create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.map(Some).map_err(Error::write(path)),
    }
    match fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => {
            return Err(Error::place(path, "is where a lock file has to be, and is no file: remove it"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::write(path)(error)),
    }
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::write(path)(error)),
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is locked, so that nobody's new file is removed. What stays behind does no harm.
        if is_still(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}, `{}`, since {}", self.process, plain(&self.command), utc(self.since))
    }
}

/// The lock file of something.
fn lock_path(what: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(what.file_name().unwrap_or_default());
    name.push(".lock");
    what.with_file_name(name)
}

/// Who holds the lock; nobody can be named in the moment before the holder has written it.
fn holder(file: &mut File) -> Option<Holder> {
    let mut text = Vec::new();
    file.take(1024).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Whether the open file is still the one of this name.
#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let named = fs::symlink_metadata(path);
    file.metadata()
        .is_ok_and(|open| named.is_ok_and(|named| (open.dev(), open.ino()) == (named.dev(), named.ino())))
}

/// Whether there is a file of this name; a system without inodes does not rename what is open.
#[cfg(not(unix))]
fn is_still(_: &File, path: &Path) -> bool {
    path.exists()
}

/// A moment to the minute, `2026-11-22 07:40 UTC`, given in seconds since 1970.
///
/// Days to year, month and day by Howard Hinnant's `civil_from_days`, for days after 1970: years begin in March, so
/// that the leap day is the last of its year, and 400 of them are 146,097 days.
fn utc(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let minutes = seconds % 86_400 / 60;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let what = folder.path().join("out");
        let first = Lock::take(&what, "filter").unwrap();
        let Err(Error::Busy { what: busy, holder: Some(holder) }) = Lock::take(&what, "filter") else {
            panic!("it is held")
        };
        assert_eq!(
            (busy, holder.process, holder.command.as_str()),
            (what.clone(), std::process::id(), "filter")
        );
        let message = Lock::take(&what, "filter").unwrap_err().to_string();
        let named = format!("out (process {}, `filter`, since 20", std::process::id());
        assert!(message.starts_with("another run is writing ") && message.contains(&named), "{message}");
        drop(first);
        drop(Lock::take(&what, "filter").unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no lock file is left");
    }

    #[test]
    fn a_lock_file_that_was_left_behind_or_is_nonsense_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let what = folder.path().join("out");
        fs::write(lock_path(&what), "\u{1b}[2J nonsense").unwrap();
        let held = File::open(lock_path(&what)).unwrap();
        held.lock().unwrap();
        assert!(matches!(Lock::take(&what, "filter"), Err(Error::Busy { holder: None, .. })));
        // Closing it would not do while another test starts a process, which has it too until it is another program.
        held.unlock().unwrap();
        assert!(Lock::take(&what, "filter").is_ok());
    }

    #[test]
    #[cfg(unix)]
    fn a_lock_on_a_file_that_was_removed_is_not_ours_and_keeps_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let what = folder.path().join("out");
        let first = Lock::take(&what, "filter").unwrap();
        fs::remove_file(lock_path(&what)).unwrap();
        let second = Lock::take(&what, "filter").unwrap();
        drop(first);
        assert!(
            matches!(Lock::take(&what, "filter"), Err(Error::Busy { .. })),
            "the second's file is still there"
        );
        drop(second);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_in_the_place_of_the_lock_file_is_an_error_and_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let what = folder.path().join("out");
        let elsewhere = folder.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, lock_path(&what)).unwrap();
        assert!(Lock::take(&what, "filter").unwrap_err().to_string().contains("is no file"));
        assert!(!elsewhere.exists());
        fs::write(&elsewhere, "mine").unwrap();
        assert!(Lock::take(&what, "filter").is_err());
        assert_eq!(fs::read(&elsewhere).unwrap(), b"mine");
        fs::remove_file(lock_path(&what)).unwrap();
        fs::create_dir(lock_path(&what)).unwrap();
        assert!(Lock::take(&what, "filter").unwrap_err().to_string().contains("is no file"));
    }

    #[test]
    fn moments_are_shown_in_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(utc(1_795_333_200), "2026-11-22 07:40 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00 UTC");
        utc(u64::MAX);
    }
}
