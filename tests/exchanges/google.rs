//! Tables of Google: which files are refused, where they may lead, and what is answered when an account is
//! acted as.

use crate::asker::{Asker, secrets};
use crate::ends::{expected, outcome, verify_step};
use crate::jwt::filled;
use crate::replies::given;
use crate::tables::end;
use crate::{NOW, folder, read};
use aigw_auth::policy::{FileLimits, GoogleFile, read_google_file};
use aigw_auth::source::Step;
use serde_json::{Value, json};

const IMPERSONATION: &str = "service_account_impersonation_url";

fn table(name: &str) -> Vec<Value> {
    let rows = filled(&read(&folder().join("google").join(name)), &Value::Null);
    rows.as_array().unwrap().clone()
}

pub(crate) fn source(name: &str) -> Value {
    let file = read(&folder().join("google").join(name));
    filled(&file["source"], &Value::Null)
}

/// Limits as a case has them.
fn limits(source: &Value) -> FileLimits {
    let hosts = source["plaintextHosts"].as_array().into_iter().flatten();
    FileLimits {
        mount_path: source["mountPath"].as_str().map(str::to_owned),
        plaintext_hosts: hosts.map(|host| host.as_str().unwrap().to_owned()).collect(),
    }
}

/// The file of a row: one of the usual ones with what differs, or a text.
fn file(bases: &Value, row: &Value) -> Value {
    if !row["text"].is_null() {
        return row["text"].clone();
    }
    let mut file = bases[row["base"].as_str().unwrap()].clone();
    let fields = file.as_object_mut().unwrap();
    fields.extend(row["with"].as_object().unwrap().clone());
    fields.retain(|_, value| !value.is_null());
    file
}

#[test]
fn files_that_cannot_work_are_refused_without_a_word_of_them() {
    let rows = table("refused.json");
    let (bases, rows) = rows.split_first().unwrap();
    let bases = &bases["base"];
    assert_eq!(rows.len(), 183);
    for base in bases.as_object().unwrap().values() {
        let limits = limits(&json!({"mountPath": "/secrets"}));
        assert!(read_google_file(&base.to_string(), &limits).is_ok(), "{base}");
    }
    for row in rows {
        println!("{}", row["case"]);
        let file = file(bases, row);
        let mount_path =
            if row.get("mountPath").is_some() { Value::Null } else { json!("/secrets") };
        let secret =
            json!({"kind": "google", "from": "secret", "mountPath": mount_path, "file": file});
        let path = json!({"kind": "google", "from": "path", "mountPath": mount_path, "path": "/a"});
        let mut secrets = secrets(&secret);
        secrets.retain(|text| !text.trim().is_empty());
        for (source, place) in [
            (secret, "Secret default/g, key service_account.json"),
            (path, "the credentials file /a"),
        ] {
            let mut at = Asker::new(&source).start(NOW);
            if let Step::Call(call, next) = at {
                assert_eq!(call.step, "file");
                let text = file.as_str().map_or_else(|| file.to_string(), str::to_owned);
                at = next.take(&given(&json!({"status": 200, "text": text})).reply(), NOW);
            }
            verify_step(&at, &secrets, None);
            let says = row["says"].as_str().unwrap();
            assert_eq!(
                outcome(&at),
                json!({"failed": {"step": "google credentials file", "reason": "malformed",
                    "subject": format!("{place}: {says}"), "lasting": true}})
            );
        }
    }
}

/// Files that lead to a URL, with the name of the field that does.
fn leading(url: &str, universe: &Value) -> [(Value, &'static str, &'static str); 6] {
    let [key, user, external, acting] =
        ["key", "user", "external", "impersonated"].map(|name| source(&format!("{name}.json")));
    let with = |source: &Value, field: &str, value: Value| {
        let mut file = source["file"].clone();
        // What leads elsewhere otherwise is of the usual domain, which every file may lead to.
        file["universe_domain"] = universe.clone();
        file[field] = value;
        file
    };
    let from_url = with(&external, "credential_source", json!({"url": url}));
    [
        (with(&key, "token_uri", json!(url)), "token_uri", ""),
        (with(&user, "token_uri", json!(url)), "token_uri", ""),
        (with(&external, "token_url", json!(url)), "token_url", ""),
        (with(&external, IMPERSONATION, json!(url)), IMPERSONATION, ""),
        (with(&acting, IMPERSONATION, json!(url)), IMPERSONATION, ""),
        (from_url, "credential_source.url", ", or a host in egress.plaintextHosts"),
    ]
}

