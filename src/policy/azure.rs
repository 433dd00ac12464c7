//! `spec.azureCredentials`.

use super::cursor::Fields;
use super::identity::{AzureIdentity, ManagedIdentity};
use super::manifest::Reader;
use super::oidc::{self, OidcExchange};
use super::place::Place;
use super::secrets::{Form, SecretKey, SecretSource, Variable};
use super::url::Endpoint;
use super::variables::Variables;
use crate::credential::Secret;

const CLIENT_SECRET: SecretKey = SecretKey { name: "client-secret", form: Form::Line };

const EXACTLY_ONE: &str = "Exactly one of clientSecretRef or oidcExchangeToken must be specified";

/// Where the authority of another cloud than the public one is told
/// (<https://learn.microsoft.com/dotnet/api/azure.identity.azureauthorityhosts>).
const AUTHORITY_HOST: &str = "AZURE_AUTHORITY_HOST";
const PUBLIC: &str = "login.microsoftonline.com";
/// The scope of Azure OpenAI, by authority; every other has that of the public cloud
/// (<https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud>).
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
const OTHER_SCOPES: [(&str, &str); 3] = [
    ("login.microsoftonline.us", "https://cognitiveservices.azure.us/.default"),
    ("login.chinacloudapi.cn", "https://cognitiveservices.azure.cn/.default"),
    ("login.partner.microsoftonline.cn", "https://cognitiveservices.azure.cn/.default"),
];

/// Where AKS puts the token of a service account
/// (<https://learn.microsoft.com/azure/aks/workload-identity-overview>).
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
/// Where App Service and Container Apps give tokens, and what they want to see.
const IDENTITY_ENDPOINT: &str = "IDENTITY_ENDPOINT";
const IDENTITY_HEADER: &str = "IDENTITY_HEADER";
/// Set beside those two by what this does not know.
const THUMBPRINT: &str = "IDENTITY_SERVER_THUMBPRINT";
const ARC: &str = "IMDS_ENDPOINT";
/// Another root of the metadata service, as the SDKs have it.
const MACHINE: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
const METADATA: &str = "http://169.254.169.254";
const TOKEN_PATH: &str = "/metadata/identity/oauth2/token";

/// `AzureCredentials`: an application of a tenant, and how it proves who it is.
#[derive(Debug)]
pub struct AzureCredentials {
    /// The application.
    pub client_id: String,
    /// The tenant.
    pub tenant_id: String,
    /// Where the tenant gives tokens.
    pub token_endpoint: Endpoint,
    /// What a token is for.
    pub scope: &'static str,
    /// How it proves who it is.
    pub source: AzureSource,
}

impl AzureCredentials {
    /// What a token of a managed identity is for: version 1 of Entra ID has resources, which scopes are made
    /// of.
    pub fn resource(&self) -> &str {
        self.scope.strip_suffix("/.default").unwrap_or(self.scope)
    }
}

/// See [`AzureCredentials`].
#[derive(Debug)]
pub enum AzureSource {
    /// By a secret of its own.
    ClientSecret(SecretSource),
    /// By a token of another identity provider.
    Oidc(Box<OidcExchange>),
    /// By a token of the platform in the file of this path; `None` if the environment is not the one in
    /// which the filter runs. A setting of ours.
    Workload(Option<String>),
    /// By who the machine is: a setting of ours.
    Managed(IdentityService, ManagedIdentity),
}

/// Who gives tokens of managed identities.
#[derive(Clone, Debug)]
pub enum IdentityService {
    /// The metadata service of a machine.
    Machine(Endpoint),
    /// App Service, Container Apps and the like.
    AppService {
        /// Where it is asked.
        endpoint: Endpoint,
        /// What it wants to see in `x-identity-header`.
        header: Secret,
    },
}

