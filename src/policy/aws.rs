//! `spec.awsCredentials`.

use super::cursor::Fields;
use super::manifest::Reader;
use super::oidc::{self, OidcExchange};
use super::secrets::{Form, SecretKey, SecretSource};

const CREDENTIALS: SecretKey = SecretKey { name: "credentials", form: Form::Document };

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
    /// A credentials file, as the AWS command line has it.
    File {
        /// The text of the file.
        file: SecretSource,
        /// The profile in it.
        profile: String,
    },
    /// A token of an identity provider, exchanged at STS for a role.
    Oidc {
        /// How the token is obtained.
        exchange: OidcExchange,
        /// The role to assume.
        role_arn: String,
    },
    /// What the SDKs do when nothing is configured.
    DefaultChain,
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
            Some((text, _)) if !text.is_empty() => text.to_owned(),
            _ => "default".to_owned(),
        };
        fields.finish();
        Some(AwsSource::File { file: file?, profile })
    });
    let oidc = fields.object("oidcExchangeToken").map(|mut fields| {
        let role_arn = fields.filled("awsRoleArn").map(|(text, place)| {
            if text.chars().any(char::is_control) {
                place.error("must be the ARN of a role");
            }
            text.to_owned()
        });
        let exchange = oidc::read(fields, reader);
        Some(AwsSource::Oidc { exchange: exchange?, role_arn: role_arn? })
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
        (None, None) => {
            if !reader.in_environment(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
                && !reader.in_environment(&["AWS_BEARER_TOKEN_BEDROCK"])
            {
                reader.needs_egress(
                    place,
                    "uses the default chain, of which the environment has no keys",
                );
            }
            Some(AwsSource::DefaultChain)
        }
    };
    Some(AwsCredentials { region: region?, source: source? })
}
