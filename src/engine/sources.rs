//! From policies to what has to be obtained for them: each credential once, whoever needs it.

use super::item::{Item, Wear};
use crate::aws::role::Role;
use crate::cache::{FORMAT, Kind};
use crate::policy::{
    AwsCredentials, AwsSource, AzureCredentials, AzureSource, Chain, Config, Credentials,
    GcpCredentials, GcpSource, OidcClientId, OidcExchange, Policy, SecretOrigin, SecretSource,
    Settings,
};
use crate::source::{
    Assertion, AssumeRole, AwsChain, AzureManagedIdentity, Entra, FileForm, Fingerprint, GivenKeys,
    GoogleFederation, GoogleToken, Input, InputValue, MountedFile, Oidc, Proof, Source,
    WebIdentityRole,
};

/// The first text of every fingerprint.
const NAME: &str = "aigw-auth";

/// Collects what has to be obtained.
pub(super) struct Sources<'s> {
    settings: &'s Settings,
    items: Vec<Item>,
}

impl<'s> Sources<'s> {
    pub(super) fn new(config: &'s Config) -> Self {
        Self { settings: &config.settings, items: Vec::new() }
    }

    /// Everything, once all policies have been added.
    pub(super) fn into_items(self) -> Vec<Item> {
        self.items
    }

    /// The item that the requests of a policy carry, and how. `None` if it cannot be obtained.
    pub(super) fn add(&mut self, policy: &Policy, number: usize) -> Option<(usize, Wear)> {
        let (item, wear) = match &policy.credentials {
            Credentials::ApiKey(key) => (self.file(key, FileForm::Line)?, Wear::Bearer),
            Credentials::AnthropicApiKey(key) => (self.file(key, FileForm::Line)?, Wear::XApiKey),
            Credentials::AzureApiKey(key) => (self.file(key, FileForm::Line)?, Wear::ApiKey),
            Credentials::Aws(aws) => {
                let wear =
                    Wear::Signature { region: aws.region.clone(), service: aws.service.clone() };
                (self.keys(aws)?, wear)
            }
            Credentials::Azure(azure) => (self.azure(azure)?, Wear::Bearer),
            Credentials::Gcp(gcp) => (self.google(gcp)?, Wear::Bearer),
        };
        let needs = self.items.get(item).map_or_else(Vec::new, |item| item.source.needs());
        for index in needs.into_iter().chain([item]) {
            let Some(item) = self.items.get_mut(index) else { continue };
            if !item.policies.contains(&number) {
                item.policies.push(number);
                item.names.push_str(if item.names.is_empty() { "" } else { ", " });
                item.names.push_str(&policy.id);
            }
        }
        Some((item, wear))
    }

    /// Keys of AWS, with the role on top if one is to be assumed.
    fn keys(&mut self, aws: &AwsCredentials) -> Option<usize> {
        let (sts, session_name) = (aws.sts.clone(), aws.session_name.clone());
        let keys: Box<dyn Source> = match &aws.source {
            AwsSource::Keys(keys) => Box::new(GivenKeys(keys.clone())),
            AwsSource::File { file, profile } => {
                let form = FileForm::AwsKeys { profile: profile.clone() };
                if aws.assume_role.is_none() {
                    return self.file(file, form);
                }
                let (path, subject) = (file.file()?.to_owned(), file.name.clone());
                Box::new(MountedFile { path, subject, form })
            }
            AwsSource::Oidc { exchange, role_arn } => Box::new(WebIdentityRole {
                role: Role::new(role_arn, &session_name),
                token: Assertion::Oidc(self.oidc(exchange)?),
                sts: sts.clone()?,
            }),
            AwsSource::Chain(chain) => {
                let (chain, sts) = (Chain::clone(chain), sts.clone()?);
                Box::new(AwsChain { chain, sts, session_name })
            }
            AwsSource::Bearer(_) | AwsSource::UnknownEnvironment => return None,
        };
        let keys = match aws.assume_role.clone() {
            Some(role) => Box::new(AssumeRole { sts: sts?, role, keys }),
            None => keys,
        };
        Some(self.item(Kind::Token, keys))
    }

