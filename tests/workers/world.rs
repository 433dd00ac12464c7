//! Several VMs, one store, one clock, and the calls under way.

use super::provider::{Outcome, given, no_answer};
use super::random::Random;
use super::rules::Rules;
use super::setup::{Name, Policy, Stage, TIMEOUT, configuration, identify, key_of, name_of};
use super::store::Data;
use super::vm::{Kind, Vm};
use aigw_auth::cache::{Entry, Now, SharedStore};
use aigw_auth::engine::{Effect, Refresh};
use aigw_auth::source::Reply;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// A call under way.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) id: u64,
    pub(crate) vm: usize,
    /// The number that the machine gave it.
    number: u32,
    pub(crate) name: Name,
    pub(crate) stage: Stage,
    pub(crate) since: Duration,
    /// Nobody can know of it any more.
    pub(crate) disowned: bool,
    pub(crate) body: String,
}

/// Which VM is running; one is inside of another where it acts between two steps of that one.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) vm: Rc<Vm>,
    /// The time as it sees it.
    pub(crate) now: Now,
    /// Later ones have higher numbers.
    pub(crate) serial: u64,
}

type Between = Rc<dyn Fn(&World)>;

pub(crate) struct World {
    pub(crate) policies: Vec<Policy>,
    configuration: Vec<u8>,
    pub(crate) random: Random,
    now: Cell<Now>,
    pub(crate) data: Data,
    vms: RefCell<Vec<Rc<Vm>>>,
    flights: RefCell<Vec<Flight>>,
    pub(crate) running: RefCell<Vec<Running>>,
    serial: Cell<u64>,
    /// How many calls were made.
    pub(crate) called: Cell<u64>,
    /// What happens before a VM reads or writes shared data.
    between: RefCell<Option<Between>>,
    pub(crate) rules: RefCell<Rules>,
    /// Whether what happens is printed.
    pub(crate) tells: bool,
}

