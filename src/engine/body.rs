//! The body of a request that is to be signed: hashed as it arrives, never kept.

use crate::aws::sigv4::Hash;
use sha2::{Digest, Sha256};

/// How much of a body is copied into the VM at a time, in bytes: what was copied is hashed while it is in
/// the cache.
pub const SLICE: usize = 16 * 1024;

/// A body on its way. The host keeps what has arrived, so all that is kept here is how much of it has been
/// hashed.
#[derive(Clone, Default)]
pub struct BodyHash {
    hash: Sha256,
    length: usize,
}

impl BodyHash {
    /// How many bytes of the body have been hashed.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Hashes the bytes that follow.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length = self.length.saturating_add(bytes.len());
    }

    /// The hash of what has come.
    pub fn finish(self) -> Hash {
        self.hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::sigv4::EMPTY_BODY;

    #[test]
    fn the_hash_does_not_depend_on_the_pieces() {
        let body: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut whole = BodyHash::default();
        whole.update(&body);
        for size in [1, 63, 64, SLICE] {
            let mut hash = BodyHash::default();
            body.chunks(size).for_each(|piece| hash.update(piece));
            assert_eq!(hash.length(), body.len());
            assert_eq!(hash.finish(), whole.clone().finish(), "{size}");
        }
        assert_eq!(BodyHash::default().finish(), EMPTY_BODY);
    }
}
