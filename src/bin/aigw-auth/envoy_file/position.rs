//! Whether the filter stands where its configuration says, and where requests pass it.

use super::chain::{Chain, HttpFilter};
use super::contents::Contents;
use super::findings::Findings;
use super::plugin::{Plugin, Plugins};
use aigw_auth::policy::Position;

/// Notes filters in a wrong place.
pub(crate) fn check(contents: &Contents<'_>, plugins: &Plugins<'_>, findings: &mut Findings) {
    let mut places = Places { plugins, findings, told: Vec::new() };
    for cluster in &contents.clusters {
        places.upstream(&cluster.chain);
    }
    for manager in &contents.managers {
        places.listener(&manager.chain);
        if let Some(chain) = &manager.upstream {
            places.upstream(chain);
        }
        // Upgrades may have a chain of their own.
        for upgrade in manager.node.field("upgrade_configs").items() {
            let chain = Chain::read(upgrade.field("filters"));
            if manager.chain.has_filter() && !chain.is_empty() && !chain.has_filter() {
                places.findings.error(
                    &chain.node,
                    "is the chain of an upgrade, which does not have the filter that the listener \
                     has: add the filter to it",
                );
            }
        }
    }
}

struct Places<'a, 't> {
    plugins: &'a Plugins<'t>,
    findings: &'a mut Findings,
    /// The plugin configurations whose position was said to be wrong: one line for each will do.
    told: Vec<&'a Plugin<'t>>,
}

impl Places<'_, '_> {
    /// The chain of a cluster, or that of a router for clusters without one.
    fn upstream(&mut self, chain: &Chain<'_>) {
        for filter in chain.ours() {
            if self.is_news(filter, Position::Listener) {
                self.findings.error(
                    &filter.node,
                    "stands in an upstream chain, while its configuration says that it stands in a \
                     listener's: remove `position: Listener`",
                );
            }
            if filter.is_disabled() {
                self.findings.error(
                    &filter.node.field("disabled"),
                    "switches the filter off: remove `disabled: true`",
                );
            }
            if !chain.is_complete() {
                self.findings.error(
                    &chain.node,
                    "has no upstream_codec at its end: add \
                     `- {name: envoy.filters.http.upstream_codec, typed_config: {\"@type\": \
                     type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.\
                     UpstreamCodec}}`",
                );
            }
        }
        for filter in chain.unreachable() {
            self.findings.error(
                &filter.node,
                "stands behind upstream_codec, where no request comes: put it before \
                 `- name: envoy.filters.http.upstream_codec`",
            );
        }
    }

    /// The chain of a listener.
    fn listener(&mut self, chain: &Chain<'_>) {
        for filter in chain.ours() {
            if self.is_news(filter, Position::Upstream) {
                self.findings.error(
                    &filter.node,
                    "stands in a listener's chain, while its configuration says that it stands in \
                     an upstream chain: put it into `http_filters` of each cluster, or add \
                     `position: Listener`",
                );
            }
        }
        for filter in chain.unreachable() {
            self.findings.error(
                &filter.node,
                "stands behind the router, where no request comes: put it before \
                 `- name: envoy.filters.http.router`",
            );
        }
    }

    /// Whether a filter is configured for this position, which has not been said before.
    fn is_news(&mut self, filter: &HttpFilter<'_>, position: Position) -> bool {
        let Some(plugin) = self.plugins.of(filter) else { return false };
        if plugin.position() != Some(position)
            || self.told.iter().any(|told| std::ptr::eq(*told, plugin))
        {
            return false;
        }
        self.told.push(plugin);
        true
    }
}