    fn azure(&mut self, azure: &AzureCredentials) -> Option<usize> {
        let proof = match &azure.source {
            AzureSource::ClientSecret(secret) => Proof::Secret(self.input(secret)?),
            AzureSource::Oidc(exchange) => Proof::Assertion(Assertion::Oidc(self.oidc(exchange)?)),
            AzureSource::Workload(path) => Proof::Assertion(Assertion::TokenFile(path.clone()?)),
            AzureSource::Managed(service, identity) => {
                let source = AzureManagedIdentity {
                    service: service.clone(),
                    identity: identity.clone(),
                    resource: azure.resource().to_owned(),
                };
                return Some(self.item(Kind::Token, Box::new(source)));
            }
        };
        Some(self.item(
            Kind::Token,
            Box::new(Entra {
                token_endpoint: azure.token_endpoint.clone(),
                client_id: azure.client_id.clone(),
                scope: azure.scope.to_owned(),
                proof,
            }),
        ))
    }

    fn google(&mut self, gcp: &GcpCredentials) -> Option<usize> {
        let limits = gcp.limits.clone();
        let source = match &gcp.source {
            GcpSource::File(file) => {
                GoogleToken::Secret(self.input_of(file, FileForm::Document)?, limits)
            }
            GcpSource::Federation(federation) => {
                GoogleToken::Federation(Box::new(GoogleFederation {
                    token_url: federation.token_url.clone(),
                    audience: federation.audience.clone(),
                    subject: Assertion::Oidc(self.oidc(&federation.exchange)?),
                    impersonation: federation.impersonation.clone(),
                }))
            }
            GcpSource::DefaultFile(path) => GoogleToken::File(path.clone(), limits),
            GcpSource::Metadata(root) => GoogleToken::Metadata(root.clone()),
            GcpSource::UnknownEnvironment => return None,
        };
        Some(self.item(Kind::Token, Box::new(source)))
    }

    fn oidc(&mut self, exchange: &OidcExchange) -> Option<Oidc> {
        let client_id = match &exchange.client_id {
            // It stands in the manifest, and goes where a secret one would.
            OidcClientId::Given(id) => Input {
                id: "clientID".to_owned(),
                value: InputValue::Given(crate::credential::Secret::line(id).ok()?),
            },
            OidcClientId::Secret(id) => self.input(id)?,
        };
        Some(Oidc {
            issuer: exchange.issuer.clone(),
            token_endpoint: exchange.token_endpoint.clone(),
            client_id,
            client_secret: self.input(&exchange.client_secret)?,
            scopes: exchange.scopes.clone(),
            resources: exchange.resources.clone(),
            audience: exchange.audience.clone(),
            plaintext_hosts: self.settings.egress.plaintext_hosts.clone(),
        })
    }

    /// A line that a source needs.
    fn input(&mut self, secret: &SecretSource) -> Option<Input> {
        self.input_of(secret, FileForm::Line)
    }

    /// A text that a source needs.
    fn input_of(&mut self, secret: &SecretSource, form: FileForm) -> Option<Input> {
        let (origin, value) = match &secret.origin {
            SecretOrigin::Resource(text) => ("", InputValue::Given(text.clone())),
            SecretOrigin::Environment(variable, text) => {
                (variable.as_str(), InputValue::Given(text.clone()))
            }
            SecretOrigin::File(path) => {
                (path.as_str(), InputValue::Obtained(self.file(secret, form)?))
            }
            SecretOrigin::Variable(_) => return None,
        };
        Some(Input { id: format!("{} {origin}", secret.name), value })
    }

    fn file(&mut self, secret: &SecretSource, form: FileForm) -> Option<usize> {
        let (path, subject) = (secret.file()?.to_owned(), secret.name.clone());
        Some(self.item(Kind::File, Box::new(MountedFile { path, subject, form })))
    }

    /// The number of an item; one that is there already is not added.
    fn item(&mut self, kind: Kind, source: Box<dyn Source>) -> usize {
        let mut print = Fingerprint::default();
        let egress = &self.settings.egress;
        // What another version writes is another entry, so that the two do not take each other's leases.
        print.text(NAME).text(&FORMAT.to_string());
        print.list(
            [&egress.cluster, &egress.plaintext_cluster, &self.settings.files_cluster]
                .map(|cluster| cluster.as_deref().unwrap_or_default())
                .into_iter(),
        );
        print.list(egress.clusters.iter().map(|(host, _)| host.as_str()));
        print.list(egress.clusters.iter().map(|(_, cluster)| cluster.as_str()));
        source.fingerprint(&mut print);
        let key = format!("aigw-auth/{}", print.finish());
        if let Some(index) = self.items.iter().position(|item| item.key == key) {
            return index;
        }
        self.items.push(Item { key, kind, source, policies: Vec::new(), names: String::new() });
        self.items.len() - 1
    }
}
