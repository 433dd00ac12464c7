//! `spec.azureCredentials`.

use super::cursor::Fields;
use super::identity::AzureIdentity;
use super::manifest::Reader;
use super::oidc::{self, OidcExchange};
use super::secrets::{Form, SecretKey, SecretSource};

const CLIENT_SECRET: SecretKey = SecretKey { name: "client-secret", form: Form::Line };

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
    let identity = reader.own.azure_identity.clone();
    let given = (fields.has("clientSecretRef"), fields.has("oidcExchangeToken"));
    let source = match (given, identity) {
        // The manifest has to name one for the CRD; the identity takes its place.
        ((true, false) | (false, true) | (false, false), Some(identity)) => {
            fields.get("clientSecretRef");
            fields.get("oidcExchangeToken");
            Some(AzureSource::Identity(identity))
        }
        ((true, false), None) => reader
            .secret(&mut fields, "clientSecretRef", CLIENT_SECRET)
            .map(AzureSource::ClientSecret),
        ((false, true), None) => fields
            .object("oidcExchangeToken")
            .and_then(|fields| oidc::read(fields, reader))
            .map(AzureSource::Oidc),
        ((true, true), _) | ((false, false), None) => {
            fields.get("clientSecretRef");
            fields.get("oidcExchangeToken");
            place.error("Exactly one of clientSecretRef or oidcExchangeToken must be specified");
            None
        }
    };
    fields.finish();
    reader.needs_egress(place, "obtains a token");
    Some(AzureCredentials { client_id: client_id?, tenant_id: tenant_id?, source: source? })
}
