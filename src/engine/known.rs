//! The credentials that this configuration writes, recognised by value.
//!
//! A mirrored request is a stream of its own: Envoy copies the headers into it, with whatever an
//! attempt before a redirect wrote, and the filter state that remembers what was written stays
//! behind. So where the client's headers are kept, what looks like ours is removed by its value.

use super::compile::Means;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// What comes before the access key id in a signature.
const SIGNATURE: &[u8] = b"AWS4-HMAC-SHA256 Credential=";

/// Recognises credentials by keyed hashes of 64 bits, so the time that it takes tells a client nothing
/// of how close a guess is.
pub(crate) struct Known {
    state: RandomState,
    hashes: Vec<u64>,
}

impl Known {
    /// Recognises what these write.
    pub(crate) fn new<'m>(all: impl Iterator<Item = &'m Means>) -> Self {
        let state = RandomState::new();
        let mut hashes = Vec::new();
        for means in all {
            let secrets = match means {
                Means::Credential(credential) => [Some(credential.value()), None],
                Means::Signing(signing) => {
                    [Some(signing.keys.access_key_id()), signing.keys.session_token()]
                }
            };
            let secrets = secrets.into_iter().flatten();
            hashes.extend(secrets.map(|secret| state.hash_one(secret.expose().as_bytes())));
        }
        Self { state, hashes }
    }

    /// Whether the value of a header is one of them; a signature is known by its access key.
    pub(crate) fn contains(&self, value: &[u8]) -> bool {
        let access_key =
            value.strip_prefix(SIGNATURE).and_then(|rest| rest.split(|b| *b == b'/').next());
        self.hashes.contains(&self.state.hash_one(access_key.unwrap_or(value)))
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{AwsKeys, Credential, Secret};
    use crate::inject::Signing;

    #[test]
    fn only_whole_values_are_recognised() {
        let key = Secret::line("sk-1").unwrap();
        let credentials = [Credential::bearer(&key), Credential::api_key(key.clone())];
        let means = credentials.map(Means::Credential);
        let known = Known::new(means.iter());
        assert!(known.contains(b"Bearer sk-1") && known.contains(b"sk-1"));
        for other in [&b"Bearer sk-2"[..], b"Bearer sk-", b"bearer sk-1", b"", b"sk-1 "] {
            assert!(!known.contains(other));
        }
    }

    #[test]
    fn a_signature_is_recognised_by_its_access_key_and_a_session_by_its_token() {
        let keys = AwsKeys::new("AKID", "secret", Some("token")).unwrap();
        let signing = Signing::new(keys, "us-east-1".to_owned(), "bedrock");
        let known = Known::new([Means::Signing(signing)].iter());
        assert!(known.contains(b"AWS4-HMAC-SHA256 Credential=AKID/20260101/x, Signature=y"));
        assert!(known.contains(b"token"));
        for other in [&b"AWS4-HMAC-SHA256 Credential=AKIE/20260101/x"[..], b"secret", b"tokens"] {
            assert!(!known.contains(other));
        }
    }
}
