//! Policies of Google from the configuration to the calls that are made for them, and what the log is told.

#![cfg(test)]

#[path = "workers/store.rs"]
#[allow(dead_code, reason = "each test uses a part")]
mod store;

use aigw_auth::cache::Now;
use aigw_auth::engine::{Effect, Filter, Refresh};
use aigw_auth::policy::{Credentials, GcpSource, Variable, parse};
use aigw_auth::source::{Answer, Call, Reply, Target};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use store::Data;

const NOW: Now = Now { steady: Duration::from_secs(1), wall: Duration::from_secs(1_800_000_000) };
const FILE: &str = "service_account.json";

/// What has become of a policy.
#[derive(Default)]
struct Made {
    calls: Vec<Call>,
    log: Vec<String>,
    is_ready: bool,
}

impl Made {
    /// Where the calls went.
    fn places(&self) -> Vec<String> {
        let place = |call: &Call| match &call.target {
            Target::File(path) => path.clone(),
            Target::Url(endpoint) => format!("{}{}", endpoint.authority, endpoint.path),
            Target::Signer(_) => "signature".to_owned(),
        };
        self.calls.iter().map(place).collect()
    }
}

/// A configuration with a policy of these credentials, and with these settings.
fn configuration(credentials: Value, settings: &Value) -> String {
    let mut configuration = json!({
        "egress": {"cluster": "egress"},
        "files": {"cluster": "files"},
        "resources": [{
            "apiVersion": "aigateway.envoyproxy.io/v1beta1",
            "kind": "BackendSecurityPolicy",
            "metadata": {"name": "p"},
            "spec": {
                "type": "GCPCredentials",
                "gcpCredentials": credentials,
                "targetRefs": [
                    {"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": "a"}
                ],
            },
        }],
    });
    for (name, value) in settings.as_object().unwrap() {
        match (&mut configuration[name], value) {
            (Value::Array(items), Value::Array(more)) => items.extend(more.clone()),
            (place, value) => *place = value.clone(),
        }
    }
    configuration.to_string()
}

/// What becomes of such a policy, every call of which is answered by `answer`.
fn make(
    credentials: Value,
    settings: &Value,
    environment: &[(&str, &str)],
    answer: &dyn Fn(&Call) -> (u16, String),
) -> Made {
    let configuration = configuration(credentials, settings);
    let variable = |name: &str| match environment.iter().find(|(other, _)| *other == name) {
        Some((_, value)) => Variable::Set((*value).to_owned()),
        None => Variable::Unset,
    };
    let loaded = parse(configuration.as_bytes(), &variable).unwrap();
    let mut refresh = Refresh::new(Filter::new(loaded.config).unwrap().1, 1);
    let data = Data::default();
    let mut effects = refresh.tick(&data, NOW);
    effects.extend(refresh.probed(true, &data, NOW));
    let mut made = Made::default();
    while let Some(effect) = effects.pop() {
        match effect {
            Effect::Call(number, call) => {
                let (status, text) = answer(&call);
                let answer = Answer { status, headers: &[], body: text.as_bytes() };
                made.calls.push(call);
                effects.extend(refresh.reply(number, &Reply::Answer(answer), &data, NOW));
                effects.extend(refresh.tick(&data, NOW));
            }
            Effect::Warn(line) | Effect::Inform(line) => made.log.push(line),
            Effect::Probe | Effect::Count(..) => {}
        }
    }
    made.is_ready = refresh.ready(0, NOW.wall).is_some();
    made
}

fn key() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/google-keys");
    let pem = std::fs::read_to_string(folder.join("rsa-pkcs8.pem")).unwrap();
    json!({"type": "service_account", "client_email": "a@b", "private_key": pem}).to_string()
}

