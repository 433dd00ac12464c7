//! What goes wrong with signatures: they hold for the host, the path, the headers and the body that the
//! filter has seen, so nothing may change them afterwards. In a listener the routes do so too, see
//! `listener.rs`.

use super::chain::Chain;
use super::contents::{Cluster, Contents};
use super::findings::Findings;
use super::plugin::{Plugins, may_sign, signs};
use aigw_auth::policy::{Config, Position, quote};

/// Notes what may spoil a signature.
pub(crate) fn check(contents: &Contents<'_>, plugins: &Plugins<'_>, findings: &mut Findings) {
    let signatures = Signatures { contents, plugins };
    for cluster in &contents.clusters {
        if signatures.in_chain(&cluster.chain, cluster) {
            behind(&cluster.chain, CODEC, findings);
        }
        signatures.server_name(cluster, findings);
    }
    for manager in &contents.managers {
        let any = |config: &Config| config.policies.iter().any(signs);
        if signatures.configs(&manager.chain, Position::Listener).any(any) {
            behind(&manager.chain, ROUTER, findings);
        }
        if let Some(chain) = &manager.upstream
            && signatures.configs(chain, Position::Upstream).any(any)
        {
            behind(chain, CODEC, findings);
        }
    }
    signatures.hosts(findings);
}

const CODEC: &str = "upstream_codec";
const ROUTER: &str = "router";

/// Filters that a request passes after it has been signed.
fn behind(chain: &Chain<'_>, end: &str, findings: &mut Findings) {
    for filter in chain.changing() {
        findings.warning(
            &filter.node,
            &format!(
                "stands behind the filter, and may change what that has signed: put the filter last, \
                 right before `- name: envoy.filters.http.{end}`"
            ),
        );
    }
}

struct Signatures<'a, 't> {
    contents: &'a Contents<'t>,
    plugins: &'a Plugins<'t>,
}

impl<'a, 't> Signatures<'a, 't> {
    /// The configurations of the filter in a chain, if it is meant to stand there.
    fn configs(
        &self,
        chain: &'a Chain<'t>,
        position: Position,
    ) -> impl Iterator<Item = &'a Config> {
        let filters = chain.ours().filter(|filter| !filter.is_disabled());
        filters
            .filter_map(|filter| self.plugins.of(filter)?.config.as_ref())
            .filter(move |config| config.settings.position == position)
    }

    /// Whether requests for a cluster may be signed in an upstream chain.
    fn in_chain(&self, chain: &'a Chain<'t>, cluster: &Cluster<'_>) -> bool {
        self.configs(chain, Position::Upstream).any(|config| may_sign(config, cluster.name))
    }

    /// The name of the server is taken from the host before the filter sets the one that it signs for.
    fn server_name(&self, cluster: &'a Cluster<'t>, findings: &mut Findings) {
        let auto = cluster.protocol.field("auto_sni");
        let mut managers = self.contents.managers.iter();
        let signed = self.in_chain(&cluster.chain, cluster)
            || managers.any(|m| self.in_chain(self.contents.upstream(cluster, m), cluster));
        if auto.is_true()
            && signed
            && !cluster.protocol.field("override_auto_sni_header").is_set()
            && !self.host_is_written(cluster)
        {
            findings.warning(
                &auto,
                "takes the server name from the host of the request before the filter sets the host \
                 that it signs for: set `sni` of the cluster's TLS context in its place, or \
                 `host_rewrite_literal` in every route to the cluster",
            );
        }
    }

    /// Whether every route to a cluster is known and says which host requests get.
    fn host_is_written(&self, cluster: &Cluster<'_>) -> bool {
        let managers = &self.contents.managers;
        let mut routes = managers.iter().flat_map(|manager| &manager.routes);
        routes.clone().any(|route| route.may_lead_to(cluster.name))
            && routes.all(|r| !r.may_lead_to(cluster.name) || r.writes_host(cluster.name))
            && managers.iter().all(|manager| manager.node.field("route_config").is_there())
    }

    /// A route may have Envoy set the host when the connection is there, which is before the filter or
    /// after it.
    fn hosts(&self, findings: &mut Findings) {
        for manager in &self.contents.managers {
            for route in &manager.routes {
                let auto = route.action.field("auto_host_rewrite");
                let mut clusters = self.contents.clusters.iter().filter(|cluster| {
                    route.may_lead_to(cluster.name)
                        && self.in_chain(self.contents.upstream(cluster, manager), cluster)
                });
                if auto.is_true()
                    && let Some(cluster) = clusters.next()
                {
                    findings.warning(
                        &auto,
                        &format!(
                            "may change the host after the filter has signed it for cluster {}: put \
                             `host_rewrite_literal: ...` in its place",
                            quote(cluster.name)
                        ),
                    );
                }
            }
        }
    }
}
