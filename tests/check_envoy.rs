//! Every case of `tests/check/envoy`: what `aigw-auth check` says of an Envoy configuration.

#![cfg(test)]

mod common;

use common::check;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const TYPES: &str = "type.googleapis.com/envoy.extensions";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

fn cases() -> Vec<Value> {
    let fields = [
        "case", "errors", "warnings", "text", "settings", "plugin", "place", "order", "clusters",
        "routes", "host", "table", "manager", "listener", "router",
    ];
    let mut cases: Vec<Value> = Vec::new();
    for file in yaml_files("tests/check/envoy") {
        let text = std::fs::read_to_string(&file).unwrap();
        let found: Vec<Value> = serde_saphyr::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        cases.extend(found);
    }
    for case in &cases {
        for field in case.as_object().unwrap().keys() {
            assert!(fields.contains(&field.as_str()), "{}: {field}", case["case"]);
        }
    }
    cases
}

/// Puts fields of `changes` in place of those of `object`; `null` takes one away.
fn change(mut object: Value, changes: Option<&Value>) -> Value {
    let fields = object.as_object_mut().unwrap();
    for (name, value) in changes.and_then(Value::as_object).into_iter().flatten() {
        match value {
            Value::Null => fields.remove(name),
            value => fields.insert(name.clone(), value.clone()),
        };
    }
    object
}

/// The wasm filter of a case.
fn filter(case: &Value) -> Value {
    let settings = json!({
        "resources": [{
            "apiVersion": "aigateway.envoyproxy.io/v1beta1",
            "kind": "BackendSecurityPolicy",
            "metadata": {"name": "openai"},
            "spec": {
                "targetRefs": [
                    {"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": "openai"}
                ],
                "type": "APIKey",
                "apiKey": {"secretRef": {"name": "openai"}},
            },
        }],
        "secrets": {
            "env": [{"name": "openai", "key": "apiKey", "variable": "AIGW_AUTH_TEST_UNSET"}],
        },
    });
    let plugin = json!({
        "name": "aigw-auth",
        "fail_open": false,
        "allow_on_headers_stop_iteration": true,
        "vm_config": {
            "vm_id": "aigw-auth",
            "environment_variables": {"host_env_keys": ["AIGW_AUTH_TEST_UNSET"]},
        },
        "configuration": {
            "@type": "type.googleapis.com/google.protobuf.Struct",
            "value": change(settings, case.get("settings")),
        },
    });
    json!({
        "name": "envoy.filters.http.wasm",
        "typed_config": {
            "@type": format!("{TYPES}.filters.http.wasm.v3.Wasm"),
            "config": change(plugin, case.get("plugin")),
        },
    })
}

/// A chain: the words of `order`, or the filter, if there is one, and the end.
fn chain(order: Option<&Value>, filter: Option<Value>, end: &Value) -> Value {
    let words = order.map(|order| serde_json::from_value::<Vec<String>>(order.clone()).unwrap());
    let words = words.unwrap_or_else(|| vec!["filter".to_owned(), "end".to_owned()]);
    let part = |word: &String| if word == "filter" { filter.clone() } else { Some(end.clone()) };
    words.iter().filter_map(part).collect()
}

fn codec() -> Value {
    json!({
        "name": "envoy.filters.http.upstream_codec",
        "typed_config": {"@type": format!("{TYPES}.filters.http.upstream_codec.v3.UpstreamCodec")},
    })
}

fn cluster(case: &Value, name: &str, settings: &Value) -> Value {
    let mut cluster = change(json!({"name": name}), Some(settings));
    let fields = cluster.as_object_mut().unwrap();
    let wanted = fields.remove("filter").unwrap_or(json!(true)) == true;
    let order = fields.remove("order");
    let mut own = filter(case);
    if let Some(disabled) = fields.remove("disabled") {
        own["disabled"] = disabled;
    }
    let in_clusters = case.get("place").is_none_or(|place| place == "clusters");
    if order.is_some() || (in_clusters && wanted) {
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        fields.insert(
            "typed_extension_protocol_options".to_owned(),
            json!({options: {
                "@type": format!("type.googleapis.com/{options}"),
                "explicit_http_config": {"http_protocol_options": {}},
                "http_filters": chain(order.as_ref(), Some(own), &codec()),
            }}),
        );
    }
    cluster
}

