//! How a credential is put on a request: a view of the request in, a list of mutations out. Nothing
//! here touches a request, so a half-written one cannot leave.

mod query;
mod sign;
mod strip;
mod vertex;

pub use sign::{AUTHORITY, Occasion, SignError, Signing, concerns_signature, signable};
pub use vertex::VertexPath;

use crate::aws::sigv4::SECURITY_TOKEN;
use crate::credential::{Credential, CredentialHeader};
use crate::policy::ClientCredentials;
use std::borrow::Cow;

/// The pseudo-header of the path and query.
pub const PATH: &str = ":path";
/// Where Envoy puts the path that the client sent when a route rewrites it
/// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-original-path>).
/// It goes to the provider, with the client's query in it.
const ORIGINAL_PATH: &str = "x-envoy-original-path";
/// The same for an internal redirect, with scheme and host.
const ORIGINAL_URL: &str = "x-envoy-original-url";

/// Whether injection can be about a header of this name. The others never change.
pub fn concerns(name: &[u8]) -> bool {
    strip::is_credential(name)
        || [PATH, strip::WEBSOCKET_PROTOCOL, ORIGINAL_PATH, ORIGINAL_URL]
            .iter()
            .any(|other| other.as_bytes() == name)
}

/// A header: its name in lower case, and its value.
pub type Header = (String, Vec<u8>);
/// The headers of a request, in order, with every occurrence of a name.
pub type Headers = [Header];

/// What an earlier attempt of the same request did to the headers, which all attempts share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// Names of headers that it wrote, with a comma between them.
    pub written: Vec<u8>,
    /// The path that it found, and the path that it left, if it rewrote it.
    pub path: Option<Rewritten>,
    /// The same for the host.
    pub authority: Option<Rewritten>,
}

/// A path or host before and after it was rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// What was there.
    pub before: Vec<u8>,
    /// What was written.
    pub after: Vec<u8>,
}

/// One step.
#[derive(Debug, PartialEq, Eq)]
pub enum Mutation<'a> {
    /// Remove every header of this name.
    Remove(&'a str),
    /// Set a header that is not there, or is there once.
    Set(&'a str, Cow<'a, [u8]>),
}

/// What to do to a request, in order, and what to remember for later attempts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes<'a> {
    /// The steps.
    pub mutations: Vec<Mutation<'a>>,
    /// The names of the headers that this attempt writes, with a comma between them.
    pub written: Option<&'static str>,
    /// The path that this attempt rewrites.
    pub path: Option<Rewritten>,
    /// The host that this attempt rewrites.
    pub authority: Option<Rewritten>,
}

/// What is put on a request.
#[derive(Clone, Copy, Debug)]
pub enum Put<'a> {
    /// Nothing: the request only loses what an earlier attempt wrote.
    Nothing,
    /// A credential in a header of its own.
    Credential(&'a Credential),
    /// A credential in a header of its own, and project and location in the path of Vertex AI.
    Vertex(&'a Credential, &'a VertexPath),
    /// A signature.
    Signature(&'a Signing, Occasion<'a>),
}

impl<'a> Put<'a> {
    /// The credential that has a header of its own.
    fn credential(self) -> Option<&'a Credential> {
        match self {
            Self::Credential(credential) | Self::Vertex(credential, _) => Some(credential),
            Self::Nothing | Self::Signature(..) => None,
        }
    }

    /// Whether it replaces a header of this name, whosever that is.
    fn replaces(self, name: &str) -> bool {
        match self {
            Self::Signature(..) => sign::SIGNATURE.contains(&name),
            put => put.credential().is_some_and(|c| c.header().name() == name),
        }
    }
}

