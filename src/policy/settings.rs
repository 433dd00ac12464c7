//! The filter's own settings: everything of the plugin configuration but `resources`.

use super::backend::BackendName;
use super::cursor::{Fields, text};
use super::identity::{PoliciesSettings, policies};
use super::place::Place;
use super::rules;
use super::secrets::{SecretSettings, secret_settings};
use super::url::{Endpoint, Scheme};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Where the filter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// In the upstream filter chain of a cluster: after routing, once per attempt.
    Upstream,
    /// In the HTTP filter chain of a listener.
    Listener,
}

/// What happens to the credentials that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCredentials {
    /// All of them are removed.
    Strip,
    /// Only the header being written is replaced.
    Keep,
}

/// What happens to a request for a backend that no policy targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnmatchedBackend {
    /// It is answered with an error.
    Deny,
    /// It passes unchanged.
    Allow,
}

/// Where callouts go.
#[derive(Debug)]
pub struct Egress {
    /// The cluster that carries calls to any host.
    pub cluster: Option<String>,
    /// Another cluster for `http://` endpoints.
    pub plaintext_cluster: Option<String>,
    /// From a host, without its port, to a cluster of its own.
    pub clusters: Vec<(String, String)>,
    /// Hosts that may be called over `http://`.
    pub plaintext_hosts: Vec<String>,
    /// How long one call may take.
    pub timeout: Duration,
}

/// How a call leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// The cluster that carries it.
    pub cluster: &'a str,
    /// What `x-egress-scheme` has to say, if the cluster looks at it.
    pub scheme: Option<&'static str>,
}

impl Egress {
    /// Whether there is any cluster for callouts.
    pub(crate) fn has_cluster(&self) -> bool {
        self.cluster.is_some() || self.plaintext_cluster.is_some() || !self.clusters.is_empty()
    }

    /// The way to an endpoint, if there is one: a cluster of the host's own, else the one for plaintext,
    /// else the one for everything, which alone is told the scheme.
    pub fn route(&self, endpoint: &Endpoint) -> Option<Route<'_>> {
        let host = endpoint.host();
        if let Some((_, cluster)) = self.clusters.iter().find(|(own, _)| own == host) {
            return Some(Route { cluster, scheme: None });
        }
        let scheme = match (endpoint.scheme, &self.plaintext_cluster) {
            (Scheme::Http, Some(cluster)) => return Some(Route { cluster, scheme: None }),
            (Scheme::Http, None) => "http",
            (Scheme::Https, _) => "https",
        };
        let cluster = self.cluster.as_deref()?;
        Some(Route { cluster, scheme: Some(scheme) })
    }
}

/// The settings, checked.
#[derive(Debug)]
pub struct Settings {
    /// Where secrets come from that no object in `resources` holds.
    pub secrets: SecretSettings,
    /// The cluster that serves files of this host.
    pub files_cluster: Option<String>,
    /// The path of the Envoy attribute that names the backend.
    pub backend_property: Vec<String>,
    /// From a value of that attribute to a backend.
    pub backend_names: Vec<(String, BackendName)>,
    /// The host to sign for a backend.
    pub backend_hosts: Vec<(BackendName, String)>,
    /// Where callouts go.
    pub egress: Egress,
    /// Where the filter stands.
    pub position: Position,
    /// What happens to the credentials of clients.
    pub client_credentials: ClientCredentials,
    /// What happens to a request for a backend without a policy.
    pub unmatched_backend: UnmatchedBackend,
    /// How long a request waits for the first credential.
    pub credential_wait: Duration,
    /// Our own settings of single policies.
    pub policies: PoliciesSettings,
}

/// Reads every setting but `resources`, which the caller has to have asked for.
pub(crate) fn settings(fields: &mut Fields<'_, '_>) -> Settings {
    let secrets = secret_settings(fields);
    let files_cluster = fields.object("files").and_then(|mut files| {
        let cluster = name(&mut files, "cluster");
        files.finish();
        cluster
    });
    let backend = Backend::read(fields);
    let egress = egress(fields);
    Settings {
        secrets,
        files_cluster,
        backend_property: backend.property,
        backend_names: backend.names,
        backend_hosts: backend.hosts,
        egress,
        position: fields.choice(
            "position",
            [("Upstream", Position::Upstream), ("Listener", Position::Listener)],
            Position::Upstream,
        ),
        client_credentials: fields.choice(
            "clientCredentials",
            [("Strip", ClientCredentials::Strip), ("Keep", ClientCredentials::Keep)],
            ClientCredentials::Strip,
        ),
        unmatched_backend: fields.choice(
            "unmatchedBackend",
            [("Deny", UnmatchedBackend::Deny), ("Allow", UnmatchedBackend::Allow)],
            UnmatchedBackend::Deny,
        ),
        credential_wait: within(fields, "credentialWait", "0s", 5_000, 0..=60_000),
        policies: policies(fields),
    }
}

