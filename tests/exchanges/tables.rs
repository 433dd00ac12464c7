//! Tables of answers, each given wherever it can be given.

use crate::asker::{Asker, secrets};
use crate::cases::source_of;
use crate::ends::{expected, outcome, verify_step};
use crate::google;
use crate::jwt::signature;
use crate::replies::{Given, given};
use crate::{NOW, folder, read};
use aigw_auth::source::{Step, Target};
use serde_json::{Value, json};
use std::time::Duration;

/// What comes of a source whose step `last` is answered by `answer`, and every other by `first`.
pub(crate) fn end(
    source: &Value,
    last: &str,
    answer: &Value,
    first: &dyn Fn(&str) -> Given,
) -> (Value, usize) {
    let asker = Asker::new(source);
    let secrets = secrets(source);
    let given = given(answer);
    let mut at = asker.start(NOW - Duration::from_secs(10));
    let mut asked = 0;
    while let Step::Call(call, next) = at {
        let reply = match &call.target {
            _ if call.step == last => given.clone(),
            Target::Signer(key) => signature(key, &call.body),
            _ => first(call.step),
        };
        asked += usize::from(call.step == last);
        assert!(asked <= 2, "{last} {asked} times");
        at = next.take(&reply.reply(), NOW);
    }
    verify_step(&at, &secrets, Some(answer));
    (outcome(&at), asked)
}

#[test]
fn every_reply_means_the_same_at_every_token_endpoint() {
    let rows = read(&folder().join("replies.json"));
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 475);
    let oidc = read(&folder().join("oidc.json"));
    let oidc = source_of(&oidc, Some(&json!({"tokenEndpoint": "https://login.example/token"})));
    let file = read(&folder().join("entra.json"));
    let entra = file["source"].clone();
    let assertion = source_of(&file, Some(&json!({"secret": null, "assertion": oidc})));
    let [key, user, external, federation] = ["key", "user", "external", "federation"]
        .map(|name| google::source(&format!("{name}.json")));
    let (file, answer) = (
        json!({"status": 200, "text": "s3cret-subject\n"}),
        json!({"status": 200,
        "json": {"access_token": "s3cret-assertion"}}),
    );
    let first = |step: &str| given(if step == "file" { &file } else { &answer });
    for row in rows {
        let row = row.as_object().unwrap();
        println!("{}", row["case"]);
        for (source, last) in [
            (&oidc, "oidc token"),
            (&entra, "entra token"),
            (&assertion, "entra token"),
            (&key, "google token"),
            (&user, "google token"),
            (&external, "google token exchange"),
            (&federation, "google token exchange"),
        ] {
            // However often it is asked.
            let (end, _) = end(source, last, &row["reply"], &first);
            let mut expected = expected(row);
            if let Some(failed) = expected.get_mut("failed") {
                failed["step"] = json!(last);
                if let Some(status) = row["reply"].get("status") {
                    failed["status"] = status.clone();
                }
                // A letter that stands in every assertion is nobody's code.
                let code = failed["code"].as_str().unwrap_or_default();
                if source == &key && code.len() == 1 {
                    failed.as_object_mut().unwrap().remove("code");
                }
            }
            assert_eq!(end, expected, "{last}");
        }
    }
}

#[test]
fn every_reply_of_a_metadata_server_means_what_that_of_a_token_endpoint_does() {
    let rows = read(&folder().join("replies.json"));
    let metadata = google::source("metadata.json");
    let last = "google metadata token";
    for row in rows.as_array().unwrap() {
        let mut row = row.as_object().unwrap().clone();
        println!("{}", row["case"]);
        if row["reply"].is_object() {
            row["reply"]["rawHeaders"]["metadata-flavor"] = json!("R29vZ2xl");
        }
        let (end, asked) = end(&metadata, last, &row["reply"], &|step| panic!("{step}"));
        let mut expected = expected(&row);
        if let Some(failed) = expected.get_mut("failed") {
            failed["step"] = json!(last);
            if let Some(status) = row["reply"].get("status") {
                failed["status"] = status.clone();
                if status == 404 {
                    failed["subject"] = json!("the machine has no service account");
                }
            }
        }
        assert_eq!(end, expected);
        assert_eq!(asked, 1);
    }
}

