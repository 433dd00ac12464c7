//! Where a credential comes from: exchanges that ask for a call and take its reply, and never make one
//! themselves.
//!
//! An exchange is what comes next: a [`Step`] holds the call to make and the function that takes its
//! reply. A chain of exchanges is one put behind the other by [`Step::and_then`].

mod answer;
mod assertion;
mod aws_keys;
mod chain;
mod container;
mod date;
mod entra;
mod failure;
mod file;
mod fingerprint;
mod form;
mod google;
mod google_key;
mod google_sts;
mod instance;
mod life;
mod managed_identity;
mod oauth;
mod oidc;
mod profile;
mod sts;
mod sts_reply;
mod xml;

pub use assertion::Assertion;
pub use chain::AwsChain;
pub use entra::{Entra, Proof};
pub use failure::{Failure, Reason};
pub use file::{FileForm, MountedFile};
pub use fingerprint::Fingerprint;
pub use google::{GoogleFederation, GoogleToken};
pub use managed_identity::AzureManagedIdentity;
pub use oidc::Oidc;
pub use sts::{AssumeRole, GivenKeys, WebIdentityRole};

use crate::credential::{AwsKeys, Secret};
use crate::policy::Endpoint;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// What an exchange wants next.
#[derive(Debug)]
pub enum Step {
    /// A call; the function takes its reply.
    Call(Call, Next),
    /// It has come to its end.
    Done(Obtained),
    /// It has failed.
    Failed(Failure),
}

/// What takes the reply of a call, at a time since the Unix epoch.
pub struct Next(Box<Take>);

type Take = dyn FnOnce(&Reply<'_>, Duration) -> Step;
type Follow = dyn FnOnce(Result<Obtained, Failure>, Duration) -> Step;

impl Next {
    /// Takes the reply with `next`.
    pub fn new(next: impl FnOnce(&Reply<'_>, Duration) -> Step + 'static) -> Self {
        Self(Box::new(next))
    }

    /// Hands the reply over.
    pub fn take(self, reply: &Reply<'_>, now: Duration) -> Step {
        (self.0)(reply, now)
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
}

impl From<Result<Obtained, Failure>> for Step {
    fn from(result: Result<Obtained, Failure>) -> Self {
        match result {
            Ok(obtained) => Self::Done(obtained),
            Err(failure) => Self::Failed(failure),
        }
    }
}

impl Step {
    /// Goes on with what comes of this exchange, once something has.
    pub fn then(
        self,
        now: Duration,
        next: impl FnOnce(Result<Obtained, Failure>, Duration) -> Self + 'static,
    ) -> Self {
        self.followed(now, Box::new(next))
    }

    fn followed(self, now: Duration, next: Box<Follow>) -> Self {
        match self {
            Self::Done(obtained) => next(Ok(obtained), now),
            Self::Failed(failure) => next(Err(failure), now),
            Self::Call(call, inner) => {
                let take = move |reply: &Reply<'_>, now| inner.take(reply, now).followed(now, next);
                Self::Call(call, Next::new(take))
            }
        }
    }

    /// Goes on with what this exchange obtains, once it has.
    pub fn and_then(
        self,
        now: Duration,
        next: impl FnOnce(Obtained, Duration) -> Self + 'static,
    ) -> Self {
        self.then(now, |result, now| match result {
            Ok(obtained) => next(obtained, now),
            Err(failure) => Self::Failed(failure),
        })
    }
}

/// A call to make. It holds secrets, so its path, headers and body are not printed.
pub struct Call {
    /// What it is for, in a word or two of the log.
    pub step: &'static str,
    /// Where it goes.
    pub target: Target,
    /// `GET`, `POST` or `PUT`; empty if nothing is called.
    pub method: &'static str,
    /// Headers beside those that every call has.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({})", self.step)
    }
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a provider.
    Url(Endpoint),
    /// To the cluster that serves files of this host: the absolute path, as it is on the disk.
    File(String),
    /// To Envoy itself, which signs the body with this private key (RSASSA-PKCS1-v1_5 with SHA-256, RFC 8017): the
    /// answer is the signature, with status 200, or none, with another.
    Signer(Secret),
}

/// What became of a call.
#[derive(Clone, Copy, Debug)]
pub enum Reply<'a> {
    /// It was answered.
    Answer(Answer<'a>),
    /// It was not answered in time.
    TimedOut,
    /// There was no connection, or it was lost.
    Unreachable,
}

/// The answer to a call. It may hold secrets, so only its status is printed.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The headers, their names in lower case.
    pub headers: &'a [(String, Vec<u8>)],
    /// The body, whole.
    pub body: &'a [u8],
}

impl fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({})", self.status)
    }
}

