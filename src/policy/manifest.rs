//! `BackendSecurityPolicy`, field by field, with the rules and messages of the upstream's CRD
//! (<https://aigateway.envoyproxy.io/docs/api/>).

use super::aws::{self, AwsCredentials};
use super::azure::{self, AzureCredentials};
use super::backend::BackendName;
use super::credential_override::{self, CredentialOverride};
use super::cursor::{Fields, unsupported};
use super::gcp::{self, GcpCredentials};
use super::identity::PolicySettings;
use super::place::Place;
use super::problem::Subject;
use super::resources::{ApiVersion, Resource};
use super::rules;
use super::secrets::{Environment, Form, SecretKey, SecretSource, SecretStore};
use super::settings::Settings;
use super::targets;
use super::url::Endpoint;

/// The key of a Secret under which all three kinds of API keys are.
const API_KEY: SecretKey = SecretKey { name: "apiKey", form: Form::Line };

/// The types that settings of ours for one policy belong to.
pub(crate) const AWS_CREDENTIALS: &str = "AWSCredentials";
pub(crate) const AZURE_CREDENTIALS: &str = "AzureCredentials";
/// The types of a policy, with the field that each needs.
const TYPES: [(&str, &str); 6] = [
    ("APIKey", "apiKey"),
    (AWS_CREDENTIALS, "awsCredentials"),
    ("AzureAPIKey", "azureAPIKey"),
    (AZURE_CREDENTIALS, "azureCredentials"),
    ("GCPCredentials", "gcpCredentials"),
    ("AnthropicAPIKey", "anthropicAPIKey"),
];

/// The credential that a policy gives.
#[derive(Debug)]
pub enum Credentials {
    /// `APIKey`.
    ApiKey(SecretSource),
    /// `AnthropicAPIKey`.
    AnthropicApiKey(SecretSource),
    /// `AzureAPIKey`.
    AzureApiKey(SecretSource),
    /// `AWSCredentials`.
    Aws(AwsCredentials),
    /// `AzureCredentials`.
    Azure(AzureCredentials),
    /// `GCPCredentials`.
    Gcp(GcpCredentials),
}

/// A policy, checked, with its secrets resolved.
#[derive(Debug)]
pub struct Policy {
    /// `<namespace>/<name>`, as logs and statistics call it.
    pub id: String,
    /// The value of `spec.type`.
    pub kind: &'static str,
    /// The backends it is for.
    pub targets: Vec<BackendName>,
    /// What it gives them.
    pub credentials: Credentials,
    /// Where a credential of a single request is taken from.
    pub credential_override: Option<CredentialOverride>,
    /// What problems that are found later call it.
    pub(crate) subject: Subject,
}

/// What reading a policy needs besides its own fields.
pub(crate) struct Reader<'a, 'r, 's> {
    pub(crate) secrets: &'a SecretStore<'r, 's>,
    pub(crate) settings: &'s Settings,
    pub(crate) environment: &'s Environment<'s>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) own: PolicySettings,
}

impl Reader<'_, '_, '_> {
    /// Checks the form of a reference to a Secret, if it is there, without asking for the Secret.
    pub(crate) fn reference(&self, fields: &mut Fields<'_, '_>, name: &'static str) {
        if let Some(fields) = fields.object(name) {
            secret_reference(fields);
        }
    }

    /// Reads a reference to a Secret in a required field.
    pub(crate) fn secret(
        &self,
        fields: &mut Fields<'_, '_>,
        name: &'static str,
        key: SecretKey,
    ) -> Option<SecretSource> {
        let place = fields.place().field(name);
        if !fields.has(name) {
            fields.get(name);
            place.error("Required value");
            return None;
        }
        let (secret_name, namespace) = secret_reference(fields.object(name)?)?;
        let namespace = namespace.unwrap_or_else(|| self.namespace.clone());
        let source = self.secrets.resolve(place, &namespace, &secret_name, key)?;
        if source.file().is_some() {
            self.needs_files(place, "has a secret under secrets.mountPath");
        }
        Some(source)
    }

    /// Notes an error if there is nowhere to make callouts to. `why` says what the policy does.
    pub(crate) fn needs_egress(&self, place: Place<'_>, why: &str) {
        if !self.settings.egress.has_cluster() {
            place
                .report()
                .setting("egress.cluster", &format!("must be set: {} {why}", place.subject()));
        }
    }

    /// Notes an error if there are clusters for callouts, but none for calls to `endpoint`.
    pub(crate) fn needs_route(&self, place: Place<'_>, endpoint: &Endpoint) {
        let egress = &self.settings.egress;
        if egress.has_cluster() && egress.route(endpoint).is_none() {
            let why = format!("must be set: {} calls {}", place.subject(), endpoint.host());
            place.report().setting("egress.cluster", &why);
        }
    }

    /// Notes an error if no cluster serves files. `why` says what the policy does.
    pub(crate) fn needs_files(&self, place: Place<'_>, why: &str) {
        if self.settings.files_cluster.is_none() {
            place
                .report()
                .setting("files.cluster", &format!("must be set: {} {why}", place.subject()));
        }
    }

    /// Reads a required name that becomes a part of a host or a path.
    pub(crate) fn cloud_name(
        &self,
        fields: &mut Fields<'_, '_>,
        name: &'static str,
    ) -> Option<String> {
        let (text, place) = fields.filled(name)?;
        if !rules::cloud_name(text) {
            place.error(rules::NOT_A_CLOUD_NAME);
            return None;
        }
        Some(text.to_owned())
    }
}

