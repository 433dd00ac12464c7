//! A role to assume, with the limits that STS has for what is said with it
//! (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>).

use std::ops::RangeInclusive;

/// The lengths of a role's ARN.
const ARN: RangeInclusive<usize> = 20..=2048;
/// The lengths of a session's name.
const SESSION_NAME: RangeInclusive<usize> = 2..=64;
/// The lengths of an external id.
const EXTERNAL_ID: RangeInclusive<usize> = 2..=1224;
/// The lives of a session, in seconds. A role assumed with the keys of another has an hour at most.
const DURATION: RangeInclusive<u32> = 900..=43_200;

/// A role, and how STS is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Which one.
    pub arn: String,
    /// The name of the session, as the account's trail shows it.
    pub session_name: String,
    /// What the owner of the role wants to be told (the confused deputy problem).
    pub external_id: Option<String>,
    /// How long the session lasts, in seconds; `None` leaves it to STS, which takes an hour.
    pub duration: Option<u32>,
    /// Tags of the session.
    pub tags: Vec<(String, String)>,
}

impl Role {
    /// A role of which no more is said.
    pub fn new(arn: &str, session_name: &str) -> Self {
        Self {
            arn: arn.to_owned(),
            session_name: session_name.to_owned(),
            external_id: None,
            duration: None,
            tags: Vec::new(),
        }
    }
}

/// Whether a text is the ARN of a role.
pub fn is_arn(text: &str) -> bool {
    ARN.contains(&text.len())
        && text.starts_with("arn:")
        && text.contains(":role/")
        && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether a text can be the name of a session: `[\w+=,.@-]*`.
pub fn is_session_name(text: &str) -> bool {
    SESSION_NAME.contains(&text.len()) && text.bytes().all(of_session_name)
}

/// Whether a text can be an external id: `[\w+=,.@:\/-]*`.
pub fn is_external_id(text: &str) -> bool {
    EXTERNAL_ID.contains(&text.len())
        && text.bytes().all(|b| of_session_name(b) || matches!(b, b':' | b'/'))
}

/// Whether a session can last this long, in seconds.
pub fn is_duration(seconds: u32) -> bool {
    DURATION.contains(&seconds)
}

/// The session name of a policy: what STS does not take becomes `-`, and what is too long is cut.
pub fn session_name(policy: &str) -> String {
    let mut name = String::from("ai-gateway-");
    let legal = |c: char| if u8::try_from(c).is_ok_and(of_session_name) { c } else { '-' };
    name.extend(policy.chars().map(legal));
    name.truncate(*SESSION_NAME.end());
    name
}

fn of_session_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_every_session_is_legal() {
        assert_eq!(session_name("bedrock"), "ai-gateway-bedrock");
        assert_eq!(session_name("a/b:c\u{e9}"), "ai-gateway-a-b-c-");
        for policy in ["", "a", "\u{1f600}", &"x".repeat(253)] {
            assert!(is_session_name(&session_name(policy)), "{policy}");
        }
        assert_eq!(session_name(&"x".repeat(253)).len(), 64);
    }

    #[test]
    fn limits_are_those_of_sts() {
        assert!(is_arn("arn:aws:iam::123456789012:role/bedrock"));
        assert!(is_arn("arn:aws-cn:iam::123456789012:role/path/to/bedrock"));
        for arn in ["", "role", "arn:aws:iam::1:user/bedrock-x", "arn:aws:iam::123:role/a b"] {
            assert!(!is_arn(arn), "{arn}");
        }
        assert!(!is_arn(&format!("arn:aws:iam::123456789012:role/{}", "x".repeat(2048))));
        assert!(is_session_name("ab") && !is_session_name("a") && !is_session_name("a/b"));
        assert!(!is_session_name(&"x".repeat(65)));
        assert!(is_external_id("a:/b") && !is_external_id("a") && !is_external_id("a b"));
        assert!(is_duration(900) && is_duration(43_200));
        assert!(!is_duration(899) && !is_duration(43_201));
    }
}
