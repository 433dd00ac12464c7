//! How a call leaves: through which cluster, with which headers.

use crate::policy::Egress;
use crate::source::{Call, Target};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt;

/// The host that stands for files of this one.
const FILES_HOST: &str = "files.local";
/// Tells the egress listener which scheme to use; it takes it off.
const SCHEME: &str = "x-egress-scheme";
/// What stands for itself in a path: unreserved (RFC 3986 section 2.3) and the separator.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A call as the host takes it. It holds secrets, so it cannot be printed.
pub struct Dispatch<'c> {
    /// The cluster.
    pub cluster: &'c str,
    /// The headers, those with a colon first.
    pub headers: Vec<(&'c str, String)>,
    /// The body.
    pub body: &'c [u8],
}

impl fmt::Debug for Dispatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dispatch({})", self.cluster)
    }
}

/// Where callouts go.
#[derive(Debug)]
pub struct Egresses {
    pub(crate) egress: Egress,
    pub(crate) files_cluster: Option<String>,
}

impl Egresses {
    /// How a call leaves. `None` if no cluster carries it.
    pub fn dispatch<'c>(&'c self, call: &'c Call) -> Option<Dispatch<'c>> {
        let (cluster, authority, path, scheme) = match &call.target {
            Target::File(path) => {
                let path = utf8_percent_encode(path, ENCODED).to_string();
                (self.files_cluster.as_deref()?, FILES_HOST, path, None)
            }
            // Nothing of it leaves Envoy.
            Target::Signer(_) => return None,
            Target::Url(endpoint) => {
                let route = self.egress.route(endpoint)?;
                let path = endpoint.path.clone();
                (route.cluster, endpoint.authority.as_str(), path, route.scheme)
            }
        };
        let mut headers = vec![
            (":method", call.method.to_owned()),
            (":path", path),
            (":authority", authority.to_owned()),
        ];
        headers.extend(scheme.map(|scheme| (SCHEME, scheme.to_owned())));
        headers.extend(call.headers.iter().map(|(name, value)| (name.as_ref(), value.clone())));
        Some(Dispatch { cluster, headers, body: &call.body })
    }

    /// A call to the listener of the callouts that says whether it can be reached.
    pub fn probe(&self) -> Option<Dispatch<'_>> {
        let cluster = self.probed()?;
        let header = |name, value: &str| (name, value.to_owned());
        let headers =
            vec![header(":method", "GET"), header(":path", "/"), header(":authority", FILES_HOST)];
        Some(Dispatch { cluster, headers, body: b"" })
    }

    /// The cluster that is asked whether it can be reached, if there is one.
    pub(crate) fn probed(&self) -> Option<&str> {
        self.files_cluster.as_deref().or(self.egress.cluster.as_deref())
    }

    /// How long one call may take.
    pub fn timeout(&self) -> std::time::Duration {
        self.egress.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Endpoint;
    use std::time::Duration;

    fn egresses() -> Egresses {
        let egress = Egress {
            cluster: Some("egress".to_owned()),
            plaintext_cluster: None,
            clusters: vec![("sts.example".to_owned(), "sts".to_owned())],
            plaintext_hosts: Vec::new(),
            timeout: Duration::from_secs(5),
        };
        Egresses { egress, files_cluster: Some("files".to_owned()) }
    }

    fn sent(egresses: &Egresses, target: Target) -> Option<(String, Vec<(String, String)>)> {
        let headers = vec![("accept".into(), "application/json".to_owned())];
        let call = Call { step: "s", target, method: "POST", headers, body: b"b".to_vec() };
        let dispatch = egresses.dispatch(&call)?;
        assert_eq!(dispatch.body, b"b");
        let headers = dispatch.headers.into_iter().map(|(name, value)| (name.to_owned(), value));
        Some((dispatch.cluster.to_owned(), headers.collect()))
    }

    fn url(text: &str) -> Target {
        Target::Url(Endpoint::parse(text, &["idp.local".to_owned()]).unwrap())
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_common_cluster_is_told_the_scheme_and_one_of_a_hosts_own_is_not() {
        let egresses = egresses();
        let expected = |path, authority, scheme: &[(&str, &str)]| {
            let mut all = pairs(&[(":method", "POST"), (":path", path), (":authority", authority)]);
            all.extend(pairs(scheme));
            all.extend(pairs(&[("accept", "application/json")]));
            all
        };
        for (target, cluster, headers) in [
            (
                "https://login.example/t?x=1",
                "egress",
                expected("/t?x=1", "login.example", &[("x-egress-scheme", "https")]),
            ),
            (
                "http://idp.local:8080/t",
                "egress",
                expected("/t", "idp.local:8080", &[("x-egress-scheme", "http")]),
            ),
            ("https://sts.example:8443/", "sts", expected("/", "sts.example:8443", &[])),
        ] {
            assert_eq!(sent(&egresses, url(target)), Some((cluster.to_owned(), headers)));
        }
    }

    #[test]
    fn http_may_have_a_cluster_of_its_own() {
        let mut egresses = egresses();
        egresses.egress.plaintext_cluster = Some("plain".to_owned());
        let (cluster, headers) = sent(&egresses, url("http://idp.local/")).unwrap();
        assert_eq!(cluster, "plain");
        assert!(headers.iter().all(|(name, _)| name != SCHEME));
        egresses.egress.cluster = None;
        assert_eq!(sent(&egresses, url("https://other.example/")), None);
    }

    #[test]
    fn a_file_is_asked_for_by_the_path_that_it_has_on_the_disk() {
        let path = "/mnt/default/per%63ent a/k\u{e9}y?#.json";
        let (cluster, headers) = sent(&egresses(), Target::File(path.to_owned())).unwrap();
        assert_eq!(cluster, "files");
        let encoded = "/mnt/default/per%2563ent%20a/k%C3%A9y%3F%23.json";
        assert_eq!(headers[1], (":path".to_owned(), encoded.to_owned()));
        assert_eq!(headers[2], (":authority".to_owned(), "files.local".to_owned()));
    }
}
