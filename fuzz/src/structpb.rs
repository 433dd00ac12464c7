//! Any `google.protobuf.Struct` as the plugin configuration.

use super::judge::{environment, judge, shows_secret};
use super::protobuf::struct_bytes;
use super::source::Source;
use aigw_auth::policy::{Loaded, Problem, parse};
use prost::Message;
use prost_types::Struct;
use prost_types::value::Kind;
use serde_json::{Map, Value};

/// Bytes that are a Struct to prost are one to us. What is said of a Struct is what is said of the
/// same JSON, be it the input itself, the Struct that the input is, or one made up from it.
pub fn run(bytes: &[u8]) {
    if shows_secret(&String::from_utf8_lossy(bytes)) {
        return;
    }
    judge(parse(bytes, &environment));
    if let Ok(value @ Value::Object(_)) = serde_json::from_slice(bytes) {
        same(&value);
    }
    if let Ok(message) = Struct::decode(bytes) {
        let again = message.encode_to_vec();
        if let Err(problems) = parse(&again, &environment) {
            assert!(problems.iter().all(is_about_content), "prost reads it: {problems:?}");
        }
        if let Some(value) = json(&Kind::StructValue(message)) {
            same(&value);
        }
    }
    same(&made_up(&mut Source(bytes)));
}

fn is_about_content(problem: &Problem) -> bool {
    !problem.message.contains("google.protobuf.Struct")
}

/// As JSON and as a Struct a configuration is taken alike, or refused alike.
fn same(value: &Value) {
    let text = value.to_string();
    let json = outcome(parse(text.as_bytes(), &environment));
    let message = struct_bytes(value);
    // Nothing at all is empty, not `{}`.
    if !message.is_empty() {
        assert_eq!(outcome(parse(&message, &environment)), json, "{text}");
    }
}

/// What can be seen of a result, whatever the order of the document.
fn outcome(result: Result<Loaded, Vec<Problem>>) -> (String, Vec<String>) {
    let (config, problems) = match result {
        Ok(Loaded { config, warnings }) => {
            (format!("{:?} {:?}", config.settings, config.policies), warnings)
        }
        Err(problems) => (String::new(), problems),
    };
    let mut lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    lines.sort();
    (config, lines)
}

/// The same as JSON, which has no infinite numbers.
fn json(kind: &Kind) -> Option<Value> {
    let unboxed = |value: &prost_types::Value| value.kind.as_ref().map_or(Some(Value::Null), json);
    Some(match kind {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(flag) => Value::Bool(*flag),
        Kind::NumberValue(number) => Value::Number(serde_json::Number::from_f64(*number)?),
        Kind::StringValue(text) => Value::String(text.clone()),
        Kind::ListValue(list) => {
            Value::Array(list.values.iter().map(unboxed).collect::<Option<_>>()?)
        }
        Kind::StructValue(message) => {
            let fields = message.fields.iter();
            let fields = fields.map(|(key, value)| Some((key.clone(), unboxed(value)?)));
            Value::Object(fields.collect::<Option<Map<_, _>>>()?)
        }
    })
}

/// A configuration made up from bytes. Its fields have names that mean something, mostly where they
/// mean it.
fn made_up(source: &mut Source<'_>) -> Value {
    object(source, TOP, 0)
}

/// What stands in a place: an object with these fields, or a list of such, or a value.
#[derive(Clone, Copy)]
enum Form {
    Fields(&'static [(&'static str, Self)]),
    /// An object whose keys are the user's.
    Keys(&'static Self),
    Items(&'static Self),
    Words(&'static [&'static str]),
    Flag,
}

use Form::{Fields, Flag, Items, Keys, Words};