#[test]
fn a_file_leads_to_hosts_of_google_and_of_its_universe_only() {
    let rows = table("hosts.json");
    assert_eq!(rows.len(), 44);
    let limits = limits(&json!({"mountPath": "/secrets"}));
    let (mut good, mut bad) = (0, 0);
    for row in rows {
        println!("{row}");
        for (file, name, more) in leading(row["url"].as_str().unwrap(), &row["universe"]) {
            let result = read_google_file(&file.to_string(), &limits);
            match row["says"].as_str() {
                None => {
                    good += 1;
                    assert!(result.is_ok(), "{name}: {result:?}");
                }
                Some(says) => {
                    bad += 1;
                    assert_eq!(result.unwrap_err(), format!("{name} {says}{more}"));
                }
            }
        }
    }
    assert_eq!((good, bad), (9 * 6, 35 * 6));
}

#[test]
fn only_subject_tokens_come_from_listed_hosts_and_never_of_a_metadata_server() {
    for (url, listed, is_good) in [
        ("http://idp.local/t", "idp.local", true),
        ("http://idp.local:8080/t", "idp.local", true),
        ("http://idp.local:8080/t", "idp.local:8080", true),
        ("https://IDP.local/t", "idp.local", true),
        ("http://127.0.0.1:1/t", "127.0.0.1", true),
        ("http://idp.local:8081/t", "idp.local:8080", false),
        ("http://idp.local/t", "idp.local:8080", false),
        ("http://a.idp.local/t", "idp.local", false),
        ("https://a.idp.local/t", "idp.local", false),
        ("http://169.254.169.254/t", "169.254.169.254", false),
        ("http://metadata.google.internal/t", "metadata.google.internal", false),
        ("https://metadata.google.internal/t", "metadata.google.internal", false),
        ("https://files.local/t", "files.local", false),
    ] {
        println!("{url} {listed}");
        let limits = limits(&json!({"mountPath": "/secrets", "plaintextHosts": [listed]}));
        for (file, name, _) in leading(url, &Value::Null) {
            let result = read_google_file(&file.to_string(), &limits);
            assert_eq!(result.is_ok(), is_good && name == "credential_source.url", "{name}");
        }
    }
}

#[test]
fn a_file_is_read_as_what_it_says_it_is() {
    let limits = limits(&json!({"mountPath": "/secrets"}));
    let kinds = ["key", "user", "external", "impersonated"].map(|name| {
        let text = source(&format!("{name}.json"))["file"].to_string();
        match read_google_file(&text, &limits).unwrap() {
            GoogleFile::ServiceAccount(_) => "key",
            GoogleFile::AuthorizedUser(_) => "user",
            GoogleFile::ExternalAccount(_) => "external",
            GoogleFile::Impersonated(..) => "impersonated",
        }
    });
    assert_eq!(kinds, ["key", "user", "external", "impersonated"]);
}

/// Every way to act as a service account.
fn acting() -> [Value; 3] {
    let mut external = source("external.json");
    let url = source("impersonated.json")["file"][IMPERSONATION].clone();
    external["file"][IMPERSONATION] = url.clone();
    let mut federation = source("federation.json");
    federation["impersonation"] = json!({"endpoint": url, "delegates": [], "lifetime": 3600});
    [external, federation, source("impersonated.json")]
}

#[test]
fn every_answer_of_an_account_that_is_acted_as_means_the_same() {
    let mut rows = table("impersonation.json");
    assert_eq!(rows.len(), 102);
    // An error is an error, as at every token endpoint.
    let others = read(&folder().join("replies.json"));
    let others = others.as_array().unwrap().iter().filter(|row| row["reply"]["status"] != 200);
    let before = rows.len();
    rows.extend(others.cloned());
    assert!(rows.len() > before + 150, "{}", rows.len());
    let first = json!({"status": 200, "json": {"access_token": "s3cret-assertion"}});
    for row in &rows {
        let row = row.as_object().unwrap();
        println!("{}", row["case"]);
        for source in acting() {
            let last = "google impersonation";
            let (end, asked) = end(&source, last, &row["reply"], &|_| given(&first));
            let mut expected = expected(row);
            if let Some(failed) = expected.get_mut("failed") {
                failed["step"] = json!(last);
                if let Some(status) = row["reply"].get("status") {
                    failed["status"] = status.clone();
                }
            }
            assert_eq!(end, expected);
            assert_eq!(asked, 1);
        }
    }
}
