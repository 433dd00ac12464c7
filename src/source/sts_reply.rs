//! What STS answers: JSON as this asks for, or XML, which is all that some servers know
//! (<https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>).

use super::answer::{Field, answer, body, malformed, refusal};
use super::aws_keys::{is_code, live_keys};
use super::{Answer, Failure, Obtained, Reason, Reply, xml};
use crate::credential::Secret;
use crate::policy::Tree;
use std::time::Duration;

/// What passes by itself, whatever the status.
const PASSING: [(&str, Reason); 18] = [
    ("IDPCommunicationError", Reason::Server),
    ("InternalError", Reason::Server),
    ("InternalFailure", Reason::Server),
    ("InternalServerError", Reason::Server),
    ("ServiceUnavailable", Reason::Server),
    ("RequestTimeout", Reason::Timeout),
    ("RequestTimeoutException", Reason::Timeout),
    ("BandwidthLimitExceeded", Reason::Throttled),
    ("LimitExceededException", Reason::Throttled),
    ("PriorRequestNotComplete", Reason::Throttled),
    ("RequestLimitExceeded", Reason::Throttled),
    ("RequestThrottled", Reason::Throttled),
    ("RequestThrottledException", Reason::Throttled),
    ("SlowDown", Reason::Throttled),
    ("ThrottledException", Reason::Throttled),
    ("Throttling", Reason::Throttled),
    ("ThrottlingException", Reason::Throttled),
    ("TooManyRequestsException", Reason::Throttled),
];

/// What a person has to heal.
const LASTING: [&str; 14] = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "IDPRejectedClaim",
    "InvalidClientTokenId",
    "MalformedPolicyDocument",
    "MissingAuthenticationToken",
    "OptInRequired",
    "PackedPolicyTooLarge",
    "RegionDisabledException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "ValidationError",
    "ValidationException",
];

/// A token that is over. A new one may not be.
const EXPIRED: [&str; 2] = ["ExpiredTokenException", "ExpiredToken"];
/// A token that STS does not know how to verify: mostly, or not yet, so it does not count as lasting.
const INVALID: &str = "InvalidIdentityToken";

/// The keys that STS answers to an action. `secrets` are those of the request: none of them may come back
/// as a code.
pub(super) fn obtained(
    step: &'static str,
    action: &str,
    reply: &Reply<'_>,
    now: Duration,
    secrets: &[&Secret],
) -> Result<Obtained, Failure> {
    let answer = answer(step, reply)?;
    if answer.status != 200 {
        return Err(refused(step, &answer, now, secrets));
    }
    let wrong = |what: &str| malformed(step, &answer, what);
    let tree = tree(&answer).ok_or_else(|| wrong("the answer is neither JSON nor XML"))?;
    let response = format!("{action}Response");
    let result = format!("{action}Result");
    let credentials = at(&tree, &[&response, &result, "Credentials"])
        .ok_or_else(|| wrong("the answer has no Credentials"))?;
    live_keys(step, &answer, credentials, "SessionToken", now)
}

/// Whether a token is over that was sent.
pub(super) fn is_expired(failure: &Failure) -> bool {
    failure.reason == Reason::Denied
        && failure.code.as_deref().is_some_and(|code| EXPIRED.contains(&code))
}

fn refused(step: &'static str, answer: &Answer<'_>, now: Duration, secrets: &[&Secret]) -> Failure {
    let mut failure = refusal(step, answer, now);
    let Some(tree) = tree(answer) else { return failure };
    // JSON has it at the top; moto writes XML as EC2 does.
    let error = at(&tree, &["ErrorResponse", "Error"])
        .or_else(|| at(&tree, &["Error"]))
        .or_else(|| at(&tree, &["ErrorResponse", "Errors", "Error"]));
    let code = error.and_then(|error| Field::of(error, "Code").text());
    let Some(code) = code.map(str::trim).filter(|code| is_code(code)) else { return failure };
    if secrets.iter().any(|s| s.expose().contains(code) || code.contains(s.expose())) {
        return failure;
    }
    failure.code = Some(code.to_owned());
    if failure.reason != Reason::Denied {
        return failure;
    }
    if let Some((_, reason)) = PASSING.iter().find(|(passing, _)| *passing == code) {
        (failure.reason, failure.lasting) = (*reason, false);
    } else if LASTING.contains(&code) {
        failure.lasting = true;
    } else if EXPIRED.contains(&code) || code == INVALID {
        failure.lasting = false;
    }
    failure
}

fn tree(answer: &Answer<'_>) -> Option<Tree> {
    let body = body(answer)?.trim_ascii_start();
    if body.first() == Some(&b'{') {
        return serde_json::from_slice(body).ok();
    }
    let text = core::str::from_utf8(body).ok()?;
    // Some editors put a byte order mark in front of UTF-8, and so do some servers.
    xml::tree(text.trim_start_matches('\u{feff}'))
}

fn at<'t>(tree: &'t Tree, names: &[&str]) -> Option<&'t Tree> {
    let mut at = tree;
    for name in names {
        match Field::of(at, name) {
            Field::Is(inner) => at = inner,
            Field::Absent | Field::Twice => return None,
        }
    }
    Some(at)
}
