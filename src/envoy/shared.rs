//! What the streams of one configuration share in one worker.

use super::callout::{self, Received};
use super::complaints::Complaints;
use super::flow::{Flow, Outcome};
use super::host;
use super::signer;
use super::statistics::Statistics;
use super::store::Store;
use crate::cache::{Now, SharedStore};
use crate::engine::{
    Effect, Entry, Filter, Place, Plan, Ready, Refresh, Refusal, Shortage, Waiter, Waiting,
    Withheld,
};
use crate::source::{Answer, Call, Reply, Target};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// How often everything is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often while a request waits, something is obtained for the first time, or lives but for seconds.
const SHORT_TICK: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Shared {
    pub(super) filter: Filter,
    pub(super) statistics: Statistics,
    complaints: Complaints,
    withheld: RefCell<Withheld>,
    refresh: RefCell<Refresh>,
    waiting: RefCell<Waiting>,
    /// The streams that wait for a credential.
    flows: RefCell<Vec<Rc<RefCell<Flow>>>>,
    /// The calls under way.
    calls: RefCell<Vec<Pending>>,
    tick: Cell<Duration>,
}

/// A call under way.
struct Pending {
    /// The number that the host knows it by.
    token: u32,
    /// The number that the machine knows it by; none for a probe.
    call: Option<u32>,
    since: Now,
}

impl Shared {
    pub(super) fn new(filter: Filter, plan: Plan, owner: u64) -> Self {
        let statistics = Statistics::define(&filter);
        Self {
            filter,
            statistics,
            complaints: Complaints::default(),
            withheld: RefCell::default(),
            refresh: RefCell::new(Refresh::new(plan, owner)),
            waiting: RefCell::default(),
            flows: RefCell::default(),
            calls: RefCell::default(),
            tick: Cell::default(),
        }
    }

    /// What was obtained for a policy, if it may be used.
    pub(super) fn ready(&self, policy: usize, wall: Duration) -> Option<Rc<Ready>> {
        self.refresh.borrow().ready(policy, wall)
    }

    /// Why there is no credential for a policy. `None` if another worker has obtained it.
    pub(super) fn shortage(&self, policy: usize) -> Option<Shortage> {
        let wait = self.filter.credential_wait();
        self.refresh.borrow_mut().shortage(policy, wait, &Store, host::now())
    }

    /// The provider has refused a credential that was obtained.
    pub(super) fn rejected(&self, policy: usize, serial: u64) {
        self.refresh.borrow_mut().rejected(policy, serial, &Store, host::now());
    }

    /// Answers the current stream in place of the provider.
    pub(super) fn refuse(
        &self,
        entry: Option<&Entry>,
        refusal: Refusal,
        place: Place,
        backend: Option<&[u8]>,
    ) {
        match entry {
            Some(entry) => {
                host::set_outcome(&entry.refused);
                if let Some(counters) = self.statistics.policy(entry.index) {
                    counters.refused.count();
                }
            }
            None => {
                host::set_outcome("- refused");
                if refusal == Refusal::UnknownBackend {
                    self.statistics.unknown_backend.count();
                }
            }
        }
        self.complaints.add(&self.filter, refusal, entry, place, backend);
        host::reply(&refusal.reply());
    }

    /// A request waits for its body. Until one has come it is watched, by the tick of the root.
    pub(super) fn await_body(&self, stream: u32, policy: usize) {
        if self.withheld.borrow_mut().wait(stream, policy, host::wall()) {
            self.set_tick();
        }
    }

    /// A piece of a body has come, so they do.
    pub(super) fn body_seen(&self) {
        self.withheld.borrow_mut().seen();
    }

