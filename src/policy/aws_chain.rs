//! The default chain of AWS: where the SDKs look for keys when nothing is configured, by the environment
//! of the VM (<https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>).

use super::manifest::Reader;
use super::url::{Endpoint, EndpointError};
use super::variables::Variables;
use crate::aws::keys;
use crate::aws::profile::DEFAULT_PROFILE;
use crate::credential::{AwsKeys, Secret};

/// What the environment says of the default chain. The links are asked in this order: the environment,
/// the file, `then`.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The profile of the shared credentials file, if the environment names one.
    pub profile: Option<Profile>,
    /// The first link after it that is configured; else why there is none.
    pub then: Result<Link, String>,
    /// Why no link before the file answers, in the words of a log.
    pub passed: String,
    /// The same of the links after it.
    pub passed_later: String,
    /// What `credential_source = EcsContainer` of a profile means.
    pub container: Option<Container>,
    /// What `credential_source = Ec2InstanceMetadata` of a profile means.
    pub instance: Option<Instance>,
}

/// A link of the chain that is asked.
#[derive(Clone, Debug)]
pub enum Link {
    /// A token of the platform, exchanged for a role.
    WebIdentity(WebIdentity),
    /// The container service.
    Container(Container),
    /// The metadata service of the machine.
    Instance(Instance),
}

/// A profile of the shared credentials file.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The path of the file.
    pub path: String,
    /// The profile.
    pub name: String,
    /// Whether `AWS_PROFILE` names it: then it has to be there.
    pub named: bool,
}

/// A role that a token in a file is exchanged for.
#[derive(Clone, Debug)]
pub struct WebIdentity {
    /// The role.
    pub role_arn: String,
    /// The path of the file.
    pub token_file: String,
    /// The name of the session, if the environment gives one.
    pub session_name: Option<String>,
}

/// The container service: that of ECS, or the agent of EKS Pod Identity.
#[derive(Clone, Debug)]
pub struct Container {
    /// Where it is asked.
    pub endpoint: Endpoint,
    /// What it wants to see.
    pub authorization: Authorization,
}

/// See [`Container`].
#[derive(Clone, Debug)]
pub enum Authorization {
    /// Nothing.
    None,
    /// This text.
    Given(Secret),
    /// The text in this file.
    File(String),
}

/// The metadata service of a machine.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its root.
    pub endpoint: Endpoint,
    /// Whether its first version, which knows no token, may be asked.
    pub version_1: bool,
}

impl Chain {
    /// Whether files are read.
    pub(super) fn reads_files(&self) -> bool {
        let authorized_by_file =
            |container: &Container| matches!(container.authorization, Authorization::File(_));
        self.profile.is_some()
            || match &self.then {
                Ok(Link::WebIdentity(_)) => true,
                Ok(Link::Container(container)) => authorized_by_file(container),
                Ok(Link::Instance(_)) | Err(_) => false,
            }
    }

    /// What is called of the platform's own, if the file does not answer.
    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        match &self.then {
            Ok(Link::Container(container)) => Some(&container.endpoint),
            Ok(Link::Instance(instance)) => Some(&instance.endpoint),
            Ok(Link::WebIdentity(_)) | Err(_) => None,
        }
    }
}

/// What the chain is, or that the environment alone answers it.
pub(super) enum Answer {
    Keys(AwsKeys),
    Bearer(Secret),
    Chain(Box<Chain>),
    /// The environment is not the one in which the filter runs.
    Unknown,
}

const BEARER: &str = "AWS_BEARER_TOKEN_BEDROCK";
const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const SHARED_FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";
const PROFILE: &str = "AWS_PROFILE";
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const ROLE_ARN: &str = "AWS_ROLE_ARN";
const SESSION_NAME: &str = "AWS_ROLE_SESSION_NAME";
const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const AUTHORIZATION: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const AUTHORIZATION_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
const METADATA_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
const VERSION_1_DISABLED: &str = "AWS_EC2_METADATA_V1_DISABLED";
const METADATA_ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const METADATA_MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";

/// The service of ECS, which a relative URI is of.
const ECS: &str = "http://169.254.170.2";
/// Where the SDKs send what authorizes to, without TLS, beside loopback.
const CONTAINER_HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
const NOT_OF_A_CONTAINER: &str = "must be https: http is for loopback, for the container services' own \
     addresses and for the hosts in egress.plaintextHosts";
const INSTANCE: &str = "http://169.254.169.254";
const INSTANCE_IPV6: &str = "http://[fd00:ec2::254]";

/// Reads the environment, link by link.
///
/// # Errors
///
/// If the first link that is configured is broken: nothing could ever come of it.
pub(super) fn answer(reader: &Reader<'_, '_, '_>) -> Result<Answer, String> {
    let variables = Variables::new(reader);
    if let Some(token) = variables.get(BEARER) {
        let token = Secret::line(&token).map_err(|error| format!("{BEARER} {error}"))?;
        return Ok(Answer::Bearer(token));
    }
    let environment = keys::from_environment(&|name| variables.get(name));
    if let Some(keys) = environment.map_err(|error| error.to_string())? {
        return Ok(Answer::Keys(keys));
    }
    let chain = chain(&variables);
    if variables.were_unknown() {
        return Ok(Answer::Unknown);
    }
    match chain? {
        Chain { profile: None, then: Err(message), passed, passed_later, .. } => {
            Err(format!("{message} ({passed}{passed_later})"))
        }
        chain => Ok(Answer::Chain(Box::new(chain))),
    }
}

