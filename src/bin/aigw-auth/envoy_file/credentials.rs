//! Which headers and query parameters the filter removes or sets. The filter itself is asked, so that
//! there is one list.

use aigw_auth::credential::{Credential, Secret};
use aigw_auth::inject::{
    Changes, Earlier, Headers, Mutation, PATH, Put, concerns_signature, inject,
};
use aigw_auth::policy::{AwsSource, ClientCredentials, Config, Credentials};

/// Whether a header, in any letter case, may hold a credential of a client or of ours.
pub(crate) fn is_credential(header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    // The one header of which only some values hold a key is `sec-websocket-protocol`.
    let headers = [(header.clone(), b"openai-insecure-api-key.probe".to_vec())];
    stripped(&headers, |changes| {
        changes.mutations.iter().any(|m| matches!(m, Mutation::Remove(name) if *name == header))
    })
}

/// Whether a query parameter, in any letter case, may hold a credential of a client.
pub(crate) fn is_credential_parameter(parameter: &str) -> bool {
    let headers = [(PATH.to_owned(), format!("/?{parameter}=probe").into_bytes())];
    stripped(&headers, |changes| changes.path.is_some())
}

fn stripped(headers: &Headers, holds: impl Fn(&Changes<'_>) -> bool) -> bool {
    let Ok(secret) = Secret::line("probe") else { return true };
    let credential = Credential::bearer(&secret);
    let (earlier, put) = (Earlier::default(), Put::Credential(&credential));
    let changes = inject(headers, &earlier, ClientCredentials::Strip, &|_| false, put);
    changes.is_ok_and(|changes| holds(&changes))
}

/// The headers that make a signature.
const SIGNATURE: [&str; 3] = ["authorization", "x-amz-date", "x-amz-security-token"];

/// Whether a change of this header, in any letter case, spoils a signature.
pub(crate) fn is_signed(header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    SIGNATURE.contains(&header.as_str())
        || [PATH, "host"].contains(&header.as_str())
        || concerns_signature(header.as_bytes())
}

/// Whether a filter with this configuration removes or sets a header.
pub(crate) fn touches_header(config: &Config, header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    let strips = config.settings.client_credentials == ClientCredentials::Strip;
    (strips && is_credential(&header))
        || config.policies.iter().any(|p| written(&p.credentials).contains(&header.as_str()))
}

/// Whether a filter with this configuration removes a query parameter.
pub(crate) fn touches_parameter(config: &Config, parameter: &str) -> bool {
    config.settings.client_credentials == ClientCredentials::Strip
        && is_credential_parameter(parameter)
}

fn written(credentials: &Credentials) -> &'static [&'static str] {
    match credentials {
        Credentials::ApiKey(_) | Credentials::Azure(_) | Credentials::Gcp(_) => &["authorization"],
        Credentials::AnthropicApiKey(_) => &["x-api-key"],
        Credentials::AzureApiKey(_) => &["api-key"],
        Credentials::Aws(aws) if matches!(aws.source, AwsSource::Bearer(_)) => &["authorization"],
        Credentials::Aws(_) => &SIGNATURE,
    }
}
