//! What the stories have in common.

use super::provider::Outcome;
use super::setup::{Name, Policy};
use super::vm::{Kind, Vm};
use super::world::World;
use std::rc::Rc;
use std::time::Duration;

pub(crate) const TICK: Duration = Duration::from_secs(1);
pub(crate) const INSTANT: Duration = Duration::from_millis(10);

/// Some workers.
pub(crate) fn some_workers(policies: &[Policy], count: usize) -> (World, Vec<Rc<Vm>>) {
    let world = World::new(policies, 1, false);
    let vms = (0..count).map(|_| world.start(Kind::Worker)).collect();
    (world, vms)
}

/// Workers that have obtained everything, for so many seconds.
pub(crate) fn ready_workers(policies: &[Policy], count: usize, life: u64) -> (World, Vec<Rc<Vm>>) {
    let (world, vms) = some_workers(policies, count);
    tick_all(&world, &vms);
    vms.iter().for_each(|vm| _ = world.probed(vm, true));
    // The longest chain: a file, and three calls.
    for _ in 0..4 {
        let flights = world.flights();
        flights.iter().for_each(|flight| _ = world.deliver(flight.id, Outcome::Good(life)));
        tick_all(&world, &vms);
    }
    assert!(world.flights().is_empty());
    for vm in &vms {
        assert!((0..policies.len()).all(|policy| text(&world, vm, policy).is_some()));
    }
    (world, vms)
}

/// The one call that is under way.
pub(crate) fn only(world: &World) -> u64 {
    let flights = world.flights();
    assert_eq!(flights.len(), 1, "{flights:?}");
    flights[0].id
}

pub(crate) fn tick_all(world: &World, vms: &[Rc<Vm>]) {
    for vm in vms {
        world.tick(vm);
    }
}

/// Ticks of everybody, once a second, and the same for every call.
pub(crate) fn pass(world: &World, vms: &[Rc<Vm>], time: u64, outcome: impl Fn(Name) -> Outcome) {
    for _ in 0..time {
        world.advance(TICK - INSTANT * 3);
        tick_all(world, vms);
        for _ in 0..3 {
            world.advance(INSTANT);
            for flight in world.flights() {
                world.deliver(flight.id, outcome(flight.name));
            }
        }
    }
}

pub(crate) fn text(world: &World, vm: &Vm, policy: usize) -> Option<String> {
    vm.shows(&world.policies, policy, world.now().wall)
}
