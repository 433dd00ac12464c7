//! For any request: no credential of the client survives, and nothing else changes, byte for byte.

#![cfg(test)]

#[path = "common/contract.rs"]
mod contract;

use aigw_auth::aws::sigv4::EMPTY_BODY;
use aigw_auth::credential::{AwsKeys, Credential, Secret};
use aigw_auth::inject::{Earlier, Headers, Occasion, Put, Signing, inject};
use aigw_auth::policy::ClientCredentials;
use contract::{
    HEADERS, PARAMETERS, Pairs, apply, expected_path, header_is_credential, protocol_is_key,
    protocols,
};
use proptest::prelude::*;
use std::time::Duration;

const UNKNOWN: fn(&[u8]) -> bool = |_| false;

const OCCASION: Occasion<'static> =
    Occasion { host: None, now: Duration::from_secs(1_700_000_000), body: &EMPTY_BODY };

/// No policy, a key, or (inside) a signature.
fn attempt() -> impl Strategy<Value = Option<Option<Credential>>> {
    prop::option::of(prop::option::of(credential()))
}

fn header_name() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(&HEADERS[..]).prop_map(str::to_owned),
        Just("sec-websocket-protocol".to_owned()),
        "x-envoy-original-(path|url)",
        "x-aigw-[a-z]{0,6}",
        "(x-)?(api|amz|goog|aigw)-?(key|date|keys|x)?",
        "[a-z][a-z0-9_-]{0,10}",
    ]
}

fn header_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        path(),
        "(realtime|openai-insecure-api-key\\.sk-[a-z]{0,3}|OpenAI-Insecure-API-Key\\.x| |,){0,5}"
            .prop_map(String::into_bytes),
    ]
}

fn parameter() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        prop::sample::select(&PARAMETERS[..]).prop_map(str::to_owned),
        "[Kk](e|%65|%4[5A])y?",
        "(x|X|%58)-?(amz|Amz|%41mz)(-|%2[dD])[a-z]{0,3}",
        "(api|API)[_-](key|KEY|%6bey)",
        "[a-z%&=?]{0,6}",
    ];
    (name, prop::option::of(prop::collection::vec(any::<u8>(), 0..5))).prop_map(|(name, value)| {
        let mut parameter = name.into_bytes();
        if let Some(value) = value {
            parameter.push(b'=');
            parameter.extend(value);
        }
        parameter
    })
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let query = prop::option::of(prop::collection::vec(parameter(), 0..5));
    ("[/a-z]{0,6}", query).prop_map(|(path, parameters)| {
        let mut path = path.into_bytes();
        if let Some(parameters) = parameters {
            path.push(b'?');
            path.extend(parameters.join(&b'&'));
        }
        path
    })
}

fn request() -> impl Strategy<Value = Pairs> {
    let headers = prop::collection::vec((header_name(), header_value()), 0..12);
    (path(), headers).prop_map(|(path, mut headers)| {
        headers.insert(0, (":path".to_owned(), path));
        headers
    })
}

fn credential() -> impl Strategy<Value = Credential> {
    let secret = || Secret::line("ours").unwrap();
    (0..3).prop_map(move |kind| match kind {
        0 => Credential::bearer(&secret()),
        1 => Credential::x_api_key(secret()),
        _ => Credential::api_key(secret()),
    })
}

