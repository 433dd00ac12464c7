//! In a listener the filter sets the host that it signs for, and Envoy chooses the virtual host anew.

use super::findings::Findings;
use super::node::Node;
use super::plugin::{policy_of, signs};
use super::route::Route;
use aigw_auth::aws::host::{first_label, region_of, service, signed_form, split_port};
use aigw_auth::policy::{Config, Credentials, quote};

/// Notes hosts that the filter sets and that no virtual host of the route configuration has.
pub(crate) fn check(config: &Config, route: &Route<'_>, findings: &mut Findings) {
    let own = route.host.field("domains");
    for cluster in route.clusters() {
        let Some(host) = signed_host(config, cluster.text(), &own) else { continue };
        let hosts = route.table.field("virtual_hosts").items();
        let mut domains = hosts.iter().flat_map(|host| host.field("domains").items());
        if !domains.any(|domain| covers(domain.text(), &host)) {
            let host = quote(&host);
            findings.error(
                &own,
                &format!(
                    "lack {host}, the host that the filter signs for and sets, after which Envoy \
                     chooses the virtual host anew: add `{host}`"
                ),
            );
        }
    }
}

/// The host that requests for a cluster are signed for, if that can be told: a host of the service that
/// they come with is kept.
fn signed_host(config: &Config, cluster: &str, domains: &Node<'_>) -> Option<String> {
    let policy = policy_of(config, cluster).filter(|policy| signs(policy))?;
    let Credentials::Aws(aws) = &policy.credentials else { return None };
    match &config.backends.target(cluster.as_bytes())?.host {
        Some(host) => Some(signed_form(host)),
        None if domains.items().iter().any(|d| may_be_of(&aws.service, d.text())) => None,
        None => Some(service(&aws.service, &aws.region)),
    }
}

/// Whether a domain of a virtual host is for a host.
fn covers(domain: &str, host: &str) -> bool {
    let domain = domain.to_ascii_lowercase();
    match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
        (Some(end), _) => host.ends_with(end),
        (None, Some(start)) => host.starts_with(start),
        (None, None) => host == domain,
    }
}

/// Whether a domain of a virtual host is for any host of a service.
fn may_be_of(service: &str, domain: &str) -> bool {
    let domain = signed_form(domain);
    let is_one = |host: &str| region_of(service, split_port(host).0).is_some();
    let label = first_label(service);
    match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(end), _) => ["", ".us-east-1", ".us-east-1.vpce"].iter().any(|middle| {
            let host = format!("{label}{middle}{end}");
            is_one(&host) || is_one(&format!("vpce-1.{host}"))
        }),
        (None, Some(start)) => [label, "vpce-"]
            .iter()
            .any(|first| first.starts_with(start) || start.starts_with(first)),
        (None, None) => is_one(&domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aigw_auth::aws::host::BEDROCK;

    #[test]
    fn domains_cover_hosts_as_envoy_has_it() {
        let host = "bedrock-runtime.us-east-1.amazonaws.com";
        for domain in ["*", "Bedrock-Runtime.us-east-1.amazonaws.com", "*.amazonaws.com", "bed*"] {
            assert!(covers(domain, host), "{domain}");
        }
        for domain in ["amazonaws.com", "*.api.aws", "bedrock-runtime.us-east-1.*.com", "x*"] {
            assert!(!covers(domain, host), "{domain}");
        }
    }

    #[test]
    fn domains_of_bedrock_are_known() {
        for domain in [
            "*",
            "bedrock-runtime.eu-west-1.api.aws",
            "bedrock-runtime-fips.us-east-1.amazonaws.com:443",
            "*.amazonaws.com",
            "*.api.aws",
            "*.eu-west-1.amazonaws.com",
            "*.eu-west-1.vpce.amazonaws.com",
            "*.vpce.amazonaws.com",
            "bedrock-*",
            "bedrock-runtime.eu-*",
        ] {
            assert!(may_be_of(BEDROCK, domain), "{domain}");
        }
        for domain in ["gateway.local", "*.local", "gateway.*", "s3.us-east-1.amazonaws.com"] {
            assert!(!may_be_of(BEDROCK, domain), "{domain}");
        }
    }
}
