//! How a request is signed: what of it, for which host.

use super::{Header, Headers, PATH};
use crate::aws::host;
use crate::aws::sigv4::{DATE, Hash, Request, SECURITY_TOKEN, Scope, Signed, Signer};
use crate::credential::{AwsKeys, CredentialHeader};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The pseudo-header of the host.
pub const AUTHORITY: &str = ":authority";
const METHOD: &str = ":method";
/// Of an extended CONNECT (RFC 8441).
const PROTOCOL: &str = ":protocol";
const UPGRADE: &str = "upgrade";
const CONTENT_TYPE: &str = "content-type";

/// What belongs to a signature: a client's own would break ours.
pub(super) const SIGNATURE: [&str; 4] =
    [CredentialHeader::Authorization.name(), DATE, SECURITY_TOKEN, "x-amz-content-sha256"];
/// What is written, as [`Changes::written`](super::Changes) has it.
const WRITTEN: &str = "authorization,x-amz-date";
const WRITTEN_WITH_TOKEN: &str = "authorization,x-amz-date,x-amz-security-token";

/// Whether signing can be about a header of this name, beside those of every injection.
pub fn concerns_signature(name: &[u8]) -> bool {
    [AUTHORITY, METHOD, PROTOCOL, UPGRADE, CONTENT_TYPE].iter().any(|n| n.as_bytes() == name)
}

/// How the requests of one policy are signed.
pub struct Signing {
    /// The region of hosts that do not tell theirs.
    pub region: String,
    /// The signing name of the service.
    pub service: String,
    /// What requests are signed with.
    pub keys: AwsKeys,
    signer: Signer,
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signing")
    }
}

/// What a signature needs beside the headers.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// The host, if it is given.
    pub host: Option<&'a str>,
    /// The time since the Unix epoch.
    pub now: Duration,
    /// The hash of the body.
    pub body: &'a Hash,
}

/// The request cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignError {
    /// As it is: it has no path, or never ends.
    Unsignable,
    /// By a bug.
    Internal,
}

/// What a signature writes.
pub(super) struct Signature {
    pub(super) host: String,
    pub(super) headers: Vec<(&'static str, Cow<'static, [u8]>)>,
    pub(super) written: &'static str,
}

/// Whether a request can be signed once its body has come: it has a path, and a body that ends
/// (CONNECT and upgrades have none).
///
/// # Errors
///
/// If it cannot.
pub fn signable(headers: &Headers) -> Result<(), SignError> {
    let is_upgrade = headers.iter().any(|(name, _)| name == UPGRADE || name == PROTOCOL);
    let method = value(headers, METHOD).ok_or(SignError::Unsignable)?;
    let path = value(headers, PATH).ok_or(SignError::Unsignable)?;
    if is_upgrade || method == b"CONNECT" || !path.starts_with(b"/") {
        return Err(SignError::Unsignable);
    }
    Ok(())
}

impl Signing {
    /// Signs with these keys, for `service` in `region` unless the host names another.
    pub fn new(keys: AwsKeys, region: String, service: String) -> Self {
        Self { region, service, keys, signer: Signer::default() }
    }

    /// Signs a request that leaves with `path` and, unless a host is given, for the one in
    /// `authority` if that is one of the service, else for the region's.
    pub(super) fn sign(
        &self,
        headers: &Headers,
        path: &[u8],
        authority: Option<&[u8]>,
        occasion: Occasion<'_>,
    ) -> Result<Signature, SignError> {
        signable(headers)?;
        let host = self.signed_host(occasion.host, authority);
        let region =
            host::region_of(&self.service, host::split_port(&host).0).unwrap_or(&self.region);
        let further: Vec<(&str, &[u8])> = headers
            .iter()
            .filter(|(name, _)| name == CONTENT_TYPE)
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .collect();
        let request = Request {
            method: value(headers, METHOD).ok_or(SignError::Unsignable)?,
            path,
            host: &host,
            headers: &further,
            body: occasion.body,
        };
        let scope = Scope { region, service: &self.service };
        let Signed { authorization, date } = self
            .signer
            .sign(&request, scope, &self.keys, occasion.now)
            .ok_or(SignError::Internal)?;
        let bytes = |text: &str| Cow::Owned(text.as_bytes().to_vec());
        let mut signed = vec![
            (CredentialHeader::Authorization.name(), bytes(authorization.expose())),
            (DATE, bytes(&date)),
        ];
        let mut written = WRITTEN;
        if let Some(token) = self.keys.session_token() {
            signed.push((SECURITY_TOKEN, bytes(token.expose())));
            written = WRITTEN_WITH_TOKEN;
        }
        Ok(Signature { host, headers: signed, written })
    }

