//! How the workers of a process share what one of them has obtained: one entry a credential, in the host's
//! shared data, changed by compare-and-swap only.

mod codec;
mod entry;
mod schedule;

pub(crate) use entry::FORMAT;
pub use entry::{Entry, Held, Lease, Said, Trouble};
pub use schedule::{Kind, Now};

/// Shared data of the host (proxy-wasm ABI 0.2.1, `proxy_get_shared_data`).
pub trait SharedStore {
    /// The value of a key, and the number that a swap of it has to give. `None` for a key that is not there;
    /// an empty value is one that was removed.
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)>;

    /// Sets the value of a key unless it has another number than `swap`. Says whether it did.
    fn set(&self, key: &str, value: &[u8], swap: u32) -> bool;
}

/// What a swap gives for a key that was not there: a number that no key has, so that of several who create it
/// one succeeds. (No number at all, or any for an absent key, would be obeyed always.)
pub const ABSENT: u32 = u32::MAX;
