//! Schedules that a seed decides: what happens to VMs, providers and clocks, and when.

use super::provider::{FAILURES, Outcome};
use super::setup::{ALL, Name, Policy, TIMEOUT};
use super::vm::{Kind, Vm};
use super::world::World;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Within one step of a VM, others may act for so long.
const SKEW: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest delay after a failure that is over, once there is no credential.
const LASTING: Duration = Duration::from_secs(30);
/// What every credential lives at least, once all is well.
const LIFE: u64 = 60;

#[derive(Clone)]
enum Event {
    Tick(Rc<Vm>),
    Probed(Rc<Vm>, bool),
    Replied(u64, Outcome),
    Start(Kind),
}

/// How a provider is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Flaky,
    Slow,
    Down,
    /// It gives the same again.
    Stubborn,
}

/// See the module.
pub(crate) struct Chaos {
    pub(crate) world: World,
    agenda: RefCell<Vec<(Duration, Event)>>,
    moods: RefCell<BTreeMap<Name, Mood>>,
    /// Up to which number calls have got their outcome.
    decided: Cell<u64>,
    calm: Cell<bool>,
}

impl Chaos {
    pub(crate) fn new(seed: u64, tells: bool) -> Rc<Self> {
        let dice = super::random::Random::new(seed);
        let policies: &[Policy] = dice.pick(&[
            &ALL[..1],
            &ALL[1..3],
            &ALL[3..4],
            &ALL[4..],
            &[Policy::Mounted, Policy::Exchange],
            &[Policy::Azure, Policy::Key],
        ]);
        let chaos = Rc::new(Self {
            world: World::new(policies, dice.next(), tells),
            agenda: RefCell::default(),
            moods: RefCell::default(),
            decided: Cell::default(),
            calm: Cell::default(),
        });
        chaos.world.tell(|| format!("{policies:?}"));
        let weak = Rc::downgrade(&chaos);
        chaos.world.between(move |_| weak.upgrade().unwrap().disturb());
        for _ in 0..2 + dice.below(3) {
            chaos.world.start(Kind::Worker);
        }
        if dice.percent(50) {
            chaos.world.start(Kind::Main);
        }
        chaos.plan();
        chaos
    }

    /// Everything that can go wrong does, for a while.
    pub(crate) fn rage(&self) {
        let random = &self.world.random;
        let end = self.world.now().steady + random.milliseconds(2_000, 14_000);
        while self.world.now().steady < end {
            let next = self.world.now().steady + random.milliseconds(20, 1000);
            self.until(next, || false);
            self.accident();
            self.plan();
        }
    }

    /// All is well from now on: everybody gets everything, in time.
    pub(crate) fn recover(&self) {
        let world = &self.world;
        world.tell(|| "all is well".to_owned());
        self.calm.set(true);
        if self.workers().is_empty() {
            world.start(Kind::Worker);
        }
        let now = world.now().steady;
        let wait = LASTING.max(world.rules.borrow().paused_until().saturating_sub(now));
        // A call and a probe that are lost, the patience after that one, and what is obtained in two steps.
        let end = now + wait + PATIENCE + 2 * (TIMEOUT + Duration::from_secs(1)) + PATIENCE / 2;
        self.plan();
        self.until(end, || self.lacks().is_none());
        assert_eq!(self.lacks(), None, "something is not obtained though all is well");
    }

    /// Renewals go on, and nobody notices.
    pub(crate) fn go_on(&self) {
        let world = &self.world;
        // What ends sooner has gone by then.
        let past = world.now().steady + Duration::from_secs(2 * LIFE);
        self.until(past, || false);
        let before = world.rules.borrow().obtained;
        for _ in 0..2 * LIFE {
            let next = world.now().steady + Duration::from_secs(1);
            self.until(next, || false);
            assert_eq!(self.lacks(), None, "a renewal was noticed");
        }
        assert!(world.rules.borrow().obtained > before, "nothing is renewed");
        let waiting: usize = world.vms().iter().map(|vm| vm.waiting()).sum();
        assert_eq!(waiting, 0, "a request still waits");
    }

    fn workers(&self) -> Vec<Rc<Vm>> {
        self.world.vms().into_iter().filter(|vm| vm.kind == Kind::Worker).collect()
    }

