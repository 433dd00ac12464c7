//! Files, and the documents in them.

use aigw_auth::policy::Tree;
use std::io::Read;
use std::path::Path;

/// What a document is.
pub(crate) enum Document {
    /// A Kubernetes object.
    Manifest(Tree),
    /// A configuration of the filter.
    Plugin(Tree),
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
        if tree.field("static_resources").is_some() || has_typed_resources(&tree) {
            return Err("is an Envoy configuration: check takes manifests and plugin \
                        configurations (what stands under the filter's `configuration`)"
                .to_owned());
        }
        documents.push(match tree.field("kind") {
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

/// `resources` of Envoy's own: what a file of a cluster or listener discovery service holds.
fn has_typed_resources(tree: &Tree) -> bool {
    match tree.field("resources") {
        Some(Tree::List(items)) => items.iter().any(|item| item.field("@type").is_some()),
        _ => false,
    }
}

fn json(text: &str) -> Result<Vec<Tree>, String> {
    serde_json::from_str(text).map(|tree| vec![tree]).or_else(|error| {
        // YAML may begin with a brace as well.
        yaml(text).map_err(|_| {
            format!("is neither JSON nor YAML: line {} column {}", error.line(), error.column())
        })
    })
}

fn yaml(text: &str) -> Result<Vec<Tree>, String> {
    // Keys that occur twice are ours to report, with their path. A snippet could show a secret.
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        match error.location() {
            Some(location) => {
                format!("is not YAML: line {} column {}", location.line(), location.column())
            }
            None => "is not YAML".to_owned(),
        }
    })
}
