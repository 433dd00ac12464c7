//! The headers of a request, read without a copy of those that do not matter.
//!
//! The SDK's getter makes two allocations a header and panics at a name that is no UTF-8. This one
//! walks the serialised map where the host put it: 0.9 us in place of 1.7 for 15 headers.

use crate::inject::{Header, concerns, concerns_signature};
use proxy_wasm::types::{MapType, Status};

#[allow(unsafe_code, reason = "a call of the host, as the SDK declares it for itself")]
#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(
        map_type: MapType,
        return_map_data: *mut *mut u8,
        return_map_size: *mut usize,
    ) -> Status;
}

/// The headers that injection is about, in order; where something is or was signed, those that signing
/// is about as well. `None` if the map cannot be read.
pub(super) fn request_headers(signed: bool) -> Option<Vec<Header>> {
    let map = serialized(MapType::HttpRequestHeaders)?;
    let mut headers = Vec::new();
    walk(&map, |name, value| {
        if (concerns(name) || signed && concerns_signature(name))
            && let Ok(name) = core::str::from_utf8(name)
        {
            headers.push((name.to_owned(), value.to_vec()));
        }
    })?;
    Some(headers)
}

/// All headers of the answer to a callout.
pub(super) fn call_headers() -> Vec<Header> {
    let mut headers = Vec::new();
    let map = serialized(MapType::HttpCallResponseHeaders).unwrap_or_default();
    walk(&map, |name, value| {
        if let Ok(name) = core::str::from_utf8(name) {
            headers.push((name.to_owned(), value.to_vec()));
        }
    });
    headers
}

/// How many bytes names and values have together. `None` if the map cannot be read.
pub(super) fn request_headers_size() -> Option<u64> {
    let map = serialized(MapType::HttpRequestHeaders)?;
    let mut size = 0;
    walk(&map, |name, value| size += name.len() + value.len())?;
    u64::try_from(size).ok()
}

/// The map as the host serialises it. `None` if there is none.
#[allow(unsafe_code, reason = "the SDK has no getter that leaves the map as it is")]
fn serialized(map_type: MapType) -> Option<Vec<u8>> {
    let mut data: *mut u8 = core::ptr::null_mut();
    let mut size: usize = 0;
    // SAFETY: the host writes a pointer and a size, or nothing. The memory comes from
    // `proxy_on_memory_allocate`, which gives away a vector of exactly that capacity: it is ours.
    unsafe {
        match proxy_get_header_map_pairs(map_type, &raw mut data, &raw mut size) {
            Status::Ok if !data.is_null() => Some(Vec::from_raw_parts(data, size, size)),
            _ => None,
        }
    }
}

/// Calls `each` with every pair of a serialised map: a count, the sizes of all names and values, then
/// names and values, each with a NUL behind it (proxy-wasm ABI 0.2.1, "serialized header map").
fn walk<'m>(map: &'m [u8], mut each: impl FnMut(&'m [u8], &'m [u8])) -> Option<()> {
    let (count, rest) = number(map)?;
    let (mut sizes, mut pairs) = rest.split_at_checked(count.checked_mul(8)?)?;
    while !sizes.is_empty() {
        let (name_size, rest) = number(sizes)?;
        let (value_size, rest) = number(rest)?;
        sizes = rest;
        let (name, rest) = pairs.split_at_checked(name_size)?;
        let (value, rest) = rest.get(1..)?.split_at_checked(value_size)?;
        pairs = rest.get(1..)?;
        each(name, value);
    }
    Some(())
}

/// A number of four bytes, and what is behind it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}
