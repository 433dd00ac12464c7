//! `spec.awsCredentials`.

use super::aws_chain::{self, Answer, Chain, Link};
use super::cursor::Fields;
use super::manifest::Reader;
use super::oidc::{self, OidcExchange};
use super::place::Place;
use super::problem::quote;
use super::secrets::{Form, SecretKey, SecretSource};
use super::url::Endpoint;
use super::variables::Variables;
use crate::aws::host::{self, StsChoice};
use crate::aws::keys::{self, KeysError};
use crate::aws::profile::DEFAULT_PROFILE;
use crate::aws::role::{Role, session_name};
use crate::credential::{AwsKeys, Secret};

const CREDENTIALS: SecretKey = SecretKey { name: "credentials", form: Form::Document };

/// Another place of STS
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>).
const STS_ENDPOINT: &str = "AWS_ENDPOINT_URL_STS";
/// The longest session, in seconds, of a role that is assumed with the keys of another
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining>).
const LONGEST_CHAINED: u32 = 3_600;

/// `AWSCredentials`: where to sign for, and with what.
#[derive(Debug)]
pub struct AwsCredentials {
    /// The region, such as `us-east-1`.
    pub region: String,
    /// The signing name of the service.
    pub service: String,
    /// Where the keys come from.
    pub source: AwsSource,
    /// The role that is assumed with them: a setting of ours.
    pub assume_role: Option<Role>,
    /// Where roles are assumed, if one may have to be.
    pub sts: Option<Sts>,
    /// The name of sessions that have none of their own.
    pub session_name: String,
    /// Which link of the default chain the environment answers by itself, for the log.
    pub answered: Option<&'static str>,
}

/// Where roles are assumed.
#[derive(Clone, Debug)]
pub struct Sts {
    /// The root of the service.
    pub endpoint: Endpoint,
    /// The region that calls to it are signed for.
    pub region: String,
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
    Chain(Box<Chain>),
    /// The same in an environment that is not this one, and may have keys.
    UnknownEnvironment,
}

impl AwsSource {
    /// The link of the default chain that this is, if the environment answers it by itself.
    fn link(&self) -> Option<&'static str> {
        match self {
            Self::Keys(_) => Some("the default chain: the environment answered"),
            Self::Bearer(_) => Some("the default chain: AWS_BEARER_TOKEN_BEDROCK answered"),
            _ => None,
        }
    }

    /// Whether its keys are surely those of a role: all that a platform gives are.
    fn is_of_a_role(&self) -> bool {
        match self {
            Self::Oidc { .. } => true,
            Self::Chain(chain) => chain.profile.is_none() && chain.then.is_ok(),
            _ => false,
        }
    }

    /// Whether it surely asks STS for a role.
    fn assumes(&self) -> bool {
        match self {
            Self::Oidc { .. } => true,
            Self::Chain(chain) => {
                chain.profile.is_none() && matches!(chain.then, Ok(Link::WebIdentity(_)))
            }
            _ => false,
        }
    }
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
    let mut answered = None;
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
            let source = default_chain(reader, place);
            answered = source.as_ref().and_then(AwsSource::link);
            source
        }
    };
    let (region, source) = (region?, source?);
    let assume_role = reader.own.assume_role.clone();
    if assume_role.is_some() {
        reader.needs_egress(place, "assumes a role");
    }
    let asks_sts =
        assume_role.is_some() || matches!(source, AwsSource::Oidc { .. } | AwsSource::Chain(_));
    let sts = if asks_sts { Some(sts(reader, place, &region)?) } else { None };
    if let Some(sts) = &sts
        && (assume_role.is_some() || source.assumes())
    {
        reader.needs_route(place, &sts.endpoint);
    }
    if let Some(seconds) = assume_role.as_ref().and_then(|role| role.duration)
        && seconds > LONGEST_CHAINED
        && source.is_of_a_role()
    {
        place
            .error("assumeRole.durationSeconds must be at most 3600 with the keys of another role");
    }
    Some(AwsCredentials {
        region,
        service: reader.own.service.clone().unwrap_or_else(|| host::BEDROCK.to_owned()),
        source,
        assume_role,
        sts,
        session_name: session_name(&reader.name),
        answered,
    })
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

/// What the environment makes of the default chain.
fn default_chain(reader: &Reader<'_, '_, '_>, place: Place<'_>) -> Option<AwsSource> {
    match aws_chain::answer(reader) {
        Ok(Answer::Keys(keys)) => Some(AwsSource::Keys(keys)),
        Ok(Answer::Bearer(_)) if reader.own.assume_role.is_some() => {
            place.error(
                "assumeRole needs keys, and AWS_BEARER_TOKEN_BEDROCK of the environment of the VM \
                 comes first",
            );
            None
        }
        Ok(Answer::Bearer(token)) => Some(AwsSource::Bearer(token)),
        Ok(Answer::Unknown) => Some(AwsSource::UnknownEnvironment),
        Ok(Answer::Chain(chain)) => {
            reader.needs_egress(
                place,
                "uses the default chain, and the environment of the VM has no AWS_ACCESS_KEY_ID \
                 and AWS_SECRET_ACCESS_KEY",
            );
            if chain.reads_files() {
                reader.needs_files(place, "reads a file that the environment of the VM names");
            }
            if let Some(endpoint) = chain.endpoint() {
                reader.needs_route(place, endpoint);
            }
            Some(AwsSource::Chain(chain))
        }
        Err(message) => {
            place.error(&format!("the environment of the VM: {message}"));
            None
        }
    }
}

/// STS as the environment has it, for a region.
fn sts(reader: &Reader<'_, '_, '_>, place: Place<'_>, region: &str) -> Option<Sts> {
    let variables = Variables::new(reader);
    let choice = StsChoice {
        legacy: variables
            .get("AWS_STS_REGIONAL_ENDPOINTS")
            .is_some_and(|text| text.eq_ignore_ascii_case("legacy")),
        fips: variables.is_on("AWS_USE_FIPS_ENDPOINT"),
        dual_stack: variables.is_on("AWS_USE_DUALSTACK_ENDPOINT"),
    };
    let (host, signed) = host::sts(region, choice);
    let (url, region) = match variables.get(STS_ENDPOINT) {
        Some(url) => (url, region),
        None => (format!("https://{host}"), signed),
    };
    match Endpoint::parse(&url, &reader.settings.egress.plaintext_hosts) {
        Ok(endpoint) if endpoint.is_metadata() || endpoint.path != "/" => {
            place.error(&format!(
                "the environment of the VM: {STS_ENDPOINT} must be the root of a host of STS"
            ));
            None
        }
        Ok(endpoint) => {
            // What is signed is what is sent.
            let authority = host::signed_form(&endpoint.authority);
            Some(Sts { endpoint: Endpoint { authority, ..endpoint }, region: region.to_owned() })
        }
        Err(error) => {
            place.error(&format!("the environment of the VM: {STS_ENDPOINT} {error}"));
            None
        }
    }
}
