//! The ends of exchanges as the cases write them, and what can be printed on the way there.

use crate::NOW;
use crate::calls::written;
use crate::jwt;
use aigw_auth::credential::Secret;
use aigw_auth::source::{Failure, Material, Step};
use serde_json::{Map, Value, json};

/// Part of every secret, token and text of a provider that must not be printed.
const MARKERS: [&str; 4] = ["s3cret", "made-up", "MADEUP", "t0ld"];

/// The end of an exchange as a case writes it.
pub(crate) fn outcome(step: &Step) -> Value {
    match step {
        Step::Call(call, _) => panic!("one more call: {}", written(call)),
        Step::Done(obtained) => {
            let mut done = match (&obtained.material, obtained.expires_at) {
                (Material::Line(line), Some(_)) => json!({"token": jwt::verified(line.expose())}),
                (Material::Line(line), None) => json!({"line": line.expose()}),
                (Material::Keys(keys), _) => json!({"keys": {
                    "id": keys.access_key_id().expose(),
                    "secret": keys.secret_access_key().expose(),
                    "token": keys.session_token().map(Secret::expose),
                }}),
            };
            if let Some(end) = obtained.expires_at {
                done["life"] = json!(u64::try_from((end - NOW).as_millis()).unwrap());
            }
            if let Some(note) = &obtained.note {
                done["note"] = json!(note);
            }
            if obtained.late {
                done["late"] = json!(true);
            }
            done
        }
        Step::Failed(failure) => json!({"failed": failed(failure)}),
    }
}

fn failed(failure: &Failure) -> Value {
    let mut failed = json!({"step": failure.step, "reason": failure.reason.name()});
    let mut set = |name: &str, value: Value| {
        if !value.is_null() && value != false {
            failed[name] = value;
        }
    };
    set("status", json!(failure.status));
    set("subject", json!(failure.subject));
    set("code", json!(failure.code));
    set("retryAfter", json!(failure.retry_after.map(|wait| wait.as_secs())));
    set("lasting", json!(failure.lasting));
    set("gone", json!(failure.gone));
    failed
}

/// What a case expects, with its long texts written out.
pub(crate) fn expected(case: &Map<String, Value>) -> Value {
    let mut expected = case.clone();
    for name in ["case", "source", "steps", "reply"] {
        expected.remove(name);
    }
    for value in expected.values_mut() {
        if let Some(repeat) = value.get("repeat") {
            let times = usize::try_from(repeat[1].as_u64().unwrap()).unwrap();
            *value = json!(repeat[0].as_str().unwrap().repeat(times));
        }
    }
    Value::Object(expected)
}

pub(crate) fn verify_print(printed: &str, secrets: &[String]) {
    for secret in MARKERS.into_iter().chain(secrets.iter().map(String::as_str)) {
        assert!(!printed.contains(secret), "{secret:?} is in {printed}");
    }
}

/// Prints whatever can be printed. `answer` is what was answered last.
pub(crate) fn verify_step(step: &Step, secrets: &[String], answer: Option<&Value>) {
    verify_print(&format!("{step:?} {step:#?}"), secrets);
    match step {
        Step::Call(call, next) => verify_print(&format!("{call:?} {next:?}"), secrets),
        Step::Done(obtained) => assert!(format!("{obtained:?}").contains("[redacted]")),
        Step::Failed(failure) => {
            let printed = format!("{failure} {failure:?}");
            verify_print(&printed, secrets);
            assert!(!printed.contains(['\n', '\r', '\0']), "{printed}");
            let mut told = Vec::new();
            collect(answer.unwrap_or(&Value::Null), &mut told);
            for text in told.iter().filter(|text| text.len() > 8) {
                let is_code = failure.code.as_ref() == Some(text);
                assert!(is_code || !printed.contains(text.as_str()), "{text:?} is in {printed}");
            }
        }
    }
}

/// Every text in a value, and of XML every text in an element.
fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) if text.trim_start().starts_with('<') => {
            let elements = text.split('<').filter_map(|part| part.split_once('>'));
            texts.extend(elements.map(|(_, text)| text.trim().to_owned()));
        }
        Value::String(text) => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, texts)),
        _ => {}
    }
}
