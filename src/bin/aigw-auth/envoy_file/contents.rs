//! What of Envoy configurations concerns the filter: their clusters, and the HTTP connection managers
//! of their listeners.

use super::chain::Chain;
use super::node::Node;
use super::route::{Route, routes};

const LISTENER: &str = "envoy.config.listener.v3.Listener";
const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const HTTP_CONNECTION_MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.\
                                       v3.HttpConnectionManager";
const AGGREGATE: &str = "envoy.extensions.clusters.aggregate.v3.ClusterConfig";

/// What concerns the filter.
#[derive(Default)]
pub(crate) struct Contents<'t> {
    /// Every cluster.
    pub(crate) clusters: Vec<Cluster<'t>>,
    /// Every HTTP connection manager.
    pub(crate) managers: Vec<Manager<'t>>,
}

/// A cluster.
pub(crate) struct Cluster<'t> {
    /// What it is called.
    pub(crate) name: &'t str,
    /// Where it is.
    pub(crate) node: Node<'t>,
    /// Its own upstream filter chain.
    pub(crate) chain: Chain<'t>,
    /// Its `upstream_http_protocol_options`.
    pub(crate) protocol: Node<'t>,
    /// The names of the clusters that an aggregate chooses from.
    pub(crate) members: Vec<&'t str>,
}

/// An HTTP connection manager.
pub(crate) struct Manager<'t> {
    /// Where it is.
    pub(crate) node: Node<'t>,
    /// The listener that it is in.
    pub(crate) listener: Node<'t>,
    /// Its filter chain.
    pub(crate) chain: Chain<'t>,
    /// The upstream filter chain of its router, for clusters that have none of their own.
    pub(crate) upstream: Option<Chain<'t>>,
    /// Its routes, as far as the file has them.
    pub(crate) routes: Vec<Route<'t>>,
}

impl<'t> Contents<'t> {
    /// Reads bootstraps, discovery files, and single listeners and clusters.
    pub(crate) fn read(documents: &[Node<'t>]) -> Self {
        let mut contents = Self::default();
        for document in documents {
            let fixed = document.field("static_resources");
            for listener in fixed.field("listeners").items() {
                contents.listener(&listener);
            }
            for cluster in fixed.field("clusters").items() {
                contents.cluster(&cluster);
            }
            for resource in document.field("resources").items().iter().chain([document]) {
                match resource.message() {
                    (LISTENER, listener) => contents.listener(&listener),
                    (CLUSTER, cluster) => contents.cluster(&cluster),
                    _ => {}
                }
            }
        }
        contents
    }

    /// Whether there is anything of ours.
    pub(crate) fn has_filter(&self) -> bool {
        self.chains().any(Chain::names_filter)
    }

    /// Every filter chain.
    pub(crate) fn chains(&self) -> impl Iterator<Item = &Chain<'t>> {
        let managers = self.managers.iter();
        self.clusters.iter().map(|cluster| &cluster.chain).chain(
            managers
                .flat_map(|manager| [Some(&manager.chain), manager.upstream.as_ref()])
                .flatten(),
        )
    }

    /// A cluster by its name, if a file has it.
    pub(crate) fn find(&self, name: &str) -> Option<&Cluster<'t>> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// The upstream chain that a request of `manager` to a cluster runs through.
    pub(crate) fn upstream<'a>(
        &self,
        cluster: &'a Cluster<'t>,
        manager: &'a Manager<'t>,
    ) -> &'a Chain<'t> {
        manager.upstream.as_ref().filter(|_| cluster.chain.is_empty()).unwrap_or(&cluster.chain)
    }

    /// Whether requests of `manager` to the cluster of this name pass the filter there; `None` if no
    /// file has the cluster.
    pub(crate) fn carries(&self, name: &str, manager: &Manager<'t>) -> Option<bool> {
        Some(self.upstream(self.find(name)?, manager).has_filter())
    }

    /// Whether requests to a cluster pass the filter there, from whichever listener.
    pub(crate) fn is_covered(&self, cluster: &Cluster<'t>) -> bool {
        cluster.chain.has_filter()
            || self.managers.iter().any(|manager| self.upstream(cluster, manager).has_filter())
    }

    fn cluster(&mut self, node: &Node<'t>) {
        let name = node.field("name").text();
        let node = node.named("cluster", name);
        let (_, options) = node.at(["typed_extension_protocol_options", HTTP_OPTIONS]).message();
        // A cluster has one of each: how it is reached is left out of the path.
        let chain = Chain::read(options.field("http_filters").with_path("http_filters"));
        let protocol = "upstream_http_protocol_options";
        let protocol = options.field(protocol).with_path(protocol);
        let members = match node.at(["cluster_type", "typed_config"]).message() {
            (AGGREGATE, aggregate) => {
                aggregate.field("clusters").items().iter().map(Node::text).collect()
            }
            _ => Vec::new(),
        };
        self.clusters.push(Cluster { name, node, chain, protocol, members });
    }

    fn listener(&mut self, node: &Node<'t>) {
        let node = node.named("listener", node.field("name").text());
        let mut chains = node.field("filter_chains").items();
        chains.push(node.field("default_filter_chain"));
        let filters = chains.iter().flat_map(|chain| chain.field("filters").items());
        let mut found: Vec<Node<'t>> = filters.map(|filter| filter.field("typed_config")).collect();
        found.push(node.at(["api_listener", "api_listener"]));
        for config in found {
            if let (HTTP_CONNECTION_MANAGER, manager) = config.message() {
                self.managers.push(Manager::read(manager, node.clone()));
            }
        }
    }
}

impl<'t> Manager<'t> {
    fn read(node: Node<'t>, listener: Node<'t>) -> Self {
        let chain = Chain::read(node.field("http_filters"));
        let upstream = chain.router().map(|router| router.field("upstream_http_filters"));
        let upstream = upstream.filter(Node::is_there).map(Chain::read);
        let routes = routes(&node.field("route_config"));
        Self { node, listener, chain, upstream, routes }
    }

    /// Whether a request can get to clusters that its file does not tell: other sources have the
    /// routes, or the request names the cluster.
    pub(crate) fn is_open(&self) -> bool {
        !self.node.field("route_config").is_there() || self.routes.iter().any(Route::is_open)
    }
}