/// Settings and environment of a policy with a file in a Secret, and what is said of the place where that is.
type PlaceOfKey = (Value, Vec<(&'static str, String)>, &'static str);

/// The three places where it can be.
fn places_of_keys() -> [PlaceOfKey; 3] {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "stringData": {FILE: key()}});
    let variable = json!([{"namespace": "default", "name": "s", "key": FILE, "variable": "KEY"}]);
    [
        (json!({"resources": [secret]}), Vec::new(), ""),
        (json!({"secrets": {"env": variable}}), vec![("KEY", key())], " KEY"),
        (
            json!({"secrets": {"mountPath": "/secrets"}}),
            Vec::new(),
            " /secrets/default/s/service_account.json",
        ),
    ]
}

fn of_key(settings: &Value, environment: &[(&str, String)], signature: (u16, &str)) -> Made {
    let credentials = json!({"projectName": "p", "region": "r",
        "credentialsFile": {"secretRef": {"name": "s"}}});
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    make(credentials, settings, &environment, &|call| match &call.target {
        Target::Signer(_) => (signature.0, signature.1.to_owned()),
        Target::File(_) => (200, key()),
        Target::Url(_) => (200, json!({"access_token": "token", "expires_in": 3599}).to_string()),
    })
}

#[test]
fn a_key_that_envoy_cannot_read_is_told_with_the_name_of_its_secret() {
    for (settings, environment, place) in places_of_keys() {
        let made = of_key(&settings, &environment, (400, ""));
        assert!(!made.is_ready);
        assert_eq!(made.places().last().unwrap(), "signature");
        let says = format!(
            "assertion signature failed: malformed: Secret default/s, key service_account.json{place}: \
             private_key cannot be used by Envoy"
        );
        let [line] = made.log.as_slice() else { panic!("{:?}", made.log) };
        assert!(line.contains(&says) && line.contains("default/p"), "{line}");
        assert!(!line.contains("PRIVATE") && !line.contains("MII"), "{line}");
    }
}

#[test]
fn a_key_gives_a_token_wherever_it_is() {
    for (settings, environment, place) in places_of_keys() {
        let made = of_key(&settings, &environment, (200, "signature"));
        assert!(made.is_ready, "{:?}", made.log);
        let mut places = made.places();
        places.retain(|other| other != place.trim());
        assert_eq!(places, ["signature", "oauth2.googleapis.com/token"]);
    }
}

#[test]
fn a_file_in_the_place_of_a_key_is_judged_when_it_is_read() {
    let credentials = json!({"projectName": "p", "region": "r",
        "credentialsFile": {"secretRef": {"name": "s"}}});
    let file = r#"{"type": "gdch_service_account", "private_key": "s3cret"}"#;
    let settings = json!({"secrets": {"mountPath": "/secrets"}});
    let made = make(credentials, &settings, &[], &|_| (200, file.to_owned()));
    let [line] = made.log.as_slice() else { panic!("{:?}", made.log) };
    assert!(line.contains(
        "Secret default/s, key service_account.json /secrets/default/s/service_account.json: \
         type gdch_service_account is not supported"
    ));
    assert!(!line.contains("s3cret"));
    assert_eq!(made.calls.len(), 1);
}

/// A policy with federation, for a project and perhaps an account.
fn federation(project: &str, account: Option<&str>) -> Made {
    let oidc = json!({"provider": {"issuer": "https://idp.example",
        "tokenEndpoint": "https://idp.example/t"}, "clientID": "c", "clientSecret": {"name": "s"}});
    let mut config = json!({
        "projectID": "123", "workloadIdentityPoolName": "pool",
        "workloadIdentityProviderName": "provider", "oidcExchangeToken": {"oidc": oidc},
    });
    if let Some(name) = account {
        config["serviceAccountImpersonation"] = json!({"serviceAccountName": name});
    }
    let credentials = json!({"projectName": project, "region": "r",
        "workloadIdentityFederationConfig": config});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "stringData": {"client-secret": "secret"}});
    make(credentials, &json!({"resources": [secret]}), &[], &|call| {
        let text = match call.step {
            "google impersonation" => {
                json!({"accessToken": "token", "expireTime": "2027-01-15T09:00:00Z"})
            }
            "oidc discovery" => json!({"issuer": "https://idp.example",
                "token_endpoint": "https://idp.example/t"}),
            _ => json!({"access_token": "token", "expires_in": 3599}),
        };
        (200, text.to_string())
    })
}

