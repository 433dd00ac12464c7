//! No text of a secret is in anything that can be printed: errors, warnings, `Debug`, replies, the
//! value of the access log, the output of `aigw-auth check`.

#![cfg(test)]

mod common;

use aigw_auth::engine::{Attempt, Decision, Filter, Place, Refusal, decide};
use aigw_auth::inject::{Earlier, Mutation};
use aigw_auth::policy::{Variable, parse};
use common::check;
use serde_json::{Value, json};

/// Part of every secret below, in clear and in the forms in which it could come back.
const MARKER: &str = "s3cr3t-marker";
const MARKER_BASE64: &str = "czNjcjN0LW1hcmtlcg==";

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

fn good() -> Value {
    json!({
        "resources": [
            policy("a", "APIKey", "apiKey"),
            policy("b", "AnthropicAPIKey", "anthropicAPIKey"),
            policy("c", "AzureAPIKey", "azureAPIKey"),
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"},
             "stringData": {"apiKey": MARKER}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"},
             "data": {"apiKey": MARKER_BASE64}},
        ],
        "secrets": {"env": [{"name": "c", "key": "apiKey", "variable": "C_KEY"}]},
    })
}

fn environment(name: &str) -> Variable {
    match name {
        "C_KEY" => Variable::Set(MARKER.to_owned()),
        _ => Variable::Unset,
    }
}

#[test]
fn a_configuration_can_be_printed_whole_without_its_secrets() {
    let loaded = parse(good().to_string().as_bytes(), &environment).unwrap();
    let printed = format!("{loaded:?} {loaded:#?}");
    assert!(printed.contains("[redacted]"));
    assert!(!shows_secret(&printed));
    let filter = Filter::new(loaded.config).unwrap();
    let printed = format!("{filter:?}");
    assert!(printed.contains("[redacted]"));
    assert!(!shows_secret(&printed));
}

#[test]
fn what_the_access_log_and_a_refused_client_get_holds_no_secret() {
    let filter =
        Filter::new(parse(good().to_string().as_bytes(), &environment).unwrap().config).unwrap();
    for entry in filter.entries() {
        assert!(!shows_secret(&entry.injected) && !shows_secret(&entry.refused));
    }
    for refusal in [Refusal::UnknownBackend, Refusal::Misconfigured, Refusal::Internal] {
        assert!(!shows_secret(&refusal.reply().body));
    }
}

#[test]
fn the_secret_is_in_one_mutation_and_in_nothing_that_is_remembered() {
    let filter =
        Filter::new(parse(good().to_string().as_bytes(), &environment).unwrap().config).unwrap();
    for backend in ["a", "b", "c"] {
        let headers = vec![(":path".to_owned(), b"/".to_vec())];
        let earlier = Earlier::default();
        let attempt = Attempt {
            place: Place::Upstream,
            backend: Some(backend.as_bytes()),
            headers: Some(&headers),
            earlier: &earlier,
        };
        let Decision::Inject(entry, changes) = decide(&filter, &attempt) else { panic!() };
        assert_eq!(entry.id, format!("default/{backend}"));
        let written: Vec<_> = changes
            .mutations
            .iter()
            .filter_map(|mutation| match mutation {
                Mutation::Set(_, value) => Some(String::from_utf8_lossy(value).into_owned()),
                Mutation::Remove(_) => None,
            })
            .collect();
        assert_eq!(written.len(), 1);
        assert!(shows_secret(&written[0]));
        assert!(!shows_secret(&format!("{:?} {:?}", changes.written, changes.path)));
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
    let key = "sk-proj-s3cr3t-marker";
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
