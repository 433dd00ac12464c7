//! Stories of credentials: how they are renewed, refused, and how they end.

use super::provider::Outcome;
use super::setup::{Name, Policy};
use super::steps::{INSTANT, TICK, only, pass, ready_workers, some_workers, text, tick_all};
use super::vm::{Kind, Vm};
use super::world::World;
use std::rc::Rc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn all_have(world: &World, vms: &[Rc<Vm>], policy: usize) -> bool {
    vms.iter().all(|vm| text(world, vm, policy).is_some())
}

#[test]
fn renewals_are_as_many_as_the_lives_need_and_nobody_is_ever_without() {
    let (world, vms) = ready_workers(&[Policy::Azure], 4, 60);
    for _ in 0..1200 {
        pass(&world, &vms, 1, |_| Outcome::Good(60));
        assert!(all_have(&world, &vms, 0));
    }
    // From three quarters to four fifths of a minute each, and up to a tick later.
    let obtained = world.rules.borrow().obtained - 1;
    assert!((1200 / 50..=1200 / 45).contains(&obtained), "{obtained}");
}

#[test]
fn what_is_stale_is_served_while_renewal_fails_and_blanked_at_its_end() {
    let (world, vms) = ready_workers(&[Policy::Azure], 2, 200);
    // Up to ten seconds before its end.
    for _ in 0..188 {
        pass(&world, &vms, 1, |_| Outcome::Server);
        assert!(all_have(&world, &vms, 0));
    }
    assert!(world.rules.borrow().failed > 2);
    world.advance(seconds(2));
    assert!(vms.iter().all(|vm| text(&world, vm, 0).is_none()), "no tick is needed for it to end");
    assert!(world.entry(Name::Inline).held.is_some());
    world.tick(&vms[1]);
    assert!(world.entry(Name::Inline).held.is_none(), "it is left in the store");
    // Once there is none, it is asked for every five seconds at least.
    let failed = world.rules.borrow().failed;
    pass(&world, &vms, 60, |_| Outcome::Server);
    assert!(world.rules.borrow().failed >= failed + 10);
    pass(&world, &vms, 6, |_| Outcome::Good(200));
    assert!(all_have(&world, &vms, 0), "it is back within six seconds of its provider");
}

#[test]
fn a_wall_clock_that_goes_forth_ends_a_credential_at_once() {
    let (world, vms) = ready_workers(&[Policy::Azure], 2, 600);
    world.set_wall(world.now().wall + HOUR);
    assert!(vms.iter().all(|vm| text(&world, vm, 0).is_none()));
    tick_all(&world, &vms);
    world.deliver(only(&world), Outcome::Good(600));
    tick_all(&world, &vms);
    assert!(all_have(&world, &vms, 0));
}

#[test]
fn a_wall_clock_that_goes_back_makes_nothing_live_longer() {
    let (world, vms) = ready_workers(&[Policy::Azure], 2, 600);
    world.set_wall(world.now().wall - HOUR);
    pass(&world, &vms, 588, |_| Outcome::Server);
    assert!(all_have(&world, &vms, 0));
    world.advance(seconds(2));
    tick_all(&world, &vms);
    assert!(vms.iter().all(|vm| text(&world, vm, 0).is_none()));
}

#[test]
fn a_storm_of_refusals_is_one_renewal_in_half_a_minute() {
    let (world, vms) = ready_workers(&[Policy::Azure], 3, 600);
    let first = text(&world, &vms[0], 0);
    for _ in 0..59 {
        for vm in vms.iter().cycle().take(30) {
            if let Some(serial) = vm.serial(0, world.now().wall) {
                world.rejected(vm, 0, serial);
            }
        }
        pass(&world, &vms, 1, |_| Outcome::Good(600));
    }
    assert_ne!(text(&world, &vms[0], 0), first);
    assert_eq!(world.rules.borrow().obtained, 3, "one at once, one after half a minute");
}

#[test]
fn the_refusal_of_what_has_been_replaced_renews_nothing() {
    let (world, vms) = ready_workers(&[Policy::Azure], 2, 600);
    let old = vms[0].serial(0, world.now().wall).unwrap();
    world.rejected(&vms[0], 0, old);
    pass(&world, &vms, 1, |_| Outcome::Good(600));
    pass(&world, &vms, 40, |_| Outcome::Good(600));
    world.rejected(&vms[0], 0, old);
    pass(&world, &vms, 5, |_| Outcome::Good(600));
    assert_eq!(world.rules.borrow().obtained, 2);
}

#[test]
fn what_a_provider_gives_again_is_asked_for_less_and_less_often() {
    let (world, vms) = ready_workers(&[Policy::Azure], 2, 1000);
    pass(&world, &vms, 740, |_| Outcome::Again(0));
    assert_eq!(world.rules.borrow().obtained, 1);
    let end = world.now().steady + seconds(240);
    let mut before = 0;
    while world.now().steady < end {
        let left = (end - world.now().steady).as_secs() + 20;
        pass(&world, &vms, 1, |_| Outcome::Again(left));
        before = world.rules.borrow().obtained;
    }
    // At most a minute apart, with full jitter; the first ones quickly.
    assert!((5..=25).contains(&before), "{before}");
    assert!(all_have(&world, &vms, 0));
}

#[test]
fn retry_after_is_obeyed_to_the_second() {
    let (world, vms) = some_workers(&[Policy::Azure], 2);
    tick_all(&world, &vms);
    vms.iter().for_each(|vm| _ = world.probed(vm, true));
    world.deliver(only(&world), Outcome::Throttled(7));
    world.advance(seconds(7) - INSTANT);
    tick_all(&world, &vms);
    assert!(world.flights().is_empty());
    world.advance(INSTANT);
    tick_all(&world, &vms);
    only(&world);
}

