//! What has to hold for any input, one module for each fuzz target.
//!
//! `fuzz_targets/` gives these functions to libFuzzer; `tests/fuzz_corpus.rs` includes this file and
//! runs them over the corpus with every `cargo test`.

pub mod configuration;
pub mod headers;
pub mod manifests;
pub mod profiles;
pub mod query;
pub mod replies;
pub mod signature;
pub mod structpb;

mod bodies;
#[path = "../../tests/common/contract.rs"]
mod contract;
mod exchanges;
mod google;
mod judge;
#[path = "../../tests/common/protobuf.rs"]
mod protobuf;
mod source;

/// A target: its name and what it does with an input. It panics if something does not hold.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 8] = [
    ("configuration", configuration::run),
    ("headers", headers::run),
    ("manifests", manifests::run),
    ("profiles", profiles::run),
    ("query", query::run),
    ("replies", replies::run),
    ("signature", signature::run),
    ("structpb", structpb::run),
];
