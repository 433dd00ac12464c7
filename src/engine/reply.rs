//! What a request gets that is not forwarded.

/// Why a request is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No policy targets the backend.
    UnknownBackend,
    /// The filter stands in the other position than configured.
    Misconfigured,
    /// Envoy withholds the body that has to be signed.
    BodyWithheld,
    /// The request cannot be signed as it is.
    Unsignable,
    /// There is no credential, and none may come before this many seconds.
    Unavailable(u64),
    /// A bug.
    Internal,
}

/// A reply in place of the provider's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The value of `retry-after`, in seconds (RFC 9110 section 10.2.3).
    pub retry_after: Option<u64>,
    /// The body, which is JSON.
    pub body: String,
}

impl Refusal {
    /// The reply that tells the client the kind of error, and nothing of a policy or a backend.
    pub fn reply(self) -> Reply {
        let (status, kind, message) = match self {
            Self::UnknownBackend => {
                (500, "UnknownBackend", "no policy gives credentials for this backend")
            }
            Self::Misconfigured => (
                500,
                "Misconfigured",
                "the credential filter is not in the position that it is configured for",
            ),
            Self::BodyWithheld => (
                500,
                "Misconfigured",
                "the credential filter is configured without allow_on_headers_stop_iteration",
            ),
            Self::Unsignable => (
                400,
                "UnsignableRequest",
                "a request that is an upgrade or CONNECT, or has no path, cannot be signed",
            ),
            Self::Unavailable(_) => {
                (503, "CredentialUnavailable", "there is no credential for this backend at present")
            }
            Self::Internal => (500, "Internal", "the credential filter failed"),
        };
        // The three texts are ours and need no escapes.
        let body = format!(
            r#"{{"type":"error","error":{{"type":"{kind}","code":"{status}","message":"{message}"}}}}"#
        );
        let retry_after = match self {
            Self::Unavailable(seconds) => Some(seconds),
            _ => None,
        };
        Reply { status, retry_after, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_json_in_the_form_of_the_providers() {
        for (refusal, kind) in [
            (Refusal::UnknownBackend, "UnknownBackend"),
            (Refusal::Misconfigured, "Misconfigured"),
            (Refusal::BodyWithheld, "Misconfigured"),
            (Refusal::Unsignable, "UnsignableRequest"),
            (Refusal::Unavailable(7), "CredentialUnavailable"),
            (Refusal::Internal, "Internal"),
        ] {
            let reply = refusal.reply();
            let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
            assert_eq!(body["type"], "error");
            assert_eq!(body["error"]["type"], kind);
            assert_eq!(body["error"]["code"], reply.status.to_string());
            assert!(body["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
            assert_eq!(body["error"].as_object().unwrap().len(), 3);
            let again = (refusal == Refusal::Unavailable(7)).then_some(7);
            assert_eq!(reply.retry_after, again);
        }
    }
}
