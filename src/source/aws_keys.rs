//! Keys of AWS in a document, as every service that gives any writes them.

use super::answer::{Field, answer, json, malformed, refusal};
use super::life;
use super::{Answer, Failure, Material, Obtained, Reply};
use crate::credential::AwsKeys;
use crate::policy::Tree;
use std::time::Duration;

/// The longest `Code` that is worth a place in a log.
const LONGEST_CODE: usize = 64;

/// The keys in a document, in which the token of their session is called `token`. They may have ended.
pub(super) fn keys(
    step: &'static str,
    answer: &Answer<'_>,
    document: &Tree,
    token: &'static str,
    now: Duration,
) -> Result<Obtained, Failure> {
    let wrong = |what: &str| malformed(step, answer, what);
    let part = |name: &str| {
        let text = Field::of(document, name).text();
        text.ok_or_else(|| wrong(&format!("the answer has no {name}")))
    };
    let keys = AwsKeys::new(part("AccessKeyId")?, part("SecretAccessKey")?, Some(part(token)?))
        .map_err(|error| wrong(&error.to_string()))?;
    let end = life::expiration(document, now).ok_or_else(|| wrong("its Expiration cannot be"))?;
    Ok(Obtained::new(Material::Keys(keys), Some(end)))
}

/// The same, if they have not ended.
pub(super) fn live_keys(
    step: &'static str,
    answer: &Answer<'_>,
    document: &Tree,
    token: &'static str,
    now: Duration,
) -> Result<Obtained, Failure> {
    let obtained = keys(step, answer, document, token, now)?;
    if obtained.expires_at.is_some_and(|end| end <= now) {
        return Err(malformed(step, answer, "its Expiration has passed"));
    }
    Ok(obtained)
}

/// The answer and its document, if it is one of success.
pub(super) fn document<'a>(
    step: &'static str,
    reply: &Reply<'a>,
    now: Duration,
) -> Result<(Answer<'a>, Tree), Failure> {
    let answer = answer(step, reply)?;
    if answer.status != 200 {
        return Err(refusal(step, &answer, now));
    }
    let document =
        json(&answer).ok_or_else(|| malformed(step, &answer, "the answer is not JSON"))?;
    Ok((answer, document))
}

/// Whether a text has the form of a code of AWS, `ExpiredTokenException` say.
pub(super) fn is_code(text: &str) -> bool {
    (1..=LONGEST_CODE).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
}
