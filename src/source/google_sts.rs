//! Google's exchange of other providers' tokens, and tokens of service accounts that another identity acts as
//! (RFC 8693, <https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token>,
//! <https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken>).

use super::answer::{Field, answer, json, malformed};
use super::date::timestamp;
use super::form::{Form, push_encoded};
use super::google_key::Json;
use super::life;
use super::{Call, Failure, Material, Next, Obtained, Reason, Reply, Step, Target, oauth};
use crate::credential::Secret;
use crate::policy::{Endpoint, Impersonation};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;

const EXCHANGE: &str = "google token exchange";
const IMPERSONATION: &str = "google impersonation";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// How a token of another provider is exchanged.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) token_url: Endpoint,
    /// The provider of the pool.
    pub(super) audience: String,
    pub(super) subject_token_type: String,
    /// A client of the exchange, and its secret.
    pub(super) client: Option<(String, Secret)>,
    /// The project that is billed, of a workforce pool.
    pub(super) user_project: Option<String>,
}

impl Exchange {
    /// Exchanges a token for one of a scope.
    pub(super) fn ask(&self, subject: Secret, scope: &str) -> Step {
        let mut form = Form::default();
        form.field("grant_type", TOKEN_EXCHANGE);
        form.field("audience", &self.audience);
        form.field("scope", scope);
        form.field("requested_token_type", ACCESS_TOKEN);
        form.field("subject_token", subject.expose());
        form.field("subject_token_type", &self.subject_token_type);
        if let (Some(project), None) = (&self.user_project, &self.client) {
            // The value is encoded by itself, as google-auth has it.
            let mut options = Json::default();
            options.text("userProject", project);
            let mut encoded = String::new();
            push_encoded(&mut encoded, &options.finish());
            form.field("options", &encoded);
        }
        let mut call = oauth::call(EXCHANGE, &self.token_url, form);
        if let Some((id, secret)) = &self.client {
            let mut value = String::from("Basic ");
            STANDARD.encode_string(format!("{id}:{}", secret.expose()), &mut value);
            call.headers.push(("authorization".into(), value));
        }
        let client = self.client.clone();
        let next = move |reply: &Reply<'_>, now| {
            let mut secrets = vec![&subject];
            secrets.extend(client.as_ref().map(|(_, secret)| secret));
            oauth::token(EXCHANGE, reply, now, &secrets).into()
        };
        Step::Call(call, Next::new(next))
    }
}

/// A token of a service account, for the identity that a token is of.
pub(super) fn impersonate(with: Obtained, target: &Impersonation, scope: &str) -> Step {
    let Material::Line(token) = with.material else {
        return Step::Failed(Failure::new(IMPERSONATION, Reason::Malformed));
    };
    let mut body = Json::default();
    if !target.delegates.is_empty() {
        body.texts("delegates", target.delegates.iter().map(String::as_str));
    }
    body.texts("scope", [scope].into_iter());
    body.text("lifetime", &format!("{}s", target.lifetime));
    let call = Call {
        step: IMPERSONATION,
        target: Target::Url(target.endpoint.clone()),
        method: "POST",
        headers: vec![
            ("content-type".into(), oauth::JSON.to_owned()),
            ("accept".into(), oauth::JSON.to_owned()),
            ("authorization".into(), format!("Bearer {}", token.expose())),
        ],
        body: body.finish().into_bytes(),
    };
    let next = move |reply: &Reply<'_>, now| impersonated(reply, now, &token).into();
    Step::Call(call, Next::new(next))
}

fn impersonated(reply: &Reply<'_>, now: Duration, with: &Secret) -> Result<Obtained, Failure> {
    let answer = answer(IMPERSONATION, reply)?;
    if answer.status != 200 {
        return Err(oauth::refused(IMPERSONATION, &answer, now, &[with]));
    }
    let wrong = |what: &str| malformed(IMPERSONATION, &answer, what);
    let document = json(&answer).ok_or_else(|| wrong("the answer is not JSON"))?;
    if !matches!(Field::of(&document, "error"), Field::Absent) {
        return Err(oauth::refused(IMPERSONATION, &answer, now, &[with]));
    }
    let token = Field::of(&document, "accessToken").text().and_then(|t| Secret::line(t).ok());
    let token = token.ok_or_else(|| wrong("the answer has no accessToken"))?;
    let end = match Field::of(&document, "expireTime") {
        Field::Absent => now.checked_add(life::UNSAID),
        time => time.text().and_then(timestamp).and_then(|end| life::limited(end, now)),
    };
    let end = end.ok_or_else(|| wrong("its expireTime cannot be"))?;
    Ok(Obtained::new(Material::Line(token), Some(end)))
}
