//! Files, and the documents in them.

use crate::envoy_file::is_envoy_file;
use aigw_auth::policy::Tree;
use std::io::Read;
use std::path::Path;

/// How large YAML may become when its aliases are followed.
const MOST_EVENTS: usize = 5_000_000;

/// What a document is.
pub(crate) enum Document {
    /// A Kubernetes object.
    Manifest(Tree),
    /// A configuration of the filter.
    Plugin(Tree),
    /// A configuration of Envoy.
    Envoy(Tree),
}

/// Reads the documents of a file; `-` is standard input.
///
/// # Errors
///
/// What is wrong with the file, without a word of its text.
pub(crate) fn documents(path: &Path) -> Result<Vec<Document>, String> {
    let bytes = read(path)?;
    let Ok(text) = String::from_utf8(bytes) else { return Err("is not UTF-8 text".to_owned()) };
    let trees = if text.trim_start().starts_with('{') { json(&text)? } else { yaml(&text)? };
    let mut documents = Vec::new();
    for tree in trees {
        if matches!(tree, Tree::Null) {
            continue;
        }
        documents.push(match tree.field("kind") {
            _ if is_envoy_file(&tree) => Document::Envoy(tree),
            Some(_) => Document::Manifest(tree),
            None => Document::Plugin(tree),
        });
    }
    if documents.is_empty() {
        return Err("holds no document".to_owned());
    }
    Ok(documents)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map_err(|error| format!("cannot be read: {error}"))
}

fn json(text: &str) -> Result<Vec<Tree>, String> {
    serde_json::from_str(text).map(|tree| vec![tree]).or_else(|error| {
        // YAML may begin with a brace as well.
        yaml(text).map_err(|_| {
            let deep = error.to_string().starts_with("recursion");
            let what = if deep { "is nested too deeply" } else { "is neither JSON nor YAML" };
            format!("{what}: line {} column {}", error.line(), error.column())
        })
    })
}

fn yaml(text: &str) -> Result<Vec<Tree>, String> {
    // Keys that occur twice are ours to report, with their path. A snippet could show a secret.
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
        // A filter with hundreds of policies in hundreds of clusters is one anchor and many aliases.
        budget: serde_saphyr::budget! {
            enforce_alias_anchor_ratio: false,
            max_documents: MOST_EVENTS,
            max_events: MOST_EVENTS,
            max_nodes: MOST_EVENTS,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MOST_EVENTS },
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let what = match error.without_snippet() {
            serde_saphyr::Error::Budget { .. } => "is larger or nested deeper than check reads",
            _ => "is not YAML",
        };
        match error.location() {
            Some(at) => format!("{what}: line {} column {}", at.line(), at.column()),
            None => what.to_owned(),
        }
    })
}
