//! What goes wrong when the filter stands in a listener's chain: there it works before the route is
//! final, on one header map for everything that comes of a request.

use super::changes::sets_signed;
use super::contents::{Contents, Manager};
use super::credentials::{is_signed, touches_header, touches_parameter};
use super::domains;
use super::findings::Findings;
use super::node::Node;
use super::plugin::{Plugins, may_sign, policy_of, signs};
use super::route::Route;
use aigw_auth::inject::AUTHORITY;
use aigw_auth::policy::{Config, Position};

/// Notes routes that do not go together with a filter in front of them.
pub(crate) fn check(contents: &Contents<'_>, plugins: &Plugins<'_>, findings: &mut Findings) {
    for manager in &contents.managers {
        for config in configs(manager, plugins) {
            for route in &manager.routes {
                let signed = is_signed_for(config, route);
                choice(config, route, signed, findings);
                if signed {
                    domains::check(config, route, findings);
                    rewrites(route, findings);
                    headers(route, findings);
                }
                mirrors(config, route, findings);
            }
        }
    }
}

/// The configurations of the filter in a listener, if it is meant to stand there.
fn configs<'a>(
    manager: &'a Manager<'_>,
    plugins: &'a Plugins<'_>,
) -> impl Iterator<Item = &'a Config> {
    let plugins = manager.chain.ours().filter_map(|filter| plugins.of(filter));
    let configs = plugins.filter_map(|plugin| plugin.config.as_ref());
    configs.filter(|config| config.settings.position == Position::Listener)
}

/// Envoy chooses the route anew after the filter has changed a header.
fn choice(config: &Config, route: &Route<'_>, signed: bool, findings: &mut Findings) {
    const MEND: &str = "match on another, or put the filter into the clusters and remove \
                        `position: Listener`";
    let matched = route.node.field("match");
    let mut headers: Vec<Node<'_>> =
        matched.field("headers").items().iter().map(|header| header.field("name")).collect();
    headers.push(route.action.field("cluster_header"));
    headers.extend(route.weighted().iter().map(|cluster| cluster.field("cluster_header")));
    let touches = |header: &&Node<'_>| {
        touches_header(config, header.text()) || (signed && is_host(header.text()))
    };
    for header in headers.iter().filter(touches) {
        let message = "is a header that the filter removes or sets, after which Envoy chooses the \
                       route anew";
        findings.error(header, &format!("{message}: {MEND}"));
    }
    let cookies = matched.field("cookies");
    if cookies.is_there() && touches_header(config, "cookie") {
        let message = "are removed by the filter, after which Envoy chooses the route anew";
        findings.error(&cookies, &format!("{message}: {MEND}"));
    }
    for parameter in matched.field("query_parameters").items() {
        let name = parameter.field("name");
        if touches_parameter(config, name.text()) {
            let message = "is a query parameter that the filter removes, after which Envoy chooses \
                           the route anew";
            findings.error(&name, &format!("{message}: {MEND}"));
        }
    }
}

/// Whether a header is that of the host, which is set for a signature.
fn is_host(header: &str) -> bool {
    [AUTHORITY, "host"].iter().any(|host| header.eq_ignore_ascii_case(host))
}

/// What a route may do to the host and the path.
const REWRITES: [&str; 9] = [
    "prefix_rewrite",
    "regex_rewrite",
    "path_rewrite_policy",
    "path_rewrite",
    "host_rewrite_literal",
    "auto_host_rewrite",
    "host_rewrite_header",
    "host_rewrite_path_regex",
    "host_rewrite",
];

/// Whether requests of a route may be signed, as far as can be told.
fn is_signed_for(config: &Config, route: &Route<'_>) -> bool {
    if route.is_open() {
        config.policies.iter().any(signs)
    } else {
        route.clusters().iter().any(|cluster| may_sign(config, cluster.text()))
    }
}

/// A signature holds for the host and the path that the filter has seen.
fn rewrites(route: &Route<'_>, findings: &mut Findings) {
    let scopes = route.weighted().into_iter().chain([route.action.clone()]);
    for rewrite in scopes.flat_map(|scope| REWRITES.map(|name| scope.field(name))) {
        if rewrite.is_set() {
            findings.error(
                &rewrite,
                "changes what the filter has signed: remove it, or put the filter into the \
                 clusters and remove `position: Listener`",
            );
        }
    }
}

/// It holds for the headers that the filter has seen, too.
fn headers(route: &Route<'_>, findings: &mut Findings) {
    for scope in route.header_scopes() {
        let added = scope.field("request_headers_to_add").items();
        let added = added.iter().filter(|option| sets_signed(option));
        let removed = scope.field("request_headers_to_remove").items();
        let removed = removed.into_iter().filter(|header| is_signed(header.text()));
        for header in added.map(|option| option.at(["header", "key"])).chain(removed) {
            findings.error(
                &header,
                "is a header that the filter has signed before it is changed here: remove it, or \
                 put the filter into the clusters and remove `position: Listener`",
            );
        }
    }
}

/// A copy of a request is made of the headers that the filter has left.
fn mirrors(config: &Config, route: &Route<'_>, findings: &mut Findings) {
    for mirror in route.mirrors().iter().filter(|mirror| !mirror.text().is_empty()) {
        let id = |name: &str| policy_of(config, name).map(|policy| policy.id.as_str());
        let own = id(mirror.text());
        let same = |cluster: &Node<'_>| {
            cluster.text() == mirror.text() || (own.is_some() && id(cluster.text()) == own)
        };
        if route.is_open() || !route.clusters().iter().all(same) {
            findings.error(
                mirror,
                "gets the credential of the cluster that the route chooses: put the filter into \
                 the clusters and remove `position: Listener`, or remove `request_mirror_policies`",
            );
        }
    }
}
