//! Single stories, step by step. The rules hold in them too.

use super::provider::Outcome;
use super::setup::{Name, Policy, TIMEOUT, WAIT};
use super::steps::{INSTANT, only, pass, ready_workers, some_workers, text, tick_all};
use super::vm::{Answer, Kind};
use super::world::World;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// How much longer than its call a lease lasts.
const LEASE_MARGIN: Duration = Duration::from_secs(1);

#[test]
fn of_two_vms_that_see_an_absent_key_one_calls() {
    for spoiled in [false, true] {
        let (world, vms) = some_workers(&[Policy::Azure], 2);
        let world = Rc::new(world);
        tick_all(&world, &vms);
        if spoiled {
            world.probed(&vms[0], true);
            world.deliver(only(&world), Outcome::Good(100));
            world.spoil(&world.data.keys()[0]);
        }
        let (inner, other, once) = (Rc::downgrade(&world), Rc::clone(&vms[1]), Cell::new(true));
        // The first step is to read, the second to write what was read to be absent.
        let steps = Cell::new(0);
        world.between(move |_| {
            steps.set(steps.get() + 1);
            if steps.get() == 2 && once.replace(false) {
                inner.upgrade().unwrap().probed(&other, true);
            }
        });
        let first = &vms[0];
        let _ = if spoiled { world.tick(first) } else { world.probed(first, true) };
        world.undisturbed();
        assert_eq!(world.flights().len(), 1);
        assert_eq!(world.flights()[0].vm, 1, "who was faster calls");
        world.deliver(only(&world), Outcome::Good(100));
        tick_all(&world, &vms);
        assert!(world.flights().is_empty());
        assert!(vms.iter().all(|vm| text(&world, vm, 0).is_some()));
    }
}

#[test]
fn who_dies_with_the_lease_is_followed_when_it_has_run_out() {
    let (world, vms) = some_workers(&[Policy::Azure], 2);
    tick_all(&world, &vms);
    world.probed(&vms[0], true);
    world.kill(&vms[0]);
    let lease = TIMEOUT + LEASE_MARGIN;
    world.advance(INSTANT);
    world.probed(&vms[1], true);
    world.advance(lease - INSTANT * 2);
    world.tick(&vms[1]);
    assert_eq!(world.flights().len(), 1, "the lease of the dead is taken early");
    world.advance(INSTANT);
    world.tick(&vms[1]);
    let flight = world.flights().pop().unwrap();
    assert_eq!(flight.vm, 1, "the lease of the dead is not taken");
    world.deliver(flight.id, Outcome::Good(100));
    assert!(text(&world, &vms[1], 0).is_some());
}

#[test]
fn who_is_told_to_end_gives_the_lease_back_at_once() {
    let (world, vms) = some_workers(&[Policy::Azure], 2);
    tick_all(&world, &vms);
    world.probed(&vms[0], true);
    world.release(&vms[0]);
    world.probed(&vms[1], true);
    assert_eq!(world.flights()[0].vm, 1);
}

#[test]
fn a_call_that_the_host_never_calls_back_about_is_given_up() {
    let (world, vms) = some_workers(&[Policy::Azure], 1);
    tick_all(&world, &vms);
    world.probed(&vms[0], true);
    let lost = only(&world);
    world.advance(TIMEOUT + Duration::from_millis(500));
    tick_all(&world, &vms);
    assert_eq!(world.rules.borrow().failed, 1);
    world.deliver(lost, Outcome::Good(100));
    assert_eq!(text(&world, &vms[0], 0), None, "nobody waits for the answer any more");
    pass(&world, &vms, 2, |_| Outcome::Good(100));
    assert!(text(&world, &vms[0], 0).is_some());
}

#[test]
fn what_was_obtained_is_published_though_another_writes_in_between() {
    let (world, vms) = ready_workers(&[Policy::Azure], 2, 20);
    let world = Rc::new(world);
    // Two seconds before its end it is used no more; this is a moment before that.
    world.advance(Duration::from_secs(18) - INSTANT);
    world.tick(&vms[0]);
    let (inner, other, steps) = (Rc::downgrade(&world), Rc::clone(&vms[1]), Cell::new(0));
    // The first step is to read, the second to write.
    world.between(move |_| {
        steps.set(steps.get() + 1);
        if steps.get() == 2 {
            let world = inner.upgrade().unwrap();
            world.advance(INSTANT);
            world.tick(&other);
            assert!(world.entry(Name::Inline).held.is_none(), "it has ended");
        }
    });
    world.deliver(only(&world), Outcome::Good(100));
    world.undisturbed();
    tick_all(&world, &vms);
    assert!(vms.iter().all(|vm| text(&world, vm, 0).as_deref() == Some("Inline_2")));
    assert_eq!(world.rules.borrow().obtained, 2);
}

