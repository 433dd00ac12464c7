//! Google's credential files: the key of a service account, and what the SDKs take in its place
//! (<https://google.aip.dev/auth/4112>, <https://google.aip.dev/auth/4117>). Such a file is somebody
//! else's text, so where it may lead is limited.

use super::rules;
use super::tree::{Field, Tree};
use super::url::Endpoint;
use crate::credential::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The universe of everybody but a few.
const GOOGLE: &str = "googleapis.com";
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// Where the platform puts tokens, beside the folder of mounted secrets.
const PLATFORM_FOLDER: &str = "/var/run/secrets";
/// `rsaEncryption` (RFC 8017 appendix A.1), as DER writes it.
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// The longest life of an impersonated token, in seconds; above an hour an organization has to allow it.
const LONGEST_LIFE: f64 = 43_200.0;

/// What a file may lead to.
#[derive(Clone, Debug, Default)]
pub struct FileLimits {
    /// Files that it names have to lie below this, or below `/var/run/secrets`.
    pub mount_path: Option<String>,
    /// Hosts that a subject token may come from over `http`.
    pub plaintext_hosts: Vec<String>,
}

/// A credential file, read.
#[derive(Debug)]
pub enum GoogleFile {
    /// `service_account`
    ServiceAccount(ServiceAccount),
    /// `authorized_user`
    AuthorizedUser(AuthorizedUser),
    /// `external_account`
    ExternalAccount(Box<ExternalAccount>),
    /// `impersonated_service_account`
    Impersonated(Box<Self>, Impersonation),
}

impl GoogleFile {
    /// Where it leads.
    pub(super) fn endpoints(&self) -> Vec<&Endpoint> {
        match self {
            Self::ServiceAccount(account) if account.self_signed => Vec::new(),
            Self::ServiceAccount(account) => vec![&account.token_uri],
            Self::AuthorizedUser(user) => vec![&user.token_uri],
            Self::ExternalAccount(account) => {
                let mut endpoints = vec![&account.token_url];
                endpoints.extend(account.impersonation.as_ref().map(|target| &target.endpoint));
                if let SubjectToken::Url { endpoint, .. } = &account.subject {
                    endpoints.push(endpoint);
                }
                endpoints
            }
            Self::Impersonated(source, target) => {
                let mut endpoints = source.endpoints();
                endpoints.push(&target.endpoint);
                endpoints
            }
        }
    }

    /// Whether it names a file.
    pub(super) fn reads_files(&self) -> bool {
        match self {
            Self::ServiceAccount(_) | Self::AuthorizedUser(_) => false,
            Self::ExternalAccount(account) => matches!(account.subject, SubjectToken::File { .. }),
            Self::Impersonated(source, _) => source.reads_files(),
        }
    }
}

/// The key of a service account.
#[derive(Debug)]
pub struct ServiceAccount {
    /// Who it is.
    pub email: String,
    /// Its key, as PEM.
    pub key: Secret,
    /// Which key it is.
    pub key_id: Option<String>,
    /// Where it gets tokens.
    pub token_uri: Endpoint,
    /// The same as the file has it.
    pub audience: String,
    /// Whether its universe has no such place, so that it signs its tokens itself.
    pub self_signed: bool,
}

/// A person who has logged in.
#[derive(Debug)]
pub struct AuthorizedUser {
    /// The client that the person logged in with.
    pub client_id: String,
    /// What the client proves itself with.
    pub client_secret: Secret,
    /// What the log-in gave.
    pub refresh_token: Secret,
    /// Where it gets tokens.
    pub token_uri: Endpoint,
}

/// Workload or workforce identity federation.
#[derive(Debug)]
pub struct ExternalAccount {
    /// The provider of the pool.
    pub audience: String,
    /// What kind of token it trusts.
    pub subject_token_type: String,
    /// Where the exchange is.
    pub token_url: Endpoint,
    /// Where the token that it trusts comes from.
    pub subject: SubjectToken,
    /// The service account to act as.
    pub impersonation: Option<Impersonation>,
    /// A client of the exchange, and its secret.
    pub client: Option<(String, Secret)>,
    /// The project that is billed, of a workforce pool.
    pub user_project: Option<String>,
}

