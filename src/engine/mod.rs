//! The machines that join policies, credentials and requests.

mod compile;
mod known;
mod reply;
mod request;

pub use compile::{Entry, Filter};
pub use reply::{Refusal, Reply};
pub use request::{Attempt, Decision, Place, decide};
