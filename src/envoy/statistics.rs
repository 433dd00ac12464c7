//! Counters, by policy. Envoy keeps every name for ever, so there is one for what somebody acts on.

use crate::engine::{Filter, Statistic};
use crate::source::Reason;
use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;
use std::time::Duration;

/// The identifier of a counter, gauge or histogram, if the host gave one.
#[derive(Clone, Copy)]
pub(super) struct Metric(Option<u32>);

/// The counters of one policy.
pub(super) struct PolicyCounters {
    pub(super) injected: Metric,
    pub(super) refused: Metric,
    obtained: Option<Obtained>,
}

/// Those of a policy whose credential is obtained.
struct Obtained {
    waited: Metric,
    wait_ms: Metric,
    fetched: Metric,
    fetch_failed: [Metric; Reason::ALL.len()],
    expires_at: Metric,
}

/// The counters of a configuration.
pub(super) struct Statistics {
    policies: Vec<PolicyCounters>,
    pub(super) unknown_backend: Metric,
}

impl Statistics {
    /// Defines the counters. They begin at zero, so that a rate can be taken from the first event.
    pub(super) fn define(filter: &Filter) -> Self {
        let policies = filter.entries().iter().map(|entry| {
            let define = |kind, what: &str| {
                Metric::define(kind, &format!("aigw_auth.policy.{}.{what}", entry.id))
            };
            let counter = |what: &str| define(MetricType::Counter, what);
            let obtained = || Obtained {
                waited: counter("waited"),
                wait_ms: define(MetricType::Histogram, "wait_ms"),
                fetched: counter("fetched"),
                fetch_failed: Reason::ALL
                    .map(|reason| counter(&format!("fetch_failed.{}", reason.name()))),
                expires_at: define(MetricType::Gauge, "expires_at"),
            };
            PolicyCounters {
                injected: counter("injected"),
                refused: counter("refused"),
                obtained: entry.obtains.then(obtained),
            }
        });
        Self {
            policies: policies.collect(),
            unknown_backend: Metric::define(MetricType::Counter, "aigw_auth.unknown_backend"),
        }
    }

    /// The counters of the `index`-th policy.
    pub(super) fn policy(&self, index: usize) -> Option<&PolicyCounters> {
        self.policies.get(index)
    }

    /// A request begins to wait.
    pub(super) fn waits(&self, policy: usize) {
        if let Some(obtained) = self.obtained(policy) {
            obtained.waited.count();
        }
    }

    /// A request has waited.
    pub(super) fn waited(&self, policy: usize, time: Duration) {
        if let Some(obtained) = self.obtained(policy) {
            obtained.wait_ms.record(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        }
    }

    /// Something has happened to the credential of a policy.
    pub(super) fn count(&self, policy: usize, statistic: Statistic) {
        let Some(obtained) = self.obtained(policy) else { return };
        match statistic {
            Statistic::Fetched => obtained.fetched.count(),
            Statistic::FetchFailed(reason) => {
                let index = Reason::ALL.iter().position(|other| *other == reason);
                if let Some(metric) = index.and_then(|index| obtained.fetch_failed.get(index)) {
                    metric.count();
                }
            }
            Statistic::ExpiresAt(seconds) => obtained.expires_at.record(seconds),
        }
    }

    fn obtained(&self, policy: usize) -> Option<&Obtained> {
        self.policies.get(policy)?.obtained.as_ref()
    }
}

impl Metric {
    fn define(kind: MetricType, name: &str) -> Self {
        Self(hostcalls::define_metric(kind, name).ok())
    }

    /// Counts one event.
    pub(super) fn count(self) {
        if let Some(id) = self.0 {
            let _ = hostcalls::increment_metric(id, 1);
        }
    }

    /// Sets a gauge, or adds to a histogram.
    fn record(self, value: u64) {
        if let Some(id) = self.0 {
            let _ = hostcalls::record_metric(id, value);
        }
    }
}
