//! The stream context: one per attempt in an upstream chain, one per request in a listener's.

use super::header_map::request_headers;
use super::host;
use super::statistics::Statistics;
use crate::engine::{Attempt, Decision, Entry, Filter, Place, Refusal, decide};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
#[cfg(feature = "test-hooks")]
use proxy_wasm::types::MapType;
use std::cell::RefCell;
use std::rc::Rc;

/// How many different unknown backends one configuration logs in one worker.
const MOST_COMPLAINTS: usize = 64;
/// The longest value of an attribute that can be the name of a backend, and so be logged.
const LONGEST_NAME: usize = 253;

/// What the streams of one configuration share in one worker.
pub(super) struct Shared {
    filter: Filter,
    statistics: Statistics,
    complaints: RefCell<Vec<String>>,
}

impl Shared {
    pub(super) fn new(filter: Filter, statistics: Statistics) -> Self {
        Self { filter, statistics, complaints: RefCell::default() }
    }

    /// Logs what is wrong with requests, each complaint once, so that traffic cannot fill the log.
    fn complain(&self, refusal: Refusal, complaint: String) {
        let mut complaints = self.complaints.borrow_mut();
        let room = complaints.len() < MOST_COMPLAINTS || refusal != Refusal::UnknownBackend;
        if room && !complaints.contains(&complaint) {
            log::warn!("{complaint}");
            complaints.push(complaint);
        }
    }
}

/// Decides about one attempt.
pub(super) struct Stream {
    shared: Option<Rc<Shared>>,
    /// The header that this attempt wrote.
    written: Option<&'static str>,
}

impl Stream {
    pub(super) fn new(shared: Option<Rc<Shared>>) -> Self {
        Self { shared, written: None }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(shared) = &self.shared else {
            // Envoy does not use a configuration that was refused.
            host::reply(&Refusal::Internal.reply());
            return Action::Pause;
        };
        let backend = host::property(shared.filter.property());
        let headers = request_headers();
        #[cfg(feature = "test-hooks")]
        panic_if_asked();
        let earlier = host::earlier();
        let attempt = Attempt {
            place: if host::is_upstream() { Place::Upstream } else { Place::Listener },
            backend: backend.as_deref(),
            headers: headers.as_deref(),
            earlier: &earlier,
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
            Decision::Pass(changes) => {
                host::apply(&changes, &earlier);
                host::set_outcome("- passed");
                Action::Continue
            }
            Decision::Refuse(entry, refusal) => {
                refuse(shared, entry, refusal, &attempt);
                Action::Pause
            }
        }
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        if let (Some(shared), Some(written)) = (&self.shared, self.written) {
            host::strip_trailers(shared.filter.client_credentials(), written);
        }
        Action::Continue
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

fn refuse(shared: &Shared, entry: Option<&Entry>, refusal: Refusal, attempt: &Attempt<'_>) {
    match entry {
        Some(entry) => {
            host::set_outcome(&entry.refused);
            if let Some(counters) = shared.statistics.policy(entry.index) {
                counters.refused.count();
            }
        }
        None => {
            host::set_outcome("- refused");
            if refusal == Refusal::UnknownBackend {
                shared.statistics.unknown_backend.count();
            }
        }
    }
    let property = || {
        let mut path = String::new();
        for part in shared.filter.property() {
            path.push_str(if path.is_empty() { "" } else { "." });
            path.push_str(part);
        }
        path
    };
    let complaint = match (refusal, attempt.backend) {
        (Refusal::UnknownBackend, Some(backend)) => {
            let of_client = shared.filter.property().first().is_some_and(|part| part == "request");
            let backend = if of_client { "a backend".to_owned() } else { printable(backend) };
            format!("no policy targets {backend} (the value of {})", property())
        }
        (Refusal::UnknownBackend, None) => {
            format!("a request has no {}, which names its backend", property())
        }
        (Refusal::Misconfigured, _) => match attempt.place {
            Place::Upstream => {
                "the filter stands in the upstream filters of a cluster and is \
                configured for a listener: set position: Upstream, or move it"
            }
            Place::Listener => {
                "the filter stands in the filters of a listener and is configured \
                for the upstream filters of clusters: set position: Listener, or move it"
            }
        }
        .to_owned(),
        (Refusal::Internal, _) => "the headers of a request could not be read".to_owned(),
    };
    shared.complain(refusal, complaint);
    host::reply(&refusal.reply());
}

/// The value of an attribute, if it looks like the name of a backend. Parts of the request are the
/// client's and never logged.
fn printable(backend: &[u8]) -> String {
    let name = backend.iter().all(|b| b.is_ascii_graphic() && *b != b'?' && *b != b'=');
    match core::str::from_utf8(backend) {
        Ok(text) if name && text.len() <= LONGEST_NAME => format!("backend \"{text}\""),
        _ => format!("a backend whose name has {} bytes", backend.len()),
    }
}
