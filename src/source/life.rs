//! How long a token lives, by what is said with it.

use super::answer::Field;
use super::date::timestamp;
use crate::policy::Tree;
use std::time::Duration;

/// No life is taken to be longer, whatever is said.
const LONGEST: Duration = Duration::from_secs(86_400);
/// The life of a token of which nothing is said.
pub(super) const UNSAID: Duration = Duration::from_secs(300);

/// When a token ends that came at `now`, by `expires_in` (RFC 6749 section 5.1) or, where that is not
/// said, by the `expires_on` of Azure's services; `None` if that cannot be.
pub(super) fn end(reply: &Tree, now: Duration) -> Option<Duration> {
    let life = match Field::of(reply, "expires_in") {
        Field::Is(value) => number(value)?,
        Field::Twice => return None,
        Field::Absent => match Field::of(reply, "expires_on") {
            Field::Is(value) => number(value)?.checked_sub(now)?,
            Field::Twice => return None,
            Field::Absent => UNSAID,
        },
    };
    if life.is_zero() {
        return None;
    }
    now.checked_add(life.min(LONGEST))
}

/// When something ends that is said to end at `end`; `None` if that is not after `now`.
pub(super) fn limited(end: Duration, now: Duration) -> Option<Duration> {
    Some(end.min(now.checked_add(LONGEST)?)).filter(|end| *end > now)
}

/// When AWS keys end by their `Expiration`, which is a date and time or, in JSON of STS, seconds since the
/// Unix epoch: as it is said, before now or not. `None` if that cannot be.
pub(super) fn expiration(keys: &Tree, now: Duration) -> Option<Duration> {
    let end = match Field::of(keys, "Expiration") {
        Field::Is(Tree::Text(text)) => match timestamp(text) {
            Some(end) => end,
            None => Duration::from_millis(milliseconds(text.trim())?),
        },
        Field::Is(value) => number(value).filter(|end| !end.is_zero())?,
        Field::Twice => return None,
        Field::Absent => now.checked_add(UNSAID)?,
    };
    Some(end.min(now.checked_add(LONGEST)?))
}

/// Seconds, as a number or as the text of one.
fn number(value: &Tree) -> Option<Duration> {
    let milliseconds = match value {
        // What is negative or no number becomes 0, and what is too large the largest.
        Tree::Number(seconds) => (seconds * 1_000.0) as u64,
        Tree::Text(text) => milliseconds(text.trim())?,
        _ => return None,
    };
    Some(Duration::from_millis(milliseconds))
}

/// The text of a number of seconds as JSON writes one (RFC 8259 section 6), in milliseconds; leading
/// zeros do no harm, a sign does. Written by hand: the standard library's reader of `f64` is 17 KB of
/// module.
pub(super) fn milliseconds(text: &str) -> Option<u64> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, self::exponent(exponent)?),
        None => (text, 0),
    };
    let (whole, part) = match number.split_once('.') {
        Some((whole, part)) => (whole, Some(part)),
        None => (number, None),
    };
    if whole.is_empty() || part == Some("") {
        return None;
    }
    // The number is `value` times ten to the power of `shift`.
    let (mut value, mut shift) = (0_u64, exponent.saturating_add(3));
    for (digits, step) in [(whole, 0), (part.unwrap_or_default(), 1)] {
        for digit in digits.bytes() {
            if !digit.is_ascii_digit() {
                return None;
            }
            if value < u64::MAX / 100 {
                value = value * 10 + u64::from(digit - b'0');
                shift = shift.saturating_sub(step);
            } else {
                // A digit that is too small to count.
                shift = shift.saturating_add(1 - step);
            }
        }
    }
    while shift > 0 && value > 0 && value < u64::MAX {
        value = value.saturating_mul(10);
        shift -= 1;
    }
    while shift < 0 && value > 0 {
        value /= 10;
        shift += 1;
    }
    Some(value)
}

