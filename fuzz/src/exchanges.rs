//! An exchange of every kind, with secrets that can be told apart from everything else.

use super::google;
use super::source::Source as Bytes;
use aigw_auth::aws::role::Role;
use aigw_auth::credential::{AwsKeys, Secret};
use aigw_auth::policy::{
    Authorization, Chain, Container, Endpoint, IdentityService, Instance, Link, ManagedIdentity,
    Profile, Sts,
};
use aigw_auth::source::{
    Assertion, AssumeRole, AwsChain, AzureManagedIdentity, Entra, FileForm, GivenKeys, Input,
    InputValue, MountedFile, Oidc, Proof, Source, WebIdentityRole,
};

/// Part of every secret. An error code could look like it.
pub(crate) const MARKER: &str = "fuzz_secret_marker";
pub(crate) const ISSUER: &str = "https://idp.example/a";
pub(crate) const PLAINTEXT: &str = "idp.local";
pub(crate) const FILE: &str = "/a/b/c";
const SUBJECT: &str = "Secret a/b, key c";

pub(crate) fn secret(name: &str) -> Secret {
    Secret::line(&format!("{name}-{MARKER}")).unwrap()
}

pub(crate) fn given(id: &str) -> Input {
    Input { id: id.to_owned(), value: InputValue::Given(secret(id)) }
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::parse(url, &[]).unwrap()
}

/// One of every kind.
pub(crate) fn exchange(source: &mut Bytes<'_>) -> Box<dyn Source> {
    // Inputs that were found when there were seven kinds mean the same for ever.
    let kind = match source.byte() {
        byte @ 0..192 => usize::from(byte % 7),
        byte @ 192..224 => usize::from(7 + (byte - 192) % 9),
        _ => return google::exchange(source),
    };
    let oidc = oidc(kind.is_multiple_of(2), given("id"));
    let entra = |proof| {
        let token_endpoint = endpoint("https://entra.example/tenant/oauth2/v2.0/token");
        let (client_id, scope) = ("app".to_owned(), "f/.default".to_owned());
        Box::new(Entra { token_endpoint, client_id, scope, proof })
    };
    let file = |form| {
        let (path, subject) = (FILE.to_owned(), SUBJECT.to_owned());
        Box::new(MountedFile { path, subject, form })
    };
    match kind {
        0 | 1 => Box::new(oidc),
        2 | 3 => entra(Proof::Assertion(Assertion::Oidc(oidc))),
        4 => entra(Proof::Secret(given("secret"))),
        5 => file(FileForm::Line),
        6 => file(FileForm::AwsKeys { profile: "default".to_owned() }),
        7 => web_identity(Assertion::Oidc(oidc)),
        8 => web_identity(Assertion::TokenFile(FILE.to_owned())),
        9 => Box::new(AssumeRole { sts: sts(), role: role(), keys: Box::new(keys()) }),
        10 => Box::new(container(source)),
        11 => Box::new(instance(source)),
        12 | 13 => Box::new(chain(source)),
        _ => Box::new(managed_identity(kind == 14)),
    }
}

/// An identity provider, whose token endpoint is known or has to be asked for.
pub(crate) fn oidc(is_known: bool, client_id: Input) -> Oidc {
    Oidc {
        issuer: ISSUER.to_owned(),
        token_endpoint: is_known.then(|| endpoint("https://login.example/token")),
        client_id,
        client_secret: Input { id: "secret".to_owned(), value: InputValue::Obtained(0) },
        scopes: vec!["a b".to_owned(), "c".to_owned()],
        resources: vec!["urn:d".to_owned()],
        audience: Some("e".to_owned()),
        plaintext_hosts: vec![PLAINTEXT.to_owned()],
    }
}

fn sts() -> Sts {
    Sts { endpoint: endpoint("https://sts.example/"), region: "r".to_owned() }
}

fn role() -> Role {
    Role::new("arn:aws:iam::123456789012:role/r", "session")
}

fn keys() -> GivenKeys {
    let token = secret("token");
    GivenKeys(AwsKeys::new("AKIA", secret("key").expose(), Some(token.expose())).unwrap())
}

fn web_identity(token: Assertion) -> Box<WebIdentityRole> {
    Box::new(WebIdentityRole { sts: sts(), role: role(), token })
}

fn container(source: &mut Bytes<'_>) -> Container {
    let authorization = match source.below(3) {
        0 => Authorization::None,
        1 => Authorization::Given(secret("container")),
        _ => Authorization::File(FILE.to_owned()),
    };
    Container { endpoint: endpoint("http://169.254.170.23/v1/credentials"), authorization }
}

fn instance(source: &mut Bytes<'_>) -> Instance {
    let version_1 = source.below(2) == 0;
    Instance { endpoint: endpoint("http://169.254.169.254/"), version_1 }
}

/// A chain whose file is asked first, and then a link.
fn chain(source: &mut Bytes<'_>) -> AwsChain {
    let then = match source.below(3) {
        0 => Ok(Link::Instance(instance(source))),
        1 => Ok(Link::Container(container(source))),
        _ => Err("no link".to_owned()),
    };
    let (name, named) = ("default".to_owned(), source.below(2) == 0);
    let chain = Chain {
        profile: Some(Profile { path: FILE.to_owned(), name, named }),
        then,
        passed: "passed".to_owned(),
        passed_later: "; passed".to_owned(),
        container: Some(container(source)),
        instance: Some(instance(source)),
    };
    AwsChain { chain, sts: sts(), session_name: "session".to_owned() }
}

fn managed_identity(of_machine: bool) -> AzureManagedIdentity {
    let service = if of_machine {
        IdentityService::Machine(endpoint("http://169.254.169.254/metadata/identity"))
    } else {
        let endpoint = Endpoint::of_platform("http://127.0.0.1:41741/msi/token").unwrap();
        IdentityService::AppService { endpoint, header: secret("header") }
    };
    let identity = ManagedIdentity::ResourceId("/a b".to_owned());
    AzureManagedIdentity { service, identity, resource: "https://a.example".to_owned() }
}
