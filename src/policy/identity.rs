//! Our own settings of a single policy, under `policies: {<namespace>/<name>: {...}}`: what the
//! manifest has no field for, and must not get one for, to stay valid for the upstream's CRD.

use super::assume_role;
use super::cursor::Fields;
use super::index::Index;
use super::place::Place;
use super::rules;
use crate::aws::role::Role;

/// Whose identity an `AzureCredentials` policy uses, in place of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureIdentity {
    /// A federated token of the platform
    /// (<https://learn.microsoft.com/entra/workload-id/workload-identity-federation>).
    Workload,
    /// The managed identity of the machine
    /// (<https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview>).
    Managed(ManagedIdentity),
}

/// Which of the machine's managed identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagedIdentity {
    /// The system-assigned one.
    System,
    /// A user-assigned one, by client id.
    ClientId(String),
    /// A user-assigned one, by object id.
    ObjectId(String),
    /// A user-assigned one, by Azure resource id.
    ResourceId(String),
}

/// Our own settings of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicySettings {
    /// Whose identity an `AzureCredentials` policy uses.
    pub azure_identity: Option<AzureIdentity>,
    /// The role that an `AWSCredentials` policy assumes with the keys that it has.
    pub assume_role: Option<Role>,
    /// The name that an `AWSCredentials` policy signs for.
    pub service: Option<String>,
}

/// Our own settings of all policies that have any.
#[derive(Debug, Default)]
pub struct PoliciesSettings {
    entries: Vec<(String, PolicySettings)>,
    index: Index,
}

impl PoliciesSettings {
    /// Those of one policy, named `<namespace>/<name>`.
    pub fn of(&self, id: &str) -> Option<&PolicySettings> {
        let number = self.index.get(id.as_bytes())?;
        self.entries.get(number).map(|(_, settings)| settings)
    }

    /// All of them, in the order of the configuration.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(String, PolicySettings)> {
        self.entries.iter()
    }
}

/// Reads `policies`.
pub(crate) fn policies(fields: &mut Fields<'_, '_>) -> PoliciesSettings {
    let mut policies = PoliciesSettings::default();
    for (key, value, place) in fields.entries("policies") {
        let name = policy_name(key, place);
        let Some(mut fields) = Fields::of(value, place) else { continue };
        let settings = PolicySettings {
            azure_identity: azure_identity(&mut fields),
            assume_role: fields.object("assumeRole").and_then(|fields| {
                let (_, policy) = key.split_once('/').unwrap_or_default();
                assume_role::read(fields, policy)
            }),
            service: service(&mut fields),
        };
        fields.finish();
        if let Some(name) = name {
            policies.index.set(&name, policies.entries.len());
            policies.entries.push((name, settings));
        }
    }
    policies
}

/// The signing name of a service of AWS, which is the first part of its hosts too.
fn service(fields: &mut Fields<'_, '_>) -> Option<String> {
    let (name, place) = fields.text("service")?;
    if !rules::dns_label(name) {
        place.error("must be the signing name of a service, such as bedrock or bedrock-mantle");
    }
    Some(name.to_owned())
}

fn policy_name(key: &str, place: Place<'_>) -> Option<String> {
    let name = key
        .split_once('/')
        .filter(|(namespace, name)| rules::dns_label(namespace) && rules::dns_subdomain(name));
    if name.is_none() {
        place.error("must name a policy: <namespace>/<name>");
    }
    name.map(|_| key.to_owned())
}

#[derive(Clone, Copy)]
enum Word {
    None,
    Workload,
    Managed,
}

fn azure_identity(fields: &mut Fields<'_, '_>) -> Option<AzureIdentity> {
    let words = [("WorkloadIdentity", Word::Workload), ("ManagedIdentity", Word::Managed)];
    let word = fields.choice("azureIdentity", words, Word::None);
    let managed = fields.object("managedIdentity").map(|fields| {
        let place = fields.place();
        (managed_identity(fields), place)
    });
    match (word, managed) {
        (Word::Managed, Some((identity, _))) => Some(AzureIdentity::Managed(identity)),
        (Word::Managed, None) => Some(AzureIdentity::Managed(ManagedIdentity::System)),
        (_, Some((_, place))) => {
            place.error("needs azureIdentity: ManagedIdentity");
            None
        }
        (Word::Workload, None) => Some(AzureIdentity::Workload),
        (Word::None, None) => None,
    }
}

fn managed_identity(mut fields: Fields<'_, '_>) -> ManagedIdentity {
    let mut given = Vec::new();
    for (name, identity) in [
        ("clientID", ManagedIdentity::ClientId as fn(String) -> ManagedIdentity),
        ("objectID", ManagedIdentity::ObjectId),
        ("resourceID", ManagedIdentity::ResourceId),
    ] {
        let Some((text, place)) = fields.text(name) else { continue };
        if text.is_empty() || text.chars().any(char::is_control) {
            place.error("must not be empty or contain control characters");
        }
        given.push(identity(text.to_owned()));
    }
    let place = fields.place();
    fields.finish();
    if given.len() > 1 {
        place.error("At most one of clientID, objectID or resourceID may be specified");
    }
    given.pop().unwrap_or(ManagedIdentity::System)
}