    /// The first worker and policy without a credential.
    fn lacks(&self) -> Option<(usize, Policy)> {
        let world = &self.world;
        let lacks = |vm: &Rc<Vm>| {
            let mut policies = world.policies.iter().enumerate();
            let lacks = policies
                .find(|(index, _)| vm.shows(&world.policies, *index, world.now().wall).is_none());
            lacks.map(|(_, policy)| (vm.id, *policy))
        };
        self.workers().iter().find_map(lacks)
    }

    /// Lets happen what is planned until then, or until it is enough.
    fn until(&self, end: Duration, enough: impl Fn() -> bool) {
        while !enough() {
            let next = {
                let mut agenda = self.agenda.borrow_mut();
                let first = agenda.iter().enumerate().min_by_key(|(_, (at, _))| *at);
                match first.map(|(index, (at, _))| (index, *at)) {
                    Some((index, at)) if at <= end => Some(agenda.swap_remove(index)),
                    _ => None,
                }
            };
            let Some((at, event)) = next else { break };
            self.world.advance(at.saturating_sub(self.world.now().steady));
            self.happen(at, event);
            self.plan();
        }
        if !enough() {
            self.world.advance(end.saturating_sub(self.world.now().steady));
        }
    }

    fn happen(&self, at: Duration, event: Event) {
        let world = &self.world;
        let vm = match &event {
            Event::Tick(vm) if at != vm.next_tick.get() => return,
            Event::Tick(vm) | Event::Probed(vm, _) => Some(Rc::clone(vm)),
            Event::Replied(id, _) => {
                let flight = world.flights().into_iter().find(|flight| flight.id == *id);
                let Some(flight) = flight else { return };
                world.vms().into_iter().find(|vm| vm.id == flight.vm)
            }
            Event::Start(_) => None,
        };
        if let Some(vm) = &vm
            && vm.frozen_until.get() > at
            && !self.calm.get()
        {
            if let Event::Tick(vm) = &event {
                vm.next_tick.set(vm.frozen_until.get());
            }
            return self.agenda.borrow_mut().push((vm.frozen_until.get(), event));
        }
        match event {
            Event::Tick(vm) => {
                if world.tick(&vm) {
                    self.plan_tick(&vm);
                }
            }
            Event::Probed(vm, answered) => _ = world.probed(&vm, answered),
            Event::Replied(id, outcome) => _ = world.deliver(id, outcome),
            Event::Start(kind) => _ = world.start(kind),
        }
    }

    fn plan_tick(&self, vm: &Rc<Vm>) {
        let period = u64::try_from(vm.period().as_millis()).unwrap();
        let jitter = self.world.random.milliseconds(period * 9 / 10, period * 13 / 10);
        vm.next_tick.set(self.world.now().steady + jitter);
        self.agenda.borrow_mut().push((vm.next_tick.get(), Event::Tick(Rc::clone(vm))));
    }

    /// Plans what comes of what has just happened.
    fn plan(&self) {
        let world = &self.world;
        let now = world.now().steady;
        for (id, name) in world.flights_from(self.decided.get()) {
            if let Some((delay, outcome)) = self.outcome(name) {
                self.agenda.borrow_mut().push((now + delay, Event::Replied(id, outcome)));
            }
        }
        self.decided.set(world.called.get());
        for vm in world.vms() {
            for _ in 0..vm.probes.take() {
                let delay = world.random.milliseconds(1, 200);
                let answered = self.calm.get() || world.random.percent(95);
                if answered || world.random.percent(50) {
                    let event = Event::Probed(Rc::clone(&vm), answered);
                    self.agenda.borrow_mut().push((now + delay, event));
                }
            }
            let planned = vm.next_tick.get();
            let frozen = vm.frozen_until.get() > now && !self.calm.get();
            if !frozen && (planned <= now || planned > now + vm.period() * 13 / 10) {
                self.plan_tick(&vm);
            }
        }
    }

