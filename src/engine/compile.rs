//! From a configuration to what the hot path reads, and to what has to be obtained for it.

use super::dispatch::Egresses;
use super::item::Wear;
use super::known::Known;
use super::refresh::Plan;
use super::sources::Sources;
use crate::credential::Credential;
use crate::inject::{Signing, VertexPath};
use crate::policy::{
    AwsSource, Backends, ClientCredentials, Config, Credentials, Policy, Position, Problem,
    UnmatchedBackend,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

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
    /// Whether its requests are signed.
    pub signs: bool,
    /// Whether its credential is obtained, and not at hand.
    pub obtains: bool,
    /// The names of the headers that it writes, with a comma between them.
    pub writes: &'static str,
    /// Which of several sources its credential comes from, for the log, if that is known from the start.
    pub note: Option<&'static str>,
    /// What it puts into the path of Vertex AI.
    pub(crate) vertex: Option<VertexPath>,
    /// What it puts on requests, if that is at hand.
    pub(crate) means: Option<Means>,
}

/// A configuration at work.
#[derive(Debug)]
pub struct Filter {
    pub(crate) backends: Backends,
    pub(crate) position: Position,
    pub(crate) client_credentials: ClientCredentials,
    pub(crate) unmatched_backend: UnmatchedBackend,
    pub(crate) known: Rc<RefCell<Known>>,
    property: Vec<String>,
    entries: Vec<Entry>,
    signs: bool,
    credential_wait: Duration,
    egresses: Egresses,
}

/// The policy of a backend.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'f> {
    /// The policy.
    pub entry: &'f Entry,
    /// The host to sign, if the configuration gives it.
    pub host: Option<&'f str>,
}

impl Filter {
    /// Makes a configuration ready for requests, and says what has to be obtained for it.
    ///
    /// # Errors
    ///
    /// If it asks for something that this version cannot do yet.
    pub fn new(config: Config) -> Result<(Self, Plan), Vec<Problem>> {
        let mut problems = config.not_yet();
        let (mut known, mut entries, mut wears) = (Known::default(), Vec::new(), Vec::new());
        let mut sources = Sources::new(&config);
        for policy in &config.policies {
            let index = entries.len();
            let means = means(policy);
            let wear = if means.is_none() { sources.add(policy, index) } else { None };
            match (&means, &wear) {
                (Some(means), _) => known.add(means),
                (None, Some(_)) => known.make_room(),
                // Each of these has a line in `not_yet`; a policy without one must not pass either.
                (None, None) if problems.is_empty() => problems.push(policy.without_credential()),
                (None, None) => {}
            }
            entries.push(Entry {
                injected: format!("{} injected", policy.id),
                refused: format!("{} refused", policy.id),
                id: policy.id.clone(),
                index,
                signs: matches!(means, Some(Means::Signing(_)))
                    || matches!(wear, Some((_, Wear::Signature { .. }))),
                obtains: wear.is_some(),
                vertex: match &policy.credentials {
                    Credentials::Gcp(gcp) => Some(VertexPath {
                        project: gcp.project_name.clone(),
                        location: gcp.region.clone(),
                    }),
                    _ => None,
                },
                note: match &policy.credentials {
                    Credentials::Aws(aws) => aws.answered,
                    _ => None,
                },
                writes: wear.as_ref().map_or("", |(_, wear)| wear.writes()),
                means,
            });
            wears.push(wear);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (items, known) = (sources.into_items(), Rc::new(RefCell::new(known)));
        let settings = config.settings;
        let egresses = Egresses { egress: settings.egress, files_cluster: settings.files_cluster };
        let plan = Plan {
            items,
            wears,
            timeout: egresses.timeout(),
            probes: egresses.probed().is_some(),
            known: Rc::clone(&known),
        };
        let filter = Self {
            backends: config.backends,
            position: settings.position,
            client_credentials: settings.client_credentials,
            unmatched_backend: settings.unmatched_backend,
            known,
            property: settings.backend_property,
            signs: entries.iter().any(|entry| entry.signs),
            entries,
            credential_wait: settings.credential_wait,
            egresses,
        };
        Ok((filter, plan))
    }

    /// The path of the Envoy attribute that names the backend.
    pub fn property(&self) -> &[String] {
        &self.property
    }

    /// The policy of the backend that a value of that attribute names.
    pub fn choose(&self, backend: Option<&[u8]>) -> Option<Chosen<'_>> {
        let target = self.backends.target(backend?)?;
        let entry = self.entries.get(target.policy)?;
        Some(Chosen { entry, host: target.host.as_deref() })
    }

    /// Whether a policy signs requests.
    pub fn signs(&self) -> bool {
        self.signs
    }

    /// What happens to the credentials of clients.
    pub fn client_credentials(&self) -> ClientCredentials {
        self.client_credentials
    }

    /// How long a request waits for a credential.
    pub fn credential_wait(&self) -> Duration {
        self.credential_wait
    }

    /// Where callouts go.
    pub fn egresses(&self) -> &Egresses {
        &self.egresses
    }

    /// The policies, in the order of the configuration.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// What a policy puts on requests, if it is at hand.
fn means(policy: &Policy) -> Option<Means> {
    let credential = match &policy.credentials {
        Credentials::ApiKey(key) => Credential::bearer(key.known()?),
        Credentials::AnthropicApiKey(key) => Credential::x_api_key(key.known()?.clone()),
        Credentials::AzureApiKey(key) => Credential::api_key(key.known()?.clone()),
        Credentials::Aws(aws) => match &aws.source {
            AwsSource::Bearer(token) => Credential::bearer(token),
            AwsSource::Keys(keys) if aws.assume_role.is_none() => {
                let signing = Signing::new(keys.clone(), aws.region.clone(), aws.service.clone());
                return Some(Means::Signing(signing));
            }
            _ => return None,
        },
        Credentials::Azure(_) | Credentials::Gcp(_) => return None,
    };
    Some(Means::Credential(credential))
}
