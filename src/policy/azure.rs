//! `spec.azureCredentials`.

use super::cursor::Fields;
use super::identity::AzureIdentity;
use super::manifest::Reader;
use super::oidc::{self, OidcExchange};
use super::place::Place;
use super::secrets::{Form, SecretKey, SecretSource, Variable};
use super::url::Endpoint;

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

/// See [`AzureCredentials`].
#[derive(Debug)]
pub enum AzureSource {
    /// By a secret of its own.
    ClientSecret(SecretSource),
    /// By a token of another identity provider.
    Oidc(Box<OidcExchange>),
    /// By an identity of the platform: a setting of ours.
    Identity(AzureIdentity),
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
            if identity == AzureIdentity::Workload {
                reader.needs_files(place, "reads a token file");
            }
            match (fields.has("clientSecretRef"), exchange) {
                (true, Some(_)) => {
                    place.error(EXACTLY_ONE);
                    None
                }
                _ => Some(AzureSource::Identity(identity)),
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
    if !matches!(source, AzureSource::Identity(AzureIdentity::Managed(_))) {
        reader.needs_route(place, &token_endpoint);
    }
    Some(AzureCredentials { client_id, tenant_id, token_endpoint, scope, source })
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
