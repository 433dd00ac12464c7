//! Calls to providers and for files, and what came of them.

use super::header_map;
use crate::engine::Dispatch;
use crate::inject::Header;
use crate::source::{Answer, Reply};
use proxy_wasm::hostcalls;
use proxy_wasm::types::BufferType;
use std::time::Duration;

/// The longest body that is copied into the VM, in bytes: what is longer is no answer to any call.
const LONGEST_BODY: usize = 1024 * 1024 + 1;
/// How Envoy's own replies begin where it has not reached anybody
/// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details>).
const UNREACHED: [&[u8]; 3] = [
    b"upstream connect error or disconnect/reset before headers",
    b"no healthy upstream",
    b"DNS resolution failure",
];
const TIMED_OUT: &[u8] = b"upstream request timeout";

/// The answer to a call, if there was one.
pub(super) struct Received {
    status: Option<u16>,
    headers: Vec<Header>,
    body: Vec<u8>,
}

impl Received {
    /// The answer that the host is calling back about: `headers` of them, and `size` bytes of body.
    pub(super) fn read(headers: usize, size: usize) -> Self {
        // Without headers there is no map either.
        let headers = if headers == 0 { Vec::new() } else { header_map::call_headers() };
        let status = headers.iter().find(|(name, _)| name == ":status");
        let status = status.and_then(|(_, value)| core::str::from_utf8(value).ok()?.parse().ok());
        let size = size.min(LONGEST_BODY);
        let body = if size == 0 { None } else { body(size) };
        Self { status, headers, body: body.unwrap_or_default() }
    }

    /// What became of a call that was made `age` ago and may take `timeout`.
    pub(super) fn reply(&self, age: Duration, timeout: Duration) -> Reply<'_> {
        let Self { headers, body, .. } = self;
        match self.status {
            // The connection was lost, or the time was over, after the headers.
            None if age >= timeout => Reply::TimedOut,
            None => Reply::Unreachable,
            Some(_) if self.is_unreached() => Reply::Unreachable,
            Some(504) if body.starts_with(TIMED_OUT) => Reply::TimedOut,
            Some(status) => Reply::Answer(Answer { status, headers, body }),
        }
    }

    /// Whether a listener has answered: it puts its name into every answer, its own replies too.
    pub(super) fn is_of_listener(&self) -> bool {
        let named = self.headers.iter().any(|(name, _)| name == "server");
        self.status.is_some() && (named || !self.is_unreached())
    }

    fn is_unreached(&self) -> bool {
        matches!(self.status, Some(503 | 504))
            && UNREACHED.iter().any(|text| self.body.starts_with(text))
    }
}

fn body(size: usize) -> Option<Vec<u8>> {
    hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size).ok().flatten()
}

/// Makes a call, and gives the number by which the host calls back. `None` if it cannot be made. To be called
/// by the root only: the reply goes to whom the call is of.
pub(super) fn call(dispatch: &Dispatch<'_>, timeout: Duration) -> Option<u32> {
    let headers = dispatch.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = (!dispatch.body.is_empty()).then_some(dispatch.body);
    hostcalls::dispatch_http_call(dispatch.cluster, headers, body, Vec::new(), timeout).ok()
}
