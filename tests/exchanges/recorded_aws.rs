//! What the official clients of AWS, and those of Azure's managed identities, sent on platforms, and what is
//! sent here in the same environment.

use crate::NOW;
use crate::calls::{fields, written};
use crate::chain;
use crate::read;
use crate::recorded::{name, recordings};
use crate::replies::given;
use aigw_auth::policy::{AzureSource, Credentials, Variable, parse};
use aigw_auth::source::{AzureManagedIdentity, Failure, Obtained, Source, Step, Target};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// 24 November 2026, 03:08:20 UTC, when they were recorded.
const THEN: Duration = Duration::from_secs(1_795_489_700);
/// The port of a server of theirs.
const PORT: &str = "41741";

/// What a client adds that says something of itself or of the connection.
fn of_client(name: &str) -> bool {
    let names = ["host", "user-agent", "accept-encoding", "connection", "content-length"];
    names.contains(&name) || ["amz-sdk-", "x-ms-", "x-client-"].iter().any(|p| name.starts_with(p))
}

/// The environment of a client: its paths were in a folder of theirs.
fn environment(recording: &Value) -> Map<String, Value> {
    let environment = recording["client_env"].as_object().unwrap().iter();
    let value = |name: &str, text: &str| {
        let root = if name.ends_with("_FILE") { "/" } else { "" };
        json!(format!("{root}{}", text.replace("PORT", PORT)))
    };
    environment.map(|(name, text)| (name.clone(), value(name, text.as_str().unwrap()))).collect()
}

fn headers(request: &Value) -> BTreeMap<String, String> {
    let headers = request["headers"].as_array().unwrap().iter();
    let headers = headers.map(|header| {
        let text = |index: usize| header[index].as_str().unwrap();
        (text(0).to_ascii_lowercase(), text(1).to_owned())
    });
    headers.filter(|(name, _)| !of_client(name)).collect()
}

fn form(request: &Value) -> Vec<[String; 2]> {
    let mut form = fields(request["body"].as_str().unwrap().as_bytes());
    // One that botocore makes up where there is none.
    for [name, value] in &mut form {
        if name == "RoleSessionName" && value.starts_with("botocore-session-") {
            *value = "ai-gateway-p".to_owned();
        }
    }
    form
}

fn url(request: &Value) -> String {
    let part = |name: &str| request[name].as_str().unwrap().replace("PORT", PORT);
    format!("{}://{}{}", part("scheme"), part("host"), part("target"))
}

/// What the token files of a client held, by what it sent.
fn token(requests: &[Value]) -> String {
    let form =
        |request: &Value| form(request).into_iter().find(|[name, _]| name == "WebIdentityToken");
    let first = &requests[0];
    match headers(first).remove("authorization") {
        Some(token) => token,
        None => form(first).map(|[_, token]| token).unwrap(),
    }
}

/// Asks as the recording has it.
fn end(recording: &Value, mut at: Step) -> Result<Obtained, Failure> {
    let requests = recording["requests"].as_array().unwrap().iter();
    let is_ours = |request: &&Value| !request["host"].as_str().unwrap().starts_with("bedrock");
    let requests: Vec<_> = requests.filter(is_ours).cloned().collect();
    for request in &requests {
        let Step::Call(mut call, mut next) = at else { break };
        if let Target::File(path) = &call.target {
            assert!(path.starts_with('/'));
            let text = json!({"status": 200, "text": token(&requests)});
            let Step::Call(after, further) = next.take(&given(&text).reply(), THEN) else {
                panic!("no call after {path}")
            };
            (call, next) = (after, further);
        }
        let asked = written(&call);
        assert_eq!(asked["method"], request["method"]);
        let mut ours: BTreeMap<String, String> =
            serde_json::from_value(asked["headers"].clone()).unwrap();
        let theirs = headers(request);
        if theirs.get("accept").is_none_or(|kinds| kinds == "*/*") {
            ours.remove("accept");
        }
        for (name, value) in &ours {
            assert_eq!(theirs.get(name), Some(value), "{name}");
        }
        // App Service is told too that the question is one for metadata.
        for name in theirs.keys() {
            let more =
                name == "accept" || (name == "metadata" && ours.contains_key("x-identity-header"));
            assert!(more || ours.contains_key(name), "{name} is missing");
        }
        let split = |url: &str| {
            let (path, query) = url.split_once('?').unwrap_or((url, ""));
            let unescaped = query.replace("%3A", ":").replace("%2F", "/");
            let mut query: Vec<_> = unescaped.split('&').map(str::to_owned).collect();
            query.sort();
            (path.to_owned(), query)
        };
        assert_eq!(split(asked["url"].as_str().unwrap()), split(&url(request)));
        if request["method"] == "POST" {
            assert_eq!(asked["form"], json!(form(request)));
        }
        let reply = &request["reply"];
        let reply = json!({"status": reply["status"], "headers": reply["headers"],
            "text": reply["body"]});
        at = next.take(&given(&reply).reply(), THEN);
    }
    match at {
        Step::Done(obtained) => Ok(obtained),
        Step::Failed(failure) => Err(failure),
        Step::Call(call, _) => panic!("one more call: {}", written(&call)),
    }
}

