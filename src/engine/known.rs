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
#[derive(Default)]
pub(crate) struct Known {
    state: RandomState,
    hashes: Vec<u64>,
    /// Those of credentials that are obtained, the oldest first: an old one may still be on its way.
    recent: Vec<u64>,
    /// How many of those are kept.
    room: usize,
}

/// How many credentials are remembered for each policy that obtains them, each with up to two hashes.
const REMEMBERED: usize = 4 * 2;

impl Known {
    /// Recognises what is written from now on.
    pub(crate) fn add(&mut self, means: &Means) {
        let hashes = self.hashes_of(means);
        self.hashes.extend(hashes);
    }

    /// Makes room for what one more policy obtains.
    pub(crate) fn make_room(&mut self) {
        self.room += REMEMBERED;
    }

    /// Recognises what has been obtained, and forgets the oldest of that kind.
    pub(crate) fn learn(&mut self, means: &Means) {
        let hashes = self.hashes_of(means);
        self.recent.retain(|hash| !hashes.contains(hash));
        self.recent.extend(hashes);
        let surplus = self.recent.len().saturating_sub(self.room);
        self.recent.drain(..surplus);
    }

    fn hashes_of(&self, means: &Means) -> Vec<u64> {
        let secrets = match means {
            Means::Credential(credential) => [Some(credential.value()), None],
            Means::Signing(signing) => {
                [Some(signing.keys.access_key_id()), signing.keys.session_token()]
            }
        };
        let secrets = secrets.into_iter().flatten();
        secrets.map(|secret| self.state.hash_one(secret.expose().as_bytes())).collect()
    }

    /// Whether the value of a header is one of them; a signature is known by its access key.
    pub(crate) fn contains(&self, value: &[u8]) -> bool {
        let access_key =
            value.strip_prefix(SIGNATURE).and_then(|rest| rest.split(|b| *b == b'/').next());
        let hash = self.state.hash_one(access_key.unwrap_or(value));
        self.hashes.contains(&hash) || self.recent.contains(&hash)
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
        let mut known = Known::default();
        means.iter().for_each(|means| known.add(means));
        assert!(known.contains(b"Bearer sk-1") && known.contains(b"sk-1"));
        for other in [&b"Bearer sk-2"[..], b"Bearer sk-", b"bearer sk-1", b"", b"sk-1 "] {
            assert!(!known.contains(other));
        }
    }

    #[test]
    fn a_signature_is_recognised_by_its_access_key_and_a_session_by_its_token() {
        let keys = AwsKeys::new("AKID", "secret", Some("token")).unwrap();
        let signing = Signing::new(keys, "us-east-1".to_owned(), "bedrock".to_owned());
        let mut known = Known::default();
        known.add(&Means::Signing(signing));
        assert!(known.contains(b"AWS4-HMAC-SHA256 Credential=AKID/20260101/x, Signature=y"));
        assert!(known.contains(b"token"));
        for other in [&b"AWS4-HMAC-SHA256 Credential=AKIE/20260101/x"[..], b"secret", b"tokens"] {
            assert!(!known.contains(other));
        }
    }
    #[test]
    fn the_last_few_credentials_that_were_obtained_are_recognised() {
        let mut known = Known::default();
        known.make_room();
        let bearer = |number: usize| format!("Bearer t{number}");
        for number in 0..20 {
            let token = Secret::line(&format!("t{number}")).unwrap();
            known.learn(&Means::Credential(Credential::bearer(&token)));
        }
        assert!((12..20).all(|number| known.contains(bearer(number).as_bytes())));
        assert!((0..12).all(|number| !known.contains(bearer(number).as_bytes())));
    }
}
