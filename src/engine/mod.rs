//! The machines that join policies, credentials and requests.

mod body;
mod compile;
mod known;
mod reply;
mod request;
mod withheld;

pub use body::{BodyHash, SLICE};
pub use compile::{Entry, Filter};
pub use reply::{Refusal, Reply};
pub use request::{Attempt, Decision, Place, decide};
pub use withheld::{Waiting, Withheld};
