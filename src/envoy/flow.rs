//! One attempt on its way through the filter: its own callbacks take it on, and the root does once the
//! credential has come that it waits for.

use super::header_map::request_headers;
use super::host;
use super::shared::Shared;
use crate::aws::sigv4::Hash;
use crate::engine::{Attempt, BodyHash, Decision, Place, Refusal, Shortage, decide};
#[cfg(feature = "test-hooks")]
use proxy_wasm::types::MapType;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// See the module.
#[derive(Default)]
pub(super) struct Flow {
    pub(super) id: u32,
    /// Where it passes, and the value of the attribute that names its backend, read in the headers: once
    /// another attempt has begun, the host answers with that attempt's.
    own: Option<(Place, Option<Vec<u8>>)>,
    /// What has come of a body that is awaited.
    pub(super) body: Option<BodyHash>,
    /// The hash of the body, once it has come to its end.
    pub(super) hash: Option<Hash>,
    /// How many bytes of body the host holds for it.
    pub(super) held: usize,
    /// Whether a piece of its body has come while it waits, and not its end.
    pub(super) open: bool,
    /// Its credential has come, and the next piece of its body takes it on.
    pub(super) resumable: bool,
    /// What it waits for a credential to write: the names of the headers.
    pub(super) waits_for: Option<&'static str>,
    /// It was answered.
    pub(super) refused: bool,
    /// The headers that this attempt wrote.
    pub(super) written: Option<&'static str>,
    /// What it got, if that was obtained: the policy and the serial number of the credential.
    pub(super) used: Option<(usize, u64)>,
}

/// Whether an attempt goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Continue,
    Pause,
}

impl Flow {
    pub(super) fn new(id: u32) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { id, ..Self::default() }))
    }

    /// Decides with what is known of the attempt now. Whoever comes back reads the headers and what was
    /// done to them anew, since another attempt of the same request may have written; but not which
    /// attempt this is.
    pub(super) fn proceed(this: &Rc<RefCell<Self>>, shared: &Shared) -> Outcome {
        let mut flow = this.borrow_mut();
        flow.waits_for = None;
        let (place, backend) = flow.own.take().unwrap_or_else(|| {
            let place = if host::is_upstream() { Place::Upstream } else { Place::Listener };
            (place, host::property(shared.filter.property()))
        });
        let chosen = shared.filter.choose(backend.as_deref());
        let obtains = chosen.map(|chosen| chosen.entry).filter(|entry| entry.obtains);
        let wall =
            if obtains.is_some() || shared.filter.signs() { host::wall() } else { Duration::ZERO };
        let mut ready = obtains.and_then(|entry| shared.ready(entry.index, wall));
        let mut shortage = None;
        if let (Some(entry), None) = (obtains, &ready) {
            shortage = shared.shortage(entry.index);
            ready = shared.ready(entry.index, wall);
        }
        let earlier = host::earlier();
        let headers = request_headers(shared.filter.signs() || earlier.authority.is_some());
        #[cfg(feature = "test-hooks")]
        panic_if_asked();
        let hash = flow.hash;
        let attempt = Attempt {
            place,
            chosen,
            ready: ready.as_deref(),
            headers: headers.as_deref(),
            earlier: &earlier,
            body: hash.as_ref(),
            now: wall,
        };
        match decide(&shared.filter, &attempt) {
            Decision::Inject(entry, changes) => {
                host::apply(&changes, &earlier);
                flow.written = changes.written;
                flow.used = ready.as_ref().map(|ready| (entry.index, ready.serial()));
                host::set_outcome(&entry.injected);
                if let Some(counters) = shared.statistics.policy(entry.index) {
                    counters.injected.count();
                }
                Outcome::Continue
            }
            Decision::AwaitBody(entry) => {
                flow.body = Some(BodyHash::default());
                shared.await_body(flow.id, entry.index);
                flow.own = Some((place, backend));
                Outcome::Pause
            }
            Decision::AwaitCredential(entry) => {
                flow.own = Some((place, backend));
                let (stream, held) = (flow.id, flow.held);
                match shortage {
                    Some(Shortage::Refused(seconds)) => {
                        flow.refuse_unavailable(shared, Some(seconds));
                    }
                    _ if shared.await_credential(stream, entry.index, held, this) => {
                        flow.waits_for = Some(entry.writes);
                    }
                    // Too many wait already.
                    _ => flow.refuse_unavailable(shared, None),
                }
                Outcome::Pause
            }
            Decision::Pass(changes) => {
                host::apply(&changes, &earlier);
                host::set_outcome("- passed");
                Outcome::Continue
            }
            Decision::Refuse(entry, refusal) => {
                shared.refuse(entry, refusal, place, backend.as_deref());
                flow.refused = true;
                Outcome::Pause
            }
        }
    }

    /// Answers it: there is no credential, and it may come back in so many seconds, or when that is asked
    /// for again.
    pub(super) fn refuse_unavailable(&mut self, shared: &Shared, seconds: Option<u64>) {
        let own = self.own.take();
        let (place, backend) = own.unwrap_or((Place::Upstream, None));
        let entry = shared.filter.choose(backend.as_deref()).map(|chosen| chosen.entry);
        let seconds =
            seconds.unwrap_or_else(|| entry.map_or(1, |entry| shared.retry_after(entry.index)));
        shared.refuse(entry, Refusal::Unavailable(seconds), place, backend.as_deref());
        self.waits_for = None;
        self.refused = true;
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
