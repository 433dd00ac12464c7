//! `aigw-auth check` as its users call it.

#![cfg(test)]

mod common;

use common::{check, check_with_input};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const POLICY: &str = "
apiVersion: aigateway.envoyproxy.io/v1beta1
kind: BackendSecurityPolicy
metadata: {name: openai}
spec:
  type: APIKey
  targetRefs: [{group: aigateway.envoyproxy.io, kind: AIServiceBackend, name: openai}]
  apiKey: {secretRef: {name: openai}}
";
const SECRET: &str = "
apiVersion: v1
kind: Secret
metadata: {name: openai}
stringData: {apiKey: marker}
";

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

#[test]
fn a_stream_of_manifests_that_belong_together_passes() {
    let files = Files::new();
    let stream = files.write("all.yaml", &format!("# a comment\n---{POLICY}---{SECRET}---\n"));
    let (good, output, errors) = check(&[&stream]);
    assert_eq!((good, errors.as_str()), (true, ""));
    assert_eq!(output, format!("{}: ok, policies: 1, backends: 1\n", stream.display()));
}

#[test]
fn a_policy_and_its_secret_may_be_in_two_files() {
    let files = Files::new();
    let policy = files.write("policy.yaml", POLICY);
    let secret = files.write("secret.yaml", SECRET);
    assert!(check(&[&policy, &secret]).0);
    let (good, _, errors) = check(&[&policy]);
    assert!(!good);
    assert_eq!(
        errors,
        format!(
            "{}: BackendSecurityPolicy default/openai: spec.apiKey.secretRef: Secret \
             default/openai, key apiKey, is neither in resources nor in secrets.env, and there is no \
             secrets.mountPath\n",
            policy.display()
        )
    );
}

#[test]
fn an_error_names_the_file_of_its_object() {
    let files = Files::new();
    let policy = files.write("policy.yaml", POLICY);
    let secret = files.write("secret.yaml", &SECRET.replace("marker", "\"a\\nb\""));
    let (good, _, errors) = check(&[&policy, &secret]);
    assert!(!good);
    assert!(
        errors.starts_with(&format!("{}: Secret default/openai: ", secret.display())),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 1);
}

#[test]
fn standard_input_is_a_dash() {
    let (good, output, _) = check_with_input(&["-"], format!("{POLICY}---{SECRET}").as_bytes());
    assert!(good);
    assert_eq!(output, "-: ok, policies: 1, backends: 1\n");
    let (good, _, errors) = check_with_input(&["-"], b"");
    assert!(!good);
    assert_eq!(errors, "-: holds no document\n");
}

#[test]
fn a_plugin_configuration_in_yaml_is_one() {
    let files = Files::new();
    let indent = |text: &str| text.trim().replace('\n', "\n  ");
    let plugin = files.write(
        "plugin.yaml",
        &format!("position: Listener\nresources:\n- {}\n- {}\n", indent(POLICY), indent(SECRET)),
    );
    let (good, _, errors) = check(&[&plugin]);
    assert_eq!((good, errors.as_str()), (true, ""));
}

#[test]
fn keys_that_occur_twice_in_yaml_are_errors() {
    let files = Files::new();
    let policy = files.write("policy.yaml", &format!("{POLICY}  type: AzureAPIKey\n---{SECRET}"));
    let (good, _, errors) = check(&[&policy]);
    assert!(!good);
    assert!(
        errors.contains("BackendSecurityPolicy default/openai: spec.type: occurs twice"),
        "{errors}"
    );
}

#[test]
fn what_the_filter_cannot_do_yet_is_a_warning() {
    let files = Files::new();
    let policy = POLICY.replace(
        "apiKey: {secretRef: {name: openai}}",
        "apiKey: {secretRef: {name: openai}}\n  credentialOverride: {fromRequestHeaders: {}}",
    );
    let file = files.write("override.yaml", &format!("{policy}---{SECRET}"));
    let (good, _, errors) = check(&[&file]);
    assert!(good);
    assert_eq!(
        errors,
        format!(
            "{}: warning: BackendSecurityPolicy default/openai: spec.credentialOverride: this \
             version cannot take a credential from the request yet\n",
            file.display()
        )
    );
}

#[test]
fn bare_manifests_of_every_type_pass_without_the_clusters_that_they_will_need() {
    let files = Files::new();
    let oidc =
        "{provider: {issuer: \"https://idp.example\"}, clientID: c, clientSecret: {name: openai}}";
    for (kind, field, value) in [
        ("APIKey", "apiKey", "{secretRef: {name: openai}}".to_owned()),
        ("AnthropicAPIKey", "anthropicAPIKey", "{secretRef: {name: openai}}".to_owned()),
        ("AzureAPIKey", "azureAPIKey", "{secretRef: {name: openai}}".to_owned()),
        ("AWSCredentials", "awsCredentials", "{region: us-east-1}".to_owned()),
        (
            "AWSCredentials",
            "awsCredentials",
            format!("{{region: us-east-1, oidcExchangeToken: {{awsRoleArn: r, oidc: {oidc}}}}}"),
        ),
        (
            "AzureCredentials",
            "azureCredentials",
            "{clientID: c, tenantID: t, clientSecretRef: {name: openai}}".to_owned(),
        ),
        ("GCPCredentials", "gcpCredentials", "{projectName: p, region: r}".to_owned()),
    ] {
        let policy = POLICY
            .replace("type: APIKey", &format!("type: {kind}"))
            .replace("apiKey: {secretRef: {name: openai}}", &format!("{field}: {value}"));
        let secret = SECRET.replace("apiKey: marker", "apiKey: marker, client-secret: marker");
        let file = files.write("bare.yaml", &format!("{policy}---{secret}"));
        let (good, output, errors) = check(&[&file]);
        assert!(good, "{kind}: {errors}");
        assert!(output.contains("ok, policies: 1"), "{output}");
    }
}

