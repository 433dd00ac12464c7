//! What a platform answers, and whom it was asked for.

use aigw_auth::policy::Scheme;
use aigw_auth::source::{Answer, Call, Reply, Target};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Friday, 15 January 2027, 08:00:00 UTC.
pub(crate) const NOW: Duration = Duration::from_secs(1_800_000_000);

/// What is answered, by method and place and, of STS, the action; and for which link that is.
#[derive(Default)]
pub(crate) struct Platform {
    replies: BTreeMap<String, (usize, Given)>,
    asked: Vec<usize>,
}

#[derive(Clone)]
pub(crate) enum Given {
    Answer(u16, String),
    TimedOut,
    Unreachable,
}

impl Given {
    pub(crate) fn reply(&self) -> Reply<'_> {
        match self {
            Self::Answer(status, text) => {
                Reply::Answer(Answer { status: *status, headers: &[], body: text.as_bytes() })
            }
            Self::TimedOut => Reply::TimedOut,
            Self::Unreachable => Reply::Unreachable,
        }
    }
}

fn keys(id: &str, token: &str) -> Value {
    json!({"AccessKeyId": id, "SecretAccessKey": "secret/1", token: "token/1", "Expiration": 1_800_003_600})
}

fn given(place: &str, value: &Value) -> Given {
    if let Some(word) = value.as_str() {
        return if word == "timeout" { Given::TimedOut } else { Given::Unreachable };
    }
    let action = place.rsplit(' ').next().unwrap();
    match (value["keys"].as_str(), value["sts"].as_str()) {
        (Some(id), _) => Given::Answer(200, keys(id, "Token").to_string()),
        (_, Some(id)) => {
            let result = json!({"Credentials": keys(id, "SessionToken")});
            let inner = json!({format!("{action}Result"): result});
            Given::Answer(200, json!({format!("{action}Response"): inner}).to_string())
        }
        _ => {
            let status = u16::try_from(value["status"].as_u64().unwrap()).unwrap();
            Given::Answer(status, value["text"].as_str().unwrap_or_default().to_owned())
        }
    }
}

impl Platform {
    /// What is answered for a link.
    pub(crate) fn add(&mut self, link: usize, replies: &Value) {
        for (place, reply) in replies.as_object().into_iter().flatten() {
            let before = self.replies.insert(place.clone(), (link, given(place, reply)));
            assert!(before.is_none(), "{place} twice");
        }
    }

    /// The reply to a call.
    pub(crate) fn take(&mut self, call: &Call) -> Given {
        let mut place = match &call.target {
            Target::File(path) => format!("{} {path}", call.method),
            Target::Url(url) => {
                let scheme = if url.scheme == Scheme::Http { "http" } else { "https" };
                format!("{} {scheme}://{}{}", call.method, url.authority, url.path)
            }
            Target::Signer(_) => panic!("nothing is signed by Envoy"),
        };
        let body = std::str::from_utf8(&call.body).unwrap();
        if let Some(action) = body.split('&').find_map(|field| field.strip_prefix("Action=")) {
            place.push(' ');
            place.push_str(action);
        }
        let Some((link, reply)) = self.replies.get(&place) else { panic!("nobody is at {place}") };
        self.asked.push(*link);
        reply.clone()
    }

    /// The last of the links, by their order, that was asked.
    pub(crate) fn last_asked(&self) -> Option<usize> {
        self.asked.iter().copied().max()
    }
}
