//! Host calls that cannot panic: whatever the host answers, "nothing" is the worst of it.
//!
//! The SDK panics at a status that it does not expect. Each call here is made only where the host
//! is known to answer with one that it does (headers in their own phase, properties and foreign
//! functions anywhere).

use super::header_map;
use crate::cache::Now;
use crate::engine::{BodyHash, Reply, SLICE};
use crate::inject::{Changes, Earlier, Mutation, Rewritten, credentials_in_trailers};
use crate::policy::ClientCredentials;
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType};
use std::time::{Duration, UNIX_EPOCH};

/// What the access log shows as `%FILTER_STATE(wasm.aigw_auth:PLAIN)%`.
const OUTCOME: &str = "aigw_auth";
/// The names that attempts of this request wrote: it lives as long as the downstream request, so an
/// internal redirect does not lose it.
const WRITTEN: &str = "aigw_auth_written";
/// Path and host before and after an attempt rewrote them: gone after an internal redirect, which brings
/// its own.
const PATH_BEFORE: &str = "aigw_auth_path_before";
const PATH_AFTER: &str = "aigw_auth_path_after";
const AUTHORITY_BEFORE: &str = "aigw_auth_authority_before";
const AUTHORITY_AFTER: &str = "aigw_auth_authority_after";

/// Declares the filter state that has to outlive an internal redirect. To be called in
/// `on_configure`; a second call changes nothing.
pub(super) fn declare_filter_state() {
    // message DeclarePropertyArguments { string name = 1; LifeSpan span = 5; }, span 1 being
    // DownstreamRequest (Envoy, source/extensions/common/wasm/declare_property.proto).
    let mut message = vec![0x0a];
    message.extend(u8::try_from(WRITTEN.len()));
    message.extend_from_slice(WRITTEN.as_bytes());
    message.extend_from_slice(&[0x28, 0x01]);
    // The error says that it is declared already.
    let _ = hostcalls::call_foreign_function("declare_property", Some(&message));
}

/// The value of an attribute, if it has one.
pub(super) fn property(path: &[String]) -> Option<Vec<u8>> {
    hostcalls::get_property(path.iter().map(String::as_str).collect()).ok().flatten()
}

/// Whether this stream is an attempt in an upstream filter chain.
///
/// A host with metadata has been chosen there and only there: that metadata is a message, which Envoy
/// refuses to serialise, and the refusal costs a third of what a value does. Hosts that DNS found have
/// none, so the count of attempts has the last word: in a listener's chain it is zero.
pub(super) fn is_upstream() -> bool {
    if !matches!(hostcalls::get_property(vec!["xds", "upstream_host_metadata"]), Ok(None)) {
        return true;
    }
    let attempts = hostcalls::get_property(vec!["upstream", "request_attempt_count"]);
    matches!(attempts, Ok(Some(count)) if count.iter().any(|byte| *byte != 0))
}

/// What earlier attempts of this request did.
pub(super) fn earlier() -> Earlier {
    let state = |name| hostcalls::get_property(vec![name]).ok().flatten().unwrap_or_default();
    let written = state(WRITTEN);
    if written.is_empty() {
        return Earlier::default();
    }
    let rewritten = |before, after| {
        let after = state(after);
        (!after.is_empty()).then(|| Rewritten { before: state(before), after })
    };
    Earlier {
        written,
        path: rewritten(PATH_BEFORE, PATH_AFTER),
        authority: rewritten(AUTHORITY_BEFORE, AUTHORITY_AFTER),
    }
}

/// Applies changes to the request, and remembers them for later attempts.
pub(super) fn apply(changes: &Changes<'_>, earlier: &Earlier) {
    let map = MapType::HttpRequestHeaders;
    for mutation in &changes.mutations {
        // In the phase of the request headers neither fails.
        let _ = match mutation {
            Mutation::Remove(name) => hostcalls::remove_map_value(map, name),
            Mutation::Set(name, value) => hostcalls::set_map_value_bytes(map, name, Some(value)),
        };
    }
    let written = changes.written.unwrap_or_default().as_bytes();
    if written != earlier.written {
        set_state(WRITTEN, written);
    }
    remember(PATH_BEFORE, PATH_AFTER, changes.path.as_ref(), earlier.path.is_some());
    let authority = changes.authority.as_ref();
    remember(AUTHORITY_BEFORE, AUTHORITY_AFTER, authority, earlier.authority.is_some());
}

