//! `oidcExchangeToken`: the upstream's own three fields around Envoy Gateway's `OIDC` type, of which
//! the OAuth client credentials grant uses a part
//! (<https://gateway.envoyproxy.io/docs/api/extension_types/#oidc>).

use super::cursor::{Fields, unsupported};
use super::manifest::Reader;
use super::place::Place;
use super::secrets::{Form, SecretKey, SecretSource};
use super::shape::{Shape, check};
use super::url::Endpoint;

const CLIENT_ID: SecretKey = SecretKey { name: "client-id", form: Form::Line };
const CLIENT_SECRET: SecretKey = SecretKey { name: "client-secret", form: Form::Line };
/// RFC 6749 section 4.4.
const CLIENT_CREDENTIALS: &str = "client_credentials";

/// A token of an identity provider, by the client credentials grant (RFC 6749 section 4.4).
#[derive(Debug)]
pub struct OidcExchange {
    /// The issuer, as its discovery document has to name it.
    pub issuer: String,
    /// Where to ask; `None` if that is to be discovered.
    pub token_endpoint: Option<Endpoint>,
    /// Who asks.
    pub client_id: OidcClientId,
    /// What proves it.
    pub client_secret: SecretSource,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Sent as `resource` (RFC 8707).
    pub resources: Vec<String>,
    /// Sent as `audience`.
    pub audience: Option<String>,
}

/// Who asks for a token.
#[derive(Debug)]
pub enum OidcClientId {
    /// As the manifest has it.
    Given(String),
    /// In a Secret.
    Secret(SecretSource),
}

/// Fields that belong to a browser's log-in, which is not what happens here.
const LOG_IN: [(&str, Shape); 14] = [
    ("cookieConfig", Shape::Object(&[("sameSite", Shape::OneOf(&["Lax", "Strict", "None"]))])),
    ("cookieDomain", Shape::Domain),
    ("cookieNames", Shape::Object(&[("accessToken", Shape::Text), ("idToken", Shape::Text)])),
    ("csrfTokenTTL", Shape::Duration),
    ("defaultRefreshTokenTTL", Shape::Duration),
    ("defaultTokenTTL", Shape::Duration),
    ("denyRedirect", Shape::Object(&[("headers", Shape::Items(1, 16, &DENIED_HEADER))])),
    ("disableTokenEncryption", Shape::Boolean),
    ("forwardAccessToken", Shape::Boolean),
    ("forwardIDToken", Shape::Object(&[("header", Shape::Filled(usize::MAX))])),
    ("logoutPath", Shape::Text),
    ("passThroughAuthHeader", Shape::Boolean),
    ("redirectURL", Shape::Text),
    ("refreshToken", Shape::Boolean),
];

/// The same, of the provider.
const PROVIDER_LOG_IN: [(&str, Shape); 2] =
    [("authorizationEndpoint", Shape::Text), ("endSessionEndpoint", Shape::Text)];

const DENIED_HEADER: Shape = Shape::Object(&[
    ("name", Shape::Filled(usize::MAX)),
    ("type", Shape::OneOf(&["Exact", "Prefix", "Suffix", "RegularExpression"])),
    ("value", Shape::Filled(1024)),
]);

/// Fields that choose a cluster, which `egress.clusters` does here.
const ROUTING: [(&str, Shape); 3] = [
    ("backendRef", Shape::AnyObject),
    ("backendRefs", Shape::Items(0, 16, &Shape::AnyObject)),
    ("backendSettings", Shape::AnyObject),
];

/// Reads a required `oidcExchangeToken`.
pub(crate) fn required(
    fields: &mut Fields<'_, '_>,
    name: &'static str,
    reader: &Reader<'_, '_, '_>,
) -> Option<OidcExchange> {
    if !fields.has(name) {
        fields.get(name);
        fields.place().field(name).error("Required value");
        return None;
    }
    read(fields.object(name)?, reader)
}

/// Reads what is left of an `oidcExchangeToken`.
pub(crate) fn read(
    mut fields: Fields<'_, '_>,
    reader: &Reader<'_, '_, '_>,
) -> Option<OidcExchange> {
    let audience = plain(fields.text("aud"));
    if let Some((grant, place)) = fields.text("grantType")
        && !grant.is_empty()
        && grant != CLIENT_CREDENTIALS
    {
        place.error(&unsupported(grant, &[CLIENT_CREDENTIALS]));
    }
    let place = fields.place().field("oidc");
    if !fields.has("oidc") {
        fields.get("oidc");
        fields.finish();
        place.error("Required value");
        return None;
    }
    let oidc = fields.object("oidc");
    fields.finish();
    let exchange = oidc_type(oidc?, reader)?;
    Some(OidcExchange { audience, ..exchange })
}

