//! Calls as the cases write them.

use crate::aws_sigv4::Theirs;
use crate::jwt;
use aigw_auth::policy::{Endpoint, Scheme};
use aigw_auth::source::{Call, Target};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// A call as a case writes one.
pub(crate) fn written(call: &Call) -> Value {
    let mut headers = Map::new();
    for (name, value) in &call.headers {
        let value = match value.strip_prefix("Bearer ").map(jwt::verified) {
            Some(assertion @ Value::Object(_)) => json!({"bearer": assertion}),
            _ => json!(value),
        };
        assert!(headers.insert((*name).to_string(), value).is_none(), "{name} twice");
    }
    let mut written = json!({"step": call.step, "method": call.method, "headers": headers});
    match &call.target {
        Target::File(path) => written["path"] = json!(path),
        Target::Url(Endpoint { scheme, authority, path }) => {
            let scheme = if *scheme == Scheme::Http { "http" } else { "https" };
            written["url"] = json!(format!("{scheme}://{authority}{path}"));
        }
        Target::Signer(key) => {
            written["with"] = json!(key.expose());
            written["signs"] = jwt::unsigned(&call.body).unwrap();
            return written;
        }
    }
    if call.method == "POST" {
        if written["headers"]["content-type"] == "application/json" {
            written["json"] = serde_json::from_slice(&call.body).unwrap();
            return written;
        }
        let field = |[name, value]: [String; 2]| match name.as_str() {
            "assertion" => json!([name, jwt::verified(&value)]),
            _ => json!([name, value]),
        };
        written["form"] = fields(&call.body).into_iter().map(field).collect();
    } else {
        assert!(call.body.is_empty());
    }
    written
}

/// The fields of a form, sorted. Whatever is not surely itself has to be encoded.
pub(crate) fn fields(body: &[u8]) -> Vec<[String; 2]> {
    let body = std::str::from_utf8(body).unwrap();
    let mut fields: Vec<_> = body
        .split('&')
        .map(|field| {
            let (name, value) = field.split_once('=').unwrap();
            [decoded(name), decoded(value)]
        })
        .collect();
    fields.sort();
    fields
}

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            let digits = std::str::from_utf8(&digits).unwrap();
            decoded.push(u8::from_str_radix(digits, 16).unwrap());
        } else {
            assert!(byte.is_ascii_alphanumeric() || b"-._~".contains(&byte), "{text}");
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).unwrap()
}

/// `value` with the fields of `changes`. `fields` changes those of a form, and `null` takes one away.
pub(crate) fn changed(value: &Value, changes: &Value) -> Value {
    let mut changed = value.clone();
    for (name, change) in changes.as_object().unwrap() {
        match name.as_str() {
            "like" => {}
            "fields" => {
                let form = changed["form"].as_array_mut().unwrap();
                for (name, value) in change.as_object().unwrap() {
                    form.retain(|field| field[0] != json!(name));
                    if !value.is_null() {
                        form.push(json!([name, value]));
                    }
                }
            }
            _ => changed[name] = change.clone(),
        }
    }
    changed
}

/// Compares a call that is made at `now` with the one that is expected. If that is `signed` with keys, the
/// signature has to be that of an independent signer.
pub(crate) fn verify(call: &Call, expected: &Value, now: Duration) {
    let mut expected = expected.clone();
    let mut asked = written(call);
    if let Some(signed) = expected.as_object_mut().unwrap().remove("signed") {
        let theirs = signature(call, &expected, &signed, now);
        let asked = asked["headers"].as_object_mut().unwrap();
        for (name, theirs) in theirs {
            assert_eq!(asked.remove(name).unwrap_or_default(), theirs, "{name} of {}", call.step);
        }
    }
    for call in [&mut asked, &mut expected] {
        if let Some(form) = call.get_mut("form").and_then(Value::as_array_mut) {
            form.sort_by_key(Value::to_string);
        }
    }
    assert_eq!(asked, expected);
}

/// What an independent signer adds: it signs what is sent, and its type, host and date.
fn signature(
    call: &Call,
    expected: &Value,
    signed: &Value,
    now: Duration,
) -> [(&'static str, Value); 3] {
    let kind = expected["headers"]["content-type"].as_str().unwrap();
    let text = |name: &str| signed[name].as_str().unwrap();
    let theirs = Theirs {
        method: expected["method"].as_str().unwrap(),
        url: expected["url"].as_str().unwrap(),
        headers: &[("content-type".to_owned(), kind.to_owned())],
        body: &call.body,
        access_key_id: text("keyId"),
        secret_access_key: text("secretKey"),
        session_token: signed["sessionToken"].as_str(),
        region: text("region"),
        service: "sts",
        now,
    };
    [
        ("authorization", json!(theirs.header("authorization"))),
        ("x-amz-date", json!(theirs.header("x-amz-date"))),
        ("x-amz-security-token", signed["sessionToken"].clone()),
    ]
}
