//! Every case of `tests/check/envoy`: what `aigw-auth check` says of an Envoy configuration.

#![cfg(test)]

#[path = "check/assemble.rs"]
mod assemble;
mod common;

use assemble::{assemble, cluster, discovery};
use common::check;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

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
        "case",
        "errors",
        "warnings",
        "text",
        "settings",
        "plugin",
        "place",
        "order",
        "upstream_order",
        "clusters",
        "routes",
        "host",
        "table",
        "manager",
        "listener",
        "router",
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

/// What `check` says of files of one call, without what this version cannot do yet: that is no matter
/// of an Envoy configuration.
fn lines_about(files: &[PathBuf]) -> (String, Vec<String>) {
    let (_, output, errors) = check(files);
    assert!(!errors.contains("marker"), "a secret is shown");
    let lines = errors.lines().filter(|line| !line.contains("this version cannot"));
    (output, lines.map(str::to_owned).collect())
}

#[test]
fn every_envoy_configuration_gets_exactly_its_errors_and_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let cases = cases();
    assert!(cases.len() > 50, "only {} cases were found", cases.len());
    let file = folder.path().join("envoy.yaml");
    let prefix = format!("{}: ", file.display());
    for case in &cases {
        let text = case.get("text").map(|text| text.as_str().unwrap().to_owned());
        std::fs::write(&file, text.unwrap_or_else(|| assemble(case).to_string())).unwrap();
        let (output, found) = lines_about(std::slice::from_ref(&file));
        let found = found.iter().map(|line| line.strip_prefix(&prefix).unwrap());
        let is_warning = |line: &&str| line.starts_with("warning: ");
        let (warnings, errors): (Vec<_>, Vec<_>) = found.partition(is_warning);
        let warnings: Vec<_> = warnings.iter().map(|l| &l["warning: ".len()..]).collect();
        let lines = |name: &str| case.get(name).cloned().unwrap_or_else(|| json!([]));
        assert_eq!(json!(errors), lines("errors"), "{}", case["case"]);
        assert_eq!(json!(warnings), lines("warnings"), "{}", case["case"]);
        assert_eq!(output.contains(&format!("{prefix}ok")), errors.is_empty(), "{}", case["case"]);
    }
}

#[test]
fn files_of_listeners_and_clusters_are_judged_like_the_bootstrap_that_has_both() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for case in cases().iter().filter(|case| case.get("text").is_none()) {
        let bootstrap = assemble(case);
        let resources = &bootstrap["static_resources"];
        let listeners = discovery(&resources["listeners"], "listener.v3.Listener");
        let clusters = discovery(&resources["clusters"], "cluster.v3.Cluster");
        for (name, text) in
            [("envoy.yaml", bootstrap.to_string()), ("lds.yaml", listeners), ("cds.yaml", clusters)]
        {
            std::fs::write(file(name), text).unwrap();
        }
        let said_of = |names: &[&str]| {
            let files: Vec<_> = names.iter().map(|name| file(name)).collect();
            let (output, lines) = lines_about(&files);
            let mut said: Vec<String> = Vec::new();
            for line in &lines {
                let (file, line) = line.split_once(": ").unwrap();
                let subject = line.strip_prefix("warning: ").unwrap_or(line);
                let name = file.rsplit('/').next().unwrap();
                match subject.split(' ').next().unwrap() {
                    "cluster" if names.len() > 1 => assert_eq!(name, "cds.yaml", "{line}"),
                    "listener" | "route" | "virtual" if names.len() > 1 => {
                        assert_eq!(name, "lds.yaml", "{line}");
                    }
                    _ => {}
                }
                said.push(line.to_owned());
            }
            said.sort();
            (said, output.lines().count(), output.contains(": ok, "))
        };
        assert_eq!(
            said_of(&["envoy.yaml"]),
            said_of(&["lds.yaml", "cds.yaml"]),
            "{}",
            case["case"]
        );
        assert_eq!(
            said_of(&["envoy.yaml"]),
            said_of(&["cds.yaml", "lds.yaml"]),
            "{}",
            case["case"]
        );
    }
}

#[test]
fn a_bootstrap_and_the_files_of_its_discovery_services_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let resources = assemble(&json!({}))["static_resources"].clone();
    let listeners = json!({"static_resources": {"listeners": resources["listeners"]}}).to_string();
    let bootstrap = write("envoy.yaml", listeners);
    let empty = write("dynamic.yaml", json!({"dynamic_resources": {}}).to_string());
    let clusters = write("cds.yaml", discovery(&resources["clusters"], "cluster.v3.Cluster"));
    let lone = |file: &PathBuf| format!("{}: holds no aigw-auth filter\n", file.display());
    assert_eq!(check(&[&bootstrap]).2, lone(&bootstrap));
    for file in [&bootstrap, &empty] {
        let (good, output, errors) = check(&[file, &clusters]);
        assert!(good, "{errors}");
        let files = format!("{}, {}", file.display(), clusters.display());
        assert_eq!(output, format!("{files}: ok, policies: 1, backends: 1\n"));
    }
    // It cannot be told whose the clusters are.
    let (good, output, errors) = check(&[&bootstrap, &clusters, &empty]);
    assert!(!good);
    assert_eq!(errors, lone(&bootstrap) + &lone(&empty));
    assert_eq!(output, format!("{}: ok, policies: 1, backends: 1\n", clusters.display()));
}

#[test]
fn the_demonstration_and_the_examples_have_no_error() {
    let demonstration = root().join("envoy.yaml");
    let (good, output, errors) = check(&[&demonstration]);
    assert!(good, "{errors}");
    assert!(output.ends_with("envoy.yaml: ok, policies: 6, backends: 6\n"), "{output}");
    // Its keys are inline, and worth nothing.
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains("holds Secrets, which Envoy's config_dump shows"), "{errors}");
    let examples = yaml_files("examples");
    let (good, output, errors) = check(&examples);
    assert!(good && examples.len() > 2 && errors.is_empty(), "{errors}");
    let lines = examples
        .iter()
        .map(|example| format!("{}: ok, policies: 1, backends: 1\n", example.display()));
    assert_eq!(output, lines.collect::<String>());
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