#[test]
fn federation_asks_for_the_provider_of_the_policy() {
    let made = federation("p", None);
    assert!(made.is_ready, "{:?}", made.log);
    let call = made.calls.last().unwrap();
    assert_eq!(made.places().last().unwrap(), "sts.googleapis.com/v1/token");
    let body = String::from_utf8(call.body.clone()).unwrap();
    let audience = "audience=%2F%2Fiam.googleapis.com%2Fprojects%2F123%2Flocations%2Fglobal%2F\
                    workloadIdentityPools%2Fpool%2Fproviders%2Fprovider&";
    assert!(body.contains(audience), "{body}");
    assert!(body.contains("&scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform&"));
    assert!(body.contains("&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"));
}

#[test]
fn a_short_name_of_an_account_is_one_of_the_project() {
    for (project, account, email) in [
        ("p", "robot", "robot@p.iam.gserviceaccount.com"),
        ("example.com:p", "robot", "robot@p.example.com.iam.gserviceaccount.com"),
        ("p", "robot@other.iam.gserviceaccount.com", "robot@other.iam.gserviceaccount.com"),
        (
            "p",
            "123-compute@developer.gserviceaccount.com",
            "123-compute@developer.gserviceaccount.com",
        ),
    ] {
        let made = federation(project, Some(account));
        assert!(made.is_ready, "{:?}", made.log);
        let [.., exchange, impersonation] = made.calls.as_slice() else { panic!() };
        let body = String::from_utf8(exchange.body.clone()).unwrap();
        assert!(body.contains("&scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fiam&"), "{body}");
        let Target::Url(endpoint) = &impersonation.target else { panic!() };
        assert_eq!(endpoint.authority, "iamcredentials.googleapis.com");
        let path = format!("/v1/projects/-/serviceAccounts/{email}:generateAccessToken");
        assert_eq!(endpoint.path, path);
        let body: Value = serde_json::from_slice(&impersonation.body).unwrap();
        let scope = "https://www.googleapis.com/auth/cloud-platform";
        assert_eq!(body, json!({"scope": [scope], "lifetime": "3600s"}));
    }
}

#[test]
fn the_environment_says_where_the_default_token_comes_from() {
    let token = "/computeMetadata/v1/instance/service-accounts/default/token?scopes=\
                 https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform";
    let (file, host) = ("GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST");
    for (environment, place) in [
        (vec![], format!("metadata.google.internal{token}")),
        (vec![(host, "127.0.0.1:8080")], format!("127.0.0.1:8080{token}")),
        (vec![(host, " ")], format!("metadata.google.internal{token}")),
        (vec![(file, "/a/b.json")], "/a/b.json".to_owned()),
        (vec![(file, "/a/b.json"), (host, "127.0.0.1:8080")], "/a/b.json".to_owned()),
    ] {
        let credentials = json!({"projectName": "p", "region": "r"});
        let made = make(credentials, &json!({}), &environment, &|_| (500, String::new()));
        assert_eq!(made.places(), [place]);
    }
}

#[test]
fn nothing_is_said_of_an_environment_that_is_not_known() {
    // Only the metadata server would need a route.
    let settings = json!({"egress": {"clusters": {"sts.googleapis.com": "sts"}}});
    let credentials = json!({"projectName": "p", "region": "r"});
    let text = configuration(credentials, &settings);
    let source = |variable: fn(&str) -> Variable| {
        let loaded = parse(text.as_bytes(), &variable).map_err(|problems| problems.len())?;
        match loaded.config.policies.into_iter().next().unwrap().credentials {
            Credentials::Gcp(gcp) => Ok::<_, usize>(gcp.source),
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(source(|_| Variable::Unknown), Ok(GcpSource::UnknownEnvironment)));
    assert_eq!(source(|_| Variable::Unset).unwrap_err(), 1);
}
