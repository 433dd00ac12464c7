//! Roles of AWS: a token for one, and the keys of one for those of another
//! (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>,
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>).

use super::form::Form;
use super::sts_reply::{is_expired, obtained};
use super::{
    Assertion, Call, Failure, Fingerprint, Inputs, Material, Next, Obtained, Reason, Reply, Source,
    Step, Target, assertion, oauth,
};
use crate::aws::role::Role;
use crate::aws::sigv4::{DATE, Request, SECURITY_TOKEN, Scope, Signer};
use crate::credential::{AwsKeys, Secret};
use crate::policy::Sts;
use sha2::{Digest, Sha256};
use std::rc::Rc;
use std::time::Duration;

const WEB_IDENTITY: &str = "sts web identity";
const ASSUME_ROLE: &str = "sts assume role";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const VERSION: &str = "2011-06-15";
/// The name that STS is signed for.
const SERVICE: &str = "sts";

/// Keys that are at hand.
#[derive(Clone, Debug)]
pub struct GivenKeys(pub AwsKeys);

impl Source for GivenKeys {
    fn start(&self, _: &Inputs<'_>, _: Duration) -> Step {
        Step::Done(Obtained::new(Material::Keys(self.0.clone()), None))
    }

    fn needs(&self) -> Vec<usize> {
        Vec::new()
    }

    fn fingerprint(&self, print: &mut Fingerprint) {
        let keys = &self.0;
        print.text("keys").text(keys.access_key_id().expose());
        print.text(keys.secret_access_key().expose());
        print.list(keys.session_token().map(Secret::expose).into_iter());
    }
}

/// A role that a token is exchanged for.
#[derive(Clone, Debug)]
pub struct WebIdentityRole {
    /// Where.
    pub sts: Sts,
    /// Which.
    pub role: Role,
    /// Whose token.
    pub token: Assertion,
}

impl Source for WebIdentityRole {
    fn start(&self, inputs: &Inputs<'_>, now: Duration) -> Step {
        let target = Rc::new((self.sts.clone(), self.role.clone()));
        match self.token.exchange(inputs) {
            Ok(token) => with_token(target, token, Again::Once, now),
            Err(failure) => Step::Failed(failure),
        }
    }

    fn needs(&self) -> Vec<usize> {
        self.token.needs()
    }

    fn fingerprint(&self, print: &mut Fingerprint) {
        print.text("web identity");
        sts_and_role(&self.sts, &self.role, print);
        self.token.fingerprint(print);
    }
}

/// Whether a token that is over is replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Once,
    Never,
}

fn with_token(
    target: Rc<(Sts, Role)>,
    token: assertion::Exchange,
    again: Again,
    now: Duration,
) -> Step {
    token.begin(now).and_then(now, move |obtained, _| {
        let Material::Line(text) = obtained.material else {
            return Step::Failed(Failure::new(WEB_IDENTITY, Reason::Malformed));
        };
        let action = "AssumeRoleWithWebIdentity";
        let (sts, role) = &*target;
        let mut form = form(action, role);
        form.field("WebIdentityToken", text.expose());
        let call = call(WEB_IDENTITY, sts, form.into_body());
        let next = move |reply: &Reply<'_>, now| {
            let mut secrets = vec![&text];
            secrets.extend(token.secrets());
            match self::obtained(WEB_IDENTITY, action, reply, now, &secrets) {
                Err(failure) if again == Again::Once && is_expired(&failure) => {
                    with_token(target, token, Again::Never, now)
                }
                result => result.into(),
            }
        };
        Step::Call(call, Next::new(next))
    })
}

/// A role that is assumed with keys.
#[derive(Debug)]
pub struct AssumeRole {
    /// Where.
    pub sts: Sts,
    /// Which.
    pub role: Role,
    /// With what.
    pub keys: Box<dyn Source>,
}

impl Source for AssumeRole {
    fn start(&self, inputs: &Inputs<'_>, now: Duration) -> Step {
        let (sts, role) = (self.sts.clone(), self.role.clone());
        self.keys.start(inputs, now).and_then(now, move |with, now| assume(&sts, &role, with, now))
    }

