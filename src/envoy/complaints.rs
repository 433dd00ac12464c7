//! What the log is told about requests: each complaint once, so that traffic cannot fill it.

use crate::engine::{Entry, Filter, Place, Refusal};
use std::cell::RefCell;

/// How many different unknown backends one configuration logs in one worker.
const MOST: usize = 64;
/// The longest value of an attribute that can be the name of a backend, and so be logged.
const LONGEST_NAME: usize = 253;

/// What has been logged.
#[derive(Default)]
pub(super) struct Complaints(RefCell<Vec<String>>);

impl Complaints {
    /// Logs what is wrong with a request, unless that was done.
    pub(super) fn add(
        &self,
        filter: &Filter,
        refusal: Refusal,
        entry: Option<&Entry>,
        place: Place,
        backend: Option<&[u8]>,
    ) {
        let mut complaints = self.0.borrow_mut();
        let complaint = complaint(filter, refusal, entry, place, backend);
        let room = complaints.len() < MOST || refusal != Refusal::UnknownBackend;
        if room && !complaints.contains(&complaint) {
            log::warn!("{complaint}");
            complaints.push(complaint);
        }
    }
}

fn complaint(
    filter: &Filter,
    refusal: Refusal,
    entry: Option<&Entry>,
    place: Place,
    backend: Option<&[u8]>,
) -> String {
    let policy = entry.map_or("-", |entry| entry.id.as_str());
    match (refusal, backend) {
        (Refusal::UnknownBackend, Some(backend)) => {
            let of_client = filter.property().first().is_some_and(|part| part == "request");
            let backend = if of_client { "a backend".to_owned() } else { printable(backend) };
            format!("no policy targets {backend} (the value of {})", property(filter))
        }
        (Refusal::UnknownBackend, None) => {
            format!("a request has no {}, which names its backend", property(filter))
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
        (Refusal::Unavailable(_), _) => {
            format!("{policy}: requests are refused while there is no credential")
        }
        (Refusal::Internal, _) => {
            format!("{policy}: headers or body of a request could not be read")
        }
    }
}

/// The attribute that names the backend, as Envoy writes it.
fn property(filter: &Filter) -> String {
    let mut path = String::new();
    for part in filter.property() {
        path.push_str(if path.is_empty() { "" } else { "." });
        path.push_str(part);
    }
    path
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
