//! The root context: one per configuration and worker.

use super::host;
use super::shared::Shared;
use super::stream::Stream;
use crate::engine::{Filter, Plan};
use crate::policy::{self, Problem, Variable};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use std::env::VarError;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

const NO_VM_ID: &str = "vm_config.vm_id is empty: what is obtained is shared with every plugin that has \
     none either; give it a name";

/// Reads the configuration and makes the stream contexts.
pub(super) struct Root {
    id: u32,
    configured: Option<(Vec<u8>, Rc<Shared>)>,
}

impl Root {
    pub(super) fn new(id: u32) -> Self {
        Self { id, configured: None }
    }

    /// Gives back the leases: the replies to its calls do not come any more.
    fn release(&self) {
        if let Some((_, shared)) = &self.configured {
            shared.release();
        }
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, _: usize) {
        if let Some((_, shared)) = &self.configured {
            shared.on_reply(token, headers, body, self.id);
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.release();
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        // Envoy configures the root anew for each cluster that has the filter.
        if self.configured.as_ref().is_some_and(|(current, _)| *current == bytes) {
            return true;
        }
        match filter(&bytes) {
            Ok((filter, plan)) => {
                host::declare_filter_state();
                if !plan.is_empty() && host::vm_id().is_none_or(|id| id.is_empty()) {
                    log::warn!("{NO_VM_ID}");
                }
                log::info!(
                    "aigw-auth {}: {} policies",
                    env!("CARGO_PKG_VERSION"),
                    filter.entries().len()
                );
                for entry in filter.entries() {
                    if let Some(note) = entry.note {
                        log::info!("{}: {note}", entry.id);
                    }
                }
                // What this VM had before may hold leases.
                self.release();
                // A number that no other machine has: the state is of the host's random numbers.
                let owner = RandomState::new().hash_one(self.id);
                let shared = Rc::new(Shared::new(filter, plan, owner));
                shared.set_tick();
                self.configured = Some((bytes, shared));
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
            shared.on_tick(self.id);
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

fn filter(bytes: &[u8]) -> Result<(Filter, Plan), Vec<Problem>> {
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