    /// A request with `bytes` of body waits for the credential of a policy. Says whether there is room.
    pub(super) fn await_credential(
        &self,
        stream: u32,
        policy: usize,
        bytes: usize,
        flow: &Rc<RefCell<Flow>>,
    ) -> bool {
        let now = host::now().steady;
        let until = now.saturating_add(self.filter.credential_wait());
        if !self.waiting.borrow_mut().add(stream, policy, bytes, now, until) {
            return false;
        }
        self.flows.borrow_mut().push(Rc::clone(flow));
        self.statistics.waits(policy);
        self.set_tick();
        true
    }

    /// The body of a request that waits has grown. Says whether there is room.
    pub(super) fn grow(&self, stream: u32, bytes: usize) -> bool {
        self.waiting.borrow_mut().grow(stream, bytes)
    }

    /// A stream has ended, or waits no more.
    pub(super) fn forget(&self, stream: u32) {
        self.withheld.borrow_mut().forget(stream);
        if let Some(waiter) = self.waiting.borrow_mut().remove(stream) {
            // Whoever is asked right now is borrowed, and the others are not the one.
            self.flows
                .borrow_mut()
                .retain(|flow| flow.try_borrow().is_ok_and(|flow| flow.id != stream));
            let waited = host::now().steady.saturating_sub(waiter.since);
            self.statistics.waited(waiter.policy, waited);
        }
    }

    /// In how many seconds a request of a policy may be repeated.
    pub(super) fn retry_after(&self, policy: usize) -> u64 {
        self.refresh.borrow().retry_after(policy, host::now())
    }

    /// The root is called.
    pub(super) fn on_tick(&self, root: u32) {
        self.refuse_withheld(root);
        let now = host::now();
        let effects = self.refresh.borrow_mut().tick(&Store, now);
        self.perform(effects);
        self.forget_calls();
        self.serve_waiting(root);
        self.set_tick();
    }

    /// The host calls back about a call.
    pub(super) fn on_reply(&self, token: u32, headers: usize, size: usize, root: u32) {
        let pending = {
            let mut calls = self.calls.borrow_mut();
            let index = calls.iter().position(|pending| pending.token == token);
            index.map(|index| calls.remove(index))
        };
        // One that was given up.
        let Some(Pending { call, since, .. }) = pending else { return };
        let received = Received::read(headers, size);
        let now = host::now();
        let effects = match call {
            None => {
                let answered = received.is_of_listener();
                self.refresh.borrow_mut().probed(answered, &Store, now)
            }
            Some(call) => {
                let age = now.steady.saturating_sub(since.steady);
                let reply = received.reply(age, self.filter.egresses().timeout());
                self.refresh.borrow_mut().reply(call, &reply, &Store, now)
            }
        };
        self.perform(effects);
        self.serve_waiting(root);
        self.set_tick();
    }

    /// Gives back what only a running machine may hold.
    pub(super) fn release(&self) {
        let store: &dyn SharedStore = &Store;
        self.refresh.borrow_mut().release(store, host::now());
    }

