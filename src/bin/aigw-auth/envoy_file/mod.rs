//! Our filter in Envoy configurations: what it is told, and where it stands.

mod chain;
mod changes;
mod contents;
mod credentials;
mod domains;
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
mod signature;

use aigw_auth::policy::{Environment, Problem, Tree};
use contents::Contents;
use findings::Findings;
use node::Node;
use plugin::Plugins;

/// What was found in Envoy configurations that belong together.
pub(crate) struct Inspection {
    /// What is wrong, each with the number of its file.
    pub(crate) problems: Vec<(usize, Problem)>,
    /// How many policies there are.
    pub(crate) policies: usize,
    /// How many backends they target.
    pub(crate) backends: usize,
}

/// Whether a document is an Envoy configuration: a bootstrap, a file of a discovery service, or what
/// stands in one.
pub(crate) fn is_envoy_file(tree: &Tree) -> bool {
    let document = Node::document(tree, 0);
    is_bootstrap(tree)
        || document.field("@type").is_there()
        || document.field("resources").items().iter().any(|item| item.field("@type").is_there())
}

/// Whether an Envoy configuration is what Envoy starts with.
pub(crate) fn is_bootstrap(tree: &Tree) -> bool {
    let document = Node::document(tree, 0);
    ["static_resources", "dynamic_resources"].iter().any(|name| document.field(name).is_there())
}

/// Inspects Envoy configurations that belong together, each with the number of its file.
pub(crate) fn inspect(trees: &[(usize, Tree)], environment: &Environment<'_>) -> Inspection {
    let documents: Vec<_> = trees.iter().map(|(file, tree)| Node::document(tree, *file)).collect();
    let contents = Contents::read(&documents);
    let mut findings = Findings::default();
    let plugins = Plugins::load(&contents, environment, &mut findings);
    if !contents.has_filter() {
        for document in &documents {
            findings.error(document, "holds no aigw-auth filter");
        }
    }
    position::check(&contents, &plugins, &mut findings);
    listener::check(&contents, &plugins, &mut findings);
    signature::check(&contents, &plugins, &mut findings);
    reach::check(&contents, &plugins, &mut findings);
    logs::check(&contents, &mut findings);
    let policies = || plugins.configs().flat_map(|config| &config.policies);
    Inspection {
        problems: findings.into_problems(),
        policies: policies().count(),
        backends: policies().map(|policy| policy.targets.len()).sum(),
    }
}
