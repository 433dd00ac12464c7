//! What this version cannot do yet is refused by the filter, one line each.

#![cfg(test)]

use aigw_auth::engine::Filter;
use aigw_auth::policy::{Variable, parse};
use serde_json::{Value, json};

fn lines(spec: &Value, settings: Value) -> Vec<String> {
    let mut configuration = json!({"egress": {"cluster": "e"}, "files": {"cluster": "e"}});
    configuration.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let mut spec = spec.clone();
    spec["targetRefs"] = json!([
        {"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": "a"}
    ]);
    configuration["resources"] = json!([
        {"apiVersion": "aigateway.envoyproxy.io/v1beta1", "kind": "BackendSecurityPolicy",
         "metadata": {"name": "p"}, "spec": spec},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
         "stringData": {"apiKey": "marker", "client-secret": "marker"}},
    ]);
    let loaded = parse(configuration.to_string().as_bytes(), &|_| Variable::Unset).unwrap();
    match Filter::new(loaded.config) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_credential_of_the_request_is_refused_in_one_line() {
    let spec = json!({
        "type": "APIKey",
        "apiKey": {"secretRef": {"name": "s"}},
        "credentialOverride": {"fromRequestHeaders": {}},
    });
    assert_eq!(
        lines(&spec, json!({})),
        ["BackendSecurityPolicy default/p: spec.credentialOverride: this version cannot take a \
          credential from the request yet"]
    );
}

#[test]
fn what_can_be_obtained_is_taken() {
    let secret = json!({"name": "mounted"});
    for spec in [
        json!({"type": "APIKey", "apiKey": {"secretRef": secret}}),
        json!({"type": "AWSCredentials", "awsCredentials": {
            "region": "us-east-1", "credentialsFile": {"secretRef": secret}}}),
        json!({"type": "AzureCredentials", "azureCredentials": {
            "clientID": "c", "tenantID": "t", "clientSecretRef": secret}}),
        json!({"type": "AzureCredentials", "azureCredentials": {
            "clientID": "c", "tenantID": "t", "oidcExchangeToken": {"oidc": {
                "provider": {"issuer": "https://idp.example"},
                "clientIDRef": secret, "clientSecret": secret}}}}),
        json!({"type": "AWSCredentials", "awsCredentials": {
            "region": "us-east-1", "oidcExchangeToken": {"awsRoleArn": "r", "oidc": {
                "provider": {"issuer": "https://idp.example"},
                "clientIDRef": secret, "clientSecret": secret}}}}),
        json!({"type": "AWSCredentials", "awsCredentials": {"region": "us-east-1"}}),
        json!({"type": "GCPCredentials", "gcpCredentials": {
            "projectName": "p", "region": "r", "credentialsFile": {"secretRef": secret}}}),
        json!({"type": "GCPCredentials", "gcpCredentials": {"projectName": "p", "region": "r"}}),
    ] {
        assert_eq!(lines(&spec, json!({"secrets": {"mountPath": "/mnt"}})), [""; 0], "{spec}");
    }
}

#[test]
fn a_key_at_hand_is_taken() {
    let spec = json!({"type": "APIKey", "apiKey": {"secretRef": {"name": "s"}}});
    assert_eq!(lines(&spec, json!({})), [""; 0]);
}
