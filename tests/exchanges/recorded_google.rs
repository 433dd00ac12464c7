//! What google-auth sent, and what is sent here for the same file or in the same environment.

use crate::asker::Asker;
use crate::calls::{fields, written};
use crate::jwt::{filled, pem, signature};
use crate::read;
use crate::recorded::{name, recordings};
use crate::replies::given;
use aigw_auth::policy::{Credentials, GcpSource, Variable, parse};
use aigw_auth::source::{Failure, GoogleToken, Material, Obtained, Reason, Source, Step, Target};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::time::Duration;

/// 24 November 2026, 03:08:20 UTC, when they were recorded.
const THEN: Duration = Duration::from_secs(1_795_489_700);
/// The port of a server of theirs.
const PORT: &str = "41741";

fn url(request: &Value) -> String {
    let part = |name: &str| request[name].as_str().unwrap().replace("PORT", PORT);
    format!("{}://{}{}", part("scheme"), part("host"), part("target"))
}

fn header(request: &Value, name: &str) -> Option<Value> {
    let mut headers = request["headers"].as_array().unwrap().iter();
    let found = headers.find(|header| header[0].as_str().unwrap().eq_ignore_ascii_case(name));
    found.map(|header| header[1].clone())
}

/// A field of a recorded form.
fn field(request: &Value, name: &str) -> Value {
    let body = request["body"].as_str().unwrap();
    if body.is_empty() || body.starts_with('{') {
        return Value::Null;
    }
    let form = fields(body.as_bytes());
    form.into_iter().find(|[other, _]| other == name).map_or(Value::Null, |[_, value]| json!(value))
}

/// Header and claims, without the time.
fn timeless(jwt: &str) -> Value {
    let part = |text: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    };
    let parts: Vec<_> = jwt.split('.').collect();
    let [header, claims, _] = parts.as_slice() else { panic!("{jwt}") };
    without_time(&json!({"header": part(header), "claims": part(claims)}))
}

fn without_time(jwt: &Value) -> Value {
    let mut jwt = jwt.clone();
    let claims = jwt["claims"].as_object_mut().unwrap();
    let mut time = |name: &str| claims.remove(name).unwrap().as_i64().unwrap();
    assert_eq!(time("exp") - time("iat"), 3_600);
    jwt
}

/// The form of a request, with what only google-auth writes otherwise made the same.
fn form(body: &[u8]) -> Vec<Value> {
    let field = |[name, value]: [String; 2]| match name.as_str() {
        "assertion" => json!([name, timeless(&value)]),
        "options" => {
            let [[options, _]] = fields(format!("{value}=").as_bytes()).try_into().unwrap();
            json!([name, serde_json::from_str::<Value>(&options).unwrap()])
        }
        _ => json!([name, value]),
    };
    fields(body).into_iter().map(field).collect()
}

fn service_account(request: &Value) -> Value {
    let jwt = &request["jwts_decoded"][0];
    json!({
        "type": "service_account", "client_email": jwt["claims"]["iss"],
        "private_key_id": jwt["header"]["kid"], "private_key": pem("rsa-pkcs8"),
        "token_uri": url(request),
    })
}

