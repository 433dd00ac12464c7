//! What the official clients of Entra ID sent, and what is sent here.

use crate::asker::Asker;
use crate::calls::{fields, written};
use crate::ends::outcome;
use crate::replies::given;
use crate::{NOW, folder, read};
use aigw_auth::source::Step;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The recordings whose names begin so.
pub(crate) fn recordings(prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder().join("recordings")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| name(file).starts_with(prefix));
    files.sort();
    files
}

pub(crate) fn name(file: &Path) -> &str {
    file.file_stem().unwrap().to_str().unwrap()
}

/// The recorded request for a token, and the source that makes the same.
fn recorded(file: &Path) -> (Value, Value) {
    let recording = read(file);
    let requests = recording["requests"].as_array().unwrap().clone();
    let mut requests = requests.into_iter().filter(|request| request["method"] == "POST");
    let request = requests.next().unwrap();
    assert!(requests.next().is_none());
    let form = fields(request["body"].as_str().unwrap().as_bytes());
    let field = |name: &str| form.iter().find(|[other, _]| other == name).map(|[_, value]| value);
    let part = |name: &str| request[name].as_str().unwrap();
    let mut source = json!({
        "kind": "entra",
        "tokenEndpoint": format!("{}://{}{}", part("scheme"), part("host"), part("target")),
        "clientId": field("client_id"),
        "scope": field("scope"),
    });
    match field("client_assertion") {
        Some(assertion) if file.ends_with("azure-workload-identity.json") => {
            source["assertion"] = json!({"tokenFile": "/token"});
            source["given"] = json!({"status": 200, "text": format!("{assertion}\n")});
        }
        Some(assertion) => {
            source["assertion"] = json!({
                "issuer": "https://idp.example", "tokenEndpoint": "https://idp.example/token",
                "clientId": "client", "clientSecret": "secret", "scopes": [], "resources": [],
                "plaintextHosts": [],
            });
            source["given"] = json!({"status": 200, "json": {"access_token": assertion}});
        }
        None => source["secret"] = json!(field("client_secret").unwrap()),
    }
    (request, source)
}

#[test]
fn requests_for_tokens_are_those_of_the_official_clients() {
    let files = recordings("azure-");
    let files: Vec<_> = files.into_iter().filter(|file| !name(file).contains("-mi-")).collect();
    assert_eq!(files.len(), 13);
    let mut errors = 0;
    for file in files {
        println!("{}", file.display());
        let (request, source) = recorded(&file);
        let mut at = Asker::new(&source).start(NOW);
        if let Some(reply) = source.get("given") {
            let Step::Call(_, next) = at else { panic!() };
            at = next.take(&given(reply).reply(), NOW);
        }
        let Step::Call(call, next) = at else { panic!() };
        let asked = written(&call);
        assert_eq!(asked["method"], request["method"]);
        assert_eq!(asked["url"], source["tokenEndpoint"]);
        // What msal tells of itself is left out.
        let recorded = fields(request["body"].as_str().unwrap().as_bytes());
        let recorded: Vec<_> =
            recorded.into_iter().filter(|[name, _]| name != "client_info").collect();
        assert_eq!(asked["form"], json!(recorded));
        let kind = request["headers"].as_array().unwrap().iter();
        let kind = kind.filter(|h| h[0].as_str().unwrap().eq_ignore_ascii_case("content-type"));
        let kinds: Vec<_> = kind.map(|header| &header[1]).collect();
        assert_eq!(kinds, [&asked["headers"]["content-type"]]);

        let reply = &request["reply"];
        let reply = json!({
            "status": reply["status"], "headers": reply["headers"], "text": reply["body"],
        });
        let expected = match name(&file).strip_prefix("azure-error-") {
            Some(code) => {
                errors += 1;
                json!({"failed": {
                    "step": "entra token", "reason": "denied", "status": reply["status"],
                    "code": code, "lasting": true,
                }})
            }
            None => json!({"token": "AZ-ACCESS-TOKEN-FAKE", "life": 3_599_000}),
        };
        assert_eq!(outcome(&next.take(&given(&reply).reply(), NOW)), expected);
    }
    assert_eq!(errors, 6);
}
