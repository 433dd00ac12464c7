//! Tokens for the key of a service account: an assertion that it signs, exchanged or, in other universes, used
//! itself (RFC 7523, <https://developers.google.com/identity/protocols/oauth2/service-account>,
//! <https://google.aip.dev/auth/4111>).

use super::answer::answer;
use super::form::Form;
use super::{Call, Failure, Material, Next, Obtained, Reason, Reply, Step, Target, oauth};
use crate::credential::Secret;
use crate::policy::ServiceAccount;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::time::Duration;

const SIGNATURE: &str = "assertion signature";
const TOKEN: &str = "google token";
/// RFC 7523 section 2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The longest life of an assertion.
const LIFE: Duration = Duration::from_secs(3_600);

/// A token of a service account for a scope. `subject` says where its key is.
pub(super) fn token(account: ServiceAccount, scope: &str, subject: String, now: Duration) -> Step {
    let unsigned = unsigned(&account, scope, now);
    let call = Call {
        step: SIGNATURE,
        target: Target::Signer(account.key.clone()),
        method: "",
        headers: Vec::new(),
        body: unsigned.clone().into_bytes(),
    };
    let next = move |reply: &Reply<'_>, _| {
        let assertion = signed(unsigned, reply).map_err(|failure| Failure {
            subject: Some(format!("{subject}: private_key cannot be used by Envoy")),
            ..failure
        });
        match assertion {
            Ok(jwt) if account.self_signed => {
                let end = Duration::from_secs(now.as_secs()).checked_add(LIFE);
                Step::Done(Obtained::new(Material::Line(jwt), end))
            }
            Ok(jwt) => exchange(&account, jwt),
            Err(failure) => Step::Failed(failure),
        }
    };
    Step::Call(call, Next::new(next))
}

/// Header and claims of the assertion, each encoded.
fn unsigned(account: &ServiceAccount, scope: &str, now: Duration) -> String {
    let mut header = Json::default();
    header.text("typ", "JWT").text("alg", "RS256");
    if let Some(id) = &account.key_id {
        header.text("kid", id);
    }
    let mut claims = Json::default();
    claims.text("iss", &account.email);
    if account.self_signed {
        claims.text("sub", &account.email);
    } else {
        claims.text("aud", &account.audience);
    }
    claims.number("iat", now.as_secs()).number("exp", now.saturating_add(LIFE).as_secs());
    claims.text("scope", scope);
    let mut unsigned = URL_SAFE_NO_PAD.encode(header.finish());
    unsigned.push('.');
    URL_SAFE_NO_PAD.encode_string(claims.finish(), &mut unsigned);
    unsigned
}

/// The assertion, once its signature has come.
fn signed(mut text: String, reply: &Reply<'_>) -> Result<Secret, Failure> {
    let answer = answer(SIGNATURE, reply)?;
    let failed = || Failure { lasting: true, ..Failure::new(SIGNATURE, Reason::Malformed) };
    if answer.status != 200 || answer.body.is_empty() {
        return Err(failed());
    }
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(answer.body, &mut text);
    Secret::line(&text).map_err(|_| failed())
}

fn exchange(account: &ServiceAccount, assertion: Secret) -> Step {
    let mut form = Form::default();
    form.field("grant_type", JWT_BEARER);
    form.field("assertion", assertion.expose());
    let call = oauth::call(TOKEN, &account.token_uri, form);
    let next = move |reply: &Reply<'_>, now| oauth::token(TOKEN, reply, now, &[&assertion]).into();
    Step::Call(call, Next::new(next))
}

/// A JSON object that is written field by field.
#[derive(Default)]
pub(super) struct Json(String);

impl Json {
    pub(super) fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.name(name);
        self.push(value);
        self
    }

    pub(super) fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.name(name);
        self.0.push_str(&value.to_string());
        self
    }

    pub(super) fn texts<'t>(
        &mut self,
        name: &str,
        values: impl Iterator<Item = &'t str>,
    ) -> &mut Self {
        self.name(name);
        self.0.push('[');
        for (index, value) in values.enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            self.push(value);
        }
        self.0.push(']');
        self
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.push(name);
        self.0.push(':');
    }

    /// A text, with what has to be escaped (RFC 8259 section 7).
    fn push(&mut self, text: &str) {
        self.0.push('"');
        for character in text.chars() {
            match character {
                '"' | '\\' => self.0.extend(['\\', character]),
                '\0'..' ' => self.0.push_str(&format!("\\u{:04x}", u32::from(character))),
                _ => self.0.push(character),
            }
        }
        self.0.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_what_a_reader_of_json_reads() {
        let odd = "a\"b\\c\nd\u{1}\u{7f}é\u{1f600}/";
        let mut json = Json::default();
        json.text(odd, odd).number("n", u64::MAX).texts("l", [odd, ""].into_iter());
        json.texts("e", std::iter::empty());
        let read: serde_json::Value = serde_json::from_str(&json.finish()).unwrap();
        let expected = serde_json::json!({odd: odd, "n": u64::MAX, "l": [odd, ""], "e": []});
        assert_eq!(read, expected);
    }
}
