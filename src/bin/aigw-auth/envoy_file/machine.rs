//! The environment that a VM gives to the filter.

use super::findings::Findings;
use super::node::Node;
use aigw_auth::policy::{Environment, Variable, quote};

/// The API key of Bedrock, the first thing that the default chain of AWS looks for.
const BEDROCK_KEY: &str = "AWS_BEARER_TOKEN_BEDROCK";
/// What it looks for after that.
const AWS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
/// The variables of that chain that hold secrets.
const AWS_SECRETS: [&str; 3] = [BEDROCK_KEY, "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// The environment of a VM.
pub(crate) struct Machine<'t> {
    /// Variables that it takes over from Envoy's environment.
    host: Vec<&'t str>,
    /// Variables with their values.
    own: Vec<(&'t str, &'t str)>,
    /// Variables of secrets that it does not have.
    missing: Vec<String>,
}

impl<'t> Machine<'t> {
    /// Reads `environment_variables` of a `vm_config`, and notes where they do not fit the variables
    /// that `secrets.env` of the configuration names.
    pub(crate) fn read(
        vm_config: &Node<'t>,
        configuration: &Node<'_>,
        findings: &mut Findings,
    ) -> Self {
        let variables = vm_config.field("environment_variables");
        let host = variables.field("host_env_keys").items().iter().map(Node::text).collect();
        let own = variables.field("key_values").entries();
        for (name, value) in &own {
            if AWS_SECRETS.contains(name) && value.is_set() {
                shown(name, value, findings);
            }
        }
        let mut machine = Self {
            host,
            own: own.iter().map(|(name, value)| (*name, value.text())).collect(),
            missing: Vec::new(),
        };
        for secret in configuration.at(["secrets", "env"]).items() {
            let variable = secret.field("variable");
            let name = variable.text();
            if let Some((_, value)) = own.iter().find(|(own, _)| *own == name) {
                shown(name, value, findings);
            } else if !name.is_empty() && !machine.host.contains(&name) {
                findings.error(
                    &variable,
                    &format!(
                        "{0} is not in the environment of the VM: add `host_env_keys: [{0}]` to \
                         `vm_config.environment_variables`",
                        quote(name)
                    ),
                );
                machine.missing.push(name.to_owned());
            }
        }
        machine
    }

    /// A variable as the filter will see it; `environment` is that of Envoy.
    pub(crate) fn variable(&self, name: &str, environment: &Environment<'_>) -> Variable {
        if let Some((_, value)) = self.own.iter().find(|(own, _)| *own == name) {
            Variable::Set((*value).to_owned())
        } else if self.host.contains(&name) {
            match environment(name) {
                // Taken to be set, if the keys that it comes before are not taken over as well.
                Variable::Unknown if name == BEDROCK_KEY && !self.host.contains(&AWS_KEY_ID) => {
                    Variable::Set("unknown".to_owned())
                }
                variable => variable,
            }
        } else if self.missing.iter().any(|missing| missing == name) {
            // That has been said.
            Variable::Unknown
        } else {
            Variable::Unset
        }
    }
}

fn shown(name: &str, value: &Node<'_>, findings: &mut Findings) {
    findings.warning(
        value,
        &format!(
            "is a secret, which Envoy's config_dump shows: take it from Envoy's own environment, \
             `host_env_keys: [{}]`",
            quote(name)
        ),
    );
}