/// `secretRef` of the Gateway API: the name, and the namespace if it is given.
fn secret_reference(mut fields: Fields<'_, '_>) -> Option<(String, Option<String>)> {
    let place = fields.place().field("name");
    let name = match fields.text("name") {
        Some((text, place)) if !text.is_empty() && !rules::path_part(text) => {
            place.error(rules::NOT_A_PATH_PART);
            None
        }
        Some((text, _)) if !text.is_empty() => Some(text.to_owned()),
        None if fields.has("name") => None,
        _ => {
            place.error("must not be empty");
            None
        }
    };
    let namespace = match fields.text("namespace") {
        Some((text, place)) if !rules::dns_label(text) => {
            place.error(rules::NOT_A_LABEL);
            None
        }
        Some((text, _)) => Some(Some(text.to_owned())),
        None => Some(None),
    };
    if let Some((group, place)) = fields.text("group")
        && !group.is_empty()
    {
        place.error("must be empty: the core API group");
    }
    if let Some((kind, place)) = fields.text("kind")
        && kind != "Secret"
    {
        place.error(&unsupported(kind, &["Secret"]));
    }
    fields.finish();
    Some((name?, namespace?))
}

/// What is known of a policy even if something is wrong with it.
pub(crate) struct Outline {
    pub(crate) id: String,
    pub(crate) subject: Subject,
    /// Its targets, each with its index in `spec.targetRefs`.
    pub(crate) targets: Vec<(BackendName, usize)>,
    pub(crate) kind: Option<&'static str>,
    /// The policy. `None` if it cannot be used, with the reasons in the report.
    pub(crate) policy: Option<Policy>,
}

/// Reads one policy.
pub(crate) fn policy<'s>(
    resource: Resource<'_, '_>,
    version: ApiVersion,
    secrets: &SecretStore<'_, 's>,
    settings: &'s Settings,
    environment: &'s Environment<'s>,
) -> Outline {
    let Resource { namespace, name, mut fields } = resource;
    let subject = fields.place().subject();
    let id = format!("{namespace}/{name}");
    let own = settings.policies.of(&id).cloned().unwrap_or_default();
    let reader = Reader { secrets, settings, environment, namespace: namespace.clone(), name, own };
    let top = fields.place().field("spec");
    let spec = match fields.get("spec") {
        Some((tree, place)) => Fields::of(tree, place),
        None => Some(Fields::none(top)),
    };
    fields.finish();
    let Some(mut spec) = spec else {
        return Outline { id, subject, targets: Vec::new(), kind: None, policy: None };
    };
    let targets = targets::read(&mut spec, &namespace);
    let kind = kind(&mut spec);
    let credentials = credentials(&mut spec, kind, &reader);
    let credential_override = match version {
        ApiVersion::V1Beta1 => spec.object("credentialOverride").map(credential_override::read),
        ApiVersion::V1Alpha1 => None,
    };
    spec.finish();
    let policy = match (kind, credentials, credential_override) {
        // An override that is there and cannot be used.
        (_, _, Some(None)) | (None, _, _) | (_, None, _) => None,
        (Some(kind), Some(credentials), credential_override) => Some(Policy {
            id: id.clone(),
            kind,
            targets: targets.iter().map(|(target, _)| target.clone()).collect(),
            credentials,
            credential_override: credential_override.flatten(),
            subject: subject.clone(),
        }),
    };
    Outline { id, subject, targets, kind, policy }
}

/// `spec.type`, and that only its own field is set.
fn kind(spec: &mut Fields<'_, '_>) -> Option<&'static str> {
    let place = spec.place().field("type");
    let word = match spec.text("type") {
        Some((word, _)) => word,
        None if spec.has("type") => return None,
        None => "",
    };
    let Some((kind, field)) = TYPES.into_iter().find(|(kind, _)| *kind == word) else {
        place.error(&unsupported(word, &TYPES.map(|(kind, _)| kind)));
        return None;
    };
    if TYPES.iter().any(|(_, other)| spec.has(other) != (*other == field)) {
        spec.place().error(&format!("When type is {kind}, only {field} field should be set"));
        return None;
    }
    Some(kind)
}

/// The field that belongs to the type. Fields of other types are read as well, so that everything
/// that is wrong is said at once.
fn credentials(
    spec: &mut Fields<'_, '_>,
    kind: Option<&str>,
    reader: &Reader<'_, '_, '_>,
) -> Option<Credentials> {
    let mut found = None;
    for (name, field) in TYPES {
        let Some(fields) = spec.object(field) else { continue };
        let credentials = match name {
            "APIKey" => api_key(fields, reader).map(Credentials::ApiKey),
            "AnthropicAPIKey" => api_key(fields, reader).map(Credentials::AnthropicApiKey),
            "AzureAPIKey" => api_key(fields, reader).map(Credentials::AzureApiKey),
            AWS_CREDENTIALS => aws::read(fields, reader).map(Credentials::Aws),
            AZURE_CREDENTIALS => azure::read(fields, reader).map(Credentials::Azure),
            _ => gcp::read(fields, reader).map(Credentials::Gcp),
        };
        if kind == Some(name) {
            found = credentials;
        }
    }
    found
}

fn api_key(mut fields: Fields<'_, '_>, reader: &Reader<'_, '_, '_>) -> Option<SecretSource> {
    let key = reader.secret(&mut fields, "secretRef", API_KEY);
    fields.finish();
    key
}
