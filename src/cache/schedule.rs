//! When a credential is fresh, stale and no longer usable, and when the next attempt to obtain it may begin.

use super::entry::{Entry, Held, Trouble};
use crate::source::{Failure, Obtained};
use std::time::Duration;

/// How often what has no end of its own is obtained again: it stands in a file.
const REREAD: Duration = Duration::from_secs(10);
/// How long a file may be gone before its text is no longer used.
const WITHDRAWN_AFTER: Duration = Duration::from_secs(60);
/// How long before its end a credential is no longer used, unless a tenth of its life is less.
const MARGIN: Duration = Duration::from_secs(10);
/// The longest delay after a failure, while there is a usable credential and once there is none.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
const LONGEST_DELAY_WITHOUT: Duration = Duration::from_secs(5);
/// The delay after a failure that heals by a person only, once there is no usable credential.
const LASTING_DELAY_WITHOUT: Duration = Duration::from_secs(30);
/// As long as this a provider's own `Retry-After` is obeyed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);
/// With less than this between stale and unusable, a tick of a second may come too late.
const CLOSE: Duration = Duration::from_secs(3);
/// A credential that a provider refuses is renewed early once in this time.
const EARLY: Duration = Duration::from_secs(30);

/// A point in time, on both clocks.
///
/// Leases, delays and lives go by the steady clock, which nobody sets. It stands still while a machine
/// sleeps, so the stale point and the end of a credential are looked up on the wall clock too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since some moment that is the same for all workers of the process.
    pub steady: Duration,
    /// Since the Unix epoch.
    pub wall: Duration,
}

impl Now {
    fn plus(self, time: Duration) -> Self {
        Self { steady: self.steady.saturating_add(time), wall: self.wall.saturating_add(time) }
    }

    /// Whether `other` has come, on either clock.
    fn reached(self, other: Self) -> bool {
        self.steady >= other.steady || self.wall >= other.wall
    }
}

/// What kind of thing is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The text of a mounted file: read again and again.
    File,
    /// A credential with a life of its own.
    Token,
}

impl Held {
    /// What was obtained at `now`. `jitter` moves the renewals of many apart, by up to a twentieth.
    ///
    /// `None` if its end has come already.
    pub fn new(obtained: Obtained, jitter: u16, now: Now) -> Option<Self> {
        let Obtained { material, expires_at, .. } = obtained;
        let Some(expires_at) = expires_at else {
            return Some(Self { material, stale_at: now.plus(REREAD), unusable_at: None });
        };
        let life = expires_at.checked_sub(now.wall).filter(|life| !life.is_zero())?;
        let fresh = (life / 5 * 4).saturating_sub(part(life / 20, jitter));
        let usable = life.saturating_sub(MARGIN.min(life / 10));
        let (stale_at, unusable_at) = (now.plus(fresh), Some(now.plus(usable)));
        Some(Self { material, stale_at, unusable_at })
    }

    /// Whether so little time lies between stale and unusable that it takes a close look to renew it in
    /// between.
    pub fn is_short(&self) -> bool {
        self.unusable_at.is_some_and(|end| end.steady.saturating_sub(self.stale_at.steady) < CLOSE)
    }

    /// Whether it may be used.
    pub fn usable(&self, now: Now) -> bool {
        self.unusable_at.is_none_or(|end| !now.reached(end))
    }
}

impl Trouble {
    /// One failure more, at `now`.
    pub fn after(before: Option<Self>, failure: Option<&Failure>, jitter: u16, now: Now) -> Self {
        let before = before.unwrap_or_default();
        let gone = failure.is_some_and(|failure| failure.gone);
        Self {
            count: before.count.saturating_add(1),
            at: now.steady,
            jitter,
            retry_after: failure
                .and_then(|failure| failure.retry_after)
                .unwrap_or_default()
                .min(LONGEST_RETRY_AFTER),
            lasting: failure.is_some_and(|failure| failure.lasting),
            gone_since: gone.then(|| before.gone_since.unwrap_or(now.steady)),
        }
    }

    /// Whether what was asked for has been gone for so long that what is held of it counts no more.
    pub fn withdraws(&self, now: Now) -> bool {
        self.gone_since.is_some_and(|since| {
            now.steady.checked_sub(since).is_some_and(|time| time >= WITHDRAWN_AFTER)
        })
    }

