//! Any answers to whatever an exchange asks.

use super::bodies::body;
use super::exchanges::{MARKER, PLAINTEXT, exchange, secret};
use super::google::KEY_MARKER;
use super::source::Source as Bytes;
use aigw_auth::credential::{AwsKeys, Secret};
use aigw_auth::policy::Scheme;
use aigw_auth::source::{Answer, Call, Failure, Material, Reason, Reply, Step, Target};
use std::time::Duration;

const START: Duration = Duration::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);
/// Keys that had ended when they came are used for so long.
const GRACE: Duration = Duration::from_secs(600);
/// Most calls of one exchange: a file of profiles, and 16 roles on top of the metadata service, whose token is
/// asked for twice.
const MOST: usize = 1 + 16 + 6;
/// The longest error code of OAuth, and that of AWS.
const LONGEST: usize = 40;
const LONGEST_OF_AWS: usize = 64;

const STATUSES: [u16; 16] =
    [200, 200, 200, 200, 201, 204, 302, 400, 400, 401, 403, 404, 408, 429, 500, 503];
const HEADERS: [&str; 4] = ["retry-after", "retry-after", "content-type", "location"];
/// An exchange comes to an end in a few calls, with a credential that can be used or with a reason;
/// no secret goes where it must not, and nothing of a secret or of a body can be printed.
pub fn run(bytes: &[u8]) {
    let mut source = Bytes(bytes);
    let asked = exchange(&mut source);
    let printed = format!("{asked:?}");
    verify_print(&printed, &[]);
    // The service of a machine is not told any secret that it could tell.
    let knows_secret = !printed.contains("Machine(");
    let mut now = START;
    let mut at = asked.start(&|_| Some(secret("input")), now);
    let mut bodies = Vec::new();
    // Whether whoever was asked last was told a secret.
    let mut told = false;
    for calls in 0.. {
        let Step::Call(call, next) = at else { break };
        assert!(calls < MOST);
        verify_call(&call);
        told = is_told(&call);
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
            assert!(!obtained.late || obtained.expires_at == Some(now + GRACE));
            if let Some(note) = &obtained.note {
                verify_print(note, &bodies);
                assert!(!note.contains(char::is_control), "{note:?}");
            }
            match obtained.material {
                Material::Line(line) => {
                    assert!(Secret::line(line.expose()).is_ok_and(|same| same == line));
                }
                Material::Keys(keys) => {
                    let (id, key) = (keys.access_key_id(), keys.secret_access_key());
                    let token = keys.session_token().map(Secret::expose);
                    let same = AwsKeys::new(id.expose(), key.expose(), token);
                    assert!(same.is_ok_and(|same| same == keys));
                }
            }
        }
        Step::Failed(failure) => {
            let of_google = failure.step.starts_with("google");
            verify_failure(&failure, &bodies, if of_google { told } else { knows_secret });
        }
    }
}

fn headers(source: &mut Bytes<'_>) -> Vec<(String, Vec<u8>)> {
    let one = |source: &mut Bytes<'_>| (source.pick(&HEADERS).to_owned(), source.bytes().to_vec());
    let count = source.byte();
    let mut headers: Vec<_> = (0..count % 3).map(|_| one(source)).collect();
    if count >= 224 {
        headers.push(("metadata-flavor".to_owned(), b"Google".to_vec()));
    }
    headers
}

/// Whether a call tells a secret that an error could tell again.
fn is_told(call: &Call) -> bool {
    let tells = |(name, value): &(_, String)| {
        *name == "authorization" && (value.starts_with("Basic ") || value.contains(MARKER))
    };
    String::from_utf8_lossy(&call.body).contains(MARKER) || call.headers.iter().any(tells)
}