/// Reads `spec.azureCredentials`.
pub(crate) fn read(
    mut fields: Fields<'_, '_>,
    reader: &Reader<'_, '_, '_>,
) -> Option<AzureCredentials> {
    let place = fields.place();
    let client_id = reader.cloud_name(&mut fields, "clientID");
    let tenant_id = reader.cloud_name(&mut fields, "tenantID");
    // Either may be null, which is the same as absent.
    fields.get("clientSecretRef");
    fields.get("oidcExchangeToken");
    let source = match reader.own.azure_identity.clone() {
        // The manifest may name a secret for the sake of the CRD; the identity takes its place.
        Some(identity) => {
            reader.reference(&mut fields, "clientSecretRef");
            let exchange = fields.has("oidcExchangeToken");
            let exchange =
                exchange.then(|| oidc::required(&mut fields, "oidcExchangeToken", reader));
            match (fields.has("clientSecretRef"), exchange) {
                (true, Some(_)) => {
                    place.error(EXACTLY_ONE);
                    None
                }
                _ => platform(identity, reader, place),
            }
        }
        None => {
            let secret = fields.has("clientSecretRef");
            let secret = secret.then(|| {
                let secret = reader.secret(&mut fields, "clientSecretRef", CLIENT_SECRET);
                secret.map(AzureSource::ClientSecret)
            });
            let exchange = fields.has("oidcExchangeToken");
            let exchange = exchange.then(|| {
                let exchange = oidc::required(&mut fields, "oidcExchangeToken", reader);
                exchange.map(|exchange| AzureSource::Oidc(Box::new(exchange)))
            });
            match (secret, exchange) {
                (Some(source), None) | (None, Some(source)) => source,
                (Some(_), Some(_)) | (None, None) => {
                    place.error(EXACTLY_ONE);
                    None
                }
            }
        }
    };
    fields.finish();
    reader.needs_egress(place, "obtains a token");
    let (client_id, tenant_id, source) = (client_id?, tenant_id?, source?);
    let token_endpoint = token_endpoint(reader, place, &tenant_id)?;
    let others = OTHER_SCOPES.iter().find(|(host, _)| *host == token_endpoint.host());
    let scope = others.map_or(SCOPE, |(_, scope)| scope);
    // A managed identity is asked for on the machine, and nothing of the authority but its cloud counts.
    reader.needs_route(
        place,
        match &source {
            AzureSource::Managed(
                IdentityService::Machine(endpoint) | IdentityService::AppService { endpoint, .. },
                _,
            ) => endpoint,
            _ => &token_endpoint,
        },
    );
    Some(AzureCredentials { client_id, tenant_id, token_endpoint, scope, source })
}

/// An identity of the platform, as the environment tells of it.
fn platform(
    identity: AzureIdentity,
    reader: &Reader<'_, '_, '_>,
    place: Place<'_>,
) -> Option<AzureSource> {
    let variables = Variables::new(reader);
    let found = match identity {
        AzureIdentity::Workload => {
            reader.needs_files(place, "reads a token file");
            match variables.path(TOKEN_FILE) {
                Ok(None) if !variables.were_unknown() => {
                    Err(format!("{TOKEN_FILE} is not set, and azureIdentity is WorkloadIdentity"))
                }
                path => path.map(AzureSource::Workload),
            }
        }
        AzureIdentity::Managed(identity) => {
            service(&variables).map(|service| AzureSource::Managed(service, identity))
        }
    };
    found.map_err(|error| place.error(&format!("the environment of the VM: {error}"))).ok()
}

/// The service that gives tokens of managed identities.
fn service(variables: &Variables<'_>) -> Result<IdentityService, String> {
    let endpoint = |name: &str, url: &str| {
        Endpoint::of_platform(url).map_err(|error| format!("{name} {error}"))
    };
    let (url, header) = (variables.get(IDENTITY_ENDPOINT), variables.get(IDENTITY_HEADER));
    match (url, header) {
        (Some(url), Some(header)) => {
            if variables.get(THUMBPRINT).is_some() {
                return Err(format!("{THUMBPRINT} is set: Service Fabric is not supported"));
            }
            let endpoint = endpoint(IDENTITY_ENDPOINT, &url)?;
            let header =
                Secret::line(&header).map_err(|error| format!("{IDENTITY_HEADER} {error}"))?;
            Ok(IdentityService::AppService { endpoint, header })
        }
        (Some(_), None) if variables.get(ARC).is_some() => {
            Err(format!("{ARC} is set: Azure Arc is not supported"))
        }
        (Some(_), None) => Err(format!("{IDENTITY_ENDPOINT} is set, and {IDENTITY_HEADER} is not")),
        (None, _) => {
            let root = variables.get(MACHINE).unwrap_or_else(|| METADATA.to_owned());
            let root = endpoint(MACHINE, &root)?;
            if root.path.contains('?') {
                return Err(format!("{MACHINE} must have no query"));
            }
            Ok(IdentityService::Machine(root.join(TOKEN_PATH)))
        }
    }
}

/// The token endpoint of a tenant, at the authority that the environment names.
fn token_endpoint(reader: &Reader<'_, '_, '_>, place: Place<'_>, tenant: &str) -> Option<Endpoint> {
    let authority = match (reader.environment)(AUTHORITY_HOST) {
        Variable::Set(text) if !text.trim().is_empty() => text,
        _ => PUBLIC.to_owned(),
    };
    let authority = authority.trim().trim_end_matches('/');
    let scheme = if authority.contains("://") { "" } else { "https://" };
    let url = format!("{scheme}{authority}/{tenant}/oauth2/v2.0/token");
    let wrong = match Endpoint::parse(&url, &reader.settings.egress.plaintext_hosts) {
        // Tenants hold neither: what is more is the authority's.
        Ok(endpoint) if endpoint.is_metadata() || endpoint.path.contains('?') => {
            "must be the host of an authority".to_owned()
        }
        Ok(endpoint) => return Some(endpoint),
        Err(error) => error.to_string(),
    };
    place.error(&format!("the environment of the VM: {AUTHORITY_HOST} {wrong}"));
    None
}
