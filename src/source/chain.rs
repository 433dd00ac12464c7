//! The default chain of AWS, from the file on: what the environment answers by itself never comes here.

use super::profile::{Base, Resolved, Unresolved, resolve};
use super::sts::{assume, sts_and_role};
use super::{
    Assertion, Failure, FileForm, Fingerprint, GivenKeys, Inputs, Material, MountedFile, Obtained,
    Reason, Source, Step, WebIdentityRole,
};
use crate::aws::role::Role;
use crate::policy::{Chain, Link, Profile, Sts, WebIdentity};
use std::rc::Rc;
use std::time::Duration;

const FILE: &str = "shared credentials file";

/// The default chain.
#[derive(Clone, Debug)]
pub struct AwsChain {
    /// The links.
    pub chain: Chain,
    /// Where roles are assumed.
    pub sts: Sts,
    /// The name of sessions that have none of their own.
    pub session_name: String,
}

impl Source for AwsChain {
    fn start(&self, inputs: &Inputs<'_>, now: Duration) -> Step {
        let this = Rc::new(self.clone());
        let Some(profile) = self.chain.profile.clone() else {
            return this.later(self.chain.passed.clone(), now);
        };
        let file = MountedFile {
            path: profile.path.clone(),
            subject: format!("the shared credentials file {}", profile.path),
            form: FileForm::Document,
        };
        file.start(inputs, now).then(now, move |result, now| this.profile(&profile, result, now))
    }

    fn needs(&self) -> Vec<usize> {
        Vec::new()
    }

    fn fingerprint(&self, print: &mut Fingerprint) {
        print.text("default chain");
        match &self.chain.profile {
            Some(Profile { path, name, named }) => {
                // Only a profile may assume roles that are not known yet.
                sts_and_role(&self.sts, &Role::new("", &self.session_name), print);
                print.text("file").text(path).text(name).text(if *named { "named" } else { "" });
            }
            None => _ = print.text("no file"),
        }
        match &self.chain.container {
            Some(container) => container.fingerprint(print),
            None => _ = print.text("no container"),
        }
        match &self.chain.instance {
            Some(instance) => instance.fingerprint(print),
            None => _ = print.text("no instance"),
        }
        match &self.chain.then {
            Ok(Link::WebIdentity(identity)) => self.web_identity(identity).fingerprint(print),
            Ok(Link::Container(_)) => _ = print.text("then container"),
            Ok(Link::Instance(_)) => _ = print.text("then instance"),
            Err(message) => _ = print.text("then").text(message),
        }
    }
}

impl AwsChain {
    /// Takes what became of the file.
    fn profile(
        self: Rc<Self>,
        profile: &Profile,
        result: Result<Obtained, Failure>,
        now: Duration,
    ) -> Step {
        let passed = &self.chain.passed;
        let text = match result {
            Ok(Obtained { material: Material::Line(text), .. }) => text,
            Ok(_) => return Step::Failed(Failure::new(FILE, Reason::Malformed)),
            // It can come, and whoever named it did not mean another identity.
            Err(failure) => return Step::Failed(failure),
        };
        match resolve(text.expose(), &profile.name, &self.session_name) {
            Ok(resolved) => {
                let link = format!("profile {} of {}", profile.name, profile.path);
                let passed = passed.clone();
                let step = self.resolved(resolved, now);
                answered(step, link, passed, now)
            }
            Err(Unresolved::Absent(why)) if !profile.named => {
                let passed = format!("{passed}; {}: {why}", profile.path);
                self.later(passed, now)
            }
            Err(Unresolved::Absent(why) | Unresolved::Broken(why)) => {
                let subject = Some(format!("{}: {why}", profile.path));
                Step::Failed(Failure { subject, ..Failure::new(FILE, Reason::Malformed) })
            }
        }
    }

    /// Obtains what a profile means.
    fn resolved(&self, resolved: Resolved, now: Duration) -> Step {
        let unconfigured = |what: &str| {
            let subject = Some(format!("credential_source = {what}, which is not configured"));
            Step::Failed(Failure { subject, ..Failure::new(FILE, Reason::Malformed) })
        };
        let base = match resolved.base {
            Base::Keys(keys) => GivenKeys(keys).start(&|_| None, now),
            Base::WebIdentity(path, role) => {
                let token = Assertion::TokenFile(path);
                WebIdentityRole { sts: self.sts.clone(), role, token }.start(&|_| None, now)
            }
            Base::Container => match &self.chain.container {
                Some(container) => container.start(&|_| None, now),
                None => unconfigured("EcsContainer"),
            },
            Base::Instance => match &self.chain.instance {
                Some(instance) => instance.start(&|_| None, now),
                None => unconfigured("Ec2InstanceMetadata"),
            },
        };
        resolved.roles.into_iter().fold(base, |step, role| {
            let sts = self.sts.clone();
            step.and_then(now, move |with, now| assume(&sts, &role, with, now))
        })
    }

    /// Asks the links after the file. `passed` tells why those before did not answer.
    fn later(&self, mut passed: String, now: Duration) -> Step {
        passed.push_str(&self.chain.passed_later);
        let (step, link) = match &self.chain.then {
            Ok(Link::WebIdentity(identity)) => {
                (self.web_identity(identity).start(&|_| None, now), "web identity")
            }
            Ok(Link::Container(container)) => {
                (container.start(&|_| None, now), "container credentials")
            }
            Ok(Link::Instance(instance)) => (instance.start(&|_| None, now), "instance metadata"),
            Err(message) => {
                let subject = Some(format!("{message} ({passed})"));
                let failure = Failure::new("default chain", Reason::Malformed);
                return Step::Failed(Failure { subject, ..failure });
            }
        };
        answered(step, link.to_owned(), passed, now)
    }

    fn web_identity(&self, identity: &WebIdentity) -> WebIdentityRole {
        let session_name = identity.session_name.as_ref().unwrap_or(&self.session_name);
        WebIdentityRole {
            sts: self.sts.clone(),
            role: Role::new(&identity.role_arn, session_name),
            token: Assertion::TokenFile(identity.token_file.clone()),
        }
    }
}

/// Tells which link it was, and why not another.
fn answered(step: Step, link: String, passed: String, now: Duration) -> Step {
    step.then(now, move |result, _| match result {
        Ok(obtained) => {
            let note = format!("the default chain: {link} answered ({passed})");
            Step::Done(Obtained { note: Some(note), ..obtained })
        }
        Err(failure) => {
            let mut subject = failure.subject.clone().unwrap_or_default();
            if !subject.is_empty() {
                subject.push_str("; ");
            }
            subject.push_str(&format!("the default chain: {link} ({passed})"));
            Step::Failed(Failure { subject: Some(subject), ..failure })
        }
    })
}