#[test]
fn a_stream_of_thousands_of_documents_is_read() {
    let files = Files::new();
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b}\n---\n";
    let file = files.write("all.yaml", &format!("{}{POLICY}---{SECRET}", other.repeat(4000)));
    let (good, _, errors) = check(&[&file]);
    assert!(good, "{errors}");
}

#[test]
fn a_text_that_is_nested_too_deeply_is_refused_at_its_place() {
    let files = Files::new();
    let json = files.write("deep.json", &format!("{{\"a\": {}", "[".repeat(10_000)));
    let yaml = files.write("deep.yaml", &format!("a: {}", "[".repeat(10_000)));
    let (good, _, errors) = check(&[&json, &yaml]);
    assert!(!good);
    let lines: Vec<_> = errors.lines().collect();
    assert!(lines[0].contains("deep.json: is nested too deeply: line 1"), "{errors}");
    assert!(lines[1].contains("deep.yaml: is not YAML: line 1 column"), "{errors}");
}

#[test]
fn a_reader_that_stops_reading_changes_nothing_but_what_it_sees() {
    let files = Files::new();
    let file = files.write("policy.yaml", POLICY);
    let mut child = Command::new(env!("CARGO_BIN_EXE_aigw-auth"))
        .args(["check", "--format", "json"])
        .arg(&file)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn variables_that_are_set_elsewhere_are_taken_to_be_set() {
    let files = Files::new();
    let text = format!(
        "secrets: {{env: [{{name: openai, key: apiKey, variable: AIGW_AUTH_TEST_UNSET}}]}}\n\
         resources:\n- {}\n",
        POLICY.trim().replace('\n', "\n  ")
    );
    let file = files.write("plugin.yaml", &text);
    assert!(check(&[&file]).0);
    // One that is set here has to hold a key.
    let run = |value: &str| {
        Command::new(env!("CARGO_BIN_EXE_aigw-auth"))
            .args(["check".as_ref(), file.as_os_str()])
            .env("AIGW_AUTH_TEST_UNSET", value)
            .output()
            .unwrap()
    };
    assert!(run("key").status.success());
    let output = run("two\nlines");
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("secrets.env[0].variable: AIGW_AUTH_TEST_UNSET must not"), "{errors}");
}

#[test]
fn json_is_for_machines() {
    let files = Files::new();
    let policy = files.write("policy.yaml", &POLICY.replace("APIKey", "Key"));
    let (good, output, errors) =
        check(&[Path::new("--format"), Path::new("json"), policy.as_path()]);
    assert_eq!((good, errors.as_str()), (false, ""));
    let report: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(report["ok"], false);
    let problem = &report["problems"][0];
    assert_eq!(problem["file"], policy.display().to_string());
    assert_eq!(problem["severity"], "error");
    assert_eq!(problem["object"], "BackendSecurityPolicy default/openai");
    assert_eq!(problem["field"], "spec.type");
    assert!(problem["message"].as_str().unwrap().starts_with("Unsupported value: \"Key\""));
}

#[test]
fn files_that_cannot_be_checked_are_errors() {
    let files = Files::new();
    let missing = files.0.path().join("missing.yaml");
    let envoy = files.write("envoy.yaml", "static_resources: {}\n");
    let latin = files.0.path().join("latin.yaml");
    std::fs::write(&latin, b"kind: \xe9").unwrap();
    let good = files.write("good.yaml", &format!("{POLICY}---{SECRET}"));
    let (success, output, errors) = check(&[&missing, &envoy, &latin, &good]);
    assert!(!success);
    let lines: Vec<_> = errors.lines().collect();
    assert_eq!(lines.len(), 3, "{errors}");
    assert!(lines[0].contains("missing.yaml: cannot be read: "), "{errors}");
    assert!(lines[1].contains("envoy.yaml: holds no aigw-auth filter"), "{errors}");
    assert!(lines[2].contains("latin.yaml: is not UTF-8 text"), "{errors}");
    // The others are checked all the same.
    assert!(output.contains("good.yaml: ok"), "{output}");
}

#[test]
fn help_says_what_a_file_is_and_what_the_exit_status_means() {
    let (good, output, _) = check(&["--help"]);
    assert!(good);
    for part in ["FILE", "--format", "Exit status: 0", "standard error", "kubectl"] {
        assert!(output.contains(part), "{part} is missing:\n{output}");
    }
}
