//! The exchange that a VM makes while it has the lease of a credential.

use super::refresh::{Effect, Refresh, Slot, Statistic, seconds};
use crate::cache::{Entry, Held, Lease, Now, Said, SharedStore, Trouble};
use crate::source::{Failure, Next, Obtained, Reason, Reply, Step};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// How much longer than a call its lease lasts.
const LEASE_MARGIN: Duration = Duration::from_secs(1);
/// How much later than the host's own timeout a call is given up: the host may never call back.
const DEADLINE_MARGIN: Duration = Duration::from_millis(500);
/// How often a swap is tried.
const TURNS: usize = 10;
/// How often the log is told the same.
const REPEAT: Duration = Duration::from_secs(60);

/// What the log is told of keys that had ended when they came.
const LATE: &str =
    "the metadata service gives keys that have ended, which are used for ten minutes from now";

/// A call under way.
#[derive(Debug)]
pub(super) struct Run {
    /// Its number.
    pub(super) call: u32,
    next: Next,
    deadline: Duration,
}

impl Refresh {
    /// Takes the lease of a slot and begins its exchange. If somebody else was faster, they do.
    pub(super) fn begin(&mut self, index: usize, store: &dyn SharedStore, now: Now) {
        if !self.lease(index, store, now) {
            return;
        }
        let Some(slot) = self.slots.get(index) else { return };
        let needs = slot.item.source.needs().into_iter();
        let inputs: Vec<_> = needs.filter_map(|need| Some((need, self.input(need)?))).collect();
        let step = slot.item.source.start(&|number| self.input(number), now.wall);
        if let Some(slot) = self.slots.get_mut(index) {
            slot.begun_with = inputs;
        }
        self.advance(index, step, store, now);
    }

    /// Hands a reply to the exchange of a slot.
    pub(super) fn take(
        &mut self,
        index: usize,
        reply: &Reply<'_>,
        store: &dyn SharedStore,
        now: Now,
    ) {
        let Some(run) = self.slots.get_mut(index).and_then(|slot| slot.run.take()) else { return };
        let step = run.next.take(reply, now.wall);
        // The lease is for one call.
        if matches!(step, Step::Call(..)) {
            self.look(index, store, now);
            let owned = self.slots.get(index).is_some_and(|s| s.entry.is_owned_by(self.owner));
            if !owned || !self.lease(index, store, now) {
                return;
            }
        }
        self.advance(index, step, store, now);
    }

    /// Gives up on calls that the host does not call back about.
    pub(super) fn end_overdue(&mut self, store: &dyn SharedStore, now: Now) {
        for index in 0..self.slots.len() {
            let run = self.slots.get(index).and_then(|slot| slot.run.as_ref());
            if run.is_some_and(|run| run.deadline <= now.steady) {
                self.take(index, &Reply::TimedOut, store, now);
            }
        }
    }

    fn lease(&mut self, index: usize, store: &dyn SharedStore, now: Now) -> bool {
        let until = now.steady.saturating_add(self.timeout).saturating_add(LEASE_MARGIN);
        let Some(slot) = self.slots.get(index) else { return false };
        let lease = Some(Lease { owner: self.owner, until });
        let entry = Entry { lease, ..slot.entry.clone() };
        self.swap(index, entry, store)
    }

    fn advance(&mut self, index: usize, step: Step, store: &dyn SharedStore, now: Now) {
        match step {
            Step::Call(call, next) => {
                self.calls = self.calls.wrapping_add(1);
                let deadline =
                    now.steady.saturating_add(self.timeout).saturating_add(DEADLINE_MARGIN);
                let run = Run { call: self.calls, next, deadline };
                if let Some(slot) = self.slots.get_mut(index) {
                    slot.run = Some(run);
                    self.effects.push(Effect::Call(self.calls, call));
                }
            }
            Step::Done(obtained) => self.publish(index, Ok(obtained), store, now),
            Step::Failed(failure) => self.publish(index, Err(failure), store, now),
        }
    }

    /// Writes what has come of an exchange, if its lease is still this VM's, and gives the lease back.
    fn publish(
        &mut self,
        index: usize,
        result: Result<Obtained, Failure>,
        store: &dyn SharedStore,
        now: Now,
    ) {
        let jitter = self.jitter();
        let outdated = result.is_err() && self.is_outdated(index, store, now);
        for _ in 0..TURNS {
            self.look(index, store, now);
            let Some(slot) = self.slots.get(index) else { return };
            if !slot.entry.is_owned_by(self.owner) {
                return;
            }
            let (entry, effects) = outcome(slot, &result, outdated, jitter, now);
            let changed = entry.held.as_ref().map(|held| &held.material)
                != slot.entry.held.as_ref().map(|held| &held.material);
            if self.swap(index, entry, store) {
                self.effects.extend(effects);
                self.show(index, now);
                if changed {
                    self.encourage(index, store, now);
                }
                return;
            }
        }
    }

