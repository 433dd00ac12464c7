//! Backends: how they are named, and which policy each has.

use super::index::Index;
use super::rules;
use std::fmt;

/// The kind that a backend has when none is given.
pub(crate) const AI_SERVICE_BACKEND: &str = "AIServiceBackend";
/// The other kind that a policy can target.
pub(crate) const INFERENCE_POOL: &str = "InferencePool";
/// The namespace of whatever names none.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// A backend: `<Kind> <namespace>/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendName {
    /// `AIServiceBackend` or `InferencePool`.
    pub kind: String,
    /// The namespace of the object.
    pub namespace: String,
    /// The name of the object.
    pub name: String,
}

impl BackendName {
    /// Reads `name`, `namespace/name` or `Kind/namespace/name`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplit('/');
        let name = parts.next()?;
        let namespace = parts.next().unwrap_or(DEFAULT_NAMESPACE);
        let kind = parts.next().unwrap_or(AI_SERVICE_BACKEND);
        let good = parts.next().is_none()
            && rules::path_part(name)
            && rules::dns_label(namespace)
            && matches!(kind, AI_SERVICE_BACKEND | INFERENCE_POOL);
        good.then(|| Self {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Every way to write this backend, the longest first.
    fn spellings(&self) -> Vec<String> {
        let Self { kind, namespace, name } = self;
        let mut spellings = vec![format!("{kind}/{namespace}/{name}")];
        if kind == AI_SERVICE_BACKEND {
            spellings.push(format!("{namespace}/{name}"));
            if namespace == DEFAULT_NAMESPACE {
                spellings.push(name.clone());
            }
        }
        spellings
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// A backend that has a policy.
#[derive(Debug)]
pub struct Target {
    /// The number of its policy.
    pub policy: usize,
    /// The host to sign for it, if it is given.
    pub host: Option<String>,
}

/// From the value of the attribute that names the backend to the policy of that backend.
#[derive(Debug, Default)]
pub struct Backends {
    /// To a number of `targets`.
    by_attribute: Index,
    targets: Vec<Target>,
}

impl Backends {
    /// Indexes `targets`, each with the number of its policy. `names` says which attribute values mean
    /// which backend; they come before the backends' own names. `hosts` are the hosts to sign.
    pub(crate) fn index(
        targets: &[(BackendName, usize)],
        names: &[(String, BackendName)],
        hosts: &[(BackendName, String)],
    ) -> Self {
        let (mut by_attribute, mut numbers) = (Index::default(), Index::default());
        let mut indexed = Vec::new();
        for (target, policy) in targets {
            for spelling in target.spellings() {
                by_attribute.set(&spelling, indexed.len());
            }
            numbers.set(&target.to_string(), indexed.len());
            indexed.push(Target { policy: *policy, host: None });
        }
        for (backend, host) in hosts {
            let number = numbers.get(backend.to_string().as_bytes());
            if let Some(target) = number.and_then(|number| indexed.get_mut(number)) {
                target.host = Some(host.clone());
            }
        }
        for (attribute, backend) in names {
            match numbers.get(backend.to_string().as_bytes()) {
                Some(number) => {
                    by_attribute.set(attribute, number);
                }
                None => by_attribute.remove(attribute),
            }
        }
        Self { by_attribute, targets: indexed }
    }

    /// The backend for an attribute value.
    pub fn target(&self, attribute: &[u8]) -> Option<&Target> {
        self.by_attribute.get(attribute).and_then(|number| self.targets.get(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(text: &str) -> BackendName {
        BackendName::parse(text).unwrap()
    }

    fn policy(backends: &Backends, attribute: &str) -> Option<usize> {
        backends.target(attribute.as_bytes()).map(|target| target.policy)
    }

    #[test]
    fn kind_and_namespace_of_a_backend_have_defaults() {
        assert_eq!(backend("a"), backend("AIServiceBackend/default/a"));
        assert_eq!(backend("team/a"), backend("AIServiceBackend/team/a"));
        assert_eq!(backend("InferencePool/default/p").to_string(), "InferencePool default/p");
        for text in ["", "/a", "a/", "Service/default/a", "w/x/y/z", "Team/a"] {
            assert_eq!(BackendName::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_backend_is_found_by_every_spelling_and_by_nothing_else() {
        let targets =
            [(backend("a"), 0), (backend("team/b"), 1), (backend("InferencePool/default/a"), 2)];
        let backends = Backends::index(&targets, &[], &[]);
        for (attribute, policy) in [
            ("a", Some(0)),
            ("default/a", Some(0)),
            ("AIServiceBackend/default/a", Some(0)),
            ("team/b", Some(1)),
            ("b", None),
            ("InferencePool/default/a", Some(2)),
            ("A", None),
            ("", None),
        ] {
            assert_eq!(self::policy(&backends, attribute), policy, "{attribute}");
        }
    }

    #[test]
    fn names_come_before_the_spellings_even_to_take_a_policy_away() {
        let targets = [(backend("a"), 0), (backend("b"), 1)];
        let names = [("a".to_owned(), backend("b")), ("b".to_owned(), backend("none"))];
        let backends = Backends::index(&targets, &names, &[]);
        assert_eq!(policy(&backends, "a"), Some(1));
        assert_eq!(policy(&backends, "b"), None);
        assert_eq!(policy(&backends, "default/b"), Some(1));
    }

    #[test]
    fn a_host_belongs_to_one_backend_by_every_spelling_and_name() {
        let targets = [(backend("a"), 0), (backend("b"), 0)];
        let names = [("x".to_owned(), backend("a"))];
        let hosts = [(backend("default/a"), "h".to_owned()), (backend("c"), "i".to_owned())];
        let backends = Backends::index(&targets, &names, &hosts);
        let host = |attribute: &str| backends.target(attribute.as_bytes()).unwrap().host.as_deref();
        assert_eq!((host("a"), host("default/a"), host("x")), (Some("h"), Some("h"), Some("h")));
        assert_eq!(host("b"), None);
    }
}