#[test]
fn keys_of_aws_are_asked_for_as_the_official_client_asks() {
    let files = recordings("aws-");
    assert_eq!(files.len(), 13);
    let (mut good, mut bad) = (0, 0);
    for file in files {
        println!("{}", file.display());
        let recording = read(&file);
        let credentials = chain::credentials(&environment(&recording), &Value::Null);
        if name(&file) == "aws-container-full-uri-bad-host" {
            let problems = credentials.unwrap_err();
            assert_eq!(recording["requests"], json!([]));
            assert_eq!(problems.len(), 1);
            assert!(problems[0].contains("AWS_CONTAINER_CREDENTIALS_FULL_URI must be https"));
            continue;
        }
        let at = chain::chain_of(credentials.unwrap()).start(&|_| None, THEN);
        let theirs = recording["outcome"].as_str().unwrap();
        match end(&recording, at) {
            Ok(obtained) => {
                good += 1;
                assert!(theirs.starts_with("ok"), "{theirs}");
                // They end an hour after the recording, to the minute.
                let life = obtained.expires_at.unwrap() - THEN;
                assert!((3_500..3_700).contains(&life.as_secs()), "{life:?}");
            }
            Err(failure) => {
                bad += 1;
                assert!(theirs.starts_with("error"), "{theirs}");
                match name(&file).strip_prefix("aws-sts-error-") {
                    Some(code) => assert_eq!(failure.code.as_deref(), Some(code)),
                    None => assert_eq!(failure.status, Some(404)),
                }
            }
        }
    }
    assert_eq!((good, bad), (6, 6));
}

/// The source of a policy whose identity is that of a recording.
fn managed_identity(file: &Path, recording: &Value) -> AzureManagedIdentity {
    let first = url(&recording["requests"][0]);
    let of = |query: &str, field: &str| {
        let (_, id) = first.split_once(query)?;
        Some(json!({field: id}))
    };
    let identity = of("&client_id=", "clientID")
        .or_else(|| of("&object_id=", "objectID"))
        .or_else(|| of("&msi_res_id=", "resourceID"));
    let environment = environment(recording);
    let configuration = json!({
        "resources": [{
            "apiVersion": "aigateway.envoyproxy.io/v1beta1",
            "kind": "BackendSecurityPolicy",
            "metadata": {"name": "p"},
            "spec": {
                "type": "AzureCredentials",
                "azureCredentials": {"clientID": "client", "tenantID": "tenant"},
                "targetRefs": [
                    {"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": "a"}
                ],
            },
        }],
        "egress": {"cluster": "egress"},
        "policies": {"default/p": {"azureIdentity": "ManagedIdentity", "managedIdentity": identity}},
    });
    let variable = |name: &str| match environment.get(name) {
        Some(value) => Variable::Set(value.as_str().unwrap().to_owned()),
        None => Variable::Unset,
    };
    let loaded = parse(configuration.to_string().as_bytes(), &variable);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{}: {problems:?}", file.display()));
    let Some(Credentials::Azure(azure)) =
        loaded.config.policies.into_iter().next().map(|policy| policy.credentials)
    else {
        panic!()
    };
    let resource = azure.resource().to_owned();
    let AzureSource::Managed(service, identity) = azure.source else { panic!() };
    AzureManagedIdentity { service, identity, resource }
}

#[test]
fn tokens_of_managed_identities_are_asked_for_as_the_official_clients_ask() {
    let files = recordings("azure-mi-");
    assert_eq!(files.len(), 8);
    for file in files {
        println!("{}", file.display());
        let recording = read(&file);
        let source = managed_identity(&file, &recording);
        let end = match name(&file) {
            // The client asks again at once, and here it is asked again later.
            "azure-mi-imds-429" => {
                let [first, second] = recording["requests"].as_array().unwrap().as_slice() else {
                    panic!()
                };
                let ask = |request: &Value| {
                    let recording = json!({"requests": [request]});
                    end(&recording, source.start(&|_| None, THEN))
                };
                let failure = ask(first).unwrap_err();
                assert_eq!(failure.retry_after, Some(Duration::from_secs(1)));
                ask(second)
            }
            _ => end(&recording, source.start(&|_| None, THEN)),
        };
        match name(&file) {
            "azure-mi-imds-400-identity-not-found" => {
                let failure = end.unwrap_err();
                assert!(failure.lasting && failure.status == Some(400), "{failure}");
            }
            _ => {
                let life = end.unwrap().expires_at.unwrap() - THEN;
                assert!(life >= Duration::from_secs(86_000), "{life:?}");
            }
        }
    }
    assert!(THEN < NOW);
}
