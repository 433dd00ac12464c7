//! Whatever a request can reach has to carry the filter: all attempts of a request share one header
//! map, so a cluster without it gets what another was meant to get.

use super::contents::{Cluster, Contents, Manager};
use super::findings::Findings;
use super::node::Node;
use super::plugin::{Plugins, policy_of};
use super::route::Route;
use aigw_auth::policy::{Position, quote};

/// Notes what lets a request pass by the filter.
pub(crate) fn check(contents: &Contents<'_>, plugins: &Plugins<'_>, findings: &mut Findings) {
    for manager in contents.managers.iter().filter(|manager| !manager.chain.names_filter()) {
        for route in &manager.routes {
            let clusters = route.clusters();
            if clusters.iter().any(|c| contents.carries(c.text(), manager) == Some(true)) {
                let reach = Reach { contents, manager, route };
                reach.weights(findings);
                reach.mirrors(findings);
                reach.redirects(findings);
                reach.hedging(plugins, findings);
            }
        }
    }
    for cluster in contents.clusters.iter().filter(|cluster| !contents.is_covered(cluster)) {
        aggregate(contents, cluster, findings);
        target(contents, plugins, cluster, findings);
    }
}

/// What a request can reach from a route that leads to a cluster with the filter.
struct Reach<'a, 't> {
    contents: &'a Contents<'t>,
    manager: &'a Manager<'t>,
    route: &'a Route<'t>,
}

impl<'a, 't> Reach<'a, 't> {
    /// Whether a cluster is in the file, without the filter.
    fn lacks(&self, cluster: &Node<'t>) -> bool {
        self.contents.carries(cluster.text(), self.manager) == Some(false)
    }

    fn weights(&self, findings: &mut Findings) {
        for cluster in self.route.clusters().iter().filter(|cluster| self.lacks(cluster)) {
            let name = quote(cluster.text());
            findings.error(
                cluster,
                &format!(
                    "a part of the requests goes to cluster {name}, whose chain does not have the \
                     filter, with the credentials of the callers: {}",
                    mend(&name)
                ),
            );
        }
    }

    fn mirrors(&self, findings: &mut Findings) {
        for cluster in self.route.mirrors().iter().filter(|cluster| self.lacks(cluster)) {
            let name = quote(cluster.text());
            findings.error(
                cluster,
                &format!(
                    "copies of requests go to cluster {name}, whose chain does not have the filter, \
                     with the credentials of the callers, and after a redirect with ours: {}",
                    mend(&name)
                ),
            );
        }
    }

    fn redirects(&self, findings: &mut Findings) {
        let Some(policy) = self.route.redirects() else { return };
        for route in self.manager.routes.iter().filter(|route| route.may_follow(&policy)) {
            for cluster in route.clusters().iter().filter(|cluster| self.lacks(cluster)) {
                let name = quote(cluster.text());
                findings.error(
                    &policy,
                    &format!(
                        "a redirect can lead to {}, and so to cluster {name}, whose chain does not \
                         have the filter, with the credential of this route: {}",
                        route.node.object(),
                        mend(&name)
                    ),
                );
            }
        }
    }

    /// Attempts that live at once share a header map: the later one writes over the earlier one.
    fn hedging(&self, plugins: &Plugins<'_>, findings: &mut Findings) {
        let Some(hedging) = self.route.hedging() else { return };
        let chosen: Vec<&'a Cluster<'t>> =
            self.route.clusters().iter().filter_map(|c| self.contents.find(c.text())).collect();
        let chains = chosen.iter().map(|cluster| self.contents.upstream(cluster, self.manager));
        let mut configs = chains
            .flat_map(|chain| chain.ours())
            .filter_map(|filter| plugins.of(filter)?.config.as_ref());
        let by_host = |property: &[String]| {
            property.iter().any(|part| part == "upstream_host_metadata")
                || property.first().is_some_and(|part| part == "upstream")
        };
        if configs.any(|c| by_host(&c.settings.backend_property) && c.policies.len() > 1) {
            findings.warning(
                &hedging,
                "attempts that live at once share one header map, and the policy depends on the \
                 host that each chooses: give each provider a cluster of its own, or remove \
                 `hedge_policy`",
            );
        }
    }
}

fn mend(cluster: &str) -> String {
    format!("add the filter to `http_filters` of cluster {cluster}")
}

/// The chain that runs is that of the aggregate.
fn aggregate(contents: &Contents<'_>, cluster: &Cluster<'_>, findings: &mut Findings) {
    let members = cluster.members.iter().filter_map(|name| contents.find(name));
    if let Some(member) = members.into_iter().find(|member| member.chain.has_filter()) {
        findings.error(
            &cluster.chain.node,
            &format!(
                "the filter in the chain of {} does not run for the requests of an aggregate: {}",
                member.node.object(),
                mend(&quote(cluster.name))
            ),
        );
    }
}

/// A policy for a cluster without the filter does nothing.
fn target(
    contents: &Contents<'_>,
    plugins: &Plugins<'_>,
    cluster: &Cluster<'_>,
    findings: &mut Findings,
) {
    let mut aggregates = contents.clusters.iter().filter(|other| contents.is_covered(other));
    let is_named = |route: &Route<'_>| route.clusters().iter().any(|c| c.text() == cluster.name);
    let mut routes = contents.managers.iter().flat_map(|manager| &manager.routes);
    let is_member = aggregates.any(|aggregate| aggregate.members.contains(&cluster.name));
    // A filter that is there and not at work has been spoken of.
    if (is_member && !routes.any(is_named)) || cluster.chain.names_filter() {
        return;
    }
    let mut configs =
        plugins.configs().filter(|config| config.settings.position == Position::Upstream);
    if let Some(policy) = configs.find_map(|config| policy_of(config, cluster.name)) {
        findings.error(
            &cluster.chain.node,
            &format!(
                "policy {} is for it, and its filter chain does not have the filter: {}",
                policy.id,
                mend(&quote(cluster.name))
            ),
        );
    }
}
