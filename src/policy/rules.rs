//! What a text may look like. Each rule names where it comes from.

use std::time::Duration;

/// Message for a text that [`duration`] does not take.
pub(crate) const NOT_A_DURATION: &str = "must be a duration like 5s, 500ms or 1m30s";
/// Message for a text that [`dns_label`] does not take.
pub(crate) const NOT_A_LABEL: &str =
    "must be 1 to 63 lower-case letters, digits or '-', and start and end with a letter or digit";
/// Message for a text that [`dns_subdomain`] does not take.
pub(crate) const NOT_A_SUBDOMAIN: &str = "must be 1 to 253 lower-case letters, digits, '-' or '.', \
     and start and end with a letter or digit";
/// Message for a text that [`path_part`] does not take.
pub(crate) const NOT_A_PATH_PART: &str =
    "must be 1 to 253 characters, without '/' or control characters, and not '.' or '..'";
/// Message for a text that [`cloud_name`] does not take.
pub(crate) const NOT_A_CLOUD_NAME: &str =
    "must be ASCII letters, digits, '.', '_', '-' or ':' only, and not '.' or '..'";

/// A Gateway API duration (GEP-2257): one to four parts of one to five digits and a unit.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    for parts in 0.. {
        if rest.is_empty() {
            return (parts > 0).then_some(total);
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if parts == 4 || !(1..=5).contains(&digits) {
            return None;
        }
        let (number, tail) = rest.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let (milliseconds, tail) = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
            .into_iter()
            .find_map(|(unit, value)| Some((value, tail.strip_prefix(unit)?)))?;
        total += Duration::from_millis(number * milliseconds);
        rest = tail;
    }
    None
}

/// A label of a domain name (RFC 1123), as Kubernetes wants a namespace to be.
pub(crate) fn dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| lower_alphanumeric(*b) || *b == b'-')
        && bytes.first().is_some_and(|b| lower_alphanumeric(*b))
        && bytes.last().is_some_and(|b| lower_alphanumeric(*b))
}

/// A domain name (RFC 1123), as Kubernetes wants the name of most objects to be.
pub(crate) fn dns_subdomain(text: &str) -> bool {
    (1..=253).contains(&text.len()) && text.split('.').all(label_of_a_subdomain)
}

/// The API group of a reference: empty (the core group) or a domain name (Gateway API `Group`).
pub(crate) fn api_group(text: &str) -> bool {
    text.is_empty() || dns_subdomain(text)
}

/// The kind of a reference (Gateway API `Kind`).
pub(crate) fn kind(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

/// A name or key of a Secret: it may become a part of a path.
pub(crate) fn path_part(text: &str) -> bool {
    (1..=253).contains(&text.chars().count())
        && !text.contains('/')
        && !text.chars().any(char::is_control)
        && text != "."
        && text != ".."
}

/// A region, tenant, project, pool or provider: it becomes a part of a host or a path.
pub(crate) fn cloud_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:".contains(&b))
        && text != "."
        && text != ".."
}

/// An account: a cloud name or an e-mail address.
pub(crate) fn account(text: &str) -> bool {
    cloud_name(&text.replacen('@', "-", 1))
}

/// The name of an environment variable (POSIX, XBD section 8.1), letters of both cases.
pub(crate) fn variable(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// An absolute path of this host without tricks in it.
pub(crate) fn absolute_path(text: &str) -> bool {
    text.strip_prefix('/').is_some_and(|rest| {
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        rest.split('/').all(|part| path_part(part) && !part.contains(['?', '#', '%']))
    })
}

/// A host, as it may stand in `:authority`: a name, an IPv4 address or an IPv6 address in brackets,
/// and a port if there is one.
pub(crate) fn authority(text: &str) -> bool {
    match split_port(text) {
        Some((host, port)) => self::host(host) && port.is_none_or(self::port),
        None => false,
    }
}

/// A number of a port, without a sign.
fn port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// A host without a port.
pub(crate) fn host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        // Not every such text is an address, but none is anything else; Envoy refuses the others.
        return address.contains(':')
            && address.bytes().all(|b| b.is_ascii_hexdigit() || b":.".contains(&b));
    }
    (1..=253).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && text.split('.').all(|label| !label.is_empty())
}

/// `host` and `port` of an authority; nothing if the brackets do not match.
pub(crate) fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if authority.starts_with('[') {
        let end = authority.find(']')?;
        let (host, rest) = authority.split_at_checked(end + 1)?;
        return match rest {
            "" => Some((host, None)),
            rest => rest.strip_prefix(':').map(|port| (host, Some(port))),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

fn lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn label_of_a_subdomain(label: &str) -> bool {
    let bytes = label.as_bytes();
    bytes.iter().all(|b| lower_alphanumeric(*b) || *b == b'-')
        && bytes.first().is_some_and(|b| lower_alphanumeric(*b))
        && bytes.last().is_some_and(|b| lower_alphanumeric(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_gateway_api() {
        for (text, milliseconds) in [
            ("5s", 5_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("0s", 0),
            ("1h1m1s1ms", 3_661_001),
            ("99999h", 359_996_400_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "s", "5 s", "1.5s", "-1s", "5d", "100000s", "1s1s1s1s1s", "5S", "5µs"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_those_of_kubernetes() {
        for name in ["a", "my-backend", "a.b-c.9"] {
            assert!(dns_subdomain(name), "{name}");
        }
        for name in ["", "-a", "a-", "A", "a..b", "a_b", "a/b", &"a".repeat(254)] {
            assert!(!dns_subdomain(name), "{name}");
        }
        assert!(dns_label("team-1") && !dns_label("a.b") && !dns_label(&"a".repeat(64)));
        assert!(api_group("") && api_group("aigateway.envoyproxy.io") && !api_group("A"));
        assert!(kind("AIServiceBackend") && !kind("9a") && !kind(""));
    }

    #[test]
    fn what_becomes_a_path_or_a_host_cannot_leave_its_place() {
        for part in ["..", ".", "a/b", "a\nb", ""] {
            assert!(!path_part(part), "{part:?}");
        }
        assert!(path_part("service_account.json"));
        for name in ["us-east-1/x", "..", "a b", "a@b", "é", ""] {
            assert!(!cloud_name(name), "{name:?}");
        }
        assert!(cloud_name("example.com:my-project_1"));
        assert!(account("robot@p.iam.gserviceaccount.com") && !account("a@b@c") && !account("a/b"));
        assert!(variable("OPENAI_API_KEY") && variable("_a1"));
        for name in ["", "1A", "A-B", "A=B", "A\nB", "é"] {
            assert!(!variable(name), "{name:?}");
        }
        for path in ["etc", "/a/../b", "/a//b", "/", "", "/a?b"] {
            assert!(!absolute_path(path), "{path:?}");
        }
        assert!(absolute_path("/etc/aigw-auth/secrets") && absolute_path("/mnt/"));
    }

    #[test]
    fn hosts_have_no_user_path_or_odd_port() {
        for text in ["a.example", "127.0.0.1:8080", "[fd00:ec2::23]", "[::1]:80", "localhost"] {
            assert!(authority(text), "{text}");
        }
        for text in
            ["", "a/b", "u@h", "a:b", "a:99999", "a:+443", "a:", "[::1", "::1", "a..b", "a b"]
        {
            assert!(!authority(text), "{text}");
        }
    }
}
