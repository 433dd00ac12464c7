//! The cases of each file.

use crate::asker::{Asker, secrets};
use crate::calls::{changed, verify};
use crate::ends::{expected, outcome, verify_print, verify_step};
use crate::jwt::{filled, signature};
use crate::replies::given;
use crate::{NOW, SECOND, folder, read};
use aigw_auth::source::{Step, Target};
use serde_json::{Map, Value, json};

/// The source of a case: that of the file, or one of several, with what differs.
pub(crate) fn source_of(file: &Value, changes: Option<&Value>) -> Value {
    let Some(changes) = changes else { return file["source"].clone() };
    let source = match changes["like"].as_str() {
        Some(name) => &file["sources"][name],
        None => &file["source"],
    };
    assert!(source.is_object(), "{changes}");
    let mut changed = changed(source, changes);
    // What differs in a credentials file.
    if let Some(with) = changed.as_object_mut().unwrap().remove("with") {
        let file = changed["file"].as_object_mut().unwrap();
        file.extend(with.as_object().unwrap().clone());
        file.retain(|_, value| !value.is_null());
    }
    // `null` takes an assertion away.
    if changed["assertion"].is_null() {
        changed.as_object_mut().unwrap().remove("assertion");
    }
    changed
}

/// The call that a case expects: one of the file by name, or with what differs, or one of its own.
fn call_of(file: &Value, call: &Value) -> Value {
    let named = |name: &Value| {
        let call = &file["calls"][name.as_str().unwrap()];
        assert!(call.is_object(), "no call {name}");
        call.clone()
    };
    match call {
        Value::String(_) => named(call),
        _ if call["like"].is_null() => call.clone(),
        _ => changed(&named(&call["like"]), call),
    }
}

fn reply_of(file: &Value, reply: &Value) -> Value {
    match reply {
        Value::String(name) => match &file["replies"][name] {
            Value::Null => json!(name),
            reply => reply.clone(),
        },
        _ => reply.clone(),
    }
}

/// Runs the cases of a file, and says how many there were.
fn run(file: &str) -> usize {
    let file = read(&folder().join(file));
    let file = filled(&file, &file["jwts"]);
    let cases = file["cases"].as_array().unwrap();
    for case in cases {
        run_case(&file, case.as_object().unwrap());
    }
    cases.len()
}

fn run_case(file: &Value, case: &Map<String, Value>) {
    println!("{}", case["case"]);
    let source = source_of(file, case.get("source"));
    let asker = Asker::new(&source);
    let secrets = secrets(&source);
    verify_print(&format!("{:?} {:#?}", asker.source, asker.source), &secrets);
    let steps = case["steps"].as_array().unwrap();
    let mut now = NOW - SECOND * u32::try_from(steps.len()).unwrap();
    let mut at = asker.start(now);
    verify_step(&at, &secrets, None);
    for step in steps {
        let Step::Call(call, next) = at else { panic!("no call, but {:?}", outcome(&at)) };
        verify(&call, &call_of(file, &step["call"]), now);
        now += SECOND;
        let reply = reply_of(file, &step["reply"]);
        let given = match &call.target {
            Target::Signer(key) if reply == "signature" => signature(key, &call.body),
            _ => given(&reply),
        };
        verify_print(&format!("{:?}", given.reply()), &secrets);
        at = next.take(&given.reply(), now);
        verify_step(&at, &secrets, Some(&reply));
    }
    assert_eq!(outcome(&at), expected(case));
}

#[test]
fn oidc_goes_as_the_cases_say() {
    assert_eq!(run("oidc.json"), 183);
}

#[test]
fn entra_goes_as_the_cases_say() {
    assert_eq!(run("entra.json"), 57);
}

#[test]
fn files_go_as_the_cases_say() {
    assert_eq!(run("file.json"), 67);
}

#[test]
fn roles_of_a_token_go_as_the_cases_say() {
    assert_eq!(run("aws/sts.json"), 110);
}

#[test]
fn roles_of_keys_go_as_the_cases_say() {
    assert_eq!(run("aws/assume_role.json"), 32);
}

#[test]
fn containers_go_as_the_cases_say() {
    assert_eq!(run("aws/container.json"), 29);
}

#[test]
fn instances_go_as_the_cases_say() {
    assert_eq!(run("aws/instance.json"), 83);
}

#[test]
fn the_default_chain_goes_as_the_cases_say() {
    assert_eq!(run("aws/chain.json"), 98);
}

#[test]
fn managed_identities_go_as_the_cases_say() {
    assert_eq!(run("managed_identity.json"), 61);
}

#[test]
fn keys_of_service_accounts_go_as_the_cases_say() {
    assert_eq!(run("google/key.json"), 69);
}

#[test]
fn people_who_have_logged_in_go_as_the_cases_say() {
    assert_eq!(run("google/user.json"), 14);
}

#[test]
fn external_accounts_go_as_the_cases_say() {
    assert_eq!(run("google/external.json"), 77);
}

#[test]
fn impersonated_service_accounts_go_as_the_cases_say() {
    assert_eq!(run("google/impersonated.json"), 15);
}

#[test]
fn federation_goes_as_the_cases_say() {
    assert_eq!(run("google/federation.json"), 13);
}

#[test]
fn the_metadata_server_goes_as_the_cases_say() {
    assert_eq!(run("google/metadata.json"), 32);
}
