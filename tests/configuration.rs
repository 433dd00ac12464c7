//! Every case of `tests/configurations`: what the parser says of a configuration, as JSON and as a
//! protobuf Struct, and that `aigw-auth check` says the same.

#![cfg(test)]

mod common;

use aigw_auth::policy::{Loaded, Problem, Severity, Variable, parse};
use common::{check, struct_bytes};
use serde_json::{Map, Value, json};
use std::path::Path;

const CREDENTIALS: &str = "\
[default]
aws_access_key_id = marker
aws_secret_access_key = marker

[dev]
aws_access_key_id = marker
aws_secret_access_key = marker
aws_session_token = marker

[role]
role_arn = marker
";

const USER: &str = r#"{"type": "authorized_user", "client_id": "marker", "client_secret": "marker",
    "refresh_token": "marker"}"#;

struct Case {
    name: String,
    /// The configuration as text; JSON if it came as an object.
    text: String,
    configuration: Option<Value>,
    errors: Vec<String>,
    warnings: Vec<String>,
    with_check: bool,
    environment: Map<String, Value>,
}

impl Case {
    fn variable(&self, name: &str) -> Variable {
        match self.environment.get(name) {
            Some(value) => Variable::Set(value.as_str().unwrap().to_owned()),
            None => Variable::Unset,
        }
    }
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configurations");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            let cases: Vec<Value> = serde_saphyr::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            cases.into_iter().map(case)
        })
        .collect()
}

fn case(value: Value) -> Case {
    let fields = [
        "case",
        "spec",
        "version",
        "resources",
        "settings",
        "configuration",
        "text",
        "errors",
        "warnings",
        "without_check",
        "environment",
    ];
    for field in value.as_object().unwrap().keys() {
        assert!(fields.contains(&field.as_str()), "{}: {field}", value["case"]);
    }
    let list = |name: &str| -> Vec<String> {
        value.get(name).map_or_else(Vec::new, |v| serde_json::from_value(v.clone()).unwrap())
    };
    let text = value.get("text").map(|text| text.as_str().unwrap().to_owned());
    let configuration = match (&text, value.get("configuration")) {
        (Some(_), _) => None,
        (None, Some(whole)) => Some(whole.clone()),
        (None, None) => Some(assemble(&value)),
    };
    Case {
        name: value["case"].as_str().unwrap().to_owned(),
        text: text.unwrap_or_else(|| configuration.as_ref().unwrap().to_string()),
        configuration,
        errors: list("errors"),
        warnings: list("warnings"),
        with_check: value.get("without_check").is_none(),
        environment: value["environment"].as_object().cloned().unwrap_or_default(),
    }
}

fn assemble(case: &Value) -> Value {
    let mut configuration = Map::new();
    configuration.insert("egress".into(), json!({"cluster": "egress"}));
    configuration.insert("files".into(), json!({"cluster": "egress"}));
    if let Some(settings) = case.get("settings") {
        configuration.extend(settings.as_object().unwrap().clone());
    }
    let resources = match case.get("resources") {
        Some(resources) => resources.clone(),
        None => {
            let version = case.get("version").and_then(Value::as_str).unwrap_or("v1beta1");
            let mut spec = case["spec"].as_object().unwrap().clone();
            spec.entry("targetRefs").or_insert(json!([
                {"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": "a"}
            ]));
            json!([
                {
                    "apiVersion": format!("aigateway.envoyproxy.io/{version}"),
                    "kind": "BackendSecurityPolicy",
                    "metadata": {"name": "p"},
                    "spec": spec,
                },
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": "s"},
                    "stringData": {
                        "apiKey": "marker",
                        "client-id": "marker",
                        "client-secret": "marker",
                        "credentials": CREDENTIALS,
                        "service_account.json": USER,
                    },
                },
            ])
        }
    };
    configuration.insert("resources".into(), resources);
    Value::Object(configuration)
}

fn lines(problems: &[Problem], severity: Severity) -> Vec<String> {
    problems.iter().filter(|p| p.severity == severity).map(ToString::to_string).collect()
}

fn verify(case: &Case, form: &str, result: Result<Loaded, Vec<Problem>>) {
    let name = &case.name;
    let problems = match result {
        Ok(loaded) => {
            assert!(case.errors.is_empty(), "{name} ({form}) should be refused");
            loaded.warnings
        }
        Err(problems) => {
            let errors = lines(&problems, Severity::Error);
            assert_eq!(errors, case.errors, "{name} ({form})");
            assert!(!errors.is_empty(), "{name} ({form}) is refused without a reason");
            problems
        }
    };
    if case.errors.is_empty() {
        assert_eq!(lines(&problems, Severity::Warning), case.warnings, "{name} ({form})");
    }
    for problem in problems {
        assert!(!problem.to_string().contains("marker"), "{name} ({form}) shows a secret");
    }
}

#[test]
fn every_configuration_gets_exactly_its_errors_and_warnings() {
    let cases = cases();
    assert!(cases.len() > 100, "only {} cases were found", cases.len());
    for case in &cases {
        verify(case, "JSON", parse(case.text.as_bytes(), &|name| case.variable(name)));
    }
}

#[test]
fn a_struct_is_read_like_the_json_that_it_came_from() {
    for case in cases() {
        // A Struct is an object, keeps no order, and never has a key twice.
        let Some(configuration @ Value::Object(_)) = &case.configuration else { continue };
        if configuration.as_object().is_some_and(Map::is_empty) {
            continue;
        }
        let sorted = |problems: Vec<Problem>| {
            let mut lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            lines.sort();
            lines
        };
        let environment = |name: &str| case.variable(name);
        let json = parse(case.text.as_bytes(), &environment).map_err(sorted);
        let bytes = struct_bytes(configuration);
        let decoded = parse(&bytes, &environment).map_err(sorted);
        match (json, decoded) {
            (Ok(json), Ok(decoded)) => {
                assert_eq!(
                    format!("{:?}", json.config.policies),
                    format!("{:?}", decoded.config.policies)
                );
            }
            (json, decoded) => assert_eq!(json.err(), decoded.err(), "{}", case.name),
        }
    }
}

#[test]
fn check_says_the_same_as_the_filter() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (index, case) in cases().into_iter().enumerate() {
        // A file without a document, or with one that is no object, is no configuration at all.
        if case.with_check && matches!(case.configuration, Some(Value::Object(_))) {
            let file = folder.path().join(format!("{index}.json"));
            std::fs::write(&file, &case.text).unwrap();
            files.push((file, case));
        }
    }
    let (_, _, errors) = check(&files.iter().map(|(file, _)| file.as_path()).collect::<Vec<_>>());
    for (file, case) in files {
        let prefix = format!("{}: ", file.display());
        let found: Vec<&str> = errors
            .lines()
            .filter_map(|line| line.strip_prefix(prefix.as_str()))
            .filter(|line| !line.starts_with("warning: "))
            .collect();
        assert_eq!(found, case.errors, "{}", case.name);
    }
    assert!(!errors.contains("marker"), "a secret is shown");
}
