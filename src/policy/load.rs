//! From the bytes of a plugin configuration to a [`Config`].

use super::backend::{BackendName, Backends};
use super::cursor::Fields;
use super::index::Index;
use super::manifest::{AWS_CREDENTIALS, AZURE_CREDENTIALS, Outline, Policy, policy};
use super::place::Place;
use super::problem::{Problem, Report, Severity, Subject, quote};
use super::protobuf::{StructError, decode_struct};
use super::resources::{BACKEND_SECURITY_POLICY, Resources};
use super::secrets::{Environment, SecretStore};
use super::settings::{Settings, settings};
use super::tree::Tree;

const NO_POLICY: &str = "must hold at least one BackendSecurityPolicy";

/// A configuration that can be used.
#[derive(Debug)]
pub struct Config {
    /// The filter's own settings.
    pub settings: Settings,
    /// The policies, each target of which has no other.
    pub policies: Vec<Policy>,
    /// Which policy a backend has, as an index of `policies`.
    pub backends: Backends,
}

/// A [`Config`], and what is doubtful about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Problems that are no errors.
    pub warnings: Vec<Problem>,
}

/// Reads a plugin configuration as Envoy hands it over: JSON (the text of a
/// `google.protobuf.StringValue`), or a serialised `google.protobuf.Struct`.
///
/// # Errors
///
/// Every problem, if one of them is an error.
pub fn parse(bytes: &[u8], environment: &Environment<'_>) -> Result<Loaded, Vec<Problem>> {
    let problem = |field: &str, message: String| {
        let report = Report::default();
        report.setting(field, &message);
        report.into_problems()
    };
    if bytes.trim_ascii().is_empty() {
        return Err(problem("resources", NO_POLICY.to_owned()));
    }
    let tree = match serde_json::from_slice::<Tree>(bytes) {
        Ok(tree) => tree,
        // A Struct begins with a line feed, which is white space to JSON: only the whole tells.
        Err(error) => match decode_struct(bytes) {
            Ok(tree) => tree,
            Err(StructError::NotAStruct) => return Err(problem("", json_message(&error))),
            Err(StructError::TooDeep) => {
                return Err(problem("", "the configuration is nested too deeply".to_owned()));
            }
        },
    };
    load(&tree, environment)
}

/// What is wrong with a JSON text, without a word of it.
fn json_message(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Eof => "it ends too early",
        _ if error.to_string().starts_with("recursion") => "it is nested too deeply",
        _ => "syntax error",
    };
    format!(
        "the configuration is neither JSON nor a google.protobuf.Struct: {what} at line {} column {}",
        error.line(),
        error.column()
    )
}

/// Reads a plugin configuration that has been parsed.
///
/// # Errors
///
/// Every problem, if one of them is an error.
pub fn load(tree: &Tree, environment: &Environment<'_>) -> Result<Loaded, Vec<Problem>> {
    let report = Report::default();
    let config = config(tree, environment, &report);
    let problems = report.into_problems();
    match config {
        Some(config) if problems.iter().all(|p| p.severity == Severity::Warning) => {
            Ok(Loaded { config, warnings: problems })
        }
        _ => Err(problems),
    }
}

fn config(tree: &Tree, environment: &Environment<'_>, report: &Report) -> Option<Config> {
    let top = Place::top(report, Subject::settings());
    let mut fields = Fields::of(tree, top)?;
    let place = top.field("resources");
    let resources = match fields.get("resources") {
        Some((tree, place)) => Resources::sort(tree, place),
        None => Resources::default(),
    };
    let settings = settings(&mut fields);
    fields.finish();

    if !resources.any_policy {
        place.error(NO_POLICY);
    }
    let secrets = SecretStore::new(resources.secrets, &settings.secrets, environment);
    let outlines: Vec<Outline> = resources
        .policies
        .into_iter()
        .map(|(resource, version)| policy(resource, version, &secrets, &settings, environment))
        .collect();
    drop(secrets);

    let names = unique_names(&outlines, report);
    let (targets, owners) = unique_targets(&outlines, report);
    policies_exist(&settings, &outlines, &names, report);
    backends_exist(&settings, &owners, report);
    let backends = Backends::index(&targets, &settings.backend_names, &settings.backend_hosts);
    let policies: Option<Vec<Policy>> = outlines.into_iter().map(|o| o.policy).collect();
    Some(Config { settings, policies: policies?, backends })
}

/// No two policies may have one name. Gives the number of each.
fn unique_names(policies: &[Outline], report: &Report) -> Index {
    let mut names = Index::default();
    for (number, policy) in policies.iter().enumerate() {
        if names.set(&policy.id, number).is_some() {
            report.error(&policy.subject, "", "occurs twice in resources");
        }
    }
    names
}

/// No two policies may have one target. Gives every target with its policy, as a list and by the text
/// of the target.
fn unique_targets(policies: &[Outline], report: &Report) -> (Vec<(BackendName, usize)>, Index) {
    let mut owners = Index::default();
    let mut targets = Vec::new();
    for (index, policy) in policies.iter().enumerate() {
        for (target, number) in &policy.targets {
            let owner = owners.set_first(&target.to_string(), index);
            if owner == index {
                targets.push((target.clone(), index));
            } else if let Some(first) = policies.get(owner) {
                report.error(
                    &policy.subject,
                    &format!("spec.targetRefs[{number}]"),
                    &format!(
                        "multiple BackendSecurityPolicies found for {target}: [{}, {}]",
                        first.id, policy.id
                    ),
                );
            }
        }
    }
    (targets, owners)
}

/// Settings of single policies have to be of some that exist, and of their type.
fn policies_exist(settings: &Settings, policies: &[Outline], names: &Index, report: &Report) {
    for (id, own) in settings.policies.iter() {
        let field = format!("policies.{id}");
        match names.get(id.as_bytes()).and_then(|number| policies.get(number)) {
            None => {
                report.setting(&field, &format!("there is no {BACKEND_SECURITY_POLICY} {id}"));
            }
            Some(policy) => {
                for (name, is_set, kind) in [
                    ("azureIdentity", own.azure_identity.is_some(), AZURE_CREDENTIALS),
                    ("assumeRole", own.assume_role.is_some(), AWS_CREDENTIALS),
                    ("service", own.service.is_some(), AWS_CREDENTIALS),
                ] {
                    if is_set && policy.kind.is_some_and(|other| other != kind) {
                        report.setting(
                            &format!("{field}.{name}"),
                            &format!("{} is not of type {kind}", policy.subject),
                        );
                    }
                }
            }
        }
    }
}

/// Settings of backends that no policy targets are probably not meant.
fn backends_exist(settings: &Settings, owners: &Index, report: &Report) {
    let unknown = |field: &str, backend: &BackendName| {
        let backend = backend.to_string();
        if owners.get(backend.as_bytes()).is_none() {
            report.setting_warning(field, &format!("no policy targets {backend}"));
        }
    };
    for (attribute, backend) in &settings.backend_names {
        unknown(&format!("backend.names.{}", quote(attribute)), backend);
    }
    for (backend, _) in &settings.backend_hosts {
        unknown("backend.hosts", backend);
    }
}
