//! The machine that obtains and renews credentials: one per configuration and VM.
//!
//! What all VMs know of a credential is its entry in the shared data. Each looks at the entries on its tick;
//! who finds one due, with no lease on it, takes the lease by compare-and-swap and makes the calls.

use super::item::{Item, Ready, Wear};
use super::known::Known;
use super::probe::Probe;
use super::run::Run;
use crate::cache::{ABSENT, Entry, Now, SharedStore};
use crate::credential::Secret;
use crate::source::{Call, Material, Reason, Reply};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// What the host has to do.
#[derive(Debug)]
pub enum Effect {
    /// Make this call, and hand the reply over with this number.
    Call(u32, Call),
    /// Ask the listener of the callouts for anything, and say whether it answered.
    Probe,
    /// Count something for the policy with this number.
    Count(usize, Statistic),
    /// Tell the log of something that went wrong.
    Warn(String),
    /// Tell the log that it is well again.
    Inform(String),
}

/// What is counted about the credential of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// It was obtained.
    Fetched,
    /// It was not.
    FetchFailed(Reason),
    /// When it ends, in seconds since the Unix epoch.
    ExpiresAt(u64),
}

/// Why a request has no credential yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// One may come while it waits.
    Wait,
    /// None will come before this many seconds.
    Refused(u64),
}

/// One credential, as this VM sees it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) item: Item,
    /// The entry as it was when this VM looked last, and the number that a swap of it has to give.
    pub(super) entry: Entry,
    pub(super) swap: u32,
    /// What was made of it for the policies that wear it.
    shown: Option<Material>,
    /// The exchange that this VM is making.
    pub(super) run: Option<Run>,
    /// The inputs with which it began, by the number of their item.
    pub(super) begun_with: Vec<(usize, Secret)>,
    /// Since when it has been due and was left to VMs that can make calls.
    left_since: Option<Duration>,
}

/// The credential of a policy that is obtained.
#[derive(Debug)]
struct Desk {
    /// The number of its item.
    item: usize,
    wear: Wear,
    ready: Option<Rc<Ready>>,
}

/// See the module.
#[derive(Debug)]
pub struct Refresh {
    /// Who takes leases.
    pub(super) owner: u64,
    /// How long one call may take.
    pub(super) timeout: Duration,
    pub(super) slots: Vec<Slot>,
    /// By the number of the policy.
    desks: Vec<Option<Desk>>,
    pub(super) probe: Probe,
    known: Rc<RefCell<Known>>,
    random: u64,
    serial: u64,
    pub(super) calls: u32,
    pub(super) effects: Vec<Effect>,
}

/// What a [`Refresh`] is made of.
#[derive(Debug)]
pub struct Plan {
    pub(crate) items: Vec<Item>,
    /// By the number of the policy: the number of the item that its requests carry, and how.
    pub(crate) wears: Vec<Option<(usize, Wear)>>,
    pub(crate) timeout: Duration,
    pub(crate) probes: bool,
    pub(crate) known: Rc<RefCell<Known>>,
}

impl Plan {
    /// Whether nothing has to be obtained.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl Refresh {
    /// A machine that takes leases as `owner`, a number that no other machine of the process has.
    pub fn new(plan: Plan, owner: u64) -> Self {
        let slot = |item| Slot {
            item,
            entry: Entry::default(),
            swap: ABSENT,
            shown: None,
            run: None,
            begun_with: Vec::new(),
            left_since: None,
        };
        let desk = |(item, wear)| Desk { item, wear, ready: None };
        Self {
            owner,
            timeout: plan.timeout,
            slots: plan.items.into_iter().map(slot).collect(),
            desks: plan.wears.into_iter().map(|wear| wear.map(desk)).collect(),
            probe: Probe::new(plan.probes),
            known: plan.known,
            random: owner,
            serial: 0,
            calls: 0,
            effects: Vec::new(),
        }
    }

    /// Whether nothing has to be obtained.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether it is worth looking often: something is about to be obtained for the first time, or lives so
    /// short that a second is long.
    pub fn is_pressed(&self) -> bool {
        self.slots.iter().any(|slot| match &slot.entry {
            Entry { held: Some(held), .. } => held.is_short(),
            Entry { trouble, .. } => trouble.is_none() && self.has_inputs(slot),
        })
    }

