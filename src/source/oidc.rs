//! The client credentials grant at an OpenID Connect provider (RFC 6749 section 4.4, OpenID Connect
//! Discovery 1.0).

use super::answer::{Field, answer, json, malformed};
use super::form::{Form, push_encoded};
use super::oauth;
use super::{Call, Failure, Fingerprint, Input, Inputs, Next, Reason, Reply, Source, Step, Target};
use crate::credential::Secret;
use crate::policy::{Endpoint, Tree};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::rc::Rc;
use std::time::Duration;

const DISCOVERY: &str = "oidc discovery";
const TOKEN: &str = "oidc token";

/// Where an issuer tells of itself (OpenID Connect Discovery 1.0, section 4).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// Link-local addresses, where metadata services are.
const LINK_LOCAL: &str = "169.254.";

/// A token of an identity provider. It obtains the `access_token`: this grant has no `id_token`.
#[derive(Clone, Debug)]
pub struct Oidc {
    /// The issuer, as its discovery document has to name it.
    pub issuer: String,
    /// Where to ask; `None` if that is to be discovered.
    pub token_endpoint: Option<Endpoint>,
    /// Who asks.
    pub client_id: Input,
    /// What proves it.
    pub client_secret: Input,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Sent as `resource` (RFC 8707).
    pub resources: Vec<String>,
    /// Sent as `audience`.
    pub audience: Option<String>,
    /// Hosts that may be called over `http`, which holds for a discovered endpoint too.
    pub plaintext_hosts: Vec<String>,
}

impl Source for Oidc {
    fn start(&self, inputs: &Inputs<'_>, _: Duration) -> Step {
        match Exchange::new(self, inputs) {
            Ok(exchange) => exchange.begin(),
            Err(failure) => Step::Failed(failure),
        }
    }

    fn needs(&self) -> Vec<usize> {
        [&self.client_id, &self.client_secret].into_iter().filter_map(Input::need).collect()
    }

    fn fingerprint(&self, print: &mut Fingerprint) {
        print.text("oidc").text(&self.issuer);
        match &self.token_endpoint {
            Some(endpoint) => print.text("at").endpoint(endpoint),
            None => print.text("discovered"),
        };
        self.client_id.fingerprint(print);
        self.client_secret.fingerprint(print);
        for texts in [&self.scopes, &self.resources, &self.plaintext_hosts] {
            print.list(texts.iter().map(String::as_str));
        }
        print.list(self.audience.as_deref().into_iter());
    }
}

/// One run of an [`Oidc`], with its inputs at hand.
pub(super) struct Exchange {
    oidc: Oidc,
    client_id: Secret,
    client_secret: Secret,
}

/// How a client proves who it is (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Authentication {
    /// `client_secret_basic`, which every provider has to know.
    Basic,
    /// `client_secret_post`
    Post,
}

impl Exchange {
    pub(super) fn new(oidc: &Oidc, inputs: &Inputs<'_>) -> Result<Rc<Self>, Failure> {
        Ok(Rc::new(Self {
            client_id: oidc.client_id.require(inputs, TOKEN)?,
            client_secret: oidc.client_secret.require(inputs, TOKEN)?,
            oidc: oidc.clone(),
        }))
    }

    pub(super) fn begin(self: Rc<Self>) -> Step {
        match self.oidc.token_endpoint.clone() {
            Some(endpoint) => self.ask(endpoint, Authentication::Basic),
            None => self.discover(),
        }
    }