fn exponent(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
    }
    Some(sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    /// The life of a token in milliseconds.
    fn life(reply: &str) -> Option<u128> {
        let reply = serde_json::from_str(reply).unwrap();
        end(&reply, NOW).map(|end| (end - NOW).as_millis())
    }

    #[test]
    fn a_life_is_a_number_or_the_text_of_one() {
        for (value, milliseconds) in [
            ("3599", 3_599_000),
            ("3599.5", 3_599_500),
            ("3.599e3", 3_599_000),
            ("3.599E+3", 3_599_000),
            ("35990e-1", 3_599_000),
            ("0.5", 500),
            ("0.001", 1),
            ("86400", 86_400_000),
            ("86400.001", 86_400_000),
            ("1e9", 86_400_000),
            ("1e300", 86_400_000),
            ("123456789012345678901234567890", 86_400_000),
            ("3599.000000000000000000000000001", 3_599_000),
        ] {
            let expected = Some(milliseconds);
            assert_eq!(life(&format!(r#"{{"expires_in": {value}}}"#)), expected, "{value}");
            assert_eq!(life(&format!(r#"{{"expires_in": "{value}"}}"#)), expected, "'{value}'");
            assert_eq!(life(&format!(r#"{{"expires_in": " {value} "}}"#)), expected, "' {value} '");
        }
    }

    #[test]
    fn a_life_of_which_nothing_is_said_is_five_minutes() {
        for reply in ["{}", r#"{"expires_in": null}"#, r#"{"expires_on": null}"#] {
            assert_eq!(life(reply), Some(300_000), "{reply}");
        }
    }

    #[test]
    fn a_life_that_cannot_be_is_none() {
        for value in [
            "0",
            "-0",
            "0.0",
            "0e9",
            "-1",
            "-0.1",
            "1e-9",
            "-1e9",
            "true",
            "[]",
            "[3599]",
            "{}",
            r#""""#,
            r#"" ""#,
            r#""NaN""#,
            r#""inf""#,
            r#""Infinity""#,
            r#""-1""#,
            r#""+1""#,
            r#""0x10""#,
            r#""1_000""#,
            r#""1,000""#,
            r#""1h""#,
            r#""1e""#,
            r#""1e+""#,
            r#""e3""#,
            r#"".5""#,
            r#""5.""#,
            r#""1.e3""#,
            r#""1.5.2""#,
            r#""1e2e3""#,
            r#""1e1.5""#,
            r#""1 2""#,
            r#""٣""#,
            r#""2026-01-01T00:00:00Z""#,
        ] {
            assert_eq!(life(&format!(r#"{{"expires_in": {value}}}"#)), None, "{value}");
            assert_eq!(life(&format!(r#"{{"expires_on": {value}}}"#)), None, "{value}");
        }
    }

    #[test]
    fn an_end_counts_where_no_life_is_said() {
        for (reply, milliseconds) in [
            (r#"{"expires_on": 1800000600}"#, Some(600_000)),
            (r#"{"expires_on": "1800000600"}"#, Some(600_000)),
            (r#"{"expires_on": "1.8000006e9"}"#, Some(600_000)),
            (r#"{"expires_on": 1900000000}"#, Some(86_400_000)),
            (r#"{"expires_on": 1800000000}"#, None),
            (r#"{"expires_on": 1799999999}"#, None),
            (r#"{"expires_on": 600}"#, None),
            (r#"{"expires_in": 60, "expires_on": 1}"#, Some(60_000)),
            (r#"{"expires_in": null, "expires_on": "1800000600"}"#, Some(600_000)),
            (r#"{"expires_in": 0, "expires_on": 1800000600}"#, None),
        ] {
            assert_eq!(life(reply), milliseconds, "{reply}");
        }
    }

    #[test]
    fn what_is_said_twice_must_be_the_same() {
        for (reply, milliseconds) in [
            (r#"{"expires_in": 60, "expires_in": 60}"#, Some(60_000)),
            (r#"{"expires_in": 60, "expires_in": 61}"#, None),
            (r#"{"expires_in": null, "expires_in": 61}"#, None),
            (r#"{"expires_on": 1800000600, "expires_on": 1800000601}"#, None),
        ] {
            assert_eq!(life(reply), milliseconds, "{reply}");
        }
    }

    #[test]
    fn texts_of_any_length_are_read_in_time() {
        let zeros = "0".repeat(1 << 20);
        for (text, expected) in [
            (format!("{zeros}7"), Some(7_000)),
            (format!("7{zeros}"), Some(u64::MAX)),
            (format!("7{zeros}e-1048576"), Some(7_000)),
            (format!("0.{zeros}7"), Some(0)),
            (format!("0.{zeros}7e1048577"), Some(7_000)),
            (format!("0e{zeros}9"), Some(0)),
            (format!("1e9{zeros}"), Some(u64::MAX)),
            (format!("1e-9{zeros}"), Some(0)),
            ("18446744073709551.615".to_owned(), Some(18_446_744_073_709_551_600)),
        ] {
            assert_eq!(milliseconds(&text), expected, "{}...", text.get(..9).unwrap_or(&text));
        }
    }
}
