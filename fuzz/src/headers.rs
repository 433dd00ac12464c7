//! Any headers, after any earlier attempt.

use super::contract::{
    HEADERS, Pairs, apply, expected_path, header_is_credential, protocol_is_key, protocols,
};
use super::source::Source;
use aigw_auth::credential::{Credential, CredentialHeader, Secret};
use aigw_auth::inject::{
    Changes, Earlier, Headers, Put, Rewritten, concerns, credentials_in_trailers, inject,
};
use aigw_auth::policy::ClientCredentials;

const WEBSOCKET_PROTOCOL: &str = "sec-websocket-protocol";
const ORIGINALS: [&str; 2] = ["x-envoy-original-path", "x-envoy-original-url"];
const OTHERS: [&str; 6] =
    [WEBSOCKET_PROTOCOL, ORIGINALS[0], ORIGINALS[1], "x-aigw-key", "accept", "x-amz-meta"];
const VALUES: [&[u8]; 8] = [
    b"",
    b"ours",
    b"Bearer ours",
    b"Bearer theirs",
    b"realtime, openai-insecure-api-key.sk-1,beta",
    b"OpenAI-Insecure-API-Key.sk-2",
    b"/v1?key=1&a=b",
    b"https://a.example/?%6bey=1",
];

/// A request and what is done with it.
struct Case {
    headers: Pairs,
    earlier: Earlier,
    client: ClientCredentials,
    /// Whether a credential of ours is recognised by its value.
    recognised: bool,
    credential: Option<Credential>,
}

/// Exactly one credential, ours; none of the client's where they are stripped, and nothing that an
/// earlier attempt wrote; everything else in order, byte for byte.
pub fn run(bytes: &[u8]) {
    let case = read(&mut Source(bytes));
    let Case { headers, earlier, client, recognised, credential } = &case;
    let known = |value: &[u8]| *recognised && is_ours(value);
    let changes = inject(headers, earlier, *client, &known, put(credential)).unwrap();
    let sent = apply(headers, &changes);

    let strip = *client == ClientCredentials::Strip && credential.is_some();
    let target = credential.as_ref().map(|credential| credential.header().name());
    let written = |name: &str| earlier.written.split(|b| *b == b',').any(|w| w == name.as_bytes());
    let ours_by_value = |name: &str| {
        (name == "x-amz-security-token"
            || CredentialHeader::ALL.iter().any(|header| header.name() == name))
            && headers.iter().any(|(n, value)| n == name && known(value))
    };
    let removed = |name: &str| {
        written(name)
            || target == Some(name)
            || if strip { header_is_credential(name) } else { ours_by_value(name) }
    };

    // The credential is there once.
    if let Some(credential) = credential {
        let name = credential.header().name();
        let values: Vec<_> = sent.iter().filter(|(n, _)| n == name).map(|(_, v)| v).collect();
        assert_eq!(values, [credential.value().expose().as_bytes()]);
        assert_eq!(changes.written, Some(name));
    } else {
        assert_eq!(changes.written, None);
    }
    for (name, value) in &sent {
        assert!(Some(name.as_str()) == target || !removed(name), "{name} survives");
        if strip && name == WEBSOCKET_PROTOCOL {
            assert!(!value.split(|b| *b == b',').any(|p| protocol_is_key(p.trim_ascii())));
        }
        if strip && ORIGINALS.contains(&name.as_str()) {
            assert_eq!(expected_path(value), *value);
        }
    }

    // The path, which an earlier attempt may have rewritten.
    let path_of = |headers: &Headers| -> Option<Vec<u8>> {
        headers.iter().find(|(name, _)| name == ":path").map(|(_, value)| value.clone())
    };
    let original = path_of(headers).map(|path| match &earlier.path {
        Some(rewritten) if rewritten.after == path => rewritten.before.clone(),
        _ => path,
    });
    let expected =
        original.as_ref().map(|path| if strip { expected_path(path) } else { path.clone() });
    assert_eq!(path_of(&sent), expected);
    let rewritten = original.clone().zip(expected).filter(|(before, after)| before != after);
    assert_eq!(changes.path, rewritten.map(|(before, after)| Rewritten { before, after }));

    // The rest, in order. Where protocols are stripped they may move into one header.
    let moves = |name: &str| strip && (name == WEBSOCKET_PROTOCOL || ORIGINALS.contains(&name));
    let rest = |headers: &Headers| -> Pairs {
        let stays = |name: &str| name != ":path" && !removed(name) && !moves(name);
        headers.iter().filter(|(name, _)| stays(name)).cloned().collect()
    };
    assert_eq!(rest(&sent), rest(headers));
    if strip && !written(WEBSOCKET_PROTOCOL) {
        assert_eq!(protocols(&sent), protocols(headers));
    }
    for name in ORIGINALS.into_iter().filter(|name| strip && !written(name)) {
        // Envoy writes each of these once.
        let values = |headers: &Headers| -> Vec<Vec<u8>> {
            headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect()
        };
        if let [received] = &values(headers)[..] {
            let expected = expected_path(received);
            let gone = expected.is_empty() && expected != *received;
            assert_eq!(values(&sent), if gone { Vec::new() } else { vec![expected] });
        }
    }

    only_some_concern(&case, &known, &changes);
    if let Some(target) = target {
        // As trailers the same names go, by the same rule.
        let gone = credentials_in_trailers(headers, *client, target);
        let goes = |name: &str| name == target || strip && header_is_credential(name);
        assert_eq!(gone, headers.iter().map(|(n, _)| n).filter(|n| goes(n)).collect::<Vec<_>>());
    }
    next_attempt(&sent, changes.written.unwrap_or_default(), changes.path.clone(), original);
}

