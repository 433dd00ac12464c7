//! The headers in which clients send credentials.

use super::Headers;

/// Where browsers put a key that they cannot put into a header of its own.
pub(crate) const WEBSOCKET_PROTOCOL: &str = "sec-websocket-protocol";
/// The protocol that carries an OpenAI key
/// (<https://platform.openai.com/docs/guides/realtime-websocket>).
const KEY_IN_PROTOCOL: &[u8] = b"openai-insecure-api-key.";
/// What the upstream's filters use among themselves.
const INTERNAL_PREFIX: &[u8] = b"x-aigw-";

/// Whether a header, its name in lower case, is one in which clients send credentials.
pub(crate) fn is_credential(name: &[u8]) -> bool {
    matches!(
        name,
        b"authorization"
            | b"proxy-authorization"
            | b"cookie"
            | b"x-api-key"
            | b"api-key"
            | b"x-goog-api-key"
            | b"ocp-apim-subscription-key"
            | b"x-amz-date"
            | b"x-amz-security-token"
            | b"x-amz-content-sha256"
    ) || name.starts_with(INTERNAL_PREFIX)
}

/// All offered websocket protocols without those that carry a key, in one value; `None` if there is
/// none that does. Empty if nothing else was offered.
pub(crate) fn websocket_protocols(headers: &Headers) -> Option<Vec<u8>> {
    let protocols = || {
        headers
            .iter()
            .filter(|(name, _)| name == WEBSOCKET_PROTOCOL)
            .flat_map(|(_, value)| value.split(|b| *b == b','))
            .map(<[u8]>::trim_ascii)
    };
    let holds_key = |protocol: &[u8]| {
        protocol
            .get(..KEY_IN_PROTOCOL.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(KEY_IN_PROTOCOL))
    };
    if !protocols().any(holds_key) {
        return None;
    }
    let mut kept = Vec::new();
    for protocol in protocols().filter(|p| !p.is_empty() && !holds_key(p)) {
        if !kept.is_empty() {
            kept.extend_from_slice(b", ");
        }
        kept.extend_from_slice(protocol);
    }
    Some(kept)
}