fn oidc_type(mut fields: Fields<'_, '_>, reader: &Reader<'_, '_, '_>) -> Option<OidcExchange> {
    let mut without_effect = String::new();
    let place = fields.place().field("provider");
    let provider = if fields.has("provider") {
        fields.object("provider").and_then(|p| provider(p, reader, &mut without_effect))
    } else {
        fields.get("provider");
        place.error("Required value");
        None
    };
    let client_id = client_id(&mut fields, reader);
    let client_secret = reader.secret(&mut fields, "clientSecret", CLIENT_SECRET);
    let scopes = plain_list(fields.texts("scopes"));
    let resources = plain_list(fields.texts("resources"));
    unused(&mut fields, &LOG_IN, &mut without_effect);
    let place = fields.place();
    fields.finish();
    if !without_effect.is_empty() {
        place.warning(&format!(
            "{without_effect} have no effect: they belong to a browser's log-in"
        ));
    }
    let (issuer, token_endpoint) = provider?;
    Some(OidcExchange {
        issuer,
        token_endpoint,
        client_id: client_id?,
        client_secret: client_secret?,
        scopes,
        resources,
        audience: None,
    })
}

fn provider(
    mut fields: Fields<'_, '_>,
    reader: &Reader<'_, '_, '_>,
    without_effect: &mut String,
) -> Option<(String, Option<Endpoint>)> {
    let issuer = fields.filled("issuer");
    let token_endpoint = fields.text("tokenEndpoint").filter(|(text, _)| !text.is_empty());
    unused(&mut fields, &PROVIDER_LOG_IN, without_effect);
    let mut routing = String::new();
    unused(&mut fields, &ROUTING, &mut routing);
    let place = fields.place();
    fields.finish();
    if !routing.is_empty() {
        place.warning(&format!(
            "{routing} have no effect: egress.clusters says which cluster carries calls to a host"
        ));
    }
    let (issuer, issuer_place) = issuer?;
    let plaintext = &reader.settings.egress.plaintext_hosts;
    let token_endpoint = match token_endpoint {
        Some((text, place)) => Some(endpoint(text, place, plaintext)?),
        None => {
            // Discovery asks the issuer.
            let asked = endpoint(issuer, issuer_place, plaintext)?;
            if asked.path.contains('?') {
                issuer_place.error("must have no query: its discovery document is asked for");
            }
            reader.needs_route(place, &asked);
            None
        }
    };
    if let Some(asked) = &token_endpoint {
        reader.needs_route(place, asked);
    }
    Some((issuer.to_owned(), token_endpoint))
}

fn endpoint(text: &str, place: Place<'_>, plaintext_hosts: &[String]) -> Option<Endpoint> {
    match Endpoint::parse(text, plaintext_hosts) {
        Ok(endpoint) => Some(endpoint),
        Err(error) => {
            place.error(&error.to_string());
            None
        }
    }
}

fn client_id(fields: &mut Fields<'_, '_>, reader: &Reader<'_, '_, '_>) -> Option<OidcClientId> {
    // Either may be null, which is the same as absent.
    fields.get("clientID");
    fields.get("clientIDRef");
    match (fields.has("clientID"), fields.has("clientIDRef")) {
        (true, false) => {
            fields.filled("clientID").map(|(text, _)| OidcClientId::Given(text.to_owned()))
        }
        (false, true) => reader.secret(fields, "clientIDRef", CLIENT_ID).map(OidcClientId::Secret),
        _ => {
            fields.text("clientID");
            reader.reference(fields, "clientIDRef");
            fields.place().error("only one of clientID or clientIDRef must be set");
            None
        }
    }
}

/// Checks the form of fields that nothing here uses, and notes which of them are there.
fn unused(fields: &mut Fields<'_, '_>, shapes: &[(&'static str, Shape)], found: &mut String) {
    for (name, shape) in shapes {
        if let Some((value, place)) = fields.get(name) {
            check(value, place, shape);
            if !found.is_empty() {
                found.push_str(", ");
            }
            found.push_str(name);
        }
    }
}

fn plain(text: Option<(&str, Place<'_>)>) -> Option<String> {
    let (text, place) = text?;
    if text.chars().any(char::is_control) {
        place.error("must not contain control characters");
    }
    (!text.is_empty()).then(|| text.to_owned())
}

fn plain_list(texts: Vec<(&str, Place<'_>)>) -> Vec<String> {
    texts.into_iter().filter_map(|text| plain(Some(text))).collect()
}
