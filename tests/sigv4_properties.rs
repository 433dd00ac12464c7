//! For any request: the signature is that of AWS's own SDK for Rust. And no host but AWS's is one of
//! Bedrock.

#![cfg(test)]

#[path = "common/aws_sigv4.rs"]
mod aws_sigv4_crate;

use aigw_auth::aws::host::{BEDROCK, region_of, service, signed_form};
use aigw_auth::aws::sigv4::{DATE, Request, SECURITY_TOKEN, Scope, Signer};
use aigw_auth::credential::AwsKeys;
use aws_sigv4_crate::Theirs;
use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use proptest::sample::select;
use sha2::{Digest, Sha256};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// The last second of the last year but one that has four digits.
const LATEST: u64 = 253_370_764_799;

thread_local! {
    /// One for all cases, so that keys are taken from what it keeps.
    static SIGNER: Signer = Signer::default();
}

/// Everything that the library `http` takes in a path, with dots, slashes and escapes in all places.
fn path() -> impl Strategy<Value = String> {
    let part = [
        r"\.|\.\.",
        "[A-Za-z0-9._~-]{0,4}",
        r#"[!$&'()*+,;=:@|^"{}\[\]\\]{1,3}"#,
        "(%[0-9A-Fa-f]{2}){1,3}|%2[EeFf]|%[g-z%]?",
        "[é漢🙂]",
    ];
    format!("(/({}){{0,2}}){{0,6}}", part.join("|")).prop_regex()
}

/// Whatever is UTF-8 once it is decoded: other bytes are U+FFFD to the SDK, and themselves to us.
fn query() -> impl Strategy<Value = String> {
    let part = [
        "[&=+]",
        "[A-Za-z0-9._~-]{1,2}",
        r"[!$'()*,;:@|^`{}\[\]\\/?]",
        "%[0-7][0-9A-Fa-f]|%[g-z%]?",
        "%E1%88%B4|%c3%a9|[é漢🙂]",
    ];
    let query = format!("({}){{0,12}}", part.join("|")).prop_regex();
    query.prop_filter("is not UTF-8", |query| percent_decode_str(query).decode_utf8().is_ok())
}

/// A regular expression as a strategy.
trait PropRegex {
    fn prop_regex(self) -> proptest::string::RegexGeneratorStrategy<String>;
}

impl PropRegex for String {
    fn prop_regex(self) -> proptest::string::RegexGeneratorStrategy<String> {
        proptest::string::string_regex(&self).unwrap()
    }
}

/// Scheme and authority.
fn origin() -> impl Strategy<Value = (&'static str, String)> {
    let host = r"([a-z0-9-]{1,6}\.){0,3}[a-z]{1,6}|127\.0\.0\.1|\[::1\]";
    let port = select(&[
        ("https", ""),
        ("https", ":443"),
        ("http", ":80"),
        ("https", ":8443"),
        ("http", ":4430"),
    ]);
    (host, port).prop_map(|(host, (scheme, port))| (scheme, format!("{host}{port}")))
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        select(&["content-type", "x-amz-content-sha256", "x-amzn-test", "x-b", "x-a", "x-a-b"])
            .prop_map(str::to_owned),
        "[a-z0-9!#$%&'*+.^_`|~-]{1,6}",
    ];
    prop::collection::vec((name, "( |\t|[!-~]|é){0,12}"), 0..6)
}

#[derive(Clone, Debug)]
struct Keys {
    id: String,
    secret: String,
    token: Option<String>,
}

fn keys() -> impl Strategy<Value = Keys> {
    let token = prop::option::of("[!-~]{1,60}");
    ("[A-Za-z0-9_]{1,20}", "[!-~]([ -~]{0,30}[!-~])?", token).prop_map(|(id, secret, token)| Keys {
        id,
        secret,
        token,
    })
}

