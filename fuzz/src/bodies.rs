//! Bodies of answers that get an exchange further, or nearly.

use super::exchanges::ISSUER;
use super::google;
use super::source::Source as Bytes;

const NAMES: [&str; 10] = [
    "access_token",
    "token_type",
    "expires_in",
    "expires_on",
    "error",
    "error_codes",
    "issuer",
    "token_endpoint",
    "token_endpoint_auth_methods_supported",
    "x",
];
const VALUES: [&str; 30] = [
    "\"token\"",
    "\"Bearer\"",
    "3599",
    "\"3599\"",
    "\"3.599e3\"",
    "1e9",
    "0",
    "-1",
    "1800000600",
    "\"\"",
    "null",
    "true",
    "[]",
    "{}",
    "\"invalid_client\"",
    "\"server_error\"",
    "\"slow_down\"",
    "\"fuzz_secret_marker\"",
    "\"secret_marker\"",
    "[7000215]",
    "[700024]",
    "[90033,1]",
    "\"https://idp.example/a\"",
    "\"https://idp.example/token\"",
    "\"http://idp.local:8080/token\"",
    "\"http://169.254.169.254/latest\"",
    "\"https://files.local/etc/passwd\"",
    "\"https://metadata.google.internal/\"",
    "[\"client_secret_post\"]",
    "[\"client_secret_basic\",\"client_secret_post\"]",
];

/// Keys of the container service and of the metadata service, but for what ends an object.
const KEYS: &str = "{\"AccessKeyId\":\"ASIA\",\"SecretAccessKey\":\"key\",\"Token\":\"t\"";
const NAMES_OF_KEYS: [&str; 4] = ["Expiration", "Code", "SecretAccessKey", "Token"];
const VALUES_OF_KEYS: [&str; 9] = [
    "\"2027-01-15T09:00:00Z\"",
    "\"2020-01-01T00:00:00Z\"",
    "1.8000036E9",
    "\"Success\"",
    "\"AssumeRoleUnauthorizedAccess\"",
    "\"ExpiredTokenException\"",
    "\"IDPCommunicationError\"",
    "null",
    "\"fuzz_secret_marker\"",
];
const ROLE: &str = "role-of-the-machine\n";
const CODES: [&str; 5] =
    ["ExpiredTokenException", "IDPCommunicationError", "AccessDenied", "secret_marker", "New.Code"];
const XML: [&str; 10] = [
    "&amp;",
    "&#65;",
    "&#x110000;",
    "&other;",
    "<![CDATA[<&>]]>",
    "<!-- x -->",
    "<a/>",
    "<a>",
    "<!DOCTYPE a>",
    ",\"Expiration\":1.8000036E9",
];
const PROPERTIES: [&str; 16] = [
    "[a]",
    "[b]",
    "[default]",
    "aws_access_key_id = AKIA",
    "aws_secret_access_key = key-fuzz_secret_marker",
    "aws_session_token = fuzz_secret_marker",
    "role_arn = arn:aws:iam::123456789012:role/r",
    "role_arn = fuzz_secret_marker",
    "source_profile = default",
    "source_profile = a",
    "source_profile = b",
    "credential_source = EcsContainer",
    "credential_source = Ec2InstanceMetadata",
    "web_identity_token_file = /tokens/t",
    "duration_seconds = 900",
    "external_id = fuzz_secret_marker",
];

/// Bytes as they are, or JSON of fields that mean something, cut off now and then.
pub(crate) fn body(source: &mut Bytes<'_>) -> Vec<u8> {
    // Bodies that were found when there were only those of tokens mean the same for ever.
    let kind = match source.byte() {
        byte @ 0..192 => byte % 16,
        byte @ 192..224 => 16 + byte % 8,
        _ => return google::body(source),
    };
    match kind {
        0..3 | 23 => return source.bytes().to_vec(),
        16 => return profiles(source),
        17 => return ROLE.as_bytes().to_vec(),
        18 => return keys(source),
        19..23 => return of_sts(source, kind),
        _ => {}
    }
    // What most answers need comes first, so that an input that is short gets far.
    let mut text = match kind {
        3..8 => String::from("{\"access_token\":\"token\""),
        8..12 => format!("{{\"issuer\":\"{ISSUER}\",\"token_endpoint\":\"https://idp.example/t\""),
        _ => String::from("{\"x\":0"),
    };
    for _ in 0..source.below(6) {
        let value = match source.byte() {
            0..32 => format!("{:?}", source.text()),
            32..48 => source.text(),
            byte => VALUES[usize::from(byte) % VALUES.len()].to_owned(),
        };
        text.push_str(&format!(",\"{}\":{value}", source.pick(&NAMES)));
    }
    text.push('}');
    let mut bytes = text.into_bytes();
    if kind == 15 {
        bytes.truncate(usize::from(source.byte()));
    }
    bytes
}

/// Keys of AWS in JSON, with more fields.
fn keys(source: &mut Bytes<'_>) -> Vec<u8> {
    let mut text = String::from(KEYS);
    for _ in 0..source.below(4) {
        let value = match source.byte() {
            0..16 => format!("{:?}", source.text()),
            byte => VALUES_OF_KEYS[usize::from(byte) % VALUES_OF_KEYS.len()].to_owned(),
        };
        text.push_str(&format!(",\"{}\":{value}", source.pick(&NAMES_OF_KEYS)));
    }
    text.push('}');
    text.into_bytes()
}

/// Profiles that build on each other.
fn profiles(source: &mut Bytes<'_>) -> Vec<u8> {
    let mut text = String::from("[default]\n");
    for _ in 0..source.below(24) {
        match source.byte() {
            0..8 => text.push_str(&source.text()),
            byte => text.push_str(PROPERTIES[usize::from(byte) % PROPERTIES.len()]),
        }
        text.push('\n');
    }
    text.into_bytes()
}

/// An answer of STS: JSON or XML, of either action or an error, with something odd in it now and then.
fn of_sts(source: &mut Bytes<'_>, kind: u8) -> Vec<u8> {
    let action = source.pick(&["AssumeRole", "AssumeRoleWithWebIdentity"]);
    let odd = match source.byte() {
        0..160 => String::new(),
        160..192 => source.text(),
        byte => XML[usize::from(byte) % XML.len()].to_owned(),
    };
    let code = source.pick(&CODES);
    let text = match kind {
        19 => {
            let fields = KEYS.replace("\"Token\"", "\"SessionToken\"");
            format!(
                r#"{{"{action}Response":{{"{action}Result":{{"Credentials":{fields}{odd}}}}}}}}}"#
            )
        }
        20 | 21 => format!(
            "<{action}Response><{action}Result><Credentials><AccessKeyId>ASIA</AccessKeyId>\
             <SecretAccessKey>key</SecretAccessKey><SessionToken>t{odd}</SessionToken>\
             <Expiration>2027-01-15T09:00:00Z</Expiration></Credentials></{action}Result>\
             </{action}Response>"
        ),
        _ => format!("<ErrorResponse><Error><Code>{code}{odd}</Code></Error></ErrorResponse>"),
    };
    text.into_bytes()
}
