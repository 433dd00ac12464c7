//! One attempt of a request: from what is known of it to what is done with it.

use super::compile::{Entry, Filter};
use super::reply::Refusal;
use crate::inject::{Changes, Earlier, Headers, inject};
use crate::policy::{Position, UnmatchedBackend};

/// Where this attempt passes the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a cluster's chain.
    Upstream,
    /// In a listener's chain.
    Listener,
}

/// What is known of an attempt.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// Where it passes the filter.
    pub place: Place,
    /// The value of the attribute that names the backend, if it has one.
    pub backend: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a Headers,
    /// What earlier attempts did.
    pub earlier: &'a Earlier,
}

/// What is done with an attempt.
#[derive(Debug)]
pub enum Decision<'a> {
    /// It goes on with this policy's credential.
    Inject(&'a Entry, Changes<'a>),
    /// It goes on without one: its backend has no policy, and that is allowed.
    Pass(Changes<'a>),
    /// It does not go on.
    Refuse(Option<&'a Entry>, Refusal),
}

/// Decides about an attempt.
pub fn decide<'a>(filter: &'a Filter, attempt: &Attempt<'a>) -> Decision<'a> {
    let entry = attempt
        .backend
        .and_then(|backend| filter.backends.policy(backend))
        .and_then(|index| filter.entries().get(index));
    match (filter.position, attempt.place) {
        (Position::Upstream, Place::Upstream) | (Position::Listener, Place::Listener) => {}
        (Position::Upstream, Place::Listener) | (Position::Listener, Place::Upstream) => {
            return Decision::Refuse(entry, Refusal::Misconfigured);
        }
    }
    if attempt.headers.is_empty() {
        // Every request has pseudo-headers: these could not be read.
        return Decision::Refuse(entry, Refusal::Internal);
    }
    let changes = |credential| {
        inject(attempt.headers, attempt.earlier, filter.client_credentials, credential)
    };
    match (entry, filter.unmatched_backend) {
        (Some(entry), _) => Decision::Inject(entry, changes(Some(&entry.credential))),
        (None, UnmatchedBackend::Allow) => Decision::Pass(changes(None)),
        (None, UnmatchedBackend::Deny) => Decision::Refuse(None, Refusal::UnknownBackend),
    }
}