    fn discover(self: Rc<Self>) -> Step {
        let issuer = &self.oidc.issuer;
        let mut url = issuer.strip_suffix('/').unwrap_or(issuer).to_owned();
        url.push_str(WELL_KNOWN);
        let endpoint = match Endpoint::parse(&url, &self.oidc.plaintext_hosts) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                let subject = Some(format!("the issuer {error}"));
                return Step::Failed(Failure {
                    subject,
                    ..Failure::new(DISCOVERY, Reason::Malformed)
                });
            }
        };
        let call = Call {
            step: DISCOVERY,
            target: Target::Url(endpoint),
            method: "GET",
            headers: vec![("accept".into(), oauth::JSON.to_owned())],
            body: Vec::new(),
        };
        let next = move |reply: &Reply<'_>, now| match self.discovered(reply, now) {
            Ok((endpoint, authentication)) => self.ask(endpoint, authentication),
            Err(failure) => Step::Failed(failure),
        };
        Step::Call(call, Next::new(next))
    }

    /// Where to ask for a token, and how. No secret goes where a document alone could send it: to the
    /// machine that Envoy runs on, or to its files.
    fn discovered(
        &self,
        reply: &Reply<'_>,
        now: Duration,
    ) -> Result<(Endpoint, Authentication), Failure> {
        let answer = answer(DISCOVERY, reply)?;
        if answer.status != 200 {
            return Err(oauth::refused(DISCOVERY, &answer, now, &self.secrets()));
        }
        let wrong = |what: &str| malformed(DISCOVERY, &answer, what);
        let document = json(&answer).ok_or_else(|| wrong("the document is not JSON"))?;
        if Field::of(&document, "issuer").text() != Some(&self.oidc.issuer) {
            return Err(wrong("the document is not that of the issuer"));
        }
        let endpoint = Field::of(&document, "token_endpoint").text();
        let endpoint = endpoint.ok_or_else(|| wrong("the document has no token_endpoint"))?;
        let endpoint = Endpoint::parse(endpoint, &self.oidc.plaintext_hosts)
            .map_err(|error| wrong(&format!("its token_endpoint {error}")))?;
        if endpoint.is_metadata() || endpoint.host().starts_with(LINK_LOCAL) {
            return Err(wrong(
                "its token_endpoint must not be at the address of a metadata service",
            ));
        }
        let methods = Field::of(&document, "token_endpoint_auth_methods_supported");
        let supports = |method: &str| match &methods {
            Field::Is(Tree::List(items)) => items.iter().any(|i| i.as_text() == Some(method)),
            _ => false,
        };
        let post_only = supports("client_secret_post") && !supports("client_secret_basic");
        let authentication = if post_only { Authentication::Post } else { Authentication::Basic };
        Ok((endpoint, authentication))
    }

    fn ask(self: Rc<Self>, endpoint: Endpoint, authentication: Authentication) -> Step {
        let mut form = Form::default();
        form.field("grant_type", "client_credentials");
        if !self.oidc.scopes.is_empty() {
            form.field("scope", &self.oidc.scopes.join(" "));
        }
        for resource in &self.oidc.resources {
            form.field("resource", resource);
        }
        if let Some(audience) = &self.oidc.audience {
            form.field("audience", audience);
        }
        if authentication == Authentication::Post {
            form.field("client_id", self.client_id.expose());
            form.field("client_secret", self.client_secret.expose());
        }
        let mut call = oauth::call(TOKEN, &endpoint, form);
        if authentication == Authentication::Basic {
            call.headers.push(("authorization".into(), self.basic()));
        }
        let next =
            move |reply: &Reply<'_>, now| match oauth::token(TOKEN, reply, now, &self.secrets()) {
                Ok(obtained) => Step::Done(obtained),
                Err(failure) if authentication == Authentication::Basic && knows_not(&failure) => {
                    self.ask(endpoint, Authentication::Post)
                }
                Err(failure) => Step::Failed(failure),
            };
        Step::Call(call, Next::new(next))
    }

    /// Both halves are encoded before they are joined (RFC 6749 section 2.3.1).
    fn basic(&self) -> String {
        let mut pair = String::new();
        push_encoded(&mut pair, self.client_id.expose());
        pair.push(':');
        push_encoded(&mut pair, self.client_secret.expose());
        let mut value = String::from("Basic ");
        STANDARD.encode_string(pair, &mut value);
        value
    }

    /// What must not come back in a message.
    pub(super) fn secrets(&self) -> [&Secret; 2] {
        [&self.client_id, &self.client_secret]
    }
}

/// Whether the provider may only not know this way to prove who asks: it should say so by a 401 with
/// `invalid_client` (RFC 6749 section 5.2), and some leave out one of the two.
fn knows_not(failure: &Failure) -> bool {
    failure.reason == Reason::Denied
        && (failure.status == Some(401) || failure.code.as_deref() == Some("invalid_client"))
}
