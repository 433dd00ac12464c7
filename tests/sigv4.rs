//! Signatures whose right answers are published, by AWS and by other signers: `tests/vectors/README.md`
//! has their origin. Canonical request, string to sign and signature are compared one by one.

#![cfg(test)]

#[path = "common/aws_sigv4.rs"]
mod aws_sigv4_crate;

use aigw_auth::aws::host::signed_form;
use aigw_auth::aws::sigv4::{Request, Scope, Signer, canonical_request, date_time, string_to_sign};
use aigw_auth::credential::{AwsKeys, Secret};
use aws_sigv4_crate::Theirs;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Cases of AWS's suite for what is never done to a request for Bedrock, and why.
const LEFT_OUT: [(&str, &str); 8] = [
    ("get-relative-relative-unnormalized", NORMALISED),
    ("get-relative-unnormalized", NORMALISED),
    ("get-slash-dot-slash-unnormalized", NORMALISED),
    ("get-slash-pointless-dot-unnormalized", NORMALISED),
    ("get-slash-unnormalized", NORMALISED),
    ("get-slashes-unnormalized", NORMALISED),
    ("get-space-normalized", "its path is encoded once, as for S3"),
    ("post-sts-header-after", "its token is added after the signature"),
];
const NORMALISED: &str = "its path is not normalised, as for S3";
/// Cases of an older suite, which say less of themselves.
const OLD: [&str; 2] = ["double-encode-path", "double-url-encode"];

const EXAMPLE: (&str, &str) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
const IN_2015: &str = "20150830T123600Z";
const IN_2021: &str = "20210511T154045Z";

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// The time of a signature, as the files write it.
fn time(text: &str) -> Duration {
    let text = text.replace(['-', ':'], "");
    let seconds = match text.as_str() {
        IN_2015 => 1_440_938_160,
        IN_2021 => 1_620_747_645,
        other => panic!("{other}"),
    };
    let time = Duration::from_secs(seconds);
    assert_eq!(date_time(time), text);
    time
}

/// A request, and whatever else a signature depends on.
struct Case {
    method: String,
    path: String,
    host: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    keys: AwsKeys,
    region: String,
    service: String,
    now: Duration,
}

impl Case {
    fn request<T>(&self, with: impl FnOnce(&Request<'_>) -> T) -> T {
        let headers: Vec<_> =
            self.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        with(&Request {
            method: self.method.as_bytes(),
            path: self.path.as_bytes(),
            host: &self.host,
            headers: &headers,
            body: &Sha256::digest(&self.body).into(),
        })
    }

    fn scope(&self) -> Scope<'_> {
        Scope { region: &self.region, service: &self.service }
    }

    fn canonical_request(&self) -> String {
        let date = date_time(self.now);
        let (text, names) = self.request(|request| canonical_request(request, &self.keys, &date));
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().rev().nth(1), Some(names.as_str()));
        text
    }

    fn string_to_sign(&self) -> String {
        string_to_sign(self.canonical_request().as_bytes(), self.scope(), &date_time(self.now))
    }

    fn authorization(&self) -> String {
        let signer = Signer::default();
        let sign = || self.request(|r| signer.sign(r, self.scope(), &self.keys, self.now)).unwrap();
        let signed = sign();
        assert_eq!(signed.date, date_time(self.now));
        assert!(sign().authorization == signed.authorization, "by a key that is kept");
        signed.authorization.expose().to_owned()
    }
}

fn signature(authorization: &str) -> &str {
    authorization.rsplit_once("Signature=").unwrap().1
}

/// A file of a case of AWS's suite.
fn file(case: &str, name: &str) -> String {
    std::fs::read_to_string(vectors().join("aws-sigv4").join(case).join(name)).unwrap()
}

fn expected(case: &str, name: &str) -> String {
    file(case, name).trim_end().to_owned()
}

fn expected_authorization(case: &str) -> String {
    let signed = file(case, "header-signed-request.txt");
    let value = signed.lines().find_map(|line| line.strip_prefix("Authorization:")).unwrap();
    value.trim().to_owned()
}

/// A request as HTTP/1.1 writes it. A value that goes on in a second line is one with a space there
/// (RFC 9112 section 5.2).
fn read_request(name: &str, keys: AwsKeys, region: &str, service: &str, now: Duration) -> Case {
    let text = file(name, "request.txt");
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let head = head.replace("\n ", " ");
    let mut lines = head.lines();
    let (method, rest) = lines.next().unwrap().split_once(' ').unwrap();
    let mut headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let host = headers.iter().position(|(name, _)| name == "host").unwrap();
    Case {
        method: method.to_owned(),
        path: rest.strip_suffix(" HTTP/1.1").unwrap().to_owned(),
        host: signed_form(&headers.remove(host).1),
        headers,
        body: body.as_bytes().to_vec(),
        keys,
        region: region.to_owned(),
        service: service.to_owned(),
        now,
    }
}

