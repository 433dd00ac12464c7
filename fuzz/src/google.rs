//! Google's exchanges, files and answers.

use super::exchanges::{FILE, MARKER, PLAINTEXT, given, oidc, secret};
use super::source::Source as Bytes;
use aigw_auth::credential::Secret;
use aigw_auth::policy::{Endpoint, FileLimits, Impersonation};
use aigw_auth::source::{Assertion, GoogleFederation, GoogleToken, Input, InputValue};

/// What a key has in it, whose letters are those of base64.
pub(crate) const KEY_MARKER: &str = "fuzzSecretMarker";
const KINDS: [&str; 4] =
    ["service_account", "authorized_user", "external_account", "impersonated_service_account"];
const IMPERSONATION: &str =
    "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken";
const NAMES: [&str; 22] = [
    "type",
    "universe_domain",
    "client_email",
    "private_key",
    "private_key_id",
    "token_uri",
    "client_id",
    "client_secret",
    "refresh_token",
    "audience",
    "subject_token_type",
    "token_url",
    "workforce_pool_user_project",
    "service_account_impersonation_url",
    "service_account_impersonation",
    "token_lifetime_seconds",
    "delegates",
    "file",
    "url",
    "headers",
    "format",
    "credential_source",
];
const VALUES: [&str; 28] = [
    "null",
    "7",
    "3600",
    "43200.5",
    "\"\"",
    "[]",
    "[\"a\",\"b\\n\"]",
    "{}",
    "\"a@b\"",
    "\"my-universe.example\"",
    "\"com\"",
    "\"https://oauth2.googleapis.com/token\"",
    "\"https://a.my-universe.example/t\"",
    "\"https://evil.example/\"",
    "\"http://idp.local/t\"",
    "\"http://169.254.169.254/t\"",
    "\"https://files.local/etc/passwd\"",
    "\"/secrets/t\"",
    "\"/var/run/secrets/t\"",
    "\"/etc/passwd\"",
    "\"/secrets/../etc/passwd\"",
    "{\"file\":\"/secrets/t\"}",
    "{\"file\":\"/secrets/t\",\"format\":{\"type\":\"json\",\"subject_token_field_name\":\"t\"}}",
    "{\"url\":\"http://idp.local/t\",\"headers\":{\"X-Key\":\"fuzz_secret_marker\"}}",
    "{\"url\":\"https://a.googleapis.com/t\",\"headers\":{\"host\":\"evil.example\"}}",
    "{\"token_lifetime_seconds\":600}",
    "\"fuzz_secret_marker\"",
    "\"-----BEGIN RSA PRIVATE KEY-----\\nfuzzSecretMarker\\n-----END RSA PRIVATE KEY-----\\n\"",
];
const ERRORS: [&str; 8] = [
    "{\"status\":\"PERMISSION_DENIED\"}",
    "{\"status\":\"UNAVAILABLE\"}",
    "{\"status\":\"RESOURCE_EXHAUSTED\"}",
    "{\"status\":7}",
    "{}",
    "\"invalid_grant\",\"error_description\":\"in a reasonable timeframe\"",
    "\"fuzz_secret_marker\"",
    "{\"status\":\"fuzz_secret_marker\"}",
];
const ENDS: [&str; 6] = [
    "\"2027-01-15T09:00:00Z\"",
    "\"2027-01-15T09:00:00.123456789+01:00\"",
    "\"2020-01-01T00:00:00Z\"",
    "1800003600",
    "null",
    "\"9999-12-31T23:59:59Z\"",
];

fn endpoint(url: &str) -> Endpoint {
    Endpoint::parse(url, &[]).unwrap()
}

/// One of every kind.
pub(crate) fn exchange(source: &mut Bytes<'_>) -> Box<GoogleToken> {
    let limits = FileLimits {
        mount_path: Some("/secrets".to_owned()),
        plaintext_hosts: vec![PLAINTEXT.to_owned()],
    };
    Box::new(match source.below(6) {
        0..2 => {
            let text = Secret::document(&file(source)).unwrap();
            let input =
                Input { id: "Secret a/b, key c ".to_owned(), value: InputValue::Given(text) };
            GoogleToken::Secret(input, limits)
        }
        2 => GoogleToken::File(FILE.to_owned(), limits),
        3 => GoogleToken::Metadata(endpoint("http://metadata.google.internal/")),
        kind => GoogleToken::Federation(Box::new(GoogleFederation {
            token_url: endpoint("https://sts.googleapis.com/v1/token"),
            audience: "//iam.googleapis.com/a".to_owned(),
            subject: Assertion::Oidc(oidc(true, given("id"))),
            impersonation: (kind == 5).then(|| Impersonation {
                endpoint: endpoint(IMPERSONATION),
                delegates: vec!["a".to_owned()],
                lifetime: 600,
            }),
        })),
    })
}

/// A credentials file with everything in it, of which something differs.
fn file(source: &mut Bytes<'_>) -> String {
    let kind = source.pick(&KINDS);
    let key = format!(
        "-----BEGIN RSA PRIVATE KEY-----\\n{KEY_MARKER}\\n-----END RSA PRIVATE KEY-----\\n"
    );
    let [client_secret, refresh_token] = ["client", "refresh"].map(secret);
    let mut fields = vec![
        ("client_email", "\"a@b\"".to_owned()),
        ("private_key", format!("\"{key}\"")),
        ("client_id", "\"id\"".to_owned()),
        ("client_secret", format!("\"{}\"", client_secret.expose())),
        ("refresh_token", format!("\"{}\"", refresh_token.expose())),
        ("audience", "\"//iam.googleapis.com/a\"".to_owned()),
        ("subject_token_type", "\"urn:a\"".to_owned()),
        ("credential_source", source.pick(&VALUES[21..25]).to_owned()),
    ];
    if kind == KINDS[3] || source.below(2) == 1 {
        fields.push(("service_account_impersonation_url", format!("\"{IMPERSONATION}\"")));
    }
    for _ in 0..source.below(4) {
        let value = match source.byte() {
            0..16 => format!("{:?}", source.text()),
            byte => VALUES[usize::from(byte) % VALUES.len()].to_owned(),
        };
        let name = source.pick(&NAMES);
        // Now and then a field is there twice.
        if source.below(8) != 7 {
            fields.retain(|(other, _)| *other != name);
        }
        fields.push((name, value));
    }
    let written = |kind: &str, more: &str| {
        let fields: String =
            fields.iter().map(|(name, value)| format!(",\"{name}\":{value}")).collect();
        format!("{{\"type\":\"{kind}\"{fields}{more}}}")
    };
    if kind != KINDS[3] {
        return written(kind, "");
    }
    let inner = written(source.pick(&KINDS), "");
    written(kind, &format!(",\"source_credentials\":{inner}"))
}

/// An answer of Google's: a file, a signature, a token of an account that is acted as, or an error.
pub(crate) fn body(source: &mut Bytes<'_>) -> Vec<u8> {
    let text = match source.below(6) {
        0 | 1 => file(source),
        2 => format!("{{\"accessToken\":\"token\",\"expireTime\":{}}}", source.pick(&ENDS)),
        3 => format!("{{\"error\":{}}}", source.pick(&ERRORS)),
        4 => format!("{{\"t\":\"{MARKER}\",\"access_token\":\"token\"}}"),
        _ => format!("{{\"accessToken\":{:?},\"expireTime\":{:?}}}", source.text(), source.text()),
    };
    text.into_bytes()
}
