//! The metadata service of a machine of EC2, version 2, and version 1 where that is all there is
//! (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html>).

use super::answer::{Field, answer, body, malformed, refusal};
use super::aws_keys::{document, is_code, keys};
use super::{
    Answer, Call, Failure, Fingerprint, Inputs, Next, Obtained, Reason, Reply, Source, Step, Target,
};
use crate::credential::Secret;
use crate::policy::Instance;
use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

const TOKEN: &str = "instance metadata token";
const ROLE: &str = "instance metadata role";
const KEYS: &str = "instance metadata credentials";

const TOKEN_PATH: &str = "/latest/api/token";
const ROLE_PATH: &str = "/latest/meta-data/iam/security-credentials/";
/// How long a token lasts, in seconds: the longest, for it is used once.
const LIFE: &str = "21600";
/// How much longer keys are used that have ended when they come: the service is late, and they mostly
/// work (static stability, as in the SDKs).
const GRACE: Duration = Duration::from_secs(600);
/// The longest name of a role.
const LONGEST_ROLE: usize = 64;

impl Source for Instance {
    fn start(&self, _: &Inputs<'_>, _: Duration) -> Step {
        Rc::new(self.clone()).token(Again::Once)
    }

    fn needs(&self) -> Vec<usize> {
        Vec::new()
    }

    fn fingerprint(&self, print: &mut Fingerprint) {
        print.text("instance").endpoint(&self.endpoint);
        print.text(if self.version_1 { "either" } else { "2" });
    }
}

/// Whether a token that is refused is replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Once,
    Never,
}

/// What is asked with: a token, or none of version 1.
type Session = Option<Secret>;

impl Instance {
    fn token(self: Rc<Self>, again: Again) -> Step {
        let headers = vec![("x-aws-ec2-metadata-token-ttl-seconds".into(), LIFE.to_owned())];
        let call = self.call(TOKEN, "PUT", TOKEN_PATH, headers);
        let next = move |reply: &Reply<'_>, now| match self.session(reply, now) {
            Ok(session) => self.role(session, again),
            Err(failure) => Step::Failed(failure),
        };
        Step::Call(call, Next::new(next))
    }

    /// A machine that has only version 1 knows nothing of tokens.
    fn session(&self, reply: &Reply<'_>, now: Duration) -> Result<Session, Failure> {
        let answer = answer(TOKEN, reply).map_err(|failure| match failure.reason {
            Reason::Timeout => {
                let hint = "in a container, the machine's hop limit has to be 2 or more";
                Failure { subject: Some(hint.to_owned()), ..failure }
            }
            _ => failure,
        })?;
        match answer.status {
            200 => {
                let text = body(&answer).and_then(|body| core::str::from_utf8(body).ok());
                let token = text.and_then(|text| Secret::line(text).ok());
                token.map(Some).ok_or_else(|| malformed(TOKEN, &answer, "the answer is no token"))
            }
            403..=405 if self.version_1 => Ok(None),
            403..=405 => {
                let subject = "version 1 of the service is all there is, and is switched off";
                let failure = refusal(TOKEN, &answer, now);
                Err(Failure { subject: Some(subject.to_owned()), ..failure })
            }
            _ => Err(refusal(TOKEN, &answer, now)),
        }
    }

    fn role(self: Rc<Self>, session: Session, again: Again) -> Step {
        let call = self.call(ROLE, "GET", ROLE_PATH, with(session.as_ref()));
        let next = move |reply: &Reply<'_>, now| match role(reply, now) {
            Ok(role) => self.keys(&role, session, again),
            Err(failure) => self.or_anew(failure, session.is_some(), again),
        };
        Step::Call(call, Next::new(next))
    }

    fn keys(self: Rc<Self>, role: &str, session: Session, again: Again) -> Step {
        let path = format!("{ROLE_PATH}{role}");
        let call = self.call(KEYS, "GET", &path, with(session.as_ref()));
        let next = move |reply: &Reply<'_>, now| match obtained(reply, now) {
            Ok(obtained) => Step::Done(obtained),
            Err(failure) => self.or_anew(failure, session.is_some(), again),
        };
        Step::Call(call, Next::new(next))
    }

    /// A token that the service does not take any more is replaced, once.
    fn or_anew(self: Rc<Self>, failure: Failure, has_token: bool, again: Again) -> Step {
        if failure.status == Some(401) && has_token && again == Again::Once {
            return self.token(Again::Never);
        }
        Step::Failed(failure)
    }

    fn call(
        &self,
        step: &'static str,
        method: &'static str,
        path: &str,
        headers: Vec<(Cow<'static, str>, String)>,
    ) -> Call {
        let target = Target::Url(self.endpoint.join(path));
        Call { step, target, method, headers, body: Vec::new() }
    }
}

fn with(session: Option<&Secret>) -> Vec<(Cow<'static, str>, String)> {
    let header = |token: &Secret| ("x-aws-ec2-metadata-token".into(), token.expose().to_owned());
    session.map(header).into_iter().collect()
}

/// The name of the machine's role.
fn role(reply: &Reply<'_>, now: Duration) -> Result<String, Failure> {
    let answer = answer(ROLE, reply)?;
    if answer.status == 404 {
        let subject = Some("the machine has no role".to_owned());
        return Err(Failure { subject, ..refusal(ROLE, &answer, now) });
    }
    if answer.status != 200 {
        return Err(refusal(ROLE, &answer, now));
    }
    let text = body(&answer).and_then(|body| core::str::from_utf8(body).ok()).map(str::trim);
    let legal = |name: &&str| {
        (1..=LONGEST_ROLE).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
    };
    match text.filter(legal) {
        Some(name) => Ok(name.to_owned()),
        None => Err(malformed(ROLE, &answer, "the answer is not the name of a role")),
    }
}

/// The keys of the role.
fn obtained(reply: &Reply<'_>, now: Duration) -> Result<Obtained, Failure> {
    let (answer, document) = document(KEYS, reply, now)?;
    match Field::of(&document, "Code").text() {
        None | Some("Success") => {}
        // It comes with status 200, and heals when somebody repairs the role.
        Some(code) => return Err(failed(&answer, code)),
    }
    let obtained = keys(KEYS, &answer, &document, "Token", now)?;
    if obtained.expires_at.is_none_or(|end| end > now) {
        return Ok(obtained);
    }
    Ok(Obtained { expires_at: now.checked_add(GRACE), late: true, ..obtained })
}

fn failed(answer: &Answer<'_>, code: &str) -> Failure {
    Failure {
        status: Some(answer.status),
        code: Some(code.to_owned()).filter(|code| is_code(code)),
        lasting: true,
        ..Failure::new(KEYS, Reason::Denied)
    }
}
