//! The plugin configurations of our filter: each is read once, however many chains have it.

use super::chain::HttpFilter;
use super::contents::Contents;
use super::findings::Findings;
use super::machine::Machine;
use super::node::Node;
use crate::judge::{Judgement, judge, judgement};
use aigw_auth::policy::{
    AwsSource, Config, Credentials, Environment, Policy, Position, Tree, parse,
};

/// Every plugin configuration.
pub(crate) struct Plugins<'t>(Vec<Plugin<'t>>);

/// One plugin configuration.
pub(crate) struct Plugin<'t> {
    /// The first place that has it.
    node: Node<'t>,
    /// What it says, if the filter takes it.
    pub(crate) config: Option<Config>,
}

impl<'t> Plugins<'t> {
    /// Reads them, and notes what is wrong with each.
    pub(crate) fn load(
        contents: &Contents<'t>,
        environment: &Environment<'_>,
        findings: &mut Findings,
    ) -> Self {
        let mut plugins = Self(Vec::new());
        let mut inline_secrets_told = false;
        for filter in contents.chains().flat_map(|chain| chain.ours()) {
            let Some(node) = filter.plugin() else { continue };
            if plugins.of(filter).is_some() {
                continue;
            }
            let config = configuration(node, environment, findings, &mut inline_secrets_told);
            settings(node, config.as_ref(), findings);
            plugins.0.push(Plugin { node: node.clone(), config });
        }
        plugins
    }

    /// The configuration of a filter, if the file has it.
    pub(crate) fn of(&self, filter: &HttpFilter<'_>) -> Option<&Plugin<'t>> {
        let tree = filter.plugin()?.tree();
        self.0.iter().find(|plugin| plugin.node.tree() == tree)
    }

    /// What the filter takes.
    pub(crate) fn configs(&self) -> impl Iterator<Item = &Config> {
        self.0.iter().filter_map(|plugin| plugin.config.as_ref())
    }
}

impl Plugin<'_> {
    /// Where the configuration says that the filter stands.
    pub(crate) fn position(&self) -> Option<Position> {
        self.config.as_ref().map(|config| config.settings.position)
    }
}

/// Whether a backend is named by its cluster, as it is by default.
pub(crate) fn names_clusters(config: &Config) -> bool {
    config.settings.backend_property == ["xds", "cluster_name"]
}

/// The policy for a cluster, if a backend is named by its cluster.
pub(crate) fn policy_of<'c>(config: &'c Config, cluster: &str) -> Option<&'c Policy> {
    let target = config.backends.target(cluster.as_bytes()).filter(|_| names_clusters(config))?;
    config.policies.get(target.policy)
}

/// Whether a policy signs requests.
pub(crate) fn signs(policy: &Policy) -> bool {
    let Credentials::Aws(aws) = &policy.credentials else { return false };
    !matches!(aws.source, AwsSource::Bearer(_))
}

/// Whether requests for a cluster may be signed, as far as can be told.
pub(crate) fn may_sign(config: &Config, cluster: &str) -> bool {
    if names_clusters(config) {
        policy_of(config, cluster).is_some_and(signs)
    } else {
        config.policies.iter().any(signs)
    }
}

/// Reads what stands under `configuration`.
fn configuration(
    plugin: &Node<'_>,
    environment: &Environment<'_>,
    findings: &mut Findings,
    inline_secrets_told: &mut bool,
) -> Option<Config> {
    let (kind, any) = plugin.field("configuration").message();
    let value = any.field("value");
    let parsed: Tree;
    let value = match kind {
        "google.protobuf.Struct" => value,
        "google.protobuf.StringValue" => match serde_json::from_str(value.text()) {
            Ok(tree) => {
                parsed = tree;
                value.with_tree(&parsed)
            }
            Err(_) => {
                let refused = judgement(parse(value.text().as_bytes(), environment));
                return tell(refused, &value, findings);
            }
        },
        _ => {
            findings.error(
                &any,
                "must be a google.protobuf.Struct or a google.protobuf.StringValue: add \
                 `\"@type\": type.googleapis.com/google.protobuf.Struct` and put the settings under \
                 `value`",
            );
            return None;
        }
    };
    let resources = value.field("resources");
    if !*inline_secrets_told && holds_secret(&resources) {
        *inline_secrets_told = true;
        findings.warning(
            &resources,
            "holds Secrets, which Envoy's config_dump shows: take them from the environment, \
             `secrets: {env: [{name: ..., key: ..., variable: ...}]}`",
        );
    }
    let machine = Machine::read(&plugin.field("vm_config"), &value, findings);
    tell(judge(value.tree(), &|name| machine.variable(name, environment)), &value, findings)
}

/// Notes what the filter says of a configuration. Its own settings are no object there; here they
/// are part of one.
fn tell(
    Judgement { config, problems }: Judgement,
    value: &Node<'_>,
    findings: &mut Findings,
) -> Option<Config> {
    for mut problem in problems {
        if problem.object.is_empty() {
            problem.object = value.object().to_owned();
            let separator = if problem.field.is_empty() { "" } else { "." };
            problem.field = format!("{}{separator}{}", value.path(), problem.field);
        }
        findings.problem(value.file(), problem);
    }
    config
}

/// Whether a Secret with a text is among the resources.
fn holds_secret(resources: &Node<'_>) -> bool {
    let text = ["stringData", "data"].iter().any(|name| resources.field(name).is_there());
    (resources.field("kind").text() == "Secret" && text)
        || resources.items().iter().chain(&resources.field("items").items()).any(holds_secret)
}

/// What stands beside `configuration`.
fn settings(plugin: &Node<'_>, config: Option<&Config>, findings: &mut Findings) {
    let iteration = plugin.field("allow_on_headers_stop_iteration");
    if !iteration.is_true() {
        let mend = "add `allow_on_headers_stop_iteration: true`";
        if config.is_some_and(|config| config.policies.iter().any(signs)) {
            findings.error(
                &iteration,
                &format!("is not true, so no body arrives that could be signed: {mend}"),
            );
        } else {
            findings.warning(
                &iteration,
                &format!("is not true, so a request that has to be signed would hang: {mend}"),
            );
        }
    }
    failure(plugin, findings);
    let vm_id = plugin.at(["vm_config", "vm_id"]);
    if vm_id.text().is_empty() {
        findings.warning(
            &vm_id,
            "is empty, so credentials are shared with every other plugin without one: add \
             `vm_id: aigw-auth`",
        );
    }
}

/// What Envoy does when the filter fails.
fn failure(plugin: &Node<'_>, findings: &mut Findings) {
    let fail_open = plugin.field("fail_open");
    let policy = plugin.field("failure_policy");
    let is = |name: &str, number: f64| policy.text() == name || policy.number() == Some(number);
    if fail_open.is_true() {
        findings.error(
            &fail_open,
            "forwards requests without their credential when the filter fails: put \
             `failure_policy: FAIL_RELOAD` in its place",
        );
    }
    if is("FAIL_OPEN", 3.0) {
        findings.error(
            &policy,
            "forwards requests without their credential when the filter fails: set \
             `failure_policy: FAIL_RELOAD`",
        );
    } else if !is("FAIL_RELOAD", 1.0) && !fail_open.is_true() {
        findings.warning(
            &policy,
            "is not FAIL_RELOAD, so a worker on which the filter has failed answers 503 until Envoy \
             is restarted: set `failure_policy: FAIL_RELOAD`",
        );
    }
}
