//! No text of a secret is in anything that can be printed: errors, warnings, `Debug`, replies, the
//! value of the access log, the output of `aigw-auth check`.

#![cfg(test)]

mod common;
#[path = "workers/store.rs"]
#[allow(dead_code, reason = "each test uses a part")]
mod store;

use aigw_auth::aws::sigv4::EMPTY_BODY;
use aigw_auth::cache::Now;
use aigw_auth::engine::{Attempt, Decision, Effect, Filter, Place, Plan, Refresh, Refusal, decide};
use aigw_auth::inject::{Earlier, Mutation};
use aigw_auth::policy::{Variable, parse};
use aigw_auth::source::{Answer, Call, Reply, Target};
use common::check;
use serde_json::{Value, json};
use std::time::Duration;
use store::Data;

/// Part of every secret below, in clear and in the forms in which it could come back.
const MARKER: &str = "s3cr3t_marker";
const MARKER_BASE64: &str = "czNjcjN0X21hcmtlcg==";

fn shows_secret(text: &str) -> bool {
    text.contains(MARKER) || text.contains(MARKER_BASE64.trim_end_matches('='))
}

fn policy(name: &str, kind: &str, field: &str) -> Value {
    json!({
        "apiVersion": "aigateway.envoyproxy.io/v1beta1",
        "kind": "BackendSecurityPolicy",
        "metadata": {"name": name},
        "spec": {
            "type": kind,
            "targetRefs": [
                {"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": name}
            ],
            field: {"secretRef": {"name": name}},
        },
    })
}

fn signed(name: &str, credentials: Value) -> Value {
    let mut policy = policy(name, "AWSCredentials", "awsCredentials");
    policy["spec"]["awsCredentials"] = credentials;
    policy
}

fn good() -> Value {
    json!({
        "resources": [
            policy("a", "APIKey", "apiKey"),
            policy("b", "AnthropicAPIKey", "anthropicAPIKey"),
            policy("c", "AzureAPIKey", "azureAPIKey"),
            signed("d", json!({"region": "us-east-1", "credentialsFile": {"secretRef": {"name": "d"}}})),
            signed("e", json!({"region": "us-east-1"})),
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"},
             "stringData": {"apiKey": MARKER}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"},
             "data": {"apiKey": MARKER_BASE64}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "d"},
             "stringData": {"credentials": format!("[default]\naws_access_key_id = {MARKER}\n\
                aws_secret_access_key = {MARKER}\naws_session_token = {MARKER}\n")}},
        ],
        "secrets": {"env": [{"name": "c", "key": "apiKey", "variable": "C_KEY"}]},
    })
}

fn environment(name: &str) -> Variable {
    match name {
        "C_KEY" | "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Variable::Set(MARKER.to_owned()),
        _ => Variable::Unset,
    }
}

#[test]
fn a_configuration_can_be_printed_whole_without_its_secrets() {
    let loaded = parse(good().to_string().as_bytes(), &environment).unwrap();
    let printed = format!("{loaded:?} {loaded:#?}");
    assert!(printed.contains("[redacted]"));
    assert!(!shows_secret(&printed));
    let (filter, _) = Filter::new(loaded.config).unwrap();
    let printed = format!("{filter:?}");
    assert!(printed.contains("[redacted]"));
    assert!(!shows_secret(&printed));
}

#[test]
fn what_the_access_log_and_a_refused_client_get_holds_no_secret() {
    let (filter, _) =
        Filter::new(parse(good().to_string().as_bytes(), &environment).unwrap().config).unwrap();
    for entry in filter.entries() {
        assert!(!shows_secret(&entry.injected) && !shows_secret(&entry.refused));
    }
    for refusal in [
        Refusal::UnknownBackend,
        Refusal::Misconfigured,
        Refusal::BodyWithheld,
        Refusal::Unsignable,
        Refusal::Unavailable(1),
        Refusal::Internal,
    ] {
        assert!(!shows_secret(&refusal.reply().body));
    }
}