    /// When the next attempt may begin.
    fn over(&self, kind: Kind, usable: bool) -> Duration {
        let longest = match (kind, usable) {
            (_, false) => LONGEST_DELAY_WITHOUT,
            (Kind::File, true) => REREAD,
            (Kind::Token, true) => LONGEST_DELAY,
        };
        let delay = match (self.lasting, usable) {
            (true, true) => LONGEST_DELAY,
            (true, false) => LASTING_DELAY_WITHOUT,
            (false, _) => {
                let doublings = self.count.saturating_sub(1).min(6);
                part(Duration::from_secs(1 << doublings).min(longest), self.jitter)
            }
        };
        self.at.saturating_add(delay.max(self.retry_after))
    }
}

impl Entry {
    /// When the next attempt to obtain it may begin.
    pub fn due(&self, kind: Kind, now: Now) -> Duration {
        let usable = self.usable(now);
        let stale_at = match &self.held {
            Some(held) if usable && !now.reached(held.stale_at) => held.stale_at.steady,
            _ => Duration::ZERO,
        };
        let over = self.trouble.map_or(Duration::ZERO, |trouble| trouble.over(kind, usable));
        stale_at.max(over)
    }

    /// Has it renewed early, unless that was done a short while ago or is under way. Says whether it did.
    pub fn renew_early(&mut self, now: Now) -> bool {
        // The clocks of two workers are read a moment apart.
        let recent = self.renewed_early.is_some_and(|at| now.steady.saturating_sub(at) < EARLY);
        match &mut self.held {
            Some(held) if !recent && !now.reached(held.stale_at) => {
                held.stale_at = now;
                self.renewed_early = Some(now.steady);
                true
            }
            _ => false,
        }
    }
}

