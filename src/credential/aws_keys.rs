//! Keys of AWS: what a request is signed with.

use super::secret::{Secret, SecretError};

const ACCESS_KEY_ID: &str = "aws_access_key_id";
const SECRET_ACCESS_KEY: &str = "aws_secret_access_key";
const SESSION_TOKEN: &str = "aws_session_token";

/// An access key, and the token of the session that it belongs to if it is temporary
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/security-creds-programmatic-access.html>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsKeys {
    access_key_id: Secret,
    secret_access_key: Secret,
    session_token: Option<Secret>,
}

/// Why texts cannot be keys; none of them is part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsKeysError {
    /// Which of them is no line of text that a header can hold.
    Part(&'static str, SecretError),
    /// The access key id, by this name, would break the header that it is written to.
    AccessKeyId(&'static str),
}

impl std::fmt::Display for AwsKeysError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Part(name, error) => write!(f, "{name} {error}"),
            Self::AccessKeyId(name) => {
                write!(f, "{name} must be letters, digits and '_' only")
            }
        }
    }
}

impl AwsKeysError {
    /// The same in words of the environment: its variables have the names of a file's properties, in upper
    /// case.
    pub fn in_environment(self) -> Self {
        let upper = |name| match name {
            ACCESS_KEY_ID => "AWS_ACCESS_KEY_ID",
            SECRET_ACCESS_KEY => "AWS_SECRET_ACCESS_KEY",
            _ => "AWS_SESSION_TOKEN",
        };
        match self {
            Self::Part(name, error) => Self::Part(upper(name), error),
            Self::AccessKeyId(name) => Self::AccessKeyId(upper(name)),
        }
    }
}

impl AwsKeys {
    /// Keys from their texts, each trimmed once.
    ///
    /// # Errors
    ///
    /// If one of them is empty or has a control character inside, or the access key id is not what
    /// the API allows, `[\w]+` (<https://docs.aws.amazon.com/STS/latest/APIReference/API_Credentials.html>).
    pub fn new(
        access_key_id: &str,
        secret_access_key: &str,
        session_token: Option<&str>,
    ) -> Result<Self, AwsKeysError> {
        let part = |name, text| Secret::line(text).map_err(|error| AwsKeysError::Part(name, error));
        let access_key_id = part(ACCESS_KEY_ID, access_key_id)?;
        if !access_key_id.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(AwsKeysError::AccessKeyId(ACCESS_KEY_ID));
        }
        Ok(Self {
            access_key_id,
            secret_access_key: part(SECRET_ACCESS_KEY, secret_access_key)?,
            session_token: session_token.map(|text| part(SESSION_TOKEN, text)).transpose()?,
        })
    }

    /// Which key it is. It is part of every signature, and of no message.
    pub fn access_key_id(&self) -> &Secret {
        &self.access_key_id
    }

    /// What signatures are made with.
    pub fn secret_access_key(&self) -> &Secret {
        &self.secret_access_key
    }

    /// The token that a temporary key is sent with.
    pub fn session_token(&self) -> Option<&Secret> {
        self.session_token.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_trimmed_and_never_printed() {
        let keys = AwsKeys::new(" AKID ", "marker/+=\n", Some(" token ")).unwrap();
        assert_eq!(keys.access_key_id().expose(), "AKID");
        assert_eq!(keys.secret_access_key().expose(), "marker/+=");
        assert_eq!(keys.session_token().map(Secret::expose), Some("token"));
        let printed = format!("{keys:?}");
        assert!(!printed.contains("AKID") && !printed.contains("marker"), "{printed}");
    }

    #[test]
    fn keys_that_would_break_a_header_are_refused_by_name() {
        let line = |result: Result<AwsKeys, AwsKeysError>| result.unwrap_err().to_string();
        assert_eq!(line(AwsKeys::new("", "s", None)), "aws_access_key_id must not be empty");
        assert!(
            line(AwsKeys::new("A", "s\nt", None)).starts_with("aws_secret_access_key must not")
        );
        assert!(
            line(AwsKeys::new("A", "s", Some("a\0b"))).starts_with("aws_session_token must not")
        );
        for id in ["A/B", "A B", "A,B", "A=B", "AKIDé"] {
            assert_eq!(
                AwsKeys::new(id, "s", None),
                Err(AwsKeysError::AccessKeyId(ACCESS_KEY_ID)),
                "{id}"
            );
        }
    }
}