/// The strategy for a time: seconds and nanoseconds.
fn now() -> impl Strategy<Value = Duration> {
    (0..=LATEST, 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_signature_is_that_of_the_sdk(
        method in "[A-Z]{1,7}|[!#$a-z-]{1,3}",
        path in path(),
        query in prop::option::of(query()),
        (scheme, authority) in origin(),
        headers in headers(),
        body in prop::collection::vec(any::<u8>(), 0..40),
        keys in keys(),
        (region, service) in ("[a-z]{2}-[a-z]{1,5}-[1-9]", "[a-z-]{1,8}"),
        now in now(),
    ) {
        let path = path + &query.map_or_else(String::new, |query| format!("?{query}"));
        let theirs = Theirs {
            method: &method,
            url: &format!("{scheme}://{authority}{path}"),
            headers: &headers,
            body: &body,
            access_key_id: &keys.id,
            secret_access_key: &keys.secret,
            session_token: keys.token.as_deref(),
            region: &region,
            service: &service,
            now,
        };

        let mut ours: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let aws_keys = AwsKeys::new(&keys.id, &keys.secret, keys.token.as_deref()).unwrap();
        let other_keys = AwsKeys::new(&keys.id, "another", None).unwrap();
        let scope = Scope { region: &region, service: &service };
        let host = signed_form(&authority.to_uppercase());
        let sign = |headers: &[(&str, &[u8])], scope, keys, now| {
            let request = Request {
                method: method.as_bytes(),
                path: path.as_bytes(),
                host: &host,
                headers,
                body: &Sha256::digest(&body).into(),
            };
            SIGNER.with(|signer| signer.sign(&request, scope, keys, now)).unwrap()
        };
        // What was signed before makes no difference, however near.
        sign(&ours, Scope { region: "eu-west-1", ..scope }, &aws_keys, now);
        sign(&ours, Scope { service: "sts", ..scope }, &aws_keys, now);
        sign(&ours, scope, &other_keys, now);
        sign(&ours, scope, &aws_keys, now + DAY);
        let signed = sign(&ours, scope, &aws_keys, now);
        prop_assert_eq!(signed.authorization.expose(), theirs.header("authorization"));
        prop_assert_eq!(&signed.date, &theirs.header(DATE));

        // What the client says of what the signature brings itself makes no difference, nor does the
        // order of names.
        ours.splice(0..0, [("host", &b"b"[..]), (DATE, b"c"), (SECURITY_TOKEN, b"d")]);
        ours.sort_by(|(one, _), (other, _)| other.cmp(one));
        let again = sign(&ours, scope, &aws_keys, now);
        prop_assert!(again.authorization == signed.authorization);
    }
}

/// The ends of all names of AWS's endpoints.
const SUFFIXES: [&str; 14] = [
    ".amazonaws.com",
    ".api.aws",
    ".amazonaws.com.cn",
    ".api.amazonwebservices.com.cn",
    ".amazonaws.eu",
    ".api.amazonwebservices.eu",
    ".c2s.ic.gov",
    ".api.aws.ic.gov",
    ".sc2s.sgov.gov",
    ".api.aws.scloud",
    ".cloud.adc-e.uk",
    ".api.cloud-aws.adc-e.uk",
    ".csp.hci.ic.gov",
    ".api.aws.hci.ic.gov",
];
const REGIONS: [&str; 8] = [
    "us-east-1",
    "us-gov-west-1",
    "cn-north-1",
    "eusc-de-east-1",
    "us-iso-east-1",
    "us-isob-east-1",
    "eu-isoe-west-1",
    "us-isof-south-1",
];

/// Hosts that are almost some of Bedrock, and some that are.
fn almost_bedrock() -> impl Strategy<Value = String> {
    let first = "((vpce|vpce-1|x)\\.)?bedrock-runtime(-fips|-x)?";
    let composed = (first, select(&REGIONS[..]), "(\\.vpce)?", select(&SUFFIXES[..]), "(\\.com)?")
        .prop_map(|(first, region, vpce, suffix, end)| {
            format!("{first}.{region}{vpce}{suffix}{end}")
        });
    let changed = (select(&REGIONS[..]), any::<prop::sample::Index>(), "[a-z.-]{0,2}").prop_map(
        |(region, place, text)| {
            let mut host = service(BEDROCK, region);
            let place = place.index(host.len());
            host.replace_range(place..=place, &text);
            host
        },
    );
    prop_oneof![composed, changed, ".{0,40}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_a_host_of_aws_is_one_of_bedrock(host in almost_bedrock()) {
        if let Some(region) = region_of(BEDROCK, &host) {
            prop_assert!(SUFFIXES.iter().any(|suffix| host.ends_with(suffix)), "{}", host);
            prop_assert!(!region.is_empty() && !region.contains('.'), "{}", host);
            let (before, _) = host.split_once(&format!(".{region}.")).unwrap();
            let service = before.rsplit('.').next().unwrap();
            prop_assert!(["bedrock-runtime", "bedrock-runtime-fips"].contains(&service), "{}", host);
            let vpce = before.strip_suffix(service).unwrap();
            prop_assert!(vpce.is_empty() || vpce.starts_with("vpce-"), "{}", host);
        }
    }

    #[test]
    fn the_host_of_any_region_is_one_of_bedrock(region in "[a-z]{2}(-[a-z]{1,6}){1,2}-[1-9]") {
        let host = service(BEDROCK, &region);
        prop_assert_eq!(region_of(BEDROCK, &host), Some(region.as_str()));
    }
}