/// The headers that injection does not concern make no difference.
fn only_some_concern(case: &Case, known: &dyn Fn(&[u8]) -> bool, changes: &Changes<'_>) {
    let Case { headers, earlier, client, credential, .. } = case;
    // What an earlier attempt wrote is always one of those.
    if !earlier.written.split(|b| *b == b',').all(|name| name.is_empty() || concerns(name)) {
        return;
    }
    let some: Pairs =
        headers.iter().filter(|(name, _)| concerns(name.as_bytes())).cloned().collect();
    let again = inject(&some, earlier, *client, known, put(credential)).unwrap();
    assert_eq!(again, *changes);
}

/// An attempt without a policy finds the path of the client and no credential of ours.
fn next_attempt(sent: &Headers, written: &str, path: Option<Rewritten>, original: Option<Vec<u8>>) {
    let earlier = Earlier { written: written.as_bytes().to_vec(), path, authority: None };
    let unknown = |_: &[u8]| false;
    let changes = inject(sent, &earlier, ClientCredentials::Strip, &unknown, Put::Nothing).unwrap();
    let left = apply(sent, &changes);
    assert!(written.is_empty() || left.iter().all(|(name, _)| name != written));
    let path = left.iter().find(|(name, _)| name == ":path").map(|(_, value)| value.clone());
    assert_eq!(path, original);
    assert_eq!(changes.path, None);
}

fn put(credential: &Option<Credential>) -> Put<'_> {
    credential.as_ref().map_or(Put::Nothing, Put::Credential)
}

fn is_ours(value: &[u8]) -> bool {
    value == b"ours" || value == b"Bearer ours"
}

fn read(source: &mut Source<'_>) -> Case {
    let flags = source.byte();
    let secret = Secret::line("ours").unwrap();
    let credential = match source.below(4) {
        0 => Some(Credential::bearer(&secret)),
        1 => Some(Credential::x_api_key(secret)),
        2 => Some(Credential::api_key(secret)),
        _ => None,
    };
    let path = (flags & 1 == 0).then(|| source.bytes().to_vec());
    let written: Vec<String> = (0..source.below(4)).map(|_| name(source)).collect();
    let rewritten = match flags >> 1 & 3 {
        0 => path.clone().map(|after| Rewritten { before: source.bytes().to_vec(), after }),
        1 => Some(Rewritten { before: source.bytes().to_vec(), after: source.bytes().to_vec() }),
        _ => None,
    };
    let mut headers: Pairs = path.map(|path| (":path".to_owned(), path)).into_iter().collect();
    while !source.is_empty() && headers.len() < 40 {
        let value = match source.below(16) {
            known @ 0..8 => VALUES[known].to_vec(),
            _ => source.bytes().to_vec(),
        };
        headers.push((name(source), value));
    }
    Case {
        headers,
        earlier: Earlier {
            written: written.join(",").into_bytes(),
            path: rewritten,
            authority: None,
        },
        client: if flags & 8 == 0 { ClientCredentials::Strip } else { ClientCredentials::Keep },
        recognised: flags & 16 != 0,
        credential,
    }
}

/// A name as Envoy gives it: in lower case, not empty, and no comma in it.
fn name(source: &mut Source<'_>) -> String {
    match source.below(20) {
        known @ 0..10 => HEADERS[known].to_owned(),
        known @ 10..16 => OTHERS[known - 10].to_owned(),
        _ => {
            let mut name = source.text().to_ascii_lowercase();
            name.retain(|c| !matches!(c, ':' | ','));
            if name.is_empty() { "x".to_owned() } else { name }
        }
    }
}
