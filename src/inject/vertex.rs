//! The path of Vertex AI, which names the project that is billed and the location
//! (<https://cloud.google.com/vertex-ai/docs/reference/rest>).

use percent_encoding::percent_decode;

/// The project and location of a policy, which every request for Vertex gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VertexPath {
    /// The project.
    pub project: String,
    /// The location.
    pub location: String,
}

impl VertexPath {
    /// The path with this project and location in it; `None` if it is not one of Vertex, or has them
    /// already. What stands elsewhere is byte for byte what it was.
    pub(super) fn rewritten(&self, path: &[u8]) -> Option<Vec<u8>> {
        let end = path.iter().position(|b| *b == b'?').unwrap_or(path.len());
        let (before, query) = path.split_at_checked(end)?;
        let rest = before.strip_prefix(b"/").unwrap_or(before);
        let (mut first, mut after) = segment(rest);
        let mut new = b"/".to_vec();
        // Files go to and fro beside the rest of the API.
        if before.starts_with(b"/") && (is(first, "upload") || is(first, "download")) {
            new.extend_from_slice(first);
            new.push(b'/');
            (first, after) = segment(after?);
        }
        if is(first, "publishers") && after.is_some() && new.len() == 1 {
            self.insert(&mut new, b"v1", rest);
        } else if before.starts_with(b"/") && is_version(first) {
            let rest = after?;
            let (second, after) = segment(rest);
            if is(second, "publishers") && after.is_some() {
                self.insert(&mut new, first, rest);
            } else if is(second, "projects") {
                let (_, after) = segment(after?);
                let (fourth, after) = segment(after?);
                if !is(fourth, "locations") {
                    return None;
                }
                let (location, after) = segment(after?);
                // A method of the location itself stands behind a colon.
                let colon = location.iter().position(|b| *b == b':').unwrap_or(location.len());
                let (_, method) = location.split_at_checked(colon)?;
                self.insert(&mut new, first, method);
                if let Some(after) = after {
                    new.push(b'/');
                    new.extend_from_slice(after);
                }
            } else {
                return None;
            }
        } else {
            return None;
        }
        new.extend_from_slice(query);
        (new != path).then_some(new)
    }

    /// `<version>/projects/<project>/locations/<location>`, and what follows: a method of the location, or
    /// segments.
    fn insert(&self, new: &mut Vec<u8>, version: &[u8], rest: &[u8]) {
        new.extend_from_slice(version);
        new.extend_from_slice(b"/projects/");
        new.extend_from_slice(self.project.as_bytes());
        new.extend_from_slice(b"/locations/");
        new.extend_from_slice(self.location.as_bytes());
        if !rest.is_empty() && !rest.starts_with(b":") {
            new.push(b'/');
        }
        new.extend_from_slice(rest);
    }
}

/// The first segment, and what follows the slash behind it.
fn segment(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = path.splitn(2, |b| *b == b'/');
    (parts.next().unwrap_or_default(), parts.next())
}

/// Whether a segment is this word, percent-encoded or not: the provider decodes it.
fn is(segment: &[u8], word: &str) -> bool {
    if segment.contains(&b'%') {
        percent_decode(segment).eq(word.bytes())
    } else {
        segment == word.as_bytes()
    }
}

/// Whether a segment is the version of an API: `v1`, `v1beta1`.
fn is_version(segment: &[u8]) -> bool {
    let decoded: Vec<u8> = percent_decode(segment).collect();
    match decoded.as_slice() {
        [b'v', digit, rest @ ..] => {
            digit.is_ascii_digit() && rest.iter().all(u8::is_ascii_alphanumeric)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(path: &str) -> Option<String> {
        let vertex = VertexPath { project: "ours".to_owned(), location: "us-east1".to_owned() };
        vertex.rewritten(path.as_bytes()).map(|path| String::from_utf8(path).unwrap())
    }

    #[test]
    fn project_and_location_are_those_of_the_policy() {
        let ours = "projects/ours/locations/us-east1";
        for (path, expected) in [
            ("publishers/google/models/m:x", format!("/v1/{ours}/publishers/google/models/m:x")),
            ("/publishers/google/models/m:x", format!("/v1/{ours}/publishers/google/models/m:x")),
            (
                "/v1/publishers/a/models/m:y?alt=sse",
                format!("/v1/{ours}/publishers/a/models/m:y?alt=sse"),
            ),
            ("/v1beta1/publishers/a", format!("/v1beta1/{ours}/publishers/a")),
            (
                "/upload/v1/projects/theirs/locations/l/ragCorpora/c/ragFiles:upload",
                format!("/upload/v1/{ours}/ragCorpora/c/ragFiles:upload"),
            ),
            (
                "/v1/projects/theirs/locations/europe-west4/publishers/a/models/m:z",
                format!("/v1/{ours}/publishers/a/models/m:z"),
            ),
            (
                "/v1/projects/theirs/locations/l/endpoints/1:predict",
                format!("/v1/{ours}/endpoints/1:predict"),
            ),
            (
                "/v1/projects/theirs/locations/l/endpoints/openapi/chat/completions?a=b/c",
                format!("/v1/{ours}/endpoints/openapi/chat/completions?a=b/c"),
            ),
            ("/v1beta1/projects/-/locations/-/x", format!("/v1beta1/{ours}/x")),
            ("/v1/projects/theirs/locations/l", format!("/v1/{ours}")),
            ("/v1/projects/theirs/locations/l/", format!("/v1/{ours}/")),
            ("/v1/projects/theirs/locations/l:augmentPrompt", format!("/v1/{ours}:augmentPrompt")),
            ("/v1/%70rojects/theirs/location%73/l/x", format!("/v1/{ours}/x")),
            ("/v%31/projects/theirs/locations/l/x", format!("/v%31/{ours}/x")),
            ("/v1/projects//locations//x", format!("/v1/{ours}/x")),
            ("/publishers/", format!("/v1/{ours}/publishers/")),
        ] {
            assert_eq!(rewritten(path).as_ref(), Some(&expected), "{path}");
            assert_eq!(rewritten(&expected), None, "{expected}");
        }
    }

    #[test]
    fn other_paths_are_left_alone() {
        for path in [
            "",
            "/",
            "/publishers",
            "/v1",
            "/v1/",
            "/v1/publishers",
            "/v1/models",
            "/v1/projects",
            "/v1/projects/p",
            "/v1/projects/p/locations",
            "/v1/projects/p/global/x",
            "/x/publishers/a",
            "/v/projects/p/locations/l/x",
            "/v1-x/projects/p/locations/l/x",
            "v1/projects/p/locations/l/x",
            "/a/v1/projects/p/locations/l/x",
            "/upload/upload/v1/projects/p/locations/l/x",
            "/upload",
            "/upload/publishers/a",
            "/v1/Projects/p/locations/l/x",
            "/v1?/projects/p/locations/l/x",
            "/?/publishers/a",
            "*",
        ] {
            assert_eq!(rewritten(path), None, "{path}");
        }
    }
}