#[test]
fn the_secret_is_in_mutations_and_in_nothing_that_is_remembered() {
    let (filter, _) =
        Filter::new(parse(good().to_string().as_bytes(), &environment).unwrap().config).unwrap();
    for (backend, shown) in [
        ("a", &["authorization"][..]),
        ("b", &["x-api-key"]),
        ("c", &["api-key"]),
        // The access key id, which is no secret key, and the token.
        ("d", &["authorization", "x-amz-security-token"]),
        ("e", &["authorization"]),
    ] {
        let headers = [(":path", "/"), (":method", "POST"), (":authority", "a.example")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let earlier = Earlier::default();
        let attempt = Attempt {
            place: Place::Upstream,
            chosen: filter.choose(Some(backend.as_bytes())),
            ready: None,
            headers: Some(&headers),
            earlier: &earlier,
            body: Some(&EMPTY_BODY),
            now: Duration::ZERO,
        };
        let Decision::Inject(entry, changes) = decide(&filter, &attempt) else { panic!() };
        assert_eq!(entry.id, format!("default/{backend}"));
        let mut found = Vec::new();
        for mutation in &changes.mutations {
            if let Mutation::Set(name, value) = mutation {
                let text = String::from_utf8_lossy(value);
                if shows_secret(&text) {
                    assert_eq!(text.matches(MARKER).count(), 1, "{name}");
                    found.push(*name);
                }
            }
        }
        assert_eq!(found, shown);
        let remembered =
            format!("{:?} {:?} {:?}", changes.written, changes.path, changes.authority);
        assert!(!shows_secret(&remembered));
    }
}

/// Breaks a configuration at every place once: the value there becomes something else. Whatever is
/// said of it, the secrets are not part of it.
fn broken(value: &Value) -> Vec<Value> {
    let replacements =
        [json!(7), json!(""), json!([]), json!({"x": 1}), json!("a\nb"), json!(null)];
    let mut found: Vec<Value> = replacements.to_vec();
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                for changed in broken(inner) {
                    let mut fields = fields.clone();
                    fields.insert(key.clone(), changed);
                    found.push(Value::Object(fields));
                }
                let mut fields = fields.clone();
                fields.insert(format!("{key}x"), inner.clone());
                fields.remove(key);
                found.push(Value::Object(fields));
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                for changed in broken(inner) {
                    let mut items = items.clone();
                    items[index] = changed;
                    found.push(Value::Array(items));
                }
            }
        }
        Value::String(text) => found.push(json!(format!("{text}\u{0}{text}"))),
        _ => {}
    }
    found
}

#[test]
fn no_error_of_a_configuration_that_is_broken_anywhere_shows_a_secret() {
    let mut refused = 0;
    for configuration in broken(&good()) {
        let text = configuration.to_string();
        if let Err(problems) = parse(text.as_bytes(), &environment) {
            refused += 1;
            for problem in problems {
                assert!(!shows_secret(&format!("{problem} {problem:?}")), "{problem}");
            }
        }
    }
    assert!(refused > 300, "only {refused} were refused");
}

#[test]
fn a_key_in_place_of_the_name_of_its_variable_is_not_repeated() {
    let key = "sk-proj-s3cr3t_marker";
    let mut configuration = good();
    configuration["secrets"]["env"][0]["variable"] = json!(key);
    let problems = parse(configuration.to_string().as_bytes(), &environment).unwrap_err();
    assert!(problems.iter().any(|p| p.field == "secrets.env[0].variable"));
    for problem in problems {
        assert!(!shows_secret(&problem.to_string()), "{problem}");
    }
}