/// A secret goes to where the policy says, or where the issuer's document may say: to the services of the machine
/// what they gave, and nothing else.
fn verify_call(call: &Call) {
    verify_print(&format!("{call:?}"), &[]);
    if let Target::Signer(key) = &call.target {
        assert!(key.expose().contains("-----BEGIN ") && call.headers.is_empty());
        assert_eq!(call.body.split(|b| *b == b'.').count(), 2);
        return;
    }
    assert!(["GET", "POST", "PUT"].contains(&call.method));
    let sends = call.headers.iter().any(|(name, _)| *name == "authorization");
    let sends = sends || !call.body.is_empty();
    match &call.target {
        Target::File(path) => {
            assert!(path.starts_with('/') && !path.contains("..") && !sends);
            let of_operator = ["/a/b/c", "/tokens/"].iter().any(|from| path.starts_with(from));
            let folders = ["/secrets/", "/var/run/secrets/"];
            assert!(of_operator || folders.iter().any(|from| path.starts_with(from)), "{path}");
        }
        Target::Signer(_) => unreachable!(),
        Target::Url(endpoint) => {
            let of_machine = endpoint.is_metadata() || endpoint.host() == "127.0.0.1";
            let plain = of_machine || endpoint.host() == PLAINTEXT;
            assert!(endpoint.scheme == Scheme::Https || plain);
            assert_ne!(endpoint.host(), "files.local");
            if of_machine {
                assert!(call.body.is_empty() && call.method != "POST");
                let known = [
                    "169.254.170.23/v1/credentials",
                    "169.254.169.254/latest/api/token",
                    "169.254.169.254/latest/meta-data/iam/security-credentials/",
                    "169.254.169.254/metadata/identity?api-version=2018-02-01",
                    "127.0.0.1:41741/msi/token?api-version=2019-08-01",
                    "metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/\
                     token?scopes=",
                ];
                let place = format!("{}{}", endpoint.authority, endpoint.path);
                assert!(known.iter().any(|known| place.starts_with(known)), "{place}");
                assert!(!place.contains(MARKER) && !place.contains(".."), "{place}");
            } else if call.step == "google subject token" {
                assert!(call.body.is_empty() && call.method == "GET");
            } else {
                assert_eq!(call.method == "POST", sends);
            }
        }
    }
    if call.step == "google subject token" {
        // Its headers are those of the file, but for a few.
        assert!(!call.headers.iter().any(|(name, _)| ["host", ":path"].contains(&name.as_ref())));
        return;
    }
    // Headers that hold secrets.
    let may =
        ["authorization", "x-amz-security-token", "x-identity-header", "x-aws-ec2-metadata-token"];
    for (name, value) in &call.headers {
        assert!(!value.contains(['\r', '\n', '\0']), "{name}");
        assert!(may.contains(&name.as_ref()) || !value.contains(MARKER), "{name}");
    }
}

fn verify_failure(failure: &Failure, bodies: &[Vec<u8>], knows_secret: bool) {
    // Names of profiles may be told.
    let subject = failure.subject.as_deref().unwrap_or_default().replace("profile default ", "");
    let tells_names = subject.contains("no such profile") || subject.contains("profile ");
    if knows_secret && !tells_names {
        verify_print(&format!("{failure} {failure:?}"), bodies);
    }
    assert!(failure.retry_after.is_none_or(|wait| wait <= DAY));
    let by_itself = ["google credentials file", "assertion signature"].contains(&failure.step);
    assert!(!failure.lasting || failure.reason == Reason::Denied || by_itself);
    if let Some(code) = &failure.code {
        let of_entra = code.strip_prefix("AADSTS").is_some_and(|number| {
            (1..=10).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit())
        });
        let of_oauth = (1..=LONGEST).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let of_aws = (1..=LONGEST_OF_AWS).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
        let of_google = (1..=LONGEST).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        assert!(of_entra || of_oauth || of_aws || of_google, "{code}");
        assert!(!knows_secret || !MARKER.contains(code.as_str()), "{code}");
    }
}

/// Nothing that can be printed has a secret, or a piece of a body that is longer than a code.
fn verify_print(printed: &str, bodies: &[Vec<u8>]) {
    assert!(!printed.contains(MARKER) && !printed.contains(KEY_MARKER), "{printed}");
    for body in bodies {
        for piece in body.windows(LONGEST_OF_AWS + 1) {
            let piece = std::str::from_utf8(piece);
            assert!(piece.is_err() || !printed.contains(piece.unwrap_or_default()), "{printed}");
        }
    }
}
