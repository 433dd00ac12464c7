//! The stream context: one per attempt in an upstream chain, one per request in a listener's.

use super::header_map::request_headers;
use super::host;
use super::shared::Shared;
use crate::aws::sigv4::{EMPTY_BODY, Hash};
use crate::engine::{Attempt, BodyHash, Decision, Place, Refusal, decide};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
#[cfg(feature = "test-hooks")]
use proxy_wasm::types::MapType;
use std::rc::Rc;
use std::time::Duration;

/// Decides about one attempt.
pub(super) struct Stream {
    id: u32,
    shared: Option<Rc<Shared>>,
    /// Where it passes, and the value of the attribute that names its backend, read in the headers: once
    /// another attempt has begun, the host answers with that attempt's.
    own: Option<(Place, Option<Vec<u8>>)>,
    /// What has come of a body that is awaited.
    body: Option<BodyHash>,
    /// The headers that this attempt wrote.
    written: Option<&'static str>,
}

impl Stream {
    pub(super) fn new(id: u32, shared: Option<Rc<Shared>>) -> Self {
        Self { id, shared, own: None, body: None, written: None }
    }

    /// Decides with what is known of the attempt now. Whoever comes back reads the headers and what was
    /// done to them anew, since another attempt of the same request may have written; but not which
    /// attempt this is.
    fn proceed(&mut self, body: Option<&Hash>) -> Action {
        let Some(shared) = &self.shared else {
            // Envoy does not use a configuration that was refused.
            host::reply(&Refusal::Internal.reply());
            return Action::Pause;
        };
        let (place, backend) = self.own.take().unwrap_or_else(|| {
            let place = if host::is_upstream() { Place::Upstream } else { Place::Listener };
            (place, host::property(shared.filter.property()))
        });
        let earlier = host::earlier();
        let headers = request_headers(shared.filter.signs() || earlier.authority.is_some());
        #[cfg(feature = "test-hooks")]
        panic_if_asked();
        let attempt = Attempt {
            place,
            backend: backend.as_deref(),
            headers: headers.as_deref(),
            earlier: &earlier,
            body,
            now: if shared.filter.signs() { host::now() } else { Duration::ZERO },
        };
        match decide(&shared.filter, &attempt) {
            Decision::Inject(entry, changes) => {
                host::apply(&changes, &earlier);
                self.written = changes.written;
                host::set_outcome(&entry.injected);
                if let Some(counters) = shared.statistics.policy(entry.index) {
                    counters.injected.count();
                }
                Action::Continue
            }
            Decision::AwaitBody(entry) => {
                self.body = Some(BodyHash::default());
                shared.await_body(self.id, entry.index);
                self.own = Some((place, backend));
                Action::Pause
            }
            Decision::Pass(changes) => {
                host::apply(&changes, &earlier);
                host::set_outcome("- passed");
                Action::Continue
            }
            Decision::Refuse(entry, refusal) => {
                shared.refuse(entry, refusal, attempt.place, attempt.backend);
                Action::Pause
            }
        }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        self.proceed(end_of_stream.then_some(&EMPTY_BODY))
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        let (Some(mut body), Some(shared)) = (self.body.take(), &self.shared) else {
            return Action::Continue;
        };
        if body.length() == 0 {
            shared.body_seen();
        }
        // What cannot be read is left out, and so cannot be signed.
        if host::hash_body(&mut body, size).is_none() {
            shared.refuse(None, Refusal::Internal, Place::Upstream, None);
            return Action::Pause;
        }
        if end_of_stream {
            return self.proceed(Some(&body.finish()));
        }
        self.body = Some(body);
        Action::Pause
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        if let Some(body) = self.body.take()
            && self.proceed(Some(&body.finish())) == Action::Pause
        {
            return Action::Pause;
        }
        if let (Some(shared), Some(written)) = (&self.shared, self.written) {
            host::strip_trailers(shared.filter.client_credentials(), written);
        }
        Action::Continue
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let (Some(_), Some(shared)) = (&self.body, &self.shared) {
            shared.forget(self.id);
        }
    }
}

/// Tests ask for a panic by a header.
#[cfg(feature = "test-hooks")]
#[allow(clippy::panic, reason = "it is what tests ask for")]
fn panic_if_asked() {
    use proxy_wasm::hostcalls::get_map_value_bytes;
    if let Ok(Some(_)) = get_map_value_bytes(MapType::HttpRequestHeaders, "x-test-panic") {
        panic!("a test asked for it");
    }
}