#[test]
fn a_chain_ends_where_its_lease_was_lost_and_publishes_nothing() {
    for calls in 1..=3 {
        let (world, vms) = some_workers(&[Policy::Exchange], 2);
        tick_all(&world, &vms);
        world.probed(&vms[0], true);
        world.probed(&vms[1], true);
        world.deliver(only(&world), Outcome::Good(100));
        world.tick(&vms[0]);
        for _ in 1..calls {
            world.deliver(only(&world), Outcome::Good(100));
        }
        let lost = only(&world);
        // Its VM does nothing for as long as the lease lasts.
        world.advance(TIMEOUT + LEASE_MARGIN);
        world.tick(&vms[1]);
        let taken = world.flights().into_iter().find(|flight| flight.id != lost).unwrap();
        assert_eq!(taken.vm, 1);
        world.deliver(lost, Outcome::Good(100));
        assert_eq!(only(&world), taken.id, "a chain goes on without its lease");
        assert_eq!(text(&world, &vms[0], 0), None);
        for _ in 0..3 {
            world.deliver(only(&world), Outcome::Good(100));
        }
        world.tick(&vms[0]);
        assert_eq!(text(&world, &vms[0], 0), text(&world, &vms[1], 0));
        assert!(text(&world, &vms[0], 0).is_some());
    }
}

#[test]
fn each_call_of_a_chain_has_the_whole_time() {
    let (world, vms) = some_workers(&[Policy::Exchange], 2);
    tick_all(&world, &vms);
    vms.iter().for_each(|vm| _ = world.probed(vm, true));
    world.deliver(only(&world), Outcome::Good(100));
    tick_all(&world, &vms);
    for _ in 0..3 {
        world.advance(TIMEOUT - INSTANT);
        tick_all(&world, &vms);
        world.deliver(only(&world), Outcome::Good(100));
    }
    assert!(text(&world, &vms[0], 0).is_some());
}

#[test]
fn whoever_waits_is_answered_by_the_next_tick_of_its_own_vm() {
    let (world, vms) = some_workers(&[Policy::Mounted, Policy::Twin], 3);
    tick_all(&world, &vms);
    world.probed(&vms[0], true);
    let streams: Vec<_> =
        vms.iter().flat_map(|vm| [0, 1].map(|policy| world.request(vm, policy).unwrap())).collect();
    assert_eq!(streams.len(), 6);
    world.deliver(only(&world), Outcome::Good(100));
    world.tick(&vms[1]);
    world.tick(&vms[0]);
    world.deliver(only(&world), Outcome::Good(100));
    tick_all(&world, &vms);
    for vm in &vms {
        let answers = vm.answers.borrow();
        let served = Answer::Served("Mounted_1".to_owned());
        assert!(answers.len() == 2 && answers.values().all(|answer| *answer == served));
        assert_eq!(vm.waiting(), 0);
    }
}

#[test]
fn a_request_that_waits_in_vain_is_refused_at_its_deadline_and_told_when_to_come_back() {
    let (world, vms) = some_workers(&[Policy::Azure], 1);
    tick_all(&world, &vms);
    world.probed(&vms[0], true);
    let stream = world.request(&vms[0], 0).unwrap();
    world.advance(INSTANT);
    world.deliver(only(&world), Outcome::Throttled(7));
    world.advance(WAIT - INSTANT * 2);
    world.tick(&vms[0]);
    assert_eq!(vms[0].waiting(), 1);
    world.advance(INSTANT);
    world.tick(&vms[0]);
    let answer = vms[0].answers.borrow()[&stream].clone();
    // Seven seconds from the answer of the provider on, of which a second and a half have gone.
    assert_eq!(answer, Answer::Refused(6));
    assert_eq!(world.request(&vms[0], 0), None, "who cannot be served in time does not wait");
}

#[test]
fn the_main_thread_never_calls_while_a_worker_can() {
    let (world, mut vms) = some_workers(&[Policy::Azure, Policy::Key], 2);
    vms.insert(0, world.start(Kind::Main));
    world.tick(&vms[0]);
    assert!(world.flights().is_empty(), "it does not wait for others");
    for vm in &vms[1..] {
        world.tick(vm);
        world.probed(vm, true);
    }
    pass(&world, &vms, 120, |_| Outcome::Good(20));
    assert_eq!(world.rules.borrow().failed, 0);
    assert!(world.rules.borrow().obtained > 12);
}

#[test]
fn without_the_listener_everybody_tries_after_a_while_and_it_counts() {
    let world = World::new(&[Policy::Azure], 1, false);
    let vms = [world.start(Kind::Main), world.start(Kind::Main)];
    pass(&world, &vms, 10, |_| Outcome::Unreachable);
    assert_eq!(world.rules.borrow().failed, 0);
    pass(&world, &vms, 30, |_| Outcome::Unreachable);
    // Left to others for ten seconds each time.
    assert!((2..=4).contains(&world.rules.borrow().failed), "{}", world.rules.borrow().failed);
}
