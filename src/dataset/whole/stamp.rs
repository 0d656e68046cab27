//! What a dataset was when it was read, in a few digits.

use crate::dataset::Found;
use crate::dataset::gather::At;
use std::fs::{self, File};
use std::io::Read as _;
use std::time::UNIX_EPOCH;
use xxhash_rust::xxh3::Xxh3;

impl Found {
    /// A digest of what is read: of a repository at the Hub its commit, else each file's path within the dataset, its
    /// size and when it was last written to; of what came through a pipe its bytes. No path of this machine is in it.
    ///
    /// 32 hexadecimal digits. XXH3 with 128 bits, which is no protection against a forger.
    pub fn stamp(&self) -> String {
        let mut digest = Xxh3::new();
        let mut add = |part: &[u8]| {
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part);
        };
        let revision = self.gathered.revision.as_deref();
        add(revision.unwrap_or_default().as_bytes());
        for member in &self.members {
            add(member.path.as_bytes());
            add(format!("{:?} {:?} {:?}", member.format, member.compression, member.parameters).as_bytes());
            let At::Local(path) = &member.at else { continue };
            match (revision, &self.gathered.spool) {
                (Some(_), _) => {}
                (None, Some(_)) => add(&content(path).to_le_bytes()),
                (None, None) => {
                    let metadata = fs::metadata(path).ok();
                    let written = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
                    let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                    add(&metadata.map_or(0, |metadata| metadata.len()).to_le_bytes());
                    add(&written.map_or(0, |time| time.as_nanos()).to_le_bytes());
                }
            }
        }
        format!("{:032x}", digest.digest128())
    }
}

/// The digest of a file's bytes. What cannot be read counts for nothing: reading its rows will tell.
fn content(path: &std::path::Path) -> u128 {
    const CHUNK: usize = 1 << 20;
    let mut digest = Xxh3::new();
    let mut buffer = vec![0; CHUNK];
    let Ok(mut file) = File::open(path) else { return 0 };
    while let Ok(length @ 1..) = file.read(&mut buffer) {
        digest.update(&buffer[..length]);
    }
    digest.digest128()
}
