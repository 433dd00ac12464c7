//! What the fuzz targets assert, over the corpus in `fuzz/corpus`: what fuzzing has found once stays
//! found. `scripts/fuzz` looks for more.

#![cfg(test)]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a library where it is fuzzed")]
mod targets;

use std::path::{Path, PathBuf};
use targets::TARGETS;

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_targets_hold_for_the_whole_corpus() {
    for (target, run) in TARGETS {
        let files = corpus(target);
        assert!(files.len() >= 10, "the corpus of {target} has {} files", files.len());
        for file in files {
            // The last one that is printed is the one that fails.
            println!("{}", file.display());
            run(&std::fs::read(file).unwrap());
        }
    }
}

#[test]
fn the_corpus_is_small_enough_for_a_repository() {
    let files: Vec<_> = TARGETS.iter().flat_map(|(target, _)| corpus(target)).collect();
    let size: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(files.len() <= 450, "{} files", files.len());
    assert!(size <= 1 << 20, "{size} bytes");
}
