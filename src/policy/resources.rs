//! The Kubernetes objects of a configuration: which there are, and which concern us.

use super::backend::DEFAULT_NAMESPACE;
use super::cursor::{Fields, items, text, unsupported};
use super::place::Place;
use super::problem::{Report, Subject, quote};
use super::rules;
use super::tree::Tree;

/// The API group of the upstream's kinds.
pub(crate) const AI_GATEWAY_GROUP: &str = "aigateway.envoyproxy.io";
/// The kind of a policy.
pub(crate) const BACKEND_SECURITY_POLICY: &str = "BackendSecurityPolicy";
const SECRET: &str = "Secret";
/// The upstream's other kinds; what else calls itself of this group is probably misspelt.
const OTHER_KINDS: [&str; 5] =
    ["AIGatewayRoute", "AIServiceBackend", "GatewayConfig", "MCPRoute", "QuotaPolicy"];

/// A version of the policy's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiVersion {
    V1Alpha1,
    V1Beta1,
}

/// An object that concerns us, not yet read.
pub(crate) struct Resource<'t, 'r> {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) fields: Fields<'t, 'r>,
}

/// The objects that concern us, by kind.
#[derive(Default)]
pub(crate) struct Resources<'t, 'r> {
    pub(crate) policies: Vec<(Resource<'t, 'r>, ApiVersion)>,
    pub(crate) secrets: Vec<Resource<'t, 'r>>,
    /// Whether there was a policy at all, be it one that cannot be read.
    pub(crate) any_policy: bool,
}

impl<'t, 'r> Resources<'t, 'r> {
    /// Sorts the value of `resources`: a list, or one object of `kind: List`.
    pub(crate) fn sort(tree: &'t Tree, place: Place<'r>) -> Self {
        let mut sorted = Self::default();
        match tree {
            Tree::Map(_) => sorted.add(tree, place, 0),
            tree => {
                for (index, (item, place)) in items(tree, place).into_iter().enumerate() {
                    sorted.add(item, place, index);
                }
            }
        }
        sorted
    }

    fn add(&mut self, tree: &'t Tree, place: Place<'r>, resource: usize) {
        let report = place.report();
        let nameless = Subject::nameless(&place.path(), resource);
        let top = Place::top(report, nameless);
        let Some(mut fields) = Fields::of(tree, top) else { return };
        let Some(kind) = filled(&mut fields, "kind") else { return };
        let api_version = fields.text("apiVersion").map_or("", |(text, _)| text);
        match kind {
            "List" | "BackendSecurityPolicyList" | "SecretList" => {
                let place = place.field("items");
                let list = tree.field("items").map_or_else(Vec::new, |list| items(list, place));
                for (item, place) in list {
                    self.add(item, place, resource);
                }
            }
            BACKEND_SECURITY_POLICY => {
                self.any_policy = true;
                let version = match api_version.strip_prefix(AI_GATEWAY_GROUP) {
                    Some("/v1beta1") => ApiVersion::V1Beta1,
                    Some("/v1alpha1") => ApiVersion::V1Alpha1,
                    _ => {
                        fields.place().field("apiVersion").error(&format!(
                            "must be {AI_GATEWAY_GROUP}/v1beta1 or {AI_GATEWAY_GROUP}/v1alpha1"
                        ));
                        ApiVersion::V1Beta1
                    }
                };
                if let Some(resource) = named(kind, tree, fields, report, resource) {
                    self.policies.push((resource, version));
                }
            }
            // Another group's Secret is another kind.
            SECRET if !api_version.contains('/') => {
                if api_version != "v1" {
                    fields.place().field("apiVersion").error("must be v1");
                }
                self.secrets.extend(named(kind, tree, fields, report, resource));
            }
            kind if api_version.starts_with(AI_GATEWAY_GROUP)
                && kind.starts_with("BackendSecurity") =>
            {
                self.any_policy = true;
                fields.place().field("kind").error(&unsupported(kind, &[BACKEND_SECURITY_POLICY]));
            }
            kind if api_version.starts_with(AI_GATEWAY_GROUP) && !OTHER_KINDS.contains(&kind) => {
                fields.place().field("kind").warning(&format!(
                    "{AI_GATEWAY_GROUP} is not known to have a kind \"{}\": ignored",
                    quote(kind)
                ));
            }
            _ => {}
        }
    }
}

/// Reads name and namespace, and reads the object anew under that name.
fn named<'t, 'r>(
    kind: &str,
    tree: &'t Tree,
    mut nameless: Fields<'t, 'r>,
    report: &'r Report,
    resource: usize,
) -> Option<Resource<'t, 'r>> {
    let place = nameless.place().field("metadata");
    let mut metadata = nameless.object("metadata").unwrap_or_else(|| Fields::none(place));
    let name = filled(&mut metadata, "name");
    let namespace = match metadata.text("namespace") {
        Some((text, place)) if !rules::dns_label(text) => {
            place.error(rules::NOT_A_LABEL);
            None
        }
        Some((text, _)) => Some(text),
        None => Some(DEFAULT_NAMESPACE),
    };
    let (name, namespace) = (name?, namespace?);
    let subject = Subject::object(kind, namespace, name, resource);
    let top = Place::top(report, subject);
    if !rules::dns_subdomain(name) {
        top.field("metadata").field("name").error(rules::NOT_A_SUBDOMAIN);
        return None;
    }
    let mut fields = Fields::reread(tree, top)?;
    for known in ["apiVersion", "kind", "metadata", "status"] {
        fields.get(known);
    }
    Some(Resource { namespace: namespace.to_owned(), name: name.to_owned(), fields })
}

fn filled<'t>(fields: &mut Fields<'t, '_>, name: &'static str) -> Option<&'t str> {
    let place = fields.place().field(name);
    let text = match fields.get(name) {
        Some((value, place)) => text(value, place)?,
        None => "",
    };
    if text.is_empty() {
        place.error("must not be empty");
        return None;
    }
    Some(text)
}
