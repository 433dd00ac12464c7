//! The credentials that this configuration writes, recognised by value.
//!
//! A mirrored request is a stream of its own: Envoy copies the headers into it, with whatever an
//! attempt before a redirect wrote, and the filter state that remembers what was written stays
//! behind. So where the client's headers are kept, what looks like ours is removed by its value.

use crate::credential::Credential;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// Recognises credentials by keyed hashes of 64 bits, so the time that it takes tells a client nothing
/// of how close a guess is.
pub(crate) struct Known {
    state: RandomState,
    hashes: Vec<u64>,
}

impl Known {
    /// Recognises these.
    pub(crate) fn new<'c>(credentials: impl Iterator<Item = &'c Credential>) -> Self {
        let state = RandomState::new();
        let hash = |credential: &Credential| state.hash_one(credential.value().expose().as_bytes());
        let hashes = credentials.map(hash).collect();
        Self { state, hashes }
    }

    /// Whether the value of a header is one of them.
    pub(crate) fn contains(&self, value: &[u8]) -> bool {
        self.hashes.contains(&self.state.hash_one(value))
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Secret;

    #[test]
    fn only_whole_values_are_recognised() {
        let key = Secret::line("sk-1").unwrap();
        let credentials = [Credential::bearer(&key), Credential::api_key(key.clone())];
        let known = Known::new(credentials.iter());
        assert!(known.contains(b"Bearer sk-1") && known.contains(b"sk-1"));
        for other in [&b"Bearer sk-2"[..], b"Bearer sk-", b"bearer sk-1", b"", b"sk-1 "] {
            assert!(!known.contains(other));
        }
    }
}