/// The file of which the client was.
fn file(name: &str, recording: &Value) -> Value {
    let requests = recording["requests"].as_array().unwrap();
    let last = requests.last().unwrap();
    if name.starts_with("gcp-sa-") {
        return service_account(last);
    }
    if name == "gcp-authorized-user" {
        return json!({
            "type": "authorized_user", "client_id": field(last, "client_id"),
            "client_secret": field(last, "client_secret"),
            "refresh_token": field(last, "refresh_token"), "token_uri": url(last),
        });
    }
    let impersonation = last["target"].as_str().unwrap().contains(":generateAccessToken");
    let body: Value = serde_json::from_str(last["body"].as_str().unwrap()).unwrap_or_default();
    let lifetime = body["lifetime"].as_str().and_then(|text| text.strip_suffix('s'));
    let lifetime = lifetime.map_or(Value::Null, |seconds| serde_json::from_str(seconds).unwrap());
    let mut file = match name {
        "gcp-impersonated-from-sa" => json!({
            "type": "impersonated_service_account", "delegates": body["delegates"],
            "source_credentials": service_account(&requests[0]),
        }),
        _ => {
            let request = requests.iter().find(|r| r["target"] == "/v1/token").unwrap();
            let source = match name {
                "gcp-wif-url" => json!({
                    "url": url(&requests[0]), "headers": {"X-K": header(&requests[0], "X-K")},
                    "format": {"type": "json", "subject_token_field_name": "access_token"},
                }),
                "gcp-wif-file-json" => json!({
                    "file": "/secrets/t",
                    "format": {"type": "json", "subject_token_field_name": "t"},
                }),
                _ => json!({"file": "/secrets/t"}),
            };
            json!({
                "type": "external_account", "audience": field(request, "audience"),
                "subject_token_type": field(request, "subject_token_type"),
                "token_url": url(request), "credential_source": source,
            })
        }
    };
    if impersonation {
        file["service_account_impersonation_url"] = json!(url(last));
        file["service_account_impersonation"] = json!({"token_lifetime_seconds": lifetime});
    }
    if name == "gcp-wif-workforce" {
        file["workforce_pool_user_project"] = json!("proj");
    }
    if let Some(Value::String(basic)) = header(last, "authorization")
        && let Some(basic) = basic.strip_prefix("Basic ")
    {
        let text = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
        let (id, secret) = text.split_once(':').unwrap();
        (file["client_id"], file["client_secret"]) = (json!(id), json!(secret));
    }
    file
}

/// What the client adds that says something of itself or of the connection, and what it takes.
fn of_client(name: &str) -> bool {
    let names = [
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "x-goog-api-client",
    ];
    names.contains(&name)
}

