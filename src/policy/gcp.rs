//! `spec.gcpCredentials`.

use super::cursor::Fields;
use super::google_file::{self, FileLimits, Impersonation};
use super::manifest::Reader;
use super::oidc::{self, OidcExchange};
use super::place::Place;
use super::rules;
use super::secrets::{Form, SecretKey, SecretSource};
use super::url::Endpoint;
use super::variables::Variables;
use crate::credential::Secret;

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
    /// What a credentials file may lead to.
    pub limits: FileLimits,
}

/// See [`GcpCredentials`].
#[derive(Debug)]
pub enum GcpSource {
    /// A credentials file, most often the key of a service account.
    File(SecretSource),
    /// A token of an identity provider, exchanged by workload identity federation.
    Federation(Box<Federation>),
    /// The file that `GOOGLE_APPLICATION_CREDENTIALS` names, by its path.
    DefaultFile(String),
    /// The metadata server of the machine, by its root.
    Metadata(Endpoint),
    /// What the SDKs do when nothing is configured, in an environment that is not this one.
    UnknownEnvironment,
}

/// Workload identity federation
/// (<https://cloud.google.com/iam/docs/workload-identity-federation>).
#[derive(Debug)]
pub struct Federation {
    /// How the token of the identity provider is obtained.
    pub exchange: OidcExchange,
    /// Where tokens are exchanged.
    pub token_url: Endpoint,
    /// The provider of the pool, by its full name.
    pub audience: String,
    /// The service account to act as.
    pub impersonation: Option<Impersonation>,
}

const STS: &str = "https://sts.googleapis.com/v1/token";
const SERVICE_ACCOUNTS: &str =
    "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts";
/// A file in place of the machine's own identity
/// (<https://cloud.google.com/docs/authentication/application-default-credentials>).
const DEFAULT_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// Host and port of another metadata server.
const METADATA_HOST: &str = "GCE_METADATA_HOST";
const METADATA: &str = "metadata.google.internal";

/// Reads `spec.gcpCredentials`.
pub(crate) fn read(
    mut fields: Fields<'_, '_>,
    reader: &Reader<'_, '_, '_>,
) -> Option<GcpCredentials> {
    let place = fields.place();
    let project_name = reader.cloud_name(&mut fields, "projectName");
    let region = reader.cloud_name(&mut fields, "region");
    let limits = FileLimits {
        mount_path: reader.settings.secrets.mount_path().map(str::to_owned),
        plaintext_hosts: reader.settings.egress.plaintext_hosts.clone(),
    };
    let file = fields.object("credentialsFile").map(|mut fields| {
        let place = fields.place();
        let file = reader.secret(&mut fields, "secretRef", SERVICE_ACCOUNT);
        fields.finish();
        let file = file?;
        if let Some(text) = file.known() {
            judge(text, &limits, reader, place, &file.name)?;
        }
        Some(GcpSource::File(file))
    });
    let federation = fields.object("workloadIdentityFederationConfig").map(|fields| {
        let federation = federation(fields, reader, project_name.as_deref());
        federation.map(|f| GcpSource::Federation(Box::new(f)))
    });
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
        (None, None) => application_default(reader, place),
    };
    reader.needs_egress(place, "obtains a token");
    Some(GcpCredentials { project_name: project_name?, region: region?, source: source?, limits })
}

/// Judges a credentials file that is at hand.
fn judge(
    text: &Secret,
    limits: &FileLimits,
    reader: &Reader<'_, '_, '_>,
    place: Place<'_>,
    name: &str,
) -> Option<()> {
    match google_file::read(text.expose(), limits) {
        Ok(file) => {
            for endpoint in file.endpoints() {
                reader.needs_route(place, endpoint);
            }
            if file.reads_files() {
                reader.needs_files(place, "has a credentials file that names a token file");
            }
            Some(())
        }
        Err(error) => {
            place.error(&format!("{name}: {error}"));
            None
        }
    }
}

/// Application default credentials, by the environment of the VM.
fn application_default(reader: &Reader<'_, '_, '_>, place: Place<'_>) -> Option<GcpSource> {
    let variables = Variables::new(reader);
    let found = match variables.path(DEFAULT_FILE) {
        Ok(Some(path)) => {
            reader.needs_files(place, "reads the file that GOOGLE_APPLICATION_CREDENTIALS names");
            Ok(GcpSource::DefaultFile(path))
        }
        Ok(None) if variables.were_unknown() => Ok(GcpSource::UnknownEnvironment),
        Ok(None) => {
            let host = variables.get(METADATA_HOST).unwrap_or_else(|| METADATA.to_owned());
            let root = Endpoint::of_platform(&format!("http://{host}"));
            match root {
                Ok(root) if root.path == "/" => {
                    reader.needs_route(place, &root);
                    Ok(GcpSource::Metadata(root))
                }
                _ => Err(format!("{METADATA_HOST} must be a host, with a port if need be")),
            }
        }
        Err(error) => Err(error),
    };
    found.map_err(|error| place.error(&format!("the environment of the VM: {error}"))).ok()
}

fn federation(
    mut fields: Fields<'_, '_>,
    reader: &Reader<'_, '_, '_>,
    project_name: Option<&str>,
) -> Option<Federation> {
    let place = fields.place();
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
        Some(name)
    });
    fields.finish();
    let (project_id, pool, provider) = (project_id?, pool?, provider?);
    let token_url = Endpoint::parse(STS, &[]).ok()?;
    reader.needs_route(place, &token_url);
    let impersonation = match service_account {
        Some(name) => {
            let url =
                format!("{SERVICE_ACCOUNTS}/{}:generateAccessToken", email(name?, project_name?));
            let endpoint = Endpoint::parse(&url, &[]).ok()?;
            reader.needs_route(place, &endpoint);
            let (delegates, lifetime) = (Vec::new(), Impersonation::LIFETIME);
            Some(Impersonation { endpoint, delegates, lifetime })
        }
        None => None,
    };
    Some(Federation {
        exchange: exchange?,
        token_url,
        audience: format!(
            "//iam.googleapis.com/projects/{project_id}/locations/global/\
             workloadIdentityPools/{pool}/providers/{provider}"
        ),
        impersonation,
    })
}

/// The e-mail address of a service account; a short name is one of the policy's project, whose own name may have a
/// domain in front (<https://cloud.google.com/iam/docs/service-accounts-create>).
fn email(name: &str, project: &str) -> String {
    if name.contains('@') {
        return name.to_owned();
    }
    match project.split_once(':') {
        Some((domain, project)) => format!("{name}@{project}.{domain}.iam.gserviceaccount.com"),
        None => format!("{name}@{project}.iam.gserviceaccount.com"),
    }
}
