//! Any bytes as the plugin configuration.

use super::judge::{environment, holds_secret, judge, plant, shows_secret};
use aigw_auth::policy::{Tree, load, parse};

/// The filter takes the bytes or says why not; the texts of their Secrets are never part of that.
pub fn run(bytes: &[u8]) {
    let tree = serde_json::from_slice::<Tree>(bytes);
    if shows_secret(&String::from_utf8_lossy(bytes)) || tree.as_ref().is_ok_and(holds_secret) {
        return;
    }
    judge(parse(bytes, &environment));
    if let Ok(mut tree) = tree {
        plant(&mut tree);
        judge(load(&tree, &environment));
    }
}