/// Compares a call with a recorded request.
fn compare(call: &aigw_auth::source::Call, request: &Value, legacy: bool) {
    let asked = written(call);
    assert_eq!(asked["method"], request["method"]);
    assert_eq!(asked["url"], url(request));
    let theirs: serde_json::Map<_, _> = request["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|header| (header[0].as_str().unwrap().to_ascii_lowercase(), header[1].clone()))
        .filter(|(name, _)| !of_client(name))
        .collect();
    let mut ours = asked["headers"].as_object().unwrap().clone();
    ours.retain(|name, _| !of_client(name));
    assert_eq!(ours, theirs);
    let body = request["body"].as_str().unwrap();
    if asked["headers"]["content-type"] == "application/json" {
        let mut theirs: serde_json::Map<String, Value> = serde_json::from_str(body).unwrap();
        // To say nothing of delegates is to say null.
        theirs.retain(|_, value| !value.is_null());
        assert_eq!(asked["json"], Value::Object(theirs));
    } else if request["method"] == "POST" {
        let mut theirs = form(body.as_bytes());
        if legacy {
            // To google-auth the audience is a constant, whatever the file says.
            for field in theirs.iter_mut().filter(|field| field[0] == "assertion") {
                assert_eq!(field[1]["claims"]["aud"], "https://oauth2.googleapis.com/token");
                field[1]["claims"]["aud"] = asked["url"].clone();
            }
        }
        assert_eq!(form(&call.body), theirs);
        // What is asked here is signed by our key.
        if let Some(assertion) =
            asked["form"].as_array().unwrap().iter().find(|f| f[0] == "assertion")
        {
            assert!(assertion[1]["claims"].is_object(), "{assertion}");
        }
    } else {
        assert!(call.body.is_empty() && body.is_empty());
    }
}

/// Asks as the recording has it.
fn end(name: &str, recording: &Value, mut at: Step) -> Result<Obtained, Failure> {
    let mut requests = recording["requests"].as_array().unwrap().iter();
    let subjects = recording["requests"].as_array().unwrap().iter();
    let subject = subjects.map(|r| field(r, "subject_token")).find(|token| !token.is_null());
    loop {
        let (call, next) = match at {
            Step::Done(obtained) => return Ok(obtained),
            Step::Failed(failure) => return Err(failure),
            Step::Call(call, next) => (call, next),
        };
        let given = match &call.target {
            Target::Signer(key) => signature(key, &call.body),
            Target::File(path) => {
                assert_eq!(path, "/secrets/t");
                let token = subject.clone().unwrap();
                given(&match name {
                    "gcp-wif-file-json" => json!({"status": 200, "json": {"t": token}}),
                    _ => json!({"status": 200, "text": format!("{}\n", token.as_str().unwrap())}),
                })
            }
            Target::Url(_) => {
                // Of the metadata server only the token is asked for.
                let of_token = |r: &&Value| {
                    r["method"] == "POST"
                        || r["target"] == "/subject"
                        || r["target"].as_str().unwrap().contains("/token?")
                };
                let request = requests.by_ref().find(of_token).unwrap();
                compare(&call, request, name == "gcp-sa-legacy-token-uri");
                let reply = &request["reply"];
                given(&json!({"status": reply["status"], "headers": reply["headers"],
                    "text": reply["body"]}))
            }
        };
        at = next.take(&given.reply(), THEN);
    }
}

fn asker(file: &Value) -> Asker {
    Asker::new(&json!({"kind": "google", "from": "secret", "mountPath": "/secrets",
        "plaintextHosts": [format!("127.0.0.1:{PORT}")], "file": file}))
}

/// The metadata server that a policy asks in the environment of a recording.
fn metadata(recording: &Value) -> GoogleToken {
    let configuration = json!({
        "resources": [{
            "apiVersion": "aigateway.envoyproxy.io/v1beta1",
            "kind": "BackendSecurityPolicy",
            "metadata": {"name": "p"},
            "spec": {
                "type": "GCPCredentials",
                "gcpCredentials": {"projectName": "p", "region": "r"},
                "targetRefs": [
                    {"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": "a"}
                ],
            },
        }],
        "egress": {"cluster": "egress"},
    });
    let variable = |name: &str| match recording["client_env"][name].as_str() {
        Some(value) => Variable::Set(value.replace("PORT", PORT)),
        None => Variable::Unset,
    };
    let loaded = parse(configuration.to_string().as_bytes(), &variable).unwrap();
    let policy = loaded.config.policies.into_iter().next().unwrap();
    let Credentials::Gcp(gcp) = policy.credentials else { panic!() };
    let GcpSource::Metadata(root) = gcp.source else { panic!() };
    GoogleToken::Metadata(root)
}

/// Why it fails here, as google-auth's failure has it.
fn failure_of(name: &str) -> (Reason, Option<&'static str>, bool) {
    match name {
        "gcp-gce-error-404" => (Reason::Denied, None, false),
        "gcp-sa-error-429" => (Reason::Throttled, Some("rate_limited"), false),
        "gcp-sa-error-503" => (Reason::Server, Some("server_error"), false),
        "gcp-sa-error-internal-failure" => (Reason::Server, Some("internal_failure"), false),
        "gcp-sa-error-invalid-grant-signature" => (Reason::Denied, Some("invalid_grant"), true),
        "gcp-sa-error-invalid-scope" => (Reason::Denied, Some("invalid_scope"), true),
        "gcp-sa-error-no-access-token" => (Reason::Malformed, None, false),
        "gcp-sa-error-unauthorized-client" => (Reason::Denied, Some("unauthorized_client"), true),
        "gcp-sts-error-503" => (Reason::Server, Some("internal_failure"), false),
        "gcp-sts-error-audience" => (Reason::Denied, Some("invalid_target"), true),
        "gcp-sts-error-condition" => (Reason::Denied, Some("unauthorized_client"), true),
        "gcp-sts-error-stale" => (Reason::Denied, Some("invalid_grant"), true),
        name => panic!("{name}"),
    }
}

#[test]
fn tokens_of_google_are_asked_for_as_the_official_client_asks() {
    let files = recordings("gcp-");
    assert_eq!(files.len(), 30);
    let (mut good, mut bad) = (0, 0);
    for path in files {
        let (name, recording) = (name(&path), read(&path));
        println!("{name}");
        if recording["requests"] == json!([]) {
            continue;
        }
        let mut recording = recording;
        let of_machine = name.starts_with("gcp-adc-metadata") || name.starts_with("gcp-gce-");
        let result = if of_machine {
            if let Some(host) = recording["client_env"]["GCE_METADATA_HOST"].as_str() {
                // The recorder had put the usual name in its place.
                let host = json!(host);
                for request in recording["requests"].as_array_mut().unwrap() {
                    request["host"] = host.clone();
                }
            }
            let source = metadata(&recording);
            end(name, &recording, source.start(&|_| None, THEN))
        } else {
            end(name, &recording, asker(&file(name, &recording)).start(THEN))
        };
        let theirs = recording["outcome"].as_str().unwrap();
        match result {
            Ok(obtained) => {
                good += 1;
                let Material::Line(token) = &obtained.material else { panic!() };
                // It went on to ask for the name of the project.
                let on = name == "gcp-adc-external-account-file";
                let same = theirs.starts_with("ok") && theirs.contains(token.expose());
                assert!(on || same, "{theirs}");
                let life = (obtained.expires_at.unwrap() - THEN).as_secs();
                match name {
                    "gcp-sa-no-expires-in" => assert_eq!(life, 300),
                    // They end an hour after the recording, to the minute.
                    _ => assert!((3_500..3_700).contains(&life), "{life}"),
                }
            }
            Err(failure) => {
                bad += 1;
                assert!(theirs.starts_with("error"), "{theirs}");
                let ours = (failure.reason, failure.code.as_deref(), failure.lasting);
                assert_eq!(ours, failure_of(name), "{failure}");
            }
        }
    }
    assert_eq!((good, bad), (15, 12));
}

#[test]
fn assertions_that_are_used_themselves_are_those_of_the_official_client() {
    for name in ["gcp-sa-self-signed-jwt-scope", "gcp-sa-universe-domain"] {
        let path = recordings(name).remove(0);
        let recording = read(&path);
        let theirs = recording["outcome"].as_str().unwrap().replace('\'', "\"");
        let from = theirs.find('[').unwrap();
        let theirs = theirs[from..].trim_end_matches(')');
        let theirs: Value = serde_json::from_str(theirs).unwrap();
        let jwt = &theirs[0];
        let file = json!({
            "type": "service_account", "client_email": jwt["claims"]["iss"],
            "private_key_id": jwt["header"]["kid"], "private_key": pem("rsa-pkcs8"),
            "universe_domain": "my-universe.example",
        });
        let obtained = end(name, &recording, asker(&file).start(THEN)).unwrap();
        let Material::Line(token) = obtained.material else { panic!() };
        assert_eq!(timeless(token.expose()), without_time(jwt));
        assert_eq!(obtained.expires_at, Some(THEN + Duration::from_secs(3_600)));
    }
}

#[test]
fn a_key_that_the_official_client_refuses_for_its_line_ends_is_taken() {
    let path = recordings("gcp-sa-literal-backslash-n").remove(0);
    assert!(read(&path)["outcome"].as_str().unwrap().contains("Invalid symbol 92"));
    let key = filled(&json!({"pem": "rsa-pkcs8 backslash-n"}), &Value::Null);
    let file = json!({"type": "service_account", "client_email": "a@b", "private_key": key});
    assert!(matches!(asker(&file).start(THEN), Step::Call(..)));
}
