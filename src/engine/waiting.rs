//! The requests of one worker that wait for a credential.

use std::time::Duration;

/// How many may wait.
const MOST: usize = 1024;
/// How many bytes their bodies may have together, which Envoy holds.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// A request that waits. Times are those of the steady clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The identifier of its stream.
    pub stream: u32,
    /// The number of its policy.
    pub policy: usize,
    /// Since when it waits.
    pub since: Duration,
    /// Until when.
    pub until: Duration,
    bytes: usize,
}

/// Who waits.
#[derive(Debug, Default)]
pub struct Waiting {
    waiters: Vec<Waiter>,
    bytes: usize,
}

impl Waiting {
    /// A request with `bytes` of body begins to wait at `now`, until `until`. Says whether there is room.
    pub fn add(
        &mut self,
        stream: u32,
        policy: usize,
        bytes: usize,
        now: Duration,
        until: Duration,
    ) -> bool {
        let total = self.bytes.saturating_add(bytes);
        if self.waiters.len() >= MOST || total > MOST_BYTES {
            return false;
        }
        self.bytes = total;
        self.waiters.push(Waiter { stream, policy, since: now, until, bytes });
        true
    }

    /// The body of a request that waits has grown to `bytes`. Says whether there is room.
    pub fn grow(&mut self, stream: u32, bytes: usize) -> bool {
        let Some(waiter) = self.waiters.iter_mut().find(|waiter| waiter.stream == stream) else {
            return true;
        };
        self.bytes = self.bytes.saturating_sub(waiter.bytes).saturating_add(bytes);
        waiter.bytes = bytes;
        self.bytes <= MOST_BYTES
    }

    /// A request does not wait any more.
    pub fn remove(&mut self, stream: u32) -> Option<Waiter> {
        let index = self.waiters.iter().position(|waiter| waiter.stream == stream)?;
        let waiter = self.waiters.remove(index);
        self.bytes = self.bytes.saturating_sub(waiter.bytes);
        Some(waiter)
    }

    /// Those who wait, in the order in which they came.
    pub fn all(&self) -> &[Waiter] {
        &self.waiters
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn add(waiting: &mut Waiting, stream: u32, bytes: usize) -> bool {
        waiting.add(stream, 0, bytes, NOW, NOW)
    }

    #[test]
    fn a_thousand_and_twenty_four_may_wait() {
        let mut waiting = Waiting::default();
        assert!((0..1024).all(|stream| add(&mut waiting, stream, 0)));
        assert!(!add(&mut waiting, 1024, 0));
        assert_eq!(waiting.remove(7).unwrap().stream, 7);
        assert!(waiting.remove(7).is_none() && add(&mut waiting, 1024, 0));
        assert_eq!(waiting.all().len(), 1024);
    }

    #[test]
    fn their_bodies_have_64_mib_together() {
        let mib = 1024 * 1024;
        let mut waiting = Waiting::default();
        assert!(add(&mut waiting, 1, 40 * mib) && !add(&mut waiting, 2, 25 * mib));
        assert!(add(&mut waiting, 3, 0) && waiting.grow(3, 24 * mib));
        assert!(!waiting.grow(3, 24 * mib + 1));
        waiting.remove(3);
        assert!(add(&mut waiting, 2, 24 * mib));
        waiting.remove(1);
        waiting.remove(2);
        assert!(waiting.is_empty() && add(&mut waiting, 4, 64 * mib));
        // Whoever does not wait may have any body.
        assert!(waiting.grow(99, 100 * mib));
    }
}
