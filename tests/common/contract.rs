//! What is removed from a request, written out a second time and in another way than in `src/inject`:
//! the properties and the fuzz targets compare the two.

use aigw_auth::inject::{Changes, Headers, Mutation};

/// Headers with their own texts.
pub(crate) type Pairs = Vec<(String, Vec<u8>)>;

/// The headers of the contract; names in `x-aigw-` come on top.
pub(crate) const HEADERS: [&str; 10] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];
/// The query parameters of the contract; names in `x-amz-` come on top.
pub(crate) const PARAMETERS: [&str; 5] =
    ["key", "api_key", "api-key", "access_token", "subscription-key"];

/// Envoy's map: removals take every value, a set header has one.
pub(crate) fn apply(headers: &Headers, changes: &Changes<'_>) -> Pairs {
    let mut map = headers.to_vec();
    for mutation in &changes.mutations {
        match mutation {
            Mutation::Remove(name) => map.retain(|(n, _)| n != name),
            Mutation::Set(name, value) => {
                let count = map.iter().filter(|(n, _)| n == name).count();
                assert!(count <= 1, "{name} is set while it is there {count} times");
                match map.iter_mut().find(|(n, _)| n == name) {
                    Some((_, old)) => *old = value.to_vec(),
                    None => map.push(((*name).to_owned(), value.to_vec())),
                }
            }
        }
    }
    map
}

/// Whether a client's credential may be in the header of that name.
pub(crate) fn header_is_credential(name: &str) -> bool {
    HEADERS.contains(&name) || name.starts_with("x-aigw-")
}

/// Percent-decoding by the book: split at `%`, take two hexadecimal digits if there are two.
fn decode(name: &[u8]) -> Vec<u8> {
    let mut parts = name.split(|b| *b == b'%');
    let mut decoded = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let digits = part.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        match digits.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit())) {
            Some(digits) => {
                decoded.push(u8::from_str_radix(digits, 16).unwrap());
                decoded.extend_from_slice(&part[2..]);
            }
            None => {
                decoded.push(b'%');
                decoded.extend_from_slice(part);
            }
        }
    }
    decoded
}

fn parameter_is_credential(parameter: &[u8]) -> bool {
    let name = parameter.split(|b| *b == b'=').next().unwrap_or_default();
    let name = decode(name).to_ascii_lowercase();
    PARAMETERS.iter().any(|p| p.as_bytes() == name) || name.starts_with(b"x-amz-")
}

/// Path and parameters, those with credentials left out.
pub(crate) fn expected_path(path: &[u8]) -> Vec<u8> {
    let Some(start) = path.iter().position(|b| *b == b'?') else { return path.to_vec() };
    let parameters: Vec<&[u8]> = path[start + 1..].split(|b| *b == b'&').collect();
    let kept: Vec<&[u8]> =
        parameters.iter().copied().filter(|p| !parameter_is_credential(p)).collect();
    if kept.len() == parameters.len() {
        return path.to_vec();
    }
    let mut expected = path[..start].to_vec();
    if !kept.is_empty() {
        expected.push(b'?');
        expected.extend(kept.join(&b'&'));
    }
    expected
}

/// Whether a websocket protocol carries a key.
pub(crate) fn protocol_is_key(protocol: &[u8]) -> bool {
    protocol.to_ascii_lowercase().starts_with(b"openai-insecure-api-key.")
}

/// The websocket protocols that may pass, in order.
pub(crate) fn protocols(headers: &Headers) -> Vec<Vec<u8>> {
    headers
        .iter()
        .filter(|(name, _)| name == "sec-websocket-protocol")
        .flat_map(|(_, value)| value.split(|b| *b == b','))
        .map(|protocol| protocol.trim_ascii().to_vec())
        .filter(|protocol| !protocol.is_empty() && !protocol_is_key(protocol))
        .collect()
}