fn without(headers: &Headers, name: &str) -> Pairs {
    headers.iter().filter(|(n, _)| n != name).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_the_client_survives_and_nothing_else_changes(
        request in request(),
        credential in credential(),
    ) {
        let earlier = Earlier::default();
        let changes = inject(&request, &earlier, ClientCredentials::Strip, &UNKNOWN, Put::Credential(&credential)).unwrap();
        let sent = apply(&request, &changes);
        let ours = (
            credential.header().name().to_owned(),
            credential.value().expose().as_bytes().to_vec(),
        );

        // One credential, ours; the others are in none of the places of the contract.
        let found: Vec<_> = sent.iter().filter(|(name, _)| header_is_credential(name)).collect();
        prop_assert_eq!(found, [&ours]);
        for (name, value) in &sent {
            if name == "sec-websocket-protocol" {
                prop_assert!(!value.split(|b| *b == b',').any(|p| protocol_is_key(p.trim_ascii())));
            }
        }
        prop_assert_eq!(&sent[0], &(":path".to_owned(), expected_path(&request[0].1)));

        // The rest, in order.
        prop_assert_eq!(protocols(&sent), protocols(&request));
        let rest = |headers: &Headers| -> Pairs {
            let mut rest = without(&headers[1..], "sec-websocket-protocol");
            rest.retain(|(n, _)| !header_is_credential(n) && !n.starts_with("x-envoy-original-"));
            rest
        };
        prop_assert_eq!(rest(&sent), rest(&request));
        // Envoy writes each of these once.
        for name in ["x-envoy-original-path", "x-envoy-original-url"] {
            let original = |headers: &Headers| -> Vec<Vec<u8>> {
                headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect()
            };
            if let ([sent], [received]) = (&original(&sent)[..], &original(&request)[..]) {
                prop_assert_eq!(sent, &expected_path(received));
            }
            for value in original(&sent) {
                prop_assert_eq!(&expected_path(&value), &value);
            }
        }
    }

    #[test]
    fn keep_changes_one_header(request in request(), credential in credential()) {
        let earlier = Earlier::default();
        let changes = inject(&request, &earlier, ClientCredentials::Keep, &UNKNOWN, Put::Credential(&credential)).unwrap();
        let name = credential.header().name();
        let mut expected = without(&request, name);
        expected.push((name.to_owned(), credential.value().expose().as_bytes().to_vec()));
        prop_assert_eq!(apply(&request, &changes), expected);
    }

    #[test]
    fn any_number_of_attempts_leaves_the_last_credential_and_the_first_path_and_host(
        request in request(),
        attempts in prop::collection::vec(attempt(), 1..6),
    ) {
        let signing = Signing::new(
            AwsKeys::new("ours", "secret", Some("ours")).unwrap(),
            "us-east-1".to_owned(),
            "bedrock".to_owned(),
        );
        let mut request = request;
        if !request[0].1.starts_with(b"/") {
            // Nothing else can be signed.
            request[0].1.insert(0, b'/');
        }
        request.push((":method".to_owned(), b"POST".to_vec()));
        request.push((":authority".to_owned(), b"a.example".to_vec()));
        let mut headers = request.clone();
        let mut earlier = Earlier::default();
        for attempt in &attempts {
            let put = match attempt {
                Some(Some(credential)) => Put::Credential(credential),
                Some(None) => Put::Signature(&signing, OCCASION),
                None => Put::Nothing,
            };
            let changes =
                inject(&headers, &earlier, ClientCredentials::Strip, &UNKNOWN, put).unwrap();
            let next = apply(&headers, &changes);
            // What the edge remembers.
            earlier = Earlier {
                written: changes.written.unwrap_or_default().as_bytes().to_vec(),
                path: changes.path.clone(),
                authority: changes.authority.clone(),
            };
            headers = next;
        }
        let count = |wanted: &dyn Fn(&str, &[u8]) -> bool| {
            headers.iter().filter(|(name, value)| wanted(name, value)).count()
        };
        let keys = count(&|name, value| {
            matches!(value, b"ours" | b"Bearer ours") && name != "x-amz-security-token"
        });
        let signatures = count(&|_, value| value.starts_with(b"AWS4-HMAC-SHA256 Credential=ours/"));
        let authority = headers.iter().find(|(name, _)| name == ":authority").unwrap();
        let path = &headers[0].1;
        let last = attempts.last().unwrap();
        prop_assert_eq!(keys, usize::from(matches!(last, Some(Some(_)))));
        prop_assert_eq!(signatures, usize::from(matches!(last, Some(None))));
        if matches!(last, Some(None)) {
            prop_assert_eq!(count(&|name, _| name == "x-amz-date"), 1);
            prop_assert_eq!(&authority.1, b"bedrock-runtime.us-east-1.amazonaws.com");
        } else {
            prop_assert_eq!(&authority.1, b"a.example");
        }
        match last {
            Some(_) => prop_assert_eq!(path, &expected_path(&request[0].1)),
            // An attempt without a policy sees the path as the client sent it.
            None => prop_assert_eq!(path, &request[0].1),
        }
    }
}
