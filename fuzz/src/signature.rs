//! Any bytes as what is signed of a request.

use super::source::Source;
use aigw_auth::aws::sigv4::{Request, Scope, Signer, canonical_request, date_time};
use aigw_auth::credential::AwsKeys;
use std::collections::BTreeMap;
use std::time::Duration;

const METHODS: [&str; 4] = ["GET", "POST", "DELETE", "M-SEARCH"];
const HOSTS: [&str; 4] =
    ["bedrock-runtime.us-east-1.amazonaws.com", "a.example:8443", "[::1]", "127.0.0.1:1"];
const NAMES: [&str; 10] = [
    "host",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "content-type",
    "accept",
    "x-a",
    "x-a-b",
    "x-a_b",
    "x",
];

/// The canonical request is the one that is written below in another way, whatever the bytes; it is
/// the same for all spellings of a request; and all of it can be signed.
pub fn run(bytes: &[u8]) {
    let mut source = Source(bytes);
    let method = source.pick(&METHODS);
    let host = source.pick(&HOSTS);
    let token = (source.byte() & 1 == 1).then(|| source.text());
    let path = source.bytes();
    let mut headers: Vec<(String, &[u8])> = Vec::new();
    let mut body = [source.byte(); 32];
    while !source.is_empty() && headers.len() < 20 {
        headers.push((name(&mut source), source.bytes()));
    }
    body[31] = source.byte();
    let keys = AwsKeys::new("AKID", "secret", token.as_deref())
        .unwrap_or_else(|_| AwsKeys::new("AKID", "secret", None).unwrap());

    let named: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let request = Request { method: method.as_bytes(), path, host, headers: &named, body: &body };
    let now = Duration::from_secs(u64::from(body[0]) << 24);
    let date = date_time(now);
    let (canonical, names) = canonical_request(&request, &keys, &date);
    let (expected, expected_names) = expected(&request, &keys, &date);
    assert_eq!(canonical, expected);
    assert_eq!(names, expected_names);

    // Path and query are in lines of their own, and mean the same when they are signed once more.
    let lines: Vec<_> = canonical.splitn(4, |b| *b == b'\n').collect();
    assert_eq!(lines[0], method.as_bytes());
    let again = [&decoded(lines[1]), &b"?"[..], lines[2]].concat();
    let again = Request { path: &again, ..request };
    assert_eq!(canonical_request(&again, &keys, &date).0, canonical);

    let scope = Scope { region: "us-east-1", service: "bedrock" };
    let signer = Signer::default();
    let [first, second] = [(); 2].map(|()| signer.sign(&request, scope, &keys, now).unwrap());
    assert!(first.authorization == second.authorization);
    let day = &date[..8];
    let start = format!(
        "AWS4-HMAC-SHA256 Credential=AKID/{day}/us-east-1/bedrock/aws4_request, \
         SignedHeaders={names}, Signature="
    );
    let signature = first.authorization.expose().strip_prefix(&start).unwrap();
    assert!(signature.len() == 64 && signature.bytes().all(|b| b"0123456789abcdef".contains(&b)));
}

/// A name as Envoy gives it.
fn name(source: &mut Source<'_>) -> String {
    match source.below(NAMES.len() + 2) {
        known if known < NAMES.len() => NAMES[known].to_owned(),
        _ => {
            let mut name = source.text().to_ascii_lowercase();
            name.retain(|c| c.is_ascii_graphic() && !matches!(c, ':' | ';' | ','));
            if name.is_empty() { "x".to_owned() } else { name }
        }
    }
}

fn expected(request: &Request<'_>, keys: &AwsKeys, date: &str) -> (Vec<u8>, String) {
    let mut headers: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, value) in request.headers {
        headers.entry(name).or_default().push(squeezed(value));
    }
    headers.insert("host", vec![request.host.as_bytes().to_vec()]);
    headers.insert("x-amz-date", vec![date.as_bytes().to_vec()]);
    headers.remove("x-amz-security-token");
    if let Some(token) = keys.session_token() {
        headers.insert("x-amz-security-token", vec![squeezed(token.expose().as_bytes())]);
    }
    let names = headers.keys().copied().collect::<Vec<_>>().join(";");

    let query = request.path.iter().position(|b| *b == b'?');
    let (path, query) = request.path.split_at(query.unwrap_or(request.path.len()));
    let mut parts = vec![
        request.method.to_vec(),
        encoded(&normal(path), b"/").into_bytes(),
        sorted(query.get(1..).unwrap_or_default()).into_bytes(),
    ];
    for (name, values) in headers {
        parts.push([name.as_bytes(), b":", &values.join(&b","[..])].concat());
    }
    parts.push(Vec::new());
    parts.push(names.clone().into_bytes());
    parts.push(request.body.iter().map(|b| format!("{b:02x}")).collect::<String>().into_bytes());
    (parts.join(&b'\n'), names)
}

/// No spaces at the ends, and none beside another.
fn squeezed(value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    value.dedup_by(|one, other| *one == b' ' && *other == b' ');
    let start = value.iter().take_while(|b| **b == b' ').count();
    value.drain(..start);
    if value.last() == Some(&b' ') {
        value.pop();
    }
    value
}

/// Several slashes made one, then RFC 3986 section 5.2.4 to the letter.
fn normal(path: &[u8]) -> Vec<u8> {
    let mut input = [b"/", path].concat();
    input.dedup_by(|one, other| *one == b'/' && *other == b'/');
    let mut output: Vec<u8> = Vec::new();
    while !input.is_empty() {
        let up = input.starts_with(b"/../") || input == b"/..";
        if input.starts_with(b"/./") || input.starts_with(b"/../") {
            input.drain(..if up { 3 } else { 2 });
        } else if input == b"/." || input == b"/.." {
            input.truncate(1);
        } else {
            let end = input[1..].iter().position(|b| *b == b'/').map_or(input.len(), |end| end + 1);
            output.extend(input.drain(..end));
        }
        if up {
            output.truncate(output.iter().rposition(|b| *b == b'/').unwrap_or_default());
        }
    }
    output
}

fn sorted(query: &[u8]) -> String {
    let mut pairs = Vec::new();
    for parameter in query.split(|b| *b == b'&').filter(|parameter| *parameter != b"") {
        let end = parameter.iter().position(|b| *b == b'=').unwrap_or(parameter.len());
        let (name, value) = parameter.split_at(end);
        let part = |part: &[u8]| encoded(&decoded_form(part), b"");
        pairs.push((part(name), part(value.get(1..).unwrap_or_default())));
    }
    pairs.sort();
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn encoded(bytes: &[u8], also: &[u8]) -> String {
    let one = |b: &u8| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(*b).to_string()
        }
        b if also.contains(b) => char::from(*b).to_string(),
        b => format!("%{b:02X}"),
    };
    bytes.iter().map(one).collect()
}

/// A plus is a space in a form.
fn decoded_form(bytes: &[u8]) -> Vec<u8> {
    let pieces: Vec<_> = bytes.split(|b| *b == b'+').map(decoded).collect();
    pieces.join(&b' ')
}

fn decoded(bytes: &[u8]) -> Vec<u8> {
    let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let mut decoded = Vec::new();
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        match (first, digit(tail.first()), digit(tail.get(1))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    decoded
}
