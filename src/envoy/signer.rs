//! Signatures of RSA, which Envoy makes: BoringSSL does it in constant time, and the module has no code for it.

use crate::credential::Secret;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use proxy_wasm::hostcalls;

/// Signs a text with a private key in PEM (RSASSA-PKCS1-v1_5 with SHA-256, RFC 8017 section 8.2). `None` if
/// Envoy cannot read the key.
pub(super) fn sign(key: &Secret, text: &[u8]) -> Option<Vec<u8>> {
    // message SignArguments { string hash_function = 1; bytes text = 3; string private_key_pem = 4; }
    // (Envoy, source/extensions/common/wasm/ext/sign.proto).
    let mut message = Vec::new();
    for (number, field) in [(1, &b"sha256"[..]), (3, text), (4, key.expose().as_bytes())] {
        encode_key(number, WireType::LengthDelimited, &mut message);
        encode_varint(field.len() as u64, &mut message);
        message.extend_from_slice(field);
    }
    let answer = hostcalls::call_foreign_function("sign", Some(&message)).ok().flatten()?;
    signature(&answer)
}

/// message SignResult { bool result = 1; bytes signature = 2; string error = 3; }
fn signature(mut answer: &[u8]) -> Option<Vec<u8>> {
    let (mut result, mut signature) = (false, Vec::new());
    while !answer.is_empty() {
        match decode_key(&mut answer).ok()? {
            (1, WireType::Varint) => result = decode_varint(&mut answer).ok()? == 1,
            (2, WireType::LengthDelimited) => {
                let length = usize::try_from(decode_varint(&mut answer).ok()?).ok()?;
                let (bytes, rest) = answer.split_at_checked(length)?;
                (signature, answer) = (bytes.to_vec(), rest);
            }
            (number, kind) => {
                skip_field(kind, number, &mut answer, DecodeContext::default()).ok()?;
            }
        }
    }
    (result && !signature.is_empty()).then_some(signature)
}
