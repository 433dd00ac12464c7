//! Keys from a profile, and from the environment.

use super::profile::{FileKind, ProfileError, Section, SectionKind, parse};
use crate::credential::{AwsKeys, AwsKeysError};
use std::fmt;

/// Properties that make a profile one of a role, whatever keys it has
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html>).
const OF_A_ROLE: [&str; 3] = ["role_arn", "source_profile", "credential_source"];
/// Properties from which only a program, a browser or another file makes keys.
const OF_A_PROGRAM: [&str; 9] = [
    "credential_process",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
    "sso_account_id",
    "sso_role_name",
    "sso_region",
    "login_session",
    "mfa_serial",
];

/// Why a file gives no keys. Names of profiles are part of it, their values never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysError {
    /// The file is not one of profiles.
    File(ProfileError),
    /// It has no such profile, but these.
    NoProfile(Vec<String>),
    /// The profile has this property, which is no key and cannot be had from a file.
    NotFromAFile(&'static str),
    /// The profile lacks this property.
    Missing(&'static str),
    /// The profile's keys cannot be used.
    Keys(AwsKeysError),
}

/// The keys of `profile` in a credentials file.
///
/// # Errors
///
/// If the file has no such profile, or the profile no keys that stand in it.
pub fn from_file(text: &str, profile: &str) -> Result<AwsKeys, KeysError> {
    let sections = parse(text, FileKind::Credentials).map_err(KeysError::File)?;
    let profiles = || sections.iter().filter(|section| section.kind == SectionKind::Profile);
    match profiles().find(|section| section.name == profile) {
        Some(section) => match of_a_role(section) {
            Some(name) => Err(KeysError::NotFromAFile(name)),
            None => of_section(section),
        },
        None => Err(KeysError::NoProfile(profiles().map(|s| s.name.to_owned()).collect())),
    }
}

fn of_a_role(section: &Section<'_>) -> Option<&'static str> {
    OF_A_ROLE.into_iter().find(|name| section.get(name).is_some_and(|value| !value.is_empty()))
}

/// The keys that stand in a profile, whatever else it has.
///
/// # Errors
///
/// If it has none that can be used.
pub fn of_section(section: &Section<'_>) -> Result<AwsKeys, KeysError> {
    let filled = |name: &str| section.get(name).filter(|value| !value.is_empty());
    let first = |names: &[&'static str]| names.iter().copied().find(|name| filled(name).is_some());
    let part = |name: &'static str| filled(name).ok_or(KeysError::Missing(name));
    let (id, secret) = match (part("aws_access_key_id"), part("aws_secret_access_key")) {
        (Ok(id), Ok(secret)) => (id, secret),
        (Err(error), _) | (_, Err(error)) => {
            return Err(first(&OF_A_PROGRAM).map_or(error, KeysError::NotFromAFile));
        }
    };
    // The second is the name that boto had first.
    let token = filled("aws_session_token").or_else(|| filled("aws_security_token"));
    AwsKeys::new(id, secret, token).map_err(KeysError::Keys)
}

/// The keys in the environment, as the first link of the default chain reads them; `None` if it has
/// not both. An empty variable is one that is not set.
///
/// # Errors
///
/// If they cannot be used.
pub fn from_environment(
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<AwsKeys>, AwsKeysError> {
    let filled = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let (Some(id), Some(secret)) = (filled("AWS_ACCESS_KEY_ID"), filled("AWS_SECRET_ACCESS_KEY"))
    else {
        return Ok(None);
    };
    AwsKeys::new(&id, &secret, filled("AWS_SESSION_TOKEN").as_deref())
        .map(Some)
        .map_err(AwsKeysError::in_environment)
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::NoProfile(others) if others.is_empty() => {
                f.write_str("there is no such profile, and no other either")
            }
            Self::NoProfile(others) => {
                f.write_str("there is no such profile, but")?;
                for (index, other) in others.iter().enumerate() {
                    write!(f, "{} {other}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Self::NotFromAFile(name) => {
                write!(f, "the profile has {name}, which a credentials file cannot answer")
            }
            Self::Missing(name) => write!(f, "the profile has no {name}"),
            Self::Keys(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
[default]
aws_access_key_id = AKID
aws_secret_access_key = marker

[temporary]
aws_access_key_id = ASIA
aws_secret_access_key = marker/2
aws_session_token = token==
";

    fn error(text: &str, profile: &str) -> String {
        let error = from_file(text, profile).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("marker"));
        error.to_string()
    }

    #[test]
    fn the_keys_of_a_profile_are_found_by_its_name() {
        let expected = AwsKeys::new("AKID", "marker", None);
        assert_eq!(from_file(FILE, "default").ok(), expected.ok());
        let expected = AwsKeys::new("ASIA", "marker/2", Some("token=="));
        assert_eq!(from_file(FILE, "temporary").ok(), expected.ok());
    }

    #[test]
    fn a_missing_profile_names_those_that_exist() {
        assert_eq!(error(FILE, "prod"), "there is no such profile, but default, temporary");
        assert_eq!(error("# nothing\n", "prod"), "there is no such profile, and no other either");
        assert_eq!(error("marker", "prod"), "line 1: Expected a profile definition");
    }

    #[test]
    fn what_a_file_cannot_give_is_refused_by_name() {
        for name in OF_A_ROLE.into_iter().chain(OF_A_PROGRAM) {
            let text = format!("[p]\n{name} = marker\n");
            let line = format!("the profile has {name}, which a credentials file cannot answer");
            assert_eq!(error(&text, "p"), line);
        }
        // Keys come before a program, as in the SDKs, but a role before keys.
        let keys = "aws_access_key_id = A\naws_secret_access_key = marker\n";
        assert!(from_file(&format!("[p]\n{keys}credential_process = x"), "p").is_ok());
        assert!(error(&format!("[p]\n{keys}role_arn = marker"), "p").contains("role_arn"));
    }

    #[test]
    fn half_a_key_is_none() {
        assert_eq!(
            error("[p]\naws_access_key_id = A\naws_secret_access_key =\n", "p"),
            "the profile has no aws_secret_access_key"
        );
        assert_eq!(error("[p]\n", "p"), "the profile has no aws_access_key_id");
        let continued = "[p]\naws_access_key_id = A\naws_secret_access_key = marker\n marker\n";
        assert!(error(continued, "p").starts_with("aws_secret_access_key must not contain CR"));
    }

    #[test]
    fn an_empty_variable_is_one_that_is_not_set() {
        let keys = |id: &str, secret: &str, token: &str| {
            let value = |name: &str| {
                let value = match name {
                    "AWS_ACCESS_KEY_ID" => id,
                    "AWS_SECRET_ACCESS_KEY" => secret,
                    "AWS_SESSION_TOKEN" => token,
                    _ => return None,
                };
                Some(value.to_owned())
            };
            from_environment(&value)
        };
        assert_eq!(keys("A", "s", ""), AwsKeys::new("A", "s", None).map(Some));
        assert_eq!(keys("A", "s", "t"), AwsKeys::new("A", "s", Some("t")).map(Some));
        for (id, secret) in [("", "s"), ("A", ""), ("A", " "), ("", "")] {
            assert_eq!(keys(id, secret, "t"), Ok(None));
        }
        let line = |result: Result<_, AwsKeysError>| result.unwrap_err().to_string();
        let id = "AWS_ACCESS_KEY_ID must be letters, digits and '_' only";
        assert_eq!(line(keys("A/", "s", "")), id);
        assert!(line(keys("A", "s\0t", "")).starts_with("AWS_SECRET_ACCESS_KEY must not"));
        assert!(line(keys("A", "s", "s\0t")).starts_with("AWS_SESSION_TOKEN must not"));
    }
}
