//! Keys and assertions of Google's service accounts. What signs here is `ring`, and what verifies is `rsa`.

use crate::NOW;
use crate::replies::Given;
use aigw_auth::credential::Secret;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rsa::pkcs8::DecodePublicKey;
use rsa::{Pkcs1v15Sign, PublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::LazyLock;

/// What stands before the digest that is signed: that it is one of SHA-256 (RFC 8017 section 9.2, note 1).
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

static PUBLIC: LazyLock<PublicKey> =
    LazyLock::new(|| PublicKey::from_public_key_pem(&pem("rsa-public")).unwrap());

/// A key of `tests/vectors/google-keys`.
pub(crate) fn pem(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/google-keys");
    std::fs::read_to_string(folder.join(name).with_extension("pem")).unwrap()
}

/// The key of these words: a name, and how it is written.
fn written_key(words: &str) -> String {
    let (name, form) = words.split_once(' ').unwrap_or((words, ""));
    let pem = pem(name);
    match form {
        "" => pem,
        "CRLF" => pem.replace('\n', "\r\n"),
        "backslash-n" => pem.replace('\n', "\\n"),
        "without its last line end" => pem.trim_end().to_owned(),
        "indented" => pem.lines().map(|line| format!("  {line} \n")).collect(),
        "after attributes" => format!("Bag Attributes\n    friendlyName: made-up\n{pem}"),
        "cut off" => pem.split("-----END").next().unwrap().to_owned(),
        form => panic!("{form}"),
    }
}

/// `value` with every `{"pem": words}` written out, and every `{"jwt": name}` by one of `jwts`.
pub(crate) fn filled(value: &Value, jwts: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| filled(item, jwts)).collect(),
        Value::Object(fields) => match (value["pem"].as_str(), value["jwt"].as_str()) {
            (Some(words), None) => json!(written_key(words)),
            (None, Some(name)) => {
                let mut jwt = jwts[name].clone();
                assert!(jwt.is_object(), "no assertion {name}");
                for part in ["header", "claims"] {
                    let Some(changes) = value[part].as_object() else { continue };
                    for (name, change) in changes {
                        jwt[part][name] = change.clone();
                    }
                    jwt[part].as_object_mut().unwrap().retain(|_, value| !value.is_null());
                }
                jwt
            }
            _ => fields.iter().map(|(name, v)| (name.clone(), filled(v, jwts))).collect(),
        },
        _ => value.clone(),
    }
}

fn part(text: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// Header and claims of what is to be signed, whose times are counted from that of the last reply.
pub(crate) fn unsigned(text: &[u8]) -> Option<Value> {
    let (header, claims) = std::str::from_utf8(text).ok()?.split_once('.')?;
    let mut claims = part(claims)?;
    for name in ["iat", "exp"] {
        let time = claims[name].as_i64()?;
        claims[name] = json!(time - i64::try_from(NOW.as_secs()).unwrap());
    }
    Some(json!({"header": part(header)?, "claims": claims}))
}

/// The same of an assertion, if its signature is that of our key; else its text.
pub(crate) fn verified(text: &str) -> Value {
    let jwt = text.rsplit_once('.').and_then(|(signed, signature)| {
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let scheme = Pkcs1v15Sign { hash_len: Some(32), prefix: DIGEST_INFO.into() };
        PUBLIC.verify(scheme, &Sha256::digest(signed), &signature).ok()?;
        unsigned(signed.as_bytes())
    });
    jwt.unwrap_or_else(|| json!(text))
}

/// What Envoy answers that is asked for a signature.
pub(crate) fn signature(key: &Secret, text: &[u8]) -> Given {
    let lines = || key.expose().lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines().skip_while(|line| !line.starts_with("-----BEGIN")).collect::<Vec<_>>();
    let [first, body @ .., _] = lines.as_slice() else { panic!() };
    let der = STANDARD.decode(body.concat()).unwrap();
    let pair = match *first {
        "-----BEGIN PRIVATE KEY-----" => RsaKeyPair::from_pkcs8(&der),
        "-----BEGIN RSA PRIVATE KEY-----" => RsaKeyPair::from_der(&der),
        label => panic!("{label}"),
    }
    .unwrap();
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).unwrap();
    Given::Answer(200, Vec::new(), signature)
}

#[test]
fn only_what_our_key_has_signed_is_an_assertion() {
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#),
        URL_SAFE_NO_PAD.encode(r#"{"iat":1800000000,"exp":1800003600}"#)
    );
    let key = Secret::document(&pem("rsa-pkcs8")).unwrap();
    let Given::Answer(_, _, signature) = signature(&key, text.as_bytes()) else { panic!() };
    let good = format!("{text}.{}", URL_SAFE_NO_PAD.encode(&signature));
    let jwt = json!({"header": {"alg": "RS256"}, "claims": {"iat": 0, "exp": 3600}});
    assert_eq!(verified(&good), jwt);
    let mut changed = signature.clone();
    changed[0] ^= 1;
    for bad in [
        text.clone(),
        format!("{text}."),
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(&changed)),
        format!("{text}.{}", STANDARD.encode(&signature)),
        format!("{good}="),
        good.replacen('e', "f", 1),
    ] {
        assert_eq!(verified(&bad), json!(bad));
    }
}
