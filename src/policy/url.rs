//! Where a credential may be sent: an absolute `https` URL, or `http` to the few hosts that may be
//! called so.

use super::rules;
use std::fmt;

/// Addresses of metadata services, which speak `http` only
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>,
/// <https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html>,
/// <https://cloud.google.com/compute/docs/metadata/overview>).
const METADATA_HOSTS: [&str; 6] = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
    "metadata.google.internal",
];

/// Stands for files of this host, and for no provider.
const FILES_HOST: &str = "files.local";

/// A place to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether TLS protects the call.
    pub scheme: Scheme,
    /// Host, and port if there is one.
    pub authority: String,
    /// Path and query, beginning with `/`.
    pub path: String,
}

/// The scheme of an [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// Why a text is no [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointError {
    /// It is no absolute URL of `http` or `https`, or it has a user, a fragment or white space.
    NotAUrl,
    /// It is `http`, and its host may not be called so.
    Plaintext,
    /// Its host stands for files.
    Files,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAUrl => "must be an https URL",
            Self::Plaintext => {
                "must be https: http is for metadata addresses and for the hosts in \
                 egress.plaintextHosts"
            }
            Self::Files => "must not have the host files.local, which stands for mounted files",
        })
    }
}

impl Endpoint {
    /// Reads a URL. `plaintext_hosts`, in lower case, may be called over `http`, with their port if
    /// they have one.
    ///
    /// # Errors
    ///
    /// If `text` is no URL, or one that a credential may not be sent to.
    pub fn parse(text: &str, plaintext_hosts: &[String]) -> Result<Self, EndpointError> {
        let (scheme, rest) = text.split_once(':').ok_or(EndpointError::NotAUrl)?;
        let rest = rest.strip_prefix("//").ok_or(EndpointError::NotAUrl)?;
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
            _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
            _ => return Err(EndpointError::NotAUrl),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at_checked(end).ok_or(EndpointError::NotAUrl)?;
        if !rules::authority(authority)
            || !tail.bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b'\\')
        {
            return Err(EndpointError::NotAUrl);
        }
        let authority = authority.to_ascii_lowercase();
        if scheme == Scheme::Http && !plaintext_allowed(&authority, plaintext_hosts) {
            return Err(EndpointError::Plaintext);
        }
        let host = rules::split_port(&authority).map_or(authority.as_str(), |(host, _)| host);
        if host == FILES_HOST {
            return Err(EndpointError::Files);
        }
        let slash = if tail.starts_with('/') { "" } else { "/" };
        Ok(Self { scheme, authority, path: format!("{slash}{tail}") })
    }

    /// Reads a URL that the environment gives for a service of the platform, which may be plain `http`
    /// wherever it is.
    ///
    /// # Errors
    ///
    /// If `text` is no URL, or one of mounted files.
    pub fn of_platform(text: &str) -> Result<Self, EndpointError> {
        let authority = text.split(['/', '?']).nth(2).unwrap_or_default().to_ascii_lowercase();
        Self::parse(text, &[authority])
    }

    /// The same place with another path below it.
    pub(crate) fn join(&self, path: &str) -> Self {
        let root = self.path.trim_end_matches('/');
        Self { path: format!("{root}{path}"), ..self.clone() }
    }

    /// The host, without a port.
    pub fn host(&self) -> &str {
        rules::split_port(&self.authority).map_or(&self.authority, |(host, _)| host)
    }

    /// Whether TLS protects the call.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// Whether it is on the machine itself.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host();
        let is_address = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        matches!(host, "localhost" | "[::1]") || (is_address && host.starts_with("127."))
    }

    /// Whether it is at the address of a metadata service.
    pub fn is_metadata(&self) -> bool {
        METADATA_HOSTS.contains(&self.host())
    }
}

fn plaintext_allowed(authority: &str, plaintext_hosts: &[String]) -> bool {
    let host = rules::split_port(authority).map_or(authority, |(host, _)| host);
    METADATA_HOSTS.contains(&host)
        || plaintext_hosts.iter().any(|allowed| allowed == authority || allowed == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_goes_everywhere_and_http_to_listed_hosts_only() {
        let listed = ["idp.local".to_owned(), "127.0.0.1:8080".to_owned()];
        for url in [
            "https://a.example",
            "HTTPS://A.example:8443/t?x=1",
            "http://169.254.169.254/latest",
            "http://[fd00:ec2::23]/v1",
            "http://idp.local:9000/token",
            "http://127.0.0.1:8080/",
        ] {
            assert!(Endpoint::parse(url, &listed).is_ok(), "{url}");
        }
        for url in ["http://a.example", "http://127.0.0.1:8081", "http://169.254.169.254.example"] {
            assert_eq!(Endpoint::parse(url, &listed), Err(EndpointError::Plaintext), "{url}");
        }
    }

    #[test]
    fn what_a_parser_could_read_in_two_ways_is_no_url() {
        for url in [
            "",
            "a.example/token",
            "ftp://a.example",
            "https://",
            "https://user@a.example",
            "https://a.example\\@b.example",
            "https://a.example/ b",
            "https://a.example/#b",
            "https://a.example:port",
            "https://a\n.example",
        ] {
            assert_eq!(Endpoint::parse(url, &[]), Err(EndpointError::NotAUrl), "{url:?}");
        }
    }

    #[test]
    fn files_are_no_provider() {
        for url in ["https://files.local/t", "https://FILES.local:443", "http://files.local/"] {
            let listed = ["files.local".to_owned()];
            assert_eq!(Endpoint::parse(url, &listed), Err(EndpointError::Files), "{url}");
        }
        assert!(Endpoint::parse("https://files.local.example", &[]).is_ok());
    }

    #[test]
    fn a_path_always_begins_with_a_slash() {
        let parse = |url| Endpoint::parse(url, &[]).unwrap();
        assert_eq!(parse("https://A.example").path, "/");
        assert_eq!(parse("https://A.example?x=1").path, "/?x=1");
        assert_eq!(parse("https://A.example").authority, "a.example");
    }
}