/// `share` of `u16::MAX` of a time.
fn part(time: Duration, share: u16) -> Duration {
    time.saturating_mul(share.into()) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Secret;
    use crate::source::{Material, Reason};

    const fn at(milliseconds: u64) -> Now {
        Now {
            steady: Duration::from_millis(milliseconds),
            wall: Duration::from_millis(1_700_000_000_000 + milliseconds),
        }
    }

    const fn seconds(seconds: u64) -> Now {
        at(seconds * 1000)
    }

    fn held(life: u64, jitter: u16) -> Held {
        let material = Material::Line(Secret::line("t").unwrap());
        let expires_at = Some(seconds(life).wall);
        Held::new(Obtained::new(material, expires_at), jitter, at(0)).unwrap()
    }

    fn troubled(failure: &Failure, count: u32, jitter: u16, held: Option<Held>) -> Entry {
        let mut trouble = None;
        for _ in 0..count {
            trouble = Some(Trouble::after(trouble, Some(failure), jitter, at(0)));
        }
        Entry { held, trouble, ..Entry::default() }
    }

    fn due(entry: &Entry, now: Now) -> u128 {
        entry.due(Kind::Token, now).as_millis()
    }

    #[test]
    fn a_credential_is_stale_at_four_fifths_of_its_life_and_unusable_a_little_before_its_end() {
        for (life, usable) in [(3600, 3_590_000), (100, 90_000), (60, 54_000), (6, 5_400)] {
            let held = held(life, 0);
            assert_eq!(held.stale_at, at(life * 800));
            assert!(held.usable(at(usable - 1)) && !held.usable(at(usable)), "{life}");
        }
        // With jitter it is renewed up to a twentieth of its life earlier.
        assert_eq!(held(100, u16::MAX).stale_at, seconds(75));
    }

    #[test]
    fn a_credential_ends_on_whichever_clock_is_first() {
        let held = held(100, 0);
        let slept = Now { steady: seconds(1).steady, wall: seconds(91).wall };
        let set_back = Now { steady: seconds(91).steady, wall: Duration::ZERO };
        assert!(!held.usable(slept) && !held.usable(set_back) && held.usable(seconds(89)));
    }

    #[test]
    fn a_credential_is_renewed_in_time_when_the_wall_clock_goes_forth() {
        let entry = Entry { held: Some(held(600, 0)), ..Entry::default() };
        let forth = |second| Now { wall: seconds(second + 300).wall, ..seconds(second) };
        assert!(entry.due(Kind::Token, forth(179)) > forth(179).steady);
        assert!(entry.usable(forth(180)));
        assert!(entry.due(Kind::Token, forth(180)) <= forth(180).steady);
    }

    #[test]
    fn a_life_of_half_a_minute_takes_a_close_look() {
        assert!(held(6, 0).is_short() && held(20, 0).is_short());
        assert!(!held(60, 0).is_short() && !held(3600, 0).is_short());
    }

    #[test]
    fn what_has_ended_already_is_not_held() {
        let material = Material::Line(Secret::line("t").unwrap());
        for wall in [seconds(9).wall, seconds(10).wall] {
            let obtained = Obtained::new(material.clone(), Some(wall));
            assert_eq!(Held::new(obtained, 0, seconds(10)), None);
        }
    }

    #[test]
    fn a_file_is_read_again_every_ten_seconds_and_its_text_does_not_end() {
        let material = Material::Line(Secret::line("t").unwrap());
        let obtained = Obtained::new(material, None);
        let held = Held::new(obtained, u16::MAX, seconds(5)).unwrap();
        assert_eq!(held.stale_at, seconds(15));
        assert!(held.usable(seconds(1_000_000)));
    }

    #[test]
    fn failures_back_off_to_a_minute_and_to_five_seconds_once_there_is_no_credential() {
        let failure = Failure::new("s", Reason::Server);
        for (count, with, without) in [(1, 1, 1), (2, 2, 2), (4, 8, 5), (7, 60, 5), (99, 60, 5)] {
            // Stale at once, and usable for 900 s.
            let usable = Held { stale_at: at(0), ..held(1000, 0) };
            let entry = troubled(&failure, count, u16::MAX, Some(usable));
            assert_eq!(due(&entry, at(1)), with * 1000, "{count}");
            // Worked out anew at the moment it ends.
            assert_eq!(due(&entry, seconds(999)), without * 1000, "{count}");
            assert_eq!(due(&troubled(&failure, count, u16::MAX, None), at(1)), without * 1000);
            // Full jitter begins at nothing.
            assert_eq!(due(&troubled(&failure, count, 0, None), at(1)), 0);
        }
    }

    #[test]
    fn what_only_a_person_heals_is_tried_after_a_minute_or_half_of_one() {
        let failure = Failure { lasting: true, ..Failure::new("s", Reason::Denied) };
        let usable = Held { stale_at: at(0), ..held(1000, 0) };
        assert_eq!(due(&troubled(&failure, 1, 0, Some(usable)), at(1)), 60_000);
        assert_eq!(due(&troubled(&failure, 1, 0, None), at(1)), 30_000);
    }

    #[test]
    fn retry_after_is_obeyed_up_to_ten_minutes() {
        for (asked, obeyed) in [(7, 7), (600, 600), (86_400, 600)] {
            let retry_after = Some(Duration::from_secs(asked));
            let failure = Failure { retry_after, ..Failure::new("s", Reason::Throttled) };
            assert_eq!(due(&troubled(&failure, 1, 0, None), at(1)), obeyed * 1000);
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_tried_as_often_as_one_that_can() {
        let failure = Failure { lasting: false, ..Failure::new("s", Reason::Malformed) };
        let usable = Held { stale_at: at(0), unusable_at: None, ..held(1000, 0) };
        let entry = troubled(&failure, 99, u16::MAX, Some(usable));
        assert_eq!(entry.due(Kind::File, at(1)), seconds(10).steady);
    }

    #[test]
    fn a_file_that_is_gone_is_withdrawn_after_a_minute() {
        let gone = Failure { gone: true, ..Failure::new("s", Reason::Denied) };
        let other = Failure::new("s", Reason::Server);
        let first = Trouble::after(None, Some(&gone), 0, seconds(0));
        let second = Trouble::after(Some(first), Some(&gone), 0, seconds(50));
        assert!(!second.withdraws(at(59_999)) && second.withdraws(seconds(60)));
        // What cannot be read for another reason is not gone.
        let broken = Trouble::after(Some(second), Some(&other), 0, seconds(55));
        assert!(!broken.withdraws(seconds(1000)));
    }

    #[test]
    fn a_refused_credential_is_renewed_early_once_in_half_a_minute() {
        let mut entry = Entry { held: Some(held(1000, 0)), ..Entry::default() };
        assert!(entry.renew_early(seconds(10)));
        assert!(due(&entry, seconds(10)) <= 10_000);
        entry.held = Some(held(1000, 0));
        assert!(!entry.renew_early(at(39_999)) && entry.renew_early(seconds(40)));
        // What is stale is being renewed anyway.
        assert!(!entry.renew_early(seconds(100)));
        assert!(!Entry::default().renew_early(seconds(1)));
    }
}
