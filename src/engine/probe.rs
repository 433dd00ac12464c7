//! Whether this VM can make calls at all.
//!
//! The VM of Envoy's main thread ticks like every other, but cannot reach an internal listener and cannot tell
//! what it is. So before its first lease a VM asks that listener for anything. If it does not answer, the VM
//! leaves what is due to others; what nobody takes for a while it does itself, since a listener that is missing
//! looks the same to all of them.

use crate::cache::Now;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct Probe(State);

#[derive(Debug)]
enum State {
    /// Calls can be made, or nothing has to be asked.
    Answered,
    /// Not asked yet.
    Unknown,
    /// Asked, at that time.
    Asked(Duration),
    /// Not answered, at that time.
    Failed(Duration),
}

impl Probe {
    /// How long what is due is left to others.
    pub(super) const PATIENCE: Duration = Duration::from_secs(10);

    /// How long after a failure to ask again: the listener may come after the filter.
    const AGAIN: Duration = Duration::from_secs(1);

    /// A probe that is needed or not.
    pub(super) fn new(needed: bool) -> Self {
        Self(if needed { State::Unknown } else { State::Answered })
    }

    pub(super) fn may_call(&self) -> bool {
        matches!(self.0, State::Answered)
    }

    /// Says whether to ask now.
    pub(super) fn begin(&mut self, now: Now) -> bool {
        let ask = match self.0 {
            State::Unknown => true,
            State::Failed(at) => now.steady.saturating_sub(at) >= Self::AGAIN,
            State::Answered | State::Asked(_) => false,
        };
        if ask {
            self.0 = State::Asked(now.steady);
        }
        ask
    }

    /// Whether the answer is long overdue.
    pub(super) fn overdue(&self, now: Now, timeout: Duration) -> bool {
        matches!(self.0, State::Asked(at) if now.steady.saturating_sub(at) > timeout)
    }

    pub(super) fn answered(&mut self) {
        self.0 = State::Answered;
    }

    pub(super) fn failed(&mut self, now: Now) {
        if matches!(self.0, State::Asked(_)) {
            self.0 = State::Failed(now.steady);
        }
    }
}
