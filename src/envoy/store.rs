//! Shared data of the host, as the port of the cache.

use crate::cache::SharedStore;
use proxy_wasm::hostcalls;

/// See the module.
pub(super) struct Store;

impl SharedStore for Store {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        let (value, swap) = hostcalls::get_shared_data(key).ok()?;
        Some((value.unwrap_or_default(), swap?))
    }

    fn set(&self, key: &str, value: &[u8], swap: u32) -> bool {
        hostcalls::set_shared_data(key, Some(value), Some(swap)).is_ok()
    }
}
