//! What is obtained in the background, and what becomes of it on the requests of a policy.

use super::compile::Means;
use crate::cache::{Kind, Now};
use crate::credential::Credential;
use crate::inject::Signing;
use crate::source::{Material, Source};
use std::cell::Cell;
use std::time::Duration;

/// One credential that is obtained, shared and renewed.
#[derive(Debug)]
pub struct Item {
    /// Its key in the shared data.
    pub(crate) key: String,
    /// What kind of thing it is.
    pub(crate) kind: Kind,
    /// Where it comes from.
    pub(crate) source: Box<dyn Source>,
    /// The numbers of the policies that need it, directly or not.
    pub(crate) policies: Vec<usize>,
    /// The names of those policies, for the log.
    pub(crate) names: String,
}

/// How the requests of a policy carry what is obtained for it.
#[derive(Debug)]
pub(crate) enum Wear {
    /// `authorization: Bearer`.
    Bearer,
    /// `x-api-key`.
    XApiKey,
    /// `api-key`.
    ApiKey,
    /// A signature for a service, in this region unless the host names another.
    Signature { region: String, service: String },
}

impl Wear {
    /// What is put on requests. `None` if the material is not of the right kind, which is a bug.
    pub(crate) fn means(&self, material: &Material) -> Option<Means> {
        Some(match (self, material) {
            (Self::Bearer, Material::Line(token)) => Means::Credential(Credential::bearer(token)),
            (Self::XApiKey, Material::Line(key)) => {
                Means::Credential(Credential::x_api_key(key.clone()))
            }
            (Self::ApiKey, Material::Line(key)) => {
                Means::Credential(Credential::api_key(key.clone()))
            }
            (Self::Signature { region, service }, Material::Keys(keys)) => {
                Means::Signing(Signing::new(keys.clone(), region.clone(), service.clone()))
            }
            _ => return None,
        })
    }

    /// The names of the headers that are written, with a comma between them.
    pub(crate) fn writes(&self) -> &'static str {
        match self {
            Self::Bearer => "authorization",
            Self::XApiKey => "x-api-key",
            Self::ApiKey => "api-key",
            Self::Signature { .. } => "authorization,x-amz-date,x-amz-security-token",
        }
    }
}

/// What the requests of a policy get, made of what was obtained.
#[derive(Debug)]
pub struct Ready {
    pub(crate) means: Means,
    /// Which one it is, of all that this worker has had.
    pub(crate) serial: u64,
    /// From when on it is not used.
    pub(crate) until: Cell<Option<Now>>,
}

impl Ready {
    /// Which one it is, of all that this worker has had.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether it may be used at `wall`, the time since the Unix epoch. (A tick looks at the other clock.)
    pub(crate) fn usable(&self, wall: Duration) -> bool {
        self.until.get().is_none_or(|end| wall < end.wall)
    }
}