    fn perform(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Call(call, Call { target: Target::Signer(key), body, .. }) => {
                    let signature = signer::sign(&key, &body);
                    let answer = Answer {
                        status: if signature.is_some() { 200 } else { 400 },
                        headers: &[],
                        body: signature.as_deref().unwrap_or_default(),
                    };
                    let reply = Reply::Answer(answer);
                    let now = host::now();
                    let effects = self.refresh.borrow_mut().reply(call, &reply, &Store, now);
                    self.perform(effects);
                }
                Effect::Call(call, what) => {
                    let dispatch = self.filter.egresses().dispatch(&what);
                    let timeout = self.filter.egresses().timeout();
                    let token = dispatch.and_then(|dispatch| callout::call(&dispatch, timeout));
                    let since = host::now();
                    match token {
                        Some(token) => {
                            let pending = Pending { token, call: Some(call), since };
                            self.calls.borrow_mut().push(pending);
                        }
                        // Nobody will call back.
                        None => {
                            let reply = Reply::Unreachable;
                            let effects =
                                self.refresh.borrow_mut().reply(call, &reply, &Store, since);
                            self.perform(effects);
                        }
                    }
                }
                Effect::Probe => {
                    let probe = self.filter.egresses().probe();
                    let timeout = self.filter.egresses().timeout();
                    let token = probe.and_then(|dispatch| callout::call(&dispatch, timeout));
                    let since = host::now();
                    match token {
                        Some(token) => {
                            self.calls.borrow_mut().push(Pending { token, call: None, since });
                        }
                        None => {
                            let effects = self.refresh.borrow_mut().probed(false, &Store, since);
                            self.perform(effects);
                        }
                    }
                }
                Effect::Count(policy, statistic) => self.statistics.count(policy, statistic),
                Effect::Warn(text) => log::warn!("{text}"),
                Effect::Inform(text) => log::info!("{text}"),
            }
        }
    }

    /// Forgets calls that were given up: the host may never call back.
    fn forget_calls(&self) {
        let refresh = self.refresh.borrow();
        let kept = |pending: &Pending| pending.call.is_none_or(|call| refresh.awaits(call));
        let mut calls = self.calls.borrow_mut();
        calls.retain(kept);
        // Of the probes, only the newest counts.
        while calls.iter().filter(|pending| pending.call.is_none()).count() > 1 {
            let oldest = calls.iter().position(|pending| pending.call.is_none());
            oldest.map(|index| calls.remove(index));
        }
    }

    /// Lets those go on whose credential has come, and answers those who have waited too long.
    fn serve_waiting(&self, root: u32) {
        let waiters: Vec<Waiter> = self.waiting.borrow().all().to_vec();
        if waiters.is_empty() {
            return;
        }
        let now = host::now();
        for waiter in waiters {
            let ready = self.ready(waiter.policy, now.wall).is_some();
            if ready || now.steady >= waiter.until {
                self.serve(waiter, ready, root);
            }
        }
    }

    fn serve(&self, waiter: Waiter, ready: bool, root: u32) {
        let flow = {
            let flows = self.flows.borrow();
            flows.iter().find(|flow| flow.borrow().id == waiter.stream).map(Rc::clone)
        };
        self.forget(waiter.stream);
        let Some(flow) = flow else { return };
        let Some(effective) = host::on_stream(waiter.stream, root) else { return };
        let lost = flow.borrow().open && host::loses_bodies();
        if ready && lost && flow.borrow().held > 0 {
            flow.borrow_mut().resumable = true;
        } else if ready && !lost {
            if Flow::proceed(&flow, self) == Outcome::Continue {
                host::resume();
            }
        } else {
            flow.borrow_mut().refuse_unavailable(self, None);
        }
        drop(effective);
    }

    /// Answers the requests whose body Envoy withholds. One whose client has sent nothing yet waits on.
    fn refuse_withheld(&self, root: u32) {
        if self.withheld.borrow().is_idle() {
            return;
        }
        let overdue = self.withheld.borrow().overdue(host::wall());
        for watched in overdue {
            let Some(effective) = host::on_stream(watched.stream, root) else {
                self.withheld.borrow_mut().forget(watched.stream);
                continue;
            };
            if host::body_has_come() {
                self.withheld.borrow_mut().forget(watched.stream);
                let entry = self.filter.entries().get(watched.policy);
                self.refuse(entry, Refusal::BodyWithheld, Place::Upstream, None);
            }
            drop(effective);
        }
    }

    /// Has the root called as often as there is something to do. The timer begins anew with every change, so
    /// there is one on a change only.
    pub(super) fn set_tick(&self) {
        let refresh = self.refresh.borrow();
        let tick = if !self.waiting.borrow().is_empty() || refresh.is_pressed() {
            SHORT_TICK
        } else if !refresh.is_empty() || !self.withheld.borrow().is_idle() {
            TICK
        } else {
            Duration::ZERO
        };
        if self.tick.replace(tick) != tick {
            host::set_tick(tick);
        }
    }
}
