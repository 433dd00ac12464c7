//! A token that proves to one provider who asks, and comes from another or from the platform
//! (RFC 7521 section 3).

use super::{Failure, Fingerprint, Inputs, MountedFile, Oidc, Source, Step, oidc};
use crate::credential::Secret;
use std::rc::Rc;
use std::time::Duration;

/// Where the token comes from. It is a new one for every exchange, and never kept.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each policy")]
pub enum Assertion {
    /// The platform keeps it in the file of this path.
    TokenFile(String),
    /// An identity provider gives it.
    Oidc(Oidc),
}

impl Assertion {
    pub(super) fn needs(&self) -> Vec<usize> {
        match self {
            Self::TokenFile(_) => Vec::new(),
            Self::Oidc(oidc) => oidc.needs(),
        }
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        match self {
            Self::TokenFile(path) => _ = print.text("token file").text(path),
            Self::Oidc(oidc) => oidc.fingerprint(print),
        }
    }

    /// The exchange for it, with its inputs at hand.
    pub(super) fn exchange(&self, inputs: &Inputs<'_>) -> Result<Exchange, Failure> {
        Ok(match self {
            Self::TokenFile(path) => Exchange::TokenFile(MountedFile::token(path)),
            Self::Oidc(oidc) => Exchange::Oidc(oidc::Exchange::new(oidc, inputs)?),
        })
    }
}

/// One run of an [`Assertion`], which can be begun again.
pub(super) enum Exchange {
    TokenFile(MountedFile),
    Oidc(Rc<oidc::Exchange>),
}

impl Exchange {
    pub(super) fn begin(&self, now: Duration) -> Step {
        match self {
            Self::TokenFile(file) => file.start(&|_| None, now),
            Self::Oidc(exchange) => Rc::clone(exchange).begin(),
        }
    }

    /// What must not come back in a message.
    pub(super) fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::TokenFile(_) => Vec::new(),
            Self::Oidc(exchange) => exchange.secrets().into(),
        }
    }
}
