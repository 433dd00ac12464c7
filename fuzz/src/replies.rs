//! Any answers to whatever an exchange asks.

use super::source::Source as Bytes;
use aigw_auth::credential::Secret;
use aigw_auth::policy::{Endpoint, Scheme};
use aigw_auth::source::{
    Answer, Assertion, Call, Entra, Failure, FileForm, Input, InputValue, Material, MountedFile,
    Oidc, Proof, Reason, Reply, Source, Step, Target,
};
use std::time::Duration;

/// Part of every secret. An error code could look like it.
const MARKER: &str = "fuzz_secret_marker";
const ISSUER: &str = "https://idp.example/a";
const PLAINTEXT: &str = "idp.local";
const SUBJECT: &str = "Secret a/b, key c";

const START: Duration = Duration::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);
/// Most calls of one exchange: twice an assertion, each discovered and asked for in both ways.
const MOST: usize = 8;
/// The longest error code.
const LONGEST: usize = 40;

const STATUSES: [u16; 16] =
    [200, 200, 200, 200, 201, 204, 302, 400, 400, 401, 403, 404, 408, 429, 500, 503];
const HEADERS: [&str; 4] = ["retry-after", "retry-after", "content-type", "location"];
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

/// An exchange comes to an end in a few calls, with a credential that can be used or with a reason;
/// no secret goes where it must not, and nothing of a secret or of a body can be printed.
pub fn run(bytes: &[u8]) {
    let mut source = Bytes(bytes);
    let asked = exchange(&mut source);
    verify_print(&format!("{asked:?}"), &[]);
    let mut now = START;
    let mut at = asked.start(&|_| Some(secret("input")), now);
    let mut bodies = Vec::new();
    for calls in 0.. {
        let Step::Call(call, next) = at else { break };
        assert!(calls < MOST);
        verify_call(&call);
        now += Duration::from_secs(u64::from(source.byte()));
        let body = body(&mut source);
        let headers = headers(&mut source);
        let reply = match source.below(24) {
            0 => Reply::TimedOut,
            1 => Reply::Unreachable,
            kind => {
                let status = match kind {
                    2 => u16::from_be_bytes([source.byte(), source.byte()]),
                    _ => source.pick(&STATUSES),
                };
                Reply::Answer(Answer { status, headers: &headers, body: &body })
            }
        };
        at = next.take(&reply, now);
        bodies.push(body.clone());
    }
    match at {
        Step::Call(..) => unreachable!(),
        Step::Done(obtained) => {
            assert!(!format!("{obtained:?}").contains(MARKER));
            match obtained.expires_at {
                Some(end) => assert!(end > now && end <= now + DAY, "{end:?}"),
                None => assert!(bodies.len() == 1),
            }
            if let Material::Line(line) = obtained.material {
                assert!(Secret::line(line.expose()).is_ok_and(|same| same == line));
            }
        }
        Step::Failed(failure) => verify_failure(&failure, &bodies),
    }
}

fn secret(name: &str) -> Secret {
    Secret::line(&format!("{name}-{MARKER}")).unwrap()
}

fn given(id: &str) -> Input {
    Input { id: id.to_owned(), value: InputValue::Given(secret(id)) }
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::parse(url, &[]).unwrap()
}

/// One of every kind.
fn exchange(source: &mut Bytes<'_>) -> Box<dyn Source> {
    let kind = source.below(7);
    let oidc = Oidc {
        issuer: ISSUER.to_owned(),
        token_endpoint: kind.is_multiple_of(2).then(|| endpoint("https://login.example/token")),
        client_id: given("id"),
        client_secret: Input { id: "secret".to_owned(), value: InputValue::Obtained(0) },
        scopes: vec!["a b".to_owned(), "c".to_owned()],
        resources: vec!["urn:d".to_owned()],
        audience: Some("e".to_owned()),
        plaintext_hosts: vec![PLAINTEXT.to_owned()],
    };
    let entra = |proof| {
        let token_endpoint = endpoint("https://entra.example/tenant/oauth2/v2.0/token");
        let (client_id, scope) = ("app".to_owned(), "f/.default".to_owned());
        Box::new(Entra { token_endpoint, client_id, scope, proof })
    };
    let file = |form| {
        let (path, subject) = ("/a/b/c".to_owned(), SUBJECT.to_owned());
        Box::new(MountedFile { path, subject, form })
    };
    match kind {
        0 | 1 => Box::new(oidc),
        2 | 3 => entra(Proof::Assertion(Assertion::Oidc(oidc))),
        4 => entra(Proof::Secret(given("secret"))),
        5 => file(FileForm::Line),
        _ => file(FileForm::AwsKeys { profile: "default".to_owned() }),
    }
}

/// Bytes as they are, or JSON of fields that mean something, cut off now and then.
fn body(source: &mut Bytes<'_>) -> Vec<u8> {
    let kind = source.below(16);
    if kind < 3 {
        return source.bytes().to_vec();
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

fn headers(source: &mut Bytes<'_>) -> Vec<(String, Vec<u8>)> {
    let one = |source: &mut Bytes<'_>| (source.pick(&HEADERS).to_owned(), source.bytes().to_vec());
    (0..source.below(3)).map(|_| one(source)).collect()
}

/// A secret goes to where the policy says, or where the issuer's document may say.
fn verify_call(call: &Call) {
    verify_print(&format!("{call:?}"), &[]);
    assert!(call.method == "GET" || call.method == "POST");
    let sends = call.headers.iter().any(|(name, _)| *name == "authorization");
    let sends = sends || !call.body.is_empty();
    match &call.target {
        Target::File(path) => assert!(path == "/a/b/c" && !sends),
        Target::Signer(_) => unreachable!(),
        Target::Url(endpoint) => {
            assert!(endpoint.scheme == Scheme::Https || endpoint.host() == PLAINTEXT);
            assert!(!endpoint.is_metadata() && endpoint.host() != "files.local");
            assert_eq!(call.method == "POST", sends);
        }
    }
    for (name, value) in &call.headers {
        assert!(!value.contains(['\r', '\n', '\0']), "{name}");
        assert!(*name == "authorization" || !value.contains(MARKER), "{name}");
    }
}

fn verify_failure(failure: &Failure, bodies: &[Vec<u8>]) {
    // Names of profiles may be told.
    let tells_names = |subject: &str| subject.contains("no such profile");
    if !failure.subject.as_deref().is_some_and(tells_names) {
        verify_print(&format!("{failure} {failure:?}"), bodies);
    }
    assert!(failure.retry_after.is_none_or(|wait| wait <= DAY));
    assert!(!failure.lasting || failure.reason == Reason::Denied);
    if let Some(code) = &failure.code {
        let of_entra = code.strip_prefix("AADSTS").is_some_and(|number| {
            (1..=10).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit())
        });
        let of_oauth = (1..=LONGEST).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(of_entra || of_oauth, "{code}");
        assert!(!MARKER.contains(code.as_str()), "{code}");
    }
}

/// Nothing that can be printed has a secret, or a piece of a body that is longer than a code.
fn verify_print(printed: &str, bodies: &[Vec<u8>]) {
    assert!(!printed.contains(MARKER), "{printed}");
    for body in bodies {
        for piece in body.windows(LONGEST + 1) {
            let piece = std::str::from_utf8(piece);
            assert!(piece.is_err() || !printed.contains(piece.unwrap_or_default()), "{printed}");
        }
    }
}