/// Puts a credential on a request in place of the client's own, and in place of what an earlier
/// attempt wrote.
///
/// `known` recognises a credential of ours by its value: a mirrored request may hold one that
/// `earlier` does not tell of.
///
/// # Errors
///
/// If the request is to be signed and cannot be.
pub fn inject<'a>(
    headers: &'a Headers,
    earlier: &'a Earlier,
    client: ClientCredentials,
    known: &dyn Fn(&[u8]) -> bool,
    put: Put<'a>,
) -> Result<Changes<'a>, SignError> {
    // A request that passes without a credential keeps what its client sent.
    let strip = client == ClientCredentials::Strip && !matches!(put, Put::Nothing);
    let mut removed: Vec<&'a str> = Vec::new();
    let mut changes = Changes::default();
    let (mut path, mut authority) = (None, None);
    for (name, value) in headers {
        if name == PATH {
            path = Some(value.as_slice());
            continue;
        }
        if name == AUTHORITY {
            authority = Some(value.as_slice());
            continue;
        }
        let unwanted = if strip {
            strip::is_credential(name.as_bytes())
        } else {
            holds_ours(name) && known(value)
        };
        let remove = unwanted || put.replaces(name) || earlier.wrote(name);
        if remove {
            if !removed.contains(&name.as_str()) {
                removed.push(name);
            }
        } else if strip
            && !removed.contains(&name.as_str())
            && let Some(kept) = without_credentials(name, value, headers)
        {
            removed.push(name);
            if !kept.is_empty() {
                changes.mutations.push(Mutation::Set(name, Cow::Owned(kept)));
            }
        }
    }
    // Removals come first: a header that is set afterwards has one value.
    changes.mutations.splice(0..0, removed.into_iter().map(Mutation::Remove));
    let path = path.map(|path| {
        let original = original(path, earlier.path.as_ref());
        let stripped = if strip { query::without_credentials(original) } else { None };
        let mut wanted = stripped.map_or(Cow::Borrowed(original), Cow::Owned);
        if let Put::Vertex(_, vertex) = put
            && let Some(path) = vertex.rewritten(&wanted)
        {
            wanted = Cow::Owned(path);
        }
        changes.path = rewrite(PATH, path, original, wanted.clone(), &mut changes.mutations);
        wanted
    });
    let original = authority.map(|current| original(current, earlier.authority.as_ref()));
    let mut wanted = original.map(Cow::Borrowed);
    match put {
        Put::Nothing => {}
        Put::Credential(credential) | Put::Vertex(credential, _) => {
            let value = credential.value().expose().as_bytes();
            let name = credential.header().name();
            changes.mutations.push(Mutation::Set(name, Cow::Borrowed(value)));
            changes.written = Some(name);
        }
        Put::Signature(signing, occasion) => {
            let path = path.ok_or(SignError::Unsignable)?;
            let signature = signing.sign(headers, &path, original, occasion)?;
            let set = signature.headers.into_iter().map(|(name, value)| Mutation::Set(name, value));
            changes.mutations.extend(set);
            changes.written = Some(signature.written);
            wanted = Some(Cow::Owned(signature.host.into_bytes()));
        }
    }
    if let Some(wanted) = wanted {
        let (current, original) = (authority.unwrap_or_default(), original.unwrap_or_default());
        changes.authority = rewrite(AUTHORITY, current, original, wanted, &mut changes.mutations);
    }
    Ok(changes)
}

/// Whether a header of this name may hold a credential of ours.
fn holds_ours(name: &str) -> bool {
    name == SECURITY_TOKEN || CredentialHeader::ALL.iter().any(|header| header.name() == name)
}

/// The names of trailers that hold credentials of the client: a provider that merges trailers into the
/// headers would see them beside ours (RFC 9110 section 6.5.1). `written` has the names of ours, with a
/// comma between them.
pub fn credentials_in_trailers<'t>(
    trailers: &'t Headers,
    client: ClientCredentials,
    written: &str,
) -> Vec<&'t str> {
    let is_credential = |name: &str| {
        written.split(',').any(|written| written == name)
            || client == ClientCredentials::Strip && strip::is_credential(name.as_bytes())
    };
    trailers.iter().map(|(name, _)| name.as_str()).filter(|name| is_credential(name)).collect()
}

/// What is left of a header that holds credentials among other things; `None` if it holds none.
fn without_credentials(name: &str, value: &[u8], headers: &Headers) -> Option<Vec<u8>> {
    match name {
        strip::WEBSOCKET_PROTOCOL => strip::websocket_protocols(headers),
        ORIGINAL_PATH | ORIGINAL_URL => query::without_credentials(value),
        _ => None,
    }
}

/// What was there before an earlier attempt rewrote it, unless somebody else did so since.
fn original<'a>(current: &'a [u8], rewritten: Option<&'a Rewritten>) -> &'a [u8] {
    match rewritten {
        Some(rewritten) if rewritten.after == current => &rewritten.before,
        _ => current,
    }
}

/// Makes `current` what is wanted, and says what to remember if that is not the original.
fn rewrite<'a>(
    name: &'static str,
    current: &[u8],
    original: &[u8],
    wanted: Cow<'a, [u8]>,
    mutations: &mut Vec<Mutation<'a>>,
) -> Option<Rewritten> {
    let rewritten = (*wanted != *original)
        .then(|| Rewritten { before: original.to_owned(), after: wanted.to_vec() });
    if *wanted != *current {
        mutations.push(Mutation::Set(name, wanted));
    }
    rewritten
}

