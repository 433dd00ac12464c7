//! The only part that touches the host: contexts, host calls, statistics, log.

mod callout;
mod complaints;
mod flow;
mod header_map;
mod host;
mod root;
mod shared;
mod signer;
mod statistics;
mod store;
mod stream;

use proxy_wasm::types::LogLevel;
use root::Root;

// The entry point of the ABI: a symbol that must not be mangled, which counts as unsafe.
#[allow(unsafe_code, unreachable_pub, missing_docs)]
mod entry {
    use super::{LogLevel, Root};

    proxy_wasm::main! {{
        // Envoy has levels of its own and drops what nobody wants to see.
        proxy_wasm::set_log_level(LogLevel::Info);
        proxy_wasm::set_root_context(|id| Box::new(Root::new(id)));
    }}
}
