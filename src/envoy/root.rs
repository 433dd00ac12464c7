//! The root context: one per configuration and worker.

use super::host;
use super::shared::Shared;
use super::statistics::Statistics;
use super::stream::Stream;
use crate::engine::Filter;
use crate::policy::{self, Problem, Variable};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use std::env::VarError;
use std::rc::Rc;

/// Reads the configuration and makes the stream contexts.
pub(super) struct Root {
    id: u32,
    configured: Option<(Vec<u8>, Rc<Shared>)>,
}

impl Root {
    pub(super) fn new(id: u32) -> Self {
        Self { id, configured: None }
    }
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        // Envoy configures the root anew for each cluster that has the filter.
        if self.configured.as_ref().is_some_and(|(current, _)| *current == bytes) {
            return true;
        }
        match filter(&bytes) {
            Ok(filter) => {
                host::declare_filter_state();
                let statistics = Statistics::define(&filter);
                log::info!(
                    "aigw-auth {}: {} policies",
                    env!("CARGO_PKG_VERSION"),
                    filter.entries().len()
                );
                self.configured = Some((bytes, Rc::new(Shared::new(filter, statistics))));
                true
            }
            Err(problems) => {
                for problem in problems {
                    log::error!("{problem}");
                }
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some((_, shared)) = &self.configured {
            shared.refuse_withheld(self.id);
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        let shared = self.configured.as_ref().map(|(_, shared)| Rc::clone(shared));
        Some(Box::new(Stream::new(id, shared)))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

fn filter(bytes: &[u8]) -> Result<Filter, Vec<Problem>> {
    let loaded = policy::parse(bytes, &environment)?;
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    Filter::new(loaded.config)
}

/// The environment of the VM: `vm_config.environment_variables`.
fn environment(name: &str) -> Variable {
    match std::env::var(name) {
        Ok(value) => Variable::Set(value),
        Err(VarError::NotPresent | VarError::NotUnicode(_)) => Variable::Unset,
    }
}