/// Where the token of another provider comes from.
#[derive(Debug)]
pub enum SubjectToken {
    /// A file of this path.
    File {
        /// The path.
        path: String,
        /// The field of a JSON document that has it; `None` if it is all the text.
        field: Option<String>,
    },
    /// A document that is asked for.
    Url {
        /// Where.
        endpoint: Endpoint,
        /// Headers to send.
        headers: Vec<(String, Secret)>,
        /// As above.
        field: Option<String>,
    },
}

/// A service account that another identity acts as.
#[derive(Clone, Debug)]
pub struct Impersonation {
    /// Where its tokens are given.
    pub endpoint: Endpoint,
    /// Service accounts on the way.
    pub delegates: Vec<String>,
    /// How long a token lasts, in seconds.
    pub lifetime: u32,
}

/// Reads a file.
///
/// # Errors
///
/// What is wrong with it, without a word of what it holds.
pub fn read(text: &str, limits: &FileLimits) -> Result<GoogleFile, String> {
    let tree = serde_json::from_str(text).map_err(|_| "must be JSON".to_owned())?;
    file(&tree, limits, true)
}

fn file(tree: &Tree, limits: &FileLimits, outer: bool) -> Result<GoogleFile, String> {
    match Field::of(tree, "type").text() {
        Some("service_account") => service_account(tree).map(GoogleFile::ServiceAccount),
        Some("authorized_user") => authorized_user(tree).map(GoogleFile::AuthorizedUser),
        Some("external_account") => {
            external_account(tree, limits).map(|a| GoogleFile::ExternalAccount(Box::new(a)))
        }
        Some("impersonated_service_account") if outer => {
            let Field::Is(source) = Field::of(tree, "source_credentials") else {
                return Err("must have source_credentials".to_owned());
            };
            let source = file(source, limits, false)
                .map_err(|error| format!("its source_credentials: {error}"))?;
            let impersonation = impersonation(tree, &universe(tree)?)?
                .ok_or("must have service_account_impersonation_url")?;
            Ok(GoogleFile::Impersonated(Box::new(source), impersonation))
        }
        Some(name @ ("external_account_authorized_user" | "gdch_service_account")) => {
            Err(format!("type {name} is not supported"))
        }
        Some(_) => Err("its type is none that is known".to_owned()),
        None => Err("must have a type, such as service_account".to_owned()),
    }
}

fn service_account(tree: &Tree) -> Result<ServiceAccount, String> {
    let universe = universe(tree)?;
    let email = required(tree, "client_email")?;
    if !rules::account(email) {
        return Err("client_email must be the e-mail address of a service account".to_owned());
    }
    let key = required(tree, "private_key")?;
    // Whoever pasted the file through a shell has the two characters in place of a line feed.
    let key = if key.contains("\\n") { key.replace("\\n", "\n") } else { key.to_owned() };
    if !is_rsa_key(&key) {
        return Err("private_key must be an RSA key in PEM, without a passphrase".to_owned());
    }
    let key = Secret::document(&key).map_err(|error| format!("private_key {error}"))?;
    let audience = optional(tree, "token_uri")?.unwrap_or(TOKEN_URI);
    Ok(ServiceAccount {
        email: email.to_owned(),
        key,
        key_id: optional(tree, "private_key_id")?.map(str::to_owned),
        token_uri: of_google("token_uri", audience, &universe)?,
        audience: audience.to_owned(),
        self_signed: universe != GOOGLE,
    })
}

fn authorized_user(tree: &Tree) -> Result<AuthorizedUser, String> {
    let universe = universe(tree)?;
    let token_uri = optional(tree, "token_uri")?.unwrap_or(TOKEN_URI);
    Ok(AuthorizedUser {
        client_id: required(tree, "client_id")?.to_owned(),
        client_secret: secret(tree, "client_secret")?,
        refresh_token: secret(tree, "refresh_token")?,
        token_uri: of_google("token_uri", token_uri, &universe)?,
    })
}

