//! What the user wrote, checked: a plugin configuration becomes a [`Config`] with one policy per
//! backend, or a list of everything that is wrong with it.

mod assume_role;
mod aws;
mod aws_chain;
mod azure;
mod backend;
mod capability;
mod credential_override;
mod cursor;
mod gcp;
mod google_file;
mod identity;
mod index;
mod load;
mod manifest;
mod oidc;
mod place;
mod problem;
mod protobuf;
mod resources;
mod rules;
mod secrets;
mod settings;
mod shape;
mod targets;
mod tree;
mod url;
mod variables;

pub use aws::{AwsCredentials, AwsSource, Sts};
pub use aws_chain::{Authorization, Chain, Container, Instance, Link, Profile, WebIdentity};
pub use azure::{AzureCredentials, AzureSource, IdentityService};
pub use backend::{BackendName, Backends, Target};
pub use credential_override::{CredentialOverride, OverrideSource};
pub use gcp::{Federation, GcpCredentials, GcpSource};
pub use google_file::{
    AuthorizedUser, ExternalAccount, FileLimits, GoogleFile, Impersonation, ServiceAccount,
    SubjectToken, read as read_google_file,
};
pub use identity::{AzureIdentity, ManagedIdentity, PoliciesSettings, PolicySettings};
pub use load::{Config, Loaded, load, parse};
pub use manifest::{Credentials, Policy};
pub use oidc::{OidcClientId, OidcExchange};
pub use problem::{Problem, Severity, quote};
pub(crate) use rules::absolute_path as is_absolute_path;
pub use secrets::{
    Environment, EnvironmentSecret, SecretOrigin, SecretSettings, SecretSource, Variable,
};
pub use settings::{ClientCredentials, Egress, Position, Route, Settings, UnmatchedBackend};
pub use tree::{Field, Tree};
pub use url::{Endpoint, EndpointError, Scheme};
