//! Times that a provider writes.

use super::life::milliseconds;
use std::time::Duration;

/// The longest that a provider is taken to want to be left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// The wait that a `retry-after` asks for (RFC 9110 section 10.2.3): seconds or a date; `None` if it
/// is neither.
pub(super) fn retry_after(value: &str, now: Duration) -> Option<Duration> {
    let value = value.trim();
    let wait = match milliseconds(value) {
        Some(wait) => Duration::from_millis(wait),
        None => http_date(value.as_bytes())?.saturating_sub(now),
    };
    Some(wait.min(LONGEST_WAIT))
}

/// An IMF-fixdate (RFC 9110 section 5.6.7), `Sun, 06 Nov 1994 08:49:37 GMT`, as a time since the Unix
/// epoch. The two other forms of that section are of the last century.
fn http_date(text: &[u8]) -> Option<Duration> {
    if text.len() != 29
        || text.get(3..5) != Some(b", ")
        || text.get(25..) != Some(b" GMT")
        || text.get(19) != Some(&b':')
        || text.get(22) != Some(&b':')
        || [7, 11, 16].iter().any(|place| text.get(*place) != Some(&b' '))
    {
        return None;
    }
    let month = text.get(8..11)?;
    let month = MONTHS.iter().position(|name| name.as_slice() == month)? as u64 + 1;
    let [day, year, hour, minute, second] = [(5, 7), (12, 16), (17, 19), (20, 22), (23, 25)]
        .map(|(from, to)| digits(text.get(from..to)));
    since_epoch([year?, month, day?], [hour?, minute?, second?])
}

/// A date and time (RFC 3339 section 5.6), `2026-11-26T08:00:00.123Z` or with the offset of a zone, as a time
/// since the Unix epoch, to the millisecond.
pub(super) fn timestamp(text: &str) -> Option<Duration> {
    let text = text.trim().as_bytes();
    let (date, rest) = text.split_at_checked(19)?;
    if [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')].iter().any(|(at, b)| date.get(*at) != Some(b))
        || !matches!(date.get(10), Some(b'T' | b't'))
    {
        return None;
    }
    let [year, month, day, hour, minute, second] =
        [(0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19)]
            .map(|(from, to)| digits(date.get(from..to)));
    let time = since_epoch([year?, month?, day?], [hour?, minute?, second?])?;
    let (fraction, zone) = match rest.strip_prefix(b".") {
        Some(rest) => {
            let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (fraction, zone) = rest.split_at_checked(length).filter(|_| length > 0)?;
            // Three digits, of as many as there are.
            let padded = [fraction, b"000"].concat();
            (digits(padded.get(..3))?, zone)
        }
        None => (0, rest),
    };
    let time = time + Duration::from_millis(fraction);
    match zone {
        b"Z" | b"z" => Some(time),
        [sign @ (b'+' | b'-'), hours @ .., b':', tens, ones] if hours.len() == 2 => {
            let (hours, minutes) = (digits(Some(hours))?, digits(Some(&[*tens, *ones]))?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = Duration::from_secs((hours * 60 + minutes) * 60);
            // East of Greenwich it is later.
            if *sign == b'+' { time.checked_sub(offset) } else { time.checked_add(offset) }
        }
        _ => None,
    }
}

/// A moment of the Gregorian calendar, in UTC, as a time since the Unix epoch.
fn since_epoch([year, month, day]: [u64; 3], [hour, minute, second]: [u64; 3]) -> Option<Duration> {
    // A leap second has the number 60.
    if !(1970..=9999).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=days(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    // Years begin in March, so the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

/// How many days a month has.
fn days(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn digits(text: Option<&[u8]>) -> Option<u64> {
    let mut number = 0;
    for byte in text? {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(byte - b'0');
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::sigv4::date_time;

    const NOW: Duration = Duration::from_secs(784_111_777);

    fn date(text: &str) -> Option<u64> {
        http_date(text.as_bytes()).map(|time| time.as_secs())
    }

    #[test]
    fn a_wait_is_in_seconds_or_until_a_date() {
        for (value, seconds) in [
            ("0", 0),
            ("7", 7),
            (" 120 ", 120),
            ("86400", 86_400),
            ("86401", 86_400),
            ("99999999999999999999999", 86_400),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:47 GMT", 10),
            ("Sun, 06 Nov 1994 08:49:27 GMT", 0),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ] {
            let expected = Some(Duration::from_secs(seconds));
            assert_eq!(retry_after(value, NOW), expected, "{value:?}");
        }
        assert_eq!(retry_after("1.5", NOW), Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn what_is_neither_is_ignored() {
        for value in ["", " ", "-1", "soon", "7s", "NaN", "inf", "0x10", "1,000", "7 8", "٣"] {
            assert_eq!(retry_after(value, NOW), None, "{value:?}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
        ] {
            assert_eq!(date(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn timestamps_have_fractions_and_zones() {
        for (text, milliseconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2027-01-15T08:00:00Z", 1_800_000_000_000),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("2027-01-15t08:00:00z", 1_800_000_000_000),
            (" 2027-01-15T08:00:00Z\n", 1_800_000_000_000),
            ("2027-01-15T08:00:00.5Z", 1_800_000_000_500),
            ("2027-01-15T08:00:00.123456789Z", 1_800_000_000_123),
            ("2027-01-15T09:00:00+01:00", 1_800_000_000_000),
            ("2027-01-15T02:30:00-05:30", 1_800_000_000_000),
            ("2027-01-15T08:00:00.25+00:00", 1_800_000_000_250),
        ] {
            assert_eq!(timestamp(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            "2027-01-15",
            "2027-01-15T08:00:00",
            "2027-01-15 08:00:00Z",
            "2027-01-15T08:00:00.Z",
            "2027-01-15T08:00:00+01",
            "2027-01-15T08:00:00+0100",
            "2027-01-15T08:00:00+24:00",
            "2027-01-15T08:00:00Zulu",
            "2027-13-15T08:00:00Z",
            "2027-02-29T08:00:00Z",
            "2100-02-29T08:00:00Z",
            "2027-04-31T08:00:00Z",
            "2027-01-15T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "+027-01-15T08:00:00Z",
        ] {
            assert_eq!(timestamp(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for day in 0..150_000_u64 {
            let time = Duration::from_secs(day * 86_400 + day % 86_400);
            let text = date_time(time);
            let number = |from, to| digits(text.as_bytes().get(from..to)).unwrap();
            let written = [number(0, 4), number(4, 6), number(6, 8)];
            let clock = [number(9, 11), number(11, 13), number(13, 15)];
            assert_eq!(since_epoch(written, clock), Some(time), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06 Nov 1994 08:49:37",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 0000 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1994 08-49-37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
    }
}
