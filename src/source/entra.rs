//! The token endpoint of Entra ID
//! (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>).

use super::form::Form;
use super::{
    Assertion, Failure, Fingerprint, Input, Inputs, Material, Next, Reason, Reply, Source, Step,
    assertion, oauth,
};
use crate::credential::Secret;
use crate::policy::Endpoint;
use std::rc::Rc;
use std::time::Duration;

const TOKEN: &str = "entra token";

/// RFC 7523 section 2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The assertion is not valid yet or no more: a new one may be.
const OUT_OF_DATE: &str = "AADSTS700024";

/// A token for an application of a tenant.
#[derive(Debug)]
pub struct Entra {
    /// Where the tenant gives tokens.
    pub token_endpoint: Endpoint,
    /// The application.
    pub client_id: String,
    /// What the token is for.
    pub scope: String,
    /// What proves who asks.
    pub proof: Proof,
}

/// See [`Entra`].
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each policy")]
pub enum Proof {
    /// A secret of the application.
    Secret(Input),
    /// A token of another provider, which the application trusts.
    Assertion(Assertion),
}

impl Source for Entra {
    fn start(&self, inputs: &Inputs<'_>, now: Duration) -> Step {
        let exchange = Rc::new(Exchange {
            token_endpoint: self.token_endpoint.clone(),
            client_id: self.client_id.clone(),
            scope: self.scope.clone(),
        });
        let step = match &self.proof {
            Proof::Secret(secret) => {
                secret.require(inputs, TOKEN).map(|secret| exchange.with_secret(secret))
            }
            Proof::Assertion(assertion) => assertion
                .exchange(inputs)
                .map(|assertion| exchange.with_assertion(assertion, Again::Once, now)),
        };
        step.unwrap_or_else(Step::Failed)
    }

    fn needs(&self) -> Vec<usize> {
        match &self.proof {
            Proof::Secret(secret) => secret.need().into_iter().collect(),
            Proof::Assertion(assertion) => assertion.needs(),
        }
    }

    fn fingerprint(&self, print: &mut Fingerprint) {
        print.text("entra").endpoint(&self.token_endpoint).text(&self.client_id).text(&self.scope);
        match &self.proof {
            Proof::Secret(secret) => {
                print.text("secret");
                secret.fingerprint(print);
            }
            Proof::Assertion(assertion) => assertion.fingerprint(print),
        }
    }
}

/// One run of an [`Entra`].
struct Exchange {
    token_endpoint: Endpoint,
    client_id: String,
    scope: String,
}

/// Whether an assertion that is out of date is replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Once,
    Never,
}

impl Exchange {
    fn with_secret(self: Rc<Self>, secret: Secret) -> Step {
        let mut form = self.form();
        form.field("client_secret", secret.expose());
        let call = oauth::call(TOKEN, &self.token_endpoint, form);
        let next = move |reply: &Reply<'_>, now| match oauth::token(TOKEN, reply, now, &[&secret]) {
            Ok(obtained) => Step::Done(obtained),
            Err(failure) => Step::Failed(failure),
        };
        Step::Call(call, Next::new(next))
    }

    fn with_assertion(
        self: Rc<Self>,
        assertion: assertion::Exchange,
        again: Again,
        now: Duration,
    ) -> Step {
        assertion.begin(now).and_then(now, move |obtained, _| {
            let Material::Line(token) = obtained.material else {
                return Step::Failed(Failure::new(TOKEN, Reason::Malformed));
            };
            let mut form = self.form();
            form.field("client_assertion_type", JWT_BEARER);
            form.field("client_assertion", token.expose());
            let call = oauth::call(TOKEN, &self.token_endpoint, form);
            let next = move |reply: &Reply<'_>, now| {
                let mut secrets = vec![&token];
                secrets.extend(assertion.secrets());
                match oauth::token(TOKEN, reply, now, &secrets) {
                    Ok(obtained) => Step::Done(obtained),
                    Err(failure) if again == Again::Once && is_out_of_date(&failure) => {
                        self.with_assertion(assertion, Again::Never, now)
                    }
                    Err(failure) => Step::Failed(failure),
                }
            };
            Step::Call(call, Next::new(next))
        })
    }

    fn form(&self) -> Form {
        let mut form = Form::default();
        form.field("client_id", &self.client_id);
        form.field("grant_type", "client_credentials");
        form.field("scope", &self.scope);
        form
    }
}

fn is_out_of_date(failure: &Failure) -> bool {
    failure.reason == Reason::Denied && failure.code.as_deref() == Some(OUT_OF_DATE)
}