impl<'a> Answer<'a> {
    /// The first value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.headers.iter().find(|(other, _)| other == name)?;
        core::str::from_utf8(value).ok()
    }
}

/// What an exchange obtains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obtained {
    /// What goes on requests, or into the next exchange.
    pub material: Material,
    /// When it ends, as a time since the Unix epoch; `None` if it does not.
    pub expires_at: Option<Duration>,
    /// Which of several sources it came from, for the log.
    pub note: Option<String>,
    /// Whether it had ended when it came, and is used for a while all the same.
    pub late: bool,
}

impl Obtained {
    /// What ends at `expires_at`, of which no more is said.
    pub fn new(material: Material, expires_at: Option<Duration>) -> Self {
        Self { material, expires_at, note: None, late: false }
    }
}

/// See [`Obtained`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// A key, token or password.
    Line(Secret),
    /// What requests are signed with.
    Keys(AwsKeys),
}

/// A text that a source needs.
#[derive(Clone, Debug)]
pub struct Input {
    /// Which it is: `<namespace>/<name>/<key>` of a Secret, say.
    pub id: String,
    /// What it is.
    pub value: InputValue,
}

/// See [`Input`].
#[derive(Clone, Debug)]
pub enum InputValue {
    /// It is at hand.
    Given(Secret),
    /// It is what another source obtains: its number.
    Obtained(usize),
}

/// What other sources have obtained, by number.
pub type Inputs<'i> = dyn Fn(usize) -> Option<Secret> + 'i;

impl Input {
    /// The text.
    pub fn get(&self, inputs: &Inputs<'_>) -> Option<Secret> {
        match &self.value {
            InputValue::Given(secret) => Some(secret.clone()),
            InputValue::Obtained(number) => inputs(*number),
        }
    }

    /// The text, for an exchange that has come to this step.
    fn require(&self, inputs: &Inputs<'_>, step: &'static str) -> Result<Secret, Failure> {
        self.get(inputs).ok_or_else(|| {
            let subject = Some(format!("{} is not there", self.id));
            Failure { subject, ..Failure::new(step, Reason::Malformed) }
        })
    }

    /// The number of the source that obtains it, if one does.
    pub fn need(&self) -> Option<usize> {
        match self.value {
            InputValue::Given(_) => None,
            InputValue::Obtained(number) => Some(number),
        }
    }

    /// What tells this text from others.
    pub fn fingerprint(&self, print: &mut Fingerprint) {
        print.text(&self.id);
        match &self.value {
            InputValue::Given(secret) => print.text("given").text(secret.expose()),
            // The path of a file is in its id.
            InputValue::Obtained(_) => print.text("file"),
        };
    }
}

/// Obtains a credential, again and again.
pub trait Source: fmt::Debug {
    /// Begins, at `now`, a time since the Unix epoch. Every input is there.
    fn start(&self, inputs: &Inputs<'_>, now: Duration) -> Step;

    /// The inputs that other sources obtain.
    fn needs(&self) -> Vec<usize>;

    /// What tells what is obtained here from everything else.
    fn fingerprint(&self, print: &mut Fingerprint);
}