fn external_account(tree: &Tree, limits: &FileLimits) -> Result<ExternalAccount, String> {
    let universe = universe(tree)?;
    let own = format!("https://sts.{universe}/v1/token");
    let token_url = optional(tree, "token_url")?.unwrap_or(&own);
    let client = match optional(tree, "client_id")? {
        Some(id) => Some((id.to_owned(), secret(tree, "client_secret")?)),
        None => None,
    };
    let Field::Is(source) = Field::of(tree, "credential_source") else {
        return Err("must have a credential_source".to_owned());
    };
    Ok(ExternalAccount {
        audience: required(tree, "audience")?.to_owned(),
        subject_token_type: required(tree, "subject_token_type")?.to_owned(),
        token_url: of_google("token_url", token_url, &universe)?,
        subject: subject(source, limits, &universe)?,
        impersonation: impersonation(tree, &universe)?,
        client,
        user_project: optional(tree, "workforce_pool_user_project")?.map(str::to_owned),
    })
}

fn subject(source: &Tree, limits: &FileLimits, universe: &str) -> Result<SubjectToken, String> {
    for name in ["executable", "environment_id", "certificate"] {
        if !matches!(Field::of(source, name), Field::Absent) {
            return Err(format!("credential_source.{name} is not supported: use file or url"));
        }
    }
    let format = match Field::of(source, "format") {
        Field::Is(format @ Tree::Map(_)) => format,
        Field::Absent => &Tree::Null,
        _ => return Err("credential_source.format must be an object".to_owned()),
    };
    let field = match optional(format, "type")? {
        None | Some("text") => None,
        Some("json") => Some(required(format, "subject_token_field_name")?.to_owned()),
        Some(_) => return Err("credential_source.format.type must be text or json".to_owned()),
    };
    match (optional(source, "file")?, optional(source, "url")?) {
        (Some(path), None) => {
            let folders = limits.mount_path.as_deref().into_iter().chain([PLATFORM_FOLDER]);
            let below =
                |folder: &str| path.strip_prefix(folder).is_some_and(|p| p.starts_with('/'));
            if !rules::absolute_path(path) || path.ends_with('/') || !{ folders }.any(below) {
                return Err(format!(
                    "credential_source.file must lie below secrets.mountPath or {PLATFORM_FOLDER}"
                ));
            }
            Ok(SubjectToken::File { path: path.to_owned(), field })
        }
        (None, Some(url)) => {
            let endpoint = subject_url(url, limits, universe)?;
            Ok(SubjectToken::Url { endpoint, headers: headers(source)?, field })
        }
        _ => Err("credential_source must have one of file and url".to_owned()),
    }
}

/// Where a subject token comes from: a host of Google or of the universe, or one that the operator lists.
fn subject_url(url: &str, limits: &FileLimits, universe: &str) -> Result<Endpoint, String> {
    let name = "credential_source.url";
    match Endpoint::parse(url, &limits.plaintext_hosts) {
        Ok(endpoint)
            if !endpoint.is_metadata()
                && limits
                    .plaintext_hosts
                    .iter()
                    .any(|listed| *listed == endpoint.authority || listed == endpoint.host()) =>
        {
            Ok(endpoint)
        }
        _ => of_google(name, url, universe)
            .map_err(|error| format!("{error}, or a host in egress.plaintextHosts")),
    }
}

fn headers(source: &Tree) -> Result<Vec<(String, Secret)>, String> {
    let wrong = || "credential_source.headers must be names with values".to_owned();
    let entries = match Field::of(source, "headers") {
        Field::Is(Tree::Map(entries)) => entries,
        Field::Absent => return Ok(Vec::new()),
        _ => return Err(wrong()),
    };
    let mut headers = Vec::new();
    for (name, value) in entries {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let name = name.to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(is_token) || is_of_connection(&name) {
            return Err(wrong());
        }
        let value = value.as_text().and_then(|text| Secret::line(text).ok()).ok_or_else(wrong)?;
        headers.push((name, value));
    }
    Ok(headers)
}

