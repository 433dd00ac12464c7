//! What all token endpoints have in common (RFC 6749 sections 4.4 and 5), with what Entra ID adds.

use super::answer::{Field, answer, json, malformed, refusal};
use super::form::Form;
use super::life;
use super::{Answer, Call, Failure, Material, Obtained, Reason, Reply, Target};
use crate::credential::Secret;
use crate::policy::{Endpoint, Tree};
use std::time::Duration;

pub(super) const FORM: &str = "application/x-www-form-urlencoded";
pub(super) const JSON: &str = "application/json";

/// What the client is known to have been refused for until a person does something
/// (RFC 6749 section 5.2, RFC 8707 section 2).
const LASTING: [&str; 8] = [
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "access_denied",
    "unauthorized_client",
    "unsupported_grant_type",
];

/// The `error_codes` of Entra ID that pass, whatever the status
/// (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>): no directory, too many
/// calls of a tenant, no signing key, a client that asks in a loop.
const PASSING: [(u32, Reason); 4] = [
    (90_033, Reason::Server),
    (90_055, Reason::Throttled),
    (50_087, Reason::Server),
    (50_196, Reason::Throttled),
];

/// Part of what Google says when an assertion seems to be of another time.
const OUT_OF_TIME: &str = "reasonable timeframe";

/// The longest `error` that is worth a place in a log.
const LONGEST_CODE: usize = 40;

/// A request for a token.
pub(super) fn call(step: &'static str, endpoint: &Endpoint, form: Form) -> Call {
    Call {
        step,
        target: Target::Url(endpoint.clone()),
        method: "POST",
        headers: vec![("content-type".into(), FORM.to_owned()), ("accept".into(), JSON.to_owned())],
        body: form.into_body(),
    }
}

/// The token that a reply brings. `secrets` are those of the request: none of them may come back as an
/// error code.
pub(super) fn token(
    step: &'static str,
    reply: &Reply<'_>,
    now: Duration,
    secrets: &[&Secret],
) -> Result<Obtained, Failure> {
    let answer = answer(step, reply)?;
    if answer.status != 200 {
        return Err(refused(step, &answer, now, secrets));
    }
    let wrong = |what| malformed(step, &answer, what);
    let document = json(&answer).ok_or_else(|| wrong("the answer is not JSON"))?;
    match Field::of(&document, "error") {
        Field::Absent => {}
        Field::Is(_) => return Err(refused(step, &answer, now, secrets)),
        Field::Twice => return Err(wrong("the answer has two errors")),
    }
    let token = Field::of(&document, "access_token").text().and_then(|t| Secret::line(t).ok());
    let token = token.ok_or_else(|| wrong("the answer has no access_token"))?;
    match Field::of(&document, "token_type") {
        Field::Absent => {}
        Field::Is(Tree::Text(kind)) if kind.eq_ignore_ascii_case("bearer") => {}
        Field::Is(_) | Field::Twice => return Err(wrong("its token_type is not Bearer")),
    }
    let end = life::end(&document, now).ok_or_else(|| wrong("its expires_in cannot be"))?;
    Ok(Obtained::new(Material::Line(token), Some(end)))
}

/// Why there is no token, or no document that leads to one.
pub(super) fn refused(
    step: &'static str,
    answer: &Answer<'_>,
    now: Duration,
    secrets: &[&Secret],
) -> Failure {
    let mut failure = refusal(step, answer, now);
    match answer.status {
        // It has an error inside.
        200 => (failure.reason, failure.lasting) = (Reason::Denied, true),
        400..=599 => {}
        _ => return failure,
    }
    let Some(document) = json(answer) else { return failure };
    if let Field::Is(error @ Tree::Map(_)) = Field::of(&document, "error") {
        return of_google(failure, error, secrets);
    }
    let error = Field::of(&document, "error").text();
    let numbers = numbers(&document);
    let code = match numbers.first() {
        Some(number) => Some(format!("AADSTS{number}")),
        None => error.filter(|error| is_code(error)).map(str::to_owned),
    };
    failure.code = code.filter(|code| !secrets.iter().any(|secret| tells(code, secret)));
    if failure.reason != Reason::Denied {
        return failure;
    }
    let passing = PASSING.iter().find(|(number, _)| numbers.contains(number));
    let passing = match (passing, error) {
        (Some((_, reason)), _) => Some(*reason),
        (None, Some("server_error" | "temporarily_unavailable" | "internal_failure")) => {
            Some(Reason::Server)
        }
        (None, Some("slow_down")) => Some(Reason::Throttled),
        (None, _) => None,
    };
    if let Some(reason) = passing {
        (failure.reason, failure.lasting) = (reason, false);
    } else if error.is_some_and(|error| LASTING.contains(&error)) {
        failure.lasting = true;
    }
    let description = Field::of(&document, "error_description").text().unwrap_or_default();
    if description.contains(OUT_OF_TIME) {
        failure.subject =
            Some("the clock of this host differs from the provider's, which says so".to_owned());
    }
    failure
}

/// An error of Google's APIs, which is an object with a name of its kind
/// (<https://google.aip.dev/193>, `google.rpc.Code`).
fn of_google(mut failure: Failure, error: &Tree, secrets: &[&Secret]) -> Failure {
    let Some(status) = Field::of(error, "status").text() else { return failure };
    let is_kind = |b: u8| b.is_ascii_uppercase() || b == b'_';
    let good = (1..=LONGEST_CODE).contains(&status.len()) && status.bytes().all(is_kind);
    if good && !secrets.iter().any(|secret| tells(status, secret)) {
        failure.code = Some(status.to_owned());
        if failure.reason == Reason::Denied {
            let passing = match status {
                "ABORTED" | "DEADLINE_EXCEEDED" | "INTERNAL" | "UNAVAILABLE" => {
                    Some(Reason::Server)
                }
                "RESOURCE_EXHAUSTED" => Some(Reason::Throttled),
                _ => None,
            };
            failure.lasting = passing.is_none();
            failure.reason = passing.unwrap_or(failure.reason);
        }
    }
    failure
}

/// The `error_codes`.
fn numbers(document: &Tree) -> Vec<u32> {
    let Field::Is(Tree::List(items)) = Field::of(document, "error_codes") else {
        return Vec::new();
    };
    let number = |item: &Tree| match item {
        Tree::Number(number) => {
            Some(*number as u32).filter(|whole| *whole > 0 && f64::from(*whole) == *number)
        }
        _ => None,
    };
    items.iter().filter_map(number).collect()
}

/// Whether a code could tell of a secret.
fn tells(code: &str, secret: &Secret) -> bool {
    secret.expose().contains(code) || code.contains(secret.expose())
}

/// Whether an `error` has the form of one (RFC 6749 appendix A.7 allows more).
fn is_code(text: &str) -> bool {
    (1..=LONGEST_CODE).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_are_whole_numbers_that_the_provider_has_sent() {
        let read = |text: &str| numbers(&serde_json::from_str(text).unwrap());
        assert_eq!(read(r#"{"error_codes": [7000215, 50196]}"#), [7_000_215, 50_196]);
        for codes in ["[1e30]", "[-1]", "[0]", "[1.5]", r#"["7000215"]"#, "7000215", "null"] {
            assert_eq!(read(&format!(r#"{{"error_codes": {codes}}}"#)), [0; 0], "{codes}");
        }
    }
}
