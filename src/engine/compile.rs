//! From a configuration to what the hot path reads: one credential a policy.

use super::known::Known;
use crate::credential::Credential;
use crate::policy::{
    Backends, ClientCredentials, Config, Credentials, Policy, Position, Problem, SecretSource,
    UnmatchedBackend,
};

/// A policy at work.
#[derive(Debug)]
pub struct Entry {
    /// `<namespace>/<name>`.
    pub id: String,
    /// The value of the access log for a request that got the credential.
    pub injected: String,
    /// The value of the access log for a request that did not.
    pub refused: String,
    /// Its place in the configuration.
    pub index: usize,
    pub(crate) credential: Credential,
}

/// A configuration at work.
#[derive(Debug)]
pub struct Filter {
    pub(crate) backends: Backends,
    pub(crate) position: Position,
    pub(crate) client_credentials: ClientCredentials,
    pub(crate) unmatched_backend: UnmatchedBackend,
    pub(crate) known: Known,
    property: Vec<String>,
    entries: Vec<Entry>,
}

impl Filter {
    /// Makes a configuration ready for requests.
    ///
    /// # Errors
    ///
    /// If it asks for something that this version cannot do yet.
    pub fn new(config: Config) -> Result<Self, Vec<Problem>> {
        let mut problems = config.not_yet();
        let mut entries = Vec::new();
        for policy in config.policies {
            match credential(&policy) {
                Some(credential) => entries.push(Entry {
                    injected: format!("{} injected", policy.id),
                    refused: format!("{} refused", policy.id),
                    id: policy.id,
                    index: entries.len(),
                    credential,
                }),
                // Each of these has a line in `not_yet`; a policy without one must not pass either.
                None if problems.is_empty() => problems.push(policy.without_credential()),
                None => {}
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            backends: config.backends,
            position: config.settings.position,
            client_credentials: config.settings.client_credentials,
            unmatched_backend: config.settings.unmatched_backend,
            known: Known::new(entries.iter().map(|entry| &entry.credential)),
            property: config.settings.backend_property,
            entries,
        })
    }

    /// The path of the Envoy attribute that names the backend.
    pub fn property(&self) -> &[String] {
        &self.property
    }

    /// What happens to the credentials of clients.
    pub fn client_credentials(&self) -> ClientCredentials {
        self.client_credentials
    }

    /// The policies, in the order of the configuration.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// The credential of a policy, if it is at hand.
fn credential(policy: &Policy) -> Option<Credential> {
    match &policy.credentials {
        Credentials::ApiKey(SecretSource::Known(key)) => Some(Credential::bearer(key)),
        Credentials::AnthropicApiKey(SecretSource::Known(key)) => {
            Some(Credential::x_api_key(key.clone()))
        }
        Credentials::AzureApiKey(SecretSource::Known(key)) => {
            Some(Credential::api_key(key.clone()))
        }
        _ => None,
    }
}
