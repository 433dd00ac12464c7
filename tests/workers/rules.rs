//! What holds whatever happens. Everything is worked out from what the providers answered and from what
//! was written to the store.

use super::provider::Outcome;
use super::setup::{Name, Policy, Stage, TIMEOUT, WAIT};
use super::vm::Vm;
use super::world::{Flight, Running, World};
use aigw_auth::cache::{Entry, Held, Now};
use aigw_auth::engine::{Statistic, Waiter};
use aigw_auth::source::Material;
use std::collections::BTreeMap;
use std::time::Duration;

/// Entries hold whole milliseconds.
const GRAIN: Duration = Duration::from_millis(2);
const LEASE_MARGIN: Duration = Duration::from_secs(1);
const WITHDRAWN_AFTER: Duration = Duration::from_secs(60);
const EARLY: Duration = Duration::from_secs(30);
const REREAD: Duration = Duration::from_secs(10);
/// How long a VM that cannot call leaves what is due to others.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was given out under one text.
struct Issue {
    name: Name,
    /// From when on it may not be used, on each clock.
    bounds: Option<Now>,
}

/// What came of a call.
#[derive(Clone)]
struct Replied {
    outcome: Outcome,
    stage: Stage,
    text: String,
    at: Now,
}

fn later(now: Now, time: Duration) -> Now {
    Now { steady: now.steady + time, wall: now.wall + time }
}

/// What is known of one thing that is obtained.
#[derive(Default)]
struct Past {
    /// The number of the run in which something was written last.
    written: u64,
    /// When something was obtained last: the number of that moment.
    obtained: u64,
    /// Not to be asked for again before, on either clock.
    fresh_until: Option<Now>,
    /// Not to be asked for again before, since it failed.
    paused_until: Duration,
    renewed_early: Option<Duration>,
    gone_since: Option<Duration>,
    /// The number of what was obtained last, and of what a file holds.
    issued: u64,
    /// When it last became another, in which run.
    changed: Option<(u64, Duration)>,
}

pub(crate) struct Rules {
    policies: Vec<Policy>,
    issues: BTreeMap<String, Issue>,
    past: BTreeMap<Name, Past>,
    /// The last call of a VM for a name and the reply to it; none while it is under way.
    replies: BTreeMap<(usize, Name), (u64, Option<Replied>)>,
    /// What has to be counted and what was.
    expected: BTreeMap<(usize, String), u32>,
    counted: BTreeMap<(usize, String), u32>,
    pub(crate) obtained: u32,
    pub(crate) failed: u32,
}

fn text_of(held: &Held) -> &str {
    match &held.material {
        Material::Line(text) => text.expose(),
        Material::Keys(keys) => keys.access_key_id().expose(),
    }
}

impl Rules {
    pub(crate) fn new(policies: &[Policy]) -> Self {
        Self {
            policies: policies.to_vec(),
            issues: BTreeMap::new(),
            past: BTreeMap::new(),
            replies: BTreeMap::new(),
            expected: BTreeMap::new(),
            counted: BTreeMap::new(),
            obtained: 0,
            failed: 0,
        }
    }

    fn past(&mut self, name: Name) -> &mut Past {
        self.past.entry(name).or_default()
    }

    /// Somebody edits a file.
    pub(crate) fn edit(&mut self, name: Name) {
        self.past(name).issued += 1;
    }

    /// When nothing is left of what providers have asked for.
    pub(crate) fn paused_until(&self) -> Duration {
        self.past.values().map(|past| past.paused_until).max().unwrap_or_default()
    }

    /// The reply to a call is on its way: the text that it brings, if it does.
    pub(crate) fn issue(&mut self, flight: &Flight, outcome: Outcome, now: Now) -> String {
        let name = flight.name;
        let past = self.past(name);
        let is_new = matches!((outcome, flight.stage), (Outcome::Good(_), Stage::Last));
        if is_new && !name.is_file() || past.issued == 0 {
            past.issued += 1;
        }
        let mut text = format!("{name:?}_{}", past.issued);
        if flight.stage != Stage::Last {
            text.push_str("_proof");
        }
        if outcome.is_good() && flight.stage == Stage::Last {
            let life = outcome.life();
            let usable = life - (life / 10).min(Duration::from_secs(10));
            let bound = Now { steady: now.steady + usable, wall: now.wall + usable };
            let issue = self.issues.entry(text.clone()).or_insert(Issue { name, bounds: None });
            if !name.is_file() {
                let before = issue.bounds.unwrap_or(bound);
                issue.bounds = Some(Now {
                    steady: before.steady.max(bound.steady),
                    wall: before.wall.max(bound.wall),
                });
            }
        }
        // One to a call that was given up counts no more.
        if let Some((id, reply)) = self.replies.get_mut(&(flight.vm, name))
            && *id == flight.id
        {
            *reply = Some(Replied { outcome, stage: flight.stage, text: text.clone(), at: now });
        }
        text
    }

