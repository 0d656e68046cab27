//! The digests of a hub: git's SHA-1 of blobs, the SHA-256 of LFS files.

use std::{
    fmt::Write,
    fs::File,
    io::{self, Read},
    path::Path,
};

use sha2::{Digest, Sha256};

/// SHA-1 (FIPS 180-4, section 6.1) of data that comes in pieces. Git names blobs by it.
pub(super) struct Sha1 {
    state: [u32; 5],
    block: Vec<u8>,
    length: u64,
}

impl Sha1 {
    pub(super) fn new() -> Self {
        Self {
            state: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0],
            block: Vec::with_capacity(64),
            length: 0,
        }
    }

    pub(super) fn update(&mut self, mut data: &[u8]) {
        self.length += data.len() as u64;
        while !data.is_empty() {
            let (piece, rest) = data.split_at(data.len().min(64 - self.block.len()));
            self.block.extend_from_slice(piece);
            data = rest;
            if self.block.len() == 64 {
                self.compress();
                self.block.clear();
            }
        }
    }

    #[expect(clippy::many_single_char_names, reason = "the standard's names")]
    fn compress(&mut self) {
        let mut w = [0u32; 80];
        for (word, bytes) in w.iter_mut().zip(self.block.as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        for t in 16..80 {
            w[t] = (w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = self.state;
        for (t, word) in w.iter().enumerate() {
            let (f, k) = match t {
                0..20 => ((b & c) | (!b & d), 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(*word);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (word, add) in self.state.iter_mut().zip([a, b, c, d, e]) {
            *word = word.wrapping_add(add);
        }
    }

    /// The digest in hexadecimal.
    pub(super) fn finish(mut self) -> String {
        let bits = self.length * 8;
        self.update(&[0x80]);
        while self.block.len() != 56 {
            self.update(&[0]);
        }
        self.update(&bits.to_be_bytes());
        hex(&self.state.map(u32::to_be_bytes).concat())
    }
}

/// SHA-1 of the pieces together.
pub(super) fn sha1(pieces: &[&[u8]]) -> String {
    let mut sha = Sha1::new();
    for piece in pieces {
        sha.update(piece);
    }
    sha.finish()
}

/// SHA-256 of the pieces together.
pub(super) fn sha256(pieces: &[&[u8]]) -> String {
    let mut sha = Sha256::new();
    for piece in pieces {
        sha.update(piece);
    }
    hex(&sha.finalize())
}

/// The name that git gives a blob.
pub(super) fn git_blob(content: &[u8]) -> String {
    sha1(&[format!("blob {}\0", content.len()).as_bytes(), content])
}

/// [`git_blob`] of a file.
pub(super) fn git_blob_of_file(path: &Path) -> io::Result<String> {
    let mut sha = Sha1::new();
    sha.update(format!("blob {}\0", path.metadata()?.len()).as_bytes());
    read(path, |piece| sha.update(piece))?;
    Ok(sha.finish())
}

/// [`sha256`] of a file.
pub(super) fn sha256_of_file(path: &Path) -> io::Result<String> {
    let mut sha = Sha256::new();
    read(path, |piece| sha.update(piece))?;
    Ok(hex(&sha.finalize()))
}

/// Reads a file in pieces.
fn read(path: &Path, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; 256 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(()),
            length => take(&piece[..length]),
        }
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