    /// Whether an exchange was begun with an input that has changed since.
    fn is_outdated(&mut self, index: usize, store: &dyn SharedStore, now: Now) -> bool {
        let slot = self.slots.get_mut(index);
        let inputs = slot.map(|slot| std::mem::take(&mut slot.begun_with)).unwrap_or_default();
        inputs.into_iter().any(|(need, before)| {
            self.look(need, store, now);
            self.input(need).is_some_and(|input| input != before)
        })
    }

    /// What an exchange needs has changed: those that failed with what it was before need not wait.
    fn encourage(&mut self, input: usize, store: &dyn SharedStore, now: Now) {
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get(index) else { return };
            if !slot.item.source.needs().contains(&input) {
                continue;
            }
            for _ in 0..TURNS {
                self.look(index, store, now);
                let Some(slot) = self.slots.get(index) else { return };
                let entry = Entry { trouble: None, ..slot.entry.clone() };
                if slot.entry.trouble.is_none() || self.swap(index, entry, store) {
                    break;
                }
            }
        }
    }
}

/// The entry after an exchange, and what to tell of it.
fn outcome(
    slot: &Slot,
    result: &Result<Obtained, Failure>,
    outdated: bool,
    jitter: u16,
    now: Now,
) -> (Entry, Vec<Effect>) {
    let kind = slot.item.kind;
    let mut entry = Entry { lease: None, ..slot.entry.clone() };
    let held = match result {
        Ok(obtained) => Held::new(obtained.clone(), jitter, now)
            .ok_or_else(|| Failure::new("the credential", Reason::Malformed)),
        Err(failure) => Err(failure.clone()),
    };
    let mut effects = Vec::new();
    let mut count = |statistic| {
        let policies = slot.item.policies.iter();
        effects.extend(policies.map(|policy| Effect::Count(*policy, statistic)));
    };
    match held {
        Ok(mut held) => {
            count(Statistic::Fetched);
            if let Ok(Obtained { expires_at: Some(end), .. }) = result {
                count(Statistic::ExpiresAt(end.as_secs()));
            }
            let before = slot.entry.held.as_ref();
            let same = before.filter(|before| before.material == held.material);
            entry.trouble = match same {
                // A provider that has nothing newer is asked less and less often.
                Some(before) if held.unusable_at.is_some() => {
                    held.stale_at = before.stale_at;
                    Some(Trouble::after(entry.trouble, None, jitter, now))
                }
                _ => None,
            };
            entry.held = Some(held);
            if let Ok(Obtained { note: Some(note), .. }) = result {
                let source = Some(digest(note));
                if entry.source != source {
                    entry.source = source;
                    effects.push(Effect::Inform(format!("{}: {note}", slot.item.names)));
                }
            }
            if matches!(result, Ok(Obtained { late: true, .. })) {
                // It is served, but nobody knows whether it works.
                let policies = slot.item.policies.iter();
                let failed = Statistic::FetchFailed(Reason::Server);
                effects.extend(policies.map(|policy| Effect::Count(*policy, failed)));
                let text = format!("{}: {LATE}", slot.item.names);
                if say(&mut entry, &text, now) {
                    effects.push(Effect::Warn(text));
                }
            } else if entry.said.take().is_some() {
                let text = format!("{}: the credential is obtained again", slot.item.names);
                effects.push(Effect::Inform(text));
            }
        }
        Err(failure) => {
            count(Statistic::FetchFailed(failure.reason));
            let trouble = Trouble::after(entry.trouble, Some(&failure), jitter, now);
            // What failed with an old input says nothing of the new one.
            entry.trouble = (!outdated).then_some(trouble);
            // What has an end of its own is used until then, whatever it was made of.
            let endless = entry.held.as_ref().is_some_and(|held| held.unusable_at.is_none());
            if endless && trouble.withdraws(now) {
                entry.held = None;
            }
            let text = format!("{}: {failure}", slot.item.names);
            if say(&mut entry, &text, now) {
                let delay = seconds(entry.due(kind, now).saturating_sub(now.steady));
                effects.push(Effect::Warn(format!("{text}; next try in {delay} s")));
            }
        }
    }
    (entry, effects)
}

/// Whether the log has to be told this: it was not a short while ago, by anybody.
fn say(entry: &mut Entry, text: &str, now: Now) -> bool {
    let said = Said { digest: digest(text), at: now.steady };
    let repeated = entry.said.is_some_and(|before| {
        before.digest == said.digest && now.steady.saturating_sub(before.at) < REPEAT
    });
    if !repeated {
        entry.said = Some(said);
    }
    !repeated
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
