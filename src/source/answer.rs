//! What an answer says by itself: its status, a wait, a document.

use super::date::retry_after;
use super::{Answer, Failure, Reason, Reply};
pub(super) use crate::policy::Field;
use crate::policy::Tree;
use std::time::Duration;

/// No document is longer.
const LONGEST: usize = 1 << 20;

/// The answer, if there is one.
pub(super) fn answer<'a>(step: &'static str, reply: &Reply<'a>) -> Result<Answer<'a>, Failure> {
    match reply {
        Reply::Answer(answer) => Ok(*answer),
        Reply::TimedOut => Err(Failure::new(step, Reason::Timeout)),
        Reply::Unreachable => Err(Failure::new(step, Reason::Connect)),
    }
}

/// What an answer means that is not the one hoped for, by its status (RFC 9110 section 15). A redirect
/// is not followed: it could lead a secret anywhere.
pub(super) fn refusal(step: &'static str, answer: &Answer<'_>, now: Duration) -> Failure {
    let reason = match answer.status {
        408 => Reason::Timeout,
        429 => Reason::Throttled,
        400..=499 => Reason::Denied,
        500..=599 => Reason::Server,
        _ => Reason::Malformed,
    };
    Failure {
        status: Some(answer.status),
        retry_after: answer.header("retry-after").and_then(|value| retry_after(value, now)),
        // Others may come of a proxy on the way, or of a provider that is not all there yet.
        lasting: matches!(answer.status, 400 | 401),
        ..Failure::new(step, reason)
    }
}

/// An answer that is not what it should be, and what is wrong with it.
pub(super) fn malformed(step: &'static str, answer: &Answer<'_>, subject: &str) -> Failure {
    Failure {
        status: Some(answer.status),
        subject: Some(subject.to_owned()),
        ..Failure::new(step, Reason::Malformed)
    }
}

/// The body, if it is short enough to be read.
pub(super) fn body<'a>(answer: &Answer<'a>) -> Option<&'a [u8]> {
    (answer.body.len() <= LONGEST).then_some(answer.body)
}

/// The body as JSON. It may hold secrets.
pub(super) fn json(answer: &Answer<'_>) -> Option<Tree> {
    serde_json::from_slice(body(answer)?).ok()
}
