//! Why an exchange failed, in words that may be logged.

use std::fmt;
use std::time::Duration;

/// The kinds of failure, by what helps; the last part of the statistic `fetch_failed.<reason>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No answer in time.
    Timeout,
    /// No connection.
    Connect,
    /// The provider refuses.
    Denied,
    /// The provider is asked too often.
    Throttled,
    /// The provider has a fault.
    Server,
    /// The answer is not what it should be.
    Malformed,
}

impl Reason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Timeout,
        Self::Connect,
        Self::Denied,
        Self::Throttled,
        Self::Server,
        Self::Malformed,
    ];

    /// The name in statistics and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::Server => "server",
            Self::Malformed => "malformed",
        }
    }
}

/// Why an exchange failed. Nothing that a provider wrote is part of it but a status and a short code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which step of the exchange it was.
    pub step: &'static str,
    /// The kind.
    pub reason: Reason,
    /// What was called or is wrong, in our own words: a file, say.
    pub subject: Option<String>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The provider's error code, which has passed the rules for one.
    pub code: Option<String>,
    /// How long the provider wants to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether it heals by a person only.
    pub lasting: bool,
    /// Whether the thing that was asked for is gone: a file that was there.
    pub gone: bool,
}

impl Failure {
    /// A failure of which no more is known.
    pub fn new(step: &'static str, reason: Reason) -> Self {
        Self {
            step,
            reason,
            subject: None,
            status: None,
            code: None,
            retry_after: None,
            lasting: false,
            gone: false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.step, self.reason.name())?;
        if let Some(status) = self.status {
            write!(f, ", status {status}")?;
        }
        if let Some(code) = &self.code {
            write!(f, ", code {code}")?;
        }
        if let Some(subject) = &self.subject {
            write!(f, ": {subject}")?;
        }
        Ok(())
    }
}