fn assemble(case: &Value) -> Value {
    let place = case.get("place").map_or("clusters", |place| place.as_str().unwrap());
    let mut router = json!({"@type": format!("{TYPES}.filters.http.router.v3.Router")});
    if place == "router" {
        router["upstream_http_filters"] = chain(None, Some(filter(case)), &codec());
    }
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": change(router, case.get("router")),
    });
    let route = json!({"match": {"prefix": "/openai/"}, "route": {"cluster": "openai"}});
    let host = json!({
        "name": "providers",
        "domains": ["*"],
        "routes": case.get("routes").cloned().unwrap_or_else(|| json!([route])),
    });
    let table = json!({"name": "table", "virtual_hosts": [change(host, case.get("host"))]});
    let in_listener = (place == "listener").then(|| filter(case));
    let manager = json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "gateway",
        "route_config": change(table, case.get("table")),
        "http_filters": chain(case.get("order"), in_listener, &router),
    });
    let manager = change(manager, case.get("manager"));
    let listener = json!({
        "name": "gateway",
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    });
    let openai = json!({"openai": {}});
    let clusters = case.get("clusters").unwrap_or(&openai).as_object().unwrap();
    json!({"static_resources": {
        "listeners": [change(listener, case.get("listener"))],
        "clusters": clusters.iter().map(|(name, c)| cluster(case, name, c)).collect::<Value>(),
    }})
}

#[test]
fn every_envoy_configuration_gets_exactly_its_errors_and_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let cases = cases();
    assert!(cases.len() > 50, "only {} cases were found", cases.len());
    let mut files = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let text = case.get("text").map(|text| text.as_str().unwrap().to_owned());
        let file = folder.path().join(format!("{index}.yaml"));
        std::fs::write(&file, text.unwrap_or_else(|| assemble(case).to_string())).unwrap();
        files.push(file);
    }
    let (_, output, errors) = check(&files);
    for (file, case) in files.iter().zip(&cases) {
        let prefix = format!("{}: ", file.display());
        let mut found: Vec<_> = errors.lines().filter_map(|l| l.strip_prefix(&prefix)).collect();
        // What this version cannot do yet is no matter of an Envoy configuration.
        found.retain(|line| !line.contains("this version cannot"));
        let is_warning = |line: &&str| line.starts_with("warning: ");
        let (warnings, errors): (Vec<_>, Vec<_>) = found.into_iter().partition(is_warning);
        let warnings: Vec<_> = warnings.iter().map(|l| &l["warning: ".len()..]).collect();
        let lines = |name: &str| case.get(name).cloned().unwrap_or_else(|| json!([]));
        assert_eq!(json!(errors), lines("errors"), "{}", case["case"]);
        assert_eq!(json!(warnings), lines("warnings"), "{}", case["case"]);
        assert_eq!(output.contains(&format!("{prefix}ok")), errors.is_empty(), "{}", case["case"]);
    }
    assert!(!errors.contains("marker"), "a secret is shown");
}

#[test]
fn the_demonstration_and_the_examples_have_no_error() {
    let demonstration = root().join("envoy.yaml");
    let (good, output, errors) = check(&[&demonstration]);
    assert!(good, "{errors}");
    assert!(output.ends_with("envoy.yaml: ok, policies: 3, backends: 3\n"), "{output}");
    // Its keys are inline, and worth nothing.
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains("holds Secrets, which Envoy's config_dump shows"), "{errors}");
    let examples = yaml_files("examples");
    let (good, _, errors) = check(&examples);
    assert!(good && examples.len() > 2 && errors.is_empty(), "{errors}");
}

#[test]
fn a_finding_has_its_object_and_its_field_for_machines_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("envoy.json");
    let case = json!({"plugin": {"fail_open": true}});
    std::fs::write(&file, assemble(&case).to_string()).unwrap();
    let (good, output, _) = check(&[Path::new("--format"), Path::new("json"), &file]);
    assert!(!good);
    let report: Value = serde_json::from_str(&output).unwrap();
    let problem = &report["problems"][0];
    assert_eq!(problem["file"], file.display().to_string());
    assert_eq!(problem["severity"], "error");
    assert_eq!(problem["object"], "cluster openai");
    assert_eq!(problem["field"], "http_filters[0].typed_config.config.fail_open");
}

#[test]
fn anchors_are_followed_however_many_clusters_share_a_filter() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("envoy.yaml");
    let case = json!({"plugin": {"vm_config": {"vm_id": "a"}}});
    let shared = cluster(&case, "openai", &json!({}))["typed_extension_protocol_options"].clone();
    let mut text = format!(
        "static_resources:\n  clusters:\n  - {{name: openai, typed_extension_protocol_options: &a {shared}}}\n"
    );
    for index in 0..500 {
        text += &format!("  - {{name: c{index}, typed_extension_protocol_options: *a}}\n");
    }
    std::fs::write(&file, text).unwrap();
    let (good, _, errors) = check(&[&file]);
    assert!(!good);
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains(": cluster openai: http_filters[0].typed_config.config."), "{errors}");
}
