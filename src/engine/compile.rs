//! From a configuration to what the hot path reads: the means of each policy.

use super::known::Known;
use crate::credential::Credential;
use crate::inject::Signing;
use crate::policy::{
    AwsSource, Backends, ClientCredentials, Config, Credentials, Policy, Position, Problem,
    SecretSource, UnmatchedBackend,
};

/// The name that Bedrock is signed for
/// (<https://docs.aws.amazon.com/general/latest/gr/bedrock.html>).
const BEDROCK: &str = "bedrock";

/// What a policy puts on requests.
#[derive(Debug)]
pub(crate) enum Means {
    /// A credential in a header of its own.
    Credential(Credential),
    /// A signature.
    Signing(Signing),
}

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
    pub(crate) means: Means,
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
    signs: bool,
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
            match means(&policy) {
                Some(means) => entries.push(Entry {
                    injected: format!("{} injected", policy.id),
                    refused: format!("{} refused", policy.id),
                    id: policy.id,
                    index: entries.len(),
                    means,
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
            known: Known::new(entries.iter().map(|entry| &entry.means)),
            property: config.settings.backend_property,
            signs: entries.iter().any(|entry| matches!(entry.means, Means::Signing(_))),
            entries,
        })
    }

    /// The path of the Envoy attribute that names the backend.
    pub fn property(&self) -> &[String] {
        &self.property
    }

    /// Whether a policy signs requests.
    pub fn signs(&self) -> bool {
        self.signs
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

/// What a policy puts on requests, if it is at hand.
fn means(policy: &Policy) -> Option<Means> {
    let credential = match &policy.credentials {
        Credentials::ApiKey(SecretSource::Known(key)) => Credential::bearer(key),
        Credentials::AnthropicApiKey(SecretSource::Known(key)) => {
            Credential::x_api_key(key.clone())
        }
        Credentials::AzureApiKey(SecretSource::Known(key)) => Credential::api_key(key.clone()),
        Credentials::Aws(aws) => match &aws.source {
            AwsSource::Bearer(token) => Credential::bearer(token),
            AwsSource::Keys(keys) => {
                let signing = Signing::new(keys.clone(), aws.region.clone(), BEDROCK);
                return Some(Means::Signing(signing));
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(Means::Credential(credential))
}
