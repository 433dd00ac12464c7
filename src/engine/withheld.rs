//! Requests that wait for a body that Envoy may be withholding.
//!
//! Without `allow_on_headers_stop_iteration` a filter that pauses in the headers never sees the body.
//! That cannot be asked for, only noticed: nothing has come for a while although the client has sent
//! something.

use std::time::Duration;

/// How long a request waits for a body before it is looked at.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The identifier of its stream.
    pub stream: u32,
    /// The number of its policy.
    pub policy: usize,
    since: Duration,
}

/// Who waits for the first piece of a body. Once one has come, the option is set and nobody is watched
/// any more.
#[derive(Debug, Default)]
pub struct Withheld {
    seen: bool,
    waiting: Vec<Watched>,
}

impl Withheld {
    /// A request begins to wait at `now`, the time since the Unix epoch. Says whether this is the first
    /// of those that are watched.
    pub fn wait(&mut self, stream: u32, policy: usize, now: Duration) -> bool {
        if self.seen {
            return false;
        }
        self.waiting.push(Watched { stream, policy, since: now });
        self.waiting.len() == 1
    }

    /// A piece of a body has come.
    pub fn seen(&mut self) {
        if !self.seen {
            *self = Self { seen: true, waiting: Vec::new() };
        }
    }

    /// A stream has ended.
    pub fn forget(&mut self, stream: u32) {
        self.waiting.retain(|waiting| waiting.stream != stream);
    }

    /// Those that have waited too long at `now`.
    pub fn overdue(&self, now: Duration) -> Vec<Watched> {
        let overdue = |waiting: &&Watched| now.saturating_sub(waiting.since) >= PATIENCE;
        self.waiting.iter().filter(overdue).copied().collect()
    }

    /// Whether nobody is watched.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_request_is_looked_at_when_its_body_is_long_in_coming() {
        let mut withheld = Withheld::default();
        assert!(withheld.wait(1, 0, at(100)));
        assert!(!withheld.wait(2, 5, at(105)));
        assert_eq!(withheld.overdue(at(109)), []);
        let streams = |now| withheld.overdue(now).iter().map(|w| w.stream).collect::<Vec<_>>();
        assert_eq!(streams(at(110)), [1]);
        assert_eq!(streams(at(115)), [1, 2]);
        // The clock may step back.
        assert_eq!(streams(at(0)), [0; 0]);
        withheld.forget(1);
        withheld.forget(2);
        assert!(withheld.is_idle() && withheld.overdue(at(200)).is_empty());
    }

    #[test]
    fn one_body_proves_that_bodies_come() {
        let mut withheld = Withheld::default();
        withheld.wait(1, 0, at(100));
        withheld.seen();
        assert!(!withheld.wait(2, 0, at(100)));
        assert!(withheld.is_idle() && withheld.overdue(at(200)).is_empty());
    }
}
