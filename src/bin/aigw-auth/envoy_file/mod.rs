//! Our filter in an Envoy configuration: what it is told, and where it stands.

mod chain;
mod contents;
mod credentials;
mod findings;
mod format;
mod listener;
mod logs;
mod machine;
mod node;
mod plugin;
mod position;
mod reach;
mod route;

use aigw_auth::policy::{Environment, Problem, Tree};
use contents::Contents;
use findings::Findings;
use node::Node;
use plugin::Plugins;

/// What was found in an Envoy configuration.
pub(crate) struct Inspection {
    /// What is wrong with it.
    pub(crate) problems: Vec<Problem>,
    /// How many policies it has.
    pub(crate) policies: usize,
    /// How many backends they target.
    pub(crate) backends: usize,
}

/// Whether a document is an Envoy configuration: a bootstrap, a file of a discovery service, or what
/// stands in one.
pub(crate) fn is_envoy_file(tree: &Tree) -> bool {
    let document = Node::document(tree);
    document.field("static_resources").is_there()
        || document.field("@type").is_there()
        || document.field("resources").items().iter().any(|item| item.field("@type").is_there())
}

/// Inspects an Envoy configuration.
pub(crate) fn inspect(tree: &Tree, environment: &Environment<'_>) -> Inspection {
    let document = Node::document(tree);
    let contents = Contents::read(&document);
    let mut findings = Findings::default();
    let plugins = Plugins::load(&contents, environment, &mut findings);
    if !contents.has_filter() {
        findings.error(&document, "holds no aigw-auth filter");
    }
    position::check(&contents, &plugins, &mut findings);
    listener::check(&contents, &plugins, &mut findings);
    reach::check(&contents, &plugins, &mut findings);
    logs::check(&contents, &mut findings);
    let policies = || plugins.configs().flat_map(|config| &config.policies);
    Inspection {
        problems: findings.into_problems(),
        policies: policies().count(),
        backends: policies().map(|policy| policy.targets.len()).sum(),
    }
}
