//! `policies.<id>.assumeRole`: a role on top of whatever keys a policy of AWS has.

use super::cursor::{Fields, text};
use super::place::Place;
use super::tree::Tree;
use crate::aws::role::{self, Role};

const NOT_AN_ARN: &str = "must be the ARN of a role";
/// The tags of a session
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html>).
const MOST_TAGS: usize = 50;
const LONGEST_KEY: usize = 128;
const LONGEST_VALUE: usize = 256;

/// The role to assume; `None` in place of its session's name means that of the policy.
pub(crate) fn read(mut fields: Fields<'_, '_>, policy: &str) -> Option<Role> {
    let arn = fields
        .filled("roleArn")
        .and_then(|(arn, place)| checked(arn, place, role::is_arn(arn), NOT_AN_ARN));
    let session_name = match fields.text("sessionName") {
        Some((name, place)) => checked(
            name,
            place,
            role::is_session_name(name),
            "must be 2 to 64 letters, digits or '_', '+', '=', ',', '.', '@', '-'",
        ),
        None => Some(role::session_name(policy)),
    };
    let external_id = fields.text("externalID").and_then(|(id, place)| {
        checked(
            id,
            place,
            role::is_external_id(id),
            "must be 2 to 1224 letters, digits or '_', '+', '=', ',', '.', '@', ':', '/', '-'",
        )
    });
    let duration = fields.get("durationSeconds").and_then(|(value, place)| {
        let seconds = seconds(value);
        if seconds.is_none() {
            place.error("must be a number of seconds from 900 to 43200");
        }
        seconds
    });
    let tags = tags(&mut fields);
    fields.finish();
    Some(Role { arn: arn?, session_name: session_name?, external_id, duration, tags })
}

fn tags(fields: &mut Fields<'_, '_>) -> Vec<(String, String)> {
    let mut tags = Vec::new();
    let place = fields.place().field("tags");
    for (key, value, place) in fields.entries("tags") {
        let Some(value) = text(value, place) else { continue };
        let reserved = key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
        if key.is_empty() || key.chars().count() > LONGEST_KEY || reserved || !legal(key) {
            place.error(
                "must be the key of a tag: 1 to 128 letters, digits, spaces or \
                 '_', '.', ':', '/', '=', '+', '-', '@', and not begin with aws:",
            );
        }
        if value.chars().count() > LONGEST_VALUE || !legal(value) {
            place.error(
                "must be at most 256 letters, digits, spaces or \
                 '_', '.', ':', '/', '=', '+', '-', '@'",
            );
        }
        tags.push((key.to_owned(), value.to_owned()));
    }
    if tags.len() > MOST_TAGS {
        place.error("must have at most 50 items");
    }
    tags
}

fn legal(text: &str) -> bool {
    // STS takes the letters of every script, and judges those itself.
    text.chars().all(|c| !c.is_ascii() || c.is_ascii_alphanumeric() || " _.:/=+-@".contains(c))
}

/// A whole number of seconds that a session may last.
pub(crate) fn seconds(value: &Tree) -> Option<u32> {
    let Tree::Number(number) = value else { return None };
    let seconds = *number as u32;
    (f64::from(seconds) == *number && role::is_duration(seconds)).then_some(seconds)
}

fn checked(text: &str, place: Place<'_>, good: bool, message: &str) -> Option<String> {
    if !good {
        place.error(message);
    }
    good.then(|| text.to_owned())
}
