//! Several VMs on one store that is as unkind as that of the host, with a clock of their own: whatever happens
//! to VMs, providers and clocks, in whatever order.

#![cfg(test)]

#[path = "workers/chaos.rs"]
mod chaos;
#[path = "workers/lives.rs"]
mod lives;
#[path = "workers/provider.rs"]
mod provider;
#[path = "workers/random.rs"]
mod random;
#[path = "workers/rules.rs"]
mod rules;
#[path = "workers/setup.rs"]
mod setup;
#[path = "workers/steps.rs"]
mod steps;
#[path = "workers/store.rs"]
mod store;
#[path = "workers/stories.rs"]
mod stories;
#[path = "workers/vm.rs"]
mod vm;
#[path = "workers/world.rs"]
mod world;

use chaos::Chaos;
use std::hash::{BuildHasher, RandomState};

/// How many schedules are tried.
const SCHEDULES: u64 = 10_000;
/// One in so many goes on until everything has been renewed.
const LONG: u64 = 20;
/// The number of the schedule to repeat, which is then told step by step.
const SEED: &str = "AIGW_SEED";

/// Tells which schedule it was that failed.
struct Schedule(u64);

impl Drop for Schedule {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("schedule {}: repeat it with {SEED}={0}", self.0);
        }
    }
}

fn run(seed: u64, tells: bool) -> (u32, u32) {
    let schedule = Schedule(seed);
    let chaos = Chaos::new(seed, tells);
    chaos.rage();
    chaos.recover();
    if seed.is_multiple_of(LONG) {
        chaos.go_on();
    }
    drop(schedule);
    let rules = chaos.world.rules.borrow();
    (rules.obtained, rules.failed)
}

#[test]
fn the_rules_hold_in_any_schedule() {
    if let Ok(seed) = std::env::var(SEED) {
        run(seed.parse().unwrap(), true);
        return;
    }
    let first = RandomState::new().hash_one(SCHEDULES) >> 16;
    println!("{SCHEDULES} schedules from {first} on");
    let (mut obtained, mut failed) = (0, 0);
    for seed in first..first + SCHEDULES {
        let (good, bad) = run(seed, false);
        (obtained, failed) = (obtained + good, failed + bad);
    }
    println!("{obtained} credentials obtained, {failed} failures");
    // They are about something.
    assert!(u64::from(obtained) > 3 * SCHEDULES && u64::from(failed) > SCHEDULES);
}