#[test]
fn no_message_has_two_lines_whatever_the_configuration_says() {
    let text = good().to_string();
    for name in
        ["default/", "openai", "\"a\"", "\"b\"", "apiKey", "AIServiceBackend", "C_KEY", "v1"]
    {
        let hostile =
            text.replace(name, &name.replace(name.trim_matches('"'), "a\\nforged\\u001b[0m"));
        let problems = parse(hostile.as_bytes(), &environment).err().unwrap_or_default();
        for problem in problems {
            let line = problem.to_string();
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    }
}

#[test]
fn no_error_of_a_text_that_is_cut_anywhere_shows_a_secret() {
    let text = good().to_string();
    for end in 0..text.len() {
        for problem in parse(&text.as_bytes()[..end], &environment).unwrap_err() {
            assert!(!shows_secret(&problem.to_string()), "{problem}");
        }
    }
}

#[test]
fn check_prints_no_secret_of_a_file_that_is_neither_json_nor_yaml() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("a.yaml", format!("kind: Secret\nstringData: {{apiKey: {MARKER}\n")),
        ("b.yaml", format!("kind: Secret\nstringData:\n  apiKey: \"{MARKER}\n")),
        ("c.yaml", format!("- {MARKER}\n: {MARKER}: [\n")),
        ("d.json", format!("{{\"stringData\": {{\"apiKey\": \"{MARKER}\"")),
        ("e.yaml", format!("apiKey: !!int {MARKER}\n? {MARKER}\n")),
        ("f.yaml", format!("apiKey: *{MARKER}\n")),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let (good, output, errors) = check(&[&file]);
        assert!(!good, "{name} passes");
        assert!(!shows_secret(&output) && !shows_secret(&errors), "{errors}");
        assert!(errors.contains(name), "{errors}");
    }
}