const NAME: Form = Words(&["a", "s", "p", "default/a", "default/p", "team", "", "A/b", "\n"]);
const ANY: Form = Words(&["x", "", "5s", "https://a.example", "http://169.254.169.254/", "-"]);
const TOP: &[(&str, Form)] = &[
    ("resources", Items(&Fields(RESOURCE))),
    (
        "secrets",
        Fields(&[("env", Items(&Fields(ENVIRONMENT))), ("mountPath", Words(&["/m", "m", "/"]))]),
    ),
    ("files", Fields(&[("cluster", NAME)])),
    (
        "backend",
        Fields(&[
            ("property", Items(&NAME)),
            ("names", Keys(&NAME)),
            ("hosts", Keys(&Words(&["a.example", "[::1]:80", "a:b"]))),
        ]),
    ),
    (
        "egress",
        Fields(&[
            ("cluster", NAME),
            ("plaintextCluster", NAME),
            ("clusters", Keys(&NAME)),
            ("plaintextHosts", Items(&Words(&["a.example", "a:b:c"]))),
            ("timeout", ANY),
        ]),
    ),
    ("position", Words(&["Upstream", "Listener", "listener"])),
    ("clientCredentials", Words(&["Strip", "Keep", ""])),
    ("unmatchedBackend", Words(&["Deny", "Allow", "Den"])),
    ("credentialWait", Words(&["5s", "61s", "5"])),
    (
        "policies",
        Keys(&Fields(&[
            ("azureIdentity", Words(&["WorkloadIdentity", "ManagedIdentity", ""])),
            (
                "managedIdentity",
                Fields(&[("clientID", NAME), ("objectID", NAME), ("resourceID", NAME)]),
            ),
        ])),
    ),
];
const ENVIRONMENT: &[(&str, Form)] = &[
    ("name", NAME),
    ("namespace", NAME),
    ("key", Words(&["apiKey", "credentials", "client-secret"])),
    ("variable", Words(&["S", "E", "L", "O", "U", "a=b"])),
];
const RESOURCE: &[(&str, Form)] = &[
    ("kind", Words(&["BackendSecurityPolicy", "Secret", "List", "AIServiceBackend"])),
    ("spec", Fields(SPEC)),
    ("metadata", Fields(&[("name", NAME), ("namespace", NAME)])),
    (
        "apiVersion",
        Words(&[
            "aigateway.envoyproxy.io/v1beta1",
            "aigateway.envoyproxy.io/v1alpha1",
            "v1",
            "v2/x",
        ]),
    ),
    ("stringData", Fields(SECRET)),
    ("data", Fields(SECRET)),
    ("items", Items(&Fields(&[("kind", Words(&["Secret", "List"])), ("items", Items(&ANY))]))),
];
const SECRET: &[(&str, Form)] = &[
    ("apiKey", ANY),
    ("client-secret", ANY),
    ("client-id", ANY),
    ("credentials", ANY),
    ("service_account.json", ANY),
];
const SPEC: &[(&str, Form)] = &[
    (
        "type",
        Words(&[
            "APIKey",
            "AnthropicAPIKey",
            "AzureAPIKey",
            "AWSCredentials",
            "AzureCredentials",
            "GCPCredentials",
        ]),
    ),
    (
        "targetRefs",
        Items(&Fields(&[
            ("name", NAME),
            ("kind", Words(&["AIServiceBackend", "InferencePool", "Service"])),
            ("group", Words(&["aigateway.envoyproxy.io", "inference.networking.k8s.io", ""])),
        ])),
    ),
    ("apiKey", Fields(&[("secretRef", REFERENCE)])),
    ("anthropicAPIKey", Fields(&[("secretRef", REFERENCE)])),
    ("azureAPIKey", Fields(&[("secretRef", REFERENCE)])),
    (
        "awsCredentials",
        Fields(&[
            ("region", NAME),
            ("credentialsFile", Fields(&[("secretRef", REFERENCE), ("profile", ANY)])),
            ("oidcExchangeToken", EXCHANGE),
        ]),
    ),
    (
        "azureCredentials",
        Fields(&[
            ("clientID", NAME),
            ("tenantID", NAME),
            ("clientSecretRef", REFERENCE),
            ("oidcExchangeToken", EXCHANGE),
        ]),
    ),
    (
        "gcpCredentials",
        Fields(&[
            ("projectName", NAME),
            ("region", NAME),
            ("credentialsFile", Fields(&[("secretRef", REFERENCE)])),
            (
                "workloadIdentityFederationConfig",
                Fields(&[
                    ("projectID", NAME),
                    ("workloadIdentityPoolName", NAME),
                    ("workloadIdentityProviderName", NAME),
                    ("oidcExchangeToken", EXCHANGE),
                    ("serviceAccountImpersonation", Fields(&[("serviceAccountName", NAME)])),
                ]),
            ),
        ]),
    ),
    (
        "credentialOverride",
        Fields(&[
            ("fromRequestHeaders", Fields(&[("header", NAME), ("fallbackToConfigured", Flag)])),
            (
                "fromDynamicMetadata",
                Fields(&[("namespace", NAME), ("key", NAME), ("fallbackToConfigured", Flag)]),
            ),
        ]),
    ),
];
const REFERENCE: Form = Fields(&[
    ("name", NAME),
    ("namespace", NAME),
    ("kind", Words(&["Secret", "secret"])),
    ("group", Words(&["", "x"])),
]);
const EXCHANGE: Form = Fields(&[
    (
        "oidc",
        Fields(&[
            (
                "provider",
                Fields(&[
                    ("issuer", ANY),
                    ("tokenEndpoint", ANY),
                    ("backendRefs", Items(&Fields(&[]))),
                    ("endSessionEndpoint", ANY),
                ]),
            ),
            ("clientID", NAME),
            ("clientIDRef", REFERENCE),
            ("clientSecret", REFERENCE),
            ("scopes", Items(&ANY)),
            ("resources", Items(&ANY)),
            ("cookieDomain", ANY),
            (
                "denyRedirect",
                Fields(&[(
                    "headers",
                    Items(&Fields(&[
                        ("name", ANY),
                        ("value", ANY),
                        ("type", Words(&["Exact", "exact"])),
                    ])),
                )]),
            ),
            ("forwardAccessToken", Flag),
            ("defaultTokenTTL", ANY),
        ]),
    ),
    ("aud", ANY),
    ("awsRoleArn", ANY),
    ("grantType", Words(&["client_credentials", "", "password"])),
]);