    /// A VM makes a call.
    pub(crate) fn called(&mut self, world: &World, vm: &Vm, flight: &Flight) {
        let name = flight.name;
        assert!(!world.is_asked(name), "vm {} asks for {name:?}, which is asked for", vm.id);
        self.replies.insert((vm.id, name), (flight.id, None));
        if vm.kind == super::vm::Kind::Main {
            let now = world.now().steady;
            let well =
                world.vms().into_iter().find(|other| other.is_well(now, PATIENCE + LEASE_MARGIN));
            assert!(well.is_none(), "the main thread asks for {name:?}, which others can");
        }
    }

    pub(crate) fn spoiled(&mut self, name: Name) {
        let past = self.past(name);
        *past = Past { issued: past.issued, obtained: past.obtained, ..Past::default() };
    }

    pub(crate) fn counted(&mut self, policy: usize, what: Statistic) {
        *self.counted.entry((policy, format!("{what:?}"))).or_default() += 1;
    }

    fn count(&mut self, name: Name, what: Statistic) {
        for (index, policy) in self.policies.iter().enumerate() {
            if policy.needs(name) {
                *self.expected.entry((index, format!("{what:?}"))).or_default() += 1;
            }
        }
    }

    /// Nobody is running.
    pub(crate) fn settled(&self) {
        assert_eq!(self.counted, self.expected, "what was counted and what happened");
    }

    /// An entry was written.
    pub(crate) fn written(
        &mut self,
        world: &World,
        running: &Running,
        name: Name,
        before: &Entry,
        after: &Entry,
    ) {
        let owner = running.vm.owner;
        let now = running.now;
        let had = before.lease.is_some_and(|lease| lease.owner == owner);
        self.past(name).written = running.serial;
        match (before.lease, after.lease) {
            (_, Some(lease)) if before.lease != after.lease => {
                assert_eq!(lease.owner, owner, "a lease is taken for another");
                let rest = |entry: &Entry| Entry { lease: None, ..entry.clone() };
                assert_eq!(rest(before), rest(after), "a lease changes more");
                // What runs inside of another is up to that much later.
                assert!(lease.until <= world.now().steady + TIMEOUT + LEASE_MARGIN);
                if let Some(lease) = before.lease
                    && !had
                {
                    assert!(lease.until <= world.now().steady, "the lease of another is taken");
                }
                if !had {
                    let past = self.past(name);
                    let Past { fresh_until: fresh, paused_until: paused, .. } = *past;
                    let stale = fresh.is_none_or(|fresh| {
                        now.steady + GRAIN >= fresh.steady || now.wall + GRAIN >= fresh.wall
                    });
                    assert!(stale, "{name:?} is asked for before {fresh:?}");
                    assert!(
                        now.steady + GRAIN >= paused,
                        "{name:?} is asked for before {paused:?}"
                    );
                }
            }
            (Some(_), None) => {
                assert!(had, "vm {} gives the lease of another back", running.vm.id);
                if !running.vm.ends.get() {
                    self.published(world, running, name, before, after);
                }
            }
            _ => self.amended(running, name, before, after),
        }
    }

    fn published(
        &mut self,
        world: &World,
        running: &Running,
        name: Name,
        before: &Entry,
        after: &Entry,
    ) {
        let now = running.now;
        let (_, reply) = self.replies.get(&(running.vm.id, name)).cloned().unwrap();
        let (serial, steady) = (running.serial, now.steady);
        match reply {
            Some(Replied { outcome, stage: Stage::Last, text, at }) if outcome.is_good() => {
                let held = after.held.as_ref().unwrap();
                assert_eq!(text_of(held), text, "vm {} publishes another's", running.vm.id);
                let is_same = before.held.as_ref().is_some_and(|held| text_of(held) == text);
                let life = outcome.life();
                self.count(name, Statistic::Fetched);
                if !name.is_file() {
                    self.count(name, Statistic::ExpiresAt((at.wall + life).as_secs()));
                }
                self.obtained += 1;
                let past = self.past(name);
                past.obtained = world.moment();
                (past.paused_until, past.gone_since) = Default::default();
                if name.is_file() {
                    past.fresh_until = Some(later(now, REREAD));
                } else if !is_same {
                    // Four fifths, less a twentieth at most.
                    past.fresh_until = Some(later(now, life / 4 * 3));
                }
                if !is_same {
                    past.changed = Some((serial, steady));
                }
            }
            reply => {
                let outcome = reply.map_or(Outcome::TimedOut, |reply| reply.outcome);
                self.count(name, Statistic::FetchFailed(outcome.reason()));
                self.failed += 1;
                let input = name.need().and_then(|input| self.past(input).changed);
                let past = self.past(name);
                past.paused_until = steady + outcome.pause(name);
                if after.trouble.is_none() {
                    // It was asked for with an input that is another now.
                    assert!(input.is_some(), "{name:?} fails and there is no trouble");
                    past.paused_until = Duration::ZERO;
                }
                let gone = name.is_file() && outcome == Outcome::Gone;
                past.gone_since = gone.then(|| past.gone_since.unwrap_or(steady));
                let gone_for = past.gone_since.map_or(Duration::ZERO, |since| steady - since);
                if after.held.is_none() && before.held.is_some() {
                    assert!(gone_for + GRAIN >= WITHDRAWN_AFTER, "{name:?} is withdrawn early");
                    past.changed = Some((serial, steady));
                    past.fresh_until = None;
                } else {
                    assert_eq!(before.held, after.held, "a failure changes what is held");
                    assert!(before.held.is_none() || gone_for < WITHDRAWN_AFTER);
                }
            }
        }
    }

