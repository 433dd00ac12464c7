//! Sources as the cases write them.

use crate::chain;
use aigw_auth::aws::role::Role;
use aigw_auth::credential::{AwsKeys, Secret};
use aigw_auth::policy::{
    Authorization, Container, Endpoint, FileLimits, IdentityService, Impersonation, Instance,
    ManagedIdentity, Sts,
};
use aigw_auth::source::{
    Assertion, AssumeRole, AzureManagedIdentity, Entra, FileForm, GivenKeys, GoogleFederation,
    GoogleToken, Input, InputValue, MountedFile, Oidc, Proof, Source, Step, WebIdentityRole,
};
use serde_json::Value;
use std::time::Duration;

/// A source, and what its inputs obtain.
pub(crate) struct Asker {
    pub(crate) source: Box<dyn Source>,
    inputs: Inputs,
}

type Inputs = Vec<Option<Secret>>;

impl Asker {
    pub(crate) fn new(value: &Value) -> Self {
        let mut inputs = Vec::new();
        Self { source: source(value, &mut inputs), inputs }
    }

    pub(crate) fn start(&self, now: Duration) -> Step {
        self.source.start(&|number| self.inputs[number].clone(), now)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(text).collect()
}

fn secret(value: &Value) -> Secret {
    Secret::line(value.as_str().unwrap()).unwrap()
}

/// An endpoint as a configuration has one, whose hosts may be called over `http` here.
fn endpoint(value: &Value) -> Endpoint {
    let text = value.as_str().unwrap();
    let host = text.split('/').nth(2).unwrap().to_owned();
    Endpoint::parse(text, &[host]).unwrap()
}

fn input(value: &Value, inputs: &mut Inputs) -> Input {
    let number = inputs.len();
    let line = |value: &Value| value.as_str().map(|text| Secret::line(text).unwrap());
    let value = match value.get("obtained") {
        Some(value) => {
            inputs.push(line(value));
            InputValue::Obtained(number)
        }
        None => {
            inputs.push(None);
            InputValue::Given(line(value).unwrap())
        }
    };
    Input { id: format!("input {number}"), value }
}

fn oidc(value: &Value, inputs: &mut Inputs) -> Oidc {
    let at = &value["tokenEndpoint"];
    Oidc {
        issuer: text(&value["issuer"]),
        token_endpoint: (!at.is_null()).then(|| endpoint(at)),
        client_id: input(&value["clientId"], inputs),
        client_secret: input(&value["clientSecret"], inputs),
        scopes: texts(&value["scopes"]),
        resources: texts(&value["resources"]),
        audience: value["audience"].as_str().map(str::to_owned),
        plaintext_hosts: texts(&value["plaintextHosts"]),
    }
}

fn assertion(value: &Value, inputs: &mut Inputs) -> Assertion {
    match value.get("tokenFile") {
        Some(path) => Assertion::TokenFile(text(path)),
        None => Assertion::Oidc(oidc(value, inputs)),
    }
}

fn sts(value: &Value) -> Sts {
    Sts { endpoint: endpoint(&value["sts"]), region: text(&value["region"]) }
}

fn role(value: &Value) -> Role {
    let tags = value["tags"].as_array().into_iter().flatten();
    Role {
        external_id: value["externalId"].as_str().map(str::to_owned),
        duration: value["duration"].as_u64().map(|seconds| seconds.try_into().unwrap()),
        tags: tags.map(|tag| (text(&tag[0]), text(&tag[1]))).collect(),
        ..Role::new(&text(&value["arn"]), &text(&value["session"]))
    }
}

fn given_keys(value: &Value) -> GivenKeys {
    let token = value["sessionToken"].as_str();
    GivenKeys(AwsKeys::new(&text(&value["keyId"]), &text(&value["secretKey"]), token).unwrap())
}

fn container(value: &Value) -> Container {
    let authorization = match &value["authorization"] {
        Value::Null => Authorization::None,
        Value::String(_) => Authorization::Given(secret(&value["authorization"])),
        file => Authorization::File(text(&file["file"])),
    };
    Container { endpoint: endpoint(&value["endpoint"]), authorization }
}

fn managed_identity(value: &Value) -> AzureManagedIdentity {
    let service = match value["header"] {
        Value::Null => IdentityService::Machine(endpoint(&value["endpoint"])),
        _ => IdentityService::AppService {
            endpoint: endpoint(&value["endpoint"]),
            header: secret(&value["header"]),
        },
    };
    let identity = match &value["identity"] {
        Value::Null => ManagedIdentity::System,
        identity => match (&identity["clientId"], &identity["objectId"]) {
            (Value::String(id), _) => ManagedIdentity::ClientId(id.clone()),
            (_, Value::String(id)) => ManagedIdentity::ObjectId(id.clone()),
            _ => ManagedIdentity::ResourceId(text(&identity["resourceId"])),
        },
    };
    AzureManagedIdentity { service, identity, resource: text(&value["resource"]) }
}

fn file(value: &Value) -> MountedFile {
    MountedFile {
        path: text(&value["path"]),
        subject: text(&value["subject"]),
        form: match value["profile"].as_str() {
            Some(profile) => FileForm::AwsKeys { profile: profile.to_owned() },
            None => FileForm::Line,
        },
    }
}

/// A credentials file of Google in a Secret, named as the engine names it.
fn google_file(value: &Value, inputs: &mut Inputs) -> Input {
    let text = value["file"].as_str().map_or_else(|| value["file"].to_string(), str::to_owned);
    let text = Secret::document(&text).unwrap();
    let name = "Secret default/g, key service_account.json";
    let (origin, given) = match value["mounted"].as_str() {
        Some(path) => {
            inputs.push(Some(text));
            (path, InputValue::Obtained(inputs.len() - 1))
        }
        None => ("", InputValue::Given(text)),
    };
    Input { id: format!("{name} {origin}"), value: given }
}

fn impersonation(value: &Value) -> Impersonation {
    Impersonation {
        endpoint: endpoint(&value["endpoint"]),
        delegates: texts(&value["delegates"]),
        lifetime: value["lifetime"].as_u64().unwrap().try_into().unwrap(),
    }
}

fn google(value: &Value, inputs: &mut Inputs) -> GoogleToken {
    let limits = FileLimits {
        mount_path: value["mountPath"].as_str().map(str::to_owned),
        plaintext_hosts: value["plaintextHosts"]
            .as_array()
            .map_or_else(Vec::new, |hosts| hosts.iter().map(text).collect()),
    };
    match value["from"].as_str().unwrap() {
        "secret" => GoogleToken::Secret(google_file(value, inputs), limits),
        "path" => GoogleToken::File(text(&value["path"]), limits),
        "federation" => GoogleToken::Federation(Box::new(GoogleFederation {
            token_url: endpoint(&value["tokenUrl"]),
            audience: text(&value["audience"]),
            subject: assertion(&value["subject"], inputs),
            impersonation: value.get("impersonation").map(impersonation),
        })),
        "metadata" => GoogleToken::Metadata(endpoint(&value["root"])),
        from => panic!("{from}"),
    }
}

fn source(value: &Value, inputs: &mut Inputs) -> Box<dyn Source> {
    match value["kind"].as_str().unwrap() {
        "oidc" => Box::new(oidc(value, inputs)),
        "entra" => Box::new(Entra {
            token_endpoint: endpoint(&value["tokenEndpoint"]),
            client_id: text(&value["clientId"]),
            scope: text(&value["scope"]),
            proof: match value.get("assertion") {
                Some(value) => Proof::Assertion(assertion(value, inputs)),
                None => Proof::Secret(input(&value["secret"], inputs)),
            },
        }),
        "file" => Box::new(file(value)),
        "given keys" => Box::new(given_keys(value)),
        "web identity" => Box::new(WebIdentityRole {
            sts: sts(value),
            role: role(&value["role"]),
            token: assertion(&value["token"], inputs),
        }),
        "assume role" => Box::new(AssumeRole {
            sts: sts(value),
            role: role(&value["role"]),
            keys: source(&value["keys"], inputs),
        }),
        "container" => Box::new(container(value)),
        "instance" => Box::new(Instance {
            endpoint: endpoint(&value["endpoint"]),
            version_1: value["version1"].as_bool().unwrap(),
        }),
        "chain" => {
            let environment = value["environment"].as_object().unwrap();
            Box::new(chain::chain_of(chain::credentials(environment, &value["own"]).unwrap()))
        }
        "managed identity" => Box::new(managed_identity(value)),
        "google" => Box::new(google(value, inputs)),
        kind => panic!("{kind}"),
    }
}

/// The secrets of a source, in clear: they have these names wherever they are.
pub(crate) fn secrets(source: &Value) -> Vec<String> {
    let mut names = vec![
        "clientSecret",
        "secret",
        "header",
        "authorization",
        "keyId",
        "secretKey",
        "sessionToken",
        "client_secret",
        "refresh_token",
        "private_key",
    ];
    if source["kind"] == "oidc" {
        names.push("clientId");
    }
    let mut found = Vec::new();
    collect_named(source, &names, &mut found);
    // Of a key in PEM each line is one.
    let lines = found.iter().filter(|text| text.starts_with("-----"));
    let lines = lines.flat_map(|pem| pem.split(['\r', '\n', '\\'])).map(str::trim);
    let lines: Vec<_> = lines.filter(|line| line.len() > 8).map(str::to_owned).collect();
    found.extend(lines);
    found
}

fn collect_named(value: &Value, names: &[&str], found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_named(item, names, found)),
        Value::Object(fields) => {
            for (name, inner) in fields {
                match (names.contains(&name.as_str()), inner, inner.get("obtained")) {
                    (true, Value::String(text), _) | (true, _, Some(Value::String(text))) => {
                        found.push(text.clone());
                    }
                    _ => collect_named(inner, names, found),
                }
            }
        }
        _ => {}
    }
}