/// Deeper than the contract goes, and shallow enough for the stack.
const DEEPEST: usize = 24;

fn value(source: &mut Source<'_>, form: Form, depth: usize) -> Value {
    if source.is_empty() || depth == DEEPEST {
        return Value::Null;
    }
    // Now and then something else than what belongs there.
    match source.byte() {
        250 => return Value::Null,
        251 => return Value::Bool(true),
        252 => return Value::from(source.byte()),
        253 => return Value::String(source.text()),
        254 => return Value::Array(vec![value(source, form, depth + 1)]),
        255 => {
            return Value::Object(
                [(source.text(), value(source, form, depth + 1))].into_iter().collect(),
            );
        }
        _ => {}
    }
    match form {
        Fields(fields) => object(source, fields, depth),
        Keys(form) => {
            let entries = (0..source.below(4)).map(|_| {
                (
                    source.pick(&["default/a", "default/p", "a", "", "A", "b.example"]).to_owned(),
                    value(source, *form, depth + 1),
                )
            });
            Value::Object(entries.collect())
        }
        Items(form) => {
            Value::Array((0..source.below(6)).map(|_| value(source, *form, depth + 1)).collect())
        }
        Words(words) => Value::String(source.pick(words).to_owned()),
        Flag => Value::Bool(source.byte().is_multiple_of(2)),
    }
}

fn object(source: &mut Source<'_>, fields: &[(&str, Form)], depth: usize) -> Value {
    let mut object = Map::new();
    if fields.is_empty() {
        return Value::Object(object);
    }
    for _ in 0..source.below(fields.len() + 3) {
        let (name, form) = source.pick(fields);
        object.insert(name.to_owned(), value(source, form, depth + 1));
    }
    if source.byte() == 255 {
        object.insert(source.text(), Value::Null);
    }
    Value::Object(object)
}
