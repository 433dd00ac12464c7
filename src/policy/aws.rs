//! `spec.awsCredentials`.

use super::cursor::Fields;
use super::manifest::Reader;
use super::oidc::{self, OidcExchange};
use super::place::Place;
use super::problem::quote;
use super::secrets::{Form, SecretKey, SecretSource, Variable};
use crate::aws::keys::{self, KeysError};
use crate::aws::profile::DEFAULT_PROFILE;
use crate::credential::{AwsKeys, Secret};

const CREDENTIALS: SecretKey = SecretKey { name: "credentials", form: Form::Document };

/// An API key of Bedrock: the first link of the default chain
/// (<https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html>).
const BEARER: &str = "AWS_BEARER_TOKEN_BEDROCK";

/// `AWSCredentials`: where to sign for, and with what.
#[derive(Debug)]
pub struct AwsCredentials {
    /// The region, such as `us-east-1`.
    pub region: String,
    /// Where the keys come from.
    pub source: AwsSource,
}

/// See [`AwsCredentials`].
#[derive(Debug)]
pub enum AwsSource {
    /// Keys that are at hand: from a credentials file in `resources`, or from the environment.
    Keys(AwsKeys),
    /// A Bedrock API key of the environment, which is sent as it is.
    Bearer(Secret),
    /// A credentials file, as the AWS command line has it, that has to be read when it is used.
    File {
        /// The text of the file.
        file: SecretSource,
        /// The profile in it.
        profile: String,
    },
    /// A token of an identity provider, exchanged at STS for a role.
    Oidc {
        /// How the token is obtained.
        exchange: Box<OidcExchange>,
        /// The role to assume.
        role_arn: String,
    },
    /// What the SDKs do when nothing is configured, and the environment has no keys.
    DefaultChain,
    /// The same in an environment that is not this one, and may have keys.
    UnknownEnvironment,
}

/// Reads `spec.awsCredentials`.
pub(crate) fn read(
    mut fields: Fields<'_, '_>,
    reader: &Reader<'_, '_, '_>,
) -> Option<AwsCredentials> {
    let place = fields.place();
    let region = reader.cloud_name(&mut fields, "region");
    let file = fields.object("credentialsFile").map(|mut fields| {
        let file = reader.secret(&mut fields, "secretRef", CREDENTIALS);
        let profile = match fields.text("profile") {
            Some((text, _)) if !text.is_empty() => text,
            _ => DEFAULT_PROFILE,
        };
        let place = fields.place();
        fields.finish();
        let file = file?;
        match file.known() {
            Some(text) => keys_of_file(text, profile, place),
            None => Some(AwsSource::File { file, profile: profile.to_owned() }),
        }
    });
    let oidc = fields.object("oidcExchangeToken").map(|mut fields| {
        let role_arn = fields.filled("awsRoleArn").map(|(text, place)| {
            if text.chars().any(char::is_control) {
                place.error("must be the ARN of a role");
            }
            text.to_owned()
        });
        let exchange = oidc::read(fields, reader);
        Some(AwsSource::Oidc { exchange: Box::new(exchange?), role_arn: role_arn? })
    });
    fields.finish();
    let source = match (file, oidc) {
        (Some(_), Some(_)) => {
            place.error("At most one of credentialsFile or oidcExchangeToken may be specified");
            None
        }
        (Some(file), None) => file,
        (None, Some(oidc)) => {
            reader.needs_egress(place, "exchanges a token of an identity provider");
            oidc
        }
        (None, None) => default_chain(reader, place),
    };
    Some(AwsCredentials { region: region?, source: source? })
}

/// The keys of a credentials file that is at hand.
fn keys_of_file(text: &Secret, profile: &str, place: Place<'_>) -> Option<AwsSource> {
    match keys::from_file(text.expose(), profile) {
        Ok(keys) => Some(AwsSource::Keys(keys)),
        Err(error @ KeysError::NoProfile(_)) => {
            place.field("profile").error(&format!("{}: {error}", quote(profile)));
            None
        }
        Err(error @ KeysError::File(_)) => {
            place.error(&format!("the credentials file: {error}"));
            None
        }
        Err(error) => {
            place.error(&format!("profile {}: {error}", quote(profile)));
            None
        }
    }
}

/// The links of the default chain that the environment answers by itself.
fn default_chain(reader: &Reader<'_, '_, '_>, place: Place<'_>) -> Option<AwsSource> {
    let mut unknown = false;
    let variable = |name: &str| match (reader.environment)(name) {
        Variable::Set(text) => Some(text),
        Variable::Unset | Variable::Unknown => None,
    };
    for name in [BEARER, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        unknown |= matches!((reader.environment)(name), Variable::Unknown);
    }
    if let Some(token) = variable(BEARER).filter(|text| !text.trim().is_empty()) {
        return match Secret::line(&token) {
            Ok(token) => Some(AwsSource::Bearer(token)),
            Err(error) => {
                place.error(&format!("the environment of the VM: {BEARER} {error}"));
                None
            }
        };
    }
    match keys::from_environment(&variable) {
        Ok(Some(keys)) => Some(AwsSource::Keys(keys)),
        Ok(None) if unknown => Some(AwsSource::UnknownEnvironment),
        Ok(None) => {
            reader.needs_egress(
                place,
                "uses the default chain, and the environment of the VM has no AWS_ACCESS_KEY_ID \
                 and AWS_SECRET_ACCESS_KEY",
            );
            Some(AwsSource::DefaultChain)
        }
        Err(error) => {
            place.error(&format!("the environment of the VM: {error}"));
            None
        }
    }
}
