//! One attempt of a request: from what is known of it to what is done with it.

use super::compile::{Chosen, Entry, Filter, Means};
use super::item::Ready;
use super::reply::Refusal;
use crate::aws::sigv4::Hash;
use crate::inject::{Changes, Earlier, Headers, Occasion, Put, SignError, inject, signable};
use crate::policy::{Position, UnmatchedBackend};
use std::time::Duration;

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
    /// The policy of its backend, if that has one.
    pub chosen: Option<Chosen<'a>>,
    /// What was obtained for that policy, if it may be used.
    pub ready: Option<&'a Ready>,
    /// Those of its headers that injection [`concerns`](crate::inject::concerns), or all; `None` if
    /// they cannot be read.
    pub headers: Option<&'a Headers>,
    /// What earlier attempts did.
    pub earlier: &'a Earlier,
    /// The hash of its body, if that has come to its end.
    pub body: Option<&'a Hash>,
    /// The time since the Unix epoch.
    pub now: Duration,
}

/// What is done with an attempt.
#[derive(Debug)]
pub enum Decision<'a> {
    /// It goes on with this policy's credential.
    Inject(&'a Entry, Changes<'a>),
    /// It waits, and this is decided anew when its body has come.
    AwaitBody(&'a Entry),
    /// It waits, and this is decided anew when the credential of this policy has come.
    AwaitCredential(&'a Entry),
    /// It goes on without one: its backend has no policy, and that is allowed.
    Pass(Changes<'a>),
    /// It does not go on.
    Refuse(Option<&'a Entry>, Refusal),
}

/// Decides about an attempt.
pub fn decide<'a>(filter: &'a Filter, attempt: &Attempt<'a>) -> Decision<'a> {
    let entry = attempt.chosen.map(|chosen| chosen.entry);
    match (filter.position, attempt.place) {
        (Position::Upstream, Place::Upstream) | (Position::Listener, Place::Listener) => {}
        (Position::Upstream, Place::Listener) | (Position::Listener, Place::Upstream) => {
            return Decision::Refuse(entry, Refusal::Misconfigured);
        }
    }
    let Some(headers) = attempt.headers else {
        return Decision::Refuse(entry, Refusal::Internal);
    };
    let known = |value: &[u8]| filter.known.borrow().contains(value);
    let put = match attempt.chosen {
        None if filter.unmatched_backend == UnmatchedBackend::Deny => {
            return Decision::Refuse(None, Refusal::UnknownBackend);
        }
        None => Put::Nothing,
        Some(Chosen { entry, host }) => {
            if entry.signs && attempt.body.is_none() {
                return match signable(headers) {
                    Ok(()) => Decision::AwaitBody(entry),
                    Err(error) => Decision::Refuse(Some(entry), error.into()),
                };
            }
            let ready = || attempt.ready.map(|ready| &ready.means);
            match (entry.means.as_ref().or_else(ready), attempt.body) {
                (None, _) if entry.obtains => return Decision::AwaitCredential(entry),
                (Some(Means::Credential(credential)), _) => match &entry.vertex {
                    Some(path) => Put::Vertex(credential, path),
                    None => Put::Credential(credential),
                },
                (Some(Means::Signing(signing)), Some(body)) => {
                    Put::Signature(signing, Occasion { host, now: attempt.now, body })
                }
                (None, _) | (Some(Means::Signing(_)), None) => {
                    return Decision::Refuse(Some(entry), Refusal::Internal);
                }
            }
        }
    };
    match (inject(headers, attempt.earlier, filter.client_credentials, &known, put), entry) {
        (Ok(changes), Some(entry)) => Decision::Inject(entry, changes),
        (Ok(changes), None) => Decision::Pass(changes),
        (Err(error), _) => Decision::Refuse(entry, error.into()),
    }
}

impl From<SignError> for Refusal {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Unsignable => Self::Unsignable,
            SignError::Internal => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Variable, parse};
    use serde_json::{Value, json};

    fn filter(settings: &Value) -> Filter {
        let mut configuration = settings.clone();
        configuration["resources"] = json!([
            {
                "apiVersion": "aigateway.envoyproxy.io/v1beta1",
                "kind": "BackendSecurityPolicy",
                "metadata": {"name": "p"},
                "spec": {
                    "type": "APIKey",
                    "targetRefs": [
                        {"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": "a"}
                    ],
                    "apiKey": {"secretRef": {"name": "s"}},
                },
            },
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
             "stringData": {"apiKey": "ours"}},
        ]);
        let loaded = parse(configuration.to_string().as_bytes(), &|_| Variable::Unset).unwrap();
        Filter::new(loaded.config).unwrap().0
    }

    fn outcome(
        filter: &Filter,
        place: Place,
        backend: Option<&str>,
        headers: Option<&Headers>,
    ) -> String {
        let attempt = Attempt {
            place,
            chosen: filter.choose(backend.map(str::as_bytes)),
            ready: None,
            headers,
            earlier: &Earlier::default(),
            body: None,
            now: Duration::ZERO,
        };
        match decide(filter, &attempt) {
            Decision::Inject(entry, changes) => {
                assert_eq!(changes.written, Some("authorization"));
                format!("inject {}", entry.id)
            }
            Decision::AwaitBody(entry) => format!("await {}", entry.id),
            Decision::AwaitCredential(entry) => format!("await credential {}", entry.id),
            Decision::Pass(changes) => {
                assert_eq!(changes, Changes::default());
                "pass".to_owned()
            }
            Decision::Refuse(entry, refusal) => {
                format!("refuse {} {refusal:?}", entry.map_or("-", |entry| entry.id.as_str()))
            }
        }
    }

    fn headers() -> Vec<(String, Vec<u8>)> {
        vec![(":path".to_owned(), b"/".to_vec()), ("cookie".to_owned(), b"a".to_vec())]
    }

    #[test]
    fn a_backend_gets_the_credential_of_its_policy_and_others_are_refused() {
        let filter = filter(&json!({}));
        let outcome = |backend| outcome(&filter, Place::Upstream, backend, Some(&headers()));
        assert_eq!(outcome(Some("a")), "inject default/p");
        assert_eq!(outcome(Some("b")), "refuse - UnknownBackend");
        assert_eq!(outcome(Some("")), "refuse - UnknownBackend");
        assert_eq!(outcome(None), "refuse - UnknownBackend");
    }

    #[test]
    fn allow_lets_other_backends_pass_unchanged() {
        let filter = filter(&json!({"unmatchedBackend": "Allow"}));
        assert_eq!(outcome(&filter, Place::Upstream, Some("b"), Some(&headers())), "pass");
        assert_eq!(outcome(&filter, Place::Upstream, None, Some(&headers())), "pass");
    }

    #[test]
    fn the_wrong_position_is_refused_whatever_the_backend() {
        for (settings, wrong, right) in [
            (json!({"unmatchedBackend": "Allow"}), Place::Listener, Place::Upstream),
            (
                json!({"position": "Listener", "unmatchedBackend": "Allow"}),
                Place::Upstream,
                Place::Listener,
            ),
        ] {
            let filter = filter(&settings);
            let outcome = |place, backend| outcome(&filter, place, Some(backend), Some(&headers()));
            assert_eq!(outcome(wrong, "a"), "refuse default/p Misconfigured");
            assert_eq!(outcome(wrong, "b"), "refuse - Misconfigured");
            assert_eq!(outcome(right, "a"), "inject default/p");
        }
    }

    #[test]
    fn a_request_whose_headers_cannot_be_read_is_stopped() {
        let filter = filter(&json!({"unmatchedBackend": "Allow"}));
        for backend in ["a", "b"] {
            let refused = outcome(&filter, Place::Upstream, Some(backend), None);
            assert!(refused.ends_with("Internal"), "{refused}");
        }
    }
}