    fn signed_host(&self, given: Option<&str>, authority: Option<&[u8]>) -> String {
        if let Some(host) = given {
            return host::signed_form(host);
        }
        let authority = authority.and_then(|bytes| core::str::from_utf8(bytes).ok());
        let authority = authority
            .map(host::signed_form)
            .filter(|a| host::region_of(&self.service, host::split_port(a).0).is_some());
        authority.unwrap_or_else(|| host::service(&self.service, &self.region))
    }
}

/// The value of a header that occurs once.
fn value<'h>(headers: &'h Headers, name: &str) -> Option<&'h [u8]> {
    let header: Option<&Header> = headers.iter().find(|(other, _)| other == name);
    header.map(|(_, value)| value.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::sigv4::EMPTY_BODY;
    use crate::inject::{Changes, Earlier, Mutation, Put, Rewritten, inject};
    use crate::policy::ClientCredentials;

    fn headers(authority: &str, further: &[(&str, &str)]) -> Vec<Header> {
        let first = [(":method", "POST"), (":path", "/model/m/invoke"), (AUTHORITY, authority)];
        let all = first.iter().chain(further);
        all.map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect()
    }

    fn signing(token: Option<&str>) -> Signing {
        let keys = AwsKeys::new("AKID", "secret", token).unwrap();
        Signing::new(keys, "eu-west-1".to_owned(), "bedrock".to_owned())
    }

    fn occasion(host: Option<&str>) -> Occasion<'_> {
        Occasion { host, now: Duration::from_secs(1_440_938_160), body: &EMPTY_BODY }
    }

    /// The last value that a header is set to.
    fn set<'c>(changes: &'c Changes<'_>, header: &str) -> Option<&'c str> {
        changes.mutations.iter().rev().find_map(|mutation| match mutation {
            Mutation::Set(name, value) if *name == header => core::str::from_utf8(value).ok(),
            _ => None,
        })
    }

    fn sign<'a>(
        headers: &'a Headers,
        earlier: &'a Earlier,
        client: ClientCredentials,
        signing: &'a Signing,
        host: Option<&'a str>,
    ) -> Result<Changes<'a>, SignError> {
        inject(headers, earlier, client, &|_| false, Put::Signature(signing, occasion(host)))
    }

    #[test]
    fn the_host_that_is_signed_is_the_one_that_is_sent() {
        let signing = signing(None);
        for (authority, given, host, region) in [
            ("127.0.0.1:10000", None, "bedrock-runtime.eu-west-1.amazonaws.com", "eu-west-1"),
            (
                "bedrock-runtime-fips.us-east-1.amazonaws.com:443",
                None,
                "bedrock-runtime-fips.us-east-1.amazonaws.com",
                "us-east-1",
            ),
            (
                "bedrock-runtime.us-east-1.api.aws:8443",
                None,
                "bedrock-runtime.us-east-1.api.aws:8443",
                "us-east-1",
            ),
            (
                "bedrock-runtime.us-east-1.amazonaws.com.evil.example",
                None,
                "bedrock-runtime.eu-west-1.amazonaws.com",
                "eu-west-1",
            ),
            ("bedrock-runtime.us-east-1.amazonaws.com", Some("Own:443"), "own", "eu-west-1"),
            (
                "a",
                Some("vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com"),
                "vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com",
                "us-east-1",
            ),
        ] {
            let request = headers(authority, &[]);
            let nothing = Earlier::default();
            let changes =
                sign(&request, &nothing, ClientCredentials::Strip, &signing, given).unwrap();
            let changed = (authority != host).then_some(host);
            assert_eq!(set(&changes, AUTHORITY), changed, "{authority}");
            assert_eq!(changes.authority.is_some(), changed.is_some());
            let scope = format!("Credential=AKID/20150830/{region}/bedrock/aws4_request, ");
            assert!(set(&changes, "authorization").unwrap().contains(&scope), "{authority}");
            assert_eq!(set(&changes, DATE), Some("20150830T123600Z"));
        }
    }

    #[test]
    fn a_signature_of_the_client_goes_whole_even_where_its_headers_are_kept() {
        let own = [
            ("authorization", "AWS4-HMAC-SHA256 Credential=theirs"),
            ("x-amz-date", "20200101T000000Z"),
            ("x-amz-security-token", "theirs"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-api-key", "theirs"),
        ];
        let request = headers("a", &own);
        let signing = signing(None);
        for client in [ClientCredentials::Strip, ClientCredentials::Keep] {
            let nothing = Earlier::default();
            let changes = sign(&request, &nothing, client, &signing, None).unwrap();
            let removed = |name: &str| changes.mutations.contains(&Mutation::Remove(name));
            let gone = own.map(|(name, _)| removed(name));
            assert_eq!(gone, [true, true, true, true, client == ClientCredentials::Strip]);
            assert_eq!(changes.written, Some("authorization,x-amz-date"));
        }
    }

    #[test]
    fn content_type_and_token_are_signed_if_there_are_any() {
        for (further, token, names) in [
            (&[][..], None, "host;x-amz-date"),
            (&[("content-type", "a/b")], None, "content-type;host;x-amz-date"),
            (&[], Some("t="), "host;x-amz-date;x-amz-security-token"),
        ] {
            let (request, signing) = (headers("a", further), signing(token));
            let nothing = Earlier::default();
            let changes =
                sign(&request, &nothing, ClientCredentials::Strip, &signing, None).unwrap();
            let names = format!(", SignedHeaders={names}, ");
            assert!(set(&changes, "authorization").unwrap().contains(&names));
            assert_eq!(set(&changes, SECURITY_TOKEN), token);
        }
    }

    #[test]
    fn a_later_attempt_finds_the_host_that_was_there() {
        let after = "bedrock-runtime.eu-west-1.amazonaws.com";
        let rewritten =
            Rewritten { before: b"a.example".to_vec(), after: after.as_bytes().to_vec() };
        let earlier = Earlier {
            written: WRITTEN.as_bytes().to_vec(),
            path: None,
            authority: Some(rewritten.clone()),
        };
        let request = headers(after, &[("authorization", "AWS4"), ("x-amz-date", "d")]);
        let changes =
            inject(&request, &earlier, ClientCredentials::Keep, &|_| false, Put::Nothing).unwrap();
        assert_eq!(set(&changes, AUTHORITY), Some("a.example"));
        assert_eq!(changes.authority, None);
        assert!(changes.mutations.contains(&Mutation::Remove("x-amz-date")));
        // One that signs again remembers the same original.
        let signing = signing(None);
        let changes = sign(&request, &earlier, ClientCredentials::Strip, &signing, None).unwrap();
        assert_eq!(changes.authority, Some(rewritten));
        assert_eq!(set(&changes, AUTHORITY), None);
    }

    #[test]
    fn what_never_ends_cannot_be_signed() {
        let without = |name: &str| {
            let mut headers = headers("a", &[]);
            headers.retain(|(other, _)| other != name);
            headers
        };
        let mut connect = headers("a", &[]);
        connect[0].1 = b"CONNECT".to_vec();
        let mut no_path = headers("a", &[]);
        no_path[1].1 = b"*".to_vec();
        for request in [
            without(":path"),
            without(":method"),
            connect,
            no_path,
            headers("a", &[("upgrade", "websocket")]),
            headers("a", &[(":protocol", "websocket")]),
        ] {
            assert_eq!(signable(&request), Err(SignError::Unsignable));
            let (nothing, signing) = (Earlier::default(), signing(None));
            let changes = sign(&request, &nothing, ClientCredentials::Strip, &signing, None);
            assert_eq!(changes, Err(SignError::Unsignable));
        }
    }
}
