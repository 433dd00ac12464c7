//! What AWS has of its own: the file that holds keys, the names of its hosts, the signature. It knows
//! nothing of policies.

mod canonical;
pub mod host;
pub mod keys;
pub mod profile;
pub mod role;
pub mod sigv4;