impl Earlier {
    fn wrote(&self, name: &str) -> bool {
        !self.written.is_empty()
            && self.written.split(|b| *b == b',').any(|written| written == name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Secret;

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect()
    }

    static NOTHING_EARLIER: Earlier = Earlier { written: Vec::new(), path: None, authority: None };
    const UNKNOWN: fn(&[u8]) -> bool = |_| false;

    fn strip<'a>(headers: &'a Headers, credential: &'a Credential) -> Changes<'a> {
        inject(
            headers,
            &NOTHING_EARLIER,
            ClientCredentials::Strip,
            &UNKNOWN,
            Put::Credential(credential),
        )
        .unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::line(text).unwrap()
    }

    /// What Envoy does with the mutations: a set header has one value, at the end if it is new.
    fn apply(headers: &Headers, changes: &Changes<'_>) -> Vec<(String, String)> {
        let mut map: Vec<(String, Vec<u8>)> = headers.to_vec();
        for mutation in &changes.mutations {
            match mutation {
                Mutation::Remove(name) => map.retain(|(n, _)| n != name),
                Mutation::Set(name, value) => match map.iter_mut().find(|(n, _)| n == name) {
                    Some((_, old)) => *old = value.to_vec(),
                    None => map.push(((*name).to_owned(), value.to_vec())),
                },
            }
        }
        map.into_iter().map(|(n, v)| (n, String::from_utf8(v).unwrap())).collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn every_credential_of_the_client_is_replaced_by_one_of_ours() {
        let credential = Credential::x_api_key(secret("ours"));
        let request = headers(&[
            (":path", "/v1/messages?key=k&beta=true"),
            ("x-api-key", "theirs"),
            ("accept", "*/*"),
            ("authorization", "Bearer theirs"),
            ("x-api-key", "theirs again"),
            ("x-aigw-api-key", "theirs"),
        ]);
        let changes = strip(&request, &credential);
        assert_eq!(
            apply(&request, &changes),
            pairs(&[(":path", "/v1/messages?beta=true"), ("accept", "*/*"), ("x-api-key", "ours")])
        );
        assert_eq!(changes.written, Some("x-api-key"));
    }

    #[test]
    fn keep_replaces_the_written_header_and_nothing_else() {
        let credential = Credential::bearer(&secret("ours"));
        let request = headers(&[
            (":path", "/?key=k"),
            ("authorization", "Basic a"),
            ("authorization", "Basic b"),
            ("x-api-key", "theirs"),
        ]);
        let changes = inject(
            &request,
            &NOTHING_EARLIER,
            ClientCredentials::Keep,
            &UNKNOWN,
            Put::Credential(&credential),
        )
        .unwrap();
        assert_eq!(
            apply(&request, &changes),
            pairs(&[
                (":path", "/?key=k"),
                ("x-api-key", "theirs"),
                ("authorization", "Bearer ours")
            ])
        );
        assert_eq!(changes.path, None);
    }

    #[test]
    fn a_later_attempt_removes_what_an_earlier_one_wrote_under_keep_and_allow_too() {
        let earlier = Earlier { written: b"authorization".to_vec(), path: None, authority: None };
        let request = headers(&[(":path", "/"), ("authorization", "Bearer A"), ("x-api-key", "k")]);
        let second = Credential::api_key(secret("B"));
        let changes =
            inject(&request, &earlier, ClientCredentials::Keep, &UNKNOWN, Put::Credential(&second))
                .unwrap();
        assert_eq!(
            apply(&request, &changes),
            pairs(&[(":path", "/"), ("x-api-key", "k"), ("api-key", "B")])
        );
        let changes =
            inject(&request, &earlier, ClientCredentials::Strip, &UNKNOWN, Put::Nothing).unwrap();
        assert_eq!(apply(&request, &changes), pairs(&[(":path", "/"), ("x-api-key", "k")]));
        assert_eq!(changes.written, None);
    }

    #[test]
    fn a_later_attempt_puts_the_path_back_unless_somebody_else_changed_it() {
        let path = Rewritten { before: b"/a?key=k&b".to_vec(), after: b"/a?b".to_vec() };
        let earlier = Earlier {
            written: b"authorization".to_vec(),
            path: Some(path.clone()),
            authority: None,
        };
        let request = headers(&[(":path", "/a?b")]);
        let changes =
            inject(&request, &earlier, ClientCredentials::Strip, &UNKNOWN, Put::Nothing).unwrap();
        assert_eq!(apply(&request, &changes), pairs(&[(":path", "/a?key=k&b")]));
        assert_eq!(changes.path, None);
        // The next one strips it again and remembers the same original.
        let credential = Credential::bearer(&secret("ours"));
        let changes = inject(
            &request,
            &earlier,
            ClientCredentials::Strip,
            &UNKNOWN,
            Put::Credential(&credential),
        )
        .unwrap();
        assert_eq!(changes.path, Some(path));
        assert_eq!(apply(&request, &changes)[0].1, "/a?b");
        let request = headers(&[(":path", "/other")]);
        let changes =
            inject(&request, &earlier, ClientCredentials::Strip, &UNKNOWN, Put::Nothing).unwrap();
        assert_eq!(changes.mutations, []);
    }

    #[test]
    fn only_the_keys_in_websocket_protocols_go() {
        let credential = Credential::bearer(&secret("ours"));
        let request = headers(&[
            (":path", "/v1/realtime"),
            ("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-1"),
            ("sec-websocket-protocol", "OpenAI-Insecure-API-Key.sk-2,openai-beta.realtime-v1"),
        ]);
        let changes = strip(&request, &credential);
        assert_eq!(
            apply(&request, &changes)[1..],
            pairs(&[
                ("sec-websocket-protocol", "realtime, openai-beta.realtime-v1"),
                ("authorization", "Bearer ours")
            ])
        );
        let only = headers(&[("sec-websocket-protocol", "openai-insecure-api-key.sk-1")]);
        let changes = strip(&only, &credential);
        assert_eq!(apply(&only, &changes), pairs(&[("authorization", "Bearer ours")]));
    }

    #[test]
    fn the_original_paths_that_envoy_adds_lose_the_credentials_too() {
        let credential = Credential::bearer(&secret("ours"));
        let request = headers(&[
            (":path", "/v1?a=b"),
            ("x-envoy-original-path", "/openai/v1?key=k&a=b"),
            ("x-envoy-original-url", "http://a.example/v1?a=b&key=k"),
        ]);
        let changes = strip(&request, &credential);
        assert_eq!(
            apply(&request, &changes)[1..3],
            pairs(&[
                ("x-envoy-original-path", "/openai/v1?a=b"),
                ("x-envoy-original-url", "http://a.example/v1?a=b")
            ])
        );
    }

    #[test]
    fn a_credential_of_ours_is_removed_by_its_value_where_headers_are_kept() {
        let credential = Credential::x_api_key(secret("ours"));
        let known = |value: &[u8]| value == b"Bearer A";
        let request = headers(&[
            ("authorization", "Bearer A"),
            ("api-key", "theirs"),
            ("x-other", "Bearer A"),
        ]);
        let earlier = Earlier::default();
        let changes = inject(
            &request,
            &earlier,
            ClientCredentials::Keep,
            &known,
            Put::Credential(&credential),
        )
        .unwrap();
        let kept = [("api-key", "theirs"), ("x-other", "Bearer A")];
        assert_eq!(apply(&request, &changes), pairs(&[kept[0], kept[1], ("x-api-key", "ours")]));
        let changes =
            inject(&request, &earlier, ClientCredentials::Strip, &known, Put::Nothing).unwrap();
        assert_eq!(apply(&request, &changes), pairs(&kept));
    }

    #[test]
    fn every_header_that_is_written_is_one_that_concerns() {
        for header in CredentialHeader::ALL {
            assert!(concerns(header.name().as_bytes()));
        }
        assert!(concerns(b":path") && concerns(b"x-aigw-k") && !concerns(b"accept"));
    }

    #[test]
    fn trailers_lose_the_credentials_that_headers_would() {
        let trailers = headers(&[
            ("authorization", "a"),
            ("grpc-status", "0"),
            ("x-aigw-k", "b"),
            ("cookie", "c"),
        ]);
        let names = |client| credentials_in_trailers(&trailers, client, "authorization");
        assert_eq!(names(ClientCredentials::Strip), ["authorization", "x-aigw-k", "cookie"]);
        assert_eq!(names(ClientCredentials::Keep), ["authorization"]);
    }

    #[test]
    fn a_request_without_credentials_gets_exactly_one_header() {
        let credential = Credential::bearer(&secret("ours"));
        let request = headers(&[(":method", "GET"), (":path", "/v1/models?limit=2&after=a%20b")]);
        let changes = strip(&request, &credential);
        assert_eq!(
            changes.mutations,
            [Mutation::Set("authorization", Cow::Borrowed(b"Bearer ours"))]
        );
    }
}