impl World {
    pub(crate) fn new(policies: &[Policy], seed: u64, tells: bool) -> Self {
        let start = Duration::from_secs(1000);
        Self {
            policies: policies.to_vec(),
            configuration: configuration(policies),
            random: Random::new(seed),
            now: Cell::new(Now { steady: start, wall: Duration::from_secs(1_800_000_000) }),
            data: Data::default(),
            vms: RefCell::default(),
            flights: RefCell::default(),
            running: RefCell::default(),
            serial: Cell::default(),
            called: Cell::default(),
            between: RefCell::default(),
            rules: RefCell::new(Rules::new(policies)),
            tells,
        }
    }

    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            let depth = self.running.borrow().len();
            println!("{:>9.3} {}{}", self.now().steady.as_secs_f64(), "  ".repeat(depth), what());
        }
    }

    pub(crate) fn now(&self) -> Now {
        self.now.get()
    }

    pub(crate) fn advance(&self, time: Duration) {
        let Now { steady, wall } = self.now();
        self.now.set(Now { steady: steady + time, wall: wall + time });
    }

    /// Somebody sets the wall clock.
    pub(crate) fn set_wall(&self, wall: Duration) {
        self.tell(|| format!("the wall clock is set from {:?} to {wall:?}", self.now().wall));
        self.now.set(Now { wall, ..self.now() });
    }

    /// A VM that has not ticked yet.
    pub(crate) fn start(&self, kind: Kind) -> Rc<Vm> {
        let mut vms = self.vms.borrow_mut();
        let owner = self.random.next();
        let vm = Rc::new(Vm::new(vms.len(), kind, owner, &self.configuration, self.now()));
        vms.push(Rc::clone(&vm));
        self.tell(|| format!("vm {} starts: {kind:?}", vm.id));
        vm
    }

    pub(crate) fn vms(&self) -> Vec<Rc<Vm>> {
        self.vms.borrow().iter().filter(|vm| vm.alive.get()).cloned().collect()
    }

    pub(crate) fn flights(&self) -> Vec<Flight> {
        self.flights.borrow().clone()
    }

    /// The numbers of the calls from that one on, and what they are for.
    pub(crate) fn flights_from(&self, id: u64) -> Vec<(u64, Name)> {
        let flights = self.flights.borrow();
        flights.iter().filter(|flight| flight.id >= id).map(|f| (f.id, f.name)).collect()
    }

    /// The entry of a name, as it is in the store.
    pub(crate) fn entry(&self, name: Name) -> Entry {
        let value = self.data.get(key_of(name));
        value.and_then(|(bytes, _)| Entry::decode(&bytes)).unwrap_or_default()
    }

    /// Has `act` done before anybody reads or writes shared data next.
    pub(crate) fn between(&self, act: impl Fn(&Self) + 'static) {
        *self.between.borrow_mut() = Some(Rc::new(act));
    }

    pub(crate) fn undisturbed(&self) {
        *self.between.borrow_mut() = None;
    }

    fn disturb(&self) {
        let between = self.between.borrow().clone();
        if let Some(act) = between {
            act(self);
        }
    }

    /// The timer of a VM goes off.
    pub(crate) fn tick(&self, vm: &Rc<Vm>) -> bool {
        self.run(vm, "tick", |machine, now| machine.tick(self, now))
    }

    /// The probe of a VM is answered, or not.
    pub(crate) fn probed(&self, vm: &Rc<Vm>, answered: bool) -> bool {
        let probed = self.run(vm, "probed", |machine, now| machine.probed(answered, self, now));
        if probed && answered {
            vm.reaches(self.now().steady);
        }
        probed
    }

    /// A provider refuses what a VM has put on a request.
    pub(crate) fn rejected(&self, vm: &Rc<Vm>, policy: usize, serial: u64) -> bool {
        self.run(vm, "rejected", |machine, now| {
            machine.rejected(policy, serial, self, now);
            Vec::new()
        })
    }

    /// A call has come to its end.
    pub(crate) fn deliver(&self, id: u64, outcome: Outcome) -> bool {
        let Some(index) = self.flights.borrow().iter().position(|flight| flight.id == id) else {
            return false;
        };
        let flight = self.flights.borrow()[index].clone();
        let vm = Rc::clone(&self.vms.borrow()[flight.vm]);
        if !vm.alive.get() || vm.busy.get() {
            return false;
        }
        self.flights.borrow_mut().remove(index);
        let text = self.rules.borrow_mut().issue(&flight, outcome, self.now());
        let given = given(outcome, flight.name, flight.stage, &text);
        self.tell(|| format!("{:?} {:?}: {outcome:?} {text}", flight.name, flight.stage));
        self.run(&vm, "reply", |machine, now| {
            let reply = given.as_ref().map(|given| Reply::Answer(given.answer()));
            machine.reply(flight.number, &reply.unwrap_or_else(|| no_answer(outcome)), self, now)
        })
    }

    /// A VM ends as the host ends one: it is told, and its calls are cancelled.
    pub(crate) fn release(&self, vm: &Rc<Vm>) -> bool {
        vm.ends.set(true);
        let released = self.run(vm, "release", |machine, now| {
            self.flights.borrow_mut().retain(|flight| flight.vm != vm.id);
            machine.release(self, now);
            Vec::new()
        });
        if released {
            vm.alive.set(false);
        }
        released
    }

    /// A VM crashes. Its calls may still be with the provider.
    pub(crate) fn kill(&self, vm: &Rc<Vm>) {
        self.tell(|| format!("vm {} dies", vm.id));
        vm.alive.set(false);
    }

    /// A request comes to a VM. Gives its stream, if it waits.
    pub(crate) fn request(&self, vm: &Rc<Vm>, policy: usize) -> Option<u32> {
        let mut waits = None;
        self.run(vm, "request", |machine, now| {
            waits = vm.request(machine, policy, self, now);
            Vec::new()
        });
        waits
    }

    /// Bytes that are no entry of this version.
    pub(crate) fn spoil(&self, key: &str) {
        let bytes: Vec<u8> = (0..self.random.below(40)).map(|_| self.random.next() as u8).collect();
        let bytes = if Entry::decode(&bytes).is_some() { Vec::new() } else { bytes };
        self.tell(|| format!("{:?} is overwritten", name_of(key)));
        self.data.put(key, &bytes);
        let name = name_of(key);
        self.rules.borrow_mut().spoiled(name);
        let mut flights = self.flights.borrow_mut();
        flights.iter_mut().filter(|f| f.name == name).for_each(|f| f.disowned = true);
    }

    /// A number that only grows: what has a lower one was before.
    pub(crate) fn moment(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }

    fn run(
        &self,
        vm: &Rc<Vm>,
        what: &str,
        act: impl FnOnce(&mut Refresh, Now) -> Vec<Effect>,
    ) -> bool {
        if !vm.alive.get() || vm.busy.replace(true) {
            return false;
        }
        self.tell(|| format!("vm {}: {what}", vm.id));
        let now = self.now();
        let running = Running { vm: Rc::clone(vm), now, serial: self.moment() };
        self.running.borrow_mut().push(running.clone());
        if what == "tick" {
            vm.ticks(now.steady, running.serial);
        }
        let effects = act(&mut vm.machine.borrow_mut(), now);
        self.perform(vm, effects);
        self.rules.borrow_mut().looked(self, &running, what == "tick");
        self.running.borrow_mut().pop();
        vm.busy.set(false);
        if self.running.borrow().is_empty() {
            self.rules.borrow_mut().settled();
        }
        true
    }

    fn perform(&self, vm: &Rc<Vm>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Call(number, call) => {
                    let (name, stage) = identify(&call);
                    self.tell(|| format!("vm {} calls: {name:?} {stage:?}", vm.id));
                    let flight = Flight {
                        id: self.called.replace(self.called.get() + 1),
                        vm: vm.id,
                        number,
                        name,
                        stage,
                        since: self.now().steady,
                        disowned: false,
                        body: String::from_utf8(call.body).unwrap(),
                    };
                    self.rules.borrow_mut().called(self, vm, &flight);
                    if vm.kind == Kind::Worker {
                        self.flights.borrow_mut().push(flight);
                    } else {
                        // Nobody will call back.
                        self.rules.borrow_mut().issue(&flight, Outcome::Unreachable, self.now());
                        let mut machine = vm.machine.borrow_mut();
                        let effects = machine.reply(number, &Reply::Unreachable, self, self.now());
                        drop(machine);
                        self.perform(vm, effects);
                    }
                }
                Effect::Probe if vm.kind == Kind::Main => {
                    let mut machine = vm.machine.borrow_mut();
                    let effects = machine.probed(false, self, self.now());
                    drop(machine);
                    self.perform(vm, effects);
                }
                Effect::Probe => vm.probes.set(vm.probes.get() + 1),
                Effect::Count(policy, what) => self.rules.borrow_mut().counted(policy, what),
                Effect::Warn(text) | Effect::Inform(text) => {
                    self.tell(|| format!("vm {} logs: {text}", vm.id));
                }
            }
        }
    }

    /// Whether a call of this name may still be with its provider.
    pub(crate) fn is_asked(&self, name: Name) -> bool {
        let now = self.now().steady;
        self.flights
            .borrow()
            .iter()
            .any(|flight| flight.name == name && !flight.disowned && flight.since + TIMEOUT > now)
    }
}

impl SharedStore for World {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.disturb();
        self.data.get(key)
    }

    fn set(&self, key: &str, value: &[u8], swap: u32) -> bool {
        self.disturb();
        let name = name_of(key);
        let before = self.entry(name);
        let done = self.data.set(key, value, swap);
        if done {
            let after = Entry::decode(value).unwrap();
            let running = self.running.borrow().last().cloned().unwrap();
            self.rules.borrow_mut().written(self, &running, name, &before, &after);
        }
        done
    }
}