/// What a platform gives, and the policy that uses it.
fn platforms() -> Vec<(Value, Vec<(&'static str, &'static str)>)> {
    let aws = |settings: Value| {
        let policies = json!({"default/p": settings});
        json!({"resources": [signed("p", json!({"region": "us-east-1"}))], "policies": policies})
    };
    let azure = |settings: Value| {
        let mut policy = policy("p", "AzureCredentials", "azureCredentials");
        policy["spec"]["azureCredentials"] = json!({"clientID": "c", "tenantID": "t"});
        json!({"resources": [policy], "policies": {"default/p": settings}})
    };
    let role = "arn:aws:iam::123456789012:role/r";
    let assume = json!({"assumeRole": {"roleArn": role}});
    let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
    vec![
        (aws(json!({})), vec![("AWS_BEARER_TOKEN_BEDROCK", MARKER)]),
        (
            aws(assume.clone()),
            vec![
                ("AWS_ACCESS_KEY_ID", MARKER),
                ("AWS_SECRET_ACCESS_KEY", MARKER),
                ("AWS_SESSION_TOKEN", MARKER),
            ],
        ),
        (aws(assume.clone()), vec![full, ("AWS_CONTAINER_AUTHORIZATION_TOKEN", MARKER)]),
        (aws(json!({})), vec![full, ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/pod")]),
        (aws(assume), vec![("AWS_SHARED_CREDENTIALS_FILE", "/aws")]),
        (aws(json!({})), vec![("AWS_ROLE_ARN", role), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/jwt")]),
        (aws(json!({})), vec![]),
        (
            azure(json!({"azureIdentity": "WorkloadIdentity"})),
            vec![("AZURE_FEDERATED_TOKEN_FILE", "/jwt")],
        ),
        (
            azure(json!({"azureIdentity": "ManagedIdentity"})),
            vec![("IDENTITY_ENDPOINT", "http://127.0.0.1:1/t"), ("IDENTITY_HEADER", MARKER)],
        ),
        (azure(json!({"azureIdentity": "ManagedIdentity"})), vec![]),
    ]
}

/// What is in a place of the platform: secrets, and where they belong other things.
fn secret_answer(call: &Call) -> String {
    let keys = json!({"AccessKeyId": MARKER, "SecretAccessKey": MARKER, "Token": MARKER,
        "SessionToken": MARKER, "access_token": MARKER});
    let of_sts = |action: &str| {
        let result = json!({"Credentials": keys});
        json!({format!("{action}Response"): {format!("{action}Result"): result}}).to_string()
    };
    match (call.step, &call.target) {
        (_, Target::File(path)) if path == "/aws" => {
            format!("[default]\naws_access_key_id = {MARKER}\naws_secret_access_key = {MARKER}\n")
        }
        ("file" | "instance metadata token", _) => MARKER.to_owned(),
        ("instance metadata role", _) => "role".to_owned(),
        ("sts assume role", _) => of_sts("AssumeRole"),
        ("sts web identity", _) => of_sts("AssumeRoleWithWebIdentity"),
        _ => keys.to_string(),
    }
}

/// What can be printed of an exchange whose call number `bad` is answered by something else.
fn printed(plan: Plan, bad: Option<usize>) -> (String, usize) {
    let mut refresh = Refresh::new(plan, 1);
    let data = Data::default();
    let now = Now { steady: Duration::from_secs(1), wall: Duration::from_secs(1_800_000_000) };
    let mut printed = format!("{refresh:?}");
    let mut effects = refresh.tick(&data, now);
    effects.extend(refresh.probed(true, &data, now));
    let mut calls = 0;
    while let Some(effect) = effects.pop() {
        printed.push_str(&format!("{effect:?} {effect:#?} {refresh:?}"));
        let Effect::Call(number, call) = effect else { continue };
        let text = secret_answer(&call);
        let wrong = format!("{{\"Error\": {{\"Code\": \"{MARKER}\"}}, \"error\": \"{MARKER}\"}}");
        let (status, text) = if bad == Some(calls) { (400, wrong) } else { (200, text) };
        calls += 1;
        let answer = Answer { status, headers: &[], body: text.as_bytes() };
        effects.extend(refresh.reply(number, &Reply::Answer(answer), &data, now));
        effects.extend(refresh.tick(&data, now));
    }
    if bad.is_none() {
        let ready = refresh.ready(0, now.wall);
        assert!(ready.is_some(), "{printed}");
        printed.push_str(&format!("{ready:?}"));
    }
    (printed, calls)
}

#[test]
fn nothing_that_a_platform_gives_is_in_what_can_be_printed() {
    let mut exchanges = 0;
    for (configuration, variables) in platforms() {
        let mut configuration = configuration;
        configuration["egress"] = json!({"cluster": "egress"});
        configuration["files"] = json!({"cluster": "files"});
        let environment = |name: &str| match variables.iter().find(|(other, _)| *other == name) {
            Some((_, value)) => Variable::Set((*value).to_owned()),
            None => Variable::Unset,
        };
        let filter = || {
            let loaded = parse(configuration.to_string().as_bytes(), &environment).unwrap();
            assert!(!shows_secret(&format!("{loaded:?} {loaded:#?}")));
            Filter::new(loaded.config).unwrap()
        };
        let (filter_only, plan) = filter();
        assert!(!shows_secret(&format!("{filter_only:?} {plan:?}")));
        if plan.is_empty() {
            continue;
        }
        let (text, calls) = printed(plan, None);
        assert!(!shows_secret(&text), "{text}");
        for bad in 0..calls {
            let (text, _) = printed(filter().1, Some(bad));
            assert!(!shows_secret(&text), "{text}");
            exchanges += 1;
        }
    }
    assert!(exchanges >= 15, "{exchanges}");
}

#[test]
fn no_error_of_an_environment_that_is_broken_anywhere_shows_a_secret() {
    let mut refused = 0;
    for (configuration, variables) in platforms() {
        for (broken, _) in &variables {
            for value in [format!("{MARKER}\n{MARKER}"), format!("{MARKER}://\\{MARKER}")] {
                let environment = |name: &str| match variables.iter().find(|(n, _)| *n == name) {
                    Some((name, _)) if name == broken => Variable::Set(value.clone()),
                    Some((_, value)) => Variable::Set((*value).to_owned()),
                    None => Variable::Unset,
                };
                let mut configuration = configuration.clone();
                configuration["egress"] = json!({"cluster": "egress"});
                configuration["files"] = json!({"cluster": "files"});
                let result = parse(configuration.to_string().as_bytes(), &environment);
                for problem in result.err().unwrap_or_default() {
                    refused += 1;
                    assert!(!shows_secret(&format!("{problem} {problem:?}")), "{problem}");
                }
            }
        }
    }
    assert!(refused >= 20, "{refused}");
}
