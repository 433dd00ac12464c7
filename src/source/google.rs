//! Tokens of Google: from a credential file, by workload identity federation, or of the machine
//! (<https://google.aip.dev/auth/4110>).

use super::answer::{Field, answer, body, json, malformed, refusal};
use super::form::Form;
use super::google_key;
use super::google_sts::{Exchange, impersonate};
use super::oauth;
use super::{
    Assertion, Call, Failure, FileForm, Fingerprint, Input, Inputs, Material, MountedFile, Next,
    Obtained, Reason, Reply, Source, Step, Target,
};
use crate::credential::Secret;
use crate::policy::{
    AuthorizedUser, Endpoint, ExternalAccount, FileLimits, GoogleFile, Impersonation, SubjectToken,
    read_google_file,
};
use std::time::Duration;

const FILE: &str = "google credentials file";
const USER: &str = "google token";
const SUBJECT: &str = "google subject token";
const METADATA: &str = "google metadata token";

/// What everything of Google's cloud takes.
const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
/// What it takes to act as a service account, and no more.
const IAM: &str = "https://www.googleapis.com/auth/iam";
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// Who asks has to say this, and whoever answers says it too.
const FLAVOR: (&str, &str) = ("metadata-flavor", "Google");

/// A token of Google.
#[derive(Debug)]
pub enum GoogleToken {
    /// Of a credential file that a Secret holds.
    Secret(Input, FileLimits),
    /// Of the credential file at this path.
    File(String, FileLimits),
    /// By workload identity federation.
    Federation(Box<GoogleFederation>),
    /// Of the metadata server with this root.
    Metadata(Endpoint),
}

/// See [`GoogleToken`].
#[derive(Debug)]
pub struct GoogleFederation {
    /// Where tokens are exchanged.
    pub token_url: Endpoint,
    /// The provider of the pool.
    pub audience: String,
    /// The token that it trusts.
    pub subject: Assertion,
    /// The service account to act as.
    pub impersonation: Option<Impersonation>,
}

impl Source for GoogleToken {
    fn start(&self, inputs: &Inputs<'_>, now: Duration) -> Step {
        match self {
            Self::Secret(input, limits) => match input.require(inputs, FILE) {
                // Behind the name of a Secret stands where it is, if that is elsewhere.
                Ok(text) => of_file(&text, limits, input.id.trim_end(), now),
                Err(failure) => Step::Failed(failure),
            },
            Self::File(path, limits) => {
                let limits = limits.clone();
                let subject = format!("the credentials file {path}");
                let form = FileForm::Document;
                let file = MountedFile { path: path.clone(), subject: subject.clone(), form };
                file.start(inputs, now).and_then(now, move |obtained, now| {
                    let Material::Line(text) = obtained.material else {
                        return Step::Failed(Failure::new(FILE, Reason::Malformed));
                    };
                    of_file(&text, &limits, &subject, now)
                })
            }
            Self::Federation(federation) => federation.start(inputs, now),
            Self::Metadata(root) => metadata(root),
        }
    }

    fn needs(&self) -> Vec<usize> {
        match self {
            Self::Secret(input, _) => input.need().into_iter().collect(),
            Self::Federation(federation) => federation.subject.needs(),
            Self::File(..) | Self::Metadata(_) => Vec::new(),
        }
    }

    fn fingerprint(&self, print: &mut Fingerprint) {
        print.text("google");
        let limited = |print: &mut Fingerprint, limits: &FileLimits| {
            print.list(limits.mount_path.as_deref().into_iter());
            print.list(limits.plaintext_hosts.iter().map(String::as_str));
        };
        match self {
            Self::Secret(input, limits) => {
                input.fingerprint(print);
                limited(print, limits);
            }
            Self::File(path, limits) => {
                print.text("path").text(path);
                limited(print, limits);
            }
            Self::Federation(federation) => {
                print.text("federation").endpoint(&federation.token_url);
                print.text(&federation.audience);
                federation.subject.fingerprint(print);
                if let Some(Impersonation { endpoint, delegates, lifetime }) =
                    &federation.impersonation
                {
                    print.endpoint(endpoint).list(delegates.iter().map(String::as_str));
                    print.text(&lifetime.to_string());
                }
            }
            Self::Metadata(root) => _ = print.text("metadata").endpoint(root),
        }
    }
}

impl GoogleFederation {
    fn start(&self, inputs: &Inputs<'_>, now: Duration) -> Step {
        let exchange = Exchange {
            token_url: self.token_url.clone(),
            audience: self.audience.clone(),
            subject_token_type: "urn:ietf:params:oauth:token-type:jwt".to_owned(),
            client: None,
            user_project: None,
        };
        match self.subject.exchange(inputs) {
            Ok(subject) => federated(
                subject.begin(now),
                exchange,
                self.impersonation.clone(),
                CLOUD_PLATFORM,
                now,
            ),
            Err(failure) => Step::Failed(failure),
        }
    }
}

/// Exchanges a token of another provider, and acts as a service account if one is given. Only then is the
/// scope of the exchange that of acting as one.
fn federated(
    subject: Step,
    exchange: Exchange,
    impersonation: Option<Impersonation>,
    scope: &'static str,
    now: Duration,
) -> Step {
    let first = if impersonation.is_some() { IAM } else { scope };
    let exchanged = subject.and_then(now, move |obtained, _| match obtained.material {
        Material::Line(token) => exchange.ask(token, first),
        Material::Keys(_) => Step::Failed(Failure::new(SUBJECT, Reason::Malformed)),
    });
    match impersonation {
        Some(target) => exchanged.and_then(now, move |with, _| impersonate(with, &target, scope)),
        None => exchanged,
    }
}

