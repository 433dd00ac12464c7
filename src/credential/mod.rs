//! What is put on a request.

mod aws_keys;
mod secret;

pub use aws_keys::{AwsKeys, AwsKeysError};
pub use secret::{Secret, SecretError};

/// A header that a credential is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialHeader {
    /// `authorization` (RFC 9110 section 11.6.2).
    Authorization,
    /// `x-api-key`, Anthropic's (<https://docs.anthropic.com/en/api/overview>).
    XApiKey,
    /// `api-key`, Azure OpenAI's (<https://learn.microsoft.com/azure/ai-services/openai/reference>).
    ApiKey,
}

impl CredentialHeader {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Authorization, Self::XApiKey, Self::ApiKey];

    /// The name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::XApiKey => "x-api-key",
            Self::ApiKey => "api-key",
        }
    }
}

/// A credential ready to be written: one header and its value.
///
/// A static key takes the same path as a token: it is a credential that never expires.
#[derive(Debug)]
pub struct Credential {
    header: CredentialHeader,
    value: Secret,
}

impl Credential {
    /// `authorization: Bearer <token>` (RFC 6750 section 2.1).
    pub fn bearer(token: &Secret) -> Self {
        Self { header: CredentialHeader::Authorization, value: token.prefixed("Bearer ") }
    }

    /// `x-api-key: <key>`.
    pub fn x_api_key(key: Secret) -> Self {
        Self { header: CredentialHeader::XApiKey, value: key }
    }

    /// `api-key: <key>`.
    pub fn api_key(key: Secret) -> Self {
        Self { header: CredentialHeader::ApiKey, value: key }
    }

    /// Where it goes.
    pub fn header(&self) -> CredentialHeader {
        self.header
    }

    /// What goes there.
    pub fn value(&self) -> &Secret {
        &self.value
    }
}