/// Whether a header is about the connection, or for Envoy: no file may set those.
fn is_of_connection(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    const PREFIXES: [&str; 3] = ["proxy-", "x-egress-", "x-envoy-"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The service account to act as, if there is one.
fn impersonation(tree: &Tree, universe: &str) -> Result<Option<Impersonation>, String> {
    let name = "service_account_impersonation_url";
    let Some(url) = optional(tree, name)? else { return Ok(None) };
    let lifetime = match Field::of(tree, "service_account_impersonation") {
        Field::Is(options) => match Field::of(options, "token_lifetime_seconds") {
            Field::Is(Tree::Number(seconds)) if (600.0..=LONGEST_LIFE).contains(seconds) => {
                *seconds as u32
            }
            Field::Absent => Impersonation::LIFETIME,
            _ => return Err("token_lifetime_seconds must be from 600 to 43200".to_owned()),
        },
        Field::Absent => Impersonation::LIFETIME,
        Field::Twice => return Err("service_account_impersonation occurs twice".to_owned()),
    };
    let delegates = match Field::of(tree, "delegates") {
        Field::Is(Tree::List(items)) => items
            .iter()
            .map(|item| item.as_text().map(str::to_owned).ok_or("delegates must be texts"))
            .collect::<Result<_, _>>()?,
        Field::Absent => Vec::new(),
        _ => return Err("delegates must be a list".to_owned()),
    };
    Ok(Some(Impersonation { endpoint: of_google(name, url, universe)?, delegates, lifetime }))
}

impl Impersonation {
    /// An hour.
    pub const LIFETIME: u32 = 3_600;
}

/// The universe of a file, which limits where it may lead.
fn universe(tree: &Tree) -> Result<String, String> {
    let universe = optional(tree, "universe_domain")?.unwrap_or(GOOGLE);
    let last = universe.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|b| b.is_ascii_digit());
    if !rules::host(universe) || !universe.contains('.') || universe.starts_with('[') || is_number {
        return Err("universe_domain must be the name of a domain".to_owned());
    }
    Ok(universe.to_ascii_lowercase())
}

/// A URL of Google, or of the file's universe.
fn of_google(name: &str, url: &str, universe: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::parse(url, &[]).map_err(|error| format!("{name} {error}"))?;
    let host = endpoint.host();
    let is_below = |domain: &str| {
        host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if !is_below(GOOGLE) && !is_below(universe) || endpoint.is_metadata() {
        return Err(format!("{name} must be of {GOOGLE} or of its universe_domain"));
    }
    Ok(endpoint)
}

/// Whether a text is PEM of a private key of RSA (RFC 7468 section 10, RFC 8017 appendix A.1.2).
fn is_rsa_key(pem: &str) -> bool {
    let Some((_, rest)) = pem.split_once("-----BEGIN ") else { return false };
    let Some((label, rest)) = rest.split_once("-----") else { return false };
    let Some((body, _)) = rest.split_once("-----END ") else { return false };
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    // What is encrypted has headers in front of the base64, or another label.
    let Ok(der) = STANDARD.decode(body) else { return false };
    match label {
        "RSA PRIVATE KEY" => true,
        "PRIVATE KEY" => {
            der.get(..40).is_some_and(|start| start.windows(RSA.len()).any(|part| part == RSA))
        }
        _ => false,
    }
}

fn required<'t>(tree: &'t Tree, name: &str) -> Result<&'t str, String> {
    optional(tree, name)?.ok_or_else(|| format!("must have {name}"))
}

fn optional<'t>(tree: &'t Tree, name: &str) -> Result<Option<&'t str>, String> {
    match Field::of(tree, name) {
        Field::Absent => Ok(None),
        Field::Is(Tree::Text(text))
            if text.chars().all(|c| !c.is_control() || c == '\n' || c == '\r') =>
        {
            Ok(Some(text.as_str()).filter(|text| !text.is_empty()))
        }
        Field::Is(_) => Err(format!("{name} must be a text")),
        Field::Twice => Err(format!("{name} occurs twice")),
    }
}

fn secret(tree: &Tree, name: &str) -> Result<Secret, String> {
    Secret::line(required(tree, name)?).map_err(|error| format!("{name} {error}"))
}
