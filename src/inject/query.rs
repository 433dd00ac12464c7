//! The query parameters in which clients send credentials.

use percent_encoding::percent_decode;

const PARAMETERS: [&[u8]; 5] =
    [b"key", b"api_key", b"api-key", b"access_token", b"subscription-key"];
/// A signature in the query (AWS Signature Version 4, "query parameters").
const SIGNATURE_PREFIX: &[u8] = b"x-amz-";

/// The path without the parameters that carry credentials; `None` if it has none. What is left is
/// byte for byte what it was; a `?` with nothing behind it goes as well.
pub(crate) fn without_credentials(path: &[u8]) -> Option<Vec<u8>> {
    let start = path.iter().position(|b| *b == b'?')?;
    let (before, query) = path.split_at_checked(start)?;
    let query = query.get(1..)?;
    let parameters = || query.split(|b| *b == b'&');
    if !parameters().any(is_credential) {
        return None;
    }
    let mut left = before.to_vec();
    let mut separator = b'?';
    for parameter in parameters().filter(|parameter| !is_credential(parameter)) {
        left.push(separator);
        left.extend_from_slice(parameter);
        separator = b'&';
    }
    Some(left)
}

/// Whether the name of a parameter, once decoded, is one of those; letter case does not matter.
fn is_credential(parameter: &[u8]) -> bool {
    let name = parameter.split(|b| *b == b'=').next().unwrap_or(parameter);
    if name.contains(&b'%') {
        let decoded: Vec<u8> = percent_decode(name).collect();
        is_credential_name(&decoded)
    } else {
        is_credential_name(name)
    }
}

fn is_credential_name(name: &[u8]) -> bool {
    PARAMETERS.iter().any(|parameter| name.eq_ignore_ascii_case(parameter))
        || name
            .get(..SIGNATURE_PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(SIGNATURE_PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_with_credentials_go_and_the_rest_stays_byte_for_byte() {
        for (path, left) in [
            ("/p?key=1", "/p"),
            ("/p?key", "/p"),
            ("/p?KEY=1&a=b", "/p?a=b"),
            ("/p?a=b&api_key=1", "/p?a=b"),
            ("/p?a=%2f+&api-key=1&&c", "/p?a=%2f+&&c"),
            ("/p?access_token=1&subscription-key=2&z=", "/p?z="),
            ("/p?X-Amz-Signature=1&x-amz-date=2&X-AMZ-=3", "/p"),
            ("/p?%6bey=1&a", "/p?a"),
            ("/p?%6B%65%79=1&a", "/p?a"),
            ("/p?x%2Damz-Credential=1&a", "/p?a"),
            ("/p?api%5Fkey=1", "/p"),
            ("/p?a?key=1&key=2", "/p?a?key=1"),
            ("/p?key=1=key&b=key", "/p?b=key"),
            ("?key=1", ""),
            ("/p?&key=1", "/p?"),
        ] {
            let found = without_credentials(path.as_bytes());
            assert_eq!(found.as_deref(), Some(left.as_bytes()), "{path}");
        }
    }

    #[test]
    fn other_paths_are_left_alone() {
        for path in [
            "",
            "/",
            "//",
            "/key=1",
            "/p?",
            "/p?keys=1&monkey=2&key2",
            "/p?a=key&b=api_key=1",
            "/p?%256bey=1",
            "/p?%zzkey=1&%6=1&%",
            "/p?x-am=1",
            "/p?k%65",
        ] {
            assert_eq!(without_credentials(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_pass() {
        let found = without_credentials(b"/\xff?\xfe=\xfd&key=\xff&b=\x80");
        assert_eq!(found.as_deref(), Some(&b"/\xff?\xfe=\xfd&b=\x80"[..]));
    }
}
