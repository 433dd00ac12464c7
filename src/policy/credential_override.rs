//! `spec.credentialOverride`: the credential of a single request.

use super::cursor::Fields;
use super::place::Place;

/// Where a credential of a single request is taken from.
#[derive(Debug)]
pub struct CredentialOverride {
    /// The place.
    pub from: OverrideSource,
    /// Whether the policy's own credential is used where there is none.
    pub fallback_to_configured: bool,
}

/// See [`CredentialOverride`].
#[derive(Debug)]
pub enum OverrideSource {
    /// A request header, or for AWS a prefix of three; `None` is the default of the type.
    RequestHeader(Option<String>),
    /// Dynamic metadata; no key is the default of the type.
    DynamicMetadata {
        /// The metadata namespace.
        namespace: String,
        /// The key in it.
        key: Option<String>,
    },
}

/// Reads `spec.credentialOverride`.
pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<CredentialOverride> {
    let place = fields.place();
    let header = fields.object("fromRequestHeaders").map(from_request_headers);
    let metadata = fields.object("fromDynamicMetadata").map(from_dynamic_metadata);
    fields.finish();
    match (header, metadata) {
        (Some(read), None) | (None, Some(read)) => read,
        _ => {
            place.error(
                "Exactly one of fromRequestHeaders or fromDynamicMetadata must be specified",
            );
            None
        }
    }
}

fn from_request_headers(mut fields: Fields<'_, '_>) -> Option<CredentialOverride> {
    let header = fields.text("header").map(|(text, place)| (text.to_owned(), place));
    let header = header.filter(|(name, _)| !name.is_empty());
    if let Some((name, place)) = &header {
        check_header_name(name, *place);
    }
    let fallback_to_configured = fields.boolean("fallbackToConfigured").unwrap_or(true);
    fields.finish();
    let from = OverrideSource::RequestHeader(header.map(|(name, _)| name.to_ascii_lowercase()));
    Some(CredentialOverride { from, fallback_to_configured })
}

/// A field name of HTTP (RFC 9110 section 5.1).
fn check_header_name(name: &str, place: Place<'_>) {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !name.bytes().all(token) {
        place.error("must be the name of a header");
    }
}

fn from_dynamic_metadata(mut fields: Fields<'_, '_>) -> Option<CredentialOverride> {
    let namespace = fields.filled("namespace").map(|(text, _)| text.to_owned());
    let key = fields.text("key").map(|(text, _)| text.to_owned()).filter(|key| !key.is_empty());
    let fallback_to_configured = fields.boolean("fallbackToConfigured").unwrap_or(true);
    fields.finish();
    let from = OverrideSource::DynamicMetadata { namespace: namespace?, key };
    Some(CredentialOverride { from, fallback_to_configured })
}
