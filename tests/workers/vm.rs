//! One VM: a machine, the requests that wait in it, and the part of the host that is around it.

use super::setup::{Policy, WAIT, compile};
use super::world::World;
use aigw_auth::aws::sigv4::EMPTY_BODY;
use aigw_auth::cache::Now;
use aigw_auth::engine::{
    Attempt, Decision, Filter, Place, Refresh, Shortage, Waiter, Waiting, decide,
};
use aigw_auth::inject::{Earlier, Mutation};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

/// The ticks of the host: while somebody waits, and otherwise.
const SHORT_TICK: Duration = Duration::from_millis(50);
const TICK: Duration = Duration::from_secs(1);
/// A VM that ticks is never silent for longer.
const SILENCE: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Worker,
    /// That of the main thread, which cannot reach an internal listener.
    Main,
}

/// What became of a request that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It went on with this.
    Served(String),
    /// It was refused, and may come back after so many seconds.
    Refused(u64),
}

pub(crate) struct Vm {
    pub(crate) id: usize,
    pub(crate) kind: Kind,
    pub(crate) owner: u64,
    pub(crate) alive: Cell<bool>,
    pub(crate) busy: Cell<bool>,
    /// Until when it does nothing.
    pub(crate) frozen_until: Cell<Duration>,
    /// How many probes are not answered yet.
    pub(crate) probes: Cell<u32>,
    pub(crate) machine: RefCell<Refresh>,
    filter: Filter,
    waiting: RefCell<Waiting>,
    pub(crate) answers: RefCell<BTreeMap<u32, Answer>>,
    streams: Cell<u32>,
    last_tick: Cell<Duration>,
    /// The number of the run of that tick.
    pub(crate) last_run: Cell<u64>,
    /// When the host calls it again.
    pub(crate) next_tick: Cell<Duration>,
    /// Since when it has ticked without a gap.
    ticks_since: Cell<Duration>,
    /// Since when it has been known to reach the listener of the callouts.
    reaches_since: Cell<Option<Duration>>,
    /// It is giving its leases back.
    pub(crate) ends: Cell<bool>,
    /// What was seen last of each policy, by its serial number.
    seen: RefCell<BTreeMap<usize, (u64, String)>>,
}

impl Vm {
    pub(crate) fn new(id: usize, kind: Kind, owner: u64, configuration: &[u8], now: Now) -> Self {
        let (filter, plan) = compile(configuration);
        Self {
            id,
            kind,
            owner,
            alive: Cell::new(true),
            busy: Cell::default(),
            frozen_until: Cell::default(),
            probes: Cell::default(),
            machine: RefCell::new(Refresh::new(plan, owner)),
            filter,
            waiting: RefCell::default(),
            answers: RefCell::default(),
            streams: Cell::default(),
            last_tick: Cell::new(now.steady),
            last_run: Cell::default(),
            next_tick: Cell::new(now.steady),
            ticks_since: Cell::new(now.steady),
            reaches_since: Cell::default(),
            ends: Cell::default(),
            seen: RefCell::default(),
        }
    }

    pub(crate) fn ticks(&self, now: Duration, run: u64) {
        self.last_run.set(run);
        if now - self.last_tick.replace(now) > SILENCE {
            self.ticks_since.set(now);
        }
    }

    pub(crate) fn reaches(&self, now: Duration) {
        self.reaches_since.set(self.reaches_since.get().or(Some(now)));
    }

    /// Whether it has ticked and been able to call for so long.
    pub(crate) fn is_well(&self, now: Duration, since: Duration) -> bool {
        let all_the_time = |from: Duration| from + since <= now;
        self.kind == Kind::Worker
            && self.alive.get()
            && now - self.last_tick.get() <= SILENCE
            && all_the_time(self.ticks_since.get())
            && self.reaches_since.get().is_some_and(all_the_time)
    }

    /// When it last began to look at everything.
    pub(crate) fn last_tick(&self) -> Duration {
        self.last_tick.get()
    }

    /// How long it is until the host calls it again.
    pub(crate) fn period(&self) -> Duration {
        let waits = !self.waiting.borrow().is_empty();
        if waits || self.machine.borrow().is_pressed() { SHORT_TICK } else { TICK }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.borrow().all().len()
    }

    /// A request comes. Gives its stream, if it waits.
    pub(crate) fn request(
        &self,
        machine: &mut Refresh,
        policy: usize,
        world: &World,
        now: Now,
    ) -> Option<u32> {
        if machine.ready(policy, now.wall).is_some() {
            return None;
        }
        match machine.shortage(policy, WAIT, world, now) {
            None => {
                assert!(machine.ready(policy, now.wall).is_some());
                None
            }
            Some(Shortage::Refused(seconds)) => {
                world.rules.borrow_mut().refused_at_once(world, policy, seconds);
                None
            }
            Some(Shortage::Wait) => {
                let stream = self.streams.get();
                self.streams.set(stream + 1);
                let until = now.steady + WAIT;
                assert!(self.waiting.borrow_mut().add(stream, policy, 0, now.steady, until));
                Some(stream)
            }
        }
    }

    /// Answers those whose credential has come, and those who have waited too long. Gives the latter.
    pub(crate) fn serve(&self, policies: &[Policy], now: Now) -> Vec<Waiter> {
        let waiters = self.waiting.borrow().all().to_vec();
        let mut refused = Vec::new();
        for waiter in waiters {
            let answer = match self.shows(policies, waiter.policy, now.wall) {
                Some(text) => Answer::Served(text),
                None if now.steady >= waiter.until => {
                    refused.push(waiter);
                    Answer::Refused(self.machine.borrow().retry_after(waiter.policy, now))
                }
                None => continue,
            };
            self.waiting.borrow_mut().remove(waiter.stream);
            self.answers.borrow_mut().insert(waiter.stream, answer);
        }
        refused
    }

    /// The text that a request of a policy would go out with.
    pub(crate) fn shows(
        &self,
        policies: &[Policy],
        policy: usize,
        wall: Duration,
    ) -> Option<String> {
        let ready = self.machine.borrow().ready(policy, wall)?;
        let mut seen = self.seen.borrow_mut();
        if let Some((serial, text)) = seen.get(&policy)
            && *serial == ready.serial()
        {
            return Some(text.clone());
        }
        let headers = [(":method", "POST"), (":path", "/"), (":authority", "a.example")]
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let backend = policies[policy].backend();
        let attempt = Attempt {
            place: Place::Upstream,
            chosen: self.filter.choose(Some(backend.as_bytes())),
            ready: Some(&ready),
            headers: Some(&headers),
            earlier: &Earlier::default(),
            body: Some(&EMPTY_BODY),
            now: wall,
        };
        let Decision::Inject(entry, changes) = decide(&self.filter, &attempt) else {
            panic!("what is ready was not put on a request");
        };
        assert_eq!(entry.index, policy);
        let text = changes.mutations.iter().find_map(|mutation| match mutation {
            Mutation::Set("authorization", value) => {
                let value = core::str::from_utf8(value).unwrap();
                let key = value.strip_prefix("AWS4-HMAC-SHA256 Credential=");
                let key = key.and_then(|rest| rest.split('/').next());
                Some(key.or_else(|| value.strip_prefix("Bearer ")).unwrap().to_owned())
            }
            _ => None,
        });
        let text = text.unwrap();
        seen.insert(policy, (ready.serial(), text.clone()));
        Some(text)
    }

    /// The serial number of what is ready for a policy.
    pub(crate) fn serial(&self, policy: usize, wall: Duration) -> Option<u64> {
        Some(self.machine.borrow().ready(policy, wall)?.serial())
    }
}