    /// An entry was changed by somebody who does not obtain it.
    fn amended(&mut self, running: &Running, name: Name, before: &Entry, after: &Entry) {
        let now = running.now;
        let past = self.past(name);
        if before.held.is_some() && after.held.is_none() {
            let end = before.held.as_ref().and_then(|held| held.unusable_at);
            let ended = end.is_some_and(|end| now.steady >= end.steady || now.wall >= end.wall);
            assert!(ended, "{name:?} is thrown away before its end");
            past.fresh_until = None;
        }
        if after.renewed_early != before.renewed_early {
            let early = past.renewed_early.replace(now.steady);
            // Who sees an earlier time does it for the same renewal.
            let again = early.is_none_or(|at| now.steady < at || now.steady + GRAIN >= at + EARLY);
            assert!(again, "{name:?} is renewed early a second time");
            past.fresh_until = None;
        }
        if before.trouble != after.trouble {
            assert!(after.trouble.is_none());
            let input = name.need().map(|input| self.past(input).changed);
            let changed = input.flatten().is_some_and(|(serial, _)| serial == running.serial);
            assert!(changed, "{name:?} is encouraged without a reason");
            self.past(name).paused_until = Duration::ZERO;
        }
    }

    /// A VM has done what it was called for, at the time that it saw.
    pub(crate) fn looked(&mut self, world: &World, running: &Running, ticked: bool) {
        let Running { vm, now, serial } = running;
        for (index, policy) in world.policies.iter().enumerate() {
            self.shown(world, vm, index, *policy);
            let name = policy.carries();
            let entry = world.entry(name);
            let past = self.past(name);
            // An entry past its end does not stay.
            let end = entry.held.as_ref().and_then(|held| held.unusable_at);
            let ended = end.is_some_and(|end| now.steady >= end.steady || now.wall >= end.wall);
            assert!(!ticked || !ended || past.written > *serial, "{name:?} is left past its end");
            // What an input that has changed can heal is not left to wait.
            let changed = name.need().and_then(|input| self.past(input).changed);
            if let Some((run, at)) = changed
                && run == *serial
            {
                let old = entry.trouble.is_some_and(|trouble| trouble.at + GRAIN < at);
                let waits = old && entry.lease.is_none();
                assert!(!waits, "{name:?} waits though its input has changed");
            }
        }
        for waiter in vm.serve(&world.policies, *now) {
            self.refused(world, running, waiter);
        }
    }

    /// What a request would get right now may be used, and is of its own policy.
    fn shown(&self, world: &World, vm: &Vm, index: usize, policy: Policy) {
        let now = world.now();
        let Some(text) = vm.shows(&world.policies, index, now.wall) else { return };
        let issue = &self.issues[&text];
        assert_eq!(issue.name, policy.carries(), "{policy:?} gets what is another's");
        let Some(bounds) = issue.bounds else { return };
        assert!(now.wall < bounds.wall, "vm {} serves {text} past its end", vm.id);
        // Requests look at the wall clock only: the other one is that of the ticks.
        let seen = vm.last_tick() >= bounds.steady;
        assert!(!seen, "vm {} serves {text}, which has ended by the steady clock", vm.id);
    }

    /// A request has waited in vain: nothing was there when its VM looked last.
    fn refused(&mut self, world: &World, running: &Running, waiter: Waiter) {
        let name = world.policies[waiter.policy].carries();
        let entry = world.entry(name);
        let there =
            entry.usable(running.now) && self.past(name).obtained < running.vm.last_run.get();
        assert!(!there, "a request is refused though {name:?} is there");
    }

    /// A request is told that nothing will come in time.
    pub(crate) fn refused_at_once(&mut self, world: &World, policy: usize, seconds: u64) {
        assert!(Duration::from_secs(seconds) > WAIT);
        let running = world.running.borrow().last().cloned().unwrap();
        let carried = world.policies[policy].carries();
        let mut names = [Some(carried), carried.need()].into_iter().flatten();
        let reason = names.any(|name| {
            let entry = world.entry(name);
            let is_old = self.past(name).written < running.serial;
            !is_old || !entry.usable(running.now) && entry.trouble.is_some()
        });
        assert!(reason, "a request is refused at once without a failure");
    }
}
