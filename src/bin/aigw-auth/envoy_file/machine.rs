//! The environment that a VM gives to the filter.

use super::findings::Findings;
use super::node::Node;
use aigw_auth::policy::{Environment, Variable, quote};

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
        let mut machine = Self {
            host,
            own: own.iter().map(|(name, value)| (*name, value.text())).collect(),
            missing: Vec::new(),
        };
        for secret in configuration.at(["secrets", "env"]).items() {
            let variable = secret.field("variable");
            let name = variable.text();
            let mend = format!("`host_env_keys: [{}]`", quote(name));
            if let Some((_, value)) = own.iter().find(|(own, _)| *own == name) {
                findings.warning(
                    value,
                    &format!(
                        "is a secret, which Envoy's config_dump shows: take it from Envoy's own \
                         environment, {mend}"
                    ),
                );
            } else if !name.is_empty() && !machine.host.contains(&name) {
                findings.error(
                    &variable,
                    &format!(
                        "{} is not in the environment of the VM: add {mend} to \
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
            environment(name)
        } else if self.missing.iter().any(|missing| missing == name) {
            // That has been said.
            Variable::Unknown
        } else {
            Variable::Unset
        }
    }
}