/// The sources of AWS's keys: by the step in which they come.
fn sources_of_keys() -> [(Value, &'static str); 4] {
    let source = |file: &str| read(&folder().join("aws").join(file))["source"].clone();
    [
        (source("sts.json"), "sts web identity"),
        (source("assume_role.json"), "sts assume role"),
        (source("container.json"), "container credentials"),
        (source("instance.json"), "instance metadata credentials"),
    ]
}

/// The steps before.
fn good(step: &str) -> Given {
    let text = match step {
        "file" | "instance metadata token" => "s3cret-made-up",
        "instance metadata role" => "my-role",
        step => panic!("{step}"),
    };
    given(&json!({"status": 200, "text": text}))
}

/// An answer of STS in JSON, which is at hand as a text.
fn of_sts(action: &str, credentials: &str) -> String {
    let inner = format!(r#"{{"{action}Result": {{"Credentials": {credentials}}}}}"#);
    format!(r#"{{"{action}Response": {inner}}}"#)
}

#[test]
fn keys_mean_the_same_wherever_they_come_from() {
    let rows = read(&folder().join("aws/keys.json"));
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 95);
    for row in rows {
        let row = row.as_object().unwrap();
        println!("{}", row["case"]);
        for (source, last) in sources_of_keys() {
            let token = if last.starts_with("sts") { "SessionToken" } else { "Token" };
            let named = |text: &str| {
                text.replace("\"token\"", &format!("\"{}\"", token.to_lowercase()))
                    .replace("TOKEN", token)
            };
            let credentials = named(row["credentials"].as_str().unwrap());
            let text = match last {
                "sts web identity" => of_sts("AssumeRoleWithWebIdentity", &credentials),
                "sts assume role" => of_sts("AssumeRole", &credentials),
                _ => credentials,
            };
            let (end, asked) = end(&source, last, &json!({"status": 200, "text": text}), &good);
            let expected = match (row.get("ended"), row.get("failed")) {
                // Only the metadata service is believed that its keys go on.
                (Some(_), _) if last.starts_with("instance") => {
                    json!({"keys": row["keys"], "life": 600_000, "late": true})
                }
                (Some(_), _) => json!({"failed": {"step": last, "reason": "malformed",
                    "status": 200, "subject": "its Expiration has passed"}}),
                (None, Some(failed)) => {
                    let subject = named(failed["subject"].as_str().unwrap());
                    json!({"failed": {"step": last, "reason": failed["reason"],
                        "status": failed["status"], "subject": subject}})
                }
                (None, None) => json!({"keys": row["keys"], "life": row["life"]}),
            };
            assert_eq!(end, expected, "{last}");
            assert_eq!(asked, 1);
        }
    }
}

#[test]
fn an_error_of_sts_means_the_same_in_json_and_in_xml_whatever_was_asked() {
    let rows = read(&folder().join("aws/codes.json"));
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 102);
    for row in rows {
        println!("{row}");
        let code = row["code"].as_str().unwrap();
        let json = json!({"Error": {"Code": code, "Message": "t0ld: made-up", "Type": "Sender"},
            "RequestId": "t0ld"});
        let xml = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
             <Type>Sender</Type><Code>{code}</Code><Message>t0ld: made-up</Message></Error>\
             <RequestId>t0ld</RequestId></ErrorResponse>"
        );
        for text in [json.to_string(), xml] {
            for (source, last) in sources_of_keys().into_iter().take(2) {
                let answer = json!({"status": row["status"], "text": text});
                let (end, asked) = end(&source, last, &answer, &good);
                let mut failed = json!({"step": last, "reason": row["reason"],
                    "status": row["status"], "code": code});
                if row["lasting"] == true {
                    failed["lasting"] = json!(true);
                }
                assert_eq!(end, json!({"failed": failed}), "{last}");
                // A token that is over is replaced by a new one, once.
                let again = row["again"] == true && last == "sts web identity";
                assert_eq!(asked, if again { 2 } else { 1 }, "{last}");
            }
        }
    }
}
