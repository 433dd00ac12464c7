//! Numbers that a seed decides (splitmix64, Steele, Lea and Flood 2014).

use std::cell::Cell;
use std::time::Duration;

pub(crate) struct Random(Cell<u64>);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut mixed = self.0.get();
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Whether a thing happens that does so `share` times in a hundred.
    pub(crate) fn percent(&self, share: u64) -> bool {
        self.next() % 100 < share
    }

    pub(crate) fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A time between two numbers of milliseconds.
    pub(crate) fn milliseconds(&self, least: u64, most: u64) -> Duration {
        let span = (most - least) * 1000 + 1;
        Duration::from_micros(least * 1000 + self.next() % span)
    }
}