fn suite_case(name: &str) -> Case {
    let context: Value = serde_json::from_str(&file(name, "context.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = &context["credentials"];
    let keys = AwsKeys::new(
        &text(&keys["access_key_id"]),
        &text(&keys["secret_access_key"]),
        keys.get("token").and_then(Value::as_str),
    );
    let (region, service) = (text(&context["region"]), text(&context["service"]));
    let now = time(&text(&context["timestamp"]));
    let mut case = read_request(name, keys.unwrap(), &region, &service, now);
    if context["sign_body"] == true {
        let hash = case.request(|request| request.body.map(|byte| format!("{byte:02x}")).concat());
        case.headers.push(("x-amz-content-sha256".to_owned(), hash));
    }
    case
}

fn folders() -> BTreeSet<String> {
    std::fs::read_dir(vectors().join("aws-sigv4"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

#[test]
fn every_case_of_the_suite_of_aws_is_signed_as_it_says() {
    let mut to_run = folders();
    for name in LEFT_OUT.map(|(name, _)| name).into_iter().chain(OLD) {
        assert!(to_run.remove(name), "{name} is no case");
    }
    assert_eq!(to_run.len(), 30);
    for name in &to_run {
        println!("{name}");
        let case = suite_case(name);
        assert_eq!(case.canonical_request(), expected(name, "header-canonical-request.txt"));
        assert_eq!(case.string_to_sign(), expected(name, "header-string-to-sign.txt"));
        let authorization = case.authorization();
        assert_eq!(signature(&authorization), expected(name, "header-signature.txt"));
        assert_eq!(authorization, expected_authorization(name));
    }
}

#[test]
fn nothing_of_the_suite_is_left_out_that_could_be_run() {
    for (name, why) in LEFT_OUT {
        let canonical = suite_case(name).canonical_request();
        assert_ne!(canonical, expected(name, "header-canonical-request.txt"), "{name}: {why}");
    }
}

#[test]
fn the_cases_of_the_older_suite_are_signed_as_they_say() {
    // Its canonical request and its signature are of two days.
    let [name, _] = OLD;
    let case = |now| {
        let keys = AwsKeys::new("ANOTREAL", "notrealrnrELgWzOk3IfjzDKtFBhDby", None).unwrap();
        read_request(name, keys, "us-east-1", "service", time(now))
    };
    let canonical = case(IN_2021).canonical_request();
    assert_eq!(canonical, expected(name, "header-canonical-request.txt"));
    assert_eq!(case(IN_2015).authorization(), expected_authorization(name));

    let [_, name] = OLD;
    let keys = AwsKeys::new(EXAMPLE.0, EXAMPLE.1, None).unwrap();
    let case = read_request(name, keys, "us-east-2", "lambda", time(IN_2021));
    assert_eq!(case.canonical_request(), expected(name, "header-canonical-request.txt"));
    assert_eq!(case.string_to_sign(), expected(name, "header-string-to-sign.txt"));
    assert_eq!(case.authorization(), expected_authorization(name));
}

/// A known answer for Bedrock, and its request.
fn bedrock_case(answer: &Value) -> Case {
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    let url = text("url");
    let (authority, path) = url.strip_prefix("https://").unwrap().split_once('/').unwrap();
    let headers = answer["headers"].as_object().unwrap().iter();
    Case {
        method: text("method"),
        path: format!("/{path}"),
        host: signed_form(authority),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str().unwrap().to_owned()))
            .collect(),
        body: text("body").into_bytes(),
        keys: AwsKeys::new(
            &text("access_key"),
            &text("secret_key"),
            answer["session_token"].as_str(),
        )
        .unwrap(),
        region: text("region"),
        service: text("service"),
        now: time(&text("x_amz_date")),
    }
}

/// What the SDK for Rust makes of it.
fn theirs(case: &Case, url: &str) -> String {
    let request = Theirs {
        method: &case.method,
        url,
        headers: &case.headers,
        body: &case.body,
        access_key_id: case.keys.access_key_id().expose(),
        secret_access_key: case.keys.secret_access_key().expose(),
        session_token: case.keys.session_token().map(Secret::expose),
        region: &case.region,
        service: &case.service,
        now: case.now,
    };
    request.header("authorization")
}

#[test]
fn requests_for_bedrock_are_signed_as_other_signers_sign_them() {
    let text = std::fs::read_to_string(vectors().join("sigv4-bedrock.json")).unwrap();
    let answers: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(answers.len(), 20);
    let mut alone = BTreeSet::new();
    for answer in &answers {
        let name = answer["name"].as_str().unwrap();
        println!("{name}");
        let case = bedrock_case(answer);
        let authorization = case.authorization();
        assert_eq!(authorization, theirs(&case, answer["url"].as_str().unwrap()));
        let canonical = case.canonical_request();
        let botocore = answer["canonical_request"].as_str().unwrap();
        if answer["also"].as_object().unwrap().values().all(|agrees| agrees == true) {
            assert_eq!(canonical, botocore);
            assert_eq!(case.string_to_sign(), answer["string_to_sign"]);
            assert_eq!(signature(&authorization), answer["signature"]);
            assert_eq!(authorization, answer["authorization"]);
        } else {
            // botocore alone copies the query as it stands; nothing else is different.
            let (_, query) = case.path.split_once('?').unwrap();
            let ours = canonical.lines().nth(2).unwrap();
            assert_eq!(canonical.replacen(ours, query, 1), botocore);
            alone.insert((name, ours.to_owned()));
        }
    }
    let expected = [("query-equals-in-value", "q=a%3Db"), ("query-lower-hex", "q=a%2Fb")];
    assert_eq!(alone, expected.map(|(name, query)| (name, query.to_owned())).into());
}