    fn needs(&self) -> Vec<usize> {
        self.keys.needs()
    }

    fn fingerprint(&self, print: &mut Fingerprint) {
        print.text("assume role");
        sts_and_role(&self.sts, &self.role, print);
        self.keys.fingerprint(print);
    }
}

/// Assumes a role with keys that were just obtained.
pub(super) fn assume(sts: &Sts, role: &Role, with: Obtained, now: Duration) -> Step {
    let Material::Keys(keys) = with.material else {
        return Step::Failed(Failure::new(ASSUME_ROLE, Reason::Malformed));
    };
    let action = "AssumeRole";
    let mut form = form(action, role);
    if let Some(id) = &role.external_id {
        form.field("ExternalId", id);
    }
    for (index, (key, value)) in role.tags.iter().enumerate() {
        let number = index + 1;
        form.field(&format!("Tags.member.{number}.Key"), key);
        form.field(&format!("Tags.member.{number}.Value"), value);
    }
    let mut call = call(ASSUME_ROLE, sts, form.into_body());
    if sign(&mut call, sts, &keys, now).is_none() {
        return Step::Failed(Failure::new(ASSUME_ROLE, Reason::Malformed));
    }
    let note = with.note;
    let next = move |reply: &Reply<'_>, now| {
        let token = keys.session_token();
        let secrets = [Some(keys.secret_access_key()), token].into_iter().flatten();
        let secrets: Vec<&Secret> = secrets.collect();
        obtained(ASSUME_ROLE, action, reply, now, &secrets)
            .map(|obtained| Obtained { note, ..obtained })
            .into()
    };
    Step::Call(call, Next::new(next))
}

/// Signs a call as the SDKs do: its type, its host and what belongs to the signature.
fn sign(call: &mut Call, sts: &Sts, keys: &AwsKeys, now: Duration) -> Option<()> {
    let request = Request {
        method: call.method.as_bytes(),
        path: sts.endpoint.path.as_bytes(),
        host: &sts.endpoint.authority,
        headers: &[("content-type", FORM.as_bytes())],
        body: &Sha256::digest(&call.body).into(),
    };
    let scope = Scope { region: &sts.region, service: SERVICE };
    let signed = Signer::default().sign(&request, scope, keys, now)?;
    call.headers.push(("authorization".into(), signed.authorization.expose().to_owned()));
    call.headers.push((DATE.into(), signed.date));
    let token =
        keys.session_token().map(|token| (SECURITY_TOKEN.into(), token.expose().to_owned()));
    call.headers.extend(token);
    Some(())
}

/// What every action says of its role.
fn form(action: &str, role: &Role) -> Form {
    let mut form = Form::default();
    form.field("Action", action);
    form.field("Version", VERSION);
    form.field("RoleArn", &role.arn);
    form.field("RoleSessionName", &role.session_name);
    if let Some(seconds) = role.duration {
        form.field("DurationSeconds", &seconds.to_string());
    }
    form
}

fn call(step: &'static str, sts: &Sts, body: Vec<u8>) -> Call {
    Call {
        step,
        target: Target::Url(sts.endpoint.clone()),
        method: "POST",
        headers: vec![
            ("content-type".into(), FORM.to_owned()),
            ("accept".into(), oauth::JSON.to_owned()),
        ],
        body,
    }
}

/// What tells a role at STS from others.
pub(super) fn sts_and_role(sts: &Sts, role: &Role, print: &mut Fingerprint) {
    print.endpoint(&sts.endpoint).text(&sts.region);
    print.text(&role.arn).text(&role.session_name);
    print.list(role.external_id.as_deref().into_iter());
    print.text(&role.duration.unwrap_or_default().to_string());
    print.list(role.tags.iter().map(|(key, _)| key.as_str()));
    print.list(role.tags.iter().map(|(_, value)| value.as_str()));
}
