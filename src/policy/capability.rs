//! What a policy may say and this version cannot do yet.

use super::load::Config;
use super::manifest::Policy;
use super::problem::{Problem, Report};

impl Config {
    /// One line for everything in the policies that this version cannot do yet. The filter refuses
    /// a configuration that has any: a policy that does nothing would let requests go out without
    /// their credential.
    pub fn not_yet(&self) -> Vec<Problem> {
        let report = Report::default();
        for policy in &self.policies {
            let subject = &policy.subject;
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
