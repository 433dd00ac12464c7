//! What is timed, natively (`benches/signature.rs`) and in the VM: a request of Bedrock's client.

use aigw_auth::aws::sigv4::{Hash, Request, Scope, Signed, Signer};
use aigw_auth::credential::AwsKeys;
use aigw_auth::engine::{BodyHash, SLICE};
use std::hint::black_box;
use std::time::Duration;

/// The size of the body that is hashed.
pub(crate) const LARGE: usize = 1 << 20;
const NOW: Duration = Duration::from_secs(1_764_000_000);

/// What is signed with.
pub(crate) struct Work {
    keys: AwsKeys,
    signer: Signer,
    body: Vec<u8>,
}

impl Work {
    /// As long as real keys. `None` if they are refused.
    pub(crate) fn new() -> Option<Self> {
        let secret = "se/cret+key/of/the+benchmark/0123456789A";
        let keys = AwsKeys::new("AKIDOFTHEBENCHMARK01", secret, None).ok()?;
        Some(Self { keys, signer: Signer::default(), body: vec![b'x'; LARGE] })
    }

    /// A signature with the derived key of one before.
    #[inline(never)]
    pub(crate) fn cached(&self) -> Option<Signed> {
        self.sign(&self.signer)
    }

    /// A signature with a key derived for it, as the first of a day.
    #[inline(never)]
    pub(crate) fn derived(&self) -> Option<Signed> {
        self.sign(&Signer::default())
    }

    /// The hash of a large body.
    #[inline(never)]
    pub(crate) fn hash(&self) -> Hash {
        let mut hash = BodyHash::default();
        black_box(&self.body).chunks(SLICE).for_each(|slice| hash.update(slice));
        hash.finish()
    }

    fn sign(&self, signer: &Signer) -> Option<Signed> {
        let request = Request {
            method: b"POST",
            path: b"/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse",
            host: "bedrock-runtime.us-east-1.amazonaws.com",
            headers: &[("content-type", b"application/json")],
            body: &[0xa5; 32],
        };
        let scope = Scope { region: "us-east-1", service: "bedrock" };
        signer.sign(black_box(&request), black_box(scope), &self.keys, black_box(NOW))
    }
}