struct Backend {
    property: Vec<String>,
    names: Vec<(String, BackendName)>,
    hosts: Vec<(BackendName, String)>,
}

impl Backend {
    fn read(fields: &mut Fields<'_, '_>) -> Self {
        let place = fields.place().field("backend");
        let mut backend = fields.object("backend").unwrap_or_else(|| Fields::none(place));
        let names = backend
            .entries("names")
            .into_iter()
            .filter_map(|(attribute, value, place)| {
                Some((attribute.to_owned(), backend_name(text(value, place)?, place)?))
            })
            .collect();
        let hosts = backend
            .entries("hosts")
            .into_iter()
            .filter_map(|(key, value, place)| {
                let name = backend_name(key, place)?;
                let host = checked(text(value, place)?, place, rules::authority, NOT_A_HOST)?;
                Some((name, host))
            })
            .collect();
        let property = property(&mut backend);
        backend.finish();
        Self { property, names, hosts }
    }
}

const NOT_A_HOST: &str = "must be a host name or address, with a port if need be";

/// The attribute path; its parts reach Envoy joined by NUL.
fn property(backend: &mut Fields<'_, '_>) -> Vec<String> {
    let place = backend.place().field("property");
    let parts = backend.texts("property");
    if !backend.has("property") {
        return ["xds", "cluster_name"].map(str::to_owned).into();
    }
    if parts.is_empty() && backend.is_list("property") {
        place.error("must hold the parts of an Envoy attribute path");
    }
    for (part, place) in &parts {
        if part.is_empty() || part.chars().any(char::is_control) {
            place.error("must be a part of an Envoy attribute path");
        }
    }
    let words: Vec<&str> = parts.iter().map(|(part, _)| *part).collect();
    // The value is looked up, and logged when no policy has it.
    if matches!(words[..], ["request", "headers"] | ["request", "path" | "query", ..]) {
        place.error("must not be a part of the request in which clients send credentials");
    }
    words.into_iter().map(str::to_owned).collect()
}

fn backend_name(text: &str, place: Place<'_>) -> Option<BackendName> {
    let name = BackendName::parse(text);
    if name.is_none() {
        place.error(
            "must name a backend: name, namespace/name or Kind/namespace/name, \
             the kind being AIServiceBackend or InferencePool",
        );
    }
    name
}

fn egress(fields: &mut Fields<'_, '_>) -> Egress {
    let place = fields.place().field("egress");
    let mut egress = fields.object("egress").unwrap_or_else(|| Fields::none(place));
    let cluster = name(&mut egress, "cluster");
    let plaintext_cluster = name(&mut egress, "plaintextCluster");
    let clusters = egress
        .entries("clusters")
        .into_iter()
        .filter_map(|(host, value, place)| {
            let host = checked(host, place, rules::host, "must be a host without a port")?;
            Some((host.to_ascii_lowercase(), checked(text(value, place)?, place, filled, EMPTY)?))
        })
        .collect();
    let plaintext_hosts = egress
        .texts("plaintextHosts")
        .into_iter()
        .filter_map(|(host, place)| checked(host, place, rules::authority, NOT_A_HOST))
        .map(|host| host.to_ascii_lowercase())
        .collect();
    let timeout = within(&mut egress, "timeout", "100ms", 5_000, 100..=60_000);
    egress.finish();
    Egress { cluster, plaintext_cluster, clusters, plaintext_hosts, timeout }
}

const EMPTY: &str = "must not be empty";

fn filled(text: &str) -> bool {
    !text.is_empty()
}

/// The name of a cluster that may be absent, but not empty.
fn name(fields: &mut Fields<'_, '_>, field: &'static str) -> Option<String> {
    let (name, place) = fields.text(field)?;
    checked(name, place, filled, EMPTY)
}

fn checked(text: &str, place: Place<'_>, rule: fn(&str) -> bool, message: &str) -> Option<String> {
    if !rule(text) {
        place.error(message);
        return None;
    }
    Some(text.to_owned())
}

/// A duration between two bounds, in milliseconds.
fn within(
    fields: &mut Fields<'_, '_>,
    field: &'static str,
    least: &str,
    default: u64,
    bounds: RangeInclusive<u64>,
) -> Duration {
    let default = Duration::from_millis(default);
    let Some((duration, place)) = fields.duration(field) else { return default };
    if !u64::try_from(duration.as_millis()).is_ok_and(|value| bounds.contains(&value)) {
        place.error(&format!("must be between {least} and 60s"));
        return default;
    }
    duration
}
