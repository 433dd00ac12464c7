//! Counters, by policy. Envoy keeps every name for ever, so there is one for what somebody acts on.

use crate::engine::Filter;
use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

/// The identifier of a counter, if the host gave one.
#[derive(Clone, Copy)]
pub(super) struct Counter(Option<u32>);

/// The counters of one policy.
pub(super) struct PolicyCounters {
    pub(super) injected: Counter,
    pub(super) refused: Counter,
}

/// The counters of a configuration.
pub(super) struct Statistics {
    policies: Vec<PolicyCounters>,
    pub(super) unknown_backend: Counter,
}

impl Statistics {
    /// Defines the counters. They begin at zero, so that a rate can be taken from the first event.
    pub(super) fn define(filter: &Filter) -> Self {
        let policies = filter.entries().iter().map(|entry| {
            let counter = |what| Counter::define(&format!("aigw_auth.policy.{}.{what}", entry.id));
            PolicyCounters { injected: counter("injected"), refused: counter("refused") }
        });
        Self {
            policies: policies.collect(),
            unknown_backend: Counter::define("aigw_auth.unknown_backend"),
        }
    }

    /// The counters of the `index`-th policy.
    pub(super) fn policy(&self, index: usize) -> Option<&PolicyCounters> {
        self.policies.get(index)
    }
}

impl Counter {
    fn define(name: &str) -> Self {
        Self(hostcalls::define_metric(MetricType::Counter, name).ok())
    }

    /// Counts one event.
    pub(super) fn count(self) {
        if let Some(id) = self.0 {
            let _ = hostcalls::increment_metric(id, 1);
        }
    }
}
