//! Routes, and where each can lead.

use super::node::Node;
use aigw_auth::policy::quote;

/// A route of a listener.
pub(crate) struct Route<'t> {
    /// The route.
    pub(crate) node: Node<'t>,
    /// What it does with a request that goes to a cluster; absent if it answers itself.
    pub(crate) action: Node<'t>,
    /// The virtual host that it is in.
    pub(crate) host: Node<'t>,
    /// The table that it is in.
    pub(crate) table: Node<'t>,
}

/// The routes of a `route_config`.
pub(crate) fn routes<'t>(table: &Node<'t>) -> Vec<Route<'t>> {
    let mut routes: Vec<Route<'t>> = Vec::new();
    let table_name = table.field("name").text();
    let table = table.named("route configuration", table_name);
    for host in table.field("virtual_hosts").items() {
        let path = format!("{table_name}/{}", host.field("name").text());
        for (index, node) in host.field("routes").items().iter().enumerate() {
            let mut name = label(&path, node);
            let taken = format!("route {}", quote(&name));
            if name == path || routes.iter().any(|route| route.node.object() == taken) {
                name = format!("{name}[{index}]");
            }
            let node = node.named("route", &name);
            let action = node.field("route");
            let host = host.named("virtual host", &path);
            routes.push(Route { node, action, host, table: table.clone() });
        }
    }
    routes
}

/// What a route is called: by its name, or else by the path that it matches.
fn label(host: &str, route: &Node<'_>) -> String {
    let matched = route.field("match");
    let candidates = [
        route.field("name"),
        matched.field("prefix"),
        matched.field("path"),
        matched.field("path_separated_prefix"),
        matched.at(["safe_regex", "regex"]),
    ];
    let label = candidates.iter().map(Node::text).find(|text| !text.is_empty());
    match label {
        Some(label) if label.starts_with('/') => format!("{host}{label}"),
        Some(label) => format!("{host}/{label}"),
        None => host.to_owned(),
    }
}

impl<'t> Route<'t> {
    /// The clusters that it names, each where it is named.
    pub(crate) fn clusters(&self) -> Vec<Node<'t>> {
        let weighted = self.weighted().into_iter().map(|cluster| cluster.field("name"));
        weighted.chain([self.action.field("cluster")]).filter(|c| !c.text().is_empty()).collect()
    }

    /// Those of them that it chooses from by weight.
    pub(crate) fn weighted(&self) -> Vec<Node<'t>> {
        self.action.at(["weighted_clusters", "clusters"]).items()
    }

    /// Whether it may lead to a cluster.
    pub(crate) fn may_lead_to(&self, cluster: &str) -> bool {
        self.is_open() || self.clusters().iter().any(|named| named.text() == cluster)
    }

    /// Whether every request that it sends to a cluster gets a host that is written here.
    pub(crate) fn writes_host(&self, cluster: &str) -> bool {
        let writes = |scope: &Node<'_>| scope.field("host_rewrite_literal").is_set();
        let mut parts = self.weighted();
        parts.retain(|part| part.field("name").text() == cluster);
        writes(&self.action) || (!parts.is_empty() && parts.iter().all(writes))
    }

    /// Wherever it may say which headers a request gets or loses.
    pub(crate) fn header_scopes(&self) -> Vec<Node<'t>> {
        let scopes = [self.node.clone(), self.host.clone(), self.table.clone()];
        self.weighted().into_iter().chain(scopes).collect()
    }

    /// Whether the cluster is chosen when the request comes.
    pub(crate) fn is_open(&self) -> bool {
        ["cluster_header", "cluster_specifier_plugin", "inline_cluster_specifier_plugin"]
            .iter()
            .any(|name| self.action.field(name).is_there())
            || self.weighted().iter().any(|cluster| cluster.field("cluster_header").is_there())
    }

    /// The clusters that get a copy of a request, each where it is named: the most specific list that
    /// holds any is the one that counts.
    pub(crate) fn mirrors(&self) -> Vec<Node<'t>> {
        let lists = [&self.action, &self.host, &self.table]
            .map(|scope| scope.field("request_mirror_policies").items());
        let list = lists.into_iter().find(|list| !list.is_empty()).unwrap_or_default();
        list.iter().map(|policy| policy.field("cluster")).collect()
    }

    /// The setting that lets several attempts of a request live at once.
    pub(crate) fn hedging(&self) -> Option<Node<'t>> {
        let mut policies = [&self.action, &self.host].map(|s| s.field("hedge_policy")).into_iter();
        let policy = policies.find(Node::is_there)?;
        let at_timeout = policy.field("hedge_on_per_try_timeout");
        let chance = policy.field("additional_request_chance");
        let initial = policy.field("initial_requests");
        if at_timeout.is_true() {
            Some(at_timeout)
        } else if chance.field("numerator").number().is_some_and(|numerator| numerator > 0.0) {
            Some(chance)
        } else {
            Some(initial).filter(|requests| requests.number().is_some_and(|n| n > 1.0))
        }
    }

    /// The setting that lets Envoy follow redirects of the cluster itself.
    pub(crate) fn redirects(&self) -> Option<Node<'t>> {
        let policy = self.action.field("internal_redirect_policy");
        let most = policy.field("max_internal_redirects").number();
        Some(policy).filter(|policy| policy.is_there() && most != Some(0.0))
    }

    /// Whether a redirect that `policy` follows may lead to this route.
    pub(crate) fn may_follow(&self, policy: &Node<'_>) -> bool {
        policy.field("predicates").items().iter().all(|predicate| {
            match predicate.field("typed_config").message() {
                (ALLOW_LISTED_ROUTES, list) => {
                    let name = self.node.field("name").text();
                    list.field("allowed_route_names").items().iter().any(|n| n.text() == name)
                }
                _ => true,
            }
        })
    }
}

const ALLOW_LISTED_ROUTES: &str =
    "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig";
