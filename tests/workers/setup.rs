//! The policies of these tests, and what has to be obtained for them.

use super::store::Data;
use aigw_auth::cache::Now;
use aigw_auth::engine::{Effect, Filter, Plan, Refresh};
use aigw_auth::policy::{Variable, parse};
use aigw_auth::source::{Answer, Call, Reply, Target};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

/// How long one call may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a request waits for a credential.
pub(crate) const WAIT: Duration = Duration::from_millis(1500);

pub(crate) const ISSUER: &str = "https://idp.example/r";

/// A policy; its backend has the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Entra ID, with a secret that is at hand.
    Azure,
    /// Entra ID, with a secret in a file.
    Mounted,
    /// The same in every part, for another backend.
    Twin,
    /// Entra ID, with a token of another provider; its secret is the file of `Mounted`.
    Exchange,
    /// Keys of AWS in a file.
    Aws,
    /// A key in a file.
    Key,
}

pub(crate) const ALL: [Policy; 6] =
    [Policy::Azure, Policy::Mounted, Policy::Twin, Policy::Exchange, Policy::Aws, Policy::Key];

/// Something that is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Inline,
    Secret,
    Mounted,
    Exchange,
    Keys,
    Line,
}

/// What a call is, of the calls that obtain something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Discovery,
    Assertion,
    Last,
}

impl Name {
    pub(crate) fn is_file(self) -> bool {
        matches!(self, Self::Secret | Self::Keys | Self::Line)
    }

    pub(crate) fn need(self) -> Option<Self> {
        matches!(self, Self::Mounted | Self::Exchange).then_some(Self::Secret)
    }
}

impl Policy {
    pub(crate) fn carries(self) -> Name {
        match self {
            Self::Azure => Name::Inline,
            Self::Mounted | Self::Twin => Name::Mounted,
            Self::Exchange => Name::Exchange,
            Self::Aws => Name::Keys,
            Self::Key => Name::Line,
        }
    }

    pub(crate) fn needs(self, name: Name) -> bool {
        self.carries() == name || self.carries().need() == Some(name)
    }

    pub(crate) fn backend(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn spec(self) -> Value {
        let azure = |proof: &str, value: Value| {
            let tenant = format!("{:?}", self.carries()).to_lowercase();
            json!({"type": "AzureCredentials", "azureCredentials": {
                "clientID": "client", "tenantID": tenant, proof: value}})
        };
        match self {
            Self::Azure => azure("clientSecretRef", json!({"name": "inline"})),
            Self::Mounted | Self::Twin => azure("clientSecretRef", json!({"name": "mounted"})),
            Self::Exchange => azure(
                "oidcExchangeToken",
                json!({"oidc": {"provider": {"issuer": ISSUER}, "clientID": "client",
                    "clientSecret": {"name": "mounted"}}}),
            ),
            Self::Aws => json!({"type": "AWSCredentials", "awsCredentials": {
                "region": "us-east-1", "credentialsFile": {"secretRef": {"name": "keys"}}}}),
            Self::Key => json!({"type": "APIKey", "apiKey": {"secretRef": {"name": "line"}}}),
        }
    }
}

/// The bytes of a configuration with these policies.
pub(crate) fn configuration(policies: &[Policy]) -> Vec<u8> {
    let policy = |policy: &Policy| {
        let mut spec = policy.spec();
        spec["targetRefs"] = json!([{"group": "aigateway.envoyproxy.io",
            "kind": "AIServiceBackend", "name": policy.backend()}]);
        json!({"apiVersion": "aigateway.envoyproxy.io/v1beta1", "kind": "BackendSecurityPolicy",
            "metadata": {"name": policy.backend()}, "spec": spec})
    };
    let mut resources: Vec<Value> = policies.iter().map(policy).collect();
    resources.push(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "inline"},
        "stringData": {"client-secret": "given"}}));
    let configuration = json!({
        "resources": resources,
        "secrets": {"mountPath": "/mnt"},
        "files": {"cluster": "egress"},
        "egress": {"cluster": "egress", "timeout": format!("{}ms", TIMEOUT.as_millis())},
        "credentialWait": format!("{}ms", WAIT.as_millis()),
    });
    configuration.to_string().into_bytes()
}

pub(crate) fn compile(configuration: &[u8]) -> (Filter, Plan) {
    let loaded = parse(configuration, &|_| Variable::Unset).unwrap();
    Filter::new(loaded.config).unwrap()
}

/// What a call obtains.
pub(crate) fn identify(call: &Call) -> (Name, Stage) {
    match &call.target {
        Target::Signer(_) => panic!("no policy has a key that signs"),
        Target::File(path) => {
            let name = match path.as_str() {
                "/mnt/default/mounted/client-secret" => Name::Secret,
                "/mnt/default/keys/credentials" => Name::Keys,
                "/mnt/default/line/apiKey" => Name::Line,
                other => panic!("no policy names the file {other}"),
            };
            (name, Stage::Last)
        }
        Target::Url(url) => match (url.authority.as_str(), url.path.as_str()) {
            ("login.microsoftonline.com", "/inline/oauth2/v2.0/token") => {
                (Name::Inline, Stage::Last)
            }
            ("login.microsoftonline.com", "/mounted/oauth2/v2.0/token") => {
                (Name::Mounted, Stage::Last)
            }
            ("login.microsoftonline.com", "/exchange/oauth2/v2.0/token") => {
                (Name::Exchange, Stage::Last)
            }
            ("idp.example", "/r/.well-known/openid-configuration") => {
                (Name::Exchange, Stage::Discovery)
            }
            ("idp.example", "/r/token") => (Name::Exchange, Stage::Assertion),
            (host, path) => panic!("no policy names https://{host}{path}"),
        },
    }
}

/// What is obtained under a key of the shared data.
pub(crate) fn name_of(key: &str) -> Name {
    keys()[key]
}

/// The key in the shared data of what is obtained.
pub(crate) fn key_of(name: Name) -> &'static str {
    keys().iter().find(|(_, other)| **other == name).unwrap().0
}

/// The keys are the filter's own: a machine that is alone takes a lease and then makes the call, one after
/// the other.
fn keys() -> &'static BTreeMap<String, Name> {
    static NAMES: OnceLock<BTreeMap<String, Name>> = OnceLock::new();
    NAMES.get_or_init(names)
}

fn names() -> BTreeMap<String, Name> {
    let data = Data::default();
    let mut machine = Refresh::new(compile(&configuration(&ALL)).1, 1);
    let now = Now { steady: Duration::from_secs(1), wall: Duration::from_secs(1) };
    let mut names = BTreeMap::new();
    assert!(matches!(machine.tick(&data, now)[..], [Effect::Probe]));
    let mut effects = machine.probed(true, &data, now);
    loop {
        let calls: Vec<_> = effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Call(number, call) => Some((number, identify(&call).0)),
                _ => None,
            })
            .collect();
        let taken = data.take_written();
        assert_eq!(taken.len(), calls.len());
        names.extend(taken.into_iter().zip(calls.iter().map(|(_, name)| *name)));
        let Some((number, _)) = calls.iter().find(|(_, name)| *name == Name::Secret) else { break };
        let answer = Answer { status: 200, headers: &[], body: b"text" };
        machine.reply(*number, &Reply::Answer(answer), &data, now);
        data.take_written();
        effects = machine.tick(&data, now);
    }
    assert_eq!(names.len(), 6);
    names
}
