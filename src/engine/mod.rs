//! The machines that join policies, credentials and requests.

mod body;
mod compile;
mod dispatch;
mod item;
mod known;
mod probe;
mod refresh;
mod reply;
mod request;
mod run;
mod sources;
mod waiting;
mod withheld;

pub use body::{BodyHash, SLICE};
pub use compile::{Chosen, Entry, Filter};
pub use dispatch::{Dispatch, Egresses};
pub use item::{Item, Ready};
pub use refresh::{Effect, Plan, Refresh, Shortage, Statistic};
pub use reply::{Refusal, Reply};
pub use request::{Attempt, Decision, Place, decide};
pub use waiting::{Waiter, Waiting};
pub use withheld::{Watched, Withheld};
