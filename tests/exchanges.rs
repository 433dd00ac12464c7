//! Every case of `tests/exchanges`: what an exchange asks, what is answered, what comes of it. And nothing
//! of a secret or of an answer is in anything that can be printed on the way.

#![cfg(test)]

#[path = "exchanges/asker.rs"]
mod asker;
#[path = "common/aws_sigv4.rs"]
mod aws_sigv4;
#[path = "exchanges/calls.rs"]
mod calls;
#[path = "exchanges/cases.rs"]
mod cases;
#[path = "common/chain.rs"]
mod chain;
#[path = "exchanges/ends.rs"]
mod ends;
#[path = "exchanges/google.rs"]
mod google;
#[path = "exchanges/jwt.rs"]
mod jwt;
#[path = "exchanges/prints.rs"]
mod prints;
#[path = "exchanges/recorded.rs"]
mod recorded;
#[path = "exchanges/recorded_aws.rs"]
mod recorded_aws;
#[path = "exchanges/recorded_google.rs"]
mod recorded_google;
#[path = "exchanges/replies.rs"]
mod replies;
#[path = "exchanges/tables.rs"]
mod tables;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Friday, 15 January 2027, 08:00:00 UTC: the time of the last reply.
const NOW: Duration = Duration::from_secs(1_800_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exchanges")
}

fn read(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
