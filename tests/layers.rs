//! The direction of imports, as `docs/architecture.md` has it: a module uses what stands above it.

#![cfg(test)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// From the top down. Each may use itself and what stands before it.
const LAYERS: [&str; 8] =
    ["credential", "aws", "policy", "source", "inject", "cache", "engine", "envoy"];

/// What only `envoy/` and `bin/` may name: the host, a clock, a file, a socket, the environment, the
/// log. Pure code gets all of it as arguments.
const IMPURE: [&str; 12] = [
    "proxy_wasm",
    "log::",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "println!",
    "eprintln!",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The code of a file without its comments and its tests.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The modules of the crate that a piece of code names, by `crate::` or, in the binary, by name.
fn named_layers(code: &str) -> BTreeSet<&str> {
    // Up two levels is out of the module, which only `crate::` may say.
    assert!(!code.contains("super::super::"), "super::super:: in:\n{code}");
    let code = code.split("crate::").skip(1);
    code.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
        .collect()
}

#[test]
fn a_module_uses_only_what_stands_above_it() {
    for (depth, layer) in LAYERS.iter().enumerate() {
        let files = rust_files(&source().join(layer));
        assert!(!files.is_empty(), "{layer} is empty");
        for file in files {
            let code = code(&file);
            for named in named_layers(&code) {
                let place = LAYERS.iter().position(|layer| *layer == named);
                let place = place.unwrap_or_else(|| panic!("{}: {named}?", file.display()));
                assert!(place <= depth, "{} uses {named}", file.display());
            }
        }
    }
}

#[test]
fn every_module_is_a_layer() {
    let mut found: Vec<String> = std::fs::read_dir(source())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "lib.rs" && name != "bin")
        .collect();
    found.sort();
    let mut layers = LAYERS.map(str::to_owned);
    layers.sort();
    assert_eq!(found, layers);
}

#[test]
fn only_the_edge_touches_the_host() {
    for layer in LAYERS.iter().filter(|layer| **layer != "envoy") {
        for file in rust_files(&source().join(layer)) {
            let code = code(&file);
            for name in IMPURE {
                assert!(!code.contains(name), "{} names {name}", file.display());
            }
        }
    }
}

#[test]
fn the_command_line_uses_the_pure_modules_only() {
    for file in rust_files(&source().join("bin")) {
        let code = code(&file);
        assert!(!code.contains("proxy_wasm"), "{}", file.display());
        assert!(!code.contains("aigw_auth::envoy"), "{}", file.display());
    }
}

#[test]
fn no_file_is_longer_than_anybody_reads() {
    for file in rust_files(&source()) {
        let lines = code(&file).lines().count();
        assert!(lines <= 400, "{} has {lines} lines of code", file.display());
    }
}
