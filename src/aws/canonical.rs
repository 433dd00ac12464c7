//! The canonical request: one text for all ways to write the same request
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html#create-canonical-request>).

use super::sigv4::{Request, push_hex};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use std::collections::BinaryHeap;

/// What is not unreserved (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The canonical request with these headers, and their names as `SignedHeaders` has them.
pub(super) fn request<'a>(
    request: &Request<'_>,
    unsorted: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> (Vec<u8>, String) {
    let mut parts = request.path.splitn(2, |b| *b == b'?');
    let path = parts.next().unwrap_or_default();
    let query = parts.next().unwrap_or_default();

    // Names in the order of their bytes, the values of one name in the order of arrival.
    let mut headers: Vec<(&str, &[u8])> = Vec::new();
    for (name, value) in unsorted {
        let place = headers.iter().position(|(other, _)| *other > name);
        headers.insert(place.unwrap_or(headers.len()), (name, value));
    }
    let mut signed_headers = String::new();
    let mut text = Vec::with_capacity(512);
    text.extend_from_slice(request.method);
    text.push(b'\n');
    push_path(&mut text, path);
    text.push(b'\n');
    push_query(&mut text, query);
    text.push(b'\n');
    let mut previous = None;
    for (name, value) in headers {
        if previous == Some(name) {
            // The line of this name goes on.
            text.pop();
            text.push(b',');
        } else {
            if previous.is_some() {
                signed_headers.push(';');
            }
            signed_headers.push_str(name);
            text.extend_from_slice(name.as_bytes());
            text.push(b':');
        }
        previous = Some(name);
        push_value(&mut text, value);
        text.push(b'\n');
    }
    text.push(b'\n');
    text.extend_from_slice(signed_headers.as_bytes());
    text.push(b'\n');
    let mut hash = String::with_capacity(64);
    push_hex(&mut hash, request.body);
    text.extend_from_slice(hash.as_bytes());
    (text, signed_headers)
}

/// The path, normalised (RFC 3986 section 5.2.4, and without empty segments), then encoded once more
/// than it is on the wire.
fn push_path(text: &mut Vec<u8>, path: &[u8]) {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut trailing = false;
    for segment in path.split(|b| *b == b'/') {
        trailing = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    for segment in &segments {
        text.push(b'/');
        push_encoded(text, segment);
    }
    if trailing || segments.is_empty() {
        text.push(b'/');
    }
}

/// The parameters, decoded and encoded again, in the order of their encoded names and values.
fn push_query(text: &mut Vec<u8>, query: &[u8]) {
    let encoded = |part: &[u8]| {
        // A plus is a space, as in a form.
        let spaced: Vec<u8> = part.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
        let decoded: Vec<u8> = percent_decode(&spaced).collect();
        let mut encoded = Vec::with_capacity(decoded.len());
        push_encoded(&mut encoded, &decoded);
        encoded
    };
    // A heap, since the sort of the standard library is 9 KB of module.
    let parameters: BinaryHeap<(Vec<u8>, Vec<u8>)> = query
        .split(|b| *b == b'&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| {
            let mut parts = parameter.splitn(2, |b| *b == b'=');
            let (name, value) = (parts.next(), parts.next());
            (encoded(name.unwrap_or_default()), encoded(value.unwrap_or_default()))
        })
        .collect();
    for (index, (name, value)) in parameters.into_sorted_vec().into_iter().enumerate() {
        if index > 0 {
            text.push(b'&');
        }
        text.extend_from_slice(&name);
        text.push(b'=');
        text.extend_from_slice(&value);
    }
}

fn push_encoded(text: &mut Vec<u8>, bytes: &[u8]) {
    for part in percent_encode(bytes, RESERVED) {
        text.extend_from_slice(part.as_bytes());
    }
}

/// The value of a header: no spaces around it, and one in place of several.
fn push_value(text: &mut Vec<u8>, value: &[u8]) {
    let words = value.split(|b| *b == b' ').filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            text.push(b' ');
        }
        text.extend_from_slice(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(push: fn(&mut Vec<u8>, &[u8]), text: &str) -> String {
        let mut pushed = Vec::new();
        push(&mut pushed, text.as_bytes());
        String::from_utf8(pushed).unwrap()
    }

    #[test]
    fn a_path_is_encoded_once_more_than_on_the_wire() {
        for (path, canonical) in [
            ("", "/"),
            ("/", "/"),
            ("/model/a:0/converse", "/model/a%3A0/converse"),
            ("/model/a%3A0/converse", "/model/a%253A0/converse"),
            ("/model/a%3a0", "/model/a%253a0"),
            ("/model/arn%3Aaws%2Fb", "/model/arn%253Aaws%252Fb"),
            ("/a//b/./c/../d/", "/a/b/d/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/../a", "/a"),
            ("/~a-b_c.d*$@+=", "/~a-b_c.d%2A%24%40%2B%3D"),
        ] {
            assert_eq!(pushed(push_path, path), canonical, "{path}");
        }
    }

    #[test]
    fn a_query_is_sorted_by_encoded_names_and_values() {
        for (query, canonical) in [
            ("", ""),
            ("flag", "flag="),
            ("b=2&a=1&A=0", "A=0&a=1&b=2"),
            ("a=2&a=1&&", "a=1&a=2"),
            ("q=a%20b+c", "q=a%20b%20c"),
            ("q=a%2fb", "q=a%2Fb"),
            ("q=a=b&%zz=%", "%25zz=%25&q=a%3Db"),
        ] {
            assert_eq!(pushed(push_query, query), canonical, "{query}");
        }
    }

    #[test]
    fn spaces_in_a_value_are_one_and_other_white_space_stays() {
        assert_eq!(pushed(push_value, "  a   \"b  c\"\t "), "a \"b c\"\t");
        assert_eq!(pushed(push_value, ""), "");
    }
}
