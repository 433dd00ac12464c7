//! What a policy may say and this version cannot do yet.

use super::aws::AwsSource;
use super::azure::AzureSource;
use super::load::Config;
use super::manifest::{Credentials, Policy};
use super::problem::{Problem, Report};

impl Config {
    /// One line for everything in the policies that this version cannot do yet. The filter refuses
    /// a configuration that has any: a policy that does nothing would let requests go out without
    /// their credential.
    pub fn not_yet(&self) -> Vec<Problem> {
        let report = Report::default();
        for policy in &self.policies {
            let subject = &policy.subject;
            let cannot_obtain = || {
                let message = format!("this version cannot obtain {} yet", policy.kind);
                report.error(subject, "spec.type", &message);
            };
            match &policy.credentials {
                Credentials::Gcp(_) => cannot_obtain(),
                Credentials::Azure(azure) if matches!(azure.source, AzureSource::Identity(_)) => {
                    let field = format!("policies.{}.azureIdentity", policy.id);
                    report.setting(&field, "this version cannot use identities of Azure yet");
                }
                Credentials::Aws(aws) if matches!(aws.source, AwsSource::Oidc { .. }) => {
                    cannot_obtain();
                }
                Credentials::Aws(aws) if matches!(aws.source, AwsSource::DefaultChain) => report
                    .error(
                        subject,
                        "spec.awsCredentials",
                        "the environment of the VM has no AWS_ACCESS_KEY_ID and \
                         AWS_SECRET_ACCESS_KEY, and this version cannot use the other links of \
                         the default chain yet",
                    ),
                _ => {}
            }
            if policy.credential_override.is_some() {
                report.error(
                    subject,
                    "spec.credentialOverride",
                    "this version cannot take a credential from the request yet",
                );
            }
        }
        report.into_problems()
    }
}

impl Policy {
    /// The policy has no credential that could be put on a request.
    pub(crate) fn without_credential(&self) -> Problem {
        let report = Report::default();
        report.error(&self.subject, "", "its credential is not at hand");
        report.into_problems().remove(0)
    }
}
