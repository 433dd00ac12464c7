//! Secrets from files of this host, which Envoy serves.

use super::answer::{answer, body, malformed, refusal};
use super::{
    Call, Failure, Fingerprint, Inputs, Material, Next, Obtained, Reply, Source, Step, Target,
};
use crate::aws::keys;
use crate::credential::Secret;
use std::time::Duration;

const FILE: &str = "file";

/// A secret in a file.
#[derive(Clone, Debug)]
pub struct MountedFile {
    /// The absolute path, as it is on the disk.
    pub path: String,
    /// What it is in words of a log: `Secret default/name, key apiKey`.
    pub subject: String,
    /// What is in it.
    pub form: FileForm,
}

/// See [`MountedFile`].
#[derive(Clone, Debug)]
pub enum FileForm {
    /// One line.
    Line,
    /// A document that another source reads.
    Document,
    /// Profiles of AWS, of which one has the keys.
    AwsKeys {
        /// That one.
        profile: String,
    },
}

impl MountedFile {
    /// A token that the platform keeps in a file: read for every exchange, and never kept.
    pub(super) fn token(path: &str) -> Self {
        let subject = format!("the token file {path}");
        Self { path: path.to_owned(), subject, form: FileForm::Line }
    }
}

impl Source for MountedFile {
    fn start(&self, _: &Inputs<'_>, _: Duration) -> Step {
        let call = Call {
            step: FILE,
            target: Target::File(self.path.clone()),
            method: "GET",
            headers: Vec::new(),
            body: Vec::new(),
        };
        let file = self.clone();
        let next = move |reply: &Reply<'_>, now| match file.read(reply, now) {
            Ok(material) => Step::Done(Obtained::new(material, None)),
            Err(failure) => Step::Failed(failure),
        };
        Step::Call(call, Next::new(next))
    }

    fn needs(&self) -> Vec<usize> {
        Vec::new()
    }

    fn fingerprint(&self, print: &mut Fingerprint) {
        print.text("file").text(&self.path);
        match &self.form {
            FileForm::Line => print.text("line"),
            FileForm::Document => print.text("document"),
            FileForm::AwsKeys { profile } => print.text("keys").text(profile),
        };
    }
}

impl MountedFile {
    fn read(&self, reply: &Reply<'_>, now: Duration) -> Result<Material, Failure> {
        let own = |failure| Failure { subject: Some(self.subject.clone()), ..failure };
        let answer = answer(FILE, reply).map_err(own)?;
        if answer.status != 200 {
            // A file may come or be replaced at any moment.
            let failure = Failure { lasting: false, ..refusal(FILE, &answer, now) };
            return Err(own(Failure { gone: answer.status == 404, ..failure }));
        }
        let wrong = |what: &str| {
            let mut subject = self.subject.clone();
            subject.push_str(": ");
            subject.push_str(what);
            malformed(FILE, &answer, &subject)
        };
        let body = body(&answer).ok_or_else(|| wrong("must not be larger than 1 MiB"))?;
        let text = core::str::from_utf8(body).map_err(|_| wrong("must be UTF-8"))?;
        match &self.form {
            FileForm::Line => {
                Secret::line(text).map(Material::Line).map_err(|error| wrong(&error.to_string()))
            }
            FileForm::Document => {
                Secret::document(text).map(Material::Line).map_err(|e| wrong(&e.to_string()))
            }
            FileForm::AwsKeys { profile } => keys::from_file(text, profile)
                .map(Material::Keys)
                .map_err(|error| wrong(&error.to_string())),
        }
    }
}
