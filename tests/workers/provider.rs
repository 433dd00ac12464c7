//! What providers and the server of files answer.

use super::setup::{ISSUER, Name, Stage};
use aigw_auth::source::{Answer, Reason, Reply};
use serde_json::json;
use std::time::Duration;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What is asked for; if it ends, after so many seconds.
    Good(u64),
    /// The same that was given last, which ends after so many seconds.
    Again(u64),
    /// It heals by a person.
    Denied,
    /// The assertion is too old.
    OutOfDate,
    /// Too many calls, with a `Retry-After`.
    Throttled(u64),
    Server,
    NotJson,
    NoToken,
    /// A life of nothing.
    NoLife,
    Redirect,
    /// 404: what a file says that is not there.
    Gone,
    TimedOut,
    Unreachable,
}

pub(crate) const FAILURES: [Outcome; 11] = [
    Outcome::Denied,
    Outcome::OutOfDate,
    Outcome::Throttled(0),
    Outcome::Throttled(7),
    Outcome::Server,
    Outcome::NotJson,
    Outcome::NoToken,
    Outcome::NoLife,
    Outcome::Redirect,
    Outcome::TimedOut,
    Outcome::Unreachable,
];

impl Outcome {
    /// Whether the stage that is called brings what it is called for.
    pub(crate) fn is_good(self) -> bool {
        matches!(self, Self::Good(_) | Self::Again(_))
    }

    /// How long what it brings lives.
    pub(crate) fn life(self) -> Duration {
        match self {
            Self::Good(life) | Self::Again(life) => Duration::from_secs(life),
            _ => panic!("it brings nothing"),
        }
    }

    /// Why an exchange fails by it.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Good(_) | Self::Again(_) => panic!("it does not fail"),
            Self::Denied | Self::OutOfDate | Self::Gone => Reason::Denied,
            Self::Throttled(_) => Reason::Throttled,
            Self::Server => Reason::Server,
            Self::NotJson | Self::NoToken | Self::NoLife | Self::Redirect => Reason::Malformed,
            Self::TimedOut => Reason::Timeout,
            Self::Unreachable => Reason::Connect,
        }
    }

    /// How long the credential is left alone after it, whatever else happens.
    pub(crate) fn pause(self, name: Name) -> Duration {
        match self {
            Self::Denied if !name.is_file() => Duration::from_secs(30),
            Self::Throttled(seconds) => Duration::from_secs(seconds),
            _ => Duration::ZERO,
        }
    }
}

/// An answer, whole.
pub(crate) struct Given {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: String,
}

impl Given {
    pub(crate) fn answer(&self) -> Answer<'_> {
        Answer { status: self.status, headers: &self.headers, body: self.body.as_bytes() }
    }
}

/// What is answered to a call of a stage. `text` is what a good answer brings.
pub(crate) fn given(outcome: Outcome, name: Name, stage: Stage, text: &str) -> Option<Given> {
    let plain = |status, body: &str| Given { status, headers: Vec::new(), body: body.to_owned() };
    let json = |status, body: serde_json::Value| plain(status, &body.to_string());
    let token =
        |life: u64| json!({"token_type": "Bearer", "access_token": text, "expires_in": life});
    let of_file = name.is_file();
    Some(match outcome {
        Outcome::Good(_) | Outcome::Again(_) if of_file => plain(200, &file(name, text)),
        Outcome::Good(_) | Outcome::Again(_) if stage == Stage::Discovery => {
            json(200, json!({"issuer": ISSUER, "token_endpoint": "https://idp.example/r/token"}))
        }
        Outcome::Good(life) | Outcome::Again(life) => json(200, token(life)),
        Outcome::Denied | Outcome::OutOfDate if of_file => plain(403, ""),
        Outcome::Denied => json(401, json!({"error": "invalid_client"})),
        Outcome::OutOfDate => {
            json(401, json!({"error": "invalid_client", "error_codes": [700_024]}))
        }
        Outcome::Throttled(0) => plain(429, ""),
        Outcome::Throttled(seconds) => {
            let value = seconds.to_string().into_bytes();
            Given { headers: vec![("retry-after".to_owned(), value)], ..plain(429, "") }
        }
        Outcome::Server => plain(503, "<html>"),
        Outcome::NotJson | Outcome::NoToken | Outcome::NoLife if of_file => plain(200, "\n"),
        Outcome::NotJson => plain(200, "<html>"),
        Outcome::NoToken => json(200, json!({"token_type": "Bearer"})),
        Outcome::NoLife if stage == Stage::Discovery => json(200, json!({"issuer": ISSUER})),
        Outcome::NoLife => json(200, token(0)),
        Outcome::Redirect => plain(302, ""),
        Outcome::Gone => plain(404, ""),
        Outcome::TimedOut | Outcome::Unreachable => return None,
    })
}

/// The reply of a host that has no answer.
pub(crate) fn no_answer(outcome: Outcome) -> Reply<'static> {
    if outcome == Outcome::TimedOut { Reply::TimedOut } else { Reply::Unreachable }
}

fn file(name: Name, text: &str) -> String {
    match name {
        Name::Keys => format!(
            "[default]\naws_access_key_id = {text}\naws_secret_access_key = secret of {text}\n"
        ),
        _ => format!("{text}\n"),
    }
}
