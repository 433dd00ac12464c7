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

/// From the value of the attribute that names the backend to the policy of that backend.
#[derive(Debug, Default)]
pub struct Backends {
    by_attribute: Index,
}

impl Backends {
    /// Indexes `targets`, each with the number of its policy; `owners` has the same by the text of a
    /// target. `names` says which attribute values mean which backend; they come before the backends'
    /// own names.
    pub(crate) fn index(
        targets: &[(BackendName, usize)],
        owners: &Index,
        names: &[(String, BackendName)],
    ) -> Self {
        let mut by_attribute = Index::default();
        for (target, policy) in targets {
            for spelling in target.spellings() {
                by_attribute.set(&spelling, *policy);
            }
        }
        for (attribute, backend) in names {
            match owners.get(backend.to_string().as_bytes()) {
                Some(policy) => {
                    by_attribute.set(attribute, policy);
                }
                None => by_attribute.remove(attribute),
            }
        }
        Self { by_attribute }
    }

    /// The number of the policy for an attribute value.
    pub fn policy(&self, attribute: &[u8]) -> Option<usize> {
        self.by_attribute.get(attribute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(text: &str) -> BackendName {
        BackendName::parse(text).unwrap()
    }

    fn index(targets: &[(BackendName, usize)], names: &[(String, BackendName)]) -> Backends {
        let mut owners = Index::default();
        for (target, policy) in targets {
            owners.set(&target.to_string(), *policy);
        }
        Backends::index(targets, &owners, names)
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
        let backends = index(&targets, &[]);
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
            assert_eq!(backends.policy(attribute.as_bytes()), policy, "{attribute}");
        }
    }

    #[test]
    fn names_come_before_the_spellings_even_to_take_a_policy_away() {
        let targets = [(backend("a"), 0), (backend("b"), 1)];
        let names = [("a".to_owned(), backend("b")), ("b".to_owned(), backend("none"))];
        let backends = index(&targets, &names);
        assert_eq!(backends.policy(b"a"), Some(1));
        assert_eq!(backends.policy(b"b"), None);
        assert_eq!(backends.policy(b"default/b"), Some(1));
    }
}