/// A token of what a credential file is of. `subject` says where the file is.
fn of_file(text: &Secret, limits: &FileLimits, subject: &str, now: Duration) -> Step {
    match read_google_file(text.expose(), limits) {
        Ok(file) => of(file, CLOUD_PLATFORM, subject, now),
        Err(error) => {
            let subject = Some(format!("{subject}: {error}"));
            let failure = Failure::new(FILE, Reason::Malformed);
            Step::Failed(Failure { subject, lasting: true, ..failure })
        }
    }
}

fn of(file: GoogleFile, scope: &'static str, subject: &str, now: Duration) -> Step {
    match file {
        GoogleFile::ServiceAccount(account) => {
            google_key::token(account, scope, subject.to_owned(), now)
        }
        GoogleFile::AuthorizedUser(user) => refresh(user),
        GoogleFile::ExternalAccount(account) => external(*account, scope, now),
        GoogleFile::Impersonated(source, target) => of(*source, IAM, subject, now)
            .and_then(now, move |with, _| impersonate(with, &target, scope)),
    }
}

/// A token of a person who has logged in (RFC 6749 section 6).
fn refresh(user: AuthorizedUser) -> Step {
    let mut form = Form::default();
    form.field("grant_type", "refresh_token");
    form.field("client_id", &user.client_id);
    form.field("client_secret", user.client_secret.expose());
    form.field("refresh_token", user.refresh_token.expose());
    let call = oauth::call(USER, &user.token_uri, form);
    let next = move |reply: &Reply<'_>, now| {
        oauth::token(USER, reply, now, &[&user.client_secret, &user.refresh_token]).into()
    };
    Step::Call(call, Next::new(next))
}

fn external(account: ExternalAccount, scope: &'static str, now: Duration) -> Step {
    let exchange = Exchange {
        token_url: account.token_url,
        audience: account.audience,
        subject_token_type: account.subject_token_type,
        client: account.client,
        user_project: account.user_project,
    };
    federated(subject(account.subject, now), exchange, account.impersonation, scope, now)
}

/// The token of another provider.
fn subject(from: SubjectToken, now: Duration) -> Step {
    match from {
        SubjectToken::File { path, field: None } => MountedFile::token(&path).start(&|_| None, now),
        SubjectToken::File { path, field: Some(field) } => {
            let file = MountedFile { form: FileForm::Document, ..MountedFile::token(&path) };
            file.start(&|_| None, now).and_then(now, move |obtained, _| {
                let text = match &obtained.material {
                    Material::Line(text) => text.expose(),
                    Material::Keys(_) => "",
                };
                let token = serde_json::from_str(text).ok().and_then(|tree| token(&tree, &field));
                let missing = || {
                    let subject = Some(format!("the token file {path} has no such field"));
                    Failure { subject, ..Failure::new(SUBJECT, Reason::Malformed) }
                };
                token.ok_or_else(missing).map(line).into()
            })
        }
        SubjectToken::Url { endpoint, headers, field } => {
            let header = |(name, value): (String, Secret)| (name.into(), value.expose().to_owned());
            let call = Call {
                step: SUBJECT,
                target: Target::Url(endpoint),
                method: "GET",
                headers: headers.into_iter().map(header).collect(),
                body: Vec::new(),
            };
            let next = move |reply: &Reply<'_>, now| answered(reply, field.as_deref(), now).into();
            Step::Call(call, Next::new(next))
        }
    }
}

fn answered(reply: &Reply<'_>, field: Option<&str>, now: Duration) -> Result<Obtained, Failure> {
    let answer = answer(SUBJECT, reply)?;
    if answer.status != 200 {
        return Err(refusal(SUBJECT, &answer, now));
    }
    let found = match field {
        Some(field) => json(&answer).and_then(|tree| token(&tree, field)),
        None => body(&answer)
            .and_then(|body| core::str::from_utf8(body).ok())
            .and_then(|text| Secret::line(text).ok()),
    };
    found.map(line).ok_or_else(|| malformed(SUBJECT, &answer, "the answer has no token"))
}

fn token(tree: &crate::policy::Tree, field: &str) -> Option<Secret> {
    Field::of(tree, field).text().and_then(|text| Secret::line(text).ok())
}

fn line(token: Secret) -> Obtained {
    Obtained::new(Material::Line(token), None)
}

/// A token of the machine's service account.
fn metadata(root: &Endpoint) -> Step {
    let mut query = Form::default();
    query.field("scopes", CLOUD_PLATFORM);
    let path = format!("{METADATA_PATH}?{}", query.as_str());
    let (name, value) = FLAVOR;
    let call = Call {
        step: METADATA,
        target: Target::Url(root.join(&path)),
        method: "GET",
        headers: vec![(name.into(), value.to_owned())],
        body: Vec::new(),
    };
    let next = move |reply: &Reply<'_>, now| {
        let result = answer(METADATA, reply).and_then(|answer| match answer.header(name) {
            Some(flavor) if flavor == value => oauth::token(METADATA, reply, now, &[]),
            // Whoever this is must not be asked with a token in mind, nor believed.
            _ if answer.status == 200 => {
                Err(malformed(METADATA, &answer, "the answer is not of a metadata server"))
            }
            _ => Err(refusal(METADATA, &answer, now)),
        });
        result.map_err(absent).into()
    };
    Step::Call(call, Next::new(next))
}

/// A machine without a service account may get one.
fn absent(failure: Failure) -> Failure {
    match failure.status {
        Some(404) => {
            Failure { subject: Some("the machine has no service account".to_owned()), ..failure }
        }
        _ => failure,
    }
}
