//! HTTP filter chains, and which filter in them is ours.

use super::changes::may_change;
use super::node::Node;

const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
/// The filters that end a chain, by type and by the name that they have by convention.
const ROUTER: [&str; 2] =
    ["envoy.extensions.filters.http.router.v3.Router", "envoy.filters.http.router"];
const CODEC: [&str; 2] = [
    "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
    "envoy.filters.http.upstream_codec",
];

/// A chain of HTTP filters.
pub(crate) struct Chain<'t> {
    /// Where it is.
    pub(crate) node: Node<'t>,
    filters: Vec<HttpFilter<'t>>,
}

/// One filter of a chain.
pub(crate) struct HttpFilter<'t> {
    /// Where it is.
    pub(crate) node: Node<'t>,
    kind: Kind<'t>,
}

enum Kind<'t> {
    /// Ours, and its plugin configuration, which is absent if a discovery service has it.
    Ours(Node<'t>),
    /// The last of its chain.
    Last,
    Other,
}

impl<'t> Chain<'t> {
    /// Reads a list of HTTP filters.
    pub(crate) fn read(node: Node<'t>) -> Self {
        Self { filters: node.items().into_iter().map(HttpFilter::read).collect(), node }
    }

    /// Whether there is no chain at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Our filter, each time that the chain has it.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &HttpFilter<'t>> {
        self.filters.iter().filter(|filter| matches!(filter.kind, Kind::Ours(_)))
    }

    /// Whether our filter is there, be it switched off until a route switches it on.
    pub(crate) fn names_filter(&self) -> bool {
        self.ours().next().is_some()
    }

    /// Whether requests pass our filter.
    pub(crate) fn has_filter(&self) -> bool {
        self.ours().any(|filter| !filter.is_disabled())
    }

    /// Whether the chain has the filter that each has to end with.
    pub(crate) fn is_complete(&self) -> bool {
        self.filters.iter().any(|filter| matches!(filter.kind, Kind::Last))
    }

    /// Our filters that stand behind the end of the chain.
    pub(crate) fn unreachable(&self) -> impl Iterator<Item = &HttpFilter<'t>> {
        let reached = |filter: &&HttpFilter<'t>| !matches!(filter.kind, Kind::Last);
        self.filters
            .iter()
            .skip_while(reached)
            .filter(|filter| matches!(filter.kind, Kind::Ours(_)))
    }

    /// The filters that a request passes after ours and that may change it.
    pub(crate) fn changing(&self) -> Vec<&HttpFilter<'t>> {
        let end = self.filters.iter().position(|filter| matches!(filter.kind, Kind::Last));
        let reached = self.filters.get(..end.unwrap_or(self.filters.len())).unwrap_or_default();
        let ours =
            |filter: &HttpFilter<'t>| matches!(filter.kind, Kind::Ours(_)) && !filter.is_disabled();
        let Some(last) = reached.iter().rposition(ours) else { return Vec::new() };
        let behind = reached.iter().skip(last + 1);
        behind.filter(|filter| !filter.is_disabled() && may_change(&filter.node)).collect()
    }

    /// The configuration of the router at the end of the chain; absent if there is none.
    pub(crate) fn router(&self) -> Option<Node<'t>> {
        let last = self.filters.iter().find(|filter| matches!(filter.kind, Kind::Last))?;
        Some(last.node.field("typed_config").message().1)
    }
}

impl<'t> HttpFilter<'t> {
    fn read(node: Node<'t>) -> Self {
        let (name, config) = node.field("typed_config").message();
        let named = node.field("name").text();
        let is = |[known_type, known_name]: [&str; 2]| name == known_type || named == known_name;
        let kind = if name == WASM && is_ours(&node, &config.field("config")) {
            Kind::Ours(config.field("config"))
        } else if node.field("config_discovery").is_there() && names_us(named) {
            Kind::Ours(config)
        } else if is(ROUTER) || is(CODEC) {
            Kind::Last
        } else {
            Kind::Other
        };
        Self { node, kind }
    }

    /// The plugin configuration, if this filter is ours and the file has it.
    pub(crate) fn plugin(&self) -> Option<&Node<'t>> {
        match &self.kind {
            Kind::Ours(config) if config.is_there() => Some(config),
            _ => None,
        }
    }

    /// Whether the filter is there and not at work.
    pub(crate) fn is_disabled(&self) -> bool {
        self.node.field("disabled").is_true()
    }
}

/// Whether a wasm filter is this one: by what it is called, or by what it is told.
fn is_ours(filter: &Node<'_>, plugin: &Node<'_>) -> bool {
    let machine = plugin.field("vm_config");
    let code = machine.field("code");
    let names = [
        filter.field("name"),
        plugin.field("name"),
        machine.field("vm_id"),
        code.at(["local", "filename"]),
        code.at(["remote", "http_uri", "uri"]),
    ];
    if names.iter().any(|name| names_us(name.text())) {
        return true;
    }
    let value = plugin.at(["configuration", "value"]);
    let text = value.text();
    value.field("resources").is_there()
        || serde_json::from_str(text)
            .is_ok_and(|tree| value.with_tree(&tree).field("resources").is_there())
}

fn names_us(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("aigw_auth") || name.contains("aigw-auth")
}