    /// Looks at everything, and begins what is due.
    pub fn tick(&mut self, store: &dyn SharedStore, now: Now) -> Vec<Effect> {
        for index in 0..self.slots.len() {
            self.look(index, store, now);
        }
        self.end_overdue(store, now);
        if self.probe.overdue(now, self.timeout) {
            self.probe.failed(now);
        }
        for index in 0..self.slots.len() {
            if self.is_wanted(index, now) && self.may_call(index, now) {
                self.begin(index, store, now);
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// Takes the reply to the call with that number. One that nobody waits for any more is dropped.
    pub fn reply(
        &mut self,
        call: u32,
        reply: &Reply<'_>,
        store: &dyn SharedStore,
        now: Now,
    ) -> Vec<Effect> {
        let waits = |slot: &Slot| slot.run.as_ref().is_some_and(|run| run.call == call);
        if let Some(index) = self.slots.iter().position(waits) {
            self.take(index, reply, store, now);
        }
        std::mem::take(&mut self.effects)
    }

    /// Whether somebody waits for the reply to the call with that number.
    pub fn awaits(&self, call: u32) -> bool {
        self.slots.iter().any(|slot| slot.run.as_ref().is_some_and(|run| run.call == call))
    }

    /// Takes whether the listener of the callouts has answered, and begins what waited for that.
    pub fn probed(&mut self, answered: bool, store: &dyn SharedStore, now: Now) -> Vec<Effect> {
        if !answered {
            self.probe.failed(now);
            return Vec::new();
        }
        self.probe.answered();
        self.tick(store, now)
    }

    /// What the requests of a policy get at `wall`, the time since the Unix epoch.
    pub fn ready(&self, policy: usize, wall: Duration) -> Option<Rc<Ready>> {
        let ready = self.desks.get(policy)?.as_ref()?.ready.as_ref()?;
        ready.usable(wall).then(|| Rc::clone(ready))
    }

    /// Looks whether another VM has obtained the credential of a policy, and if not, what a request that can
    /// wait for `wait` may expect. `None` if it is there.
    pub fn shortage(
        &mut self,
        policy: usize,
        wait: Duration,
        store: &dyn SharedStore,
        now: Now,
    ) -> Option<Shortage> {
        for index in self.items_of(policy) {
            self.look(index, store, now);
        }
        if self.ready(policy, now.wall).is_some() {
            return None;
        }
        let delay = self.delay(policy, now);
        Some(if delay > wait || wait.is_zero() {
            Shortage::Refused(seconds(delay))
        } else {
            Shortage::Wait
        })
    }

    /// In how many seconds a request may be repeated that has waited in vain.
    pub fn retry_after(&self, policy: usize, now: Now) -> u64 {
        seconds(self.delay(policy, now))
    }

    /// How long it takes until what a policy lacks is asked for again; nothing if it is being asked for.
    fn delay(&self, policy: usize, now: Now) -> Duration {
        let items = self.items_of(policy).into_iter();
        let delay = |slot: &Slot| {
            let asked = slot.run.is_some() || slot.entry.leased_to_another(self.owner, now);
            match (slot.entry.usable(now) || asked, slot.entry.trouble) {
                (true, _) | (false, None) => Duration::ZERO,
                (false, Some(_)) => slot.entry.due(slot.item.kind, now).saturating_sub(now.steady),
            }
        };
        items.filter_map(|index| self.slots.get(index)).map(delay).max().unwrap_or_default()
    }

    /// A provider has refused the credential with that serial number: has it renewed early if it is still
    /// the one that requests get.
    pub fn rejected(&mut self, policy: usize, serial: u64, store: &dyn SharedStore, now: Now) {
        let Some(Some(Desk { item, .. })) = self.desks.get(policy) else { return };
        let item = *item;
        self.look(item, store, now);
        if self.ready(policy, now.wall).is_none_or(|ready| ready.serial != serial) {
            return;
        }
        let Some(slot) = self.slots.get(item) else { return };
        let mut entry = slot.entry.clone();
        if entry.renew_early(now) {
            self.swap(item, entry, store);
        }
    }

    /// Gives back the leases of exchanges that will not come to their end.
    pub fn release(&mut self, store: &dyn SharedStore, now: Now) {
        for index in 0..self.slots.len() {
            if self.slots.get_mut(index).is_none_or(|slot| slot.run.take().is_none()) {
                continue;
            }
            self.look(index, store, now);
            let Some(slot) = self.slots.get(index) else { continue };
            if slot.entry.is_owned_by(self.owner) {
                let entry = Entry { lease: None, ..slot.entry.clone() };
                self.swap(index, entry, store);
            }
        }
    }

    /// Reads the entry of a slot, blanks a credential in it that has ended, and shows what is new.
    pub(super) fn look(&mut self, index: usize, store: &dyn SharedStore, now: Now) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.read(store);
        if slot.entry.held.as_ref().is_some_and(|held| !held.usable(now)) {
            let entry = Entry { held: None, ..slot.entry.clone() };
            // Should another have been faster, the next look tells.
            self.swap(index, entry, store);
        }
        self.show(index, now);
    }

    /// Replaces the entry of a slot, unless somebody else has. Says whether it did.
    pub(super) fn swap(&mut self, index: usize, entry: Entry, store: &dyn SharedStore) -> bool {
        let Some(slot) = self.slots.get_mut(index) else { return false };
        let done = store.set(&slot.item.key, &entry.encode(), slot.swap);
        // The number of what was written is only known by reading it.
        slot.read(store);
        done
    }

    /// Makes what is held ready for the policies that wear it.
    pub(super) fn show(&mut self, index: usize, now: Now) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let held = slot.entry.held.as_ref().filter(|held| held.usable(now));
        let changed = held.map(|held| &held.material) != slot.shown.as_ref();
        if changed {
            slot.shown = held.map(|held| held.material.clone());
        }
        let wearers = self.desks.iter_mut().flatten().filter(|desk| desk.item == index);
        for desk in wearers {
            if changed {
                self.serial += 1;
                let means = slot.shown.as_ref().and_then(|material| desk.wear.means(material));
                if let Some(means) = &means {
                    self.known.borrow_mut().learn(means);
                }
                let serial = self.serial;
                let ready = |means| Rc::new(Ready { means, serial, until: Cell::default() });
                desk.ready = means.map(ready);
            }
            if let Some(ready) = &desk.ready {
                ready.until.set(held.and_then(|held| held.unusable_at));
            }
        }
    }

    fn is_wanted(&mut self, index: usize, now: Now) -> bool {
        let Some(slot) = self.slots.get(index) else { return false };
        let wanted = slot.run.is_none()
            && slot.entry.due(slot.item.kind, now) <= now.steady
            && !slot.entry.leased_to_another(self.owner, now)
            && self.has_inputs(slot);
        if !wanted && let Some(slot) = self.slots.get_mut(index) {
            slot.left_since = None;
        }
        wanted
    }

    fn has_inputs(&self, slot: &Slot) -> bool {
        slot.item.source.needs().iter().all(|need| self.input(*need).is_some())
    }

    /// The text that another item holds.
    pub(super) fn input(&self, number: usize) -> Option<Secret> {
        match &self.slots.get(number)?.shown {
            Some(Material::Line(secret)) => Some(secret.clone()),
            _ => None,
        }
    }

    /// Whether this VM makes calls. One that cannot leaves them to the others, unless nobody makes them.
    fn may_call(&mut self, index: usize, now: Now) -> bool {
        if self.probe.may_call() {
            return true;
        }
        if self.probe.begin(now) {
            self.effects.push(Effect::Probe);
        }
        let Some(slot) = self.slots.get_mut(index) else { return false };
        let since = *slot.left_since.get_or_insert(now.steady);
        now.steady.saturating_sub(since) >= Probe::PATIENCE
    }

    /// The items that a policy needs: the one that its requests carry, and its inputs.
    fn items_of(&self, policy: usize) -> Vec<usize> {
        let Some(Some(desk)) = self.desks.get(policy) else { return Vec::new() };
        let mut items =
            self.slots.get(desk.item).map_or_else(Vec::new, |slot| slot.item.source.needs());
        items.push(desk.item);
        items
    }

    /// A number that nobody foresees, between 0 and `u16::MAX` (xorshift64*, Vigna 2016).
    pub(super) fn jitter(&mut self) -> u16 {
        self.random |= 1;
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let [.., high, low] = self.random.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
        u16::from_le_bytes([high, low])
    }
}

impl Slot {
    /// Reads the entry, if it has changed.
    fn read(&mut self, store: &dyn SharedStore) {
        match store.get(&self.item.key) {
            None => (self.entry, self.swap) = (Entry::default(), ABSENT),
            Some((_, swap)) if swap == self.swap => {}
            // What does not decode is a miss.
            Some((bytes, swap)) => {
                (self.entry, self.swap) = (Entry::decode(&bytes).unwrap_or_default(), swap);
                // Somebody is at work on it.
                self.left_since = None;
            }
        }
    }
}

/// A delay in whole seconds, at least one.
pub(super) fn seconds(delay: Duration) -> u64 {
    delay.as_secs().saturating_add(u64::from(delay.subsec_nanos() > 0)).max(1)
}