/// The chain after the environment.
fn chain(variables: &Variables<'_>) -> Result<Chain, String> {
    let mut passed = format!("{KEY_ID} and {SECRET} are not both set");
    let profile = variables.path(SHARED_FILE)?.map(|path| -> Result<_, String> {
        let name = variables.get(PROFILE);
        if name.as_ref().is_some_and(|name| name.chars().any(char::is_control)) {
            return Err(format!("{PROFILE} must not contain control characters"));
        }
        let named = name.is_some();
        Ok(Profile { path, name: name.unwrap_or_else(|| DEFAULT_PROFILE.to_owned()), named })
    });
    let profile = profile.transpose()?;
    if profile.is_none() {
        passed.push_str(&format!("; {SHARED_FILE} is not set"));
    }
    let (container, instance) = (container(variables), instance(variables));
    let mut passed_later = String::new();
    let then = then(variables, &mut passed_later, &container, &instance);
    Ok(Chain {
        profile,
        then,
        passed,
        passed_later,
        container: container.ok().flatten(),
        instance: instance.ok().flatten(),
    })
}

/// The first link after the file that is configured.
fn then(
    variables: &Variables<'_>,
    passed: &mut String,
    container: &Result<Option<Container>, String>,
    instance: &Result<Option<Instance>, String>,
) -> Result<Link, String> {
    let mut pass = |text: &str| {
        passed.push_str("; ");
        passed.push_str(text);
    };
    match (variables.path(TOKEN_FILE)?, variables.get(ROLE_ARN)) {
        (Some(token_file), Some(role_arn)) => {
            if role_arn.chars().any(char::is_control) {
                return Err(format!("{ROLE_ARN} must be the ARN of a role"));
            }
            let session_name = variables.get(SESSION_NAME);
            if session_name.as_ref().is_some_and(|n| !crate::aws::role::is_session_name(n)) {
                return Err(format!("{SESSION_NAME} must be 2 to 64 characters that STS takes"));
            }
            return Ok(Link::WebIdentity(WebIdentity { role_arn, token_file, session_name }));
        }
        (Some(_), None) => return Err(format!("{TOKEN_FILE} is set, and {ROLE_ARN} is not")),
        (None, _) => pass(&format!("{TOKEN_FILE} is not set")),
    }
    match container.clone()? {
        Some(container) => return Ok(Link::Container(container)),
        None => pass(&format!("neither {RELATIVE_URI} nor {FULL_URI} is set")),
    }
    match instance.clone()? {
        Some(instance) => Ok(Link::Instance(instance)),
        None => {
            pass(&format!("{METADATA_DISABLED} is true"));
            Err("no link of the default chain is configured".to_owned())
        }
    }
}

/// The container service, if the environment names one. A relative URI comes before a full one.
fn container(variables: &Variables<'_>) -> Result<Option<Container>, String> {
    let plaintext_hosts = variables.plaintext_hosts();
    let (name, endpoint) = match (variables.get(RELATIVE_URI), variables.get(FULL_URI)) {
        (Some(path), _) if path.starts_with('/') => {
            (RELATIVE_URI, Endpoint::parse(&format!("{ECS}{path}"), &[]))
        }
        (Some(_), _) => return Err(format!("{RELATIVE_URI} must begin with /")),
        (None, Some(url)) => {
            let allowed = |e: &Endpoint| {
                e.is_loopback() || e.is_encrypted() || CONTAINER_HOSTS.contains(&e.host())
            };
            // The hosts that the operator lists come first.
            let listed = Endpoint::parse(&url, plaintext_hosts);
            let endpoint = match (listed, Endpoint::of_platform(&url)) {
                (Ok(endpoint), _) if !endpoint.is_metadata() => Ok(endpoint),
                (_, Ok(endpoint)) if !allowed(&endpoint) => Err(EndpointError::Plaintext),
                (_, endpoint) => endpoint,
            };
            (FULL_URI, endpoint)
        }
        (None, None) => return Ok(None),
    };
    let endpoint = endpoint.map_err(|error| match error {
        EndpointError::Plaintext => format!("{name} {NOT_OF_A_CONTAINER}"),
        error => format!("{name} {error}"),
    })?;
    let authorization = match (variables.path(AUTHORIZATION_FILE)?, variables.get(AUTHORIZATION)) {
        (Some(path), _) => Authorization::File(path),
        (None, Some(text)) => Authorization::Given(
            Secret::line(&text).map_err(|error| format!("{AUTHORIZATION} {error}"))?,
        ),
        (None, None) => Authorization::None,
    };
    Ok(Some(Container { endpoint, authorization }))
}

/// The metadata service, unless the environment switches it off.
fn instance(variables: &Variables<'_>) -> Result<Option<Instance>, String> {
    if variables.is_on(METADATA_DISABLED) {
        return Ok(None);
    }
    let ipv6 = variables.get(METADATA_MODE).is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
    let root = match variables.get(METADATA_ENDPOINT) {
        Some(root) => root,
        None => if ipv6 { INSTANCE_IPV6 } else { INSTANCE }.to_owned(),
    };
    match Endpoint::of_platform(&root) {
        Ok(endpoint) if !endpoint.path.contains('?') => {
            let version_1 = !variables.is_on(VERSION_1_DISABLED);
            Ok(Some(Instance { endpoint, version_1 }))
        }
        Ok(_) => Err(format!("{METADATA_ENDPOINT} must have no query")),
        Err(error) => Err(format!("{METADATA_ENDPOINT} {error}")),
    }
}
