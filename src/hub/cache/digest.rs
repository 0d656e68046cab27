//! The digests by which the Hub names contents: of a file in large file storage the sha256, of others git's sha1.

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The digest of a content that is coming in, and what it has to be.
#[derive(Debug)]
pub(super) struct Digest {
    expected: String,
    size: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Sha256(Sha256),
    Git(Sha1),
}

impl Digest {
    /// The digest that this name is, of a content of `size` bytes; none if it is of no known kind.
    pub(super) fn named(name: &str, size: u64) -> Option<Self> {
        let is_hex = name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let state = match name.len() {
            64 if is_hex => State::Sha256(Sha256::new()),
            40 if is_hex => State::Git(git(size)),
            _ => return None,
        };
        Some(Self { expected: name.to_ascii_lowercase(), size, state })
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(state) => state.update(bytes),
            State::Git(state) => state.update(bytes),
        }
    }

    /// Forgets what has come.
    pub(super) fn restart(&mut self) {
        match &mut self.state {
            State::Sha256(state) => state.reset(),
            State::Git(state) => *state = git(self.size),
        }
    }

    /// Whether all that has come is the content of that name; what differs if not.
    pub(super) fn check(self) -> Result<(), String> {
        let (kind, found) = match self.state {
            State::Sha256(state) => ("sha256", format!("{:x}", state.finalize())),
            State::Git(state) => ("git sha1", format!("{:x}", state.finalize())),
        };
        let expected = self.expected;
        if found == expected {
            return Ok(());
        }
        Err(format!("its {kind} is {found}, the Hub says {expected}"))
    }
}

/// Git digests a content with its kind and length before it: `blob 12\0`.
fn git(size: u64) -> Sha1 {
    Sha1::new_with_prefix(format!("blob {size}\0"))
}
