//! What a profile of the shared credentials file means: keys, or roles on top of something
//! (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html>).

use crate::aws::keys::{self, KeysError};
use crate::aws::profile::{FileKind, Section, SectionKind, parse};
use crate::aws::role::{Role, is_arn, is_duration, is_external_id, is_session_name};
use crate::credential::AwsKeys;
use crate::policy::is_absolute_path;

/// Where the keys of a profile begin, and the roles that are assumed with them in turn.
pub(super) struct Resolved {
    pub(super) base: Base,
    pub(super) roles: Vec<Role>,
}

/// See [`Resolved`].
pub(super) enum Base {
    /// They stand in the file.
    Keys(AwsKeys),
    /// A token in the file of this path is exchanged for this role.
    WebIdentity(String, Role),
    /// `credential_source = EcsContainer`
    Container,
    /// `credential_source = Ec2InstanceMetadata`
    Instance,
}

/// Why a profile gives no keys.
pub(super) enum Unresolved {
    /// It is not there, or says nothing of keys.
    Absent(String),
    /// It cannot be used. Names of profiles are part of it, values never.
    Broken(String),
}

/// The most profiles that build on each other.
const LONGEST: usize = 16;

/// What a profile of a credentials file means; sessions without a name of their own get `session_name`.
pub(super) fn resolve(text: &str, name: &str, session_name: &str) -> Result<Resolved, Unresolved> {
    let broken = |message: String| Unresolved::Broken(message);
    let sections = parse(text, FileKind::Credentials).map_err(|error| broken(error.to_string()))?;
    let find = |name: &str| {
        sections.iter().find(|section| section.kind == SectionKind::Profile && section.name == name)
    };
    let Some(mut section) = find(name) else {
        return Err(Unresolved::Absent(format!("it has no profile {name}")));
    };
    let mut roles = Vec::new();
    while roles.len() < LONGEST {
        let of_profile = |what: &str| broken(format!("profile {} {what}", section.name));
        let role_arn = filled(section, "role_arn");
        // Of what a role builds on, keys count before a further role.
        let own = keys::of_section(section);
        if role_arn.is_none() || (!roles.is_empty() && own.is_ok()) {
            let base = match own {
                Ok(keys) => Base::Keys(keys),
                Err(KeysError::Missing(_)) if roles.is_empty() && is_silent(section) => {
                    return Err(Unresolved::Absent(format!("its profile {name} has no keys")));
                }
                Err(error) => return Err(of_profile(&format!("cannot be used: {error}"))),
            };
            roles.reverse();
            return Ok(Resolved { base, roles });
        }
        let role = role(section, session_name).map_err(|what| of_profile(&what))?;
        if let Some(path) = filled(section, "web_identity_token_file") {
            if !is_absolute_path(path) || path.ends_with('/') {
                return Err(of_profile("needs an absolute path as web_identity_token_file"));
            }
            roles.reverse();
            return Ok(Resolved { base: Base::WebIdentity(path.to_owned(), role), roles });
        }
        roles.push(role);
        match (filled(section, "source_profile"), filled(section, "credential_source")) {
            (Some(next), None) => {
                section = find(next)
                    .ok_or_else(|| of_profile("has a source_profile that is not there"))?;
            }
            (None, Some(word)) => {
                let base = match word {
                    "EcsContainer" => Base::Container,
                    "Ec2InstanceMetadata" => Base::Instance,
                    "Environment" => {
                        return Err(of_profile(
                            "has credential_source = Environment, and the environment of the VM \
                             has no keys",
                        ));
                    }
                    _ => {
                        return Err(of_profile(
                            "needs Environment, Ec2InstanceMetadata or EcsContainer as \
                             credential_source",
                        ));
                    }
                };
                roles.reverse();
                return Ok(Resolved { base, roles });
            }
            (Some(_), Some(_)) => {
                return Err(of_profile("has both source_profile and credential_source"));
            }
            (None, None) => {
                return Err(of_profile("has role_arn, and no source_profile or credential_source"));
            }
        }
    }
    Err(broken(format!("profile {name} builds on itself, or on too many others")))
}

/// The role of a profile.
fn role(section: &Section<'_>, session_name: &str) -> Result<Role, String> {
    if filled(section, "mfa_serial").is_some() {
        return Err("has mfa_serial, which only a person can answer".to_owned());
    }
    let part = |name: &str, good: fn(&str) -> bool| match filled(section, name) {
        Some(text) if !good(text) => Err(format!("has {name} in a form that STS does not take")),
        text => Ok(text),
    };
    let arn = part("role_arn", is_arn)?.unwrap_or_default();
    let session_name = part("role_session_name", is_session_name)?.unwrap_or(session_name);
    let duration = match filled(section, "duration_seconds").map(str::parse::<u32>) {
        None => None,
        Some(Ok(seconds)) if is_duration(seconds) => Some(seconds),
        Some(_) => return Err("needs 900 to 43200 as duration_seconds".to_owned()),
    };
    Ok(Role {
        external_id: part("external_id", is_external_id)?.map(str::to_owned),
        duration,
        ..Role::new(arn, session_name)
    })
}

/// Whether a profile says nothing of where its keys are.
fn is_silent(section: &Section<'_>) -> bool {
    ["aws_access_key_id", "aws_secret_access_key", "source_profile", "credential_source"]
        .iter()
        .all(|name| filled(section, name).is_none())
}

fn filled<'s>(section: &'s Section<'_>, name: &str) -> Option<&'s str> {
    section.get(name).filter(|value| !value.is_empty())
}
