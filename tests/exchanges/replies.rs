//! Replies as the cases write them.

use aigw_auth::source::{Answer, Reply};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

#[derive(Clone)]
pub(crate) enum Given {
    Answer(u16, Vec<(String, Vec<u8>)>, Vec<u8>),
    TimedOut,
    Unreachable,
}

/// `before`, so many times `unit`, `after`.
fn repeated(value: &Value) -> Vec<u8> {
    let part = |index: usize| value[index].as_str().unwrap();
    let times = usize::try_from(value[2].as_u64().unwrap()).unwrap();
    [part(0), &part(1).repeat(times), part(3)].concat().into_bytes()
}

pub(crate) fn given(value: &Value) -> Given {
    match value.as_str() {
        Some("timeout") => return Given::TimedOut,
        Some("unreachable") => return Given::Unreachable,
        Some(other) => panic!("{other}"),
        None => {}
    }
    let base64 = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let (mut headers, mut body) = (Vec::new(), Vec::new());
    for (field, value) in value.as_object().unwrap() {
        match field.as_str() {
            "status" => {}
            "headers" => headers.extend(value.as_object().unwrap().iter().map(|(name, value)| {
                (name.to_ascii_lowercase(), value.as_str().unwrap().as_bytes().to_vec())
            })),
            "rawHeaders" => headers.extend(
                value.as_object().unwrap().iter().map(|(name, v)| (name.clone(), base64(v))),
            ),
            "json" => body = value.to_string().into_bytes(),
            "text" => body = value.as_str().unwrap().as_bytes().to_vec(),
            "base64" => body = base64(value),
            "repeat" => body = repeated(value),
            other => panic!("{other}"),
        }
    }
    Given::Answer(u16::try_from(value["status"].as_u64().unwrap()).unwrap(), headers, body)
}

impl Given {
    pub(crate) fn reply(&self) -> Reply<'_> {
        match self {
            Self::Answer(status, headers, body) => {
                Reply::Answer(Answer { status: *status, headers, body })
            }
            Self::TimedOut => Reply::TimedOut,
            Self::Unreachable => Reply::Unreachable,
        }
    }
}