/// Keeps what was rewritten, or forgets what an earlier attempt kept.
fn remember(before: &str, after: &str, rewritten: Option<&Rewritten>, kept: bool) {
    if let Some(rewritten) = rewritten {
        set_state(before, &rewritten.before);
        set_state(after, &rewritten.after);
    } else if kept {
        set_state(after, b"");
    }
}

/// The time since the Unix epoch.
pub(super) fn wall() -> Duration {
    let now = hostcalls::get_current_time().ok();
    now.and_then(|now| now.duration_since(UNIX_EPOCH).ok()).unwrap_or_default()
}

/// The time on both clocks.
pub(super) fn now() -> Now {
    let wall = wall();
    Now { steady: steady().unwrap_or(wall), wall }
}

#[allow(unsafe_code, reason = "std gives no time of this clock that VMs can compare")]
#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#clock_time_get>
    fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
}

/// The monotonic clock, which is the same for all VMs of a process.
#[allow(unsafe_code, reason = "see above")]
fn steady() -> Option<Duration> {
    const MONOTONIC: u32 = 1;
    let mut time = 0;
    // SAFETY: the host writes eight bytes at the address, or nothing.
    let status = unsafe { clock_time_get(MONOTONIC, 0, &raw mut time) };
    (status == 0).then_some(Duration::from_nanos(time))
}

/// The `vm_id` of the configuration, which tells whose shared data this is.
pub(super) fn vm_id() -> Option<Vec<u8>> {
    hostcalls::get_property(vec!["plugin_vm_id"]).ok().flatten()
}

/// Whether what arrives of a body after a request was resumed is lost if some of it arrived while the request was
/// paused: Envoy 1.38 goes on collecting it, for nobody.
pub(super) fn loses_bodies() -> bool {
    let minor = vec!["xds", "node", "user_agent_build_version", "version", "minor_number"];
    let minor = hostcalls::get_property(minor).ok().flatten();
    let minor = minor.and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
    minor.is_some_and(|minor| minor < 39)
}

/// Lets a request go on that was paused.
pub(super) fn resume() {
    let _ = hostcalls::resume_http_request();
}

/// The status of the response that is passing.
pub(super) fn response_header(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, name).ok().flatten()
}

/// Hashes what has come of the body, `size` bytes in all, since the last time. `None` if it cannot be read.
pub(super) fn hash_body(hash: &mut BodyHash, size: usize) -> Option<()> {
    while hash.length() < size {
        let length = SLICE.min(size - hash.length());
        let slice = hostcalls::get_buffer(BufferType::HttpRequestBody, hash.length(), length);
        let slice = slice.ok().flatten().filter(|slice| !slice.is_empty())?;
        hash.update(&slice);
    }
    Some(())
}

/// Whether the client has sent some of the body of this request: Envoy counts headers and body together.
pub(super) fn body_has_come() -> bool {
    let total = hostcalls::get_property(vec!["request", "total_size"]).ok().flatten();
    let total = total.and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
    total > header_map::request_headers_size()
}

/// Makes host calls be about a stream until [`Effective`] ends. `None` if the stream has ended.
pub(super) fn on_stream(stream: u32, root: u32) -> Option<Effective> {
    hostcalls::set_effective_context(stream).ok()?;
    Some(Effective { root })
}

/// See [`on_stream`].
pub(super) struct Effective {
    root: u32,
}

impl Drop for Effective {
    fn drop(&mut self) {
        let _ = hostcalls::set_effective_context(self.root);
    }
}

/// Has the root called every so often, or no more. To be called on a change only: it restarts the timer.
pub(super) fn set_tick(period: Duration) {
    let _ = hostcalls::set_tick_period(period);
}

/// Removes the client's credentials from the trailers of the request.
pub(super) fn strip_trailers(client: ClientCredentials, written: &str) {
    let map = MapType::HttpRequestTrailers;
    let trailers = hostcalls::get_map_bytes(map).unwrap_or_default();
    for name in credentials_in_trailers(&trailers, client, written) {
        let _ = hostcalls::remove_map_value(map, name);
    }
}

/// Tells the access log what became of the request.
pub(super) fn set_outcome(outcome: &str) {
    set_state(OUTCOME, outcome.as_bytes());
}

/// Answers the request in place of the provider.
pub(super) fn reply(reply: &Reply) {
    let mut headers = vec![("content-type", "application/json")];
    let again = reply.retry_after.map(|seconds| seconds.to_string());
    headers.extend(again.as_deref().map(|again| ("retry-after", again)));
    let _ =
        hostcalls::send_http_response(reply.status.into(), headers, Some(reply.body.as_bytes()));
}

fn set_state(name: &str, value: &[u8]) {
    let _ = hostcalls::set_property(vec![name], Some(value));
}
