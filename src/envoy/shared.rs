//! What the streams of one configuration share in one worker.

use super::host;
use super::statistics::Statistics;
use crate::engine::{Entry, Filter, Place, Refusal, Withheld};
use std::cell::RefCell;
use std::time::Duration;

/// How many different unknown backends one configuration logs in one worker.
const MOST_COMPLAINTS: usize = 64;
/// The longest value of an attribute that can be the name of a backend, and so be logged.
const LONGEST_NAME: usize = 253;
/// How often requests without a body are looked at.
const TICK: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Shared {
    pub(super) filter: Filter,
    pub(super) statistics: Statistics,
    complaints: RefCell<Vec<String>>,
    withheld: RefCell<Withheld>,
}

impl Shared {
    pub(super) fn new(filter: Filter, statistics: Statistics) -> Self {
        let withheld = RefCell::default();
        Self { filter, statistics, complaints: RefCell::default(), withheld }
    }

    /// Answers the current stream in place of the provider.
    pub(super) fn refuse(
        &self,
        entry: Option<&Entry>,
        refusal: Refusal,
        place: Place,
        backend: Option<&[u8]>,
    ) {
        match entry {
            Some(entry) => {
                host::set_outcome(&entry.refused);
                if let Some(counters) = self.statistics.policy(entry.index) {
                    counters.refused.count();
                }
            }
            None => {
                host::set_outcome("- refused");
                if refusal == Refusal::UnknownBackend {
                    self.statistics.unknown_backend.count();
                }
            }
        }
        self.complain(refusal, self.complaint(refusal, entry, place, backend));
        host::reply(&refusal.reply());
    }

    /// A request waits for its body. Until one has come it is watched, by the tick of the root.
    pub(super) fn await_body(&self, stream: u32, policy: usize) {
        if self.withheld.borrow_mut().wait(stream, policy, host::now()) {
            host::set_tick(TICK);
        }
    }

    /// A piece of a body has come, so they do.
    pub(super) fn body_seen(&self) {
        let mut withheld = self.withheld.borrow_mut();
        let watched = !withheld.is_idle();
        withheld.seen();
        if watched {
            host::set_tick(Duration::ZERO);
        }
    }

    /// A stream has ended.
    pub(super) fn forget(&self, stream: u32) {
        self.withheld.borrow_mut().forget(stream);
    }

    /// Answers the requests whose body Envoy withholds. One whose client has sent nothing yet waits on.
    pub(super) fn refuse_withheld(&self, root: u32) {
        let overdue = self.withheld.borrow().overdue(host::now());
        for waiting in overdue {
            let Some(effective) = host::on_stream(waiting.stream, root) else {
                self.forget(waiting.stream);
                continue;
            };
            if host::body_has_come() {
                self.forget(waiting.stream);
                let entry = self.filter.entries().get(waiting.policy);
                self.refuse(entry, Refusal::BodyWithheld, Place::Upstream, None);
            }
            drop(effective);
        }
        if self.withheld.borrow().is_idle() {
            host::set_tick(Duration::ZERO);
        }
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

    fn complaint(
        &self,
        refusal: Refusal,
        entry: Option<&Entry>,
        place: Place,
        backend: Option<&[u8]>,
    ) -> String {
        let policy = entry.map_or("-", |entry| entry.id.as_str());
        match (refusal, backend) {
            (Refusal::UnknownBackend, Some(backend)) => {
                let of_client = self.filter.property().first().is_some_and(|p| p == "request");
                let backend = if of_client { "a backend".to_owned() } else { printable(backend) };
                format!("no policy targets {backend} (the value of {})", self.property())
            }
            (Refusal::UnknownBackend, None) => {
                format!("a request has no {}, which names its backend", self.property())
            }
            (Refusal::Misconfigured, _) => match place {
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
            (Refusal::BodyWithheld, _) => format!(
                "{policy}: Envoy withholds the body of requests that are to be signed: set \
                 allow_on_headers_stop_iteration: true in the configuration of the plugin"
            ),
            (Refusal::Unsignable, _) => {
                format!("{policy}: a request cannot be signed: an upgrade or CONNECT, or no path")
            }
            (Refusal::Internal, _) => {
                format!("{policy}: headers or body of a request could not be read")
            }
        }
    }

    /// The attribute that names the backend, as Envoy writes it.
    fn property(&self) -> String {
        let mut path = String::new();
        for part in self.filter.property() {
            path.push_str(if path.is_empty() { "" } else { "." });
            path.push_str(part);
        }
        path
    }
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