#[test]
fn two_policies_with_one_source_share_what_is_obtained() {
    let (world, vms) = ready_workers(&[Policy::Mounted, Policy::Twin], 2, 600);
    for vm in &vms {
        assert_eq!(text(&world, vm, 0), text(&world, vm, 1));
    }
    // The file and the token. The rules see to it that both policies count both.
    assert_eq!(world.rules.borrow().obtained, 2);
}

#[test]
fn a_file_that_is_edited_reaches_every_vm_within_fifteen_seconds() {
    let (world, vms) = ready_workers(&[Policy::Key, Policy::Aws], 3, 600);
    for _ in 0..3 {
        world.rules.borrow_mut().edit(Name::Line);
        let (key, keys) = (text(&world, &vms[0], 0), text(&world, &vms[0], 1));
        pass(&world, &vms, 14, |_| Outcome::Good(600));
        let new = text(&world, &vms[0], 0);
        assert!(new != key && vms.iter().all(|vm| text(&world, vm, 0) == new));
        assert_eq!(text(&world, &vms[0], 1), keys);
    }
}

#[test]
fn a_file_that_is_gone_for_a_minute_is_withdrawn_and_one_that_cannot_be_read_never() {
    let (world, vms) = ready_workers(&[Policy::Key, Policy::Aws], 2, 600);
    let outcome = |name| if name == Name::Line { Outcome::Gone } else { Outcome::Server };
    pass(&world, &vms, 58, outcome);
    assert!(all_have(&world, &vms, 0));
    pass(&world, &vms, 24, outcome);
    assert!(vms.iter().all(|vm| text(&world, vm, 0).is_none()));
    pass(&world, &vms, 600, outcome);
    assert!(all_have(&world, &vms, 1));
    pass(&world, &vms, 7, |_| Outcome::Good(600));
    assert!(all_have(&world, &vms, 0));
}

#[test]
fn what_failed_with_an_old_input_is_tried_at_once_with_a_new_one() {
    let (world, vms) = some_workers(&[Policy::Mounted], 2);
    tick_all(&world, &vms);
    vms.iter().for_each(|vm| _ = world.probed(vm, true));
    world.deliver(only(&world), Outcome::Good(600));
    tick_all(&world, &vms);
    let flight = world.flights().remove(0);
    assert!(flight.body.contains("client_secret=Secret_1"));
    world.deliver(flight.id, Outcome::Denied);
    world.rules.borrow_mut().edit(Name::Secret);
    for _ in 0..12 {
        world.advance(TICK);
        tick_all(&world, &vms);
        match &world.flights()[..] {
            [] => {}
            [flight] if flight.name == Name::Secret => {
                _ = world.deliver(flight.id, Outcome::Good(600));
            }
            [flight] => {
                assert!(flight.body.contains("client_secret=Secret_2"));
                world.deliver(flight.id, Outcome::Good(600));
                break;
            }
            more => panic!("{more:?}"),
        }
    }
    tick_all(&world, &vms);
    assert!(all_have(&world, &vms, 0), "half a minute is waited");
}

#[test]
fn a_wall_clock_that_goes_forth_by_less_than_a_life_has_it_renewed_in_time() {
    let (world, vms) = ready_workers(&[Policy::Azure], 2, 600);
    world.set_wall(world.now().wall + Duration::from_secs(300));
    for second in 0..290 {
        pass(&world, &vms, 1, |_| Outcome::Good(600));
        assert!(text(&world, &vms[0], 0).is_some(), "after {second} s");
        assert!(world.entry(Name::Inline).held.is_some(), "after {second} s");
    }
    assert_eq!(world.rules.borrow().obtained, 2);
}

#[test]
fn what_fails_with_an_input_that_has_changed_meanwhile_is_tried_at_once_with_the_new_one() {
    let (world, vms) = ready_workers(&[Policy::Mounted], 2, 600);
    let serial = vms[0].serial(0, world.now().wall).unwrap();
    pass(&world, &vms, 9, |_| Outcome::Good(600));
    world.rejected(&vms[0], 0, serial);
    world.tick(&vms[0]);
    let old = world.flights().into_iter().find(|flight| flight.name == Name::Mounted).unwrap();
    assert!(old.body.contains("Secret_1"));
    world.rules.borrow_mut().edit(Name::Secret);
    for _ in 0..2 {
        world.advance(Duration::from_millis(700));
        tick_all(&world, &vms);
        let files = world.flights().into_iter().filter(|flight| flight.name == Name::Secret);
        files.for_each(|flight| _ = world.deliver(flight.id, Outcome::Good(600)));
    }
    world.deliver(old.id, Outcome::Denied);
    world.advance(TICK);
    tick_all(&world, &vms);
    let new = world.flights().into_iter().find(|flight| flight.name == Name::Mounted).unwrap();
    assert!(new.body.contains("Secret_2"));
}

#[test]
fn the_main_thread_leaves_lives_of_a_second_to_the_workers() {
    let (world, mut vms) = some_workers(&[Policy::Azure], 1);
    vms.insert(0, world.start(Kind::Main));
    tick_all(&world, &vms);
    world.probed(&vms[1], true);
    // The rules look on: it never calls while a worker can.
    pass(&world, &vms, 60, |_| Outcome::Good(1));
    assert!(world.rules.borrow().obtained > 10 && world.rules.borrow().failed == 0);
}