    /// What becomes of a call, and after how long. None is never.
    fn outcome(&self, name: Name) -> Option<(Duration, Outcome)> {
        let random = &self.world.random;
        if self.calm.get() {
            let life = LIFE + random.next() % LIFE;
            return Some((random.milliseconds(1, 200), Outcome::Good(life)));
        }
        let good = Outcome::Good(random.pick(&[2, 5, 10, 30, 100]));
        let mut moods = self.moods.borrow_mut();
        let mood = *moods.entry(name).or_insert_with(|| random.pick(&[Mood::Well, Mood::Flaky]));
        let quick = random.milliseconds(1, 300);
        Some(match mood {
            Mood::Well => (quick, good),
            Mood::Stubborn => (quick, Outcome::Again(random.pick(&[2, 5, 10, 30]))),
            Mood::Flaky if random.percent(50) => (quick, good),
            Mood::Flaky if name.is_file() && random.percent(50) => (quick, Outcome::Gone),
            Mood::Flaky => (quick, random.pick(&FAILURES)),
            Mood::Slow => (random.milliseconds(100, 3500), good),
            Mood::Down if random.percent(30) => return None,
            Mood::Down => (random.milliseconds(1, 2000), random.pick(&FAILURES)),
        })
    }

    /// Something happens to somebody.
    fn accident(&self) {
        let world = &self.world;
        let random = &world.random;
        let vms = world.vms();
        let Some(vm) = vms.get(random.below(vms.len().max(1))) else { return };
        let now = world.now();
        match random.below(16) {
            0..4 => self.request(vm),
            4..6 => self.reject(vm),
            6 => {
                let step = Duration::from_secs(random.pick(&[1, 9, 60, 3600]));
                let forth = random.percent(50);
                world.set_wall(if forth { now.wall + step } else { now.wall - step });
            }
            7 => {
                let keys = world.data.keys();
                if !keys.is_empty() {
                    world.spoil(&keys[random.below(keys.len())]);
                }
            }
            8 => {
                let kind = vm.kind;
                let delay = random.milliseconds(0, 2000);
                if random.percent(50) {
                    world.kill(vm);
                } else {
                    world.release(vm);
                }
                self.agenda.borrow_mut().push((now.steady + delay, Event::Start(kind)));
            }
            9 => {
                let until = now.steady + random.milliseconds(500, 8000);
                world.tell(|| format!("vm {} is frozen until {until:?}", vm.id));
                vm.frozen_until.set(until);
            }
            10..14 => {
                let policy = random.pick(&world.policies);
                let name = policy.carries();
                let name = name.need().filter(|_| random.percent(40)).unwrap_or(name);
                let moods = [Mood::Well, Mood::Flaky, Mood::Slow, Mood::Down, Mood::Stubborn];
                let mood = random.pick(&moods);
                world.tell(|| format!("{name:?} is {mood:?}"));
                self.moods.borrow_mut().insert(name, mood);
            }
            14 => {
                world.rules.borrow_mut().edit(random.pick(&[Name::Secret, Name::Line, Name::Keys]))
            }
            _ => {}
        }
    }

    fn request(&self, vm: &Rc<Vm>) {
        if vm.kind == Kind::Worker {
            for _ in 0..=self.world.random.below(3) {
                self.world.request(vm, self.world.random.below(self.world.policies.len()));
            }
        }
    }

    fn reject(&self, vm: &Rc<Vm>) {
        let policy = self.world.random.below(self.world.policies.len());
        let serial = self.world.random.next() % 3;
        let serial = vm.serial(policy, self.world.now().wall).unwrap_or(serial);
        self.world.rejected(vm, policy, serial);
    }

    /// Others act between two steps of a VM.
    fn disturb(&self) {
        let world = &self.world;
        let random = &world.random;
        let (depth, begun) = {
            let running = world.running.borrow();
            (running.len(), running[0].now.steady)
        };
        if depth > 3 || !random.percent(if self.calm.get() { 3 } else { 12 }) {
            return;
        }
        let pause = random.milliseconds(0, 60);
        if world.now().steady + pause < begun + SKEW {
            world.advance(pause);
        }
        let now = world.now().steady;
        let acts = |vm: &Rc<Vm>| !vm.busy.get() && vm.frozen_until.get() <= now;
        let vms: Vec<_> = world.vms().into_iter().filter(acts).collect();
        let Some(vm) = vms.get(random.below(vms.len().max(1))) else { return };
        match random.below(10) {
            0..5 => _ = world.tick(vm),
            5..8 => {
                let flights: Vec<_> =
                    world.flights().into_iter().filter(|flight| flight.vm == vm.id).collect();
                if let Some(flight) = flights.get(random.below(flights.len().max(1)))
                    && let Some((_, outcome)) = self.outcome(flight.name)
                {
                    world.deliver(flight.id, outcome);
                }
            }
            8 if !self.calm.get() => self.reject(vm),
            9 if !self.calm.get() => self.request(vm),
            _ => {}
        }
    }
}
