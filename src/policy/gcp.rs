//! `spec.gcpCredentials`.

use super::cursor::Fields;
use super::manifest::Reader;
use super::oidc::{self, OidcExchange};
use super::rules;
use super::secrets::{Form, SecretKey, SecretSource};

const SERVICE_ACCOUNT: SecretKey = SecretKey { name: "service_account.json", form: Form::Document };

/// `GCPCredentials`: which project is billed where, and with what.
#[derive(Debug)]
pub struct GcpCredentials {
    /// The project of the Vertex path.
    pub project_name: String,
    /// The location of the Vertex path.
    pub region: String,
    /// Where the token comes from.
    pub source: GcpSource,
}

/// See [`GcpCredentials`].
#[derive(Debug)]
pub enum GcpSource {
    /// A credentials file, most often the key of a service account.
    File(SecretSource),
    /// A token of an identity provider, exchanged by workload identity federation.
    Federation(Box<Federation>),
    /// What the SDKs do when nothing is configured.
    ApplicationDefault,
}

/// Workload identity federation
/// (<https://cloud.google.com/iam/docs/workload-identity-federation>).
#[derive(Debug)]
pub struct Federation {
    /// How the token of the identity provider is obtained.
    pub exchange: OidcExchange,
    /// The project that has the pool.
    pub project_id: String,
    /// The pool.
    pub pool: String,
    /// The provider in the pool.
    pub provider: String,
    /// The service account to act as.
    pub service_account: Option<String>,
}

/// Reads `spec.gcpCredentials`.
pub(crate) fn read(
    mut fields: Fields<'_, '_>,
    reader: &Reader<'_, '_, '_>,
) -> Option<GcpCredentials> {
    let place = fields.place();
    let project_name = reader.cloud_name(&mut fields, "projectName");
    let region = reader.cloud_name(&mut fields, "region");
    let file = fields.object("credentialsFile").map(|mut fields| {
        let file = reader.secret(&mut fields, "secretRef", SERVICE_ACCOUNT);
        fields.finish();
        file.map(GcpSource::File)
    });
    let federation = fields
        .object("workloadIdentityFederationConfig")
        .map(|fields| federation(fields, reader).map(|f| GcpSource::Federation(Box::new(f))));
    fields.finish();
    let source = match (file, federation) {
        (Some(_), Some(_)) => {
            place.error(
                "At most one of credentialsFile or workloadIdentityFederationConfig may be \
                 specified",
            );
            None
        }
        (Some(source), None) | (None, Some(source)) => source,
        (None, None) => Some(GcpSource::ApplicationDefault),
    };
    reader.needs_egress(place, "obtains a token");
    Some(GcpCredentials { project_name: project_name?, region: region?, source: source? })
}

fn federation(mut fields: Fields<'_, '_>, reader: &Reader<'_, '_, '_>) -> Option<Federation> {
    let project_id = reader.cloud_name(&mut fields, "projectID");
    let pool = reader.cloud_name(&mut fields, "workloadIdentityPoolName");
    let provider = reader.cloud_name(&mut fields, "workloadIdentityProviderName");
    let exchange = oidc::required(&mut fields, "oidcExchangeToken", reader);
    let service_account = fields.object("serviceAccountImpersonation").map(|mut fields| {
        let name = fields.filled("serviceAccountName");
        fields.finish();
        let (name, place) = name?;
        if !rules::account(name) {
            place.error("must be the name or the e-mail address of a service account");
            return None;
        }
        Some(name.to_owned())
    });
    fields.finish();
    Some(Federation {
        exchange: exchange?,
        project_id: project_id?,
        pool: pool?,
        provider: provider?,
        service_account: match service_account {
            Some(read) => Some(read?),
            None => None,
        },
    })
}
