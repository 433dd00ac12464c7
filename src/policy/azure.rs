//! `spec.azureCredentials`.

use super::cursor::Fields;
use super::identity::AzureIdentity;
use super::manifest::Reader;
use super::oidc::{self, OidcExchange};
use super::secrets::{Form, SecretKey, SecretSource};

const CLIENT_SECRET: SecretKey = SecretKey { name: "client-secret", form: Form::Line };

const EXACTLY_ONE: &str = "Exactly one of clientSecretRef or oidcExchangeToken must be specified";

/// `AzureCredentials`: an application of a tenant, and how it proves who it is.
#[derive(Debug)]
pub struct AzureCredentials {
    /// The application.
    pub client_id: String,
    /// The tenant.
    pub tenant_id: String,
    /// How it proves who it is.
    pub source: AzureSource,
}

/// See [`AzureCredentials`].
#[derive(Debug)]
pub enum AzureSource {
    /// By a secret of its own.
    ClientSecret(SecretSource),
    /// By a token of another identity provider.
    Oidc(OidcExchange),
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
                exchange.map(AzureSource::Oidc)
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
    Some(AzureCredentials { client_id: client_id?, tenant_id: tenant_id?, source: source? })
}
