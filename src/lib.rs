//! Envoy filter that puts the credentials of AI providers on requests.
//!
//! Data flows down this list: a module uses what stands above it, never what stands below
//! (`docs/architecture.md`; `tests/layers.rs` keeps it so).

pub mod credential;

pub mod aws;

pub mod policy;

pub mod source;

pub mod inject;

pub mod cache;

pub mod engine;

#[cfg(target_family = "wasm")]
mod envoy;
