//! Any text as a file of manifests, read as `aigw-auth check` reads it.

use super::judge::{environment, holds_secret, judge, plant};
use aigw_auth::policy::{Tree, load};

/// A text is no YAML, or every document in it is taken or refused with a reason; the texts of its
/// Secrets are never part of that.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // As in src/bin/aigw-auth/document.rs.
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
    };
    let Ok(mut trees) = serde_saphyr::from_multiple_with_options::<Tree>(text, options) else {
        return;
    };
    if trees.iter().any(holds_secret) {
        return;
    }
    trees.iter_mut().for_each(plant);
    let (manifests, plugins): (Vec<Tree>, Vec<Tree>) =
        trees.into_iter().partition(|tree| tree.field("kind").is_some());
    for plugin in plugins {
        judge(load(&plugin, &environment));
    }
    if !manifests.is_empty() {
        let resources = ("resources".to_owned(), Tree::List(manifests));
        judge(load(&Tree::Map(vec![resources]), &environment));
    }
}
